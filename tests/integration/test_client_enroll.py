#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""mintmark enroll, and with it mintmark_enroll, against a service that misbehaves on command."""
import base64
import ctypes
import json
import os
import struct
import sys
import unittest

try:
    import google.protobuf  # noqa: F401
    import client_fake as fake
    import test_client
except ImportError as missing:
    print(f'skipped: {missing}')
    sys.exit(77)

UNAVAILABLE, PRECONDITION, INVALID, EXISTS = 14, 9, 3, 6
setUpModule, tearDownModule = test_client.setUpModule, test_client.tearDownModule


def messages_of(data):
    while data:
        length = struct.unpack('>I', data[1:5])[0]
        yield data[5:5 + length]
        data = data[5 + length:]


class EnrollTest(test_client.ClientTest):
    def setUp(self):
        super().setUp()
        self.known = {}     # the service's: by request, what is recorded
        self.streams = []   # what each call sent
        self.refuse = {}    # by request: a google.rpc.Status, serialised
        self.acts = []      # for each call: how many messages it answers before its end, and how it ends
        self.change = None  # spoils an answer
        self.order = list   # of the answers
        self.service.Enroll = self.answer_stream
        self.csrs = self.dir / 'csrs'
        self.csrs.mkdir()

    def write(self, count, pem=False):
        for i in range(count):
            csr = b'\x30\x82' + f'{i:04}'.encode() + os.urandom(300)
            (self.csrs / f'SN-{i:04}.csr').write_bytes(csr)
        if pem:
            text = base64.encodebytes(csr).decode()
            (self.csrs / f'SN-{count - 1:04}.csr').write_text(
                f'Request:\n-----BEGIN CERTIFICATE REQUEST-----\n{text}'
                '-----END CERTIFICATE REQUEST-----\n')

    # -- the service -----------------------------------------------------------------------------

    def result(self, index, device):
        result = self.service.pb.EnrollResult(index=index)
        if device.csr in self.refuse:
            result.error.ParseFromString(self.refuse[device.csr])
            return result
        if device.csr not in self.known:
            bundle = self.service.device(len(self.known) + 1, device.hw_serial)
            bundle.key_delivery, bundle.private_key = 4, b''
            self.known[device.csr] = bundle
        result.bundle.CopyFrom(self.known[device.csr])
        return result

    def answer_stream(self, call):
        requests = [self.service.pb.EnrollRequest.FromString(m)
                    for m in messages_of(bytes(call.connection.requests[call.stream][1]))]
        self.streams.append(requests)
        count, end = self.acts.pop(0) if self.acts else (len(requests), lambda c: c.end())
        starts = [sum(len(r.devices) for r in requests[:n]) for n in range(len(requests))]
        for number, (index, request) in enumerate(self.order(list(zip(starts, requests)))[:count]):
            answer = self.service.pb.EnrollResponse(chain=[] if number else self.service.chain)
            for i, device in enumerate(request.devices):
                answer.results.append(self.result(index + i, device))
            if self.change:
                self.change(answer)
            call.message(answer.SerializeToString())
        end(call)

    # -- the client ------------------------------------------------------------------------------

    def enroll(self, *more, out='out', code=0):
        return self.run_json('enroll', '--batch', self.service.batch, '--out', self.dir / out,
                             *(more or [self.csrs]), code=code)

    def outcomes(self, out='out'):
        return [json.loads(line) for line in
                (self.dir / out / 'enrolled.jsonl').read_text().splitlines()]

    def sent(self, stream):
        return [d.csr for request in self.streams[stream] for d in request.devices]


class Enroll(EnrollTest):
    def test_folder_of_requests(self):
        self.write(150, pem=True)
        (self.csrs / 'notes.txt').write_text('no request')
        answer = self.enroll(self.csrs, '--serial-names')
        self.assertEqual((answer['enrolled'], answer['refused']), (150, 0))
        first = self.streams[0][0]
        self.assertEqual((first.batch_uid, first.request_id),
                         (self.service.batch, answer['request_id']))
        self.assertEqual([len(r.devices) for r in self.streams[0]], [64, 64, 22])
        self.assertEqual({r.request_id for r in self.streams[0][1:]}, {''})
        lines = self.lines()
        self.assertEqual([line['hw_serial'] for line in lines], [f'SN-{i:04}' for i in range(150)])
        self.assertEqual({line['key_delivery'] for line in lines}, {'ON_DEVICE'})
        self.assertEqual([o['file'] for o in self.outcomes()],
                         [f'SN-{i:04}.csr' for i in range(150)])
        self.assertEqual([o['device_uid'] for o in self.outcomes()],
                         [line['device_uid'] for line in lines])
        for bundle in self.known.values():
            self.assertEqual((self.dir / 'out' / f'{bundle.device_uid}.crt').read_bytes(),
                             bundle.certificate)
        self.assertEqual([f for f in os.listdir(self.dir / 'out') if '.key' in f], [])
        self.assertTrue((self.dir / 'out/chain.pem').exists())

    def test_single_files_in_the_order_given(self):
        self.write(3)
        names = ['SN-0002.csr', 'SN-0000.csr']
        self.enroll(*[self.csrs / name for name in names])
        self.assertEqual([o['file'] for o in self.outcomes()], names)
        self.assertEqual({d.hw_serial for d in self.streams[0][0].devices}, {''})

    def test_cut_connection_is_made_again_for_what_was_not_answered(self):
        self.write(200)
        self.acts = [(1, lambda c: c.cut()), (2, lambda c: c.cut())]
        self.assertEqual(self.enroll()['enrolled'], 200)
        sent = [len(self.sent(i)) for i in range(3)]
        self.assertEqual(sent, sorted(sent, reverse=True))
        self.assertLess(sent[2], 200)
        self.assertEqual(len({s[0].request_id for s in self.streams}), 1)
        self.assertEqual(len(self.known), 200)

    def test_failure_when_all_is_answered_needs_no_other_call(self):
        self.write(3)
        self.acts = [(1, lambda c: fake.fail(UNAVAILABLE, 'SHUTTING_DOWN')(self.service, c))]
        self.assertEqual(self.enroll()['enrolled'], 3)
        self.assertEqual(len(self.streams), 1)

    def test_same_command_goes_on(self):
        self.write(100)
        self.acts = [(1, lambda c: fake.fail(PRECONDITION, 'ORDER_EXPIRED')(self.service, c))]
        self.assertEqual(self.enroll(code=1)['error']['reason'], 'ORDER_EXPIRED')
        self.assertIn('64 of 100 are answered; the same command again goes on', self.err)
        self.assertFalse((self.dir / 'out/devices.jsonl').exists())
        self.enroll()
        self.assertEqual(len(self.lines()), 100)
        self.assertEqual(self.streams[0][0].request_id, self.streams[1][0].request_id)
        (self.csrs / 'one-more.csr').write_bytes(b'x')
        self.assertIn('another count', self.enroll(code=1)['error']['message'])

    def test_other_files_in_the_same_folder_are_refused(self):
        self.write(3)
        self.enroll()
        before = (self.csrs / 'SN-0001.csr').read_bytes()
        for change in (lambda: (self.csrs / 'SN-0001.csr').write_bytes(before[:-1] + b'?'),
                       lambda: (self.csrs / 'SN-0001.csr').rename(self.csrs / 'SN-0009.csr')):
            change()
            error = self.enroll(code=1)['error']
            self.assertEqual((error['reason'], 'set of files' in error['message']), ('OTHER_REQUEST', True))
            (self.csrs / 'SN-0001.csr').write_bytes(before)
            self.assertEqual((len(self.streams), len(self.known)), (1, 3))
        (self.csrs / 'SN-0009.csr').unlink()
        self.enroll()
        # Of a folder that says nothing of it nothing is asked.
        request = json.loads((self.dir / 'out/request.json').read_text())
        del request['csrs_sha256']
        (self.dir / 'out/request.json').write_text(json.dumps(request))
        self.enroll()

    def test_two_requests_of_one_key_are_one_device(self):
        self.write(2)
        for copy in ('copy', 'more'):
            (self.csrs / f'{copy}.csr').write_bytes((self.csrs / 'SN-0001.csr').read_bytes())
        for _ in range(2):
            out = self.run_command('enroll', '--batch', self.service.batch, '--out', self.dir / 'out', self.csrs)
            self.assertIn('2 devices in', out)
            self.assertIn('2 with the key of another request: see', self.err)
            self.assertEqual(len({line['device_uid'] for line in self.lines()}), len(self.lines()))
        self.assertEqual(len({o['device_uid'] for o in self.outcomes()}), 2)
        self.assertEqual(len(self.outcomes()), 4)

    def test_refused_devices_are_named_and_the_others_enrolled(self):
        self.write(5)
        csrs = [p.read_bytes() for p in sorted(self.csrs.iterdir())]
        self.refuse = {csrs[1]: self.service.error(INVALID, 'CSR_SIGNATURE', 'bad', 'csr'),
                       csrs[3]: self.service.error(EXISTS, 'KEY_REUSED', 'was \x1b[1mthere')}
        answer = self.enroll(code=1)
        self.assertEqual((answer['enrolled'], answer['refused']), (3, 2))
        self.assertEqual([o.get('reason') for o in self.outcomes()],
                         [None, 'CSR_SIGNATURE', None, 'KEY_REUSED', None])
        self.assertEqual(self.outcomes()[3]['message'], 'was ?[1mthere')
        self.assertEqual(len(self.lines()), 3)
        out = self.run_command('enroll', '--batch', self.service.batch, '--out', self.dir / 'out',
                               self.csrs, code=1)
        self.assertIn('3 devices in', out)
        self.assertIn('2 refused: see', self.err)

    def test_file_that_differs_ends_the_call_and_is_kept(self):
        self.write(2)
        out = self.dir / 'out'
        out.mkdir()
        (out / 'chain.pem').write_text('another')
        answer = self.enroll(code=1)
        self.assertIn('exists already with other content', answer['error']['message'])
        self.assertEqual((out / 'chain.pem').read_text(), 'another')
        self.assertFalse((out / 'devices.jsonl').exists())

    def files(self):
        return {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in (self.dir / 'out').iterdir()}

    def two_chains(self):
        """The first 64 requests' devices are of one chain, the others of another."""
        def change(answer):
            answer.ClearField('chain')
            answer.chain.extend(self.service.chain if answer.results[0].index < 64 else [b'\x30\x03ca3', b'\x30\x03ca2'])
        self.change = change

    def test_answers_of_two_chains_in_another_order(self):
        self.write(100)
        self.two_chains()
        self.enroll()
        first = self.files()
        self.assertEqual(len([name for name in first if name.startswith('chain-')]), 1)
        for order in (list, lambda answers: answers[::-1]):
            self.order = order
            self.assertEqual(self.enroll()['enrolled'], 100)
            self.assertEqual(self.files(), first)

    def test_a_run_that_was_cut_off_goes_on_in_another_order(self):
        self.write(100)
        self.two_chains()
        self.order = lambda answers: answers[::-1]
        self.acts = [(1, lambda c: fake.fail(PRECONDITION, 'ORDER_EXPIRED')(self.service, c))]
        self.enroll(code=1)
        chain = (self.dir / 'out/chain.pem').read_bytes()
        self.order = list
        self.enroll()
        self.assertEqual((self.dir / 'out/chain.pem').read_bytes(), chain)
        other, = (p.name for p in (self.dir / 'out').glob('chain-*.pem'))
        named = [line.get('chain') for line in self.lines()]
        self.assertEqual(len(named), 100)
        self.assertEqual((named.count(None), named.count(other)), (36, 64))

    def test_what_an_earlier_run_cannot_have_written_is_refused(self):
        self.write(100)
        self.two_chains()
        self.enroll()
        out = self.dir / 'out'
        devices = [o['device_uid'] for o in self.outcomes()]
        for name in ('chain.pem', next(out.glob('chain-*.pem')).name, f'{devices[0]}.crt', f'{devices[-1]}.crt'):
            with self.subTest(name):
                data = (out / name).read_bytes()
                (out / name).write_bytes(data.replace(data[-40:-30], b'otherother'))
                wrong, lists = (out / name).read_bytes(), (out / 'devices.jsonl').read_bytes()
                error = self.enroll(code=1)['error']
                self.assertEqual((error['reason'], name in error['message']), ('FILE_EXISTS', True), error)
                self.assertEqual((out / name).read_bytes(), wrong)
                self.assertEqual((out / 'devices.jsonl').read_bytes(), lists)
                (out / name).write_bytes(data)
        self.enroll()

    def test_hostile_answers(self):
        def spoil(**fields):
            def change(answer):
                for key, value in fields.items():
                    setattr(answer.results[0].bundle, key, value)
            return change

        def result(act):
            return lambda answer: act(answer.results[0])
        self.write(1)
        changes = [
            lambda a: setattr(a.results[0], 'index', 1),
            lambda a: setattr(a.results[0], 'index', (1 << 64) - 1),
            lambda a: a.results.append(a.results[0]), lambda a: a.ClearField('results'),
            result(lambda r: r.ClearField('bundle')), result(lambda r: r.error.SetInParent()),
            result(lambda r: r.error.MergeFrom(type(r.error)(code=99))),
            spoil(hw_serial='other'), spoil(private_key=b'x'), spoil(key_delivery=1),
            spoil(key_delivery=2), spoil(batch_uid='other'), spoil(certificate=b''),
            spoil(device_uid='../x'), lambda a: a.chain.extend([b'x'] * 9),
            lambda a: a.items.add(name='../x'),
        ]
        for number, change in enumerate(changes):
            self.change = change
            with self.subTest(number):
                answer = self.enroll(out=f'out{number}', code=70)
                self.assertEqual(answer['error']['status'], 'DATA_LOSS')
                self.assertFalse((self.dir / f'out{number}/devices.jsonl').exists())

    def test_files_that_are_no_requests(self):
        (self.csrs / 'a.pem').write_text('-----BEGIN PRIVATE KEY-----\nAAAA\n'
                                         '-----END PRIVATE KEY-----\n')
        empty = self.dir / 'empty'
        empty.mkdir()
        for path, code, text in ((self.csrs, 65, 'no CERTIFICATE REQUEST in PEM'),
                                 (empty, 1, 'no file that ends in .csr'),
                                 (self.dir / 'nothing', 1, 'nothing')):
            with self.subTest(path):
                self.assertIn(text, self.enroll(path, code=code)['error']['message'])
        self.assertEqual(self.streams, [])
        self.run_command('enroll', '--batch', self.service.batch, '--out', self.dir / 'out', code=64)
        self.run_command('enroll', '--batch', 'x', '--out', self.dir / 'out', self.csrs, code=65)

    def test_serial_names_that_are_none_are_the_services_to_refuse(self):
        (self.csrs / 'Köln.csr').write_bytes(b'x')
        self.refuse = {b'x': self.service.error(INVALID, 'INVALID_FIELD', 'no', 'hw_serial')}
        self.enroll(self.csrs, '--serial-names', code=1)
        self.assertEqual(self.outcomes()[0]['reason'], 'INVALID_FIELD')


class Data(ctypes.Structure):
    _fields_ = [('data', ctypes.c_char_p), ('len', ctypes.c_size_t)]


class Csr(ctypes.Structure):
    _fields_ = [('hw_serial', ctypes.c_char_p), ('csr', Data)]


class Request(ctypes.Structure):
    _fields_ = [('batch_uid', ctypes.c_char_p), ('request_id', ctypes.c_char_p),
                ('devices', ctypes.POINTER(Csr)), ('n_devices', ctypes.c_size_t)]


class Options(ctypes.Structure):
    _fields_ = [(name, ctypes.c_char_p) for name in ('target', 'server_name', 'ca', 'certificate', 'key')] + [
        (name, ctypes.c_uint32) for name in ('timeout_ms', 'attempts', 'keepalive_ms', 'keepalive_timeout_ms')] + [
        ('compress', ctypes.c_int)]


EACH = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_void_p] * 3)


@unittest.skipIf(os.environ.get('MINTMARK_SANITIZED'), 'Python cannot load a library with a sanitizer')
class Word(EnrollTest):
    """mintmark_enroll by itself, whose callback has a number of its own to say."""

    def setUp(self):
        super().setUp()
        self.library = ctypes.CDLL(str(test_client.BUILD / 'client/libmintmark.so'))
        shared = test_client.shared
        options = Options(f'127.0.0.1:{self.service.port}'.encode(), None, *(
            bytes(shared / name) for name in ('ca.pem', 'station.pem', 'station.key')))
        self.client = ctypes.c_void_p()
        self.assertEqual(self.library.mintmark_new(ctypes.byref(options), ctypes.byref(self.client), None), 0)
        self.addCleanup(self.library.mintmark_free, self.client)

    def enroll_until(self, count, last, word):
        """What the call returns whose callback says the word for that device, and 0 before."""
        devices = (Csr * count)(*[Csr(None, Data(b'csr', 3)) for _ in range(count)])
        request = Request(self.service.batch.encode(), None, devices, count)
        given = []

        def each(_arg, index, *_outcome):
            given.append(index)
            return word if index == last else 0
        result = self.library.mintmark_enroll(self.client, ctypes.byref(request), EACH(each), None, None)
        self.assertEqual(given, list(range(len(given))))
        return result, len(given)

    def test_any_word_for_any_device_is_handed_on(self):
        unavailable = lambda call: fake.fail(UNAVAILABLE, 'SHUTTING_DOWN')(self.service, call)  # noqa: E731
        for word in (1, 2**31 - 1, -2**31, -1):
            for last in (0, 63, 99):
                for act in ([], [(2, unavailable)], [(1, unavailable)]):
                    with self.subTest(word=word, last=last, act=act):
                        self.acts = list(act)
                        self.assertEqual(self.enroll_until(100, last, word), (word, last + 1))

    def test_all_answered_is_success_however_the_stream_ended(self):
        self.acts = [(2, lambda c: c.cut()), (1, lambda c: c.cut()), (1, lambda c: c.cut())]
        self.assertEqual(self.enroll_until(100, None, 1), (0, 100))
        self.assertEqual(len(self.streams), 1)
        self.assertEqual(self.enroll_until(100, None, 1), (0, 100))
        self.assertEqual(len(self.streams), 3)


if __name__ == '__main__':
    unittest.main()
