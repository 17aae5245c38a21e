#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""No file names a place of the machine that it was written on: home folders, work folders, private
package registries and mirrors.

usage: paths.py SOURCE_ROOT
"""
import re
import sys

from common import Report, files, read

PLACES = [
    re.compile(r'(?<![\w.}$/-])/(?:work|root|home|Users|mnt|workspace)/\w'),
    re.compile(r'//[^/\s]*(?:artifactory|nexus|registry|mirror|proxy|\.internal|\.corp|\.local)\b',
               re.I),
    re.compile(r'\b(?:10\.\d+|192\.168|172\.(?:1[6-9]|2\d|3[01]))\.\d+\.\d+\b'),
]
SELF = 'tests/lint/'


def main(root):
    report = Report('paths')
    looked_at = 0
    for name in files(root):
        if name.startswith(SELF):
            continue
        try:
            text = read(root, name)
        except UnicodeDecodeError:
            continue
        looked_at += 1
        for number, line in enumerate(text.splitlines(), 1):
            for place in PLACES:
                m = place.search(line)
                if m:
                    report.bad(f'{name}:{number}', f'a place of one machine: {m.group(0)}')
    report.end(looked_at)


main(sys.argv[1])
