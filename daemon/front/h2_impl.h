/* SPDX-License-Identifier: Apache-2.0 */
/* Between the session (h2.c) and its calls (call.c, reply.c). Nobody else includes this. */
#pragma once

#include "daemon/front/h2.h"
#include "proto/grpc/frame.h"
#include "proto/grpc/status.h"
#include "proto/grpc/text.h"

#include <nghttp2/nghttp2.h>

enum mm_h2_drain_state { MM_H2_SERVING, MM_H2_DRAIN_NOTICED, MM_H2_DRAIN_FINAL };

TAILQ_HEAD(mm_calls, mm_call);

struct mm_h2 {
    struct mm_core *core;
    const struct mm_peer *peer;
    void (*wake)(void *arg);
    void *arg;
    nghttp2_session *session;
    struct mm_calls calls;
    unsigned n_calls;
    unsigned n_blocked; /* calls that wait for on_writable */
    unsigned n_resumed; /* calls that may take what was held */
    size_t queued;      /* bytes of responses that wait in all calls */
    size_t receiving;   /* bytes of unfinished requests in all calls */
    bool inside;        /* in mm_h2_recv, _send, _tick…: no need to wake */
    bool sent_away;     /* GOAWAY for misbehaviour: close as soon as it is out */
    bool lost;          /* out of memory inside the session */
    enum mm_h2_drain_state drain;
    enum mm_drain drain_why;
    int64_t drain_us;    /* when the second GOAWAY is due at the latest */
    int64_t deadline_us; /* no call's deadline, or late_us, is before this */
    int64_t received_us; /* last time that bytes came */
    int64_t age_us;      /* when the connection is to be drained for its age */
    int64_t idle_us;     /* since when there has been no call */
    int64_t pinged_us;   /* our PING is out since then; 0: none */
    int64_t peer_ping_us;
    unsigned ping_strikes;
    struct mm_bucket odd;
    unsigned updates; /* WINDOW_UPDATEs that the client may send before they are odd */
};

enum mm_call_state {
    MM_CALL_HEADERS, /* request headers are coming */
    /* It is no gRPC, and is answered when it has come to its end, as HTTP's clients expect; what it
     * carries is thrown away. */
    MM_CALL_REJECTED,
    MM_CALL_OPEN,    /* messages are coming, or the service is at work */
    MM_CALL_FINISHED /* the status is known; output may still have to leave */
};

enum mm_call_reject { MM_REJECT_METHOD, MM_REJECT_MEDIA };

struct mm_call {
    TAILQ_ENTRY(mm_call) entry;
    struct mm_h2 *h2;
    int32_t stream_id;
    enum mm_call_state state;

    /* From the headers. */
    const struct mm_rpc *rpc; /* NULL: no such path */
    struct mm_method *method; /* where it is counted when it is over */
    int64_t began_us;         /* when its headers came in */
    size_t header_bytes;      /* as RFC 9113 section 6.5.2 counts */
    enum mm_grpc_content content;
    bool is_post;
    enum mm_call_reject reject; /* in MM_CALL_REJECTED */
    bool bad_timeout;
    bool bad_metadata; /* a "-bin" value that is no base64 */
    bool accepts_gzip;
    enum mm_grpc_coding coding; /* of compressed request messages */
    struct mm_buf metadata;     /* the client's, as metadata.c writes it */
    int64_t timeout_us;
    int64_t deadline_us; /* INT64_MAX: none */
    int64_t late_us;     /* when what has begun of the request is late; INT64_MAX: nothing has */

    /* Request. */
    struct mm_grpc_deframer deframer;
    size_t receiving;   /* its share of h2->receiving */
    bool compressed;    /* the message in hand, or in the deframer */
    bool has_message;   /* unary, server-streaming: the one message is in the deframer */
    bool half_closed;   /* END_STREAM has come */
    bool ended;         /* and what followed from it is done */
    struct mm_buf held; /* streaming: bytes that wait while the call may not send, or is paused */
    bool paused;        /* the service takes no message for now */
    bool resumed;       /* it does again, and held is yet to be looked at */

    /* The service. */
    bool in_service; /* it holds the pointer, and must be told of the end */
    const struct mm_call_ops *ops;
    void *user;

    /* Response. */
    bool headers_sent;               /* submitted, that is */
    bool compress;                   /* the service asks for it */
    bool may_compress;               /* it has asked before the headers went */
    bool announced;                  /* and the headers say so */
    struct mm_buf headers, trailers; /* metadata, as metadata.c writes it */
    unsigned n_headers, n_trailers;
    bool deferred;     /* nghttp2 waits for resume_data */
    bool blocked;      /* mm_call_send said stop */
    struct mm_buf out; /* prefixed messages */
    size_t out_frame;  /* where the message that is leaving begins */
    size_t out_sent;   /* up to where bytes have been taken */
    enum mm_grpc_status status;
    struct mm_buf message; /* grpc-message, encoded */
    struct mm_buf details; /* grpc-status-details-bin, encoded */
    char pushback[11];     /* grpc-retry-pushback-ms; "": no advice */

    uint64_t number;
    char id[32]; /* "" until somebody asks */
};

/* call.c: what h2.c tells a call. */
struct mm_call *mm_call_new(struct mm_h2 *h2, int32_t stream_id);
void mm_call_header(struct mm_call *call, nghttp2_vec name, nghttp2_vec value);
void mm_call_headers_done(struct mm_call *call);
void mm_call_data(struct mm_call *call, const uint8_t *data, size_t len);
void mm_call_half_close(struct mm_call *call);
/* Room to send again; also goes on with what was held. */
void mm_call_writable(struct mm_call *call);
/* Goes on with what was held since mm_call_pause. */
void mm_call_take_up(struct mm_call *call);
/* The server ends the call: the service hears on_cancel, the client the status of ei. */
void mm_call_abort(struct mm_call *call, const struct mm_errinfo *ei);
/* The stream is gone: cancels if need be, and frees. */
void mm_call_closed(struct mm_call *call);

/* metadata.c */
/* One field of the request that is not gRPC's own. */
void mm_call_take_metadata(struct mm_call *call, struct mm_bytes name, struct mm_bytes value);
/* Appends fields, at most MM_METADATA_MAX; returns how many. */
size_t mm_call_put_metadata(const struct mm_buf *metadata, nghttp2_nv *nv);

/* reply.c */
/* Turns to MM_CALL_FINISHED and sends the status; ei NULL is OK. */
void mm_call_end(struct mm_call *call, const struct mm_errinfo *ei);
/* Answers that are HTTP's, not gRPC's: 405, 415. */
void mm_call_reject(struct mm_call *call, enum mm_call_reject why);
/* Drops whole messages that have not begun to leave. */
void mm_call_drop_queue(struct mm_call *call);
void mm_call_set_blocked(struct mm_call *call, bool blocked);
bool mm_call_has_room(const struct mm_call *call);
ssize_t mm_call_read(nghttp2_session *session, int32_t stream_id, uint8_t *buf, size_t len,
                     uint32_t *flags, nghttp2_data_source *source, void *user);

/* h2.c: what h2_time.c asks. */
enum { MM_H2_PING_LEN = 8 };
/* The peer misbehaves: counts, logs, sends GOAWAY, and closes once that is out. */
void mm_h2_send_away(struct mm_h2 *h2, enum mm_limit limit, const char *why);
void mm_h2_log_sent_away(struct mm_h2 *h2, const char *why);
/* The second GOAWAY. */
void mm_h2_end_drain(struct mm_h2 *h2);
static inline int64_t mm_h2_after_ms(int64_t us, int64_t ms)
{
    return us + ms * 1000;
}

/* h2.c: what calls ask of the session. */
void mm_h2_consume(struct mm_h2 *h2, int32_t stream_id, size_t len);
void mm_h2_reset(struct mm_h2 *h2, int32_t stream_id, uint32_t code);
void mm_h2_wake(struct mm_h2 *h2);
/* Notes results of nghttp2_submit_*: out of memory loses the session. */
void mm_h2_check(struct mm_h2 *h2, int nghttp2_result);
