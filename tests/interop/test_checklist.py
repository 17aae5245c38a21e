#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What gRPC and HTTP/2 ask of a server, point by point, where no ordinary client shows it."""
import pathlib
import re
import tempfile
import unittest

from harness import TEST, Pki, Raw, Server, status_of, tls_context

EMPTY = TEST + 'EmptyCall'


def writes(server):
    """Write calls of the server so far; with TLS, OpenSSL writes to the socket by write()."""
    text = pathlib.Path(f'/proc/{server.process.pid}/io').read_text()
    return int(re.search(r'^syscw: (\d+)', text, re.M).group(1))


class Tls(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.pki = Pki(pathlib.Path(cls.folder.name))
        cert, key = cls.pki.leaf('server', server=True)
        cls.server = Server('--cert', cert, '--key', key)
        cls.context = tls_context(cls.pki.file)

    @classmethod
    def tearDownClass(cls):
        with cls.server:
            cls.server.stop()
        cls.folder.cleanup()

    def test_calls_of_one_turn_are_answered_by_one_write(self):
        with Raw(self.server.port, self.context) as c:
            self.assertEqual(status_of(c.answer(c.call(EMPTY))[1]), 0)
            before = writes(self.server)
            together = []
            c.send = together.append
            for _ in range(64):
                last = c.call(EMPTY)
            del c.send
            self.assertLess(sum(map(len, together)), 16384)  # one TLS record
            c.send(b''.join(together))
            self.assertEqual(status_of(c.answer(last)[1]), 0)
            self.assertEqual(writes(self.server) - before, 1)


if __name__ == '__main__':
    unittest.main()
