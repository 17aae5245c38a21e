/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/base/clock.h"
#include "daemon/base/log.h"
#include "daemon/front/h2_impl.h"

#include <string.h>

static const uint8_t ping_drain[MM_H2_PING_LEN] = "mmdrain";

void mm_h2_check(struct mm_h2 *h2, int nghttp2_result)
{
    /* Other errors say that the stream is gone already, which its close callback has told. */
    if (nghttp2_result == NGHTTP2_ERR_NOMEM)
        h2->lost = true;
}

void mm_h2_wake(struct mm_h2 *h2)
{
    if (!h2->inside)
        h2->wake(h2->arg);
}

void mm_h2_consume(struct mm_h2 *h2, int32_t stream_id, size_t len)
{
    if (len > 0)
        mm_h2_check(h2, nghttp2_session_consume(h2->session, stream_id, len));
}

void mm_h2_reset(struct mm_h2 *h2, int32_t stream_id, uint32_t code)
{
    mm_h2_check(h2, nghttp2_submit_rst_stream(h2->session, NGHTTP2_FLAG_NONE, stream_id, code));
}

void mm_h2_log_sent_away(struct mm_h2 *h2, const char *why)
{
    uint64_t suppressed;

    if (mm_core_may_log(h2->core, &suppressed))
        mm_log(MM_LOG_WARNING, "client_sent_away", MM_STR("client", h2->peer->name),
               MM_STR("address", h2->peer->address), MM_STR("reason", why),
               MM_UINT("suppressed", suppressed));
}

void mm_h2_send_away(struct mm_h2 *h2, enum mm_limit limit, const char *why)
{
    if (h2->sent_away)
        return;
    h2->sent_away = true;
    h2->core->stats.limits[limit]++;
    mm_h2_log_sent_away(h2, why);
    mm_h2_check(h2, nghttp2_submit_goaway(h2->session, NGHTTP2_FLAG_NONE,
                                          nghttp2_session_get_last_proc_stream_id(h2->session),
                                          NGHTTP2_ENHANCE_YOUR_CALM, (const uint8_t *)why,
                                          strlen(why)));
}

/* A client needs few of them for what it was sent. One that sends many, of a byte each, costs more
 * than it pays. */
static void allow_updates(struct mm_h2 *h2)
{
    h2->updates += MM_H2_UPDATES_PER_DATA;
    if (h2->updates > MM_H2_UPDATES_SPARE)
        h2->updates = MM_H2_UPDATES_SPARE;
}

static void count_odd(struct mm_h2 *h2, enum mm_limit limit)
{
    if (!mm_bucket_take(&h2->odd, mm_clock_mono_us()))
        mm_h2_send_away(h2, limit, "too_many_odd_frames");
}

/* gRFC A8: a ping is fine when data went out since the last one, or after a while. */
static void judge_ping(struct mm_h2 *h2)
{
    const int64_t now = mm_clock_mono_us();
    const bool soon =
        h2->peer_ping_us != 0 && now < mm_h2_after_ms(h2->peer_ping_us, h2->core->ping_interval_ms);

    h2->peer_ping_us = now;
    if (soon && ++h2->ping_strikes > MM_H2_PING_STRIKES)
        mm_h2_send_away(h2, MM_LIMIT_PINGS, "too_many_pings");
}

/* Drain. */

void mm_h2_end_drain(struct mm_h2 *h2)
{
    const char *why = mm_drain_names[h2->drain_why];
    const struct mm_errinfo ei = {.code = MM_ERR_UNAVAILABLE,
                                  .reason = "SHUTTING_DOWN",
                                  .text = "the server is shutting down"};
    struct mm_call *call, *next;

    h2->drain = MM_H2_DRAIN_FINAL;
    mm_h2_check(h2, nghttp2_submit_goaway(h2->session, NGHTTP2_FLAG_NONE,
                                          nghttp2_session_get_last_proc_stream_id(h2->session),
                                          NGHTTP2_NO_ERROR, (const uint8_t *)why, strlen(why)));
    /* Health watches and reflection would never end by themselves. */
    for (call = TAILQ_FIRST(&h2->calls); call; call = next) {
        next = TAILQ_NEXT(call, entry);
        if (call->rpc && mm_core_is_builtin(call->rpc))
            mm_call_abort(call, &ei);
    }
}

void mm_h2_drain(struct mm_h2 *h2, enum mm_drain why)
{
    if (h2->drain != MM_H2_SERVING)
        return;
    h2->drain = MM_H2_DRAIN_NOTICED;
    h2->drain_why = why;
    h2->core->stats.drains[why]++;
    h2->drain_us = mm_h2_after_ms(mm_clock_mono_us(), MM_GOAWAY_MS);
    mm_h2_check(h2, nghttp2_submit_shutdown_notice(h2->session));
    mm_h2_wake(h2);
}

void mm_h2_cancel_calls(struct mm_h2 *h2)
{
    const struct mm_errinfo ei = {.code = MM_ERR_UNAVAILABLE,
                                  .reason = "SHUTTING_DOWN",
                                  .text = "the server is shutting down"};
    struct mm_call *call, *next;

    for (call = TAILQ_FIRST(&h2->calls); call; call = next) {
        next = TAILQ_NEXT(call, entry);
        mm_call_abort(call, &ei);
    }
    mm_h2_wake(h2);
}

static void take_ping_ack(struct mm_h2 *h2, const uint8_t *data)
{
    if (h2->drain == MM_H2_DRAIN_NOTICED && memcmp(data, ping_drain, MM_H2_PING_LEN) == 0)
        mm_h2_end_drain(h2);
    else
        count_odd(h2, MM_LIMIT_OTHER_FRAMES); /* those that answer a keepalive are few enough */
}

/* nghttp2's callbacks. */

static struct mm_call *call_of(nghttp2_session *session, int32_t stream_id)
{
    return nghttp2_session_get_stream_user_data(session, stream_id);
}

static int on_begin_frame(MM_UNUSED nghttp2_session *session, const nghttp2_frame_hd *hd,
                          void *user)
{
    struct mm_h2 *h2 = user;

    switch (hd->type) {
    case NGHTTP2_HEADERS:
    case NGHTTP2_CONTINUATION:
    case NGHTTP2_PING: /* judged when it is whole */
        break;
    case NGHTTP2_WINDOW_UPDATE:
        if (h2->updates > 0)
            h2->updates--;
        else
            count_odd(h2, MM_LIMIT_WINDOW_UPDATES);
        break;
    case NGHTTP2_DATA:
        if (hd->length == 0 && !(hd->flags & NGHTTP2_FLAG_END_STREAM))
            count_odd(h2, MM_LIMIT_EMPTY_DATA);
        break;
    case NGHTTP2_SETTINGS:
        if (!(hd->flags & NGHTTP2_FLAG_ACK))
            count_odd(h2, MM_LIMIT_SETTINGS);
        break;
    case NGHTTP2_RST_STREAM:
        count_odd(h2, MM_LIMIT_RESETS);
        break;
    default:
        count_odd(h2, MM_LIMIT_OTHER_FRAMES);
        break;
    }
    return 0;
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct mm_h2 *h2 = user;
    struct mm_call *call;

    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    call = mm_call_new(h2, frame->hd.stream_id);
    if (!call)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, call);
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, nghttp2_rcbuf *name,
                     nghttp2_rcbuf *value, MM_UNUSED uint8_t flags, MM_UNUSED void *user)
{
    struct mm_call *call = call_of(session, frame->hd.stream_id);

    if (call)
        mm_call_header(call, nghttp2_rcbuf_get_buf(name), nghttp2_rcbuf_get_buf(value));
    return 0;
}

static int on_data_chunk(nghttp2_session *session, MM_UNUSED uint8_t flags, int32_t stream_id,
                         const uint8_t *data, size_t len, void *user)
{
    struct mm_call *call = call_of(session, stream_id);

    if (call)
        mm_call_data(call, data, len);
    else
        mm_h2_consume(user, stream_id, len);
    return 0;
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct mm_h2 *h2 = user;
    struct mm_call *call;

    switch (frame->hd.type) {
    case NGHTTP2_PING:
        if (frame->hd.flags & NGHTTP2_FLAG_ACK)
            take_ping_ack(h2, frame->ping.opaque_data);
        else
            judge_ping(h2);
        return 0;
    case NGHTTP2_HEADERS:
    case NGHTTP2_DATA:
        break;
    default:
        return 0;
    }
    call = call_of(session, frame->hd.stream_id);
    if (!call)
        return 0;
    if (frame->hd.type == NGHTTP2_HEADERS)
        mm_call_headers_done(call);
    if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
        mm_call_half_close(call);
    return 0;
}

static int on_invalid_frame(MM_UNUSED nghttp2_session *session,
                            MM_UNUSED const nghttp2_frame *frame, int error, void *user)
{
    struct mm_h2 *h2 = user;

    if (error == NGHTTP2_ERR_REFUSED_STREAM)
        h2->core->stats.limits[MM_LIMIT_STREAMS]++;
    count_odd(h2, MM_LIMIT_OTHER_FRAMES);
    return 0;
}

static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct mm_h2 *h2 = user;
    const int32_t id = frame->hd.stream_id;

    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
    case NGHTTP2_DATA:
        allow_updates(h2);
        h2->ping_strikes = 0;
        h2->peer_ping_us = 0;
        /* We are done before the client: tell it so. Not earlier, for RST_STREAM would overtake
         * what is queued. */
        if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) &&
            nghttp2_session_get_stream_remote_close(session, id) == 0)
            mm_h2_reset(h2, id, NGHTTP2_NO_ERROR);
        break;
    case NGHTTP2_GOAWAY:
        if (frame->goaway.error_code != NGHTTP2_NO_ERROR && !h2->sent_away) {
            h2->core->stats.limits[MM_LIMIT_PROTOCOL]++;
            mm_h2_log_sent_away(h2, nghttp2_http2_strerror(frame->goaway.error_code));
        }
        /* nghttp2 lets PING overtake, so it is not submitted before: its answer is to say that the
         * peer has seen the notice. */
        if (h2->drain == MM_H2_DRAIN_NOTICED)
            mm_h2_check(h2, nghttp2_submit_ping(session, NGHTTP2_FLAG_NONE, ping_drain));
        break;
    case NGHTTP2_RST_STREAM:
        if (frame->rst_stream.error_code != NGHTTP2_NO_ERROR)
            count_odd(h2, MM_LIMIT_RESETS); /* what the peer makes us reset is as good as a reset of
                                               its own */
        break;
    default:
        break;
    }
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t stream_id,
                           MM_UNUSED uint32_t error_code, MM_UNUSED void *user)
{
    struct mm_call *call = call_of(session, stream_id);

    if (call) {
        nghttp2_session_set_stream_user_data(session, stream_id, NULL);
        mm_call_closed(call);
    }
    return 0;
}

static int make_callbacks(nghttp2_session_callbacks **ret)
{
    nghttp2_session_callbacks *cb;

    if (nghttp2_session_callbacks_new(&cb) != 0)
        return MM_ERR_MEMORY;
    nghttp2_session_callbacks_set_on_begin_frame_callback(cb, on_begin_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback2(cb, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data_chunk);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame_recv);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(cb, on_invalid_frame);
    nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_send);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    *ret = cb;
    return MM_OK;
}

static int make_option(nghttp2_option **ret)
{
    nghttp2_option *option;

    if (nghttp2_option_new(&option) != 0)
        return MM_ERR_MEMORY;
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_option_set_max_settings(option, MM_H2_SETTINGS_MAX);
    nghttp2_option_set_max_outbound_ack(option, MM_H2_ACKS_MAX);
    nghttp2_option_set_max_continuations(option, MM_H2_CONTINUATIONS_MAX);
    /* count_odd comes first; this one is for a bug in it. */
    nghttp2_option_set_stream_reset_rate_limit(option, 2 * MM_H2_ODD_BURST, 2 * MM_H2_ODD_PER_S);
    *ret = option;
    return MM_OK;
}

static int make_session(struct mm_h2 *h2)
{
    nghttp2_session_callbacks *callbacks = NULL;
    nghttp2_option *option = NULL;
    int r = MM_ERR_MEMORY;

    if (make_callbacks(&callbacks) == MM_OK && make_option(&option) == MM_OK &&
        nghttp2_session_server_new2(&h2->session, callbacks, h2, option) == 0)
        r = MM_OK;
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    return r;
}

static int submit_settings(struct mm_h2 *h2)
{
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, h2->core->max_streams},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, MM_H2_STREAM_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, MM_HEADER_LIST_MAX},
    };

    if (nghttp2_submit_settings(h2->session, NGHTTP2_FLAG_NONE, settings,
                                MM_ARRAY_SIZE(settings)) != 0 ||
        nghttp2_session_set_local_window_size(h2->session, NGHTTP2_FLAG_NONE, 0,
                                              MM_H2_CONNECTION_WINDOW) != 0)
        return MM_ERR_MEMORY;
    return MM_OK;
}

/* gRFC A9: 10 % more or less, so that clients who came together, as after a restart, do not all
 * leave together. */
static int64_t age_end_us(struct mm_core *core, int64_t now)
{
    const uint32_t number = core->epoch + ++core->last_connection;
    const uint32_t spread = number * UINT32_C(2654435761); /* Fibonacci hashing */

    if (core->connection_age_ms == 0)
        return INT64_MAX;
    return now + (int64_t)core->connection_age_ms * (900 + (spread >> 16) % 201);
}

int mm_h2_new(const struct mm_h2_options *options, struct mm_h2 **ret_h2)
{
    MM_H2_CLEANUP struct mm_h2 *h2 = calloc(1, sizeof(*h2));
    const int64_t now = mm_clock_mono_us();

    if (!h2)
        return MM_ERR_MEMORY;
    TAILQ_INIT(&h2->calls);
    h2->core = options->core;
    h2->peer = options->peer;
    h2->wake = options->wake;
    h2->arg = options->arg;
    h2->deadline_us = INT64_MAX;
    h2->received_us = now;
    h2->idle_us = now;
    h2->age_us = age_end_us(h2->core, now);
    h2->odd = (struct mm_bucket)MM_BUCKET_INIT(MM_H2_ODD_BURST, MM_H2_ODD_PER_S);
    h2->updates = MM_H2_UPDATES_SPARE;
    if (make_session(h2) < 0 || submit_settings(h2) < 0)
        return MM_ERR_MEMORY;
    *ret_h2 = MM_TAKE(h2);
    return MM_OK;
}

void mm_h2_free(struct mm_h2 *h2)
{
    if (!h2)
        return;
    h2->inside = true;
    while (!TAILQ_EMPTY(&h2->calls)) {
        struct mm_call *call = TAILQ_FIRST(&h2->calls);

        nghttp2_session_set_stream_user_data(h2->session, call->stream_id, NULL);
        mm_call_closed(call);
    }
    nghttp2_session_del(h2->session);
    free(h2);
}

/* Bytes. */

int mm_h2_recv(struct mm_h2 *h2, const uint8_t *data, size_t len)
{
    ssize_t n;

    if (h2->sent_away || len == 0)
        return MM_OK;
    h2->received_us = mm_clock_mono_us();
    h2->pinged_us = 0;
    h2->inside = true;
    n = nghttp2_session_mem_recv(h2->session, data, len);
    h2->inside = false;
    if (n < 0 && n != NGHTTP2_ERR_NOMEM && n != NGHTTP2_ERR_CALLBACK_FAILURE) {
        /* No preface, a flood: nghttp2 has no more words for this peer. */
        h2->core->stats.limits[MM_LIMIT_PROTOCOL]++;
        mm_h2_log_sent_away(h2, nghttp2_strerror((int)n));
        h2->sent_away = true;
    } else if (n < 0) {
        h2->lost = true;
    }
    return h2->lost ? MM_ERR_MEMORY : MM_OK;
}

ssize_t mm_h2_send(struct mm_h2 *h2, uint8_t *out, size_t size)
{
    /* The largest frame that nghttp2 makes here: 16 KiB and its header. */
    const size_t frame_max = (1 << 14) + 9;
    size_t filled = 0;

    h2->inside = true;
    while (!h2->lost && size - filled >= frame_max) {
        const uint8_t *data;
        const ssize_t n = nghttp2_session_mem_send(h2->session, &data);

        if (n < 0)
            h2->lost = true;
        if (n <= 0)
            break;
        memcpy(out + filled, data, (size_t)n);
        filled += (size_t)n;
    }
    h2->inside = false;
    return h2->lost ? MM_ERR_MEMORY : (ssize_t)filled;
}

void mm_h2_run_writable(struct mm_h2 *h2)
{
    struct mm_call *call, *next;
    bool took_up = false;

    if (h2->n_blocked == 0 && h2->n_resumed == 0)
        return;
    h2->inside = true;
    for (call = TAILQ_FIRST(&h2->calls); call; call = next) {
        next = TAILQ_NEXT(call, entry);
        if (call->blocked && mm_call_has_room(call)) {
            mm_call_writable(call);
        } else if (call->resumed) {
            mm_call_take_up(call);
            took_up = true;
        }
    }
    h2->inside = false;
    /* The window that was given back, or an answer, may be all that there is to send. */
    if (took_up)
        h2->wake(h2->arg);
}

bool mm_h2_is_over(const struct mm_h2 *h2)
{
    if (h2->lost || h2->sent_away)
        return true;
    return !nghttp2_session_want_read(h2->session) && !nghttp2_session_want_write(h2->session);
}
