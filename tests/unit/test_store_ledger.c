/* SPDX-License-Identifier: Apache-2.0 */
/* The ledger: what is entered, and that no edit of it or of what it stands for goes unnoticed. */
#include "daemon/base/clock.h"
#include "tests/unit/check_main.h"
#include "tests/unit/store_fixture.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct fixture f;

static void setup(void)
{
    fixture_setup(&f);
}

static void teardown(void)
{
    fixture_teardown(&f);
}

/* The record of that number; free it with protobuf-c. */
static Mintmark__V1__LedgerRecord *record_at(uint64_t sequence)
{
    struct mm_errinfo ei = {0};
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(f.store, MM_SQL_LEDGER_PAGE);
    Mintmark__V1__LedgerRecord *record;
    struct mm_bytes data;

    mm_sql_bind_uint(&q, sequence);
    mm_sql_bind_int(&q, 1);
    ck_assert_int_eq(mm_sql_step(&q, &ei), 1);
    data = mm_sql_blob(&q, 1);
    record = mintmark__v1__ledger_record__unpack(NULL, data.len, data.data);
    ck_assert_ptr_nonnull(record);
    ck_assert_uint_eq(record->sequence, sequence);
    return record;
}

static void expect_event(uint64_t sequence, Mintmark__V1__LedgerRecord__EventCase event)
{
    Mintmark__V1__LedgerRecord *record = record_at(sequence);

    ck_assert_int_eq(record->event_case, event);
    mintmark__v1__ledger_record__free_unpacked(record, NULL);
}

static int64_t records(void)
{
    return fixture_int(&f, "SELECT count(*) FROM ledger");
}

START_TEST(open_begins_the_ledger_once)
{
    Mintmark__V1__LedgerRecord *record = record_at(1);

    ck_assert_int_eq(record->event_case, MINTMARK__V1__LEDGER_RECORD__EVENT_GENESIS);
    ck_assert_uint_eq(record->genesis->ledger_id.len, MM_LEDGER_ID_BYTES);
    ck_assert_mem_eq(record->genesis->ledger_id.data, f.store->ledger.id, MM_LEDGER_ID_BYTES);
    ck_assert_uint_eq(record->genesis->devices, 0);
    ck_assert_str_eq(record->genesis->version, MM_VERSION);
    ck_assert_int_eq(record->time_ms, T0 + 100);
    for (size_t i = 0; i < record->previous.len; i++)
        ck_assert_uint_eq(record->previous.data[i], 0);
    fixture_close(&f);
    fixture_open(&f);
    ck_assert_int_eq(records(), 1);
    ck_assert_mem_eq(record->genesis->ledger_id.data, f.store->ledger.id, MM_LEDGER_ID_BYTES);
    mintmark__v1__ledger_record__free_unpacked(record, NULL);
}
END_TEST

START_TEST(each_writing_verb_enters_one_record)
{
    static struct report_job report;
    struct small_job release;

    fixture_populate(&f, 100);
    expect_event(2, MINTMARK__V1__LEDGER_RECORD__EVENT_ORDER_IMPORTED);
    expect_event(3, MINTMARK__V1__LEDGER_RECORD__EVENT_BATCH_OPENED);
    fixture_spend(&f, 1, "r1", 10, 1, 4);
    expect_event(4, MINTMARK__V1__LEDGER_RECORD__EVENT_SPENT);
    make_report(&report, 1, 1, 2, "no contact");
    ck_assert_int_eq(fixture_do(&f, &report.job), MM_OK);
    expect_event(5, MINTMARK__V1__LEDGER_RECORD__EVENT_DEVICES_REPORTED);
    make_release(&release, 1);
    ck_assert_int_eq(fixture_do(&f, &release.job), MM_OK);
    expect_event(6, MINTMARK__V1__LEDGER_RECORD__EVENT_BATCH_RELEASED);
    ck_assert_int_eq(records(), 6);
    fixture_check_invariants(&f);
}
END_TEST

START_TEST(spent_says_whose_what_and_for_which_devices)
{
    Mintmark__V1__LedgerRecord *record;

    fixture_populate(&f, 100);
    fixture_spend(&f, 1, "r1", 10, 1, 4);
    fixture_spend(&f, 1, "r1", 10, 5, 3);
    record = record_at(5);
    ck_assert_str_eq(record->spent->order_id, ORDER);
    ck_assert_str_eq(record->spent->batch_uid, batch_uid(1));
    ck_assert_str_eq(record->spent->station, STATION);
    ck_assert_str_eq(record->spent->request_id, "r1");
    ck_assert_int_eq(record->spent->kind, MINTMARK__V1__SPEND_KIND__SPEND_KIND_PROVISION);
    ck_assert_uint_eq(record->spent->first_row, 5);
    ck_assert_uint_eq(record->spent->count, 3);
    ck_assert_uint_eq(record->spent->order_used_after, 7);
    ck_assert_uint_eq(record->spent->devices_sha256.len, MM_SHA256_BYTES);
    mintmark__v1__ledger_record__free_unpacked(record, NULL);
    ck_assert_uint_eq(f.store->ledger.committed.devices, 7);
}
END_TEST

/* Worked out by hand from the layout in ledger.proto, so that a change of it is noticed. */
START_TEST(spent_hashes_the_devices_as_documented)
{
    static struct spend_job spend;
    Mintmark__V1__LedgerRecord *record;
    uint8_t layout[16 + 32 + 8 + 1 + 20 + 1 + 4], hash[EVP_MAX_MD_SIZE];
    uint8_t *at = layout;

    fixture_populate(&f, 100);
    make_spend(&spend, 1, "r1", 1, 1, 1);
    set_hw_serial(&spend, 0, "SN-1");
    ck_assert_int_eq(fixture_do(&f, &spend.job), MM_OK);
    at = mempcpy(at, spend.uids[0], 16);
    at = mempcpy(at, spend.devices[0].spki_sha256.data, 32);
    at = mempcpy(at, "\0\0\0\0\0\0\0\1\24", 9);
    at = mempcpy(at, spend.devices[0].serial.data, 20);
    at = mempcpy(at, "\4SN-1", 5);
    ck_assert_ptr_eq(at, layout + sizeof(layout));
    ck_assert(EVP_Digest(layout, sizeof(layout), hash, NULL, EVP_sha256(), NULL));
    record = record_at(4);
    ck_assert_mem_eq(record->spent->devices_sha256.data, hash, MM_SHA256_BYTES);
    mintmark__v1__ledger_record__free_unpacked(record, NULL);
}
END_TEST

START_TEST(a_refused_verb_enters_nothing)
{
    static struct spend_job spend;
    struct order_job order;
    const Mintmark__Internal__StoreJob *jobs[3];
    static struct spend_job first, last;

    fixture_populate(&f, 10);
    make_spend(&spend, 1, "r1", 20, 1, 11);
    fixture_refused(&f, &spend.job, MM_ERR_EXHAUSTED, "QUOTA_EXHAUSTED");
    make_order(&order, ORDER, 5);
    fixture_refused(&f, &order.job, MM_ERR_EXISTS, "ORDER_EXISTS");
    ck_assert_int_eq(records(), 3);
    /* In the middle of a group: the chain closes over it. */
    make_spend(&first, 1, "r2", 3, 1, 3);
    make_spend(&last, 1, "r3", 2, 4, 2);
    jobs[0] = &first.job;
    jobs[1] = &spend.job;
    jobs[2] = &last.job;
    fixture_run(&f, jobs, 3);
    ck_assert_int_eq(fixture_code(&f, 0), MM_OK);
    ck_assert_int_eq(fixture_code(&f, 1), MM_ERR_EXHAUSTED);
    ck_assert_int_eq(fixture_code(&f, 2), MM_OK);
    ck_assert_int_eq(records(), 5);
    fixture_check_invariants(&f);
}
END_TEST

START_TEST(a_report_that_changes_nothing_is_not_entered)
{
    static struct report_job report;

    fixture_populate(&f, 10);
    fixture_spend(&f, 1, "r1", 3, 1, 3);
    make_report(&report, 1, 1, 3, "");
    ck_assert_int_eq(fixture_do(&f, &report.job), MM_OK);
    ck_assert_int_eq(records(), 5);
    ck_assert_int_eq(fixture_do(&f, &report.job), MM_OK);
    ck_assert_int_eq(records(), 5);
}
END_TEST

/* What an intruder with the file in hand may try, and what the walk says to it. */
static const struct {
    const char *sql;
    const char *reason;
    const char *part_of_text;
} edits[] = {
    {"UPDATE ledger SET record = (SELECT record FROM ledger WHERE sequence = 4) WHERE sequence = 5",
     "LEDGER_EDITED", "record 5"},
    {"UPDATE ledger SET record = CAST(record || x'00' AS BLOB) WHERE sequence = 4", "LEDGER_EDITED",
     "record 4"},
    /* An unknown field that protobuf passes over: the hash does not. */
    {"UPDATE ledger SET record = CAST(record || x'f80701' AS BLOB) WHERE sequence = 4",
     "LEDGER_EDITED", "record 5"},
    {"UPDATE ledger SET record = CAST(record || x'f80701' AS BLOB) WHERE sequence = 6",
     "LEDGER_EDITED", "record 6"},
    {"UPDATE ledger SET record = zeroblob(0) WHERE sequence = 6", "LEDGER_EDITED", "record 6"},
    {"DELETE FROM ledger WHERE sequence = 5", "LEDGER_GAP", "record 5"},
    {"DELETE FROM ledger WHERE sequence = 6", "LEDGER_GAP", "ends at record 5"},
    {"UPDATE orders SET used = used - 1", "LEDGER_EDITED", "production order " ORDER},
    {"UPDATE orders SET quantity = quantity + 1", "LEDGER_EDITED", "production order " ORDER},
    {"UPDATE orders SET not_after_ms = not_after_ms + 1", "LEDGER_EDITED", "production order"},
    {"UPDATE orders SET hold = 2", "LEDGER_EDITED", "production order " ORDER},
    {"UPDATE orders SET per_day_max = 1000", "LEDGER_EDITED", "production order " ORDER},
    {"UPDATE orders SET stations = ',x,'", "LEDGER_EDITED", "production order " ORDER},
    {"UPDATE orders SET replacements_max = 9", "LEDGER_EDITED", "production order " ORDER},
    {"UPDATE orders SET reported_ms = 9", "LEDGER_EDITED", "production order " ORDER},
    {"UPDATE orders SET added_ms = 9", "LEDGER_EDITED", "production order " ORDER},
    {"INSERT INTO orders (row, order_id, profile, quantity, used, not_before_ms, not_after_ms,"
     " added_ms, added_by) SELECT row + 1, order_id || 'x', profile, quantity, 0, not_before_ms,"
     " not_after_ms, added_ms, added_by FROM orders",
     "LEDGER_EDITED", "production order"},
    {"UPDATE devices SET spki_sha256 = CAST(zeroblob(31) || x'01' AS BLOB) WHERE row = 2",
     "LEDGER_EDITED", "record 4"},
    {"UPDATE devices SET hw_serial = 'SN-9' WHERE row = 2", "LEDGER_EDITED", "record 4"},
    {"UPDATE devices SET number = 99 WHERE row = 5", "LEDGER_EDITED", "record 5"},
    {"UPDATE devices SET serial = NULL WHERE row = 5", "LEDGER_EDITED", "record 5"},
};

START_TEST(an_edit_is_noticed)
{
    MM_LEDGER_WALK_CLEANUP struct mm_ledger_walk walk = {.devices = true};
    struct mm_errinfo ei = {0};
    static struct report_job report;
    int r;

    fixture_populate(&f, 100);
    fixture_spend(&f, 1, "r1", 3, 1, 3);
    fixture_spend(&f, 1, "r2", 3, 4, 3);
    make_report(&report, 1, 1, 2, "");
    ck_assert_int_eq(fixture_do(&f, &report.job), MM_OK);
    ck_assert_int_eq(records(), 6);
    ck_assert_int_eq(mm_sql_exec(f.store, edits[_i].sql, &ei), MM_OK);
    do
        r = mm_ledger_walk(f.store, &walk, 2, UINT64_MAX, &ei);
    while (r > 0);
    ck_assert_int_eq(r, MM_ERR_CORRUPT);
    ck_assert_str_eq(ei.reason, edits[_i].reason);
    ck_assert_msg(strstr(ei.text, edits[_i].part_of_text) != NULL, "%s", ei.text);
}
END_TEST

START_TEST(a_page_of_a_walk_ends_with_its_records_or_its_devices)
{
    MM_LEDGER_WALK_CLEANUP struct mm_ledger_walk walk = {0};
    struct mm_errinfo ei = {0};

    fixture_populate(&f, 100);
    fixture_spend(&f, 1, "r1", 3, 1, 3);
    fixture_spend(&f, 1, "r2", 3, 4, 3);
    fixture_spend(&f, 1, "r3", 3, 7, 3);
    ck_assert_int_eq(mm_ledger_walk(f.store, &walk, 1, 4, &ei), 1);
    ck_assert_uint_eq(walk.at.sequence, 1);
    ck_assert_int_eq(mm_ledger_walk(f.store, &walk, 1000, 4, &ei), 1);
    ck_assert_uint_eq(walk.at.devices, 6);
    ck_assert_int_eq(mm_ledger_walk(f.store, &walk, 1000, 3, &ei), 1);
    ck_assert_uint_eq(walk.at.devices, 9);
    ck_assert_int_eq(mm_ledger_walk(f.store, &walk, 1000, 1, &ei), 0);
}
END_TEST

START_TEST(a_database_of_version_1_is_taken_over_with_what_it_holds)
{
    struct mm_errinfo ei = {0};
    Mintmark__V1__LedgerRecord *record;

    fixture_populate(&f, 100);
    fixture_spend(&f, 1, "r1", 3, 1, 3);
    /* As it was: no table, no version. */
    ck_assert_int_eq(
        mm_sql_exec(f.store, "DELETE FROM ledger; UPDATE orders SET day_used = 0", &ei), MM_OK);
    fixture_close(&f);
    fixture_open(&f);
    record = record_at(1);
    ck_assert_uint_eq(record->genesis->devices, 3);
    mintmark__v1__ledger_record__free_unpacked(record, NULL);
    record = record_at(2);
    ck_assert_str_eq(record->order_imported->order_id, ORDER);
    ck_assert_str_eq(record->order_imported->profile, PROFILE);
    ck_assert_uint_eq(record->order_imported->quantity, 100);
    ck_assert_uint_eq(record->order_imported->used, 3);
    mintmark__v1__ledger_record__free_unpacked(record, NULL);
    fixture_spend(&f, 1, "r2", 3, 4, 3);
    fixture_check_invariants(&f);
}
END_TEST

static int64_t clock_now = T0 + 100;
static int64_t wall_ms(void)
{
    return clock_now;
}
static int64_t mono_us(void)
{
    return 1000;
}

START_TEST(times_never_go_back)
{
    Mintmark__V1__LedgerRecord *record;

    mm_clock_replace(wall_ms, mono_us);
    clock_now = T0 + 5000;
    fixture_populate(&f, 100);
    clock_now = T0 + 4000;
    fixture_spend(&f, 1, "r1", 3, 1, 3);
    record = record_at(4);
    ck_assert_int_eq(record->time_ms, T0 + 5000);
    mintmark__v1__ledger_record__free_unpacked(record, NULL);
    fixture_check_invariants(&f);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store_ledger");
    TCase *entering = tcase_create("entering");
    TCase *verifying = tcase_create("verifying");

    tcase_add_checked_fixture(entering, setup, teardown);
    tcase_add_test(entering, open_begins_the_ledger_once);
    tcase_add_test(entering, each_writing_verb_enters_one_record);
    tcase_add_test(entering, spent_says_whose_what_and_for_which_devices);
    tcase_add_test(entering, spent_hashes_the_devices_as_documented);
    tcase_add_test(entering, a_refused_verb_enters_nothing);
    tcase_add_test(entering, a_report_that_changes_nothing_is_not_entered);
    tcase_add_test(entering, a_page_of_a_walk_ends_with_its_records_or_its_devices);
    tcase_add_test(entering, a_database_of_version_1_is_taken_over_with_what_it_holds);
    tcase_add_test(entering, times_never_go_back);
    suite_add_tcase(suite, entering);
    tcase_add_checked_fixture(verifying, setup, teardown);
    tcase_add_loop_test(verifying, an_edit_is_noticed, 0, (int)MM_ARRAY_SIZE(edits));
    suite_add_tcase(suite, verifying);
    return run_suite(suite);
}
