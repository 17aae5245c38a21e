#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A token that is waited for, as an HSM across a network is: how many workers it gets, and whether all of
its sessions are at work at the same time. Loads by the clock are tools/bench's."""
import json
import os
import pathlib
import re
import struct
import sys
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'support'))

import token_kind  # noqa: E402

token_kind.only_softhsm('the token is another one')
from prometheus_text import read_page  # noqa: E402
from remote_hsm import RemoteHsm  # noqa: E402
from service_site import WAIT_S, Client, types_pb2  # noqa: E402
from site_under_test import OFFICER, Site, run  # noqa: E402

CALL_US = 2000  # long enough that what else a worker does is little beside it
COUNTS_BYTES = 16  # before the first struct holder of tests/remote/remote.c


class Remote(unittest.TestCase):
    def start(self, workers=0, **hsm):
        self.site = Site(workers=1)
        self.addCleanup(self.site.__exit__, None, None, None)
        self.hsm = RemoteHsm(self.site, workers=workers, **{'call_us': 0, 'sessions': 8, **hsm})
        self.site.configure('metrics { port = 0 }')
        return self.site

    def run_service(self):
        self.site.start()
        self.metrics = int(re.findall(r'event=metrics_listening .*port=(\d+)', self.site.log.read_text())[-1])

    def ready(self):
        return read_page(self.metrics)('mintmark_token_workers_ready', token='hsm')

    def wait_ready(self, workers):
        end = time.monotonic() + WAIT_S
        while self.ready() != workers:
            self.assertLess(time.monotonic(), end, f'{self.ready()} workers\n{self.site.log_tail(40)}')
            time.sleep(0.05)

    def settle(self, workers):
        """Ready, and no more to come: one that is being started would be told of by GetStatus."""
        self.wait_ready(workers)
        status = [w for w in run_status(self.site) if w['name'].startswith('token.hsm')]
        self.assertEqual(len(status), workers)

    def client(self):
        users = type('Users', (), {'dir': self.site.dir / 'tls', 'port': self.site.port})
        client = Client(users, 'station')
        self.addCleanup(client.channel.close)
        return client

    def open_batch(self):
        self.site.add_order('order', 100000, profile='remote')
        return self.site.open_batch(100000, 'remote', order='order')

    def test_all_sessions_work_at_once_and_a_single_call_gets_through(self):
        self.start(call_us=CALL_US)
        self.run_service()
        self.settle(7)  # of 8 sessions one is left over
        batch, client = self.open_batch(), self.client()
        client.provision(batch, 4, 'warm')
        self.hsm.forget_counts()
        bundles = []
        bulk = threading.Thread(target=lambda: bundles.extend(client.provision(batch, 400, 'bulk')))
        bulk.start()
        while self.hsm.counts()[1] < 7 and bulk.is_alive():
            time.sleep(0.01)
        single = self.client().provision(batch, 1, 'single', timeout=WAIT_S)
        self.assertTrue(bulk.is_alive(), 'the single call waited for all of the bulk')
        bulk.join()
        calls, busy, _ = self.hsm.counts()
        self.assertEqual(busy, 7)
        # Nothing is called but for devices, and little for each chunk of them.
        self.assertLess(calls, 401 * 8 * 1.2)
        keys = {types_pb2.Bundle.FromString(b).certificate for b in bundles + single}
        self.assertEqual(len(keys), 401)

    def test_sessions_that_others_hold_are_left_to_them_also_by_a_reload(self):
        self.start(sessions=8)
        with open(self.hsm.shared, 'r+b') as shared:
            shared.seek(COUNTS_BYTES)
            shared.write(struct.pack('<iII', os.getpid(), 3, 0))
        self.run_service()
        self.settle(4)
        self.assertEqual(self.hsm.counts()[2], 7)
        before = set(self.site.processes()['mintmark-token'])
        self.site.reload()
        end = time.monotonic() + WAIT_S
        while before & set(self.site.processes()['mintmark-token']) or self.ready() != 4:
            self.assertLess(time.monotonic(), end, self.site.log_tail(40))
            time.sleep(0.05)
        self.settle(4)
        # One that comes before the other has closed its session is refused, and comes again by itself.
        self.assertLessEqual(self.hsm.counts()[2], 8)

    def test_bench_finds_the_token_faster_with_more_workers(self):
        self.start(sessions=2, call_us=1000)
        answer = run(OFFICER, 'token', 'bench', '--config', self.site.conf, '--token', 'hsm', '--seconds', 1,
                     '--max', 2, '--json', '--pin-file', self.site.dir / 'hsm.pin')
        self.assertRegex(answer, r'"recommended_workers": *2\b')


def run_status(site):
    return json.loads(site.officer('status', '--json'))['workers']


if __name__ == '__main__':
    unittest.main()
