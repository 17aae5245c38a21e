# SPDX-License-Identifier: Apache-2.0
"""How much of an HSM across a network the service uses: a module whose calls take 1 ms each and that has 32
sessions (tests/remote/remote.c), with one worker for each. What the sessions could make, were there nothing
but calls, is the ideal.

  bulk    one Provision stream, by one station
  single  calls for one device each, at random times, from another station while the bulk goes on
  half    the same without the bulk, at half of the rate that such calls reach on as many connections
"""
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tests/support'))
from remote_hsm import RemoteHsm  # noqa: E402
from site_under_test import BUILD, Site, run  # noqa: E402

BARE = BUILD / 'tools/benchmarks/bare_loop'
STATION = BUILD / 'tools/benchmarks/station'
SESSIONS, CALL_US = 32, 1000
SINGLES_PER_S = 40
FEW, MANY = 16, 192  # connections; of many it seldom happens that a call waits for its own one's last
START_S = 60
WARM = 40_000  # devices; from its 1,024th signature on a worker verifies with a table


class HsmBench:
    def __init__(self, site):
        self.site = site
        self.hsm = RemoteHsm(site, workers=SESSIONS, call_us=CALL_US, sessions=SESSIONS)

    def start(self):
        self.site.add_client('other')
        self.site.configure(f'limits {{ calls_per_client = {MANY} }}')
        self.site.start()
        end = time.monotonic() + START_S
        while self.ready() < SESSIONS:
            if time.monotonic() > end:
                raise SystemExit(f'only {self.ready()} of {SESSIONS} workers are ready')
            time.sleep(0.2)
        self.site.add_order('hsm', 100_000_000, 'remote')
        self.batch = self.site.open_batch(10_000_000, 'remote')

    def ready(self):
        return self.site.log.read_text().count('event=worker_ready worker=token.hsm.')

    def station(self, mode, seconds, *extra, who='station'):
        tls = self.site.dir / 'tls'
        return list(map(str, [
            STATION, mode, '--target', f'127.0.0.1:{self.site.port}', '--ca', tls / 'ca.pem',
            '--certificate', tls / f'{who}.pem', '--key', tls / f'{who}.key', '--batch', self.batch,
            '--seconds', seconds, *extra]))

    def bulk(self, seconds, warm=256):
        return json.loads(run(*self.station('bulk', seconds, '--warm', warm), timeout=600))['per_s']

    def single(self, seconds, connections, *extra, who='station'):
        return json.loads(run(*self.station('single', seconds, '--connections', connections, *extra, who=who),
                              timeout=600))

    def half(self, seconds):
        return self.single(seconds, MANY, '--rate', self.single(seconds, MANY)['per_s'] / 2)

    def single_beside_bulk(self, seconds):
        bulk = subprocess.Popen(self.station('bulk', 2 * seconds + 2), stdout=subprocess.DEVNULL)
        time.sleep(1)
        try:
            single = self.single(seconds, FEW, '--rate', SINGLES_PER_S, who='other')
            if bulk.poll() is not None:
                raise SystemExit('the bulk was over before the single calls')
        finally:
            bulk.wait()
        return single

    def bare(self, seconds):
        env = dict(os.environ, **self.hsm.environment())
        return json.loads(run(
            BARE, '--module', self.hsm.module, '--uri', 'pkcs11:token=hsm', '--pin-file',
            self.site.dir / 'hsm.pin', '--ca-label', 'hsm-ca', '--transport-label', 'hsm-line',
            '--processes', SESSIONS, '--seconds', seconds, env=env, timeout=600))['per_s']


def measure(seconds, rounds):
    rows = []
    with Site(workers=1) as site:
        bench = HsmBench(site)
        bare = statistics.median(bench.bare(seconds) for _ in range(rounds))
        bench.start()
        bench.bulk(seconds, WARM)
        for _ in range(rounds):
            per_s = bench.bulk(seconds)
            single = bench.single_beside_bulk(seconds)
            rows.append((per_s, single['p50_ms'], single['p99_ms']))
        busy = bench.hsm.counts()[1]
        half = bench.half(seconds)
    per_s, p50, p99 = (statistics.median(column) for column in zip(*rows))
    device_ms = 1e3 * SESSIONS / bare
    ideal = bench.hsm.ideal_per_s()
    return {
        'network_hsm_sessions': SESSIONS,
        'network_hsm_call_us': CALL_US,
        'network_hsm_sessions_busy_most': busy,
        'network_hsm_ideal_per_s': round(ideal, 1),
        'network_hsm_bare_per_s': round(bare, 1),
        'network_hsm_per_s': round(per_s, 1),
        'network_hsm_ratio': round(per_s / ideal, 3),
        'network_hsm_single_p50_ms': round(p50, 3),
        'network_hsm_single_p99_ms': round(p99, 3),
        'network_hsm_device_ms': round(device_ms, 3),
        'network_hsm_half_per_s': round(half['per_s'], 1),
        'network_hsm_half_p50_ms': half['p50_ms'],
        'network_hsm_half_p99_ms': half['p99_ms'],
        'network_hsm_half_p99_ratio': round(half['p99_ms'] / device_ms, 2),
    }


def show(r):
    print(f"""  an HSM of {r['network_hsm_sessions']} sessions, {r['network_hsm_call_us']} us a call: \
{r['network_hsm_per_s']} identities/s, {r['network_hsm_ratio']} of the ideal; bare loop {r['network_hsm_bare_per_s']}
  single calls beside that bulk   p50 {r['network_hsm_single_p50_ms']} ms, p99 {r['network_hsm_single_p99_ms']} ms
  single calls at half load ({r['network_hsm_half_per_s']} /s)   p50 {r['network_hsm_half_p50_ms']} ms, \
p99 {r['network_hsm_half_p99_ms']} ms, {r['network_hsm_half_p99_ratio']} times the token's own \
{r['network_hsm_device_ms']} ms a device""")
