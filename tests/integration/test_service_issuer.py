#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""mintmark-issuer under the whole service: started, watched, started again, replaced on a reload; what
officers and plant operators see of it; and `mintmark-officer issuer check`."""
import json
import os
import pathlib
import signal
import subprocess
import sys
import unittest

from service_site import BUILD, ROOT, Base

sys.path.insert(0, str(ROOT / 'tests/support'))
from fake_ejbca import FakeEjbca  # noqa: E402
from processes import descendants  # noqa: E402

ISSUER = """
issuer 'pki' {{
    kind = ejbca certificate = 'pinned.pem' nodes = {{'{url}'}} server_ca = '{server_ca}'
    client_p12 = '{client.p12}' client_password_file = '{client.password_file}'
    breaker_failures = 1 breaker_wait_ms = 50 breaker_wait_max_ms = 100
}}
profile 'widget' {{
    issuer = 'pki' delivery = 'on-device' subject = 'CN=widget ${{hw_serial}},O=Example'
    ca = '{ca}' certificate_profile = 'DevCert' end_entity_profile = 'DevEE'
}}
"""
WHAT = ['connection', 'ca', 'chain', 'profiles', 'rights']


class Issuer(Base):
    def setUp(self):
        super().setUp()
        self.ejbca = FakeEjbca()
        self.addCleanup(self.ejbca.close)
        lib = self.service.dir / 'lib'
        (lib / 'mintmark-issuer').symlink_to(BUILD / 'daemon/issuer/mintmark-issuer')
        (self.service.dir / 'pinned.pem').write_text(
            ''.join(self.ejbca.ca_certificate(n).read_text() for n in ('IssuingCA', 'RootCA')))

    def section(self, ca='IssuingCA'):
        return ISSUER.format(url=self.ejbca.url, server_ca=self.ejbca.server_ca,
                             client=self.ejbca.ra, ca=ca)

    def start(self, **options):
        self.service.start(more=self.section(**options))
        self.service.wait_log(r'event=worker_ready worker=issuer.pki')
        return self.client('officer')

    def pid(self):
        for pid in descendants(self.service.daemon.pid):
            try:
                if os.readlink(f'/proc/{pid}/exe').endswith('mintmark-issuer'):
                    return pid
            except FileNotFoundError:
                pass  # it has ended meanwhile
        return None

    def check(self, officer, **request):
        return officer.call('OfficerService', 'CheckIssuer', **request).checks

    def test_an_officer_has_it_checked(self):
        officer = self.start()
        checks = self.check(officer)
        self.assertEqual([(c.issuer, c.what, c.good) for c in checks],
                         [('pki', w, True) for w in WHAT], checks)
        self.assertEqual(list(self.check(officer, issuer='pki', profile='widget')), list(checks))
        self.assertEqual(self.ejbca.state()['certificates'], 0)
        worker = [w for w in self.service.status().workers if w.name == 'issuer.pki']
        self.assertEqual(len(worker), 1)

    def test_who_may_not_and_what_is_not_there(self):
        officer = self.start()
        self.refused('PERMISSION_DENIED', 'ROLE_MISSING', self.check, self.client())
        self.refused('NOT_FOUND', 'UNKNOWN_ISSUER', self.check, officer, issuer='pai')
        self.refused('NOT_FOUND', 'UNKNOWN_PROFILE', self.check, officer, issuer='pki', profile='dac')
        self.refused('NOT_FOUND', 'UNKNOWN_PROFILE', self.check, officer, profile='widget')

    def test_the_tool_prints_it_and_fails_when_something_is_wrong(self):
        self.start()
        folder = self.service.dir
        (folder / 'site.conf').write_text(
            f"target = '127.0.0.1:{self.service.port}'\nca = 'ca.pem'\n"
            "certificate = 'officer.pem'\nkey = 'officer.key'\n")
        command = [BUILD / 'tools/officer/mintmark-officer', 'issuer', 'check', '--site',
                   folder / 'site.conf', '--json']
        done = subprocess.run(command, capture_output=True, timeout=60)
        self.assertEqual(done.returncode, 0, done)
        self.assertEqual([c['what'] for c in json.loads(done.stdout)['checks']], WHAT)
        self.ejbca.set(listen=False)
        done = subprocess.run([*command[:-1]], capture_output=True, timeout=60)
        self.assertEqual(done.returncode, 1, done)
        self.assertIn(b'connection', done.stdout)

    def test_it_is_started_again(self):
        officer = self.start()
        pid = self.pid()
        os.kill(pid, signal.SIGKILL)
        self.service.wait_log(r'event=worker_lost worker=issuer.pki(?s:.*)event=worker_ready '
                              r'worker=issuer.pki')
        self.assertNotEqual(self.pid(), pid)
        self.assertTrue(all(c.good for c in self.check(officer)))

    def test_an_ejbca_that_is_away_shows_and_stops_nobody(self):
        self.ejbca.set(listen=False)
        self.start()
        self.eventually(lambda: 'the EJBCA of issuer pki is away' in self.service.status().detail)
        self.assertTrue(self.service.status().ready)
        self.ejbca.set(listen=True)
        officer = self.client('officer')
        self.eventually(lambda: all(c.good for c in self.check(officer)))
        self.eventually(lambda: not self.service.status().detail)

    def test_a_reload_replaces_it(self):
        officer = self.start()
        pid, after = self.pid(), len(self.service.log_text())
        self.service.configure(more=self.section(ca='NoCA'))
        self.service.reload()
        self.service.wait_log(r'event=worker_ready worker=issuer.pki', after)
        self.eventually(lambda: [c.what for c in self.check(officer) if not c.good] == ['ca'])
        self.eventually(lambda: self.pid() not in (None, pid))

    def test_it_opens_no_file_for_writing_and_starts_nothing(self):
        self.start()
        status = pathlib.Path(f'/proc/{self.pid()}/status').read_text()
        self.assertRegex(status, r'Seccomp:\s+2')
        self.assertRegex(status, r'NoNewPrivs:\s+1')


if __name__ == '__main__':
    unittest.main(verbosity=2)
