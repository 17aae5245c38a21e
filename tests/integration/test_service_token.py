#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The main road of the whole service on whichever token MINTMARK_TEST_TOKEN names: a thousand
identities, opened and verified by mintmark-verify; requests; a signature; a restart that gives the same
devices; and what the officer's tool says of the token."""
import json
import os
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'support'))

from token_kind import KIND  # noqa: E402  first: it may become another user
from site_under_test import OFFICER, Site, run  # noqa: E402

COUNT = 1000
LACKS = {'softokn': {'transport key to EC'}}.get(KIND, set())
# NSS 3.87 has no Ed25519, 3.110 has; no token of ours has ML-DSA.
MAY_LACK = {'ML-DSA'} | {'softokn': {'Ed25519'}}.get(KIND, set())


class OnThisToken(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.site = Site(workers=2).__enter__()
        cls.addClassCleanup(cls.site.__exit__, None)
        cls.site.start()

    def provision(self, batch, count, name):
        out = self.site.base / name
        self.site.station('provision', '--batch', batch, '--count', count, '--out', out)
        return out

    def test_mint_sign_request_and_restart(self):
        for profile in 'dac', 'csr':
            self.site.add_order(f'order-{profile}', 2 * COUNT, profile=profile)
        batch = self.site.open_batch(COUNT)
        made = self.provision(batch, COUNT, 'made')
        self.site.verify(made, COUNT)
        requests = self.provision(self.site.open_batch(50, profile='csr'), 50, 'requests')
        files = sorted(requests.rglob('*.csr*'))
        self.assertEqual(len(files), 50, list(requests.iterdir())[:5])
        run('openssl', 'req', '-inform', 'DER', '-in', files[0], '-verify', '-noout')
        self.check_signature()
        self.assertEqual(self.site.stop(), 0)
        self.site.start()
        self.assertEqual(self.site.station('batch', 'show', batch)['counts']['issued'], COUNT)
        certificates = sorted(made.glob('????????-*.cert.*')) or sorted(made.glob('????????-*'))
        uid, again = certificates[0].name[:36], self.site.base / 'again'
        self.site.station('device', 'get', uid, '--out', again)
        self.assertEqual((again / certificates[0].name).read_bytes(), certificates[0].read_bytes())
        self.check_signature()

    def check_signature(self):
        firmware, signature = self.site.base / 'firmware.bin', self.site.base / 'firmware.sig'
        firmware.write_bytes(os.urandom(100000))
        signature.unlink(missing_ok=True)
        self.site.station('sign', '--profile', 'firmware', '--mechanism', 'ECDSA-SHA256',
                          '--signature', signature, firmware)
        run('openssl', 'dgst', '-sha256', '-verify', self.site.dir / 'firmware.pub', '-signature',
            signature, firmware)

    def test_the_tool_says_what_the_token_lacks(self):
        answer = json.loads(run(OFFICER, 'token', 'test', '--json', '--config', self.site.conf))
        lines = {o['operation']: o for o in answer['operations']}
        lacking = {n for n, o in lines.items() if not o['supported']}
        self.assertEqual(lacking - MAY_LACK, LACKS)
        for name in lacking:
            self.assertIn('the token lacks ', lines[name]['note'])
        self.assertTrue(all(o['passed'] for o in lines.values() if o['supported']), lines)


if __name__ == '__main__':
    unittest.main(verbosity=2)
