/* SPDX-License-Identifier: Apache-2.0 */
/* GetRevocation, GetCaChain and GetCrl: one question to the EJBCA of a profile. The store says
 * first which certificate a device has. */
#include "daemon/front/job.h"
#include "daemon/front/service/service.h"
#include "daemon/front/validate.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum { UID_BYTES = 16, CRL_PIECE = 128 * 1024 };

int mm_issuer_fail(const Mintmark__Internal__IssuerFailure *f, struct mm_errinfo *ei)
{
    const bool permanent = f->class_ == MINTMARK__INTERNAL__ISSUER_FAILURE__CLASS__PERMANENT;

    mm_fail(ei, permanent ? MM_ERR_PRECONDITION : MM_ERR_UNAVAILABLE,
            *f->reason ? f->reason : "ISSUER_UNAVAILABLE", "%s", f->text);
    if (!permanent)
        ei->retry_ms = f->retry_ms;
    return ei->code;
}

struct asking;
/* What to do with EJBCA's answer: the end of the call, or 1 when that comes later. */
typedef int (*take_fn)(struct asking *a, const Mintmark__Internal__IssuerResult *result,
                       struct mm_errinfo *ei);

struct asking {
    struct mm_store_job store;
    struct mm_job issuer;
    struct mm_app *app;
    struct mm_call *call;  /* NULL once it is over */
    struct mm_arena arena; /* of the answers */
    bool store_runs, issuer_runs;
    Mintmark__Internal__IssuerResult__ResultCase expected; /* of EJBCA */
    take_fn take;
    const Mintmark__Internal__EnrolmentFound *device; /* GetRevocation; in the arena */
    ProtobufCBinaryData crl;                          /* GetCrl: what is left to be sent */
};

/* ---- the end ----------------------------------------------------------------------------- */

static void done(struct asking *a)
{
    mm_arena_done(&a->arena);
    free(a);
}

static void fail(struct asking *a, const struct mm_errinfo *ei)
{
    if (a->call)
        mm_call_finish(a->call, ei);
    done(a);
}

static void on_cancel(struct mm_call *call, void *user)
{
    struct asking *a = user;

    (void)call;
    a->call = NULL;
    if (a->store_runs && mm_store_cancel(a->app->store_queue, &a->store))
        a->store_runs = false;
    if (!a->store_runs && !a->issuer_runs)
        done(a);
}

/* ---- asking EJBCA ------------------------------------------------------------------------ */

static int take_answer(struct asking *a, const Mintmark__Internal__IssuerResult *r,
                       struct mm_errinfo *ei)
{
    if (r->result_case == MINTMARK__INTERNAL__ISSUER_RESULT__RESULT_FAILURE)
        return mm_issuer_fail(r->failure, ei);
    if (r->result_case != a->expected)
        return mm_fail(ei, MM_ERR_INTERNAL, "ISSUER_ANSWER",
                       "the issuer gave another kind of answer");
    return a->take(a, r, ei);
}

static void on_issuer(struct mm_job *job, const ProtobufCMessage *result,
                      const struct mm_errinfo *error)
{
    struct asking *a = (struct asking *)((char *)job - offsetof(struct asking, issuer));
    struct mm_errinfo ei = {0};
    int r;

    a->issuer_runs = false;
    if (!a->call) {
        done(a);
        return;
    }
    if (error) {
        fail(a, error);
        return;
    }
    r = take_answer(a, (const Mintmark__Internal__IssuerResult *)result, &ei);
    if (r < 0)
        fail(a, &ei);
    else if (r == 0)
        done(a);
}

static int ask_issuer(struct asking *a, const char *profile, Mintmark__Internal__IssuerJob *job,
                      struct mm_errinfo *ei)
{
    const struct mm_conf_profile *p = mm_conf_profile_get(a->app->conf, profile);
    int r;

    if (!p || !p->ejbca)
        return mm_fail(ei, MM_ERR_NOT_FOUND, "UNKNOWN_PROFILE",
                       "the configuration has no profile %.64s of an EJBCA", profile);
    a->issuer = (struct mm_job){.arena = &a->arena, .done = on_issuer};
    r = mm_issuers_submit(a->app->issuers, p->issuer, &a->issuer, job, mm_call_deadline_us(a->call),
                          ei);
    if (r == MM_ERR_AGAIN)
        r = mm_fail(ei, MM_ERR_UNAVAILABLE, "ISSUER_BUSY", "the issuer has too much to do");
    a->issuer_runs = r == MM_OK;
    return r;
}

static struct asking *new_asking(struct mm_call *call, const struct mm_call_ops *ops,
                                 struct mm_errinfo *ei)
{
    struct mm_app *app = mm_call_app(call);
    struct asking *a = NULL;

    if (mm_app_check_open(app, ei) < 0)
        return NULL;
    a = calloc(1, sizeof(*a));
    if (!a) {
        mm_fail_memory(ei);
        return NULL;
    }
    a->app = app;
    a->call = call;
    a->arena = MM_ARENA_INIT;
    mm_call_set(call, ops, a);
    return a;
}

/* A call that asks about a profile's CA, and no more. */
static void ask_of_profile(struct mm_call *call, const struct mm_call_ops *ops, const char *profile,
                           Mintmark__Internal__IssuerJob *job,
                           Mintmark__Internal__IssuerResult__ResultCase expected, take_fn take)
{
    struct mm_errinfo ei = {0};
    struct asking *a = new_asking(call, ops, &ei);

    if (!a) {
        mm_call_finish(call, &ei);
        return;
    }
    a->expected = expected;
    a->take = take;
    if (ask_issuer(a, profile, job, &ei) < 0)
        fail(a, &ei);
}

/* ---- GetRevocation ----------------------------------------------------------------------- */

static void reply_revocation(struct asking *a, const Mintmark__Internal__Revocation *r)
{
    Mintmark__V1__GetRevocationResponse response;

    mintmark__v1__get_revocation_response__init(&response);
    response.profile = a->device->device->profile;
    response.username = a->device->device->username;
    response.serial = a->device->device->serial;
    response.recorded = a->device->revoked;
    response.told = a->device->revocation_done;
    response.refused = a->device->refused;
    response.refusal = a->device->refused_text;
    if (r) {
        response.revoked = r->revoked;
        response.reason = r->reason;
        response.time_ms = r->time_ms;
    }
    mm_call_reply(a->call, &response.base);
}

static int take_revocation(struct asking *a, const Mintmark__Internal__IssuerResult *result,
                           struct mm_errinfo *ei)
{
    (void)ei;
    reply_revocation(a, result->revocation);
    return MM_OK;
}

/* 1: EJBCA is asked. */
static int take_device(struct asking *a, const Mintmark__Internal__StoreResult *result,
                       struct mm_errinfo *ei)
{
    Mintmark__Internal__RevocationJob body = MINTMARK__INTERNAL__REVOCATION_JOB__INIT;
    Mintmark__Internal__IssuerJob job = MM_ISSUER_JOB(REVOCATION, revocation, &body);
    int r;

    if (result->result_case != MINTMARK__INTERNAL__STORE_RESULT__RESULT_ENROLMENT_FOUND)
        return mm_fail(ei, MM_ERR_INTERNAL, "STORE_ANSWER",
                       "the store gave another kind of answer");
    a->device = result->enrolment_found;
    if (a->device->device->serial.len == 0 && a->device->refused > 0) {
        reply_revocation(a, NULL); /* all that it has are wrong ones */
        return MM_OK;
    }
    if (a->device->device->serial.len == 0)
        return mm_fail(ei, MM_ERR_PRECONDITION, "NO_CERTIFICATE",
                       "the device has no certificate that an authority elsewhere issued");
    body.profile = a->device->device->profile;
    body.serial = a->device->device->serial;
    body.issuer_name = a->device->issuer_name;
    a->expected = MINTMARK__INTERNAL__ISSUER_RESULT__RESULT_REVOCATION;
    a->take = take_revocation;
    r = ask_issuer(a, body.profile, &job, ei);
    return r < 0 ? r : 1;
}

static void on_store(struct mm_job *job, const ProtobufCMessage *result,
                     const struct mm_errinfo *error)
{
    struct asking *a = (struct asking *)((char *)job - offsetof(struct asking, store.job));
    struct mm_errinfo ei = {0};
    int r;

    a->store_runs = false;
    if (!a->call || error) {
        if (error)
            fail(a, error);
        else
            done(a);
        return;
    }
    r = take_device(a, (const Mintmark__Internal__StoreResult *)result, &ei);
    if (r < 0)
        fail(a, &ei);
    else if (r == 0)
        done(a);
}

static int ask_store(struct asking *a, uint8_t uid[UID_BYTES], struct mm_errinfo *ei)
{
    Mintmark__Internal__FindEnrolment body = MINTMARK__INTERNAL__FIND_ENROLMENT__INIT;
    Mintmark__Internal__StoreJob job = MM_STORE_JOB(FIND_ENROLMENT, find_enrolment, &body);
    struct mm_account *account = NULL;
    int r = mm_app_check_store(a->app, ei);

    if (r == MM_OK)
        r = mm_app_admit(a->app, mm_call_peer(a->call), &account, ei);
    if (r < 0)
        return r;
    body.uid = (ProtobufCBinaryData){UID_BYTES, uid};
    a->store = (struct mm_store_job){.job = {.arena = &a->arena, .done = on_store}};
    r = mm_store_submit(a->app->store_queue, &a->store, &job, account, MM_SCHED_INTERACTIVE, 1,
                        mm_call_deadline_us(a->call), ei);
    a->store_runs = r == MM_OK;
    return r;
}

void mm_rpc_get_revocation(struct mm_call *call, const ProtobufCMessage *request)
{
    static const struct mm_call_ops ops = {.on_cancel = on_cancel};
    const Mintmark__V1__GetRevocationRequest *m =
        (const Mintmark__V1__GetRevocationRequest *)request;
    struct asking *a = NULL;
    uint8_t uid[UID_BYTES];
    struct mm_errinfo ei = {0};

    if (mm_check_uid("device_uid", m->device_uid, uid, &ei) == MM_OK)
        a = new_asking(call, &ops, &ei);
    if (!a)
        mm_call_finish(call, &ei);
    else if (ask_store(a, uid, &ei) < 0)
        fail(a, &ei);
}

/* ---- GetCaChain -------------------------------------------------------------------------- */

static int take_chain(struct asking *a, const Mintmark__Internal__IssuerResult *result,
                      struct mm_errinfo *ei)
{
    Mintmark__V1__GetCaChainResponse response;

    (void)ei;
    mintmark__v1__get_ca_chain_response__init(&response);
    response.certificates = result->ca_chain->certificates;
    response.n_certificates = result->ca_chain->n_certificates;
    response.subject_dn = result->ca_chain->subject_dn;
    response.pinned = result->ca_chain->pinned;
    mm_call_reply(a->call, &response.base);
    return MM_OK;
}

void mm_rpc_get_ca_chain(struct mm_call *call, const ProtobufCMessage *request)
{
    static const struct mm_call_ops ops = {.on_cancel = on_cancel};
    const Mintmark__V1__GetCaChainRequest *m = (const Mintmark__V1__GetCaChainRequest *)request;
    Mintmark__Internal__CaChainJob body = MINTMARK__INTERNAL__CA_CHAIN_JOB__INIT;
    Mintmark__Internal__IssuerJob job = MM_ISSUER_JOB(CA_CHAIN, ca_chain, &body);

    body.profile = m->profile;
    ask_of_profile(call, &ops, m->profile, &job, MINTMARK__INTERNAL__ISSUER_RESULT__RESULT_CA_CHAIN,
                   take_chain);
}

/* ---- GetCrl ------------------------------------------------------------------------------ */

/* As much as the client takes; 1: the rest comes when it takes more. */
static int send_crl(struct asking *a, struct mm_errinfo *ei)
{
    while (a->crl.len > 0) {
        Mintmark__V1__GetCrlResponse response = MINTMARK__V1__GET_CRL_RESPONSE__INIT;
        int r;

        response.data = a->crl;
        if (response.data.len > CRL_PIECE)
            response.data.len = CRL_PIECE;
        r = mm_call_send(a->call, &response.base);
        if (r < 0 && r != MM_ERR_AGAIN)
            return mm_fail(ei, (enum mm_err)r, "NOT_SENT", "a piece of the CRL could not be sent");
        a->crl.data += response.data.len;
        a->crl.len -= response.data.len;
        if (r == MM_ERR_AGAIN && a->crl.len > 0)
            return 1;
    }
    mm_call_finish(a->call, NULL);
    return MM_OK;
}

static int take_crl(struct asking *a, const Mintmark__Internal__IssuerResult *result,
                    struct mm_errinfo *ei)
{
    a->crl = result->crl->crl;
    return send_crl(a, ei);
}

static void on_writable(struct mm_call *call, void *user)
{
    struct asking *a = user;
    struct mm_errinfo ei = {0};
    int r;

    (void)call;
    if (a->issuer_runs || a->crl.len == 0)
        return;
    r = send_crl(a, &ei);
    if (r < 0)
        fail(a, &ei);
    else if (r == 0)
        done(a);
}

void mm_rpc_get_crl(struct mm_call *call, const ProtobufCMessage *request)
{
    static const struct mm_call_ops ops = {.on_cancel = on_cancel, .on_writable = on_writable};
    const Mintmark__V1__GetCrlRequest *m = (const Mintmark__V1__GetCrlRequest *)request;
    Mintmark__Internal__CrlJob body = MINTMARK__INTERNAL__CRL_JOB__INIT;
    Mintmark__Internal__IssuerJob job = MM_ISSUER_JOB(CRL, crl, &body);

    body.profile = m->profile;
    body.delta = m->delta;
    ask_of_profile(call, &ops, m->profile, &job, MINTMARK__INTERNAL__ISSUER_RESULT__RESULT_CRL,
                   take_crl);
}
