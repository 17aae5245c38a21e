/* SPDX-License-Identifier: Apache-2.0 */
/* UnlockLedger, VerifyLedger, and the ledger's part of GetStatus. */
#include "daemon/front/job.h"
#include "daemon/front/service/service.h"

void mm_ledger_status(const struct mm_app *app, Mintmark__V1__LedgerStatus *ret_status)
{
    static const Mintmark__V1__LedgerState states[] = {
        [MINTMARK__INTERNAL__GUARD_STATE__GUARD_STATE_OFF] =
            MINTMARK__V1__LEDGER_STATE__LEDGER_STATE_UNGUARDED,
        [MINTMARK__INTERNAL__GUARD_STATE__GUARD_STATE_UNVERIFIED] =
            MINTMARK__V1__LEDGER_STATE__LEDGER_STATE_CHECKING,
        [MINTMARK__INTERNAL__GUARD_STATE__GUARD_STATE_ANCHORING] =
            MINTMARK__V1__LEDGER_STATE__LEDGER_STATE_CHECKING,
        [MINTMARK__INTERNAL__GUARD_STATE__GUARD_STATE_OPEN] =
            MINTMARK__V1__LEDGER_STATE__LEDGER_STATE_OPEN,
        [MINTMARK__INTERNAL__GUARD_STATE__GUARD_STATE_CLOSED] =
            MINTMARK__V1__LEDGER_STATE__LEDGER_STATE_CLOSED,
        [MINTMARK__INTERNAL__GUARD_STATE__GUARD_STATE_LOCKED] =
            MINTMARK__V1__LEDGER_STATE__LEDGER_STATE_LOCKED,
    };
    const struct mm_anchoring *a = &app->anchoring;
    const Mintmark__Internal__Guard *g = a->guard;

    mintmark__v1__ledger_status__init(ret_status);
    ret_status->anchors = a->anchors;
    if (!g)
        return;
    if (g->state < MM_ARRAY_SIZE(states))
        ret_status->state = states[g->state];
    ret_status->lock_reason = g->reason;
    ret_status->lock_text = g->text;
    ret_status->ledger_id = g->ledger_id;
    ret_status->sequence = g->sequence;
    ret_status->head = g->head;
    ret_status->devices = g->devices - g->unanchored + a->unanchored;
    ret_status->anchor_sequence = g->anchor_sequence;
    ret_status->anchor_head = g->anchor_head;
    ret_status->unanchored = a->unanchored;
    ret_status->epoch = g->epoch;
    ret_status->unclean_starts = g->unclean_starts;
    ret_status->verifying = g->verifying;
    ret_status->verified_sequence = g->verified_sequence;
}

static void learn_unlock(struct mm_app *app, const char *call_id,
                         const Mintmark__Internal__StoreResult *result)
{
    mm_log(MM_LOG_WARNING, "unlock_taken", MM_STR("request", call_id));
    mm_anchoring_unlocked(&app->anchoring, result->guard);
}

static void reply_unlock(struct mm_call *call, const Mintmark__Internal__StoreResult *result)
{
    Mintmark__V1__UnlockLedgerResponse response;
    Mintmark__V1__LedgerStatus ledger;

    (void)result;
    mintmark__v1__unlock_ledger_response__init(&response);
    mm_ledger_status(mm_call_app(call), &ledger);
    response.ledger = &ledger;
    mm_call_reply(call, &response.base);
}

void mm_rpc_unlock_ledger(struct mm_call *call, const ProtobufCMessage *request)
{
    static const struct mm_ask ask = {MINTMARK__INTERNAL__STORE_RESULT__RESULT_GUARD, learn_unlock,
                                      reply_unlock};
    const Mintmark__V1__UnlockLedgerRequest *r = (const Mintmark__V1__UnlockLedgerRequest *)request;
    Mintmark__Internal__UnlockLedger body = MINTMARK__INTERNAL__UNLOCK_LEDGER__INIT;
    Mintmark__Internal__StoreJob job = MM_STORE_JOB(UNLOCK, unlock, &body);
    struct mm_errinfo ei;

    if (r->document.len == 0 || r->document.len > MM_UNLOCK_MAX) {
        mm_fail_field(&ei, "document", "an unlock has 1 to %d bytes", MM_UNLOCK_MAX);
        mm_call_finish(call, &ei);
        return;
    }
    body.document = r->document;
    mm_app_ask(call, &job, &ask);
}

void mm_rpc_verify_ledger(struct mm_call *call, const ProtobufCMessage *request)
{
    struct mm_app *app = mm_call_app(call);
    Mintmark__V1__VerifyLedgerResponse response;
    Mintmark__V1__LedgerStatus ledger;
    struct mm_errinfo ei = {0};

    (void)request;
    if (mm_anchoring_verify(&app->anchoring, &ei) < 0) {
        mm_call_finish(call, &ei);
        return;
    }
    mintmark__v1__verify_ledger_response__init(&response);
    mm_ledger_status(app, &ledger);
    response.ledger = &ledger;
    mm_call_reply(call, &response.base);
}
