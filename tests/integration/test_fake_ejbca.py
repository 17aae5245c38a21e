#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The stand-in for EJBCA (tests/fake/ejbca) says what EJBCA says."""
import base64
import http.client
import json
import pathlib
import ssl
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'support'))
try:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.hazmat.primitives.serialization import pkcs7, pkcs12
    from cryptography.x509.oid import NameOID
    from ejbca_client import (BASE, ISSUING, Case, certificate, der_of, enrolment,
                              foreign_certificate, make_csr, query, quoted, signed_by)
except ImportError as missing:
    print(f'skipped: {missing}')
    sys.exit(77)

RSA_1024 = rsa.generate_private_key(65537, 1024)


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
            self.assertTrue(signed_by(subject, issuer))

    def test_without_include_chain_there_is_none(self):
        self.assertNotIn('certificate_chain', self.ra.enroll('chainless').json)
        self.assertEqual(len(self.ra.enroll('chain-text', include_chain='true')
                             .json['certificate_chain']), 2)

    def test_a_known_user_gets_another_certificate(self):
        doubles = self.fake.state()['doubles']
        pem = make_csr('again')[0]
        serials = {self.ra.enroll('again', csr=pem).json['serial_number'] for _ in range(3)}
        self.assertEqual(len(serials), 3)
        self.assertEqual({one['serial'] for one in self.fake.certificates('again')}, serials)
        self.assertEqual(self.fake.state()['doubles'], doubles + 1)

    def test_a_revoked_user_gets_another_certificate(self):
        serial = self.ra.enroll('back').json['serial_number']
        self.ra.revoke(serial, 'SUPERSEDED')
        self.assertEqual(self.ra.enroll('back', csr=make_csr('back')[0]).status, 201)

    def test_the_key_of_another_user_is_refused(self):
        pem = make_csr('key-1')[0]
        self.assertEqual(self.ra.enroll('key-1', csr=pem).status, 201)
        self.refused(self.ra.enroll('key-2', csr=pem), 400,
                     "User 'key-2' is not allowed to use same key as another user is using.")
        self.assertEqual(self.fake.certificates('key-2'), [])
        self.fake.set(cas={'IssuingCA': {'enforce_unique_public_keys': False,
                                         'enforce_unique_dn': False}})
        self.assertEqual(self.ra.enroll('key-2', csr=pem).status, 201)

    def test_with_key_renewal_no_key_comes_twice(self):
        self.fake.set(cas={'IssuingCA': {'enforce_key_renewal': True}})
        pem = make_csr('renew')[0]
        self.assertEqual(self.ra.enroll('renew', csr=pem).status, 201)
        self.refused(self.ra.enroll('renew', csr=pem), 400,
                     "User 'renew' is not allowed to use same key as another certificate is using.")

    def test_the_subject_of_another_user_is_refused(self):
        self.assertEqual(self.ra.enroll('dn-1').status, 201)
        self.refused(self.ra.enroll('dn-2', csr=make_csr('dn-1')[0]), 400,
                     "User 'dn-2' is not allowed to use same subject DN as the user(s) 'dn-1' is/are "
                     "using while issued by the same CA (even if CN postfix is used). See setting for "
                     "'Enforce unique DN' in the section Certification Authorities.")

    def test_names_that_do_not_exist_are_refused(self):
        for field, status, text in (
                ('certificate_authority_name', 400, 'CA with name "X" doesn\'t exist'),
                ('certificate_profile_name', 400,
                 'Certificate profile with name "X" doesn\'t exist'),
                ('end_entity_profile_name', 400, 'End Entity Profile of name "X" was not found')):
            self.refused(self.ra.enroll('nobody', **{field: 'X'}), status, text)
        self.refused(self.ra.enroll('nobody', certificate_authority_name='OtherCA'), 400,
                     'CA with name "OtherCA" doesn\'t exist')
        self.refused(self.ra.enroll('nobody', end_entity_profile_name=None), 500,
                     'General failure.')
        self.refused(self.ra.call('POST', '/v1/certificate/pkcs10enroll'), 500, 'General failure.')
        self.refused(self.ra.call('POST', '/v1/certificate/pkcs10enroll', '{'), 500,
                     'General failure.')
        self.assertEqual(self.ra.enroll('nobody', username=None).status, 400)
        self.assertEqual(self.fake.certificates('nobody'), [])

    def test_requests_that_are_none_are_refused(self):
        for bad in ('', 'nothing', base64.b64encode(b'0\x030').decode(), make_csr('x')[0][:-60]):
            self.refused(self.ra.enroll('bad', csr=bad or '?'), 400, 'Invalid certificate request')
        self.refused(self.ra.call('POST', '/v1/certificate/pkcs10enroll', {
            **enrolment('bad'), 'certificate_request': None}), 400, 'Invalid certificate request')
        der = bytearray(der_of(make_csr('bad')[0]))
        der[-3] ^= 1
        self.refused(self.ra.enroll('bad', csr=base64.b64encode(der).decode()), 400,
                     'POPO verification failed.')

    def test_a_request_may_be_bare_base64(self):
        bare = base64.b64encode(der_of(make_csr('bare')[0])).decode()
        self.assertEqual(self.ra.enroll('bare', csr=bare).status, 201)
        new = make_csr('new-armour')[0].replace('CERTIFICATE REQUEST', 'NEW CERTIFICATE REQUEST')
        self.assertEqual(self.ra.enroll('new-armour', csr=new).status, 201)

    def test_other_keys_are_taken_and_short_ones_refused(self):
        self.fake.set(certificate_profiles={'DevCert': {'min_bits': 2048}})
        self.refused(self.ra.enroll('short', csr=make_csr('short', RSA_1024)[0]), 400,
                     'Illegal key length, not authorized by certificate profile: 1024.')
        self.fake.set(certificate_profiles={'DevCert': {'min_bits': 224, 'key_algorithms': ['RSA']}})
        self.assertEqual(self.ra.enroll('rsa', csr=make_csr('rsa', RSA_1024)[0]).status, 201)
        self.refused(self.ra.enroll('curve'), 400,
                     'Illegal key algorithm, not authorized by certificate profile: EC')
        self.fake.set(certificate_profiles={'DevCert': {'key_algorithms': ['EC']}})
        p384 = ec.generate_private_key(ec.SECP384R1())
        self.assertEqual(self.ra.enroll('p384', csr=make_csr('p384', p384)[0]).status, 201)

    def test_profiles_that_do_not_fit_are_refused(self):
        ca = self.ca_info('IssuingCA')['id']
        self.fake.set(end_entity_profiles={'OtherEE': {'certificate_profiles': ['Special']}},
                      certificate_profiles={'Special': {'cas': ['RootCA']}})
        answer = self.ra.enroll('fit', end_entity_profile_name='OtherEE')
        self.assertEqual(answer.status, 400)
        self.assertRegex(answer.json['error_message'],
                         r"^Couldn't find certificate profile \(\d+\) among available certificate "
                         r"profiles\.$")
        answer = self.ra.enroll('fit', certificate_profile_name='Special')
        self.assertEqual(answer.status, 403)
        self.assertRegex(answer.json['error_message'],
                         rf"^End Entity data contains a CA, {ca}, which the Certificate Profile, "
                         r"\d+, isn't authorized to use\.$")
        self.fake.set(end_entity_profiles={'DevEE': {'cas': ['RootCA']}})
        self.refused(self.ra.enroll('fit'), 400,
                     f"Couldn't find CA ({ca}) among End Entity Profiles Available CAs.")
        self.fake.set(end_entity_profiles={'DevEE': {'cas': ['*'], 'subject': ['OU']}})
        self.refused(self.ra.enroll('fit'), 400, 'Subject DN is illegal.')
        self.fake.set(end_entity_profiles={'DevEE': {'subject': [], 'generated_password': True}})
        self.refused(self.ra.enroll('fit', password='foo'), 400,
                     'When using autogenerated password, the provided password must be null.')
        self.fake.set(end_entity_profiles={'DevEE': {'generated_username': True}})
        self.assertEqual(self.ra.enroll('fit', username=None).status, 201)

    def test_a_ca_that_is_away_is_a_400(self):
        for status, text in (('offline', f"CA token is offline for CA '{ISSUING}'."),
                             ('inactive', f'signsession.canotactive, {ISSUING}')):
            self.fake.set(cas={'IssuingCA': {'status': status}})
            self.refused(self.ra.enroll('away'), 400, text)
            self.fake.set(cas={'IssuingCA': {'status': 'active'}})
            self.fake.fault(status, times=1)
            self.refused(self.ra.enroll('away'), 400, text)
        self.assertEqual(self.ra.enroll('away').status, 201)

    def test_approvals_are_a_400(self):
        self.fake.set(cas={'IssuingCA': {'approval': True}})
        answer = self.ra.enroll('approve')
        self.assertEqual(answer.status, 400)
        self.assertRegex(answer.json['error_message'],
                         r'^Single transaction enrollment request rejected since approvals are '
                         r'enabled for this CA \(-?\d+\) or Certificate Profile \(\d+\)\.$')

    def test_a_profile_says_what_is_in_the_certificate(self):
        self.fake.set(certificate_profiles={'Server': {
            'validity_days': -1, 'key_usage': ['digitalSignature', 'keyAgreement'],
            'extended_key_usage': ['1.3.6.1.5.5.7.3.1'], 'back_dating': False}})
        leaf = certificate(self.ra.enroll('server', certificate_profile_name='Server')
                           .json['certificate'])
        usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
        self.assertTrue(usage.digital_signature and usage.key_agreement)
        self.assertFalse(usage.key_encipherment)
        purposes = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        self.assertEqual([one.dotted_string for one in purposes], ['1.3.6.1.5.5.7.3.1'])
        self.assertEqual(leaf.not_valid_after.year, 9999)

    def test_a_profile_says_how_the_subject_is_ordered(self):
        pem = make_csr('order', more=[(NameOID.COUNTRY_NAME, 'SE'),
                                      (NameOID.SERIAL_NUMBER, '7')])[0]
        for order, expected in (
                ('request', 'serialNumber=7,C=SE,O=Example,CN=order'),
                ('ldap', 'C=SE,O=Example,serialNumber=7,CN=order'),
                ('x500', 'CN=order,serialNumber=7,O=Example,C=SE')):
            self.fake.set(certificate_profiles={'DevCert': {'subject_order': order}})
            leaf = certificate(self.ra.enroll('order', csr=pem).json['certificate'])
            self.assertEqual(leaf.subject.rfc4514_string({NameOID.SERIAL_NUMBER: 'serialNumber'}),
                             expected)
            self.assertEqual(self.fake.certificates('order')[-1]['subject'],
                             'CN=order,SN=7,O=Example,C=SE')

    def test_a_registered_user_may_request_once(self):
        def request(name, password, **more):
            return self.ra.call('POST', '/v1/certificate/certificaterequest', {
                'certificate_request': make_csr(name)[0], 'username': name, 'password': password,
                'certificate_authority_name': 'IssuingCA', **more})
        self.fake.add_user('registered', 'CN=registered,OU=Line 1', 'secret')
        self.refused(request('unknown', 'secret'), 400, 'Wrong username or password')
        self.refused(request('registered', 'wrong'), 400,
                     'Got request for user with invalid password: registered.')
        answer = request('registered', 'secret', include_chain=True)
        self.assertEqual(answer.status, 201)
        self.assertEqual(certificate(answer.json['certificate']).subject.rfc4514_string(),
                         'OU=Line 1,CN=registered')
        self.refused(request('registered', 'secret'), 400,
                     'Got request with status GENERATED (40). Status NEW, FAILED or INPROCESS '
                     'required: registered.')
        self.fake.add_user('second', None, 'secret')
        self.fake.set(version='9.1.0')
        self.refused(request('second', 'secret'), 500, 'General failure.')
        self.assertEqual(request('second', 'secret', certificate_request_type='PKCS10').status, 201)

    def test_a_request_of_a_registered_user_is_refused_in_other_words(self):
        def request(**more):
            return self.ra.call('POST', '/v1/certificate/certificaterequest', {
                'certificate_request': make_csr('words')[0], 'username': 'words', 'password': 'x',
                'certificate_authority_name': 'IssuingCA', 'certificate_request_type': 'PKCS10',
                **more})
        self.fake.add_user('words', 'CN=words', 'x')
        self.refused(request(certificate_authority_name='X'), 503, "CA with name X doesn't exist.")
        self.refused(request(certificate_request='x'), 400,
                     'Failed to generate certificate due to malformed CSR.')
        der = bytearray(der_of(make_csr('words')[0]))
        der[-3] ^= 1
        self.refused(request(certificate_request=base64.b64encode(der).decode()), 400,
                     'An incorrect certificate request has been passed.')
        self.refused(self.unsuitable(request), 400,
                     'An incorrect certificate key has been passed contain rather too large key or '
                     'having any other issue.')
        for status, text in (('offline', 'Device was unavailable.'),
                             ('inactive', f'signsession.canotactive, {ISSUING}')):
            self.fake.set(cas={'IssuingCA': {'status': status}})
            self.refused(request(), 503, text)
        self.fake.set(version='9.1.1')
        self.refused(request(certificate_authority_name='X'), 400, "CA with name X doesn't exist.")
        self.refused(request(certificate_request='x'), 400,
                     'Failed to generate certificate due to malformed certificate requet for type '
                     'PKCS10.')
        self.assertEqual(self.fake.certificates('words'), [])

    def unsuitable(self, request):
        """The answer to a key that is too short for the profile."""
        self.fake.set(certificate_profiles={'DevCert': {'min_bits': 2048}})
        answer = request(certificate_request=make_csr('words', RSA_1024)[0])
        self.fake.set(certificate_profiles={'DevCert': {'min_bits': 224}})
        return answer

    def test_a_key_of_another_user_is_a_conflict_for_a_registered_user(self):
        pem = make_csr('first-key')[0]
        self.ra.enroll('first-key', csr=pem)
        self.fake.add_user('second-key', 'CN=second-key')
        self.refused(
            self.ra.call('POST', '/v1/certificate/certificaterequest', {
                'certificate_request': pem, 'username': 'second-key', 'password': '',
                'certificate_authority_name': 'IssuingCA'}), 409,
            'Failed to generate certificate due to the new certificate conflicting with an existing '
            'one.')

    def test_nothing_waits_to_be_finalized(self):
        self.refused(self.ra.call('POST', '/v1/certificate/5/finalize', {'response_format': 'DER'}),
                     400, "Could not find request with Id '5'")


class Version9(Case):
    def setUp(self):
        super().setUp()
        self.fake.set(version='9.1.1')

    def test_pkcs7_is_base64_of_pem(self):
        answer = self.ra.enroll('p7', response_format='PKCS7', include_chain=True)
        self.assertEqual((answer.status, answer.json['response_format']), (201, 'PKCS7'))
        own = pkcs7.load_pem_pkcs7_certificates(base64.b64decode(answer.json['certificate']))
        self.assertEqual(len(own), 3)
        above = pkcs7.load_pem_pkcs7_certificates(
            base64.b64decode(answer.json['certificate_chain'][0]))
        self.assertEqual(len(above), 2)

    def test_another_format_is_refused(self):
        self.refused(self.ra.enroll('format', response_format='PEM'), 400,
                     'Invalid input. Response format can only be DER or PKCS7')

    def test_subject_and_times_may_be_given(self):
        answer = self.ra.enroll('given', subject_dn='CN=given here,C=SE',
                                start_time='2026-01-02 03:04:05', end_time='2027-01-02 03:04:05')
        leaf = certificate(answer.json['certificate'])
        self.assertEqual(leaf.subject.rfc4514_string(), 'C=SE,CN=given here')
        self.assertEqual(str(leaf.not_valid_before), '2026-01-02 03:04:05')
        self.assertEqual(str(leaf.not_valid_after), '2027-01-02 03:04:05')

    def test_version_8_ignores_them(self):
        self.fake.set(version='8.2.0.1')
        answer = self.ra.enroll('ignored', response_format='PKCS7', subject_dn='CN=x')
        self.assertEqual(answer.json['response_format'], 'DER')
        self.assertEqual(certificate(answer.json['certificate']).subject.rfc4514_string(),
                         'O=Example,CN=ignored')


class Rights(Case):
    def test_no_certificate_is_a_403(self):
        text = 'Error no client certificate or OAuth token received for authentication.'
        nobody = self.client(None)
        self.refused(nobody.enroll('none'), 403, text)
        self.refused(nobody.search(query('none')), 403, text)
        self.assertEqual(nobody.call('GET', '/v1/certificate/status').status, 200)

    def test_a_certificate_that_is_not_known_is_a_403(self):
        for name in ('stranger', 'former'):
            serial = x509.load_pem_x509_certificate(
                self.fake.client(name).certificate.read_bytes()).serial_number
            self.refused(self.client(name).enroll('none'), 403,
                         'Authentication failed. Further information: No admin authenticated for '
                         f"certificate with serialNumber {serial} and issuerDN "
                         "'CN=ManagementCA,O=Example,C=SE'.")

    def test_without_rights_only_searches_are_allowed(self):
        self.ra.enroll('hidden')
        reader = self.client('reader')
        text = 'Administrator is not authorized to resource /administrator. Msg: .'
        self.refused(reader.enroll('none'), 403, text)
        self.refused(reader.call('GET', '/v1/ca'), 403, text)
        self.assertEqual(reader.search(query('hidden')).json,
                         {'certificates': [], 'more_results': False})
        self.assertEqual(
            reader.call('GET', f'/v1/ca/{quoted(ISSUING)}/getLatestCrl').status, 200)

    def test_each_right_is_asked_for(self):
        def text(rule):
            return f'Administrator is not authorized to resource {rule}. Msg: .'
        granted = ['/administrator']
        self.fake.set(roles={'ra': granted})
        self.refused(self.ra.enroll('rights'), 403,
                     "Administrator 'CN=ra,O=Example,C=SE' not authorized to CA IssuingCA.")
        self.assertEqual(self.ra.call('GET', '/v1/ca').json, {'certificate_authorities': []})
        self.refused(self.ra.search(query('IssuingCA', 'CA')), 400,
                     'Invalid search criteria content, unknown CA.')
        granted.append('/ca/IssuingCA')
        for rule in ('/ca_functionality/create_certificate', '/ra_functionality/create_end_entity',
                     '/endentityprofilesrules/DevEE/create_end_entity'):
            self.fake.set(roles={'ra': granted})
            self.refused(self.ra.enroll('rights'), 403, text(rule))
            granted.append(rule)
        self.fake.set(roles={'ra': granted})
        serial = self.ra.enroll('rights').json['serial_number']
        self.refused(self.ra.enroll('rights'), 403, text('/ra_functionality/edit_end_entity'))
        self.refused(self.ra.revoke(serial, 'SUPERSEDED'), 403,
                     text('/ra_functionality/revoke_end_entity'))

    def test_the_handshake_may_ask_for_a_certificate(self):
        self.fake.set(client_certificate_required=True)
        with self.assertRaises((ssl.SSLError, ConnectionError, http.client.HTTPException)):
            self.client(None).call('GET', '/v1/ca/status')
        self.assertEqual(self.ra.call('GET', '/v1/ca/status').status, 200)

    def test_a_certificate_of_another_ca_does_not_get_in(self):
        foreign = self.client('stranger')
        foreign.use(*foreign_certificate(self.fake.dir))
        refused = self.fake.state()['connections']['refused']
        with self.assertRaises((ssl.SSLError, ConnectionError, http.client.HTTPException)):
            foreign.call('GET', '/v1/ca/status')
        self.assertEqual(self.fake.state()['connections']['refused'], refused + 1)

    def test_the_pkcs12_is_the_same_client(self):
        ra = self.fake.ra
        password = ra.password_file.read_text().strip().encode()
        _, own, more = pkcs12.load_key_and_certificates(ra.p12.read_bytes(), password)
        self.assertEqual(own, x509.load_pem_x509_certificate(ra.certificate.read_bytes()))
        self.assertEqual(len(more), 1)


class Http(Case):
    def html(self, answer, status, text):
        self.assertEqual(answer.status, status)
        self.assertEqual(answer.headers['Content-Type'], 'text/html;charset=UTF-8')
        self.assertIn(text, answer.body.decode())

    def test_services_that_are_off_are_a_403_in_html(self):
        off = 'This service has been disabled.'
        self.html(self.ra.call('GET', '/v1/endentity/status'), 403, off)
        self.html(self.ra.call('POST', '/v2/endentity/search', {}), 403, off)
        self.html(self.ra.call('GET', '/v1/ca_management/status'), 403, off)
        self.fake.set(services={'REST Certificate Management': False})
        self.html(self.ra.enroll('off'), 403, off)
        self.html(self.ra.call('GET', '/v1/ca'), 403, off)
        self.assertEqual(self.ra.call('GET', '/v2/certificate/status').status, 200)
        self.fake.set(services={'REST Certificate Management V2': False,
                                'REST End Entity Management': True})
        self.html(self.ra.call('GET', '/v2/certificate/status'), 403, off)
        self.refused(self.ra.call('GET', '/v1/endentity/status'), 404, 'HTTP 404 Not Found')

    def test_methods_and_paths(self):
        self.html(self.ra.call('DELETE', '/v1/ca'), 403, 'Forbidden')
        self.html(self.ra.call('PATCH', '/v1/ca'), 403, 'Forbidden')
        self.refused(self.ra.call('PUT', '/v1/ca'), 405, 'HTTP 405 Method Not Allowed')
        self.refused(self.ra.call('GET', '/v1/certificate/pkcs10enroll'), 405,
                     'HTTP 405 Method Not Allowed')
        self.refused(self.ra.call('GET', '/v1/certificate/nothing'), 404, 'HTTP 404 Not Found')
        self.html(self.ra.call('GET', '/elsewhere', base=''), 404, 'Not Found')
        self.refused(self.ra.call('POST', '/v1/certificate/pkcs10enroll', 'a=b',
                                  {'Content-Type': 'application/x-www-form-urlencoded'}), 415,
                     'HTTP 415 Unsupported Media Type')
        answer = self.ra.call('HEAD', '/v1/ca/status')
        self.assertEqual((answer.status, answer.body), (200, b''))

    def test_browsers_need_a_header(self):
        self.html(self.ra.call('GET', '/v1/ca', headers={'Sec-Fetch-Mode': 'cors'}), 403,
                  'disabled')
        self.assertEqual(self.ra.call('GET', '/v1/ca', headers={
            'Sec-Fetch-Mode': 'cors', 'X-Keyfactor-Requested-With': 'x'}).status, 200)

    def test_the_health_check_says_allok(self):
        answer = self.ra.call('GET', '/ejbca/publicweb/healthcheck/ejbcahealth', base='')
        self.assertEqual((answer.status, answer.body), (200, b'ALLOK'))

    def test_what_is_not_http_is_refused_and_others_go_on(self):
        for sent, status in ((b'nonsense\r\n\r\n', b'400'), (b'GET / HTTP/2.0\r\n\r\n', b'505'),
                             (b'POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n', b'400'),
                             (b'POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n', b'413'),
                             (b'POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n', b'501'),
                             (b'GET / HTTP/1.1\r\nX: ' + b'x' * 40000, b'431')):
            with self.subTest(sent[:40]), self.ra.socket() as raw:
                raw.sendall(sent)
                self.assertEqual(raw.recv(64).split()[1], status)
        self.assertEqual(self.ra.call('GET', '/v1/ca/status').status, 200)

    def test_requests_may_come_in_pieces_and_together(self):
        request = f'GET {BASE}/v1/ca/status HTTP/1.1\r\nHost: x\r\n\r\n'.encode()
        with self.ra.socket() as raw:
            raw.sendall(request[:20])
            raw.sendall(request[20:] + request + request)
            found = b''
            while found.count(b'"status":"OK"') < 3:
                found += raw.recv(4096)

    def test_a_body_may_wait_for_100_continue(self):
        body = json.dumps({'max_number_of_results': 1, 'criteria': [query('x')]}).encode()
        with self.ra.socket() as raw:
            raw.sendall(f'POST {BASE}/v1/certificate/search HTTP/1.1\r\nContent-Type: '
                        f'application/json\r\nExpect: 100-continue\r\nContent-Length: {len(body)}'
                        '\r\n\r\n'.encode())
            self.assertTrue(raw.recv(4096).startswith(b'HTTP/1.1 100 '))
            raw.sendall(body)
            self.assertTrue(raw.recv(4096).startswith(b'HTTP/1.1 200 '))

    def test_answers_may_come_in_chunks(self):
        self.fake.set(chunked=True)
        answer = self.ra.enroll('chunks', include_chain=True)
        self.assertEqual((answer.status, answer.headers['Transfer-Encoding']), (201, 'chunked'))
        self.assertEqual(len(answer.json['certificate_chain']), 2)

    def test_connections_end_after_requests_and_idle_time(self):
        self.fake.set(requests_per_connection=2)
        said = [self.ra.call('GET', '/v1/ca/status').headers['Connection'] for _ in range(2)]
        self.assertEqual(said, ['keep-alive', 'close'])
        self.fake.set(requests_per_connection=0)
        self.ra.call('GET', '/v1/ca/status')
        self.fake.set(idle_ms=20)
        self.assertEqual(self.ra.connection.sock.recv(1), b'')

    def test_tls_1_2_will_do(self):
        self.ra.limit_tls(ssl.TLSVersion.TLSv1_2)
        self.assertEqual(self.ra.call('GET', '/v1/ca/status').status, 200)


class Search(Case):
    def test_a_username_finds_its_certificates(self):
        answer = self.ra.enroll('find-1')
        hits = self.ra.search(query('find-1')).json
        self.assertFalse(hits['more_results'])
        hit, = hits['certificates']
        inner = base64.b64decode(hit['certificate'])
        self.assertIn(b'\n', inner)
        self.assertEqual(base64.b64decode(inner), base64.b64decode(answer.json['certificate']))
        self.assertEqual((hit['serial_number'], hit['certificate_profile'],
                          hit['end_entity_profile'], hit['response_format']),
                         (answer.json['serial_number'], 'DevCert', 'DevEE', 'DER'))
        self.assertEqual(self.ra.search(query('find-none')).json,
                         {'certificates': [], 'more_results': False})

    def found(self, *criteria, most=100):
        return [hit['serial_number']
                for hit in self.ra.search(*criteria, most=most).json['certificates']]

    def test_a_query_looks_at_subject_name_username_and_serial(self):
        serial = self.ra.enroll('q-1', csr=make_csr('q-1', sans=['q-1.example'])[0]
                                ).json['serial_number']
        for value in ('q-1', serial, 'CN=q-1,O=Example', 'dNSName=q-1.example'):
            self.assertEqual(self.found(query(value)), [serial], value)
        self.assertEqual(self.found(query('q-1.exa', operation='LIKE')), [serial])
        self.assertEqual(self.found(query('q-1.exa')), [])

    def test_criteria_add_up(self):
        first = self.ra.enroll('add-1').json['serial_number']
        second = self.ra.enroll('add-2').json['serial_number']
        self.ra.revoke(second, 'KEY_COMPROMISE')
        like = query('add-', operation='LIKE')
        for criteria, expected in (
                ([like], [first, second]),
                ([like, query('IssuingCA', 'CA')], [first, second]),
                ([like, query('RootCA', 'CA')], []),
                ([like, query('RootCA', 'CA'), query('IssuingCA', 'CA')], [first, second]),
                ([like, query('DevCert', 'CERTIFICATE_PROFILE'), query('DevEE', 'END_ENTITY_PROFILE')],
                 [first, second]),
                ([like, query('CERT_ACTIVE', 'STATUS')], [first]),
                ([like, query('CERT_REVOKED', 'STATUS')], [second]),
                ([like, query('REVOCATION_REASON_KEYCOMPROMISE', 'STATUS')], [second]),
                ([like, query('REVOCATION_REASON_SUPERSEDED', 'STATUS')], []),
                ([like, query('2020-01-01T00:00:00Z', 'ISSUED_DATE', 'AFTER')], [first, second]),
                ([like, query('2020-01-01T00:00:00+02:00', 'ISSUED_DATE', 'BEFORE')], []),
                ([like, query('2100-01-01T00:00:00Z', 'EXPIRE_DATE', 'AFTER')], []),
                ([like, query('2020-01-01T00:00:00Z', 'REVOCATION_DATE', 'AFTER')], [second]),
                ([like, query('2020-01-01T00:00:00Z', 'UPDATE_TIME', 'AFTER')], [first, second])):
            self.assertEqual(self.found(*criteria), expected, criteria)

    def test_more_results_are_announced(self):
        for _ in range(3):
            self.ra.enroll('more')
        answer = self.ra.search(query('more'), most=2).json
        self.assertEqual((len(answer['certificates']), answer['more_results']), (2, True))

    def test_bad_criteria_are_refused(self):
        for criterion, text in (
                (query('x', prop=''), 'Invalid search criteria content, property cannot be null or '
                                      'empty.'),
                (query(''), 'Invalid search criteria content, value cannot be null or empty.'),
                (query('x', operation=''), 'Invalid search criteria content, operation cannot be null '
                                           'or empty.'),
                (query('x', 'BLAH'), "Invalid search criteria's property, unrecognized."),
                (query('x', operation='BLAH'), "Invalid search criteria's operation, unrecognized."),
                (query('x', operation='AFTER'), "Invalid search criteria's operation, should be EQUAL "
                                                "or LIKE."),
                (query('x', 'CA', 'LIKE'), "Invalid search criteria's operation, should be EQUAL."),
                (query('2020-01-01T00:00:00Z', 'ISSUED_DATE'),
                 "Invalid search criteria's operation, should be AFTER or BEFORE."),
                (query('20200101', 'ISSUED_DATE', 'AFTER'),
                 'Invalid search criteria content, value does not contain proper date.'),
                (query('BLAH', 'STATUS'),
                 'Invalid search criteria content, value does not contain certificate status.'),
                (query('X', 'CA'), 'Invalid search criteria content, unknown CA.'),
                (query('X', 'CERTIFICATE_PROFILE'),
                 'Invalid search criteria content, unknown certificate profile.'),
                (query('X', 'END_ENTITY_PROFILE'),
                 'Invalid search criteria content, unknown end entity profile.')):
            self.refused(self.ra.search(criterion), 400, text)
        for most, text in ((None, 'cannot be null.'), (0, 'cannot be less or equal to zero.'),
                           (401, 'cannot be more than 400.')):
            self.refused(self.ra.search(query('x'), most=most), 400,
                         f'Invalid maximum number of results, {text}')
        self.assertEqual(self.ra.search().status, 400)

    def search_2(self, *criteria, page=1, size=10, **more):
        return self.ra.call('POST', '/v2/certificate/search', {
            'pagination': {'page_size': size, 'current_page': page}, 'criteria': list(criteria),
            **more})

    def test_version_2_has_pages(self):
        serials = [self.ra.enroll(f'page-{i}').json['serial_number'] for i in range(5)]
        like = query('page-', operation='LIKE')
        for page, expected in ((1, serials[:2]), (2, serials[2:4]), (3, serials[4:]), (4, [])):
            answer = self.search_2(like, page=page, size=2).json
            self.assertEqual([hit['serialNumber'] for hit in answer['certificates']], expected)
            self.assertEqual(answer['pagination_summary'], {'page_size': 2, 'current_page': page})
        self.assertEqual(self.search_2(like, page=-1).json['pagination_summary'],
                         {'total_certs': 5})
        down = self.search_2(like, sort={'property': 'USERNAME', 'operation': 'DESC'}).json
        self.assertEqual([hit['username'] for hit in down['certificates']],
                         [f'page-{i}' for i in (4, 3, 2, 1, 0)])
        self.assertEqual(self.search_2(like, page=0).status, 400)

    def test_a_version_2_hit_says_everything(self):
        answer = self.ra.enroll('hit-2', csr=make_csr('hit-2', sans=['hit-2.example'])[0]).json
        hit, = self.search_2(query('hit-2')).json['certificates']
        leaf = certificate(answer['certificate'])
        expected = {'username': 'hit-2', 'serialNumber': answer['serial_number'], 'status': 20,
                    'revocationReason': -1, 'revocationDate': -1, 'issuerDN': ISSUING,
                    'subjectDN': 'CN=hit-2,O=Example', 'subjectAltName': 'dNSName=hit-2.example',
                    'certificateProfile': 'DevCert', 'endEntityProfile': 'DevEE',
                    'fingerprint': leaf.fingerprint(hashes.SHA1()).hex()}
        self.assertEqual({key: hit[key] for key in expected}, expected)
        self.assertEqual(base64.b64decode(base64.b64decode(hit['base64Cert'])),
                         base64.b64decode(answer['certificate']))
        self.ra.revoke(answer['serial_number'], 'SUPERSEDED')
        hit, = self.search_2(query('hit-2')).json['certificates']
        self.assertEqual((hit['status'], hit['revocationReason']), (40, 4))
        self.assertGreater(hit['revocationDate'], 0)

    def test_counts(self):
        before = self.ra.call('GET', '/v2/certificate/count?isActive=true').json['count']
        self.ra.revoke(self.ra.enroll('count-1').json['serial_number'], 'SUPERSEDED')
        self.ra.enroll('count-2')
        self.assertEqual(self.ra.call('GET', '/v2/certificate/count?isActive=true').json['count'],
                         before + 1)
        self.assertEqual(self.ra.call('GET', '/v2/certificate/count').json['count'],
                         self.fake.state()['certificates'])

    def test_what_expires_comes_in_pages_with_the_odd_count(self):
        self.fake.set(certificate_profiles={'Short': {'validity_days': 2}})
        for i in range(3):
            self.ra.enroll(f'short-{i}', certificate_profile_name='Short')
        answer = self.ra.call('GET', '/v1/certificate/expire?days=3&offset=0&maxNumberOfResults=2')
        self.assertEqual(answer.json['pagination_rest_response_component'],
                         {'more_results': True, 'next_offset': 2, 'number_of_results': 1})
        first = answer.json['certificates_rest_response']['certificates']
        self.assertEqual(len(first), 2)
        certificate(first[0]['certificate'])
        answer = self.ra.call('GET', '/v1/certificate/expire?days=3&offset=2&maxNumberOfResults=2')
        self.assertEqual(answer.json['pagination_rest_response_component'],
                         {'more_results': False, 'next_offset': 4, 'number_of_results': -1})


class Revocation(Case):
    def test_a_certificate_is_revoked_once(self):
        serial = self.ra.enroll('rev-1').json['serial_number']
        status = self.ra.revocation(serial).json
        self.assertEqual(status, {'issuer_dn': ISSUING, 'serial_number': serial,
                                  'revocation_reason': 'NOT_REVOKED', 'revoked': False})
        answer = self.ra.revoke(serial, 'KEY_COMPROMISE')
        self.assertEqual(answer.status, 200)
        said = answer.json
        self.assertRegex(said.pop('revocation_date'), r'^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$')
        self.assertEqual(said, {
            'issuer_dn': ISSUING, 'serial_number': serial, 'revocation_reason': 'KEY_COMPROMISE',
            'message': 'Successfully revoked', 'revoked': True})
        self.assertEqual(self.ra.revocation(f'0x{serial.lower()}').json['revoked'], True)
        self.refused(self.ra.revoke(serial, 'SUPERSEDED'), 409,
                     f'Certificate with issuer: {ISSUING} and serial number: {serial} has previously '
                     'been revoked. Revocation reason could not be changed or was not allowed.')
        self.refused(self.ra.revoke(serial), 400, 'Invalidity date or revocation reason missing.')
        self.assertEqual([(one['status'], one['reason']) for one in self.fake.certificates('rev-1')],
                         [('revoked', 1)])

    def test_a_hold_is_taken_back(self):
        serial = self.ra.enroll('hold').json['serial_number']
        self.refused(self.ra.revoke(serial, 'REMOVE_FROM_CRL'), 409,
                     'Not allowed to unrevoke a certificate that is not on hold. Issuer '
                     f'{ISSUING}, serialNo {serial}.')
        for back in ('REMOVE_FROM_CRL', 'NOT_REVOKED'):
            self.assertEqual(self.ra.revoke(serial, 'CERTIFICATE_HOLD').status, 200)
            self.assertFalse(self.ra.revoke(serial, back).json['revoked'])
            self.assertFalse(self.ra.revocation(serial).json['revoked'])

    def test_the_issuer_may_be_written_in_any_order(self):
        serial = self.ra.enroll('order').json['serial_number']
        self.assertEqual(self.ra.revoke(serial, 'SUPERSEDED', 'C=SE, O=Example, CN=IssuingCA').status,
                         200)

    def test_wrong_parameters_are_refused(self):
        serial = self.ra.enroll('rev-bad').json['serial_number']
        self.refused(self.ra.revoke('xyz', 'SUPERSEDED'), 400,
                     "Invalid serial number format. Should be HEX encoded (optionally with '0x' "
                     "prefix) e.g. '0x10782a83eef170d4'")
        self.refused(self.ra.revoke(serial, 'superseded'), 400, 'Invalid revocation reason.')
        self.refused(self.ra.revoke(serial, 'SUPERSEDED', date='2999-01-01T00:00:00Z'), 400,
                     "Date in the future: '2999-01-01T00:00:00Z'.")
        self.refused(self.ra.revoke(serial, 'SUPERSEDED', date='yesterday'), 400,
                     "'yesterday' is not a valid ISO8601 date. Example of a valid date: "
                     "2012-06-07T23:55:59+02:00")
        self.refused(self.ra.revoke('1234', 'SUPERSEDED'), 404,
                     f'Could not find end entity certificate. Issuer {ISSUING}, serialNo 1234.')
        self.refused(self.ra.revocation('1234'), 404,
                     f"Certificate with serial number '1234' and issuer DN '{ISSUING}' was not found")
        self.refused(self.ra.revocation(serial, 'CN=X'), 404, "CA 'CN=X' does not exist.")
        self.assertEqual(self.ra.revoke(serial, 'SUPERSEDED', 'CN=X').status, 404)
        self.fake.set(certificate_profiles={'DevCert': {'back_dated_revocation': False}})
        self.refused(self.ra.revoke(serial, 'SUPERSEDED', date='2026-01-02T03:04:05Z'), 422,
                     "Back dated revocation not allowed for certificate profile 'DevCert'. "
                     f"Certificate serialNumber '{serial}', issuerDN '{ISSUING}'.")
        self.fake.set(certificate_profiles={'DevCert': {'back_dated_revocation': True}})
        answer = self.ra.revoke(serial, 'SUPERSEDED', date='2026-01-02T03:04:05+01:00')
        self.assertEqual(answer.json['revocation_date'], '2026-01-02T02:04:05Z')
        serial = self.ra.enroll('rev-invalid').json['serial_number']
        answer = self.ra.revoke(serial, 'SUPERSEDED', invalidity_date='2026-01-02T03:04:05Z')
        self.assertEqual(answer.json['invalidity_date'], '2026-01-02T03:04:05Z')


    def test_a_revocation_may_wait_for_approval(self):
        serial = self.ra.enroll('approval').json['serial_number']
        self.fake.set(cas={'IssuingCA': {'revocation_approval': True}})
        answer = self.ra.revoke(serial, 'SUPERSEDED')
        self.assertEqual((answer.status, answer.json), (202, {
            'status_code': 202, 'info_message': 'Revocation has been sent for approval by authorized '
                                                'administrators.'}))
        self.assertFalse(self.ra.revocation(serial).json['revoked'])
        self.fake.set(version='9.1.1')
        self.assertIsInstance(self.ra.revoke(serial, 'SUPERSEDED').json['request_id'], int)


class Authorities(Case):
    def test_the_list_names_the_cas_one_may_use(self):
        info = self.ca_info('IssuingCA')
        self.assertEqual((info['subject_dn'], info['issuer_dn'], info['expiration_date']),
                         (ISSUING, 'CN=RootCA,O=Example,C=SE', '9999-12-31T23:59:59Z'))
        self.fake.set(roles={'ra': ['/administrator', '/ca/IssuingCA']})
        self.assertEqual([ca['name'] for ca in
                          self.ra.call('GET', '/v1/ca').json['certificate_authorities']],
                         ['IssuingCA'])

    def test_the_chain_is_pem(self):
        answer = self.ra.call('GET', f'/v1/ca/{quoted(ISSUING)}/certificate/download')
        self.assertEqual((answer.status, answer.headers['Content-disposition']),
                         (200, 'attachment; filename="IssuingCA.cacert.pem"'))
        parts = answer.body.split(b'-----END CERTIFICATE-----\n')
        self.assertEqual([x509.load_pem_x509_certificate(part + b'-----END CERTIFICATE-----\n')
                          for part in parts[:-1]],
                         [x509.load_pem_x509_certificate(self.fake.ca_certificate(name).read_bytes())
                          for name in ('IssuingCA', 'RootCA')])
        self.assertEqual(self.ra.call('GET', '/v1/ca/CN%3DX/certificate/download').status, 404)

    def test_the_crl_lists_what_is_revoked(self):
        serial = self.ra.enroll('crl').json['serial_number']
        self.ra.revoke(serial, 'CESSATION_OF_OPERATION')
        made = self.ra.call('POST', f'/v1/ca/{quoted(ISSUING)}/createcrl?deltacrl=false', '')
        answer = self.ra.call('GET', f'/v1/ca/{quoted(ISSUING)}/getLatestCrl?deltaCrl=false')
        self.assertEqual(answer.json['response_format'], 'DER')
        crl = x509.load_der_x509_crl(base64.b64decode(answer.json['crl']))
        issuer = x509.load_pem_x509_certificate(
            self.fake.ca_certificate('IssuingCA').read_bytes())
        self.assertTrue(crl.is_signature_valid(issuer.public_key()))
        entry = crl.get_revoked_certificate_by_serial_number(int(serial, 16))
        self.assertEqual(entry.extensions.get_extension_for_class(x509.CRLReason).value.reason,
                         x509.ReasonFlags.cessation_of_operation)
        self.assertEqual(crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number,
                         made.json['latest_crl_version'])
        self.refused(self.ra.call('POST', '/v1/ca/CN%3DX/createcrl', ''), 400,
                     'CA with DN: CN=X does not exist.')

    def test_the_status_says_version_and_edition(self):
        self.fake.set(version='9.0.0', edition='Enterprise')
        for path, version in (('/v1/ca/status', '1.0'), ('/v1/certificate/status', '1.0'),
                              ('/v2/certificate/status', '2.0')):
            answer = self.ra.call('GET', path).json
            self.assertEqual((answer['status'], answer['version']), ('OK', version))
            self.assertTrue(answer['revision'].startswith('EJBCA 9.0.0 Enterprise'))


TEXT, NUMBER, YES_NO = 'text', 'number', 'yes or no'
CERTIFICATE = {'certificate': TEXT, 'serial_number': TEXT, 'response_format': TEXT,
               'certificate_chain?': [TEXT], 'certificate_profile?': TEXT,
               'end_entity_profile?': TEXT}
REVOCATION = {'issuer_dn': TEXT, 'serial_number': TEXT, 'revocation_reason': TEXT,
              'revocation_date?': TEXT, 'message?': TEXT, 'revoked': YES_NO}


class Shapes(Case):
    """Names and types of fields, as the vendor's OpenAPI description has them where the code does
    too; a name with a question mark may be missing."""

    def fits(self, value, shape, place):
        if shape == TEXT:
            self.assertIsInstance(value, str, place)
        elif shape == NUMBER:
            self.assertIs(type(value), int, place)
        elif shape == YES_NO:
            self.assertIsInstance(value, bool, place)
        elif isinstance(shape, list):
            self.assertIsInstance(value, list, place)
            self.assertGreater(len(value), 0, place)
            for one in value:
                self.fits(one, shape[0], place)
        else:
            self.assertIsInstance(value, dict, place)
            if '*' in shape:
                shape = {name: shape['*'] for name in value}
            known = {name.rstrip('?') for name in shape}
            needed = {name for name in shape if not name.endswith('?')}
            self.assertLessEqual(set(value), known, place)
            self.assertLessEqual(needed, set(value), place)
            for name, inner in shape.items():
                if name.rstrip('?') in value:
                    self.fits(value[name.rstrip('?')], inner, f'{place}.{name}')

    def test_answers_have_the_fields_of_the_description(self):
        issuer = quoted(ISSUING)
        self.fake.set(certificate_profiles={'Short': {'validity_days': 1}})
        first = self.ra.enroll('shape-1', include_chain=True, certificate_profile_name='Short')
        second = self.ra.enroll('shape-2')
        self.assertEqual((first.status, second.status), (201, 201))
        self.fits(first.json, CERTIFICATE, 'enrolment')
        self.fits(second.json, CERTIFICATE, 'enrolment without chain')
        for serial in (first.json['serial_number'], second.json['serial_number']):
            self.fits(self.ra.revocation(serial).json, REVOCATION, 'status')
        self.fits(self.ra.revoke(second.json['serial_number'], 'SUPERSEDED').json, REVOCATION,
                  'revocation')
        self.fits(self.ra.revocation(second.json['serial_number']).json, REVOCATION, 'revoked')
        for path, shape in (
                ('/v1/ca/status', {'status': TEXT, 'version': TEXT, 'revision': TEXT}),
                ('/v1/ca', {'certificate_authorities': [{
                    'id': NUMBER, 'name': TEXT, 'subject_dn': TEXT, 'issuer_dn': TEXT,
                    'expiration_date': TEXT}]}),
                (f'/v1/ca/{issuer}/getLatestCrl', {'crl': TEXT, 'response_format': TEXT}),
                ('/v1/certificate/expire?days=3', {
                    'pagination_rest_response_component': {
                        'more_results': YES_NO, 'next_offset': NUMBER, 'number_of_results': NUMBER},
                    'certificates_rest_response': {'certificates': [CERTIFICATE]}}),
                ('/v2/certificate/profile/DevCert', {
                    'available_key_algs': [TEXT], 'available_bit_lenghts': [NUMBER],
                    'available_ecdsa_curves': [TEXT], 'available_cas': [TEXT]})):
            answer = self.ra.call('GET', path)
            self.assertEqual(answer.status, 200, path)
            self.fits(answer.json, shape, path)
        self.fits(self.ra.call('POST', f'/v1/ca/{issuer}/createcrl', '').json, {
            'issuer_dn': TEXT, 'latest_crl_version': NUMBER, 'latest_delta_crl_version': NUMBER,
            'latest_partition_crl_versions': {'*': NUMBER},
            'latest_partition_delta_crl_versions': {'*': NUMBER}, 'all_success': YES_NO}, 'createcrl')

    def test_searches_have_the_fields_of_the_description(self):
        self.ra.enroll('shape-3', csr=make_csr('shape-3', sans=['shape-3.example'])[0])
        self.fits(self.ra.search(query('shape-3')).json,
                  {'certificates': [CERTIFICATE], 'more_results': YES_NO}, 'search')
        answer = self.ra.call('POST', '/v2/certificate/search', {
            'pagination': {'page_size': 1, 'current_page': 1}, 'criteria': [query('shape-3')]})
        numbers = ('certificateProfileId', 'endEntityProfileId', 'expireDate', 'notBefore',
                   'revocationDate', 'revocationReason', 'status', 'type', 'udpateTime',
                   'crlPartitionIndex')
        texts = ('fingerprint', 'cAFingerprint', 'issuerDN', 'serialNumber', 'subjectAltName',
                 'subjectDN', 'subjectKeyId', 'username', 'base64Cert')
        # The last two are in the code, and not in the description.
        self.fits(answer.json, {
            'certificates': [{**{name: NUMBER for name in numbers}, **{name: TEXT for name in texts},
                              'certificateProfile': TEXT, 'endEntityProfile': TEXT}],
            'pagination_summary': {'page_size': NUMBER, 'current_page': NUMBER}}, 'search')


if __name__ == '__main__':
    unittest.main(verbosity=2)
