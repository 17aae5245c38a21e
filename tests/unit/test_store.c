/* SPDX-License-Identifier: Apache-2.0 */
/* Each verb: what it does, and that what it refuses changes nothing. */
#include "tests/unit/check_main.h"
#include "tests/unit/store_fixture.h"

#include <stdio.h>
#include <string.h>

static struct fixture f;

static void setup(void)
{
    fixture_setup(&f);
}

static void teardown(void)
{
    fixture_check_invariants(&f);
    fixture_teardown(&f);
}

START_TEST(add_order_twice_is_refused)
{
    struct order_job order;

    make_order(&order, ORDER, 10);
    ck_assert_int_eq(fixture_do(&f, &order.job), MM_OK);
    order.order.quantity = 11;
    sign_order(&order);
    fixture_refused(&f, &order.job, MM_ERR_EXISTS, "ORDER_EXISTS");
}
END_TEST

START_TEST(open_batch_on_an_order_that_cannot_bear_it_is_refused)
{
    struct order_job order;
    struct batch_job batch;

    make_order(&order, ORDER, 10);
    order.order.not_before_time_ms = T0 + 200;
    sign_order(&order);
    ck_assert_int_eq(fixture_do(&f, &order.job), MM_OK);
    make_batch(&batch, 1, 10);
    batch.batch.opened_time_ms = T0 + 200; /* the front's clock does not count */
    fixture_refused(&f, &batch.job, MM_ERR_PRECONDITION, "ORDER_NOT_YET_VALID");
    fixture_clock_ms = T0 + 200;
    make_batch(&batch, 1, 11);
    fixture_refused(&f, &batch.job, MM_ERR_EXHAUSTED, "QUOTA_EXHAUSTED");
    make_batch(&batch, 1, 10);
    batch.batch.order_id = TEXT("order-2");
    fixture_refused(&f, &batch.job, MM_ERR_NOT_FOUND, "UNKNOWN_ORDER");
    make_batch(&batch, 1, 10);
    batch.batch.profile = TEXT("idevid");
    fixture_refused(&f, &batch.job, MM_ERR_INVALID, "INVALID_FIELD");
    make_batch(&batch, 1, 10);
    ck_assert_int_eq(fixture_do(&f, &batch.job), MM_OK);
    fixture_refused(&f, &batch.job, MM_ERR_EXISTS, "BATCH_EXISTS");
    make_batch(&batch, 2, 1);
    fixture_clock_ms = T_END;
    fixture_refused(&f, &batch.job, MM_ERR_PRECONDITION, "ORDER_EXPIRED");
}
END_TEST

START_TEST(get_batch_shows_what_was_opened)
{
    struct small_job get;
    const Mintmark__V1__Batch *b;

    fixture_populate(&f, 10);
    fixture_spend(&f, 1, "r1", 3, 1, 3);
    make_get_batch(&get, 1);
    ck_assert_int_eq(fixture_do(&f, &get.job), MM_OK);
    b = f.results[0]->batch;
    ck_assert_str_eq(b->batch_uid, batch_uid(1));
    ck_assert_str_eq(b->name, "monday");
    ck_assert_str_eq(b->profile, PROFILE);
    ck_assert_str_eq(b->device_type, "alarm");
    ck_assert_str_eq(b->order_id, ORDER);
    ck_assert_str_eq(b->station, STATION);
    ck_assert_uint_eq(b->quantity, 10);
    ck_assert_uint_eq(b->heads, 4);
    ck_assert_int_eq(b->state, MINTMARK__V1__BATCH_STATE__BATCH_STATE_OPEN);
    ck_assert_int_eq(b->opened_time_ms, T0 + 100);
    ck_assert_uint_eq(b->counts->issued, 3);
    ck_assert_uint_eq(b->counts->unreported, 3);
    make_get_batch(&get, 2);
    fixture_refused(&f, &get.job, MM_ERR_NOT_FOUND, "UNKNOWN_BATCH");
}
END_TEST

START_TEST(spend_and_record_counts_and_stops_at_the_order)
{
    struct batch_job batch;
    struct spend_job j;

    fixture_populate(&f, 10);
    make_batch(&batch, 2, 10);
    ck_assert_int_eq(fixture_do(&f, &batch.job), MM_OK);
    make_spend(&j, 1, "r1", 6, 1, 6);
    ck_assert_int_eq(fixture_do(&f, &j.job), MM_OK);
    ck_assert_uint_eq(f.results[0]->recorded->order_used, 6);
    ck_assert_uint_eq(f.results[0]->recorded->batch_issued, 6);
    make_spend(&j, 2, "r2", 5, 7, 5);
    fixture_refused(&f, &j.job, MM_ERR_EXHAUSTED, "QUOTA_EXHAUSTED");
    make_spend(&j, 2, "r2", 4, 7, 4);
    ck_assert_int_eq(fixture_do(&f, &j.job), MM_OK);
    ck_assert_uint_eq(f.results[0]->recorded->order_used, 10);
    ck_assert_uint_eq(f.results[0]->recorded->batch_issued, 4);
    make_spend(&j, 2, "r3", 1, 11, 1);
    fixture_refused(&f, &j.job, MM_ERR_EXHAUSTED, "QUOTA_EXHAUSTED");
}
END_TEST

START_TEST(spend_and_record_over_the_batch_is_refused)
{
    struct batch_job batch;
    struct spend_job j;

    fixture_populate(&f, 10);
    make_batch(&batch, 2, 3);
    ck_assert_int_eq(fixture_do(&f, &batch.job), MM_OK);
    make_spend(&j, 2, "r1", 4, 1, 4);
    fixture_refused(&f, &j.job, MM_ERR_EXHAUSTED, "BATCH_FULL");
}
END_TEST

START_TEST(spend_and_record_by_what_does_not_stand_is_refused)
{
    struct spend_job j;
    struct small_job release;

    fixture_populate(&f, 10);
    make_spend(&j, 2, "r1", 4, 1, 4);
    fixture_refused(&f, &j.job, MM_ERR_NOT_FOUND, "UNKNOWN_BATCH");
    make_release(&release, 1);
    ck_assert_int_eq(fixture_do(&f, &release.job), MM_OK);
    make_spend(&j, 1, "r1", 4, 1, 4);
    fixture_refused(&f, &j.job, MM_ERR_PRECONDITION, "BATCH_RELEASED");
}
END_TEST

/* By the store's clock, and a clock that is put back does not bring it back. */
START_TEST(spend_and_record_after_the_orders_end_is_refused)
{
    struct spend_job j;

    fixture_populate(&f, 10);
    make_spend(&j, 1, "r1", 4, 1, 4);
    fixture_clock_ms = T_END - 1;
    ck_assert_int_eq(fixture_do(&f, &j.job), MM_OK);
    make_spend(&j, 1, "r2", 4, 5, 4);
    j.spend.now_ms = T0 + 100;
    fixture_clock_ms = T_END;
    fixture_refused(&f, &j.job, MM_ERR_PRECONDITION, "ORDER_EXPIRED");
}
END_TEST

START_TEST(spend_and_record_never_exceeds_its_request)
{
    struct batch_job batch;
    struct spend_job j;

    fixture_populate(&f, 100);
    make_batch(&batch, 2, 10);
    ck_assert_int_eq(fixture_do(&f, &batch.job), MM_OK);
    make_spend(&j, 1, "r1", 4, 1, 5);
    fixture_refused(&f, &j.job, MM_ERR_PRECONDITION, "REQUEST_COMPLETE");
    fixture_spend(&f, 1, "r1", 4, 1, 3);
    make_spend(&j, 1, "r1", 4, 4, 2);
    fixture_refused(&f, &j.job, MM_ERR_PRECONDITION, "REQUEST_COMPLETE");
    fixture_spend(&f, 1, "r1", 4, 4, 1);
    make_spend(&j, 1, "r1", 4, 5, 1);
    fixture_refused(&f, &j.job, MM_ERR_PRECONDITION, "REQUEST_COMPLETE");
    make_spend(&j, 1, "r1", 5, 5, 1); /* the digest differs as well */
    fixture_refused(&f, &j.job, MM_ERR_INVALID, "REQUEST_ID_REUSED");
    make_spend(&j, 2, "r1", 4, 5, 1);
    fixture_refused(&f, &j.job, MM_ERR_INVALID, "REQUEST_ID_REUSED");
    make_spend(&j, 1, "r1", 4, 5, 1);
    j.spend.station = TEXT("station-2"); /* another station's r1 is another request */
    ck_assert_int_eq(fixture_do(&f, &j.job), MM_OK);
}
END_TEST

START_TEST(spend_and_record_a_duplicate_hw_serial_is_refused_until_ko)
{
    struct spend_job j;
    struct report_job report;

    fixture_populate(&f, 100);
    make_spend(&j, 1, "r1", 2, 1, 2);
    set_hw_serial(&j, 0, "SN-1");
    set_hw_serial(&j, 1, "SN-2");
    ck_assert_int_eq(fixture_do(&f, &j.job), MM_OK);
    make_spend(&j, 1, "r2", 2, 3, 2);
    set_hw_serial(&j, 0, "SN-3");
    set_hw_serial(&j, 1, "SN-2");
    fixture_refused(&f, &j.job, MM_ERR_EXISTS, "DUPLICATE_HW_SERIAL");
    ck_assert_ptr_nonnull(strstr(f.results[0]->error->text, "SN-2"));
    set_hw_serial(&j, 1, "SN-3"); /* twice in one job */
    fixture_refused(&f, &j.job, MM_ERR_EXISTS, "DUPLICATE_HW_SERIAL");
    make_report(&report, 1, 2, 1, "no contact");
    ck_assert_int_eq(fixture_do(&f, &report.job), MM_OK);
    set_hw_serial(&j, 1, "SN-2");
    ck_assert_int_eq(fixture_do(&f, &j.job), MM_OK);
}
END_TEST

START_TEST(spend_and_record_takes_devices_without_certificate)
{
    struct spend_job j;

    fixture_populate(&f, 10);
    make_spend(&j, 1, "r1", 2, 1, 2);
    j.devices[0].serial.len = 0;
    ck_assert_int_eq(fixture_do(&f, &j.job), MM_OK);
    ck_assert_int_eq(fixture_int(&f, "SELECT count(*) FROM devices WHERE serial IS NULL"), 1);
}
END_TEST

START_TEST(spend_and_record_a_known_uid_is_refused)
{
    struct spend_job j;

    fixture_populate(&f, 100);
    fixture_spend(&f, 1, "r1", 2, 1, 2);
    make_spend(&j, 1, "r2", 2, 2, 2);
    fixture_refused(&f, &j.job, MM_ERR_EXISTS, "DUPLICATE_DEVICE");
}
END_TEST

START_TEST(find_request_tells_what_is_recorded)
{
    struct spend_job j;
    struct small_job find;

    fixture_populate(&f, 100);
    make_find(&find, "r1");
    ck_assert_int_eq(fixture_do(&f, &find.job), MM_OK);
    ck_assert_uint_eq(f.results[0]->request_found->recorded, 0);
    make_spend(&j, 1, "r1", 256, 1, 2); /* its digest is all zero */
    set_hw_serial(&j, 0, "SN-1");
    set_hw_serial(&j, 1, "SN-2");
    ck_assert_int_eq(fixture_do(&f, &j.job), MM_OK);
    ck_assert_int_eq(fixture_do(&f, &find.job), MM_OK);
    ck_assert_uint_eq(f.results[0]->request_found->recorded, 2);
    ck_assert_uint_eq(f.results[0]->request_found->n_hw_serials, 2);
    ck_assert_str_eq(f.results[0]->request_found->hw_serials[1], "SN-2");
    ck_assert_str_eq(f.results[0]->request_found->profile, PROFILE);
    find.find.digest.data = (uint8_t[32]){1};
    fixture_refused(&f, &find.job, MM_ERR_INVALID, "REQUEST_ID_REUSED");
    ck_assert_str_eq(f.results[0]->error->field, "request_id");
}
END_TEST

START_TEST(find_request_with_serials_of_another_request_is_refused)
{
    struct spend_job j;
    struct small_job find;
    char *serials[] = {TEXT("SN-9"), TEXT("SN-1")};

    fixture_populate(&f, 100);
    make_spend(&j, 1, "r1", 256, 1, 1);
    set_hw_serial(&j, 0, "SN-1");
    ck_assert_int_eq(fixture_do(&f, &j.job), MM_OK);
    make_find(&find, "r1");
    find.find.batch_uid = TEXT("01890000-0000-7000-8000-000000000001");
    find.find.hw_serials = serials;
    find.find.n_hw_serials = 2;
    ck_assert_int_eq(fixture_do(&f, &find.job), MM_OK);
    find.find.request_id = TEXT("r2");
    fixture_refused(&f, &find.job, MM_ERR_EXISTS, "DUPLICATE_HW_SERIAL");
    ck_assert_ptr_nonnull(strstr(f.results[0]->error->text, "SN-1"));
    find.find.n_hw_serials = 1;
    ck_assert_int_eq(fixture_do(&f, &find.job), MM_OK);
    find.find.batch_uid = TEXT("01890000-0000-7000-8000-000000000002");
    fixture_refused(&f, &find.job, MM_ERR_NOT_FOUND, "UNKNOWN_BATCH");
}
END_TEST

START_TEST(fetch_request_gives_the_bundles_in_order_and_in_pages)
{
    struct small_job fetch;
    uint64_t after = 0;
    unsigned seen = 0;
    bool more;

    fixture_populate(&f, 200);
    fixture_spend(&f, 1, "r1", 70, 1, 40);
    fixture_spend(&f, 1, "r2", 10, 41, 10);
    fixture_spend(&f, 1, "r1", 70, 51, 30);
    do {
        const Mintmark__Internal__Fetched *page;

        make_fetch(&fetch, "r1", after, 35);
        ck_assert_int_eq(fixture_do(&f, &fetch.job), MM_OK);
        page = f.results[0]->fetched;
        for (size_t i = 0; i < page->n_bundles; i++, seen++) {
            char want[64];
            const int len = snprintf(want, sizeof(want), "bundle of device %u",
                                     seen < 40 ? seen + 1 : seen + 11);

            ck_assert_uint_eq(page->bundles[i].len, (size_t)len);
            ck_assert_mem_eq(page->bundles[i].data, want, (size_t)len);
        }
        after = page->last_row;
        more = page->more;
    } while (more);
    ck_assert_uint_eq(seen, 70);
    make_fetch(&fetch, "r3", 0, 64);
    fixture_refused(&f, &fetch.job, MM_ERR_NOT_FOUND, "UNKNOWN_REQUEST");
}
END_TEST

START_TEST(get_device_gives_its_bundle_and_state)
{
    struct small_job get;

    fixture_populate(&f, 10);
    fixture_spend(&f, 1, "r1", 2, 1, 2);
    make_get_device(&get, 2);
    ck_assert_int_eq(fixture_do(&f, &get.job), MM_OK);
    ck_assert_mem_eq(f.results[0]->device->bundle.data, "bundle of device 2", 18);
    ck_assert_str_eq(f.results[0]->device->profile, PROFILE);
    ck_assert_int_eq(f.results[0]->device->state, MINTMARK__V1__DEVICE_STATE__DEVICE_STATE_ISSUED);
    make_get_device(&get, 3);
    fixture_refused(&f, &get.job, MM_ERR_NOT_FOUND, "UNKNOWN_DEVICE");
}
END_TEST

START_TEST(report_devices_counts_each_once)
{
    struct report_job report;

    fixture_populate(&f, 10);
    fixture_spend(&f, 1, "r1", 5, 1, 5);
    make_report(&report, 1, 1, 3, "");
    ck_assert_int_eq(fixture_do(&f, &report.job), MM_OK);
    ck_assert_int_eq(fixture_do(&f, &report.job), MM_OK);
    ck_assert_uint_eq(f.results[0]->counts->ok, 3);
    ck_assert_uint_eq(f.results[0]->counts->unreported, 2);
    make_report(&report, 1, 4, 1, "no contact");
    ck_assert_int_eq(fixture_do(&f, &report.job), MM_OK);
    ck_assert_uint_eq(f.results[0]->counts->issued, 5);
    ck_assert_uint_eq(f.results[0]->counts->ok, 3);
    ck_assert_uint_eq(f.results[0]->counts->ko, 1);
    ck_assert_uint_eq(f.results[0]->counts->unreported, 1);
}
END_TEST

START_TEST(report_devices_that_cannot_all_be_taken_takes_none)
{
    struct batch_job batch;
    struct report_job report;
    struct small_job release;

    fixture_populate(&f, 10);
    make_batch(&batch, 2, 5);
    ck_assert_int_eq(fixture_do(&f, &batch.job), MM_OK);
    fixture_spend(&f, 1, "r1", 5, 1, 5);
    fixture_spend(&f, 2, "r2", 1, 6, 1);
    make_report(&report, 1, 3, 1, "");
    ck_assert_int_eq(fixture_do(&f, &report.job), MM_OK);
    make_report(&report, 1, 1, 3, "broken");
    fixture_refused(&f, &report.job, MM_ERR_PRECONDITION, "ALREADY_REPORTED");
    make_report(&report, 1, 4, 3, ""); /* 6 is of batch 2 */
    fixture_refused(&f, &report.job, MM_ERR_NOT_FOUND, "UNKNOWN_DEVICE");
    make_report(&report, 1, 100, 1, "");
    fixture_refused(&f, &report.job, MM_ERR_NOT_FOUND, "UNKNOWN_DEVICE");
    make_report(&report, 3, 1, 1, "");
    fixture_refused(&f, &report.job, MM_ERR_NOT_FOUND, "UNKNOWN_BATCH");
    make_release(&release, 1);
    ck_assert_int_eq(fixture_do(&f, &release.job), MM_OK);
    make_report(&report, 1, 1, 1, "");
    fixture_refused(&f, &report.job, MM_ERR_PRECONDITION, "BATCH_RELEASED");
}
END_TEST

START_TEST(reports_and_exports_refuse_what_is_not_there)
{
    static struct spend_job spend;
    struct small_job j;

    fixture_populate(&f, 1000);
    make_get_report(&j, 1);
    fixture_refused(&f, &j.job, MM_ERR_PRECONDITION, "BATCH_OPEN");
    make_report_page(&j, 1);
    fixture_refused(&f, &j.job, MM_ERR_PRECONDITION, "BATCH_OPEN");
    make_get_report(&j, 2);
    fixture_refused(&f, &j.job, MM_ERR_NOT_FOUND, "UNKNOWN_BATCH");
    make_spend(&spend, 1, "r1", 1, 1, 1);
    ck_assert_int_eq(fixture_do(&f, &spend.job), MM_OK);
    make_release(&j, 1);
    ck_assert_int_eq(fixture_do(&f, &j.job), MM_OK);
    /* A bundle that is none: no report says that all is well. */
    make_report_page(&j, 1);
    fixture_refused(&f, &j.job, MM_ERR_CORRUPT, "STORE_CORRUPT");
    /* Without an appliance nobody signs. */
    make_add_report(&j, 1);
    fixture_refused(&f, &j.job, MM_ERR_PRECONDITION, "NO_IDENTITY");
    make_manifest_page(&j, 1);
    fixture_refused(&f, &j.job, MM_ERR_PRECONDITION, "NO_IDENTITY");
    make_begin_export(&j, 1);
    fixture_refused(&f, &j.job, MM_ERR_PRECONDITION, "NO_IDENTITY");
    make_begin_export(&j, 1000);
    fixture_refused(&f, &j.job, MM_ERR_INVALID, "INVALID_FIELD");
    make_export_page(&j, 0, 1000);
    fixture_refused(&f, &j.job, MM_ERR_CORRUPT, "LEDGER_GAP");
    make_export_page(&j, 7, 7);
    fixture_refused(&f, &j.job, MM_ERR_INVALID, "INVALID_FIELD");
    make_add_signed(&j);
    j.add_signed.digest.len = 31;
    fixture_refused(&f, &j.job, MM_ERR_INVALID, "INVALID_FIELD");
}
END_TEST

START_TEST(release_batch_accounts_for_every_device)
{
    struct report_job report;
    struct small_job release;
    const Mintmark__V1__ProductionReport *r;

    fixture_populate(&f, 20);
    fixture_spend(&f, 1, "r1", 10, 1, 10);
    make_report(&report, 1, 1, 4, "");
    ck_assert_int_eq(fixture_do(&f, &report.job), MM_OK);
    make_report(&report, 1, 5, 1, "no contact");
    ck_assert_int_eq(fixture_do(&f, &report.job), MM_OK);
    make_report(&report, 1, 6, 3, "bad flash");
    ck_assert_int_eq(fixture_do(&f, &report.job), MM_OK);
    make_release(&release, 1);
    ck_assert_int_eq(fixture_do(&f, &release.job), MM_OK);
    r = f.results[0]->report;
    ck_assert_int_eq(r->batch->state, MINTMARK__V1__BATCH_STATE__BATCH_STATE_RELEASED);
    ck_assert_int_eq(r->batch->released_time_ms, T0 + 100);
    ck_assert_uint_eq(r->batch->counts->issued, 10);
    ck_assert_uint_eq(r->batch->counts->ok, 4);
    ck_assert_uint_eq(r->batch->counts->ko, 4);
    ck_assert_uint_eq(r->batch->counts->unreported, 2);
    ck_assert_uint_eq(r->n_failures, 2);
    ck_assert_str_eq(r->failures[0]->reason, "bad flash");
    ck_assert_uint_eq(r->failures[0]->devices, 3);
    ck_assert_str_eq(r->failures[1]->reason, "no contact");
    ck_assert_uint_eq(r->order_quantity, 20);
    ck_assert_uint_eq(r->order_used, 10);
    ck_assert_int_eq(r->first_issued_time_ms, T0 + 100);
    ck_assert_int_eq(r->last_issued_time_ms, T0 + 100);
    fixture_refused(&f, &release.job, MM_ERR_PRECONDITION, "BATCH_RELEASED");
    make_release(&release, 2);
    fixture_refused(&f, &release.job, MM_ERR_NOT_FOUND, "UNKNOWN_BATCH");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store");
    TCase *verbs = tcase_create("verbs");

    tcase_add_checked_fixture(verbs, setup, teardown);
    tcase_add_test(verbs, add_order_twice_is_refused);
    tcase_add_test(verbs, open_batch_on_an_order_that_cannot_bear_it_is_refused);
    tcase_add_test(verbs, get_batch_shows_what_was_opened);
    tcase_add_test(verbs, spend_and_record_counts_and_stops_at_the_order);
    tcase_add_test(verbs, spend_and_record_over_the_batch_is_refused);
    tcase_add_test(verbs, spend_and_record_by_what_does_not_stand_is_refused);
    tcase_add_test(verbs, spend_and_record_after_the_orders_end_is_refused);
    tcase_add_test(verbs, spend_and_record_never_exceeds_its_request);
    tcase_add_test(verbs, spend_and_record_a_duplicate_hw_serial_is_refused_until_ko);
    tcase_add_test(verbs, spend_and_record_takes_devices_without_certificate);
    tcase_add_test(verbs, spend_and_record_a_known_uid_is_refused);
    tcase_add_test(verbs, find_request_tells_what_is_recorded);
    tcase_add_test(verbs, find_request_with_serials_of_another_request_is_refused);
    tcase_add_test(verbs, fetch_request_gives_the_bundles_in_order_and_in_pages);
    tcase_add_test(verbs, get_device_gives_its_bundle_and_state);
    tcase_add_test(verbs, report_devices_counts_each_once);
    tcase_add_test(verbs, report_devices_that_cannot_all_be_taken_takes_none);
    tcase_add_test(verbs, reports_and_exports_refuse_what_is_not_there);
    tcase_add_test(verbs, release_batch_accounts_for_every_device);
    suite_add_tcase(suite, verbs);
    return run_suite(suite);
}
