/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls of any shape, any number of them at once on a client's connection. Nothing here waits but
 * mm_client_wait:
 *
 *     mm_client_call_new(client, &options, &call, &error);
 *     mm_client_call_send(call, &request, false);
 *     mm_client_call_half_close(call);
 *     while ((r = mm_client_call_next(call, &message, &end)) != MM_ERR_EOF) {
 *         if (r == MM_OK)
 *             … use message
 *         else if (mm_client_wait(client, INT64_MAX, &error) < 0)
 *             … cancelled: mintmark_cancel() was called
 *     }
 *     … end->error.status
 *     mm_client_call_free(call);
 *
 * With several calls, look at each of them after every mm_client_wait. The connection is made when
 * a call needs it, and made again when it was lost; between attempts that fail, a pause grows
 * (retry.h), in which calls fail at once. A call that the server certainly did not act on (it never
 * left; REFUSED_STREAM; above the last stream of a GOAWAY) moves to another connection by itself,
 * once, and nothing shows it. All other repeating is the caller's (rpc.h).
 *
 * Return values below zero are enum mm_err, but for those with an *error: minus its status.
 */
#pragma once

#include "client/client.h"

struct mm_client_call;

struct mm_client_call_options {
    struct mm_stream_options stream; /* what to call, and how */
    int64_t deadline_us;             /* on mm_clock_mono_us; INT64_MAX: none */
};

/* Begins a call. The options are copied. All calls must be freed before their client. */
int mm_client_call_new(struct mintmark *client, const struct mm_client_call_options *options,
                       struct mm_client_call **ret_call, struct mintmark_error *error) MM_MUST_USE;
/* A call that has not ended is cancelled. NULL is fine. */
void mm_client_call_free(struct mm_client_call *call);
MM_DEFINE_CLEANUP(struct mm_client_call *, mm_client_call_free)

/* One request message; see mm_stream_send. MM_ERR_AGAIN: mm_client_wait, then try again.
 * MM_ERR_EOF: the call has ended, mm_client_call_next says how. */
int mm_client_call_send(struct mm_client_call *call, const struct mm_bytes *message,
                        bool compress) MM_MUST_USE;
/* No more requests. */
void mm_client_call_half_close(struct mm_client_call *call);

/* The next response message; see mm_stream_next. When the deadline has passed, or after a cancel,
 * messages that were not read yet are dropped. */
int mm_client_call_next(struct mm_client_call *call, struct mm_bytes *ret_message,
                        const struct mm_stream_end **ret_end) MM_MUST_USE;

/* Ends the call with CANCELLED, and tells the server. */
void mm_client_call_cancel(struct mm_client_call *call);

/* For what the server said around the messages (mm_stream_headers and so on). Borrowed. */
const struct mm_stream *mm_client_call_stream(const struct mm_client_call *call);

/* Sends and receives for all calls, and waits until one of them may have something new. 0: look at
 * them; DEADLINE_EXCEEDED: it is until_us (mm_clock_mono_us; INT64_MAX: no limit), which may lie in
 * the past to do only what needs no waiting; CANCELLED: mintmark_cancel() was called, which
 * mm_client_clear_cancel() forgets. */
int mm_client_wait(struct mintmark *client, int64_t until_us, struct mintmark_error *error);
