/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/h2_peer.h"

#include <stdlib.h>

static int send_text(struct mm_call *c, size_t len)
{
    Grpc__Health__V1__HealthCheckRequest message;
    char *text = malloc(len + 1);
    int r;

    ck_assert_ptr_nonnull(text);
    memset(text, 'x', len);
    text[len] = 0;
    grpc__health__v1__health_check_request__init(&message);
    message.service = text;
    r = mm_call_send(c, &message.base);
    free(text);
    return r;
}

START_TEST(unary_call_is_answered)
{
    call("/t/Echo", "hello", NULL);
    pump();
    ck_assert_str_eq(peer.status, "0");
    ck_assert_uint_eq(peer.data_bytes, 5 + 2 + 5);
    ck_assert_int_eq(peer.header_blocks, 2);
    ck_assert(peer.ended);
    ck_assert_uint_eq(core->stats.calls_in_flight, 0);
    ck_assert_uint_eq(core->stats.calls_total, 1);
}
END_TEST

START_TEST(unary_call_without_a_response_is_internal)
{
    call("/t/Nothing", "", NULL);
    pump();
    ck_assert_str_eq(peer.status, "13");
    ck_assert_int_eq(peer.header_blocks, 1);
}
END_TEST

START_TEST(call_without_the_role_is_denied)
{
    call("/t/Officer", "", NULL);
    pump();
    ck_assert_str_eq(peer.status, "7");
    ck_assert_str_eq(peer.message, "the client has no role for this method");
}
END_TEST

START_TEST(call_ids_differ_and_keep_their_value)
{
    char first[64];

    call("/t/Hold", "", NULL);
    pump();
    snprintf(first, sizeof(first), "%s", mm_call_id(seen.held));
    ck_assert_str_eq(mm_call_id(seen.held), first);
    mm_call_finish(seen.held, NULL);
    seen.held = NULL;
    call("/t/Hold", "", NULL);
    pump();
    ck_assert_str_ne(mm_call_id(seen.held), first);
    ck_assert_int_eq(strncmp(first, "r-", 2), 0);
}
END_TEST

START_TEST(answer_given_later_wakes_the_connection)
{
    call("/t/Hold", "", NULL);
    pump();
    ck_assert_uint_eq(wakes, 0);
    ck_assert_int_eq(send_text(seen.held, 3), MM_OK);
    ck_assert_uint_eq(wakes, 1);
    mm_call_finish(seen.held, NULL);
    pump();
    ck_assert_str_eq(peer.status, "0");
    ck_assert_uint_eq(seen.cancels, 0);
}
END_TEST

START_TEST(deadline_cancels_once_and_tells_both_sides)
{
    call("/t/Hold", "", "1500m");
    pump();
    ck_assert_int_eq(mm_call_deadline_us(seen.held), now_us + 1500000);
    ck_assert_int_eq(mm_h2_next_us(h2), now_us + 1500000);
    pass_ms(1499);
    ck_assert_uint_eq(seen.cancels, 0);
    pass_ms(1);
    pass_ms(1000);
    ck_assert_uint_eq(seen.cancels, 1);
    pump();
    ck_assert_str_eq(peer.status, "4");
    ck_assert_int_eq(peer.header_blocks, 1);
    ck_assert_uint_eq(core->stats.calls_in_flight, 0);
}
END_TEST

START_TEST(deadlines_of_several_calls_come_in_order)
{
    call("/t/Hold", "", "5S");
    pump();
    hold(seen.held);
    call("/t/Echo", "", "1S");
    pump();
    ck_assert_str_eq(peer.status, "0");
    pass_ms(1000); /* the answered call's: nothing happens, and the next one is found */
    ck_assert_uint_eq(seen.cancels, 0);
    ck_assert_int_eq(mm_h2_next_us(h2), 1000000 + 5000000);
    pass_ms(4000);
    ck_assert_uint_eq(seen.cancels, 1);
}
END_TEST

START_TEST(reset_by_the_client_cancels)
{
    const int32_t id = call("/t/Hold", "", NULL);

    pump();
    nghttp2_submit_rst_stream(peer.http2, NGHTTP2_FLAG_NONE, id, NGHTTP2_CANCEL);
    pump();
    ck_assert_uint_eq(seen.cancels, 1);
    ck_assert_uint_eq(core->stats.calls_in_flight, 0);
}
END_TEST

START_TEST(end_of_the_connection_cancels)
{
    call("/t/Hold", "", NULL);
    pump();
    mm_h2_free(h2);
    h2 = NULL;
    ck_assert_uint_eq(seen.cancels, 1);
    ck_assert_uint_eq(core->stats.calls_in_flight, 0);
}
END_TEST

START_TEST(half_closed_stream_that_is_reset_is_cancelled_too)
{
    int32_t id;

    peer.keep_open = true;
    id = call("/t/Chat", "one", NULL);
    pump();
    ck_assert_uint_eq(seen.messages, 1);
    peer.keep_open = false;
    nghttp2_session_resume_data(peer.http2, id);
    pump();
    ck_assert_uint_eq(seen.half_closes, 1);
    nghttp2_submit_rst_stream(peer.http2, NGHTTP2_FLAG_NONE, id, NGHTTP2_CANCEL);
    pump();
    ck_assert_uint_eq(seen.cancels, 1);
}
END_TEST

/* The client gives no window back: 64 KiB go, the rest waits. */
START_TEST(send_says_stop_at_the_mark_and_writable_when_there_is_room)
{
    int32_t id;
    size_t sent = 0;
    int r;

    nghttp2_session_del(peer.http2);
    make_client(false);
    stop_server();
    ck_assert(start_server());
    id = call("/t/Hold", "", NULL);
    pump();
    do {
        r = send_text(seen.held, 10000);
        sent += 10000;
        pump();
    } while (r == MM_OK);
    ck_assert_int_eq(r, MM_ERR_AGAIN);
    ck_assert_uint_ge(sent, MM_CALL_QUEUE_MARK + 65535);
    ck_assert_uint_le(sent, MM_CALL_QUEUE_MARK + 65535 + 10000);
    ck_assert_uint_eq(peer.data_bytes, 65535);
    ck_assert_uint_eq(seen.writables, 0);
    nghttp2_submit_window_update(peer.http2, NGHTTP2_FLAG_NONE, 0, 1 << 20);
    nghttp2_submit_window_update(peer.http2, NGHTTP2_FLAG_NONE, id, 1 << 20);
    pump();
    ck_assert_uint_eq(seen.writables, 1);
    mm_call_finish(seen.held, NULL);
    pump();
    ck_assert_str_eq(peer.status, "0");
    ck_assert_uint_eq(peer.data_bytes, sent / 10000 * (10000 + 5 + 3));
}
END_TEST

START_TEST(send_refuses_what_is_over_a_limit_and_keeps_the_rest)
{
    int r = MM_OK;

    nghttp2_session_del(peer.http2);
    make_client(false);
    stop_server();
    ck_assert(start_server());
    call("/t/Hold", "", NULL);
    pump();
    ck_assert_int_eq(send_text(seen.held, MM_GRPC_MESSAGE_MAX), MM_ERR_TOO_BIG);
    for (int i = 0; i < 6 && r != MM_ERR_TOO_BIG; i++) /* a service that does not stop */
        r = send_text(seen.held, MM_GRPC_MESSAGE_MAX - 10);
    ck_assert_int_eq(r, MM_ERR_TOO_BIG);
    ck_assert_int_eq(send_text(seen.held, 3), MM_ERR_AGAIN);
}
END_TEST

START_TEST(messages_wait_while_the_service_may_not_send)
{
    int32_t id;

    nghttp2_session_del(peer.http2);
    make_client(false);
    stop_server();
    ck_assert(start_server());
    peer.keep_open = true;
    id = call("/t/Chat", "one", NULL);
    pump();
    while (send_text(seen.held, 10000) == MM_OK)
        pump();
    mm_buf_append(&peer.request, "\0\0\0\0\0\0\0\0\0\0", 10);
    peer.keep_open = false;
    nghttp2_session_resume_data(peer.http2, id);
    pump();
    ck_assert_uint_eq(seen.messages, 1);
    ck_assert_uint_eq(seen.half_closes, 0);
    nghttp2_submit_window_update(peer.http2, NGHTTP2_FLAG_NONE, 0, 1 << 20);
    nghttp2_submit_window_update(peer.http2, NGHTTP2_FLAG_NONE, id, 1 << 20);
    pump();
    ck_assert_uint_eq(seen.messages, 3);
    ck_assert_uint_eq(seen.half_closes, 1);
}
END_TEST

START_TEST(keepalive_asks_and_gives_up)
{
    pass_ms(KEEPALIVE_MS - 1);
    pump();
    ck_assert_uint_eq(peer.pings, 0);
    pass_ms(1);
    ck_assert_uint_gt(pump_down(), 0);
    ck_assert_uint_eq(peer.pings, 1);
    pass_ms(KEEPALIVE_TIMEOUT_MS - 1);
    ck_assert(!mm_h2_is_over(h2));
    pass_ms(1);
    ck_assert(mm_h2_is_over(h2));
}
END_TEST

START_TEST(keepalive_answered_goes_on)
{
    for (int i = 1; i < 5; i++) {
        pass_ms(KEEPALIVE_MS);
        pump();
        ck_assert_uint_eq(peer.pings, (unsigned)i);
    }
    ck_assert(!mm_h2_is_over(h2));
}
END_TEST

START_TEST(keepalive_of_zero_never_asks)
{
    core->keepalive_ms = 0;
    ck_assert_int_eq(mm_h2_next_us(h2), INT64_MAX);
    pass_ms(KEEPALIVE_MS * 10);
    pump();
    ck_assert_uint_eq(peer.pings, 0);
}
END_TEST

static void ping(void)
{
    ck_assert_int_eq(nghttp2_submit_ping(peer.http2, NGHTTP2_FLAG_NONE, NULL), 0);
    pump();
}

START_TEST(pings_in_good_time_are_answered_for_ever)
{
    for (int i = 0; i < 20; i++) {
        ping();
        pass_ms(PING_INTERVAL_MS);
    }
    ck_assert_uint_eq(peer.goaways, 0);
}
END_TEST

START_TEST(pings_too_soon_are_sent_away_at_the_third)
{
    ping();
    for (int i = 0; i < MM_H2_PING_STRIKES; i++) {
        pass_ms(PING_INTERVAL_MS - 1);
        ping();
    }
    ck_assert_uint_eq(peer.goaways, 0);
    pass_ms(PING_INTERVAL_MS - 1);
    ping();
    ck_assert_uint_eq(peer.goaways, 1);
    ck_assert_uint_eq(peer.goaway_code, NGHTTP2_ENHANCE_YOUR_CALM);
    ck_assert_str_eq(peer.goaway_why, "too_many_pings");
    ck_assert(mm_h2_is_over(h2));
}
END_TEST

START_TEST(pings_between_answers_are_no_strikes)
{
    for (int i = 0; i < 20; i++) {
        ping();
        call("/t/Echo", "x", NULL);
        pump();
    }
    ck_assert_uint_eq(peer.goaways, 0);
}
END_TEST

START_TEST(idle_connection_is_drained_and_one_with_a_call_is_not)
{
    core->keepalive_ms = 0;
    core->idle_timeout_ms = 5000;
    call("/t/Hold", "", NULL);
    pump();
    pass_ms(50000);
    pump();
    ck_assert_uint_eq(peer.goaways, 0);
    mm_call_finish(seen.held, NULL);
    pump();
    pass_ms(4999);
    pump();
    ck_assert_uint_eq(peer.goaways, 0);
    pass_ms(1);
    pump();
    ck_assert_uint_eq(peer.goaways, 1);
    pass_ms(MM_GOAWAY_MS); /* a client without calls does not answer the first */
    pump();
    ck_assert(mm_h2_is_over(h2));
}
END_TEST

enum { AGE_MS = 100000 };

/* In place of the fixture's session, one that grows old. */
static void start_ageing(void)
{
    core->keepalive_ms = 0;
    core->connection_age_ms = AGE_MS;
    mm_h2_free(h2);
    nghttp2_session_del(peer.http2);
    make_client(true);
    ck_assert_int_eq(mm_h2_new(&(struct mm_h2_options){.core = core,
                                                       .peer = &(struct mm_peer){.roles = 0},
                                                       .wake = on_wake},
                               &h2),
                     MM_OK);
    pump();
}

START_TEST(age_drains_and_lets_the_call_end)
{
    start_ageing();
    call("/t/Hold", "", NULL);
    pump();
    pass_ms(AGE_MS * 9 / 10 - 1);
    pump();
    ck_assert_uint_eq(peer.goaways, 0);
    pass_ms(AGE_MS * 2 / 10 + 1);
    pump();
    ck_assert_uint_eq(peer.goaways, 2);
    ck_assert_uint_eq(peer.goaway_code, NGHTTP2_NO_ERROR);
    ck_assert_str_eq(peer.goaway_why, "max_age");
    pass_ms(AGE_MS * 10);
    ck_assert(!mm_h2_is_over(h2));
    mm_call_finish(seen.held, NULL);
    pump();
    ck_assert_str_eq(peer.status, "0");
    ck_assert(mm_h2_is_over(h2));
}
END_TEST

START_TEST(ages_of_connections_spread_over_a_fifth)
{
    int64_t first = INT64_MAX, last = 0;

    for (int i = 0; i < 50; i++) {
        start_ageing();
        const int64_t age_ms = (mm_h2_next_us(h2) - now_us) / 1000;

        ck_assert_int_ge(age_ms, AGE_MS * 9 / 10);
        ck_assert_int_le(age_ms, AGE_MS * 11 / 10);
        first = age_ms < first ? age_ms : first;
        last = age_ms > last ? age_ms : last;
    }
    ck_assert_int_gt(last - first, AGE_MS / 10);
}
END_TEST

START_TEST(drain_takes_its_second_step_by_itself_after_a_while)
{
    call("/t/Hold", "", NULL);
    pump();
    mm_h2_drain(h2, MM_DRAIN_SHUTDOWN);
    while (pump_down() > 0) /* the client answers nothing */
        ;
    ck_assert_uint_eq(peer.goaways, 1);
    ck_assert_int_eq(peer.goaway_last, INT32_MAX);
    pass_ms(MM_GOAWAY_MS);
    pump_down();
    ck_assert_uint_eq(peer.goaways, 2);
    ck_assert_int_eq(peer.goaway_last, 1);
    ck_assert_uint_eq(seen.cancels, 0);
    mm_call_finish(seen.held, NULL);
    pump();
    ck_assert_str_eq(peer.status, "0");
    ck_assert(mm_h2_is_over(h2));
}
END_TEST

START_TEST(drain_ends_with_cancel_calls)
{
    call("/t/Hold", "", NULL);
    pump();
    mm_h2_drain(h2, MM_DRAIN_SHUTDOWN);
    pump();
    ck_assert(!mm_h2_is_over(h2));
    mm_h2_cancel_calls(h2);
    ck_assert_uint_eq(seen.cancels, 1);
    pump();
    ck_assert_str_eq(peer.status, "14");
    ck_assert(mm_h2_is_over(h2));
}
END_TEST

START_TEST(health_watch_is_told_and_ends_with_the_drain)
{
    call("/grpc.health.v1.Health/Watch", "t", NULL);
    pump();
    ck_assert_uint_eq(peer.data_bytes, 5 + 2);
    mm_health_set(core, "t", true);
    mm_health_set(core, "t", true); /* no news */
    mm_health_set(core, "nobody", true);
    pump();
    ck_assert_uint_eq(peer.data_bytes, 2 * (5 + 2));
    mm_health_shutdown(core);
    mm_h2_drain(h2, MM_DRAIN_SHUTDOWN);
    pump();
    ck_assert_uint_eq(peer.data_bytes, 3 * (5 + 2));
    ck_assert_str_eq(peer.status, "14");
    ck_assert(mm_h2_is_over(h2));
}
END_TEST

START_TEST(core_refuses_two_rpcs_of_one_path)
{
    const struct mm_rpc twice[] = {peer_rpcs[0], peer_rpcs[0]};
    const struct mm_core_options options = {
        .rpcs = twice, .n_rpcs = 2, .descriptors = &mm_descriptors_mintmark};
    struct mm_core *other = NULL;
    struct mm_errinfo ei = {0};

    ck_assert_int_eq(mm_core_new(&options, &other, &ei), MM_ERR_INTERNAL);
    ck_assert_str_eq(ei.reason, "DUPLICATE_RPC");
}
END_TEST

START_TEST(calls_are_counted_when_their_stream_is_closed)
{
    const struct mm_method *echo, *none;
    int32_t id;

    echo = mm_core_method(core, "/t/Echo", 7);
    none = mm_core_method(core, "", 0);
    call("/t/Echo", "a", NULL);
    pump();
    call("/t/None", "a", NULL);
    pump();
    ck_assert_uint_eq(echo->statuses[MM_GRPC_OK], 1);
    ck_assert_uint_eq(none->statuses[MM_GRPC_UNIMPLEMENTED], 1);
    id = call("/t/Hold", "a", NULL);
    pump();
    ck_assert_uint_eq(core->stats.calls_in_flight, 1);
    now_us += 600;
    nghttp2_submit_rst_stream(peer.http2, NGHTTP2_FLAG_NONE, id, NGHTTP2_CANCEL);
    pump();
    ck_assert_uint_eq(core->stats.calls_in_flight, 0);
    echo = mm_core_method(core, "/t/Hold", 7);
    ck_assert_uint_eq(echo->statuses[MM_GRPC_CANCELLED], 1);
    ck_assert_uint_eq(echo->latency.counts[2], 1);
    ck_assert_uint_eq(echo->latency.sum_us, 600);
}
END_TEST

START_TEST(protections_are_counted_once_a_connection)
{
    static const enum mm_limit limits[] = {MM_LIMIT_SETTINGS, MM_LIMIT_PINGS};
    static const uint8_t ping[8] = "12345678";

    for (int i = 0; i < MM_H2_ODD_BURST + 10; i++) {
        if (_i == 0)
            nghttp2_submit_settings(peer.http2, NGHTTP2_FLAG_NONE, NULL, 0);
        else
            nghttp2_submit_ping(peer.http2, NGHTTP2_FLAG_NONE, ping);
        pump();
    }
    ck_assert(mm_h2_is_over(h2));
    for (size_t i = 0; i < MM_LIMITS; i++)
        ck_assert_uint_eq(core->stats.limits[i], i == limits[_i]);
}
END_TEST

START_TEST(core_finds_whole_paths_only)
{
    ck_assert_ptr_eq(mm_core_method(core, "/t/Echo", 7)->rpc, &peer_rpcs[0]);
    ck_assert_ptr_null(mm_core_method(core, "/t/Echo", 6)->rpc);
    ck_assert_ptr_null(mm_core_method(core, "/t/Echoo", 8)->rpc);
    ck_assert_ptr_null(mm_core_method(core, "/t/Echo\0", 8)->rpc);
    ck_assert_ptr_null(mm_core_method(core, "", 0)->rpc);
}
END_TEST

START_TEST(core_logs_hostile_events_in_bounds_and_says_how_many_it_left_out)
{
    uint64_t suppressed;
    unsigned logged = 0;

    for (int i = 0; i < 1000; i++)
        logged += mm_core_may_log(core, &suppressed);
    ck_assert_uint_le(logged, 50);
    now_us += 1000000;
    ck_assert(mm_core_may_log(core, &suppressed));
    ck_assert_uint_eq(suppressed, 1000 - logged);
}
END_TEST

static TCase *calls_case(void)
{
    TCase *tc = tcase_create("calls");

    tcase_add_checked_fixture(tc, start, stop);
    tcase_add_test(tc, unary_call_is_answered);
    tcase_add_test(tc, unary_call_without_a_response_is_internal);
    tcase_add_test(tc, call_without_the_role_is_denied);
    tcase_add_test(tc, call_ids_differ_and_keep_their_value);
    tcase_add_test(tc, answer_given_later_wakes_the_connection);
    tcase_add_test(tc, deadline_cancels_once_and_tells_both_sides);
    tcase_add_test(tc, deadlines_of_several_calls_come_in_order);
    tcase_add_test(tc, reset_by_the_client_cancels);
    tcase_add_test(tc, end_of_the_connection_cancels);
    tcase_add_test(tc, half_closed_stream_that_is_reset_is_cancelled_too);
    tcase_add_test(tc, send_says_stop_at_the_mark_and_writable_when_there_is_room);
    tcase_add_test(tc, send_refuses_what_is_over_a_limit_and_keeps_the_rest);
    tcase_add_test(tc, messages_wait_while_the_service_may_not_send);
    return tc;
}

static TCase *session_case(void)
{
    TCase *tc = tcase_create("session");

    tcase_add_checked_fixture(tc, start, stop);
    tcase_add_test(tc, keepalive_asks_and_gives_up);
    tcase_add_test(tc, keepalive_answered_goes_on);
    tcase_add_test(tc, keepalive_of_zero_never_asks);
    tcase_add_test(tc, pings_in_good_time_are_answered_for_ever);
    tcase_add_test(tc, pings_too_soon_are_sent_away_at_the_third);
    tcase_add_test(tc, pings_between_answers_are_no_strikes);
    tcase_add_test(tc, idle_connection_is_drained_and_one_with_a_call_is_not);
    tcase_add_test(tc, age_drains_and_lets_the_call_end);
    tcase_add_test(tc, ages_of_connections_spread_over_a_fifth);
    tcase_add_test(tc, drain_takes_its_second_step_by_itself_after_a_while);
    tcase_add_test(tc, drain_ends_with_cancel_calls);
    tcase_add_test(tc, health_watch_is_told_and_ends_with_the_drain);
    tcase_add_test(tc, core_refuses_two_rpcs_of_one_path);
    tcase_add_test(tc, calls_are_counted_when_their_stream_is_closed);
    tcase_add_loop_test(tc, protections_are_counted_once_a_connection, 0, 2);
    tcase_add_test(tc, core_finds_whole_paths_only);
    tcase_add_test(tc, core_logs_hostile_events_in_bounds_and_says_how_many_it_left_out);
    return tc;
}

int main(void)
{
    Suite *s = suite_create("h2");

    suite_add_tcase(s, calls_case());
    suite_add_tcase(s, session_case());
    return run_suite(s);
}
