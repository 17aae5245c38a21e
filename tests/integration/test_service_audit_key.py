#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Another audit key while a whole service works, on a demo site with a real SoftHSM token: under load,
when it fails, when the service dies in it, and when somebody forges it."""
import datetime
import json
import os
import pathlib
import re
import signal
import sys
import threading
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'support'))

import token_kind  # noqa: E402, F401  first: it may become another user
import audit  # noqa: E402
from demo_site import OnDemoSite  # noqa: E402
from service_site import Client, Users  # noqa: E402
from site_under_test import BUILD, OFFICER, Failed, run  # noqa: E402
from cryptography import x509  # noqa: E402
from cryptography.hazmat.primitives import hashes, serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec  # noqa: E402
from cryptography.x509.oid import NameOID  # noqa: E402


class AuditKey(OnDemoSite):
    workers = 2

    def setUp(self):
        super().setUp()
        self.folder = self.site.dir / 'appliance'

    def ceremony(self, label='audit-2', out=None, *more):
        out = out or self.folder / f'{label}.pem'
        run(OFFICER, 'appliance', 'audit-key', '--config', self.site.conf, '--label', label, '--out',
            out, '--operator', 'test', '--transcript', self.site.dir / 'transcript', '--yes', *more)
        return out

    def name_key(self, label, certificate):
        """In the configuration."""
        text = re.sub(r"(?m)^ *audit_key = .*\n", '', self.site.conf.read_text())
        self.site.conf.write_text(re.sub(
            r"(?m)^( *)audit_certificate = .*$",
            rf"\1audit_key = '{label}'\n\1audit_certificate = '{certificate}'", text))

    def reload(self):
        """The line of the log that says what came of it."""
        before = len(self.site.log.read_text())
        self.site.daemon.send_signal(signal.SIGHUP)

        def ended():
            return re.search(r'event=(reloaded|reload_failed).*', self.site.log.read_text()[before:])
        self.eventually(ended)
        return ended()[0]

    def ledger(self):
        return json.loads(self.site.officer('status', '--json'))['ledger']

    def prove(self, *reports, changes):
        """By the certificate of the first key alone."""
        status, said = audit.verify(
            'ledger', self.export(), *reports, '--audit', self.folder / 'audit.pem', '--oem',
            self.site.dir / 'oem/oem.pem', '--identity', self.folder / 'identity.pem', '--officers',
            self.folder / 'officer.pem')
        self.assertEqual((status, said['by_code']), (0, {}), said['first_findings'])
        self.assertEqual(said['facts']['audit_key_changes'], changes)
        return said

    def begin(self):
        station = self.start()
        self.site.add_order('order', 20000)
        self.batch = self.site.open_batch(15000)
        station.provision(self.batch, 20, 'before')
        return station

    def test_under_load(self):
        station = self.begin()
        made, failures = [], []

        def produce(n):
            client = Client(Users(self.site), 'station')
            try:
                for i in range(6):
                    made.append(len(client.provision(self.batch, 300, f'load-{n}-{i}')))
            except Exception as error:  # noqa: BLE001
                failures.append(error)
            finally:
                client.channel.close()
        threads = [threading.Thread(target=produce, args=[n]) for n in range(2)]
        for t in threads:
            t.start()
        for label in 'audit-2', 'audit-3':
            self.name_key(label, self.ceremony(label))
            self.assertIn('event=reloaded', self.reload())
        for t in threads:
            t.join()
        self.assertEqual((sum(made), failures), (3600, []))
        station.station('ReleaseBatch', batch_uid=self.batch)
        self.site.station('report', self.batch, '--out', self.site.dir / 'report')
        said = self.prove(self.site.dir / 'report/report.json', changes=2)
        self.assertEqual(said['facts']['devices'], 3620)
        # A store that is started anew has the new key, and so has the service after an orderly end.
        self.kill_store()
        self.eventually(lambda: self.ledger()['epoch'] == 2 and self.ledger()['state'] == 'open')
        self.site.stop()
        self.start()
        self.assertEqual(self.ledger()['state'], 'open')
        self.prove(changes=2)

    def test_a_key_that_is_not_seen_at_first_is_looked_for_again(self):
        rules, calls = self.site.base / 'rules', self.site.base / 'calls'
        self.site.conf.write_text(token_kind.behind(self.site.conf.read_text(), BUILD / 'tests/faults/p11fault.so',
                                                    MM_FAULT_RULES=rules, MM_FAULT_CALLS=calls))
        self.begin()
        self.name_key('audit-2', self.ceremony())
        # As SoftHSM does that came upon the key's file while it was written.
        rules.write_text('C_FindObjects:1=lie')
        self.assertIn('event=reloaded', self.reload())
        self.assertIn('C_Initialize', calls.read_text().split())

    def certificate(self, name, public, issuer, days):
        """Of that key, by a stranger's CA."""
        now = datetime.datetime.utcnow()
        key = ec.generate_private_key(ec.SECP256R1())
        usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(public).serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=10))
            .not_valid_after(now + datetime.timedelta(days=days)).add_extension(usage, True)
            .sign(key, hashes.SHA256()))
        return certificate.public_bytes(serialization.Encoding.PEM).decode()

    def test_what_fails_changes_nothing_and_says_why(self):
        station = self.begin()
        right = self.ceremony().read_text()
        own = x509.load_pem_x509_certificate(right.encode())
        begin, end = '-----BEGIN CERTIFICATE-----', '-----END CERTIFICATE-----'
        first = right[:right.index(end) + len(end) + 1]
        rest = right[len(first):]
        stranger = ec.generate_private_key(ec.SECP256R1()).public_key()
        self.assertTrue(first.startswith(begin))
        for label, text, reason, words in (
                ('audit-9', right, 'APPLIANCE_KEY_MISSING', "no key 'audit-9'"),
                ('audit-2', self.certificate('audit', stranger, 'CA', 10) + rest,
                 'APPLIANCE_CERTIFICATE', 'is not the certificate of key'),
                ('audit-2', self.certificate('audit', own.public_key(), 'CA', -5) + rest,
                 'APPLIANCE_CERTIFICATE', 'has expired'),
                ('audit-2', self.certificate('audit', own.public_key(), 'another CA', 10) + rest,
                 'AUDIT_CERTIFICATE', 'not the one that the former audit key named'),
                ('audit-2', first, 'AUDIT_KEY_UNJUSTIFIED', 'no change that'),
                ('audit-2', first + (self.folder / 'audit.pem').read_text(),
                 'AUDIT_KEY_UNJUSTIFIED', 'no change that'),
                ('audit-2', right.replace('KEY CHANGE-----\n', 'KEY CHANGE-----\nAAAA', 1),
                 'reload_failed', '')):
            with self.subTest(label=label, reason=reason, words=words):
                (self.folder / 'wrong.pem').write_text(text)
                self.name_key(label, self.folder / 'wrong.pem')
                line = self.reload()
                self.assertIn('event=reload_failed', line)
                self.assertIn(reason, line)
                self.assertIn(words, line)
                self.assertEqual(self.ledger()['state'], 'open')
        self.assertEqual(len(station.provision(self.batch, 20, 'after')), 20)
        self.prove(changes=0)
        # What was wrong can be put right.
        self.name_key('audit-2', self.folder / 'audit-2.pem')
        self.assertIn('event=reloaded', self.reload())
        station.provision(self.batch, 20, 'at-last')
        self.prove(changes=1)

    def test_a_crash_at_any_step(self):
        self.begin()
        self.name_key('audit-2', self.ceremony())
        # Named, and never reloaded: the next start takes it.
        self.site.stop(signal.SIGKILL)
        self.start()
        self.prove(changes=1)
        # The store dies with the change in its hands, or before it has it.
        self.name_key('audit-3', self.ceremony('audit-3'))
        self.site.daemon.send_signal(signal.SIGHUP)
        self.kill_store()
        self.eventually(lambda: re.search('event=reload(ed|_failed)', self.site.log.read_text()))
        self.eventually(lambda: self.ledger()['state'] == 'open')
        self.site.stop()
        self.start()
        self.prove(changes=2)
        # It dies when the change is a record, and hardly anything has been signed after it. Not so the
        # token's workers: SoftHSM does not always survive that in the middle of a write.
        self.name_key('audit-4', self.ceremony('audit-4'))
        self.site.daemon.send_signal(signal.SIGHUP)
        self.eventually(lambda: 'event=audit_key_changed key=audit-4' in self.site.log.read_text())
        self.kill_store()
        self.eventually(lambda: self.ledger()['epoch'] > 4 and self.ledger()['state'] == 'open')
        self.prove(changes=3)
        self.site.stop()
        self.start()
        self.prove(changes=3)

    def kill_store(self):
        for pid in self.site.processes()['mintmark-store']:
            os.kill(pid, signal.SIGKILL)

    def test_a_start_with_a_key_that_nobody_justified(self):
        self.begin()
        right = self.site.conf.read_text()
        change = self.ceremony()
        bare = self.folder / 'bare.pem'
        run('openssl', 'x509', '-in', change, '-out', bare)
        bare.write_text(bare.read_text() + (self.folder / 'audit.pem').read_text())
        self.site.stop()
        self.name_key('audit-2', bare)
        self.start(wait=False)
        self.eventually(lambda: 'event=ledger_locked reason=AUDIT_KEY_UNJUSTIFIED' in
                        self.site.log.read_text())
        self.site.stop()
        self.site.conf.write_text(right)
        self.start()
        self.assertEqual(self.ledger()['state'], 'open')
        self.prove(changes=0)

    def test_the_ceremony_refuses(self):
        def refused(reason, *args, **kwargs):
            with self.assertRaises(Failed) as failed:
                self.ceremony(*args, **kwargs)
            self.assertIn(reason, failed.exception.stderr)
        refused('there is no ledger yet')
        self.begin()
        self.site.stop()
        refused('is the audit key of the configuration already', 'mintmark-audit', self.folder / 'x')
        refused('already', 'mintmark-identity')
        (self.folder / 'there').write_text('mine')
        refused('exists', 'audit-2', self.folder / 'there')
        request = self.folder / 'audit-2.csr'
        self.ceremony('audit-2', request, '--csr')
        public = x509.load_pem_x509_csr(request.read_bytes()).public_key()
        for days, key, words in ((-5, public, 'not in date'),
                                 (5, ec.generate_private_key(ec.SECP256R1()).public_key(), '')):
            (self.folder / 'issued.pem').write_text(self.certificate('audit', key, 'CA', days))
            refused(words, 'audit-2', None, '--certificate', self.folder / 'issued.pem')
        # A CA's certificate is as good as one of its own.
        (self.folder / 'issued.pem').write_text(self.certificate('audit', public, 'CA', 5))
        self.name_key('audit-2', self.ceremony('audit-2', None, '--certificate',
                                               self.folder / 'issued.pem'))
        self.start()
        self.prove(changes=1)


if __name__ == '__main__':
    unittest.main()
