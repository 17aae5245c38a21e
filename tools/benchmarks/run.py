#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Measures the service beside a bare loop of the same PKCS#11 calls, alternating, and prints medians.

usage: tools/bench [--seconds S] [--rounds R] [--grpc-only | --ejbca-only | --ejbca-waiting N |
                   --hsm-only | --growth N,… [--svg FILE]] [--json]

The gRPC layer by itself is measured too, beside grpc++: see grpc_load.py; and certificates from an
EJBCA: see ejbca_load.py; and a token that is waited for, as an HSM across a network is: see hsm_load.py.
"""
import argparse
import json
import os
import pathlib
import re
import statistics
import sys
import tempfile
import time

import ejbca_load
import grpc_load
import growth_load
import hsm_load
import verify_load

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tests/support'))
from site_under_test import BUILD, OFFICER, VERIFY, Site, run  # noqa: E402

TICK_US = 1e6 / os.sysconf('SC_CLK_TCK')
LEDGER_START = BUILD / 'tools/benchmarks/ledger_start'
BARE = BUILD / 'tools/benchmarks/bare_loop'
STATION = BUILD / 'tools/benchmarks/station'
RSS_DEVICES = 200_000  # what memory must stay flat over


def cpu_us(pids):
    """CPU time of some processes so far, from /proc/PID/schedstat: nanoseconds, exact."""
    return sum(int(pathlib.Path(f'/proc/{p}/schedstat').read_text().split()[0]) for p in pids) / 1e3


def rss_kb(pids):
    """Resident memory that is the processes' own: anonymous pages, without files and shared maps."""
    total = 0
    for pid in pids:
        for line in pathlib.Path(f'/proc/{pid}/status').read_text().splitlines():
            if line.startswith('RssAnon:'):
                total += int(line.split()[1])
    return total


def disk_sync_ms(directory, seconds):
    """p50 and p99 of what the disk itself takes to keep 64 KiB, over and over in the same 4 MiB: a commit of
    one device writes some 17 pages into a write-ahead log of that size, and waits for them."""
    took, size, pages = [], 4 << 20, bytes(64 << 10)
    with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
        file.write(bytes(size))
        os.fsync(file.fileno())
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            start = time.perf_counter()
            os.pwrite(file.fileno(), pages, len(took) * len(pages) % size)
            os.fdatasync(file.fileno())
            took.append(1e3 * (time.perf_counter() - start))
    return statistics.median(took), statistics.quantiles(took, n=100)[98]


class Bench:
    def __init__(self, site, seconds):
        self.site, self.seconds = site, seconds
        self.cores = os.cpu_count()
        self.batches = {}
        for profile in ('dac', 'csr'):
            site.add_order(f'bench-{profile}', 100_000_000, profile)
            self.batches[profile] = site.open_batch(10_000_000, profile, name=f'bench-{profile}')

    def bare(self, csr=False):
        args = ['--module', '/usr/lib/softhsm/libsofthsm2.so', '--uri', 'pkcs11:token=demo',
                '--pin-file', self.site.dir / 'user.pin', '--ca-label', 'pai',
                '--transport-label', 'transport', '--processes', self.cores,
                '--seconds', self.seconds]
        if csr:
            args.append('--csr')
        env = dict(os.environ, SOFTHSM2_CONF=str(self.site.dir / 'softhsm2.conf'))
        return json.loads(run(BARE, *args, env=env, timeout=self.seconds * 4 + 60))

    def station(self, mode, profile, *extra):
        tls = self.site.dir / 'tls'
        return json.loads(run(
            STATION, mode, '--target', f'127.0.0.1:{self.site.port}', '--ca', tls / 'ca.pem',
            '--certificate', tls / 'station.pem', '--key', tls / 'station.key', '--batch',
            self.batches[profile], '--seconds', self.seconds, *extra,
            timeout=self.seconds * 4 + 120))

    def status(self):
        return json.loads(self.site.officer('status', '--json'))

    def inside(self):
        """Microseconds inside C_ functions, and the devices they stand for, over all workers."""
        workers = [w for w in self.status()['workers'] if w['name'].startswith('token')]
        return (sum(int(w['token_cpu_us']) for w in workers),
                sum(int(w['sampled_devices']) for w in workers))

    def pids(self):
        found = self.site.processes()
        return {'front': found['mintmarkd'], 'store': found['mintmark-store'],
                'token': found['mintmark-token']}

    def service(self):
        """One round of bulk work: the load, and microseconds of CPU by kind of process."""
        pids = self.pids()
        inside = self.inside()
        before = {kind: cpu_us(p) for kind, p in pids.items()}
        load = self.station('bulk', 'dac')
        spent = {kind: cpu_us(p) - before[kind] for kind, p in pids.items()}
        spent['inside'], spent['sampled'] = (b - a for a, b in zip(inside, self.inside()))
        return load, spent | {'devices': load['devices']}


def cpu_of_a_device(rounds):
    """Microseconds, of all rounds together: one chunk in 16 is sampled, too few in one round to tell the
    inside of C_ functions from the rest of a worker by a few per cent."""
    total = {kind: sum(spent[kind] for spent in rounds) for kind in rounds[0]}
    each = {kind: total[kind] / total['devices'] for kind in ('front', 'store', 'token')}
    each['inside'] = total['inside'] / total['sampled'] if total['sampled'] else 0.0
    each['outside'] = each['token'] - each['inside']
    return each


def measure(args):
    rows = {'bare': [], 'service': [], 'csr': [], 'bare_csr': [], 'cpu': []}
    with Site() as site:
        site.start()
        bench = Bench(site, args.seconds)
        devices = bench.station('bulk', 'dac')['devices']  # warm: caches, pools, arenas
        everything = [p for pids in bench.pids().values() for p in pids]
        rss_start = rss_kb(everything)
        devices = 0
        for _ in range(args.rounds):
            rows['bare'].append(bench.bare()['per_s'])
            load, cpu = bench.service()
            devices += load['devices']
            rows['service'].append(load['per_s'])
            rows['cpu'].append(cpu)
            rows['bare_csr'].append(bench.bare(csr=True)['per_s'])
            rows['csr'].append(bench.station('bulk', 'csr')['per_s'])
        while devices < RSS_DEVICES:
            devices += bench.station('bulk', 'dac')['devices']
        rss_end = rss_kb(everything)
        capacity = bench.station('single', 'dac', '--connections', 8)
        half = bench.station('single', 'dac', '--connections', 8, '--rate', capacity['per_s'] / 2)
        disk = disk_sync_ms(site.dir, args.seconds)
        if sorted(p for pids in bench.pids().values() for p in pids) != sorted(everything):
            raise SystemExit('a process was restarted during the measurement')
    median = statistics.median
    cpu = cpu_of_a_device(rows['cpu'])
    bare, service = median(rows['bare']), median(rows['service'])
    return {
        'cores': bench.cores,
        'bare_loop_per_s': round(bare, 1),
        'service_per_s': round(service, 1),
        'ratio': round(median(s / b for s, b in zip(rows['service'], rows['bare'])), 3),
        'csr_per_s': round(median(rows['csr']), 1),
        'bare_csr_per_s': round(median(rows['bare_csr']), 1),
        'service_cpu_us_per_identity': round(cpu['front'] + cpu['store'] + cpu['outside'], 1),
        'front_cpu_us': round(cpu['front'], 1),
        'store_cpu_us': round(cpu['store'], 1),
        'worker_outside_cpu_us': round(cpu['outside'], 1),
        'worker_inside_cpu_us': round(cpu['inside'], 1),
        'single_per_s': round(capacity['per_s'], 1),
        'latency_p50_ms': half['p50_ms'],
        'latency_p99_ms': half['p99_ms'],
        'disk_sync_p50_ms': round(disk[0], 3),
        'disk_sync_p99_ms': round(disk[1], 3),
        'rss_start_kb': rss_start,
        'rss_end_kb': rss_end,
        'rss_growth_kb': rss_end - rss_start,
        'rss_devices': devices,
    }


class WithoutLedger(Site):
    """A site whose store has no ledger: another program, which is built for this alone."""

    def __init__(self):
        super().__init__()
        lib = self.base / 'lib'
        lib.mkdir()
        (lib / 'mintmark-token').symlink_to(BUILD / 'daemon/token/mintmark-token')
        (lib / 'mintmark-store').symlink_to(BUILD / 'tools/benchmarks/store_without_ledger')
        self.lib = lib

    def start(self, **kwargs):
        os.environ['MINTMARK_LIBEXECDIR'] = str(self.lib)
        try:
            return super().start(**kwargs)
        finally:
            del os.environ['MINTMARK_LIBEXECDIR']


AHEAD, BURST = 128, 128  # pairs that each worker keeps; devices of a burst


def measure_ahead(args):
    """A burst after a pause, and single calls now and then, with keys made ahead and without, in turn."""
    rows = {True: [], False: []}
    with Site() as plain, Site() as ahead:
        text = ahead.conf.read_text()
        ahead.conf.write_text(re.sub(r"(profile '?dac'? \{)", rf'\1\n    keys_ahead = {AHEAD}', text))
        if ahead.conf.read_text() == text:
            raise SystemExit('the demo site has no profile dac')
        benches = {False: Bench(plain.start(), 1), True: Bench(ahead.start(), 1)}
        for _ in range(args.rounds + 2):
            for with_ahead, bench in benches.items():
                burst = bench.station('burst', 'dac', '--per-call', BURST)
                single = bench.station('single', 'dac', '--connections', 1, '--rate', 40)
                rows[with_ahead].append((burst['per_s'], single['p50_ms'], single['p99_ms']))
    result = {'ahead_keys': AHEAD, 'burst_devices': BURST}
    for with_ahead, name in ((True, 'ahead'), (False, 'no_ahead')):
        for i, what in enumerate(('burst_per_s', 'single_p50_ms', 'single_p99_ms')):
            result[f'{name}_{what}'] = round(statistics.median(row[i] for row in rows[with_ahead]), 3)
    return result


def measure_ledger(args):
    """Rounds with and without the ledger in turn; and how long a start verifies a million records."""
    ratios = []
    with Site() as site, WithoutLedger() as without:
        benches = [Bench(s.start(), args.seconds) for s in (site, without)]
        for bench in benches:
            bench.station('bulk', 'dac')  # warm
        for number in range(args.rounds):
            order = benches if number % 2 == 0 else benches[::-1]
            rates = {bench: bench.station('bulk', 'dac')['per_s'] for bench in order}
            ratios.append(rates[benches[0]] / rates[benches[1]])
    with tempfile.TemporaryDirectory(prefix='mintmark-bench-') as directory:
        start = json.loads(run(LEDGER_START, directory, 1_000_000, timeout=600))
    return {
        'ledger_overhead': round(1 - statistics.median(ratios), 3),
        'ledger_start_records': start['records'],
        'ledger_start_whole_s': start['whole_s'],
        'ledger_start_checkpoint_s': start['checkpoint_s'],
    }


def measure_grpc(args):
    why_not = grpc_load.why_not(BUILD)
    if why_not:
        print(f'tools/bench: gRPC by itself is not measured: {why_not}', file=sys.stderr)
        return {}
    with tempfile.TemporaryDirectory(prefix='mintmark-bench-') as directory:
        result = grpc_load.measure(BUILD, pathlib.Path(directory), args.seconds, args.rounds)
    if result['grpcpp_empty_call_cpu_us'] is None:
        print('tools/bench: there is no grpc++ here (packages libgrpc++-dev, '
              'protobuf-compiler-grpc)', file=sys.stderr)
    return result


def show_verify(r):
    print(f"""  mintmark-verify         {r['verify_devices_per_s']:>10} devices/s: report and export of \
{r['verify_devices']} in {r['verify_cpu_s']} s of CPU""")


def show_ejbca(r):
    print(f"""  certificates from EJBCA {r['ejbca_per_s']:>10} /s of {r['ejbca_limit_per_s']}, devices that waited; \
{r['ejbca_stream_per_s']} /s in one stream
  mintmark-issuer         {r['ejbca_cpu_us_per_enrolment']:>10} us a certificate; front \
{r['ejbca_front_cpu_us']}, store {r['ejbca_store_cpu_us']}""")


def show_grpc(r):
    print(f"""  empty gRPC call         {r['grpc_empty_call_cpu_us']:>10} us of the server's CPU, \
{r['grpc_empty_call_writes']} writes; {r['grpc_empty_calls_per_s']} /s""")
    if r['grpcpp_empty_call_cpu_us'] is not None:
        print(f"""  the same by grpc++      {r['grpcpp_empty_call_cpu_us']:>10} us; \
{r['grpcpp_empty_calls_per_s']} /s""")


def show(r):
    print(f"""on {r['cores']} cores, the client on the same machine; medians
  bare PKCS#11 loop       {r['bare_loop_per_s']:>10} identities/s
  service, one stream     {r['service_per_s']:>10} identities/s   ratio {r['ratio']}
  CSRs, one stream        {r['csr_per_s']:>10} /s   (bare loop {r['bare_csr_per_s']})
  service's own CPU       {r['service_cpu_us_per_identity']:>10} us an identity: front \
{r['front_cpu_us']}, store {r['store_cpu_us']}, workers outside C_* {r['worker_outside_cpu_us']}
  workers inside C_*      {r['worker_inside_cpu_us']:>10} us an identity
  single devices          {r['single_per_s']:>10} /s on 8 connections
  latency at half of that   p50 {r['latency_p50_ms']} ms, p99 {r['latency_p99_ms']} ms; the disk's own \
fdatasync p50 {r['disk_sync_p50_ms']} ms, p99 {r['disk_sync_p99_ms']} ms
  memory (anonymous)        {r['rss_start_kb']} kB to {r['rss_end_kb']} kB over \
{r['rss_devices']} devices: {r['rss_growth_kb']:+} kB""")


def show_ahead(r):
    print(f"""  a burst of {r['burst_devices']} after a pause: {r['ahead_burst_per_s']} /s with {r['ahead_keys']} \
keys ahead in each worker, {r['no_ahead_burst_per_s']} /s without
  single calls, 40 /s: p50 {r['ahead_single_p50_ms']} ms, p99 {r['ahead_single_p99_ms']} ms with, \
p50 {r['no_ahead_single_p50_ms']} ms, p99 {r['no_ahead_single_p99_ms']} ms without""")


def growth(args):
    result = growth_load.measure(args.seconds, sorted({int(n) for n in args.growth.split(',')}))
    if args.svg:
        pathlib.Path(args.svg).write_text(growth_load.plot(result))
    print(json.dumps(result) if args.json else growth_load.table(result))


def show_ledger(r):
    print(f"""  ledger and anchors      {100 * r['ledger_overhead']:>10.1f} % of the throughput without
  start, a ledger of {r['ledger_start_records']} records: {r['ledger_start_whole_s']} s for all, \
{r['ledger_start_checkpoint_s']} s from the last checkpoint""")


def main():
    parser = argparse.ArgumentParser(prog='tools/bench', description=__doc__.splitlines()[0])
    parser.add_argument('--seconds', type=float, default=5, help='of each measurement (default 5)')
    parser.add_argument('--rounds', type=int, default=3, help='of alternation (default 3)')
    parser.add_argument('--grpc-only', action='store_true', help='no tokens: gRPC by itself alone')
    parser.add_argument('--ejbca-only', action='store_true', help='certificates from an EJBCA alone')
    parser.add_argument('--ejbca-waiting', type=int, metavar='N',
                        help='how N devices that wait for an EJBCA drain, and what memory that takes')
    parser.add_argument('--hsm-only', action='store_true', help='an HSM across a network alone')
    parser.add_argument('--growth', metavar='N,…', help='the cost of a device with 1, 2 and 4 workers, 10, 100 '
                        'and 1,000 in flight, and so many devices in the database: 0,1000000 for two sizes')
    parser.add_argument('--svg', help='where --growth draws its plot')
    parser.add_argument('--json', action='store_true', help='print one JSON object')
    args = parser.parse_args()
    if args.seconds <= 0 or args.rounds < 1:
        parser.error('--seconds and --rounds must be positive')
    if args.ejbca_waiting:
        print(json.dumps(ejbca_load.measure_waiting(args.ejbca_waiting), indent=None if args.json else 1))
        return
    if args.growth:
        growth(args)
        return
    only = args.grpc_only or args.ejbca_only or args.hsm_only
    grpc = {} if only and not args.grpc_only else measure_grpc(args)
    service = {} if only else (
        measure(args) | measure_ahead(args) | measure_ledger(args) |
        verify_load.measure(VERIFY))
    hsm = {} if only and not args.hsm_only else hsm_load.measure(args.seconds, args.rounds)
    ejbca = {} if only and not args.ejbca_only else ejbca_load.measure(args.seconds, args.rounds)
    if args.json:
        print(json.dumps(service | hsm | ejbca | grpc))
        return
    if service:
        show(service)
        show_ahead(service)
        show_ledger(service)
        show_verify(service)
    if hsm:
        hsm_load.show(hsm)
    if ejbca:
        show_ejbca(ejbca)
    if grpc:
        show_grpc(grpc)


if __name__ == '__main__':
    main()
