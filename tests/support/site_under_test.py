# SPDX-License-Identifier: Apache-2.0
"""A demo site and a running service, for tests and benchmarks that work as a user would.

Needs a build tree (MINTMARK_BUILD, or build/ in the source tree). Nothing is mocked: the site comes
from tools/demo-site, the service is mintmarkd, the calls go through the mintmark command or gRPC.
"""
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time

from processes import end_all
from token_kind import KIND

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get('MINTMARK_BUILD', ROOT / 'build'))
MINTMARKD = BUILD / 'daemon/front/mintmarkd'
MINTMARK = BUILD / 'client/mintmark'
OFFICER = BUILD / 'tools/officer/mintmark-officer'
VERIFY = BUILD / 'tools/verify/mintmark-verify'


class Failed(Exception):
    """A command failed; its exit status and what it said."""

    def __init__(self, command, status, stdout, stderr):
        super().__init__(f'{" ".join(map(str, command))}: exit {status}\n{stdout}{stderr}')
        self.status, self.stdout, self.stderr = status, stdout, stderr


def run(*command, timeout=120, **kwargs):
    """Runs a command to its end; its standard output, or Failed."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=timeout,
                          stdin=subprocess.DEVNULL, **kwargs)
    if done.returncode != 0:
        raise Failed(command, done.returncode, done.stdout, done.stderr)
    return done.stdout


class Site:
    """A demo site in a temporary folder, and the service on it; with these settings of the section
    appliance."""

    def __init__(self, workers=0, folder=None, **appliance):
        self._own = folder is None
        base = pathlib.Path(folder or tempfile.mkdtemp(prefix='mintmark-site.'))
        self.dir = base / 'site'
        self.log = base / 'mintmarkd.log'
        self.base = base
        self.daemon = None
        self.port = 0
        run(ROOT / 'tools/demo-site', '--dir', self.dir, '--bin', BUILD, '--port', 0,
            '--workers', workers, '--token', KIND)
        self.conf = self.dir / 'mintmark.conf'
        more = ''.join(f'\n    {name} = {value}' for name, value in appliance.items())
        self.conf.write_text(self.conf.read_text().replace('appliance {', 'appliance {' + more))

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()
        if self._own and exc[0] is None:
            shutil.rmtree(self.base, ignore_errors=True)

    def add_client(self, name, role='station'):
        """One more client, with a certificate of its own; for the next start."""
        tls = self.dir / 'tls'
        run('openssl', 'req', '-new', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes',
            '-keyout', tls / f'{name}.key', '-out', tls / f'{name}.csr', '-subj', f'/CN={name}')
        (tls / f'{name}.ext').write_text(f'subjectAltName=URI:urn:test:{name}\n'
                                         'extendedKeyUsage=clientAuth\n')
        run('openssl', 'x509', '-req', '-in', tls / f'{name}.csr', '-CA', tls / 'ca.pem', '-CAkey',
            tls / 'ca.key', '-set_serial', f'0x{os.urandom(8).hex()}', '-days', '30', '-extfile',
            tls / f'{name}.ext', '-out', tls / f'{name}.pem')
        self.configure(f"client '{name}' {{ uri = 'urn:test:{name}' roles = {{'{role}'}} }}")

    def configure(self, text):
        """Adds to the configuration."""
        with open(self.conf, 'a', encoding='utf-8') as conf:
            conf.write(f'\n{text}\n')

    # -- the service ---------------------------------------------------------------------------

    def start(self, port=0, wait=True):
        """Starts mintmarkd and waits until it is ready."""
        if port:
            text = self.conf.read_text()
            self.conf.write_text(re.sub(r'(?m)^(\s*port\s*=\s*)\d+', rf'\g<1>{port}', text))
        with open(self.log, 'ab') as log:
            offset = log.tell()
            self.daemon = subprocess.Popen([MINTMARKD, '--config', self.conf], stderr=log,
                                           stdin=subprocess.DEVNULL)
        self.port = self._listening_port(offset)
        if wait:
            self.wait_ready()
        return self

    def _listening_port(self, offset, seconds=20):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with open(self.log, 'rb') as log:
                log.seek(offset)
                found = re.search(rb'event=listening\b[^\n]*\bport=(\d+)', log.read())
            if found:
                return int(found[1])
            if self.daemon.poll() is not None:
                break
            time.sleep(0.02)
        raise RuntimeError(f'the service does not listen:\n{self.log_tail()}')

    def wait_ready(self, seconds=30):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if self.station('ping')['ready']:
                    return
            except Failed:
                pass
            if self.daemon.poll() is not None:
                raise RuntimeError(f'the service ended:\n{self.log_tail()}')
            time.sleep(0.05)
        raise RuntimeError(f'the service does not get ready:\n{self.log_tail()}')

    def reload(self, seconds=30):
        """Has it take its configuration again. Over only when that is so: whose handshake falls into it is
        sent away, to come again under the new rules."""
        before = self.log.read_text(errors='replace').count('event=reloaded ')
        self.daemon.send_signal(signal.SIGHUP)
        end = time.monotonic() + seconds
        while self.log.read_text(errors='replace').count('event=reloaded ') == before:
            if time.monotonic() > end:
                raise RuntimeError(f'the service does not reload:\n{self.log_tail()}')
            time.sleep(0.02)

    def log_tail(self, lines=20):
        return '\n'.join(self.log.read_text(errors='replace').splitlines()[-lines:])

    def stop(self, sig=signal.SIGTERM, timeout=40):
        """Ends the service; its exit status."""
        if self.daemon is None:
            return None
        status = end_all(self.daemon, sig, timeout)
        self.daemon = None
        return status

    def processes(self):
        """name → list of pids: the front, and its children by program name."""
        found = {'mintmarkd': [self.daemon.pid]}
        todo = [self.daemon.pid]
        while todo:
            pid = todo.pop()
            try:
                children = pathlib.Path(f'/proc/{pid}/task/{pid}/children').read_text().split()
            except OSError:
                continue
            for child in map(int, children):
                todo.append(child)
                try:
                    exe = os.path.basename(os.readlink(f'/proc/{child}/exe'))
                except PermissionError:  # of a process that is not dumpable only root sees it
                    exe = pathlib.Path(f'/proc/{child}/comm').read_text().strip()
                except OSError:
                    continue
                found.setdefault(exe, []).append(child)
        return found

    # -- its users -----------------------------------------------------------------------------

    def station_command(self, *args):
        return [MINTMARK, '--site', self.dir / 'station.conf', '--target', f'127.0.0.1:{self.port}',
                *args]

    def station(self, *args, timeout=120):
        """Runs the mintmark command with --json; its answer."""
        return json.loads(run(*self.station_command('--json', *args), timeout=timeout))

    def officer(self, *args, timeout=60):
        """Runs an online command of mintmark-officer; its standard output."""
        return run(OFFICER, *args, '--site', self.dir / 'officer.conf',
                   '--target', f'127.0.0.1:{self.port}', timeout=timeout)

    def add_order(self, order_id, quantity, profile='dac', **terms):
        """The whole way of an order: request, terms, the OEM's signature, import. Terms are options
        of `order create`, with _ for -. Its signed file is orders/ORDER_ID.cms."""
        self.sign_order(order_id, quantity, profile, **terms)
        self.import_document(self.dir / 'orders' / f'{order_id}.cms')

    def sign_order(self, order_id, quantity, profile='dac', **terms):
        orders = self.dir / 'orders'
        orders.mkdir(exist_ok=True)
        request, unsigned, signed = (orders / f'{order_id}.{kind}' for kind in ('request', 'order', 'cms'))
        fields = {'oem': 'demo', 'product': 'sensor', 'not_after': '2099-12-31', **terms}
        options = [x for k, v in fields.items() for x in (f'--{k.replace("_", "-")}', v)]
        self.officer('order', 'request', '--out', request)
        run(OFFICER, 'order', 'create', '--request', request, '--id', order_id, '--profile', profile,
            '--quantity', quantity, '--out', unsigned, *options)
        run(OFFICER, 'order', 'sign', '--in', unsigned, '--out', signed, *self.oem_key())
        return signed

    def oem_key(self):
        return ['--key', self.dir / 'oem/oem.key', '--certificate', self.dir / 'oem/oem.pem']

    def import_document(self, path):
        self.officer('order', 'import', '--in', path, '--operator', 'test', '--yes')

    def open_batch(self, quantity, profile='dac', name='test', order=None):
        args = ['batch', 'open', '--name', name, '--profile', profile, '--device-type', 'sensor',
                '--quantity', quantity, '--heads', 8]
        if order:
            args += ['--order', order]
        return self.station(*args)['batch_uid']

    def verify(self, folder, count, profile='dac'):
        """Runs mintmark-verify over an output folder; Failed when anything is off."""
        args = [VERIFY, 'identities', '--dir', folder, '--root', self.dir / 'ca/paa.pem', '--count',
                count, '--transport-key', self.dir / 'transport-key.json', '--recipient-key',
                self.dir / 'station-transport.key']
        if profile == 'dac':
            args += ['--rules', 'matter-dac']
        return run(*args, timeout=300)
