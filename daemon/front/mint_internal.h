/* SPDX-License-Identifier: Apache-2.0 */
/* Inside minting: mint.c has flows and shared parts, mint_pools.c the coming and going of pools,
 * mint_cost.c what jobs cost, mint_admit.c what is refused for it would wait in vain. */
#pragma once

#include "daemon/front/mint.h"

#include <stddef.h>

/* pools[0] is the one of the configuration in force; the others are on their way out, newest first.
 * More than one of these only when reloads come faster than workers go. */
enum { MM_MINT_POOLS = 4 };

struct mm_mint {
    LIST_ENTRY(mm_mint) link;
    struct mm_mints *mints;
    char section[MM_NAME_MAX + 1];
    struct mm_pool *pools[MM_MINT_POOLS];
    unsigned jobs_per_worker;
    struct mm_sched sched;
    LIST_HEAD(, mm_mint_flow) flows;
    LIST_HEAD(, mm_shared) shared;
    LIST_HEAD(, mm_cost) costs;
    uv_timer_t grace; /* runs while no worker is ready */
    unsigned pins;    /* functions that still look at it: not collected meanwhile */
    bool removed;     /* the configuration has it no more */
};

struct mm_mints {
    uv_loop_t *loop;
    struct mm_launcher *launcher;
    struct mm_accounts *accounts;
    const struct mm_mints_ops *ops;
    void *arg;
    struct mm_pool_stats stats;
    LIST_HEAD(, mm_mint) all;
    void (*stopped)(void *arg);
    void *stopped_arg;
};

extern const struct mm_pool_ops mm_mint_pool_ops;

void mm_mint_on_ready(void *arg, struct mm_pool *pool, const ProtobufCMessage *result);
void mm_mint_on_changed(void *arg, struct mm_pool *pool);
void mm_mint_on_ended(void *arg, struct mm_pool *pool, struct mm_job *job, bool ok);
void mm_mint_drop_costs(struct mm_mint *mint);
void mm_mint_fail_flows(struct mm_mint *mint, const struct mm_errinfo *ei);
/* Frees the section when it is removed and nobody needs it any more. */
void mm_mint_collect(struct mm_mint *mint);
