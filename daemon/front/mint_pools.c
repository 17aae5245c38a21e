/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/front/mint_internal.h"

#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

int mm_mints_new(uv_loop_t *loop, struct mm_launcher *launcher, struct mm_accounts *accounts,
                 const struct mm_mints_ops *ops, void *arg, struct mm_mints **ret_mints,
                 struct mm_errinfo *ei)
{
    struct mm_mints *m = calloc(1, sizeof(*m));

    if (!m)
        return mm_fail_memory(ei);
    m->loop = loop;
    m->launcher = launcher;
    m->accounts = accounts;
    m->ops = ops;
    m->arg = arg;
    LIST_INIT(&m->all);
    LIST_INIT(&m->shared);
    *ret_mints = m;
    return MM_OK;
}

static bool has_pools(const struct mm_mint *mint)
{
    for (size_t i = 0; i < MM_MINT_POOLS; i++) {
        if (mint->pools[i])
            return true;
    }
    return false;
}

static void on_timer_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void destroy(struct mm_mint *mint)
{
    mm_mint_forget_shared(mint);
    mm_sched_done(&mint->sched);
    mm_mint_drop_costs(mint);
    LIST_REMOVE(mint, link);
    uv_close((uv_handle_t *)&mint->grace, on_timer_closed);
}

void mm_mint_collect(struct mm_mint *mint)
{
    struct mm_mints *m = mint->mints;

    if (!mint->removed || mint->pins > 0 || has_pools(mint) || !LIST_EMPTY(&mint->flows) ||
        uv_is_closing((uv_handle_t *)&mint->grace))
        return;
    destroy(mint);
    if (LIST_EMPTY(&m->all) && m->stopped)
        m->stopped(m->stopped_arg);
}

static void on_empty(void *arg, struct mm_pool *pool)
{
    struct mm_mint *mint = arg;

    for (size_t i = 0; i < MM_MINT_POOLS; i++) {
        if (mint->pools[i] == pool)
            mint->pools[i] = NULL;
    }
    mm_pool_free(pool);
    mm_mint_collect(mint);
}

const struct mm_pool_ops mm_mint_pool_ops = {
    .check = mm_mint_check_ready,
    .ready = mm_mint_on_ready,
    .changed = mm_mint_on_changed,
    .ended = mm_mint_on_ended,
    .distrusted = mm_mint_on_distrusted,
    .empty = on_empty,
};

static struct mm_mint *add_mint(struct mm_mints *m, const char *section)
{
    struct mm_mint *mint = calloc(1, sizeof(*mint));

    if (!mint)
        return NULL;
    mint->mints = m;
    snprintf(mint->section, sizeof(mint->section), "%s", section);
    mm_sched_init(&mint->sched, m->accounts);
    LIST_INIT(&mint->flows);
    LIST_INIT(&mint->costs);
    uv_timer_init(m->loop, &mint->grace);
    mint->grace.data = mint;
    LIST_INSERT_HEAD(&m->all, mint, link);
    return mint;
}

/* The processors that this process may use. */
static unsigned processors(void)
{
    cpu_set_t set;
    int n;

    if (sched_getaffinity(0, sizeof(set), &set) < 0)
        return 1;
    n = CPU_COUNT(&set);
    return n > 0 ? (unsigned)n : 1;
}

static unsigned least(uint64_t a, uint64_t b)
{
    return (unsigned)(a < b ? a : b);
}

static unsigned most_workers(void)
{
    const unsigned n = processors();

    return n < MM_TOKEN_WORKERS_AUTO ? MM_TOKEN_WORKERS_AUTO : least(n, MM_TOKEN_WORKERS_MAX);
}

/* Software is as fast as the processors; hardware is waited for. A session is left over, with which
 * an officer looks at the token, or a reload's first worker takes over from another. */
unsigned mm_mint_workers(bool hardware, uint64_t sessions_max, uint64_t others)
{
    const unsigned wanted =
        hardware ? MM_TOKEN_WORKERS_AUTO : least(processors(), MM_TOKEN_WORKERS_MAX);

    if (sessions_max == 0)
        return wanted;
    if (sessions_max < 2 || others >= sessions_max - 1)
        return 1;
    return least(wanted, sessions_max - others - 1);
}

void mm_mint_size(struct mm_mint *mint, const Mintmark__Internal__TokenReady *ready)
{
    uint64_t ours = 0;

    if (!mint->sizes_itself || mint->removed)
        return;
    mint->sizes_itself = false;
    /* A module counts its own process's sessions, or all that the token has (PKCS#11 v2.40 base
     * 3.2 has the first; HSMs do the second). */
    for (size_t i = 0; i < MM_MINT_POOLS; i++)
        ours += mint->pools[i] ? mm_pool_ready(mint->pools[i]) : 0;
    mm_pool_grow(mint->pools[0],
                 mm_mint_workers(ready->hardware, ready->sessions_max,
                                 ready->sessions > ours ? ready->sessions - ours : 0));
    mint->mints->ops->sized(mint->mints->arg);
}

static int new_pool(struct mm_mint *mint, const struct mm_conf *conf,
                    const struct mm_conf_token *token, struct mm_bytes conf_text,
                    struct mm_pool **ret_pool, struct mm_errinfo *ei)
{
    char name[MM_NAME_MAX + 16] = "token";
    struct mm_pool_options options = {
        .kind = &mm_pool_token,
        .name = name,
        .section = token->name,
        .workers = token->workers ? token->workers : 1,
        .workers_max = token->workers ? 0 : most_workers(),
        .jobs_per_worker = conf->limits.jobs_per_worker,
        .job_timeout_ms = token->job_timeout_ms,
        .probe_ms = MM_TOKEN_PROBE_MS,
        .conf_path = conf->path,
        .conf_text = conf_text,
        .stats = &mint->mints->stats,
        .ops = &mm_mint_pool_ops,
        .arg = mint,
    };

    if (conf->n_tokens > 1)
        snprintf(name, sizeof(name), "token.%s", token->name);
    return mm_pool_new(mint->mints->loop, mint->mints->launcher, &options, ret_pool, ei);
}

/* Room for one pool more, by moving the others towards the way out. */
static int make_room(struct mm_mint *mint, struct mm_errinfo *ei)
{
    size_t free_slot = MM_MINT_POOLS;

    for (size_t i = 0; i < MM_MINT_POOLS && free_slot == MM_MINT_POOLS; i++) {
        if (!mint->pools[i])
            free_slot = i;
    }
    if (free_slot == MM_MINT_POOLS)
        return mm_fail(ei, MM_ERR_UNAVAILABLE, "RELOAD_BUSY",
                       "workers of earlier reloads are still leaving; try again soon");
    for (; free_slot > 0; free_slot--)
        mint->pools[free_slot] = mint->pools[free_slot - 1];
    mint->pools[0] = NULL;
    return MM_OK;
}

/* A pool that has never served is of no use beside its successor, if an older one still serves. */
static void drop_failed(struct mm_mint *mint)
{
    if (mint->pools[1] && mm_pool_ready(mint->pools[1]) == 0)
        mm_pool_kill(mint->pools[1]);
}

static void adopt(struct mm_mint *mint, struct mm_pool *pool, bool sizes_itself)
{
    mint->pools[0] = pool;
    mm_mint_doubt_shared(mint);
    mint->sizes_itself = sizes_itself;
    drop_failed(mint);
}

static void remove_mint(struct mm_mint *mint)
{
    struct mm_errinfo ei;

    mint->removed = true;
    mint->pins++;
    for (size_t i = 0; i < MM_MINT_POOLS; i++) {
        if (mint->pools[i])
            mm_pool_retire(mint->pools[i], UINT_MAX);
    }
    mint->pins--;
    mm_fail(&ei, MM_ERR_UNAVAILABLE, "TOKEN_UNAVAILABLE", "token %s has left the configuration",
            mint->section);
    mm_mint_fail_flows(mint, &ei);
}

static void remove_missing(struct mm_mints *m, const struct mm_conf *conf)
{
    struct mm_mint *mint, *next;

    for (mint = LIST_FIRST(&m->all); mint; mint = next) {
        next = LIST_NEXT(mint, link);
        if (!mint->removed && !mm_conf_token_get(conf, mint->section))
            remove_mint(mint);
    }
}

/* The pools to come, one for each token section of the configuration. */
struct plan {
    struct mm_mint *mints[MM_TOKENS_MAX];
    struct mm_pool *pools[MM_TOKENS_MAX];
    size_t n;
};

static int prepare(struct mm_mints *m, const struct mm_conf *conf, struct mm_bytes conf_text,
                   struct plan *plan, struct mm_errinfo *ei)
{
    for (plan->n = 0; plan->n < conf->n_tokens; plan->n++) {
        const struct mm_conf_token *token = &conf->tokens[plan->n];
        struct mm_mint *mint = mm_mint_get(m, token->name);
        int r;

        if (!mint)
            mint = add_mint(m, token->name);
        if (!mint)
            return mm_fail_memory(ei);
        plan->mints[plan->n] = mint;
        r = make_room(mint, ei);
        if (r == MM_OK)
            r = new_pool(mint, conf, token, conf_text, &plan->pools[plan->n], ei);
        if (r < 0)
            return r;
    }
    return MM_OK;
}

/* Closes the gap that make_room has left. */
static void take_back(struct mm_mint *mint)
{
    if (mint->pools[0])
        return;
    for (size_t i = 0; i + 1 < MM_MINT_POOLS; i++)
        mint->pools[i] = mint->pools[i + 1];
    mint->pools[MM_MINT_POOLS - 1] = NULL;
    mint->removed = !has_pools(mint);
    mm_mint_collect(mint);
}

int mm_mints_configure(struct mm_mints *m, const struct mm_conf *conf, struct mm_bytes conf_text,
                       struct mm_errinfo *ei)
{
    struct plan plan = {.n = 0};
    int r = prepare(m, conf, conf_text, &plan, ei);

    if (r < 0) {
        for (size_t i = 0; i <= plan.n && i < MM_TOKENS_MAX && plan.mints[i]; i++) {
            mm_pool_free(plan.pools[i]);
            take_back(plan.mints[i]);
        }
        return r;
    }
    for (size_t i = 0; i < plan.n; i++)
        adopt(plan.mints[i], plan.pools[i], conf->tokens[i].workers == 0);
    m->turns++;
    m->conf = conf;
    remove_missing(m, conf);
    return MM_OK;
}

void mm_mints_stop(struct mm_mints *m, bool at_once, void (*done)(void *arg), void *arg)
{
    struct mm_mint *mint, *next;

    m->stopped = done;
    m->stopped_arg = arg;
    if (LIST_EMPTY(&m->all)) {
        done(arg);
        return;
    }
    for (mint = LIST_FIRST(&m->all); mint; mint = next) {
        next = LIST_NEXT(mint, link);
        mint->pins++;
        for (size_t i = 0; at_once && i < MM_MINT_POOLS; i++) {
            if (mint->pools[i])
                mm_pool_kill(mint->pools[i]);
        }
        mint->pins--;
        remove_mint(mint);
    }
}

void mm_mints_free(struct mm_mints *m)
{
    free(m);
}
