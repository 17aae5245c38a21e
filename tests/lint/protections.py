#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""docs/protections.md, the attacks of tests/interop/attack_table.py, the counters in the code, and the
limits: what one of them names, the others have. The page's tables are made from these.

usage: protections.py SOURCE_ROOT [--write]
"""
import ast
import operator
import os
import re
import sys

from common import Report, read

PAGE, COUNTERS = 'docs/protections.md', 'daemon/front/metrics_transport.c'
LIMITS, SETTINGS = 'daemon/base/limits.h', 'daemon/conf/schema.c'
LEAST = 40  # distinct attacks
OPERATORS = {ast.Mult: operator.mul, ast.Add: operator.add, ast.Sub: operator.sub}


def number(text):
    """The value of a constant expression of numbers."""
    def walk(node):
        if isinstance(node, ast.BinOp):
            return OPERATORS[type(node.op)](walk(node.left), walk(node.right))
        return ast.literal_eval(node)
    return walk(ast.parse(text, mode='eval').body)


def size(value):
    """131072 as people say it."""
    for unit, name in ((1 << 20, ' Mi'), (1 << 10, ' Ki')):
        if value >= 8 * 1024 and value % unit == 0:
            return f'{value // unit}{name}'
    return f'{value:,}'


def known_limits(root):
    """Name of a constant or setting -> its value, or default, as text."""
    out = {}
    for name, text in re.findall(r'^    (MM_\w+) = ([0-9*+\- ]+),', read(root, LIMITS), re.M):
        out[name] = size(number(text))
    for name, rest in re.findall(r'\{LIMITS\((\w+)\),(.*?)\},\n', read(root, SETTINGS), re.S):
        unit = ' ms' if name.endswith('_ms') else ''
        default = int(re.search(r'fallback = "(\d+)"', rest)[1])
        out['limits.' + name] = f'{default:,}{unit}'
    return out


def code(names):
    return ', '.join(f'`{n}`' for n in names)


def split(text):
    return [part for part in re.split(r',\s*', text) if part]


def counter_text(counters):
    return ' or '.join(f'`{c.split("=")[1]}`' if c.startswith('limit=') else
                       f'`{c.split()[0]}`' for c in counters) or '–'


def limits_table(table, known):
    rows = ['| `limit` | What is bounded | Limit or setting | Value or default | Attacks |',
            '|---|---|---|---|---|']
    for counter, what, limits in table.PROTECTIONS:
        attacks = [a.name for a in table.ATTACKS if f'limit={counter}' in a.counter]
        names = split(limits)
        rows.append(f'| `{counter}` | {what} | {code(names)} | '
                    f'{", ".join(known.get(n, "?") for n in names)} | {code(attacks)} |')
    return '\n'.join(rows)


def attacks_table(table):
    rows = ['| Attack | What is sent | What the server does | Limit | Counter |', '|---|---|---|---|---|']
    for a in table.ATTACKS:
        rows.append(f'| `{a.name}` | {a.sends} | {a.must} | {code(split(a.limit)) or "–"} | '
                    f'{counter_text(a.counter)} |')
    return '\n'.join(rows)


def check_table(report, root, table, known):
    place = 'tests/interop/attack_table.py'
    labels = re.findall(r'\[MM_LIMIT_\w+\] = "(\w+)"', read(root, COUNTERS))
    said = [p[0] for p in table.PROTECTIONS]
    if said != labels:
        report.bad(place, f'PROTECTIONS are {said}, the counters in {COUNTERS} {labels}')
    for label in labels:
        if not any(f'limit={label}' in a.counter for a in table.ATTACKS):
            report.bad(place, f'no attack makes the counter {label} rise')
    names = [a.name for a in table.ATTACKS]
    if len(set(names)) != len(names) or len(names) < LEAST:
        report.bad(place, f'{len(set(names))} distinct attacks of {len(names)}, at least {LEAST}')
    used = [n for a in table.ATTACKS for n in split(a.limit)]
    for name in set(used + [n for p in table.PROTECTIONS for n in split(p[2])]):
        if name not in known:
            report.bad(place, f'{name} is neither in {LIMITS} nor a setting')
    for counter in {c for a in table.ATTACKS for c in a.counter}:
        family = counter.split()[0]
        if (counter[6:] not in labels if counter.startswith('limit=')
                else f'"{family}"' not in read(root, COUNTERS)):
            report.bad(place, f'there is no counter {counter}')


def main(root, write):
    sys.path.insert(0, os.path.join(root, 'tests/interop'))
    import attack_table
    report, known = Report('protections'), known_limits(root)
    check_table(report, root, attack_table, known)
    page = made = read(root, PAGE)
    for name, rows in (('limits', limits_table(attack_table, known)),
                       ('attacks', attacks_table(attack_table))):
        begin, end = f'<!-- {name} -->\n', f'\n<!-- end of {name} -->'
        if begin not in made or end not in made:
            report.bad(PAGE, f'the marks of the table "{name}" are missing')
            continue
        head, rest = made.split(begin, 1)
        made = head + begin + rows + end + rest.split(end, 1)[1]
    if write:
        with open(os.path.join(root, PAGE), 'w', encoding='utf-8') as f:
            f.write(made)
    elif made != page:
        report.bad(PAGE, 'the tables are old: make them anew with tests/lint/protections.py --write')
    report.end(len(attack_table.ATTACKS) + len(attack_table.PROTECTIONS))


main(sys.argv[1], sys.argv[2:] == ['--write'])
