# SPDX-License-Identifier: Apache-2.0
"""What the transport's tests share: a small PKI, the test server as a process, and an HTTP/2 client
that does as it is told, however wrong that is."""
import datetime
import ipaddress
import os
import pathlib
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import time

try:
    import hpack
    import hyperframe.frame as frames
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
except ImportError as missing:
    print(f'skipped: {missing}')
    sys.exit(77)

ROOT = pathlib.Path(__file__).resolve().parents[2]
SERVER = pathlib.Path(os.environ.get('MINTMARK_BUILD', ROOT / 'build')) / 'tests/interop/testserver'
TEST = '/grpc.testing.TestService/'
PROBE = '/mintmark.testing.Probe/'
PREFACE = b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'
LOOPBACK = x509.IPAddress(ipaddress.ip_address('127.0.0.1'))
WAIT_S = 20  # far more than anything takes, so that only a hang fails


def varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def field(number, value):
    """One protobuf field: bytes, or an unsigned integer."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def message(payload=b'', flag=0):
    return struct.pack('>BI', flag, len(payload)) + payload


def parse_all(data):
    """A serialised message as [(number, value)…]."""
    out, at = [], 0

    def number():
        nonlocal at
        value = shift = 0
        while True:
            value |= (data[at] & 0x7F) << shift
            shift += 7
            at += 1
            if data[at - 1] < 0x80:
                return value

    while at < len(data):
        tag = number()
        if tag & 7 == 0:
            out.append((tag >> 3, number()))
        else:
            assert tag & 7 == 2
            size = number()
            out.append((tag >> 3, data[at:at + size]))
            at += size
    return out


def parse(data):
    """A serialised message as {number: value}; the last of each."""
    return dict(parse_all(data))


class Pki:
    """A CA, and certificates from it, as PEM files in a folder."""

    def __init__(self, folder, name='ca'):
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.file = folder / f'{name}.pem'
        ca = self._build(self.name, self.key, 30).add_extension(
            x509.BasicConstraints(True, None), True).add_extension(
            x509.KeyUsage(key_cert_sign=True, crl_sign=True, digital_signature=False,
                          content_commitment=False, key_encipherment=False,
                          data_encipherment=False, key_agreement=False, encipher_only=False,
                          decipher_only=False), True)
        self._write(self.file, ca)

    def _build(self, subject, key, days):
        now = datetime.datetime.utcnow()
        return (x509.CertificateBuilder().subject_name(subject).issuer_name(self.name)
                .public_key(key.public_key()).serial_number(x509.random_serial_number())
                .not_valid_before(now - datetime.timedelta(days=60))
                .not_valid_after(now + datetime.timedelta(days=days))
                .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
                .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(
                    self.key.public_key()), False))

    def _write(self, path, builder):
        certificate = builder.sign(self.key, hashes.SHA256())
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def leaf(self, name, uri=None, server=False, days=30):
        """Returns (certificate file, key file)."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        names = [x509.DNSName('localhost'), LOOPBACK] if server else []
        names += [x509.UniformResourceIdentifier(uri)] if uri else []
        builder = self._build(subject, key, days).add_extension(
            x509.ExtendedKeyUsage([usage]), False)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), False)
        files = self.folder / f'{name}.crt', self.folder / f'{name}.key'
        self._write(files[0], builder)
        files[1].write_bytes(key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption()))
        return files


class Server:
    """The test server; use it in a with statement. The log is in .log()."""

    def __init__(self, *args):
        self.errors = tempfile.TemporaryFile('a+b')
        self.process = subprocess.Popen([SERVER, '--port', '0', *map(str, args)],
                                        stdout=subprocess.PIPE, stderr=self.errors)
        self.port = int(self.process.stdout.readline() or 0)
        self.metrics_port = 0
        if self.port and '--metrics-port' in args:
            self.metrics_port = int(self.process.stdout.readline())
        if not self.port:
            self.process.wait()
            self.process.stdout.close()
            log = self.log()
            self.errors.close()
            raise AssertionError(log)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            if self.process.poll() is None:
                self.stop()
        finally:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()
            self.errors.close()

    def stop(self):
        """Drains, and wants a clean end: a sanitizer's complaint is one, too."""
        self.process.send_signal(signal.SIGTERM)
        self.ended()

    def ended(self):
        code = self.process.wait(WAIT_S)
        assert code == 0, f'exit {code}\n{self.log()}'

    def logged(self, text):
        """Waits for it."""
        end = time.monotonic() + WAIT_S
        while text not in self.log():
            assert time.monotonic() < end, f'{text} not in {self.log()}'
            time.sleep(0.01)

    def log(self):
        self.errors.seek(0)
        return self.errors.read().decode()


def tls_context(ca, certificate=None):
    context = ssl.create_default_context(cafile=str(ca))
    if certificate:
        context.load_cert_chain(*certificate)
    context.set_alpn_protocols(['h2'])
    return context


class Raw:
    """HTTP/2 frames over a socket. Nothing is checked, and nothing is answered by itself."""

    def __init__(self, port, context=None, settings=None, preface=PREFACE, receive_buffer=None):
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(WAIT_S)
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder()
        self.buffer = b''
        self.next_stream = 1
        self.acknowledged = 0
        self.window = 65535  # of the connection
        try:
            self.socket.connect(('127.0.0.1', port))
            if context:
                self.socket = context.wrap_socket(self.socket, server_hostname='localhost')
            self.send(preface)
            self.frame(frames.SettingsFrame(0, settings=settings or {}))
        except OSError:
            self.socket.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def frame(self, *many):
        self.send(b''.join(f.serialize() for f in many))

    def raw_frame(self, kind, flags, stream, payload=b''):
        return struct.pack('>I', len(payload))[1:] + struct.pack('>BBI', kind, flags, stream) + payload

    def headers(self, path, extra=(), end=False, stream=None, **replace):
        """A request's HEADERS; method=…, content_type=… replace, None leaves out."""
        fields = {':method': 'POST', ':scheme': 'http', ':path': path, ':authority': 'localhost',
                  'te': 'trailers', 'content-type': 'application/grpc'}
        for name, value in replace.items():
            name = {'method': ':method', 'scheme': ':scheme'}.get(name, name.replace('_', '-'))
            fields[name] = value
        pairs = [(n, v) for n, v in fields.items() if v is not None] + list(extra)
        if stream is None:
            stream, self.next_stream = self.next_stream, self.next_stream + 2
        f = frames.HeadersFrame(stream, data=self.encoder.encode(pairs))
        f.flags.add('END_HEADERS')
        if end:
            f.flags.add('END_STREAM')
        self.frame(f)
        return stream

    def data(self, stream, payload=b'', end=False):
        f = frames.DataFrame(stream, data=payload)
        if end:
            f.flags.add('END_STREAM')
        self.window -= len(payload)
        self.frame(f)

    def initial_window(self):
        """Of the server's streams; acknowledges its SETTINGS, from when on they hold."""
        if not self.acknowledged:
            f = self.receive()
            assert isinstance(f, frames.SettingsFrame) and 'ACK' not in f.flags
            self.acknowledged = f.settings[frames.SettingsFrame.INITIAL_WINDOW_SIZE]
            self.frame(frames.SettingsFrame(0, flags=['ACK']))
        return self.acknowledged

    def upload(self, stream, body, end=True):
        """DATA within the server's windows. Stops when the server answers early, with HEADERS, and
        returns them."""
        own = self.initial_window()
        while body:
            while min(self.window, own) < 16384:
                f = self.receive()
                if isinstance(f, frames.WindowUpdateFrame) and f.stream_id == stream:
                    own += f.window_increment
                if isinstance(f, frames.HeadersFrame):
                    return dict(self.decoder.decode(f.data))
            part, body = body[:16384], body[16384:]
            own -= len(part)
            self.data(stream, part, end=end and not body)
        return None

    def call(self, path, body=message(), **headers):
        stream = self.headers(path, **headers)
        self.data(stream, body, end=True)
        return stream

    def receive(self):
        """The next frame; None when the server has closed."""
        while True:
            if len(self.buffer) >= 9:
                f, size = frames.Frame.parse_frame_header(memoryview(self.buffer[:9]))
                if len(self.buffer) >= 9 + size:
                    f.parse_body(memoryview(self.buffer[9:9 + size]))
                    self.buffer = self.buffer[9 + size:]
                    if isinstance(f, frames.WindowUpdateFrame) and f.stream_id == 0:
                        self.window += f.window_increment
                    return f
            try:
                got = self.socket.recv(65536)
            except (ConnectionResetError, ssl.SSLError):
                got = b''
            if not got:
                return None
            self.buffer += got

    def receive_one(self, kind):
        """The next frame of that class; the others are lost."""
        while True:
            f = self.receive()
            assert f is not None, 'closed'
            if isinstance(f, kind):
                return f

    def answer(self, stream):
        """All of a stream's response: (headers, trailers, data, how it ended). Trailers-Only has no
        headers. Gives windows back."""
        blocks, data, ended = [], b'', None
        while not ended:
            f = self.receive()
            if f is None:
                return self._blocks(blocks) + (data, 'closed')
            if isinstance(f, frames.HeadersFrame):
                block = joined(self.decoder.decode(f.data))
                if f.stream_id == stream:
                    blocks.append(block)
            if f.stream_id != stream:
                continue
            if isinstance(f, frames.DataFrame):
                data += f.data
                if f.data:
                    self.frame(frames.WindowUpdateFrame(0, window_increment=len(f.data)),
                               frames.WindowUpdateFrame(stream, window_increment=len(f.data)))
            if isinstance(f, frames.RstStreamFrame):
                ended = f'reset {f.error_code}'
            elif 'END_STREAM' in f.flags:
                ended = 'end'
        return self._blocks(blocks) + (data, ended)

    @staticmethod
    def _blocks(blocks):
        if len(blocks) == 1:
            return {}, blocks[0]
        return (blocks + [{}, {}])[0], (blocks + [{}, {}])[1]

    def goaway(self):
        """Reads on to GOAWAY; (code, debug data), or None if the server closed without."""
        while True:
            f = self.receive()
            if f is None:
                return None
            if isinstance(f, frames.GoAwayFrame):
                return f.error_code, bytes(f.additional_data)


def joined(fields):
    """Repeated fields as one, as RFC 9110 section 5.2 has it."""
    out = {}
    for name, value in fields:
        out[name] = f'{out[name]}, {value}' if name in out else value
    return out


def status_of(trailers):
    return int(trailers.get('grpc-status', -1))
