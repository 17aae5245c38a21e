/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client's end of one HTTP/2 connection with gRPC calls on it, without any I/O: bytes from the
 * server are fed in, bytes for it are taken out. Calls run side by side, each a struct mm_stream.
 *
 * The server is not trusted: what one stream keeps in memory is bounded by the message limit and
 * its window, headers by MM_HEADER_LIST_MAX, and what nghttp2 would queue as answers by its own
 * limits. On each stream the server may send no more than is consumed here: its window is opened
 * only for the message that is next.
 */
#pragma once

#include "client/error.h"
#include "client/fields.h"

#include <stdbool.h>

struct mm_session;
struct mm_stream;

/* scheme ("https" or "http") and authority go into every call's header. */
int mm_session_new(const char *scheme, const char *authority, struct mm_session **ret_session,
                   struct mintmark_error *error) MM_MUST_USE;
/* All its streams must have been freed, or left it, before. NULL is fine. */
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

/* Has the server's SETTINGS come: is it an HTTP/2 server that lets us in? */
bool mm_session_greeted(const struct mm_session *session);

/* Are there streams that have not ended? */
bool mm_session_busy(const struct mm_session *session);

/* Sends a PING, unless one is under way. What fails is memory; then there is none. */
void mm_session_ping(struct mm_session *session);
/* A PING has not been answered yet. */
bool mm_session_pinging(const struct mm_session *session);
/* The server has said GOAWAY because it found our pings too many (gRFC A8). */
bool mm_session_pings_refused(const struct mm_session *session);

/* The connection is gone, for that reason: ends every stream that has not ended yet. */
void mm_session_lost(struct mm_session *session, const struct mintmark_error *why);

/* Says GOAWAY; what was queued for sending stays queued. */
void mm_session_close(struct mm_session *session);

struct mm_stream_options {
    const char *path;
    const struct mm_field *metadata;
    size_t n_metadata;
    size_t receive_max; /* bytes of a response message; 0: MM_GRPC_MESSAGE_MAX */
    bool single;        /* exactly one response message is due */
    bool gzip;          /* says that requests may be compressed */
};

/* A call that is not on a connection yet. Everything is copied. INVALID_ARGUMENT for metadata that
 * is not allowed, RESOURCE_EXHAUSTED for more than MM_HEADER_LIST_MAX of it. */
int mm_stream_new(const struct mm_stream_options *options, struct mm_stream **ret_stream,
                  struct mintmark_error *error) MM_MUST_USE;
/* A call that has not ended is cancelled. NULL is fine. */
void mm_stream_free(struct mm_stream *stream);
MM_DEFINE_CLEANUP(struct mm_stream *, mm_stream_free)

/* Starts the call on that session. timeout_us is what the server is told; INT64_MAX tells it
 * nothing. The session must be usable. */
int mm_stream_start(struct mm_stream *stream, struct mm_session *session, int64_t timeout_us,
                    struct mintmark_error *error) MM_MUST_USE;

/* The call has ended, the server certainly did not act on it, and all its requests are still here.
 */
bool mm_stream_restartable(const struct mm_stream *stream);
/* Then: makes it a call that was not started, and leaves its session. */
void mm_stream_rewind(struct mm_stream *stream);

/* A request message, in serialised form, which is copied; before or after the start. compress: by
 * gzip, where that makes it smaller and the options allow it. MM_ERR_AGAIN: what was sent before
 * has not left yet, send and receive; MM_ERR_EOF: the call has ended or is half-closed;
 * MM_ERR_TOO_BIG: over MM_GRPC_MESSAGE_MAX; MM_ERR_MEMORY. */
int mm_stream_send(struct mm_stream *stream, const struct mm_bytes *message,
                   bool compress) MM_MUST_USE;
/* No more requests. */
void mm_stream_half_close(struct mm_stream *stream);

/* A call that was not started can't be: it ends, for that reason, as one that nobody acted on. */
void mm_stream_refuse(struct mm_stream *stream, const struct mintmark_error *why);

/* Ends the call here and tells the server; a call that has ended stays as it is. What came and was
 * not read is dropped. */
void mm_stream_cancel(struct mm_stream *stream, const struct mintmark_error *why);

/* How a call ended. */
struct mm_stream_end {
    struct mintmark_error error; /* status MINTMARK_OK: as it should */
    bool unprocessed;            /* the server certainly did not act on the call */
    bool final;                  /* the server asks not to repeat it */
};

bool mm_stream_ended(const struct mm_stream *stream);

/* The next response message: MM_OK, and *ret_message borrowed until the next call on this stream;
 * MM_ERR_AGAIN: not here yet, send and receive; MM_ERR_EOF: the call has ended, *ret_end says how,
 * is borrowed for as long as the stream, and nothing more can be asked for. */
int mm_stream_next(struct mm_stream *stream, struct mm_bytes *ret_message,
                   const struct mm_stream_end **ret_end) MM_MUST_USE;

/* What the server said around the messages; empty until it came. All borrowed for as long as the
 * stream. A response without messages may have trailers alone. */
const struct mm_buf *mm_stream_headers(const struct mm_stream *stream);
const struct mm_buf *mm_stream_trailers(const struct mm_stream *stream);
/* grpc-message in full, and the google.rpc.Status of grpc-status-details-bin, serialised. */
struct mm_bytes mm_stream_status_text(const struct mm_stream *stream);
struct mm_bytes mm_stream_status_details(const struct mm_stream *stream);
/* Did the last message come compressed? */
bool mm_stream_was_compressed(const struct mm_stream *stream);
