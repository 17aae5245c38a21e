/* SPDX-License-Identifier: Apache-2.0 */
/* Calls of the client's session beyond one request and its response: streams of requests, metadata,
 * limits, gzip, and calls that start anew on another connection. */
#include "proto/grpc/frame.h"
#include "proto/grpc/gzip.h"
#include "tests/unit/client_peer.h"

static const struct mm_stream_options plain = {.path = "/test.Service/Method"};

static void begin(struct mm_stream *stream)
{
    ck_assert_int_eq(mm_stream_start(stream, session, INT64_MAX, NULL), 0);
}

static int say(struct mm_stream *stream, const char *text)
{
    return mm_stream_send(stream, &(struct mm_bytes){(const uint8_t *)text, strlen(text)}, false);
}

/* What the server has got so far is these messages, and it forgets them. */
static void expect_requests(const char *const *texts, size_t n)
{
    size_t at = 0;

    for (size_t i = 0; i < n; i++) {
        uint8_t prefix[MM_GRPC_PREFIX_LEN];

        mm_grpc_prefix(false, (uint32_t)strlen(texts[i]), prefix);
        ck_assert_uint_ge(peer.request.len, at + sizeof(prefix) + strlen(texts[i]));
        ck_assert_mem_eq(peer.request.data + at, prefix, sizeof(prefix));
        ck_assert_mem_eq(peer.request.data + at + sizeof(prefix), texts[i], strlen(texts[i]));
        at += sizeof(prefix) + strlen(texts[i]);
    }
    ck_assert_uint_eq(peer.request.len, at);
    mm_buf_reset(&peer.request);
}

/* Another connection to the same kind of server; the test's fixture frees the new one. */
static void reconnect(void)
{
    mm_session_free(session);
    nghttp2_session_del(peer.http2);
    mm_buf_done(&peer.body);
    mm_buf_done(&peer.request);
    setup();
}

START_TEST(requests_leave_as_they_are_sent)
{
    struct mm_stream *stream = make(&plain);

    ck_assert_int_eq(say(stream, "before"), MM_OK);
    begin(stream);
    pump();
    expect_requests((const char *const[]){"before"}, 1);
    ck_assert(!peer.request_ended);
    ck_assert_int_eq(say(stream, "one"), MM_OK);
    ck_assert_int_eq(say(stream, ""), MM_OK);
    pump();
    expect_requests((const char *const[]){"one", ""}, 2);
    ck_assert_int_eq(say(stream, "last"), MM_OK);
    mm_stream_half_close(stream);
    pump();
    expect_requests((const char *const[]){"last"}, 1);
    ck_assert(peer.request_ended);
    ck_assert_int_eq(say(stream, "late"), MM_ERR_EOF);
    mm_stream_free(stream);
}
END_TEST

START_TEST(half_close_alone_ends_the_request)
{
    struct mm_stream *stream = make(&plain);

    begin(stream);
    pump();
    ck_assert(!peer.request_ended);
    mm_stream_half_close(stream);
    mm_stream_half_close(stream);
    pump();
    ck_assert(peer.request_ended);
    ck_assert_uint_eq(peer.request.len, 0);
    mm_stream_free(stream);
}
END_TEST

START_TEST(responses_come_between_requests)
{
    struct mm_stream *stream = make(&plain);

    begin(stream);
    ck_assert_int_eq(say(stream, "ping"), MM_OK);
    pump();
    peer.hold = true;
    add_message(4, 'p');
    answer("200", "application/grpc");
    pump();
    expect_message(stream, 4, 'p');
    expect_nothing(stream);
    ck_assert_int_eq(say(stream, "again"), MM_OK);
    mm_stream_half_close(stream);
    pump();
    expect_requests((const char *const[]){"ping", "again"}, 2);
    peer.hold = false;
    peer.status = "0";
    ck_assert_int_eq(nghttp2_session_resume_data(peer.http2, peer.last_id), 0);
    pump();
    expect_end(stream, MINTMARK_OK);
}
END_TEST

START_TEST(requests_wait_for_a_server_that_does_not_read)
{
    const size_t size = 100 * 1024;
    MM_FREE uint8_t *message = calloc(1, size);
    struct mm_stream *stream = make(&plain);
    unsigned sent = 0;
    int r;

    begin(stream);
    ck_assert_ptr_nonnull(message);
    /* The server's windows are never opened: peer has no automatic updates to give when its
     * answers do not come. */
    client_to_server();
    while ((r = mm_stream_send(stream, &(struct mm_bytes){message, size}, false)) == MM_OK &&
           sent < 100) {
        client_to_server();
        sent++;
    }
    ck_assert_int_eq(r, MM_ERR_AGAIN);
    ck_assert_uint_le(sent, 8);
    pump();
    ck_assert_int_eq(mm_stream_send(stream, &(struct mm_bytes){message, size}, false), MM_OK);
    mm_stream_free(stream);
}
END_TEST

START_TEST(requests_of_any_total_size_leave)
{
    const size_t size = 1024 * 1024;
    MM_FREE uint8_t *message = calloc(1, size);
    struct mm_stream *stream = make(&plain);

    ck_assert_ptr_nonnull(message);
    begin(stream);
    for (unsigned i = 0; i < 12; i++) {
        ck_assert_int_eq(mm_stream_send(stream, &(struct mm_bytes){message, size}, false), MM_OK);
        pump();
    }
    ck_assert_uint_eq(peer.request.len, 12 * (size + MM_GRPC_PREFIX_LEN));
    mm_stream_free(stream);
}
END_TEST

START_TEST(requests_are_compressed_where_that_was_announced_and_helps)
{
    MM_FREE uint8_t *zeros = calloc(1, 10000);
    MM_BUF_CLEANUP struct mm_buf text = MM_BUF_INIT(10000);
    struct mm_stream *stream =
        make(&(struct mm_stream_options){.path = "/test.Service/Method", .gzip = true});

    ck_assert_ptr_nonnull(zeros);
    begin(stream);
    ck_assert_int_eq(mm_stream_send(stream, &(struct mm_bytes){zeros, 10000}, true), MM_OK);
    pump();
    ck_assert_str_eq(peer.coding_seen, "gzip");
    ck_assert_uint_lt(peer.request.len, 200);
    ck_assert_uint_eq(peer.request.data[0], 1);
    ck_assert_int_eq(
        mm_grpc_gunzip((struct mm_bytes){peer.request.data + 5, peer.request.len - 5}, &text),
        MM_OK);
    ck_assert_uint_eq(text.len, 10000);
    mm_buf_reset(&peer.request);
    /* Too short to gain. */
    ck_assert_int_eq(mm_stream_send(stream, &(struct mm_bytes){zeros, 2}, true), MM_OK);
    pump();
    ck_assert_uint_eq(peer.request.len, 7);
    ck_assert_uint_eq(peer.request.data[0], 0);
    mm_stream_free(stream);
    /* Not announced. */
    stream = make(&plain);
    begin(stream);
    mm_buf_reset(&peer.request);
    ck_assert_int_eq(mm_stream_send(stream, &(struct mm_bytes){zeros, 10000}, true), MM_OK);
    pump();
    ck_assert_uint_eq(peer.request.len, 10005);
    mm_stream_free(stream);
}
END_TEST

START_TEST(metadata_goes_and_comes)
{
    static const struct mm_field sent[] = {{"x-text", {(const uint8_t *)"a value", 7}},
                                           {"x-bytes-bin", {(const uint8_t *)"\x00\xff", 2}}};
    const nghttp2_nv headers[] = {nv(":status", "200"), nv("content-type", "application/grpc"),
                                  nv("x-first", "1"), nv("x-first", "2"), nv("x-b-bin", "AP8")};
    const nghttp2_nv trailers[] = {nv("grpc-status", "0"), nv("x-last", "3")};
    struct mm_stream_options options = plain;
    struct mm_stream *stream;
    struct mm_bytes value;

    options.metadata = sent;
    options.n_metadata = 2;
    stream = make(&options);
    begin(stream);
    pump();
    ck_assert_str_eq(peer.text_seen, "a value");
    ck_assert_str_eq(peer.bytes_seen, "AP8");
    ck_assert_int_eq(nghttp2_submit_headers(peer.http2, 0, peer.last_id, NULL, headers, 5, NULL),
                     0);
    pump();
    ck_assert_int_eq(nghttp2_submit_headers(peer.http2, NGHTTP2_FLAG_END_STREAM, peer.last_id, NULL,
                                            trailers, 2, NULL),
                     0);
    pump();
    ck_assert(mm_fields_find(mm_stream_headers(stream), "x-first", &value));
    ck_assert_uint_eq(value.len, 1);
    ck_assert_int_eq(value.data[0], '1');
    ck_assert(mm_fields_find(mm_stream_headers(stream), "x-b-bin", &value));
    ck_assert_uint_eq(value.len, 3);
    ck_assert(!mm_fields_find(mm_stream_headers(stream), "content-type", &value));
    ck_assert(!mm_fields_find(mm_stream_headers(stream), "x-last", &value));
    ck_assert(mm_fields_find(mm_stream_trailers(stream), "x-last", &value));
    ck_assert(!mm_fields_find(mm_stream_trailers(stream), "grpc-status", &value));
    expect_end(stream, MINTMARK_OK);
}
END_TEST

START_TEST(metadata_that_is_not_allowed_is_refused)
{
    static char big[MM_HEADER_LIST_MAX];
    static const struct {
        const char *name, *value;
        int status;
    } cases[] = {
        {"", "x", MINTMARK_INVALID_ARGUMENT},
        {"Upper", "x", MINTMARK_INVALID_ARGUMENT},
        {":path", "x", MINTMARK_INVALID_ARGUMENT},
        {"grpc-status", "0", MINTMARK_INVALID_ARGUMENT},
        {"with space", "x", MINTMARK_INVALID_ARGUMENT},
        {"x-line", "a\nb", MINTMARK_INVALID_ARGUMENT},
        {"x-utf8", "\xc3\xa4", MINTMARK_INVALID_ARGUMENT},
        {"x-big", big, MINTMARK_RESOURCE_EXHAUSTED},
        {"x-big-bin", big, MINTMARK_RESOURCE_EXHAUSTED},
    };

    memset(big, 'x', sizeof(big) - 1);
    for (size_t i = 0; i < MM_ARRAY_SIZE(cases); i++) {
        const struct mm_field metadata = {
            cases[i].name, {(const uint8_t *)cases[i].value, strlen(cases[i].value)}};
        struct mm_stream_options options = plain;
        struct mm_stream *stream = NULL;
        int r;

        options.metadata = &metadata;
        options.n_metadata = 1;
        r = mm_stream_new(&options, &stream, NULL);
        ck_assert_msg(r == -cases[i].status, "case %zu: %d", i, r);
        ck_assert_ptr_null(stream);
    }
}
END_TEST

START_TEST(metadata_over_the_servers_limit_is_refused_before_it_is_sent)
{
    static const nghttp2_settings_entry few = {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, 400};
    struct mintmark_error error;
    struct mm_stream *stream = make(&plain);

    ck_assert_int_eq(nghttp2_submit_settings(peer.http2, 0, &few, 1), 0);
    pump();
    ck_assert_int_eq(mm_stream_start(stream, session, INT64_MAX, &error),
                     -MINTMARK_RESOURCE_EXHAUSTED);
    ck_assert_str_eq(error.reason, "METADATA_TOO_BIG");
    ck_assert(mm_session_usable(session));
    mm_stream_free(stream);
}
END_TEST

START_TEST(response_over_the_calls_own_limit_is_refused)
{
    struct mm_stream_options options = plain;
    struct mm_stream *stream;

    options.receive_max = 100;
    stream = make(&options);
    begin(stream);
    pump();
    add_message(100, 'a');
    add_message(101, 'b');
    peer.status = "0";
    answer("200", "application/grpc");
    pump();
    expect_message(stream, 100, 'a');
    expect_end(stream, MINTMARK_RESOURCE_EXHAUSTED);
}
END_TEST

START_TEST(single_response_that_is_missing_or_not_alone_is_an_error)
{
    for (unsigned n = 0; n < 4; n++) {
        struct mm_stream_options options = plain;
        struct mm_stream *stream;

        options.single = true;
        stream = make(&options);
        begin(stream);
        pump();
        for (unsigned i = 0; i < n; i++)
            add_message(1, 'a');
        peer.status = "0";
        answer("200", "application/grpc");
        pump();
        if (n > 0)
            expect_message(stream, 1, 'a');
        expect_end(stream, n == 1 ? MINTMARK_OK : MINTMARK_UNIMPLEMENTED);
        pump();
    }
}
END_TEST

START_TEST(status_is_there_in_full)
{
    const nghttp2_nv trailers[] = {nv(":status", "200"), nv("content-type", "application/grpc"),
                                   nv("grpc-status", "2"), nv("grpc-message", "%09a%0A"),
                                   nv("grpc-status-details-bin", "CAI")};
    struct mm_stream *stream = start(INT64_MAX);

    pump();
    ck_assert_int_eq(nghttp2_submit_response(peer.http2, peer.last_id, trailers, 5, NULL), 0);
    pump();
    ck_assert_uint_eq(mm_stream_status_text(stream).len, 3);
    ck_assert_mem_eq(mm_stream_status_text(stream).data, "\ta\n", 3);
    ck_assert_uint_eq(mm_stream_status_details(stream).len, 2);
    expect_end(stream, MINTMARK_UNKNOWN);
}
END_TEST

START_TEST(cancel_drops_what_was_not_read)
{
    struct mintmark_error why;
    struct mm_stream *stream = start(INT64_MAX);

    pump();
    add_message(3, 'a');
    peer.hold = true;
    answer("200", "application/grpc");
    pump();
    mm_client_fail(&why, MINTMARK_CANCELLED, "CANCELLED", "enough");
    mm_stream_cancel(stream, &why);
    ck_assert(mm_stream_ended(stream));
    ck_assert_int_eq(say(stream, "late"), MM_ERR_EOF);
    expect_end(stream, MINTMARK_CANCELLED);
    pump();
    ck_assert_uint_ge(peer.resets, 1);
    ck_assert_uint_eq(peer.reset_code, NGHTTP2_CANCEL);
}
END_TEST

START_TEST(refused_stream_starts_anew_elsewhere)
{
    struct mm_stream *stream = make(&plain);

    ck_assert_int_eq(say(stream, "one"), MM_OK);
    begin(stream);
    ck_assert_int_eq(say(stream, "two"), MM_OK);
    pump();
    ck_assert_int_eq(nghttp2_submit_rst_stream(peer.http2, 0, peer.last_id, NGHTTP2_REFUSED_STREAM),
                     0);
    pump();
    ck_assert(mm_stream_ended(stream));
    ck_assert(mm_stream_restartable(stream));
    mm_stream_rewind(stream);
    reconnect();
    ck_assert_int_eq(say(stream, "three"), MM_OK);
    begin(stream);
    mm_stream_half_close(stream);
    pump();
    expect_requests((const char *const[]){"one", "two", "three"}, 3);
    ck_assert(peer.request_ended);
    add_message(1, 'x');
    peer.status = "0";
    answer("200", "application/grpc");
    pump();
    expect_message(stream, 1, 'x');
    expect_end(stream, MINTMARK_OK);
}
END_TEST

START_TEST(goaway_in_two_steps_leaves_the_served_and_frees_the_rest)
{
    struct mm_stream *served = start(INT64_MAX), *late;

    pump();
    late = start(INT64_MAX);
    ck_assert_int_eq(nghttp2_submit_shutdown_notice(peer.http2), 0);
    server_to_client();
    ck_assert(!mm_session_usable(session));
    expect_nothing(served);
    expect_nothing(late);
    ck_assert_int_eq(nghttp2_submit_goaway(peer.http2, 0, 1, NGHTTP2_NO_ERROR, NULL, 0), 0);
    pump();
    expect_nothing(served);
    ck_assert(mm_stream_ended(late));
    ck_assert(mm_stream_restartable(late));
    mm_stream_free(late);
    peer.last_id = 1;
    add_message(1, 'x');
    peer.status = "0";
    answer("200", "application/grpc");
    pump();
    expect_message(served, 1, 'x');
    expect_end(served, MINTMARK_OK);
}
END_TEST

START_TEST(calls_that_were_acted_on_do_not_start_anew)
{
    struct mintmark_error lost;
    struct mm_stream *stream = start(INT64_MAX);

    pump();
    mm_client_fail(&lost, MINTMARK_UNAVAILABLE, "CONNECTION_LOST", "lost");
    mm_session_lost(session, &lost);
    ck_assert(mm_stream_ended(stream));
    ck_assert(!mm_stream_restartable(stream));
    mm_stream_free(stream);
    /* Never sent: it may. */
    reconnect();
    stream = start(INT64_MAX);
    mm_session_lost(session, &lost);
    ck_assert(mm_stream_restartable(stream));
    mm_stream_free(stream);
}
END_TEST

START_TEST(streams_over_the_servers_number_wait)
{
    static const nghttp2_settings_entry one = {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 1};
    struct mm_stream *first, *second;

    ck_assert_int_eq(nghttp2_submit_settings(peer.http2, 0, &one, 1), 0);
    pump();
    first = start(INT64_MAX);
    second = start(INT64_MAX);
    pump();
    ck_assert_int_eq(peer.last_id, 1);
    mm_stream_free(first);
    pump();
    ck_assert_int_eq(peer.last_id, 3);
    mm_stream_free(second);
}
END_TEST

START_TEST(pings_are_answered_and_refusals_noted)
{
    struct mm_stream *stream = start(INT64_MAX);

    ck_assert(!mm_session_greeted(session));
    pump();
    ck_assert(mm_session_greeted(session));
    ck_assert(mm_session_busy(session));
    mm_session_ping(session);
    ck_assert(mm_session_pinging(session));
    pump();
    ck_assert(!mm_session_pinging(session));
    ck_assert_int_eq(nghttp2_submit_goaway(peer.http2, 0, 1, NGHTTP2_ENHANCE_YOUR_CALM,
                                           (const uint8_t *)"too_many_pings", 14),
                     0);
    pump();
    ck_assert(mm_session_pings_refused(session));
    ck_assert(!mm_session_usable(session));
    mm_stream_free(stream);
    ck_assert(!mm_session_busy(session));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client_stream");
    TCase *tcase = tcase_create("stream");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, requests_leave_as_they_are_sent);
    tcase_add_test(tcase, half_close_alone_ends_the_request);
    tcase_add_test(tcase, responses_come_between_requests);
    tcase_add_test(tcase, requests_wait_for_a_server_that_does_not_read);
    tcase_add_test(tcase, requests_of_any_total_size_leave);
    tcase_add_test(tcase, requests_are_compressed_where_that_was_announced_and_helps);
    tcase_add_test(tcase, metadata_goes_and_comes);
    tcase_add_test(tcase, metadata_that_is_not_allowed_is_refused);
    tcase_add_test(tcase, metadata_over_the_servers_limit_is_refused_before_it_is_sent);
    tcase_add_test(tcase, response_over_the_calls_own_limit_is_refused);
    tcase_add_test(tcase, single_response_that_is_missing_or_not_alone_is_an_error);
    tcase_add_test(tcase, status_is_there_in_full);
    tcase_add_test(tcase, cancel_drops_what_was_not_read);
    tcase_add_test(tcase, refused_stream_starts_anew_elsewhere);
    tcase_add_test(tcase, goaway_in_two_steps_leaves_the_served_and_frees_the_rest);
    tcase_add_test(tcase, calls_that_were_acted_on_do_not_start_anew);
    tcase_add_test(tcase, streams_over_the_servers_number_wait);
    tcase_add_test(tcase, pings_are_answered_and_refusals_noted);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
