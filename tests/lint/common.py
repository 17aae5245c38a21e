# SPDX-License-Identifier: Apache-2.0
"""What the structural checks share: the list of files, and the account at the end.

A check is a program that gets the source tree as its first argument, prints one line for each thing
that is wrong, and exits 0 (all well), 1 (not) or 77 (a tool is missing: meson calls it skipped).
"""
import os
import re
import subprocess
import sys

SKIPPED = 77


def files(root, *endings):
    """Paths below root of the files under version control; in an unpacked release, of all files."""
    if os.path.exists(os.path.join(root, '.git')):
        # A tree that belongs to somebody else (a container, sudo) is read all the same.
        out = subprocess.run(['git', '-c', 'safe.directory=*', '-C', root, 'ls-files', '-z'],
                             check=True, stdout=subprocess.PIPE).stdout.decode()
        names = [n for n in out.split('\0') if n]
    else:
        names = []
        for folder, folders, here in os.walk(root):
            folders[:] = [f for f in folders if not os.path.exists(
                os.path.join(folder, f, 'build.ninja'))]
            names += [os.path.relpath(os.path.join(folder, n), root) for n in here]
    names = [n for n in names if os.path.isfile(os.path.join(root, n))]
    return sorted(n for n in names if not endings or n.endswith(endings))


def read(root, name):
    with open(os.path.join(root, name), encoding='utf-8') as f:
        return f.read()


def without_comments(text):
    """C text with comments and the insides of strings blanked, lines kept."""
    def blank(m):
        s = m.group(0)
        if s[0] in '"\'':
            return s[0] + re.sub(r'[^\n]', ' ', s[1:-1]) + s[-1]
        return re.sub(r'[^\n]', ' ', s)
    return re.sub(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', blank, text,
                  flags=re.S)


class Report:
    def __init__(self, what):
        self.what = what
        self.wrong = 0

    def bad(self, place, text):
        print(f'{place}: {text}')
        self.wrong += 1

    def end(self, looked_at):
        if not looked_at:
            print(f'{self.what}: found nothing to look at')
            sys.exit(1)
        print(f'{self.what}: {looked_at} looked at, {self.wrong} wrong')
        sys.exit(1 if self.wrong else 0)


def skip(why):
    print(f'skipped: {why}')
    sys.exit(SKIPPED)
