#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""mintmark-officer exchange: the key that opens packages and its certificate, with a real SoftHSM."""
import hashlib
import unittest

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from officer_site import BUILD, Base, openssl, token_kind

SECTION = """
appliance {
    token = 'main'
    identity_certificate = 'identity.pem'
    audit_certificate = 'audit.pem'
    oem_certificates = 'oem-trusted.pem'
    exchange_certificate = 'exchange.pem'
    exchange_folder = 'exchange'
}
"""


class Exchange(Base):
    def setUp(self):
        super().setUp()
        self.conf.write_text(self.conf.read_text() + SECTION)
        self.init()
        self.ceremony('appliance', 'init')

    def create(self, *args, **kwargs):
        return self.ceremony('exchange', 'create', *args, **kwargs)

    def identity(self):
        spki = openssl('pkey', '-pubin', '-outform', 'DER',
                       data=openssl('x509', '-in', self.dir / 'identity.pem', '-noout', '-pubkey'))
        return hashlib.sha256(spki).hexdigest()

    def text(self):
        return openssl('x509', '-in', self.dir / 'exchange.pem', '-noout', '-text').decode()

    def key(self):
        return next(k for k in self.data('key', 'list')['keys']
                    if k['label'] == 'mintmark-exchange')

    def test_create_makes_a_key_that_agrees_and_its_certificate(self):
        self.create()
        key = self.key()
        self.assertEqual((key['type'], key['policy'], key['sign'], key['never_extractable']),
                         ('EC P-256', 'good', False, True))
        text = self.text()
        self.assertIn('Key Agreement', text)
        self.assertIn('CA:FALSE', text)
        self.assertIn(self.identity().upper(), text.replace(':', ''))
        self.assertIn(f'appliance: {self.identity()}', self.transcript())
        made, identity = (x509.load_pem_x509_certificate((self.dir / name).read_bytes())
                          for name in ('exchange.pem', 'identity.pem'))
        identity.public_key().verify(made.signature, made.tbs_certificate_bytes,
                                     ec.ECDSA(hashes.SHA256()))
        self.assertEqual(made.issuer, identity.subject)

    def test_create_makes_an_rsa_key_where_asked(self):
        self.create('--algorithm', 'rsa')
        key = self.key()
        self.assertEqual((key['type'], key['policy'], key['sign']), ('RSA-3072', 'good', False))
        self.assertIn('Key Encipherment', self.text())

    def test_create_a_second_time_is_refused(self):
        self.create()
        self.assertIn('exists already', self.create(status=1)[1])
        (self.dir / 'exchange.pem').unlink()
        self.assertIn("has a key labelled 'mintmark-exchange' already", self.create(status=1)[1])
        self.assertFalse((self.dir / 'exchange.pem').exists())

    def test_create_without_settings_or_identity_says_so(self):
        self.create('--algorithm', 'dsa', status=64)
        whole = self.conf.read_text()
        self.conf.write_text(whole.replace("    exchange_certificate = 'exchange.pem'\n", ''))
        self.assertIn('appliance.exchange_certificate', self.create(status=78)[1])
        self.conf.write_text(whole.replace("audit_certificate", "identity_key = 'other' "
                                           "audit_certificate"))
        self.assertIn('the identity key', self.create(status=1)[1])
        self.assertNotIn('mintmark-exchange', self.key_labels())

    def hash_of_certificate(self):
        der = openssl('x509', '-in', self.dir / 'exchange.pem', '-outform', 'DER')
        return hashlib.sha256(der).hexdigest().upper()

    def nothing_is_left(self):
        self.assertFalse((self.dir / 'exchange.pem').exists())
        self.assertNotIn('mintmark-exchange', self.key_labels())
        self.create()  # nor of the public half: it would be in the way

    def test_replace_makes_another_key_and_certificate(self):
        self.create()
        was = self.hash_of_certificate()
        id_was = self.key()['id']
        self.ceremony('exchange', 'replace')
        now = self.hash_of_certificate()
        self.assertNotEqual(now, was)
        self.assertNotEqual(self.key()['id'], id_was)
        self.assertEqual(self.key_labels().count('mintmark-exchange'), 1)
        said = self.transcript().replace(':', '')
        self.assertLess(said.index(was), said.rindex(now))
        self.data('exchange', 'certificate', '--out', self.dir / 'copy.pem')  # fits the token
        self.ceremony('exchange', 'replace', '--algorithm', 'rsa')
        self.assertEqual(self.key()['type'], 'RSA-3072')

    def test_delete_leaves_nothing(self):
        self.assertIn('exchange create', self.ceremony('exchange', 'delete', status=1)[1])
        self.assertIn('exchange create', self.ceremony('exchange', 'replace', status=1)[1])
        self.create()
        self.ceremony('exchange', 'delete')
        self.nothing_is_left()
        (self.dir / 'exchange.pem').unlink()  # half is gone already, then the other half
        self.ceremony('exchange', 'delete')
        self.create()
        certificate = (self.dir / 'exchange.pem').read_bytes()
        self.ceremony('exchange', 'delete')
        (self.dir / 'exchange.pem').write_bytes(certificate)
        self.ceremony('exchange', 'replace')
        self.assertNotEqual((self.dir / 'exchange.pem').read_bytes(), certificate)

    def test_replace_that_cannot_be_done_leaves_the_old_key(self):
        self.create()
        was = (self.dir / 'exchange.pem').read_bytes()
        self.ceremony('exchange', 'replace', '--algorithm', 'dsa', status=64)
        identity = (self.dir / 'identity.pem').read_bytes()
        (self.dir / 'identity.pem').write_bytes((self.dir / 'audit.pem').read_bytes())
        self.ceremony('exchange', 'replace', status=65)
        (self.dir / 'identity.pem').write_bytes(identity)
        self.assertEqual((self.dir / 'exchange.pem').read_bytes(), was)
        self.data('exchange', 'certificate', '--out', self.dir / 'copy.pem')

    def test_other_keys_are_left_alone(self):
        self.create()
        self.make_root()
        whole = self.conf.read_text()
        for label in 'paa', 'mintmark-identity', 'mintmark-audit':
            self.conf.write_text(whole.replace('    exchange_cert',
                                               f"    exchange_key = '{label}'\n    exchange_cert"))
            for command in 'replace', 'delete':
                self.assertIn('may sign', self.ceremony('exchange', command, status=65)[1])
        self.conf.write_text(whole)
        self.assertTrue({'paa', 'mintmark-identity', 'mintmark-audit', 'mintmark-exchange'} <=
                        set(self.key_labels()))
        self.assertTrue((self.dir / 'exchange.pem').exists())

    @unittest.skipUnless(token_kind.KIND == 'softhsm', 'the module in front is SoftHSM')
    def test_delete_goes_on_where_the_token_failed(self):
        self.create()
        rules = self.dir / 'rules'
        self.conf.write_text(self.conf.read_text().replace(
            f"module = '{token_kind.MODULE}'", f"module = '{BUILD / 'tests/faults/p11fault.so'}'")
            .replace('environment = {', f"environment = {{'MM_FAULT_MODULE={token_kind.MODULE}', "
                                        f"'MM_FAULT_RULES={rules}', "))
        # Two that the probe of the token made; the public half; then, behind it, the private one,
        # which is left alone in the token.
        for call, command in (3, 'delete'), (3, 'replace'), (4, 'replace'), (3, 'delete'):
            rules.write_text(f'C_DestroyObject:{call}=0x5')
            _, error = self.ceremony('exchange', command, status=69)
            self.assertIn("key 'mintmark-exchange' is still in the token: C_DestroyObject", error)
            self.assertTrue((self.dir / 'exchange.pem').exists())
        rules.write_text('')
        self.ceremony('exchange', 'delete')
        self.nothing_is_left()
        rules.write_text('C_GenerateKeyPair:1=0x5')
        _, error = self.ceremony('exchange', 'replace', status=69)
        self.assertIn('the old key is gone, and there is no new one yet', error)
        rules.write_text('')
        self.nothing_is_left()

    def test_certificate_is_held_against_the_token(self):
        self.assertIn('exchange create', self.run_officer('exchange', 'certificate', '--out',
                                                          self.dir / 'copy.pem', status=1)[1])
        self.create()
        said = self.data('exchange', 'certificate', '--out', self.dir / 'copy.pem')['exchange']
        self.assertEqual(said['appliance'], self.identity())
        self.assertEqual((self.dir / 'copy.pem').read_bytes(),
                         (self.dir / 'exchange.pem').read_bytes())
        self.run_officer('exchange', 'certificate', '--out', self.dir / 'copy.pem', status=1)
        (self.dir / 'exchange.pem').write_bytes((self.dir / 'audit.pem').read_bytes())
        _, err = self.run_officer('exchange', 'certificate', '--out', self.dir / 'c.pem', status=65)
        self.assertIn("not that of key 'mintmark-exchange'", err)
        self.assertFalse((self.dir / 'c.pem').exists())


if __name__ == '__main__':
    unittest.main(verbosity=2)
