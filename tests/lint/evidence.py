#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""docs/grpc.md's tables tell the truth as far as names go: every file in the second column is there, and
every test in the third is in the test file whose name stands before it. So does docs/threat-model.md:
every test that stands for a defence is there.

usage: evidence.py SOURCE_ROOT
"""
import os
import re
import sys

from common import Report, read

PAGE = 'docs/grpc.md'
THREATS = 'docs/threat-model.md'
NO_TESTS = {'next_number', 'request_id', 'replacements_max'}  # in its tables, besides settings
SETTINGS = 'docs/man/mintmark.conf.5'
INTEROP = {'raw', 'checklist', 'grpcio', 'grpcjs', 'ruby'}
CODE = re.compile(r'`([^`]+)`')
TEST = re.compile(r'START_TEST\((\w+)\)|def test_(\w+)|^ *test\(\'(\w+)\'', re.M)


def sources(key):
    """The files of a test's short name."""
    if key == 'grpcjs':
        return ['tests/interop/grpcjs/cases.js']
    if key in INTEROP:
        return [f'tests/interop/test_{key}.py']
    if key.startswith('service'):
        return [f'tests/integration/test_{key}.py']
    return [f'tests/unit/test_{key}.c']


def is_there(root, name, keys):
    """A test in all the files before it, a fuzzer, or a path."""
    if '/' in name:
        return os.path.exists(os.path.join(root, name))
    if name.startswith('fuzz_'):
        return os.path.exists(os.path.join(root, f'tests/fuzz/{name}.c'))
    paths = [p for key in keys for p in sources(key)]
    return bool(paths) and all(os.path.exists(os.path.join(root, p)) and name in read(root, p)
                               for p in paths)


def check_tests(report, root, place, cell):
    """Returns how many tests the cell names."""
    count = 0
    for part in cell.split(';'):
        keys = re.findall(r'\w+', part.split('`')[0])
        for name in CODE.findall(part):
            count += 1
            if not is_there(root, name, keys):
                report.bad(place, f'{name} is not in {" ".join(keys) or "the tree"}')
    return count


def all_tests(root):
    """Names of tests, of their files, and of what meson runs."""
    names = set()
    for folder, _, files in os.walk(os.path.join(root, 'tests')):
        for file in files:
            if file == 'meson.build' or re.fullmatch(r'test_\w+\.(c|py)', file):
                names.add(file.partition('.')[0])
                for found in TEST.finditer(read(root, os.path.relpath(os.path.join(folder, file), root))):
                    names.add(next(filter(None, found.groups())))
    return names


def check_threats(report, root):
    """Names in lower case with an underscore, in the tables of attackers, are tests. Returns how many."""
    known, count = all_tests(root), 0
    others = NO_TESTS | set(re.findall(r'\w+', read(root, SETTINGS)))
    for number, line in enumerate(read(root, THREATS).splitlines(), 1):
        for name in CODE.findall(line) if line.startswith('|') else []:
            if not re.fullmatch(r'[a-z0-9]+(_[a-z0-9]+)+', name) or name in others:
                continue
            count += 1
            if name not in known:
                report.bad(f'{THREATS}:{number}', f'there is no test {name}')
    return count


def main(root):
    report = Report('evidence')
    looked_at = check_threats(report, root)
    for number, line in enumerate(read(root, PAGE).splitlines(), 1):
        cells = [c.strip() for c in line.strip().strip('|').split('|')]
        if not line.startswith('|') or len(cells) != 3 or cells[1] in ('Where', '---'):
            continue
        place = f'{PAGE}:{number}'
        for path in CODE.findall(cells[1]):
            if not os.path.exists(os.path.join(root, path)):
                report.bad(place, f'{path} is not there')
        count = check_tests(report, root, place, cells[2])
        if not count:
            report.bad(place, 'no test shows it')
        looked_at += 1
    report.end(looked_at)


main(sys.argv[1])
