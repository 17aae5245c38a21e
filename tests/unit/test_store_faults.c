/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disks that fail, fill up or lose power, at every call in turn. Whatever happens: a group is there
 * whole or not at all, what was answered is kept, and the store works again when the disk does.
 */
#include "tests/unit/check_main.h"
#include "tests/unit/fault_vfs.h"
#include "tests/unit/store_fixture.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct fixture f;

static void setup(void)
{
    fixture_setup(&f);
    fixture_populate(&f, 100000);
}

static void teardown(void)
{
    fault_disarm();
    fixture_check_invariants(&f);
    fixture_teardown(&f);
}

/* Two good jobs around one that is refused; devices and request come from round. */
struct three {
    struct spend_job spends[3];
    const Mintmark__Internal__StoreJob *jobs[3];
    char request_id[16];
};

static void make_three(struct three *t, unsigned round)
{
    const unsigned first = 1 + 20 * round;

    snprintf(t->request_id, sizeof(t->request_id), "r%u", round);
    make_spend(&t->spends[0], 1, t->request_id, 20, first, 10);
    make_spend(&t->spends[1], 1, t->request_id, 20, first, 1);
    make_spend(&t->spends[2], 1, t->request_id, 20, first + 10, 10);
    for (size_t i = 0; i < 3; i++)
        t->jobs[i] = &t->spends[i].job;
}

static void expect_done(void)
{
    ck_assert_str_eq(fixture_reason(&f, 0), "");
    ck_assert_str_eq(fixture_reason(&f, 1), "DUPLICATE_DEVICE");
    ck_assert_str_eq(fixture_reason(&f, 2), "");
}

static void expect_failed(int code, const char *reason)
{
    for (size_t i = 0; i < 3; i++) {
        ck_assert_int_eq(fixture_code(&f, i), code);
        ck_assert_str_eq(fixture_reason(&f, i), reason);
    }
}

struct fault_case {
    unsigned calls;
    int sqlite_code;
    int code;
    const char *reason;
};

static const struct fault_case fault_cases[] = {
    {FAULT_WRITE, SQLITE_FULL, MM_ERR_EXHAUSTED, "STORE_FULL"},
    {FAULT_WRITE, SQLITE_IOERR_WRITE, MM_ERR_UNAVAILABLE, "STORE_IO"},
    {FAULT_SYNC, SQLITE_IOERR_FSYNC, MM_ERR_UNAVAILABLE, "STORE_IO"},
};

/* A failure in the checkpoint after the COMMIT costs nothing: the jobs are done. */
START_TEST(group_whose_nth_call_fails_is_undone_whole)
{
    const struct fault_case *c = &fault_cases[_i];
    static struct three t;
    unsigned round = 0, failed = 0;
    bool fired = true;

    for (unsigned nth = 1; fired; nth++) {
        char *before = fixture_dump(&f), *after;

        make_three(&t, round);
        fault_arm(c->calls, nth, c->sqlite_code);
        fixture_run(&f, t.jobs, 3);
        fired = fault_fired();
        fault_disarm();
        if (fixture_code(&f, 0) != MM_OK) {
            failed++;
            expect_failed(c->code, c->reason);
            ck_assert_uint_eq(f.results[0]->error->detail, (uint64_t)c->sqlite_code);
            ck_assert_uint_gt(f.results[0]->error->retry_ms, 0);
            after = fixture_dump(&f);
            ck_assert_str_eq(before, after);
            free(after);
            fixture_run(&f, t.jobs, 3);
        }
        expect_done();
        round++;
        fixture_check_invariants(&f);
        free(before);
    }
    ck_assert_uint_gt(failed, 0);
    fixture_close(&f);
    fixture_open(&f);
}
END_TEST

START_TEST(disk_that_stays_full_serves_readers_until_there_is_room)
{
    static struct three t;
    struct small_job get;
    const Mintmark__Internal__StoreJob *jobs[4];

    make_three(&t, 0);
    make_get_batch(&get, 1);
    memcpy(jobs, t.jobs, sizeof(t.jobs));
    jobs[3] = &get.job;
    for (unsigned i = 0; i < 10; i++) {
        fault_arm(FAULT_WRITE, 1, SQLITE_FULL);
        fixture_run(&f, jobs, 4);
        expect_failed(MM_ERR_EXHAUSTED, "STORE_FULL");
        ck_assert_int_eq(fixture_code(&f, 3), MM_OK);
        ck_assert_uint_eq(f.results[3]->batch->counts->issued, 0);
    }
    fault_disarm();
    fixture_run(&f, t.jobs, 3);
    expect_done();
}
END_TEST

START_TEST(reading_job_whose_nth_read_fails_says_so)
{
    static struct three t;
    struct small_job get;
    bool fired = true;

    make_three(&t, 0);
    fixture_run(&f, t.jobs, 3);
    for (unsigned nth = 1; fired; nth++) {
        fixture_close(&f);
        fixture_open(&f);
        make_get_device(&get, 1);
        fault_arm(FAULT_READ, nth, SQLITE_IOERR_READ);
        (void)fixture_do(&f, &get.job);
        fired = fault_fired();
        fault_disarm();
        if (fired) {
            ck_assert_int_eq(fixture_code(&f, 0), MM_ERR_UNAVAILABLE);
            ck_assert_str_eq(fixture_reason(&f, 0), "STORE_IO");
        }
        ck_assert_int_eq(fixture_do(&f, &get.job), MM_OK);
    }
}
END_TEST

/* Opening on a disk that fails: an error, no store, and nothing that keeps the next try off. */
static void sweep_open(bool fresh, unsigned calls, int sqlite_code)
{
    bool fired = true;

    for (unsigned nth = 1; fired; nth++) {
        struct mm_errinfo ei = {0};
        int r;

        fixture_close(&f);
        if (fresh)
            unlink(f.path);
        fault_arm(calls, nth, sqlite_code);
        r = mm_store_open(f.path, &f.store, &ei);
        fired = fault_fired();
        fault_disarm();
        if (r < 0) {
            ck_assert(fired);
            ck_assert_ptr_null(f.store);
            ck_assert_msg(r == MM_ERR_UNAVAILABLE || r == MM_ERR_EXHAUSTED, "%s", ei.text);
            fixture_open(&f);
        } else {
            fixture_set_site(&f);
        }
        if (!fresh)
            fixture_check_invariants(&f);
    }
}

START_TEST(open_whose_nth_call_fails_can_be_tried_again)
{
    static const struct {
        unsigned calls;
        int code;
    } cases[] = {
        {FAULT_OPEN, SQLITE_CANTOPEN},
        {FAULT_READ, SQLITE_IOERR_READ},
        {FAULT_WRITE, SQLITE_FULL},
        {FAULT_SYNC, SQLITE_IOERR_FSYNC},
        {FAULT_TRUNCATE, SQLITE_IOERR_TRUNCATE},
    };

    for (size_t i = 0; i < MM_ARRAY_SIZE(cases); i++)
        sweep_open(false, cases[i].calls, cases[i].code);
    for (size_t i = 0; i < MM_ARRAY_SIZE(cases); i++)
        sweep_open(true, cases[i].calls, cases[i].code);
    fixture_populate(&f, 10);
}
END_TEST

/* A child commits, and dies. Who comes after it cannot know whether that was synced. */
static void commit_and_die(void)
{
    static struct three t;
    const pid_t pid = fork();
    int status;

    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        fixture_open(&f);
        make_three(&t, 0);
        fixture_run(&f, t.jobs, 3);
        _exit(fixture_code(&f, 0) == MM_OK ? 0 : 1);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
}

START_TEST(commits_of_a_dead_predecessor_are_synced_before_anything_else)
{
    struct mm_errinfo ei = {0};

    fixture_close(&f);
    commit_and_die();
    fault_arm(FAULT_SYNC, 1, SQLITE_IOERR_FSYNC);
    ck_assert_int_eq(mm_store_open(f.path, &f.store, &ei), MM_ERR_UNAVAILABLE);
    ck_assert(fault_fired());
    fault_disarm();
    ck_assert_ptr_null(f.store);
    fixture_open(&f);
    ck_assert_int_eq(fixture_int(&f, "SELECT count(*) FROM devices"), 20);
}
END_TEST

enum { POWER_ROUNDS = 12, POWER_CUTS = 40 };

static void open_image(struct fixture *image)
{
    snprintf(image->path, sizeof(image->path), "%s/store.db", image->dir);
    fixture_open(image);
}

static void wipe_image(struct fixture *image)
{
    char wal[128];

    fixture_close(image);
    unlink(image->path);
    snprintf(wal, sizeof(wal), "%s-wal", image->path);
    unlink(wal);
}

/* Runs rounds until the power is cut; returns how many were answered as done. */
static unsigned work_until_cut(unsigned from)
{
    static struct three t;
    unsigned done = 0;

    while (done < POWER_ROUNDS) {
        make_three(&t, from + done);
        fixture_run(&f, t.jobs, 3);
        if (fixture_code(&f, 0) != MM_OK)
            break;
        done++;
    }
    return done;
}

START_TEST(power_cut_at_any_call_loses_nothing_that_was_answered)
{
    struct fixture image = {.dir = "/tmp/mintmark-image-XXXXXX"};
    uint64_t seed = 20261121;
    unsigned rounds = 0, cuts = 0;

    ck_assert_ptr_nonnull(mkdtemp(image.dir));
    for (unsigned i = 0; i < POWER_CUTS; i++) {
        const unsigned nth = 1 + (unsigned)(test_random(&seed) % 300);
        unsigned answered;
        int64_t there;

        fixture_close(&f);
        fault_arm_power_cut(FAULT_CHANGE, nth, image.dir, test_random(&seed));
        fixture_open(&f);
        /* Checkpoints now and then, so that cuts fall into them too. */
        ck_assert_int_eq(sqlite3_wal_autocheckpoint(f.store->db, 40), SQLITE_OK);
        answered = work_until_cut(rounds);
        fixture_close(&f);
        if (!fault_fired()) {
            fault_disarm();
            fixture_open(&f);
            rounds += answered;
            continue;
        }
        fault_disarm();
        cuts++;
        open_image(&image);
        fixture_check_invariants(&image);
        there = fixture_int(&image, "SELECT count(*) FROM devices");
        ck_assert_int_eq(there % 20, 0);
        ck_assert_int_ge(there, 20 * (int64_t)(rounds + answered));
        ck_assert_int_le(there, 20 * (int64_t)(rounds + answered + 1));
        wipe_image(&image);
        fixture_open(&f);
        fixture_check_invariants(&f);
        rounds = (unsigned)fixture_int(&f, "SELECT count(*) FROM requests");
    }
    ck_assert_uint_gt(cuts, POWER_CUTS / 2);
    ck_assert_int_eq(rmdir(image.dir), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store_faults");
    TCase *faults = tcase_create("faults");

    fault_install();
    tcase_set_timeout(faults, 120);
    tcase_add_checked_fixture(faults, setup, teardown);
    tcase_add_loop_test(faults, group_whose_nth_call_fails_is_undone_whole, 0,
                        MM_ARRAY_SIZE(fault_cases));
    tcase_add_test(faults, disk_that_stays_full_serves_readers_until_there_is_room);
    tcase_add_test(faults, reading_job_whose_nth_read_fails_says_so);
    tcase_add_test(faults, open_whose_nth_call_fails_can_be_tried_again);
    tcase_add_test(faults, commits_of_a_dead_predecessor_are_synced_before_anything_else);
    tcase_add_test(faults, power_cut_at_any_call_loses_nothing_that_was_answered);
    suite_add_tcase(suite, faults);
    return run_suite(suite);
}
