/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A listener that answers GET and HEAD over HTTP/1.1, one request a connection, for Prometheus and
 * probes. What a peer can use up is bounded: MM_HTTP_REQUEST_MAX bytes of request, no body,
 * MM_HTTP_CONNECTIONS_MAX connections, of which the oldest makes room for a new one, and
 * MM_HTTP_TIME_MS for all of it.
 */
#pragma once

#include "daemon/base/buf.h"

#include <uv.h>

struct mm_http;

struct mm_http_response {
    unsigned status;    /* 200, 404, 429 or 503 */
    struct mm_buf body; /* text; its sticky error makes it a 503 */
};

struct mm_http_options {
    const char *address; /* numeric */
    unsigned port;
    /* Fills the response for a path; called on the loop, answers at once. */
    void (*handle)(void *arg, const char *path, struct mm_http_response *response);
    void *arg;
};

/* Listens when it returns; options are copied, but for arg. */
int mm_http_new(uv_loop_t *loop, const struct mm_http_options *options, struct mm_http **ret_http,
                struct mm_errinfo *ei) MM_MUST_USE;
/* The port it really listens on. */
unsigned mm_http_port(const struct mm_http *http);
/* Closes it and its connections; handle is not called again. The memory goes with the close
 * callbacks. NULL is fine. */
void mm_http_close(struct mm_http *http);
