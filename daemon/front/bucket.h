/* SPDX-License-Identifier: Apache-2.0 */
/* A token bucket: so many at once, and so many a second after that. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct mm_bucket {
    uint32_t burst;
    uint32_t per_s;
    uint64_t spent_us; /* how empty it is, in microseconds of refilling */
    int64_t last_us;
};

#define MM_BUCKET_INIT(burst_, per_s_)                                                             \
    {                                                                                              \
        .burst = (burst_), .per_s = (per_s_)                                                       \
    }

static inline void mm_bucket_refill(struct mm_bucket *b, int64_t now_us)
{
    const uint64_t passed_us = now_us > b->last_us ? (uint64_t)(now_us - b->last_us) : 0;

    b->last_us = now_us;
    b->spent_us = b->spent_us > passed_us ? b->spent_us - passed_us : 0;
}

/* What is in it, up to burst. */
static inline uint32_t mm_bucket_left(struct mm_bucket *b, int64_t now_us)
{
    mm_bucket_refill(b, now_us);
    return b->burst - (uint32_t)((b->spent_us + 1000000 / b->per_s - 1) / (1000000 / b->per_s));
}

/* Microseconds until it is full. */
static inline int64_t mm_bucket_full_us(struct mm_bucket *b, int64_t now_us)
{
    mm_bucket_refill(b, now_us);
    return (int64_t)b->spent_us;
}

/* Takes n, no more than are left. */
static inline void mm_bucket_spend(struct mm_bucket *b, uint32_t n)
{
    b->spent_us += (uint64_t)n * (1000000 / b->per_s);
}

/* Puts n back that were taken. */
static inline void mm_bucket_return(struct mm_bucket *b, uint32_t n)
{
    const uint64_t us = (uint64_t)n * (1000000 / b->per_s);

    b->spent_us = b->spent_us > us ? b->spent_us - us : 0;
}

/* Takes one; false when there is none. now_us is on mm_clock_mono_us. */
static inline bool mm_bucket_take(struct mm_bucket *b, int64_t now_us)
{
    const uint64_t one_us = 1000000 / b->per_s;

    mm_bucket_refill(b, now_us);
    if (b->spent_us + one_us > b->burst * one_us)
        return false;
    b->spent_us += one_us;
    return true;
}
