#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Production reports of a whole service on a demo site with a real SoftHSM token: what they say, byte
for byte, who signed them, and that a crash between release and signature loses none. openssl and
Python's json judge; nothing of mintmark does."""
import base64
import contextlib
import hashlib
import html.parser
import json
import os
import pathlib
import re
import signal
import sqlite3
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'support'))

import token_kind  # noqa: E402, F401  first: it may become another user
from service_site import Base, Client, Refused, Users, openssl, station_pb2, types_pb2  # noqa: E402
from site_under_test import Failed, Site, run  # noqa: E402
import grpc  # noqa: E402

TIME = re.compile(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z')


class Page(html.parser.HTMLParser):
    """What of a page is markup, and what is text."""

    def __init__(self):
        super().__init__()
        self.tags, self.attributes, self.open, self.text = set(), set(), [], ''

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag != 'meta':
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def compact(value):
    """JSON as docs/report.md has its values: no white space, few escapes."""
    text = json.dumps(value, separators=(',', ':'), ensure_ascii=False)
    return re.sub(r'\\([bfnrt])', lambda m: '\\u%04x' % ord(json.loads(f'"{m[0]}"')), text)


def expected_bytes(report):
    """The one form that a report has, made anew from what it says."""
    def lines(items):
        return '[\n' + ''.join(compact(i) + (',' if i is not items[-1] else '') + '\n' for i in items) + ']'
    keys = list(report)
    parts = []
    for key in keys:
        value = lines(report[key]) if key in ('devices', 'failures') else compact(report[key])
        parts.append(f'{"" if key in ("schema", "ledger_id") else chr(10)}"{key}":{value}')
    return ('{' + ','.join(parts) + '}\n').encode()


class Reports(Base):
    @classmethod
    def setUpClass(cls):
        cls.site = Site(workers=1)
        cls.site.add_client('second')
        cls.site.add_client('auditor', 'auditor')
        cls.site.add_client('monitor', 'monitor')
        conf = cls.site.conf.read_text()
        cls.site.conf.write_text(re.sub(r"(profile '?dac'? \{)", r"\1\n    manifest = 'jws'", conf, count=1))
        cls.orders = 0

    @classmethod
    def tearDownClass(cls):
        cls.site.__exit__(None)

    def start(self, again=False):
        if again:
            self.site.stop()
        if not self.site.daemon:
            self.site.start()
        return self.client('station')

    def batch(self, quantity=5, **terms):
        Reports.orders += 1
        self.site.add_order(f'order-{self.orders}', 10000, **terms)
        return self.site.open_batch(quantity, order=f'order-{self.orders}')

    def client(self, name):
        client = Client(Users(self.site), name)
        self.addCleanup(client.channel.close)
        return client

    def get(self, client, batch):
        """A report's info and bytes, or Refused."""
        request = station_pb2.GetReportRequest(batch_uid=batch)
        function = client.channel.unary_stream(
            '/mintmark.v1.StationService/GetReport',
            request_serializer=station_pb2.GetReportRequest.SerializeToString,
            response_deserializer=station_pb2.GetReportResponse.FromString)
        try:
            messages = list(function(request, timeout=60))
        except grpc.RpcError as error:
            raise Refused(error) from None
        self.assertTrue(messages[0].HasField('info'))
        self.assertFalse(any(m.HasField('info') for m in messages[1:]))
        return messages[0].info, b''.join(m.data for m in messages)

    def check_signature(self, info, data):
        folder = self.site.dir
        (folder / 'report.json').write_bytes(data)
        (folder / 'report.json.p7s').write_bytes(info.signature)
        self.assertEqual(hashlib.sha256(data).digest(), info.sha256)
        self.assertEqual(len(data), info.size)
        openssl('cms', '-verify', '-binary', '-inform', 'DER', '-in', folder / 'report.json.p7s',
                '-content', folder / 'report.json', '-CAfile', folder / 'appliance/audit.pem', '-purpose',
                'any', '-out', '/dev/null')

    def check_totals(self, report):
        totals, devices = report['totals'], report['devices']
        states = [d['state'] for d in devices]
        self.assertEqual(totals['issued'], len(devices))
        for state in ('ok', 'ko', 'unreported'):
            self.assertEqual(totals[state], states.count(state))
        reasons = {}
        for device in devices:
            if device['state'] == 'ko':
                reasons[device['reason']] = reasons.get(device['reason'], 0) + 1
        self.assertEqual({f['reason']: f['devices'] for f in report['failures']}, reasons)
        order = [f['reason'].encode() for f in report['failures']]
        self.assertEqual(order, sorted(order))
        for key in ('uid', 'row', 'spki_sha256'):
            self.assertEqual(len({d[key] for d in devices}), len(devices), key)

    def release(self, station, batch):
        answer = station.station('ReleaseBatch', batch_uid=batch)
        self.assertFalse(answer.report_pending)
        return answer.report

    def test_says_every_device_and_is_signed(self):
        station = self.start()
        batch = self.batch(700, replacements=2, oem='A "big" OEM', product='lamp \\ <b>')
        bundles = station.provision(batch, 600, batch)
        bundles += station.provision(batch, 3, batch + '.2', hw_serials=['a', 'b&<"', 'c'])
        bundles = [types_pb2.Bundle.FromString(b) for b in bundles]
        hostile = ['"</script>', 'tab\there', '\x01\x1f\\', 'ütf-8 ✗', 'no answer', 'no answer']
        station.station('ReportDevices', batch_uid=batch, devices=[
            dict(device_uid=b.device_uid, state='DEVICE_STATE_KO', reason=reason)
            for b, reason in zip(bundles, hostile)])
        station.station('ReportDevices', batch_uid=batch, devices=[
            dict(device_uid=b.device_uid, state='DEVICE_STATE_OK') for b in bundles[6:590]])
        with self.assertRaises(Refused) as refused:
            self.get(station, batch)
        self.assertEqual(refused.exception.reason, 'BATCH_OPEN')
        released = self.release(station, batch)

        info, data = self.get(station, batch)
        self.check_signature(info, data)
        report = json.loads(data)
        self.assertEqual(data, expected_bytes(report))
        self.check_totals(report)
        self.assertEqual(report['schema'], 'mintmark-report-1')
        self.assertEqual(report['totals'] | {'issued': 603, 'ok': 584, 'ko': 6, 'unreported': 13,
                                             'refunded': 2}, report['totals'])
        self.assertEqual(released.refunded, 2)
        self.assertEqual({f['reason'] for f in report['failures']}, set(hostile))
        self.assertEqual((report['order']['id'], report['order']['oem'], report['order']['product']),
                         (f'order-{self.orders}', 'A "big" OEM', 'lamp \\ <b>'))
        self.assertEqual((report['order']['quantity'], report['order']['used'],
                          report['order']['refunded']), (10000, 601, 2))
        self.assertEqual(report['batch']['uid'], batch)
        self.check_devices(report, bundles)
        self.check_command(batch, info, data, hostile)
        self.check_ledger(report, info)

    def check_command(self, batch, info, data, hostile):
        """The files of the mintmark command; nothing that a station said is markup in the page."""
        out = self.site.dir / 'report'
        answer = self.site.station('report', batch, '--out', out)
        self.assertEqual((answer['sha256'], answer['size']), (info.sha256.hex(), info.size))
        self.assertEqual((out / 'report.json').read_bytes(), data)
        self.assertEqual((out / 'report.json.p7s').read_bytes(), info.signature)
        page = Page()
        page.feed((out / 'report.html').read_text())
        page.close()
        self.assertEqual(page.open, [])
        self.assertLessEqual(page.tags, {
            'html', 'head', 'meta', 'title', 'style', 'body', 'h1', 'h2', 'div', 'b', 'bdi', 'table', 'tr',
            'th', 'td', 'svg', 'text', 'rect', 'code', 'footer', 'i'})
        self.assertLessEqual(page.attributes, {
            'lang', 'charset', 'http-equiv', 'content', 'class', 'viewbox', 'role', 'aria-label', 'x', 'y',
            'width', 'height', 'text-anchor', 'preserveaspectratio'})
        for text in [*hostile, 'A "big" OEM', 'lamp \\ <b>', f'order-{self.orders}', '9399', '98.98']:
            self.assertIn(re.sub(r'[\x00-\x1f]', ' ', text), page.text)
        self.assertEqual(sorted(p.name for p in out.iterdir()),
                         ['manifest.json', 'report.html', 'report.json', 'report.json.p7s'])
        self.assertEqual(self.site.station('report', batch, '--out', out), answer)
        (out / 'report.json').write_text('another')
        with self.assertRaises(Failed) as failed:
            self.site.station('report', batch, '--out', out)
        self.assertIn('FILE_EXISTS', failed.exception.stderr)
        self.assertEqual((out / 'report.json').read_text(), 'another')

    def check_devices(self, report, bundles):
        said = {d['uid']: d for d in report['devices']}
        self.assertEqual(set(said), {b.device_uid for b in bundles})
        from cryptography import x509
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
        for bundle in bundles[:20] + bundles[-3:]:
            device = said[bundle.device_uid]
            certificate = x509.load_der_x509_certificate(bundle.certificate)
            spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            self.assertEqual(device['spki_sha256'], hashlib.sha256(spki).hexdigest())
            self.assertEqual(int(device['certificate_serial'], 16), certificate.serial_number)
            self.assertEqual(device['number'], bundle.number)
            self.assertEqual(device['hw_serial'], bundle.hw_serial or None)
            self.assertRegex(device['made'], TIME)

    def check_ledger(self, report, info):
        """The heads are hashes of the records that they should be; so is the report's own."""
        self.site.stop()
        from mintmark.v1 import ledger_pb2
        database = sqlite3.connect(f'file:{self.site.dir}/store/mintmark.db?mode=ro', uri=True)
        records = dict(database.execute('SELECT sequence, record FROM ledger'))
        database.close()

        def at(place):
            record = records[place['sequence']]
            self.assertEqual(hashlib.sha256(record).hexdigest(), place['head'])
            return ledger_pb2.LedgerRecord.FromString(record)
        uid = report['batch']['uid']
        self.assertEqual(at(report['ledger']['opened']).batch_opened.batch_uid, uid)
        event = at(report['ledger']['released']).batch_released
        self.assertEqual((event.batch_uid, event.issued, event.refunded), (uid, 603, 2))
        self.assertEqual(event.appliance_sha256.hex(), report['appliance'])
        signed = [r for r in map(ledger_pb2.LedgerRecord.FromString, records.values())
                  if r.report_signed.batch_uid == uid]
        self.assertEqual(len(signed), 1)
        self.assertEqual(signed[0].report_signed.report_sha256, info.sha256)
        self.assertEqual(signed[0].report_signed.size, info.size)
        self.assertEqual(signed[0].report_signed.document_sha256,
                         hashlib.sha256(info.signature).digest())
        self.check_spent(report, [r.spent for r in map(ledger_pb2.LedgerRecord.FromString,
                                                       records.values()) if r.spent.batch_uid == uid])

    def check_spent(self, report, events):
        """As docs/report.md tells a reader to bind devices and ledger."""
        rows = {d['row']: d for d in report['devices']}
        for event in events:
            digest = hashlib.sha256()
            for row in range(event.first_row, event.first_row + event.count):
                d = rows.pop(row)
                digest.update(bytes.fromhex(d['uid'].replace('-', '')))
                digest.update(bytes.fromhex(d['spki_sha256']))
                digest.update(d['number'].to_bytes(8, 'big'))
                for part in (bytes.fromhex(d['certificate_serial'] or ''), (d['hw_serial'] or '').encode()):
                    digest.update(bytes([len(part)]) + part)
            self.assertEqual(digest.digest(), event.devices_sha256)
        self.assertEqual(rows, {})

    def test_is_the_same_again_and_signed_once(self):
        station = self.start()
        batch = self.batch()
        station.provision(batch, 5, batch)
        self.release(station, batch)
        first = self.get(station, batch)
        self.assertEqual(self.get(station, batch), first)
        station = self.start(again=True)
        self.assertEqual(self.get(station, batch), first)
        with self.assertRaises(Refused) as refused:
            station.station('ReleaseBatch', batch_uid=batch)
        self.assertEqual(refused.exception.reason, 'BATCH_RELEASED')
        self.assertEqual(self.get(station, batch), first)

    def test_manifest_is_signed_for_each_device_that_is_not_ko(self):
        station = self.start()
        batch = self.batch(200, product='lamp <b>')
        bundles = [types_pb2.Bundle.FromString(b) for b in station.provision(batch, 150, batch)]
        station.station('ReportDevices', batch_uid=batch, devices=[
            dict(device_uid=bundles[7].device_uid, state='DEVICE_STATE_KO', reason='x')])
        self.release(station, batch)
        out = self.site.dir / 'manifest'
        self.site.station('report', batch, '--out', out)
        objects = json.loads((out / 'manifest.json').read_text())
        said = {o['header']['uniqueId']: o for o in objects}
        self.assertEqual(set(said), {b.device_uid for b in bundles} - {bundles[7].device_uid})
        self.assertEqual(len(objects), 149)
        for bundle in bundles[:5] + bundles[-5:]:
            self.check_object(said[bundle.device_uid], bundle, batch)
        self.site.station('report', batch, '--out', out)

    def check_object(self, jws, bundle, batch):
        """RFC 7515 by hand, with python3-cryptography."""
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec, utils

        def raw(text):
            return base64.urlsafe_b64decode(text + '=' * (-len(text) % 4))
        audit = x509.load_pem_x509_certificate((self.site.dir / 'appliance/audit.pem').read_bytes())
        r, s = raw(jws['signature'])[:32], raw(jws['signature'])[32:]
        signature = utils.encode_dss_signature(int.from_bytes(r, 'big'), int.from_bytes(s, 'big'))
        audit.public_key().verify(signature, f"{jws['protected']}.{jws['payload']}".encode(),
                                  ec.ECDSA(hashes.SHA256()))
        protected, payload = json.loads(raw(jws['protected'])), json.loads(raw(jws['payload']))
        self.assertEqual((protected['typ'], protected['alg']), ('JWT', 'ES256'))
        self.assertEqual(raw(protected['x5t#S256']), audit.fingerprint(hashes.SHA256()))
        key_id = audit.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
        self.assertEqual(raw(protected['kid']), key_id)
        self.assertEqual((payload['version'], payload['model'], payload['partNumber'], payload['groupId']),
                         (1, 'sensor', 'lamp <b>', batch))
        self.assertEqual((payload['uniqueId'], payload['manufacturer']),
                         (bundle.device_uid, {'organizationName': 'demo'}))
        self.assertRegex(payload['provisioningTimestamp'], TIME)
        key, = payload['publicKeySet']['keys']
        certificate = x509.load_der_x509_certificate(bundle.certificate)
        numbers = certificate.public_key().public_numbers()
        self.assertEqual((key['kid'], key['kty'], key['crv']), ('0', 'EC', 'P-256'))
        self.assertEqual((int.from_bytes(raw(key['x']), 'big'), int.from_bytes(raw(key['y']), 'big')),
                         (numbers.x, numbers.y))
        self.assertEqual(base64.b64decode(key['x5c'][0]), bundle.certificate)
        issuer = x509.load_der_x509_certificate(base64.b64decode(key['x5c'][1]))
        issuer.public_key().verify(certificate.signature, certificate.tbs_certificate_bytes,
                                   ec.ECDSA(certificate.signature_hash_algorithm))

    def test_manifest_that_the_profile_has_not(self):
        station = self.start()
        self.site.add_order('csr', 100, profile='csr')
        batch = self.site.open_batch(5, profile='csr')
        self.release(station, batch)
        with self.assertRaises(Refused) as refused:
            self.manifest(station, batch)
        self.assertEqual(refused.exception.reason, 'NO_MANIFEST')

    def manifest(self, client, batch):
        call = client.channel.unary_stream(
            '/mintmark.v1.StationService/GetManifest',
            request_serializer=station_pb2.GetManifestRequest.SerializeToString)
        try:
            return list(call(station_pb2.GetManifestRequest(batch_uid=batch), timeout=60))
        except grpc.RpcError as error:
            raise Refused(error) from None

    def test_of_an_empty_batch(self):
        station = self.start()
        batch = self.batch()
        self.release(station, batch)
        info, data = self.get(station, batch)
        self.check_signature(info, data)
        report = json.loads(data)
        self.assertEqual(data, expected_bytes(report))
        self.assertEqual((report['devices'], report['failures']), ([], []))
        self.assertIsNone(report['totals']['first_recorded'])

    def test_roles_and_bad_input(self):
        station = self.start()
        batch = self.batch()
        self.release(station, batch)
        info, data = self.get(self.client('auditor'), batch)
        self.check_signature(info, data)
        self.assertEqual(self.get(self.client('officer'), batch), (info, data))
        for name, uid, reason in (('second', batch, 'BATCH_OF_OTHERS'), ('monitor', batch, 'ROLE_MISSING'),
                                  ('station', 'x', 'INVALID_FIELD'), ('station', '', 'INVALID_FIELD'),
                                  ('station', batch[:-4] + '0000', 'UNKNOWN_BATCH')):
            with self.subTest(name=name, uid=uid), self.assertRaises(Refused) as refused:
                self.get(self.client(name), uid)
            self.assertEqual(refused.exception.reason, reason)

    def test_an_officer_releases_what_a_station_left_that_is_configured_no_more(self):
        station = self.start()
        batch = self.batch()
        self.assertEqual(len(station.provision(batch, 3, batch)), 3)
        conf = self.site.conf.read_text()
        self.addCleanup(self.start, again=True)
        self.addCleanup(self.site.conf.write_text, conf)
        self.site.conf.write_text(conf.replace("'demo-station'", "'newcomer'").replace(
            "'urn:mintmark:station:demo'", "'urn:test:newcomer'"))
        self.site.stop()
        self.site.start(wait=False)
        self.eventually(self.client('officer').ready)
        with self.assertRaises(Refused) as refused:
            self.client('station').station('ReleaseBatch', batch_uid=batch)
        self.assertEqual(refused.exception.code, grpc.StatusCode.UNAUTHENTICATED)
        command = self.site.station_command('--json')
        command[command.index('--site') + 1] = self.site.dir / 'officer.conf'
        listed = {b['batch_uid']: b['station']
                  for b in json.loads(run(*command, 'batch', 'list', '--open'))['batches']}
        self.assertEqual(listed[batch], 'demo-station')
        out = self.site.dir / 'left'
        run(*command, 'batch', 'release', batch, '--out', out)
        report = json.loads((out / 'report.json').read_text())
        self.assertEqual((report['batch']['station'], report['batch']['released_by']),
                         ('demo-station', 'demo-officer'))
        self.assertEqual(report['totals']['issued'], 3)
        self.assertNotIn(batch, run(*command, 'batch', 'list', '--open'))

    def test_a_database_that_was_edited_is_not_reported_on(self):
        station = self.start()
        batch = self.batch()
        station.provision(batch, 5, batch)
        self.release(station, batch)
        self.site.stop()
        database = sqlite3.connect(self.site.dir / 'store/mintmark.db')
        with database:
            database.execute('UPDATE devices SET state = 2, reported_ms = 1'
                             ' WHERE row = (SELECT max(row) FROM devices)')
        database.close()
        station = self.start()
        with self.assertRaises(Refused) as refused:
            self.get(station, batch)
        self.assertEqual(refused.exception.code, grpc.StatusCode.DATA_LOSS)
        self.assertEqual(refused.exception.reason, 'REPORT_CHANGED')

    def test_a_crash_between_release_and_signature(self):
        """The token's workers cannot sign, so the batch is released without; the service is killed."""
        station = self.start()
        batch = self.batch()
        station.provision(batch, 5, batch)
        stopped = self.site.processes()['mintmark-token']
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        call = station.channel.unary_unary(
            '/mintmark.v1.StationService/ReleaseBatch',
            request_serializer=station_pb2.ReleaseBatchRequest.SerializeToString,
            response_deserializer=station_pb2.ReleaseBatchResponse.FromString)
        future = call.future(station_pb2.ReleaseBatchRequest(batch_uid=batch))
        self.eventually(lambda: f'event=batch_released batch={batch}' in
                        re.sub(' request=\\S+', '', self.site.log.read_text()))
        self.site.stop(signal.SIGKILL)
        for pid in stopped:
            with contextlib.suppress(ProcessLookupError):  # the service may have done so
                os.kill(pid, signal.SIGKILL)
        self.assertIsNotNone(future.exception())
        station = self.start()
        info, data = self.get(station, batch)
        self.check_signature(info, data)
        self.assertEqual(self.get(station, batch), (info, data))

    def test_a_token_that_is_away_leaves_the_report_pending(self):
        station = self.start()
        batch = self.batch()
        station.provision(batch, 5, batch)
        for pid in self.site.processes()['mintmark-token']:
            os.kill(pid, signal.SIGKILL)
        answer = station.station('ReleaseBatch', batch_uid=batch)
        self.assertEqual(answer.report.batch.counts.issued, 5)
        self.eventually(station.ready)
        info, data = self.get(station, batch)
        self.check_signature(info, data)


if __name__ == '__main__':
    unittest.main()
