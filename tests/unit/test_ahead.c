/* SPDX-License-Identifier: Apache-2.0 */
/* Keys that a token worker makes ahead while it has nothing else to do. */
#include "daemon/token/ahead.h"

#include "tests/unit/chunk_fixture.h"

static void make_ahead(void)
{
    while (mm_ahead_wants(minter))
        ck_ok(mm_ahead_make(minter, &ei));
}

static void open_with_ahead(void)
{
    edit("profile 'wrapped' {", "profile 'wrapped' { keys_ahead = 5");
    edit("profile 'bare' {", "profile 'bare' { keys_ahead = 2");
    edit("profile 'kept' {", "profile 'kept' { keys_ahead = 7"); /* which makes none ahead */
    parse();
    open_minter();
}

START_TEST(ahead_without_the_setting_makes_none)
{
    open_minter();
    ck_assert(!mm_ahead_wants(minter));
}
END_TEST

START_TEST(ahead_keys_are_used_before_new_ones_are_made)
{
    size_t before;

    open_with_ahead();
    before = mock_objects();
    make_ahead();
    ck_assert_uint_eq(mock_objects(), before + 2 * (5 + 2));
    mock_rules("");
    ck_ok(mint("wrapped", 0));
    check_chunk();
    ck_assert_uint_eq(mock_calls("C_GenerateKeyPair"), 0);
    ck_assert_uint_eq(mock_objects(), before + 2 * (2 + 2));
    ck_ok(mint("wrapped", 0));
    check_chunk();
    ck_assert_uint_eq(mock_calls("C_GenerateKeyPair"), 1);
    ck_ok(mint("bare", 0));
    check_chunk();
    ck_assert_uint_eq(mock_calls("C_GenerateKeyPair"), 2);
    ck_ok(mint("csr", 0));
    ck_assert_uint_eq(mock_calls("C_GenerateKeyPair"), 5);
    ck_assert_uint_eq(mock_objects(), before);
    make_ahead();
    ck_assert_uint_eq(mock_objects(), before + 2 * (5 + 2));
}
END_TEST

/* Lost with their session: nothing is made with a handle that is another's now. */
START_TEST(ahead_keys_of_a_lost_session_are_forgotten)
{
    size_t before;

    open_with_ahead();
    before = mock_objects();
    make_ahead();
    mock_rules("C_Sign:2=sessions");
    ck_ok(mint("wrapped", 0));
    check_chunk();
    ck_assert_uint_eq(mock_objects(), before);
    make_ahead();
    ck_ok(mm_minter_renew(minter, &ei));
    ck_assert_uint_eq(mock_objects(), before);
    ck_ok(mint("wrapped", 0));
    check_chunk();
}
END_TEST

/* A token that fails is left alone until a job comes. */
START_TEST(ahead_failure_ends_the_making_for_now)
{
    open_with_ahead();
    mock_rules("C_GenerateKeyPair:3=0x05");
    ck_ok(mm_ahead_make(minter, &ei));
    ck_ok(mm_ahead_make(minter, &ei));
    ck_err(mm_ahead_make(minter, &ei), MM_ERR_UNAVAILABLE);
    ck_assert(!mm_ahead_wants(minter));
    mm_ahead_resume(minter);
    make_ahead();
    mock_rules("");
    ck_ok(mint("wrapped", 0));
    ck_assert_uint_eq(mock_calls("C_GenerateKeyPair"), 0);
}
END_TEST

/* A key made ahead is checked like any other. */
START_TEST(ahead_keys_are_not_trusted_either)
{
    open_with_ahead();
    mock_rules("C_GenerateKeyPair:2=repeat");
    make_ahead();
    ck_assert_int_eq(mint("wrapped", 0), MM_ERR_CORRUPT);
    ck_assert_str_eq(ei.reason, "TOKEN_KEY_REPEATED");
    mm_ahead_forget(minter);
    mock_rules("point=off");
    ck_err(mm_ahead_make(minter, &ei), MM_ERR_CORRUPT);
    ck_assert_str_eq(ei.reason, "TOKEN_POINT_INVALID");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ahead");
    TCase *t = tcase_create("all");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, ahead_without_the_setting_makes_none);
    tcase_add_test(t, ahead_keys_are_used_before_new_ones_are_made);
    tcase_add_test(t, ahead_keys_of_a_lost_session_are_forgotten);
    tcase_add_test(t, ahead_failure_ends_the_making_for_now);
    tcase_add_test(t, ahead_keys_are_not_trusted_either);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
