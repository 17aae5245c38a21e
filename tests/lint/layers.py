#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Who may include whom: docs/architecture.md's rule, as a list of what each folder may include.

usage: layers.py SOURCE_ROOT
"""
import re
import sys

from common import Report, files, read, without_comments

# Generated from proto/, included by their place below it.
MESSAGES = ('mintmark/v1/', 'internal/', 'google/', 'grpc/')
# Every library that the build knows, by the beginning of its headers' names.
LIBRARIES = ('openssl/', 'p11-kit/', 'sqlite3.h', 'libpq-fe.h', 'curl/', 'nghttp2/', 'uv.h',
             'protobuf-c/', 'confuse.h', 'jansson.h', 'zlib.h', 'seccomp.h', 'check.h',
             'systemd/', 'libgfshare.h')

# Longest match wins. Own folder always; the libraries are those of this folder alone.
RULES = {
    'daemon/base/': ([], []),
    'proto/': (['daemon/base/'], ['protobuf-c/', 'zlib.h']),
    'pkcs11/': (['daemon/base/'], ['p11-kit/', 'openssl/', 'jansson.h']),
    'daemon/conf/': (['daemon/base/'], ['confuse.h']),
    'daemon/pki/': (['daemon/base/', 'daemon/conf/'], ['openssl/']),
    'daemon/document/': (['daemon/base/', 'daemon/pki/', 'proto/'], ['protobuf-c/', 'openssl/']),
    'daemon/provider/': (['daemon/base/'], ['openssl/']),
    'daemon/ipc/': (['daemon/base/', 'daemon/conf/', 'proto/'],
                    ['protobuf-c/', 'seccomp.h', 'uv.h', 'openssl/']),
    'daemon/token/': (['daemon/base/', 'daemon/conf/', 'daemon/document/', 'daemon/ipc/', 'daemon/pki/', 'pkcs11/',
                       'proto/'], ['protobuf-c/', 'openssl/']),
    'daemon/store/': (['daemon/base/', 'daemon/conf/', 'daemon/document/', 'daemon/ipc/', 'daemon/pki/',
                       'proto/'],
                      ['protobuf-c/', 'sqlite3.h', 'openssl/']),
    'daemon/issuer/': (['daemon/base/', 'daemon/conf/', 'daemon/ipc/', 'daemon/pki/',
                        'daemon/provider/', 'proto/'],
                       ['protobuf-c/', 'openssl/', 'curl/', 'jansson.h']),
    'daemon/front/': (['daemon/base/', 'daemon/conf/', 'daemon/document/', 'daemon/ipc/',
                       'daemon/pki/', 'proto/'],
                      ['protobuf-c/', 'openssl/', 'nghttp2/', 'uv.h', 'zlib.h']),
    'client/': (['daemon/base/', 'proto/'],
                ['protobuf-c/', 'openssl/', 'nghttp2/', 'jansson.h', 'zlib.h', 'confuse.h']),
    'tools/': (['daemon/base/', 'daemon/conf/', 'daemon/document/', 'daemon/pki/',
                'daemon/provider/', 'pkcs11/', 'proto/', 'client/'],
               ['protobuf-c/', 'openssl/', 'jansson.h', 'libgfshare.h']),
    # The yardstick is PKCS#11 without our token layer.
    'tools/benchmarks/': (['daemon/base/', 'daemon/store/', 'client/'], ['p11-kit/', 'openssl/']),
    # The verifier trusts, and shares, nothing but what protoc-c makes of proto/mintmark/v1.
    'tools/verify/': ([], ['openssl/', 'jansson.h', 'protobuf-c/']),
}
FREE = ('tests/',)


def rule_for(name):
    folders = [f for f in RULES if name.startswith(f)]
    return max(folders, key=len) if folders else None


def check(report, name, line, bracket, header):
    folder = rule_for(name)
    may, libraries = RULES[folder]
    if bracket == '<':
        if header.startswith(LIBRARIES) and not header.startswith(tuple(libraries)):
            report.bad(f'{name}:{line}', f'{folder} must not use <{header}>')
        return
    if header.startswith(MESSAGES) and header.endswith('.pb-c.h'):
        allowed = 'proto/' in may or folder == 'proto/' or (
            folder == 'tools/verify/' and header.startswith('mintmark/v1/'))
        if not allowed:
            report.bad(f'{name}:{line}', f'{folder} must not include messages: "{header}"')
        return
    if not header.startswith(tuple(may + [folder])):
        report.bad(f'{name}:{line}', f'{folder} must not include "{header}"')


def main(root):
    report = Report('layers')
    names = [n for n in files(root, '.c', '.h') if not n.startswith(FREE)]
    for name in names:
        if not rule_for(name):
            report.bad(name, 'no rule for this folder: add it to tests/lint/layers.py')
            continue
        kept = without_comments(read(root, name)).splitlines()
        for number, (text, code) in enumerate(zip(read(root, name).splitlines(), kept), 1):
            m = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', text)
            if m and code.lstrip().startswith('#'):
                check(report, name, number, *m.groups())
    report.end(len(names))


main(sys.argv[1])
