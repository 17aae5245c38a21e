# SPDX-License-Identifier: Apache-2.0
"""mintmark-issuer as a process, on a channel as the front's, and the stand-in for EJBCA that it talks
to. Messages are made by protoc from our own .proto files."""
import fcntl
import hashlib
import itertools
import os
import pathlib
import re
import select
import socket
import struct
import subprocess
import sys
import tempfile
import time
import uuid

try:
    from google.protobuf import message as _  # noqa: F401
except ImportError as missing:
    print(f'skipped: {missing}')
    sys.exit(77)

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get('MINTMARK_BUILD', ROOT / 'build')).resolve()
PROGRAM = BUILD / 'daemon/issuer/mintmark-issuer'
WAIT_S = 30

GENERATED = tempfile.TemporaryDirectory(prefix='mintmark-proto.')
subprocess.run(['protoc', f'--proto_path={ROOT}/proto', f'--python_out={GENERATED.name}',
                'internal/ipc.proto', 'internal/issuer.proto'], check=True)
sys.path.insert(0, GENERATED.name)
sys.path.insert(0, str(ROOT / 'tests/support'))
from fake_ejbca import FakeEjbca  # noqa: E402, F401
from internal import ipc_pb2, issuer_pb2  # noqa: E402

CONF = """\
log_level = debug
listen {{ certificate = 'x' key = 'x' client_ca = 'x' }}
store {{ path = 'x.db' }}
token 'main' {{ module = '{module}' uri = 'pkcs11:token=ra' pin_file = 'pin' environment = {{{env}}} }}
issuer 'pki' {{
    kind = ejbca
    certificate = 'chain.pem'
    nodes = {{{nodes}}}
    server_ca = '{server_ca}'
    {credential}
    {settings}
}}
profile 'widget' {{
    issuer = 'pki'
    delivery = 'plain'
    subject = '{subject}'
    ca = '{ca}'
    certificate_profile = '{certificate_profile}'
    end_entity_profile = '{end_entity_profile}'
    {profile}
}}
"""


# SubjectPublicKeyInfo of a key on P-256 up to its point (RFC 5480).
SPKI = bytes.fromhex('3059301306072a8648ce3d020106082a8648ce3d030107034200')
SUBJECT = 'CN=widget ${number:6},O=Example'
# What openssl does not know by name.
REQUEST = '''oid_section = oids
[oids]
VID = 1.3.6.1.4.1.37244.2.1
PID = 1.3.6.1.4.1.37244.2.2
[req]
distinguished_name = dn
[dn]
'''


def openssl_name(template, number):
    """A profile's template of a subject, for a device, as openssl wants it. Of the variables only
    ${number} and ${number:N} are known, and commas that are part of a value are not."""
    name = re.sub(r'\$\{number(?::(\d+))?\}', lambda m: f'{number:0{m[1] or 1}}', template)
    return ''.join('/' + part for part in name.replace('/', '\\/').split(','))


class Device:
    """A key, and a request as a token's worker would make it."""
    numbers = itertools.count(1)

    def __init__(self, subject=SUBJECT):
        self.number = next(self.numbers)
        self.uid = uuid.uuid4()
        self.username = str(self.uid)
        self.csr = subprocess.run(
            ['openssl', 'req', '-config', '/dev/stdin', '-new', '-newkey', 'ec', '-pkeyopt',
             'ec_paramgen_curve:P-256', '-nodes', '-keyout', '/dev/null', '-outform', 'DER', '-utf8',
             '-subj', openssl_name(subject, self.number)], input=REQUEST.encode(),
            check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
        at = self.csr.index(SPKI)
        self.key = self.csr[at:at + len(SPKI) + 65]

    def job(self, **more):
        return issuer_pb2.IssuerJob(issue=issuer_pb2.IssueJob(
            profile='widget', username=self.username, csr=self.csr, number=self.number,
            uid=self.uid.bytes, **more))

    def owns(self, certificate):
        return self.key in certificate


def handed(path, config):
    """A pipe with what the launcher hands an issuer: the digest of its configuration, and no key
    (daemon/ipc/handed.h)."""
    end, start = os.pipe()
    digest = hashlib.sha256(os.fsencode(path) + b'\0' + config).digest()
    os.write(start, struct.pack('=II', 1, 0) + digest)
    os.close(start)
    return end


class Worker:
    """The process, until it is closed. Answers come in any order, and are kept by their id."""

    def __init__(self, folder, ejbca, nodes=None, settings='', profile='', credential=None,
                 module='/usr/lib/softhsm/libsofthsm2.so', env='', chain=None, ca='IssuingCA',
                 certificate_profile='DevCert', end_entity_profile='DevEE', subject=SUBJECT,
                 server_ca=None):
        self.dir = pathlib.Path(folder)
        ids = chain or ('IssuingCA', 'RootCA')
        (self.dir / 'chain.pem').write_text(
            ''.join(ejbca.ca_certificate(n).read_text() for n in ids))
        credential = credential or (f"client_p12 = '{ejbca.ra.p12}' "
                                    f"client_password_file = '{ejbca.ra.password_file}'")
        text = CONF.format(module=module, env=env, server_ca=server_ca or ejbca.server_ca, settings=settings,
                           profile=profile, credential=credential, ca=ca,
                           certificate_profile=certificate_profile, subject=subject,
                           end_entity_profile=end_entity_profile,
                           nodes=', '.join(f"'{n}'" for n in nodes or [ejbca.url]))
        self.log = self.dir / 'issuer.log'
        conf = self.dir / 'mintmark.conf'
        ours, theirs = socket.socketpair()
        pipe = handed(conf, text.encode())

        def arrange():  # out of each other's way first
            channel, from_launcher = (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in (theirs.fileno(), pipe))
            os.dup2(channel, 3)
            os.dup2(from_launcher, 5)

        with open(self.log, 'ab') as log:
            self.process = subprocess.Popen([PROGRAM], stderr=log, stdin=subprocess.DEVNULL,
                                            close_fds=False,  # Python's own are not inherited
                                            preexec_fn=arrange)
        theirs.close()
        os.close(pipe)
        self.socket = ours
        self.buffer = b''
        self.ids = itertools.count(1)
        self.results = {}
        self._send(ipc_pb2.WorkerStart(config=text.encode(), section='pki', name='issuer.pki',
                                       config_path=str(conf)))
        self.ready = self.wait(0)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def _send(self, message):
        data = message.SerializeToString()
        self.socket.sendall(b'\0' + struct.pack('>I', len(data)) + data)

    def submit(self, job):
        job.id = next(self.ids)
        self._send(job)
        return job.id

    def _read(self):
        ready, _, _ = select.select([self.socket], [], [], WAIT_S)
        data = self.socket.recv(1 << 20) if ready else b''
        if not data:
            raise AssertionError(f'no answer:\n{self.log.read_text()[-3000:]}')
        self.buffer += data
        while len(self.buffer) >= 5:
            n = struct.unpack('>I', self.buffer[1:5])[0]
            if len(self.buffer) < 5 + n:
                break
            result = issuer_pb2.IssuerResult.FromString(self.buffer[5:5 + n])
            self.buffer = self.buffer[5 + n:]
            assert result.id not in self.results, result
            self.results[result.id] = result

    def wait(self, number):
        while number not in self.results:
            self._read()
        return self.results.pop(number)

    def do(self, job):
        return self.wait(self.submit(job))

    def issue(self, device, **more):
        return self.do(device.job(**more))

    def state(self):
        return self.do(issuer_pb2.IssuerJob(ping=issuer_pb2.IssuerPing())).state

    def wait_log(self, pattern):
        end = time.monotonic() + WAIT_S
        while not re.search(pattern, self.log.read_text()):
            if time.monotonic() > end:
                raise AssertionError(f'{pattern!r} never came:\n{self.log.read_text()[-3000:]}')
            time.sleep(0.02)

    def cpu_seconds(self):
        fields = pathlib.Path(f'/proc/{self.process.pid}/stat').read_text().rpartition(')')[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')

    def close(self):
        self.socket.close()
        status = self.process.wait(WAIT_S)
        if status != 0 and self.ready.error.code == 0:
            raise AssertionError(f'it ended with {status}:\n{self.log.read_text()[-3000:]}')
