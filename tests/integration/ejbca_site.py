# SPDX-License-Identifier: Apache-2.0
"""What the tests with an EJBCA share: the whole service with a real SoftHSM token, on a demo site, and the
stand-in for EJBCA (tests/fake/ejbca) behind it."""
import base64
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time
import unittest
import urllib.error
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'support'))

import token_kind  # noqa: E402, F401  first: it may become another user
from cryptography import x509  # noqa: E402
from fake_ejbca import FakeEjbca  # noqa: E402
from service_site import WAIT_S, Client, Refused, Users, officer_pb2, station_pb2, types_pb2  # noqa: E402
from site_under_test import OFFICER, Site  # noqa: E402

import grpc  # noqa: E402

COPY = 'user of copy {:0>90}'
METRICS = 'metrics { port = 0 }\n'
ISSUER = """
issuer '{name}' {{
    kind = ejbca
    certificate = '{chain}'
    nodes = {{'{url}'}}
    server_ca = '{ejbca.server_ca}'
    client_p12 = '{ejbca.ra.p12}'
    client_password_file = '{ejbca.ra.password_file}'
    connect_timeout_ms = 1500
    request_timeout_ms = 2500
    breaker_failures = 3
    breaker_wait_ms = 50
    breaker_wait_max_ms = 200
    per_s = {per_s}
}}
"""
PROFILE = """
profile '{name}' {{
    issuer = '{issuer}' token = 'main' delivery = '{delivery}'
    subject = '{subject}'
    ca = 'IssuingCA' certificate_profile = '{certificate_profile}' end_entity_profile = 'DevEE'
    {more}
}}
"""
REFUSAL = "User 'x' is not allowed to use same key as another user is using."


def serial_of(der):
    return f'{x509.load_der_x509_certificate(der).serial_number:X}'


def until(what, seconds=WAIT_S):
    """Waits until what() is true; its value."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = what()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError('it never came true')


class Provision(threading.Thread):
    """One Provision call; what came, and how it ended."""

    def __init__(self, client, batch, request_id, count, timeout=WAIT_S, **more):
        super().__init__(daemon=True)
        self.bundles, self.withheld, self.refused = [], [], None
        self.call = client.channel.unary_stream(
            '/mintmark.v1.StationService/Provision',
            request_serializer=station_pb2.ProvisionRequest.SerializeToString,
            response_deserializer=types_pb2.Delivery.FromString)(
                station_pb2.ProvisionRequest(batch_uid=batch, request_id=f'{request_id}-{batch}', count=count,
                                             **more), timeout=timeout)
        self.start()

    def run(self):
        try:
            for delivery in self.call:
                self.bundles += delivery.bundles
                self.withheld += delivery.withheld
        except grpc.RpcError as error:
            self.refused = Refused(error)

    def end(self):
        self.join(WAIT_S)
        assert not self.is_alive(), 'the call does not end'
        return self

    def done(self):
        self.end()
        if self.refused:
            raise self.refused
        return self


class EjbcaCase(unittest.TestCase):
    """A site with issuers and profiles that are its subclass's."""
    CAS = ()  # more of them, as 'NAME=SUBJECT'
    KEYS = None  # of the CAs that issue to devices; P-256
    ISSUERS = (('pki', 0),)  # name, devices a second
    PROFILES = ()  # of each: what PROFILE leaves open
    LOG_LINES = 60  # of a test that fails

    @classmethod
    def setUpClass(cls):
        cls.ejbca = FakeEjbca(cas=cls.CAS, keys=cls.KEYS)
        cls.addClassCleanup(cls.ejbca.close)
        cls.site = Site(workers=1)
        cls.addClassCleanup(cls.site.__exit__, None)
        chain = cls.site.base / 'pki.pem'
        chain.write_text(''.join(cls.ejbca.ca_certificate(n).read_text() for n in ('IssuingCA', 'RootCA')))
        cls.site.configure(METRICS + ''.join(
            [ISSUER.format(name=name, ejbca=cls.ejbca, url=cls.ejbca.url, chain=chain, per_s=per_s)
             for name, per_s in cls.ISSUERS] + [PROFILE.format(**profile) for profile in cls.PROFILES]))
        cls.start()
        cls.addClassCleanup(cls.site.stop)

    @classmethod
    def start(cls):
        cls.site.start()
        cls.station = Client(Users(cls.site), 'station')
        cls.officer = Client(Users(cls.site), 'officer')

    @classmethod
    def restart(cls, sig=signal.SIGTERM):
        cls.station.channel.close()
        cls.officer.channel.close()
        cls.site.stop(sig)
        cls.start()

    def run(self, result=None):
        bad = len(result.errors) + len(result.failures)
        super().run(result)
        if len(result.errors) + len(result.failures) > bad:
            print(self.site.log_tail(self.LOG_LINES), file=sys.stderr)

    def metric(self, name):
        """One figure of /metrics, without labels. It answers one peer only so often: then None."""
        port = re.findall(r'event=metrics_listening .*port=(\d+)', self.site.log.read_text())[-1]
        try:
            with urllib.request.urlopen(f'http://127.0.0.1:{port}/metrics') as answer:
                return float(re.search(rf'^{name} (\S+)$', answer.read().decode(), re.M)[1])
        except urllib.error.HTTPError as error:
            self.assertEqual(error.code, 429)
            return None

    def officers_stream(self, method, channel=None, timeout=WAIT_S, **fields):
        """A call whose answers come one by one."""
        request = getattr(officer_pb2, method + 'Request')(**fields)
        return (channel or self.officer.channel).unary_stream(
            f'/mintmark.v1.OfficerService/{method}', request_serializer=type(request).SerializeToString,
            response_deserializer=getattr(officer_pb2, method + 'Response').FromString)(request, timeout=timeout)

    def blocked_stream(self, method, **fields):
        """One whose reader reads nothing: the service has more to send than the connection takes."""
        channel = grpc.secure_channel(f'127.0.0.1:{self.site.port}', self.officer.credentials,
                                      options=[('grpc.http2.bdp_probe', 0)])
        self.addCleanup(channel.close)
        before = until(self.waits)
        streams = []

        def blocked():
            if not streams or streams[-1].done():  # EJBCA had no time
                streams.append(self.officers_stream(method, channel, **fields))
            return (self.waits() or before) > before
        until(blocked)
        return streams[-1]

    def waits(self):
        """How often a call had to wait for its client; 1 more, so that it is never false."""
        count = self.metric('mintmark_call_waits_total')
        return None if count is None else count + 1

    # -- the officer's commands --------------------------------------------------------------------

    def tool(self, *args, status=0, json_=True):
        """mintmark-officer; what it prints, or its complaint."""
        done = subprocess.run(
            [OFFICER, *args, '--site', self.site.dir / 'officer.conf', '--target',
             f'127.0.0.1:{self.site.port}', *(['--json'] if json_ else [])],
            capture_output=True, timeout=60, text=True)
        self.assertEqual(done.returncode, status, done)
        return done.stderr if status else json.loads(done.stdout) if json_ else done.stdout

    def ceremony(self, *args, status=0):
        return self.tool(*args, '--operator', 'Anna', '--yes', '--transcript',
                         self.site.base / f'{os.urandom(6).hex()}.txt', status=status)

    # -- EJBCA's own files ------------------------------------------------------------------------

    def copies(self, serial, count):
        """Lines of EJBCA's journal: the certificate so many times more, each of a user of its own."""
        line = next(line for line in map(json.loads, (self.ejbca.dir / 'journal').read_text().splitlines())
                    if 'issued' in line and serial_of(base64.b64decode(line['issued'])) == serial)
        return ''.join(json.dumps({**line, 'user': COPY.format(i)}) + '\n' for i in range(count))

    def rewrite(self, change):
        """What EJBCA never does: its journal becomes another one."""
        self.ejbca.stop()
        journal = self.ejbca.dir / 'journal'
        journal.write_text(change(journal.read_text()))
        self.ejbca.start()
