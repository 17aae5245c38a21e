#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Profiles whose keys are made in two tokens that hold the same CA and transport keys: two SoftHSM
tokens, the second a copy of the first, as a cloned pair of HSMs would be; and one that should hold
the same, and does not."""
import os
import pathlib
import shutil
import sys
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'support'))

import token_kind  # noqa: E402  first: it may become another user
from service_site import BUILD, WAIT_S, Client, Refused, Users, station_pb2, types_pb2  # noqa: E402
from prometheus_text import read_page  # noqa: E402
from site_under_test import OFFICER, Site, run  # noqa: E402

try:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID
except ImportError as missing:
    print(f'skipped: {missing}')
    sys.exit(77)

FAULT_MODULE = BUILD / 'tests/faults/p11fault.so'
SLOW = token_kind.KIND == 'softokn'  # it makes a sixteenth of the keys that SoftHSM makes in a second
FOLDER = 'nss' if token_kind.KIND == 'softokn' else 'tokens'  # of the site's token
MANY = 640 if SLOW else 2000  # ten chunks at least: both tokens get their share
LOAD = 40 if SLOW else 200  # devices in a call of those that go on and on


class Patient(Client):
    """Waits as long as a slow token needs on a machine with other things to do."""

    def provision(self, *args, timeout=10 * WAIT_S, **kwargs):
        return super().provision(*args, timeout=timeout, **kwargs)


class Pair:
    """A site whose profile dac is made in the tokens main and second, one worker each."""

    def __init__(self, spoil=None, main_late=False):
        self.main_late = main_late
        self.site = Site(workers=1)
        base = self.site.dir
        shutil.copytree(base / FOLDER, base / f'{FOLDER}-second')
        self.rules = base / 'rules'
        text = self.site.conf.read_text()
        if SLOW:
            text = token_kind.behind(text, FAULT_MODULE, MM_FAULT_RULES=base / 'rules-main')
            text = text.replace("token 'main' {", "token 'main' {\n    job_timeout_ms = 60000", 1)
        text += f"""
token 'second' {{
    module = '{FAULT_MODULE}'
    uri = 'pkcs11:token=demo'
    pin_file = 'user.pin'
    workers = 1
    job_timeout_ms = {60000 if SLOW else 3000}
    {self.where()}
}}
metrics {{ port = 0 }}
"""
        for section in ("transport 'line' {", "issuer 'matter-pai' {"):
            head, tail = text.split(section, 1)
            text = head + section + tail.replace("token = 'main'", "token = {'main', 'second'}", 1)
        # The other profiles' keys stay in main, since their CA's key does, or they say so.
        self.site.conf.write_text(text)
        if spoil:
            spoil(self)
        self.client = None

    def where(self):
        """The second token's place, behind the module that misbehaves; no proxy before it."""
        base = self.site.dir
        fault = f"'MM_FAULT_MODULE={token_kind.LIBRARY}', 'MM_FAULT_RULES={self.rules}'"
        if token_kind.KIND == 'softokn':
            return f"environment = {{{fault}}}\n    " \
                f"parameters = \"configdir='sql:{base}/nss-second' dbTokenDescription='demo'\""
        conf = (base / 'softhsm2.conf').read_text()
        (base / 'softhsm2-second.conf').write_text(conf.replace('/tokens\n', '/tokens-second\n'))
        return f"environment = {{'SOFTHSM2_CONF={base}/softhsm2-second.conf', {fault}}}"

    def __enter__(self):
        if self.main_late:
            here, there = self.site.dir / FOLDER, self.site.dir / f'{FOLDER}-main-away'
            here.rename(there)
            self.site.start(wait=False)
            self.wait_for(lambda: 'event=worker_ready worker=token.second.0' in self.site.log.read_text())
            there.rename(here)
            self.site.wait_ready()
        else:
            self.site.start()
        self.metrics = self.site.log.read_text().split('event=metrics_listening', 1)[1]
        self.metrics = int(self.metrics.split('port=', 1)[1].split()[0])
        for profile in ('dac', 'dac-device'):
            self.site.add_order(f'order-{profile}', 1000000, profile=profile)
        self.client = self.connect()
        self.batch = self.site.open_batch(500000, order='order-dac')
        self.pai = x509.load_pem_x509_certificate((self.site.dir / 'ca/pai.pem').read_bytes())
        return self

    def __exit__(self, *exc):
        if self.client:
            self.client.channel.close()
        self.site.__exit__(*exc)

    def connect(self):
        return Patient(Users(self.site), 'station')

    def page(self):
        return read_page(self.metrics)

    def units(self):
        """Devices that each token has made."""
        page = self.page()
        return {t: page('mintmark_token_units_total', token=t) for t in ('main', 'second')}

    def wait_for(self, what, seconds=WAIT_S * (4 if SLOW else 1)):
        end = time.monotonic() + seconds
        while not what():
            if time.monotonic() > end:
                raise AssertionError(f'it does not come:\n{self.site.log_tail(40)}')
            time.sleep(0.05)

    def ready(self, token):
        return self.page()('mintmark_token_workers_ready', token=token)

    def wait_both(self):
        self.wait_for(lambda: self.ready('main') and self.ready('second'))

    def set_rules(self, rules, path=None):
        path = path or self.rules
        if rules is None:
            path.unlink(missing_ok=True)
            return
        new = path.with_suffix('.new')
        new.write_text(rules)
        new.replace(path)

    def move(self, token, away):
        """What takes a token away: its files are gone, and its sessions with them. NSS softokn goes on with
        the files that it has open, so that there the module before it says that the token is removed."""
        if SLOW:
            rules = {'main': self.rules.with_name('rules-main'), 'second': self.rules}[token]
            self.set_rules('*=removed' if away else None, rules)
            return
        here = self.site.dir / {'main': FOLDER, 'second': f'{FOLDER}-second'}[token]
        there = here.with_name(f'{here.name}-away')
        (here if away else there).rename(there if away else here)

    def move_second(self, away):
        self.move('second', away)

    def check(self, bundles, count):
        """The devices are the PAI's, and each has a key of its own."""
        bundles = [types_pb2.Bundle.FromString(b) for b in bundles]
        keys = set()
        for bundle in bundles:
            certificate = x509.load_der_x509_certificate(bundle.certificate)
            self.pai.public_key().verify(certificate.signature, certificate.tbs_certificate_bytes,
                                         ec.ECDSA(certificate.signature_hash_algorithm))
            keys.add(certificate.public_key().public_numbers().x)
        assert len(keys) == count, f'{len(keys)} keys for {count}'


class Load(threading.Thread):
    """A station that asks for devices again and again, and never repeats what was refused."""

    def __init__(self, pair, name):
        super().__init__(daemon=True)
        self.pair, self.name, self.over = pair, name, threading.Event()
        self.calls, self.devices, self.refused = 0, [], []

    def run(self):
        with self.pair.connect() as client:
            while not self.over.is_set():
                self.calls += 1
                try:
                    self.devices += client.provision(self.pair.batch, LOAD, f'{self.name}-{self.calls}')
                except Refused as error:
                    self.refused.append(str(error))


class TwoTokens(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.pair = Pair()
        cls.addClassCleanup(cls.pair.__exit__, None, None, None)
        cls.pair.__enter__()

    def setUp(self):
        self.pair.set_rules(None)
        self.pair.wait_both()

    def test_both_work_on_one_call_and_what_they_make_is_one_kind(self):
        before = self.pair.units()
        bundles = self.pair.client.provision(self.pair.batch, MANY, 'both')
        after = self.pair.units()
        self.pair.check(bundles, MANY)
        made = {t: after[t] - before[t] for t in after}
        self.assertEqual(sum(made.values()), MANY)
        self.assertGreater(min(made.values()), MANY / 10, made)

    def test_one_goes_away_under_load_and_no_call_fails_and_it_comes_back_by_itself(self):
        loads = [Load(self.pair, f'load-{i}') for i in range(3)]
        for load in loads:
            load.start()
        self.pair.wait_for(lambda: all(load.devices for load in loads))
        self.pair.move_second(away=True)
        self.pair.wait_for(lambda: not self.pair.ready('second'))
        self.assertTrue(self.pair.client.health('profile/dac'))
        calls = [load.calls for load in loads]
        self.pair.wait_for(lambda: all(load.calls > n + 1 for load, n in zip(loads, calls)))
        self.pair.move_second(away=False)
        self.pair.wait_for(lambda: self.pair.ready('second'))
        units = self.pair.units()['second']
        self.pair.wait_for(lambda: self.pair.units()['second'] > units + LOAD)
        for load in loads:
            load.over.set()
        for load in loads:
            load.join()
        self.assertEqual([load.refused for load in loads], [[], [], []])
        self.pair.check([d for load in loads for d in load.devices], LOAD * sum(load.calls for load in loads))

    def test_a_call_that_began_with_one_token_goes_on_with_both(self):
        self.pair.move_second(away=True)
        load = Load(self.pair, 'alone')
        load.start()
        self.pair.wait_for(lambda: not self.pair.ready('second'))
        load.over.set()
        load.join()
        stream = self.pair.client.stream(self.pair.batch, (3 if SLOW else 10) * MANY, 'long', timeout=60 * WAIT_S)
        next(stream)
        self.pair.move_second(away=False)
        self.pair.wait_for(lambda: self.pair.ready('second'))
        units = self.pair.units()['second']
        rest = sum(1 for _ in stream)
        self.assertGreater(rest, 0)
        self.assertGreater(self.pair.units()['second'], units)

    def main_ms(self):
        """What main takes for a device, on this machine with whatever else it does now."""
        before = self.pair.page()
        self.pair.client.provision(self.pair.batch, 400, 'quick')
        after = self.pair.page()
        seconds, units = (after(name, token='main') - before(name, token='main') for name in
                          ('mintmark_token_busy_seconds_total', 'mintmark_token_units_total'))
        return seconds * 1000 / units

    def test_a_slow_one_gets_less(self):
        delay = max(200 if SLOW else 20, round(10 * self.main_ms()))
        # By steps: jobs are as big as the last ones allow, and one that takes too long is given up.
        for step in (delay // 50, delay // 8, delay):
            self.pair.set_rules(f'C_GenerateKeyPair=delay:{step}')
            self.pair.client.provision(self.pair.batch, 400, f'learn-{step}')
        before = self.pair.units()
        bundles = self.pair.client.provision(self.pair.batch, MANY, 'slow')
        after = self.pair.units()
        made = {t: after[t] - before[t] for t in after}
        self.pair.check(bundles, MANY)
        self.assertLess(made['second'] * (1 if SLOW else 3), made['main'], made)  # on busy cores both are slow
        self.assertGreater(made['second'], 0)

    def test_both_away_is_refused_and_health_says_so(self):
        self.pair.move_second(away=True)
        self.pair.move('main', away=True)
        try:
            def refused():
                try:
                    self.pair.client.provision(self.pair.batch, 20, 'gone')
                except Refused as error:
                    self.assertEqual(error.reason, 'TOKEN_UNAVAILABLE')
                    return not self.pair.client.health('profile/dac')
                return False
            self.pair.wait_for(refused)
            self.assertFalse(self.pair.page()('mintmark_profile_ready', profile='dac'))
        finally:
            self.pair.move('main', away=False)
            self.pair.move_second(away=False)
        self.pair.wait_both()
        self.pair.check(self.pair.client.provision(self.pair.batch, 20, 'gone'), 20)
        self.assertTrue(self.pair.client.health('profile/dac'))

    def test_only_a_profiles_own_token_counts_for_its_health(self):
        self.pair.move('main', away=True)
        try:
            # idevid is made in main alone; dac goes on in the second.
            self.pair.client.provision(self.pair.batch, 200, 'notice')
            self.pair.wait_for(lambda: not self.pair.client.health('profile/idevid'))
            self.assertTrue(self.pair.client.health('profile/dac'))
            self.pair.check(self.pair.client.provision(self.pair.batch, 100, 'second-alone'), 100)
        finally:
            self.pair.move('main', away=False)
        self.pair.wait_both()
        self.pair.wait_for(lambda: self.pair.client.health('profile/idevid'))

    def test_enroll_is_spread_too(self):
        batch = self.pair.site.open_batch(1000, profile='dac-device', order='order-dac-device')
        before = self.pair.units()
        requests = []
        for i in range(256):
            key = ec.generate_private_key(ec.SECP256R1())
            name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f'device {i}')])
            csr = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
            requests.append(station_pb2.DeviceCsr(csr=csr.public_bytes(serialization.Encoding.DER)))
        messages = [station_pb2.EnrollRequest(batch_uid=batch, request_id='enroll', devices=requests[i:i + 16])
                    for i in range(0, 256, 16)]
        call = self.pair.client.channel.stream_stream(
            '/mintmark.v1.StationService/Enroll',
            request_serializer=station_pb2.EnrollRequest.SerializeToString,
            response_deserializer=station_pb2.EnrollResponse.FromString)(iter(messages), timeout=WAIT_S)
        results = [r for answer in call for r in answer.results]
        self.assertEqual(len(results), 256)
        after = self.pair.units()
        self.assertEqual(sum(after.values()) - sum(before.values()), 256)
        self.assertGreater(min(after[t] - before[t] for t in after), 0)


class OneTokenTwice(unittest.TestCase):
    """Two sections of one token; only what the second sees of it is false."""

    def test_a_lie_that_one_section_notices_ends_the_others_workers_too(self):
        site = Site(workers=1)
        self.addCleanup(site.__exit__, None, None, None)
        rules = site.dir / 'rules'
        head, rest = site.conf.read_text().split("token 'main' {", 1)
        section, rest = rest.split('\n}', 1)
        section = token_kind.behind(section, FAULT_MODULE, MM_FAULT_RULES='@')
        for name in ("transport 'line' {", "issuer 'matter-pai' {"):
            before, after = rest.split(name, 1)
            rest = before + name + after.replace("token = 'main'", "token = {'main', 'again'}", 1)
        site.conf.write_text(head + "token 'main' {" + section.replace('@', f'{site.dir}/none') +
                             "\n}\ntoken 'again' {" + section.replace('@', str(rules)) + '\n}' + rest)
        site.configure('metrics { port = 0 }')
        site.start()
        port = site.log.read_text().split('event=metrics_listening', 1)[1].split('port=', 1)[1].split()[0]

        def wait_for(what):
            end = time.monotonic() + WAIT_S
            while not what():
                self.assertLess(time.monotonic(), end, site.log_tail(40))
                time.sleep(0.05)

        def ready(token):
            return read_page(int(port))('mintmark_token_workers_ready', token=token)

        wait_for(lambda: ready('main') and ready('again'))
        site.add_order('twice', 10000)
        batch = site.open_batch(10000, order='twice')
        out = site.base / 'out'
        site.station('provision', '--batch', batch, '--count', 400, '--out', out)
        self.assertNotIn('token_distrusted', site.log.read_text())
        rules.write_text('C_Sign=lie')
        site.station('provision', '--batch', batch, '--count', MANY, '--out', site.base / 'more', timeout=20 * WAIT_S)
        log = site.log.read_text()
        for name in 'main', 'again':
            self.assertEqual(log.count(f'event=token_distrusted section={name}'), 1, site.log_tail(40))
        wait_for(lambda: ready('main'))
        self.assertFalse(ready('again'))
        self.assertEqual(read_page(int(port))('mintmark_token_distrusted_total'), 1)
        rules.unlink()
        wait_for(lambda: ready('again'))


class Repeated(unittest.TestCase):
    """A token that makes a key again, for another worker and after a restart: what no worker can see."""

    def test_a_key_is_taken_once_across_workers_and_restarts(self):
        site = Site(workers=2)
        self.addCleanup(site.__exit__, None, None, None)
        rules = site.dir / 'rules'
        site.conf.write_text(token_kind.behind(site.conf.read_text(), FAULT_MODULE, MM_FAULT_RULES=rules))
        keys, devices = set(), 0
        for life in range(2):
            site.start()
            if life == 0:
                site.add_order('repeated', 10000)
                batch = site.open_batch(10000, order='repeated')
            end = time.monotonic() + WAIT_S
            while site.log.read_text().count('event=worker_ready worker=token.') < 2 * (life + 1):
                self.assertLess(time.monotonic(), end, site.log_tail())
                time.sleep(0.05)
            # The next pair of each process is the one that is kept in the token.
            rules.write_text('C_GenerateKeyPair:1=stored')
            for count in (1, 639):  # by one worker, and by both
                out = site.base / f'out-{life}-{count}'
                site.station('provision', '--batch', batch, '--count', count, '--out', out, timeout=200)
            self.assertIn('reason=TOKEN_KEY_REPEATED', site.log.read_text(), site.log_tail(40))
            rules.unlink()
            for certificate in site.base.glob(f'out-{life}-*/*.crt'):
                keys.add(x509.load_der_x509_certificate(certificate.read_bytes()).public_key()
                         .public_numbers().x)
                devices += 1
            self.assertEqual(site.stop(), 0)
        distrusted = [line for line in site.log.read_text().splitlines() if 'event=token_distrusted' in line]
        self.assertGreaterEqual(len(distrusted), 2)
        for line in distrusted:
            self.assertIn('reason=TOKEN_KEY_REPEATED', line)
            self.assertIn('another device has', line)
        self.assertEqual((len(keys), devices), (1280, 1280))


def other_transport(pair):
    """Each token makes a transport key of its own under the same label."""
    text = pair.site.conf.read_text()
    for token in ('main', 'second'):
        run(OFFICER, 'key', 'create', '--config', pair.site.conf, '--token', token, '--use', 'transport',
            '--label', 'other', '--operator', 'x', '--witness', 'y', '--yes')
    pair.site.conf.write_text(text.replace("key = 'pkcs11:object=transport'", "key = 'pkcs11:object=other'"))


def other_ca(pair):
    """The second token has another key under the CA's label."""
    tool = ['pkcs11-tool', '--module', token_kind.LIBRARY, '--login', '--pin',
            (pair.site.dir / 'user.pin').read_text().strip(), '--token-label', 'demo']
    env = {**os.environ, 'SOFTHSM2_CONF': str(pair.site.dir / 'softhsm2-second.conf')}
    for kind in ('privkey', 'pubkey'):
        run(*tool, '--delete-object', '--type', kind, '--label', 'pai', env=env)
    run(OFFICER, 'key', 'create', '--config', pair.site.conf, '--token', 'second', '--use', 'signing',
        '--label', 'pai', '--operator', 'x', '--witness', 'y', '--yes')


class Different(unittest.TestCase):
    def refused(self, spoil, reason, **how):
        with Pair(spoil, **how) as pair:
            log = pair.site.log
            pair.wait_for(lambda: reason in log.read_text())
            pair.check(pair.client.provision(pair.batch, 100, 'alone'), 100)
            self.assertEqual(pair.units()['second'], 0)

    def test_a_token_with_another_transport_key_is_refused(self):
        self.refused(other_transport, 'does not have the transport key')

    def test_the_first_in_the_list_is_right_even_when_it_comes_last(self):
        self.refused(other_transport, 'does not have the transport key', main_late=True)

    @unittest.skipUnless(shutil.which('pkcs11-tool'), 'no pkcs11-tool')
    @unittest.skipIf(token_kind.KIND == 'softokn', 'pkcs11-tool gives a module no parameters')
    def test_a_token_with_another_ca_key_is_refused(self):
        self.refused(other_ca, 'the key in the token is not that of the certificate')


if __name__ == '__main__':
    unittest.main()
