#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""mintmark-officer and what surrounds the token: the service that is not there, configurations, and
the demo site."""
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

from officer_site import BUILD, ROOT, Base, openssl


class Orders(Base):
    """What goes wrong before the service is reached; orders themselves are tested with it."""

    def site(self, port=1):
        openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes',
                '-subj', '/CN=x', '-keyout', self.dir / 'x.key', '-out', self.dir / 'x.pem')
        site = self.dir / 'officer.conf'
        site.write_text(f"target = '127.0.0.1:{port}'\nca = 'x.pem'\ncertificate = 'x.pem'\n"
                        "key = 'x.key'\n")
        return site

    def lower(self, site, *args, status):
        return self.run_officer('order', 'lower', '--site', site, '--operator', 'Alice', '--yes',
                                *args, config=False, status=status)

    def test_order_without_a_service_is_recorded_as_failed(self):
        site = self.site()
        self.lower(site, '--id', 'o1', '--quantity', '5', status=69)
        record = next((self.dir / 'ceremony').iterdir()).read_text()
        self.assertIn("question: Lower, and never raise again, production order 'o1'", record)
        self.assertIn('outcome: failed: ', record)
        self.run_officer('status', '--site', site, config=False, status=69)
        self.run_officer('order', 'list', '--site', site, config=False, status=69)

    def test_bad_limits_are_refused_before_the_question(self):
        site = self.site()
        good = {'--id': 'o1', '--quantity': '5', '--not-after': '2099-12-31'}
        for option, value, status in (('--id', 'a b', 64), ('--quantity', '0', 64),
                                      ('--quantity', '1000000001', 64), ('--quantity', '1e3', 64),
                                      ('--not-after', '31.12.2099', 65),
                                      ('--not-after', '2099-02-30', 65)):
            args = [part for pair in dict(good, **{option: value}).items() for part in pair]
            self.lower(site, *args, status=status)
        for record in (self.dir / 'ceremony').iterdir():
            self.assertNotIn('question', record.read_text())

    def test_bad_site_files_are_told(self):
        site = self.site()
        site.write_text(site.read_text().replace('target', 'tarjet'))
        _, error = self.run_officer('status', '--site', site, config=False, status=78)
        self.assertIn('officer.conf:1', error)
        self.run_officer('status', '--site', self.dir / 'none', config=False, status=78)


class DemoSite(unittest.TestCase):
    def demo_site(self, folder, *args):
        return subprocess.run([ROOT / 'tools/demo-site', '--dir', folder, '--bin', BUILD, *args],
                              capture_output=True, text=True, timeout=120)

    def test_demo_site_is_made_and_left_alone_the_second_time(self):
        folder = pathlib.Path(tempfile.mkdtemp(prefix='mintmark-demo.'))
        self.addCleanup(shutil.rmtree, folder)
        made = self.demo_site(folder, '--port', '7444', '--workers', '3')
        self.assertEqual(made.returncode, 0, made.stderr)
        self.assertIn('profiles: 4', made.stdout)
        conf = (folder / 'mintmark.conf').read_text()
        self.assertIn('port = 7444', conf)
        self.assertIn('workers = 3', conf)
        pins = [(folder / name).read_text().strip() for name in ('so.pin', 'user.pin')]
        record = ''.join(path.read_text() for path in (folder / 'ceremony').iterdir())
        for pin in pins:
            self.assertNotIn(pin, made.stdout + made.stderr + record)
        for path in folder.rglob('*.key'):
            self.assertEqual(path.stat().st_mode & 0o077, 0, path)
        for name in ('server', 'station', 'officer'):
            said = openssl('verify', '-x509_strict', '-CAfile', folder / 'tls/ca.pem',
                           folder / f'tls/{name}.pem')
            self.assertIn(b'OK', said)
        files = {path: path.stat().st_mtime_ns for path in folder.rglob('*')}
        again = self.demo_site(folder)
        self.assertEqual(again.returncode, 1)
        self.assertIn('not empty', again.stderr)
        self.assertEqual({path: path.stat().st_mtime_ns for path in folder.rglob('*')}, files)
        for args in (['--port', 'x'], ['--what'], ['--port']):
            self.assertEqual(self.demo_site(folder, *args).returncode, 64)
        odd = folder / 'a b'
        self.assertEqual(self.demo_site(odd).returncode, 1)
        self.assertFalse(odd.exists())


class Configuration(Base):
    def check(self, status):
        return self.run_officer('config', 'check', self.conf, config=False, status=status)

    def test_good_configuration_is_told(self):
        self.init()
        self.make_root()
        self.make_sub()
        openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes',
                '-subj', '/CN=x', '-keyout', self.dir / 'tls.key', '-out', self.dir / 'tls.pem')
        out, _ = self.check(0)
        self.assertIn('good; tokens: 1, issuers: 1, profiles: 1', out)
        text = self.conf.read_text()
        for good, bad, says in (
                ("vid = 'FFF1'", "vid = 'FFF2'", 'vendor id'),  # not the PAI's
                ("pai.pem'", "paa.pem.none'", 'paa.pem.none'),
                ("pai.pem'", "tls.key'", 'tls.key'),
                ("user.pin'", "none.pin'", 'none.pin')):
            self.conf.write_text(text.replace(good, bad, 1))
            _, error = self.check(78)
            self.assertIn(says, error)
            self.assertIn('mintmark.conf', error)
        trusted = self.dir / 'trusted.pem'
        token = re.search(r"token '(\w+)'", text)[1]
        for setting in ('oem_certificates', 'officer_certificates'):
            self.conf.write_text(text + f"""
appliance {{
    token = '{token}'
    identity_certificate = 'tls.pem'
    audit_certificate = 'tls.pem'
    {setting} = 'trusted.pem'
}}
""")
            trusted.write_bytes((self.dir / 'tls.pem').read_bytes())
            self.check(0)
            trusted.write_text('nothing of use')
            _, error = self.check(78)
            self.assertIn(f'appliance.{setting}', error)
            self.assertIn('no certificate in PEM', error)

    def oem(self, *args, status=0):
        ceremony = ['--operator', 'Alice', '--yes'] if args[0] == 'add' else []
        return self.run_officer('oem', *args, *ceremony, status=status)

    def test_oem_certificates_are_added_once_each_with_a_record(self):
        for name in ('one', 'two'):
            openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes',
                    '-subj', f'/CN={name}', '-keyout', self.dir / f'{name}.key', '-out',
                    self.dir / f'{name}.pem')
        text = self.conf.read_text()
        _, error = self.oem('add', self.dir / 'one.pem', status=78)
        self.assertIn('oem_certificates', error)
        token = re.search(r"token '(\w+)'", text)[1]
        self.conf.write_text(text + f"""
appliance {{
    token = '{token}'
    identity_certificate = 'identity.pem'
    audit_certificate = 'audit.pem'
    oem_certificates = 'oem.pem'
}}
""")
        self.assertEqual(self.data('oem', 'list')['oem_certificates'], [])
        self.oem('add', self.dir / 'one.pem')
        _, error = self.oem('add', self.dir / 'one.pem', status=1)
        self.assertIn('trusted already', error)
        self.oem('add', self.dir / 'one.key', status=65)
        self.oem('add', self.dir / 'two.pem')
        listed = self.data('oem', 'list')['oem_certificates']
        self.assertEqual([c['subject'] for c in listed], ['CN=one', 'CN=two'])
        both = (self.dir / 'one.pem').read_text() + (self.dir / 'two.pem').read_text()
        (self.dir / 'both.pem').write_text(both)
        self.oem('add', self.dir / 'both.pem', status=65)
        record = ''.join(p.read_text() for p in (self.dir / 'ceremony').iterdir())
        self.assertIn('Trust CN=one', record)

    def test_bad_configurations_are_told_with_line_and_remedy(self):
        text = self.conf.read_text()
        for good, bad, line, says in (
                ('module =', 'modul =', 5, 'module'),
                ("preset = 'matter-dac'", "preset = 'matter'", 13, 'matter-dac'),
                ("issuer = 'pai'", "issuer = 'unknown'", 14, 'unknown'),
                ("site = 'test'", "site = 'a b'", 1, 'letters')):
            self.assertIn(good, text)
            self.conf.write_text(text.replace(good, bad, 1))
            _, error = self.check(78)
            self.assertRegex(error, rf'mintmark\.conf:{line}: ')
            self.assertIn(says, error)
        self.conf.unlink()
        _, error = self.check(78)
        self.assertIn('no such file', error)


if __name__ == '__main__':
    unittest.main(verbosity=2)
