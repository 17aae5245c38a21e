#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What each built program links, against what its duty allows; prints the list.

usage: links.py NAME[+LIBRARY]=PROGRAM...

A program must link the LIBRARY: one that it calls nothing of, and that a linker may leave out.
"""
import os
import re
import shutil
import subprocess
import sys

from common import Report, skip

EVERYWHERE = {'libc', 'libm', 'ld-linux-x86-64', 'ld-linux-aarch64', 'libgcc_s'}
SANITIZERS = {'libasan', 'libubsan', 'libtsan', 'libclang_rt', 'libclang_rt.asan-x86_64'}
ALLOWED = {
    'mintmarkd': {'libuv', 'libnghttp2', 'libssl', 'libcrypto', 'libprotobuf-c', 'libconfuse',
                  'libz', 'libseccomp'},
    'mintmark-token': {'libp11-kit', 'libcrypto', 'libprotobuf-c', 'libconfuse', 'libseccomp',
                       'libjansson', 'libmimalloc'},
    'mintmark-store': {'libsqlite3', 'libcrypto', 'libprotobuf-c', 'libconfuse', 'libseccomp'},
    'mintmark-issuer': {'libcurl', 'libssl', 'libcrypto', 'libprotobuf-c', 'libconfuse',
                        'libseccomp', 'libjansson'},
    'mintmark': {'libmintmark', 'libssl', 'libcrypto', 'libnghttp2', 'libprotobuf-c',
                 'libjansson', 'libconfuse', 'libz'},
    'libmintmark': {'libssl', 'libcrypto', 'libnghttp2', 'libprotobuf-c', 'libjansson', 'libz'},
    'mintmark-officer': {'libmintmark', 'libp11-kit', 'libcrypto', 'libssl', 'libnghttp2',
                         'libprotobuf-c', 'libconfuse', 'libjansson', 'libz', 'libgfshare'},
    'mintmark-verify': {'libcrypto', 'libjansson', 'libprotobuf-c'},
}


def needed(path):
    out = subprocess.run(['readelf', '-dW', path], check=True, stdout=subprocess.PIPE).stdout
    sonames = re.findall(r'\(NEEDED\).*\[([^\]]+)\]', out.decode())
    return [s.split('.so')[0] for s in sonames]


def main(arguments):
    report = Report('links')
    if not shutil.which('readelf'):
        skip('readelf (binutils) is missing')
    for argument in arguments:
        name, path = argument.split('=', 1)
        name, _, wanted = name.partition('+')
        if not os.path.exists(path):
            report.bad(name, f'{path} has not been built')
            continue
        libraries = needed(path)
        print(f'{name}: {" ".join(sorted(libraries))}')
        if wanted and wanted not in libraries:
            report.bad(name, f'does not link {wanted}')
        for library in sorted(set(libraries) - ALLOWED[name] - EVERYWHERE - SANITIZERS):
            report.bad(name, f'links {library}, which its duty does not need')
    report.end(len(arguments))


main(sys.argv[1:])
