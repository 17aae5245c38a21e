/* SPDX-License-Identifier: Apache-2.0 */
#include "client/session.h"

#include "client/response.h"
#include "daemon/base/limits.h"
#include "proto/grpc/frame.h"
#include "proto/grpc/gzip.h"
#include "proto/grpc/status.h"
#include "proto/grpc/text.h"

#include <nghttp2/nghttp2.h>
#include <string.h>
#include <sys/queue.h>

enum {
    /* The default of 64 KiB would stop a stream of bundles once in every round trip. */
    STREAM_WINDOW = 1024 * 1024,
    CONNECTION_WINDOW = 4 * 1024 * 1024,
    OUTBOUND_ACKS = 100,
    SETTINGS_ENTRIES = 32,
    CONTINUATIONS = 8,
};

struct mm_stream {
    LIST_ENTRY(mm_stream) entry;
    struct mm_session *session;
    int32_t id;
    bool sent;       /* the request's headers were taken for sending */
    bool headers_in; /* the response's headers are complete */
    bool ended;      /* end is valid; what came before can still be read */
    bool closed;     /* in both directions: nghttp2 knows it no more */
    struct mm_stream_end end;
    struct mm_buf request; /* prefix and message */
    size_t request_at;     /* bytes of it that were taken for sending */
    struct mm_response response;
    struct mm_buf pending; /* received, not consumed: never more than the window */
    size_t pending_at;     /* bytes of it that the deframer has taken */
    struct mm_grpc_deframer deframer;
    struct mm_buf plain; /* what the last message was, if it came compressed */
};

LIST_HEAD(stream_list, mm_stream);

struct mm_session {
    nghttp2_session *http2;
    char *authority;
    bool unusable;      /* for new calls */
    uint32_t violation; /* HTTP/2 error code by which nghttp2 has ended the connection; 0: none */
    struct stream_list streams;
};

static void end_stream(struct mm_stream *stream, const struct mintmark_error *error,
                       bool unprocessed)
{
    if (stream->ended)
        return;
    stream->ended = true;
    stream->end = (struct mm_stream_end){.error = *error, .unprocessed = unprocessed};
}

/* Ends a stream of which nothing more is wanted, and tells the server so. */
static void reset_stream(struct mm_stream *stream, uint32_t error_code,
                         const struct mintmark_error *error)
{
    end_stream(stream, error, false);
    /* Fails only for want of memory; the stream's window then stays closed, which is enough. */
    (void)nghttp2_submit_rst_stream(stream->session->http2, NGHTTP2_FLAG_NONE, stream->id,
                                    error_code);
}

static void fail_stream(struct mm_stream *stream, enum mintmark_status status, const char *reason,
                        const char *text)
{
    struct mintmark_error error;

    mm_client_fail(&error, status, reason, "%s", text);
    reset_stream(stream, NGHTTP2_CANCEL, &error);
}

static struct mm_stream *find_stream(nghttp2_session *http2, int32_t id)
{
    return id > 0 ? nghttp2_session_get_stream_user_data(http2, id) : NULL;
}

/* nghttp2's callbacks. A stream that the caller has freed is found as NULL. */

static int on_begin_headers(nghttp2_session *http2, const nghttp2_frame *frame, void *arg)
{
    struct mm_stream *stream = find_stream(http2, frame->hd.stream_id);

    (void)arg;
    if (stream)
        mm_response_block(&stream->response);
    return 0;
}

static int on_header(nghttp2_session *http2, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *arg)
{
    struct mm_stream *stream = find_stream(http2, frame->hd.stream_id);
    const struct mm_bytes n = {name, name_len}, v = {value, value_len};
    int r;

    (void)flags;
    (void)arg;
    if (!stream || stream->ended)
        return 0;
    r = mm_response_field(&stream->response, &n, &v);
    if (r == MM_ERR_TOO_BIG)
        fail_stream(stream, MINTMARK_RESOURCE_EXHAUSTED, "HEADERS_TOO_BIG",
                    "the server sent more headers than the limit");
    else if (r < 0)
        fail_stream(stream, MINTMARK_RESOURCE_EXHAUSTED, "OUT_OF_MEMORY", "out of memory");
    return 0;
}

static void headers_complete(struct mm_stream *stream, bool end)
{
    struct mintmark_error error;

    if (!end && mm_response_is_interim(&stream->response))
        return;
    if (end) {
        mm_response_end(&stream->response, &error);
        end_stream(stream, &error, false);
        stream->end.final = stream->response.has_pushback && stream->response.pushback_ms < 0;
        return;
    }
    if (stream->headers_in) {
        fail_stream(stream, MINTMARK_INTERNAL, "BAD_RESPONSE",
                    "the server sent headers in the middle of a response");
        return;
    }
    stream->headers_in = true;
    if (mm_response_check(&stream->response, &error) < 0)
        reset_stream(stream, NGHTTP2_CANCEL, &error);
}

static int on_frame_recv(nghttp2_session *http2, const nghttp2_frame *frame, void *arg)
{
    struct mm_session *session = arg;
    struct mm_stream *stream = find_stream(http2, frame->hd.stream_id);
    const bool end = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;

    if (frame->hd.type == NGHTTP2_GOAWAY)
        session->unusable = true;
    if (!stream || stream->ended)
        return 0;
    if (frame->hd.type == NGHTTP2_HEADERS)
        headers_complete(stream, end);
    else if (frame->hd.type == NGHTTP2_DATA && end)
        fail_stream(stream, MINTMARK_INTERNAL, "BAD_RESPONSE",
                    "the server ended the response without a status");
    return 0;
}

static int on_data_chunk(nghttp2_session *http2, uint8_t flags, int32_t id, const uint8_t *data,
                         size_t len, void *arg)
{
    struct mm_stream *stream = find_stream(http2, id);

    (void)flags;
    (void)arg;
    if (!stream || stream->ended)
        return nghttp2_session_consume(http2, id, len) == 0 ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
    mm_buf_append(&stream->pending, data, len);
    if (mm_buf_err(&stream->pending) == 0)
        return 0;
    fail_stream(stream, MINTMARK_RESOURCE_EXHAUSTED, "OUT_OF_MEMORY", "out of memory");
    return nghttp2_session_consume(http2, id, len) == 0 ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static int on_stream_close(nghttp2_session *http2, int32_t id, uint32_t error_code, void *arg)
{
    struct mm_stream *stream = find_stream(http2, id);
    struct mintmark_error error;

    (void)arg;
    if (!stream)
        return 0;
    stream->closed = true;
    /* nghttp2 gives REFUSED_STREAM, too, to what a GOAWAY leaves out. */
    mm_client_fail(&error, (enum mintmark_status)mm_grpc_status_of_h2(error_code), "STREAM_RESET",
                   "the server ended the call with HTTP/2 error %s",
                   nghttp2_http2_strerror(error_code));
    end_stream(stream, &error, error_code == NGHTTP2_REFUSED_STREAM);
    return 0;
}

static int on_frame_send(nghttp2_session *http2, const nghttp2_frame *frame, void *arg)
{
    struct mm_session *session = arg;
    struct mm_stream *stream = find_stream(http2, frame->hd.stream_id);

    if (stream && frame->hd.type == NGHTTP2_HEADERS)
        stream->sent = true;
    if (frame->hd.type == NGHTTP2_GOAWAY)
        session->violation = frame->goaway.error_code;
    return 0;
}

/* A request that could not start, as after a GOAWAY; its stream was never opened, so it has to be
 * looked for. */
static int on_frame_not_send(nghttp2_session *http2, const nghttp2_frame *frame, int code,
                             void *arg)
{
    struct mm_session *session = arg;
    struct mintmark_error error;
    struct mm_stream *stream;

    (void)http2;
    if (frame->hd.type != NGHTTP2_HEADERS)
        return 0;
    mm_client_fail(&error, MINTMARK_UNAVAILABLE, "NOT_SENT", "the call was not sent: %s",
                   nghttp2_strerror(code));
    LIST_FOREACH(stream, &session->streams, entry)
    if (stream->id == frame->hd.stream_id)
        end_stream(stream, &error, true);
    return 0;
}

static ssize_t read_request(nghttp2_session *http2, int32_t id, uint8_t *to, size_t size,
                            uint32_t *flags, nghttp2_data_source *source, void *arg)
{
    struct mm_stream *stream = find_stream(http2, id);
    size_t n;

    (void)source;
    (void)arg;
    if (!stream)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    n = stream->request.len - stream->request_at;
    if (n > size)
        n = size;
    memcpy(to, stream->request.data + stream->request_at, n);
    stream->request_at += n;
    if (stream->request_at == stream->request.len)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

static int new_http2(struct mm_session *session)
{
    nghttp2_session_callbacks *callbacks = NULL;
    nghttp2_option *option = NULL;
    int r = nghttp2_session_callbacks_new(&callbacks);

    if (r == 0)
        r = nghttp2_option_new(&option);
    if (r == 0) {
        nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
        nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
        nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
        nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data_chunk);
        nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
        nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_send);
        nghttp2_session_callbacks_set_on_frame_not_send_callback(callbacks, on_frame_not_send);
        nghttp2_option_set_no_auto_window_update(option, 1);
        nghttp2_option_set_max_outbound_ack(option, OUTBOUND_ACKS);
        nghttp2_option_set_max_settings(option, SETTINGS_ENTRIES);
        nghttp2_option_set_max_continuations(option, CONTINUATIONS);
        r = nghttp2_session_client_new2(&session->http2, callbacks, session, option);
    }
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    return r;
}

static int greet(struct mm_session *session)
{
    static const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, MM_HEADER_LIST_MAX},
    };
    int r = nghttp2_submit_settings(session->http2, NGHTTP2_FLAG_NONE, settings,
                                    MM_ARRAY_SIZE(settings));

    if (r == 0)
        r = nghttp2_session_set_local_window_size(session->http2, NGHTTP2_FLAG_NONE, 0,
                                                  CONNECTION_WINDOW);
    return r;
}

int mm_session_new(const char *authority, struct mm_session **ret_session,
                   struct mintmark_error *error)
{
    MM_CLEANUP(mm_session_free_p) struct mm_session *session = calloc(1, sizeof(*session));

    if (!session)
        return mm_client_fail_memory(error);
    LIST_INIT(&session->streams);
    session->authority = strdup(authority);
    if (!session->authority || new_http2(session) != 0 || greet(session) != 0)
        return mm_client_fail_memory(error);
    *ret_session = MM_TAKE(session);
    return 0;
}

void mm_session_free(struct mm_session *session)
{
    if (!session)
        return;
    nghttp2_session_del(session->http2);
    free(session->authority);
    free(session);
}

static int fail_http2(struct mm_session *session, const char *text, struct mintmark_error *error)
{
    session->unusable = true;
    return mm_client_fail(error, MINTMARK_INTERNAL, "BAD_HTTP2",
                          "the server broke the rules of HTTP/2: %s", text);
}

int mm_session_receive(struct mm_session *session, const uint8_t *data, size_t len,
                       struct mintmark_error *error)
{
    ssize_t n = nghttp2_session_mem_recv(session->http2, data, len);

    return n < 0 ? fail_http2(session, nghttp2_strerror((int)n), error) : 0;
}

int mm_session_send(struct mm_session *session, struct mm_buf *out, struct mintmark_error *error)
{
    /* The GOAWAY that says so was taken before. */
    if (session->violation)
        return fail_http2(session, nghttp2_http2_strerror(session->violation), error);
    while (out->len < MM_SESSION_SEND) {
        const uint8_t *data;
        ssize_t n = nghttp2_session_mem_send(session->http2, &data);

        if (n == 0)
            return 0;
        if (n < 0)
            return fail_http2(session, nghttp2_strerror((int)n), error);
        mm_buf_append(out, data, (size_t)n);
        if (mm_buf_err(out) < 0)
            return mm_client_fail_memory(error);
    }
    return 0;
}

bool mm_session_usable(const struct mm_session *session)
{
    return !session->unusable;
}

void mm_session_lost(struct mm_session *session, const struct mintmark_error *why)
{
    struct mm_stream *stream;

    session->unusable = true;
    LIST_FOREACH(stream, &session->streams, entry)
    end_stream(stream, why, !stream->sent);
}

void mm_session_close(struct mm_session *session)
{
    session->unusable = true;
    (void)nghttp2_session_terminate_session(session->http2, NGHTTP2_NO_ERROR);
}

/* nghttp2 copies names and values when the request is submitted. */
static nghttp2_nv field(const char *name, const char *value)
{
    return (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name,
                        .value = (uint8_t *)(uintptr_t)value,
                        .namelen = strlen(name),
                        .valuelen = strlen(value),
                        .flags = NGHTTP2_NV_FLAG_NONE};
}

static int submit(struct mm_stream *stream, const char *path, int64_t timeout_us)
{
    const nghttp2_data_provider provider = {.read_callback = read_request};
    char timeout[MM_GRPC_TIMEOUT_TEXT] = "";
    nghttp2_nv fields[10];
    size_t n = 0;

    fields[n++] = field(":method", "POST");
    fields[n++] = field(":scheme", "https");
    fields[n++] = field(":path", path);
    fields[n++] = field(":authority", stream->session->authority);
    if (timeout_us != INT64_MAX)
        fields[n++] = field("grpc-timeout", mm_grpc_timeout_format(timeout_us, timeout));
    fields[n++] = field("te", "trailers");
    fields[n++] = field("content-type", "application/grpc");
    fields[n++] = field("user-agent", "grpc-c-mintmark/" MM_VERSION);
    fields[n++] = field("grpc-accept-encoding", "identity,gzip");
    return nghttp2_submit_request(stream->session->http2, NULL, fields, n, &provider, stream);
}

static void frame_request(struct mm_stream *stream, const struct mm_bytes *message)
{
    uint8_t prefix[MM_GRPC_PREFIX_LEN];

    mm_grpc_prefix(false, (uint32_t)message->len, prefix);
    mm_buf_append(&stream->request, prefix, sizeof(prefix));
    mm_buf_append(&stream->request, message->data, message->len);
}

static void release(struct mm_stream *stream)
{
    mm_buf_done(&stream->request);
    mm_buf_done(&stream->pending);
    mm_response_done(&stream->response);
    mm_grpc_deframer_done(&stream->deframer);
    mm_buf_done(&stream->plain);
    free(stream);
}

int mm_stream_new(struct mm_session *session, const char *path, int64_t timeout_us,
                  const struct mm_bytes *message, struct mm_stream **ret_stream,
                  struct mintmark_error *error)
{
    struct mm_stream *stream;

    if (message->len > MM_GRPC_MESSAGE_MAX)
        return mm_client_fail(error, MINTMARK_RESOURCE_EXHAUSTED, "MESSAGE_TOO_BIG",
                              "the request is larger than a message may be");
    stream = calloc(1, sizeof(*stream));
    if (!stream)
        return mm_client_fail_memory(error);
    stream->session = session;
    stream->request = MM_BUF_INIT(message->len + MM_GRPC_PREFIX_LEN);
    stream->pending = MM_BUF_INIT(STREAM_WINDOW);
    stream->plain = MM_BUF_INIT(MM_GRPC_MESSAGE_MAX);
    mm_response_init(&stream->response);
    mm_grpc_deframer_init(&stream->deframer, MM_GRPC_MESSAGE_MAX);
    frame_request(stream, message);
    if (mm_buf_err(&stream->request) == 0)
        stream->id = submit(stream, path, timeout_us);
    if (stream->id <= 0) {
        release(stream);
        /* Only memory and stream numbers can run out. */
        session->unusable = true;
        return mm_client_fail_memory(error);
    }
    LIST_INSERT_HEAD(&session->streams, stream, entry);
    *ret_stream = stream;
    return 0;
}

void mm_stream_free(struct mm_stream *stream)
{
    nghttp2_session *http2;

    if (!stream)
        return;
    http2 = stream->session->http2;
    if (!stream->closed) {
        (void)nghttp2_session_set_stream_user_data(http2, stream->id, NULL);
        /* Also when the server has answered before it had read everything. */
        (void)nghttp2_submit_rst_stream(http2, NGHTTP2_FLAG_NONE, stream->id,
                                        stream->ended ? NGHTTP2_NO_ERROR : NGHTTP2_CANCEL);
    }
    (void)nghttp2_session_consume_connection(http2, stream->pending.len - stream->pending_at);
    LIST_REMOVE(stream, entry);
    release(stream);
}

/* What was received can't be a sequence of messages: whatever status came after it, the call has
 * failed, and nothing more is read. */
static int fail_framing(struct mm_stream *stream, int code, const struct mm_stream_end **ret_end)
{
    stream->ended = false;
    if (code == MM_ERR_TOO_BIG)
        fail_stream(stream, MINTMARK_RESOURCE_EXHAUSTED, "MESSAGE_TOO_BIG",
                    "the server sent a message larger than the limit");
    else if (code == MM_ERR_MEMORY)
        fail_stream(stream, MINTMARK_RESOURCE_EXHAUSTED, "OUT_OF_MEMORY", "out of memory");
    else
        fail_stream(stream, MINTMARK_INTERNAL, "BAD_RESPONSE",
                    "the server sent a message that is malformed or no gzip");
    *ret_end = &stream->end;
    return MM_ERR_EOF;
}

/* The call has ended, and all that came was read: was it whole? */
static int finish(struct mm_stream *stream, const struct mm_stream_end **ret_end)
{
    if (stream->end.error.status == MINTMARK_OK && !mm_grpc_deframer_at_boundary(&stream->deframer))
        mm_client_fail(&stream->end.error, MINTMARK_INTERNAL, "BAD_RESPONSE",
                       "the server ended the response inside a message");
    *ret_end = &stream->end;
    return MM_ERR_EOF;
}

static struct mm_bytes unread(const struct mm_stream *stream)
{
    if (stream->pending.len == 0)
        return (struct mm_bytes){.len = 0};
    return (struct mm_bytes){.data = stream->pending.data + stream->pending_at,
                             .len = stream->pending.len - stream->pending_at};
}

/* The message of a frame. MM_ERR_CORRUPT when it is compressed and should not be. */
static int unfold(struct mm_stream *stream, const struct mm_grpc_frame *frame,
                  struct mm_bytes *ret_message)
{
    int r;

    mm_buf_done(&stream->plain);
    if (!frame->compressed) {
        *ret_message = frame->payload;
        return MM_OK;
    }
    if (stream->response.coding != MM_GRPC_CODING_GZIP)
        return MM_ERR_CORRUPT;
    r = mm_grpc_gunzip(frame->payload, &stream->plain);
    if (r < 0)
        return r;
    *ret_message = (struct mm_bytes){.data = stream->plain.data, .len = stream->plain.len};
    return MM_OK;
}

int mm_stream_next(struct mm_stream *stream, struct mm_bytes *ret_message,
                   const struct mm_stream_end **ret_end)
{
    struct mm_bytes data = unread(stream);
    struct mm_grpc_frame frame = {.compressed = false};
    const size_t before = data.len;
    int r = MM_ERR_AGAIN;

    if (data.len > 0)
        r = mm_grpc_deframer_feed(&stream->deframer, &data, &frame);
    stream->pending_at += before - data.len;
    /* Opens the windows by what was taken. Without memory they stay closed, and the deadline
     * rules. */
    (void)nghttp2_session_consume_connection(stream->session->http2, before - data.len);
    if (!stream->closed)
        (void)nghttp2_session_consume_stream(stream->session->http2, stream->id, before - data.len);
    if (stream->pending_at == stream->pending.len) {
        mm_buf_reset(&stream->pending);
        stream->pending_at = 0;
    }
    if (r == MM_OK)
        r = unfold(stream, &frame, ret_message);
    if (r == MM_OK)
        return MM_OK;
    if (r != MM_ERR_AGAIN)
        return fail_framing(stream, r, ret_end);
    return stream->ended ? finish(stream, ret_end) : MM_ERR_AGAIN;
}
