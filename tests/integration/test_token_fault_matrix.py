#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What the service does when the token misbehaves: each C_ function that it calls, with each fault
that tests/faults/p11fault.c can make, in front of a real SoftHSM token.

For every pair: with the fault in force a station asks for devices, and gets good ones or a precise
refusal within its deadline, never a wrong device and never silence; then the fault goes, and the
same request is completed without a restart or any help within RECOVERY_S.

Without arguments one fault for each function; --all tries all of them, and --table FILE writes what
came of them as a table (docs/token-faults.md).
"""
import argparse
import os
import pathlib
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'support'))

import token_kind  # noqa: E402

token_kind.only_softhsm('the module that misbehaves has SoftHSM behind it')
from service_site import BUILD, Client, Refused, types_pb2  # noqa: E402
from site_under_test import Site  # noqa: E402

try:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
except ImportError as missing:
    print(f'skipped: {missing}')
    sys.exit(77)

MODULE = BUILD / 'tests/faults/p11fault.so'
JOB_TIMEOUT_MS = 1500
DEADLINE_S = 12
RECOVERY_S = 20  # a module that hangs when it is loaded is given up after 15
HIT_S = 15  # until the function is called
DEVICES = 3

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
        'C_GetSlotList': ('short',), 'C_GetMechanismInfo': ('lie',)}
LIE_TEXTS = {('C_Sign', 'lie'): 'wrong signature', ('C_GenerateRandom', 'lie'): 'zeros',
             ('C_GetAttributeValue', 'lie'): 'point off the curve',
             ('C_GenerateKeyPair', 'repeat'): 'same key again', ('C_FindObjects', 'lie'): 'nothing found',
             ('C_GetMechanismInfo', 'lie'): 'no rights', ('C_GetSlotList', 'short'): 'no slot'}
# What a worker calls when it starts, and what for each device.
AT_START = ('C_Initialize', 'C_GetSlotList', 'C_GetTokenInfo', 'C_GetMechanismInfo', 'C_OpenSession',
            'C_Login', 'C_FindObjectsInit', 'C_FindObjects', 'C_FindObjectsFinal')
PER_DEVICE = ('C_GenerateRandom', 'C_GenerateKeyPair', 'C_GetAttributeValue', 'C_SignInit', 'C_Sign',
              'C_WrapKey', 'C_DestroyObject')


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
        text = self.site.conf.read_text()
        module = text.split("module = '", 1)[1].split("'", 1)[0]
        text = text.replace(f"module = '{module}'", f"module = '{MODULE}'\n    job_timeout_ms = {JOB_TIMEOUT_MS}")
        text = text.replace("environment = {'", f"environment = {{'MM_FAULT_MODULE={module}', "
                            f"'MM_FAULT_RULES={self.rules}', 'MM_FAULT_CALLS={self.calls}', '")
        self.site.conf.write_text(text)
        self.keys = {}  # public key → request that it came in
        self.request = 0

    def __enter__(self):
        self.site.start()
        self.site.add_order('order', 100000)
        self.client = self.connect()
        self.batch = self.site.open_batch(100000, order='order')
        self.pai = x509.load_pem_x509_certificate((self.site.dir / 'ca/pai.pem').read_bytes())
        return self

    def connect(self):
        users = type('Users', (), {'dir': self.site.dir / 'tls', 'port': self.site.port})
        return Client(users, 'station')

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
        bundles = self.client.provision(self.batch, DEVICES, request_id, timeout=timeout)
        if len(bundles) != DEVICES:
            raise Trouble(f'{len(bundles)} devices for {DEVICES}')
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
        for pid in self.site.processes().get('mintmark-token', ()):
            os.kill(pid, signal.SIGKILL)

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
        while True:
            answer = self.attempt(request_id)
            if function in self.called():
                return answer if answer == 'devices' else self.attempt(request_id)
            if time.monotonic() > end:
                raise Trouble(f'the function is not called: {answer}')
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
        self.calls.unlink(missing_ok=True)
        self.set_fault(f'{function}={fault}')
        if function in AT_START:
            self.kill_workers()
        try:
            answer = self.suffer(function, request_id)
        finally:
            self.set_fault(None)
        recovery = self.recover(request_id)
        return answer, recovery


def write_table(path, rows):
    head = ('# What the service does when the token misbehaves\n\n'
            'Made by `tests/integration/test_token_fault_matrix.py --all --table docs/token-faults.md`, with\n'
            'a real SoftHSM token behind a module that misbehaves on demand. A station asks for devices\n'
            f'while every call of the function fails so; its deadline is {DEADLINE_S} s, a job of the token\n'
            f'may take {JOB_TIMEOUT_MS / 1000} s. Then the fault goes, and the time is taken until the same\n'
            'request is complete, without anybody doing anything.\n\n'
            '| Function | Fault | The station gets | Works again after |\n|---|---|---|---|\n')
    lines = [f'| {f} | {text_of(f, x)} | {answer} | {recovery:.1f} s |\n' for f, x, answer, recovery in rows]
    pathlib.Path(path).write_text(head + ''.join(lines), encoding='utf-8')


def chosen(every):
    """All pairs, or for each function one of its faults, from the last on: its lies first."""
    for i, function in enumerate(AT_START + PER_DEVICE):
        faults = faults_of(function)
        yield from ((function, fault) for fault in (faults if every else [faults[-1 - 5 * i % len(faults)]]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--all', action='store_true', help='every function with every fault')
    parser.add_argument('--only', help='FUNCTION or FUNCTION=FAULT')
    parser.add_argument('--table', help='file for the table')
    args = parser.parse_args()
    rows, bad = [], 0
    with Bench() as bench:
        for function, fault in chosen(args.all or args.only):
            if args.only and args.only not in (function, f'{function}={fault}'):
                continue
            try:
                rows.append((function, fault, *bench.run(function, fault)))
                print(f'{function} {text_of(function, fault)}: {rows[-1][2]}, {rows[-1][3]:.2f} s', flush=True)
            except Trouble as trouble:
                bad += 1
                print(f'FAILED {function} {text_of(function, fault)}: {trouble}', flush=True)
    if args.table:
        write_table(args.table, rows)
    print(f'RESULT pairs={len(rows) + bad} failed={bad} '
          f'recovery_max_s={max((r[3] for r in rows), default=0):.2f}')
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main())
