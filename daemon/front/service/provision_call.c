/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a call that makes devices; see provision.h. */
#include "daemon/front/job.h"
#include "daemon/front/service/provision.h"

#include "daemon/base/clock.h"
#include "daemon/front/service/service.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void find(struct mm_provision *p);

/* ---- the end ----------------------------------------------------------------------------- */

static void log_end(const struct mm_provision *p, const struct mm_errinfo *ei)
{
    const bool ok = !ei || ei->code == MM_OK;

    mm_log(ok ? MM_LOG_INFO : MM_LOG_WARNING, ok ? "provision_done" : "provision_ended",
           MM_STR("request", p->call_id), MM_STR("rpc", p->kind->name),
           MM_STR("station", p->station), MM_STR("request_id", p->args.request_id),
           MM_STR("batch", p->args.batch_uid), MM_UINT("count", p->args.count),
           MM_UINT("recorded_before", p->recorded), MM_UINT("sent", p->sent),
           MM_INT("ms", (mm_clock_mono_us() - p->began_us) / 1000),
           MM_STR("reason", ok ? "" : ei->reason), MM_STR("text", ok ? "" : ei->text));
}

void mm_provision_destroy(struct mm_provision *p)
{
    mm_chunks_drop(p);
    mm_shared_unref(p->shared);
    mm_provision_args_done(&p->args);
    free(p);
}

/* From a list of waiting ones: it has not begun, so there is nothing to undo. */
static void stop_waiting(struct mm_provision *p)
{
    p->waits_for->successor = NULL;
    mm_provision_destroy(p);
}

/* model: COLLECT */
void mm_provision_collect(struct mm_provision *p)
{
    struct mm_provision *successor = p->successor;

    if (p->stage != MM_PROVISION_OVER || p->running > 0 || p->job_runs)
        return;
    LIST_REMOVE(p, link);
    mm_view_release(p->app->view, &p->reservation, p->reservation.n);
    mm_lanes_leave(p);
    mm_provision_destroy(p);
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
    if (p->job_runs && mm_store_cancel(p->app->store_queue, &p->job))
        p->job_runs = false;
    mm_chunks_drop(p);
    mm_lanes_leave(p);
    mm_provision_collect(p);
}

/* model: END */
void mm_provision_end(struct mm_provision *p, const struct mm_errinfo *ei)
{
    struct mm_call *call = p->call;

    if (p->stage == MM_PROVISION_OVER)
        return;
    mm_call_finish(call, ei);
    over(p, ei);
}

/* model: CANCEL */
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

/* model: DELIVER */
bool mm_provision_send(struct mm_provision *p, const ProtobufCMessage *message, size_t devices)
{
    const int r = mm_call_send(p->call, message);
    struct mm_errinfo ei;

    if (r < 0 && r != MM_ERR_AGAIN) {
        mm_fail(&ei, r, "NOT_SENT", "a message of %zu devices could not be sent", devices);
        mm_provision_end(p, &ei);
        return false;
    }
    p->shared_sent = true;
    p->sent += (uint32_t)devices;
    p->blocked = r == MM_ERR_AGAIN;
    return true;
}

void mm_provision_announce(struct mm_provision *p, const Mintmark__Internal__Chain *chain,
                           struct mm_announcement *ret_announcement)
{
    const Mintmark__Internal__RawDelivery *shared = p->shared->delivery;
    const bool recorded = chain && chain->sha256.len == sizeof(p->chain_sent);
    const uint8_t *sha256 = recorded ? chain->sha256.data : p->shared->chain_sha256;
    struct mm_announcement a = {0};

    if (!p->shared_sent) {
        a.key_wrap = shared->key_wrap;
        a.items = shared->items;
        a.n_items = shared->n_items;
    }
    if (!p->shared_sent || memcmp(p->chain_sent, sha256, sizeof(p->chain_sent)) != 0) {
        a.chain = recorded ? chain->certificates : shared->chain;
        a.n_chain = recorded ? chain->n_certificates : shared->n_chain;
        memcpy(p->chain_sent, sha256, sizeof(p->chain_sent));
    }
    *ret_announcement = a;
}

/* ---- asking the store -------------------------------------------------------------------- */

enum mm_sched_class mm_provision_class(const struct mm_provision *p)
{
    return p->args.count <= MM_SCHED_INTERACTIVE_MAX ? MM_SCHED_INTERACTIVE : MM_SCHED_BULK;
}

/* Pages are much for the store; else the message says it. */
static uint32_t units_of(const Mintmark__Internal__StoreJob *job)
{
    return job->job_case == MINTMARK__INTERNAL__STORE_JOB__JOB_FETCH_REQUEST ? MM_CHUNK_DEVICES
                                                                             : mm_store_units(job);
}

void mm_provision_ask(struct mm_provision *p, Mintmark__Internal__StoreJob *job,
                      void (*done)(struct mm_job *job, const ProtobufCMessage *result,
                                   const struct mm_errinfo *ei))
{
    struct mm_errinfo ei = {0};
    int r = mm_app_check_store(p->app, &ei);

    p->job = (struct mm_store_job){.job.done = done};
    if (r == MM_OK)
        r = mm_store_submit(p->app->store_queue, &p->job, job, p->account, mm_provision_class(p),
                            units_of(job), mm_call_deadline_us(p->call), &ei);
    if (r == MM_OK)
        p->job_runs = true;
    else
        mm_provision_end(p, &ei);
}

struct mm_provision *mm_provision_answered(struct mm_job *job, const ProtobufCMessage *result,
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

static void on_found(struct mm_job *job, const ProtobufCMessage *result,
                     const struct mm_errinfo *error)
{
    struct mm_provision *p = mm_provision_answered(
        job, result, MINTMARK__INTERNAL__STORE_RESULT__RESULT_REQUEST_FOUND, error);

    if (p)
        p->kind->found(p, ((const Mintmark__Internal__StoreResult *)result)->request_found);
}

static void find(struct mm_provision *p)
{
    Mintmark__Internal__FindRequest body = MINTMARK__INTERNAL__FIND_REQUEST__INIT;
    Mintmark__Internal__StoreJob job = MM_STORE_JOB(FIND_REQUEST, find_request, &body);

    p->stage = MM_PROVISION_FINDING;
    body.station = p->station;
    body.request_id = p->args.request_id;
    body.digest = (ProtobufCBinaryData){sizeof(p->args.digest), p->args.digest};
    body.batch_uid = p->args.batch_uid;
    body.hw_serials = p->args.hw_serials;
    body.n_hw_serials = p->args.hw_serials ? p->args.count : 0;
    body.count_only = !p->args.hw_serials;
    mm_provision_ask(p, &job, on_found);
}

/* ---- CHECKING ---------------------------------------------------------------------------- */

int mm_provision_choose(struct mm_provision *p, const char *profile, struct mm_errinfo *ei)
{
    const struct mm_conf_profile *conf = mm_conf_profile_get(p->app->conf, profile);
    struct mm_mint *mint = conf ? mm_mint_get(p->app->mints, conf->token) : NULL;

    if (!mint)
        return mm_fail(ei, MM_ERR_NOT_FOUND, "UNKNOWN_PROFILE",
                       "profile %s is not in the configuration any more", profile);
    snprintf(p->profile, sizeof(p->profile), "%s", profile);
    p->elsewhere = conf->ejbca;
    if (!p->shared)
        p->shared = mm_mint_shared(mint, profile);
    if (!p->shared)
        return mm_mint_fail_away(mint, ei);
    return MM_OK;
}

/* Keys are made where the call has them made, or nowhere. */
static int check_delivery(const struct mm_provision *p, const char *profile, struct mm_errinfo *ei)
{
    const struct mm_conf_profile *conf = mm_conf_profile_get(p->app->conf, profile);
    const bool on_device = conf && strcmp(conf->delivery, "on-device") == 0;

    if (!conf || on_device == p->kind->on_device)
        return MM_OK;
    if (on_device)
        return mm_fail(ei, MM_ERR_PRECONDITION, "PROFILE_ON_DEVICE",
                       "devices of profile %s make their own keys: call Enroll", profile);
    return mm_fail(ei, MM_ERR_PRECONDITION, "PROFILE_MAKES_KEYS",
                   "keys of profile %s are made in the token: call Provision", profile);
}

int mm_provision_choose_ready(struct mm_provision *p, const char *profile, struct mm_errinfo *ei)
{
    int r = check_delivery(p, profile, ei);

    if (r == MM_OK)
        r = mm_provision_choose(p, profile, ei);
    if (r == MM_OK)
        r = mm_elsewhere_check(p, ei);
    return r == MM_OK ? mm_lanes_open(p, ei) : r;
}

/* The view knows open batches only; the store knows all. */
static void on_batch(struct mm_job *job, const ProtobufCMessage *result,
                     const struct mm_errinfo *error)
{
    struct mm_provision *p =
        mm_provision_answered(job, result, MINTMARK__INTERNAL__STORE_RESULT__RESULT_BATCH, error);
    const Mintmark__V1__Batch *batch;
    struct mm_errinfo ei;

    if (!p)
        return;
    batch = ((const Mintmark__Internal__StoreResult *)result)->batch;
    if (batch->state == MINTMARK__V1__BATCH_STATE__BATCH_STATE_OPEN &&
        mm_view_put_batch(p->app->view, batch) == MM_OK) {
        p->kind->admit(p);
        return;
    }
    mm_fail(&ei, MM_ERR_PRECONDITION, "BATCH_RELEASED", "batch %s has been released",
            batch->batch_uid);
    mm_provision_end(p, &ei);
}

void mm_provision_check_batch(struct mm_provision *p)
{
    Mintmark__Internal__GetBatch body = MINTMARK__INTERNAL__GET_BATCH__INIT;
    Mintmark__Internal__StoreJob job = MM_STORE_JOB(GET_BATCH, get_batch, &body);

    p->stage = MM_PROVISION_CHECKING;
    body.batch_uid = p->args.batch_uid;
    mm_provision_ask(p, &job, on_batch);
}

/* ---- receive, take over ------------------------------------------------------------------ */

static void on_writable(struct mm_call *call, void *user)
{
    struct mm_provision *p = user;

    (void)call;
    p->blocked = false;
    if (p->stage == MM_PROVISION_REPLAYING && !p->job_runs)
        p->kind->replay(p);
    else if (p->stage == MM_PROVISION_AWAITING || (p->again && !p->job_runs))
        mm_elsewhere_fetch(p);
    else if (p->stage == MM_PROVISION_MINTING)
        mm_chunks_send(p);
}

static const struct mm_call_ops call_ops = {.on_cancel = on_cancel, .on_writable = on_writable};

static struct mm_provision *find_same(struct mm_app *app, const char *station,
                                      const char *request_id)
{
    struct mm_provision *p;

    LIST_FOREACH(p, &app->provisions, link) {
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

    LIST_FOREACH(p, &app->provisions, link) {
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
    mm_accounts_refuse(app->accounts, MM_REFUSED_CALLS);
    mm_fail(ei, MM_ERR_EXHAUSTED, "TOO_MANY_CALLS",
            "%u calls of this client that make devices are in flight; that is the limit",
            app->conf->limits.calls_per_client);
    ei->retry_ms = mm_app_retry_ms(app);
    return mm_err_subject(ei, "client", station);
}

/* The older call gives way; this one begins when nothing of it runs any more, since what it is
 * recording now must be found. model: TAKE_OVER */
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

struct mm_provision *mm_provision_new(const struct mm_provision_kind *kind, struct mm_call *call)
{
    struct mm_provision *p = calloc(1, sizeof(*p));

    if (!p)
        return NULL;
    p->kind = kind;
    p->app = mm_call_app(call);
    p->call = call;
    p->began_us = mm_clock_mono_us();
    snprintf(p->station, sizeof(p->station), "%s", mm_call_peer(call)->name);
    snprintf(p->call_id, sizeof(p->call_id), "%s", mm_call_id(call));
    TAILQ_INIT(&p->to_send);
    TAILQ_INIT(&p->awaiting);
    TAILQ_INIT(&p->to_mint);
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

/* Refuses what cannot be begun now. */
static int check_now(struct mm_provision *p, struct mm_provision **ret_same, struct mm_errinfo *ei)
{
    int r = mm_app_check_open(p->app, ei);

    if (r == MM_OK)
        r = mm_app_check_store(p->app, ei);
    if (r == MM_OK)
        r = mm_app_check_ledger(p->app, ei);
    if (r < 0)
        return r;
    *ret_same = find_same(p->app, p->station, p->args.request_id);
    if (*ret_same && memcmp((*ret_same)->args.digest, p->args.digest, sizeof(p->args.digest)) != 0)
        return fail_reused(p->args.request_id, ei);
    r = check_limit(p->app, p->station, *ret_same, ei);
    return r == MM_OK ? mm_app_admit(p->app, mm_call_peer(p->call), &p->account, ei) : r;
}

/* model: RECEIVE */
int mm_provision_begin(struct mm_provision *p, struct mm_errinfo *ei)
{
    struct mm_provision *same = NULL;
    const int r = check_now(p, &same, ei);

    if (r < 0)
        return r;
    mm_call_set(p->call, &call_ops, p);
    if (same) {
        take_over(p, same);
        return MM_OK;
    }
    LIST_INSERT_HEAD(&p->app->provisions, p, link);
    find(p);
    return MM_OK;
}

/* model: LOSE_STORE */
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
