#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""mintmark-verify report and manifest: good ones are proved, alone, with their order, manifest and
ledger; what is changed in them is found and named."""
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
GENERATED = tempfile.TemporaryDirectory()
subprocess.run(['protoc', f'--proto_path={ROOT}/proto', f'--python_out={GENERATED.name}',
                *(f'mintmark/v1/{n}.proto' for n in ('types', 'document', 'ledger', 'account'))],
               check=True)
sys.path.insert(0, GENERATED.name)
sys.path.insert(0, str(ROOT / 'tests/support'))

from cryptography.hazmat.primitives.asymmetric import ec  # noqa: E402
from mintmark.v1 import document_pb2  # noqa: E402
from audit import Mutations, verify  # noqa: E402
from plant import NOON_MS, Plant, Signer, sha256, stamp  # noqa: E402


class Base(unittest.TestCase, Mutations):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.dir = pathlib.Path(folder.name)
        self.plant = p = Plant(self.dir)
        p.start()
        p.order(replacements_max=2, per_batch_max=500, stations=['station'])
        p.open(quantity=100)
        p.spend(20, changed=p.keys(4))
        p.open('other', quantity=10)
        p.spend(5, 'other', request='r2')
        p.spend(10, request='r3')
        p.report(ko=3, ok=20)
        p.release()
        self.path = p.sign_report()

    def judge(self, *options, path=None, audit=None):
        return verify('report', path or self.path, '--audit', audit or self.plant.audit.path,
                      *options)

    def expect(self, *codes, options=(), **kwargs):
        status, said = self.judge(*options, **kwargs)
        self.assertEqual((status, sorted(said['by_code'])), (1 if codes else 0, sorted(codes)),
                         said['first_findings'])
        return said

    def order_file(self, **terms):
        """The order as it was signed; or with other terms, by the same key."""
        order = document_pb2.ProductionOrder()
        order.CopyFrom(self.plant.orders['order']['terms'])
        for name, value in terms.items():
            if name == 'stations':
                del order.stations[:]
                order.stations.extend(value)
            else:
                setattr(order, name, value)
        path = self.dir / 'order.cms'
        path.write_bytes(self.plant.oem.sign(document_pb2.SignedDocument(production_order=order)))
        return ['--order', path, '--oem', self.plant.oem.path]

    def sign(self, data):
        """What the audit key signs, whatever it says."""
        path = self.dir / 'signed.json'
        path.write_bytes(data)
        (self.dir / 'signed.json.p7s').write_bytes(self.plant.audit.sign(data, detached=True))
        return path

    def edited(self, pattern, replacement, count=1):
        text = self.path.read_text()
        changed, n = re.subn(pattern, replacement, text, count=count)
        self.assertGreater(n, 0, pattern)
        self.assertNotEqual(text, changed)
        return self.sign(changed.encode())


class Report(Base):
    def test_a_good_report_is_proved(self):
        said = self.expect()
        facts = said['facts']
        self.assertEqual((facts['devices'], facts['ok_devices'], facts['ko_devices'],
                          facts['unreported_devices']), (30, 20, 3, 7))
        self.assertEqual(len(said['proved']), 2)
        self.assertIn('no --export', '\n'.join(said['not_proved']))

    def test_with_the_order_and_the_ledger(self):
        said = self.expect(options=[*self.order_file(), '--export', self.plant.export()])
        proved = '\n'.join(said['proved'])
        self.assertIn('keeps to the order that the OEM signed', proved)
        self.assertIn('spent for just these devices', proved)

    def test_reports_with_a_ledger(self):
        p = self.plant
        p.report('other')
        p.release('other')
        other = p.sign_report('other')
        # Without devices in the export, the reports have them.
        export = p.export([i for i in p.items() if not i.HasField('devices')])
        for reports, missing in (([self.path, other], False), ([self.path], True)):
            status, said = verify('ledger', export, *reports, *p.trust())
            self.assertEqual((status, said['by_code']), (0, {}))
            self.assertEqual('public keys and' in '\n'.join(said['not_proved']), missing)
        self.assertEqual(said['facts']['reports'], 1)
        # One device in two reports.
        text = other.read_text()
        spki = re.search('spki_sha256":"([0-9a-f]+)', self.path.read_text()).group(1)
        path = self.sign(re.sub('spki_sha256":"[0-9a-f]+', f'spki_sha256":"{spki}', text,
                                count=1).encode())
        said = verify('ledger', export, self.path, path, *p.trust())[1]
        self.assertEqual(sorted(said['by_code']),
                         ['DEVICES_CHANGED', 'DUPLICATE_KEY', 'REPORT_OTHER_LEDGER'])

    def test_a_batch_without_devices(self):
        p = self.plant
        p.open('empty', quantity=10)
        p.release('empty')
        path = p.sign_report('empty')
        self.expect(path=path, options=['--export', p.export()])

    def test_strings_that_must_be_escaped(self):
        p = self.plant
        p.open('odd', quantity=10)
        p.spend(2, 'odd', request='r9', changed={0: {'hw_serial': 'a"\\\u00fc\x01'}})
        p.report('odd', ko=1)
        p.batches['odd']['devices'][0].reason = 'no "answer"\n\\ \u20ac'
        p.release('odd')
        self.expect(path=p.sign_report('odd'), options=['--export', p.export()])

    def test_signatures_that_do_not_fit(self):
        self.expect('SIGNER_UNKNOWN', audit=self.plant.oem.path)
        signature = self.dir / 'batch.json.p7s'
        good = signature.read_bytes()
        for data, code in ((good[:-1] + bytes([good[-1] ^ 1]), 'DOCUMENT_SIGNATURE'),
                           (self.plant.audit.sign(b'something else', detached=True),
                            'DOCUMENT_SIGNATURE'),
                           (self.plant.audit.sign(self.path.read_bytes()[:1000]),
                            'DOCUMENT_ATTACHED'),
                           (good + b'\0', 'DOCUMENT_NOT_DER'), (b'', 'DOCUMENT_NOT_DER'),
                           (bytes(65 * 1024 + 1), 'DOCUMENT_TOO_BIG')):
            signature.write_bytes(data)
            self.expect(code)
        other = self.dir / 'elsewhere'
        other.write_bytes(good)
        self.expect(options=['--signature', other])
        self.plant.audit = Signer(self.dir, 'audit', end=2021)
        self.expect('SIGNER_EXPIRED', path=self.sign(self.path.read_bytes()))

    def test_text_that_is_not_as_it_must_be(self):
        for pattern, replacement in (
                (r'"schema":"mintmark-report-1"', '"schema":"mintmark-report-2"'),
                (r',\n"service"', ', \n"service"'), (r'"row":1,', '"row":01,'),
                (r'"row":1,', '"row":1.0,'), (r'"row":1,', '"row":-1,'),
                (r'"quantity":100,"heads":4', '"heads":4,"quantity":100'),
                (r'\{"row":1,', '{"x":0,"row":1,'), (r'"state":"ok"', '"state":"good"'),
                (r'("row":1,"uid":".)', r'\g<1>0'), (r'Z"', '+00:00"'), (r'\.(\d{3})Z"', 'Z"'),
                (r'"spki_sha256":"..', '"spki_sha256":"'), (r'"spki_sha256":".', '"spki_sha256":"G'),
                (r'"spki_sha256":"..', '"spki_sha256":"AA'),
                (r'"hw_serial":"HW', r'"hw_serial":"\\u0048W'),
                (r'"hw_serial":"HW', r'"hw_serial":"\\/W'),
                (r'"hw_serial":"HW', '"hw_serial":"\tW'),
                (r'"totals"', '"totals" '), (r'\}\}\n$', '}}'), (r'\}\}\n$', '}}\n\n'),
                (r'\n\],', ',\n],'), (r'"reason":"no answer","devices"', '"reason":null,"devices"'),
                (r'"name":"batch"', '"name":"' + 'x' * 2000 + '"')):
            said = self.expect('REPORT_FORM', path=self.edited(pattern, replacement))
            self.assertIn('at byte', said['first_findings'][-1]['what'])
        self.expect('REPORT_FORM', path=self.sign(self.path.read_bytes()[:-40]))
        self.expect('REPORT_FORM', path=self.sign(b''))
        self.expect('REPORT_FORM', path=self.sign(
            self.path.read_bytes().replace(b'"name":"batch"', b'"name":"\xff"')))

    def test_totals_that_do_not_add_up(self):
        for pattern, replacement in (
                (r'"issued":30', '"issued":29'), (r'"ok":20', '"ok":21'), (r'"ko":3', '"ko":4'),
                (r'"unreported":7', '"unreported":8'), (r'"state":"ok"', '"state":"ko"'),
                (r'"devices":3', '"devices":2'), (r'"no answer","devices"', '"other","devices"'),
                (r'\n\{"row":7,.*\n', '\n'),
                (r'"profile":"dac","quantity"', '"profile":"other","quantity"'),
                (r'"first_recorded":"[^"]*"', '"first_recorded":null'),
                (r'"first_recorded":"2026', '"first_recorded":"2027')):
            self.expect('SUM_WRONG', path=self.edited(pattern, replacement))
        self.expect('REFUND_TOO_MANY', path=self.edited('"refunded":2,"first', '"refunded":4,"first'))
        self.expect('BATCH_FULL', path=self.edited('"quantity":100', '"quantity":29'))
        self.expect('QUOTA_EXHAUSTED', path=self.edited('"quantity":1000', '"quantity":32'))
        self.expect('QUOTA_EXHAUSTED', path=self.edited('"used":33', '"used":20'))
        self.expect('TIME_WENT_BACK', path=self.edited('"released":"2026', '"released":"2025'))

    def test_devices_that_are_there_twice(self):
        text = self.path.read_text()
        devices = re.findall(r'\{"row":.*\}', text)
        for field, code in (('row', 'DUPLICATE_ROW'), ('uid', 'DUPLICATE_UID'),
                            ('number', 'DUPLICATE_NUMBER'), ('spki_sha256', 'DUPLICATE_KEY'),
                            ('certificate_serial', 'DUPLICATE_SERIAL'),
                            ('hw_serial', 'DUPLICATE_HW_SERIAL')):
            value = re.search(f'"{field}":[^,]*,', devices[5]).group(0)
            changed = re.sub(f'"{field}":[^,]*,', value, devices[9])
            said = self.expect(code, path=self.sign(text.replace(devices[9], changed).encode()))
            uid = re.search('"uid":"([^"]*)', changed).group(1)
            self.assertIn(uid, said['first_findings'][0]['what'])
        # A KO device's hardware serial number may come again.
        value = re.search('"hw_serial":[^,]*,', devices[0]).group(0)
        changed = re.sub('"hw_serial":[^,]*,', value, devices[9])
        self.expect(path=self.sign(text.replace(devices[9], changed).encode()))

    def test_orders_that_say_otherwise(self):
        for terms, codes in (
                (dict(quantity=999), ['ORDER_NOT_AS_SIGNED']),
                (dict(quantity=32), ['ORDER_NOT_AS_SIGNED', 'QUOTA_EXHAUSTED']),
                (dict(order_id='second'), ['REPORT_OTHER_ORDER']),
                (dict(product='other'), ['ORDER_NOT_AS_SIGNED']),
                (dict(replacements_max=1), ['REFUND_TOO_MANY']),
                (dict(per_batch_max=99), ['ORDER_BATCH_LIMIT']),
                (dict(stations=['station-2']), ['ORDER_STATION']),
                (dict(not_before_time_ms=NOON_MS + 10 ** 6), ['ORDER_EXPIRED']),
                (dict(appliance_sha256=bytes(32)), ['ORDER_OTHER_APPLIANCE'])):
            self.expect(*codes, options=self.order_file(**terms))
        options = self.order_file()
        self.expect('SIGNER_UNKNOWN', options=[*options[:3], self.plant.officer.path])
        options[1].write_bytes(self.plant.oem.sign(document_pb2.SignedDocument(
            report_receipt=document_pb2.ReportReceipt(order_id='order'))))
        self.expect('DOCUMENT_KIND', options=options)

    def test_a_ledger_that_says_otherwise(self):
        p, export = self.plant, ['--export', self.plant.export()]
        head = sha256(p.records[p.batches['batch']['released'] - 1]).hex()
        for pattern, replacement, codes in (
                (r'"spki_sha256":"....', '"spki_sha256":"0000', ['DEVICES_CHANGED']),
                (r'"hw_serial":"HW000007"', '"hw_serial":"HW7"', ['DEVICES_CHANGED']),
                (r'"row":7,', '"row":907,', ['DEVICES_CHANGED']),
                (r'"name":"batch"', '"name":"other"', ['REPORT_NOT_AS_RECORDED']),
                (r'"used":33', '"used":34', ['REPORT_NOT_AS_RECORDED']),
                (r'"id":"order"', '"id":"second"', ['REPORT_OTHER_ORDER']),
                (head, '00' * 32, []), (r'"opened":\{"sequence":\d+', '"opened":{"sequence":1', []),
                (r'"opened":\{"sequence":[^}]*\}', '"opened":null', []),
                (r'"service":"0.1.0"', '"service":"0.1.1"', [])):
            self.expect('REPORT_OTHER_LEDGER', *codes, path=self.edited(pattern, replacement),
                        options=export)
        self.expect('LEDGER_FOREIGN', path=self.edited(p.id.hex(), '00' * 16), options=export)
        self.expect('REPORT_OTHER_LEDGER', options=export, path=self.edited(
            p.batches['batch']['uid'], '0193537b-1f4c-7abc-8def-000000000001'))

    def test_a_ledger_that_ends_before_the_report(self):
        p = self.plant
        p.records = p.records[:p.batches['batch']['released'] - 1]
        p.after = {s: i for s, i in p.after.items() if s <= len(p.records)}
        self.expect('LEDGER_TRUNCATED', options=['--export', p.export()])

    def test_reports_that_leave_a_device_out(self):
        # With totals put right: only the ledger knows of the seventh.
        text = re.sub(r'\n\{"row":7,.*\n', '\n', self.path.read_text())
        for old, new in (('"issued":30', '"issued":29'), ('"ok":20', '"ok":19')):
            text = text.replace(old, new)
        path = self.sign(text.encode())
        self.expect(path=path)
        self.expect('DEVICES_CHANGED', 'REPORT_NOT_AS_RECORDED', 'REPORT_OTHER_LEDGER', path=path,
                    options=['--export', self.plant.export()])

    def test_usage_and_unreadable_files(self):
        audit = ['--audit', self.plant.audit.path]
        none = self.dir / 'none'
        for arguments, status, text in (
                ([self.path], 64, '--audit is missing'), ([*audit], 64, "'report' takes one file"),
                ([self.path, *audit, '--order', none], 64, '--order needs --oem'),
                ([self.path, *audit, '--frob'], 64, 'unknown option'),
                ([none, *audit], 65, 'No such file'),
                ([self.path, *audit, '--signature', none], 65, 'No such file'),
                ([self.path, *audit, '--export', none], 65, 'No such file'),
                ([self.path, *audit, '--manifest', none], 65, 'No such file'),
                ([self.path, *audit, '--order', none, '--oem', self.plant.oem.path], 65, 'No such'),
                ([self.path, '--audit', self.path], 65, 'must hold certificates'),
                (['--help'], 0, '')):
            done = verify('report', *arguments, json_output=False)
            self.assertEqual(done.returncode, status, arguments)
            self.assertIn(text, done.stderr)

    def test_no_changed_byte_is_taken(self):
        data, signature = self.path.read_bytes(), self.dir / 'batch.json.p7s'
        audit = ['--audit', self.plant.audit.path]
        self.assert_no_mutation_passes(
            data, lambda path: ['report', path, *audit, '--signature', signature], 80)
        self.assert_no_mutation_passes(
            signature.read_bytes(),
            lambda path: ['report', self.path, *audit, '--signature', path], 80)


class Elsewhere(unittest.TestCase):
    """Devices whose certificates came later, from an authority elsewhere."""

    judge, expect = Base.judge, Base.expect

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.dir = pathlib.Path(folder.name)
        self.plant = p = Plant(self.dir)
        p.start()
        p.order()
        p.open(quantity=100)
        self.devices = p.spend(10, changed={i: dict(serial=b'') for i in range(10)})

    def report(self):
        self.plant.report(ok=8)
        self.plant.release()
        self.path = self.plant.sign_report()
        return ['--export', self.plant.export()]

    def test_certificates_are_those_of_the_records(self):
        self.plant.certify(self.devices[:6])
        self.plant.certify(self.devices[6:9])
        options = self.report()
        self.expect(options=options)
        status, said = verify('ledger', options[1], self.path, *self.plant.trust())
        self.assertEqual((status, said['by_code']), (0, {}))
        self.assertIn(f'"certified_serial":"{self.devices[3].certified.hex()}"', self.path.read_text())
        self.assertNotIn('certified_serial', self.path.read_text().splitlines()[-4])
        self.assertIn('9 devices got a certificate each', '\n'.join(said['proved']))

    def test_another_certificate(self):
        self.plant.certify(self.devices)
        self.devices[3].certified = b'\x33' * 12
        self.expect('DEVICES_CHANGED', options=self.report())

    def test_a_certificate_that_is_left_out(self):
        self.plant.certify(self.devices)
        self.devices[3].certified = b''
        self.expect('DEVICES_CHANGED', options=self.report())

    def test_a_certificate_that_nobody_recorded(self):
        self.devices[3].certified = b'\x33' * 12
        self.expect('DEVICES_CHANGED', options=self.report())

    def test_two_certificates_for_a_device(self):
        self.plant.certify(self.devices)
        self.plant.certify(self.devices[2:3], serials=[b'\x44' * 12])
        self.expect('CERTIFIED_TWICE', options=self.report())

    def test_one_serial_number_for_two_devices(self):
        self.plant.certify(self.devices[:2], serials=[b'\x44' * 12] * 2)
        self.expect('DUPLICATE_SERIAL', options=self.report())

    def test_one_serial_number_of_two_authorities(self):
        self.plant.certify(self.devices[:1], serials=[b'\x44' * 12])
        self.plant.certify(self.devices[1:2], issuer=b'other', serials=[b'\x44' * 12])
        self.expect(options=self.report())

    def test_records_that_are_none(self):
        for field, value in (('uid', bytes(16)), ('uid', b'x'), ('serial', b''), ('serial', bytes(21)),
                             ('issuer_sha256', b'x'), ('certificate_sha256', b'x')):
            with self.subTest(field=field, value=value):
                self.setUp()
                self.plant.certify(self.devices, **{field: value})
                self.devices[0].certified = b''
                self.expect('LEDGER_EDITED', options=self.report())

    def test_text_that_is_not_as_it_must_be(self):
        self.plant.certify(self.devices)
        self.report()
        text = self.path.read_text()
        serial = f'"{self.devices[0].certified.hex()}"'
        for other in ('null', '""', '"0"', serial.upper(), f'"{"11" * 21}"'):
            with self.subTest(other=other):
                data = text.replace(serial, other, 1).encode()
                self.path.write_bytes(data)
                pathlib.Path(f'{self.path}.p7s').write_bytes(self.plant.audit.sign(data, detached=True))
                self.expect('REPORT_FORM')


class Manifest(Base):
    def setUp(self):
        super().setUp()
        p = self.plant
        p.open('keys', quantity=10)
        changed = p.keys(4)
        changed[3] = p.device_key(3, ec.SECP384R1, False)  # a request, without a certificate
        self.devices = p.spend(4, 'keys', request='r5', changed=changed)
        p.report('keys', ko=1, ok=2)
        p.release('keys')
        self.report = p.sign_report('keys')
        self.audit = ['--audit', p.audit.path]

    def elements(self):
        return [self.plant.element(d, 'keys') for d in self.devices if d.state != 'ko']

    def expect_manifest(self, *codes, elements=None, path=None, report=False, audit=None):
        path = path or self.plant.manifest('keys', elements)
        command = ['report', self.report, '--manifest', path] if report else ['manifest', path]
        status, said = verify(*command, *(audit or self.audit))
        self.assertEqual((status, sorted(said['by_code'])), (1 if codes else 0, sorted(codes)),
                         said['first_findings'])
        return said

    def test_a_good_manifest_is_proved(self):
        said = self.expect_manifest()
        self.assertEqual((said['facts']['devices'], said['facts']['certificates']), (3, 2))
        said = self.expect_manifest(report=True)
        self.assertIn('The manifest has the devices of this report', '\n'.join(said['proved']))
        self.expect_manifest(elements=[])

    def test_signatures_and_signers(self):
        p = self.plant
        stranger = Signer(self.dir, 'stranger')
        good = self.elements()
        wrong = dict(good[1], signature=good[0]['signature'])
        self.expect_manifest('MANIFEST_SIGNATURE', elements=[good[0], wrong])
        short = dict(good[1], signature=good[1]['signature'][:-4])
        self.expect_manifest('MANIFEST_SIGNATURE', elements=[good[0], short])
        self.expect_manifest('SIGNER_UNKNOWN', elements=[
            p.element(d, 'keys', stranger) for d in self.devices[1:]])
        self.expect_manifest('SIGNER_UNKNOWN', audit=['--audit', stranger.path])
        forged = p.element(self.devices[1], 'keys', stranger,
                           protected={'x5t#S256': json.loads(debase64(good[0]['protected']))
                                      ['x5t#S256']})
        self.expect_manifest('MANIFEST_SIGNATURE', elements=[forged])
        for protected in ({'alg': 'none'}, {'alg': 'HS256'}, {'typ': 'X'}):
            self.expect_manifest('MANIFEST_FORM', 'SIGNER_UNKNOWN', elements=[
                p.element(self.devices[1], 'keys', protected=protected)])
        self.expect_manifest('SIGNER_UNKNOWN', elements=[
            p.element(self.devices[1], 'keys', protected={'crit': ['b64'], 'b64': False})])

    def test_devices_that_are_not_right(self):
        p, d = self.plant, self.devices
        good = self.elements()
        self.expect_manifest('DUPLICATE_UID', 'DUPLICATE_KEY', 'DUPLICATE_SERIAL',
                             elements=[good[0], good[0]])
        self.expect_manifest('MANIFEST_FORM', elements=[
            p.element(d[1], 'keys', payload=dict(version=2))])
        self.expect_manifest('MANIFEST_FORM', elements=[
            p.element(d[1], 'keys', payload=dict(uniqueId=str(d[2].uid)))])
        self.expect_manifest('MANIFEST_FORM', elements=[
            good[0], p.element(d[2], 'keys', payload=dict(groupId='other'))])
        other = p.element(d[2], 'keys')
        x5c = json.loads(debase64(other['payload']))['publicKeySet']['keys'][0]['x5c']
        self.expect_manifest('MANIFEST_KEY', elements=[p.element(d[1], 'keys', x5c=x5c)])
        self.expect_manifest('MANIFEST_KEY', elements=[p.element(d[1], 'keys', y='A' * 43)])
        self.expect_manifest('MANIFEST_KEY', elements=[p.element(d[1], 'keys', crv='P-521')])
        own = json.loads(debase64(good[0]['payload']))['publicKeySet']['keys'][0]['x5c']
        self.expect_manifest('MANIFEST_CERTIFICATE', elements=[
            p.element(d[1], 'keys', x5c=[own[0], own[0]])])
        self.expect_manifest('MANIFEST_FORM', elements=[p.element(d[1], 'keys', x5c=own[:1])])

    def test_chains_up_to_the_root(self):
        """Of a batch that one CA's certificate was changed in: each device has its own chain."""
        p, d = self.plant, [d for d in self.devices if d.serial and d.state != 'ko']
        first, second = (p.x5c(d[i].certificate) for i in (0, 1))
        root = Signer(self.dir, 'root')
        above = p.x5c(root.certify(p.ca.certificate), root.certificate)
        other = p.x5c(Signer(self.dir, 'other').certificate)
        lines = [p.element(d[0], 'keys', x5c=first + above), p.element(d[1], 'keys', x5c=second + above)]
        said = self.expect_manifest(elements=lines)
        self.assertEqual(said['facts']['certificates'], 2)
        self.expect_manifest(elements=[p.element(d[0], 'keys'), lines[1]])
        self.expect_manifest(elements=[lines[0], p.element(d[1], 'keys')])
        for code, x5c in (('CERTIFICATE', first + above[:1] + other), ('CERTIFICATE', first + above[::-1]),
                          ('CERTIFICATE', first + above + other), ('FORM', first + above + ['AAAA']),
                          ('FORM', first + above + [7]), ('FORM', first + above + 7 * above[1:])):
            line = p.element(d[0], 'keys', x5c=x5c)
            self.expect_manifest(f'MANIFEST_{code}', elements=[line, lines[1]])
            self.expect_manifest(f'MANIFEST_{code}', elements=[lines[1], line])
        # And each time: the second device has the first one's bad chain.
        bad = [p.element(d[0], 'keys', x5c=first + above[:1] + other),
               p.element(d[1], 'keys', x5c=second + above[:1] + other)]
        said = self.expect_manifest('MANIFEST_CERTIFICATE', elements=bad)
        self.assertEqual(said['by_code'], {'MANIFEST_CERTIFICATE': 2})

    def test_held_against_the_report(self):
        p = self.plant
        good = self.elements()
        self.expect_manifest('MANIFEST_DEVICE', elements=good[1:], report=True)
        ko = next(d for d in self.devices if d.state == 'ko')
        self.expect_manifest('MANIFEST_DEVICE', elements=good + [p.element(ko, 'keys')],
                             report=True)
        stranger = type(ko)(99, **p.keys(1)[0])
        self.expect_manifest('MANIFEST_DEVICE', elements=good + [p.element(stranger, 'keys')],
                             report=True)
        fresh = type(ko)(self.devices[1].row, **p.keys(1)[0])
        self.expect_manifest('MANIFEST_KEY', report=True, elements=[
            p.element(fresh, 'keys')] + good[1:])

    def test_text_that_is_not_as_it_must_be(self):
        text = self.plant.manifest('keys').read_text()
        path = self.dir / 'manifest.json'
        for changed in (text[2:], text[:-2], text + 'x', text.replace('},\n{', '}\n{', 1),
                        text.replace('}\n]', '},\n]'), text.replace('"payload"', '"pay"', 1),
                        text.replace('{"payload"', '{"extra":1,"payload"', 1), '', '[]\n',
                        text.replace('{"payload"', '{"payload":"","payload"', 1)):
            path.write_text(changed)
            self.expect_manifest('MANIFEST_FORM', path=path)

    def test_no_changed_byte_is_taken(self):
        """But for what JSON lets be written in several ways: white space."""
        data = self.plant.manifest('keys').read_bytes()
        self.assert_no_mutation_passes(data, lambda path: ['manifest', path, *self.audit], 120)

    def test_usage_and_unreadable_files(self):
        for arguments, status in (([self.path], 64), ([*self.audit], 64),
                                  ([self.path, *self.audit, '--frob'], 64),
                                  ([self.dir / 'none', *self.audit], 65), (['--help'], 0)):
            self.assertEqual(verify('manifest', *arguments, json_output=False).returncode, status)


def debase64(text):
    import base64
    return base64.urlsafe_b64decode(text + '=' * (-len(text) % 4))


if __name__ == '__main__':
    assert stamp(NOON_MS).endswith('T12:00:00.000Z')
    unittest.main()
