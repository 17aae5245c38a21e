# SPDX-License-Identifier: Apache-2.0
"""Running mintmark-verify in tests."""
import json
import os
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get('MINTMARK_BUILD', ROOT / 'build'))
VERIFY = os.environ.get('MM_VERIFY') or str(BUILD / 'tools/verify/mintmark-verify')


def verify(*arguments, json_output=True, timeout=60):
    """(exit status, its JSON), or, with json_output=False, what subprocess.run gives."""
    done = subprocess.run([VERIFY, *map(str, arguments), *(['--json'] if json_output else [])],
                          capture_output=True, text=True, timeout=timeout)
    if not json_output:
        return done
    if done.returncode not in (0, 1):
        raise AssertionError(f'{arguments}: {done.returncode} {done.stderr}')
    said = json.loads(done.stdout)
    assert said['ok'] == (done.returncode == 0) == (said['findings'] == 0), said
    return done.returncode, said


class Mutations:
    """For test cases with a folder self.dir."""

    def assert_no_mutation_passes(self, data, command, n):
        """One bit of one byte changed, at n places from end to end; and the file cut off there. The
        verifier finds fault each time, and never ends in another way."""
        path = pathlib.Path(self.dir) / 'mutated'
        places = sorted({i * (len(data) - 1) // (n - 1) for i in range(n)})
        for number, at in enumerate(places):
            changed = bytearray(data)
            changed[at] ^= 1 << number % 8
            for what in (bytes(changed), data[:at]) if number % 8 == 0 else (bytes(changed),):
                path.write_bytes(what)
                done = verify(*command(path), json_output=False)
                self.assertEqual(done.returncode, 1, f'byte {at} of {len(data)}: {done.stdout} '
                                                     f'{done.stderr}')
