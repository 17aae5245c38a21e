/* SPDX-License-Identifier: Apache-2.0 */
/* Devices whose certificates come from elsewhere: recorded, given out, certified. */
#include "tests/unit/enrolments_support.h"

/* ---- recorded ---------------------------------------------------------------------------- */

START_TEST(spend_and_record_waiting_spends_and_delivers_nothing)
{
    record("r1", 3, 1, 3, false);
    ck_assert_uint_eq(f.results[0]->recorded->order_used, 3);
    ck_assert_uint_eq(f.results[0]->recorded->enrolments->waiting, 3);
    ck_assert_str_eq(f.results[0]->recorded->enrolments->profile, PROFILE);
    ck_assert_uint_ne(f.results[0]->recorded->request, 0);
    ck_assert_uint_eq(fetch("r1", 0, false, false)->n_bundles, 0);
    ck_assert_uint_eq(fetch("r1", 0, true, false)->n_bundles, 0);
    ck_assert_uint_eq(get(2)->bundle.len, 0);
    ck_assert_int_eq(get(2)->withheld->state, CSTATE(WAITING));
    ck_assert_uint_eq(get(2)->withheld->number, 2);
}
END_TEST

START_TEST(spend_and_record_over_waiting_max_is_refused)
{
    record("r1", 5, 1, 3, false);
    make_requests("r1", 5, 4, 2, false);
    waiting.max = 4;
    fixture_refused(&f, &j.job, MM_ERR_EXHAUSTED, "TOO_MANY_WAITING");
    waiting.max = 5;
    ck_assert_int_eq(fixture_do(&f, &j.job), MM_OK);
}
END_TEST

START_TEST(spend_and_record_waiting_with_a_serial_is_refused)
{
    make_requests("r1", 1, 1, 1, false);
    j.devices[0].serial = (ProtobufCBinaryData){4, (uint8_t *)TEXT("1234")};
    fixture_refused(&f, &j.job, MM_ERR_INVALID, "INVALID_FIELD");
}
END_TEST

START_TEST(report_devices_that_wait_is_refused)
{
    struct report_job report;

    record("r1", 2, 1, 2, false);
    make_report(&report, 1, 2, 1, "");
    fixture_refused(&f, &report.job, MM_ERR_PRECONDITION, "DEVICE_WAITING");
    make_report(&report, 1, 2, 1, "broken");
    fixture_refused(&f, &report.job, MM_ERR_PRECONDITION, "DEVICE_WAITING");
    done(give(2));
    ck_assert_int_eq(fixture_do(&f, &report.job), MM_OK);
}
END_TEST

/* ---- given out --------------------------------------------------------------------------- */

START_TEST(take_waiting_gives_the_oldest_out_once)
{
    const Mintmark__Internal__WaitingPage *page;

    record("r1", 5, 1, 3, false);
    page = take(T0, 2);
    ck_assert_uint_eq(page->n_devices, 2);
    ck_assert_uint_eq(page->devices[0]->number, 1);
    ck_assert_str_eq(page->devices[0]->username, "user-1");
    ck_assert(!page->devices[0]->begun);
    ck_assert_uint_eq(page->devices[0]->csr.len, strlen("request of device 1"));
    ck_assert_mem_eq(page->devices[0]->csr.data, "request of device 1",
                     strlen("request of device 1"));
    ck_assert_int_eq(page->next_time_ms, T0);
    page = take(T0, 2);
    ck_assert_uint_eq(page->n_devices, 1);
    ck_assert_uint_eq(page->devices[0]->number, 3);
    ck_assert_int_eq(page->next_time_ms, LATER);
    ck_assert_uint_eq(take(T0, 2)->n_devices, 0);
    /* What was given out and did not come back may have been sent. */
    page = take(LATER, 8);
    ck_assert_uint_eq(page->n_devices, 3);
    ck_assert(page->devices[2]->begun);
}
END_TEST

START_TEST(take_waiting_begun_devices_come_later_and_say_so)
{
    const Mintmark__Internal__WaitingPage *page;

    record("r1", 2, 1, 2, true);
    ck_assert_uint_eq(take(T0, 8)->n_devices, 0);
    page = take(LATER, 8);
    ck_assert_uint_eq(page->n_devices, 2);
    ck_assert(page->devices[0]->begun);
}
END_TEST

START_TEST(take_waiting_of_an_unknown_profile_is_empty)
{
    make_take(T0, 8);
    c.take.profile = TEXT("other");
    ck_assert_int_eq(fixture_do(&f, &c.job), MM_OK);
    ck_assert_uint_eq(f.results[0]->waiting_page->n_devices, 0);
}
END_TEST

/* ---- certified --------------------------------------------------------------------------- */

START_TEST(certify_delivers_the_bundle_with_the_certificate)
{
    struct certificate cert;
    const Mintmark__Internal__Fetched *page;
    Mintmark__V1__Bundle *b;

    record("r1", 3, 1, 3, true);
    done(give(3));
    cert = give(1);
    ck_assert_uint_eq(f.results[0]->certified->devices[0]->counts->certified, 2);
    ck_assert_uint_eq(f.results[0]->certified->devices[0]->counts->waiting, 1);
    page = fetch("r1", 0, true, false);
    ck_assert_uint_eq(page->n_bundles, 2);
    ck_assert_uint_eq(page->waiting, 1);
    ck_assert_uint_eq(page->last_row, 2);
    b = mintmark__v1__bundle__unpack(NULL, page->bundles[1].len, page->bundles[1].data);
    ck_assert_ptr_nonnull(b);
    ck_assert_uint_eq(b->number, 1);
    ck_assert_uint_eq(b->csr.len, 0);
    ck_assert_uint_eq(b->certificate.len, cert.len);
    ck_assert_mem_eq(b->certificate.data, cert.der, cert.len);
    ck_assert_uint_eq(b->private_key.len, 7);
    mintmark__v1__bundle__free_unpacked(b, NULL);
    ck_assert_uint_eq(fetch("r1", 0, false, false)->n_bundles, 2);
    ck_assert_uint_gt(get(1)->bundle.len, cert.len);
    ck_assert_uint_eq(fetch("r1", 0, false, true)->n_withheld, 1);
    ck_assert_uint_eq(f.results[0]->fetched->withheld[0]->number, 2);
    done(cert);
}
END_TEST

START_TEST(certify_the_same_again_changes_nothing)
{
    struct certificate cert;
    char *before, *after;

    record("r1", 1, 1, 1, true);
    cert = give(1);
    before = fixture_dump(&f);
    ck_assert_str_eq(certify_one(1, &cert), "");
    after = fixture_dump(&f);
    ck_assert_str_eq(before, after);
    free(before);
    free(after);
    done(cert);
}
END_TEST

START_TEST(certify_refuses_what_cannot_be)
{
    struct certificate cut = certify(keys[2], 77, "CA");

    record("r1", 2, 1, 2, true);
    done(give(1));
    refused(1, certify(keys[1], 5, "CA"), "NOT_WAITING");
    refused(2, certify(keys[1], 6, "CA"), "CERTIFICATE_KEY");
    refused(2, certify(keys[2], 1001, "CA"), "CERTIFICATE_KNOWN");
    refused(2, certify(keys[2], 0, "CA"), "CERTIFICATE_MALFORMED");
    refused(2, certify(keys[2], -5, "CA"), "CERTIFICATE_MALFORMED");
    refused(7, certify(keys[7], 7, "CA"), "UNKNOWN_DEVICE");
    cut.len--;
    refused(2, cut, "CERTIFICATE_MALFORMED");
    done((struct certificate){0});
    /* The number is another CA's. */
    cut = certify(keys[2], 1001, "Other CA");
    ck_assert_str_eq(certify_one(2, &cut), "");
    done(cut);
}
END_TEST

START_TEST(certify_judges_each_of_a_job_alone)
{
    struct certificate good[2] = {certify(keys[1], 1, "CA"), certify(keys[3], 3, "CA")};
    struct certificate bad = certify(keys[2], 1, "CA");

    record("r1", 3, 1, 3, true);
    make_certify(3);
    put_certificate(0, 1, &good[0]);
    put_certificate(1, 2, &bad); /* the number of the first */
    put_certificate(2, 3, &good[1]);
    ck_assert_int_eq(fixture_do(&f, &c.job), MM_OK);
    ck_assert_ptr_null(f.results[0]->certified->devices[0]->error);
    ck_assert_str_eq(f.results[0]->certified->devices[1]->error->reason, "CERTIFICATE_KNOWN");
    ck_assert_ptr_null(f.results[0]->certified->devices[2]->error);
    ck_assert_uint_eq(fetch("r1", 0, true, false)->waiting, 1);
    done(good[0]);
    done(good[1]);
    done(bad);
}
END_TEST

START_TEST(ledger_finds_an_exchanged_certificate)
{
    MM_LEDGER_WALK_CLEANUP struct mm_ledger_walk walk = {.devices = true};
    struct mm_errinfo ei = {0};

    record("r1", 1, 1, 1, true);
    done(give(1));
    ck_assert_int_eq(mm_sql_exec(f.store, "UPDATE enrolments SET serial = x'0102'", &ei), MM_OK);
    ck_assert_int_eq(mm_ledger_walk(f.store, &walk, 1000, UINT64_MAX, &ei), MM_ERR_CORRUPT);
    ck_assert_str_eq(ei.reason, "LEDGER_EDITED");
    ck_assert_int_eq(mm_sql_exec(f.store, "UPDATE enrolments SET serial = x'03e9'", &ei), MM_OK);
}
END_TEST

START_TEST(enroll_and_record_a_key_that_waits_is_withheld)
{
    const Mintmark__Internal__Enrolled *e;

    make_enroll(&j, 1, "r1", 1, 2);
    put_requests(&j, 1, true);
    j.devices[1].hw_serial = j.devices[0].hw_serial;
    j.devices[1].spki_sha256 = j.devices[0].spki_sha256; /* twice the same */
    ck_assert_int_eq(fixture_do(&f, &j.job), MM_OK);
    e = f.results[0]->enrolled;
    ck_assert_uint_eq(e->keys[1]->bundle.len, 0);
    ck_assert_int_eq(e->keys[1]->withheld->state, CSTATE(WAITING));
    ck_assert_uint_eq(e->recorded->enrolments->waiting, 1);
    ck_assert_int_eq(fixture_do(&f, &j.job), MM_OK);
    e = f.results[0]->enrolled;
    ck_assert_uint_eq(e->keys[0]->bundle.len, 0);
    ck_assert_int_eq(e->keys[0]->withheld->state, CSTATE(WAITING));
    done(give(1));
    ck_assert_int_eq(fixture_do(&f, &j.job), MM_OK);
    ck_assert_ptr_null(f.results[0]->enrolled->keys[0]->withheld);
    ck_assert_uint_gt(f.results[0]->enrolled->keys[0]->bundle.len, 0);
}
END_TEST

START_TEST(open_again_keeps_all)
{
    char *before, *after;

    record("r1", 3, 1, 3, true);
    done(give(1));
    change(2, ACTION(PARK), "why");
    before = fixture_dump(&f);
    fixture_close(&f);
    fixture_open(&f);
    after = fixture_dump(&f);
    ck_assert_str_eq(before, after);
    free(before);
    free(after);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store_enrolments");
    TCase *tc = tcase_create("store_enrolments");

    tcase_add_unchecked_fixture(tc, setup_keys, teardown_keys);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, spend_and_record_waiting_spends_and_delivers_nothing);
    tcase_add_test(tc, spend_and_record_over_waiting_max_is_refused);
    tcase_add_test(tc, spend_and_record_waiting_with_a_serial_is_refused);
    tcase_add_test(tc, report_devices_that_wait_is_refused);
    tcase_add_test(tc, take_waiting_gives_the_oldest_out_once);
    tcase_add_test(tc, take_waiting_begun_devices_come_later_and_say_so);
    tcase_add_test(tc, take_waiting_of_an_unknown_profile_is_empty);
    tcase_add_test(tc, certify_delivers_the_bundle_with_the_certificate);
    tcase_add_test(tc, certify_the_same_again_changes_nothing);
    tcase_add_test(tc, certify_refuses_what_cannot_be);
    tcase_add_test(tc, certify_judges_each_of_a_job_alone);
    tcase_add_test(tc, ledger_finds_an_exchanged_certificate);
    tcase_add_test(tc, enroll_and_record_a_key_that_waits_is_withheld);
    tcase_add_test(tc, open_again_keeps_all);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
