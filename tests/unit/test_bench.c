/* SPDX-License-Identifier: Apache-2.0 */
/* What token bench makes of its measurements. The measuring itself: test_officer_token.py. */
#include "tests/unit/check_main.h"
#include "tools/officer/bench.h"

#include <string.h>

START_TEST(bucket_grows_with_the_time_and_holds_all)
{
    size_t before = 0;

    ck_assert_uint_eq(mm_bench_bucket(0), 0);
    for (uint64_t us = 1; us < UINT64_C(1) << 40; us += us / 7 + 1) {
        const size_t bucket = mm_bench_bucket(us);

        ck_assert_uint_ge(bucket, before);
        ck_assert_uint_lt(bucket, MM_BENCH_BUCKETS);
        before = bucket;
    }
    ck_assert_uint_eq(mm_bench_bucket(UINT64_MAX), MM_BENCH_BUCKETS - 1);
}
END_TEST

START_TEST(percentile_is_within_six_percent_and_never_below)
{
    static uint32_t bucket[MM_BENCH_BUCKETS];

    for (uint64_t us = 10; us < 10000000; us = us * 3 + 1) {
        memset(bucket, 0, sizeof(bucket));
        bucket[mm_bench_bucket(us)] = 100;
        const double ms = mm_bench_percentile(bucket, 0.5);

        ck_assert_double_ge(ms * 1000, (double)us);
        ck_assert_double_le(ms * 1000, (double)us * 1.07 + 1);
    }
    /* 98 quick ones and two slow: the p99 is slow, the median is not. */
    memset(bucket, 0, sizeof(bucket));
    bucket[mm_bench_bucket(100)] = 98;
    bucket[mm_bench_bucket(50000)] = 2;
    ck_assert_double_lt(mm_bench_percentile(bucket, 0.5), 0.11);
    ck_assert_double_gt(mm_bench_percentile(bucket, 0.99), 49);
}
END_TEST

START_TEST(recommend_takes_the_fewest_near_the_best)
{
    static const struct {
        double rates[5];
        size_t n, index;
    } cases[] = {
        {{100}, 1, 0},
        {{100, 190, 380, 390, 395}, 5, 2},
        {{100, 200, 400, 800, 1600}, 5, 4},
        {{500, 480, 300, 200, 100}, 5, 0},
        {{10, 100, 50}, 3, 1},
    };

    for (size_t i = 0; i < MM_ARRAY_SIZE(cases); i++) {
        struct mm_bench_step steps[5] = {0};

        for (size_t j = 0; j < cases[i].n; j++)
            steps[j].rate = cases[i].rates[j];
        ck_assert_uint_eq(mm_bench_recommend(steps, cases[i].n), cases[i].index);
    }
}
END_TEST

START_TEST(plot_escapes_what_the_token_says_and_shows_every_step)
{
    MM_BUF_CLEANUP struct mm_buf svg = MM_BUF_INIT(65536);
    const struct mm_bench_step steps[] = {{1, 1000, 0.2, 0.5, 1}, {32, 30000, 0.9, 120, 400}};
    struct mm_errinfo ei = {0};

    ck_assert_int_eq(mm_bench_plot(steps, 2, 1, "<b> & \"x\"", &svg, &ei), MM_OK);
    const char *const text = mm_buf_cstr(&svg);

    ck_assert_ptr_nonnull(strstr(text, "&#60;b&#62; &#38; &#34;x&#34;"));
    ck_assert_ptr_null(strstr(text, "<b>"));
    ck_assert_ptr_nonnull(strstr(text, ">30000<"));
    ck_assert_ptr_nonnull(strstr(text, ">120.00<"));
    ck_assert_ptr_nonnull(strstr(text, "workers = 32"));
    ck_assert_ptr_null(strstr(text, "nan"));
    ck_assert_ptr_null(strstr(text, "inf"));
}
END_TEST

START_TEST(plot_without_room_says_so)
{
    MM_BUF_CLEANUP struct mm_buf svg = MM_BUF_INIT(100);
    const struct mm_bench_step steps[] = {{1, 1000, 0.2, 0.5, 1}};
    struct mm_errinfo ei = {0};

    ck_assert_int_eq(mm_bench_plot(steps, 1, 0, "t", &svg, &ei), MM_ERR_MEMORY);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("bench");
    TCase *tc = tcase_create("bench");

    tcase_add_test(tc, bucket_grows_with_the_time_and_holds_all);
    tcase_add_test(tc, percentile_is_within_six_percent_and_never_below);
    tcase_add_test(tc, recommend_takes_the_fewest_near_the_best);
    tcase_add_test(tc, plot_escapes_what_the_token_says_and_shows_every_step);
    tcase_add_test(tc, plot_without_room_says_so);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
