#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Every RPC of the service with fake token workers: what it answers, and how it refuses."""
import re
import tempfile
import time
import unittest

import grpc

from service_site import Base, Refused, Service, fields_of, station_pb2, types_pb2

NONE = '0192f0c1-2b3c-7d4e-8f50-0123456789ab'


class Calls(Base):
    """One service for all tests: they do not disturb each other."""

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix='mintmark-service.')
        cls.addClassCleanup(folder.cleanup)
        cls.shared = Service(folder.name)
        cls.addClassCleanup(cls.shared.stop)
        cls.shared.start('shared=chain-1')
        cls.shared.add_order('big', 100000)

    def setUp(self):
        self.service = self.shared
        self.station = self.client()

    def test_ping(self):
        before_ms = int(time.time() * 1000)
        pong = self.station.station('Ping')
        self.assertIn(pong.time_ms, range(before_ms, int(time.time() * 1000) + 1))
        self.assertTrue(pong.ready, pong)
        self.assertEqual((pong.client, pong.detail), ('line-1', ''))
        self.assertTrue(self.station.health())
        self.assertTrue(self.station.health('mintmark.v1.StationService'))

    def test_provision_streams_what_it_records(self):
        batch = self.station.open_batch(200)
        messages = list(self.station.stream(batch, 100, 'p-1'))
        bundles = [b for m in messages for b in fields_of(m, 1)]
        self.assertEqual(len(set(bundles)), 100)
        self.assertEqual(fields_of(messages[0], 2), [b'chain-1'])
        self.assertTrue(all(fields_of(m, 2) == [] for m in messages[1:]))
        self.assertEqual(self.station.issued(batch), 100)
        again = self.station.provision(batch, 100, 'p-1')
        self.assertEqual(sorted(again), sorted(bundles))
        self.assertEqual(self.station.issued(batch), 100)

    def test_bad_requests_change_nothing(self):
        batch = self.station.open_batch(50)
        provision = self.station.provision
        bad = [('INVALID_ARGUMENT', 'INVALID_FIELD', 'count', (batch, 0, 'b')),
               ('INVALID_ARGUMENT', 'INVALID_FIELD', 'count', (batch, 100001, 'b')),
               ('INVALID_ARGUMENT', 'INVALID_FIELD', 'batch_uid', ('no', 1, 'b')),
               ('INVALID_ARGUMENT', 'INVALID_FIELD', 'request_id', (batch, 1, '')),
               ('INVALID_ARGUMENT', 'INVALID_FIELD', 'request_id', (batch, 1, '-x')),
               ('INVALID_ARGUMENT', 'INVALID_FIELD', 'request_id', (batch, 1, 'x' * 65)),
               ('NOT_FOUND', 'UNKNOWN_BATCH', '', (NONE, 1, 'b')),
               ('RESOURCE_EXHAUSTED', 'BATCH_FULL', '', (batch, 51, 'b'))]
        for code, reason, field, args in bad:
            with self.subTest(args=args):
                error = self.refused(code, reason, provision, *args, field=field)
                self.assertEqual(error.subject, f'batch:{batch}' if reason == 'BATCH_FULL' else '')
        serials = [('INVALID_ARGUMENT', 'INVALID_FIELD', ['a']),
                   ('INVALID_ARGUMENT', 'INVALID_FIELD', ['a', '']),
                   ('INVALID_ARGUMENT', 'INVALID_FIELD', ['a', 'x' * 65]),
                   ('INVALID_ARGUMENT', 'INVALID_FIELD', ['a', 'ä']),
                   ('ALREADY_EXISTS', 'DUPLICATE_HW_SERIAL', ['a', 'a'])]
        for code, reason, value in serials:
            with self.subTest(hw_serials=value):
                self.refused(code, reason, provision, batch, 2, 'b', hw_serials=value,
                             field='hw_serials')
        self.assertEqual(self.station.issued(batch), 0)

    def test_quota_is_checked_before_anything_is_made(self):
        self.service.add_order('small', 100, seconds=600)
        batch = self.station.open_batch(90, order_id='small')
        second = self.station.open_batch(60, order_id='small')
        self.assertEqual(len(self.station.provision(batch, 50, 'q-1')), 50)
        error = self.refused('RESOURCE_EXHAUSTED', 'QUOTA_EXHAUSTED', self.station.provision, second,
                             51, 'q-2')
        self.assertEqual(error.subject, 'order:small')
        self.assertFalse(error.retry)
        error = self.refused('RESOURCE_EXHAUSTED', 'QUOTA_EXHAUSTED', self.station.open_batch, 51,
                             order_id='small')
        self.assertEqual(error.subject, 'order:small')
        self.assertEqual(self.station.issued(second), 0)
        self.assertEqual(len(self.station.provision(second, 50, 'q-2')), 50)

    def test_a_request_id_stands_for_its_arguments(self):
        batch = self.station.open_batch(50)
        self.station.provision(batch, 3, 'r-1')
        self.refused('INVALID_ARGUMENT', 'REQUEST_ID_REUSED', self.station.provision, batch, 4, 'r-1',
                     field='request_id')
        other = self.client('other')
        self.assertEqual(len(other.provision(batch, 4, 'r-1')), 4)

    def test_hardware_serials_are_unique_within_the_profile(self):
        batch = self.station.open_batch(300)
        first = [f'SN-{i}' for i in range(150)]
        self.assertEqual(len(self.station.provision(batch, 150, 's-1', hw_serials=first)), 150)
        self.assertEqual(len(self.station.provision(batch, 150, 's-1', hw_serials=first)), 150)
        later = [f'SN-{i}' for i in range(149, 270)]
        self.refused('ALREADY_EXISTS', 'DUPLICATE_HW_SERIAL', self.station.provision, batch,
                     len(later), 's-2', hw_serials=later, field='hw_serials')
        self.assertEqual(self.station.issued(batch), 150)

    def test_release_ends_a_batch_but_not_its_memory(self):
        batch = self.station.open_batch(50)
        made = self.station.provision(batch, 5, 'e-1')
        report = self.station.station('ReleaseBatch', batch_uid=batch).report
        self.assertEqual((report.batch.counts.issued, report.batch.counts.unreported), (5, 5))
        self.refused('FAILED_PRECONDITION', 'BATCH_RELEASED', self.station.station, 'ReleaseBatch',
                     batch_uid=batch)
        self.refused('FAILED_PRECONDITION', 'BATCH_RELEASED', self.station.provision, batch, 5, 'e-2')
        self.assertEqual(sorted(self.station.provision(batch, 5, 'e-1')), sorted(made))

    def test_every_line_about_a_call_names_it(self):
        self.service.add_order('logged', 2)
        batch = self.station.open_batch(2, order_id='logged')
        self.station.provision(batch, 1, 'logged-1')
        self.refused('RESOURCE_EXHAUSTED', 'BATCH_FULL', self.station.provision, batch, 2, 'logged-2')
        self.station.station('ReleaseBatch', batch_uid=batch)
        self.service.wait_log(rf'event=batch_released [^\n]*batch={batch} ')
        lines = self.service.log_text().splitlines()
        named = set()
        for event in ('order_imported order=logged', f'batch_opened batch={batch}', 'provision_done',
                      'call_failed', 'provision_ended', f'batch_released batch={batch}'):
            event, _, about = event.partition(' ')
            line = next(line for line in reversed(lines) if f'event={event} ' in line)
            self.assertIn(about, line)
            named.add(re.search(r' request=(r-\S+) ', line)[1])
        self.assertEqual(len(named), 5, 'a refusal has two lines; every call has a name of its own')

    def test_open_batch_refuses(self):
        def opened(**changes):
            fields = dict(name='b', profile='dac', device_type='t', quantity=1, heads=1)
            fields.update(changes)
            return self.station.station('OpenBatch', **fields)
        bad = [('name', ''), ('name', 'a b'), ('device_type', 'x' * 65), ('quantity', 0),
               ('quantity', 10000001), ('heads', 4097), ('order_id', '.'), ('profile', '')]
        for field, value in bad:
            with self.subTest(field=field, value=value):
                with self.assertRaises(Refused) as caught:
                    opened(**{field: value})
                self.assertEqual(caught.exception.field, field)
        self.refused('NOT_FOUND', 'UNKNOWN_PROFILE', opened, profile='nothing')
        self.refused('NOT_FOUND', 'UNKNOWN_ORDER', opened, order_id='nothing')
        self.assertEqual(opened(heads=0).batch.heads, 1)

    def test_orders_come_and_expire(self):
        self.service.add_order('brief', 10)
        batch = self.station.open_batch(10, order_id='brief')
        end_ms = int(time.time() * 1000) + 300
        self.client('officer').call('OfficerService', 'ChangeOrder', order_id='brief', reason='over soon',
                                    action=types_pb2.ORDER_ACTION_LOWER,
                                    limits=types_pb2.OrderLimits(not_after_time_ms=end_ms))
        while time.time() * 1000 <= end_ms:
            time.sleep(0.05)
        self.refused('FAILED_PRECONDITION', 'ORDER_EXPIRED', self.station.provision, batch, 1, 'o-1')
        self.refused('FAILED_PRECONDITION', 'ORDER_EXPIRED', self.station.open_batch, 1,
                     order_id='brief')

    def test_import_order_shows_the_terms(self):
        order = self.service.add_order('future', 10, not_before_time_ms=int(time.time() * 1000) + 60000,
                                       per_batch_max=5, stations=['line-1'])
        self.assertEqual((order.state, order.added_by), (types_pb2.ORDER_STATE_NOT_YET_VALID, 'security'))
        self.assertEqual((order.oem, order.per_batch_max, list(order.stations)),
                         ('Example', 5, ['line-1']))
        self.refused('FAILED_PRECONDITION', 'ORDER_NOT_YET_VALID', self.station.open_batch, 1,
                     order_id='future')
        got = self.client('monitor').call('OfficerService', 'GetOrder', order_id='future')
        self.assertEqual(got.order, order)
        self.assertIn(b'future', got.document)

    def test_listings_have_pages(self):
        made = [self.station.open_batch(1) for _ in range(5)]
        page = self.station.station('ListBatches', page_size=3)
        self.assertEqual([b.batch_uid for b in page.batches], made[:1:-1])
        page = self.station.station('ListBatches', page_size=2, page_token=page.next_page_token)
        self.assertEqual([b.batch_uid for b in page.batches], made[1::-1])
        self.refused('INVALID_ARGUMENT', 'INVALID_FIELD', self.station.station, 'ListBatches',
                     page_size=1001, field='page_size')
        orders = self.client('monitor').call('OfficerService', 'ListOrders').orders
        self.assertIn('big', [o.order_id for o in orders])

    def test_report_devices_refuses(self):
        batch = self.station.open_batch(5)
        ok, ko = types_pb2.DEVICE_STATE_OK, types_pb2.DEVICE_STATE_KO

        def report(*devices, uid=batch):
            return self.station.station('ReportDevices', batch_uid=uid, devices=[
                station_pb2.DeviceReport(device_uid=u, state=s, reason=r) for u, s, r in devices])
        bad = [('devices', ()), ('devices.device_uid', (('x', ok, ''),)),
               ('devices.state', ((NONE, types_pb2.DEVICE_STATE_ISSUED, ''),)),
               ('devices.state', ((NONE, 77, ''),)),
               ('devices.reason', ((NONE, ok, 'why'),)), ('devices.reason', ((NONE, ko, ''),)),
               ('devices.reason', ((NONE, ko, 'x' * 201),)),
               ('devices.device_uid', ((NONE, ok, ''), (NONE.upper(), ok, '')))]
        for field, devices in bad:
            with self.subTest(field=field, devices=devices):
                self.refused('INVALID_ARGUMENT', 'INVALID_FIELD', report, *devices, field=field)
        self.refused('NOT_FOUND', 'UNKNOWN_DEVICE', report, (NONE, ok, ''))
        self.refused('NOT_FOUND', 'UNKNOWN_DEVICE', self.station.station, 'GetProvisioningData',
                     device_uid=NONE)

    def test_roles(self):
        officer, monitor, nobody = (self.client(n) for n in ('officer', 'monitor', 'nobody'))
        self.refused('PERMISSION_DENIED', 'ROLE_MISSING', self.station.call, 'OfficerService',
                     'ListOrders')
        self.refused('PERMISSION_DENIED', 'ROLE_MISSING', officer.provision, NONE, 1, 'x')
        self.refused('PERMISSION_DENIED', 'ROLE_MISSING', monitor.station, 'ListBatches')
        self.refused('PERMISSION_DENIED', 'ROLE_MISSING', monitor.station, 'ReleaseBatch', batch_uid=NONE)
        self.refused('NOT_FOUND', 'UNKNOWN_BATCH', officer.station, 'ReleaseBatch', batch_uid=NONE)
        self.assertTrue(monitor.ready())
        with self.assertRaises(Refused) as caught:
            nobody.station('Ping')
        self.assertEqual(caught.exception.code, grpc.StatusCode.UNAUTHENTICATED)

    def test_strangers_get_no_connection(self):
        for name in ('stranger', None):
            with self.subTest(name=name), self.assertRaises(Refused) as caught:
                self.client(name).station('Ping', timeout=3)
            self.assertIn(caught.exception.code, (grpc.StatusCode.UNAVAILABLE,
                                                  grpc.StatusCode.DEADLINE_EXCEEDED))

    def test_status_tells_of_the_workers(self):
        status = self.client('monitor').call('OfficerService', 'GetStatus')
        self.assertEqual(sorted(w.name for w in status.workers), ['store', 'token.0', 'token.1'])
        self.assertTrue(all(w.pid > 0 and not w.last_error for w in status.workers))
        self.assertTrue(status.ready)
        self.assertGreaterEqual(status.connections, 1)


if __name__ == '__main__':
    unittest.main()
