#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The site's credential for EJBCA arrives in a package, and mintmark-issuer enrols with it: its
private key has never been in a file of the site."""
import base64
import pathlib
import unittest

from issuer_site import Device, FakeEjbca, Worker
from officer_site import MODULE, USER_PIN
from test_officer_package import NOT_IN_NSS, Packages


@NOT_IN_NSS
class Credential(Packages):
    def test_it_enrols_with_what_the_package_brought(self):
        with FakeEjbca() as ejbca:
            self.enrol(ejbca)

    def enrol(self, ejbca):
        password = pathlib.Path(ejbca.ra.password_file).read_text().strip()
        p12 = pathlib.Path(ejbca.ra.p12).read_bytes()
        self.seal(self.content(self.item('pkcs12', 'ejbca-ra', p12, password=password)))
        self.take()
        for path in self.dir.rglob('*'):
            if path.is_file():
                self.assertNotIn(p12, path.read_bytes())
                self.assertNotIn(base64.b64encode(p12), path.read_bytes())
                self.assertNotIn(password.encode(), path.read_bytes())
        folder = self.dir / 'issuer'
        folder.mkdir()
        (folder / 'pin').write_text(USER_PIN + '\n')
        (folder / 'pin').chmod(0o600)
        worker = Worker(folder, ejbca, module=MODULE,
                        env=f"'SOFTHSM2_CONF={self.dir}/softhsm2.conf'", credential=f"""
            client_key = 'pkcs11:token=test;object=ejbca-ra;type=private' client_token = 'main'
            client_certificate = '{self.folder}/certificates/ejbca-ra.pem'""")
        self.addCleanup(worker.close)
        if worker.ready.error.reason == 'NO_PKCS11_PROVIDER':
            self.skipTest(worker.ready.error.text)
        self.assertEqual(worker.ready.error.code, 0, worker.ready)
        devices = [Device() for _ in range(5)]
        for device, number in [(d, worker.submit(d.job())) for d in devices]:
            result = worker.wait(number)
            self.assertEqual(result.error.code, 0, result)
            self.assertTrue(device.owns(result.issued.certificate), result)
        self.assertEqual(ejbca.state()['certificates'], len(devices))


if __name__ == '__main__':
    unittest.main(verbosity=2)
