#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The mintmark command, and with it libmintmark, against a service that misbehaves on command."""
import json
import os
import pathlib
import pty
import shutil
import signal
import ssl
import stat
import subprocess
import sys
import tempfile
import time
import unittest

try:
    import google.protobuf  # noqa: F401
    import client_fake as fake
except ImportError as missing:
    print(f'skipped: {missing}')
    sys.exit(77)

BUILD = pathlib.Path(os.environ.get('MINTMARK_BUILD', fake.ROOT / 'build'))
MINTMARK = BUILD / 'client/mintmark'
ENVIRONMENT = {k: v for k, v in os.environ.items() if k not in ('HOME', 'XDG_CONFIG_HOME')}
UNAVAILABLE, EXHAUSTED, PRECONDITION, INVALID = 14, 8, 9, 3


def setUpModule():
    global shared, messages
    shared = pathlib.Path(tempfile.mkdtemp(prefix='mintmark-client.'))
    fake.make_certificates(shared)
    messages = fake.load_messages(shared)


def tearDownModule():
    shutil.rmtree(shared)


class ClientTest(unittest.TestCase):
    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix='mintmark-client.'))
        self.addCleanup(shutil.rmtree, self.dir)
        self.serve()

    def serve(self, **how):
        self.service = fake.FakeService(shared, messages, **how)
        self.addCleanup(self.service.close)
        self.site = self.dir / 'station.conf'
        self.site.write_text(f"target = '127.0.0.1:{self.service.port}'\nca = '{shared}/ca.pem'\n"
                             f"certificate = '{shared}/station.pem'\nkey = '{shared}/station.key'\n")

    def start(self, *args, **how):
        return subprocess.Popen([MINTMARK, '--site', self.site, *map(str, args)],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                env=ENVIRONMENT, **how)

    def run_command(self, *args, code=0):
        process = self.start(*args)
        self.out, self.err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, code, self.out + self.err)
        return self.out

    def run_json(self, *args, code=0):
        lines = self.run_command(*args, '--json', code=code).splitlines()
        self.assertEqual(len(lines), 1, lines)
        return json.loads(lines[0])

    def provision(self, count, *more, out='out', code=0):
        return self.run_json('provision', '--batch', self.service.batch, '--count', count, '--out',
                             self.dir / out, *more, code=code)

    def lines(self, out='out'):
        text = (self.dir / out / 'devices.jsonl').read_text()
        return [json.loads(line) for line in text.splitlines()]

    def assert_all_there(self, count, out='out'):
        """Every recorded device once, and its files as they were sent."""
        devices = {d.device_uid: d for d in self.service.all_devices()}
        lines = self.lines(out)
        self.assertEqual([line['number'] for line in lines],
                         sorted(d.number for d in devices.values()))
        self.assertEqual(len(lines), count)
        for line in lines:
            device = devices[line['device_uid']]
            crt = (self.dir / out / f'{device.device_uid}.crt').read_bytes()
            self.assertEqual(crt, device.certificate)
            self.assertEqual(line['certificate_sha256'], fake.sha256(crt).hex())
            self.assertEqual((self.dir / out / f'{device.device_uid}.key.wrapped').read_bytes(),
                             device.private_key)


class Calls(ClientTest):
    def test_ping(self):
        answer = self.run_json('ping')
        self.assertEqual(answer, {'ready': True, 'time_ms': 1790000000000, 'version': '9.9.9',
                                  'detail': '', 'client': 'station-1'})
        self.assertIn('ready\nversion 9.9.9, time 2026-09-21T', self.run_command('ping'))

    def test_ping_of_a_service_that_cannot_work(self):
        self.service.is_ready = False
        self.assertFalse(self.run_json('ping', code=69)['ready'])
        self.assertIn('not ready: the token is away', self.run_command('ping', code=69))

    def test_batches(self):
        opened = self.run_json('batch', 'open', '--name', 'first', '--profile', 'dac',
                               '--device-type', 'alarm', '--quantity', 5000, '--heads', 8,
                               '--order', 'po-1')
        self.assertEqual(opened['batch_uid'], self.service.batch)
        self.assertEqual(opened['state'], 'OPEN')
        self.assertEqual((self.service.opened.order_id, self.service.opened.quantity,
                          self.service.opened.heads), ('po-1', 5000, 8))
        self.assertEqual(self.run_json('batch', 'show', self.service.batch), opened)
        self.assertEqual(self.run_json('batch', 'list')['batches'], [opened] * 4)
        self.assertEqual(len(self.run_command('batch', 'list', '--open').splitlines()), 4)
        report = self.run_json('batch', 'release', self.service.batch)
        self.assertEqual(report['failures'], [{'reason': 'no contact', 'devices': 3}])
        self.assertEqual(report['batch']['state'], 'RELEASED')
        self.assertIn('order used   4711 of 10000',
                      self.run_command('batch', 'release', self.service.batch))

    def test_reports(self):
        self.provision(3)
        uids = [line['device_uid'] for line in self.lines()]
        batch = ['--batch', self.service.batch]
        answer = self.run_json('device', 'report', *batch, '--ok', *uids[:2])
        self.assertEqual(answer['counts'], {'issued': 3, 'ok': 2, 'ko': 0, 'unreported': 1})
        self.run_command('device', 'report', *batch, '--ko', uids[2], 'no contact')
        self.assertEqual(self.service.last_report.devices[0].reason, 'no contact')
        (self.dir / 'r.jsonl').write_text('\n'.join(
            json.dumps({'device_uid': u, 'state': 'OK'}) for u in uids) + '\n')
        self.assertIn('3 reported; in the batch: 3 OK',
                      self.run_command('device', 'report', *batch, '--file', self.dir / 'r.jsonl'))
        for bad in ('{"device_uid": "x"}', '{"device_uid": "x", "state": "KO"}', 'x',
                    '{"device_uid": "x", "state": "OK", "reason": "y"}',
                    '{"device_uid": "x", "state": "OK", "more": 1}', ''):
            (self.dir / 'r.jsonl').write_text('\n' + bad)
            self.run_command('device', 'report', *batch, '--file', self.dir / 'r.jsonl', code=65)
            self.assertIn('r.jsonl:', self.err)

    def test_device_get(self):
        self.provision(2)
        uid = self.lines()[1]['device_uid']
        self.run_command('device', 'get', uid, '--out', self.dir / 'one')
        self.assertEqual([line['device_uid'] for line in self.lines('one')], [uid])
        self.run_command('device', 'get', uid, '--out', self.dir / 'one')
        other = self.lines()[0]['device_uid']
        self.service.change = lambda m: setattr(m.bundles[0], 'device_uid', other)
        self.run_command('device', 'get', uid, '--out', self.dir / 'two', code=70)
        self.assertIn('another device', self.err)

    def test_details_of_an_error(self):
        self.service.plan['OpenBatch'] = [fake.fail(INVALID, 'INVALID_FIELD', 'too%20many', 'heads')]
        open_batch = ['batch', 'open', '--name', 'n', '--profile', 'p', '--device-type', 't',
                      '--quantity', 1]
        error = self.run_json(*open_batch, code=65)['error']
        self.assertEqual(error, {'status': 'INVALID_ARGUMENT', 'reason': 'INVALID_FIELD',
                                 'field': 'heads', 'message': 'too many', 'retry_ms': 0})
        self.assertEqual(self.err, 'mintmark batch open: heads: too many (INVALID_FIELD)\n')
        self.service.plan['OpenBatch'] = [fake.fail(EXHAUSTED, 'QUOTA_EXHAUSTED')]
        self.assertEqual(self.run_json(*open_batch, code=1)['error']['reason'], 'QUOTA_EXHAUSTED')

    def test_deadline(self):
        self.service.plan['GetBatch'] = [fake.hang]
        began = time.monotonic()
        self.run_command('--timeout', 1, 'batch', 'show', self.service.batch, code=69)
        self.assertIn('DEADLINE_EXCEEDED', self.err)
        self.assertLess(time.monotonic() - began, 5)

    def test_usage(self):
        for args in (['frobnicate'], ['batch'], ['batch', 'open'], ['ping', 'more'],
                     ['ping', '--colour'], ['batch', 'show'], ['--timeout'],
                     ['--timeout', '0', 'ping'], ['device', 'report', '--batch', 'x'],
                     ['device', 'report', '--batch', 'x', '--ok'],
                     ['device', 'report', '--batch', 'x', '--ok', '--ko', 'y'],
                     ['device', 'report', '--batch', 'x', '--ko', 'y'],
                     ['provision', '--batch', 'x', '--out', 'y', '--count', '1'],
                     ['provision', '--batch', self.service.batch, '--out', 'y', '--count', '0'],
                     ['provision', '--batch', self.service.batch, '--out', 'y', '--count', '1',
                      '--request-id', '../x'], []):
            self.run_command(*args, code=64)
            self.assertEqual(len(self.err.splitlines()), 1, self.err)
        self.run_command('batch', code=64)
        self.assertIn("'batch' takes one of open, show, list, release", self.err)
        self.assertEqual(self.service.notes, [])
        self.assertIn('--hw-serials FILE', self.run_command('provision', '--help'))
        self.assertRegex(self.run_command('--version'), r'^mintmark \d')

    def test_bad_site_file(self):
        self.site.write_text("target = '127.0.0.1:1'\nkay = 'x'\n")
        self.run_command('ping', code=78)
        self.assertIn('station.conf:2:', self.err)
        self.site.write_text("ca = 'ca.pem'\n")
        self.run_command('ping', code=78)
        self.assertIn('where is the service? Give --target', self.err)
        self.site.unlink()
        self.run_command('ping', code=78)


class Provisioning(ClientTest):
    def test_folder(self):
        content = os.urandom(5000)
        self.service.items = [
            self.service.types.Item(name='firmware.bin', size=5000, sha256=fake.sha256(content),
                                    content=content),
            self.service.types.Item(name='big', size=1 << 40, sha256=bytes(32),
                                    reference='https://x.test/big')]
        answer = self.provision(150)
        self.assertEqual((answer['count'], answer['batch_uid']), (150, self.service.batch))
        self.assert_all_there(150)
        out = self.dir / 'out'
        self.assertEqual((out / 'items/firmware.bin').read_bytes(), content)
        self.assertEqual(os.listdir(out / 'items'), ['firmware.bin'])
        self.assertEqual(json.loads((out / 'key-wrap.json').read_text()),
                         {'transport_key': 'line', 'algorithm': 'AES-256-KWP',
                          'check_value': '01' * 8})
        chain = (out / 'chain.pem').read_text()
        self.assertEqual([ssl.PEM_cert_to_DER_cert(p + '-----END CERTIFICATE-----\n')
                          for p in chain.split('-----END CERTIFICATE-----\n')[:-1]],
                         self.service.chain)
        for path in out.iterdir():
            mode = stat.S_IMODE(path.stat().st_mode)
            self.assertFalse(path.name.startswith('.'), path)
            if 'key.wrapped' in path.name or path.name == 'request.json':
                self.assertEqual(mode, 0o600, path)
        self.assertEqual(stat.S_IMODE(out.stat().st_mode), 0o700)

    def test_a_chain_holds_from_where_it_is_announced(self):
        chains = {}
        later = [b'\x30\x03ca3', b'\x30\x03ca2']

        def change(message):
            """Announced: A, nothing, B, nothing, A."""
            message.ClearField('chain')
            at = len(chains) // fake.CHUNK
            message.chain.extend({0: self.service.chain, 2: later, 4: self.service.chain}.get(at, []))
            chains.update({b.device_uid: 'B' if at in (2, 3) else 'A' for b in message.bundles})
        self.service.change = change
        self.provision(5 * fake.CHUNK)
        self.assert_all_there(5 * fake.CHUNK)
        out = self.dir / 'out'
        other, = out.glob('chain-*.pem')
        self.assertRegex(other.name, r'^chain-[0-9a-f]{16}\.pem$')
        for path, chain in ((out / 'chain.pem', self.service.chain), (other, later)):
            self.assertEqual([ssl.PEM_cert_to_DER_cert(p + '-----END CERTIFICATE-----\n')
                              for p in path.read_text().split('-----END CERTIFICATE-----\n')[:-1]], chain)
        named = {line['device_uid']: 'B' if line.get('chain') == other.name else 'A' for line in self.lines()}
        self.assertEqual(named, chains)
        self.assertEqual({line.get('chain') for line in self.lines()}, {None, other.name})

    def test_another_transport_key_first_in_a_repetition(self):
        order = list

        def change(message):
            for bundle in message.bundles:
                bundle.transport_key, bundle.check_value = (
                    ('former', b'\2' * 8) if bundle.number <= 5 else ('line', b'\1' * 8))
            bundles = order(list(message.bundles))
            del message.bundles[:]
            message.bundles.extend(bundles)
        self.service.change = change
        self.provision(10)
        files = {p.name: p.read_bytes() for p in (self.dir / 'out').iterdir()}
        self.assertEqual(json.loads(files['key-wrap.json'])['transport_key'], 'former')
        order = reversed
        self.provision(10)
        self.assertEqual({p.name: p.read_bytes() for p in (self.dir / 'out').iterdir()}, files)
        wrap = self.dir / 'out/key-wrap.json'
        wrap.write_text(wrap.read_text().replace('former', 'others'))
        error = self.provision(10, code=1)['error']
        self.assertEqual((error['reason'], 'key-wrap.json' in error['message']), ('FILE_EXISTS', True))
        self.assertIn('others', wrap.read_text())

    def test_plain_retained_and_csr(self):
        def plain(message):
            for b in message.bundles:
                b.key_delivery, b.csr, b.certificate = 3, b.certificate, b''
            message.ClearField('chain')
            message.ClearField('key_wrap')
        self.service.change = plain
        self.provision(1)
        line = self.lines()[0]
        self.assertEqual(line['key_delivery'], 'PLAIN')
        self.assertEqual(sorted(os.listdir(self.dir / 'out')), sorted([
            f'{line["device_uid"]}.csr', f'{line["device_uid"]}.key.der', 'devices.jsonl',
            'request.json']))
        self.assertIn('csr_sha256', line)

        def retained(message):
            for b in message.bundles:
                b.key_delivery, b.private_key, b.key_id = 2, b'', 'pkcs11:object=x'
        self.service.change = retained
        self.provision(1, out='kept')
        self.assertEqual(self.lines('kept')[0]['key_id'], 'pkcs11:object=x')
        self.assertEqual([f for f in os.listdir(self.dir / 'kept') if '.key' in f], [])

    def test_hw_serials(self):
        (self.dir / 'serials').write_text('SN-1\nSN-2\nSN 3\n')
        self.run_json('provision', '--batch', self.service.batch, '--hw-serials',
                      self.dir / 'serials', '--out', self.dir / 'out')
        self.assertEqual([line['hw_serial'] for line in self.lines()], ['SN-1', 'SN-2', 'SN 3'])
        for bad in ('', 'a\n\nb\n', 'K\u00f6ln\n', 'x' * 65, 'a\tb'):
            (self.dir / 'serials').write_text(bad)
            self.run_json('provision', '--batch', self.service.batch, '--hw-serials',
                          self.dir / 'serials', '--out', self.dir / 'bad', code=65)
            self.assertFalse((self.dir / 'bad').exists())

    def test_cut_connection_is_made_again_and_nothing_comes_twice(self):
        self.service.plan['Provision'] = [fake.cut_after(2), fake.cut_after(1), fake.cut_after(4)]
        self.provision(300)
        self.assert_all_there(300)
        self.assertEqual(self.service.calls('Provision'), 4)
        self.assertEqual(len(self.service.requests), 1)

    def test_attempts_count_anew_after_progress(self):
        self.service.plan['Provision'] = [fake.cut_after(n) for n in range(1, 8)]
        self.provision(500)
        self.assert_all_there(500)
        self.assertEqual(self.service.calls('Provision'), 8)

    def test_interrupted_run_goes_on_with_the_same_request(self):
        self.service.plan['Provision'] = [fake.fail_after(2, PRECONDITION, 'ORDER_EXPIRED')]
        self.provision(200, code=1)
        self.assertIn('128 of 200 devices are in', self.err)
        self.assertFalse((self.dir / 'out/devices.jsonl').exists())
        self.run_json('provision', '--batch', self.service.batch, '--out', self.dir / 'out')
        self.assert_all_there(200)
        self.assertEqual(len(self.service.requests), 1)
        # And once more: all is there, nothing is written again.
        before = {p.name: p.stat().st_ino for p in (self.dir / 'out').iterdir()}
        self.provision(200)
        self.assertEqual(before, {p.name: p.stat().st_ino for p in (self.dir / 'out').iterdir()})

    def test_what_will_be_refused_again_is_not_advised(self):
        for code, reason, again in ((EXHAUSTED, 'BATCH_FULL', False), (INVALID, 'INVALID_FIELD', False),
                                    (EXHAUSTED, 'TOO_MUCH_IN_FLIGHT', True)):
            with self.subTest(reason=reason):
                self.service.plan['Provision'] = [fake.fail(code, reason)]
                self.provision(3, out=reason, code=65 if code == INVALID else 1)
                self.assertEqual('the same command again goes on' in self.err, again, self.err)
                self.assertEqual('another request takes another folder' in self.err, not again)

    def test_other_request_in_the_same_folder_is_refused(self):
        self.provision(2, '--request-id', 'mine')
        self.assertEqual(list(self.service.requests), ['mine'])
        self.provision(3, code=1)
        self.assertIn('OTHER_REQUEST', self.err)
        self.provision(2, '--request-id', 'yours', code=1)
        (self.dir / 'serials').write_text('a\nb\n')
        self.provision(2, '--hw-serials', self.dir / 'serials', code=1)
        self.assertEqual(self.service.calls('Provision'), 1)
        (self.dir / 'out/request.json').write_text('{}')
        self.provision(2, code=70)
        self.assertIn('request.json', self.err)

    def test_files_that_differ_are_never_overwritten(self):
        self.provision(3)
        uid = self.lines()[0]['device_uid']
        crt = self.dir / 'out' / f'{uid}.crt'
        content = crt.read_bytes()
        crt.write_bytes(b'another')
        self.provision(3, code=1)
        self.assertIn(f'{uid}.crt: exists already', self.err)
        self.assertEqual(crt.read_bytes(), b'another')
        crt.write_bytes(content[:100])  # as a power failure may leave it
        self.provision(3)
        self.assertEqual(crt.read_bytes(), content)
        crt.unlink()
        crt.symlink_to('/etc/passwd')
        self.provision(3, code=1)

    def test_folder_in_use(self):
        self.provision(1)
        import fcntl
        fd = os.open(self.dir / 'out', os.O_RDONLY)
        fcntl.flock(fd, fcntl.LOCK_EX)
        self.provision(1, code=1)
        self.assertIn('FOLDER_BUSY', self.err)
        os.close(fd)

    def test_disk_trouble_ends_the_call(self):
        self.provision(1, out='missing/out', code=1)
        self.assertIn('missing/out', self.err)
        (self.dir / 'out').mkdir()
        (self.dir / 'out/chain.pem').mkdir()
        self.provision(1, code=1)
        self.assertIn('chain.pem', self.err)

    def test_hostile_deliveries(self):
        def bundle(**fields):
            def change(message):
                for key, value in fields.items():
                    setattr(message.bundles[0], key, value)
            return change

        def item(**fields):
            base = {'name': 'x', 'size': 1, 'sha256': fake.sha256(b'x'), 'content': b'x'}
            return lambda message: message.items.add(**{**base, **fields})

        def same_twice(message):
            message.bundles.add().CopyFrom(self.service.device(1, ''))
        changes = [
            bundle(device_uid='../../../tmp/evil'), bundle(device_uid=''),
            bundle(device_uid='0192F0C1-0000-7000-8000-000000000000'),
            bundle(batch_uid='other'), bundle(certificate=b''), bundle(csr=b'x'),
            bundle(certificate=b'x' * 9000), bundle(key_delivery=0), bundle(key_delivery=9),
            bundle(private_key=b''), bundle(key_delivery=2),
            lambda m: m.ClearField('key_wrap'), lambda m: m.chain.extend([b'x'] * 9),
            lambda m: m.chain.append(b''),
            item(name='../x'), item(name='.x'), item(sha256=b''), item(content=b'y'),
            item(size=2), lambda m: [item(name=f'i{i}')(m) for i in range(17)],
            same_twice,
        ]
        for number, change in enumerate(changes):
            self.service.change = change
            with self.subTest(number):
                answer = self.provision(1, out=f'out{number}', code=70)
                self.assertEqual(answer['error']['status'], 'DATA_LOSS')
                self.assertFalse((self.dir / f'out{number}/devices.jsonl').exists())
        self.assertEqual(sorted(p.name for p in self.dir.iterdir()),
                         sorted([f'out{n}' for n in range(len(changes))] + ['station.conf']))

    def test_stream_that_ends_too_early(self):
        self.service.plan['Provision'] = [
            lambda s, c: (s.Provision(c, stop_after=1), c.end())]
        self.provision(100, code=70)
        self.assertIn('after 64 of 100', self.err)

    def test_progress_on_a_terminal_only(self):
        self.assertEqual(self.provision(65)['count'], 65)
        self.assertEqual(self.err, '')
        master, slave = pty.openpty()
        process = subprocess.Popen(
            [MINTMARK, '--site', self.site, 'provision', '--batch', self.service.batch, '--count',
             '300', '--out', self.dir / 'shown'], stdout=subprocess.PIPE, stderr=slave,
            env=ENVIRONMENT)
        os.close(slave)
        process.communicate(timeout=60)
        self.assertEqual(process.returncode, 0)
        shown = os.read(master, 65536).decode()
        os.close(master)
        self.assertRegex(shown, r'\[#* *\] \d+ of 300, \d+/s, \d+:\d\d left')
        self.assertTrue(shown.endswith('\r\x1b[K'))

    def test_interrupt(self):
        self.service.plan['Provision'] = [
            lambda s, c: (s.Provision(c, stop_after=1), fake.hang(s, c))]
        process = self.start('provision', '--batch', self.service.batch, '--count', '100', '--out',
                             self.dir / 'out')
        end = time.monotonic() + 20
        while time.monotonic() < end and len(list(self.dir.glob('out/*.crt'))) < 64:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
        self.assertEqual(process.returncode, -signal.SIGINT)
        self.assertIn('CANCELLED', err)
        self.assertIn('64 of 100 devices are in', err)
        end = time.monotonic() + 10
        while time.monotonic() < end and ('reset', 8) not in self.service.notes:
            time.sleep(0.02)
        self.assertIn(('reset', 8), self.service.notes)
        self.provision(100)
        self.assert_all_there(100)


class Connections(ClientTest):
    open_batch = ['batch', 'open', '--name', 'n', '--profile', 'p', '--device-type', 't',
                  '--quantity', 1]

    def test_refused_stream_is_repeated(self):
        self.service.plan['OpenBatch'] = [fake.reset(7)]
        self.run_command(*self.open_batch)
        self.assertEqual(self.service.calls('OpenBatch'), 2)

    def test_goaway_below_the_call_is_repeated(self):
        self.service.plan['OpenBatch'] = [lambda s, c: c.goaway(0)]
        self.run_command(*self.open_batch)
        self.assertEqual(self.service.calls('OpenBatch'), 2)
        self.assertEqual(self.service.notes.count('connection'), 2)

    def test_goaway_above_the_call_lets_it_finish(self):
        def act(service, call):
            call.start()
            service.Provision(call, stop_after=1)
            call.connection.sock.sendall(  # h2 would send nothing after its own GOAWAY
                b'\0\0\x08\x07\0\0\0\0\0' + call.stream.to_bytes(4, 'big') + bytes(4))
            for number, message in enumerate(service.deliveries(service.recorded(call))):
                if number >= 1:
                    call.message(message)
            call.end()
        self.service.plan['Provision'] = [act]
        self.provision(200)
        self.assert_all_there(200)
        self.assertEqual(self.service.calls('Provision'), 1)

    def test_call_that_may_have_been_processed_is_not_repeated(self):
        self.service.plan['OpenBatch'] = [fake.cut]
        self.run_command(*self.open_batch, code=69)
        self.assertEqual(self.service.calls('OpenBatch'), 1)
        self.service.plan['OpenBatch'] = [fake.fail(UNAVAILABLE, 'STORE_UNAVAILABLE')]
        self.run_command(*self.open_batch, code=69)
        self.assertEqual(self.service.calls('OpenBatch'), 2)

    def test_reads_are_repeated(self):
        self.service.plan['GetBatch'] = [fake.cut, fake.fail(UNAVAILABLE, 'STORE_UNAVAILABLE')]
        self.run_command('batch', 'show', self.service.batch)
        self.assertEqual(self.service.calls('GetBatch'), 3)

    def test_ping_is_not_repeated(self):
        self.service.plan['Ping'] = [fake.cut]
        self.run_command('ping', code=69)
        self.assertEqual(self.service.calls('Ping'), 1)

    def test_retry_waits_as_it_is_told(self):
        self.service.plan['GetBatch'] = [fake.fail(UNAVAILABLE, 'DRAINING', retry_s=0.9)]
        self.run_command('batch', 'show', self.service.batch)
        first, second = [t for t, n in zip(self.service.times, self.service.notes)
                         if n == ('call', 'GetBatch')]
        self.assertGreaterEqual(second - first, 0.9)
        self.service.plan['GetBatch'] = [fake.fail(UNAVAILABLE, 'DRAINING', retry_s=3600)]
        error = self.run_json('batch', 'show', self.service.batch, code=69)['error']
        self.assertEqual(error['retry_ms'], 3600000)
        self.service.plan['GetBatch'] = [
            lambda s, c: c.end(UNAVAILABLE, 'no', more=[('grpc-retry-pushback-ms', '-1')])]
        self.run_command('batch', 'show', self.service.batch, code=69)

    def test_bad_answers(self):
        def answer(*steps):
            def act(service, call):
                for step in steps:
                    step(call)
            return act
        ping = messages[0].PingResponse(ready=True).SerializeToString()
        cases = [
            (answer(lambda c: c.message(ping), lambda c: c.end('banana')), 70),
            (answer(lambda c: c.message(ping), lambda c: c.end('099')), 70),
            (answer(lambda c: c.raw(b'\0\0\0\0\x50abc'), lambda c: c.end()), 70),
            (answer(lambda c: c.raw(b'\0\0\0'), lambda c: c.end()), 70),
            (answer(lambda c: c.raw(b'\2\0\0\0\0'), lambda c: c.end()), 70),
            (answer(lambda c: c.raw(b'\1\0\0\0\1x'), lambda c: c.end()), 70),
            (answer(lambda c: c.raw(b'\0\xff\xff\xff\xff')), 1),
            (answer(lambda c: c.message(b'\xff\xff')), 70),
            (answer(lambda c: c.message(b'\x12\x02\xc3\x28')), 70),
            (answer(lambda c: c.message(ping), lambda c: c.message(ping), lambda c: c.end()), 70),
            (answer(lambda c: c.end()), 70),
            (answer(lambda c: c.message(ping),
                    lambda c: c.connection.h2.end_stream(c.stream),
                    lambda c: c.connection.flush()), 70),
            (answer(lambda c: c.start(('grpc-encoding', 'deflate')), lambda c: c.end()), 70),
            (answer(lambda c: c.connection.h2.send_headers(
                c.stream, [(':status', '404'), ('content-type', 'text/html')], end_stream=True),
                lambda c: c.connection.flush()), 70),
            (answer(lambda c: c.connection.sock.sendall(b'\0\0\x01\0\0\0\0\0\0x')), 70),
            (answer(lambda c: c.connection.sock.sendall(b'HTTP/1.1 400 Bad Request\r\n\r\n')), 70),
            (answer(lambda c: c.reset(2)), 70),
        ]
        for number, (act, code) in enumerate(cases):
            self.service.plan['Ping'] = [act]
            with self.subTest(number):
                self.run_command('--timeout', 5, 'ping', code=code)
                self.assertEqual(len(self.err.splitlines()), 1, self.err)

    def test_message_of_the_service_cannot_steer_the_terminal(self):
        self.service.plan['Ping'] = [lambda s, c: c.end(PRECONDITION, '%1B[2J%0Aroot%C2%9B')]
        self.run_command('ping', code=1)
        self.assertEqual(self.err, 'mintmark ping: ?[2J?root??\n')

    def test_server_certificate_is_checked(self):
        self.run_command('ping', '--ca', shared / 'stranger-ca.pem', code=77)
        self.assertIn('SERVER_CERTIFICATE', self.err)
        self.run_command('ping', '--server-name', 'elsewhere.test', code=77)
        self.assertIn('mismatch', self.err)
        self.run_command('ping', '--server-name', 'mintmark.test')
        self.serve(certificate='elsewhere')
        self.run_command('ping', code=77)
        self.run_command('ping', '--server-name', 'elsewhere.test')

    def test_client_certificate_is_refused(self):
        self.run_command('ping', '--certificate', shared / 'stranger.pem', '--key',
                         shared / 'stranger.key', code=77)
        self.assertIn('CLIENT_CERTIFICATE', self.err)
        self.run_command('ping', '--key', shared / 'stranger.key', code=78)

    def test_old_tls_and_other_protocols(self):
        self.serve(tls=ssl.TLSVersion.TLSv1_2)
        self.run_command('ping', code=69)
        self.serve(alpn=('http/1.1',))
        self.run_command('ping', code=69)
        self.serve(alpn=())
        self.run_command('ping', code=69)
        self.assertIn('NO_HTTP2', self.err)

    def test_nobody_listens(self):
        self.service.close()
        self.run_command('ping', code=69)
        self.assertIn('CONNECT_FAILED', self.err)

    def test_interrupt_while_waiting_to_try_again(self):
        self.service.plan['GetBatch'] = [fake.fail(UNAVAILABLE, 'DRAINING', retry_s=30)]
        process = self.start('batch', 'show', self.service.batch)
        end = time.monotonic() + 20
        while time.monotonic() < end and not self.service.calls('GetBatch'):
            time.sleep(0.02)
        time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=10)
        self.assertEqual(process.returncode, -signal.SIGTERM)


class Unwrap(unittest.TestCase):
    """Wrapped by OpenSSL's command and by python3-cryptography."""

    def setUp(self):
        try:
            from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding
        except ImportError:
            self.skipTest('python3-cryptography is missing')
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix='mintmark-client.'))
        self.addCleanup(shutil.rmtree, self.dir)
        transport_key = bytes(range(0x40, 0x60))
        self.openssl('genpkey', '-algorithm', 'RSA', '-out', 'recipient.key')
        spki = self.openssl('pkey', '-in', 'recipient.key', '-pubout', '-outform', 'DER')
        self.openssl('pkey', '-in', 'recipient.key', '-pubout', '-out', 'recipient.pem')
        wrapped = self.openssl('pkeyutl', '-encrypt', '-pubin', '-inkey', 'recipient.pem',
                               '-pkeyopt', 'rsa_padding_mode:oaep', data=transport_key)
        (self.dir / 'export.json').write_text(json.dumps({
            'format': 'mintmark-transport-key', 'version': 1, 'transport_key': 'line-a',
            'algorithm': 'AES-256-KWP', 'check_value': '944b28e65d009105',
            'recipient_sha256': fake.sha256(spki).hex(), 'wrap': 'RSA-OAEP-SHA1',
            'wrapped_key': wrapped.hex()}))
        self.key = self.openssl('genpkey', '-algorithm', 'EC', '-pkeyopt',
                                'ec_paramgen_curve:P-256', '-outform', 'DER')
        (self.dir / 'in').write_bytes(aes_key_wrap_with_padding(transport_key, self.key))

    def openssl(self, *args, data=None):
        return subprocess.run(['openssl', *args], cwd=self.dir, input=data, check=True,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout

    def unwrap(self, name, to, code=0):
        done = subprocess.run(
            [MINTMARK, 'unwrap', '--json', '--transport-key', self.dir / 'export.json',
             '--recipient-key', self.dir / 'recipient.key', self.dir / name, self.dir / to],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT)
        self.assertEqual(done.returncode, code, done.stderr)
        return json.loads(done.stdout)

    def test_unwrap(self):
        answer = self.unwrap('in', 'out')
        self.assertEqual((self.dir / 'out').read_bytes(), self.key)
        self.assertEqual(answer, {'out': str(self.dir / 'out'), 'bytes': len(self.key)})
        self.assertEqual(stat.S_IMODE((self.dir / 'out').stat().st_mode), 0o600)
        # Never over something that is there.
        self.assertEqual(self.unwrap('in', 'out', code=1)['error']['reason'], 'FILE_EXISTS')

    def test_unwrap_what_was_not_wrapped_so(self):
        damaged = bytearray((self.dir / 'in').read_bytes())
        damaged[-1] ^= 1
        for content in (damaged, b'', b'short', bytes(40000)):
            (self.dir / 'bad').write_bytes(content)
            self.unwrap('bad', 'out', code=1 if len(content) > 32768 else 65)
            self.assertFalse((self.dir / 'out').exists())
        self.unwrap('missing', 'out', code=1)


@unittest.skipUnless(shutil.which('valgrind') and not os.environ.get('MINTMARK_SANITIZED'),
                     'valgrind is missing, or a sanitizer is in its way')
class Valgrind(ClientTest):
    def test_provision_with_a_cut_leaks_nothing(self):
        self.service.plan['Provision'] = [fake.cut_after(1)]
        done = subprocess.run(
            ['valgrind', '-q', '--error-exitcode=99', '--leak-check=full', MINTMARK, '--site',
             self.site, 'provision', '--batch', self.service.batch, '--count', '130', '--out',
             self.dir / 'out'], capture_output=True, text=True, env=ENVIRONMENT, timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assert_all_there(130)


if __name__ == '__main__':
    unittest.main()
