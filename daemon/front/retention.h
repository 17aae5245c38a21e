/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asks the store to delete the private keys that are due (store.keep_keys_days): soon after it
 * works, and every hour, one page after the other; less often while devices are made. Which keys
 * are due the store says, by its own clock.
 */
#pragma once

#include "daemon/front/pool.h"

#include <uv.h>

struct mm_app;

/* A plain value in struct mm_app; zeroed it is one that has not begun. */
struct mm_retention {
    struct mm_app *app;
    struct mm_job job;
    bool running;
    int64_t not_before_us; /* monotonic: no page until then */
    unsigned ticks;
    uint64_t devices; /* of the batches whose keys were deleted in this run of the service */
    uv_timer_t timer;
};

/* MM_ERR_MEMORY. Nothing happens where keys are kept for ever. */
int mm_retention_start(struct mm_retention *t, struct mm_app *app) MM_MUST_USE;
void mm_retention_stop(struct mm_retention *t);
