/* SPDX-License-Identifier: Apache-2.0 */
/* gRPC status codes, and errors as google.rpc.Status. */
#pragma once

#include "daemon/base/buf.h"

/* grpc/grpc doc/statuscodes.md */
enum mm_grpc_status {
    MM_GRPC_OK = 0,
    MM_GRPC_CANCELLED = 1,
    MM_GRPC_UNKNOWN = 2,
    MM_GRPC_INVALID_ARGUMENT = 3,
    MM_GRPC_DEADLINE_EXCEEDED = 4,
    MM_GRPC_NOT_FOUND = 5,
    MM_GRPC_ALREADY_EXISTS = 6,
    MM_GRPC_PERMISSION_DENIED = 7,
    MM_GRPC_RESOURCE_EXHAUSTED = 8,
    MM_GRPC_FAILED_PRECONDITION = 9,
    MM_GRPC_ABORTED = 10,
    MM_GRPC_OUT_OF_RANGE = 11,
    MM_GRPC_UNIMPLEMENTED = 12,
    MM_GRPC_INTERNAL = 13,
    MM_GRPC_UNAVAILABLE = 14,
    MM_GRPC_DATA_LOSS = 15,
    MM_GRPC_UNAUTHENTICATED = 16,
};

/* As base/err.h says of each code; MM_ERR_PIN, _EOF and _AGAIN, which ought never to come this far,
 * are UNAVAILABLE, UNAVAILABLE and INTERNAL. A number that is none of ours is UNKNOWN. */
enum mm_grpc_status mm_grpc_status_of(int err);
/* The other way, as near as there is: UNKNOWN is MM_ERR_INTERNAL, OUT_OF_RANGE MM_ERR_INVALID,
 * RESOURCE_EXHAUSTED MM_ERR_EXHAUSTED. */
int mm_grpc_status_err(enum mm_grpc_status status);

/* "RESOURCE_EXHAUSTED" */
const char *mm_grpc_status_name(enum mm_grpc_status status);

/* The value of grpc-status: one or two digits, no leading zero, 0 to 16. What is anything else is
 * UNKNOWN, as the protocol asks of clients. */
enum mm_grpc_status mm_grpc_status_parse(const void *text, size_t len);
/* The status for a response without grpc-status (doc/http-grpc-status-mapping.md). */
enum mm_grpc_status mm_grpc_status_of_http(unsigned http_status);
/* The status for a stream that ended by RST_STREAM with this HTTP/2 error code. */
enum mm_grpc_status mm_grpc_status_of_h2(uint32_t h2_error);

/* Appends the google.rpc.Status of an error: code, text, ErrorInfo (domain "mintmark", the reason),
 * BadRequest if a field is named, QuotaFailure if there is a subject, RetryInfo if retry_ms is set.
 * The detail number stays here: it is for our log. Errors stick in out. Text that is not UTF-8
 * (because it was cut, say) is mended. */
void mm_grpc_details_pack(const struct mm_errinfo *ei, struct mm_buf *out);

/* Fills reason, field, subject and retry_ms, as far as the details have them, from the bytes of a
 * google.rpc.Status; code and text stay as they are, for grpc-status and grpc-message rule. What is
 * too long is cut. Details of other types are passed over. MM_ERR_CORRUPT when the bytes are no
 * Status; then nothing changed. */
int mm_grpc_details_unpack(const void *data, size_t len, struct mm_errinfo *ei) MM_MUST_USE;
