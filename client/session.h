/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client's end of one HTTP/2 connection with gRPC calls on it, without any I/O: bytes from the
 * server are fed in, bytes for it are taken out. Calls run side by side, each a struct mm_stream.
 *
 * The server is not trusted: what one stream keeps in memory is bounded by the message limit and
 * its window, headers by MM_HEADER_LIST_MAX, and what nghttp2 would queue as answers by its own
 * limits. The server may send no more than is consumed here: windows are opened only for the
 * message that is next.
 */
#pragma once

#include "client/error.h"
#include "daemon/base/buf.h"

#include <stdbool.h>

struct mm_session;
struct mm_stream;

/* authority goes into every call's :authority. */
int mm_session_new(const char *authority, struct mm_session **ret_session,
                   struct mintmark_error *error) MM_MUST_USE;
/* All streams must have been freed before. NULL is fine. */
void mm_session_free(struct mm_session *session);
MM_DEFINE_CLEANUP(struct mm_session *, mm_session_free)

/* Takes all len bytes. On a failure the connection is of no more use: call mm_session_lost, and
 * send what is left to send if that is easy, so that the server learns why. */
int mm_session_receive(struct mm_session *session, const uint8_t *data, size_t len,
                       struct mintmark_error *error) MM_MUST_USE;

/* Appends what is to be sent to out, until nothing is left or out holds MM_SESSION_SEND bytes. */
enum { MM_SESSION_SEND = 64 * 1024 };
int mm_session_send(struct mm_session *session, struct mm_buf *out,
                    struct mintmark_error *error) MM_MUST_USE;

/* Can calls still be started: no GOAWAY came, nothing broke? */
bool mm_session_usable(const struct mm_session *session);

/* The connection is gone, for that reason: ends every stream that has not ended yet. */
void mm_session_lost(struct mm_session *session, const struct mintmark_error *why);

/* Says GOAWAY; what was queued for sending stays queued. */
void mm_session_close(struct mm_session *session);

/* Starts a call with one request message, in serialised form, which is copied. timeout_us is what
 * the server is told; INT64_MAX tells it nothing. The stream stays valid until mm_stream_free. */
int mm_stream_new(struct mm_session *session, const char *path, int64_t timeout_us,
                  const struct mm_bytes *message, struct mm_stream **ret_stream,
                  struct mintmark_error *error) MM_MUST_USE;
/* A call that has not ended is cancelled. NULL is fine. */
void mm_stream_free(struct mm_stream *stream);
MM_DEFINE_CLEANUP(struct mm_stream *, mm_stream_free)

/* How a call ended. */
struct mm_stream_end {
    struct mintmark_error error; /* status MINTMARK_OK: as it should */
    bool unprocessed;            /* the server certainly did not act on the call */
    bool final;                  /* the server asks not to repeat it */
};

/* The next response message: MM_OK, and *ret_message borrowed until the next call on this stream;
 * MM_ERR_AGAIN: not here yet, send and receive; MM_ERR_EOF: the call has ended, *ret_end says how,
 * is borrowed for as long as the stream, and nothing more can be asked for. */
int mm_stream_next(struct mm_stream *stream, struct mm_bytes *ret_message,
                   const struct mm_stream_end **ret_end) MM_MUST_USE;
