/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/front/service/token_call.h"

#include "daemon/base/clock.h"

#include <stdio.h>

static struct mm_token_call *of_flow(const struct mm_mint_flow *flow)
{
    return (struct mm_token_call *)((uintptr_t)flow - offsetof(struct mm_token_call, flow));
}

int64_t mm_token_call_ms(const struct mm_token_call *c)
{
    return (mm_clock_mono_us() - c->began_us) / 1000;
}

static void end(struct mm_token_call *c, const Mintmark__Internal__TokenResult *result,
                const struct mm_errinfo *ei)
{
    mm_mint_leave(&c->flow);
    c->ops->done(c, result, ei);
    c->ops->destroy(c);
}

static void on_cancel(struct mm_call *call, void *user)
{
    struct mm_token_call *c = user;
    struct mm_errinfo ei;

    (void)call;
    c->call = NULL;
    if (c->running)
        return;
    mm_fail(&ei, MM_ERR_CANCELLED, "CANCELLED", "the client went away or its deadline passed");
    end(c, NULL, &ei);
}

/* What the client hears: its own mistakes as they are, and of the token's troubles that they are
 * the token's, and may pass. A worker of an older configuration than the front's is one of these.
 */
static void told(struct mm_errinfo *ei)
{
    const struct mm_errinfo was = *ei;

    /* No trouble of the token's, and no retry helps: an officer has to act first. */
    if (strcmp(was.reason, "CA_KEY_NOT_BACKED_UP") == 0)
        return;
    switch (ei->code) {
    case MM_ERR_INVALID:
    case MM_ERR_TIMEOUT:
    case MM_ERR_MEMORY:
    case MM_ERR_CORRUPT:
    case MM_ERR_UNSUPPORTED:
        return;
    default:
        mm_fail(ei, MM_ERR_UNAVAILABLE, "TOKEN_UNAVAILABLE", "%s", was.text);
        ei->retry_ms = was.retry_ms > 0 ? was.retry_ms : 1000;
    }
}

/* False: nothing more is to be done for it. */
static bool try_again(struct mm_token_call *c, const struct mm_errinfo *ei)
{
    if (!c->call || c->tried || !c->flow.mint ||
        (ei->code != MM_ERR_UNAVAILABLE && ei->code != MM_ERR_IO))
        return false;
    c->tried = true;
    c->avoid = c->job.worker;
    return mm_mint_want(&c->flow, c->station, MM_SCHED_INTERACTIVE) == MM_OK;
}

static void on_done(struct mm_job *job, const ProtobufCMessage *result,
                    const struct mm_errinfo *error)
{
    struct mm_token_call *c =
        (struct mm_token_call *)((char *)job - offsetof(struct mm_token_call, job));
    const Mintmark__Internal__TokenResult *r = (const Mintmark__Internal__TokenResult *)result;
    struct mm_errinfo ei = error ? *error : (struct mm_errinfo){0};

    c->running = false;
    if (r && r->result_case != c->ops->expected)
        mm_fail(&ei, MM_ERR_INTERNAL, "TOKEN_ANSWER", "the worker gave another kind of answer");
    if (ei.code == MM_OK) {
        end(c, r, NULL);
    } else if (try_again(c, &ei)) {
        mm_log(MM_LOG_WARNING, "token_call_tried_again", MM_STR("request", c->call_id),
               MM_STR("reason", ei.reason), MM_STR("text", ei.text));
        mm_mint_kick(c->flow.mint);
    } else {
        told(&ei);
        end(c, NULL, &ei);
    }
}

static bool wants(const struct mm_mint_flow *flow)
{
    return !of_flow(flow)->running;
}

static unsigned plan(struct mm_mint_flow *flow, struct mm_pool *pool)
{
    struct mm_token_call *c = of_flow(flow);
    struct mm_errinfo ei = {0};
    int r;

    c->job = (struct mm_job){.done = on_done};
    r = mm_mint_submit(flow, pool, &c->job, c->units, &c->message.base, c->deadline_us, c->avoid,
                       &ei);
    if (r == MM_ERR_AGAIN)
        mm_fail(&ei, MM_ERR_UNAVAILABLE, "TOKEN_UNAVAILABLE", "the workers read no more jobs");
    if (r == MM_OK) {
        c->running = true;
        return c->units;
    }
    told(&ei);
    end(c, NULL, &ei);
    return 0;
}

static void away(struct mm_mint_flow *flow, const struct mm_errinfo *ei)
{
    struct mm_token_call *c = of_flow(flow);

    if (c->running)
        mm_mint_leave(flow);
    else
        end(c, NULL, ei);
}

/* Joins the queue of the token's section. */
static int queue(struct mm_token_call *c, const char *token, struct mm_errinfo *ei)
{
    struct mm_mint *mint = mm_mint_get(c->app->mints, token);
    int r = mm_app_check_open(c->app, ei);

    if (r < 0)
        return r;
    if (!mint)
        return mm_fail(ei, MM_ERR_NOT_FOUND, "UNKNOWN_TOKEN", "there is no token section %.64s",
                       token);
    if (mm_mint_ready(mint) == 0)
        return mm_mint_fail_away(mint, ei);
    c->flow.cost = mm_mint_cost(mint, c->ops->kind);
    r = mm_mint_admit(mint, &c->flow, c->station, MM_SCHED_INTERACTIVE, c->units, c->deadline_us,
                      ei);
    if (r < 0)
        return r;
    mm_mint_join(mint, &c->flow);
    r = mm_mint_want(&c->flow, c->station, MM_SCHED_INTERACTIVE);
    return r < 0 ? mm_fail_memory(ei) : MM_OK;
}

void mm_token_call_begin(struct mm_token_call *c, struct mm_call *call,
                         const struct mm_token_call_ops *ops, const char *token)
{
    static const struct mm_call_ops call_ops = {.on_cancel = on_cancel};
    struct mm_errinfo ei = {0};

    c->ops = ops;
    c->app = mm_call_app(call);
    c->call = call;
    c->began_us = mm_clock_mono_us();
    c->deadline_us = mm_call_deadline_us(call);
    c->flow.wants = wants;
    c->flow.plan = plan;
    c->flow.away = away;
    snprintf(c->station, sizeof(c->station), "%s", mm_call_peer(call)->name);
    snprintf(c->call_id, sizeof(c->call_id), "%s", mm_call_id(call));
    if (queue(c, token, &ei) < 0) {
        end(c, NULL, &ei);
        return;
    }
    mm_call_set(call, &call_ops, c);
    mm_mint_kick(c->flow.mint);
}
