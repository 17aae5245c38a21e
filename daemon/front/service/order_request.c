/* SPDX-License-Identifier: Apache-2.0 */
/* MakeOrderRequest: make and sign (token), record the nonce (store), reply. The request leaves only
 * when its nonce is on disk. */
#include "daemon/base/clock.h"
#include "daemon/front/job.h"
#include "daemon/front/service/service.h"
#include "daemon/front/service/token_call.h"
#include "mintmark/v1/officer.pb-c.h"

#include <stdio.h>
#include <stdlib.h>

struct requesting {
    struct mm_token_call c;
    Mintmark__Internal__RequestJob body;
    char site[MM_NAME_MAX + 1];
};

static void destroy(struct mm_token_call *c)
{
    free(c);
}

static void reply(struct mm_call *call, const Mintmark__Internal__StoreResult *result)
{
    Mintmark__V1__MakeOrderRequestResponse response;

    mintmark__v1__make_order_request_response__init(&response);
    response.document = result->nonce_added->document;
    mm_call_reply(call, &response.base);
}

static void record(struct mm_call *call, const struct requesting *q,
                   const Mintmark__Internal__RequestResult *made)
{
    static const struct mm_ask ask = {MINTMARK__INTERNAL__STORE_RESULT__RESULT_NONCE_ADDED, NULL,
                                      reply};
    Mintmark__Internal__AddNonce body = MINTMARK__INTERNAL__ADD_NONCE__INIT;
    Mintmark__Internal__StoreJob job = MM_STORE_JOB(ADD_NONCE, add_nonce, &body);

    body.nonce = made->nonce;
    body.document = made->document;
    body.now_ms = q->body.time_ms;
    body.by = q->body.requested_by;
    mm_app_ask(call, &job, &ask);
}

static void done(struct mm_token_call *c, const Mintmark__Internal__TokenResult *result,
                 const struct mm_errinfo *ei)
{
    const struct requesting *q = (const struct requesting *)c;

    mm_log(ei ? MM_LOG_WARNING : MM_LOG_INFO, ei ? "order_request_failed" : "order_request_made",
           MM_STR("request", c->call_id), MM_STR("by", c->station),
           MM_STR("reason", ei ? ei->reason : ""), MM_STR("text", ei ? ei->text : ""));
    if (c->call && ei)
        mm_call_finish(c->call, ei);
    else if (c->call)
        record(c->call, q, result->request);
}

void mm_rpc_make_order_request(struct mm_call *call, MM_UNUSED const ProtobufCMessage *request)
{
    static const struct mm_token_call_ops ops = {
        .kind = "job:request",
        .expected = MINTMARK__INTERNAL__TOKEN_RESULT__RESULT_REQUEST,
        .done = done,
        .destroy = destroy,
    };
    const struct mm_app *app = mm_call_app(call);
    const struct mm_conf *conf = app->conf;
    struct requesting *q;
    struct mm_errinfo ei;

    if (!conf->appliance.given) {
        mm_fail(&ei, MM_ERR_PRECONDITION, "NO_IDENTITY",
                "this appliance has no identity: the configuration has no section appliance");
        mm_call_finish(call, &ei);
        return;
    }
    q = calloc(1, sizeof(*q));
    if (!q) {
        mm_fail_memory(&ei);
        mm_call_finish(call, &ei);
        return;
    }
    mintmark__internal__token_job__init(&q->c.message);
    mintmark__internal__request_job__init(&q->body);
    snprintf(q->site, sizeof(q->site), "%s", conf->site);
    q->body.site = q->site;
    q->body.requested_by = q->c.station; /* filled when the call begins */
    q->body.time_ms = mm_clock_wall_ms();
    q->c.units = 1;
    q->c.message.job_case = MINTMARK__INTERNAL__TOKEN_JOB__JOB_REQUEST;
    q->c.message.request = &q->body;
    mm_token_call_begin(&q->c, call, &ops, conf->appliance.token);
}
