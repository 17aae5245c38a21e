#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every error reason that a document or a .proto comment names is one that some source gives.

usage: reasons.py SOURCE_ROOT
"""
import re
import sys

from common import Report, files, read

# Words in capitals that are no reasons: gRPC's status names, PKCS#11's, and the like.
STATUS = {'OK', 'CANCELLED', 'UNKNOWN', 'INVALID_ARGUMENT', 'DEADLINE_EXCEEDED', 'NOT_FOUND',
          'ALREADY_EXISTS', 'PERMISSION_DENIED', 'RESOURCE_EXHAUSTED', 'FAILED_PRECONDITION',
          'ABORTED', 'OUT_OF_RANGE', 'UNIMPLEMENTED', 'INTERNAL', 'UNAVAILABLE', 'DATA_LOSS',
          'UNAUTHENTICATED', 'UPPER_SNAKE_CASE'}
NOT_REASONS = re.compile(r'^(CK[A-Z]_|C_|AF_|KEY_DELIVERY_|SIGN_MECHANISM_|EVP_|O_|PR_|MM_|EX_|XDG_)')
WORD = re.compile(r'(?<![\w.$/-])[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+(?![\w=(])')


def main(root):
    report = Report('reasons')
    given = set()
    for name in files(root, '.c', '.h'):
        given.update(re.findall(r'"([A-Z][A-Z0-9_]+)"', read(root, name)))
    looked_at = 0
    documents = ['docs/integration.md', 'docs/operations.md', 'docs/architecture.md', 'docs/verify.md']
    documents += [n for n in files(root, '.proto') if n.startswith('proto/mintmark/')]
    for name in documents:
        for number, line in enumerate(read(root, name).splitlines(), 1):
            text = line.partition('//')[2] if name.endswith('.proto') else line
            for word in WORD.findall(text):
                if word in STATUS or NOT_REASONS.match(word):
                    continue
                looked_at += 1
                if word not in given:
                    report.bad(f'{name}:{number}', f'no source gives the reason {word}')
    report.end(looked_at)


main(sys.argv[1])
