#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""mintmark as people meet it at a terminal: bad input, full disks, output that goes nowhere, signals."""
import os
import subprocess
import sys
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

    # -- disks -------------------------------------------------------------------------------------

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


if __name__ == '__main__':
    unittest.main()
