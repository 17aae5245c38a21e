# SPDX-License-Identifier: Apache-2.0
"""The database of a service that has ended, against what its stations received, and its ledger walked
from the first record to the last, by code that shares nothing with the service's."""
import hashlib
import sqlite3

from google.protobuf.message import DecodeError

import service_site  # noqa: F401: makes the modules of proto/
from mintmark.v1 import ledger_pb2

# row and quantity and count of each, and what is really there
COUNTED = {
    'order': ('SELECT row, quantity, used + refunded FROM orders',
              'SELECT count(*) FROM devices JOIN requests r ON r.row = request '
              'JOIN batches b ON b.row = r.batch WHERE b.order_row = ?'),
    'batch': ('SELECT row, quantity, issued FROM batches',
              'SELECT count(*) FROM devices JOIN requests r ON r.row = request WHERE r.batch = ?'),
    'request': ('SELECT row, count, recorded FROM requests',
                'SELECT count(*) FROM devices WHERE request = ?'),
}


class Books:
    """`violated`: texts; `lost`: devices that a station has and the store does not; `doubles`: keys,
    numbers, serial numbers or devices that stand twice, and keys with two certificates."""

    def __init__(self, site, received, certificates):
        self.violated = []
        self.db = sqlite3.connect(f'file:{site.database}?mode=ro', uri=True)
        try:
            recorded = {bytes(b) for b, in self.db.execute('SELECT bundle FROM devices')}
            self.recorded = len(recorded)
            self.lost = len(received - recorded)
            self.doubles = self.count_doubles() + sum(len(c) > 1 for c in certificates.values())
            self.compare_counts()
            self.walk_ledger()
            if len(received) > self.recorded:
                self.violated.append(f'{len(received)} delivered, {self.recorded} recorded')
        finally:
            self.db.close()

    def one(self, sql, *args):
        return self.db.execute(sql, args).fetchone()[0]

    def count_doubles(self):
        doubles = 0
        for columns in 'uid', 'spki_sha256', 'profile, number', 'profile, serial', 'bundle':
            known = f'FROM devices WHERE {columns.rpartition(" ")[2]} IS NOT NULL'
            doubles += self.one(f'SELECT count(*) {known}') - self.one(
                f'SELECT count(*) FROM (SELECT DISTINCT {columns} {known})')
        return doubles

    def compare_counts(self):
        for name, (allowed, real) in COUNTED.items():
            for row, quantity, counted in self.db.execute(allowed).fetchall():
                there = self.one(real, row)
                if there > quantity or there != counted:
                    self.violated.append(f'{name} {row}: {there} devices, {counted} counted, '
                                         f'{quantity} allowed')

    def devices_hash(self, spent):
        h = hashlib.sha256()
        rows = self.db.execute(
            'SELECT uid, spki_sha256, number, serial, hw_serial FROM devices '
            'WHERE row >= ? AND row < ? ORDER BY row',
            (spent.first_row, spent.first_row + spent.count))
        for uid, spki, number, serial, hw_serial in rows:
            serial, hw_serial = serial or b'', (hw_serial or '').encode()
            h.update(uid + spki + number.to_bytes(8, 'big') + bytes([len(serial)]) + serial +
                     bytes([len(hw_serial)]) + hw_serial)
        return h.digest()

    def walk_ledger(self):
        previous, expected, spent = bytes(32), 1, 0
        for sequence, data in self.db.execute('SELECT sequence, record FROM ledger '
                                              'ORDER BY sequence'):
            try:
                record = ledger_pb2.LedgerRecord.FromString(data)
            except DecodeError:
                self.violated.append(f'record {sequence} of the ledger is none')
                return
            if sequence != expected or record.sequence != expected or record.previous != previous:
                self.violated.append(f'the ledger breaks at record {sequence}')
                return
            if record.HasField('spent'):
                if record.spent.first_row != spent + 1 or \
                        record.spent.devices_sha256 != self.devices_hash(record.spent):
                    self.violated.append(f'record {sequence} is of other devices')
                spent += record.spent.count
            previous, expected = hashlib.sha256(data).digest(), expected + 1
        if spent != self.recorded:
            self.violated.append(f'the ledger spends {spent}, {self.recorded} devices recorded')
