/* SPDX-License-Identifier: Apache-2.0 */
/* A clock that leaps ahead while the store runs. The ledger's time never goes back, so one record
 * written then would end every order and, once the clock is right again, all spending: for as long
 * as the leap was, or for good. */
#include "daemon/base/clock.h"
#include "daemon/store/sqlite.h"

/* What the clock may be put right by while the store runs. */
enum { LEAP_MAX_MS = 60 * 60 * 1000 };

/* How far the wall clock is ahead of the one that only counts. */
static int64_t lead_ms(void)
{
    return mm_clock_wall_ms() - mm_clock_mono_us() / 1000;
}

void mm_store_watch_clock(struct mm_store *s)
{
    s->clock_watched = true;
    s->clock_lead_ms = lead_ms();
}

int mm_store_check_clock(const struct mm_store *s, struct mm_errinfo *ei)
{
    const int64_t leap_ms = s->clock_watched ? lead_ms() - s->clock_lead_ms : 0;

    if (leap_ms <= LEAP_MAX_MS)
        return MM_OK;
    mm_fail(ei, MM_ERR_UNAVAILABLE, "CLOCK_LEAPT",
            "the clock leapt ahead by %lld minutes while the service ran: nothing is recorded "
            "before it is put back, or, if it is right now, the service has been restarted",
            (long long)leap_ms / 60000);
    ei->retry_ms = 30000;
    return ei->code;
}
