#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The ledger of a whole service on a demo site with a real SoftHSM token: anchored at the end and at
the start, locked when the disk is put back, and unlocked by an officer's signature."""
import json
import os
import pathlib
import shutil
import signal
import sys
import unittest
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'support'))

import token_kind  # noqa: E402, F401  first: it may become another user
from demo_site import OnDemoSite  # noqa: E402
from service_site import Refused, openssl  # noqa: E402
from site_under_test import Failed  # noqa: E402


class Ledger(OnDemoSite):
    def setUp(self):
        super().setUp()
        conf = self.site.conf
        conf.write_text(conf.read_text() + 'metrics { port = 0 }\n')

    def ledger(self):
        return json.loads(self.site.officer('status', '--json'))['ledger']

    def unlock(self, key='officer', reason='restored from a backup'):
        folder = self.site.dir / 'appliance'
        return self.site.officer('ledger', 'unlock', '--key', folder / f'{key}.key', '--certificate',
                                 folder / f'{key}.pem', '--reason', reason, '--operator', 'test',
                                 '--yes')

    def metrics(self):
        port = self.site.log.read_text().rpartition('event=metrics_listening')[2]
        port = port.partition('port=')[2].split()[0]
        with urllib.request.urlopen(f'http://127.0.0.1:{port}/metrics', timeout=10) as answer:
            return answer.read().decode()

    def copy(self, name):
        shutil.copytree(self.site.dir / 'store', self.site.dir / name)

    def put_back(self, name):
        shutil.rmtree(self.site.dir / 'store')
        shutil.copytree(self.site.dir / name, self.site.dir / 'store')

    def test_ends_and_starts_are_counted(self):
        station = self.start()
        self.site.add_order('order', 10000)
        batch = self.site.open_batch(5000)
        station.provision(batch, 100, 'one')
        self.eventually(lambda: self.ledger()['verified_sequence'] > 0)
        self.assertEqual(self.ledger()['state'], 'open')
        self.assertEqual(self.ledger()['devices'], 100)
        self.site.stop()
        self.start()
        ledger = self.ledger()
        self.assertEqual((ledger['epoch'], ledger['unclean_starts']), (2, 0))
        self.site.stop(signal.SIGKILL)
        self.start()
        ledger = self.ledger()
        self.assertEqual((ledger['epoch'], ledger['unclean_starts']), (3, 1))
        # A killed store counts as well: it is what somebody would do who wants to change its disk.
        for pid in self.site.processes()['mintmark-store']:
            os.kill(pid, signal.SIGKILL)
        self.eventually(lambda: self.ledger()['epoch'] == 4)
        self.eventually(lambda: self.ledger()['state'] == 'open')
        self.assertEqual(self.ledger()['unclean_starts'], 2)

    def test_more_devices_than_stand_beyond_an_anchor(self):
        conf = self.site.conf
        conf.write_text(conf.read_text().replace('appliance {', 'appliance {\n anchor_devices = 1024'))
        station = self.start()
        self.site.add_order('order', 10000)
        self.assertEqual(len(station.provision(self.site.open_batch(5000), 3000, 'many', timeout=600)), 3000)
        ledger = self.ledger()
        self.assertLessEqual(ledger['unanchored'], 1024)
        self.assertGreaterEqual(ledger['anchors'], 4)

    def test_a_disk_that_was_put_back_is_locked_until_an_officer_signs(self):
        station = self.start()
        self.site.add_order('order', 10000)
        batch = self.site.open_batch(5000)
        station.provision(batch, 10, 'one')
        self.site.stop()
        self.copy('old')
        station = self.start()
        station.provision(batch, 20, 'two')
        self.site.stop()
        self.put_back('old')

        station = self.start(wait=False)
        self.eventually(lambda: 'event=ledger_locked reason=LEDGER_ROLLED_BACK' in
                        self.site.log.read_text())
        self.eventually(lambda: 'LEDGER_ROLLED_BACK' in station.station('Ping').detail)
        self.assertFalse(station.health())
        ledger = self.ledger()
        self.assertEqual((ledger['state'], ledger['lock_reason']), ('locked', 'LEDGER_ROLLED_BACK'))
        self.assertIn('mintmark_ledger_locked{reason="LEDGER_ROLLED_BACK"} 1', self.metrics())
        with self.assertRaises(Refused) as refused:
            station.provision(batch, 20, 'three')
        self.assertEqual(refused.exception.reason, 'LEDGER_LOCKED')

        folder = self.site.dir / 'appliance'
        openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes',
                '-keyout', folder / 'stranger.key', '-out', folder / 'stranger.pem', '-subj',
                '/CN=stranger', '-days', '30')
        with self.assertRaises(Failed) as failed:
            self.unlock('stranger')
        self.assertIn('sign', failed.exception.stderr)
        self.assertEqual(self.ledger()['state'], 'locked')
        self.unlock()
        self.eventually(station.ready)
        self.assertIn('mintmark_ledger_locked{reason=""} 0', self.metrics())
        self.assertEqual(len(station.provision(batch, 20, 'three')), 20)
        with self.assertRaises(Failed):
            self.unlock()
        self.site.stop()
        self.start()
        self.assertEqual(self.ledger()['state'], 'open')


if __name__ == '__main__':
    unittest.main()
