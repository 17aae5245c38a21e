/* SPDX-License-Identifier: Apache-2.0 */
/* One HTTP/1.1 request out of a stream of bytes (RFC 9112), as an application server takes it:
 * bodies with Content-Length. No I/O. No parser is packaged in both Debians that the project
 * supports. */
#pragma once

#include "daemon/base/buf.h"

enum { HTTP_HEAD_MAX = 16 * 1024, HTTP_BODY_MAX = 1024 * 1024, HTTP_HEADERS_MAX = 64 };

struct http_request {
    char method[16];
    char *path;  /* percent-decoded per segment is the caller's; begins with '/' */
    char *query; /* after '?', or NULL */
    char *headers[HTTP_HEADERS_MAX]; /* "name: value" as sent; NULL ends the list */
    struct mm_buf body;
    bool close; /* the client will not reuse the connection */
};

/* 0: not whole yet. 1: *ret_request is filled, and *ret_used bytes belong to it. 400, 413, 431, 501
 * or 505: the answer; the connection is of no more use. */
unsigned http_parse(struct mm_bytes in, struct http_request *ret_request, size_t *ret_used);
/* True while a head has come that asks for 100 Continue, and its body has not. */
bool http_expects_continue(struct mm_bytes in);
void http_request_done(struct http_request *request);

/* The value of a header, without blanks around it; NULL if there is none. Borrowed. */
const char *http_header(const struct http_request *request, const char *name);
/* A parameter of the query, percent-decoded into to; false if there is none, or it does not fit. */
bool http_parameter(const struct http_request *request, const char *name, char *to, size_t size);
/* Percent-decodes len bytes; false if it is malformed or does not fit. */
bool http_decode(const char *text, size_t len, char *to, size_t size);
/* The reason phrase of a status. */
const char *http_reason(unsigned status);
