/* SPDX-License-Identifier: Apache-2.0 */
/* The exposition format, and the heads of requests. What the numbers are worth is
 * tests/integration/test_service_metrics.py's. */
#include "daemon/front/exposition.h"
#include "daemon/front/http_request.h"
#include "tests/unit/check_main.h"

#include <stdio.h>
#include <string.h>

static void plain(struct mm_exposition *e, const void *source)
{
    mm_sample(e, NULL, *(const uint64_t *)source);
}

static void labelled(struct mm_exposition *e, const void *source)
{
    const char *const odd[] = {"a\\b\"c\nd", ""};
    const char *const even[] = {"x", "y"};

    mm_sample_seconds(e, odd, *(const uint64_t *)source);
    mm_sample_seconds(e, even, 1234567);
}

static void histogram(struct mm_exposition *e, const void *source)
{
    const char *const values[] = {"m"};
    struct mm_histogram h = {{0}, 0};

    (void)source;
    mm_histogram_add(&h, -5); /* a clock that went back counts as no time */
    mm_histogram_add(&h, 250);
    mm_histogram_add(&h, 251);
    mm_histogram_add(&h, 1000001);
    mm_histogram_add(&h, INT64_C(700000000));
    mm_sample_histogram(e, values, &h);
}

static const struct mm_metric table[] = {
    {"t_total", MM_COUNTER, "One \"two\" \\ three\nfour.", {NULL}, plain},
    {"t_seconds", MM_GAUGE, "Time.", {"a", "b"}, labelled},
    {"t_job_seconds", MM_HISTOGRAM, "Jobs.", {"kind"}, histogram},
};

START_TEST(write_escapes_and_says_help_and_type_once)
{
    static const char expected[] = "# HELP t_total One \"two\" \\\\ three\\nfour.\n"
                                   "# TYPE t_total counter\n"
                                   "t_total 18446744073709551615\n"
                                   "# HELP t_seconds Time.\n"
                                   "# TYPE t_seconds gauge\n"
                                   "t_seconds{a=\"a\\\\b\\\"c\\nd\",b=\"\"} 18446744073709.551615\n"
                                   "t_seconds{a=\"x\",b=\"y\"} 1.234567\n"
                                   "# HELP t_job_seconds Jobs.\n"
                                   "# TYPE t_job_seconds histogram\n"
                                   "t_job_seconds_bucket{kind=\"m\",le=\"0.00025\"} 2\n"
                                   "t_job_seconds_bucket{kind=\"m\",le=\"0.0005\"} 3\n";
    static const char end[] = "t_job_seconds_bucket{kind=\"m\",le=\"1\"} 3\n"
                              "t_job_seconds_bucket{kind=\"m\",le=\"10\"} 4\n"
                              "t_job_seconds_bucket{kind=\"m\",le=\"60\"} 4\n"
                              "t_job_seconds_bucket{kind=\"m\",le=\"600\"} 4\n"
                              "t_job_seconds_bucket{kind=\"m\",le=\"+Inf\"} 5\n"
                              "t_job_seconds_sum{kind=\"m\"} 701.000502\n"
                              "t_job_seconds_count{kind=\"m\"} 5\n";
    MM_BUF_CLEANUP struct mm_buf out = MM_BUF_INIT(8192);
    const uint64_t number = UINT64_MAX;
    const char *text;

    mm_exposition_write(&out, table, MM_ARRAY_SIZE(table), &number);
    ck_assert_int_eq(mm_buf_err(&out), MM_OK);
    text = mm_buf_cstr(&out);
    ck_assert_msg(strncmp(text, expected, strlen(expected)) == 0, "%s", text);
    ck_assert_str_eq(text + strlen(text) - strlen(end), end);
}
END_TEST

START_TEST(write_over_its_bound_is_an_error_that_sticks)
{
    MM_BUF_CLEANUP struct mm_buf out = MM_BUF_INIT(100);
    const uint64_t number = 1;

    mm_exposition_write(&out, table, MM_ARRAY_SIZE(table), &number);
    ck_assert_int_eq(mm_buf_err(&out), MM_ERR_TOO_BIG);
    ck_assert_uint_le(out.len, 100);
}
END_TEST

#define END "\r\n\r\n"
#define REQ "GET /metrics HTTP/1.1\r\n"
static const struct {
    const char *text;
    unsigned status;
    const char *path;
} requests[] = {
    {REQ "Host: a" END, 200, "/metrics"},
    {REQ "host:\r\nAccept: text/plain;version=0.0.4, */*;q=0.1" END "more", 200, "/metrics"},
    {REQ "Host: a\r\nContent-Length:\t0 " END, 200, "/metrics"},
    {"HEAD / HTTP/1.0" END, 200, "/"},
    {"GET /healthz?verbose&x=%20? HTTP/1.1\r\nHost: [::1]:9" END, 200, "/healthz"},
    {"GET /12345678901234567890123456789012345678901234567890123456789012 HTTP/1.0" END, 200,
     "/12345678901234567890123456789012345678901234567890123456789012"},
    {"GET /123456789012345678901234567890123456789012345678901234567890123 HTTP/1.0" END, 200, ""},
    /* not whole */
    {"", 0, NULL},
    {"GET /metrics HTTP/1.1\r\nHost: a\r\n", 0, NULL},
    {"GET /metrics HTTP/1.1\nHost: a\n\n", 0, NULL},
    /* wrong */
    {REQ "Host: a\r\nHost: a" END, 400, NULL},
    {REQ "Accept: a" END, 400, NULL},
    {REQ "Host : a" END, 400, NULL},
    {REQ " Host: a" END, 400, NULL},
    {REQ "Host: a\r\n folded" END, 400, NULL},
    {REQ "Host: a\nb: c" END, 400, NULL},
    {REQ "Host: a\rb" END, 400, NULL},
    {REQ "Host: a\r\n: b" END, 400, NULL},
    {END, 400, NULL},
    {"GET  /metrics HTTP/1.1\r\nHost: a" END, 400, NULL},
    {"GET /metrics" END, 400, NULL},
    {"GET metrics HTTP/1.1\r\nHost: a" END, 400, NULL},
    {"GET /m\xc3\xa4 HTTP/1.1\r\nHost: a" END, 400, NULL},
    {"GET /metrics HTTP/1.1 \r\nHost: a" END, 400, NULL},
    {"GET /metrics ICY/1.11\r\nHost: a" END, 400, NULL},
    {"G(T /metrics HTTP/1.1\r\nHost: a" END, 400, NULL},
    {"\x16\x03\x01", 400, NULL}, /* TLS */
    {"GET /\x7f", 400, NULL},
    {"PRI * HTTP/2.0" END, 400, NULL},
    {"GET /metrics HTTP/2.0" END, 505, NULL},
    {"POST /metrics HTTP/1.1\r\nHost: a" END, 405, NULL},
    {"get /metrics HTTP/1.1\r\nHost: a" END, 405, NULL},
    {REQ "Host: a\r\nContent-Length: 1" END, 413, NULL},
    {REQ "Host: a\r\nContent-Length: 0, 0" END, 413, NULL},
    {REQ "Host: a\r\nTransfer-Encoding: chunked" END, 413, NULL},
};

START_TEST(parse_request_gives_status_and_path)
{
    const char *text = requests[_i].text;
    struct mm_http_request request;
    const unsigned status =
        mm_http_request_parse((struct mm_bytes){(const uint8_t *)text, strlen(text)}, &request);

    ck_assert_msg(status == requests[_i].status, "%u: %s", status, text);
    if (status == 200)
        ck_assert_str_eq(request.path, requests[_i].path);
    ck_assert(request.head == (strncmp(text, "HEAD", 4) == 0));
}
END_TEST

/* It is called after every read: what was enough once must not have been taken before. */
START_TEST(parse_request_byte_by_byte_ends_once)
{
    static const char text[] = REQ "Host: a" END;
    struct mm_http_request request;

    for (size_t len = 0; len < strlen(text); len++)
        ck_assert_uint_eq(
            mm_http_request_parse((struct mm_bytes){(const uint8_t *)text, len}, &request), 0);
}
END_TEST

START_TEST(parse_request_over_the_limit_is_431)
{
    uint8_t text[MM_HTTP_REQUEST_MAX];
    struct mm_http_request request;

    memset(text, 'a', sizeof(text));
    ck_assert_uint_eq(mm_http_request_parse((struct mm_bytes){text, sizeof(text) - 1}, &request),
                      0);
    ck_assert_uint_eq(mm_http_request_parse((struct mm_bytes){text, sizeof(text)}, &request), 431);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("metrics");
    TCase *tc = tcase_create("metrics");

    tcase_add_test(tc, write_escapes_and_says_help_and_type_once);
    tcase_add_test(tc, write_over_its_bound_is_an_error_that_sticks);
    tcase_add_loop_test(tc, parse_request_gives_status_and_path, 0, MM_ARRAY_SIZE(requests));
    tcase_add_test(tc, parse_request_byte_by_byte_ends_once);
    tcase_add_test(tc, parse_request_over_the_limit_is_431);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
