/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the SQLite store: statements kept prepared, one run of a statement, the transactions. */
#pragma once

#include "daemon/base/buf.h"
#include "daemon/base/limits.h"
#include "daemon/store/guard.h"
#include "daemon/store/ledger.h"
#include "daemon/store/minted.h"
#include "daemon/store/store.h"
#include "daemon/store/tally.h"
#include "daemon/store/trusted.h"

#include <sqlite3.h>

/* Every statement of the store; their text is in sqlite_sql.c. */
enum mm_sql_id {
    MM_SQL_BEGIN,
    MM_SQL_COMMIT,
    MM_SQL_ROLLBACK,
    MM_SQL_SAVEPOINT,
    MM_SQL_RELEASE,
    MM_SQL_ROLLBACK_TO,
    MM_SQL_PROFILE_FIND,
    MM_SQL_PROFILE_ADD,
    MM_SQL_PROFILE_ADVANCE,
    MM_SQL_PROFILES,
    MM_SQL_PROFILE_COUNT,
    MM_SQL_ORDER_ADD,
    MM_SQL_ORDER_FIND,
    MM_SQL_ORDER_GET,
    MM_SQL_ORDER_DOCUMENT,
    MM_SQL_ORDER_SPEND,
    MM_SQL_ORDER_REFUND,
    MM_SQL_ORDER_CHANGE,
    MM_SQL_ORDER_CHANGED,
    MM_SQL_ORDERS_COUNT_LIVE,
    MM_SQL_ORDERS_READY,
    MM_SQL_ORDERS_PAGE,
    MM_SQL_BATCH_ADD,
    MM_SQL_BATCH_FIND,
    MM_SQL_BATCH_GET,
    MM_SQL_BATCH_ISSUE,
    MM_SQL_BATCH_REPORT,
    MM_SQL_BATCH_RELEASE,
    MM_SQL_BATCH_WAITING,
    MM_SQL_BATCH_OPENED,
    MM_SQL_BATCH_RELEASED,
    MM_SQL_BATCH_ACCOUNT,
    MM_SQL_BATCHES_COUNT_OPEN,
    MM_SQL_BATCHES_PAGE,
    MM_SQL_BATCHES_PAGE_OPEN,
    MM_SQL_REQUEST_FIND,
    MM_SQL_REQUEST_ADD,
    MM_SQL_REQUEST_RECORD,
    MM_SQL_REQUEST_SERIALS,
    MM_SQL_REQUEST_PROFILE,
    MM_SQL_REQUEST_BUNDLES,
    MM_SQL_REQUEST_SETTLED,
    MM_SQL_REQUEST_WITHHELD,
    MM_SQL_REQUEST_COUNT,
    MM_SQL_CHAIN_FIND,
    MM_SQL_CHAIN_ADD,
    MM_SQL_CHAIN_GET,
    MM_SQL_DEVICE_ADD,
    MM_SQL_DEVICE_FIND,
    MM_SQL_DEVICE_GET,
    MM_SQL_DEVICE_REPORT,
    MM_SQL_DEVICE_BY_HW_SERIAL,
    MM_SQL_DEVICE_CERTIFY,
    MM_SQL_DEVICE_FAIL,
    MM_SQL_ENROLMENT_ADD,
    MM_SQL_ENROLMENT_FIND,
    MM_SQL_ENROLMENT_WITHHELD,
    MM_SQL_ENROLMENT_KNOWN,
    MM_SQL_ENROLMENT_SETTLE,
    MM_SQL_ENROLMENT_CHANGE,
    MM_SQL_ENROLMENTS_DUE,
    MM_SQL_ENROLMENT_GIVE_OUT,
    MM_SQL_ENROLMENTS_NEXT,
    MM_SQL_ENROLMENTS_PAGE,
    MM_SQL_ENROLMENT_CERTIFICATE,
    MM_SQL_REVOCATION_ADD,
    MM_SQL_REVOCATION_KNOWN,
    MM_SQL_REVOCATIONS_DUE,
    MM_SQL_REVOCATION_GIVE_OUT,
    MM_SQL_REVOCATIONS_NEXT,
    MM_SQL_REVOCATION_END,
    MM_SQL_REVOCATION_REFUSED,
    MM_SQL_REVOCATION_AGAIN,
    MM_SQL_REVOCATIONS_OF,
    MM_SQL_REVOCATIONS_PAGE,
    MM_SQL_RECONCILE_PAGE,
    MM_SQL_RECONCILE_MATCH,
    MM_SQL_RECONCILE_DEVICE,
    MM_SQL_RECONCILE_REVOCATION,
    MM_SQL_DEVICE_DELETE_KEY,
    MM_SQL_DEVICE_KEY_NEXT,
    MM_SQL_BATCH_KEYS_DUE,
    MM_SQL_BATCH_KEYS_DONE,
    MM_SQL_KEY_FIND,
    MM_SQL_KEY_ADD,
    MM_SQL_MINTED_ALL,
    MM_SQL_MINTED_ROWS,
    MM_SQL_MINTED_NEXT,
    MM_SQL_MINTED_ADD,
    MM_SQL_FAILURE_COUNT,
    MM_SQL_FAILURES,
    MM_SQL_REPORT_HEAD,
    MM_SQL_REPORT_REQUEST,
    MM_SQL_REPORT_DEVICES,
    MM_SQL_REPORT_FAILURES,
    MM_SQL_REPORT_FIND,
    MM_SQL_MANIFEST_DEVICES,
    MM_SQL_REPORT_ADD,
    MM_SQL_DOCUMENT_ADD,
    MM_SQL_EXPORT_DEVICES,
    MM_SQL_EXPORT_ORDER,
    MM_SQL_EXPORT_REQUEST,
    MM_SQL_EXPORT_REPORT,
    MM_SQL_EXPORT_DOCUMENT,
    MM_SQL_EXPORT_CHECKPOINT,
    MM_SQL_EXPORT_CHECKPOINT_BEFORE,
    MM_SQL_NONCE_ADD,
    MM_SQL_NONCE_FIND,
    MM_SQL_NONCE_USE,
    MM_SQL_NONCES_COUNT,
    MM_SQL_LEDGER_APPEND,
    MM_SQL_LEDGER_PAGE,
    MM_SQL_LEDGER_ADOPT,
    MM_SQL_LEDGER_ORDERS,
    MM_SQL_LEDGER_DEVICES,
    MM_SQL_CHECKPOINT_ADD,
    MM_SQL_CHECKPOINT_SHORTEN,
    MM_SQL_CHECKPOINT_LAST,
    MM_SQL_CHECKPOINT_BASELINE,
    MM_SQL_COUNT,
};
extern const char *const mm_sql_text[MM_SQL_COUNT];

struct mm_store {
    sqlite3 *db;
    sqlite3_stmt *statements[MM_SQL_COUNT];
    bool corrupt;           /* damage has been met: nothing more is written */
    struct mm_errinfo lost; /* why SQLite undid the whole group under a verb; MM_OK if it did not */
    struct mm_ledger ledger;
    struct mm_store_site site;
    struct mm_store_trusted trusted; /* owns what site.oem and site.officers point to, if set */
    struct mm_guard guard;
    struct mm_audit_keys *audit_keys; /* all that were in force, the last one first */
    struct mm_minted *minted;
    /* As they were before the group that was begun last; the walk in it is not to be used. */
    struct mm_guard guard_before;
    struct mm_errinfo damage_before;
    bool clock_watched;
    int64_t clock_lead_ms;  /* of the wall clock on the monotonic one, when the watch began */
    struct mm_secret *seal; /* borrowed; NULL: no proofs */
    struct mm_tallies tallies;
};

/* SQLite's result code as our error. */
int mm_sql_fail(struct mm_store *s, int rc, struct mm_errinfo *ei);

/* Brings the schema of an open database to this program's version, or refuses it. */
int mm_sql_migrate(struct mm_store *s, struct mm_errinfo *ei) MM_MUST_USE;
/* Checks what can be checked in a time that the number of devices does not rule. */
int mm_sql_check(struct mm_store *s, struct mm_errinfo *ei) MM_MUST_USE;

/* Runs statements that give no rows. */
int mm_sql_exec(struct mm_store *s, const char *sql, struct mm_errinfo *ei) MM_MUST_USE;
/* The first column of the only row, as a number. */
int mm_sql_get_int(struct mm_store *s, const char *sql, int64_t *ret_value,
                   struct mm_errinfo *ei) MM_MUST_USE;

/*
 * One run of a statement. Parameters are bound in order; the first error sticks, and comes out of
 * the next mm_sql_step or mm_sql_end. What is bound is borrowed until mm_sql_done.
 */
struct mm_sql {
    struct mm_store *store;
    sqlite3_stmt *stmt;
    bool owned;     /* finalise it in the end: it is not one of the store's */
    int parameters; /* bound so far */
    int rc;         /* SQLITE_OK, or the first error */
};

struct mm_sql mm_sql_start(struct mm_store *s, enum mm_sql_id id);
struct mm_sql mm_sql_prepare(struct mm_store *s, const char *sql);
void mm_sql_done(struct mm_sql *q);
#define MM_SQL_CLEANUP MM_CLEANUP(mm_sql_done)

void mm_sql_bind_int(struct mm_sql *q, int64_t v);
/* Values above INT64_MAX are an error: no limit of ours allows them. */
void mm_sql_bind_uint(struct mm_sql *q, uint64_t v);
void mm_sql_bind_text(struct mm_sql *q, const char *text);
void mm_sql_bind_blob(struct mm_sql *q, const void *data, size_t len);
/* NULL for what is empty. */
void mm_sql_bind_text_or_null(struct mm_sql *q, const char *text);
void mm_sql_bind_blob_or_null(struct mm_sql *q, const void *data, size_t len);

/* 1: a row is there; 0: no more; or a negative error. */
int mm_sql_step(struct mm_sql *q, struct mm_errinfo *ei) MM_MUST_USE;
/* To the end; for statements whose rows, if any, do not matter. */
int mm_sql_run(struct mm_sql *q, struct mm_errinfo *ei) MM_MUST_USE;
/* Ready for another run, which keeps the first `kept` parameters and binds the rest anew. */
void mm_sql_again(struct mm_sql *q, int kept);
/* MM_OK, or the error that stuck. */
int mm_sql_end(struct mm_sql *q, struct mm_errinfo *ei) MM_MUST_USE;

int64_t mm_sql_int(struct mm_sql *q, int column);
uint64_t mm_sql_uint(struct mm_sql *q, int column);
bool mm_sql_is_null(struct mm_sql *q, int column);
/* Borrowed until the next step. */
struct mm_bytes mm_sql_blob(struct mm_sql *q, int column);
/* Heap copies for messages; an allocation failure sticks in q. */
char *mm_sql_dup_text(struct mm_sql *q, int column);
/* Into a buffer; a text that does not fit is damage, and sticks in q. */
void mm_sql_copy_text(struct mm_sql *q, int column, char *to, size_t size);
char *mm_sql_dup_uuid(struct mm_sql *q, int column);
ProtobufCBinaryData mm_sql_dup_blob(struct mm_sql *q, int column);

/* A writing verb's first and last act. finish takes the verb's result r: on success its changes
 * join the group, on failure they alone are undone. Returns r, or why that could not be done. */
int mm_sql_verb_begin(struct mm_store *s, struct mm_errinfo *ei) MM_MUST_USE;
int mm_sql_verb_finish(struct mm_store *s, int r, struct mm_errinfo *ei) MM_MUST_USE;
