/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The process is killed (SIGKILL) in the middle of its commits, again and again. What it had
 * answered is there, what it was doing is there whole or not at all, and the order is never
 * exceeded.
 */
#include "tests/unit/check_main.h"
#include "tests/unit/fault_vfs.h"
#include "tests/unit/store_fixture.h"

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { KILLS = 20, QUOTA = 5000, CHUNK = 7 };

static struct fixture f;

/* Spends until the order is used up, and says on fd how many devices are recorded after each. */
static void spend_all(int fd)
{
    static struct spend_job spend;
    char request_id[16];
    uint64_t n;

    fixture_open(&f);
    n = (uint64_t)fixture_int(&f, "SELECT count(*) FROM devices");
    for (;;) {
        snprintf(request_id, sizeof(request_id), "r%llu", (unsigned long long)n);
        make_spend(&spend, 1, request_id, CHUNK, (unsigned)n + 1, CHUNK);
        if (fixture_do(&f, &spend.job) != MM_OK)
            _exit(0);
        n = f.results[0]->recorded->order_used;
        if (write(fd, &n, sizeof(n)) < 0)
            _exit(1);
    }
}

/* Lets a child work until it has answered so many times, then kills it. Returns what its last
 * answer said. */
static uint64_t kill_after(unsigned answers)
{
    uint64_t used = 0, said;
    int fds[2], status;
    pid_t pid;

    ck_assert_int_eq(pipe(fds), 0);
    pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        close(fds[0]);
        spend_all(fds[1]);
    }
    close(fds[1]);
    for (unsigned i = 0; i < answers && read(fds[0], &said, sizeof(said)) == sizeof(said); i++)
        used = said;
    kill(pid, SIGKILL);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    /* What it said between the last answer that was waited for and its death counts too. */
    while (read(fds[0], &said, sizeof(said)) == sizeof(said))
        used = said;
    close(fds[0]);
    return used;
}

START_TEST(killed_store_keeps_what_it_answered_and_its_quota)
{
    uint64_t seed = 7, answered = 0, said;
    int64_t recorded;

    fixture_populate(&f, QUOTA);
    for (int i = 0; i < KILLS; i++) {
        fixture_close(&f);
        said = kill_after((unsigned)(test_random(&seed) % 20));
        if (said > answered)
            answered = said;
        fixture_open(&f);
        fixture_check_invariants(&f);
        recorded = fixture_int(&f, "SELECT count(*) FROM devices");
        ck_assert_int_ge(recorded, (int64_t)answered);
        ck_assert_int_le(recorded, (int64_t)answered + CHUNK);
        ck_assert_int_le(recorded, QUOTA);
        ck_assert_int_eq(recorded % CHUNK, 0);
        answered = (uint64_t)recorded;
    }
    ck_assert_int_gt(recorded, 0);
}
END_TEST

static void setup(void)
{
    fixture_setup(&f);
}

static void teardown(void)
{
    fixture_teardown(&f);
}

int main(void)
{
    Suite *suite = suite_create("store_crash");
    TCase *crash = tcase_create("crash");

    tcase_set_timeout(crash, 60);
    tcase_add_checked_fixture(crash, setup, teardown);
    tcase_add_test(crash, killed_store_keeps_what_it_answered_and_its_quota);
    suite_add_tcase(suite, crash);
    return run_suite(suite);
}
