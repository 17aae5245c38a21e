# SPDX-License-Identifier: Apache-2.0
"""What the tests of the whole service share: mintmarkd on a site in a temporary folder, with the real
store, and token workers that are real or misbehave as they are told (tests/faults/fake_worker.c);
and a station in python3-grpcio with nothing generated but what protoc makes of our .proto files."""
import contextlib
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

try:
    import grpc
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
except ImportError as missing:
    print(f'skipped: {missing}')
    sys.exit(77)

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get('MINTMARK_BUILD', ROOT / 'build')).resolve()
MINTMARKD = BUILD / 'daemon/front/mintmarkd'
STORE = BUILD / 'daemon/store/mintmark-store'
FAKE_WORKER = BUILD / 'tests/faults/fake_worker'
WAIT_S = 30  # far more than anything takes, so that only a hang fails
# What many devices are given: the service refuses what it thinks would take longer, and of a machine that
# stood still for a moment it thinks much.
PATIENT_S = 20 * WAIT_S
HUNG_MS = 2000  # after which the job of a worker that hangs is given up; the others are well below it

GENERATED = tempfile.TemporaryDirectory(prefix='mintmark-proto.')
subprocess.run(['protoc', f'--proto_path={ROOT}/proto', f'--python_out={GENERATED.name}',
                f'--descriptor_set_out={GENERATED.name}/errors.fds', '--include_imports',
                'mintmark/v1/types.proto', 'mintmark/v1/station.proto', 'mintmark/v1/officer.proto',
                'mintmark/v1/document.proto', 'mintmark/v1/ledger.proto', 'mintmark/v1/account.proto',
                'google/rpc/status.proto', 'google/rpc/error_details.proto',
                'grpc/health/v1/health.proto'], check=True)
sys.path.insert(0, GENERATED.name)
sys.path.insert(0, str(ROOT / 'tests/support'))
from mintmark.v1 import document_pb2, officer_pb2, station_pb2, types_pb2  # noqa: E402
from oem import Oem, identity_hash  # noqa: E402
from processes import end_all  # noqa: E402


def _messages():
    """Messages of google.rpc and grpc.health by full name, without modules that would hide others'."""
    files = descriptor_pb2.FileDescriptorSet.FromString(
        pathlib.Path(GENERATED.name, 'errors.fds').read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for f in files.file:
        pool.Add(f)
    make = getattr(message_factory, 'GetMessageClass', None) or \
        message_factory.MessageFactory(pool).GetPrototype
    return lambda name: make(pool.FindMessageTypeByName(name))


MESSAGE = _messages()


class Refused(Exception):
    """A call that the service refused: gRPC status, and the details that it carried."""

    def __init__(self, error):
        self.code = error.code()
        self.text = error.details()
        self.reason = self.field = self.subject = ''
        self.retry_s = 0.0  # when to come back; 0: no advice
        self.pushback_ms = None  # the same for gRPC's retry policies
        for key, value in error.trailing_metadata() or ():
            if key == 'grpc-retry-pushback-ms':
                self.pushback_ms = int(value)
            if key == 'grpc-status-details-bin':
                self._read(MESSAGE('google.rpc.Status').FromString(value))
        super().__init__(f'{self.code} {self.reason} {self.field}: {self.text}')

    def _read(self, status):
        for detail in status.details:
            name = detail.type_url.rpartition('/')[2]
            message = MESSAGE(name).FromString(detail.value)
            if name == 'google.rpc.ErrorInfo':
                assert message.domain == 'mintmark', message
                self.reason = message.reason
            elif name == 'google.rpc.BadRequest':
                self.field = message.field_violations[0].field
            elif name == 'google.rpc.QuotaFailure':
                self.subject = message.violations[0].subject
                assert message.violations[0].description == self.text, message
            elif name == 'google.rpc.RetryInfo':
                self.retry_s = message.retry_delay.seconds + message.retry_delay.nanos / 1e9

    @property
    def retry(self):
        return self.retry_s > 0


def openssl(*args):
    done = subprocess.run(['openssl', *map(str, args)], capture_output=True, timeout=60)
    if done.returncode != 0:
        raise AssertionError(f'openssl {args}: {done.stderr.decode()}')


def make_ca(folder, name='ca'):
    openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes',
            '-keyout', folder / f'{name}.key', '-out', folder / f'{name}.pem', '-subj', f'/CN={name}',
            '-days', '30', '-addext', 'keyUsage=critical,digitalSignature,keyCertSign,cRLSign')


def make_certificate(folder, name, san, ca='ca'):
    openssl('req', '-new', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes',
            '-keyout', folder / f'{name}.key', '-out', folder / f'{name}.csr', '-subj', f'/CN={name}')
    (folder / f'{name}.ext').write_text(f'subjectAltName={san}\nauthorityKeyIdentifier=keyid\n')
    openssl('x509', '-req', '-in', folder / f'{name}.csr', '-CA', folder / f'{ca}.pem', '-CAkey',
            folder / f'{ca}.key', '-CAcreateserial', '-out', folder / f'{name}.pem', '-days', '30',
            '-extfile', folder / f'{name}.ext')
    (folder / f'{name}.key').chmod(0o600)


CONF = """\
{directives}
site = 'test'
log_level = debug
listen {{ port = {port} certificate = 'server.pem' key = 'server.key' client_ca = 'ca.pem' }}
store {{ path = '{database}' }}
token 'main' {{
    module = '/usr/lib/softhsm/libsofthsm2.so'
    uri = 'pkcs11:token=test'
    pin_file = 'pin'
    workers = {workers}
    job_timeout_ms = {job_timeout_ms}
    environment = {{'SOFTHSM2_CONF=/nowhere'}}
}}
appliance {{
    token = 'main'
    identity_certificate = 'identity.pem'
    audit_certificate = 'audit.pem'
    anchor_devices = {anchor_devices}
    anchor_seconds = {anchor_seconds}
    unclean_starts_max = 1000
    oem_certificates = 'oem-certificates.pem'
}}
issuer 'pai' {{ token = 'main' key = 'pkcs11:object=pai' certificate = 'ca.pem' }}
profile 'dac' {{ issuer = 'pai' delivery = 'retained' subject = 'CN=${{number:12}}' validity = '7d' }}
{more}
limits {{ calls_per_client = 4 drain_timeout_ms = {drain_timeout_ms} {limits} }}
client 'line-1' {{ uri = 'urn:test:station' roles = {{'station'}} }}
client 'line-2' {{ uri = 'urn:test:other' roles = {{'station'}} }}
client 'line-3' {{ uri = 'urn:test:third' roles = {{'station'}} }}
client 'security' {{ uri = 'urn:test:officer' roles = {{'officer'}} }}
client 'screen' {{ uri = 'urn:test:monitor' roles = {{'monitor'}} }}
"""
PEOPLE = {'station': 'urn:test:station', 'other': 'urn:test:other', 'third': 'urn:test:third',
          'officer': 'urn:test:officer', 'monitor': 'urn:test:monitor', 'nobody': 'urn:test:nobody'}


class Service:
    """mintmarkd with fake token workers, on a folder that it keeps between starts."""

    def __init__(self, folder, workers=2):
        self.dir = pathlib.Path(folder)
        self.workers = workers
        self.daemon = None
        self.port = 0
        self.environment = {}
        self.database = 'mintmark.db'
        self.inside = []  # a command that mintmarkd is started by
        lib = self.dir / 'lib'
        lib.mkdir()
        (lib / 'mintmark-token').symlink_to(FAKE_WORKER)
        (lib / 'mintmark-store').symlink_to(STORE)
        make_ca(self.dir)
        make_ca(self.dir, 'stranger-ca')
        make_certificate(self.dir, 'server', 'DNS:localhost,IP:127.0.0.1')
        for name, uri in PEOPLE.items():
            make_certificate(self.dir, name, f'URI:{uri}')
        make_certificate(self.dir, 'stranger', 'URI:urn:test:station', ca='stranger-ca')
        (self.dir / 'pin').write_text('1234\n')
        (self.dir / 'pin').chmod(0o600)
        make_ca(self.dir, 'identity')
        make_ca(self.dir, 'audit')
        self.oem = Oem(self.dir)
        (self.dir / 'oem-certificates.pem').write_bytes(self.oem.certificate.read_bytes())
        self.identity = identity_hash(self.dir / 'identity.pem')
        self.conf = self.dir / 'mintmark.conf'
        self.log = self.dir / 'log'

    def configure(self, *directives, more='', limits='', port=0, anchor_devices=1000000,
                  anchor_seconds=86400, job_timeout_ms=1000 * WAIT_S, drain_timeout_ms=8000):
        """Writes the configuration; directives are for the fake workers. The ledger is anchored so
        rarely that none of its jobs falls into what a test counts: see settle(). No job is given up
        that a busy machine makes slow; what hangs is for tests with HUNG_MS."""
        lines = '\n'.join(f'# fake {d}' for d in directives)
        self.conf.write_text(CONF.format(directives=lines, workers=self.workers, more=more, port=port,
                                         limits=limits, anchor_devices=anchor_devices,
                                         anchor_seconds=anchor_seconds, database=self.database,
                                         job_timeout_ms=job_timeout_ms,
                                         drain_timeout_ms=drain_timeout_ms))

    def until(self, name='until'):
        return f'until={self.dir / name}'

    def forget(self):
        """A new site: no database, and no anchor in the token."""
        for name in 'until', self.database, 'anchor':
            (self.dir / name).unlink(missing_ok=True)

    def spawn(self, *args):
        """mintmarkd with these arguments, its log in the log file."""
        env = dict(os.environ, MINTMARK_LIBEXECDIR=str(self.dir / 'lib'), **self.environment)
        with open(self.log, 'ab') as log:
            return subprocess.Popen([*self.inside, MINTMARKD, *map(str, args)], stderr=log, env=env,
                                    stdin=subprocess.DEVNULL)

    def start(self, *directives, wait=True, **kwargs):
        self.configure(*directives, **kwargs)
        self.log.write_bytes(b'')
        self.daemon = self.spawn('--config', self.conf)
        self.port = int(self.wait_log(r'event=listening .*port=(\d+)')[1])
        if wait:
            self.wait_log(r'event=ready ')
            for i in range(self.workers):  # the first is enough to be ready
                self.wait_log(rf'event=worker_ready worker=token\.{i} ')
        return self

    def reload(self):
        """Has it take its configuration again. Over only when that is so: whose handshake falls into it is
        sent away, to come again under the new rules."""
        after = len(self.log_text())
        self.daemon.send_signal(signal.SIGHUP)
        self.wait_log(r'event=reloaded ', after)

    def log_text(self):
        return self.log.read_text(errors='replace')

    def wait_log(self, pattern, after=0):
        """Waits until the log has a match beyond its first `after` characters."""
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end:
            found = re.search(pattern, self.log_text()[after:])
            if found:
                return found
            if self.daemon.poll() is not None and not re.search(pattern, self.log_text()[after:]):
                break
            time.sleep(0.01)
        raise AssertionError(f'{pattern!r} never came:\n{self.log_text()[-4000:]}')

    def stop(self, sig=signal.SIGTERM):
        """Ends it; its exit status."""
        if not self.daemon:
            return None
        status = end_all(self.daemon, sig, WAIT_S)
        self.daemon = None
        return status

    # -- its users -----------------------------------------------------------------------------

    def client(self, name='station', ca='ca'):
        return Client(self, name, ca)

    def status(self):
        with self.client('officer') as officer:
            return officer.call('OfficerService', 'GetStatus')

    def worker_pids(self, prefix):
        return [w.pid for w in self.status().workers if w.name.startswith(prefix) and w.pid]

    def nonce(self, officer):
        """Of a request; the fake workers' end with it."""
        return officer.call('OfficerService', 'MakeOrderRequest').document[-16:]

    def order(self, nonce, order_id='order', quantity=100000, seconds=3600, **terms):
        """An order's terms, for this appliance."""
        now_ms = int(time.time() * 1000)
        fields = dict(order_id=order_id, oem='Example', product='sensor', profile='dac',
                      quantity=quantity, not_before_time_ms=now_ms - 1000, nonce=nonce,
                      not_after_time_ms=now_ms + int(seconds * 1000), appliance_sha256=self.identity)
        fields.update(terms)
        return document_pb2.SignedDocument(production_order=document_pb2.ProductionOrder(**fields))

    def add_order(self, *args, **terms):
        with self.client('officer') as officer:
            document = self.oem.sign(self.order(self.nonce(officer), *args, **terms))
            anchors = officer.call('OfficerService', 'GetStatus').ledger.anchors
            order = officer.call('OfficerService', 'ImportOrder', document=document).order
            self.settle(officer, anchors)
        return order

    @staticmethod
    def settle(officer, anchors):
        """Waits until nothing of the ledger is under way: an order's anchor is written, and the walk
        that follows each start is at its end."""
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end:
            ledger = officer.call('OfficerService', 'GetStatus').ledger
            if ledger.anchors > anchors and not ledger.verifying and ledger.verified_sequence > 0:
                return
            time.sleep(0.02)
        raise AssertionError(f'the ledger does not settle: {ledger}')


class Users:
    """Where Client finds port and certificates of a demo site (site_under_test.Site)."""

    def __init__(self, site):
        self.dir, self.port = site.dir / 'tls', site.port


class Client:
    """One connection; calls that return the answer or raise Refused."""

    def __init__(self, service, name, ca='ca'):
        def read(file):
            return (service.dir / file).read_bytes()
        self.credentials = grpc.ssl_channel_credentials(
            read(f'{ca}.pem'), read(f'{name}.key') if name else None,
            read(f'{name}.pem') if name else None)
        self.channel = grpc.secure_channel(f'127.0.0.1:{service.port}', self.credentials, options=[
            ('grpc.initial_reconnect_backoff_ms', 50), ('grpc.max_reconnect_backoff_ms', 200),
            ('grpc.max_receive_message_length', 4 * 1024 * 1024)])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.channel.close()

    def call(self, service, method, timeout=WAIT_S, **fields):
        module = officer_pb2 if service == 'OfficerService' else station_pb2
        request = getattr(module, method + 'Request')(**fields)
        answer = types_pb2.Delivery if method == 'GetProvisioningData' else \
            getattr(module, method + 'Response')
        function = self.channel.unary_unary(
            f'/mintmark.v1.{service}/{method}', request_serializer=type(request).SerializeToString,
            response_deserializer=answer.FromString)
        try:
            return function(request, timeout=timeout)
        except grpc.RpcError as error:
            raise Refused(error) from None

    def station(self, method, **fields):
        return self.call('StationService', method, **fields)

    def ready(self):
        return self.station('Ping').ready

    def health(self, name=''):
        request = MESSAGE('grpc.health.v1.HealthCheckRequest')(service=name)
        function = self.channel.unary_unary(
            '/grpc.health.v1.Health/Check', request_serializer=type(request).SerializeToString,
            response_deserializer=MESSAGE('grpc.health.v1.HealthCheckResponse').FromString)
        return function(request, timeout=WAIT_S).status == 1

    def open_batch(self, quantity=50000, **fields):
        return self.station('OpenBatch', name='batch', profile='dac', device_type='sensor',
                            quantity=quantity, heads=8, **fields).batch.batch_uid

    def stream(self, batch, count, request_id, timeout=PATIENT_S, **fields):
        """The call object of Provision: yields raw messages (the fakes' bundles are no protobufs)."""
        request = station_pb2.ProvisionRequest(batch_uid=batch, count=count, request_id=request_id,
                                               **fields)
        return self.channel.unary_stream(
            '/mintmark.v1.StationService/Provision',
            request_serializer=station_pb2.ProvisionRequest.SerializeToString,
            response_deserializer=lambda data: data)(request, timeout=timeout)

    def provision(self, *args, **kwargs):
        """All bundles of a Provision call, as bytes."""
        bundles = []
        try:
            for message in self.stream(*args, **kwargs):
                bundles += fields_of(message, 1)
        except grpc.RpcError as error:
            raise Refused(error) from None
        return bundles

    def provision_persistently(self, batch, count, request_id, **fields):
        """As a station does: again with the same request_id until it is done."""
        end = time.monotonic() + WAIT_S
        while True:
            try:
                return self.provision(batch, count, request_id, **fields)
            except Refused as error:
                if error.code != grpc.StatusCode.UNAVAILABLE or time.monotonic() > end:
                    raise
                time.sleep(0.05)

    def issued(self, batch):
        return self.station('GetBatch', batch_uid=batch).batch.counts.issued


def fields_of(data, number):
    """The length-delimited fields of that number in a serialised message without others' types."""
    out, at = [], 0
    while at < len(data):
        tag, at = _varint(data, at)
        length, at = _varint(data, at)
        assert tag & 7 == 2, tag
        if tag >> 3 == number:
            out.append(data[at:at + length])
        at += length
    return out


def _varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7f) << shift
        shift += 7
        if not byte & 0x80:
            return value, at


class Base(unittest.TestCase):
    """A test with a service of its own, not started yet."""

    workers = 2

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix='mintmark-service.')
        self.addCleanup(folder.cleanup)
        self.service = Service(folder.name, self.workers)
        self.addCleanup(self.service.stop, signal.SIGKILL)

    def client(self, *args):
        client = self.service.client(*args)
        self.addCleanup(client.channel.close)
        return client

    def started(self, *directives, quantity=100000, **kwargs):
        """Starts it, with an order; a station and an open batch."""
        self.service.start(*directives, **kwargs)
        self.service.add_order(quantity=quantity)
        station = self.client()
        return station, station.open_batch(quantity=min(quantity, 50000))

    def refused(self, code, reason, function, *args, field='', **kwargs):
        with self.assertRaises(Refused) as caught:
            function(*args, **kwargs)
        error = caught.exception
        self.assertEqual((error.code.name, error.reason, error.field), (code, reason, field), error.text)
        return error

    @contextlib.contextmanager
    def token_held(self, *names):
        """While these workers of the token, or all, do not get on: what they have stays where it is, and
        a call that they have a part of does not end."""
        pids = [pid for name in names or ['token'] for pid in self.service.worker_pids(name)]
        self.assertTrue(pids)
        for pid in pids:
            self.addCleanup(self.let_go, pid)
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                self.let_go(pid)

    @staticmethod
    def let_go(pid):
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            pass

    def await_calls(self, count):
        """Until the service has so many calls; the one that asks is not among them."""
        self.eventually(lambda: self.service.status().calls_in_flight == count + 1)

    def await_rest(self):
        """Until nothing is at work, and nothing on the way from one worker to the next."""
        def at_rest():
            status = self.service.status()
            return status.calls_in_flight == 1 and all(
                w.state == officer_pb2.WORKER_STATE_READY for w in status.workers)
        self.eventually(lambda: all(at_rest() for _ in range(3)))

    def eventually(self, function, message='it never came true'):
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end:
            if function():
                return
            time.sleep(0.02)
        self.fail(message)

    def in_background(self, function, *args):
        """Runs it in a thread; returns a function that waits and gives its result or exception."""
        outcome = {}

        def run():
            try:
                outcome['result'] = function(*args)
            except Exception as error:  # handed on to the caller
                outcome['error'] = error
        thread = threading.Thread(target=run, daemon=True)
        thread.start()

        def join():
            thread.join(WAIT_S)
            self.assertFalse(thread.is_alive(), 'it hangs')
            if 'error' in outcome:
                raise outcome['error']
            return outcome['result']
        return join
