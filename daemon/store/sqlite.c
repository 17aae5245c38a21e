/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/store/sqlite.h"

#include "daemon/base/text.h"

#include <string.h>

struct mapped {
    int rc;
    enum mm_err code;
    uint32_t retry_ms;
    const char *reason;
    const char *text;
};

static const struct mapped *map(int rc)
{
    static const struct mapped table[] = {
        {SQLITE_NOMEM, MM_ERR_MEMORY, 0, "OUT_OF_MEMORY", "out of memory"},
        {SQLITE_IOERR_NOMEM, MM_ERR_MEMORY, 0, "OUT_OF_MEMORY", "out of memory"},
        {SQLITE_FULL, MM_ERR_EXHAUSTED, 10000, "STORE_FULL", "no space left for the database"},
        {SQLITE_CORRUPT, MM_ERR_CORRUPT, 0, "STORE_CORRUPT", "the database is damaged"},
        {SQLITE_NOTADB, MM_ERR_UNSUPPORTED, 0, "STORE_FOREIGN", "not an SQLite database"},
        {SQLITE_BUSY, MM_ERR_UNAVAILABLE, 1000, "STORE_IN_USE",
         "another process has the database open"},
        {SQLITE_IOERR, MM_ERR_UNAVAILABLE, 1000, "STORE_IO", "database input or output failed"},
        {SQLITE_CANTOPEN, MM_ERR_UNAVAILABLE, 1000, "STORE_IO", "a database file cannot be opened"},
        {SQLITE_READONLY, MM_ERR_UNAVAILABLE, 1000, "STORE_IO", "the database cannot be written"},
        {SQLITE_PERM, MM_ERR_UNAVAILABLE, 1000, "STORE_IO", "no access to the database"},
        {SQLITE_TOOBIG, MM_ERR_TOO_BIG, 0, "STORE_VALUE_TOO_BIG", "a value is too big to store"},
    };
    static const struct mapped other = {0, MM_ERR_INTERNAL, 0, "STORE_ERROR", "the store failed"};

    /* Whole codes first: SQLITE_IOERR_NOMEM is an SQLITE_IOERR too. */
    for (size_t i = 0; i < MM_ARRAY_SIZE(table); i++) {
        if (table[i].rc == rc)
            return &table[i];
    }
    for (size_t i = 0; i < MM_ARRAY_SIZE(table); i++) {
        if (table[i].rc == (rc & 0xff))
            return &table[i];
    }
    return &other;
}

int mm_sql_fail(struct mm_store *s, int rc, struct mm_errinfo *ei)
{
    const struct mapped *m = map(rc);

    if (m->code == MM_ERR_CORRUPT)
        s->corrupt = true;
    mm_fail(ei, m->code, m->reason, "%s (%s)", m->text, sqlite3_errstr(rc));
    if (ei) {
        ei->detail = (uint64_t)rc;
        ei->retry_ms = m->retry_ms;
    }
    return m->code;
}

int mm_sql_exec(struct mm_store *s, const char *sql, struct mm_errinfo *ei)
{
    const int rc = sqlite3_exec(s->db, sql, NULL, NULL, NULL);

    return rc == SQLITE_OK ? MM_OK : mm_sql_fail(s, rc, ei);
}

int mm_sql_get_int(struct mm_store *s, const char *sql, int64_t *ret_value, struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_prepare(s, sql);
    const int r = mm_sql_step(&q, ei);

    if (r < 0)
        return r;
    if (r == 0)
        return mm_fail(ei, MM_ERR_INTERNAL, "STORE_ERROR", "no answer to: %s", sql);
    *ret_value = mm_sql_int(&q, 0);
    return MM_OK;
}

struct mm_sql mm_sql_start(struct mm_store *s, enum mm_sql_id id)
{
    return (struct mm_sql){.store = s, .stmt = s->statements[id]};
}

struct mm_sql mm_sql_prepare(struct mm_store *s, const char *sql)
{
    struct mm_sql q = {.store = s, .owned = true};

    q.rc = sqlite3_prepare_v2(s->db, sql, -1, &q.stmt, NULL);
    return q;
}

void mm_sql_done(struct mm_sql *q)
{
    if (q->owned) {
        sqlite3_finalize(q->stmt);
    } else if (q->stmt) {
        /* Its error, if any, has come out of step. No pointer of the caller's stays behind. */
        (void)sqlite3_reset(q->stmt);
        (void)sqlite3_clear_bindings(q->stmt);
    }
}

static void stick(struct mm_sql *q, int rc)
{
    if (q->rc == SQLITE_OK)
        q->rc = rc;
}

void mm_sql_bind_int(struct mm_sql *q, int64_t v)
{
    stick(q, sqlite3_bind_int64(q->stmt, ++q->parameters, v));
}

void mm_sql_bind_uint(struct mm_sql *q, uint64_t v)
{
    if (v > INT64_MAX)
        stick(q, SQLITE_TOOBIG);
    mm_sql_bind_int(q, (int64_t)v);
}

void mm_sql_bind_text(struct mm_sql *q, const char *text)
{
    stick(q, sqlite3_bind_text(q->stmt, ++q->parameters, text, -1, SQLITE_STATIC));
}

void mm_sql_bind_blob(struct mm_sql *q, const void *data, size_t len)
{
    stick(q, sqlite3_bind_blob64(q->stmt, ++q->parameters, data, len, SQLITE_STATIC));
}

static void bind_null(struct mm_sql *q)
{
    stick(q, sqlite3_bind_null(q->stmt, ++q->parameters));
}

void mm_sql_bind_text_or_null(struct mm_sql *q, const char *text)
{
    if (*text)
        mm_sql_bind_text(q, text);
    else
        bind_null(q);
}

void mm_sql_bind_blob_or_null(struct mm_sql *q, const void *data, size_t len)
{
    if (len)
        mm_sql_bind_blob(q, data, len);
    else
        bind_null(q);
}

int mm_sql_end(struct mm_sql *q, struct mm_errinfo *ei)
{
    return q->rc == SQLITE_OK ? MM_OK : mm_sql_fail(q->store, q->rc, ei);
}

int mm_sql_step(struct mm_sql *q, struct mm_errinfo *ei)
{
    int rc;

    if (q->rc != SQLITE_OK)
        return mm_sql_end(q, ei);
    rc = sqlite3_step(q->stmt);
    if (rc == SQLITE_ROW)
        return 1;
    if (rc == SQLITE_DONE)
        return 0;
    q->rc = rc;
    return mm_sql_end(q, ei);
}

int mm_sql_run(struct mm_sql *q, struct mm_errinfo *ei)
{
    int r;

    do
        r = mm_sql_step(q, ei);
    while (r > 0);
    return r;
}

void mm_sql_again(struct mm_sql *q, int kept)
{
    stick(q, sqlite3_reset(q->stmt));
    q->parameters = kept;
}

int64_t mm_sql_int(struct mm_sql *q, int column)
{
    return sqlite3_column_int64(q->stmt, column);
}

uint64_t mm_sql_uint(struct mm_sql *q, int column)
{
    const int64_t v = mm_sql_int(q, column);

    /* The CHECKs allow no negative number in these columns. */
    if (v < 0)
        stick(q, SQLITE_CORRUPT);
    return (uint64_t)v;
}

bool mm_sql_is_null(struct mm_sql *q, int column)
{
    return sqlite3_column_type(q->stmt, column) == SQLITE_NULL;
}

/* SQLite gives NULL for an empty value, and when it is out of memory. */
struct mm_bytes mm_sql_blob(struct mm_sql *q, int column)
{
    const void *data = sqlite3_column_blob(q->stmt, column);
    const int len = sqlite3_column_bytes(q->stmt, column);

    if (!data && sqlite3_errcode(q->store->db) == SQLITE_NOMEM)
        stick(q, SQLITE_NOMEM);
    return (struct mm_bytes){data, data ? (size_t)len : 0};
}

static void *dup_bytes(struct mm_sql *q, const void *data, size_t len)
{
    char *copy = malloc(len + 1);

    if (!copy) {
        stick(q, SQLITE_NOMEM);
        return NULL;
    }
    if (len)
        memcpy(copy, data, len);
    copy[len] = 0;
    return copy;
}

/* A text is stored and read as UTF-8, so its blob is its bytes. */
char *mm_sql_dup_text(struct mm_sql *q, int column)
{
    const struct mm_bytes text = mm_sql_blob(q, column);

    return dup_bytes(q, text.data, text.len);
}

void mm_sql_copy_text(struct mm_sql *q, int column, char *to, size_t size)
{
    const struct mm_bytes text = mm_sql_blob(q, column);

    if (text.len >= size) {
        stick(q, SQLITE_CORRUPT);
        return;
    }
    if (text.len)
        memcpy(to, text.data, text.len);
    to[text.len] = 0;
}

ProtobufCBinaryData mm_sql_dup_blob(struct mm_sql *q, int column)
{
    const struct mm_bytes blob = mm_sql_blob(q, column);
    uint8_t *copy = dup_bytes(q, blob.data, blob.len);

    return (ProtobufCBinaryData){.len = copy ? blob.len : 0, .data = copy};
}

char *mm_sql_dup_uuid(struct mm_sql *q, int column)
{
    const struct mm_bytes uuid = mm_sql_blob(q, column);
    char text[MM_UID_LEN + 1];

    if (uuid.len != 16) {
        stick(q, SQLITE_CORRUPT);
        return NULL;
    }
    mm_uuid_format(uuid.data, text);
    return dup_bytes(q, text, MM_UID_LEN);
}
