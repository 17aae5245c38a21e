#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Commands whose PKCS#11 module never comes back from a call: each ends by itself, with a sentence that
names the function, its own exit status, and nothing half done on the disk."""
import time
import unittest

from officer_site import BUILD, USER_PIN, Base, token_kind

if token_kind.KIND == 'proxy':
    token_kind.skip('a module that is put in front of the proxy stays there')
FAULT_MODULE = BUILD / 'tests/faults/p11fault.so'
HANGS = 75
SECOND = '--timeout', '1'


class Hanging(Base):
    def setUp(self):
        super().setUp()
        self.good = self.conf.read_text()

    def hang(self, rules):
        """From now on the token hangs as the rules say; '' for one that works."""
        path = self.dir / 'rules'
        path.write_text(rules)
        self.conf.write_text(token_kind.behind(self.good, FAULT_MODULE, MM_FAULT_RULES=path)
                             if rules else self.good)

    def assert_given_up(self, function, status, said):
        self.assertEqual(status, HANGS, said)
        self.assertEqual(len(said.splitlines()), 1, said)
        self.assertIn(f'mintmark-officer: {function} has not come back from the PKCS#11 module for 1 s', said)

    def files(self):
        return sorted(p.name for p in self.dir.iterdir() if p.name not in ('rules', 'ceremony.txt'))

    def test_commands_that_change_nothing(self):
        self.init()
        before = self.files()
        for function, *command in (
                ('C_Initialize', 'token', 'status'), ('C_OpenSession', 'token', 'test'),
                ('C_Login', 'key', 'list'), ('C_FindObjects', 'token', 'audit'),
                ('C_GenerateKeyPair', 'token', 'test'),
                ('C_Sign', 'token', 'bench', '--max', '1', '--seconds', '1'),
                ('C_Sign', 'token', 'bench', '--operation', 'each', '--seconds', '1'),
                ('C_Finalize', 'token', 'status')):
            with self.subTest(function=function, command=command):
                self.hang(f'{function}=hang')
                out, said = self.run_officer(*command, '--pin-file', self.dir / 'user.pin', *SECOND,
                                             status=HANGS)
                self.assert_given_up(function, HANGS, said)
                if function == 'C_Finalize':  # all had been done, and was said
                    self.assertIn('test', out)
        self.assertEqual(self.files(), before)
        self.hang('')
        self.run_officer('token', 'test', '--pin-file', self.dir / 'user.pin')

    def test_a_ceremony_has_its_outcome_in_the_transcript(self):
        self.init()
        before = self.files()
        self.hang('C_GenerateKeyPair=hang')
        create = 'key', 'create', '--use', 'ca', '--label', 'pai', '--pin-file', self.dir / 'user.pin'
        _, said = self.ceremony(*create, *SECOND, status=HANGS)
        self.assert_given_up('C_GenerateKeyPair', HANGS, said)
        last = self.transcript().splitlines()[-1]
        self.assertRegex(last, r'^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z outcome: failed: '
                               r'C_GenerateKeyPair has not come back .*may be done or not$')
        self.assertEqual(self.files(), before)
        # The same command goes on from there, and on in the same transcript.
        self.hang('')
        self.ceremony(*create)
        self.assertTrue(self.transcript().splitlines()[-1].endswith(' outcome: done'))

    def test_pins_that_the_token_may_have_taken_stay(self):
        self.secret('so.pin', '12345678')
        self.hang('C_InitToken=hang')
        init = ('token', 'init', '--label', 'test', '--so-pin-file', self.dir / 'so.pin',
                '--generate-pin-file', self.dir / 'made.pin')
        if token_kind.KIND != 'softokn':  # which has no C_InitToken of that kind
            self.assert_given_up('C_InitToken', HANGS, self.ceremony(*init, *SECOND, status=HANGS)[1])
            self.assertEqual(len((self.dir / 'made.pin').read_text().strip()), 32)
            (self.dir / 'made.pin').unlink()
        self.hang('')
        self.init()
        self.hang('C_SetPIN=hang')
        change = 'token', 'pin', '--pin-file', self.dir / 'user.pin', '--new-pin-file', self.dir / 'new.pin'
        self.secret('new.pin', 'another-' + USER_PIN)
        self.assert_given_up('C_SetPIN', HANGS, self.ceremony(*change, *SECOND, status=HANGS)[1])
        # It has not: the old one is good.
        self.hang('')
        self.run_officer('key', 'list', '--pin-file', self.dir / 'user.pin')

    def test_slow_is_not_hanging(self):
        self.init()
        self.hang('*=delay:60')  # many calls, longer than --timeout together
        began = time.monotonic()
        self.run_officer('token', 'status', '--pin-file', self.dir / 'user.pin', *SECOND)
        self.assertGreater(time.monotonic() - began, 1)

    def test_timeout_has_a_range(self):
        for value in '0', '3601', '1s':
            _, said = self.run_officer('token', 'status', '--timeout', value, status=64)
            self.assertIn('--timeout takes 1 to 3600 seconds', said)


if __name__ == '__main__':
    unittest.main(verbosity=2)
