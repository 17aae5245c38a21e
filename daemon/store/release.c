/* SPDX-License-Identifier: Apache-2.0 */
/* Closing a batch for good, with its account. */
#include "daemon/store/message.h"
#include "daemon/store/rows.h"

static int close_batch(struct mm_store *s, int64_t row, int64_t now_ms, struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_BATCH_RELEASE);

    mm_sql_bind_int(&q, row);
    mm_sql_bind_int(&q, now_ms);
    return mm_sql_run(&q, ei);
}

static int add_failure(struct mm_sql *q, Mintmark__V1__ProductionReport *report,
                       struct mm_errinfo *ei)
{
    Mintmark__V1__FailureCount **room =
        mm_message_room(report->failures, report->n_failures, sizeof(*room));
    Mintmark__V1__FailureCount *f;

    if (!room)
        return mm_fail_memory(ei);
    report->failures = room;
    f = mm_message_new(&mintmark__v1__failure_count__descriptor);
    if (!f)
        return mm_fail_memory(ei);
    room[report->n_failures++] = f;
    f->reason = mm_sql_dup_text(q, 0);
    f->devices = mm_sql_uint(q, 1);
    return mm_sql_end(q, ei);
}

static int report_failures(struct mm_store *s, int64_t row, Mintmark__V1__ProductionReport *report,
                           struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_FAILURES);
    int r;

    mm_sql_bind_int(&q, row);
    mm_sql_bind_int(&q, MM_REPORT_FAILURES_MAX);
    while ((r = mm_sql_step(&q, ei)) > 0) {
        r = add_failure(&q, report, ei);
        if (r < 0)
            return r;
    }
    return r;
}

static int report_account(struct mm_store *s, int64_t row, Mintmark__V1__ProductionReport *report,
                          struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_BATCH_ACCOUNT);
    int r;

    mm_sql_bind_int(&q, row);
    r = mm_sql_step(&q, ei);
    if (r < 0)
        return r;
    report->order_quantity = mm_sql_uint(&q, 0);
    report->order_used = mm_sql_uint(&q, 1);
    report->first_issued_time_ms = mm_sql_int(&q, 2);
    report->last_issued_time_ms = mm_sql_int(&q, 3);
    report->refunded = mm_sql_uint(&q, 4);
    return mm_sql_end(&q, ei);
}

/* What the rest of the database may later say otherwise, and the signed report repeats. */
static int enter_in_ledger(struct mm_store *s, const Mintmark__Internal__ReleaseBatch *job,
                           const struct mm_batch_row *batch,
                           const Mintmark__V1__ProductionReport *report, struct mm_errinfo *ei)
{
    static char version[] = MM_VERSION;
    Mintmark__V1__BatchReleased event = MINTMARK__V1__BATCH_RELEASED__INIT;
    Mintmark__V1__LedgerRecord record = MM_LEDGER_RECORD(BATCH_RELEASED, batch_released, &event);
    const Mintmark__V1__BatchCounts *counts = report->batch->counts;

    event.batch_uid = job->batch_uid;
    event.station = job->station;
    event.issued = counts->issued;
    event.ok = counts->ok;
    event.ko = counts->ko;
    event.version = version;
    if (s->site.has_identity)
        event.appliance_sha256 =
            (ProtobufCBinaryData){sizeof(s->site.identity), (uint8_t *)s->site.identity};
    event.order_quantity = report->order_quantity;
    event.order_used = report->order_used;
    event.order_refunded = batch->order.terms.refunded;
    event.refunded = report->refunded;
    return mm_ledger_append(s, &record, ei);
}

static int note_sequence(struct mm_store *s, int64_t row, struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_BATCH_RELEASED);

    mm_sql_bind_int(&q, row);
    mm_sql_bind_uint(&q, s->ledger.now.sequence);
    return mm_sql_run(&q, ei);
}

/* The report on the batch is for good: nothing of it may be open. */
static int check_waiting(struct mm_store *s, const struct mm_batch_row *batch,
                         struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_BATCH_WAITING);
    uint64_t waiting;
    int r;

    mm_sql_bind_int(&q, batch->row);
    r = mm_sql_step(&q, ei);
    if (r < 0)
        return r;
    waiting = mm_sql_uint(&q, 0);
    if (waiting > 0)
        return mm_fail(ei, MM_ERR_PRECONDITION, "DEVICES_WAITING",
                       "%llu devices of the batch wait for their certificates",
                       (unsigned long long)waiting);
    return mm_sql_end(&q, ei);
}

static int release(struct mm_store *s, const Mintmark__Internal__ReleaseBatch *job,
                   Mintmark__V1__ProductionReport **ret_report, struct mm_errinfo *ei)
{
    MM_MESSAGE_CLEANUP Mintmark__V1__ProductionReport *report =
        mm_message_new(&mintmark__v1__production_report__descriptor);
    struct mm_batch_row batch;
    int r = mm_batch_find(s, job->batch_uid, &batch, ei);

    if (r == MM_OK)
        r = mm_batch_check_open(&batch, job->batch_uid, ei);
    if (r == MM_OK)
        r = check_waiting(s, &batch, ei);
    if (r == MM_OK && !report)
        r = mm_fail_memory(ei);
    if (r == MM_OK)
        r = close_batch(s, batch.row, job->now_ms, ei);
    if (r == MM_OK)
        r = mm_batch_get(s, job->batch_uid, &report->batch, ei);
    if (r == MM_OK)
        r = report_failures(s, batch.row, report, ei);
    if (r == MM_OK)
        r = report_account(s, batch.row, report, ei);
    if (r == MM_OK)
        r = enter_in_ledger(s, job, &batch, report, ei);
    if (r == MM_OK)
        r = note_sequence(s, batch.row, ei);
    if (r == MM_OK)
        *ret_report = MM_TAKE(report);
    return r;
}

int mm_store_release_batch(struct mm_store *s, const Mintmark__Internal__ReleaseBatch *job,
                           Mintmark__V1__ProductionReport **ret_report, struct mm_errinfo *ei)
{
    MM_MESSAGE_CLEANUP Mintmark__V1__ProductionReport *report = NULL;
    int r = mm_sql_verb_begin(s, ei);

    if (r < 0)
        return r;
    r = mm_sql_verb_finish(s, release(s, job, &report, ei), ei);
    if (r < 0)
        return r;
    *ret_report = MM_TAKE(report);
    return MM_OK;
}
