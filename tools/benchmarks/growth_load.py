# SPDX-License-Identifier: Apache-2.0
"""What a device costs as the work grows: 1, 2 and 4 workers; 10, 100 and 1,000 devices in flight; and no, a
million and ten million devices in the database.

A station asks for N devices in a call, and for the next N when it has them: so many are in flight. The
database is filled by the store's own verb while the service is away (store_fill.c).
"""
import contextlib
import json
import os
import pathlib
import re
import signal
import sqlite3
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tests/support'))
from site_under_test import BUILD, Site, run  # noqa: E402

STATION = BUILD / 'tools/benchmarks/station'
FILL = BUILD / 'tools/benchmarks/store_fill'
WORKERS, IN_FLIGHT = (1, 2, 4), (10, 100, 1000)
BATCH = 10_000_000
START_S = 120
MILLION = 1_000_000


def cpu_us(pids):
    return sum(int(pathlib.Path(f'/proc/{p}/schedstat').read_text().split()[0]) for p in pids) / 1e3


class Growth:
    def __init__(self, site, seconds):
        self.site, self.seconds = site, seconds
        self.database = site.dir / 'store/mintmark.db'
        self.devices = 0
        site.start()
        site.add_order('growth', 1_000_000_000)
        self.batch = site.open_batch(BATCH, name='measured')
        self.station(10)
        site.stop()
        self.bundle = site.base / 'bundle'
        self.bundle.write_bytes(self.query('SELECT bundle FROM devices LIMIT 1'))

    def query(self, sql):
        with contextlib.closing(sqlite3.connect(f'file:{self.database}?mode=ro', uri=True)) as database:
            return database.execute(sql).fetchone()[0]

    def station(self, in_flight):
        tls = self.site.dir / 'tls'
        return json.loads(run(
            STATION, 'bulk', '--target', f'127.0.0.1:{self.site.port}', '--ca', tls / 'ca.pem',
            '--certificate', tls / 'station.pem', '--key', tls / 'station.key', '--batch', self.batch,
            '--seconds', self.seconds, '--per-call', in_flight, '--warm', in_flight, timeout=600))

    def fill(self, devices):
        """So many devices in the database, in batches of their own; seconds that it took."""
        took = 0.0
        while self.devices < devices:
            count = min(devices - self.devices, BATCH)
            self.site.start()
            batch = self.site.open_batch(count, name=f'filled-{self.devices}')
            self.site.stop()
            first = self.query("SELECT next_number FROM profiles WHERE name = 'dac'")
            answer = json.loads(run('nice', FILL, self.database, batch, first, count, self.bundle, timeout=7200))
            took += answer['seconds']
            self.devices += count
        return took

    def row(self, workers, in_flight):
        pids = self.site.processes()
        kinds = {'front': pids['mintmarkd'], 'store': pids['mintmark-store'], 'token': pids['mintmark-token']}
        before = {kind: cpu_us(p) for kind, p in kinds.items()}
        load = self.station(in_flight)
        made = load['devices'] + in_flight
        return {'devices_before': self.devices, 'workers': workers, 'in_flight': in_flight,
                'per_s': load['per_s'],
                **{f'{kind}_cpu_us': round((cpu_us(p) - before[kind]) / made, 1) for kind, p in kinds.items()}}

    def rows(self):
        for workers in WORKERS:
            text = self.site.conf.read_text()
            self.site.conf.write_text(re.sub(r'workers = \d+', f'workers = {workers}', text))
            self.site.start()
            end = time.monotonic() + START_S
            while len(self.site.processes().get('mintmark-token', ())) < workers:
                if time.monotonic() > end:
                    raise SystemExit(f'the workers do not come:\n{self.site.log_tail()}')
                time.sleep(0.1)
            for in_flight in IN_FLIGHT:
                yield self.row(workers, in_flight)
            self.site.stop(signal.SIGTERM)


def measure(seconds, sizes):
    rows, fills = [], []
    with Site(workers=1) as site:
        growth = Growth(site, seconds)
        for size in sizes:
            fills.append({'devices': size, 'fill_s': round(growth.fill(size), 1),
                          'database_mb': round(os.stat(growth.database).st_size / 1e6)})
            for row in growth.rows():
                rows.append(row)
                print(json.dumps(row), file=sys.stderr, flush=True)
    return {'growth': rows, 'growth_fills': fills}


# ---- how it is shown ---------------------------------------------------------------------------

def words(devices):
    return f'{devices / MILLION:g} M' if devices else '0'


def table(result):
    lines = ['| Devices before | Workers | In flight | Devices a second | CPU of a device, us: front | store | workers |',
             '|---|---|---|---|---|---|---|']
    lines += [f"| {words(r['devices_before'])} | {r['workers']} | {r['in_flight']:,} | {r['per_s']:,.0f} | "
              f"{r['front_cpu_us']} | {r['store_cpu_us']} | {r['token_cpu_us']} |" for r in result['growth']]
    return '\n'.join(lines)


COLOURS = {10: '#9ecae1', 100: '#4292c6', 1000: '#084594'}
PANEL_W, PANEL_H, LEFT, TOP, GAP = 230, 240, 60, 50, 30
BAR, SPACE = 18, 20


def panel(x, size, rows, top_rate):
    """The bars of one size of database: a group for each number of workers, a bar for each depth."""
    out = [f'<text x="{x + PANEL_W / 2:.0f}" y="{TOP - 12}" text-anchor="middle">{words(size)} devices before</text>',
           f'<line x1="{x}" y1="{TOP + PANEL_H}" x2="{x + PANEL_W}" y2="{TOP + PANEL_H}" stroke="#333"/>']
    for group, workers in enumerate(WORKERS):
        left = x + SPACE / 2 + group * (len(IN_FLIGHT) * BAR + SPACE)
        out.append(f'<text x="{left + len(IN_FLIGHT) * BAR / 2:.0f}" y="{TOP + PANEL_H + 16}" '
                   f'text-anchor="middle">{workers}</text>')
        for i, depth in enumerate(IN_FLIGHT):
            rate = next(r['per_s'] for r in rows if r['workers'] == workers and r['in_flight'] == depth)
            height = PANEL_H * rate / top_rate
            out.append(f'<rect x="{left + i * BAR:.0f}" y="{TOP + PANEL_H - height:.1f}" width="{BAR - 2}" '
                       f'height="{height:.1f}" fill="{COLOURS[depth]}"/>')
    return out


def plot(result):
    rows = result['growth']
    sizes = sorted({r['devices_before'] for r in rows})
    step = 500 if max(r['per_s'] for r in rows) < 4000 else 1000
    top_rate = (max(r['per_s'] for r in rows) // step + 1) * step
    width = LEFT + len(sizes) * (PANEL_W + GAP)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{TOP + PANEL_H + 70}" '
           'font-family="sans-serif" font-size="12">', '<rect width="100%" height="100%" fill="white"/>',
           f'<text x="8" y="{TOP - 30}">devices a second</text>']
    for rate in range(0, int(top_rate) + 1, step):
        y = TOP + PANEL_H - PANEL_H * rate / top_rate
        out.append(f'<text x="{LEFT - 8}" y="{y + 4:.0f}" text-anchor="end">{rate:,}</text>'
                   f'<line x1="{LEFT}" y1="{y:.0f}" x2="{width - GAP}" y2="{y:.0f}" stroke="#ddd"/>')
    for i, size in enumerate(sizes):
        out += panel(LEFT + i * (PANEL_W + GAP), size, [r for r in rows if r['devices_before'] == size], top_rate)
    y = TOP + PANEL_H + 46
    out.append(f'<text x="{LEFT}" y="{y}">workers; in flight:</text>')
    for i, depth in enumerate(IN_FLIGHT):
        x = LEFT + 130 + i * 90
        out.append(f'<rect x="{x}" y="{y - 10}" width="12" height="12" fill="{COLOURS[depth]}"/>'
                   f'<text x="{x + 18}" y="{y}">{depth:,}</text>')
    return '\n'.join([*out, '</svg>', ''])
