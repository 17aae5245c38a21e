#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Enroll when parts of the service fail, and when stations do as they please: workers that die, hang
and lie, a store that is killed, a station that sends faster than the workers work, or goes away."""
import os
import queue
import signal
import threading
import time
import unittest
import uuid

import grpc

from service_site import WAIT_S, Base, Refused, officer_pb2, station_pb2

OWN = ("profile 'own' { issuer = 'pai' delivery = 'on-device' subject = 'CN=${number:12}' "
       "validity = '7d' }")


def csrs(n):
    """What the fake workers take for requests: the first 32 bytes are the key."""
    return [b'k' + uuid.uuid4().hex[1:].encode() + b' a request' for _ in range(n)]


class Stream:
    """One Enroll call; pulled says how many messages gRPC has taken from it."""

    def __init__(self, client, batch, request_id, timeout=WAIT_S):
        self.first = {'batch_uid': batch, 'request_id': request_id}
        self.outgoing, self.pulled = queue.Queue(), 0
        self.call = client.channel.stream_stream(
            '/mintmark.v1.StationService/Enroll',
            request_serializer=station_pb2.EnrollRequest.SerializeToString,
            response_deserializer=station_pb2.EnrollResponse.FromString)(
                self.requests(), timeout=timeout)

    def requests(self):
        for message in iter(self.outgoing.get, None):
            self.pulled += 1
            yield message

    def send(self, requests):
        first, self.first = self.first, {}
        self.outgoing.put(station_pb2.EnrollRequest(
            devices=[station_pb2.DeviceCsr(csr=c) for c in requests], **first))

    def receive(self):
        try:
            return next(self.call)
        except grpc.RpcError as error:
            raise Refused(error) from None

    def end(self):
        self.outgoing.put(None)
        try:
            return list(self.call)
        except grpc.RpcError as error:
            raise Refused(error) from None


class Enroll(Base):
    workers = 2

    def started(self, *directives, **kwargs):
        self.service.start('profile=own', *directives, more=OWN, **kwargs)
        self.service.add_order('own', profile='own')
        station = self.client()
        return station, self.batch(station)

    def batch(self, station):
        return station.station('OpenBatch', name='b', profile='own', device_type='sensor',
                               quantity=50000, heads=8).batch.batch_uid

    def enroll(self, station, batch, request_id, requests, size=64):
        """All bundles' device_uids, '' for a refused one, in the order of the requests."""
        stream = Stream(station, batch, request_id)
        for at in range(0, len(requests), size):
            stream.send(requests[at:at + size])
        results = [r for answer in stream.end() for r in answer.results]
        results.sort(key=lambda r: r.index)
        self.assertEqual([r.index for r in results], list(range(len(requests))))
        return [r.bundle.device_uid for r in results]

    def persistently(self, *args):
        end = time.monotonic() + WAIT_S
        while True:
            try:
                return self.enroll(*args)
            except Refused as error:
                if error.code != grpc.StatusCode.UNAVAILABLE or time.monotonic() > end:
                    raise
                time.sleep(0.05)

    def test_a_chunk_of_a_failing_worker_is_made_by_another(self):
        for what in ('die', 'garbage', 'other-id', 'unavailable', 'short', 'wrong-number', 'both'):
            with self.subTest(what=what):
                self.service.forget()
                station, batch = self.started(f'job={what}', self.service.until())
                self.assertEqual(len(set(self.enroll(station, batch, 'r', csrs(200)))), 200)
                self.assertEqual(station.issued(batch), 200)
                self.assertTrue((self.service.dir / 'until').exists())
                station.channel.close()
                self.assertEqual(self.service.stop(), 0)

    def test_workers_that_always_fail_or_lie_end_the_call(self):
        for what in ('unavailable', 'both'):
            with self.subTest(what=what):
                self.service.forget()
                station, batch = self.started(f'job={what}')
                error = self.refused('UNAVAILABLE', 'TOKEN_UNAVAILABLE', self.enroll, station, batch,
                                     'r', csrs(100))
                self.assertTrue(error.retry)
                self.assertEqual(station.issued(batch), 0)
                station.channel.close()
                self.service.stop()

    def test_a_killed_token_worker_costs_nothing(self):
        station, batch = self.started('delay_ms=20')
        requests = csrs(1000)
        join = self.in_background(self.persistently, station, batch, 'r', requests)
        self.eventually(lambda: station.issued(batch) > 0)
        for pid in self.service.worker_pids('token'):
            os.kill(pid, signal.SIGKILL)
        self.assertEqual(len(set(join())), 1000)
        self.assertEqual(station.issued(batch), 1000)

    def test_a_killed_store_fails_calls_and_the_retry_gets_the_same(self):
        station, batch = self.started()
        requests = csrs(1000)
        stream = Stream(station, batch, 'r')
        with self.token_held('token.1'):
            for at in range(0, 1000, 50):
                stream.send(requests[at:at + 50])
            seen = {requests[r.index]: r.bundle.device_uid for r in stream.receive().results}
            os.kill(self.service.worker_pids('store')[0], signal.SIGKILL)
            self.refused('UNAVAILABLE', 'STORE_UNAVAILABLE', stream.end)
        uids = dict(zip(requests, self.persistently(station, batch, 'r', requests)))
        self.assertEqual(len(set(uids.values())), 1000)
        self.assertEqual({c: uids[c] for c in seen}, seen)
        self.assertEqual(station.issued(batch), 1000)

    def test_a_station_that_goes_away_finds_what_was_recorded(self):
        station, batch = self.started()
        requests = csrs(400)
        stream = Stream(station, batch, 'r')
        with self.token_held('token.1'):
            for at in range(0, 400, 20):
                stream.send(requests[at:at + 20])
            seen = {requests[r.index]: r.bundle.device_uid for r in stream.receive().results}
            stream.call.cancel()
            self.service.wait_log(r'event=provision_ended [^\n]*rpc=Enroll [^\n]*reason=CANCELLED')
        uids = dict(zip(requests, self.enroll(station, batch, 'r', requests)))
        self.assertEqual({c: uids[c] for c in seen}, seen)
        self.assertEqual(station.issued(batch), 400)

    def test_reading_stops_while_enough_is_at_work(self):
        """A few messages are at work, and a window full of bytes waits; so the station is held up long
        before it has sent all."""
        station, batch = self.started()
        stream = Stream(station, batch, 'r')
        with self.token_held():
            for _ in range(400):
                stream.send([c.ljust(4000) for c in csrs(16)])
            self.eventually(lambda: stream.pulled > 4)
            time.sleep(0.5)
            self.assertLess(stream.pulled, 60)
        stream.receive()
        self.eventually(lambda: stream.pulled > 60)
        stream.call.cancel()

    def test_deadline_ends_the_call(self):
        station, batch = self.started('delay_ms=400')
        stream = Stream(station, batch, 'r', timeout=0.3)
        stream.send(csrs(3))
        self.assertEqual(self.code(stream.receive), 'DEADLINE_EXCEEDED')
        self.assertTrue(station.ready())

    def code(self, function):
        with self.assertRaises(Refused) as caught:
            function()
        return caught.exception.code.name

    def test_calls_of_a_client_are_limited(self):
        station, batch = self.started()
        streams = []
        for i in range(4):
            stream = Stream(station, batch, f'r-{i}')
            stream.send(csrs(1))
            stream.receive()
            streams.append(stream)
        self.refused('RESOURCE_EXHAUSTED', 'TOO_MANY_CALLS', self.enroll, station, batch, 'r-5',
                     csrs(1))
        for stream in streams:
            stream.end()
        self.assertEqual(len(self.enroll(station, batch, 'r-5', csrs(1))), 1)

    def test_a_call_that_waits_for_the_one_it_took_over_can_go(self):
        station, batch = self.started()
        requests = csrs(2)
        with self.token_held():
            old = Stream(station, batch, 'r')
            old.send(requests)
            self.eventually(self.busy)
            waiting = Stream(station, batch, 'r')
            waiting.send(requests)
            self.refused('ABORTED', 'REQUEST_TAKEN_OVER', old.end)
            waiting.call.cancel()
            self.await_calls(0)
        uids = self.enroll(station, batch, 'r', requests)
        self.assertEqual(len(set(uids)), 2)
        self.assertEqual(station.issued(batch), 2)

    def test_draining_takes_no_new_call_and_ends_what_runs(self):
        station, batch = self.started(drain_timeout_ms=1000 * WAIT_S)
        stream = Stream(station, batch, 'r')
        with self.token_held():
            stream.send(csrs(5))
            self.eventually(self.busy)
            done = threading.Thread(target=self.service.stop)
            done.start()
            self.service.wait_log('event=stopping')
        stream.outgoing.put(None)
        self.assertEqual(len([r for a in stream.call for r in a.results]), 5)
        done.join(WAIT_S)

    def busy(self):
        return any(w.state == officer_pb2.WORKER_STATE_BUSY for w in self.service.status().workers)

    def test_roles(self):
        station, batch = self.started()
        self.refused('PERMISSION_DENIED', 'ROLE_MISSING', self.enroll, self.client('officer'), batch,
                     'r', csrs(1))
        self.refused('UNAUTHENTICATED', 'UNKNOWN_CLIENT', self.enroll, self.client('nobody'), batch,
                     'r', csrs(1))

    def test_refused_and_good_ones_keep_their_places(self):
        station, batch = self.started()
        good = csrs(3)
        uids = self.enroll(station, batch, 'r', [good[0], b'bad', good[1], good[0], b'x' * 9000,
                                                 good[2]])
        self.assertEqual([bool(u) for u in uids], [True, False, True, True, False, True])
        self.assertEqual(uids[0], uids[3])
        self.assertEqual(station.issued(batch), 3)


if __name__ == '__main__':
    unittest.main()
