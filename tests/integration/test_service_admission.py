#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Admission: what is too much or too late is refused at once, and whoever asks for little is not held
up by who asks for much."""
import os
import signal
import time
import unittest

import grpc

from prometheus_text import read_page
from service_site import WAIT_S, Base, Refused, officer_pb2, station_pb2

ON = 'metrics { port = 0 }'
CHUNK = 120
BUSY = officer_pb2.WORKER_STATE_BUSY


class Admission(Base):
    """A service of its own for each test, with fake token workers and the real store."""

    def begin(self, *directives, **kwargs):
        station, batch = self.started(*directives, more=ON, **kwargs)
        self.http = int(self.service.wait_log(r'event=metrics_listening .*port=(\d+)')[1])
        return station, batch

    def page(self):
        return read_page(self.http)

    def metric(self, *args, **labels):
        return self.page()(*args, **labels)

    def test_who_resets_its_calls_gets_no_further_than_its_limit(self):
        station, batch = self.begin(limits='jobs_per_client = 1')
        other = self.client('other')
        refusals = 0
        with self.token_held():
            first = station.stream(batch, 30 * CHUNK, 'r-0')
            self.eventually(lambda: self.busy() == 1)
            first.cancel()
            self.await_calls(0)
            for i in range(1, 21):
                call = station.stream(batch, 30 * CHUNK, f'r-{i}')
                self.eventually(lambda: call.done() or self.service.status().calls_in_flight == 2)
                self.assertEqual(self.busy(), 1)
                if call.done():
                    self.assertEqual(call.code(), grpc.StatusCode.RESOURCE_EXHAUSTED)
                    refusals += 1
                call.cancel()
                self.await_calls(0)
            self.assertGreater(refusals, 10)
            self.assertGreaterEqual(self.metric('mintmark_refusals_total', reason='STATION_BUSY'), refusals)
        self.await_rest()
        # The one that it had in hand, whatever the number of calls.
        self.assertEqual(self.metric('mintmark_client_token_jobs_total', client='line-1'), 1)
        self.assertEqual(len(other.provision(batch, 1, 'one')), 1)

    def busy(self):
        """So many workers of the token have work."""
        return sum(w.state == BUSY for w in self.service.status().workers if w.name.startswith('token'))

    def test_single_calls_over_the_limit_are_refused(self):
        station, batch = self.begin(limits='jobs_per_client = 2')
        with self.token_held():
            call = station.stream(batch, CHUNK, 'bulk')
            self.eventually(lambda: self.metric('mintmark_client_jobs_in_flight', client='line-1') == 2)
            error = self.refused('RESOURCE_EXHAUSTED', 'STATION_BUSY', station.issued, batch)
            self.assertEqual(error.subject, 'client:line-1')
            self.assertTrue(0 < error.retry_s < 2, error.retry_s)
            self.assertEqual(error.pushback_ms, round(1000 * error.retry_s))
            # Others, and what needs no worker, go on.
            self.assertEqual(self.client('other').issued(batch), 0)
            self.assertTrue(station.ready())
        list(call)
        self.assertEqual(station.issued(batch), CHUNK)

    def test_a_full_queue_says_when_to_come_back(self):
        station, batch = self.begin('delay_ms=100', limits='queue_per_client = 20 queue = 40')
        other = self.client('other')
        # What a device costs is known from here on: 100 ms for 120, two workers.
        self.assertEqual(len(station.provision(batch, 4 * CHUNK, 'first')), 4 * CHUNK)
        bulk = {'token': 'main', 'class': 'bulk'}
        third = self.client('third')
        with self.token_held():
            # With an empty queue any size is taken.
            first = station.stream(batch, 30 * CHUNK, 'r-1')
            self.eventually(lambda: self.metric('mintmark_jobs_queued', **bulk) > 20)
            queued = self.metric('mintmark_jobs_queued', **bulk)
            error = self.refused('RESOURCE_EXHAUSTED', 'STATION_BUSY', station.provision, batch,
                                 4 * CHUNK, 'r-2')
            self.assertEqual(error.subject, 'client:line-1')
            self.assertTrue(0.1 < error.retry_s < WAIT_S, error.retry_s)
            second = other.stream(batch, 10 * CHUNK, 'r-3')
            self.eventually(lambda: self.metric('mintmark_jobs_queued', **bulk) == queued + 10)
            error = self.refused('UNAVAILABLE', 'SERVICE_BUSY', third.provision, batch, 20 * CHUNK, 'r-4')
            self.assertTrue(0.1 < error.retry_s < WAIT_S, error.retry_s)
            p = self.page()
            self.assertEqual(p('mintmark_refusals_total', reason='STATION_BUSY'), 1)
            self.assertEqual(p('mintmark_refusals_total', reason='SERVICE_BUSY'), 1)
            self.eventually(lambda: self.metric('mintmark_queue_wait_seconds', **bulk) > 0.1)
        # Small calls have a queue of their own.
        self.assertEqual(len(third.provision(batch, 1, 'one')), 1)
        time.sleep(error.retry_s)
        self.assertEqual(len(third.provision_persistently(batch, 20 * CHUNK, 'r-4')), 20 * CHUNK)
        for call in first, second:
            list(call)
        p = self.page()
        for client, jobs in ('line-1', 34), ('line-2', 10), ('line-3', 21):
            self.assertGreaterEqual(p('mintmark_client_token_jobs_total', client=client), jobs)
            self.assertGreater(p('mintmark_client_token_seconds_total', client=client), 0.09 * jobs)
            self.assertEqual(p('mintmark_client_jobs_in_flight', client=client), 0)
        self.assertEqual(p.sum('mintmark_jobs_queued'), 0)

    def test_what_cannot_be_done_in_time_is_refused_at_once(self):
        station, batch = self.begin('delay_ms=100')
        self.assertEqual(len(station.provision(batch, 4 * CHUNK, 'first')), 4 * CHUNK)
        before = self.metric('mintmark_jobs_total', kind='token', outcome='done')
        # The service says so, long before the client's own deadline, which knows no reason.
        error = self.refused('DEADLINE_EXCEEDED', 'DEADLINE_TOO_SHORT', station.provision, batch,
                             600 * CHUNK, 'late', timeout=10)
        self.assertFalse(error.retry)
        self.assertIsNone(error.pushback_ms)
        self.assertEqual(self.metric('mintmark_refusals_total', reason='DEADLINE_TOO_SHORT'), 1)
        self.assertEqual(self.metric('mintmark_jobs_total', kind='token', outcome='done'), before)
        self.assertEqual(station.issued(batch), 4 * CHUNK)
        # Less is in time.
        self.assertEqual(len(station.provision(batch, 4 * CHUNK, 'less', timeout=WAIT_S)), 4 * CHUNK)

    def test_jobs_of_callers_that_went_never_start(self):
        station, batch = self.begin()
        # The officer's order took a token job too.
        before = self.metric('mintmark_jobs_total', kind='token', outcome='done')
        with self.token_held():
            bulk = station.stream(batch, 4 * CHUNK, 'bulk')
            self.eventually(lambda: self.metric('mintmark_client_jobs_in_flight', client='line-1') == 4)
            other = self.client('other')
            calls = [other.stream(batch, 1, f'one-{i}') for i in range(3)]
            small = {'token': 'main', 'class': 'interactive'}
            self.eventually(lambda: self.metric('mintmark_jobs_queued', **small) == 3)
            for call in calls:
                call.cancel()
            self.eventually(lambda: self.metric('mintmark_jobs_queued', **small) == 0)
        list(bulk)
        self.eventually(lambda: self.metric('mintmark_jobs_in_flight') == 0)
        p = self.page()
        self.assertEqual(p('mintmark_client_token_jobs_total', client='line-2'), 0)
        self.assertEqual(p('mintmark_client_token_jobs_total', client='line-1'),
                         p('mintmark_jobs_total', kind='token', outcome='done') - before)
        self.assertEqual(station.issued(batch), 4 * CHUNK)

    @staticmethod
    def ask(client, batch):
        """A call that asks the store, under way."""
        return client.channel.unary_unary(
            '/mintmark.v1.StationService/GetBatch',
            request_serializer=station_pb2.GetBatchRequest.SerializeToString,
            response_deserializer=station_pb2.GetBatchResponse.FromString,
        ).future(station_pb2.GetBatchRequest(batch_uid=batch), timeout=WAIT_S)

    def held(self, n):
        """A station with so many calls that ask a store which stands still; its process."""
        station, batch = self.begin(limits='jobs_per_client = 50')
        store, = self.service.worker_pids('store')
        os.kill(store, signal.SIGSTOP)
        self.addCleanup(self.let_go, store)
        calls = [self.ask(station, batch) for _ in range(n)]
        # The store has 32 of them; the others can still be dropped.
        self.eventually(lambda: self.metric('mintmark_store_jobs_waiting') == n - 32)
        self.assertEqual(self.metric('mintmark_client_jobs_in_flight', client='line-1'), 32)
        return station, batch, calls, store

    def test_the_store_has_a_short_line(self):
        station, batch, calls, store = self.held(50)
        error = self.refused('RESOURCE_EXHAUSTED', 'STATION_BUSY', station.issued, batch)
        self.assertEqual(error.subject, 'client:line-1')
        for call in calls[-8:]:
            call.cancel()
        self.eventually(lambda: self.metric('mintmark_store_jobs_waiting') == 10)
        done = self.metric('mintmark_jobs_total', kind='store', outcome='done')
        others = self.ask(self.client('other'), batch)
        os.kill(store, signal.SIGCONT)
        for call in calls[:-8] + [others]:
            self.assertEqual(call.result().batch.batch_uid, batch)
        # What was dropped never reached the store.
        self.assertEqual(self.metric('mintmark_jobs_total', kind='store', outcome='done'), done + 43)
        self.assertEqual(self.metric('mintmark_jobs_in_flight'), 0)

    def test_what_waits_for_a_store_that_dies_fails(self):
        station, batch, calls, store = self.held(40)
        os.kill(store, signal.SIGKILL)
        for call in calls:
            error = call.exception()
            self.assertEqual(error.code(), grpc.StatusCode.UNAVAILABLE, error)
        self.eventually(lambda: self.metric('mintmark_ready') == 1)
        # The new one walks over the ledger first.
        self.eventually(lambda: self.metric('mintmark_jobs_in_flight') == 0)
        self.eventually(lambda: self.metric('mintmark_store_jobs_waiting') == 0)
        self.assertEqual(station.issued(batch), 0)

    def test_a_station_holds_no_more_than_its_share_of_the_open_batches(self):
        # 8,192 between these, the configuration's three, and one that is spare: 8 for each.
        crowd = '\n'.join(f"client 'c-{i}' {{ uri = 'urn:test:c-{i}' roles = {{'station'}} }}"
                          for i in range(1000))
        station, batch = self.started(more=crowd, limits='jobs_per_client = 64 streams_per_connection = 64')
        request = station_pb2.OpenBatchRequest(name='batch', profile='dac', device_type='sensor',
                                               quantity=1, heads=1)
        open_batch = station.channel.unary_unary(
            '/mintmark.v1.StationService/OpenBatch',
            request_serializer=station_pb2.OpenBatchRequest.SerializeToString,
            response_deserializer=station_pb2.OpenBatchResponse.FromString)
        # Also not when they come all at once.
        calls = [open_batch.future(request, timeout=WAIT_S) for _ in range(4)]
        self.assertEqual([c.exception() for c in calls], [None] * 4)
        calls = [open_batch.future(request, timeout=WAIT_S) for _ in range(4)]
        refused = [Refused(c.exception()) for c in calls if c.exception()]
        self.assertEqual([e.reason for e in refused], ['TOO_MANY_OWN_BATCHES'])
        error = self.refused('RESOURCE_EXHAUSTED', 'TOO_MANY_OWN_BATCHES', station.open_batch, 1)
        self.assertEqual((error.subject, error.retry_s), ('client:line-1', 60))
        # Another station opens its own, and helps this one out by releasing a batch.
        other = self.client('other')
        for _ in range(8):
            other.open_batch(1)
        self.refused('RESOURCE_EXHAUSTED', 'TOO_MANY_OWN_BATCHES', other.open_batch, 1)
        other.station('ReleaseBatch', batch_uid=batch)
        station.open_batch(1)
        self.refused('RESOURCE_EXHAUSTED', 'TOO_MANY_OWN_BATCHES', station.open_batch, 1)
        # An officer may do that, too, whether the configuration has the station or not.
        left = other.station('ListBatches', open_only=True).batches
        self.assertEqual({b.station for b in left}, {'line-1', 'line-2'})
        self.client('officer').station('ReleaseBatch', batch_uid=next(
            b.batch_uid for b in left if b.station == 'line-2'))
        other.open_batch(1)
        # They are counted after a restart as before.
        self.service.stop()
        self.service.start(more=crowd)
        self.refused('RESOURCE_EXHAUSTED', 'TOO_MANY_OWN_BATCHES', self.client().open_batch, 1)
        self.client('third').open_batch(1)

    def test_officers_and_small_calls_do_not_wait_for_bulk(self):
        station, batch = self.begin('delay_ms=40', 'bundle_bytes=1000')
        self.assertEqual(len(station.provision(batch, 2000, 'kept')), 2000)
        bulk = [station.stream(batch, 20000, f'bulk-{i}') for i in range(2)]
        for call in bulk:
            next(call)
        again = station.stream(batch, 2000, 'kept')
        other, officer = self.client('other'), self.client('officer')
        for i in range(5):
            self.service.status()
            officer.call('OfficerService', 'ListOrders')
            other.provision(batch, 1, f'one-{i}')
        # None of the fifteen has waited for it: bulk takes twelve seconds at least, and is not through.
        self.assertGreater(self.metric('mintmark_jobs_queued', token='main', **{'class': 'bulk'}), 0)
        for call in bulk + [again]:
            call.cancel()


if __name__ == '__main__':
    unittest.main(verbosity=2)
