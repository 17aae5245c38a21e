#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks the model (docs/model.md) in every state within some bounds, and that each way to get the
protocol wrong breaks the property that it should.

usage: check.py [RUN...]        runs and mutants by name; without, all of them
       check.py --trace RUN     the steps that lead to what a run finds
"""
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
MODEL = os.path.join(HERE, 'mintmark.pml')
PAGE = os.path.join(HERE, '../../docs/model.md')

# Safety: every assertion, and that nothing ends before the stations have what they asked for, or were
# refused for good. Ends: nothing goes on for ever; with the former, every request is answered.
SAFETY, ENDS = ('-DSAFETY',), ('-DNP',)
LINE = dict(COUNT=2, COUNT_2=1, QUOTA=2, K=2, M=2, FAULTS=2, UNLOCKS=0, FIRST_START='false')
FIRST = dict(STATIONS=1, COUNT=3, QUOTA=2, K=2, M=3, FAULTS=3, UNLOCKS=3)
ATTACK = dict(STATIONS=1, COUNT=2, QUOTA=2, K=2, M=1, RESTORES=2, FAULTS=3, UNLOCKS=0, FIRST_START='false')
SMALL = dict(ATTACK, COUNT=1, QUOTA=1, K=1, RESTORES=3, UNLOCKS=1)

# name, bounds, what is checked, how far the compiler optimises (small runs are over before it is)
RUNS = [
    ('batches', dict(LINE, COUNT_2=2, QUOTA=3, FAULTS=0), SAFETY, '-O0'),
    ('faults', LINE, SAFETY, '-O1'),
    ('first start', FIRST, SAFETY, '-O0'),
    ('first start ends', dict(FIRST, COUNT=2, QUOTA=1, FAULTS=2, UNLOCKS=2), ENDS, '-O0'),
    ('batches end', dict(LINE, COUNT=1, QUOTA=1, K=1), ENDS, '-O0'),
    ('rollback', ATTACK, SAFETY, '-O1'),
    ('rollback, M = 2', dict(SMALL, M=2, UNLOCKS=0), SAFETY, '-O0'),
    ('rollback and unlock', SMALL, SAFETY, '-O1'),
]

# What is left out or done wrong, bounds, the property that must not hold any more.
FEW = dict(LINE, FAULTS=1)
MUTANTS = [
    ('DELIVER_FIRST', FEW, SAFETY, 'delivered_is_recorded'),
    ('ANSWER_FIRST', FEW, SAFETY, 'delivered_is_recorded'),
    ('NO_SYNC', FEW, SAFETY, 'delivered_is_recorded'),
    ('NO_TRANSACTION', FEW, SAFETY, 'recorded_is_within_quota'),
    ('NO_REQUEST_ID', FEW, SAFETY, 'requests_keep_to_count'),
    ('NO_REPLAY', FEW, SAFETY, 'nothing_is_lost'),
    ('NO_CYCLE', FIRST, SAFETY, 'invalid end state'),
    ('NEVER_GIVES_UP', FEW, ENDS, 'non-progress cycle'),
    ('NO_LIMIT', dict(ATTACK, K=1), SAFETY, 'gain_is_bounded'),
    ('NO_COUNT', ATTACK, SAFETY, 'gain_is_bounded'),
    ('OPEN_EARLY', ATTACK, SAFETY, 'gain_is_bounded'),
    ('CLEAN_GOES_ON', dict(SMALL, UNLOCKS=0), SAFETY, 'gain_is_bounded'),
    ('NO_COMPARISON', SMALL, SAFETY, 'only_officers_unlock'),
    ('LOCK_FORGIVES', SMALL, SAFETY, 'only_officers_unlock'),
    ('UNLOCK_WITHOUT_HASHES', SMALL, SAFETY, 'only_officers_unlock'),
    ('TIGHT', ATTACK, SAFETY, 'gain_is_bounded'),
]


def run(folder, command):
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    out = done.stdout.decode()
    if done.returncode:
        sys.exit(f'{" ".join(command)}: status {done.returncode}\n{out[-2000:]}')
    return out


def explore(folder, defines, checked, optimise):
    """What spin's verifier says of the model with these bounds."""
    run(folder, ['spin', '-a'] + defines + [MODEL])
    run(folder, ['gcc', '-w', optimise, '-DNOREDUCE', *checked, '-o', 'pan', 'pan.c'])
    return run(folder, ['./pan', '-m10000', '-w20'] + (['-l'] if checked == ENDS else []))


def finding(out):
    """The property that does not hold, or None."""
    m = re.search(r'^pan:1: (.*?)(?: \(at depth.*)?$', out, re.M)
    return m and m[1].replace('assertion violated ', '')


def is_whole(out):
    """Nothing was left out for want of memory or depth."""
    return 'errors: 0' in out and not re.search(r'max search depth too small|out of memory|'
                                                r'Search not completed', out)


def unreached(out):
    """Lines that the verifier never came to."""
    return {m for m in re.findall(r'(\w+\.pml:\d+), state \d+, "(?!-end-)', out)}


def cpu_s():
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime


def defines_of(bounds, mutant=None):
    return [f'-D{k}={v}' for k, v in bounds.items()] + ([f'-DMUTANT_{mutant}'] if mutant else [])


def report(name, text, began, out):
    """Returns the number of states as the page has it."""
    states = f"{float(re.search(r'([0-9.e+]+) states, stored', out)[1]):,.0f}"
    print(f'{name}: {text}: {states} states, {cpu_s() - began:.1f} s', flush=True)
    return states


def page_says(first, last):
    """Is there a row with these cells? Where a property is not asserted, the page has it in words."""
    with open(PAGE, encoding='utf-8') as f:
        rows = [line.strip('| \n').split(' | ') for line in f if line.startswith('| ')]
    return any(row[0] == first and last in row[-1] for row in rows)


def check_run(folder, name, bounds, checked, optimise):
    """Returns the lines not reached, or exits."""
    began = cpu_s()
    out = explore(folder, defines_of(bounds), checked, optimise)
    states = report(name, finding(out) or 'holds', began, out)
    if not is_whole(out):
        sys.exit(out)
    if not page_says(name, states):
        sys.exit(f'docs/model.md does not say that {name} has {states} states')
    return unreached(out)


def check_mutant(folder, name, bounds, checked, expected):
    began = cpu_s()
    out = explore(folder, defines_of(bounds, name), checked, '-O0')
    report(name, f'breaks {finding(out)}', began, out)
    if finding(out) != expected:
        sys.exit(f'{name} must break {expected}\n{out}')
    if not page_says(f'`{name}`', f'`{expected}`' if '_' in expected else ''):
        sys.exit(f'docs/model.md does not say that {name} breaks {expected}')


def trace(folder, name):
    bounds, mutant, checked = {n: (b, None, c) for n, b, c, _ in RUNS}.get(name) or \
        {n: (b, n, c) for n, b, c, _ in MUTANTS}[name]
    explore(folder, defines_of(bounds, mutant), checked, '-O1')
    out = run(folder, ['spin', '-k', 'mintmark.pml.trail'] + defines_of(bounds, mutant) + [MODEL])
    print(out.split('spin: trail ends')[0])


def main(arguments):
    if not shutil.which('spin'):
        sys.exit('there is no spin: apt-get install spin (tools/check does)')
    with tempfile.TemporaryDirectory(prefix='mintmark-model-') as folder:
        if arguments[:1] == ['--trace']:
            trace(folder, arguments[1])
            return
        unknown = set(arguments) - {r[0] for r in RUNS + MUTANTS}
        if unknown:
            sys.exit(f'no run and no mutant is called {", ".join(sorted(unknown))}')
        never = None
        for name, *rest in RUNS:
            if not arguments or name in arguments:
                left = check_run(folder, name, *rest)
                never = left if never is None else never & left
        if never and not arguments:
            sys.exit(f'no run comes to {", ".join(sorted(never))}')
        for name, *rest in MUTANTS:
            if not arguments or name in arguments:
                check_mutant(folder, name, *rest)
        print(f'{cpu_s():.1f} s of CPU in all')


main(sys.argv[1:])
