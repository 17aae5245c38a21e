/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/front/service/token_job.h"

#include <stddef.h>
#include <stdio.h>

static struct mm_token_job *of_flow(const struct mm_mint_flow *flow)
{
    return (struct mm_token_job *)((uintptr_t)flow - offsetof(struct mm_token_job, flow));
}

static void end(struct mm_token_job *t, const Mintmark__Internal__TokenResult *result,
                const struct mm_errinfo *ei)
{
    mm_mint_leave(&t->flow);
    t->done(t, result, ei);
}

/* What the client hears of the token's troubles: that they are the token's, and may pass. */
static void told(struct mm_errinfo *ei)
{
    const struct mm_errinfo was = *ei;

    if (ei->code == MM_ERR_CORRUPT || ei->code == MM_ERR_MEMORY)
        return;
    mm_fail(ei, MM_ERR_UNAVAILABLE, "TOKEN_UNAVAILABLE", "%s", was.text);
    ei->retry_ms = was.retry_ms > 0 ? was.retry_ms : 1000;
}

static bool try_again(struct mm_token_job *t, const struct mm_errinfo *ei)
{
    if (t->tried || !t->flow.mint || (ei->code != MM_ERR_UNAVAILABLE && ei->code != MM_ERR_IO))
        return false;
    t->tried = true;
    t->avoid = t->job.worker;
    return mm_mint_want(&t->flow, t->client, MM_SCHED_INTERACTIVE) == MM_OK;
}

static void on_done(struct mm_job *job, const ProtobufCMessage *result,
                    const struct mm_errinfo *error)
{
    struct mm_token_job *t =
        (struct mm_token_job *)((char *)job - offsetof(struct mm_token_job, job));
    struct mm_errinfo ei;

    t->running = false;
    if (!error) {
        end(t, (const Mintmark__Internal__TokenResult *)result, NULL);
    } else if (try_again(t, error)) {
        mm_mint_kick(t->flow.mint);
    } else {
        ei = *error;
        told(&ei);
        end(t, NULL, &ei);
    }
}

static bool wants(const struct mm_mint_flow *flow)
{
    return !of_flow(flow)->running;
}

static unsigned plan(struct mm_mint_flow *flow, struct mm_pool *pool)
{
    struct mm_token_job *t = of_flow(flow);
    struct mm_errinfo ei = {0};
    int r;

    t->job = (struct mm_job){.done = on_done};
    r = mm_mint_submit(flow, pool, &t->job, t->units, &t->message.base, INT64_MAX, t->avoid, &ei);
    if (r == MM_OK) {
        t->running = true;
        return t->units;
    }
    told(&ei);
    end(t, NULL, &ei);
    return 0;
}

static void away(struct mm_mint_flow *flow, const struct mm_errinfo *ei)
{
    struct mm_token_job *t = of_flow(flow);

    if (t->running)
        mm_mint_leave(flow);
    else
        end(t, NULL, ei);
}

int mm_token_job_begin(struct mm_token_job *t, struct mm_app *app, const char *client,
                       const char *token, const char *kind, struct mm_errinfo *ei)
{
    struct mm_mint *mint = mm_mint_get(app->mints, token);
    int r;

    if (!mint)
        return mm_fail(ei, MM_ERR_UNAVAILABLE, "TOKEN_UNAVAILABLE",
                       "token %.64s is not in the configuration any more", token);
    if (mm_mint_ready(mint) == 0)
        return mm_mint_fail_away(mint, ei);
    snprintf(t->client, sizeof(t->client), "%s", client);
    t->tried = false;
    t->avoid = NULL;
    t->flow = (struct mm_mint_flow){
        .wants = wants, .plan = plan, .away = away, .cost = mm_mint_cost(mint, kind)};
    r = mm_mint_admit(mint, &t->flow, client, MM_SCHED_INTERACTIVE, t->units, INT64_MAX, ei);
    if (r < 0)
        return r;
    mm_mint_join(mint, &t->flow);
    if (mm_mint_want(&t->flow, client, MM_SCHED_INTERACTIVE) < 0) {
        mm_mint_leave(&t->flow);
        return mm_fail_memory(ei);
    }
    mm_mint_kick(mint);
    return MM_OK;
}

bool mm_token_job_cancel(struct mm_token_job *t)
{
    if (t->running)
        return false;
    mm_mint_leave(&t->flow);
    return true;
}
