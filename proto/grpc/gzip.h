/* SPDX-License-Identifier: Apache-2.0 */
/* The "gzip" message coding (grpc/grpc doc/compression.md): each message is one gzip member
 * (RFC 1952) of its own, with no state from the one before. */
#pragma once

#include "daemon/base/buf.h"

/* Inflates one member, which must be all of the input, into an empty out, whose max is what the
 * message may come to. MM_ERR_TOO_BIG as soon as it would be more, with nothing of the rest
 * inflated; MM_ERR_CORRUPT when the input is no gzip, is cut off, fails its checksum, or goes on
 * after its end; MM_ERR_MEMORY. After an error out holds nothing of use. */
int mm_grpc_gunzip(struct mm_bytes in, struct mm_buf *out) MM_MUST_USE;

/* Appends the input as one member. MM_ERR_TOO_BIG when that is not smaller than the input: send the
 * input as it is; MM_ERR_MEMORY. After an error out is as it was. */
int mm_grpc_gzip(struct mm_bytes in, struct mm_buf *out) MM_MUST_USE;
