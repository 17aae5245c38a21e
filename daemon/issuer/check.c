/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is everything there that enrolments will need? Of each node: does it answer; and for each
 * profile: may we use its CA, is its chain the pinned one, are both profiles there, may we enrol.
 * The last is tried with a request whose signature is false: EJBCA looks at rights and profiles
 * first, then refuses it ("POPO verification failed."), and rolls back as a whole. Nothing is
 * issued.
 */
#include "daemon/issuer/request.h"
#include "daemon/issuer/task.h"

#include "daemon/base/clock.h"

#include <openssl/ec.h>
#include <stdio.h>
#include <string.h>

enum step { CONNECTION, CA, CHAIN, PROFILES, RIGHTS, STEPS };
static const char *const names[STEPS] = {"connection", "ca", "chain", "profiles", "rights"};

struct line {
    Mintmark__Internal__Checked__Check message;
    char text[MM_ISSUER_TEXT_MAX];
};

struct check {
    size_t node, profile, last_profile; /* those under way, and the one after the last */
    size_t first_profile;
    enum step step;
    char dn[MM_CA_DN_MAX]; /* of the CA, as this node says */
    struct line *lines;
    Mintmark__Internal__Checked__Check **list;
    size_t n_lines, max_lines;
};

static void free_check(void *state)
{
    struct check *c = state;

    free(c->lines);
    free(c->list);
    free(c);
}

static void add_line(struct mm_task *t, bool good, const char *text)
{
    struct check *c = t->state;
    struct mm_node_info node;
    struct line *l = &c->lines[c->n_lines];

    if (c->n_lines == c->max_lines)
        return;
    c->n_lines++;
    mm_client_node(t->issuer->client, c->node, &node);
    mintmark__internal__checked__check__init(&l->message);
    snprintf(l->text, sizeof(l->text), "%s", text);
    l->message.node = (char *)(uintptr_t)node.url;
    l->message.profile =
        c->step == CONNECTION ? l->message.profile : t->issuer->profiles[c->profile].conf->name;
    l->message.what = (char *)(uintptr_t)names[c->step];
    l->message.good = good;
    l->message.text = l->text;
}

static void end(struct mm_task *t)
{
    struct check *c = t->state;
    Mintmark__Internal__IssuerResult result;
    Mintmark__Internal__Checked checked;

    mintmark__internal__issuer_result__init(&result);
    mintmark__internal__checked__init(&checked);
    for (size_t i = 0; i < c->n_lines; i++)
        c->list[i] = &c->lines[i].message;
    result.result_case = MINTMARK__INTERNAL__ISSUER_RESULT__RESULT_CHECKED;
    result.checked = &checked;
    checked.checks = c->list;
    checked.n_checks = c->n_lines;
    mm_task_reply(t, &result);
}

/* ---- the false request ------------------------------------------------------------------- */

static bool make_point(uint8_t *point, size_t size, enum mm_profile_key kind, size_t *ret_len)
{
    static const char *const types[] = {[MM_KEY_ED25519] = "ED25519",
                                        [MM_KEY_ML_DSA_44] = "ML-DSA-44",
                                        [MM_KEY_ML_DSA_65] = "ML-DSA-65",
                                        [MM_KEY_ML_DSA_87] = "ML-DSA-87"};
    const bool pure = types[kind] != NULL;
    EVP_PKEY *key = pure ? EVP_PKEY_Q_keygen(NULL, NULL, types[kind])
                         : EVP_EC_gen(kind == MM_KEY_P256 ? "P-256" : "P-384");
    const bool good = key && EVP_PKEY_get_octet_string_param(key, pure ? "pub" : "encoded-pub-key",
                                                             point, size, ret_len);

    EVP_PKEY_free(key);
    return good;
}

/* A request as devices of the profile have it, but for the signature. */
static int make_request(const struct mm_conf_profile *conf, struct mm_buf *der,
                        struct mm_errinfo *ei)
{
    uint8_t point[MM_POINT_MAX], signature[MM_SIGNATURE_MAX];
    struct mm_subject s = {
        .number = 1,
        .hw_serial = "00",
        .device_uid = "00000000-0000-7000-8000-000000000000",
        .point = point,
        .now_ms = mm_clock_wall_ms(),
    };
    struct mm_profile *requests = NULL;
    struct mm_tbs tbs = MM_TBS_INIT;
    int r = mm_profile_compile(conf, NULL, &requests, ei);

    if (r < 0)
        return r;
    memset(signature, 1, sizeof(signature));
    if (!make_point(point, sizeof(point), mm_profile_key(requests), &s.point_len))
        r = mm_fail_memory(ei);
    if (r == MM_OK)
        r = mm_profile_csr_tbs(requests, &s, &tbs, ei);
    if (r == MM_OK)
        r = mm_pki_assemble(&tbs, signature, mm_profile_signature_len(requests), der, ei);
    mm_buf_done(&tbs.der);
    mm_profile_free(requests);
    return r;
}

static void next(struct mm_task *t);
static struct mm_verdict on_rights(struct mm_task *t, const struct mm_outcome *out)
{
    static const char proof[] = "POPO verification failed";
    const bool refused = out->reply.status == 400 && strstr(out->reply.text, proof);
    const bool issued = out->reply.status == 200 || out->reply.status == 201;

    if (issued)
        add_line(t, false,
                 "EJBCA has made a certificate from a request with a false signature: revoke that "
                 "of username mintmark-check, and find out why");
    else
        add_line(t, refused,
                 refused ? "a request with a false signature was refused for that alone"
                         : out->reply.text);
    next(t);
    return out->verdict;
}

static void ask_rights(struct mm_task *t)
{
    const struct mm_conf_profile *p = t->profile->conf;
    MM_BUF_CLEANUP struct mm_buf csr = MM_BUF_INIT(MM_CERT_DER_MAX);
    struct mm_enrol_request request = {
        .username = "mintmark-check",
        .ca = p->ca,
        .certificate_profile = p->certificate_profile,
        .end_entity_profile = p->end_entity_profile,
    };
    struct mm_errinfo ei;

    if (make_request(p, &csr, &ei) < 0) {
        mm_task_error(t, &ei);
        return;
    }
    request.csr = (struct mm_bytes){csr.data, csr.len};
    mm_task_prepare(t);
    mm_buf_append_str(&t->request.path, "/v1/certificate/pkcs10enroll");
    mm_request_enrol(&t->request.body, &request);
    mm_task_send(t, MM_CALL_ENROL, MM_POST, MM_ISSUER_BODY_MAX, on_rights);
}

/* ---- the others -------------------------------------------------------------------------- */

/* What an answer other than 200 says, or an unreadable one. */
static bool bad(struct mm_task *t, const struct mm_outcome *out)
{
    if (out->verdict.class == MM_VERDICT_DONE)
        return false;
    add_line(t, false, out->reply.text);
    return true;
}

static void skip_node(struct mm_task *t)
{
    struct check *c = t->state;

    c->step = RIGHTS;
    c->profile = c->last_profile - 1;
    next(t);
}

/* The other questions of this profile have no answer without its CA. */
static void skip_profile(struct mm_task *t)
{
    struct check *c = t->state;

    c->step = RIGHTS;
    next(t);
}

static struct mm_verdict on_connection(struct mm_task *t, const struct mm_outcome *out)
{
    if (bad(t, out)) {
        skip_node(t);
    } else {
        add_line(t, true, "it answers, and takes this client's certificate");
        next(t);
    }
    return out->verdict;
}

static struct mm_verdict on_ca(struct mm_task *t, const struct mm_outcome *out)
{
    struct check *c = t->state;
    struct mm_errinfo ei = {0};

    if (bad(t, out)) {
        skip_profile(t);
    } else if (mm_answer_ca(out->body, t->profile->ca->name, c->dn, sizeof(c->dn), &ei) < 0) {
        add_line(t, false, ei.text);
        skip_profile(t);
    } else {
        add_line(t, true, c->dn);
        next(t);
    }
    return out->verdict;
}

static struct mm_verdict on_chain(struct mm_task *t, const struct mm_outcome *out)
{
    MM_DERS_CLEANUP struct mm_ders ders = MM_DERS_INIT;
    struct mm_errinfo ei = {0};

    if (!bad(t, out)) {
        if (mm_task_read_chain(t->issuer, out->body, &ders, &ei) < 0)
            add_line(t, false, ei.text);
        else if (!mm_issuer_is_chain(t->issuer, &ders, 0))
            add_line(t, false,
                     "EJBCA's chain of this CA is not that of the issuer's setting certificate");
        else
            add_line(t, true, "it is that of the issuer's setting certificate");
    }
    next(t);
    return out->verdict;
}

static struct mm_verdict on_profiles(struct mm_task *t, const struct mm_outcome *out)
{
    if (!bad(t, out))
        add_line(t, true, "certificate profile and end entity profile are known");
    next(t);
    return out->verdict;
}

static void ask(struct mm_task *t, const char *path, enum mm_method method, mm_task_step step)
{
    if (path)
        mm_buf_append_str(&t->request.path, path);
    mm_task_send(t, MM_CALL_READ, method, MM_ISSUER_BODY_MAX, step);
}

static void ask_step(struct mm_task *t)
{
    struct check *c = t->state;
    const struct mm_conf_profile *p = t->issuer->profiles[c->profile].conf;

    t->profile = &t->issuer->profiles[c->profile];
    t->request.node = (int)c->node;
    mm_task_prepare(t);
    switch (c->step) {
    case CONNECTION:
        ask(t, "/v1/certificate/status", MM_GET, on_connection);
        break;
    case CA:
        ask(t, "/v1/ca", MM_GET, on_ca);
        break;
    case CHAIN:
        mm_request_ca_path(&t->request.path, c->dn, "certificate/download");
        ask(t, NULL, MM_GET, on_chain);
        break;
    case PROFILES:
        mm_request_search_profiles(&t->request.body, p->ca, p->certificate_profile,
                                   p->end_entity_profile);
        ask(t, "/v1/certificate/search", MM_POST, on_profiles);
        break;
    default:
        ask_rights(t);
    }
}

/* On to the next step, profile, node. */
static void next(struct mm_task *t)
{
    struct check *c = t->state;

    c->step++;
    if (c->step == STEPS) {
        c->step = CA;
        c->profile++;
    }
    if (c->profile == c->last_profile) {
        c->profile = c->first_profile;
        c->step = CONNECTION;
        c->node++;
    }
    if (c->node == mm_client_nodes(t->issuer->client))
        end(t);
    else
        ask_step(t);
}

static int prepare(struct mm_task *t, struct mm_errinfo *ei)
{
    struct mm_issuer *i = t->issuer;
    const char *name = t->job->check->profile;
    struct check *c;

    if (i->n_profiles == 0)
        return mm_fail(ei, MM_ERR_NOT_FOUND, "UNKNOWN_PROFILE", "issuer %s serves no profile",
                       i->section->name);
    if (*name && mm_task_profile(t, name, ei) < 0)
        return ei->code;
    c = calloc(1, sizeof(*c));
    if (!c)
        return mm_fail_memory(ei);
    t->state = c;
    t->free_state = free_check;
    c->first_profile = *name ? (size_t)(t->profile - i->profiles) : 0;
    c->last_profile = *name ? c->first_profile + 1 : i->n_profiles;
    c->profile = c->first_profile;
    c->max_lines = MM_ISSUER_CHECKS_MAX;
    c->lines = calloc(c->max_lines, sizeof(*c->lines));
    c->list = calloc(c->max_lines, sizeof(*c->list));
    return c->lines && c->list ? MM_OK : mm_fail_memory(ei);
}

void mm_task_check(struct mm_task *t)
{
    struct mm_errinfo ei;

    if (prepare(t, &ei) < 0)
        mm_task_error(t, &ei);
    else
        ask_step(t);
}
