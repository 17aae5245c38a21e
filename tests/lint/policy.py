#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The table of key attributes in docs/keys.md is the policy that the code keeps, line by line.

usage: policy.py DOCUMENT POLICY_TABLE_PROGRAM
"""
import itertools
import subprocess
import sys

from common import Report


def main(path, program):
    report = Report('policy')
    code = subprocess.run([program], check=True, stdout=subprocess.PIPE).stdout.decode().splitlines()
    with open(path, encoding='utf-8') as f:
        lines = f.read().splitlines()
    if code[0] not in lines:
        report.bad(path, f'there is no table that begins with "{code[0]}"')
        report.end(0)
    first = lines.index(code[0])
    said = list(itertools.takewhile(lambda line: line.startswith('|'), lines[first:]))
    for number, (want, have) in enumerate(itertools.zip_longest(code, said), first + 1):
        if want != have:
            report.bad(f'{path}:{number}', f'the code has "{want}", the document "{have}"')
    report.end(len(code))


main(sys.argv[1], sys.argv[2])
