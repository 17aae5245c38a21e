/* SPDX-License-Identifier: Apache-2.0 */
/* pkcs11/ against the mock token: logging in, again and with a PIN that was changed. */
#include "daemon/base/io.h"
#include "tests/unit/mock_token.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void ck_ptr_null_refused(struct mm_token *t)
{
    struct mm_secret *refused = mm_token_take_refused(t);

    ck_assert_ptr_null(refused);
}

START_TEST(login_tries_a_wrong_pin_once)
{
    struct mm_secret *pin = secret("wrong");
    struct mm_token *t = open_token();

    ck_err(mm_token_login(t, &pin, &ei), MM_ERR_PIN);
    ck_assert_ptr_null(pin);
    ck_assert_str_eq(ei.reason, "TOKEN_PIN_REFUSED");
    ck_assert_int_eq(mm_token_error_class(ei.detail), MM_TOKEN_PIN);
    ck_assert_uint_eq(mock_calls("C_Login"), 1);
    ck_ok(mm_token_reopen(t, &ei));
    ck_assert_uint_eq(mock_calls("C_Login"), 1);
    mm_token_free(t);
}
END_TEST

START_TEST(login_leaves_the_last_try_alone)
{
    static const struct {
        const char *rules, *reason;
    } cases[] = {
        {"pin=final", "TOKEN_PIN_FINAL_TRY"},
        {"pin=locked", "TOKEN_PIN_LOCKED"},
    };

    for (size_t i = 0; i < MM_ARRAY_SIZE(cases); i++) {
        struct mm_secret *pin = secret(MOCK_PIN);
        struct mm_token *t = open_token();

        mock_rules(cases[i].rules);
        ck_err(mm_token_login(t, &pin, &ei), MM_ERR_PIN);
        ck_assert_str_eq(ei.reason, cases[i].reason);
        ck_assert_uint_eq(mock_calls("C_Login"), 0);
        mm_token_free(t);
    }
    struct mm_token *t = open_token();

    mock_rules("pin=low");
    struct mm_secret *pin = secret(MOCK_PIN);
    ck_ok(mm_token_login(t, &pin, &ei));
    mm_token_free(t);
}
END_TEST

START_TEST(reopen_drops_a_pin_that_is_refused)
{
    struct mm_token *t = open_and_login();

    mock_rules("C_Login:1=0xa0");
    ck_err(mm_token_reopen(t, &ei), MM_ERR_PIN);
    ck_assert_uint_eq(mock_calls("C_Login"), 1);
    ck_ok(mm_token_reopen(t, &ei));
    ck_assert_uint_eq(mock_calls("C_Login"), 1);
    mm_token_free(t);
}
END_TEST

START_TEST(reopen_does_not_try_a_pin_that_is_in_doubt)
{
    struct mm_token *t = open_and_login();

    ck_ptr_null_refused(t);
    mock_rules("pin=low");
    ck_err(mm_token_reopen(t, &ei), MM_ERR_UNAVAILABLE);
    ck_assert_str_eq(ei.reason, "TOKEN_LOGIN_LOST");
    ck_assert_int_eq(mm_token_failure_class(&ei), MM_TOKEN_LOGIN);
    ck_err(mm_token_renew(t, &ei), MM_ERR_UNAVAILABLE);
    ck_assert_uint_eq(mock_calls("C_Login"), 0);
    mock_rules(NULL);
    ck_ok(mm_token_reopen(t, &ei)); /* somebody has logged in well since */
    ck_assert_uint_eq(mock_calls("C_Login"), 1);
    mm_token_free(t);
}
END_TEST

START_TEST(refused_pin_is_given_to_who_asks)
{
    struct mm_secret *pin = secret("wrong"), *refused;
    struct mm_token *t = open_token();

    ck_err(mm_token_login(t, &pin, &ei), MM_ERR_PIN);
    refused = mm_token_take_refused(t);
    ck_assert_uint_eq(mm_secret_len(refused), 5);
    ck_assert_int_eq(memcmp(mm_secret_data(refused), "wrong", 5), 0);
    mm_secret_free(refused);
    ck_ptr_null_refused(t);
    mm_token_free(t);
}
END_TEST

START_TEST(set_pin_holds_for_the_next_login)
{
    struct mm_token *t = open_token();
    struct mm_secret *pin = secret("another");

    ck_err(mm_token_set_pin(t, &pin, &ei), MM_ERR_PRECONDITION);
    mm_token_free(t);
    t = open_and_login();
    pin = secret(MOCK_PIN);
    ck_err(mm_token_set_pin(t, &pin, &ei), MM_ERR_INVALID);
    ck_assert_str_eq(ei.reason, "TOKEN_PIN_SAME");
    pin = secret("abc");
    ck_err(mm_token_set_pin(t, &pin, &ei), MM_ERR_INVALID);
    ck_assert_str_eq(ei.reason, "TOKEN_PIN_LENGTH");
    ck_assert(mm_token_pin_unchanged(&ei));
    mock_rules("C_SetPIN:1=0x30"); /* CKR_DEVICE_ERROR */
    pin = secret("another");
    ck_err(mm_token_set_pin(t, &pin, &ei), MM_ERR_UNAVAILABLE);
    ck_assert(!mm_token_pin_unchanged(&ei));
    ck_ok(mm_token_reopen(t, &ei));
    pin = secret("another");
    ck_ok(mm_token_set_pin(t, &pin, &ei));
    ck_assert_ptr_null(pin);
    ck_ok(mm_token_reopen(t, &ei));
    pin = secret(MOCK_PIN);
    mm_token_keep_pin(t, &pin); /* wrong by now */
    ck_ok(draw(t));
    ck_err(mm_token_reopen(t, &ei), MM_ERR_PIN);
    pin = secret("another");
    mm_token_keep_pin(t, &pin); /* too late */
    mock_rules(NULL);
    ck_ok(mm_token_reopen(t, &ei));
    ck_assert_uint_eq(mock_calls("C_Login"), 0);
    mm_token_free(t);
}
END_TEST

START_TEST(pin_file_is_held_by_one_at_a_time)
{
    char folder[] = "/tmp/mintmark-pin.XXXXXX", path[64], other[64];
    int first = -1, second = -1;

    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/held.pin", folder);
    snprintf(other, sizeof(other), "%s/other.pin", folder);
    ck_err(mm_pin_hold(path, &first, &ei), MM_ERR_IO);
    ck_ok(mm_io_write_file(path, 0600, "1234", 4, &ei));
    ck_ok(mm_pin_hold(path, &first, &ei));
    /* Who waits takes the file that has taken its place. */
    ck_ok(mm_io_write_file(other, 0600, "5678", 4, &ei));
    ck_assert_int_eq(rename(other, path), 0);
    ck_ok(mm_pin_hold(path, &second, &ei));
    close(first);
    ck_err(mm_pin_hold(path, &first, &ei), MM_ERR_TIMEOUT);
    ck_assert_str_eq(ei.reason, "PIN_FILE_BUSY");
    close(second);
    ck_ok(mm_pin_hold(path, &first, &ei));
    close(first);
    unlink(path);
    rmdir(folder);
}
END_TEST

START_TEST(login_takes_being_logged_in_for_success)
{
    struct mm_token *t = open_token();
    struct mm_secret *pin = secret(MOCK_PIN);

    mock_rules("C_Login:1=0x100;C_CreateObject=0x101");
    ck_err(mm_token_login(t, &pin, &ei), MM_ERR_UNAVAILABLE);
    ck_assert_int_eq(mm_token_error_class(ei.detail), MM_TOKEN_LOGIN);
    mm_token_free(t);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("token_pin");
    TCase *tc = tcase_create("mock");

    tcase_add_checked_fixture(tc, fresh_mock, NULL);
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, login_tries_a_wrong_pin_once);
    tcase_add_test(tc, login_leaves_the_last_try_alone);
    tcase_add_test(tc, reopen_drops_a_pin_that_is_refused);
    tcase_add_test(tc, reopen_does_not_try_a_pin_that_is_in_doubt);
    tcase_add_test(tc, refused_pin_is_given_to_who_asks);
    tcase_add_test(tc, set_pin_holds_for_the_next_login);
    tcase_add_test(tc, pin_file_is_held_by_one_at_a_time);
    tcase_add_test(tc, login_takes_being_logged_in_for_success);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
