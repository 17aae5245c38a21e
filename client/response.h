/* SPDX-License-Identifier: Apache-2.0 */
/* What the header blocks of one gRPC response say: headers, trailers, or both in one
 * ("Trailers-Only"). No I/O, no HTTP/2: names and values in, a status out. */
#pragma once

#include "client/error.h"
#include "daemon/base/buf.h"
#include "google/rpc/status.pb-c.h"
#include "proto/grpc/text.h"

#include <stdbool.h>

struct mm_response {
    size_t block_bytes;         /* of the block at hand, as RFC 9113 section 6.5.2 counts */
    unsigned http_status;       /* 0: none yet */
    bool is_grpc;               /* content-type says so */
    enum mm_grpc_coding coding; /* of compressed messages */
    bool has_status;
    enum mintmark_status status; /* grpc-status, once has_status */
    bool has_pushback;
    int64_t pushback_ms;   /* grpc-retry-pushback-ms; negative: do not repeat */
    struct mm_buf message; /* grpc-message, decoded */
    struct mm_buf details; /* grpc-status-details-bin, decoded */
    struct mm_buf
        headers;         /* metadata of the headers (fields.h), once mm_response_check was called */
    struct mm_buf block; /* metadata of the block at hand; at the end, of the trailers */
};

void mm_response_init(struct mm_response *response);
void mm_response_done(struct mm_response *response);
/* As it was at first: for another try of the call. */
void mm_response_reset(struct mm_response *response);

/* A block begins. What an earlier one said about the status counts no more: a status in headers
 * that do not end the stream is none. */
void mm_response_block(struct mm_response *response);

/* One field of the block. MM_ERR_TOO_BIG when the block exceeds MM_HEADER_LIST_MAX;
 * MM_ERR_MEMORY. */
int mm_response_field(struct mm_response *response, const struct mm_bytes *name,
                      const struct mm_bytes *value) MM_MUST_USE;

/* A 1xx block, which only precedes the response. */
bool mm_response_is_interim(const struct mm_response *response);

/* Headers are in, and messages follow: 0 if they can be read. */
int mm_response_check(struct mm_response *response, struct mintmark_error *error);

/* The stream has ended with a block: fills *ret_error, with status MINTMARK_OK if all is well.
 * Without a gRPC status the HTTP status decides (doc/http-grpc-status-mapping.md of gRPC). */
void mm_response_end(struct mm_response *response, struct mintmark_error *ret_error);

/* A google.rpc.Status that came in a message, as an error. DATA_LOSS when there is no such
 * status. */
int mm_response_status(const Google__Rpc__Status *status, struct mintmark_error *ret_error);
