#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The attacks of attack_table.py on mintmarkd itself, with the real store and fake token workers, while
a station asks it for its state: see attack_lab.py."""
import tempfile
import unittest

# attack_lab knows where service_site is.
from attack_lab import Attacked, Station, push, tests_of
from attacks_connections import Doors
from attacks_http2 import DEADLINE, EXHAUSTED, INVALID, MANY, OK, Peers, request, reset
from harness import Raw, field, message, status_of, tls_context
from service_site import Service

STATION = '/mintmark.v1.StationService/'
# Four megabytes must be in before a request is too late, also on a machine that is busy.
TIMES = 'handshake_timeout_ms = 2000 request_timeout_ms = 6000'


class Site(Service):
    def configure(self, *directives, **kwargs):
        super().configure(*directives, **kwargs)
        text = self.conf.read_text()
        assert 'limits { ' in text
        self.conf.write_text(text.replace('limits { ', f'limits {{ {TIMES} '))


@tests_of('daemon')
class Daemon(Attacked, Peers, Doors):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        site = Site(folder.name)
        cls.addClassCleanup(site.stop)
        site.start(more='metrics { port = 0 }')
        cls.metrics_port = int(site.wait_log(r'event=metrics_listening .*port=(\d+)')[1])
        cls.port, cls.pid, cls.ca = site.port, site.daemon.pid, site.dir / 'ca.pem'
        cls.context = tls_context(cls.ca, (site.dir / 'other.pem', site.dir / 'other.key'))
        cls.station = Station(cls.port, cls.ca, (site.dir / 'station.pem', site.dir / 'station.key'),
                              STATION + 'Ping')
        cls.addClassCleanup(cls.station.stop)
        cls.warm_up(STATION + 'Provision')

    def serves(self):
        self.status(OK, STATION + 'Ping')

    def attack_daemon_handshake_flood(self):
        self.flood_with_handshakes()

    def attack_daemon_handshakes_held_open(self):
        self.hold_handshakes_open()

    def attack_daemon_half_open_handshake(self):
        self.leave_half_open()

    def attack_daemon_fields_without_end(self):
        with self.peer() as c:
            stream = c.headers(STATION + 'Ping')
            c.upload(stream, message(b'\x78\0' * ((2 << 20) - 1)))
            self.assertEqual(status_of(c.answer(stream)[1]), EXHAUSTED)

    def attack_daemon_string_with_nul(self):
        for text in b'batch\0evil', b'\xff\xfe', b'\xed\xa0\x80':
            self.status(INVALID, STATION + 'OpenBatch', message(field(1, text)))

    def attack_daemon_rapid_reset(self):
        with self.peer() as c:
            made = [request(c, STATION + 'Provision') for _ in range(MANY)]
            push(c, b''.join(headers + reset(stream) for stream, headers in made))
            self.away(c)

    def attack_daemon_body_that_stops(self):
        with self.peer() as c:
            stream = c.headers(STATION + 'OpenBatch')
            c.data(stream, b'\0\0\0\x10\0' + bytes(2048))
            self.assertEqual(status_of(c.answer(stream)[1]), DEADLINE)


if __name__ == '__main__':
    unittest.main()
