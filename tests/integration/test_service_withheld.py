#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Devices that have no certificate of an EJBCA, for now or for good, as the mintmark command takes them from the
whole service: a real SoftHSM token, a demo site, and the stand-in for EJBCA (tests/fake/ejbca)."""
import json
import os
import pathlib
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'support'))

import token_kind  # noqa: E402, F401  first: it may become another user
from ejbca_site import REFUSAL, EjbcaCase, until  # noqa: E402
from service_site import types_pb2  # noqa: E402
from site_under_test import run  # noqa: E402
from test_enroll import new_key, request  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
NONE = {'waiting': 0, 'parked': 0, 'failed': 0}
LATER = 75
RETRY, FAIL = 1, 2  # what an officer can do with a parked device


class Withheld(EjbcaCase):
    PROFILES = [{'name': name, 'issuer': 'pki', 'delivery': delivery, 'subject': subject, 'more': more,
                 'certificate_profile': 'DevCert'}
                for name, delivery, subject, more in (('own', 'on-device', 'CN=${hw_serial}', ''),
                                                      ('made', 'wrapped', 'CN=m${number:8}', "transport = 'line'"))]

    def setUp(self):
        self.ejbca.no_faults()
        self.folder = self.site.base / os.urandom(6).hex()

    def batch(self, profile):
        order = f'o-{os.urandom(6).hex()}'
        self.site.add_order(order, 100, profile)
        return self.station.station('OpenBatch', name='test', profile=profile, device_type='sensor', quantity=100,
                                    heads=8, order_id=order).batch.batch_uid

    def mintmark(self, *args, code=0, out=None):
        done = subprocess.run(self.site.station_command(
            '--json', *map(str, args), '--out', str(out or self.folder)), capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, code, done)
        return json.loads(done.stdout)

    def csrs(self, count):
        """A folder of requests."""
        folder = self.site.base / os.urandom(6).hex()
        folder.mkdir()
        for i in range(count):
            name = f'{folder.name}-{i}'
            (folder / f'{name}.csr').write_bytes(request(new_key(), name, wishes=False))
        return folder

    def lines(self, name, out=None):
        return [json.loads(line) for line in ((out or self.folder) / f'{name}.jsonl').read_text().splitlines()]

    def waiting(self, profile):
        status = self.officer.call('OfficerService', 'GetStatus')
        return next(e for e in status.enrolments if e.profile == profile).waiting

    def change(self, uid, action):
        self.officer.call('OfficerService', 'ChangeEnrolment', device_uid=uid, action=action, reason='cannot be used')

    def test_while_ejbca_is_away_keys_of_devices_wait_and_the_same_command_gets_their_certificates(self):
        command = ['enroll', '--batch', self.batch('own'), '--serial-names', self.csrs(5)]
        one = self.site.base / os.urandom(6).hex()
        self.ejbca.stop()
        try:
            answer = self.mintmark(*command, code=LATER)
            self.assertEqual((answer['enrolled'], answer['refused'], answer['withheld']),
                             (0, 0, {**NONE, 'waiting': 5}))
            told = self.lines('enrolled')
            self.assertEqual([line['state'] for line in told], ['WAITING'] * 5)
            uid = told[0]['device_uid']
            self.assertEqual(self.mintmark('device', 'get', uid, out=one, code=LATER)['withheld'],
                             {**NONE, 'waiting': 1})
        finally:
            self.ejbca.start()
        until(lambda: self.waiting('own') == 0)
        answer = self.mintmark(*command)
        self.assertEqual((answer['enrolled'], answer['withheld']), (5, NONE))
        self.assertEqual([line['device_uid'] for line in self.lines('enrolled')], [line['device_uid'] for line in told])
        self.assertFalse((self.folder / 'withheld.jsonl').exists())
        self.mintmark('device', 'get', uid, out=one)
        self.assertEqual((one / f'{uid}.crt').read_bytes(), (self.folder / f'{uid}.crt').read_bytes())

    def test_a_parked_key_of_a_device_waits_for_an_officer_and_fails_if_he_says_so(self):
        command = ['enroll', '--batch', self.batch('own'), '--serial-names', self.csrs(3)]
        self.ejbca.fault('wrong_subject', times=1)
        answer = self.mintmark(*command, code=1)
        self.assertEqual((answer['enrolled'], answer['withheld']), (2, {**NONE, 'parked': 1}))
        parked, = self.lines('withheld')
        self.assertEqual(parked['state'], 'PARKED')
        self.assertTrue(parked['message'])
        found, = self.officer.call('OfficerService', 'ListWithheld', state=types_pb2.CERTIFICATE_STATE_PARKED).devices
        self.assertEqual((found.device_uid, found.hw_serial), (parked['device_uid'], parked['hw_serial']))
        self.change(parked['device_uid'], FAIL)
        answer = self.mintmark(*command, code=1)
        self.assertEqual((answer['enrolled'], answer['withheld']), (2, {**NONE, 'failed': 1}))
        failed, = self.lines('withheld')
        self.assertEqual((failed['device_uid'], failed['state'], failed['message']),
                         (parked['device_uid'], 'FAILED', 'cannot be used'))

    def test_a_device_that_ejbca_refuses_fails_and_provision_says_so(self):
        command = ['provision', '--batch', self.batch('made'), '--count', 4]
        self.ejbca.fault('answer', times=1, status=400, message=REFUSAL)
        for _ in range(2):
            answer = self.mintmark(*command, code=1)
            self.assertEqual((answer['count'], answer['withheld']), (4, {**NONE, 'failed': 1}))
            self.assertEqual(len(self.lines('devices')), 3)
            failed, = self.lines('withheld')
            self.assertEqual(failed['state'], 'FAILED')
            self.assertIn(REFUSAL, failed['message'])
        self.assertEqual(self.mintmark('device', 'get', failed['device_uid'], out=self.site.base / os.urandom(6).hex(),
                                       code=1)['withheld'], {**NONE, 'failed': 1})

    def test_the_example_station_says_so_and_reports_the_others(self):
        api = self.site.base / 'api'
        api.mkdir()
        run('protoc', f'--proto_path={ROOT}/proto', f'--python_out={api}', 'mintmark/v1/types.proto',
            'mintmark/v1/station.proto', 'google/rpc/status.proto')
        self.site.add_order('example', 4, 'made')
        self.ejbca.fault('answer', times=1, status=400, message=REFUSAL)
        tls = self.site.dir / 'tls'
        out = run(sys.executable, ROOT / 'docs/examples/station.py', '--target', f'127.0.0.1:{self.site.port}', '--ca',
                  tls / 'ca.pem', '--certificate', tls / 'station.pem', '--key', tls / 'station.key', '--profile', 'made',
                  '--count', 4, env=dict(os.environ, PYTHONPATH=str(api)))
        self.assertIn('no certificate for device ', out)
        self.assertIn('issued 4, ok 3, ko 1, unreported 0', out)

    def test_a_parked_device_ends_provision_and_the_same_command_goes_on(self):
        command = ['provision', '--batch', self.batch('made'), '--count', 3]
        self.ejbca.fault('wrong_subject', times=1)
        self.assertEqual(self.mintmark(*command, code=1)['error']['reason'], 'DEVICES_PARKED')
        parked, = self.officer.call('OfficerService', 'ListWithheld', state=types_pb2.CERTIFICATE_STATE_PARKED).devices
        self.change(parked.device_uid, RETRY)
        until(lambda: self.waiting('made') == 0)
        answer = self.mintmark(*command)
        self.assertEqual((answer['count'], answer['withheld'], len(self.lines('devices'))), (3, NONE, 3))


if __name__ == '__main__':
    unittest.main()
