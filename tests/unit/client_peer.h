/* SPDX-License-Identifier: Apache-2.0 */
/* A server for the client's session that does what a test tells it: both are nghttp2 sessions
 * without I/O, and pump() carries the bytes. */
#pragma once

#include "client/session.h"
#include "daemon/base/limits.h"
#include "tests/unit/check_main.h"

#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <string.h>

struct peer {
    nghttp2_session *http2;
    struct mm_buf body; /* what it answers with */
    size_t body_at;
    const char *status; /* trailers after the body; NULL: none, just the end */
    const char *coding; /* grpc-encoding; NULL: identity */
    bool hold;          /* after the body, wait */
    struct mm_buf request;
    char path[64], timeout[16], coding_seen[16], text_seen[16], bytes_seen[16];
    int32_t last_id;
    bool request_ended;
    unsigned resets;
    uint32_t reset_code;
    uint32_t goaway_code;
    bool goaway;
};

static struct mm_session *session;
static struct peer peer;

static int peer_header(nghttp2_session *http2, const nghttp2_frame *frame, const uint8_t *name,
                       size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                       void *arg)
{
    const struct {
        const char *name;
        char *to;
        size_t size;
    } wanted[] = {
        {":path", peer.path, sizeof(peer.path)},
        {"grpc-timeout", peer.timeout, sizeof(peer.timeout)},
        {"grpc-encoding", peer.coding_seen, sizeof(peer.coding_seen)},
        {"x-text", peer.text_seen, sizeof(peer.text_seen)},
        {"x-bytes-bin", peer.bytes_seen, sizeof(peer.bytes_seen)},
    };

    (void)http2, (void)frame, (void)flags, (void)arg;
    for (size_t i = 0; i < MM_ARRAY_SIZE(wanted); i++)
        if (name_len == strlen(wanted[i].name) && memcmp(name, wanted[i].name, name_len) == 0)
            snprintf(wanted[i].to, wanted[i].size, "%.*s", (int)value_len, (const char *)value);
    return 0;
}

static int peer_data(nghttp2_session *http2, uint8_t flags, int32_t id, const uint8_t *data,
                     size_t len, void *arg)
{
    (void)http2, (void)flags, (void)id, (void)arg;
    mm_buf_append(&peer.request, data, len);
    return 0;
}

static int peer_frame(nghttp2_session *http2, const nghttp2_frame *frame, void *arg)
{
    (void)http2, (void)arg;
    if (frame->hd.type == NGHTTP2_HEADERS)
        peer.last_id = frame->hd.stream_id;
    if ((frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) &&
        frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
        peer.request_ended = true;
    if (frame->hd.type == NGHTTP2_RST_STREAM) {
        peer.resets++;
        peer.reset_code = frame->rst_stream.error_code;
    }
    if (frame->hd.type == NGHTTP2_GOAWAY) {
        peer.goaway = true;
        peer.goaway_code = frame->goaway.error_code;
    }
    return 0;
}

static nghttp2_nv nv(const char *name, const char *value)
{
    return (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name,
                        .value = (uint8_t *)(uintptr_t)value,
                        .namelen = strlen(name),
                        .valuelen = strlen(value)};
}

static ssize_t peer_read(nghttp2_session *http2, int32_t id, uint8_t *to, size_t size,
                         uint32_t *flags, nghttp2_data_source *source, void *arg)
{
    size_t n = peer.body.len - peer.body_at;
    nghttp2_nv trailers[2];

    (void)source, (void)arg;
    if (n > size)
        n = size;
    if (n > 0)
        memcpy(to, peer.body.data + peer.body_at, n);
    peer.body_at += n;
    if (peer.body_at < peer.body.len)
        return (ssize_t)n;
    if (peer.hold)
        return n ? (ssize_t)n : NGHTTP2_ERR_DEFERRED;
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (peer.status) {
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        trailers[0] = nv("grpc-status", peer.status);
        ck_assert_int_eq(nghttp2_submit_trailer(http2, id, trailers, 1), 0);
    }
    return (ssize_t)n;
}

static void setup(void)
{
    nghttp2_session_callbacks *callbacks;

    ck_assert_int_eq(mm_session_new("https", "factory.example:7443", &session, NULL), 0);
    memset(&peer, 0, sizeof(peer));
    peer.body = MM_BUF_INIT(64 * 1024 * 1024);
    peer.request = MM_BUF_INIT(64 * 1024 * 1024);
    ck_assert_int_eq(nghttp2_session_callbacks_new(&callbacks), 0);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, peer_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, peer_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, peer_frame);
    ck_assert_int_eq(nghttp2_session_server_new(&peer.http2, callbacks, NULL), 0);
    nghttp2_session_callbacks_del(callbacks);
    ck_assert_int_eq(nghttp2_submit_settings(peer.http2, 0, NULL, 0), 0);
}

static void teardown(void)
{
    mm_session_free(session);
    nghttp2_session_del(peer.http2);
    mm_buf_done(&peer.body);
    mm_buf_done(&peer.request);
}

/* Bytes from server to client; how many. */
static size_t server_to_client(void)
{
    const uint8_t *data;
    size_t total = 0;
    ssize_t n;

    while ((n = nghttp2_session_mem_send(peer.http2, &data)) > 0) {
        total += (size_t)n;
        ck_assert_int_eq(mm_session_receive(session, data, (size_t)n, NULL), 0);
    }
    return total;
}

static size_t client_to_server(void)
{
    MM_BUF_CLEANUP struct mm_buf out = MM_BUF_INIT(1024 * 1024);
    size_t total = 0;

    do {
        mm_buf_reset(&out);
        ck_assert_int_eq(mm_session_send(session, &out, NULL), 0);
        total += out.len;
        if (out.len)
            ck_assert_int_eq(nghttp2_session_mem_recv(peer.http2, out.data, out.len),
                             (ssize_t)out.len);
    } while (out.len);
    return total;
}

static void pump(void)
{
    while (client_to_server() + server_to_client() > 0)
        continue;
}

/* A call that was not started, with these options and no request. */
static struct mm_stream *make(const struct mm_stream_options *options)
{
    struct mm_stream *stream;

    ck_assert_int_eq(mm_stream_new(options, &stream, NULL), 0);
    return stream;
}

static struct mm_stream *start(int64_t timeout_us)
{
    const struct mm_bytes message = {(const uint8_t *)"hello", 5};
    struct mm_stream *stream = make(&(struct mm_stream_options){.path = "/test.Service/Method"});

    ck_assert_int_eq(mm_stream_send(stream, &message, false), MM_OK);
    mm_stream_half_close(stream);
    ck_assert_int_eq(mm_stream_start(stream, session, timeout_us, NULL), 0);
    return stream;
}

static void answer(const char *http_status, const char *content_type)
{
    const nghttp2_nv fields[] = {nv(":status", http_status), nv("content-type", content_type),
                                 nv("grpc-encoding", peer.coding ? peer.coding : "identity")};
    const nghttp2_data_provider provider = {.read_callback = peer_read};

    ck_assert_int_eq(nghttp2_submit_response(peer.http2, peer.last_id, fields, 3, &provider), 0);
}

static void add_message(size_t len, char fill)
{
    uint8_t *to;

    mm_buf_append_u8(&peer.body, 0);
    mm_buf_append_be32(&peer.body, (uint32_t)len);
    to = mm_buf_reserve(&peer.body, len);
    ck_assert_ptr_nonnull(to);
    memset(to, fill, len);
    mm_buf_grew(&peer.body, len);
}

/* Expects the end of the call, with that status, and frees the stream. */
static struct mm_stream_end expect_end(struct mm_stream *stream, enum mintmark_status status)
{
    const struct mm_stream_end *end;
    struct mm_bytes message;
    struct mm_stream_end copy;

    ck_assert_int_eq(mm_stream_next(stream, &message, &end), MM_ERR_EOF);
    ck_assert_msg(end->error.status == status, "status %d: %s", end->error.status,
                  end->error.message);
    copy = *end;
    mm_stream_free(stream);
    return copy;
}

static void expect_message(struct mm_stream *stream, size_t len, char fill)
{
    const struct mm_stream_end *end;
    struct mm_bytes message;

    ck_assert_int_eq(mm_stream_next(stream, &message, &end), MM_OK);
    ck_assert_uint_eq(message.len, len);
    for (size_t i = 0; i < len; i++)
        ck_assert_int_eq(message.data[i], fill);
}

static inline void expect_nothing(struct mm_stream *stream)
{
    const struct mm_stream_end *end;
    struct mm_bytes message;

    ck_assert_int_eq(mm_stream_next(stream, &message, &end), MM_ERR_AGAIN);
}

/* Pumps until the message is whole; it must be of that size. */
static inline void await_message(struct mm_stream *stream, size_t len)
{
    const struct mm_stream_end *end;
    struct mm_bytes message;
    int r = MM_ERR_AGAIN;

    for (int i = 0; i < 100 && r == MM_ERR_AGAIN; i++) {
        r = mm_stream_next(stream, &message, &end);
        pump();
    }
    ck_assert_int_eq(r, MM_OK);
    ck_assert_uint_eq(message.len, len);
}
