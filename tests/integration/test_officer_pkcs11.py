#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Orders signed with a key that stays in a token, through OpenSSL's pkcs11 provider: SoftHSM, alone and
behind p11-kit-proxy, or NSS softokn, which needs parameters and gets them from p11-kit."""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get('MINTMARK_BUILD', ROOT / 'build')).resolve()
OFFICER = BUILD / 'tools/officer/mintmark-officer'

sys.path.insert(0, str(ROOT / 'tests/support'))
import token_kind  # noqa: E402  first: it may become another user

said = subprocess.run(['openssl', 'version', '-m'], capture_output=True, text=True).stdout
folder = re.search(r'"(.*)"', said)
if not folder or not pathlib.Path(folder[1], 'pkcs11.so').exists():
    print('skipped: OpenSSL has no pkcs11 provider here')
    sys.exit(77)
MODULE, TOOL = token_kind.MODULE, 'softhsm2-util'
if token_kind.KIND == 'softokn':
    MODULE, TOOL = token_kind.through_proxy(), 'pk12util'
if not shutil.which(TOOL):
    token_kind.skip(f'no {TOOL}')
GENERATED = tempfile.TemporaryDirectory(prefix='mintmark-proto.')
subprocess.run(['protoc', f'--proto_path={ROOT}/proto', f'--python_out={GENERATED.name}',
                'mintmark/v1/types.proto', 'mintmark/v1/document.proto'], check=True)
sys.path.insert(0, GENERATED.name)
from mintmark.v1 import document_pb2  # noqa: E402
from oem import Oem, identity_hash, openssl  # noqa: E402

URI = 'pkcs11:token=oem;object=orders;type=private'


class Pkcs11(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory(prefix='mintmark-pkcs11.')
        self.addCleanup(temporary.cleanup)
        self.dir = pathlib.Path(temporary.name)
        self.env = {**os.environ, **token_kind.environment(self.dir, 'oem')}
        self.oem, appliance = Oem(self.dir), Oem(self.dir, 'appliance')
        if token_kind.KIND == 'softokn':
            self.import_nss()
        else:
            self.tool('softhsm2-util', '--init-token', '--free', '--label', 'oem', '--so-pin', '12345678',
                      '--pin', '1234')
            self.tool('softhsm2-util', '--import', self.oem.key, '--token', 'oem', '--label', 'orders',
                      '--id', '01', '--pin', '1234')
        self.oem.key.unlink()
        request = document_pb2.OrderRequest(
            nonce=b'0123456789abcdef', site='plant', requested_by='alice', time_ms=1795000000000,
            appliance_sha256=identity_hash(appliance.certificate))
        (self.dir / 'request').write_bytes(appliance.sign(
            document_pb2.SignedDocument(order_request=request)))
        self.pin = self.dir / 'pin'
        self.write_pin('1234')
        self.order('create', '--request', self.dir / 'request', '--id', 'o1', '--oem', 'ACME',
                   '--product', 'alarm', '--profile', 'dac', '--quantity', '5', '--not-after',
                   '2099-12-31', '--out', self.dir / 'order')

    def tool(self, *command):
        subprocess.run(list(map(str, command)), env=self.env, check=True, capture_output=True)

    def import_nss(self):
        """NSS's own tools make the token and bring the key in: by PKCS#12, under its friendly name."""
        (self.dir / 'nss-pin').write_text('1234\n')
        database = ['-d', f'sql:{self.dir}/nss']
        self.tool('certutil', '-N', *database, '-f', self.dir / 'nss-pin')
        openssl('pkcs12', '-export', '-in', self.oem.certificate, '-inkey', self.oem.key, '-name', 'orders',
                '-passout', 'pass:x', '-out', self.dir / 'oem.p12')
        self.tool('pk12util', '-i', self.dir / 'oem.p12', *database, '-K', '1234', '-W', 'x')

    def write_pin(self, pin):
        self.pin.write_text(pin + '\n')
        self.pin.chmod(0o600)

    def order(self, *args, status=0):
        done = subprocess.run([OFFICER, 'order', *map(str, args)], env=self.env, timeout=60,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def sign(self, uri=URI, status=0, module=MODULE):
        return self.order('sign', '--in', self.dir / 'order', '--out', self.dir / 'signed', '--key',
                          uri, '--module', module, '--certificate', self.oem.certificate,
                          '--pin-file', self.pin, status=status)

    def test_order_is_signed_in_the_token(self):
        self.assertNotIn('1234', self.sign())
        content = openssl('cms', '-verify', '-binary', '-inform', 'DER', '-in', self.dir / 'signed',
                          '-CAfile', self.oem.certificate, '-purpose', 'any')
        self.assertEqual(content, (self.dir / 'order').read_bytes())
        self.order('show', '--trust', self.oem.certificate, self.dir / 'signed')
        self.order('revoke', '--in', self.dir / 'signed', '--reason', 'over', '--out',
                   self.dir / 'revocation', '--key', URI, '--module', MODULE, '--certificate',
                   self.oem.certificate, '--pin-file', self.pin)

    @unittest.skipUnless(token_kind.KIND == 'softhsm', 'the module in front is SoftHSM')
    def test_a_module_that_hangs_is_given_up(self):
        self.env.update(MM_FAULT_MODULE=MODULE, MM_FAULT_RULES=str(self.dir / 'rules'))
        for function in 'C_Login', 'C_Sign':
            (self.dir / 'rules').write_text(f'{function}=hang')
            said = self.order('sign', '--in', self.dir / 'order', '--out', self.dir / 'signed', '--key', URI,
                              '--module', BUILD / 'tests/faults/p11fault.so', '--certificate',
                              self.oem.certificate, '--pin-file', self.pin, '--timeout', '1', status=75)
            self.assertIn("OpenSSL's pkcs11 provider has not come back from the PKCS#11 module for 1 s", said)
            self.assertFalse((self.dir / 'signed').exists())
        (self.dir / 'rules').unlink()
        self.sign()

    def test_wrong_pin_key_or_module_is_told(self):
        self.write_pin('9999')
        self.assertIn('PIN', self.sign(status=65))
        self.write_pin('1234')
        self.sign('pkcs11:token=oem;object=nothing;type=private', status=65)
        self.assertFalse((self.dir / 'signed').exists())
        # A wrong PIN was tried once: the token still takes the right one.
        self.sign()


if __name__ == '__main__':
    unittest.main(verbosity=2)
