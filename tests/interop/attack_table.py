# SPDX-License-Identifier: Apache-2.0
"""Every attack of the suites, and the protections that they meet. Nothing here but the table, from
which docs/protections.md follows (tests/lint/protections.py holds one against the other).

target is where it runs: 'transport' and 'times' are the test server, as test_attacks.py starts it,
'daemon' is mintmarkd. limit names what bounds it: a constant of daemon/base/limits.h or a setting.
counter names what rises, any of them: 'limit=x' is mintmark_limit_hits_total{limit="x"}; nothing where
an answer is all that there is to see.
"""
import collections

Attack = collections.namedtuple('Attack', 'name target sends must limit counter')

ODD, MANY = 'MM_H2_ODD_BURST', 'sends the client away: GOAWAY ENHANCE_YOUR_CALM, and closes'
ERROR = 'ends the connection as HTTP/2 asks: GOAWAY with the error, and closes'
FAILS = 'fails this call alone, with '


def _transport(name, sends, must, limit, *counter):
    return Attack(name, 'transport', sends, must, limit, counter)


def _times(name, sends, must, limit, *counter):
    return Attack(name, 'times', sends, must, limit, counter)


def _daemon(name, sends, must, limit, *counter):
    return Attack(name, 'daemon', sends, must, limit, counter)


RESETS, OTHERS, PROTOCOL = 'limit=resets', 'limit=other_frames', 'limit=protocol'

ATTACKS = [
    # Streams opened and thrown away.
    _transport('rapid_reset', '1,000 calls, each reset at once (CVE-2023-44487)', MANY, ODD, RESETS),
    _transport('rapid_reset_of_whole_calls', '1,000 calls with their message, each reset at once', MANY,
               ODD, RESETS),
    _transport('resets_by_stream_overflow', '1,000 calls, each with a window beyond 2^31-1, so that the '
               'server resets them (CVE-2025-8671)', MANY, ODD, RESETS, OTHERS),
    _transport('resets_by_malformed_requests', '1,000 requests with a header in upper case', MANY, ODD,
               RESETS, OTHERS),
    _transport('streams_before_settings', '50 streams more than allowed, before the SETTINGS are known',
               'refuses each: RST_STREAM REFUSED_STREAM', 'limits.streams_per_connection',
               'limit=streams'),
    _transport('streams_after_settings', 'one stream more than the acknowledged SETTINGS allow', ERROR,
               'limits.streams_per_connection', PROTOCOL),

    # Header blocks.
    _transport('continuation_flood', 'HEADERS, then empty CONTINUATION frames without end', 'closes',
               'MM_H2_CONTINUATIONS_MAX', PROTOCOL),
    _transport('continuation_flood_of_fields', 'CONTINUATION frames of 16 KiB each, full of fields',
               'closes', 'MM_H2_CONTINUATIONS_MAX', PROTOCOL),
    _transport('header_list_too_long', 'headers of 17 KiB', FAILS + 'RESOURCE_EXHAUSTED',
               'MM_HEADER_LIST_MAX', 'limit=header_list'),
    _transport('many_small_headers', '450 fields of a few bytes, each of which counts 32 more',
               FAILS + 'RESOURCE_EXHAUSTED', 'MM_HEADER_LIST_MAX', 'limit=header_list'),
    _transport('hpack_bomb', 'a field of 3,000 bytes in the table, then 10,000 references to it',
               FAILS + 'RESOURCE_EXHAUSTED', 'MM_HEADER_LIST_MAX', 'limit=header_list'),
    _transport('metadata_bomb', 'a -bin field of 1,000 values that takes a name of 1,000 bytes each',
               FAILS + 'RESOURCE_EXHAUSTED', 'MM_HEADER_LIST_MAX', 'limit=header_list'),
    _transport('hpack_garbage', 'a header block that is no HPACK', ERROR, '', PROTOCOL),
    _transport('hpack_table_too_large', 'a table size update beyond what SETTINGS allow', ERROR, '',
               PROTOCOL),
    _times('headers_without_end', 'HEADERS without END_HEADERS, and nothing more', MANY,
           'limits.request_timeout_ms', 'limit=request_time'),

    # Frames that cost the sender nothing.
    _transport('settings_flood', '1,000 SETTINGS at once', 'closes', 'MM_H2_ACKS_MAX', PROTOCOL),
    _transport('settings_flood_in_groups', 'SETTINGS without end, 100 at a time', MANY, ODD,
               'limit=settings'),
    _transport('settings_of_many_entries', 'one SETTINGS with 100 entries', ERROR, 'MM_H2_SETTINGS_MAX',
               PROTOCOL),
    _transport('window_flips', 'initial windows of 0 and 2^31-1 by turns, with 100 streams open', MANY,
               ODD, 'limit=settings'),
    _transport('ping_flood', '10 PINGs in a row', MANY, 'MM_H2_PING_STRIKES', 'limit=pings'),
    _transport('ping_flood_unread', '100,000 PINGs, and no answer is read', 'closes',
               'MM_H2_PING_STRIKES', 'limit=pings', PROTOCOL),
    _transport('ping_ack_flood', '1,000 answers to PINGs that nobody sent', MANY, ODD, OTHERS),
    _transport('priority_flood', '1,000 PRIORITY frames', MANY, ODD, OTHERS),
    _transport('goaway_flood', '1,000 GOAWAY frames', MANY, ODD, OTHERS),
    _transport('empty_data_flood', '1,000 DATA frames without data', MANY, ODD, 'limit=empty_data'),
    _transport('window_update_flood', '5,000 WINDOW_UPDATEs, while nothing is sent to be read', MANY,
               'MM_H2_UPDATES_PER_DATA', 'limit=window_updates'),
    _transport('unknown_frames', '10,000 frames of a type that does not exist', 'ignores them', ''),

    # Windows, and those who do not read.
    _transport('zero_window', '100 calls for 6 MB each, and a window of 0', 'holds little, and waits',
               'MM_CALL_QUEUE_MARK, MM_CONNECTION_QUEUE_MARK', 'mintmark_call_waits_total'),
    _transport('tiny_windows', 'a window of 1, and a WINDOW_UPDATE of 1 after each byte', 'serves',
               ''),
    _transport('window_shrinks', 'calls for 1 MB, an initial window that falls to 0 below what was '
               'sent, then grows again', 'waits, then serves all', 'MM_CALL_QUEUE_MARK',
               'mintmark_call_waits_total'),
    _transport('window_overflow', 'a connection window beyond 2^31-1', ERROR, '', PROTOCOL),
    _transport('window_update_of_nothing', 'a WINDOW_UPDATE of 0', ERROR, '', PROTOCOL),
    _transport('initial_window_overflow', 'SETTINGS_INITIAL_WINDOW_SIZE of 2^31', ERROR, '', PROTOCOL),
    _transport('data_beyond_stream_window', 'DATA beyond the stream\'s window, while answers wait',
               'resets the stream: FLOW_CONTROL_ERROR', 'MM_H2_STREAM_WINDOW'),
    _transport('data_beyond_connection_window', 'DATA beyond the connection\'s window', ERROR,
               'MM_H2_CONNECTION_WINDOW', PROTOCOL),
    _transport('trickling_reader', 'a call for 10 MB that is read 4 KiB at a time', 'holds little, and '
               'waits', 'MM_CALL_QUEUE_MARK', 'mintmark_call_waits_total'),
    _times('reader_of_nothing', 'calls for 40 MB with large windows, and a socket that is not read',
           'closes', 'limits.write_stall_ms', 'limit=write_stall'),

    # Those who send slowly, or not to the end.
    _times('body_that_stops', 'a message\'s prefix and half of it, and nothing more',
           FAILS + 'DEADLINE_EXCEEDED', 'limits.request_timeout_ms', 'limit=request_time'),
    _times('body_of_single_bytes', 'a message byte by byte, too slowly', FAILS + 'DEADLINE_EXCEEDED',
           'limits.request_timeout_ms', 'limit=request_time'),
    _times('calls_without_body', '100 calls of which only the headers come',
           FAILS + 'DEADLINE_EXCEEDED, each', 'limits.request_timeout_ms', 'limit=request_time'),
    _times('padding_alone', 'DATA frames of nothing but padding', FAILS + 'DEADLINE_EXCEEDED',
           'limits.request_timeout_ms', 'limit=request_time'),
    _times('stream_message_that_stops', 'a stream: one message, then half a one',
           FAILS + 'DEADLINE_EXCEEDED', 'limits.request_timeout_ms', 'limit=request_time'),

    # Messages.
    _transport('unfinished_messages', '12 MB of unfinished messages on one connection',
               FAILS + 'RESOURCE_EXHAUSTED', 'MM_CONNECTION_RECEIVE_MAX', 'limit=receive'),
    _transport('unfinished_messages_everywhere', '134 MB of unfinished messages on 18 connections',
               FAILS + 'UNAVAILABLE, and none of those who hold little', 'MM_RECEIVE_MAX, '
               'MM_RECEIVE_SHARE', 'limit=receive_total'),
    _transport('message_too_large', 'a prefix that says 4 MiB and a byte', FAILS +
               'RESOURCE_EXHAUSTED, before the message comes', 'MM_GRPC_MESSAGE_MAX',
               'limit=message_size'),
    _transport('gzip_bomb', '15 MB of zeros, compressed', FAILS + 'RESOURCE_EXHAUSTED',
               'MM_GRPC_MESSAGE_MAX', 'limit=message_size'),
    _transport('gzip_garbage', 'compressed messages that are none', FAILS + 'INTERNAL', '',
               'mintmark_gzip_messages_total direction=received outcome=refused'),
    _transport('fields_without_end', '4 MiB of unknown fields of two bytes, which protobuf-c makes '
               '187 MB of', FAILS + 'RESOURCE_EXHAUSTED', 'MM_PROTO_FIELDS_MAX',
               'limit=message_fields'),
    _transport('empty_submessages', '4 MiB of empty messages in a repeated field',
               FAILS + 'RESOURCE_EXHAUSTED', 'MM_PROTO_FIELDS_MAX', 'limit=message_fields'),
    _transport('fields_just_few_enough', 'as many fields as may be, ten times', 'takes them',
               'MM_PROTO_FIELDS_MAX'),
    _transport('string_not_utf8', 'a string of bytes that are no UTF-8', FAILS + 'INVALID_ARGUMENT', '',
               'limit=strings'),
    _transport('string_with_nul', 'a string that hides a NUL', FAILS + 'INVALID_ARGUMENT', '',
               'limit=strings'),
    _transport('string_with_surrogates', 'surrogates and overlong forms in a string',
               FAILS + 'INVALID_ARGUMENT', '', 'limit=strings'),
    _transport('compressed_without_coding', 'a compressed message, but no grpc-encoding',
               FAILS + 'INTERNAL', ''),

    # HTTP/2 that is none.
    _transport('preface_of_http1', 'an HTTP/1.1 request', 'closes', '', PROTOCOL),
    _transport('push_promise', 'PUSH_PROMISE, which no client may send', ERROR, '', PROTOCOL),
    _transport('data_on_no_stream', 'DATA on stream 0, and on one that was never opened', ERROR, '',
               PROTOCOL),
    _transport('headers_on_an_even_stream', 'HEADERS on stream 0, and on 2, which is the server\'s',
               ERROR, '', PROTOCOL),
    _transport('streams_backwards', 'stream 5, then stream 3', 'ignores the second', ''),
    _transport('frames_of_wrong_length', 'SETTINGS of five bytes, PING of seven, RST_STREAM of three',
               ERROR, '', PROTOCOL),
    _transport('frame_too_large', 'a frame of 16,385 bytes', ERROR, '', PROTOCOL),
    _transport('frame_inside_headers', 'a PING between HEADERS and CONTINUATION', ERROR, '', PROTOCOL),
    _transport('content_length_that_lies', 'a content-length that the data does not have',
               'resets the stream: PROTOCOL_ERROR', ''),
    _transport('pseudo_headers_twice', 'requests with two :path, with none, and with an unknown one',
               'resets the stream: PROTOCOL_ERROR', ''),

    # Connections.
    _transport('too_many_connections', 'more connections than may be', 'closes those that are too many',
               'limits.connections', 'limit=connections'),
    _transport('handshakes_held_open', '100 connections that say nothing', 'drops the oldest',
               'MM_HANDSHAKES_MAX', 'limit=handshakes'),
    _transport('handshake_flood', 'TLS handshakes without a certificate, as fast as one can',
               'refuses each', '', 'mintmark_handshakes_failed_total'),
    _transport('tls_garbage', 'records that are no TLS, and a ClientHello without end', 'refuses each',
               '', 'mintmark_handshakes_failed_total'),
    _times('half_open_handshake', 'half a ClientHello, and nothing more', 'closes',
           'limits.handshake_timeout_ms', 'limit=handshake_time'),
    _times('silence_after_tls', 'a handshake, and then not even a preface', 'asks, then closes',
           'limits.keepalive_timeout_ms', 'limit=keepalive'),
    _times('peer_that_is_gone', 'a call, and then no answer to a PING', 'cancels the call and closes',
           'limits.keepalive_timeout_ms', 'limit=keepalive'),

    # The service itself, with its workers.
    _daemon('daemon_handshake_flood', 'TLS handshakes without a certificate, as fast as one can',
            'refuses each', '', 'mintmark_handshakes_failed_total'),
    _daemon('daemon_handshakes_held_open', '100 connections that say nothing', 'drops the oldest',
            'MM_HANDSHAKES_MAX', 'limit=handshakes'),
    _daemon('daemon_half_open_handshake', 'half a ClientHello, and nothing more', 'closes',
            'limits.handshake_timeout_ms', 'limit=handshake_time'),
    _daemon('daemon_fields_without_end', '4 MiB of unknown fields of two bytes',
            FAILS + 'RESOURCE_EXHAUSTED', 'MM_PROTO_FIELDS_MAX', 'limit=message_fields'),
    _daemon('daemon_string_with_nul', 'names with a NUL and with bytes that are no UTF-8',
            FAILS + 'INVALID_ARGUMENT', '', 'limit=strings'),
    _daemon('daemon_rapid_reset', '1,000 calls, each reset at once', MANY, ODD, RESETS),
    _daemon('daemon_body_that_stops', 'half a message, and nothing more', FAILS + 'DEADLINE_EXCEEDED',
            'limits.request_timeout_ms', 'limit=request_time'),
]

# Every label of mintmark_limit_hits_total: what is bounded, and by which constants and settings.
PROTECTIONS = [
    ('connections', 'connections at one time; one more is closed', 'limits.connections'),
    ('handshakes', 'TLS handshakes under way; the oldest makes room', 'MM_HANDSHAKES_MAX'),
    ('handshake_time', 'time for a TLS handshake', 'limits.handshake_timeout_ms'),
    ('write_stall', 'time in which a client takes nothing of what is sent', 'limits.write_stall_ms'),
    ('keepalive', 'time to answer a PING after so much silence',
     'limits.keepalive_ms, limits.keepalive_timeout_ms'),
    ('resets', 'streams that the client resets, or makes us reset: at once, and a second',
     'MM_H2_ODD_BURST, MM_H2_ODD_PER_S'),
    ('settings', 'SETTINGS, out of the same budget', 'MM_H2_ODD_BURST, MM_H2_ODD_PER_S'),
    ('empty_data', 'DATA frames without data, out of the same budget',
     'MM_H2_ODD_BURST, MM_H2_ODD_PER_S'),
    ('window_updates', 'WINDOW_UPDATEs for each frame that we send, and besides; more come out of the '
     'same budget', 'MM_H2_UPDATES_PER_DATA, MM_H2_UPDATES_SPARE'),
    ('other_frames', 'PRIORITY, GOAWAY, PING answers, invalid frames, out of the same budget',
     'MM_H2_ODD_BURST, MM_H2_ODD_PER_S'),
    ('pings', 'PINGs sooner than the interval, that are let pass',
     'MM_H2_PING_STRIKES, limits.ping_interval_ms'),
    ('protocol', 'what HTTP/2 forbids; CONTINUATIONs after one HEADERS, entries in one SETTINGS, answers '
     'that wait to be read', 'MM_H2_CONTINUATIONS_MAX, MM_H2_SETTINGS_MAX, MM_H2_ACKS_MAX'),
    ('streams', 'calls at one time on a connection', 'limits.streams_per_connection'),
    ('request_time', 'time for headers, and for a message once begun', 'limits.request_timeout_ms'),
    ('header_list', 'bytes of a header list (RFC 9113 section 6.5.2)', 'MM_HEADER_LIST_MAX'),
    ('message_size', 'bytes of a message, inflated', 'MM_GRPC_MESSAGE_MAX'),
    ('receive', 'bytes of unfinished messages on one connection', 'MM_CONNECTION_RECEIVE_MAX'),
    ('receive_total', 'the same on all; who holds less than a share is spared',
     'MM_RECEIVE_MAX, MM_RECEIVE_SHARE'),
    ('message_fields', 'fields of a message, and messages within messages; memory in proportion',
     'MM_PROTO_FIELDS_MAX, MM_PROTO_DEPTH_MAX'),
    ('strings', 'strings are UTF-8, and have no NUL', ''),
]
