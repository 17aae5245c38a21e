#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A programming station in Python: opens a batch, gets devices, reports them, releases the batch.

Needs Debian's python3-grpcio, python3-protobuf and protobuf-compiler, and the code that protoc makes
from our .proto files:

    mkdir station-api
    protoc --proto_path=proto --python_out=station-api \\
        mintmark/v1/types.proto mintmark/v1/station.proto google/rpc/status.proto
    PYTHONPATH=station-api ./station.py --target 127.0.0.1:7443 --ca ca.pem --certificate station.pem \
        --key station.key --profile alarm --count 10
"""
import argparse
import time
import uuid

import grpc
from mintmark.v1 import station_pb2 as api
from mintmark.v1 import types_pb2 as types

# Worth another try, with the same request_id. Everything else is an answer.
TRY_AGAIN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


def read(path):
    with open(path, 'rb') as f:
        return f.read()


class Station:
    def __init__(self, target, ca, certificate, key):
        credentials = grpc.ssl_channel_credentials(read(ca), read(key), read(certificate))
        self.channel = grpc.secure_channel(target, credentials)

    def call(self, method, request, answer):
        """A unary call."""
        path = '/mintmark.v1.StationService/' + method
        stub = self.channel.unary_unary(path, type(request).SerializeToString, answer.FromString)
        return stub(request, timeout=30)

    def provision(self, request):
        """Yields every device once, whatever happens to the connection in between: its bundle, or, when it
        has no certificate, a Withheld that says why."""
        stub = self.channel.unary_stream('/mintmark.v1.StationService/Provision',
                                         api.ProvisionRequest.SerializeToString,
                                         types.Delivery.FromString)
        seen, pause = set(), 0.2
        while True:
            try:
                for delivery in stub(request, timeout=300):
                    for device in (*delivery.bundles, *delivery.withheld):
                        if device.device_uid not in seen:
                            seen.add(device.device_uid)
                            yield device
                return
            except grpc.RpcError as error:
                if error.code() not in TRY_AGAIN or pause > 60:
                    raise
                time.sleep(pause)
                pause *= 2


def program(bundle):
    """Where the device is programmed. bundle.certificate is DER; bundle.private_key is as
    bundle.key_delivery says. Returns why it failed, or ''."""
    return '' if bundle.certificate or bundle.csr else 'no identity'


def main():
    parser = argparse.ArgumentParser()
    for option in ('target', 'ca', 'certificate', 'key', 'profile'):
        parser.add_argument('--' + option, required=True)
    parser.add_argument('--count', type=int, default=10)
    args = parser.parse_args()
    station = Station(args.target, args.ca, args.certificate, args.key)

    ping = station.call('Ping', api.PingRequest(), api.PingResponse)
    print(f'mintmark {ping.version}, ready: {ping.ready}, and I am {ping.client}')

    batch = station.call('OpenBatch', api.OpenBatchRequest(
        name='example', profile=args.profile, device_type='demo', quantity=args.count, heads=1),
        api.OpenBatchResponse).batch
    print('batch', batch.batch_uid, 'on order', batch.order_id)

    # Write the request_id down before the call: it is what makes a retry after a crash the same
    # call.
    request = api.ProvisionRequest(batch_uid=batch.batch_uid, count=args.count,
                                   request_id=str(uuid.uuid4()))
    reports = []
    for device in station.provision(request):
        if isinstance(device, types.Withheld):  # refused by an EJBCA; KO already, and not reported
            print(f'no certificate for device {device.number}: {device.text}')
            continue
        failure = program(device)
        reports.append(api.DeviceReport(
            device_uid=device.device_uid, reason=failure,
            state=types.DEVICE_STATE_KO if failure else types.DEVICE_STATE_OK))
    print(len(reports), 'devices')

    station.call('ReportDevices', api.ReportDevicesRequest(
        batch_uid=batch.batch_uid, devices=reports), api.ReportDevicesResponse)
    report = station.call('ReleaseBatch', api.ReleaseBatchRequest(batch_uid=batch.batch_uid),
                          api.ReleaseBatchResponse).report
    counts = report.batch.counts
    print(f'issued {counts.issued}, ok {counts.ok}, ko {counts.ko}, '
          f'unreported {counts.unreported}; order: {report.order_used} of {report.order_quantity}')


if __name__ == '__main__':
    main()
