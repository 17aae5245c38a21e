/* SPDX-License-Identifier: Apache-2.0 */
/* Between the server (server.c) and its connections (conn.c). Nobody else includes this. */
#pragma once

#include "daemon/front/core.h"
#include "daemon/front/h2.h"
#include "daemon/front/tls.h"
#include "daemon/front/transport.h"

enum { MM_SCRATCH_BYTES = 64 * 1024 };

struct mm_conn;
TAILQ_HEAD(mm_conns, mm_conn);

struct mm_server {
    uv_loop_t *loop;
    const struct mm_conf *conf;
    enum mm_transport_security security;
    SSL_CTX *tls; /* NULL: cleartext */
    struct mm_core *core;
    unsigned port;

    int listen_fd;
    bool stopped; /* for good */
    uv_poll_t listener;
    uv_prepare_t
        flush;        /* the last hook before the loop blocks: one write per connection and turn */
    uv_idle_t again;  /* runs while a connection has had its share of this turn */
    uv_timer_t timer; /* accept pause, end of the drain */
    unsigned handles; /* of the four above, those not closed yet */

    struct mm_conns conns;
    struct mm_conns dirty;      /* have output, or their poll or timer to set */
    struct mm_conns unfinished; /* have more input than their share */
    unsigned handshakes;        /* connections whose TLS handshake is under way, */
    unsigned established;       /* and those that have it behind them */

    bool draining;
    bool drain_over; /* its time is up */
    void (*drained)(void *arg);
    void *drained_arg;
    bool freed; /* by mm_server_free, while handles were open */

    uint8_t scratch[MM_SCRATCH_BYTES]; /* for one read or one write; nobody keeps it */
};

enum mm_conn_state {
    MM_CONN_HANDSHAKE,
    MM_CONN_OPEN,
    MM_CONN_LINGER, /* our last words are out; waits for the peer to close */
    MM_CONN_CLOSED  /* waits for libuv to let go of the handles */
};

struct mm_conn {
    TAILQ_ENTRY(mm_conn) entry;
    TAILQ_ENTRY(mm_conn) dirty_entry;
    TAILQ_ENTRY(mm_conn) unfinished_entry;
    bool dirty;
    bool unfinished;
    struct mm_server *server;
    int fd;
    enum mm_conn_state state;
    uv_poll_t poll;
    int poll_events; /* what poll waits for; 0: stopped */
    uv_timer_t timer;
    int64_t armed_us; /* when timer fires; INT64_MAX: not at all */
    unsigned handles;
    SSL *ssl; /* NULL: cleartext */
    struct mm_h2 *h2;
    struct mm_peer peer;
    struct mm_buf left; /* output that the socket did not take */
    bool want_write;    /* TLS must write before it can read */
    int64_t give_up_us; /* handshake, linger: their end; open: when a stalled write is given up */
    int64_t expires_us; /* the client's certificate does; INT64_MAX: never */
    size_t lingered;
};

/* conn.c */
/* Takes fd over, also on failure. */
int mm_conn_new(struct mm_server *s, int fd, struct mm_errinfo *ei) MM_MUST_USE;
/* Output, poll and timer. Called for each dirty connection once a turn. */
void mm_conn_flush(struct mm_conn *c);
/* Goes on reading where its share ended. */
void mm_conn_read(struct mm_conn *c);
void mm_conn_drain(struct mm_conn *c, enum mm_drain why);
void mm_conn_cancel_calls(struct mm_conn *c);
void mm_conn_close(struct mm_conn *c);
/* After reconfiguration: is it still the same client, with the same roles? If not, drains. */
void mm_conn_recheck(struct mm_conn *c);

/* server.c */
void mm_server_mark_dirty(struct mm_conn *c);
void mm_server_mark_unfinished(struct mm_conn *c);
/* Out of all lists and counts, before its state changes; handles may still be closing. */
void mm_server_forget(struct mm_conn *c);
/* A handshake has succeeded; false: there are as many connections as may be. */
bool mm_server_may_establish(struct mm_server *s);
/* The last handle is closed and the connection freed. */
void mm_server_conn_gone(struct mm_server *s);
