/* SPDX-License-Identifier: Apache-2.0 */
/* What becomes of an order: officers hold it or lower it, the OEM revokes it or says that it has
 * reports, and KO devices give units back where the order allows that. */
#include "daemon/document/document.h"
#include "daemon/store/message.h"
#include "daemon/store/rows.h"

#include <string.h>

/* What the OEM's clock may be ahead of ours. */
enum { CLOCK_TOLERANCE_MS = 5 * 60 * 1000 };

static int update(struct mm_store *s, const struct mm_order_row *order, struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_ORDER_CHANGE);
    const struct mm_order_terms *t = &order->terms;

    mm_sql_bind_int(&q, order->row);
    mm_sql_bind_int(&q, t->hold);
    mm_sql_bind_uint(&q, t->quantity);
    mm_sql_bind_int(&q, t->not_after_ms);
    mm_sql_bind_uint(&q, t->per_batch_max);
    mm_sql_bind_uint(&q, t->per_day_max);
    mm_sql_bind_uint(&q, t->reported);
    mm_sql_bind_int(&q, t->reported_ms);
    return mm_sql_run(&q, ei);
}

/* Who did it last, and why; for people. */
static int sign_change(struct mm_store *s, const struct mm_order_row *order, int64_t now_ms,
                       const char *by, const char *reason, struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_ORDER_CHANGED);

    mm_sql_bind_int(&q, order->row);
    mm_sql_bind_int(&q, now_ms);
    mm_sql_bind_text(&q, by);
    mm_sql_bind_text(&q, reason);
    return mm_sql_run(&q, ei);
}

static int check_not_over(const struct mm_order_row *order, struct mm_errinfo *ei)
{
    if (order->terms.hold == MM_ORDER_REVOKED)
        return mm_fail(ei, MM_ERR_PRECONDITION, "ORDER_REVOKED",
                       "the OEM has revoked production order %s", order->order_id);
    if (order->terms.hold == MM_ORDER_CLOSED)
        return mm_fail(ei, MM_ERR_PRECONDITION, "ORDER_CLOSED",
                       "production order %s is closed already", order->order_id);
    return MM_OK;
}

/* ---- by officers ------------------------------------------------------------------------- */

/* A limit of 0 is none, so any is lower than that. */
static int lower_limit(uint64_t *limit, uint64_t to, const char *what, struct mm_errinfo *ei)
{
    if (to == 0)
        return MM_OK;
    if (*limit > 0 && to > *limit)
        return mm_fail(ei, MM_ERR_PRECONDITION, "ORDER_RAISED",
                       "%s is %llu now; it can be lowered only, and not to %llu", what,
                       (unsigned long long)*limit, (unsigned long long)to);
    *limit = to;
    return MM_OK;
}

static int lower(struct mm_order_terms *t, const Mintmark__V1__OrderLimits *to,
                 struct mm_errinfo *ei)
{
    int r;

    if (to->quantity > 0 && to->quantity < t->used)
        return mm_fail(ei, MM_ERR_PRECONDITION, "ORDER_BELOW_USED",
                       "%llu units are used already; to stop now, close the order",
                       (unsigned long long)t->used);
    if (to->not_after_time_ms > t->not_after_ms)
        return mm_fail(ei, MM_ERR_PRECONDITION, "ORDER_RAISED", "the order ends before that");
    if (to->not_after_time_ms > 0 && to->not_after_time_ms <= t->not_before_ms)
        return mm_fail(ei, MM_ERR_INVALID, "ORDER_VALIDITY",
                       "the order would end before it begins; close it");
    r = lower_limit(&t->quantity, to->quantity, "the quantity", ei);
    if (r == MM_OK)
        r = lower_limit(&t->per_batch_max, to->per_batch_max, "the limit for a batch", ei);
    if (r == MM_OK)
        r = lower_limit(&t->per_day_max, to->per_day_max, "the limit for a day", ei);
    if (r == MM_OK && to->not_after_time_ms > 0)
        t->not_after_ms = to->not_after_time_ms;
    return r;
}

static int apply(struct mm_order_row *order, const Mintmark__Internal__ChangeOrder *job,
                 struct mm_errinfo *ei)
{
    struct mm_order_terms *t = &order->terms;

    switch (job->action) {
    case MINTMARK__V1__ORDER_ACTION__ORDER_ACTION_SUSPEND:
        if (t->hold == MM_ORDER_SUSPENDED)
            return mm_fail(ei, MM_ERR_PRECONDITION, "ORDER_SUSPENDED",
                           "production order %s is suspended already", order->order_id);
        t->hold = MM_ORDER_SUSPENDED;
        return MM_OK;
    case MINTMARK__V1__ORDER_ACTION__ORDER_ACTION_RESUME:
        if (t->hold != MM_ORDER_SUSPENDED)
            return mm_fail(ei, MM_ERR_PRECONDITION, "ORDER_NOT_SUSPENDED",
                           "production order %s is not suspended", order->order_id);
        t->hold = MM_ORDER_OPEN;
        return MM_OK;
    case MINTMARK__V1__ORDER_ACTION__ORDER_ACTION_CLOSE:
        t->hold = MM_ORDER_CLOSED;
        return MM_OK;
    default: /* mm_job_check lets no other through */
        return lower(t, job->limits, ei);
    }
}

static int change(struct mm_store *s, const Mintmark__Internal__ChangeOrder *job,
                  Mintmark__V1__Order **ret_order, struct mm_errinfo *ei)
{
    Mintmark__V1__OrderChanged event = MINTMARK__V1__ORDER_CHANGED__INIT;
    Mintmark__V1__LedgerRecord record = MM_LEDGER_RECORD(ORDER_CHANGED, order_changed, &event);
    struct mm_order_row order;
    int r = mm_order_find(s, job->order_id, &order, NULL, ei);

    if (r == MM_OK)
        r = check_not_over(&order, ei);
    if (r == MM_OK)
        r = apply(&order, job, ei);
    if (r == MM_OK)
        r = update(s, &order, ei);
    if (r == MM_OK)
        r = sign_change(s, &order, job->now_ms, job->by, job->reason, ei);
    if (r < 0)
        return r;
    event.order_id = job->order_id;
    event.action = job->action;
    event.limits = job->limits;
    event.by = job->by;
    event.reason = job->reason;
    r = mm_ledger_append(s, &record, ei);
    return r < 0 ? r : mm_order_get(s, job->order_id, job->now_ms, ret_order, ei);
}

int mm_store_change_order(struct mm_store *s, const Mintmark__Internal__ChangeOrder *job,
                          Mintmark__V1__Order **ret_order, struct mm_errinfo *ei)
{
    MM_MESSAGE_CLEANUP Mintmark__V1__Order *order = NULL;
    int r = mm_sql_verb_begin(s, ei);

    if (r < 0)
        return r;
    r = mm_sql_verb_finish(s, change(s, job, &order, ei), ei);
    if (r < 0)
        return r;
    *ret_order = MM_TAKE(order);
    return MM_OK;
}

/* ---- by the OEM -------------------------------------------------------------------------- */

static int revoke(struct mm_store *s, const Mintmark__V1__OrderRevocation *revocation,
                  struct mm_order_row *order, const Mintmark__Internal__ImportDocument *job,
                  struct mm_errinfo *ei)
{
    const size_t len = strlen(revocation->reason);
    int r = mm_document_check_appliance(s, &revocation->appliance_sha256, ei);

    if (r == MM_OK && (len < 1 || len > MM_REASON_TEXT_MAX))
        r = mm_fail_field(ei, "reason", "reason is not 1 to %d bytes long", MM_REASON_TEXT_MAX);
    if (r == MM_OK)
        r = mm_order_find(s, revocation->order_id, order, NULL, ei);
    if (r == MM_OK && order->terms.hold == MM_ORDER_REVOKED)
        r = check_not_over(order, ei);
    if (r < 0)
        return r;
    order->terms.hold = MM_ORDER_REVOKED;
    return sign_change(s, order, job->now_ms, job->by, revocation->reason, ei);
}

/* Taken once: the next one must be newer. So an old one that is brought again moves nothing. */
static int take_receipt(struct mm_store *s, const Mintmark__V1__ReportReceipt *receipt,
                        struct mm_order_row *order, int64_t now_ms, struct mm_errinfo *ei)
{
    struct mm_order_terms *t = &order->terms;
    int r = mm_document_check_appliance(s, &receipt->appliance_sha256, ei);

    if (r == MM_OK)
        r = mm_order_find(s, receipt->order_id, order, NULL, ei);
    if (r < 0)
        return r;
    if (receipt->time_ms <= t->reported_ms || receipt->devices < t->reported)
        return mm_fail(ei, MM_ERR_PRECONDITION, "RECEIPT_STALE",
                       "a newer receipt, for %llu devices, has been taken",
                       (unsigned long long)t->reported);
    if (receipt->time_ms > now_ms + CLOCK_TOLERANCE_MS)
        return mm_fail(ei, MM_ERR_PRECONDITION, "RECEIPT_IN_FUTURE",
                       "the receipt's time lies ahead of the service's clock");
    if (receipt->devices > t->used + t->refunded)
        return mm_fail(ei, MM_ERR_PRECONDITION, "RECEIPT_AHEAD",
                       "the receipt is for %llu devices, and %llu were made",
                       (unsigned long long)receipt->devices,
                       (unsigned long long)(t->used + t->refunded));
    t->reported = receipt->devices;
    t->reported_ms = receipt->time_ms;
    return MM_OK;
}

static int accept(struct mm_store *s, const Mintmark__Internal__ImportDocument *job,
                  struct mm_document *document, struct mm_order_row *order,
                  Mintmark__V1__DocumentAccepted *event, struct mm_errinfo *ei)
{
    const Mintmark__V1__SignedDocument *d = document->content;

    switch (d->document_case) {
    case MINTMARK__V1__SIGNED_DOCUMENT__DOCUMENT_ORDER_REVOCATION:
        event->document_case = MINTMARK__V1__DOCUMENT_ACCEPTED__DOCUMENT_ORDER_REVOCATION;
        event->order_revocation = d->order_revocation;
        event->order_id = d->order_revocation->order_id;
        return revoke(s, d->order_revocation, order, job, ei);
    case MINTMARK__V1__SIGNED_DOCUMENT__DOCUMENT_REPORT_RECEIPT:
        event->document_case = MINTMARK__V1__DOCUMENT_ACCEPTED__DOCUMENT_REPORT_RECEIPT;
        event->report_receipt = d->report_receipt;
        event->order_id = d->report_receipt->order_id;
        return take_receipt(s, d->report_receipt, order, job->now_ms, ei);
    default:
        return mm_document_fail_kind("revocation and no receipt", ei);
    }
}

/* As it came, for whoever verifies an export. */
static int keep_document(struct mm_store *s, const ProtobufCBinaryData *document,
                         struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_DOCUMENT_ADD);

    mm_sql_bind_uint(&q, s->ledger.now.sequence);
    mm_sql_bind_blob(&q, document->data, document->len);
    return mm_sql_run(&q, ei);
}

static int import(struct mm_store *s, const Mintmark__Internal__ImportDocument *job,
                  Mintmark__V1__Order **ret_order, struct mm_errinfo *ei)
{
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    MM_DOCUMENT_CLEANUP struct mm_document document = MM_DOCUMENT_INIT;
    Mintmark__V1__DocumentAccepted event = MINTMARK__V1__DOCUMENT_ACCEPTED__INIT;
    Mintmark__V1__LedgerRecord record =
        MM_LEDGER_RECORD(DOCUMENT_ACCEPTED, document_accepted, &event);
    struct mm_order_row order;
    uint8_t hash[MM_SHA256_BYTES];
    int r = mm_document_take(s, &job->document, job->now_ms, &arena, &document, ei);

    if (r == MM_OK)
        r = accept(s, job, &document, &order, &event, ei);
    if (r == MM_OK)
        r = update(s, &order, ei);
    if (r < 0)
        return r;
    r = mm_ledger_hash(s, (struct mm_bytes){job->document.data, job->document.len}, hash, ei);
    event.by = job->by;
    event.signer = document.signer_name;
    event.document_sha256 = (ProtobufCBinaryData){sizeof(hash), hash};
    if (r == MM_OK)
        r = mm_ledger_append(s, &record, ei);
    if (r == MM_OK)
        r = keep_document(s, &job->document, ei);
    return r < 0 ? r : mm_order_get(s, event.order_id, job->now_ms, ret_order, ei);
}

int mm_store_import_document(struct mm_store *s, const Mintmark__Internal__ImportDocument *job,
                             Mintmark__V1__Order **ret_order, struct mm_errinfo *ei)
{
    MM_MESSAGE_CLEANUP Mintmark__V1__Order *order = NULL;
    int r = mm_sql_verb_begin(s, ei);

    if (r < 0)
        return r;
    r = mm_sql_verb_finish(s, import(s, job, &order, ei), ei);
    if (r < 0)
        return r;
    *ret_order = MM_TAKE(order);
    return MM_OK;
}

/* ---- by KO devices ----------------------------------------------------------------------- */

int mm_order_refund(struct mm_store *s, const struct mm_order_row *order, const char *batch_uid,
                    uint64_t ko, uint64_t *ret_refunded, struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_ORDER_REFUND);
    const struct mm_order_terms *t = &order->terms;
    const uint64_t left = t->replacements_max > t->refunded ? t->replacements_max - t->refunded : 0;
    const uint64_t n = ko < left ? ko : left;
    Mintmark__V1__Refunded event = MINTMARK__V1__REFUNDED__INIT;
    Mintmark__V1__LedgerRecord record = MM_LEDGER_RECORD(REFUNDED, refunded, &event);
    int r;

    *ret_refunded = n;
    if (n == 0)
        return MM_OK;
    mm_sql_bind_int(&q, order->row);
    mm_sql_bind_uint(&q, n);
    r = mm_sql_run(&q, ei);
    if (r < 0)
        return r;
    if (sqlite3_changes(s->db) != 1)
        return mm_fail(ei, MM_ERR_CORRUPT, "STORE_CORRUPT",
                       "production order %s has no units to give back", order->order_id);
    event.order_id = (char *)(uintptr_t)order->order_id;
    event.batch_uid = (char *)(uintptr_t)batch_uid;
    event.count = (uint32_t)n;
    event.order_used_after = t->used - n;
    event.refunded_after = t->refunded + n;
    return mm_ledger_append(s, &record, ei);
}
