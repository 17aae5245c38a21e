/* SPDX-License-Identifier: Apache-2.0 */
/* Group commit, and what the store makes of messages that ask for something wrong. */
#include "tests/unit/check_main.h"
#include "tests/unit/store_fixture.h"

#include <stdio.h>
#include <string.h>

static struct fixture f;

static void setup(void)
{
    fixture_setup(&f);
    fixture_populate(&f, 20);
}

static void teardown(void)
{
    fixture_check_invariants(&f);
    fixture_teardown(&f);
}

START_TEST(group_with_a_failing_job_keeps_the_others)
{
    static struct spend_job spends[4];
    const Mintmark__Internal__StoreJob *jobs[4];

    make_spend(&spends[0], 1, "r1", 5, 1, 5);
    make_spend(&spends[1], 1, "r2", 2, 5, 2); /* device 5 again, after device 6 */
    make_spend(&spends[2], 1, "r3", 5, 7, 5);
    make_spend(&spends[3], 1, "r4", 11, 20, 11); /* one more than is left */
    for (size_t i = 0; i < MM_ARRAY_SIZE(jobs); i++)
        jobs[i] = &spends[i].job;
    fixture_run(&f, jobs, MM_ARRAY_SIZE(jobs));
    ck_assert_int_eq(fixture_code(&f, 0), MM_OK);
    ck_assert_str_eq(fixture_reason(&f, 1), "DUPLICATE_DEVICE");
    ck_assert_int_eq(fixture_code(&f, 2), MM_OK);
    ck_assert_uint_eq(f.results[2]->recorded->order_used, 10);
    ck_assert_str_eq(fixture_reason(&f, 3), "QUOTA_EXHAUSTED");
    ck_assert_int_eq(fixture_int(&f, "SELECT count(*) FROM devices"), 10);
    ck_assert_int_eq(fixture_int(&f, "SELECT count(*) FROM requests"), 2);
}
END_TEST

START_TEST(group_read_sees_what_the_group_wrote)
{
    static struct spend_job spend;
    static struct small_job get;
    const Mintmark__Internal__StoreJob *jobs[] = {&get.job, &spend.job};

    make_spend(&spend, 1, "r1", 5, 1, 5);
    make_get_batch(&get, 1);
    fixture_run(&f, jobs, 2);
    ck_assert_uint_eq(f.results[0]->batch->counts->issued, 5);
}
END_TEST

START_TEST(group_of_the_full_size_is_one_transaction)
{
    static struct spend_job spends[MM_GROUP_JOBS_MAX];
    const Mintmark__Internal__StoreJob *jobs[MM_GROUP_JOBS_MAX];
    char ids[MM_GROUP_JOBS_MAX][16];

    for (unsigned i = 0; i < MM_GROUP_JOBS_MAX; i++) {
        snprintf(ids[i], sizeof(ids[i]), "r%u", i);
        make_spend(&spends[i], 1, ids[i], 1, i + 1, 1);
        jobs[i] = &spends[i].job;
    }
    fixture_run(&f, jobs, MM_GROUP_JOBS_MAX);
    for (unsigned i = 0; i < MM_GROUP_JOBS_MAX; i++)
        ck_assert_int_eq(fixture_code(&f, i), i < 20 ? MM_OK : MM_ERR_EXHAUSTED);
}
END_TEST

START_TEST(group_full_by_bytes_says_so)
{
    static struct spend_job spend;
    static uint8_t bundle[MM_BUNDLE_MAX];
    struct mm_errinfo ei = {0};
    struct mm_group g = {0};
    uint8_t *packed;
    size_t len, n = 0;

    make_spend(&spend, 1, "r1", MM_CHUNK_DEVICES, 1, MM_CHUNK_DEVICES);
    for (int i = 0; i < MM_CHUNK_DEVICES; i++)
        spend.devices[i].bundle = (ProtobufCBinaryData){sizeof(bundle), bundle};
    len = mintmark__internal__store_job__get_packed_size(&spend.job);
    ck_assert_uint_lt(len, MM_IPC_MESSAGE_MAX);
    packed = malloc(len);
    mintmark__internal__store_job__pack(&spend.job, packed);
    for (; !mm_group_full(&g); n++)
        ck_assert_int_eq(mm_group_add(&g, (struct mm_bytes){packed, len}, &ei), MM_OK);
    ck_assert_uint_eq(n, 2);
    mm_group_done(&g);
    free(packed);
}
END_TEST

START_TEST(job_past_its_deadline_is_not_started)
{
    static struct spend_job spend;

    make_spend(&spend, 1, "r1", 5, 1, 5);
    spend.job.deadline_mono_us = 1000;
    fixture_refused(&f, &spend.job, MM_ERR_TIMEOUT, "DEADLINE_EXCEEDED");
    spend.job.deadline_mono_us = 1001;
    ck_assert_int_eq(fixture_do(&f, &spend.job), MM_OK);
}
END_TEST

START_TEST(job_that_is_none_is_an_error_of_the_channel)
{
    static const uint8_t truncated[] = {0x52, 0x10, 0x0a};
    struct mm_errinfo ei = {0};
    struct mm_group g = {0};

    ck_assert_int_eq(mm_group_add(&g, (struct mm_bytes){truncated, sizeof(truncated)}, &ei),
                     MM_ERR_CORRUPT);
    ck_assert_uint_eq(g.n, 0);
    mm_group_done(&g);
}
END_TEST

START_TEST(job_of_no_kind_is_refused)
{
    Mintmark__Internal__StoreJob job = MINTMARK__INTERNAL__STORE_JOB__INIT;

    fixture_refused(&f, &job, MM_ERR_UNSUPPORTED, "UNKNOWN_JOB");
}
END_TEST

/* Each case spoils one field of a good job; the error names the field. */
static void spoil_device(Mintmark__Internal__DeviceRecord *d, int i)
{
    static uint8_t bytes[MM_BUNDLE_MAX + 1];
    static char serial[MM_HW_SERIAL_MAX + 2];

    memset(serial, 'x', MM_HW_SERIAL_MAX + 1);
    switch (i) {
    case 8:
        d->bundle.len = 0;
        break;
    case 9:
        d->bundle = (ProtobufCBinaryData){sizeof(bytes), bytes};
        break;
    case 10:
        d->uid.len = 15;
        break;
    case 11:
        d->number = 0;
        break;
    case 12:
        d->number = INT64_MAX;
        break;
    case 13:
        d->hw_serial = serial;
        break;
    case 14:
        d->hw_serial = TEXT("SN\x7f");
        break;
    case 15:
        d->spki_sha256.len = 0;
        break;
    default:
        d->serial = (ProtobufCBinaryData){21, bytes};
        break;
    }
}

static void spoil_spend(struct spend_job *j, int i)
{
    switch (i) {
    case 0:
        j->spend.batch_uid = TEXT("01890000");
        break;
    case 1:
        j->spend.station = TEXT("a station");
        break;
    case 2:
        j->spend.request_id = TEXT("");
        break;
    case 3:
        j->spend.digest.len = 31;
        break;
    case 4:
        j->spend.request_count = 0;
        break;
    case 5:
        j->spend.request_count = MM_PROVISION_MAX + 1;
        break;
    case 6:
        j->spend.now_ms = -1;
        break;
    case 7:
        j->spend.n_devices = 0;
        break;
    default:
        spoil_device(&j->devices[1], i);
        break;
    }
}

START_TEST(spend_with_a_bad_field_is_refused_by_name)
{
    static const char *const fields[] = {"batch_uid",
                                         "station",
                                         "request_id",
                                         "digest",
                                         "request_count",
                                         "request_count",
                                         "now_ms",
                                         "devices",
                                         "devices.bundle",
                                         "devices.bundle",
                                         "devices.uid",
                                         "devices.number",
                                         "devices.number",
                                         "devices.hw_serial",
                                         "devices.hw_serial",
                                         "devices.spki_sha256",
                                         "devices.serial"};
    static struct spend_job j;

    make_spend(&j, 1, "r1", 5, 1, 2);
    spoil_spend(&j, _i);
    fixture_refused(&f, &j.job, MM_ERR_INVALID, "INVALID_FIELD");
    ck_assert_str_eq(f.results[0]->error->field, fields[_i]);
}
END_TEST

START_TEST(order_with_a_bad_field_is_refused_by_name)
{
    static const struct {
        const char *reason, *field;
    } wrong[] = {{"INVALID_FIELD", "order_id"}, {"INVALID_FIELD", "profile"},
                 {"ORDER_QUANTITY", ""},        {"ORDER_QUANTITY", ""},
                 {"ORDER_VALIDITY", ""},        {"INVALID_FIELD", "by"}};
    struct order_job j;

    make_order(&j, "new", 5);
    switch (_i) {
    case 0:
        j.order.order_id = TEXT("-x");
        break;
    case 1:
        j.order.profile = TEXT("");
        break;
    case 2:
        j.order.quantity = 0;
        break;
    case 3:
        j.order.quantity = MM_ORDER_QUANTITY_MAX + 1ULL;
        break;
    case 4:
        j.order.not_after_time_ms = T0;
        break;
    default:
        j.import.by = TEXT("CN=x");
        break;
    }
    sign_order(&j);
    fixture_refused(&f, &j.job, MM_ERR_INVALID, wrong[_i].reason);
    ck_assert_str_eq(f.results[0]->error->field, wrong[_i].field);
    j.import.by = TEXT("officer-1");
    j.import.document.len = 0;
    fixture_refused(&f, &j.job, MM_ERR_INVALID, "INVALID_FIELD");
    ck_assert_str_eq(f.results[0]->error->field, "document");
}
END_TEST

START_TEST(batch_with_a_bad_field_is_refused_by_name)
{
    static const char *const fields[] = {"batch_uid", "name", "quantity", "quantity", "heads"};
    struct batch_job j;

    make_batch(&j, 7, 5);
    switch (_i) {
    case 0:
        j.uid[0] = 'x';
        break;
    case 1:
        j.batch.name = TEXT("a b");
        break;
    case 2:
        j.batch.quantity = 0;
        break;
    case 3:
        j.batch.quantity = MM_BATCH_QUANTITY_MAX + 1;
        break;
    default:
        j.batch.heads = MM_HEADS_MAX + 1;
        break;
    }
    fixture_refused(&f, &j.job, MM_ERR_INVALID, "INVALID_FIELD");
    ck_assert_str_eq(f.results[0]->error->field, fields[_i]);
}
END_TEST

START_TEST(report_with_a_bad_field_is_refused_by_name)
{
    static const char *const fields[] = {"devices.device_uid", "devices.state",  "devices.reason",
                                         "devices.reason",     "devices.reason", "devices"};
    static char reason[MM_REASON_TEXT_MAX + 2];
    struct report_job j;

    memset(reason, 'x', MM_REASON_TEXT_MAX + 1);
    make_report(&j, 1, 1, 2, "broken");
    switch (_i) {
    case 0:
        j.reports[1].uid.len = 17;
        break;
    case 1:
        j.reports[1].state = MINTMARK__V1__DEVICE_STATE__DEVICE_STATE_ISSUED;
        break;
    case 2:
        j.reports[1].reason = TEXT("");
        break;
    case 3:
        j.reports[1].reason = reason;
        break;
    case 4:
        j.reports[1].state = MINTMARK__V1__DEVICE_STATE__DEVICE_STATE_OK;
        break;
    default:
        j.devices.n_reports = 0;
        break;
    }
    fixture_refused(&f, &j.job, MM_ERR_INVALID, "INVALID_FIELD");
    ck_assert_str_eq(f.results[0]->error->field, fields[_i]);
}
END_TEST

START_TEST(reading_job_with_a_bad_field_is_refused_by_name)
{
    struct small_job j;

    make_fetch(&j, "r1", 0, 0);
    fixture_refused(&f, &j.job, MM_ERR_INVALID, "INVALID_FIELD");
    make_fetch(&j, "r1", 0, MM_CHUNK_DEVICES + 1);
    fixture_refused(&f, &j.job, MM_ERR_INVALID, "INVALID_FIELD");
    make_fetch(&j, "r1", UINT64_MAX, 1);
    fixture_refused(&f, &j.job, MM_ERR_INVALID, "INVALID_FIELD");
    ck_assert_str_eq(f.results[0]->error->field, "after_row");
    make_find(&j, "r1");
    j.find.digest.len = 0;
    fixture_refused(&f, &j.job, MM_ERR_INVALID, "INVALID_FIELD");
    make_get_device(&j, 1);
    j.get_device.uid.len = 8;
    fixture_refused(&f, &j.job, MM_ERR_INVALID, "INVALID_FIELD");
    make_get_batch(&j, 1);
    j.get_batch.batch_uid = TEXT("monday");
    fixture_refused(&f, &j.job, MM_ERR_INVALID, "INVALID_FIELD");
    make_release(&j, 1);
    j.release.now_ms = -1;
    fixture_refused(&f, &j.job, MM_ERR_INVALID, "INVALID_FIELD");
}
END_TEST

/* Rows up to the limit are made by hand, for it is only the count that matters. */
START_TEST(open_batches_and_live_orders_have_a_maximum)
{
    struct mm_errinfo ei = {0};
    struct batch_job batch;
    struct order_job order;
    struct small_job release;
    struct mm_store *s = f.store;
    Mintmark__Internal__StoreReady *ready = NULL;
    char sql[600];

    snprintf(sql, sizeof(sql),
             "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < %d)"
             " INSERT INTO batches (uid, name, device_type, quantity, heads, order_row, station,"
             " opened_ms) SELECT CAST(printf('%%016d', i) AS BLOB), 'b', 'd', 1, 1, 1, 's', 1"
             " FROM n",
             MM_OPEN_BATCHES_MAX);
    ck_assert_int_eq(mm_sql_exec(s, sql, &ei), MM_OK);
    make_batch(&batch, 2, 1);
    fixture_refused(&f, &batch.job, MM_ERR_EXHAUSTED, "TOO_MANY_BATCHES");
    make_release(&release, 1);
    ck_assert_int_eq(fixture_do(&f, &release.job), MM_OK);
    ck_assert_int_eq(fixture_do(&f, &batch.job), MM_OK);
    snprintf(sql, sizeof(sql),
             "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < %d)"
             " INSERT INTO orders (order_id, profile, quantity, not_before_ms, not_after_ms,"
             " added_ms, added_by) SELECT printf('%%064d', i), 1, 1, %d, %d, 1, 'o' FROM n",
             MM_LIVE_ORDERS_MAX, T0, T_END);
    ck_assert_int_eq(mm_sql_exec(s, sql, &ei), MM_OK);
    make_order(&order, "one-more", 1);
    fixture_refused(&f, &order.job, MM_ERR_EXHAUSTED, "TOO_MANY_ORDERS");
    ck_assert_int_eq(mm_store_ready(s, &ready, &ei), MM_OK);
    ck_assert_uint_eq(ready->n_batches, MM_OPEN_BATCHES_MAX);
    ck_assert_uint_eq(ready->n_orders, MM_LIVE_ORDERS_MAX);
    mintmark__internal__store_ready__free_unpacked(ready, NULL);
    /* The ledger does not know them. */
    ck_assert_int_eq(mm_sql_exec(s, "DELETE FROM orders WHERE added_by = 'o'", &ei), MM_OK);
}
END_TEST

START_TEST(open_batch_over_the_stations_share_is_refused)
{
    struct batch_job batch;
    struct small_job release;

    make_batch(&batch, 2, 1);
    batch.open.station_max = 1; /* and there is one, batch 1 */
    fixture_refused(&f, &batch.job, MM_ERR_EXHAUSTED, "TOO_MANY_OWN_BATCHES");
    ck_assert_str_eq(f.results[0]->error->subject, "client:" STATION);
    ck_assert_uint_eq(f.results[0]->error->retry_ms, MM_OPEN_BATCHES_RETRY_MS);
    /* Those of another station are not its own. */
    batch.batch.station = TEXT("another");
    ck_assert_int_eq(fixture_do(&f, &batch.job), MM_OK);
    make_batch(&batch, 3, 1);
    batch.open.station_max = 1;
    fixture_refused(&f, &batch.job, MM_ERR_EXHAUSTED, "TOO_MANY_OWN_BATCHES");
    /* Nor those that are released. */
    make_release(&release, 1);
    ck_assert_int_eq(fixture_do(&f, &release.job), MM_OK);
    ck_assert_int_eq(fixture_do(&f, &batch.job), MM_OK);
    make_batch(&batch, 4, 1);
    batch.open.station_max = 0;
    fixture_refused(&f, &batch.job, MM_ERR_INVALID, "INVALID_FIELD");
}
END_TEST

START_TEST(writing_verb_outside_a_group_is_refused)
{
    struct mm_errinfo ei = {0};
    struct order_job order;
    Mintmark__V1__Order *made = NULL;

    make_order(&order, "stray", 1);
    ck_assert_int_eq(mm_store_import_order(f.store, &order.import, &made, &ei), MM_ERR_INTERNAL);
    ck_assert_int_eq(mm_store_commit(f.store, &ei), MM_ERR_INTERNAL);
    ck_assert_int_eq(fixture_int(&f, "SELECT count(*) FROM orders"), 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store_group");
    TCase *group = tcase_create("group");

    tcase_set_timeout(group, 60);
    tcase_add_checked_fixture(group, setup, teardown);
    tcase_add_test(group, group_with_a_failing_job_keeps_the_others);
    tcase_add_test(group, group_read_sees_what_the_group_wrote);
    tcase_add_test(group, group_of_the_full_size_is_one_transaction);
    tcase_add_test(group, group_full_by_bytes_says_so);
    tcase_add_test(group, job_past_its_deadline_is_not_started);
    tcase_add_test(group, job_that_is_none_is_an_error_of_the_channel);
    tcase_add_test(group, job_of_no_kind_is_refused);
    tcase_add_loop_test(group, spend_with_a_bad_field_is_refused_by_name, 0, 17);
    tcase_add_loop_test(group, order_with_a_bad_field_is_refused_by_name, 0, 6);
    tcase_add_loop_test(group, batch_with_a_bad_field_is_refused_by_name, 0, 5);
    tcase_add_loop_test(group, report_with_a_bad_field_is_refused_by_name, 0, 6);
    tcase_add_test(group, reading_job_with_a_bad_field_is_refused_by_name);
    tcase_add_test(group, open_batches_and_live_orders_have_a_maximum);
    tcase_add_test(group, open_batch_over_the_stations_share_is_refused);
    tcase_add_test(group, writing_verb_outside_a_group_is_refused);
    suite_add_tcase(suite, group);
    return run_suite(suite);
}
