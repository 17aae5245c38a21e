#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What an officer does to the keys of a site while it serves, with a real SoftHSM: a CA key that has to
be backed up before it is used, a new PIN, one that others changed, and a new
transport key."""
import json
import pathlib
import subprocess
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'support'))
from token_kind import KIND  # noqa: E402  first: it may become another user
from site_under_test import OFFICER, VERIFY, Failed, Site, run  # noqa: E402


NO_BACKUP = 'NSS has no security officer, without whom there are no backups'


MANY = 200 if KIND == 'softokn' else 4500  # there so many that each worker renews its module, and logs in again


class Keys(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.site = site = Site(workers=2)
        cls.addClassCleanup(site.__exit__, None)
        backup = [] if KIND == 'softokn' else ['--backup']
        cls.ceremony('ca', 'create-sub', '--label', 'pai-b', '--create-key', *backup, '--preset', 'matter-pai',
                     '--vid', 'FFF1', '--subject', 'CN=Backed PAI,VID=${vid}',
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

    @unittest.skipIf(KIND == 'softokn', NO_BACKUP)
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

    @unittest.skipIf(KIND == 'softokn', NO_BACKUP)
    def test_a_key_that_could_leave_is_refused_where_no_backup_is_wanted(self):
        self.configure('')
        with self.assertRaises(RuntimeError):
            self.site.start(wait=False)
            self.site.wait_ready(3)
        self.assertIn('CKA_EXTRACTABLE is true', self.site.log.read_text())

    def devices(self, folder):
        return {line['device_uid']: line['check_value'] for line in
                map(json.loads, (folder / 'devices.jsonl').read_text().splitlines())}

    def fetch(self, batch, count, request):
        """A folder with the request's devices."""
        out = self.site.base / f'out-{len(list(self.site.base.iterdir()))}'
        self.site.station('provision', '--batch', batch, '--count', count, '--request-id', request,
                          '--out', out)
        return out

    def test_a_new_transport_key_is_for_new_devices_only(self):
        site = self.site
        site.conf.write_text(self.plain)
        site.start()
        site.add_order('transport', 100)
        batch = site.open_batch(50, order='transport')
        old = self.fetch(batch, 5, 'before')
        self.ceremony('key', 'create', '--use', 'transport', '--label', 'transport-2')
        site.conf.write_text(self.plain.replace('object=transport\'', 'object=transport-2\''))
        self.assertNotEqual(site.conf.read_text(), self.plain)
        # Not --token: that option is of the other command.
        run(OFFICER, 'key', 'transport', 'export', '--config', site.conf, '--name', 'line', '--recipient',
            site.dir / 'station-transport.pub', '--out', site.dir / 'transport-2.json', '--operator',
            'test', '--yes')
        keys = {name: json.loads((site.dir / f'{name}.json').read_text())['check_value']
                for name in ('transport-key', 'transport-2')}
        self.assertNotEqual(*keys.values())
        site.reload()
        end = time.monotonic() + 30
        while set(self.devices(new := self.fetch(batch, 4, f'after-{time.monotonic_ns()}')).values()) != \
                {keys['transport-2']}:
            self.assertLess(time.monotonic(), end, site.log_tail())
        # What was recorded before comes again as it was made, by its request and by itself.
        self.assertEqual(set(self.devices(old).values()), {keys['transport-key']})
        again = self.fetch(batch, 5, 'before')
        self.assertEqual(self.devices(again), self.devices(old))
        one = site.base / 'one'
        site.station('device', 'get', next(iter(self.devices(old))), '--out', one)
        self.assertEqual(set(self.devices(one).values()), {keys['transport-key']})
        for name, folder, count in (('transport-key', again, 5), ('transport-2', new, 4)):
            said = run(VERIFY, 'identities', '--dir', folder, '--root', site.dir / 'ca/paa.pem', '--count',
                       count, '--transport-key', site.dir / f'{name}.json', '--recipient-key',
                       site.dir / 'station-transport.key')
            self.assertIn(f'{count} private keys proven', said)
        other = run(VERIFY, 'identities', '--dir', new, '--root', site.dir / 'ca/paa.pem',
                    '--transport-key', site.dir / 'transport-key.json', '--recipient-key',
                    site.dir / 'station-transport.key')
        self.assertIn('0 private keys proven, 4 not opened (wrapped under another transport key)', other)

    def log_of(self, event, **fields):
        return [line for line in self.site.log.read_text().splitlines() if f'event={event} ' in line
                and all(f'{k}={v}' in line for k, v in fields.items())]

    def ping(self):
        try:
            return str(self.site.station('ping'))
        except Failed as failed:
            return str(failed)

    def start_pin_site(self):
        site = self.site
        site.conf.write_text(self.plain)
        site.log.unlink(missing_ok=True)
        site.start()
        name = f'pin-{time.monotonic_ns()}'
        site.add_order(name, 30000)
        return site, site.open_batch(20000, order=name)

    def test_a_new_pin_takes_effect_while_the_site_serves(self):
        site, batch = self.start_pin_site()
        old = (site.dir / 'user.pin').read_text()
        load = subprocess.Popen(list(map(str, site.station_command(
            '--json', 'provision', '--batch', batch, '--count', MANY, '--out', site.base / 'out-pin'))),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for i in range(3):
            self.ceremony('token', 'pin', '--generate-pin-file', site.base / f'new-{i}.pin')
        said = load.communicate(timeout=240)[0]
        self.assertEqual(load.returncode, 0, said)
        self.assertNotEqual((site.dir / 'user.pin').read_text(), old)
        self.assertEqual((site.dir / 'user.pin').stat().st_mode & 0o777, 0o600)
        self.assertFalse((site.dir / 'user.pin.new').exists())
        self.provision(batch, MANY)  # renewals that come after the change
        self.assertEqual(self.log_of('pin_refused'), [])
        if KIND != 'softokn':  # where a new PIN takes the keys from all who are logged in
            self.assertEqual(self.log_of('worker_lost'), [])
        site.reload()  # new workers take the new PIN
        self.provision(batch, 10)
        self.assertEqual(site.stop(), 0)
        site.start()
        self.provision(batch, 10)
        self.assertEqual(self.log_of('pin_refused'), [])
        for text in (old, (site.dir / 'user.pin').read_text()):
            self.assertNotIn(text.strip(), site.log.read_text())

    @unittest.skipIf(KIND == 'softokn', 'the module of NSS is never renewed, and so nobody logs in again')
    def test_a_pin_that_others_changed_is_tried_once_and_awaited(self):
        site, batch = self.start_pin_site()
        pin, new = site.dir / 'user.pin', site.base / 'others.pin'
        known = site.base / 'known.pin'
        for path, text in (known, pin.read_text()), (new, 'changed-behind-the-back\n'):
            path.write_text(text)
            path.chmod(0o600)
        self.ceremony('token', 'pin', '--pin-file', known, '--new-pin-file', new)
        self.provision(batch, 100)  # who is logged in goes on
        with self.assertRaises(Failed) as failed:
            self.provision(batch, 9000)  # until the module is renewed
        self.assertIn('TOKEN_UNAVAILABLE', str(failed.exception))
        end = time.monotonic() + 20
        while 'the token refuses the user PIN' not in (said := self.ping()):
            self.assertLess(time.monotonic(), end, said)
            time.sleep(0.1)
        pin.write_text(pin.read_text())  # the same again is not tried
        time.sleep(1.5)
        self.assertEqual(len(self.log_of('worker_lost', reason='TOKEN_PIN_REFUSED')), 1,
                         site.log_tail(40))
        self.assertEqual(len(self.log_of('pin_refused')), 1)
        pin.write_text('changed-behind-the-back\n')
        site.wait_ready(20)  # no reload, no restart
        self.provision(batch, 100)
        self.assertEqual(len(self.log_of('worker_lost', reason='TOKEN_PIN_REFUSED')), 1)
        self.assertEqual(len(self.log_of('pin_changed')), 1)


if __name__ == '__main__':
    unittest.main()
