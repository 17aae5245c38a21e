/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/front/trusting.h"

#include "daemon/base/clock.h"
#include "daemon/front/app.h"
#include "daemon/front/job.h"

enum { TICK_MS = 100, PATIENCE_US = 10000000 };

static void end(struct mm_trusting *t, const struct mm_errinfo *ei)
{
    void (*done)(void *arg, const struct mm_errinfo *) = MM_TAKE(t->done);

    uv_timer_stop(&t->timer);
    if (done)
        done(t->arg, ei);
}

/* The store is away, has no room, or has ended over it: that may be over in a moment. */
static bool may_pass(const struct mm_errinfo *ei)
{
    return ei->code == MM_ERR_UNAVAILABLE || ei->code == MM_ERR_AGAIN;
}

static void failed(struct mm_trusting *t, const struct mm_errinfo *ei)
{
    t->last = *ei;
    if (!may_pass(ei) || mm_clock_mono_us() >= t->by_us)
        end(t, &t->last);
}

static void on_done(struct mm_job *job, const ProtobufCMessage *result, const struct mm_errinfo *ei)
{
    struct mm_trusting *t = (struct mm_trusting *)job;
    const Mintmark__Internal__StoreResult *r = (const Mintmark__Internal__StoreResult *)result;
    struct mm_errinfo wrong;

    t->running = false;
    if (r && r->result_case != MINTMARK__INTERNAL__STORE_RESULT__RESULT_TRUSTED_TAKEN) {
        mm_fail(&wrong, MM_ERR_INTERNAL, "STORE_ANSWER", "the store gave another kind of answer");
        ei = &wrong;
    }
    if (ei) {
        failed(t, ei);
        return;
    }
    t->owed = false;
    end(t, NULL);
}

static void try(struct mm_trusting *t)
{
    Mintmark__Internal__TakeTrusted body = MINTMARK__INTERNAL__TAKE_TRUSTED__INIT;
    Mintmark__Internal__StoreJob job = MM_STORE_JOB(TAKE_TRUSTED, take_trusted, &body);
    struct mm_errinfo ei = {0};
    int r = mm_app_check_store(t->app, &ei);

    t->job = (struct mm_job){.done = on_done};
    if (r == MM_OK)
        r = mm_pool_submit(t->app->store, &t->job, &job.base, INT64_MAX, NULL, &ei);
    if (r == MM_ERR_AGAIN)
        mm_fail(&ei, MM_ERR_AGAIN, "STORE_BUSY", "the store has no room for the certificates");
    if (r == MM_OK)
        t->running = t->owed = true;
    else
        failed(t, &ei);
}

static void on_tick(uv_timer_t *timer)
{
    struct mm_trusting *t = timer->data;

    if (!t->running)
        try(t);
}

int mm_trusting_start(struct mm_trusting *t, struct mm_app *app)
{
    t->app = app;
    if (uv_timer_init(app->loop, &t->timer) < 0)
        return MM_ERR_MEMORY;
    t->timer.data = t;
    return MM_OK;
}

void mm_trusting_take(struct mm_trusting *t, bool changed,
                      void (*done)(void *arg, const struct mm_errinfo *ei), void *arg)
{
    t->done = done;
    t->arg = arg;
    if (!changed && !t->owed) {
        end(t, NULL);
        return;
    }
    t->by_us = mm_clock_mono_us() + PATIENCE_US;
    uv_timer_start(&t->timer, on_tick, TICK_MS, TICK_MS);
    try(t);
}

void mm_trusting_stop(struct mm_trusting *t)
{
    t->done = NULL;
    if (t->app && !uv_is_closing((uv_handle_t *)&t->timer))
        uv_close((uv_handle_t *)&t->timer, NULL);
}
