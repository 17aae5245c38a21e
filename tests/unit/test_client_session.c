/* SPDX-License-Identifier: Apache-2.0 */
/* The client's session against well-behaved, broken and hostile servers. */
#include "proto/grpc/gzip.h"
#include "tests/unit/client_peer.h"

START_TEST(request_carries_path_timeout_and_message)
{
    struct mm_stream *stream = start(1500000);

    pump();
    ck_assert_str_eq(peer.path, "/test.Service/Method");
    ck_assert_str_eq(peer.timeout, "1500000u");
    ck_assert_uint_eq(peer.request.len, 10);
    ck_assert_mem_eq(peer.request.data, "\0\0\0\0\5hello", 10);
    ck_assert(peer.request_ended);
    expect_nothing(stream);
    mm_stream_free(stream);
    pump();
    ck_assert_uint_eq(peer.resets, 1);
    ck_assert_uint_eq(peer.reset_code, NGHTTP2_CANCEL);
}
END_TEST

START_TEST(request_without_timeout_says_none)
{
    struct mm_stream *stream = start(INT64_MAX);

    pump();
    ck_assert_str_eq(peer.timeout, "");
    mm_stream_free(stream);
}
END_TEST

START_TEST(request_freed_before_sending_is_never_sent)
{
    mm_stream_free(start(INT64_MAX));
    pump();
    ck_assert_uint_eq(peer.request.len, 0);
}
END_TEST

START_TEST(response_messages_come_in_order_then_the_end)
{
    struct mm_stream *stream = start(INT64_MAX);

    pump();
    add_message(3, 'a');
    add_message(0, 0);
    add_message(5, 'b');
    peer.status = "0";
    answer("200", "application/grpc");
    pump();
    expect_message(stream, 3, 'a');
    expect_message(stream, 0, 0);
    expect_message(stream, 5, 'b');
    expect_end(stream, MINTMARK_OK);
    pump();
    ck_assert_uint_eq(peer.resets, 0);
}
END_TEST

START_TEST(response_larger_than_the_window_opens_it_only_when_read)
{
    const size_t big = 3 * 1024 * 1024, window = 1024 * 1024;
    struct mm_stream *stream = start(INT64_MAX);

    pump();
    add_message(big, 'x');
    add_message(big, 'y');
    peer.status = "0";
    answer("200", "application/grpc");
    pump();
    /* Nobody has asked: a window's worth came, and no more. */
    ck_assert_uint_le(peer.body_at, window);
    await_message(stream, big);
    /* The second message waits for its reader. */
    ck_assert_uint_le(peer.body_at, big + 2 * window);
    await_message(stream, big);
    expect_end(stream, MINTMARK_OK);
}
END_TEST

START_TEST(response_over_the_message_limit_is_refused_by_its_prefix)
{
    struct mm_stream *stream = start(INT64_MAX);

    pump();
    mm_buf_append_u8(&peer.body, 0);
    mm_buf_append_be32(&peer.body, MM_GRPC_MESSAGE_MAX + 1);
    peer.hold = true;
    answer("200", "application/grpc");
    pump();
    expect_end(stream, MINTMARK_RESOURCE_EXHAUSTED);
    pump();
    ck_assert_uint_ge(peer.resets, 1);
}
END_TEST

/* A response of one compressed message of so many zeros. */
static void add_gzip(size_t size)
{
    MM_BUF_CLEANUP struct mm_buf zeros = MM_BUF_INIT(size), packed = MM_BUF_INIT(size);
    uint8_t *to = mm_buf_reserve(&zeros, size);

    memset(to, 0, size);
    ck_assert_int_eq(mm_grpc_gzip((struct mm_bytes){to, size}, &packed), MM_OK);
    mm_buf_append_u8(&peer.body, 1);
    mm_buf_append_be32(&peer.body, (uint32_t)packed.len);
    mm_buf_append(&peer.body, packed.data, packed.len);
}

START_TEST(response_in_gzip_is_taken_among_plain_ones)
{
    struct mm_stream *stream = start(INT64_MAX);

    pump();
    add_gzip(100000);
    add_message(3, 'a');
    add_gzip(5000);
    peer.status = "0";
    peer.coding = "gzip";
    answer("200", "application/grpc");
    pump();
    expect_message(stream, 100000, 0);
    expect_message(stream, 3, 'a');
    expect_message(stream, 5000, 0);
    expect_end(stream, MINTMARK_OK);
}
END_TEST

START_TEST(response_in_gzip_over_the_limit_fails)
{
    struct mm_stream *stream = start(INT64_MAX);

    pump();
    add_gzip(MM_GRPC_MESSAGE_MAX + 1);
    ck_assert_uint_lt(peer.body.len, 10000);
    peer.status = "0";
    peer.coding = "gzip";
    answer("200", "application/grpc");
    pump();
    expect_end(stream, MINTMARK_RESOURCE_EXHAUSTED);
}
END_TEST

START_TEST(response_that_says_gzip_and_is_none_fails)
{
    struct mm_stream *stream = start(INT64_MAX);

    pump();
    mm_buf_append(&peer.body, "\1\0\0\0\1z", 6);
    peer.status = "0";
    peer.coding = "gzip";
    answer("200", "application/grpc");
    pump();
    expect_end(stream, MINTMARK_INTERNAL);
}
END_TEST

START_TEST(response_in_a_coding_that_was_not_offered_fails)
{
    struct mm_stream *stream = start(INT64_MAX);

    pump();
    add_message(3, 'a');
    peer.status = "0";
    peer.coding = "deflate";
    answer("200", "application/grpc");
    pump();
    expect_end(stream, MINTMARK_INTERNAL);
}
END_TEST

START_TEST(response_compressed_without_a_coding_fails)
{
    struct mm_stream *stream = start(INT64_MAX);

    pump();
    mm_buf_append(&peer.body, "\1\0\0\0\1z", 6);
    peer.status = "0";
    answer("200", "application/grpc");
    pump();
    expect_end(stream, MINTMARK_INTERNAL);
}
END_TEST

START_TEST(response_cut_inside_a_message_fails)
{
    struct mm_stream *stream = start(INT64_MAX);

    pump();
    mm_buf_append(&peer.body, "\0\0\0\0\5abc", 8);
    peer.status = "0";
    answer("200", "application/grpc");
    pump();
    expect_end(stream, MINTMARK_INTERNAL);
}
END_TEST

START_TEST(response_without_trailers_fails)
{
    struct mm_stream *stream = start(INT64_MAX);

    pump();
    add_message(3, 'a');
    answer("200", "application/grpc");
    pump();
    expect_message(stream, 3, 'a');
    expect_end(stream, MINTMARK_INTERNAL);
}
END_TEST

START_TEST(response_status_follows_http_when_grpc_says_nothing)
{
    struct mm_stream *stream = start(INT64_MAX);

    pump();
    mm_buf_append_str(&peer.body, "<html>");
    answer("503", "text/html");
    pump();
    expect_end(stream, MINTMARK_UNAVAILABLE);
    stream = start(INT64_MAX);
    pump();
    peer.body_at = 0;
    answer("200", "text/html");
    pump();
    expect_end(stream, MINTMARK_UNKNOWN);
}
END_TEST

START_TEST(trailers_only_gives_status_message_and_details)
{
    /* google.rpc.Status{8, "", [ErrorInfo{QUOTA_EXHAUSTED, mintmark}, RetryInfo{1.5 s}]} */
    static const char details[] =
        "CAgaSQoodHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLkVycm9ySW5mbxIdCg9RVU9UQV9FWEhBVVNURUQS"
        "Cm1pbnRtYXJrLTEaNgoodHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLlJldHJ5SW5mbxIKCggIARCAyrXu"
        "AQ";
    const nghttp2_nv fields[] = {
        nv(":status", "200"),
        nv("content-type", "application/grpc"),
        nv("grpc-status", "8"),
        nv("grpc-message", "the order%20is used up%1B[2J"),
        nv("grpc-status-details-bin", details),
    };
    struct mm_stream *stream = start(INT64_MAX);
    struct mm_stream_end end;

    pump();
    ck_assert_int_eq(nghttp2_submit_response(peer.http2, peer.last_id, fields, 5, NULL), 0);
    pump();
    end = expect_end(stream, MINTMARK_RESOURCE_EXHAUSTED);
    ck_assert_str_eq(end.error.message, "the order is used up?[2J");
    ck_assert_str_eq(end.error.reason, "QUOTA_EXHAUSTED");
    ck_assert_uint_eq(end.error.retry_ms, 1500);
    ck_assert(!end.unprocessed);
}
END_TEST

START_TEST(interim_headers_are_passed_over)
{
    const nghttp2_nv interim[] = {nv(":status", "103"), nv("link", "</x>")};
    struct mm_stream *stream = start(INT64_MAX);

    pump();
    ck_assert_int_eq(nghttp2_submit_headers(peer.http2, 0, peer.last_id, NULL, interim, 2, NULL),
                     0);
    add_message(1, 'a');
    peer.status = "0";
    answer("200", "application/grpc");
    pump();
    expect_message(stream, 1, 'a');
    expect_end(stream, MINTMARK_OK);
}
END_TEST

START_TEST(headers_over_the_limit_end_the_call)
{
    static char big[8000];
    struct mm_stream *stream = start(INT64_MAX);

    memset(big, 'x', sizeof(big) - 1);
    const nghttp2_nv fields[] = {nv(":status", "200"), nv("content-type", "application/grpc"),
                                 nv("x-one", big), nv("x-two", big), nv("x-three", big)};
    pump();
    ck_assert_int_eq(nghttp2_submit_response(peer.http2, peer.last_id, fields, 5, NULL), 0);
    pump();
    expect_end(stream, MINTMARK_RESOURCE_EXHAUSTED);
}
END_TEST

START_TEST(refused_stream_was_not_processed)
{
    struct mm_stream *stream = start(INT64_MAX);

    pump();
    nghttp2_submit_rst_stream(peer.http2, 0, peer.last_id, NGHTTP2_REFUSED_STREAM);
    pump();
    ck_assert(expect_end(stream, MINTMARK_UNAVAILABLE).unprocessed);
}
END_TEST

START_TEST(reset_stream_may_have_been_processed)
{
    struct mm_stream *stream = start(INT64_MAX);

    pump();
    nghttp2_submit_rst_stream(peer.http2, 0, peer.last_id, NGHTTP2_INTERNAL_ERROR);
    pump();
    ck_assert(!expect_end(stream, MINTMARK_INTERNAL).unprocessed);
}
END_TEST

START_TEST(goaway_ends_what_is_above_its_last_stream_only)
{
    struct mm_stream *first = start(INT64_MAX), *second;

    pump();
    second = start(INT64_MAX);
    pump();
    nghttp2_submit_goaway(peer.http2, 0, 1, NGHTTP2_NO_ERROR, NULL, 0);
    pump();
    ck_assert(!mm_session_usable(session));
    ck_assert(expect_end(second, MINTMARK_UNAVAILABLE).unprocessed);
    add_message(1, 'a');
    peer.status = "0";
    peer.last_id = 1;
    answer("200", "application/grpc");
    pump();
    expect_message(first, 1, 'a');
    expect_end(first, MINTMARK_OK);
}
END_TEST

START_TEST(call_after_goaway_is_not_sent)
{
    struct mm_stream *stream;

    pump();
    nghttp2_submit_goaway(peer.http2, 0, 0, NGHTTP2_NO_ERROR, NULL, 0);
    pump();
    stream = start(INT64_MAX);
    pump();
    ck_assert(expect_end(stream, MINTMARK_UNAVAILABLE).unprocessed);
}
END_TEST

START_TEST(lost_connection_tells_sent_from_unsent)
{
    struct mm_stream *sent = start(INT64_MAX), *unsent;
    struct mintmark_error why;

    pump();
    unsent = start(INT64_MAX);
    mm_client_fail(&why, MINTMARK_UNAVAILABLE, "CONNECTION_LOST", "gone");
    mm_session_lost(session, &why);
    ck_assert(!expect_end(sent, MINTMARK_UNAVAILABLE).unprocessed);
    ck_assert(expect_end(unsent, MINTMARK_UNAVAILABLE).unprocessed);
}
END_TEST

START_TEST(messages_before_the_loss_can_still_be_read)
{
    struct mm_stream *stream = start(INT64_MAX);
    struct mintmark_error why;

    pump();
    add_message(2, 'a');
    add_message(2, 'b');
    peer.hold = true;
    answer("200", "application/grpc");
    pump();
    mm_client_fail(&why, MINTMARK_UNAVAILABLE, "CONNECTION_LOST", "gone");
    mm_session_lost(session, &why);
    expect_message(stream, 2, 'a');
    expect_message(stream, 2, 'b');
    expect_end(stream, MINTMARK_UNAVAILABLE);
}
END_TEST

START_TEST(calls_run_side_by_side)
{
    struct mm_stream *one = start(INT64_MAX), *two = start(INT64_MAX);
    const nghttp2_nv ok[] = {nv(":status", "200"), nv("content-type", "application/grpc"),
                             nv("grpc-status", "0")};

    pump();
    ck_assert_int_eq(nghttp2_submit_response(peer.http2, 3, ok, 3, NULL), 0);
    pump();
    expect_nothing(one);
    expect_end(two, MINTMARK_OK);
    ck_assert_int_eq(nghttp2_submit_response(peer.http2, 1, ok, 3, NULL), 0);
    pump();
    expect_end(one, MINTMARK_OK);
}
END_TEST

START_TEST(answer_before_the_request_is_read_stops_the_request)
{
    const size_t len = 3 * 1024 * 1024; /* more than the server's window of 64 KiB */
    const nghttp2_nv ok[] = {nv(":status", "200"), nv("content-type", "application/grpc"),
                             nv("grpc-status", "3")};
    MM_FREE uint8_t *big = calloc(1, len);
    struct mm_stream *stream = make(&(struct mm_stream_options){.path = "/x/Y"});

    ck_assert_ptr_nonnull(big);
    ck_assert_int_eq(mm_stream_send(stream, &(struct mm_bytes){big, len}, false), MM_OK);
    ck_assert_int_eq(mm_stream_start(stream, session, INT64_MAX, NULL), 0);
    client_to_server();
    ck_assert(!peer.request_ended);
    ck_assert_int_eq(nghttp2_submit_response(peer.http2, peer.last_id, ok, 3, NULL), 0);
    server_to_client();
    expect_end(stream, MINTMARK_INVALID_ARGUMENT);
    pump();
    ck_assert_uint_eq(peer.resets, 1);
    ck_assert_uint_eq(peer.reset_code, NGHTTP2_NO_ERROR);
}
END_TEST

START_TEST(windows_return_after_many_cancelled_calls)
{
    for (int i = 0; i < 20; i++) {
        struct mm_stream *stream = start(INT64_MAX);

        pump();
        mm_buf_reset(&peer.body);
        peer.body_at = 0;
        peer.hold = true;
        add_message(900 * 1024, 'x');
        answer("200", "application/grpc");
        pump();
        mm_stream_free(stream);
        pump();
    }
    /* 18 MB went by; the connection's window of 4 MiB must not have been used up. */
    ck_assert_int_ge(nghttp2_session_get_remote_window_size(peer.http2), 1024 * 1024);
}
END_TEST

START_TEST(garbage_from_the_server_ends_the_connection_with_a_goaway)
{
    static const uint8_t data_on_stream_0[] = {0, 0, 1, 0, 0, 0, 0, 0, 0, 'x'};
    MM_BUF_CLEANUP struct mm_buf out = MM_BUF_INIT(1024 * 1024);
    struct mm_stream *stream = start(INT64_MAX);
    struct mintmark_error error;

    pump();
    ck_assert_int_eq(
        mm_session_receive(session, data_on_stream_0, sizeof(data_on_stream_0), &error), 0);
    ck_assert_int_eq(mm_session_send(session, &out, &error), 0);
    ck_assert_int_eq(nghttp2_session_mem_recv(peer.http2, out.data, out.len), (ssize_t)out.len);
    ck_assert(peer.goaway);
    ck_assert_uint_eq(peer.goaway_code, NGHTTP2_PROTOCOL_ERROR);
    mm_buf_reset(&out);
    ck_assert_int_eq(mm_session_send(session, &out, &error), -MINTMARK_INTERNAL);
    mm_session_lost(session, &error);
    expect_end(stream, MINTMARK_INTERNAL);
}
END_TEST

START_TEST(ping_flood_ends_the_connection)
{
    static const uint8_t ping[17] = {0, 0, 8, 6};
    struct mintmark_error error;
    int r = 0;

    pump();
    for (int i = 0; i < 1000 && r == 0; i++)
        r = mm_session_receive(session, ping, sizeof(ping), &error);
    ck_assert_int_eq(r, -MINTMARK_INTERNAL);
}
END_TEST

START_TEST(request_over_the_message_limit_is_refused)
{
    MM_FREE uint8_t *big = calloc(1, MM_GRPC_MESSAGE_MAX + 1);
    struct mm_stream *stream = make(&(struct mm_stream_options){.path = "/x/Y"});

    ck_assert_ptr_nonnull(big);
    ck_assert_int_eq(
        mm_stream_send(stream, &(struct mm_bytes){big, MM_GRPC_MESSAGE_MAX + 1}, false),
        MM_ERR_TOO_BIG);
    mm_stream_free(stream);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client_session");
    TCase *tcase = tcase_create("session");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, request_carries_path_timeout_and_message);
    tcase_add_test(tcase, request_without_timeout_says_none);
    tcase_add_test(tcase, request_freed_before_sending_is_never_sent);
    tcase_add_test(tcase, response_messages_come_in_order_then_the_end);
    tcase_add_test(tcase, response_larger_than_the_window_opens_it_only_when_read);
    tcase_add_test(tcase, response_over_the_message_limit_is_refused_by_its_prefix);
    tcase_add_test(tcase, response_compressed_without_a_coding_fails);
    tcase_add_test(tcase, response_in_gzip_is_taken_among_plain_ones);
    tcase_add_test(tcase, response_in_gzip_over_the_limit_fails);
    tcase_add_test(tcase, response_that_says_gzip_and_is_none_fails);
    tcase_add_test(tcase, response_in_a_coding_that_was_not_offered_fails);
    tcase_add_test(tcase, response_cut_inside_a_message_fails);
    tcase_add_test(tcase, response_without_trailers_fails);
    tcase_add_test(tcase, response_status_follows_http_when_grpc_says_nothing);
    tcase_add_test(tcase, trailers_only_gives_status_message_and_details);
    tcase_add_test(tcase, interim_headers_are_passed_over);
    tcase_add_test(tcase, headers_over_the_limit_end_the_call);
    tcase_add_test(tcase, refused_stream_was_not_processed);
    tcase_add_test(tcase, reset_stream_may_have_been_processed);
    tcase_add_test(tcase, goaway_ends_what_is_above_its_last_stream_only);
    tcase_add_test(tcase, call_after_goaway_is_not_sent);
    tcase_add_test(tcase, lost_connection_tells_sent_from_unsent);
    tcase_add_test(tcase, messages_before_the_loss_can_still_be_read);
    tcase_add_test(tcase, calls_run_side_by_side);
    tcase_add_test(tcase, answer_before_the_request_is_read_stops_the_request);
    tcase_add_test(tcase, windows_return_after_many_cancelled_calls);
    tcase_add_test(tcase, garbage_from_the_server_ends_the_connection_with_a_goaway);
    tcase_add_test(tcase, ping_flood_ends_the_connection);
    tcase_add_test(tcase, request_over_the_message_limit_is_refused);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
