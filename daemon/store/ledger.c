/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/store/ledger.h"

#include "daemon/base/clock.h"
#include "daemon/store/sqlite.h"
#include "proto/grpc/unpack.h"

#include <openssl/rand.h>
#include <string.h>

/* The digest. */

void mm_ledger_digest_begin(struct mm_store *s)
{
    s->ledger.digest_failed = EVP_DigestInit_ex2(s->ledger.digest, s->ledger.sha256, NULL) != 1;
}

/* libcrypto does not survive the use of a digest that it could not begin. */
void mm_ledger_digest_add(struct mm_store *s, const void *data, size_t len)
{
    if (len > 0 && !s->ledger.digest_failed && EVP_DigestUpdate(s->ledger.digest, data, len) != 1)
        s->ledger.digest_failed = true;
}

void mm_ledger_digest_add_short(struct mm_store *s, const void *data, size_t len)
{
    const uint8_t length = (uint8_t)len;

    mm_ledger_digest_add(s, &length, sizeof(length));
    mm_ledger_digest_add(s, data, len);
}

int mm_ledger_digest_end(struct mm_store *s, uint8_t ret_hash[MM_SHA256_BYTES],
                         struct mm_errinfo *ei)
{
    uint8_t hash[EVP_MAX_MD_SIZE];

    if (s->ledger.digest_failed || EVP_DigestFinal_ex(s->ledger.digest, hash, NULL) != 1)
        return mm_fail_memory(ei);
    memcpy(ret_hash, hash, MM_SHA256_BYTES);
    return MM_OK;
}

int mm_ledger_hash(struct mm_store *s, struct mm_bytes data, uint8_t ret_hash[MM_SHA256_BYTES],
                   struct mm_errinfo *ei)
{
    mm_ledger_digest_begin(s);
    mm_ledger_digest_add(s, data.data, data.len);
    return mm_ledger_digest_end(s, ret_hash, ei);
}

/* Appending. */

static int insert(struct mm_store *s, uint64_t sequence, const void *data, size_t len,
                  struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_LEDGER_APPEND);

    mm_sql_bind_uint(&q, sequence);
    mm_sql_bind_blob(&q, data, len);
    return mm_sql_run(&q, ei);
}

int64_t mm_ledger_tick(struct mm_store *s)
{
    const int64_t clock_ms = mm_clock_wall_ms(), last_ms = s->ledger.now.time_ms;

    s->ledger.clock_ms = clock_ms > last_ms ? clock_ms : last_ms;
    return s->ledger.clock_ms;
}

int mm_ledger_append(struct mm_store *s, Mintmark__V1__LedgerRecord *record, struct mm_errinfo *ei)
{
    struct mm_ledger_head *now = &s->ledger.now;
    uint8_t data[MM_LEDGER_RECORD_MAX];
    size_t len;
    int r;

    record->sequence = now->sequence + 1;
    record->time_ms = s->ledger.clock_ms > now->time_ms ? s->ledger.clock_ms : now->time_ms;
    record->previous = (ProtobufCBinaryData){sizeof(now->hash), now->hash};
    len = mintmark__v1__ledger_record__get_packed_size(record);
    if (len > sizeof(data))
        return mm_fail(ei, MM_ERR_TOO_BIG, "LEDGER_RECORD_TOO_BIG",
                       "a record of the ledger has %zu bytes, over %d", len, MM_LEDGER_RECORD_MAX);
    mintmark__v1__ledger_record__pack(record, data);
    r = insert(s, record->sequence, data, len, ei);
    if (r == MM_OK)
        r = mm_ledger_hash(s, (struct mm_bytes){data, len}, now->hash, ei);
    if (r < 0)
        return r;
    now->sequence = record->sequence;
    now->time_ms = record->time_ms;
    now->event = (int)record->event_case;
    if (record->event_case == MINTMARK__V1__LEDGER_RECORD__EVENT_SPENT)
        now->devices += record->spent->count;
    return MM_OK;
}

/* Beginning. */

/* The orders of a database that is older than the ledger. */
static int adopt_orders(struct mm_store *s, struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_LEDGER_ADOPT);
    int r;

    while ((r = mm_sql_step(&q, ei)) > 0) {
        MM_FREE char *order_id = mm_sql_dup_text(&q, 0);
        MM_FREE char *profile = mm_sql_dup_text(&q, 1);
        MM_FREE char *by = mm_sql_dup_text(&q, 6);
        Mintmark__V1__OrderImported event = MINTMARK__V1__ORDER_IMPORTED__INIT;
        Mintmark__V1__LedgerRecord record =
            MM_LEDGER_RECORD(ORDER_IMPORTED, order_imported, &event);

        event.order_id = order_id;
        event.profile = profile;
        event.quantity = mm_sql_uint(&q, 2);
        event.used = mm_sql_uint(&q, 3);
        event.not_before_time_ms = mm_sql_int(&q, 4);
        event.not_after_time_ms = mm_sql_int(&q, 5);
        event.by = by;
        event.added_time_ms = mm_sql_int(&q, 7);
        r = mm_sql_end(&q, ei);
        if (r == MM_OK)
            r = mm_ledger_append(s, &record, ei);
        if (r < 0)
            return r;
    }
    return r;
}

static int begin(struct mm_store *s, struct mm_errinfo *ei)
{
    Mintmark__V1__Genesis event = MINTMARK__V1__GENESIS__INIT;
    Mintmark__V1__LedgerRecord record = MM_LEDGER_RECORD(GENESIS, genesis, &event);
    static char version[] = MM_VERSION;
    int r;

    if (RAND_bytes(s->ledger.id, sizeof(s->ledger.id)) != 1)
        return mm_fail(ei, MM_ERR_INTERNAL, "LEDGER_DIGEST", "libcrypto has no random bytes");
    event.ledger_id = (ProtobufCBinaryData){sizeof(s->ledger.id), s->ledger.id};
    event.version = version;
    event.devices = s->ledger.now.devices;
    r = mm_ledger_append(s, &record, ei);
    return r < 0 ? r : adopt_orders(s, ei);
}

static int begin_and_commit(struct mm_store *s, struct mm_errinfo *ei)
{
    int r = mm_store_begin(s, ei);

    if (r < 0)
        return r;
    (void)mm_ledger_tick(s);
    r = mm_sql_verb_begin(s, ei);
    if (r == MM_OK)
        r = mm_sql_verb_finish(s, begin(s, ei), ei);
    return r < 0 ? r : mm_store_commit(s, ei); /* a store that fails to open is closed */
}

static int fail_edited(uint64_t sequence, struct mm_errinfo *ei)
{
    return mm_fail(ei, MM_ERR_CORRUPT, "LEDGER_EDITED", "record %llu of the ledger is none",
                   (unsigned long long)sequence);
}

/* q is of MM_SQL_LEDGER_PAGE; the data holds until its next step. */
static int find_record(struct mm_sql *q, uint64_t sequence, struct mm_bytes *ret_data,
                       struct mm_errinfo *ei)
{
    int r;

    mm_sql_bind_uint(q, sequence);
    mm_sql_bind_int(q, 1);
    r = mm_sql_step(q, ei);
    if (r < 0)
        return r;
    if (r == 0 || mm_sql_uint(q, 0) != sequence)
        return mm_fail(ei, MM_ERR_CORRUPT, "LEDGER_GAP", "record %llu of the ledger is missing",
                       (unsigned long long)sequence);
    *ret_data = mm_sql_blob(q, 1);
    return MM_OK;
}

int mm_ledger_hash_at(struct mm_store *s, uint64_t sequence, uint8_t ret_hash[MM_SHA256_BYTES],
                      struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_LEDGER_PAGE);
    struct mm_bytes data;
    int r = find_record(&q, sequence, &data, ei);

    if (r == MM_OK)
        r = mm_sql_end(&q, ei);
    return r < 0 ? r : mm_ledger_hash(s, data, ret_hash, ei);
}

int mm_ledger_record_at(struct mm_store *s, uint64_t sequence, struct mm_arena *arena,
                        Mintmark__V1__LedgerRecord **ret_record, struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_LEDGER_PAGE);
    struct mm_errinfo why = {0};
    ProtobufCMessage *message;
    struct mm_bytes data;
    int r = find_record(&q, sequence, &data, ei);

    if (r < 0)
        return r;
    r = mm_grpc_unpack(&mintmark__v1__ledger_record__descriptor, data.data, data.len, arena,
                       &message, &why);
    if (r == MM_ERR_MEMORY)
        return mm_fail_memory(ei);
    if (r < 0)
        return fail_edited(sequence, ei);
    *ret_record = (Mintmark__V1__LedgerRecord *)message;
    return MM_OK;
}

/* The ledger's id out of its first record, and the head out of its last. */
static int resume(struct mm_store *s, uint64_t last, struct mm_errinfo *ei)
{
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    struct mm_ledger_head *now = &s->ledger.now;
    Mintmark__V1__LedgerRecord *record;
    int r = mm_ledger_record_at(s, 1, &arena, &record, ei);

    if (r < 0)
        return r;
    if (record->event_case != MINTMARK__V1__LEDGER_RECORD__EVENT_GENESIS ||
        record->genesis->ledger_id.len != sizeof(s->ledger.id))
        return fail_edited(1, ei);
    memcpy(s->ledger.id, record->genesis->ledger_id.data, sizeof(s->ledger.id));
    mm_arena_reset(&arena);
    /* The hash alone first: the chain goes on from it also when the record is none. */
    r = mm_ledger_hash_at(s, last, now->hash, ei);
    if (r == MM_OK)
        r = mm_ledger_record_at(s, last, &arena, &record, ei);
    if (r < 0)
        return r;
    if (record->sequence != last)
        return fail_edited(last, ei);
    now->sequence = last;
    now->time_ms = record->time_ms;
    now->event = (int)record->event_case;
    return MM_OK;
}

int mm_ledger_open(struct mm_store *s, struct mm_errinfo *ei)
{
    struct mm_ledger *ledger = &s->ledger;
    int64_t last = 0, devices = 0;
    int r;

    ledger->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    ledger->digest = EVP_MD_CTX_new();
    if (!ledger->sha256 || !ledger->digest)
        return mm_fail(ei, MM_ERR_INTERNAL, "LEDGER_DIGEST", "libcrypto has no SHA-256");
    r = mm_sql_get_int(s, "SELECT coalesce(max(sequence), 0) FROM ledger", &last, ei);
    if (r == MM_OK)
        r = mm_sql_get_int(s, "SELECT coalesce(max(row), 0) FROM devices", &devices, ei);
    if (r < 0)
        return r;
    ledger->now.devices = (uint64_t)devices;
    ledger->committed = ledger->now;
    if (last == 0)
        return begin_and_commit(s, ei);
    r = resume(s, (uint64_t)last, &ledger->damage);
    ledger->now.sequence = (uint64_t)last;
    ledger->committed = ledger->now;
    if (r < 0 && (r != MM_ERR_CORRUPT || strcmp(ledger->damage.reason, "STORE_CORRUPT") == 0)) {
        *ei = ledger->damage;
        return r;
    }
    return MM_OK;
}

void mm_ledger_close(struct mm_store *s)
{
    EVP_MD_CTX_free(s->ledger.digest);
    EVP_MD_free(s->ledger.sha256);
}
