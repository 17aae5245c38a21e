#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Malformed and hostile HTTP/2 and gRPC against the transport, frame by frame. After each test the
server still serves, and no call is left behind."""
import gzip
import pathlib
import signal
import socket
import ssl
import tempfile
import time
import unittest
import zlib

from harness import (PREFACE, PROBE, TEST, WAIT_S, Pki, Raw, Server, field, frames, message, parse,
                     status_of, tls_context)

OK, DEADLINE, NOT_FOUND, EXHAUSTED, UNIMPLEMENTED, INTERNAL = 0, 4, 5, 8, 12, 13
INVALID, CALM = 3, 11
EMPTY = TEST + 'EmptyCall'


def counts(port):
    with Raw(port) as c:
        _, trailers, data, _ = c.answer(c.call(PROBE + 'GetCounts'))
        assert status_of(trailers) == OK, trailers
        return parse(data[5:])


class RawTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server('--cleartext', '--streams', 100)

    @classmethod
    def tearDownClass(cls):
        with cls.server:
            cls.server.stop()

    def setUp(self):
        self.port = self.server.port

    def tearDown(self):
        end = time.monotonic() + WAIT_S
        while counts(self.port).get(2, 0) > 1:  # this call is one
            self.assertLess(time.monotonic(), end, 'calls were left behind')
            time.sleep(0.01)

    def ask(self, path=EMPTY, body=message(), **headers):
        with Raw(self.port) as c:
            return c.answer(c.call(path, body, **headers))

    def refused(self, status, *args, **kwargs):
        """The answer is Trailers-Only with this status."""
        headers, trailers, data, end = self.ask(*args, **kwargs)
        self.assertEqual((headers, data, end), ({}, b'', 'end'))
        self.assertEqual(status_of(trailers), status, trailers)
        return trailers


class Requests(RawTest):
    def test_good_call(self):
        headers, trailers, data, end = self.ask()
        self.assertEqual(headers, {':status': '200', 'content-type': 'application/grpc'})
        self.assertEqual((trailers, data, end), ({'grpc-status': '0'}, message(), 'end'))

    def test_te_may_be_missing(self):
        self.assertEqual(status_of(self.ask(te=None)[1]), OK)

    def test_get_is_405(self):
        trailers = self.refused(UNIMPLEMENTED, method='GET')
        self.assertEqual((trailers[':status'], trailers['allow']), ('405', 'POST'))

    def test_other_content_types_are_415(self):
        for kind in 'application/json', 'application/grpc-web', 'application/grpcx', None:
            _, trailers, _, end = self.ask(content_type=kind)
            self.assertEqual((trailers, end), ({':status': '415'}, 'end'))

    def test_content_type_variants_are_taken(self):
        for kind in 'application/grpc+proto', 'application/grpc;charset=utf-8':
            self.assertEqual(status_of(self.ask(content_type=kind)[1]), OK)

    def test_unknown_subtype(self):
        self.refused(UNIMPLEMENTED, content_type='application/grpc+json')

    def test_unknown_method_and_service(self):
        for path in TEST + 'Nope', '/nope/Nope', '/', TEST, EMPTY + '/', EMPTY.lower():
            self.refused(UNIMPLEMENTED, path)

    def test_bad_timeouts(self):
        for text in '', '1', 'S', '1s', '123456789S', '-1S', '1.5S', '1 S', '0x1S':
            self.refused(INTERNAL, grpc_timeout=text)

    def test_timeout_zero_and_huge(self):
        self.refused(DEADLINE, grpc_timeout='0n')
        self.assertEqual(status_of(self.ask(grpc_timeout='99999999H')[1]), OK)

    def test_encodings(self):
        for name in 'deflate', 'snappy', 'GZIP', 'gzip,identity', '':
            trailers = self.refused(UNIMPLEMENTED, grpc_encoding=name)
            self.assertEqual(trailers['grpc-accept-encoding'], 'identity,gzip')
        for name in 'identity', 'gzip':
            self.assertEqual(status_of(self.ask(grpc_encoding=name)[1]), OK)

    def test_gzip_request(self):
        request = field(3, field(2, bytes(100000))) + field(8, field(1, 1)) + field(2, 7)
        _, trailers, data, _ = self.ask(TEST + 'UnaryCall', message(gzip.compress(request), 1),
                                        grpc_encoding='gzip')
        self.assertEqual(status_of(trailers), OK, trailers)
        self.assertEqual(data[0], 0)  # nobody asked for a compressed answer
        self.assertEqual(parse(parse(data[5:])[1])[2], bytes(7))

    def test_gzip_request_that_is_none(self):
        good = gzip.compress(field(2, 7))
        bad_sum = good[:-8] + bytes([good[-8] ^ 1]) + good[-7:]
        for body in b'', b'x', good[:-1], good + b'x', good + good, bad_sum, zlib.compress(b'x'):
            self.refused(INTERNAL, TEST + 'UnaryCall', message(body, 1), grpc_encoding='gzip')

    def test_gzip_bomb(self):
        for megabytes in 5, 15:
            bomb = gzip.compress(bytes(megabytes << 20))
            for path in 'UnaryCall', 'StreamingInputCall':
                self.refused(EXHAUSTED, TEST + path, message(bomb, 1), grpc_encoding='gzip')

    def test_gzip_answer_only_to_who_takes_it(self):
        request = message(field(2, 100000) + field(6, field(1, 1)))
        for accept, flag in ('identity, deflate ,gzip', 1), ('identity', 0), (None, 0):
            headers, trailers, data, _ = self.ask(TEST + 'UnaryCall', request,
                                                  grpc_accept_encoding=accept)
            self.assertEqual(status_of(trailers), OK)
            self.assertEqual(headers.get('grpc-encoding'), 'gzip' if flag else None)
            self.assertEqual(data[0], flag)
            body = gzip.decompress(data[5:]) if flag else data[5:]
            self.assertEqual(parse(parse(body)[1])[2], bytes(100000))

    def test_gzip_answer_that_would_not_shrink_is_plain(self):
        request = message(field(2, 1) + field(6, field(1, 1)))
        headers, _, data, _ = self.ask(TEST + 'UnaryCall', request, grpc_accept_encoding='gzip')
        self.assertEqual((headers['grpc-encoding'], data[0]), ('gzip', 0))

    def test_metadata(self):
        """-bin values with and without padding, joined and repeated; unpadded on the way back."""
        extra = [('x-grpc-test-echo-initial', 'one  two'), ('x-grpc-test-echo-trailing-bin', 'q6ur'),
                 ('x-grpc-test-echo-trailing-bin', 'AA==,AA, /+8'), ('x-other', 'x')]
        headers, trailers, _, _ = self.ask(TEST + 'UnaryCall', extra=extra)
        self.assertEqual(headers['x-grpc-test-echo-initial'], 'one  two')
        self.assertEqual(trailers['x-grpc-test-echo-trailing-bin'], 'q6ur, AA, AA, /+8')
        self.assertNotIn('x-other', headers | trailers)

    def test_metadata_that_is_no_base64(self):
        for value in '*', 'A', 'AAA==', 'AA==A', 'AAAA,*', 'AB':
            self.refused(INTERNAL, x_any_bin=value)
        for value in '', 'AA,AA', 'AA==,AAAA':
            self.assertEqual(status_of(self.ask(x_any_bin=value)[1]), OK)

    def test_metadata_that_grows_when_it_is_taken_apart(self):
        name = 'x-' + 'n' * 1000 + '-bin'
        self.refused(EXHAUSTED, TEST + 'UnaryCall', **{name: ','.join(['AA'] * 1000)})

    def test_compressed_message_without_encoding(self):
        self.refused(INTERNAL, body=message(b'', flag=1))

    def test_unknown_prefix_flag(self):
        self.refused(INTERNAL, body=b'\2\0\0\0\0')

    def test_no_message(self):
        self.refused(UNIMPLEMENTED, body=b'')
        with Raw(self.port) as c:
            self.assertEqual(status_of(c.answer(c.headers(EMPTY, end=True))[1]), UNIMPLEMENTED)

    def test_two_messages(self):
        self.refused(UNIMPLEMENTED, body=message() + message())

    def test_truncated(self):
        for body in b'\0', b'\0\0\0\0', b'\0\0\0\0\5abcd':
            self.refused(INTERNAL, body=body)

    def test_garbage_protobuf(self):
        for body in b'\x0f', b'\x0a\xff', b'\x07', b'\x0b\x0c':
            self.refused(INTERNAL, TEST + 'UnaryCall', message(body))

    def test_bad_strings(self):
        for text in b'a\0b', b'\xff', b'\xed\xa0\x80', b'\xc0\x80':
            trailers = self.refused(INVALID, '/grpc.health.v1.Health/Check',
                                    message(field(1, text)))
            self.assertIn('grpc-status-details-bin', trailers)

    def test_oversized_message_is_refused_at_its_prefix(self):
        with Raw(self.port) as c:
            stream = c.headers(TEST + 'UnaryCall')
            c.data(stream, b'\0\x00\x40\x00\x01')
            headers, trailers, _, end = c.answer(stream)
            self.assertEqual((headers, end), ({}, 'end'))
            self.assertEqual(status_of(trailers), EXHAUSTED)
            reset = c.receive()  # the client need not send the rest
            self.assertIsInstance(reset, frames.RstStreamFrame)
            self.assertEqual(reset.error_code, 0)
            self.assertEqual(status_of(c.answer(c.call(EMPTY))[1]), OK)

    def test_largest_message_is_taken(self):
        body = message(field(3, field(2, bytes(4 * 1024 * 1024 - 10))))
        self.assertEqual(len(body), 5 + 4 * 1024 * 1024)
        with Raw(self.port) as c:
            stream = c.headers(TEST + 'UnaryCall')
            c.upload(stream, body)
            self.assertEqual(status_of(c.answer(stream)[1]), OK)

    def test_split_at_every_byte(self):
        with Raw(self.port) as c:
            body = message(field(2, 7))
            stream = c.headers(TEST + 'UnaryCall')
            for i in range(len(body)):
                c.data(stream, body[i:i + 1])
            c.data(stream, end=True)
            _, trailers, data, _ = c.answer(stream)
            self.assertEqual((status_of(trailers), len(data)), (OK, 5 + 2 + 2 + 7))

    def test_padded_data_and_request_trailers(self):
        with Raw(self.port) as c:
            stream = c.headers(EMPTY)
            f = frames.DataFrame(stream, data=message(), pad_length=100)
            f.flags.add('PADDED')
            trailers = frames.HeadersFrame(stream, data=c.encoder.encode([('x-late', '1')]))
            trailers.flags.add('END_HEADERS')
            trailers.flags.add('END_STREAM')
            c.frame(f, trailers)
            self.assertEqual(status_of(c.answer(stream)[1]), OK)

    def test_headers_over_the_limit(self):
        with Raw(self.port) as c:
            extra = [(f'x-{i}', 'v' * 1000) for i in range(15)]
            self.assertEqual(status_of(c.answer(c.call(EMPTY, extra=extra[:10]))[1]), OK)
            block = c.encoder.encode([(':method', 'POST'), (':scheme', 'http'), (':path', EMPTY),
                                      (':authority', 'a'), ('content-type', 'application/grpc'), *extra,
                                      ('x-last', 'v' * 2000)])
            f = frames.HeadersFrame(3, data=block[:16000])
            rest = frames.ContinuationFrame(3, data=block[16000:])
            f.flags.add('END_STREAM')
            rest.flags.add('END_HEADERS')
            c.frame(f, rest)
            self.assertEqual(status_of(c.answer(3)[1]), EXHAUSTED)


class Streams(RawTest):
    def output(self, *sizes, interval_us=0):
        return message(b''.join(field(2, field(1, s) + field(2, interval_us)) for s in sizes))

    def test_cancel_tells_the_service(self):
        before = counts(self.port).get(5, 0)
        with Raw(self.port) as c:
            stream = c.call(TEST + 'StreamingOutputCall', self.output(1, interval_us=10 ** 9))
            c.frame(frames.RstStreamFrame(stream, error_code=8))
            self.assertEqual(status_of(c.answer(c.call(EMPTY))[1]), OK)
        self.assertEqual(counts(self.port)[5], before + 1)

    def test_lost_connection_tells_the_service(self):
        before = counts(self.port).get(5, 0)
        with Raw(self.port) as c:
            c.call(TEST + 'StreamingOutputCall', self.output(1, interval_us=10 ** 9))
            self.assertEqual(status_of(c.answer(c.call(EMPTY))[1]), OK)
        end = time.monotonic() + WAIT_S
        while counts(self.port).get(5, 0) != before + 1:
            self.assertLess(time.monotonic(), end)

    def test_deadline_before_the_first_message(self):
        with Raw(self.port) as c:
            headers, trailers, _, end = c.answer(
                c.call(TEST + 'StreamingOutputCall', self.output(1, interval_us=10 ** 9),
                       grpc_timeout='50m'))
            self.assertEqual((headers, status_of(trailers), end), ({}, DEADLINE, 'end'))

    def test_deadline_after_the_first_message(self):
        with Raw(self.port) as c:
            body = message(field(2, field(1, 3)) + field(2, field(1, 3) + field(2, 10 ** 9)))
            headers, trailers, data, end = c.answer(
                c.call(TEST + 'StreamingOutputCall', body, grpc_timeout='1500m'))
            self.assertEqual((headers[':status'], status_of(trailers), end), ('200', DEADLINE, 'end'))
            self.assertEqual(len(data), 5 + 2 + 2 + 3)

    def test_deadline_in_a_message_ends_after_it(self):
        """With no window the message is stuck; what has begun is still sent whole."""
        with Raw(self.port, settings={4: 10}) as c:
            stream = c.call(TEST + 'StreamingOutputCall', message(
                field(2, field(1, 1000)) + field(2, field(1, 3) + field(2, 10 ** 9))),
                            grpc_timeout='1500m')
            time.sleep(1.6)
            c.frame(frames.WindowUpdateFrame(stream, window_increment=10 ** 6))
            _, trailers, data, end = c.answer(stream)
            self.assertEqual((status_of(trailers), end), (DEADLINE, 'end'))
            self.assertEqual(len(data), 5 + 1000 + 6)

    def test_answer_that_nobody_takes_is_reset_at_the_deadline(self):
        with Raw(self.port, settings={4: 10}) as c:
            stream = c.call(TEST + 'UnaryCall', message(field(2, 1000)), grpc_timeout='1500m')
            reset = c.receive_one(frames.RstStreamFrame)
            self.assertEqual((reset.stream_id, reset.error_code), (stream, 8))

    def test_bidi_waits_for_its_reader(self):
        """Requests are held while the answers do not leave, and none is lost."""
        with Raw(self.port, settings={4: 0}) as c:
            stream = c.headers(TEST + 'FullDuplexCall')
            for _ in range(20):
                c.data(stream, self.output(100000))
            c.data(stream, end=True)
            self.assertEqual(status_of(c.answer(c.headers('/x/y', end=True))[1]), UNIMPLEMENTED)
            c.frame(frames.WindowUpdateFrame(stream, window_increment=2 ** 30),
                    frames.WindowUpdateFrame(0, window_increment=2 ** 30))
            _, trailers, data, _ = c.answer(stream)
            self.assertEqual(status_of(trailers), OK)
            self.assertEqual(data.count(b'\0\0\1\x86\xa8'), 20)

    def test_slow_reader_holds_little_memory(self):
        before = counts(self.port)[6]
        with Raw(self.port, settings={4: 0}) as c:
            for _ in range(50):
                c.call(TEST + 'StreamingOutputCall', self.output(*[65536] * 200))
            c.frame(frames.PingFrame(0, opaque_data=b'01234567'))
            while not isinstance(c.receive(), frames.PingFrame):
                pass
            grown = counts(self.port)[6] - before
            self.assertLess(grown, 24 * 1024, 'kB for 650 MB of answers that nobody reads')

    def test_reader_of_one_byte_windows(self):
        with Raw(self.port, settings={4: 1}) as c:
            _, trailers, data, _ = c.answer(c.call(TEST + 'StreamingOutputCall', self.output(40)))
            self.assertEqual((status_of(trailers), len(data)), (OK, 5 + 40 + 4))

    def test_service_unknown_to_health(self):
        self.refused(NOT_FOUND, '/grpc.health.v1.Health/Check', message(field(1, b'nope')))
        with Raw(self.port) as c:
            stream = c.call('/grpc.health.v1.Health/Watch', message(field(1, b'nope')))
            while True:
                f = c.receive()
                if isinstance(f, frames.DataFrame):
                    break
            self.assertEqual(f.data, message(field(1, 3)))
            c.frame(frames.RstStreamFrame(stream, error_code=8))


class Attacks(RawTest):
    def away(self, client, code=CALM, debug=None):
        got = client.goaway()
        self.assertIsNotNone(got, 'closed without GOAWAY')
        self.assertEqual(got[0], code)
        if debug:
            self.assertEqual(got[1], debug)
        while client.receive():  # and then it closes
            pass

    def flood(self, client, data, times):
        try:
            for _ in range(times):
                client.send(data)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def test_rapid_reset(self):
        with Raw(self.port) as c:
            one = []
            for _ in range(1000):
                s = c.next_stream
                c.next_stream += 2
                f = frames.HeadersFrame(s, data=c.encoder.encode(
                    [(':method', 'POST'), (':scheme', 'http'), (':path', TEST + 'FullDuplexCall'),
                     (':authority', 'a'), ('content-type', 'application/grpc')]))
                f.flags.add('END_HEADERS')
                one.append(f.serialize() + frames.RstStreamFrame(s, error_code=8).serialize())
            self.flood(c, b''.join(one), 1)
            self.away(c)

    def test_ping_flood(self):
        with Raw(self.port) as c:
            self.flood(c, frames.PingFrame(0, opaque_data=b'12345678').serialize(), 10)
            self.away(c, debug=b'too_many_pings')

    def test_pings_between_answers_are_fine(self):
        with Raw(self.port) as c:
            for _ in range(10):
                c.frame(frames.PingFrame(0, opaque_data=b'12345678'))
                self.assertEqual(status_of(c.answer(c.call(EMPTY))[1]), OK)

    def test_ping_ack_flood(self):
        with Raw(self.port) as c:
            f = frames.PingFrame(0, opaque_data=b'12345678')
            f.flags.add('ACK')
            self.flood(c, f.serialize() * 1000, 1)
            self.away(c)

    def test_settings_flood(self):
        with Raw(self.port) as c:
            self.flood(c, frames.SettingsFrame(0, settings={3: 100}).serialize() * 1000, 1)
            while c.receive():
                pass

    def test_too_many_settings_in_one_frame(self):
        with Raw(self.port) as c:
            payload = b'\0\x03\0\0\0\x64' * 100
            c.send(c.raw_frame(4, 0, 0, payload))
            self.away(c)

    def test_priority_flood(self):
        with Raw(self.port) as c:
            self.flood(c, c.raw_frame(2, 0, 1, b'\0\0\0\3\x10') * 1000, 1)
            self.away(c)

    def test_empty_data_flood(self):
        with Raw(self.port) as c:
            stream = c.headers(TEST + 'FullDuplexCall')
            self.flood(c, frames.DataFrame(stream).serialize() * 1000, 1)
            self.away(c)

    def test_unknown_frames_are_ignored(self):
        with Raw(self.port) as c:
            c.send(c.raw_frame(0x42, 0xFF, 0, b'hello') * 10000)
            self.assertEqual(status_of(c.answer(c.call(EMPTY))[1]), OK)

    def test_continuation_flood(self):
        with Raw(self.port) as c:
            f = frames.HeadersFrame(1, data=c.encoder.encode([(':method', 'POST')]))
            c.frame(f)
            self.flood(c, frames.ContinuationFrame(1, data=b'').serialize(), 100)
            while c.receive():
                pass

    def test_continuation_of_another_stream(self):
        with Raw(self.port) as c:
            c.frame(frames.HeadersFrame(1, data=b''), frames.ContinuationFrame(3, data=b''))
            self.away(c, code=1)

    def test_hpack_garbage(self):
        with Raw(self.port) as c:
            c.frame(frames.HeadersFrame(1, data=b'\xff' * 50, flags=['END_HEADERS']))
            self.away(c, code=9)

    def test_hpack_bomb(self):
        """One large field in the table, then thousands of references to it."""
        with Raw(self.port) as c:
            block = c.encoder.encode([(':method', 'POST'), (':scheme', 'http'), (':path', EMPTY),
                                      (':authority', 'a'), ('content-type', 'application/grpc'), ('x', 'y' * 3000)])
            c.frame(frames.HeadersFrame(1, data=block + b'\xbe' * 10000, flags=['END_HEADERS']))
            self.assertEqual(status_of(c.answer(1)[1]), EXHAUSTED)

    def test_more_streams_than_allowed(self):
        with Raw(self.port) as c:
            c.initial_window()
            streams = [c.headers(TEST + 'FullDuplexCall') for _ in range(100)]
            self.assertEqual(len(streams), 100)
            c.headers(TEST + 'FullDuplexCall')
            self.away(c, code=1)

    def test_more_streams_than_allowed_before_settings_are_known(self):
        with Raw(self.port) as c:
            for _ in range(100):
                c.headers(TEST + 'FullDuplexCall')
            self.assertEqual(c.answer(c.headers(TEST + 'FullDuplexCall'))[3], 'reset 7')

    def test_unfinished_messages_are_bounded(self):
        with Raw(self.port) as c:
            answers = []
            for _ in range(3):
                stream = c.headers(TEST + 'UnaryCall')
                answers.append(c.upload(stream, b'\0\0\x3f\xff\xff' + bytes(3 * 1024 * 1024), end=False))
            self.assertEqual(answers[:2], [None, None])
            self.assertEqual(status_of(answers[2]), EXHAUSTED)

    def test_window_overflow(self):
        with Raw(self.port) as c:
            c.frame(frames.WindowUpdateFrame(0, window_increment=2 ** 31 - 1))
            self.away(c, code=3)

    def test_more_data_than_the_window(self):
        """The answers do not leave, so the requests stay within the stream's window, or else."""
        with Raw(self.port, settings={4: 0}) as c:
            c.initial_window()
            stream = c.headers(TEST + 'FullDuplexCall')
            body = message(b''.join([field(2, field(1, 65536))] * 1000))
            for _ in range(60):
                c.data(stream, body)
            self.assertEqual(c.answer(stream)[3], 'reset 3')

    def test_bad_prefaces(self):
        for preface in b'GET / HTTP/1.1\r\n\r\n', PREFACE[:-1] + b'x', bytes(24):
            with Raw(self.port, preface=preface) as c:
                while c.receive():
                    pass

    def test_frames_where_they_must_not_be(self):
        for wrong in ((0, 0, 0, b'x'), (0, 0, 1, b'x'), (1, 4, 0, b''), (1, 4, 2, b'\x83'),
                      (5, 4, 1, b'\0\0\0\2'), (4, 0, 1, b''), (4, 1, 0, b'x'), (6, 0, 0, b'short'),
                      (6, 0, 1, b'12345678'), (8, 0, 0, b'\0\0\0\0'), (7, 0, 1, bytes(8)),
                      (3, 0, 1, b'\0\0\0\x08'), (9, 4, 1, b'')):
            with Raw(self.port) as c:
                c.send(c.raw_frame(*wrong))
                self.assertIsNotNone(c.goaway(), wrong)

    def test_frame_over_the_maximum_size(self):
        with Raw(self.port) as c:
            c.send(c.raw_frame(0, 0, 1, bytes(16385)))
            self.away(c, code=6)

    def test_upper_case_and_connection_headers(self):
        for extra in [('X-Upper', '1')], [('connection', 'close')], [('te', 'gzip')]:
            with Raw(self.port) as c:
                end = c.answer(c.call(EMPTY, extra=extra))[3]
                self.assertEqual(end, 'reset 1', extra)

    def test_missing_and_double_pseudo_headers(self):
        for pairs in ([(':method', 'POST'), (':scheme', 'http')],
                      [(':method', 'POST'), (':method', 'POST'), (':scheme', 'http'),
                       (':path', EMPTY)],
                      [(':method', 'POST'), (':scheme', 'http'), (':path', '')]):
            with Raw(self.port) as c:
                c.frame(frames.HeadersFrame(1, data=c.encoder.encode(pairs), flags=['END_HEADERS']))
                self.assertEqual(c.answer(1)[3], 'reset 1', pairs)

    def test_content_length_that_lies(self):
        with Raw(self.port) as c:
            self.assertEqual(c.answer(c.call(EMPTY, extra=[('content-length', '3')]))[3], 'reset 1')

    def test_half_a_frame_and_gone(self):
        with Raw(self.port) as c:
            c.headers(TEST + 'FullDuplexCall')
            c.send(b'\0\0\x10\0\0\0\0\0\1half')

    def test_many_connections_at_once(self):
        clients = [Raw(self.port) for _ in range(100)]
        for c in clients:
            self.assertEqual(status_of(c.answer(c.call(EMPTY))[1]), OK)
        for c in clients:
            c.socket.close()

    def test_silent_connections(self):
        sockets = [socket.create_connection(('127.0.0.1', self.port)) for _ in range(50)]
        self.assertEqual(status_of(self.ask()[1]), OK)
        for s in sockets:
            s.close()


class Ends(unittest.TestCase):
    """GOAWAY in two steps (RFC 9113 section 6.8)."""

    def two_steps(self, client, why):
        notice = client.receive_one(frames.GoAwayFrame)
        self.assertEqual((notice.last_stream_id, notice.error_code), (2 ** 31 - 1, 0))
        ping = client.receive_one(frames.PingFrame)
        stream = client.call(EMPTY)  # sent before the notice was seen: served
        client.frame(frames.PingFrame(0, opaque_data=ping.opaque_data, flags=['ACK']))
        status, last = None, None
        while (f := client.receive()) is not None:  # answer and GOAWAY come in any order
            if isinstance(f, frames.HeadersFrame):
                status = status_of(dict(client.decoder.decode(f.data)))
            if isinstance(f, frames.GoAwayFrame):
                last = f.last_stream_id, f.error_code, f.additional_data
        self.assertEqual((status, last), (OK, (stream, 0, why)))

    def test_idle_connection(self):
        with Server('--cleartext', '--idle-ms', 500) as server, Raw(server.port) as c:
            self.assertEqual(status_of(c.answer(c.call(EMPTY))[1]), OK)
            self.two_steps(c, b'max_idle')

    def test_shutdown(self):
        with Server('--cleartext') as server, Raw(server.port) as c:
            self.assertEqual(status_of(c.answer(c.call(EMPTY))[1]), OK)
            server.process.send_signal(signal.SIGTERM)
            self.two_steps(c, b'shutdown')
            server.ended()

    def test_shutdown_of_one_who_does_not_answer(self):
        with Server('--cleartext', '--drain-ms', 50) as server, Raw(server.port) as c:
            c.call(TEST + 'StreamingOutputCall', message(field(2, field(2, 10 ** 9))))
            self.assertEqual(status_of(c.answer(c.call(EMPTY))[1]), OK)
            server.stop()

    def test_second_server_on_the_same_port(self):
        with Server('--cleartext') as server:
            with self.assertRaises(AssertionError) as caught:
                Server('--cleartext', '--port', server.port)
            self.assertIn('Address already in use', str(caught.exception))


class Tls(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        folder = pathlib.Path(cls.folder.name)
        cls.pki = Pki(folder)
        cls.stranger = Pki(folder, 'stranger')
        cert, key = cls.pki.leaf('server', server=True)
        cls.args = ['--cert', cert, '--key', key, '--client-ca', cls.pki.file,
                    '--station', 'st1=urn:st1', '--connections', 20]
        cls.server = Server(*cls.args)
        cls.good = tls_context(cls.pki.file, cls.pki.leaf('st1', 'urn:st1'))

    @classmethod
    def tearDownClass(cls):
        with cls.server:
            cls.server.stop()
        cls.folder.cleanup()

    def serves(self):
        with Raw(self.server.port, self.good) as c:
            self.assertEqual(status_of(c.answer(c.call(EMPTY))[1]), OK)

    def tearDown(self):
        self.serves()

    def refused(self, context):
        """In TLS 1.3 the client learns of it when it reads."""
        try:
            with Raw(self.server.port, context) as c:
                self.assertIsNone(c.receive())
        except OSError:
            pass

    def test_no_certificate(self):
        self.refused(tls_context(self.pki.file))
        self.server.logged('peer did not return a certificate')

    def test_certificate_of_a_stranger(self):
        self.refused(tls_context(self.pki.file, self.stranger.leaf('st2', 'urn:st1')))
        self.server.logged('client certificate: unable to get')

    def test_expired_certificate(self):
        self.refused(tls_context(self.pki.file, self.pki.leaf('old', 'urn:st1', days=-1)))
        self.server.logged('certificate has expired')

    def test_server_certificate_as_a_client(self):
        self.refused(tls_context(self.pki.file, self.pki.leaf('wrong', 'urn:st1', server=True)))

    def test_tls_1_2(self):
        context = tls_context(self.pki.file, self.pki.leaf('st3', 'urn:st1'))
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        self.refused(context)

    def test_no_alpn_and_other_alpn(self):
        for protocols in [], ['http/1.1']:
            context = tls_context(self.pki.file, self.pki.leaf('st4', 'urn:st1'))
            context.set_alpn_protocols(protocols)
            self.refused(context)

    def test_cleartext_and_garbage_to_a_tls_port(self):
        for data in PREFACE, b'GET / HTTP/1.0\r\n\r\n', bytes(1000), b'\x16\x03\x01\xff\xff' + bytes(70000):
            with socket.create_connection(('127.0.0.1', self.server.port), WAIT_S) as s:
                try:
                    s.sendall(data)
                    while s.recv(65536):
                        pass
                except OSError:
                    pass

    def test_those_who_hold_the_door_keep_nobody_out(self):
        silent = [socket.create_connection(('127.0.0.1', self.server.port)) for _ in range(100)]
        for _ in range(3):
            self.serves()
        self.server.logged('event=handshake_dropped')
        for s in silent:
            s.close()

    def test_silent_connection_is_closed(self):
        with Server(*self.args, '--handshake-ms', 50) as server:
            with socket.create_connection(('127.0.0.1', server.port), WAIT_S) as s:
                self.assertEqual(s.recv(1), b'')
            server.logged('event=handshake_failed')

    def test_bad_files(self):
        folder = pathlib.Path(self.folder.name)
        _, other = self.pki.leaf('other', server=True)
        nothing = folder / 'nothing.pem'
        nothing.write_text('nothing')
        cert, key, ca = self.args[1], self.args[3], self.args[5]
        for files, at_fault in (((nothing, key, ca), nothing), ((cert, nothing, ca), nothing),
                                ((cert, key, nothing), nothing), ((cert, other, ca), other),
                                ((cert, folder / 'absent', ca), 'absent')):
            with self.assertRaises(AssertionError) as caught:
                Server('--cert', files[0], '--key', files[1], '--client-ca', files[2])
            self.assertIn(str(at_fault), str(caught.exception))
            self.assertIn('file', str(caught.exception))

    def test_reconfiguration_that_fails_changes_nothing(self):
        folder = pathlib.Path(self.folder.name)
        cert = folder / 'moving.crt'
        cert.write_bytes(self.args[1].read_bytes())
        with Server('--cert', cert, *self.args[2:]) as server:
            cert.unlink()
            server.process.send_signal(signal.SIGHUP)
            server.logged('event=reconfigure_failed')
            with Raw(server.port, self.good) as c:
                answer = c.answer(c.call(PROBE + 'StationOnly'))
                self.assertEqual(status_of(answer[1]), OK)

    def test_expiry_during_a_connection_drains_it(self):
        soon = tls_context(self.pki.file, self.pki.leaf('brief', 'urn:st1', days=6 / 86400))
        with Raw(self.server.port, soon) as c:
            self.assertEqual(status_of(c.answer(c.call(EMPTY))[1]), OK)
            self.assertEqual(c.goaway()[0], 0)

    def test_connections_over_the_limit_are_closed(self):
        clients = [Raw(self.server.port, self.good) for _ in range(20)]
        for c in clients:
            self.assertEqual(status_of(c.answer(c.call(EMPTY))[1]), OK)
        with self.assertRaises(OSError):
            Raw(self.server.port, self.good)
        for c in clients:
            c.socket.close()
        end = time.monotonic() + WAIT_S
        while True:  # until the server has seen them go
            try:
                return self.serves()
            except OSError:
                self.assertLess(time.monotonic(), end)


if __name__ == '__main__':
    unittest.main()
