/* SPDX-License-Identifier: Apache-2.0 */
/* Costs, and the fair queue with workers that are played here on a clock of their own. */
#include "daemon/base/limits.h"
#include "daemon/front/cost.h"
#include "daemon/front/mint_internal.h"
#include "daemon/front/sched.h"
#include "tests/unit/check_main.h"

#include <sched.h>
#include <string.h>

enum { WORKERS_MAX = 8, FLOWS_MAX = 8 };

/* A call with jobs that cost something. */
struct caller {
    struct mm_flow flow;
    struct mm_account *account;
    enum mm_sched_class class;
    uint64_t cost_us;
    uint64_t expected_us; /* as charged when a job is given out */
    uint64_t pause_us;    /* from a job's end until the next is wanted; UINT64_MAX: wants always */
    uint64_t wanted_at_us;
    uint64_t used_us, jobs;
    uint64_t longest_wait_us;
};

struct worker {
    struct caller *serves; /* NULL: idle */
    struct mm_charge charge;
    uint64_t began_us, ends_us;
};

static struct mm_accounts *accounts;
static struct mm_sched sched;
static struct worker workers[WORKERS_MAX];
static unsigned n_workers;
static uint64_t now_us;

static void setup(void)
{
    ck_assert_int_eq(mm_accounts_new(&accounts), MM_OK);
    mm_sched_init(&sched, accounts);
    memset(workers, 0, sizeof(workers));
    n_workers = 2;
    now_us = 0;
}

static void teardown(void)
{
    mm_sched_done(&sched);
    mm_accounts_free(accounts);
}

static struct caller *caller(const char *name, enum mm_sched_class class, uint64_t cost_us)
{
    static struct caller all[FLOWS_MAX];
    static unsigned next;
    struct caller *c = &all[next++ % FLOWS_MAX];

    *c = (struct caller){.class = class,
                         .cost_us = cost_us,
                         .expected_us = cost_us,
                         .pause_us = UINT64_MAX,
                         .account = mm_account_get(accounts, name)};
    ck_assert_ptr_nonnull(c->account);
    return c;
}

static void want(struct caller *c)
{
    ck_assert_int_eq(mm_sched_add(&sched, &c->flow, c->account, c->class), MM_OK);
    c->wanted_at_us = now_us;
}

static void begin(struct worker *w, struct caller *c)
{
    *w = (struct worker){.serves = c, .began_us = now_us, .ends_us = now_us + c->cost_us};
    mm_sched_charge(&sched, &c->flow, c->expected_us, &w->charge);
    if (now_us - c->wanted_at_us > c->longest_wait_us)
        c->longest_wait_us = now_us - c->wanted_at_us;
    if (c->pause_us == UINT64_MAX)
        return;
    mm_sched_remove(&sched, &c->flow);
    c->wanted_at_us = UINT64_MAX;
}

static void end(struct worker *w)
{
    struct caller *c = w->serves;

    w->serves = NULL;
    c->used_us += w->ends_us - w->began_us;
    c->jobs++;
    mm_sched_settle(&sched, &w->charge, w->ends_us - w->began_us);
}

static void give_out(void)
{
    for (unsigned i = 0; i < n_workers; i++) {
        struct mm_flow *next = workers[i].serves ? NULL : mm_sched_next(&sched);

        if (next)
            begin(&workers[i], (struct caller *)next);
    }
}

/* The time goes on until then; callers that pause come back. */
static void run_until(uint64_t then_us, struct caller *const *callers, size_t n)
{
    for (; now_us < then_us; now_us += 100) {
        for (unsigned i = 0; i < n_workers; i++) {
            struct caller *c = workers[i].serves;

            if (!c || workers[i].ends_us > now_us)
                continue;
            end(&workers[i]);
            c->wanted_at_us = now_us + (c->pause_us == UINT64_MAX ? 0 : c->pause_us);
        }
        for (size_t i = 0; i < n; i++) {
            const uint64_t wanted_at_us = callers[i]->wanted_at_us;

            if (callers[i]->flow.station || wanted_at_us > now_us)
                continue;
            want(callers[i]);
            callers[i]->wanted_at_us = wanted_at_us;
        }
        give_out();
    }
}

static void run(uint64_t for_us, struct caller *const *callers, size_t n)
{
    run_until(now_us + for_us, callers, n);
}

/* Within so many percent of a. */
static void near(uint64_t a, uint64_t b, unsigned percent)
{
    const uint64_t difference = a > b ? a - b : b - a;

    ck_assert_msg(difference * 100 <= a * percent, "%llu and %llu", (unsigned long long)a,
                  (unsigned long long)b);
}

START_TEST(stations_with_dear_and_cheap_jobs_get_the_same_time)
{
    struct caller *all[] = {caller("dear", MM_SCHED_BULK, 80000),
                            caller("cheap", MM_SCHED_BULK, 20000)};

    run(20 * 1000000, all, 2);
    near(all[0]->used_us, all[1]->used_us, 2);
    near(4 * all[0]->jobs, all[1]->jobs, 2);
    /* And the workers were never idle. */
    near(all[0]->used_us + all[1]->used_us, 2 * now_us, 1);
}
END_TEST

START_TEST(stations_pay_what_a_job_took_and_not_what_was_expected)
{
    struct caller *all[] = {caller("dear", MM_SCHED_BULK, 80000),
                            caller("cheap", MM_SCHED_BULK, 20000)};

    all[0]->expected_us = 0;
    all[1]->expected_us = 100000;
    run(20 * 1000000, all, 2);
    near(all[0]->used_us, all[1]->used_us, 5);
}
END_TEST

START_TEST(stations_share_whatever_their_number_of_calls)
{
    struct caller *all[] = {
        caller("one", MM_SCHED_BULK, 20000), caller("many", MM_SCHED_BULK, 20000),
        caller("many", MM_SCHED_BULK, 20000), caller("many", MM_SCHED_BULK, 20000)};

    run(12 * 1000000, all, 4);
    near(all[0]->used_us, all[1]->used_us + all[2]->used_us + all[3]->used_us, 2);
    near(all[1]->used_us, all[2]->used_us, 5);
    near(all[1]->used_us, all[3]->used_us, 5);
}
END_TEST

START_TEST(stations_save_nothing_up_while_they_pause)
{
    struct caller *busy = caller("busy", MM_SCHED_BULK, 20000);
    struct caller *late = caller("late", MM_SCHED_BULK, 20000);
    struct caller *all[] = {busy, late};
    uint64_t before_us;

    run(10 * 1000000, all, 1);
    before_us = busy->used_us;
    late->wanted_at_us = now_us;
    run(2 * 1000000, all, 2);
    near(late->used_us, busy->used_us - before_us, 5);
}
END_TEST

START_TEST(small_calls_go_first_and_bulk_keeps_its_share)
{
    struct caller *small = caller("small", MM_SCHED_INTERACTIVE, 1000);
    struct caller *bulk = caller("bulk", MM_SCHED_BULK, 20000);
    struct caller *all[] = {bulk, small};

    /* Now and then: it never waits longer than for the job that is about to end. */
    small->pause_us = 50000;
    run(10 * 1000000, all, 2);
    ck_assert_uint_le(small->longest_wait_us, 20000);
    near(bulk->used_us + small->used_us, 2 * now_us, 1);
    /* A flood: no more than its fair share, but for what it may be ahead. */
    small->pause_us = UINT64_MAX;
    small->used_us = bulk->used_us = 0;
    run(20 * 1000000, all, 2);
    ck_assert_uint_le(small->used_us, bulk->used_us + 2 * MM_SCHED_WARP_US);
    ck_assert_uint_ge(small->used_us + 2 * MM_SCHED_WARP_US, bulk->used_us);
}
END_TEST

START_TEST(small_calls_of_a_station_leave_its_bulk_some_turns)
{
    struct caller *all[] = {caller("a", MM_SCHED_INTERACTIVE, 1000),
                            caller("a", MM_SCHED_BULK, 1000)};

    run(4 * 1000000, all, 2);
    near(all[0]->jobs, (MM_SCHED_SHARE - 1) * all[1]->jobs, 2);
}
END_TEST

START_TEST(limits_hold_for_calls_that_come_and_go)
{
    struct caller *greedy = caller("greedy", MM_SCHED_BULK, 20000);
    struct caller *other = caller("other", MM_SCHED_BULK, 20000);
    struct caller *small = caller("small", MM_SCHED_INTERACTIVE, 20000);
    const struct mm_job_limits limits = {.client_running = 4, .running = 7};
    unsigned given = 0;

    n_workers = WORKERS_MAX;
    mm_accounts_limit(accounts, &limits);
    /* Each call gets one job and is reset. */
    for (unsigned i = 0; i < 10; i++) {
        want(greedy);
        give_out();
        mm_sched_remove(&sched, &greedy->flow);
    }
    ck_assert_uint_eq(greedy->account->running, 3);
    want(other);
    want(greedy);
    give_out();
    /* All that bulk may have is used up, and small calls still find room. */
    ck_assert_uint_eq(other->account->running, 3);
    ck_assert_uint_eq(mm_accounts_running(accounts), 6);
    ck_assert_ptr_null(mm_sched_next(&sched));
    mm_sched_remove(&sched, &greedy->flow);
    want(small);
    give_out();
    ck_assert_uint_eq(small->account->running, 1);
    ck_assert_ptr_null(mm_sched_next(&sched));
    /* The end of a job makes room, whatever has become of its call. */
    for (unsigned i = 0; i < WORKERS_MAX; i++) {
        if (workers[i].serves == greedy && given++ == 0)
            end(&workers[i]);
    }
    ck_assert_uint_eq(greedy->account->running, 2);
    ck_assert_ptr_eq(mm_sched_next(&sched), &small->flow);
    for (unsigned i = 0; i < WORKERS_MAX; i++) {
        if (workers[i].serves)
            end(&workers[i]);
    }
    ck_assert_uint_eq(mm_accounts_running(accounts), 0);
}
END_TEST

START_TEST(add_remove_and_settle_are_idempotent)
{
    struct caller *a = caller("a", MM_SCHED_BULK, 1), *b = caller("a", MM_SCHED_BULK, 1);
    struct mm_charge charge;

    ck_assert_ptr_null(mm_sched_next(&sched));
    want(a);
    want(a);
    want(b);
    mm_sched_remove(&sched, &a->flow);
    mm_sched_remove(&sched, &a->flow);
    ck_assert_ptr_eq(mm_sched_next(&sched), &b->flow);
    mm_sched_charge(&sched, &b->flow, 5, &charge);
    ck_assert_uint_eq(sched.running_us, 5);
    mm_sched_remove(&sched, &b->flow);
    ck_assert_ptr_null(mm_sched_next(&sched));
    mm_sched_settle(&sched, &charge, 7);
    mm_sched_settle(&sched, &charge, 7);
    ck_assert_uint_eq(sched.running_us, 0);
    ck_assert_uint_eq(a->account->running, 0);
    ck_assert_ptr_null(mm_sched_any(&sched));
    want(b);
    ck_assert_ptr_eq(mm_sched_any(&sched), &b->flow);
}
END_TEST

static void each(void *arg, const struct mm_account *account)
{
    (void)account;
    ++*(unsigned *)arg;
}

START_TEST(accounts_are_made_once_a_client)
{
    struct mm_account *a = mm_account_get(accounts, "line-1");
    unsigned n = 0;

    ck_assert_ptr_eq(mm_account_get(accounts, "line-1"), a);
    ck_assert_ptr_ne(mm_account_get(accounts, "line-2"), a);
    ck_assert_str_eq(a->name, "line-1");
    mm_accounts_each(accounts, each, &n);
    ck_assert_uint_eq(n, 2);
}
END_TEST

START_TEST(costs_are_a_time_a_job_and_one_a_unit)
{
    struct mm_cost cost = {0};

    ck_assert_uint_eq(mm_cost_us(NULL, 64), 0);
    ck_assert_uint_eq(mm_cost_us(&cost, 64), 0);
    ck_assert_uint_eq(mm_cost_units(NULL, 1000), MM_CHUNK_DEVICES);
    ck_assert_uint_eq(mm_cost_units(&cost, 1000), 8);
    for (unsigned i = 0; i < 200; i++) {
        const uint32_t units = 1 + i * 7 % 64;

        mm_cost_learn(&cost, units, 1000 + 250 * (int64_t)units, 64);
    }
    near(mm_cost_us(&cost, 1), 1250, 1);
    near(mm_cost_us(&cost, 64), 17000, 1);
    near(mm_cost_us(&cost, 100 * MM_CHUNK_DEVICES), 100 * (1000 + 250 * MM_CHUNK_DEVICES), 1);
    near(mm_cost_units(&cost, 9000), 32, 4);
    /* Not less than what makes the job worth its own time. */
    ck_assert_uint_eq(mm_cost_units(&cost, 500), 4);
    ck_assert_uint_eq(mm_cost_units(&cost, 1000000), MM_CHUNK_DEVICES);
}
END_TEST

/* As a token would that takes a time for each job, and next to none for a unit: chunks grow. */
START_TEST(costs_of_jobs_of_one_size_are_told_apart_by_bigger_ones)
{
    struct mm_cost cost = {0}, dear = {0};
    uint32_t units = 0;

    for (unsigned i = 0; i < 20; i++) {
        units = mm_cost_units(&cost, 50000);
        mm_cost_learn(&cost, units, 100000 + (int64_t)units, 64);
    }
    ck_assert_uint_eq(units, MM_CHUNK_DEVICES);
    /* And where it is the units that cost, they do not stay big. */
    for (unsigned i = 0; i < 20; i++) {
        units = mm_cost_units(&dear, 50000);
        mm_cost_learn(&dear, units, 10000 * (int64_t)units, 64);
    }
    ck_assert_uint_le(units, 10);
}
END_TEST

START_TEST(costs_follow_what_changes)
{
    struct mm_cost cost = {0};

    for (unsigned i = 0; i < 1000; i++)
        mm_cost_learn(&cost, 64, 10000, 64);
    near(mm_cost_us(&cost, 64), 10000, 1);
    for (unsigned i = 0; i < 300; i++)
        mm_cost_learn(&cost, 64, 40000, 64);
    near(mm_cost_us(&cost, 64), 40000, 2);
}
END_TEST

START_TEST(costs_of_lone_units_do_not_make_chunks_look_dear)
{
    struct mm_cost cost = {0};

    for (unsigned i = 0; i < 1000; i++)
        mm_cost_learn(&cost, 1, 1300, 64);
    near(mm_cost_us(&cost, 1), 1300, 1);
    ck_assert_uint_le(mm_cost_us(&cost, 64), 64 * 1300 / 2 + 1300);
    /* The first chunk puts it right; noise never makes a cost negative. */
    mm_cost_learn(&cost, 64, 17000, 64);
    near(mm_cost_us(&cost, 64), 17000, 5);
    for (unsigned i = 0; i < 100; i++)
        mm_cost_learn(&cost, i % 2 ? 64 : 1, i % 2 ? 0 : 1000, 64);
    ck_assert(cost.job_us >= 0 && cost.unit_us >= 0);
}
END_TEST

/* ---- what waits -------------------------------------------------------------------------- */

static bool wants_one; /* of the flow below */

static bool wants(const struct mm_mint_flow *flow)
{
    (void)flow;
    return wants_one;
}

/* A single job that a worker was given is still in the queue when no other worker has room. */
START_TEST(mint_single_job_that_a_worker_has_does_not_wait_as_well)
{
    enum { JOB_US = 1000000 };
    const struct mm_job_limits limits = {.client_queued = 1, .queued = 1};
    struct mm_cost cost = {.job_us = JOB_US};
    struct mm_mints mints = {.accounts = accounts};
    struct mm_mint mint = {.mints = &mints};
    struct mm_mint_flow single = {.wants = wants, .cost = &cost}, next = single;
    struct mm_charge charge;
    struct mm_errinfo ei;

    mm_accounts_limit(accounts, &limits);
    mm_sched_init(&mint.sched, accounts);
    LIST_INSERT_HEAD(&mints.all, &mint, link);
    mm_mint_join(&mint, &single);
    wants_one = true;
    ck_assert_int_eq(mm_mint_want(&single, "a", MM_SCHED_INTERACTIVE), MM_OK);
    ck_assert_uint_eq(mm_mint_queued(&mint, NULL, MM_SCHED_INTERACTIVE), 1);
    ck_assert_uint_eq(mm_mint_wait_us(&mint, MM_SCHED_INTERACTIVE), JOB_US);
    ck_assert_int_eq(mm_mint_admit(&mint, &next, "a", MM_SCHED_INTERACTIVE, 1, INT64_MAX, &ei),
                     MM_ERR_EXHAUSTED);
    /* A worker is given it. */
    mm_sched_charge(&mint.sched, &single.flow, JOB_US, &charge);
    wants_one = false;
    ck_assert_ptr_nonnull(single.flow.station);
    ck_assert_uint_eq(mm_mint_queued(&mint, NULL, MM_SCHED_INTERACTIVE), 0);
    ck_assert_uint_eq(mm_mint_queued(&mint, single.account, MM_SCHED_INTERACTIVE), 0);
    ck_assert_uint_eq(mm_mint_wait_us(&mint, MM_SCHED_INTERACTIVE), JOB_US / 2);
    /* The limits have room for another, of this client or of any. */
    for (unsigned i = 0; i < 2; i++) {
        next.account = NULL;
        ck_assert_int_eq(
            mm_mint_admit(&mint, &next, i ? "b" : "a", MM_SCHED_INTERACTIVE, 1, INT64_MAX, &ei),
            MM_OK);
    }
    mm_sched_settle(&mint.sched, &charge, JOB_US);
    mm_sched_done(&mint.sched);
}
END_TEST

/* ---- how many workers a token gets ------------------------------------------------------- */

START_TEST(mint_workers_of_hardware_is_by_its_sessions)
{
    ck_assert_uint_eq(mm_mint_workers(true, 0, 0), MM_TOKEN_WORKERS_AUTO);
    ck_assert_uint_eq(mm_mint_workers(true, 0, 1000), MM_TOKEN_WORKERS_AUTO);
    ck_assert_uint_eq(mm_mint_workers(true, 1024, 0), MM_TOKEN_WORKERS_AUTO);
    ck_assert_uint_eq(mm_mint_workers(true, 1024, 1013), 10);
    ck_assert_uint_eq(mm_mint_workers(true, 16, 0), 15);
    ck_assert_uint_eq(mm_mint_workers(true, 16, 10), 5);
    ck_assert_uint_eq(mm_mint_workers(true, 16, 16), 1);
    ck_assert_uint_eq(mm_mint_workers(true, 16, UINT64_MAX), 1);
    ck_assert_uint_eq(mm_mint_workers(true, 1, 0), 1);
    ck_assert_uint_eq(mm_mint_workers(true, 2, 0), 1);
    ck_assert_uint_eq(mm_mint_workers(true, UINT64_MAX, 0), MM_TOKEN_WORKERS_AUTO);
}
END_TEST

START_TEST(mint_chunks_are_short_while_small_calls_come)
{
    enum { SECOND = 1000000 };

    ck_assert_uint_eq(mm_chunk_us(9 * SECOND, 1), MM_CHUNK_APART_US);
    ck_assert_uint_eq(mm_chunk_us(0, 2), 2 * MM_CHUNK_APART_US);
    ck_assert_uint_eq(mm_chunk_us(11 * SECOND, 2), MM_CHUNK_TARGET_US);
    /* One of many ends a chunk soon enough, however long each takes. */
    ck_assert_uint_eq(mm_chunk_us(0, 32), MM_CHUNK_TARGET_US);
}
END_TEST

START_TEST(mint_workers_of_software_is_by_the_processors)
{
    cpu_set_t set;

    ck_assert_int_eq(sched_getaffinity(0, sizeof(set), &set), 0);
    ck_assert_uint_eq(mm_mint_workers(false, 0, 0), (unsigned)CPU_COUNT(&set));
    ck_assert_uint_eq(mm_mint_workers(false, 1, 0), 1);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("sched");
    TCase *tc = tcase_create("sched");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, stations_with_dear_and_cheap_jobs_get_the_same_time);
    tcase_add_test(tc, stations_pay_what_a_job_took_and_not_what_was_expected);
    tcase_add_test(tc, stations_share_whatever_their_number_of_calls);
    tcase_add_test(tc, stations_save_nothing_up_while_they_pause);
    tcase_add_test(tc, small_calls_go_first_and_bulk_keeps_its_share);
    tcase_add_test(tc, small_calls_of_a_station_leave_its_bulk_some_turns);
    tcase_add_test(tc, limits_hold_for_calls_that_come_and_go);
    tcase_add_test(tc, add_remove_and_settle_are_idempotent);
    tcase_add_test(tc, accounts_are_made_once_a_client);
    tcase_add_test(tc, costs_are_a_time_a_job_and_one_a_unit);
    tcase_add_test(tc, costs_of_jobs_of_one_size_are_told_apart_by_bigger_ones);
    tcase_add_test(tc, costs_follow_what_changes);
    tcase_add_test(tc, costs_of_lone_units_do_not_make_chunks_look_dear);
    tcase_add_test(tc, mint_single_job_that_a_worker_has_does_not_wait_as_well);
    tcase_add_test(tc, mint_chunks_are_short_while_small_calls_come);
    tcase_add_test(tc, mint_workers_of_hardware_is_by_its_sessions);
    tcase_add_test(tc, mint_workers_of_software_is_by_the_processors);
    suite_add_tcase(s, tc);
    return run_suite(s);
}
