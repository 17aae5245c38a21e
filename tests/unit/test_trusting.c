/* SPDX-License-Identifier: Apache-2.0 */
/* When a reload has the store take the certificates; how it takes them: test_trusted, and
 * service_reload. */
#include "daemon/front/trusting.h"

#include "daemon/base/clock.h"
#include "daemon/front/app.h"
#include "tests/unit/check_main.h"

enum { LONG_US = 60 * 1000 * 1000 }; /* longer than a store is waited for */

static uv_loop_t loop;
static struct mm_app app;
static struct mm_trusting t;
static bool away, asked;        /* the store */
static int64_t now_us, step_us; /* step_us pass with every look at the clock */
static unsigned calls;          /* of on_taken */
static enum mm_err code;        /* with which it was called last */

static int64_t wall_ms(void)
{
    return 0;
}

static int64_t mono_us(void)
{
    return now_us += step_us;
}

/* In place of the store, with all that stands around it. */
int mm_app_check_store(const struct mm_app *a, struct mm_errinfo *ei)
{
    ck_assert_ptr_eq(a, &app);
    return away ? mm_fail(ei, MM_ERR_UNAVAILABLE, "STORE_UNAVAILABLE", "the store is away") : MM_OK;
}

int mm_pool_submit(struct mm_pool *pool, struct mm_job *job, ProtobufCMessage *message,
                   int64_t deadline_us, const struct mm_pool_worker *avoid, struct mm_errinfo *ei)
{
    (void)pool;
    (void)message;
    (void)deadline_us;
    (void)avoid;
    (void)ei;
    ck_assert_ptr_eq(job, &t.job);
    ck_assert(!asked);
    asked = true;
    return MM_OK;
}

static void on_taken(void *arg, const struct mm_errinfo *ei)
{
    ck_assert_ptr_eq(arg, &calls);
    calls++;
    code = ei ? ei->code : MM_OK;
}

static void setup(void)
{
    ck_assert_int_eq(uv_loop_init(&loop), 0);
    mm_clock_replace(wall_ms, mono_us);
    app = (struct mm_app){.loop = &loop};
    t = (struct mm_trusting){0};
    away = asked = false;
    step_us = 0;
    ck_assert_int_eq(mm_trusting_start(&t, &app), MM_OK);
}

static void teardown(void)
{
    mm_trusting_stop(&t);
    uv_run(&loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
    mm_clock_replace(NULL, NULL);
}

static void take(bool changed)
{
    calls = 0;
    mm_trusting_take(&t, changed, on_taken, &calls);
}

static void ended(enum mm_err with)
{
    ck_assert(!asked);
    ck_assert_uint_eq(calls, 1);
    ck_assert_int_eq(code, with);
}

/* What the store was asked ends: NULL: it has them. */
static void answer(const struct mm_errinfo *why)
{
    Mintmark__Internal__StoreResult result = MINTMARK__INTERNAL__STORE_RESULT__INIT;

    ck_assert_uint_eq(calls, 0);
    ck_assert(asked);
    asked = false;
    result.result_case = MINTMARK__INTERNAL__STORE_RESULT__RESULT_TRUSTED_TAKEN;
    t.job.done(&t.job, why ? NULL : &result.base, why);
}

START_TEST(take_of_what_has_not_changed_asks_nothing_of_the_store)
{
    take(false);
    ended(MM_OK);
    take(true);
    answer(NULL);
    ended(MM_OK);
    take(false);
    ended(MM_OK);
}
END_TEST

/* The launcher may have them in force, and then finds no change by the next reload. */
START_TEST(take_that_the_store_did_not_hear_the_end_of_is_repeated_by_the_next_reload)
{
    const struct mm_errinfo stuck = {.code = MM_ERR_UNAVAILABLE, .reason = "LAUNCHER_STUCK"};

    take(true);
    now_us += LONG_US;
    answer(&stuck);
    ended(MM_ERR_UNAVAILABLE);
    take(false);
    now_us += LONG_US;
    answer(&stuck);
    ended(MM_ERR_UNAVAILABLE);
    take(false);
    answer(NULL);
    ended(MM_OK);
    take(false);
    ended(MM_OK);
}
END_TEST

/* The launcher knows nothing of it. */
START_TEST(take_that_the_store_was_never_asked_for_is_not_repeated)
{
    away = true;
    step_us = LONG_US;
    take(true);
    ended(MM_ERR_UNAVAILABLE);
    take(false);
    ended(MM_OK);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("trusting");
    TCase *tc = tcase_create("trusting");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, take_of_what_has_not_changed_asks_nothing_of_the_store);
    tcase_add_test(tc, take_that_the_store_did_not_hear_the_end_of_is_repeated_by_the_next_reload);
    tcase_add_test(tc, take_that_the_store_was_never_asked_for_is_not_repeated);
    suite_add_tcase(s, tc);
    return run_suite(s);
}
