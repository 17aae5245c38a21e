# SPDX-License-Identifier: Apache-2.0
"""What the tests of mintmark-officer share: a site in a temporary folder with a real token,
the tool in scripts, and the tool on a terminal."""
import codecs
import json
import os
import pathlib
import pty
import re
import select
import shutil
import subprocess
import sys
import tempfile
import termios
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get('MINTMARK_BUILD', ROOT / 'build'))
OFFICER = BUILD / 'tools/officer/mintmark-officer'
sys.path.insert(0, str(ROOT / 'tests/support'))
import token_kind  # noqa: E402

MODULE = token_kind.MODULE
SO_PIN, USER_PIN = 'so-secret-4711', 'user-secret-0815'

CONF = """\
site = 'test'
listen {{ certificate = 'tls.pem' key = 'tls.key' client_ca = 'tls.pem' }}
store {{ path = 'm.db' }}
token 'main' {{
    {token}
    # Which token, and what its module needs: tests/support/token_kind.py.
    # A test counts the lines of this file.
    pin_file = 'user.pin'
}}
transport 'line' {{ token = 'main' key = 'pkcs11:object=transport' }}
issuer 'pai' {{ token = 'main' key = 'pkcs11:object=pai' certificate = 'pai.pem' }}
profile 'dac' {{
    preset = 'matter-dac'
    issuer = 'pai'
    vid = 'FFF1'
    pid = '8000'
    transport = 'line'
}}
"""


def openssl(*args, data=None):
    done = subprocess.run(['openssl', *map(str, args)], input=data, capture_output=True, timeout=60)
    if done.returncode != 0:
        raise AssertionError(f'openssl {args}: {done.stderr.decode()}')
    return done.stdout


class Terminal:
    """The tool on a terminal of its own: says what it showed, and types answers."""

    def __init__(self, *args):
        self.text = ''
        self.decoder = codecs.getincrementaldecoder('utf-8')()  # a read may end within a character
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execv(OFFICER, [str(OFFICER), *map(str, args)])

    def expect(self, pattern, seconds=30):
        end = time.monotonic() + seconds
        seen = len(self.text)
        while not (found := re.search(pattern, self.text[self.mark:])):
            ready = select.select([self.fd], [], [], max(0, end - time.monotonic()))[0]
            data = b''
            if ready:
                try:
                    data = os.read(self.fd, 4096)
                except OSError:  # the other side is closed
                    pass
            if not data:
                raise AssertionError(f'{pattern!r} never came, only: {self.text[seen:]!r}')
            self.text += self.decoder.decode(data)
        # What came with it may be what is expected next.
        self.mark += found.end()

    mark = 0

    def type(self, line):
        os.write(self.fd, line.encode() + b'\n')

    def echoes(self):
        return bool(termios.tcgetattr(self.fd)[3] & termios.ECHO)

    def end(self):
        """The rest of the output, and the exit status."""
        while True:
            try:
                data = os.read(self.fd, 4096)
            except OSError:
                break
            if not data:
                break
            self.text += self.decoder.decode(data)
        status = os.waitpid(self.pid, 0)[1]
        os.close(self.fd)
        return os.waitstatus_to_exitcode(status)


class Base(unittest.TestCase):
    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix='mintmark-officer.'))
        self.addCleanup(shutil.rmtree, self.dir)
        self.conf = self.dir / 'mintmark.conf'
        self.token = token_kind.prepare(self.dir, 'test')
        self.conf.write_text(CONF.format(token=self.token))
        self.said = ''  # everything that any command of this test showed

    def secret(self, name, text):
        path = self.dir / name
        path.write_text(text + '\n')
        path.chmod(0o600)
        return path

    def run_officer(self, *args, status=0, config=True, **kwargs):
        """A scripted command, without a terminal; (stdout, stderr)."""
        command = [OFFICER, *args]
        if config:
            command += ['--config', self.conf]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60,
                              stdin=subprocess.DEVNULL, start_new_session=True, **kwargs)
        self.said += done.stdout + done.stderr
        self.assertEqual(done.returncode, status, f'{args}\n{done.stdout}{done.stderr}')
        if status:
            errors = [line for line in done.stderr.splitlines()
                      if line.startswith('mintmark-officer: ')]
            self.assertEqual(len(errors), 1, done.stderr)
        return done.stdout, done.stderr

    def ceremony(self, *args, status=0):
        return self.run_officer(*args, '--operator', 'Alice', '--witness', 'Bob', '--yes',
                                '--transcript', self.dir / 'ceremony.txt', status=status)

    def data(self, *args, **kwargs):
        return json.loads(self.run_officer(*args, '--json', **kwargs)[0])

    def init(self):
        self.secret('so.pin', SO_PIN)
        self.secret('user.pin', USER_PIN)
        self.ceremony('token', 'init', '--label', 'test', '--so-pin-file', self.dir / 'so.pin',
                      '--pin-file', self.dir / 'user.pin')

    def make_root(self, *args, out='paa.pem', label='paa', status=0):
        return self.ceremony('ca', 'create-root', '--label', label, '--create-key', '--preset',
                             'matter-paa', '--vid', 'FFF1', '--subject', 'CN=Test PAA,VID=${vid}',
                             '--out', self.dir / out, *args, status=status)

    def make_sub(self, *args, out='pai.pem', label='pai', status=0):
        return self.ceremony('ca', 'create-sub', '--label', label, '--create-key', '--preset',
                             'matter-pai', '--vid', 'FFF1', '--subject', 'CN=Test PAI,VID=${vid}',
                             '--parent-label', 'paa', '--parent-certificate', self.dir / 'paa.pem',
                             '--out', self.dir / out, *args, status=status)

    def assert_no_token(self):
        if token_kind.KIND == 'softokn':  # which makes its files as soon as it is looked at
            self.secret('user.pin', USER_PIN)
            self.run_officer('token', 'status', status=1)
        else:
            self.assertEqual(list((self.dir / 'tokens').iterdir()), [])

    def key_labels(self):
        return sorted(key['label'] for key in self.data('key', 'list')['keys'])

    def transcript(self):
        return (self.dir / 'ceremony.txt').read_text()
