# SPDX-License-Identifier: Apache-2.0
"""How fast mintmark-verify is: a batch's report and the export of its ledger, held against each other,
by one process of one thread. Both are made by tests/support/plant.py."""
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEVICES = 100_000
RECORD = 64  # devices of one record, as the service enters them


def make(folder, devices):
    """The export, the report, and the options that name whom to trust."""
    subprocess.run(['protoc', f'--proto_path={ROOT}/proto', f'--python_out={folder}',
                    *(f'mintmark/v1/{n}.proto' for n in ('types', 'document', 'ledger', 'account'))],
                   check=True)
    sys.path[:0] = [str(folder), str(ROOT / 'tests/support')]
    from plant import Plant
    p = Plant(folder)
    p.start()
    p.order(quantity=devices)
    p.open(quantity=devices)
    for i in range(0, devices, RECORD):
        p.spend(min(RECORD, devices - i))
    p.report(ko=devices // 100)
    p.release()
    report = p.sign_report()
    p.checkpoint()
    return p.export(), report, p.trust()[:2], p.trust()[4:6]


def measure(verify, devices=DEVICES):
    """By the process's own CPU time: it has one thread, and reads files that were just written."""
    with tempfile.TemporaryDirectory(prefix='mintmark-bench.') as name:
        export, report, audit, oem = make(pathlib.Path(name), devices)
        process = subprocess.Popen(list(map(str, [
            verify, 'report', report, *audit, *oem, '--export', export])),
            stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            raise RuntimeError(f'mintmark-verify ended with {process.returncode}')
        seconds = usage.ru_utime + usage.ru_stime
        return {'verify_devices_per_s': round(devices / seconds), 'verify_devices': devices,
                'verify_cpu_s': round(seconds, 2)}


if __name__ == '__main__':
    print(measure(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else DEVICES))
