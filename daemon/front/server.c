/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/front/server.h"

#include "daemon/base/log.h"
#include "daemon/front/server_impl.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    ACCEPTS_PER_TURN = 16,
    ACCEPT_PAUSE_MS = 100, /* when descriptors or memory have run out */
    DRAIN_END_MS = 1000    /* for the last answers to leave, after the drain's time is up */
};

/* Lists. */

void mm_server_mark_dirty(struct mm_conn *c)
{
    if (c->dirty || c->state == MM_CONN_CLOSED)
        return;
    c->dirty = true;
    TAILQ_INSERT_TAIL(&c->server->dirty, c, dirty_entry);
}

static void on_again(uv_idle_t *idle);

void mm_server_mark_unfinished(struct mm_conn *c)
{
    if (c->unfinished || c->state == MM_CONN_CLOSED)
        return;
    c->unfinished = true;
    TAILQ_INSERT_TAIL(&c->server->unfinished, c, unfinished_entry);
    uv_idle_start(&c->server->again, on_again);
}

static void clear_unfinished(struct mm_conn *c)
{
    struct mm_server *s = c->server;

    if (!c->unfinished)
        return;
    c->unfinished = false;
    TAILQ_REMOVE(&s->unfinished, c, unfinished_entry);
    if (TAILQ_EMPTY(&s->unfinished))
        uv_idle_stop(&s->again);
}

static void clear_dirty(struct mm_conn *c)
{
    if (!c->dirty)
        return;
    c->dirty = false;
    TAILQ_REMOVE(&c->server->dirty, c, dirty_entry);
}

void mm_server_forget(struct mm_conn *c)
{
    struct mm_server *s = c->server;

    clear_dirty(c);
    clear_unfinished(c);
    TAILQ_REMOVE(&s->conns, c, entry);
    if (c->state == MM_CONN_HANDSHAKE)
        s->handshakes--;
    else
        s->established--;
}

/* Before the loop blocks: everything that the turn has brought leaves now. */
static void on_flush(uv_prepare_t *prepare)
{
    struct mm_server *s = prepare->data;
    struct mm_conn *c;

    while ((c = TAILQ_FIRST(&s->dirty))) {
        clear_dirty(c);
        mm_conn_flush(c);
    }
}

/* Those that had more than their share, each once, for it may have more still. */
static void on_again(uv_idle_t *idle)
{
    struct mm_server *s = idle->data;
    struct mm_conn *c = TAILQ_LAST(&s->unfinished, mm_conns), *last = c;

    do {
        c = TAILQ_FIRST(&s->unfinished);
        clear_unfinished(c);
        mm_server_mark_dirty(c);
        if (c->state == MM_CONN_OPEN && c->left.len == 0)
            mm_conn_read(c);
    } while (c != last);
}

/* The end of everything. */

static void on_server_handle_closed(uv_handle_t *handle)
{
    struct mm_server *s = handle->data;

    if (--s->handles > 0)
        return;
    if (s->freed)
        free(s);
    else if (s->drained)
        s->drained(s->drained_arg);
}

static void on_listener_closed(uv_handle_t *handle)
{
    struct mm_server *s = handle->data;

    /* Not before: libuv would take the number for its own while somebody else has got it. */
    close(s->listen_fd);
    on_server_handle_closed(handle);
}

static void close_listener(struct mm_server *s)
{
    if (s->stopped)
        return;
    s->stopped = true;
    uv_close((uv_handle_t *)&s->listener, on_listener_closed);
}

static void close_handles(struct mm_server *s)
{
    close_listener(s);
    uv_close((uv_handle_t *)&s->flush, on_server_handle_closed);
    uv_close((uv_handle_t *)&s->again, on_server_handle_closed);
    uv_close((uv_handle_t *)&s->timer, on_server_handle_closed);
}

void mm_server_conn_gone(struct mm_server *s)
{
    s->core->stats.connections--;
    if (s->draining && s->core->stats.connections == 0)
        close_handles(s);
}

static void on_drain_timer(uv_timer_t *timer)
{
    struct mm_server *s = timer->data;
    struct mm_conn *c, *next;

    for (c = TAILQ_FIRST(&s->conns); c; c = next) {
        next = TAILQ_NEXT(c, entry);
        if (s->drain_over)
            mm_conn_close(c);
        else
            mm_conn_cancel_calls(c);
    }
    if (s->drain_over)
        return;
    s->drain_over = true;
    uv_timer_start(&s->timer, on_drain_timer, DRAIN_END_MS, 0);
}

void mm_server_drain(struct mm_server *s, unsigned timeout_ms, void (*done)(void *arg), void *arg)
{
    struct mm_conn *c, *next;

    if (s->draining)
        return;
    s->draining = true;
    s->drained = done;
    s->drained_arg = arg;
    close_listener(s);
    mm_health_shutdown(s->core);
    for (c = TAILQ_FIRST(&s->conns); c; c = next) {
        next = TAILQ_NEXT(c, entry);
        mm_conn_drain(c, MM_DRAIN_SHUTDOWN);
    }
    uv_timer_start(&s->timer, on_drain_timer, timeout_ms, 0);
    if (s->core->stats.connections == 0)
        close_handles(s);
}

void mm_server_free(struct mm_server *s)
{
    if (!s)
        return;
    if (s->handles > 0 && !uv_is_closing((uv_handle_t *)&s->flush))
        close_handles(s);
    SSL_CTX_free(MM_TAKE(s->tls));
    mm_core_free(MM_TAKE(s->core));
    if (s->handles > 0)
        s->freed = true;
    else
        free(s);
}

/* Accepting. */

static void on_listener(uv_poll_t *poll, int status, int events);

static void on_accept_again(uv_timer_t *timer)
{
    struct mm_server *s = timer->data;

    if (!s->draining)
        uv_poll_start(&s->listener, UV_READABLE, on_listener);
}

static void pause_accepting(struct mm_server *s)
{
    uv_poll_stop(&s->listener);
    uv_timer_start(&s->timer, on_accept_again, ACCEPT_PAUSE_MS, 0);
}

static void log_turned_away(struct mm_server *s, const char *event)
{
    uint64_t suppressed;

    if (mm_core_may_log(s->core, &suppressed))
        mm_log(MM_LOG_WARNING, event, MM_UINT("established", s->established),
               MM_UINT("handshakes", s->handshakes), MM_UINT("suppressed", suppressed));
}

static bool is_full(struct mm_server *s)
{
    if (s->established < s->conf->limits.connections)
        return false;
    log_turned_away(s, "connection_refused");
    s->core->stats.connections_refused++;
    s->core->stats.limits[MM_LIMIT_CONNECTIONS]++;
    return true;
}

bool mm_server_may_establish(struct mm_server *s)
{
    if (is_full(s))
        return false;
    s->handshakes--;
    s->established++;
    return true;
}

/* An honest handshake is over in no time. So that those who only hold the door open cannot keep
 * others out, the oldest one makes room. */
static void make_room(struct mm_server *s)
{
    struct mm_conn *c;

    if (s->handshakes < MM_HANDSHAKES_MAX)
        return;
    TAILQ_FOREACH(c, &s->conns, entry) {
        if (c->state == MM_CONN_HANDSHAKE)
            break;
    }
    log_turned_away(s, "handshake_dropped");
    s->core->stats.handshakes_failed++;
    s->core->stats.limits[MM_LIMIT_HANDSHAKES]++;
    mm_conn_close(c);
}

static void on_listener(uv_poll_t *poll, MM_UNUSED int status, MM_UNUSED int events)
{
    struct mm_server *s = poll->data;
    struct mm_errinfo ei = {0};

    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        const int fd = accept4(s->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)) {
            mm_fail_errno(&ei, errno, "accept");
            mm_log_error("accept_failed", NULL, &ei);
            pause_accepting(s);
        }
        if (fd < 0)
            return;
        if (is_full(s)) {
            close(fd);
            continue;
        }
        make_room(s);
        if (mm_conn_new(s, fd, &ei) < 0)
            mm_log_error("accept_failed", NULL, &ei);
    }
}

/* Birth. */

static int parse_address(const struct mm_conf_listen *listen, struct sockaddr_storage *ret_sa,
                         socklen_t *ret_len, struct mm_errinfo *ei)
{
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;

    memset(ret_sa, 0, sizeof(*ret_sa));
    if (uv_ip4_addr(listen->address, (int)listen->port, &v4) == 0) {
        memcpy(ret_sa, &v4, sizeof(v4));
        *ret_len = sizeof(v4);
    } else if (uv_ip6_addr(listen->address, (int)listen->port, &v6) == 0) {
        memcpy(ret_sa, &v6, sizeof(v6));
        *ret_len = sizeof(v6);
    } else {
        return mm_fail(ei, MM_ERR_INVALID, "BAD_ADDRESS", "%s is no numeric address",
                       listen->address);
    }
    return MM_OK;
}

static int bind_listener(struct mm_server *s, struct mm_errinfo *ei)
{
    const struct mm_conf_listen *conf = &s->conf->listen;
    const int on = 1;
    MM_CLOSE int fd = -1;
    struct sockaddr_storage sa;
    socklen_t len;
    int r;

    r = parse_address(conf, &sa, &len, ei);
    if (r < 0)
        return r;
    fd = socket(sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
        bind(fd, (struct sockaddr *)&sa, len) < 0 || listen(fd, MM_LISTEN_BACKLOG) < 0 ||
        getsockname(fd, (struct sockaddr *)&sa, &len) < 0)
        return mm_fail_errno(ei, errno, "listening on %s port %u", conf->address, conf->port);
    s->port = ntohs(sa.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&sa)->sin6_port
                                             : ((struct sockaddr_in *)&sa)->sin_port);
    s->listen_fd = fd;
    fd = -1;
    return MM_OK;
}

int mm_server_tls_new(const struct mm_server *s, const struct mm_conf *conf,
                      const struct mm_tls_files *files, SSL_CTX **ret_ctx, struct mm_errinfo *ei)
{
    *ret_ctx = NULL;
    if (s->security == MM_TRANSPORT_CLEARTEXT)
        return MM_OK;
    return mm_tls_context_new(&conf->listen, files, s->security == MM_TRANSPORT_MTLS, ret_ctx, ei);
}

static void apply_limits(struct mm_server *s)
{
    const struct mm_conf_limits *limits = &s->conf->limits;

    s->core->max_streams = limits->streams_per_connection;
    s->core->idle_timeout_ms = limits->idle_timeout_ms;
    s->core->connection_age_ms = limits->connection_age_ms;
    s->core->keepalive_ms = limits->keepalive_ms;
    s->core->keepalive_timeout_ms = limits->keepalive_timeout_ms;
    s->core->ping_interval_ms = limits->ping_interval_ms;
    s->core->request_timeout_ms = limits->request_timeout_ms;
}

static int start(struct mm_server *s, struct mm_errinfo *ei)
{
    const int r = uv_poll_init(s->loop, &s->listener, s->listen_fd);

    if (r < 0)
        return mm_fail(ei, MM_ERR_IO, "SYSTEM_ERROR", "poll: %s", uv_strerror(r));
    uv_prepare_init(s->loop, &s->flush);
    uv_idle_init(s->loop, &s->again);
    uv_timer_init(s->loop, &s->timer);
    s->listener.data = s->flush.data = s->again.data = s->timer.data = s;
    s->handles = 4;
    uv_prepare_start(&s->flush, on_flush);
    apply_limits(s);
    uv_poll_start(&s->listener, UV_READABLE, on_listener);
    return MM_OK;
}

int mm_server_new_transport(uv_loop_t *loop, const struct mm_conf *conf,
                            const struct mm_transport *transport, const struct mm_rpc *rpcs,
                            size_t n_rpcs, void *app, struct mm_server **ret_server,
                            struct mm_errinfo *ei)
{
    const struct mm_core_options options = {.rpcs = rpcs,
                                            .n_rpcs = n_rpcs,
                                            .app = app,
                                            .descriptors = transport->descriptors,
                                            .message_max = transport->message_max,
                                            .bare_errors = transport->bare_errors};
    struct mm_server *s = calloc(1, sizeof(*s));
    int r;

    if (!s)
        return mm_fail_memory(ei);
    s->loop = loop;
    s->conf = conf;
    s->security = transport->security;
    s->listen_fd = -1;
    TAILQ_INIT(&s->conns);
    TAILQ_INIT(&s->dirty);
    TAILQ_INIT(&s->unfinished);
    r = mm_server_tls_new(s, conf, transport->files, &s->tls, ei);
    if (r == MM_OK)
        r = mm_core_new(&options, &s->core, ei);
    if (r == MM_OK)
        r = bind_listener(s, ei);
    if (r == MM_OK)
        r = start(s, ei);
    if (r < 0) {
        mm_close_p(&s->listen_fd);
        mm_core_free(s->core);
        SSL_CTX_free(s->tls);
        free(s);
        return r;
    }
    mm_log(MM_LOG_INFO, "listening", MM_STR("address", conf->listen.address),
           MM_UINT("port", s->port));
    *ret_server = s;
    return MM_OK;
}

int mm_server_new(uv_loop_t *loop, const struct mm_conf *conf, const struct mm_tls_files *files,
                  const struct mm_rpc *rpcs, size_t n_rpcs, void *app,
                  struct mm_server **ret_server, struct mm_errinfo *ei)
{
    const struct mm_transport transport = {
        .security = MM_TRANSPORT_MTLS, .files = files, .descriptors = &mm_descriptors_mintmark};

    return mm_server_new_transport(loop, conf, &transport, rpcs, n_rpcs, app, ret_server, ei);
}

void mm_server_reconfigure(struct mm_server *s, const struct mm_conf *conf, SSL_CTX *tls)
{
    struct mm_conn *c, *next;

    SSL_CTX_free(s->tls);
    s->tls = tls;
    s->conf = conf;
    apply_limits(s);
    for (c = TAILQ_FIRST(&s->conns); c; c = next) {
        next = TAILQ_NEXT(c, entry);
        mm_conn_recheck(c);
    }
}

unsigned mm_server_port(const struct mm_server *s)
{
    return s->port;
}

void mm_server_set_health(struct mm_server *s, const char *service, bool serving)
{
    if (!s->draining)
        mm_health_set(s->core, service, serving);
}

void mm_server_replace_health(struct mm_server *s, const struct mm_health_state *states, size_t n)
{
    if (!s->draining)
        mm_health_replace(s->core, states, n);
}

void mm_server_stats(const struct mm_server *s, struct mm_server_stats *ret_stats)
{
    *ret_stats = s->core->stats;
}

const struct mm_method *mm_server_methods(const struct mm_server *s, size_t *ret_n)
{
    *ret_n = s->core->n_methods + 1;
    return s->core->methods;
}
