#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""mintmark-officer exchange: the key that opens packages and its certificate, with a real SoftHSM."""
import hashlib
import unittest

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from officer_site import Base, openssl

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
