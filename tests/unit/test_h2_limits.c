/* SPDX-License-Identifier: Apache-2.0 */
/* What a client may take its time with, and what is counted of those that go too far. */
#include "tests/unit/h2_peer.h"

enum { REQUEST_MS = 60000 };

static void setup(void)
{
    start();
    core->request_timeout_ms = REQUEST_MS;
}

/* The rest of the request, as the client sends it in the end. */
static void send_rest(int32_t id, const char *bytes, size_t len, bool end)
{
    mm_buf_append(&peer.request, bytes, len);
    peer.keep_open = !end;
    nghttp2_session_resume_data(peer.http2, id);
    pump();
}

/* Nothing but the first bytes of the one message, or none of them. */
static int32_t begin(const char *path, size_t bytes)
{
    int32_t id;

    peer.keep_open = true;
    id = call(path, "hello", NULL);
    peer.request.len = bytes;
    pump();
    return id;
}

static void let_pass_ms(int64_t ms)
{
    pass_ms(ms);
    pump();
}

START_TEST(request_that_does_not_come_is_too_slow)
{
    static const size_t bytes[] = {0, 1, 5, 11}; /* of 12 */

    begin("/t/Echo", bytes[_i]);
    let_pass_ms(REQUEST_MS - 1);
    ck_assert_str_eq(peer.status, "");
    ck_assert_uint_eq(core->stats.limits[MM_LIMIT_REQUEST_TIME], 0);
    let_pass_ms(1);
    ck_assert_str_eq(peer.status, "4");
    ck_assert_str_eq(peer.message, "the request did not come in time");
    ck_assert_uint_eq(core->stats.limits[MM_LIMIT_REQUEST_TIME], 1);
    ck_assert_uint_eq(core->receiving, 0);
    ck_assert(!mm_h2_is_over(h2));
}
END_TEST

START_TEST(message_without_its_half_close_is_too_slow_and_one_with_it_is_not)
{
    const int32_t id = begin("/t/Hold", 12);

    let_pass_ms(REQUEST_MS - 1);
    send_rest(id, "", 0, true);
    ck_assert_uint_eq(seen.messages, 1);
    let_pass_ms(10 * REQUEST_MS);
    ck_assert_ptr_nonnull(seen.held); /* the service takes its time as it likes */
    ck_assert_uint_eq(core->stats.limits[MM_LIMIT_REQUEST_TIME], 0);
}
END_TEST

START_TEST(stream_may_be_silent_between_messages_but_not_inside_one)
{
    const int32_t id = begin("/t/Chat", 0);

    let_pass_ms(3 * REQUEST_MS);
    send_rest(id, "\0\0\0\0\0\0\0", 7, false); /* a whole message, and two bytes of the next */
    ck_assert_uint_eq(seen.messages, 1);
    let_pass_ms(REQUEST_MS - 1);
    send_rest(id, "\0\0\0\0\0\0", 6, false); /* its end, and the beginning of one more */
    ck_assert_uint_eq(seen.messages, 2);
    let_pass_ms(REQUEST_MS - 1);
    send_rest(id, "\0", 1, false);
    ck_assert_str_eq(peer.status, "");
    let_pass_ms(1);
    ck_assert_str_eq(peer.status, "4");
    ck_assert_uint_eq(seen.cancels, 1);
    ck_assert_uint_eq(core->stats.limits[MM_LIMIT_REQUEST_TIME], 1);
}
END_TEST

START_TEST(message_that_we_do_not_take_is_not_late)
{
    Grpc__Health__V1__HealthCheckRequest message;
    static char text[10001];
    int32_t id;

    nghttp2_session_del(peer.http2);
    make_client(false);
    stop_server();
    ck_assert(start_server());
    core->request_timeout_ms = REQUEST_MS;
    id = begin("/t/Chat", 0);
    send_rest(id, "\0\0", 2, false);
    memset(text, 'x', sizeof(text) - 1);
    grpc__health__v1__health_check_request__init(&message);
    message.service = text;
    while (mm_call_send(seen.held, &message.base) == MM_OK)
        pump();
    ck_assert_uint_eq(core->stats.waits, 1);
    let_pass_ms(2 * REQUEST_MS);
    ck_assert_ptr_nonnull(seen.held);
    nghttp2_submit_window_update(peer.http2, NGHTTP2_FLAG_NONE, 0, 1 << 20);
    nghttp2_submit_window_update(peer.http2, NGHTTP2_FLAG_NONE, id, 1 << 20);
    pump();
    let_pass_ms(REQUEST_MS);
    ck_assert_ptr_null(seen.held);
    ck_assert_uint_eq(core->stats.limits[MM_LIMIT_REQUEST_TIME], 1);
}
END_TEST

START_TEST(message_of_a_call_that_is_paused_is_not_late)
{
    const int32_t id = begin("/t/Chat", 0);

    send_rest(id, "\0\0", 2, false);
    mm_call_pause(seen.held);
    let_pass_ms(2 * REQUEST_MS);
    ck_assert_ptr_nonnull(seen.held);
    mm_call_resume(seen.held);
    mm_h2_run_writable(h2);
    let_pass_ms(REQUEST_MS);
    ck_assert_ptr_null(seen.held);
    ck_assert_uint_eq(core->stats.limits[MM_LIMIT_REQUEST_TIME], 1);
}
END_TEST

START_TEST(request_timeout_of_zero_lets_requests_take_any_time)
{
    core->request_timeout_ms = 0;
    begin("/t/Echo", 5);
    let_pass_ms(100 * REQUEST_MS);
    ck_assert_str_eq(peer.status, "");
    ck_assert_uint_eq(core->stats.limits[MM_LIMIT_REQUEST_TIME], 0);
}
END_TEST

START_TEST(headers_that_do_not_end_send_the_client_away)
{
    static const uint8_t headers[] = {0, 0, 1, 1, 0, 0, 0, 0, 1, 0x83}; /* no END_HEADERS */

    ck_assert_int_eq(mm_h2_recv(h2, headers, sizeof(headers)), MM_OK);
    let_pass_ms(REQUEST_MS - 1);
    ck_assert(!mm_h2_is_over(h2));
    let_pass_ms(1);
    ck_assert(mm_h2_is_over(h2));
    ck_assert_str_eq(peer.goaway_why, "slow_headers");
    ck_assert_uint_eq(peer.goaway_code, NGHTTP2_ENHANCE_YOUR_CALM);
    ck_assert_uint_eq(core->stats.limits[MM_LIMIT_REQUEST_TIME], 1);
}
END_TEST

START_TEST(messages_that_cannot_be_unpacked_are_counted)
{
    static const struct {
        char bytes[16];
        size_t len;
        const char *status;
        enum mm_limit limit;
    } bad[] = {{"\x0a\2\xc3\x28", 4, "3", MM_LIMIT_STRINGS},
               {"\x0a\3a\0b", 5, "3", MM_LIMIT_STRINGS},
               {"\x0a\x7f", 2, "13", MM_LIMITS}};
    uint8_t prefix[MM_GRPC_PREFIX_LEN];
    const int32_t id = begin("/t/Echo", 0);

    mm_grpc_prefix(false, (uint32_t)bad[_i].len, prefix);
    send_rest(id, (const char *)prefix, sizeof(prefix), false);
    send_rest(id, bad[_i].bytes, bad[_i].len, true);
    ck_assert_str_eq(peer.status, bad[_i].status);
    for (size_t i = 0; i < MM_LIMITS; i++)
        ck_assert_uint_eq(core->stats.limits[i], i == bad[_i].limit);
}
END_TEST

START_TEST(drains_are_counted_by_their_reason)
{
    static const enum mm_drain why[] = {MM_DRAIN_MAX_AGE, MM_DRAIN_MAX_IDLE,
                                        MM_DRAIN_CLIENT_CHANGED};

    stop_server();
    ck_assert(start_server());
    core->connection_age_ms = why[_i] == MM_DRAIN_MAX_AGE ? 1000 : 0;
    core->idle_timeout_ms = why[_i] == MM_DRAIN_MAX_IDLE ? 1000 : 0;
    mm_h2_free(h2);
    h2 = NULL;
    {
        static const struct mm_peer who = {.name = "st1"};
        const struct mm_h2_options options = {.core = core, .peer = &who, .wake = on_wake};

        ck_assert_int_eq(mm_h2_new(&options, &h2), MM_OK);
    }
    pass_ms(1500);
    if (why[_i] == MM_DRAIN_CLIENT_CHANGED)
        mm_h2_drain(h2, why[_i]);
    mm_h2_drain(h2, MM_DRAIN_SHUTDOWN); /* once is enough */
    for (size_t i = 0; i < MM_DRAINS; i++)
        ck_assert_uint_eq(core->stats.drains[i], i == why[_i]);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("h2_limits");
    TCase *tc = tcase_create("limits");

    tcase_add_checked_fixture(tc, setup, stop);
    tcase_add_loop_test(tc, request_that_does_not_come_is_too_slow, 0, 4);
    tcase_add_test(tc, message_without_its_half_close_is_too_slow_and_one_with_it_is_not);
    tcase_add_test(tc, stream_may_be_silent_between_messages_but_not_inside_one);
    tcase_add_test(tc, message_that_we_do_not_take_is_not_late);
    tcase_add_test(tc, message_of_a_call_that_is_paused_is_not_late);
    tcase_add_test(tc, request_timeout_of_zero_lets_requests_take_any_time);
    tcase_add_test(tc, headers_that_do_not_end_send_the_client_away);
    tcase_add_loop_test(tc, messages_that_cannot_be_unpacked_are_counted, 0, 3);
    tcase_add_loop_test(tc, drains_are_counted_by_their_reason, 0, 3);
    suite_add_tcase(s, tc);
    return run_suite(s);
}
