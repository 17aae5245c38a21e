#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A site takes another issuing CA while it serves: every device comes with the chain that it was issued
under, whenever it is delivered. On a demo site with a real SoftHSM token."""
import base64
import json
import pathlib
import re
import signal
import ssl
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'support'))

import token_kind  # noqa: E402,F401  first: it may become another user
import audit  # noqa: E402
from cryptography import x509  # noqa: E402
from cryptography.hazmat.primitives import serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec  # noqa: E402
from service_site import Base, Client, Refused, Users, openssl, types_pb2  # noqa: E402
from site_under_test import OFFICER, Site, run  # noqa: E402
from test_enroll import Stream, device, new_key, request  # noqa: E402

COUNT = 400  # devices of a call that is cut off in the middle


def pairs(messages, of=lambda m: m.bundles):
    """Each device with the chain announced last before it, as a client has them."""
    chain, found = [], []
    for message in messages:
        if message.chain:
            chain = list(message.chain)
        found += [(bundle, chain) for bundle in of(message)]
    return found


def ders(path):
    end = '-----END CERTIFICATE-----\n'
    return [ssl.PEM_cert_to_DER_cert(p + end) for p in path.read_text().split(end)[:-1]]


class Chains(Base):
    @classmethod
    def setUpClass(cls):
        cls.site = Site(workers=2)
        cls.addClassCleanup(cls.site.__exit__, None)
        ca = cls.site.dir / 'ca'
        run(OFFICER, 'ca', 'create-sub', '--config', cls.site.conf, '--token', 'main', '--label', 'pai-b',
            '--create-key', '--preset', 'matter-pai', '--vid', 'FFF1', '--subject',
            'CN=mintmark demo PAI B,VID=${vid}', '--validity', '15y', '--parent-label', 'paa',
            '--parent-certificate', ca / 'paa.pem', '--out', ca / 'pai-b.pem', '--operator', 'test', '--yes')
        cls.of_a = re.sub(r"(profile '?dac'? \{)", r"\1\n    manifest = 'jws'", cls.site.conf.read_text(), count=1)
        cls.of_b = cls.of_a.replace('object=pai\'', 'object=pai-b\'').replace('ca/pai.pem', 'ca/pai-b.pem')
        assert cls.of_b.count('pai-b') == 2
        cls.chains = {'A': ders(ca / 'pai.pem'), 'B': ders(ca / 'pai-b.pem')}

    def setUp(self):
        self.addCleanup(self.site.stop)
        self.site.conf.write_text(self.of_a)
        self.start()

    def start(self):
        self.site.start()
        self.station = Client(Users(self.site), 'station')
        self.addCleanup(self.station.channel.close)

    def batch(self, profile='dac', quantity=2 * COUNT):
        order = f'o-{time.monotonic_ns()}'
        self.site.add_order(order, quantity, profile)
        return self.site.open_batch(quantity, profile, order=order)

    def provision(self, batch, count, request_id):
        messages = self.station.stream(batch, count, request_id)
        return pairs(types_pb2.Delivery.FromString(m) for m in messages)

    def cut_off(self, batch, request_id):
        """The devices that came before the station went away."""
        call = self.station.stream(batch, COUNT, request_id)
        first = types_pb2.Delivery.FromString(next(call))
        call.cancel()
        return [b.SerializeToString() for b in first.bundles]

    def to_b(self, batch):
        """By a reload; waits until devices are made under B."""
        self.site.conf.write_text(self.of_b)
        self.site.daemon.send_signal(signal.SIGHUP)
        end = time.monotonic() + 30
        while True:
            try:
                (_, chain), = self.provision(batch, 1, f'probe-{time.monotonic_ns()}')
                if chain == self.chains['B']:
                    return
            except Refused as refused:
                self.assertEqual(refused.reason, 'PROFILE_CHANGED')
            self.assertLess(time.monotonic(), end, self.site.log_tail())

    def check(self, found):
        """Each device verifies under the chain announced to it; how many of which CA."""
        for name, chain in self.chains.items():
            own = [x509.load_der_x509_certificate(b.certificate) for b, c in found if c == chain]
            issuer = x509.load_der_x509_certificate(chain[0])
            for certificate in own:
                self.assertEqual(certificate.issuer, issuer.subject)
                issuer.public_key().verify(certificate.signature, certificate.tbs_certificate_bytes,
                                           ec.ECDSA(certificate.signature_hash_algorithm))
            for i, certificate in enumerate(own[:2]):
                files = [self.site.base / f'{name}-{i}-{part}.pem' for part in ('device', 'issuer', 'root')]
                for file, der in zip(files, [certificate.public_bytes(serialization.Encoding.DER), *chain]):
                    file.write_bytes(x509.load_der_x509_certificate(der).public_bytes(
                        serialization.Encoding.PEM))
                openssl('verify', '-ignore_critical', '-CAfile', files[2], '-untrusted', files[1], files[0])
        counts = [sum(c == chain for _, c in found) for chain in self.chains.values()]
        self.assertEqual(sum(counts), len(found))
        return counts

    # -- Provision -----------------------------------------------------------------------------

    def test_a_retry_after_a_reload_gives_each_device_its_chain(self):
        batch = self.batch()
        whole = self.provision(batch, 100, 'whole')
        self.assertEqual(self.check(whole), [100, 0])
        before = self.cut_off(batch, 'cut')
        self.to_b(batch)
        self.assertEqual(self.provision(batch, 100, 'whole'), whole)
        found = self.provision(batch, COUNT, 'cut')
        of_a, of_b = self.check(found)
        self.assertEqual(of_a + of_b, COUNT)
        self.assertGreaterEqual(of_a, len(before))
        self.assertLessEqual(set(before), {b.SerializeToString() for b, _ in found})
        for bundle, chain in (found[0], found[-1]):
            one = self.station.station('GetProvisioningData', device_uid=bundle.device_uid)
            self.assertEqual((list(one.bundles), list(one.chain)), ([bundle], chain))

    def test_a_retry_after_a_crash_in_between(self):
        batch = self.batch()
        before = self.cut_off(batch, 'crash')
        self.site.stop(signal.SIGKILL)
        self.site.conf.write_text(self.of_b)
        self.start()
        found = self.provision(batch, COUNT, 'crash')
        of_a, of_b = self.check(found)
        self.assertGreaterEqual(of_a, len(before))
        self.assertEqual(of_a + of_b, COUNT)
        self.assertEqual(self.provision(batch, COUNT, 'crash'), found)

    def test_the_client_keeps_both_chains_and_verify_finds_them(self):
        batch = self.batch()
        # Two pages of A, and the rest of the request is B's.
        self.cut_off(batch, 'files')
        self.to_b(batch)
        for _ in range(2):  # a repetition finds all as it is
            out = self.site.base / 'files'
            self.site.station('provision', '--batch', batch, '--count', COUNT, '--request-id', 'files', '--out',
                              out)
        self.assertIn('OK', self.site.verify(out, COUNT))
        of_a, of_b = self.check(self.provision(batch, COUNT, 'files'))
        lines = (out / 'devices.jsonl').read_text().splitlines()
        named = sum('"chain": "chain-' in line for line in lines)
        self.assertEqual((of_a, of_b), (COUNT - named, named))
        self.assertGreater(named, 0)
        others = list(out.glob('chain-*.pem'))
        self.assertEqual(len(others), 1)
        for name, file in (('A', out / 'chain.pem'), ('B', others[0])):
            self.assertEqual(ders(file), self.chains[name])

    # -- the account --------------------------------------------------------------------------------

    def verified(self, *command):
        status, said = audit.verify(*command, '--audit', self.site.dir / 'appliance/audit.pem')
        self.assertEqual((status, said['by_code']), (0, {}), said['first_findings'])
        return said

    def test_report_manifest_and_export_of_a_batch_of_two_chains(self):
        batch = self.batch()
        self.cut_off(batch, 'account')
        self.to_b(batch)
        found = self.provision(batch, COUNT, 'account')
        self.assertGreater(min(self.check(found)), 0)
        self.station.station('ReleaseBatch', batch_uid=batch)
        out, export = self.site.base / 'account', self.site.base / 'account.export'
        self.site.station('report', batch, '--out', out)
        self.site.officer('ledger', 'export', '--out', export)
        said = self.manifest(out / 'manifest.json')
        self.assertGreater(len(said), COUNT)  # those by which the reload was seen, too
        for bundle, chain in found:
            self.assertEqual(said[bundle.device_uid], [bundle.certificate, *chain])
        facts = self.verified('manifest', out / 'manifest.json')['facts']
        self.assertEqual((facts['devices'], facts['certificates']), (len(said), len(said)))
        self.verified('report', out / 'report.json', '--manifest', out / 'manifest.json', '--export', export)
        self.verified('ledger', export, out / 'report.json')

    @staticmethod
    def manifest(path):
        """By device: its x5c."""
        def raw(text):
            return base64.urlsafe_b64decode(text + '=' * (-len(text) % 4))
        payloads = [json.loads(raw(jws['payload'])) for jws in json.loads(path.read_text())]
        return {p['uniqueId']: [base64.b64decode(c) for c in p['publicKeySet']['keys'][0]['x5c']] for p in payloads}

    # -- Enroll --------------------------------------------------------------------------------

    def enroll(self, batch, *messages):
        stream = Stream(self.station, batch, f'r-{batch}')
        for devices in messages:
            stream.send(*devices)
        answers = stream.end()
        for answer in answers:
            for result in answer.results:
                self.assertEqual(result.WhichOneof('outcome'), 'bundle', result.error)
        indexes = [r.index for a in answers for r in a.results]
        return sorted(zip(indexes, pairs(answers, lambda a: [r.bundle for r in a.results])), key=lambda x: x[0])

    def test_enrolled_keys_come_again_with_their_chain(self):
        batch = self.batch('dac-device')
        old, new = ([device(request(new_key())) for _ in range(3)] for _ in range(2))
        first = self.enroll(batch, old)
        self.assertEqual(self.check([pair for _, pair in first]), [3, 0])
        self.to_b(self.batch())
        # In one message, old and new in turn.
        mixed = self.enroll(batch, [d for pair in zip(old, new) for d in pair])
        self.assertEqual([index for index, _ in mixed], list(range(6)))
        self.assertEqual(self.check([pair for _, pair in mixed]), [3, 3])
        self.assertEqual([pair for index, pair in mixed if index % 2 == 0], [pair for _, pair in first])

    def test_the_command_takes_old_and_new_devices_again(self):
        batch = self.batch('dac-device')
        folder, out = self.site.base / 'csrs', self.site.base / 'enrolled'
        folder.mkdir()
        csrs = [request(new_key()) for _ in range(4)]
        self.enroll(batch, [device(csr) for csr in csrs[2:]])
        self.to_b(self.batch())
        for i, csr in enumerate(csrs):
            (folder / f'{i}.csr').write_bytes(csr)
        files = []
        for _ in range(2):  # the devices of B are first
            self.site.station('enroll', '--batch', batch, '--request-id', f'r-{batch}', '--out', out, folder)
            files.append({p.name: p.read_bytes() for p in out.iterdir() if p.is_file()})
        self.assertEqual(files[0], files[1])
        self.assertEqual(ders(out / 'chain.pem'), self.chains['B'])
        self.assertIn('OK', self.site.verify(out, 4))


if __name__ == '__main__':
    unittest.main(verbosity=2)
