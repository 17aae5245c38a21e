/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GetManifest (docs/manifest.md): the store says what each object says, a page of devices at a
 * time, and hashes it; the token signs the page's hashes in one job, and the page is sent.
 *
 *   FINDING --> PAGING --> SIGNING --> PAGING … --> over
 */
#include "daemon/base/clock.h"
#include "daemon/base/json.h"
#include "daemon/front/job.h"
#include "daemon/front/service/report.h"
#include "daemon/front/validate.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE_UNITS = 64, SIGNATURE_BYTES = 64, TEXT_MAX = 4 * 1024 * 1024 };

struct manifest {
    struct mm_app *app;
    struct mm_call *call; /* NULL: nobody waits any more */
    struct mm_account *account;
    char client[MM_NAME_MAX + 1];
    char call_id[32];
    char batch_uid[MM_UID_LEN + 1];
    int64_t began_us;
    struct mm_store_job store;
    bool store_runs;
    struct mm_token_job token;
    Mintmark__Internal__SignDigests sign;
    struct mm_audit_name audit; /* whose key signs: the one that the piece names */
    ProtobufCBinaryData digests[MM_CHUNK_DEVICES];
    bool found;     /* else FINDING */
    uint8_t *chain; /* in force, as it is recorded with devices; NULL: none */
    size_t chain_len;
    Mintmark__Internal__ManifestPiece *piece; /* the page in hand */
    bool blocked;                             /* the client takes nothing for now */
    uint64_t sent;                            /* objects */
};

static void on_store(struct mm_job *job, const ProtobufCMessage *result,
                     const struct mm_errinfo *error);

/* ---- the end ----------------------------------------------------------------------------- */

static void drop_piece(struct manifest *m)
{
    if (m->piece)
        mintmark__internal__manifest_piece__free_unpacked(m->piece, NULL);
    m->piece = NULL;
}

static void end(struct manifest *m, const struct mm_errinfo *ei)
{
    mm_log(ei ? MM_LOG_WARNING : MM_LOG_INFO, ei ? "manifest_not_sent" : "manifest_sent",
           MM_STR("request", m->call_id), MM_STR("batch", m->batch_uid),
           MM_STR("station", m->client), MM_UINT("devices", m->sent),
           MM_INT("ms", (mm_clock_mono_us() - m->began_us) / 1000),
           MM_STR("reason", ei ? ei->reason : ""), MM_STR("text", ei ? ei->text : ""));
    if (m->call)
        mm_call_finish(m->call, ei);
    drop_piece(m);
    free(m->chain);
    free(m);
}

static void end_gone(struct manifest *m)
{
    struct mm_errinfo ei;

    mm_fail(&ei, MM_ERR_CANCELLED, "CANCELLED", "the client went away or its deadline passed");
    end(m, &ei);
}

static void on_cancel(struct mm_call *call, void *user)
{
    struct manifest *m = user;

    (void)call;
    m->call = NULL;
    if (m->store_runs && mm_store_cancel(m->app->store_queue, &m->store))
        m->store_runs = false;
    if (!m->store_runs && mm_token_job_cancel(&m->token))
        end_gone(m);
}

/* ---- asking the store -------------------------------------------------------------------- */

static int ask(struct manifest *m, Mintmark__Internal__StoreJob *job, uint32_t units,
               struct mm_errinfo *ei)
{
    int r = mm_app_check_store(m->app, ei);

    m->store = (struct mm_store_job){.job.done = on_store};
    if (r == MM_OK)
        r = mm_store_submit(m->app->store_queue, &m->store, job, m->account, MM_SCHED_BULK, units,
                            mm_call_deadline_us(m->call), ei);
    m->store_runs = r == MM_OK;
    return r;
}

static int ask_find(struct manifest *m, struct mm_errinfo *ei)
{
    Mintmark__Internal__GetReport body = MINTMARK__INTERNAL__GET_REPORT__INIT;
    Mintmark__Internal__StoreJob job = MM_STORE_JOB(GET_REPORT, get_report, &body);

    body.batch_uid = m->batch_uid;
    return ask(m, &job, 1, ei);
}

static int ask_page(struct manifest *m, Mintmark__Internal__ReportPlace *place,
                    struct mm_errinfo *ei)
{
    Mintmark__Internal__ManifestPage body = MINTMARK__INTERNAL__MANIFEST_PAGE__INIT;
    Mintmark__Internal__StoreJob job = MM_STORE_JOB(MANIFEST_PAGE, manifest_page, &body);

    body.batch_uid = m->batch_uid;
    body.place = place;
    body.chain = (ProtobufCBinaryData){m->chain_len, m->chain};
    return ask(m, &job, PAGE_UNITS, ei);
}

/* ---- sending ----------------------------------------------------------------------------- */

static void put_object(struct mm_buf *b, const Mintmark__Internal__ManifestPiece *piece, size_t i,
                       const ProtobufCBinaryData *signature)
{
    mm_buf_printf(b, "{\"payload\":\"%s\",\"protected\":\"%s\",\"header\":{\"uniqueId\":",
                  piece->entries[i]->payload, piece->protected_);
    mm_json_string(b, piece->entries[i]->unique_id);
    mm_buf_append_str(b, "},\"signature\":\"");
    mm_json_base64url(b, (struct mm_bytes){signature->data, signature->len});
    mm_buf_append_str(b, "\"}");
}

static int give(struct manifest *m, const struct mm_buf *text, struct mm_errinfo *ei)
{
    Mintmark__V1__GetManifestResponse response = MINTMARK__V1__GET_MANIFEST_RESPONSE__INIT;
    int r;

    if (mm_buf_err(text) < 0)
        return mm_fail_memory(ei);
    response.data = (ProtobufCBinaryData){text->len, text->data};
    r = mm_call_send(m->call, &response.base);
    m->blocked = r == MM_ERR_AGAIN;
    if (r < 0 && !m->blocked)
        return mm_fail(ei, (enum mm_err)r, "NOT_SENT", "a page of the manifest could not be sent");
    return MM_OK;
}

/* The page in hand, signed. */
static int give_page(struct manifest *m, const Mintmark__Internal__SignedDigests *made,
                     struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf text = MM_BUF_INIT(TEXT_MAX);

    if (made->n_signatures != m->piece->n_entries)
        return mm_fail(ei, MM_ERR_INTERNAL, "TOKEN_ANSWER", "the worker gave other signatures");
    for (size_t i = 0; i < m->piece->n_entries; i++) {
        mm_buf_append_str(&text, m->sent++ ? ",\n" : "[\n");
        put_object(&text, m->piece, i, &made->signatures[i]);
    }
    return give(m, &text, ei);
}

static int give_last(struct manifest *m, struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf text = MM_BUF_INIT(8);
    int r;

    mm_buf_append_str(&text, m->sent ? "\n]\n" : "[\n]\n");
    r = give(m, &text, ei);
    if (r == MM_OK)
        end(m, NULL);
    return r;
}

/* The next page, or what comes after the last. */
static int go_on(struct manifest *m, struct mm_errinfo *ei)
{
    if (m->blocked)
        return MM_OK;
    return m->piece->next ? ask_page(m, m->piece->next, ei) : give_last(m, ei);
}

static void on_writable(struct mm_call *call, void *user)
{
    struct manifest *m = user;
    struct mm_errinfo ei = {0};

    (void)call;
    if (!m->blocked)
        return;
    m->blocked = false;
    if (!m->store_runs && go_on(m, &ei) < 0)
        end(m, &ei);
}

/* ---- SIGNING ----------------------------------------------------------------------------- */

static void on_signed(struct mm_token_job *t, const Mintmark__Internal__TokenResult *made,
                      const struct mm_errinfo *error)
{
    struct manifest *m = (struct manifest *)((char *)t - offsetof(struct manifest, token));
    struct mm_errinfo ei = {0};

    if (!m->call)
        end_gone(m);
    else if (error)
        end(m, error);
    else if (made->result_case != MINTMARK__INTERNAL__TOKEN_RESULT__RESULT_SIGNED_DIGESTS) {
        mm_fail(&ei, MM_ERR_INTERNAL, "TOKEN_ANSWER", "the worker gave another kind of answer");
        end(m, &ei);
    } else if (give_page(m, made->signed_digests, &ei) < 0 || go_on(m, &ei) < 0) {
        end(m, &ei);
    }
}

static int sign(struct manifest *m, struct mm_errinfo *ei)
{
    mintmark__internal__token_job__init(&m->token.message);
    mintmark__internal__sign_digests__init(&m->sign);
    for (size_t i = 0; i < m->piece->n_entries; i++)
        m->digests[i] = m->piece->entries[i]->sha256;
    m->sign.proof = m->piece->proof;
    m->sign.digests = m->digests;
    m->sign.n_digests = m->piece->n_entries;
    m->audit = m->app->anchoring.audit;
    m->sign.by = mm_audit_name_message(&m->audit);
    m->token.message.job_case = MINTMARK__INTERNAL__TOKEN_JOB__JOB_SIGN_DIGESTS;
    m->token.message.sign_digests = &m->sign;
    m->token.units = (uint32_t)m->piece->n_entries;
    m->token.done = on_signed;
    return mm_token_job_begin(&m->token, m->app, m->client, m->app->conf->appliance.token,
                              "job:manifest", ei);
}

/* ---- FINDING and PAGING ------------------------------------------------------------------ */

bool mm_manifest_wanted(const struct mm_app *app, const char *profile)
{
    const struct mm_conf_profile *conf = mm_conf_profile_get(app->conf, profile);

    return conf && strcmp(conf->manifest, "jws") == 0;
}

/* What devices of the profile are issued under now: for those that none is recorded with. */
static int take_chain(struct manifest *m, const char *profile, struct mm_errinfo *ei)
{
    const struct mm_conf_profile *conf = mm_conf_profile_get(m->app->conf, profile);
    struct mm_mint *mint = mm_mint_get(m->app->mints, conf->token);
    struct mm_shared *shared = mint ? mm_mint_shared(mint, profile) : NULL;
    int r = MM_OK;

    if (!shared)
        return MM_OK;
    if (shared->chain_len > 0) {
        m->chain_len = shared->chain_len;
        m->chain = malloc(m->chain_len);
        if (m->chain)
            memcpy(m->chain, shared->chain, m->chain_len);
        else
            r = mm_fail_memory(ei);
    }
    mm_shared_unref(shared);
    return r;
}

static int take_found(struct manifest *m, const Mintmark__Internal__ReportFound *found,
                      struct mm_errinfo *ei)
{
    int r = mm_report_check_client(m->call, found, ei);

    m->found = true;
    if (r == MM_OK && !mm_manifest_wanted(m->app, found->batch->profile))
        r = mm_fail(ei, MM_ERR_PRECONDITION, "NO_MANIFEST", "profile %s has no manifest",
                    found->batch->profile);
    if (r == MM_OK)
        r = take_chain(m, found->batch->profile, ei);
    return r < 0 ? r : ask_page(m, NULL, ei);
}

static int take_piece(struct manifest *m, const Mintmark__Internal__ManifestPiece *piece,
                      struct mm_errinfo *ei)
{
    drop_piece(m);
    if (piece->n_entries > MM_CHUNK_DEVICES)
        return mm_fail(ei, MM_ERR_INTERNAL, "STORE_ANSWER", "the store gave too many devices");
    m->piece = mm_message_dup(&piece->base);
    if (!m->piece)
        return mm_fail_memory(ei);
    return m->piece->n_entries > 0 ? sign(m, ei) : go_on(m, ei);
}

static int take_answer(struct manifest *m, const Mintmark__Internal__StoreResult *result,
                       struct mm_errinfo *ei)
{
    if (!m->found && result->result_case == MINTMARK__INTERNAL__STORE_RESULT__RESULT_REPORT_FOUND)
        return take_found(m, result->report_found, ei);
    if (m->found && result->result_case == MINTMARK__INTERNAL__STORE_RESULT__RESULT_MANIFEST_PIECE)
        return take_piece(m, result->manifest_piece, ei);
    return mm_fail(ei, MM_ERR_INTERNAL, "STORE_ANSWER", "the store gave another kind of answer");
}

static void on_store(struct mm_job *job, const ProtobufCMessage *result,
                     const struct mm_errinfo *error)
{
    struct manifest *m = (struct manifest *)((char *)job - offsetof(struct manifest, store.job));
    struct mm_errinfo ei = {0};

    m->store_runs = false;
    if (!m->call)
        end_gone(m);
    else if (error)
        end(m, error);
    else if (take_answer(m, (const Mintmark__Internal__StoreResult *)result, &ei) < 0)
        end(m, &ei);
}

/* ---- receive ----------------------------------------------------------------------------- */

static int check(const struct mm_app *app, const struct mm_peer *peer, const char *batch_uid,
                 struct mm_account **ret_account, struct mm_errinfo *ei)
{
    int r = mm_check_uid("batch_uid", batch_uid, NULL, ei);

    if (r == MM_OK)
        r = mm_app_check_open(app, ei);
    return r < 0 ? r : mm_app_admit(app, peer, ret_account, ei);
}

void mm_rpc_get_manifest(struct mm_call *call, const ProtobufCMessage *request)
{
    static const struct mm_call_ops call_ops = {.on_cancel = on_cancel, .on_writable = on_writable};
    const Mintmark__V1__GetManifestRequest *q = (const Mintmark__V1__GetManifestRequest *)request;
    struct mm_app *app = mm_call_app(call);
    struct mm_account *account = NULL;
    struct mm_errinfo ei = {0};
    struct manifest *m;
    int r = check(app, mm_call_peer(call), q->batch_uid, &account, &ei);

    m = r == MM_OK ? calloc(1, sizeof(*m)) : NULL;
    if (!m) {
        if (r == MM_OK)
            mm_fail_memory(&ei);
        mm_call_finish(call, &ei);
        return;
    }
    m->app = app;
    m->call = call;
    m->account = account;
    m->began_us = mm_clock_mono_us();
    snprintf(m->client, sizeof(m->client), "%s", mm_call_peer(call)->name);
    snprintf(m->call_id, sizeof(m->call_id), "%s", mm_call_id(call));
    snprintf(m->batch_uid, sizeof(m->batch_uid), "%s", q->batch_uid);
    mm_call_set(call, &call_ops, m);
    if (ask_find(m, &ei) < 0)
        end(m, &ei);
}
