#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""mintmark as people meet it at a terminal: bad input, full disks, output that goes nowhere, signals."""
import json
import os
import signal
import subprocess
import sys
import threading
import unittest

try:
    import google.protobuf  # noqa: F401
    import client_fake as fake
    import test_client
except ImportError as missing:
    print(f'skipped: {missing}')
    sys.exit(77)

INVALID, NOT_FOUND = 3, 5
setUpModule, tearDownModule = test_client.setUpModule, test_client.tearDownModule


class Terminal(test_client.ClientTest):
    def shell(self, script, *args):
        """Runs a script whose "$@" is mintmark with these arguments; its status."""
        done = subprocess.run(
            ['sh', '-c', script, 'sh', test_client.MINTMARK, '--site', self.site, *map(str, args)],
            capture_output=True, text=True, env=test_client.ENVIRONMENT, timeout=60)
        self.out, self.err = done.stdout, done.stderr
        return done.returncode

    # -- bad input ---------------------------------------------------------------------------------

    def test_empty_value_is_no_value(self):
        for option in ('--out', '--batch', '--count'):
            args = ['provision', '--batch', self.service.batch, '--count', '1', '--out', self.dir / 'out']
            args[args.index(option) + 1] = ''
            self.run_command(*args, code=64)
            self.assertEqual(self.err, f'mintmark provision: {option} is empty (USAGE)\n')
        self.run_command('batch', 'list', '--site=', code=64)
        self.assertEqual(self.service.notes, [])

    def test_field_is_named_once(self):
        for message in ('batch_uid%20takes%20a%20UUID', 'takes%20a%20UUID', 'batch_uids%20differ'):
            self.service.plan['GetBatch'] = [fake.fail(INVALID, 'INVALID_FIELD', message, 'batch_uid')]
            error = self.run_json('batch', 'show', 'x', code=65)['error']
            self.assertEqual((error['field'], error['message']), ('batch_uid', message.replace('%20', ' ')))
            self.assertEqual(self.err.count('batch_uid'), 2 if 'differ' in message else 1, self.err)

    def test_key_with_a_passphrase_is_called_so(self):
        key = self.dir / 'encrypted.key'
        subprocess.run(['openssl', 'pkey', '-in', test_client.shared / 'station.key', '-aes128', '-passout',
                        'pass:x', '-out', key], check=True)
        self.run_command('ping', '--key', key, code=78)
        self.assertIn('encrypted.key: has a passphrase; a key that is not encrypted is needed', self.err)
        (self.dir / 'in').write_bytes(b'x' * 40)
        (self.dir / 'export.json').write_text('{}')
        self.run_command('unwrap', '--transport-key', self.dir / 'export.json', '--recipient-key', key,
                         self.dir / 'in', self.dir / 'out', code=65)

    def test_folder_that_cannot_be_made(self):
        self.provision(1, out='missing/out', code=1)
        self.assertIn('missing/out: cannot make the folder: No such file or directory', self.err)

    def test_error_names_the_file_and_not_what_stands_in_for_it(self):
        (self.dir / 'out/.request.json.tmp').mkdir(parents=True)
        self.provision(1, code=1)
        self.assertIn('out/request.json: Is a directory', self.err)

    def test_failed_command_leaves_no_empty_folder(self):
        out = self.dir / 'out'
        commands = (['device', 'get', 'x'], ['provision', '--batch', self.service.batch])
        for there in (False, True):
            for command in commands:
                self.service.plan['GetProvisioningData'] = [fake.fail(NOT_FOUND, 'UNKNOWN_DEVICE')]
                self.run_command(*command, '--out', out, code=65 if command is commands[1] else 1)
                self.assertEqual(out.exists(), there)
            out.mkdir(exist_ok=True)  # one that was there before stays

    def test_what_to_do_next_is_said(self):
        out = self.dir / 'out'
        out.mkdir()
        (out / 'devices.jsonl').write_text('mine\n')  # all can be there but the list
        self.provision(3, code=1)
        self.assertIn('3 of 3 devices are in the folder; once that file is elsewhere, the same command again goes on',
                      self.err)
        (out / 'devices.jsonl').unlink()
        self.provision(3)
        self.assert_all_there(3)

    def test_how_much_of_a_large_report_was_taken_is_said(self):
        self.provision(1)
        uid = self.lines()[0]['device_uid']
        (self.dir / 'r.jsonl').write_text((json.dumps({'device_uid': uid, 'state': 'OK'}) + '\n') * 10001)
        report = ['device', 'report', '--batch', self.service.batch, '--file', self.dir / 'r.jsonl']
        self.service.plan['ReportDevices'] = [None, fake.fail(NOT_FOUND, 'UNKNOWN_DEVICE')]
        self.run_command(*report, code=1)
        self.assertIn('10000 of 10001 are reported; reporting them again does no harm', self.err)
        self.assertIn('10001 reported', self.run_command(*report))

    # -- output ------------------------------------------------------------------------------------

    def test_result_that_cannot_be_written(self):
        self.assertEqual(self.shell('exec "$@" >/dev/full', 'ping'), 1)
        self.assertEqual(self.err, 'mintmark: cannot write the result: No space left on device\n')

    def long_lists(self):
        """Two pages, each longer than a buffer of stdio."""
        def answer(service, call):
            last = service.pb.ListBatchesRequest.FromString(call.data).page_token == 'next'
            service.reply(call, service.pb.ListBatchesResponse(
                batches=[service.the_batch()] * 100, next_page_token='' if last else 'next'))
        self.service.plan['ListBatches'] = [answer, answer]

    def test_closed_descriptors_do_not_become_the_connection(self):
        for closed in ('<&- >&-', '<&- >&- 2>&-', '>&-'):
            with self.subTest(closed):
                self.long_lists()
                before = self.service.calls('ListBatches')
                self.assertEqual(self.shell(f'exec "$@" {closed}', 'batch', 'list'), 1)
                self.assertEqual(self.service.calls('ListBatches') - before, 2)
                if '2>' not in closed:
                    self.assertEqual(self.err, 'mintmark: cannot write the result: Bad file descriptor\n')
        self.assertEqual(self.shell('exec "$@" <&-', 'ping'), 0)

    def test_nobody_reads_the_result(self):
        read, write = os.pipe()
        os.close(read)
        process = subprocess.Popen(
            [test_client.MINTMARK, '--site', self.site, 'provision', '--batch', self.service.batch, '--count',
             '100', '--out', self.dir / 'out'], stdout=write, env=test_client.ENVIRONMENT)
        os.close(write)
        self.assertEqual(process.wait(60), -signal.SIGPIPE)
        self.assert_all_there(100)

    # -- disks and signals -------------------------------------------------------------------------

    def test_full_disk(self):
        """A small file system in a mount namespace of the test's own."""
        alone = ['unshare', '-m' if os.getuid() == 0 else '-rm']
        disk = self.dir / 'disk'
        disk.mkdir()
        if subprocess.run([*alone, 'mount', '-t', 'tmpfs', 'none', disk], capture_output=True).returncode:
            self.skipTest('nothing can be mounted here')
        script = '''
            mount -t tmpfs -o size=200k none "$DISK" || exit 99
            "$@"; echo "first $?"
            ls -a "$DISK/out"
            mount -o remount,size=10m "$DISK" || exit 99
            "$@"; echo "second $?"
            cp -r "$DISK/out" "$DISK/../out"'''
        done = subprocess.run(
            [*alone, 'sh', '-c', script, 'sh', test_client.MINTMARK, '--site', self.site, 'provision', '--batch',
             self.service.batch, '--count', '100', '--out', disk / 'out'], capture_output=True, text=True,
            env=dict(test_client.ENVIRONMENT, DISK=str(disk)), timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn('first 1\n', done.stdout)
        self.assertIn('second 0\n', done.stdout)
        first = done.stdout.partition('second')[0].splitlines()
        self.assertEqual([name for name in first if name.endswith('.tmp') or name == 'devices.jsonl'], [])
        self.assertRegex(done.stderr, r'No space left on device \(SYSTEM_ERROR\)\n.* of 100 devices are in .*; '
                                      'the same command again goes on\n$')
        self.assert_all_there(100)
        self.assertEqual(len(self.service.requests), 1)

    def test_report_that_does_not_fit(self):
        out = self.dir / 'out'
        report = os.urandom(200000)
        info = self.service.pb.ReportInfo(size=len(report), sha256=fake.sha256(report), signature=b'signed')

        def answer(service, call):
            call.message(service.pb.GetReportResponse(info=info).SerializeToString())
            for at in range(0, len(report), 50000):
                call.message(service.pb.GetReportResponse(data=report[at:at + 50000]).SerializeToString())
            call.end()
        limit = 'ulimit -f 100; trap "" XFSZ; exec "$@"'
        for command in (['batch', 'release', self.service.batch], ['report', self.service.batch]):
            self.service.plan['GetReport'] = [answer]
            self.assertEqual(self.shell(limit, *command, '--out', out), 1)
            self.assertIn('out/report.json: write: File too large', self.err)
            self.assertFalse(out.exists())  # nothing is left of what was begun
            if command[0] == 'batch':
                self.assertIn('order used   4711 of 10000', self.out)
                self.assertIn(f'the batch is released; mintmark report {self.service.batch} --out DIR', self.err)

    def test_ignored_interrupt_stays_ignored(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            called, go_on = threading.Event(), threading.Event()

            def wait(service, call):
                called.set()
                go_on.wait(20)
                service.GetBatch(call)
            self.service.plan['GetBatch'] = [wait]
            process = self.start('batch', 'show', '--json', self.service.batch,
                                 preexec_fn=lambda: signal.signal(number, signal.SIG_IGN))
            self.assertTrue(called.wait(20))
            process.send_signal(number)
            go_on.set()
            out, err = process.communicate(timeout=20)
            self.assertEqual((process.returncode, err), (0, ''))
            self.assertEqual(json.loads(out)['batch_uid'], self.service.batch)


if __name__ == '__main__':
    unittest.main()
