#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Sign and Random in the front: what it refuses, and what becomes of calls when workers die, hang, say
nonsense or are away."""
import signal
import time
import unittest

import grpc

from prometheus_text import read_page
from service_site import HUNG_MS, WAIT_S, Base, Refused, officer_pb2, station_pb2, types_pb2

SHA256 = types_pb2.SIGN_MECHANISM_ECDSA_SHA256
MESSAGE, WAITING = 4 * 1024 * 1024 - 1024, 32 * 1024 * 1024  # bytes of one, and of all, that may wait
SIGNING = """
signing 'firmware' {{ token = 'main' key = 'pkcs11:object={key}' clients = {{'line-1'}}
    mechanisms = {{'ECDSA', 'ECDSA-SHA256'}} }}
signing 'large' {{ token = 'main' key = 'pkcs11:object=large' clients = {{'line-1'}} curve = 'p384'
    mechanisms = {{'ECDSA', 'ECDSA-SHA512'}} }}
"""


def signing(key='fw'):
    return SIGNING.format(key=key)


class Calls(Base):
    def start(self, *directives, more=None, **kwargs):
        self.service.start(*directives, more=signing() + (more or ''), **kwargs)
        return self.client()

    def sign(self, station, profile='firmware', mechanism=SHA256, **what):
        return station.station('Sign', signing_profile=profile, mechanism=mechanism,
                               **(what or {'message': b'm'}))

    def busy(self):
        return any(w.state == officer_pb2.WORKER_STATE_BUSY for w in self.service.status().workers)

    def test_what_the_worker_gives_is_what_the_station_gets(self):
        station = self.start()
        answer = self.sign(station, digest=b'd' * 32)
        self.assertEqual((answer.signature, answer.digest, answer.certificate, list(answer.chain)),
                         (b'ECDSA-SHA256', b'd' * 32, b'pkcs11:object=fw', [b'issuer']))
        self.assertEqual(len(station.station('Random', length=100).data), 100)

    def test_wrong_requests(self):
        station = self.start()
        ecdsa, sha512 = types_pb2.SIGN_MECHANISM_ECDSA, types_pb2.SIGN_MECHANISM_ECDSA_SHA512
        for field, profile, mechanism, what in (
                ('signing_profile', '', SHA256, {'message': b'm'}),
                ('signing_profile', 'no name', SHA256, {'message': b'm'}),
                ('mechanism', 'firmware', 0, {'message': b'm'}),
                ('mechanism', 'firmware', 99, {'message': b'm'}),
                ('digest', 'firmware', SHA256, {'digest': b''}),
                ('digest', 'firmware', SHA256, {'digest': b'd' * 31}),
                ('digest', 'firmware', ecdsa, {'digest': b'd' * 48}),
                ('digest', 'large', ecdsa, {'digest': b'd' * 32}),
                ('digest', 'large', sha512, {'digest': b'd' * 48}),
                ('message', 'firmware', SHA256, {'message': b''}),
                ('message', 'firmware', ecdsa, {'message': b'm'})):
            with self.subTest(profile=profile, mechanism=mechanism, what=what):
                self.refused('INVALID_ARGUMENT', 'INVALID_FIELD', self.sign, station, profile, mechanism,
                             field=field, **what)
        self.refused('INVALID_ARGUMENT', 'INVALID_FIELD', station.station, 'Sign', field='digest',
                     signing_profile='firmware', mechanism=SHA256)
        for length in (0, 65537):
            self.refused('INVALID_ARGUMENT', 'INVALID_FIELD', station.station, 'Random', length=length,
                         field='length')
        self.refused('INVALID_ARGUMENT', 'INVALID_FIELD', station.station, 'Random', length=1,
                     token='no name', field='token')
        self.refused('NOT_FOUND', 'UNKNOWN_TOKEN', station.station, 'Random', length=1, token='other')
        self.refused('NOT_FOUND', 'UNKNOWN_SIGNING_PROFILE', self.sign, station, 'other')
        self.refused('PERMISSION_DENIED', 'MECHANISM_NOT_ALLOWED', self.sign, station, 'firmware', sha512)
        self.assertNotIn('event=sign_failed', self.service.log_text())

    def test_others_may_not_sign(self):
        self.start()
        self.refused('PERMISSION_DENIED', 'SIGNING_NOT_ALLOWED', self.sign, self.client('other'))
        self.service.wait_log(r'event=sign_refused .*station=line-2 .*reason=SIGNING_NOT_ALLOWED')
        for name in ('officer', 'monitor'):
            self.refused('PERMISSION_DENIED', 'ROLE_MISSING', self.sign, self.client(name))
            self.refused('PERMISSION_DENIED', 'ROLE_MISSING', self.client(name).station, 'Random', length=1)

    def test_a_lost_worker_is_made_good_by_another(self):
        for job in ('die', 'hang', 'unavailable'):
            with self.subTest(job=job):
                station = self.start(f'job={job}', self.service.until(job), job_timeout_ms=HUNG_MS)
                self.assertEqual(self.sign(station).signature, b'ECDSA-SHA256')
                self.service.wait_log('event=token_call_tried_again')
                self.service.stop(signal.SIGKILL)

    def test_a_worker_that_fails_for_good(self):
        station = self.start('job=unavailable')
        error = self.refused('UNAVAILABLE', 'TOKEN_UNAVAILABLE', self.sign, station)
        self.assertTrue(error.retry)
        self.refused('UNAVAILABLE', 'TOKEN_UNAVAILABLE', station.station, 'Random', length=9)
        self.service.wait_log(r'event=sign_failed .*reason=TOKEN_UNAVAILABLE')
        self.service.wait_log(r'event=random_failed .*reason=TOKEN_UNAVAILABLE')

    def test_a_wrong_signature_is_not_tried_again(self):
        station = self.start('job=corrupt')
        self.refused('DATA_LOSS', 'TOKEN_SIGNATURE_INVALID', self.sign, station)
        self.assertNotIn('token_call_tried_again', self.service.log_text())

    def test_an_answer_of_another_kind_or_length(self):
        station = self.start('job=other-kind')
        self.refused('UNAVAILABLE', 'TOKEN_UNAVAILABLE', self.sign, station)
        self.refused('INTERNAL', 'TOKEN_ANSWER', station.station, 'Random', length=2)

    def test_no_worker(self):
        station = self.start('start=refuse', wait=False)
        self.eventually(lambda: 'away' in station.station('Ping').detail)
        self.refused('UNAVAILABLE', 'TOKEN_UNAVAILABLE', self.sign, station)
        self.refused('UNAVAILABLE', 'TOKEN_UNAVAILABLE', station.station, 'Random', length=1)

    def test_a_deadline_while_it_waits_and_while_it_runs(self):
        self.service.workers = 1
        station = self.start('delay_ms=200')
        # The worker takes two at a time; the third waits in the front.
        running = [self.in_background(lambda: self.sign(station)) for _ in range(2)]
        self.eventually(self.busy)
        with self.assertRaises(Refused) as caught:
            station.call('StationService', 'Sign', timeout=0.05, signing_profile='firmware',
                         mechanism=SHA256, message=b'm')
        self.assertEqual(caught.exception.code.name, 'DEADLINE_EXCEEDED')
        for call in running:
            self.assertEqual(call().signature, b'ECDSA-SHA256')
        self.await_rest()
        with self.token_held():  # until its deadline has passed
            drawing = self.in_background(lambda: station.call('StationService', 'Random', timeout=3, length=8))
            self.eventually(self.busy)
            with self.assertRaises(Refused) as caught:
                drawing()
        self.assertEqual(caught.exception.code.name, 'DEADLINE_EXCEEDED')
        self.service.wait_log(r'event=random_drawn')

    def test_what_cannot_be_done_in_time_is_refused_at_once(self):
        station = self.start()
        # The first takes so long that the service has time to say no, before gRPC's own deadline does.
        with self.token_held():
            first = self.in_background(lambda: self.sign(station))
            self.eventually(self.busy)
            time.sleep(5)
        first()
        error = self.refused('DEADLINE_EXCEEDED', 'DEADLINE_TOO_SHORT', station.call, 'StationService',
                             'Sign', timeout=3, signing_profile='firmware', mechanism=SHA256,
                             message=b'm')
        self.assertFalse(error.retry)
        self.sign(station)

    def test_a_section_that_goes_away_fails_its_calls(self):
        station = self.start('job=hang', drain_timeout_ms=1000)
        waiting = self.in_background(lambda: self.sign(station))
        self.eventually(self.busy)
        self.service.daemon.terminate()
        with self.assertRaises(Refused) as caught:
            waiting()
        self.assertEqual(caught.exception.code.name, 'UNAVAILABLE')

    def jobs(self):
        """Calls' that wait for a worker, or have one."""
        page = read_page(self.http)
        return page('mintmark_jobs_in_flight') + \
            page('mintmark_jobs_queued', **{'token': 'main', 'class': 'interactive'})

    def test_waiting_messages_are_limited(self):
        station = self.start('job=hang', more='metrics { port = 0 }', job_timeout_ms=2000 * WAIT_S)
        self.http = int(self.service.wait_log(r'event=metrics_listening .*port=(\d+)')[1])
        request = station_pb2.SignRequest(signing_profile='firmware', mechanism=SHA256, message=b'm' * MESSAGE)
        sign = station.channel.unary_unary('/mintmark.v1.StationService/Sign',
                                           request_serializer=station_pb2.SignRequest.SerializeToString)
        calls, end = [], time.monotonic() + WAIT_S
        # Each has arrived before the next one is sent, for a connection may have only so much under way.
        while (len(calls) + 1) * MESSAGE <= WAITING:
            calls.append(sign.future(request, timeout=WAIT_S))
            self.eventually(lambda: calls[-1].done() or self.jobs() == len(calls))
            self.assertFalse(calls[-1].done(), calls[-1])
            self.assertLess(time.monotonic(), end)
        with self.assertRaises(grpc.RpcError) as caught:
            sign(request, timeout=WAIT_S)
        refused = Refused(caught.exception)
        self.assertEqual((refused.reason, refused.retry), ('TOO_MUCH_IN_FLIGHT', True), refused)
        self.assertEqual([c for c in calls if c.done()], [])
        self.assertEqual(station.station('Ping').client, 'line-1')
        self.service.stop(signal.SIGKILL)


if __name__ == '__main__':
    unittest.main()
