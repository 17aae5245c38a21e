/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/front/retention.h"

#include "daemon/base/clock.h"
#include "daemon/front/app.h"
#include "daemon/front/job.h"

enum {
    TICK_MS = 250,
    RETRY_US = 60 * 1000000, /* after a failure */
    BUSY_TICKS = 8,          /* while devices are made, one page in so many ticks */
};
static const int64_t pause_us = 3600ll * 1000000; /* when nothing more was due */

static void deleted(struct mm_retention *t, const Mintmark__Internal__KeysPage *page)
{
    if (*page->batch_uid) {
        t->devices += page->devices;
        mm_log(MM_LOG_INFO, "keys_deleted", MM_STR("batch", page->batch_uid),
               MM_UINT("devices", page->devices));
    }
    t->not_before_us = page->more ? 0 : mm_clock_mono_us() + pause_us;
}

static void on_done(struct mm_job *job, const ProtobufCMessage *result,
                    const struct mm_errinfo *error)
{
    struct mm_retention *t =
        (struct mm_retention *)((uintptr_t)job - offsetof(struct mm_retention, job));
    const Mintmark__Internal__StoreResult *r = (const Mintmark__Internal__StoreResult *)result;

    t->running = false;
    if (!error && r->result_case == MINTMARK__INTERNAL__STORE_RESULT__RESULT_KEYS_PAGE) {
        deleted(t, r->keys_page);
        return;
    }
    t->not_before_us = mm_clock_mono_us() + RETRY_US;
    mm_log(MM_LOG_WARNING, "keys_not_deleted",
           MM_STR("reason", error ? error->reason : "STORE_ANSWER"),
           MM_STR("text", error ? error->text : "the store gave another kind of answer"));
}

static bool may_run(struct mm_retention *t)
{
    struct mm_app *app = t->app;

    if (t->running || app->draining || app->conf->store.keep_keys_days == 0 || !app->store_ready ||
        !mm_anchoring_is_open(&app->anchoring) || mm_clock_mono_us() < t->not_before_us)
        return false;
    return LIST_EMPTY(&app->provisions) || ++t->ticks % BUSY_TICKS == 0;
}

/* No room now is no failure: the next tick comes back to it. */
static void on_tick(uv_timer_t *timer)
{
    struct mm_retention *t = timer->data;
    Mintmark__Internal__DeleteKeys body = MINTMARK__INTERNAL__DELETE_KEYS__INIT;
    Mintmark__Internal__StoreJob job = MM_STORE_JOB(DELETE_KEYS, delete_keys, &body);
    struct mm_errinfo ei = {0};

    if (!may_run(t))
        return;
    t->job = (struct mm_job){.done = on_done};
    t->running = mm_pool_submit(t->app->store, &t->job, &job.base, INT64_MAX, NULL, &ei) == MM_OK;
}

int mm_retention_start(struct mm_retention *t, struct mm_app *app)
{
    t->app = app;
    if (uv_timer_init(app->loop, &t->timer) < 0)
        return MM_ERR_MEMORY;
    t->timer.data = t;
    uv_timer_start(&t->timer, on_tick, TICK_MS, TICK_MS);
    return MM_OK;
}

void mm_retention_stop(struct mm_retention *t)
{
    if (t->app && !uv_is_closing((uv_handle_t *)&t->timer))
        uv_close((uv_handle_t *)&t->timer, NULL);
}
