/* SPDX-License-Identifier: Apache-2.0 */
/* Production orders as rows: read, shown, listed. import.c brings them in, change.c changes them.
 */
#include "daemon/base/clock.h"
#include "daemon/store/message.h"
#include "daemon/store/page.h"
#include "daemon/store/rows.h"

#include <string.h>

/* Columns of ORDER_ROW in sqlite_sql.c. */
enum { ORDER_ROW_COLUMNS = 20 };

struct mm_order_row mm_order_row_take(struct mm_sql *q, int column)
{
    struct mm_order_row o = {
        .row = mm_sql_int(q, column),
        .profile = mm_sql_int(q, column + 1),
        .terms =
            {
                .hold = (enum mm_order_hold)mm_sql_int(q, column + 3),
                .quantity = mm_sql_uint(q, column + 4),
                .used = mm_sql_uint(q, column + 5),
                .refunded = mm_sql_uint(q, column + 6),
                .not_before_ms = mm_sql_int(q, column + 7),
                .not_after_ms = mm_sql_int(q, column + 8),
                .added_ms = mm_sql_int(q, column + 9),
                .per_batch_max = mm_sql_uint(q, column + 10),
                .per_day_max = mm_sql_uint(q, column + 11),
                .day = mm_sql_int(q, column + 12),
                .day_used = mm_sql_uint(q, column + 13),
                .unreported_max = mm_sql_uint(q, column + 14),
                .reported = mm_sql_uint(q, column + 15),
                .reported_ms = mm_sql_int(q, column + 16),
                .report_hours = (uint32_t)mm_sql_uint(q, column + 17),
                .replacements_max = mm_sql_uint(q, column + 18),
            },
    };

    mm_sql_copy_text(q, column + 2, o.order_id, sizeof(o.order_id));
    mm_sql_copy_text(q, column + 19, o.stations, sizeof(o.stations));
    return o;
}

/* ",a,b," as a list of heap strings. */
static int split_stations(const char *text, Mintmark__V1__Order *o, struct mm_errinfo *ei)
{
    const char *at = *text ? text + 1 : text;

    while (*at) {
        const size_t len = strcspn(at, ",");
        char **room = mm_message_room(o->stations, o->n_stations, sizeof(*room));

        if (!room)
            return mm_fail_memory(ei);
        o->stations = room;
        room[o->n_stations] = strndup(at, len);
        if (!room[o->n_stations])
            return mm_fail_memory(ei);
        o->n_stations++;
        at += at[len] ? len + 1 : len;
    }
    return MM_OK;
}

static void take_terms(Mintmark__V1__Order *o, const struct mm_order_terms *t, int64_t now_ms)
{
    o->state = mm_order_state(t, now_ms);
    o->quantity = t->quantity;
    o->used = t->used;
    o->refunded = t->refunded;
    o->not_before_time_ms = t->not_before_ms;
    o->not_after_time_ms = t->not_after_ms;
    o->added_time_ms = t->added_ms;
    o->per_batch_max = t->per_batch_max;
    o->per_day_max = t->per_day_max;
    o->day = t->day;
    o->day_used = t->day_used;
    o->unreported_devices_max = t->unreported_max;
    o->reported = t->reported;
    o->reported_time_ms = t->reported_ms;
    o->report_within_hours = t->report_hours;
    o->replacements_max = t->replacements_max;
}

static int take(struct mm_sql *q, int64_t now_ms, Mintmark__V1__Order **ret_order,
                struct mm_errinfo *ei)
{
    MM_MESSAGE_CLEANUP Mintmark__V1__Order *o = mm_message_new(&mintmark__v1__order__descriptor);
    const struct mm_order_row row = mm_order_row_take(q, 0);
    int r;

    if (!o)
        return mm_fail_memory(ei);
    take_terms(o, &row.terms, now_ms);
    o->order_id = mm_sql_dup_text(q, 2);
    o->profile = mm_sql_dup_text(q, ORDER_ROW_COLUMNS);
    o->added_by = mm_sql_dup_text(q, ORDER_ROW_COLUMNS + 1);
    o->oem = mm_sql_dup_text(q, ORDER_ROW_COLUMNS + 2);
    o->product = mm_sql_dup_text(q, ORDER_ROW_COLUMNS + 3);
    o->signer = mm_sql_dup_text(q, ORDER_ROW_COLUMNS + 4);
    o->changed_time_ms = mm_sql_int(q, ORDER_ROW_COLUMNS + 5);
    o->changed_by = mm_sql_dup_text(q, ORDER_ROW_COLUMNS + 6);
    o->change_reason = mm_sql_dup_text(q, ORDER_ROW_COLUMNS + 7);
    r = mm_sql_end(q, ei);
    if (r == MM_OK)
        r = split_stations(row.stations, o, ei);
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

static int fail_unknown(const char *order_id, struct mm_errinfo *ei)
{
    return mm_fail(ei, MM_ERR_NOT_FOUND, "UNKNOWN_ORDER", "there is no production order %s",
                   order_id);
}

int mm_order_find(struct mm_store *s, const char *order_id, struct mm_order_row *ret_order,
                  char profile[MM_NAME_MAX + 1], struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_ORDER_FIND);
    struct mm_order_row order;
    int r;

    mm_sql_bind_text(&q, order_id);
    r = mm_sql_step(&q, ei);
    if (r < 0)
        return r;
    if (r == 0)
        return fail_unknown(order_id, ei);
    order = mm_order_row_take(&q, 0);
    if (profile)
        mm_sql_copy_text(&q, ORDER_ROW_COLUMNS, profile, MM_NAME_MAX + 1);
    r = mm_sql_end(&q, ei);
    if (r == MM_OK)
        *ret_order = order;
    return r;
}

int mm_order_get(struct mm_store *s, const char *order_id, int64_t now_ms,
                 Mintmark__V1__Order **ret_order, struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_ORDER_GET);
    int r;

    mm_sql_bind_text(&q, order_id);
    r = mm_sql_step(&q, ei);
    if (r < 0)
        return r;
    return r == 1 ? take(&q, now_ms, ret_order, ei) : fail_unknown(order_id, ei);
}

static int get_document(struct mm_store *s, const char *order_id, ProtobufCBinaryData *ret_document,
                        struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_ORDER_DOCUMENT);
    int r;

    mm_sql_bind_text(&q, order_id);
    r = mm_sql_step(&q, ei);
    if (r < 0)
        return r;
    if (r == 1 && !mm_sql_is_null(&q, 0))
        *ret_document = mm_sql_dup_blob(&q, 0);
    return mm_sql_end(&q, ei);
}

int mm_store_get_order(struct mm_store *s, const Mintmark__Internal__GetOrder *job,
                       Mintmark__Internal__OrderFound **ret_order, struct mm_errinfo *ei)
{
    MM_MESSAGE_CLEANUP Mintmark__Internal__OrderFound *found =
        mm_message_new(&mintmark__internal__order_found__descriptor);
    int r;

    if (!found)
        return mm_fail_memory(ei);
    r = mm_order_get(s, job->order_id, job->now_ms, &found->order, ei);
    if (r == MM_OK)
        r = get_document(s, job->order_id, &found->document, ei);
    if (r < 0)
        return r;
    *ret_order = MM_TAKE(found);
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
