# SPDX-License-Identifier: Apache-2.0
"""What the attack suites share. An attack runs against a server that a well-behaved station is working
with all the while, over TLS, in a process of its own; afterwards the station has kept its rate, the
counter that the table names has risen, the server still serves, and its memory has returned."""
import os
import pathlib
import statistics
import subprocess
import sys
import threading
import time
import unittest

from attack_table import ATTACKS
from harness import ROOT, WAIT_S

sys.path.append(str(ROOT / 'tests/integration'))
import prometheus_text  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent

RATE = 50  # calls a second of the well-behaved station
SHARE = 0.9  # of them have to be done while the attack runs,
LATENCY_S = 3.0  # each within this time, on a machine that others use too
MEMORY_KB = 768  # of private memory that a server may have more than before
SETTLE_S = 10
ATTACK_S = 0.4  # at least, so that the station's calls are enough to speak of a rate
BY_NAME = {a.name: a for a in ATTACKS}
# A sanitizer keeps what is freed, so as to notice who still uses it, and makes all slower by far: then
# neither memory nor rate is looked at, only that no call fails.
SANITIZED = bool(os.environ.get('MINTMARK_SANITIZED'))


# ---- the well-behaved station ----------------------------------------------------------------

class Station:
    """station.py as a process, and what it has reported: (due, took, what was wrong) a call."""

    def __init__(self, port, ca, certificate, path):
        self.process = subprocess.Popen(
            [sys.executable, HERE / 'station.py', *map(str, (port, ca, *certificate, path, RATE))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.calls = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        self.between(0, time.monotonic())  # it works

    def _read(self):
        for line in self.process.stdout:
            due, took, why = line.rstrip('\n').split(' ', 2)
            self.calls.append((float(due), float(took), why))

    def between(self, begin, end):
        """Its calls that were due in that time; waits until all of them are done."""
        limit = time.monotonic() + WAIT_S
        while not self.calls or self.calls[-1][0] < end:
            assert time.monotonic() < limit and self.process.poll() is None, 'the station stands'
            time.sleep(0.01)
        return [call for call in self.calls if begin <= call[0] < end]

    def stop(self):
        self.process.stdin.close()
        try:
            self.process.wait(WAIT_S)
        finally:
            self.process.kill()
            self.reader.join(WAIT_S)
            self.process.stdout.close()


# ---- what a server shows ---------------------------------------------------------------------

def metrics(port):
    return prometheus_text.read_page(port, WAIT_S)


def private_kb(pid):
    with open(f'/proc/{pid}/status', encoding='ascii') as status:
        for line in status:
            if line.startswith('RssAnon:'):
                return int(line.split()[1])
    raise AssertionError('the kernel does not tell RssAnon')


def value(page, counter):
    """'limit=resets', 'mintmark_handshakes_failed_total', or that with 'label=value' behind."""
    if counter.startswith('limit='):
        return page('mintmark_limit_hits_total', limit=counter[6:])
    name, *labels = counter.split()
    return page(name, **dict(label.split('=') for label in labels))


# ---- an attack as a test ---------------------------------------------------------------------

class Attacked(unittest.TestCase):
    """Base of the suites. A subclass has a server (pid, metrics_port) and a station (class
    attributes that its setUpClass makes), serves(), and a method for each attack of its target."""

    station = None
    pid = metrics_port = 0

    def serves(self):
        raise NotImplementedError

    def run_attack(self, name):
        attack = BY_NAME[name]
        self.serves()
        before, page = private_kb(self.pid), metrics(self.metrics_port)
        begin = time.monotonic()
        getattr(self, f'attack_{name}')()
        time.sleep(max(0, begin + ATTACK_S - time.monotonic()))
        end = time.monotonic()
        self.serves()
        self.check_station(begin, end)
        self.check_counter(attack.counter, page)
        self.check_memory(before)

    def check_station(self, begin, end):
        calls = self.station.between(begin, end)
        failed = [why for _, _, why in calls if why]
        self.assertEqual(failed, [], 'calls of the well-behaved station failed')
        if SANITIZED:
            return
        done = [due for due, took, _ in calls if due + took <= end + 1]
        self.assertGreaterEqual(len(done), SHARE * ((end - begin) * RATE - 1),
                                'the well-behaved station did not keep its rate')
        slowest = max(took for _, took, _ in calls)
        self.assertLess(slowest, LATENCY_S, 'the well-behaved station had to wait')

    def check_counter(self, counters, before):
        """One of them has risen (a flood of several kinds of frames ends with any of these)."""
        if not counters:
            return
        limit = time.monotonic() + WAIT_S
        while True:
            now = metrics(self.metrics_port)
            if any(value(now, c) > value(before, c) for c in counters):
                return
            self.assertLess(time.monotonic(), limit, f'{counters} have not risen')
            time.sleep(0.15)

    def held(self, before, most_kb, why):
        """During an attack, what the server has more than before is bounded."""
        if not SANITIZED:
            self.assertLess(private_kb(self.pid) - before, most_kb, why)

    def check_memory(self, before):
        if SANITIZED:
            return
        limit = time.monotonic() + SETTLE_S
        while private_kb(self.pid) > before + MEMORY_KB:
            self.assertLess(time.monotonic(), limit, f'{private_kb(self.pid) - before} kB are kept')
            time.sleep(0.02)

    @classmethod
    def tearDownClass(cls):
        took = [1000 * t for _, t, _ in cls.station.calls]
        print(f'{cls.__name__}: the station made {len(took)} calls, median '
              f'{statistics.median(took):.2f} ms, slowest {max(took):.0f} ms')


def tests_of(target):
    """Class decorator: a test for each attack of the table on that target, and no attack beside."""
    def decorate(cls):
        named = [a.name for a in ATTACKS if a.target == target]
        written = [m[7:] for m in dir(cls) if m.startswith('attack_')]
        assert sorted(named) == sorted(written), set(named) ^ set(written)
        for name in named:
            def test(self, name=name):
                self.run_attack(name)
            test.__doc__ = BY_NAME[name].sends
            setattr(cls, f'test_{name}', test)
        return cls
    return decorate


def closed(peer):
    """Reads on until the server closes."""
    while peer.receive():
        pass


def push(peer, data):
    """Sends as much as the server takes before it closes."""
    try:
        peer.send(data)
    except OSError:
        pass

