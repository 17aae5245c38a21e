#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""mintmark-verify judges what a whole service on a demo site with a real SoftHSM token has made: orders,
reports and exports of the ledger; and what somebody with the disk has made of them."""
import json
import pathlib
import re
import shutil
import sqlite3
import sys
import unittest
import uuid

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'support'))

import token_kind  # noqa: E402  first: it may become another user
import audit  # noqa: E402
from demo_site import OnDemoSite  # noqa: E402
from service_site import Refused, types_pb2  # noqa: E402
from site_under_test import OFFICER, run  # noqa: E402
import grpc  # noqa: E402


class Verify(OnDemoSite):
    def setUp(self):
        super().setUp()
        conf = self.site.conf.read_text()
        self.site.conf.write_text(re.sub(r"(profile '?dac'? \{)", r"\1\n    manifest = 'jws'", conf,
                                         count=1))
        folder = self.site.dir / 'appliance'
        self.audit = ['--audit', folder / 'audit.pem']
        self.oem = ['--oem', self.site.dir / 'oem/oem.pem']
        self.identity = ['--identity', folder / 'identity.pem']
        self.officers = ['--officers', folder / 'officer.pem']

    def report(self, station, batch, bundles, ko):
        states = ['KO'] * ko + ['OK'] * (len(bundles) - ko - 1)
        station.station('ReportDevices', batch_uid=batch, devices=[
            dict(device_uid=types_pb2.Bundle.FromString(b).device_uid,
                 state=f'DEVICE_STATE_{s}', reason='no "answer"' if s == 'KO' else '')
            for b, s in zip(bundles, states)])

    def expect(self, *command, codes=(), within=False):
        status, said = audit.verify(*command)
        found = set(said['by_code'])
        self.assertTrue(set(codes) <= found if within else set(codes) == found,
                        said['first_findings'])
        self.assertEqual(status, 1 if codes else 0)
        return said

    def ledger(self, export, *more, **kwargs):
        return self.expect('ledger', export, *self.audit, *self.oem, *self.identity,
                           *self.officers, *more, **kwargs)

    def produce(self, station):
        """One batch from its order to its report's folder."""
        self.site.add_order('order', 5000, replacements=2, per_batch=500)
        batch = self.site.open_batch(300)
        bundles = station.provision(batch, 130, 'one')
        bundles += station.provision(batch, 2, 'two', hw_serials=['a', 'b'])
        self.report(station, batch, bundles, 3)
        receipt = self.site.dir / 'receipt.cms'
        run(OFFICER, 'order', 'receipt', '--in', self.site.dir / 'orders/order.cms', '--devices',
            100, '--out', receipt, *self.site.oem_key())
        self.site.import_document(receipt)
        self.expect('order', receipt, *self.oem, *self.identity)
        station.station('ReleaseBatch', batch_uid=batch)
        self.site.station('report', batch, '--out', self.site.dir / 'report')
        return self.site.dir / 'report/report.json'

    def shift_release(self, batch, days):
        """No record of the ledger says what this column says; the service is stopped."""
        database = sqlite3.connect(self.site.dir / 'store/mintmark.db')
        with database:
            database.execute('UPDATE batches SET released_ms = released_ms + ? WHERE uid = ?',
                             (days * 86400000, uuid.UUID(batch).bytes))
        database.close()

    def refused_without_keys(self, function, *args, **kwargs):
        with self.assertRaises(Refused) as refused:
            function(*args, **kwargs)
        self.assertEqual((refused.exception.code, refused.exception.reason),
                         (grpc.StatusCode.FAILED_PRECONDITION, 'KEYS_DELETED'))

    def test_keys_are_deleted_and_all_else_stays(self):
        """The clock is moved by moving the time of the release, there and back."""
        station = self.start()
        self.site.add_order('order', 5000)
        batch = self.site.open_batch(300)
        bundles = [types_pb2.Bundle.FromString(b) for b in station.provision(batch, 300, 'one')]
        self.assertTrue(all(b.private_key for b in bundles))
        station.station('ReleaseBatch', batch_uid=batch)
        self.site.station('report', batch, '--out', self.site.dir / 'before')
        before = self.site.dir / 'before/report.json'
        said = self.ledger(self.export(), before)
        self.site.stop()
        self.site.conf.write_text(re.sub(r'(store \{)', r'\1\n    keep_keys_days = 1',
                                         self.site.conf.read_text(), count=1))
        self.shift_release(batch, -2)
        station = self.start()
        self.eventually(lambda: f'event=keys_deleted batch={batch} devices=300' in
                        self.site.log.read_text())
        self.refused_without_keys(station.station, 'GetProvisioningData',
                                  device_uid=bundles[0].device_uid)
        self.refused_without_keys(station.provision, batch, 300, 'one')
        self.site.stop()
        self.shift_release(batch, 2)
        data = (self.site.dir / 'store/mintmark.db').read_bytes()
        self.assertIn(bundles[0].certificate, data)
        self.assertFalse([b.device_uid for b in bundles if b.private_key in data])
        station = self.start()
        self.site.station('report', batch, '--out', self.site.dir / 'after')
        self.assertEqual(before.read_bytes(), (self.site.dir / 'after/report.json').read_bytes())
        again = self.ledger(self.export(), before)
        self.assertEqual((again['facts']['devices'], said['facts']['devices']), (300, 300))

    def test_everything_that_it_makes_is_right(self):
        report = self.produce(self.start())
        order = self.site.dir / 'orders/order.cms'
        self.expect('order', order, *self.oem, *self.identity)
        self.expect('order', self.site.dir / 'orders/order.request', *self.identity)
        # The service ends and starts: unclean starts, checkpoints.
        self.site.stop()
        station = self.start()
        export = self.export()
        ledger = said = self.ledger(export, report)
        self.assertEqual((said['facts']['devices'], said['facts']['orders']), (132, 1))
        proved = '\n'.join(said['proved'])
        for sentence in ('checkpoints, the last over', '132 devices are those', '1 reports'):
            self.assertIn(sentence, proved)
        manifest = report.parent / 'manifest.json'
        said = self.expect('manifest', manifest, *self.audit)
        self.assertEqual((said['facts']['devices'], said['facts']['certificates']), (129, 129))
        self.expect('report', report, *self.audit, '--order', order, *self.oem, '--export', export,
                    '--manifest', manifest)
        # Without one of its devices.
        lines = manifest.read_text().splitlines(keepends=True)
        less = report.parent / 'less.json'
        less.write_text(''.join(lines[:5] + lines[6:]))
        self.expect('manifest', less, *self.audit)
        self.expect('report', report, *self.audit, '--manifest', less, codes=['MANIFEST_DEVICE'])
        # It goes on from there.
        station.provision(self.site.open_batch(10), 10, 'three')
        self.ledger(self.export(), '--since', export)
        later = self.site.dir / 'later'
        self.site.officer('ledger', 'export', '--out', later, '--from',
                          ledger['facts']['last_record'] + 1)
        self.ledger(later, '--since', export)

    def test_an_older_disk_that_was_unlocked(self):
        station = self.start()
        self.site.add_order('order', 5000)
        batch = self.site.open_batch(300)
        station.provision(batch, 10, 'one')
        self.site.stop()
        shutil.copytree(self.site.dir / 'store', self.site.dir / 'old')
        station = self.start()
        station.provision(batch, 20, 'two')
        before = self.export()
        self.site.stop()
        shutil.rmtree(self.site.dir / 'store')
        shutil.copytree(self.site.dir / 'old', self.site.dir / 'store')
        station = self.start(wait=False)
        self.eventually(lambda: 'event=ledger_locked' in self.site.log.read_text())
        locked = self.export()
        self.ledger(locked, '--since', before, codes=['LEDGER_TRUNCATED'])
        folder = self.site.dir / 'appliance'
        self.site.officer('ledger', 'unlock', '--key', folder / 'officer.key', '--certificate',
                          folder / 'officer.pem', '--reason', 'restored', '--operator', 'test',
                          '--yes')
        self.eventually(station.ready)
        station.provision(batch, 50, 'three')
        said = self.ledger(self.export())
        self.assertIn('LEDGER_ROLLED_BACK', '\n'.join(said['not_proved']))
        self.assertEqual(said['facts']['unlocks'], 1)
        for n in range(4):
            station.provision(batch, 1, f'four-{n}')
        status, said = audit.verify('ledger', self.export(), *self.audit, '--since', before)
        self.assertEqual(status, 1)
        self.assertLessEqual(set(said['by_code']), {'LEDGER_FORKED', 'LEDGER_TRUNCATED'})

    def test_an_older_disk_and_an_older_token(self):
        """The service cannot notice. Whoever has kept an export does."""
        folders = ['store', 'nss' if token_kind.KIND == 'softokn' else 'tokens']
        station = self.start()
        self.site.add_order('order', 5000)
        batch = self.site.open_batch(300)
        self.site.stop()
        for name in folders:
            shutil.copytree(self.site.dir / name, self.site.dir / f'old-{name}')
        station = self.start()
        station.provision(batch, 20, 'one')
        kept = self.export()
        self.site.stop()
        for name in folders:
            shutil.rmtree(self.site.dir / name)
            shutil.copytree(self.site.dir / f'old-{name}', self.site.dir / name)
        station = self.start()
        station.provision(batch, 20, 'two')
        self.site.stop()
        self.start()
        export = self.export()
        self.ledger(export)
        status, said = audit.verify('ledger', export, *self.audit, '--since', kept)
        self.assertEqual(status, 1)
        self.assertLessEqual(set(said['by_code']), {'LEDGER_FORKED', 'LEDGER_TRUNCATED'})

    def sql(self, text, *values):
        """The first row that comes of it."""
        database = sqlite3.connect(self.site.dir / 'store/mintmark.db')
        self.addCleanup(database.close)
        with database:
            row = database.execute(text, values).fetchone()
        database.close()
        return row

    def test_a_disk_that_was_edited(self):
        station = self.start()
        self.site.add_order('order', 5000)
        station.provision(self.site.open_batch(300), 10, 'one')
        self.site.stop()
        self.sql('UPDATE devices SET hw_serial = ? WHERE row = 3', 'X9')
        # The walk may lock it before anybody has seen it ready.
        self.start(wait=False)
        self.eventually(lambda: json.loads(self.site.officer('status', '--json')))
        self.ledger(self.export(), codes=['DEVICES_CHANGED'])
        self.site.stop()
        self.sql('UPDATE devices SET hw_serial = NULL WHERE row = 3')
        record, = self.sql('SELECT record FROM ledger WHERE sequence = 5')
        self.sql('UPDATE ledger SET record = ? WHERE sequence = 5',
                 record[:-1] + bytes([record[-1] ^ 1]))
        self.start(wait=False)
        self.eventually(lambda: json.loads(self.site.officer('status', '--json')))
        self.ledger(self.export(), codes=['LEDGER_EDITED'], within=True)


if __name__ == '__main__':
    unittest.main()
