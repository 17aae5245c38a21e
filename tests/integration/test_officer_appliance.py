#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""mintmark-officer appliance init: the keys, their certificates and requests, and what is refused."""
import hashlib
import unittest

from officer_site import Base, openssl

LABELS = ['mintmark-audit', 'mintmark-identity']


SECTION = """
appliance {
    token = 'main'
    identity_certificate = 'identity.pem'
    audit_certificate = 'audit.pem'
}
"""


class Appliance(Base):
    def setUp(self):
        super().setUp()
        self.conf.write_text(self.conf.read_text() + SECTION)

    def appliance(self, *args, **kwargs):
        return self.ceremony('appliance', 'init', *args, **kwargs)

    def test_init_makes_two_keys_and_their_certificates(self):
        self.init()
        self.appliance()
        self.assertEqual(self.key_labels(), LABELS)
        for key in self.data('key', 'list')['keys']:
            self.assertEqual((key['type'], key['policy']), ('EC P-256', 'good'))
        hashes = []
        for name in ('identity', 'audit'):
            pem = self.dir / f'{name}.pem'
            openssl('verify', '-x509_strict', '-check_ss_sig', '-CAfile', pem, pem)
            text = openssl('x509', '-in', pem, '-noout', '-text').decode()
            self.assertIn(f'CN = test {name}, O = mintmark appliance', text.replace('CN=', 'CN = ')
                          .replace('O=', 'O = '))
            self.assertIn('CA:FALSE', text)
            self.assertIn('Digital Signature', text)
            spki = openssl('pkey', '-pubin', '-outform', 'DER',
                           data=openssl('x509', '-in', pem, '-noout', '-pubkey'))
            hashes.append(hashlib.sha256(spki).hexdigest())
            self.assertIn(f'public key SHA-256 {hashes[-1]}', self.transcript())
        self.assertNotEqual(*hashes)
        self.assertFalse((self.dir / 'identity.pem.csr').exists())

    def test_init_with_csr_writes_requests_too(self):
        self.init()
        self.appliance('--csr')
        for name in ('identity', 'audit'):
            out = openssl('req', '-in', self.dir / f'{name}.pem.csr', '-noout', '-verify',
                          '-subject').decode()
            self.assertIn(f'test {name}', out)
            self.assertEqual(openssl('req', '-in', self.dir / f'{name}.pem.csr', '-noout',
                                     '-pubkey'),
                             openssl('x509', '-in', self.dir / f'{name}.pem', '-noout', '-pubkey'))

    def test_init_a_second_time_is_refused(self):
        self.init()
        self.appliance()
        self.appliance(status=1)
        for name in ('identity', 'audit'):
            (self.dir / f'{name}.pem').unlink()
        _, err = self.appliance(status=1)
        self.assertIn("has a key labelled 'mintmark-identity' already", err)
        self.assertFalse((self.dir / 'identity.pem').exists())
        self.assertEqual(self.key_labels(), LABELS)

    def test_init_never_overwrites_a_file(self):
        self.init()
        (self.dir / 'audit.pem').write_text('mine\n')
        self.appliance(status=1)
        self.assertEqual((self.dir / 'audit.pem').read_text(), 'mine\n')
        self.assertEqual(self.key_labels(), [])

    def test_init_without_the_section_says_so(self):
        self.init()
        self.conf.write_text(self.conf.read_text().replace(SECTION, ''))
        _, err = self.appliance(status=78)
        self.assertIn('has no section appliance', err)


if __name__ == '__main__':
    unittest.main(verbosity=2)
