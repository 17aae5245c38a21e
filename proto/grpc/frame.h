/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gRPC message prefix: one byte of flags, four of length, big-endian (PROTOCOL-HTTP2.md,
 * "Length-Prefixed-Message"). Messages and HTTP/2 frames are not aligned: a prefix may come in five
 * pieces.
 */
#pragma once

#include "daemon/base/buf.h"

enum { MM_GRPC_PREFIX_LEN = 5 };

/* Puts messages together from the pieces that they arrive in. A plain value: initialise, feed,
 * done. */
struct mm_grpc_deframer {
    struct mm_buf message; /* the payload so far; its max is the limit */
    uint8_t prefix[MM_GRPC_PREFIX_LEN];
    uint8_t prefix_len;
    bool in_payload;
    uint32_t payload_len; /* as the prefix says, once in_payload */
};

struct mm_grpc_frame {
    bool compressed;
    struct mm_bytes payload; /* valid until the deframer is fed or done */
};

/* A message of more than max_bytes is refused as soon as its prefix is complete. */
void mm_grpc_deframer_init(struct mm_grpc_deframer *d, size_t max_bytes);
/* Wipes and frees; the deframer may be initialised again. */
void mm_grpc_deframer_done(struct mm_grpc_deframer *d);

/* Takes bytes from the front of *data, which it advances, until one message is whole: MM_OK and the
 * message; call again for the rest of *data. MM_ERR_AGAIN: all bytes taken, no whole message yet.
 * MM_ERR_TOO_BIG: the prefix announces more than the limit; nothing of it was buffered.
 * MM_ERR_CORRUPT: a flag other than 0 and 1. MM_ERR_MEMORY. After an error other than
 * MM_ERR_AGAIN the stream is lost: feed no more. Memory grows with what has arrived, never with
 * what a prefix promises. */
int mm_grpc_deframer_feed(struct mm_grpc_deframer *d, struct mm_bytes *data,
                          struct mm_grpc_frame *ret_frame) MM_MUST_USE;

/* Between two messages: the only place where a stream may end. */
bool mm_grpc_deframer_at_boundary(const struct mm_grpc_deframer *d);

/* The prefix of a payload. */
void mm_grpc_prefix(bool compressed, uint32_t payload_len, uint8_t ret_prefix[MM_GRPC_PREFIX_LEN]);
