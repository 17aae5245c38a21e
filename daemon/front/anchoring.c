/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/front/anchoring.h"

#include "daemon/base/clock.h"
#include "daemon/front/app.h"
#include "daemon/front/job.h"

#include <limits.h>
#include <string.h>

#define STATE(name) MINTMARK__INTERNAL__GUARD_STATE__GUARD_STATE_##name

enum {
    TICK_MS = 250,
    RETRY_US = 1000000,
    CLOSE_US = 5000000,
    CHANGE_US = 10000000,
    CLOSE_TRIES = 3, /* at the end of the service nobody waits for long */
};
static const int64_t walk_pause_us = 24ll * 3600 * 1000000; /* between two whole walks */

static void step_on(struct mm_anchoring *a);

/* ---- what the store says ----------------------------------------------------------------- */

static void drop(Mintmark__Internal__Guard **g)
{
    if (*g)
        mintmark__internal__guard__free_unpacked(*g, NULL);
    *g = NULL;
}

static void tell_change(const struct mm_anchoring *a, Mintmark__Internal__GuardState before)
{
    if (a->guard->state == STATE(LOCKED) && before != STATE(LOCKED))
        mm_log(MM_LOG_ERROR, "ledger_locked", MM_STR("reason", a->guard->reason),
               MM_STR("text", a->guard->text), MM_UINT("sequence", a->guard->sequence),
               MM_UINT("anchor_sequence", a->guard->anchor_sequence));
    if (a->guard->state == STATE(OPEN) && before != STATE(OPEN))
        mm_log(MM_LOG_INFO, "ledger_open", MM_UINT("epoch", a->guard->epoch),
               MM_UINT("sequence", a->guard->sequence), MM_UINT("devices", a->guard->devices),
               MM_UINT("unclean_starts", a->guard->unclean_starts));
}

/* Without memory what was known stays, and the next answer is as good. */
static void learn(struct mm_anchoring *a, const Mintmark__Internal__Guard *g)
{
    const Mintmark__Internal__GuardState before = a->guard ? a->guard->state : STATE(UNVERIFIED);
    Mintmark__Internal__Guard *copy = mm_message_dup(&g->base);

    if (!copy)
        return;
    drop(&a->guard);
    a->guard = copy;
    a->unanchored = copy->unanchored;
    tell_change(a, before);
    mm_app_update(a->app);
}

bool mm_anchoring_is_open(const struct mm_anchoring *a)
{
    return a->guard && (a->guard->state == STATE(OPEN) || a->guard->state == STATE(OFF));
}

const char *mm_anchoring_lock(const struct mm_anchoring *a, const char **ret_text)
{
    if (!a->guard || a->guard->state != STATE(LOCKED))
        return NULL;
    *ret_text = a->guard->text;
    return a->guard->reason;
}

static bool is_guarded(const struct mm_anchoring *a)
{
    return a->guard && a->guard->state != STATE(OFF);
}

/* ---- giving steps out -------------------------------------------------------------------- */

static void finish_close(struct mm_anchoring *a)
{
    void (*closed)(void *arg) = MM_TAKE(a->closed);

    if (closed)
        closed(a->closed_arg);
}

static void failed(struct mm_anchoring *a, const struct mm_errinfo *ei)
{
    const bool cycle = a->step >= MM_ANCHORING_PREPARE && a->step <= MM_ANCHORING_CONFIRM;

    mm_log(MM_LOG_WARNING, "anchoring_failed", MM_UINT("step", a->step),
           MM_STR("reason", ei->reason), MM_STR("text", ei->text));
    a->not_before_us = mm_clock_mono_us() + RETRY_US;
    a->wanted = a->wanted || cycle; /* as much as before */
    a->checkpoint = a->checkpoint || (cycle && a->signing && a->step <= MM_ANCHORING_ADD);
    drop(&a->prepared);
    if (a->closed && ++a->tries >= CLOSE_TRIES)
        finish_close(a);
}

/* ei: NULL, or why the audit key stays as it is. */
static void end_change(struct mm_anchoring *a, const struct mm_errinfo *ei)
{
    void (*changed)(void *arg, const struct mm_errinfo *) = MM_TAKE(a->changed);

    if (!ei) {
        a->audit = a->next;
        a->wanted = a->checkpoint = true;
    }
    changed(a->changed_arg, ei);
}

static void on_done(struct mm_job *job, const ProtobufCMessage *result,
                    const struct mm_errinfo *ei);

/* No room now, or no worker, is no failure: the next tick, or a worker that has room, comes back to
 * it. What cannot be sent at all shows in the log, and is tried again later. */
static void submit(struct mm_anchoring *a, enum mm_anchoring_step step, struct mm_pool *pool,
                   ProtobufCMessage *message)
{
    struct mm_errinfo ei = {0};
    int r;

    if (!pool)
        return;
    a->job = (struct mm_job){.done = on_done};
    r = mm_pool_submit(pool, &a->job, message, INT64_MAX, NULL, &ei);
    if (r == MM_ERR_AGAIN || r == MM_ERR_UNAVAILABLE)
        return;
    if (r < 0) {
        mm_log_error("anchoring_not_sent", NULL, &ei);
        a->not_before_us = mm_clock_mono_us() + RETRY_US;
        return;
    }
    a->step = step;
    a->running = true;
    a->job_run = a->run;
}

static struct mm_pool *token_pool(struct mm_anchoring *a)
{
    struct mm_mint *mint = mm_mint_get(a->app->mints, a->app->conf->appliance.token);

    return mint ? mm_mint_pool_with_room(mint) : NULL;
}

static void submit_token(struct mm_anchoring *a, enum mm_anchoring_step step,
                         Mintmark__Internal__TokenJob *job)
{
    submit(a, step, token_pool(a), &job->base);
}

static void submit_read(struct mm_anchoring *a)
{
    Mintmark__Internal__AnchorRead body = MINTMARK__INTERNAL__ANCHOR_READ__INIT;

    submit_token(a, MM_ANCHORING_READ, &MM_TOKEN_JOB(ANCHOR_READ, anchor_read, &body));
}

static void submit_write(struct mm_anchoring *a)
{
    Mintmark__Internal__AnchorWrite body = MINTMARK__INTERNAL__ANCHOR_WRITE__INIT;

    body.anchor = a->prepared->anchor;
    body.proof = a->prepared->anchor_proof;
    submit_token(a, MM_ANCHORING_WRITE, &MM_TOKEN_JOB(ANCHOR_WRITE, anchor_write, &body));
}

static void submit_sign(struct mm_anchoring *a)
{
    Mintmark__Internal__SignDocument body = MINTMARK__INTERNAL__SIGN_DOCUMENT__INIT;

    body.content = a->prepared->checkpoint;
    body.proof = a->prepared->checkpoint_proof;
    body.by = mm_audit_name_message(&a->audit);
    submit_token(a, MM_ANCHORING_SIGN, &MM_TOKEN_JOB(SIGN_DOCUMENT, sign_document, &body));
}

static void submit_key(struct mm_anchoring *a)
{
    Mintmark__Internal__AuditKeyRead body = MINTMARK__INTERNAL__AUDIT_KEY_READ__INIT;

    body.name = mm_audit_name_message(&a->next);
    submit_token(a, MM_ANCHORING_KEY, &MM_TOKEN_JOB(AUDIT_KEY_READ, audit_key_read, &body));
}

static void submit_store(struct mm_anchoring *a, enum mm_anchoring_step step,
                         Mintmark__Internal__StoreJob *job)
{
    submit(a, step, a->app->store, &job->base);
}

static void submit_check(struct mm_anchoring *a, const Mintmark__Internal__AnchorFound *found)
{
    Mintmark__Internal__CheckAnchor body = MINTMARK__INTERNAL__CHECK_ANCHOR__INIT;

    body.anchor = found->anchor;
    body.reason = found->reason;
    body.text = found->text;
    submit_store(a, MM_ANCHORING_CHECK, &MM_STORE_JOB(CHECK_ANCHOR, check_anchor, &body));
}

/* Devices that are still on their way are recorded before the last anchor, if they come soon. */
static bool may_close(const struct mm_anchoring *a)
{
    return a->closed && ((a->outstanding == 0 && a->app->recording == 0) ||
                         mm_clock_mono_us() >= a->close_by_us);
}

static void submit_prepare(struct mm_anchoring *a)
{
    Mintmark__Internal__PrepareAnchor body = MINTMARK__INTERNAL__PREPARE_ANCHOR__INIT;

    body.clean = a->final = may_close(a);
    body.checkpoint = a->signing = (a->checkpoint || a->final);
    submit_store(a, MM_ANCHORING_PREPARE, &MM_STORE_JOB(PREPARE_ANCHOR, prepare_anchor, &body));
    if (a->running)
        a->wanted = a->checkpoint = false;
}

static void submit_add(struct mm_anchoring *a, const ProtobufCBinaryData *document)
{
    Mintmark__Internal__AddCheckpoint body = MINTMARK__INTERNAL__ADD_CHECKPOINT__INIT;

    body.document = *document;
    submit_store(a, MM_ANCHORING_ADD, &MM_STORE_JOB(ADD_CHECKPOINT, add_checkpoint, &body));
}

static void submit_confirm(struct mm_anchoring *a)
{
    Mintmark__Internal__Anchored body = MINTMARK__INTERNAL__ANCHORED__INIT;

    body.sequence = a->prepared->sequence;
    submit_store(a, MM_ANCHORING_CONFIRM, &MM_STORE_JOB(ANCHORED, anchored, &body));
}

static void submit_verify(struct mm_anchoring *a)
{
    Mintmark__Internal__VerifyLedger body = MINTMARK__INTERNAL__VERIFY_LEDGER__INIT;

    submit_store(a, MM_ANCHORING_VERIFY, &MM_STORE_JOB(VERIFY_LEDGER, verify_ledger, &body));
}

static void submit_change(struct mm_anchoring *a, const ProtobufCBinaryData *pem)
{
    Mintmark__Internal__ChangeAuditKey body = MINTMARK__INTERNAL__CHANGE_AUDIT_KEY__INIT;

    body.pem = *pem;
    submit_store(a, MM_ANCHORING_CHANGE, &MM_STORE_JOB(CHANGE_AUDIT_KEY, change_audit_key, &body));
}

/* ---- steps that are done ----------------------------------------------------------------- */

static void anchored(struct mm_anchoring *a, const Mintmark__Internal__Guard *guard)
{
    drop(&a->prepared);
    a->anchors++;
    a->cycle_mono_us = mm_clock_mono_us();
    learn(a, guard);
    if (a->final)
        finish_close(a);
    mm_mints_kick(a->app->mints);
}

/* Nothing was recorded since the last anchor: then there is nothing to write. The last one of the
 * service says that it was orderly, whatever was recorded. */
static void prepared(struct mm_anchoring *a, const Mintmark__Internal__Guard *guard)
{
    drop(&a->prepared);
    if (a->final || guard->sequence != guard->anchored_sequence || guard->checkpoint.len > 0)
        a->prepared = mm_message_dup(&guard->base);
    else
        a->cycle_mono_us = mm_clock_mono_us();
}

static void verified(struct mm_anchoring *a, const Mintmark__Internal__Guard *guard)
{
    if (!guard->verifying) {
        a->verify = false;
        a->verified_mono_us = mm_clock_mono_us();
    }
    learn(a, guard);
}

static void store_done(struct mm_anchoring *a, const Mintmark__Internal__StoreResult *r)
{
    switch (a->step) {
    case MM_ANCHORING_CHECK:
        a->checked = true;
        learn(a, r->guard);
        break;
    case MM_ANCHORING_PREPARE:
        prepared(a, r->guard);
        break;
    case MM_ANCHORING_ADD:
        a->prepared->checkpoint.len = 0; /* what is left of the cycle is the anchor */
        break;
    case MM_ANCHORING_CONFIRM:
        anchored(a, r->guard);
        break;
    case MM_ANCHORING_CHANGE:
        learn(a, r->guard);
        end_change(a, NULL);
        break;
    default:
        verified(a, r->guard);
        break;
    }
}

/* Goes straight on: what the token gave is lent until this returns. */
static void token_done(struct mm_anchoring *a, const Mintmark__Internal__TokenResult *r,
                       struct mm_errinfo *ei)
{
    const enum mm_anchoring_step step = a->step;

    if (step == MM_ANCHORING_READ &&
        r->result_case == MINTMARK__INTERNAL__TOKEN_RESULT__RESULT_ANCHOR_FOUND)
        submit_check(a, r->anchor_found);
    else if (step == MM_ANCHORING_SIGN &&
             r->result_case == MINTMARK__INTERNAL__TOKEN_RESULT__RESULT_SIGNED_CONTENT)
        submit_add(a, &r->signed_content->document);
    else if (step == MM_ANCHORING_WRITE)
        submit_confirm(a);
    else if (step == MM_ANCHORING_KEY &&
             r->result_case == MINTMARK__INTERNAL__TOKEN_RESULT__RESULT_AUDIT_KEY_FOUND)
        submit_change(a, &r->audit_key_found->pem);
    else
        mm_fail(ei, MM_ERR_CORRUPT, "TOKEN_ANSWER", "the token gave another kind of answer");
    if (ei->code == MM_OK && !a->running)
        mm_fail(ei, MM_ERR_UNAVAILABLE, "STORE_BUSY", "the store takes no job");
}

static bool is_tokens(enum mm_anchoring_step step)
{
    return step == MM_ANCHORING_READ || step == MM_ANCHORING_SIGN || step == MM_ANCHORING_WRITE ||
           step == MM_ANCHORING_KEY;
}

static bool is_change(enum mm_anchoring_step step)
{
    return step == MM_ANCHORING_KEY || step == MM_ANCHORING_CHANGE;
}

/* The store was lost with the change: the next one enters it, unless it is a record already. */
static bool is_unknown(const struct mm_anchoring *a, const struct mm_errinfo *ei)
{
    return a->step == MM_ANCHORING_CHANGE && strcmp(ei->reason, mm_pool_store.away) == 0;
}

static void on_done(struct mm_job *job, const ProtobufCMessage *result,
                    const struct mm_errinfo *error)
{
    struct mm_anchoring *a =
        (struct mm_anchoring *)((uintptr_t)job - offsetof(struct mm_anchoring, job));
    const Mintmark__Internal__StoreResult *r = (const Mintmark__Internal__StoreResult *)result;
    struct mm_errinfo ei = error ? *error : (struct mm_errinfo){0};

    a->running = false;
    if (a->job_run != a->run) {
        /* The store that this was for is gone; its successor is checked from the beginning. */
        drop(&a->prepared);
        if (is_change(a->step))
            mm_fail(&ei, MM_ERR_UNAVAILABLE, mm_pool_store.away, "the store was lost meanwhile");
    } else if (ei.code == MM_OK && is_tokens(a->step)) {
        token_done(a, (const Mintmark__Internal__TokenResult *)result, &ei);
    } else if (ei.code == MM_OK &&
               r->result_case == MINTMARK__INTERNAL__STORE_RESULT__RESULT_GUARD) {
        store_done(a, r);
    } else if (ei.code == MM_OK) {
        mm_fail(&ei, MM_ERR_INTERNAL, "STORE_ANSWER", "the store gave another kind of answer");
    }
    if (ei.code != MM_OK && is_change(a->step))
        end_change(a, is_unknown(a, &ei) ? NULL : &ei);
    else if (ei.code != MM_OK)
        failed(a, &ei);
    step_on(a);
}

/* ---- what comes next --------------------------------------------------------------------- */

static void work_on(struct mm_anchoring *a)
{
    if (a->prepared && a->prepared->checkpoint.len > 0)
        submit_sign(a);
    else if (a->prepared)
        submit_write(a);
    else if (a->changed && a->guard->state == STATE(OPEN))
        submit_key(a);
    else if (a->guard->state == STATE(ANCHORING) || a->wanted || may_close(a))
        submit_prepare(a);
    else if (a->verify && LIST_EMPTY(&a->app->provisions) && !a->closed)
        submit_verify(a);
}

static void step_on(struct mm_anchoring *a)
{
    if (a->running || !a->app->store_ready || !is_guarded(a) ||
        mm_clock_mono_us() < a->not_before_us)
        return;
    if (!a->checked)
        submit_read(a);
    else if (a->guard->state == STATE(LOCKED))
        finish_close(a);
    else
        work_on(a);
}

static void see_what_is_due(struct mm_anchoring *a, int64_t now_us)
{
    const int64_t pause_us = (int64_t)a->app->conf->appliance.anchor_seconds * 1000000;

    if (!is_guarded(a) || a->guard->state != STATE(OPEN))
        return;
    if (now_us - a->cycle_mono_us >= pause_us)
        a->wanted = true;
    if (a->verified_mono_us == 0 || now_us - a->verified_mono_us >= walk_pause_us)
        a->verify = true;
}

static void fail_change(struct mm_anchoring *a)
{
    struct mm_errinfo ei;

    mm_fail(&ei, MM_ERR_UNAVAILABLE, "AUDIT_KEY_WAITS",
            "neither ledger nor token came to the new audit key in time");
    end_change(a, &ei);
}

void mm_anchoring_change_key(struct mm_anchoring *a, const struct mm_conf_appliance *next,
                             void (*changed)(void *arg, const struct mm_errinfo *ei), void *arg)
{
    a->changed = changed;
    a->changed_arg = arg;
    mm_audit_name_set(&a->next, next);
    a->change_by_us = mm_clock_mono_us() + CHANGE_US;
    if (!is_guarded(a) || a->guard->state != STATE(OPEN) || !a->app->store_ready || a->closed)
        fail_change(a);
    else
        step_on(a);
}

static void on_tick(uv_timer_t *timer)
{
    struct mm_anchoring *a = timer->data;
    const int64_t now_us = mm_clock_mono_us();

    see_what_is_due(a, now_us);
    if (a->changed && now_us >= a->change_by_us && !(a->running && is_change(a->step)))
        fail_change(a);
    /* A token that is away is not waited for: the next start will be an unclean one. */
    if (a->closed && now_us >= a->close_by_us + CLOSE_US)
        finish_close(a);
    step_on(a);
    /* While devices are made, a page of a walk by tick. */
    if (!a->running && a->verify && a->checked && mm_anchoring_is_open(a) && a->app->store_ready)
        submit_verify(a);
}

int mm_anchoring_start(struct mm_anchoring *a, struct mm_app *app)
{
    a->app = app;
    if (uv_timer_init(app->loop, &a->timer) < 0)
        return MM_ERR_MEMORY;
    a->timer.data = a;
    uv_timer_start(&a->timer, on_tick, TICK_MS, TICK_MS);
    return MM_OK;
}

void mm_anchoring_stop(struct mm_anchoring *a)
{
    if (a->app && !uv_is_closing((uv_handle_t *)&a->timer))
        uv_close((uv_handle_t *)&a->timer, NULL);
}

void mm_anchoring_done(struct mm_anchoring *a)
{
    drop(&a->guard);
    drop(&a->prepared);
}

void mm_anchoring_store_ready(struct mm_anchoring *a, const Mintmark__Internal__Guard *guard)
{
    a->run++;
    a->checked = false;
    a->not_before_us = 0;
    drop(&a->guard);
    if (guard)
        learn(a, guard);
    step_on(a);
}

void mm_anchoring_store_lost(struct mm_anchoring *a)
{
    a->run++;
    a->checked = false;
    drop(&a->guard);
    if (!a->running)
        drop(&a->prepared);
    finish_close(a);
}

void mm_anchoring_kick(struct mm_anchoring *a)
{
    step_on(a);
}

void mm_anchoring_begin_devices(struct mm_anchoring *a, uint64_t n)
{
    a->outstanding += n;
}

void mm_anchoring_end_devices(struct mm_anchoring *a, uint64_t n)
{
    a->outstanding -= n;
    if (a->closed)
        step_on(a);
}

bool mm_anchoring_has_room(struct mm_anchoring *a, uint64_t n)
{
    if (!is_guarded(a) || a->guard->state != STATE(OPEN) ||
        a->unanchored + a->outstanding + n <= a->app->conf->appliance.anchor_devices)
        return true;
    if (a->unanchored > 0 && !a->prepared)
        a->wanted = true;
    step_on(a);
    return false;
}

void mm_anchoring_recorded(struct mm_anchoring *a, uint64_t unanchored)
{
    if (!is_guarded(a))
        return;
    a->unanchored = unanchored;
    if (unanchored < a->app->conf->appliance.anchor_devices / 2 || a->prepared || a->running)
        return;
    a->wanted = true;
    step_on(a);
}

void mm_anchoring_want(struct mm_anchoring *a, bool checkpoint)
{
    if (!is_guarded(a))
        return;
    a->wanted = true;
    a->checkpoint = a->checkpoint || checkpoint;
    step_on(a);
}

void mm_anchoring_unlocked(struct mm_anchoring *a, const Mintmark__Internal__Guard *guard)
{
    mm_log(MM_LOG_WARNING, "ledger_unlocked", MM_UINT("sequence", guard->sequence));
    learn(a, guard);
    step_on(a);
}

int mm_anchoring_verify(struct mm_anchoring *a, struct mm_errinfo *ei)
{
    const char *text = NULL;
    const char *reason = mm_anchoring_lock(a, &text);

    if (reason)
        return mm_fail(ei, MM_ERR_UNAVAILABLE, "LEDGER_LOCKED", "the ledger is locked: %s: %s",
                       reason, text);
    if (!a->guard || a->guard->state == STATE(UNVERIFIED))
        return mm_fail(ei, MM_ERR_UNAVAILABLE, "LEDGER_UNVERIFIED",
                       "the ledger has not been held against the token's anchor yet");
    if (a->guard->state == STATE(OFF))
        return mm_fail(ei, MM_ERR_PRECONDITION, "LEDGER_NOT_GUARDED",
                       "the configuration has no section appliance");
    a->verify = true;
    step_on(a);
    return MM_OK;
}

void mm_anchoring_close(struct mm_anchoring *a, void (*closed)(void *arg), void *arg)
{
    a->closed = closed;
    a->closed_arg = arg;
    a->tries = 0;
    a->close_by_us = mm_clock_mono_us() + CLOSE_US;
    if (!is_guarded(a) || a->guard->state != STATE(OPEN) || !a->app->store_ready)
        finish_close(a);
    else
        step_on(a);
}
