# SPDX-License-Identifier: Apache-2.0
"""Attacks by messages and by those who do not take or send them: windows, slow readers and writers,
compression, protobuf. Mixed into the suites of test_attacks.py; see attack_table.py."""
import gzip
import time

from attack_lab import closed, private_kb, push
from attacks_http2 import (CHAT, DEADLINE, EMPTY, EXHAUSTED, FLOW_CONTROL_ERROR, HEALTH, INTERNAL,
                           INVALID, OK, STREAM, UNAVAILABLE)
from harness import TEST, field, frames, message, status_of

HUGE = 2 ** 31 - 1
HELD_KB = 24 * 1024  # of answers that one connection does not read: marks, and a message on each call


def output(*sizes):
    """A request for so many messages of these sizes."""
    return message(b''.join(field(2, field(1, size)) for size in sizes))


class WindowAttacks:
    def attack_zero_window(self):
        before = private_kb(self.pid)
        with self.peer(settings={4: 0}) as c:
            for _ in range(self.STREAMS):
                c.call(STREAM, output(*[65536] * 100))
            c.frame(frames.PingFrame(0, opaque_data=b'01234567'))
            c.receive_one(frames.PingFrame)
            self.held(before, HELD_KB, 'for who does not read')

    def attack_tiny_windows(self):
        with self.peer(settings={4: 1}) as c:
            _, trailers, got, _ = c.answer(c.call(STREAM, output(200)))
            self.assertEqual((status_of(trailers), len(got)), (OK, 5 + 203 + 3))

    def attack_window_shrinks(self):
        with self.peer(settings={4: 65535}) as c:
            streams = {c.call(STREAM, output(*[65536] * 16)) for _ in range(4)}
            got, shrunk = 0, False
            while streams:
                if got == 65535 and not shrunk:  # the connection's window, and all there is of it
                    shrunk = True
                    for size in 20000, 0, 100, 0, 1 << 21:
                        c.frame(frames.SettingsFrame(0, settings={4: size}))
                    c.frame(frames.WindowUpdateFrame(0, window_increment=1 << 24))
                f = c.receive()
                if isinstance(f, frames.HeadersFrame):
                    fields = dict(c.decoder.decode(f.data))
                    self.assertEqual(fields.get('grpc-status', '0'), '0')
                if isinstance(f, frames.DataFrame):
                    got += len(f.data)
                if 'END_STREAM' in f.flags:
                    streams.remove(f.stream_id)
            self.assertEqual(got, 4 * 16 * (5 + 8 + 65536))

    def attack_window_overflow(self):
        with self.peer() as c:
            c.frame(frames.WindowUpdateFrame(0, window_increment=HUGE))
            self.away(c, FLOW_CONTROL_ERROR)

    def attack_window_update_of_nothing(self):
        self.error((8, 0, 0, bytes(4)))

    def attack_initial_window_overflow(self):
        self.error((4, 0, 0, b'\0\4\x80\0\0\0'), code=FLOW_CONTROL_ERROR)

    def attack_data_beyond_stream_window(self):
        with self.peer(settings={4: 0}) as c:
            c.initial_window()
            stream = c.headers(CHAT)
            for _ in range(60):
                c.data(stream, output(*[65536] * 1000))
            self.assertEqual(c.answer(stream)[3], 'reset 3')

    def attack_data_beyond_connection_window(self):
        with self.peer(settings={4: 0}) as c:
            c.initial_window()
            for _ in range(5):  # each waits for its reader, and holds what comes for it
                stream = c.headers(CHAT)
                push(c, b''.join(frames.DataFrame(stream, data=output(*[65536] * 1000)).serialize()
                                 for _ in range(42)))
            self.away(c, FLOW_CONTROL_ERROR)

    def attack_trickling_reader(self):
        before = private_kb(self.pid)
        with self.peer(settings={4: 4096}) as c:
            stream, got, taken = c.call(STREAM, output(*[65536] * 160)), 0, 0
            while got < 60 * 4096:
                got += len(c.receive_one(frames.DataFrame).data)
                if got - taken >= 4096:
                    taken += 4096
                    time.sleep(0.005)
                    c.frame(frames.WindowUpdateFrame(0, window_increment=4096),
                            frames.WindowUpdateFrame(stream, window_increment=4096))
            self.held(before, 2048, 'for who reads slowly')


class MessageAttacks:
    def upload(self, status, path, body, **headers):
        with self.peer() as c:
            stream = c.headers(path, **headers)
            early = c.upload(stream, body)
            trailers = early or c.answer(stream)[1]
            self.assertEqual(status_of(trailers), status, trailers)

    def attack_unfinished_messages(self):
        with self.peer() as c:
            answers = []
            for _ in range(3):
                stream = c.headers(TEST + 'UnaryCall')
                answers.append(c.upload(stream, b'\0\0\x3f\xff\xff' + bytes(4000000), end=False))
            self.assertEqual(answers[:2], [None, None])
            self.assertEqual(status_of(answers[2]), EXHAUSTED)

    def attack_unfinished_messages_everywhere(self):
        peers, answers, most = [], [], b'\0\0\x3f\xff\xff' + bytes(3900000)
        try:
            while len(peers) < 18:
                peers.append(self.peer())
                for _ in range(2):
                    stream = peers[-1].headers(TEST + 'UnaryCall')
                    answers.append(peers[-1].upload(stream, most, end=False))
        finally:
            for c in peers:
                c.socket.close()
        refused = [status_of(a) for a in answers if a]
        self.assertTrue(refused and set(refused) == {UNAVAILABLE}, refused)

    def attack_message_too_large(self):
        with self.peer() as c:
            stream = c.headers(TEST + 'UnaryCall')
            c.data(stream, b'\0\x00\x40\x00\x01')
            self.assertEqual(status_of(c.answer(stream)[1]), EXHAUSTED)

    def attack_gzip_bomb(self):
        bomb = message(gzip.compress(bytes(15 << 20)), 1)
        for path in 'UnaryCall', 'StreamingInputCall':
            self.status(EXHAUSTED, TEST + path, bomb, grpc_encoding='gzip')

    def attack_gzip_garbage(self):
        good = gzip.compress(field(2, 7))
        for body in b'', b'x', good[:-1], good + b'x', good[:-8] + bytes(8):
            self.status(INTERNAL, TEST + 'UnaryCall', message(body, 1), grpc_encoding='gzip')

    def attack_fields_without_end(self):
        self.upload(EXHAUSTED, EMPTY, message(b'\x78\0' * (2 << 20)))

    def attack_empty_submessages(self):
        self.upload(EXHAUSTED, STREAM, message(b'\x12\0' * (2 << 20)))

    def attack_fields_just_few_enough(self):
        for _ in range(10):
            self.upload(OK, EMPTY, message(b'\x78\0' * (1 << 18)))

    def strings(self, *bad):
        for text in bad:
            self.status(INVALID, HEALTH, message(field(1, text)))

    def attack_string_not_utf8(self):
        self.strings(b'\xff', b'grpc.testing.\x80', b'\xf8\x88\x80\x80\x80')

    def attack_string_with_nul(self):
        self.strings(b'\0', b'grpc.testing.TestService\0evil')

    def attack_string_with_surrogates(self):
        self.strings(b'\xed\xa0\x80', b'\xc0\x80', b'\xe0\x80\xaf')

    def attack_compressed_without_coding(self):
        self.status(INTERNAL, body=message(gzip.compress(b''), 1))


class SlowAttacks:
    """Against a server of short times."""

    def late(self, c, stream):
        self.assertEqual(status_of(c.answer(stream)[1]), DEADLINE)

    def attack_headers_without_end(self):
        with self.peer() as c:
            c.frame(frames.HeadersFrame(1, data=c.encoder.encode([(':method', 'POST')])))
            self.away(c, why=b'slow_headers')

    def attack_body_that_stops(self):
        with self.peer() as c:
            stream = c.headers(TEST + 'UnaryCall')
            c.data(stream, b'\0\0\0\x10\0' + bytes(2048))
            self.late(c, stream)

    def attack_body_of_single_bytes(self):
        with self.peer() as c:
            stream = c.headers(TEST + 'UnaryCall')
            c.data(stream, b'\0\0\0\x10\0')
            for _ in range(30):
                c.data(stream, b'x')
                time.sleep(0.1)
            self.late(c, stream)

    def attack_calls_without_body(self):
        with self.peer() as c:
            for _ in range(self.STREAMS):
                c.headers(EMPTY)
            for _ in range(self.STREAMS):
                f = c.receive_one(frames.HeadersFrame)
                self.assertEqual(status_of(dict(c.decoder.decode(f.data))), DEADLINE)

    def attack_padding_alone(self):
        with self.peer() as c:
            stream = c.headers(EMPTY)
            for _ in range(30):
                c.frame(frames.DataFrame(stream, data=b'', pad_length=255, flags=['PADDED']))
                time.sleep(0.1)
            self.late(c, stream)

    def attack_stream_message_that_stops(self):
        with self.peer() as c:
            stream = c.headers(TEST + 'StreamingInputCall')
            c.data(stream, message(field(1, field(2, b'whole'))) + b'\0\0\0\0\5')
            self.late(c, stream)

    def attack_reader_of_nothing(self):
        with self.peer(settings={4: HUGE}, receive_buffer=4096) as c:
            c.frame(frames.WindowUpdateFrame(0, window_increment=1 << 30))
            for _ in range(4):
                c.call(STREAM, output(*[65536] * 160))
            time.sleep(3 * self.WRITE_STALL_MS / 1000)
            closed(c)

    def attack_peer_that_is_gone(self):
        with self.peer() as c:
            c.headers(CHAT)
            closed(c)
