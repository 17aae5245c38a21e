#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What an officer asks of a token: token test, audit, bench and pin. With a real SoftHSM, and with the
mock for what that cannot do."""
import subprocess
import unittest
import xml.etree.ElementTree

from officer_site import BUILD, USER_PIN, Base, Terminal, token_kind


class OnMock(Base):
    def mock(self, rules, pin='1234'):
        """The site's token becomes the mock in plain C, which does what the rules say."""
        mock = (f"module = '{BUILD}/tests/mock/mm-mock-p11.so' uri = 'pkcs11:token=mock;serial=0001' "
                f"environment = {{'MM_MOCK_P11_RULES={rules}'}}")
        self.conf.write_text(self.conf.read_text().replace(self.token, mock))
        self.secret('user.pin', pin)


class Asked(Base):
    def softhsm(self, *args):
        """SoftHSM's own tool, an independent hand on the token."""
        subprocess.run(['softhsm2-util', *map(str, args)], check=True, capture_output=True,
                       env={'SOFTHSM2_CONF': str(self.dir / 'softhsm2.conf'), 'PATH': '/usr/bin:/bin'})

    def test_test_prints_the_matrix_and_cross_checks(self):
        self.init()
        answer = self.data('token', 'test')
        there = {m['mechanism']: m['listed'] for m in answer['matrix']}
        self.assertTrue(there['CKM_ECDSA'] and there['CKM_EC_KEY_PAIR_GEN'])
        self.assertFalse(there['CKM_ML_DSA'])
        ecdsa = next(m for m in answer['matrix'] if m['mechanism'] == 'CKM_ECDSA')
        self.assertIn('sign', ecdsa['flags'])
        results = {o['operation']: o['result'] for o in answer['operations']}
        for operation in ('P-256 key pair', 'ECDSA P-384', 'AES key wrap (RFC 5649)', 'random health',
                          'ECDH P-256', 'AES key wrap (RFC 3394) and unwrap',
                          'AES key unwrap (RFC 5649)', 'sessions'):
            self.assertEqual(results[operation], 'good', operation)
        edwards = there['CKM_EDDSA'] or token_kind.KIND != 'softokn'  # NSS has it from 3.110 on
        self.assertEqual(results['Ed25519'], 'good' if edwards else 'not there')
        text, _ = self.run_officer('token', 'test')
        kwp = 'yes' if token_kind.KIND == 'softokn' else 'no'
        self.assertRegex(text, rf'CKM_AES_KEY_WRAP_KWP +0x210b +{kwp}')
        self.assertEqual(self.key_labels(), [])  # nothing stays

    def site_of_keys(self):
        self.init()
        self.make_root()
        self.make_sub()
        self.ceremony('key', 'create', '--use', 'transport', '--label', 'transport')

    def test_audit_passes_what_the_ceremonies_make_and_lists_the_rest(self):
        self.site_of_keys()
        answer = self.data('token', 'audit')
        self.assertEqual(answer['deviations'], 0)
        keys = {key['label']: key for key in answer['keys']}
        self.assertEqual(sorted(keys), ['pai', 'transport'])
        lines = {line['attribute']: line for line in keys['pai']['attributes']}
        self.assertEqual(lines['CKA_NEVER_EXTRACTABLE']['actual'], 'true')
        nss = token_kind.KIND == 'softokn'
        self.assertEqual(lines['CKA_ALLOWED_MECHANISMS']['actual'], 'unknown to the token' if nss else 'CKM_ECDSA alone')
        self.assertEqual([(u['kind'], u['label']) for u in answer['unknown']],
                         [('private key', 'paa')])  # no section names the root
        text, _ = self.run_officer('token', 'audit')
        self.assertRegex(text, r'CKA_LOCAL +true +required +' + ('unknown to the token' if nss else 'true +good'))

    @unittest.skipIf(token_kind.KIND == 'softokn', 'NSS never says whether a key came from outside')
    def test_audit_fails_for_a_key_from_outside_and_one_that_is_missing(self):
        self.site_of_keys()
        # The same label and use, but made outside and imported.
        conf = self.conf.read_text()
        key = self.dir / 'outside.pem'
        subprocess.run(['openssl', 'genpkey', '-algorithm', 'EC', '-pkeyopt',
                        'ec_paramgen_curve:P-256', '-out', key], check=True, capture_output=True)
        self.softhsm('--import', key, '--token', 'test', '--pin', USER_PIN, '--label', 'foreign',
                    '--id', 'ab12')
        self.conf.write_text(conf.replace('object=pai', 'object=foreign'))
        out, error = self.run_officer('token', 'audit', status=1)
        self.assertIn('1 of the token\'s keys deviate', error)
        self.assertRegex(out, r'CKA_LOCAL +true +required +false +BROKEN')
        self.assertRegex(out, r'private key +pai')
        self.conf.write_text(conf.replace('object=transport', 'object=nowhere'))
        answer = self.data('token', 'audit', status=1)
        self.assertEqual(answer['deviations'], 1)
        self.assertEqual([(k['name'], k['verdict']) for k in answer['keys'] if k['verdict'] != 'good'],
                         [('line', 'MISSING')])

    def test_audit_holds_each_key_against_its_own_use(self):
        self.site_of_keys()
        self.ceremony('key', 'create', '--use', 'ca', '--label', 'third')
        self.conf.write_text(self.conf.read_text() + """
signing 'firmware' {
    token = 'main'
    key = 'pkcs11:object=third'
    mechanisms = {'ECDSA'}
    clients = {'a'}
}
client 'a' { uri = 'urn:a' roles = {'station'} }
""")
        answer = self.data('token', 'audit')
        self.assertEqual({k['name']: k['use'] for k in answer['keys']},
                         {'pai': 'ca', 'line': 'transport', 'firmware': 'signing'})


class Pin(OnMock):
    def pin(self, *args, status=0):
        return self.ceremony('token', 'pin', *args, status=status)

    def test_pin_is_changed_in_the_token_and_in_the_sites_file(self):
        self.init()
        new = self.secret('new.pin', 'another-secret-4712')
        self.pin('--new-pin-file', new)
        self.assertEqual((self.dir / 'user.pin').read_text().strip(), 'another-secret-4712')
        self.assertEqual((self.dir / 'user.pin').stat().st_mode & 0o777, 0o600)
        self.assertFalse((self.dir / 'user.pin.new').exists())
        self.assertEqual(self.key_labels(), [])  # logs in with it
        old = self.secret('old.pin', USER_PIN)
        self.run_officer('key', 'list', '--pin-file', old, status=77)
        # A PIN from elsewhere: the site's file is somebody else's business.
        again = self.secret('again.pin', 'a-third-secret')
        said, _ = self.pin('--pin-file', new, '--new-pin-file', again)
        self.assertIn('put the new PIN where the service reads it', said + self.transcript())
        self.assertEqual((self.dir / 'user.pin').read_text().strip(), 'another-secret-4712')
        for text in (USER_PIN, 'another-secret-4712', 'a-third-secret'):
            self.assertNotIn(text, self.said + self.transcript())

    def test_pin_that_is_refused_changes_nothing(self):
        self.init()
        wrong = [(USER_PIN, 'is the old one')]
        if token_kind.KIND != 'softokn':  # to which a PIN of any length is good
            wrong.append(('abc', 'CKR_PIN_LEN_RANGE'))
        for new, reason in wrong:
            _, error = self.pin('--new-pin-file', self.secret('new.pin', new), status=65)
            self.assertIn(reason, error)
            self.assertFalse((self.dir / 'user.pin.new').exists())
            self.assertEqual((self.dir / 'user.pin').read_text().strip(), USER_PIN)
        made = self.dir / 'made.pin'
        self.secret('user.pin', 'wrong-pin-of-the-site')
        self.pin('--generate-pin-file', made, status=77)
        self.assertFalse(made.exists())
        self.secret('user.pin', USER_PIN)
        self.secret('user.pin.new', 'left over from a change that was cut off')
        _, error = self.pin('--generate-pin-file', made, status=1)
        self.assertIn('user.pin.new', error)
        self.pin('--generate-pin-file', made, '--new-pin-file', made, status=64)
        self.assertFalse(made.exists())
        self.assertEqual(self.key_labels(), [])

    def test_pin_that_the_token_may_have_taken_is_kept(self):
        self.init()
        self.mock('C_SetPIN:1=0x30')
        _, error = self.pin('--new-pin-file', self.secret('new.pin', 'another'), status=69)
        self.assertIn('CKR_DEVICE_ERROR', error)
        self.assertEqual((self.dir / 'user.pin').read_text().strip(), '1234')
        self.assertEqual((self.dir / 'user.pin.new').read_text().strip(), 'another')
        self.assertIn('user.pin.new', self.transcript())

    def test_pin_is_typed_twice_without_echo(self):
        self.init()
        terminal = Terminal('token', 'pin', '--config', self.conf, '--operator', 'Alice', '--yes',
                            '--transcript', self.dir / 'ceremony.txt')
        for again in '', ', again':
            terminal.expect(f'New user PIN{again}: ')
            self.assertFalse(terminal.echoes())
            terminal.type('typed-secret-1')
        self.assertEqual(terminal.end(), 0, terminal.text)
        self.assertNotIn('typed-secret-1', terminal.text)
        self.assertEqual((self.dir / 'user.pin').read_text(), 'typed-secret-1')
        self.assertEqual(self.key_labels(), [])


class Measured(OnMock):
    def test_bench_draws_the_curve(self):
        self.init()
        svg = self.dir / 'curve.svg'
        answer = self.data('token', 'bench', '--operation', 'sign', '--seconds', '1', '--max', '2',
                           '--svg', svg)
        self.assertEqual([s['workers'] for s in answer['steps']], [1, 2])
        for step in answer['steps']:
            self.assertGreater(step['per_second'], 0)
            self.assertLessEqual(step['p50_ms'], step['p99_ms'])
        self.assertIn(answer['recommended_workers'], (1, 2))
        root = xml.etree.ElementTree.parse(svg).getroot()
        self.assertTrue(root.tag.endswith('svg'))
        self.assertIn('sign on token test', ''.join(root.itertext()))
        self.assertNotIn('href', svg.read_text())  # stands alone
        _, error = self.run_officer('token', 'bench', '--svg', svg, status=1)
        self.assertIn('not overwritten', error)
        self.assertEqual(self.key_labels(), [])

    def test_bench_of_whole_identities_and_of_each_operation(self):
        self.init()
        text, _ = self.run_officer('token', 'bench', '--seconds', '1', '--max', '1')
        self.assertRegex(text, r'workers +a second +p50 ms')
        self.assertIn("recommended: workers = 1 in section token 'main'", text)
        answer = self.data('token', 'bench', '--operation', 'generate', '--seconds', '1', '--max', '1')
        self.assertEqual(answer['bench']['operation'], 'generate')

    def test_bench_refuses_wrong_options(self):
        for options, word in ((['--operation', 'dance'], 'mint, sign'), (['--max', '0'], '--max'),
                              (['--max', '257'], '--max'), (['--seconds', '61'], '--seconds')):
            self.assertIn(word, self.run_officer('token', 'bench', *options, status=64)[1])

    def test_bench_tells_of_a_worker_that_dies_or_fails(self):
        self.mock('C_Sign:20=crash')
        self.assertIn('died', self.run_officer('token', 'bench', '--operation', 'sign', '--max', '1',
                                               '--seconds', '1', status=69)[1])

    def test_bench_passes_on_what_the_token_says(self):
        self.mock('C_Sign:20=0x30')
        self.assertIn('CKR_DEVICE_ERROR', self.run_officer(
            'token', 'bench', '--operation', 'sign', '--max', '1', '--seconds', '1', status=69)[1])

    def test_bench_tries_a_wrong_pin_once(self):
        self.init()
        self.secret('user.pin', 'wrong-pin')
        _, error = self.run_officer('token', 'bench', '--max', '4', '--seconds', '1', status=77)
        self.assertIn('refuses the user PIN', error)


if __name__ == '__main__':
    unittest.main()
