/* SPDX-License-Identifier: Apache-2.0 */
/* GetProvisioningData and ReportDevices. */
#include "daemon/base/clock.h"
#include "daemon/base/text.h"
#include "daemon/front/job.h"
#include "daemon/front/service/service.h"
#include "daemon/front/texts.h"
#include "daemon/front/validate.h"
#include "mintmark/v1/station.pb-c.h"

#include <stdlib.h>
#include <string.h>

enum { UID_BYTES = 16 };

/* ---- GetProvisioningData ----------------------------------------------------------------- */

/* A reference for the caller; NULL on failure. */
static struct mm_shared *find_shared(struct mm_app *app, const char *profile, struct mm_errinfo *ei)
{
    const struct mm_conf_profile *conf = mm_conf_profile_get(app->conf, profile);
    struct mm_mint *mint = conf ? mm_mint_get(app->mints, conf->token) : NULL;
    struct mm_shared *shared = mint ? mm_mint_shared(mint, profile) : NULL;

    if (!mint)
        mm_fail(ei, MM_ERR_NOT_FOUND, "UNKNOWN_PROFILE",
                "profile %s is not in the configuration any more", profile);
    else if (!shared)
        mm_mint_fail_away(mint, ei);
    return shared;
}

static void reply_device(struct mm_call *call, const Mintmark__Internal__StoreResult *result)
{
    Mintmark__Internal__RawDelivery delivery;
    struct mm_errinfo ei;
    struct mm_shared *shared = find_shared(mm_call_app(call), result->device->profile, &ei);

    if (!shared) {
        mm_call_finish(call, &ei);
        return;
    }
    delivery = *shared->delivery;
    if (result->device->withheld) {
        mm_hide_paths_of_withheld(&result->device->withheld, 1);
        delivery.withheld = &result->device->withheld;
        delivery.n_withheld = 1;
    } else {
        delivery.bundles = &result->device->bundle;
        delivery.n_bundles = 1;
    }
    if (result->device->chain) {
        delivery.chain = result->device->chain->certificates;
        delivery.n_chain = result->device->chain->n_certificates;
    }
    mm_call_reply(call, &delivery.base);
    mm_shared_unref(shared);
}

void mm_rpc_get_provisioning_data(struct mm_call *call, const ProtobufCMessage *request)
{
    static const struct mm_ask ask = {MINTMARK__INTERNAL__STORE_RESULT__RESULT_DEVICE, NULL,
                                      reply_device};
    const Mintmark__V1__GetProvisioningDataRequest *r =
        (const Mintmark__V1__GetProvisioningDataRequest *)request;
    Mintmark__Internal__GetDevice body = MINTMARK__INTERNAL__GET_DEVICE__INIT;
    Mintmark__Internal__StoreJob job = MM_STORE_JOB(GET_DEVICE, get_device, &body);
    uint8_t uid[UID_BYTES];
    struct mm_errinfo ei;

    if (mm_check_uid("device_uid", r->device_uid, uid, &ei) < 0) {
        mm_call_finish(call, &ei);
        return;
    }
    body.uid = (ProtobufCBinaryData){sizeof(uid), uid};
    mm_app_ask(call, &job, &ask);
}

/* ---- ReportDevices ----------------------------------------------------------------------- */

/* The reports as the store takes them: messages, pointers to them, and UIDs, in one block. */
struct report_room {
    Mintmark__Internal__ReportDevices__Report report;
    uint8_t uid[UID_BYTES];
    char text[MM_UID_LEN + 1]; /* in its canonical form, whatever the case of its digits was */
};

static int check_reason(const Mintmark__V1__DeviceReport *d, struct mm_errinfo *ei)
{
    const size_t len = strlen(d->reason);

    if (d->state == MINTMARK__V1__DEVICE_STATE__DEVICE_STATE_OK && len > 0)
        return mm_fail_field(ei, "devices.reason", "a device that is OK has no reason");
    if (d->state == MINTMARK__V1__DEVICE_STATE__DEVICE_STATE_KO &&
        (len == 0 || len > MM_REASON_TEXT_MAX))
        return mm_fail_field(ei, "devices.reason", "a KO device takes a reason of 1 to %d bytes",
                             (int)MM_REASON_TEXT_MAX);
    if (d->state != MINTMARK__V1__DEVICE_STATE__DEVICE_STATE_OK &&
        d->state != MINTMARK__V1__DEVICE_STATE__DEVICE_STATE_KO)
        return mm_fail_field(ei, "devices.state", "devices.state takes OK or KO");
    return MM_OK;
}

static int take_report(const Mintmark__V1__DeviceReport *d, struct mm_texts *seen,
                       struct report_room *room, struct mm_errinfo *ei)
{
    int r = mm_check_uid("devices.device_uid", d->device_uid, room->uid, ei);

    if (r == MM_OK)
        r = check_reason(d, ei);
    if (r < 0)
        return r;
    mm_uuid_format(room->uid, room->text);
    if (mm_texts_add(seen, room->text) < 0)
        return mm_fail_field(ei, "devices.device_uid", "device %s comes twice", d->device_uid);
    mintmark__internal__report_devices__report__init(&room->report);
    room->report.uid = (ProtobufCBinaryData){sizeof(room->uid), room->uid};
    room->report.state = d->state;
    room->report.reason = d->reason;
    return MM_OK;
}

static int take_reports(const Mintmark__V1__ReportDevicesRequest *r, struct report_room *room,
                        Mintmark__Internal__ReportDevices__Report **pointers, struct mm_errinfo *ei)
{
    MM_TEXTS_CLEANUP struct mm_texts *seen = NULL;
    int rc = mm_texts_new(r->n_devices, &seen);

    if (rc < 0)
        return mm_fail(ei, rc, "OUT_OF_MEMORY", "no memory for the reports");
    for (size_t i = 0; i < r->n_devices; i++) {
        rc = take_report(r->devices[i], seen, &room[i], ei);
        if (rc < 0)
            return rc;
        pointers[i] = &room[i].report;
    }
    return MM_OK;
}

/* KO devices gave units back. */
static void learn_refund(struct mm_app *app, const char *call_id,
                         const Mintmark__Internal__StoreResult *result)
{
    if (result->refunded_order)
        mm_learn_order(app, call_id, "units_given_back", result->refunded_order);
    mm_enrolling_revoked(app->enrolling);
}

static void reply_counts(struct mm_call *call, const Mintmark__Internal__StoreResult *result)
{
    Mintmark__V1__ReportDevicesResponse response;

    mintmark__v1__report_devices_response__init(&response);
    response.counts = result->counts;
    mm_call_reply(call, &response.base);
}

/* A batch that is not open is refused by the store. */
static bool revokes_ko(const struct mm_app *app, const char *batch_uid)
{
    const char *profile = mm_view_batch_profile(app->view, batch_uid);
    const struct mm_conf_profile *conf = profile ? mm_conf_profile_get(app->conf, profile) : NULL;

    return conf && conf->ejbca && conf->revoke_ko;
}

static int check_reports(const Mintmark__V1__ReportDevicesRequest *r, struct mm_errinfo *ei)
{
    int rc = mm_check_uid("batch_uid", r->batch_uid, NULL, ei);

    return rc == MM_OK ? mm_check_range("devices", r->n_devices, 1, MM_REPORT_MAX, ei) : rc;
}

void mm_rpc_report_devices(struct mm_call *call, const ProtobufCMessage *request)
{
    static const struct mm_ask ask = {MINTMARK__INTERNAL__STORE_RESULT__RESULT_COUNTS, learn_refund,
                                      reply_counts};
    const Mintmark__V1__ReportDevicesRequest *r =
        (const Mintmark__V1__ReportDevicesRequest *)request;
    MM_FREE struct report_room *room = NULL;
    MM_FREE Mintmark__Internal__ReportDevices__Report **pointers = NULL;
    Mintmark__Internal__ReportDevices body = MINTMARK__INTERNAL__REPORT_DEVICES__INIT;
    Mintmark__Internal__StoreJob job = MM_STORE_JOB(REPORT_DEVICES, report_devices, &body);
    struct mm_errinfo ei = {0};
    int rc = check_reports(r, &ei);

    if (rc == MM_OK) {
        room = calloc(r->n_devices, sizeof(*room));
        pointers = calloc(r->n_devices, sizeof(*pointers));
        rc = room && pointers ? take_reports(r, room, pointers, &ei) : mm_fail_memory(&ei);
    }
    if (rc < 0) {
        mm_call_finish(call, &ei);
        return;
    }
    body.batch_uid = r->batch_uid;
    body.station = mm_for_packing(mm_call_peer(call)->name);
    body.now_ms = mm_clock_wall_ms();
    body.revoke_ko = revokes_ko(mm_call_app(call), r->batch_uid);
    body.reports = pointers;
    body.n_reports = r->n_devices;
    mm_app_ask(call, &job, &ask);
}
