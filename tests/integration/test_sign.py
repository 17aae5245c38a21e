#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Sign and Random with a real SoftHSM token: signatures and certificates are checked by python3's
cryptography, and by openssl as the documents show."""
import hashlib
import os
import pathlib
import re
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'support'))

import token_kind  # noqa: E402, F401  first: it may become another user
from service_site import Base, Client, Users, openssl, types_pb2  # noqa: E402
from site_under_test import OFFICER, Failed, Site, run  # noqa: E402

try:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, utils
except ImportError as missing:
    print(f'skipped: {missing}')
    sys.exit(77)

MORE = """
signing 'large' {
    token = 'main'
    key = 'pkcs11:object=large'
    curve = 'p384'
    mechanisms = {'ECDSA', 'ECDSA-SHA256', 'ECDSA-SHA384', 'ECDSA-SHA512'}
    clients = {'demo-station'}
    certificate = 'ca/large.pem'
}
signing 'others' {
    token = 'main'
    key = 'pkcs11:object=firmware'
    mechanisms = {'ECDSA-SHA256'}
    clients = {'somebody'}
}
client 'somebody' { uri = 'urn:mintmark:station:somebody' roles = {'station'} }
"""
MECHANISMS = {types_pb2.SIGN_MECHANISM_ECDSA_SHA256: hashes.SHA256(),
              types_pb2.SIGN_MECHANISM_ECDSA_SHA384: hashes.SHA384(),
              types_pb2.SIGN_MECHANISM_ECDSA_SHA512: hashes.SHA512()}
MESSAGE_MAX = 4 * 1024 * 1024 - 1024


def make_key(site):
    """A P-384 signing key, and a certificate for it by the site's TLS CA, as docs/keys.md shows."""
    run(OFFICER, 'key', 'create', '--config', site.conf, '--token', 'main', '--use', 'signing', '--label',
        'large', '--curve', 'p384', '--operator', 'test', '--yes')
    public = site.dir / 'large.pub'
    run(OFFICER, 'key', 'public', '--config', site.conf, '--label', 'large', '--out', public)
    extensions = site.base / 'large.ext'
    extensions.write_text('basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n')
    openssl('x509', '-new', '-subj', '/CN=firmware', '-force_pubkey', public, '-CA',
            site.dir / 'tls/ca.pem', '-CAkey', site.dir / 'tls/ca.key', '-days', '30', '-extfile',
            extensions, '-out', site.dir / 'ca/leaf.pem')
    (site.dir / 'ca/large.pem').write_bytes((site.dir / 'ca/leaf.pem').read_bytes() +
                                            (site.dir / 'tls/ca.pem').read_bytes())


class Sign(Base):
    @classmethod
    def setUpClass(cls):
        cls.site = Site(workers=1)
        cls.addClassCleanup(cls.site.__exit__, None)
        make_key(cls.site)
        cls.plain_conf = cls.site.conf.read_text()
        cls.site.conf.write_text(cls.plain_conf + MORE)
        cls.site.start()
        cls.public = {name: serialization.load_pem_public_key((cls.site.dir / f'{name}.pub').read_bytes())
                      for name in ('firmware', 'large')}

    def setUp(self):
        self.client = Client(Users(self.site), 'station')
        self.addCleanup(self.client.channel.close)

    def sign(self, profile, mechanism, **what):
        return self.client.station('Sign', signing_profile=profile, mechanism=mechanism, **what)

    def test_messages_and_digests_of_all_mechanisms(self):
        message = os.urandom(3000)
        key = self.public['large']
        for mechanism, how in MECHANISMS.items():
            with self.subTest(mechanism=mechanism):
                digest = hashlib.new(how.name, message).digest()
                answer = self.sign('large', mechanism, message=message)
                key.verify(answer.signature, message, ec.ECDSA(how))
                self.assertEqual(answer.digest, digest)
                again = self.sign('large', mechanism, digest=digest)
                key.verify(again.signature, message, ec.ECDSA(how))
                with self.assertRaises(InvalidSignature):
                    key.verify(answer.signature, message + b'x', ec.ECDSA(how))
        digest = hashlib.sha384(message).digest()
        answer = self.sign('large', types_pb2.SIGN_MECHANISM_ECDSA, digest=digest)
        key.verify(answer.signature, digest, ec.ECDSA(utils.Prehashed(hashes.SHA384())))

    def test_each_is_a_record_of_the_ledger(self):
        from mintmark.v1 import account_pb2, ledger_pb2
        digest = os.urandom(32)
        self.sign('firmware', types_pb2.SIGN_MECHANISM_ECDSA_SHA256, digest=digest)
        out = self.site.dir / 'signed.export'
        self.site.officer('ledger', 'export', '--out', out)
        data, at, found = out.read_bytes(), 0, []
        while at < len(data):
            length = int.from_bytes(data[at:at + 4], 'big')
            item = account_pb2.LedgerExportItem.FromString(data[at + 4:at + 4 + length])
            record = ledger_pb2.LedgerRecord.FromString(item.record)
            found += [record.signed] if record.HasField('signed') else []
            at += 4 + length
        self.assertIn(('demo-station', 'firmware', 'ECDSA-SHA256', digest),
                      [(s.station, s.signing_profile, s.mechanism, s.digest) for s in found])

    def test_p256_and_the_largest_message(self):
        message = os.urandom(MESSAGE_MAX)
        answer = self.sign('firmware', types_pb2.SIGN_MECHANISM_ECDSA_SHA256, message=message)
        self.public['firmware'].verify(answer.signature, message, ec.ECDSA(hashes.SHA256()))
        self.assertEqual((answer.certificate, list(answer.chain)), (b'', []))
        self.refused('INVALID_ARGUMENT', 'INVALID_FIELD', self.sign, 'firmware',
                     types_pb2.SIGN_MECHANISM_ECDSA_SHA256, message=message + b'x', field='message')

    def test_certificate_comes_with_its_chain(self):
        answer = self.sign('large', types_pb2.SIGN_MECHANISM_ECDSA_SHA256, message=b'm')
        leaf = x509.load_der_x509_certificate(answer.certificate)
        self.assertEqual(leaf.public_key().public_numbers(), self.public['large'].public_numbers())
        above = [x509.load_der_x509_certificate(c) for c in answer.chain]
        self.assertEqual([leaf.issuer], [c.subject for c in above])
        leaf.public_key().verify(answer.signature, b'm', ec.ECDSA(hashes.SHA256()))

    def test_who_may_sign_and_how(self):
        sha256, sha384 = types_pb2.SIGN_MECHANISM_ECDSA_SHA256, types_pb2.SIGN_MECHANISM_ECDSA_SHA384
        self.refused('PERMISSION_DENIED', 'SIGNING_NOT_ALLOWED', self.sign, 'others', sha256,
                     message=b'm')
        self.refused('PERMISSION_DENIED', 'MECHANISM_NOT_ALLOWED', self.sign, 'firmware', sha384,
                     message=b'm')
        self.refused('NOT_FOUND', 'UNKNOWN_SIGNING_PROFILE', self.sign, 'none', sha256, message=b'm')
        officer = Client(Users(self.site), 'officer')
        self.addCleanup(officer.channel.close)
        self.refused('PERMISSION_DENIED', 'ROLE_MISSING', officer.station, 'Sign',
                     signing_profile='firmware', mechanism=sha256, message=b'm')
        log = self.site.log.read_text()
        self.assertRegex(log, r'event=sign_refused .*station=demo-station signing_profile=others '
                              r'reason=SIGNING_NOT_ALLOWED')

    def test_every_signature_is_logged_without_the_message(self):
        message = b'secret-plans-' + os.urandom(8).hex().encode()
        self.sign('firmware', types_pb2.SIGN_MECHANISM_ECDSA_SHA256, message=message)
        log = self.site.log.read_text()
        self.assertIsNotNone(re.search(
            r'event=signed .*station=demo-station signing_profile=firmware mechanism=ECDSA-SHA256 '
            rf'digest={hashlib.sha256(message).hexdigest()}', log))
        self.assertNotIn(message.decode(), log)

    def test_random(self):
        seen = set()
        for length in (1, 32, 65536):
            data = self.client.station('Random', length=length).data
            self.assertEqual(len(data), length)
            seen.add(self.client.station('Random', length=32, token='main').data)
        self.assertEqual(len(seen), 3)
        # Of a megabit of good ones: half, give or take six sigma.
        ones = sum(bin(byte).count('1') for byte in self.client.station('Random', length=65536).data)
        self.assertLess(abs(ones - 262144), 6 * 362)

    # -- the command, and what the documents show -------------------------------------------------

    def test_command_signs_what_openssl_verifies(self):
        firmware, signature = self.site.base / 'firmware.bin', self.site.base / 'firmware.sig'
        chain = self.site.base / 'chain.pem'
        firmware.write_bytes(os.urandom(5_000_000))
        answer = self.site.station('sign', '--profile', 'firmware', '--mechanism', 'ECDSA-SHA256',
                                   '--signature', signature, firmware)
        self.assertEqual(answer['digest'], hashlib.sha256(firmware.read_bytes()).hexdigest())
        self.assertEqual(bytes.fromhex(answer['signature']), signature.read_bytes())
        openssl('dgst', '-sha256', '-verify', self.site.dir / 'firmware.pub', '-signature', signature,
                firmware)
        answer = self.site.station('sign', '--profile', 'large', '--mechanism', 'ECDSA', '--digest',
                                   '11' * 48, '--chain', chain)
        self.assertTrue(answer['certificate'])
        openssl('verify', '-CAfile', self.site.dir / 'tls/ca.pem', chain)
        text = run(*self.site.station_command('sign', '--profile', 'firmware', '--mechanism',
                                              'ECDSA-SHA256', firmware)).strip()
        self.public['firmware'].verify(bytes.fromhex(text), firmware.read_bytes(),
                                       ec.ECDSA(hashes.SHA256()))

    def test_command_random(self):
        out = self.site.base / 'random.bin'
        self.site.station('random', '--length', '48', out)
        self.assertEqual((len(out.read_bytes()), out.stat().st_mode & 0o777), (48, 0o600))
        self.assertEqual(len(bytes.fromhex(self.site.station('random', '--length', '7')['data'])), 7)

    def fails(self, status, text, *args):
        with self.assertRaises(Failed) as caught:
            run(*self.site.station_command(*args))
        self.assertEqual(caught.exception.status, status, caught.exception)
        self.assertIn(text, caught.exception.stderr)

    def test_command_says_what_is_wrong(self):
        sign = ('sign', '--profile', 'firmware', '--mechanism')
        self.fails(64, '--mechanism is', *sign, 'RSA', '/dev/null')
        self.fails(64, 'one of the two', *sign, 'ECDSA-SHA256')
        self.fails(64, 'one of the two', *sign, 'ECDSA-SHA256', '--digest', '00', '/dev/null')
        self.fails(64, 'hexadecimal', *sign, 'ECDSA-SHA256', '--digest', 'xyz')
        self.fails(64, 'give --digest', *sign, 'ECDSA', '/dev/null')
        self.fails(1, 'No such file', *sign, 'ECDSA-SHA256', '/nowhere')
        self.fails(65, 'INVALID_FIELD', *sign, 'ECDSA-SHA256', '--digest', '00')
        self.fails(1, 'NO_CERTIFICATE', *sign, 'ECDSA-SHA256', '--digest', '00' * 32, '--chain',
                   self.site.base / 'none.pem')
        self.fails(77, 'SIGNING_NOT_ALLOWED', 'sign', '--profile', 'others', '--mechanism',
                   'ECDSA-SHA256', '--digest', '00' * 32)
        self.fails(64, '1 to 65536', 'random', '--length', '65537')
        self.fails(1, 'UNKNOWN_TOKEN', 'random', '--length', '1', '--token', 'none')

    # -- at start ---------------------------------------------------------------------------------

    def check_refused(self, conf, text):
        path = self.site.dir / 'bad.conf'
        path.write_text(conf)
        done = subprocess.run([OFFICER, 'config', 'check', path], capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=60)
        self.assertEqual(done.returncode, 78, done.stderr)
        self.assertIn(text, done.stderr)

    def test_configuration_is_checked(self):
        extra = self.plain_conf + MORE
        self.check_refused(extra.replace("clients = {'somebody'}", "clients = {'nobody'}"),
                           "there is no section client 'nobody'")
        self.check_refused(extra.replace("clients = {'somebody'}", "clients = {'demo-officer'}"),
                           'lacks the role station')
        self.check_refused(extra.replace('object=large', 'object=pai'), "key of issuer 'matter-pai'")
        self.check_refused(extra.replace('ca/large.pem', 'ca/none.pem'), 'none.pem')

    def reload(self, conf):
        self.site.conf.write_text(conf)
        self.site.reload()

    def test_key_with_another_use_is_refused_by_the_worker(self):
        site = self.site
        self.addCleanup(self.reload, self.plain_conf + MORE)
        for label, reason in (('device-root', 'SIGNING_KEY_IS_CA'),
                              ('mintmark-audit', 'SIGNING_KEY_IS_APPLIANCE')):
            conf = (self.plain_conf + MORE).replace('object=firmware', f'object={label}')
            self.reload(conf)
            self.eventually(lambda: reason in site.log.read_text())
        # The old workers serve on.
        self.assertTrue(self.client.ready())


if __name__ == '__main__':
    unittest.main()
