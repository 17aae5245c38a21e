/* SPDX-License-Identifier: Apache-2.0 */
/* Terms that can be kept. */
#include "daemon/base/text.h"
#include "daemon/document/internal.h"

#include <string.h>

/* The first that fails sticks, and the rest are passed over. */
struct check {
    struct mm_errinfo *ei;
    int r;
};

static void want(struct check *c, bool good, const char *field, const char *what)
{
    if (c->r == MM_OK && !good)
        c->r = mm_fail_field(c->ei, field, "%s is not %s", field, what);
}

static void name(struct check *c, const char *field, const char *value)
{
    want(c, mm_name_valid(value, MM_NAME_MAX), field,
         "a name: letters, digits, '.', '_' and '-', at most 64");
}

static void text(struct check *c, const char *field, const char *value)
{
    const size_t len = strlen(value);

    want(c, len >= 1 && len <= MM_ORDER_TEXT_MAX, field, "1 to 100 bytes long");
}

static void limit(struct check *c, const char *field, uint64_t value)
{
    want(c, value <= MM_ORDER_QUANTITY_MAX, field, "a number up to 1,000,000,000");
}

static void quantity(struct check *c, uint64_t value)
{
    if (c->r == MM_OK && (value < 1 || value > MM_ORDER_QUANTITY_MAX))
        c->r = mm_fail(c->ei, MM_ERR_INVALID, "ORDER_QUANTITY",
                       "the order is for %llu devices; it must be for 1 to %d",
                       (unsigned long long)value, MM_ORDER_QUANTITY_MAX);
}

static void validity(struct check *c, int64_t not_before_ms, int64_t not_after_ms)
{
    if (c->r == MM_OK && (not_before_ms < 0 || not_after_ms <= not_before_ms))
        c->r = mm_fail(c->ei, MM_ERR_INVALID, "ORDER_VALIDITY",
                       "the order would end before it begins");
}

int mm_order_terms_check(const Mintmark__V1__ProductionOrder *order, struct mm_errinfo *ei)
{
    struct check c = {.ei = ei};

    name(&c, "order_id", order->order_id);
    text(&c, "oem", order->oem);
    text(&c, "product", order->product);
    name(&c, "profile", order->profile);
    quantity(&c, order->quantity);
    validity(&c, order->not_before_time_ms, order->not_after_time_ms);
    limit(&c, "per_batch_max", order->per_batch_max);
    limit(&c, "per_day_max", order->per_day_max);
    want(&c, order->n_stations <= MM_ORDER_STATIONS_MAX, "stations", "at most 32 names");
    for (size_t i = 0; c.r == MM_OK && i < order->n_stations; i++)
        name(&c, "stations", order->stations[i]);
    want(&c, order->appliance_sha256.len == MM_DOCUMENT_HASH_BYTES, "appliance_sha256", "32 bytes");
    want(&c, order->nonce.len == MM_NONCE_BYTES, "nonce", "16 bytes");
    limit(&c, "unreported_devices_max", order->unreported_devices_max);
    want(&c, order->report_within_hours <= MM_ORDER_HOURS_MAX, "report_within_hours",
         "a number up to 87,600");
    limit(&c, "replacements_max", order->replacements_max);
    return c.r;
}
