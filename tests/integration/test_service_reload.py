#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Whose signatures count, changed while the service runs: certificates of OEMs and officers are added and
taken away by a reload, and by nothing else. The tokens are fakes."""
import os
import re
import signal
import subprocess
import unittest

from service_site import BUILD, Base, officer_pb2
from oem import Oem

OFFICER = BUILD / 'tools/officer/mintmark-officer'


class Trust(Base):
    def setUp(self):
        super().setUp()
        self.file = self.service.dir / 'oem-certificates.pem'
        self.acme = Oem(self.service.dir, 'acme')
        self.count = 0

    def start(self, *directives, **kwargs):
        self.service.start(*directives, **kwargs)
        self.officer = self.client('officer')
        self.station = self.client()

    def oem_add(self, path):
        done = subprocess.run([OFFICER, 'oem', 'add', '--config', self.service.conf, '--operator', 'Alice',
                               '--yes', path], capture_output=True, timeout=60, check=True,
                              cwd=self.service.dir)
        return (done.stdout + done.stderr).decode()

    def hang_up(self):
        mark = len(self.service.log_text())
        self.service.daemon.send_signal(signal.SIGHUP)
        return mark

    def reload_refused(self, *says):
        mark = self.hang_up()
        line = self.service.wait_log('event=reload_failed .*', mark)[0]
        for text in says:
            self.assertIn(text, line)
        self.assertNotIn('certificate_trusted', self.service.log_text()[mark:])
        self.assertNotIn('certificate_not_trusted', self.service.log_text()[mark:])

    def bring(self, oem):
        """An order that this one signs; its id."""
        self.count += 1
        order = self.service.order(self.service.nonce(self.officer), f'order-{self.count}', quantity=100)
        return self.officer.call('OfficerService', 'ImportOrder', document=oem.sign(order)).order.order_id

    def bring_refused(self, oem):
        self.refused('PERMISSION_DENIED', 'SIGNER_UNKNOWN', self.bring, oem)

    def produce(self, order, count=3):
        batch = self.station.open_batch(quantity=count, order_id=order)
        self.assertEqual(len(self.station.provision(batch, count, f'r-{order}-{batch}')), count)

    def fingerprint(self, oem):
        text = subprocess.run(['openssl', 'x509', '-in', oem.certificate, '-noout', '-fingerprint',
                               '-sha256'], capture_output=True, check=True, text=True).stdout
        return text.strip().split('=')[1]

    def test_an_oem_is_added_and_taken_away_by_a_reload(self):
        self.start()
        before = self.file.read_bytes()
        self.bring_refused(self.acme)
        self.assertIn('a reload of the service takes it up', self.oem_add(self.acme.certificate))
        self.bring_refused(self.acme)
        pids = self.service.worker_pids('store')
        mark = len(self.service.log_text())
        self.service.reload()
        self.assertRegex(self.service.log_text()[mark:],
                         'module=store event=certificate_trusted whose=oem subject="?CN=acme,O=Example"? '
                         f'sha256={self.fingerprint(self.acme)}')
        order = self.bring(self.acme)
        self.produce(order)
        self.produce(self.bring(self.service.oem))
        self.file.write_bytes(before)
        self.bring(self.acme)
        mark = len(self.service.log_text())
        self.service.reload()
        self.assertRegex(self.service.log_text()[mark:],
                         f'event=certificate_not_trusted whose=oem .*{self.fingerprint(self.acme)}')
        self.bring_refused(self.acme)
        self.produce(self.bring(self.service.oem))
        # What came in before stays.
        self.produce(order)
        self.assertEqual(self.service.worker_pids('store'), pids)

    def test_a_bad_file_is_refused_and_changes_nothing(self):
        self.start()
        good = self.file.read_bytes() + self.acme.certificate.read_bytes()
        self.file.write_bytes(good)
        self.service.reload()
        bad = good.replace(b'MIIB', b'NIIB')
        self.assertNotEqual(bad, good)
        for content, says in ((b'', 'no certificate in PEM'), (bad, 'certificate 1 is damaged'),
                              (33 * self.acme.certificate.read_bytes(), 'more than 32 certificates'),
                              (good + b'#' * 300000, 'at most')):
            self.file.write_bytes(content)
            self.reload_refused('oem_certificates', 'oem-certificates.pem', says)
            self.bring(self.service.oem)
        self.file.unlink()
        self.reload_refused('oem_certificates', 'No such file')
        self.bring(self.acme)
        check = subprocess.run([BUILD / 'daemon/front/mintmarkd', '--config', self.service.conf,
                                '--check-config'], capture_output=True)
        self.assertEqual(check.returncode, 78)
        # Another mistake in the same reload leaves them as they were, too.
        self.file.write_bytes(self.service.oem.certificate.read_bytes())
        conf = self.service.conf.read_text()
        self.service.conf.write_text(conf.replace("token = 'main'\n    identity", "token = 'other'\n    identity"))
        self.reload_refused()
        self.bring(self.acme)
        self.service.conf.write_text(conf)
        self.service.reload()
        self.bring_refused(self.acme)

    def test_other_files_are_taken_too(self):
        self.start()
        conf = self.service.conf.read_text()
        for named, oem, other in (("'acme.pem'", self.acme, self.service.oem),
                                  ("'oem-certificates.pem'", self.service.oem, self.acme)):
            self.service.conf.write_text(conf.replace("'oem-certificates.pem'", named))
            self.service.reload()
            self.bring(oem)
            self.bring_refused(other)
        self.service.conf.write_text(re.sub(' *oem_certificates = .*', '', conf))
        self.service.reload()
        self.bring_refused(self.service.oem)

    def test_a_locked_ledger_is_no_hindrance(self):
        self.start()
        self.bring(self.service.oem)
        self.service.stop()
        (self.service.dir / 'anchor').unlink()
        self.service.start(wait=False)
        self.service.wait_log('event=ledger_locked reason=ANCHOR_MISSING')
        conf = self.service.conf.read_text()
        self.service.conf.write_text(conf.replace('    oem_certificates', "    officer_certificates = 'acme.pem'\n    oem_certificates"))
        mark = len(self.service.log_text())
        self.service.reload()
        self.assertRegex(self.service.log_text()[mark:],
                         f'certificate_trusted whose=officer .*{self.fingerprint(self.acme)}')

    def test_a_store_that_is_started_anew_has_what_was_taken(self):
        self.start()
        first = self.file.read_bytes()
        self.file.write_bytes(self.acme.certificate.read_bytes())
        self.service.reload()
        # What lies in the file without a reload does not count, however often the store starts.
        self.file.write_bytes(first)
        for _ in range(6):
            old = self.service.worker_pids('store')
            mark = len(self.service.log_text())
            os.kill(old[0], signal.SIGKILL)
            self.service.wait_log('event=worker_ready worker=store ', mark)
            self.eventually(lambda: self.service.status().ledger.state == officer_pb2.LEDGER_STATE_OPEN)
        self.bring_refused(self.service.oem)
        self.bring(self.acme)

    def test_a_reload_waits_for_a_store_that_is_away(self):
        self.start()
        pid = self.service.worker_pids('store')[0]
        self.file.write_bytes(self.acme.certificate.read_bytes())
        os.kill(pid, signal.SIGSTOP)
        mark = self.hang_up()
        self.service.daemon.send_signal(signal.SIGHUP)
        os.kill(pid, signal.SIGKILL)
        self.service.wait_log('event=reloaded ', mark)
        # The new store has the certificates; orders it takes once the anchor agrees with its ledger.
        self.service.wait_log('event=ledger_open ', mark)
        self.bring_refused(self.service.oem)
        self.bring(self.acme)

    def test_a_reload_without_a_store_is_refused_after_a_while(self):
        self.start()
        program = self.service.dir / 'lib/mintmark-store'
        real = os.readlink(program)
        mark = len(self.service.log_text())
        program.unlink()
        program.symlink_to('/bin/false')
        os.kill(self.service.worker_pids('store')[0], signal.SIGKILL)
        self.file.write_bytes(self.acme.certificate.read_bytes())
        self.reload_refused('reason=STORE_UNAVAILABLE')
        program.unlink()
        program.symlink_to(real)
        self.service.wait_log('event=ledger_open ', mark)
        self.bring(self.service.oem)
        self.bring_refused(self.acme)
        self.service.reload()
        self.bring(self.acme)

    def test_reloads_lose_nothing_of_a_bulk_stream(self):
        self.start('delay_us=100')
        order = self.service.add_order(quantity=20000).order_id
        batch = self.station.open_batch(quantity=20000, order_id=order)
        join = self.in_background(self.station.provision, batch, 20000, 'bulk')
        both = self.file.read_bytes() + self.acme.certificate.read_bytes()
        one = self.file.read_bytes()
        for i in range(20):
            self.file.write_bytes((both, one)[i % 2])
            self.hang_up()
            self.service.daemon.send_signal(signal.SIGHUP)
            if i % 5 == 4:
                self.service.reload()
        self.assertEqual(len(set(join())), 20000)
        self.file.write_bytes(both)
        self.service.reload()
        self.bring(self.acme)

    def test_a_service_does_not_start_with_a_bad_file(self):
        self.file.write_text('nothing of use\n')
        self.service.configure()
        self.service.log.write_bytes(b'')
        daemon = self.service.spawn('--config', self.service.conf)
        self.assertEqual(daemon.wait(60), 78)
        self.assertIn('oem_certificates', self.service.log_text())


if __name__ == '__main__':
    unittest.main()
