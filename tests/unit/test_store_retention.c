/* SPDX-License-Identifier: Apache-2.0 */
/* Private keys that are deleted some days after their batch's release, and all that stays. */
#include "daemon/base/io.h"
#include "tests/unit/check_main.h"
#include "tests/unit/store_fixture.h"

#include <stdio.h>
#include <string.h>

enum { DAYS = 3, DEVICES = 2 * MM_KEYS_PAGE_MAX + 20, PER_REQUEST = 100 };
static const int64_t day_ms = 24ll * 3600 * 1000;
static const char secret[] = "private key of device";

static struct fixture f;
static struct spend_job spend;

static void set_days(unsigned days)
{
    f.store->site.keep_keys_days = days;
}

/* Bundles as tokens make them: every tenth device's key stays in the token. */
static void give_bundles(unsigned first, unsigned n)
{
    static uint8_t packed[MM_CHUNK_DEVICES][256];
    static uint8_t certificate[100];

    for (unsigned i = 0; i < n; i++) {
        Mintmark__V1__Bundle bundle = MINTMARK__V1__BUNDLE__INIT;
        char key[64];
        const int len = snprintf(key, sizeof(key), "%s %u", secret, first + i);

        bundle.number = first + i;
        bundle.certificate = (ProtobufCBinaryData){sizeof(certificate), certificate};
        if (i % 10 != 9)
            bundle.private_key = (ProtobufCBinaryData){(size_t)len, (uint8_t *)key};
        spend.devices[i].bundle.len = mintmark__v1__bundle__pack(&bundle, packed[i]);
        spend.devices[i].bundle.data = packed[i];
    }
}

static void make(unsigned batch, const char *request_id, uint32_t count, unsigned first, unsigned n)
{
    make_spend(&spend, batch, request_id, count, first, n);
    give_bundles(first, n);
    ck_assert_int_eq(fixture_do(&f, &spend.job), MM_OK);
}

static void setup(void)
{
    static struct batch_job batch;
    unsigned first = 1;

    fixture_setup(&f);
    set_days(DAYS);
    fixture_populate(&f, 10000);
    make_batch(&batch, 2, 100);
    ck_assert_int_eq(fixture_do(&f, &batch.job), MM_OK);
    for (unsigned request = 0; first <= DEVICES; request++) {
        char id[16];

        snprintf(id, sizeof(id), "r%u", request);
        for (unsigned end = first + PER_REQUEST; first < end && first <= DEVICES;) {
            unsigned n = end - first < MM_CHUNK_DEVICES ? end - first : MM_CHUNK_DEVICES;

            n = DEVICES + 1 - first < n ? DEVICES + 1 - first : n;
            make(1, id, PER_REQUEST, first, n);
            first += n;
        }
    }
    make(2, "other", 5, DEVICES + 1, 5);
}

static void teardown(void)
{
    fixture_check_invariants(&f);
    fixture_teardown(&f);
}

static void release(unsigned batch)
{
    static struct small_job j;

    make_release(&j, batch);
    ck_assert_int_eq(fixture_do(&f, &j.job), MM_OK);
}

static const Mintmark__Internal__KeysPage *delete_keys(void)
{
    static struct small_job j;

    make_delete_keys(&j);
    ck_assert_int_eq(fixture_do(&f, &j.job), MM_OK);
    return f.results[0]->keys_page;
}

static int64_t deleted(void)
{
    return fixture_int(&f, "SELECT count(*) FROM devices WHERE key_deleted = 1");
}

static int64_t records(void)
{
    return fixture_int(&f, "SELECT max(sequence) FROM ledger");
}

static void expect_nothing_due(void)
{
    const int64_t before = records();
    const Mintmark__Internal__KeysPage *page = delete_keys();

    ck_assert(!page->more);
    ck_assert_str_eq(page->batch_uid, "");
    ck_assert_int_eq(records(), before);
}

static void expect_record(uint64_t sequence, unsigned batch, uint64_t devices)
{
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    Mintmark__V1__LedgerRecord *record;
    struct mm_errinfo ei = {0};

    ck_assert_int_eq(mm_ledger_record_at(f.store, sequence, &arena, &record, &ei), MM_OK);
    ck_assert_int_eq(record->event_case, MINTMARK__V1__LEDGER_RECORD__EVENT_KEYS_DELETED);
    ck_assert_str_eq(record->keys_deleted->batch_uid, batch_uid(batch));
    ck_assert_uint_eq(record->keys_deleted->devices, devices);
}

START_TEST(only_keys_of_batches_released_so_long_ago_are_due)
{
    expect_nothing_due();
    fixture_clock_ms += 100 * day_ms; /* not released */
    expect_nothing_due();
    release(1);
    fixture_clock_ms += DAYS * day_ms - 1;
    expect_nothing_due();
    set_days(0);
    fixture_clock_ms += (36500 - DAYS) * day_ms; /* kept for ever */
    expect_nothing_due();
    ck_assert_int_eq(deleted(), 0);
    set_days(36500);
    expect_nothing_due();
    fixture_clock_ms += 1;
    ck_assert(delete_keys()->more);
    ck_assert_int_gt(deleted(), 0);
}
END_TEST

START_TEST(pages_go_on_after_a_restart_and_are_entered_once)
{
    int64_t before;
    unsigned pages = 1;

    release(1);
    fixture_clock_ms += DAYS * day_ms;
    before = records();
    ck_assert_str_eq(delete_keys()->batch_uid, "");
    ck_assert_int_gt(deleted(), MM_KEYS_PAGE_MAX * 8 / 10);
    ck_assert_int_le(deleted(), MM_KEYS_PAGE_MAX);
    for (;; pages++) {
        const Mintmark__Internal__KeysPage *page;

        fixture_close(&f);
        fixture_open(&f);
        set_days(DAYS);
        page = delete_keys();
        ck_assert(page->more);
        if (!*page->batch_uid)
            continue;
        ck_assert_str_eq(page->batch_uid, batch_uid(1));
        ck_assert_uint_eq(page->devices, DEVICES);
        break;
    }
    ck_assert_uint_eq(pages, DEVICES / MM_KEYS_PAGE_MAX);
    ck_assert_int_eq(records(), before + 1);
    expect_record((uint64_t)before + 1, 1, DEVICES);
    expect_nothing_due();
    release(2);
    fixture_clock_ms += DAYS * day_ms;
    ck_assert_uint_eq(delete_keys()->devices, 5);
    expect_nothing_due();
    fixture_check_ledger(&f);
}
END_TEST

/* The page is undone with its group, its place with it. */
START_TEST(a_page_that_is_not_committed_did_not_happen)
{
    Mintmark__Internal__DeleteKeys job = MINTMARK__INTERNAL__DELETE_KEYS__INIT;
    Mintmark__Internal__KeysPage *page;
    struct mm_errinfo ei = {0};
    char *before, *after;

    release(1);
    job.now_ms = fixture_clock_ms + DAYS * day_ms;
    before = fixture_dump(&f);
    ck_assert_int_eq(mm_store_begin(f.store, &ei), MM_OK);
    ck_assert_int_eq(mm_store_delete_keys(f.store, &job, &page, &ei), MM_OK);
    mintmark__internal__keys_page__free_unpacked(page, NULL);
    fixture_close(&f);
    fixture_open(&f);
    after = fixture_dump(&f);
    ck_assert_str_eq(before, after);
    free(before);
    free(after);
}
END_TEST

static void delete_all(void)
{
    release(1);
    fixture_clock_ms += DAYS * day_ms;
    while (delete_keys()->more)
        ;
}

static void expect_device(unsigned number, int code)
{
    static struct small_job j;

    make_get_device(&j, number);
    ck_assert_int_eq(fixture_do(&f, &j.job), code);
    if (code != MM_OK)
        ck_assert_str_eq(fixture_reason(&f, 0), "KEYS_DELETED");
}

START_TEST(a_device_without_its_key_is_not_delivered)
{
    static struct small_job j;

    delete_all();
    expect_device(1, MM_ERR_PRECONDITION);
    expect_device(DEVICES, MM_ERR_PRECONDITION);
    expect_device(10, MM_OK); /* its key is in the token */
    expect_device(DEVICES + 1, MM_OK);
    make_fetch(&j, "r0", 0, 2);
    fixture_refused(&f, &j.job, MM_ERR_PRECONDITION, "KEYS_DELETED");
    make_fetch(&j, "other", 0, 2);
    ck_assert_int_eq(fixture_do(&f, &j.job), MM_OK);
}
END_TEST

static size_t count_in_file(const char *text)
{
    MM_BUF_CLEANUP struct mm_buf file = MM_BUF_INIT(8 << 20);
    struct mm_errinfo ei = {0};
    size_t n = 0;

    fixture_close(&f);
    ck_assert_int_eq(mm_io_read_file(f.path, 8 << 20, &file, &ei), MM_OK);
    for (const uint8_t *at = file.data, *end = file.data + file.len;
         (at = memmem(at, (size_t)(end - at), text, strlen(text))) != NULL; at++)
        n++;
    fixture_open(&f);
    set_days(DAYS);
    return n;
}

/* Also not in pages that are free, or in what rows left behind. */
START_TEST(the_file_holds_no_deleted_key)
{
    const size_t before = count_in_file(secret);

    ck_assert_uint_ge(before, DEVICES * 9 / 10);
    delete_all();
    ck_assert_uint_eq(count_in_file(secret), 5); /* the other batch's */
}
END_TEST

START_TEST(all_else_in_a_bundle_stays)
{
    static struct small_job j;
    char *report;
    size_t len;

    release(1);
    make_report_page(&j, 1);
    ck_assert_int_eq(fixture_do(&f, &j.job), MM_OK);
    len = f.results[0]->report_piece->data.len;
    report = malloc(len);
    ck_assert_ptr_nonnull(report);
    memcpy(report, f.results[0]->report_piece->data.data, len);
    fixture_clock_ms += DAYS * day_ms;
    while (delete_keys()->more)
        ;
    ck_assert_int_eq(fixture_do(&f, &j.job), MM_OK);
    ck_assert_uint_eq(f.results[0]->report_piece->data.len, len);
    ck_assert_mem_eq(f.results[0]->report_piece->data.data, report, len);
    ck_assert_int_eq(
        fixture_int(&f, "SELECT count(*) FROM devices WHERE length(bundle) BETWEEN 102 AND 106"),
        DEVICES);
    free(report);
}
END_TEST

START_TEST(a_bundle_that_is_none_stops_it)
{
    static struct small_job j;

    make_spend(&spend, 2, "none", 1, DEVICES + 6, 1);
    ck_assert_int_eq(fixture_do(&f, &spend.job), MM_OK);
    release(2);
    fixture_clock_ms += DAYS * day_ms;
    make_delete_keys(&j);
    fixture_refused(&f, &j.job, MM_ERR_CORRUPT, "STORE_CORRUPT");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store_retention");
    TCase *keys = tcase_create("keys");

    tcase_add_checked_fixture(keys, setup, teardown);
    tcase_add_test(keys, only_keys_of_batches_released_so_long_ago_are_due);
    tcase_add_test(keys, pages_go_on_after_a_restart_and_are_entered_once);
    tcase_add_test(keys, a_page_that_is_not_committed_did_not_happen);
    tcase_add_test(keys, a_device_without_its_key_is_not_delivered);
    tcase_add_test(keys, the_file_holds_no_deleted_key);
    tcase_add_test(keys, all_else_in_a_bundle_stays);
    tcase_add_test(keys, a_bundle_that_is_none_stops_it);
    suite_add_tcase(suite, keys);
    return run_suite(suite);
}
