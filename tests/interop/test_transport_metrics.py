#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What the transport counts besides its protections (test_attacks.py has those): gzip, connections that
are asked to end, calls that wait. The numbers are exact."""
import gzip
import signal
import time
import unittest

from attack_lab import metrics
from harness import TEST, WAIT_S, Raw, Server, field, frames, message, parse, status_of

GZIP = 'mintmark_gzip_messages_total'
SAVED = 'mintmark_gzip_saved_bytes_total'
DRAINED = 'mintmark_connections_drained_total'


class Gzip(unittest.TestCase):
    def setUp(self):
        self.server = Server('--cleartext', '--metrics-port', 0)
        self.addCleanup(self.server.__exit__, None, None, None)

    def call(self, request, flag=0, **headers):
        with Raw(self.server.port) as c:
            return c.answer(c.call(TEST + 'UnaryCall', message(request, flag), **headers))

    def numbers(self):
        page = metrics(self.server.metrics_port)
        counts = {(d, o): page(GZIP, direction=d, outcome=o)
                  for d, o in (('received', 'inflated'), ('received', 'refused'),
                               ('sent', 'compressed'), ('sent', 'plain'))}
        return ({k: v for k, v in counts.items() if v},
                page(SAVED, direction='received'), page(SAVED, direction='sent'))

    def test_plain_messages_count_nothing(self):
        self.call(field(2, 1000))
        self.assertEqual(self.numbers(), ({}, 0, 0))

    def test_received(self):
        request = field(3, field(2, bytes(100000)))
        small = gzip.compress(request)
        self.assertEqual(status_of(self.call(small, 1, grpc_encoding='gzip')[1]), 0)
        self.assertEqual(self.numbers(),
                         ({('received', 'inflated'): 1}, len(request) - len(small), 0))
        grown = gzip.compress(field(2, 1))  # longer than what is in it: nothing is saved, or lost
        self.assertEqual(status_of(self.call(grown, 1, grpc_encoding='gzip')[1]), 0)
        self.assertEqual(self.numbers(),
                         ({('received', 'inflated'): 2}, len(request) - len(small), 0))

    def test_refused(self):
        for body in small_ones():
            self.assertNotEqual(status_of(self.call(body, 1, grpc_encoding='gzip')[1]), 0)
        self.assertEqual(self.numbers(), ({('received', 'refused'): 2}, 0, 0))

    def test_sent(self):
        wish = field(6, field(1, 1))  # response_compressed
        _, _, data, _ = self.call(field(2, 100000) + wish, grpc_accept_encoding='gzip')
        plain = len(gzip.decompress(data[5:]))
        self.assertEqual(self.numbers(), ({('sent', 'compressed'): 1}, 0, plain - len(data[5:])))
        self.call(field(2, 1) + wish, grpc_accept_encoding='gzip')
        self.assertEqual(self.numbers()[0], {('sent', 'compressed'): 1, ('sent', 'plain'): 1})


def small_ones():
    """No gzip, and gzip of more than a message may have."""
    return b'x', gzip.compress(bytes(5 << 20))


class Drains(unittest.TestCase):
    def counted(self, server, **expected):
        end = time.monotonic() + WAIT_S
        while True:
            page = metrics(server.metrics_port)
            found = {reason: page(DRAINED, reason=reason) for reason in
                     ('max_age', 'max_idle', 'certificate_expired', 'client_changed', 'shutdown')}
            if {k: v for k, v in found.items() if v} == expected:
                return
            self.assertLess(time.monotonic(), end, found)
            time.sleep(0.02)

    def test_idle(self):
        with Server('--cleartext', '--metrics-port', 0, '--idle-ms', 200) as server:
            with Raw(server.port) as one, Raw(server.port) as other:
                self.assertEqual(one.goaway()[0], 0)
                self.assertEqual(other.goaway()[0], 0)
                self.counted(server, max_idle=2)

    def test_age_with_a_call_that_goes_on(self):
        with Server('--cleartext', '--metrics-port', 0, '--age-ms', 300) as server:
            with Raw(server.port) as c:
                stream = c.headers(TEST + 'StreamingInputCall')
                notice = c.receive_one(frames.GoAwayFrame)
                self.assertEqual((notice.last_stream_id, notice.error_code), (2 ** 31 - 1, 0))
                self.counted(server, max_age=1)
                c.data(stream, message(field(1, field(2, b'still'))), end=True)
                _, trailers, data, _ = c.answer(stream)
                self.assertEqual((status_of(trailers), parse(data[5:])), (0, {1: 5}))

    def test_shutdown(self):
        with Server('--cleartext', '--metrics-port', 0) as server:
            with Raw(server.port) as c:
                stream = c.headers(TEST + 'StreamingInputCall')
                c.data(stream, message())
                c.receive_one(frames.SettingsFrame)
                server.process.send_signal(signal.SIGTERM)
                c.receive_one(frames.GoAwayFrame)
                self.counted(server, shutdown=1)
                c.data(stream, end=True)
                self.assertEqual(c.answer(stream)[3], 'end')
            server.ended()


class Waits(unittest.TestCase):
    def test_call_that_waits_for_its_reader(self):
        with Server('--cleartext', '--metrics-port', 0) as server:
            with Raw(server.port, settings={4: 0}) as c:
                sizes = b''.join(field(2, field(1, 65536)) for _ in range(10))
                c.call(TEST + 'StreamingOutputCall', message(sizes))
                c.frame(frames.PingFrame(0, opaque_data=b'12345678'))
                c.receive_one(frames.PingFrame)
                self.assertEqual(metrics(server.metrics_port)('mintmark_call_waits_total'), 1)


if __name__ == '__main__':
    unittest.main()
