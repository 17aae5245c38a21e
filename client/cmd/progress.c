/* SPDX-License-Identifier: Apache-2.0 */
#include "client/cmd/progress.h"

#include "daemon/base/clock.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { BAR = 30, REDRAW_US = 100 * 1000 };

void mm_progress_begin(struct mm_progress *progress, uint32_t total, bool wanted)
{
    *progress = (struct mm_progress){
        .shown = wanted && isatty(STDERR_FILENO),
        .total = total,
        .began_us = mm_clock_mono_us(),
    };
}

static void draw(const struct mm_progress *p)
{
    const double seconds = (double)(p->drawn_us - p->began_us) / 1e6;
    const double rate = seconds > 0 ? p->done / seconds : 0;
    const unsigned left = rate > 0 ? (unsigned)((p->total - p->done) / rate + 0.5) : 0;
    const int full = (int)((uint64_t)p->done * BAR / p->total);
    char bar[BAR + 1];

    memset(bar, ' ', BAR);
    memset(bar, '#', (size_t)full);
    bar[BAR] = 0;
    fprintf(stderr, "\r[%s] %u of %u, %.0f/s, %u:%02u left \033[K", bar, p->done, p->total, rate,
            left / 60, left % 60);
}

void mm_progress_step(struct mm_progress *progress)
{
    int64_t now_us;

    progress->done++;
    if (!progress->shown)
        return;
    now_us = mm_clock_mono_us();
    if (now_us - progress->drawn_us < REDRAW_US)
        return;
    progress->drawn_us = now_us;
    draw(progress);
}

void mm_progress_end(struct mm_progress *progress)
{
    if (progress->shown)
        fputs("\r\033[K", stderr);
}
