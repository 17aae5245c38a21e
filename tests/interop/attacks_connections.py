# SPDX-License-Identifier: Apache-2.0
"""Attacks on the listener and TLS, for the test server and for mintmarkd; see attack_table.py."""
import socket
import threading
import time

from attack_lab import closed
from harness import PREFACE, WAIT_S, Raw, tls_context

FLOOD_S = 1
CLIENT_HELLO = b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03'  # the first bytes of one


class Doors:
    """What several targets are attacked by."""

    def silent(self, n, data=b''):
        """Connections that say no more than that."""
        peers = [socket.create_connection(('127.0.0.1', self.port), WAIT_S) for _ in range(n)]
        for peer in peers:
            peer.sendall(data)
        return peers

    def turned_away(self, peer):
        try:
            while peer.recv(65536):
                pass
        except OSError:
            pass
        peer.close()

    def hold_handshakes_open(self):
        peers = self.silent(100)
        time.sleep(0.2)
        self.turned_away(peers[0])  # the oldest has made room
        for peer in peers:
            peer.close()

    def flood_with_handshakes(self):
        """Each is complete but for the certificate that is asked for."""
        context, end, n = tls_context(self.ca), time.monotonic() + FLOOD_S, [0, 0]

        def flood(which):
            while time.monotonic() < end:
                try:
                    with Raw(self.port, context) as c:
                        closed(c)
                except OSError:
                    pass
                n[which] += 1
        threads = [threading.Thread(target=flood, args=(i,)) for i in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertGreater(sum(n), 10)

    def leave_half_open(self):
        for peer in self.silent(20, CLIENT_HELLO):
            self.turned_away(peer)


class TransportConnectionAttacks(Doors):
    def attack_too_many_connections(self):
        peers, refused = [], 0
        for _ in range(self.CONNECTIONS + 5):
            try:
                peers.append(self.peer())
                peers[-1].initial_window()
            except (OSError, AssertionError):
                refused += 1
        for c in peers:
            c.socket.close()
        self.assertGreaterEqual(refused, 5)

    def attack_handshakes_held_open(self):
        self.hold_handshakes_open()

    def attack_handshake_flood(self):
        self.flood_with_handshakes()

    def attack_tls_garbage(self):
        for data in (PREFACE, b'GET / HTTP/1.0\r\n\r\n', bytes(1000), CLIENT_HELLO + b'\xff' * 600,
                     b'\x16\x03\x01\xff\xff' + bytes(70000)):
            for peer in self.silent(1):
                try:
                    peer.sendall(data)
                except OSError:
                    pass
                self.turned_away(peer)


class SlowConnectionAttacks(Doors):
    """Against a server of short times."""

    def attack_half_open_handshake(self):
        self.leave_half_open()

    def attack_silence_after_tls(self):
        peer = self.context.wrap_socket(self.silent(1)[0], server_hostname='localhost')
        peer.settimeout(WAIT_S)
        self.turned_away(peer)
