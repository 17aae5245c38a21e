/* SPDX-License-Identifier: Apache-2.0 */
/* ReleaseBatch: release (store), make and sign the report, reply. GetReport: make and sign what is
 * not yet, stream. */
#include "daemon/front/service/report.h"

#include "daemon/base/clock.h"
#include "daemon/front/job.h"
#include "daemon/front/validate.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static void log_end(const struct mm_report *r, const char *good, const char *bad,
                    const struct mm_errinfo *ei)
{
    mm_log(ei ? MM_LOG_WARNING : MM_LOG_INFO, ei ? bad : good, MM_STR("request", r->call_id),
           MM_STR("batch", r->batch_uid), MM_STR("station", r->station), MM_UINT("bytes", r->size),
           MM_INT("ms", (mm_clock_mono_us() - r->began_us) / 1000),
           MM_STR("reason", ei ? ei->reason : ""), MM_STR("text", ei ? ei->text : ""));
}

/* ---- ReleaseBatch ------------------------------------------------------------------------ */

struct releasing {
    struct mm_report r;                     /* r.store is also the release's job */
    Mintmark__V1__ProductionReport *report; /* NULL: not released yet */
};

static void free_releasing(struct releasing *q)
{
    if (q->report)
        mintmark__v1__production_report__free_unpacked(q->report, NULL);
    mm_report_done(&q->r);
    free(q);
}

/* The batch is released. Its report is signed, or will be when it is asked for. */
static void release_over(struct mm_report *r, const struct mm_errinfo *ei)
{
    struct releasing *q = (struct releasing *)r;
    Mintmark__V1__ReleaseBatchResponse response = MINTMARK__V1__RELEASE_BATCH_RESPONSE__INIT;

    log_end(r, "report_signed", "report_pending", ei);
    response.report = q->report;
    response.report_pending = ei != NULL;
    if (r->call)
        mm_call_reply(r->call, &response.base);
    free_releasing(q);
}

static void release_ready(struct mm_report *r)
{
    /* A ReportSigned record is worth an anchor as the release was. */
    mm_anchoring_want(&r->app->anchoring, false);
    release_over(r, NULL);
}

static void learn_release(struct mm_app *app, const char *call_id, const Mintmark__V1__Batch *b)
{
    if (!b)
        return;
    mm_log(MM_LOG_INFO, "batch_released", MM_STR("request", call_id), MM_STR("batch", b->batch_uid),
           MM_UINT("issued", b->counts ? b->counts->issued : 0));
    mm_view_drop_batch(app->view, b->batch_uid);
    mm_anchoring_want(&app->anchoring, true);
}

static void refuse_release(struct releasing *q, const struct mm_errinfo *ei)
{
    if (q->r.call)
        mm_call_finish(q->r.call, ei);
    free_releasing(q);
}

static void on_released(struct mm_job *job, const ProtobufCMessage *result,
                        const struct mm_errinfo *error)
{
    struct releasing *q =
        (struct releasing *)((char *)job - offsetof(struct releasing, r.store.job));
    const Mintmark__Internal__StoreResult *answer = (const Mintmark__Internal__StoreResult *)result;
    struct mm_errinfo ei;

    q->r.store_runs = false;
    if (error) {
        refuse_release(q, error);
        return;
    }
    if (answer->result_case != MINTMARK__INTERNAL__STORE_RESULT__RESULT_REPORT) {
        mm_fail(&ei, MM_ERR_INTERNAL, "STORE_ANSWER", "the store gave another kind of answer");
        refuse_release(q, &ei);
        return;
    }
    learn_release(q->r.app, q->r.call_id, answer->report->batch);
    q->report = mm_message_dup(&answer->report->base);
    if (q->report) {
        mm_report_begin(&q->r);
        return;
    }
    mm_fail_memory(&ei);
    refuse_release(q, &ei);
}

/* What is released is reported on, also when nobody waits for it. */
static void release_cancelled(struct mm_call *call, void *user)
{
    struct releasing *q = user;

    (void)call;
    q->r.call = NULL;
    if (!q->report && mm_store_cancel(q->r.app->store_queue, &q->r.store))
        free_releasing(q);
}

static int submit_release(struct releasing *q, struct mm_errinfo *ei)
{
    Mintmark__Internal__ReleaseBatch body = MINTMARK__INTERNAL__RELEASE_BATCH__INIT;
    Mintmark__Internal__StoreJob job = MM_STORE_JOB(RELEASE_BATCH, release_batch, &body);
    int rc = mm_app_check_store(q->r.app, ei);

    if (rc == MM_OK)
        rc = mm_app_admit(q->r.app, mm_call_peer(q->r.call), &q->r.account, ei);
    if (rc < 0)
        return rc;
    body.batch_uid = q->r.batch_uid;
    body.station = q->r.station;
    body.now_ms = mm_clock_wall_ms();
    q->r.store.job.done = on_released;
    return mm_store_submit(q->r.app->store_queue, &q->r.store, &job, q->r.account,
                           MM_SCHED_INTERACTIVE, mm_store_units(&job),
                           mm_call_deadline_us(q->r.call), ei);
}

void mm_rpc_release_batch(struct mm_call *call, const ProtobufCMessage *request)
{
    static const struct mm_call_ops call_ops = {.on_cancel = release_cancelled};
    static const struct mm_report_ops ops = {.ready = release_ready, .over = release_over};
    const Mintmark__V1__ReleaseBatchRequest *m = (const Mintmark__V1__ReleaseBatchRequest *)request;
    struct releasing *q;
    struct mm_errinfo ei = {0};

    if (mm_check_uid("batch_uid", m->batch_uid, NULL, &ei) < 0) {
        mm_call_finish(call, &ei);
        return;
    }
    q = calloc(1, sizeof(*q));
    if (!q) {
        mm_fail_memory(&ei);
        mm_call_finish(call, &ei);
        return;
    }
    mm_report_init(&q->r, call, &ops, m->batch_uid);
    if (submit_release(q, &ei) < 0) {
        refuse_release(q, &ei);
        return;
    }
    q->r.store_runs = true;
    mm_call_set(call, &call_ops, q);
}

/* ---- GetReport --------------------------------------------------------------------------- */

int mm_report_check_client(const struct mm_call *call, const Mintmark__Internal__ReportFound *found,
                           struct mm_errinfo *ei)
{
    const struct mm_peer *peer = mm_call_peer(call);

    if ((peer->roles & (MM_ROLE_OFFICER | MM_ROLE_AUDITOR)) ||
        strcmp(peer->name, found->batch->station) == 0 ||
        strcmp(peer->name, found->released_by) == 0)
        return MM_OK;
    return mm_fail(ei, MM_ERR_PERMISSION, "BATCH_OF_OTHERS",
                   "batch %s was opened and released by others", found->batch->batch_uid);
}

static int get_found(struct mm_report *r, struct mm_errinfo *ei)
{
    return mm_report_check_client(r->call, r->found, ei);
}

static void get_over(struct mm_report *r, const struct mm_errinfo *ei)
{
    log_end(r, "report_sent", "report_not_sent", ei);
    if (r->call)
        mm_call_finish(r->call, ei);
    mm_report_done(r);
    free(r);
}

static void get_ready(struct mm_report *r)
{
    Mintmark__V1__GetReportResponse response = MINTMARK__V1__GET_REPORT_RESPONSE__INIT;
    Mintmark__V1__ReportInfo info = MINTMARK__V1__REPORT_INFO__INIT;
    struct mm_errinfo ei;
    int rc;

    response.info = &info;
    info.size = r->found->size;
    info.sha256 = r->found->sha256;
    info.signature = r->found->document;
    info.manifest = mm_manifest_wanted(r->app, r->found->batch->profile);
    rc = mm_call_send(r->call, &response.base);
    if (rc < 0 && rc != MM_ERR_AGAIN) {
        mm_fail(&ei, (enum mm_err)rc, "NOT_SENT", "the report could not be sent");
        get_over(r, &ei);
        return;
    }
    r->blocked = rc == MM_ERR_AGAIN;
    mm_report_send(r);
}

static void get_cancelled(struct mm_call *call, void *user)
{
    struct mm_report *r = user;

    (void)call;
    r->call = NULL;
    mm_report_abandon(r);
}

static void get_writable(struct mm_call *call, void *user)
{
    (void)call;
    mm_report_writable(user);
}

void mm_rpc_get_report(struct mm_call *call, const ProtobufCMessage *request)
{
    static const struct mm_call_ops call_ops = {.on_cancel = get_cancelled,
                                                .on_writable = get_writable};
    static const struct mm_report_ops ops = {
        .found = get_found, .ready = get_ready, .over = get_over};
    const Mintmark__V1__GetReportRequest *m = (const Mintmark__V1__GetReportRequest *)request;
    struct mm_app *app = mm_call_app(call);
    struct mm_account *account = NULL;
    struct mm_errinfo ei = {0};
    struct mm_report *r;
    int rc = mm_check_uid("batch_uid", m->batch_uid, NULL, &ei);

    if (rc == MM_OK)
        rc = mm_app_check_open(app, &ei);
    if (rc == MM_OK)
        rc = mm_app_admit(app, mm_call_peer(call), &account, &ei);
    r = rc == MM_OK ? calloc(1, sizeof(*r)) : NULL;
    if (!r) {
        if (rc == MM_OK)
            mm_fail_memory(&ei);
        mm_call_finish(call, &ei);
        return;
    }
    mm_report_init(r, call, &ops, m->batch_uid);
    r->account = account;
    mm_call_set(call, &call_ops, r);
    mm_report_begin(r);
}
