#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What gRPC and HTTP/2 ask of a server, point by point, where no ordinary client shows it: docs/grpc.md
names the test of each point."""
import base64
import os
import pathlib
import re
import struct
import subprocess
import tempfile
import unittest

from harness import (ROOT, TEST, WAIT_S, Pki, Raw, Server, field, frames, message, parse, parse_all,
                     status_of, tls_context)

BUILD = pathlib.Path(os.environ.get('MINTMARK_BUILD', ROOT / 'build'))
EMPTY = TEST + 'EmptyCall'
UNARY = '/connectrpc.conformance.v1.ConformanceService/Unary'
OK, DEADLINE, UNIMPLEMENTED, INTERNAL = 0, 4, 12, 13


def writes(server):
    """Write calls of the server so far; with TLS, OpenSSL writes to the socket by write()."""
    text = pathlib.Path(f'/proc/{server.process.pid}/io').read_text()
    return int(re.search(r'^syscw: (\d+)', text, re.M).group(1))


class Cleartext(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server('--cleartext', '--streams', 100)

    @classmethod
    def tearDownClass(cls):
        with cls.server:
            cls.server.stop()

    def client(self, **options):
        return Raw(self.server.port, **options)

    def serves(self, client):
        self.assertEqual(status_of(client.answer(client.call(EMPTY))[1]), OK)

    def test_settings_are_announced(self):
        with self.client() as c:
            settings = c.receive_one(frames.SettingsFrame).settings
            self.assertEqual(settings[frames.SettingsFrame.MAX_CONCURRENT_STREAMS], 100)
            self.assertEqual(settings[frames.SettingsFrame.INITIAL_WINDOW_SIZE], 256 * 1024)
            self.assertEqual(settings[frames.SettingsFrame.MAX_HEADER_LIST_SIZE], 16 * 1024)
            # The connection's window cannot be set so; it grows from 64 KiB to 1 MiB.
            self.assertEqual(c.receive_one(frames.WindowUpdateFrame).window_increment,
                             1024 * 1024 - 65535)

    def test_ping_is_answered_with_its_own_bytes(self):
        with self.client() as c:
            c.frame(frames.PingFrame(0, opaque_data=b'12345678'))
            answer = c.receive_one(frames.PingFrame)
            self.assertEqual((answer.opaque_data, 'ACK' in answer.flags), (b'12345678', True))

    def test_two_hosts_and_two_authorities(self):
        for extra, end in (([('host', 'a')], 'end'), ([('host', 'a'), ('host', 'b')], 'reset 1')):
            with self.client() as c:
                self.assertEqual(c.answer(c.call(EMPTY, extra=extra))[3], end)
        with self.client() as c:
            block = c.encoder.encode([(':method', 'POST'), (':scheme', 'http'), (':path', EMPTY),
                                      (':authority', 'a'), (':authority', 'b')])
            c.frame(frames.HeadersFrame(1, data=block, flags=['END_HEADERS']))
            self.assertEqual(c.answer(1)[3], 'reset 1')

    def test_headers_cut_into_continuations(self):
        with self.client() as c:
            block = c.encoder.encode([(':method', 'POST'), (':scheme', 'http'), (':path', EMPTY),
                                      (':authority', 'a'), ('content-type', 'application/grpc')])
            cuts = [block[:1], block[1:20], block[20:]]
            c.frame(frames.HeadersFrame(1, data=cuts[0]), frames.ContinuationFrame(1, data=cuts[1]),
                    frames.ContinuationFrame(1, data=cuts[2], flags=['END_HEADERS']))
            c.data(1, message(), end=True)
            self.assertEqual(status_of(c.answer(1)[1]), OK)

    def test_every_way_to_half_close(self):
        with self.client() as c:
            stream = c.headers(EMPTY)  # an empty DATA frame
            c.data(stream, message())
            c.data(stream, b'', end=True)
            self.assertEqual(status_of(c.answer(stream)[1]), OK)
            stream = c.headers(EMPTY)  # the message's own frame, which brings no byte more
            c.data(stream, message()[:4])
            c.data(stream, message()[4:], end=True)
            self.assertEqual(status_of(c.answer(stream)[1]), OK)
            stream = c.headers(TEST + 'StreamingInputCall', end=True)  # HEADERS: no messages at all
            self.assertEqual(status_of(c.answer(stream)[1]), OK)

    def test_window_update_and_reset_after_the_end_are_legal(self):
        with self.client() as c:
            stream = c.call(EMPTY)
            self.assertEqual(status_of(c.answer(stream)[1]), OK)
            c.frame(frames.WindowUpdateFrame(stream, window_increment=5),
                    frames.RstStreamFrame(stream, error_code=0))
            self.serves(c)

    def test_compressed_message_in_identity(self):
        with self.client() as c:
            trailers = c.answer(c.call(EMPTY, message(b'', 1), grpc_encoding='identity'))[1]
            self.assertEqual(status_of(trailers), INTERNAL)

    def test_early_answer_is_followed_by_a_reset_without_error(self):
        with self.client() as c:
            stream = c.headers(TEST + 'Nope')
            headers, trailers, _, end = c.answer(stream)
            self.assertEqual((headers, status_of(trailers), end), ({}, UNIMPLEMENTED, 'end'))
            reset = c.receive_one(frames.RstStreamFrame)
            self.assertEqual((reset.stream_id, reset.error_code), (stream, 0))
            c.frame(frames.WindowUpdateFrame(0, window_increment=1))
            c.data(stream, message(), end=True)  # crossed with the reset
            self.serves(c)

    def test_details_repeat_the_status_and_have_no_padding(self):
        with self.client() as c:
            trailers = c.answer(c.call(TEST + 'Nope'))[1]
            text = trailers['grpc-status-details-bin']
            self.assertNotIn('=', text)
            rich = parse(base64.b64decode(text + '=' * (-len(text) % 4)))
            self.assertEqual((rich[1], rich[2].decode()),
                             (status_of(trailers), trailers['grpc-message']))

    def test_what_is_no_grpc_is_answered_at_its_end(self):
        with self.client() as c:
            stream = c.headers(EMPTY, content_type='text/plain')
            c.data(stream, b'x' * 1000)
            self.serves(c)  # and nothing came for the other before
            c.data(stream, b'x', end=True)
            trailers, end = c.answer(stream)[1::2]
            self.assertEqual((trailers, end), ({':status': '415'}, 'end'))
            stream = c.headers(EMPTY, content_type='text/plain')  # one who leaves before
            c.frame(frames.RstStreamFrame(stream, error_code=8))
            self.serves(c)

    def test_what_is_no_grpc_and_does_not_end_is_given_up(self):
        with Server('--cleartext', '--request-ms', 50) as server, Raw(server.port) as c:
            trailers, end = c.answer(c.headers(EMPTY, content_type='text/plain'))[1::2]
            self.assertEqual((status_of(trailers), end), (DEADLINE, 'end'))

    def test_methods_other_than_post(self):
        for method in 'PUT', 'DELETE', 'HEAD', 'OPTIONS', 'PATCH':
            with self.client() as c:
                trailers = c.answer(c.headers(EMPTY, method=method, end=True))[1]
                self.assertEqual((trailers[':status'], trailers['allow']), ('405', 'POST'))


class Metadata(unittest.TestCase):
    """What a service sees of the request's headers, as connectconformance's service tells it."""

    def setUp(self):
        self.process = subprocess.Popen([BUILD / 'tests/interop/conformance/server'],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        request = field(1, 2) + field(2, 2)  # gRPC, HTTP/2, cleartext
        self.process.stdin.write(struct.pack('>I', len(request)) + request)
        self.process.stdin.flush()
        size, = struct.unpack('>I', self.process.stdout.read(4))
        self.port = parse(self.process.stdout.read(size))[2]

    def tearDown(self):
        self.process.terminate()
        self.assertEqual(self.process.wait(WAIT_S), 0)
        self.process.stdin.close()
        self.process.stdout.close()

    def seen(self, extra, **headers):
        """(metadata, timeout in ms or None)"""
        with Raw(self.port) as c:
            _, trailers, data, _ = c.answer(c.call(UNARY, message(), extra=extra, **headers))
        self.assertEqual(status_of(trailers), OK, trailers)
        info = parse(parse(data[5:])[1])[2]
        metadata = {}
        for number, value in parse_all(info):
            if number == 1:
                header = parse_all(value)
                metadata[header[0][1].decode()] = [v.decode() for _, v in header[1:]]
        return metadata, parse(info).get(2)

    def test_only_metadata_is_seen(self):
        metadata, timeout = self.seen(
            [('grpc-previous-rpc-attempts', '1'), ('grpc-nonsense', '1'), ('user-agent', 'me'),
             ('grpc-accept-encoding', 'gzip'), ('host', 'h'), ('x-a', 'b')], grpc_encoding='identity')
        self.assertEqual((metadata, timeout), ({'x-a': ['b']}, None))

    def test_repeated_and_binary_values(self):
        metadata, _ = self.seen([('x-a', '1'), ('x-b-bin', 'AA==,AQ'), ('x-a', '2, 3'), ('x-b-bin', 'Ag')])
        self.assertEqual(metadata, {'x-a': ['1', '2, 3'], 'x-b-bin': ['AA', 'AQ', 'Ag']})

    def test_what_http_allows_and_grpc_does_not_is_passed_over(self):
        metadata, _ = self.seen([('x-tab', 'a\tb'), ('x-latin', b'\xe4'), ('x!#', '1'), ('x_.-9', ''),
                                 ('x-good', 'good')])
        self.assertEqual(metadata, {'x_.-9': [''], 'x-good': ['good']})

    def test_deadline_reaches_the_service(self):
        for text, least, most in (('5S', 4000, 5000), ('70M', 4_100_000, 4_200_000)):
            timeout = self.seen([], grpc_timeout=text)[1]
            self.assertTrue(least < timeout <= most, timeout)


class Tls(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.pki = Pki(pathlib.Path(cls.folder.name))
        cert, key = cls.pki.leaf('server', server=True)
        cls.server = Server('--cert', cert, '--key', key)
        cls.context = tls_context(cls.pki.file)

    @classmethod
    def tearDownClass(cls):
        with cls.server:
            cls.server.stop()
        cls.folder.cleanup()

    def test_calls_of_one_turn_are_answered_by_one_write(self):
        with Raw(self.server.port, self.context) as c:
            self.assertEqual(status_of(c.answer(c.call(EMPTY))[1]), OK)
            before = writes(self.server)
            together = []
            c.send = together.append
            for _ in range(64):
                last = c.call(EMPTY)
            del c.send
            self.assertLess(sum(map(len, together)), 16384)  # one TLS record
            c.send(b''.join(together))
            self.assertEqual(status_of(c.answer(last)[1]), OK)
            self.assertEqual(writes(self.server) - before, 1)

    def test_alpn_selects_h2_among_others(self):
        context = tls_context(self.pki.file)
        context.set_alpn_protocols(['http/1.1', 'h2'])
        with Raw(self.server.port, context) as c:
            self.assertEqual(c.socket.selected_alpn_protocol(), 'h2')
            self.assertEqual(c.socket.version(), 'TLSv1.3')


if __name__ == '__main__':
    unittest.main()
