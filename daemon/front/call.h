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
     * client has half-closed. While mm_call_send says stop, further messages wait. */
    void (*message)(struct mm_call *call, const ProtobufCMessage *request);
    /* Client-streaming and bidirectional: no more messages. NULL otherwise. */
    void (*half_closed)(struct mm_call *call);
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

/* Queues one response message. MM_OK; MM_ERR_AGAIN: taken, but send no more until on_writable;
 * MM_ERR_TOO_BIG over MM_GRPC_MESSAGE_MAX or MM_ERR_MEMORY: not taken. */
int mm_call_send(struct mm_call *call, const ProtobufCMessage *message) MM_MUST_USE;

/* Ends the call: OK when ei is NULL or its code MM_OK, else the gRPC status of ei->code with
 * google.rpc details (ErrorInfo; BadRequest from field; RetryInfo from retry_ms). */
void mm_call_finish(struct mm_call *call, const struct mm_errinfo *ei);

/* For unary calls: send, then finish. */
void mm_call_reply(struct mm_call *call, const ProtobufCMessage *message);
