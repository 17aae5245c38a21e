#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The whole service before an EJBCA whose issuing CA has an RSA key: keys of the token and of devices,
delivery, verification by mintmark-verify, revocation, CRL and the officer's check."""
import os
import unittest

from ejbca_site import EjbcaCase, Provision, until  # first: it may become another user
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import padding
from site_under_test import VERIFY, run
from test_enroll import device, enroll, new_key, request, spki

DEVICES = {'issuer': 'pki', 'certificate_profile': 'DevCert'}


class Rsa(EjbcaCase):
    KEYS = 'rsa3072/sha384'
    PROFILES = [{**DEVICES, 'name': 'wrapped', 'delivery': 'wrapped', 'more': "transport = 'line'",
                 'subject': 'CN=widget ${number:8},O=Example'},
                {**DEVICES, 'name': 'own', 'delivery': 'on-device', 'more': '', 'subject': 'CN=${hw_serial}'}]

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.ca = x509.load_pem_x509_certificate(cls.ejbca.ca_certificate('IssuingCA').read_bytes())

    def setUp(self):
        self.ejbca.no_faults()

    def batch(self, profile):
        order = f'o-{os.urandom(6).hex()}'
        self.site.add_order(order, 100, profile)
        return self.station.station('OpenBatch', name='test', profile=profile, device_type='sensor',
                                    quantity=100, heads=8, order_id=order).batch.batch_uid

    def check(self, uid, certificate):
        """It is the one that EJBCA made for this device, signed by its RSA key."""
        self.assertEqual([int(c['serial'], 16) for c in self.ejbca.certificates(uid)],
                         [certificate.serial_number])
        self.ca.public_key().verify(certificate.signature, certificate.tbs_certificate_bytes,
                                    padding.PKCS1v15(), certificate.signature_hash_algorithm)
        self.assertEqual(certificate.signature_hash_algorithm.name, 'sha384')

    def test_keys_of_the_token_are_certified_delivered_and_verified(self):
        folder = self.site.base / 'devices'
        self.site.station('provision', '--batch', self.batch('wrapped'), '--count', 20, '--out', folder)
        said = run(VERIFY, 'identities', '--dir', folder, '--root', self.ejbca.ca_certificate('RootCA'),
                   '--count', 20)
        self.assertIn('20', said)
        for path in folder.glob('*.crt'):
            self.check(path.stem, x509.load_der_x509_certificate(path.read_bytes()))

    def test_keys_of_devices_are_certified(self):
        batch, keys = self.batch('own'), [new_key() for _ in range(5)]
        results, first = enroll(self.station, batch, f'e-{batch}',
                                [device(request(k, f'R-{i}', wishes=False), f'R-{i}')
                                 for i, k in enumerate(keys)])
        self.assertEqual(len(first.chain), 2)
        for key, result in zip(keys, results):
            certificate = x509.load_der_x509_certificate(result.bundle.certificate)
            self.check(result.bundle.device_uid, certificate)
            self.assertEqual(spki(certificate.public_key()), spki(key.public_key()))

    def test_a_forged_one_is_not_delivered(self):
        self.ejbca.fault('forged_issuer', times=1)
        batch = self.batch('wrapped')
        call = Provision(self.station, batch, 'r', 1).end()
        self.assertEqual((call.bundles, call.refused.reason), ([], 'DEVICES_PARKED'))
        self.assertIn('has a signature that is not by the issuer', self.site.log_tail(200))

    def test_it_is_revoked_and_the_crl_and_the_check_are_good(self):
        uid = Provision(self.station, self.batch('wrapped'), 'r', 1).done().bundles[0].device_uid
        answer = self.tool('issuer', 'check', '--issuer', 'pki', '--profile', 'wrapped')
        self.assertEqual({c['good'] for c in answer['checks']}, {True}, answer)
        self.assertTrue(self.tool('issuer', 'chain', '--profile', 'wrapped', '--out',
                             self.site.base / 'chain.pem')['pinned'])
        self.ceremony('device', 'revoke', uid, '--reason', 'superseded')
        until(lambda: self.tool('device', 'status', uid)['certificate']['told'])
        path = self.site.base / 'ca.crl'
        self.tool('issuer', 'crl', '--profile', 'wrapped', '--out', path)
        crl = x509.load_der_x509_crl(path.read_bytes())
        serial = int(self.ejbca.certificates(uid)[0]['serial'], 16)
        self.assertIsNotNone(crl.get_revoked_certificate_by_serial_number(serial))
        self.assertTrue(crl.is_signature_valid(self.ca.public_key()))


if __name__ == '__main__':
    unittest.main(verbosity=2)
