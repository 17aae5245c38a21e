/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/base/clock.h"

#include <stdio.h>
#include <time.h>

static int64_t (*wall_source)(void);
static int64_t (*mono_source)(void);

int64_t mm_clock_wall_ms(void)
{
    struct timespec ts;

    if (wall_source)
        return wall_source();
    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int64_t mm_clock_mono_us(void)
{
    struct timespec ts;

    if (mono_source)
        return mono_source();
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

const char *mm_clock_text(int64_t wall_ms, char *buf)
{
    const time_t sec = (time_t)(wall_ms / 1000);
    struct tm tm;

    gmtime_r(&sec, &tm);
    const size_t n = strftime(buf, MM_CLOCK_TEXT, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(buf + n, MM_CLOCK_TEXT - n, ".%03dZ", (int)(wall_ms % 1000));
    return buf;
}

void mm_clock_replace(int64_t (*wall_ms)(void), int64_t (*mono_us)(void))
{
    wall_source = wall_ms;
    mono_source = mono_us;
}
