# SPDX-License-Identifier: Apache-2.0
"""An OEM for tests: a key, and documents signed with `openssl cms`, without any program of ours.
Needs the generated modules of proto/mintmark/v1 on the path."""
import hashlib
import pathlib
import subprocess


def openssl(*args, data=None):
    done = subprocess.run(['openssl', *map(str, args)], input=data, capture_output=True, timeout=60)
    if done.returncode != 0:
        raise AssertionError(f'openssl {args}: {done.stderr.decode()}')
    return done.stdout


def identity_hash(certificate):
    """SHA-256 of the DER SubjectPublicKeyInfo."""
    public = openssl('x509', '-in', certificate, '-pubkey', '-noout')
    return hashlib.sha256(openssl('pkey', '-pubin', '-outform', 'DER', data=public)).digest()


class Oem:
    def __init__(self, folder, name='oem', days=30):
        self.dir = pathlib.Path(folder)
        self.certificate, self.key = self.dir / f'{name}.pem', self.dir / f'{name}.key'
        openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes',
                '-keyout', self.key, '-out', self.certificate, '-subj', f'/O=Example/CN={name}',
                '-days', days, '-addext', 'keyUsage=critical,digitalSignature')

    def sign(self, content, *options):
        """CMS around a SignedDocument, or around any bytes."""
        if not isinstance(content, bytes):
            content = content.SerializeToString()
        return openssl('cms', '-sign', '-binary', '-nodetach', '-nosmimecap', '-outform', 'DER',
                       '-signer', self.certificate, '-inkey', self.key, *options, data=content)
