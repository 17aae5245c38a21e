#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The table of metrics in docs/operations.md and those in daemon/front say the same; the protections
that the page names are those in the text.

usage: metrics.py SOURCE_ROOT
"""
import re
import sys

from common import Report, read

SOURCES = ('daemon/front/metrics.c', 'daemon/front/metrics_transport.c', 'daemon/front/metrics_jobs.c',
           'daemon/front/metrics_issuers.c')
PAGE = 'docs/operations.md'
ENTRY = re.compile(r'\{"(mintmark_\w+)",\s*MM_(COUNTER|GAUGE|HISTOGRAM),\s*((?:"[^"]*"\s*)+),\s*'
                   r'\{([^}]*)\},')


def row(entry):
    name, kind, text, labels = entry.groups()
    labels = ', '.join(f'`{label}`' for label in re.findall(r'"(\w+)"', labels))
    text = ''.join(re.findall(r'"([^"]*)"', text))
    return f'| `{name}` | {kind.lower()} | {labels}{" " if labels else ""}| {text} |'


def main(root):
    report = Report('metrics')
    source, page = '\n'.join(read(root, s) for s in SOURCES), read(root, PAGE)
    made = [row(entry) for entry in ENTRY.finditer(source)]
    if len(made) != source.count('{"mintmark_') or not made:
        report.bad(SOURCES[0], 'the table of metrics has an entry that this check cannot read')
    said = re.findall(r'^\| `mintmark_.*\|$', page, re.M)
    for line in made:
        if line not in said:
            report.bad(PAGE, f'the table must have the row "{line}"')
    for line in said:
        if line not in made:
            report.bad(PAGE, f'no metric is like the row "{line}"')
    if said != made and sorted(said) == sorted(made):
        report.bad(PAGE, 'the rows are in another order than the metrics')
    limits = re.findall(r'\[MM_LIMIT_\w+\] = "(\w+)"', source)
    text = page[page.find('`limit` names'):].split('\n\n')[0]
    for limit in limits:
        if f'`{limit}`' not in text:
            report.bad(PAGE, f'the protection {limit} is not named')
    report.end(len(made) + len(limits))


main(sys.argv[1])
