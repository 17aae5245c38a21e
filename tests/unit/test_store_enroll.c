/* SPDX-License-Identifier: Apache-2.0 */
/* Keys that devices made: enrolled once, answered again, refused when they come another way. */
#include "tests/unit/check_main.h"
#include "tests/unit/store_fixture.h"

#include <stdio.h>
#include <string.h>

static struct fixture f;
static struct spend_job j;

static void setup(void)
{
    fixture_setup(&f);
    fixture_populate(&f, 10);
}

static void teardown(void)
{
    fixture_check_invariants(&f);
    fixture_teardown(&f);
}

static const Mintmark__Internal__Enrolled *enrolled(void)
{
    ck_assert_msg(fixture_do(&f, &j.job) == MM_OK, "%s", fixture_reason(&f, 0));
    ck_assert_uint_eq(f.results[0]->enrolled->n_keys, j.spend.n_devices);
    return f.results[0]->enrolled;
}

static void is_new(const Mintmark__Internal__Enrolled *e, size_t i)
{
    ck_assert_uint_eq(e->keys[i]->bundle.len, 0);
    ck_assert_ptr_null(e->keys[i]->error);
}

/* With the bundle that device `number` was recorded with. */
static void is_again(const Mintmark__Internal__Enrolled *e, size_t i, unsigned number)
{
    char want[64];

    ck_assert_ptr_null(e->keys[i]->error);
    snprintf(want, sizeof(want), "bundle of device %u", number);
    ck_assert_uint_eq(e->keys[i]->bundle.len, strlen(want));
    ck_assert_mem_eq(e->keys[i]->bundle.data, want, strlen(want));
}

static void is_refused(const Mintmark__Internal__Enrolled *e, size_t i, const char *reason)
{
    ck_assert_uint_eq(e->keys[i]->bundle.len, 0);
    ck_assert_ptr_nonnull(e->keys[i]->error);
    ck_assert_int_eq(e->keys[i]->error->code, MM_ERR_EXISTS);
    ck_assert_str_eq(e->keys[i]->error->reason, reason);
}

/* The job is answered, and nothing is recorded. */
static const Mintmark__Internal__Enrolled *changes_nothing(void)
{
    char *before = fixture_dump(&f), *after;
    const Mintmark__Internal__Enrolled *e = enrolled();

    after = fixture_dump(&f);
    ck_assert_str_eq(before, after);
    ck_assert_ptr_null(e->recorded);
    free(before);
    free(after);
    return e;
}

START_TEST(enroll_and_record_spends_for_new_keys)
{
    const Mintmark__Internal__Enrolled *e;

    make_enroll(&j, 1, "r1", 1, 3);
    e = enrolled();
    for (size_t i = 0; i < 3; i++)
        is_new(e, i);
    ck_assert_uint_eq(e->recorded->order_used, 3);
    ck_assert_uint_eq(e->recorded->batch_issued, 3);
    ck_assert_int_eq(fixture_int(&f, "SELECT count(*) FROM enrolled_keys"), 3);
}
END_TEST

START_TEST(enroll_and_record_same_request_gets_what_was_recorded)
{
    const Mintmark__Internal__Enrolled *e;

    make_enroll(&j, 1, "r1", 1, 3);
    set_hw_serial(&j, 1, "SN-2");
    enrolled();
    make_enroll(&j, 1, "r1", 11, 4); /* made anew, so other bundles, numbers and uids */
    set_key(&j, 0, 3);
    set_key(&j, 1, 2);
    set_hw_serial(&j, 1, "SN-2");
    set_key(&j, 2, 1);
    e = enrolled();
    is_again(e, 0, 3);
    is_again(e, 1, 2);
    is_again(e, 2, 1);
    is_new(e, 3);
    ck_assert_uint_eq(e->recorded->order_used, 4);
}
END_TEST

START_TEST(enroll_and_record_answers_again_after_the_batch_is_released)
{
    struct small_job release;

    make_enroll(&j, 1, "r1", 1, 2);
    enrolled();
    make_release(&release, 1);
    ck_assert_int_eq(fixture_do(&f, &release.job), MM_OK);
    make_enroll(&j, 1, "r1", 1, 2);
    is_again(changes_nothing(), 1, 2);
    make_enroll(&j, 1, "r1", 2, 2);
    fixture_refused(&f, &j.job, MM_ERR_PRECONDITION, "BATCH_RELEASED");
}
END_TEST

START_TEST(enroll_and_record_key_of_another_request_is_refused)
{
    struct batch_job batch;
    const Mintmark__Internal__Enrolled *e;

    make_batch(&batch, 2, 5);
    ck_assert_int_eq(fixture_do(&f, &batch.job), MM_OK);
    make_enroll(&j, 1, "r1", 1, 2);
    enrolled();
    make_enroll(&j, 1, "r2", 1, 2);
    e = changes_nothing();
    is_refused(e, 0, "KEY_REUSED");
    is_refused(e, 1, "KEY_REUSED");
    make_enroll(&j, 2, "r3", 2, 2);
    e = enrolled();
    is_refused(e, 0, "KEY_REUSED");
    is_new(e, 1);
    make_enroll(&j, 1, "r1", 1, 1);
    j.spend.station = TEXT("station-2");
    is_refused(changes_nothing(), 0, "KEY_REUSED");
}
END_TEST

START_TEST(enroll_and_record_key_under_another_serial_is_refused)
{
    make_enroll(&j, 1, "r1", 1, 1);
    set_hw_serial(&j, 0, "SN-1");
    enrolled();
    set_hw_serial(&j, 0, "SN-2");
    is_refused(changes_nothing(), 0, "KEY_REUSED");
    set_hw_serial(&j, 0, "");
    is_refused(changes_nothing(), 0, "KEY_REUSED");
    set_hw_serial(&j, 0, "SN-1");
    is_again(changes_nothing(), 0, 1);
}
END_TEST

START_TEST(enroll_and_record_key_twice_in_a_job)
{
    const Mintmark__Internal__Enrolled *e;

    make_enroll(&j, 1, "r1", 1, 5);
    set_key(&j, 1, 1); /* the same serial number, none */
    set_key(&j, 2, 1);
    set_hw_serial(&j, 2, "SN-3");
    set_hw_serial(&j, 3, "SN-4");
    set_hw_serial(&j, 4, "SN-4"); /* another key */
    e = enrolled();
    is_new(e, 0);
    is_again(e, 1, 1);
    is_refused(e, 2, "KEY_REUSED");
    is_new(e, 3);
    is_refused(e, 4, "DUPLICATE_HW_SERIAL");
    ck_assert_uint_eq(e->recorded->order_used, 2);
}
END_TEST

START_TEST(enroll_and_record_serial_of_another_device_is_refused_until_ko)
{
    struct report_job report;

    make_enroll(&j, 1, "r1", 1, 1);
    set_hw_serial(&j, 0, "SN-1");
    enrolled();
    make_enroll(&j, 1, "r1", 2, 1);
    set_hw_serial(&j, 0, "SN-1");
    is_refused(changes_nothing(), 0, "DUPLICATE_HW_SERIAL");
    make_report(&report, 1, 1, 1, "no contact");
    ck_assert_int_eq(fixture_do(&f, &report.job), MM_OK);
    make_enroll(&j, 1, "r1", 2, 1);
    set_hw_serial(&j, 0, "SN-1");
    is_new(enrolled(), 0);
}
END_TEST

START_TEST(enroll_and_record_over_the_order_is_refused_whole)
{
    make_enroll(&j, 1, "r1", 1, 8);
    enrolled();
    make_enroll(&j, 1, "r1", 8, 4); /* three are new, two are left */
    fixture_refused(&f, &j.job, MM_ERR_EXHAUSTED, "QUOTA_EXHAUSTED");
    make_enroll(&j, 1, "r1", 8, 3);
    is_again(enrolled(), 0, 8);
    ck_assert_uint_eq(f.results[0]->enrolled->recorded->order_used, 10);
}
END_TEST

START_TEST(enroll_and_record_by_what_does_not_stand_is_refused)
{
    make_enroll(&j, 2, "r1", 1, 1);
    fixture_refused(&f, &j.job, MM_ERR_NOT_FOUND, "UNKNOWN_BATCH");
    fixture_spend(&f, 1, "r1", 1, 1, 1);
    make_enroll(&j, 1, "r1", 2, 1);
    fixture_refused(&f, &j.job, MM_ERR_INVALID, "REQUEST_ID_REUSED");
    make_enroll(&j, 1, "r2", 2, 1);
    j.enroll.spend = NULL;
    fixture_refused(&f, &j.job, MM_ERR_INVALID, "INVALID_FIELD");
}
END_TEST

/* The request has devices with and without a serial number; Enroll has no use for a list of them.
 */
START_TEST(find_request_of_an_enrolment_counts_only)
{
    struct small_job find;

    make_enroll(&j, 1, "r1", 1, 3);
    set_hw_serial(&j, 0, "SN-1");
    enrolled();
    make_find(&find, "r1");
    find.find.digest = j.spend.digest;
    find.find.count_only = true;
    ck_assert_int_eq(fixture_do(&f, &find.job), MM_OK);
    ck_assert_uint_eq(f.results[0]->request_found->recorded, 3);
    ck_assert_uint_eq(f.results[0]->request_found->n_hw_serials, 0);
    ck_assert_str_eq(f.results[0]->request_found->profile, PROFILE);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store_enroll");
    TCase *t = tcase_create("enroll");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, enroll_and_record_spends_for_new_keys);
    tcase_add_test(t, enroll_and_record_same_request_gets_what_was_recorded);
    tcase_add_test(t, enroll_and_record_answers_again_after_the_batch_is_released);
    tcase_add_test(t, enroll_and_record_key_of_another_request_is_refused);
    tcase_add_test(t, enroll_and_record_key_under_another_serial_is_refused);
    tcase_add_test(t, enroll_and_record_key_twice_in_a_job);
    tcase_add_test(t, enroll_and_record_serial_of_another_device_is_refused_until_ko);
    tcase_add_test(t, enroll_and_record_over_the_order_is_refused_whole);
    tcase_add_test(t, enroll_and_record_by_what_does_not_stand_is_refused);
    tcase_add_test(t, find_request_of_an_enrolment_counts_only);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
