/* SPDX-License-Identifier: Apache-2.0 */
/* The ledger's anchor in a token: newest wins, a crash between two leaves one, and a monotonic
 * counter, where there is one, gives an older anchor away. */
#include "pkcs11/anchor.h"
#include "tests/unit/mock_token.h"

#include <stdio.h>

static struct mm_token *t;
static struct mm_anchor anchor;

static void setup(void)
{
    fresh_mock();
    t = open_and_login();
}

static void teardown(void)
{
    mock_rules(NULL);
    mm_token_free(t);
}

static void write_text(const char *text)
{
    ck_ok(mm_anchor_write(t, text, strlen(text), &ei));
}

static void expect(const char *text)
{
    ck_ok(mm_anchor_read(t, &anchor, &ei));
    ck_assert_uint_eq(anchor.len, strlen(text));
    ck_assert_mem_eq(anchor.value, text, anchor.len);
}

START_TEST(read_of_a_token_without_one_says_so)
{
    ck_err(mm_anchor_read(t, &anchor, &ei), MM_ERR_NOT_FOUND);
    ck_assert_str_eq(ei.reason, "ANCHOR_MISSING");
}
END_TEST

START_TEST(write_replaces_the_one_before)
{
    const size_t before = mock_objects();

    for (int i = 0; i < 5; i++) {
        char text[16];

        snprintf(text, sizeof(text), "anchor %d", i);
        write_text(text);
        expect(text);
        ck_assert(!anchor.counted);
        ck_assert_uint_eq(mock_objects(), before + 1);
    }
}
END_TEST

START_TEST(write_of_nothing_or_too_much_is_refused)
{
    static const uint8_t big[MM_ANCHOR_MAX + 1];

    write_text("old");
    ck_err(mm_anchor_write(t, big, 0, &ei), MM_ERR_TOO_BIG);
    ck_err(mm_anchor_write(t, big, sizeof(big), &ei), MM_ERR_TOO_BIG);
    expect("old");
    ck_ok(mm_anchor_write(t, big, MM_ANCHOR_MAX, &ei));
}
END_TEST

/* Each call of the token fails in turn: there is always one of the two to be read. */
START_TEST(write_that_is_cut_off_leaves_the_old_one_or_the_new_one)
{
    bool done = false;

    for (unsigned nth = 1; !done; nth++) {
        char rule[32];
        int r;

        mock_rules(NULL);
        write_text("old");
        snprintf(rule, sizeof(rule), "*:%u+=0x30", nth);
        mock_rules(rule);
        r = mm_anchor_write(t, "new", 3, &ei);
        done = *mock_failed() == 0;
        mock_rules(NULL);
        ck_ok(mm_token_reopen(t, &ei)); /* a search may still be open */
        ck_ok(mm_anchor_read(t, &anchor, &ei));
        ck_assert_uint_eq(anchor.len, 3);
        /* The last calls only drop the old one: the new one counts by then. */
        if (r == MM_OK)
            ck_assert_mem_eq(anchor.value, "new", 3);
        ck_assert_uint_lt(nth, 60);
    }
    write_text("next");
    expect("next");
}
END_TEST

START_TEST(counter_is_used_where_there_is_one)
{
    mock_rules("counter=100");
    write_text("one");
    expect("one");
    ck_assert(anchor.counted);
    write_text("two");
    expect("two");
    /* Starts that read and write nothing are within the slack. */
    expect("two");
    expect("two");
}
END_TEST

/* Another counter reading is what an older object put back looks like. */
START_TEST(counter_far_ahead_of_the_anchor_is_a_rollback)
{
    mock_rules("counter=100");
    write_text("old");
    expect("old");
    mock_rules("counter=120");
    ck_err(mm_anchor_read(t, &anchor, &ei), MM_ERR_CORRUPT);
    ck_assert_str_eq(ei.reason, "ANCHOR_ROLLED_BACK");
    /* An unlock writes a new one. */
    write_text("new");
    expect("new");
}
END_TEST

START_TEST(counter_behind_the_anchor_is_another_tokens)
{
    mock_rules("counter=100");
    write_text("old");
    mock_rules("counter=50");
    ck_err(mm_anchor_read(t, &anchor, &ei), MM_ERR_CORRUPT);
    ck_assert_str_eq(ei.reason, "ANCHOR_FOREIGN");
}
END_TEST

START_TEST(failures_of_the_token_are_the_tokens)
{
    write_text("old");
    mock_rules("C_GetAttributeValue=0x30");
    ck_assert_int_lt(mm_anchor_read(t, &anchor, &ei), 0);
    ck_assert_int_ne(mm_token_failure_class(&ei), MM_TOKEN_OK);
    mock_rules("C_CreateObject=0x31");
    ck_assert_int_lt(mm_anchor_write(t, "new", 3, &ei), 0);
    mock_rules(NULL);
    expect("old");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("anchor");
    TCase *object = tcase_create("object");
    TCase *counter = tcase_create("counter");

    tcase_add_checked_fixture(object, setup, teardown);
    tcase_add_test(object, read_of_a_token_without_one_says_so);
    tcase_add_test(object, write_replaces_the_one_before);
    tcase_add_test(object, write_of_nothing_or_too_much_is_refused);
    tcase_add_test(object, write_that_is_cut_off_leaves_the_old_one_or_the_new_one);
    tcase_add_test(object, failures_of_the_token_are_the_tokens);
    suite_add_tcase(suite, object);
    tcase_add_checked_fixture(counter, setup, teardown);
    tcase_add_test(counter, counter_is_used_where_there_is_one);
    tcase_add_test(counter, counter_far_ahead_of_the_anchor_is_a_rollback);
    tcase_add_test(counter, counter_behind_the_anchor_is_another_tokens);
    suite_add_tcase(suite, counter);
    return run_suite(suite);
}
