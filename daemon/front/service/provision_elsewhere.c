/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls for profiles whose certificates come from elsewhere. What is minted is recorded with
 * requests, and daemon/front/enrolling.h does the rest. Provision fetches what has come to an end
 * out of the store, in the order in which it did, whoever made it and when; so a call that is
 * repeated differs from the first in nothing. An Enroll's message is asked again of the store when
 * all its devices have come to an end.
 */
#include "daemon/front/job.h"
#include "daemon/front/service/provision.h"

#include "daemon/base/clock.h"

#include <stdio.h>
#include <string.h>

static const struct mm_conf_profile *profile_of(const struct mm_provision *p)
{
    return mm_conf_profile_get(p->app->conf, p->profile);
}

static bool is_away(const struct mm_provision *p)
{
    struct mm_errinfo ignored;

    return mm_enrolling_check(p->app->enrolling, p->profile, &ignored) < 0;
}

int mm_elsewhere_check(const struct mm_provision *p, struct mm_errinfo *ei)
{
    const struct mm_conf_profile *conf = profile_of(p);

    if (!p->elsewhere || !conf || strcmp(conf->when_away, "fail") != 0)
        return MM_OK;
    return mm_enrolling_check(p->app->enrolling, p->profile, ei);
}

void mm_elsewhere_spend(const struct mm_provision *p, Mintmark__Internal__Waiting *waiting,
                        Mintmark__Internal__SpendAndRecord *spend)
{
    const struct mm_conf_profile *conf = profile_of(p);

    if (!p->elsewhere)
        return;
    mintmark__internal__waiting__init(waiting);
    waiting->max = conf ? conf->waiting_max : 1;
    waiting->next_time_ms = spend->now_ms;
    spend->waiting = waiting;
}

void mm_elsewhere_recorded(struct mm_provision *p, const Mintmark__Internal__Recorded *recorded,
                           uint32_t n)
{
    if (!p->elsewhere)
        return;
    p->request = recorded->request;
    p->unsettled += n;
    mm_enrolling_recorded(p->app->enrolling, recorded->enrolments);
}

bool mm_elsewhere_has_room(const struct mm_provision *p)
{
    return !p->elsewhere || p->unsettled < MM_PROVISION_ENROL_AHEAD || is_away(p);
}

/* ---- Provision: what has come to an end -------------------------------------------------- */

static void end_parked(struct mm_provision *p, uint64_t parked)
{
    struct mm_errinfo ei = {0};

    mm_fail(&ei, MM_ERR_PRECONDITION, "DEVICES_PARKED",
            "%llu devices of the request have no certificate, and wait for an officer",
            (unsigned long long)parked);
    mm_provision_end(p, &ei);
}

/* All pages that there were are read. */
static void on_last_page(struct mm_provision *p, const Mintmark__Internal__Fetched *page)
{
    if (p->stage == MM_PROVISION_REPLAYING) {
        p->unsettled = page->waiting;
        p->kind->admit(p);
    } else if (p->stage == MM_PROVISION_MINTING) {
        mm_chunks_send(p);
    } else if (page->waiting == 0 && page->parked == 0) {
        mm_provision_end(p, NULL);
    } else if (page->waiting == 0) {
        end_parked(p, page->parked);
    }
}

static void on_settled_page(struct mm_job *job, const ProtobufCMessage *result,
                            const struct mm_errinfo *error)
{
    struct mm_provision *p =
        mm_provision_answered(job, result, MINTMARK__INTERNAL__STORE_RESULT__RESULT_FETCHED, error);
    const Mintmark__Internal__Fetched *page;
    uint64_t n;

    if (!p)
        return;
    page = ((const Mintmark__Internal__StoreResult *)result)->fetched;
    n = page->n_bundles + page->n_withheld;
    if (n > 0) {
        if (!mm_provision_send_page(p, page))
            return;
        p->after_row = page->last_row;
        p->unsettled -= n < p->unsettled ? n : p->unsettled;
    }
    if (p->stage == MM_PROVISION_REPLAYING)
        p->app->devices_replayed += page->n_bundles;
    if (page->more || p->again)
        mm_elsewhere_fetch(p);
    else
        on_last_page(p, page);
}

void mm_elsewhere_fetch(struct mm_provision *p)
{
    Mintmark__Internal__FetchRequest body = MINTMARK__INTERNAL__FETCH_REQUEST__INIT;
    Mintmark__Internal__StoreJob job = MM_STORE_JOB(FETCH_REQUEST, fetch_request, &body);

    /* What is left to read is read after the one that runs, or when the station reads. */
    p->again = p->job_runs || p->blocked;
    if (p->again)
        return;
    body.station = p->station;
    body.request_id = p->args.request_id;
    body.after_row = p->after_row;
    body.limit = MM_CHUNK_DEVICES;
    body.settled = true;
    mm_provision_ask(p, &job, on_settled_page);
}

void mm_elsewhere_await(struct mm_provision *p)
{
    p->stage = MM_PROVISION_AWAITING;
    mm_lanes_leave(p);
    mm_elsewhere_fetch(p);
}

/* ---- Enroll: messages whose devices have not all come to an end -------------------------- */

/* False: the provision may be gone. */
static bool ask_again(struct mm_chunk *c)
{
    struct mm_provision *p = c->p;
    struct mm_errinfo ei = {0};

    TAILQ_REMOVE(&p->awaiting, c, link);
    c->awaited = 0;
    c->asked_again = true;
    if (p->kind->record(c, &ei) == MM_OK)
        return true;
    TAILQ_INSERT_TAIL(&p->to_send, c, link); /* to be freed with the rest */
    mm_provision_end(p, &ei);
    return false;
}

static bool has_device(const struct mm_chunk *c, const uint8_t uid[16])
{
    for (size_t i = 0; i < c->certified->n_enrolments; i++) {
        const Mintmark__Internal__DeviceRecord *d = c->certified->enrolments[i]->device;

        if (d && d->uid.len == 16 && memcmp(d->uid.data, uid, 16) == 0)
            return true;
    }
    return false;
}

static void settled_in_chunks(struct mm_provision *p, const uint8_t uid[16])
{
    struct mm_chunk *c;

    TAILQ_FOREACH(c, &p->awaiting, link) {
        if (!has_device(c, uid))
            continue;
        if (--c->awaited == 0)
            (void)ask_again(c);
        return;
    }
}

/* ---- what the enrolling says ------------------------------------------------------------- */

static bool is_at_work(const struct mm_provision *p)
{
    return p->elsewhere && (p->stage == MM_PROVISION_MINTING || p->stage == MM_PROVISION_AWAITING);
}

/* The station is told now; its devices are enrolled when the issuer is back. */
static void answer_chunks(struct mm_provision *p)
{
    struct mm_chunk *c;

    while ((c = TAILQ_FIRST(&p->awaiting))) {
        if (!ask_again(c))
            return;
    }
}

void mm_provisions_settled(struct mm_app *app, uint64_t request, const uint8_t *uid)
{
    struct mm_provision *p, *next;

    for (p = LIST_FIRST(&app->provisions); p; p = next) {
        next = LIST_NEXT(p, link);
        if (!is_at_work(p) || p->request != request)
            continue;
        if (p->kind->on_device && uid)
            settled_in_chunks(p, uid);
        else if (p->kind->on_device)
            answer_chunks(p);
        else
            mm_elsewhere_fetch(p);
    }
}

void mm_provisions_issuer_away(struct mm_app *app)
{
    struct mm_provision *p, *next;
    struct mm_errinfo ei = {0};

    for (p = LIST_FIRST(&app->provisions); p; p = next) {
        next = LIST_NEXT(p, link);
        if (!is_at_work(p) || !is_away(p))
            continue;
        if (mm_elsewhere_check(p, &ei) < 0)
            mm_provision_end(p, &ei);
        else if (p->kind->on_device)
            answer_chunks(p);
        else if (p->stage == MM_PROVISION_MINTING)
            mm_chunks_send(p);
    }
}

void mm_provisions_drain(struct mm_app *app)
{
    struct mm_provision *p, *next;
    struct mm_errinfo ei = {0};

    if (mm_app_check_open(app, &ei) == MM_OK)
        return;
    for (p = LIST_FIRST(&app->provisions); p; p = next) {
        next = LIST_NEXT(p, link);
        if (is_at_work(p) && p->kind->on_device)
            answer_chunks(p);
        else if (is_at_work(p) && p->stage == MM_PROVISION_AWAITING)
            mm_provision_end(p, &ei);
    }
}
