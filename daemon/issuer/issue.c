/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One device's certificate. Without lookup_first: enrol, check, done. With it:
 *
 *   search the username ──▶ those of this key, one after the other:
 *        is it revoked?  ──▶ good, not revoked: take it          (found)
 *                            good, revoked:     fail for good    (nobody makes a second one)
 *                            bad, not revoked:  BAD_CERTIFICATE  (to be revoked)
 *                            bad, revoked:      the next
 *   none left ──▶ enrol, unless only a look was asked for
 */
#include "daemon/issuer/request.h"
#include "daemon/issuer/task.h"
#include "daemon/pki/csr.h"
#include "daemon/pki/der.h"

#include "daemon/base/clock.h"
#include "daemon/base/log.h"
#include "daemon/base/text.h"

#include <stdio.h>
#include <string.h>

enum { FOUND_MAX = 20 };

struct issue {
    struct mm_subject subject;
    char uid[MM_UID_LEN + 1];
    struct mm_ders found;
    size_t mine[FOUND_MAX]; /* of found: those of this key */
    size_t n_mine, at;
    bool searched; /* EJBCA has been asked what it has */
};

static void free_issue(void *state)
{
    struct issue *s = state;

    mm_ders_done(&s->found);
    free(s);
}

static const Mintmark__Internal__IssueJob *job_of(const struct mm_task *t)
{
    return t->job->issue;
}

/* ---- judging ----------------------------------------------------------------------------- */

static int judge(struct mm_task *t, struct mm_bytes der, struct mm_issued *ret_cert,
                 struct mm_errinfo *ei)
{
    struct issue *s = t->state;
    int r = mm_issued_read(der, ret_cert, ei);

    s->subject.now_ms = mm_clock_wall_ms();
    return r < 0 ? r
                 : mm_profile_check_issued(t->profile->profile, t->issuer->ca_key, &s->subject,
                                           ret_cert, ei);
}

static bool is_of_key(const struct issue *s, const struct mm_issued *cert)
{
    const struct mm_bytes spki = cert->spki;

    return spki.len > s->subject.point_len && memcmp(spki.data + spki.len - s->subject.point_len,
                                                     s->subject.point, s->subject.point_len) == 0;
}

/* ---- the end ----------------------------------------------------------------------------- */

static void done(struct mm_task *t, struct mm_bytes der, const struct mm_issued *cert, bool found,
                 const ProtobufCBinaryData *others, size_t n_others)
{
    Mintmark__Internal__IssuerResult result;
    Mintmark__Internal__Issued issued;

    mintmark__internal__issuer_result__init(&result);
    mintmark__internal__issued__init(&issued);
    result.result_case = MINTMARK__INTERNAL__ISSUER_RESULT__RESULT_ISSUED;
    result.issued = &issued;
    issued.certificate = (ProtobufCBinaryData){der.len, (uint8_t *)(uintptr_t)der.data};
    issued.serial =
        (ProtobufCBinaryData){cert->serial.len, (uint8_t *)(uintptr_t)cert->serial.data};
    issued.found = found;
    issued.others = (ProtobufCBinaryData *)(uintptr_t)others;
    issued.n_others = n_others;
    issued.chain = (ProtobufCBinaryData){t->issuer->chain_packed.len, t->issuer->chain_packed.data};
    issued.chain_sha256 =
        (ProtobufCBinaryData){sizeof(t->issuer->chain_sha256), t->issuer->chain_sha256};
    mm_task_reply(t, &result);
}

static void set_failure(Mintmark__Internal__IssuerResult *result,
                        Mintmark__Internal__IssuerFailure *failure, const char *reason,
                        const char *text)
{
    mintmark__internal__issuer_result__init(result);
    mintmark__internal__issuer_failure__init(failure);
    result->result_case = MINTMARK__INTERNAL__ISSUER_RESULT__RESULT_FAILURE;
    result->failure = failure;
    failure->class_ = MINTMARK__INTERNAL__ISSUER_FAILURE__CLASS__PERMANENT;
    failure->reason = (char *)(uintptr_t)reason;
    failure->text = (char *)(uintptr_t)text;
}

/* cert: NULL when it could not be read. Of another key it may be another device's, and must not be
 * revoked for this one: then nothing is told by which it could be. */
static void bad_certificate(struct mm_task *t, const struct mm_outcome *out, struct mm_bytes der,
                            const struct mm_issued *cert, const char *why)
{
    struct issue *s = t->state;
    Mintmark__Internal__IssuerResult result;
    Mintmark__Internal__IssuerFailure failure;
    char issuer_dn[MM_CA_DN_MAX] = "";

    set_failure(&result, &failure, "BAD_CERTIFICATE", why);
    failure.http_status = out->reply.status;
    failure.node = (char *)(uintptr_t)out->node;
    if (cert && is_of_key(s, cert)) {
        failure.certificate = (ProtobufCBinaryData){der.len <= MM_CERT_DER_MAX ? der.len : 0,
                                                    (uint8_t *)(uintptr_t)der.data};
        failure.serial =
            (ProtobufCBinaryData){cert->serial.len, (uint8_t *)(uintptr_t)cert->serial.data};
        if (!mm_profile_is_issuer(t->profile->profile, cert))
            mm_request_issuer_dn(cert->issuer, issuer_dn, sizeof(issuer_dn));
        failure.issuer_dn = issuer_dn;
    }
    mm_log(MM_LOG_ERROR, "bad_certificate", MM_STR("profile", t->profile->conf->name),
           MM_STR("username", job_of(t)->username), MM_STR("node", out->node), MM_STR("text", why));
    mm_task_reply(t, &result);
}

/* ---- enrolling --------------------------------------------------------------------------- */

static struct mm_verdict on_enrolled(struct mm_task *t, const struct mm_outcome *out)
{
    MM_DERS_CLEANUP struct mm_ders ders = MM_DERS_INIT;
    struct mm_verdict v = out->verdict;
    struct mm_outcome wrong = *out;
    struct mm_issued cert = {.size = 0};
    struct mm_errinfo ei;
    struct mm_bytes der;

    if (v.class != MM_VERDICT_DONE) {
        mm_task_fail(t, out, &v, false);
        return v;
    }
    if (mm_answer_enrolled(out->body, &ders, &ei) < 0) {
        wrong.reply.text = ei.text;
        v = mm_verdict_bad_answer(MM_CALL_ENROL);
        mm_task_fail(t, &wrong, &v, true);
        return v;
    }
    der = mm_ders_get(&ders, 0);
    if (judge(t, der, &cert, &ei) < 0)
        bad_certificate(t, out, der, cert.size ? &cert : NULL, ei.text);
    else if (t->profile->conf->include_chain && !mm_issuer_is_chain(t->issuer, &ders, 1))
        bad_certificate(t, out, der, &cert,
                        "the certificate came with another chain than the "
                        "issuer's certificate setting has");
    else
        done(t, der, &cert, false, NULL, 0);
    return v;
}

static void enrol(struct mm_task *t)
{
    const struct mm_conf_profile *p = t->profile->conf;
    const struct mm_enrol_request request = {
        .username = job_of(t)->username,
        .ca = p->ca,
        .certificate_profile = p->certificate_profile,
        .end_entity_profile = p->end_entity_profile,
        .csr = {job_of(t)->csr.data, job_of(t)->csr.len},
        .include_chain = p->include_chain,
    };

    mm_task_prepare(t);
    mm_buf_append_str(&t->request.path, "/v1/certificate/pkcs10enroll");
    mm_request_enrol(&t->request.body, &request);
    mm_task_send(t, MM_CALL_ENROL, MM_POST, MM_ISSUER_BODY_MAX, on_enrolled);
}

/* ---- looking first ----------------------------------------------------------------------- */

static void next_found(struct mm_task *t);

static void take_found(struct mm_task *t, struct mm_bytes der, const struct mm_issued *cert)
{
    struct issue *s = t->state;
    ProtobufCBinaryData others[FOUND_MAX];
    size_t n = 0;

    for (size_t i = 0; i < s->n_mine; i++) {
        struct mm_issued other;
        struct mm_errinfo ei;

        if (i == s->at || mm_issued_read(mm_ders_get(&s->found, s->mine[i]), &other, &ei) < 0)
            continue;
        others[n++] =
            (ProtobufCBinaryData){other.serial.len, (uint8_t *)(uintptr_t)other.serial.data};
    }
    if (n > 0)
        mm_log(MM_LOG_ERROR, "more_than_one_certificate", MM_STR("username", job_of(t)->username),
               MM_UINT("others", n));
    done(t, der, cert, true, others, n);
}

/* A wrong one that is revoked is no certificate of the device's: the next may be. */
static void judge_found(struct mm_task *t, const struct mm_outcome *out, bool revoked)
{
    struct issue *s = t->state;
    const struct mm_bytes der = mm_ders_get(&s->found, s->mine[s->at]);
    struct mm_outcome told = *out;
    struct mm_issued cert = {.size = 0};
    struct mm_errinfo why;
    const bool good = judge(t, der, &cert, &why) == MM_OK;

    if (good && !revoked) {
        take_found(t, der, &cert);
    } else if (good) {
        told.reply.text = "its certificate has been revoked in EJBCA";
        mm_task_fail(
            t, &told,
            &(struct mm_verdict){.class = MM_VERDICT_PERMANENT, .reason = "CERTIFICATE_REVOKED"},
            false);
    } else if (!revoked) {
        bad_certificate(t, out, der, cert.size ? &cert : NULL, why.text);
    } else {
        s->at++;
        next_found(t);
    }
}

static struct mm_verdict on_status(struct mm_task *t, const struct mm_outcome *out)
{
    struct mm_answer_revocation revocation;
    struct mm_verdict v = out->verdict;
    struct mm_outcome told = *out;
    struct mm_errinfo ei;

    if (v.class == MM_VERDICT_DONE && mm_answer_revocation(out->body, &revocation, &ei) < 0) {
        told.reply.text = ei.text;
        v = mm_verdict_bad_answer(MM_CALL_READ);
    }
    if (v.class != MM_VERDICT_DONE) {
        struct mm_verdict later = v;

        /* It was found a moment ago: whatever this says, it is not the device's end. */
        later.class = MM_VERDICT_RETRY;
        later.retry_ms = v.retry_ms ? v.retry_ms : 1000;
        mm_task_fail(t, &told, &later, true);
    } else {
        judge_found(t, out, revocation.revoked);
    }
    return v;
}

static void ask_status(struct mm_task *t)
{
    struct issue *s = t->state;
    struct mm_issued cert;
    struct mm_errinfo ei;
    char dn[MM_CA_DN_MAX];

    if (mm_issued_read(mm_ders_get(&s->found, s->mine[s->at]), &cert, &ei) < 0) {
        mm_task_error(t, &ei); /* it was read before */
        return;
    }
    mm_request_issuer_dn(cert.issuer, dn, sizeof(dn));
    mm_task_prepare(t);
    mm_request_certificate_path(&t->request.path,
                                mm_profile_is_issuer(t->profile->profile, &cert) &&
                                        t->profile->ca->dn[0]
                                    ? t->profile->ca->dn
                                    : dn,
                                cert.serial, "revocationstatus");
    mm_task_send(t, MM_CALL_READ, MM_GET, MM_ISSUER_BODY_MAX, on_status);
}

static void next_found(struct mm_task *t)
{
    struct issue *s = t->state;
    Mintmark__Internal__IssuerResult result;
    Mintmark__Internal__IssuerFailure failure;

    if (s->at < s->n_mine) {
        ask_status(t);
    } else if (!job_of(t)->lookup_only) {
        if (s->n_mine > 0)
            mm_log(MM_LOG_WARNING, "enrolled_anew", MM_STR("username", job_of(t)->username),
                   MM_UINT("revoked", s->n_mine),
                   MM_STR("text", "its wrong certificates are revoked in EJBCA: one more is made"));
        enrol(t);
    } else {
        set_failure(&result, &failure, "NOT_ENROLLED", "EJBCA has no certificate of this key");
        mm_task_reply(t, &result);
    }
}

/* One that is listed twice is no second one, to be revoked beside the first. */
static bool is_listed(const struct issue *s, struct mm_bytes der)
{
    for (size_t i = 0; i < s->n_mine; i++) {
        if (mm_bytes_equal(mm_ders_get(&s->found, s->mine[i]), der))
            return true;
    }
    return false;
}

static void gather(struct issue *s)
{
    for (size_t i = 0; i < s->found.n && s->n_mine < FOUND_MAX; i++) {
        const struct mm_bytes der = mm_ders_get(&s->found, i);
        struct mm_issued cert;
        struct mm_errinfo ei;

        if (mm_issued_read(der, &cert, &ei) == MM_OK && is_of_key(s, &cert) && !is_listed(s, der))
            s->mine[s->n_mine++] = i;
    }
}

static struct mm_verdict on_found(struct mm_task *t, const struct mm_outcome *out)
{
    struct issue *s = t->state;
    struct mm_verdict v = out->verdict;
    struct mm_outcome told = *out;
    struct mm_errinfo ei;
    bool more = false;

    if (v.class == MM_VERDICT_DONE && mm_answer_found(out->body, &s->found, &more, &ei) < 0) {
        told.reply.text = ei.text;
        v = mm_verdict_bad_answer(MM_CALL_READ);
    }
    if (v.class != MM_VERDICT_DONE) {
        struct mm_verdict later = v;

        /* A search that EJBCA will not do says nothing about the device. */
        later.class = MM_VERDICT_RETRY;
        later.retry_ms = v.retry_ms ? v.retry_ms : 10000;
        mm_task_fail(t, &told, &later, true);
        return v;
    }
    gather(s);
    /* With more of them than were listed, ours may be among the rest. */
    if (more && s->n_mine == 0) {
        told.reply.text = "EJBCA has more certificates of this username than it lists";
        mm_task_fail(
            t, &told,
            &(struct mm_verdict){.class = MM_VERDICT_PERMANENT, .reason = "TOO_MANY_CERTIFICATES"},
            false);
        return v;
    }
    next_found(t);
    return v;
}

static void search(struct mm_task *t)
{
    mm_task_prepare(t);
    mm_buf_append_str(&t->request.path, "/v1/certificate/search");
    mm_request_search(&t->request.body, job_of(t)->username, FOUND_MAX);
    mm_task_send(t, MM_CALL_READ, MM_POST, MM_ISSUER_BODY_MAX, on_found);
}

/* The subject's DN is needed for the path of revocationstatus. with_ca uses the task's state, so it
 * is done before that is set. */
static void begin(struct mm_task *t);

static int prepare(struct mm_task *t, struct mm_errinfo *ei)
{
    const Mintmark__Internal__IssueJob *job = job_of(t);
    struct issue *s = calloc(1, sizeof(*s));
    struct mm_bytes point;
    int r;

    if (!s)
        return mm_fail_memory(ei);
    s->found = MM_DERS_INIT;
    t->state = s;
    t->free_state = free_issue;
    if (job->uid.len != 16)
        return mm_fail_field(ei, "uid", "a UUID has 16 bytes");
    if (!*job->username)
        return mm_fail_field(ei, "username", "there is no username");
    mm_uuid_format(job->uid.data, s->uid);
    r = mm_profile_csr_point(t->profile->profile, (struct mm_bytes){job->csr.data, job->csr.len},
                             &point, ei);
    if (r < 0)
        return r;
    s->subject = (struct mm_subject){.number = job->number,
                                     .hw_serial = job->hw_serial,
                                     .device_uid = s->uid,
                                     .point = point.data,
                                     .point_len = point.len};
    return MM_OK;
}

static void begin(struct mm_task *t)
{
    struct mm_errinfo ei;

    if (prepare(t, &ei) < 0)
        mm_task_error(t, &ei);
    else if (job_of(t)->lookup_first || job_of(t)->lookup_only)
        search(t);
    else
        enrol(t);
}

void mm_task_issue(struct mm_task *t)
{
    struct mm_errinfo ei;

    if (mm_task_profile(t, job_of(t)->profile, &ei) < 0)
        mm_task_error(t, &ei);
    else if (job_of(t)->lookup_first || job_of(t)->lookup_only)
        mm_task_with_ca(t, begin);
    else
        begin(t);
}
