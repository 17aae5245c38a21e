/* SPDX-License-Identifier: Apache-2.0 */
/* The chain read from its beginning: every link, and what its records add up to. */
#include "daemon/store/audit_key.h"
#include "daemon/store/ledger.h"
#include "daemon/store/message.h"
#include "daemon/store/sqlite.h"
#include "proto/grpc/unpack.h"

#include <endian.h>
#include <string.h>

/* The rows that the record says it spent for. */
static int check_devices(struct mm_store *s, uint64_t sequence, const Mintmark__V1__Spent *event,
                         struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_LEDGER_DEVICES);
    uint8_t hash[MM_SHA256_BYTES];
    int r;

    mm_sql_bind_uint(&q, event->first_row);
    mm_sql_bind_uint(&q, event->first_row + event->count - 1);
    mm_ledger_digest_begin(s);
    while ((r = mm_sql_step(&q, ei)) > 0) {
        const struct mm_bytes uid = mm_sql_blob(&q, 0), spki = mm_sql_blob(&q, 1);
        const struct mm_bytes serial = mm_sql_blob(&q, 3), hw_serial = mm_sql_blob(&q, 4);
        const uint64_t number = htobe64(mm_sql_uint(&q, 2));

        mm_ledger_digest_add(s, uid.data, uid.len);
        mm_ledger_digest_add(s, spki.data, spki.len);
        mm_ledger_digest_add(s, &number, sizeof(number));
        mm_ledger_digest_add_short(s, serial.data, serial.len);
        mm_ledger_digest_add_short(s, hw_serial.data, hw_serial.len);
    }
    if (r == MM_OK)
        r = mm_sql_end(&q, ei);
    if (r == MM_OK)
        r = mm_ledger_digest_end(s, hash, ei);
    if (r < 0)
        return r;
    if (event->devices_sha256.len != sizeof(hash) ||
        memcmp(event->devices_sha256.data, hash, sizeof(hash)) != 0)
        return mm_ledger_edited(ei, sequence, "its devices are not those that were recorded");
    return MM_OK;
}

static int spent(struct mm_store *s, struct mm_ledger_walk *walk,
                 const Mintmark__V1__LedgerRecord *record, struct mm_errinfo *ei)
{
    const Mintmark__V1__Spent *event = record->spent;
    const uint64_t sequence = record->sequence;
    struct mm_ledger_order *order = mm_ledger_order_find(walk, event->order_id);

    if (!order)
        return mm_ledger_edited(ei, sequence, "it spends of an order that was never imported");
    if (event->count == 0 || event->first_row != walk->at.devices + 1)
        return mm_ledger_edited(ei, sequence, "its devices do not follow those before");
    if (event->count > order->terms.quantity - order->terms.used)
        return mm_ledger_edited(ei, sequence, "it spends more than the order has");
    mm_order_count_day(&order->terms, event->count, record->time_ms);
    order->terms.used += event->count;
    walk->at.devices += event->count;
    if (event->order_used_after != order->terms.used)
        return mm_ledger_edited(ei, sequence, "the order's units do not add up");
    return walk->devices ? check_devices(s, sequence, event, ei) : MM_OK;
}

/* The certificate in the bundle that is delivered. */
static int hash_certificate(struct mm_store *s, struct mm_bytes bundle,
                            uint8_t ret_hash[MM_SHA256_BYTES], struct mm_errinfo *ei)
{
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    Mintmark__V1__Bundle *b;
    int r = mm_bundle_unpack(bundle, &arena, &b, ei);

    if (r == MM_ERR_MEMORY)
        return r;
    /* One that is none has no certificate. */
    return mm_ledger_hash(s,
                          r < 0 ? (struct mm_bytes){NULL, 0}
                                : (struct mm_bytes){b->certificate.data, b->certificate.len},
                          ret_hash, ei);
}

static bool same(const ProtobufCBinaryData *said, struct mm_bytes is)
{
    return said->len == is.len && (is.len == 0 || memcmp(said->data, is.data, is.len) == 0);
}

static int check_certified(struct mm_store *s, uint64_t sequence,
                           const Mintmark__V1__CertifiedDevice *d, struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_ENROLMENT_CERTIFICATE);
    uint8_t hash[MM_SHA256_BYTES];
    bool good = false;
    int r;

    mm_sql_bind_blob(&q, d->uid.data, d->uid.len);
    r = mm_sql_step(&q, ei);
    if (r == 1) {
        r = mm_ledger_hash(s, mm_sql_blob(&q, 0), hash, ei);
        good = r == MM_OK && same(&d->issuer_sha256, (struct mm_bytes){hash, sizeof(hash)}) &&
               same(&d->serial, mm_sql_blob(&q, 1));
        if (good)
            r = hash_certificate(s, mm_sql_blob(&q, 2), hash, ei);
        good = good && r == MM_OK &&
               same(&d->certificate_sha256, (struct mm_bytes){hash, sizeof(hash)});
    }
    if (r == MM_OK)
        r = mm_sql_end(&q, ei);
    if (r == MM_OK && !good)
        r = mm_ledger_edited(ei, sequence, "a device has not the certificate that was recorded");
    return r;
}

static int certified(struct mm_store *s, const struct mm_ledger_walk *walk, uint64_t sequence,
                     const Mintmark__V1__Certified *event, struct mm_errinfo *ei)
{
    int r = MM_OK;

    for (size_t i = 0; r == MM_OK && walk->devices && i < event->n_devices; i++)
        r = check_certified(s, sequence, event->devices[i], ei);
    return r;
}

static int genesis(struct mm_store *s, struct mm_ledger_walk *walk, uint64_t sequence,
                   const Mintmark__V1__Genesis *event, struct mm_errinfo *ei)
{
    if (sequence != 1 || event->ledger_id.len != sizeof(s->ledger.id) ||
        memcmp(event->ledger_id.data, s->ledger.id, sizeof(s->ledger.id)) != 0)
        return mm_ledger_edited(ei, sequence, "it begins the ledger again");
    walk->at.devices = event->devices;
    return MM_OK;
}

static int take_event(struct mm_store *s, struct mm_ledger_walk *walk,
                      const Mintmark__V1__LedgerRecord *record, struct mm_errinfo *ei)
{
    switch (record->event_case) {
    case MINTMARK__V1__LEDGER_RECORD__EVENT_GENESIS:
        return genesis(s, walk, record->sequence, record->genesis, ei);
    case MINTMARK__V1__LEDGER_RECORD__EVENT_SERVICE_STARTED:
        if (record->service_started->epoch <= walk->epoch)
            return mm_ledger_edited(ei, record->sequence, "its epoch is not new");
        walk->epoch = record->service_started->epoch;
        return MM_OK;
    case MINTMARK__V1__LEDGER_RECORD__EVENT_SPENT:
        return spent(s, walk, record, ei);
    case MINTMARK__V1__LEDGER_RECORD__EVENT_CERTIFIED:
        return certified(s, walk, record->sequence, record->certified, ei);
    case MINTMARK__V1__LEDGER_RECORD__EVENT_SERVICE_UNLOCKED:
        walk->key_known = false;
        return MM_OK;
    case MINTMARK__V1__LEDGER_RECORD__EVENT_AUDIT_KEY_CHANGED:
        return mm_audit_key_walk(s, walk, record, ei);
    case MINTMARK__V1__LEDGER_RECORD__EVENT__NOT_SET:
        return mm_ledger_edited(ei, record->sequence, "it says nothing that this program knows");
    default:
        return mm_ledger_order_event(walk, record, ei);
    }
}

static int take_record(struct mm_store *s, struct mm_ledger_walk *walk, uint64_t sequence,
                       struct mm_bytes data, struct mm_arena *arena, struct mm_errinfo *ei)
{
    Mintmark__V1__LedgerRecord *record;
    ProtobufCMessage *message;
    struct mm_errinfo why = {0};
    int r;

    if (sequence != walk->at.sequence + 1)
        return mm_fail(ei, MM_ERR_CORRUPT, "LEDGER_GAP", "record %llu of the ledger is missing",
                       (unsigned long long)walk->at.sequence + 1);
    r = mm_grpc_unpack(&mintmark__v1__ledger_record__descriptor, data.data, data.len, arena,
                       &message, &why);
    if (r == MM_ERR_MEMORY)
        return mm_fail_memory(ei);
    if (r < 0)
        return mm_ledger_edited(ei, sequence, why.text);
    record = (Mintmark__V1__LedgerRecord *)message;
    if (record->sequence != sequence || record->time_ms < walk->at.time_ms)
        return mm_ledger_edited(ei, sequence, "its number or its time cannot be");
    if (record->previous.len != MM_SHA256_BYTES ||
        memcmp(record->previous.data, walk->at.hash, MM_SHA256_BYTES) != 0)
        return mm_ledger_edited(ei, sequence,
                                "the record before it is not the one that it followed");
    r = take_event(s, walk, record, ei);
    if (r < 0)
        return r;
    walk->at.sequence = sequence;
    walk->at.time_ms = record->time_ms;
    return mm_ledger_hash(s, data, walk->at.hash, ei);
}

static int compare(struct mm_store *s, const struct mm_ledger_walk *walk, struct mm_errinfo *ei)
{
    const struct mm_ledger_head *head = &s->ledger.now;

    if (walk->at.sequence != head->sequence)
        return mm_fail(ei, MM_ERR_CORRUPT, "LEDGER_GAP",
                       "the ledger ends at record %llu, not at %llu",
                       (unsigned long long)walk->at.sequence, (unsigned long long)head->sequence);
    if (memcmp(walk->at.hash, head->hash, sizeof(head->hash)) != 0)
        return mm_ledger_edited(ei, head->sequence, "it has changed since it was written");
    if (walk->at.devices != head->devices)
        return mm_fail(ei, MM_ERR_CORRUPT, "LEDGER_EDITED",
                       "the ledger knows %llu devices, the database has %llu",
                       (unsigned long long)walk->at.devices, (unsigned long long)head->devices);
    return mm_ledger_compare_orders(s, walk, ei);
}

int mm_ledger_walk(struct mm_store *s, struct mm_ledger_walk *walk, unsigned records,
                   uint64_t devices, struct mm_errinfo *ei)
{
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_LEDGER_PAGE);
    const uint64_t before = walk->at.devices;
    unsigned n = 0;
    int r;

    mm_sql_bind_uint(&q, walk->at.sequence + 1);
    mm_sql_bind_uint(&q, records);
    while ((r = mm_sql_step(&q, ei)) > 0) {
        const uint64_t sequence = mm_sql_uint(&q, 0);

        r = take_record(s, walk, sequence, mm_sql_blob(&q, 1), &arena, ei);
        if (r < 0)
            return r;
        mm_arena_reset(&arena);
        n++;
        if (walk->at.devices - before >= devices)
            return 1;
    }
    if (r == MM_OK)
        r = mm_sql_end(&q, ei);
    if (r < 0)
        return r;
    return n == records ? 1 : compare(s, walk, ei);
}

void mm_ledger_walk_done(struct mm_ledger_walk *walk)
{
    for (size_t i = 0; i < walk->n_orders; i++) {
        free(walk->orders[i].order_id);
        free(walk->orders[i].stations);
    }
    free(walk->orders);
    *walk = (struct mm_ledger_walk){0};
}
