#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Enroll on a demo site with a real SoftHSM token, from python3-grpcio: requests made by
python3-cryptography, good and bad; keys that come again; streams that are cut, and orders that end."""
import os
import pathlib
import queue
import re
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'support'))

import token_kind  # noqa: E402, F401  first: it may become another user
import grpc  # noqa: E402
from cryptography import x509  # noqa: E402
from cryptography.hazmat.primitives import hashes, serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec, rsa  # noqa: E402
from cryptography.x509.oid import NameOID  # noqa: E402
from service_site import WAIT_S, Base, Client, Refused, Users, openssl, station_pb2, types_pb2  # noqa: E402
from site_under_test import VERIFY, Failed, Site, run  # noqa: E402

DER = serialization.Encoding.DER
MORE = """
profile 'csr-device' { issuer = 'none' token = 'main' subject = 'CN=x${number}' delivery = 'on-device' }
profile 'own-name' { issuer = 'device-ca' subject = 'CN=${hw_serial}' validity = '20y'
    delivery = 'on-device' key = 'p384' }
"""


def request(key, name='I am root', *, hash_=None, wishes=True):
    """A PKCS#10 request that asks for more than it gets."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
    if wishes:
        builder = builder.add_extension(x509.BasicConstraints(True, None), critical=True) \
            .add_extension(x509.SubjectAlternativeName([x509.DNSName('www.example')]), critical=False)
    return builder.sign(key, hash_ or hashes.SHA256()).public_bytes(DER)


def new_key(curve=ec.SECP256R1):
    return ec.generate_private_key(curve())


def spki(public_key):
    return public_key.public_bytes(DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def device(csr, hw_serial=''):
    return station_pb2.DeviceCsr(csr=csr, hw_serial=hw_serial)


def reason_of(status):
    info = next(d for d in status.details if d.type_url.endswith('google.rpc.ErrorInfo'))
    return re.search(rb'[A-Z][A-Z_]{5,}', info.value)[0].decode()


class Stream:
    """One Enroll call, message by message."""

    def __init__(self, client, batch, request_id):
        self.batch, self.request_id = batch, request_id
        self.outgoing = queue.Queue()
        self.call = client.channel.stream_stream(
            '/mintmark.v1.StationService/Enroll',
            request_serializer=station_pb2.EnrollRequest.SerializeToString,
            response_deserializer=station_pb2.EnrollResponse.FromString)(
                iter(self.outgoing.get, None), timeout=WAIT_S)
        self.sent = 0

    def send(self, *devices):
        first = {} if self.sent else {'batch_uid': self.batch, 'request_id': self.request_id}
        self.sent += 1
        self.outgoing.put(station_pb2.EnrollRequest(devices=devices, **first))

    def receive(self):
        """One answer."""
        try:
            return next(self.call)
        except grpc.RpcError as error:
            raise Refused(error) from None

    def end(self):
        """Half-closes; all answers that are left."""
        self.outgoing.put(None)
        try:
            return list(self.call)
        except grpc.RpcError as error:
            raise Refused(error) from None

    def cut(self):
        self.call.cancel()
        self.outgoing.put(None)


def enroll(client, batch, request_id, *messages):
    """A whole call; the results in the order of the requests, and the chain."""
    stream = Stream(client, batch, request_id)
    for devices in messages:
        stream.send(*devices)
    answers = stream.end()
    results = sorted((r for a in answers for r in a.results), key=lambda r: r.index)
    assert [r.index for r in results] == list(range(sum(map(len, messages))))
    assert all(not a.chain and not a.items for a in answers[1:])
    return results, answers[0]


class Enroll(Base):
    @classmethod
    def setUpClass(cls):
        cls.site = Site(workers=2)
        cls.addClassCleanup(cls.site.__exit__, None)
        with open(cls.site.conf, 'a') as conf:
            conf.write(MORE)
        cls.site.start()
        cls.addClassCleanup(cls.site.stop)
        cls.station = Client(Users(cls.site), 'station')
        cls.addClassCleanup(cls.station.channel.close)

    def setUp(self):
        pass

    def batch(self, profile='dac-device', quantity=1000, order_quantity=None):
        order = f'o-{os.urandom(6).hex()}'
        self.site.add_order(order, order_quantity or quantity, profile)
        return self.station.station('OpenBatch', name='test', profile=profile, device_type='sensor',
                                    quantity=quantity, heads=8, order_id=order).batch.batch_uid

    def enroll(self, batch, *messages, request_id=None):
        """Under a request_id of the batch's own, unless another is given."""
        return enroll(self.station, batch, f'r-{batch}' if request_id is None else request_id,
                      *messages)

    def bundles(self, results):
        for result in results:
            self.assertEqual(result.WhichOneof('outcome'), 'bundle', result.error)
        return [r.bundle for r in results]

    def reasons(self, results):
        return [reason_of(r.error) if r.HasField('error') else '' for r in results]

    def issued(self, batch):
        return self.station.station('GetBatch', batch_uid=batch).batch.counts.issued

    # -- good ones -----------------------------------------------------------------------------

    def test_certificates_are_the_profiles_over_the_devices_keys(self):
        batch = self.batch()
        keys = [new_key() for _ in range(150)]
        messages = [[device(request(k), f'HW-{i + j}') for j, k in enumerate(keys[i:i + 64])]
                    for i in range(0, len(keys), 64)]
        results, first = self.enroll(batch, *messages)
        chain = self.site.base / 'chain.pem'
        chain.write_bytes(b''.join(
            x509.load_der_x509_certificate(c).public_bytes(serialization.Encoding.PEM)
            for c in first.chain))
        self.assertEqual([(i.name, bool(i.content)) for i in first.items], [('firmware', True)])
        bundles = self.bundles(results)
        self.assertEqual(len({b.number for b in bundles} | {b.device_uid for b in bundles}), 300)
        for i, (bundle, key) in enumerate(zip(bundles, keys)):
            certificate = x509.load_der_x509_certificate(bundle.certificate)
            self.assertEqual(spki(certificate.public_key()), spki(key.public_key()))
            self.assertEqual((bundle.hw_serial, bundle.batch_uid, bundle.private_key, bundle.key_id),
                             (f'HW-{i}', batch, b'', ''))
            self.assertEqual(bundle.key_delivery, types_pb2.KEY_DELIVERY_ON_DEVICE)
            names = [(a.oid.dotted_string, a.value) for a in certificate.subject]
            self.assertEqual(names, [('2.5.4.3', f'WifiFireAlarm_{bundle.number:020}'),
                                     ('1.3.6.1.4.1.37244.2.1', 'FFF1'),
                                     ('1.3.6.1.4.1.37244.2.2', '8000')])
            basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
            self.assertEqual((basic.critical, basic.value.ca), (True, False))
            with self.assertRaises(x509.ExtensionNotFound):
                certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        for bundle in bundles[:3]:
            leaf = self.site.base / 'leaf.der'
            leaf.write_bytes(bundle.certificate)
            openssl('verify', '-x509_strict', '-CAfile', chain, leaf)
        self.assertEqual(self.issued(batch), 150)

    def test_other_curve_and_hash_and_the_serial_in_the_name(self):
        batch = self.batch('own-name')
        key = new_key(ec.SECP384R1)
        results, _ = self.enroll(batch, [device(request(key, hash_=hashes.SHA512()), 'SN 7'),
                                         device(request(new_key()), 'SN 8'),
                                         device(request(new_key(ec.SECP384R1)))])
        self.assertEqual(self.reasons(results), ['', 'CSR_KEY_REFUSED', 'INVALID_FIELD'])
        certificate = x509.load_der_x509_certificate(results[0].bundle.certificate)
        self.assertEqual(certificate.subject.rfc4514_string(), 'CN=SN 7')
        self.assertEqual(self.issued(batch), 1)

    def test_without_an_issuer_the_request_is_recorded(self):
        batch = self.batch('csr-device')
        csrs = [request(new_key()) for _ in range(3)]
        results, first = self.enroll(batch, [device(c) for c in csrs])
        self.assertEqual([b.csr for b in self.bundles(results)], csrs)
        self.assertEqual([b.certificate for b in self.bundles(results)], [b''] * 3)
        self.assertEqual(len(first.chain), 0)
        self.assertEqual(self.issued(batch), 3)
        again, _ = self.enroll(batch, [device(c) for c in csrs])
        self.assertEqual([r.bundle for r in again], [r.bundle for r in results])

    def test_provisioning_data_of_an_enrolled_device(self):
        batch = self.batch()
        results, first = self.enroll(batch, [device(request(new_key()))])
        delivery = self.station.station('GetProvisioningData',
                                        device_uid=results[0].bundle.device_uid)
        self.assertEqual(delivery.bundles[0], results[0].bundle)
        self.assertEqual(list(delivery.chain), list(first.chain))

    # -- bad ones ------------------------------------------------------------------------------

    def bad_requests(self):
        good = request(new_key(), wishes=False)
        point = good.index(bytes.fromhex('03420004')) + 4
        bad_signature = good[:-1] + bytes([good[-1] ^ 1])
        off_curve = good[:point + 5] + bytes([good[point + 5] ^ 1]) + good[point + 6:]
        body = good[3:] if good[1] == 0x81 else good[4:]
        return [('CSR_KEY_REFUSED', request(new_key(ec.SECP384R1))),
                ('CSR_KEY_REFUSED', request(new_key(ec.SECP256K1))),
                ('CSR_KEY_REFUSED', off_curve),
                ('CSR_KEY_REFUSED', request(rsa.generate_private_key(65537, 2048))),
                ('CSR_SIGNATURE', bad_signature),
                ('CSR_SIGNATURE', request(new_key(), hash_=hashes.SHA224())),
                ('CSR_MALFORMED', good[:-3]),
                ('CSR_MALFORMED', good + b'\0'),
                ('CSR_MALFORMED', b'\x30\x80' + body + b'\0\0'),
                ('CSR_MALFORMED', b''),
                ('CSR_MALFORMED', b'hello'),
                ('CSR_TOO_BIG', os.urandom(100_000))]

    def test_bad_requests_refuse_themselves_alone(self):
        batch = self.batch()
        bad = self.bad_requests()
        devices = [d for _, csr in bad for d in (device(csr), device(request(new_key())))]
        results, _ = self.enroll(batch, devices)
        self.assertEqual(self.reasons(results), [x for reason, _ in bad for x in (reason, '')])
        self.assertEqual(results[0].error.code, grpc.StatusCode.INVALID_ARGUMENT.value[0])
        self.assertEqual(self.issued(batch), len(bad))

    def test_a_stream_of_nothing_but_bad_requests_spends_nothing(self):
        batch = self.batch()
        bad = self.bad_requests()
        results, first = self.enroll(batch, *[[device(csr)] for _, csr in bad])
        self.assertEqual(self.reasons(results), [reason for reason, _ in bad])
        self.assertGreater(len(first.chain), 0)
        self.assertEqual(self.issued(batch), 0)

    def test_bad_serials(self):
        batch = self.batch()
        csrs = [request(new_key()) for _ in range(4)]
        results, _ = self.enroll(batch, [device(csrs[0], 'x' * 65), device(csrs[1], 'ü'),
                                         device(csrs[2], 'SN'), device(csrs[3], 'SN')])
        self.assertEqual(self.reasons(results),
                         ['INVALID_FIELD', 'INVALID_FIELD', '', 'DUPLICATE_HW_SERIAL'])
        self.assertEqual(results[3].error.code, grpc.StatusCode.ALREADY_EXISTS.value[0])

    # -- keys that come again ------------------------------------------------------------------

    def test_key_again_under_its_request_and_reused_under_another(self):
        batch, key, fresh = self.batch(), new_key(), new_key()
        first, _ = self.enroll(batch, [device(request(key), f'A-{batch}')])
        again, _ = self.enroll(batch, [device(request(fresh)), device(request(key, 'renamed'), f'A-{batch}')])
        self.assertEqual(again[1].bundle, first[0].bundle)
        self.assertEqual(self.issued(batch), 2)
        other = self.batch('csr-device')
        for request_id, where in ((f'r2-{batch}', batch), (f'r3-{batch}', other)):
            results, _ = self.enroll(where, [device(request(key), f'A-{batch}'), device(request(new_key()))],
                                     request_id=request_id)
            self.assertEqual(self.reasons(results), ['KEY_REUSED', ''])
            self.assertEqual(results[0].error.code, grpc.StatusCode.ALREADY_EXISTS.value[0])
        self.assertEqual((self.issued(batch), self.issued(other)), (3, 1))

    def test_key_twice_in_a_stream(self):
        batch, key = self.batch(), new_key()
        results, _ = self.enroll(batch, [device(request(key), f'A-{batch}'), device(request(key), f'A-{batch}'),
                                         device(request(key), f'B-{batch}')])
        self.assertEqual(self.reasons(results), ['', '', 'KEY_REUSED'])
        self.assertEqual(results[0].bundle, results[1].bundle)
        self.assertEqual(self.issued(batch), 1)

    def test_a_cut_stream_is_repeated_and_goes_on(self):
        batch = self.batch()
        devices = [device(request(new_key())) for _ in range(40)]
        stream = Stream(self.station, batch, 'cut')
        stream.send(*devices[:10])
        kept = {r.index: r.bundle for r in stream.receive().results}
        self.assertEqual(len(kept), 10)
        stream.send(*devices[10:20])
        stream.cut()
        results, _ = self.enroll(batch, devices[:10], devices[10:20], devices[20:],
                                 request_id='cut')
        bundles = self.bundles(results)
        self.assertEqual([bundles[i] for i in range(10)], [kept[i] for i in range(10)])
        self.assertEqual(self.issued(batch), 40)

    def test_a_newer_call_takes_the_request_over(self):
        batch = self.batch()
        devices = [device(request(new_key())) for _ in range(4)]
        old = Stream(self.station, batch, 'taken')
        old.send(*devices[:2])
        first = old.receive().results
        results, _ = self.enroll(batch, devices, request_id='taken')
        self.assertEqual([r.bundle for r in results[:2]], [r.bundle for r in first])
        self.refused('ABORTED', 'REQUEST_TAKEN_OVER', old.end)
        self.assertEqual(self.issued(batch), 4)

    # -- limits and faults of the call ---------------------------------------------------------

    def test_quota_ends_in_mid_stream(self):
        batch = self.batch(quantity=100, order_quantity=100)
        devices = [device(request(new_key())) for _ in range(120)]
        stream = Stream(self.station, batch, 'quota')
        stream.send(*devices[:50])
        first = stream.receive().results
        stream.send(*devices[50:100])
        stream.receive()
        stream.send(*devices[100:])
        self.assertIn(self.failure(stream.end), (('RESOURCE_EXHAUSTED', 'BATCH_FULL'),
                                                 ('RESOURCE_EXHAUSTED', 'QUOTA_EXHAUSTED')))
        self.assertEqual(self.issued(batch), 100)
        results, _ = self.enroll(batch, devices[:50], devices[50:100], request_id='quota')
        self.assertEqual([r.bundle for r in results[:50]], [r.bundle for r in first])
        self.assertEqual(self.issued(batch), 100)

    def failure(self, function):
        with self.assertRaises(Refused) as caught:
            function()
        return caught.exception.code.name, caught.exception.reason

    def test_released_batch_gives_again_and_takes_nothing_new(self):
        batch = self.batch()
        devices = [device(request(new_key())) for _ in range(3)]
        first, _ = self.enroll(batch, devices[:2])
        stream = Stream(self.station, batch, 'open')
        stream.send(device(request(new_key())))
        stream.receive()
        self.station.station('ReleaseBatch', batch_uid=batch)
        stream.send(devices[2])
        self.assertEqual(self.failure(stream.end)[1] in ('BATCH_RELEASED', 'UNKNOWN_BATCH'), True)
        again, _ = self.enroll(batch, devices[:2])
        self.assertEqual([r.bundle for r in again], [r.bundle for r in first])
        self.refused('FAILED_PRECONDITION', 'BATCH_RELEASED', self.enroll, batch, devices)
        self.refused('FAILED_PRECONDITION', 'BATCH_RELEASED', self.enroll, batch, devices[2:],
                     request_id='new')

    def test_profiles_say_where_keys_are_made(self):
        minted, own = self.batch('dac'), self.batch()
        self.refused('FAILED_PRECONDITION', 'PROFILE_MAKES_KEYS', self.enroll, minted,
                     [device(request(new_key()))])
        self.refused('FAILED_PRECONDITION', 'PROFILE_ON_DEVICE', self.station.provision, own, 1, 'p')

    def test_malformed_calls_are_refused(self):
        batch = self.batch()
        good = device(request(new_key()))
        self.refused('NOT_FOUND', 'UNKNOWN_BATCH', self.enroll,
                     '01890000-0000-7000-8000-000000000000', [good])
        self.refused('INVALID_ARGUMENT', 'INVALID_FIELD', self.enroll, 'nonsense', [good],
                     field='batch_uid')
        self.refused('INVALID_ARGUMENT', 'INVALID_FIELD', self.enroll, batch, [good], request_id='',
                     field='request_id')
        self.refused('INVALID_ARGUMENT', 'INVALID_FIELD', self.enroll, batch, [], field='devices')
        self.refused('INVALID_ARGUMENT', 'INVALID_FIELD', self.enroll, batch, [good] * 65,
                     field='devices')
        self.refused('INVALID_ARGUMENT', 'INVALID_FIELD', Stream(self.station, batch, 'none').end,
                     field='batch_uid')
        self.enroll(batch, [good], request_id='used')
        self.refused('INVALID_ARGUMENT', 'REQUEST_ID_REUSED', self.enroll, self.batch(), [good],
                     request_id='used', field='request_id')
        stream = Stream(self.station, batch, 'two')
        stream.send(good)
        stream.receive()
        stream.sent, stream.request_id = 0, 'another'
        stream.send(good)
        self.refused('INVALID_ARGUMENT', 'INVALID_FIELD', stream.end, field='request_id')

    def test_many_messages_ahead_of_the_answers(self):
        """More than are at work at once, and more bytes than a stream's window holds."""
        batch = self.batch(quantity=2000)
        rubbish = [device(os.urandom(4000)) for _ in range(60)]
        messages = [[device(request(new_key()))] + rubbish for _ in range(30)]
        results, _ = self.enroll(batch, *messages)
        self.assertEqual([r.index for r in results if r.HasField('bundle')],
                         [61 * i for i in range(30)])

    def test_the_command_and_the_verifier(self):
        batch = self.batch()
        csrs, out = self.site.base / 'csrs', self.site.base / 'identities'
        csrs.mkdir()
        for i in range(70):
            key = new_key()
            (csrs / f'{batch[:8]}-{i:02}.csr').write_bytes(request(key))
        pem = csrs / f'{batch[:8]}-pem.pem'
        pem.write_bytes(x509.load_der_x509_csr(request(new_key())).public_bytes(
            serialization.Encoding.PEM))
        command = ['enroll', '--batch', batch, '--out', out, '--serial-names', csrs]
        answer = self.site.station(*command)
        self.assertEqual((answer['enrolled'], answer['refused']), (71, 0))
        verify = [VERIFY, 'identities', '--dir', out, '--root', self.site.dir / 'ca/paa.pem',
                  '--rules', 'matter-dac', '--count', 71]
        self.assertIn('71 in their devices', run(*verify))
        before = {p.name: p.stat().st_ino for p in out.iterdir()}
        self.site.station(*command)
        self.assertEqual(before, {p.name: p.stat().st_ino for p in out.iterdir()})
        self.assertEqual(self.issued(batch), 71)
        uid = next(p.stem for p in out.glob('*.crt'))
        (out / f'{uid}.key.der').write_bytes(b'key')
        with self.assertRaises(Failed) as caught:
            run(*verify)
        self.assertIn('but the device made its key', str(caught.exception))
        bad = csrs / 'bad.csr'
        bad.write_bytes(b'bad')
        with self.assertRaises(Failed) as caught:
            self.site.station('enroll', '--batch', batch, '--out', self.site.base / 'other', bad)
        self.assertEqual(caught.exception.status, 1)
        self.assertIn('CSR_MALFORMED', (self.site.base / 'other/enrolled.jsonl').read_text())

    def test_log_names_the_call(self):
        batch = self.batch()
        self.enroll(batch, [device(request(new_key()))], request_id='logged')
        log = self.site.log.read_text()
        self.assertRegex(log, r'event=provision_done [^\n]*rpc=Enroll [^\n]*request_id=logged')
        self.assertNotIn('BEGIN', log)


if __name__ == '__main__':
    unittest.main()
