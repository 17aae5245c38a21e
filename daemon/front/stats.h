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
    MM_LIMIT_WRITE_STALL,    /* limits.write_stall_ms, a peer that reads nothing: closed */
    MM_LIMIT_KEEPALIVE,      /* limits.keepalive_timeout_ms, a peer that is gone: closed */
    MM_LIMIT_RESETS,         /* MM_H2_ODD_BURST was used up, the last frame being a reset, */
    MM_LIMIT_SETTINGS,       /* SETTINGS, */
    MM_LIMIT_EMPTY_DATA,     /* DATA without data, */
    MM_LIMIT_WINDOW_UPDATES, /* WINDOW_UPDATE above MM_H2_UPDATES_PER_DATA, */
    MM_LIMIT_OTHER_FRAMES,   /* or another: sent away */
    MM_LIMIT_PINGS,          /* MM_H2_PING_STRIKES: sent away */
    MM_LIMIT_PROTOCOL,       /* nghttp2's own, CONTINUATIONs and the like: sent away */
    MM_LIMIT_STREAMS,        /* limits.streams_per_connection: the stream is refused */
    MM_LIMIT_REQUEST_TIME,   /* limits.request_timeout_ms: the call failed; in headers, sent away */
    MM_LIMIT_HEADER_LIST,    /* MM_HEADER_LIST_MAX: the call failed */
    MM_LIMIT_MESSAGE_SIZE,   /* MM_GRPC_MESSAGE_MAX: the call failed */
    MM_LIMIT_RECEIVE,        /* MM_CONNECTION_RECEIVE_MAX: the call failed */
    MM_LIMIT_RECEIVE_TOTAL,  /* MM_RECEIVE_MAX, above MM_RECEIVE_SHARE: the call failed */
    MM_LIMIT_MESSAGE_FIELDS, /* MM_PROTO_DEPTH_MAX, MM_PROTO_FIELDS_MAX, or what a message may take
                                when it is unpacked: the call failed */
    MM_LIMIT_STRINGS,        /* a string that is not UTF-8, or hides a NUL: the call failed */
    MM_LIMITS,
};

/* Why a connection was asked to end (GOAWAY), its calls running on. */
enum mm_drain {
    MM_DRAIN_SHUTDOWN,            /* the server ends */
    MM_DRAIN_MAX_AGE,             /* limits.connection_age_ms */
    MM_DRAIN_MAX_IDLE,            /* limits.idle_timeout_ms */
    MM_DRAIN_CERTIFICATE_EXPIRED, /* the client's */
    MM_DRAIN_CLIENT_CHANGED,      /* after a reload it is unknown, or has other roles */
    MM_DRAINS,
};
/* As GOAWAY and the metrics say it: "max_age". */
extern const char *const mm_drain_names[MM_DRAINS];

/* Messages that went through the gzip coding, and bytes that it kept off the wire. */
struct mm_gzip_stats {
    uint64_t inflated;   /* received, and taken apart */
    uint64_t refused;    /* received: no gzip, or more inside than a message may have */
    uint64_t compressed; /* sent */
    uint64_t plain;      /* sent as they were, for they would not have shrunk */
    uint64_t received_saved_bytes;
    uint64_t sent_saved_bytes;
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
    uint64_t drains[MM_DRAINS];
    uint64_t waits; /* times that a call had to wait until its client has read */
    struct mm_gzip_stats gzip;
};

enum { MM_GRPC_STATUSES = MM_GRPC_UNAUTHENTICATED + 1 };

struct mm_rpc;

/* The calls of one RPC that are over. */
struct mm_method {
    const struct mm_rpc *rpc; /* NULL: all calls of what is no RPC */
    uint64_t statuses[MM_GRPC_STATUSES];
    struct mm_histogram latency; /* from the headers until the stream is closed */
};
