#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The steps of the model (tests/model/*.pml), the functions that say that they take one ("model: SPEND"),
and the table in docs/model.md name each other: none is missing anywhere.

usage: steps.py SOURCE_ROOT
"""
import re
import sys

from common import Report, files, read, without_comments

PAGE, SECTION = 'docs/model.md', '## Steps and code\n'
STEP = re.compile(r'printf\("([A-Z_]{2,})\b')
COMMENT = re.compile(r'/\*(.*?)\*/', re.S)
MARK = re.compile(r'(?:^|[\s.;])model: ([A-Z_]+(?:, [A-Z_]+)*)')
FUNCTION = re.compile(r'\s*[\w\s*]*?\b(\w+)\([^;{]*\)\s*\{')
ROW = re.compile(r'^\| `([A-Z_]+)` \| [^|]+ \| (.*) \|$', re.M)
PLACE = re.compile(r'`([\w./-]+\.\w+)` `(\w+)`')


def steps_of_model(root):
    return {s for n in files(root, '.pml') for s in STEP.findall(read(root, n))}


def places_in_code(report, root):
    """Step -> the (file, function)s that say they take it."""
    places = {}
    for name in files(root, '.c'):
        if name.startswith('tests/'):
            continue
        text = read(root, name)
        for comment in COMMENT.finditer(text):
            mark = MARK.search(' '.join(comment[1].replace('\n *', '\n').split()))
            if not mark:
                continue
            function = FUNCTION.match(without_comments(text[comment.end():]))
            if not function:
                report.bad(name, f'"model: {mark[1]}" stands before no function')
                continue
            for step in mark[1].split(', '):
                places.setdefault(step, set()).add((name, function[1]))
    return places


def main(root):
    report = Report('steps')
    model, code = steps_of_model(root), places_in_code(report, root)
    rows = read(root, PAGE).partition(SECTION)[2].partition('\n## ')[0]
    table = {step: set(PLACE.findall(where)) for step, where in ROW.findall(rows)}
    for step in sorted(model | set(code) | set(table)):
        if step not in model:
            report.bad('tests/model', f'the model has no step {step}')
        if step not in code:
            report.bad(PAGE, f'no function says that it takes the step {step}')
        if table.get(step, set()) != code.get(step, set()):
            report.bad(PAGE, f'{step} is in {sorted(table.get(step, []))}, in the code in '
                             f'{sorted(code.get(step, []))}')
    report.end(len(model))


main(sys.argv[1])
