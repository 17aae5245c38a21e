/* SPDX-License-Identifier: Apache-2.0 */
/* Unary calls that ask the store, and the limits on what clients have running. */
#include "daemon/front/app.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    /* Beyond what the tokens' workers take twice: chunks that the store records, and small jobs. */
    CLIENT_JOBS = 64,
    ALL_JOBS = 512,
};

/* ---- limits ------------------------------------------------------------------------------ */

void mm_app_limit_jobs(struct mm_app *app)
{
    const struct mm_conf_limits *l = &app->conf->limits;
    const unsigned twice = 2 * mm_mints_capacity(app->mints);
    const struct mm_job_limits limits = {
        .client_running = l->jobs_per_client ? l->jobs_per_client : twice + CLIENT_JOBS,
        .running = l->jobs ? l->jobs : twice + ALL_JOBS,
        .client_queued = l->queue_per_client,
        .queued = l->queue,
    };

    mm_accounts_limit(app->accounts, &limits);
}

uint32_t mm_app_retry_ms(const struct mm_app *app)
{
    const uint64_t token_us = mm_mints_wait_us(app->mints, MM_SCHED_INTERACTIVE);
    const uint64_t store_us = mm_store_queue_wait_us(app->store_queue);

    return mm_retry_ms(token_us > store_us ? token_us : store_us);
}

static int fail_station(const struct mm_app *app, const struct mm_account *account, unsigned limit,
                        struct mm_errinfo *ei)
{
    mm_accounts_refuse(app->accounts, MM_REFUSED_STATION);
    mm_fail(ei, MM_ERR_EXHAUSTED, "STATION_BUSY",
            "this client has %u jobs running or waiting; the limit is %u",
            account->running + account->waiting, limit);
    ei->retry_ms = mm_app_retry_ms(app);
    return mm_err_subject(ei, "client", account->name);
}

static int fail_service(const struct mm_app *app, unsigned n, unsigned limit, struct mm_errinfo *ei)
{
    mm_accounts_refuse(app->accounts, MM_REFUSED_SERVICE);
    mm_fail(ei, MM_ERR_UNAVAILABLE, "SERVICE_BUSY",
            "the service has %u jobs running or waiting; the limit is %u", n, limit);
    ei->retry_ms = mm_app_retry_ms(app);
    return ei->code;
}

int mm_app_admit(const struct mm_app *app, const struct mm_peer *peer,
                 struct mm_account **ret_account, struct mm_errinfo *ei)
{
    const struct mm_job_limits *limits = mm_accounts_limits(app->accounts);
    struct mm_account *account = mm_account_get(app->accounts, peer->name);
    unsigned all;

    if (!account)
        return mm_fail_memory(ei);
    if (limits->client_running && account->running + account->waiting >= limits->client_running)
        return fail_station(app, account, limits->client_running, ei);
    all = mm_accounts_running(app->accounts) + mm_store_queue_waiting(app->store_queue);
    if ((peer->roles & MM_ROLE_STATION) && limits->running && all >= limits->running)
        return fail_service(app, all, limits->running, ei);
    *ret_account = account;
    return MM_OK;
}

/* ---- asking the store -------------------------------------------------------------------- */

struct asking {
    struct mm_store_job job;
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
    if (mm_store_cancel(a->app->store_queue, &a->job))
        free(a);
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
    const struct mm_peer *peer = mm_call_peer(a->call);
    const uint32_t units = mm_store_units(job);
    struct mm_account *account;
    int r = mm_app_check_store(a->app, ei);

    if (r == MM_OK)
        r = mm_app_admit(a->app, peer, &account, ei);
    if (r < 0)
        return r;
    if (peer->roles & MM_ROLE_STATION)
        return mm_store_submit(a->app->store_queue, &a->job, job, account, MM_SCHED_INTERACTIVE,
                               units, mm_call_deadline_us(a->call), ei);
    return mm_store_submit_at_once(a->app->store_queue, &a->job.job, job, account, units,
                                   mm_call_deadline_us(a->call), ei);
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
    a->job.job.done = on_answer;
    snprintf(a->call_id, sizeof(a->call_id), "%s", mm_call_id(call));
    if (submit(a, job, &ei) < 0) {
        free(a);
        mm_call_finish(call, &ei);
        return;
    }
    mm_call_set(call, &ops, a);
}
