#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Exchange packages, by mintmark-officer and by plain `openssl cms`, into a real SoftHSM: what is
installed, and everything that is refused without a change."""
import base64
import copy
import datetime
import hashlib
import json
import pathlib
import shutil
import subprocess
import sys
import unittest

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from officer_site import OFFICER, Base, openssl, token_kind
from test_officer_exchange import SECTION

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tests/support'))
from oem import Oem, identity_hash  # noqa: E402

PASSWORD = 'p12-password-4711'
VALUE = 'https://ejbca.example:8443/ejbca'
DATA = b'firmware ' * 1000 + bytes(range(256))
ECDH = ('-keyopt', 'ecdh_kdf_md:sha256')
OAEP = ('-keyopt', 'rsa_padding_mode:oaep')


NOT_IN_NSS = unittest.skipIf(token_kind.KIND == 'softokn', 'NSS stores no data objects, as the mark of the last package is')


def when(**delta):
    moment = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(**delta)
    return moment.strftime('%Y-%m-%dT%H:%M:%S.%f')[:-3] + 'Z'


class Packages(Base):
    ALGORITHM = ()
    KEYOPT = ECDH

    def setUp(self):
        super().setUp()
        self.conf.write_text(self.conf.read_text() + SECTION)
        self.init()
        self.ceremony('appliance', 'init')
        self.ceremony('exchange', 'create', *self.ALGORITHM)
        self.oem = Oem(self.dir)
        self.ceremony('oem', 'add', self.oem.certificate)
        self.folder = self.dir / 'exchange'
        self.file = self.dir / 'package'

    def p12(self, name='ra', key=('ec', '-pkeyopt', 'ec_paramgen_curve:P-256'), options=()):
        """A client's PKCS#12 file, and its private key's secret bytes."""
        pem, cert = self.dir / f'{name}.key', self.dir / f'{name}.crt'
        openssl('req', '-x509', '-newkey', *key, '-nodes', '-keyout', pem, '-out', cert, '-subj',
                f'/CN={name}', '-days', '30')
        made = openssl('pkcs12', '-export', '-inkey', pem, '-in', cert, '-passout',
                       f'pass:{PASSWORD}', *options)
        der = openssl('pkey', '-in', pem, '-outform', 'DER')
        pem.unlink()
        return made, der

    @staticmethod
    def item(kind, name, data, **more):
        value = {'value': data} if kind == 'variable' else {'data': base64.b64encode(data).decode()}
        return {'type': kind, 'name': name, **value, **more}

    def content(self, *items, **more):
        whole = {'format': 'mintmark-package', 'version': 1, 'id': 'p1',
                 'appliance': identity_hash(self.dir / 'identity.pem').hex(), 'created': when(),
                 'not_after': when(days=30), 'items': list(items)}
        whole.update(more)
        return whole

    def seal(self, content, *options, oem=None, cipher='-aes-256-gcm', keyopt=None, sign=()):
        """As docs/exchange.md has it, by openssl alone."""
        if not isinstance(content, bytes):
            content = json.dumps(content).encode()
        signed = (oem or self.oem).sign(content, *sign)
        self.file.write_bytes(openssl(
            'cms', '-encrypt', '-binary', cipher, '-outform', 'DER', '-recip',
            self.dir / 'exchange.pem', *(self.KEYOPT if keyopt is None else keyopt), *options,
            data=signed))
        return self.file

    def take(self, *args, status=0):
        return self.ceremony('package', 'import', '--in', self.file, *args, status=status)

    def state(self):
        """Every file of the site but transcripts and the package itself, and every key."""
        files = {str(p.relative_to(self.dir)): p.read_bytes() for p in self.dir.rglob('*')
                 if p.is_file() and p.name not in ('ceremony.txt', 'package')
                 and not {'tokens', 'nss'} & set(p.parts)}
        return files, [(k['label'], k['id']) for k in self.data('key', 'list')['keys']]

    def refused(self, text, *args, status=65):
        before = self.state()
        _, err = self.take(*args, status=status)
        self.assertIn(text, err)
        self.assertEqual(self.state(), before)
        self.assertNotIn(PASSWORD, self.said)
        self.assertNotIn(PASSWORD, self.transcript())


@NOT_IN_NSS
class Ecdh(Packages):
    def everything(self):
        p12, key = self.p12()
        return [self.item('pkcs12', 'ejbca-ra', p12, password=PASSWORD),
                self.item('data', 'fw-1.2.bin', DATA), self.item('variable', 'EJBCA_URL', VALUE)], key

    def installed(self, key):
        self.assertEqual((self.folder / 'data/fw-1.2.bin').read_bytes(), DATA)
        self.assertEqual((self.folder / 'variables/EJBCA_URL').read_text(), VALUE + '\n')
        modes = {n: (self.folder / n).stat().st_mode & 0o777
                 for n in ('data/fw-1.2.bin', 'variables/EJBCA_URL', 'certificates/ejbca-ra.pem')}
        self.assertEqual(list(modes.values()), [0o640, 0o600, 0o644])
        found = next(k for k in self.data('key', 'list')['keys'] if k['label'] == 'ejbca-ra')
        self.assertTrue(found['policy'].startswith('good'), found)
        self.assertEqual((found['sensitive'], found['extractable'], found['sign'], found['local']),
                         (True, False, True, False))
        # No file has the key or the password, in clear or in base64; nor has anything that was said.
        secrets = [PASSWORD.encode(), base64.b64encode(PASSWORD.encode()), key,
                   key[36:68]]  # PKCS#8 of P-256: the scalar
        files = [p for p in self.dir.rglob('*') if p.is_file()]
        self.assertTrue(any('tokens' in p.parts for p in files))
        for data in [p.read_bytes() for p in files] + [self.said.encode()]:
            for secret in secrets:
                self.assertNotIn(secret, data)

    def test_what_openssl_made_is_installed(self):
        items, key = self.everything()
        self.seal(self.content(*items))
        out, _ = self.take()
        self.installed(key)
        sha256 = hashlib.sha256(DATA).hexdigest()
        for line in ('pkcs12 ejbca-ra: key in the token (new)', f'data fw-1.2.bin: {len(DATA)} bytes, '
                     f'SHA-256 {sha256}', 'variable EJBCA_URL: 32 bytes', 'package p1, 3 items',
                     'outcome: done'):
            self.assertIn(line, self.transcript())
        self.assertNotIn(VALUE, out)
        self.refused('has been installed already', '--replace', status=1)

    def test_what_our_tool_made_is_installed(self):
        p12, key = self.p12()
        (self.dir / 'ra.p12').write_bytes(p12)
        (self.dir / 'fw').write_bytes(DATA)
        spec = {'id': 'ours', 'not_after': when(days=1), 'items': [
            {'type': 'pkcs12', 'name': 'ejbca-ra', 'file': str(self.dir / 'ra.p12'),
             'password_file': str(self.secret('password', PASSWORD))},
            {'type': 'data', 'name': 'fw-1.2.bin', 'file': str(self.dir / 'fw')},
            {'type': 'variable', 'name': 'EJBCA_URL', 'value': VALUE}]}
        (self.dir / 'spec.json').write_text(json.dumps(spec))
        create = ['package', 'create', '--in', self.dir / 'spec.json', '--recipient',
                  self.dir / 'exchange.pem', '--key', self.oem.key, '--certificate',
                  self.oem.certificate, '--out', self.file]
        self.run_officer(*create, config=False)
        self.run_officer(*create, config=False, status=1)
        shown = self.data('package', 'show', '--in', self.file)['package']
        self.assertEqual((shown['id'], shown['verdict']), ('ours', 'good'))
        self.assertEqual([(i['type'], i['name']) for i in shown['items']],
                         [('pkcs12', 'ejbca-ra'), ('data', 'fw-1.2.bin'), ('variable', 'EJBCA_URL')])
        self.assertFalse(self.folder.exists())
        self.take()
        (self.dir / 'password').unlink()
        self.installed(key)
        self.assertIn('installed already', self.run_officer('package', 'show', '--in', self.file)[0])
        (self.dir / 'spec.json').write_text(json.dumps(dict(spec, items=[{}])))
        self.file.unlink()
        self.assertIn('item 1', self.run_officer(*create, config=False, status=65)[1])

    def test_cbc_is_taken_and_other_recipients_beside_ours(self):
        self.seal(self.content(self.item('data', 'a', b'x')), '-recip', self.oem.certificate,
                  cipher='-aes-256-cbc')
        self.take()
        self.assertEqual((self.folder / 'data/a').read_bytes(), b'x')
        self.seal(self.content(self.item('data', 'b', b'y'), id='p2'), '-keyid')
        self.take()
        self.assertEqual((self.folder / 'data/b').read_bytes(), b'y')

    def test_rsa_and_old_pkcs12_files_are_taken(self):
        p12, _ = self.p12('rsa', ('rsa:2048',), ('-legacy',))
        self.seal(self.content(self.item('pkcs12', 'old', p12, password=PASSWORD)))
        self.take()
        key = next(k for k in self.data('key', 'list')['keys'] if k['label'] == 'old')
        self.assertEqual(key['type'], 'RSA-2048')

    def test_the_audit_knows_what_packages_brought(self):
        p12, _ = self.p12()
        self.seal(self.content(self.item('pkcs12', 'ejbca-ra', p12, password=PASSWORD)))
        self.take()
        # The demo site's other keys are missing, so that the audit fails; that is not its matter.
        answer = self.data('token', 'audit', status=1)
        self.assertEqual([u['label'] for u in answer['unknown']], ['ejbca-ra'])
        self.conf.write_text(self.conf.read_text() + """
            issuer 'pki' { kind = ejbca certificate = 'pai.pem' nodes = {'https://ejbca.example/'}
                server_ca = 'tls.pem' client_key = 'pkcs11:object=ejbca-ra;type=private'
                client_token = 'main' client_certificate = 'exchange/certificates/ejbca-ra.pem' }""")
        answer = self.data('token', 'audit', status=1)
        verdicts = {k['label']: (k['use'], k['verdict']) for k in answer['keys']}
        self.assertEqual(verdicts['ejbca-ra'], ('imported', 'good'))
        self.assertEqual(verdicts['mintmark-exchange'], ('exchange', 'good'))
        self.assertEqual(answer['unknown'], [])

    def test_replacing_takes_a_word(self):
        first, _ = self.p12('first')
        second, _ = self.p12('second')
        items = [self.item('data', 'a', b'1'), self.item('variable', 'V', '1')]
        self.seal(self.content(*items, self.item('pkcs12', 'ra', first, password=PASSWORD)))
        self.take()
        again = [self.item('data', 'a', b'1'), self.item('variable', 'V', '2')]
        self.seal(self.content(*again, self.item('pkcs12', 'ra', first, password=PASSWORD), id='p2'))
        self.refused('variables/V is there already', status=1)
        self.seal(self.content(self.item('pkcs12', 'ra', second, password=PASSWORD), id='p3'))
        self.refused("the token's key 'ra' is there already", status=1)
        ids = {k['label']: k['id'] for k in self.data('key', 'list')['keys']}
        self.take('--replace')
        after = {k['label']: k['id'] for k in self.data('key', 'list')['keys']}
        self.assertEqual(set(after), set(ids))
        self.assertNotEqual(after['ra'], ids['ra'])
        self.assertIn(b'CN=second', openssl('x509', '-noout', '-subject', '-nameopt', 'RFC2253', '-in',
                                            self.folder / 'certificates/ra.pem'))

    def test_a_key_of_the_token_is_never_replaced(self):
        p12, _ = self.p12()
        for name in ('mintmark-identity', 'mintmark-exchange'):
            self.seal(self.content(self.item('pkcs12', name, p12, password=PASSWORD)))
            self.refused('came in no package', '--replace', status=1)

    def test_an_import_that_was_cut_off_is_done_again(self):
        items, key = self.everything()
        self.seal(self.content(*items))
        # A folder stands where the last file belongs.
        (self.folder / 'variables/EJBCA_URL').mkdir(parents=True)
        self.take('--replace', status=1)
        self.assertIn('ejbca-ra', self.key_labels())
        (self.folder / 'variables/EJBCA_URL').rmdir()
        self.take()
        self.installed(key)
        self.assertIn('there already', self.transcript())

    def test_signers_that_are_not_trusted(self):
        content = self.content(self.item('data', 'a', b'x'))
        self.seal(content, oem=Oem(self.dir, 'other'))
        self.refused('is none that is trusted here', status=77)
        self.seal(content, sign=('-nocerts',))
        self.refused("the signer's certificate is not in the document")
        self.seal(content, sign=('-noattr',))
        self.refused('no signed attributes')
        # Encrypted, but not signed.
        self.file.write_bytes(openssl('cms', '-encrypt', '-binary', '-aes-256-gcm', '-outform', 'DER',
                                      '-recip', self.dir / 'exchange.pem', *self.KEYOPT,
                                      data=json.dumps(content).encode()))
        self.refused('not DER')
        (self.dir / 'oem-trusted.pem').unlink()
        self.seal(content)
        self.refused('oem-trusted.pem', status=1)

    def test_an_expired_signer(self):
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, 'old')])
        now = datetime.datetime.now(datetime.timezone.utc)
        old = x509.CertificateBuilder(
            subject_name=name, issuer_name=name, public_key=key.public_key(), serial_number=1,
            not_valid_before=now - datetime.timedelta(days=9),
            not_valid_after=now - datetime.timedelta(days=1)).sign(key, hashes.SHA256())
        oem = copy.copy(self.oem)
        oem.certificate, oem.key = self.dir / 'old.pem', self.dir / 'old.key'
        oem.certificate.write_bytes(old.public_bytes(serialization.Encoding.PEM))
        oem.key.write_bytes(key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption()))
        with open(self.dir / 'oem-trusted.pem', 'ab') as trusted:
            trusted.write(oem.certificate.read_bytes())
        self.seal(self.content(self.item('data', 'a', b'x')), oem=oem)
        self.refused('has expired', status=1)

    def test_packages_for_others(self):
        self.seal(self.content(self.item('data', 'a', b'x'), appliance='00' * 32))
        self.refused('is for the appliance 0000000000000000', status=77)
        self.seal(self.content(self.item('data', 'a', b'x')))
        mine = self.file.read_bytes()
        self.file.write_bytes(openssl('cms', '-encrypt', '-binary', '-aes-256-gcm', '-outform', 'DER',
                                      '-recip', self.oem.certificate, *ECDH, data=b'x'))
        self.refused('not encrypted to this appliance', status=77)
        self.file.write_bytes(mine)
        self.take()

    def test_times(self):
        item = self.item('data', 'a', b'x')
        self.seal(self.content(item, created=when(days=-2), not_after=when(days=-1)))
        self.refused('could be installed until', status=1)
        self.seal(self.content(item, created=when(days=2)))
        self.refused('one of the two clocks is wrong', status=1)
        self.seal(self.content(item, not_after=when(days=400)))
        self.refused('by a year at most')
        older = self.content(self.item('data', 'b', b'x'), id='older', created=when(hours=-1))
        self.seal(self.content(item))
        self.take()
        self.seal(older)
        self.refused("'older' was not made later", status=1)
        # The mark is in the token: another database or folder does not forget it.
        shutil.rmtree(self.folder)
        self.refused("'older' was not made later", status=1)

    def test_content_that_is_wrong(self):
        good = self.item('data', 'a', b'x')
        p12, _ = self.p12()
        for text, content in [
                ('is no JSON', b'{"format":'),
                ('is no JSON', b'{"id":"a","id":"b"}'),
                ('a key is missing', self.content(good, more=1)),
                ('version 1', self.content(good, version=2)),
                ('its id', self.content(good, id='../x')),
                ('64 hexadecimal', self.content(good, appliance='ab')),
                ('dates', self.content(good, created='yesterday')),
                ('no items', self.content()),
                ('too many', self.content(*[self.item('data', f'a{i}', b'x') for i in range(65)])),
                ('item 2: its type', self.content(good, dict(good, type='script'))),
                ('item 1: its type', self.content('text')),
                ('item 1: a key', self.content(dict(good, mode='0777'))),
                ('item 1: its name', self.content(dict(good, name='../../etc/passwd'))),
                ('item 2: another', self.content(good, good)),
                ('base64', self.content(dict(good, data='eA='))),
                ('base64', self.content(dict(good, data='eA\n='))),
                ('control character', self.content(self.item('variable', 'V', 'a\nb'))),
                ('empty or too long', self.content(self.item('variable', 'V', 'a' * 4097))),
                ('the password does not open it',
                 self.content(good, self.item('pkcs12', 'ra', p12, password='wrong'))),
                ('is no PKCS#12', self.content(self.item('pkcs12', 'ra', b'x', password='x'))),
                ('too long', self.content(self.item('pkcs12', 'ra', p12, password='x' * 256)))]:
            with self.subTest(text):
                self.seal(content)
                self.refused(text)

    def test_algorithms_that_are_not_taken(self):
        content = self.content(self.item('data', 'a', b'x'))
        self.seal(content, keyopt=())
        self.refused('ecdh_kdf_md:sha256')
        self.seal(content, cipher='-aes-128-gcm')
        self.refused('package uses')
        self.seal(content, cipher='-des3')
        self.refused('package uses')

    def test_what_is_no_package(self):
        whole = self.seal(self.content(self.item('data', 'a', b'x'))).read_bytes()
        signed = self.oem.sign(b'x')
        indefinite = openssl('cms', '-encrypt', '-binary', '-stream', '-aes-256-gcm', '-outform',
                             'DER', '-recip', self.dir / 'exchange.pem', *self.KEYOPT, data=signed)
        pem = openssl('cms', '-encrypt', '-binary', '-aes-256-gcm', '-outform', 'PEM', '-recip',
                      self.dir / 'exchange.pem', *self.KEYOPT, data=signed)
        for data in (b'', whole[:-1], whole[:40], whole + b'\0', indefinite, pem):
            self.file.write_bytes(data)
            self.refused('not DER')
        self.file.write_bytes(signed)
        self.refused('no CMS EnvelopedData')
        with open(self.file, 'wb') as big:
            big.truncate(13 << 20)
        self.refused('more than')

    def test_a_bit_that_flips_anywhere_is_refused(self):
        """In a sample of places through all parts of both layers."""
        for cipher in ('-aes-256-gcm', '-aes-256-cbc'):
            whole = self.seal(self.content(self.item('data', 'a', b'x')), cipher=cipher).read_bytes()
            for at in sorted({*range(0, 40, 5), *range(40, len(whole), 61), len(whole) - 1}):
                flipped = bytearray(whole)
                flipped[at] ^= 1 << at % 8
                self.file.write_bytes(flipped)
                done = subprocess.run(
                    [OFFICER, 'package', 'show', '--config', self.conf, '--in', self.file],
                    capture_output=True, text=True, timeout=60)
                if done.returncode == 0:
                    self.fail(f'{cipher}: byte {at} of {len(whole)}')
                self.assertIn(done.returncode, (65, 77), f'{at}: {done.stderr}')

    def test_without_key_certificate_or_token(self):
        self.seal(self.content(self.item('data', 'a', b'x')))
        exchange = self.dir / 'exchange.pem'
        mine = exchange.read_bytes()
        exchange.unlink()
        self.refused('exchange.pem', status=1)
        exchange.write_bytes((self.dir / 'identity.pem').read_bytes())
        self.refused("not that of key 'mintmark-exchange'")
        exchange.write_bytes(mine)
        whole = self.conf.read_text()
        self.conf.write_text(whole.replace('exchange_certificate',
                                           "exchange_key = 'lost' exchange_certificate"))
        self.refused("no key 'lost'", status=1)
        self.conf.write_text(whole)
        (self.dir / 'tokens').rename(self.dir / 'away')
        (self.dir / 'tokens').mkdir()
        self.take(status=1)
        (self.dir / 'tokens').rmdir()
        (self.dir / 'away').rename(self.dir / 'tokens')
        self.conf.write_text(whole.replace("exchange_folder = 'exchange'", ''))
        self.refused('exchange_folder', status=78)
        self.conf.write_text(whole)
        self.take()


@NOT_IN_NSS
class Rsa(Packages):
    """An exchange key for OAEP, as for tokens without ECDH."""
    ALGORITHM = ('--algorithm', 'rsa')
    KEYOPT = OAEP

    def test_round_trip_and_what_is_refused(self):
        content = self.content(self.item('data', 'a', b'x'))
        whole = bytearray(self.seal(content).read_bytes())
        self.seal(content, keyopt=())
        self.refused('rsa_padding_mode:oaep')
        self.seal(content, keyopt=(*OAEP, '-keyopt', 'rsa_oaep_md:sha256'))
        self.refused('the token has no RSA-OAEP with SHA-256', status=1)
        whole[whole.index(bytes.fromhex('06092a864886f70d010107')) + 40] ^= 1
        self.file.write_bytes(whole)
        self.refused('does not open')
        self.seal(content)
        self.take()
        self.assertEqual((self.folder / 'data/a').read_bytes(), b'x')


@unittest.skipUnless(token_kind.KIND == 'softokn', 'for tokens that store no data objects')
class NoMark(Packages):
    def test_packages_are_refused(self):
        self.seal(self.content(self.item('data', 'a', b'x')))
        self.refused('the token stores no data objects', status=1)


if __name__ == '__main__':
    unittest.main(verbosity=2)
