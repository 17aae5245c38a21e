# SPDX-License-Identifier: Apache-2.0
"""What the long tests share that kill a service: who starts it again, and who mends SoftHSM's folder."""
import socket
import threading


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


class Keeper(threading.Thread):
    """Starts the front again whenever it is gone, as systemd would, until told to stop."""

    def __init__(self, site):
        super().__init__(daemon=True)
        self.site, self.over, self.error = site, threading.Event(), None
        self.lock = threading.Lock()

    def run(self):
        while not self.over.wait(0.05):
            with self.lock:
                if self.over.is_set() or self.site.daemon.poll() is None:
                    continue
                try:
                    self.site.start(wait=False)
                except RuntimeError as e:
                    self.error = str(e)  # the old store may still hold its lock: try again


class Restorer(threading.Thread):
    """Does what an operator of SoftHSM must: SoftHSM 2.6.1 empties token.object before it writes it anew,
    at each login, and a SIGKILL in between loses the token for good. Puts back the copy of the beginning;
    what a service does while the token is away is what the test is about. Hardware has no such file."""

    def __init__(self, site):
        super().__init__(daemon=True)
        self.file = next(site.base.rglob('token.object'))
        self.content, self.over, self.times = self.file.read_bytes(), threading.Event(), 0

    def run(self):
        empty = 0
        while not self.over.wait(0.5):
            empty = empty + 1 if self.file.stat().st_size == 0 else 0
            if empty == 3:  # nobody is writing it
                self.file.write_bytes(self.content)
                self.times += 1
