/* SPDX-License-Identifier: Apache-2.0 */
/* What becomes of one device: with the issuer, then recorded by the store. */
#include "daemon/front/enrolling_internal.h"

#include "daemon/base/clock.h"
#include "daemon/base/text.h"
#include "daemon/front/job.h"
#include "daemon/front/service/provision.h"
#include "daemon/front/service/service.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ACTION(name) MINTMARK__INTERNAL__ENROLMENT_ACTION__ENROLMENT_ACTION_##name
#define CLASS(name)  MINTMARK__INTERNAL__ISSUER_FAILURE__CLASS__##name

enum {
    BACKOFF_MS = 1000, /* after the first attempt; doubles */
    BACKOFF_MAX_MS = 300000,
};

static void on_answer(struct mm_job *job, const ProtobufCMessage *result,
                      const struct mm_errinfo *ei);
static void certify(struct mm_enrolling_profile *p);

static void free_enrol(struct mm_enrol *d)
{
    mm_arena_done(&d->arena);
    free(d);
}

/* ---- the store is told ------------------------------------------------------------------- */

/* What happened to a device, on its way to the store; outlives its enrolment. */
struct change {
    struct mm_job job;
    struct mm_enrolling_profile *profile;
    Mintmark__Internal__EnrolmentAction action;
    uint8_t uid[MM_ENROLLING_UID];
    char text[MM_ENROLMENT_TEXT_MAX + 1];
};

static void log_change(const struct change *c)
{
    static const char *const events[] = {
        [ACTION(POSTPONE)] = "enrolment_postponed", [ACTION(PARK)] = "enrolment_parked",
        [ACTION(FAIL)] = "enrolment_failed",        [ACTION(RETRY)] = "enrolment_retried",
        [ACTION(RELEASE)] = "enrolment_released",
    };
    const bool hard = c->action == ACTION(PARK) || c->action == ACTION(FAIL);
    char uid[MM_UID_LEN + 1];

    mm_uuid_format(c->uid, uid);
    mm_log(hard ? MM_LOG_WARNING : MM_LOG_DEBUG, events[c->action],
           MM_STR("profile", c->profile->name), MM_STR("device", uid), MM_STR("text", c->text));
}

static void on_changed(struct mm_job *job, const ProtobufCMessage *result,
                       const struct mm_errinfo *error)
{
    struct change *c = (struct change *)job;
    struct mm_enrolling *e = c->profile->enrolling;
    const Mintmark__Internal__StoreResult *r = (const Mintmark__Internal__StoreResult *)result;

    /* Without a record it comes again when its time is over. */
    if (error)
        mm_log(MM_LOG_WARNING, "enrolment_not_recorded", MM_STR("profile", c->profile->name),
               MM_STR("reason", error->reason), MM_STR("text", error->text));
    if (r && r->result_case == MINTMARK__INTERNAL__STORE_RESULT__RESULT_SETTLED) {
        log_change(c);
        mm_enrolling_learn(c->profile, r->settled->counts);
        if (r->refunded_order)
            mm_learn_order(e->app, "-", "units_given_back", r->refunded_order);
        c->profile->due_ms = 0;
        if (c->action == ACTION(PARK) || c->action == ACTION(FAIL))
            mm_provisions_settled(e->app, r->settled->request, c->uid);
    }
    free(c);
    mm_enrolling_kick(e);
}

static void record_change(struct mm_enrol *d, Mintmark__Internal__EnrolmentAction action,
                          uint32_t wait_ms, const char *text)
{
    struct change *c = calloc(1, sizeof(*c));
    Mintmark__Internal__ChangeEnrolment body = MINTMARK__INTERNAL__CHANGE_ENROLMENT__INIT;
    Mintmark__Internal__StoreJob job = MM_STORE_JOB(CHANGE_ENROLMENT, change_enrolment, &body);
    struct mm_errinfo ei = {0};

    if (!c)
        return;
    c->job.done = on_changed;
    c->profile = d->profile;
    c->action = action;
    memcpy(c->uid, d->uid, sizeof(c->uid));
    snprintf(c->text, sizeof(c->text), "%s", text);
    body.uid = (ProtobufCBinaryData){sizeof(c->uid), c->uid};
    body.action = action;
    body.text = c->text;
    body.begun = d->begun;
    body.now_ms = mm_clock_wall_ms();
    body.next_time_ms = body.now_ms + wait_ms;
    if (mm_enrolling_ask(d->profile->enrolling, &c->job, &job, &ei) < 0)
        free(c);
}

/* ---- what the issuer says ---------------------------------------------------------------- */

/* Doubles with each attempt, and varies, so that those that failed together do not come together.
 */
static uint32_t backoff_ms(const struct mm_enrol *d)
{
    uint32_t ms = BACKOFF_MS;

    for (uint32_t i = 0; i < d->attempts && ms < BACKOFF_MAX_MS; i++)
        ms *= 2;
    return ms - ms / 4 + d->uid[MM_ENROLLING_UID - 1] * (ms / 2) / 256;
}

/* uncertain: the authority may still be at work on it. */
static void try_later(struct mm_enrol *d, bool uncertain, uint32_t retry_ms, const char *text)
{
    const int64_t settle_ms = mm_enrolling_request_ms(d->profile->enrolling, d->profile->issuer);
    uint32_t ms = backoff_ms(d);

    if (d->attempts + 1 >= MM_ENROLLING_ATTEMPTS_MAX) {
        record_change(d, ACTION(PARK), 0, text);
        return;
    }
    if (ms < retry_ms)
        ms = retry_ms;
    if (uncertain && ms < settle_ms)
        ms = (uint32_t)settle_ms;
    record_change(d, ACTION(POSTPONE), ms, text);
}

/* It is not what was asked for: never delivered, and kept from being delivered by anybody. */
static void bad_certificate(struct mm_enrol *d, const Mintmark__Internal__IssuerFailure *f)
{
    const struct mm_app *app = d->profile->enrolling->app;
    const struct mm_conf_profile *conf = mm_conf_profile_get(app->conf, d->profile->name);

    d->profile->bad++;
    if (conf && conf->revoke_bad && f->certificate.len > 0)
        mm_enrol_revoke_bad(d, &f->certificate);
    record_change(d, ACTION(PARK), 0, f->text);
}

/* It is no fault of the device's, so this is no attempt: else an outage, or a right that is missing
 * for an hour, would have an officer look at every device. */
static void wait_on(struct mm_enrol *d, const Mintmark__Internal__IssuerFailure *f)
{
    const int64_t settle_ms =
        f->uncertain ? mm_enrolling_request_ms(d->profile->enrolling, d->profile->issuer) : 0;
    uint32_t ms = backoff_ms(d);

    if (ms < f->retry_ms)
        ms = f->retry_ms;
    if (ms < settle_ms)
        ms = (uint32_t)settle_ms;
    d->begun = d->begun || f->uncertain;
    record_change(d, ACTION(RELEASE), ms, f->text);
}

static void take_refusal(struct mm_enrol *d, const Mintmark__Internal__IssuerFailure *f)
{
    /* Too much at once is over soon; where nothing answered, the nodes' breakers see to it. */
    if (f->http_status != 0 && strcmp(f->reason, "EJBCA_BUSY") != 0 &&
        mm_enrolling_refused(d->profile, f->retry_ms, f->text))
        mm_provisions_issuer_away(d->profile->enrolling->app);
    wait_on(d, f);
}

static void take_failure(struct mm_enrol *d, const Mintmark__Internal__IssuerFailure *f)
{
    const bool was_away = d->profile->away;

    if (f->class_ == CLASS(UNAVAILABLE)) {
        mm_enrolling_unanswered(d->profile, f->retry_ms, f->text);
        record_change(d, ACTION(RELEASE), 0, f->text);
        mm_provisions_issuer_away(d->profile->enrolling->app);
        return;
    }
    if (f->general) {
        take_refusal(d, f);
        return;
    }
    if (f->http_status != 0)
        mm_enrolling_answered(d->profile);
    if (strcmp(f->reason, "BAD_CERTIFICATE") == 0)
        bad_certificate(d, f);
    else if (f->class_ == CLASS(PERMANENT))
        record_change(d, ACTION(FAIL), 0, f->text);
    else if (was_away)
        wait_on(d, f);
    else
        try_later(d, f->uncertain, f->retry_ms, f->text);
}

/* No answer of the authority's: the worker was lost, had no time to begin, or has another
 * configuration. */
static void take_error(struct mm_enrol *d, const struct mm_errinfo *ei)
{
    if (ei->code == MM_ERR_TIMEOUT)
        record_change(d, ACTION(RELEASE), 0, ei->text);
    else if (ei->code == MM_ERR_UNAVAILABLE)
        try_later(d, true, ei->retry_ms, ei->text);
    else
        record_change(d, ACTION(PARK), 0, ei->text);
}

static void on_answer(struct mm_job *job, const ProtobufCMessage *result,
                      const struct mm_errinfo *error)
{
    struct mm_enrol *d = (struct mm_enrol *)job;
    struct mm_enrolling_profile *p = d->profile;
    const Mintmark__Internal__IssuerResult *r = (const Mintmark__Internal__IssuerResult *)result;
    struct mm_errinfo wrong;

    p->running--;
    if (r && r->result_case == MINTMARK__INTERNAL__ISSUER_RESULT__RESULT_ISSUED) {
        mm_enrolling_answered(p);
        d->issued = r->issued;
        TAILQ_INSERT_TAIL(&p->issued, d, link);
        certify(p);
        mm_enrolling_kick(p->enrolling);
        return;
    }
    if (r && r->result_case == MINTMARK__INTERNAL__ISSUER_RESULT__RESULT_FAILURE) {
        take_failure(d, r->failure);
    } else {
        if (!error) {
            mm_fail(&wrong, MM_ERR_CORRUPT, "ISSUER_ANSWER",
                    "the issuer gave another kind of answer");
            error = &wrong;
        }
        take_error(d, error);
    }
    free_enrol(d);
    mm_enrolling_kick(p->enrolling);
}

static int submit(struct mm_enrol *d, const Mintmark__Internal__WaitingDevice *device,
                  struct mm_errinfo *ei)
{
    struct mm_enrolling_profile *p = d->profile;
    const int64_t deadline_us =
        mm_clock_mono_us() + 1000 * mm_enrolling_request_ms(p->enrolling, p->issuer);
    Mintmark__Internal__IssueJob body = MINTMARK__INTERNAL__ISSUE_JOB__INIT;
    Mintmark__Internal__IssuerJob job = MM_ISSUER_JOB(ISSUE, issue, &body);
    int r;

    body.profile = p->name;
    body.username = device->username;
    body.csr = device->csr;
    body.number = device->number;
    body.hw_serial = device->hw_serial;
    body.uid = device->uid;
    body.lookup_first = device->begun;
    d->job = (struct mm_job){.arena = &d->arena, .done = on_answer};
    r = mm_issuers_submit(p->enrolling->app->issuers, p->issuer, &d->job, &job, deadline_us, ei);
    if (r == MM_ERR_AGAIN)
        r = mm_fail(ei, MM_ERR_UNAVAILABLE, "ISSUER_UNAVAILABLE", "the issuer takes no more jobs");
    return r;
}

void mm_enrol_begin(struct mm_enrolling_profile *p, const Mintmark__Internal__WaitingDevice *device)
{
    struct mm_enrol *d = calloc(1, sizeof(*d));
    struct mm_errinfo ei = {0};

    if (!d) /* it comes again when its time is over */
        return;
    d->profile = p;
    d->arena = MM_ARENA_INIT;
    d->request = device->request;
    d->attempts = device->attempts;
    d->begun = device->begun;
    if (device->uid.len == sizeof(d->uid))
        memcpy(d->uid, device->uid.data, sizeof(d->uid));
    if (submit(d, device, &ei) == MM_OK) {
        p->running++;
        return;
    }
    record_change(d, ACTION(RELEASE), BACKOFF_MS, ei.text);
    free_enrol(d);
}

/* ---- certificates are recorded ----------------------------------------------------------- */

/* The store does not take the certificate: nobody gets it. */
static void refused(struct mm_enrol *d, const Mintmark__Internal__Error *error)
{
    if (strcmp(error->reason, "NOT_WAITING") == 0) /* an officer was faster */
        return;
    record_change(d, ACTION(PARK), 0, error->text);
}

/* Certificates that the authority has of the device beside the one that it took: made by somebody
 * else, or by an enrolment whose answer was lost twice. */
static void doubles(struct mm_enrol *d)
{
    const struct mm_app *app = d->profile->enrolling->app;
    const struct mm_conf_profile *conf = mm_conf_profile_get(app->conf, d->profile->name);
    const bool revoke = conf && conf->revoke_bad;
    char uid[MM_UID_LEN + 1];

    if (d->issued->n_others == 0)
        return;
    mm_uuid_format(d->uid, uid);
    mm_log(MM_LOG_ERROR, "double_certificates", MM_STR("profile", d->profile->name),
           MM_STR("device", uid), MM_UINT("others", d->issued->n_others),
           MM_STR("revoked", revoke ? "yes" : "no"));
    d->profile->doubles += d->issued->n_others;
    for (size_t i = 0; revoke && i < d->issued->n_others; i++)
        mm_enrol_revoke_double(d, &d->issued->others[i]);
}

static void take_settled(struct mm_enrol *d, const Mintmark__Internal__Settled *s)
{
    if (s->error) {
        refused(d, s->error);
        return;
    }
    doubles(d);
    mm_enrolling_learn(d->profile, s->counts);
    mm_provisions_settled(d->profile->enrolling->app, s->request, d->uid);
}

static void on_certified(struct mm_job *job, const ProtobufCMessage *result,
                         const struct mm_errinfo *error)
{
    struct mm_enrolling_group *g = (struct mm_enrolling_group *)job;
    struct mm_enrolling_profile *p = g->profile;
    const Mintmark__Internal__StoreResult *r = (const Mintmark__Internal__StoreResult *)result;
    struct mm_enrol *d;
    size_t i = 0;

    p->certifying = false;
    if (error) /* the certificates are looked up when the devices' time is over */
        mm_log(MM_LOG_WARNING, "certificates_not_recorded", MM_STR("profile", p->name),
               MM_STR("reason", error->reason), MM_STR("text", error->text));
    while ((d = TAILQ_FIRST(&g->devices))) {
        TAILQ_REMOVE(&g->devices, d, link);
        if (r && r->result_case == MINTMARK__INTERNAL__STORE_RESULT__RESULT_CERTIFIED &&
            i < r->certified->n_devices)
            take_settled(d, r->certified->devices[i++]);
        free_enrol(d);
    }
    free(g);
    certify(p);
    mm_enrolling_kick(p->enrolling);
}

static int send_group(struct mm_enrolling_group *g, struct mm_errinfo *ei)
{
    Mintmark__Internal__CertifyDevices body = MINTMARK__INTERNAL__CERTIFY_DEVICES__INIT;
    Mintmark__Internal__StoreJob job = MM_STORE_JOB(CERTIFY, certify, &body);
    Mintmark__Internal__CertifyDevices__Certificate all[MM_CHUNK_DEVICES], *list[MM_CHUNK_DEVICES];
    struct mm_enrol *d;

    body.certificates = list;
    TAILQ_FOREACH(d, &g->devices, link) {
        Mintmark__Internal__CertifyDevices__Certificate *c = &all[body.n_certificates];

        mintmark__internal__certify_devices__certificate__init(c);
        c->uid = (ProtobufCBinaryData){sizeof(d->uid), d->uid};
        c->certificate = d->issued->certificate;
        list[body.n_certificates++] = c;
        body.chain = d->issued->chain;
        body.chain_sha256 = d->issued->chain_sha256;
    }
    return mm_enrolling_ask(g->profile->enrolling, &g->job, &job, ei);
}

static bool same_chain(const struct mm_enrol *a, const struct mm_enrol *b)
{
    const ProtobufCBinaryData *x = &a->issued->chain_sha256, *y = &b->issued->chain_sha256;

    return x->len == y->len && (x->len == 0 || memcmp(x->data, y->data, x->len) == 0);
}

/* As many as are of one chain: workers with another configuration may be on their way out. */
static void gather(struct mm_enrolling_profile *p, struct mm_enrolling_group *g)
{
    const struct mm_enrol *first = TAILQ_FIRST(&p->issued);
    struct mm_enrol *d;

    for (size_t n = 0; n < MM_CHUNK_DEVICES && (d = TAILQ_FIRST(&p->issued)); n++) {
        if (!same_chain(first, d))
            break;
        TAILQ_REMOVE(&p->issued, d, link);
        TAILQ_INSERT_TAIL(&g->devices, d, link);
    }
}

/* Those that came while the store was busy with the last ones go together. */
static void certify(struct mm_enrolling_profile *p)
{
    struct mm_enrolling_group *g;
    struct mm_errinfo ei = {0};
    struct mm_enrol *d;

    if (p->certifying || TAILQ_EMPTY(&p->issued))
        return;
    g = calloc(1, sizeof(*g));
    if (g) {
        g->job.done = on_certified;
        g->profile = p;
        TAILQ_INIT(&g->devices);
        gather(p, g);
        if (send_group(g, &ei) == MM_OK) {
            p->certifying = true;
            return;
        }
    }
    /* Without store or memory: they are looked up when their time is over. */
    while (g && (d = TAILQ_FIRST(&g->devices))) {
        TAILQ_REMOVE(&g->devices, d, link);
        free_enrol(d);
    }
    free(g);
    while ((d = TAILQ_FIRST(&p->issued))) {
        TAILQ_REMOVE(&p->issued, d, link);
        free_enrol(d);
    }
}
