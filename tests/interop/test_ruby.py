#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""gRPC's own interoperability client, the Ruby one that Debian's ruby-grpc brings along (C-core),
against the test server over TLS: every case that it has and that needs no foreign service
(grpc/grpc doc/interop-test-descriptions.md)."""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

from harness import Server

LIMIT_S = 60
# They need credentials of Google's, or its test service behind a proxy.
FOREIGN = {'cacheable_unary', 'compute_engine_creds', 'google_default_credentials',
           'jwt_token_creds', 'oauth2_auth_token', 'per_rpc_creds', 'service_account_creds'}
# What this client must have, so that a renamed case does not drop out unseen.
EXPECTED = {'cancel_after_begin', 'cancel_after_first_response', 'client_compressed_streaming',
            'client_compressed_unary', 'client_streaming', 'custom_metadata', 'empty_stream',
            'empty_unary', 'large_unary', 'ping_pong', 'server_streaming', 'status_code_and_message',
            'timeout_on_sleeping_server', 'unimplemented_method', 'unimplemented_service'}


def skip(why):
    print(f'skipped: {why}')
    sys.exit(77)


def find(package, end):
    """The package's file whose path ends so."""
    listing = subprocess.run(['dpkg', '-L', package], capture_output=True, text=True, check=False)
    return next((p for p in listing.stdout.split() if p.endswith(end)), None)


if not shutil.which('ruby') or not shutil.which('dpkg'):
    skip('no ruby, or no dpkg')
CLIENT = find('ruby-grpc', '/pb/test/client.rb')
DATA = find('ruby-grpc', '/spec/testdata/server1.pem')
if not CLIENT or not DATA:
    skip('the package ruby-grpc is not here, or has no interoperability client')
DATA = pathlib.Path(DATA).parent
loads = subprocess.run(['ruby', '-e', 'require "grpc"; require "googleauth"'], capture_output=True,
                       text=True, check=False)
if loads.returncode != 0:
    skip(f'Ruby does not load grpc and googleauth: {loads.stderr.strip().splitlines()[:1]}')


def cases():
    """The methods of the client's class NamedTests are its cases."""
    text = pathlib.Path(CLIENT).read_text(encoding='utf-8')
    body = text[text.index('class NamedTests'):]
    body = body[:body.index('  private')]
    return set(re.findall(r'^  def (?!initialize)([a-z_]\w*)$', body, re.M)) - FOREIGN - {'all'}


class Ruby(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server('--cert', DATA / 'server1.pem', '--key', DATA / 'server1.key')

    @classmethod
    def tearDownClass(cls):
        with cls.server:
            cls.server.stop()

    def test_cases(self):
        found = cases()
        self.assertLessEqual(EXPECTED, found)
        for case in sorted(found):
            with self.subTest(case), tempfile.TemporaryFile('w+') as output:
                done = subprocess.run(
                    ['ruby', CLIENT, '--server_host', '127.0.0.1',
                     '--server_port', str(self.server.port), '--use_tls', 'true',
                     '--use_test_ca', 'true', '--server_host_override', 'foo.test.google.fr',
                     '--test_case', case],
                    stdout=output, stderr=output, timeout=LIMIT_S, check=False)
                output.seek(0)
                text = output.read()
                self.assertEqual(done.returncode, 0, text)
                self.assertIn(f'OK: {case}', text)


if __name__ == '__main__':
    unittest.main()
