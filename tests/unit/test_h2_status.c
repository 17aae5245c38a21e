/* SPDX-License-Identifier: Apache-2.0 */
/* How a call ends: its status, with what, and in which shape. */
#include "tests/unit/h2_peer.h"

static const struct mm_bytes no_details = {NULL, 0};

static void hold_one(void)
{
    call("/t/Hold", "", NULL);
    pump();
    ck_assert_ptr_nonnull(seen.held);
}

START_TEST(status_of_the_service_goes_out_as_it_is)
{
    const struct mm_bytes details = {(const uint8_t *)"\x08\x02", 2};

    hold_one();
    mm_call_finish_status(seen.held, MM_GRPC_UNKNOWN, "no 100% idea\n", details);
    pump();
    ck_assert_str_eq(peer.status, "2");
    ck_assert_str_eq(peer.message, "no 100%25 idea%0A");
    ck_assert_str_eq(peer.details, "CAI"); /* base64 without padding */
    ck_assert_int_eq(peer.header_blocks, 1);
    ck_assert(peer.ended);
    ck_assert_uint_eq(seen.cancels, 0);
    ck_assert_uint_eq(core->stats.calls_in_flight, 0);
}
END_TEST

START_TEST(status_ok_of_the_service_is_an_ordinary_end)
{
    hold_one();
    mm_call_finish_status(seen.held, MM_GRPC_OK, "ignored", no_details);
    pump();
    ck_assert_str_eq(peer.status, "0");
    ck_assert_str_eq(peer.message, "");
}
END_TEST

START_TEST(status_that_is_none_is_unknown)
{
    hold_one();
    mm_call_finish_status(seen.held, (enum mm_grpc_status)17, "", no_details);
    pump();
    ck_assert_str_eq(peer.status, "2");
}
END_TEST

START_TEST(status_whose_details_are_too_big_goes_without_them)
{
    static uint8_t much[MM_HEADER_LIST_MAX];

    hold_one();
    mm_call_finish_status(seen.held, MM_GRPC_ABORTED, "much",
                          (struct mm_bytes){much, sizeof(much)});
    pump();
    ck_assert_str_eq(peer.status, "10");
    ck_assert_str_eq(peer.message, "much");
    ck_assert_str_eq(peer.details, "");
}
END_TEST

START_TEST(error_after_metadata_sends_headers_first)
{
    struct mm_errinfo ei = {0};
    const struct mm_bytes value = {(const uint8_t *)"v", 1};

    hold_one();
    ck_assert_int_eq(mm_call_add_header(seen.held, "x-name", value), MM_OK);
    mm_fail(&ei, MM_ERR_ABORTED, "SOME_REASON", "no");
    mm_call_finish(seen.held, &ei);
    pump();
    ck_assert_str_eq(peer.status, "10");
    ck_assert_int_eq(peer.header_blocks, 2);
    ck_assert_uint_eq(peer.data_bytes, 0);
}
END_TEST

START_TEST(error_after_trailing_metadata_alone_is_trailers_only)
{
    struct mm_errinfo ei = {0};
    const struct mm_bytes value = {(const uint8_t *)"v", 1};

    hold_one();
    ck_assert_int_eq(mm_call_add_trailer(seen.held, "x-name", value), MM_OK);
    mm_fail(&ei, MM_ERR_ABORTED, "SOME_REASON", "no");
    mm_call_finish(seen.held, &ei);
    pump();
    ck_assert_str_eq(peer.status, "10");
    ck_assert_int_eq(peer.header_blocks, 1);
}
END_TEST

START_TEST(error_has_details_unless_the_server_wants_none)
{
    call("/t/Officer", "", NULL);
    pump();
    ck_assert_str_eq(peer.status, "7");
    ck_assert_str_ne(peer.details, "");
    peer.details[0] = 0;
    core->bare_errors = true;
    call("/t/Officer", "", NULL);
    pump();
    ck_assert_str_eq(peer.status, "7");
    ck_assert_str_eq(peer.details, "");
}
END_TEST

START_TEST(message_over_the_limit_of_the_server_is_refused)
{
    core->message_max = 7; /* five characters and their tag and length */
    call("/t/Echo", "small", NULL);
    pump();
    ck_assert_str_eq(peer.status, "0");
    call("/t/Echo", "larger", NULL);
    pump();
    ck_assert_str_eq(peer.status, "8");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("h2_status");
    TCase *tc = tcase_create("status");

    tcase_add_checked_fixture(tc, start, stop);
    tcase_add_test(tc, status_of_the_service_goes_out_as_it_is);
    tcase_add_test(tc, status_ok_of_the_service_is_an_ordinary_end);
    tcase_add_test(tc, status_that_is_none_is_unknown);
    tcase_add_test(tc, status_whose_details_are_too_big_goes_without_them);
    tcase_add_test(tc, error_after_metadata_sends_headers_first);
    tcase_add_test(tc, error_after_trailing_metadata_alone_is_trailers_only);
    tcase_add_test(tc, error_has_details_unless_the_server_wants_none);
    tcase_add_test(tc, message_over_the_limit_of_the_server_is_refused);
    suite_add_tcase(s, tc);
    return run_suite(s);
}
