/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A gRPC call as the services see it. The transport (connection, HTTP/2, codec) is below, the
 * services are above; this header is all that they share.
 *
 * Life of a call: the transport checks path, content type, timeout, role; collects request
 * messages; then calls the RPC's functions, on the loop, never concurrently. The service answers
 * with mm_call_send (0 or more) and exactly one mm_call_finish, at once or later. If the peer goes
 * away, its deadline passes, or the server gives up, on_cancel is called instead, once. After
 * mm_call_finish returns, or on_cancel has been called, the pointer must not be used again.
 *
 * on_cancel and on_writable come from the loop, never from inside a mm_call_ function; both may
 * come as soon as the RPC's function has returned.
 */
#pragma once

#include "daemon/base/buf.h"
#include "daemon/conf/conf.h"
#include "proto/grpc/status.h"

#include <protobuf-c/protobuf-c.h>

struct mm_call;

enum mm_rpc_shape { MM_RPC_UNARY, MM_RPC_SERVER_STREAM, MM_RPC_CLIENT_STREAM, MM_RPC_BIDI };

struct mm_rpc {
    const char *path; /* "/mintmark.v1.StationService/Ping" */
    enum mm_rpc_shape shape;
    unsigned roles; /* bit set of mm_role; 0: anybody with a certificate that was accepted */
    const ProtobufCMessageDescriptor *request;
    /* Client-streaming and bidirectional: headers are in. NULL otherwise. */
    void (*start)(struct mm_call *call);
    /* One request message, unpacked within bounds, strings checked. It is wiped when this function
     * returns: copy what must outlive it. Unary and server-streaming: exactly once, after the
     * client has half-closed. While mm_call_send says stop, and from mm_call_pause to
     * mm_call_resume, further messages wait. */
    void (*message)(struct mm_call *call, const ProtobufCMessage *request);
    /* Client-streaming and bidirectional: no more messages. NULL otherwise. */
    void (*half_closed)(struct mm_call *call);
    /* The call keeps the client's metadata, for mm_call_next_metadata. */
    bool wants_metadata;
};

/* Who the peer's certificate says it is. */
struct mm_peer {
    char name[MM_NAME_MAX + 1]; /* of the client section that matched; "" if none did */
    unsigned roles;
    char address[64]; /* "127.0.0.1:41234", for the log */
};

struct mm_call_ops {
    /* The call is over from outside; drop it. May be NULL. */
    void (*on_cancel)(struct mm_call *call, void *user);
    /* mm_call_send said stop, and now there is room again. May be NULL for unary calls. */
    void (*on_writable)(struct mm_call *call, void *user);
};
/* user is handed to the ops; ops must live as long as the call. */
void mm_call_set(struct mm_call *call, const struct mm_call_ops *ops, void *user);
/* NULL before mm_call_set. */
void *mm_call_user(const struct mm_call *call);

const struct mm_peer *mm_call_peer(const struct mm_call *call);
/* What every log line about this call carries: "r-…", unique while the process lives. */
const char *mm_call_id(const struct mm_call *call);
/* Absolute, on mm_clock_mono_us; INT64_MAX if the client set none. */
int64_t mm_call_deadline_us(const struct mm_call *call);
/* What mm_server_new was given. */
void *mm_call_app(const struct mm_call *call);

/* Custom metadata (PROTOCOL-HTTP2.md). Names are in lower case. Values of names that end in "-bin"
 * are any bytes, and here never in base64; those of others are printable ASCII. A client's that are
 * not so are passed over. */
struct mm_metadata {
    struct mm_bytes name, value;
};
/* The client's, one by one in the order that they came in; *pos is 0 at first. False: no more.
 * Borrowed while the call lives. */
bool mm_call_next_metadata(const struct mm_call *call, size_t *pos, struct mm_metadata *ret);
/* Adds to what the client gets before the first message, and to what it gets with the status.
 * MM_ERR_INVALID: a name or value that may not be; MM_ERR_PRECONDITION: it has left already;
 * MM_ERR_TOO_BIG over MM_METADATA_MAX or MM_HEADER_LIST_MAX; MM_ERR_MEMORY. */
int mm_call_add_header(struct mm_call *call, const char *name, struct mm_bytes value) MM_MUST_USE;
int mm_call_add_trailer(struct mm_call *call, const char *name, struct mm_bytes value) MM_MUST_USE;

/* The request message in hand came compressed. */
bool mm_call_was_compressed(const struct mm_call *call);
/* Whether the messages sent from now on are compressed, when the client takes gzip and they shrink
 * by it. Off at first; and it stays off unless turned on before the first message, since the
 * headers announce it. */
void mm_call_compress(struct mm_call *call, bool on);

/* Queues one response message. MM_OK; MM_ERR_AGAIN: taken, but send no more until on_writable;
 * MM_ERR_TOO_BIG over MM_GRPC_MESSAGE_MAX or MM_ERR_MEMORY: not taken. */
int mm_call_send(struct mm_call *call, const ProtobufCMessage *message) MM_MUST_USE;

/* For services that take more than one message: no further one, and no half-close, comes before
 * mm_call_resume; the client is stopped by HTTP/2 flow control once it has sent
 * MM_H2_STREAM_WINDOW bytes ahead. What has waited comes from the loop, never from inside
 * mm_call_resume. Both do nothing the second time. */
void mm_call_pause(struct mm_call *call);
void mm_call_resume(struct mm_call *call);

/* May the peer see where the service has its files? Officers may: for all others
 * mm_text_hide_paths. */
static inline bool mm_peer_sees_paths(const struct mm_peer *peer)
{
    return (peer->roles & MM_ROLE_OFFICER) != 0;
}

/* Ends the call: OK when ei is NULL or its code MM_OK, else the gRPC status of ei->code with
 * google.rpc details (ErrorInfo; BadRequest from field; QuotaFailure from
 * subject; RetryInfo, and grpc-retry-pushback-ms for retry policies, from retry_ms). Paths in a
 * text that is not about a field are for officers and the log alone. */
void mm_call_finish(struct mm_call *call, const struct mm_errinfo *ei);
/* As mm_call_finish, for a service with statuses and details of its own: text goes into
 * grpc-message, percent-encoded; details are a serialised google.rpc.Status with the same code and
 * text, or empty. A number that is no status is UNKNOWN. What does not fit MM_HEADER_LIST_MAX is
 * left out, the status never is. */
void mm_call_finish_status(struct mm_call *call, enum mm_grpc_status status, const char *text,
                           struct mm_bytes details);

/* For unary calls: send, then finish. */
void mm_call_reply(struct mm_call *call, const ProtobufCMessage *message);
