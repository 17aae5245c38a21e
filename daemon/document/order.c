/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/document/order.h"

#include "daemon/base/clock.h"

#include <stdio.h>
#include <string.h>

#define STATE(name) MINTMARK__V1__ORDER_STATE__ORDER_STATE_##name

static int check_hold(const struct mm_order_terms *t, struct mm_errinfo *ei)
{
    switch (t->hold) {
    case MM_ORDER_OPEN:
        return MM_OK;
    case MM_ORDER_SUSPENDED:
        return mm_fail(ei, MM_ERR_PRECONDITION, "ORDER_SUSPENDED",
                       "an officer has suspended the production order");
    case MM_ORDER_REVOKED:
        return mm_fail(ei, MM_ERR_PRECONDITION, "ORDER_REVOKED",
                       "the OEM has revoked the production order");
    case MM_ORDER_CLOSED:
    default:
        return mm_fail(ei, MM_ERR_PRECONDITION, "ORDER_CLOSED",
                       "an officer has closed the production order");
    }
}

static int check_time(const struct mm_order_terms *t, int64_t now_ms, struct mm_errinfo *ei)
{
    char text[MM_CLOCK_TEXT];

    if (now_ms < t->not_before_ms)
        return mm_fail(ei, MM_ERR_PRECONDITION, "ORDER_NOT_YET_VALID",
                       "the production order begins at %s", mm_clock_text(t->not_before_ms, text));
    if (now_ms >= t->not_after_ms)
        return mm_fail(ei, MM_ERR_PRECONDITION, "ORDER_EXPIRED", "the production order ended at %s",
                       mm_clock_text(t->not_after_ms, text));
    return MM_OK;
}

/* When the next receipt is due at the latest; INT64_MAX: never. */
static int64_t report_due_ms(const struct mm_order_terms *t)
{
    int64_t from = t->reported_ms;

    if (t->report_hours == 0)
        return INT64_MAX;
    if (from < t->added_ms)
        from = t->added_ms;
    if (from < t->not_before_ms)
        from = t->not_before_ms;
    return from + (int64_t)t->report_hours * MM_HOUR_MS;
}

static uint64_t unreported(const struct mm_order_terms *t)
{
    const uint64_t made = t->used + t->refunded;

    return made > t->reported ? made - t->reported : 0;
}

static int check_report(const struct mm_order_terms *t, uint64_t n, int64_t now_ms,
                        struct mm_errinfo *ei)
{
    char text[MM_CLOCK_TEXT];

    if (now_ms >= report_due_ms(t))
        return mm_fail(ei, MM_ERR_PRECONDITION, "ORDER_REPORT_DUE",
                       "the OEM's receipt of a report was due at %s",
                       mm_clock_text(report_due_ms(t), text));
    if (t->unreported_max > 0 && unreported(t) + n > t->unreported_max)
        return mm_fail(ei, MM_ERR_PRECONDITION, "ORDER_REPORT_DUE",
                       "%llu devices are without the OEM's receipt of a report, and at most %llu "
                       "may be",
                       (unsigned long long)unreported(t), (unsigned long long)t->unreported_max);
    return MM_OK;
}

static bool station_allowed(const char *stations, const char *station)
{
    char wanted[MM_NAME_MAX + 3];

    snprintf(wanted, sizeof(wanted), ",%s,", station);
    return !*stations || strstr(stations, wanted);
}

int64_t mm_order_day(const struct mm_order_terms *t, int64_t now_ms)
{
    const int64_t today = now_ms / MM_DAY_MS;

    return today > t->day ? today : t->day;
}

uint64_t mm_order_day_used(const struct mm_order_terms *t, int64_t day)
{
    return day > t->day ? 0 : t->day_used;
}

void mm_order_count_day(struct mm_order_terms *t, uint64_t n, int64_t now_ms)
{
    const int64_t day = mm_order_day(t, now_ms);

    t->day_used = mm_order_day_used(t, day) + n;
    t->day = day;
}

static int check_day(const struct mm_order_terms *t, uint64_t n, int64_t now_ms,
                     struct mm_errinfo *ei)
{
    const int64_t day = mm_order_day(t, now_ms);
    const uint64_t used = mm_order_day_used(t, day);

    if (t->per_day_max == 0 || used + n <= t->per_day_max)
        return MM_OK;
    return mm_fail(ei, MM_ERR_EXHAUSTED, "ORDER_DAY_LIMIT",
                   "the production order allows %llu devices a day (UTC), of which %llu are made; "
                   "not %llu more",
                   (unsigned long long)t->per_day_max, (unsigned long long)used,
                   (unsigned long long)n);
}

int mm_order_check_quota(const struct mm_order_terms *t, uint64_t n, struct mm_errinfo *ei)
{
    const uint64_t left = t->used < t->quantity ? t->quantity - t->used : 0;

    if (n <= left)
        return MM_OK;
    return mm_fail(ei, MM_ERR_EXHAUSTED, "QUOTA_EXHAUSTED",
                   "the production order has %llu of %llu left, not %llu", (unsigned long long)left,
                   (unsigned long long)t->quantity, (unsigned long long)n);
}

int mm_order_check(const struct mm_order_terms *t, const char *stations, const char *station,
                   uint64_t n, int64_t now_ms, struct mm_errinfo *ei)
{
    int r = check_hold(t, ei);

    if (r == MM_OK)
        r = check_time(t, now_ms, ei);
    if (r == MM_OK && !station_allowed(stations, station))
        r = mm_fail(ei, MM_ERR_PERMISSION, "ORDER_STATION",
                    "the production order is not for station %s", station);
    if (r == MM_OK)
        r = mm_order_check_quota(t, n, ei);
    if (r == MM_OK)
        r = check_report(t, n, now_ms, ei);
    if (r == MM_OK)
        r = check_day(t, n, now_ms, ei);
    return r;
}

int mm_order_check_batch(const struct mm_order_terms *t, uint64_t quantity, struct mm_errinfo *ei)
{
    if (t->per_batch_max == 0 || quantity <= t->per_batch_max)
        return MM_OK;
    return mm_fail(ei, MM_ERR_EXHAUSTED, "ORDER_BATCH_LIMIT",
                   "the production order allows %llu devices in a batch, not %llu",
                   (unsigned long long)t->per_batch_max, (unsigned long long)quantity);
}

Mintmark__V1__OrderState mm_order_state(const struct mm_order_terms *t, int64_t now_ms)
{
    struct mm_errinfo ignored;

    if (t->hold == MM_ORDER_REVOKED)
        return STATE(REVOKED);
    if (t->hold == MM_ORDER_CLOSED)
        return STATE(CLOSED);
    if (t->hold == MM_ORDER_SUSPENDED)
        return STATE(SUSPENDED);
    if (now_ms >= t->not_after_ms)
        return STATE(EXPIRED);
    if (t->used >= t->quantity)
        return STATE(USED_UP);
    if (now_ms < t->not_before_ms)
        return STATE(NOT_YET_VALID);
    return check_report(t, 1, now_ms, &ignored) < 0 ? STATE(REPORT_DUE) : STATE(LIVE);
}

static enum mm_order_hold hold_of(Mintmark__V1__OrderState state)
{
    switch (state) {
    case STATE(REVOKED):
        return MM_ORDER_REVOKED;
    case STATE(CLOSED):
        return MM_ORDER_CLOSED;
    case STATE(SUSPENDED):
        return MM_ORDER_SUSPENDED;
    default:
        return MM_ORDER_OPEN;
    }
}

bool mm_order_stations_join(char *const *names, size_t n, char text[MM_ORDER_STATIONS_TEXT])
{
    size_t len = 0;

    text[0] = 0;
    for (size_t i = 0; i < n; i++) {
        const int written =
            snprintf(text + len, MM_ORDER_STATIONS_TEXT - len, "%s%s,", i ? "" : ",", names[i]);

        if (written < 0 || (size_t)written >= MM_ORDER_STATIONS_TEXT - len)
            return false;
        len += (size_t)written;
    }
    return true;
}

void mm_order_terms_take(struct mm_order_terms *t, const Mintmark__V1__Order *order)
{
    *t = (struct mm_order_terms){
        .hold = hold_of(order->state),
        .quantity = order->quantity,
        .used = order->used,
        .refunded = order->refunded,
        .not_before_ms = order->not_before_time_ms,
        .not_after_ms = order->not_after_time_ms,
        .added_ms = order->added_time_ms,
        .per_batch_max = order->per_batch_max,
        .per_day_max = order->per_day_max,
        .day = order->day,
        .day_used = order->day_used,
        .unreported_max = order->unreported_devices_max,
        .reported = order->reported,
        .reported_ms = order->reported_time_ms,
        .report_hours = order->report_within_hours,
        .replacements_max = order->replacements_max,
    };
}

_Static_assert(MM_OPEN_BATCHES_MAX / (MM_CLIENTS_MAX + 1) >= 1,
               "each station has room for a batch");

uint32_t mm_order_open_share(size_t stations)
{
    return (uint32_t)(MM_OPEN_BATCHES_MAX / (stations + 1));
}

int mm_order_check_open(const char *station, uint64_t open, uint32_t share, struct mm_errinfo *ei)
{
    if (open < share)
        return MM_OK;
    mm_fail(ei, MM_ERR_EXHAUSTED, "TOO_MANY_OWN_BATCHES",
            "station %s has %llu batches open, its share is %u; release some", station,
            (unsigned long long)open, share);
    ei->retry_ms = MM_OPEN_BATCHES_RETRY_MS;
    return mm_err_subject(ei, "client", station);
}
