#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The attacks of attack_table.py against the transport, on the test server: see attack_lab.py."""
import pathlib
import tempfile
import unittest

from attack_lab import Attacked, Station, tests_of
from attacks_connections import SlowConnectionAttacks, TransportConnectionAttacks
from attacks_http2 import CHAT, EMPTY, OK, Http2Attacks, Peers
from attacks_messages import MessageAttacks, SlowAttacks, WindowAttacks
from harness import Pki, Server, tls_context


class OnTestServer(Attacked):
    """A server with mutual TLS, the station at work, and an attacker with a station's certificate of
    its own: nothing keeps him out but what the table names."""

    STREAMS, CONNECTIONS, WRITE_STALL_MS = 100, 40, 500
    times = ()

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        pki = Pki(pathlib.Path(folder.name))
        certificate, key = pki.leaf('server', server=True)
        server = Server('--cert', certificate, '--key', key, '--client-ca', pki.file, '--station',
                        'good=urn:good', '--station', 'bad=urn:bad', '--streams', cls.STREAMS,
                        '--connections', cls.CONNECTIONS, '--metrics-port', 0, *cls.times)
        cls.addClassCleanup(server.__exit__, None, None, None)
        cls.port, cls.metrics_port, cls.pid = server.port, server.metrics_port, server.process.pid
        cls.ca = pki.file
        cls.context = tls_context(pki.file, pki.leaf('bad', 'urn:bad'))
        cls.station = Station(cls.port, pki.file, pki.leaf('good', 'urn:good'), EMPTY)
        cls.addClassCleanup(cls.station.stop)
        cls.warm_up(CHAT)

    def serves(self):
        self.status(OK, EMPTY)


@tests_of('transport')
class Transport(OnTestServer, Http2Attacks, WindowAttacks, MessageAttacks, TransportConnectionAttacks):
    times = '--keepalive-ms', 0


@tests_of('times')
class Times(OnTestServer, Peers, SlowAttacks, SlowConnectionAttacks):
    # Short, and so long that a station that the machine holds up for a second is none who stalls.
    times = ('--keepalive-ms', 600, '--keepalive-timeout-ms', 2500, '--request-ms', 2500,
             '--write-stall-ms', OnTestServer.WRITE_STALL_MS, '--handshake-ms', 2500)


if __name__ == '__main__':
    unittest.main()
