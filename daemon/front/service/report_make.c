/* SPDX-License-Identifier: Apache-2.0 */
/* The stages of a production report; see report.h. */
#include "daemon/base/clock.h"
#include "daemon/front/job.h"
#include "daemon/front/service/report.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum { PAGE_UNITS = 256 }; /* about the rows of a piece */

static void on_store(struct mm_job *job, const ProtobufCMessage *result,
                     const struct mm_errinfo *error);

static void drop_place(struct mm_report *r)
{
    if (r->place)
        mintmark__internal__report_place__free_unpacked(r->place, NULL);
    r->place = NULL;
}

static void drop_found(struct mm_report *r)
{
    if (r->found)
        mintmark__internal__report_found__free_unpacked(r->found, NULL);
    r->found = NULL;
}

void mm_report_init(struct mm_report *r, struct mm_call *call, const struct mm_report_ops *ops,
                    const char *batch_uid)
{
    r->app = mm_call_app(call);
    r->call = call;
    r->ops = ops;
    r->began_us = mm_clock_mono_us();
    snprintf(r->station, sizeof(r->station), "%s", mm_call_peer(call)->name);
    snprintf(r->call_id, sizeof(r->call_id), "%s", mm_call_id(call));
    snprintf(r->batch_uid, sizeof(r->batch_uid), "%s", batch_uid);
}

void mm_report_done(struct mm_report *r)
{
    drop_place(r);
    drop_found(r);
    EVP_MD_CTX_free(r->digest);
    r->digest = NULL;
}

/* ---- the end ----------------------------------------------------------------------------- */

static void end(struct mm_report *r, const struct mm_errinfo *ei)
{
    r->ops->over(r, ei);
}

static void end_gone(struct mm_report *r)
{
    struct mm_errinfo ei;

    mm_fail(&ei, MM_ERR_CANCELLED, "CANCELLED", "the client went away or its deadline passed");
    end(r, &ei);
}

void mm_report_abandon(struct mm_report *r)
{
    r->gone = true;
    if (r->store_runs && mm_store_cancel(r->app->store_queue, &r->store))
        r->store_runs = false;
    if (!r->store_runs && mm_token_job_cancel(&r->token))
        end_gone(r);
}

/* ---- asking the store -------------------------------------------------------------------- */

static int ask(struct mm_report *r, Mintmark__Internal__StoreJob *job, enum mm_sched_class class,
               uint32_t units, struct mm_errinfo *ei)
{
    int rc = mm_app_check_store(r->app, ei);

    r->store = (struct mm_store_job){.job.done = on_store};
    if (rc == MM_OK)
        rc = mm_store_submit(r->app->store_queue, &r->store, job, r->account, class, units,
                             r->call ? mm_call_deadline_us(r->call) : INT64_MAX, ei);
    r->store_runs = rc == MM_OK;
    return rc;
}

static int ask_find(struct mm_report *r, struct mm_errinfo *ei)
{
    Mintmark__Internal__GetReport body = MINTMARK__INTERNAL__GET_REPORT__INIT;
    Mintmark__Internal__StoreJob job = MM_STORE_JOB(GET_REPORT, get_report, &body);

    r->stage = MM_REPORT_FINDING;
    body.batch_uid = r->batch_uid;
    return ask(r, &job, MM_SCHED_INTERACTIVE, 1, ei);
}

static int ask_piece(struct mm_report *r, struct mm_errinfo *ei)
{
    Mintmark__Internal__ReportPage body = MINTMARK__INTERNAL__REPORT_PAGE__INIT;
    Mintmark__Internal__StoreJob job = MM_STORE_JOB(REPORT_PAGE, report_page, &body);

    body.batch_uid = r->batch_uid;
    body.place = r->place;
    body.hash = r->stage == MM_REPORT_HASHING;
    body.tally = r->tally;
    return ask(r, &job, MM_SCHED_BULK, PAGE_UNITS, ei);
}

static int ask_add(struct mm_report *r, ProtobufCBinaryData document, struct mm_errinfo *ei)
{
    Mintmark__Internal__AddReport body = MINTMARK__INTERNAL__ADD_REPORT__INIT;
    Mintmark__Internal__StoreJob job = MM_STORE_JOB(ADD_REPORT, add_report, &body);

    r->stage = MM_REPORT_ADDING;
    body.batch_uid = r->batch_uid;
    body.sha256 = (ProtobufCBinaryData){sizeof(r->sha256), r->sha256};
    body.size = r->size;
    body.document = document;
    return ask(r, &job, MM_SCHED_INTERACTIVE, 1, ei);
}

/* ---- SIGNING ----------------------------------------------------------------------------- */

static void on_signed(struct mm_token_job *t, const Mintmark__Internal__TokenResult *made,
                      const struct mm_errinfo *error)
{
    struct mm_report *r = (struct mm_report *)((char *)t - offsetof(struct mm_report, token));
    struct mm_errinfo ei = {0};

    if (r->gone)
        end_gone(r);
    else if (error)
        end(r, error);
    else if (made->result_case != MINTMARK__INTERNAL__TOKEN_RESULT__RESULT_SIGNED_CONTENT) {
        mm_fail(&ei, MM_ERR_INTERNAL, "TOKEN_ANSWER", "the worker gave another kind of answer");
        end(r, &ei);
    } else if (ask_add(r, made->signed_content->document, &ei) < 0) {
        end(r, &ei);
    }
}

static int sign(struct mm_report *r, struct mm_errinfo *ei)
{
    r->stage = MM_REPORT_SIGNING;
    mintmark__internal__token_job__init(&r->token.message);
    mintmark__internal__sign_document__init(&r->sign);
    r->token.message.job_case = MINTMARK__INTERNAL__TOKEN_JOB__JOB_SIGN_DOCUMENT;
    r->token.message.sign_document = &r->sign;
    r->token.units = 1;
    r->token.done = on_signed;
    r->sign.digest = (ProtobufCBinaryData){sizeof(r->sha256), r->sha256};
    r->sign.proof = (ProtobufCBinaryData){sizeof(r->proof), r->proof};
    r->audit = r->app->anchoring.audit;
    r->sign.by = mm_audit_name_message(&r->audit);
    return mm_token_job_begin(&r->token, r->app, r->station, r->app->conf->appliance.token,
                              "job:report", ei);
}

/* ---- HASHING and SENDING ----------------------------------------------------------------- */

static int finish_bytes(struct mm_report *r, struct mm_errinfo *ei);

/* The next piece, or what comes after the last. */
static int go_on(struct mm_report *r, struct mm_errinfo *ei)
{
    if (r->blocked)
        return MM_OK;
    return r->last ? finish_bytes(r, ei) : ask_piece(r, ei);
}

static int begin_bytes(struct mm_report *r, struct mm_errinfo *ei)
{
    drop_place(r);
    r->last = false;
    r->size = r->tally = 0;
    if (!r->digest)
        r->digest = EVP_MD_CTX_new();
    if (!r->digest || EVP_DigestInit_ex2(r->digest, EVP_sha256(), NULL) != 1)
        return mm_fail_memory(ei);
    return go_on(r, ei);
}

static int give(struct mm_report *r, const ProtobufCBinaryData *data, struct mm_errinfo *ei)
{
    Mintmark__V1__GetReportResponse response = MINTMARK__V1__GET_REPORT_RESPONSE__INIT;
    int rc;

    response.data = *data;
    rc = mm_call_send(r->call, &response.base);
    r->blocked = rc == MM_ERR_AGAIN;
    if (rc < 0 && !r->blocked)
        return mm_fail(ei, (enum mm_err)rc, "NOT_SENT", "a piece of the report could not be sent");
    return MM_OK;
}

static int finish_bytes(struct mm_report *r, struct mm_errinfo *ei)
{
    const ProtobufCBinaryData *was = &r->found->sha256;

    if (r->stage == MM_REPORT_HASHING)
        return sign(r, ei);
    if (EVP_DigestFinal_ex(r->digest, r->sha256, NULL) != 1)
        return mm_fail_memory(ei);
    if (was->len != sizeof(r->sha256) || memcmp(was->data, r->sha256, sizeof(r->sha256)) != 0)
        return mm_fail(ei, MM_ERR_CORRUPT, "REPORT_CHANGED",
                       "the database does not say any more what was signed of batch %s",
                       r->batch_uid);
    end(r, NULL);
    return MM_OK;
}

/* HASHING: nothing but where the store is with it, and in the end what it found. */
static int take_hashed(struct mm_report *r, const Mintmark__Internal__ReportPiece *piece,
                       struct mm_errinfo *ei)
{
    r->tally = piece->tally;
    r->last = piece->tally == 0;
    if (!r->last)
        return go_on(r, ei);
    if (piece->sha256.len != sizeof(r->sha256) || piece->proof.len != sizeof(r->proof))
        return mm_fail(ei, MM_ERR_INTERNAL, "STORE_ANSWER", "the store gave no proof to sign by");
    memcpy(r->sha256, piece->sha256.data, sizeof(r->sha256));
    memcpy(r->proof, piece->proof.data, sizeof(r->proof));
    r->size = piece->size;
    return go_on(r, ei);
}

static int take_piece(struct mm_report *r, const Mintmark__Internal__ReportPiece *piece,
                      struct mm_errinfo *ei)
{
    int rc;

    if (r->stage == MM_REPORT_HASHING)
        return take_hashed(r, piece, ei);
    if (EVP_DigestUpdate(r->digest, piece->data.data, piece->data.len) != 1)
        return mm_fail_memory(ei);
    r->size += piece->data.len;
    drop_place(r);
    r->last = !piece->next;
    if (piece->next) {
        r->place = mm_message_dup(&piece->next->base);
        if (!r->place)
            return mm_fail_memory(ei);
    }
    rc = give(r, &piece->data, ei);
    return rc < 0 ? rc : go_on(r, ei);
}

void mm_report_send(struct mm_report *r)
{
    struct mm_errinfo ei = {0};

    r->stage = MM_REPORT_SENDING;
    if (begin_bytes(r, &ei) < 0)
        end(r, &ei);
}

void mm_report_writable(struct mm_report *r)
{
    struct mm_errinfo ei = {0};

    if (!r->blocked)
        return;
    r->blocked = false;
    if (!r->store_runs && go_on(r, &ei) < 0)
        end(r, &ei);
}

/* ---- FINDING and what the store says ----------------------------------------------------- */

static int check_signer(const struct mm_report *r, struct mm_errinfo *ei)
{
    if (r->app->conf->appliance.given)
        return MM_OK;
    return mm_fail(ei, MM_ERR_PRECONDITION, "NO_IDENTITY",
                   "this appliance has no audit key: the configuration has no section appliance");
}

static int take_found(struct mm_report *r, const Mintmark__Internal__ReportFound *found,
                      struct mm_errinfo *ei)
{
    const bool first = r->stage == MM_REPORT_FINDING;
    int rc;

    drop_found(r);
    r->found = mm_message_dup(&found->base);
    if (!r->found)
        return mm_fail_memory(ei);
    rc = first && r->ops->found ? r->ops->found(r, ei) : MM_OK;
    if (rc < 0)
        return rc;
    if (found->document.len > 0) {
        r->stage = MM_REPORT_READY;
        r->ops->ready(r);
        return MM_OK;
    }
    rc = check_signer(r, ei);
    if (rc < 0)
        return rc;
    r->stage = MM_REPORT_HASHING;
    return begin_bytes(r, ei);
}

static int take_answer(struct mm_report *r, const Mintmark__Internal__StoreResult *result,
                       struct mm_errinfo *ei)
{
    const bool piece = r->stage == MM_REPORT_HASHING || r->stage == MM_REPORT_SENDING;

    if (piece && result->result_case == MINTMARK__INTERNAL__STORE_RESULT__RESULT_REPORT_PIECE)
        return take_piece(r, result->report_piece, ei);
    if (!piece && result->result_case == MINTMARK__INTERNAL__STORE_RESULT__RESULT_REPORT_FOUND)
        return take_found(r, result->report_found, ei);
    return mm_fail(ei, MM_ERR_INTERNAL, "STORE_ANSWER", "the store gave another kind of answer");
}

static void on_store(struct mm_job *job, const ProtobufCMessage *result,
                     const struct mm_errinfo *error)
{
    struct mm_report *r = (struct mm_report *)((char *)job - offsetof(struct mm_report, store.job));
    struct mm_errinfo ei = {0};

    r->store_runs = false;
    if (r->gone)
        end_gone(r);
    else if (error)
        end(r, error);
    else if (take_answer(r, (const Mintmark__Internal__StoreResult *)result, &ei) < 0)
        end(r, &ei);
}

void mm_report_begin(struct mm_report *r)
{
    struct mm_errinfo ei = {0};

    if (ask_find(r, &ei) < 0)
        end(r, &ei);
}
