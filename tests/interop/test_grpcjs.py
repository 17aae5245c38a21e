#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""npm's grpc-js against the transport over TLS: grpcjs/cases.js. The package comes from npm's registry,
at the versions of grpcjs/package-lock.json, into the build folder, once. Skipped where there is no
node, no npm, or no way to the registry."""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

from harness import ROOT, Pki, Server

HERE = pathlib.Path(__file__).resolve().parent / 'grpcjs'
BUILD = pathlib.Path(os.environ.get('MINTMARK_BUILD', ROOT / 'build'))
INSTALL_S, RUN_S = 120, 120
# npm's words for "the registry cannot be reached, or does not give the packages, or shows a
# certificate that is not to be trusted".
NO_NETWORK = re.compile(r'\b(ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|'
                        r'EHOSTUNREACH|EIDLETIMEOUT|ERR_SOCKET_TIMEOUT|ENOTCACHED|E[45]\d\d|'
                        r'SELF_SIGNED_CERT_IN_CHAIN|DEPTH_ZERO_SELF_SIGNED_CERT|CERT_[A-Z_]+|'
                        r'UNABLE_TO_[A-Z_]+|ERR_TLS_[A-Z_]+)\b')


def skip(why):
    print(f'skipped: {why}')
    sys.exit(77)


def install():
    """Returns the folder below which node finds the package."""
    folder = BUILD / 'tests/interop/grpcjs'
    lock = (HERE / 'package-lock.json').read_bytes()
    done = folder / 'node_modules/.mintmark-installed'
    if done.exists() and done.read_bytes() == lock:
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    for name in 'package.json', 'package-lock.json', '.npmrc':
        shutil.copy(HERE / name, folder / name)
    try:
        run = subprocess.run(['npm', 'ci', '--ignore-scripts', '--no-audit', '--no-fund',
                              '--fetch-retries=1'], cwd=folder, timeout=INSTALL_S,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    except subprocess.TimeoutExpired:
        skip('npm did not get the packages in time')
    said = run.stdout.decode(errors='replace')
    if run.returncode != 0 and NO_NETWORK.search(said):
        skip(f'npm gets nothing from its registry: {NO_NETWORK.search(said).group(1)}')
    if run.returncode != 0:
        sys.exit(f'npm ci failed:\n{said}')
    done.write_bytes(lock)
    return folder


def main():
    for program in 'node', 'npm':
        if not shutil.which(program):
            skip(f'there is no {program} here (Debian: nodejs, npm)')
    version = subprocess.run(['node', '--version'], stdout=subprocess.PIPE, check=True).stdout.decode()
    if int(re.match(r'v(\d+)', version).group(1)) < 18:
        skip(f'node is {version.strip()}, and it takes 18')
    folder = install()
    shutil.copy(HERE / 'cases.js', folder / 'cases.js')  # node looks for packages beside the file
    with tempfile.TemporaryDirectory() as name:
        pki = Pki(pathlib.Path(name))
        cert, key = pki.leaf('server', server=True)
        with Server('--cert', cert, '--key', key) as server:
            run = subprocess.run(['node', folder / 'cases.js', str(server.port), pki.file,
                                  ROOT / 'tests/interop', ROOT / 'proto'], timeout=RUN_S, check=False)
            server.stop()
    sys.exit(1 if run.returncode else 0)


if __name__ == '__main__':
    main()
