/* SPDX-License-Identifier: Apache-2.0 */
#include "client/session.h"

#include "client/stream.h"
#include "daemon/base/limits.h"
#include "proto/grpc/status.h"

#include <string.h>

enum {
    CONNECTION_WINDOW = 4 * 1024 * 1024,
    OUTBOUND_ACKS = 100,
    SETTINGS_ENTRIES = 32,
    CONTINUATIONS = 8,
};

static struct mm_stream *find_stream(nghttp2_session *http2, int32_t id)
{
    return id > 0 ? nghttp2_session_get_stream_user_data(http2, id) : NULL;
}

/* nghttp2's callbacks. A stream that has left the session is found as NULL. */

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
        mm_stream_fail(stream, MINTMARK_RESOURCE_EXHAUSTED, "HEADERS_TOO_BIG",
                       "the server sent more headers than the limit");
    else if (r < 0)
        mm_stream_fail(stream, MINTMARK_RESOURCE_EXHAUSTED, "OUT_OF_MEMORY", "out of memory");
    return 0;
}

static void headers_complete(struct mm_stream *stream, bool end)
{
    struct mintmark_error error;

    if (!end && mm_response_is_interim(&stream->response))
        return;
    if (end) {
        mm_response_end(&stream->response, &error);
        mm_stream_end_with(stream, &error, false);
        stream->end.final = stream->response.has_pushback && stream->response.pushback_ms < 0;
        return;
    }
    if (stream->headers_in) {
        mm_stream_fail(stream, MINTMARK_INTERNAL, "BAD_RESPONSE",
                       "the server sent headers in the middle of a response");
        return;
    }
    stream->headers_in = true;
    if (mm_response_check(&stream->response, &error) < 0)
        mm_stream_reset(stream, NGHTTP2_CANCEL, &error);
}

static void note_goaway(struct mm_session *session, const nghttp2_goaway *goaway)
{
    static const char reason[] = "too_many_pings";

    session->unusable = true;
    session->pings_refused |= goaway->error_code == NGHTTP2_ENHANCE_YOUR_CALM &&
                              goaway->opaque_data_len == strlen(reason) &&
                              memcmp(goaway->opaque_data, reason, strlen(reason)) == 0;
}

static int on_frame_recv(nghttp2_session *http2, const nghttp2_frame *frame, void *arg)
{
    struct mm_session *session = arg;
    struct mm_stream *stream = find_stream(http2, frame->hd.stream_id);
    const bool end = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;

    if (frame->hd.type == NGHTTP2_GOAWAY)
        note_goaway(session, &frame->goaway);
    if (frame->hd.type == NGHTTP2_SETTINGS)
        session->greeted = true;
    if (frame->hd.type == NGHTTP2_PING && (frame->hd.flags & NGHTTP2_FLAG_ACK))
        session->pinging = false;
    if (!stream || stream->ended)
        return 0;
    if (frame->hd.type == NGHTTP2_HEADERS)
        headers_complete(stream, end);
    else if (frame->hd.type == NGHTTP2_DATA && end)
        mm_stream_fail(stream, MINTMARK_INTERNAL, "BAD_RESPONSE",
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
    if (mm_buf_err(&stream->pending) < 0)
        mm_stream_fail(stream, MINTMARK_RESOURCE_EXHAUSTED, "OUT_OF_MEMORY", "out of memory");
    /* The stream's window opens when its reader comes. That of the connection opens now: a call
     * that nobody reads must not stop the others. */
    return nghttp2_session_consume_connection(http2, len) == 0 ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
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
    mm_stream_end_with(stream, &error, error_code == NGHTTP2_REFUSED_STREAM);
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
    LIST_FOREACH(stream, &session->streams, entry) {
        if (stream->id == frame->hd.stream_id)
            mm_stream_end_with(stream, &error, true);
    }
    return 0;
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
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, MM_STREAM_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, MM_HEADER_LIST_MAX},
    };
    int r = nghttp2_submit_settings(session->http2, NGHTTP2_FLAG_NONE, settings,
                                    MM_ARRAY_SIZE(settings));

    if (r == 0)
        r = nghttp2_session_set_local_window_size(session->http2, NGHTTP2_FLAG_NONE, 0,
                                                  CONNECTION_WINDOW);
    return r;
}

int mm_session_new(const char *scheme, const char *authority, struct mm_session **ret_session,
                   struct mintmark_error *error)
{
    MM_CLEANUP(mm_session_free_p) struct mm_session *session = calloc(1, sizeof(*session));

    if (!session)
        return mm_client_fail_memory(error);
    LIST_INIT(&session->streams);
    session->scheme = scheme;
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

bool mm_session_greeted(const struct mm_session *session)
{
    return session->greeted;
}

bool mm_session_busy(const struct mm_session *session)
{
    const struct mm_stream *stream;

    LIST_FOREACH(stream, &session->streams, entry) {
        if (!stream->ended)
            return true;
    }
    return false;
}

void mm_session_ping(struct mm_session *session)
{
    if (!session->pinging)
        session->pinging = nghttp2_submit_ping(session->http2, NGHTTP2_FLAG_NONE, NULL) == 0;
}

bool mm_session_pinging(const struct mm_session *session)
{
    return session->pinging;
}

bool mm_session_pings_refused(const struct mm_session *session)
{
    return session->pings_refused;
}

void mm_session_lost(struct mm_session *session, const struct mintmark_error *why)
{
    struct mm_stream *stream;

    session->unusable = true;
    LIST_FOREACH(stream, &session->streams, entry) {
        mm_stream_end_with(stream, why, !stream->sent);
    }
}

void mm_session_close(struct mm_session *session)
{
    session->unusable = true;
    (void)nghttp2_session_terminate_session(session->http2, NGHTTP2_NO_ERROR);
}
