# SPDX-License-Identifier: Apache-2.0
"""A service under the tracer (tracer.c), on a site that is put back as it was for each life: with fake
token workers, with SoftHSM, or with SoftHSM and the stand-in for EJBCA."""
import contextlib
import os
import pathlib
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid

from fake_ejbca import FakeEjbca
from service_site import BUILD, Client, MINTMARKD, Service, document_pb2, types_pb2
from oem import Oem, identity_hash

TRACER = BUILD / 'tests/crash/tracer'
OWN = ("profile 'own' { issuer = 'pai' delivery = 'on-device' subject = 'CN=${number:12}' "
       "validity = '7d' }")
EJBCA = """
issuer 'pki' {{
    kind = ejbca certificate = '{chain}' nodes = {{'{ejbca.url}'}} server_ca = '{ejbca.server_ca}'
    client_p12 = '{ejbca.ra.p12}' client_password_file = '{ejbca.ra.password_file}'
    connect_timeout_ms = 1000 request_timeout_ms = 1000 breaker_wait_ms = 50 breaker_wait_max_ms = 200
}}
profile 'there' {{ issuer = 'pki' token = 'main' delivery = 'wrapped' transport = 'line'
    subject = 'CN=${{device_uid}}' ca = 'IssuingCA' certificate_profile = 'DevCert'
    end_entity_profile = 'DevEE' }}
profile 'own' {{ issuer = 'pki' token = 'main' delivery = 'on-device' subject = 'CN=${{hw_serial}}'
    ca = 'IssuingCA' certificate_profile = 'DevCert' end_entity_profile = 'DevEE' }}
"""
WAIT_S = 30


class Stuck(Exception):
    """The service does not come up, or the tracer says nothing: nothing more can be said."""


class Tracer:
    """One run of the service. Orders and answers: tracer.c."""

    def __init__(self, command, env, log, options):
        self.points, self.killed, self.status = [], False, None  # of the phase that it is in
        self.last = ([], False)  # points, and whether it killed, of the phase before
        self.acks = queue.Queue()
        self.process = subprocess.Popen([TRACER, *options, '--', *command], env=env, stderr=log,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        bufsize=1)
        self.pid = None
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            kind, _, rest = line.strip().partition(' ')
            if kind in ('point', 'past'):
                point, k = rest.split()
                self.points.append((point, int(k), 'before' if kind == 'point' else 'after'))
            elif kind == 'killed':
                self.killed = True
            elif kind == 'phase':
                self.last = self.points, self.killed
                self.points, self.killed = [], False
                self.acks.put(rest)
            elif kind == 'pid':
                self.pid = int(rest)
            elif kind == 'end':
                self.status = int(rest)
        self.process.wait()
        self.acks.put(None)

    def phase(self, name, kill=None):
        """Begins a phase; kill: (point, k, when, effect). False when the service has ended."""
        try:
            self.process.stdin.write(' '.join(['phase', name, *map(str, kill or ())]) + '\n')
        except OSError:
            return False
        try:
            return self.acks.get(timeout=WAIT_S) == name
        except queue.Empty:
            raise Stuck('the tracer does not answer') from None

    def gone(self):
        """The service has ended, and the tracer with it."""
        return not self.reader.is_alive()

    def signal_program(self, number):
        os.kill(self.pid, number)

    def finish(self):
        self.reader.join(WAIT_S)
        if self.reader.is_alive():
            self.kill()
            raise Stuck('the service does not end')
        self.close()
        if self.process.returncode == 77:
            print('skipped: this system lets nobody trace')
            sys.exit(77)
        if self.process.returncode != 0:
            raise Stuck(f'the tracer failed ({self.process.returncode})')


    def kill(self):
        """All that is traced dies with the tracer."""
        self.process.kill()
        self.reader.join(WAIT_S)
        self.close()

    def close(self):
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.stdout.close()


class Traced:
    """A site and the service on it. Its subclasses make the site, with the service not running and
    one order for each profile in `profiles`; `document` is a signed order `second`, not imported."""

    profiles = {}    # what is made in the token, and what devices make: 'token', 'device'
    patience_s = 25  # a request is repeated for that long
    waits = False    # certificates come from elsewhere, and a station may have to come back for them
    identity = b''
    oem = None

    def __init__(self, base, options=()):
        self.base = pathlib.Path(base).resolve()
        self.site, self.pristine = self.base / 'site', self.base / 'pristine'
        self.durable, self.log = self.base / 'durable', self.base / 'log'
        self.options = options
        self.tracer = None
        self.port = 0
        self.starts = 0

    @property
    def disk(self):
        """The folder of the database: what a power cut is about."""
        return self.site / 'store'

    @property
    def database(self):
        return self.disk / 'mintmark.db'

    def keep(self):
        """The site is as every life shall find it."""
        shutil.copytree(self.site, self.pristine, symlinks=True)

    def renew(self):
        """A new life: the site as it was kept, all of it on the disk."""
        assert self.tracer is None
        shutil.rmtree(self.site)
        shutil.copytree(self.pristine, self.site, symlinks=True)
        shutil.rmtree(self.durable, ignore_errors=True)
        self.durable.mkdir()
        for path in self.disk.iterdir():
            if path.is_file():
                shutil.copy2(path, self.durable)
        self.log.write_bytes(b'')
        self.starts = 0

    def command(self):
        return [str(MINTMARKD), '--config', str(self.site / 'mintmark.conf')]

    def environment(self):
        return dict(os.environ)

    def launch(self, phase, kill=None):
        """Starts it; does not wait."""
        self.mend()
        self.starts += 1
        self.mark = self.log.stat().st_size
        with open(self.log, 'ab') as log:
            self.tracer = Tracer(self.command(), self.environment(), log,
                                 ['--disk', self.disk, self.durable, *self.options])
        self.tracer.phase(phase, kill)

    def mend(self):
        """Before a start: what an operator would put right by hand."""

    def wait_up(self):
        """Until it serves; False when it ended first. An AssertionError when its ledger is locked."""
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end:
            with open(self.log, 'rb') as log:
                log.seek(self.mark)
                text = log.read().decode(errors='replace')
            port = re.search(r'event=listening .*port=(\d+)', text)
            if port and 'event=ready ' in text:
                self.port = int(port[1])
                return True
            locked = re.search(r'event=ledger_locked reason=(\S+)', text)
            assert not locked, f'the ledger is locked: {locked[1]}'
            if self.tracer.gone():
                return False
            time.sleep(0.005)
        raise Stuck('it does not get ready')

    def finish(self):
        tracer, self.tracer = self.tracer, None
        tracer.finish()
        return tracer.status

    def terminate(self):
        """Asks it to end."""
        try:
            self.tracer.signal_program(signal.SIGTERM)
        except ProcessLookupError:
            pass

    def abandon(self):
        """Ends it at once, in whatever state it is."""
        if self.tracer:
            self.tracer.kill()
            self.tracer = None

    def client(self, name='station'):
        return Client(self, name)

    def prepare_orders(self, quantities):
        """With the service running: orders for both profiles, and the document of a third."""
        with self.client('officer') as officer:
            for i, (profile, quantity) in enumerate(quantities.items()):
                officer.call('OfficerService', 'ImportOrder',
                             document=self.order(officer, f'order-{i}', profile, quantity))
            document = self.order(officer, 'second', self.profiles['token'], 10)
            (self.site / 'second.cms').write_bytes(document)

    def order(self, officer, order_id, profile, quantity):
        now_ms = int(time.time() * 1000)
        return self.oem.sign(document_pb2.SignedDocument(
            production_order=document_pb2.ProductionOrder(
                order_id=order_id, oem='Example', product='sensor', profile=profile,
                quantity=quantity, not_before_time_ms=now_ms - 1000,
                not_after_time_ms=now_ms + 86400_000, nonce=self.nonce(officer),
                appliance_sha256=self.identity)))

    def uid(self, bundle):
        """Of a device made in the token, as text."""
        raise NotImplementedError

    def certificate_requests(self, count):
        raise NotImplementedError

    def hw_serial(self, number):
        """Of the device of the request with that number; empty if it has none."""
        return ''

    def doubles_elsewhere(self):
        """Devices for which an authority elsewhere has made more than one certificate, so far."""
        return 0

    def close(self):
        """Ends what is beside the service."""

    def nonce(self, officer):
        raise NotImplementedError


class FakeSite(Traced):
    """Token workers are tests/faults/fake_worker.c."""

    profiles = {'token': 'dac', 'device': 'own'}

    def make(self, quantities):
        self.site.mkdir(parents=True)
        self.disk.mkdir()
        service = Service(self.site, 1)
        service.database = 'store/mintmark.db'
        try:
            service.start('profile=dac,own', more=OWN)
            self.oem, self.identity, self.port = service.oem, service.identity, service.port
            self.prepare_orders(quantities)
            assert service.stop() == 0
        finally:
            service.stop(signal.SIGKILL)
        self.keep()

    @property
    def dir(self):
        return self.site

    def environment(self):
        return dict(os.environ, MINTMARK_LIBEXECDIR=str(self.site / 'lib'))

    def uid(self, bundle):
        return str(uuid.UUID(bundle[-32:].decode()))

    def certificate_requests(self, count):
        return [b'k' + os.urandom(16).hex().encode()[1:] + b' a request' for _ in range(count)]

    def nonce(self, officer):
        return officer.call('OfficerService', 'MakeOrderRequest').document[-16:]


class SoftHsmSite(Traced):
    """A demo site with a real token."""

    run = ''  # of the requests that were made last
    profiles = {'token': 'dac', 'device': 'dac-device'}

    def make(self, quantities):
        from site_under_test import Site  # only here: it needs SoftHSM
        demo = Site(workers=1, folder=self.base, unclean_starts_max=1000)
        assert demo.dir == self.site
        self.token_object = next(p.relative_to(self.site) for p in self.site.rglob('token.object'))
        self.oem = Oem.__new__(Oem)
        self.oem.certificate, self.oem.key = self.site / 'oem/oem.pem', self.site / 'oem/oem.key'
        self.identity = identity_hash(self.site / 'appliance/identity.pem')
        self.configure(demo)
        try:
            demo.start()
            self.port = demo.port
            self.prepare_orders(quantities)
            assert demo.stop() == 0
        finally:
            demo.stop(signal.SIGKILL)
        self.keep()

    def configure(self, demo):
        """Before its first start."""

    @property
    def dir(self):
        return self.site / 'tls'

    def mend(self):
        """SoftHSM 2.6.1 empties token.object before it writes it anew, at each login; a kill in
        between loses the token for good. Operators keep a copy (docs/operations.md)."""
        path = self.site / self.token_object
        if path.stat().st_size == 0:
            shutil.copy2(self.pristine / self.token_object, path)

    def uid(self, bundle):
        return types_pb2.Bundle.FromString(bundle).device_uid

    def certificate_requests(self, count):
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        def name(number):
            return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, self.hw_serial(number))]
                             if self.hw_serial(number) else [])
        self.run = os.urandom(6).hex()
        return [x509.CertificateSigningRequestBuilder().subject_name(name(i))
                .sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
                .public_bytes(serialization.Encoding.DER) for i in range(count)]

    def nonce(self, officer):
        document = officer.call('OfficerService', 'MakeOrderRequest').document
        path = self.base / 'request.cms'
        path.write_bytes(document)
        content = subprocess.run(['openssl', 'cms', '-verify', '-noverify', '-inform', 'DER', '-in',
                                  path], check=True, capture_output=True).stdout
        return document_pb2.SignedDocument.FromString(content).order_request.nonce


class EjbcaSite(SoftHsmSite):
    """A demo site with a real token, whose certificates come from EJBCA. What that has issued stays over
    all lives."""

    profiles = {'token': 'there', 'device': 'own'}
    waits = True
    # A device that was under way is not asked for again while an answer may still come, which here
    # takes some eight seconds.
    patience_s = 40
    ejbca = None

    def configure(self, demo):
        self.ejbca = FakeEjbca()
        chain = self.base / 'pki.pem'
        chain.write_text(''.join(self.ejbca.ca_certificate(name).read_text()
                                 for name in ('IssuingCA', 'RootCA')))
        demo.configure(EJBCA.format(ejbca=self.ejbca, chain=chain))

    def hw_serial(self, number):
        return f'{self.run}-{number}'

    def doubles_elsewhere(self):
        return self.ejbca.state()['doubles']

    def close(self):
        if self.ejbca:
            self.ejbca.close()
