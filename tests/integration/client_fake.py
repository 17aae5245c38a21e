# SPDX-License-Identifier: Apache-2.0
"""A StationService that misbehaves on command, for the tests of the client: python3-h2 under the
ssl module, with the messages that protoc makes from our .proto files."""
import contextlib
import hashlib
import os
import pathlib
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
import uuid

import h2.config
import h2.connection
import h2.events

ROOT = pathlib.Path(__file__).resolve().parents[2]
STATION = '/mintmark.v1.StationService/'
CHUNK = 64


def load_messages(folder):
    """The station's messages and google.rpc's, as Python modules."""
    protos = ['mintmark/v1/types.proto', 'mintmark/v1/station.proto', 'google/rpc/status.proto',
              'google/rpc/error_details.proto']
    subprocess.run(['protoc', f'--proto_path={ROOT / "proto"}', f'--python_out={folder}', *protos],
                   check=True)
    sys.path.insert(0, str(folder))
    # google/ is a package of the protobuf module already.
    import google
    google.__path__.append(str(pathlib.Path(folder) / 'google'))
    from google.rpc import error_details_pb2, status_pb2
    from mintmark.v1 import station_pb2, types_pb2
    return station_pb2, types_pb2, status_pb2, error_details_pb2


def make_certificates(folder):
    """ca.pem, and certificates with keys for server and station; a stranger's CA and station."""
    def openssl(*args):
        subprocess.run(['openssl', *args], check=True, cwd=folder, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
    curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']
    for ca in ('ca', 'stranger-ca'):
        openssl('req', '-x509', *curve, '-keyout', f'{ca}.key', '-out', f'{ca}.pem',
                '-subj', f'/CN={ca}', '-days', '2')
    for name, ca, san in (('server', 'ca', 'DNS:mintmark.test,IP:127.0.0.1'),
                          ('elsewhere', 'ca', 'DNS:elsewhere.test'),
                          ('station', 'ca', 'URI:urn:test:station'),
                          ('stranger', 'stranger-ca', 'URI:urn:test:stranger')):
        openssl('req', *curve, '-keyout', f'{name}.key', '-out', f'{name}.csr', '-subj',
                f'/CN={name}')
        (pathlib.Path(folder) / f'{name}.ext').write_text(f'subjectAltName={san}\n')
        openssl('x509', '-req', '-in', f'{name}.csr', '-CA', f'{ca}.pem', '-CAkey', f'{ca}.key',
                '-CAcreateserial', '-days', '2', '-extfile', f'{name}.ext', '-out', f'{name}.pem')


class Gone(Exception):
    """The connection is over."""


class Call:
    """One request, and what can be answered to it."""

    def __init__(self, connection, stream, path, data, headers):
        self.connection, self.stream, self.path = connection, stream, path
        self.data, self.headers = data, headers
        self.started = False

    def message(self, body):
        self.raw(struct.pack('>BI', 0, len(body)) + body)

    def start(self, *more):
        if not self.started:
            self.started = True
            self.connection.h2.send_headers(self.stream, [
                (':status', '200'), ('content-type', 'application/grpc'), *more])

    def raw(self, data):
        self.start()
        self.connection.send_data(self.stream, data)

    def end(self, status=0, message='', details=None, more=()):
        fields = [('grpc-status', str(status)), *more]
        if message:
            fields.append(('grpc-message', message))
        if details is not None:
            import base64
            fields.append(('grpc-status-details-bin',
                           base64.b64encode(details).decode().rstrip('=')))
        if not self.started:
            fields = [(':status', '200'), ('content-type', 'application/grpc'), *fields]
        self.connection.h2.send_headers(self.stream, fields, end_stream=True)
        self.connection.flush()

    def reset(self, code):
        self.connection.h2.reset_stream(self.stream, code)
        self.connection.flush()

    def goaway(self, last):
        self.connection.h2.close_connection(last_stream_id=last)
        self.connection.flush()

    def cut(self):
        self.connection.flush()
        raise Gone


class Connection:
    def __init__(self, service, sock):
        self.service, self.sock = service, sock
        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, header_encoding='utf-8'))
        self.requests = {}

    def flush(self):
        data = self.h2.data_to_send()
        if data:
            self.sock.sendall(data)

    def send_data(self, stream, data):
        while data:
            room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size)
            if room <= 0:
                self.flush()
                self.receive()
                continue
            self.h2.send_data(stream, data[:room])
            data = data[room:]
        self.flush()

    def receive(self):
        data = self.sock.recv(65536)
        if not data:
            raise Gone
        for event in self.h2.receive_data(data):
            self.take(event)
        self.flush()

    def take(self, event):
        if isinstance(event, h2.events.RequestReceived):
            self.requests[event.stream_id] = (dict(event.headers), bytearray())
        elif isinstance(event, h2.events.DataReceived):
            self.requests[event.stream_id][1].extend(event.data)
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamReset):
            self.service.note('reset', event.error_code)
        elif isinstance(event, h2.events.StreamEnded):
            self.service.ready.append((self, event.stream_id))

    def run(self):
        try:
            self.h2.initiate_connection()
            self.flush()
            while True:
                self.receive()
                while self.service.ready:
                    connection, stream = self.service.ready.pop(0)
                    connection.answer(stream)
        except (Gone, OSError, h2.exceptions.ProtocolError):
            pass
        finally:
            self.service.note('closed')
            with contextlib.suppress(OSError):
                # What is unread would make the kernel reset the connection, and the client lose what was sent.
                self.sock.shutdown(socket.SHUT_WR)
                while self.sock.recv(65536):
                    pass
            self.sock.close()

    def answer(self, stream):
        headers, data = self.requests[stream]
        path = headers[':path']
        call = Call(self, stream, path, bytes(data[5:]), headers)
        self.service.note('call', path[len(STATION):])
        self.service.handle(call)


class FakeService:
    """Serves one connection after the other. `plan` maps a method to what its next calls meet: a
    function of (service, call), or None for the proper answer."""

    def __init__(self, certificates, messages, certificate='server', alpn=('h2',),
                 tls=ssl.TLSVersion.TLSv1_3):
        self.pb, self.types, self.status, self.details = messages
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = context.maximum_version = tls
        context.load_cert_chain(certificates / f'{certificate}.pem',
                                certificates / f'{certificate}.key')
        context.load_verify_locations(certificates / 'ca.pem')
        context.verify_mode = ssl.CERT_REQUIRED
        if alpn:
            context.set_alpn_protocols(list(alpn))
        self.context = context
        self.plan, self.notes, self.times = {}, [], []
        self.requests, self.ready = {}, []
        self.chain, self.items, self.change = [b'\x30\x03ca1', b'\x30\x03ca2'], [], None
        self.is_ready = True
        self.batch = str(uuid.uuid4())
        self.released = False
        self.reports = {}
        self.listener = socket.create_server(('127.0.0.1', 0))
        self.port = self.listener.getsockname()[1]
        self.ended = False
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def close(self):
        self.ended = True
        with contextlib.suppress(OSError):
            socket.create_connection(('127.0.0.1', self.port)).close()
        self.thread.join(10)
        self.listener.close()

    def serve(self):
        while not self.ended:
            sock, _ = self.listener.accept()
            sock.settimeout(20)
            try:
                sock = self.context.wrap_socket(sock, server_side=True)
            except (OSError, ssl.SSLError):
                sock.close()
                continue
            self.note('connection')
            self.ready.clear()
            Connection(self, sock).run()

    def note(self, *what):
        self.times.append(time.monotonic())
        self.notes.append(what if len(what) > 1 else what[0])

    def calls(self, method):
        return self.notes.count(('call', method))

    def handle(self, call):
        method = call.path[len(STATION):]
        planned = self.plan.get(method)
        act = planned.pop(0) if planned else None
        if act:
            act(self, call)
        else:
            getattr(self, method)(call)

    def reply(self, call, message):
        call.message(message.SerializeToString())
        call.end()

    # What a proper service does, as far as the client can tell.

    def Ping(self, call):
        self.reply(call, self.pb.PingResponse(
            time_ms=1790000000000, version='9.9.9', ready=self.is_ready, client='station-1',
            detail='' if self.is_ready else 'the token is away'))

    def the_batch(self):
        n = len(self.all_devices())
        ok = sum(1 for s in self.reports.values() if s == 2)
        return self.types.Batch(
            batch_uid=self.batch, name='first', profile='dac', device_type='alarm', quantity=5000,
            heads=8, order_id='po-1', state=2 if self.released else 1, station='station-1',
            opened_time_ms=1790000000000, counts=self.types.BatchCounts(
                issued=n, ok=ok, ko=len(self.reports) - ok, unreported=n - len(self.reports)))

    def OpenBatch(self, call):
        self.opened = self.pb.OpenBatchRequest.FromString(call.data)
        self.reply(call, self.pb.OpenBatchResponse(batch=self.the_batch()))

    def GetBatch(self, call):
        self.reply(call, self.pb.GetBatchResponse(batch=self.the_batch()))

    def ListBatches(self, call):
        request = self.pb.ListBatchesRequest.FromString(call.data)
        last = request.page_token == 'next'
        self.reply(call, self.pb.ListBatchesResponse(
            batches=[self.the_batch()] * 2, next_page_token='' if last else 'next'))

    def ReportDevices(self, call):
        request = self.pb.ReportDevicesRequest.FromString(call.data)
        self.reports.update((d.device_uid, d.state) for d in request.devices)
        self.last_report = request
        self.reply(call, self.pb.ReportDevicesResponse(counts=self.the_batch().counts))

    def ReleaseBatch(self, call):
        self.released = True
        self.reply(call, self.pb.ReleaseBatchResponse(report=self.types.ProductionReport(
            batch=self.the_batch(), order_quantity=10000, order_used=4711,
            failures=[self.types.FailureCount(reason='no contact', devices=3)])))

    def all_devices(self):
        return [d for devices in self.requests.values() for d in devices]

    def device(self, number, serial):
        return self.types.Bundle(
            device_uid=str(uuid.uuid4()), batch_uid=self.batch, hw_serial=serial, number=number,
            certificate=b'\x30' + os.urandom(400), key_delivery=1, private_key=os.urandom(144),
            issued_time_ms=1790000000000 + number)

    def deliveries(self, bundles):
        """The messages of a stream."""
        for at in range(0, len(bundles), CHUNK):
            message = self.types.Delivery(bundles=bundles[at:at + CHUNK])
            if at == 0:
                message.chain.extend(self.chain)
                message.key_wrap.CopyFrom(self.types.KeyWrap(
                    transport_key='line', algorithm='AES-256-KWP', check_value=b'\1' * 8))
                message.items.extend(self.items)
            if self.change:
                self.change(message)
            yield message.SerializeToString()

    def recorded(self, call):
        """The devices of the request; made, if it is new."""
        request = self.pb.ProvisionRequest.FromString(call.data)
        serials = list(request.hw_serials) or [''] * request.count
        if request.request_id not in self.requests:
            first = len(self.all_devices()) + 1
            self.requests[request.request_id] = [
                self.device(first + i, serials[i]) for i in range(request.count)]
        return self.requests[request.request_id]

    def Provision(self, call, stop_after=None):
        for sent, message in enumerate(self.deliveries(self.recorded(call))):
            if sent == stop_after:
                return
            call.message(message)
        if stop_after is None:
            call.end()

    def GetProvisioningData(self, call):
        request = self.pb.GetProvisioningDataRequest.FromString(call.data)
        found = [d for d in self.all_devices() if d.device_uid == request.device_uid]
        self.reply(call, self.types.Delivery.FromString(next(self.deliveries(found))))

    def error(self, code, reason, message, field='', retry_s=None):
        """google.rpc.Status, serialised."""
        status = self.status.Status(code=code, message=message)
        status.details.add().Pack(self.details.ErrorInfo(reason=reason, domain='mintmark'))
        if field:
            bad = self.details.BadRequest()
            bad.field_violations.add(field=field, description=message)
            status.details.add().Pack(bad)
        if retry_s is not None:
            retry = self.details.RetryInfo()
            retry.retry_delay.FromNanoseconds(int(retry_s * 1e9))
            status.details.add().Pack(retry)
        return status.SerializeToString()


# What a plan holds.

def fail(code, reason, message='no', field='', retry_s=None):
    def act(service, call):
        call.end(code, message, service.error(code, reason, message, field, retry_s))
    return act


def cut_after(messages):
    def act(service, call):
        service.Provision(call, stop_after=messages)
        call.cut()
    return act


def fail_after(messages, code, reason):
    def act(service, call):
        service.Provision(call, stop_after=messages)
        call.end(code, 'no', service.error(code, reason, 'no'))
    return act


def hang(service, call):
    while True:  # until the client goes
        call.connection.receive()


def cut(service, call):
    call.cut()


def reset(code):
    return lambda service, call: call.reset(code)


def sha256(data):
    return hashlib.sha256(data).digest()
