/* SPDX-License-Identifier: Apache-2.0 */
/* A progress bar on stderr, if that is a terminal; else nothing. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct mm_progress {
    bool shown;
    uint32_t total, done;
    int64_t began_us, drawn_us;
};

void mm_progress_begin(struct mm_progress *progress, uint32_t total, bool wanted);
void mm_progress_step(struct mm_progress *progress);
/* Removes the bar. */
void mm_progress_end(struct mm_progress *progress);
