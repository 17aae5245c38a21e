/* SPDX-License-Identifier: Apache-2.0 */
/* Devices that get no certificate now, or never: put off, parked, tried again, failed. */
#include "daemon/store/enrolments.h"

#include "daemon/store/message.h"

#define STATE(name)  MINTMARK__V1__CERTIFICATE_STATE__CERTIFICATE_STATE_##name
#define ACTION(name) MINTMARK__INTERNAL__ENROLMENT_ACTION__ENROLMENT_ACTION_##name

/* What a production report counts such devices under. */
static const char failed_reason[] = "ENROLMENT_FAILED";

/* ---- waiting and parked ------------------------------------------------------------------ */

static int move(struct mm_store *s, const struct mm_enrolment_row *e,
                const Mintmark__Internal__ChangeEnrolment *job, Mintmark__V1__CertificateState to,
                struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_ENROLMENT_CHANGE);

    mm_sql_bind_int(&q, e->device);
    mm_sql_bind_int(&q, to);
    mm_sql_bind_int(&q, job->action);
    mm_sql_bind_int(&q, to == STATE(WAITING) ? job->next_time_ms : 0);
    mm_sql_bind_text(&q, job->text);
    mm_sql_bind_int(&q, job->action != ACTION(RELEASE) || job->begun);
    return mm_sql_run(&q, ei);
}

static int park(struct mm_store *s, const struct mm_enrolment_row *e,
                const Mintmark__Internal__ChangeEnrolment *job, struct mm_errinfo *ei)
{
    Mintmark__V1__DeviceParked event = MINTMARK__V1__DEVICE_PARKED__INIT;
    Mintmark__V1__LedgerRecord record = MM_LEDGER_RECORD(DEVICE_PARKED, device_parked, &event);
    int r = move(s, e, job, STATE(PARKED), ei);

    event.uid = job->uid;
    event.text = job->text;
    return r < 0 ? r : mm_ledger_append(s, &record, ei);
}

static int retry(struct mm_store *s, const struct mm_enrolment_row *e,
                 const Mintmark__Internal__ChangeEnrolment *job, struct mm_errinfo *ei)
{
    Mintmark__V1__DeviceRetried event = MINTMARK__V1__DEVICE_RETRIED__INIT;
    Mintmark__V1__LedgerRecord record = MM_LEDGER_RECORD(DEVICE_RETRIED, device_retried, &event);
    int r = move(s, e, job, STATE(WAITING), ei);

    event.uid = job->uid;
    event.by = job->by;
    return r < 0 ? r : mm_ledger_append(s, &record, ei);
}

/* ---- failed ------------------------------------------------------------------------------ */

static int mark_ko(struct mm_store *s, int64_t device, int64_t now_ms, struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_DEVICE_FAIL);

    mm_sql_bind_int(&q, device);
    mm_sql_bind_text(&q, failed_reason);
    mm_sql_bind_int(&q, now_ms);
    return mm_sql_run(&q, ei);
}

static int count_ko(struct mm_store *s, int64_t batch, uint64_t refunded, struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_BATCH_REPORT);
    int r;

    mm_sql_bind_int(&q, batch);
    mm_sql_bind_int(&q, 0);
    mm_sql_bind_int(&q, 1);
    mm_sql_bind_uint(&q, refunded);
    r = mm_sql_run(&q, ei);
    return r < 0 ? r : mm_failure_count(s, batch, failed_reason, ei);
}

/* KO in its batch, whose order may give the unit back. (No batch is released while a device of its
 * waits.) */
static int account(struct mm_store *s, const struct mm_enrolment_row *e,
                   const Mintmark__Internal__ChangeEnrolment *job, Mintmark__V1__Order **ret_order,
                   struct mm_errinfo *ei)
{
    struct mm_batch_row batch;
    uint64_t refunded = 0;
    int r;

    if (!e->batch_open)
        return MM_OK;
    r = mm_batch_find(s, e->batch_uid, &batch, ei);
    if (r == MM_OK)
        r = mark_ko(s, e->device, job->now_ms, ei);
    if (r == MM_OK)
        r = mm_order_refund(s, &batch.order, e->batch_uid, 1, &refunded, ei);
    if (r == MM_OK)
        r = count_ko(s, batch.row, refunded, ei);
    if (r < 0 || refunded == 0)
        return r;
    return mm_order_get(s, e->order_id, job->now_ms, ret_order, ei);
}

static int fail(struct mm_store *s, const struct mm_enrolment_row *e,
                const Mintmark__Internal__ChangeEnrolment *job, Mintmark__V1__Order **ret_order,
                struct mm_errinfo *ei)
{
    Mintmark__V1__DeviceFailed event = MINTMARK__V1__DEVICE_FAILED__INIT;
    Mintmark__V1__LedgerRecord record = MM_LEDGER_RECORD(DEVICE_FAILED, device_failed, &event);
    int r = mm_enrolment_settle(s, e, STATE(FAILED), NULL, job->text, ei);

    event.uid = job->uid;
    event.batch_uid = (char *)(uintptr_t)e->batch_uid;
    event.text = job->text;
    event.by = job->by;
    event.counted = e->batch_open;
    if (r == MM_OK)
        r = mm_ledger_append(s, &record, ei);
    return r < 0 ? r : account(s, e, job, ret_order, ei);
}

/* ---- the verb ---------------------------------------------------------------------------- */

static int check_state(const struct mm_enrolment_row *e,
                       const Mintmark__Internal__ChangeEnrolment *job, struct mm_errinfo *ei)
{
    const bool parked = e->state == STATE(PARKED), waiting = e->state == STATE(WAITING);

    if (job->action == ACTION(RETRY))
        return parked ? MM_OK : mm_enrolment_fail_state(e, &job->uid, "NOT_PARKED", ei);
    if (waiting || (parked && job->action == ACTION(FAIL)))
        return MM_OK;
    return mm_enrolment_fail_state(e, &job->uid, "NOT_WAITING", ei);
}

static int act(struct mm_store *s, const struct mm_enrolment_row *e,
               const Mintmark__Internal__ChangeEnrolment *job, struct mm_enrolment_step *ret_step,
               Mintmark__V1__Order **ret_order, struct mm_errinfo *ei)
{
    switch (job->action) {
    case ACTION(PARK):
        *ret_step = (struct mm_enrolment_step){.waiting = -1, .parked = 1};
        return park(s, e, job, ei);
    case ACTION(RETRY):
        *ret_step = (struct mm_enrolment_step){.waiting = 1, .parked = -1};
        return retry(s, e, job, ei);
    case ACTION(FAIL):
        *ret_step = (struct mm_enrolment_step){.waiting = e->state == STATE(WAITING) ? -1 : 0,
                                               .parked = e->state == STATE(PARKED) ? -1 : 0,
                                               .failed = 1};
        return fail(s, e, job, ret_order, ei);
    default:
        *ret_step = (struct mm_enrolment_step){0};
        return move(s, e, job, STATE(WAITING), ei);
    }
}

static int change(struct mm_store *s, const Mintmark__Internal__ChangeEnrolment *job,
                  Mintmark__Internal__Settled *settled, Mintmark__V1__Order **ret_order,
                  struct mm_errinfo *ei)
{
    struct mm_enrolment_step step = {0};
    struct mm_enrolment_row e;
    int r = mm_enrolment_find(s, &job->uid, &e, ei);

    if (r == MM_OK)
        r = check_state(&e, job, ei);
    if (r == MM_OK)
        r = act(s, &e, job, &step, ret_order, ei);
    if (r == MM_OK)
        r = mm_enrolment_count(s, &e, step, &settled->counts, ei);
    if (r == MM_OK)
        settled->request = (uint64_t)e.request;
    return r;
}

int mm_store_change_enrolment(struct mm_store *s, const Mintmark__Internal__ChangeEnrolment *job,
                              Mintmark__Internal__Settled **ret_settled,
                              Mintmark__V1__Order **ret_order, struct mm_errinfo *ei)
{
    MM_MESSAGE_CLEANUP Mintmark__Internal__Settled *settled =
        mm_message_new(&mintmark__internal__settled__descriptor);
    MM_MESSAGE_CLEANUP Mintmark__V1__Order *order = NULL;
    int r;

    if (!settled)
        return mm_fail_memory(ei);
    r = mm_sql_verb_begin(s, ei);
    if (r < 0)
        return r;
    r = mm_sql_verb_finish(s, change(s, job, settled, &order, ei), ei);
    if (r < 0)
        return r;
    *ret_settled = MM_TAKE(settled);
    *ret_order = MM_TAKE(order);
    return MM_OK;
}
