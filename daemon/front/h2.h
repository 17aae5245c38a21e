/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One HTTP/2 connection, server side, without its socket: bytes in, bytes out, time from
 * mm_clock_mono_us. nghttp2 does the protocol; here are the limits that it does not have, the
 * drain, and the calls.
 *
 * RFC 9113; what gRPC makes of it: grpc/grpc doc/PROTOCOL-HTTP2.md.
 */
#pragma once

#include "daemon/front/core.h"

#include <sys/types.h>

struct mm_h2;

struct mm_h2_options {
    struct mm_core *core;       /* borrowed */
    const struct mm_peer *peer; /* borrowed */
    /* There may be output, or an earlier mm_h2_next_us, now; called from anywhere but from inside
     * the functions below that take or give bytes. */
    void (*wake)(void *arg);
    void *arg;
};

int mm_h2_new(const struct mm_h2_options *options, struct mm_h2 **ret_h2) MM_MUST_USE;
/* Cancels the calls that are left. NULL is fine. */
void mm_h2_free(struct mm_h2 *h2);
MM_DEFINE_CLEANUP(struct mm_h2 *, mm_h2_free)
#define MM_H2_CLEANUP MM_CLEANUP(mm_h2_free_p)

/* Takes bytes from the peer. Whatever they are, the answer is in the output; a peer that is sent
 * away shows in mm_h2_is_over. MM_ERR_MEMORY: the session is lost. */
int mm_h2_recv(struct mm_h2 *h2, const uint8_t *data, size_t len) MM_MUST_USE;

/* Puts output into out, at least MM_H2_SEND_MIN bytes long, and returns how much; 0: nothing to
 * send. MM_ERR_MEMORY: the session is lost. */
enum { MM_H2_SEND_MIN = 32 * 1024 };
ssize_t mm_h2_send(struct mm_h2 *h2, uint8_t *out, size_t size) MM_MUST_USE;

/* Tells calls that were told to stop sending that there is room again, and gives those that have
 * resumed what they were sent meanwhile. Call it when output has left for the socket, and after
 * wake; it may make more. */
void mm_h2_run_writable(struct mm_h2 *h2);

/* Nothing more will be read, and all output has been taken: close. */
bool mm_h2_is_over(const struct mm_h2 *h2);

/* When mm_h2_tick wants to be called next, on mm_clock_mono_us; INT64_MAX for never. */
int64_t mm_h2_next_us(const struct mm_h2 *h2);
/* Deadlines, keepalive, idle time, the second GOAWAY. */
void mm_h2_tick(struct mm_h2 *h2);

/* First step of the drain; the second follows on the peer's answer or after MM_GOAWAY_MS. Calls run
 * on. */
void mm_h2_drain(struct mm_h2 *h2, enum mm_drain why);
/* Ends all calls as UNAVAILABLE. */
void mm_h2_cancel_calls(struct mm_h2 *h2);
