/* SPDX-License-Identifier: Apache-2.0 */
/* Devices that get no certificate, for now or for good; and certificates that are revoked. */
#include "tests/unit/enrolments_support.h"

/* ---- failed, parked ---------------------------------------------------------------------- */

START_TEST(fail_makes_the_device_ko_and_it_can_be_made_again)
{
    const Mintmark__Internal__Settled *settled;
    struct small_job batch;

    record("r1", 2, 1, 2, true);
    settled = change(1, ACTION(FAIL), "refused: 'no such profile'");
    ck_assert_uint_eq(settled->counts->failed, 1);
    ck_assert_uint_eq(settled->counts->waiting, 1);
    ck_assert_ptr_null(f.results[0]->refunded_order);
    make_get_batch(&batch, 1);
    ck_assert_int_eq(fixture_do(&f, &batch.job), MM_OK);
    ck_assert_uint_eq(f.results[0]->batch->counts->ko, 1);
    ck_assert_int_eq(get(1)->withheld->state, CSTATE(FAILED));
    ck_assert_str_eq(get(1)->withheld->text, "refused: 'no such profile'");
    ck_assert_uint_eq(fetch("r1", 0, true, false)->n_withheld, 1);
    refused(1, certify(keys[1], 9, "CA"), "NOT_WAITING");
    make_step(1, ACTION(FAIL), "");
    fixture_refused(&f, &c.job, MM_ERR_PRECONDITION, "NOT_WAITING");
    make_step(1, ACTION(RETRY), "");
    fixture_refused(&f, &c.job, MM_ERR_PRECONDITION, "NOT_PARKED");
}
END_TEST

START_TEST(fail_gives_the_unit_back_where_the_order_says_so)
{
    struct order_job order;
    struct batch_job batch;

    make_order(&order, "replacing", 4);
    order.order.replacements_max = 1;
    sign_order(&order);
    ck_assert_int_eq(fixture_do(&f, &order.job), MM_OK);
    make_batch(&batch, 2, 4);
    batch.batch.order_id = TEXT("replacing");
    ck_assert_int_eq(fixture_do(&f, &batch.job), MM_OK);
    make_requests("r2", 3, 1, 3, true);
    j.spend.batch_uid = TEXT(batch_uid(2));
    ck_assert_int_eq(fixture_do(&f, &j.job), MM_OK);
    change(1, ACTION(FAIL), "no");
    ck_assert_uint_eq(f.results[0]->refunded_order->used, 2);
    ck_assert_uint_eq(f.results[0]->refunded_order->refunded, 1);
    change(2, ACTION(FAIL), "no");
    ck_assert_ptr_null(f.results[0]->refunded_order);
}
END_TEST

START_TEST(release_while_a_device_waits_is_refused)
{
    struct small_job release;

    record("r1", 2, 1, 2, true);
    make_release(&release, 1);
    fixture_refused(&f, &release.job, MM_ERR_PRECONDITION, "DEVICES_WAITING");
    done(give(1));
    change(2, ACTION(PARK), "why");
    fixture_refused(&f, &release.job, MM_ERR_PRECONDITION, "DEVICES_WAITING");
    change(2, ACTION(FAIL), "no");
    ck_assert_int_eq(fixture_do(&f, &release.job), MM_OK);
    ck_assert_uint_eq(f.results[0]->report->batch->counts->ko, 1);
}
END_TEST

START_TEST(postpone_and_park_and_retry)
{
    const Mintmark__Internal__WaitingPage *page;

    record("r1", 2, 1, 2, false);
    change(1, ACTION(POSTPONE), "timed out");
    page = take(T0, 8);
    ck_assert_uint_eq(page->n_devices, 1);
    ck_assert_uint_eq(page->devices[0]->number, 2);
    page = take(LATER, 1);
    ck_assert_uint_eq(page->devices[0]->attempts, 1);
    ck_assert_uint_eq(change(1, ACTION(PARK), "always times out")->counts->parked, 1);
    ck_assert_uint_eq(fetch("r1", 0, true, false)->parked, 1);
    ck_assert_uint_eq(f.results[0]->fetched->waiting, 1);
    page = take(LATER + 60000, 8);
    ck_assert_uint_eq(page->n_devices, 1);
    ck_assert_uint_eq(page->devices[0]->number, 2);
    make_step(1, ACTION(PARK), "");
    fixture_refused(&f, &c.job, MM_ERR_PRECONDITION, "NOT_WAITING");
    make_step(1, ACTION(RETRY), "");
    c.change.next_time_ms = T0;
    c.change.by = TEXT("anna");
    ck_assert_int_eq(fixture_do(&f, &c.job), MM_OK);
    page = take(T0, 8);
    ck_assert_uint_eq(page->n_devices, 1);
    ck_assert_uint_eq(page->devices[0]->attempts, 0);
    ck_assert(page->devices[0]->begun);
    change(1, ACTION(PARK), "again");
    done(give(1)); /* a late answer */
    ck_assert_uint_eq(f.results[0]->certified->devices[0]->counts->parked, 0);
}
END_TEST

START_TEST(release_of_what_was_not_sent_is_no_attempt)
{
    const Mintmark__Internal__WaitingPage *page;

    record("r1", 1, 1, 1, false);
    ck_assert_uint_eq(take(T0, 8)->n_devices, 1);
    make_step(1, ACTION(RELEASE), "away");
    c.change.next_time_ms = T0 + 9;
    ck_assert_int_eq(fixture_do(&f, &c.job), MM_OK);
    ck_assert_uint_eq(take(T0, 8)->n_devices, 0);
    page = take(T0 + 9, 8);
    ck_assert_uint_eq(page->n_devices, 1);
    ck_assert(!page->devices[0]->begun);
    ck_assert_uint_eq(page->devices[0]->attempts, 0);
}
END_TEST

START_TEST(list_withheld_newest_first_in_pages)
{
    record("r1", 3, 1, 3, false);
    change(2, ACTION(PARK), "why");
    JOB(list, LIST_WITHHELD, list_withheld);
    c.job.list_withheld = &c.list;
    c.list.state = CSTATE(WAITING);
    c.list.page_size = 1;
    ck_assert_int_eq(fixture_do(&f, &c.job), MM_OK);
    ck_assert_uint_eq(f.results[0]->withheld_devices->n_devices, 1);
    ck_assert_uint_eq(f.results[0]->withheld_devices->devices[0]->number, 3);
    ck_assert_str_eq(f.results[0]->withheld_devices->devices[0]->profile, PROFILE);
    c.list.page_token = strdup(f.results[0]->withheld_devices->next_page_token);
    ck_assert_int_eq(fixture_do(&f, &c.job), MM_OK);
    ck_assert_uint_eq(f.results[0]->withheld_devices->devices[0]->number, 1);
    ck_assert_str_eq(f.results[0]->withheld_devices->next_page_token, "");
    c.list.state = CSTATE(PARKED);
    fixture_refused(&f, &c.job, MM_ERR_INVALID, "INVALID_FIELD");
    free(c.list.page_token);
    c.list.page_token = TEXT("");
    ck_assert_int_eq(fixture_do(&f, &c.job), MM_OK);
    ck_assert_str_eq(f.results[0]->withheld_devices->devices[0]->text, "why");
}
END_TEST

/* ---- revocation -------------------------------------------------------------------------- */

static void make_revoke(unsigned number, const struct certificate *wrong)
{
    JOB(revoke, REVOKE, revoke_device);
    c.job.revoke = &c.revoke;
    c.revoke.uid = uid(0, number);
    c.revoke.reason = MINTMARK__V1__REVOCATION_REASON__REVOCATION_REASON_KEY_COMPROMISE;
    c.revoke.by = TEXT("anna");
    c.revoke.now_ms = T0;
    if (wrong)
        c.revoke.certificate = (ProtobufCBinaryData){wrong->len, wrong->der};
}

static const Mintmark__Internal__RevocationsPage *due(int64_t now_ms)
{
    JOB(take_revocations, TAKE_REVOCATIONS, take_revocations);
    c.job.take_revocations = &c.take_revocations;
    c.take_revocations.now_ms = now_ms;
    c.take_revocations.next_time_ms = now_ms + 60000;
    c.take_revocations.limit = 8;
    ck_assert_int_eq(fixture_do(&f, &c.job), MM_OK);
    return f.results[0]->revocations;
}

static void end(uint64_t row, bool finished)
{
    JOB(end, END_REVOCATION, end_revocation);
    c.job.end_revocation = &c.end;
    c.end.row = row;
    c.end.done = finished;
    c.end.text = TEXT("said");
    c.end.now_ms = T0;
    c.end.next_time_ms = LATER + 1;
    ck_assert_int_eq(fixture_do(&f, &c.job), MM_OK);
}

static void end_refused(uint64_t row)
{
    JOB(end, END_REVOCATION, end_revocation);
    c.job.end_revocation = &c.end;
    c.end.row = row;
    c.end.refused = true;
    c.end.text = TEXT("said");
    c.end.now_ms = T0;
    c.end.next_time_ms = T0;
    ck_assert_int_eq(fixture_do(&f, &c.job), MM_OK);
}

START_TEST(revoke_is_given_out_until_it_is_done)
{
    const Mintmark__Internal__RevocationsPage *page;
    struct certificate cert;

    record("r1", 2, 1, 2, true);
    make_revoke(1, NULL);
    fixture_refused(&f, &c.job, MM_ERR_PRECONDITION, "NO_CERTIFICATE");
    cert = give(1);
    make_revoke(1, NULL);
    ck_assert_int_eq(fixture_do(&f, &c.job), MM_OK);
    ck_assert_uint_eq(f.results[0]->revocations->pending, 1);
    fixture_refused(&f, &c.job, MM_ERR_EXISTS, "ALREADY_REVOKED");
    make_revoke(7, NULL);
    fixture_refused(&f, &c.job, MM_ERR_NOT_FOUND, "UNKNOWN_DEVICE");
    page = due(T0);
    ck_assert_uint_eq(page->n_revocations, 1);
    ck_assert_mem_eq(page->revocations[0]->serial.data, "\x03\xe9", 2);
    ck_assert_str_eq(page->revocations[0]->profile, PROFILE);
    ck_assert_uint_eq(due(T0)->n_revocations, 0);
    end(1, false);
    ck_assert_uint_eq(due(LATER)->n_revocations, 0);
    page = due(LATER + 1);
    ck_assert_uint_eq(page->n_revocations, 1);
    ck_assert_uint_eq(page->revocations[0]->attempts, 1);
    end(1, true);
    ck_assert_uint_eq(f.results[0]->revocations->pending, 0);
    fixture_refused(&f, &c.job, MM_ERR_NOT_FOUND, "UNKNOWN_REVOCATION");
    done(cert);
}
END_TEST

static void list_unrevoked(size_t n)
{
    JOB(list, LIST_WITHHELD, list_withheld);
    c.job.list_withheld = &c.list;
    c.list.page_size = 10;
    c.list.unrevoked = true;
    ck_assert_int_eq(fixture_do(&f, &c.job), MM_OK);
    ck_assert_uint_eq(f.results[0]->withheld_devices->n_devices, n);
}

static void make_again(unsigned number)
{
    make_revoke(number, NULL);
    c.revoke.again = true;
}

START_TEST(revoke_that_is_refused_waits_for_an_officer)
{
    const Mintmark__Internal__RevocationsPage *page;
    struct certificate wrong = certify(keys[1], 99, "CA");

    record("r1", 2, 1, 2, true);
    done(give(1));
    make_again(1);
    fixture_refused(&f, &c.job, MM_ERR_PRECONDITION, "NOT_REFUSED");
    make_revoke(1, NULL);
    ck_assert_int_eq(fixture_do(&f, &c.job), MM_OK);
    make_revoke(1, &wrong);
    ck_assert_int_eq(fixture_do(&f, &c.job), MM_OK);
    list_unrevoked(0);
    ck_assert_uint_eq(due(T0)->n_revocations, 2);
    end_refused(1);
    end_refused(2);
    ck_assert_uint_eq(f.results[0]->revocations->pending, 0);
    ck_assert_uint_eq(f.results[0]->revocations->refused, 2);
    ck_assert_uint_eq(due(LATER + 1)->n_revocations, 0);
    make_revoke(1, NULL);
    fixture_refused(&f, &c.job, MM_ERR_EXISTS, "ALREADY_REVOKED");
    list_unrevoked(2);
    ck_assert_str_eq(f.results[0]->withheld_devices->devices[0]->text, "said");
    ck_assert_uint_eq(f.results[0]->withheld_devices->devices[0]->number, 1);
    make_again(2);
    fixture_refused(&f, &c.job, MM_ERR_PRECONDITION, "NOT_REFUSED");
    make_again(1);
    ck_assert_int_eq(fixture_do(&f, &c.job), MM_OK);
    ck_assert_uint_eq(f.results[0]->revocations->pending, 2);
    ck_assert_uint_eq(f.results[0]->revocations->refused, 0);
    page = due(T0);
    ck_assert_uint_eq(page->n_revocations, 2);
    ck_assert_uint_eq(page->revocations[0]->attempts, 0);
    end(1, true);
    list_unrevoked(0);
    done(wrong);
}
END_TEST

START_TEST(revoke_a_wrong_certificate_of_a_device_that_waits)
{
    struct certificate wrong = certify(keys[3], 99, "CA");

    record("r1", 1, 1, 1, true);
    make_revoke(1, &wrong);
    ck_assert_int_eq(fixture_do(&f, &c.job), MM_OK);
    ck_assert_uint_eq(due(T0)->n_revocations, 1);
    ck_assert_uint_eq(get(1)->bundle.len, 0);
    done(wrong);
}
END_TEST

START_TEST(revoke_one_more_of_a_device)
{
    const Mintmark__Internal__RevocationsPage *page;
    struct certificate cert;

    record("r1", 2, 1, 2, true);
    make_revoke(1, NULL);
    c.revoke.serial = (ProtobufCBinaryData){1, (uint8_t *)TEXT("\x07")};
    fixture_refused(&f, &c.job, MM_ERR_PRECONDITION, "NO_CERTIFICATE");
    done(give(1));
    cert = give(2);
    make_revoke(1, NULL);
    c.revoke.serial = (ProtobufCBinaryData){1, (uint8_t *)TEXT("\x07")};
    ck_assert_int_eq(fixture_do(&f, &c.job), MM_OK);
    fixture_refused(&f, &c.job, MM_ERR_EXISTS, "ALREADY_REVOKED");
    page = due(T0);
    ck_assert_uint_eq(page->n_revocations, 1);
    ck_assert_mem_eq(page->revocations[0]->serial.data, "\x07", 1);
    ck_assert_uint_gt(page->revocations[0]->issuer_name.len, 0);
    /* not what is another device's own */
    make_revoke(1, NULL);
    c.revoke.serial = (ProtobufCBinaryData){2, (uint8_t *)TEXT("\x03\xea")};
    fixture_refused(&f, &c.job, MM_ERR_EXISTS, "CERTIFICATE_KNOWN");
    /* nor the device's own, which is not one more */
    c.revoke.serial = (ProtobufCBinaryData){2, (uint8_t *)TEXT("\x03\xe9")};
    fixture_refused(&f, &c.job, MM_ERR_EXISTS, "CERTIFICATE_KNOWN");
    make_revoke(1, &cert);
    fixture_refused(&f, &c.job, MM_ERR_EXISTS, "CERTIFICATE_KNOWN");
    c.revoke.serial = (ProtobufCBinaryData){1, (uint8_t *)TEXT("\x07")};
    fixture_refused(&f, &c.job, MM_ERR_INVALID, "INVALID_FIELD");
    done(cert);
}
END_TEST

START_TEST(certify_with_what_was_revoked_is_refused)
{
    struct certificate cert = certify(keys[2], 77, "CA");

    record("r1", 2, 1, 2, true);
    make_revoke(1, &cert); /* it came for device 1 */
    ck_assert_int_eq(fixture_do(&f, &c.job), MM_OK);
    refused(2, cert, "CERTIFICATE_REVOKED");
}
END_TEST

START_TEST(report_ko_revokes_if_it_is_asked_to)
{
    struct report_job report;

    record("r1", 3, 1, 3, true);
    done(give(1));
    done(give(2));
    done(give(3));
    make_report(&report, 1, 1, 1, "broken");
    ck_assert_int_eq(fixture_do(&f, &report.job), MM_OK);
    ck_assert_uint_eq(due(T0 + 200)->n_revocations, 0);
    make_report(&report, 1, 1, 3, "broken");
    report.devices.revoke_ko = true;
    ck_assert_int_eq(fixture_do(&f, &report.job), MM_OK);
    ck_assert_uint_eq(due(T0 + 200)->n_revocations, 3);
    ck_assert_int_eq(fixture_do(&f, &report.job), MM_OK);
    ck_assert_uint_eq(f.results[0]->counts->ko, 3);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store_withheld");
    TCase *tc = tcase_create("store_withheld");

    tcase_add_unchecked_fixture(tc, setup_keys, teardown_keys);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, fail_makes_the_device_ko_and_it_can_be_made_again);
    tcase_add_test(tc, fail_gives_the_unit_back_where_the_order_says_so);
    tcase_add_test(tc, release_while_a_device_waits_is_refused);
    tcase_add_test(tc, postpone_and_park_and_retry);
    tcase_add_test(tc, release_of_what_was_not_sent_is_no_attempt);
    tcase_add_test(tc, list_withheld_newest_first_in_pages);
    tcase_add_test(tc, revoke_is_given_out_until_it_is_done);
    tcase_add_test(tc, revoke_that_is_refused_waits_for_an_officer);
    tcase_add_test(tc, revoke_a_wrong_certificate_of_a_device_that_waits);
    tcase_add_test(tc, revoke_one_more_of_a_device);
    tcase_add_test(tc, certify_with_what_was_revoked_is_refused);
    tcase_add_test(tc, report_ko_revokes_if_it_is_asked_to);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
