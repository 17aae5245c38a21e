/* SPDX-License-Identifier: Apache-2.0 */
/* The head of an HTTP/1.1 request (RFC 9112), as much of it as a listener needs that answers GET
 * and HEAD, takes no body, and closes after the answer. No I/O. */
#pragma once

#include "daemon/base/buf.h"
#include "daemon/base/limits.h"

struct mm_http_request {
    bool head;                       /* HEAD: the answer has no body */
    char path[MM_HTTP_PATH_MAX + 1]; /* without the query; "" for one that is longer */
};

/* 0: the head is not whole yet. 200: it is; what follows it is nobody's concern. 400, 405, 413 (a
 * body is announced), 431 (not whole after MM_HTTP_REQUEST_MAX bytes) or 505: this is the answer,
 * and of *ret_request only head is valid. */
unsigned mm_http_request_parse(struct mm_bytes in, struct mm_http_request *ret_request) MM_MUST_USE;
