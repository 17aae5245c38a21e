/* SPDX-License-Identifier: Apache-2.0 */
/* What the front begins with: orders, open batches, the next number of each profile. */
#include "daemon/base/clock.h"
#include "daemon/store/enrolments.h"
#include "daemon/store/message.h"

#include <string.h>

static int add_orders(struct mm_store *s, Mintmark__Internal__StoreReady *ready,
                      struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_ORDERS_READY);
    const int64_t now_ms = mm_clock_wall_ms();
    int r;

    mm_sql_bind_int(&q, now_ms);
    while ((r = mm_sql_step(&q, ei)) > 0) {
        r = mm_order_append(&q, now_ms, &ready->n_orders, &ready->orders, ei);
        if (r < 0)
            return r;
    }
    return r;
}

static int add_batches(struct mm_store *s, Mintmark__Internal__StoreReady *ready,
                       struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_BATCHES_PAGE_OPEN);
    int r;

    mm_sql_bind_int(&q, INT64_MAX);
    mm_sql_bind_int(&q, MM_OPEN_BATCHES_MAX);
    while ((r = mm_sql_step(&q, ei)) > 0) {
        r = mm_batch_append(&q, &ready->n_batches, &ready->batches, ei);
        if (r < 0)
            return r;
    }
    return r;
}

/* Of a profile that has, or had, devices that wait. */
static int enrolments(struct mm_sql *q, Mintmark__Internal__NextNumber *n, struct mm_errinfo *ei)
{
    enum { NAME, NEXT, FIRST };
    int r = mm_enrolment_counts_take(q, FIRST, &n->enrolments, ei);

    if (r < 0)
        return r;
    n->enrolments->profile = strdup(n->profile);
    return n->enrolments->profile ? mm_sql_end(q, ei) : mm_fail_memory(ei);
}

static int add_number(struct mm_sql *q, Mintmark__Internal__StoreReady *ready,
                      struct mm_errinfo *ei)
{
    Mintmark__Internal__NextNumber **room =
        mm_message_room(ready->next_numbers, ready->n_next_numbers, sizeof(*room));
    Mintmark__Internal__NextNumber *n;

    if (!room)
        return mm_fail_memory(ei);
    ready->next_numbers = room;
    n = mm_message_new(&mintmark__internal__next_number__descriptor);
    if (!n)
        return mm_fail_memory(ei);
    room[ready->n_next_numbers++] = n;
    n->profile = mm_sql_dup_text(q, 0);
    n->next = mm_sql_uint(q, 1);
    return enrolments(q, n, ei);
}

static int add_numbers(struct mm_store *s, Mintmark__Internal__StoreReady *ready,
                       struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_PROFILES);
    int r;

    while ((r = mm_sql_step(&q, ei)) > 0) {
        r = add_number(&q, ready, ei);
        if (r < 0)
            return r;
    }
    return r;
}

int mm_store_ready(struct mm_store *s, Mintmark__Internal__StoreReady **ret_ready,
                   struct mm_errinfo *ei)
{
    MM_MESSAGE_CLEANUP Mintmark__Internal__StoreReady *ready =
        mm_message_new(&mintmark__internal__store_ready__descriptor);
    int r;

    if (!ready)
        return mm_fail_memory(ei);
    ready->guard = mm_guard_message(s);
    if (!ready->guard)
        return mm_fail_memory(ei);
    r = add_orders(s, ready, ei);
    if (r == MM_OK)
        r = add_batches(s, ready, ei);
    if (r == MM_OK)
        r = add_numbers(s, ready, ei);
    if (r < 0)
        return r;
    *ret_ready = MM_TAKE(ready);
    return MM_OK;
}
