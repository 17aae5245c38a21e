#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Variables of exchange packages in mintmark.conf, as the service fills them in: at its start, on a
reload, and not at all when there are none or bad ones."""
import itertools
import pathlib
import signal
import subprocess
import sys
import unittest

from cryptography import x509
from cryptography.x509.oid import NameOID

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'support'))

from service_site import Base, Client, Users, types_pb2  # noqa: E402
from site_under_test import MINTMARKD, OFFICER, Site, run  # noqa: E402

PROFILE = """
profile 'made-by' {
    issuer = 'none'
    token = 'main'
    subject = 'CN=device-${number:12},O=${exchange:MAKER}'
    delivery = 'wrapped'
    transport = 'line'
}
"""


class Variables(Base):
    def setUp(self):
        self.site = Site(workers=1, exchange_folder="'exchange'")
        self.addCleanup(self.site.__exit__, None)
        self.site.configure(PROFILE)
        self.folder = self.site.dir / 'exchange/variables'
        self.folder.mkdir(parents=True)

    def put(self, value):
        (self.folder / 'MAKER').write_text(value + '\n')

    def check(self):
        return subprocess.run([MINTMARKD, '--check-config', '--config', self.site.conf],
                              capture_output=True, text=True, timeout=60)

    def reload(self, event):
        before = self.site.log.read_text().count(event)
        self.site.daemon.send_signal(signal.SIGHUP)
        self.eventually(lambda: self.site.log.read_text().count(event) > before)

    def maker(self, name):
        csr, = (b.csr for m in self.station.stream(self.batch, 1, name)
                for b in types_pb2.Delivery.FromString(m).bundles)
        subject = x509.load_der_x509_csr(csr).subject
        return subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)[0].value

    def test_they_are_filled_in_at_start_and_on_a_reload(self):
        checked = self.check()
        self.assertEqual(checked.returncode, 78, checked)
        self.assertIn('no exchange package has brought the variable MAKER', checked.stderr)
        # The officer's tool works without: it is to install that package.
        self.assertIn('transport', run(OFFICER, 'key', 'list', '--config', self.site.conf))
        self.put("Maker's One")
        self.assertEqual(self.check().returncode, 0)
        self.site.start()
        self.station = Client(Users(self.site), 'station')
        self.addCleanup(self.station.channel.close)
        self.site.add_order('variables', 1000, 'made-by')
        self.batch = self.station.station('OpenBatch', name='v', profile='made-by', device_type='s',
                                          quantity=1000, heads=8).batch.batch_uid
        self.assertEqual(self.maker('one'), "Maker's One")

        self.put('Maker Two')
        self.reload('event=reloaded')
        # The workers of before serve until the new ones do.
        names = (f'two-{n}' for n in itertools.count())
        self.eventually(lambda: self.maker(next(names)) == 'Maker Two')

        self.put('${exchange:MAKER}')
        self.reload('event=reload_failed')
        self.assertIn('variable MAKER has ${ in it', self.site.log.read_text())
        self.assertEqual(self.maker('three'), 'Maker Two')


if __name__ == '__main__':
    unittest.main(verbosity=2)
