#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""docs/examples/station.py, as docs/integration.md tells to run it: with Debian's python3-grpcio, and
nothing generated but what protoc makes from our .proto files."""
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tests/support'))

import token_kind  # noqa: E402, F401  first: it may become another user
from site_under_test import Site, run  # noqa: E402

PYTHON = '/usr/bin/python3'  # Debian's, which has Debian's grpcio
COUNT = 100


def main():
    if subprocess.run([PYTHON, '-c', 'import grpc, google.protobuf'], stderr=subprocess.DEVNULL,
                      stdout=subprocess.DEVNULL).returncode != 0:
        print('skipped: python3-grpcio or python3-protobuf is missing')
        sys.exit(77)
    with tempfile.TemporaryDirectory(prefix='mintmark-station-') as api, Site() as site:
        run('protoc', f'--proto_path={ROOT}/proto', f'--python_out={api}',
            'mintmark/v1/types.proto', 'mintmark/v1/station.proto', 'google/rpc/status.proto')
        site.start()
        site.add_order('example', COUNT)
        out = run(PYTHON, ROOT / 'docs/examples/station.py', '--target', f'127.0.0.1:{site.port}',
                  '--ca', site.dir / 'tls/ca.pem', '--certificate', site.dir / 'tls/station.pem',
                  '--key', site.dir / 'tls/station.key', '--profile', 'dac', '--count', COUNT,
                  env=dict(os.environ, PYTHONPATH=api))
        print(out)
        assert 'ready: True, and I am demo-station' in out
        assert f'issued {COUNT}, ok {COUNT}, ko 0, unreported 0; order: {COUNT} of {COUNT}' in out
        assert site.stop() == 0


main()
