#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Length and complexity of every function, counted by pmccabe (a switch counts as one branch).

usage: functions.py SOURCE_ROOT
"""
import shutil
import subprocess
import sys

from common import Report, files, skip

LINES = 60
COMPLEXITY = 15


def main(root):
    report = Report('functions')
    if not shutil.which('pmccabe'):
        skip('pmccabe is missing')
    names = files(root, '.c')
    out = subprocess.run(['pmccabe'] + names, cwd=root, check=True,
                         stdout=subprocess.PIPE).stdout.decode()
    functions = [line.split('\t') for line in out.splitlines()]
    for complexity, _, _, _, lines, where in functions:
        if int(lines) > LINES:
            report.bad(where, f'{lines} lines; at most {LINES}')
        if int(complexity) > COMPLEXITY:
            report.bad(where, f'complexity {complexity}; at most {COMPLEXITY}')
    report.end(len(functions))


main(sys.argv[1])
