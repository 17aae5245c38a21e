/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/store/checkpoint.h"

#include "daemon/base/clock.h"
#include "daemon/document/document.h"
#include "daemon/store/audit_key.h"
#include "daemon/store/message.h"
#include "daemon/store/rows.h"
#include "daemon/store/sqlite.h"

#include <string.h>

enum { TOTALS_KEPT = 64 * 1024 }; /* longer ones are dropped with the next checkpoint */

static bool is_hash(const ProtobufCBinaryData *a, const uint8_t b[MM_SHA256_BYTES])
{
    return a->len == MM_SHA256_BYTES && memcmp(a->data, b, MM_SHA256_BYTES) == 0;
}

static int bad(struct mm_errinfo *ei, uint64_t sequence, const char *why)
{
    return mm_fail(ei, MM_ERR_CORRUPT, "CHECKPOINT_BAD", "the checkpoint of record %llu: %.180s",
                   (unsigned long long)sequence, why);
}

/* The time that the signer's certificate must be valid at: the checkpoint's own, and now for one
 * that has just been made. A clock that went back is not the signer's fault, and is found out by
 * itself. */
static int64_t time_of(const struct mm_store *s, uint64_t sequence,
                       const Mintmark__V1__SignedDocument *content)
{
    const int64_t now_ms = mm_clock_wall_ms();

    if (sequence && content->document_case == MINTMARK__V1__SIGNED_DOCUMENT__DOCUMENT_CHECKPOINT)
        return content->checkpoint->highest_time_ms;
    return now_ms < s->ledger.now.time_ms ? s->ledger.now.time_ms : now_ms;
}

/* A checkpoint of this ledger, of a record that is as it was, with these totals beside it; and the
 * hash of the key that signed it. */
static int open_checkpoint(struct mm_store *s, uint64_t sequence, struct mm_bytes der,
                           struct mm_bytes totals, struct mm_arena *arena,
                           Mintmark__V1__Checkpoint **ret_checkpoint,
                           uint8_t ret_key[MM_SHA256_BYTES], struct mm_errinfo *ei)
{
    struct mm_errinfo why = {0};
    MM_DOCUMENT_CLEANUP struct mm_document document = MM_DOCUMENT_INIT;
    uint8_t head[MM_SHA256_BYTES], sums[MM_SHA256_BYTES];
    Mintmark__V1__Checkpoint *c;
    int r = mm_document_open(der, arena, &document, &why);

    if (r == MM_OK)
        r = mm_document_check_signer(&document, s->guard.audit,
                                     time_of(s, sequence, document.content), &why);
    if (r == MM_OK)
        r = mm_document_key_hash(document.signer, ret_key, &why);
    if (r == MM_ERR_MEMORY)
        return mm_fail_memory(ei);
    if (r < 0)
        return bad(ei, sequence, why.text);
    if (document.content->document_case != MINTMARK__V1__SIGNED_DOCUMENT__DOCUMENT_CHECKPOINT)
        return bad(ei, sequence, "it is another document");
    c = document.content->checkpoint;
    if ((sequence && c->sequence != sequence) || c->ledger_id.len != sizeof(s->ledger.id) ||
        memcmp(c->ledger_id.data, s->ledger.id, sizeof(s->ledger.id)) != 0)
        return bad(ei, sequence, "it is another ledger's, or of another record");
    r = mm_ledger_hash(s, (struct mm_bytes){totals.data, totals.len}, sums, ei);
    if (r == MM_OK)
        r = mm_ledger_hash_at(s, c->sequence, head, ei);
    if (r < 0)
        return r;
    if (!is_hash(&c->orders_sha256, sums))
        return bad(ei, c->sequence, "the orders' totals beside it are not those that it signs");
    if (!is_hash(&c->head, head))
        return mm_fail(ei, MM_ERR_CORRUPT, "LEDGER_EDITED",
                       "record %llu is not the one that its checkpoint signs",
                       (unsigned long long)c->sequence);
    *ret_checkpoint = c;
    return MM_OK;
}

static int take_total(struct mm_ledger_walk *walk, uint64_t sequence,
                      const Mintmark__V1__OrderTotal *o, struct mm_errinfo *ei)
{
    const struct mm_order_terms terms = {
        .hold = (enum mm_order_hold)o->hold,
        .quantity = o->quantity,
        .used = o->used,
        .refunded = o->refunded,
        .not_before_ms = o->not_before_time_ms,
        .not_after_ms = o->not_after_time_ms,
        .added_ms = o->added_time_ms,
        .per_batch_max = o->per_batch_max,
        .per_day_max = o->per_day_max,
        .unreported_max = o->unreported_devices_max,
        .reported = o->reported,
        .reported_ms = o->reported_time_ms,
        .report_hours = o->report_within_hours,
        .day = o->day,
        .day_used = o->day_used,
        .replacements_max = o->replacements_max,
    };

    return mm_ledger_walk_order(walk, sequence, o->order_id, o->stations, &terms, ei);
}

/* Their hash is signed, so they are what a store once made. */
static int take_totals(struct mm_ledger_walk *walk, uint64_t sequence, struct mm_bytes data,
                       struct mm_errinfo *ei)
{
    MM_MESSAGE_CLEANUP Mintmark__V1__OrderTotals *totals =
        mintmark__v1__order_totals__unpack(NULL, data.len, data.data);
    int r = MM_OK;

    if (!totals)
        return mm_fail_memory(ei);
    for (size_t i = 0; r == MM_OK && i < totals->n_orders; i++)
        r = take_total(walk, sequence, totals->orders[i], ei);
    return r;
}

int mm_checkpoint_begin_walk(struct mm_store *s, bool whole, struct mm_ledger_walk *walk,
                             struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q =
        mm_sql_start(s, whole ? MM_SQL_CHECKPOINT_BASELINE : MM_SQL_CHECKPOINT_LAST);
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    Mintmark__V1__Checkpoint *c;
    struct mm_bytes document, totals;
    int r;

    mm_ledger_walk_done(walk);
    r = s->guard.audit ? mm_sql_step(&q, ei) : 0;
    if (r <= 0)
        return r;
    document = mm_sql_blob(&q, 1);
    totals = mm_sql_blob(&q, 2);
    r = mm_sql_end(&q, ei);
    if (r == MM_OK)
        r = open_checkpoint(s, mm_sql_uint(&q, 0), document, totals, &arena, &c, walk->key, ei);
    if (r < 0)
        return r;
    if (whole && !c->baseline)
        return bad(ei, c->sequence, "it is no baseline");
    walk->at.sequence = c->sequence;
    walk->at.time_ms = c->highest_time_ms;
    walk->at.devices = c->devices;
    walk->epoch = c->epoch;
    walk->key_known = true;
    memcpy(walk->at.hash, c->head.data, sizeof(walk->at.hash));
    return take_totals(walk, c->sequence, totals, ei);
}

static int add_total(struct mm_sql *q, Mintmark__V1__OrderTotals *c, struct mm_errinfo *ei)
{
    Mintmark__V1__OrderTotal **room = mm_message_room(c->orders, c->n_orders, sizeof(*room));
    Mintmark__V1__OrderTotal *total;
    const struct mm_order_terms *t;
    struct mm_order_row row;

    if (!room)
        return mm_fail_memory(ei);
    c->orders = room;
    total = mm_message_new(&mintmark__v1__order_total__descriptor);
    if (!total)
        return mm_fail_memory(ei);
    room[c->n_orders++] = total;
    row = mm_order_row_take(q, 0);
    t = &row.terms;
    total->order_id = strdup(row.order_id);
    total->stations = strdup(row.stations);
    if (!total->order_id || !total->stations)
        return mm_fail_memory(ei);
    total->quantity = t->quantity;
    total->used = t->used;
    total->refunded = t->refunded;
    total->hold = (uint32_t)t->hold;
    total->not_before_time_ms = t->not_before_ms;
    total->not_after_time_ms = t->not_after_ms;
    total->added_time_ms = t->added_ms;
    total->per_batch_max = t->per_batch_max;
    total->per_day_max = t->per_day_max;
    total->unreported_devices_max = t->unreported_max;
    total->reported = t->reported;
    total->reported_time_ms = t->reported_ms;
    total->report_within_hours = t->report_hours;
    total->replacements_max = t->replacements_max;
    total->day = t->day;
    total->day_used = t->day_used;
    return mm_sql_end(q, ei);
}

/* Every order as it is committed. */
static int pack_totals(struct mm_store *s, ProtobufCBinaryData *ret_totals, uint64_t *ret_n,
                       struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_LEDGER_ORDERS);
    MM_MESSAGE_CLEANUP Mintmark__V1__OrderTotals *totals =
        mm_message_new(&mintmark__v1__order_totals__descriptor);
    size_t len;
    int r;

    if (!totals)
        return mm_fail_memory(ei);
    while ((r = mm_sql_step(&q, ei)) > 0) {
        r = add_total(&q, totals, ei);
        if (r < 0)
            return r;
    }
    if (r < 0)
        return r;
    len = mintmark__v1__order_totals__get_packed_size(totals);
    ret_totals->data = malloc(len + 1);
    if (!ret_totals->data)
        return mm_fail_memory(ei);
    ret_totals->len = mintmark__v1__order_totals__pack(totals, ret_totals->data);
    *ret_n = totals->n_orders;
    return MM_OK;
}

static int pack(struct mm_store *s, const ProtobufCBinaryData *totals, uint64_t n_orders,
                ProtobufCBinaryData *ret_content, struct mm_errinfo *ei)
{
    const struct mm_ledger_head *head = &s->ledger.committed;
    Mintmark__V1__Checkpoint c = MINTMARK__V1__CHECKPOINT__INIT;
    Mintmark__V1__SignedDocument document = MINTMARK__V1__SIGNED_DOCUMENT__INIT;
    uint8_t sums[MM_SHA256_BYTES], at[MM_SHA256_BYTES];
    int r = mm_ledger_hash(s, (struct mm_bytes){totals->data, totals->len}, sums, ei);

    if (r < 0)
        return r;
    memcpy(at, head->hash, sizeof(at));
    c.ledger_id = (ProtobufCBinaryData){sizeof(s->ledger.id), s->ledger.id};
    c.sequence = head->sequence;
    c.head = (ProtobufCBinaryData){sizeof(at), at};
    c.highest_time_ms = head->time_ms;
    c.devices = head->devices;
    c.epoch = s->guard.epoch;
    c.orders_sha256 = (ProtobufCBinaryData){sizeof(sums), sums};
    c.orders = n_orders;
    c.baseline = s->guard.baseline;
    document.document_case = MINTMARK__V1__SIGNED_DOCUMENT__DOCUMENT_CHECKPOINT;
    document.checkpoint = &c;
    ret_content->len = mintmark__v1__signed_document__get_packed_size(&document);
    ret_content->data = malloc(ret_content->len + 1);
    if (!ret_content->data)
        return mm_fail_memory(ei);
    mintmark__v1__signed_document__pack(&document, ret_content->data);
    return MM_OK;
}

int mm_checkpoint_pack(struct mm_store *s, ProtobufCBinaryData *ret_content, struct mm_errinfo *ei)
{
    ProtobufCBinaryData totals = {0, NULL};
    uint64_t n_orders = 0;
    int r = pack_totals(s, &totals, &n_orders, ei);

    if (r == MM_OK)
        r = pack(s, &totals, n_orders, ret_content, ei);
    if (r < 0) {
        free(totals.data);
        return r;
    }
    free(s->guard.totals.data);
    s->guard.totals = totals;
    return MM_OK;
}

static int insert(struct mm_store *s, const Mintmark__V1__Checkpoint *c, struct mm_bytes document,
                  struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_CHECKPOINT_ADD);

    mm_sql_bind_uint(&q, c->sequence);
    mm_sql_bind_int(&q, c->baseline);
    mm_sql_bind_blob(&q, document.data, document.len);
    mm_sql_bind_blob(&q, s->guard.totals.data, s->guard.totals.len);
    return mm_sql_run(&q, ei);
}

static int shorten(struct mm_store *s, uint64_t before, struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_CHECKPOINT_SHORTEN);

    mm_sql_bind_uint(&q, before);
    mm_sql_bind_int(&q, TOTALS_KEPT);
    return mm_sql_run(&q, ei);
}

int mm_checkpoint_add(struct mm_store *s, struct mm_bytes document, struct mm_errinfo *ei)
{
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    struct mm_errinfo why = {0};
    Mintmark__V1__Checkpoint *c;
    const struct mm_bytes totals = {s->guard.totals.data, s->guard.totals.len};
    uint8_t key[MM_SHA256_BYTES];
    int r = open_checkpoint(s, 0, document, totals, &arena, &c, key, &why);

    if (r == MM_OK && memcmp(key, s->guard.keys->key, sizeof(key)) != 0)
        r = bad(&why, c->sequence, "it is signed by a former audit key");

    /* What the front brought is wrong, not the ledger. */
    if (r == MM_ERR_CORRUPT)
        return mm_fail(ei, MM_ERR_INVALID, "CHECKPOINT_BAD", "%.200s", why.text);
    if (r < 0) {
        *ei = why;
        return r;
    }
    r = insert(s, c, document, ei);
    if (r == MM_OK)
        r = shorten(s, c->sequence, ei);
    if (r < 0)
        return r;
    s->guard.checkpointed = c->sequence;
    if (c->baseline)
        s->guard.baseline = false;
    return MM_OK;
}
