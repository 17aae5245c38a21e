#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Ed25519 (RFC 8032, RFC 8410) through the whole service with a real token: device keys, requests, a
CA's key, and keys that devices made; judged by the openssl command and by mintmark-verify."""
import base64
import hashlib
import json
import pathlib
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'support'))

from token_kind import KIND  # noqa: E402  first: it may become another user
from service_site import WAIT_S, Client, Refused, station_pb2, types_pb2  # noqa: E402
from site_under_test import OFFICER, VERIFY, Failed, Site, run  # noqa: E402

try:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519
    from cryptography.x509.oid import NameOID
except ImportError as missing:
    print(f'skipped: {missing}')
    sys.exit(77)

MORE = """
issuer 'ed-ca' { token = 'main' key = 'pkcs11:object=ed-ca' certificate = 'ca/ed.pem' }
profile 'mixed' { issuer = 'device-ca' key = 'ed25519' delivery = 'plain'
                  subject = 'CN=${number:8}' validity = '99991231235959Z' }
profile 'plain' { issuer = 'ed-ca' key = 'ed25519' delivery = 'plain' subject = 'CN=${number:8}'
                  validity = '10d' keys_ahead = 3 manifest = 'jws' }
profile 'retained' { issuer = 'none' token = 'main' key = 'ed25519' delivery = 'retained'
                     subject = 'CN=${number:8}' }
profile 'own' { issuer = 'ed-ca' key = 'ed25519' delivery = 'on-device' subject = 'CN=${number:8}'
                validity = '10d' }
profile 'ec' { issuer = 'ed-ca' key = 'p384' delivery = 'wrapped' transport = 'line'
               subject = 'CN=${number:8}' validity = '10d' }
"""
PROFILES = ('mixed', 'plain', 'retained', 'own', 'ec')
SIGNING = """
signing 'ed' { token = 'main' key = 'pkcs11:object=ed-fw' curve = 'ed25519' mechanisms = {'Ed25519'}
               clients = {'demo-station'} }
"""


def raw(public_key):
    return public_key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def decoded(text):
    return base64.urlsafe_b64decode(text + '=' * (-len(text) % 4))


class Ed25519(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.site = site = Site(workers=1)
        cls.addClassCleanup(site.__exit__, None, None, None)
        with open(site.conf, 'a', encoding='utf-8') as conf:
            conf.write(MORE + SIGNING)
        mechanisms = json.loads(run(OFFICER, 'token', 'test', '--config', site.conf, '--json'))['matrix']
        if KIND == 'softokn' and not any(m['listed'] for m in mechanisms if m['mechanism'] == 'CKM_EDDSA'):
            raise unittest.SkipTest('this NSS makes no Ed25519 keys; 3.110 and later do')
        run(OFFICER, 'ca', 'create-root', '--config', site.conf, '--label', 'ed-ca', '--create-key', '--curve',
            'ed25519', '--path-length', 0, '--subject', 'CN=ed,O=test', '--validity', '20y', '--out',
            site.dir / 'ca/ed.pem', '--operator', 'a', '--witness', 'b', '--yes')
        run(OFFICER, 'key', 'create', '--config', site.conf, '--token', 'main', '--use', 'signing', '--label',
            'ed-fw', '--curve', 'ed25519', '--operator', 'a', '--yes')
        run(OFFICER, 'key', 'public', '--config', site.conf, '--label', 'ed-fw', '--out', site.dir / 'ed-fw.pub')
        site.start()
        cls.client = Client(type('Users', (), {'dir': site.dir / 'tls', 'port': site.port}), 'station')
        cls.addClassCleanup(cls.client.channel.close)
        cls.batches = {}
        for profile in PROFILES:
            site.add_order(profile, 1000, profile=profile)
            cls.batches[profile] = site.open_batch(1000, profile=profile, order=profile)
        cls.ca = x509.load_pem_x509_certificate((site.dir / 'ca/ed.pem').read_bytes())

    def provision(self, profile, count=5):
        bundles = self.client.provision(self.batches[profile], count, f'r-{profile}')
        self.assertEqual(len(bundles), count)
        return [types_pb2.Bundle.FromString(b) for b in bundles]

    def openssl(self, *args):
        return run('openssl', *args)

    def test_the_ca_certificate_is_taken_by_openssl(self):
        ca = self.site.dir / 'ca/ed.pem'
        text = self.openssl('x509', '-in', ca, '-noout', '-text')
        self.assertEqual(text.count('Signature Algorithm: ED25519'), 2, text)
        self.assertIn('Public Key Algorithm: ED25519', text)
        self.openssl('verify', '-check_ss_sig', '-CAfile', ca, ca)

    def folder(self, profile, count, root):
        """As a station gets it by the command, judged by mintmark-verify."""
        out = self.site.base / f'out-{profile}'
        run(*self.site.station_command('provision', '--batch', self.batches[profile], '--count', count,
                                       '--out', out))
        run(VERIFY, 'identities', '--dir', out, '--root', root, '--count', count, '--transport-key',
            self.site.dir / 'transport-key.json', '--recipient-key', self.site.dir / 'station-transport.key')
        return out

    def test_ed25519_keys_under_an_ec_ca(self):
        out = self.folder('mixed', 20, self.site.dir / 'ca/device-root.pem')
        for path in out.glob('*.crt'):
            der = x509.load_der_x509_certificate(path.read_bytes())
            self.assertIsInstance(der.public_key(), ed25519.Ed25519PublicKey)
        self.openssl('verify', '-CAfile', self.site.dir / 'ca/device-root.pem', '-untrusted',
                     self.site.dir / 'ca/device-ca.pem', path)

    def test_ec_keys_under_an_ed25519_ca(self):
        out = self.folder('ec', 20, self.site.dir / 'ca/ed.pem')
        self.openssl('verify', '-CAfile', self.site.dir / 'ca/ed.pem', next(out.glob('*.crt')))

    def test_a_verifier_finds_a_changed_signature(self):
        out = self.folder('plain', 3, self.site.dir / 'ca/ed.pem')
        path = next(out.glob('*.crt'))
        path.write_bytes(path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 1]))
        with self.assertRaises(Failed):
            run(VERIFY, 'identities', '--dir', out, '--root', self.site.dir / 'ca/ed.pem', '--count', 3)

    def test_plain_keys_are_pkcs8_of_rfc_8410(self):
        for bundle in self.provision('plain'):
            certificate = x509.load_der_x509_certificate(bundle.certificate)
            self.ca.public_key().verify(certificate.signature, certificate.tbs_certificate_bytes)
            key = serialization.load_der_private_key(bundle.private_key, None)
            self.assertEqual(raw(key.public_key()), raw(certificate.public_key()))

    def test_requests_of_retained_keys(self):
        for bundle in self.provision('retained'):
            csr = x509.load_der_x509_csr(bundle.csr)
            self.assertTrue(csr.is_signature_valid)
            self.assertIsInstance(csr.public_key(), ed25519.Ed25519PublicKey)
        path = self.site.base / 'one.csr'
        path.write_bytes(bundle.csr)
        self.openssl('req', '-in', path, '-inform', 'DER', '-verify', '-noout')

    def enroll(self, request_id, *csrs):
        message = station_pb2.EnrollRequest(batch_uid=self.batches['own'], request_id=request_id,
                                            devices=[station_pb2.DeviceCsr(csr=c) for c in csrs])
        call = self.client.channel.stream_stream(
            '/mintmark.v1.StationService/Enroll',
            request_serializer=station_pb2.EnrollRequest.SerializeToString,
            response_deserializer=station_pb2.EnrollResponse.FromString)(iter([message]), timeout=WAIT_S)
        return [r for answer in call for r in answer.results]

    def csr(self, key, algorithm=None):
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, 'x')])
        built = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, algorithm)
        return built.public_bytes(serialization.Encoding.DER)

    def test_keys_that_devices_made(self):
        key = ed25519.Ed25519PrivateKey.generate()
        good = self.csr(key)
        forged = good[:-1] + bytes([good[-1] ^ 1])
        other = self.csr(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
        # A key of order 1, whose signature takes no private key: R is the base point, and S is 1.
        spki = bytes.fromhex('302a300506032b6570032100') + bytes([1]) + bytes(31)
        info = bytes.fromhex('0201003000') + spki + b'\xa0\x00'
        signature = bytes([0, 0x58]) + b'\x66' * 31 + bytes([1]) + bytes(31)
        anybody = b'\x30\x7f\x30' + bytes([len(info)]) + info + bytes.fromhex('300506032b65700341') + signature
        first, second, third, fourth = self.enroll('own', good, forged, other, anybody)
        certificate = x509.load_der_x509_certificate(first.bundle.certificate)
        self.ca.public_key().verify(certificate.signature, certificate.tbs_certificate_bytes)
        self.assertEqual(raw(certificate.public_key()), raw(key.public_key()))
        self.assertIn('CSR_SIGNATURE', str(second))
        self.assertIn('CSR_KEY_REFUSED', str(third))
        self.assertIn('CSR_KEY_REFUSED', str(fourth))
        self.assertIn('small order', str(fourth))

    def sign(self, **what):
        return self.client.station('Sign', signing_profile='ed', **what)

    def test_sign(self):
        key = serialization.load_pem_public_key((self.site.dir / 'ed-fw.pub').read_bytes())
        message = b'firmware' * 1000
        answer = self.sign(mechanism=types_pb2.SIGN_MECHANISM_ED25519, message=message)
        key.verify(answer.signature, message)
        self.assertEqual(answer.digest, hashlib.sha512(message).digest())
        for what in ({'digest': b'd' * 64}, {'digest': b'd' * 32}, {'message': b''}):
            with self.assertRaises(Refused) as refused:
                self.sign(mechanism=types_pb2.SIGN_MECHANISM_ED25519, **what)
            self.assertEqual(refused.exception.reason, 'INVALID_FIELD')
        with self.assertRaises(Refused) as refused:
            self.sign(mechanism=types_pb2.SIGN_MECHANISM_ECDSA_SHA512, message=message)
        self.assertEqual(refused.exception.reason, 'MECHANISM_NOT_ALLOWED')

    def test_sign_by_the_command(self):
        file, signature = self.site.base / 'firmware.bin', self.site.base / 'firmware.sig'
        file.write_bytes(b'firmware' * 1000)
        run(*self.site.station_command('sign', '--profile', 'ed', '--mechanism', 'Ed25519', '--signature',
                                       signature, file))
        self.openssl('pkeyutl', '-verify', '-pubin', '-inkey', self.site.dir / 'ed-fw.pub', '-rawin', '-in', file,
                     '-sigfile', signature)

    def test_a_manifest_names_the_keys(self):
        batch = self.site.open_batch(10, profile='plain', order='plain')
        made = [types_pb2.Bundle.FromString(b) for b in self.client.provision(batch, 10, 'manifest')]
        self.client.station('ReleaseBatch', batch_uid=batch)
        out = self.site.dir / 'report'
        self.site.station('report', batch, '--out', out)
        audit = self.site.dir / 'appliance/audit.pem'
        run(VERIFY, 'report', out / 'report.json', '--manifest', out / 'manifest.json', '--audit', audit)
        devices = {o['header']['uniqueId']: o for o in json.loads((out / 'manifest.json').read_text())}
        for bundle in made:
            payload = devices[bundle.device_uid]['payload']
            jwk, = json.loads(decoded(payload))['publicKeySet']['keys']
            certificate = x509.load_der_x509_certificate(bundle.certificate)
            self.assertEqual((jwk['kty'], jwk['crv'], decoded(jwk['x']), 'y' in jwk),
                             ('OKP', 'Ed25519', raw(certificate.public_key()), False))
        changed = (out / 'manifest.json').read_text().replace(payload, payload[::-1])
        (out / 'manifest.json').write_text(changed)
        with self.assertRaises(Failed):
            run(VERIFY, 'manifest', out / 'manifest.json', '--audit', audit)

    def test_the_token_test_crosschecks_it(self):
        text = run(OFFICER, 'token', 'test', '--config', self.site.conf, '--token', 'main', '--json')
        lines = {line['operation']: line for line in json.loads(text)['operations']}
        self.assertEqual((lines['Ed25519']['result'], lines['Ed25519']['note']),
                         ('good', 'the token does not wrap such keys'))

    def test_ml_dsa_is_refused_without_a_token_or_libcrypto_that_has_it(self):
        # SoftHSM has none; OpenSSL 3.0 has none either, and is asked first where a certificate is made.
        with self.assertRaises(Failed) as failed:
            run(OFFICER, 'key', 'create', '--config', self.site.conf, '--token', 'main', '--use', 'ca', '--label',
                'pq', '--curve', 'mldsa65', '--operator', 'a', '--witness', 'b', '--yes')
        self.assertIn('the token makes no ML-DSA keys (CKM_ML_DSA_KEY_PAIR_GEN, CKM_ML_DSA)', str(failed.exception))
        with self.assertRaises(Failed) as failed:
            run(OFFICER, 'key', 'create', '--config', self.site.conf, '--token', 'main', '--use', 'signing',
                '--label', 'pq', '--curve', 'mldsa65', '--operator', 'a', '--yes')
        self.assertIn('keys that sign for clients are on p256, p384 or ed25519', str(failed.exception))
        text = run(OFFICER, 'token', 'test', '--config', self.site.conf, '--token', 'main', '--json')
        lines = {line['operation']: line for line in json.loads(text)['operations']}
        self.assertEqual(lines['ML-DSA']['note'], 'the token lacks mechanism 0x1c')

    def test_keys_for_backups_are_not(self):
        with self.assertRaises(Failed) as failed:
            run(OFFICER, 'key', 'create', '--config', self.site.conf, '--token', 'main', '--use', 'ca', '--label',
                'b', '--curve', 'ed25519', '--backup', '--operator', 'a', '--witness', 'b', '--yes')
        self.assertIn('a key that is backed up is on p256 or p384', str(failed.exception))

    def test_wrapped_keys_are_refused_when_the_token_does_not_wrap_them(self):
        # SoftHSM 2.6.1 does not. The worker that would serve such a profile says so and does not start.
        text = self.site.conf.read_text()
        wrong = text + """profile 'wrapped' { issuer = 'ed-ca' key = 'ed25519' delivery = 'wrapped'
            transport = 'line' subject = 'CN=${number:8}' validity = '10d' }"""
        self.site.conf.write_text(wrong)
        try:
            self.site.reload()
            end = time.monotonic() + WAIT_S
            while 'the token does not wrap Ed25519 keys' not in self.site.log.read_text():
                self.assertLess(time.monotonic(), end, self.site.log_tail())
                time.sleep(0.05)
            self.assertEqual(len(self.provision('plain')), 5)  # the workers of before still serve
        finally:
            self.site.conf.write_text(text)
            self.site.reload()


if __name__ == '__main__':
    unittest.main()
