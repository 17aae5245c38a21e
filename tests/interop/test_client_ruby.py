#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""libmintmark as gRPC's interoperability client (testclient), against two servers over TLS: our own
test server, every case; and one on Debian's ruby-grpc (C-core, ruby_server.rb), every case but the
questions whether the server looks at compression, which C-core does not tell it."""
import os
import pathlib
import shutil
import subprocess
import sys
import unittest

from harness import ROOT, Server

LIMIT_S = 60
CLIENT = pathlib.Path(os.environ.get('MINTMARK_BUILD', ROOT / 'build')) / 'tests/interop/testclient'
# They ask first whether the server refuses a message for its not being compressed.
PROBES = {'client_compressed_unary', 'client_compressed_streaming'}


def skip(why):
    print(f'skipped: {why}')
    sys.exit(77)


def find(end):
    """ruby-grpc's file whose path ends so."""
    listing = subprocess.run(['dpkg', '-L', 'ruby-grpc'], capture_output=True, text=True,
                             check=False)
    return next((p for p in listing.stdout.split() if p.endswith(end)), None)


if not shutil.which('ruby') or not shutil.which('dpkg'):
    skip('no ruby, or no dpkg')
PB = find('/pb/test/client.rb')
DATA = find('/spec/testdata/server1.pem')
if not PB or not DATA:
    skip('the package ruby-grpc is not here, or has no messages for the tests')
PB = pathlib.Path(PB).parent.parent
DATA = pathlib.Path(DATA).parent
if subprocess.run(['ruby', '-e', 'require "grpc"'], capture_output=True, check=False).returncode:
    skip('Ruby does not load grpc')


def cases():
    listing = subprocess.run([CLIENT, '--list'], stdout=subprocess.PIPE, text=True, check=True)
    return listing.stdout.split()


class Client(unittest.TestCase):
    def run_cases(self, port, names):
        """All on one connection, and then each on its own."""
        command = [CLIENT, '--target', f'127.0.0.1:{port}', '--ca', DATA / 'ca.pem',
                   '--server-name', 'foo.test.google.fr']
        for run in [names] + [[name] for name in names]:
            with self.subTest(run[0] if len(run) == 1 else 'all'):
                done = subprocess.run(command + run, capture_output=True, text=True,
                                      timeout=LIMIT_S, check=False)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertEqual(done.stdout.split('\n')[:-1], [f'OK: {name}' for name in run])

    def test_our_server(self):
        with Server('--cert', DATA / 'server1.pem', '--key', DATA / 'server1.key') as server:
            self.run_cases(server.port, cases())
            server.stop()

    def test_ruby_server(self):
        server = subprocess.Popen(['ruby', ROOT / 'tests/interop/ruby_server.rb', PB,
                                   DATA / 'server1.pem', DATA / 'server1.key'],
                                  stdout=subprocess.PIPE, text=True)
        try:
            port = server.stdout.readline().strip()
            self.assertTrue(port.isdigit())
            self.run_cases(port, [name for name in cases() if name not in PROBES])
        finally:
            server.terminate()
            server.wait(LIMIT_S)
            server.stdout.close()


if __name__ == '__main__':
    unittest.main()
