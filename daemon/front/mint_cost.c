/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/front/mint_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A job weighs as much as it has units, so that what a lone device takes beyond its share of a
 * chunk does not make chunks look dear. */
enum { WEIGHT_MAX = MM_CHUNK_DEVICES, WEIGHTS = 4 * MM_CHUNK_DEVICES };

struct mm_cost {
    LIST_ENTRY(mm_cost) link;
    char kind[MM_NAME_MAX + 1];
    int64_t unit_ns; /* moving average; 0: not measured yet */
};

struct mm_cost *mm_mint_cost(struct mm_mint *mint, const char *kind)
{
    struct mm_cost *cost;

    LIST_FOREACH(cost, &mint->costs, link)
    {
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

uint64_t mm_cost_us(const struct mm_cost *cost, uint64_t units)
{
    return cost ? (uint64_t)cost->unit_ns * units / 1000 : 0;
}

static void learn(struct mm_cost *cost, uint32_t units, int64_t took_us)
{
    const int64_t weight = units < WEIGHT_MAX ? units : WEIGHT_MAX;
    const int64_t unit_ns = took_us * 1000 / units;

    cost->unit_ns += cost->unit_ns ? (unit_ns - cost->unit_ns) * weight / WEIGHTS : unit_ns;
}

int mm_mint_submit(struct mm_mint_flow *flow, struct mm_pool *pool, struct mm_job *job,
                   uint32_t units, ProtobufCMessage *message, int64_t deadline_us,
                   const struct mm_pool_worker *avoid, struct mm_errinfo *ei)
{
    int r = mm_pool_submit(pool, job, message, deadline_us, avoid, ei);

    if (r < 0)
        return r;
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
    mm_sched_settle(&mint->sched, &job->charge, (uint64_t)job->took_us);
    if (ok && job->cost && job->units > 0)
        learn(job->cost, job->units, job->took_us);
}
