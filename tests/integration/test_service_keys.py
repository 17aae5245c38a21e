#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What an officer does to the keys of a site while it serves, with a real SoftHSM: a CA key that has to
be backed up before it is used."""
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'support'))
from site_under_test import OFFICER, Failed, Site, run  # noqa: E402


class Keys(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.site = site = Site(workers=2)
        cls.addClassCleanup(site.__exit__, None)
        cls.ceremony('ca', 'create-sub', '--label', 'pai-b', '--create-key', '--backup', '--preset',
                     'matter-pai', '--vid', 'FFF1', '--subject', 'CN=Backed PAI,VID=${vid}',
                     '--parent-label', 'paa', '--parent-certificate', site.dir / 'ca/paa.pem', '--out',
                     site.dir / 'ca/pai-b.pem')
        cls.plain = site.conf.read_text()

    def tearDown(self):
        self.site.stop()

    def configure(self, setting):
        self.site.conf.write_text(self.plain.replace(
            "key = 'pkcs11:object=pai'", "key = 'pkcs11:object=pai-b'").replace(
            "certificate = 'ca/pai.pem'", "certificate = 'ca/pai-b.pem'" + setting))

    @classmethod
    def ceremony(cls, *args):
        return run(OFFICER, *args, '--config', cls.site.conf, '--token', 'main', '--operator', 'test',
                   '--yes')

    def provision(self, batch, count):
        out = self.site.base / f'out-{len(list(self.site.base.iterdir()))}'
        return self.site.station('provision', '--batch', batch, '--count', count, '--out', out)

    def test_a_ca_key_waits_for_its_backup(self):
        site = self.site
        self.configure("\n    backup = 'required'")
        site.start()
        site.add_order('first', 100)
        batch = site.open_batch(20)
        with self.assertRaises(Failed) as refused:
            self.provision(batch, 2)
        self.assertIn('CA_KEY_NOT_BACKED_UP', str(refused.exception))
        self.assertIn('FAILED_PRECONDITION', str(refused.exception))
        shares = site.base / 'shares'
        shares.mkdir()
        self.ceremony('key', 'backup', '--label', 'pai-b', '--out', site.base / 'backup.json',
                      '--shares', 3, '--threshold', 2, '--shares-dir', shares, '--so-pin-file',
                      site.dir / 'so.pin')
        self.provision(batch, 2)  # no restart, no reload

    def test_a_key_that_could_leave_is_refused_where_no_backup_is_wanted(self):
        self.configure('')
        with self.assertRaises(RuntimeError):
            self.site.start(wait=False)
            self.site.wait_ready(3)
        self.assertIn('CKA_EXTRACTABLE is true', self.site.log.read_text())


if __name__ == '__main__':
    unittest.main()
