# SPDX-License-Identifier: Apache-2.0
"""How fast devices get certificates from an EJBCA, through the whole service: front, store, token and
issuer workers, with a real SoftHSM token, and the stand-in for EJBCA (tests/fake/ejbca) behind kept-alive
TLS connections. It answers each request LATENCY_MS after it came, and no sooner; IN_FLIGHT requests are
under way at a time. What the service could reach is IN_FLIGHT / LATENCY_MS.

  drain   devices that were recorded while EJBCA was away; the time begins with the first certificate after
          its return: what front, store and issuer can do
  stream  one Provision call: the token makes keys and requests on the same cores at the same time
"""
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tests/support'))
from fake_ejbca import FakeEjbca  # noqa: E402
from site_under_test import BUILD, Site, run  # noqa: E402

STATION = BUILD / 'tools/benchmarks/station'
LATENCY_MS, IN_FLIGHT = 20, 24
PATIENCE_S = 1200
STEP_S = 0.1
LOOK_S = 0.25  # at /metrics, which answers no more often to one peer
QUANTITY = 1_000_000
CONF = """
metrics {{ port = 0 }}
issuer 'pki' {{
    kind = ejbca
    certificate = '{chain}'
    nodes = {{'{ejbca.url}'}}
    server_ca = '{ejbca.server_ca}'
    client_p12 = '{ejbca.ra.p12}'
    client_password_file = '{ejbca.ra.password_file}'
    requests_max = {in_flight}
    breaker_wait_ms = 100
    breaker_wait_max_ms = 500
}}
profile 'ejbca' {{
    issuer = 'pki' token = 'main' delivery = wrapped transport = 'line'
    subject = 'CN=device ${{number:8}},O=Example'
    ca = 'IssuingCA' certificate_profile = 'DevCert' end_entity_profile = 'DevEE'
    waiting_max = {quantity}
}}
"""


def rss_kb(pid):
    """Resident memory that is the process's own."""
    return next(int(line.split()[1]) for line in pathlib.Path(f'/proc/{pid}/status').read_text().splitlines()
                if line.startswith('RssAnon:'))


class EjbcaBench:
    """The service on a site with an EJBCA."""

    def __init__(self, site, ejbca):
        self.site, self.ejbca = site, ejbca
        chain = site.base / 'pki.pem'
        chain.write_text(''.join(ejbca.ca_certificate(n).read_text()
                                 for n in ('IssuingCA', 'RootCA')))
        site.configure(CONF.format(chain=chain, ejbca=ejbca, in_flight=IN_FLIGHT, quantity=QUANTITY))
        site.start()
        self.metrics = re.findall(r'event=metrics_listening .*port=(\d+)', site.log.read_text())[-1]
        site.add_order('ejbca', QUANTITY, 'ejbca')
        self.batch = site.open_batch(QUANTITY, 'ejbca')

    def station(self, count, warm=256):
        """The command of a station that takes so many devices in one stream."""
        tls = self.site.dir / 'tls'
        return list(map(str, [
            STATION, 'bulk', '--target', f'127.0.0.1:{self.site.port}', '--ca', tls / 'ca.pem',
            '--certificate', tls / 'station.pem', '--key', tls / 'station.key', '--batch', self.batch,
            '--per-call', count, '--warm', warm, '--seconds', '0.001']))

    # -- what the processes have used --------------------------------------------------------------

    def pids(self):
        found = self.site.processes()
        return {'front': found['mintmarkd'], 'store': found['mintmark-store'],
                'token': found['mintmark-token'], 'issuer': found['mintmark-issuer'],
                'fake': [self.ejbca.pid]}

    def cpu_us(self):
        """kind of process → CPU time so far."""
        return {kind: sum(int(pathlib.Path(f'/proc/{p}/schedstat').read_text().split()[0])
                          for p in pids) / 1e3 for kind, pids in self.pids().items()}

    def count(self, name, **labels):
        """One figure of /metrics, summed over the series that have these labels."""
        with urllib.request.urlopen(f'http://127.0.0.1:{self.metrics}/metrics') as answer:
            text = answer.read().decode()
        wanted = [f'{k}="{v}"' for k, v in labels.items()]
        return sum(float(line.rpartition(' ')[2]) for line in text.splitlines()
                   if re.match(rf'{name}[{{ ]', line) and all(w in line for w in wanted))

    def waiting(self):
        return self.count('mintmark_devices_withheld', profile='ejbca', state='waiting')

    # -- the loads ---------------------------------------------------------------------------------

    def stream(self, count):
        """Devices a second, and CPU of each kind of process for one."""
        before = self.cpu_us()
        load = json.loads(run(*self.station(count), timeout=PATIENCE_S))
        after = self.cpu_us()
        return load['per_s'], {k: (after[k] - before[k]) / (load['devices'] + 256) for k in after}

    def leave_waiting(self, count):
        """Has so many devices recorded while EJBCA is away."""
        self.ejbca.set(listen=False)
        end = time.monotonic() + PATIENCE_S
        while (left := count - int(self.waiting())) > 0 and time.monotonic() < end:
            station = subprocess.Popen(self.station(min(left, 20_000), warm=0),
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            aim = self.waiting() + min(left, 20_000)
            while self.waiting() < aim and station.poll() is None and time.monotonic() < end:
                time.sleep(LOOK_S)
            station.kill()
            station.wait()

    def drain(self, look=lambda: None):
        """EJBCA is back. Devices a second, from the first look that found certificates to the last but
        one; CPU of each kind of process for a device; and seconds until all are recorded."""
        before, made_before = self.cpu_us(), self.ejbca.state()['certificates']
        count = self.waiting()
        seen = []  # (when, certificates)
        began = time.monotonic()
        self.ejbca.set(listen=True)
        while not seen or seen[-1][1] < count:
            made = self.ejbca.state()['certificates'] - made_before
            if made:
                seen.append((time.monotonic(), made))
            if time.monotonic() > began + PATIENCE_S:
                raise SystemExit(f'devices do not drain:\n{self.site.log_tail(40)}')
            look()
            time.sleep(STEP_S)
        while self.waiting():
            time.sleep(LOOK_S)
        after, took = self.cpu_us(), time.monotonic() - began
        (first, some), (last, most) = seen[0], seen[-2]
        return (most - some) / (last - first), {k: (after[k] - before[k]) / count for k in after}, took


def favour(process):
    """The stand-in is to answer in time, as another machine would, whoever else wants the processor."""
    try:
        os.setpriority(os.PRIO_PROCESS, process, -5)
    except PermissionError:
        print('tools/bench: the stand-in for EJBCA cannot be favoured: without root it answers late',
              file=sys.stderr)


def measure(seconds, rounds):
    count = round(seconds * 1000 * IN_FLIGHT / LATENCY_MS)
    rows = {'drain': [], 'stream': []}
    # The stand-in works when a request comes and then waits, so that it answers in its time; it does not
    # check signatures of requests, which is its own cost.
    with FakeEjbca(latency_ms=LATENCY_MS, issue_first=True, popo=False) as ejbca, Site() as site:
        favour(ejbca.pid)
        bench = EjbcaBench(site, ejbca)
        bench.stream(count // 4)  # warm
        for _ in range(rounds):
            rows['stream'].append(bench.stream(count))
            bench.leave_waiting(count)
            rows['drain'].append(bench.drain())
        if ejbca.state()['doubles']:
            raise SystemExit('a device has two certificates')
    median = statistics.median

    def cpu(load, kind):
        return round(median(row[1][kind] for row in rows[load]), 1)

    return {
        'ejbca_per_s': round(median(row[0] for row in rows['drain']), 1),
        'ejbca_stream_per_s': round(median(row[0] for row in rows['stream']), 1),
        'ejbca_limit_per_s': 1000 * IN_FLIGHT // LATENCY_MS,
        'ejbca_cpu_us_per_enrolment': cpu('drain', 'issuer'),
        'ejbca_front_cpu_us': cpu('drain', 'front'),
        'ejbca_store_cpu_us': cpu('drain', 'store'),
        'ejbca_stream_cpu_us': round(sum(cpu('stream', k) for k in ('front', 'store', 'token', 'issuer')), 1),
        'ejbca_fake_cpu_us': cpu('drain', 'fake'),
    }


def measure_waiting(count):
    """So many devices wait; then EJBCA is back. Memory of each process, in kB: before there were any, when
    all wait, the most while they drain, and after; the most that one has grown by."""
    sizes = {}

    def note(when):
        for kind, pids in bench.pids().items():
            now = max(rss_kb(p) for p in pids)
            row = sizes.setdefault(kind, {})
            row[when] = max(row.get(when, 0), now)

    with FakeEjbca(latency_ms=LATENCY_MS, issue_first=True, popo=False) as ejbca, Site() as site:
        favour(ejbca.pid)
        bench = EjbcaBench(site, ejbca)
        bench.stream(1000)  # warm
        note('before')
        began = time.monotonic()
        bench.leave_waiting(count)
        recorded_s = time.monotonic() - began
        note('waiting')
        rate, _, took = bench.drain(lambda: note('most'))
        note('after')
        doubles = ejbca.state()['doubles']
    del sizes['fake']
    return {'ejbca_waiting_devices': count, 'ejbca_waiting_recorded_s': round(recorded_s, 1),
            'ejbca_waiting_drained_s': round(took, 1), 'ejbca_waiting_per_s': round(rate, 1),
            'ejbca_waiting_doubles': doubles,
            'ejbca_waiting_growth_kb': max(max(row.values()) - row['before'] for row in sizes.values()),
            'ejbca_waiting_rss_kb': sizes}


if __name__ == '__main__':
    print(json.dumps(measure_waiting(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000), indent=1))
