#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""gRPC's own implementation (C-core, by python3-grpcio) against the transport over mutual TLS: the
cases of grpc/grpc doc/interop-test-descriptions.md that this version serves, roles, health,
reflection, drain and reconfiguration. No generated code: messages are made by hand, or come from
reflection."""
import pathlib
import queue
import signal
import sys
import tempfile
import threading
import unittest

from harness import PROBE, TEST, WAIT_S, Pki, Server, field, parse

try:
    import grpc
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
except ImportError as missing:
    print(f'skipped: {missing}')
    sys.exit(77)

EMPTY = TEST + 'EmptyCall'
REFLECTION = '/grpc.reflection.{}.ServerReflection/ServerReflectionInfo'
HEALTH = '/grpc.health.v1.Health/'
SERVING, NOT_SERVING, SERVICE_UNKNOWN = field(1, 1), field(1, 2), field(1, 3)


def output_request(*parameters, status=None):
    """(size, interval_us)…"""
    out = b''.join(field(2, field(1, size) + field(2, wait)) for size, wait in parameters)
    return out + (field(7, field(1, status[0]) + field(2, status[1].encode())) if status else b'')


class GrpcTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        folder = pathlib.Path(cls.folder.name)
        cls.pki = Pki(folder)
        cert, key = cls.pki.leaf('server', server=True)
        cls.args = ['--cert', cert, '--key', key, '--client-ca', cls.pki.file,
                    '--station', 'st1=urn:st1', '--officer', 'of1=urn:of1']
        cls.certificates = {n: cls.pki.leaf(n, f'urn:{n}') for n in ('st1', 'of1', 'nobody')}

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def setUp(self):
        self.server = self.enterContext(Server(*self.args))
        self.channel = self.connect('st1')

    def connect(self, name, server=None):
        cert, key = self.certificates[name]
        credentials = grpc.ssl_channel_credentials(self.pki.file.read_bytes(), key.read_bytes(),
                                                   cert.read_bytes())
        channel = grpc.secure_channel(f'127.0.0.1:{(server or self.server).port}', credentials,
                                      [('grpc.max_receive_message_length', -1)])
        self.addCleanup(channel.close)
        return channel

    def unary(self, path, request=b'', channel=None, timeout=WAIT_S, metadata=None):
        return (channel or self.channel).unary_unary(path)(request, timeout=timeout,
                                                           metadata=metadata)

    def fails(self, code, call):
        with self.assertRaises(grpc.RpcError) as caught:
            call()
        self.assertEqual(caught.exception.code(), code, caught.exception)
        return caught.exception


class Calls(GrpcTest):
    def test_empty_unary(self):
        self.assertEqual(self.unary(EMPTY), b'')

    def test_large_unary(self):
        payload = field(3, field(2, bytes(271828)))
        response = self.unary(TEST + 'UnaryCall', field(2, 314159) + payload)
        self.assertEqual(parse(parse(response)[1])[2], bytes(314159))

    def test_client_streaming(self):
        sizes = 27182, 8, 1828, 45904
        call = self.channel.stream_unary(TEST + 'StreamingInputCall')
        response = call(iter([field(1, field(2, bytes(s))) for s in sizes]), timeout=WAIT_S)
        self.assertEqual(parse(response)[1], sum(sizes))

    def test_server_streaming(self):
        sizes = 31415, 9, 2653, 58979
        call = self.channel.unary_stream(TEST + 'StreamingOutputCall')
        got = [len(parse(parse(r)[1])[2])
               for r in call(output_request(*[(s, 0) for s in sizes]), timeout=WAIT_S)]
        self.assertEqual(got, list(sizes))

    def test_much_streaming(self):
        """More than all windows and marks together."""
        call = self.channel.unary_stream(TEST + 'StreamingOutputCall')
        total = sum(len(r) for r in call(output_request(*[(100000, 0)] * 300), timeout=WAIT_S))
        self.assertGreater(total, 300 * 100000)

    def test_ping_pong(self):
        requests = queue.Queue()
        call = self.channel.stream_stream(TEST + 'FullDuplexCall')(iter(requests.get, None),
                                                                   timeout=WAIT_S)
        for size in 31415, 9, 2653, 58979:
            requests.put(output_request((size, 0)))
            self.assertEqual(len(parse(parse(next(call))[1])[2]), size)
        requests.put(None)
        self.assertEqual(list(call), [])

    def test_empty_stream(self):
        call = self.channel.stream_stream(TEST + 'FullDuplexCall')
        self.assertEqual(list(call(iter([]), timeout=WAIT_S)), [])

    def test_cancel_after_begin(self):
        requests = queue.Queue()
        call = self.channel.stream_unary(TEST + 'StreamingInputCall').future(
            iter(requests.get, None), timeout=WAIT_S)
        call.cancel()
        requests.put(None)
        self.assertTrue(call.cancelled())

    def test_cancel_after_first_response(self):
        requests = queue.Queue()
        call = self.channel.stream_stream(TEST + 'FullDuplexCall')(iter(requests.get, None),
                                                                   timeout=WAIT_S)
        requests.put(output_request((31415, 0)))
        next(call)
        call.cancel()
        requests.put(None)
        self.assertEqual(call.code(), grpc.StatusCode.CANCELLED)
        while parse(self.unary(PROBE + 'GetCounts')).get(5) != 1:
            pass

    def test_timeout_on_sleeping_server(self):
        call = self.channel.unary_stream(TEST + 'StreamingOutputCall')
        self.fails(grpc.StatusCode.DEADLINE_EXCEEDED,
                   lambda: list(call(output_request((1, 10 ** 9)), timeout=0.1)))

    def test_every_status_code(self):
        for code in grpc.StatusCode:
            if code == grpc.StatusCode.OK:
                continue
            status = field(7, field(1, code.value[0]) + field(2, b'test status message'))
            error = self.fails(code, lambda: self.unary(TEST + 'UnaryCall', status))
            self.assertEqual(error.details(), 'test status message')

    def test_status_after_messages(self):
        call = self.channel.unary_stream(TEST + 'StreamingOutputCall')(
            output_request((1, 0), (2, 0), status=(8, 'enough')), timeout=WAIT_S)
        next(call)
        next(call)
        self.assertEqual(self.fails(grpc.StatusCode.RESOURCE_EXHAUSTED, lambda: next(call)).details(),
                         'enough')

    def test_special_status_message(self):
        text = '\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n 100%'
        status = field(7, field(1, 2) + field(2, text.encode()))
        error = self.fails(grpc.StatusCode.UNKNOWN, lambda: self.unary(TEST + 'UnaryCall', status))
        self.assertEqual(error.details(), text)

    def test_unimplemented(self):
        for path in TEST + 'UnimplementedCall', '/grpc.testing.UnimplementedService/UnimplementedCall':
            self.fails(grpc.StatusCode.UNIMPLEMENTED, lambda: self.unary(path))

    def test_metadata_does_no_harm(self):
        self.unary(EMPTY, metadata=[('x-text', 'hello'), ('x-blob-bin', bytes(range(256)))])

    def test_custom_metadata(self):
        blob = bytes(range(256))
        metadata = [('x-grpc-test-echo-initial', 'test_initial_metadata_value'),
                    ('x-grpc-test-echo-trailing-bin', blob)]

        def check(call):
            self.assertIn(metadata[0], call.initial_metadata())
            self.assertIn(metadata[1], call.trailing_metadata())

        _, call = self.channel.unary_unary(TEST + 'UnaryCall').with_call(
            b'', timeout=WAIT_S, metadata=metadata)
        check(call)
        call = self.channel.stream_stream(TEST + 'FullDuplexCall')(
            iter([output_request((1, 0))]), timeout=WAIT_S, metadata=metadata)
        self.assertEqual(len(list(call)), 1)
        check(call)

    def test_metadata_comes_with_errors(self):
        status = field(7, field(1, 8) + field(2, b'no'))
        error = self.fails(grpc.StatusCode.RESOURCE_EXHAUSTED, lambda: self.unary(
            TEST + 'UnaryCall', status, metadata=[('x-grpc-test-echo-trailing-bin', b'\0\xff')]))
        self.assertIn(('x-grpc-test-echo-trailing-bin', b'\0\xff'), error.trailing_metadata())

    def test_client_compressed_unary(self):
        """The server says which messages came compressed."""
        request = field(3, field(2, bytes(271828))) + field(2, 314159) + field(8, field(1, 1))
        self.fails(grpc.StatusCode.INVALID_ARGUMENT,
                   lambda: self.unary(TEST + 'UnaryCall', request))
        response = self.channel.unary_unary(TEST + 'UnaryCall')(
            request, timeout=WAIT_S, compression=grpc.Compression.Gzip)
        self.assertEqual(parse(parse(response)[1])[2], bytes(314159))

    def test_client_compressed_streaming(self):
        def send(compression, *sizes):
            requests = [field(1, field(2, bytes(size))) + field(2, field(1, 1)) for size in sizes]
            return self.channel.stream_unary(TEST + 'StreamingInputCall')(
                iter(requests), timeout=WAIT_S, compression=compression)

        self.fails(grpc.StatusCode.INVALID_ARGUMENT, lambda: send(None, 27182))
        self.assertEqual(parse(send(grpc.Compression.Gzip, 27182, 45904))[1], 27182 + 45904)

    def test_client_compression_that_the_server_lacks(self):
        self.fails(grpc.StatusCode.UNIMPLEMENTED, lambda: self.channel.unary_unary(EMPTY)(
            field(1, b'x' * 1000), timeout=WAIT_S, compression=grpc.Compression.Deflate))

    def test_server_compressed_unary(self):
        for wanted in 1, 0:
            response, call = self.channel.unary_unary(TEST + 'UnaryCall').with_call(
                field(2, 314159) + field(6, field(1, wanted)), timeout=WAIT_S)
            self.assertEqual(parse(parse(response)[1])[2], bytes(314159))

    def test_server_compressed_streaming(self):
        sizes = (31415, 1), (92653, 0), (58979, 1)
        request = b''.join(field(2, field(1, size) + field(3, field(1, on))) for size, on in sizes)
        call = self.channel.unary_stream(TEST + 'StreamingOutputCall')(request, timeout=WAIT_S)
        got = [len(parse(parse(r)[1])[2]) for r in call]
        self.assertEqual(got, [size for size, _ in sizes])

    def test_oversized_request_and_response(self):
        big = field(3, field(2, bytes(5 * 1024 * 1024)))
        self.fails(grpc.StatusCode.RESOURCE_EXHAUSTED, lambda: self.unary(TEST + 'UnaryCall', big))
        self.fails(grpc.StatusCode.RESOURCE_EXHAUSTED,
                   lambda: self.unary(TEST + 'UnaryCall', field(2, 4 * 1024 * 1024)))

    def test_many_calls_at_once(self):
        calls = [self.channel.unary_unary(TEST + 'UnaryCall').future(field(2, i), timeout=WAIT_S)
                 for i in range(500)]
        for i, call in enumerate(calls):
            self.assertEqual(len(parse(parse(call.result()).get(1, b'')).get(2, b'')), i)


class Identity(GrpcTest):
    def test_station_may_do_what_stations_may(self):
        caller = parse(self.unary(PROBE + 'StationOnly'))
        self.assertEqual(caller[1], b'st1')
        self.assertTrue(caller[2].startswith(b'r-'))

    def test_role_missing_is_permission_denied(self):
        error = self.fails(grpc.StatusCode.PERMISSION_DENIED,
                           lambda: self.unary(PROBE + 'OfficerOnly'))
        details = dict(error.trailing_metadata())['grpc-status-details-bin']
        self.assertIn(b'ROLE_MISSING', details)
        self.unary(PROBE + 'OfficerOnly', channel=self.connect('of1'))
        self.server.logged('event=call_failed request=r-')
        self.server.logged('client=st1')

    def test_unmapped_certificate_is_unauthenticated_but_sees_health(self):
        nobody = self.connect('nobody')
        self.fails(grpc.StatusCode.UNAUTHENTICATED,
                   lambda: self.unary(PROBE + 'StationOnly', channel=nobody))
        self.assertEqual(self.unary(HEALTH + 'Check', channel=nobody), SERVING)

    def test_reconfigured_away(self):
        self.unary(PROBE + 'StationOnly')
        self.server.process.send_signal(signal.SIGHUP)
        self.server.logged('event=reconfigured')
        self.fails(grpc.StatusCode.UNAUTHENTICATED, lambda: self.until_other_connection())

    def until_other_connection(self):
        for _ in range(1000):
            self.unary(PROBE + 'StationOnly')


class Health(GrpcTest):
    def test_check(self):
        self.assertEqual(self.unary(HEALTH + 'Check'), SERVING)
        self.assertEqual(self.unary(HEALTH + 'Check', field(1, b'grpc.testing.TestService')), SERVING)
        self.assertEqual(self.unary(HEALTH + 'Check', field(1, b'mintmark.testing.Probe')),
                         NOT_SERVING)
        self.fails(grpc.StatusCode.NOT_FOUND,
                   lambda: self.unary(HEALTH + 'Check', field(1, b'nope')))

    def test_list(self):
        listing = self.unary(HEALTH + 'List')
        self.assertIn(field(1, b'grpc.testing.TestService') + field(2, SERVING), listing)

    def test_watch_unknown(self):
        watch = self.channel.unary_stream(HEALTH + 'Watch')(field(1, b'nope'), timeout=WAIT_S)
        self.assertEqual(next(watch), SERVICE_UNKNOWN)
        watch.cancel()

    def test_watch_hears_of_the_drain_and_ends(self):
        watch = self.channel.unary_stream(HEALTH + 'Watch')(b'', timeout=WAIT_S)
        self.assertEqual(next(watch), SERVING)
        self.server.process.send_signal(signal.SIGTERM)
        self.assertEqual(next(watch), NOT_SERVING)
        self.fails(grpc.StatusCode.UNAVAILABLE, lambda: next(watch))
        self.server.ended()


class Reflection(GrpcTest):
    def ask(self, version, *requests):
        call = self.channel.stream_stream(REFLECTION.format(version))
        return [parse(r) for r in call(iter(requests), timeout=WAIT_S)]

    def test_list_services(self):
        for version in 'v1', 'v1alpha':
            listing, = self.ask(version, field(7, b''))
            for name in b'grpc.testing.TestService', b'grpc.reflection.v1alpha.ServerReflection':
                self.assertIn(field(1, field(1, name)), listing[6])

    def test_call_with_no_proto_at_hand(self):
        """As grpcurl does: ask for the symbol, build the messages from what comes, call."""
        for version in 'v1', 'v1alpha':
            answer, = self.ask(version, field(4, b'grpc.testing.TestService'))
            pool = descriptor_pool.DescriptorPool()
            for blob in reversed(blobs(answer[4])):
                pool.Add(descriptor_pb2.FileDescriptorProto.FromString(blob))
            method = pool.FindServiceByName('grpc.testing.TestService').FindMethodByName('UnaryCall')
            factory = message_factory.MessageFactory(pool)
            request = factory.GetPrototype(method.input_type)(response_size=42)
            response = factory.GetPrototype(method.output_type).FromString(
                self.unary(TEST + 'UnaryCall', request.SerializeToString()))
            self.assertEqual(len(response.payload.body), 42)

    def test_symbols_and_files(self):
        for request in (field(3, b'grpc/testing/test.proto'), field(4, b'grpc.testing.Payload'),
                        field(4, b'grpc.testing.Payload.body'), field(4, b'grpc.testing.COMPRESSABLE'),
                        field(4, b'grpc.testing.TestService.UnaryCall'),
                        field(4, b'grpc.health.v1.HealthCheckResponse.ServingStatus')):
            answer, = self.ask('v1', request)
            self.assertIn(4, answer, request)
            self.assertEqual(answer[2], request)

    def test_errors(self):
        answers = self.ask('v1', field(3, b'nope.proto'), field(4, b'nope.Nope'),
                           field(5, field(1, b'grpc.testing.Payload') + field(2, 7)),
                           field(6, b'nope.Nope'))
        for answer in answers:
            self.assertEqual(parse(answer[7])[1], 5)
        self.assertEqual(parse(self.ask('v1', b'')[0][7])[1], 3)
        self.assertEqual(parse(self.ask('v1', field(6, b'grpc.testing.Payload'))[0][5]),
                         {1: b'grpc.testing.Payload'})


def blobs(response):
    """The repeated field 1 of a FileDescriptorResponse."""
    out = []
    while response:
        size = shift = 0
        at = 1
        while True:
            size |= (response[at] & 0x7F) << shift
            shift += 7
            at += 1
            if response[at - 1] < 0x80:
                break
        out.append(response[at:at + size])
        response = response[at + size:]
    return out


class Drain(GrpcTest):
    def test_drain_lets_calls_end(self):
        call = self.channel.unary_stream(TEST + 'StreamingOutputCall')(
            output_request((5, 0), (5, 300000), (5, 300000)), timeout=WAIT_S)
        next(call)
        self.server.process.send_signal(signal.SIGTERM)
        self.assertEqual(len(list(call)), 2)
        self.server.ended()

    def test_drain_ends_calls_when_time_is_up(self):
        self.args = [*self.args, '--drain-ms', '100']
        with Server(*self.args) as server:
            channel = self.connect('st1', server)
            call = channel.unary_stream(TEST + 'StreamingOutputCall')(
                output_request((5, 0), (5, 10 ** 9)), timeout=WAIT_S)
            next(call)
            server.process.send_signal(signal.SIGTERM)
            self.fails(grpc.StatusCode.UNAVAILABLE, lambda: next(call))
            server.ended()

    def test_drain_with_open_reflection(self):
        requests = queue.Queue()
        call = self.channel.stream_stream(REFLECTION.format('v1'))(iter(requests.get, None),
                                                                   timeout=WAIT_S)
        requests.put(field(7, b''))
        next(call)
        self.server.process.send_signal(signal.SIGTERM)
        self.fails(grpc.StatusCode.UNAVAILABLE, lambda: next(call))
        requests.put(None)
        self.server.ended()

    def test_calls_during_the_drain_are_lost_by_nobody(self):
        """Every call that the server took is answered; the others are UNAVAILABLE."""
        codes = []
        stop = threading.Event()

        def run():
            while not stop.is_set():
                try:
                    self.unary(EMPTY)
                    codes.append(grpc.StatusCode.OK)
                except grpc.RpcError as error:
                    codes.append(error.code())
                    return

        threads = [threading.Thread(target=run) for _ in range(4)]
        for t in threads:
            t.start()
        while len(codes) < 100:
            pass
        self.server.process.send_signal(signal.SIGTERM)
        self.server.ended()
        stop.set()
        for t in threads:
            t.join()
        self.assertEqual(set(codes) - {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}, set())


if __name__ == '__main__':
    unittest.main()
