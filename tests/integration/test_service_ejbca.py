#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Devices whose certificates come from an EJBCA: the whole service with a real SoftHSM token, on a demo
site, and the stand-in for EJBCA (tests/fake/ejbca) behind it. What the service has delivered is held
against what the stand-in has issued."""
import base64
import hashlib
import json
import os
import pathlib
import signal
import sys
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'support'))

import token_kind  # noqa: E402, F401  first: it may become another user
from cryptography import x509  # noqa: E402
import ejbca_client  # noqa: E402
from ejbca_site import REFUSAL, EjbcaCase, Provision, serial_of, until  # noqa: E402
from service_site import WAIT_S, Refused, station_pb2, types_pb2  # noqa: E402
from site_under_test import OFFICER, VERIFY, run  # noqa: E402
from test_enroll import device, enroll, new_key, reason_of, request, spki  # noqa: E402

import grpc  # noqa: E402

SUBJECT = 'CN={name} ${{number:8}},O=Example'
PROFILES = (('wrapped', 'wrapped', "transport = 'line'"),
            ('impatient', 'wrapped', "transport = 'line' when_away = fail"),
            ('few', 'wrapped', "transport = 'line' waiting_max = 10"),
            ('misfit', 'wrapped', "transport = 'line'"),
            ('ko', 'wrapped', "transport = 'line' revoke_ko = true"),
            ('refused', 'wrapped', "transport = 'line' when_away = fail"),
            ('slow', 'wrapped', "transport = 'line'"),
            ('slow2', 'wrapped', "transport = 'line'"),
            ('own', 'on-device', ''))
REVOKED = 8_000  # in a CRL that does not wait for a client as a whole
SLOW = ('slow', 'slow2')  # of an issuer that is given 20 devices a second
WAITING, ISSUED, FAILED, PARKED = (types_pb2.CERTIFICATE_STATE_WAITING,
                                   types_pb2.CERTIFICATE_STATE_ISSUED,
                                   types_pb2.CERTIFICATE_STATE_FAILED,
                                   types_pb2.CERTIFICATE_STATE_PARKED)


def key_sha256(key):
    return hashlib.sha256(spki(key.public_key())).hexdigest()


class Ejbca(EjbcaCase):
    ISSUERS = (('pki', 0), ('slow', 20))
    PROFILES = [{'name': name, 'issuer': 'slow' if name in SLOW else 'pki', 'delivery': delivery, 'more': more,
                 'certificate_profile': 'DevCert',
                 # A device cannot know its number.
                 'subject': 'CN=${hw_serial}' if name == 'own' else SUBJECT.format(name=name)}
                for name, delivery, more in PROFILES]

    def setUp(self):
        self.ejbca.no_faults()
        self.doubles = self.ejbca.state()['doubles']

    def tearDown(self):
        """No device ever has two certificates."""
        self.assertEqual(self.ejbca.state()['doubles'], self.doubles)

    def batch(self, profile='wrapped', quantity=1000, **terms):
        order = f'o-{os.urandom(6).hex()}'
        self.site.add_order(order, quantity, profile, **terms)
        return self.station.station('OpenBatch', name='test', profile=profile, device_type='sensor',
                                    quantity=quantity, heads=8, order_id=order).batch.batch_uid

    def counts(self, batch):
        return self.station.station('GetBatch', batch_uid=batch).batch.counts

    def enrolments(self, profile='wrapped'):
        status = self.officer.call('OfficerService', 'GetStatus')
        return next(e for e in status.enrolments if e.profile == profile)

    def data(self, uid):
        return self.station.station('GetProvisioningData', device_uid=uid)

    def check(self, bundles, count):
        """Each is another device's, with the one certificate that EJBCA has for it."""
        self.assertEqual(len({b.device_uid for b in bundles}), count)
        for b in bundles:
            self.assertEqual(b.csr, b'')
            self.assertTrue(b.private_key)
            self.check_one(b)

    def check_one(self, bundle):
        certificate = x509.load_der_x509_certificate(bundle.certificate)
        issued = self.ejbca.certificates(bundle.device_uid)
        self.assertEqual([int(c['serial'], 16) for c in issued],
                         [certificate.serial_number])

    # -- the common way --------------------------------------------------------------------------

    def test_devices_get_their_certificates_and_the_same_again(self):
        batch = self.batch()
        first = Provision(self.station, batch, 'r', 150).done()
        self.check(first.bundles, 150)
        again = Provision(self.station, batch, 'r', 150).done()
        self.assertEqual(sorted(b.SerializeToString() for b in again.bundles),
                         sorted(b.SerializeToString() for b in first.bundles))
        one = self.data(first.bundles[7].device_uid)
        self.assertEqual(list(one.bundles), [first.bundles[7]])
        self.assertEqual(len(one.chain), 2)
        self.assertEqual(self.counts(batch).issued, 150)

    def test_report_names_what_ejbca_issued_and_the_ledger_agrees(self):
        batch = self.batch()
        bundles = Provision(self.station, batch, 'r', 70).done().bundles
        self.station.station('ReleaseBatch', batch_uid=batch)
        report, export = self.site.dir / 'report', self.site.dir / 'export'
        self.site.station('report', batch, '--out', report)
        devices = json.loads((report / 'report.json').read_text())['devices']
        self.assertEqual({d['uid']: int(d['certified_serial'], 16) for d in devices},
                         {b.device_uid: x509.load_der_x509_certificate(b.certificate).serial_number
                          for b in bundles})
        self.assertEqual({d['certificate_serial'] for d in devices}, {None})
        self.site.officer('ledger', 'export', '--out', export)
        said = json.loads(run(VERIFY, 'ledger', export, report / 'report.json', '--json', '--audit',
                              self.site.dir / 'appliance/audit.pem'))
        self.assertEqual(said['by_code'], {})
        self.assertIn('got a certificate each', '\n'.join(said['proved']))

    def test_keys_of_devices_go_the_same_way(self):
        batch = self.batch('own')
        keys = [new_key() for _ in range(70)]
        devices = [device(request(k, f'A-{i}', wishes=False), f'A-{i}') for i, k in enumerate(keys)]
        messages = [devices[:64], devices[64:]]
        results, first = enroll(self.station, batch, f'e-{batch}', *messages)
        self.assertEqual(len(first.chain), 2)
        for key, result in zip(keys, results):
            self.assertEqual(result.WhichOneof('outcome'), 'bundle', result)
            certificate = x509.load_der_x509_certificate(result.bundle.certificate)
            self.assertEqual(spki(certificate.public_key()), spki(key.public_key()))
            self.check_one(result.bundle)
        again, _ = enroll(self.station, batch, f'e-{batch}', *messages)
        self.assertEqual([r.bundle for r in again], [r.bundle for r in results])

    def test_requests_of_devices_that_ask_for_something_else_are_refused_and_nothing_is_spent(self):
        batch, key = self.batch('own', quantity=2), new_key()
        before = self.ejbca.state()['calls'].get('pkcs10enroll', 0)
        results, _ = enroll(self.station, batch, f'e-{batch}', [
            device(request(key, 'Q-2', wishes=False), 'Q-1'), device(request(new_key(), 'Q-3'), 'Q-3')])
        self.assertEqual([reason_of(r.error) for r in results], ['CSR_SUBJECT', 'CSR_EXTENSION'])
        self.assertIn('subject is "CN=Q-2", and the profile gives this device "CN=Q-1"', results[0].error.message)
        self.assertIn('X509v3 Basic Constraints', results[1].error.message)
        self.assertEqual(self.ejbca.state()['calls'].get('pkcs10enroll', 0), before)
        self.assertEqual(self.counts(batch).issued, 0)
        # The same keys and both units are still there.
        results, _ = enroll(self.station, batch, f'e-{batch}', [
            device(request(key, 'Q-1', wishes=False), 'Q-1'), device(request(new_key(), 'Q-3', wishes=False), 'Q-3')])
        self.assertEqual([r.WhichOneof('outcome') for r in results], ['bundle', 'bundle'], results)
        self.assertEqual(self.counts(batch).issued, 2)

    # -- EJBCA is away ---------------------------------------------------------------------------

    def test_away_devices_wait_over_a_restart_and_are_drained(self):
        batch = self.batch()
        self.ejbca.stop()
        try:
            call = Provision(self.station, batch, 'r', 100, timeout=5).end()
            self.assertEqual(call.refused.code, grpc.StatusCode.DEADLINE_EXCEEDED)
            self.assertEqual(call.bundles, [])
            self.assertEqual(self.counts(batch).issued, 100)
            self.assertEqual(self.enrolments().waiting, 100)
            self.restart()
            self.assertEqual(self.enrolments().waiting, 100)
        finally:
            self.ejbca.start()
        self.check(Provision(self.station, batch, 'r', 100).done().bundles, 100)
        self.assertEqual(self.enrolments().waiting, 0)

    def test_away_a_call_waits_until_it_is_back(self):
        batch = self.batch()
        self.ejbca.stop()
        try:
            call = Provision(self.station, batch, 'r', 10)
            until(lambda: self.counts(batch).issued == 10)
        finally:
            self.ejbca.start()
        self.check(call.done().bundles, 10)

    def test_away_and_when_away_is_fail(self):
        batch = self.batch('impatient')
        self.check(Provision(self.station, batch, 'r1', 1).done().bundles, 1)
        self.ejbca.stop()
        try:
            call = Provision(self.station, batch, 'r2', 4).end()
            self.assertEqual(call.refused.reason, 'ISSUER_UNAVAILABLE')
            self.assertTrue(call.refused.retry)
        finally:
            self.ejbca.start()
        until(lambda: self.enrolments('impatient').waiting == 0)
        self.check(Provision(self.station, batch, 'r2', 4).done().bundles, 4)

    def test_away_no_more_wait_than_may(self):
        batch = self.batch('few')
        self.ejbca.stop()
        try:
            call = Provision(self.station, batch, 'r', 30).end()
            self.assertEqual(call.refused.reason, 'TOO_MANY_WAITING')
            self.assertLessEqual(self.counts(batch).issued, 10)
        finally:
            self.ejbca.start()
        until(lambda: self.enrolments('few').waiting == 0)

    def test_away_keys_of_devices_are_withheld_and_come_later(self):
        batch = self.batch('own')
        devices = [device(request(new_key(), f'B-{i}', wishes=False), f'B-{i}') for i in range(5)]
        self.ejbca.stop()
        try:
            results, _ = enroll(self.station, batch, f'e-{batch}', devices)
            self.assertEqual([r.WhichOneof('outcome') for r in results], ['withheld'] * 5)
            uid = results[0].withheld.device_uid
            found = self.data(uid)
            self.assertEqual(list(found.bundles), [])
            self.assertEqual((found.withheld[0].device_uid, found.withheld[0].state), (uid, WAITING))
        finally:
            self.ejbca.start()
        until(lambda: self.data(uid).bundles)
        until(lambda: self.enrolments('own').waiting == 0)
        results, _ = enroll(self.station, batch, f'e-{batch}', devices)
        for result in results:
            self.check_one(result.bundle)

    def test_drained_no_faster_than_the_issuer_is_to_be_given_devices_and_by_turns(self):
        batches = [self.batch(name) for name in SLOW]
        self.ejbca.stop()
        try:
            calls = [Provision(self.station, batch, 'r', 30, timeout=2) for batch in batches]
            until(lambda: [self.enrolments(name).waiting for name in SLOW] == [30, 30])
            for call in calls:
                call.call.cancel()
        finally:
            self.ejbca.start()
        until(lambda: not any(self.enrolments(name).waiting for name in SLOW))
        issued = [c for c in self.ejbca.certificates() if 'CN=slow' in c['subject']]
        self.assertEqual(len(issued), 60)
        times = [c['issued_ms'] for c in issued]
        # 60 at 20 a second, two of them at once and one more that looked whether EJBCA is back.
        self.assertGreater(max(times) - min(times), 57 / 20 * 1000 - 500)
        first = [c['subject'].count('CN=slow2') for c in issued[:30]]
        self.assertIn(sum(first), range(10, 21))
        for batch in batches:
            self.check(Provision(self.station, batch, 'r', 30).done().bundles, 30)

    # -- faults ------------------------------------------------------------------------------------

    def test_refusals_that_are_no_device_s_fault_are_as_if_ejbca_were_away(self):
        batch = self.batch('refused')
        self.ejbca.fault('answer', status=403, message='Administrator is not authorized to resource /ca/1. Msg: .')
        call = Provision(self.station, batch, 'r', 20).end()
        self.assertEqual(call.refused.reason, 'ISSUER_UNAVAILABLE')
        self.assertIn('not authorized', call.refused.text)
        with self.assertRaises(Refused) as refused:
            Provision(self.station, batch, 'r2', 1).done()
        self.assertEqual(refused.exception.reason, 'ISSUER_UNAVAILABLE')
        found = self.enrolments('refused')
        # On a slow machine they come in several chunks, and the last ones are not made any more.
        self.assertIn(found.waiting, range(5, 21))
        self.assertEqual((found.parked, found.failed), (0, 0))
        self.assertIn('not authorized', found.away)
        self.assertLessEqual(self.ejbca.state()['faults']['answer'], 20)  # none is tried again and again
        self.officer_fails('refused')

    def officer_fails(self, profile):
        """So that nothing of it waits when other tests count."""
        end = time.monotonic() + WAIT_S
        while self.enrolments(profile).waiting:  # the last chunk may be recorded when its call is over
            for device in self.officer.call('OfficerService', 'ListWithheld', state=WAITING).devices:
                self.officer.call('OfficerService', 'ChangeEnrolment', device_uid=device.device_uid, action=2,
                                  reason='not needed')
            self.assertLess(time.monotonic(), end)

    def test_cut_after_issuing_the_certificate_is_found_and_taken(self):
        batch = self.batch()
        self.ejbca.fault('cut_after', times=5)
        call = Provision(self.station, batch, 'r', 20).done()
        self.check(call.bundles, 20)

    def test_a_device_that_is_refused_fails_and_the_call_says_so(self):
        batch = self.batch('misfit', replacements=1)
        self.ejbca.fault('answer', times=3, status=400, message=REFUSAL)
        call = Provision(self.station, batch, 'r', 3).done()
        self.assertEqual(call.bundles, [])
        self.assertEqual([w.state for w in call.withheld], [FAILED] * 3)
        self.assertIn(REFUSAL, call.withheld[0].text)
        self.assertEqual((self.counts(batch).issued, self.counts(batch).ko), (3, 3))
        again = Provision(self.station, batch, 'r', 3).done()
        self.assertEqual([w.device_uid for w in again.withheld],
                         [w.device_uid for w in call.withheld])
        self.assertEqual(self.enrolments('misfit').failed, 3)

    def test_a_wrong_certificate_is_parked_revoked_and_never_delivered(self):
        batch = self.batch()
        self.ejbca.fault('wrong_subject', times=1)
        call = Provision(self.station, batch, 'r', 5).end()
        self.assertEqual(call.refused.reason, 'DEVICES_PARKED')
        self.check(call.bundles, 4)
        self.assertEqual(self.enrolments().parked, 1)
        parked = self.officer.call('OfficerService', 'ListWithheld', state=PARKED).devices
        self.assertEqual(len(parked), 1)
        uid = parked[0].device_uid
        until(lambda: [c['status'] for c in self.ejbca.certificates(uid)] == ['revoked'])
        with self.assertRaises(Refused) as refused:
            self.officer.call('OfficerService', 'ChangeEnrolment', device_uid=call.bundles[0].device_uid,
                              action=1)
        self.assertEqual(refused.exception.reason, 'NOT_PARKED')
        self.officer.call('OfficerService', 'ChangeEnrolment', device_uid=uid, action=2,
                          reason='cannot be used')
        again = Provision(self.station, batch, 'r', 5).done()
        self.check(again.bundles, 4)
        self.assertEqual([(w.device_uid, w.state, w.text) for w in again.withheld],
                         [(uid, FAILED, 'cannot be used')])

    def test_a_serial_number_that_another_device_has_is_parked_and_both_sides_can_be_brought_to_agree(self):
        batch = self.batch()
        first = Provision(self.station, batch, 'r', 1).done().bundles[0]
        self.ejbca.fault('repeated_serial', times=1)
        call = Provision(self.station, batch, 's', 1).end()
        self.assertEqual((call.refused.reason, call.bundles), ('DEVICES_PARKED', []))
        parked, = self.officer.call('OfficerService', 'ListWithheld', state=PARKED).devices
        self.assertIn('another device has a certificate with this issuer and serial number', parked.text)
        made, = self.ejbca.certificates(parked.device_uid)
        self.assertEqual((made['serial'], made['status']), (serial_of(first.certificate), 'active'))
        self.assertEqual(list(self.data(parked.device_uid).bundles), [])
        self.check_one(first)  # and it is not revoked for the other one's sake
        self.assertEqual(self.ejbca.certificates(first.device_uid)[0]['status'], 'active')
        self.officer.call('OfficerService', 'ChangeEnrolment', device_uid=parked.device_uid, action=2,
                          reason='its number is taken')
        self.officer.call('OfficerService', 'RevokeDevice', device_uid=first.device_uid,
                          reason=types_pb2.REVOCATION_REASON_SUPERSEDED)
        until(lambda: self.ejbca.certificates(parked.device_uid)[0]['status'] == 'revoked')
        done = json.loads(run(OFFICER, 'issuer', 'reconcile', '--json', '--site', self.site.dir / 'officer.conf',
                              '--target', f'127.0.0.1:{self.site.port}', '--profile', 'wrapped'))
        self.assertEqual([d for d in done['differences']
                          if d['device_uid'] in (first.device_uid, parked.device_uid)], [])

    def test_more_than_one_are_found_and_all_but_one_are_revoked(self):
        """Somebody else enrols for the same username and key, before the answer that was cut off is
        looked for."""
        batch = self.batch('own')
        key = new_key()
        self.ejbca.fault('cut_after', times=1)
        self.ejbca.fault('answer', calls=['search'], status=503)
        call = threading.Thread(target=enroll, daemon=True, args=(
            self.station, batch, f'e-{batch}', [device(request(key, 'D-1', wishes=False), 'D-1')]))
        call.start()
        made = until(lambda: [c for c in self.ejbca.certificates()
                              if c['key_sha256'].lower() == key_sha256(key)])
        other = ejbca_client.Client(self.ejbca)
        uid = made[0]['username']
        csr = base64.b64encode(request(key, 'D-1', wishes=False)).decode()
        self.assertEqual(other.enroll(uid, csr=csr).status, 201)
        other.close()
        self.doubles += 1
        self.ejbca.no_faults()
        until(lambda: self.data(uid).bundles)
        call.join(WAIT_S)
        until(lambda: sorted(c['status'] for c in self.ejbca.certificates(uid)) == ['active', 'revoked'])
        serial = x509.load_der_x509_certificate(self.data(uid).bundles[0].certificate).serial_number
        self.assertEqual([int(c['serial'], 16) for c in self.ejbca.certificates(uid)
                          if c['status'] == 'active'], [serial])
        self.assertIn('event=double_certificates profile=own', self.site.log_tail(200))

    def test_revoke(self):
        batch = self.batch()
        uid = Provision(self.station, batch, 'r', 1).done().bundles[0].device_uid
        self.officer.call('OfficerService', 'RevokeDevice', device_uid=uid,
                          reason=types_pb2.REVOCATION_REASON_KEY_COMPROMISE)
        until(lambda: self.ejbca.certificates(uid)[0]['status'] == 'revoked')
        with self.assertRaises(Refused) as refused:
            self.officer.call('OfficerService', 'RevokeDevice', device_uid=uid)
        self.assertEqual(refused.exception.reason, 'ALREADY_REVOKED')
        with self.assertRaises(Refused) as refused:
            self.station.call('OfficerService', 'RevokeDevice', device_uid=uid)
        self.assertEqual(refused.exception.code, grpc.StatusCode.PERMISSION_DENIED)

    def test_ko_devices_are_revoked_when_the_profile_says_so_and_ejbca_is_back(self):
        batch = self.batch('ko')
        uid = Provision(self.station, batch, 'r', 1).done().bundles[0].device_uid
        self.ejbca.stop()
        try:
            self.station.station('ReportDevices', batch_uid=batch, devices=[
                station_pb2.DeviceReport(device_uid=uid, state=types_pb2.DEVICE_STATE_KO,
                                         reason='broken')])
            until(lambda: self.officer.call('OfficerService', 'GetStatus').revocations_pending == 1)
        finally:
            self.ejbca.start()
        until(lambda: self.ejbca.certificates(uid)[0]['status'] == 'revoked')

    # -- the officer's commands --------------------------------------------------------------------

    def uids(self, *args):
        answer = self.tool('device', 'list', *args)
        return [d['device_uid'] for d in answer['devices']], answer

    def test_officer_lists_retries_and_drops(self):
        batch = self.batch('misfit')
        self.ejbca.fault('wrong_subject', times=4)
        call = Provision(self.station, batch, 'r', 4).end()
        self.assertEqual(call.refused.reason, 'DEVICES_PARKED')
        self.ejbca.no_faults()
        uids, answer = self.uids('--state', 'parked', '--profile', 'misfit')
        self.assertEqual(len(uids), 4)
        self.assertFalse(answer['more'])
        row = answer['devices'][0]
        self.assertEqual((row['state'], row['profile']), ('parked', 'misfit'))
        self.assertIn('subject', row['reason'])
        self.assertRegex(row['age'], r'^0m \d+s$')
        self.assertEqual(self.uids('--state', 'waiting', '--profile', 'misfit')[0], [])
        listed, answer = self.uids('--profile', 'misfit', '--limit', '3')
        self.assertEqual((listed, answer['more']), (uids[:3], True))
        text = self.tool('device', 'list', '--profile', 'misfit', json_=False)
        self.assertIn(uids[3], text)

        # The wrong ones are revoked first; then this one gets another, as the officer wants it.
        until(lambda: all(c['status'] == 'revoked' for uid in uids for c in self.ejbca.certificates(uid)))
        self.doubles += 1
        self.assertEqual(self.tool('device', 'retry', uids[0])['devices'], 1)
        until(lambda: self.data(uids[0]).bundles)
        self.assertEqual(self.ceremony('device', 'drop', uids[1], '--reason', 'of no use')['devices'], 1)
        failed = self.uids('--state', 'failed', '--profile', 'misfit')[1]['devices']
        self.assertIn((uids[1], 'of no use'), [(d['device_uid'], d['reason']) for d in failed])
        self.assertIn('has failed', self.tool('device', 'retry', uids[1], status=1))
        self.doubles += 2
        self.assertEqual(self.tool('device', 'retry', '--profile', 'misfit')['devices'], 2)
        until(lambda: all(self.data(uid).bundles for uid in uids[2:]))
        self.ejbca.fault('wrong_subject', times=2)
        Provision(self.station, batch, 'r2', 2).end()
        self.ejbca.no_faults()
        self.assertEqual(self.ceremony('device', 'drop', '--profile', 'misfit')['devices'], 2)
        self.assertEqual(self.uids('--state', 'parked', '--profile', 'misfit')[0], [])

    def test_officer_drops_and_retries_only_what_is_named(self):
        for args in ((), ('A', '--profile', 'few')):
            self.assertIn('name one device', self.tool('device', 'retry', *args, status=64))
        self.assertIn('device_uid', self.tool('device', 'retry', 'A', status=65))
        self.assertIn('--state', self.tool('device', 'list', '--state', 'lost', status=64))
        self.assertIn('--limit', self.tool('device', 'list', '--limit', '0', status=64))
        nobody = '01a20177-c615-70bb-ab1b-fbfeedecd54b'
        self.assertIn(nobody, self.ceremony('device', 'drop', nobody, status=1))
        self.assertIn(nobody, self.tool('device', 'status', nobody, status=1))

    def test_officer_revokes_and_sees_it_and_the_crl(self):
        batch = self.batch()
        uid = Provision(self.station, batch, 'r', 1).done().bundles[0].device_uid
        before = self.tool('device', 'status', uid)['certificate']
        self.assertEqual((before['revoked'], before['recorded'], before['reason']),
                         (False, False, 'NOT_REVOKED'))
        self.assertEqual(before['serial'], self.ejbca.certificates(uid)[0]['serial'])
        self.assertIn('--reason', self.ceremony('device', 'revoke', uid, '--reason', 'why not', status=64))
        self.ceremony('device', 'revoke', uid, '--reason', 'key-compromise')
        until(lambda: self.tool('device', 'status', uid)['certificate']['told'])
        after = self.tool('device', 'status', uid)['certificate']
        self.assertEqual((after['revoked'], after['recorded'], after['reason']),
                         (True, True, 'KEY_COMPROMISE'))
        self.assertIn('revoked', self.ceremony('device', 'revoke', uid, '--reason', 'superseded', status=1))
        path = self.site.base / 'ca.crl'
        answer = self.tool('issuer', 'crl', '--profile', 'wrapped', '--out', path)
        crl = x509.load_der_x509_crl(path.read_bytes())
        self.assertEqual(answer['crl']['revoked'], len(crl))
        self.assertIn('already', self.tool('issuer', 'crl', '--profile', 'wrapped', '--out', path, status=1))

    def check_crl(self, pieces):
        """It came whole."""
        crl = x509.load_der_x509_crl(b''.join(pieces))
        ca = x509.load_pem_x509_certificate(self.ejbca.ca_certificate('IssuingCA').read_bytes())
        self.assertTrue(crl.is_signature_valid(ca.public_key()))
        self.assertGreaterEqual(len(crl), REVOKED)

    def crl_pieces(self):
        """None when EJBCA had no time."""
        try:
            return [answer.data for answer in self.officers_stream('GetCrl', profile='wrapped')]
        except grpc.RpcError as error:
            self.assertEqual(error.code(), grpc.StatusCode.UNAVAILABLE)
            return None

    def test_a_crl_of_many_pieces_goes_at_the_client_s_pace(self):
        bundle = Provision(self.station, self.batch(), 'r', 1).done().bundles[0]
        self.officer.call('OfficerService', 'RevokeDevice', device_uid=bundle.device_uid,
                          reason=types_pb2.REVOCATION_REASON_SUPERSEDED)
        until(lambda: self.ejbca.certificates(bundle.device_uid)[0]['status'] == 'revoked')
        before = (self.ejbca.dir / 'journal').read_text()
        self.addCleanup(self.rewrite, lambda _: before)
        lines = self.copies(serial_of(bundle.certificate), REVOKED)  # with a number that is revoked
        self.rewrite(lambda text: text + lines)
        pieces = until(self.crl_pieces)
        self.assertGreater(len(pieces), 3)
        self.check_crl(pieces)
        # A client that does not read holds up nobody, and gets all when it does.
        stream = self.blocked_stream('GetCrl', profile='wrapped')
        self.check_crl(until(self.crl_pieces))
        self.check_crl([answer.data for answer in stream])
        # It may go away as well.
        self.blocked_stream('GetCrl', profile='wrapped').cancel()
        self.check_crl(until(self.crl_pieces))

    def test_officer_fetches_the_chain(self):
        path = self.site.base / 'chain.pem'
        answer = self.tool('issuer', 'chain', '--profile', 'wrapped', '--out', path)
        self.assertTrue(answer['pinned'])
        self.assertEqual(path.read_text().split(), (self.site.base / 'pki.pem').read_text().split())
        self.assertIn('dac', self.tool('issuer', 'chain', '--profile', 'dac', '--out',
                                       self.site.base / 'other.pem', status=1))
        with self.assertRaises(Refused) as refused:
            self.station.call('OfficerService', 'GetCaChain', profile='wrapped')
        self.assertEqual(refused.exception.code, grpc.StatusCode.PERMISSION_DENIED)

    def test_officer_is_told_that_ejbca_is_away(self):
        self.ejbca.stop()
        try:
            self.tool('issuer', 'chain', '--profile', 'wrapped', '--out', self.site.base / 'no.pem', status=69)
            self.tool('issuer', 'crl', '--profile', 'wrapped', '--out', self.site.base / 'no.crl', status=69)
            self.assertFalse((self.site.base / 'no.crl').exists())
        finally:
            self.ejbca.start()

    # -- kill -9 -----------------------------------------------------------------------------------

    def kill(self, program):
        for pid in self.site.processes()[program]:
            os.kill(pid, signal.SIGKILL)

    def test_killed_workers_lose_nothing_and_double_nothing(self):
        for program in ('mintmark-issuer', 'mintmark-store', 'mintmark-token'):
            with self.subTest(program=program):
                batch = self.batch()
                self.ejbca.set(latency_ms=50)
                before = self.ejbca.state()['certificates']
                call = Provision(self.station, batch, 'r', 60)
                until(lambda: self.ejbca.state()['certificates'] > before + 5)
                self.kill(program)
                call.end()
                self.ejbca.set(latency_ms=0)
                self.site.wait_ready()
                call = until(lambda: self.whole(batch, 60))
                self.check(call.bundles, 60)

    def test_killed_service_loses_nothing_and_doubles_nothing(self):
        batch = self.batch()
        self.ejbca.set(latency_ms=50)
        before = self.ejbca.state()['certificates']
        call = Provision(self.station, batch, 'r', 60)
        until(lambda: self.ejbca.state()['certificates'] > before + 5)
        self.restart(signal.SIGKILL)
        call.end()
        self.ejbca.set(latency_ms=0)
        self.check(until(lambda: self.whole(batch, 60)).bundles, 60)

    def whole(self, batch, count):
        """The call, repeated; None when it was refused for what will pass."""
        call = Provision(self.station, batch, 'r', count).end()
        if call.refused and call.refused.code != grpc.StatusCode.UNAVAILABLE:
            raise call.refused
        return None if call.refused else call


if __name__ == '__main__':
    unittest.main(verbosity=2)
