/* SPDX-License-Identifier: Apache-2.0 */
/* Each allocation of the client fails in turn: every call says so, and nothing leaks. */
#include "client/cmd/csrs.h"
#include "client/cmd/folder.h"
#include "client/cmd/request.h"
#include "client/delivery.h"
#include "client/response.h"
#include "client/session.h"
#include "client/site.h"
#include "client/uidset.h"
#include "daemon/base/io.h"
#include "tests/unit/check_main.h"
#include "tests/unit/memory.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static char folder_path[64];
static struct mm_buf input;

static void setup(void)
{
    snprintf(folder_path, sizeof(folder_path), "/tmp/test_client_memory.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder_path));
    input = MM_BUF_INIT(64 * 1024);
}

static void teardown(void)
{
    static const char *const names[] = {
        "request.json",  ".request.json.tmp", "chain.pem", ".chain.pem.tmp",
        "devices.jsonl", "site.conf",         "a.csr",     "b.csr"};
    char path[128];

    memory_fail_at(0);
    for (size_t i = 0; i < MM_ARRAY_SIZE(names); i++) {
        snprintf(path, sizeof(path), "%s/%s", folder_path, names[i]);
        unlink(path);
    }
    (void)rmdir(folder_path);
    mm_buf_done(&input);
}

/* A file of the fuzzers' corpora, without its first bytes. */
static void read_corpus(const char *name, size_t skip)
{
    char path[4096];

    snprintf(path, sizeof(path), "%s/tests/fuzz/corpus/%s", getenv("MM_SOURCE_ROOT"), name);
    mm_buf_reset(&input);
    ck_assert_int_eq(mm_io_read_file(path, 64 * 1024, &input, NULL), MM_OK);
    mm_buf_consume(&input, skip);
}

/* One call to its end; the status it ended with. */
static enum mintmark_status converse(void)
{
    MM_CLEANUP(mm_session_free_p) struct mm_session *session = NULL;
    MM_CLEANUP(mm_stream_free_p) struct mm_stream *stream = NULL;
    MM_BUF_CLEANUP struct mm_buf out = MM_BUF_INIT(4 * MM_SESSION_SEND);
    const struct mm_stream_options options = {
        .path = "/S/M",
        .metadata = &(struct mm_field){"a-bin", {(const uint8_t *)"\0", 1}},
        .n_metadata = 1};
    const struct mm_bytes request = {(const uint8_t *)"x", 1};
    const struct mm_stream_end *end;
    struct mintmark_error error;
    struct mm_bytes message;
    int r = mm_session_new("http", "host:1", &session, &error);

    if (r == 0)
        r = mm_stream_new(&options, &stream, &error);
    if (r == 0 && mm_stream_send(stream, &request, false) < 0)
        r = mm_client_fail_memory(&error);
    if (r == 0) {
        mm_stream_half_close(stream);
        r = mm_stream_start(stream, session, 1000, &error);
    }
    if (r == 0)
        r = mm_session_send(session, &out, &error);
    if (r == 0)
        r = mm_session_receive(session, input.data, input.len, &error);
    if (r < 0)
        return (enum mintmark_status) - r;
    do
        r = mm_stream_next(stream, &message, &end);
    while (r == MM_OK);
    return r == MM_ERR_EOF ? end->error.status : MINTMARK_UNKNOWN;
}

START_TEST(session_without_memory_says_so)
{
    enum mintmark_status status;
    unsigned failures = 0;

    read_corpus("client_session/two_messages_ok", 1);
    ck_assert_int_eq(converse(), MINTMARK_OK);
    for (memory_fail_at(1); (status = converse()) != MINTMARK_OK; memory_fail_next()) {
        ck_assert_int_eq(status, MINTMARK_RESOURCE_EXHAUSTED);
        ck_assert(memory_failed());
        failures++;
    }
    ck_assert_uint_ge(failures, 5);
}
END_TEST

START_TEST(error_details_without_memory_still_give_the_status)
{
    read_corpus("client_session/trailers_only_with_details", 1);
    for (unsigned n = 1; n < 40; n++) {
        enum mintmark_status status;

        /* Check allocates, too. */
        memory_fail_at(n);
        status = converse();
        memory_fail_at(0);
        ck_assert_int_eq(status, MINTMARK_RESOURCE_EXHAUSTED);
    }
}
END_TEST

static int read_delivery(void)
{
    struct mm_delivery delivery = {.begun = false};
    const struct mm_bytes bytes = {input.data, (size_t)input.data[-2] << 8 | input.data[-1]};
    const Mintmark__V1__Delivery *message;
    int r;

    mm_delivery_begin(&delivery);
    r = mm_delivery_read(&delivery, &bytes, &message, NULL);
    mm_delivery_done(&delivery);
    return r;
}

START_TEST(delivery_without_memory_fails)
{
    unsigned failures = 0;

    read_corpus("client_delivery/two_messages", 0);
    /* The length stands before the message. */
    input.data += 2;
    for (memory_fail_at(1); read_delivery() < 0; memory_fail_next())
        failures++;
    memory_fail_at(0);
    input.data -= 2;
    ck_assert_uint_ge(failures, 1);
}
END_TEST

static int read_enrolled(void)
{
    struct mm_delivery delivery = {.begun = false};
    const struct mm_bytes bytes = {input.data,
                                   (size_t)(input.data[-2] & 0x7f) << 8 | input.data[-1]};
    const Mintmark__V1__EnrollResponse *message;
    struct mintmark_error refusal;
    int r;

    mm_delivery_begin(&delivery);
    r = mm_delivery_read_enrolled(&delivery, &bytes, &message, NULL);
    if (r == 0)
        r = mm_response_status(message->results[1]->error, &refusal);
    mm_delivery_done(&delivery);
    return r;
}

START_TEST(enrolled_without_memory_fails)
{
    unsigned failures = 0;

    read_corpus("client_delivery/enrolled", 0);
    input.data += 2;
    for (memory_fail_at(1); read_enrolled() < 0; memory_fail_next())
        failures++;
    memory_fail_at(0);
    input.data -= 2;
    ck_assert_uint_ge(failures, 2);
}
END_TEST

static int read_csrs(void)
{
    MM_CLEANUP(mm_csrs_done) struct mm_csrs csrs = {.n = 0};
    char *paths[] = {folder_path};
    struct mm_errinfo ei;
    const int r = mm_csrs_read(paths, 1, true, &csrs, &ei);

    if (r == MM_OK)
        ck_assert_uint_eq(csrs.n, 2);
    return r;
}

START_TEST(csrs_without_memory_fail)
{
    static const char *const names[] = {"a.csr", "b.csr"};
    unsigned failures = 0;
    char path[128];
    int r;

    for (size_t i = 0; i < MM_ARRAY_SIZE(names); i++) {
        snprintf(path, sizeof(path), "%s/%s", folder_path, names[i]);
        ck_assert_int_eq(mm_io_write_file(path, 0600, "csr", 3, NULL), MM_OK);
    }
    for (memory_fail_at(1); (r = read_csrs()) < 0; memory_fail_next()) {
        ck_assert_int_eq(r, MM_ERR_MEMORY);
        failures++;
    }
    memory_fail_at(0);
    ck_assert_uint_ge(failures, 8);
}
END_TEST

START_TEST(site_without_memory_fails)
{
    static const char text[] = "target = 'h:1'\nca = 'ca.pem'\nkey = '/k.pem'\n";
    struct mintmark_error error;
    struct mm_site site;
    unsigned failures = 0;
    char path[128];

    snprintf(path, sizeof(path), "%s/site.conf", folder_path);
    ck_assert_int_eq(mm_io_write_file(path, 0600, text, strlen(text), NULL), MM_OK);
    for (memory_fail_at(1); mm_site_load(path, &site, &error) < 0; memory_fail_next()) {
        ck_assert_int_eq(error.status, MINTMARK_RESOURCE_EXHAUSTED);
        failures++;
    }
    memory_fail_at(0);
    ck_assert_uint_ge(failures, 4);
    ck_assert_str_eq(site.target, "h:1");
    mm_site_done(&site);
}
END_TEST

static int settle(void)
{
    MM_CLEANUP(mm_folder_free_p) struct mm_folder *folder = NULL;
    MM_CLEANUP(mm_request_done) struct mm_request request = {.count = 0};
    char serials[128];
    struct mm_errinfo ei;
    int r;

    snprintf(serials, sizeof(serials), "%s/site.conf", folder_path);
    snprintf(request.batch_uid, sizeof(request.batch_uid), "%s",
             "0193537b-1f4c-7abc-8def-001122334455");
    r = mm_folder_open(folder_path, &folder, &ei);
    if (r == MM_OK)
        r = mm_request_read_serials(&request, serials, &ei);
    return r == MM_OK ? mm_request_settle(&request, folder, &ei) : r;
}

START_TEST(request_without_memory_fails_and_leaves_the_folder_usable)
{
    unsigned failures = 0;
    char path[128];

    snprintf(path, sizeof(path), "%s/site.conf", folder_path);
    ck_assert_int_eq(mm_io_write_file(path, 0600, "a\nb\n", 4, NULL), MM_OK);
    for (memory_fail_at(1); settle() < 0; memory_fail_next())
        failures++;
    memory_fail_at(0);
    ck_assert_uint_ge(failures, 6);
    /* And with a request in the folder. */
    for (memory_fail_at(1); settle() < 0; memory_fail_next())
        failures++;
    memory_fail_at(0);
    ck_assert_uint_ge(failures, 12);
}
END_TEST

static int list_devices(void)
{
    MM_CLEANUP(mm_folder_free_p) struct mm_folder *folder = NULL;
    const struct mintmark_withheld withheld = {.device_uid = "x", .hw_serial = "", .number = 1};
    struct mm_errinfo ei;
    int r = mm_folder_open(folder_path, &folder, &ei);

    if (r == MM_OK)
        r = mm_folder_withhold(folder, &withheld, &ei);
    return r < 0 ? r : mm_folder_finish(folder, &ei);
}

START_TEST(list_without_memory_fails_and_leaves_the_folder_usable)
{
    unsigned failures = 0;
    char path[128];

    for (memory_fail_at(1); list_devices() < 0; memory_fail_next())
        failures++;
    memory_fail_at(0);
    ck_assert_uint_ge(failures, 4);
    ck_assert_int_eq(list_devices(), MM_OK);
    for (size_t i = 0; i < 2; i++) {
        snprintf(path, sizeof(path), "%s/%s.jsonl", folder_path, i ? "devices" : "withheld");
        ck_assert_int_eq(unlink(path), 0);
    }
}
END_TEST

START_TEST(uidset_and_client_without_memory_fail)
{
    const struct mintmark_options options = {
        .target = "h:1", .ca_file = "x", .certificate_file = "x", .key_file = "x"};
    struct mintmark *client = NULL;
    struct mintmark_error error;

    memory_fail_at(1);
    ck_assert_ptr_null(mm_uidset_new(10));
    for (unsigned n = 1; n <= 5; n++) {
        int r;

        memory_fail_at(n);
        r = mintmark_new(&options, &client, &error);
        memory_fail_at(0);
        ck_assert_int_eq(r, -MINTMARK_RESOURCE_EXHAUSTED);
        ck_assert_ptr_null(client);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client_memory");
    TCase *tcase = tcase_create("memory");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, session_without_memory_says_so);
    tcase_add_test(tcase, error_details_without_memory_still_give_the_status);
    tcase_add_test(tcase, delivery_without_memory_fails);
    tcase_add_test(tcase, enrolled_without_memory_fails);
    tcase_add_test(tcase, csrs_without_memory_fail);
    tcase_add_test(tcase, site_without_memory_fails);
    tcase_add_test(tcase, request_without_memory_fails_and_leaves_the_folder_usable);
    tcase_add_test(tcase, list_without_memory_fails_and_leaves_the_folder_usable);
    tcase_add_test(tcase, uidset_and_client_without_memory_fail);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
