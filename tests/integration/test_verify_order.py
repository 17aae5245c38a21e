#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""mintmark-verify order: signed documents of others' making, good ones and each kind of bad one."""
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
GENERATED = tempfile.TemporaryDirectory()
subprocess.run(['protoc', f'--proto_path={ROOT}/proto', f'--python_out={GENERATED.name}',
                'mintmark/v1/types.proto', 'mintmark/v1/document.proto'], check=True)
sys.path.insert(0, GENERATED.name)
sys.path.insert(0, str(ROOT / 'tests/support'))

from mintmark.v1 import document_pb2  # noqa: E402
from audit import Mutations, verify  # noqa: E402
from oem import Oem, identity_hash  # noqa: E402

CORPUS = ROOT / 'tests/fuzz/corpus/document'
DATA = ROOT / 'tests/data/documents'

# What docs/orders.md refuses, and by which reason; made by tests/data/documents/make.
BAD = {
    'bad-content-changed': 'DOCUMENT_SIGNATURE', 'bad-detached': 'DOCUMENT_DETACHED',
    'bad-enveloped': 'DOCUMENT_NOT_CMS', 'bad-indefinite': 'DOCUMENT_NOT_DER',
    'bad-long-length': 'DOCUMENT_NOT_DER', 'bad-no-attributes': 'DOCUMENT_ATTRIBUTES',
    'bad-no-certificate': 'DOCUMENT_NO_CERTIFICATE', 'bad-no-document': 'DOCUMENT_CONTENT',
    'bad-p521': 'DOCUMENT_ALGORITHM', 'bad-pss-mask': 'DOCUMENT_ALGORITHM',
    'bad-rsa-1024': 'DOCUMENT_ALGORITHM', 'bad-sha1': 'DOCUMENT_ALGORITHM',
    'bad-sha224': 'DOCUMENT_ALGORITHM', 'bad-signature-changed': 'DOCUMENT_SIGNATURE',
    'bad-trailing': 'DOCUMENT_NOT_DER', 'bad-truncated': 'DOCUMENT_NOT_DER',
    'bad-two-documents': 'DOCUMENT_NOT_DER', 'bad-two-signers': 'DOCUMENT_SIGNERS',
    'bad-type': 'DOCUMENT_TYPE', 'bad-unknown-kind': 'DOCUMENT_CONTENT',
    'bad-unknown-term': 'DOCUMENT_CONTENT', 'signer-expired': 'SIGNER_EXPIRED',
    'signer-future': 'SIGNER_NOT_YET_VALID', 'signer-stranger': 'SIGNER_UNKNOWN',
}


class Order(unittest.TestCase, Mutations):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.dir = pathlib.Path(folder.name)

    def write(self, name, data):
        path = self.dir / name
        path.write_bytes(data)
        return path

    def trust(self, *names):
        return self.write('trust.pem', b''.join((DATA / f'{n}.pem').read_bytes() for n in names))

    def test_every_good_document_is_shown_and_proved(self):
        trust = self.trust('oem-p256', 'oem-p384', 'oem-rsa', 'oem-ca')
        looked_at = 0
        for path in sorted(CORPUS.glob('order-*')) + [CORPUS / 'revocation', CORPUS / 'receipt']:
            status, said = verify('order', path, '--oem', trust)
            self.assertEqual((status, said['findings']), (0, 0), path.name)
            self.assertEqual(said['facts']['order_id'], 'ORDER-1')
            self.assertTrue(any('trusted by' in s for s in said['proved']), path.name)
            looked_at += 1
        self.assertGreaterEqual(looked_at, 9)
        facts = verify('order', CORPUS / 'order-p256', '--oem', trust)[1]['facts']
        self.assertEqual((facts['quantity'], facts['per_batch_max'], facts['stations']),
                         (1000, 500, 'station-1 station-2'))
        self.assertEqual(facts['not_before'], '2026-09-21T14:13:20.000Z')

    def test_every_bad_document_has_its_reason(self):
        trust = self.trust('oem-p256', 'oem-p384', 'oem-rsa', 'oem-ca', 'expired', 'future',
                           'oem-p521', 'oem-rsa-1024')
        self.assertEqual(set(BAD), {p.name for p in CORPUS.iterdir()
                                    if p.name.startswith(('bad-', 'signer-'))})
        for name, code in BAD.items():
            status, said = verify('order', CORPUS / name, '--oem', trust)
            self.assertEqual((status, list(said['by_code'])), (1, [code]), name)

    def test_signer_is_judged_at_the_time_that_is_named(self):
        trust = self.trust('expired')
        status, _ = verify('order', CORPUS / 'signer-expired', '--oem', trust, '--at', '2021-06-01')
        self.assertEqual(status, 0)
        status, said = verify('order', CORPUS / 'signer-expired', '--oem', trust, '--at',
                              '2024-01-01T00:00:01.000Z')
        self.assertEqual((status, list(said['by_code'])), (1, ['SIGNER_EXPIRED']))

    def test_without_certificates_nothing_is_said_of_the_signer(self):
        status, said = verify('order', CORPUS / 'signer-stranger')
        self.assertEqual(status, 0)
        self.assertFalse(any('trusted' in s for s in said['proved']))
        self.assertTrue(any(s.startswith('Who signed') for s in said['not_proved']))

    def test_request_is_signed_by_the_identity_and_orders_are_for_it(self):
        identity, other = Oem(self.dir, 'identity'), Oem(self.dir, 'other')
        oem = Oem(self.dir)
        appliance = identity_hash(identity.certificate)
        request = self.write('request', identity.sign(document_pb2.SignedDocument(
            order_request=document_pb2.OrderRequest(nonce=bytes(16), site='plant',
                                                    appliance_sha256=appliance))))
        self.assertEqual(verify('order', request, '--identity', identity.certificate)[0], 0)
        status, said = verify('order', request, '--identity', other.certificate)
        self.assertEqual((status, set(said['by_code'])),
                         (1, {'SIGNER_UNKNOWN', 'ORDER_OTHER_APPLIANCE'}))
        receipt = self.write('receipt', oem.sign(document_pb2.SignedDocument(
            report_receipt=document_pb2.ReportReceipt(order_id='o', appliance_sha256=appliance))))
        for certificate, findings in ((identity, {}), (other, {'ORDER_OTHER_APPLIANCE': 1})):
            said = verify('order', receipt, '--oem', oem.certificate, '--identity',
                          certificate.certificate)[1]
            self.assertEqual(said['by_code'], findings)

    def test_checkpoints_and_unlocks_have_their_own_signers(self):
        audit, officer = Oem(self.dir, 'audit'), Oem(self.dir, 'officer')
        checkpoint = self.write('checkpoint', audit.sign(document_pb2.SignedDocument(
            checkpoint=document_pb2.Checkpoint(sequence=7, devices=3))))
        unlock = self.write('unlock', officer.sign(document_pb2.SignedDocument(
            unlock=document_pb2.Unlock(database_sequence=7, reason='restored'))))
        for path, option, right, wrong in ((checkpoint, '--audit', audit, officer),
                                           (unlock, '--officers', officer, audit)):
            self.assertEqual(verify('order', path, option, right.certificate)[0], 0)
            status, said = verify('order', path, option, wrong.certificate)
            self.assertEqual((status, list(said['by_code'])), (1, ['SIGNER_UNKNOWN']))

    def test_terms_that_cannot_be_kept_are_found(self):
        oem = Oem(self.dir)
        good = dict(order_id='o', oem='Example', product='sensor', profile='dac', quantity=1,
                    not_before_time_ms=1, not_after_time_ms=2, appliance_sha256=bytes(32),
                    nonce=bytes(16))
        for changed, code in (({'quantity': 0}, 'ORDER_QUANTITY'),
                              ({'quantity': 1000000001}, 'ORDER_QUANTITY'),
                              ({'not_after_time_ms': 1}, 'ORDER_VALIDITY'),
                              ({'order_id': '../o'}, 'INVALID_FIELD'),
                              ({'oem': ''}, 'INVALID_FIELD'),
                              ({'stations': ['a'] * 33}, 'INVALID_FIELD'),
                              ({'stations': ['a b']}, 'INVALID_FIELD'),
                              ({'nonce': bytes(15)}, 'INVALID_FIELD'),
                              ({'report_within_hours': 87601}, 'INVALID_FIELD'), ({}, None)):
            order = self.write('order', oem.sign(document_pb2.SignedDocument(
                production_order=document_pb2.ProductionOrder(**{**good, **changed}))))
            said = verify('order', order, '--oem', oem.certificate)[1]
            self.assertEqual(list(said['by_code']), [code] if code else [], changed)

    def test_control_characters_do_not_reach_the_terminal(self):
        oem = Oem(self.dir)
        order = self.write('order', oem.sign(document_pb2.SignedDocument(
            order_revocation=document_pb2.OrderRevocation(
                order_id='o', reason='a\x1b[2Jb\u202ec\u0085d\ne'))))
        done = verify('order', order, '--oem', oem.certificate, json_output=False)
        self.assertIn('a?[2Jb', done.stdout)
        for c in '\x1b\u202e\u0085':
            self.assertNotIn(c, done.stdout)

    def test_fields_that_come_twice_or_hide_something_are_refused(self):
        oem = Oem(self.dir)
        first = document_pb2.SignedDocument(report_receipt=document_pb2.ReportReceipt(
            order_id='o', devices=5)).SerializeToString()
        other = document_pb2.SignedDocument(order_revocation=document_pb2.OrderRevocation(
            order_id='o')).SerializeToString()
        receipt = document_pb2.ReportReceipt(order_id='o', devices=5).SerializeToString()
        twice = receipt + document_pb2.ReportReceipt(devices=6).SerializeToString()
        for content in (first + first, first + other, bytes([0x1a, len(twice)]) + twice,
                        b'\x1a\x05\x0a\x03a\0b', b'\x1a\x04\x0a\x02\xc3\x28'):
            document = self.write('document', oem.sign(content))
            status, said = verify('order', document, '--oem', oem.certificate)
            self.assertEqual((status, list(said['by_code'])), (1, ['DOCUMENT_CONTENT']), content)

    def test_size_and_unreadable_files(self):
        big = self.write('big', bytes(65 * 1024))
        self.assertEqual(list(verify('order', big)[1]['by_code']), ['DOCUMENT_TOO_BIG'])
        huge = self.write('huge', bytes(2 * 1024 * 1024))
        self.assertEqual(list(verify('order', huge)[1]['by_code']), ['DOCUMENT_TOO_BIG'])
        for arguments, status, text in (
                (['order', self.dir / 'none'], 65, 'No such file'),
                (['order', self.dir], 65, ''),
                (['order', big, '--oem', self.dir / 'none'], 65, 'No such file'),
                (['order', big, '--oem', big], 65, 'must hold certificates'),
                (['order'], 64, "'order' takes one file"),
                (['order', big, '--at', '2026-02-30'], 64, '--at is no time'),
                (['order', big, '--frob'], 64, 'unknown option'), (['frob'], 64, 'no command'),
                ([], 64, 'a command is missing'), (['order', '--help'], 0, '')):
            done = verify(*arguments, json_output=False)
            self.assertEqual(done.returncode, status, arguments)
            self.assertIn(text, done.stderr)

    def test_no_changed_byte_is_taken(self):
        trust = self.trust('oem-p256')
        self.assert_no_mutation_passes((CORPUS / 'order-p256').read_bytes(),
                                       lambda path: ['order', path, '--oem', trust], 150)


if __name__ == '__main__':
    unittest.main()
