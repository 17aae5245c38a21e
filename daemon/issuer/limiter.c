/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/issuer/limiter.h"

enum { SMOOTHING = 8, SLACK_US = 5000 };

static const double cut_by_latency = 0.75, cut_by_overload = 0.5;

void mm_limiter_init(struct mm_limiter *l, unsigned start, unsigned max)
{
    *l = (struct mm_limiter){.max = max, .limit = start};
}

unsigned mm_limiter_limit(const struct mm_limiter *l)
{
    return (unsigned)l->limit;
}

/* Once a round: what was sent before the last cut says nothing about the limit after it. */
static void cut(struct mm_limiter *l, int64_t now_us, double by)
{
    if (l->cut_us && now_us - l->cut_us < l->latency_us)
        return;
    l->cut_us = now_us;
    l->limit *= by;
    if (l->limit < 1)
        l->limit = 1;
}

static int64_t least(const struct mm_limiter *l)
{
    const int64_t a = l->least_us[0], b = l->least_us[1];

    return !a || (b && b < a) ? b : a;
}

static void learn(struct mm_limiter *l, int64_t now_us, int64_t took_us)
{
    if (now_us >= l->window_end_us) {
        l->least_us[1] = l->least_us[0];
        l->least_us[0] = 0;
        l->window_end_us = now_us + MM_LIMITER_WINDOW_US;
    }
    if (!l->least_us[0] || took_us < l->least_us[0])
        l->least_us[0] = took_us;
    l->latency_us = l->latency_us ? l->latency_us + (took_us - l->latency_us) / SMOOTHING : took_us;
}

void mm_limiter_answer(struct mm_limiter *l, int64_t now_us, int64_t took_us, unsigned in_flight)
{
    learn(l, now_us, took_us > 0 ? took_us : 1);
    if (l->latency_us > MM_LIMITER_TOLERANCE * least(l) + SLACK_US) {
        cut(l, now_us, cut_by_latency);
        return;
    }
    /* What is not made use of is not raised. */
    if (in_flight < mm_limiter_limit(l))
        return;
    l->limit += 1 / l->limit;
    if (l->limit > l->max)
        l->limit = l->max;
}

void mm_limiter_overload(struct mm_limiter *l, int64_t now_us)
{
    cut(l, now_us, cut_by_overload);
}
