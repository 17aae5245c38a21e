#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""`mintmark-officer issuer reconcile`: the whole service with a real SoftHSM token and the stand-in for
EJBCA. Every kind of difference is made, one by one, behind the service's back, and must be listed, that
one alone; and nothing when both sides agree."""
import base64
import json
import os
import pathlib
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'support'))

import grpc  # noqa: E402
import ejbca_client  # noqa: E402
from ejbca_client import make_csr  # noqa: E402
from ejbca_site import COPY, REFUSAL, EjbcaCase, serial_of, until  # noqa: E402
from service_site import Refused, types_pb2  # noqa: E402
from site_under_test import OFFICER  # noqa: E402
from test_enroll import device, enroll, new_key, request  # noqa: E402

DEVICES = 450  # three pages of EJBCA, two of the store
MANY = 2600  # differences, more than wait for a client


class Reconcile(EjbcaCase):
    PROFILES = [{'name': name, 'issuer': 'pki', 'delivery': 'on-device', 'subject': 'CN=${hw_serial}', 'more': '',
                 'certificate_profile': certificate_profile}
                for name, certificate_profile in (('own', 'DevCert'), ('twin', 'DevCert'), ('other', 'Other'))]
    LOG_LINES = 40

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.ejbca.set(certificate_profiles={'Other': {}},
                      end_entity_profiles={'DevEE': {'certificate_profiles': ['DevCert', 'Other']}})
        cls.keys, cls.bundles = cls.make('own', DEVICES)
        cls.make('twin', 3)
        cls.make('other', 2)

    @classmethod
    def make(cls, profile, count):
        order = f'o-{os.urandom(6).hex()}'
        cls.site.add_order(order, 1000, profile)
        batch = cls.station.station('OpenBatch', name='test', profile=profile, device_type='sensor',
                                    quantity=count, heads=8, order_id=order).batch.batch_uid
        keys = [new_key() for _ in range(count)]
        devices = [device(request(k, f'{order}-{i}', wishes=False), f'{order}-{i}') for i, k in enumerate(keys)]
        results, _ = enroll(cls.station, batch, f'e-{batch}',
                            *(devices[i:i + 64] for i in range(0, count, 64)))
        return keys, [r.bundle if r.HasField('bundle') else r.withheld for r in results]

    def setUp(self):
        self.ra = ejbca_client.Client(self.ejbca)
        self.addCleanup(self.ra.close)
        self.journal = self.ejbca.dir / 'journal'
        self.before = self.journal.read_text()

    def tearDown(self):
        """EJBCA as it was, so that both sides agree again."""
        if self.journal.read_text() != self.before:
            self.rewrite(lambda _: self.before)
        self.assertEqual(self.reconcile()['differences'], [])

    def rewrite(self, change):
        self.ra.close()
        super().rewrite(change)

    def forget(self, *serials, revocations=False):
        """EJBCA loses these certificates, or only that they are revoked."""
        def change(text):
            lines = [json.loads(line) for line in text.splitlines()]
            rows = [line for line in lines if 'issued' in line]
            lost = {i for i, line in enumerate(rows)
                    if serial_of(base64.b64decode(line['issued'])) in serials}
            kept, number = [], 0
            for line in lines:
                if 'revoked' in line:
                    if line['revoked'] in lost:
                        continue
                    line['revoked'] -= 0 if revocations else sum(n < line['revoked'] for n in lost)
                elif 'issued' in line:
                    number += 1
                    if number - 1 in lost and not revocations:
                        continue
                kept.append(json.dumps(line))
            return ''.join(line + '\n' for line in kept)
        self.rewrite(change)

    def command(self, *more):
        return subprocess.run(
            [OFFICER, 'issuer', 'reconcile', '--site', self.site.dir / 'officer.conf', '--target',
             f'127.0.0.1:{self.site.port}', *more], capture_output=True, timeout=60, text=True)

    def reconcile(self, *more):
        done = self.command('--json', *more)
        answer = json.loads(done.stdout)
        self.assertEqual(done.returncode, 1 if answer['differences'] else 0, done)
        self.assertEqual(answer['differences_count'], len(answer['differences']))
        self.assertEqual(sum(p['differences'] for p in answer['profiles']), len(answer['differences']))
        return answer

    def differences(self, *more):
        return [(d['kind'], d['username'], d['serial'], d['recorded_serial'])
                for d in self.reconcile(*more)['differences']]

    def issue(self, username, key=None):
        """As another registration authority would; the serial number."""
        answer = self.ra.enroll(username, csr=make_csr(username, key)[0])
        self.assertEqual(answer.status, 201, answer.body)
        return answer.json['serial_number']

    def device(self, i):
        return self.bundles[i].device_uid, serial_of(self.bundles[i].certificate), self.keys[i]

    # -- nothing ---------------------------------------------------------------------------------

    def test_nothing_is_listed_when_both_sides_agree(self):
        answer = self.reconcile()
        self.assertEqual({p['profile']: (p['issued'], p['waiting'], p['parked'])
                          for p in answer['profiles']},
                         {'own': (DEVICES, 0, 0), 'twin': (3, 0, 0), 'other': (2, 0, 0)})
        self.assertEqual([p['certificates'] for p in answer['profiles']], [DEVICES, 3, 2])
        done = self.command()
        self.assertEqual((done.returncode, done.stderr), (0, ''))
        self.assertRegex(done.stdout, rf'own +{DEVICES} +{DEVICES} +0')

    def test_one_profile_alone(self):
        unknown = self.issue('stranger')
        self.assertEqual([p['profile'] for p in self.reconcile('--profile', 'other')['profiles']], ['other'])
        self.assertEqual([p['profile'] for p in self.reconcile('--profile', 'twin')['profiles']],
                         ['own', 'twin'])
        self.assertEqual(self.differences('--issuer', 'pki'), [('unknown', 'stranger', unknown, '')])

    def test_what_is_not_there(self):
        for more in ('--issuer', 'device-ca'), ('--profile', 'dac'):
            done = self.command(*more)
            self.assertEqual(done.returncode, 1)
            self.assertIn(more[1], done.stderr)
        with self.assertRaises(grpc.RpcError) as refused:
            list(self.station.channel.unary_stream('/mintmark.v1.OfficerService/Reconcile')(b''))
        self.assertEqual(refused.exception.code(), grpc.StatusCode.PERMISSION_DENIED)

    def test_ejbca_away_is_said_and_no_result(self):
        self.ejbca.set(listen=False)
        self.addCleanup(self.ejbca.set, listen=True)
        done = self.command('--json')
        self.ejbca.set(listen=True)
        self.assertEqual(done.returncode, 69, done)
        self.assertEqual(done.stdout, '')

    def test_faults_on_the_way_are_got_over(self):
        self.ejbca.fault(['cut_before', 'truncated_json', 'empty'], calls=['search2'], up=1, down=1)
        self.assertEqual(self.differences(), [])
        self.ejbca.no_faults()

    # -- one at a time, and at the client's pace --------------------------------------------------

    def ended(self):
        return self.site.log.read_text().count('event=reconcile_ended')

    def test_one_at_a_time_until_it_is_over_or_cancelled(self):
        self.ejbca.fault('hang_before', calls=['search2'])
        self.addCleanup(self.ejbca.no_faults)
        ended = self.ended()
        stream = self.officers_stream('Reconcile')
        until(lambda: self.ejbca.state()['faults'].get('hang_before'))
        with self.assertRaises(grpc.RpcError) as refused:
            list(self.officers_stream('Reconcile'))
        self.assertEqual(Refused(refused.exception).reason, 'RECONCILE_BUSY')
        self.assertEqual(self.ended(), ended)
        stream.cancel()  # while EJBCA is asked
        until(lambda: self.ended() > ended)
        self.assertRegex(self.site.log.read_text(), 'event=reconcile_ended .*reason=CANCELLED')
        self.ejbca.no_faults()
        self.assertEqual(self.differences(), [])

    def many_unknown(self):
        serial = self.issue('stranger')
        lines = self.copies(serial, MANY)
        self.rewrite(lambda text: text + lines)

    def test_a_client_that_does_not_read_holds_up_nobody_and_gets_all(self):
        self.many_unknown()
        stream = self.blocked_stream('Reconcile')
        with self.assertRaises(grpc.RpcError) as refused:
            list(self.officers_stream('Reconcile'))
        self.assertEqual(Refused(refused.exception).reason, 'RECONCILE_BUSY')
        self.officer.call('OfficerService', 'GetStatus')
        answers = list(stream)
        found = [d for answer in answers for d in answer.differences]
        self.assertEqual({d.username for d in found}, {'stranger'} | {COPY.format(i) for i in range(MANY)})
        self.assertEqual(len(found), MANY + 1)
        self.assertEqual(sum(p.differences for p in answers[-1].profiles), MANY + 1)

    def test_a_client_that_does_not_read_may_go_away(self):
        self.many_unknown()
        ended = self.ended()
        self.blocked_stream('Reconcile').cancel()
        until(lambda: self.ended() > ended)
        self.assertEqual(len(self.differences()), MANY + 1)

    # -- each kind -------------------------------------------------------------------------------

    def test_a_certificate_of_no_device(self):
        unknown = self.issue('stranger')
        self.assertEqual(self.differences(), [('unknown', 'stranger', unknown, '')])
        done = self.command()
        self.assertEqual(done.returncode, 1)
        self.assertIn('EJBCA has a certificate of no device', done.stdout)
        self.assertIn('EJBCA and the ledger differ: 1', done.stderr)

    def test_certificates_that_ejbca_does_not_have(self):
        lost = [self.device(i) for i in (0, 199, 200, DEVICES - 1)]
        self.forget(*(serial for _, serial, _ in lost))
        self.assertEqual(sorted(self.differences()),
                         sorted(('missing', uid, '', serial) for uid, serial, _ in lost))

    def test_two_certificates_of_one_device(self):
        made = []
        for i in (0, 198, 199, 200, DEVICES - 1):  # also at the edges of pages
            uid, serial, key = self.device(i)
            made.append(('double', uid, self.issue(uid, key), serial))
        self.assertEqual(sorted(self.differences()), sorted(made))

    def test_two_more_certificates_and_none_recorded(self):
        uid, serial, key = self.device(5)
        first, second = self.issue(uid, key), self.issue(uid, key)
        self.forget(serial)
        found = self.differences()
        self.assertEqual(sorted(d[0] for d in found), ['double', 'other-serial'])
        self.assertEqual({d[2] for d in found}, {first, second})

    def test_another_serial_number(self):
        uid, serial, key = self.device(199)
        other = self.issue(uid, key)
        self.forget(serial)
        self.assertEqual(self.differences(), [('other-serial', uid, other, serial)])

    def test_another_key(self):
        uid, serial, _ = self.device(7)
        other = self.issue(uid)
        self.forget(serial)
        self.assertEqual(self.differences(), [('other-key', uid, other, serial)])

    def test_revoked_there_only(self):
        uid, serial, _ = self.device(9)
        self.assertEqual(self.ra.revoke(serial, 'SUPERSEDED').status, 200)
        self.assertEqual(self.differences(), [('revoked-there', uid, serial, serial)])

    def test_revoked_on_both_sides_and_here_only(self):
        uid, serial, _ = self.device(11)
        self.officer.call('OfficerService', 'RevokeDevice', device_uid=uid,
                          reason=types_pb2.REVOCATION_REASON_KEY_COMPROMISE)
        until(lambda: self.ejbca.certificates(uid)[0]['status'] == 'revoked')
        until(lambda: self.officer.call('OfficerService', 'GetStatus').revocations_pending == 0)
        self.assertEqual(self.differences(), [])
        self.before = self.journal.read_text()
        self.forget(serial, revocations=True)
        self.assertEqual(self.differences(), [('revoked-here', uid, serial, serial)])

    def test_a_device_that_failed_here_and_has_one_there(self):
        self.ejbca.fault('answer', times=1, status=400, message=REFUSAL)
        (key,), (withheld,) = self.make('own', 1)
        self.ejbca.no_faults()
        self.assertEqual(withheld.state, types_pb2.CERTIFICATE_STATE_FAILED)
        self.assertEqual(self.differences(), [])
        self.before = self.journal.read_text()
        made = self.issue(withheld.device_uid, key)
        self.assertEqual(self.differences(), [('withheld', withheld.device_uid, made, '')])

    def test_all_at_once(self):
        want = [('unknown', 'stranger', self.issue('stranger'), '')]
        uid, serial, key = self.device(20)
        want.append(('double', uid, self.issue(uid, key), serial))
        uid, serial, _ = self.device(21)
        want.append(('revoked-there', uid, serial, serial))
        self.assertEqual(self.ra.revoke(serial, 'SUPERSEDED').status, 200)
        uid, serial, _ = self.device(22)
        want.append(('missing', uid, '', serial))
        self.forget(serial)
        self.assertEqual(sorted(self.differences()), sorted(want))


if __name__ == '__main__':
    unittest.main(verbosity=2)
