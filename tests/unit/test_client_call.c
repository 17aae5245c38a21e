/* SPDX-License-Identifier: Apache-2.0 */
/* Calls side by side, connections that come and go, and servers that misbehave. */
#include "client/retry.h"
#include "daemon/base/limits.h"
#include "tests/unit/client_server.h"

static void begin_with(enum manner manner, struct mintmark_options options)
{
    server_start(manner);
    ck_assert_int_eq(client_make(options, NULL), 0);
}

static void begin(enum manner manner)
{
    begin_with(manner, (struct mintmark_options){.timeout_ms = 0});
}

/* Turns until the server has met so many calls in all. */
static void await_calls(unsigned n)
{
    for (int i = 0; i < TURNS && server.calls < n; i++)
        turn();
    ck_assert_uint_eq(server.calls, n);
}

START_TEST(calls_run_side_by_side_on_one_connection)
{
    struct mm_client_call *calls[30];

    begin(HOLD);
    for (size_t i = 0; i < MM_ARRAY_SIZE(calls); i++)
        calls[i] = call();
    await_calls(MM_ARRAY_SIZE(calls));
    for (int32_t id = 1; id <= server.last_id; id += 2)
        server_answer(&server.connections[0], id);
    for (size_t i = MM_ARRAY_SIZE(calls); i-- > 0;)
        expect(calls[i], MINTMARK_OK, "");
    ck_assert_uint_eq(server.accepted, 1);
    /* And again. */
    server.manner = ANSWER;
    expect(call(), MINTMARK_OK, "");
    ck_assert_uint_eq(server.accepted, 1);
}
END_TEST

START_TEST(lost_connection_is_made_again)
{
    begin(ANSWER);
    expect(call(), MINTMARK_OK, "");
    server.connections[0].over = true;
    turn();
    expect(call(), MINTMARK_OK, "");
    ck_assert_uint_eq(server.accepted, 2);
}
END_TEST

START_TEST(call_on_a_connection_that_is_lost_may_have_been_acted_on)
{
    begin(HANG_UP);
    ck_assert(!expect(call(), MINTMARK_UNAVAILABLE, "CONNECTION_LOST").unprocessed);
    ck_assert_uint_eq(server.accepted, 1);
    /* It served: no pause. */
    server.manner = ANSWER;
    expect(call(), MINTMARK_OK, "");
}
END_TEST

START_TEST(failed_connection_pauses_the_next)
{
    struct mm_stream_end end;
    int64_t pause_us = 0;

    begin(ANSWER);
    server_shut();
    stop_time();
    for (unsigned failures = 1; failures < 20; failures++) {
        const int64_t least_us = (int64_t)mm_retry_connect_ms(failures, 0) * 1000;

        end = expect(call(), MINTMARK_UNAVAILABLE, "CONNECT_FAILED");
        ck_assert(end.unprocessed);
        ck_assert_uint_gt(end.error.retry_ms, 0);
        pause_us = client->next_connect_us - test_now_us;
        ck_assert_int_ge(pause_us, least_us);
        ck_assert_int_le(pause_us, 18000000);
        ck_assert_uint_eq(client->failures, failures);
        /* In the pause nothing is tried. */
        test_now_us += pause_us - 1000;
        end = expect(call(), MINTMARK_UNAVAILABLE, "CONNECT_FAILED");
        ck_assert_uint_eq(end.error.retry_ms, 1);
        ck_assert_uint_eq(client->failures, failures);
        test_now_us += 1000;
    }
    ck_assert_int_ge(pause_us, 12000000);
    /* One that works ends it. */
    server_listen();
    expect(call(), MINTMARK_OK, "");
    ck_assert_uint_eq(client->failures, 0);
}
END_TEST

START_TEST(refused_call_moves_once_and_then_fails_as_unprocessed)
{
    struct mm_client_call *moved;

    begin(REFUSE);
    ck_assert(expect(call(), MINTMARK_UNAVAILABLE, "STREAM_RESET").unprocessed);
    ck_assert_uint_eq(server.calls, 2);
    moved = call();
    await_calls(3);
    server.manner = ANSWER;
    expect(moved, MINTMARK_OK, "");
    ck_assert_uint_eq(server.calls, 4);
}
END_TEST

START_TEST(call_that_a_goaway_leaves_out_moves_to_another_connection)
{
    struct mm_client_call *moved;

    begin(LEAVE);
    moved = call();
    await_calls(1);
    server.manner = ANSWER;
    expect(moved, MINTMARK_OK, "");
    ck_assert_uint_eq(server.accepted, 2);
    ck_assert_uint_eq(server.calls, 2);
}
END_TEST

START_TEST(call_that_a_goaway_keeps_ends_there_while_new_ones_go_elsewhere)
{
    struct mm_client_call *kept;

    begin(HOLD);
    kept = call();
    await_calls(1);
    ck_assert_int_eq(nghttp2_submit_shutdown_notice(server.connections[0].http2), 0);
    turn();
    turn();
    server.manner = ANSWER;
    expect(call(), MINTMARK_OK, "");
    ck_assert_uint_eq(server.accepted, 2);
    ck_assert_uint_eq(server.connections[0].calls, 1);
    ck_assert_int_eq(
        nghttp2_submit_goaway(server.connections[0].http2, 0, 1, NGHTTP2_NO_ERROR, NULL, 0), 0);
    server_answer(&server.connections[0], 1);
    expect(kept, MINTMARK_OK, "");
    /* The one that left is closed once nobody needs it. */
    for (int i = 0; i < TURNS && server.connections[0].fd >= 0; i++)
        turn();
    ck_assert_int_lt(server.connections[0].fd, 0);
    ck_assert_int_ge(server.connections[1].fd, 0);
}
END_TEST

START_TEST(many_leaving_connections_are_all_looked_at)
{
    struct mm_client_call *calls[24];

    begin(HOLD);
    for (unsigned i = 0; i < MM_ARRAY_SIZE(calls); i++) {
        calls[i] = call();
        await_calls(i + 1);
        ck_assert_int_eq(nghttp2_submit_shutdown_notice(server.connections[i].http2), 0);
        turn();
        turn();
    }
    ck_assert_uint_eq(server.accepted, MM_ARRAY_SIZE(calls));
    turn();
    server_answer(&server.connections[0], 1);
    server_turn();
    ck_assert_int_eq(mm_client_wait(client, mm_clock_mono_us() + 10000000, NULL), 0);
    expect(calls[0], MINTMARK_OK, "");
    for (unsigned i = 1; i < MM_ARRAY_SIZE(calls); i++)
        mm_client_call_free(calls[i]);
}
END_TEST

START_TEST(server_that_leaves_every_connection_is_not_asked_without_end)
{
    begin(LEAVE_NOW);
    stop_time();
    (void)call_finish(call());
    ck_assert_uint_le(server.accepted, 2);
}
END_TEST

START_TEST(silent_server_meets_the_deadline)
{
    struct mm_client_call *late;

    begin(HOLD);
    stop_time();
    late = call_make(test_now_us + 1000000, NULL);
    await_calls(1);
    turn();
    test_now_us += 1000000;
    expect(late, MINTMARK_DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED");
    turn();
    ck_assert_uint_eq(server.connections[0].cancels, 1);
    /* The connection is as good as before. */
    server.manner = ANSWER;
    expect(call(), MINTMARK_OK, "");
    ck_assert_uint_eq(server.accepted, 1);
}
END_TEST

START_TEST(server_without_http2_meets_the_deadline)
{
    begin(MUTE);
    stop_time();
    expect(call_make(test_now_us, NULL), MINTMARK_DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED");
}
END_TEST

START_TEST(cancelled_call_is_told_to_the_server)
{
    struct mm_client_call *unwanted;

    begin(HOLD);
    unwanted = call();
    await_calls(1);
    mm_client_call_cancel(unwanted);
    expect(unwanted, MINTMARK_CANCELLED, "CANCELLED");
    turn();
    ck_assert_uint_eq(server.connections[0].cancels, 1);
    /* One that never began. */
    unwanted = call();
    mm_client_call_cancel(unwanted);
    expect(unwanted, MINTMARK_CANCELLED, "CANCELLED");
    ck_assert_uint_eq(server.calls, 1);
}
END_TEST

START_TEST(cancelled_client_ends_the_wait)
{
    struct mm_client_call *held;
    struct mintmark_error error;

    begin(HOLD);
    held = call();
    await_calls(1);
    mintmark_cancel(client);
    ck_assert_int_eq(mm_client_wait(client, INT64_MAX, &error), -MINTMARK_CANCELLED);
    ck_assert_int_eq(mm_client_sleep(client, 60000, &error), -MINTMARK_CANCELLED);
    mm_client_clear_cancel(client);
    server_answer(&server.connections[0], 1);
    expect(held, MINTMARK_OK, "");
}
END_TEST

START_TEST(wait_ends_at_the_first_deadline_of_a_call)
{
    const int64_t deadline_us = mm_clock_mono_us() + 30000;
    struct mm_client_call *first, *second;

    begin(HOLD);
    first = call();
    second = call_make(deadline_us, NULL);
    while (mm_clock_mono_us() < deadline_us) {
        server_turn();
        ck_assert_int_eq(mm_client_wait(client, INT64_MAX, NULL), 0);
    }
    expect(second, MINTMARK_DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED");
    mm_client_call_free(first);
}
END_TEST

START_TEST(deadline_that_nobody_looks_at_ends_one_wait)
{
    struct mm_client_call *late;

    begin(HOLD);
    late = call_make(mm_clock_mono_us() + 1000, NULL);
    await_calls(1);
    while (mm_client_wait(client, mm_clock_mono_us() + 20000, NULL) == 0)
        continue;
    ck_assert_int_eq(mm_client_wait(client, mm_clock_mono_us() + 1000, NULL),
                     -MINTMARK_DEADLINE_EXCEEDED);
    expect(late, MINTMARK_DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED");
}
END_TEST

/* What the server sends in place of HTTP/2, and how the call ends. */

static void expect_raw(const void *data, size_t len, enum mintmark_status status)
{
    struct mm_stream_end end;

    begin(RAW);
    server.raw = (struct mm_bytes){data, len};
    end = call_finish(call());
    ck_assert_msg(end.error.status == status, "status %d: %s", end.error.status, end.error.message);
    ck_assert_str_eq(end.error.reason, "BAD_HTTP2");
    teardown();
    setup();
}

START_TEST(garbage_breaks_the_connection)
{
    static const char http1[] = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
    static const uint8_t frame_too_big[] = {0xff, 0xff, 0xff, 4, 0, 0, 0, 0, 0};
    static const uint8_t data_first[] = {0, 0, 1, 0, 0, 0, 0, 0, 1, 'x'};
    uint8_t zeros[4096] = {0};

    expect_raw(http1, sizeof(http1) - 1, MINTMARK_INTERNAL);
    expect_raw(frame_too_big, sizeof(frame_too_big), MINTMARK_INTERNAL);
    expect_raw(data_first, sizeof(data_first), MINTMARK_INTERNAL);
    expect_raw(zeros, sizeof(zeros), MINTMARK_INTERNAL);
}
END_TEST

/* SETTINGS, and then the frame again and again. */
static size_t repeat(uint8_t *out, size_t size, const uint8_t *frame, size_t len)
{
    static const uint8_t settings[] = {0, 0, 0, 4, 0, 0, 0, 0, 0};
    size_t n = sizeof(settings);

    memcpy(out, settings, n);
    for (; n + len <= size; n += len)
        memcpy(out + n, frame, len);
    return n;
}

START_TEST(floods_break_the_connection)
{
    static const uint8_t ping[17] = {0, 0, 8, 6};
    static const uint8_t settings[9] = {0, 0, 0, 4};
    static uint8_t out[64 * 1024];

    expect_raw(out, repeat(out, sizeof(out), ping, sizeof(ping)), MINTMARK_INTERNAL);
    expect_raw(out, repeat(out, sizeof(out), settings, sizeof(settings)), MINTMARK_INTERNAL);
}
END_TEST

START_TEST(endless_continuation_breaks_the_connection)
{
    static const uint8_t settings[] = {0, 0, 0, 4, 0, 0, 0, 0, 0};
    static const uint8_t headers[] = {0, 0, 1, 1, 0, 0, 0, 0, 1, 0x88 /* :status 200 */};
    static const uint8_t more[] = {0, 0, 0, 9, 0, 0, 0, 0, 1};
    struct connection *c = &server.connections[0];
    struct mm_client_call *victim;
    struct mm_stream_end end;

    begin(HOLD);
    victim = call();
    await_calls(1);
    server.manner = RAW;
    must(send(c->fd, settings, sizeof(settings), MSG_NOSIGNAL) > 0);
    must(send(c->fd, headers, sizeof(headers), MSG_NOSIGNAL) > 0);
    for (int i = 0; i < 1000; i++)
        if (send(c->fd, more, sizeof(more), MSG_NOSIGNAL) < 0)
            break;
    end = call_finish(victim);
    ck_assert_int_eq(end.error.status, MINTMARK_INTERNAL);
    ck_assert(!end.unprocessed);
}
END_TEST

START_TEST(headers_over_the_limit_end_the_call_alone)
{
    static char big[MM_HEADER_LIST_MAX];
    nghttp2_nv fields[] = {server_nv(":status", "200"),
                           server_nv("content-type", "application/grpc"), server_nv("x-big", big)};
    struct mm_client_call *victim, *other;

    memset(big, 'x', sizeof(big));
    fields[2].valuelen = sizeof(big);
    begin(HOLD);
    other = call();
    await_calls(1);
    victim = call();
    await_calls(2);
    ck_assert_int_eq(
        nghttp2_submit_headers(server.connections[0].http2, 0, 3, NULL, fields, 3, NULL), 0);
    expect(victim, MINTMARK_RESOURCE_EXHAUSTED, "HEADERS_TOO_BIG");
    server_answer(&server.connections[0], 1);
    expect(other, MINTMARK_OK, "");
}
END_TEST

START_TEST(closed_window_stops_the_sender)
{
    static uint8_t message[200 * 1024];
    const struct mm_client_call_options options = {.stream = {.path = "/S/M"},
                                                   .deadline_us = INT64_MAX};
    struct mm_client_call *stuck = NULL;
    int r = MM_OK;

    begin(HOLD);
    server.settings[0] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 0};
    server.n_settings = 1;
    ck_assert_int_eq(mm_client_call_new(client, &options, &stuck, NULL), 0);
    await_calls(1);
    for (int i = 0; i < 10 && r == MM_OK; i++) {
        r = mm_client_call_send(stuck, &(struct mm_bytes){message, sizeof(message)}, false);
        turn();
    }
    ck_assert_int_eq(r, MM_ERR_AGAIN);
    mm_client_call_cancel(stuck);
    expect(stuck, MINTMARK_CANCELLED, "CANCELLED");
}
END_TEST

START_TEST(answer_in_single_bytes_is_read)
{
    struct connection *c = &server.connections[0];
    struct mm_client_call *patient;
    const uint8_t *out;
    ssize_t n;

    begin(HOLD);
    patient = call();
    await_calls(1);
    turn();
    server_answer(c, 1);
    while ((n = nghttp2_session_mem_send(c->http2, &out)) > 0)
        for (ssize_t i = 0; i < n; i++) {
            must(send(c->fd, out + i, 1, MSG_NOSIGNAL) == 1);
            (void)mm_client_wait(client, 0, NULL);
        }
    expect(patient, MINTMARK_OK, "");
}
END_TEST

/* Pings. */

START_TEST(silent_connection_is_pinged_while_a_call_runs)
{
    struct mm_client_call *held;

    begin_with(HOLD, (struct mintmark_options){.keepalive_ms = 1, .keepalive_timeout_ms = 5000});
    ck_assert_uint_eq(client->keepalive_ms, 10000);
    stop_time();
    held = call();
    await_calls(1);
    turn();
    turn();
    test_now_us += 9999000;
    turn();
    ck_assert_uint_eq(server.connections[0].pings, 0);
    test_now_us += 10000000;
    turn();
    turn();
    ck_assert_uint_eq(server.connections[0].pings, 1);
    /* It was answered. */
    test_now_us += 6000000;
    turn();
    server.manner = MUTE;
    test_now_us += 10000000;
    turn();
    test_now_us += 5000000;
    expect(held, MINTMARK_UNAVAILABLE, "KEEPALIVE");
}
END_TEST

START_TEST(idle_connection_is_not_pinged)
{
    begin_with(ANSWER, (struct mintmark_options){.keepalive_ms = 10000});
    stop_time();
    expect(call(), MINTMARK_OK, "");
    for (int i = 0; i < 5; i++) {
        test_now_us += 11000000;
        turn();
    }
    ck_assert_uint_eq(server.connections[0].pings, 0);
    expect(call(), MINTMARK_OK, "");
    ck_assert_uint_eq(server.accepted, 1);
}
END_TEST

START_TEST(too_many_pings_doubles_their_distance)
{
    begin_with(ANSWER, (struct mintmark_options){.keepalive_ms = 10000});
    expect(call(), MINTMARK_OK, "");
    ck_assert_int_eq(nghttp2_submit_goaway(server.connections[0].http2, 0, 1,
                                           NGHTTP2_ENHANCE_YOUR_CALM,
                                           (const uint8_t *)"too_many_pings", 14),
                     0);
    turn();
    turn();
    ck_assert_uint_eq(client->keepalive_ms, 20000);
    expect(call(), MINTMARK_OK, "");
    ck_assert_uint_eq(server.accepted, 2);
}
END_TEST

static void add_tests(TCase *tcase)
{
    tcase_add_test(tcase, calls_run_side_by_side_on_one_connection);
    tcase_add_test(tcase, lost_connection_is_made_again);
    tcase_add_test(tcase, call_on_a_connection_that_is_lost_may_have_been_acted_on);
    tcase_add_test(tcase, failed_connection_pauses_the_next);
    tcase_add_test(tcase, refused_call_moves_once_and_then_fails_as_unprocessed);
    tcase_add_test(tcase, call_that_a_goaway_leaves_out_moves_to_another_connection);
    tcase_add_test(tcase, call_that_a_goaway_keeps_ends_there_while_new_ones_go_elsewhere);
    tcase_add_test(tcase, many_leaving_connections_are_all_looked_at);
    tcase_add_test(tcase, server_that_leaves_every_connection_is_not_asked_without_end);
    tcase_add_test(tcase, silent_server_meets_the_deadline);
    tcase_add_test(tcase, server_without_http2_meets_the_deadline);
    tcase_add_test(tcase, cancelled_call_is_told_to_the_server);
    tcase_add_test(tcase, cancelled_client_ends_the_wait);
    tcase_add_test(tcase, wait_ends_at_the_first_deadline_of_a_call);
    tcase_add_test(tcase, deadline_that_nobody_looks_at_ends_one_wait);
    tcase_add_test(tcase, garbage_breaks_the_connection);
    tcase_add_test(tcase, floods_break_the_connection);
    tcase_add_test(tcase, endless_continuation_breaks_the_connection);
    tcase_add_test(tcase, headers_over_the_limit_end_the_call_alone);
    tcase_add_test(tcase, closed_window_stops_the_sender);
    tcase_add_test(tcase, answer_in_single_bytes_is_read);
}

static void add_more_tests(TCase *tcase)
{
    tcase_add_test(tcase, silent_connection_is_pinged_while_a_call_runs);
    tcase_add_test(tcase, idle_connection_is_not_pinged);
    tcase_add_test(tcase, too_many_pings_doubles_their_distance);
}

int main(void)
{
    Suite *suite = suite_create("client_call");
    TCase *tcase = tcase_create("call");

    tcase_add_checked_fixture(tcase, setup, teardown);
    add_tests(tcase);
    add_more_tests(tcase);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
