/* SPDX-License-Identifier: Apache-2.0 */
/* No key that a token made is taken twice. */
#include "daemon/store/sqlite.h"
#include "tests/unit/check_main.h"
#include "tests/unit/store_fixture.h"

#include <stdio.h>
#include <string.h>

static struct fixture f;
static struct spend_job j;

static void setup(void)
{
    fixture_setup(&f);
    fixture_populate(&f, 1000);
}

static void teardown(void)
{
    fixture_check_invariants(&f);
    fixture_teardown(&f);
}

static void expect_repeated(void)
{
    const int64_t used = fixture_int(&f, "SELECT used FROM orders");
    const int64_t logged = fixture_int(&f, "SELECT count(*) FROM key_log");

    fixture_refused(&f, &j.job, MM_ERR_CORRUPT, "TOKEN_KEY_REPEATED");
    ck_assert_int_eq(fixture_int(&f, "SELECT used FROM orders"), used);
    ck_assert_int_eq(fixture_int(&f, "SELECT count(*) FROM key_log"), logged);
}

START_TEST(key_of_another_device_is_refused_with_all_beside_it)
{
    make_spend(&j, 1, "r1", 64, 1, 64);
    set_key(&j, 40, 7);
    ck_assert_int_eq(fixture_do(&f, &j.job), MM_OK);
    ck_assert_int_eq(fixture_int(&f, "SELECT length(keys) FROM key_log"), 64 * 8);
    make_spend(&j, 1, "r2", 3, 101, 3);
    set_key(&j, 2, 7);
    expect_repeated();
    fixture_close(&f); /* as after a restart */
    fixture_open(&f);
    expect_repeated();
    set_key(&j, 2, 8); /* the others were not taken, and are as new as they were */
    ck_assert_int_eq(fixture_do(&f, &j.job), MM_OK);
}
END_TEST

START_TEST(key_twice_in_a_job_or_a_group_is_refused)
{
    static struct spend_job spends[2];
    const Mintmark__Internal__StoreJob *jobs[] = {&spends[0].job, &spends[1].job};

    make_spend(&j, 1, "r1", 4, 1, 4);
    set_key(&j, 0, 1);
    set_key(&j, 3, 1);
    expect_repeated();
    make_spend(&spends[0], 1, "r2", 4, 11, 4);
    make_spend(&spends[1], 1, "r3", 4, 21, 4);
    set_key(&spends[0], 1, 2);
    set_key(&spends[1], 2, 2);
    fixture_run(&f, jobs, 2);
    ck_assert_int_eq(fixture_code(&f, 0), MM_OK);
    ck_assert_str_eq(fixture_reason(&f, 1), "TOKEN_KEY_REPEATED");
}
END_TEST

/* Keys of three segments' worth of rows; each half of a segment is a row here. */
START_TEST(key_is_found_in_every_segment)
{
    static const char fill[] = "INSERT INTO key_log (keys) VALUES (randomblob(4194304)),"
                               " (randomblob(4194304)), (randomblob(4194304))";
    static const char probe[] = "SELECT substr(keys, 1 + 8 * 1000, 8) FROM key_log ORDER BY row";
    uint8_t keys[3][8];
    struct mm_errinfo ei;
    struct mm_sql q;

    ck_assert_int_eq(mm_sql_exec(f.store, fill, &ei), MM_OK);
    q = mm_sql_prepare(f.store, probe);
    for (unsigned i = 0; i < 3; i++) {
        ck_assert_int_eq(mm_sql_step(&q, &ei), 1);
        memcpy(keys[i], mm_sql_blob(&q, 0).data, 8);
    }
    mm_sql_done(&q);
    fixture_close(&f);
    fixture_open(&f);
    for (unsigned i = 0; i < 3; i++) {
        make_spend(&j, 1, "r1", 64, 1, 64);
        memcpy(j.keys[33], keys[i], 8);
        expect_repeated();
    }
    make_spend(&j, 1, "r1", 64, 1, 64);
    ck_assert_int_eq(fixture_do(&f, &j.job), MM_OK);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store_minted");
    TCase *t = tcase_create("keys");

    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, key_of_another_device_is_refused_with_all_beside_it);
    tcase_add_test(t, key_twice_in_a_job_or_a_group_is_refused);
    tcase_add_test(t, key_is_found_in_every_segment);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
