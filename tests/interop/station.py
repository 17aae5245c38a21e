#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A well-behaved station: unary calls over TLS at a steady rate, until its standard input ends.

usage: station.py PORT CA CERTIFICATE KEY METHOD RATE

A line for each call: when it was due on CLOCK_MONOTONIC, how many seconds it took from then, and what
was wrong with the answer. The next call is due on time even when the last one was late.
"""
import select
import sys
import time

from harness import Raw, status_of, tls_context


def one_call(peer, path):
    """'' or what is wrong."""
    try:
        _, trailers, _, ended = peer.answer(peer.call(path))
    except OSError as error:
        return repr(error)
    return '' if status_of(trailers) == 0 and ended == 'end' else f'{trailers} {ended}'


def main(port, ca, certificate, key, path, rate):
    context = tls_context(ca, (certificate, key))
    peer, due = Raw(int(port), context), time.monotonic()
    while not select.select([sys.stdin], [], [], max(0, due - time.monotonic()))[0]:
        why = one_call(peer, path)
        print(f'{due:.6f} {time.monotonic() - due:.6f} {why}', flush=True)
        if why:
            peer.socket.close()
            peer = Raw(int(port), context)
        due += 1 / float(rate)
    peer.socket.close()


main(*sys.argv[1:])
