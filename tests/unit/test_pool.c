/* SPDX-License-Identifier: Apache-2.0 */
/* Pools of workers that misbehave: real processes (tests/faults/fake_worker.c), on a real loop. */
#include "daemon/base/limits.h"
#include "daemon/base/log.h"
#include "daemon/front/mint_internal.h"
#include "internal/token.pb-c.h"
#include "tests/unit/check_main.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Jobs take as long as the machine lets them, but for those that are to be given up. */
enum { JOBS_MAX = 64, PATIENCE_MS = 30000, JOB_MS = 60000, HUNG_MS = 2000 };

struct job {
    struct mm_job job;
    bool done;
    struct mm_errinfo ei; /* code MM_OK: it was done */
    size_t devices;
};

static uv_loop_t loop;
static uv_timer_t patience;
static struct mm_launcher *launcher;
static struct mm_pool *pool;
static struct job jobs[JOBS_MAX];
static char folder[64];
static bool impatient, empty;
static unsigned ready_calls;

static void on_ready(void *arg, struct mm_pool *p, const ProtobufCMessage *result)
{
    (void)arg;
    (void)p;
    ck_assert_int_eq(((const Mintmark__Internal__TokenResult *)result)->result_case,
                     MINTMARK__INTERNAL__TOKEN_RESULT__RESULT_READY);
    ready_calls++;
}

static void on_changed(void *arg, struct mm_pool *p)
{
    (void)arg;
    (void)p;
}

static void on_empty(void *arg, struct mm_pool *p)
{
    (void)arg;
    empty = true;
    mm_pool_free(p);
    pool = NULL;
}

static void on_lost(void *arg)
{
    (void)arg;
    ck_abort_msg("the launcher is gone");
}

static void on_patience(uv_timer_t *timer)
{
    (void)timer;
    impatient = true;
}

static struct mm_pool_stats stats;
static unsigned jobs_per_worker, probe_ms, job_timeout_ms;

static void start_pool_with_room(unsigned workers, unsigned room, const char *directives)
{
    static const struct mm_pool_ops ops = {
        .ready = on_ready, .changed = on_changed, .empty = on_empty};
    const struct mm_pool_options options = {
        .kind = &mm_pool_token,
        .name = "token",
        .section = "main",
        .workers = workers,
        .workers_max = room,
        .jobs_per_worker = jobs_per_worker,
        .job_timeout_ms = job_timeout_ms,
        .probe_ms = probe_ms,
        .conf_path = "/nowhere",
        .conf_text = {(const uint8_t *)directives, strlen(directives)},
        .stats = &stats,
        .ops = &ops,
    };
    struct mm_errinfo ei;

    stats = (struct mm_pool_stats){0};
    ck_assert_int_eq(mm_pool_new(&loop, launcher, &options, &pool, &ei), MM_OK);
}

static void start_pool(unsigned workers, const char *directives)
{
    start_pool_with_room(workers, 0, directives);
}

static void setup_with(const char *program)
{
    static const uint8_t none[MM_HANDED_DIGEST];
    const char *const paths[MM_PROGRAMS] = {program, program};
    struct mm_errinfo ei;
    int fd;

    mm_log_setup("test", MM_LOG_ERROR);
    pool = NULL;
    empty = false;
    ready_calls = 0;
    jobs_per_worker = 2;
    probe_ms = 0;
    job_timeout_ms = JOB_MS;
    snprintf(folder, sizeof(folder), "/tmp/mintmark-pool-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    ck_assert_int_eq(mm_launcher_fork(paths, none, NULL, &fd, NULL, &ei), MM_OK);
    ck_assert_int_eq(uv_loop_init(&loop), 0);
    uv_timer_init(&loop, &patience);
    ck_assert_int_eq(mm_launcher_new(&loop, fd, on_lost, NULL, &launcher, &ei), MM_OK);
}

static void setup(void)
{
    const char *program = getenv("MM_FAKE_WORKER");

    ck_assert_msg(program, "MM_FAKE_WORKER is not set");
    setup_with(program);
}

/* Runs the loop until the condition holds. */
#define await(condition)                                                                           \
    do {                                                                                           \
        impatient = false;                                                                         \
        uv_timer_start(&patience, on_patience, PATIENCE_MS, 0);                                    \
        while (!(condition) && !impatient)                                                         \
            uv_run(&loop, UV_RUN_ONCE);                                                            \
        uv_timer_stop(&patience);                                                                  \
        ck_assert_msg(condition, "waited in vain for " #condition);                                \
    } while (0)

/* Lets the loop run for a while, to see that something does not happen. */
static void linger(unsigned ms)
{
    impatient = false;
    uv_timer_start(&patience, on_patience, ms, 0);
    while (!impatient)
        uv_run(&loop, UV_RUN_ONCE);
}

static void teardown(void)
{
    char path[sizeof(folder) + 8];

    if (pool) {
        mm_pool_kill(pool);
        await(empty);
    }
    mm_launcher_free(launcher);
    uv_close((uv_handle_t *)&patience, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
    snprintf(path, sizeof(path), "%s/until", folder);
    unlink(path);
    rmdir(folder);
}

static void on_done(struct mm_job *job, const ProtobufCMessage *result, const struct mm_errinfo *ei)
{
    struct job *j = (struct job *)job;

    ck_assert(!j->done);
    ck_assert_int_eq(result == NULL, ei != NULL);
    j->done = true;
    if (ei)
        j->ei = *ei;
    else
        j->devices = ((const Mintmark__Internal__TokenResult *)result)->mint->n_devices;
}

static int submit(struct job *j, uint32_t count)
{
    Mintmark__Internal__TokenJob message;
    Mintmark__Internal__MintJob mint;
    struct mm_errinfo ei;
    static char profile[] = "dac";

    memset(j, 0, sizeof(*j));
    mintmark__internal__token_job__init(&message);
    mintmark__internal__mint_job__init(&mint);
    message.job_case = MINTMARK__INTERNAL__TOKEN_JOB__JOB_MINT;
    message.mint = &mint;
    mint.profile = profile;
    mint.first_number = 1;
    mint.count = count;
    j->job.done = on_done;
    return mm_pool_submit(pool, &j->job, &message.base, INT64_MAX, NULL, &ei);
}

/* "job=WHAT" once, and obedience ever after. */
static const char *once(const char *key, const char *what)
{
    static char text[256];

    snprintf(text, sizeof(text), "# fake %s=%s\n# fake until=%s/until\n", key, what, folder);
    return text;
}

static unsigned restarts;

static void see_restarts(void *arg, const struct mm_pool_worker_info *info)
{
    (void)arg;
    restarts += info->restarts;
}

static unsigned count_restarts(void)
{
    restarts = 0;
    mm_pool_each(pool, see_restarts, NULL);
    return restarts;
}

/* ---- obedient workers -------------------------------------------------------------------- */

START_TEST(pool_shares_jobs_out_and_says_when_there_is_no_room)
{
    start_pool(2, "# fake delay_ms=20\n");
    ck_assert_int_eq(submit(&jobs[0], 1), MM_ERR_UNAVAILABLE);
    await(mm_pool_ready(pool) == 2);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(submit(&jobs[i], (uint32_t)i + 1), MM_OK);
    ck_assert_ptr_ne(jobs[0].job.worker, jobs[1].job.worker);
    ck_assert(!mm_pool_room(pool));
    ck_assert_int_eq(submit(&jobs[4], 1), MM_ERR_AGAIN);
    await(jobs[0].done && jobs[1].done && jobs[2].done && jobs[3].done);
    for (size_t i = 0; i < 4; i++) {
        ck_assert_int_eq(jobs[i].ei.code, MM_OK);
        ck_assert_uint_eq(jobs[i].devices, i + 1);
    }
    ck_assert_uint_eq(count_restarts(), 0);
}
END_TEST

START_TEST(pool_keeps_a_result_in_the_jobs_arena)
{
    struct mm_arena arena = MM_ARENA_INIT;

    start_pool(1, "");
    await(mm_pool_ready(pool) == 1);
    ck_assert_int_eq(submit(&jobs[0], MM_CHUNK_DEVICES), MM_OK);
    jobs[0].job.arena = &arena;
    await(jobs[0].done);
    ck_assert_uint_gt(arena.used, 0);
    mm_arena_done(&arena);
}
END_TEST

START_TEST(pool_retire_lets_jobs_end_first)
{
    start_pool(2, "# fake delay_ms=50\n");
    await(mm_pool_ready(pool) == 2);
    ck_assert_int_eq(submit(&jobs[0], 3), MM_OK);
    mm_pool_retire(pool, UINT_MAX);
    ck_assert_int_eq(submit(&jobs[1], 3), MM_ERR_UNAVAILABLE);
    await(empty);
    ck_assert(jobs[0].done);
    ck_assert_int_eq(jobs[0].ei.code, MM_OK);
}
END_TEST

START_TEST(pool_retire_of_one_keeps_the_others)
{
    start_pool(2, "");
    await(mm_pool_ready(pool) == 2);
    mm_pool_retire(pool, 1);
    ck_assert_uint_eq(mm_pool_ready(pool), 1);
    linger(300);
    ck_assert_uint_eq(mm_pool_ready(pool), 1);
    ck_assert_uint_eq(mm_pool_workers(pool), 1);
    ck_assert(!empty);
}
END_TEST

START_TEST(pool_grow_adds_workers_up_to_its_room)
{
    start_pool_with_room(1, 3, "");
    await(mm_pool_ready(pool) == 1);
    mm_pool_grow(pool, 2);
    ck_assert_uint_eq(mm_pool_workers(pool), 2);
    await(mm_pool_ready(pool) == 2);
    mm_pool_grow(pool, 1);
    ck_assert_uint_eq(mm_pool_workers(pool), 2);
    mm_pool_grow(pool, 100);
    ck_assert_uint_eq(mm_pool_workers(pool), 3);
    await(mm_pool_ready(pool) == 3);
}
END_TEST

START_TEST(pool_grow_keeps_within_what_there_is_room_for)
{
    start_pool(2, "");
    mm_pool_grow(pool, 5);
    ck_assert_uint_eq(mm_pool_workers(pool), 2);
    await(mm_pool_ready(pool) == 2);
}
END_TEST

START_TEST(pool_depth_is_two_and_with_many_workers_one)
{
    jobs_per_worker = 0;
    start_pool_with_room(7, 8, "");
    ck_assert_uint_eq(mm_pool_depth(pool), 2);
    mm_pool_grow(pool, 8);
    ck_assert_uint_eq(mm_pool_depth(pool), 1);
    await(mm_pool_ready(pool) == 8);
}
END_TEST

START_TEST(pool_depth_is_as_it_was_set)
{
    jobs_per_worker = 5;
    start_pool(1, "");
    ck_assert_uint_eq(mm_pool_depth(pool), 5);
    await(mm_pool_ready(pool) == 1);
}
END_TEST

/* ---- idle workers ------------------------------------------------------------------------ */

START_TEST(pool_probes_idle_workers_and_counts_no_job)
{
    probe_ms = 10;
    start_pool(2, "");
    await(mm_pool_ready(pool) == 2);
    linger(200);
    ck_assert_uint_eq(stats.jobs_done + stats.jobs_failed, 0);
    ck_assert_int_eq(submit(&jobs[0], 3), MM_OK);
    await(jobs[0].done);
    ck_assert_uint_eq(jobs[0].devices, 3);
    ck_assert_uint_eq(stats.jobs_done, 1);
    ck_assert_uint_eq(count_restarts(), 0);
}
END_TEST

/* Nobody asked it for anything. */
START_TEST(pool_finds_an_idle_worker_that_is_not_well)
{
    static const char *const whats[] = {"die", "hang"};

    probe_ms = 50;
    job_timeout_ms = HUNG_MS;
    start_pool(1, once("ping", whats[_i]));
    await(count_restarts() == 1);
    ck_assert_uint_eq(mm_pool_ready(pool), 0);
    ck_assert_int_eq(mm_pool_why(pool)->code == MM_ERR_TIMEOUT, _i == 1);
    ck_assert_uint_eq(stats.jobs_failed, 0);
    await(mm_pool_ready(pool) == 1);
    linger(300);
    ck_assert_uint_eq(count_restarts(), 1);
}
END_TEST

static void see_state(void *arg, const struct mm_pool_worker_info *info)
{
    *(int *)arg = (int)info->state;
}

static int state_of_the_worker(void)
{
    int state = -1;

    mm_pool_each(pool, see_state, &state);
    return state;
}

/* Who looks at the workers sees what stations keep busy. */
START_TEST(pool_worker_that_is_probed_is_ready_and_with_a_job_busy)
{
    probe_ms = 10;
    start_pool(1, "# fake ping=hang\n# fake job=hang\n");
    await(mm_pool_ready(pool) == 1);
    linger(200);
    ck_assert_int_eq(state_of_the_worker(), MM_WORKER_READY);
    ck_assert_int_eq(submit(&jobs[0], 3), MM_OK);
    ck_assert_int_eq(state_of_the_worker(), MM_WORKER_BUSY);
    ck_assert_int_eq(submit(&jobs[1], 3), MM_ERR_AGAIN); /* the probe has a place all the same */
}
END_TEST

START_TEST(pool_without_probes_leaves_idle_workers_alone)
{
    start_pool(1, once("ping", "hang"));
    await(mm_pool_ready(pool) == 1);
    linger(400);
    ck_assert_uint_eq(count_restarts(), 0);
}
END_TEST

START_TEST(pool_kill_fails_jobs)
{
    start_pool(1, "# fake job=hang\n");
    await(mm_pool_ready(pool) == 1);
    ck_assert_int_eq(submit(&jobs[0], 3), MM_OK);
    mm_pool_kill(pool);
    ck_assert(jobs[0].done);
    ck_assert_int_eq(jobs[0].ei.code, MM_ERR_UNAVAILABLE);
    await(empty);
}
END_TEST

/* ---- workers that fail a job ------------------------------------------------------------- */

static const char *const lethal[] = {"die", "hang", "garbage", "oversized", "other-id"};

START_TEST(pool_fails_the_jobs_of_a_lost_worker_and_starts_it_again)
{
    job_timeout_ms = HUNG_MS;
    start_pool(1, once("job", lethal[_i]));
    await(mm_pool_ready(pool) == 1);
    ck_assert_int_eq(submit(&jobs[0], 2), MM_OK);
    ck_assert_int_eq(submit(&jobs[1], 2), MM_OK);
    await(jobs[0].done && jobs[1].done);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(jobs[i].ei.code, MM_ERR_UNAVAILABLE);
        ck_assert_str_eq(jobs[i].ei.reason, "TOKEN_UNAVAILABLE");
        ck_assert_uint_gt(jobs[i].ei.retry_ms, 0);
    }
    ck_assert_uint_eq(mm_pool_ready(pool), 0);
    await(mm_pool_ready(pool) == 1);
    ck_assert_uint_eq(count_restarts(), 1);
    if (_i == 0) /* its channel may have closed before its end was known */
        ck_assert_str_eq(mm_pool_why(pool)->reason, "WORKER_ENDED");
    ck_assert_int_eq(submit(&jobs[2], 2), MM_OK);
    await(jobs[2].done);
    ck_assert_int_eq(jobs[2].ei.code, MM_OK);
}
END_TEST

/* The loop was held up, not the worker. */
START_TEST(pool_reads_an_answer_before_its_time_is_over)
{
    job_timeout_ms = HUNG_MS;
    start_pool(1, "");
    await(mm_pool_ready(pool) == 1);
    ck_assert_int_eq(submit(&jobs[0], 2), MM_OK);
    uv_run(&loop, UV_RUN_NOWAIT);
    usleep((HUNG_MS + 200) * 1000);
    await(jobs[0].done);
    ck_assert_int_eq(jobs[0].ei.code, MM_OK);
    ck_assert_uint_eq(count_restarts(), 0);
}
END_TEST

START_TEST(pool_leaves_other_workers_alone_when_one_dies)
{
    start_pool(2, once("job", "die"));
    await(mm_pool_ready(pool) == 2);
    ck_assert_int_eq(submit(&jobs[0], 2), MM_OK);
    await(jobs[0].done);
    ck_assert_int_eq(submit(&jobs[1], 2), MM_OK);
    await(jobs[1].done);
    ck_assert_int_eq(jobs[0].ei.code, MM_ERR_UNAVAILABLE);
    ck_assert_int_eq(jobs[1].ei.code, MM_OK);
}
END_TEST

START_TEST(pool_hands_on_what_a_worker_says_of_a_job)
{
    start_pool(1, once("job", "invalid"));
    await(mm_pool_ready(pool) == 1);
    ck_assert_int_eq(submit(&jobs[0], 2), MM_OK);
    await(jobs[0].done);
    ck_assert_int_eq(jobs[0].ei.code, MM_ERR_INVALID);
    ck_assert_uint_eq(mm_pool_ready(pool), 1);
    ck_assert_uint_eq(count_restarts(), 0);
}
END_TEST

/* One worker says that the token lies: its job fails as it says, and the others, which work with
 * the same token, end too; all are started again. */
START_TEST(pool_ends_all_workers_of_a_token_that_lies)
{
    start_pool(2, once("job", "distrusted"));
    await(mm_pool_ready(pool) == 2);
    ck_assert_int_eq(submit(&jobs[0], 2), MM_OK);
    await(jobs[0].done);
    ck_assert_int_eq(jobs[0].ei.code, MM_ERR_CORRUPT);
    ck_assert_str_eq(jobs[0].ei.reason, "TOKEN_SIGNATURE_INVALID");
    ck_assert_uint_eq(mm_pool_ready(pool), 0);
    ck_assert(!mm_pool_room(pool));
    ck_assert_str_eq(mm_pool_why(pool)->reason, "TOKEN_SIGNATURE_INVALID");
    ck_assert_uint_eq(stats.distrusted, 1);
    await(mm_pool_ready(pool) == 2);
    ck_assert_uint_eq(count_restarts(), 2);
    ck_assert_int_eq(submit(&jobs[1], 2), MM_OK);
    await(jobs[1].done);
    ck_assert_int_eq(jobs[1].ei.code, MM_OK);
    ck_assert_uint_eq(stats.distrusted, 1);
}
END_TEST

/* ---- workers that don't start ------------------------------------------------------------ */

static const char *const stillborn[] = {"refuse", "die", "garbage"};

START_TEST(pool_tries_again_when_a_worker_does_not_start)
{
    start_pool(2, once("start", stillborn[_i]));
    await(mm_pool_ready(pool) == 2);
    ck_assert_uint_ge(count_restarts(), 1);
    ck_assert_int_ne(mm_pool_why(pool)->code, MM_OK);
}
END_TEST

static const char *const pins[] = {"pin", "exit-pin"};

/* The loop learns of the worker's end before it has read its last message. */
START_TEST(pool_hears_what_a_worker_said_before_it_ended)
{
    start_pool(1, "# fake start=refuse\n");
    while (uv_run(&loop, UV_RUN_NOWAIT) && !mm_pool_why(pool)->text[0])
        usleep(100 * 1000);
    await(mm_pool_why(pool)->text[0]);
    ck_assert_str_eq(mm_pool_why(pool)->text, "as it was told");
}
END_TEST

START_TEST(pool_tries_a_refused_pin_once_with_all_its_workers)
{
    struct stat st;
    char path[sizeof(folder) + 8];

    start_pool(4, once("start", pins[_i]));
    await(count_restarts() == 1);
    linger(700);
    /* The next worker that started would have been obedient. */
    snprintf(path, sizeof(path), "%s/until", folder);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_uint_eq(ready_calls, 0);
    ck_assert_uint_eq(count_restarts(), 1);
    ck_assert_int_eq(submit(&jobs[0], 1), MM_ERR_UNAVAILABLE);
}
END_TEST

static void setup_missing(void)
{
    setup_with("/nowhere/mintmark-token");
}

START_TEST(pool_survives_a_missing_program)
{
    start_pool(1, "");
    await(count_restarts() >= 2);
    ck_assert_int_eq(mm_pool_why(pool)->code, MM_ERR_IO);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("pool");
    TCase *well = tcase_create("obedient");
    TCase *ill = tcase_create("misbehaving");
    TCase *missing = tcase_create("missing");

    tcase_add_checked_fixture(well, setup, teardown);
    tcase_add_test(well, pool_shares_jobs_out_and_says_when_there_is_no_room);
    tcase_add_test(well, pool_keeps_a_result_in_the_jobs_arena);
    tcase_add_test(well, pool_retire_lets_jobs_end_first);
    tcase_add_test(well, pool_retire_of_one_keeps_the_others);
    tcase_add_test(well, pool_grow_adds_workers_up_to_its_room);
    tcase_add_test(well, pool_grow_keeps_within_what_there_is_room_for);
    tcase_add_test(well, pool_depth_is_two_and_with_many_workers_one);
    tcase_add_test(well, pool_depth_is_as_it_was_set);
    tcase_add_test(well, pool_probes_idle_workers_and_counts_no_job);
    tcase_add_loop_test(well, pool_finds_an_idle_worker_that_is_not_well, 0, 2);
    tcase_add_test(well, pool_worker_that_is_probed_is_ready_and_with_a_job_busy);
    tcase_add_test(well, pool_without_probes_leaves_idle_workers_alone);
    tcase_add_test(well, pool_kill_fails_jobs);
    tcase_add_test(well, pool_reads_an_answer_before_its_time_is_over);
    tcase_add_checked_fixture(ill, setup, teardown);
    tcase_set_timeout(ill, 30);
    tcase_add_loop_test(ill, pool_fails_the_jobs_of_a_lost_worker_and_starts_it_again, 0,
                        MM_ARRAY_SIZE(lethal));
    tcase_add_test(ill, pool_leaves_other_workers_alone_when_one_dies);
    tcase_add_test(ill, pool_hands_on_what_a_worker_says_of_a_job);
    tcase_add_test(ill, pool_ends_all_workers_of_a_token_that_lies);
    tcase_add_loop_test(ill, pool_tries_again_when_a_worker_does_not_start, 0,
                        MM_ARRAY_SIZE(stillborn));
    tcase_add_test(ill, pool_hears_what_a_worker_said_before_it_ended);
    tcase_add_loop_test(ill, pool_tries_a_refused_pin_once_with_all_its_workers, 0,
                        MM_ARRAY_SIZE(pins));
    tcase_add_checked_fixture(missing, setup_missing, teardown);
    tcase_add_test(missing, pool_survives_a_missing_program);
    suite_add_tcase(s, well);
    suite_add_tcase(s, ill);
    suite_add_tcase(s, missing);
    return run_suite(s);
}
