#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Production orders through the whole service: what is refused, with which reason and with nothing
changed; officers and the OEM stopping one; the front refusing early. Documents are signed with
`openssl cms`, and the tokens are fakes."""
import os
import subprocess
import time
import unittest

import grpc

from service_site import Base, Refused, document_pb2, types_pb2
from oem import Oem, openssl


class Orders(Base):
    @classmethod
    def setUpClass(cls):
        cls.now_ms = int(time.time() * 1000)

    def setUp(self):
        super().setUp()
        self.service.start()
        self.officer = self.client('officer')
        self.station = self.client()

    def call(self, method, **fields):
        return self.officer.call('OfficerService', method, **fields)

    def bring(self, document):
        return self.call('ImportOrder', document=document).order

    def orders(self):
        return list(self.call('ListOrders').orders)

    def sign(self, content):
        return self.service.oem.sign(content)

    def stranger(self, name='stranger-oem', days=30):
        return Oem(self.service.dir, name, days)

    def change(self, action, **fields):
        return self.call('ChangeOrder', order_id='order',
                         action=getattr(types_pb2, f'ORDER_ACTION_{action}'), **fields).order

    def document(self, kind, **fields):
        message = {'order_revocation': document_pb2.OrderRevocation,
                   'report_receipt': document_pb2.ReportReceipt}[kind]
        values = dict(order_id='order', appliance_sha256=self.service.identity,
                      time_ms=int(time.time() * 1000))
        values.update(fields)
        return self.sign(document_pb2.SignedDocument(**{kind: message(**values)}))

    # -- bad input -----------------------------------------------------------------------------

    def both_signers(self, content):
        other = self.stranger('second')
        return self.service.oem.sign(content, '-signer', other.certificate, '-inkey', other.key)

    def expired(self, content):
        oem = Oem(self.service.dir, 'expired')
        openssl('req', '-new', '-key', oem.key, '-subj', '/CN=expired', '-out',
                self.service.dir / 'expired.csr')
        subprocess.run(['/usr/bin/python3', '-c', EXPIRE, str(oem.key), str(oem.certificate)],
                       check=True)
        with open(self.service.dir / 'oem-certificates.pem', 'ab') as f:
            f.write(oem.certificate.read_bytes())
        self.service.stop()
        self.service.start()
        self.officer = self.client('officer')
        return oem.sign(content)

    def test_bad_documents_are_refused_and_change_nothing(self):
        nonce = self.service.nonce(self.officer)

        def order(nonce=nonce, **terms):
            return self.service.order(nonce, **terms)
        good = self.sign(order())
        at = good.index(b'sensor')
        refusals = [
            ('', 'INVALID_FIELD', b''),
            ('wrong signature', 'DOCUMENT_SIGNATURE', good[:at] + b'tensor' + good[at + 6:]),
            ('cut', 'DOCUMENT_NOT_DER', good[:-20]),
            ('trailing bytes', 'DOCUMENT_NOT_DER', good + b'\0'),
            ('indefinite length', 'DOCUMENT_NOT_DER',
             self.service.oem.sign(order(), '-stream', '-indef')),
            ('two signers', 'DOCUMENT_SIGNERS', self.both_signers(order())),
            ('no certificate', 'DOCUMENT_NO_CERTIFICATE', self.service.oem.sign(order(), '-nocerts')),
            ('no attributes', 'DOCUMENT_ATTRIBUTES', self.service.oem.sign(order(), '-noattr')),
            ('content type', 'DOCUMENT_TYPE',
             self.service.oem.sign(order(), '-econtent_type', '1.2.840.113549.1.9.16.1.4')),
            ('SHA-1', 'DOCUMENT_ALGORITHM', self.service.oem.sign(order(), '-md', 'sha1')),
            ('no document', 'DOCUMENT_CONTENT', self.sign(b'make a thousand of them\n')),
            ('another kind', 'DOCUMENT_KIND', self.document('report_receipt')),
            ('unknown signer', 'SIGNER_UNKNOWN', self.stranger().sign(order())),
            ('another appliance', 'ORDER_OTHER_APPLIANCE',
             self.sign(order(appliance_sha256=b'x' * 32))),
            ('unknown nonce', 'ORDER_NONCE_UNKNOWN', self.sign(order(nonce=b'x' * 16))),
            ('unknown profile', 'UNKNOWN_PROFILE', self.sign(order(profile='nothing'))),
            ('quantity 0', 'ORDER_QUANTITY', self.sign(order(quantity=0))),
            ('absurd quantity', 'ORDER_QUANTITY', self.sign(order(quantity=2**64 - 1))),
            ('ends before it begins', 'ORDER_VALIDITY',
             self.sign(order(not_before_time_ms=5, not_after_time_ms=5))),
            ('over already', 'ORDER_EXPIRED',
             self.sign(order(not_before_time_ms=5, not_after_time_ms=6))),
            ('bad name', 'INVALID_FIELD', self.sign(order(order_id='../x'))),
            ('too big', 'DOCUMENT_TOO_BIG', b'0' * (64 * 1024 + 1)),
        ]
        for what, reason, document in refusals:
            with self.subTest(what):
                with self.assertRaises(Refused) as caught:
                    self.bring(document)
                self.assertEqual(caught.exception.reason, reason, caught.exception.text)
                self.assertEqual(self.orders(), [])
        with self.assertRaises(Refused) as caught:
            self.bring(b'0' * (5 * 1024 * 1024))
        self.assertEqual(caught.exception.code, grpc.StatusCode.RESOURCE_EXHAUSTED)
        # The nonce of all of them is still good, once.
        self.assertEqual(self.bring(good).order_id, 'order')
        for document, reason in ((good, 'ORDER_EXISTS'),
                                 (self.sign(order(order_id='two')), 'ORDER_NONCE_USED')):
            with self.assertRaises(Refused) as caught:
                self.bring(document)
            self.assertEqual(caught.exception.reason, reason)
        self.assertEqual([o.order_id for o in self.orders()], ['order'])

    def test_expired_signer_is_refused(self):
        document = self.expired(self.service.order(self.service.nonce(self.officer)))
        with self.assertRaises(Refused) as caught:
            self.bring(document)
        self.assertEqual(caught.exception.reason, 'SIGNER_EXPIRED', caught.exception.text)
        self.assertEqual(self.orders(), [])

    def test_only_officers_bring_orders_in(self):
        document = self.sign(self.service.order(b'x' * 16))
        for method, fields in (('MakeOrderRequest', {}), ('ImportOrder', {'document': document}),
                               ('ImportDocument', {'document': document}),
                               ('ChangeOrder', {'order_id': 'order'})):
            for who in ('station', 'monitor'):
                self.refused('PERMISSION_DENIED', 'ROLE_MISSING', self.client(who).call,
                             'OfficerService', method, **fields)

    # -- stopping ------------------------------------------------------------------------------

    def test_officers_suspend_resume_lower_and_close(self):
        self.service.add_order(quantity=100)
        batch = self.station.open_batch(50)
        self.assertEqual(len(self.station.provision(batch, 5, 'r-1')), 5)
        self.assertEqual(self.change('SUSPEND').state, types_pb2.ORDER_STATE_SUSPENDED)
        self.refused('FAILED_PRECONDITION', 'ORDER_SUSPENDED', self.station.provision, batch, 5, 'r-2')
        self.refused('FAILED_PRECONDITION', 'NO_LIVE_ORDER', self.station.open_batch, 1)
        # What was made before is still there for the asking.
        self.assertEqual(len(self.station.provision(batch, 5, 'r-1')), 5)
        self.change('RESUME')
        self.assertEqual(len(self.station.provision(batch, 5, 'r-2')), 5)
        self.refused('FAILED_PRECONDITION', 'ORDER_RAISED', self.change, 'LOWER',
                     limits=types_pb2.OrderLimits(quantity=101))
        self.assertEqual(self.change('LOWER', limits=types_pb2.OrderLimits(quantity=12)).quantity, 12)
        self.refused('RESOURCE_EXHAUSTED', 'QUOTA_EXHAUSTED', self.station.provision, batch, 3, 'r-3')
        self.assertEqual(self.change('CLOSE', reason='done').state, types_pb2.ORDER_STATE_CLOSED)
        self.refused('FAILED_PRECONDITION', 'ORDER_CLOSED', self.station.provision, batch, 1, 'r-4')
        self.refused('FAILED_PRECONDITION', 'ORDER_CLOSED', self.change, 'RESUME')
        self.assertEqual(self.station.issued(batch), 10)

    def test_revocation_stops_production_from_afar_and_for_good(self):
        self.service.add_order(quantity=100)
        batch = self.station.open_batch(50)
        self.assertEqual(len(self.station.provision(batch, 5, 'r-1')), 5)
        revocation = self.document('order_revocation', reason='contract ended')
        forged = self.stranger().sign(document_pb2.SignedDocument(
            order_revocation=document_pb2.OrderRevocation(
                order_id='order', appliance_sha256=self.service.identity, reason='x')))
        self.refused('PERMISSION_DENIED', 'SIGNER_UNKNOWN', self.call, 'ImportDocument',
                     document=forged)
        order = self.call('ImportDocument', document=revocation).order
        self.assertEqual((order.state, order.change_reason),
                         (types_pb2.ORDER_STATE_REVOKED, 'contract ended'))
        self.refused('FAILED_PRECONDITION', 'ORDER_REVOKED', self.station.provision, batch, 1, 'r-2')
        self.refused('FAILED_PRECONDITION', 'ORDER_REVOKED', self.call, 'ImportDocument',
                     document=revocation)
        self.service.stop()
        self.service.start()
        self.refused('FAILED_PRECONDITION', 'ORDER_REVOKED', self.client().provision, batch, 1, 'r-3')

    def test_production_stops_by_itself_without_receipts(self):
        self.service.add_order(quantity=100, unreported_devices_max=10)
        batch = self.station.open_batch(50)
        self.assertEqual(len(self.station.provision(batch, 10, 'r-1')), 10)
        self.refused('FAILED_PRECONDITION', 'ORDER_REPORT_DUE', self.station.provision, batch, 1, 'r-2')
        self.refused('FAILED_PRECONDITION', 'RECEIPT_AHEAD', self.call, 'ImportDocument',
                     document=self.document('report_receipt', devices=11))
        receipt = self.document('report_receipt', devices=10)
        self.assertEqual(self.call('ImportDocument', document=receipt).order.reported, 10)
        self.assertEqual(len(self.station.provision(batch, 10, 'r-2')), 10)
        self.refused('FAILED_PRECONDITION', 'RECEIPT_STALE', self.call, 'ImportDocument',
                     document=receipt)

    def test_terms_are_kept(self):
        self.service.add_order(quantity=100, per_batch_max=20, per_day_max=25)
        self.refused('RESOURCE_EXHAUSTED', 'ORDER_BATCH_LIMIT', self.station.open_batch, 21,
                     order_id='order')
        first, second = self.station.open_batch(20), self.station.open_batch(20)
        self.assertEqual(len(self.station.provision(first, 20, 'r-1')), 20)
        error = self.refused('RESOURCE_EXHAUSTED', 'ORDER_DAY_LIMIT', self.station.provision, second,
                             6, 'r-2')
        self.assertEqual(error.subject, 'order:order')
        self.assertEqual(len(self.station.provision(second, 5, 'r-3')), 5)
        self.service.add_order('elsewhere', 100, stations=['line-2'])
        self.refused('PERMISSION_DENIED', 'ORDER_STATION', self.station.open_batch, 1,
                     order_id='elsewhere')
        self.assertTrue(self.client('other').open_batch(1, order_id='elsewhere'))

    def test_ko_devices_are_replaced_up_to_the_limit(self):
        self.service.add_order(quantity=4, replacements_max=1)
        batch = self.station.open_batch(4)
        self.station.provision(batch, 4, 'r-1')
        self.refused('RESOURCE_EXHAUSTED', 'QUOTA_EXHAUSTED', self.station.open_batch, 1,
                     order_id='order')
        uids = self.uids(batch)
        ko = types_pb2.DEVICE_STATE_KO
        self.station.station('ReportDevices', batch_uid=batch, devices=[
            dict(device_uid=uid, state=ko, reason='silent') for uid in uids[:3]])
        again = self.station.open_batch(1, order_id='order')
        self.assertEqual(len(self.station.provision(again, 1, 'r-2')), 1)
        self.refused('RESOURCE_EXHAUSTED', 'QUOTA_EXHAUSTED', self.station.open_batch, 1,
                     order_id='order')
        order = self.call('GetOrder', order_id='order').order
        self.assertEqual((order.used, order.refunded), (4, 1))

    def uids(self, batch):
        """Out of the database: the fakes' bundles don't tell."""
        self.service.stop()
        import sqlite3
        import uuid
        with sqlite3.connect(self.service.dir / self.service.database) as db:
            rows = db.execute('SELECT uid FROM devices ORDER BY row').fetchall()
        db.close()
        self.service.start()
        self.station, self.officer = self.client(), self.client('officer')
        return [str(uuid.UUID(bytes=uid)) for uid, in rows]


EXPIRE = '''
import datetime, sys
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
key = serialization.load_pem_private_key(open(sys.argv[1], 'rb').read(), None)
name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, 'expired')])
cert = (x509.CertificateBuilder().subject_name(name).issuer_name(name).serial_number(1)
        .public_key(key.public_key()).not_valid_before(datetime.datetime(2020, 1, 1))
        .not_valid_after(datetime.datetime(2021, 1, 1)).sign(key, hashes.SHA256()))
open(sys.argv[2], 'wb').write(cert.public_bytes(serialization.Encoding.PEM))
'''

if __name__ == '__main__':
    unittest.main(verbosity=2)
