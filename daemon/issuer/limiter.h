/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many requests may be in flight to a node: starts low, grows by one for each round of answers
 * that came as quickly as ever, and is cut when the node slows down or says that it has too much to
 * do (additive increase, multiplicative decrease). Pure; times are microseconds of one clock.
 *
 * An EJBCA gets slower as it gets more to do, without doing less: from 20 ms alone to about 110 ms
 * with 24 at a time, while its rate grows fivefold; a few more, and it takes seconds and does
 * almost nothing. So an answer may take MM_LIMITER_TOLERANCE times as long as the quickest of late.
 */
#pragma once

#include <stdint.h>

enum { MM_LIMITER_TOLERANCE = 8, MM_LIMITER_WINDOW_US = 30 * 1000 * 1000 };

/* Zero-initialise, then mm_limiter_init. */
struct mm_limiter {
    unsigned max;
    double limit;
    int64_t latency_us;    /* smoothed; 0: no answer yet */
    int64_t least_us[2];   /* the quickest of this window and of the one before; 0: none */
    int64_t window_end_us; /* of the clock */
    int64_t cut_us;        /* when it was cut last */
};

void mm_limiter_init(struct mm_limiter *l, unsigned start, unsigned max);
unsigned mm_limiter_limit(const struct mm_limiter *l);
/* An answer in order, after that time, while in_flight requests (this one included) were. */
void mm_limiter_answer(struct mm_limiter *l, int64_t now_us, int64_t took_us, unsigned in_flight);
/* 429, 503, or none in time. Cuts at most once a round. */
void mm_limiter_overload(struct mm_limiter *l, int64_t now_us);
