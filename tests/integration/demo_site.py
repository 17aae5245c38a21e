# SPDX-License-Identifier: Apache-2.0
"""A test case with a demo site of its own, which it starts when it likes, and the site's station."""
from service_site import Base, Client, Users
from site_under_test import Site


class OnDemoSite(Base):
    workers = 1

    def setUp(self):
        self.site = Site(workers=self.workers)
        self.addCleanup(self.site.__exit__, None)
        self.exports = 0

    def start(self, wait=True):
        self.site.start(wait=wait)
        station = Client(Users(self.site), 'station')
        self.addCleanup(station.channel.close)
        return station

    def export(self):
        """The ledger as it is now, in a file."""
        self.exports += 1
        out = self.site.dir / f'export-{self.exports}'
        self.site.officer('ledger', 'export', '--out', out)
        return out
