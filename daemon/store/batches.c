/* SPDX-License-Identifier: Apache-2.0 */
/* Batches: opened on an order, shown and listed. */
#include "daemon/base/text.h"
#include "daemon/store/message.h"
#include "daemon/store/page.h"
#include "daemon/store/rows.h"

#include <string.h>

static int fail_unknown(const char *batch_uid, struct mm_errinfo *ei)
{
    return mm_fail(ei, MM_ERR_NOT_FOUND, "UNKNOWN_BATCH", "there is no batch %s", batch_uid);
}

/* q takes the UID, and stands on the batch's row then. */
static int step_to(struct mm_sql *q, const char *batch_uid, struct mm_errinfo *ei)
{
    uint8_t uid[16];
    int r = 0;

    if (mm_uuid_parse(batch_uid, uid) == MM_OK) {
        mm_sql_bind_blob(q, uid, sizeof(uid));
        r = mm_sql_step(q, ei);
    }
    if (r < 0)
        return r;
    return r == 1 ? MM_OK : fail_unknown(batch_uid, ei);
}

int mm_batch_find(struct mm_store *s, const char *batch_uid, struct mm_batch_row *ret_batch,
                  struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_BATCH_FIND);
    struct mm_batch_row batch;
    int r = step_to(&q, batch_uid, ei);

    if (r < 0)
        return r;
    batch = (struct mm_batch_row){
        .row = mm_sql_int(&q, 0),
        .state = (Mintmark__V1__BatchState)mm_sql_int(&q, 1),
        .quantity = mm_sql_uint(&q, 2),
        .issued = mm_sql_uint(&q, 3),
        .order = mm_order_row_take(&q, 4),
    };
    r = mm_sql_end(&q, ei);
    if (r == MM_OK)
        *ret_batch = batch;
    return r;
}

int mm_batch_check_open(const struct mm_batch_row *batch, const char *batch_uid,
                        struct mm_errinfo *ei)
{
    if (batch->state == MINTMARK__V1__BATCH_STATE__BATCH_STATE_OPEN)
        return MM_OK;
    return mm_fail(ei, MM_ERR_PRECONDITION, "BATCH_RELEASED", "batch %s is released", batch_uid);
}

int mm_counts_take(struct mm_sql *q, int column, Mintmark__V1__BatchCounts **ret_counts,
                   struct mm_errinfo *ei)
{
    MM_MESSAGE_CLEANUP Mintmark__V1__BatchCounts *c =
        mm_message_new(&mintmark__v1__batch_counts__descriptor);
    int r;

    if (!c)
        return mm_fail_memory(ei);
    c->issued = mm_sql_uint(q, column);
    c->ok = mm_sql_uint(q, column + 1);
    c->ko = mm_sql_uint(q, column + 2);
    c->unreported = c->issued - c->ok - c->ko;
    r = mm_sql_end(q, ei);
    if (r < 0)
        return r;
    *ret_counts = MM_TAKE(c);
    return MM_OK;
}

static int take(struct mm_sql *q, Mintmark__V1__Batch **ret_batch, struct mm_errinfo *ei)
{
    MM_MESSAGE_CLEANUP Mintmark__V1__Batch *b = mm_message_new(&mintmark__v1__batch__descriptor);
    int r;

    if (!b)
        return mm_fail_memory(ei);
    b->batch_uid = mm_sql_dup_uuid(q, 1);
    b->name = mm_sql_dup_text(q, 2);
    b->profile = mm_sql_dup_text(q, 3);
    b->device_type = mm_sql_dup_text(q, 4);
    b->quantity = mm_sql_uint(q, 5);
    b->heads = (uint32_t)mm_sql_uint(q, 6);
    b->order_id = mm_sql_dup_text(q, 7);
    b->state = (Mintmark__V1__BatchState)mm_sql_int(q, 8);
    b->station = mm_sql_dup_text(q, 9);
    b->opened_time_ms = mm_sql_int(q, 10);
    b->released_time_ms = mm_sql_int(q, 11);
    r = mm_counts_take(q, 12, &b->counts, ei);
    if (r < 0)
        return r;
    *ret_batch = MM_TAKE(b);
    return MM_OK;
}

int mm_batch_append(struct mm_sql *q, size_t *n, Mintmark__V1__Batch ***batches,
                    struct mm_errinfo *ei)
{
    Mintmark__V1__Batch **room = mm_message_room(*batches, *n, sizeof(*room));
    int r;

    if (!room)
        return mm_fail_memory(ei);
    *batches = room;
    r = take(q, &room[*n], ei);
    if (r == MM_OK)
        ++*n;
    return r;
}

int mm_batch_get(struct mm_store *s, const char *batch_uid, Mintmark__V1__Batch **ret_batch,
                 struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_BATCH_GET);
    const int r = step_to(&q, batch_uid, ei);

    return r < 0 ? r : take(&q, ret_batch, ei);
}

int mm_store_get_batch(struct mm_store *s, const Mintmark__Internal__GetBatch *job,
                       Mintmark__V1__Batch **ret_batch, struct mm_errinfo *ei)
{
    return mm_batch_get(s, job->batch_uid, ret_batch, ei);
}

/* Opening. */

static int find_order(struct mm_store *s, const Mintmark__V1__Batch *batch,
                      struct mm_order_row *ret_order, struct mm_errinfo *ei)
{
    char profile[MM_NAME_MAX + 1];
    int r = mm_order_find(s, batch->order_id, ret_order, profile, ei);

    if (r == MM_OK && strcmp(profile, batch->profile) != 0)
        r = mm_fail_field(ei, "order_id", "production order %s is for profile %s, not %s",
                          batch->order_id, profile, batch->profile);
    return r;
}

/* A batch may take more than a day; what is made in it is counted by the day. */
static int check_order(const struct mm_order_row *order, const Mintmark__V1__Batch *batch,
                       struct mm_errinfo *ei)
{
    int r = mm_order_check(&order->terms, order->stations, batch->station, 0, batch->opened_time_ms,
                           ei);

    if (r == MM_OK)
        r = mm_order_check_batch(&order->terms, batch->quantity, ei);
    if (r == MM_OK)
        r = mm_order_check_quota(&order->terms, batch->quantity, ei);
    if (r == MM_ERR_EXHAUSTED)
        return mm_err_subject(ei, "order", batch->order_id);
    return r;
}

/* The site's, then the station's own. */
static int check_room(struct mm_store *s, const char *station, uint32_t station_max,
                      struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_BATCHES_COUNT_OPEN);
    int r;

    mm_sql_bind_text(&q, station);
    r = mm_sql_step(&q, ei);
    if (r < 0)
        return r;
    r = mm_order_check_open(station, mm_sql_uint(&q, 1), station_max, ei);
    if (r == MM_OK && mm_sql_int(&q, 0) >= MM_OPEN_BATCHES_MAX) {
        r = mm_fail(ei, MM_ERR_EXHAUSTED, "TOO_MANY_BATCHES",
                    "%d batches are open already; release some", MM_OPEN_BATCHES_MAX);
        ei->retry_ms = MM_OPEN_BATCHES_RETRY_MS;
    }
    return r;
}

static int insert(struct mm_store *s, const Mintmark__V1__Batch *batch, int64_t order_row,
                  int64_t *ret_row, struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_BATCH_ADD);
    uint8_t uid[16];
    int r = mm_uuid_parse(batch->batch_uid, uid);

    if (r < 0)
        return mm_fail_field(ei, "batch_uid", "not a UUID");
    mm_sql_bind_blob(&q, uid, sizeof(uid));
    mm_sql_bind_text(&q, batch->name);
    mm_sql_bind_text(&q, batch->device_type);
    mm_sql_bind_uint(&q, batch->quantity);
    mm_sql_bind_uint(&q, batch->heads);
    mm_sql_bind_int(&q, order_row);
    mm_sql_bind_text(&q, batch->station);
    mm_sql_bind_int(&q, batch->opened_time_ms);
    r = mm_sql_run(&q, ei);
    if (r < 0)
        return r;
    if (sqlite3_changes(s->db) == 0)
        return mm_fail(ei, MM_ERR_EXISTS, "BATCH_EXISTS", "batch %s is there already",
                       batch->batch_uid);
    *ret_row = sqlite3_last_insert_rowid(s->db);
    return MM_OK;
}

/* The record that the batch's report begins at. */
static int note_sequence(struct mm_store *s, int64_t row, struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_BATCH_OPENED);

    mm_sql_bind_int(&q, row);
    mm_sql_bind_uint(&q, s->ledger.now.sequence);
    return mm_sql_run(&q, ei);
}

static int enter_in_ledger(struct mm_store *s, const Mintmark__V1__Batch *batch,
                           struct mm_errinfo *ei)
{
    Mintmark__V1__BatchOpened event = MINTMARK__V1__BATCH_OPENED__INIT;
    Mintmark__V1__LedgerRecord record = MM_LEDGER_RECORD(BATCH_OPENED, batch_opened, &event);

    event.batch_uid = batch->batch_uid;
    event.order_id = batch->order_id;
    event.station = batch->station;
    event.name = batch->name;
    event.device_type = batch->device_type;
    event.quantity = batch->quantity;
    return mm_ledger_append(s, &record, ei);
}

static int open_batch(struct mm_store *s, const Mintmark__Internal__OpenBatch *job,
                      Mintmark__V1__Batch **ret_batch, struct mm_errinfo *ei)
{
    const Mintmark__V1__Batch *batch = job->batch;
    struct mm_order_row order;
    int64_t row = 0;
    int r = find_order(s, batch, &order, ei);

    if (r == MM_OK)
        r = check_order(&order, batch, ei);
    if (r == MM_OK)
        r = check_room(s, batch->station, job->station_max, ei);
    if (r == MM_OK)
        r = insert(s, batch, order.row, &row, ei);
    if (r == MM_OK)
        r = enter_in_ledger(s, batch, ei);
    if (r == MM_OK)
        r = note_sequence(s, row, ei);
    if (r == MM_OK)
        r = mm_batch_get(s, batch->batch_uid, ret_batch, ei);
    return r;
}

int mm_store_open_batch(struct mm_store *s, const Mintmark__Internal__OpenBatch *job,
                        Mintmark__V1__Batch **ret_batch, struct mm_errinfo *ei)
{
    MM_MESSAGE_CLEANUP Mintmark__V1__Batch *batch = NULL;
    int r = mm_sql_verb_begin(s, ei);

    if (r < 0)
        return r;
    r = mm_sql_verb_finish(s, open_batch(s, job, &batch, ei), ei);
    if (r < 0)
        return r;
    *ret_batch = MM_TAKE(batch);
    return MM_OK;
}

int mm_store_list_batches(struct mm_store *s, const Mintmark__Internal__ListBatches *job,
                          Mintmark__Internal__Batches **ret_batches, struct mm_errinfo *ei)
{
    MM_MESSAGE_CLEANUP Mintmark__Internal__Batches *list =
        mm_message_new(&mintmark__internal__batches__descriptor);
    MM_SQL_CLEANUP struct mm_sql q =
        mm_sql_start(s, job->open_only ? MM_SQL_BATCHES_PAGE_OPEN : MM_SQL_BATCHES_PAGE);
    struct mm_page page;
    int64_t last = 0;
    int r = mm_page_parse('b', job->page_size, job->page_token, &page, ei);

    if (r < 0)
        return r;
    if (!list)
        return mm_fail_memory(ei);
    mm_sql_bind_int(&q, page.before);
    mm_sql_bind_int(&q, (int64_t)page.size + 1);
    while ((r = mm_sql_step(&q, ei)) > 0 && list->n_batches < page.size) {
        last = mm_sql_int(&q, 0);
        r = mm_batch_append(&q, &list->n_batches, &list->batches, ei);
        if (r < 0)
            return r;
    }
    if (r > 0)
        r = mm_page_token(&page, last, &list->next_page_token, ei);
    if (r < 0)
        return r;
    *ret_batches = MM_TAKE(list);
    return MM_OK;
}
