# SPDX-License-Identifier: Apache-2.0
"""Attacks on HTTP/2 itself: streams, header blocks, frames that cost nothing, malformations. Mixed into
the suite of test_attacks.py; what each one is, and what bounds it, is in attack_table.py."""
from attack_lab import closed, push
from harness import PROBE, TEST, Raw, frames, message, status_of

EMPTY, STREAM, CHAT = TEST + 'EmptyCall', TEST + 'StreamingOutputCall', TEST + 'FullDuplexCall'
HEALTH = '/grpc.health.v1.Health/Check'
PROTOCOL_ERROR, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, COMPRESSION_ERROR, CALM = 1, 3, 6, 9, 11
OK, INVALID, DEADLINE, EXHAUSTED, INTERNAL, UNAVAILABLE = 0, 3, 4, 8, 13, 14
MANY = 1000


def request(c, path=EMPTY, extra=(), end=False):
    """A call's HEADERS, not sent yet: (stream, bytes)."""
    stream, c.next_stream = c.next_stream, c.next_stream + 2
    f = frames.HeadersFrame(stream, data=c.encoder.encode(
        [(':method', 'POST'), (':scheme', 'https'), (':path', path), (':authority', 'localhost'),
         ('content-type', 'application/grpc'), *extra]), flags=['END_HEADERS'])
    if end:
        f.flags.add('END_STREAM')
    return stream, f.serialize()


def reset(stream):
    return frames.RstStreamFrame(stream, error_code=8).serialize()


def data(stream, payload=b'', end=False):
    return frames.DataFrame(stream, data=payload, flags=['END_STREAM'] if end else []).serialize()


class Peers:
    def peer(self, **options):
        """A client with a station's certificate, that does as the attack tells it."""
        return Raw(self.port, self.context, **options)

    @classmethod
    def warm_up(cls, path):
        """As many connections and calls at once as the attacks will hold, so that what the allocator
        keeps for such, it keeps from now on."""
        peers = [Raw(cls.port, cls.context) for _ in range(30)]
        for c in peers:
            for _ in range(60):
                c.headers(path)
        for c in peers:
            c.socket.close()

    def away(self, client, code=CALM, why=None):
        got = client.goaway()
        self.assertIsNotNone(got, 'closed without GOAWAY')
        self.assertEqual(got[0], code, got)
        if why:
            self.assertEqual(got[1], why)
        closed(client)

    def error(self, *wrong, code=PROTOCOL_ERROR):
        """Each of these frames, on a connection of its own, is the end of it."""
        for one in wrong:
            with self.peer() as c:
                c.send(c.raw_frame(*one))
                self.away(c, code)

    def status(self, code, path=EMPTY, body=message(), **headers):
        with self.peer() as c:
            _, trailers, _, ended = c.answer(c.call(path, body, **headers))
            self.assertEqual((status_of(trailers), ended), (code, 'end'), trailers)


class Http2Attacks(Peers):
    # -- streams opened and thrown away ----------------------------------------------------------

    def attack_rapid_reset(self):
        with self.peer() as c:
            made = [request(c, CHAT) for _ in range(MANY)]
            push(c, b''.join(headers + reset(stream) for stream, headers in made))
            self.away(c)

    def attack_rapid_reset_of_whole_calls(self):
        with self.peer() as c:
            made = [request(c) for _ in range(MANY)]
            push(c, b''.join(headers + data(stream, message(), True) + reset(stream)
                             for stream, headers in made))
            self.away(c)

    def attack_resets_by_stream_overflow(self):
        with self.peer() as c:
            made = [request(c, CHAT) for _ in range(MANY)]
            push(c, b''.join(headers + c.raw_frame(8, 0, stream, b'\x7f\xff\xff\xff')
                             for stream, headers in made))
            self.away(c)

    def attack_resets_by_malformed_requests(self):
        with self.peer() as c:
            push(c, b''.join(request(c, extra=[('X-Upper', '1')])[1] for _ in range(MANY)))
            self.away(c)

    def attack_streams_before_settings(self):
        with self.peer() as c:
            for _ in range(self.STREAMS + 49):
                c.headers(CHAT)
            self.assertEqual(c.answer(c.headers(CHAT))[3], 'reset 7')

    def attack_streams_after_settings(self):
        with self.peer() as c:
            c.initial_window()
            for _ in range(self.STREAMS + 1):
                c.headers(CHAT)
            self.away(c, PROTOCOL_ERROR)

    # -- header blocks ---------------------------------------------------------------------------

    def attack_continuation_flood(self):
        with self.peer() as c:
            c.frame(frames.HeadersFrame(1, data=c.encoder.encode([(':method', 'POST')])))
            push(c, frames.ContinuationFrame(1, data=b'').serialize() * 100)
            closed(c)

    def attack_continuation_flood_of_fields(self):
        with self.peer() as c:
            fields = b'\0\1x\1y' * 3200  # literals that are not indexed
            c.frame(frames.HeadersFrame(1, data=c.encoder.encode([(':method', 'POST')])))
            push(c, frames.ContinuationFrame(1, data=fields).serialize() * 200)
            closed(c)

    def header_list(self, extra):
        with self.peer() as c:
            block = c.encoder.encode([(':method', 'POST'), (':scheme', 'https'), (':path', EMPTY),
                                      (':authority', 'a'), ('content-type', 'application/grpc'),
                                      *extra])
            rest = [block[at:at + 16000] for at in range(0, len(block), 16000)]
            all_frames = [frames.HeadersFrame(1, data=rest[0])]
            all_frames += [frames.ContinuationFrame(1, data=part) for part in rest[1:]]
            all_frames[-1].flags.add('END_HEADERS')
            c.frame(*all_frames)
            self.assertEqual(status_of(c.answer(1)[1]), EXHAUSTED)
            self.assertEqual(status_of(c.answer(c.call(EMPTY, stream=3))[1]), OK)

    def attack_header_list_too_long(self):
        self.header_list([(f'x-{i}', '~' * 1000) for i in range(17)])

    def attack_many_small_headers(self):
        self.header_list([(f'x-{i:03}', 'v') for i in range(450)])

    def attack_hpack_bomb(self):
        with self.peer() as c:
            block = c.encoder.encode([(':method', 'POST'), (':scheme', 'https'), (':path', EMPTY),
                                      (':authority', 'a'), ('content-type', 'application/grpc'),
                                      ('x', 'y' * 3000)])
            c.frame(frames.HeadersFrame(1, data=block + b'\xbe' * 10000, flags=['END_HEADERS']))
            self.assertEqual(status_of(c.answer(1)[1]), EXHAUSTED)

    def attack_metadata_bomb(self):
        name = 'x-' + 'n' * 1000 + '-bin'
        self.status(EXHAUSTED, TEST + 'UnaryCall', **{name: ','.join(['AA'] * 1000)})

    def attack_hpack_garbage(self):
        with self.peer() as c:
            c.frame(frames.HeadersFrame(1, data=b'\xff' * 50, flags=['END_HEADERS']))
            self.away(c, COMPRESSION_ERROR)

    def attack_hpack_table_too_large(self):
        with self.peer() as c:
            block = b'\x3f\xe1\xff\x07' + c.encoder.encode([(':method', 'POST')])
            c.frame(frames.HeadersFrame(1, data=block, flags=['END_HEADERS']))
            self.away(c, COMPRESSION_ERROR)

    # -- frames that cost the sender nothing -----------------------------------------------------

    def groups(self, c, *settings):
        """SETTINGS, these by turns and 100 at a time, each group when the last is acknowledged, until
        GOAWAY."""
        group = [frames.SettingsFrame(0, settings=one).serialize() for one in settings]
        for _ in range(20):
            push(c, b''.join(group) * (100 // len(group)))
            left = 100
            while left > 0:
                f = c.receive()
                self.assertIsNotNone(f, 'closed without GOAWAY')
                if isinstance(f, frames.GoAwayFrame):
                    self.assertEqual(f.error_code, CALM)
                    return closed(c)
                left -= isinstance(f, frames.SettingsFrame) and 'ACK' in f.flags
        self.fail('nobody minds')

    def attack_settings_flood(self):
        with self.peer() as c:
            push(c, frames.SettingsFrame(0, settings={3: 100}).serialize() * MANY)
            closed(c)

    def attack_settings_flood_in_groups(self):
        with self.peer() as c:
            self.groups(c, {3: 100})

    def attack_settings_of_many_entries(self):
        with self.peer() as c:
            c.send(c.raw_frame(4, 0, 0, b'\0\x03\0\0\0\x64' * 100))
            self.away(c)

    def attack_window_flips(self):
        with self.peer() as c:
            for _ in range(self.STREAMS):
                c.headers(CHAT)
            self.groups(c, {4: 0}, {4: 2 ** 31 - 1})

    def attack_ping_flood(self):
        with self.peer() as c:
            push(c, frames.PingFrame(0, opaque_data=b'12345678').serialize() * 10)
            self.away(c, why=b'too_many_pings')

    def attack_ping_flood_unread(self):
        with self.peer() as c:
            push(c, frames.PingFrame(0, opaque_data=b'12345678').serialize() * 100000)
            closed(c)

    def flood(self, one):
        with self.peer() as c:
            push(c, one * MANY)
            self.away(c)

    def attack_ping_ack_flood(self):
        self.flood(frames.PingFrame(0, opaque_data=b'12345678', flags=['ACK']).serialize())

    def attack_priority_flood(self):
        self.flood(b'\0\0\5\2\0\0\0\0\1' + b'\0\0\0\3\x10')

    def attack_goaway_flood(self):
        self.flood(frames.GoAwayFrame(0).serialize())

    def attack_empty_data_flood(self):
        with self.peer() as c:
            push(c, data(c.headers(CHAT)) * MANY)
            self.away(c)

    def attack_window_update_flood(self):
        with self.peer() as c:
            stream = c.headers(CHAT)
            push(c, (c.raw_frame(8, 0, 0, b'\0\0\0\1') + c.raw_frame(8, 0, stream, b'\0\0\0\1')) * 2500)
            self.away(c)

    def attack_unknown_frames(self):
        with self.peer() as c:
            c.send(c.raw_frame(0x42, 0xFF, 0, b'hello') * 10000)
            self.assertEqual(status_of(c.answer(c.call(EMPTY))[1]), OK)

    # -- HTTP/2 that is none ---------------------------------------------------------------------

    def attack_preface_of_http1(self):
        with self.peer(preface=b'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n') as c:
            closed(c)

    def attack_push_promise(self):
        self.error((5, 4, 1, b'\0\0\0\2\x83'))

    def attack_data_on_no_stream(self):
        self.error((0, 0, 0, b'x'), (0, 0, 1, b'x'))

    def attack_headers_on_an_even_stream(self):
        self.error((1, 4, 0, b'\x83'), (1, 4, 2, b'\x83'))

    def attack_streams_backwards(self):
        with self.peer() as c:
            c.headers(CHAT, stream=5)
            c.call(EMPTY, stream=3)
            c.next_stream = 7
            stream = c.call(EMPTY)
            self.assertEqual(c.receive_one(frames.HeadersFrame).stream_id, stream)

    def attack_frames_of_wrong_length(self):
        self.error((4, 0, 0, bytes(5)), (6, 0, 0, bytes(7)), (3, 0, 1, bytes(3)),
                   code=FRAME_SIZE_ERROR)

    def attack_frame_too_large(self):
        self.error((0, 0, 1, bytes(16385)), code=FRAME_SIZE_ERROR)

    def attack_frame_inside_headers(self):
        with self.peer() as c:
            c.frame(frames.HeadersFrame(1, data=c.encoder.encode([(':method', 'POST')])),
                    frames.PingFrame(0, opaque_data=b'12345678'))
            self.away(c, PROTOCOL_ERROR)

    def attack_content_length_that_lies(self):
        for length in '0', '4', '6', '99999999999':
            with self.peer() as c:
                ended = c.answer(c.call(EMPTY, extra=[('content-length', length)]))[3]
                self.assertEqual(ended, 'reset 1', length)

    def attack_pseudo_headers_twice(self):
        good = [(':method', 'POST'), (':scheme', 'https'), (':authority', 'a')]
        for pairs in (good + [(':path', EMPTY), (':path', EMPTY)], good,
                      good + [(':path', EMPTY), (':status', '200')],
                      good + [('x', 'y'), (':path', EMPTY)]):
            with self.peer() as c:
                c.frame(frames.HeadersFrame(1, data=c.encoder.encode(pairs), flags=['END_HEADERS']))
                self.assertEqual(c.answer(1)[3], 'reset 1', pairs)
