/* SPDX-License-Identifier: Apache-2.0 */
/* The mark of the last package (pkcs11/mark.c); each call that fails: test_token_exchange.c. */
#include "pkcs11/exchange.h"
#include "tests/unit/mock_token.h"

#include <p11-kit/pkcs11.h>

static struct mm_token *t;

static void set_up(void)
{
    fresh_mock();
    t = open_and_login();
}

static void tear_down(void)
{
    mock_rules(NULL);
    mm_token_free(t);
}

START_TEST(mark_is_read_as_it_was_written)
{
    struct mm_exchange_mark mark = {.created_ms = 1, .sha256 = {9}}, got = {.created_ms = 5};
    const size_t before = mock_objects();

    ck_ok(mm_token_mark_read(t, &got, &ei));
    ck_assert_int_eq(got.created_ms, 0);
    for (int i = 0; i < 3; i++) {
        mark.created_ms = 1700000000000 + i;
        mark.sha256[31] = (uint8_t)i;
        ck_ok(mm_token_mark_write(t, &mark, &ei));
        ck_ok(mm_token_mark_read(t, &got, &ei));
        ck_assert_int_eq(got.created_ms, mark.created_ms);
        ck_assert_mem_eq(got.sha256, mark.sha256, sizeof(mark.sha256));
        ck_assert_uint_eq(mock_objects(), before + 1);
    }
}
END_TEST

START_TEST(mark_that_was_cut_off_leaves_two_and_the_newer_counts)
{
    struct mm_exchange_mark old = {.created_ms = 10, .sha256 = {1}},
                            new = {.created_ms = 11, .sha256 = {2}}, got;
    const size_t before = mock_objects();

    ck_ok(mm_token_mark_write(t, &old, &ei));
    mock_rules("C_DestroyObject=0x30");
    ck_ok(mm_token_mark_write(t, &new, &ei));
    ck_assert_uint_eq(mock_objects(), before + 2);
    mock_rules(NULL);
    ck_ok(mm_token_mark_read(t, &got, &ei));
    ck_assert_int_eq(got.created_ms, 11);
    ck_assert_uint_eq(got.sha256[0], 2);
    new.created_ms = 12;
    ck_ok(mm_token_mark_write(t, &new, &ei)); /* clears both away */
    ck_assert_uint_eq(mock_objects(), before + 1);
}
END_TEST

START_TEST(mark_of_somebody_else_is_refused)
{
    CK_FUNCTION_LIST *list;
    CK_SESSION_HANDLE session;
    CK_OBJECT_HANDLE object;
    CK_OBJECT_CLASS class = CKO_DATA;
    CK_BBOOL yes = CK_TRUE;
    char label[] = MM_PACKAGE_MARK_LABEL, value[] = "not a mark";
    CK_ATTRIBUTE attrs[] = {{CKA_CLASS, &class, sizeof(class)},
                            {CKA_TOKEN, &yes, sizeof(yes)},
                            {CKA_LABEL, label, sizeof(label) - 1},
                            {CKA_VALUE, value, sizeof(value)}};
    struct mm_exchange_mark mark;

    ck_assert_uint_eq(((CK_C_GetFunctionList)mock_function("C_GetFunctionList"))(&list), CKR_OK);
    ck_assert_uint_eq(
        list->C_OpenSession(1, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session), CKR_OK);
    ck_assert_uint_eq(list->C_CreateObject(session, attrs, 4, &object), CKR_OK);
    ck_err(mm_token_mark_read(t, &mark, &ei), MM_ERR_CORRUPT);
    ck_assert_str_eq(ei.reason, "TOKEN_ATTRIBUTE_INVALID");
    list->C_CloseSession(session);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("token_mark");
    TCase *tc = tcase_create("mark");

    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, mark_is_read_as_it_was_written);
    tcase_add_test(tc, mark_that_was_cut_off_leaves_two_and_the_newer_counts);
    tcase_add_test(tc, mark_of_somebody_else_is_refused);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
