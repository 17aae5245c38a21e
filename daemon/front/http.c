/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/front/http.h"

#include "daemon/front/http_request.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

struct peer {
    TAILQ_ENTRY(peer) link;
    struct mm_http *http;
    uv_tcp_t tcp;
    uv_timer_t timer;
    uv_write_t write;
    uv_shutdown_t shutdown;
    unsigned handles; /* that are not closed yet; 0: the place is free */
    bool closing;
    bool answered;
    size_t read; /* since it was answered */
    size_t len;  /* of the request */
    char request[MM_HTTP_REQUEST_MAX];
    struct mm_buf head, body; /* of the answer, while it is written */
};

struct mm_http {
    uv_tcp_t listener;
    void (*handle)(void *arg, const char *path, struct mm_http_response *response);
    void *arg;
    unsigned port;
    bool closing;
    bool waiting; /* a connection waits for a place; libuv takes no other until it is accepted */
    TAILQ_HEAD(, peer) open; /* oldest first */
    unsigned handles;        /* the listener, and the peers that have handles */
    struct peer peers[MM_HTTP_CONNECTIONS_MAX];
};

static void unref(struct mm_http *http)
{
    if (--http->handles == 0)
        free(http);
}

static void take_connection(struct mm_http *http);

static void on_peer_closed(uv_handle_t *handle)
{
    struct peer *p = handle->data;
    struct mm_http *http = p->http;

    if (--p->handles > 0)
        return;
    mm_buf_done(&p->head);
    mm_buf_done(&p->body);
    if (http->waiting && !http->closing)
        take_connection(http);
    unref(http);
}

static void close_peer(struct peer *p)
{
    if (p->closing)
        return;
    p->closing = true;
    TAILQ_REMOVE(&p->http->open, p, link);
    uv_close((uv_handle_t *)&p->tcp, on_peer_closed);
    uv_close((uv_handle_t *)&p->timer, on_peer_closed);
}

static void on_timer(uv_timer_t *timer)
{
    close_peer(timer->data);
}

/* The answer. */

static const char *reason_of(unsigned status)
{
    static const struct {
        unsigned status;
        const char *reason;
    } table[] = {
        {200, "OK"},
        {400, "Bad Request"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {413, "Content Too Large"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {505, "HTTP Version Not Supported"},
    };

    for (size_t i = 0; i < MM_ARRAY_SIZE(table); i++) {
        if (table[i].status == status)
            return table[i].reason;
    }
    return "Service Unavailable";
}

static void on_shutdown(uv_shutdown_t *request, int status)
{
    /* The peer closes when it has read all; a close by us could take that from it. */
    if (status < 0)
        close_peer(request->data);
}

static void on_written(uv_write_t *request, int status)
{
    struct peer *p = request->data;

    if (p->closing)
        return;
    p->shutdown.data = p;
    if (status < 0 || uv_shutdown(&p->shutdown, (uv_stream_t *)&p->tcp, on_shutdown) < 0)
        close_peer(p);
}

static void write_head(struct peer *p, unsigned status)
{
    mm_buf_printf(&p->head,
                  "HTTP/1.1 %u %s\r\n"
                  "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
                  "Content-Length: %zu\r\n"
                  "Cache-Control: no-store\r\n"
                  "X-Content-Type-Options: nosniff\r\n"
                  "%s"
                  "Connection: close\r\n\r\n",
                  status, reason_of(status), p->body.len,
                  status == 405 ? "Allow: GET, HEAD\r\n" : "");
}

static void send_answer(struct peer *p, unsigned status, bool head_only)
{
    uv_buf_t out[2];

    write_head(p, status);
    if (mm_buf_err(&p->head) < 0) {
        close_peer(p);
        return;
    }
    out[0] = uv_buf_init((char *)p->head.data, (unsigned)p->head.len);
    out[1] = uv_buf_init((char *)p->body.data, (unsigned)p->body.len);
    p->write.data = p;
    if (uv_write(&p->write, (uv_stream_t *)&p->tcp, out, head_only || p->body.len == 0 ? 1 : 2,
                 on_written) < 0)
        close_peer(p);
}

static void answer(struct peer *p, unsigned status, const struct mm_http_request *request)
{
    struct mm_http_response response = {.status = status,
                                        .body = MM_BUF_INIT(MM_METRICS_BYTES_MAX)};

    p->answered = true;
    if (status == 200)
        p->http->handle(p->http->arg, request->path, &response);
    else
        mm_buf_printf(&response.body, "%s\n", reason_of(status));
    if (mm_buf_err(&response.body) < 0) {
        mm_buf_reset(&response.body);
        response.status = 503;
    }
    p->body = response.body;
    send_answer(p, response.status, request->head);
}

/* The request. */

static void on_alloc(uv_handle_t *handle, MM_UNUSED size_t suggested, uv_buf_t *ret_buf)
{
    struct peer *p = handle->data;

    /* What comes after the answer was decided is read to be thrown away. */
    if (p->answered)
        *ret_buf = uv_buf_init(p->request, sizeof(p->request));
    else
        *ret_buf = uv_buf_init(p->request + p->len, (unsigned)(sizeof(p->request) - p->len));
}

static void on_read(uv_stream_t *stream, ssize_t n, MM_UNUSED const uv_buf_t *buf)
{
    struct peer *p = stream->data;
    struct mm_http_request request;
    unsigned status;

    if (n > 0 && p->answered)
        p->read += (size_t)n;
    if (n < 0 || p->read > MM_HTTP_LINGER_MAX) {
        close_peer(p);
        return;
    }
    if (n == 0 || p->answered)
        return;
    p->len += (size_t)n;
    status =
        mm_http_request_parse((struct mm_bytes){(const uint8_t *)p->request, p->len}, &request);
    if (status != 0)
        answer(p, status, &request);
}

/* Birth and end. */

static struct peer *free_place(struct mm_http *http)
{
    for (size_t i = 0; i < MM_HTTP_CONNECTIONS_MAX; i++) {
        if (http->peers[i].handles == 0)
            return &http->peers[i];
    }
    return NULL;
}

/* Takes the connection that libuv holds, or makes it wait until the oldest one is closed. */
static void take_connection(struct mm_http *http)
{
    uv_loop_t *loop = http->listener.loop;
    struct peer *p = free_place(http);

    http->waiting = !p;
    if (!p) {
        if (!TAILQ_EMPTY(&http->open))
            close_peer(TAILQ_FIRST(&http->open));
        return;
    }
    *p = (struct peer){.http = http, .handles = 2, .head = MM_BUF_INIT(1024)};
    uv_tcp_init(loop, &p->tcp);
    uv_timer_init(loop, &p->timer);
    p->tcp.data = p->timer.data = p;
    http->handles++;
    TAILQ_INSERT_TAIL(&http->open, p, link);
    uv_timer_start(&p->timer, on_timer, MM_HTTP_TIME_MS, 0);
    if (uv_accept((uv_stream_t *)&http->listener, (uv_stream_t *)&p->tcp) < 0 ||
        uv_read_start((uv_stream_t *)&p->tcp, on_alloc, on_read) < 0)
        close_peer(p);
}

static void on_connection(uv_stream_t *listener, int status)
{
    /* Out of descriptors: libuv comes again with the next connection. */
    if (status == 0)
        take_connection(listener->data);
}

static int parse_address(const struct mm_http_options *o, struct sockaddr_storage *ret_sa)
{
    memset(ret_sa, 0, sizeof(*ret_sa));
    if (uv_ip4_addr(o->address, (int)o->port, (struct sockaddr_in *)ret_sa) == 0)
        return 0;
    return uv_ip6_addr(o->address, (int)o->port, (struct sockaddr_in6 *)ret_sa);
}

static int listen_on(struct mm_http *http, const struct mm_http_options *o)
{
    struct sockaddr_storage sa;
    int len = sizeof(sa);
    int r = parse_address(o, &sa);

    if (r == 0)
        r = uv_tcp_bind(&http->listener, (struct sockaddr *)&sa, 0);
    if (r == 0)
        r = uv_listen((uv_stream_t *)&http->listener, MM_HTTP_CONNECTIONS_MAX, on_connection);
    if (r == 0)
        r = uv_tcp_getsockname(&http->listener, (struct sockaddr *)&sa, &len);
    http->port = ntohs(sa.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&sa)->sin6_port
                                                : ((struct sockaddr_in *)&sa)->sin_port);
    return r;
}

static void on_listener_closed(uv_handle_t *handle)
{
    unref(handle->data);
}

int mm_http_new(uv_loop_t *loop, const struct mm_http_options *o, struct mm_http **ret_http,
                struct mm_errinfo *ei)
{
    struct mm_http *http = calloc(1, sizeof(*http));
    int r;

    if (!http)
        return mm_fail_memory(ei);
    http->handle = o->handle;
    http->arg = o->arg;
    http->handles = 1;
    TAILQ_INIT(&http->open);
    uv_tcp_init(loop, &http->listener);
    http->listener.data = http;
    r = listen_on(http, o);
    if (r < 0) {
        mm_http_close(http);
        return mm_fail(ei, MM_ERR_IO, "SYSTEM_ERROR", "listening on %s port %u: %s", o->address,
                       o->port, uv_strerror(r));
    }
    *ret_http = http;
    return MM_OK;
}

unsigned mm_http_port(const struct mm_http *http)
{
    return http->port;
}

void mm_http_close(struct mm_http *http)
{
    struct peer *p;

    if (!http)
        return;
    http->closing = true;
    while ((p = TAILQ_FIRST(&http->open)))
        close_peer(p);
    uv_close((uv_handle_t *)&http->listener, on_listener_closed);
}
