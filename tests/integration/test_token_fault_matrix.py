#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What mintmark does when the token misbehaves: each C_ function that it calls, with each fault that
tests/faults/p11fault.c can make, in front of the real token that MINTMARK_TEST_TOKEN names.

What the service calls: with the fault in force a station asks for devices, and gets good ones or a
precise refusal within its deadline, never a wrong device and never silence; then the fault goes, and the
same request is completed without a restart or any help within RECOVERY_S.

What only an officer's commands call: the command says what went wrong and which function it was; then the
fault goes, and the command is given again.

Without arguments one fault for each function; --all tries all of them, and --table FILE writes what
came of them into that token's column of a table (docs/token-faults.md), whose other columns stay.
"""
import argparse
import contextlib
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'support'))


def arguments():
    """The table is opened here, to be read and written at the end: a token may make root become nobody."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--all', action='store_true', help='every function with every fault')
    parser.add_argument('--only', action='append', help='FUNCTION or FUNCTION=FAULT; may be given again')
    parser.add_argument('--table', help='file whose table gets the answers')
    args = parser.parse_args()
    args.table = args.table and open(args.table, 'a+', encoding='utf-8')
    return args


ARGS = arguments() if __name__ == '__main__' else None

import token_kind  # noqa: E402

import officer_site  # noqa: E402
import test_officer_package  # noqa: E402
from service_site import BUILD, Client, Refused, types_pb2  # noqa: E402
from site_under_test import OFFICER, Site  # noqa: E402

try:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
except ImportError as missing:
    print(f'skipped: {missing}')
    sys.exit(77)

MODULE = BUILD / 'tests/faults/p11fault.so'
JOB_TIMEOUT_MS = 1500
DEADLINE_S = 12
# A module that hangs when it is loaded is given up after 15. The others' logins take their time.
RECOVERY_S = 20 if token_kind.KIND == 'softhsm' else 40
HIT_S = 40  # until the function is called
# So few that a token which takes 300 ms a call makes them in time; but a worker draws random bytes for 56 in
# one call, and would not come to the next.
DEVICES, DEVICES_OF_RANDOM = 3, 60

# One CK_RV of each class of errors (pkcs11/error.c), and what it stands for.
RETURNS = {'0x31': 'CKR_DEVICE_MEMORY', '0xb3': 'CKR_SESSION_HANDLE_INVALID',
           '0x101': 'CKR_USER_NOT_LOGGED_IN', '0x30': 'CKR_DEVICE_ERROR',
           '0xe0': 'CKR_TOKEN_NOT_PRESENT', '0x5': 'CKR_GENERAL_ERROR',
           '0x70': 'CKR_MECHANISM_INVALID', '0x80000001': 'CKR_VENDOR_DEFINED'}
STATES = {'hang': 'hangs', 'crash': 'crashes', 'delay:300': 'takes 300 ms', 'sessions': 'sessions dropped',
          'login': 'logged out', 'removed': 'token removed', 'forget': 'objects forgotten'}
LIES = {'C_Sign': ('lie', 'short', 'long'), 'C_WrapKey': ('short', 'long'),
        'C_GenerateRandom': ('lie',), 'C_GetAttributeValue': ('lie', 'short', 'long'),
        'C_GenerateKeyPair': ('repeat',), 'C_FindObjects': ('lie', 'long'),
        'C_GetSlotList': ('short',), 'C_GetMechanismInfo': ('lie',), 'C_Decrypt': ('lie', 'short')}
LIE_TEXTS = {('C_Sign', 'lie'): 'wrong signature', ('C_GenerateRandom', 'lie'): 'zeros',
             ('C_GetAttributeValue', 'lie'): 'point off the curve',
             ('C_GenerateKeyPair', 'repeat'): 'same key again', ('C_FindObjects', 'lie'): 'nothing found',
             ('C_GetMechanismInfo', 'lie'): 'no rights', ('C_Decrypt', 'lie'): 'wrong key', ('C_GetSlotList', 'short'): 'no slot'}
# What a worker calls when it starts, what for each device or job, and what when it ends.
AT_START = ('C_Initialize', 'C_GetSlotList', 'C_GetTokenInfo', 'C_GetMechanismInfo', 'C_OpenSession',
            'C_Login', 'C_FindObjectsInit', 'C_FindObjects', 'C_FindObjectsFinal', 'C_CreateObject')
PER_DEVICE = ('C_GenerateRandom', 'C_GenerateKeyPair', 'C_GetAttributeValue', 'C_SignInit', 'C_Sign',
              'C_WrapKey', 'C_DestroyObject')
AT_END = ('C_Logout', 'C_CloseSession', 'C_Finalize')
# What nothing but an officer's command calls, and the command.
OFFICERS = {'C_InitToken': 'token init', 'C_InitPIN': 'token init', 'C_SetPIN': 'token pin',
            'C_GenerateKey': 'key create', 'C_UnwrapKey': 'token test', 'C_DeriveKey': 'token test',
            'C_DecryptInit': 'package import', 'C_Decrypt': 'package import'}
# Functions that are not called on this token, and why.
NOT_CALLED = {
    'softokn': {'C_InitToken': 'a token of NSS is never initialised',
                'C_DecryptInit': 'no packages with NSS', 'C_Decrypt': 'no packages with NSS'}}
NAMES = {'softhsm': 'SoftHSM', 'softokn': 'NSS softokn', 'proxy': 'p11-kit-proxy'}


def faults_of(function):
    return [*RETURNS, *STATES, *LIES.get(function, ())]


def text_of(function, fault):
    return RETURNS.get(fault) or STATES.get(fault) or LIE_TEXTS.get((function, fault)) or \
        {'short': 'a byte too short', 'long': 'a byte too long'}[fault]


class Trouble(Exception):
    """The service did not do as it should."""


class Bench:
    """A site whose token is behind p11fault."""

    def __init__(self):
        self.site = Site(workers=1)
        self.client = None
        self.rules = self.site.base / 'rules'
        self.calls = self.site.base / 'calls'
        text = token_kind.behind(self.site.conf.read_text(), MODULE, MM_FAULT_RULES=self.rules,
                                 MM_FAULT_CALLS=self.calls)
        self.site.conf.write_text(text.replace("    module = '", f"    job_timeout_ms = {JOB_TIMEOUT_MS}\n"
                                               "    module = '"))
        self.keys = {}  # public key → request that it came in
        self.request = 0
        self.devices = DEVICES  # of each request

    def __enter__(self):
        self.site.start()
        self.site.add_order('order', 100000)
        self.client = self.connect()
        self.batch = self.site.open_batch(100000, order='order')
        self.pai = x509.load_pem_x509_certificate((self.site.dir / 'ca/pai.pem').read_bytes())
        return self

    def connect(self, name='station'):
        users = type('Users', (), {'dir': self.site.dir / 'tls', 'port': self.site.port})
        return Client(users, name)

    def __exit__(self, *exc):
        if self.client:
            self.client.channel.close()
        self.site.__exit__(*exc)

    def set_fault(self, rules):
        if rules is None:
            self.rules.unlink(missing_ok=True)
            return
        new = self.rules.with_suffix('.new')
        new.write_text(rules)
        new.replace(self.rules)

    def called(self):
        return self.calls.read_text().split() if self.calls.exists() else []

    def provision(self, request_id, timeout):
        """The devices' bundles, each looked at."""
        bundles = self.client.provision(self.batch, self.devices, request_id, timeout=timeout)
        if len(bundles) != self.devices:
            raise Trouble(f'{len(bundles)} devices for {self.devices}')
        for bundle in bundles:
            self.check(types_pb2.Bundle.FromString(bundle), request_id)

    def check(self, bundle, request_id):
        certificate = x509.load_der_x509_certificate(bundle.certificate)
        key = certificate.public_key()
        self.pai.public_key().verify(certificate.signature, certificate.tbs_certificate_bytes,
                                     ec.ECDSA(certificate.signature_hash_algorithm))
        point = key.public_numbers()
        if self.keys.setdefault((point.x, point.y), request_id) != request_id:
            raise Trouble('a key came twice')

    def kill_workers(self):
        """Those that the service knows: whoever is not root sees no worker's program."""
        with self.connect('officer') as officer:
            workers = officer.call('OfficerService', 'GetStatus').workers
        for worker in workers:
            if worker.name.startswith('token') and worker.pid:
                with contextlib.suppress(ProcessLookupError):  # it is being started again
                    os.kill(worker.pid, signal.SIGKILL)

    def attempt(self, request_id):
        """What a station is answered."""
        began = time.monotonic()
        try:
            self.provision(request_id, DEADLINE_S)
            return 'devices'
        except Refused as error:
            took = time.monotonic() - began
            if took > DEADLINE_S + 1:
                raise Trouble(f'an answer after {took:.1f} s') from None
            return f'{error.code.name} {error.reason}'.strip()

    def suffer(self, function, request_id):
        """What a station is answered once the fault has come to pass."""
        end = time.monotonic() + HIT_S
        again = time.monotonic() + HIT_S / 4
        while True:
            answer = self.attempt(request_id)
            if function in self.called():
                return answer if answer == 'devices' else self.attempt(request_id)
            if time.monotonic() > end:
                raise Trouble(f'the function is not called: {answer}')
            if function in AT_END and time.monotonic() > again:
                again = time.monotonic() + HIT_S / 4  # a worker that was only just starting did not come so far
                self.site.daemon.send_signal(signal.SIGHUP)
            time.sleep(0.05)

    def recover(self, request_id):
        """Seconds until the same request is complete, and the token makes more."""
        began = time.monotonic()
        while True:
            try:
                self.provision(request_id, 10)
                self.provision(f'{request_id}-more', 10)
                return time.monotonic() - began
            except Refused as error:
                if time.monotonic() - began > RECOVERY_S:
                    raise Trouble(f'no recovery: {error}') from None
                time.sleep(0.05)

    def run(self, function, fault):
        """What the station is answered with the fault in force, and seconds until all is well without it."""
        self.request += 1
        request_id = f'request-{self.request}'
        self.devices = DEVICES_OF_RANDOM if function == 'C_GenerateRandom' else DEVICES
        self.calls.unlink(missing_ok=True)
        self.set_fault(f'{function}={fault}')
        if function in AT_START:
            self.kill_workers()
        if function in AT_END:
            self.site.daemon.send_signal(signal.SIGHUP)
        try:
            answer = self.suffer(function, request_id)
        finally:
            self.set_fault(None)
        recovery = self.recover(request_id)
        return f'{answer}, {recovery:.1f} s', recovery


class Ceremonies:
    """Officers' commands on sites whose tokens are behind p11fault; a site for each pair."""

    COMMAND_S = 60  # far more than any takes that does not hang

    def __init__(self):
        self.packages, self.sealed = None, 0  # one site for all packages: its RSA key takes long to make

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if self.packages:
            self.packages.doCleanups()

    def package(self):
        """The site for packages, and the arguments to import one more."""
        if not self.packages:
            self.packages = test_officer_package.Rsa()
            self.packages.setUp()
            self.fail_at_will(self.packages)
        self.sealed += 1
        site = self.packages
        site.seal(site.content(site.item('data', f'd{self.sealed}', b'x'), id=f'p{self.sealed}'))
        return site, ['--in', site.file]

    @staticmethod
    def fail_at_will(site):
        site.conf.write_text(token_kind.behind(site.conf.read_text(), MODULE, MM_FAULT_RULES=site.dir / 'rules',
                                               MM_FAULT_CALLS=site.dir / 'calls'))

    def site(self, command):
        """A site as the command wants it, as those of test_officer*.py have it; and the command's arguments."""
        if command == 'package import':
            return self.package()
        site = officer_site.Base()
        site.setUp()
        for name, pin in (('so.pin', officer_site.SO_PIN), ('user.pin', officer_site.USER_PIN), ('new.pin', 'new-secret-1')):
            site.secret(name, pin)
        if command != 'token init':
            site.init()
        self.fail_at_will(site)
        return site, {'token init': ['--label', 'test', '--so-pin-file', site.dir / 'so.pin', '--pin-file',
                                     site.dir / 'user.pin'],
                      'token pin': ['--new-pin-file', site.dir / 'new.pin'],
                      'key create': ['--use', 'transport', '--label', 'made'], 'token test': []}[command]

    def interrupt(self, child, calls, function):
        """Once it has called that function, and does not end."""
        end = time.monotonic() + self.COMMAND_S
        while not (calls.exists() and function in calls.read_text().split()) and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(1)
        if child.poll() is not None:
            raise Trouble('it ends, though the module hangs')
        child.send_signal(signal.SIGINT)

    def give(self, site, command, arguments, hangs=None):
        """Exit status and last words of the command; of one that is to hang in this function, that it does."""
        ceremony = [] if command == 'token test' else ['--operator', 'A', '--witness', 'B', '--yes',
                                                       '--transcript', site.dir / 'matrix.txt']
        words = [OFFICER, *command.split(), '--config', site.conf, *arguments, *ceremony]
        with subprocess.Popen(list(map(str, words)), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, cwd=site.dir) as child:
            if hangs:
                self.interrupt(child, site.dir / 'calls', hangs)
            out, err = child.communicate(timeout=self.COMMAND_S)
        if hangs:
            return None, 'waits until it is interrupted'
        failed = [line for line in out.splitlines() if re.search(r'\b(FAILED|failed)\b', line)]
        said = (failed or err.strip().splitlines() or [''])[-1].replace('mintmark-officer: ', '')
        return child.returncode, re.sub(r' (?= )| \(serial \w+\)', '', said.replace(f'{site.dir}/', ''))

    def run(self, function, fault):
        command = OFFICERS[function]
        site, arguments = self.site(command)
        try:
            return self.judge(site, command, arguments, function, fault), 0.0
        finally:
            if site is not self.packages:
                site.doCleanups()

    def judge(self, site, command, arguments, function, fault):
        rules, calls = site.dir / 'rules', site.dir / 'calls'
        calls.unlink(missing_ok=True)
        rules.write_text(f'{function}={fault}')
        status, said = self.give(site, command, arguments, hangs=function if fault == 'hang' else None)
        if not calls.exists() or function not in calls.read_text().split():
            raise Trouble(f'the function is not called: {status} {said}')
        if status == 0 and fault in RETURNS and command != 'token test':
            raise Trouble(f'as if nothing were wrong: {said}')
        rules.unlink()
        answer = 'done' if status == 0 else said if status is None else f'ends by signal {-status}' if status < 0 \
            else f'exit {status}: {said}'
        if status == 0:
            return answer
        again, said = self.give(site, command, arguments)
        return f'{answer}; again: ' + ('done' if again == 0 else f'exit {again}: {said}')


HEAD = f"""# What mintmark does when the token misbehaves

Made by `tests/integration/test_token_fault_matrix.py --all --table docs/token-faults.md` with
`MINTMARK_TEST_TOKEN` as `softhsm`, `softokn` and `proxy`, each of which fills in its own column: a real
token behind a module that misbehaves on demand. For p11-kit-proxy that module is behind the proxy, in
front of SoftHSM. A check of the source tree holds the rows against the functions that the code calls.

## A station

A station asks for devices while every call of the function fails so; its deadline is {DEADLINE_S} s, a job
of the token may take {JOB_TIMEOUT_MS / 1000} s. Then the fault goes, and the time is taken until the same request is
complete, without anybody doing anything; on a machine that is busy with other things it is longer. What a
worker calls when it ends ({', '.join(AT_END)}) fails while the service is told to
start its workers anew.

"""
OFFICERS_HEAD = """
## An officer

What only an officer's commands call. The command is given while every call of the function fails so, and
given again when the fault has gone. A command has no deadline: an officer who sees it hang interrupts it.

"""


def read_table(file):
    """(function, fault) → column → cell, as the table has them by now."""
    cells, columns = {}, []
    file.seek(0)
    for line in file.read().splitlines():
        row = [cell.strip() for cell in line.strip('|').split('|')] if line.startswith('|') else []
        if row[:2] == ['Function', 'Fault']:
            columns = row[2:]
        elif row and not row[0].startswith('-'):
            cells[row[0], row[1]] = dict(zip(columns, row[2:]))
    return cells


def lines_of(functions, cells, command=False):
    more = ['Command'] if command else []
    columns = [*more, *NAMES.values()]
    yield '| ' + ' | '.join(['Function', 'Fault', *columns]) + ' |\n' + '|---' * (2 + len(columns)) + '|\n'
    for function in functions:
        for fault in faults_of(function):
            row = cells.get((function, text_of(function, fault)), {})
            row = {**row, 'Command': f'`{OFFICERS.get(function)}`'}
            yield '| ' + ' | '.join([function, text_of(function, fault),
                                      *(row.get(c, 'not tried') for c in columns)]) + ' |\n'


def write_table(file, rows):
    cells = read_table(file)
    for function, why in NOT_CALLED.get(token_kind.KIND, {}).items():
        rows = rows + [(function, fault, why, 0) for fault in faults_of(function)]
    for function, fault, answer, _ in rows:
        cells.setdefault((function, text_of(function, fault)), {})[NAMES[token_kind.KIND]] = answer
    file.truncate(0)
    file.write(HEAD + ''.join(lines_of(AT_START + PER_DEVICE + AT_END, cells)) + OFFICERS_HEAD +
               ''.join(lines_of(OFFICERS, cells, command=True)))
    file.close()


def chosen(functions, every):
    """All pairs, or for each function one of its faults, from the last on: its lies first."""
    for i, function in enumerate(functions):
        if function in NOT_CALLED.get(token_kind.KIND, {}):
            continue
        faults = faults_of(function)
        yield from ((function, fault) for fault in (faults if every else [faults[-1 - 5 * i % len(faults)]]))


def tried(bench, functions, args):
    """(function, fault, answer, seconds) of each pair, or the trouble that there was, which is printed."""
    for function, fault in chosen(functions, args.all or args.only):
        if args.only and not {function, f'{function}={fault}'} & set(args.only):
            continue
        try:
            answer, seconds = bench.run(function, fault)
            print(f'{function} {text_of(function, fault)}: {answer}', flush=True)
            yield function, fault, answer, seconds
        except Trouble as trouble:
            print(f'FAILED {function} {text_of(function, fault)}: {trouble}', flush=True)
            yield function, fault, None, 0


def main(args):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # or commands ignore it, in the background
    rows = []
    try:
        for make, functions in ((Ceremonies, tuple(OFFICERS)), (Bench, AT_START + PER_DEVICE + AT_END)):
            if not args.only or {only.partition('=')[0] for only in args.only} & set(functions):
                with make() as bench:
                    rows.extend(tried(bench, functions, args))
    finally:
        bad = sum(answer is None for _, _, answer, _ in rows)
        rows = [row for row in rows if row[2] is not None]
        if args.table:
            write_table(args.table, rows)
    print(f'RESULT token={token_kind.KIND} pairs={len(rows) + bad} failed={bad} '
          f'recovery_max_s={max((r[3] for r in rows), default=0):.2f}')
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main(ARGS))
