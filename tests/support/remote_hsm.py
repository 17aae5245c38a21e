# SPDX-License-Identifier: Apache-2.0
"""A second token for a demo site, which behaves like an HSM across a network (tests/remote/remote.c): each
call takes its time, and there are so many sessions. Behind it is the mock token in plain C, whose
cryptography is cheap enough that the waiting rules.

The site's own token keeps the appliance's keys; the profile `remote` has its devices made in the second.
"""
import pathlib
import struct

from site_under_test import BUILD, OFFICER, run

CONF = """
token 'hsm' {{
    module = '{module}'
    uri = 'pkcs11:token=hsm'
    pin_file = 'hsm.pin'
    workers = {workers}
    network = true
    environment = {{{environment}}}
}}
"""
PROFILE = """
transport 'hsm-line' { token = 'hsm' key = 'pkcs11:object=hsm-line' }
issuer 'hsm-ca' { token = 'hsm' key = 'pkcs11:object=hsm-ca' certificate = 'ca/hsm-ca.pem' }
profile 'remote' {
    issuer = 'hsm-ca' delivery = 'wrapped' transport = 'hsm-line'
    subject = 'CN=remote-${number:12},O=mintmark demo' validity = '10y'
}
"""
# C_ calls of a device: its pair is made, two reads of attributes, C_SignInit and C_Sign, the wrap, and two
# objects are destroyed.
CALLS_PER_DEVICE = 8


class RemoteHsm:
    def __init__(self, site, workers=0, call_us=1000, sessions=32):
        self.site, self.call_us, self.sessions = site, call_us, sessions
        self.shared = site.dir / 'hsm.shared'
        self.module = BUILD / 'tests/remote/p11remote.so'
        environment = ', '.join(f"'{k}={v}'" for k, v in self.environment().items())
        site.configure(CONF.format(module=self.module, workers=workers, environment=environment))
        self._ceremony('token', 'init', '--label', 'hsm', '--generate-so-pin-file', site.dir / 'hsm-so.pin',
                       '--generate-pin-file', site.dir / 'hsm.pin')
        self._ceremony('ca', 'create-root', '--label', 'hsm-root', '--create-key', '--path-length', 1,
                       '--subject', 'CN=remote root,O=mintmark demo', '--validity', '99991231235959Z',
                       '--out', site.dir / 'ca/hsm-root.pem')
        self._ceremony('ca', 'create-sub', '--label', 'hsm-ca', '--create-key', '--path-length', 0,
                       '--subject', 'CN=remote CA,O=mintmark demo', '--validity', '99991231235959Z',
                       '--parent-label', 'hsm-root', '--parent-certificate', site.dir / 'ca/hsm-root.pem',
                       '--out', site.dir / 'ca/hsm-ca.pem')
        self._ceremony('key', 'create', '--use', 'transport', '--label', 'hsm-line')
        site.configure(PROFILE)

    def _ceremony(self, *command):
        run(OFFICER, *command, '--token', 'hsm', '--config', self.site.conf, '--operator', 'one',
            '--witness', 'two', '--yes')

    def environment(self):
        return {'MM_REMOTE_MODULE': BUILD / 'tests/mock/mm-mock-p11.so', 'MM_REMOTE_STATE': self.shared,
                'MM_REMOTE_CALL_US': str(self.call_us), 'MM_REMOTE_SESSIONS': str(self.sessions),
                'MM_MOCK_P11_STATE': self.site.dir / 'hsm.objects', 'MM_MOCK_P11_RULES': 'cheap'}

    def ideal_per_s(self):
        """What the HSM's sessions could make, were nothing else to be done."""
        return self.sessions * 1e6 / (CALLS_PER_DEVICE * self.call_us)

    def counts(self):
        """Calls so far; the most that were under way at one time; the most sessions that were open."""
        return struct.unpack('<QII', pathlib.Path(self.shared).read_bytes()[:16])

    def forget_counts(self):
        with open(self.shared, 'r+b') as shared:
            shared.write(bytes(16))
