/* SPDX-License-Identifier: Apache-2.0 */
/* What the ledger's records say of production orders, held against the rows that spending goes by:
 * terms and counters, as they were signed, lowered, spent and given back. */
#include "daemon/store/ledger.h"
#include "daemon/store/rows.h"

#include <string.h>

int mm_ledger_edited(struct mm_errinfo *ei, uint64_t sequence, const char *what)
{
    return mm_fail(ei, MM_ERR_CORRUPT, "LEDGER_EDITED", "record %llu of the ledger: %s",
                   (unsigned long long)sequence, what);
}

/* Where the order is, or would be. */
static size_t order_place(const struct mm_ledger_walk *walk, const char *order_id, bool *ret_found)
{
    size_t low = 0, high = walk->n_orders;

    *ret_found = false;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const int order = strcmp(walk->orders[middle].order_id, order_id);

        if (order == 0) {
            *ret_found = true;
            return middle;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct mm_ledger_order *mm_ledger_order_find(const struct mm_ledger_walk *walk,
                                             const char *order_id)
{
    bool found;
    const size_t place = order_place(walk, order_id, &found);

    return found ? &walk->orders[place] : NULL;
}

/* ---- the events -------------------------------------------------------------------------- */

static struct mm_order_terms imported_terms(const Mintmark__V1__OrderImported *event)
{
    const Mintmark__V1__ProductionOrder *o = event->terms;
    struct mm_order_terms t = {
        .hold = MM_ORDER_OPEN,
        .quantity = event->quantity,
        .used = event->used,
        .not_before_ms = event->not_before_time_ms,
        .not_after_ms = event->not_after_time_ms,
        .added_ms = event->added_time_ms,
    };

    if (o) {
        t.per_batch_max = o->per_batch_max;
        t.per_day_max = o->per_day_max;
        t.unreported_max = o->unreported_devices_max;
        t.report_hours = o->report_within_hours;
        t.replacements_max = o->replacements_max;
    }
    return t;
}

int mm_ledger_walk_order(struct mm_ledger_walk *walk, uint64_t sequence, const char *id,
                         const char *stations, const struct mm_order_terms *terms,
                         struct mm_errinfo *ei)
{
    struct mm_ledger_order *room;
    bool found;
    const size_t place = order_place(walk, id, &found);
    MM_FREE char *order_id = NULL, *names = NULL;

    if (found || terms->used > terms->quantity)
        return mm_ledger_edited(ei, sequence, "it imports an order that cannot be");
    order_id = strdup(id);
    names = strdup(stations);
    room = reallocarray(walk->orders, walk->n_orders + 1, sizeof(*room));
    if (room)
        walk->orders = room;
    if (!room || !order_id || !names)
        return mm_fail_memory(ei);
    memmove(&room[place + 1], &room[place], (walk->n_orders - place) * sizeof(*room));
    room[place] = (struct mm_ledger_order){MM_TAKE(order_id), MM_TAKE(names), *terms};
    walk->n_orders++;
    return MM_OK;
}

static int order_imported(struct mm_ledger_walk *walk, uint64_t sequence,
                          const Mintmark__V1__OrderImported *event, struct mm_errinfo *ei)
{
    const Mintmark__V1__ProductionOrder *o = event->terms;
    const struct mm_order_terms terms = imported_terms(event);
    char stations[MM_ORDER_STATIONS_TEXT] = "";

    if (o && !mm_order_stations_join(o->stations, o->n_stations, stations))
        return mm_ledger_edited(ei, sequence, "it imports an order that cannot be");
    return mm_ledger_walk_order(walk, sequence, event->order_id, stations, &terms, ei);
}

static void lower(struct mm_order_terms *t, const Mintmark__V1__OrderLimits *to)
{
    if (to->quantity)
        t->quantity = to->quantity;
    if (to->not_after_time_ms)
        t->not_after_ms = to->not_after_time_ms;
    if (to->per_batch_max)
        t->per_batch_max = to->per_batch_max;
    if (to->per_day_max)
        t->per_day_max = to->per_day_max;
}

static int order_changed(struct mm_ledger_walk *walk, uint64_t sequence,
                         const Mintmark__V1__OrderChanged *event, struct mm_errinfo *ei)
{
    struct mm_ledger_order *order = mm_ledger_order_find(walk, event->order_id);

    if (!order)
        return mm_ledger_edited(ei, sequence, "it changes an order that was never imported");
    switch (event->action) {
    case MINTMARK__V1__ORDER_ACTION__ORDER_ACTION_SUSPEND:
        order->terms.hold = MM_ORDER_SUSPENDED;
        return MM_OK;
    case MINTMARK__V1__ORDER_ACTION__ORDER_ACTION_RESUME:
        order->terms.hold = MM_ORDER_OPEN;
        return MM_OK;
    case MINTMARK__V1__ORDER_ACTION__ORDER_ACTION_CLOSE:
        order->terms.hold = MM_ORDER_CLOSED;
        return MM_OK;
    default:
        if (!event->limits || event->limits->quantity > order->terms.quantity)
            return mm_ledger_edited(ei, sequence, "it raises an order");
        lower(&order->terms, event->limits);
        return MM_OK;
    }
}

static int document_accepted(struct mm_ledger_walk *walk, uint64_t sequence,
                             const Mintmark__V1__DocumentAccepted *event, struct mm_errinfo *ei)
{
    struct mm_ledger_order *order = mm_ledger_order_find(walk, event->order_id);

    if (!order)
        return mm_ledger_edited(ei, sequence, "it is about an order that was never imported");
    if (event->document_case == MINTMARK__V1__DOCUMENT_ACCEPTED__DOCUMENT_ORDER_REVOCATION) {
        order->terms.hold = MM_ORDER_REVOKED;
    } else if (event->document_case == MINTMARK__V1__DOCUMENT_ACCEPTED__DOCUMENT_REPORT_RECEIPT) {
        order->terms.reported = event->report_receipt->devices;
        order->terms.reported_ms = event->report_receipt->time_ms;
    }
    return MM_OK;
}

static int refunded(struct mm_ledger_walk *walk, uint64_t sequence,
                    const Mintmark__V1__Refunded *event, struct mm_errinfo *ei)
{
    struct mm_ledger_order *order = mm_ledger_order_find(walk, event->order_id);
    struct mm_order_terms *t = order ? &order->terms : NULL;

    if (!t || event->count > t->used || event->count > t->replacements_max - t->refunded)
        return mm_ledger_edited(ei, sequence, "it gives back more than the order allows");
    t->used -= event->count;
    t->refunded += event->count;
    if (event->order_used_after != t->used || event->refunded_after != t->refunded)
        return mm_ledger_edited(ei, sequence, "the order's units do not add up");
    return MM_OK;
}

int mm_ledger_order_event(struct mm_ledger_walk *walk, const Mintmark__V1__LedgerRecord *record,
                          struct mm_errinfo *ei)
{
    switch (record->event_case) {
    case MINTMARK__V1__LEDGER_RECORD__EVENT_ORDER_IMPORTED:
        return order_imported(walk, record->sequence, record->order_imported, ei);
    case MINTMARK__V1__LEDGER_RECORD__EVENT_ORDER_CHANGED:
        return order_changed(walk, record->sequence, record->order_changed, ei);
    case MINTMARK__V1__LEDGER_RECORD__EVENT_DOCUMENT_ACCEPTED:
        return document_accepted(walk, record->sequence, record->document_accepted, ei);
    case MINTMARK__V1__LEDGER_RECORD__EVENT_REFUNDED:
        return refunded(walk, record->sequence, record->refunded, ei);
    default:
        return MM_OK; /* nothing of it is counted */
    }
}

/* ---- at the head ------------------------------------------------------------------------- */

/* What has become of the order. */
static bool same_counters(const struct mm_order_terms *a, const struct mm_order_terms *b)
{
    return a->hold == b->hold && a->used == b->used && a->refunded == b->refunded &&
           a->day == b->day && a->day_used == b->day_used && a->reported == b->reported &&
           a->reported_ms == b->reported_ms;
}

/* What was signed, or lowered since. */
static bool same_terms(const struct mm_order_terms *a, const struct mm_order_terms *b)
{
    return a->quantity == b->quantity && a->not_before_ms == b->not_before_ms &&
           a->not_after_ms == b->not_after_ms && a->added_ms == b->added_ms &&
           a->per_batch_max == b->per_batch_max && a->per_day_max == b->per_day_max &&
           a->unreported_max == b->unreported_max && a->report_hours == b->report_hours &&
           a->replacements_max == b->replacements_max;
}

/* All that spending goes by. */
static bool same(const struct mm_ledger_order *said, const struct mm_order_row *row)
{
    return same_counters(&said->terms, &row->terms) && same_terms(&said->terms, &row->terms) &&
           strcmp(said->stations, row->stations) == 0;
}

int mm_ledger_compare_orders(struct mm_store *s, const struct mm_ledger_walk *walk,
                             struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_LEDGER_ORDERS);
    size_t n = 0;
    int r;

    while ((r = mm_sql_step(&q, ei)) > 0) {
        const struct mm_order_row row = mm_order_row_take(&q, 0);
        const struct mm_ledger_order *order;

        r = mm_sql_end(&q, ei);
        if (r < 0)
            return r;
        order = mm_ledger_order_find(walk, row.order_id);
        if (!order || !same(order, &row))
            return mm_fail(ei, MM_ERR_CORRUPT, "LEDGER_EDITED",
                           "production order %s is not what the ledger says of it", row.order_id);
        n++;
    }
    if (r < 0)
        return r;
    if (n != walk->n_orders)
        return mm_fail(ei, MM_ERR_CORRUPT, "LEDGER_EDITED",
                       "the ledger knows %zu production orders, the database has %zu",
                       walk->n_orders, n);
    return MM_OK;
}
