# SPDX-License-Identifier: Apache-2.0
"""Starts the stand-in for EJBCA (tests/fake/ejbca) on free ports of loopback, gives tests what they
need to talk to it, tells it how to behave, and reads what it has done.

    with FakeEjbca() as ejbca:
        ejbca.set(latency_ms=20)
        ejbca.fault('cut_after', times=1)
        … requests to ejbca.url with ejbca.ra …
        ejbca.state()['doubles']
"""
import collections
import http.client
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get('MINTMARK_BUILD', ROOT / 'build')).resolve()
PROGRAM = BUILD / 'tests/fake/ejbca/fake-ejbca'
START_S = 60  # far more than it takes, so that only a hang fails

# A client: certificate and key in PEM; both in PKCS#12, and the file with its password.
Client = collections.namedtuple('Client', 'name certificate key p12 password_file')


class Refused(Exception):
    """The control port refused a request."""


class FakeEjbca:
    """A running fake. Its folder holds keys, certificates and what was issued; without a folder, one
    is made, and removed at the end."""

    def __init__(self, folder=None, cas=(), keys=None, **settings):
        """cas: more CAs, as 'NAME=SUBJECT'. keys: of the CAs that issue to devices, such as
        'rsa3072/sha384'; P-256 without. settings: as for set()."""
        self._own = folder is None
        self.dir = pathlib.Path(folder or tempfile.mkdtemp(prefix='mintmark-ejbca.'))
        self._cas = list(cas)
        self._keys = ['--keys', keys] if keys else []
        self._settings = settings
        self._process = self._control = None
        self.port = self.control_port = 0
        self.start()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    # -- the process -----------------------------------------------------------------------------

    def start(self):
        """Starts it, on the same ports as before if it ran already; gives it its settings again."""
        more = [part for ca in self._cas for part in ('--ca', ca)]
        self._process = subprocess.Popen(
            [PROGRAM, '--folder', self.dir, '--port', str(self.port), '--control-port',
             str(self.control_port), *self._keys, *more], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f'the fake EJBCA did not start: {self._process.wait(START_S)}')
        ports = json.loads(line)
        self.port, self.control_port = ports['port'], ports['control_port']
        if self._settings:
            self._request('PUT', '/settings', self._settings)

    @property
    def pid(self):
        return self._process.pid

    def kill(self):
        """SIGKILL. What it has issued is in its folder; start() goes on with it."""
        self._end(signal.SIGKILL)

    def stop(self):
        """Its exit status."""
        return self._end(signal.SIGTERM)

    def _end(self, sig):
        if self._control:
            self._control.close()
            self._control = None
        if not self._process:
            return None
        if self._process.poll() is None:
            self._process.send_signal(sig)
        status = self._process.wait(START_S)
        self._process.stdout.close()
        self._process = None
        return status

    def close(self):
        """Ends it; a sanitizer's complaint, or a crash before, is an error."""
        status = self.stop()
        if self._own:
            shutil.rmtree(self.dir, ignore_errors=True)
        if status:
            raise RuntimeError(f'the fake EJBCA ended with {status}')

    def cpu_seconds(self):
        """Processor time that it has used so far."""
        fields = pathlib.Path(f'/proc/{self.pid}/stat').read_text().rpartition(')')[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')

    # -- what clients need -----------------------------------------------------------------------

    @property
    def url(self):
        return f'https://127.0.0.1:{self.port}/ejbca/ejbca-rest-api'

    @property
    def server_ca(self):
        """PEM of the CA that issued the server's certificate (and those of the clients)."""
        return self.dir / 'ManagementCA.pem'

    def ca_certificate(self, name):
        """PEM of a CA: RootCA, IssuingCA, and those of `cas`."""
        return self.dir / f'{name}.pem'

    def client(self, name):
        """`ra` may do everything; `reader` is known, but has no rights; `stranger` is not known;
        `former` is revoked."""
        return Client(name, self.dir / f'{name}.pem', self.dir / f'{name}.key',
                      self.dir / f'{name}.p12', self.dir / 'p12.password')

    @property
    def ra(self):
        return self.client('ra')

    # -- how it is to behave ---------------------------------------------------------------------

    def set(self, **settings):
        """Merges settings into those that it has (tests/fake/ejbca/README.md lists them). They hold
        over a restart by start()."""
        self._request('PUT', '/settings', settings)
        _merge(self._settings, json.loads(json.dumps(settings)))

    def fault(self, kind, **rule):
        """Adds a rule for faults behind those that are there, which go on counting; kind: a name, or
        a list of them."""
        rule = {'fault': kind, **rule}
        self._request('POST', '/faults', rule)
        self._settings.setdefault('faults', []).append(rule)

    def no_faults(self):
        self.set(faults=[])

    def reset(self):
        """Back to the settings of the start, and counts to nothing. What was issued stays."""
        self._settings = {}
        self._request('POST', '/reset')

    def add_user(self, username, subject=None, password=None):
        """An end entity in status NEW, as an officer would register it."""
        given = {'subject': subject, 'password': password}
        self._request('POST', '/users', {'username': username,
                                         **{k: v for k, v in given.items() if v is not None}})

    # -- what it has done ------------------------------------------------------------------------

    def settings(self):
        return self._request('GET', '/settings')

    def state(self):
        """Counts: requests, certificates, doubles, users, unanswered, overlaps, in_flight,
        most_in_flight, calls, faults, statuses, connections."""
        return self._request('GET', '/state')

    def requests(self):
        """The latest 1,000 requests, the oldest first."""
        return self._request('GET', '/requests')['requests']

    def certificates(self, username=None, der=False):
        """Every certificate, or those of one username, in the order of their issuing."""
        if username is not None:
            query = urllib.parse.urlencode({'username': username, 'der': int(der)})
            return self._request('GET', f'/certificates?{query}')['certificates']
        found = []
        while True:
            page = self._request(
                'GET', f'/certificates?offset={len(found)}&limit=10000&der={int(der)}')
            found += page['certificates']
            if len(found) >= page['total']:
                return found

    def _request(self, method, path, body=None):
        if not self._control:
            self._control = http.client.HTTPConnection('127.0.0.1', self.control_port,
                                                       timeout=START_S)
        self._control.request(method, path, json.dumps(body) if body is not None else None)
        response = self._control.getresponse()
        answer = json.loads(response.read())
        if response.status != 200:
            raise Refused(answer['error'])
        return answer


def _merge(into, changes):
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value
