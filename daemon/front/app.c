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

/* Without a token nothing can be checked: then that is what is said. */
static void explain_ledger(const struct mm_app *app, char detail[MM_DETAIL_MAX])
{
    const struct mm_errinfo *why = NULL;
    const char *text = NULL;
    const char *reason = mm_anchoring_lock(&app->anchoring, &text);
    const char *section = mm_mints_away(app->mints, &why);

    if (reason)
        snprintf(detail, MM_DETAIL_MAX, "the ledger is locked: %s: %s", reason, text);
    else if (section)
        snprintf(detail, MM_DETAIL_MAX, "token %s is away: %s", section, why->text);
    else
        snprintf(detail, MM_DETAIL_MAX, "the ledger is being held against the token's anchor");
}

static bool cannot_work(const struct mm_app *app, char detail[MM_DETAIL_MAX])
{
    const struct mm_errinfo *why = NULL;
    const char *section, *text = "";

    detail[0] = 0;
    if (app->draining) {
        snprintf(detail, MM_DETAIL_MAX, "the service is stopping");
        return true;
    }
    if (!app->store_ready) {
        explain_store(app, detail);
        return true;
    }
    if (!mm_anchoring_is_open(&app->anchoring)) {
        explain_ledger(app, detail);
        return true;
    }
    section = mm_mints_away(app->mints, &why);
    if (section)
        snprintf(detail, MM_DETAIL_MAX, "token %s is away: %s", section, why->text);
    else if ((section = mm_issuers_away(app->issuers, &text)))
        snprintf(detail, MM_DETAIL_MAX, "the EJBCA of issuer %s is away: %.200s", section, text);
    return mm_mints_ready(app->mints) == 0;
}

bool mm_app_is_ready(const struct mm_app *app, char detail[MM_DETAIL_MAX])
{
    return !cannot_work(app, detail);
}

/* "profile/NAME" in the gRPC health service: can its devices be made? Worked out anew only when
 * something has changed. */
static void tell_profiles(struct mm_app *app, bool open)
{
    MM_FREE struct mm_health_state *states = NULL;
    MM_FREE char(*names)[MM_NAME_MAX + 16] = NULL;
    const struct mm_conf *conf = app->conf;
    const uint64_t turns = mm_mints_turns(app->mints);

    if (app->told.conf == conf && app->told.turns == turns && app->told.open == open)
        return;
    states = calloc(conf->n_profiles + 1, sizeof(*states));
    names = calloc(conf->n_profiles + 1, sizeof(*names));
    if (!states || !names)
        return;
    for (size_t i = 0; i < conf->n_profiles; i++) {
        snprintf(names[i], sizeof(names[i]), "profile/%s", conf->profiles[i].name);
        states[i].name = names[i];
        states[i].serving = open && mm_mints_profile_ready(app->mints, &conf->profiles[i]);
    }
    mm_server_replace_health(app->server, states, conf->n_profiles);
    app->told.conf = conf;
    app->told.turns = turns;
    app->told.open = open;
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
        tell_profiles(app, ready);
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
    mm_anchoring_store_ready(&app->anchoring, r->ready->guard);
    mm_enrolling_store_ready(app->enrolling, r->ready);
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

static void lose_store(struct mm_app *app)
{
    struct mm_errinfo ei;

    mm_provisions_store_lost(app);
    if (mm_app_check_store(app, &ei) < 0)
        mm_store_queue_fail(app->store_queue, &ei);
}

static void on_store_ended(void *arg, struct mm_pool *pool, struct mm_job *job, bool ok)
{
    const struct mm_app *app = arg;

    (void)pool;
    mm_store_queue_ended(app->store_queue, job, ok);
}

static struct mm_pool *store_of(void *arg)
{
    const struct mm_app *app = arg;

    return app->store_ready ? app->store : NULL;
}

static void on_store_changed(void *arg, struct mm_pool *pool)
{
    struct mm_app *app = arg;

    if (app->store_ready && mm_pool_ready(pool) == 0) {
        app->store_ready = false;
        mm_anchoring_store_lost(&app->anchoring);
        lose_store(app);
    }
    app->store_in_use = is_in_use(pool);
    mm_app_update(app);
    mm_store_queue_kick(app->store_queue);
    mm_enrolling_kick(app->enrolling);
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
    static const struct mm_pool_ops ops = {.ready = on_store_ready,
                                           .changed = on_store_changed,
                                           .ended = on_store_ended,
                                           .empty = on_store_empty};
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

int mm_app_check_ledger(const struct mm_app *app, struct mm_errinfo *ei)
{
    const struct mm_errinfo *why = NULL;
    const char *text = NULL, *section;

    if (mm_anchoring_is_open(&app->anchoring) || mm_anchoring_lock(&app->anchoring, &text))
        return MM_OK;
    section = mm_mints_away(app->mints, &why);
    if (!section || strcmp(section, app->conf->appliance.token) != 0)
        return MM_OK;
    mm_fail(ei, MM_ERR_UNAVAILABLE, "TOKEN_UNAVAILABLE", "token %s is away: %.180s", section,
            why->text);
    ei->retry_ms = 1000;
    return ei->code;
}

/* ---- start, reload, stop ----------------------------------------------------------------- */

static bool may_plan(void *arg)
{
    struct mm_app *app = arg;

    return app->recording < RECORDING_MAX &&
           mm_anchoring_has_room(&app->anchoring, MM_CHUNK_DEVICES);
}

/* A client may have been kept from the store by what it had running with a token. The ledger's
 * steps are few, and come before the devices: a worker that has room is theirs first. */
static void on_mints_changed(void *arg)
{
    struct mm_app *app = arg;

    mm_app_update(app);
    mm_anchoring_kick(&app->anchoring);
    mm_store_queue_kick(app->store_queue);
}

static void on_mints_sized(void *arg)
{
    mm_app_limit_jobs(arg);
}

static void on_issuer_changed(void *arg, const char *section)
{
    struct mm_app *app = arg;

    (void)section;
    mm_app_update(app);
    mm_provisions_issuer_away(app);
    mm_enrolling_kick(app->enrolling);
}

int mm_app_start(struct mm_app *app, uv_loop_t *loop, struct mm_launcher *launcher,
                 const struct mm_conf *conf, struct mm_bytes conf_text, struct mm_errinfo *ei)
{
    static const struct mm_mints_ops ops = {
        .may_plan = may_plan, .changed = on_mints_changed, .sized = on_mints_sized};
    static const struct mm_issuers_ops issuers_ops = {.changed = on_issuer_changed};
    int r;

    app->loop = loop;
    app->conf = conf;
    mm_audit_name_set(&app->anchoring.audit, &conf->appliance);
    app->started_ms = mm_clock_wall_ms();
    app->started_mono_us = mm_clock_mono_us();
    LIST_INIT(&app->provisions);
    if (mm_view_new(&app->view) < 0 || mm_accounts_new(&app->accounts) < 0 ||
        mm_store_queue_new(app->accounts, store_of, app, &app->store_queue) < 0 ||
        mm_anchoring_start(&app->anchoring, app) < 0 ||
        mm_retention_start(&app->retention, app) < 0)
        return mm_fail_memory(ei);
    r = mm_mints_new(loop, launcher, app->accounts, &ops, app, &app->mints, ei);
    if (r == MM_OK && mm_enrolling_new(app, &app->enrolling) < 0)
        r = mm_fail_memory(ei);
    if (r == MM_OK)
        r = mm_issuers_new(loop, launcher, &issuers_ops, app, &app->issuers, ei);
    if (r == MM_OK)
        r = start_store(app, launcher, conf_text, ei);
    if (r == MM_OK)
        r = mm_mints_configure(app->mints, conf, conf_text, ei);
    if (r == MM_OK)
        r = mm_issuers_configure(app->issuers, conf, conf_text, ei);
    if (r == MM_OK && mm_enrolling_configure(app->enrolling) < 0)
        r = mm_fail_memory(ei);
    if (r == MM_OK)
        mm_app_limit_jobs(app);
    return r;
}

bool mm_app_keeps_key(const struct mm_app *app, const struct mm_conf *conf)
{
    return mm_audit_name_is(&app->anchoring.audit, &conf->appliance);
}

int mm_app_reconfigure(struct mm_app *app, const struct mm_conf *conf, struct mm_bytes conf_text,
                       struct mm_errinfo *ei)
{
    int r = mm_mints_configure(app->mints, conf, conf_text, ei);

    if (r == MM_OK)
        r = mm_issuers_configure(app->issuers, conf, conf_text, ei);
    if (r < 0)
        return r;
    app->conf = conf;
    if (app->store && mm_pool_set_conf(app->store, conf_text) < 0)
        return mm_fail_memory(ei);
    if (mm_enrolling_configure(app->enrolling) < 0)
        return mm_fail_memory(ei);
    mm_app_limit_jobs(app);
    mm_app_update(app);
    return MM_OK;
}

static void stop_store(struct mm_app *app)
{
    if (!app->mints_stopped || !app->issuers_stopped)
        return;
    mm_anchoring_stop(&app->anchoring);
    mm_enrolling_close(app->enrolling);
    mm_retention_stop(&app->retention);
    if (app->store)
        mm_pool_retire(app->store, UINT_MAX);
    else
        app->on_stopped(app->on_stopped_arg);
}

static void on_mints_stopped(void *arg)
{
    struct mm_app *app = arg;
    const bool was = app->mints_stopped;

    app->mints_stopped = true;
    if (!was)
        stop_store(app);
}

static void on_issuers_stopped(void *arg)
{
    struct mm_app *app = arg;
    const bool was = app->issuers_stopped;

    app->issuers_stopped = true;
    if (!was)
        stop_store(app);
}

static void stop_mints(void *arg)
{
    struct mm_app *app = arg;

    if (!app->mints_stopped)
        mm_mints_stop(app->mints, false, on_mints_stopped, app);
}

void mm_app_drain(struct mm_app *app)
{
    app->draining = true;
    mm_enrolling_stop(app->enrolling);
    mm_provisions_drain(app);
    mm_app_update(app);
}

void mm_app_stop(struct mm_app *app, bool at_once, void (*stopped)(void *arg), void *arg)
{
    app->draining = true;
    app->on_stopped = stopped;
    app->on_stopped_arg = arg;
    mm_enrolling_stop(app->enrolling);
    if (!app->issuers_stopped)
        mm_issuers_stop(app->issuers, at_once, on_issuers_stopped, app);
    if (!at_once)
        mm_anchoring_close(&app->anchoring, stop_mints, app);
    else if (!app->mints_stopped)
        mm_mints_stop(app->mints, true, on_mints_stopped, app);
    if (at_once && app->store)
        mm_pool_kill(app->store);
}

void mm_app_done(struct mm_app *app)
{
    mm_mints_free(app->mints);
    mm_enrolling_free(app->enrolling);
    mm_issuers_free(app->issuers);
    mm_anchoring_done(&app->anchoring);
    mm_view_free(app->view);
    mm_store_queue_free(app->store_queue);
    mm_accounts_free(app->accounts);
}
