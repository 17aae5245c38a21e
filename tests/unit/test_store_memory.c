/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every allocation fails in turn, SQLite's and ours: the job is refused or done, never half done,
 * and nothing leaks.
 */
#include "tests/unit/check_main.h"
#include "tests/unit/store_sweep.h"

static struct fixture f;

static void setup(void)
{
    static struct spend_job spend;

    fixture_setup(&f);
    fixture_populate(&f, 1000);
    make_spend(&spend, 1, "r0", 256, 1, 3);
    set_hw_serial(&spend, 0, "SN-1");
    set_hw_serial(&spend, 1, "SN-2");
    set_hw_serial(&spend, 2, "SN-3");
    ck_assert_int_eq(fixture_do(&f, &spend.job), MM_OK);
}

static void teardown(void)
{
    fixture_check_invariants(&f);
    fixture_teardown(&f);
}

static void sweep(const Mintmark__Internal__StoreJob *job)
{
    sweep_job(&f, job);
}

START_TEST(writing_jobs_short_of_memory_change_nothing)
{
    static struct order_job order;
    static struct batch_job batch;
    static struct spend_job spend;
    static struct report_job report;
    static struct small_job release;

    make_order(&order, "order-2", 10);
    sweep(&order.job);
    make_batch(&batch, 2, 10);
    sweep(&batch.job);
    make_spend(&spend, 1, "r1", 10, 10, 5);
    set_hw_serial(&spend, 3, "SN-4");
    fixture_chain(2, &spend.spend.chain, &spend.spend.chain_sha256); /* a new one */
    sweep(&spend.job);
    make_enroll(&spend, 1, "r2", 20, 4); /* new, again, refused, new */
    set_key(&spend, 1, 20);
    set_key(&spend, 2, 20);
    set_hw_serial(&spend, 2, "SN-5");
    sweep(&spend.job);
    make_report(&report, 1, 10, 2, "no contact");
    sweep(&report.job);
    make_release(&release, 1);
    sweep(&release.job);
    make_add_signed(&release);
    sweep(&release.job);
}
END_TEST

START_TEST(keys_are_deleted_or_all_kept)
{
    static struct batch_job batch;
    static struct spend_job spend;
    static struct small_job j;
    Mintmark__V1__Bundle bundle = MINTMARK__V1__BUNDLE__INIT;
    uint8_t packed[64], key[32] = {1};

    make_batch(&batch, 2, 10);
    ck_assert_int_eq(fixture_do(&f, &batch.job), MM_OK);
    make_spend(&spend, 2, "r1", 2, 10, 2);
    bundle.private_key = (ProtobufCBinaryData){sizeof(key), key};
    spend.devices[0].bundle.len = mintmark__v1__bundle__pack(&bundle, packed);
    spend.devices[0].bundle.data = packed;
    spend.devices[1].bundle = spend.devices[0].bundle;
    ck_assert_int_eq(fixture_do(&f, &spend.job), MM_OK);
    make_release(&j, 2);
    ck_assert_int_eq(fixture_do(&f, &j.job), MM_OK);
    fixture_clock_ms += 2 * 24ll * 3600 * 1000;
    fixture_keep_keys_days = 1;
    make_delete_keys(&j);
    sweep(&j.job);
    ck_assert_int_eq(fixture_int(&f, "SELECT count(*) FROM devices WHERE key_deleted = 1"), 2);
    fixture_keep_keys_days = 0;
}
END_TEST

/* An empty batch: what the devices of others hold is no bundle. */
START_TEST(accounts_short_of_memory_say_so)
{
    static struct batch_job batch;
    static struct small_job j;

    make_batch(&batch, 2, 10);
    ck_assert_int_eq(fixture_do(&f, &batch.job), MM_OK);
    make_release(&j, 2);
    ck_assert_int_eq(fixture_do(&f, &j.job), MM_OK);
    make_get_report(&j, 2);
    sweep(&j.job);
    make_report_page(&j, 2);
    sweep(&j.job);
    make_export_page(&j, 0, 5);
    sweep(&j.job);
}
END_TEST

START_TEST(reading_jobs_short_of_memory_say_so)
{
    static struct small_job j;

    make_find(&j, "r0");
    sweep(&j.job);
    make_fetch(&j, "r0", 0, 2);
    sweep(&j.job);
    make_get_device(&j, 1);
    sweep(&j.job);
    make_get_batch(&j, 1);
    sweep(&j.job);
    mintmark__internal__store_job__init(&j.job);
    j.job.job_case = MINTMARK__INTERNAL__STORE_JOB__JOB_LIST_ORDERS;
    j.job.list_orders = &j.list_orders;
    mintmark__internal__list_orders__init(&j.list_orders);
    sweep(&j.job);
    j.job.job_case = MINTMARK__INTERNAL__STORE_JOB__JOB_LIST_BATCHES;
    j.job.list_batches = &j.list_batches;
    mintmark__internal__list_batches__init(&j.list_batches);
    sweep(&j.job);
}
END_TEST

START_TEST(open_short_of_memory_can_be_tried_again)
{
    struct mm_errinfo ei = {0};
    bool failed = true;
    unsigned nth;
    int r;

    /* The later ones are SQLite's, statement by statement, and much alike: not each of them. */
    for (nth = 1; failed; nth += nth < 400 ? 1 : 3) {
        fixture_close(&f);
        memory_fail_at(nth);
        r = mm_store_open(f.path, &f.store, &ei);
        failed = memory_failed();
        memory_fail_at(0);
        ck_assert_msg(r == MM_OK || (r == MM_ERR_MEMORY && failed), "allocation %u: %s: %s", nth,
                      mm_err_name(r), ei.text);
    }
    ck_assert_uint_gt(nth, 500); /* SQLite's were among them */
}
END_TEST

START_TEST(ready_short_of_memory_can_be_tried_again)
{
    struct mm_errinfo ei = {0};
    Mintmark__Internal__StoreReady *ready;
    bool failed = true;
    int r;

    for (unsigned nth = 1; failed; nth++) {
        ready = NULL;
        memory_fail_at(nth);
        r = mm_store_ready(f.store, &ready, &ei);
        failed = memory_failed();
        memory_fail_at(0);
        ck_assert(r == MM_OK || (r == MM_ERR_MEMORY && failed));
        if (r == MM_OK)
            mintmark__internal__store_ready__free_unpacked(ready, NULL);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store_memory");
    TCase *memory = tcase_create("memory");

    hook_sqlite();
    tcase_set_timeout(memory, 180);
    tcase_add_checked_fixture(memory, setup, teardown);
    tcase_add_test(memory, writing_jobs_short_of_memory_change_nothing);
    tcase_add_test(memory, keys_are_deleted_or_all_kept);
    tcase_add_test(memory, reading_jobs_short_of_memory_say_so);
    tcase_add_test(memory, accounts_short_of_memory_say_so);
    tcase_add_test(memory, open_short_of_memory_can_be_tried_again);
    tcase_add_test(memory, ready_short_of_memory_can_be_tried_again);
    suite_add_tcase(suite, memory);
    return run_suite(suite);
}
