#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What stations, and who looks at /readyz, are told of a service whose files are not as they must be:
what is wrong, and no path. Officers and the log have the paths. The token worker is the real one."""
import os
import pathlib
import shutil
import subprocess
import sys
import unittest
import urllib.error
import urllib.request
import uuid

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'support'))

import token_kind  # noqa: E402
from service_site import BUILD, WAIT_S, Base, Refused, station_pb2, types_pb2  # noqa: E402

TOKEN = BUILD / 'daemon/token/mintmark-token'
token_kind.only_softhsm('the configuration is for SoftHSM')
MODULE = '/usr/lib/softhsm/libsofthsm2.so'  # as service_site names it
ON = 'metrics { port = 0 }'


class Paths(Base):
    workers = 1

    def setUp(self):
        super().setUp()
        self.folder = str(self.service.dir)
        self.batch = str(uuid.uuid4())

    def begin(self, spoil, pattern):
        """Starts a service that is spoilt once it is up; waits until the log has the pattern."""
        s = self.service
        s.start(wait=False, more=ON)
        self.http = int(s.wait_log(r'event=metrics_listening .*port=(\d+)')[1])
        spoil()
        s.wait_log(pattern)

    def with_real_worker(self):
        """An order and a batch of a service with fake workers; from now on they are real."""
        s = self.service
        _, self.batch = self.started()
        s.stop()
        link = s.dir / 'lib/mintmark-token'
        link.unlink()
        link.symlink_to(TOKEN)
        shutil.copy(token_kind.MODULE, s.dir / 'my module.so')
        (s.dir / 'softhsm2.conf').write_text(f'directories.tokendir = {s.dir}/tokens\n')
        (s.dir / 'tokens').mkdir()
        subprocess.run(['softhsm2-util', '--init-token', '--free', '--label', 'test', '--so-pin', '1234',
                        '--pin', '1234'], env=dict(os.environ, SOFTHSM2_CONF=str(s.dir / 'softhsm2.conf')),
                       check=True, stdout=subprocess.DEVNULL)
        configure = s.configure

        def with_copy(*args, **kwargs):
            configure(*args, **kwargs)
            text = s.conf.read_text().replace(MODULE, f'{s.dir}/my module.so')
            s.conf.write_text(text.replace('/nowhere', f'{s.dir}/softhsm2.conf'))
        s.configure = with_copy

    def readyz(self):
        try:
            with urllib.request.urlopen(f'http://127.0.0.1:{self.http}/readyz', timeout=WAIT_S) as page:
                return page.read().decode()
        except urllib.error.HTTPError as error:
            return error.read().decode()

    def refusals(self, client):
        """The texts of all calls of a station that this service refuses."""
        texts = []
        batch = {'batch_uid': self.batch}
        calls = [
            lambda: client.open_batch(1),
            lambda: client.provision(self.batch, 1, 'r'),
            lambda: client.station('GetBatch', **batch),
            lambda: client.station('ListBatches'),
            lambda: client.station('GetProvisioningData', device_uid=str(uuid.uuid4())),
            lambda: client.station('ReportDevices', devices=[station_pb2.DeviceReport(
                device_uid=str(uuid.uuid4()), state=types_pb2.DEVICE_STATE_OK)], **batch),
            lambda: client.station('ReleaseBatch', **batch),
            lambda: client.station('GetReport', **batch),
            lambda: client.station('Random', token='main', length=16),
        ]
        for call in calls:
            try:
                call()
            except Refused as error:
                texts.append(error.text)
        return texts

    def tell(self, wanted):
        """Holds all that a station can see against the log; [path] stands in what is told of `wanted`."""
        station, officer = self.client(), self.client('officer')
        self.eventually(lambda: '[path]' in station.station('Ping').detail)
        ping = station.station('Ping')
        self.assertFalse(ping.ready)
        texts = self.refusals(station)
        seen = [ping.detail, self.readyz(), *texts]
        self.assertIn('[path]', self.readyz())
        self.assertIn('[path]', ' '.join(texts))
        for text in seen:
            self.assertNotIn(self.folder, text)
            self.assertNotRegex(text, r'''(^|[\s'"(=:])/''')
        self.assertIn(wanted, ' '.join(seen))
        self.assertFalse(station.health())
        # Officers see which file it is.
        self.eventually(lambda: self.folder in officer.station('Ping').detail)
        self.assertIn(self.folder, officer.call('OfficerService', 'GetStatus').detail)
        self.assertIn(self.folder, self.service.log_text())

    def test_a_module_that_is_missing(self):
        self.with_real_worker()
        self.begin((self.service.dir / 'my module.so').unlink, 'my module.so: cannot open shared object')
        self.tell('cannot open shared object file')

    def test_a_pin_file_that_is_missing(self):
        self.with_real_worker()
        self.begin((self.service.dir / 'pin').unlink, r'pin: no such file')
        self.tell('no such file')

    def test_a_database_that_cannot_be_opened(self):
        (self.service.dir / 'mintmark.db').mkdir()
        # Also when it is started with a relative path.
        self.service.conf = pathlib.Path(os.path.relpath(self.service.conf))
        self.begin(lambda: None, r'event=worker_lost worker=store')
        station = self.client()
        self.eventually(lambda: 'the store is away' in station.station('Ping').detail)
        for text in [station.station('Ping').detail, self.readyz(), *self.refusals(station)]:
            self.assertNotIn(self.folder, text)
            self.assertNotRegex(text, r'''(^|[\s'"(=:])/''')
        self.assertRegex(self.service.log_text(), r'text="/\S*/mintmark.db: cannot open')


if __name__ == '__main__':
    unittest.main(verbosity=2)
