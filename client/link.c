/* SPDX-License-Identifier: Apache-2.0 */
#include "client/link.h"

#include "client/tls.h"
#include "daemon/base/clock.h"

#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    CONNECT_MS = 10 * 1000, /* for each address: TCP and TLS */
    IDLE_RECORDS = 16,
    READ_BYTES = 16 * 1024, /* a TLS record's content at most (RFC 8446 section 5.1) */
    /* A peer whose host is gone is noticed after 10 + 3 * 5 s without HTTP/2 pings, which a server
     * may count as abuse. */
    KEEPALIVE_IDLE_S = 10,
    KEEPALIVE_INTERVAL_S = 5,
    KEEPALIVE_PROBES = 3,
    UNACKNOWLEDGED_MS = 25 * 1000,
};

struct mm_link {
    int fd;
    int cancel_fd;
    SSL *tls;
    struct mm_session *session;
    struct mm_buf out;    /* framed, not yet taken by TLS */
    short want_for_read;  /* poll events that TLS waits for before it can yield */
    short want_for_write; /* … and before it can take; 0: nothing to write */
    bool broken;
    uint8_t in[READ_BYTES];
};

int mm_link_fail_deadline(struct mintmark_error *error)
{
    return mm_client_fail(error, MINTMARK_DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED",
                          "no answer within the time limit");
}

static int timeout_until(int64_t deadline_us)
{
    int64_t left = deadline_us - mm_clock_mono_us();

    if (deadline_us == INT64_MAX)
        return -1;
    if (left <= 0)
        return 0;
    /* Rounded up, so that the deadline has passed when poll comes back with nothing. */
    left = (left + 999) / 1000;
    return left > INT_MAX ? INT_MAX : (int)left;
}

static int fail_cancelled(struct mintmark_error *error)
{
    return mm_client_fail(error, MINTMARK_CANCELLED, "CANCELLED", "cancelled");
}

static int check_interrupts(int cancel_fd, int64_t deadline_us, struct mintmark_error *error)
{
    struct pollfd cancel = {.fd = cancel_fd, .events = POLLIN};

    if (poll(&cancel, 1, 0) > 0)
        return fail_cancelled(error);
    return mm_clock_mono_us() >= deadline_us ? mm_link_fail_deadline(error) : 0;
}

/* Waits for events on fd (-1: none). 0: there are some. */
static int wait_for(int fd, short events, int cancel_fd, int64_t deadline_us,
                    struct mintmark_error *error)
{
    struct pollfd fds[2] = {{.fd = cancel_fd, .events = POLLIN}, {.fd = fd, .events = events}};

    for (;;) {
        int n = poll(fds, 2, timeout_until(deadline_us));

        if (n < 0 && errno != EINTR)
            return mm_client_fail(error, MINTMARK_INTERNAL, "POLL", "poll: %s", strerror(errno));
        if (n > 0 && fds[0].revents)
            return fail_cancelled(error);
        if (n > 0)
            return 0;
        if (mm_clock_mono_us() >= deadline_us)
            return mm_link_fail_deadline(error);
    }
}

int mm_link_sleep(int cancel_fd, uint32_t ms, struct mintmark_error *error)
{
    int r = wait_for(-1, 0, cancel_fd, mm_clock_mono_us() + (int64_t)ms * 1000, error);

    return r == -MINTMARK_DEADLINE_EXCEEDED ? 0 : r;
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

static int fail_connect(const struct mm_target *target, int errno_value,
                        struct mintmark_error *error)
{
    return mm_client_fail(error, MINTMARK_UNAVAILABLE, "CONNECT_FAILED",
                          "cannot connect to %s port %s: %s", target->host, target->port,
                          strerror(errno_value));
}

static int connect_address(const struct addrinfo *address, const struct mm_target *target,
                           int cancel_fd, int64_t deadline_us, int *ret_fd,
                           struct mintmark_error *error)
{
    MM_CLOSE int fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int problem = 0;
    socklen_t len = sizeof(problem);
    int r;

    if (fd < 0)
        return fail_connect(target, errno, error);
    set_options(fd);
    if (connect(fd, address->ai_addr, address->ai_addrlen) < 0) {
        if (errno != EINPROGRESS && errno != EINTR)
            return fail_connect(target, errno, error);
        r = wait_for(fd, POLLOUT, cancel_fd, deadline_us, error);
        if (r == -MINTMARK_DEADLINE_EXCEEDED)
            return fail_connect(target, ETIMEDOUT, error);
        if (r < 0)
            return r;
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &problem, &len) < 0)
            problem = errno;
        if (problem)
            return fail_connect(target, problem, error);
    }
    *ret_fd = fd;
    fd = -1;
    return 0;
}

/* What TLS waits for; 0 when ssl_error is a real failure. */
static short events_for(int ssl_error)
{
    return ssl_error == SSL_ERROR_WANT_READ ? POLLIN
                                            : (ssl_error == SSL_ERROR_WANT_WRITE ? POLLOUT : 0);
}

static int shake_hands(struct mm_link *link, int64_t deadline_us, struct mintmark_error *error)
{
    for (;;) {
        int done, ssl_error, errno_value, r;

        ERR_clear_error();
        errno = 0;
        done = SSL_do_handshake(link->tls);
        errno_value = errno;
        if (done == 1)
            return mm_tls_check_protocol(link->tls, error);
        ssl_error = SSL_get_error(link->tls, done);
        if (!events_for(ssl_error))
            return mm_tls_fail(link->tls, ssl_error, errno_value, error);
        r = wait_for(link->fd, events_for(ssl_error), link->cancel_fd, deadline_us, error);
        if (r == -MINTMARK_DEADLINE_EXCEEDED)
            return mm_client_fail(error, MINTMARK_UNAVAILABLE, "CONNECT_FAILED",
                                  "the server did not finish the TLS handshake in time");
        if (r < 0)
            return r;
    }
}

MM_DEFINE_CLEANUP(struct mm_link *, mm_link_free)

static int open_address(SSL_CTX *context, const struct addrinfo *address,
                        const struct mm_target *target, int cancel_fd, int64_t deadline_us,
                        struct mm_link **ret_link, struct mintmark_error *error)
{
    MM_CLEANUP(mm_link_free_p) struct mm_link *link = calloc(1, sizeof(*link));
    int r;

    if (!link)
        return mm_client_fail_memory(error);
    link->fd = -1;
    link->cancel_fd = cancel_fd;
    /* One frame may stand over the mark (RFC 9113 section 4.2: 16 KiB unless the peer asks more).
     */
    link->out = MM_BUF_INIT(4 * MM_SESSION_SEND);
    link->want_for_read = POLLIN;
    /* Until all is well there is nothing to say goodbye to. */
    link->broken = true;
    r = connect_address(address, target, cancel_fd, deadline_us, &link->fd, error);
    if (r == 0)
        r = mm_tls_new(context, link->fd, target->server_name, &link->tls, error);
    if (r == 0)
        r = shake_hands(link, deadline_us, error);
    if (r == 0)
        r = mm_session_new(target->authority, &link->session, error);
    if (r < 0)
        return r;
    link->broken = false;
    *ret_link = MM_TAKE(link);
    return 0;
}

static int look_up(const struct mm_target *target, struct addrinfo **ret_addresses,
                   struct mintmark_error *error)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    int r = getaddrinfo(target->host, target->port, &hints, ret_addresses);

    if (r == 0)
        return 0;
    return mm_client_fail(error, MINTMARK_UNAVAILABLE, "NO_ADDRESS", "%s: %s", target->host,
                          r == EAI_SYSTEM ? strerror(errno) : gai_strerror(r));
}

int mm_link_new(SSL_CTX *context, const struct mm_target *target, int cancel_fd,
                int64_t deadline_us, struct mm_link **ret_link, struct mintmark_error *error)
{
    struct addrinfo *addresses = NULL;
    int r = look_up(target, &addresses, error);

    if (r < 0)
        return r;
    for (const struct addrinfo *a = addresses; a; a = a->ai_next) {
        int64_t limit = mm_clock_mono_us() + CONNECT_MS * 1000;

        r = open_address(context, a, target, cancel_fd, limit < deadline_us ? limit : deadline_us,
                         ret_link, error);
        if (r != -MINTMARK_UNAVAILABLE || mm_clock_mono_us() >= deadline_us)
            break;
    }
    freeaddrinfo(addresses);
    return r;
}

struct mm_session *mm_link_session(struct mm_link *link)
{
    return link->session;
}

/* Hands the failure on to the streams; returns r. */
static int break_link(struct mm_link *link, int r, const struct mintmark_error *why)
{
    link->broken = true;
    mm_session_lost(link->session, why);
    return r;
}

static int fail_tls(struct mm_link *link, int result, int errno_value, struct mintmark_error *error)
{
    struct mintmark_error why;
    int r = mm_tls_fail(link->tls, SSL_get_error(link->tls, result), errno_value, &why);

    if (error)
        *error = why;
    return break_link(link, r, &why);
}

/* Takes from the session and gives to TLS until one of them has enough. */
static int send_ready(struct mm_link *link, struct mintmark_error *error)
{
    struct mintmark_error why;

    link->want_for_write = 0;
    for (;;) {
        int n, errno_value, r;

        r = mm_session_send(link->session, &link->out, &why);
        if (r < 0) {
            if (error)
                *error = why;
            return break_link(link, r, &why);
        }
        if (link->out.len == 0)
            return 0;
        ERR_clear_error();
        errno = 0;
        n = SSL_write(link->tls, link->out.data, (int)link->out.len);
        errno_value = errno;
        if (n > 0) {
            mm_buf_consume(&link->out, (size_t)n);
            continue;
        }
        link->want_for_write = events_for(SSL_get_error(link->tls, n));
        if (link->want_for_write)
            return 0;
        return fail_tls(link, n, errno_value, error);
    }
}

/* Reads one record at most. 1: something came; 0: nothing is there. */
static int receive_ready(struct mm_link *link, struct mintmark_error *error)
{
    struct mintmark_error why;
    int n, errno_value, r;

    ERR_clear_error();
    errno = 0;
    n = SSL_read(link->tls, link->in, sizeof(link->in));
    errno_value = errno;
    if (n <= 0) {
        link->want_for_read = events_for(SSL_get_error(link->tls, n));
        return link->want_for_read ? 0 : fail_tls(link, n, errno_value, error);
    }
    r = mm_session_receive(link->session, link->in, (size_t)n, &why);
    /* Device keys may have been in it. */
    explicit_bzero(link->in, (size_t)n);
    if (r == 0)
        return 1;
    if (error)
        *error = why;
    return break_link(link, r, &why);
}

int mm_link_step(struct mm_link *link, int64_t deadline_us, struct mintmark_error *error)
{
    for (;;) {
        /* A peer that never stops sending must not keep the caller from its deadline. */
        int received = 0, r = check_interrupts(link->cancel_fd, deadline_us, error);

        /* Reading comes first: when the server has refused us, it says why there, and writing
         * would only find the connection closed. */
        if (r == 0)
            r = received = receive_ready(link, error);
        if (r >= 0)
            r = send_ready(link, error);
        if (r < 0 || received)
            return r;
        r = wait_for(link->fd, (short)(link->want_for_read | link->want_for_write), link->cancel_fd,
                     deadline_us, error);
        if (r < 0)
            return r;
    }
}

void mm_link_flush(struct mm_link *link)
{
    if (!link->broken)
        (void)send_ready(link, NULL);
}

bool mm_link_usable(struct mm_link *link)
{
    int r = 1;

    if (link->broken)
        return false;
    /* An idle connection has little to say: a notice, or its end. */
    for (unsigned i = 0; i < IDLE_RECORDS && r > 0; i++)
        r = receive_ready(link, NULL);
    return r >= 0 && send_ready(link, NULL) == 0 && mm_session_usable(link->session);
}

static void say_goodbye(struct mm_link *link)
{
    mm_session_close(link->session);
    if (send_ready(link, NULL) == 0)
        (void)SSL_shutdown(link->tls);
}

void mm_link_free(struct mm_link *link)
{
    if (!link)
        return;
    if (!link->broken)
        say_goodbye(link);
    mm_session_free(link->session);
    SSL_free(link->tls);
    ERR_clear_error();
    if (link->fd >= 0)
        close(link->fd);
    mm_buf_done(&link->out);
    explicit_bzero(link->in, sizeof(link->in));
    free(link);
}
