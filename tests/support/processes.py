# SPDX-License-Identifier: Apache-2.0
"""Processes below another one."""
import os
import pathlib
import signal
import time


def descendants(pid):
    try:
        children = pathlib.Path(f'/proc/{pid}/task/{pid}/children').read_text().split()
    except OSError:
        return []
    return [p for child in map(int, children) for p in [child, *descendants(child)]]


def alive(pid):
    """Runs, and is not a zombie that its new parent has not looked at yet."""
    try:
        return pathlib.Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] not in 'ZX'
    except OSError:
        return False


def name_of(pid):
    """Its program, as it was started; empty when it is gone."""
    try:
        return pathlib.Path(f'/proc/{pid}/cmdline').read_bytes().split(b'\0')[0].decode()
    except OSError:
        return ''


def end_all(process, sig, seconds):
    """Sends a Popen's process a signal and waits for it, and for those below it: after SIGKILL they are
    still at their files for a moment. Its exit status. What outlives it is ended, and is an error: nothing
    of a site may stay behind, however it ends."""
    below = descendants(process.pid)
    if process.poll() is None:
        process.send_signal(sig)
    status = process.wait(timeout=seconds)
    end = time.monotonic() + seconds
    while any(alive(pid) for pid in below) and time.monotonic() < end:
        time.sleep(0.01)
    left = {pid: name_of(pid) for pid in below if alive(pid)}
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left, f'outlived the service: {left}'
    return status
