#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The service under valgrind for a short run: front, launcher and store, with workers that die, calls
that are cut off, a reload and a drain. No error, nothing lost."""
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

import service_site
from service_site import MINTMARKD, Base, Service, fields_of

OPTIONS = ['--leak-check=full', '--show-leak-kinds=definite,indirect', '--trace-children=yes',
           '--trace-children-skip=*mintmark-token', '--child-silent-after-fork=no', '--quiet',
           '--errors-for-leak-kinds=definite,indirect']
service_site.WAIT_S = 120  # everything takes some thirty times as long


class UnderValgrind(Service):
    def spawn(self, *args):
        env = dict(os.environ, MINTMARK_LIBEXECDIR=str(self.dir / 'lib'))
        with open(self.log, 'ab') as log:
            return subprocess.Popen(
                ['valgrind', *OPTIONS, f'--log-file={self.dir}/valgrind.%p', MINTMARKD, *args],
                stderr=log, env=env, stdin=subprocess.DEVNULL)


class Valgrind(Base):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix='mintmark-service.')
        self.addCleanup(folder.cleanup)
        self.service = UnderValgrind(folder.name)
        self.addCleanup(self.service.stop, signal.SIGKILL)

    def test_a_short_run(self):
        station, batch = self.started('job=die', self.service.until())
        self.assertEqual(len(station.provision_persistently(batch, 500, 'r')), 500)
        serials = [f'SN-{i}' for i in range(70)]
        self.assertEqual(len(station.provision(batch, 70, 's', hw_serials=serials)), 70)
        self.assertEqual(len(station.provision(batch, 70, 's', hw_serials=serials)), 70)
        call = station.stream(batch, 3000, 'cut')
        self.assertTrue(fields_of(next(call), 1))
        call.cancel()
        self.refused('NOT_FOUND', 'UNKNOWN_PROFILE', station.station, 'OpenBatch', name='b',
                     profile='x', device_type='t', quantity=1)
        self.service.configure('shared=new')
        self.service.daemon.send_signal(signal.SIGHUP)
        self.service.wait_log('event=reloaded')
        self.assertEqual(len(station.provision_persistently(batch, 200, 't')), 200)
        self.service.status()
        station.station('ReleaseBatch', batch_uid=batch)
        station.channel.close()
        self.assertEqual(self.service.stop(), 0)
        self.check_logs()

    def check_logs(self):
        logs = list(self.service.dir.glob('valgrind.*'))
        self.assertGreaterEqual(len(logs), 3)  # front, launcher, store
        said = '\n'.join(log.read_text() for log in logs)
        self.assertFalse(re.search(r'^==\d+== \S', said, re.M), said)


if __name__ == '__main__':
    if not shutil.which('valgrind') or os.environ.get('MINTMARK_SANITIZED'):
        print('skipped: valgrind is missing, or this is a sanitizer build')
        sys.exit(77)
    assert pathlib.Path(MINTMARKD).exists()
    unittest.main()
