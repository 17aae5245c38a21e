/* SPDX-License-Identifier: Apache-2.0 */
/* The client's parts that need no connection. */
#include "client/client.h"
#include "client/delivery.h"
#include "client/error.h"
#include "client/response.h"
#include "client/retry.h"
#include "client/site.h"
#include "client/uidset.h"
#include "daemon/base/io.h"
#include "tests/unit/check_main.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static char folder[64];

static void make_folder(void)
{
    snprintf(folder, sizeof(folder), "/tmp/test_client.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
}

static void remove_folder(void)
{
    char path[128];

    snprintf(path, sizeof(path), "%s/site.conf", folder);
    unlink(path);
    ck_assert_int_eq(rmdir(folder), 0);
}

static int load_site(const char *text, struct mm_site *site, struct mintmark_error *error)
{
    char path[128];

    snprintf(path, sizeof(path), "%s/site.conf", folder);
    ck_assert_int_eq(mm_io_write_file(path, 0600, text, strlen(text), NULL), MM_OK);
    return mm_site_load(path, site, error);
}

START_TEST(copy_text_keeps_utf8_and_replaces_what_steers_a_terminal)
{
    static const struct {
        const char *from, *to;
    } cases[] = {
        {"plain", "plain"},
        {"K\xc3\xb6ln", "K\xc3\xb6ln"},
        {"a\x1b[2Jb\n", "a?[2Jb?"},
        {"\x7f\xc2\x9b", "???"},
        {"\xff\xc3", "??"},
        {"1234567\xc3\xa9", "1234567"}, /* no half character at the end */
        {"123456789", "12345678"},
        {"", ""},
    };
    char to[9];

    for (size_t i = 0; i < MM_ARRAY_SIZE(cases); i++) {
        mm_client_copy_text(to, sizeof(to), cases[i].from);
        ck_assert_str_eq(to, cases[i].to);
    }
}
END_TEST

START_TEST(fail_base_keeps_field_and_advice)
{
    struct mm_errinfo ei = {.code = MM_ERR_IO, .retry_ms = 7, .field = "count"};
    struct mintmark_error error;

    snprintf(ei.text, sizeof(ei.text), "disk full");
    ck_assert_int_eq(mm_client_fail_base(&error, &ei), -MINTMARK_FAILED_PRECONDITION);
    ck_assert_str_eq(error.field, "count");
    ck_assert_str_eq(error.message, "disk full");
    ck_assert_uint_eq(error.retry_ms, 7);
    ck_assert_int_eq(mm_client_fail_base(NULL, &ei), -MINTMARK_FAILED_PRECONDITION);
    ei.code = (enum mm_err) - 99;
    ck_assert_int_eq(mm_client_fail_base(NULL, &ei), -MINTMARK_INTERNAL);
}
END_TEST

START_TEST(retry_repeats_only_what_is_safe)
{
    static const struct {
        enum mintmark_status status;
        uint32_t retry_ms;
        bool unprocessed, final;
        enum mm_repeat repeat;
        bool wanted;
    } cases[] = {
        {MINTMARK_UNAVAILABLE, 0, false, false, MM_REPEAT_SAFE, true},
        {MINTMARK_UNAVAILABLE, 0, false, false, MM_REPEAT_UNPROCESSED, false},
        {MINTMARK_UNAVAILABLE, 500, false, false, MM_REPEAT_UNPROCESSED, false},
        {MINTMARK_UNAVAILABLE, 0, true, false, MM_REPEAT_UNPROCESSED, true},
        {MINTMARK_UNAVAILABLE, 0, true, true, MM_REPEAT_SAFE, false},
        {MINTMARK_RESOURCE_EXHAUSTED, 100, false, false, MM_REPEAT_SAFE, true},
        {MINTMARK_RESOURCE_EXHAUSTED, 100, false, false, MM_REPEAT_UNPROCESSED, false},
        {MINTMARK_RESOURCE_EXHAUSTED, 0, false, false, MM_REPEAT_SAFE, false},
        {MINTMARK_UNAUTHENTICATED, 0, true, false, MM_REPEAT_SAFE, false},
        {MINTMARK_ABORTED, 0, false, false, MM_REPEAT_SAFE, false},
        {MINTMARK_INTERNAL, 0, false, false, MM_REPEAT_SAFE, false},
        {MINTMARK_OK, 0, false, false, MM_REPEAT_SAFE, false},
    };

    for (size_t i = 0; i < MM_ARRAY_SIZE(cases); i++) {
        struct mm_stream_end end = {.unprocessed = cases[i].unprocessed, .final = cases[i].final};

        end.error.status = cases[i].status;
        end.error.retry_ms = cases[i].retry_ms;
        ck_assert_msg(mm_retry_wanted(&end, cases[i].repeat) == cases[i].wanted, "case %zu", i);
    }
}
END_TEST

START_TEST(retry_pause_grows_to_its_bound_and_heeds_advice)
{
    uint32_t before = 0;

    for (unsigned failures = 1; failures < 100; failures++) {
        const uint32_t least = mm_retry_pause_ms(failures, 0, 0);
        uint32_t most = 0;

        for (uint32_t random = 0; random < 7000; random++)
            if (mm_retry_pause_ms(failures, 0, random) > most)
                most = mm_retry_pause_ms(failures, 0, random);
        ck_assert_uint_ge(least, before);
        ck_assert_uint_le(most, 18000);
        ck_assert_uint_eq(most, least * 3 / 2);
        before = least;
    }
    ck_assert_uint_eq(mm_retry_pause_ms(1, 0, 0), 160);
    ck_assert_uint_eq(before, 12000);
    ck_assert_uint_eq(mm_retry_pause_ms(1, 90000, 0), 90000);
    /* Never sooner than the advice, and not all at once. */
    ck_assert_uint_eq(mm_retry_pause_ms(1, 90000, 18000), 108000);
    ck_assert_uint_eq(mm_retry_pause_ms(1, UINT32_MAX, 7), UINT32_MAX);
}
END_TEST

static int field(struct mm_response *response, const char *name, const char *value)
{
    const struct mm_bytes n = {(const uint8_t *)name, strlen(name)};
    const struct mm_bytes v = {(const uint8_t *)value, strlen(value)};

    return mm_response_field(response, &n, &v);
}

START_TEST(response_bad_status_details_and_pushback_are_borne)
{
    struct mm_response response;
    struct mintmark_error error;

    mm_response_init(&response);
    mm_response_block(&response);
    ck_assert_int_eq(field(&response, ":status", "200"), MM_OK);
    ck_assert_int_eq(field(&response, "grpc-status", "099"), MM_OK);
    ck_assert_int_eq(field(&response, "grpc-status-details-bin", "!!!"), MM_OK);
    ck_assert_int_eq(field(&response, "grpc-retry-pushback-ms", "soon"), MM_OK);
    mm_response_end(&response, &error);
    ck_assert_int_eq(error.status, MINTMARK_UNKNOWN);
    ck_assert_str_eq(error.message, "UNKNOWN");
    ck_assert_int_lt(response.pushback_ms, 0);
    mm_response_block(&response);
    ck_assert_int_eq(field(&response, "grpc-status", "14"), MM_OK);
    ck_assert_int_eq(field(&response, "grpc-retry-pushback-ms", "250"), MM_OK);
    mm_response_end(&response, &error);
    ck_assert_int_eq(error.status, MINTMARK_UNAVAILABLE);
    ck_assert_uint_eq(error.retry_ms, 250);
    mm_response_done(&response);
}
END_TEST

START_TEST(response_status_in_leading_headers_is_none)
{
    struct mm_response response;
    struct mintmark_error error;

    mm_response_init(&response);
    mm_response_block(&response);
    ck_assert_int_eq(field(&response, ":status", "200"), MM_OK);
    ck_assert_int_eq(field(&response, "grpc-status", "0"), MM_OK);
    mm_response_block(&response);
    mm_response_end(&response, &error);
    ck_assert_int_eq(error.status, MINTMARK_UNKNOWN);
    mm_response_done(&response);
}
END_TEST

START_TEST(delivery_withheld_is_read_whole_and_fit_to_be_printed)
{
    static char uid[] = "0193537b-1f4c-7abc-8def-001122334455", serial[] = "SN-1";
    static char text[] = "refused\x1b[1m: no such profile";
    Mintmark__V1__Withheld from = MINTMARK__V1__WITHHELD__INIT;
    struct mintmark_withheld withheld;
    struct mintmark_error error;
    uint8_t binary[16];

    from.device_uid = uid;
    from.hw_serial = serial;
    from.number = 7;
    from.state = MINTMARK__V1__CERTIFICATE_STATE__CERTIFICATE_STATE_WAITING;
    from.text = text;
    from.next_time_ms = 1790000000000;
    from.attempts = 3;
    ck_assert_int_eq(mm_delivery_withheld(&from, &withheld, binary, &error), 0);
    ck_assert_str_eq(withheld.device_uid, uid);
    ck_assert_str_eq(withheld.hw_serial, serial);
    ck_assert_uint_eq(withheld.number, 7);
    ck_assert_int_eq(withheld.state, MINTMARK_CERTIFICATE_WAITING);
    ck_assert_str_eq(withheld.text, "refused?[1m: no such profile");
    ck_assert_int_eq(withheld.next_time_ms, 1790000000000);
    ck_assert_uint_eq(withheld.attempts, 3);
    ck_assert_uint_eq(binary[15], 0x55);
}
END_TEST

START_TEST(delivery_withheld_for_no_known_reason_or_without_uid_is_refused)
{
    static char uid[] = "0193537b-1f4c-7abc-8def-001122334455", bad[] = "../x";
    const struct {
        int state, r;
    } states[] = {{-1, -MINTMARK_DATA_LOSS},
                  {0, -MINTMARK_DATA_LOSS},
                  {1, 0},
                  {2, -MINTMARK_DATA_LOSS},
                  {3, 0},
                  {4, 0},
                  {5, -MINTMARK_DATA_LOSS}};
    Mintmark__V1__Withheld from = MINTMARK__V1__WITHHELD__INIT;
    struct mintmark_withheld withheld;
    uint8_t binary[16];

    from.device_uid = uid;
    for (size_t i = 0; i < MM_ARRAY_SIZE(states); i++) {
        from.state = (Mintmark__V1__CertificateState)states[i].state;
        ck_assert_int_eq(mm_delivery_withheld(&from, &withheld, binary, NULL), states[i].r);
        if (states[i].r == 0)
            ck_assert_int_eq((int)withheld.state, states[i].state);
    }
    from.state = MINTMARK__V1__CERTIFICATE_STATE__CERTIFICATE_STATE_PARKED;
    from.device_uid = bad;
    ck_assert_int_eq(mm_delivery_withheld(&from, &withheld, binary, NULL), -MINTMARK_DATA_LOSS);
}
END_TEST

START_TEST(uidset_has_what_was_added_and_no_more_than_its_size)
{
    MM_CLEANUP(mm_uidset_free_p) struct mm_uidset *set = mm_uidset_new(1000);
    uint8_t uid[16] = {0};

    ck_assert_ptr_nonnull(set);
    ck_assert(!mm_uidset_has(set, uid));
    for (unsigned i = 0; i < 1000; i++) { /* the nil UUID is the first */
        uid[14] = (uint8_t)(i >> 8);
        uid[15] = (uint8_t)i;
        ck_assert(mm_uidset_add(set, uid));
        ck_assert(!mm_uidset_add(set, uid));
    }
    ck_assert_uint_eq(mm_uidset_count(set), 1000);
    uid[0] = 1;
    ck_assert(!mm_uidset_has(set, uid));
    ck_assert(!mm_uidset_add(set, uid));
    memset(uid, 0, sizeof(uid));
    ck_assert(mm_uidset_has(set, uid));
}
END_TEST

START_TEST(new_refuses_bad_options)
{
    static const char *const targets[] = {
        "",      "localhost", "localhost:", "localhost:0", "localhost:65536",
        ":7443", "a:b:1",     "[::1]7443",  "[]:1",        "h: 1",
        "h:1x",  NULL};
    struct mintmark_options options = {
        .ca_file = "ca.pem", .certificate_file = "c.pem", .key_file = "k.pem"};
    struct mintmark *client = NULL;
    struct mintmark_error error;

    for (size_t i = 0; i < MM_ARRAY_SIZE(targets); i++) {
        options.target = targets[i];
        ck_assert_int_eq(mintmark_new(&options, &client, &error), -MINTMARK_INVALID_ARGUMENT);
        ck_assert_str_ne(error.reason, "BAD_FILE");
    }
    options.target = "[::1]:7443";
    ck_assert_int_eq(mintmark_new(&options, &client, &error), -MINTMARK_INVALID_ARGUMENT);
    ck_assert_str_eq(error.reason, "BAD_FILE");
    options.key_file = NULL;
    ck_assert_int_eq(mintmark_new(&options, &client, NULL), -MINTMARK_INVALID_ARGUMENT);
    ck_assert_ptr_null(client);
    mintmark_free(NULL);
}
END_TEST

START_TEST(site_takes_paths_from_its_own_folder)
{
    struct mintmark_options options = {.attempts = 3};
    struct mm_site site;
    char path[128];

    ck_assert_int_eq(load_site("# a station\n"
                               "target = 'host:7443'\n"
                               "ca = 'tls/ca.pem'\ncertificate = '/etc/c.pem'\n"
                               "timeout_ms = 1234\nkeepalive_ms = 20000\ncompress = true\n",
                               &site, NULL),
                     0);
    mm_site_apply(&site, &options);
    ck_assert_str_eq(options.target, "host:7443");
    snprintf(path, sizeof(path), "%s/tls/ca.pem", folder);
    ck_assert_str_eq(options.ca_file, path);
    ck_assert_str_eq(options.certificate_file, "/etc/c.pem");
    ck_assert_ptr_null(options.key_file);
    ck_assert_uint_eq(options.timeout_ms, 1234);
    ck_assert_uint_eq(options.keepalive_ms, 20000);
    ck_assert_int_eq(options.compress, 1);
    ck_assert_uint_eq(options.attempts, 3);
    mm_site_done(&site);
}
END_TEST

START_TEST(site_errors_name_file_line_and_setting)
{
    struct mintmark_error error;
    struct mm_site site;

    ck_assert_int_eq(load_site("target = 'a:1'\ncolour = 'red'\n", &site, &error),
                     -MINTMARK_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(error.message, "site.conf:2: "));
    ck_assert_ptr_nonnull(strstr(error.message, "colour"));
    ck_assert_int_eq(load_site("timeout_ms = -1\n", &site, &error), -MINTMARK_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(error.message, "timeout_ms"));
    ck_assert_int_eq(load_site("keepalive_ms = 86400001\n", &site, &error),
                     -MINTMARK_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(error.message, "keepalive_ms"));
    ck_assert_int_eq(mm_site_load("/nonexistent/site.conf", &site, &error), -MINTMARK_NOT_FOUND);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client");
    TCase *tcase = tcase_create("client");

    tcase_add_checked_fixture(tcase, make_folder, remove_folder);
    tcase_add_test(tcase, copy_text_keeps_utf8_and_replaces_what_steers_a_terminal);
    tcase_add_test(tcase, fail_base_keeps_field_and_advice);
    tcase_add_test(tcase, retry_repeats_only_what_is_safe);
    tcase_add_test(tcase, retry_pause_grows_to_its_bound_and_heeds_advice);
    tcase_add_test(tcase, response_bad_status_details_and_pushback_are_borne);
    tcase_add_test(tcase, response_status_in_leading_headers_is_none);
    tcase_add_test(tcase, delivery_withheld_is_read_whole_and_fit_to_be_printed);
    tcase_add_test(tcase, delivery_withheld_for_no_known_reason_or_without_uid_is_refused);
    tcase_add_test(tcase, uidset_has_what_was_added_and_no_more_than_its_size);
    tcase_add_test(tcase, new_refuses_bad_options);
    tcase_add_test(tcase, site_takes_paths_from_its_own_folder);
    tcase_add_test(tcase, site_errors_name_file_line_and_setting);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
