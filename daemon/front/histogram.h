/* SPDX-License-Identifier: Apache-2.0 */
/* How long things took, in fixed buckets: adding is a few comparisons and two additions. */
#pragma once

#include "daemon/base/macros.h"

#include <stdint.h>

/* Upper bounds, inclusive. From a call that the front answers by itself to one that streams for
 * minutes. What took longer than the last is in counts' last. */
enum { MM_HISTOGRAM_BOUNDS = 14 };
static const int64_t mm_histogram_bounds_us[MM_HISTOGRAM_BOUNDS] = {
    250,   500,    1000,   2500,    5000,     10000,    25000,
    50000, 100000, 250000, 1000000, 10000000, 60000000, 600000000,
};

struct mm_histogram {
    uint64_t counts[MM_HISTOGRAM_BOUNDS + 1]; /* of each bucket by itself */
    uint64_t sum_us;
};

static inline void mm_histogram_add(struct mm_histogram *h, int64_t us)
{
    unsigned i = 0;

    while (i < MM_HISTOGRAM_BOUNDS && us > mm_histogram_bounds_us[i])
        i++;
    h->counts[i]++;
    h->sum_us += us > 0 ? (uint64_t)us : 0;
}
