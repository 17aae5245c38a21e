/* SPDX-License-Identifier: Apache-2.0 */
/* Transactions: the group is one, and each verb in it a savepoint. */
#include "daemon/store/sqlite.h"

static int run(struct mm_store *s, enum mm_sql_id id, struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, id);

    return mm_sql_run(&q, ei);
}

static bool in_transaction(const struct mm_store *s)
{
    return sqlite3_get_autocommit(s->db) == 0;
}

int mm_store_begin(struct mm_store *s, struct mm_errinfo *ei)
{
    /* What was recorded can still be read out; nothing is built on damaged ground. */
    if (s->corrupt)
        return mm_fail(ei, MM_ERR_CORRUPT, "STORE_CORRUPT",
                       "the database is damaged; nothing more is written to it");
    s->lost = (struct mm_errinfo){0};
    s->ledger.now = s->ledger.committed;
    s->guard_before = s->guard;
    s->damage_before = s->ledger.damage;
    return run(s, MM_SQL_BEGIN, ei);
}

/* No transaction is open: SQLite undid it under a verb, or the caller began none. */
static int no_group(struct mm_store *s, struct mm_errinfo *ei)
{
    if (s->lost.code == MM_OK)
        return mm_fail(ei, MM_ERR_INTERNAL, "STORE_ERROR", "no group of verbs is open");
    *ei = s->lost;
    return s->lost.code;
}

/* model: COMMIT, SYNC */
int mm_store_commit(struct mm_store *s, struct mm_errinfo *ei)
{
    int r = in_transaction(s) ? run(s, MM_SQL_COMMIT, ei) : no_group(s, ei);

    /* A COMMIT that failed may leave the transaction open. Nothing of it is durable: the WAL has no
     * commit frame that SQLite counts, and the next group writes over it. */
    if (r < 0 && in_transaction(s))
        (void)run(s, MM_SQL_ROLLBACK, NULL);
    if (r == MM_OK) {
        s->ledger.committed = s->ledger.now;
    } else {
        /* Jobs that only read may ask before the next group begins. */
        s->ledger.now = s->ledger.committed;
        mm_guard_undo(s);
    }
    return r;
}

/* It cannot be known what stands of the group: undoes it. *why is what its commit will say. */
static void lose_group(struct mm_store *s, const struct mm_errinfo *why)
{
    s->lost = *why;
    if (in_transaction(s))
        (void)run(s, MM_SQL_ROLLBACK, NULL);
}

int mm_sql_verb_begin(struct mm_store *s, struct mm_errinfo *ei)
{
    int r;

    /* Outside a transaction a savepoint would be one of its own, and commit by itself. */
    if (!in_transaction(s))
        return no_group(s, ei);
    s->ledger.verb = s->ledger.now;
    r = run(s, MM_SQL_SAVEPOINT, ei);
    if (r < 0)
        lose_group(s, ei);
    return r;
}

int mm_sql_verb_finish(struct mm_store *s, int r, struct mm_errinfo *ei)
{
    struct mm_errinfo why = {0};

    if (r < 0)
        s->ledger.now = s->ledger.verb;
    if (r == MM_OK) {
        r = run(s, MM_SQL_RELEASE, ei);
        if (r < 0)
            lose_group(s, ei);
    } else if (!in_transaction(s)) {
        /* SQLite itself undoes everything on some errors, such as a full disk. */
        lose_group(s, ei);
    } else if (run(s, MM_SQL_ROLLBACK_TO, &why) < 0 || run(s, MM_SQL_RELEASE, &why) < 0) {
        lose_group(s, &why);
    }
    return r;
}
