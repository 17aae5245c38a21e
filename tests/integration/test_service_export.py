#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Audit exports of a whole service on a demo site with a real SoftHSM token, read as docs/export.md says,
by Python and openssl alone: nothing missing, everything bound, nothing secret."""
import hashlib
import json
import os
import pathlib
import sqlite3
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'support'))

import token_kind  # noqa: E402, F401  first: it may become another user
from service_site import Base, Client, Refused, Users, openssl, officer_pb2, types_pb2  # noqa: E402
from site_under_test import OFFICER, Failed, Site, run  # noqa: E402
from mintmark.v1 import account_pb2, document_pb2, ledger_pb2  # noqa: E402
import grpc  # noqa: E402


def items_of(data):
    """(offset, item) of each item; nothing may be left over."""
    found, at = [], 0
    while at < len(data):
        length = int.from_bytes(data[at:at + 4], 'big')
        assert 1 <= length <= 1 << 24 and at + 4 + length <= len(data)
        found.append((at, account_pb2.LedgerExportItem.FromString(data[at + 4:at + 4 + length])))
        at += 4 + length
    return found


def devices_hash(devices):
    digest = hashlib.sha256()
    for d in devices:
        digest.update(d.uid + d.spki_sha256 + d.number.to_bytes(8, 'big'))
        for part in (d.serial, d.hw_serial.encode()):
            digest.update(bytes([len(part)]) + part)
    return digest.digest()


class Exports(Base):
    @classmethod
    def setUpClass(cls):
        """A service that has done some of everything."""
        cls.site = site = Site(workers=1)
        site.add_client('auditor', 'auditor')
        site.add_client('monitor', 'monitor')
        site.start()
        station = Client(Users(site), 'station')
        site.add_order('order', 10000, replacements=1)
        batch = site.open_batch(200)
        cls.bundles = [types_pb2.Bundle.FromString(b) for b in
                       station.provision(batch, 150, 'one') +
                       station.provision(batch, 2, 'two', hw_serials=['a', 'b'])]
        station.station('ReportDevices', batch_uid=batch, devices=[
            dict(device_uid=cls.bundles[0].device_uid, state='DEVICE_STATE_KO', reason='broken'),
            dict(device_uid=cls.bundles[1].device_uid, state='DEVICE_STATE_OK')])
        station.station('ReleaseBatch', batch_uid=batch)
        station.provision(site.open_batch(10), 10, 'three')
        cls.receipt = site.dir / 'receipt.cms'
        run(OFFICER, 'order', 'receipt', '--in', site.dir / 'orders/order.cms', '--devices', 100, '--out',
            cls.receipt, *site.oem_key())
        site.import_document(cls.receipt)
        station.channel.close()

    @classmethod
    def tearDownClass(cls):
        cls.site.__exit__(None)

    def export(self, *args):
        """The bytes of an export, by the officer's command."""
        out = self.site.dir / f'{self.id()}.export'
        out.unlink(missing_ok=True)
        answer = json.loads(self.site.officer('ledger', 'export', '--out', out, '--json', *args))
        data = out.read_bytes()
        self.assertEqual(answer['bytes'], len(data))
        self.assertEqual([p.name for p in out.parent.glob('*.part')], [])
        return data

    def verified(self, cms):
        """The content of a document that the audit key signed; openssl judges."""
        folder = self.site.dir
        (folder / 'document.cms').write_bytes(cms)
        openssl('cms', '-verify', '-binary', '-inform', 'DER', '-in', folder / 'document.cms', '-CAfile',
                folder / 'appliance/audit.pem', '-purpose', 'any', '-out', folder / 'document')
        return document_pb2.SignedDocument.FromString((folder / 'document').read_bytes())

    def check_statement(self, data, items, records, devices):
        at, end = items[-1]
        self.assertEqual(end.WhichOneof('item'), 'end')
        content = self.verified(end.end)
        self.assertEqual(content.WhichOneof('document'), 'ledger_export')
        said, header = content.ledger_export, items[0][1].header
        self.assertEqual(said.sha256, hashlib.sha256(data[:at]).digest())
        self.assertEqual((said.records, said.devices), (records, devices))
        self.assertEqual((said.ledger_id, said.first_sequence, said.last_sequence),
                         (header.ledger_id, header.first_sequence, header.last_sequence))
        return said

    def walk(self, data):
        """Reads an export once, as a verifier would; what was seen of each kind of event."""
        items = items_of(data)
        header = items[0][1].header
        self.assertEqual(header.format, 1)
        previous, sequence, time_ms = header.previous, header.first_sequence, 0
        seen, devices, record, spent = {}, [], None, None
        for _, item in items[1:-1]:
            kind = item.WhichOneof('item')
            if kind == 'record':
                self.assertIsNone(spent)
                record = ledger_pb2.LedgerRecord.FromString(item.record)
                self.assertEqual((record.sequence, record.previous), (sequence, previous))
                self.assertGreaterEqual(record.time_ms, time_ms)
                previous, time_ms = hashlib.sha256(item.record).digest(), record.time_ms
                sequence += 1
                seen.setdefault(record.WhichOneof('event'), []).append(record)
                spent = record.spent if record.HasField('spent') else None
            elif kind == 'devices':
                self.assertEqual(item.devices.first_row, spent.first_row)
                self.assertEqual(len(item.devices.devices), spent.count)
                self.assertEqual(devices_hash(item.devices.devices), spent.devices_sha256)
                devices += item.devices.devices
                spent = None
            elif kind == 'document':
                self.assertEqual(item.document.sequence, record.sequence)
                seen.setdefault('document', {})[record.WhichOneof('event')] = item.document.document
                self.check_document(record, item.document.document)
            else:
                self.check_checkpoint(item.checkpoint, record, previous, seen)
        self.assertEqual(sequence, header.last_sequence + 1)
        said = self.check_statement(data, items, sequence - header.first_sequence, len(devices))
        self.assertEqual(said.head, previous)
        return seen, devices, header

    def check_document(self, record, document):
        event = getattr(record, record.WhichOneof('event'))
        if record.WhichOneof('event') != 'request_made':
            self.assertEqual(hashlib.sha256(document).digest(), event.document_sha256)

    def check_checkpoint(self, checkpoint, record, head, seen):
        said = self.verified(checkpoint.document).checkpoint
        self.assertEqual(said.sequence, checkpoint.sequence)
        self.assertEqual(hashlib.sha256(checkpoint.order_totals).digest(), said.orders_sha256)
        seen['checkpoints'] = seen.get('checkpoints', 0) + 1
        if record:
            self.assertEqual((said.sequence, said.head), (record.sequence, head))

    def test_has_everything(self):
        data = self.export()
        seen, devices, header = self.walk(data)
        self.assertEqual(seen['genesis'][0].genesis.ledger_id, header.ledger_id)
        self.assertEqual({d.uid.hex() for d in devices} & {b.device_uid.replace('-', '') for b in self.bundles},
                         {b.device_uid.replace('-', '') for b in self.bundles})
        self.assertEqual(len(devices), 162)
        self.assertEqual([d.reason for d in devices if d.state == types_pb2.DEVICE_STATE_KO], ['broken'])
        for event in ('order_imported', 'request_made', 'batch_opened', 'spent', 'devices_reported',
                      'batch_released', 'report_signed', 'refunded', 'document_accepted', 'service_started'):
            self.assertIn(event, seen)
        self.assertEqual(set(seen['document']),
                         {'order_imported', 'request_made', 'document_accepted', 'report_signed'})
        self.assertEqual(seen['document']['order_imported'],
                         (self.site.dir / 'orders/order.cms').read_bytes())
        self.assertEqual(seen['document']['document_accepted'], self.receipt.read_bytes())
        self.assertGreater(seen['checkpoints'], 0)
        for name, der in (('audit', header.audit_certificate), ('identity', header.identity_certificate)):
            made = subprocess.run(['openssl', 'x509', '-in', self.site.dir / f'appliance/{name}.pem',
                                   '-outform', 'DER'], capture_output=True, check=True).stdout
            self.assertEqual(der, made)

    def test_from_a_later_record(self):
        data = self.export('--from', 10)
        _, _, header = self.walk(data)
        self.assertEqual(header.first_sequence, 10)
        whole = [i.record for _, i in items_of(self.export()) if i.WhichOneof('item') == 'record']
        self.assertEqual(header.previous, hashlib.sha256(whole[8]).digest())

    def test_has_no_secret(self):
        """Neither do reports; the token's own files and the database hold these, so they are there."""
        from service_site import station_pb2
        data = self.export()
        station = Client(Users(self.site), 'auditor')
        self.addCleanup(station.channel.close)
        batch = self.bundles[0].batch_uid
        report = b''.join(m.data for m in station.channel.unary_stream(
            '/mintmark.v1.StationService/GetReport',
            request_serializer=station_pb2.GetReportRequest.SerializeToString,
            response_deserializer=station_pb2.GetReportResponse.FromString)(
                station_pb2.GetReportRequest(batch_uid=batch)))
        secrets = [b.private_key for b in self.bundles]
        secrets += [(path).read_bytes().strip() for path in self.site.dir.rglob('*pin*') if path.is_file()]
        secrets += [b'PRIVATE KEY', b'BEGIN ENCRYPTED']
        self.assertGreater(len(secrets), 153)
        for secret in secrets:
            self.assertGreaterEqual(len(secret), 4)
            for text in (secret, secret.hex().encode()):
                self.assertNotIn(text, data)
                self.assertNotIn(text, report)

    def test_roles_and_bad_input(self):
        for name, first, reason in (('station', 1, 'ROLE_MISSING'), ('monitor', 1, 'ROLE_MISSING'),
                                    ('auditor', 10**6, 'INVALID_FIELD'), ('auditor', 2**64 - 1, 'INVALID_FIELD')):
            client = Client(Users(self.site), name)
            self.addCleanup(client.channel.close)
            with self.subTest(name=name), self.assertRaises(Refused) as refused:
                self.stream(client, first)
            self.assertEqual(refused.exception.reason, reason)
        with self.assertRaises(Failed) as failed:
            self.export('--from', '0')
        self.assertEqual(failed.exception.status, 64)
        out = self.site.dir / 'there'
        out.write_text('mine')
        with self.assertRaises(Failed):
            self.site.officer('ledger', 'export', '--out', out)
        self.assertEqual(out.read_text(), 'mine')

    def stream(self, client, first):
        call = client.channel.unary_stream(
            '/mintmark.v1.OfficerService/ExportLedger',
            request_serializer=officer_pb2.ExportLedgerRequest.SerializeToString,
            response_deserializer=officer_pb2.ExportLedgerResponse.FromString)
        try:
            return b''.join(m.data for m in call(officer_pb2.ExportLedgerRequest(first_sequence=first)))
        except grpc.RpcError as error:
            raise Refused(error) from None

    def test_of_a_locked_ledger(self):
        """An edited record is exported as it is: that is for the auditor to see."""
        self.site.stop()
        database = sqlite3.connect(self.site.dir / 'store/mintmark.db')
        record, = database.execute('SELECT record FROM ledger WHERE sequence = 5').fetchone()
        edited = record[:-1] + bytes([record[-1] ^ 1])
        with database:
            database.execute('UPDATE ledger SET record = ? WHERE sequence = 5', (edited,))
            database.execute('DELETE FROM checkpoints')
        database.close()
        self.site.start(wait=False)
        self.eventually(lambda: 'event=ledger_locked' in self.site.log.read_text())
        auditor = Client(Users(self.site), 'auditor')
        self.addCleanup(auditor.channel.close)
        items = items_of(self.stream(auditor, 1))
        self.assertEqual(items[-1][1].WhichOneof('item'), 'end')
        records = [i.record for _, i in items if i.WhichOneof('item') == 'record']
        self.assertEqual(records[4], edited)
        self.site.stop()
        database = sqlite3.connect(self.site.dir / 'store/mintmark.db')
        with database:
            database.execute('UPDATE ledger SET record = ? WHERE sequence = 5', (record,))
        database.close()
        self.site.start()


if __name__ == '__main__':
    unittest.main()
