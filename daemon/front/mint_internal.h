/* SPDX-License-Identifier: Apache-2.0 */
/* Inside minting: mint.c has flows and shared parts, mint_pools.c the coming and going of pools,
 * mint_shared.c what deliveries share, mint_cost.c what jobs cost, mint_admit.c what is refused for
 * it would wait in vain. */
#pragma once

#include "daemon/front/mint.h"

#include <stddef.h>

/* pools[0] is the one of the configuration in force; the others are on their way out, newest first.
 * More than one of these only when reloads come faster than workers go. */
enum { MM_MINT_POOLS = 4 };

/* Which token it is, as its workers said last; sections may share one. Compared byte for byte. */
struct mm_mint_token {
    char module[256], label[33], serial[17];
};

struct mm_mint {
    LIST_ENTRY(mm_mint) link;
    struct mm_mints *mints;
    char section[MM_NAME_MAX + 1];
    struct mm_mint_token token;
    struct mm_pool *pools[MM_MINT_POOLS];
    bool sizes_itself; /* workers = 0: how many pools[0] gets, its first worker says */
    struct mm_sched sched;
    LIST_HEAD(, mm_mint_flow) flows;
    LIST_HEAD(, mm_cost) costs;
    uv_timer_t grace; /* runs while no worker is ready */
    int64_t small_us; /* when a small call last wanted a job */
    unsigned pins;    /* functions that still look at it: not collected meanwhile */
    bool removed;     /* the configuration has it no more */
    bool was_ready;   /* as counted in turns */
    struct mm_mint_totals totals;
};

struct mm_mints {
    uv_loop_t *loop;
    struct mm_launcher *launcher;
    struct mm_accounts *accounts;
    const struct mm_mints_ops *ops;
    void *arg;
    struct mm_pool_stats stats;
    LIST_HEAD(, mm_mint) all;
    LIST_HEAD(, mm_shared) shared; /* one for a profile: mint_shared.c */
    uint64_t turns;                /* mm_mints_turns */
    const struct mm_conf *conf;    /* the one in force; NULL before the first */
    void (*stopped)(void *arg);
    void *stopped_arg;
};

extern const struct mm_pool_ops mm_mint_pool_ops;

/* May a worker of the section serve that comes with this? MM_ERR_PRECONDITION TOKENS_DIFFER:
 * workers of a section that the profile names before, and that serve, have something else for it.
 */
int mm_mint_check_shared(const struct mm_mint *mint, const Mintmark__Internal__TokenReady *ready,
                         struct mm_errinfo *ei) MM_MUST_USE;
/* It serves. True when what is known of a profile has changed: workers of other sections that serve
 * with the old are let go, or started anew; the caller's are the caller's business. */
bool mm_mint_take_shared(struct mm_mint *mint, const Mintmark__Internal__TokenReady *ready);
/* The section has new workers, which have said nothing yet; or is no more. */
void mm_mint_doubt_shared(struct mm_mint *mint);
void mm_mint_forget_shared(struct mm_mint *mint);

/* How many workers, for a token that is hardware or not, takes so many sessions (0: no limit known)
 * and has so many open that are not this section's. */
unsigned mm_mint_workers(bool hardware, uint64_t sessions_max, uint64_t others);
/* The first worker of pools[0] has said what its token takes: the others are added. */
void mm_mint_size(struct mm_mint *mint, const Mintmark__Internal__TokenReady *ready);

/* mm_mint_chunk_us, so long after the last small call, with so many workers that are ready. */
uint64_t mm_chunk_us(int64_t calm_us, unsigned workers);

int mm_mint_check_ready(void *arg, struct mm_pool *pool, const ProtobufCMessage *result,
                        struct mm_errinfo *ei) MM_MUST_USE;
void mm_mint_on_ready(void *arg, struct mm_pool *pool, const ProtobufCMessage *result);
void mm_mint_on_changed(void *arg, struct mm_pool *pool);
void mm_mint_on_distrusted(void *arg, struct mm_pool *pool, const struct mm_errinfo *why);
void mm_mint_on_ended(void *arg, struct mm_pool *pool, struct mm_job *job, bool ok);
void mm_mint_drop_costs(struct mm_mint *mint);
void mm_mint_fail_flows(struct mm_mint *mint, const struct mm_errinfo *ei);
/* Frees the section when it is removed and nobody needs it any more. */
void mm_mint_collect(struct mm_mint *mint);
