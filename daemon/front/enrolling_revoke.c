/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates that the authorities are to revoke: taken out of the store, and tried until done. */
#include "daemon/front/enrolling_internal.h"

#include "daemon/base/clock.h"
#include "daemon/base/text.h"
#include "daemon/front/job.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    AT_ONCE = 8, /* revocations under way */
    RETRY_MS = 1000,
    BACKOFF_MS = 5000, /* after the first attempt; doubles */
    BACKOFF_MAX_MS = 3600000,
};

static void on_page(struct mm_job *job, const ProtobufCMessage *result,
                    const struct mm_errinfo *ei);
static void on_answer(struct mm_job *job, const ProtobufCMessage *result,
                      const struct mm_errinfo *ei);

static void learn(struct mm_enrolling *e, const Mintmark__Internal__RevocationsPage *page)
{
    e->revocations_pending = page->pending;
    e->revocations_refused = page->refused;
    e->revocations_due_ms = page->pending ? page->next_time_ms : INT64_MAX;
}

/* ---- recorded ---------------------------------------------------------------------------- */

/* What came of one, on its way to the store. */
struct ending {
    struct mm_job job;
    struct mm_enrolling *enrolling;
};

static void on_ended(struct mm_job *job, const ProtobufCMessage *result,
                     const struct mm_errinfo *error)
{
    struct ending *x = (struct ending *)job;
    struct mm_enrolling *e = x->enrolling;
    const Mintmark__Internal__StoreResult *r = (const Mintmark__Internal__StoreResult *)result;

    if (error)
        mm_log(MM_LOG_WARNING, "revocation_not_recorded", MM_STR("reason", error->reason),
               MM_STR("text", error->text));
    if (r && r->result_case == MINTMARK__INTERNAL__STORE_RESULT__RESULT_REVOCATIONS) {
        learn(e, r->revocations);
    }
    free(x);
    mm_enrolling_kick(e);
}

static int64_t backoff_ms(uint32_t attempts)
{
    int64_t ms = BACKOFF_MS;

    for (uint32_t i = 0; i < attempts && ms < BACKOFF_MAX_MS; i++)
        ms *= 2;
    return ms;
}

enum outcome { POSTPONED, DONE, REFUSED };

static void end(struct mm_enrolling *e, uint64_t row, enum outcome outcome, uint32_t attempts,
                const char *text)
{
    struct ending *x = calloc(1, sizeof(*x));
    char cut[MM_ENROLMENT_TEXT_MAX + 1];
    Mintmark__Internal__EndRevocation body = MINTMARK__INTERNAL__END_REVOCATION__INIT;
    Mintmark__Internal__StoreJob job = MM_STORE_JOB(END_REVOCATION, end_revocation, &body);
    struct mm_errinfo ei = {0};

    if (!x)
        return;
    snprintf(cut, sizeof(cut), "%s", text);
    x->job.done = on_ended;
    x->enrolling = e;
    body.row = row;
    body.done = outcome == DONE;
    body.refused = outcome == REFUSED;
    body.text = cut;
    body.now_ms = mm_clock_wall_ms();
    body.next_time_ms = body.now_ms + backoff_ms(attempts);
    if (mm_enrolling_ask(e, &x->job, &job, &ei) < 0)
        free(x);
}

/* ---- with the issuer --------------------------------------------------------------------- */

struct revoking {
    struct mm_job job;
    struct mm_enrolling *enrolling;
    char issuer[MM_NAME_MAX + 1];
    char device[MM_UID_LEN + 1];
    uint64_t row;
    uint32_t attempts;
};

static void log_end(const struct revoking *v, enum outcome outcome, const char *text)
{
    static const char *const events[] = {"revocation_postponed", "certificate_revoked",
                                         "revocation_refused"};
    static const enum mm_log_level levels[] = {MM_LOG_WARNING, MM_LOG_INFO, MM_LOG_ERROR};

    mm_log(levels[outcome], events[outcome], MM_STR("issuer", v->issuer),
           MM_STR("device", v->device), MM_STR("text", text));
}

static void on_answer(struct mm_job *job, const ProtobufCMessage *result,
                      const struct mm_errinfo *error)
{
    struct revoking *v = (struct revoking *)job;
    struct mm_enrolling *e = v->enrolling;
    const Mintmark__Internal__IssuerResult *r = (const Mintmark__Internal__IssuerResult *)result;
    const bool done = r && r->result_case == MINTMARK__INTERNAL__ISSUER_RESULT__RESULT_REVOCATION &&
                      r->revocation->revoked;
    const bool failed = r && r->result_case == MINTMARK__INTERNAL__ISSUER_RESULT__RESULT_FAILURE;
    const char *text = error ? error->text : failed ? r->failure->text : done ? "" : "not revoked";
    enum outcome outcome = done ? DONE : POSTPONED;

    /* Asked the same, it would say the same. */
    if (failed && r->failure->class_ == MINTMARK__INTERNAL__ISSUER_FAILURE__CLASS__PERMANENT)
        outcome = REFUSED;
    e->revoking--;
    log_end(v, outcome, text);
    end(e, v->row, outcome, v->attempts, text);
    free(v);
    mm_enrolling_kick(e);
}

static void postpone(struct revoking *v, const char *text)
{
    log_end(v, POSTPONED, text);
    end(v->enrolling, v->row, POSTPONED, v->attempts, text);
    free(v);
}

static void submit(struct mm_enrolling *e, const Mintmark__Internal__PendingRevocation *pending)
{
    const struct mm_conf_profile *conf = mm_conf_profile_get(e->app->conf, pending->profile);
    struct revoking *v = calloc(1, sizeof(*v));
    Mintmark__Internal__RevokeJob body = MINTMARK__INTERNAL__REVOKE_JOB__INIT;
    Mintmark__Internal__IssuerJob job = MM_ISSUER_JOB(REVOKE, revoke, &body);
    struct mm_errinfo ei = {0};

    if (!v) /* it comes again when its time is over */
        return;
    v->job.done = on_answer;
    v->enrolling = e;
    v->row = pending->row;
    v->attempts = pending->attempts;
    if (pending->uid.len == MM_ENROLLING_UID)
        mm_uuid_format(pending->uid.data, v->device);
    if (!conf || !conf->ejbca) {
        postpone(v, "the configuration has no such profile of an EJBCA");
        return;
    }
    snprintf(v->issuer, sizeof(v->issuer), "%s", conf->issuer);
    body.profile = pending->profile;
    body.serial = pending->serial;
    body.issuer_name = pending->issuer_name;
    /* Both have RFC 5280's numbers. */
    body.reason = (Mintmark__Internal__RevokeJob__Reason)pending->reason;
    if (mm_issuers_submit(e->app->issuers, conf->issuer, &v->job, &job, INT64_MAX, &ei) == MM_OK) {
        e->revoking++;
        return;
    }
    postpone(v, ei.text);
}

/* ---- out of the store -------------------------------------------------------------------- */

static void on_page(struct mm_job *job, const ProtobufCMessage *result,
                    const struct mm_errinfo *error)
{
    struct mm_enrolling *e =
        (struct mm_enrolling *)((char *)job - offsetof(struct mm_enrolling, revocations));
    const Mintmark__Internal__StoreResult *r = (const Mintmark__Internal__StoreResult *)result;

    e->taking_revocations = false;
    if (error || r->result_case != MINTMARK__INTERNAL__STORE_RESULT__RESULT_REVOCATIONS) {
        e->revocations_due_ms = mm_clock_wall_ms() + RETRY_MS;
        mm_enrolling_plan(e);
        return;
    }
    learn(e, r->revocations);
    for (size_t i = 0; i < r->revocations->n_revocations; i++)
        submit(e, r->revocations->revocations[i]);
    mm_enrolling_kick(e);
}

void mm_enrolling_revoke(struct mm_enrolling *e, int64_t now_ms)
{
    Mintmark__Internal__TakeRevocations body = MINTMARK__INTERNAL__TAKE_REVOCATIONS__INIT;
    Mintmark__Internal__StoreJob job = MM_STORE_JOB(TAKE_REVOCATIONS, take_revocations, &body);
    struct mm_errinfo ei = {0};

    if (e->taking_revocations || e->revoking >= AT_ONCE || e->revocations_due_ms > now_ms)
        return;
    body.now_ms = now_ms;
    body.next_time_ms = now_ms + 2 * 60000;
    body.limit = AT_ONCE - e->revoking;
    e->revocations = (struct mm_job){.done = on_page};
    if (mm_enrolling_ask(e, &e->revocations, &job, &ei) == MM_OK)
        e->taking_revocations = true;
    else
        e->revocations_due_ms = now_ms + RETRY_MS;
}

/* ---- a certificate that is not what was asked for ---------------------------------------- */

static void on_bad_recorded(struct mm_job *job, const ProtobufCMessage *result,
                            const struct mm_errinfo *error)
{
    struct ending *x = (struct ending *)job;
    struct mm_enrolling *e = x->enrolling;

    (void)result;
    if (error)
        mm_log(MM_LOG_WARNING, "revocation_not_recorded", MM_STR("reason", error->reason),
               MM_STR("text", error->text));
    free(x);
    mm_enrolling_revoked(e);
}

static void revoke_one(const struct mm_enrol *d, const ProtobufCBinaryData *certificate,
                       const ProtobufCBinaryData *serial)
{
    struct mm_enrolling *e = d->profile->enrolling;
    struct ending *x = calloc(1, sizeof(*x));
    Mintmark__Internal__RevokeDevice body = MINTMARK__INTERNAL__REVOKE_DEVICE__INIT;
    Mintmark__Internal__StoreJob job = MM_STORE_JOB(REVOKE, revoke, &body);
    struct mm_errinfo ei = {0};

    if (!x)
        return;
    x->job.done = on_bad_recorded;
    x->enrolling = e;
    body.uid = (ProtobufCBinaryData){sizeof(d->uid), (uint8_t *)(uintptr_t)d->uid};
    body.reason = MINTMARK__V1__REVOCATION_REASON__REVOCATION_REASON_SUPERSEDED;
    body.now_ms = mm_clock_wall_ms();
    if (certificate)
        body.certificate = *certificate;
    if (serial)
        body.serial = *serial;
    if (mm_enrolling_ask(e, &x->job, &job, &ei) < 0)
        free(x);
}

void mm_enrol_revoke_bad(const struct mm_enrol *d, const ProtobufCBinaryData *certificate)
{
    revoke_one(d, certificate, NULL);
}

void mm_enrol_revoke_double(const struct mm_enrol *d, const ProtobufCBinaryData *serial)
{
    revoke_one(d, NULL, serial);
}
