/* SPDX-License-Identifier: Apache-2.0 */
/* Revocation, chains, CRLs, lists: one request each, once the CA's DN is known. */
#include "daemon/issuer/request.h"
#include "daemon/issuer/task.h"

#include "daemon/base/log.h"

#include <openssl/sha.h>
#include <string.h>

enum { SERIAL_MAX = 20 };

/* A body that is not what it should be: the task has ended, and this is what counts. */
static struct mm_verdict bad_answer(struct mm_task *t, const struct mm_outcome *out,
                                    const struct mm_errinfo *ei)
{
    struct mm_outcome told = *out;
    struct mm_verdict v = mm_verdict_bad_answer(t->request.kind);

    told.reply.text = ei->text;
    mm_task_fail(t, &told, &v, false);
    return v;
}

static bool failed(struct mm_task *t, const struct mm_outcome *out)
{
    if (out->verdict.class == MM_VERDICT_DONE)
        return false;
    mm_task_fail(t, out, &out->verdict, false);
    return true;
}

/* Finds the profile, and checks a serial number if the job has one. */
static bool refused(struct mm_task *t, const char *profile, const ProtobufCBinaryData *serial)
{
    struct mm_errinfo ei;
    int r = mm_task_profile(t, profile, &ei);

    if (r == MM_OK && serial && (serial->len < 1 || serial->len > SERIAL_MAX))
        r = mm_fail_field(&ei, "serial", "a serial number has 1 to %d bytes", SERIAL_MAX);
    if (r < 0)
        mm_task_error(t, &ei);
    return r < 0;
}

/* ---- revocation -------------------------------------------------------------------------- */

static const char *reason_name(Mintmark__Internal__RevokeJob__Reason reason)
{
    switch (reason) {
    case MINTMARK__INTERNAL__REVOKE_JOB__REASON__KEY_COMPROMISE:
        return "KEY_COMPROMISE";
    case MINTMARK__INTERNAL__REVOKE_JOB__REASON__CA_COMPROMISE:
        return "CA_COMPROMISE";
    case MINTMARK__INTERNAL__REVOKE_JOB__REASON__AFFILIATION_CHANGED:
        return "AFFILIATION_CHANGED";
    case MINTMARK__INTERNAL__REVOKE_JOB__REASON__SUPERSEDED:
        return "SUPERSEDED";
    case MINTMARK__INTERNAL__REVOKE_JOB__REASON__CESSATION_OF_OPERATION:
        return "CESSATION_OF_OPERATION";
    case MINTMARK__INTERNAL__REVOKE_JOB__REASON__CERTIFICATE_HOLD:
        return "CERTIFICATE_HOLD";
    case MINTMARK__INTERNAL__REVOKE_JOB__REASON__REMOVE_FROM_CRL:
        return "REMOVE_FROM_CRL";
    case MINTMARK__INTERNAL__REVOKE_JOB__REASON__PRIVILEGES_WITHDRAWN:
        return "PRIVILEGES_WITHDRAWN";
    case MINTMARK__INTERNAL__REVOKE_JOB__REASON__AA_COMPROMISE:
        return "AA_COMPROMISE";
    default:
        return "UNSPECIFIED";
    }
}

static void reply_revocation(struct mm_task *t, struct mm_answer_revocation *r, bool was_revoked)
{
    Mintmark__Internal__IssuerResult result;
    Mintmark__Internal__Revocation revocation;

    mintmark__internal__issuer_result__init(&result);
    mintmark__internal__revocation__init(&revocation);
    result.result_case = MINTMARK__INTERNAL__ISSUER_RESULT__RESULT_REVOCATION;
    result.revocation = &revocation;
    revocation.revoked = r->revoked;
    revocation.reason = r->reason;
    revocation.time_ms = r->time_ms;
    revocation.was_revoked = was_revoked;
    mm_task_reply(t, &result);
}

static struct mm_verdict on_revoked(struct mm_task *t, const struct mm_outcome *out)
{
    struct mm_answer_revocation r = {.revoked = true};
    struct mm_errinfo ei;

    if (failed(t, out))
        return out->verdict;
    /* A refusal that says that it was so before. */
    if (out->reply.status != 200) {
        reply_revocation(t, &r, true);
        return out->verdict;
    }
    if (mm_answer_revocation(out->body, &r, &ei) < 0)
        return bad_answer(t, out, &ei);
    reply_revocation(t, &r, false);
    return out->verdict;
}

/* Another CA's than the pinned one's name: it issued before the profile got another CA. */
static bool is_of_other_ca(const struct mm_task *t, const ProtobufCBinaryData *issuer_name)
{
    const uint8_t *at = issuer_name->data;
    X509_NAME *name = d2i_X509_NAME(NULL, &at, (long)issuer_name->len);
    const bool other =
        name && X509_NAME_cmp(name, X509_get_subject_name(sk_X509_value(t->issuer->chain, 0))) != 0;

    X509_NAME_free(name);
    return other;
}

/* The path of a certificate: under the DN that EJBCA gives the profile's CA, or that of its own
 * issuer, as the certificate has it. */
static void put_path(struct mm_task *t, const char *issuer_dn,
                     const ProtobufCBinaryData *issuer_name, const ProtobufCBinaryData *serial,
                     const char *what)
{
    char other[MM_CA_DN_MAX];

    if (!*issuer_dn && is_of_other_ca(t, issuer_name)) {
        mm_request_issuer_dn((struct mm_bytes){issuer_name->data, issuer_name->len}, other,
                             sizeof(other));
        issuer_dn = other;
    }
    mm_task_prepare(t);
    mm_request_certificate_path(&t->request.path, *issuer_dn ? issuer_dn : t->profile->ca->dn,
                                (struct mm_bytes){serial->data, serial->len}, what);
}

/* Without asking for the profile's CA where that is not needed: it may be gone. */
static void with_issuer(struct mm_task *t, const char *issuer_dn,
                        const ProtobufCBinaryData *issuer_name, void (*then)(struct mm_task *t))
{
    if (*issuer_dn || is_of_other_ca(t, issuer_name))
        then(t);
    else
        mm_task_with_ca(t, then);
}

static void revoke(struct mm_task *t)
{
    const Mintmark__Internal__RevokeJob *job = t->job->revoke;

    put_path(t, job->issuer_dn, &job->issuer_name, &job->serial, "revoke");
    mm_buf_append_str(&t->request.path, "?reason=");
    mm_buf_append_str(&t->request.path, reason_name(job->reason));
    mm_task_send(t, MM_CALL_REVOKE, MM_PUT, MM_ISSUER_BODY_MAX, on_revoked);
}

void mm_task_revoke(struct mm_task *t)
{
    const Mintmark__Internal__RevokeJob *job = t->job->revoke;

    if (!refused(t, job->profile, &job->serial))
        with_issuer(t, job->issuer_dn, &job->issuer_name, revoke);
}

static struct mm_verdict on_revocation(struct mm_task *t, const struct mm_outcome *out)
{
    struct mm_answer_revocation r;
    struct mm_errinfo ei;

    if (failed(t, out))
        return out->verdict;
    if (mm_answer_revocation(out->body, &r, &ei) < 0)
        return bad_answer(t, out, &ei);
    reply_revocation(t, &r, false);
    return out->verdict;
}

static void ask_revocation(struct mm_task *t)
{
    const Mintmark__Internal__RevocationJob *job = t->job->revocation;

    put_path(t, "", &job->issuer_name, &job->serial, "revocationstatus");
    mm_task_send(t, MM_CALL_READ, MM_GET, MM_ISSUER_BODY_MAX, on_revocation);
}

void mm_task_revocation(struct mm_task *t)
{
    const Mintmark__Internal__RevocationJob *job = t->job->revocation;

    if (!refused(t, job->profile, &job->serial))
        with_issuer(t, "", &job->issuer_name, ask_revocation);
}

/* ---- the CA ------------------------------------------------------------------------------ */

/* Also the worker's own look at its start, which has no job to answer and so says it in the log. */
static void tell_chain(const struct mm_task *t, bool pinned)
{
    if (pinned)
        mm_log(MM_LOG_INFO, "ca_chain", MM_STR("ca", t->profile->ca->name),
               MM_STR("subject", t->profile->ca->dn));
    else
        mm_log(MM_LOG_ERROR, "ca_chain_differs", MM_STR("ca", t->profile->ca->name),
               MM_STR("subject", t->profile->ca->dn),
               MM_STR("hint", "EJBCA's chain of this CA is not that of the issuer's setting "
                              "certificate; certificates of it are refused"));
}

static struct mm_verdict on_chain(struct mm_task *t, const struct mm_outcome *out)
{
    MM_DERS_CLEANUP struct mm_ders ders = MM_DERS_INIT;
    Mintmark__Internal__IssuerResult result;
    Mintmark__Internal__CaChain chain;
    ProtobufCBinaryData list[1 + MM_CHAIN_MAX];
    struct mm_errinfo ei;

    if (failed(t, out))
        return out->verdict;
    if (mm_task_read_chain(t->issuer, out->body, &ders, &ei) < 0)
        return bad_answer(t, out, &ei);
    mintmark__internal__issuer_result__init(&result);
    mintmark__internal__ca_chain__init(&chain);
    result.result_case = MINTMARK__INTERNAL__ISSUER_RESULT__RESULT_CA_CHAIN;
    result.ca_chain = &chain;
    for (size_t i = 0; i < ders.n; i++) {
        const struct mm_bytes der = mm_ders_get(&ders, i);

        list[i] = (ProtobufCBinaryData){der.len, (uint8_t *)(uintptr_t)der.data};
    }
    chain.certificates = list;
    chain.n_certificates = ders.n;
    chain.subject_dn = t->profile->ca->dn;
    chain.pinned = mm_issuer_is_chain(t->issuer, &ders, 0);
    if (!t->job)
        tell_chain(t, chain.pinned);
    mm_task_reply(t, &result);
    return out->verdict;
}

static void ask_chain(struct mm_task *t)
{
    mm_task_prepare(t);
    mm_request_ca_path(&t->request.path, t->profile->ca->dn, "certificate/download");
    mm_task_send(t, MM_CALL_READ, MM_GET, MM_ISSUER_BODY_MAX, on_chain);
}

void mm_task_ca_chain(struct mm_task *t)
{
    if (!refused(t, t->job->ca_chain->profile, NULL))
        mm_task_with_ca(t, ask_chain);
}

void mm_issuer_look(struct mm_issuer *i)
{
    for (size_t k = 0; k < i->n_profiles; k++) {
        struct mm_task *t;
        size_t before = 0;

        while (before < k && i->profiles[before].ca != i->profiles[k].ca)
            before++;
        t = before == k ? mm_task_new(i) : NULL;
        if (!t)
            continue;
        t->profile = &i->profiles[k];
        mm_task_with_ca(t, ask_chain);
    }
}

static struct mm_verdict on_crl(struct mm_task *t, const struct mm_outcome *out)
{
    MM_BUF_CLEANUP struct mm_buf der = MM_BUF_INIT(MM_ISSUER_CRL_MAX);
    Mintmark__Internal__IssuerResult result;
    Mintmark__Internal__Crl crl;
    struct mm_errinfo ei;

    if (failed(t, out))
        return out->verdict;
    if (mm_answer_crl(out->body, &der, &ei) < 0 ||
        mm_ca_key_check_crl(t->issuer->ca_key, sk_X509_value(t->issuer->chain, 0),
                            (struct mm_bytes){der.data, der.len}, &ei) < 0)
        return bad_answer(t, out, &ei);
    mintmark__internal__issuer_result__init(&result);
    mintmark__internal__crl__init(&crl);
    result.result_case = MINTMARK__INTERNAL__ISSUER_RESULT__RESULT_CRL;
    result.crl = &crl;
    crl.crl = (ProtobufCBinaryData){der.len, der.data};
    mm_task_reply(t, &result);
    return out->verdict;
}

static void ask_crl(struct mm_task *t)
{
    mm_task_prepare(t);
    mm_request_ca_path(&t->request.path, t->profile->ca->dn, "getLatestCrl?deltaCrl=");
    mm_buf_append_str(&t->request.path, t->job->crl->delta ? "true" : "false");
    mm_task_send(t, MM_CALL_READ, MM_GET, (size_t)MM_ISSUER_CRL_MAX / 3 * 4 + 1024, on_crl);
}

void mm_task_crl(struct mm_task *t)
{
    if (!refused(t, t->job->crl->profile, NULL))
        mm_task_with_ca(t, ask_crl);
}

/* ---- lists ------------------------------------------------------------------------------- */

struct entry {
    Mintmark__Internal__Listed__Entry message;
    uint8_t digest[SHA256_DIGEST_LENGTH];
};

/* The certificate itself, where it came along, is what counts: it has the serial number for sure.
 */
static void fill(struct entry *e, const struct mm_hits *hits, struct mm_hit *hit)
{
    struct mm_issued cert;
    struct mm_errinfo ei;

    mintmark__internal__listed__entry__init(&e->message);
    e->message.username = hit->username;
    e->message.revoked = hit->revoked;
    e->message.not_before_ms = hit->not_before_ms;
    if (hit->len == 0 ||
        mm_issued_read((struct mm_bytes){hits->bytes.data + hit->at, hit->len}, &cert, &ei) < 0) {
        e->message.serial = (ProtobufCBinaryData){hit->serial_len, hit->serial};
        return;
    }
    e->message.serial =
        (ProtobufCBinaryData){cert.serial.len, (uint8_t *)(uintptr_t)cert.serial.data};
    if (EVP_Digest(cert.spki.data, cert.spki.len, e->digest, NULL, EVP_sha256(), NULL) == 1)
        e->message.spki_sha256 = (ProtobufCBinaryData){sizeof(e->digest), e->digest};
    e->message.not_before_ms = cert.not_before_s * 1000;
}

static void reply_list(struct mm_task *t, struct mm_hits *hits, struct entry *entries,
                       Mintmark__Internal__Listed__Entry **list)
{
    Mintmark__Internal__IssuerResult result;
    Mintmark__Internal__Listed listed;

    mintmark__internal__issuer_result__init(&result);
    mintmark__internal__listed__init(&listed);
    for (size_t i = 0; i < hits->n; i++) {
        fill(&entries[i], hits, &hits->hits[i]);
        list[i] = &entries[i].message;
    }
    result.result_case = MINTMARK__INTERNAL__ISSUER_RESULT__RESULT_LISTED;
    result.listed = &listed;
    listed.entries = list;
    listed.n_entries = hits->n;
    listed.more = hits->n == t->job->list->page_size;
    mm_task_reply(t, &result);
}

static struct mm_verdict on_list(struct mm_task *t, const struct mm_outcome *out)
{
    MM_FREE struct mm_hits *hits = NULL;
    MM_FREE struct entry *entries = NULL;
    Mintmark__Internal__Listed__Entry *list[MM_ISSUER_PAGE_MAX];
    const struct mm_verdict done = out->verdict;
    struct mm_errinfo ei;
    int r;

    if (failed(t, out))
        return done;
    hits = calloc(1, sizeof(*hits));
    entries = calloc(MM_ISSUER_PAGE_MAX, sizeof(*entries));
    if (!hits || !entries) {
        mm_fail_memory(&ei);
        mm_task_error(t, &ei);
        return done;
    }
    hits->bytes = MM_BUF_INIT(MM_ISSUER_LIST_BODY_MAX);
    r = mm_answer_hits(out->body, hits, &ei);
    if (r == MM_OK)
        reply_list(t, hits, entries, list);
    mm_buf_done(&hits->bytes);
    return r == MM_OK ? done : bad_answer(t, out, &ei);
}

void mm_task_list(struct mm_task *t)
{
    const Mintmark__Internal__ListJob *job = t->job->list;
    const struct mm_conf_profile *p;
    struct mm_errinfo ei;

    if (refused(t, job->profile, NULL))
        return;
    if (job->page < 1 || job->page_size < 1 || job->page_size > MM_ISSUER_PAGE_MAX) {
        mm_fail_field(&ei, "page_size", "pages begin at 1 and have 1 to %d certificates",
                      MM_ISSUER_PAGE_MAX);
        mm_task_error(t, &ei);
        return;
    }
    p = t->profile->conf;
    mm_task_prepare(t);
    mm_buf_append_str(&t->request.path, "/v2/certificate/search");
    mm_request_list(&t->request.body, p->ca, p->certificate_profile, p->end_entity_profile,
                    job->page, job->page_size);
    mm_task_send(t, MM_CALL_READ, MM_POST, MM_ISSUER_LIST_BODY_MAX, on_list);
}
