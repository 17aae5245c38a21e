/* SPDX-License-Identifier: Apache-2.0 */
#include "client/link.h"

#include "client/tls.h"
#include "daemon/base/clock.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    LOOK_UP_MS = 10 * 1000,
    CONNECT_MS = 10 * 1000, /* for each address: TCP and TLS */
    RECORDS = 16,           /* received in one run */
    READ_BYTES = 16 * 1024, /* a TLS record's content at most (RFC 8446 section 5.1) */
    /* A peer whose host is gone is noticed after 10 + 3 * 5 s without HTTP/2 pings, which a server
     * may count as abuse. */
    KEEPALIVE_IDLE_S = 10,
    KEEPALIVE_INTERVAL_S = 5,
    KEEPALIVE_PROBES = 3,
    UNACKNOWLEDGED_MS = 25 * 1000,
};

enum step { LOOK_UP, CONNECT, SHAKE_HANDS, TALK, BROKEN };

struct mm_link {
    struct mm_link_options options;
    enum step step;
    struct mintmark_error error;
    struct addrinfo *addresses;     /* that were found */
    const struct addrinfo *address; /* that is tried */
    int fd;
    int64_t limit_us; /* for the step before TALK */
    SSL *tls;         /* NULL in cleartext */
    struct mm_session *session;
    struct mm_buf out;    /* framed, not yet taken by TLS */
    short want_for_read;  /* poll events that TLS waits for before it can yield */
    short want_for_write; /* … and before it can take; 0: nothing to write */
    int64_t received_us;  /* when something came last, or the last call began to wait */
    int64_t pinged_us;
    uint8_t in[READ_BYTES];
};

static int64_t ms_from_now(int64_t ms)
{
    return mm_clock_mono_us() + ms * 1000;
}

static void set_options(int fd)
{
    const struct {
        int level, name, value;
    } options[] = {
        {IPPROTO_TCP, TCP_NODELAY, 1},
        {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S},
        {IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S},
        {IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES},
        {IPPROTO_TCP, TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS},
    };

    /* Each only betters a connection that works without it. */
    for (size_t i = 0; i < MM_ARRAY_SIZE(options); i++)
        (void)setsockopt(fd, options[i].level, options[i].name, &options[i].value,
                         sizeof(options[i].value));
}

/* Takes link->error as the reason. */
static bool break_link(struct mm_link *link)
{
    link->step = BROKEN;
    if (link->session)
        mm_session_lost(link->session, &link->error);
    return true;
}

static void close_socket(struct mm_link *link)
{
    SSL_free(link->tls);
    link->tls = NULL;
    ERR_clear_error();
    if (link->fd >= 0)
        close(link->fd);
    link->fd = -1;
}

static int fail_connect(struct mm_link *link, int errno_value)
{
    return mm_client_fail(&link->error, MINTMARK_UNAVAILABLE, "CONNECT_FAILED",
                          "cannot connect to %s port %s: %s", link->options.host,
                          link->options.port, strerror(errno_value));
}

/* 0: under way. */
static int begin_connect(struct mm_link *link)
{
    link->limit_us = ms_from_now(CONNECT_MS);
    link->step = CONNECT;
    link->fd = socket(link->address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (link->fd < 0)
        return fail_connect(link, errno);
    set_options(link->fd);
    if (connect(link->fd, link->address->ai_addr, link->address->ai_addrlen) < 0 &&
        errno != EINPROGRESS && errno != EINTR)
        return fail_connect(link, errno);
    return 0;
}

/* This address did not work, and link->error says why: the next. What is no matter of the address
 * ends the search. */
static bool try_next(struct mm_link *link, int r)
{
    while (r == -MINTMARK_UNAVAILABLE) {
        close_socket(link);
        link->address = link->address->ai_next;
        if (!link->address)
            break;
        r = begin_connect(link);
    }
    return r < 0 ? break_link(link) : true;
}

static bool run_look_up(struct mm_link *link)
{
    int r = mm_lookup_result(link->options.lookup, &link->addresses, &link->error);

    if (r == MM_ERR_AGAIN && mm_clock_mono_us() < link->limit_us)
        return false;
    if (r == MM_ERR_AGAIN)
        mm_client_fail(&link->error, MINTMARK_UNAVAILABLE, "NO_ADDRESS",
                       "%s: the name look-up takes too long", link->options.host);
    if (r < 0)
        return break_link(link);
    link->address = link->addresses;
    r = begin_connect(link);
    return r < 0 ? try_next(link, r) : true;
}

static int begin_session(struct mm_link *link)
{
    int r = mm_session_new(link->tls ? "https" : "http", link->options.authority, &link->session,
                           &link->error);

    if (r == 0)
        link->step = TALK;
    link->received_us = mm_clock_mono_us();
    return r;
}

static bool run_connect(struct mm_link *link)
{
    struct pollfd poll_fd = {.fd = link->fd, .events = POLLOUT};
    int problem = 0, r = 0;
    socklen_t len = sizeof(problem);

    if (poll(&poll_fd, 1, 0) <= 0) {
        if (mm_clock_mono_us() < link->limit_us)
            return false;
        return try_next(link, fail_connect(link, ETIMEDOUT));
    }
    if (getsockopt(link->fd, SOL_SOCKET, SO_ERROR, &problem, &len) < 0)
        problem = errno;
    if (problem)
        return try_next(link, fail_connect(link, problem));
    if (!link->options.context) {
        r = begin_session(link);
    } else {
        r = mm_tls_new(link->options.context, link->fd, link->options.server_name, &link->tls,
                       &link->error);
        link->step = SHAKE_HANDS;
    }
    return r < 0 ? try_next(link, r) : true;
}

/* What TLS waits for; 0 when ssl_error is a real failure. */
static short events_for(int ssl_error)
{
    return ssl_error == SSL_ERROR_WANT_READ ? POLLIN
                                            : (ssl_error == SSL_ERROR_WANT_WRITE ? POLLOUT : 0);
}

static bool run_handshake(struct mm_link *link)
{
    int done, ssl_error, errno_value, r;

    ERR_clear_error();
    errno = 0;
    done = SSL_do_handshake(link->tls);
    errno_value = errno;
    if (done == 1) {
        r = mm_tls_check_protocol(link->tls, &link->error);
        if (r == 0)
            r = begin_session(link);
        link->want_for_read = POLLIN;
        return r < 0 ? try_next(link, r) : true;
    }
    ssl_error = SSL_get_error(link->tls, done);
    link->want_for_read = events_for(ssl_error);
    if (!link->want_for_read)
        return try_next(link, mm_tls_fail(link->tls, ssl_error, errno_value, &link->error));
    if (mm_clock_mono_us() < link->limit_us)
        return false;
    return try_next(link, mm_client_fail(&link->error, MINTMARK_UNAVAILABLE, "CONNECT_FAILED",
                                         "the server did not finish the TLS handshake in time"));
}

/* Bytes to and from the socket, through TLS or not: how many; 0: would block, and *ret_wants says
 * what to wait for; negative: link->error says why. */

static int socket_failed(struct mm_link *link, ssize_t n, int errno_value, short wants,
                         short *ret_wants)
{
    if (n < 0 && (errno_value == EAGAIN || errno_value == EINTR)) {
        *ret_wants = wants;
        return 0;
    }
    if (n < 0)
        return mm_client_fail(&link->error, MINTMARK_UNAVAILABLE, "CONNECTION_LOST",
                              "the connection was lost: %s", strerror(errno_value));
    return mm_client_fail(&link->error, MINTMARK_UNAVAILABLE, "CONNECTION_LOST",
                          "the server closed the connection");
}

static int tls_failed(struct mm_link *link, int n, int errno_value, short *ret_wants)
{
    const int ssl_error = SSL_get_error(link->tls, n);

    *ret_wants = events_for(ssl_error);
    return *ret_wants ? 0 : mm_tls_fail(link->tls, ssl_error, errno_value, &link->error);
}

static int write_some(struct mm_link *link)
{
    ssize_t n;

    errno = 0;
    if (!link->tls) {
        n = send(link->fd, link->out.data, link->out.len, MSG_NOSIGNAL);
        return n > 0 ? (int)n : socket_failed(link, n, errno, POLLOUT, &link->want_for_write);
    }
    ERR_clear_error();
    n = SSL_write(link->tls, link->out.data, (int)link->out.len);
    return n > 0 ? (int)n : tls_failed(link, (int)n, errno, &link->want_for_write);
}

static int read_some(struct mm_link *link)
{
    ssize_t n;

    errno = 0;
    if (!link->tls) {
        n = recv(link->fd, link->in, sizeof(link->in), 0);
        return n > 0 ? (int)n : socket_failed(link, n, errno, POLLIN, &link->want_for_read);
    }
    ERR_clear_error();
    n = SSL_read(link->tls, link->in, sizeof(link->in));
    return n > 0 ? (int)n : tls_failed(link, (int)n, errno, &link->want_for_read);
}

/* Takes from the session and gives to TLS until one of them has enough. */
static int send_ready(struct mm_link *link)
{
    link->want_for_write = 0;
    for (;;) {
        int n = mm_session_send(link->session, &link->out, &link->error);

        if (n < 0 || link->out.len == 0)
            return n;
        n = write_some(link);
        if (n <= 0)
            return n;
        mm_buf_consume(&link->out, (size_t)n);
    }
}

/* Reads one record at most. 1: something came; 0: nothing is there. */
static int receive_ready(struct mm_link *link)
{
    int r, n = read_some(link);

    if (n <= 0)
        return n;
    link->received_us = mm_clock_mono_us();
    r = mm_session_receive(link->session, link->in, (size_t)n, &link->error);
    /* Device keys may have been in it. */
    explicit_bzero(link->in, (size_t)n);
    return r < 0 ? r : 1;
}

/* A call that waits for a server of which nothing is heard is told when the server is gone. */
static int keep_alive(struct mm_link *link)
{
    const int64_t now = mm_clock_mono_us();

    if (link->options.keepalive_ms == 0)
        return 0;
    if (mm_session_pinging(link->session)) {
        if (now < link->pinged_us + (int64_t)link->options.keepalive_timeout_ms * 1000)
            return 0;
        return mm_client_fail(&link->error, MINTMARK_UNAVAILABLE, "KEEPALIVE",
                              "the server does not answer pings: the connection counts as lost");
    }
    if (!mm_session_busy(link->session)) {
        link->received_us = now;
    } else if (now >= link->received_us + (int64_t)link->options.keepalive_ms * 1000) {
        link->pinged_us = now;
        mm_session_ping(link->session);
    }
    return 0;
}

static bool run_talk(struct mm_link *link)
{
    bool received = false;
    int r = 1;

    /* Reading comes first: when the server has refused us, it says why there, and writing would
     * only find the connection closed. */
    for (unsigned i = 0; i < RECORDS && r > 0; i++) {
        r = receive_ready(link);
        received |= r > 0;
    }
    if (r >= 0)
        r = keep_alive(link);
    if (r >= 0)
        r = send_ready(link);
    return r < 0 ? break_link(link) : received;
}

bool mm_link_run(struct mm_link *link)
{
    switch (link->step) {
    case LOOK_UP:
        return run_look_up(link);
    case CONNECT:
        return run_connect(link);
    case SHAKE_HANDS:
        return run_handshake(link);
    case TALK:
        return run_talk(link);
    case BROKEN:
        break;
    }
    return false;
}

static int64_t keepalive_at(const struct mm_link *link)
{
    if (link->options.keepalive_ms == 0)
        return INT64_MAX;
    if (mm_session_pinging(link->session))
        return link->pinged_us + (int64_t)link->options.keepalive_timeout_ms * 1000;
    if (!mm_session_busy(link->session))
        return INT64_MAX;
    return link->received_us + (int64_t)link->options.keepalive_ms * 1000;
}

void mm_link_interest(const struct mm_link *link, struct pollfd *ret_poll, int64_t *ret_at_us)
{
    *ret_poll = (struct pollfd){.fd = link->fd};
    *ret_at_us = link->limit_us;
    switch (link->step) {
    case LOOK_UP:
        *ret_at_us = ms_from_now(MM_LOOKUP_POLL_MS);
        break;
    case CONNECT:
        ret_poll->events = POLLOUT;
        break;
    case SHAKE_HANDS:
        ret_poll->events = link->want_for_read ? link->want_for_read : POLLOUT;
        break;
    case TALK:
        ret_poll->events = (short)(link->want_for_read | link->want_for_write);
        *ret_at_us = keepalive_at(link);
        break;
    case BROKEN:
        *ret_poll = (struct pollfd){.fd = -1};
        *ret_at_us = INT64_MAX;
        break;
    }
}

enum mm_link_state mm_link_state(const struct mm_link *link)
{
    if (link->step == BROKEN)
        return MM_LINK_BROKEN;
    return link->step == TALK ? MM_LINK_READY : MM_LINK_CONNECTING;
}

const struct mintmark_error *mm_link_error(const struct mm_link *link)
{
    return &link->error;
}

struct mm_session *mm_link_session(struct mm_link *link)
{
    return link->session;
}

bool mm_link_usable(const struct mm_link *link)
{
    return link->step == TALK && mm_session_usable(link->session);
}

void mm_link_flush(struct mm_link *link)
{
    if (link->step == TALK && send_ready(link) < 0)
        (void)break_link(link);
}

int mm_link_new(const struct mm_link_options *options, struct mm_link **ret_link,
                struct mintmark_error *error)
{
    MM_CLEANUP(mm_link_free_p) struct mm_link *link = calloc(1, sizeof(*link));
    int r;

    if (!link)
        return mm_client_fail_memory(error);
    link->options = *options;
    link->fd = -1;
    /* One frame may stand over the mark (RFC 9113 section 4.2: 16 KiB unless the peer asks more).
     */
    link->out = MM_BUF_INIT(4 * MM_SESSION_SEND);
    link->want_for_read = POLLIN;
    link->limit_us = ms_from_now(LOOK_UP_MS);
    r = mm_lookup_start(options->lookup, error);
    if (r < 0)
        return r;
    *ret_link = MM_TAKE(link);
    return 0;
}

void mm_link_free(struct mm_link *link)
{
    if (!link)
        return;
    if (link->step == TALK) {
        mm_session_close(link->session);
        if (send_ready(link) == 0 && link->tls)
            (void)SSL_shutdown(link->tls);
    }
    mm_session_free(link->session);
    close_socket(link);
    if (link->addresses)
        freeaddrinfo(link->addresses);
    mm_buf_done(&link->out);
    explicit_bzero(link->in, sizeof(link->in));
    free(link);
}
