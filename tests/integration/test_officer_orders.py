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
                'mintmark/v1/types.proto', 'mintmark/v1/officer.proto'], check=True)
sys.path.insert(0, GENERATED.name)
from mintmark.v1 import officer_pb2, types_pb2  # noqa: E402

PAGE = 3


class Service:
    """OfficerService with orders in a list; `refuse` makes every call fail with that status."""

    def __init__(self):
        self.orders, self.refuse = [], None

    def check(self, context):
        if self.refuse:
            context.abort(*self.refuse)

    def add(self, request, context):
        self.check(context)
        if any(order.order_id == request.order_id for order in self.orders):
            context.abort(grpc.StatusCode.ALREADY_EXISTS, f'order {request.order_id} is there')
        self.orders.insert(0, types_pb2.Order(
            order_id=request.order_id, profile=request.profile, quantity=request.quantity,
            not_before_time_ms=request.not_before_time_ms,
            not_after_time_ms=request.not_after_time_ms, added_by='officer\x1b[2J',
            state=types_pb2.ORDER_STATE_LIVE))
        return officer_pb2.AddOrderResponse(order=self.orders[0])

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
        calls = {'AddOrder': (self.add, 'AddOrder'), 'ListOrders': (self.list, 'ListOrders'),
                 'GetStatus': (self.status, 'GetStatus')}
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

    def add(self, name, *args, status=0):
        return self.run_officer('order', 'add', *self.online, '--id', name, '--profile', 'dac',
                                '--quantity', '500', '--not-after', '2099-12-31', '--operator',
                                'Alice', '--yes', *args, config=False, status=status)

    def test_order_is_sent_as_asked_and_recorded(self):
        out, _ = self.add('o1', '--not-before', '2098-01-01T12:00:00+01:00')
        order = self.service.orders[0]
        self.assertEqual((order.order_id, order.profile, order.quantity), ('o1', 'dac', 500))
        self.assertEqual(order.not_after_time_ms, 4102444799999)
        self.assertEqual(order.not_before_time_ms, 4039412400000)
        self.assertIn('o1, 500 devices of profile dac', out)
        record = next((self.dir / 'ceremony').iterdir()).read_text()
        for part in ('operator: Alice', "Add order 'o1'", 'order: o1, 500 devices', 'outcome: done'):
            self.assertIn(part, record)

    def test_refused_orders_say_why(self):
        self.add('o1')
        _, error = self.add('o1', status=1)
        self.assertIn('order o1 is there', error)
        for code, status in ((grpc.StatusCode.PERMISSION_DENIED, 77),
                             (grpc.StatusCode.UNAUTHENTICATED, 77),
                             (grpc.StatusCode.INVALID_ARGUMENT, 65),
                             (grpc.StatusCode.NOT_FOUND, 1), (grpc.StatusCode.INTERNAL, 70),
                             (grpc.StatusCode.DATA_LOSS, 1)):
            self.service.refuse = (code, f'because of {code.name}')
            _, error = self.add('o2', status=status)
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
