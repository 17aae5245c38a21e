/* SPDX-License-Identifier: Apache-2.0 */
/* ListWithheld, ChangeEnrolment and RevokeDevice: what officers see of devices whose certificates
 * come from elsewhere, and do about them. */
#include "daemon/base/clock.h"
#include "daemon/base/text.h"
#include "daemon/front/job.h"
#include "daemon/front/service/provision.h"
#include "daemon/front/service/service.h"
#include "daemon/front/validate.h"

#include <string.h>

enum { UID_BYTES = 16 };

/* ---- ListWithheld ------------------------------------------------------------------------ */

static void reply_withheld(struct mm_call *call, const Mintmark__Internal__StoreResult *result)
{
    Mintmark__V1__ListWithheldResponse response;

    mintmark__v1__list_withheld_response__init(&response);
    response.devices = result->withheld_devices->devices;
    response.n_devices = result->withheld_devices->n_devices;
    response.next_page_token = result->withheld_devices->next_page_token;
    mm_call_reply(call, &response.base);
}

void mm_hide_paths_of_withheld(Mintmark__V1__Withheld **withheld, size_t n)
{
    for (size_t i = 0; i < n; i++)
        mm_text_hide_paths(withheld[i]->text);
}

static int check_state(Mintmark__V1__CertificateState state, struct mm_errinfo *ei)
{
    switch (state) {
    case MINTMARK__V1__CERTIFICATE_STATE__CERTIFICATE_STATE_WAITING:
    case MINTMARK__V1__CERTIFICATE_STATE__CERTIFICATE_STATE_PARKED:
    case MINTMARK__V1__CERTIFICATE_STATE__CERTIFICATE_STATE_FAILED:
        return MM_OK;
    default:
        return mm_fail_field(ei, "state", "state takes WAITING, PARKED or FAILED");
    }
}

void mm_rpc_list_withheld(struct mm_call *call, const ProtobufCMessage *request)
{
    static const struct mm_ask ask = {MINTMARK__INTERNAL__STORE_RESULT__RESULT_WITHHELD_DEVICES,
                                      NULL, reply_withheld};
    const Mintmark__V1__ListWithheldRequest *r = (const Mintmark__V1__ListWithheldRequest *)request;
    Mintmark__Internal__ListWithheld body = MINTMARK__INTERNAL__LIST_WITHHELD__INIT;
    Mintmark__Internal__StoreJob job = MM_STORE_JOB(LIST_WITHHELD, list_withheld, &body);
    struct mm_errinfo ei;

    if ((!r->unrevoked && check_state(r->state, &ei) < 0) ||
        mm_check_page_size(r->page_size, &body.page_size, &ei) < 0) {
        mm_call_finish(call, &ei);
        return;
    }
    body.state = r->state;
    body.unrevoked = r->unrevoked;
    body.page_token = r->page_token;
    mm_app_ask(call, &job, &ask);
}

/* ---- ChangeEnrolment --------------------------------------------------------------------- */

static void learn_change(struct mm_app *app, const char *call_id,
                         const Mintmark__Internal__StoreResult *result)
{
    if (result->refunded_order)
        mm_learn_order(app, call_id, "units_given_back", result->refunded_order);
    mm_log(MM_LOG_INFO, "enrolment_changed", MM_STR("request", call_id));
    mm_enrolling_recorded(app->enrolling, result->settled->counts);
    mm_provisions_settled(app, result->settled->request, NULL);
}

static void reply_change(struct mm_call *call, const Mintmark__Internal__StoreResult *result)
{
    Mintmark__V1__ChangeEnrolmentResponse response;

    (void)result;
    mintmark__v1__change_enrolment_response__init(&response);
    mm_call_reply(call, &response.base);
}

static int check_change(const Mintmark__V1__ChangeEnrolmentRequest *r, uint8_t uid[UID_BYTES],
                        struct mm_errinfo *ei)
{
    int rc = mm_check_uid("device_uid", r->device_uid, uid, ei);

    if (rc == MM_OK && r->action != MINTMARK__V1__ENROLMENT_CHANGE__ENROLMENT_CHANGE_RETRY &&
        r->action != MINTMARK__V1__ENROLMENT_CHANGE__ENROLMENT_CHANGE_FAIL)
        rc = mm_fail_field(ei, "action", "action takes RETRY or FAIL");
    if (rc == MM_OK)
        rc = mm_check_range("reason", strlen(r->reason), 0, MM_REASON_TEXT_MAX, ei);
    return rc;
}

void mm_rpc_change_enrolment(struct mm_call *call, const ProtobufCMessage *request)
{
    static const struct mm_ask ask = {MINTMARK__INTERNAL__STORE_RESULT__RESULT_SETTLED,
                                      learn_change, reply_change};
    const Mintmark__V1__ChangeEnrolmentRequest *r =
        (const Mintmark__V1__ChangeEnrolmentRequest *)request;
    Mintmark__Internal__ChangeEnrolment body = MINTMARK__INTERNAL__CHANGE_ENROLMENT__INIT;
    Mintmark__Internal__StoreJob job = MM_STORE_JOB(CHANGE_ENROLMENT, change_enrolment, &body);
    uint8_t uid[UID_BYTES];
    struct mm_errinfo ei;

    if (check_change(r, uid, &ei) < 0) {
        mm_call_finish(call, &ei);
        return;
    }
    body.uid = (ProtobufCBinaryData){sizeof(uid), uid};
    body.action = r->action == MINTMARK__V1__ENROLMENT_CHANGE__ENROLMENT_CHANGE_RETRY
                      ? MINTMARK__INTERNAL__ENROLMENT_ACTION__ENROLMENT_ACTION_RETRY
                      : MINTMARK__INTERNAL__ENROLMENT_ACTION__ENROLMENT_ACTION_FAIL;
    body.text = r->reason;
    body.by = mm_for_packing(mm_call_peer(call)->name);
    body.now_ms = mm_clock_wall_ms();
    body.next_time_ms = body.now_ms;
    mm_app_ask(call, &job, &ask);
}

/* ---- RevokeDevice ------------------------------------------------------------------------ */

static void learn_revocation(struct mm_app *app, const char *call_id,
                             const Mintmark__Internal__StoreResult *result)
{
    mm_log(MM_LOG_INFO, "revocation_recorded", MM_STR("request", call_id),
           MM_UINT("pending", result->revocations->pending));
    mm_enrolling_revoked(app->enrolling);
}

static void reply_revocation(struct mm_call *call, const Mintmark__Internal__StoreResult *result)
{
    Mintmark__V1__RevokeDeviceResponse response;

    (void)result;
    mintmark__v1__revoke_device_response__init(&response);
    mm_call_reply(call, &response.base);
}

static int check_revoke(const Mintmark__V1__RevokeDeviceRequest *r, uint8_t uid[UID_BYTES],
                        struct mm_errinfo *ei)
{
    const int rc = mm_check_uid("device_uid", r->device_uid, uid, ei);

    if (rc < 0)
        return rc;
    if (protobuf_c_enum_descriptor_get_value(&mintmark__v1__revocation_reason__descriptor,
                                             (int)r->reason))
        return MM_OK;
    return mm_fail_field(ei, "reason", "reason is none that a revocation can have");
}

void mm_rpc_revoke_device(struct mm_call *call, const ProtobufCMessage *request)
{
    static const struct mm_ask ask = {MINTMARK__INTERNAL__STORE_RESULT__RESULT_REVOCATIONS,
                                      learn_revocation, reply_revocation};
    const Mintmark__V1__RevokeDeviceRequest *r = (const Mintmark__V1__RevokeDeviceRequest *)request;
    Mintmark__Internal__RevokeDevice body = MINTMARK__INTERNAL__REVOKE_DEVICE__INIT;
    Mintmark__Internal__StoreJob job = MM_STORE_JOB(REVOKE, revoke, &body);
    uint8_t uid[UID_BYTES];
    struct mm_errinfo ei;

    if (check_revoke(r, uid, &ei) < 0) {
        mm_call_finish(call, &ei);
        return;
    }
    body.uid = (ProtobufCBinaryData){sizeof(uid), uid};
    body.reason = r->reason;
    body.again = r->again;
    body.by = mm_for_packing(mm_call_peer(call)->name);
    body.now_ms = mm_clock_wall_ms();
    mm_app_ask(call, &job, &ask);
}
