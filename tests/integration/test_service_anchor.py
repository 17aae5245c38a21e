#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The anchor of the ledger: every kind of record gets into the token within anchor_seconds and at the
end of the service; and everything by which database, token and clock can contradict each other locks
the service, and is to be seen in log, health, metrics and status. The token is the fake workers'."""
import contextlib
import http.client
import os
import re
import signal
import sqlite3
import time
import unittest
import uuid

from service_site import Base, document_pb2, officer_pb2, station_pb2, types_pb2
from mintmark.v1 import ledger_pb2


class Anchoring(Base):
    def anchor(self):
        return ledger_pb2.Anchor.FromString((self.service.dir / 'anchor').read_bytes())

    def put_anchor(self, **changes):
        anchor = self.anchor()
        for name, value in changes.items():
            setattr(anchor, name, value)
        (self.service.dir / 'anchor').write_bytes(anchor.SerializeToString())

    def sql(self, *statements):
        with contextlib.closing(sqlite3.connect(self.service.dir / 'mintmark.db')) as db:
            for statement in statements:
                rows = db.execute(statement).fetchall()
            db.commit()
        return rows

    def head(self):
        return self.sql('SELECT max(sequence) FROM ledger')[0][0]


class Records(Anchoring):
    def begin(self, **kwargs):
        self.service.start(**kwargs)
        self.service.add_order(quantity=100, replacements_max=5)
        self.officer, self.station = self.client('officer'), self.client()

    def document(self, kind, message, **fields):
        return self.service.oem.sign(document_pb2.SignedDocument(**{kind: message(
            order_id='order', appliance_sha256=self.service.identity,
            time_ms=int(time.time() * 1000), **fields)}))

    def call(self, method, **fields):
        return self.officer.call('OfficerService', method, **fields)

    def report(self, state):
        # The fakes' bundles end with the device's UID.
        self.station.station('ReportDevices', batch_uid=self.batch, devices=[
            station_pb2.DeviceReport(device_uid=str(uuid.UUID(self.bundle[-32:].decode())),
                                     state=state, reason='no contact')])

    def steps(self):
        """Each enters a record of another kind, and none but one spends."""
        def open_batch():
            self.batch = self.station.open_batch(10)

        def spend():
            self.bundle, = self.station.provision(self.batch, 1, 'r')
        yield 'request_made', lambda: self.call('MakeOrderRequest')
        yield 'order_changed', lambda: self.call('ChangeOrder', order_id='order', reason='less',
                                                 action=types_pb2.ORDER_ACTION_LOWER,
                                                 limits=types_pb2.OrderLimits(quantity=90))
        yield 'document_accepted', lambda: self.call(
            'ImportDocument', document=self.document('report_receipt', document_pb2.ReportReceipt))
        yield 'batch_opened', open_batch
        yield 'spent', spend
        yield 'devices_reported', lambda: self.report(types_pb2.DEVICE_STATE_KO)
        yield 'batch_released', lambda: self.station.station('ReleaseBatch', batch_uid=self.batch)
        yield 'document_accepted', lambda: self.call(
            'ImportDocument', document=self.document('order_revocation', document_pb2.OrderRevocation,
                                                    reason='over'))
        yield 'order_imported', lambda: self.service.add_order('second')

    def test_every_kind_of_record_is_anchored_within_anchor_seconds(self):
        self.begin(anchor_seconds=1)
        for kind, step in self.steps():
            with self.subTest(kind=kind):
                before = self.anchor().sequence
                step()
                self.eventually(lambda: self.anchor().sequence > before)
        self.assertFalse(self.anchor().clean)
        self.assertEqual(self.service.stop(), 0)
        kinds = {ledger_pb2.LedgerRecord.FromString(r).WhichOneof('event')
                 for r, in self.sql('SELECT record FROM ledger')}
        self.assertLessEqual({kind for kind, _ in self.steps()}, kinds)

    def test_nothing_new_is_not_written_again(self):
        self.begin(anchor_seconds=1)

        def anchored():
            ledger = self.service.status().ledger
            return ledger.anchor_sequence == ledger.sequence
        self.eventually(anchored)
        anchors = self.service.status().ledger.anchors
        time.sleep(2.5)
        self.assertEqual(self.service.status().ledger.anchors, anchors)

    def test_what_was_wanted_of_workers_that_die_is_wanted_of_the_next_ones(self):
        self.begin()
        document = self.service.oem.sign(self.service.order(self.service.nonce(self.officer), 'second'))
        batch = self.station.open_batch(10)
        self.station.provision(batch, 1, 'r')
        for step in (lambda: self.call('ImportOrder', document=document),
                     lambda: self.station.station('ReleaseBatch', batch_uid=batch)):
            self.await_rest()
            before = self.anchor().sequence
            with self.token_held():
                step()
                self.eventually(lambda: any(w.state == officer_pb2.WORKER_STATE_BUSY
                                            for w in self.service.status().workers))
                for pid in self.service.worker_pids('token'):
                    os.kill(pid, signal.SIGKILL)
            self.eventually(lambda: self.anchor().sequence > before)
        # The release's with a checkpoint.
        self.service.stop(signal.SIGKILL)
        self.assertGreater(self.sql('SELECT max(sequence) FROM checkpoints')[0][0], before)

    def test_an_orderly_end_anchors_everything(self):
        self.begin()
        for kind, step in self.steps():
            with self.subTest(kind=kind):
                step()
                self.assertEqual(self.service.stop(), 0)
                self.assertTrue(self.anchor().clean)
                self.assertEqual(self.anchor().sequence, self.head())
                self.service.start()
                self.officer, self.station = self.client('officer'), self.client()
        self.assertEqual(self.service.status().ledger.unclean_starts, 0)


class Locks(Anchoring):
    """Each reason by itself, on a service that ended as it should."""

    def reasons(self):
        anchor = self.service.dir / 'anchor'
        last = 'WHERE sequence = (SELECT max(sequence) - 1 FROM ledger)'
        yield 'ANCHOR_MISSING', anchor.unlink
        yield 'ANCHOR_BAD', lambda: anchor.write_bytes(b'\xff' * 40)
        yield 'LEDGER_FOREIGN', lambda: self.put_anchor(ledger_id=bytes(16))
        yield 'LEDGER_ROLLED_BACK', lambda: self.put_anchor(sequence=self.head() + 1)
        yield 'LEDGER_FORKED', lambda: self.put_anchor(head=bytes(32))
        yield 'CLOCK_WENT_BACK', lambda: self.put_anchor(
            highest_time_ms=int((time.time() + 3600) * 1000))
        yield 'TOO_MANY_UNCLEAN_STARTS', lambda: self.put_anchor(unclean_starts=1001)
        yield 'LEDGER_EDITED', lambda: self.sql('UPDATE orders SET quantity = quantity + 1')
        yield 'LEDGER_GAP', lambda: self.sql('DELETE FROM checkpoints', f'DELETE FROM ledger {last}')
        yield 'CHECKPOINT_BAD', lambda: self.sql("UPDATE checkpoints SET orders = x'0a00'")

    def page(self):
        port = int(re.findall(r'event=metrics_listening .*port=(\d+)', self.service.log_text())[-1])
        peer = http.client.HTTPConnection('127.0.0.1', port, timeout=30)
        self.addCleanup(peer.close)
        peer.request('GET', '/metrics')
        return peer.getresponse().read().decode()

    def check(self, reason):
        log = self.service.wait_log(r'event=ledger_locked reason=(\S+) text="([^"]+)"')
        self.assertEqual(log[1], reason)
        station, officer = self.client(), self.client('officer')
        self.eventually(lambda: reason in station.station('Ping').detail)
        self.assertFalse(station.health())
        ledger = officer.call('OfficerService', 'GetStatus').ledger
        self.assertEqual((ledger.state, ledger.lock_reason), (5, reason))
        self.assertTrue(ledger.lock_text)
        self.assertIn(f'mintmark_ledger_locked{{reason="{reason}"}} 1', self.page())
        self.refused('UNAVAILABLE', 'LEDGER_LOCKED', station.provision, self.batch, 1, 'locked')
        self.refused('UNAVAILABLE', 'LEDGER_LOCKED', lambda: officer.call(
            'OfficerService', 'ChangeOrder', order_id='order', reason='x',
            action=types_pb2.ORDER_ACTION_SUSPEND))
        # Looking is allowed.
        self.assertEqual(station.issued(self.batch), 10)

    def test_every_reason_is_seen_everywhere(self):
        folder = self.service.dir
        more = 'metrics { port = 0 }'
        station, self.batch = self.started(more=more)
        station.provision(self.batch, 10, 'r')
        self.assertEqual(self.service.stop(), 0)
        kept = {name: (folder / name).read_bytes() for name in ('mintmark.db', 'anchor')}
        for reason, tamper in self.reasons():
            with self.subTest(reason=reason):
                for name, content in kept.items():
                    (folder / name).write_bytes(content)
                tamper()
                self.service.start(more=more, wait=False)
                try:
                    self.check(reason)
                finally:
                    self.service.stop()
        # As it was, it opens.
        for name, content in kept.items():
            (folder / name).write_bytes(content)
        self.service.start(more=more)


if __name__ == '__main__':
    unittest.main(verbosity=2)
