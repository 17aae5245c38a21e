/* SPDX-License-Identifier: Apache-2.0 */
/* A client for the server's HTTP/2 session (daemon/front/h2.h). Neither has a socket: pump()
 * carries the bytes; and time stands still until a test moves it. */
#pragma once

#include "daemon/base/clock.h"
#include "daemon/base/log.h"
#include "daemon/front/h2.h"
#include "proto/grpc/frame.h"
#include "tests/unit/check_main.h"

#include "grpc/health/v1/health.pb-c.h"
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* As a server would have them from its configuration. */
enum { KEEPALIVE_MS = 300000, KEEPALIVE_TIMEOUT_MS = 20000, PING_INTERVAL_MS = 10000 };

struct peer {
    nghttp2_session *http2;
    struct mm_buf request; /* what the next call sends */
    size_t request_at;
    bool keep_open; /* no END_STREAM after it */
    size_t data_bytes;
    char status[8], message[128], details[64];
    int header_blocks;
    bool ended;
    unsigned resets, pings, goaways;
    uint32_t reset_code;
    int32_t goaway_last;
    uint32_t goaway_code;
    char goaway_why[32];
};

/* What the test's service saw. */
struct seen {
    struct mm_call *held; /* a call to /t/Hold */
    unsigned messages, half_closes, cancels, writables;
};

/* Check's own assertions allocate, which a test without memory cannot bear. */
#define must(condition) ((condition) ? (void)0 : abort())

static struct mm_core *core;
static struct mm_h2 *h2;
static struct peer peer;
static struct seen seen;
static unsigned wakes;
static int64_t now_us;

static int64_t test_mono_us(void)
{
    return now_us;
}

static int64_t test_wall_ms(void)
{
    return now_us / 1000;
}

static inline void pass_ms(int64_t ms)
{
    now_us += ms * 1000;
    if (mm_h2_next_us(h2) <= now_us)
        mm_h2_tick(h2);
}

/* The service: /t/Echo gives the request back, /t/Hold keeps the call for the test. */

static void hold_cancelled(struct mm_call *call, void *user)
{
    must(user == &seen && call == seen.held);
    seen.held = NULL;
    seen.cancels++;
}

static void hold_writable(struct mm_call *call, void *user)
{
    must(user == &seen && call == seen.held);
    seen.writables++;
}

static void hold(struct mm_call *call)
{
    static const struct mm_call_ops ops = {hold_cancelled, hold_writable};

    seen.held = call;
    mm_call_set(call, &ops, &seen);
}

static void hold_message(struct mm_call *call, MM_UNUSED const ProtobufCMessage *message)
{
    seen.messages++;
    if (!seen.held)
        hold(call);
}

static void hold_half_closed(MM_UNUSED struct mm_call *call)
{
    seen.half_closes++;
}

static void echo(struct mm_call *call, const ProtobufCMessage *message)
{
    mm_call_reply(call, message);
}

static void say_nothing(struct mm_call *call, MM_UNUSED const ProtobufCMessage *message)
{
    mm_call_finish(call, NULL);
}

#define REQUEST &grpc__health__v1__health_check_request__descriptor
static const struct mm_rpc peer_rpcs[] = {
    {"/t/Echo", MM_RPC_UNARY, 0, REQUEST, NULL, echo, NULL, true},
    {"/t/Nothing", MM_RPC_UNARY, 0, REQUEST, NULL, say_nothing, NULL, false},
    {"/t/Hold", MM_RPC_SERVER_STREAM, 0, REQUEST, NULL, hold_message, NULL, false},
    {"/t/Chat", MM_RPC_BIDI, 0, REQUEST, hold, hold_message, hold_half_closed, false},
    {"/t/Officer", MM_RPC_UNARY, MM_ROLE_OFFICER, REQUEST, NULL, echo, NULL, false},
};

/* The client. */

static int peer_header(MM_UNUSED nghttp2_session *http2, MM_UNUSED const nghttp2_frame *frame,
                       const uint8_t *name, size_t name_len, const uint8_t *value, size_t value_len,
                       MM_UNUSED uint8_t flags, MM_UNUSED void *arg)
{
    if (name_len == 11 && memcmp(name, "grpc-status", 11) == 0)
        snprintf(peer.status, sizeof(peer.status), "%.*s", (int)value_len, (const char *)value);
    if (name_len == 12 && memcmp(name, "grpc-message", 12) == 0)
        snprintf(peer.message, sizeof(peer.message), "%.*s", (int)value_len, (const char *)value);
    if (name_len == 23 && memcmp(name, "grpc-status-details-bin", 23) == 0)
        snprintf(peer.details, sizeof(peer.details), "%.*s", (int)value_len, (const char *)value);
    return 0;
}

static int peer_data(MM_UNUSED nghttp2_session *http2, MM_UNUSED uint8_t flags,
                     MM_UNUSED int32_t id, MM_UNUSED const uint8_t *data, size_t len,
                     MM_UNUSED void *arg)
{
    peer.data_bytes += len;
    return 0;
}

static int peer_frame(MM_UNUSED nghttp2_session *http2, const nghttp2_frame *frame,
                      MM_UNUSED void *arg)
{
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
        peer.header_blocks++;
        peer.ended |= frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
        break;
    case NGHTTP2_RST_STREAM:
        peer.resets++;
        peer.reset_code = frame->rst_stream.error_code;
        break;
    case NGHTTP2_PING:
        peer.pings += !(frame->hd.flags & NGHTTP2_FLAG_ACK);
        break;
    case NGHTTP2_GOAWAY:
        peer.goaways++;
        peer.goaway_last = frame->goaway.last_stream_id;
        peer.goaway_code = frame->goaway.error_code;
        snprintf(peer.goaway_why, sizeof(peer.goaway_why), "%.*s",
                 (int)frame->goaway.opaque_data_len, (const char *)frame->goaway.opaque_data);
        break;
    default:
        break;
    }
    return 0;
}

static ssize_t peer_body(MM_UNUSED nghttp2_session *http2, MM_UNUSED int32_t id, uint8_t *buf,
                         size_t len, uint32_t *flags, MM_UNUSED nghttp2_data_source *source,
                         MM_UNUSED void *arg)
{
    const size_t left = peer.request.len - peer.request_at, n = left < len ? left : len;

    if (n > 0)
        memcpy(buf, peer.request.data + peer.request_at, n);
    peer.request_at += n;
    if (n == 0 && peer.keep_open)
        return NGHTTP2_ERR_DEFERRED;
    if (peer.request_at == peer.request.len && !peer.keep_open)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

static inline void make_client(bool auto_window)
{
    nghttp2_session_callbacks *cb;
    nghttp2_option *option;

    nghttp2_session_callbacks_new(&cb);
    nghttp2_session_callbacks_set_on_header_callback(cb, peer_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, peer_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, peer_frame);
    nghttp2_option_new(&option);
    nghttp2_option_set_no_auto_window_update(option, !auto_window);
    must(nghttp2_session_client_new2(&peer.http2, cb, NULL, option) == 0);
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(cb);
    nghttp2_submit_settings(peer.http2, NGHTTP2_FLAG_NONE, NULL, 0);
}

/* Server to client, once. */
static inline size_t pump_down(void)
{
    static uint8_t out[MM_H2_SEND_MIN];
    const ssize_t n = mm_h2_send(h2, out, sizeof(out));

    if (n <= 0)
        return 0;
    must(nghttp2_session_mem_recv(peer.http2, out, (size_t)n) == n);
    mm_h2_run_writable(h2);
    return (size_t)n;
}

/* Client to server, once. */
static inline size_t pump_up(void)
{
    const uint8_t *data;
    const ssize_t n = nghttp2_session_mem_send(peer.http2, &data);

    must(n >= 0);
    if (n > 0 && mm_h2_recv(h2, data, (size_t)n) < 0)
        return 0;
    return (size_t)n;
}

static inline void pump(void)
{
    while (pump_up() + pump_down() > 0)
        ;
}

/* A call with one message, service = text; returns the stream's id. Nothing is pumped. */
static inline int32_t call(const char *path, const char *text, const char *timeout)
{
#define NV(n, v)                                                                                   \
    {                                                                                              \
        (uint8_t *)(uintptr_t)(n), (uint8_t *)(uintptr_t)(v), strlen(n), strlen(v), 0              \
    }
    const nghttp2_nv nv[] = {NV(":method", "POST"),
                             NV(":scheme", "https"),
                             NV(":path", path),
                             NV(":authority", "test"),
                             NV("content-type", "application/grpc"),
                             NV("grpc-timeout", timeout ? timeout : "")};
#undef NV
    const nghttp2_data_provider provider = {.read_callback = peer_body};
    const size_t len = strlen(text);
    uint8_t prefix[MM_GRPC_PREFIX_LEN];

    mm_buf_reset(&peer.request);
    peer.request_at = 0;
    mm_grpc_prefix(false, len ? (uint32_t)len + 2 : 0, prefix);
    mm_buf_append(&peer.request, prefix, sizeof(prefix));
    if (len) {
        mm_buf_append_u8(&peer.request, 0x0a);
        mm_buf_append_u8(&peer.request, (uint8_t)len);
    }
    mm_buf_append(&peer.request, text, len);
    must(len < 128);
    return nghttp2_submit_request(peer.http2, NULL, nv, timeout ? 6 : 5, &provider, NULL);
}

static void on_wake(MM_UNUSED void *arg)
{
    wakes++;
}

/* False: out of memory. */
static inline bool start_server(void)
{
    static const struct mm_peer who = {.name = "st1", .roles = MM_ROLE_STATION};
    const struct mm_core_options core_options = {.rpcs = peer_rpcs,
                                                 .n_rpcs = MM_ARRAY_SIZE(peer_rpcs),
                                                 .descriptors = &mm_descriptors_mintmark};
    struct mm_h2_options options = {.peer = &who, .wake = on_wake};

    now_us = 1000000;
    mm_clock_replace(test_wall_ms, test_mono_us);
    mm_log_setup("test", MM_LOG_ERROR);
    memset(&seen, 0, sizeof(seen));
    wakes = 0;
    if (mm_core_new(&core_options, &core, NULL) < 0)
        return false;
    core->keepalive_ms = KEEPALIVE_MS;
    core->keepalive_timeout_ms = KEEPALIVE_TIMEOUT_MS;
    core->ping_interval_ms = PING_INTERVAL_MS;
    options.core = core;
    return mm_h2_new(&options, &h2) == MM_OK;
}

static inline void stop_server(void)
{
    mm_h2_free(h2);
    mm_core_free(core);
    h2 = NULL;
    core = NULL;
    mm_clock_replace(NULL, NULL);
}

static inline void start(void)
{
    must(start_server());
    peer = (struct peer){.request = MM_BUF_INIT(1 << 20)};
    make_client(true);
    pump();
}

static inline void stop(void)
{
    stop_server();
    nghttp2_session_del(peer.http2);
    mm_buf_done(&peer.request);
}
