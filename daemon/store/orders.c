/* SPDX-License-Identifier: Apache-2.0 */
/* Production orders: how many devices of a profile may be made, and until when. */
#include "daemon/base/clock.h"
#include "daemon/store/message.h"
#include "daemon/store/page.h"
#include "daemon/store/rows.h"

struct mm_order_row mm_order_row_take(struct mm_sql *q, int column)
{
    return (struct mm_order_row){
        .row = mm_sql_int(q, column),
        .profile = mm_sql_int(q, column + 1),
        .quantity = mm_sql_uint(q, column + 2),
        .used = mm_sql_uint(q, column + 3),
        .not_before_ms = mm_sql_int(q, column + 4),
        .not_after_ms = mm_sql_int(q, column + 5),
    };
}

int mm_order_check_time(const struct mm_order_row *order, int64_t now_ms, struct mm_errinfo *ei)
{
    char text[MM_CLOCK_TEXT];

    if (now_ms < order->not_before_ms)
        return mm_fail(ei, MM_ERR_PRECONDITION, "ORDER_NOT_YET_VALID",
                       "the production order begins at %s",
                       mm_clock_text(order->not_before_ms, text));
    if (now_ms >= order->not_after_ms)
        return mm_fail(ei, MM_ERR_PRECONDITION, "ORDER_EXPIRED", "the production order ended at %s",
                       mm_clock_text(order->not_after_ms, text));
    return MM_OK;
}

int mm_order_fail_quota(const struct mm_order_row *order, uint64_t n, struct mm_errinfo *ei)
{
    return mm_fail(ei, MM_ERR_EXHAUSTED, "QUOTA_EXHAUSTED",
                   "the production order has %llu of %llu left, not %llu",
                   (unsigned long long)(order->quantity - order->used),
                   (unsigned long long)order->quantity, (unsigned long long)n);
}

static Mintmark__V1__OrderState state_of(const Mintmark__V1__Order *order, int64_t now_ms)
{
    if (order->used >= order->quantity)
        return MINTMARK__V1__ORDER_STATE__ORDER_STATE_USED_UP;
    if (now_ms >= order->not_after_time_ms)
        return MINTMARK__V1__ORDER_STATE__ORDER_STATE_EXPIRED;
    if (now_ms < order->not_before_time_ms)
        return MINTMARK__V1__ORDER_STATE__ORDER_STATE_NOT_YET_VALID;
    return MINTMARK__V1__ORDER_STATE__ORDER_STATE_LIVE;
}

static int take(struct mm_sql *q, int64_t now_ms, Mintmark__V1__Order **ret_order,
                struct mm_errinfo *ei)
{
    MM_MESSAGE_CLEANUP Mintmark__V1__Order *o = mm_message_new(&mintmark__v1__order__descriptor);
    int r;

    if (!o)
        return mm_fail_memory(ei);
    o->order_id = mm_sql_dup_text(q, 1);
    o->profile = mm_sql_dup_text(q, 2);
    o->quantity = mm_sql_uint(q, 3);
    o->used = mm_sql_uint(q, 4);
    o->not_before_time_ms = mm_sql_int(q, 5);
    o->not_after_time_ms = mm_sql_int(q, 6);
    o->added_time_ms = mm_sql_int(q, 7);
    o->added_by = mm_sql_dup_text(q, 8);
    o->state = state_of(o, now_ms);
    r = mm_sql_end(q, ei);
    if (r < 0)
        return r;
    *ret_order = MM_TAKE(o);
    return MM_OK;
}

int mm_order_append(struct mm_sql *q, int64_t now_ms, size_t *n, Mintmark__V1__Order ***orders,
                    struct mm_errinfo *ei)
{
    Mintmark__V1__Order **room = mm_message_room(*orders, *n, sizeof(*room));
    int r;

    if (!room)
        return mm_fail_memory(ei);
    *orders = room;
    r = take(q, now_ms, &room[*n], ei);
    if (r == MM_OK)
        ++*n;
    return r;
}

/* The row of the profile, which its first order makes. */
static int profile_row(struct mm_store *s, const char *name, int64_t *ret_row,
                       struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql find = mm_sql_start(s, MM_SQL_PROFILE_FIND);
    MM_SQL_CLEANUP struct mm_sql add = mm_sql_start(s, MM_SQL_PROFILE_ADD);
    int r;

    mm_sql_bind_text(&find, name);
    r = mm_sql_step(&find, ei);
    if (r < 0)
        return r;
    if (r == 1) {
        *ret_row = mm_sql_int(&find, 0);
        return MM_OK;
    }
    mm_sql_bind_text(&add, name);
    r = mm_sql_run(&add, ei);
    if (r < 0)
        return r;
    *ret_row = sqlite3_last_insert_rowid(s->db);
    return MM_OK;
}

static int check_room(struct mm_store *s, int64_t now_ms, struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_ORDERS_COUNT_LIVE);
    int r;

    mm_sql_bind_int(&q, now_ms);
    r = mm_sql_step(&q, ei);
    if (r < 0)
        return r;
    if (mm_sql_int(&q, 0) >= MM_LIVE_ORDERS_MAX)
        return mm_fail(ei, MM_ERR_EXHAUSTED, "TOO_MANY_ORDERS",
                       "%d production orders are live already", MM_LIVE_ORDERS_MAX);
    return MM_OK;
}

static int get(struct mm_store *s, const char *order_id, int64_t now_ms,
               Mintmark__V1__Order **ret_order, struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_ORDER_GET);
    int r;

    mm_sql_bind_text(&q, order_id);
    r = mm_sql_step(&q, ei);
    if (r < 0)
        return r;
    return take(&q, now_ms, ret_order, ei);
}

static int enter_in_ledger(struct mm_store *s, const Mintmark__V1__Order *order,
                           struct mm_errinfo *ei)
{
    Mintmark__V1__OrderImported event = MINTMARK__V1__ORDER_IMPORTED__INIT;
    Mintmark__V1__LedgerRecord record = MM_LEDGER_RECORD(ORDER_IMPORTED, order_imported, &event);

    event.order_id = order->order_id;
    event.profile = order->profile;
    event.quantity = order->quantity;
    event.not_before_time_ms = order->not_before_time_ms;
    event.not_after_time_ms = order->not_after_time_ms;
    event.by = order->added_by;
    return mm_ledger_append(s, &record, ei);
}

static int add(struct mm_store *s, const Mintmark__V1__Order *order,
               Mintmark__V1__Order **ret_order, struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_ORDER_ADD);
    int64_t profile = 0;
    int r = check_room(s, order->added_time_ms, ei);

    if (r == MM_OK)
        r = profile_row(s, order->profile, &profile, ei);
    if (r < 0)
        return r;
    mm_sql_bind_text(&q, order->order_id);
    mm_sql_bind_int(&q, profile);
    mm_sql_bind_uint(&q, order->quantity);
    mm_sql_bind_int(&q, order->not_before_time_ms);
    mm_sql_bind_int(&q, order->not_after_time_ms);
    mm_sql_bind_int(&q, order->added_time_ms);
    mm_sql_bind_text(&q, order->added_by);
    r = mm_sql_run(&q, ei);
    if (r < 0)
        return r;
    if (sqlite3_changes(s->db) == 0)
        return mm_fail(ei, MM_ERR_EXISTS, "ORDER_EXISTS", "production order %s is there already",
                       order->order_id);
    r = enter_in_ledger(s, order, ei);
    if (r < 0)
        return r;
    return get(s, order->order_id, order->added_time_ms, ret_order, ei);
}

int mm_store_add_order(struct mm_store *s, const Mintmark__Internal__AddOrder *job,
                       Mintmark__V1__Order **ret_order, struct mm_errinfo *ei)
{
    MM_MESSAGE_CLEANUP Mintmark__V1__Order *order = NULL;
    int r = mm_sql_verb_begin(s, ei);

    if (r < 0)
        return r;
    r = mm_sql_verb_finish(s, add(s, job->order, &order, ei), ei);
    if (r < 0)
        return r;
    *ret_order = MM_TAKE(order);
    return MM_OK;
}

int mm_store_list_orders(struct mm_store *s, const Mintmark__Internal__ListOrders *job,
                         Mintmark__Internal__Orders **ret_orders, struct mm_errinfo *ei)
{
    MM_MESSAGE_CLEANUP Mintmark__Internal__Orders *list =
        mm_message_new(&mintmark__internal__orders__descriptor);
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_ORDERS_PAGE);
    const int64_t now_ms = mm_clock_wall_ms();
    struct mm_page page;
    int64_t last = 0;
    int r = mm_page_parse('o', job->page_size, job->page_token, &page, ei);

    if (r < 0)
        return r;
    if (!list)
        return mm_fail_memory(ei);
    mm_sql_bind_int(&q, page.before);
    mm_sql_bind_int(&q, (int64_t)page.size + 1);
    while ((r = mm_sql_step(&q, ei)) > 0 && list->n_orders < page.size) {
        last = mm_sql_int(&q, 0);
        r = mm_order_append(&q, now_ms, &list->n_orders, &list->orders, ei);
        if (r < 0)
            return r;
    }
    if (r > 0)
        r = mm_page_token(&page, last, &list->next_page_token, ei);
    if (r < 0)
        return r;
    *ret_orders = MM_TAKE(list);
    return MM_OK;
}
