/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/front/app.h"

#include "daemon/base/clock.h"
#include "daemon/front/service/provision.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    RECORDING_MAX = 32,       /* chunks awaiting the store; minting pauses beyond */
    STORE_TIMEOUT_MS = 30000, /* the oldest job's; disks have bad moments */
    IN_USE_TRIES = 2,         /* the store itself waits two seconds for a lock */
};

/* ---- readiness --------------------------------------------------------------------------- */

static void explain_store(const struct mm_app *app, char detail[MM_DETAIL_MAX])
{
    const struct mm_errinfo *why = app->store ? mm_pool_why(app->store) : NULL;

    snprintf(detail, MM_DETAIL_MAX, "the store is away: %s",
             why && why->text[0] ? why->text : "it is starting");
}

static bool cannot_work(const struct mm_app *app, char detail[MM_DETAIL_MAX])
{
    const struct mm_errinfo *why = NULL;
    const char *section;

    detail[0] = 0;
    if (app->draining) {
        snprintf(detail, MM_DETAIL_MAX, "the service is stopping");
        return true;
    }
    if (!app->store_ready) {
        explain_store(app, detail);
        return true;
    }
    section = mm_mints_away(app->mints, &why);
    if (section)
        snprintf(detail, MM_DETAIL_MAX, "token %s is away: %s", section, why->text);
    return mm_mints_ready(app->mints) == 0;
}

bool mm_app_is_ready(const struct mm_app *app, char detail[MM_DETAIL_MAX])
{
    return !cannot_work(app, detail);
}

void mm_app_update(struct mm_app *app)
{
    char detail[MM_DETAIL_MAX];
    const bool ready = mm_app_is_ready(app, detail);

    if (ready != app->ready)
        mm_log(ready ? MM_LOG_INFO : MM_LOG_WARNING, ready ? "ready" : "not_ready",
               MM_STR("detail", detail));
    app->ready = ready;
    if (app->server) {
        mm_server_set_health(app->server, "", ready);
        mm_server_set_health(app->server, "mintmark.v1.StationService", ready);
    }
    if (app->on_status)
        app->on_status(app->on_status_arg);
}

/* ---- the store --------------------------------------------------------------------------- */

static void on_store_ready(void *arg, struct mm_pool *pool, const ProtobufCMessage *result)
{
    const Mintmark__Internal__StoreResult *r = (const Mintmark__Internal__StoreResult *)result;
    struct mm_app *app = arg;

    (void)pool;
    if (r->result_case != MINTMARK__INTERNAL__STORE_RESULT__RESULT_READY ||
        mm_view_load(app->view, r->ready) < 0) {
        mm_log(MM_LOG_ERROR, "view_not_loaded", MM_UINT("case", r->result_case));
        return;
    }
    app->store_ready = true;
    mm_log(MM_LOG_INFO, "view_loaded", MM_UINT("orders", r->ready->n_orders),
           MM_UINT("batches", r->ready->n_batches));
}

static void see_restarts(void *arg, const struct mm_pool_worker_info *info)
{
    *(uint32_t *)arg = info->restarts;
}

/* Once may be our own predecessor, which is about to end; again and again is a second service. */
static bool is_in_use(struct mm_pool *pool)
{
    uint32_t restarts = 0;

    mm_pool_each(pool, see_restarts, &restarts);
    return restarts >= IN_USE_TRIES && strcmp(mm_pool_why(pool)->reason, "STORE_IN_USE") == 0;
}

static void on_store_changed(void *arg, struct mm_pool *pool)
{
    struct mm_app *app = arg;

    if (app->store_ready && mm_pool_ready(pool) == 0) {
        app->store_ready = false;
        mm_provisions_store_lost(app);
    }
    app->store_in_use = is_in_use(pool);
    mm_app_update(app);
}

static void on_store_empty(void *arg, struct mm_pool *pool)
{
    struct mm_app *app = arg;

    mm_pool_free(pool);
    app->store = NULL;
    app->store_ready = false;
    app->on_stopped(app->on_stopped_arg);
}

static int start_store(struct mm_app *app, struct mm_launcher *launcher, struct mm_bytes conf_text,
                       struct mm_errinfo *ei)
{
    static const struct mm_pool_ops ops = {
        .ready = on_store_ready, .changed = on_store_changed, .empty = on_store_empty};
    const struct mm_pool_options options = {
        .kind = &mm_pool_store,
        .name = "store",
        .section = "",
        .single = true,
        .workers = 1,
        .jobs_per_worker = MM_STORE_JOBS_MAX,
        .job_timeout_ms = STORE_TIMEOUT_MS,
        .conf_path = app->conf->path,
        .conf_text = conf_text,
        .stats = &app->store_stats,
        .ops = &ops,
        .arg = app,
    };

    return mm_pool_new(app->loop, launcher, &options, &app->store, ei);
}

int mm_app_check_open(const struct mm_app *app, struct mm_errinfo *ei)
{
    if (!app->draining)
        return MM_OK;
    mm_fail(ei, MM_ERR_UNAVAILABLE, "SHUTTING_DOWN", "the service is stopping");
    ei->retry_ms = 1000;
    return ei->code;
}

int mm_app_check_store(const struct mm_app *app, struct mm_errinfo *ei)
{
    char detail[MM_DETAIL_MAX];

    if (app->store_ready)
        return MM_OK;
    explain_store(app, detail);
    mm_fail(ei, MM_ERR_UNAVAILABLE, "STORE_UNAVAILABLE", "%s", detail);
    ei->retry_ms = 1000;
    return ei->code;
}

/* ---- unary calls that ask the store ------------------------------------------------------ */

struct asking {
    struct mm_job job;
    struct mm_app *app;
    struct mm_call *call; /* NULL once it is over */
    const struct mm_ask *ask;
    char call_id[32]; /* outlives the call */
};

static void on_cancel(struct mm_call *call, void *user)
{
    struct asking *a = user;

    (void)call;
    a->call = NULL;
}

static void on_answer(struct mm_job *job, const ProtobufCMessage *result,
                      const struct mm_errinfo *ei)
{
    struct asking *a = (struct asking *)job;
    const Mintmark__Internal__StoreResult *r = (const Mintmark__Internal__StoreResult *)result;
    struct mm_errinfo wrong;

    if (r && r->result_case != a->ask->expected) {
        mm_fail(&wrong, MM_ERR_INTERNAL, "STORE_ANSWER", "the store gave another kind of answer");
        ei = &wrong;
    }
    if (!ei && a->ask->learn)
        a->ask->learn(a->app, a->call_id, r);
    if (a->call && ei)
        mm_call_finish(a->call, ei);
    else if (a->call)
        a->ask->reply(a->call, r);
    free(a);
}

static int submit(struct asking *a, Mintmark__Internal__StoreJob *job, struct mm_errinfo *ei)
{
    int r = mm_app_check_store(a->app, ei);

    if (r < 0)
        return r;
    r = mm_pool_submit(a->app->store, &a->job, &job->base, mm_call_deadline_us(a->call), NULL, ei);
    if (r == MM_ERR_AGAIN) {
        r = mm_fail(ei, MM_ERR_UNAVAILABLE, "STORE_BUSY", "the store has too much to do");
        ei->retry_ms = 1000;
    }
    return r;
}

void mm_app_ask(struct mm_call *call, Mintmark__Internal__StoreJob *job, const struct mm_ask *ask)
{
    static const struct mm_call_ops ops = {.on_cancel = on_cancel};
    struct asking *a = calloc(1, sizeof(*a));
    struct mm_errinfo ei = {0};

    if (!a) {
        mm_fail_memory(&ei);
        mm_call_finish(call, &ei);
        return;
    }
    *a = (struct asking){.app = mm_call_app(call), .call = call, .ask = ask};
    a->job.done = on_answer;
    snprintf(a->call_id, sizeof(a->call_id), "%s", mm_call_id(call));
    if (submit(a, job, &ei) < 0) {
        free(a);
        mm_call_finish(call, &ei);
        return;
    }
    mm_call_set(call, &ops, a);
}

/* ---- start, reload, stop ----------------------------------------------------------------- */

static bool may_plan(void *arg)
{
    const struct mm_app *app = arg;

    return app->recording < RECORDING_MAX;
}

static void on_mints_changed(void *arg)
{
    mm_app_update(arg);
}

int mm_app_start(struct mm_app *app, uv_loop_t *loop, struct mm_launcher *launcher,
                 const struct mm_conf *conf, struct mm_bytes conf_text, struct mm_errinfo *ei)
{
    static const struct mm_mints_ops ops = {.may_plan = may_plan, .changed = on_mints_changed};
    int r;

    app->loop = loop;
    app->conf = conf;
    app->started_ms = mm_clock_wall_ms();
    app->started_mono_us = mm_clock_mono_us();
    LIST_INIT(&app->provisions);
    if (mm_view_new(&app->view) < 0 || mm_accounts_new(&app->accounts) < 0)
        return mm_fail_memory(ei);
    r = mm_mints_new(loop, launcher, app->accounts, &ops, app, &app->mints, ei);
    if (r == MM_OK)
        r = start_store(app, launcher, conf_text, ei);
    if (r == MM_OK)
        r = mm_mints_configure(app->mints, conf, conf_text, ei);
    return r;
}

int mm_app_reconfigure(struct mm_app *app, const struct mm_conf *conf, struct mm_bytes conf_text,
                       struct mm_errinfo *ei)
{
    int r = mm_mints_configure(app->mints, conf, conf_text, ei);

    if (r < 0)
        return r;
    app->conf = conf;
    mm_app_update(app);
    return MM_OK;
}

static void stop_store(void *arg)
{
    struct mm_app *app = arg;

    if (app->mints_stopped)
        return;
    app->mints_stopped = true;
    if (app->store)
        mm_pool_retire(app->store, UINT_MAX);
    else
        app->on_stopped(app->on_stopped_arg);
}

void mm_app_drain(struct mm_app *app)
{
    app->draining = true;
    mm_app_update(app);
}

void mm_app_stop(struct mm_app *app, bool at_once, void (*stopped)(void *arg), void *arg)
{
    app->draining = true;
    app->on_stopped = stopped;
    app->on_stopped_arg = arg;
    if (!app->mints_stopped)
        mm_mints_stop(app->mints, at_once, stop_store, app);
    if (at_once && app->store)
        mm_pool_kill(app->store);
}

void mm_app_done(struct mm_app *app)
{
    mm_mints_free(app->mints);
    mm_view_free(app->view);
    mm_accounts_free(app->accounts);
}
