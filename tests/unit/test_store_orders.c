/* SPDX-License-Identifier: Apache-2.0 */
/* Signed orders come in, their terms are kept, and nobody raises them. */
#include "tests/unit/check_main.h"
#include "tests/unit/store_fixture.h"

#include <stdio.h>
#include <string.h>

static struct fixture f;
static struct order_job order;
static struct batch_job batch;
static struct spend_job spend;
static struct report_job report;
static struct document_job document;
static struct small_job small;

enum { HOUR_MS = 60 * 60 * 1000, DAY_MS = 24 * HOUR_MS };

static void setup(void)
{
    fixture_setup(&f);
}

static void teardown(void)
{
    fixture_check_invariants(&f);
    fixture_teardown(&f);
}

/* The order that the test has changed, signed and imported; and batch 1 on it. */
static void bring_in(uint64_t batch_quantity)
{
    sign_order(&order);
    ck_assert_msg(fixture_do(&f, &order.job) == MM_OK, "%s", f.results[0]->error->text);
    make_batch(&batch, 1, batch_quantity);
    ck_assert_msg(fixture_do(&f, &batch.job) == MM_OK, "%s", f.results[0]->error->text);
}

/* n devices numbered from first, at that time. */
static int spend_at(unsigned first, unsigned n, int64_t now_ms)
{
    char request[32];

    snprintf(request, sizeof(request), "r%u", first);
    make_spend(&spend, 1, request, n, first, n);
    fixture_clock_ms = now_ms;
    return fixture_do(&f, &spend.job);
}

static void spend_refused(unsigned first, unsigned n, int64_t now_ms, int code, const char *reason)
{
    char request[32];

    snprintf(request, sizeof(request), "r%u", first);
    make_spend(&spend, 1, request, n, first, n);
    fixture_clock_ms = now_ms;
    fixture_refused(&f, &spend.job, code, reason);
}

/* ---- coming in --------------------------------------------------------------------------- */

START_TEST(import_shows_the_terms_that_were_signed)
{
    static char *stations[] = {(char *)(uintptr_t)STATION, (char *)(uintptr_t) "station-2"};
    const Mintmark__V1__Order *o;

    make_order(&order, ORDER, 1000);
    order.order.per_batch_max = 500;
    order.order.per_day_max = 800;
    order.order.unreported_devices_max = 600;
    order.order.report_within_hours = 72;
    order.order.replacements_max = 10;
    order.order.n_stations = 2;
    order.order.stations = stations;
    sign_order(&order);
    ck_assert_int_eq(fixture_do(&f, &order.job), MM_OK);
    o = f.results[0]->order;
    ck_assert_int_eq(o->state, MINTMARK__V1__ORDER_STATE__ORDER_STATE_LIVE);
    ck_assert_str_eq(o->oem, "Example Devices");
    ck_assert_uint_eq(o->per_batch_max, 500);
    ck_assert_uint_eq(o->per_day_max, 800);
    ck_assert_uint_eq(o->unreported_devices_max, 600);
    ck_assert_uint_eq(o->report_within_hours, 72);
    ck_assert_uint_eq(o->replacements_max, 10);
    ck_assert_uint_eq(o->n_stations, 2);
    ck_assert_str_eq(o->stations[1], "station-2");
    ck_assert_str_eq(o->signer, "CN=oem");
    make_get_order(&small, ORDER);
    ck_assert_int_eq(fixture_do(&f, &small.job), MM_OK);
    ck_assert_uint_eq(f.results[0]->order_found->document.len, order.import.document.len);
    make_get_order(&small, "no-order");
    ck_assert_int_eq(fixture_do(&f, &small.job), MM_ERR_NOT_FOUND);
}
END_TEST

START_TEST(import_of_what_is_not_for_us_is_refused)
{
    static uint8_t other[32] = "another appliance";

    make_order(&order, ORDER, 10);
    order.order.appliance_sha256.data = other;
    sign_order(&order);
    fixture_refused(&f, &order.job, MM_ERR_PRECONDITION, "ORDER_OTHER_APPLIANCE");
    make_order(&order, ORDER, 10);
    sign_order_as_stranger(&order);
    fixture_refused(&f, &order.job, MM_ERR_PERMISSION, "SIGNER_UNKNOWN");
    make_order(&order, ORDER, 10);
    order.document[order.import.document.len - 1] ^= 1;
    fixture_refused(&f, &order.job, MM_ERR_INVALID, "DOCUMENT_SIGNATURE");
    make_order(&order, ORDER, 10);
    order.order.not_after_time_ms = T0 + 1;
    sign_order(&order);
    fixture_refused(&f, &order.job, MM_ERR_PRECONDITION, "ORDER_EXPIRED");
    make_revocation(&document, ORDER);
    make_order(&order, ORDER, 10);
    order.import.document = document.import.document;
    fixture_refused(&f, &order.job, MM_ERR_INVALID, "DOCUMENT_KIND");
}
END_TEST

static bool no_profile(MM_UNUSED const void *user, MM_UNUSED const char *name)
{
    return false;
}

START_TEST(import_without_what_the_site_must_have_is_refused)
{
    struct mm_store_site site = f.store->site;

    make_order(&order, ORDER, 10);
    site.profile_known = no_profile;
    mm_store_set_site(f.store, &site);
    fixture_refused(&f, &order.job, MM_ERR_NOT_FOUND, "UNKNOWN_PROFILE");
    site.has_identity = false;
    mm_store_set_site(f.store, &site);
    fixture_refused(&f, &order.job, MM_ERR_PRECONDITION, "NO_IDENTITY");
    site.oem = NULL;
    mm_store_set_site(f.store, &site);
    fixture_refused(&f, &order.job, MM_ERR_PERMISSION, "SIGNER_UNKNOWN");
}
END_TEST

START_TEST(import_of_a_replay_is_refused)
{
    static struct order_job again;

    make_order(&order, ORDER, 10);
    ck_assert_int_eq(fixture_do(&f, &order.job), MM_OK);
    fixture_refused(&f, &order.job, MM_ERR_EXISTS, "ORDER_EXISTS");
    make_order(&again, "order-2", 10);
    again.order.nonce = order.order.nonce;
    sign_order(&again);
    fixture_refused(&f, &again.job, MM_ERR_PRECONDITION, "ORDER_NONCE_USED");
    memcpy(again.nonce, "never made here.", 16);
    again.order.nonce.data = again.nonce;
    sign_order(&again);
    fixture_refused(&f, &again.job, MM_ERR_PRECONDITION, "ORDER_NONCE_UNKNOWN");
    /* Not even when the order is closed. */
    make_change(&small, ORDER, MINTMARK__V1__ORDER_ACTION__ORDER_ACTION_CLOSE);
    ck_assert_int_eq(fixture_do(&f, &small.job), MM_OK);
    fixture_refused(&f, &order.job, MM_ERR_EXISTS, "ORDER_EXISTS");
}
END_TEST

START_TEST(nonce_is_recorded_once_and_there_are_not_too_many)
{
    struct mm_errinfo ei;
    char sql[200];

    mintmark__internal__store_job__init(&small.job);
    small.job.job_case = MINTMARK__INTERNAL__STORE_JOB__JOB_ADD_NONCE;
    small.job.add_nonce = &small.add_nonce;
    mintmark__internal__add_nonce__init(&small.add_nonce);
    small.add_nonce.nonce = (ProtobufCBinaryData){16, (uint8_t *)TEXT("fresh-from-token")};
    small.add_nonce.by = TEXT("officer-1");
    small.add_nonce.document = (ProtobufCBinaryData){7, (uint8_t *)TEXT("request")};
    ck_assert_int_eq(fixture_do(&f, &small.job), MM_OK);
    ck_assert_uint_eq(f.results[0]->nonce_added->document.len, 7);
    fixture_refused(&f, &small.job, MM_ERR_EXISTS, "ORDER_NONCE_USED");
    snprintf(
        sql, sizeof(sql),
        "WITH RECURSIVE n(i) AS (SELECT 200 UNION ALL SELECT i + 1 FROM n WHERE i < %d)"
        " INSERT INTO nonces SELECT CAST(printf('%%016d', i) AS BLOB), 1, 'o', x'00', NULL FROM n",
        200 + MM_ORDER_REQUESTS_MAX);
    ck_assert_int_eq(mm_sql_exec(f.store, sql, &ei), MM_OK);
    small.add_nonce.nonce.data = (uint8_t *)TEXT("one-more-of-them");
    fixture_refused(&f, &small.job, MM_ERR_EXHAUSTED, "TOO_MANY_ORDER_REQUESTS");
}
END_TEST

/* ---- terms ------------------------------------------------------------------------------- */

START_TEST(batch_limit_holds)
{
    make_order(&order, ORDER, 100);
    order.order.per_batch_max = 10;
    bring_in(10);
    make_batch(&batch, 2, 11);
    fixture_refused(&f, &batch.job, MM_ERR_EXHAUSTED, "ORDER_BATCH_LIMIT");
    ck_assert_int_eq(spend_at(1, 10, T0), MM_OK);
    spend_refused(11, 1, T0, MM_ERR_EXHAUSTED, "ORDER_BATCH_LIMIT");
}
END_TEST

START_TEST(day_limit_holds_and_a_clock_that_goes_back_opens_no_day)
{
    make_order(&order, ORDER, 100);
    order.order.per_day_max = 10;
    order.order.not_after_time_ms = 10LL * DAY_MS;
    bring_in(100);
    ck_assert_int_eq(spend_at(1, 6, DAY_MS - 1), MM_OK);
    ck_assert_uint_eq(f.results[0]->recorded->order_day_used, 6);
    spend_refused(7, 5, DAY_MS - 1, MM_ERR_EXHAUSTED, "ORDER_DAY_LIMIT");
    ck_assert_int_eq(spend_at(7, 10, DAY_MS), MM_OK);
    ck_assert_int_eq(f.results[0]->recorded->order_day, 1);
    spend_refused(17, 1, DAY_MS - 1, MM_ERR_EXHAUSTED, "ORDER_DAY_LIMIT");
    ck_assert_int_eq(spend_at(17, 1, 2 * DAY_MS), MM_OK);
}
END_TEST

START_TEST(stations_are_those_of_the_order)
{
    static char *others[] = {(char *)(uintptr_t) "station-2", (char *)(uintptr_t) "station-10"};

    make_order(&order, ORDER, 100);
    order.order.n_stations = 2;
    order.order.stations = others;
    sign_order(&order);
    ck_assert_int_eq(fixture_do(&f, &order.job), MM_OK);
    make_batch(&batch, 1, 10);
    fixture_refused(&f, &batch.job, MM_ERR_PERMISSION, "ORDER_STATION");
    batch.batch.station = TEXT("station-2");
    ck_assert_int_eq(fixture_do(&f, &batch.job), MM_OK);
    /* A batch belongs to the site, a unit does not. */
    spend_refused(1, 1, T0, MM_ERR_PERMISSION, "ORDER_STATION");
    make_spend(&spend, 1, "r1", 1, 1, 1);
    spend.spend.station = TEXT("station-10");
    ck_assert_int_eq(fixture_do(&f, &spend.job), MM_OK);
}
END_TEST

START_TEST(unreported_devices_stop_the_order_until_a_receipt)
{
    make_order(&order, ORDER, 100);
    order.order.unreported_devices_max = 5;
    bring_in(100);
    ck_assert_int_eq(spend_at(1, 5, T0), MM_OK);
    spend_refused(6, 1, T0, MM_ERR_PRECONDITION, "ORDER_REPORT_DUE");
    make_get_order(&small, ORDER);
    ck_assert_int_eq(fixture_do(&f, &small.job), MM_OK);
    ck_assert_int_eq(f.results[0]->order_found->order->state,
                     MINTMARK__V1__ORDER_STATE__ORDER_STATE_REPORT_DUE);
    make_receipt(&document, ORDER, 6, T0 + 1);
    fixture_refused(&f, &document.job, MM_ERR_PRECONDITION, "RECEIPT_AHEAD");
    make_receipt(&document, ORDER, 3, T0 + 1);
    ck_assert_int_eq(fixture_do(&f, &document.job), MM_OK);
    ck_assert_uint_eq(f.results[0]->order->reported, 3);
    fixture_refused(&f, &document.job, MM_ERR_PRECONDITION, "RECEIPT_STALE");
    spend_refused(6, 4, T0, MM_ERR_PRECONDITION, "ORDER_REPORT_DUE");
    ck_assert_int_eq(spend_at(6, 3, T0), MM_OK);
    make_receipt(&document, ORDER, 2, T0 + 2);
    fixture_refused(&f, &document.job, MM_ERR_PRECONDITION, "RECEIPT_STALE");
}
END_TEST

START_TEST(an_order_stops_by_itself_when_no_receipt_comes)
{
    make_order(&order, ORDER, 100);
    order.order.report_within_hours = 2;
    order.order.not_after_time_ms = 10LL * DAY_MS;
    bring_in(100);
    ck_assert_int_eq(spend_at(1, 1, T0 + 100 + 2 * HOUR_MS - 1), MM_OK);
    spend_refused(2, 1, T0 + 100 + 2 * HOUR_MS, MM_ERR_PRECONDITION, "ORDER_REPORT_DUE");
    make_batch(&batch, 2, 1);
    fixture_refused(&f, &batch.job, MM_ERR_PRECONDITION, "ORDER_REPORT_DUE");
    make_receipt(&document, ORDER, 1, T0 + 3 * HOUR_MS);
    fixture_refused(&f, &document.job, MM_ERR_PRECONDITION, "RECEIPT_IN_FUTURE");
    fixture_clock_ms = T0 + 3 * HOUR_MS;
    ck_assert_int_eq(fixture_do(&f, &document.job), MM_OK);
    ck_assert_int_eq(spend_at(2, 1, T0 + 5 * HOUR_MS - 1), MM_OK);
    spend_refused(3, 1, T0 + 5 * HOUR_MS, MM_ERR_PRECONDITION, "ORDER_REPORT_DUE");
}
END_TEST

START_TEST(ko_devices_give_units_back_up_to_the_limit_only)
{
    make_order(&order, ORDER, 10);
    order.order.replacements_max = 3;
    sign_order(&order);
    ck_assert_int_eq(fixture_do(&f, &order.job), MM_OK);
    make_batch(&batch, 1, 10);
    ck_assert_int_eq(fixture_do(&f, &batch.job), MM_OK);
    ck_assert_int_eq(spend_at(1, 10, T0), MM_OK);
    make_report(&report, 1, 1, 2, "no answer");
    ck_assert_int_eq(fixture_do(&f, &report.job), MM_OK);
    ck_assert_ptr_nonnull(f.results[0]->refunded_order);
    ck_assert_uint_eq(f.results[0]->refunded_order->used, 8);
    ck_assert_uint_eq(f.results[0]->refunded_order->refunded, 2);
    /* The same report again gives nothing more. */
    ck_assert_int_eq(fixture_do(&f, &report.job), MM_OK);
    ck_assert_ptr_null(f.results[0]->refunded_order);
    make_report(&report, 1, 3, 4, "no answer");
    ck_assert_int_eq(fixture_do(&f, &report.job), MM_OK);
    ck_assert_uint_eq(f.results[0]->refunded_order->used, 7);
    ck_assert_uint_eq(f.results[0]->refunded_order->refunded, 3);
    make_report(&report, 1, 7, 2, "no answer");
    ck_assert_int_eq(fixture_do(&f, &report.job), MM_OK);
    ck_assert_ptr_null(f.results[0]->refunded_order);
    fixture_check_invariants(&f);
    /* Three more can be made, in another batch, and no fourth. */
    make_batch(&batch, 2, 4);
    fixture_refused(&f, &batch.job, MM_ERR_EXHAUSTED, "QUOTA_EXHAUSTED");
    make_batch(&batch, 2, 3);
    ck_assert_int_eq(fixture_do(&f, &batch.job), MM_OK);
    fixture_spend(&f, 2, "again", 3, 11, 3);
    fixture_close(&f);
    fixture_open(&f);
    ck_assert_int_eq(fixture_int(&f, "SELECT used FROM orders"), 10);
}
END_TEST

START_TEST(without_replacements_ko_devices_stay_spent)
{
    make_order(&order, ORDER, 10);
    bring_in(10);
    ck_assert_int_eq(spend_at(1, 10, T0), MM_OK);
    make_report(&report, 1, 1, 5, "no answer");
    ck_assert_int_eq(fixture_do(&f, &report.job), MM_OK);
    ck_assert_ptr_null(f.results[0]->refunded_order);
    ck_assert_int_eq(fixture_int(&f, "SELECT used FROM orders"), 10);
}
END_TEST

/* ---- officers, and the OEM from afar ----------------------------------------------------- */

START_TEST(suspended_order_makes_nothing_until_it_is_resumed)
{
    fixture_populate(&f, 10);
    make_change(&small, ORDER, MINTMARK__V1__ORDER_ACTION__ORDER_ACTION_RESUME);
    fixture_refused(&f, &small.job, MM_ERR_PRECONDITION, "ORDER_NOT_SUSPENDED");
    make_change(&small, ORDER, MINTMARK__V1__ORDER_ACTION__ORDER_ACTION_SUSPEND);
    ck_assert_int_eq(fixture_do(&f, &small.job), MM_OK);
    ck_assert_int_eq(f.results[0]->order->state, MINTMARK__V1__ORDER_STATE__ORDER_STATE_SUSPENDED);
    ck_assert_str_eq(f.results[0]->order->change_reason, "said so");
    fixture_refused(&f, &small.job, MM_ERR_PRECONDITION, "ORDER_SUSPENDED");
    spend_refused(1, 1, T0, MM_ERR_PRECONDITION, "ORDER_SUSPENDED");
    make_batch(&batch, 2, 1);
    fixture_refused(&f, &batch.job, MM_ERR_PRECONDITION, "ORDER_SUSPENDED");
    make_change(&small, ORDER, MINTMARK__V1__ORDER_ACTION__ORDER_ACTION_RESUME);
    ck_assert_int_eq(fixture_do(&f, &small.job), MM_OK);
    ck_assert_int_eq(spend_at(1, 1, T0), MM_OK);
}
END_TEST

START_TEST(closed_order_stays_closed)
{
    fixture_populate(&f, 10);
    make_change(&small, ORDER, MINTMARK__V1__ORDER_ACTION__ORDER_ACTION_CLOSE);
    ck_assert_int_eq(fixture_do(&f, &small.job), MM_OK);
    spend_refused(1, 1, T0, MM_ERR_PRECONDITION, "ORDER_CLOSED");
    for (int action = MINTMARK__V1__ORDER_ACTION__ORDER_ACTION_SUSPEND;
         action <= MINTMARK__V1__ORDER_ACTION__ORDER_ACTION_LOWER; action++) {
        make_change(&small, ORDER, (Mintmark__V1__OrderAction)action);
        small.limits.quantity = 5;
        fixture_refused(&f, &small.job, MM_ERR_PRECONDITION, "ORDER_CLOSED");
    }
    make_change(&small, "no-order", MINTMARK__V1__ORDER_ACTION__ORDER_ACTION_CLOSE);
    fixture_refused(&f, &small.job, MM_ERR_NOT_FOUND, "UNKNOWN_ORDER");
}
END_TEST

static void lower_refused(uint64_t quantity, int64_t not_after_ms, uint64_t per_batch,
                          uint64_t per_day, int code, const char *reason)
{
    make_change(&small, ORDER, MINTMARK__V1__ORDER_ACTION__ORDER_ACTION_LOWER);
    small.limits.quantity = quantity;
    small.limits.not_after_time_ms = not_after_ms;
    small.limits.per_batch_max = per_batch;
    small.limits.per_day_max = per_day;
    fixture_refused(&f, &small.job, code, reason);
}

START_TEST(officers_lower_and_never_raise)
{
    make_order(&order, ORDER, 100);
    order.order.per_batch_max = 50;
    bring_in(50);
    ck_assert_int_eq(spend_at(1, 10, T0), MM_OK);
    lower_refused(0, 0, 0, 0, MM_ERR_INVALID, "INVALID_FIELD");
    lower_refused(101, 0, 0, 0, MM_ERR_PRECONDITION, "ORDER_RAISED");
    lower_refused(0, T_END + 1, 0, 0, MM_ERR_PRECONDITION, "ORDER_RAISED");
    lower_refused(0, 0, 51, 0, MM_ERR_PRECONDITION, "ORDER_RAISED");
    lower_refused(9, 0, 0, 0, MM_ERR_PRECONDITION, "ORDER_BELOW_USED");
    lower_refused(0, T0, 0, 0, MM_ERR_INVALID, "ORDER_VALIDITY");
    /* One that is right does not carry one that is wrong. */
    lower_refused(20, 0, 51, 0, MM_ERR_PRECONDITION, "ORDER_RAISED");
    make_change(&small, ORDER, MINTMARK__V1__ORDER_ACTION__ORDER_ACTION_LOWER);
    small.limits.quantity = 15;
    small.limits.per_day_max = 12;
    small.limits.per_batch_max = 14;
    small.limits.not_after_time_ms = T_END - 1;
    ck_assert_int_eq(fixture_do(&f, &small.job), MM_OK);
    ck_assert_uint_eq(f.results[0]->order->quantity, 15);
    spend_refused(11, 6, T0, MM_ERR_EXHAUSTED, "QUOTA_EXHAUSTED");
    spend_refused(11, 3, T0, MM_ERR_EXHAUSTED, "ORDER_DAY_LIMIT");
    lower_refused(0, 0, 0, 13, MM_ERR_PRECONDITION, "ORDER_RAISED");
    ck_assert_int_eq(spend_at(11, 2, T0), MM_OK);
    spend_refused(13, 1, T_END - 1, MM_ERR_PRECONDITION, "ORDER_EXPIRED");
}
END_TEST

START_TEST(revocation_ends_an_order_from_afar)
{
    static uint8_t other[32] = "another appliance";

    fixture_populate(&f, 10);
    make_revocation(&document, ORDER);
    document.revocation.appliance_sha256.data = other;
    sign_document(&document);
    fixture_refused(&f, &document.job, MM_ERR_PRECONDITION, "ORDER_OTHER_APPLIANCE");
    make_revocation(&document, "no-order");
    fixture_refused(&f, &document.job, MM_ERR_NOT_FOUND, "UNKNOWN_ORDER");
    make_revocation(&document, ORDER);
    document.revocation.reason = TEXT("");
    sign_document(&document);
    fixture_refused(&f, &document.job, MM_ERR_INVALID, "INVALID_FIELD");
    make_order(&order, "order-2", 10);
    document.import.document = order.import.document;
    fixture_refused(&f, &document.job, MM_ERR_INVALID, "DOCUMENT_KIND");
    make_revocation(&document, ORDER);
    ck_assert_int_eq(fixture_do(&f, &document.job), MM_OK);
    ck_assert_int_eq(f.results[0]->order->state, MINTMARK__V1__ORDER_STATE__ORDER_STATE_REVOKED);
    ck_assert_str_eq(f.results[0]->order->change_reason, "contract ended");
    fixture_refused(&f, &document.job, MM_ERR_PRECONDITION, "ORDER_REVOKED");
    spend_refused(1, 1, T0, MM_ERR_PRECONDITION, "ORDER_REVOKED");
    make_change(&small, ORDER, MINTMARK__V1__ORDER_ACTION__ORDER_ACTION_RESUME);
    fixture_refused(&f, &small.job, MM_ERR_PRECONDITION, "ORDER_REVOKED");
    fixture_close(&f);
    fixture_open(&f);
    spend_refused(1, 1, T0, MM_ERR_PRECONDITION, "ORDER_REVOKED");
}
END_TEST

START_TEST(revocation_by_a_stranger_is_refused)
{
    struct mm_store_site site = f.store->site;

    fixture_populate(&f, 10);
    make_revocation(&document, ORDER);
    site.oem = NULL;
    mm_store_set_site(f.store, &site);
    fixture_refused(&f, &document.job, MM_ERR_PERMISSION, "SIGNER_UNKNOWN");
    make_receipt(&document, ORDER, 0, T0);
    fixture_refused(&f, &document.job, MM_ERR_PERMISSION, "SIGNER_UNKNOWN");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store_orders");
    TCase *tc = tcase_create("orders");

    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, import_shows_the_terms_that_were_signed);
    tcase_add_test(tc, import_of_what_is_not_for_us_is_refused);
    tcase_add_test(tc, import_without_what_the_site_must_have_is_refused);
    tcase_add_test(tc, import_of_a_replay_is_refused);
    tcase_add_test(tc, nonce_is_recorded_once_and_there_are_not_too_many);
    tcase_add_test(tc, batch_limit_holds);
    tcase_add_test(tc, day_limit_holds_and_a_clock_that_goes_back_opens_no_day);
    tcase_add_test(tc, stations_are_those_of_the_order);
    tcase_add_test(tc, unreported_devices_stop_the_order_until_a_receipt);
    tcase_add_test(tc, an_order_stops_by_itself_when_no_receipt_comes);
    tcase_add_test(tc, ko_devices_give_units_back_up_to_the_limit_only);
    tcase_add_test(tc, without_replacements_ko_devices_stay_spent);
    tcase_add_test(tc, suspended_order_makes_nothing_until_it_is_resumed);
    tcase_add_test(tc, closed_order_stays_closed);
    tcase_add_test(tc, officers_lower_and_never_raise);
    tcase_add_test(tc, revocation_ends_an_order_from_afar);
    tcase_add_test(tc, revocation_by_a_stranger_is_refused);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
