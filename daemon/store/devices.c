/* SPDX-License-Identifier: Apache-2.0 */
/* Recorded devices: delivered again, and reported on. */
#include "daemon/base/text.h"
#include "daemon/store/chains.h"
#include "daemon/store/enrolments.h"
#include "daemon/store/message.h"

#include <stdio.h>
#include <string.h>

int mm_device_fail_unknown(const ProtobufCBinaryData *uid, struct mm_errinfo *ei)
{
    char text[MM_UID_LEN + 1];

    mm_uuid_format(uid->data, text);
    return mm_fail(ei, MM_ERR_NOT_FOUND, "UNKNOWN_DEVICE", "there is no device %s", text);
}

int mm_store_get_device(struct mm_store *s, const Mintmark__Internal__GetDevice *job,
                        Mintmark__Internal__DeviceFound **ret_device, struct mm_errinfo *ei)
{
    MM_MESSAGE_CLEANUP Mintmark__Internal__DeviceFound *device =
        mm_message_new(&mintmark__internal__device_found__descriptor);
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_DEVICE_GET);
    int r;

    if (!device)
        return mm_fail_memory(ei);
    mm_sql_bind_blob(&q, job->uid.data, job->uid.len);
    r = mm_sql_step(&q, ei);
    if (r == 0)
        return mm_device_fail_unknown(&job->uid, ei);
    if (r < 0)
        return r;
    device->profile = mm_sql_dup_text(&q, 1);
    device->state = (Mintmark__V1__DeviceState)mm_sql_int(&q, 2);
    r = mm_withheld_find(s, (struct mm_bytes){job->uid.data, job->uid.len}, &device->withheld, ei);
    if (r == 0 && mm_sql_int(&q, 3))
        return mm_keys_fail_deleted(ei);
    if (r == 0)
        device->bundle = mm_sql_dup_blob(&q, 0);
    if (r == 0)
        r = mm_chain_get(s, mm_chain_column(&q, 4), &device->chain, ei);
    if (r >= 0)
        r = mm_sql_end(&q, ei);
    if (r < 0)
        return r;
    *ret_device = MM_TAKE(device);
    return MM_OK;
}

int mm_hw_serial_find(struct mm_store *s, int64_t profile, const char *hw_serial,
                      int64_t *ret_request, struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_DEVICE_BY_HW_SERIAL);
    int r;

    mm_sql_bind_int(&q, profile);
    mm_sql_bind_text(&q, hw_serial);
    r = mm_sql_step(&q, ei);
    if (r == 1)
        *ret_request = mm_sql_int(&q, 0);
    return r;
}

int mm_hw_serial_fail(const char *hw_serial, struct mm_errinfo *ei)
{
    const int r =
        mm_fail(ei, MM_ERR_EXISTS, "DUPLICATE_HW_SERIAL",
                "hardware serial number %s has an identity of this profile already", hw_serial);

    snprintf(ei->field, sizeof(ei->field), "hw_serials");
    return r;
}

/* Reporting. */

/* Nothing of a device that waits for its certificate has left: it cannot have been programmed. */
static int fail_withheld(const ProtobufCBinaryData *uid, struct mm_errinfo *ei)
{
    char text[MM_UID_LEN + 1];

    mm_uuid_format(uid->data, text);
    return mm_fail(ei, MM_ERR_PRECONDITION, "DEVICE_WAITING", "device %s waits for its certificate",
                   text);
}

static int find(struct mm_store *s, const ProtobufCBinaryData *uid, int64_t batch, int64_t *ret_row,
                Mintmark__V1__DeviceState *ret_state, struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_DEVICE_FIND);
    int r;

    mm_sql_bind_blob(&q, uid->data, uid->len);
    r = mm_sql_step(&q, ei);
    if (r < 0)
        return r;
    /* Another batch's device is as unknown as none: a station learns nothing of it. */
    if (r == 0 || mm_sql_int(&q, 1) != batch)
        return mm_device_fail_unknown(uid, ei);
    if (mm_sql_int(&q, 3) == MINTMARK__V1__CERTIFICATE_STATE__CERTIFICATE_STATE_WAITING ||
        mm_sql_int(&q, 3) == MINTMARK__V1__CERTIFICATE_STATE__CERTIFICATE_STATE_PARKED)
        return fail_withheld(uid, ei);
    *ret_row = mm_sql_int(&q, 0);
    *ret_state = (Mintmark__V1__DeviceState)mm_sql_int(&q, 2);
    return MM_OK;
}

static int set_state(struct mm_store *s, int64_t row,
                     const Mintmark__Internal__ReportDevices__Report *report, int64_t now_ms,
                     struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_DEVICE_REPORT);

    mm_sql_bind_int(&q, row);
    mm_sql_bind_int(&q, report->state);
    mm_sql_bind_text_or_null(&q, report->reason);
    mm_sql_bind_int(&q, now_ms);
    return mm_sql_run(&q, ei);
}

int mm_failure_count(struct mm_store *s, int64_t batch, const char *reason, struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_FAILURE_COUNT);

    mm_sql_bind_int(&q, batch);
    mm_sql_bind_text(&q, reason);
    return mm_sql_run(&q, ei);
}

struct tally {
    int64_t ok;
    int64_t ko;
};

/* As mintmark.v1.DevicesReported says. */
static void digest_report(struct mm_store *s,
                          const Mintmark__Internal__ReportDevices__Report *report)
{
    const uint8_t state = (uint8_t)report->state;

    mm_ledger_digest_add(s, report->uid.data, report->uid.len);
    mm_ledger_digest_add(s, &state, sizeof(state));
    mm_ledger_digest_add_short(s, report->reason, strlen(report->reason));
}

static int report_one(struct mm_store *s, int64_t batch, int64_t now_ms,
                      const Mintmark__Internal__ReportDevices__Report *report, struct tally *tally,
                      struct mm_errinfo *ei)
{
    Mintmark__V1__DeviceState state = MINTMARK__V1__DEVICE_STATE__DEVICE_STATE_UNSPECIFIED;
    char uid[MM_UID_LEN + 1];
    int64_t row = 0;
    int r = find(s, &report->uid, batch, &row, &state, ei);

    if (r < 0 || state == report->state)
        return r;
    if (state != MINTMARK__V1__DEVICE_STATE__DEVICE_STATE_ISSUED) {
        mm_uuid_format(report->uid.data, uid);
        return mm_fail(ei, MM_ERR_PRECONDITION, "ALREADY_REPORTED",
                       "device %s was reported %s before", uid,
                       state == MINTMARK__V1__DEVICE_STATE__DEVICE_STATE_OK ? "OK" : "KO");
    }
    r = set_state(s, row, report, now_ms, ei);
    if (r < 0)
        return r;
    digest_report(s, report);
    if (report->state == MINTMARK__V1__DEVICE_STATE__DEVICE_STATE_OK) {
        tally->ok++;
        return MM_OK;
    }
    tally->ko++;
    return mm_failure_count(s, batch, report->reason, ei);
}

/* A report that changes nothing is not in the ledger. */
static int enter_in_ledger(struct mm_store *s, const Mintmark__Internal__ReportDevices *job,
                           const struct tally *tally, struct mm_errinfo *ei)
{
    Mintmark__V1__DevicesReported event = MINTMARK__V1__DEVICES_REPORTED__INIT;
    Mintmark__V1__LedgerRecord record =
        MM_LEDGER_RECORD(DEVICES_REPORTED, devices_reported, &event);
    uint8_t hash[MM_SHA256_BYTES];
    int r = mm_ledger_digest_end(s, hash, ei);

    if (r < 0 || tally->ok + tally->ko == 0)
        return r;
    event.batch_uid = job->batch_uid;
    event.station = job->station;
    event.ok = (uint32_t)tally->ok;
    event.ko = (uint32_t)tally->ko;
    event.reports_sha256 = (ProtobufCBinaryData){sizeof(hash), hash};
    return mm_ledger_append(s, &record, ei);
}

static int add_tally(struct mm_store *s, int64_t batch, const struct tally *tally,
                     uint64_t refunded, Mintmark__V1__BatchCounts **ret_counts,
                     struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_BATCH_REPORT);
    int r;

    mm_sql_bind_int(&q, batch);
    mm_sql_bind_int(&q, tally->ok);
    mm_sql_bind_int(&q, tally->ko);
    mm_sql_bind_uint(&q, refunded);
    r = mm_sql_step(&q, ei);
    if (r >= 0)
        r = mm_counts_take(&q, 0, ret_counts, ei);
    if (r == MM_OK)
        r = mm_sql_run(&q, ei);
    return r;
}

/* Their certificates from elsewhere, if the profile says so. After the report is in the ledger:
 * there is one digest at a time. */
static int revoke_ko(struct mm_store *s, const Mintmark__Internal__ReportDevices *job,
                     struct mm_errinfo *ei)
{
    int r = MM_OK;

    for (size_t i = 0; r == MM_OK && job->revoke_ko && i < job->n_reports; i++) {
        const Mintmark__Internal__ReportDevices__Report *report = job->reports[i];

        if (report->state == MINTMARK__V1__DEVICE_STATE__DEVICE_STATE_KO)
            r = mm_revoke_reported(s, job, &report->uid, ei);
    }
    return r;
}

/* What the order allows to be made again. */
static int refund(struct mm_store *s, const Mintmark__Internal__ReportDevices *job,
                  const struct mm_batch_row *batch, const struct tally *tally,
                  uint64_t *ret_refunded, Mintmark__V1__Order **ret_order, struct mm_errinfo *ei)
{
    int r =
        mm_order_refund(s, &batch->order, job->batch_uid, (uint64_t)tally->ko, ret_refunded, ei);

    if (r < 0 || *ret_refunded == 0)
        return r;
    return mm_order_get(s, batch->order.order_id, job->now_ms, ret_order, ei);
}

static int report(struct mm_store *s, const Mintmark__Internal__ReportDevices *job,
                  Mintmark__V1__BatchCounts **ret_counts, Mintmark__V1__Order **ret_order,
                  struct mm_errinfo *ei)
{
    struct tally tally = {0};
    struct mm_batch_row batch;
    uint64_t refunded = 0;
    int r = mm_batch_find(s, job->batch_uid, &batch, ei);

    if (r == MM_OK)
        r = mm_batch_check_open(&batch, job->batch_uid, ei);
    mm_ledger_digest_begin(s);
    for (size_t i = 0; r == MM_OK && i < job->n_reports; i++)
        r = report_one(s, batch.row, job->now_ms, job->reports[i], &tally, ei);
    if (r == MM_OK)
        r = enter_in_ledger(s, job, &tally, ei);
    if (r == MM_OK)
        r = revoke_ko(s, job, ei);
    if (r == MM_OK)
        r = refund(s, job, &batch, &tally, &refunded, ret_order, ei);
    return r < 0 ? r : add_tally(s, batch.row, &tally, refunded, ret_counts, ei);
}

int mm_store_report_devices(struct mm_store *s, const Mintmark__Internal__ReportDevices *job,
                            Mintmark__V1__BatchCounts **ret_counts, Mintmark__V1__Order **ret_order,
                            struct mm_errinfo *ei)
{
    MM_MESSAGE_CLEANUP Mintmark__V1__BatchCounts *counts = NULL;
    MM_MESSAGE_CLEANUP Mintmark__V1__Order *order = NULL;
    int r = mm_sql_verb_begin(s, ei);

    if (r < 0)
        return r;
    r = mm_sql_verb_finish(s, report(s, job, &counts, &order, ei), ei);
    if (r < 0)
        return r;
    *ret_counts = MM_TAKE(counts);
    *ret_order = MM_TAKE(order);
    return MM_OK;
}
