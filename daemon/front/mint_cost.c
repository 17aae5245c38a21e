/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/front/mint_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MEMORY = 64 }; /* jobs that a cost goes by */

struct mm_cost *mm_mint_cost(struct mm_mint *mint, const char *kind)
{
    struct mm_cost *cost;

    LIST_FOREACH(cost, &mint->costs, link) {
        if (strcmp(cost->kind, kind) == 0)
            return cost;
    }
    cost = calloc(1, sizeof(*cost));
    if (!cost)
        return NULL;
    snprintf(cost->kind, sizeof(cost->kind), "%s", kind);
    LIST_INSERT_HEAD(&mint->costs, cost, link);
    return cost;
}

void mm_mint_drop_costs(struct mm_mint *mint)
{
    struct mm_cost *cost;

    while ((cost = LIST_FIRST(&mint->costs))) {
        LIST_REMOVE(cost, link);
        free(cost);
    }
}

int mm_mint_submit(struct mm_mint_flow *flow, struct mm_pool *pool, struct mm_job *job,
                   uint32_t units, ProtobufCMessage *message, int64_t deadline_us,
                   const struct mm_pool_worker *avoid, struct mm_errinfo *ei)
{
    int r = mm_pool_submit(pool, job, message, deadline_us, avoid, ei);

    if (r < 0)
        return r;
    job->account = flow->account;
    job->cost = flow->cost;
    job->units = units;
    mm_sched_charge(&flow->mint->sched, &flow->flow, mm_cost_us(flow->cost, units), &job->charge);
    return MM_OK;
}

/* What fails early says nothing of what it would have taken. */
void mm_mint_on_ended(void *arg, struct mm_pool *pool, struct mm_job *job, bool ok)
{
    struct mm_mint *mint = arg;

    (void)pool;
    if (!job->account)
        return;
    mm_sched_settle(&mint->sched, &job->charge, (uint64_t)job->took_us);
    job->account->jobs++;
    job->account->token_us += (uint64_t)job->took_us;
    mint->totals.busy_us += (uint64_t)job->took_us;
    mint->totals.jobs += ok ? 1 : 0;
    mint->totals.units += ok ? job->units : 0;
    if (ok && job->cost)
        mm_cost_learn(job->cost, job->units, job->took_us, MEMORY);
}
