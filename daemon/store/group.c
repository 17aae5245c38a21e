/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/store/group.h"

#include "daemon/base/clock.h"
#include "daemon/ipc/channel.h"
#include "daemon/store/guard.h"
#include "daemon/store/message.h"

int mm_group_add(struct mm_group *g, struct mm_bytes payload, struct mm_errinfo *ei)
{
    Mintmark__Internal__StoreJob *job;
    const int r = mm_job_unpack(payload, &g->arena, &job, ei);

    if (r < 0)
        return r;
    g->entries[g->n++] = (struct mm_group_entry){.job = job};
    g->bytes += payload.len;
    return MM_OK;
}

bool mm_group_full(const struct mm_group *g)
{
    return g->n == MM_GROUP_JOBS_MAX || g->bytes >= MM_GROUP_BYTES_MAX;
}

static int do_order_verb(struct mm_store *s, const Mintmark__Internal__StoreJob *job,
                         Mintmark__Internal__StoreResult *to, struct mm_errinfo *ei)
{
    to->result_case = MINTMARK__INTERNAL__STORE_RESULT__RESULT_ORDER;
    switch (job->job_case) {
    case MINTMARK__INTERNAL__STORE_JOB__JOB_ADD_NONCE:
        to->result_case = MINTMARK__INTERNAL__STORE_RESULT__RESULT_NONCE_ADDED;
        return mm_store_add_nonce(s, job->add_nonce, &to->nonce_added, ei);
    case MINTMARK__INTERNAL__STORE_JOB__JOB_IMPORT_ORDER:
        return mm_store_import_order(s, job->import_order, &to->order, ei);
    case MINTMARK__INTERNAL__STORE_JOB__JOB_IMPORT_DOCUMENT:
        return mm_store_import_document(s, job->import_document, &to->order, ei);
    case MINTMARK__INTERNAL__STORE_JOB__JOB_GET_ORDER:
        to->result_case = MINTMARK__INTERNAL__STORE_RESULT__RESULT_ORDER_FOUND;
        return mm_store_get_order(s, job->get_order, &to->order_found, ei);
    case MINTMARK__INTERNAL__STORE_JOB__JOB_LIST_ORDERS:
        to->result_case = MINTMARK__INTERNAL__STORE_RESULT__RESULT_ORDERS;
        return mm_store_list_orders(s, job->list_orders, &to->orders, ei);
    default: /* mm_job_check lets no other through */
        return mm_store_change_order(s, job->change_order, &to->order, ei);
    }
}

static int do_enrolment_verb(struct mm_store *s, const Mintmark__Internal__StoreJob *job,
                             Mintmark__Internal__StoreResult *to, struct mm_errinfo *ei)
{
    to->result_case = MINTMARK__INTERNAL__STORE_RESULT__RESULT_REVOCATIONS;
    switch (job->job_case) {
    case MINTMARK__INTERNAL__STORE_JOB__JOB_TAKE_WAITING:
        to->result_case = MINTMARK__INTERNAL__STORE_RESULT__RESULT_WAITING_PAGE;
        return mm_store_take_waiting(s, job->take_waiting, &to->waiting_page, ei);
    case MINTMARK__INTERNAL__STORE_JOB__JOB_CERTIFY:
        to->result_case = MINTMARK__INTERNAL__STORE_RESULT__RESULT_CERTIFIED;
        return mm_store_certify(s, job->certify, &to->certified, ei);
    case MINTMARK__INTERNAL__STORE_JOB__JOB_CHANGE_ENROLMENT:
        to->result_case = MINTMARK__INTERNAL__STORE_RESULT__RESULT_SETTLED;
        return mm_store_change_enrolment(s, job->change_enrolment, &to->settled,
                                         &to->refunded_order, ei);
    case MINTMARK__INTERNAL__STORE_JOB__JOB_LIST_WITHHELD:
        to->result_case = MINTMARK__INTERNAL__STORE_RESULT__RESULT_WITHHELD_DEVICES;
        return mm_store_list_withheld(s, job->list_withheld, &to->withheld_devices, ei);
    case MINTMARK__INTERNAL__STORE_JOB__JOB_REVOKE:
        return mm_store_revoke(s, job->revoke, &to->revocations, ei);
    case MINTMARK__INTERNAL__STORE_JOB__JOB_TAKE_REVOCATIONS:
        return mm_store_take_revocations(s, job->take_revocations, &to->revocations, ei);
    case MINTMARK__INTERNAL__STORE_JOB__JOB_PAGE_ENROLMENTS:
        to->result_case = MINTMARK__INTERNAL__STORE_RESULT__RESULT_ENROLMENTS_PAGE;
        return mm_store_page_enrolments(s, job->page_enrolments, &to->enrolments_page, ei);
    case MINTMARK__INTERNAL__STORE_JOB__JOB_MATCH_CERTIFICATES:
        to->result_case = MINTMARK__INTERNAL__STORE_RESULT__RESULT_MATCHED_CERTIFICATES;
        return mm_store_match_certificates(s, job->match_certificates, &to->matched_certificates,
                                           ei);
    case MINTMARK__INTERNAL__STORE_JOB__JOB_FIND_ENROLMENT:
        to->result_case = MINTMARK__INTERNAL__STORE_RESULT__RESULT_ENROLMENT_FOUND;
        return mm_store_find_enrolment(s, job->find_enrolment, &to->enrolment_found, ei);
    default: /* mm_job_check lets no other through */
        return mm_store_end_revocation(s, job->end_revocation, &to->revocations, ei);
    }
}

static int do_ledger_verb(struct mm_store *s, const Mintmark__Internal__StoreJob *job,
                          Mintmark__Internal__StoreResult *to, struct mm_errinfo *ei)
{
    to->result_case = MINTMARK__INTERNAL__STORE_RESULT__RESULT_GUARD;
    switch (job->job_case) {
    case MINTMARK__INTERNAL__STORE_JOB__JOB_CHECK_ANCHOR:
        return mm_store_check_anchor(s, job->check_anchor, &to->guard, ei);
    case MINTMARK__INTERNAL__STORE_JOB__JOB_PREPARE_ANCHOR:
        return mm_store_prepare_anchor(s, job->prepare_anchor, &to->guard, ei);
    case MINTMARK__INTERNAL__STORE_JOB__JOB_ANCHORED:
        return mm_store_anchored(s, job->anchored, &to->guard, ei);
    case MINTMARK__INTERNAL__STORE_JOB__JOB_ADD_CHECKPOINT:
        return mm_store_add_checkpoint(s, job->add_checkpoint, &to->guard, ei);
    case MINTMARK__INTERNAL__STORE_JOB__JOB_CHANGE_AUDIT_KEY:
        return mm_store_change_audit_key(s, job->change_audit_key, &to->guard, ei);
    case MINTMARK__INTERNAL__STORE_JOB__JOB_TAKE_TRUSTED:
        to->result_case = MINTMARK__INTERNAL__STORE_RESULT__RESULT_TRUSTED_TAKEN;
        return mm_store_take_trusted(s, &to->trusted_taken, ei);
    case MINTMARK__INTERNAL__STORE_JOB__JOB_UNLOCK:
        return mm_store_unlock(s, job->unlock, &to->guard, ei);
    default:
        return mm_store_verify_ledger(s, &to->guard, ei);
    }
}

static int do_report_verb(struct mm_store *s, const Mintmark__Internal__StoreJob *job,
                          Mintmark__Internal__StoreResult *to, struct mm_errinfo *ei)
{
    to->result_case = MINTMARK__INTERNAL__STORE_RESULT__RESULT_REPORT_FOUND;
    switch (job->job_case) {
    case MINTMARK__INTERNAL__STORE_JOB__JOB_GET_REPORT:
        return mm_store_get_report(s, job->get_report, &to->report_found, ei);
    case MINTMARK__INTERNAL__STORE_JOB__JOB_ADD_REPORT:
        return mm_store_add_report(s, job->add_report, &to->report_found, ei);
    case MINTMARK__INTERNAL__STORE_JOB__JOB_MANIFEST_PAGE:
        to->result_case = MINTMARK__INTERNAL__STORE_RESULT__RESULT_MANIFEST_PIECE;
        return mm_store_manifest_page(s, job->manifest_page, &to->manifest_piece, ei);
    case MINTMARK__INTERNAL__STORE_JOB__JOB_ADD_SIGNED:
        to->result_case = MINTMARK__INTERNAL__STORE_RESULT__RESULT_SIGNED_ADDED;
        return mm_store_add_signed(s, job->add_signed, &to->signed_added, ei);
    case MINTMARK__INTERNAL__STORE_JOB__JOB_DELETE_KEYS:
        to->result_case = MINTMARK__INTERNAL__STORE_RESULT__RESULT_KEYS_PAGE;
        return mm_store_delete_keys(s, job->delete_keys, &to->keys_page, ei);
    case MINTMARK__INTERNAL__STORE_JOB__JOB_BEGIN_EXPORT:
        to->result_case = MINTMARK__INTERNAL__STORE_RESULT__RESULT_EXPORT_BEGUN;
        return mm_store_begin_export(s, job->begin_export, &to->export_begun, ei);
    case MINTMARK__INTERNAL__STORE_JOB__JOB_EXPORT_PAGE:
        to->result_case = MINTMARK__INTERNAL__STORE_RESULT__RESULT_EXPORT_PIECE;
        return mm_store_export_page(s, job->export_page, &to->export_piece, ei);
    default:
        to->result_case = MINTMARK__INTERNAL__STORE_RESULT__RESULT_REPORT_PIECE;
        return mm_store_report_page(s, job->report_page, &to->report_piece, ei);
    }
}

/* Fills the result's oneof; on failure the case may be set without its message. */
static int do_verb(struct mm_store *s, const Mintmark__Internal__StoreJob *job,
                   Mintmark__Internal__StoreResult *to, struct mm_errinfo *ei)
{
    switch (job->job_case) {
    case MINTMARK__INTERNAL__STORE_JOB__JOB_OPEN_BATCH:
        to->result_case = MINTMARK__INTERNAL__STORE_RESULT__RESULT_BATCH;
        return mm_store_open_batch(s, job->open_batch, &to->batch, ei);
    case MINTMARK__INTERNAL__STORE_JOB__JOB_GET_BATCH:
        to->result_case = MINTMARK__INTERNAL__STORE_RESULT__RESULT_BATCH;
        return mm_store_get_batch(s, job->get_batch, &to->batch, ei);
    case MINTMARK__INTERNAL__STORE_JOB__JOB_LIST_BATCHES:
        to->result_case = MINTMARK__INTERNAL__STORE_RESULT__RESULT_BATCHES;
        return mm_store_list_batches(s, job->list_batches, &to->batches, ei);
    case MINTMARK__INTERNAL__STORE_JOB__JOB_FIND_REQUEST:
        to->result_case = MINTMARK__INTERNAL__STORE_RESULT__RESULT_REQUEST_FOUND;
        return mm_store_find_request(s, job->find_request, &to->request_found, ei);
    case MINTMARK__INTERNAL__STORE_JOB__JOB_FETCH_REQUEST:
        to->result_case = MINTMARK__INTERNAL__STORE_RESULT__RESULT_FETCHED;
        return mm_store_fetch_request(s, job->fetch_request, &to->fetched, ei);
    case MINTMARK__INTERNAL__STORE_JOB__JOB_SPEND_AND_RECORD:
        to->result_case = MINTMARK__INTERNAL__STORE_RESULT__RESULT_RECORDED;
        return mm_store_spend_and_record(s, job->spend_and_record, &to->recorded, ei);
    case MINTMARK__INTERNAL__STORE_JOB__JOB_ENROLL_AND_RECORD:
        to->result_case = MINTMARK__INTERNAL__STORE_RESULT__RESULT_ENROLLED;
        return mm_store_enroll_and_record(s, job->enroll_and_record, &to->enrolled, ei);
    case MINTMARK__INTERNAL__STORE_JOB__JOB_GET_DEVICE:
        to->result_case = MINTMARK__INTERNAL__STORE_RESULT__RESULT_DEVICE;
        return mm_store_get_device(s, job->get_device, &to->device, ei);
    case MINTMARK__INTERNAL__STORE_JOB__JOB_REPORT_DEVICES:
        to->result_case = MINTMARK__INTERNAL__STORE_RESULT__RESULT_COUNTS;
        return mm_store_report_devices(s, job->report_devices, &to->counts, &to->refunded_order,
                                       ei);
    case MINTMARK__INTERNAL__STORE_JOB__JOB_RELEASE_BATCH:
        to->result_case = MINTMARK__INTERNAL__STORE_RESULT__RESULT_REPORT;
        return mm_store_release_batch(s, job->release_batch, &to->report, ei);
    case MINTMARK__INTERNAL__STORE_JOB__JOB_ADD_NONCE:
    case MINTMARK__INTERNAL__STORE_JOB__JOB_IMPORT_ORDER:
    case MINTMARK__INTERNAL__STORE_JOB__JOB_IMPORT_DOCUMENT:
    case MINTMARK__INTERNAL__STORE_JOB__JOB_GET_ORDER:
    case MINTMARK__INTERNAL__STORE_JOB__JOB_LIST_ORDERS:
    case MINTMARK__INTERNAL__STORE_JOB__JOB_CHANGE_ORDER:
        return do_order_verb(s, job, to, ei);
    case MINTMARK__INTERNAL__STORE_JOB__JOB_GET_REPORT:
    case MINTMARK__INTERNAL__STORE_JOB__JOB_REPORT_PAGE:
    case MINTMARK__INTERNAL__STORE_JOB__JOB_ADD_REPORT:
    case MINTMARK__INTERNAL__STORE_JOB__JOB_ADD_SIGNED:
    case MINTMARK__INTERNAL__STORE_JOB__JOB_MANIFEST_PAGE:
    case MINTMARK__INTERNAL__STORE_JOB__JOB_DELETE_KEYS:
    case MINTMARK__INTERNAL__STORE_JOB__JOB_BEGIN_EXPORT:
    case MINTMARK__INTERNAL__STORE_JOB__JOB_EXPORT_PAGE:
        return do_report_verb(s, job, to, ei);
    default: /* mm_job_check lets no other through; those of enrolments have the highest numbers */
        return job->job_case >= MINTMARK__INTERNAL__STORE_JOB__JOB_TAKE_WAITING
                   ? do_enrolment_verb(s, job, to, ei)
                   : do_ledger_verb(s, job, to, ei);
    }
}

static int do_job(struct mm_store *s, const Mintmark__Internal__StoreJob *job,
                  Mintmark__Internal__StoreResult **ret_result, struct mm_errinfo *ei)
{
    MM_MESSAGE_CLEANUP Mintmark__Internal__StoreResult *result =
        mm_message_new(&mintmark__internal__store_result__descriptor);
    int r;

    if (!result)
        return mm_fail_memory(ei);
    if (job->deadline_mono_us && mm_clock_mono_us() >= job->deadline_mono_us)
        return mm_fail(ei, MM_ERR_TIMEOUT, "DEADLINE_EXCEEDED",
                       "the deadline passed before the store came to the job");
    r = mm_job_check(job, ei);
    if (r == MM_OK)
        r = mm_guard_check(s, job, ei);
    if (r == MM_OK && mm_job_dates(job))
        r = mm_store_check_clock(s, ei);
    if (r == MM_OK)
        mm_job_stamp(job, mm_ledger_tick(s));
    if (r == MM_OK)
        r = do_verb(s, job, result, ei);
    if (r < 0)
        return r;
    *ret_result = MM_TAKE(result);
    return MM_OK;
}

static void do_jobs(struct mm_group *g, struct mm_store *s, bool writing)
{
    for (size_t i = 0; i < g->n; i++) {
        struct mm_group_entry *e = &g->entries[i];

        if (mm_job_writes(e->job) == writing)
            (void)do_job(s, e->job, &e->result, &e->ei);
    }
}

/* Nothing of the group's writing has happened: all its jobs say so, and why. */
static void fail_writes(struct mm_group *g, const struct mm_errinfo *why)
{
    for (size_t i = 0; i < g->n; i++) {
        struct mm_group_entry *e = &g->entries[i];

        if (!mm_job_writes(e->job))
            continue;
        mm_message_free(e->result);
        e->result = NULL;
        e->ei = *why;
    }
}

static void write_group(struct mm_group *g, struct mm_store *s)
{
    struct mm_errinfo ei = {0};
    size_t writes = 0;
    int r;

    for (size_t i = 0; i < g->n; i++)
        writes += mm_job_writes(g->entries[i].job);
    if (writes == 0)
        return;
    r = mm_store_begin(s, &ei);
    if (r == MM_OK) {
        do_jobs(g, s, true);
        r = mm_store_commit(s, &ei);
    }
    if (r < 0)
        fail_writes(g, &ei);
}

static int answer_entry(struct mm_group_entry *e, mm_group_answer_fn answer, void *user,
                        struct mm_errinfo *ei)
{
    Mintmark__Internal__StoreResult refusal = MINTMARK__INTERNAL__STORE_RESULT__INIT;
    Mintmark__Internal__Error error;

    if (e->result) {
        e->result->id = e->job->id;
        return answer(user, e->result, ei);
    }
    mm_channel_error_to(&e->ei, &error);
    refusal.id = e->job->id;
    refusal.error = &error;
    return answer(user, &refusal, ei);
}

static void clear(struct mm_group *g)
{
    for (size_t i = 0; i < g->n; i++)
        mm_message_free(g->entries[i].result);
    g->n = 0;
    g->bytes = 0;
}

int mm_group_run(struct mm_group *g, struct mm_store *s, mm_group_answer_fn answer, void *user,
                 struct mm_errinfo *ei)
{
    int r = MM_OK;

    write_group(g, s);
    do_jobs(g, s, false);
    for (size_t i = 0; r == MM_OK && i < g->n; i++)
        r = answer_entry(&g->entries[i], answer, user, ei);
    clear(g);
    mm_arena_reset(&g->arena);
    return r;
}

void mm_group_done(struct mm_group *g)
{
    clear(g);
    mm_arena_done(&g->arena);
}
