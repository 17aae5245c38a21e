/* SPDX-License-Identifier: Apache-2.0 */
#include "client/retry.h"

enum { FIRST_MS = 200, CONNECT_FIRST_MS = 500, MOST_MS = 15000 };

bool mm_retry_wanted(const struct mm_stream_end *end, enum mm_repeat repeat)
{
    if (end->final)
        return false;
    switch (end->error.status) {
    case MINTMARK_UNAVAILABLE:
        return end->unprocessed || repeat == MM_REPEAT_SAFE;
    case MINTMARK_RESOURCE_EXHAUSTED:
        /* Too much at once, if waiting helps; a used-up quota comes without such advice. */
        return repeat == MM_REPEAT_SAFE && end->error.retry_ms > 0;
    default:
        return false;
    }
}

/* So that the stations of a line do not come back all at once. */
static uint32_t jitter(uint32_t ms, uint32_t random)
{
    return ms * 4 / 5 + random % (ms * 2 / 5 + 1);
}

/* first_ms, growing by tenths / 10 with each failure. */
static uint32_t grow(uint32_t first_ms, uint32_t tenths, unsigned failures)
{
    uint32_t ms = first_ms;

    for (unsigned i = 1; i < failures && ms < MOST_MS; i++)
        ms = ms * tenths / 10;
    return ms < MOST_MS ? ms : MOST_MS;
}

uint32_t mm_retry_pause_ms(unsigned failures, uint32_t advice_ms, uint32_t random)
{
    uint32_t ms = jitter(grow(FIRST_MS, 25, failures), random);

    if (ms > advice_ms)
        return ms;
    random %= advice_ms / 5 + 1;
    return advice_ms > UINT32_MAX - random ? UINT32_MAX : advice_ms + random;
}

uint32_t mm_retry_connect_ms(unsigned failures, uint32_t random)
{
    return jitter(grow(CONNECT_FIRST_MS, 16, failures), random);
}
