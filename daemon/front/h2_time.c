/* SPDX-License-Identifier: Apache-2.0 */
/* What becomes due on a connection: deadlines, requests that do not come, keepalive, age and idle
 * time, the second GOAWAY. */
#include "daemon/base/clock.h"
#include "daemon/front/h2_impl.h"

static const uint8_t ping_alive[MM_H2_PING_LEN] = "mmalive";

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* When the peer is to be asked, or given up. */
static int64_t keepalive_us(const struct mm_h2 *h2)
{
    if (h2->pinged_us != 0)
        return mm_h2_after_ms(h2->pinged_us, h2->core->keepalive_timeout_ms);
    return h2->core->keepalive_ms > 0 ? mm_h2_after_ms(h2->received_us, h2->core->keepalive_ms)
                                      : INT64_MAX;
}

static int64_t idle_end_us(const struct mm_h2 *h2)
{
    return h2->core->idle_timeout_ms > 0 && h2->n_calls == 0
               ? mm_h2_after_ms(h2->idle_us, h2->core->idle_timeout_ms)
               : INT64_MAX;
}

int64_t mm_h2_next_us(const struct mm_h2 *h2)
{
    int64_t next = earlier(h2->deadline_us, keepalive_us(h2));

    if (h2->drain == MM_H2_DRAIN_NOTICED)
        next = earlier(next, h2->drain_us);
    if (h2->drain == MM_H2_SERVING)
        next = earlier(next, earlier(h2->age_us, idle_end_us(h2)));
    return next;
}

/* What has begun of a request does not come: it holds a stream, and memory. */
static void check_late(struct mm_h2 *h2, struct mm_call *call, int64_t now)
{
    const struct mm_errinfo ei = {.code = MM_ERR_TIMEOUT,
                                  .reason = "REQUEST_TOO_SLOW",
                                  .text = "the request did not come in time"};

    if (call->late_us > now || call->state == MM_CALL_FINISHED)
        return;
    if (call->blocked || call->paused) { /* it is we who take nothing more */
        call->late_us = mm_h2_after_ms(now, h2->core->request_timeout_ms);
    } else if (call->state == MM_CALL_HEADERS) {
        call->late_us = INT64_MAX;
        mm_h2_send_away(h2, MM_LIMIT_REQUEST_TIME, "slow_headers");
    } else {
        h2->core->stats.limits[MM_LIMIT_REQUEST_TIME]++;
        mm_call_abort(call, &ei);
        call->deadline_us = mm_h2_after_ms(now, MM_CALL_GRACE_MS);
    }
}

static void check_deadlines(struct mm_h2 *h2, int64_t now)
{
    const struct mm_errinfo ei = {
        .code = MM_ERR_TIMEOUT, .reason = "DEADLINE_EXCEEDED", .text = "the deadline has passed"};
    struct mm_call *call, *next;

    if (now < h2->deadline_us)
        return;
    h2->deadline_us = INT64_MAX;
    for (call = TAILQ_FIRST(&h2->calls); call; call = next) {
        next = TAILQ_NEXT(call, entry);
        check_late(h2, call, now);
        if (call->deadline_us <= now && call->state == MM_CALL_FINISHED) {
            mm_h2_reset(h2, call->stream_id, NGHTTP2_CANCEL); /* the client does not take it */
            call->deadline_us = INT64_MAX;
        } else if (call->deadline_us <= now) {
            mm_call_abort(call, &ei);
            call->deadline_us = mm_h2_after_ms(now, MM_CALL_GRACE_MS);
        }
        h2->deadline_us = earlier(h2->deadline_us, call->deadline_us);
        if (call->state != MM_CALL_FINISHED)
            h2->deadline_us = earlier(h2->deadline_us, call->late_us);
    }
}

static void check_keepalive(struct mm_h2 *h2, int64_t now)
{
    if (now < keepalive_us(h2))
        return;
    if (h2->pinged_us != 0) {
        h2->core->stats.limits[MM_LIMIT_KEEPALIVE]++;
        mm_h2_log_sent_away(h2, "keepalive_timeout");
        h2->sent_away = true;
    } else {
        h2->pinged_us = now;
        mm_h2_check(h2, nghttp2_submit_ping(h2->session, NGHTTP2_FLAG_NONE, ping_alive));
    }
}

void mm_h2_tick(struct mm_h2 *h2)
{
    const int64_t now = mm_clock_mono_us();

    h2->inside = true;
    check_deadlines(h2, now);
    check_keepalive(h2, now);
    if (h2->drain == MM_H2_DRAIN_NOTICED && now >= h2->drain_us)
        mm_h2_end_drain(h2);
    if (now >= h2->age_us)
        mm_h2_drain(h2, MM_DRAIN_MAX_AGE);
    if (now >= idle_end_us(h2))
        mm_h2_drain(h2, MM_DRAIN_MAX_IDLE);
    h2->inside = false;
}
