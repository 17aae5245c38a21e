/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The chunks of a Provision call: planned when a worker has room, minted, recorded, sent. A chunk
 * owns the arena that its devices were unpacked into, so that their bytes are copied once on the
 * way in and once on the way out, and nothing is allocated for a device by itself.
 */
#include "daemon/front/service/provision.h"

#include "daemon/base/clock.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct mm_chunk {
    struct mm_job job; /* at a worker, then at the store */
    TAILQ_ENTRY(mm_chunk) link;
    struct mm_provision *p;
    struct mm_arena arena;
    uint32_t first; /* of the call's devices that are to be made */
    uint32_t count;
    uint64_t number; /* running number of the first */
    bool tried;      /* one worker has failed with it already: */
    const struct mm_pool_worker *avoid;
    const Mintmark__Internal__MintResult *minted; /* in the arena */
};

static void on_minted(struct mm_job *job, const ProtobufCMessage *result,
                      const struct mm_errinfo *ei);
static void on_recorded(struct mm_job *job, const ProtobufCMessage *result,
                        const struct mm_errinfo *ei);

static void free_chunk(struct mm_chunk *c)
{
    c->p->chunks--;
    mm_arena_done(&c->arena);
    free(c);
}

void mm_chunks_drop(struct mm_provision *p)
{
    struct mm_chunk *c;

    while ((c = TAILQ_FIRST(&p->to_send))) {
        TAILQ_REMOVE(&p->to_send, c, link);
        free_chunk(c);
    }
    while ((c = TAILQ_FIRST(&p->again))) {
        TAILQ_REMOVE(&p->again, c, link);
        free_chunk(c);
    }
}

/* ---- planning ---------------------------------------------------------------------------- */

/* Devices whose chunk takes no longer than MM_CHUNK_TARGET_US, since no job is interrupted: others
 * wait at least until it ends. */
static uint32_t most_devices(const struct mm_provision *p)
{
    const uint64_t chunk_us = mm_cost_us(p->flow.cost, MM_CHUNK_DEVICES);

    if (chunk_us <= MM_CHUNK_TARGET_US)
        return MM_CHUNK_DEVICES;
    return (uint32_t)(MM_CHUNK_TARGET_US * MM_CHUNK_DEVICES / chunk_us) + 1;
}

/* The tail of a call is shared out among the workers, so that they end together. */
static uint32_t chunk_size(const struct mm_provision *p)
{
    const uint32_t left = p->to_make - p->planned;
    const uint32_t workers = mm_mint_ready(p->flow.mint);
    const uint32_t most = most_devices(p);
    uint32_t size = workers > 0 ? (left + workers - 1) / workers : left;

    if (size < MM_PROVISION_CHUNK_MIN)
        size = MM_PROVISION_CHUNK_MIN;
    if (size > most)
        size = most;
    return size < left ? size : left;
}

/* Is there a chunk to give out now? A station that does not read gets nothing made in advance. */
static bool wants(const struct mm_provision *p)
{
    const unsigned window = mm_mint_capacity(p->flow.mint) + MM_PROVISION_READ_AHEAD;

    if (p->blocked)
        return false;
    return !TAILQ_EMPTY(&p->again) || (p->planned < p->to_make && p->chunks < window);
}

/* Joins or leaves the queue. The provision may be gone after it. */
static void plan_on(struct mm_provision *p)
{
    const enum mm_sched_class class =
        p->args.count <= MM_SCHED_INTERACTIVE_MAX ? MM_SCHED_INTERACTIVE : MM_SCHED_BULK;
    struct mm_errinfo ei;

    if (!wants(p)) {
        mm_mint_pause(&p->flow);
    } else if (mm_mint_want(&p->flow, p->station, class) < 0) {
        mm_fail_memory(&ei);
        mm_provision_end(p, &ei);
    } else {
        mm_mint_kick(p->flow.mint);
    }
}

static struct mm_chunk *new_chunk(struct mm_provision *p)
{
    struct mm_chunk *c = calloc(1, sizeof(*c));

    if (!c)
        return NULL;
    c->p = p;
    c->arena = MM_ARENA_INIT;
    c->first = p->planned;
    c->count = chunk_size(p);
    if (mm_view_take_numbers(p->app->view, p->profile, c->count, &c->number) < 0) {
        free(c);
        return NULL;
    }
    p->planned += c->count;
    p->chunks++;
    return c;
}

static struct mm_chunk *next_chunk(struct mm_provision *p)
{
    struct mm_chunk *c = TAILQ_FIRST(&p->again);

    if (!c)
        return new_chunk(p);
    TAILQ_REMOVE(&p->again, c, link);
    return c;
}

static int mint(struct mm_chunk *c, struct mm_pool *pool, struct mm_errinfo *ei)
{
    struct mm_provision *p = c->p;
    Mintmark__Internal__TokenJob job;
    Mintmark__Internal__MintJob body;
    int r;

    mintmark__internal__token_job__init(&job);
    mintmark__internal__mint_job__init(&body);
    job.job_case = MINTMARK__INTERNAL__TOKEN_JOB__JOB_MINT;
    job.mint = &body;
    body.profile = p->profile;
    body.batch_uid = p->args.batch_uid;
    body.first_number = c->number;
    body.count = c->count;
    if (p->args.hw_serials) {
        body.hw_serials = p->args.hw_serials + c->first;
        body.n_hw_serials = c->count;
    }
    c->job = (struct mm_job){.arena = &c->arena, .done = on_minted};
    r = mm_mint_submit(&p->flow, pool, &c->job, c->count, &job.base, mm_call_deadline_us(p->call),
                       c->avoid, ei);
    if (r == MM_OK)
        p->running++;
    else if (r == MM_ERR_AGAIN)
        r = mm_fail(ei, MM_ERR_UNAVAILABLE, "TOKEN_UNAVAILABLE", "the workers read no more jobs");
    return r;
}

static struct mm_provision *provision_of(const struct mm_mint_flow *flow)
{
    return (struct mm_provision *)((uintptr_t)flow - offsetof(struct mm_provision, flow));
}

static bool flow_wants(const struct mm_mint_flow *flow)
{
    return wants(provision_of(flow));
}

/* Gives the next chunk to a worker; *ret_devices says how many devices it has. */
static int give_out(struct mm_provision *p, struct mm_pool *pool, unsigned *ret_devices,
                    struct mm_errinfo *ei)
{
    struct mm_chunk *c;
    int r;

    if (!mm_mint_is_current(p->flow.mint, p->shared))
        return mm_fail(ei, MM_ERR_UNAVAILABLE, "PROFILE_CHANGED",
                       "profile %s has another chain or key since a reload; call again",
                       p->profile);
    c = next_chunk(p);
    if (!c)
        return mm_fail_memory(ei);
    *ret_devices = c->count;
    r = mint(c, pool, ei);
    if (r < 0)
        free_chunk(c);
    return r;
}

static unsigned plan(struct mm_mint_flow *flow, struct mm_pool *pool)
{
    struct mm_provision *p = provision_of(flow);
    struct mm_errinfo ei = {0};
    unsigned devices = 0;

    if (give_out(p, pool, &devices, &ei) == MM_OK)
        return devices;
    mm_provision_end(p, &ei);
    return 0;
}

static void away(struct mm_mint_flow *flow, const struct mm_errinfo *ei)
{
    mm_provision_end(provision_of(flow), ei);
}

void mm_chunks_begin(struct mm_provision *p, struct mm_mint *mint)
{
    p->flow.wants = flow_wants;
    p->flow.plan = plan;
    p->flow.away = away;
    p->flow.cost = mm_mint_cost(mint, p->profile);
    mm_mint_join(mint, &p->flow);
    plan_on(p);
}

void mm_provisions_waiting(const struct mm_app *app, uint64_t *ret_devices, uint64_t *ret_chunks)
{
    const struct mm_provision *p;
    const struct mm_chunk *c;
    uint64_t devices = 0, chunks = 0;

    LIST_FOREACH(p, &app->provisions, link)
    {
        if (p->stage != MM_PROVISION_MINTING)
            continue;
        devices += p->to_make - p->planned;
        chunks += (p->to_make - p->planned + MM_CHUNK_DEVICES - 1) / MM_CHUNK_DEVICES;
        TAILQ_FOREACH(c, &p->again, link)
        {
            devices += c->count;
            chunks++;
        }
    }
    *ret_devices = devices;
    *ret_chunks = chunks;
}

/* ---- minted ------------------------------------------------------------------------------ */

/* Is it what was asked for? A worker that has lost its mind must not get its work recorded. */
static int check_minted(const struct mm_chunk *c, const Mintmark__Internal__MintResult *r,
                        struct mm_errinfo *ei)
{
    char *const *serials = c->p->args.hw_serials ? c->p->args.hw_serials + c->first : NULL;

    if (r->n_devices != c->count)
        return mm_fail(ei, MM_ERR_CORRUPT, "MINT_RESULT", "%zu devices in place of %u",
                       r->n_devices, c->count);
    for (size_t i = 0; i < r->n_devices; i++) {
        const Mintmark__Internal__DeviceRecord *d = r->devices[i];

        if (d->number != c->number + i || strcmp(d->hw_serial, serials ? serials[i] : "") != 0)
            return mm_fail(ei, MM_ERR_CORRUPT, "MINT_RESULT", "another device than asked for");
    }
    return MM_OK;
}

static int record(struct mm_chunk *c, struct mm_errinfo *ei)
{
    struct mm_provision *p = c->p;
    Mintmark__Internal__StoreJob job;
    Mintmark__Internal__SpendAndRecord body;
    int r = mm_app_check_store(p->app, ei);

    if (r < 0)
        return r;
    mintmark__internal__store_job__init(&job);
    mintmark__internal__spend_and_record__init(&body);
    job.job_case = MINTMARK__INTERNAL__STORE_JOB__JOB_SPEND_AND_RECORD;
    job.spend_and_record = &body;
    body.batch_uid = p->args.batch_uid;
    body.station = p->station;
    body.request_id = p->args.request_id;
    body.digest = (ProtobufCBinaryData){sizeof(p->args.digest), p->args.digest};
    body.request_count = p->args.count;
    body.now_ms = mm_clock_wall_ms();
    body.devices = c->minted->devices;
    body.n_devices = c->minted->n_devices;
    c->job = (struct mm_job){.done = on_recorded};
    r = mm_pool_submit(p->app->store, &c->job, &job.base, INT64_MAX, NULL, ei);
    if (r == MM_ERR_AGAIN)
        r = mm_fail(ei, MM_ERR_UNAVAILABLE, "STORE_BUSY", "the store has too much to do");
    if (r < 0)
        return r;
    p->running++;
    p->app->recording++;
    return MM_OK;
}

/* Another worker may do better when this one was lost or its token failed. */
static bool worth_another_try(const struct mm_errinfo *ei)
{
    return ei->code == MM_ERR_UNAVAILABLE || ei->code == MM_ERR_IO || ei->code == MM_ERR_CORRUPT;
}

/* What the station hears: its own mistakes and limits as they are, and of the token's troubles that
 * they are the token's, and may pass. */
static struct mm_errinfo for_station(const struct mm_errinfo *ei)
{
    struct mm_errinfo told = *ei;

    switch (ei->code) {
    case MM_ERR_INVALID:
        /* A profile knows one device's; the call's field has them all. */
        if (strcmp(told.field, "hw_serial") == 0)
            snprintf(told.field, sizeof(told.field), "hw_serials");
        return told;
    case MM_ERR_UNSUPPORTED:
    case MM_ERR_TIMEOUT:
    case MM_ERR_MEMORY:
    case MM_ERR_TOO_BIG:
        return told;
    default:
        mm_fail(&told, MM_ERR_UNAVAILABLE, "TOKEN_UNAVAILABLE", "%s", ei->text);
        told.retry_ms = 1000;
        return told;
    }
}

static void mint_failed(struct mm_chunk *c, const struct mm_errinfo *ei)
{
    struct mm_provision *p = c->p;
    struct mm_errinfo told;

    if (p->stage != MM_PROVISION_OVER && !c->tried && worth_another_try(ei)) {
        mm_log(MM_LOG_WARNING, "chunk_tried_again", MM_STR("request", p->call_id),
               MM_UINT("devices", c->count), MM_STR("reason", ei->reason),
               MM_STR("text", ei->text));
        c->tried = true;
        c->avoid = c->job.worker;
        mm_arena_reset(&c->arena);
        TAILQ_INSERT_TAIL(&p->again, c, link);
        plan_on(p);
        return;
    }
    free_chunk(c);
    told = for_station(ei);
    mm_provision_end(p, &told);
}

/* Until here the provision has counted the chunk among those that run, and so could not go. */
static void stopped_running(struct mm_provision *p)
{
    p->running--;
    mm_provision_collect(p);
}

static void on_minted(struct mm_job *job, const ProtobufCMessage *result,
                      const struct mm_errinfo *error)
{
    struct mm_chunk *c = (struct mm_chunk *)job;
    const Mintmark__Internal__TokenResult *r = (const Mintmark__Internal__TokenResult *)result;
    struct mm_provision *p = c->p;
    struct mm_errinfo ei = error ? *error : (struct mm_errinfo){0};

    if (r && r->result_case != MINTMARK__INTERNAL__TOKEN_RESULT__RESULT_MINT)
        mm_fail(&ei, MM_ERR_CORRUPT, "MINT_RESULT", "the worker gave another kind of answer");
    else if (r && check_minted(c, r->mint, &ei) == MM_OK)
        mm_pool_account(job, r->mint->token_cpu_us, r->mint->sampled_devices);
    if (ei.code != MM_OK) {
        mint_failed(c, &ei);
    } else if (p->discard) {
        free_chunk(c);
    } else {
        c->minted = r->mint;
        if (record(c, &ei) < 0) {
            free_chunk(c);
            mm_provision_end(p, &ei);
        }
    }
    stopped_running(p);
}

/* ---- recorded ---------------------------------------------------------------------------- */

/* False when the provision may be gone. */
static bool send_chunk(struct mm_provision *p, struct mm_chunk *c)
{
    ProtobufCBinaryData bundles[MM_CHUNK_DEVICES];
    bool sent;

    for (size_t i = 0; i < c->count; i++)
        bundles[i] = c->minted->devices[i]->bundle;
    TAILQ_REMOVE(&p->to_send, c, link);
    sent = mm_provision_send(p, bundles, c->count);
    free_chunk(c);
    return sent;
}

void mm_chunks_send(struct mm_provision *p)
{
    struct mm_chunk *c;

    while (!p->blocked && (c = TAILQ_FIRST(&p->to_send))) {
        if (!send_chunk(p, c))
            return;
    }
    if (p->planned == p->to_make && p->chunks == 0)
        mm_provision_end(p, NULL);
    else
        plan_on(p);
}

/* Whose quota it was that the store found used up. */
static void name_quota(const struct mm_provision *p, struct mm_errinfo *ei)
{
    if (strcmp(ei->reason, "BATCH_FULL") == 0)
        mm_err_subject(ei, "batch", p->args.batch_uid);
    else if (strcmp(ei->reason, "QUOTA_EXHAUSTED") == 0)
        mm_err_subject(ei, "order", p->reservation.order_id);
}

static void on_recorded(struct mm_job *job, const ProtobufCMessage *result,
                        const struct mm_errinfo *error)
{
    struct mm_chunk *c = (struct mm_chunk *)job;
    const Mintmark__Internal__StoreResult *r = (const Mintmark__Internal__StoreResult *)result;
    struct mm_provision *p = c->p;
    struct mm_app *app = p->app;
    struct mm_errinfo ei = error ? *error : (struct mm_errinfo){0};

    app->recording--;
    if (r && r->result_case != MINTMARK__INTERNAL__STORE_RESULT__RESULT_RECORDED)
        mm_fail(&ei, MM_ERR_INTERNAL, "STORE_ANSWER", "the store gave another kind of answer");
    if (ei.code == MM_OK) {
        mm_view_recorded(app->view, &p->reservation, c->count, r->recorded);
        app->devices_issued += c->count;
    }
    if (ei.code == MM_OK && p->stage != MM_PROVISION_OVER) {
        TAILQ_INSERT_TAIL(&p->to_send, c, link);
        mm_chunks_send(p);
    } else {
        free_chunk(c);
        name_quota(p, &ei);
        mm_provision_end(p, &ei);
    }
    stopped_running(p);
    mm_mints_kick(app->mints);
}
