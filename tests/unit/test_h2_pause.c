/* SPDX-License-Identifier: Apache-2.0 */
/* A service that takes no more of a call's messages for a while. */
#include "tests/unit/check_main.h"
#include "tests/unit/h2_peer.h"

/* The client sends on, and is stopped by its window. */
START_TEST(messages_wait_while_the_service_pauses)
{
    int32_t id;

    peer.keep_open = true;
    id = call("/t/Chat", "one", NULL);
    pump();
    mm_call_pause(seen.held);
    for (int i = 0; i < 300000; i += 10)
        mm_buf_append(&peer.request, "\0\0\0\0\5\12\3two", 10);
    peer.keep_open = false;
    nghttp2_session_resume_data(peer.http2, id);
    pump();
    ck_assert_uint_eq(seen.messages, 1);
    ck_assert_uint_eq(peer.request_at - (MM_GRPC_PREFIX_LEN + 5), MM_H2_STREAM_WINDOW - 10);
    wakes = 0;
    mm_call_resume(seen.held);
    mm_call_resume(seen.held);
    ck_assert_uint_eq(wakes, 1);
    ck_assert_uint_eq(seen.messages, 1);
    mm_h2_run_writable(h2);
    ck_assert_uint_eq(wakes, 2);
    ck_assert_uint_gt(seen.messages, 20000);
    ck_assert_uint_eq(seen.half_closes, 0);
    pump();
    ck_assert_uint_eq(seen.messages, 30001);
    ck_assert_uint_eq(seen.half_closes, 1);
}
END_TEST

START_TEST(half_close_waits_while_the_service_pauses)
{
    int32_t id;

    peer.keep_open = true;
    id = call("/t/Chat", "one", NULL);
    pump();
    mm_call_pause(seen.held);
    peer.keep_open = false;
    nghttp2_session_resume_data(peer.http2, id);
    pump();
    mm_call_resume(seen.held);
    mm_call_pause(seen.held); /* has changed its mind before anything came of it */
    mm_h2_run_writable(h2);
    ck_assert_uint_eq(seen.half_closes, 0);
    mm_call_resume(seen.held);
    ck_assert_uint_eq(seen.half_closes, 0);
    mm_h2_run_writable(h2);
    ck_assert_uint_eq(seen.half_closes, 1);
    mm_call_finish(seen.held, NULL);
    pump();
    ck_assert_str_eq(peer.status, "0");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("h2_pause");
    TCase *t = tcase_create("pause");

    tcase_add_checked_fixture(t, start, stop);
    tcase_add_test(t, messages_wait_while_the_service_pauses);
    tcase_add_test(t, half_close_waits_while_the_service_pauses);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
