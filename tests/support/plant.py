# SPDX-License-Identifier: Apache-2.0
"""An appliance made of paper: its ledger, documents, reports and manifests, written in Python after
docs/ledger.md, docs/export.md and docs/report.md, with keys of its own. What tests of mintmark-verify
change one thing in. Needs the generated modules of proto/mintmark/v1 on the path."""
import base64
import datetime
import hashlib
import json
import pathlib
import struct
import uuid

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import NameOID
from mintmark.v1 import account_pb2, document_pb2, ledger_pb2, types_pb2

HOUR_MS = 3600 * 1000
DAY_MS = 24 * HOUR_MS
NOON_MS = 1790000000000 // DAY_MS * DAY_MS + 12 * HOUR_MS  # 2026-09-21
STATES = {'unreported': 1, 'ok': 2, 'ko': 3}


def sha256(*parts):
    return hashlib.sha256(b''.join(parts)).digest()


class Signer:
    """A key, its self-signed certificate, and CMS by it."""

    def __init__(self, folder, name, begin=2020, end=2050):
        self.key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, 'Example'),
                             x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
        self.certificate = (
            x509.CertificateBuilder().subject_name(subject).issuer_name(subject)
            .public_key(self.key.public_key()).serial_number(x509.random_serial_number())
            .not_valid_before(datetime.datetime(begin, 1, 1))
            .not_valid_after(datetime.datetime(end, 1, 1)).add_extension(usage, True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), False)
            .sign(self.key, hashes.SHA256()))
        self.path = pathlib.Path(folder) / f'{name}.pem'
        self.path.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))
        self.name = f'CN={name},O=Example'
        self.spki = self.key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        self.hash = sha256(self.spki)

    def der(self):
        return self.certificate.public_bytes(serialization.Encoding.DER)

    def certify(self, certificate):
        """One of the same name and key, by this one."""
        return (x509.CertificateBuilder().subject_name(certificate.subject)
                .issuer_name(self.certificate.subject).public_key(certificate.public_key())
                .serial_number(x509.random_serial_number())
                .not_valid_before(certificate.not_valid_before)
                .not_valid_after(certificate.not_valid_after).sign(self.key, hashes.SHA256()))

    def sign(self, content, detached=False):
        if not isinstance(content, bytes):
            content = content.SerializeToString()
        options = [pkcs7.PKCS7Options.Binary, pkcs7.PKCS7Options.NoCapabilities]
        if detached:
            options.append(pkcs7.PKCS7Options.DetachedSignature)
        return (pkcs7.PKCS7SignatureBuilder().set_data(content)
                .add_signer(self.certificate, self.key, hashes.SHA256())
                .sign(serialization.Encoding.DER, options))


class Device:
    count = 0

    def __init__(self, row, state='unreported', **values):
        seed = sha256(b'device %d' % row)
        self.row, self.number, self.state = row, row, state
        self.uid = uuid.UUID(bytes=seed[:6] + bytes([0x70 | seed[6] & 15]) + seed[7:8] +
                             bytes([0x80 | seed[8] & 63]) + seed[9:16])
        self.certified, self.serial_seed = b'', seed[8:20]  # serial number from elsewhere, later
        self.spki_sha256, self.serial = sha256(b'key', seed), b'\x11' + seed[16:31]
        self.hw_serial = f'HW{row:06d}'
        self.reason = 'no answer' if state == 'ko' else ''
        self.made_ms = self.reported_ms = 0
        self.__dict__.update(values)

    def bound(self):
        """What devices_sha256 is over."""
        serial, hw_serial = self.serial, self.hw_serial.encode()
        return b''.join([self.uid.bytes, self.spki_sha256, struct.pack('>Q', self.number),
                         bytes([len(serial)]), serial, bytes([len(hw_serial)]), hw_serial])

    def exported(self):
        return account_pb2.LedgerExportDevice(
            uid=self.uid.bytes, spki_sha256=self.spki_sha256, number=self.number,
            serial=self.serial, hw_serial=self.hw_serial, state=STATES[self.state],
            reason=self.reason, reported_time_ms=self.reported_ms)


class Plant:
    """Call the methods in the order of events; each writes its record. What tests make wrong on
    purpose they give as keywords, which go into the record as they are."""

    def __init__(self, folder, now_ms=NOON_MS):
        self.dir, self.now_ms = pathlib.Path(folder), now_ms
        self.identity, self.audit = Signer(folder, 'identity'), Signer(folder, 'audit')
        self.oem, self.officer = Signer(folder, 'oem'), Signer(folder, 'officer')
        self.id = bytes(range(16))
        self.records, self.after = [], {}  # bytes; sequence -> items that follow the record
        self.orders, self.batches, self.devices = {}, {}, 0
        self.epoch = self.nonces = 0
        self.record(genesis=ledger_pb2.Genesis(ledger_id=self.id, version='0.1.0'))

    # -- the chain ---------------------------------------------------------------------------------

    def head(self):
        return sha256(self.records[-1])

    def record(self, time_ms=None, **event):
        self.now_ms += 1
        record = ledger_pb2.LedgerRecord(
            sequence=len(self.records) + 1, time_ms=time_ms or self.now_ms,
            previous=self.head() if self.records else bytes(32), **event)
        self.records.append(record.SerializeToString())
        return len(self.records)

    def follow(self, sequence, **item):
        self.after.setdefault(sequence, []).append(account_pb2.LedgerExportItem(**item))

    def document(self, sequence, cms):
        self.follow(sequence, document=account_pb2.LedgerExportDocument(sequence=sequence,
                                                                        document=cms))

    def start(self, unclean=False, **values):
        self.epoch += 1
        self.record(service_started=ledger_pb2.ServiceStarted(**{**dict(
            version='0.1.0', epoch=self.epoch, unclean=unclean, anchor_devices=4096,
            unclean_starts_max=2), **values}))

    # -- orders ------------------------------------------------------------------------------------

    def order(self, order_id='order', signer=None, recorded=None, nonce=None, document=True,
              name=None, **terms):
        """recorded: fields of the record that differ from what was signed."""
        signer = signer or self.oem
        if nonce is None:
            self.nonces += 1
            nonce = struct.pack('>QQ', 7, self.nonces)
            at = self.record(request_made=ledger_pb2.RequestMade(nonce=nonce, by='officer'))
            self.document(at, self.identity.sign(document_pb2.SignedDocument(
                order_request=document_pb2.OrderRequest(
                    nonce=nonce, appliance_sha256=self.identity.hash, site='plant',
                    requested_by='officer', time_ms=self.now_ms))))
        terms = document_pb2.ProductionOrder(**{**dict(
            order_id=order_id, oem='Example', product='sensor', profile='dac', quantity=1000,
            not_before_time_ms=NOON_MS - DAY_MS, not_after_time_ms=NOON_MS + 30 * DAY_MS,
            appliance_sha256=self.identity.hash, nonce=nonce), **terms})
        cms = signer.sign(document_pb2.SignedDocument(production_order=terms))
        event = ledger_pb2.OrderImported(**{**dict(
            order_id=terms.order_id, profile=terms.profile, quantity=terms.quantity,
            not_before_time_ms=terms.not_before_time_ms, not_after_time_ms=terms.not_after_time_ms,
            by='officer', terms=terms, signer=name or signer.name, document_sha256=sha256(cms),
            added_time_ms=self.now_ms), **(recorded or {})})
        at = self.record(order_imported=event)
        if document:
            self.document(at, cms)
        self.orders[terms.order_id] = dict(
            terms=terms, quantity=terms.quantity, used=0, refunded=0, hold=1, reported=0,
            reported_time_ms=0, added_time_ms=0, day=0, day_used=0,
            not_after_time_ms=terms.not_after_time_ms, per_batch_max=terms.per_batch_max,
            per_day_max=terms.per_day_max)
        self.orders[terms.order_id]['added_time_ms'] = event.added_time_ms

    def change(self, action, order_id='order', **limits):
        self.record(order_changed=ledger_pb2.OrderChanged(
            order_id=order_id, action=getattr(types_pb2, f'ORDER_ACTION_{action}'),
            limits=types_pb2.OrderLimits(**limits) if limits else None, by='officer', reason='so'))
        order = self.orders[order_id]
        order.update(limits)
        order['hold'] = {'SUSPEND': 2, 'RESUME': 1, 'CLOSE': 3}.get(action, order['hold'])

    def accept(self, order_id='order', signer=None, recorded=None, **document):
        """revocation=dict(…) or receipt=dict(…)"""
        (kind, values), = document.items()
        kinds = {'revocation': ('order_revocation', document_pb2.OrderRevocation),
                 'receipt': ('report_receipt', document_pb2.ReportReceipt)}
        field, message = kinds[kind]
        signer = signer or self.oem
        content = message(**{**dict(order_id=order_id, appliance_sha256=self.identity.hash,
                                    time_ms=self.now_ms), **values})
        cms = signer.sign(document_pb2.SignedDocument(**{field: content}))
        shown = message(**{**{f.name: v for f, v in content.ListFields()}, **(recorded or {})})
        at = self.record(document_accepted=ledger_pb2.DocumentAccepted(
            order_id=order_id, by='officer', signer=signer.name, document_sha256=sha256(cms),
            **{field: shown}))
        self.document(at, cms)
        order = self.orders[order_id]
        if kind == 'revocation':
            order['hold'] = 4
        else:
            order['reported'], order['reported_time_ms'] = shown.devices, shown.time_ms

    # -- production --------------------------------------------------------------------------------

    def open(self, name='batch', order_id='order', quantity=1000, station='station', uid=None):
        uid = uid or str(uuid.UUID(bytes=b'\x01\x93\x53\x7b\x1f\x4c\x7a\xbc\x8d' +
                                   sha256(name.encode())[:7]))
        at = self.record(batch_opened=ledger_pb2.BatchOpened(
            batch_uid=uid, order_id=order_id, station=station, name=name, device_type='sensor-1',
            quantity=quantity))
        self.batches[name] = dict(uid=uid, order=order_id, station=station, name=name, devices=[],
                                  quantity=quantity, refunded=0, opened=at, opened_ms=self.now_ms)
        return name

    def spend(self, n=10, batch='batch', station='station', request='request', exported=None,
              time_ms=None, changed=None, **recorded):
        """changed: fields of single devices by their place, bound by the record too."""
        b = self.batches[batch]
        order = self.orders[recorded.pop('draws_on', b['order'])]
        devices = [Device(self.devices + i + 1, made_ms=self.now_ms, **(changed or {}).get(i, {}))
                   for i in range(n)]
        order['used'] += n
        at = self.record(time_ms, spent=ledger_pb2.Spent(**{**dict(
            order_id=b['order'], batch_uid=b['uid'], station=station, request_id=request,
            kind=1, first_row=self.devices + 1, count=n, order_used_after=order['used'],
            devices_sha256=sha256(*(d.bound() for d in devices))), **recorded}))
        b['devices'] += devices
        self.devices += n
        day = (time_ms or self.now_ms) // DAY_MS
        order['day_used'] = n + (order['day_used'] if day <= order['day'] else 0)
        order['day'] = max(day, order['day'])
        self.follow(at, devices=account_pb2.LedgerExportDevices(
            first_row=devices[0].row if devices else 1,
            devices=[d.exported() for d in (devices if exported is None else exported(devices))]))
        return devices

    def certify(self, devices, issuer=b'CA', serials=None, **changed):
        """Certificates from elsewhere for devices that were recorded without; changed: fields of the
        first one's, in the record alone."""
        for i, d in enumerate(devices):
            d.certified = serials[i] if serials else b'\x22' + d.serial_seed
        said = [ledger_pb2.CertifiedDevice(
            uid=d.uid.bytes, serial=d.certified, issuer_sha256=sha256(issuer),
            certificate_sha256=sha256(b'certificate', d.certified)) for d in devices]
        for name, value in changed.items():
            setattr(said[0], name, value)
        self.record(certified=ledger_pb2.Certified(devices=said))

    def report(self, batch='batch', ko=0, ok=None, refund=True, **recorded):
        """The first `ko` devices that are not reported are KO, and `ok` of the rest are OK."""
        b = self.batches[batch]
        waiting = [d for d in b['devices'] if d.state == 'unreported']
        ok = len(waiting) - ko if ok is None else ok
        for i, d in enumerate(waiting[:ko + ok]):
            d.state, d.reason, d.reported_ms = ('ko', 'no answer', self.now_ms) if i < ko else (
                'ok', '', self.now_ms)
        self.record(devices_reported=ledger_pb2.DevicesReported(**{**dict(
            batch_uid=b['uid'], station='station', ok=ok, ko=ko, reports_sha256=bytes(32)),
            **recorded}))
        order = self.orders[b['order']]
        left = order['terms'].replacements_max - order['refunded']
        if refund and min(ko, left) > 0:
            self.refund(min(ko, left), batch)

    def refund(self, n, batch='batch', **recorded):
        b = self.batches[batch]
        order = self.orders[b['order']]
        order['used'] -= n
        order['refunded'] += n
        b['refunded'] += n
        self.record(refunded=ledger_pb2.Refunded(**{**dict(
            order_id=b['order'], batch_uid=b['uid'], count=n, order_used_after=order['used'],
            refunded_after=order['refunded']), **recorded}))

    def counts(self, batch='batch'):
        states = [d.state for d in self.batches[batch]['devices']]
        return {s: states.count(s) for s in STATES}

    def release(self, batch='batch', **recorded):
        b = self.batches[batch]
        order, counts = self.orders[b['order']], self.counts(batch)
        b['released_ms'] = self.now_ms
        b['released'] = self.record(batch_released=ledger_pb2.BatchReleased(**{**dict(
            batch_uid=b['uid'], station='station', issued=len(b['devices']), ok=counts['ok'],
            ko=counts['ko'], version='0.1.0', appliance_sha256=self.identity.hash,
            order_quantity=order['quantity'], order_used=order['used'],
            order_refunded=order['refunded'], refunded=b['refunded']), **recorded}))
        b['order_after'] = dict(order)

    def sign_report(self, batch='batch', data=None, signer=None, **recorded):
        """The record ReportSigned; gives the report's file, with the signature beside it."""
        b = self.batches[batch]
        data = self.report_bytes(batch) if data is None else data
        signature = (signer or self.audit).sign(data, detached=True)
        at = self.record(report_signed=ledger_pb2.ReportSigned(**{**dict(
            batch_uid=b['uid'], report_sha256=sha256(data), size=len(data),
            document_sha256=sha256(signature)), **recorded}))
        self.document(at, signature)
        path = self.dir / f'{batch}.json'
        path.write_bytes(data)
        (self.dir / f'{batch}.json.p7s').write_bytes(signature)
        return path

    def delete_keys(self, batch='batch', **recorded):
        b = self.batches[batch]
        self.record(keys_deleted=ledger_pb2.KeysDeleted(**{**dict(
            batch_uid=b['uid'], devices=len(b['devices'])), **recorded}))

    # -- the audit key -----------------------------------------------------------------------------

    def change_key(self, name='audit-2', former=None, accepted=None, signer=None, certificate=None,
                   record=None, **said):
        """Another audit key, signed by the one before and accepted by the new one."""
        former, new = former or self.audit, signer or Signer(self.dir, name)
        certificate = certificate or new.der()
        document = former.sign(document_pb2.SignedDocument(
            audit_key_change=document_pb2.AuditKeyChange(**{**dict(
                ledger_id=self.id, sequence=len(self.records), head=self.head(),
                former_key_sha256=former.hash, certificate=certificate, time_ms=self.now_ms),
                **said})))
        self.record(audit_key_changed=ledger_pb2.AuditKeyChanged(**{**dict(
            former_key_sha256=former.hash, certificate_sha256=sha256(certificate),
            document=document, acceptance=(accepted or new).sign(document, detached=True)),
            **(record or {})}))
        self.audit = new
        return new

    # -- locks -------------------------------------------------------------------------------------

    def lock(self, reason='LEDGER_ROLLED_BACK', **values):
        self.record(service_locked=ledger_pb2.ServiceLocked(reason=reason, text='an older copy',
                                                            **values))

    def unlock(self, reason='LEDGER_ROLLED_BACK', signer=None, **values):
        signer = signer or self.officer
        cms = signer.sign(document_pb2.SignedDocument(unlock=document_pb2.Unlock(**{**dict(
            ledger_id=self.id, database_sequence=len(self.records), database_head=self.head(),
            anchor_sequence=99, anchor_head=bytes(32), lock_reason=reason, reason='restored',
            time_ms=self.now_ms, nonce=bytes(16)), **values})))
        self.record(service_unlocked=ledger_pb2.ServiceUnlocked(
            lock_reason=reason, officer=signer.name, reason='restored', document=cms))

    # -- signed ------------------------------------------------------------------------------------

    def totals(self):
        for order_id, o in sorted(self.orders.items()):
            t = o['terms']
            stations = f',{",".join(t.stations)},' if t.stations else ''
            yield document_pb2.OrderTotal(
                order_id=order_id, quantity=o['quantity'], used=o['used'], refunded=o['refunded'],
                hold=o['hold'], not_before_time_ms=t.not_before_time_ms,
                not_after_time_ms=o['not_after_time_ms'], added_time_ms=o['added_time_ms'],
                per_batch_max=o['per_batch_max'], per_day_max=o['per_day_max'],
                unreported_devices_max=t.unreported_devices_max, reported=o['reported'],
                reported_time_ms=o['reported_time_ms'],
                report_within_hours=t.report_within_hours, replacements_max=t.replacements_max,
                stations=stations, day=o['day'], day_used=o['day_used'])

    def checkpoint(self, signer=None, totals=None, **values):
        """Over the last record; gives its CMS."""
        totals = list(self.totals()) if totals is None else totals
        at = len(self.records)
        cms = (signer or self.audit).sign(document_pb2.SignedDocument(
            checkpoint=document_pb2.Checkpoint(**{**dict(
                ledger_id=self.id, sequence=at, head=self.head(), highest_time_ms=self.now_ms,
                devices=self.devices, epoch=self.epoch, **self.bind_totals(totals)), **values})))
        self.follow(at, checkpoint=account_pb2.LedgerExportCheckpoint(
            sequence=at, document=cms, **self.beside(totals)))
        return cms

    def bind_totals(self, totals):
        return dict(orders_sha256=sha256(self.list_of(totals)), orders=len(totals))

    def beside(self, totals):
        return dict(order_totals=self.list_of(totals))

    def list_of(self, totals):
        return document_pb2.OrderTotals(orders=totals).SerializeToString(deterministic=True)

    def items(self, first=1, **header):
        yield account_pb2.LedgerExportItem(header=account_pb2.LedgerExportHeader(**{**dict(
            format=1, ledger_id=self.id, first_sequence=first, last_sequence=len(self.records),
            previous=sha256(self.records[first - 2]) if first > 1 else bytes(32),
            audit_certificate=self.audit.der(), identity_certificate=self.identity.der(),
            version='0.1.0', time_ms=self.now_ms, site='plant'), **header}))
        if first > 1:
            yield from (i for i in self.after.get(first - 1, []) if i.HasField('checkpoint'))
        for sequence in range(first, len(self.records) + 1):
            yield account_pb2.LedgerExportItem(record=self.records[sequence - 1])
            yield from self.after.get(sequence, [])

    def statement(self, body, items, **values):
        devices = sum(len(i.devices.devices) for i in items if i.HasField('devices'))
        records = [i.record for i in items if i.WhichOneof('item') == 'record']
        header = items[0].header
        return document_pb2.SignedDocument(ledger_export=document_pb2.LedgerExport(**{**dict(
            ledger_id=self.id, first_sequence=header.first_sequence,
            last_sequence=header.last_sequence, head=sha256(records[-1]) if records else bytes(32),
            records=len(records), devices=devices, sha256=sha256(body), time_ms=self.now_ms,
            by='auditor'), **values}))

    def export(self, items=None, name='export', signer=None, end=True, **values):
        """A file of the items (all of the ledger by default), and the statement behind them."""
        items = list(self.items()) if items is None else items
        body = b''.join(framed(i) for i in items)
        path = self.dir / name
        if end:
            cms = (signer or self.audit).sign(self.statement(body, items, **values))
            body += framed(account_pb2.LedgerExportItem(end=cms))
        path.write_bytes(body)
        return path

    def trust(self):
        """The options that name whom to trust."""
        return ['--audit', self.audit.path, '--identity', self.identity.path, '--oem',
                self.oem.path, '--officers', self.officer.path]

    # -- manifests ---------------------------------------------------------------------------------

    def keys(self, n, curve=ec.SECP256R1, certificates=True):
        """For `changed` of spend: n devices with real keys and certificates."""
        self.ca = getattr(self, 'ca', None) or Signer(self.dir, 'ca')
        return {i: self.device_key(i, curve, certificates) for i in range(n)}

    def device_key(self, i, curve, certificates):
        key = ec.generate_private_key(curve())
        spki = key.public_key().public_bytes(serialization.Encoding.DER,
                                             serialization.PublicFormat.SubjectPublicKeyInfo)
        certificate = (
            x509.CertificateBuilder().public_key(key.public_key())
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f'device {i}')]))
            .issuer_name(self.ca.certificate.subject).serial_number(x509.random_serial_number())
            .not_valid_before(datetime.datetime(2020, 1, 1))
            .not_valid_after(datetime.datetime(2050, 1, 1)).sign(self.ca.key, hashes.SHA256()))
        number = certificate.serial_number
        return dict(spki_sha256=sha256(spki), key=key, certificate=certificate,
                    serial=number.to_bytes((number.bit_length() + 7) // 8, 'big')
                    if certificates else b'')

    @staticmethod
    def x5c(*certificates):
        return [base64.b64encode(c.public_bytes(serialization.Encoding.DER)).decode() for c in certificates]

    def element(self, d, batch='batch', signer=None, payload=None, protected=None, **changed):
        """One JWS."""
        signer, b = signer or self.audit, self.batches[batch]
        terms = self.orders[b['order']]['terms']
        numbers = d.key.public_key().public_numbers()
        size = d.key.curve.key_size // 8
        jwk = dict(kid='0', kty='EC', crv=f'P-{d.key.curve.key_size}',
                   x=b64url(numbers.x.to_bytes(size, 'big')),
                   y=b64url(numbers.y.to_bytes(size, 'big')))
        if d.serial:
            jwk['x5c'] = self.x5c(d.certificate, self.ca.certificate)
        payload = b64url(json.dumps({**dict(
            version=1, model='sensor-1', partNumber=terms.product,
            manufacturer=dict(organizationName=terms.oem),
            provisioner=dict(organizationName='plant'), groupId=b['uid'],
            provisioningTimestamp=stamp(d.made_ms), uniqueId=str(d.uid), hwSerial=d.hw_serial,
            publicKeySet=dict(keys=[{**jwk, **changed}])), **(payload or {})}).encode())
        ski = x509.SubjectKeyIdentifier.from_public_key(signer.key.public_key()).digest
        protected = b64url(json.dumps({**{
            'typ': 'JWT', 'alg': 'ES256', 'kid': b64url(ski), 'x5t#S256': b64url(sha256(signer.der()))},
            **(protected or {})}).encode())
        r, s = utils.decode_dss_signature(signer.key.sign(f'{protected}.{payload}'.encode(),
                                                          ec.ECDSA(hashes.SHA256())))
        return dict(payload=payload, protected=protected, header=dict(uniqueId=str(d.uid)),
                    signature=b64url(r.to_bytes(32, 'big') + s.to_bytes(32, 'big')))

    def manifest(self, batch='batch', elements=None):
        if elements is None:
            elements = [self.element(d, batch) for d in self.batches[batch]['devices']
                        if d.state != 'ko']
        path = self.dir / 'manifest.json'
        lines = ',\n'.join(json.dumps(e, separators=(',', ':')) for e in elements)
        path.write_text('[\n' + lines + ('\n' if elements else '') + ']\n')
        return path

    # -- reports -----------------------------------------------------------------------------------

    def report_bytes(self, batch='batch', **changed):
        """docs/report.md; changed: whole lines by their beginning."""
        b = self.batches[batch]
        order, counts = b['order_after'], self.counts(batch)
        terms = order['terms']
        devices = b['devices']
        failures = {}
        for d in devices:
            if d.state == 'ko':
                failures[d.reason] = failures.get(d.reason, 0) + 1
        lines = [
            f'{{"schema":"mintmark-report-1",\n"service":"0.1.0",\n"appliance":'
            f'"{self.identity.hash.hex()}","ledger_id":"{self.id.hex()}",\n',
            f'"batch":{{"uid":"{b["uid"]}","name":"{b["name"]}","profile":"{terms.profile}",'
            f'"device_type":"sensor-1","quantity":{b["quantity"]},"heads":4,'
            f'"station":"{b["station"]}","opened":"{stamp(b["opened_ms"])}",'
            f'"released":"{stamp(b["released_ms"])}","released_by":"station"}},\n',
            f'"order":{{"id":"{terms.order_id}","oem":"{terms.oem}","product":"{terms.product}",'
            f'"profile":"{terms.profile}","quantity":{order["quantity"]},"used":{order["used"]},'
            f'"refunded":{order["refunded"]}}},\n',
            f'"ledger":{{"opened":{{"sequence":{b["opened"]},'
            f'"head":"{sha256(self.records[b["opened"] - 1]).hex()}"}},'
            f'"released":{{"sequence":{b["released"]},'
            f'"head":"{sha256(self.records[b["released"] - 1]).hex()}"}}}},\n',
            '"devices":[\n', ',\n'.join(map(device_line, devices)) + ('\n' if devices else ''),
            '],\n"failures":[\n',
            ',\n'.join(f'{{"reason":{quoted(r)},"devices":{n}}}' for r, n in sorted(
                failures.items(), key=lambda f: f[0].encode())) + ('\n' if failures else ''),
            f'],\n"totals":{{"issued":{len(devices)},"ok":{counts["ok"]},"ko":{counts["ko"]},'
            f'"unreported":{counts["unreported"]},"refunded":{b["refunded"]},'
            f'"first_recorded":{stamp_or_null(devices[:1])},'
            f'"last_recorded":{stamp_or_null(devices[-1:])}}}}}\n',
        ]
        return ''.join(lines).encode()


def b64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b'=').decode()


def framed(item):
    data = item.SerializeToString()
    return struct.pack('>I', len(data)) + data


def stamp(time_ms):
    time = datetime.datetime.fromtimestamp(time_ms // 1000, datetime.timezone.utc)
    return f'{time:%Y-%m-%dT%H:%M:%S}.{time_ms % 1000:03d}Z'


def stamp_or_null(devices):
    return f'"{stamp(devices[0].made_ms)}"' if devices else 'null'


def quoted(text):
    if not text:
        return 'null'
    text = text.replace('\\', '\\\\').replace('"', '\\"')
    return '"' + ''.join(c if ord(c) >= 32 else f'\\u00{ord(c):02x}' for c in text) + '"'


def device_line(d):
    reported = f'"{stamp(d.reported_ms)}"' if d.reported_ms else 'null'
    serial = f'"{d.serial.hex()}"' if d.serial else 'null'
    certified = f',"certified_serial":"{d.certified.hex()}"' if d.certified else ''
    return (f'{{"row":{d.row},"uid":"{d.uid}","number":{d.number},"hw_serial":'
            f'{quoted(d.hw_serial)},"certificate_serial":{serial},'
            f'"spki_sha256":"{d.spki_sha256.hex()}","state":"{d.state}","reason":'
            f'{quoted(d.reason)},"made":"{stamp(d.made_ms)}","reported":{reported}{certified}}}')
