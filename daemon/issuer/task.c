/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/issuer/task.h"

#include "daemon/base/log.h"

#include <openssl/err.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>

enum { PATH_BYTES_MAX = 6 * 1024, BODY_BYTES_MAX = 64 * 1024 };

/* protobuf-c has no const strings; packing only reads them. */
static char *for_packing(const char *s)
{
    return (char *)(uintptr_t)s;
}

/* ---- life -------------------------------------------------------------------------------- */

static struct mm_verdict on_done(struct mm_request *r, const struct mm_outcome *out)
{
    struct mm_task *t = (struct mm_task *)r;

    return t->step(t, out);
}

struct mm_task *mm_task_new(struct mm_issuer *i)
{
    struct mm_task *t = calloc(1, sizeof(*t));

    if (!t)
        return NULL;
    t->issuer = i;
    t->request.node = MM_ANY_NODE;
    t->request.done = on_done;
    t->request.path = MM_BUF_INIT(PATH_BYTES_MAX);
    t->request.body = MM_BUF_INIT(BODY_BYTES_MAX);
    LIST_INSERT_HEAD(&i->tasks, t, link);
    i->n_jobs++;
    return t;
}

void mm_task_free(struct mm_task *t)
{
    if (t->free_state)
        t->free_state(t->state);
    if (t->job)
        mintmark__internal__issuer_job__free_unpacked(t->job, NULL);
    mm_buf_done(&t->request.path);
    mm_buf_done(&t->request.body);
    LIST_REMOVE(t, link);
    t->issuer->n_jobs--;
    free(t);
}

void mm_issuer_drop_tasks(struct mm_issuer *i)
{
    struct mm_task *t;

    while ((t = LIST_FIRST(&i->tasks)))
        mm_task_free(t);
}

void mm_task_prepare(struct mm_task *t)
{
    mm_buf_reset(&t->request.path);
    mm_buf_reset(&t->request.body);
}

void mm_task_send(struct mm_task *t, enum mm_call_kind kind, enum mm_method method,
                  size_t answer_max, mm_task_step step)
{
    struct mm_errinfo ei;

    if (mm_buf_err(&t->request.path) < 0 || mm_buf_err(&t->request.body) < 0) {
        mm_fail(&ei, MM_ERR_TOO_BIG, "REQUEST_TOO_BIG", "the request to EJBCA is too long");
        mm_task_error(t, &ei);
        return;
    }
    t->request.kind = kind;
    t->request.method = method;
    t->request.answer_max = answer_max;
    t->request.deadline_us = t->job ? t->job->deadline_mono_us : 0;
    t->step = step;
    mm_client_submit(t->issuer->client, &t->request);
}

/* ---- answers ----------------------------------------------------------------------------- */

void mm_task_reply(struct mm_task *t, Mintmark__Internal__IssuerResult *result)
{
    struct mm_worker *w = t->issuer->worker;
    Mintmark__Internal__IssuerResult instead;
    Mintmark__Internal__Error error;
    struct mm_errinfo ei;
    int r = MM_OK;

    if (t->job) {
        result->id = t->job->id;
        r = mm_worker_reply(w, &result->base);
    }
    if (r < 0) {
        mm_fail(&ei, r, "ANSWER_TOO_BIG", "the answer does not fit: %s", mm_err_name(r));
        mintmark__internal__issuer_result__init(&instead);
        mm_channel_error_to(&ei, &error);
        instead.id = t->job->id;
        instead.error = &error;
        mm_buf_reset(&w->out);
        if (mm_worker_reply(w, &instead.base) < 0)
            mm_log_error("answer_lost", NULL, &ei);
    }
    mm_task_free(t);
}

void mm_task_error(struct mm_task *t, const struct mm_errinfo *why)
{
    Mintmark__Internal__IssuerResult result;
    Mintmark__Internal__Error error;

    mintmark__internal__issuer_result__init(&result);
    mm_channel_error_to(why, &error);
    result.error = &error;
    mm_task_reply(t, &result);
}

void mm_task_fail(struct mm_task *t, const struct mm_outcome *out, const struct mm_verdict *v,
                  bool uncertain)
{
    Mintmark__Internal__IssuerResult result;
    Mintmark__Internal__IssuerFailure failure;

    mintmark__internal__issuer_result__init(&result);
    mintmark__internal__issuer_failure__init(&failure);
    result.result_case = MINTMARK__INTERNAL__ISSUER_RESULT__RESULT_FAILURE;
    result.failure = &failure;
    failure.class_ = v->class == MM_VERDICT_PERMANENT
                         ? MINTMARK__INTERNAL__ISSUER_FAILURE__CLASS__PERMANENT
                     : out->away ? MINTMARK__INTERNAL__ISSUER_FAILURE__CLASS__UNAVAILABLE
                                 : MINTMARK__INTERNAL__ISSUER_FAILURE__CLASS__RETRY;
    failure.reason = for_packing(v->reason);
    failure.text = for_packing(out->reply.text[0] ? out->reply.text : "not an answer of EJBCA's");
    failure.retry_ms = v->class == MM_VERDICT_RETRY ? v->retry_ms : 0;
    failure.uncertain = v->class == MM_VERDICT_RETRY && (uncertain || v->uncertain);
    failure.general = v->class == MM_VERDICT_RETRY && v->general;
    failure.http_status = out->reply.status;
    failure.node = for_packing(out->node);
    mm_task_reply(t, &result);
}

/* ---- what several kinds need ------------------------------------------------------------- */

int mm_task_profile(struct mm_task *t, const char *name, struct mm_errinfo *ei)
{
    t->profile = mm_issuer_profile(t->issuer, name);
    if (t->profile)
        return MM_OK;
    return mm_fail(ei, MM_ERR_NOT_FOUND, "UNKNOWN_PROFILE", "issuer %s serves no profile \"%.64s\"",
                   t->issuer->section->name, name);
}

struct with_ca {
    void (*then)(struct mm_task *t);
};

/* Of a device's certificate nothing has been learned yet: it is not the device that failed. */
static void fail_before(struct mm_task *t, const struct mm_outcome *out, const struct mm_verdict *v)
{
    const bool issue = t->job && t->job->job_case == MINTMARK__INTERNAL__ISSUER_JOB__JOB_ISSUE;
    struct mm_verdict later = *v;

    if (issue) {
        later.class = MM_VERDICT_RETRY;
        later.retry_ms = v->retry_ms ? v->retry_ms : 10000;
    }
    mm_task_fail(t, out, &later, issue);
}

static struct mm_verdict on_cas(struct mm_task *t, const struct mm_outcome *out)
{
    void (*then)(struct mm_task *) = ((struct with_ca *)t->state)->then;
    struct mm_verdict v = out->verdict;
    struct mm_outcome missing = *out;
    struct mm_errinfo ei;
    int r;

    if (v.class != MM_VERDICT_DONE) {
        fail_before(t, out, &v);
        return v;
    }
    r = mm_answer_ca(out->body, t->profile->ca->name, t->profile->ca->dn,
                     sizeof(t->profile->ca->dn), &ei);
    if (r == MM_OK) {
        t->free_state(t->state);
        t->free_state = NULL;
        then(t);
        return v;
    }
    missing.reply.text = ei.text;
    v = mm_verdict_bad_answer(MM_CALL_READ);
    if (r == MM_ERR_NOT_FOUND) {
        v.reason = "EJBCA_CONFIGURATION";
        v.blame = false;
    }
    fail_before(t, &missing, &v);
    return v;
}

void mm_task_with_ca(struct mm_task *t, void (*then)(struct mm_task *t))
{
    struct with_ca *state;
    struct mm_errinfo ei;

    if (t->profile->ca->dn[0]) {
        then(t);
        return;
    }
    state = calloc(1, sizeof(*state));
    if (!state) {
        mm_fail_memory(&ei);
        mm_task_error(t, &ei);
        return;
    }
    state->then = then;
    t->state = state;
    t->free_state = free;
    mm_task_prepare(t);
    mm_buf_append_str(&t->request.path, "/v1/ca");
    mm_task_send(t, MM_CALL_READ, MM_GET, MM_ISSUER_BODY_MAX, on_cas);
}

static void chain_free(STACK_OF(X509) * chain)
{
    sk_X509_pop_free(chain, X509_free);
}
MM_DEFINE_CLEANUP(STACK_OF(X509) *, chain_free)

int mm_task_read_chain(const struct mm_issuer *i, struct mm_bytes pem, struct mm_ders *ret_ders,
                       struct mm_errinfo *ei)
{
    MM_CLEANUP(chain_free_p) STACK_OF(X509) *chain = NULL;
    const int r = mm_pki_parse_chain(pem, &chain, ei);

    (void)i;
    if (r < 0)
        return r;
    for (int k = 0; k < sk_X509_num(chain); k++) {
        uint8_t *der = NULL;
        const int len = i2d_X509(sk_X509_value(chain, k), &der);

        if (len < 0)
            return mm_fail_memory(ei);
        ret_ders->at[ret_ders->n] = ret_ders->bytes.len;
        ret_ders->len[ret_ders->n++] = (size_t)len;
        mm_buf_append(&ret_ders->bytes, der, (size_t)len);
        OPENSSL_free(der);
    }
    return mm_buf_err(&ret_ders->bytes) < 0 ? mm_fail_memory(ei) : MM_OK;
}

/* ---- the front's jobs -------------------------------------------------------------------- */

static Mintmark__Internal__IssuerState__Breaker breaker_name(enum mm_breaker_state state)
{
    switch (state) {
    case MM_BREAKER_OPEN:
        return MINTMARK__INTERNAL__ISSUER_STATE__BREAKER__OPEN;
    case MM_BREAKER_HALF_OPEN:
        return MINTMARK__INTERNAL__ISSUER_STATE__BREAKER__HALF_OPEN;
    default:
        return MINTMARK__INTERNAL__ISSUER_STATE__BREAKER__CLOSED;
    }
}

static void describe(const struct mm_client *c, size_t k, Mintmark__Internal__IssuerState__Node *n)
{
    struct mm_node_info info;

    mm_client_node(c, k, &info);
    mintmark__internal__issuer_state__node__init(n);
    n->name = for_packing(info.name);
    n->breaker = breaker_name(info.breaker);
    n->limit = info.limit;
    n->in_flight = info.in_flight;
    n->requests = info.requests;
    n->failures = info.failures;
    n->opened = info.opened;
    n->latency_us = (uint64_t)info.latency_us;
    n->last_error = for_packing(info.last_error);
}

static void ping(struct mm_task *t)
{
    const struct mm_client *c = t->issuer->client;
    Mintmark__Internal__IssuerState__Node nodes[MM_ISSUER_NODES_MAX], *list[MM_ISSUER_NODES_MAX];
    Mintmark__Internal__IssuerResult result;
    Mintmark__Internal__IssuerState state;

    mintmark__internal__issuer_result__init(&result);
    mintmark__internal__issuer_state__init(&state);
    for (size_t k = 0; k < mm_client_nodes(c); k++) {
        describe(c, k, &nodes[k]);
        list[k] = &nodes[k];
    }
    state.nodes = list;
    state.n_nodes = mm_client_nodes(c);
    state.jobs = t->issuer->n_jobs - 1; /* without this one */
    result.result_case = MINTMARK__INTERNAL__ISSUER_RESULT__RESULT_STATE;
    result.state = &state;
    mm_task_reply(t, &result);
}

static void begin(struct mm_task *t)
{
    struct mm_errinfo ei;

    switch (t->job->job_case) {
    case MINTMARK__INTERNAL__ISSUER_JOB__JOB_ISSUE:
        mm_task_issue(t);
        break;
    case MINTMARK__INTERNAL__ISSUER_JOB__JOB_REVOKE:
        mm_task_revoke(t);
        break;
    case MINTMARK__INTERNAL__ISSUER_JOB__JOB_REVOCATION:
        mm_task_revocation(t);
        break;
    case MINTMARK__INTERNAL__ISSUER_JOB__JOB_CA_CHAIN:
        mm_task_ca_chain(t);
        break;
    case MINTMARK__INTERNAL__ISSUER_JOB__JOB_CRL:
        mm_task_crl(t);
        break;
    case MINTMARK__INTERNAL__ISSUER_JOB__JOB_CHECK:
        mm_task_check(t);
        break;
    case MINTMARK__INTERNAL__ISSUER_JOB__JOB_LIST:
        mm_task_list(t);
        break;
    case MINTMARK__INTERNAL__ISSUER_JOB__JOB_PING:
        ping(t);
        break;
    default:
        mm_fail(&ei, MM_ERR_INVALID, "CHANNEL_FRAME", "the job asks for nothing");
        mm_task_error(t, &ei);
    }
}

int mm_issuer_take(struct mm_issuer *i, struct mm_bytes payload, struct mm_errinfo *ei)
{
    Mintmark__Internal__IssuerJob *job =
        mintmark__internal__issuer_job__unpack(NULL, payload.len, payload.data);
    struct mm_task *t = job ? mm_task_new(i) : NULL;

    if (!job)
        return mm_fail(ei, MM_ERR_CORRUPT, "CHANNEL_FRAME", "the front sent no IssuerJob");
    if (!t) {
        mintmark__internal__issuer_job__free_unpacked(job, NULL);
        return mm_fail_memory(ei);
    }
    t->job = job;
    begin(t);
    return MM_OK;
}
