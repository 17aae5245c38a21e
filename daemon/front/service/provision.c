/* SPDX-License-Identifier: Apache-2.0 */
/* Provision as its stages; see provision.h. */
#include "daemon/front/service/provision.h"

#include "daemon/base/clock.h"
#include "daemon/front/service/service.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void find(struct mm_provision *p);
static void replay(struct mm_provision *p);
static void admit(struct mm_provision *p);

/* ---- the end ----------------------------------------------------------------------------- */

static void log_end(const struct mm_provision *p, const struct mm_errinfo *ei)
{
    const bool ok = !ei || ei->code == MM_OK;

    mm_log(ok ? MM_LOG_INFO : MM_LOG_WARNING, ok ? "provision_done" : "provision_ended",
           MM_STR("request", p->call_id), MM_STR("station", p->station),
           MM_STR("request_id", p->args.request_id), MM_STR("batch", p->args.batch_uid),
           MM_UINT("count", p->args.count), MM_UINT("recorded_before", p->recorded),
           MM_UINT("sent", p->sent), MM_INT("ms", (mm_clock_mono_us() - p->began_us) / 1000),
           MM_STR("reason", ok ? "" : ei->reason), MM_STR("text", ok ? "" : ei->text));
}

static void destroy(struct mm_provision *p)
{
    mm_shared_unref(p->shared);
    mm_provision_args_done(&p->args);
    free(p);
}

/* From a list of waiting ones: it has not begun, so there is nothing to undo. */
static void stop_waiting(struct mm_provision *p)
{
    p->waits_for->successor = NULL;
    destroy(p);
}

void mm_provision_collect(struct mm_provision *p)
{
    struct mm_provision *successor = p->successor;

    if (p->stage != MM_PROVISION_OVER || p->running > 0 || p->job_runs)
        return;
    LIST_REMOVE(p, link);
    mm_view_release(p->app->view, &p->reservation, p->reservation.n);
    mm_mint_leave(&p->flow);
    destroy(p);
    if (!successor)
        return;
    successor->waits_for = NULL;
    LIST_INSERT_HEAD(&successor->app->provisions, successor, link);
    find(successor);
}

/* The call has ended. */
static void over(struct mm_provision *p, const struct mm_errinfo *ei)
{
    log_end(p, ei);
    p->call = NULL;
    p->stage = MM_PROVISION_OVER;
    mm_chunks_drop(p);
    mm_mint_leave(&p->flow);
    mm_provision_collect(p);
}

void mm_provision_end(struct mm_provision *p, const struct mm_errinfo *ei)
{
    struct mm_call *call = p->call;

    if (p->stage == MM_PROVISION_OVER)
        return;
    mm_call_finish(call, ei);
    over(p, ei);
}

static void on_cancel(struct mm_call *call, void *user)
{
    struct mm_provision *p = user;
    struct mm_errinfo ei;

    (void)call;
    if (p->stage == MM_PROVISION_WAITING) {
        stop_waiting(p);
        return;
    }
    mm_fail(&ei, MM_ERR_CANCELLED, "CANCELLED", "the station went away or its deadline passed");
    over(p, &ei);
}

/* ---- sending ----------------------------------------------------------------------------- */

bool mm_provision_send(struct mm_provision *p, ProtobufCBinaryData *bundles, size_t n)
{
    Mintmark__Internal__RawDelivery message;
    struct mm_errinfo ei;
    int r;

    mintmark__internal__raw_delivery__init(&message);
    if (!p->shared_sent)
        message = *p->shared->delivery;
    message.bundles = bundles;
    message.n_bundles = n;
    r = mm_call_send(p->call, &message.base);
    if (r < 0 && r != MM_ERR_AGAIN) {
        mm_fail(&ei, r, "NOT_SENT", "a message of %zu devices could not be sent", n);
        mm_provision_end(p, &ei);
        return false;
    }
    p->shared_sent = true;
    p->sent += (uint32_t)n;
    p->blocked = r == MM_ERR_AGAIN;
    return true;
}

static void on_writable(struct mm_call *call, void *user)
{
    struct mm_provision *p = user;

    (void)call;
    p->blocked = false;
    if (p->stage == MM_PROVISION_REPLAYING && !p->job_runs)
        replay(p);
    else if (p->stage == MM_PROVISION_MINTING)
        mm_chunks_send(p);
}

static const struct mm_call_ops call_ops = {.on_cancel = on_cancel, .on_writable = on_writable};

/* ---- asking the store -------------------------------------------------------------------- */

static void ask_store(struct mm_provision *p, Mintmark__Internal__StoreJob *job,
                      void (*done)(struct mm_job *job, const ProtobufCMessage *result,
                                   const struct mm_errinfo *ei))
{
    struct mm_errinfo ei = {0};
    int r = mm_app_check_store(p->app, &ei);

    p->job = (struct mm_job){.done = done};
    if (r == MM_OK)
        r = mm_pool_submit(p->app->store, &p->job, &job->base, INT64_MAX, NULL, &ei);
    if (r == MM_ERR_AGAIN) {
        mm_fail(&ei, MM_ERR_UNAVAILABLE, "STORE_BUSY", "the store has too much to do");
        ei.retry_ms = 1000;
    }
    if (r == MM_OK)
        p->job_runs = true;
    else
        mm_provision_end(p, &ei);
}

/* What an answer of the store is for; NULL when the call is over, or ends here with the error. */
static struct mm_provision *take_answer(struct mm_job *job, const ProtobufCMessage *result,
                                        Mintmark__Internal__StoreResult__ResultCase expected,
                                        const struct mm_errinfo *ei)
{
    struct mm_provision *p =
        (struct mm_provision *)((char *)job - offsetof(struct mm_provision, job));
    const Mintmark__Internal__StoreResult *r = (const Mintmark__Internal__StoreResult *)result;
    struct mm_errinfo wrong;

    p->job_runs = false;
    if (p->stage == MM_PROVISION_OVER) {
        mm_provision_collect(p);
        return NULL;
    }
    if (r && r->result_case != expected) {
        mm_fail(&wrong, MM_ERR_INTERNAL, "STORE_ANSWER", "the store gave another kind of answer");
        ei = &wrong;
    }
    if (!ei)
        return p;
    mm_provision_end(p, ei);
    return NULL;
}

/* ---- FINDING ----------------------------------------------------------------------------- */

/* The profile decides which token section mints, and what deliveries share. */
static int choose_profile(struct mm_provision *p, const char *profile, struct mm_mint **ret_mint,
                          struct mm_errinfo *ei)
{
    const struct mm_conf_profile *conf = mm_conf_profile_get(p->app->conf, profile);
    struct mm_mint *mint = conf ? mm_mint_get(p->app->mints, conf->token) : NULL;

    if (!mint)
        return mm_fail(ei, MM_ERR_NOT_FOUND, "UNKNOWN_PROFILE",
                       "profile %s is not in the configuration any more", profile);
    snprintf(p->profile, sizeof(p->profile), "%s", profile);
    if (!p->shared)
        p->shared = mm_mint_shared(mint, profile);
    if (!p->shared)
        return mm_mint_fail_away(mint, ei);
    *ret_mint = mint;
    return MM_OK;
}

/* What is recorded already decides what is left to make. */
static int take_found(struct mm_provision *p, const Mintmark__Internal__RequestFound *found,
                      struct mm_errinfo *ei)
{
    if (found->recorded > p->args.count)
        return mm_fail(ei, MM_ERR_CORRUPT, "REQUEST_CORRUPT",
                       "the store has more devices under this request than it asks for");
    p->recorded = (uint32_t)found->recorded;
    p->to_make = p->args.count - p->recorded;
    if (!p->args.hw_serials || p->recorded == 0)
        return MM_OK;
    return mm_provision_args_drop(&p->args, found->hw_serials, found->n_hw_serials, ei);
}

static void on_found(struct mm_job *job, const ProtobufCMessage *result,
                     const struct mm_errinfo *error)
{
    struct mm_provision *p =
        take_answer(job, result, MINTMARK__INTERNAL__STORE_RESULT__RESULT_REQUEST_FOUND, error);
    const Mintmark__Internal__RequestFound *found;
    struct mm_errinfo ei = {0};
    struct mm_mint *mint;
    int r;

    if (!p)
        return;
    found = ((const Mintmark__Internal__StoreResult *)result)->request_found;
    r = take_found(p, found, &ei);
    if (r == MM_OK && p->recorded > 0)
        r = choose_profile(p, found->profile, &mint, &ei);
    if (r < 0) {
        mm_provision_end(p, &ei);
    } else if (p->recorded > 0) {
        p->stage = MM_PROVISION_REPLAYING;
        replay(p);
    } else {
        admit(p);
    }
}

static void find(struct mm_provision *p)
{
    Mintmark__Internal__StoreJob job;
    Mintmark__Internal__FindRequest body;

    p->stage = MM_PROVISION_FINDING;
    mintmark__internal__store_job__init(&job);
    mintmark__internal__find_request__init(&body);
    job.job_case = MINTMARK__INTERNAL__STORE_JOB__JOB_FIND_REQUEST;
    job.find_request = &body;
    body.station = p->station;
    body.request_id = p->args.request_id;
    body.digest = (ProtobufCBinaryData){sizeof(p->args.digest), p->args.digest};
    body.batch_uid = p->args.batch_uid;
    body.hw_serials = p->args.hw_serials;
    body.n_hw_serials = p->args.hw_serials ? p->args.count : 0;
    ask_store(p, &job, on_found);
}

/* ---- REPLAYING --------------------------------------------------------------------------- */

static void on_fetched(struct mm_job *job, const ProtobufCMessage *result,
                       const struct mm_errinfo *error)
{
    struct mm_provision *p =
        take_answer(job, result, MINTMARK__INTERNAL__STORE_RESULT__RESULT_FETCHED, error);
    const Mintmark__Internal__Fetched *page;

    if (!p)
        return;
    page = ((const Mintmark__Internal__StoreResult *)result)->fetched;
    if (page->n_bundles > 0 && !mm_provision_send(p, page->bundles, page->n_bundles))
        return;
    p->app->devices_replayed += page->n_bundles;
    p->after_row = page->last_row;
    if (!page->more)
        admit(p);
    else if (!p->blocked)
        replay(p);
}

static void replay(struct mm_provision *p)
{
    Mintmark__Internal__StoreJob job;
    Mintmark__Internal__FetchRequest body;

    mintmark__internal__store_job__init(&job);
    mintmark__internal__fetch_request__init(&body);
    job.job_case = MINTMARK__INTERNAL__STORE_JOB__JOB_FETCH_REQUEST;
    job.fetch_request = &body;
    body.station = p->station;
    body.request_id = p->args.request_id;
    body.after_row = p->after_row;
    body.limit = MM_CHUNK_DEVICES;
    ask_store(p, &job, on_fetched);
}

/* ---- CHECKING, MINTING ------------------------------------------------------------------- */

/* The view knows open batches only; the store knows all. */
static void on_batch(struct mm_job *job, const ProtobufCMessage *result,
                     const struct mm_errinfo *error)
{
    struct mm_provision *p =
        take_answer(job, result, MINTMARK__INTERNAL__STORE_RESULT__RESULT_BATCH, error);
    const Mintmark__V1__Batch *batch;
    struct mm_errinfo ei;

    if (!p)
        return;
    batch = ((const Mintmark__Internal__StoreResult *)result)->batch;
    if (batch->state == MINTMARK__V1__BATCH_STATE__BATCH_STATE_OPEN &&
        mm_view_put_batch(p->app->view, batch) == MM_OK) {
        admit(p);
        return;
    }
    mm_fail(&ei, MM_ERR_PRECONDITION, "BATCH_RELEASED", "batch %s has been released",
            batch->batch_uid);
    mm_provision_end(p, &ei);
}

static void ask_why_not_open(struct mm_provision *p)
{
    Mintmark__Internal__StoreJob job;
    Mintmark__Internal__GetBatch body;

    p->stage = MM_PROVISION_CHECKING;
    mintmark__internal__store_job__init(&job);
    mintmark__internal__get_batch__init(&body);
    job.job_case = MINTMARK__INTERNAL__STORE_JOB__JOB_GET_BATCH;
    job.get_batch = &body;
    body.batch_uid = p->args.batch_uid;
    ask_store(p, &job, on_batch);
}

static int reserve(struct mm_provision *p, const char *profile, struct mm_mint **ret_mint,
                   struct mm_errinfo *ei)
{
    int r = choose_profile(p, profile, ret_mint, ei);

    if (r == MM_OK && mm_mint_ready(*ret_mint) == 0)
        r = mm_mint_fail_away(*ret_mint, ei);
    if (r == MM_OK)
        r = mm_view_reserve(p->app->view, p->args.batch_uid, p->to_make, mm_clock_wall_ms(),
                            &p->reservation, ei);
    return r;
}

/* All that is recorded has been streamed; is there room for the rest? */
static void admit(struct mm_provision *p)
{
    const char *profile = mm_view_batch_profile(p->app->view, p->args.batch_uid);
    struct mm_errinfo ei = {0};
    struct mm_mint *mint;

    if (p->to_make == 0) {
        mm_provision_end(p, NULL);
        return;
    }
    if (!profile) {
        ask_why_not_open(p);
        return;
    }
    if (reserve(p, profile, &mint, &ei) < 0) {
        mm_provision_end(p, &ei);
        return;
    }
    p->stage = MM_PROVISION_MINTING;
    mm_chunks_begin(p, mint);
}

/* ---- receive, validate, take over -------------------------------------------------------- */

static struct mm_provision *find_same(struct mm_app *app, const char *station,
                                      const char *request_id)
{
    struct mm_provision *p;

    LIST_FOREACH(p, &app->provisions, link)
    {
        if (strcmp(p->station, station) == 0 && strcmp(p->args.request_id, request_id) == 0)
            return p;
    }
    return NULL;
}

/* Calls of the station that are in flight, but for the one that is about to be taken over. */
static unsigned in_flight(const struct mm_app *app, const char *station,
                          const struct mm_provision *except)
{
    const struct mm_provision *p;
    unsigned n = 0;

    LIST_FOREACH(p, &app->provisions, link)
    {
        if (p != except && strcmp(p->station, station) == 0)
            n += (p->call ? 1u : 0) + (p->successor ? 1u : 0);
    }
    return n;
}

static int check_limit(const struct mm_app *app, const char *station,
                       const struct mm_provision *same, struct mm_errinfo *ei)
{
    if (in_flight(app, station, same) < app->conf->limits.calls_per_client)
        return MM_OK;
    mm_fail(ei, MM_ERR_EXHAUSTED, "TOO_MANY_CALLS",
            "%u Provision calls of this client are in flight; that is the limit",
            app->conf->limits.calls_per_client);
    ei->retry_ms = 1000;
    return mm_err_subject(ei, "client", station);
}

/* The older call gives way; this one begins when nothing of it runs any more, since what it is
 * recording now must be found. */
static void take_over(struct mm_provision *p, struct mm_provision *old)
{
    struct mm_provision *waiting = old->successor;
    struct mm_errinfo ei;

    mm_fail(&ei, MM_ERR_ABORTED, "REQUEST_TAKEN_OVER", "a newer call came with this request_id");
    if (waiting) {
        mm_call_finish(waiting->call, &ei);
        stop_waiting(waiting);
    }
    p->waits_for = old;
    old->successor = p;
    mm_provision_end(old, &ei);
}

static struct mm_provision *new_provision(struct mm_call *call)
{
    struct mm_provision *p = calloc(1, sizeof(*p));

    if (!p)
        return NULL;
    p->app = mm_call_app(call);
    p->call = call;
    p->began_us = mm_clock_mono_us();
    snprintf(p->station, sizeof(p->station), "%s", mm_call_peer(call)->name);
    snprintf(p->call_id, sizeof(p->call_id), "%s", mm_call_id(call));
    TAILQ_INIT(&p->to_send);
    TAILQ_INIT(&p->again);
    return p;
}

/* As the store would say, were the other call's first devices recorded already. */
static int fail_reused(const char *request_id, struct mm_errinfo *ei)
{
    mm_fail(ei, MM_ERR_INVALID, "REQUEST_ID_REUSED",
            "request_id %s came with other arguments before", request_id);
    snprintf(ei->field, sizeof(ei->field), "request_id");
    return MM_ERR_INVALID;
}

/* Validates, and refuses what cannot be begun now. */
static int receive(struct mm_provision *p, const Mintmark__V1__ProvisionRequest *request,
                   struct mm_provision **ret_same, struct mm_errinfo *ei)
{
    int r = mm_provision_args_take(request, &p->args, ei);

    if (r == MM_OK)
        r = mm_app_check_open(p->app, ei);
    if (r == MM_OK)
        r = mm_app_check_store(p->app, ei);
    if (r < 0)
        return r;
    *ret_same = find_same(p->app, p->station, p->args.request_id);
    if (*ret_same && memcmp((*ret_same)->args.digest, p->args.digest, sizeof(p->args.digest)) != 0)
        return fail_reused(p->args.request_id, ei);
    return check_limit(p->app, p->station, *ret_same, ei);
}

void mm_rpc_provision(struct mm_call *call, const ProtobufCMessage *request)
{
    struct mm_provision *p = new_provision(call);
    struct mm_provision *same = NULL;
    struct mm_errinfo ei = {0};

    if (!p) {
        mm_fail_memory(&ei);
        mm_call_finish(call, &ei);
        return;
    }
    if (receive(p, (const Mintmark__V1__ProvisionRequest *)request, &same, &ei) < 0) {
        mm_call_finish(call, &ei);
        destroy(p);
        return;
    }
    mm_call_set(call, &call_ops, p);
    if (same) {
        take_over(p, same);
        return;
    }
    LIST_INSERT_HEAD(&p->app->provisions, p, link);
    find(p);
}

void mm_provisions_store_lost(struct mm_app *app)
{
    struct mm_provision *p, *next;
    struct mm_errinfo ei;

    if (mm_app_check_store(app, &ei) == MM_OK)
        return;
    for (p = LIST_FIRST(&app->provisions); p; p = next) {
        next = LIST_NEXT(p, link);
        if (p->successor) {
            mm_call_finish(p->successor->call, &ei);
            stop_waiting(p->successor);
        }
        /* What the tokens are still making got numbers that the next view may give out again. */
        p->discard = true;
        mm_provision_end(p, &ei);
    }
}
