#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Devices that are recorded and have no certificate, as mintmark enroll, provision and device get take them
from a service that says so on command."""
import json
import os
import sys
import unittest
import uuid

try:
    import google.protobuf  # noqa: F401
    import client_fake as fake
    import test_client
    from test_client_enroll import EnrollTest
except ImportError as missing:
    print(f'skipped: {missing}')
    sys.exit(77)

INVALID, PRECONDITION = 3, 9
UNSPECIFIED, WAITING, ISSUED, FAILED, PARKED, UNHEARD_OF = range(6)
NAMES = {WAITING: 'WAITING', FAILED: 'FAILED', PARKED: 'PARKED'}
NONE = {'waiting': 0, 'parked': 0, 'failed': 0}
LATER = 75
setUpModule, tearDownModule = test_client.setUpModule, test_client.tearDownModule


class Told:
    """What a folder says of devices without certificate."""

    def withheld(self, out='out'):
        path = self.dir / out / 'withheld.jsonl'
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else None

    def files(self, out='out'):
        return {p.name: p.read_bytes() for p in (self.dir / out).iterdir()}

    def hostile(self, change):
        """Answers that are none, as functions of one Withheld."""
        return [change(lambda w: setattr(w, 'state', UNSPECIFIED)), change(lambda w: setattr(w, 'state', ISSUED)),
                change(lambda w: setattr(w, 'state', UNHEARD_OF)), change(lambda w: setattr(w, 'device_uid', '../x')),
                change(lambda w: setattr(w, 'device_uid', w.device_uid.upper())), change(lambda w: w.Clear())]


class Enroll(Told, EnrollTest):
    def setUp(self):
        super().setUp()
        self.states = {}  # by file's index: why it has no certificate
        self.change = self.withhold

    def withhold(self, answer):
        for result in answer.results:
            state = self.states.get(result.index)
            if state:
                bundle = self.service.types.Bundle.FromString(result.bundle.SerializeToString())
                result.withheld.CopyFrom(self.service.types.Withheld(
                    device_uid=bundle.device_uid, hw_serial=bundle.hw_serial, number=bundle.number, state=state,
                    text='said \x1b[1mso', next_time_ms=1790000060000 if state == WAITING else 0, attempts=3))

    def test_each_is_told_and_the_others_enrolled(self):
        self.write(6)
        refused = (self.csrs / 'SN-0005.csr').read_bytes()
        self.refuse = {refused: self.service.error(INVALID, 'CSR_SIGNATURE', 'bad', 'csr')}
        self.states = {1: PARKED, 2: WAITING, 4: FAILED}
        answer = self.enroll(self.csrs, '--serial-names', code=1)
        self.assertEqual((answer['enrolled'], answer['refused'], answer['withheld']),
                         (2, 1, {'waiting': 1, 'parked': 1, 'failed': 1}))
        self.assertEqual([o.get('state') for o in self.outcomes()], [None, 'PARKED', 'WAITING', None, 'FAILED', None])
        self.assertEqual([o.get('reason') for o in self.outcomes()], [None] * 5 + ['CSR_SIGNATURE'])
        self.assertEqual(self.outcomes()[1]['message'], 'said ?[1mso')
        self.assertEqual([line['hw_serial'] for line in self.lines()], ['SN-0000', 'SN-0003'])
        lines = self.withheld()
        self.assertEqual([(w['hw_serial'], w['state'], w['next_time_ms']) for w in lines],
                         [('SN-0001', 'PARKED', 0), ('SN-0002', 'WAITING', 1790000060000), ('SN-0004', 'FAILED', 0)])
        self.assertEqual([w['device_uid'] for w in lines],
                         [o['device_uid'] for o in self.outcomes() if 'state' in o])
        self.assertEqual({(w['message'], w['attempts']) for w in lines}, {('said ?[1mso', 3)})
        for name in os.listdir(self.dir / 'out'):
            self.assertNotIn(name.split('.')[0], [w['device_uid'] for w in lines])
        out = self.run_command('enroll', '--batch', self.service.batch, '--out', self.dir / 'out', '--serial-names',
                               self.csrs, code=1)
        self.assertIn('2 devices in', out)
        self.assertIn('mintmark enroll: 3 without certificate (1 waiting, 1 parked, 1 failed): see', self.err)
        self.assertIn('1 refused: see', self.err)

    def test_same_command_gets_what_has_come(self):
        self.write(100)
        self.states = {i: WAITING for i in range(50, 90)}
        answer = self.enroll(code=LATER)
        self.assertEqual((answer['enrolled'], answer['withheld']), (60, {**NONE, 'waiting': 40}))
        before = self.files()
        self.states = {i: WAITING for i in range(60, 70)}
        answer = self.enroll(code=LATER)
        self.assertEqual((answer['enrolled'], answer['withheld']), (90, {**NONE, 'waiting': 10}))
        self.states = {60: PARKED}
        answer = self.enroll(code=1)
        self.assertEqual((answer['enrolled'], answer['withheld']), (99, {**NONE, 'parked': 1}))
        self.states = {}
        answer = self.enroll()
        self.assertEqual((answer['enrolled'], answer['withheld']), (100, NONE))
        self.assertEqual(len({stream[0].request_id for stream in self.streams}), 1)
        self.assertIsNone(self.withheld())
        self.assertEqual([line['number'] for line in self.lines()], list(range(1, 101)))
        self.assertEqual([o['device_uid'] for o in self.outcomes()], [line['device_uid'] for line in self.lines()])
        after = self.files()
        self.assertEqual({name for name in before if after.get(name) != before[name]},
                         {'devices.jsonl', 'enrolled.jsonl', 'withheld.jsonl'})
        self.enroll()
        self.assertEqual(self.files(), after)

    def test_lists_that_an_earlier_run_cannot_have_written_are_kept(self):
        self.write(5)
        self.states = {1: WAITING}
        self.enroll(code=LATER)
        self.states = {}
        good = self.files()
        uid = self.lines()[0]['device_uid'].encode()
        for name, text in (('devices.jsonl', good['devices.jsonl'].replace(uid, str(uuid.uuid4()).encode())),
                           ('devices.jsonl', good['devices.jsonl'] + b'{"device_uid": "more"}\n'),
                           ('enrolled.jsonl', good['enrolled.jsonl'].replace(uid, str(uuid.uuid4()).encode())),
                           ('withheld.jsonl', b'{"mine": 1}\n'), ('withheld.jsonl', b'mine')):
            with self.subTest(name):
                (self.dir / 'out' / name).write_bytes(text)
                error = self.enroll(code=1)['error']
                self.assertEqual((error['reason'], name in error['message']), ('FILE_EXISTS', True), error)
                self.assertEqual((self.dir / 'out' / name).read_bytes(), text)
                for other, content in good.items():
                    (self.dir / 'out' / other).write_bytes(content)
        self.assertEqual(self.enroll()['enrolled'], 5)

    def test_cut_connection_asks_no_more_for_what_is_withheld(self):
        self.write(130)
        self.states = {3: WAITING}

        def cut(call):
            self.states.clear()  # indices count anew
            call.cut()
        self.acts = [(1, cut)]
        self.assertEqual(self.enroll(code=LATER)['withheld'], {**NONE, 'waiting': 1})
        self.assertNotIn((self.csrs / 'SN-0003.csr').read_bytes(), self.sent(1))

    def test_hostile_answers(self):
        def change(act):
            def spoil(answer):
                self.withhold(answer)
                act(answer.results[0].withheld)
            return spoil
        self.write(1)
        self.states = {0: WAITING}
        for number, spoil in enumerate([*self.hostile(change), change(lambda w: setattr(w, 'hw_serial', 'other'))]):
            self.change = spoil
            with self.subTest(number):
                self.assertEqual(self.enroll(out=f'out{number}', code=70)['error']['status'], 'DATA_LOSS')
                self.assertFalse((self.dir / f'out{number}/devices.jsonl').exists())


class Provision(Told, test_client.ClientTest):
    def setUp(self):
        super().setUp()
        self.states = {}  # by number
        self.service.change = self.withhold

    def withhold(self, message):
        for bundle in list(message.bundles):
            state = self.states.get(bundle.number)
            if state:
                message.withheld.add(device_uid=bundle.device_uid, hw_serial=bundle.hw_serial,
                                     number=bundle.number, state=state, text='no such profile')
                message.bundles.remove(bundle)

    def test_failed_devices_are_told_and_the_others_there(self):
        self.states = {2: FAILED, 70: FAILED}
        (self.dir / 'serials').write_text(''.join(f'SN-{i}\n' for i in range(1, 101)))
        for _ in range(2):
            answer = self.provision(100, '--hw-serials', self.dir / 'serials', code=1)
            self.assertEqual((answer['count'], answer['withheld']), (100, {**NONE, 'failed': 2}))
            self.assertEqual(len(self.lines()), 98)
            self.assertEqual([(w['number'], w['hw_serial'], w['state'], w['message']) for w in self.withheld()],
                             [(n, f'SN-{n}', 'FAILED', 'no such profile') for n in (2, 70)])
        self.assertIn('98 devices in', self.run_command(
            'provision', '--batch', self.service.batch, '--out', self.dir / 'out', code=1))
        self.assertIn('mintmark provision: 2 without certificate (0 waiting, 0 parked, 2 failed): see', self.err)
        self.assertNotIn('same command', self.err)

    def test_cut_connection_tells_each_once(self):
        self.states = {2: FAILED, 70: FAILED}
        self.service.plan['Provision'] = [fake.cut_after(1), fake.cut_after(2)]
        self.assertEqual(self.provision(150, code=1)['withheld'], {**NONE, 'failed': 2})
        self.assertEqual([w['number'] for w in self.withheld()], [2, 70])
        self.assertEqual(len(self.lines()), 148)

    def test_parked_devices_end_the_call_which_the_same_command_repeats(self):
        self.service.plan['Provision'] = [fake.fail(PRECONDITION, 'DEVICES_PARKED')]
        self.assertEqual(self.provision(3, code=1)['error']['reason'], 'DEVICES_PARKED')
        self.assertIn('the same command again goes on', self.err)
        self.assertEqual(self.provision(3)['withheld'], NONE)

    def test_one_device(self):
        self.provision(3)
        uid = self.lines()[1]['device_uid']
        for state, code in ((WAITING, LATER), (PARKED, 1), (FAILED, 1)):
            self.states = {2: state}
            answer = self.run_json('device', 'get', uid, '--out', self.dir / 'one', code=code)
            self.assertEqual((answer['device_uid'], answer['withheld']),
                             (uid, {**NONE, NAMES[state].lower(): 1}))
            self.assertEqual([(w['device_uid'], w['state']) for w in self.withheld('one')], [(uid, NAMES[state])])
            self.assertEqual(self.lines('one'), [])
        self.assertEqual(self.run_command('device', 'get', uid, '--out', self.dir / 'one', code=1), '')
        self.assertIn('mintmark device get: 1 without certificate', self.err)
        self.states = {}
        self.assertEqual(self.run_json('device', 'get', uid, '--out', self.dir / 'one')['withheld'], NONE)
        self.assertEqual([line['device_uid'] for line in self.lines('one')], [uid])
        self.assertIsNone(self.withheld('one'))

    def test_hostile_answers(self):
        def change(act):
            def spoil(message):
                self.withhold(message)
                act(message.withheld[0])
            return spoil
        self.states = {1: FAILED}
        for number, spoil in enumerate(self.hostile(change)):
            self.service.change = spoil
            self.service.requests.clear()
            with self.subTest(number):
                self.assertEqual(self.provision(1, out=f'out{number}', code=70)['error']['status'], 'DATA_LOSS')
                self.assertFalse((self.dir / f'out{number}/devices.jsonl').exists())

    def test_more_than_were_asked_for(self):
        self.service.change = lambda m: m.withheld.add(device_uid=str(uuid.uuid4()), state=FAILED)
        self.assertEqual(self.provision(1, code=70)['error']['reason'], 'BAD_RESPONSE')


if __name__ == '__main__':
    unittest.main()
