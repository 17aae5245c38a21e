/* SPDX-License-Identifier: Apache-2.0 */
/* Units that were spent, and the devices that they were spent for. */
#include "tools/verify/ledger.h"

#include <stdlib.h>
#include <string.h>

/* ---- units ------------------------------------------------------------------------------- */

/* Days are UTC, by the record's time; the count is kept for the last day on which devices were
 * made. */
static void count_day(struct ledger *l, struct order *o, uint64_t n, int64_t time_ms)
{
    const int64_t day = time_ms / DAY_MS;

    if (day > o->day) {
        o->day = day;
        o->day_used = 0;
    }
    o->day_used += n;
    if (o->complete && o->per_day_max > 0 && o->day_used > o->per_day_max)
        wrong(l, "ORDER_DAY_LIMIT",
              "%llu devices of order %s were made on that day, and %llu may be",
              (unsigned long long)o->day_used, o->id, (unsigned long long)o->per_day_max);
}

static void count_order(struct ledger *l, struct order *o, const Mintmark__V1__Spent *e)
{
    if (!o->complete) {
        o->used = e->order_used_after;
        return;
    }
    o->used += e->count;
    if (e->order_used_after != o->used)
        wrong(l, "SUM_WRONG", "it says that %llu units of order %s are used then; they are %llu",
              (unsigned long long)e->order_used_after, o->id, (unsigned long long)o->used);
    if (o->used > o->quantity)
        wrong(l, "QUOTA_EXHAUSTED", "%llu units of order %s are used then, which has %llu",
              (unsigned long long)o->used, o->id, (unsigned long long)o->quantity);
}

static void count_batch(struct ledger *l, struct batch *b, uint64_t n)
{
    const uint64_t per_batch = b->order ? b->order->per_batch_max : 0;

    b->issued += n;
    if (b->released.sequence > 0)
        wrong(l, "BATCH_RELEASED", "batch %s was released, and gets more devices", b->uid);
    if (!b->complete)
        return;
    if (b->issued > b->quantity)
        wrong(l, "BATCH_FULL", "batch %s has %llu devices then, and was opened for %llu", b->uid,
              (unsigned long long)b->issued, (unsigned long long)b->quantity);
    if (per_batch > 0 && b->issued > per_batch)
        wrong(l, "ORDER_BATCH_LIMIT", "batch %s has %llu devices then, and order %s allows %llu",
              b->uid, (unsigned long long)b->issued, b->order->id, (unsigned long long)per_batch);
}

/* The same request of a station is for one batch. */
static void check_request(struct ledger *l, const Mintmark__V1__Spent *e, const struct batch *b)
{
    char text[512];
    uint64_t batch = 0;
    int64_t before;
    const int n = snprintf(text, sizeof(text), "%s/%s", e->station, e->request_id);

    for (const char *p = b->uid; *p; p++)
        batch = batch * 31 + (uint8_t)*p;
    batch = (batch & INT64_MAX) | 1;
    before = see(l, SEEN_REQUEST, text, n > 0 ? (size_t)n : 0, batch);
    if (before > 0 && (uint64_t)before != batch)
        wrong(l, "REQUEST_ID_REUSED", "request %s of station %s was for another batch before",
              e->request_id, e->station);
}

static void keep_spend(struct ledger *l, struct batch *b, const Mintmark__V1__Spent *e)
{
    struct spend *room, *s;

    if ((b->n_spends & (b->n_spends - 1)) == 0) {
        room = allocate(b->n_spends ? b->n_spends * 2 : 1, sizeof(*room));
        if (b->n_spends)
            memcpy(room, b->spends, b->n_spends * sizeof(*room));
        free(b->spends);
        b->spends = room;
    }
    s = &b->spends[b->n_spends++];
    *s = (struct spend){.sequence = l->at.sequence, .first_row = e->first_row, .count = e->count};
    if (e->devices_sha256.len == SHA256_LEN)
        memcpy(s->devices_sha256, e->devices_sha256.data, SHA256_LEN);
    else
        wrong(l, "LEDGER_EDITED", "it does not bind its devices");
    l->spent_batch = b;
    l->spends++;
}

/* The batch that a record names; made up when it is from before the export. */
static struct batch *known_batch(struct ledger *l, const char *uid)
{
    struct batch *b = batch_find(l, uid);

    if (!b && l->partial)
        return batch_add(l, uid);
    if (!b)
        wrong(l, "BATCH_UNKNOWN", "batch %s was never opened", uid);
    return b;
}

static struct order *order_of(struct ledger *l, struct batch *b, const char *order_id)
{
    struct order *o = order_find(l, order_id);

    if (!o && l->partial && !l->seeded) {
        o = order_add(l, order_id);
        o->quantity = UINT64_MAX;
        o->not_after_ms = INT64_MAX;
    }
    if (!o)
        wrong(l, "ORDER_UNKNOWN", "order %s was never imported", order_id);
    if (o && b->order && b->order != o)
        wrong(l, "LEDGER_EDITED", "batch %s draws on order %s, and not on %s", b->uid, b->order->id,
              order_id);
    if (o && !b->order)
        b->order = o;
    return o;
}

void spent(struct ledger *l, const Mintmark__V1__Spent *e, int64_t time_ms)
{
    struct batch *b = known_batch(l, e->batch_uid);
    struct order *o = b ? order_of(l, b, e->order_id) : NULL;

    if (!b || !o)
        return;
    if (e->count == 0)
        wrong(l, "LEDGER_EDITED", "it spends nothing");
    if (l->partial && !l->seeded && l->spends == 0)
        l->devices = e->first_row ? e->first_row - 1 : 0;
    if (e->first_row != l->devices + 1)
        wrong(l, "ROW_GAP", "its devices begin at row %llu, and those before end at %llu",
              (unsigned long long)e->first_row, (unsigned long long)l->devices);
    l->devices = e->first_row + e->count - 1;
    order_allows(l, o, e->station, e->count, time_ms);
    count_order(l, o, e);
    count_day(l, o, e->count, time_ms);
    count_batch(l, b, e->count);
    check_request(l, e, b);
    keep_spend(l, b, e);
}

/* ---- devices ----------------------------------------------------------------------------- */

static void once(struct ledger *l, enum seen_kind kind, const void *value, size_t len, uint64_t row,
                 const char *code, const char *what)
{
    const int64_t before = see(l, kind, value, len, row);

    if (before > 0)
        wrong(l, code, "the devices of rows %lld and %llu have the same %s", (long long)before,
              (unsigned long long)row, what);
}

static void check_once(struct ledger *l, const struct order *o,
                       const Mintmark__V1__LedgerExportDevice *d, uint64_t row)
{
    const bool known = o && *o->profile;
    char serial[256];
    int n;

    once(l, SEEN_UID, d->uid.data, d->uid.len, row, "DUPLICATE_UID", "UID");
    once(l, SEEN_KEY, d->spki_sha256.data, d->spki_sha256.len, row, "DUPLICATE_KEY", "public key");
    if (d->serial.len > 0)
        once(l, SEEN_SERIAL, d->serial.data, d->serial.len, row, "DUPLICATE_SERIAL",
             "certificate serial number");
    /* A device that was KO makes room for another with its number. */
    if (!*d->hw_serial || d->state == MINTMARK__V1__DEVICE_STATE__DEVICE_STATE_KO)
        return;
    /* Where an export begins later, the profiles of older orders are not known. */
    n = snprintf(serial, sizeof(serial), "%s%s/%s", known ? "" : "order ",
                 known ? o->profile : (o ? o->id : ""), d->hw_serial);
    once(l, SEEN_HW_SERIAL, serial, n > 0 ? (size_t)n : 0, row, "DUPLICATE_HW_SERIAL",
         "hardware serial number");
}

static void add_short(struct ledger *l, const void *data, size_t len)
{
    const uint8_t byte = (uint8_t)len;

    digest_add(l, &byte, 1);
    digest_add(l, data, len);
}

static void add_device(struct ledger *l, const Mintmark__V1__LedgerExportDevice *d)
{
    uint8_t number[8];

    for (int i = 0; i < 8; i++)
        number[i] = (uint8_t)(d->number >> (56 - 8 * i));
    digest_add(l, d->uid.data, d->uid.len);
    digest_add(l, d->spki_sha256.data, d->spki_sha256.len);
    digest_add(l, number, sizeof(number));
    add_short(l, d->serial.data, d->serial.len);
    add_short(l, d->hw_serial, strlen(d->hw_serial));
}

static bool device_whole(const Mintmark__V1__LedgerExportDevice *d)
{
    return d->uid.len == 16 && d->spki_sha256.len == SHA256_LEN && d->serial.len <= 255 &&
           strlen(d->hw_serial) <= 255;
}

void spent_devices(struct ledger *l, const Mintmark__V1__LedgerExportDevices *devices)
{
    struct batch *b = l->spent_batch;
    struct spend *s = b ? &b->spends[b->n_spends - 1] : NULL;
    uint8_t hash[SHA256_LEN];

    l->spent_batch = NULL;
    l->exported_devices += devices->n_devices;
    if (!s) {
        wrong(l, "EXPORT_FORM", "devices follow that belong to no record");
        return;
    }
    if (devices->first_row != s->first_row || devices->n_devices != s->count) {
        wrong(l, "DEVICES_CHANGED", "%u devices were recorded, and %zu are in the export", s->count,
              devices->n_devices);
        return;
    }
    digest_begin(l);
    for (size_t i = 0; i < devices->n_devices; i++) {
        if (!device_whole(devices->devices[i])) {
            wrong(l, "DEVICES_CHANGED", "a device is none");
            return;
        }
        add_device(l, devices->devices[i]);
    }
    digest_end(l, hash);
    s->compared = memcmp(hash, s->devices_sha256, SHA256_LEN) == 0;
    if (s->compared)
        l->spends_compared++;
    else
        wrong(l, "DEVICES_CHANGED", "its devices are not those that were recorded");
    for (size_t i = 0; i < devices->n_devices; i++)
        check_once(l, b->order, devices->devices[i], s->first_row + i);
}

/* ---- batches ----------------------------------------------------------------------------- */

void batch_opened(struct ledger *l, const Mintmark__V1__BatchOpened *e, const struct place *here)
{
    struct batch *b = batch_find(l, e->batch_uid);
    struct order *o;
    uint8_t uid[16];

    if (!uid_parse(e->batch_uid, uid)) {
        wrong(l, "LEDGER_EDITED", "it opens a batch without a UID");
        return;
    }
    if (b) {
        wrong(l, "BATCH_EXISTS", "batch %s is opened a second time", e->batch_uid);
        return;
    }
    b = batch_add(l, e->batch_uid);
    b->complete = true;
    b->quantity = e->quantity;
    b->opened = *here;
    free(b->station);
    free(b->name);
    free(b->device_type);
    b->station = copy_text(e->station);
    b->name = copy_text(e->name);
    b->device_type = copy_text(e->device_type);
    o = order_of(l, b, e->order_id);
    if (!o)
        return;
    order_allows(l, o, e->station, 0, here->time_ms);
    if (o->per_batch_max > 0 && e->quantity > o->per_batch_max)
        wrong(l, "ORDER_BATCH_LIMIT", "it opens a batch for %llu devices, and order %s allows %llu",
              (unsigned long long)e->quantity, o->id, (unsigned long long)o->per_batch_max);
}

void devices_reported(struct ledger *l, const Mintmark__V1__DevicesReported *e)
{
    struct batch *b = known_batch(l, e->batch_uid);

    if (!b)
        return;
    l->device_reports++;
    b->ok += e->ok;
    b->ko += e->ko;
    if (b->released.sequence > 0)
        wrong(l, "BATCH_RELEASED", "batch %s was released, and devices are reported", b->uid);
    if (b->complete && b->ok + b->ko > b->issued)
        wrong(l, "SUM_WRONG", "%llu devices of batch %s are reported then, which has %llu",
              (unsigned long long)(b->ok + b->ko), b->uid, (unsigned long long)b->issued);
}

void device_failed(struct ledger *l, const Mintmark__V1__DeviceFailed *e)
{
    struct batch *b = known_batch(l, e->batch_uid);

    if (!b || !e->counted)
        return;
    b->ko++;
    if (b->released.sequence > 0)
        wrong(l, "BATCH_RELEASED", "batch %s was released, and a device of it fails", b->uid);
}

void refunded(struct ledger *l, const Mintmark__V1__Refunded *e)
{
    struct batch *b = known_batch(l, e->batch_uid);
    struct order *o = b ? order_of(l, b, e->order_id) : NULL;

    if (!b || !o)
        return;
    b->refunded += e->count;
    if (b->complete && b->refunded > b->ko)
        wrong(l, "REFUND_TOO_MANY", "%llu units are given back for batch %s, of which %llu are KO",
              (unsigned long long)b->refunded, b->uid, (unsigned long long)b->ko);
    if (!o->complete) {
        o->used = e->order_used_after;
        o->refunded = e->refunded_after;
        return;
    }
    if (e->count > o->used) {
        wrong(l, "REFUND_TOO_MANY", "more units of order %s are given back than are used", o->id);
        return;
    }
    o->used -= e->count;
    o->refunded += e->count;
    if (o->refunded > o->replacements_max)
        wrong(l, "REFUND_TOO_MANY", "%llu units of order %s are given back then, and %llu may be",
              (unsigned long long)o->refunded, o->id, (unsigned long long)o->replacements_max);
    if (e->order_used_after != o->used || e->refunded_after != o->refunded)
        wrong(l, "SUM_WRONG", "its sums of order %s are not what comes out", o->id);
}

static bool order_sums(const struct order *o, const Mintmark__V1__BatchReleased *e)
{
    return !o || !o->complete ||
           (e->order_quantity == o->quantity && e->order_used == o->used &&
            e->order_refunded == o->refunded);
}

void batch_released(struct ledger *l, const Mintmark__V1__BatchReleased *e,
                    const struct place *here)
{
    struct batch *b = known_batch(l, e->batch_uid);

    if (!b)
        return;
    if (b->released.sequence > 0)
        wrong(l, "BATCH_RELEASED", "batch %s is released a second time", b->uid);
    b->released = *here;
    b->account_whole = *e->version != 0;
    b->account = (Mintmark__V1__BatchReleased){.issued = e->issued,
                                               .ok = e->ok,
                                               .ko = e->ko,
                                               .order_quantity = e->order_quantity,
                                               .order_used = e->order_used,
                                               .order_refunded = e->order_refunded,
                                               .refunded = e->refunded};
    if (b->complete && (e->issued != b->issued || e->ok != b->ok || e->ko != b->ko))
        wrong(l, "SUM_WRONG",
              "it counts %llu devices of batch %s, %llu OK, %llu KO; there are %llu, %llu, %llu",
              (unsigned long long)e->issued, b->uid, (unsigned long long)e->ok,
              (unsigned long long)e->ko, (unsigned long long)b->issued, (unsigned long long)b->ok,
              (unsigned long long)b->ko);
    if (b->complete && b->account_whole && (e->refunded != b->refunded || !order_sums(b->order, e)))
        wrong(l, "SUM_WRONG", "its sums of the order of batch %s are not what comes out", b->uid);
}

void report_signed(struct ledger *l, const Mintmark__V1__ReportSigned *e, uint64_t sequence)
{
    struct batch *b = known_batch(l, e->batch_uid);

    if (!b)
        return;
    if (b->complete && b->released.sequence == 0)
        wrong(l, "LEDGER_EDITED", "the report on batch %s was signed before its release", b->uid);
    if (b->reported_at > 0)
        wrong(l, "LEDGER_EDITED", "the report on batch %s was signed a second time", b->uid);
    b->reported_at = sequence;
    b->report_size = e->size;
    if (e->report_sha256.len != SHA256_LEN || e->document_sha256.len != SHA256_LEN) {
        wrong(l, "LEDGER_EDITED", "a hash has not 32 bytes");
        return;
    }
    memcpy(b->report_sha256, e->report_sha256.data, SHA256_LEN);
    l->due.sequence = l->at.sequence;
    l->due.time_ms = l->at.time_ms;
    l->due.released = b->released.sequence;
    l->due.kind = DUE_REPORT;
    l->due.has_sha256 = true;
    l->due.signer[0] = 0;
    memcpy(l->due.sha256, e->document_sha256.data, SHA256_LEN);
    memcpy(l->due.content, e->report_sha256.data, SHA256_LEN);
    l->documents_missing++;
}

void keys_deleted(struct ledger *l, const Mintmark__V1__KeysDeleted *e)
{
    struct batch *b = known_batch(l, e->batch_uid);

    if (!b)
        return;
    if (b->complete && b->released.sequence == 0)
        wrong(l, "LEDGER_EDITED", "the keys of batch %s were deleted before its release", b->uid);
    if (b->keys_deleted)
        wrong(l, "LEDGER_EDITED", "the keys of batch %s were deleted a second time", b->uid);
    if (b->complete && e->devices != b->issued)
        wrong(l, "SUM_WRONG", "it counts %llu devices of batch %s, which has %llu",
              (unsigned long long)e->devices, b->uid, (unsigned long long)b->issued);
    b->keys_deleted = true;
    l->keys_deleted++;
}

/* ---- certificates from elsewhere --------------------------------------------------------- */

void certified_key(struct certified_key *ret_key, const void *whose, size_t whose_len,
                   const void *serial, size_t serial_len)
{
    memcpy(ret_key->bytes, whose, whose_len);
    memcpy(ret_key->bytes + whose_len, serial, serial_len);
    ret_key->len = whose_len + serial_len;
}

static void certified_device(struct ledger *l, const Mintmark__V1__CertifiedDevice *d)
{
    const uint64_t here = l->at.sequence;
    struct certified_key key;

    if (d->uid.len != 16 || d->serial.len < 1 || d->serial.len > 20 ||
        d->issuer_sha256.len != SHA256_LEN || d->certificate_sha256.len != SHA256_LEN) {
        wrong(l, "LEDGER_EDITED", "a device or certificate is none");
        return;
    }
    l->certified++;
    if (l->exported_devices > 0 && !l->partial &&
        !seen_has(&l->seen, SEEN_UID, d->uid.data, d->uid.len))
        wrong(l, "LEDGER_EDITED", "it is about a device that was never recorded");
    if (see(l, SEEN_CERTIFIED, d->uid.data, d->uid.len, here) > 0)
        wrong(l, "CERTIFIED_TWICE", "a device gets a second certificate");
    certified_key(&key, d->uid.data, d->uid.len, d->serial.data, d->serial.len);
    (void)see(l, SEEN_CERTIFIED_SERIAL, key.bytes, key.len, here);
    certified_key(&key, d->issuer_sha256.data, SHA256_LEN, d->serial.data, d->serial.len);
    if (see(l, SEEN_ELSEWHERE, key.bytes, key.len, here) > 0)
        wrong(l, "DUPLICATE_SERIAL", "two devices have the same certificate serial number");
}

void certified(struct ledger *l, const Mintmark__V1__Certified *e)
{
    for (size_t i = 0; i < e->n_devices; i++)
        certified_device(l, e->devices[i]);
}
