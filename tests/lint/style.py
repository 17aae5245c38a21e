#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the style of the project asks of every source, as far as a program can tell.

usage: style.py SOURCE_ROOT
"""
import re
import sys

from common import Report, files, read, without_comments

FILE_LINES = 600
FORBIDDEN = re.compile(r'\b(strcpy|strcat|stpcpy|v?sprintf|gets|strtok|alloca|s?rand|atoi|atol|'
                       r'system|popen|tmpnam|mktemp)\s*\(')
LATER = re.compile(r'\b(TO' r'DO|FIX' r'ME|X' r'XX)\b')
SPDX = 'SPDX-License-Identifier: Apache-2.0'
SOURCES = ('.c', '.h', '.proto', '.py', '.sh')


def is_program(root, name):
    try:
        return read(root, name).startswith('#!')
    except UnicodeDecodeError:
        return False


def check_c(report, name, text):
    lines = text.splitlines()
    if len(lines) > FILE_LINES:
        report.bad(name, f'{len(lines)} lines; at most {FILE_LINES}')
    for number, line in enumerate(without_comments(text).splitlines(), 1):
        m = FORBIDDEN.search(line)
        if m:
            report.bad(f'{name}:{number}', f'{m.group(1)} is not used here')


def main(root):
    report = Report('style')
    names = files(root)
    sources = [n for n in names if n.endswith(SOURCES) or
               ('.' not in n.rsplit('/', 1)[-1] and is_program(root, n))]
    for name in sources:
        text = read(root, name)
        lines = text.splitlines()
        if not any(SPDX in line for line in lines[:2]):
            report.bad(f'{name}:1', f'no line "{SPDX}"')
        for number, line in enumerate(lines, 1):
            m = LATER.search(line)
            if m:
                report.bad(f'{name}:{number}', f'{m.group(1)}: do it, or open an issue')
        if name.endswith(('.c', '.h')):
            check_c(report, name, text)
    report.end(len(sources))


main(sys.argv[1])
