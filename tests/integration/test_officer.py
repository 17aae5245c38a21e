#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""mintmark-officer at a terminal and in scripts, with a real SoftHSM token. What it makes is opened
and verified by the openssl command and python3-cryptography."""
import hashlib
import json
import os
import re
import signal
import unittest

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec as elliptic
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.keywrap import (aes_key_unwrap_with_padding,
                                                    aes_key_wrap_with_padding)

from officer_site import MODULE, SO_PIN, USER_PIN, Base, Terminal, openssl, token_kind


def open_ecdh(export, private_pem):
    """The 32 bytes in an export to an EC recipient, as docs/transport-key.md has it."""
    private = serialization.load_pem_private_key(private_pem, None)
    point = bytes.fromhex(export['ephemeral_point'])
    own = private.public_key().public_bytes(serialization.Encoding.X962,
                                            serialization.PublicFormat.UncompressedPoint)
    peer = elliptic.EllipticCurvePublicKey.from_encoded_point(private.curve, point)
    secret = private.exchange(elliptic.ECDH(), peer)[-32:]
    context = hashlib.sha256(b'mintmark transport key v1\0' + point + own +
                             export['transport_key'].encode()).digest()
    kek = Cipher(algorithms.AES(secret), modes.CBC(bytes(16))).encryptor().update(context)
    return aes_key_unwrap_with_padding(kek, bytes.fromhex(export['wrapped_key']))


class Ceremony(Base):
    def test_whole_ceremony_makes_a_chain_that_openssl_verifies(self):
        self.init()
        self.make_root()
        self.make_sub()
        first = self.dir / 'first.pem'
        first.write_text((self.dir / 'pai.pem').read_text().split('-----END')[0] +
                         '-----END CERTIFICATE-----\n')
        said = openssl('verify', '-x509_strict', '-CAfile', self.dir / 'paa.pem', first)
        self.assertIn(b'OK', said)
        text = openssl('x509', '-in', first, '-noout', '-text', '-nameopt', 'RFC2253').decode()
        self.assertIn('1.3.6.1.4.1.37244.2.1', text)
        self.assertRegex(text, r'Basic Constraints: critical\s+CA:TRUE, pathlen:0')
        self.assertRegex(text, r'Key Usage: critical\s+Certificate Sign, CRL Sign')

        shown = self.data('ca', 'show', '--issuer', 'pai')
        self.assertEqual(len(shown['certificates']), 2)
        self.assertTrue(shown['key']['matches'])
        fingerprint = openssl('x509', '-in', first, '-noout', '-fingerprint', '-sha256').decode()
        self.assertIn(shown['certificates'][0]['sha256'], fingerprint)
        self.assertIn(shown['certificates'][0]['sha256'], self.transcript())
        self.run_officer('ca', 'show', '--certificate', self.dir / 'paa.pem', '--label', 'paa')
        self.run_officer('ca', 'show', '--certificate', self.dir / 'paa.pem', '--label', 'pai',
                         status=65)

        keys = {key['label']: key for key in self.data('key', 'list')['keys']}
        self.assertEqual(sorted(keys), ['paa', 'pai'])
        for key in keys.values():
            self.assertEqual(key['policy'], 'good')
            self.assertTrue(key['sensitive'] and key['never_extractable'])
            self.assertEqual(key['local'], token_kind.KIND != 'softokn')  # which never says it

    def test_free_ca_on_p384_is_made_from_options(self):
        self.init()
        self.ceremony('ca', 'create-root', '--label', 'root', '--create-key', '--curve', 'p384',
                      '--subject', 'CN=Root,O=Example', '--validity', '99991231235959Z',
                      '--path-length', '1', '--not-before', '2026-01-01', '--out',
                      self.dir / 'root.pem')
        text = openssl('x509', '-in', self.dir / 'root.pem', '-noout', '-text').decode()
        self.assertIn('ecdsa-with-SHA384', text)
        self.assertIn('Not After : Dec 31 23:59:59 9999 GMT', text)
        self.assertIn('Not Before: Jan  1 00:00:00 2026 GMT', text)
        self.ceremony('ca', 'create-sub', '--label', 'sub', '--create-key', '--subject', 'CN=Sub',
                      '--validity', '10y', '--path-length', '0', '--parent-label', 'root',
                      '--parent-certificate', self.dir / 'root.pem', '--out', self.dir / 'sub.pem')
        said = openssl('verify', '-x509_strict', '-CAfile', self.dir / 'root.pem',
                       self.dir / 'sub.pem')
        self.assertIn(b'OK', said)

    def test_request_signed_elsewhere_is_imported(self):
        self.init()
        csr, signed = self.dir / 'pai.csr', self.dir / 'signed.pem'
        self.ceremony('ca', 'create-sub', '--label', 'pai', '--create-key', '--subject',
                      'CN=Factory CA,O=Example', '--validity', '10y', '--path-length', '0',
                      '--csr-out', csr)
        self.assertIn(b'Factory CA', openssl('req', '-in', csr, '-verify', '-noout', '-subject'))
        root_key, root = self.dir / 'root.key', self.dir / 'root.pem'
        openssl('ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', root_key)
        openssl('req', '-x509', '-new', '-key', root_key, '-subj', '/CN=Offline Root', '-days', '30',
                '-addext', 'keyUsage=critical,keyCertSign', '-out', root)
        extensions = self.dir / 'ext'

        def sign(text):
            extensions.write_text(text)
            openssl('x509', '-req', '-in', csr, '-CA', root, '-CAkey', root_key, '-set_serial', '7',
                    '-days', '20', '-extfile', extensions, '-out', signed)
            signed.write_text(signed.read_text() + root.read_text())

        # not a CA's, then another key's, then none of the faults
        sign('basicConstraints=CA:FALSE\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n')
        _, error = self.ceremony('ca', 'import', '--issuer', 'pai', '--in', signed, status=65)
        self.assertIn('not a CA', error)
        _, error = self.ceremony('ca', 'import', '--issuer', 'pai', '--in', root, status=65)
        self.assertIn("is not that of key", error)
        self.assertFalse((self.dir / 'pai.pem').exists())
        sign('basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\n'
             'subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n')
        short = self.dir / 'short.pem'
        short.write_text(signed.read_text().split('-----END')[0] + '-----END CERTIFICATE-----\n')
        _, error = self.ceremony('ca', 'import', '--issuer', 'pai', '--in', short, status=65)
        self.assertIn('root', error)
        self.ceremony('ca', 'import', '--issuer', 'pai', '--in', signed)
        self.assertIn(b'OK', openssl('verify', '-CAfile', root, self.dir / 'pai.pem'))
        _, error = self.ceremony('ca', 'import', '--issuer', 'pai', '--in', signed, status=1)
        self.assertIn('not overwritten', error)

    def test_transport_key_leaves_to_rsa_and_ec_recipients_only(self):
        self.init()
        self.ceremony('key', 'create', '--use', 'transport', '--label', 'transport')
        rsa, ec = self.dir / 'rsa.key', self.dir / 'ec.key'
        openssl('genpkey', '-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:2048', '-out', rsa)
        openssl('genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256', '-out', ec)
        exports = {}
        for name, key in (('rsa', rsa), ('ec', ec)):
            public = self.dir / f'{name}.pub'
            openssl('pkey', '-in', key, '-pubout', '-out', public)
            out = self.dir / f'{name}.json'
            self.ceremony('key', 'transport', 'export', '--name', 'line', '--recipient', public,
                          '--out', out)
            self.assertEqual(out.stat().st_mode & 0o777, 0o600)
            exports[name] = json.loads(out.read_text())
            spki = openssl('pkey', '-pubin', '-in', public, '-outform', 'DER')
            self.assertEqual(exports[name]['recipient_sha256'], hashlib.sha256(spki).hexdigest())
            self.assertIn(exports[name]['recipient_sha256'], self.transcript())
        self.assertEqual(exports['rsa']['check_value'], exports['ec']['check_value'])
        self.assertTrue(exports['ec']['wrap'].startswith('ECDH-P256'))

        wrapped = bytes.fromhex(exports['rsa']['wrapped_key'])
        options = ['-pkeyopt', 'rsa_padding_mode:oaep']
        if exports['rsa']['wrap'].endswith('SHA256'):
            options += ['-pkeyopt', 'rsa_oaep_md:sha256']
        key = openssl('pkeyutl', '-decrypt', '-inkey', rsa, *options, data=wrapped)
        self.assertEqual(len(key), 32)
        check = hashlib.sha256(aes_key_wrap_with_padding(key, bytes(range(32)))).hexdigest()
        self.assertEqual(check[:16], exports['rsa']['check_value'])
        self.assertEqual(open_ecdh(exports['ec'], ec.read_bytes()), key)

        _, error = self.ceremony('key', 'transport', 'export', '--name', 'line', '--recipient',
                                 self.dir / 'rsa.pub', '--out', self.dir / 'rsa.json', status=1)
        self.assertIn('not overwritten', error)
        for bad, says in (('ec.key', 'no PEM public key'), ('short.pub', '2048 bits'),
                          ('curve.pub', 'P-256 or EC P-384'), ('missing.pub', 'no such file')):
            if bad == 'short.pub':
                openssl('genpkey', '-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:1024', '-out',
                        self.dir / 'x.key')
            elif bad == 'curve.pub':
                openssl('genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:secp256k1',
                        '-out', self.dir / 'x.key')
            if bad in ('short.pub', 'curve.pub'):
                openssl('pkey', '-in', self.dir / 'x.key', '-pubout', '-out', self.dir / bad)
            _, error = self.ceremony('key', 'transport', 'export', '--name', 'line', '--recipient',
                                     self.dir / bad, '--out', self.dir / 'bad.json',
                                     status=1 if bad == 'missing.pub' else 65)
            self.assertIn(says, error)
            self.assertFalse((self.dir / 'bad.json').exists())

    def test_random_pins_are_written_first_and_work(self):
        so, user = self.dir / 'so.pin', self.dir / 'user.pin'
        self.ceremony('token', 'init', '--label', 'test', '--generate-so-pin-file', so,
                      '--generate-pin-file', user)
        pins = [so.read_text().strip(), user.read_text().strip()]
        self.assertNotEqual(*pins)
        for path, pin in zip((so, user), pins):
            self.assertEqual(path.stat().st_mode & 0o777, 0o600)
            self.assertRegex(pin, '^[0-9a-f]{32}$')
            self.assertNotIn(pin, self.said + self.transcript())
        self.assertEqual(self.data('token', 'status')['token']['user_pin'], 'good')


class TokenCommands(Base):
    def test_status_tells_what_it_is_without_a_key(self):
        self.init()
        status = self.data('token', 'status')
        self.assertEqual(status['token']['label'], 'test')
        self.assertEqual(status['token']['user_pin'], 'good')
        self.assertTrue(status['mechanisms']['ecdsa'])
        self.assertEqual(status['keys'], [])
        self.assertIn('no keys', self.run_officer('token', 'status')[0])

    def test_test_and_bench_name_every_operation(self):
        self.init()
        test = self.data('token', 'test')['operations']
        self.assertTrue(all(line['passed'] for line in test if line['supported']))
        self.assertTrue(any('ECDSA' in line['operation'] for line in test))
        bench = self.data('token', 'bench', '--operation', 'each', '--seconds', '1')['operations']
        self.assertTrue(any(line['per_second'] > 10 for line in bench))
        self.assertIn('operation', self.run_officer('token', 'test')[0])
        self.run_officer('token', 'bench', '--seconds', '0', status=64)
        self.assertEqual(self.key_labels(), [])

    def test_wrong_pin_is_tried_once_and_never_again(self):
        self.init()
        wrong = self.secret('wrong.pin', 'not-the-pin')
        _, error = self.run_officer('key', 'list', '--pin-file', wrong, status=77)
        self.assertIn('the token refuses the user PIN, which is not tried again: C_Login', error)
        status = self.data('token', 'status')  # the right one, which also sets the counter back
        self.assertIn(status['token']['user_pin'], ('good', 'wrong PIN was tried'))
        self.assertEqual(self.data('token', 'status')['token']['user_pin'], 'good')

    def test_pin_sources_are_file_descriptor_and_credential(self):
        self.init()
        pin = (self.dir / 'user.pin').rename(self.dir / 'elsewhere.pin')
        self.run_officer('key', 'list', status=1)
        self.run_officer('key', 'list', '--pin-file', pin)
        with open(pin, 'rb') as f:
            self.run_officer('key', 'list', '--pin-fd', f.fileno(), pass_fds=(f.fileno(),))
        env = dict(os.environ, CREDENTIALS_DIRECTORY=str(self.dir))
        self.run_officer('key', 'list', '--pin-credential', 'elsewhere.pin', env=env)
        _, error = self.run_officer('key', 'list', '--pin-file', pin, '--pin-prompt', status=64)
        self.assertIn('one of', error)
        pin.chmod(0o644)
        self.run_officer('key', 'list', '--pin-file', pin, status=77)
        self.run_officer('key', 'list', '--pin-prompt', status=69)  # no terminal

    def test_missing_token_and_module_are_told(self):
        self.secret('user.pin', USER_PIN)
        _, error = self.run_officer('token', 'status', status=1)
        self.assertIn('pkcs11:token=test', error)
        self.conf.write_text(self.conf.read_text().replace(MODULE, '/nonexistent/module.so'))
        _, error = self.run_officer('token', 'status', status=69)
        self.assertIn('/nonexistent/module.so', error)
        _, error = self.run_officer('token', 'status', '--token', 'other', status=78)
        self.assertIn("'other'", error)


class Refusals(Base):
    def test_initialised_token_is_left_alone(self):
        self.init()
        self.make_root()
        new = self.secret('new.pin', 'another-pin')
        _, error = self.ceremony('token', 'init', '--label', 'test', '--so-pin-file', new,
                                 '--generate-pin-file', self.dir / 'generated.pin', status=1)
        self.assertIn('initialised already', error)
        self.assertFalse((self.dir / 'generated.pin').exists())
        self.assertEqual(self.key_labels(), ['paa'])

    def test_init_refuses_what_would_not_work(self):
        so = self.secret('so.pin', SO_PIN)
        same = self.secret('same.pin', SO_PIN)
        for args, status, says in (
                (['--label', 'other'], 64, 'would not find'),
                (['--label', 'test', '--so-pin-file', so, '--so-pin-fd', '3'], 64, 'one way'),
                (['--label', 'test', '--so-pin-file', so, '--pin-file', same], 65, 'differ'),
                (['--label', 'test', '--generate-so-pin-file', so], 1, 'not overwritten'),
                (['--label', 'test', '--so-pin-file', so, '--pin-file', self.dir / 'none'], 1,
                 'no such file'),
                (['--label', 'test', '--generate-so-pin-file', self.dir / 'new.pin', '--pin-file',
                  self.dir / 'none'], 1, 'no such file')):
            _, error = self.ceremony('token', 'init', *args, status=status)
            self.assertIn(says, error)
        self.assertFalse((self.dir / 'new.pin').exists())
        self.assert_no_token()
        self.assertEqual(so.read_text().strip(), SO_PIN)

    def test_existing_files_and_keys_are_never_overwritten(self):
        self.init()
        self.make_root()
        before = (self.dir / 'paa.pem').read_bytes()
        _, error = self.make_root(label='second', status=1)
        self.assertIn('not overwritten', error)
        self.assertEqual((self.dir / 'paa.pem').read_bytes(), before)
        _, error = self.make_root(out='second.pem', status=1)
        self.assertIn("labelled 'paa' already", error)
        _, error = self.ceremony('key', 'create', '--use', 'ca', '--label', 'paa', status=1)
        self.assertIn("labelled 'paa' already", error)
        self.assertFalse((self.dir / 'second.pem').exists())
        self.assertEqual(self.key_labels(), ['paa'])

    def test_ca_that_cannot_be_makes_no_key(self):
        self.init()
        _, error = self.make_root('--validity', 'soon', status=65)
        self.assertIn('validity', error)
        _, error = self.make_root('--vid', 'fff1', status=65)
        self.assertIn('vid', error.lower())
        _, error = self.ceremony('ca', 'create-root', '--label', 'paa', '--preset', 'matter-paa',
                                 '--vid', 'FFF1', '--out', self.dir / 'paa.pem', status=1)
        self.assertIn('--create-key', error)
        self.ceremony('ca', 'create-root', '--label', 'x', '--create-key', '--out',
                      self.dir / 'x.pem', status=64)
        self.ceremony('ca', 'create-sub', '--label', 'x', '--create-key', '--out',
                      self.dir / 'x.pem', status=64)
        self.assertEqual(self.key_labels(), [])
        self.make_root()
        # a parent whose certificate and key do not belong together
        self.make_root(out='other.pem', label='other')
        _, error = self.ceremony('ca', 'create-sub', '--label', 'pai', '--create-key', '--preset',
                                 'matter-pai', '--vid', 'FFF1', '--parent-label', 'other',
                                 '--parent-certificate', self.dir / 'paa.pem', '--out',
                                 self.dir / 'pai.pem', status=65)
        self.assertIn("is not that of key 'other'", error)
        self.assertEqual(self.key_labels(), ['other', 'paa'])
        self.assertFalse((self.dir / 'pai.pem').exists())

    def test_command_line_errors_exit_64(self):
        for args in (['nonsense'], ['token'], ['token', 'init'], ['key', 'create', '--pin', '1234'],
                     ['key', 'create', '--use', 'other', '--label', 'x', '--operator', 'a'],
                     ['key', 'create', '--use', 'ca', '--label', 'a b', '--operator', 'a'],
                     ['key', 'create', '--use', 'ca', '--label', 'x'],  # nobody to ask for a name
                     ['key', 'create', '--use', 'ca', '--label', 'x', '--operator', 'a', '--witness',
                      'a'],
                     ['key', 'create', '--use', 'transport', '--curve', 'p256', '--label', 'x',
                      '--operator', 'a']):
            self.run_officer(*args, status=64)
        self.run_officer('--version', config=False)

    def test_no_confirmation_possible_changes_nothing(self):
        self.init()
        _, error = self.run_officer('key', 'create', '--use', 'ca', '--label', 'x', '--operator',
                                    'Alice', status=64)
        self.assertIn('--yes', error)
        self.assertEqual(self.key_labels(), [])


class AtTheTerminal(Base):
    def init_on_terminal(self, so, again, user):
        t = Terminal('token', 'init', '--config', self.conf, '--label', 'test')
        t.expect('Name of the operator: ')
        t.type('Alice')
        t.expect('type yes')
        t.type('yes')
        for prompt, pin in (('officer.s PIN: ', so), ('PIN, again: ', again), ('user PIN: ', user),
                            ('PIN, again: ', user)):
            t.expect(prompt)
            self.assertFalse(t.echoes())
            t.type(pin)
            if pin != so and prompt.endswith('again: ') and pin == again:
                break
        return t

    def test_init_asks_and_never_shows_a_pin(self):
        t = self.init_on_terminal(SO_PIN, SO_PIN, USER_PIN)
        status = t.end()
        self.assertEqual(status, 0, t.text)
        record = next((self.dir / 'ceremony').iterdir())
        for pin in (SO_PIN, USER_PIN):
            self.assertNotIn(pin, t.text)
            self.assertNotIn(pin, record.read_text())
        self.assertIn('operator: Alice', record.read_text())
        self.assertIn('answer: yes\n', record.read_text())
        self.assertIn(hashlib.sha256(record.read_bytes()).hexdigest(), t.text)
        self.assertRegex(record.name, r'^\d{8}T\d{6}\.\d{3}Z-token-init\.txt$')

    def test_mistyped_pin_initialises_nothing(self):
        t = self.init_on_terminal(SO_PIN, SO_PIN + 'x', USER_PIN)
        self.assertEqual(t.end(), 65, t.text)
        self.assertIn('differ', t.text)
        self.assert_no_token()

    def test_declined_confirmation_changes_nothing_and_is_recorded(self):
        self.init()
        for answers in (['no'], ['Yes'], [''], ['yes', 'no']):
            t = Terminal('key', 'create', '--config', self.conf, '--use', 'ca', '--label', 'x',
                         '--operator', 'Alice', '--witness', 'Bob', '--transcript',
                         self.dir / 'ceremony.txt')
            for name, answer in zip(('Alice', 'Bob'), answers):
                t.expect(name + ', type yes')
                t.type(answer)
            self.assertEqual(t.end(), 1, t.text)
            self.assertIn('nothing was changed', t.text)
            self.assertIn('outcome: declined', self.transcript().splitlines()[-1])
        self.assertEqual(self.key_labels(), [])

    def test_both_people_confirm(self):
        self.init()
        t = Terminal('key', 'create', '--config', self.conf, '--use', 'ca', '--label', 'x',
                     '--operator', 'Alice', '--witness', 'Bob', '--pin-prompt')
        t.expect('User PIN')
        t.type(USER_PIN)
        t.expect('Alice, type yes')
        t.type('yes')
        t.expect('Bob, type yes')
        t.type('yes')
        self.assertEqual(t.end(), 0, t.text)
        self.assertNotIn(USER_PIN, t.text)
        self.assertEqual(self.key_labels(), ['x'])

    def test_interrupted_prompt_gives_the_echo_back(self):
        self.init()
        t = Terminal('key', 'list', '--config', self.conf, '--pin-prompt')
        t.expect('User PIN')
        self.assertFalse(t.echoes())
        os.kill(t.pid, signal.SIGTERM)
        status = os.waitpid(t.pid, 0)[1]
        self.assertTrue(t.echoes())
        self.assertEqual(os.waitstatus_to_exitcode(status), -signal.SIGTERM)
        os.close(t.fd)


class Transcript(Base):
    def test_transcript_tells_who_what_and_what_came_of_it(self):
        self.init()
        self.make_root()
        self.make_root(status=1)
        out, _ = self.make_sub()
        text = self.transcript()
        self.assertTrue(text.startswith('mintmark ceremony transcript, version 1\n'))
        for line in text.splitlines()[1:]:
            self.assertRegex(line, r'^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z [a-z0-9-]+: .')
        for part in ('command: token init', 'command: ca create-root', 'operator: Alice',
                     'witness: Bob', 'site: test', 'label test', 'question: Make a root CA',
                     'answer: yes (given beforehand with --yes)', 'never_extractable=1',
                     'sensitive=1', 'outcome: failed: ', 'outcome: done', 'subject '):
            self.assertIn(part, text)
        self.assertNotIn(SO_PIN, text + self.said)
        self.assertNotIn(USER_PIN, text + self.said)
        # the digest printed is the file's, and each command names that of all before it
        self.assertIn(hashlib.sha256(text.encode()).hexdigest(), out)
        for before in re.finditer(r'sha256-before: ([0-9a-f]{64})\n', text):
            start = text.rindex('\n', 0, before.start()) + 1
            self.assertEqual(hashlib.sha256(text[:start].encode()).hexdigest(), before[1])

    def test_transcript_that_cannot_be_written_stops_the_ceremony(self):
        self.init()
        other = self.dir / 'notes.txt'
        other.write_text('my notes\n')
        for path, status in ((other, 65), ('/nonexistent/t.txt', 1), ('/dev/null', 65)):
            self.run_officer('key', 'create', '--use', 'ca', '--label', 'x', '--operator', 'a',
                             '--yes', '--transcript', path, status=status)
        self.assertEqual(other.read_text(), 'my notes\n')
        self.assertEqual(self.key_labels(), [])

    def test_names_cannot_forge_entries(self):
        self.init()
        self.run_officer('key', 'create', '--use', 'ca', '--label', 'x', '--operator',
                         'Eve\n2026-01-01T00:00:00.000Z outcome: done', '--yes', '--transcript',
                         self.dir / 'ceremony.txt')
        self.assertNotIn('\n2026-01-01T00', self.transcript())
        self.assertIn('operator: Eve\\x0a2026', self.transcript())


if __name__ == '__main__':
    unittest.main(verbosity=2)
