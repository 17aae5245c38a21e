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

/* Takes one; false when there is none. now_us is on mm_clock_mono_us. */
static inline bool mm_bucket_take(struct mm_bucket *b, int64_t now_us)
{
    const uint64_t one_us = 1000000 / b->per_s;
    const uint64_t passed_us = now_us > b->last_us ? (uint64_t)(now_us - b->last_us) : 0;

    b->last_us = now_us;
    b->spent_us = b->spent_us > passed_us ? b->spent_us - passed_us : 0;
    if (b->spent_us + one_us > b->burst * one_us)
        return false;
    b->spent_us += one_us;
    return true;
}
