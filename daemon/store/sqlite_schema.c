/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The schema, version by version, and the checks of a database that is opened. Reasons for its
 * shape: docs/adr/0007-sqlite-schema.md; the settings: 0010.
 */
#include "daemon/store/sqlite.h"

#include <stdlib.h>
#include <string.h>

/* "MMst": who made the file (PRAGMA application_id). */
enum { APPLICATION_ID = 0x4d4d7374 };

/*
 * Rows are never deleted, so rows of devices are numbered from 1 without gaps: max(row) is their
 * count, which the check at start compares with the counters.
 *
 * The counters stand in the rows of orders, batches and requests, and change in the transaction
 * that changes what they count; the CHECKs are a second wall behind the conditions of the UPDATEs.
 * (None says "IN (1, 2, 3)": SQLite would build a temporary table for it, for each row.)
 * uid is a UUID version 7: its index grows at its end.
 */
static const char version_1[] =
    "CREATE TABLE profiles ("
    " row INTEGER PRIMARY KEY,"
    " name TEXT NOT NULL UNIQUE,"
    " next_number INTEGER NOT NULL DEFAULT 1 CHECK (next_number >= 1)"
    ") STRICT;"

    "CREATE TABLE orders ("
    " row INTEGER PRIMARY KEY,"
    " order_id TEXT NOT NULL UNIQUE,"
    " profile INTEGER NOT NULL REFERENCES profiles (row),"
    " quantity INTEGER NOT NULL CHECK (quantity >= 1),"
    " used INTEGER NOT NULL DEFAULT 0 CHECK (used BETWEEN 0 AND quantity),"
    " not_before_ms INTEGER NOT NULL,"
    " not_after_ms INTEGER NOT NULL CHECK (not_after_ms > not_before_ms),"
    " added_ms INTEGER NOT NULL,"
    " added_by TEXT NOT NULL"
    ") STRICT;"

    /* state: mintmark.v1.BatchState. */
    "CREATE TABLE batches ("
    " row INTEGER PRIMARY KEY,"
    " uid BLOB NOT NULL UNIQUE CHECK (length(uid) = 16),"
    " name TEXT NOT NULL,"
    " device_type TEXT NOT NULL,"
    " quantity INTEGER NOT NULL CHECK (quantity >= 1),"
    " heads INTEGER NOT NULL CHECK (heads >= 1),"
    " order_row INTEGER NOT NULL REFERENCES orders (row),"
    " state INTEGER NOT NULL DEFAULT 1 CHECK (state BETWEEN 1 AND 2),"
    " station TEXT NOT NULL,"
    " opened_ms INTEGER NOT NULL,"
    " released_ms INTEGER NOT NULL DEFAULT 0,"
    " first_issued_ms INTEGER NOT NULL DEFAULT 0,"
    " last_issued_ms INTEGER NOT NULL DEFAULT 0,"
    " issued INTEGER NOT NULL DEFAULT 0 CHECK (issued BETWEEN 0 AND quantity),"
    " ok INTEGER NOT NULL DEFAULT 0 CHECK (ok >= 0),"
    " ko INTEGER NOT NULL DEFAULT 0 CHECK (ko >= 0),"
    " CHECK (ok + ko <= issued)"
    ") STRICT;"
    "CREATE INDEX batches_open ON batches (row) WHERE state = 1;"

    /* KO devices by reason, so that a release need not read the batch's devices. */
    "CREATE TABLE failures ("
    " batch INTEGER NOT NULL REFERENCES batches (row),"
    " reason TEXT NOT NULL,"
    " devices INTEGER NOT NULL CHECK (devices >= 1),"
    " PRIMARY KEY (batch, reason)"
    ") STRICT, WITHOUT ROWID;"

    "CREATE TABLE requests ("
    " row INTEGER PRIMARY KEY,"
    " station TEXT NOT NULL,"
    " request_id TEXT NOT NULL,"
    " batch INTEGER NOT NULL REFERENCES batches (row),"
    " digest BLOB NOT NULL CHECK (length(digest) = 32),"
    " count INTEGER NOT NULL CHECK (count >= 1),"
    " recorded INTEGER NOT NULL DEFAULT 0 CHECK (recorded BETWEEN 0 AND count),"
    " UNIQUE (request_id, station)"
    ") STRICT;"

    /* state: mintmark.v1.DeviceState; 3 is KO, whose hardware serial number may come again. */
    "CREATE TABLE devices ("
    " row INTEGER PRIMARY KEY,"
    " request INTEGER NOT NULL REFERENCES requests (row),"
    " profile INTEGER NOT NULL REFERENCES profiles (row),"
    " uid BLOB NOT NULL UNIQUE CHECK (length(uid) = 16),"
    " state INTEGER NOT NULL DEFAULT 1 CHECK (state BETWEEN 1 AND 3),"
    " number INTEGER NOT NULL CHECK (number >= 1),"
    " hw_serial TEXT,"
    " reported_ms INTEGER,"
    " reason TEXT,"
    " spki_sha256 BLOB NOT NULL CHECK (length(spki_sha256) = 32),"
    " serial BLOB,"
    " bundle BLOB NOT NULL"
    ") STRICT;"
    "CREATE INDEX devices_request ON devices (request);"
    "CREATE UNIQUE INDEX devices_hw_serial ON devices (profile, hw_serial)"
    " WHERE hw_serial IS NOT NULL AND state <> 3;";

static const char version_2[] =
    /* record: the bytes of a mintmark.v1.LedgerRecord; its hash is in the next one. */
    "CREATE TABLE ledger ("
    " sequence INTEGER PRIMARY KEY CHECK (sequence >= 1),"
    " record BLOB NOT NULL"
    ") STRICT;"

    /* document: a signed mintmark.v1.Checkpoint. orders: the mintmark.v1.OrderTotals that it binds;
     * long ones are kept for the last one and the baselines only, others are left empty. */
    "CREATE TABLE checkpoints ("
    " sequence INTEGER PRIMARY KEY CHECK (sequence >= 1),"
    " baseline INTEGER NOT NULL CHECK (baseline BETWEEN 0 AND 1),"
    " document BLOB NOT NULL,"
    " orders BLOB NOT NULL"
    ") STRICT;"

    /* Keys that devices made themselves: each is enrolled once, whatever the profile. */
    "CREATE TABLE enrolled_keys ("
    " spki_sha256 BLOB NOT NULL PRIMARY KEY CHECK (length(spki_sha256) = 32),"
    " device INTEGER NOT NULL REFERENCES devices (row)"
    ") STRICT, WITHOUT ROWID;"

    /* An order's terms as they were signed, lowered where officers did that; 0: no limit. hold:
     * enum mm_order_hold. day: since 1970, UTC. stations: ",a,b,", or "" for all. document: CMS. */
    "ALTER TABLE orders ADD COLUMN hold INTEGER NOT NULL DEFAULT 1 CHECK (hold BETWEEN 1 AND 4);"
    "ALTER TABLE orders ADD COLUMN refunded INTEGER NOT NULL DEFAULT 0 CHECK (refunded >= 0);"
    "ALTER TABLE orders ADD COLUMN per_batch_max INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE orders ADD COLUMN per_day_max INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE orders ADD COLUMN day INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE orders ADD COLUMN day_used INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE orders ADD COLUMN unreported_max INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE orders ADD COLUMN reported INTEGER NOT NULL DEFAULT 0"
    " CHECK (reported BETWEEN 0 AND used + refunded);"
    "ALTER TABLE orders ADD COLUMN reported_ms INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE orders ADD COLUMN report_hours INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE orders ADD COLUMN replacements_max INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE orders ADD COLUMN stations TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE orders ADD COLUMN oem TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE orders ADD COLUMN product TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE orders ADD COLUMN signer TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE orders ADD COLUMN document BLOB;"
    "ALTER TABLE orders ADD COLUMN changed_ms INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE orders ADD COLUMN changed_by TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE orders ADD COLUMN change_reason TEXT NOT NULL DEFAULT '';"

    /* Those that the token made for requests; each is good for one order. */
    "CREATE TABLE nonces ("
    " nonce BLOB PRIMARY KEY CHECK (length(nonce) = 16),"
    " made_ms INTEGER NOT NULL,"
    " made_by TEXT NOT NULL,"
    " document BLOB NOT NULL,"
    " order_row INTEGER REFERENCES orders (row)"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX nonces_outstanding ON nonces (made_ms) WHERE order_row IS NULL;"

    /* A batch's place in the ledger, 0 when it is older than that; and its units given back. */
    "ALTER TABLE batches ADD COLUMN opened_sequence INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE batches ADD COLUMN released_sequence INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE batches ADD COLUMN refunded INTEGER NOT NULL DEFAULT 0"
    " CHECK (refunded BETWEEN 0 AND ko);"
    "CREATE INDEX requests_batch ON requests (batch);"

    /* Revocations and receipts as they came, by the record that says so. */
    "CREATE TABLE documents ("
    " sequence INTEGER PRIMARY KEY CHECK (sequence >= 1),"
    " document BLOB NOT NULL"
    ") STRICT;"

    /* Signed reports on released batches. document: detached CMS over the report, which the other
     * tables say. */
    "CREATE TABLE reports ("
    " batch INTEGER PRIMARY KEY REFERENCES batches (row),"
    " sha256 BLOB NOT NULL CHECK (length(sha256) = 32),"
    " size INTEGER NOT NULL CHECK (size >= 1),"
    " document BLOB NOT NULL"
    ") STRICT;";

static const char version_3[] =
    /* Devices that were recorded with a request in place of a certificate. state:
     * mintmark.v1.CertificateState; only what is 2, issued, may be delivered. settled: the place
     * among those of its request that have come to an end, from 1. issuer: DER of the name. */
    "CREATE TABLE enrolments ("
    " device INTEGER PRIMARY KEY REFERENCES devices (row),"
    " profile INTEGER NOT NULL REFERENCES profiles (row),"
    " request INTEGER NOT NULL REFERENCES requests (row),"
    " state INTEGER NOT NULL DEFAULT 1 CHECK (state BETWEEN 1 AND 4),"
    " begun INTEGER NOT NULL CHECK (begun BETWEEN 0 AND 1),"
    " attempts INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0),"
    " next_ms INTEGER NOT NULL,"
    " username TEXT NOT NULL,"
    " settled INTEGER CHECK (settled >= 1),"
    " issuer BLOB,"
    " serial BLOB,"
    " text TEXT NOT NULL DEFAULT '',"
    " CHECK ((state = 2) = (serial IS NOT NULL AND issuer IS NOT NULL)),"
    " CHECK ((settled IS NOT NULL) = (state BETWEEN 2 AND 3))"
    ") STRICT;"
    "CREATE INDEX enrolments_waiting ON enrolments (profile, next_ms, device) WHERE state = 1;"
    "CREATE INDEX enrolments_withheld ON enrolments (state, device) WHERE state <> 2;"
    "CREATE UNIQUE INDEX enrolments_request ON enrolments (request, settled)"
    " WHERE settled IS NOT NULL;"
    "CREATE INDEX enrolments_open ON enrolments (request, device) WHERE settled IS NULL;"
    "CREATE UNIQUE INDEX enrolments_certificate ON enrolments (serial, issuer)"
    " WHERE serial IS NOT NULL;"

    "ALTER TABLE requests ADD COLUMN waiting INTEGER NOT NULL DEFAULT 0 CHECK (waiting >= 0);"
    "ALTER TABLE requests ADD COLUMN parked INTEGER NOT NULL DEFAULT 0 CHECK (parked >= 0);"
    "ALTER TABLE profiles ADD COLUMN waiting INTEGER NOT NULL DEFAULT 0 CHECK (waiting >= 0);"
    "ALTER TABLE profiles ADD COLUMN parked INTEGER NOT NULL DEFAULT 0 CHECK (parked >= 0);"
    "ALTER TABLE profiles ADD COLUMN certified INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE profiles ADD COLUMN failed INTEGER NOT NULL DEFAULT 0;"

    /* What the authority is to be told. own: the certificate is its device's, which has no other.
     */
    "CREATE TABLE revocations ("
    " row INTEGER PRIMARY KEY,"
    " device INTEGER NOT NULL REFERENCES devices (row),"
    " profile INTEGER NOT NULL REFERENCES profiles (row),"
    " issuer BLOB NOT NULL,"
    " serial BLOB NOT NULL,"
    " reason INTEGER NOT NULL CHECK (reason BETWEEN 0 AND 10),"
    " by TEXT NOT NULL,"
    " made_ms INTEGER NOT NULL,"
    " next_ms INTEGER NOT NULL,"
    " attempts INTEGER NOT NULL DEFAULT 0,"
    " done_ms INTEGER,"
    " text TEXT NOT NULL DEFAULT '',"
    " UNIQUE (serial, issuer)"
    ") STRICT;"
    "CREATE INDEX revocations_pending ON revocations (next_ms, row) WHERE done_ms IS NULL;";

static const char version_4[] =
    /* 1: the bundle had a private key, which was deleted. */
    "ALTER TABLE devices ADD COLUMN key_deleted INTEGER NOT NULL DEFAULT 0"
    " CHECK (key_deleted BETWEEN 0 AND 1);"

    /* How far the keys of a released batch are deleted: after which device of which request; and 1
     * when all are. */
    "ALTER TABLE batches ADD COLUMN keys_request INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE batches ADD COLUMN keys_row INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE batches ADD COLUMN keys_deleted INTEGER NOT NULL DEFAULT 0"
    " CHECK (keys_deleted BETWEEN 0 AND 1);"
    "CREATE INDEX batches_keys ON batches (released_ms) WHERE state = 2 AND keys_deleted = 0;";

static const char version_5[] =
    /* The device of a certificate that an authority has. */
    "CREATE INDEX enrolments_username ON enrolments (username, device);";

static const char version_6[] =
    /* 1: the authority will not revoke it; it waits for an officer. */
    "ALTER TABLE revocations ADD COLUMN refused INTEGER NOT NULL DEFAULT 0"
    " CHECK (refused IN (0, 1));"
    "DROP INDEX revocations_pending;"
    "CREATE INDEX revocations_pending ON revocations (next_ms, row)"
    " WHERE done_ms IS NULL AND refused = 0;"
    "CREATE INDEX revocations_refused ON revocations (device)"
    " WHERE done_ms IS NULL AND refused = 1;";

static const char version_7[] =
    /* Keys that tokens made: the first 8 bytes of spki_sha256 of devices recorded together. */
    "CREATE TABLE key_log ("
    " row INTEGER PRIMARY KEY,"
    " keys BLOB NOT NULL CHECK (length(keys) % 8 = 0)"
    ") STRICT;";

static const char version_8[] =
    /* What certificates were issued under, each once: a mintmark.internal.Chain. NULL for devices
     * that were recorded before this, and for those without a certificate: docs/adr/0028. */
    "CREATE TABLE chains ("
    " row INTEGER PRIMARY KEY,"
    " sha256 BLOB NOT NULL UNIQUE CHECK (length(sha256) = 32),"
    " certificates BLOB NOT NULL CHECK (length(certificates) > 0)"
    ") STRICT;"
    "ALTER TABLE devices ADD COLUMN chain INTEGER REFERENCES chains (row);";

/* migrations[v] brings a database of version v to v + 1. */
static const char *const migrations[] = {version_1, version_2, version_3, version_4,
                                         version_5, version_6, version_7, version_8};
enum { VERSION = MM_ARRAY_SIZE(migrations) };

static int read_identity(struct mm_store *s, int64_t *ret_version, bool *ret_ours, bool *ret_empty,
                         struct mm_errinfo *ei)
{
    int64_t id, version, objects;
    int r = mm_sql_get_int(s, "PRAGMA application_id", &id, ei);

    if (r == MM_OK)
        r = mm_sql_get_int(s, "PRAGMA user_version", &version, ei);
    if (r == MM_OK)
        r = mm_sql_get_int(s, "SELECT count(*) FROM sqlite_schema", &objects, ei);
    if (r < 0)
        return r;
    *ret_version = version;
    *ret_ours = id == APPLICATION_ID;
    *ret_empty = id == 0 && version == 0 && objects == 0;
    return MM_OK;
}

static int migrate_from(struct mm_store *s, int64_t version, struct mm_errinfo *ei)
{
    char identity[80];
    int r = mm_sql_exec(s, "BEGIN IMMEDIATE", ei);

    for (; r == MM_OK && version < VERSION; version++)
        r = mm_sql_exec(s, migrations[version], ei);
    sqlite3_snprintf(sizeof(identity), identity,
                     "PRAGMA application_id = %d; PRAGMA user_version = %d", APPLICATION_ID,
                     VERSION);
    if (r == MM_OK)
        r = mm_sql_exec(s, identity, ei);
    if (r == MM_OK)
        r = mm_sql_exec(s, "COMMIT", ei);
    return r;
}

int mm_sql_migrate(struct mm_store *s, struct mm_errinfo *ei)
{
    int64_t version;
    bool ours, empty;
    int r = read_identity(s, &version, &ours, &empty, ei);

    if (r < 0)
        return r;
    if (!ours && !empty)
        return mm_fail(ei, MM_ERR_UNSUPPORTED, "STORE_FOREIGN", "is another program's database");
    if (version > VERSION)
        return mm_fail(ei, MM_ERR_UNSUPPORTED, "STORE_TOO_NEW",
                       "database is of version %lld, this program knows %d", (long long)version,
                       VERSION);
    if (version < 0 || (ours && version == 0))
        return mm_fail(ei, MM_ERR_CORRUPT, "STORE_CORRUPT", "schema version %lld cannot be",
                       (long long)version);
    /* Only now, so that what is refused is left as it was. Once set it stays in the file. */
    if (empty)
        r = mm_sql_exec(s, "PRAGMA page_size = 4096", ei);
    if (r == MM_OK)
        r = mm_sql_exec(s, "PRAGMA journal_mode = WAL", ei);
    if (r == MM_OK && version < VERSION)
        r = migrate_from(s, version, ei);
    return r;
}

/* quick_check finds fault in words, also when it is the disk that failed: then with the code. */
static int fail_check(struct mm_store *s, const char *table, const char *said,
                      struct mm_errinfo *ei)
{
    static const char mark[] = "error code=";
    const char *code = strstr(said, mark);

    if (code)
        return mm_sql_fail(s, (int)strtol(code + strlen(mark), NULL, 10), ei);
    return mm_fail(ei, MM_ERR_CORRUPT, "STORE_CORRUPT", "table %s: %s", table, said);
}

/* One quick_check of a table and its indexes; "ok" is all that a sound one says. */
static int check_table(struct mm_store *s, const char *table, struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = {0};
    char sql[64];
    const char *said;
    int r;

    sqlite3_snprintf(sizeof(sql), sql, "PRAGMA quick_check('%s')", table);
    q = mm_sql_prepare(s, sql);
    r = mm_sql_step(&q, ei);
    if (r < 0)
        return r;
    said = r ? (const char *)sqlite3_column_text(q.stmt, 0) : NULL;
    if (!said)
        return mm_fail_memory(ei);
    return strcmp(said, "ok") == 0 ? MM_OK : fail_check(s, table, said, ei);
}

int mm_sql_check(struct mm_store *s, struct mm_errinfo *ei)
{
    /* Each counts what does not add up. The devices themselves may be millions: their number
     * comes from the end of the table. */
    static const struct {
        const char *sql;
        const char *text;
    } sums[] = {
        {"SELECT count(*) FROM orders o LEFT JOIN"
         " (SELECT order_row, sum(issued) AS issued FROM batches GROUP BY order_row) b"
         " ON b.order_row = o.row WHERE o.used + o.refunded <> coalesce(b.issued, 0)",
         "units spent of an order are not those of its batches"},
        {"SELECT (SELECT coalesce(sum(used + refunded), 0) FROM orders) <>"
         " (SELECT coalesce(max(row), 0) FROM devices)",
         "units spent are not the devices recorded"},
        {"SELECT (SELECT coalesce(sum(waiting), 0) FROM profiles) <>"
         " (SELECT count(*) FROM enrolments WHERE state = 1)",
         "the devices that wait for certificates are not those that were counted"},
    };
    static const char *const tables[] = {"profiles", "orders", "batches", "chains"};
    int64_t wrong;
    int r = MM_OK;

    for (size_t i = 0; r == MM_OK && i < MM_ARRAY_SIZE(tables); i++)
        r = check_table(s, tables[i], ei);
    for (size_t i = 0; r == MM_OK && i < MM_ARRAY_SIZE(sums); i++) {
        r = mm_sql_get_int(s, sums[i].sql, &wrong, ei);
        if (r == MM_OK && wrong)
            r = mm_fail(ei, MM_ERR_CORRUPT, "STORE_CORRUPT", "%s", sums[i].text);
    }
    return r;
}
