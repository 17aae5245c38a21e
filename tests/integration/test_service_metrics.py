#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The plant operator's pages: do the numbers add up, and does nobody who misuses them do harm?"""
import contextlib
import os
import signal
import socket
import threading
import time
import unittest

import grpc

from prometheus_text import Malformed, Page, read_page
from service_site import WAIT_S, Base, Refused

ON = 'metrics { port = 0 }'
STATION = 'mintmark.v1.StationService/'


class Metrics(Base):
    """A service of its own for each test, with fake token workers and the real store."""

    def start(self, *directives, more=ON, **kwargs):
        self.service.start(*directives, more=more, **kwargs)
        self.http = int(self.service.wait_log(r'event=metrics_listening .*port=(\d+)')[1])

    def connect(self):
        peer = socket.create_connection(('127.0.0.1', self.http), timeout=WAIT_S)
        self.addCleanup(peer.close)
        return peer

    def ask(self, request):
        """Status, headers and body; the service closes after it."""
        with socket.create_connection(('127.0.0.1', self.http), timeout=WAIT_S) as peer:
            peer.sendall(request)
            answer = self.rest(peer)
        head, _, body = answer.partition(b'\r\n\r\n')
        lines = head.decode().split('\r\n')
        return int(lines[0].split()[1]), dict(l.split(': ', 1) for l in lines[1:]), body.decode()

    @staticmethod
    def rest(peer):
        """Until the service closes; b'' when it did so without a word."""
        answer = b''
        try:
            while data := peer.recv(65536):
                answer += data
        except ConnectionResetError:
            pass
        return answer

    def get(self, path):
        return self.ask(f'GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n'.encode())

    def page(self):
        status, headers, body = self.get('/metrics')
        self.assertEqual(status, 200, body)
        self.assertEqual(headers['Content-Type'], 'text/plain; version=0.0.4; charset=utf-8')
        self.assertEqual(headers['Content-Length'], str(len(body.encode())))
        return Page(body)

    def test_numbers_add_up_with_status_and_batch(self):
        self.start('delay_ms=20', 'bundle_bytes=100')
        self.service.add_order(quantity=10000)
        self.service.add_order('later', quantity=70)
        station = self.client()
        batch = station.open_batch(5000)
        done, pages = [], []
        thread = threading.Thread(target=lambda: done.append(station.provision(batch, 3000, 'one')))
        with self.token_held('token.1'):  # it does not end before it was looked at
            thread.start()
            self.addCleanup(thread.join)
            self.eventually(lambda: pages.append(read_page(self.http)) or
                            pages[-1]('mintmark_devices_issued_total') > 0)
        while thread.is_alive():
            pages.append(read_page(self.http))
            time.sleep(0.15)
        self.assertEqual(len(done[0]), 3000)
        during = [p for p in pages if 0 < p('mintmark_devices_issued_total') < 3000]
        self.assertTrue(during)
        for p in during:
            issued, waiting = p('mintmark_devices_issued_total'), p('mintmark_devices_waiting')
            self.assertLessEqual(issued + waiting, 3000)
            self.assertLessEqual(p('mintmark_chunks_waiting'), 3000 / 64 + 1)
            self.assertEqual(p('mintmark_order_quota_left', order_id='order', profile='dac'),
                             10000 - issued)
            self.assertEqual(p('mintmark_calls_in_flight'), 1)
        for before, after in zip(pages, pages[1:]):
            for key, value in before.samples.items():
                if before.types.get(key[0]) == 'counter':
                    self.assertLessEqual(value, after.samples[key], key)
        self.assertEqual(len(station.provision(batch, 3000, 'one')), 3000)
        self.check_end(batch, station)

    def check_end(self, batch, station):
        counts = station.station('GetBatch', batch_uid=batch).batch.counts
        status = self.service.status()
        p = self.page()
        self.assertEqual(p('mintmark_devices_issued_total'), counts.issued)
        self.assertEqual(p('mintmark_devices_issued_total'), status.devices_issued)
        self.assertEqual(p('mintmark_devices_replayed_total'), 3000)
        self.assertEqual(p('mintmark_order_quota_left', order_id='order', profile='dac'), 7000)
        self.assertEqual(p('mintmark_order_quota', order_id='later', profile='dac'), 70)
        self.assertEqual((p('mintmark_orders'), p('mintmark_batches_open')), (2, 1))
        self.assertEqual((p('mintmark_chunks_waiting'), p('mintmark_devices_waiting')), (0, 0))
        self.assertEqual((p('mintmark_calls_in_flight'), p('mintmark_chunks_recording')), (0, 0))
        for kind in 'token', 'store':
            own = [w for w in status.workers if w.name.startswith(kind)]
            self.assertEqual(p('mintmark_jobs_total', kind=kind, outcome='done'),
                             sum(w.jobs_done for w in own))
            self.assertEqual(p('mintmark_jobs_total', kind=kind, outcome='failed'), 0)
            self.assertEqual(p('mintmark_job_seconds_count', kind=kind),
                             sum(w.jobs_done for w in own))
            self.assertEqual(p('mintmark_workers', kind=kind, state='ready'), len(own))
            self.assertEqual(p.sum('mintmark_workers', kind=kind), len(own))
            self.assertEqual(p('mintmark_worker_restarts_total', kind=kind), 0)
        self.assertGreater(p('mintmark_job_seconds_sum', kind='token'), 47 * 0.02)
        self.assertEqual(p('mintmark_calls_total', method=STATION + 'Provision', status='OK'), 2)
        for method in 'Provision', 'Ping':
            self.assertEqual(p('mintmark_call_seconds_count', method=STATION + method),
                             p.sum('mintmark_calls_total', method=STATION + method))
        self.assertEqual(p.sum('mintmark_limit_hits_total'), 0)
        self.assertGreater(p('mintmark_sent_bytes_total'), 6000 * 100)
        self.assertGreater(p('mintmark_received_bytes_total'), 100)
        self.assertGreater(p('mintmark_resident_memory_bytes'), 1 << 20)
        self.assertEqual(p('mintmark_build_info', version=status.version), 1)
        again = self.page()
        self.assertEqual(again.order, p.order)
        self.assertGreater(again('mintmark_uptime_seconds'), p('mintmark_uptime_seconds'))

    def test_failures_are_counted(self):
        self.start()
        self.service.add_order()
        nobody, stranger = self.client('nobody'), self.client('stranger')
        with self.assertRaises(Refused):
            nobody.station('Ping')
        with self.assertRaises(Refused):
            stranger.station('Ping', timeout=3)
        with self.assertRaises(grpc.RpcError):
            nobody.channel.unary_unary('/mintmark.v1.StationService/None')(b'', timeout=WAIT_S)
        with self.assertRaises(grpc.RpcError):
            nobody.channel.unary_unary('/mintmark.v1.StationService/Ping')(
                bytes(5 << 20), timeout=WAIT_S)
        pid = self.service.worker_pids('token.0')[0]
        os.kill(pid, signal.SIGKILL)
        self.eventually(lambda: self.service.worker_pids('token.0') not in ([], [pid]))
        # Whose handshake it was may be seen after the client has given up.
        self.eventually(lambda: read_page(self.http)('mintmark_handshakes_failed_total') >= 1)
        p = self.page()
        self.assertEqual(p('mintmark_calls_total', method=STATION + 'Ping',
                           status='UNAUTHENTICATED'), 2)
        self.assertEqual(p('mintmark_calls_total', method='unknown', status='UNIMPLEMENTED'), 1)
        self.assertEqual(p('mintmark_worker_restarts_total', kind='token'), 1)
        self.assertGreaterEqual(p('mintmark_connections_total'), 3)

    def test_too_many_connections_are_counted(self):
        self.start()
        peers = [socket.create_connection(('127.0.0.1', self.service.port)) for _ in range(70)]
        for peer in peers:
            self.addCleanup(peer.close)
        self.eventually(lambda: read_page(self.http)('mintmark_limit_hits_total', limit='handshakes') == 6)
        p = self.page()
        self.assertEqual(p('mintmark_handshakes_failed_total'), 6)
        self.assertEqual(p('mintmark_connections'), 64)

    def test_readiness_is_that_of_ping(self):
        self.start('start=refuse', wait=False)
        self.assertEqual(self.get('/healthz')[::2], (200, 'ok\n'))
        self.eventually(lambda: self.get('/readyz')[2].startswith('token'))
        pong = self.client().station('Ping')
        self.assertFalse(pong.ready)
        self.assertEqual(self.get('/readyz')[::2], (503, pong.detail + '\n'))
        self.assertEqual(self.page()('mintmark_ready'), 0)
        self.service.stop()
        self.start()
        self.assertEqual(self.get('/readyz')[::2], (200, 'ready\n'))
        self.assertEqual(self.page()('mintmark_ready'), 1)

    def test_the_rest_of_http_is_refused(self):
        self.start()
        end = b' HTTP/1.1\r\nHost: a\r\n'
        cases = [(b'GET /' + end + b'\r\n', 404), (b'GET /metrics/' + end + b'\r\n', 404),
                 (b'POST /metrics' + end + b'\r\n', 405), (b'OPTIONS /metrics' + end + b'\r\n', 405),
                 (b'GET /metrics' + end + b'Content-Length: 5\r\n\r\nhello', 413),
                 (b'GET /metrics' + end + b'Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n', 413),
                 (b'GET /metrics HTTP/1.1\r\n\r\n', 400), (b'\x16\x03\x01\x02\x00\x01\x00', 400),
                 (b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 400), (bytes(4096), 400),
                 (b'GET /metrics HTTP/3.0\r\n\r\n', 505), (b'a' * 4096, 431),
                 (b'GET /metrics' + end + b'X: ' + b'x' * 5000, 431)]
        for request, status in cases:
            with self.subTest(request=request[:40]):
                got, headers, body = self.ask(request)
                self.assertEqual((got, headers['Connection']), (status, 'close'))
                self.assertEqual(headers.get('Allow'), 'GET, HEAD' if status == 405 else None)
                self.assertEqual(headers['Content-Length'], str(len(body)))
        status, headers, body = self.ask(b'HEAD /metrics HTTP/1.0\r\n\r\n')
        self.assertEqual((status, body), (200, ''))
        self.assertGreater(int(headers['Content-Length']), 1000)
        status, _, body = self.ask(b'GET /healthz?a=b HTTP/1.0\r\n\r\nGET /metrics HTTP/1.0\r\n\r\n')
        self.assertEqual((status, body), (200, 'ok\n'))

    def test_misuse_does_no_harm(self):
        # The address sanitizer would keep what was freed, which is no growth of the service's.
        self.service.environment['ASAN_OPTIONS'] = \
            os.environ.get('ASAN_OPTIONS', '') + ':quarantine_size_mb=0:thread_local_quarantine_size_kb=0'
        station, batch = self.started_with_metrics()
        before = self.page()('mintmark_resident_memory_bytes')
        slow = [self.connect() for _ in range(20)]
        for peer in slow[:10]:
            peer.sendall(b'GET /metrics HTT')
        # Of those that hold the door, the oldest make room: whoever asks is answered.
        self.assertEqual(self.get('/healthz')[0], 200)
        self.assertEqual(self.rest(slow[0]), b'')
        # One that is answered and goes on sending is read for a while, then closed.
        loud = self.connect()
        with self.assertRaises(OSError):
            for _ in range(10000):
                loud.sendall(b'x' * 4096)
        # A page for one who does not read it.
        deaf = [self.connect() for _ in range(4)]
        for peer in deaf:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            peer.sendall(b'GET /metrics HTTP/1.0\r\n\r\n')
        self.assertEqual(len(station.provision(batch, 500, 'in-spite')), 500)
        # Nobody stays longer than five seconds.
        last = self.connect()
        began = time.monotonic()
        self.assertEqual(self.rest(last), b'')
        self.assertLess(time.monotonic() - began, WAIT_S / 2)
        self.assertLess(self.page()('mintmark_resident_memory_bytes') - before, 4 << 20)
        # Pages are for people and their tools: so many a second, not more. In one stroke: more than are
        # saved up, of connections that are there already.
        self.eventually(self.too_many_pages)
        self.assertEqual(self.get('/healthz')[0], 200)

    def too_many_pages(self):
        """Asks with eight connections at a time, faster than pages are granted; was one refused?"""
        peers = [socket.create_connection(('127.0.0.1', self.http), timeout=WAIT_S) for _ in range(8)]
        for peer in peers:
            with contextlib.suppress(OSError):
                peer.sendall(b'GET /metrics HTTP/1.0\r\n\r\n')
        answers = [self.rest(peer) for peer in peers]
        for peer in peers:
            peer.close()
        return any(answer.startswith(b'HTTP/1.1 429 ') for answer in answers)

    def started_with_metrics(self):
        self.start()
        self.service.add_order()
        station = self.client()
        return station, station.open_batch()

    def reload(self, more, event='reloaded'):
        after = len(self.service.log_text())
        self.service.configure(more=more)
        self.service.daemon.send_signal(signal.SIGHUP)
        self.service.wait_log(rf'event={event} ', after)
        return after

    def test_reload_turns_it_on_moves_it_and_turns_it_off(self):
        self.service.start()
        self.assertNotIn('metrics_listening', self.service.log_text())
        self.reload(ON)
        first = int(self.service.wait_log(r'event=metrics_listening .*port=(\d+)')[1])
        self.http = first
        self.assertEqual(self.get('/healthz')[0], 200)
        after = self.reload(ON)
        self.assertNotIn('metrics_listening', self.service.log_text()[after:])
        self.assertEqual(self.get('/healthz')[0], 200)
        after = self.reload("metrics { address = '127.0.0.2' port = 0 }")
        moved = int(self.service.wait_log(r'event=metrics_listening .*port=(\d+)', after)[1])
        with socket.create_connection(('127.0.0.2', moved)):
            pass
        with self.assertRaises(ConnectionRefusedError):
            self.connect()
        with socket.create_server(('127.0.0.1', 0)) as taken:
            after = self.reload(f'metrics {{ port = {taken.getsockname()[1]} }}', 'reload_failed')
            self.assertIn('address already in use', self.service.log_text()[after:])
        with socket.create_connection(('127.0.0.2', moved)):
            pass
        self.reload('')
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(('127.0.0.2', moved))
        self.assertEqual(self.service.stop(), 0)

    def test_while_it_drains_it_is_alive_and_not_ready(self):
        self.start(drain_timeout_ms=1000 * WAIT_S)
        self.service.add_order()
        station = self.client()
        batch = station.open_batch()
        with self.token_held():
            stream = station.stream(batch, 1000, 'long')
            self.await_calls(1)
            self.service.daemon.send_signal(signal.SIGTERM)
            self.service.wait_log(r'event=stopping ')
            self.assertEqual(self.get('/healthz')[0], 200)
            self.assertEqual(self.get('/readyz')[::2], (503, 'the service is stopping\n'))
            self.assertEqual(self.page()('mintmark_calls_in_flight'), 1)
            stream.cancel()
        self.assertEqual(self.service.stop(), 0)


class Reader(unittest.TestCase):
    """The reader of the format sees what is wrong."""

    def test_refuses(self):
        head = '# HELP a_total A.\n# TYPE a_total counter\n'
        Page(head + 'a_total{b="\\\\\\"\\n"} 1\n')
        for text in ('a_total 1\n', head + 'b_total 1\n', head + 'a_total 1', head + head,
                     head + 'a_total 1\na_total 1\n', head + 'a_total{b="\\x"} 1\n',
                     head + 'a_total{b="1",b="2"} 1\n', head + 'a_total{b="1" } 1\n',
                     head + 'a_total x\n', '# HELP a A.\n# TYPE a counter\na 1\n',
                     '# HELP h H.\n# TYPE h histogram\nh_bucket{le="1"} 2\nh_bucket{le="+Inf"} 1\n'
                     'h_sum 1\nh_count 1\n'):
            with self.subTest(text=text), self.assertRaises(Malformed):
                Page(text)


if __name__ == '__main__':
    unittest.main()
