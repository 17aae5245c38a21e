#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""mintmark.conf(5) and the schema table say the same: the same settings, with the same defaults,
ranges and choices, marked alike where a reload is not enough. Every entry of the page ends with one
line of facts, which must be the one made here.

usage: manual.py PAGE SCHEMA_TABLE_PROGRAM
"""
import json
import re
import subprocess
import sys

from common import Report


def facts(setting):
    if setting['required']:
        said = ['Required']
    elif setting['default'] is not None:
        said = ['Default ' + setting['default']]
    else:
        said = ['Not set by default']
    if setting['number']:
        unit = ' ' + setting['unit'] if setting['unit'] else ''
        said.append(f'{setting["min"]} to {setting["max"]}{unit}')
    if setting['restart']:
        said.append('takes a restart')
    return '; '.join(said) + '.'


def entries(page):
    """(section, key) -> the lines of its entry; '.Ss SECTION' and '.It Ic KEY' begin them."""
    found, section, entry, depth = {}, None, None, 0
    for line in page.splitlines():
        depth += line.startswith('.Bl') - line.startswith('.El')
        if line.startswith(('.Sh', '.Ss')):
            m = re.match(r'\.Ss Section (\S+)', line)
            section = m.group(1) if m else '' if line == '.Ss Outside of sections' else None
            entry = None
        m = re.match(r'\.It Ic (\S+)', line)
        if m and section is not None:
            entry = found.setdefault((section, m.group(1)), [])
        if depth == 0:
            entry = None
        if entry is not None:
            entry.append(line)
    return found


def main(path, program):
    report = Report('manual')
    table = json.loads(subprocess.run([program], check=True, stdout=subprocess.PIPE).stdout)
    with open(path, encoding='utf-8') as f:
        found = entries(f.read())
    for setting in table:
        key = (setting['section'], setting['key'])
        name = '.'.join(k for k in key if k)
        entry = found.pop(key, None)
        if entry is None:
            report.bad(path, f'{name} is missing')
            continue
        if facts(setting) not in entry:
            report.bad(path, f'{name} must have the line "{facts(setting)}"')
        words = set(re.split(r'[\s,;]+', ' '.join(entry)))
        for choice in setting['choices']:
            if choice not in words:
                report.bad(path, f'{name} does not name the choice {choice}')
    for section, key in found:
        report.bad(path, f'{section}.{key} is not in the schema table')
    report.end(len(table))


main(sys.argv[1], sys.argv[2])
