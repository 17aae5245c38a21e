/* SPDX-License-Identifier: Apache-2.0 */
/* Ping and GetStatus: answered by the front alone, so that they work when nothing else does. */
#include "daemon/base/clock.h"
#include "daemon/base/text.h"
#include "daemon/front/service/service.h"
#include "mintmark/v1/officer.pb-c.h"
#include "mintmark/v1/station.pb-c.h"

#include <stdlib.h>

void mm_rpc_ping(struct mm_call *call, const ProtobufCMessage *request)
{
    const struct mm_app *app = mm_call_app(call);
    char detail[MM_DETAIL_MAX];
    Mintmark__V1__PingResponse response;

    (void)request;
    mintmark__v1__ping_response__init(&response);
    response.time_ms = mm_clock_wall_ms();
    response.version = mm_for_packing(MM_VERSION);
    response.ready = mm_app_is_ready(app, detail);
    if (!mm_peer_sees_paths(mm_call_peer(call)))
        mm_text_hide_paths(detail);
    response.detail = detail;
    response.client = mm_for_packing(mm_call_peer(call)->name);
    mm_call_reply(call, &response.base);
}

/* The workers of all pools, as messages that borrow from the pools. */
struct workers {
    Mintmark__V1__WorkerStatus *all;
    size_t n;
    size_t room;
};

static void count_worker(void *arg, const struct mm_pool_worker_info *info)
{
    struct workers *w = arg;

    (void)info;
    w->room++;
}

static void add_worker(void *arg, const struct mm_pool_worker_info *info)
{
    static const Mintmark__V1__WorkerState states[] = {
        [MM_WORKER_DOWN] = MINTMARK__V1__WORKER_STATE__WORKER_STATE_DOWN,
        [MM_WORKER_STARTING] = MINTMARK__V1__WORKER_STATE__WORKER_STATE_STARTING,
        [MM_WORKER_READY] = MINTMARK__V1__WORKER_STATE__WORKER_STATE_READY,
        [MM_WORKER_BUSY] = MINTMARK__V1__WORKER_STATE__WORKER_STATE_BUSY,
    };
    struct workers *w = arg;
    Mintmark__V1__WorkerStatus *s;

    if (w->n == w->room)
        return;
    s = &w->all[w->n++];
    mintmark__v1__worker_status__init(s);
    s->name = mm_for_packing(info->name);
    s->state = states[info->state];
    s->pid = info->pid;
    s->restarts = info->restarts;
    s->jobs_done = info->jobs_done;
    s->jobs_failed = info->jobs_failed;
    s->last_error = mm_for_packing(info->last_error);
    s->token_cpu_us = info->token_cpu_us;
    s->sampled_devices = info->sampled_devices;
}

static void each_worker(const struct mm_app *app,
                        void (*each)(void *arg, const struct mm_pool_worker_info *info),
                        struct workers *workers)
{
    mm_mints_each_worker(app->mints, each, workers);
    mm_issuers_each_worker(app->issuers, each, workers);
    if (app->store)
        mm_pool_each(app->store, each, workers);
}

/* Profiles whose certificates come from elsewhere. */
struct enrolments {
    const struct mm_app *app;
    size_t n;
    Mintmark__V1__EnrolmentStatus all[MM_PROFILES_MAX], *pointers[MM_PROFILES_MAX];
    struct mm_errinfo why[MM_PROFILES_MAX];
};

static void add_enrolments(void *arg, const struct mm_enrolling_info *info)
{
    struct enrolments *e = arg;
    Mintmark__V1__EnrolmentStatus *s;

    if (e->n == MM_PROFILES_MAX)
        return;
    s = &e->all[e->n];
    mintmark__v1__enrolment_status__init(s);
    s->profile = mm_for_packing(info->profile);
    s->waiting = info->waiting;
    s->parked = info->parked;
    s->certified = info->certified;
    s->failed = info->failed;
    s->in_flight = info->running;
    if (mm_enrolling_check(e->app->enrolling, info->profile, &e->why[e->n]) < 0)
        s->away = e->why[e->n].text;
    e->pointers[e->n++] = s;
}

static void reply(struct mm_call *call, const struct mm_app *app, struct workers *workers,
                  Mintmark__V1__WorkerStatus **pointers, struct enrolments *enrolments)
{
    char detail[MM_DETAIL_MAX];
    struct mm_server_stats stats;
    Mintmark__V1__GetStatusResponse response;
    Mintmark__V1__LedgerStatus ledger;

    mm_ledger_status(app, &ledger);
    mintmark__v1__get_status_response__init(&response);
    for (size_t i = 0; i < workers->n; i++)
        pointers[i] = &workers->all[i];
    mm_server_stats(app->server, &stats);
    response.version = mm_for_packing(MM_VERSION);
    response.started_time_ms = app->started_ms;
    response.time_ms = mm_clock_wall_ms();
    response.ready = mm_app_is_ready(app, detail);
    response.detail = detail;
    response.workers = pointers;
    response.n_workers = workers->n;
    response.connections = stats.connections;
    response.calls_in_flight = stats.calls_in_flight;
    response.devices_issued = app->devices_issued;
    response.ledger = &ledger;
    mm_enrolling_each(app->enrolling, add_enrolments, enrolments);
    response.enrolments = enrolments->pointers;
    response.n_enrolments = enrolments->n;
    response.revocations_pending = mm_enrolling_revocations(app->enrolling);
    response.revocations_refused = mm_enrolling_refusals(app->enrolling);
    mm_call_reply(call, &response.base);
}

void mm_rpc_get_status(struct mm_call *call, const ProtobufCMessage *request)
{
    const struct mm_app *app = mm_call_app(call);
    struct workers workers = {.room = 0};
    MM_FREE Mintmark__V1__WorkerStatus *all = NULL;
    MM_FREE Mintmark__V1__WorkerStatus **pointers = NULL;
    MM_FREE struct enrolments *enrolments = calloc(1, sizeof(*enrolments));
    struct mm_errinfo ei;

    (void)request;
    each_worker(app, count_worker, &workers);
    all = calloc(workers.room + 1, sizeof(*all));
    pointers = calloc(workers.room + 1, sizeof(*pointers));
    if (!all || !pointers || !enrolments) {
        mm_fail_memory(&ei);
        mm_call_finish(call, &ei);
        return;
    }
    workers.all = all;
    each_worker(app, add_worker, &workers);
    enrolments->app = app;
    reply(call, app, &workers, pointers, enrolments);
}
