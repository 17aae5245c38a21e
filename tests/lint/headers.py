#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every header compiles on its own, and twice in a row.

usage: headers.py SOURCE_ROOT BUILD_ROOT CC...
"""
import os
import subprocess
import sys
import tempfile

from common import Report, files

PACKAGES = ['libcrypto', 'libssl', 'libuv', 'libnghttp2', 'libprotobuf-c', 'p11-kit-1', 'sqlite3',
            'libseccomp', 'libconfuse', 'jansson', 'zlib', 'check']


def main(root, build, compiler):
    report = Report('headers')
    flags = subprocess.run(['pkg-config', '--cflags'] + PACKAGES, check=True,
                           stdout=subprocess.PIPE).stdout.decode().split()
    names = files(root, '.h')
    command = compiler + ['-std=gnu17', '-fsyntax-only', '-w',
                          '-D_GNU_SOURCE', '-I', root, '-isystem',
                          os.path.join(build, 'proto')] + flags
    with tempfile.TemporaryDirectory() as folder:
        source = os.path.join(folder, 'header.c')
        for name in names:
            with open(source, 'w', encoding='utf-8') as f:
                f.write(f'#include "{name}"\n#include "{name}"\nextern int mm_not_empty;\n')
            done = subprocess.run(command + [source], stderr=subprocess.PIPE)
            if done.returncode != 0:
                report.bad(name, 'does not compile on its own:\n' + done.stderr.decode().strip())
    report.end(len(names))


main(sys.argv[1], sys.argv[2], sys.argv[3:])
