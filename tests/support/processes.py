# SPDX-License-Identifier: Apache-2.0
"""Processes below another one."""
import pathlib
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


def end_all(process, sig, seconds):
    """Sends a Popen's process a signal and waits for it, and for those below it: after SIGKILL they are
    still at their files for a moment. Its exit status."""
    below = descendants(process.pid)
    if process.poll() is None:
        process.send_signal(sig)
    status = process.wait(timeout=seconds)
    end = time.monotonic() + seconds
    while any(alive(pid) for pid in below) and time.monotonic() < end:
        time.sleep(0.01)
    return status
