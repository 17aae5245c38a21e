#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Everything in the public .proto files has a comment: each service, rpc, message, enum, enum value
but the UNSPECIFIED one, oneof and field; above it, or at the end of its line.

usage: messages.py SOURCE_ROOT
"""
import re
import sys

from common import Report, files, read

BLOCK = re.compile(r'^(service|message|enum|oneof)\s+(\w+)\s*\{')
RPC = re.compile(r'^rpc\s+(\w+)')
FIELD = re.compile(r'^(?:repeated\s+|map<[^>]*>\s+|[\w.]+\s+)?[\w.]*\s*\b(\w+)\s*=\s*-?\d+\s*[;\[]')


def check(report, name, text):
    above = False
    found = 0
    for number, line in enumerate(text.splitlines(), 1):
        code, _, comment = line.strip().partition('//')
        code = code.strip()
        if not code:
            above = bool(comment)
            continue
        m = BLOCK.match(code) or RPC.match(code) or FIELD.match(code)
        if m and not m.group(m.lastindex).endswith('_UNSPECIFIED'):
            found += 1
            if not above and not comment:
                report.bad(f'{name}:{number}', f'{m.group(m.lastindex)} has no comment')
        above = False
    return found


def main(root):
    report = Report('messages')
    found = sum(check(report, n, read(root, n)) for n in files(root, '.proto')
                if n.startswith('proto/mintmark/'))
    report.end(found)


main(sys.argv[1])
