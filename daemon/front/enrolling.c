/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/front/enrolling_internal.h"

#include "daemon/base/clock.h"
#include "daemon/front/job.h"
#include "daemon/front/service/provision.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    RETRY_MS = 1000,      /* after the store has refused */
    REFUSALS_MAX = 5,     /* in a row that are about no device, until the issuer counts as away */
    SPARE_MS = 500,       /* for what is on its way between processes */
    LONGEST_MS = 3600000, /* that the timer is set for */
};

static void on_page(struct mm_job *job, const ProtobufCMessage *result,
                    const struct mm_errinfo *ei);

/* ---- profiles ---------------------------------------------------------------------------- */

static struct mm_enrolling_profile *find(const struct mm_enrolling *e, const char *name)
{
    struct mm_enrolling_profile *p;

    TAILQ_FOREACH(p, &e->profiles, link) {
        if (strcmp(p->name, name) == 0)
            return p;
    }
    return NULL;
}

static struct mm_enrolling_profile *find_or_add(struct mm_enrolling *e, const char *name)
{
    struct mm_enrolling_profile *p = find(e, name);

    if (p)
        return p;
    p = calloc(1, sizeof(*p));
    if (!p)
        return NULL;
    p->enrolling = e;
    p->due_ms = INT64_MAX;
    snprintf(p->name, sizeof(p->name), "%s", name);
    TAILQ_INIT(&p->issued);
    TAILQ_INSERT_TAIL(&e->profiles, p, link);
    return p;
}

int mm_enrolling_configure(struct mm_enrolling *e)
{
    const struct mm_conf *conf = e->app->conf;
    struct mm_enrolling_profile *p;

    TAILQ_FOREACH(p, &e->profiles, link)
        p->configured = false;
    for (size_t i = 0; i < conf->n_profiles; i++) {
        if (!conf->profiles[i].ejbca)
            continue;
        p = find_or_add(e, conf->profiles[i].name);
        if (!p)
            return MM_ERR_MEMORY;
        snprintf(p->issuer, sizeof(p->issuer), "%s", conf->profiles[i].issuer);
        p->configured = true;
        p->due_ms = 0;
    }
    mm_enrolling_kick(e);
    return MM_OK;
}

void mm_enrolling_learn(struct mm_enrolling_profile *p,
                        const Mintmark__Internal__EnrolmentCounts *counts)
{
    if (!counts)
        return;
    p->waiting = counts->waiting;
    p->parked = counts->parked;
    p->certified = counts->certified;
    p->failed = counts->failed;
}

void mm_enrolling_store_ready(struct mm_enrolling *e, const Mintmark__Internal__StoreReady *ready)
{
    struct mm_enrolling_profile *p;

    for (size_t i = 0; i < ready->n_next_numbers; i++) {
        const Mintmark__Internal__EnrolmentCounts *c = ready->next_numbers[i]->enrolments;

        if (!c || c->waiting + c->parked + c->certified + c->failed == 0)
            continue;
        p = find_or_add(e, c->profile);
        if (p)
            mm_enrolling_learn(p, c);
    }
    TAILQ_FOREACH(p, &e->profiles, link)
        p->due_ms = 0;
    e->revocations_due_ms = 0;
    mm_enrolling_kick(e);
}

void mm_enrolling_recorded(struct mm_enrolling *e,
                           const Mintmark__Internal__EnrolmentCounts *counts)
{
    struct mm_enrolling_profile *p = counts ? find(e, counts->profile) : NULL;

    if (!p)
        return;
    mm_enrolling_learn(p, counts);
    p->due_ms = 0;
    p->due_again = true;
    mm_enrolling_kick(e);
}

void mm_enrolling_revoked(struct mm_enrolling *e)
{
    e->revocations_due_ms = 0;
    mm_enrolling_kick(e);
}

void mm_enrolling_each(const struct mm_enrolling *e,
                       void (*each)(void *arg, const struct mm_enrolling_info *info), void *arg)
{
    const struct mm_enrolling_profile *p;

    TAILQ_FOREACH(p, &e->profiles, link) {
        struct mm_errinfo ignored;
        const struct mm_enrolling_info info = {
            .profile = p->name,
            .waiting = p->waiting,
            .parked = p->parked,
            .certified = p->certified,
            .failed = p->failed,
            .doubles = p->doubles,
            .bad = p->bad,
            .running = p->running,
            .away = mm_enrolling_check(e, p->name, &ignored) < 0,
        };

        each(arg, &info);
    }
}

uint64_t mm_enrolling_revocations(const struct mm_enrolling *e)
{
    return e->revocations_pending;
}

uint64_t mm_enrolling_refusals(const struct mm_enrolling *e)
{
    return e->revocations_refused;
}

/* ---- is the issuer there? ------------------------------------------------------------------ */

int64_t mm_enrolling_request_ms(const struct mm_enrolling *e, const char *issuer)
{
    const struct mm_conf_issuer *conf = mm_conf_issuer_get(e->app->conf, issuer);

    return conf ? (int64_t)conf->connect_timeout_ms + conf->request_timeout_ms : RETRY_MS;
}

void mm_enrolling_answered(struct mm_enrolling_profile *p)
{
    if (p->away)
        mm_log(MM_LOG_INFO, "issuer_back", MM_STR("issuer", p->issuer), MM_STR("profile", p->name));
    p->away = false;
    p->refusals = 0;
}

bool mm_enrolling_refused(struct mm_enrolling_profile *p, uint32_t retry_ms, const char *text)
{
    if (++p->refusals < REFUSALS_MAX && !p->away)
        return false;
    mm_enrolling_unanswered(p, retry_ms, text);
    return true;
}

void mm_enrolling_unanswered(struct mm_enrolling_profile *p, uint32_t retry_ms, const char *text)
{
    if (!p->away)
        mm_log(MM_LOG_WARNING, "issuer_away", MM_STR("issuer", p->issuer),
               MM_STR("profile", p->name), MM_STR("text", text));
    p->away = true;
    p->retry_us = mm_clock_mono_us() + (int64_t)retry_ms * 1000;
    snprintf(p->away_text, sizeof(p->away_text), "%s", text);
}

int mm_enrolling_check(const struct mm_enrolling *e, const char *profile, struct mm_errinfo *ei)
{
    const struct mm_enrolling_profile *p = find(e, profile);
    const int64_t left_ms = p && p->away ? (p->retry_us - mm_clock_mono_us()) / 1000 : 0;

    if (!p || !p->configured)
        return mm_fail(ei, MM_ERR_UNAVAILABLE, "ISSUER_UNAVAILABLE",
                       "profile %s has no issuer any more", profile);
    if (left_ms > 0)
        mm_fail(ei, MM_ERR_UNAVAILABLE, "ISSUER_UNAVAILABLE", "issuer %s is away: %s", p->issuer,
                p->away_text);
    else if (mm_issuers_room(e->app->issuers, p->issuer) == 0 &&
             !mm_issuers_up(e->app->issuers, p->issuer))
        mm_fail(ei, MM_ERR_UNAVAILABLE, "ISSUER_UNAVAILABLE", "the worker of issuer %s is away",
                p->issuer);
    else
        return MM_OK;
    ei->retry_ms = left_ms > RETRY_MS ? (uint32_t)left_ms : RETRY_MS;
    return ei->code;
}

/* ---- taking devices out of the store ----------------------------------------------------- */

/* May the store be asked something now? */
static bool is_open(const struct mm_enrolling *e)
{
    return !e->stopped && e->app->store_ready && mm_anchoring_is_open(&e->app->anchoring);
}

int mm_enrolling_ask(struct mm_enrolling *e, struct mm_job *job,
                     Mintmark__Internal__StoreJob *message, struct mm_errinfo *ei)
{
    int r = mm_app_check_store(e->app, ei);

    if (r == MM_OK)
        r = mm_pool_submit(e->app->store, job, &message->base, INT64_MAX, NULL, ei);
    if (r == MM_ERR_AGAIN)
        r = mm_fail(ei, MM_ERR_UNAVAILABLE, "STORE_BUSY", "the store has too much to do");
    return r;
}

static void take(struct mm_enrolling_profile *p, unsigned room, int64_t now_ms)
{
    struct mm_bucket *bucket = mm_issuers_bucket(p->enrolling->app->issuers, p->issuer);
    Mintmark__Internal__TakeWaiting body = MINTMARK__INTERNAL__TAKE_WAITING__INIT;
    Mintmark__Internal__StoreJob job = MM_STORE_JOB(TAKE_WAITING, take_waiting, &body);
    struct mm_errinfo ei = {0};

    p->limit = room < MM_CHUNK_DEVICES ? room : MM_CHUNK_DEVICES;
    body.profile = p->name;
    body.now_ms = now_ms;
    /* Begun within one such time, looked up and asked for within two, and the authority may be at
     * work on a lost request for one more. */
    body.next_time_ms = now_ms + 4 * mm_enrolling_request_ms(p->enrolling, p->issuer) + SPARE_MS;
    body.limit = p->limit;
    p->take = (struct mm_job){.done = on_page};
    p->due_again = false;
    if (mm_enrolling_ask(p->enrolling, &p->take, &job, &ei) < 0) {
        p->due_ms = now_ms + RETRY_MS;
        return;
    }
    p->taking = true;
    if (bucket)
        mm_bucket_spend(bucket, p->limit);
}

static void on_page(struct mm_job *job, const ProtobufCMessage *result,
                    const struct mm_errinfo *error)
{
    struct mm_enrolling_profile *p =
        (struct mm_enrolling_profile *)((char *)job - offsetof(struct mm_enrolling_profile, take));
    const Mintmark__Internal__StoreResult *r = (const Mintmark__Internal__StoreResult *)result;
    struct mm_bucket *bucket = mm_issuers_bucket(p->enrolling->app->issuers, p->issuer);
    const Mintmark__Internal__WaitingPage *page;

    p->taking = false;
    if (error || r->result_case != MINTMARK__INTERNAL__STORE_RESULT__RESULT_WAITING_PAGE) {
        p->due_ms = mm_clock_wall_ms() + RETRY_MS;
        mm_enrolling_plan(p->enrolling);
        return;
    }
    page = r->waiting_page;
    if (bucket && page->n_devices < p->limit)
        mm_bucket_return(bucket, p->limit - (unsigned)page->n_devices);
    p->due_ms = page->next_time_ms ? page->next_time_ms : INT64_MAX;
    if (p->due_again)
        p->due_ms = 0;
    for (size_t i = 0; i < page->n_devices; i++)
        mm_enrol_begin(p, page->devices[i]);
    mm_enrolling_kick(p->enrolling);
}

/* Jobs that pages on their way will bring to that issuer. */
static unsigned promised(const struct mm_enrolling *e, const char *issuer)
{
    const struct mm_enrolling_profile *p;
    unsigned n = 0;

    TAILQ_FOREACH(p, &e->profiles, link) {
        if (p->taking && strcmp(p->issuer, issuer) == 0)
            n += p->limit;
    }
    return n;
}

/* While the issuer is away one device at a time tries whether it is back. */
static unsigned room_of(const struct mm_enrolling_profile *p)
{
    const unsigned room = mm_issuers_room(p->enrolling->app->issuers, p->issuer);

    if (!p->away || room == 0)
        return room;
    return p->running == 0 && mm_clock_mono_us() >= p->retry_us ? 1 : 0;
}

/* A page costs the store a transaction, whatever is on it: while the issuer has enough to do, it
 * waits until a quarter of its jobs are done. */
static bool is_worth(const struct mm_enrolling_profile *p, unsigned room)
{
    const struct mm_issuers *issuers = p->enrolling->app->issuers;
    const struct mm_bucket *bucket = mm_issuers_bucket(issuers, p->issuer);
    const unsigned quarter = mm_issuers_depth(issuers, p->issuer) / 4;

    if (room == 0 || p->away)
        return room > 0;
    return room >= (bucket && bucket->burst < quarter ? bucket->burst : quarter);
}

/* Of the room, what the issuer's rate allows. */
static unsigned allowed(const struct mm_enrolling_profile *p, unsigned room)
{
    struct mm_bucket *bucket = mm_issuers_bucket(p->enrolling->app->issuers, p->issuer);
    const unsigned left = bucket ? mm_bucket_left(bucket, mm_clock_mono_us()) : room;

    return left < room ? left : room;
}

static void look(struct mm_enrolling_profile *p, int64_t now_ms)
{
    struct mm_enrolling *e = p->enrolling;
    const unsigned free_jobs = p->configured ? room_of(p) : 0;
    const unsigned taken = promised(e, p->issuer);
    const unsigned room = free_jobs > taken ? allowed(p, free_jobs - taken) : 0;

    if (!is_worth(p, room) || p->taking || p->due_ms > now_ms)
        return;
    /* The issuer's other profiles come first the next time. */
    TAILQ_REMOVE(&e->profiles, p, link);
    TAILQ_INSERT_TAIL(&e->profiles, p, link);
    take(p, room, now_ms);
}

void mm_enrolling_kick(struct mm_enrolling *e)
{
    const int64_t now_ms = mm_clock_wall_ms();
    struct mm_enrolling_profile *p;

    if (is_open(e)) {
        TAILQ_FOREACH(p, &e->profiles, link)
            look(p, now_ms);
        mm_enrolling_revoke(e, now_ms);
    }
    mm_enrolling_plan(e);
}

/* ---- time -------------------------------------------------------------------------------- */

/* Milliseconds until there is something to do for the profile. Without room or worker somebody
 * kicks when that has changed; an issuer that is away is tried when its time has come. */
static int64_t wait_of(const struct mm_enrolling_profile *p, int64_t now_ms)
{
    struct mm_bucket *bucket = mm_issuers_bucket(p->enrolling->app->issuers, p->issuer);
    int64_t wait_ms = p->due_ms > now_ms ? p->due_ms - now_ms : 0;

    if (bucket) {
        const int64_t full_ms = (mm_bucket_full_us(bucket, mm_clock_mono_us()) + 999) / 1000;

        if (full_ms > wait_ms)
            wait_ms = full_ms;
    }
    if (!p->configured || p->taking || p->due_ms == INT64_MAX)
        return LONGEST_MS;
    if (p->away && (p->retry_us - mm_clock_mono_us()) / 1000 + 1 > wait_ms)
        wait_ms = (p->retry_us - mm_clock_mono_us()) / 1000 + 1;
    return wait_ms > 0 ? wait_ms : LONGEST_MS;
}

static void on_timer(uv_timer_t *timer)
{
    mm_enrolling_kick(timer->data);
}

void mm_enrolling_plan(struct mm_enrolling *e)
{
    const int64_t now_ms = mm_clock_wall_ms();
    const struct mm_enrolling_profile *p;
    int64_t soonest_ms = LONGEST_MS;

    if (e->stopped)
        return;
    if (!is_open(e))
        soonest_ms = RETRY_MS;
    TAILQ_FOREACH(p, &e->profiles, link) {
        const int64_t wait_ms = wait_of(p, now_ms);

        if (wait_ms < soonest_ms)
            soonest_ms = wait_ms;
    }
    if (e->revocations_due_ms > now_ms && e->revocations_due_ms - now_ms < soonest_ms)
        soonest_ms = e->revocations_due_ms - now_ms;
    uv_timer_start(&e->timer, on_timer, (uint64_t)soonest_ms, 0);
}

int mm_enrolling_new(struct mm_app *app, struct mm_enrolling **ret_enrolling)
{
    struct mm_enrolling *e = calloc(1, sizeof(*e));

    if (!e)
        return MM_ERR_MEMORY;
    e->app = app;
    TAILQ_INIT(&e->profiles);
    uv_timer_init(app->loop, &e->timer);
    e->timer.data = e;
    *ret_enrolling = e;
    return MM_OK;
}

void mm_enrolling_stop(struct mm_enrolling *e)
{
    e->stopped = true;
    uv_timer_stop(&e->timer);
}

void mm_enrolling_close(struct mm_enrolling *e)
{
    mm_enrolling_stop(e);
    if (!uv_is_closing((uv_handle_t *)&e->timer))
        uv_close((uv_handle_t *)&e->timer, NULL);
}

void mm_enrolling_free(struct mm_enrolling *e)
{
    struct mm_enrolling_profile *p;

    if (!e)
        return;
    while ((p = TAILQ_FIRST(&e->profiles))) {
        TAILQ_REMOVE(&e->profiles, p, link);
        free(p);
    }
    free(e);
}
