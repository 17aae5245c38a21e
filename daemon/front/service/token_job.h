/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One small job of a token for a call that does more than that: queued among the small jobs of its
 * client, given to a worker that has room, tried once more with another worker when the first was
 * lost. Calls that are nothing but such a job are struct mm_token_call.
 */
#pragma once

#include "daemon/front/app.h"
#include "internal/token.pb-c.h"

/* Embedded; the caller fills message, whose contents live until done, and done. Zeroed it is idle.
 */
struct mm_token_job {
    Mintmark__Internal__TokenJob message;
    uint32_t units; /* of work, for what it costs; 1 and up */
    /* The end of a begun one; one of the two is NULL. */
    void (*done)(struct mm_token_job *t, const Mintmark__Internal__TokenResult *result,
                 const struct mm_errinfo *ei);
    char client[MM_NAME_MAX + 1];
    struct mm_mint_flow flow;
    struct mm_job job;
    bool running; /* a worker has it */
    bool tried;   /* one worker was lost with it already: */
    const struct mm_pool_worker *avoid;
};

/* kind is for what it costs: no profile's name. On failure done is not called. MM_ERR_UNAVAILABLE
 * TOKEN_UNAVAILABLE, SERVICE_BUSY; MM_ERR_EXHAUSTED STATION_BUSY; MM_ERR_MEMORY. */
int mm_token_job_begin(struct mm_token_job *t, struct mm_app *app, const char *client,
                       const char *token, const char *kind, struct mm_errinfo *ei) MM_MUST_USE;
/* True: it waited, or was idle, and is forgotten; done is not called. False: a worker has it. */
bool mm_token_job_cancel(struct mm_token_job *t);
