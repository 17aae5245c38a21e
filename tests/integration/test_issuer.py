#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""mintmark-issuer against the stand-in for EJBCA: what it enrols, how it takes every kind of failure,
and that nothing is ever asked for twice without a look first."""
import os
import pathlib
import shutil
import subprocess
import tempfile
import time
import unittest

from cryptography import x509
from issuer_site import WAIT_S, Device, FakeEjbca, Worker, issuer_pb2

FAILURE = issuer_pb2.IssuerFailure
# No answer is given up that a busy machine makes slow, but in tests of those that never come.
BREAKER = 'breaker_wait_ms = 50 breaker_wait_max_ms = 200'
QUICK = f'request_timeout_ms = 30000 {BREAKER}'
HUNG = f'request_timeout_ms = 2000 {BREAKER}'
OPEN = 'breaker_wait_ms = 60000 breaker_wait_max_ms = 60000'  # for as long as the test takes


class IssuerTest(unittest.TestCase):
    ejbca_settings = {}

    def setUp(self):
        self.dir = tempfile.TemporaryDirectory(prefix='mintmark-issuer.')
        self.addCleanup(self.dir.cleanup)
        self.ejbca = FakeEjbca(**self.ejbca_settings)
        self.addCleanup(self.ejbca.close)

    def worker(self, **options):
        options.setdefault('settings', QUICK)
        worker = Worker(self.dir.name, self.ejbca, **options)
        self.addCleanup(worker.close)
        self.assertEqual(worker.ready.error.code, 0, worker.ready)
        return worker

    def failed(self, result, kind, reason, uncertain=False):
        self.assertEqual(result.WhichOneof('result'), 'failure', result)
        f = result.failure
        self.assertEqual((f.reason, getattr(f, 'class'), f.uncertain), (reason, kind, uncertain), f)
        self.assertTrue(f.text)
        self.assertEqual(f.retry_ms > 0, kind != FAILURE.PERMANENT, f)
        return f

    def issued(self, result, device, found=False):
        self.assertEqual(result.WhichOneof('result'), 'issued', result)
        self.assertTrue(device.owns(result.issued.certificate))
        self.assertEqual(result.issued.found, found)
        return result.issued

    def count(self, device):
        return len(self.ejbca.certificates(device.username))


class Enrol(IssuerTest):
    def test_a_device_gets_a_certificate_that_was_checked(self):
        w, d = self.worker(), Device()
        issued = self.issued(w.issue(d), d)
        self.assertEqual(self.ejbca.certificates(d.username)[0]['serial'].lstrip('0').upper(),
                         issued.serial.hex().lstrip('0').upper())
        self.assertEqual(list(w.ready.ready.profiles), ['widget'])

    def test_many_are_in_flight_at_a_time_and_share_connections(self):
        self.ejbca.set(latency_ms=100)
        w, devices = self.worker(), [Device() for _ in range(100)]
        for d, n in [(d, w.submit(d.job())) for d in devices]:
            self.issued(w.wait(n), d)
        state = self.ejbca.state()
        self.assertGreater(state['most_in_flight'], 4)
        self.assertLessEqual(state['most_in_flight'], 25)
        self.assertLess(state['connections']['accepted'], 40)
        self.assertEqual((state['certificates'], state['doubles']), (100, 0))

    def test_ejbca_writes_subjects_in_its_own_order(self):
        for order in ('request', 'ldap', 'x500'):
            with self.subTest(order=order):
                self.ejbca.set(certificate_profiles={'DevCert': {'subject_order': order}})
                w, d = self.worker(), Device()
                self.issued(w.issue(d), d)

    def test_one_that_is_too_late_is_not_sent_and_was_no_attempt(self):
        w, d = self.worker(), Device()
        job = d.job()
        job.deadline_mono_us = 1
        f = self.failed(w.do(job), FAILURE.RETRY, 'DEADLINE_EXCEEDED')
        self.assertTrue(f.general)
        self.assertEqual(self.count(d), 0)

    def test_the_chain_is_compared_when_it_was_asked_for(self):
        w, d = self.worker(profile='include_chain = true'), Device()
        self.issued(w.issue(d), d)
        self.ejbca.fault('wrong_chain')
        d = Device()
        f = self.failed(w.issue(d), FAILURE.PERMANENT, 'BAD_CERTIFICATE')
        self.assertIn('another chain', f.text)
        self.assertTrue(f.serial)

    def test_version_9_is_understood(self):
        self.ejbca.set(version='9.1.0')
        w, d = self.worker(), Device()
        self.issued(w.issue(d), d)
        self.issued(w.issue(d, lookup_first=True), d, found=True)

    def test_a_job_that_makes_no_sense_is_an_error(self):
        w, d = self.worker(), Device()
        for change, reason in (({'profile': 'nope'}, 'UNKNOWN_PROFILE'),
                               ({'uid': b'short'}, 'INVALID_FIELD'),
                               ({'username': ''}, 'INVALID_FIELD'),
                               ({'csr': b'\x30\x03\x02\x01'}, 'CSR_MALFORMED')):
            job = d.job()
            for key, value in change.items():
                setattr(job.issue, key, value)
            result = w.do(job)
            self.assertEqual(result.error.reason, reason, result)
        self.assertEqual(self.ejbca.state()['certificates'], 0)


class Keys(unittest.TestCase):
    """Issuing CAs with other keys than on P-256."""

    def start(self, keys):
        folder = tempfile.TemporaryDirectory(prefix='mintmark-issuer.')
        self.addCleanup(folder.cleanup)
        ejbca = FakeEjbca(keys=keys)
        self.addCleanup(ejbca.close)
        worker = Worker(folder.name, ejbca, settings=QUICK, profile='include_chain = true')
        self.addCleanup(worker.close)
        return ejbca, worker

    def test_rsa_and_p384_are_taken_and_what_is_wrong_is_found(self):
        for keys in ('p384/sha384', 'rsa2048', 'rsa2048/sha512/pss'):
            with self.subTest(keys=keys):
                ejbca, w = self.start(keys)
                d = Device()
                self.assertTrue(d.owns(w.issue(d).issued.certificate))
                self.assertTrue(w.issue(d, lookup_first=True).issued.found)
                for fault, what in (('forged_issuer', 'not by the issuer'), ('bad_signature', 'not by the issuer'),
                                    ('wrong_issuer', 'of another issuer'), ('wrong_key', 'another key')):
                    ejbca.no_faults()
                    ejbca.fault(fault, times=1)
                    f = w.issue(Device()).failure
                    self.assertEqual((f.reason, what in f.text), ('BAD_CERTIFICATE', True), f)
                chain = w.do(issuer_pb2.IssuerJob(ca_chain=issuer_pb2.CaChainJob(profile='widget')))
                self.assertTrue(chain.ca_chain.pinned, chain)
                crl = w.do(issuer_pb2.IssuerJob(crl=issuer_pb2.CrlJob(profile='widget')))
                self.assertTrue(x509.load_der_x509_crl(crl.crl.crl).is_signature_valid(
                    x509.load_pem_x509_certificate(ejbca.ca_certificate('IssuingCA').read_bytes()).public_key()))
                checked = w.do(issuer_pb2.IssuerJob(check=issuer_pb2.CheckJob())).checked
                self.assertEqual({c.good for c in checked.checks}, {True}, checked)

    def test_weak_ones_are_refused_at_the_start(self):
        for keys, what in (('rsa1024', 'certificate 2 has a key of 1024 bits, which is too short'),
                           ('rsa2048/sha1', 'signed by sha1WithRSAEncryption, which is too weak'),
                           ('rsa2048/md5', 'signed by md5WithRSAEncryption, which is too weak')):
            with self.subTest(keys=keys):
                _, w = self.start(keys)
                self.assertIn(what, w.ready.error.text)

    def test_a_crl_that_is_not_the_ca_s_is_refused(self):
        ejbca, w = self.start('rsa2048')
        # The service was set up with another CA of the same name.
        ejbca.stop()
        for name in ('IssuingCA.key', 'IssuingCA.pem'):
            (ejbca.dir / name).unlink()
        ejbca.start()
        f = w.do(issuer_pb2.IssuerJob(crl=issuer_pb2.CrlJob(profile='widget'))).failure
        self.assertEqual(f.reason, 'BAD_ANSWER')
        self.assertIn("the CRL has a signature that is not by the issuer's key", f.text)


class Doubt(IssuerTest):
    """An enrolment that was cut off: uncertain, and the next try looks first."""

    def uncertain(self, fault, reason='NO_ANSWER', made=1, settings=QUICK, **rule):
        w, d = self.worker(settings=settings), Device()
        # Connections are kept: a dead one must not have libcurl send an enrolment twice.
        self.issued(w.issue(Device()), _Any())
        self.ejbca.fault(fault, times=1, **rule)
        self.failed(w.issue(d), FAILURE.RETRY, reason, uncertain=True)
        self.assertEqual(self.count(d), made)
        self.issued(w.issue(d, lookup_first=True), d, found=bool(made))
        self.assertEqual(self.count(d), 1)
        self.assertEqual(self.ejbca.state()['doubles'], 0)

    def test_cut_after_issuing(self):
        self.uncertain('cut_after')

    def test_cut_before_issuing(self):
        self.uncertain('cut_before', made=0)

    def test_cut_in_the_answer(self):
        self.uncertain('cut_during')

    def test_hang_after_issuing(self):
        self.uncertain('hang_after', settings=HUNG)

    def test_hang_before_issuing(self):
        self.uncertain('hang_before', made=0, settings=HUNG)

    def test_truncated_json(self):
        self.uncertain('truncated_json', 'BAD_ANSWER')

    def test_wrong_json(self):
        self.uncertain('wrong_json', 'BAD_ANSWER')

    def test_html_after_issuing(self):
        self.uncertain('html_after', 'EJBCA_BUSY')

    def test_too_long_an_answer(self):
        self.uncertain('huge', bytes=1 << 20)

    def test_a_general_failure(self):
        self.uncertain('answer', 'EJBCA_FAILED', made=0, status=500, message='General failure.')

    def test_a_look_that_finds_nothing_asks_for_nothing_if_told_so(self):
        w, d = self.worker(), Device()
        self.failed(w.issue(d, lookup_only=True), FAILURE.PERMANENT, 'NOT_ENROLLED')
        self.assertEqual(self.count(d), 0)

    def test_a_look_that_fails_stays_uncertain(self):
        w, d = self.worker(), Device()
        self.ejbca.fault('html', calls='search', status=502)
        self.failed(w.issue(d, lookup_first=True), FAILURE.RETRY, 'BAD_ANSWER', uncertain=True)
        self.assertEqual(self.count(d), 0)

    def test_a_certificate_of_another_key_under_the_username_is_not_taken(self):
        w, d, other = self.worker(), Device(), Device()
        other.username = d.username
        self.issued(w.issue(other), other)
        self.issued(w.issue(d, lookup_first=True), d)

    def test_one_that_was_revoked_is_the_end(self):
        w, d = self.worker(), Device()
        issued = self.issued(w.issue(d), d)
        w.do(issuer_pb2.IssuerJob(revoke=issuer_pb2.RevokeJob(profile='widget',
                                                              serial=issued.serial)))
        self.failed(w.issue(d, lookup_first=True), FAILURE.PERMANENT, 'CERTIFICATE_REVOKED')
        self.assertEqual(self.count(d), 1)

    def test_doubles_are_told(self):
        w, d = self.worker(), Device()
        first = self.issued(w.issue(d), d)
        second = self.issued(w.issue(d), d)  # a careless caller, and EJBCA makes another
        issued = self.issued(w.issue(d, lookup_first=True), d, found=True)
        self.assertEqual({issued.serial, *issued.others}, {first.serial, second.serial})

    def test_one_that_is_listed_twice_is_no_double(self):
        """A double is revoked: the device's own certificate must never pass for one."""
        self.ejbca.set(list_twice=True)
        w, d = self.worker(), Device()
        first = self.issued(w.issue(d), d)
        issued = self.issued(w.issue(d, lookup_first=True), d, found=True)
        self.assertEqual((issued.serial, list(issued.others)), (first.serial, []))
        second = self.issued(w.issue(d), d)
        issued = self.issued(w.issue(d, lookup_first=True), d, found=True)
        self.assertEqual(sorted([issued.serial, *issued.others]),
                         sorted([first.serial, second.serial]))


class _Any:
    def owns(self, certificate):
        return True


class Refusals(IssuerTest):
    def test_a_key_of_another_device_is_permanent(self):
        w, d, again = self.worker(), Device(), Device()
        self.issued(w.issue(d), d)
        again.key, again.csr, again.number = d.key, d.csr, d.number
        f = self.failed(w.issue(again), FAILURE.PERMANENT, 'EJBCA_REFUSED')
        self.assertIn('not allowed to use same key', f.text)
        self.assertEqual(f.http_status, 400)

    def test_an_offline_token_is_tried_again_and_opens_the_breaker(self):
        w, d = self.worker(settings=OPEN), Device()
        self.ejbca.fault('offline')
        for _ in range(5):
            f = self.failed(w.issue(d), FAILURE.RETRY, 'EJBCA_OFFLINE')
            self.assertEqual(f.http_status, 400)
        f = self.failed(w.issue(d), FAILURE.UNAVAILABLE, 'EJBCA_AWAY')
        self.assertIn('offline', f.text)

    def test_an_offline_token_that_is_back_closes_the_breaker(self):
        w, d = self.worker(), Device()
        self.ejbca.fault('offline')
        while w.state().nodes[0].breaker == issuer_pb2.IssuerState.CLOSED:
            self.assertTrue(w.issue(d).failure.reason)
        self.ejbca.no_faults()
        self.back(w, d)

    def back(self, w, d):
        """Tries as the service would, until the breaker has let one through."""
        end = time.monotonic() + WAIT_S
        while (result := w.issue(d, lookup_first=True)).WhichOneof('result') != 'issued' and \
                time.monotonic() < end:
            self.assertEqual(getattr(result.failure, 'class'), FAILURE.UNAVAILABLE, result)
        self.assertEqual(result.WhichOneof('result'), 'issued')
        self.assertEqual(w.state().nodes[0].breaker, issuer_pb2.IssuerState.CLOSED)

    def test_names_that_ejbca_does_not_know_wait_for_an_operator(self):
        w, d = self.worker(profile="username = 'w-${number}'"), Device()
        self.ejbca.fault('answer', status=400, times=1,
                         message='Certificate profile with name "X" doesn\'t exist')
        self.failed(w.issue(d), FAILURE.RETRY, 'EJBCA_CONFIGURATION')
        self.issued(w.issue(d), d)

    def test_control_characters_in_a_text_are_escaped(self):
        w, d = self.worker(), Device()
        self.ejbca.fault('answer', status=400, times=1, message='a\n\x1b[31m' + 'b' * 2000)
        f = self.failed(w.issue(d), FAILURE.RETRY, 'EJBCA_UNKNOWN')
        self.assertTrue(f.text.startswith('a\\x0a\\x1b[31mb'), f.text)
        self.assertLess(len(f.text), 512)

    def test_no_rights(self):
        reader = self.ejbca.client('reader')
        w, d = self.worker(credential=f"client_p12 = '{reader.p12}' client_password_file = "
                           f"'{reader.password_file}'"), Device()
        f = self.failed(w.issue(d), FAILURE.RETRY, 'EJBCA_FORBIDDEN')
        self.assertEqual(f.http_status, 403)

    def test_a_service_that_is_switched_off(self):
        w, d = self.worker(), Device()
        self.ejbca.fault('html', status=403)
        self.failed(w.issue(d), FAILURE.RETRY, 'EJBCA_FORBIDDEN')

    def test_too_much_to_do(self):
        w, d = self.worker(), Device()
        self.ejbca.fault('empty', status=429, times=1)
        before = w.state().nodes[0].limit
        self.failed(w.issue(d), FAILURE.RETRY, 'EJBCA_BUSY')
        self.assertLess(w.state().nodes[0].limit, before)


class BadCertificates(IssuerTest):
    def bad(self, fault, text, revocable):
        w, d = self.worker(), Device()
        self.issued(w.issue(Device()), _Any())
        self.ejbca.fault(fault, times=1)
        f = self.failed(w.issue(d), FAILURE.PERMANENT, 'BAD_CERTIFICATE')
        self.assertIn(text, f.text)
        self.assertEqual((bool(f.certificate), bool(f.serial)), (revocable, revocable))
        return w, d, f

    def test_of_another_key(self):
        self.bad('wrong_key', 'for another key', False)

    def test_of_another_subject(self):
        w, d, f = self.bad('wrong_subject', 'another subject', True)
        result = w.do(issuer_pb2.IssuerJob(revoke=issuer_pb2.RevokeJob(
            profile='widget', serial=f.serial, reason='SUPERSEDED')))
        self.assertTrue(result.revocation.revoked)
        # Once it is revoked, the device may have a proper one.
        self.issued(w.issue(d, lookup_first=True), d)

    def test_of_another_issuer(self):
        w, _, f = self.bad('wrong_issuer', 'another issuer', True)
        self.assertEqual(f.issuer_dn, 'CN=OtherCA,O=Elsewhere,C=SE')
        # It is revoked under its own CA's name, and not that of the profile's.
        own = x509.load_der_x509_certificate(f.certificate).issuer.public_bytes()
        nobody = x509.Name.from_rfc4514_string('CN=Nobody,O=Elsewhere,C=SE').public_bytes()

        def revoke(name):
            return w.do(issuer_pb2.IssuerJob(revoke=issuer_pb2.RevokeJob(
                profile='widget', serial=f.serial, reason='SUPERSEDED', issuer_name=name)))
        for name in (nobody, x509.load_pem_x509_certificate(
                self.ejbca.ca_certificate('IssuingCA').read_bytes()).subject.public_bytes()):
            self.failed(revoke(name), FAILURE.PERMANENT, 'EJBCA_NOT_FOUND')
        self.assertTrue(revoke(own).revocation.revoked)

    def test_of_the_own_issuer_by_its_name(self):
        w, _, f = self.bad('wrong_subject', 'another subject', True)
        name = x509.load_der_x509_certificate(f.certificate).issuer.public_bytes()
        self.assertTrue(w.do(issuer_pb2.IssuerJob(revoke=issuer_pb2.RevokeJob(
            profile='widget', serial=f.serial, reason='SUPERSEDED', issuer_name=name))).revocation.revoked)

    def test_of_a_forged_issuer(self):
        self.bad('forged_issuer', '', True)

    def test_with_a_bad_signature(self):
        self.bad('bad_signature', 'signature', True)

    def test_expired(self):
        self.bad('expired_certificate', 'expired', True)


class Nodes(IssuerTest):
    def test_another_node_stands_in_and_the_first_comes_back(self):
        with FakeEjbca() as away:
            url, port = away.url, away.port
            ca = away.server_ca.read_text()
        self.assertTrue(port and ca)
        w = self.worker(nodes=[url, self.ejbca.url])
        for _ in range(8):
            d = Device()
            self.issued(w.issue(d), d)  # not one of them fails
        first, second = w.state().nodes
        self.assertNotEqual(first.breaker, issuer_pb2.IssuerState.CLOSED)
        self.assertEqual(second.breaker, issuer_pb2.IssuerState.CLOSED)
        self.assertTrue(first.last_error)
        self.assertGreaterEqual(second.requests, 8)

    def test_all_away_is_unavailable_and_nothing_is_uncertain(self):
        self.ejbca.set(listen=False)
        w, d = self.worker(), Device()
        reasons, end = set(), time.monotonic() + WAIT_S
        while 'EJBCA_AWAY' not in reasons:  # at the latest in one of the moments before it tries again
            self.assertLess(time.monotonic(), end, reasons)
            result = w.issue(d)
            self.assertFalse(result.failure.uncertain)
            reasons.add(result.failure.reason)
        self.ejbca.set(listen=True)
        Refusals.back(self, w, d)

    def test_a_node_may_be_named(self):
        w, d = self.worker(nodes=[self.ejbca.url.replace('127.0.0.1', 'localhost')]), Device()
        self.issued(w.issue(d), d)
        self.assertIn('localhost', w.state().nodes[0].name)

    def test_a_name_that_nobody_has_is_a_node_that_is_away(self):
        w, d = self.worker(nodes=['https://no-such-host.invalid:8443', self.ejbca.url]), Device()
        self.issued(w.issue(d), d)
        self.assertIn('no-such-host', w.state().nodes[0].last_error)

    def test_a_server_of_another_ca_is_not_believed(self):
        with FakeEjbca() as other:
            w, d = self.worker(nodes=[other.url]), Device()
            f = self.failed(w.issue(d), FAILURE.RETRY, 'NODE_UNREACHABLE')
            self.assertIn('certificate', f.text)
            self.assertEqual(other.state()['certificates'], 0)


class Queries(IssuerTest):
    def test_revocation_and_its_status(self):
        w, d = self.worker(), Device()
        serial = self.issued(w.issue(d), d).serial
        status = issuer_pb2.IssuerJob(revocation=issuer_pb2.RevocationJob(profile='widget',
                                                                          serial=serial))
        self.assertFalse(w.do(status).revocation.revoked)
        revoke = issuer_pb2.IssuerJob(revoke=issuer_pb2.RevokeJob(
            profile='widget', serial=serial, reason='KEY_COMPROMISE'))
        r = w.do(revoke).revocation
        self.assertEqual((r.revoked, r.was_revoked), (True, False))
        self.assertTrue(w.do(revoke).revocation.was_revoked)
        r = w.do(status).revocation
        self.assertEqual((r.revoked, r.reason), (True, 'KEY_COMPROMISE'))
        self.assertGreater(r.time_ms, 0)

    def test_revoking_what_is_not_there_is_permanent(self):
        self.failed(self.worker().do(issuer_pb2.IssuerJob(revoke=issuer_pb2.RevokeJob(
            profile='widget', serial=b'\x12\x34'))), FAILURE.PERMANENT, 'EJBCA_NOT_FOUND')

    def test_chain_and_crl(self):
        w = self.worker()
        chain = w.do(issuer_pb2.IssuerJob(ca_chain=issuer_pb2.CaChainJob(profile='widget')))
        self.assertTrue(chain.ca_chain.pinned, chain)
        self.assertEqual(len(chain.ca_chain.certificates), 2)
        crl = w.do(issuer_pb2.IssuerJob(crl=issuer_pb2.CrlJob(profile='widget')))
        self.assertTrue(crl.crl.crl.startswith(b'\x30'), crl)
        w.wait_log(r'event=ca_chain .*ca=IssuingCA')

    def test_lists_are_paged_and_complete(self):
        w, devices = self.worker(), [Device() for _ in range(25)]
        for n in [w.submit(d.job()) for d in devices]:
            w.wait(n)
        seen, page, more = {}, 0, True
        while more:
            page += 1
            listed = w.do(issuer_pb2.IssuerJob(list=issuer_pb2.ListJob(
                profile='widget', page=page, page_size=10))).listed
            seen.update({e.username: e for e in listed.entries})
            more = listed.more
        self.assertEqual(page, 3)
        self.assertEqual(set(seen), {d.username for d in devices})
        issued = {c['username']: c for c in self.ejbca.certificates()}
        for username, e in seen.items():
            self.assertEqual(e.spki_sha256.hex(), issued[username]['key_sha256'].lower())
            self.assertEqual(e.serial.hex().lstrip('0'), issued[username]['serial'].lower().lstrip('0'))


class Check(IssuerTest):
    def check(self, w):
        result = w.do(issuer_pb2.IssuerJob(check=issuer_pb2.CheckJob()))
        self.assertEqual(result.WhichOneof('result'), 'checked', result)
        return {c.what: c for c in result.checked.checks}

    def test_all_is_well_and_nothing_is_issued(self):
        checks = self.check(self.worker())
        self.assertEqual([(w, c.good) for w, c in checks.items()],
                         [(w, True) for w in ('connection', 'ca', 'chain', 'profiles', 'rights')],
                         checks)
        self.assertEqual(self.ejbca.state()['certificates'], 0)

    def test_what_is_wrong_is_named(self):
        checks = self.check(self.worker(ca='NoCA'))
        self.assertIn('NoCA', checks['ca'].text)
        self.assertNotIn('rights', checks)

    def test_another_chain(self):
        w = self.worker(chain=('RootCA',))
        self.assertFalse(self.check(w)['chain'].good)
        w.wait_log('event=ca_chain_differs')

    def test_an_unknown_profile(self):
        checks = self.check(self.worker(certificate_profile='NoProfile'))
        self.assertFalse(checks['profiles'].good)
        self.assertFalse(checks['rights'].good)
        self.assertIn('NoProfile', checks['rights'].text)

    def test_no_rights(self):
        reader = self.ejbca.client('reader')
        checks = self.check(self.worker(credential=f"client_p12 = '{reader.p12}' "
                                        f"client_password_file = '{reader.password_file}'"))
        self.assertFalse(all(c.good for c in checks.values()))

    def test_a_node_that_is_away(self):
        self.ejbca.set(listen=False)
        checks = self.check(self.worker())
        self.assertEqual(list(checks), ['connection'])
        self.assertFalse(checks['connection'].good)


class Credentials(IssuerTest):
    def refused(self, reason, **options):
        worker = Worker(self.dir.name, self.ejbca, **options)
        self.addCleanup(worker.close)
        self.assertEqual(worker.ready.error.reason, reason, worker.ready)

    def test_a_wrong_password(self):
        wrong = f'{self.dir.name}/wrong'
        with open(wrong, 'w', encoding='ascii') as f:
            f.write('wrong\n')
        os.chmod(wrong, 0o600)
        self.refused('CLIENT_CREDENTIAL', credential=f"client_p12 = '{self.ejbca.ra.p12}' "
                     f"client_password_file = '{wrong}'")

    def test_no_pkcs12(self):
        self.refused('CLIENT_CREDENTIAL', credential=f"client_p12 = '{self.ejbca.ra.key}' "
                     f"client_password_file = '{self.ejbca.ra.password_file}'")


@unittest.skipUnless(shutil.which('softhsm2-util') and not os.environ.get('MINTMARK_SANITIZED'),
                     'needs softhsm2-util, and a worker without sanitizers')
class KeyInToken(IssuerTest):
    """The appliance's TLS key in a token, through OpenSSL's pkcs11 provider."""

    def open(self, pin):
        folder = pathlib.Path(self.dir.name)
        (folder / 'tokens').mkdir()
        conf = folder / 'softhsm.conf'
        conf.write_text(f'directories.tokendir = {folder}/tokens\nobjectstore.backend = file\n')
        env = dict(os.environ, SOFTHSM2_CONF=str(conf))
        ra = self.ejbca.ra
        for arguments in (['--init-token', '--free', '--so-pin', '12345678', '--label', 'ra'],
                          ['--import', ra.key, '--token', 'ra', '--label', 'ra', '--id', '01']):
            subprocess.run(['softhsm2-util', *arguments, '--pin', '1234'], check=True, env=env,
                           stdout=subprocess.DEVNULL)
        (folder / 'pin').write_text(f'{pin}\n')
        (folder / 'pin').chmod(0o600)
        worker = Worker(folder, self.ejbca, env=f"'SOFTHSM2_CONF={conf}'", credential=f"""
            client_key = 'pkcs11:token=ra;object=ra;type=private' client_token = 'main'
            client_certificate = '{ra.certificate}'""")
        self.addCleanup(worker.close)
        if worker.ready.error.reason == 'NO_PKCS11_PROVIDER':
            self.skipTest(worker.ready.error.text)
        return worker

    def test_it_signs_in_the_sandbox(self):
        worker = self.open('1234')
        self.assertEqual(worker.ready.error.code, 0, worker.ready)
        devices = [Device() for _ in range(20)]
        for d, n in [(d, worker.submit(d.job())) for d in devices]:
            self.issued(worker.wait(n), d)

    def test_a_wrong_pin_is_tried_once(self):
        worker = self.open('9999')
        self.assertEqual((worker.ready.error.code, worker.ready.error.reason), (-16, 'TOKEN_KEY'))
        self.assertEqual(worker.process.wait(30), 3)  # MM_EXIT_PIN: nobody starts it again


if __name__ == '__main__':
    unittest.main(verbosity=2)
