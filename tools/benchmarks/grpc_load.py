# SPDX-License-Identifier: Apache-2.0
"""What an empty unary call costs a server, ours beside grpc++'s, under the same load by h2load.

Both serve grpc.testing.TestService/EmptyCall over TLS 1.3 with the same certificate. The figure is
the server process's own CPU time, user and system, by call: the client's does not count, and other
work on the machine does little to it.
"""
import os
import pathlib
import re
import shutil
import statistics
import subprocess

CONNECTIONS, STREAMS = 8, 64
PATH = '/grpc.testing.TestService/EmptyCall'
HEADERS = ['-H', 'content-type: application/grpc', '-H', 'te: trailers']
TICK_US = 1e6 / os.sysconf('SC_CLK_TCK')


def cpu_us(pid):
    """CPU time of a process with all its threads so far, utime and stime."""
    fields = pathlib.Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * TICK_US


def writes(pid):
    """Calls of write() by a process so far, by which OpenSSL writes to our sockets. grpc++ uses
    others, which are not counted."""
    text = pathlib.Path(f'/proc/{pid}/io').read_text()
    return int(re.search(r'^syscw: (\d+)', text, re.M).group(1))


class Server:
    """A server under load; it prints its port first."""

    def __init__(self, argv, directory):
        self.body = directory / 'empty.grpc'
        self.body.write_bytes(bytes(5))  # a message of no bytes: five bytes of prefix
        self.process = subprocess.Popen([str(a) for a in argv], stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL)
        line = self.process.stdout.readline().strip()
        if not line.isdigit():
            raise SystemExit(f'{argv[0]} does not start')
        self.url = f'https://127.0.0.1:{int(line)}{PATH}'

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def check(self):
        """One call must end with grpc-status 0: h2load looks at HTTP's status alone."""
        done = subprocess.run(['nghttp', '-v', '--no-verify-peer', '-d', self.body, *HEADERS,
                               self.url], stdout=subprocess.PIPE, check=True).stdout.decode()
        if not re.search(r'grpc-status: 0\b', done):
            raise SystemExit(f'an empty call to {self.url} failed:\n{done}')

    def load(self, calls):
        """So many calls; returns microseconds of the server's CPU by call, its writes by call, and
        calls a second."""
        pid = self.process.pid
        cpu_before, writes_before = cpu_us(pid), writes(pid)
        done = subprocess.run(['h2load', '-n', str(calls), '-c', str(CONNECTIONS), '-m',
                               str(STREAMS), '-t1', '-d', self.body, *HEADERS, self.url],
                              stdout=subprocess.PIPE, check=True).stdout.decode()
        cpu, written = cpu_us(pid) - cpu_before, writes(pid) - writes_before
        if f' {calls} succeeded' not in done or 'TLSv1.3' not in done:
            raise SystemExit(f'h2load was not served in full:\n{done}')
        rate = float(re.search(r', ([\d.]+) req/s', done).group(1))
        return {'call_cpu_us': cpu / calls, 'call_writes': written / calls, 'calls_per_s': rate}


def why_not(build):
    """Why there can be no measurement here; None: there can. grpc++ may still be missing."""
    for tool in ('h2load', 'nghttp'):
        if not shutil.which(tool):
            return f'{tool} is missing (package nghttp2-client)'
    if not (build / 'tests/interop/testserver').exists():
        return 'the test server is not built'
    return None


def measure(build, directory, seconds, rounds):
    """The medians of alternating runs, as fields of the JSON object; grpc++'s are None where there
    is no grpc++."""
    certificate, key = directory / 'grpc.pem', directory / 'grpc.key'
    subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt',
                    'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj', '/CN=localhost',
                    '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1', '-keyout', key, '-out',
                    certificate], check=True, stderr=subprocess.DEVNULL)
    programs = {'grpc': build / 'tests/interop/testserver',
                'grpcpp': build / 'tools/benchmarks/grpcpp_server'}
    servers = {name: Server([path, '--cert', certificate, '--key', key], directory)
               for name, path in programs.items() if path.exists()}
    runs = {name: [] for name in servers}
    try:
        calls = {}
        for name, server in servers.items():
            server.check()
            rate = server.load(20_000)['calls_per_s']  # warm, and how fast it is
            calls[name] = max(10_000, int(rate * seconds))
        for _ in range(rounds):
            for name, server in servers.items():
                runs[name].append(server.load(calls[name]))
    finally:
        for server in servers.values():
            server.stop()
    def median(name, what, digits):
        return round(statistics.median(r[what] for r in runs[name]), digits) if name in runs else None

    result = {}
    for name in programs:
        result[f'{name}_empty_call_cpu_us'] = median(name, 'call_cpu_us', 2)
        result[f'{name}_empty_calls_per_s'] = median(name, 'calls_per_s', 1)
    result['grpc_empty_call_writes'] = median('grpc', 'call_writes', 4)
    return result
