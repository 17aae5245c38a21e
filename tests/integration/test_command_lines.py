#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What the four programs say to a command line that is wrong, and to one that asks for help; and
that no output is lost without a word."""
import os
import pathlib
import subprocess
import unittest

BUILD = pathlib.Path(os.environ['MINTMARK_BUILD'])
PROGRAMS = {path.name: path for path in (
    BUILD / 'client/mintmark', BUILD / 'tools/officer/mintmark-officer',
    BUILD / 'tools/verify/mintmark-verify', BUILD / 'daemon/front/mintmarkd')}


def run(program, *args, stdout=subprocess.PIPE):
    return subprocess.run([PROGRAMS[program], *args], stdin=subprocess.DEVNULL, stdout=stdout,
                          stderr=subprocess.PIPE, text=True, timeout=60, check=False)


class CommandLines(unittest.TestCase):
    def test_help_and_version_of_all(self):
        for program in PROGRAMS:
            for word in '--help', '-h':
                done = run(program, word)
                self.assertEqual((done.returncode, done.stderr), (0, ''), program)
                self.assertIn(f'usage: {program} ', done.stdout)
            done = run(program, '--version')
            self.assertRegex(done.stdout, rf'\A{program} \d+\.\d+\.\d+\n\Z')

    def test_help_of_a_group_names_its_commands_alone(self):
        for program, group, inside, outside in (
                ('mintmark', 'batch', 'batch release', 'device get'),
                ('mintmark-officer', 'token', 'token audit', 'key list'),
                ('mintmark-officer', 'key', 'key transport export', 'token init')):
            text = run(program, group, '--help').stdout
            self.assertIn(inside, text)
            self.assertNotIn(outside, text)
        self.assertEqual(run('mintmark-officer', 'help', 'token').stdout,
                         run('mintmark-officer', 'token', '--help').stdout)

    def test_mistakes_are_named_in_a_line(self):
        for program, arguments, text in (
                ('mintmark', 'pign', "'pign' is not a command"),
                ('mintmark', 'batch', "'batch' takes one of open, show, list, release"),
                ('mintmark', 'pign --help', "'pign' is not a command"),
                ('mintmark', '--nope', '--nope is not an option here'),
                ('mintmark-officer', '', 'no command given; try --help'),
                ('mintmark-officer', 'tokn', "no command 'tokn'; try --help"),
                ('mintmark-officer', 'tokn --help', "no command 'tokn'; try --help"),
                ('mintmark-officer', '--nope', "no option '--nope'; try --help"),
                ('mintmark-officer', 'token', "'token' takes one of init, pin, status, "),
                ('mintmark-officer', 'token stauts', "'token' takes one of init, pin, status, "),
                ('mintmark-verify', '--nope', 'unknown option --nope'),
                ('mintmark-verify', 'nope', 'there is no command nope'),
                ('mintmark-verify', 'order x --nope', 'unknown option --nope'),
                ('mintmark-verify', 'report x --nope=1', 'unknown option --nope=1'),
                ('mintmark-verify', 'manifest x --audit', 'a value is missing after --audit'),
                ('mintmark-verify', 'order x --at noon', '--at is no time: noon'),
                ('mintmark-verify', 'identities --dir x --count many', '--count is a number'),
                ('mintmark-verify', 'ledger x' + ' --since y' * 100, 'too many --since'),
                ('mintmarkd', '--nope', 'mintmarkd: --nope: unknown option; try --help'),
                ('mintmarkd', '--config', 'mintmarkd: --config: it needs a value; try --help'),
                ('mintmarkd', 'x', 'mintmarkd: x: unexpected argument; try --help')):
            done = run(program, *arguments.split())
            self.assertEqual((done.returncode, done.stdout), (64, ''), arguments)
            self.assertIn(text, done.stderr)
            self.assertLessEqual(len(done.stderr.splitlines()), 2, done.stderr)

    def test_missing_connection_options_are_named_as_they_are_spelt(self):
        options = {'--target': '127.0.0.1:1', '--ca': '/none', '--certificate': '/none',
                   '--key': '/none'}
        for missing in options:
            given = [word for option, value in options.items() if option != missing
                     for word in (option, value)]
            done = run('mintmark', *given, 'ping')
            self.assertEqual(done.returncode, 78)
            self.assertIn(f'Give {missing} ', done.stderr)
        done = run('mintmark', *[word for pair in options.items() for word in pair], 'ping')
        self.assertEqual(done.returncode, 78)
        self.assertIn('/none: cannot use as CA certificates: No such file or directory',
                      done.stderr)

    def test_output_that_cannot_be_written_is_a_failure(self):
        for program in PROGRAMS:
            for word in '--help', '--version':
                with open('/dev/full', 'w', encoding='ascii') as full:
                    done = run(program, word, stdout=full)
                self.assertNotEqual(done.returncode, 0, program)
                self.assertIn('cannot write the ', done.stderr)


if __name__ == '__main__':
    unittest.main()
