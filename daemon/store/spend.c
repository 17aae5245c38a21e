/* SPDX-License-Identifier: Apache-2.0 */
/* The transaction that everything rests on: spend units of an order, and record their devices. */
#include "daemon/base/text.h"
#include "daemon/store/chains.h"
#include "daemon/store/enrolments.h"
#include "daemon/store/message.h"

#include <endian.h>
#include <string.h>

/* Makes the request's row, with nothing recorded. */
static int add_request(struct mm_store *s, const Mintmark__Internal__SpendAndRecord *job,
                       int64_t batch, struct mm_request_row *ret_request, struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_REQUEST_ADD);
    int r;

    mm_sql_bind_text(&q, job->station);
    mm_sql_bind_text(&q, job->request_id);
    mm_sql_bind_int(&q, batch);
    mm_sql_bind_blob(&q, job->digest.data, job->digest.len);
    mm_sql_bind_uint(&q, job->request_count);
    r = mm_sql_run(&q, ei);
    if (r < 0)
        return r;
    *ret_request = (struct mm_request_row){
        .row = sqlite3_last_insert_rowid(s->db), .batch = batch, .count = job->request_count};
    return MM_OK;
}

static int count_recorded(struct mm_store *s, const struct mm_request_row *request, size_t n,
                          struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_REQUEST_RECORD);

    mm_sql_bind_int(&q, request->row);
    mm_sql_bind_uint(&q, n);
    return mm_sql_run(&q, ei);
}

/* Counts the devices under their request, which the first of them makes. */
static int enter_request(struct mm_store *s, const Mintmark__Internal__SpendAndRecord *job,
                         int64_t batch, struct mm_request_row *ret_request, struct mm_errinfo *ei)
{
    struct mm_request_row request = {0};
    int r = mm_request_find(s, job->station, job->request_id, &job->digest, &request, ei);

    if (r == 1 && (request.batch != batch || request.count != job->request_count))
        return mm_request_fail_reused(job->request_id, ei);
    if (r == 0)
        r = add_request(s, job, batch, &request, ei);
    if (r < 0)
        return r;
    if (request.count - request.recorded < job->n_devices)
        return mm_fail(ei, MM_ERR_PRECONDITION, "REQUEST_COMPLETE",
                       "request %s asked for %llu devices and has %llu; %zu more are too many",
                       job->request_id, (unsigned long long)request.count,
                       (unsigned long long)request.recorded, job->n_devices);
    r = count_recorded(s, &request, job->n_devices, ei);
    if (r == MM_OK)
        *ret_request = request;
    return r;
}

/* The conditions that money hangs on are in the UPDATE too: they hold whatever was read before. */
static int spend_order(struct mm_store *s, const struct mm_order_row *order, size_t n,
                       int64_t now_ms, Mintmark__Internal__Recorded *recorded,
                       struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_ORDER_SPEND);
    struct mm_order_terms terms = order->terms;
    int r;

    recorded->order_used = order->terms.used + n;
    mm_order_count_day(&terms, n, now_ms);
    recorded->order_day = terms.day;
    recorded->order_day_used = terms.day_used;
    mm_sql_bind_int(&q, order->row);
    mm_sql_bind_uint(&q, n);
    mm_sql_bind_int(&q, recorded->order_day);
    mm_sql_bind_uint(&q, recorded->order_day_used);
    r = mm_sql_run(&q, ei);
    if (r < 0)
        return r;
    if (sqlite3_changes(s->db) == 1)
        return MM_OK;
    return mm_fail(ei, MM_ERR_EXHAUSTED, "QUOTA_EXHAUSTED",
                   "the production order has no %zu units left", n);
}

/* Everything that the order says about this spending. */
static int check_order(const struct mm_batch_row *batch,
                       const Mintmark__Internal__SpendAndRecord *job, struct mm_errinfo *ei)
{
    const struct mm_order_terms *t = &batch->order.terms;
    int r = mm_order_check(t, batch->order.stations, job->station, job->n_devices, job->now_ms, ei);

    return r < 0 ? r : mm_order_check_batch(t, batch->issued + job->n_devices, ei);
}

static int issue_in_batch(struct mm_store *s, const struct mm_batch_row *batch, size_t n,
                          int64_t now_ms, struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_BATCH_ISSUE);
    int r;

    mm_sql_bind_int(&q, batch->row);
    mm_sql_bind_uint(&q, n);
    mm_sql_bind_int(&q, now_ms);
    r = mm_sql_run(&q, ei);
    if (r < 0)
        return r;
    if (sqlite3_changes(s->db) == 1)
        return MM_OK;
    return mm_fail(ei, MM_ERR_EXHAUSTED, "BATCH_FULL", "the batch has room for %llu, not %zu",
                   (unsigned long long)(batch->quantity - batch->issued), n);
}

/* A UNIQUE constraint refused the device: says which one, and by what. */
static int fail_duplicate(struct mm_store *s, int64_t profile,
                          const Mintmark__Internal__DeviceRecord *device, struct mm_errinfo *ei)
{
    char uid[MM_UID_LEN + 1];
    int64_t request;
    const int r = mm_hw_serial_find(s, profile, device->hw_serial, &request, ei);

    if (r < 0)
        return r;
    if (r == 1)
        return mm_hw_serial_fail(device->hw_serial, ei);
    mm_uuid_format(device->uid.data, uid);
    return mm_fail(ei, MM_ERR_EXISTS, "DUPLICATE_DEVICE", "device %s is recorded already", uid);
}

static int insert_devices(struct mm_store *s, const Mintmark__Internal__SpendAndRecord *job,
                          int64_t request, int64_t profile, struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_DEVICE_ADD);
    int64_t chain = 0;
    int r = mm_chain_record(s, &job->chain, &job->chain_sha256, &chain, ei);

    mm_sql_bind_int(&q, request);
    mm_sql_bind_int(&q, profile);
    mm_chain_bind(&q, chain);
    for (size_t i = 0; r == MM_OK && i < job->n_devices; i++) {
        const Mintmark__Internal__DeviceRecord *d = job->devices[i];

        mm_sql_bind_blob(&q, d->uid.data, d->uid.len);
        mm_sql_bind_uint(&q, d->number);
        mm_sql_bind_text_or_null(&q, d->hw_serial);
        mm_sql_bind_blob(&q, d->spki_sha256.data, d->spki_sha256.len);
        mm_sql_bind_blob_or_null(&q, d->serial.data, d->serial.len);
        mm_sql_bind_blob(&q, d->bundle.data, d->bundle.len);
        r = mm_sql_run(&q, ei);
        if (q.rc == SQLITE_CONSTRAINT_UNIQUE)
            return fail_duplicate(s, profile, d, ei);
        mm_sql_again(&q, 3);
    }
    return r;
}

/* After a restart the front numbers on from here. */
static int advance_number(struct mm_store *s, const Mintmark__Internal__SpendAndRecord *job,
                          int64_t profile, struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_PROFILE_ADVANCE);
    uint64_t next = 0;

    for (size_t i = 0; i < job->n_devices; i++) {
        if (job->devices[i]->number >= next)
            next = job->devices[i]->number + 1;
    }
    mm_sql_bind_int(&q, profile);
    mm_sql_bind_uint(&q, next);
    return mm_sql_run(&q, ei);
}

/* As mintmark.v1.Spent says: the chain holds the devices, and not their number alone. */
static int digest_devices(struct mm_store *s, const Mintmark__Internal__SpendAndRecord *job,
                          uint8_t ret_hash[MM_SHA256_BYTES], struct mm_errinfo *ei)
{
    mm_ledger_digest_begin(s);
    for (size_t i = 0; i < job->n_devices; i++) {
        const Mintmark__Internal__DeviceRecord *d = job->devices[i];
        const uint64_t number = htobe64(d->number);

        mm_ledger_digest_add(s, d->uid.data, d->uid.len);
        mm_ledger_digest_add(s, d->spki_sha256.data, d->spki_sha256.len);
        mm_ledger_digest_add(s, &number, sizeof(number));
        mm_ledger_digest_add_short(s, d->serial.data, d->serial.len);
        mm_ledger_digest_add_short(s, d->hw_serial, strlen(d->hw_serial));
    }
    return mm_ledger_digest_end(s, ret_hash, ei);
}

static int enter_in_ledger(struct mm_store *s, const Mintmark__Internal__SpendAndRecord *job,
                           Mintmark__V1__SpendKind kind, struct mm_batch_row *batch,
                           struct mm_errinfo *ei)
{
    /* Right after the devices went in: the last row is the last of theirs. That of an enrolment is
     * its device's. */
    const uint64_t last_row = (uint64_t)sqlite3_last_insert_rowid(s->db);
    Mintmark__V1__Spent event = MINTMARK__V1__SPENT__INIT;
    Mintmark__V1__LedgerRecord record = MM_LEDGER_RECORD(SPENT, spent, &event);
    uint8_t devices[MM_SHA256_BYTES];
    int r = digest_devices(s, job, devices, ei);

    if (r < 0)
        return r;
    event.order_id = batch->order.order_id;
    event.batch_uid = job->batch_uid;
    event.station = job->station;
    event.request_id = job->request_id;
    event.kind = kind;
    event.first_row = last_row - job->n_devices + 1;
    event.count = (uint32_t)job->n_devices;
    event.order_used_after = batch->order.terms.used + job->n_devices;
    event.devices_sha256 = (ProtobufCBinaryData){sizeof(devices), devices};
    return mm_ledger_append(s, &record, ei);
}

/* model: SPEND */
int mm_spend(struct mm_store *s, const Mintmark__Internal__SpendAndRecord *job,
             Mintmark__V1__SpendKind kind, Mintmark__Internal__Recorded *ret_recorded,
             struct mm_errinfo *ei)
{
    struct mm_batch_row batch;
    struct mm_request_row request = {0};
    int r = mm_guard_check_spend(s, job->n_devices, ei);

    if (r == MM_OK)
        r = mm_batch_find(s, job->batch_uid, &batch, ei);
    if (r == MM_OK)
        r = enter_request(s, job, batch.row, &request, ei);
    if (r == MM_OK)
        r = mm_batch_check_open(&batch, job->batch_uid, ei);
    if (r == MM_OK)
        r = check_order(&batch, job, ei);
    if (r == MM_OK)
        r = spend_order(s, &batch.order, job->n_devices, job->now_ms, ret_recorded, ei);
    if (r == MM_OK)
        r = issue_in_batch(s, &batch, job->n_devices, job->now_ms, ei);
    if (r == MM_OK && kind == MINTMARK__V1__SPEND_KIND__SPEND_KIND_PROVISION)
        r = mm_minted_add(s, job, ei);
    if (r == MM_OK)
        r = insert_devices(s, job, request.row, batch.order.profile, ei);
    if (r == MM_OK)
        r = mm_enrolments_add(s, job, batch.order.profile, request.row, ret_recorded, ei);
    if (r == MM_OK)
        r = enter_in_ledger(s, job, kind, &batch, ei);
    if (r == MM_OK)
        r = advance_number(s, job, batch.order.profile, ei);
    if (r < 0)
        return r;
    ret_recorded->request = (uint64_t)request.row;
    ret_recorded->batch_issued = batch.issued + job->n_devices;
    ret_recorded->unanchored = mm_guard_unanchored(s);
    return MM_OK;
}

int mm_store_spend_and_record(struct mm_store *s, const Mintmark__Internal__SpendAndRecord *job,
                              Mintmark__Internal__Recorded **ret_recorded, struct mm_errinfo *ei)
{
    MM_MESSAGE_CLEANUP Mintmark__Internal__Recorded *recorded =
        mm_message_new(&mintmark__internal__recorded__descriptor);
    int r;

    if (!recorded)
        return mm_fail_memory(ei);
    r = mm_sql_verb_begin(s, ei);
    if (r < 0)
        return r;
    r = mm_sql_verb_finish(
        s, mm_spend(s, job, MINTMARK__V1__SPEND_KIND__SPEND_KIND_PROVISION, recorded, ei), ei);
    if (r < 0)
        return r;
    *ret_recorded = MM_TAKE(recorded);
    return MM_OK;
}
