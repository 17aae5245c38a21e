#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A program's manual page and its --help agree: every command and every option that the help tells
of is in the page, and the page has no option beside them.

usage: commands.py PAGE PROGRAM
"""
import re
import subprocess
import sys

from common import Report

# "  batch open   what it does" or "  mintmark batch open --name NAME"
COMMAND = re.compile(r'^  (?:mintmark\S* )?([a-z][a-z-]*(?: [a-z][a-z-]*)*)(?=  | *$| [^a-z ])', re.M)
OPTION = re.compile(r'(?<![\w-])--([a-z][a-z-]*[a-z])(?![\w-])')


def told(program, *words):
    out = subprocess.run([program, *words, '--help'], stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, timeout=30)
    return out.stdout.decode() if out.returncode == 0 else ''


def options_of_page(page):
    """Of '.It Fl -out Ar file' and of everything else that begins with Fl; 'Fl -a , -b' is two."""
    found = set()
    for line in page.splitlines():
        for m in re.finditer(r'\bFl ((?:-[a-z-]+(?: [,|] )?)+)', line):
            found.update(re.findall(r'(?<![\w])-([a-z][a-z-]*)', m.group(1)))
    return found


def main(path, program):
    report = Report('commands')
    with open(path, encoding='utf-8') as f:
        page = f.read()
    top = told(program)
    commands = sorted(set(COMMAND.findall(top)))
    options = set(OPTION.findall(top))
    for command in commands:
        options |= set(OPTION.findall(told(program, *command.split())))
        if not re.search(r'^\.It Ic ' + re.escape(command) + r'\b', page, re.M):
            report.bad(path, f'the command {command} is missing')
    there = options_of_page(page)
    for option in sorted(options - there):
        report.bad(path, f'--{option} is missing')
    for option in sorted(there - options - {'help', 'version'}):
        report.bad(path, f'--{option} is in no help text of {program}')
    report.end(len(commands) + len(options))


main(sys.argv[1], sys.argv[2])
