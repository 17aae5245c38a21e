/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The chunks of a call that makes devices: planned when a worker has room, minted, recorded, sent.
 * A chunk owns the arena that its devices were unpacked into, so that their bytes are copied once
 * on the way in and once on the way out, and nothing is allocated for a device by itself.
 */
#include "daemon/front/service/provision.h"

#include "daemon/base/clock.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* About how long a worker takes to prove its token. */
enum { DISTRUST_RETRY_MS = 1000 };

static void on_minted(struct mm_job *job, const ProtobufCMessage *result,
                      const struct mm_errinfo *ei);
static void on_recorded(struct mm_job *job, const ProtobufCMessage *result,
                        const struct mm_errinfo *ei);

/* Recorded, or never to be: the ledger need not wait for it. */
static void settle(struct mm_chunk *c)
{
    if (c->outstanding)
        mm_anchoring_end_devices(&c->p->app->anchoring, c->count);
    c->outstanding = false;
}

static void free_chunk(struct mm_chunk *c)
{
    settle(c);
    c->p->chunks--;
    mm_view_release(c->p->app->view, &c->reservation, c->reservation.n);
    mm_arena_done(&c->arena);
    free(c->csrs);
    free(c);
}

void mm_chunks_drop(struct mm_provision *p)
{
    struct mm_chunk *c;

    while ((c = TAILQ_FIRST(&p->to_send))) {
        TAILQ_REMOVE(&p->to_send, c, link);
        free_chunk(c);
    }
    while ((c = TAILQ_FIRST(&p->awaiting))) {
        TAILQ_REMOVE(&p->awaiting, c, link);
        free_chunk(c);
    }
    while ((c = TAILQ_FIRST(&p->to_mint))) {
        TAILQ_REMOVE(&p->to_mint, c, link);
        free_chunk(c);
    }
}

/* ---- planning ---------------------------------------------------------------------------- */

unsigned mm_chunks_window(const struct mm_provision *p)
{
    return mm_lanes_capacity(p) + MM_PROVISION_READ_AHEAD;
}

/* Of those that wait, the first that the section may have: one where it has failed does it only
 * when there is no other. */
static struct mm_chunk *first_for(const struct mm_provision *p, const struct mm_mint *mint)
{
    struct mm_chunk *c;

    TAILQ_FOREACH(c, &p->to_mint, link) {
        if (c->avoid_mint != mint || !mm_lanes_other(p, mint))
            return c;
    }
    return NULL;
}

/* Is there a chunk to give out now? A station that does not read gets nothing made in advance. */
static bool wants(const struct mm_provision *p, const struct mm_lane *lane)
{
    if (p->blocked)
        return false;
    return first_for(p, lane->flow.mint) ||
           (p->kind->next && !p->kind->complete(p) && p->chunks < mm_chunks_window(p) &&
            mm_elsewhere_has_room(p));
}

/* In the queues of all lanes that have something to do, and of no other. */
static int queue_up(struct mm_provision *p)
{
    int r = MM_OK;

    for (size_t i = 0; i < p->n_lanes && r == MM_OK; i++) {
        struct mm_lane *lane = &p->lanes[i];

        if (!lane->flow.mint)
            continue;
        if (wants(p, lane))
            r = mm_mint_want(&lane->flow, p->station, mm_provision_class(p));
        else
            mm_mint_pause(&lane->flow);
    }
    return r;
}

/* Joins or leaves the queues. The provision may be gone after it. */
static void plan_on(struct mm_provision *p)
{
    struct mm_app *app = p->app;
    struct mm_errinfo ei;

    if (p->kind->read_on)
        p->kind->read_on(p);
    mm_lanes_rejoin(p);
    if (queue_up(p) < 0) {
        mm_fail_memory(&ei);
        mm_provision_end(p, &ei);
    } else {
        mm_mints_kick(app->mints);
    }
}

struct mm_chunk *mm_chunk_new(struct mm_provision *p)
{
    struct mm_chunk *c = calloc(1, sizeof(*c));

    if (!c)
        return NULL;
    c->p = p;
    c->arena = MM_ARENA_INIT;
    p->chunks++;
    return c;
}

static struct mm_chunk *next_chunk(struct mm_provision *p, struct mm_lane *lane)
{
    struct mm_chunk *c = first_for(p, lane->flow.mint);

    if (c)
        TAILQ_REMOVE(&p->to_mint, c, link);
    else
        c = p->kind->next(p, lane);
    if (c)
        c->lane = lane;
    return c;
}

int mm_chunk_submit(struct mm_chunk *c, struct mm_pool *pool, Mintmark__Internal__TokenJob *job,
                    struct mm_errinfo *ei)
{
    struct mm_provision *p = c->p;
    int r;

    c->job = (struct mm_job){.arena = &c->arena, .done = on_minted};
    r = mm_mint_submit(&c->lane->flow, pool, &c->job, c->count, &job->base,
                       mm_call_deadline_us(p->call), c->avoid, ei);
    if (r == MM_OK) {
        c->made_in = c->lane->flow.mint;
        p->running++;
        c->outstanding = true;
        mm_anchoring_begin_devices(&p->app->anchoring, c->count);
    } else if (r == MM_ERR_AGAIN) {
        r = mm_fail(ei, MM_ERR_UNAVAILABLE, "TOKEN_UNAVAILABLE", "the workers read no more jobs");
    }
    return r;
}

static struct mm_lane *lane_of(const struct mm_mint_flow *flow)
{
    return (struct mm_lane *)((uintptr_t)flow - offsetof(struct mm_lane, flow));
}

static bool flow_wants(const struct mm_mint_flow *flow)
{
    const struct mm_lane *lane = lane_of(flow);

    return wants(lane->p, lane);
}

static uint64_t flow_waiting(const struct mm_mint_flow *flow)
{
    const struct mm_lane *lane = lane_of(flow);
    const struct mm_provision *p = lane->p;
    uint64_t devices = p->to_make - p->planned;
    const struct mm_chunk *c;

    TAILQ_FOREACH(c, &p->to_mint, link) {
        devices += c->count;
    }
    return mm_lane_share(lane, devices);
}

/* A chunk that is tried again keeps its numbers. */
static int take_numbers(struct mm_chunk *c, struct mm_errinfo *ei)
{
    const struct mm_provision *p = c->p;

    if (c->number == 0 && mm_view_take_numbers(p->app->view, p->profile, c->count, &c->number) < 0)
        return mm_fail_memory(ei);
    return MM_OK;
}

/* A slow token's turn is no reason to fail a call that another one can do in time. */
static int check_deadline(const struct mm_chunk *c, struct mm_errinfo *ei)
{
    const struct mm_mint_flow *quickest = mm_lanes_quickest(c->p, c->count);

    return mm_mint_check_deadline(quickest ? quickest : &c->lane->flow, c->count,
                                  mm_call_deadline_us(c->p->call), ei);
}

/* Gives the next chunk to a worker; *ret_devices says how many devices it has. model: PLAN */
static int give_out(struct mm_lane *lane, struct mm_pool *pool, unsigned *ret_devices,
                    struct mm_errinfo *ei)
{
    struct mm_provision *p = lane->p;
    struct mm_chunk *c;
    int r;

    if (!mm_mint_is_current(lane->flow.mint, p->shared))
        return mm_fail(ei, MM_ERR_UNAVAILABLE, "PROFILE_CHANGED",
                       "profile %s has another chain or key since a reload; call again",
                       p->profile);
    c = next_chunk(p, lane);
    if (!c)
        return mm_fail_memory(ei);
    *ret_devices = c->count;
    r = check_deadline(c, ei);
    if (r == MM_OK)
        r = take_numbers(c, ei);
    if (r == MM_OK)
        r = p->kind->mint(c, pool, ei);
    if (r < 0)
        free_chunk(c);
    return r;
}

static unsigned plan(struct mm_mint_flow *flow, struct mm_pool *pool)
{
    struct mm_lane *lane = lane_of(flow);
    struct mm_errinfo ei = {0};
    unsigned devices = 0;

    if (give_out(lane, pool, &devices, &ei) == MM_OK)
        return devices;
    mm_provision_end(lane->p, &ei);
    return 0;
}

static void away(struct mm_mint_flow *flow, const struct mm_errinfo *ei)
{
    struct mm_provision *p = lane_of(flow)->p;

    mm_mint_leave(flow);
    if (mm_lanes_joined(p))
        plan_on(p); /* what waited for this section, others do, now or when their time is up */
    else
        mm_provision_end(p, ei);
}

void mm_chunks_begin(struct mm_provision *p)
{
    static const struct mm_mint_flow callbacks = {
        .wants = flow_wants, .waiting = flow_waiting, .plan = plan, .away = away};

    mm_lanes_begin(p, &callbacks);
    mm_chunks_send(p);
}

void mm_provisions_waiting(const struct mm_app *app, uint64_t *ret_devices, uint64_t *ret_chunks)
{
    const struct mm_provision *p;
    const struct mm_chunk *c;
    uint64_t devices = 0, chunks = 0;

    LIST_FOREACH(p, &app->provisions, link) {
        if (p->stage != MM_PROVISION_MINTING)
            continue;
        devices += p->to_make - p->planned;
        chunks += (p->to_make - p->planned + MM_CHUNK_DEVICES - 1) / MM_CHUNK_DEVICES;
        TAILQ_FOREACH(c, &p->to_mint, link) {
            devices += c->count;
            chunks++;
        }
    }
    *ret_devices = devices;
    *ret_chunks = chunks;
}

/* ---- minted ------------------------------------------------------------------------------ */

void mm_chunk_spend(const struct mm_chunk *c, Mintmark__Internal__SpendAndRecord *ret_spend)
{
    struct mm_provision *p = c->p;

    mintmark__internal__spend_and_record__init(ret_spend);
    ret_spend->batch_uid = p->args.batch_uid;
    ret_spend->station = p->station;
    ret_spend->request_id = p->args.request_id;
    ret_spend->digest = (ProtobufCBinaryData){sizeof(p->args.digest), p->args.digest};
    ret_spend->now_ms = mm_clock_wall_ms();
    if (p->elsewhere || p->shared->chain_len == 0)
        return;
    ret_spend->chain = (ProtobufCBinaryData){p->shared->chain_len, p->shared->chain};
    ret_spend->chain_sha256 =
        (ProtobufCBinaryData){sizeof(p->shared->chain_sha256), p->shared->chain_sha256};
}

/* model: RECORD */
int mm_chunk_record(struct mm_chunk *c, Mintmark__Internal__StoreJob *job, struct mm_errinfo *ei)
{
    struct mm_app *app = c->p->app;
    int r = mm_app_check_store(app, ei);

    if (r < 0)
        return r;
    c->job = (struct mm_job){.arena = &c->arena, .done = on_recorded};
    r = mm_store_submit_at_once(app->store_queue, &c->job, job, c->p->account, c->count + 1,
                                INT64_MAX, ei);
    if (r < 0)
        return r;
    c->p->running++;
    app->recording++;
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

    /* No trouble of the token's, and no retry helps: an officer has to act first. */
    if (strcmp(ei->reason, "CA_KEY_NOT_BACKED_UP") == 0)
        return told;
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

    settle(c);
    if (p->stage != MM_PROVISION_OVER && !c->tried && worth_another_try(ei)) {
        mm_log(MM_LOG_WARNING, "chunk_tried_again", MM_STR("request", p->call_id),
               MM_UINT("devices", c->count), MM_STR("reason", ei->reason),
               MM_STR("text", ei->text));
        c->tried = true;
        c->avoid = c->job.worker;
        c->avoid_mint = c->made_in;
        mm_arena_reset(&c->arena);
        TAILQ_INSERT_TAIL(&p->to_mint, c, link);
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

    if (r)
        p->kind->take_minted(c, r, &ei);
    if (ei.code != MM_OK) {
        mint_failed(c, &ei);
    } else if (p->discard) {
        settle(c);
        free_chunk(c);
    } else if (p->kind->record(c, &ei) < 0) {
        settle(c);
        free_chunk(c);
        mm_provision_end(p, &ei);
    }
    stopped_running(p);
}

/* ---- recorded ---------------------------------------------------------------------------- */

void mm_chunks_send(struct mm_provision *p)
{
    struct mm_chunk *c;

    while (!p->blocked && (c = TAILQ_FIRST(&p->to_send))) {
        bool sent;

        TAILQ_REMOVE(&p->to_send, c, link);
        p->running++; /* the chunk is the provision's as long as it lives */
        sent = p->kind->send(p, c);
        free_chunk(c);
        stopped_running(p);
        if (!sent)
            return;
    }
    if (p->chunks > 0 || !p->kind->complete(p))
        plan_on(p);
    else if (p->kind->made)
        p->kind->made(p);
    else
        mm_provision_end(p, NULL);
}

void mm_chunk_finish(struct mm_chunk *c)
{
    struct mm_provision *p = c->p;

    settle(c);
    if (p->stage == MM_PROVISION_OVER) {
        free_chunk(c);
        return;
    }
    TAILQ_INSERT_TAIL(&p->to_send, c, link);
    mm_chunks_send(p);
}

/* Whose quota it was that the store found used up. */
static void name_quota(const struct mm_chunk *c, struct mm_errinfo *ei)
{
    const struct mm_reservation *reservation =
        *c->reservation.order_id ? &c->reservation : &c->p->reservation;

    if (strcmp(ei->reason, "BATCH_FULL") == 0)
        mm_err_subject(ei, "batch", c->p->args.batch_uid);
    else if (ei->code == MM_ERR_EXHAUSTED &&
             (strcmp(ei->reason, "QUOTA_EXHAUSTED") == 0 || strncmp(ei->reason, "ORDER_", 6) == 0))
        mm_err_subject(ei, "order", reservation->order_id);
}

/* What the token makes is random; that the store has it already is the token's fault. A repeated
 * key is told to the station as a token that is away: what it asks for again is made anew. */
static void look_at_duplicate(struct mm_provision *p, const struct mm_mint *made_in,
                              struct mm_errinfo *ei)
{
    const bool repeated = strcmp(ei->reason, "TOKEN_KEY_REPEATED") == 0;
    const struct mm_errinfo why = *ei;

    if (p->kind->on_device || (!repeated && strcmp(ei->reason, "DUPLICATE_DEVICE") != 0))
        return;
    for (size_t i = 0; i < p->n_lanes; i++) {
        if (p->lanes[i].flow.mint && p->lanes[i].flow.mint == made_in)
            mm_mint_distrust(p->lanes[i].flow.mint, &why);
    }
    if (!repeated)
        return;
    mm_fail(ei, MM_ERR_UNAVAILABLE, "TOKEN_UNAVAILABLE", "what the token made is false: %.180s",
            why.text);
    ei->retry_ms = DISTRUST_RETRY_MS;
}

/* model: REFUSE */
static void on_recorded(struct mm_job *job, const ProtobufCMessage *result,
                        const struct mm_errinfo *error)
{
    struct mm_chunk *c = (struct mm_chunk *)job;
    const Mintmark__Internal__StoreResult *r = (const Mintmark__Internal__StoreResult *)result;
    struct mm_provision *p = c->p;
    struct mm_app *app = p->app;
    struct mm_errinfo ei = error ? *error : (struct mm_errinfo){0};

    app->recording--;
    settle(c);
    if (r)
        p->kind->take_recorded(c, r, &ei);
    if (ei.code == MM_OK && c->awaited > 0 && p->stage != MM_PROVISION_OVER) {
        TAILQ_INSERT_TAIL(&p->awaiting, c, link);
    } else if (ei.code == MM_OK) {
        mm_chunk_finish(c);
    } else {
        const struct mm_mint *made_in = c->made_in;

        name_quota(c, &ei);
        free_chunk(c);
        look_at_duplicate(p, made_in, &ei);
        mm_provision_end(p, &ei);
    }
    stopped_running(p);
    mm_mints_kick(app->mints);
}
