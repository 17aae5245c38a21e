/* SPDX-License-Identifier: Apache-2.0 */
/* What session.c and stream.c share: the insides of a connection and of a call on it. */
#pragma once

#include "client/response.h"
#include "client/session.h"
#include "proto/grpc/frame.h"

#include <nghttp2/nghttp2.h>
#include <sys/queue.h>

/* The default of 64 KiB would stop a stream of bundles once in every round trip. */
enum { MM_STREAM_WINDOW = 1024 * 1024 };

struct mm_stream {
    LIST_ENTRY(mm_stream) entry;
    struct mm_session *session; /* NULL: not started yet */
    int32_t id;
    bool single;       /* exactly one response message is due */
    bool gzip;         /* requests may be compressed */
    bool sent;         /* the request's headers were taken for sending */
    bool half_closed;  /* no more requests will come */
    bool deferred;     /* nghttp2 waits to be told of more requests */
    bool dropped;      /* requests that were sent are no longer in memory */
    bool headers_in;   /* the response's headers are complete */
    bool compressed;   /* the last message came so */
    bool ended;        /* end is valid; what came before can still be read */
    bool closed;       /* in both directions: nghttp2 knows it no more */
    unsigned messages; /* that were read; counts to 2 */
    struct mm_stream_end end;
    char *path;
    struct mm_buf metadata; /* of the request (fields.h) */
    struct mm_buf request;  /* prefixes and messages */
    size_t request_at;      /* bytes of it that were taken for sending */
    struct mm_response response;
    struct mm_buf pending; /* received, not consumed: never more than the window */
    size_t pending_at;     /* bytes of it that the deframer has taken */
    struct mm_grpc_deframer deframer;
    size_t receive_max;
    struct mm_buf plain; /* what the last message was, if it came compressed */
};

LIST_HEAD(mm_stream_list, mm_stream);

struct mm_session {
    nghttp2_session *http2;
    char *authority;
    const char *scheme;
    bool unusable; /* for new calls */
    bool greeted;
    bool pinging;
    bool pings_refused;
    uint32_t violation; /* HTTP/2 error code by which nghttp2 has ended the connection; 0: none */
    struct mm_stream_list streams;
};

/* The call has ended. What came before can still be read. Nothing is said to the server. */
void mm_stream_end_with(struct mm_stream *stream, const struct mintmark_error *error,
                        bool unprocessed);

/* Ends the call, as failed here, and says RST_STREAM with that code. */
void mm_stream_reset(struct mm_stream *stream, uint32_t error_code,
                     const struct mintmark_error *error);
void mm_stream_fail(struct mm_stream *stream, enum mintmark_status status, const char *reason,
                    const char *text);
