#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every C source is as clang-format leaves it. Versions differ in details: 14 is the one that counts.

usage: format.py SOURCE_ROOT
"""
import re
import shutil
import subprocess
import sys

from common import Report, files, skip

VERSION = 14


def main(root):
    report = Report('format')
    tool = shutil.which(f'clang-format-{VERSION}') or shutil.which('clang-format')
    if not tool:
        skip('clang-format is missing')
    version = subprocess.run([tool, '--version'], stdout=subprocess.PIPE).stdout.decode()
    m = re.search(r'version (\d+)', version)
    if not m or int(m.group(1)) != VERSION:
        skip(f'clang-format {VERSION} is the one that counts; here is {version.strip()}')
    names = files(root, '.c', '.h')
    done = subprocess.run([tool, '--dry-run', '--style=file'] + names, cwd=root,
                          stderr=subprocess.PIPE)
    for name in sorted(set(re.findall(r'^(\S+?):\d+:\d+: warning', done.stderr.decode(), re.M))):
        report.bad(name, 'clang-format -i would change it')
    if done.returncode != 0 and not report.wrong:
        report.bad('clang-format', done.stderr.decode().strip())
    report.end(len(names))


main(sys.argv[1])
