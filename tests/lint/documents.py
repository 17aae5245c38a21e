#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every document that a source or another document points to is there.

usage: documents.py SOURCE_ROOT
"""
import os
import re
import sys

from common import Report, files, read

LINK = re.compile(r'\]\(([^)#\s]+)')
NAMED = re.compile(r'(?<![\w/.-])docs/[\w./-]+\.(?:md|conf|py|svg)\b')


def main(root):
    report = Report('documents')
    looked_at = 0
    for name in files(root, '.md', '.c', '.h', '.proto', '.py', '.build', '.5', '.8', '.1'):
        if name.startswith('tests/lint/'):
            continue
        for number, line in enumerate(read(root, name).splitlines(), 1):
            there = [(m, m) for m in NAMED.findall(line)] if not name.endswith('.md') else \
                [(m, os.path.normpath(os.path.join(os.path.dirname(name), m)))
                 for m in LINK.findall(line) if '://' not in m]
            for said, path in there:
                looked_at += 1
                if not os.path.exists(os.path.join(root, path)):
                    report.bad(f'{name}:{number}', f'{said} is not there')
    report.end(looked_at)


main(sys.argv[1])
