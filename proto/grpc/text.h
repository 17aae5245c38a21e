/* SPDX-License-Identifier: Apache-2.0 */
/* How gRPC writes things into HTTP/2 headers (PROTOCOL-HTTP2.md). */
#pragma once

#include "daemon/base/buf.h"

/* grpc-timeout: 1 to 8 digits and one of H M S m u n. Microseconds, nanoseconds rounded up, so
 * that only 0 gives 0; INT64_MAX for what does not fit. MM_ERR_INVALID for anything else. */
int mm_grpc_timeout_parse(const void *text, size_t len, int64_t *ret_us) MM_MUST_USE;

/* The shortest unit that keeps to 8 digits, rounded up; negative counts as 0, what is too long as
 * 99999999H. out holds at least MM_GRPC_TIMEOUT_TEXT bytes. Returns out. */
enum { MM_GRPC_TIMEOUT_TEXT = 10 };
const char *mm_grpc_timeout_format(int64_t us, char *out);

/* grpc-message: bytes outside 0x20..0x7E, and '%', as %XX with upper-case digits. Errors stick in
 * out. */
void mm_grpc_percent_encode(struct mm_buf *out, const void *text, size_t len);
/* Never fails on bad escapes: they stay as they are. */
void mm_grpc_percent_decode(struct mm_buf *out, const void *text, size_t len);

/* Values of "-bin" headers: standard base64 (RFC 4648 section 4). Written without padding; read
 * with and without. decode: MM_ERR_INVALID for other characters, bad lengths and padding, and bits
 * left over that are not zero; out is then as it was. Or the sticky error of out. */
void mm_grpc_base64_encode(struct mm_buf *out, const void *data, size_t len);
int mm_grpc_base64_decode(struct mm_buf *out, const void *text, size_t len) MM_MUST_USE;

/* grpc-encoding: how a side's compressed messages are made. */
enum mm_grpc_coding {
    MM_GRPC_CODING_IDENTITY,
    MM_GRPC_CODING_GZIP,
    MM_GRPC_CODING_OTHER /* one that we do not have */
};
enum mm_grpc_coding mm_grpc_coding_parse(const void *text, size_t len);
/* grpc-accept-encoding: is gzip in the list? */
bool mm_grpc_accepts_gzip(const void *text, size_t len);

/* content-type of a request. */
enum mm_grpc_content {
    MM_GRPC_CONTENT_OTHER,  /* not gRPC: HTTP 415 */
    MM_GRPC_CONTENT_PROTO,  /* application/grpc, +proto, either with parameters */
    MM_GRPC_CONTENT_SUBTYPE /* gRPC with a message format that is not ours */
};
enum mm_grpc_content mm_grpc_content_parse(const void *text, size_t len);
