#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""mintmark-officer's orders and status against a service played by python3-grpcio: what the tool
asks, what it makes of each answer. The real service has its own tests."""
import concurrent.futures
import pathlib
import subprocess
import sys
import tempfile
import unittest

import grpc

from officer_site import ROOT, Base, openssl

GENERATED = tempfile.TemporaryDirectory(prefix='mintmark-proto.')
subprocess.run(['protoc', f'--proto_path={ROOT}/proto', f'--python_out={GENERATED.name}',
                'mintmark/v1/types.proto', 'mintmark/v1/officer.proto',
                'mintmark/v1/document.proto'], check=True)
sys.path.insert(0, GENERATED.name)
sys.path.insert(0, str(ROOT / 'tests/support'))
from mintmark.v1 import document_pb2, officer_pb2, types_pb2  # noqa: E402
from oem import Oem, identity_hash  # noqa: E402

PAGE = 3


class Service:
    """OfficerService with orders in a list; `refuse` makes every call fail with that status."""

    def __init__(self):
        self.orders, self.documents, self.changes = [], [], []
        self.refuse, self.request = None, b''

    def check(self, context):
        if self.refuse:
            context.abort(*self.refuse)

    def import_order(self, request, context):
        self.check(context)
        content = subprocess.run(
            ['openssl', 'cms', '-verify', '-noverify', '-binary', '-inform', 'DER'],
            input=request.document, capture_output=True, check=True).stdout
        terms = document_pb2.SignedDocument.FromString(content).production_order
        if any(order.order_id == terms.order_id for order in self.orders):
            context.abort(grpc.StatusCode.ALREADY_EXISTS, f'order {terms.order_id} is there')
        self.orders.insert(0, types_pb2.Order(
            order_id=terms.order_id, profile=terms.profile, quantity=terms.quantity,
            not_before_time_ms=terms.not_before_time_ms,
            not_after_time_ms=terms.not_after_time_ms, added_by='officer\x1b[2J',
            state=types_pb2.ORDER_STATE_LIVE))
        return officer_pb2.ImportOrderResponse(order=self.orders[0])

    def import_document(self, request, context):
        self.check(context)
        self.documents.append(request.document)
        return officer_pb2.ImportDocumentResponse(order=self.orders[0])

    def change(self, request, context):
        self.check(context)
        self.changes.append(request)
        return officer_pb2.ChangeOrderResponse(order=self.orders[0])

    def make_request(self, _request, context):
        self.check(context)
        return officer_pb2.MakeOrderRequestResponse(document=self.request)

    def get(self, request, context):
        self.check(context)
        if request.order_id != self.orders[0].order_id:
            context.abort(grpc.StatusCode.NOT_FOUND, 'no such order')
        return officer_pb2.GetOrderResponse(order=self.orders[0], document=b'as signed')

    def list(self, request, context):
        self.check(context)
        at = int(request.page_token or 0)
        more = str(at + PAGE) if at + PAGE < len(self.orders) else ''
        return officer_pb2.ListOrdersResponse(orders=self.orders[at:at + PAGE], next_page_token=more)

    def status(self, _request, context):
        self.check(context)
        worker = officer_pb2.WorkerStatus(name='token.0', state=officer_pb2.WORKER_STATE_BUSY, pid=7,
                                          jobs_done=9, token_cpu_us=2**40, sampled_devices=64)
        return officer_pb2.GetStatusResponse(version='9.9', ready=True, workers=[worker],
                                             started_time_ms=1795285016123, devices_issued=12)

    def serve(self, folder):
        calls = {name: (function, name) for name, function in (
            ('MakeOrderRequest', self.make_request), ('ImportOrder', self.import_order),
            ('ImportDocument', self.import_document), ('ChangeOrder', self.change),
            ('GetOrder', self.get), ('ListOrders', self.list), ('GetStatus', self.status))}
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(
                function, getattr(officer_pb2, kind + 'Request').FromString,
                getattr(officer_pb2, kind + 'Response').SerializeToString)
            for name, (function, kind) in calls.items()}
        server = grpc.server(concurrent.futures.ThreadPoolExecutor(2))
        server.add_generic_rpc_handlers((
            grpc.method_handlers_generic_handler('mintmark.v1.OfficerService', handlers),))
        credentials = grpc.ssl_server_credentials(
            [((folder / 'x.key').read_bytes(), (folder / 'x.pem').read_bytes())],
            (folder / 'x.pem').read_bytes(), require_client_auth=True)
        port = server.add_secure_port('127.0.0.1:0', credentials)
        server.start()
        return server, port


class Orders(Base):
    def setUp(self):
        super().setUp()
        openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes',
                '-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout',
                self.dir / 'x.key', '-out', self.dir / 'x.pem')
        self.service = Service()
        server, port = self.service.serve(pathlib.Path(self.dir))
        self.addCleanup(lambda: server.stop(0).wait())
        self.site = self.dir / 'officer.conf'
        self.site.write_text("target = '127.0.0.1:1'\nca = 'x.pem'\ncertificate = 'x.pem'\n"
                             "key = 'x.key'\n")
        self.online = ['--site', self.site, '--target', f'127.0.0.1:{port}']

        self.appliance, self.oem = Oem(self.dir, 'appliance'), Oem(self.dir)
        request = document_pb2.OrderRequest(
            nonce=b'0123456789abcdef', site='plant', requested_by='alice', time_ms=1795000000000,
            appliance_sha256=identity_hash(self.appliance.certificate))
        self.service.request = self.appliance.sign(
            document_pb2.SignedDocument(order_request=request))
        self.request = self.dir / 'request.cms'
        self.request.write_bytes(self.service.request)
        self.key = ['--key', self.oem.key, '--certificate', self.oem.certificate]

    def offline(self, *args, status=0):
        return self.run_officer('order', *args, config=False, status=status)

    def create(self, name, *args, status=0):
        """An unsigned order in NAME.bin."""
        return self.offline('create', '--request', self.request, '--id', name, '--oem', 'ACME',
                            '--product', 'alarm', '--profile', 'dac', '--quantity', '500',
                            '--not-after', '2099-12-31', '--out', self.dir / f'{name}.bin', *args,
                            status=status)

    def sign(self, name, *key):
        signed = self.dir / f'{name}.cms'
        self.offline('sign', '--in', self.dir / f'{name}.bin', '--out', signed, *(key or self.key))
        return signed

    def bring(self, path, status=0):
        return self.offline('import', '--in', path, *self.online, '--operator', 'Alice', '--yes',
                            status=status)

    def add(self, name, *args, status=0):
        self.create(name, *args)
        return self.bring(self.sign(name), status)

    def test_request_is_written_and_shown(self):
        made = self.dir / 'made.cms'
        out, _ = self.offline('request', *self.online, '--out', made)
        self.assertEqual(made.read_bytes(), self.service.request)
        self.assertIn('plant', out)
        self.offline('request', *self.online, '--out', made, status=1)  # is there already

    def test_order_is_sent_as_asked_and_recorded(self):
        out, _ = self.add('o1', '--not-before', '2098-01-01T12:00:00+01:00')
        order = self.service.orders[0]
        self.assertEqual((order.order_id, order.profile, order.quantity), ('o1', 'dac', 500))
        self.assertEqual(order.not_after_time_ms, 4102444799999)
        self.assertEqual(order.not_before_time_ms, 4039412400000)
        self.assertIn('o1, 500 devices of profile dac', out)
        record = next((self.dir / 'ceremony').iterdir()).read_text()
        for part in ('operator: Alice', "Import this production order, 'o1'",
                     'order: o1, 500 devices', 'outcome: done'):
            self.assertIn(part, record)

    def test_terms_are_those_of_the_options(self):
        out, _ = self.create('o1', '--per-batch', '100', '--per-day', '200', '--stations', 'a,b',
                             '--unreported', '300', '--report-hours', '24', '--replacements', '5')
        terms = document_pb2.SignedDocument.FromString(
            (self.dir / 'o1.bin').read_bytes()).production_order
        self.assertEqual((terms.per_batch_max, terms.per_day_max, list(terms.stations)),
                         (100, 200, ['a', 'b']))
        self.assertEqual((terms.unreported_devices_max, terms.report_within_hours,
                          terms.replacements_max), (300, 24, 5))
        self.assertEqual(terms.nonce, b'0123456789abcdef')
        self.assertEqual(terms.appliance_sha256, identity_hash(self.appliance.certificate))
        self.assertIn('not signed yet', out)
        for option, value in (('--quantity', '0'), ('--quantity', '1000000001'), ('--per-day', '-1'),
                              ('--report-hours', '87601')):
            self.create('o2', option, value, status=64)
        for option, value in (('--id', '-x'), ('--stations', 'a,,b'), ('--oem', 'x' * 101),
                              ('--not-after', '2001-01-01')):
            self.create('o2', option, value, status=65)
        self.assertFalse((self.dir / 'o2.bin').exists())

    def test_request_of_another_key_than_it_names_is_refused(self):
        request = document_pb2.OrderRequest(nonce=b'0123456789abcdef', appliance_sha256=b'x' * 32)
        self.request.write_bytes(self.oem.sign(document_pb2.SignedDocument(order_request=request)))
        _, error = self.create('o1', status=65)
        self.assertIn('not signed by the appliance', error)

    def test_show_tells_a_file_and_its_signature(self):
        self.create('o1')
        out, _ = self.offline('show', self.dir / 'o1.bin')
        self.assertIn('not signed', out)
        signed = self.sign('o1')
        out, _ = self.offline('show', signed)
        self.assertRegex(out, r'quantity: +500')
        self.assertIn('CN=oem', out)
        out, _ = self.offline('show', '--trust', self.oem.certificate, signed)
        self.assertIn('the signer is trusted', out)
        _, error = self.offline('show', '--trust', self.appliance.certificate, signed, status=77)
        self.assertIn('none that is trusted', error)
        changed = self.dir / 'changed.cms'
        changed.write_bytes(signed.read_bytes().replace(b'ACME', b'ACNE'))
        _, error = self.offline('show', changed, status=65)
        self.assertIn('signature is wrong', error)
        self.offline('show', status=64)

    def test_show_asks_the_service(self):
        self.add('o1')
        copy = self.dir / 'copy.cms'
        out, _ = self.offline('show', *self.online, '--id', 'o1', '--out', copy)
        self.assertRegex(out, r'state: +live')
        self.assertEqual(copy.read_bytes(), b'as signed')
        self.offline('show', *self.online, '--id', 'o2', status=1)

    def test_openssl_reads_what_is_signed(self):
        self.create('o1')
        content = subprocess.run(
            ['openssl', 'cms', '-verify', '-binary', '-inform', 'DER', '-in', self.sign('o1'),
             '-CAfile', self.oem.certificate, '-purpose', 'any'], capture_output=True,
            check=True).stdout
        self.assertEqual(content, (self.dir / 'o1.bin').read_bytes())

    def test_encrypted_key_is_opened_by_its_passphrase_once(self):
        encrypted = self.dir / 'encrypted.key'
        openssl('pkcs8', '-topk8', '-in', self.oem.key, '-out', encrypted, '-passout', 'pass:right')
        passphrase = self.dir / 'passphrase'
        key = ['--key', encrypted, '--certificate', self.oem.certificate, '--pin-file', passphrase]
        self.create('o1')
        for text, status in (('wrong', 65), ('right', 0)):
            passphrase.write_text(text + '\n')
            passphrase.chmod(0o600)
            self.offline('sign', '--in', self.dir / 'o1.bin', '--out', self.dir / 'o1.cms', *key,
                         status=status)
            self.assertEqual((self.dir / 'o1.cms').exists(), status == 0)

    def test_wrong_key_is_refused(self):
        self.create('o1')
        _, error = self.offline('sign', '--in', self.dir / 'o1.bin', '--out', self.dir / 'o1.cms',
                                '--key', self.oem.key, '--certificate',
                                self.appliance.certificate, status=65)
        self.assertIn('not that of the first certificate', error)
        self.offline('sign', '--in', self.request, '--out', self.dir / 'o1.cms', *self.key,
                     status=65)

    def test_bad_files_are_refused_before_they_are_sent(self):
        big = self.dir / 'big'
        with open(big, 'wb') as f:
            f.truncate(100 * 1024 * 1024)
        _, error = self.bring(big, status=65)
        self.assertIn('at most 65536 bytes', error)
        self.create('o1')
        self.bring(self.dir / 'o1.bin', status=65)  # not signed
        self.bring(self.request, status=65)
        cut = self.dir / 'cut'
        cut.write_bytes(self.sign('o1').read_bytes()[:-20])
        _, error = self.bring(cut, status=65)
        self.assertIn('cut off', error)
        self.assertEqual(self.service.orders, [])

    def test_revocation_and_receipt_are_made_off_site_and_brought_in(self):
        self.add('o1')
        order = self.dir / 'o1.cms'
        for kind, options in (('revoke', ['--reason', 'contract ended']),
                              ('receipt', ['--devices', '17'])):
            made = self.dir / f'{kind}.cms'
            self.offline(kind, '--in', order, *options, '--out', made, *self.key)
            self.bring(made)
            self.assertEqual(self.service.documents[-1], made.read_bytes())
        out, _ = self.offline('show', self.dir / 'receipt.cms')
        self.assertRegex(out, r'devices: +17')

    def test_changes_are_sent_as_asked(self):
        self.add('o1')
        people = ['--operator', 'Alice', '--yes']
        for action in ('suspend', 'resume', 'close'):
            self.offline(action, *self.online, '--id', 'o1', '--reason', 'said so', *people)
            change = self.service.changes[-1]
            self.assertEqual(change.reason, 'said so')
            self.assertEqual(change.action, getattr(types_pb2, f'ORDER_ACTION_{action.upper()}'))
        self.offline('lower', *self.online, '--id', 'o1', *people, status=64)
        self.offline('lower', *self.online, '--id', 'o1', '--quantity', '5', '--per-day', '2',
                     *people)
        limits = self.service.changes[-1].limits
        self.assertEqual((limits.quantity, limits.per_day_max, limits.per_batch_max), (5, 2, 0))

    def test_refused_orders_say_why(self):
        self.add('o1')
        _, error = self.bring(self.dir / 'o1.cms', status=1)
        self.assertIn('order o1 is there', error)
        self.create('o2')
        other = self.sign('o2')
        for code, status in ((grpc.StatusCode.PERMISSION_DENIED, 77),
                             (grpc.StatusCode.UNAUTHENTICATED, 77),
                             (grpc.StatusCode.INVALID_ARGUMENT, 65),
                             (grpc.StatusCode.NOT_FOUND, 1), (grpc.StatusCode.INTERNAL, 70),
                             (grpc.StatusCode.DATA_LOSS, 1)):
            self.service.refuse = (code, f'because of {code.name}')
            _, error = self.bring(other, status=status)
            self.assertIn(f'because of {code.name}', error)
        self.assertEqual(len(self.service.orders), 1)

    def test_list_follows_the_pages_and_shows_no_control_characters(self):
        for i in range(2 * PAGE + 1):
            self.add(f'o{i}')
        orders = self.run_json('order', 'list')['orders']
        self.assertEqual([o['order_id'] for o in orders], [f'o{i}' for i in range(6, -1, -1)])
        self.assertEqual(orders[0]['left'], 500)
        out, _ = self.run_officer('order', 'list', *self.online, config=False)
        self.assertEqual(len(out.splitlines()), 8)
        self.assertNotIn('\x1b', out)

    def test_status_has_every_field(self):
        status = self.run_json('status')
        self.assertEqual(status['version'], '9.9')
        self.assertIs(status['ready'], True)
        self.assertEqual(status['started'], '2026-11-21T18:16:56.123Z')
        self.assertEqual(status['workers'][0]['token_cpu_us'], 2**40)
        self.assertEqual(status['workers'][0]['state'], 'busy')
        out, _ = self.run_officer('status', *self.online, config=False)
        self.assertRegex(out, r'token\.0 +busy +7 ')

    def run_json(self, *args):
        return self.data(*args, *self.online, config=False)


if __name__ == '__main__':
    unittest.main(verbosity=2)
