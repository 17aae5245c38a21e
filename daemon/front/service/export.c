/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ExportLedger (docs/export.md): begun by the store, which says where it ends; streamed in pieces
 * of whole items, which the store hashes; ended by a statement of the store that the token signs.
 *
 *   BEGINNING --> STREAMING (piece by piece) --> SIGNING --> over
 */
#include "daemon/base/clock.h"
#include "daemon/front/job.h"
#include "daemon/front/service/service.h"
#include "daemon/front/service/token_job.h"
#include "mintmark/v1/account.pb-c.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

enum { PAGE_UNITS = 256 };

struct export
{
    struct mm_app *app;
    struct mm_call *call; /* NULL: nobody waits any more */
    struct mm_account *account;
    char client[MM_NAME_MAX + 1];
    char call_id[32];
    int64_t began_us;
    struct mm_store_job store;
    bool store_runs;
    struct mm_token_job token;
    Mintmark__Internal__SignDocument sign;
    struct mm_audit_name audit;             /* whose key was in force at the last record */
    bool blocked;                           /* the client takes nothing for now */
    Mintmark__Internal__ExportBegun *begun; /* NULL: BEGINNING */
    Mintmark__Internal__ExportPiece *end;   /* the last piece, without its items */
    uint64_t last;                          /* record that has been sent */
    uint64_t records, devices, bytes;
};

static void on_store(struct mm_job *job, const ProtobufCMessage *result,
                     const struct mm_errinfo *error);

/* ---- the end ----------------------------------------------------------------------------- */

static void end(struct export *e, const struct mm_errinfo *ei)
{
    mm_log(ei ? MM_LOG_WARNING : MM_LOG_INFO, ei ? "export_ended" : "export_done",
           MM_STR("request", e->call_id), MM_STR("client", e->client),
           MM_UINT("records", e->records), MM_UINT("devices", e->devices),
           MM_UINT("bytes", e->bytes), MM_INT("ms", (mm_clock_mono_us() - e->began_us) / 1000),
           MM_STR("reason", ei ? ei->reason : ""), MM_STR("text", ei ? ei->text : ""));
    if (e->call)
        mm_call_finish(e->call, ei);
    if (e->begun)
        mintmark__internal__export_begun__free_unpacked(e->begun, NULL);
    if (e->end)
        mintmark__internal__export_piece__free_unpacked(e->end, NULL);
    free(e);
}

static void end_gone(struct export *e)
{
    struct mm_errinfo ei;

    mm_fail(&ei, MM_ERR_CANCELLED, "CANCELLED", "the client went away or its deadline passed");
    end(e, &ei);
}

static void on_cancel(struct mm_call *call, void *user)
{
    struct export *e = user;

    (void)call;
    e->call = NULL;
    if (e->store_runs && mm_store_cancel(e->app->store_queue, &e->store))
        e->store_runs = false;
    if (!e->store_runs && mm_token_job_cancel(&e->token))
        end_gone(e);
}

/* ---- sending ----------------------------------------------------------------------------- */

static int give(struct export *e, ProtobufCBinaryData data, struct mm_errinfo *ei)
{
    Mintmark__V1__ExportLedgerResponse response = MINTMARK__V1__EXPORT_LEDGER_RESPONSE__INIT;
    int r;

    response.data = data;
    r = mm_call_send(e->call, &response.base);
    e->blocked = r == MM_ERR_AGAIN;
    if (r < 0 && !e->blocked)
        return mm_fail(ei, (enum mm_err)r, "NOT_SENT", "a piece of the export could not be sent");
    e->bytes += data.len;
    return MM_OK;
}

/* ---- SIGNING ----------------------------------------------------------------------------- */

static int give_end(struct export *e, ProtobufCBinaryData document, struct mm_errinfo *ei)
{
    Mintmark__V1__LedgerExportItem item = MINTMARK__V1__LEDGER_EXPORT_ITEM__INIT;
    MM_BUF_CLEANUP struct mm_buf data = MM_BUF_INIT(2 * MM_DOCUMENT_MAX);
    size_t len;
    uint8_t *room;

    item.item_case = MINTMARK__V1__LEDGER_EXPORT_ITEM__ITEM_END;
    item.end = document;
    len = mintmark__v1__ledger_export_item__get_packed_size(&item);
    mm_buf_append_be32(&data, (uint32_t)len);
    room = mm_buf_reserve(&data, len);
    if (!room)
        return mm_fail_memory(ei);
    mm_buf_grew(&data, mintmark__v1__ledger_export_item__pack(&item, room));
    return give(e, (ProtobufCBinaryData){data.len, data.data}, ei);
}

static void on_signed(struct mm_token_job *t, const Mintmark__Internal__TokenResult *made,
                      const struct mm_errinfo *error)
{
    struct export *e = (struct export *)((char *)t - offsetof(struct export, token));
    struct mm_errinfo ei = {0};

    if (!e->call)
        end_gone(e);
    else if (error)
        end(e, error);
    else if (made->result_case != MINTMARK__INTERNAL__TOKEN_RESULT__RESULT_SIGNED_CONTENT) {
        mm_fail(&ei, MM_ERR_INTERNAL, "TOKEN_ANSWER", "the worker gave another kind of answer");
        end(e, &ei);
    } else {
        end(e, give_end(e, made->signed_content->document, &ei) < 0 ? &ei : NULL);
    }
}

static int sign(struct export *e, struct mm_errinfo *ei)
{
    if (!e->end)
        return mm_fail(ei, MM_ERR_INTERNAL, "STORE_ANSWER", "the store gave no statement");
    mintmark__internal__token_job__init(&e->token.message);
    mintmark__internal__sign_document__init(&e->sign);
    e->sign.content = e->end->statement;
    e->sign.proof = e->end->proof;
    e->token.message.job_case = MINTMARK__INTERNAL__TOKEN_JOB__JOB_SIGN_DOCUMENT;
    e->token.message.sign_document = &e->sign;
    e->sign.by = mm_audit_name_message(&e->audit);
    e->token.units = 1;
    e->token.done = on_signed;
    return mm_token_job_begin(&e->token, e->app, e->client, e->app->conf->appliance.token,
                              "job:export", ei);
}

/* ---- BEGINNING and STREAMING ------------------------------------------------------------- */

static int ask(struct export *e, Mintmark__Internal__StoreJob *job, uint32_t units,
               struct mm_errinfo *ei)
{
    int r = mm_app_check_store(e->app, ei);

    e->store = (struct mm_store_job){.job.done = on_store};
    if (r == MM_OK)
        r = mm_store_submit(e->app->store_queue, &e->store, job, e->account, MM_SCHED_BULK, units,
                            mm_call_deadline_us(e->call), ei);
    e->store_runs = r == MM_OK;
    return r;
}

static int ask_begin(struct export *e, uint64_t first, struct mm_errinfo *ei)
{
    Mintmark__Internal__BeginExport body = MINTMARK__INTERNAL__BEGIN_EXPORT__INIT;
    Mintmark__Internal__StoreJob job = MM_STORE_JOB(BEGIN_EXPORT, begin_export, &body);

    body.first_sequence = first;
    body.now_ms = mm_clock_wall_ms();
    body.by = e->client;
    return ask(e, &job, 1, ei);
}

/* The next piece, or what comes after the last. */
static int go_on(struct export *e, struct mm_errinfo *ei)
{
    Mintmark__Internal__ExportPage body = MINTMARK__INTERNAL__EXPORT_PAGE__INIT;
    Mintmark__Internal__StoreJob job = MM_STORE_JOB(EXPORT_PAGE, export_page, &body);

    if (e->blocked)
        return MM_OK;
    if (e->last == e->begun->last_sequence)
        return sign(e, ei);
    body.after = e->last;
    body.last = e->begun->last_sequence;
    body.tally = e->begun->tally;
    return ask(e, &job, PAGE_UNITS, ei);
}

static int take_begun(struct export *e, const Mintmark__Internal__ExportBegun *begun,
                      struct mm_errinfo *ei)
{
    int r;

    e->begun = mm_message_dup(&begun->base);
    if (!e->begun)
        return mm_fail_memory(ei);
    e->last = begun->first_sequence - 1;
    e->audit = e->app->anchoring.audit;
    r = give(e, begun->data, ei);
    return r < 0 ? r : go_on(e, ei);
}

static int take_piece(struct export *e, const Mintmark__Internal__ExportPiece *piece,
                      struct mm_errinfo *ei)
{
    int r;

    if (piece->last <= e->last || piece->last > e->begun->last_sequence)
        return mm_fail(ei, MM_ERR_INTERNAL, "STORE_ANSWER", "the store gave other records");
    e->last = piece->last;
    e->records += piece->records;
    e->devices += piece->devices;
    if (piece->statement.len > 0) {
        Mintmark__Internal__ExportPiece statement = *piece;

        statement.data = (ProtobufCBinaryData){0, NULL};
        e->end = mm_message_dup(&statement.base);
        if (!e->end)
            return mm_fail_memory(ei);
    }
    r = give(e, piece->data, ei);
    return r < 0 ? r : go_on(e, ei);
}

static int take_answer(struct export *e, const Mintmark__Internal__StoreResult *result,
                       struct mm_errinfo *ei)
{
    if (!e->begun && result->result_case == MINTMARK__INTERNAL__STORE_RESULT__RESULT_EXPORT_BEGUN)
        return take_begun(e, result->export_begun, ei);
    if (e->begun && result->result_case == MINTMARK__INTERNAL__STORE_RESULT__RESULT_EXPORT_PIECE)
        return take_piece(e, result->export_piece, ei);
    return mm_fail(ei, MM_ERR_INTERNAL, "STORE_ANSWER", "the store gave another kind of answer");
}

static void on_store(struct mm_job *job, const ProtobufCMessage *result,
                     const struct mm_errinfo *error)
{
    struct export *e = (struct export *)((char *)job - offsetof(struct export, store.job));
    struct mm_errinfo ei = {0};

    e->store_runs = false;
    if (!e->call)
        end_gone(e);
    else if (error)
        end(e, error);
    else if (take_answer(e, (const Mintmark__Internal__StoreResult *)result, &ei) < 0)
        end(e, &ei);
}

static void on_writable(struct mm_call *call, void *user)
{
    struct export *e = user;
    struct mm_errinfo ei = {0};

    (void)call;
    if (!e->blocked)
        return;
    e->blocked = false;
    if (!e->store_runs && go_on(e, &ei) < 0)
        end(e, &ei);
}

/* ---- receive ----------------------------------------------------------------------------- */

static int check(struct mm_app *app, const struct mm_peer *peer, struct mm_account **ret_account,
                 struct mm_errinfo *ei)
{
    int r = mm_app_check_open(app, ei);

    if (r == MM_OK && !app->conf->appliance.given)
        r = mm_fail(ei, MM_ERR_PRECONDITION, "NO_IDENTITY",
                    "this appliance has no audit key: the configuration has no section appliance");
    return r < 0 ? r : mm_app_admit(app, peer, ret_account, ei);
}

static struct export *new_export(struct mm_call *call, struct mm_account *account)
{
    struct export *e = calloc(1, sizeof(*e));

    if (!e)
        return NULL;
    e->app = mm_call_app(call);
    e->call = call;
    e->account = account;
    e->began_us = mm_clock_mono_us();
    snprintf(e->client, sizeof(e->client), "%s", mm_call_peer(call)->name);
    snprintf(e->call_id, sizeof(e->call_id), "%s", mm_call_id(call));
    return e;
}

void mm_rpc_export_ledger(struct mm_call *call, const ProtobufCMessage *request)
{
    static const struct mm_call_ops call_ops = {.on_cancel = on_cancel, .on_writable = on_writable};
    const Mintmark__V1__ExportLedgerRequest *m = (const Mintmark__V1__ExportLedgerRequest *)request;
    struct mm_account *account = NULL;
    struct mm_errinfo ei = {0};
    struct export *e;
    int r = check(mm_call_app(call), mm_call_peer(call), &account, &ei);

    e = r == MM_OK ? new_export(call, account) : NULL;
    if (!e) {
        if (r == MM_OK)
            mm_fail_memory(&ei);
        mm_call_finish(call, &ei);
        return;
    }
    mm_call_set(call, &call_ops, e);
    if (ask_begin(e, m->first_sequence, &ei) < 0)
        end(e, &ei);
}
