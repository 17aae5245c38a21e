/* SPDX-License-Identifier: Apache-2.0 */
/* A guarded store that something comes between: what did not happen is not remembered either. */
#include "tests/unit/fault_vfs.h"
#include "tests/unit/guard_support.h"

/* The guard's messages are of what is on disk; and so the anchor that they prepare is confirmed. */
START_TEST(an_anchor_after_a_commit_that_failed_is_confirmed)
{
    start();
    fixture_populate(&f, 1000);
    ck_assert_int_eq(spend("r1", 1, K / 2), MM_OK);
    fault_arm(FAULT_WRITE, 1, SQLITE_FULL);
    ck_assert_int_eq(spend("r2", 100, 1), MM_ERR_EXHAUSTED);
    fault_disarm();
    ck_assert_uint_eq(mm_guard_unanchored(f.store), K / 2);
    anchor(false, false);
    ck_assert_uint_eq(mm_guard_unanchored(f.store), 0);
    ck_assert_int_eq(spend("r2", 100, K), MM_OK);
}
END_TEST

/* An unlock is a record; without it the store is as locked as before, and the officer sends his
 * unlock again. */
START_TEST(an_unlock_whose_commit_failed_leaves_it_locked)
{
    struct copy c = COPY_INIT;

    start();
    fixture_populate(&f, 100);
    copy_take(&c);
    ck_assert_int_eq(spend("r1", 1, 5), MM_OK);
    anchor(false, false);
    copy_put(&c);
    starts_locked("LEDGER_ROLLED_BACK");
    for (int i = 0; i < 2; i++) {
        Mintmark__Internal__Guard *g;

        fault_arm(i ? FAULT_SYNC : FAULT_WRITE, 1, i ? SQLITE_IOERR_FSYNC : SQLITE_FULL);
        ck_assert_int_ne(unlock_by(&officer, 0), MM_OK);
        fault_disarm();
        g = mm_guard_message(f.store);
        ck_assert_int_eq(g->state, LOCKED);
        ck_assert_str_eq(g->reason, "LEDGER_ROLLED_BACK");
        mintmark__internal__guard__free_unpacked(g, NULL);
        ck_assert_int_eq(spend("r1", 1, 5), MM_ERR_UNAVAILABLE);
    }
    ck_assert_int_eq(unlock_by(&officer, 0), MM_OK);
    anchor(false, false);
    ck_assert_int_eq(guard_now()->state, OPEN);
    copy_done(&c);
}
END_TEST

/* An anchor that was prepared before a lock says nothing of the unlock: to be told that it is
 * written does not open the store. */
START_TEST(an_anchor_from_before_a_lock_does_not_open)
{
    Mintmark__Internal__PrepareAnchor prepare = MINTMARK__INTERNAL__PREPARE_ANCHOR__INIT;
    Mintmark__Internal__VerifyLedger verify = MINTMARK__INTERNAL__VERIFY_LEDGER__INIT;
    Mintmark__Internal__Anchored anchored = MINTMARK__INTERNAL__ANCHORED__INIT;
    Mintmark__Internal__StoreJob job;
    struct mm_errinfo ei = {0};

    start();
    fixture_populate(&f, 1000);
    ck_assert_int_eq(spend("r1", 1, 5), MM_OK);
    init(&job, MINTMARK__INTERNAL__STORE_JOB__JOB_PREPARE_ANCHOR);
    job.prepare_anchor = &prepare;
    ck_assert_int_eq(fixture_do(&f, &job), MM_OK);
    anchored.sequence = guard_now()->sequence;
    ck_assert_int_eq(mm_sql_exec(f.store, "UPDATE devices SET hw_serial = 'SN' WHERE row = 3", &ei),
                     MM_OK);
    init(&job, MINTMARK__INTERNAL__STORE_JOB__JOB_VERIFY_LEDGER);
    job.verify_ledger = &verify;
    ck_assert_int_eq(fixture_do(&f, &job), MM_OK);
    ck_assert_int_eq(guard_now()->state, LOCKED);
    ck_assert_int_eq(unlock_by(&officer, 0), MM_OK);
    init(&job, MINTMARK__INTERNAL__STORE_JOB__JOB_ANCHORED);
    job.anchored = &anchored;
    ck_assert_int_eq(fixture_do(&f, &job), MM_ERR_PRECONDITION);
    ck_assert_int_eq(spend("r2", 100, 1), MM_ERR_UNAVAILABLE);
    anchor(false, false);
    ck_assert_int_eq(guard_now()->state, OPEN);
}
END_TEST

/* docs/model.md: it looks as if the anchor had been taken away. */
START_TEST(a_first_start_that_was_killed_before_its_anchor_locks)
{
    open_guarded();
    ck_assert_int_ne(guard_now()->state, LOCKED);
    fixture_close(&f);
    starts_locked("ANCHOR_MISSING");
    ck_assert_int_eq(unlock_by(&officer, 0), MM_OK);
    anchor(false, false);
    ck_assert_int_eq(guard_now()->state, OPEN);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store_guard_faults");
    TCase *commits = tcase_create("commits");

    fault_install();
    tcase_add_checked_fixture(commits, setup, teardown);
    tcase_add_test(commits, an_anchor_after_a_commit_that_failed_is_confirmed);
    tcase_add_test(commits, an_unlock_whose_commit_failed_leaves_it_locked);
    tcase_add_test(commits, an_anchor_from_before_a_lock_does_not_open);
    tcase_add_test(commits, a_first_start_that_was_killed_before_its_anchor_locks);
    suite_add_tcase(suite, commits);
    return run_suite(suite);
}
