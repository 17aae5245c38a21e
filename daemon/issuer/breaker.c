/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/issuer/breaker.h"

uint32_t mm_jitter(uint32_t ms, uint32_t chance)
{
    const uint32_t half = ms / 2;

    return ms - half / 2 + (half ? chance % (half + 1) : 0);
}

bool mm_breaker_would(const struct mm_breaker *b, int64_t now_us)
{
    return b->state == MM_BREAKER_CLOSED || (b->state == MM_BREAKER_OPEN && now_us >= b->until_us);
}

bool mm_breaker_ask(struct mm_breaker *b, int64_t now_us)
{
    if (!mm_breaker_would(b, now_us))
        return false;
    if (b->state == MM_BREAKER_OPEN)
        b->state = MM_BREAKER_HALF_OPEN;
    return true;
}

bool mm_breaker_done(struct mm_breaker *b)
{
    const bool was_closed = b->state == MM_BREAKER_CLOSED;

    b->state = MM_BREAKER_CLOSED;
    b->failures = 0;
    b->last_wait_ms = 0;
    return !was_closed;
}

static void open_it(struct mm_breaker *b, int64_t now_us, uint32_t chance)
{
    const unsigned doubled = b->last_wait_ms ? 2 * b->last_wait_ms : b->wait_ms;

    b->last_wait_ms = doubled < b->wait_max_ms ? doubled : b->wait_max_ms;
    b->until_us = now_us + (int64_t)mm_jitter(b->last_wait_ms, chance) * 1000;
    b->state = MM_BREAKER_OPEN;
    b->opened++;
}

bool mm_breaker_failed(struct mm_breaker *b, int64_t now_us, uint32_t chance)
{
    if (b->failures < UINT32_MAX)
        b->failures++;
    /* Those that were under way when it opened say nothing new. */
    if (b->state == MM_BREAKER_OPEN ||
        (b->state == MM_BREAKER_CLOSED && b->failures < b->failures_max))
        return false;
    open_it(b, now_us, chance);
    return true;
}

void mm_breaker_dropped(struct mm_breaker *b)
{
    if (b->state == MM_BREAKER_HALF_OPEN)
        b->state = MM_BREAKER_OPEN;
}

uint32_t mm_breaker_wait_ms(const struct mm_breaker *b, int64_t now_us)
{
    if (b->state == MM_BREAKER_CLOSED)
        return 0;
    if (b->state == MM_BREAKER_HALF_OPEN)
        return b->last_wait_ms;
    return b->until_us > now_us ? (uint32_t)((b->until_us - now_us + 999) / 1000) : 0;
}
