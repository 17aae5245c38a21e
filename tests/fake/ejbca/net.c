/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fake/ejbca/net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { OUT_MAX = REPLY_MAX + 64 * 1024, IN_MAX = HTTP_HEAD_MAX + HTTP_BODY_MAX + 64 * 1024 };

struct conn {
    struct listener *listener;
    struct conn *next, *prev;
    uv_poll_t poll;
    uv_timer_t timer; /* idle time, or the drip */
    unsigned handles; /* open, of the two */
    int fd;
    SSL *ssl;
    struct mm_buf in, out;
    size_t sent, drip_from; /* bytes of out; from where on it drips */
    unsigned drip_ms, served;
    struct exchange *busy; /* the request that is not answered yet */
    bool ready;            /* the handshake is done */
    bool want_write;       /* TLS cannot go on before the socket takes more */
    bool hung;             /* nothing more is answered here */
    bool continued;        /* 100 Continue was said to the request that is coming */
    bool close_after, cut_after;
    bool closed;
};

struct listener {
    struct listener_options options;
    uv_loop_t *loop;
    uv_poll_t *poll;
    int fd; /* -1: not listening */
    unsigned port, requests, idle_ms;
    struct conn *first;
    struct listener_counts counts;
};

static void conn_turn(struct conn *c);

static void conn_freed(uv_handle_t *handle)
{
    struct conn *c = handle->data;

    if (--c->handles > 0)
        return;
    SSL_free(c->ssl);
    close(c->fd);
    mm_buf_done(&c->in);
    mm_buf_done(&c->out);
    free(c);
}

static void conn_close(struct conn *c, bool cut)
{
    const struct linger now = {.l_onoff = 1, .l_linger = 0};

    if (c->closed)
        return;
    c->closed = true;
    if (cut) {
        c->listener->counts.cut++;
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    } else if (c->ssl && c->ready) {
        SSL_shutdown(c->ssl);
        ERR_clear_error();
    }
    if (c->busy)
        c->busy->conn = NULL;
    c->busy = NULL;
    if (c->prev)
        c->prev->next = c->next;
    else
        c->listener->first = c->next;
    if (c->next)
        c->next->prev = c->prev;
    c->listener->counts.open--;
    uv_poll_stop(&c->poll);
    uv_close((uv_handle_t *)&c->poll, conn_freed);
    uv_close((uv_handle_t *)&c->timer, conn_freed);
}

/* Bytes read, 0 at the end, -1 nothing now, -2 an error. */
static int conn_read(struct conn *c, uint8_t *to, int size)
{
    int n;

    if (!c->ssl) {
        n = (int)recv(c->fd, to, (size_t)size, 0);
        return n >= 0 ? n : errno == EAGAIN || errno == EINTR ? -1 : -2;
    }
    ERR_clear_error();
    n = SSL_read(c->ssl, to, size);
    if (n > 0)
        return n;
    switch (SSL_get_error(c->ssl, n)) {
    case SSL_ERROR_WANT_READ:
        return -1;
    case SSL_ERROR_WANT_WRITE:
        c->want_write = true;
        return -1;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    default:
        return -2;
    }
}

static int conn_write(struct conn *c, const uint8_t *from, size_t len)
{
    int n;

    if (!c->ssl) {
        n = (int)send(c->fd, from, len, MSG_NOSIGNAL);
        return n >= 0 ? n : errno == EAGAIN || errno == EINTR ? -1 : -2;
    }
    ERR_clear_error();
    n = SSL_write(c->ssl, from, len > 1 << 20 ? 1 << 20 : (int)len);
    if (n > 0)
        return n;
    switch (SSL_get_error(c->ssl, n)) {
    case SSL_ERROR_WANT_WRITE:
    case SSL_ERROR_WANT_READ:
        return -1;
    default:
        return -2;
    }
}

/* True: go on. False: the connection is closed, or has to wait. */
static bool conn_handshake(struct conn *c)
{
    int r;

    if (!c->ssl || c->ready) {
        c->ready = true;
        return true;
    }
    ERR_clear_error();
    r = SSL_accept(c->ssl);
    if (r == 1) {
        c->ready = true;
        c->listener->counts.handshakes++;
        return true;
    }
    r = SSL_get_error(c->ssl, r);
    c->want_write = r == SSL_ERROR_WANT_WRITE;
    if (r != SSL_ERROR_WANT_READ && r != SSL_ERROR_WANT_WRITE) {
        c->listener->counts.refused++;
        conn_close(c, false);
    }
    return false;
}

/* How much of out may go now. */
static size_t conn_due(const struct conn *c)
{
    return c->drip_ms && c->sent >= c->drip_from ? 1
           : c->drip_ms                          ? c->drip_from - c->sent
                                                 : c->out.len - c->sent;
}

static void on_drip(uv_timer_t *timer)
{
    struct conn *c = timer->data;

    conn_turn(c);
}

static bool conn_flush(struct conn *c)
{
    while (c->sent < c->out.len) {
        const int n = conn_write(c, c->out.data + c->sent, conn_due(c));

        if (n == -2) {
            conn_close(c, false);
            return false;
        }
        if (n < 0) {
            c->want_write = true;
            return false;
        }
        c->sent += (size_t)n;
        if (c->drip_ms && c->sent >= c->drip_from && c->sent < c->out.len) {
            uv_timer_start(&c->timer, on_drip, c->drip_ms, 0);
            return false;
        }
    }
    mm_buf_reset(&c->out);
    c->sent = 0;
    c->drip_ms = 0;
    if (c->cut_after || c->close_after) {
        conn_close(c, c->cut_after);
        return false;
    }
    return true;
}

static void on_idle(uv_timer_t *timer)
{
    conn_close(timer->data, false);
}

/* Starts the idle time, if there is one and the connection is idle. */
static void conn_idle(struct conn *c)
{
    if (c->listener->idle_ms && !c->busy && !c->out.len && !c->hung)
        uv_timer_start(&c->timer, on_idle, c->listener->idle_ms, 0);
}

/* An answer that the parser gives itself. */
static void conn_refuse(struct conn *c, unsigned status)
{
    mm_buf_printf(&c->out, "HTTP/1.1 %u %s\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
                  status, http_reason(status));
    c->close_after = true;
    c->hung = true;
}

static void conn_start(struct conn *c, struct http_request *request, size_t used)
{
    struct exchange *x = calloc(1, sizeof(*x));

    if (!x)
        abort();
    x->request = *request;
    x->reply.body = MM_BUF_INIT(REPLY_MAX);
    x->conn = c;
    x->listener = c->listener;
    uv_timer_init(c->listener->loop, &x->timer);
    x->timer.data = x;
    mm_buf_consume(&c->in, used);
    c->busy = x;
    c->continued = false;
    c->served++;
    uv_timer_stop(&c->timer);
    c->listener->options.handle(c->listener->options.arg, x);
}

/* True: a request was started, so that there may be more to do. */
static bool conn_parse(struct conn *c)
{
    const struct mm_bytes in = {c->in.data, c->in.len};
    struct http_request request;
    size_t used = 0;
    const unsigned r = http_parse(in, &request, &used);

    if (r == 1)
        conn_start(c, &request, used);
    else if (r == 0 && !c->continued && http_expects_continue(in)) {
        mm_buf_append_str(&c->out, "HTTP/1.1 100 Continue\r\n\r\n");
        c->continued = true;
    } else if (r > 1)
        conn_refuse(c, r);
    return r > 0;
}

/* Reads until there is nothing more now, or a request is under way. False: closed. */
static bool conn_fill(struct conn *c)
{
    uint8_t bytes[16 * 1024];

    while (!c->busy && !c->hung && !c->closed) {
        int n;

        if (c->in.len && conn_parse(c))
            continue;
        n = conn_read(c, bytes, sizeof(bytes));
        if (n == -1)
            break;
        mm_buf_append(&c->in, bytes, n > 0 ? (size_t)n : 0);
        if (n <= 0 || mm_buf_err(&c->in) < 0) {
            conn_close(c, false);
            break;
        }
    }
    return !c->closed;
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct conn *c = poll->data;

    if (status < 0) {
        conn_close(c, false);
        return;
    }
    c->want_write = false;
    if (events & (UV_READABLE | UV_WRITABLE))
        conn_turn(c);
    if (!c->closed && events & UV_DISCONNECT)
        conn_close(c, false);
}

/* Writes what there is, and takes up what came. False: closed. */
static bool conn_work(struct conn *c)
{
    const bool dripping = uv_is_active((uv_handle_t *)&c->timer) && c->drip_ms;

    if (!dripping)
        conn_flush(c);
    if (c->closed || !conn_fill(c))
        return false;
    if (c->out.len && !c->want_write && !dripping)
        conn_flush(c);
    return !c->closed;
}

/* Everything that can be done now; then waits for what it needs. */
static void conn_turn(struct conn *c)
{
    int events = UV_DISCONNECT;

    if (c->closed || (conn_handshake(c) && !conn_work(c)) || c->closed)
        return;
    if (!c->busy && !c->hung)
        events |= UV_READABLE;
    if (c->want_write)
        events |= UV_WRITABLE;
    uv_poll_start(&c->poll, events, on_poll);
    conn_idle(c);
}

static void conn_new(struct listener *l, int fd)
{
    struct conn *c = calloc(1, sizeof(*c));
    const int yes = 1;

    if (!c)
        abort();
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
    c->listener = l;
    c->fd = fd;
    c->in = MM_BUF_INIT(IN_MAX);
    c->out = MM_BUF_INIT(OUT_MAX);
    if (l->options.tls) {
        c->ssl = SSL_new(l->options.tls);
        if (!c->ssl || SSL_set_fd(c->ssl, fd) != 1)
            abort();
        SSL_set_mode(c->ssl, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_ENABLE_PARTIAL_WRITE);
    }
    c->next = l->first;
    if (l->first)
        l->first->prev = c;
    l->first = c;
    l->counts.open++;
    l->counts.accepted++;
    uv_poll_init(l->loop, &c->poll, fd);
    uv_timer_init(l->loop, &c->timer);
    c->poll.data = c->timer.data = c;
    c->handles = 2;
    uv_poll_start(&c->poll, UV_READABLE | UV_DISCONNECT, on_poll);
}

static void on_connection(uv_poll_t *poll, int status, int events)
{
    struct listener *l = poll->data;

    (void)events;
    while (status == 0 && l->fd >= 0) {
        const int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd < 0)
            break;
        conn_new(l, fd);
    }
}

static int listen_on(unsigned port, unsigned *ret_port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    const int yes = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
    if (bind(fd, (struct sockaddr *)&address, len) < 0 || listen(fd, 512) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &len) < 0) {
        close(fd);
        return -1;
    }
    *ret_port = ntohs(address.sin_port);
    return fd;
}

static void poll_freed(uv_handle_t *handle)
{
    free(handle);
}

bool listener_open(struct listener *l, bool open)
{
    if (open == (l->fd >= 0))
        return true;
    if (open) {
        l->fd = listen_on(l->port, &l->port);
        if (l->fd < 0)
            return false;
        l->poll = calloc(1, sizeof(*l->poll));
        if (!l->poll)
            abort();
        uv_poll_init(l->loop, l->poll, l->fd);
        l->poll->data = l;
        uv_poll_start(l->poll, UV_READABLE, on_connection);
        return true;
    }
    uv_poll_stop(l->poll);
    uv_close((uv_handle_t *)l->poll, poll_freed);
    close(l->fd);
    l->fd = -1;
    while (l->first)
        conn_close(l->first, true);
    return true;
}

int listener_new(uv_loop_t *loop, const struct listener_options *options,
                 struct listener **ret_listener, struct mm_errinfo *ei)
{
    struct listener *l = calloc(1, sizeof(*l));

    if (!l)
        return mm_fail_memory(ei);
    l->options = *options;
    l->loop = loop;
    l->port = options->port;
    l->fd = -1;
    if (!listener_open(l, true)) {
        const int error = errno;

        free(l);
        return mm_fail_errno(ei, error, "listening on 127.0.0.1:%u", options->port);
    }
    *ret_listener = l;
    return MM_OK;
}

unsigned listener_port(const struct listener *listener)
{
    return listener->port;
}

const struct listener_counts *listener_counts(const struct listener *listener)
{
    return &listener->counts;
}

void listener_limits(struct listener *listener, unsigned requests, unsigned idle_ms)
{
    listener->requests = requests;
    listener->idle_ms = idle_ms;
    for (struct conn *c = listener->first; c; c = c->next)
        conn_idle(c);
}

void listener_require(struct listener *listener, bool certificate)
{
    SSL_CTX_set_verify(listener->options.tls,
                       SSL_VERIFY_PEER | (certificate ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0), NULL);
}

static void exchange_freed(uv_handle_t *handle)
{
    struct exchange *x = handle->data;

    http_request_done(&x->request);
    mm_buf_done(&x->reply.body);
    free(x);
}

static void exchange_end(struct exchange *x)
{
    if (x->conn)
        x->conn->busy = NULL;
    x->conn = NULL;
    uv_timer_stop(&x->timer);
    uv_close((uv_handle_t *)&x->timer, exchange_freed);
}

static void put_head(struct mm_buf *out, const struct reply *reply, bool chunked, bool close)
{
    char date[64];
    const time_t now = time(NULL);
    struct tm tm;

    gmtime_r(&now, &tm);
    strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
    mm_buf_printf(out, "HTTP/1.1 %u %s\r\nConnection: %s\r\n%s", reply->status,
                  http_reason(reply->status), close ? "close" : "keep-alive", reply->extra);
    if (reply->type)
        mm_buf_printf(out, "Content-Type: %s\r\n", reply->type);
    if (chunked)
        mm_buf_append_str(out, "Transfer-Encoding: chunked\r\n");
    else
        mm_buf_printf(out, "Content-Length: %zu\r\n", reply->body.len);
    mm_buf_printf(out, "Date: %s\r\n\r\n", date);
}

void exchange_send(struct exchange *x, const struct delivery *how)
{
    struct conn *c = x->conn;
    const struct reply *reply = &x->reply;
    const bool cut = how->cut_after < reply->body.len,
               head = strcmp(x->request.method, "HEAD") == 0;
    const size_t len = head ? 0 : cut ? how->cut_after : reply->body.len;

    if (!c) {
        exchange_end(x);
        return;
    }
    c->close_after = how->close || x->request.close ||
                     (c->listener->requests && c->served >= c->listener->requests);
    c->cut_after = cut;
    put_head(&c->out, reply, how->chunked, c->close_after);
    c->drip_from = c->out.len;
    c->drip_ms = how->drip_ms;
    if (how->chunked && len)
        mm_buf_printf(&c->out, "%zx\r\n", reply->body.len);
    mm_buf_append(&c->out, reply->body.data, len);
    if (how->chunked && !cut)
        mm_buf_append_str(&c->out, reply->body.len && !head ? "\r\n0\r\n\r\n" : "0\r\n\r\n");
    exchange_end(x);
    conn_turn(c);
}

void exchange_cut(struct exchange *x)
{
    struct conn *c = x->conn;

    exchange_end(x);
    if (c)
        conn_close(c, true);
}

void exchange_hang(struct exchange *x)
{
    if (x->conn)
        x->conn->hung = true;
    exchange_end(x);
}

X509 *exchange_peer(const struct exchange *x)
{
    return x->conn && x->conn->ssl ? SSL_get1_peer_certificate(x->conn->ssl) : NULL;
}
