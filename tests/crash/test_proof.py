#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""That tests/long/crash-points would notice: the tracer kills where it says and the disk forgets what
was not synced; a service that answers before its data is safe is caught; so are doctored books."""
import contextlib
import pathlib
import shutil
import sqlite3
import sys
import tempfile
import unittest

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / folder) for folder in ('crash', 'integration', 'support')]
from books import Books  # noqa: E402
from life import DEVICES, QUANTITIES, Life  # noqa: E402
from traced import FakeSite, TRACER, Tracer  # noqa: E402

RECORDED = QUANTITIES[0] + DEVICES
# What the tracer calls a Python program's points begins with this.
PYTHON = pathlib.Path(sys.executable).resolve().name


class Folder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix='mintmark-crash.')
        self.addCleanup(folder.cleanup)
        self.base = pathlib.Path(folder.name).resolve()


class Kills(Folder):
    """The tracer, on a program of a few lines."""

    def setUp(self):
        super().setUp()
        self.disk, self.durable = self.base / 'disk', self.base / 'durable'
        for folder in self.disk, self.durable:
            folder.mkdir()
            (folder / 'old').write_text('old')

    def run_program(self, program, point, k, when, effect):
        with open(self.base / 'log', 'wb') as log:
            tracer = Tracer([sys.executable, '-IBSc', f'import os\nos.chdir("{self.disk}")\n{program}'],
                            {}, log, ['--disk', self.disk, self.durable])
        tracer.phase('only', (f'{PYTHON}/{point}', k, when, effect))
        tracer.finish()
        self.assertEqual(tracer.status, -9, (self.base / 'log').read_text())
        return {path.name: path.read_text() for path in self.disk.iterdir()}

    def test_before_a_call_it_has_not_happened_and_after_it_has(self):
        program = 'f = os.open("old", os.O_WRONLY); os.write(f, b"a"); os.write(f, b"b")'
        for k, when, left in ((1, 'before', 'old'), (1, 'after', 'ald'), (2, 'before', 'ald'),
                              (2, 'after', 'abd')):
            with self.subTest(k=k, when=when):
                (self.disk / 'old').write_text('old')
                self.assertEqual(self.run_program(program, 'write/old', k, when, 'process'),
                                 {'old': left})

    def test_a_power_cut_takes_what_was_not_synced(self):
        begin = ('d = os.open(".", os.O_RDONLY); f = os.open("old", os.O_WRONLY); os.write(f, b"a")\n'
                 'n = os.open("new", os.O_WRONLY | os.O_CREAT); os.write(n, b"n")\n')
        for program, left in (
                ('', {'old': 'old'}),
                ('os.fsync(f)', {'old': 'ald'}),
                ('os.fsync(f); os.write(f, b"b")', {'old': 'ald'}),
                ('os.fsync(n)', {'old': 'old'}),
                ('os.fsync(n); os.fsync(d)', {'old': 'old', 'new': 'n'}),
                ('os.fsync(d)', {'old': 'old', 'new': ''}),
                ('os.unlink("old")', {'old': 'old'}),
                ('os.unlink("old"); os.fsync(d)', {'new': ''})):
            with self.subTest(program=program):
                for folder in self.disk, self.durable:
                    shutil.rmtree(folder)
                    folder.mkdir()
                    (folder / 'old').write_text('old')
                last = '\ne = os.open("old", os.O_WRONLY | os.O_CREAT); os.write(e, b"x")'
                point = 'write/old', 2 + program.count('write'), 'after', 'power'
                self.assertEqual(self.run_program(begin + program + last, *point), left)

    def test_what_the_disk_does_not_know_is_no_result(self):
        with open(self.base / 'log', 'wb') as log:
            tracer = Tracer([sys.executable, '-IBSc', f'import os\nos.chdir("{self.disk}")\n'
                             f'os.rename("{self.disk}/old", "new")'], {}, log,
                            ['--disk', self.disk, self.durable])
        tracer.phase('only')
        with self.assertRaisesRegex(Exception, 'tracer failed'):
            tracer.finish()


class Lies(Folder):
    """A service whose data is not where it believes."""

    def live(self, options, kills):
        site = FakeSite(self.base / 'lies', options)
        site.make(dict(zip(site.profiles.values(), QUANTITIES)))
        self.addCleanup(site.abandon)
        return Life(site, site.certificate_requests(DEVICES), kills).live()

    def test_an_answer_before_the_disk_has_it_is_caught_by_a_power_cut(self):
        life = self.live(['--fake-sync'], {'over': ('front/read/station', 1, 'after', 'power')})
        self.assertEqual(life.books.lost, QUANTITIES[0])
        self.assertIn(f'{QUANTITIES[0]} delivered, 0 recorded', life.books.violated)
        # The service noticed it, too: the token knows of more.
        self.assertIn('LEDGER_ROLLED_BACK', life.failed[0])

    def test_an_answer_before_it_is_written_is_caught_by_a_kill(self):
        life = self.live(['--lazy', 'db-wal'], {'over': ('store/read/channel', 1, 'after', 'process')})
        self.assertGreaterEqual(life.books.lost, QUANTITIES[0])
        self.assertTrue(life.failed)


class Doctored(Folder):
    """Books that somebody changed after an undisturbed life."""

    def test_each_change_is_found(self):
        site = FakeSite(self.base / 'doctored')
        site.make(dict(zip(site.profiles.values(), QUANTITIES)))
        life = Life(site, site.certificate_requests(DEVICES)).live()
        self.assertEqual((life.failed, life.missed), ([], []))
        good = life.books
        self.assertEqual((good.violated, good.lost, good.doubles, good.recorded), ([], 0, 0, RECORDED))
        keep = site.database.read_bytes()
        for sql, attribute in (
                ('UPDATE orders SET used = used - 1 WHERE row = 1', 'violated'),
                ('UPDATE batches SET quantity = quantity + 1, issued = issued + 1 WHERE row = 1',
                 'violated'),
                ("UPDATE ledger SET record = CAST(record || x'F80600' AS BLOB) "
                 'WHERE sequence = 3', 'violated'),
                ('DELETE FROM ledger WHERE sequence = 3', 'violated'),
                ('UPDATE devices SET number = number + 1000 WHERE row = 5', 'violated'),
                ("UPDATE devices SET bundle = x'00' WHERE row = 5", 'lost'),
                ('UPDATE devices SET spki_sha256 = (SELECT spki_sha256 FROM devices WHERE row = 1) '
                 'WHERE row = 2', 'doubles'),
                ('UPDATE devices SET number = 1 WHERE row = 2 AND profile = 1', 'doubles')):
            with self.subTest(sql=sql):
                site.database.write_bytes(keep)
                with contextlib.closing(sqlite3.connect(site.database)) as db:
                    self.assertEqual(db.execute(sql).rowcount, 1)
                    db.commit()
                books = Books(site, life.received, life.certificates)
                self.assertTrue(getattr(books, attribute), vars(books))
        site.database.write_bytes(keep)
        twice = {request: {*bundles, b'another'} for request, bundles in life.certificates.items()}
        self.assertEqual(Books(site, life.received, twice).doubles, DEVICES)


if __name__ == '__main__':
    if not TRACER.exists():
        print('skipped: there is a tracer for x86-64 only')
        sys.exit(77)
    unittest.main()
