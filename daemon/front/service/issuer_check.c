/* SPDX-License-Identifier: Apache-2.0 */
/* CheckIssuer: one issuer's worker, or each in turn at once, asks its EJBCA; the answer has all
 * that they found. */
#include "daemon/front/job.h"
#include "daemon/front/service/service.h"
#include "mintmark/v1/officer.pb-c.h"

#include <stdlib.h>
#include <string.h>

struct checking;

/* One issuer's part. */
struct part {
    struct mm_job job;
    struct checking *all;
    char issuer[MM_NAME_MAX + 1];
    struct mm_arena arena; /* holds result */
    const Mintmark__Internal__Checked *result;
    struct mm_errinfo ei; /* without a result: why */
};

struct checking {
    struct mm_call *call; /* NULL once it is over */
    unsigned waiting;     /* parts that have not ended; and one while they are being sent */
    size_t n_parts;
    struct part parts[];
};

static void destroy(struct checking *c)
{
    for (size_t i = 0; i < c->n_parts; i++)
        mm_arena_done(&c->parts[i].arena);
    free(c);
}

static void set_check(Mintmark__V1__IssuerCheck *to, struct part *part,
                      const Mintmark__Internal__Checked__Check *from)
{
    mintmark__v1__issuer_check__init(to);
    to->issuer = part->issuer;
    to->node = from->node;
    to->profile = from->profile;
    to->what = from->what;
    to->good = from->good;
    to->text = from->text;
}

/* A worker that could not be asked is a finding, too. */
static void set_failure(Mintmark__V1__IssuerCheck *to, struct part *part)
{
    mintmark__v1__issuer_check__init(to);
    to->issuer = part->issuer;
    to->what = mm_for_packing("worker");
    to->text = part->ei.text;
}

static size_t lines_of(const struct part *part)
{
    return part->result ? part->result->n_checks : 1;
}

static void reply(struct checking *c)
{
    Mintmark__V1__CheckIssuerResponse response = MINTMARK__V1__CHECK_ISSUER_RESPONSE__INIT;
    MM_FREE Mintmark__V1__IssuerCheck *checks = NULL;
    MM_FREE Mintmark__V1__IssuerCheck **list = NULL;
    struct mm_errinfo ei;
    size_t n = 0;

    for (size_t i = 0; i < c->n_parts; i++)
        n += lines_of(&c->parts[i]);
    checks = calloc(n + 1, sizeof(*checks));
    list = calloc(n + 1, sizeof(*list));
    if (!checks || !list) {
        mm_fail_memory(&ei);
        mm_call_finish(c->call, &ei);
        return;
    }
    n = 0;
    for (size_t i = 0; i < c->n_parts; i++) {
        struct part *part = &c->parts[i];

        for (size_t k = 0; k < lines_of(part); k++, n++) {
            list[n] = &checks[n];
            if (part->result)
                set_check(&checks[n], part, part->result->checks[k]);
            else
                set_failure(&checks[n], part);
        }
    }
    response.checks = list;
    response.n_checks = n;
    mm_call_reply(c->call, &response.base);
}

static void ended(struct checking *c)
{
    if (--c->waiting > 0)
        return;
    if (c->call)
        reply(c);
    destroy(c);
}

static void on_done(struct mm_job *job, const ProtobufCMessage *result, const struct mm_errinfo *ei)
{
    struct part *part = (struct part *)job;
    const Mintmark__Internal__IssuerResult *r = (const Mintmark__Internal__IssuerResult *)result;

    if (r && r->result_case == MINTMARK__INTERNAL__ISSUER_RESULT__RESULT_CHECKED)
        part->result = r->checked;
    else if (ei)
        part->ei = *ei;
    else
        mm_fail(&part->ei, MM_ERR_INTERNAL, "ISSUER_ANSWER", "the worker gave another answer");
    ended(part->all);
}

static void on_cancel(struct mm_call *call, void *user)
{
    struct checking *c = user;

    (void)call;
    c->call = NULL;
}

static void send_part(struct mm_app *app, struct part *part, const char *profile)
{
    Mintmark__Internal__CheckJob check = MINTMARK__INTERNAL__CHECK_JOB__INIT;
    Mintmark__Internal__IssuerJob job = MM_ISSUER_JOB(CHECK, check, &check);

    check.profile = mm_for_packing(profile);
    part->job.done = on_done;
    part->job.arena = &part->arena;
    part->all->waiting++;
    if (mm_issuers_submit(app->issuers, part->issuer, &part->job, &job, INT64_MAX, &part->ei) ==
        MM_OK)
        return;
    if (!part->ei.text[0])
        mm_fail(&part->ei, MM_ERR_UNAVAILABLE, "ISSUER_BUSY", "its worker has too much to do");
    part->all->waiting--;
}

static bool is_wanted(const struct mm_conf_issuer *issuer, const char *name)
{
    return mm_conf_issuer_is_ejbca(issuer) && (!*name || strcmp(issuer->name, name) == 0);
}

static int check_request(const struct mm_app *app, const Mintmark__V1__CheckIssuerRequest *request,
                         size_t *ret_n, struct mm_errinfo *ei)
{
    const struct mm_conf_profile *p = mm_conf_profile_get(app->conf, request->profile);

    *ret_n = 0;
    for (size_t i = 0; i < app->conf->n_issuers; i++)
        *ret_n += is_wanted(&app->conf->issuers[i], request->issuer);
    if (*ret_n == 0)
        return mm_fail(ei, MM_ERR_NOT_FOUND, "UNKNOWN_ISSUER",
                       "there is no issuer%s%.64s of kind ejbca", *request->issuer ? " " : "",
                       request->issuer);
    if (*request->profile && (!*request->issuer || !p || strcmp(p->issuer, request->issuer) != 0))
        return mm_fail(ei, MM_ERR_NOT_FOUND, "UNKNOWN_PROFILE",
                       "the issuer has no profile %.64s; name both", request->profile);
    return MM_OK;
}

void mm_rpc_check_issuer(struct mm_call *call, const ProtobufCMessage *message)
{
    static const struct mm_call_ops ops = {.on_cancel = on_cancel};
    const Mintmark__V1__CheckIssuerRequest *request =
        (const Mintmark__V1__CheckIssuerRequest *)message;
    struct mm_app *app = mm_call_app(call);
    struct checking *c = NULL;
    struct mm_errinfo ei = {0};
    size_t n = 0;

    if (check_request(app, request, &n, &ei) == MM_OK) {
        c = calloc(1, sizeof(*c) + n * sizeof(c->parts[0]));
        if (!c)
            mm_fail_memory(&ei);
    }
    if (!c) {
        mm_call_finish(call, &ei);
        return;
    }
    c->call = call;
    c->waiting = 1;
    mm_call_set(call, &ops, c);
    for (size_t i = 0; i < app->conf->n_issuers; i++) {
        struct part *part = &c->parts[c->n_parts];

        if (!is_wanted(&app->conf->issuers[i], request->issuer))
            continue;
        part->all = c;
        part->arena = MM_ARENA_INIT;
        memcpy(part->issuer, app->conf->issuers[i].name, strlen(app->conf->issuers[i].name) + 1);
        c->n_parts++;
        send_part(app, part, request->profile);
    }
    ended(c);
}
