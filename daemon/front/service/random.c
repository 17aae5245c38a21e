/* SPDX-License-Identifier: Apache-2.0 */
/* Random: validate, queue, draw (token), log, reply. */
#include "daemon/front/service/service.h"
#include "daemon/front/service/token_call.h"
#include "daemon/front/validate.h"
#include "mintmark/v1/station.pb-c.h"

#include <stdlib.h>

enum { BYTES_PER_UNIT = 1024 };

struct drawing {
    struct mm_token_call c;
    Mintmark__Internal__RandomJob body;
};

static void destroy(struct mm_token_call *c)
{
    free(c);
}

static void done(struct mm_token_call *c, const Mintmark__Internal__TokenResult *result,
                 const struct mm_errinfo *ei)
{
    const struct drawing *d = (const struct drawing *)c;
    Mintmark__V1__RandomResponse response;
    struct mm_errinfo wrong;

    if (result && result->random->data.len != d->body.length) {
        mm_fail(&wrong, MM_ERR_INTERNAL, "TOKEN_ANSWER", "%zu random bytes in place of %u",
                result->random->data.len, d->body.length);
        ei = &wrong;
    }
    mm_log(ei ? MM_LOG_WARNING : MM_LOG_INFO, ei ? "random_failed" : "random_drawn",
           MM_STR("request", c->call_id), MM_STR("station", c->station),
           MM_UINT("bytes", d->body.length), MM_INT("ms", mm_token_call_ms(c)),
           MM_STR("reason", ei ? ei->reason : ""), MM_STR("text", ei ? ei->text : ""));
    if (!ei)
        c->app->random_bytes += d->body.length;
    if (!c->call)
        return;
    if (ei) {
        mm_call_finish(c->call, ei);
        return;
    }
    mintmark__v1__random_response__init(&response);
    response.data = result->random->data;
    mm_call_reply(c->call, &response.base);
}

static int validate(const struct mm_conf *conf, const Mintmark__V1__RandomRequest *r,
                    const char **ret_token, struct mm_errinfo *ei)
{
    int rc = mm_check_range("length", r->length, 1, MM_RANDOM_MAX, ei);

    if (rc == MM_OK && *r->token)
        rc = mm_check_name("token", r->token, ei);
    if (rc < 0)
        return rc;
    if (!*r->token && conf->n_tokens == 0)
        return mm_fail(ei, MM_ERR_NOT_FOUND, "UNKNOWN_TOKEN", "the service has no token");
    *ret_token = *r->token ? r->token : conf->tokens[0].name;
    return MM_OK;
}

void mm_rpc_random(struct mm_call *call, const ProtobufCMessage *request)
{
    static const struct mm_token_call_ops ops = {
        .kind = "job:random",
        .expected = MINTMARK__INTERNAL__TOKEN_RESULT__RESULT_RANDOM,
        .done = done,
        .destroy = destroy,
    };
    const Mintmark__V1__RandomRequest *r = (const Mintmark__V1__RandomRequest *)request;
    const struct mm_app *app = mm_call_app(call);
    struct drawing *d;
    const char *token = "";
    struct mm_errinfo ei;

    if (validate(app->conf, r, &token, &ei) < 0) {
        mm_call_finish(call, &ei);
        return;
    }
    d = calloc(1, sizeof(*d));
    if (!d) {
        mm_fail_memory(&ei);
        mm_call_finish(call, &ei);
        return;
    }
    mintmark__internal__token_job__init(&d->c.message);
    mintmark__internal__random_job__init(&d->body);
    d->body.length = r->length;
    d->c.units = 1 + r->length / BYTES_PER_UNIT;
    d->c.message.job_case = MINTMARK__INTERNAL__TOKEN_JOB__JOB_RANDOM;
    d->c.message.random = &d->body;
    mm_token_call_begin(&d->c, call, &ops, token);
}
