/* SPDX-License-Identifier: Apache-2.0 */
/* What the transport counts. Everything is on one loop: plain numbers. */
#pragma once

#include "daemon/front/histogram.h"
#include "proto/grpc/status.h"

/* The protections that a peer can run into. Their names are in metrics.c. */
enum mm_limit {
    MM_LIMIT_CONNECTIONS,    /* a connection above limits.connections: closed */
    MM_LIMIT_HANDSHAKES,     /* MM_HANDSHAKES_MAX: the oldest handshake made room */
    MM_LIMIT_HANDSHAKE_TIME, /* limits.handshake_timeout_ms: closed */
    MM_LIMIT_WRITE_STALL,    /* MM_WRITE_STALL_MS, a peer that reads nothing: closed */
    MM_LIMIT_KEEPALIVE,      /* limits.keepalive_timeout_ms, a peer that is gone: closed */
    MM_LIMIT_RESETS,         /* MM_H2_ODD_BURST was used up, the last frame being a reset, */
    MM_LIMIT_SETTINGS,       /* SETTINGS, */
    MM_LIMIT_EMPTY_DATA,     /* DATA without data, */
    MM_LIMIT_OTHER_FRAMES,   /* or another: sent away */
    MM_LIMIT_PINGS,          /* MM_H2_PING_STRIKES: sent away */
    MM_LIMIT_PROTOCOL,       /* nghttp2's own, CONTINUATIONs and the like: sent away */
    MM_LIMIT_HEADER_LIST,    /* MM_HEADER_LIST_MAX: the call failed */
    MM_LIMIT_MESSAGE_SIZE,   /* MM_GRPC_MESSAGE_MAX: the call failed */
    MM_LIMIT_RECEIVE,        /* MM_CONNECTION_RECEIVE_MAX: the call failed */
    MM_LIMIT_RECEIVE_TOTAL,  /* MM_RECEIVE_MAX: the call failed */
    MM_LIMITS,
};

struct mm_server_stats {
    unsigned connections;
    unsigned calls_in_flight;
    uint64_t calls_total;
    uint64_t connections_total;   /* accepted, those that were refused at once not counted */
    uint64_t connections_refused; /* for there were too many: before or after the handshake */
    uint64_t handshakes_failed;
    uint64_t received_bytes; /* of HTTP/2, inside TLS */
    uint64_t sent_bytes;
    uint64_t limits[MM_LIMITS];
};

enum { MM_GRPC_STATUSES = MM_GRPC_UNAUTHENTICATED + 1 };

struct mm_rpc;

/* The calls of one RPC that are over. */
struct mm_method {
    const struct mm_rpc *rpc; /* NULL: all calls of what is no RPC */
    uint64_t statuses[MM_GRPC_STATUSES];
    struct mm_histogram latency; /* from the headers until the stream is closed */
};
