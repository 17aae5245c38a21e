#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Revocations that an EJBCA refuses, and certificates of a CA that the profile has no more: the whole
service on a demo site, and the stand-in for EJBCA."""
import os
import unittest

from ejbca_site import EjbcaCase, Provision, until  # first: it may become another user
from cryptography import x509

GONE = 'Could not find end entity certificate. Issuer CN=IssuingCA, serialNo 1.'


class Revocation(EjbcaCase):
    CAS = ['NewCA=CN=NewCA,O=Example,C=SE']
    PROFILES = [{'name': 'widget', 'issuer': 'pki', 'certificate_profile': 'DevCert', 'delivery': 'wrapped',
                 'more': "transport = 'line'", 'subject': 'CN=widget ${number:8},O=Example'}]

    def setUp(self):
        self.ejbca.no_faults()

    def batch(self):
        order = f'o-{os.urandom(6).hex()}'
        self.site.add_order(order, 100, 'widget')
        return self.station.station('OpenBatch', name='test', profile='widget', device_type='sensor',
                                    quantity=100, heads=8, order_id=order).batch.batch_uid

    def device(self):
        return Provision(self.station, self.batch(), 'r', 1).done().bundles[0]

    def issuer(self, bundle):
        """Whose chain comes with it."""
        chain = self.station.station('GetProvisioningData', device_uid=bundle.device_uid).chain
        self.assertEqual(len(chain), 2)
        return x509.load_der_x509_certificate(chain[0]).subject.get_attributes_for_oid(
            x509.NameOID.COMMON_NAME)[0].value

    def certificate(self, uid):
        return self.tool('device', 'status', uid)['certificate']

    def states(self, uid):
        return [c['status'] for c in self.ejbca.certificates(uid)]

    def refused(self):
        return self.officer.call('OfficerService', 'GetStatus').revocations_refused

    def test_what_is_refused_is_shown_and_asked_for_again_by_an_officer(self):
        uid = self.device().device_uid
        self.ejbca.fault('answer', calls='revoke', status=404, message=GONE, times=1)
        self.ceremony('device', 'revoke', uid, '--reason', 'key-compromise')
        until(lambda: self.refused() == 1)
        self.assertEqual(self.officer.call('OfficerService', 'GetStatus').revocations_pending, 0)
        shown = self.certificate(uid)
        self.assertEqual((shown['recorded'], shown['told'], shown['refused'], shown['refusal']),
                         (True, False, 1, GONE))
        self.assertFalse(shown['revoked'])
        rows = self.tool('device', 'list', '--state', 'unrevoked')['devices']
        self.assertEqual([(r['device_uid'], r['state'], r['reason'], r['attempts']) for r in rows],
                         [(uid, 'unrevoked', GONE, 1)])
        self.assertIn('unrevoked', [r['state'] for r in self.tool('device', 'list')['devices']])
        self.assertRegex(self.site.log.read_text(), rf'event=revocation_refused .*device={uid} .*Could not find')
        self.assertIn('already', self.ceremony('device', 'revoke', uid, '--reason', 'superseded', status=1))
        self.restart()
        until(lambda: self.refused() == 1)
        self.ceremony('device', 'revoke-again', uid)
        until(lambda: self.certificate(uid)['told'])
        shown = self.certificate(uid)
        self.assertEqual((shown['refused'], shown['refusal'], shown['reason']), (0, '', 'KEY_COMPROMISE'))
        self.assertEqual(self.states(uid), ['revoked'])
        self.assertEqual(self.refused(), 0)
        self.assertIn('was refused', self.ceremony('device', 'revoke-again', uid, status=1))

    def test_no_second_certificate_is_made_before_the_wrong_one_is_revoked(self):
        self.ejbca.fault('wrong_subject', times=1)
        self.ejbca.fault('answer', calls='revoke', status=404, message=GONE, times=1)
        call = Provision(self.station, self.batch(), 'r', 1).end()
        self.assertEqual(call.refused.reason, 'DEVICES_PARKED')
        until(lambda: self.refused() == 1)
        uid = self.tool('device', 'list', '--state', 'parked')['devices'][0]['device_uid']
        shown = self.certificate(uid)  # it has no certificate of its own
        self.assertEqual((shown['serial'], shown['refused'], shown['refusal']), ('', 1, GONE))
        self.tool('device', 'retry', uid)
        until(lambda: [d['device_uid'] for d in self.tool('device', 'list', '--state', 'parked')['devices']] == [uid])
        self.assertEqual(self.states(uid), ['active'])
        self.ceremony('device', 'revoke-again', uid)
        until(lambda: self.states(uid) == ['revoked'])
        self.tool('device', 'retry', uid)
        until(lambda: self.states(uid) == ['revoked', 'active'])
        self.assertRegex(self.site.log.read_text(), rf'event=enrolled_anew username={uid} revoked=1')
        until(lambda: self.certificate(uid)['serial'] == self.ejbca.certificates(uid)[1]['serial'])

    def test_what_an_earlier_ca_issued_is_revoked_under_its_name(self):
        old = self.device()
        text, chain = self.site.conf.read_text(), self.site.base / 'pki.pem'
        pem = chain.read_text()
        try:
            self.site.conf.write_text(text.replace("ca = 'IssuingCA'", "ca = 'NewCA'"))
            chain.write_text(''.join(self.ejbca.ca_certificate(n).read_text() for n in ('NewCA', 'RootCA')))
            self.restart()
            bundle = self.device()
            new = x509.load_der_x509_certificate(bundle.certificate)
            self.assertIn('CN=NewCA', new.issuer.rfc4514_string())
            self.assertEqual([self.issuer(b) for b in (old, bundle)], ['IssuingCA', 'NewCA'])
            before = self.certificate(old.device_uid)
            self.assertEqual((before['revoked'], before['reason']), (False, 'NOT_REVOKED'))
            self.ceremony('device', 'revoke', old.device_uid, '--reason', 'superseded')
            until(lambda: self.certificate(old.device_uid)['told'])
            self.assertEqual(self.states(old.device_uid), ['revoked'])
            self.assertTrue(self.certificate(old.device_uid)['revoked'])
        finally:
            self.site.conf.write_text(text)
            chain.write_text(pem)
            self.restart()


if __name__ == '__main__':
    unittest.main(verbosity=2)
