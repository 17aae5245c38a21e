/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/front/mint_internal.h"

#include "daemon/base/clock.h"
#include "daemon/base/limits.h"

#include <limits.h>
#include <string.h>

/* So long after the last small call the next is not expected soon. */
enum { CALM_US = 10 * 1000 * 1000 };

struct mm_mint *mm_mint_get(struct mm_mints *m, const char *section)
{
    struct mm_mint *mint;

    LIST_FOREACH(mint, &m->all, link) {
        if (!mint->removed && strcmp(mint->section, section) == 0)
            return mint;
    }
    return NULL;
}

unsigned mm_mint_ready(const struct mm_mint *mint)
{
    unsigned n = 0;

    for (size_t i = 0; i < MM_MINT_POOLS; i++)
        n += mint->pools[i] ? mm_pool_ready(mint->pools[i]) : 0;
    return n;
}

unsigned mm_mints_ready(const struct mm_mints *m)
{
    const struct mm_mint *mint;
    unsigned n = 0;

    LIST_FOREACH(mint, &m->all, link) {
        n += mm_mint_ready(mint);
    }
    return n;
}

uint64_t mm_mints_turns(const struct mm_mints *m)
{
    return m->turns;
}

bool mm_mints_profile_ready(const struct mm_mints *m, const struct mm_conf_profile *profile)
{
    const struct mm_mint *mint;

    LIST_FOREACH(mint, &m->all, link) {
        if (!mint->removed && mm_mint_ready(mint) > 0 &&
            mm_conf_profile_in_token(profile, mint->section))
            return true;
    }
    return false;
}

const struct mm_mint_totals *mm_mint_totals(const struct mm_mint *mint)
{
    return &mint->totals;
}

static const struct mm_errinfo *why(const struct mm_mint *mint)
{
    static const struct mm_errinfo starting = {.text = "workers are starting"};
    const struct mm_errinfo *ei = NULL;

    for (size_t i = 0; i < MM_MINT_POOLS && (!ei || ei->code == MM_OK); i++)
        ei = mint->pools[i] ? mm_pool_why(mint->pools[i]) : ei;
    return ei && ei->code != MM_OK ? ei : &starting;
}

const char *mm_mints_away(const struct mm_mints *m, const struct mm_errinfo **ret_why)
{
    const struct mm_mint *mint;

    LIST_FOREACH(mint, &m->all, link) {
        if (mint->removed || mm_mint_ready(mint) > 0)
            continue;
        *ret_why = why(mint);
        return mint->section;
    }
    return NULL;
}

const struct mm_pool_stats *mm_mints_stats(const struct mm_mints *m)
{
    return &m->stats;
}

void mm_mints_each_worker(const struct mm_mints *m,
                          void (*each)(void *arg, const struct mm_pool_worker_info *info),
                          void *arg)
{
    const struct mm_mint *mint;

    LIST_FOREACH(mint, &m->all, link) {
        for (size_t i = 0; i < MM_MINT_POOLS; i++) {
            if (mint->pools[i])
                mm_pool_each(mint->pools[i], each, arg);
        }
    }
}

void mm_mints_each(const struct mm_mints *m,
                   void (*each)(void *arg, const struct mm_mint *mint, const char *section),
                   void *arg)
{
    const struct mm_mint *mint;

    LIST_FOREACH(mint, &m->all, link) {
        if (!mint->removed)
            each(arg, mint, mint->section);
    }
}

unsigned mm_mints_capacity(const struct mm_mints *m)
{
    const struct mm_mint *mint;
    unsigned jobs = 0;

    LIST_FOREACH(mint, &m->all, link) {
        if (!mint->removed && mint->pools[0])
            jobs += mm_pool_workers(mint->pools[0]) * mm_pool_depth(mint->pools[0]);
    }
    return jobs;
}

unsigned mm_mint_capacity(const struct mm_mint *mint)
{
    return mint->pools[0] ? mm_mint_ready(mint) * mm_pool_depth(mint->pools[0]) : 0;
}

int mm_mint_fail_away(const struct mm_mint *mint, struct mm_errinfo *ei)
{
    mm_fail(ei, MM_ERR_UNAVAILABLE, "TOKEN_UNAVAILABLE", "token %s is away: %s", mint->section,
            why(mint)->text);
    ei->retry_ms = 1000;
    return ei->code;
}

/* ---- the flows --------------------------------------------------------------------------- */

void mm_mint_join(struct mm_mint *mint, struct mm_mint_flow *flow)
{
    flow->mint = mint;
    LIST_INSERT_HEAD(&mint->flows, flow, link);
}

void mm_mint_leave(struct mm_mint_flow *flow)
{
    struct mm_mint *mint = flow->mint;

    if (!mint)
        return;
    mm_sched_remove(&mint->sched, &flow->flow);
    LIST_REMOVE(flow, link);
    flow->mint = NULL;
    mm_mint_collect(mint);
}

int mm_mint_want(struct mm_mint_flow *flow, const char *station, enum mm_sched_class class)
{
    if (!flow->account)
        flow->account = mm_account_get(flow->mint->mints->accounts, station);
    if (!flow->account)
        return MM_ERR_MEMORY;
    if (class == MM_SCHED_INTERACTIVE)
        flow->mint->small_us = mm_clock_mono_us();
    return mm_sched_add(&flow->mint->sched, &flow->flow, flow->account, class);
}

void mm_mint_pause(struct mm_mint_flow *flow)
{
    if (flow->mint)
        mm_sched_remove(&flow->mint->sched, &flow->flow);
}

uint64_t mm_chunk_us(int64_t calm_us, unsigned workers)
{
    const uint64_t apart_us = (uint64_t)MM_CHUNK_APART_US * workers;

    return calm_us > CALM_US || apart_us > MM_CHUNK_TARGET_US ? MM_CHUNK_TARGET_US : apart_us;
}

uint64_t mm_mint_chunk_us(const struct mm_mint *mint)
{
    return mm_chunk_us(mm_clock_mono_us() - mint->small_us, mm_mint_ready(mint));
}

struct mm_pool *mm_mint_pool_with_room(const struct mm_mint *mint)
{
    for (size_t i = 0; i < MM_MINT_POOLS; i++) {
        if (mint->pools[i] && mm_pool_room(mint->pools[i]))
            return mint->pools[i];
    }
    return NULL;
}

void mm_mint_kick(struct mm_mint *mint)
{
    struct mm_flow *next;
    struct mm_pool *pool;

    /* A plan may fail its call, whose end kicks again. */
    if (mint->pins > 0)
        return;
    mint->pins++;
    while ((next = mm_sched_next(&mint->sched)) && (pool = mm_mint_pool_with_room(mint)) &&
           mint->mints->ops->may_plan(mint->mints->arg)) {
        struct mm_mint_flow *flow =
            (struct mm_mint_flow *)((char *)next - offsetof(struct mm_mint_flow, flow));

        if (flow->wants(flow))
            flow->plan(flow, pool);
        else
            mm_sched_remove(&mint->sched, next);
    }
    mint->pins--;
    mm_mint_collect(mint);
}

void mm_mints_kick(struct mm_mints *m)
{
    struct mm_mint *mint, *next;

    for (mint = LIST_FIRST(&m->all); mint; mint = next) {
        next = LIST_NEXT(mint, link);
        mm_mint_kick(mint);
    }
}

void mm_mint_fail_flows(struct mm_mint *mint, const struct mm_errinfo *ei)
{
    struct mm_mint_flow *flow;

    mint->pins++;
    while ((flow = LIST_FIRST(&mint->flows)))
        flow->away(flow, ei);
    mint->pins--;
    mm_mint_collect(mint);
}

static void distrust_pools(struct mm_mint *mint, const struct mm_errinfo *why)
{
    mint->pins++;
    for (size_t i = 0; i < MM_MINT_POOLS; i++) {
        if (mint->pools[i])
            mm_pool_distrust(mint->pools[i], why);
    }
    mint->pins--;
    mm_mint_collect(mint);
}

void mm_mint_distrust(struct mm_mint *mint, const struct mm_errinfo *why)
{
    struct mm_mints *m = mint->mints;
    const uint64_t times = m->stats.distrusted;
    const struct mm_mint_token token = mint->token;
    struct mm_mint *other, *next;

    for (other = LIST_FIRST(&m->all); other; other = next) {
        next = LIST_NEXT(other, link);
        if (other == mint || (*token.serial && memcmp(&other->token, &token, sizeof(token)) == 0))
            distrust_pools(other, why);
    }
    m->stats.distrusted = times + 1; /* of one token, however many its pools are */
}

void mm_mint_on_distrusted(void *arg, struct mm_pool *pool, const struct mm_errinfo *why)
{
    (void)pool;
    mm_mint_distrust(arg, why);
}

static void on_grace(uv_timer_t *timer)
{
    struct mm_mint *mint = timer->data;
    struct mm_errinfo ei;

    mm_mint_fail_away(mint, &ei);
    mm_mint_fail_flows(mint, &ei);
}

/* ---- what the pools say ------------------------------------------------------------------ */

/* NULL: nothing that counts, for it is of an earlier configuration. */
static const Mintmark__Internal__TokenReady *
said(const struct mm_mint *mint, const struct mm_pool *pool, const ProtobufCMessage *result)
{
    const Mintmark__Internal__TokenResult *r = (const Mintmark__Internal__TokenResult *)result;

    return r->result_case == MINTMARK__INTERNAL__TOKEN_RESULT__RESULT_READY &&
                   pool == mint->pools[0]
               ? r->ready
               : NULL;
}

int mm_mint_check_ready(void *arg, struct mm_pool *pool, const ProtobufCMessage *result,
                        struct mm_errinfo *ei)
{
    const Mintmark__Internal__TokenReady *ready = said(arg, pool, result);

    return ready ? mm_mint_check_shared(arg, ready, ei) : MM_OK;
}

void mm_mint_on_ready(void *arg, struct mm_pool *pool, const ProtobufCMessage *result)
{
    struct mm_mint *mint = arg;
    const Mintmark__Internal__TokenReady *ready = said(mint, pool, result);
    bool changed;

    if (!ready)
        return;
    mint->token = (struct mm_mint_token){.module = {0}};
    snprintf(mint->token.module, sizeof(mint->token.module), "%s", ready->module);
    snprintf(mint->token.label, sizeof(mint->token.label), "%s", ready->token_label);
    snprintf(mint->token.serial, sizeof(mint->token.serial), "%s", ready->token_serial);
    mm_mint_size(mint, ready);
    changed = mm_mint_take_shared(mint, ready);
    for (size_t i = 1; i < MM_MINT_POOLS; i++) {
        if (mint->pools[i])
            mm_pool_retire(mint->pools[i],
                           changed || mm_pool_ready(pool) == mm_pool_workers(pool) ? UINT_MAX : 1);
    }
}

void mm_mint_on_changed(void *arg, struct mm_pool *pool)
{
    struct mm_mint *mint = arg;

    (void)pool;
    if (mint->was_ready != (mm_mint_ready(mint) > 0)) {
        mint->was_ready = !mint->was_ready;
        mint->mints->turns++;
    }
    if (mm_mint_ready(mint) > 0)
        uv_timer_stop(&mint->grace);
    else if (!uv_is_active((uv_handle_t *)&mint->grace))
        uv_timer_start(&mint->grace, on_grace, MM_MINT_GRACE_MS, 0);
    mint->mints->ops->changed(mint->mints->arg);
    /* All sections: a station may have been kept from another one by what it had running here. */
    mm_mints_kick(mint->mints);
}
