/* SPDX-License-Identifier: Apache-2.0 */
/* A connection: socket, TLS, and the bytes to and from its HTTP/2 session. */
#include "daemon/base/clock.h"
#include "daemon/base/log.h"
#include "daemon/front/identity.h"
#include "daemon/front/server_impl.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FLUSH_ROUNDS = 16, LINGER_BYTES_MAX = 1024 * 1024 };

static int64_t in_ms(int64_t ms)
{
    return mm_clock_mono_us() + ms * 1000;
}

/* Socket, with or without TLS. */

static ssize_t read_some(struct mm_conn *c, void *buf, size_t size)
{
    ssize_t n;

    if (c->ssl)
        return mm_tls_read(c->ssl, buf, size, &c->want_write);
    n = recv(c->fd, buf, size, 0);
    if (n > 0)
        return n;
    if (n == 0)
        return MM_ERR_EOF;
    return errno == EAGAIN || errno == EINTR ? MM_ERR_AGAIN : MM_ERR_IO;
}

static ssize_t write_some(struct mm_conn *c, const void *data, size_t len)
{
    ssize_t n;

    if (c->ssl)
        return mm_tls_write(c->ssl, data, len);
    n = send(c->fd, data, len, MSG_NOSIGNAL);
    if (n >= 0)
        return n;
    return errno == EAGAIN || errno == EINTR ? MM_ERR_AGAIN : MM_ERR_IO;
}

/* Whether all that had come was likely read: then the poll tells of more, and a read that only
 * finds out that there is nothing is saved. What TLS has in its own buffers the poll does not know.
 */
static bool read_dry(const struct mm_conn *c, size_t n)
{
    return c->ssl ? !SSL_has_pending(c->ssl) : n < MM_SCRATCH_BYTES;
}

/* As much as the socket takes; returns how much, or MM_ERR_IO. */
static ssize_t write_all(struct mm_conn *c, const uint8_t *data, size_t len)
{
    size_t done = 0;

    while (done < len) {
        const ssize_t n = write_some(c, data + done, len - done);

        if (n == MM_ERR_AGAIN)
            break;
        if (n < 0)
            return n;
        done += (size_t)n;
    }
    c->server->core->stats.sent_bytes += done;
    if (done > 0)
        c->give_up_us = INT64_MAX;
    if (done < len && c->give_up_us == INT64_MAX)
        c->give_up_us = in_ms(c->server->conf->limits.write_stall_ms);
    return (ssize_t)done;
}

/* Closing. */

static void on_handle_closed(uv_handle_t *handle)
{
    struct mm_conn *c = handle->data;
    struct mm_server *s = c->server;

    if (--c->handles > 0)
        return;
    close(c->fd);
    free(c);
    mm_server_conn_gone(s);
}

void mm_conn_close(struct mm_conn *c)
{
    if (c->state == MM_CONN_CLOSED)
        return;
    if (c->h2)
        mm_log(MM_LOG_INFO, "connection_closed", MM_STR("client", c->peer.name),
               MM_STR("address", c->peer.address));
    mm_server_forget(c);
    c->state = MM_CONN_CLOSED;
    mm_h2_free(MM_TAKE(c->h2));
    SSL_free(MM_TAKE(c->ssl));
    mm_buf_done(&c->left);
    uv_close((uv_handle_t *)&c->poll, on_handle_closed);
    uv_close((uv_handle_t *)&c->timer, on_handle_closed);
}

static void handshake_failed(struct mm_conn *c, const struct mm_errinfo *ei)
{
    uint64_t suppressed;

    c->server->core->stats.handshakes_failed++;
    if (mm_core_may_log(c->server->core, &suppressed))
        mm_log(MM_LOG_WARNING, "handshake_failed", MM_STR("address", c->peer.address),
               MM_STR("text", ei->text), MM_UINT("suppressed", suppressed));
    mm_conn_close(c);
}

/* All is said. A close at once could make the kernel throw away what the peer has not read yet, so
 * it is the peer who closes; we wait a moment for that. */
static void linger(struct mm_conn *c)
{
    mm_log(MM_LOG_INFO, "connection_closed", MM_STR("client", c->peer.name),
           MM_STR("address", c->peer.address));
    mm_h2_free(MM_TAKE(c->h2));
    if (c->ssl)
        SSL_shutdown(c->ssl);
    SSL_free(MM_TAKE(c->ssl));
    shutdown(c->fd, SHUT_WR);
    c->state = MM_CONN_LINGER;
    c->give_up_us = in_ms(MM_LINGER_MS);
}

static void read_lingering(struct mm_conn *c)
{
    uint8_t *scratch = c->server->scratch;
    const ssize_t n = recv(c->fd, scratch, MM_SCRATCH_BYTES, 0);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    c->lingered += n > 0 ? (size_t)n : 0;
    if (n <= 0 || c->lingered > LINGER_BYTES_MAX)
        mm_conn_close(c);
}

/* Poll and timer. */

static void on_poll(uv_poll_t *poll, int status, int events);
static void on_timer(uv_timer_t *timer);

static void set_poll(struct mm_conn *c)
{
    int events = 0;

    if (c->left.len > 0 || c->want_write)
        events |= UV_WRITABLE;
    /* Who does not take answers may not ask more. */
    if (c->left.len == 0)
        events |= UV_READABLE;
    if (events == c->poll_events)
        return;
    c->poll_events = events;
    uv_poll_start(&c->poll, events, on_poll);
}

static void set_timer(struct mm_conn *c)
{
    int64_t next = c->give_up_us < c->expires_us ? c->give_up_us : c->expires_us;
    int64_t delay_us;

    if (c->h2 && mm_h2_next_us(c->h2) < next)
        next = mm_h2_next_us(c->h2);
    /* A timer that fires too early does no harm; moving it with every call would. */
    if (next >= c->armed_us)
        return;
    c->armed_us = next;
    delay_us = next - mm_clock_mono_us();
    uv_timer_start(&c->timer, on_timer, delay_us > 0 ? (uint64_t)delay_us / 1000 + 1 : 0, 0);
}

static void give_up(struct mm_conn *c)
{
    const struct mm_errinfo ei = {.text = "timed out"};
    uint64_t *limits = c->server->core->stats.limits;

    if (c->state == MM_CONN_HANDSHAKE) {
        limits[MM_LIMIT_HANDSHAKE_TIME]++;
        handshake_failed(c, &ei);
    } else {
        limits[MM_LIMIT_WRITE_STALL] += c->state == MM_CONN_OPEN;
        mm_conn_close(c);
    }
}

static void on_timer(uv_timer_t *timer)
{
    struct mm_conn *c = timer->data;
    const int64_t now = mm_clock_mono_us();

    c->armed_us = INT64_MAX;
    if (now >= c->give_up_us) {
        give_up(c);
        return;
    }
    if (now >= c->expires_us) {
        c->expires_us = INT64_MAX;
        mm_conn_drain(c, MM_DRAIN_CERTIFICATE_EXPIRED);
    }
    if (c->h2)
        mm_h2_tick(c->h2);
    mm_server_mark_dirty(c);
}

/* Output. */

/* false: the connection is gone. */
static bool flush_left(struct mm_conn *c)
{
    const ssize_t n = write_all(c, c->left.data, c->left.len);

    if (n < 0) {
        mm_conn_close(c);
        return false;
    }
    mm_buf_consume(&c->left, (size_t)n);
    return true;
}

/* One scratch full from session to socket. MM_OK: there may be more; MM_ERR_AGAIN: there is not, or
 * the socket takes no more. */
static int flush_some(struct mm_conn *c)
{
    uint8_t *scratch = c->server->scratch;
    const ssize_t len = mm_h2_send(c->h2, scratch, MM_SCRATCH_BYTES);
    ssize_t n;

    if (len <= 0)
        return len < 0 ? (int)len : MM_ERR_AGAIN;
    n = write_all(c, scratch, (size_t)len);
    if (n >= 0)
        mm_buf_append(&c->left, scratch + n, (size_t)(len - n));
    /* Keys of "plain" profiles pass here, and what overwrites them may be long in coming. */
    explicit_bzero(scratch, (size_t)len);
    if (n < 0)
        return (int)n;
    if (mm_buf_err(&c->left) < 0)
        return mm_buf_err(&c->left);
    return n < len ? MM_ERR_AGAIN : MM_OK;
}

/* false: the connection is gone. */
static bool flush_session(struct mm_conn *c)
{
    int r = MM_OK;

    for (int round = 0; round < FLUSH_ROUNDS && r == MM_OK && c->left.len == 0; round++) {
        r = flush_some(c);
        mm_h2_run_writable(c->h2);
    }
    if (r < 0 && r != MM_ERR_AGAIN) {
        mm_conn_close(c);
        return false;
    }
    if (r == MM_OK && c->left.len == 0)
        mm_server_mark_unfinished(c);
    return true;
}

void mm_conn_flush(struct mm_conn *c)
{
    if (c->left.len > 0 && !flush_left(c))
        return;
    if (c->h2 && c->left.len == 0 && !flush_session(c))
        return;
    if (c->h2 && c->left.len == 0 && !c->unfinished && mm_h2_is_over(c->h2))
        linger(c);
    set_poll(c);
    set_timer(c);
}

static void wake(void *arg)
{
    mm_server_mark_dirty(arg);
}

/* Input. */

void mm_conn_read(struct mm_conn *c)
{
    uint8_t *scratch = c->server->scratch;
    size_t total = 0;
    ssize_t n;

    while (total < MM_READ_PER_TURN) {
        n = read_some(c, scratch, MM_SCRATCH_BYTES);
        if (n == MM_ERR_AGAIN)
            break;
        if (n < 0 || mm_h2_recv(c->h2, scratch, (size_t)n) < 0) {
            mm_conn_close(c);
            return;
        }
        total += (size_t)n;
        c->server->core->stats.received_bytes += (size_t)n;
        if (read_dry(c, (size_t)n))
            break;
    }
    if (total >= MM_READ_PER_TURN)
        mm_server_mark_unfinished(c);
    mm_server_mark_dirty(c);
}

/* TLS is up, or there is none: from here on HTTP/2 is spoken. */
static int open_session(struct mm_conn *c)
{
    const struct mm_h2_options options = {
        .core = c->server->core, .peer = &c->peer, .wake = wake, .arg = c};
    const int64_t left_ms = c->ssl ? mm_tls_peer_left_ms(c->ssl) : INT64_MAX;
    X509 *certificate = c->ssl ? SSL_get0_peer_certificate(c->ssl) : NULL;
    int r;

    if (certificate) {
        r = mm_identity_find(certificate, c->server->conf, &c->peer);
        if (r < 0)
            return r;
    }
    if (!mm_server_may_establish(c->server))
        return MM_ERR_EXHAUSTED;
    c->state = MM_CONN_OPEN;
    r = mm_h2_new(&options, &c->h2);
    if (r < 0)
        return r;
    c->give_up_us = INT64_MAX;
    if (left_ms < INT64_MAX / 2000)
        c->expires_us = in_ms(left_ms);
    mm_log(MM_LOG_INFO, "connection_opened", MM_STR("client", c->peer.name),
           MM_STR("address", c->peer.address), MM_UINT("roles", c->peer.roles));
    return MM_OK;
}

static void handshake(struct mm_conn *c)
{
    struct mm_errinfo ei = {0};
    int r = MM_OK;

    if (c->ssl)
        r = mm_tls_handshake(c->ssl, &c->want_write, &ei);
    if (r == MM_ERR_AGAIN) {
        set_poll(c);
        return;
    }
    c->want_write = false;
    if (r < 0) {
        handshake_failed(c, &ei);
    } else if (open_session(c) < 0) {
        mm_conn_close(c);
    } else {
        mm_conn_read(c); /* requests may have come with the last flight */
    }
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct mm_conn *c = poll->data;

    if (status < 0) {
        mm_conn_close(c);
        return;
    }
    switch (c->state) {
    case MM_CONN_HANDSHAKE:
        handshake(c);
        break;
    case MM_CONN_OPEN:
        if ((events & UV_READABLE) || c->want_write)
            mm_conn_read(c);
        else
            mm_server_mark_dirty(c);
        break;
    case MM_CONN_LINGER:
        read_lingering(c);
        break;
    case MM_CONN_CLOSED:
        break;
    }
}

/* Birth. */

static void name_address(struct mm_conn *c)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof(sa);
    char host[INET6_ADDRSTRLEN + 16], port[8];

    if (getpeername(c->fd, (struct sockaddr *)&sa, &len) < 0 ||
        getnameinfo((struct sockaddr *)&sa, len, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return;
    snprintf(c->peer.address, sizeof(c->peer.address),
             sa.ss_family == AF_INET6 ? "[%.45s]:%s" : "%.45s:%s", host, port);
}

static void set_socket_options(int fd, unsigned stall_ms)
{
    const unsigned lost_ms = 2 * stall_ms;
    const int on = 1;

    /* Failure of either costs speed or time, not correctness. The kernel's time is the longer one:
     * it closes without a word, and is for peers whose answers got lost. */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &lost_ms, sizeof(lost_ms));
}

static int make_tls_and_poll(struct mm_conn *c, struct mm_errinfo *ei)
{
    int r;

    if (c->server->tls) {
        c->ssl = SSL_new(c->server->tls);
        if (!c->ssl || SSL_set_fd(c->ssl, c->fd) != 1)
            return mm_fail_memory(ei);
    }
    r = uv_poll_init(c->server->loop, &c->poll, c->fd);
    return r < 0 ? mm_fail(ei, MM_ERR_IO, "SYSTEM_ERROR", "poll: %s", uv_strerror(r)) : MM_OK;
}

int mm_conn_new(struct mm_server *s, int fd, struct mm_errinfo *ei)
{
    struct mm_conn *c = calloc(1, sizeof(*c));
    int r;

    if (!c) {
        close(fd);
        return mm_fail_memory(ei);
    }
    c->server = s;
    c->fd = fd;
    c->left = MM_BUF_INIT(MM_SCRATCH_BYTES);
    c->armed_us = INT64_MAX;
    c->expires_us = INT64_MAX;
    c->give_up_us = in_ms(s->conf->limits.handshake_timeout_ms);
    r = make_tls_and_poll(c, ei);
    if (r < 0) {
        SSL_free(c->ssl);
        close(fd);
        free(c);
        return r;
    }
    uv_timer_init(s->loop, &c->timer);
    c->poll.data = c;
    c->timer.data = c;
    c->handles = 2;
    set_socket_options(fd, s->conf->limits.write_stall_ms);
    name_address(c);
    TAILQ_INSERT_TAIL(&s->conns, c, entry);
    s->core->stats.connections++;
    s->core->stats.connections_total++;
    s->handshakes++;
    set_timer(c);
    set_poll(c);
    if (!c->ssl)
        handshake(c);
    return MM_OK;
}

/* What the server asks. */

void mm_conn_drain(struct mm_conn *c, enum mm_drain why)
{
    if (c->state == MM_CONN_HANDSHAKE)
        mm_conn_close(c);
    else if (c->h2)
        mm_h2_drain(c->h2, why);
}

void mm_conn_cancel_calls(struct mm_conn *c)
{
    if (c->h2)
        mm_h2_cancel_calls(c->h2);
}

void mm_conn_recheck(struct mm_conn *c)
{
    struct mm_peer now = c->peer;

    if (c->state == MM_CONN_HANDSHAKE) {
        mm_conn_close(c); /* it began under the old rules; the client tries again */
        return;
    }
    if (!c->h2 || !c->ssl || !SSL_get0_peer_certificate(c->ssl))
        return;
    if (mm_tls_accepts_peer(c->server->tls, c->ssl) &&
        mm_identity_find(SSL_get0_peer_certificate(c->ssl), c->server->conf, &now) == MM_OK &&
        strcmp(now.name, c->peer.name) == 0 && now.roles == c->peer.roles)
        return;
    mm_h2_drain(c->h2, MM_DRAIN_CLIENT_CHANGED);
}
