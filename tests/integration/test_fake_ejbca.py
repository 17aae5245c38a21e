#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The stand-in for EJBCA (tests/fake/ejbca) says what EJBCA says, and misbehaves as it is told."""
import base64
import http.client
import json
import os
import pathlib
import ssl
import sys
import unittest
import urllib.parse

try:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.x509.oid import NameOID
except ImportError as missing:
    print(f'skipped: {missing}')
    sys.exit(77)

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'support'))
from fake_ejbca import FakeEjbca, Refused  # noqa: E402

BASE = '/ejbca/ejbca-rest-api'
ISSUING = 'CN=IssuingCA,O=Example,C=SE'
WAIT_S = 30  # far more than anything takes, so that only a hang fails
KEY = ec.generate_private_key(ec.SECP256R1())


def make_csr(name, key=None, sans=(), organization='Example'):
    """(PEM, key) of a request, with a key of its own if none is given."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
    if organization:
        subject.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(subject))
    if sans:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([x509.DNSName(san) for san in sans]), False)
    pem = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    return pem.decode(), key


def enrolment(name, csr=None, **more):
    """The body of a pkcs10enroll; what is None in more is left out."""
    body = {'certificate_request': csr or make_csr(name)[0], 'certificate_profile_name': 'DevCert',
            'end_entity_profile_name': 'DevEE', 'certificate_authority_name': 'IssuingCA',
            'username': name, **more}
    return {key: value for key, value in body.items() if value is not None}


def query(value, prop='QUERY', operation='EQUAL'):
    return {'property': prop, 'value': value, 'operation': operation}


def quoted(text):
    return urllib.parse.quote(text, safe='')


def certificate(encoded):
    return x509.load_der_x509_certificate(base64.b64decode(encoded))


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
            credential = fake.client(name)
            self._context.load_cert_chain(credential.certificate, credential.key)
        self.connection = None

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

    def refused(self, answer, status, text):
        self.assertEqual((answer.status, answer.json),
                         (status, {'error_code': status, 'error_message': text}))


class Enrolment(Case):
    def test_a_new_user_gets_a_certificate_and_the_chain(self):
        pem, key = make_csr('new-1', sans=['new-1.example'])
        answer = self.ra.enroll('new-1', csr=pem, include_chain=True)
        self.assertEqual(answer.status, 201)
        leaf = certificate(answer.json['certificate'])
        chain = [certificate(one) for one in answer.json['certificate_chain']]
        self.assertEqual(answer.json['response_format'], 'DER')
        self.assertEqual(answer.json['serial_number'], f'{leaf.serial_number:X}')
        self.assertEqual([one.subject.rfc4514_string() for one in chain],
                         ['C=SE,O=Example,CN=IssuingCA', 'C=SE,O=Example,CN=RootCA'])
        self.assertEqual(leaf.public_key().public_numbers(), key.public_key().public_numbers())
        san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        self.assertEqual(san.value.get_values_for_type(x509.DNSName), ['new-1.example'])
        for subject, issuer in zip([leaf, *chain], [*chain, chain[-1]]):
            self.assertEqual(subject.issuer, issuer.subject)
            issuer.public_key().verify(subject.signature, subject.tbs_certificate_bytes,
                                       ec.ECDSA(hashes.SHA256()))

    def test_without_include_chain_there_is_none(self):
        self.assertNotIn('certificate_chain', self.ra.enroll('chainless').json)
        self.assertEqual(len(self.ra.enroll('chain-text', include_chain='true')
                             .json['certificate_chain']), 2)

    def test_a_known_user_gets_another_certificate(self):
        pem = make_csr('again')[0]
        serials = {self.ra.enroll('again', csr=pem).json['serial_number'] for _ in range(3)}
        self.assertEqual(len(serials), 3)
        self.assertEqual([one['serial'] in serials for one in self.fake.certificates('again')],
                         [True] * 3)
        self.assertGreaterEqual(self.fake.state()['doubles'], 1)

    def test_the_key_of_another_user_is_refused(self):
        pem = make_csr('key-1')[0]
        self.assertEqual(self.ra.enroll('key-1', csr=pem).status, 201)
        self.refused(self.ra.enroll('key-2', csr=pem), 400,
                     "User 'key-2' is not allowed to use same key as another user is using.")
        self.assertEqual(self.fake.certificates('key-2'), [])


class Search(Case):
    def test_a_username_finds_its_certificates(self):
        answer = self.ra.enroll('find-1')
        hits = self.ra.search(query('find-1')).json
        self.assertFalse(hits['more_results'])
        hit, = hits['certificates']
        self.assertEqual(base64.b64decode(base64.b64decode(hit['certificate'])),
                         base64.b64decode(answer.json['certificate']))
        self.assertEqual((hit['serial_number'], hit['certificate_profile'],
                          hit['end_entity_profile'], hit['response_format']),
                         (answer.json['serial_number'], 'DevCert', 'DevEE', 'DER'))
        self.assertEqual(self.ra.search(query('find-none')).json,
                         {'certificates': [], 'more_results': False})


class Faults(Case):
    def test_a_connection_is_cut_before_and_after_issuing(self):
        for kind, count in (('cut_before', 0), ('cut_after', 1), ('cut_during', 1)):
            with self.subTest(kind):
                self.fake.set(faults=[{'fault': kind, 'times': 1}])
                with self.assertRaises((ConnectionError, http.client.HTTPException,
                                        ssl.SSLError)):
                    self.ra.enroll(kind)
                self.assertEqual(len(self.fake.certificates(kind)), count)
                self.assertEqual(self.ra.enroll(kind).status, 201)

    def test_it_answers_503(self):
        self.fake.fault('answer', status=503)
        self.refused(self.ra.enroll('busy'), 503, 'Device was unavailable.')


if __name__ == '__main__':
    unittest.main(verbosity=2)
