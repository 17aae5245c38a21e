# SPDX-License-Identifier: Apache-2.0
"""A client of EJBCA for tests: one connection, requests with keys of their own, answers as they are.
Of python3-cryptography; whoever imports this skips without it."""
import base64
import datetime
import http.client
import json
import socket
import ssl
import unittest
import urllib.parse

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fake_ejbca import FakeEjbca

BASE = '/ejbca/ejbca-rest-api'
ISSUING = 'CN=IssuingCA,O=Example,C=SE'
WAIT_S = 30  # far more than anything takes, so that only a hang fails


def make_csr(name, key=None, sans=(), more=()):
    """(PEM, key) of a request, with a key of its own if none is given; more: attributes of the
    subject behind CN and O."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([
        x509.NameAttribute(NameOID.COMMON_NAME, name),
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, 'Example'),
        *(x509.NameAttribute(oid, value) for oid, value in more)]))
    if sans:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([x509.DNSName(san) for san in sans]), False)
    pem = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    return pem.decode(), key


def der_of(pem):
    return base64.b64decode(''.join(pem.split('-----')[2].split()))


def enrolment(name, csr=None, **more):
    """The body of a pkcs10enroll; what is None in more is left out."""
    body = {'certificate_request': csr or make_csr(name)[0], 'certificate_profile_name': 'DevCert',
            'end_entity_profile_name': 'DevEE', 'certificate_authority_name': 'IssuingCA',
            'username': name, **more}
    return {key: value for key, value in body.items() if value is not None}


def query(value, prop='QUERY', operation='EQUAL'):
    """One criterion of a search."""
    return {'property': prop, 'value': value, 'operation': operation}


def quoted(text):
    return urllib.parse.quote(text, safe='')


def certificate(encoded):
    return x509.load_der_x509_certificate(base64.b64decode(encoded))


def signed_by(subject, issuer):
    try:
        issuer.public_key().verify(subject.signature, subject.tbs_certificate_bytes,
                                   ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def foreign_certificate(folder):
    """Certificate and key of a client that no CA of EJBCA's knows."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, 'foreign')])
    now = datetime.datetime.utcnow()
    own = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(
        key.public_key()).serial_number(7).not_valid_before(now - datetime.timedelta(1)).\
        not_valid_after(now + datetime.timedelta(1)).sign(key, hashes.SHA256())
    (folder / 'foreign.pem').write_bytes(own.public_bytes(serialization.Encoding.PEM))
    (folder / 'foreign.key').write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption()))
    return folder / 'foreign.pem', folder / 'foreign.key'


class Answer:
    def __init__(self, response, body):
        self.status, self.headers, self.body = response.status, response.headers, body

    @property
    def json(self):
        assert self.headers['Content-Type'] == 'application/json', self.headers.items()
        return json.loads(self.body)


class Client:
    """One connection with keep-alive; made again when it was closed."""

    def __init__(self, fake, name='ra', timeout=WAIT_S):
        self._fake, self._timeout = fake, timeout
        self._context = ssl.create_default_context(cafile=fake.server_ca)
        if name:
            self.use(fake.client(name).certificate, fake.client(name).key)
        self.connection = None

    def use(self, own, key):
        self._context.load_cert_chain(own, key)

    def limit_tls(self, version):
        self._context.maximum_version = version

    def socket(self):
        """A connection of its own, for bytes that http.client would not send."""
        raw = socket.create_connection(('127.0.0.1', self._fake.port), self._timeout)
        return self._context.wrap_socket(raw, server_hostname='127.0.0.1')

    def call(self, method, path, body=None, headers=(), base=BASE):
        if self.connection is None:
            self.connection = http.client.HTTPSConnection(
                '127.0.0.1', self._fake.port, context=self._context, timeout=self._timeout)
        data = body if body is None or isinstance(body, (str, bytes)) else json.dumps(body)
        given = {'Content-Type': 'application/json'} if body is not None else {}
        try:
            self.connection.request(method, base + path, data, {**given, **dict(headers)})
            response = self.connection.getresponse()
            return Answer(response, response.read())
        except Exception:
            self.close()
            raise

    def enroll(self, name, **more):
        return self.call('POST', '/v1/certificate/pkcs10enroll', enrolment(name, **more))

    def search(self, *criteria, most=10):
        return self.call('POST', '/v1/certificate/search',
                         {'max_number_of_results': most, 'criteria': list(criteria)})

    def revoke(self, serial, reason=None, issuer=ISSUING, **more):
        given = {'reason': reason, **more} if reason else more
        return self.call('PUT', f'/v1/certificate/{quoted(issuer)}/{serial}/revoke?'
                                f'{urllib.parse.urlencode(given)}')

    def revocation(self, serial, issuer=ISSUING):
        return self.call('GET', f'/v1/certificate/{quoted(issuer)}/{serial}/revocationstatus')

    def close(self):
        if self.connection:
            self.connection.close()
        self.connection = None


class Case(unittest.TestCase):
    """One fake for all tests of a class; each test begins with its settings of the start."""

    @classmethod
    def setUpClass(cls):
        cls.fake = FakeEjbca()
        cls.addClassCleanup(cls.fake.close)

    def setUp(self):
        self.fake.reset()
        self.ra = self.client()

    def client(self, name='ra', **options):
        client = Client(self.fake, name, **options)
        self.addCleanup(client.close)
        return client

    def ca_info(self, name):
        found, = [ca for ca in self.ra.call('GET', '/v1/ca').json['certificate_authorities']
                  if ca['name'] == name]
        return found

    def refused(self, answer, status, text):
        self.assertEqual((answer.status, answer.json),
                         (status, {'error_code': status, 'error_message': text}))
