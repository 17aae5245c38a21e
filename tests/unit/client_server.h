/* SPDX-License-Identifier: Apache-2.0 */
/* A server for the client's calls, on a real socket of the loopback, in the test's own thread and
 * without TLS: turn() lets the client do what it can without waiting, then the server. What the
 * server does to each connection is the test's choice. */
#pragma once

#include "client/call.h"
#include "daemon/base/clock.h"
#include "proto/grpc/frame.h"
#include "tests/unit/check_main.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { SERVER_CONNECTIONS = 64, TURNS = 2000 };

/* Check's own assertions allocate, which a test without memory cannot bear. */
#define must(condition) ((condition) ? (void)0 : abort())

enum manner {
    ANSWER,    /* every call with one message and OK */
    HOLD,      /* open calls */
    REFUSE,    /* every stream with REFUSED_STREAM */
    LEAVE,     /* GOAWAY that leaves out every call, at the first */
    LEAVE_NOW, /* GOAWAY as soon as the connection is there */
    HANG_UP,   /* close at the first call */
    RAW,       /* the test's own bytes, once, and nothing else */
    MUTE,      /* nothing at all */
};

struct connection {
    int fd;
    nghttp2_session *http2;
    unsigned calls, cancels, pings;
    bool over;
};

static struct {
    int fd; /* listens; -1: not */
    uint16_t port;
    enum manner manner;
    struct mm_bytes raw;
    nghttp2_settings_entry settings[1];
    size_t n_settings;
    unsigned accepted;
    unsigned calls; /* that all connections have seen */
    int32_t last_id;
    struct connection connections[SERVER_CONNECTIONS];
} server;

static int64_t test_now_us; /* 0: the real clock */
static struct mintmark *client;

static inline int64_t test_mono_us(void)
{
    return test_now_us;
}

static nghttp2_nv server_nv(const char *name, const char *value)
{
    return (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name,
                        .value = (uint8_t *)(uintptr_t)value,
                        .namelen = strlen(name),
                        .valuelen = strlen(value)};
}

/* One empty message, and OK. */
static ssize_t server_body(nghttp2_session *http2, int32_t id, uint8_t *to, size_t size,
                           uint32_t *flags, MM_UNUSED nghttp2_data_source *source,
                           MM_UNUSED void *arg)
{
    nghttp2_nv status = server_nv("grpc-status", "0");

    must(size >= MM_GRPC_PREFIX_LEN);
    mm_grpc_prefix(false, 0, to);
    *flags = NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
    must(nghttp2_submit_trailer(http2, id, &status, 1) == 0);
    return MM_GRPC_PREFIX_LEN;
}

static void server_answer(struct connection *c, int32_t id)
{
    const nghttp2_nv fields[] = {server_nv(":status", "200"),
                                 server_nv("content-type", "application/grpc")};
    const nghttp2_data_provider provider = {.read_callback = server_body};

    must(nghttp2_submit_response(c->http2, id, fields, 2, &provider) == 0);
}

static void server_meet(struct connection *c, int32_t id)
{
    c->calls++;
    server.calls++;
    server.last_id = id;
    if (server.manner == ANSWER)
        server_answer(c, id);
    else if (server.manner == REFUSE)
        nghttp2_submit_rst_stream(c->http2, 0, id, NGHTTP2_REFUSED_STREAM);
    else if (server.manner == LEAVE)
        nghttp2_submit_goaway(c->http2, 0, 0, NGHTTP2_NO_ERROR, NULL, 0);
    else if (server.manner == HANG_UP)
        c->over = true;
}

static int server_frame(MM_UNUSED nghttp2_session *http2, const nghttp2_frame *frame, void *arg)
{
    struct connection *c = arg;

    if (frame->hd.type == NGHTTP2_HEADERS)
        server_meet(c, frame->hd.stream_id);
    if (frame->hd.type == NGHTTP2_RST_STREAM)
        c->cancels += frame->rst_stream.error_code == NGHTTP2_CANCEL;
    if (frame->hd.type == NGHTTP2_PING && !(frame->hd.flags & NGHTTP2_FLAG_ACK))
        c->pings++;
    return 0;
}

static void server_accept(void)
{
    const int fd = server.fd < 0 ? -1 : accept4(server.fd, NULL, NULL, SOCK_NONBLOCK);
    struct connection *c = &server.connections[server.accepted];
    nghttp2_session_callbacks *callbacks;
    const int one = 1;

    if (fd < 0)
        return;
    must(server.accepted < SERVER_CONNECTIONS);
    must(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) == 0);
    server.accepted++;
    *c = (struct connection){.fd = fd};
    must(nghttp2_session_callbacks_new(&callbacks) == 0);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, server_frame);
    must(nghttp2_session_server_new(&c->http2, callbacks, c) == 0);
    nghttp2_session_callbacks_del(callbacks);
    if (server.manner == RAW) {
        must(send(fd, server.raw.data, server.raw.len, MSG_NOSIGNAL) == (ssize_t)server.raw.len);
        return;
    }
    must(nghttp2_submit_settings(c->http2, 0, server.settings, server.n_settings) == 0);
    if (server.manner == LEAVE_NOW)
        must(nghttp2_submit_goaway(c->http2, 0, 0, NGHTTP2_NO_ERROR, NULL, 0) == 0);
}

static void server_close(struct connection *c)
{
    nghttp2_session_del(c->http2);
    close(c->fd);
    *c = (struct connection){.fd = -1};
}

static void server_run(struct connection *c)
{
    uint8_t data[16384];
    const uint8_t *out;
    ssize_t n;

    if (c->fd < 0)
        return;
    while ((n = recv(c->fd, data, sizeof(data), MSG_DONTWAIT)) > 0)
        if (server.manner != RAW && server.manner != MUTE)
            (void)!nghttp2_session_mem_recv(c->http2, data, (size_t)n);
    if (n == 0 || (n < 0 && errno != EAGAIN) || c->over) {
        server_close(c);
        return;
    }
    if (server.manner == RAW || server.manner == MUTE)
        return;
    while ((n = nghttp2_session_mem_send(c->http2, &out)) > 0)
        (void)!send(c->fd, out, (size_t)n, MSG_NOSIGNAL);
}

static void server_turn(void)
{
    server_accept();
    for (unsigned i = 0; i < server.accepted; i++)
        server_run(&server.connections[i]);
}

static void turn(void)
{
    (void)mm_client_wait(client, 0, NULL);
    server_turn();
}

static void server_listen(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                  .sin_port = htons(server.port)};
    socklen_t len = sizeof(address);
    const int one = 1;

    server.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    must(server.fd >= 0);
    must(setsockopt(server.fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0);
    must(bind(server.fd, (struct sockaddr *)&address, sizeof(address)) == 0);
    must(listen(server.fd, 64) == 0);
    must(getsockname(server.fd, (struct sockaddr *)&address, &len) == 0);
    server.port = ntohs(address.sin_port);
}

static inline void server_shut(void)
{
    close(server.fd);
    server.fd = -1;
}

static void server_start(enum manner manner)
{
    memset(&server, 0, sizeof(server));
    server.manner = manner;
    server_listen();
}

static void server_stop(void)
{
    for (unsigned i = 0; i < server.accepted; i++)
        if (server.connections[i].fd >= 0)
            server_close(&server.connections[i]);
    if (server.fd >= 0)
        close(server.fd);
    server.fd = -1;
}

/* A client of the server, with these options besides its target. 0, or as mm_client_new. */
static inline int client_make(struct mintmark_options options, struct mintmark_error *error)
{
    char target[32];

    snprintf(target, sizeof(target), "127.0.0.1:%u", server.port);
    options.target = target;
    return mm_client_new(&options, MM_CLIENT_CLEARTEXT, &client, error);
}

/* A call with one request. NULL: *error says why. */
static inline struct mm_client_call *call_make(int64_t deadline_us, struct mintmark_error *error)
{
    const struct mm_client_call_options options = {.stream = {.path = "/S/M", .single = true},
                                                   .deadline_us = deadline_us};
    const struct mm_bytes request = {(const uint8_t *)"hello", 5};
    struct mm_client_call *call = NULL;

    if (mm_client_call_new(client, &options, &call, error) < 0)
        return NULL;
    /* A failure shows when the call is asked for its end. */
    (void)!mm_client_call_send(call, &request, false);
    mm_client_call_half_close(call);
    return call;
}

/* Turns until the call has ended; frees it. */
static struct mm_stream_end call_finish(struct mm_client_call *call)
{
    const struct mm_stream_end *end = NULL;
    struct mm_stream_end copy;
    struct mm_bytes message;
    int r = MM_ERR_AGAIN;

    for (int i = 0; i < TURNS && r != MM_ERR_EOF; i++) {
        turn();
        while ((r = mm_client_call_next(call, &message, &end)) == MM_OK)
            continue;
    }
    must(r == MM_ERR_EOF && end);
    copy = *end;
    mm_client_call_free(call);
    return copy;
}

/* For fixtures and tests: server, client and time. */

static inline void setup(void)
{
    test_now_us = 0;
    mm_clock_replace(NULL, NULL);
}

static inline void teardown(void)
{
    mintmark_free(client);
    client = NULL;
    server_stop();
    mm_clock_replace(NULL, NULL);
}

/* From now on time stands still until a test moves it. */
static inline void stop_time(void)
{
    test_now_us = mm_clock_mono_us();
    mm_clock_replace(NULL, test_mono_us);
}

static inline struct mm_client_call *call(void)
{
    struct mm_client_call *made = call_make(INT64_MAX, NULL);

    ck_assert_ptr_nonnull(made);
    return made;
}

static inline struct mm_stream_end expect(struct mm_client_call *ended, enum mintmark_status status,
                                          const char *reason)
{
    struct mm_stream_end end = call_finish(ended);

    ck_assert_msg(end.error.status == status, "status %d: %s", end.error.status, end.error.message);
    ck_assert_str_eq(end.error.reason, reason);
    return end;
}
