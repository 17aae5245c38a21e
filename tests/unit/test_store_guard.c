/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guard of the ledger, with a token that is a few bytes: each way in which database, anchor,
 * checkpoints and clock can contradict each other locks the store with its reason; an unlock lets
 * it go on.
 */
#include "tests/unit/guard_support.h"

/* ---- tests ------------------------------------------------------------------------------- */

START_TEST(a_new_database_and_a_token_without_anchor_begin)
{
    open_guarded();
    ck_assert_uint_eq(guard_now()->epoch, 1);
    anchor(false, false);
    ck_assert_int_eq(guard_now()->state, OPEN);
    ck_assert_uint_gt(token.len, 0);
    ck_assert_int_eq(fixture_int(&f, "SELECT count(*) FROM checkpoints"), 1);
    fixture_populate(&f, 1000);
    ck_assert_int_eq(spend("r1", 1, 5), MM_OK);
    ck_assert_uint_eq(f.results[0]->recorded->unanchored, 5);
    stop();
    start();
    fixture_check_invariants(&f);
}
END_TEST

START_TEST(nothing_is_done_before_the_check)
{
    static struct spend_job j;
    struct small_job small;

    fixture_populate(&f, 100);
    turn_on();
    make_spend(&j, 1, "r1", 10, 1, 1);
    fixture_refused(&f, &j.job, MM_ERR_UNAVAILABLE, "LEDGER_UNVERIFIED");
    make_find(&small, "r1");
    fixture_refused(&f, &small.job, MM_ERR_UNAVAILABLE, "LEDGER_UNVERIFIED");
    make_get_batch(&small, 1);
    ck_assert_int_eq(fixture_do(&f, &small.job), MM_OK);
    /* Nor between the check and the first anchor. */
    ck_assert_int_eq(check_anchor(), MM_OK);
    fixture_refused(&f, &j.job, MM_ERR_UNAVAILABLE, "LEDGER_UNVERIFIED");
    anchor(false, false);
    ck_assert_int_eq(fixture_do(&f, &j.job), MM_OK);
}
END_TEST

START_TEST(nothing_is_done_after_the_last_anchor)
{
    static struct spend_job j;

    start();
    fixture_populate(&f, 100);
    anchor(true, false);
    make_spend(&j, 1, "r1", 10, 1, 1);
    fixture_refused(&f, &j.job, MM_ERR_UNAVAILABLE, "LEDGER_CLOSED");
}
END_TEST

START_TEST(no_more_than_k_devices_beyond_the_anchor)
{
    static struct spend_job j;

    start();
    fixture_populate(&f, 100);
    ck_assert_int_eq(spend("r1", 1, K - 1), MM_OK);
    make_spend(&j, 1, "r2", 10, K + 10, 2);
    fixture_refused(&f, &j.job, MM_ERR_UNAVAILABLE, "LEDGER_NOT_ANCHORED");
    ck_assert_int_eq(spend("r3", K, 1), MM_OK);
    ck_assert_int_eq(spend("r4", K + 1, 1), MM_ERR_UNAVAILABLE);
    anchor(false, false);
    ck_assert_int_eq(fixture_do(&f, &j.job), MM_OK);
}
END_TEST

START_TEST(an_older_database_locks)
{
    struct copy c = COPY_INIT;

    start();
    fixture_populate(&f, 100);
    copy_take(&c);
    ck_assert_int_eq(spend("r1", 1, 5), MM_OK);
    anchor(false, false);
    copy_put(&c);
    starts_locked("LEDGER_ROLLED_BACK");
    ck_assert_int_eq(spend("r1", 1, 5), MM_ERR_UNAVAILABLE);
    ck_assert_str_eq(fixture_reason(&f, 0), "LEDGER_LOCKED");
    copy_done(&c);
}
END_TEST

START_TEST(a_new_database_beside_an_old_anchor_locks)
{
    char path[128];

    start();
    fixture_close(&f);
    unlink(f.path);
    snprintf(path, sizeof(path), "%s-wal", f.path);
    unlink(path);
    starts_locked("LEDGER_ROLLED_BACK");
}
END_TEST

START_TEST(a_database_of_another_life_locks)
{
    struct copy c = COPY_INIT;

    start();
    fixture_populate(&f, 100);
    copy_take(&c);
    ck_assert_int_eq(spend("r1", 1, 5), MM_OK);
    anchor(false, false);
    copy_put(&c);
    /* Grown on from the copy, past the anchor. */
    fixture_open(&f);
    ck_assert_int_eq(spend("r2", 50, 2), MM_OK);
    ck_assert_int_eq(spend("r3", 60, 2), MM_OK);
    fixture_close(&f);
    starts_locked("LEDGER_FORKED");
    copy_done(&c);
}
END_TEST

START_TEST(another_ledgers_anchor_locks)
{
    start();
    token.anchor[2] ^= 1; /* within the ledger's id */
    fixture_close(&f);
    starts_locked("LEDGER_FOREIGN");
}
END_TEST

START_TEST(an_anchor_that_is_gone_or_none_locks)
{
    const size_t len = token.len;

    start();
    fixture_close(&f);
    token.len = 0;
    starts_locked("ANCHOR_MISSING");
    fixture_close(&f);
    token.len = len + 5;
    memset(token.anchor, 0xff, token.len);
    starts_locked("ANCHOR_BAD");
}
END_TEST

START_TEST(a_clock_that_went_back_locks)
{
    static struct spend_job j;

    now_ms = T0 + 900000;
    start();
    fixture_populate(&f, 100);
    /* While it works: until it is right again. */
    now_ms = T0 + 100;
    make_spend(&j, 1, "r1", 10, 1, 1);
    fixture_refused(&f, &j.job, MM_ERR_UNAVAILABLE, "CLOCK_WENT_BACK");
    now_ms = T0 + 800000;
    ck_assert_int_eq(fixture_do(&f, &j.job), MM_OK);
    now_ms = T0 + 900000;
    stop();
    now_ms = T0 + 100;
    starts_locked("CLOCK_WENT_BACK");
}
END_TEST

START_TEST(a_clock_that_leaps_ahead_stops_recording_until_it_is_right)
{
    Mintmark__Internal__VerifyLedger body = MINTMARK__INTERNAL__VERIFY_LEDGER__INIT;
    Mintmark__Internal__StoreJob verify;
    static struct spend_job j;
    struct small_job small;

    init(&verify, MINTMARK__INTERNAL__STORE_JOB__JOB_VERIFY_LEDGER);
    verify.verify_ledger = &body;
    start();
    fixture_populate(&f, 100);
    mm_store_watch_clock(f.store);
    now_ms += 3600000;
    ck_assert_int_eq(fixture_do(&f, &verify), MM_OK);
    now_ms += 2000;
    fixture_refused(&f, &verify, MM_ERR_UNAVAILABLE, "CLOCK_LEAPT");
    make_spend(&j, 1, "r1", 10, 1, 1);
    fixture_refused(&f, &j.job, MM_ERR_UNAVAILABLE, "CLOCK_LEAPT");
    make_get_batch(&small, 1);
    ck_assert_int_eq(fixture_do(&f, &small.job), MM_OK);
    anchor(false, true);
    now_ms = T0 + 1000;
    ck_assert_int_eq(fixture_do(&f, &j.job), MM_OK);
    /* If it is right, a new start believes it. */
    now_ms += 7200000;
    fixture_refused(&f, &verify, MM_ERR_UNAVAILABLE, "CLOCK_LEAPT");
    stop();
    fixture_open(&f);
    mm_store_watch_clock(f.store);
    start();
    ck_assert_int_eq(fixture_do(&f, &verify), MM_OK);
}
END_TEST

START_TEST(an_edit_locks_at_the_start)
{
    static const struct {
        const char *sql;
        const char *reason;
    } edits[] = {
        {"UPDATE ledger SET record = CAST(record || x'f80701' AS BLOB) WHERE sequence ="
         " (SELECT max(sequence) - 2 FROM ledger)",
         "LEDGER_EDITED"},
        {"UPDATE ledger SET record = x'01' WHERE sequence = (SELECT max(sequence) FROM ledger)",
         "LEDGER_EDITED"},
        {"DELETE FROM ledger WHERE sequence = (SELECT max(sequence) - 2 FROM ledger)",
         "LEDGER_GAP"},
        {"UPDATE orders SET quantity = quantity + 1", "LEDGER_EDITED"},
        {"UPDATE orders SET day_used = day_used - 1", "LEDGER_EDITED"},
        {"UPDATE orders SET day = day + 1", "LEDGER_EDITED"},
        {"UPDATE checkpoints SET document = CAST(substr(document, 1, length(document) - 1) ||"
         " CASE hex(substr(document, -1)) WHEN '00' THEN x'01' ELSE x'00' END AS BLOB)",
         "CHECKPOINT_BAD"},
        {"UPDATE checkpoints SET sequence = sequence + 1", "CHECKPOINT_BAD"},
    };
    struct mm_errinfo ei = {0};

    ck_assert_uint_eq(MM_ARRAY_SIZE(edits), 8);
    start();
    fixture_populate(&f, 100);
    for (unsigned i = 0; i < 6; i++)
        ck_assert_int_eq(spend("r1", 1 + i, 1), MM_OK);
    ck_assert_int_eq(mm_sql_exec(f.store, edits[_i].sql, &ei), MM_OK);
    fixture_close(&f);
    starts_locked(edits[_i].reason);
    ck_assert_int_eq(mm_sql_exec(f.store, "DELETE FROM ledger", &ei), MM_OK); /* for teardown */
}
END_TEST

START_TEST(a_walk_while_it_works_locks_on_an_edited_device)
{
    Mintmark__Internal__VerifyLedger body = MINTMARK__INTERNAL__VERIFY_LEDGER__INIT;
    Mintmark__Internal__StoreJob job;
    struct mm_errinfo ei = {0};

    start();
    fixture_populate(&f, 1000);
    ck_assert_int_eq(spend("r1", 1, 5), MM_OK);
    init(&job, MINTMARK__INTERNAL__STORE_JOB__JOB_VERIFY_LEDGER);
    job.verify_ledger = &body;
    ck_assert_int_eq(fixture_do(&f, &job), MM_OK);
    ck_assert_int_eq(guard_now()->state, OPEN);
    ck_assert(!guard_now()->verifying);
    ck_assert_uint_eq(guard_now()->verified_sequence, guard_now()->sequence);
    ck_assert_int_eq(mm_sql_exec(f.store, "UPDATE devices SET hw_serial = 'SN' WHERE row = 3", &ei),
                     MM_OK);
    ck_assert_int_eq(fixture_do(&f, &job), MM_OK);
    ck_assert_int_eq(guard_now()->state, LOCKED);
    ck_assert_str_eq(guard_now()->reason, "LEDGER_EDITED");
}
END_TEST

/* What a walk over all devices found, a start does not look for: it begins at the last checkpoint.
 */
START_TEST(what_a_walk_locked_stays_locked_over_starts)
{
    Mintmark__Internal__VerifyLedger body = MINTMARK__INTERNAL__VERIFY_LEDGER__INIT;
    Mintmark__Internal__StoreJob job;
    struct mm_errinfo ei = {0};

    start();
    fixture_populate(&f, 1000);
    ck_assert_int_eq(spend("r1", 1, 5), MM_OK);
    anchor(false, true);
    ck_assert_int_eq(mm_sql_exec(f.store, "UPDATE devices SET hw_serial = 'SN' WHERE row = 3", &ei),
                     MM_OK);
    init(&job, MINTMARK__INTERNAL__STORE_JOB__JOB_VERIFY_LEDGER);
    job.verify_ledger = &body;
    ck_assert_int_eq(fixture_do(&f, &job), MM_OK);
    ck_assert_int_eq(guard_now()->state, LOCKED);
    for (int i = 0; i < 2; i++) {
        fixture_close(&f);
        starts_locked("LEDGER_EDITED");
        ck_assert_int_eq(spend("r2", 10, 1), MM_ERR_UNAVAILABLE);
    }
    ck_assert_int_eq(unlock_by(&officer, 0), MM_OK);
    anchor(false, true);
    ck_assert_int_eq(spend("r2", 10, 1), MM_OK);
    stop();
    start();
}
END_TEST

START_TEST(a_checkpoint_by_another_key_is_refused)
{
    Mintmark__Internal__PrepareAnchor prepare = MINTMARK__INTERNAL__PREPARE_ANCHOR__INIT;
    Mintmark__Internal__Guard *g;
    Mintmark__Internal__StoreJob job;

    start();
    init(&job, MINTMARK__INTERNAL__STORE_JOB__JOB_PREPARE_ANCHOR);
    job.prepare_anchor = &prepare;
    prepare.checkpoint = true;
    ck_assert_int_eq(fixture_do(&f, &job), MM_OK);
    g = f.results[0]->guard;
    f.results[0]->guard = NULL;
    f.results[0]->result_case = MINTMARK__INTERNAL__STORE_RESULT__RESULT__NOT_SET;
    ck_assert_int_eq(add_checkpoint(&officer, &g->checkpoint), MM_ERR_INVALID);
    ck_assert_str_eq(fixture_reason(&f, 0), "CHECKPOINT_BAD");
    ck_assert_int_eq(add_checkpoint(&audit, &g->checkpoint), MM_OK);
    mintmark__internal__guard__free_unpacked(g, NULL);
}
END_TEST

/* As a database of the times before the ledger had them. */
static void many_orders(void)
{
    struct mm_errinfo ei = {0};

    ck_assert_int_eq(mm_sql_exec(f.store,
                                 "INSERT INTO profiles (name, next_number) VALUES ('many', 1);"
                                 "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
                                 " WHERE i < 5000) INSERT INTO orders (order_id, profile, quantity,"
                                 " used, not_before_ms, not_after_ms, added_ms, added_by)"
                                 " SELECT 'an-order-of-the-old-times-' || i, (SELECT max(row) FROM"
                                 " profiles), 1000, 0, 1, 2, 1, 'somebody' FROM n;"
                                 "DELETE FROM ledger",
                                 &ei),
                     MM_OK);
    fixture_close(&f);
}

START_TEST(a_checkpoint_is_small_with_thousands_of_orders)
{
    struct mm_errinfo ei = {0};

    many_orders();
    start();
    fixture_populate(&f, 1000);
    ck_assert_int_eq(spend("r1", 1, 5), MM_OK);
    stop();
    fixture_open(&f);
    ck_assert_int_eq(fixture_int(&f, "SELECT count(*) FROM checkpoints"), 2);
    ck_assert_int_lt(fixture_int(&f, "SELECT max(length(document)) FROM checkpoints"), 2000);
    ck_assert_int_gt(fixture_int(&f, "SELECT length(orders) FROM checkpoints WHERE sequence ="
                                     " (SELECT max(sequence) FROM checkpoints)"),
                     5000 * 40);
    /* The one before is of no more use. */
    ck_assert_int_eq(fixture_int(&f, "SELECT length(orders) FROM checkpoints"), 0);
    start();
    ck_assert_int_eq(spend("r2", 10, 5), MM_OK);
    stop();
    fixture_open(&f);
    ck_assert_int_eq(mm_sql_exec(f.store,
                                 "UPDATE checkpoints SET orders = CAST(orders || x'0a00' AS BLOB)",
                                 &ei),
                     MM_OK);
    starts_locked("CHECKPOINT_BAD");
}
END_TEST

/* ---- unlocking --------------------------------------------------------------------------- */

START_TEST(an_officers_unlock_lets_it_go_on)
{
    struct copy c = COPY_INIT;

    start();
    ck_assert_int_eq(unlock_by(&officer, 0), MM_ERR_PRECONDITION);
    ck_assert_str_eq(fixture_reason(&f, 0), "LEDGER_NOT_LOCKED");
    fixture_populate(&f, 100);
    copy_take(&c);
    ck_assert_int_eq(spend("r1", 1, 5), MM_OK);
    anchor(false, false);
    copy_put(&c);
    starts_locked("LEDGER_ROLLED_BACK");
    ck_assert_int_eq(unlock_by(&audit, 0), MM_ERR_PERMISSION);
    ck_assert_str_eq(fixture_reason(&f, 0), "SIGNER_UNKNOWN");
    ck_assert_int_eq(unlock_by(&officer, 1), MM_ERR_PRECONDITION);
    ck_assert_str_eq(fixture_reason(&f, 0), "UNLOCK_STALE");
    ck_assert_int_eq(spend("r1", 1, 5), MM_ERR_UNAVAILABLE);
    ck_assert_int_eq(unlock_by(&officer, 0), MM_OK);
    anchor(false, false);
    ck_assert_int_eq(guard_now()->state, OPEN);
    ck_assert_uint_eq(guard_now()->unclean_starts, 0);
    ck_assert_int_eq(spend("r9", 90, 5), MM_OK);
    stop();
    start();
    fixture_check_invariants(&f);
    copy_done(&c);
}
END_TEST

START_TEST(an_unlock_of_a_broken_chain_makes_a_new_baseline)
{
    struct mm_errinfo ei = {0};
    Mintmark__Internal__VerifyLedger body = MINTMARK__INTERNAL__VERIFY_LEDGER__INIT;
    Mintmark__Internal__StoreJob job;

    start();
    fixture_populate(&f, 100);
    ck_assert_int_eq(spend("r1", 1, 5), MM_OK);
    ck_assert_int_eq(mm_sql_exec(f.store, "UPDATE orders SET quantity = 200", &ei), MM_OK);
    fixture_close(&f);
    starts_locked("LEDGER_EDITED");
    ck_assert_int_eq(unlock_by(&officer, 0), MM_OK);
    anchor(false, false);
    ck_assert_int_eq(fixture_int(&f, "SELECT count(*) FROM checkpoints WHERE baseline = 1"), 1);
    init(&job, MINTMARK__INTERNAL__STORE_JOB__JOB_VERIFY_LEDGER);
    job.verify_ledger = &body;
    ck_assert_int_eq(fixture_do(&f, &job), MM_OK);
    ck_assert_int_eq(guard_now()->state, OPEN);
    stop();
    start();
}
END_TEST

START_TEST(an_unlock_that_is_no_document_is_refused)
{
    Mintmark__Internal__UnlockLedger body = MINTMARK__INTERNAL__UNLOCK_LEDGER__INIT;
    Mintmark__Internal__StoreJob job;
    static uint8_t big[MM_UNLOCK_MAX + 1] = {0x30};

    start();
    fixture_close(&f);
    token.len = 0;
    starts_locked("ANCHOR_MISSING");
    init(&job, MINTMARK__INTERNAL__STORE_JOB__JOB_UNLOCK);
    job.unlock = &body;
    body.document = (ProtobufCBinaryData){sizeof(big), big};
    fixture_refused(&f, &job, MM_ERR_TOO_BIG, "DOCUMENT_TOO_BIG");
    body.document.len = 10;
    fixture_refused(&f, &job, MM_ERR_INVALID, "DOCUMENT_NOT_DER");
    fixture_close(&f);
    mm_trust_free(officers);
    officers = NULL;
    starts_locked("ANCHOR_MISSING");
    fixture_refused(&f, &job, MM_ERR_PRECONDITION, "NO_OFFICERS");
}
END_TEST

START_TEST(a_locked_store_stays_locked_and_says_so_once)
{
    start();
    fixture_close(&f);
    token.len = 0;
    starts_locked("ANCHOR_MISSING");
    ck_assert_int_eq(f.store->ledger.committed.event,
                     MINTMARK__V1__LEDGER_RECORD__EVENT_SERVICE_LOCKED);
    const uint64_t sequence = f.store->ledger.committed.sequence;
    for (int i = 0; i < 3; i++) {
        fixture_close(&f);
        starts_locked("ANCHOR_MISSING");
        ck_assert_uint_eq(f.store->ledger.committed.sequence, sequence);
    }
}
END_TEST

START_TEST(the_section_cannot_just_be_taken_out)
{
    struct mm_errinfo ei = {0};

    ck_assert_int_eq(mm_store_unguarded(f.store, &ei), MM_OK);
    start();
    fixture_close(&f);
    fixture_open(&f);
    ck_assert_int_eq(mm_store_unguarded(f.store, &ei), MM_ERR_PRECONDITION);
    ck_assert_str_eq(ei.reason, "LEDGER_GUARD_OFF");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store_guard");
    TCase *working = tcase_create("working");
    TCase *locking = tcase_create("locking");

    tcase_set_timeout(working, 60); /* thousands of orders, with sanitizers */
    tcase_add_checked_fixture(working, setup, teardown);
    tcase_add_test(working, a_new_database_and_a_token_without_anchor_begin);
    tcase_add_test(working, nothing_is_done_before_the_check);
    tcase_add_test(working, nothing_is_done_after_the_last_anchor);
    tcase_add_test(working, no_more_than_k_devices_beyond_the_anchor);
    tcase_add_test(working, a_checkpoint_by_another_key_is_refused);
    tcase_add_test(working, a_checkpoint_is_small_with_thousands_of_orders);
    suite_add_tcase(suite, working);
    tcase_add_checked_fixture(locking, setup, teardown);
    tcase_add_test(locking, an_older_database_locks);
    tcase_add_test(locking, a_new_database_beside_an_old_anchor_locks);
    tcase_add_test(locking, a_database_of_another_life_locks);
    tcase_add_test(locking, another_ledgers_anchor_locks);
    tcase_add_test(locking, an_anchor_that_is_gone_or_none_locks);
    tcase_add_test(locking, a_clock_that_went_back_locks);
    tcase_add_test(locking, a_clock_that_leaps_ahead_stops_recording_until_it_is_right);
    tcase_add_loop_test(locking, an_edit_locks_at_the_start, 0, 8);
    tcase_add_test(locking, a_walk_while_it_works_locks_on_an_edited_device);
    tcase_add_test(locking, what_a_walk_locked_stays_locked_over_starts);
    tcase_add_test(locking, an_officers_unlock_lets_it_go_on);
    tcase_add_test(locking, an_unlock_of_a_broken_chain_makes_a_new_baseline);
    tcase_add_test(locking, an_unlock_that_is_no_document_is_refused);
    tcase_add_test(locking, a_locked_store_stays_locked_and_says_so_once);
    tcase_add_test(locking, the_section_cannot_just_be_taken_out);
    suite_add_tcase(suite, locking);
    return run_suite(suite);
}
