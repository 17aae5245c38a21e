/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP/1.1 with keep-alive over TLS or plain TCP on loopback, on a libuv loop: one request after
 * the other on a connection, each of which may be answered later, or never. */
#pragma once

#include "tests/fake/ejbca/http.h"

#include "daemon/base/err.h"

#include <openssl/ssl.h>
#include <uv.h>

struct listener;
struct conn;

enum { REPLY_MAX = 64 * 1024 * 1024, REPLY_EXTRA_MAX = 512 };

struct reply {
    unsigned status;
    const char *type; /* Content-Type; NULL for none */
    struct mm_buf body;
    char extra[REPLY_EXTRA_MAX]; /* more headers, each ended by CRLF */
};

/* A request and its answer. Lives until exchange_end, even if its connection is gone by then. */
struct exchange {
    struct http_request request;
    struct reply reply;
    struct conn *conn; /* NULL: the client has gone */
    struct listener *listener;
    uv_timer_t timer; /* the owner's; initialised */
    void *owner;      /* the owner's */
};

/* How an answer goes out. */
struct delivery {
    bool chunked;
    bool close;       /* after it */
    size_t cut_after; /* bytes of the body after which the connection is cut; SIZE_MAX: never */
    unsigned drip_ms; /* between single bytes of the body; 0: all at once */
};

struct listener_options {
    unsigned port; /* 0: any */
    SSL_CTX *tls;  /* NULL: plain */
    void (*handle)(void *arg, struct exchange *x);
    void *arg;
};

struct listener_counts {
    unsigned open, accepted, handshakes, refused, cut;
};

/* Listens on 127.0.0.1. */
int listener_new(uv_loop_t *loop, const struct listener_options *options,
                 struct listener **ret_listener, struct mm_errinfo *ei) MM_MUST_USE;
unsigned listener_port(const struct listener *listener);
const struct listener_counts *listener_counts(const struct listener *listener);
/* While false, nobody listens on the port, and every connection there was is cut. True: listens on
 * the same port again; false when that fails. */
bool listener_open(struct listener *listener, bool open);
/* Connections end after so many requests (0: never), and after so much idle time (0: never). */
void listener_limits(struct listener *listener, unsigned requests, unsigned idle_ms);

/* From now on a client without a certificate does not get through the handshake. TLS only. */
void listener_require(struct listener *listener, bool certificate);

/* Sends exchange's reply, and ends the exchange. */
void exchange_send(struct exchange *x, const struct delivery *how);
/* Cuts the connection at once (RST), and ends the exchange. */
void exchange_cut(struct exchange *x);
/* Ends the exchange and never answers; the connection stays until the client leaves. */
void exchange_hang(struct exchange *x);

/* The client's certificate; NULL: none. To be freed by the caller. */
X509 *exchange_peer(const struct exchange *x);
