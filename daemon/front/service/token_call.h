/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A unary call that takes one small job of a token, as its stages: queued among the small calls of
 * its station, ahead of bulk; given to a worker that has room; tried once more with another worker
 * when the first was lost; answered. What runs is heard to its end, also when the call is gone.
 */
#pragma once

#include "daemon/front/app.h"
#include "internal/token.pb-c.h"

struct mm_token_call;

struct mm_token_call_ops {
    const char *kind; /* of job, for what it costs: no profile's name */
    Mintmark__Internal__TokenResult__ResultCase expected;
    /* The end. One of result (borrowed during this function) and ei is NULL. Logs, and if c->call
     * is not NULL ends it. */
    void (*done)(struct mm_token_call *c, const Mintmark__Internal__TokenResult *result,
                 const struct mm_errinfo *ei);
    /* After done: frees what the service had allocated, c included. */
    void (*destroy)(struct mm_token_call *c);
};

/* Embedded in what the service keeps of the call. The service fills message, whose contents live
 * until destroy, and units before it begins. The rest is filled by mm_token_call_begin. */
struct mm_token_call {
    Mintmark__Internal__TokenJob message;
    uint32_t units; /* of work, for what it costs; 1 and up */
    const struct mm_token_call_ops *ops;
    struct mm_app *app;
    struct mm_call *call; /* NULL once it is over */
    char station[MM_NAME_MAX + 1];
    char call_id[32]; /* outlives the call */
    int64_t began_us, deadline_us;
    struct mm_mint_flow flow;
    struct mm_job job;
    bool running; /* a worker has it */
    bool tried;   /* one worker was lost with it already: */
    const struct mm_pool_worker *avoid;
};

/* Takes c, and the call. `done` follows, now or later, in any case. */
void mm_token_call_begin(struct mm_token_call *c, struct mm_call *call,
                         const struct mm_token_call_ops *ops, const char *token);

/* For logs: since it began. */
int64_t mm_token_call_ms(const struct mm_token_call *c);
