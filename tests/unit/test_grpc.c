/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/base/limits.h"
#include "proto/grpc/frame.h"
#include "proto/grpc/gzip.h"
#include "proto/grpc/status.h"
#include "proto/grpc/text.h"
#include "tests/unit/check_main.h"

#include "google/rpc/status.pb-c.h"
#include <string.h>

static struct mm_bytes bytes(const void *data, size_t len)
{
    return (struct mm_bytes){.data = data, .len = len};
}

/* Frames. */

START_TEST(deframer_feed_split_at_every_byte_gives_the_same_messages)
{
    static const uint8_t wire[] = "\0\0\0\0\3abc\0\0\0\0\0\1\0\0\0\1z";
    static const char *const want[] = {"abc", "", "z"};
    const size_t len = sizeof(wire) - 1;

    for (size_t split = 0; split <= len; split++) {
        struct mm_grpc_deframer d;
        struct mm_grpc_frame f;
        size_t n = 0;

        mm_grpc_deframer_init(&d, 3);
        for (int half = 0; half < 2; half++) {
            struct mm_bytes in = half ? bytes(wire + split, len - split) : bytes(wire, split);

            while (mm_grpc_deframer_feed(&d, &in, &f) == MM_OK) {
                ck_assert_uint_lt(n, 3);
                ck_assert_uint_eq(f.payload.len, strlen(want[n]));
                ck_assert(f.payload.len == 0 ||
                          memcmp(f.payload.data, want[n], f.payload.len) == 0);
                ck_assert_int_eq(f.compressed, n == 2);
                n++;
            }
            ck_assert_uint_eq(in.len, 0);
        }
        ck_assert_uint_eq(n, 3);
        ck_assert(mm_grpc_deframer_at_boundary(&d));
        mm_grpc_deframer_done(&d);
    }
}
END_TEST

START_TEST(deframer_feed_byte_by_byte_is_at_boundary_only_between_messages)
{
    static const uint8_t wire[] = {0, 0, 0, 0, 2, 'h', 'i'};
    struct mm_grpc_deframer d;
    struct mm_grpc_frame f;

    mm_grpc_deframer_init(&d, 100);
    for (size_t i = 0; i < sizeof(wire); i++) {
        struct mm_bytes in = bytes(wire + i, 1);

        ck_assert_int_eq(mm_grpc_deframer_at_boundary(&d), i == 0);
        ck_assert_int_eq(mm_grpc_deframer_feed(&d, &in, &f), i == 6 ? MM_OK : MM_ERR_AGAIN);
    }
    ck_assert(mm_grpc_deframer_at_boundary(&d));
    mm_grpc_deframer_done(&d);
}
END_TEST

START_TEST(deframer_feed_over_limit_is_refused_before_buffering)
{
    struct mm_bytes in = bytes("\0\0\0\0\4abcd", 9);
    struct mm_grpc_deframer d;
    struct mm_grpc_frame f;

    mm_grpc_deframer_init(&d, 3);
    ck_assert_int_eq(mm_grpc_deframer_feed(&d, &in, &f), MM_ERR_TOO_BIG);
    ck_assert_ptr_null(d.message.data);
    mm_grpc_deframer_done(&d);
}
END_TEST

START_TEST(deframer_feed_promise_of_much_allocates_little)
{
    struct mm_bytes in = bytes("\0\0\x40\0\0a", 6);
    struct mm_grpc_deframer d;
    struct mm_grpc_frame f;

    mm_grpc_deframer_init(&d, MM_GRPC_MESSAGE_MAX);
    ck_assert_int_eq(mm_grpc_deframer_feed(&d, &in, &f), MM_ERR_AGAIN);
    ck_assert_uint_le(d.message.cap, 256);
    mm_grpc_deframer_done(&d);
}
END_TEST

START_TEST(deframer_feed_unknown_flag_is_refused_at_the_first_byte)
{
    struct mm_bytes in = bytes("\2", 1);
    struct mm_grpc_deframer d;
    struct mm_grpc_frame f;

    mm_grpc_deframer_init(&d, 3);
    ck_assert_int_eq(mm_grpc_deframer_feed(&d, &in, &f), MM_ERR_CORRUPT);
    mm_grpc_deframer_done(&d);
}
END_TEST

START_TEST(prefix_is_flag_and_big_endian_length)
{
    uint8_t p[MM_GRPC_PREFIX_LEN];

    mm_grpc_prefix(true, 0x01020304, p);
    ck_assert_mem_eq(p, "\1\1\2\3\4", 5);
    mm_grpc_prefix(false, 0, p);
    ck_assert_mem_eq(p, "\0\0\0\0\0", 5);
}
END_TEST

/* Text. */

START_TEST(timeout_parse_takes_every_unit)
{
    static const struct {
        const char *text;
        int64_t us;
    } good[] = {{"0n", 0},
                {"1n", 1},
                {"1000n", 1},
                {"1001n", 2},
                {"7u", 7},
                {"7m", 7000},
                {"7S", 7000000},
                {"2M", 120000000},
                {"1H", 3600000000},
                {"00000001S", 1000000},
                {"99999999H", 359999996400000000}};

    for (size_t i = 0; i < MM_ARRAY_SIZE(good); i++) {
        int64_t us = -1;

        ck_assert_int_eq(mm_grpc_timeout_parse(good[i].text, strlen(good[i].text), &us), MM_OK);
        ck_assert_int_eq(us, good[i].us);
    }
}
END_TEST

START_TEST(timeout_parse_refuses_the_rest)
{
    static const char *const bad[] = {"",    "S",   "1",    "1s",   "-1S",        "+1S", " 1S",
                                      "1 S", "1S ", "1.5S", "0x1S", "123456789S", "1SS"};
    int64_t us = -1;

    for (size_t i = 0; i < MM_ARRAY_SIZE(bad); i++)
        ck_assert_int_eq(mm_grpc_timeout_parse(bad[i], strlen(bad[i]), &us), MM_ERR_INVALID);
    ck_assert_int_eq(us, -1);
}
END_TEST

START_TEST(timeout_format_keeps_to_eight_digits_and_rounds_up)
{
    static const struct {
        int64_t us;
        const char *text;
    } cases[] = {{-5, "0u"},
                 {0, "0u"},
                 {99999999, "99999999u"},
                 {100000000, "100000m"},
                 {100000001, "100001m"},
                 {99999999000, "99999999m"},
                 {99999999001, "100000S"},
                 {INT64_MAX, "99999999H"}};
    char out[MM_GRPC_TIMEOUT_TEXT];

    for (size_t i = 0; i < MM_ARRAY_SIZE(cases); i++)
        ck_assert_str_eq(mm_grpc_timeout_format(cases[i].us, out), cases[i].text);
}
END_TEST

START_TEST(percent_encode_escapes_what_is_not_printable_ascii)
{
    MM_BUF_CLEANUP struct mm_buf out = MM_BUF_INIT(100), back = MM_BUF_INIT(100);
    static const char in[] = "\t100% \xe2\x98\xba~\x7f";

    mm_grpc_percent_encode(&out, in, sizeof(in) - 1);
    ck_assert_str_eq(mm_buf_cstr(&out), "%09100%25 %E2%98%BA~%7F");
    mm_grpc_percent_decode(&back, out.data, out.len);
    ck_assert_str_eq(mm_buf_cstr(&back), in);
}
END_TEST

START_TEST(percent_decode_leaves_bad_escapes_alone)
{
    static const struct {
        const char *in, *out;
    } cases[] = {{"%", "%"},     {"%4", "%4"},   {"a%zz", "a%zz"},
                 {"%4g", "%4g"}, {"%%41", "%A"}, {"%e2%AC", "\xe2\xac"}};

    for (size_t i = 0; i < MM_ARRAY_SIZE(cases); i++) {
        MM_BUF_CLEANUP struct mm_buf out = MM_BUF_INIT(100);

        mm_grpc_percent_decode(&out, cases[i].in, strlen(cases[i].in));
        ck_assert_str_eq(mm_buf_cstr(&out), cases[i].out);
    }
}
END_TEST

START_TEST(base64_round_trips_every_length_with_and_without_padding)
{
    uint8_t data[64];

    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 67 + 0xf0);
    for (size_t len = 0; len <= sizeof(data); len++) {
        MM_BUF_CLEANUP struct mm_buf b64 = MM_BUF_INIT(200), back = MM_BUF_INIT(200);

        mm_grpc_base64_encode(&b64, data, len);
        ck_assert_uint_eq(b64.len, (len * 4 + 2) / 3);
        ck_assert_int_eq(mm_grpc_base64_decode(&back, b64.data, b64.len), MM_OK);
        while (b64.len % 4)
            mm_buf_append_u8(&b64, '=');
        ck_assert_int_eq(mm_grpc_base64_decode(&back, b64.data, b64.len), MM_OK);
        ck_assert_uint_eq(back.len, 2 * len);
        if (len > 0) {
            ck_assert_mem_eq(back.data, data, len);
            ck_assert_mem_eq(back.data + len, data, len);
        }
    }
}
END_TEST

START_TEST(base64_decode_refuses_what_is_not_canonical)
{
    static const char *const bad[] = {"A",  "AAAAA", "A===",     "AA=",  "AAA==", "====",  "=",
                                      "AB", "AAB",   "AA==AAAA", "A A=", "A-_A",  "AAAA\n"};
    MM_BUF_CLEANUP struct mm_buf out = MM_BUF_INIT(100);

    mm_buf_append_u8(&out, 'x');
    for (size_t i = 0; i < MM_ARRAY_SIZE(bad); i++)
        ck_assert_int_eq(mm_grpc_base64_decode(&out, bad[i], strlen(bad[i])), MM_ERR_INVALID);
    ck_assert_str_eq(mm_buf_cstr(&out), "x");
}
END_TEST

START_TEST(content_parse_tells_grpc_from_the_rest)
{
    static const struct {
        const char *text;
        enum mm_grpc_content content;
    } cases[] = {{"application/grpc", MM_GRPC_CONTENT_PROTO},
                 {"Application/GRPC", MM_GRPC_CONTENT_PROTO},
                 {"application/grpc+proto", MM_GRPC_CONTENT_PROTO},
                 {"application/grpc;charset=utf-8", MM_GRPC_CONTENT_PROTO},
                 {"application/grpc+proto;x=y", MM_GRPC_CONTENT_PROTO},
                 {"application/grpc+json", MM_GRPC_CONTENT_SUBTYPE},
                 {"application/grpc+protobuf", MM_GRPC_CONTENT_SUBTYPE},
                 {"application/grpc-web", MM_GRPC_CONTENT_OTHER},
                 {"application/grpcx", MM_GRPC_CONTENT_OTHER},
                 {"application/json", MM_GRPC_CONTENT_OTHER},
                 {"", MM_GRPC_CONTENT_OTHER}};

    for (size_t i = 0; i < MM_ARRAY_SIZE(cases); i++)
        ck_assert_int_eq(mm_grpc_content_parse(cases[i].text, strlen(cases[i].text)),
                         cases[i].content);
}
END_TEST

START_TEST(coding_parse_and_accept_list_know_gzip)
{
    static const char *const with[] = {"gzip", "identity,gzip", "identity, deflate,\tgzip , x"};
    static const char *const without[] = {"", "identity", "gzipp", "xgzip,identity", "gz ip", ",,"};

    ck_assert_int_eq(mm_grpc_coding_parse("identity", 8), MM_GRPC_CODING_IDENTITY);
    ck_assert_int_eq(mm_grpc_coding_parse("gzip", 4), MM_GRPC_CODING_GZIP);
    ck_assert_int_eq(mm_grpc_coding_parse("GZIP", 4), MM_GRPC_CODING_OTHER);
    ck_assert_int_eq(mm_grpc_coding_parse("", 0), MM_GRPC_CODING_OTHER);
    for (size_t i = 0; i < MM_ARRAY_SIZE(with); i++)
        ck_assert(mm_grpc_accepts_gzip(with[i], strlen(with[i])));
    for (size_t i = 0; i < MM_ARRAY_SIZE(without); i++)
        ck_assert(!mm_grpc_accepts_gzip(without[i], strlen(without[i])));
}
END_TEST

/* gzip. */

enum { ZEROS = 300000 };

/* The gzip of so many zeros. */
static void pack_zeros(struct mm_buf *packed, size_t n)
{
    MM_BUF_CLEANUP struct mm_buf zeros = MM_BUF_INIT(n);
    uint8_t *to = mm_buf_reserve(&zeros, n);

    ck_assert_ptr_nonnull(to);
    memset(to, 0, n);
    ck_assert_int_eq(mm_grpc_gzip((struct mm_bytes){to, n}, packed), MM_OK);
}

static int unpack(const struct mm_buf *packed, size_t len, struct mm_buf *plain)
{
    return mm_grpc_gunzip((struct mm_bytes){packed->data, len}, plain);
}

START_TEST(gunzip_takes_a_message_of_exactly_the_limit_and_none_longer)
{
    MM_BUF_CLEANUP struct mm_buf packed = MM_BUF_INIT(ZEROS), plain = MM_BUF_INIT(ZEROS),
                                 small = MM_BUF_INIT(ZEROS - 1), none = MM_BUF_INIT(0);

    pack_zeros(&packed, ZEROS);
    ck_assert_uint_lt(packed.len, ZEROS / 100);
    ck_assert_int_eq(unpack(&packed, packed.len, &plain), MM_OK);
    ck_assert_uint_eq(plain.len, ZEROS);
    for (size_t i = 0; i < plain.len; i++)
        ck_assert_uint_eq(plain.data[i], 0);
    ck_assert_int_eq(unpack(&packed, packed.len, &small), MM_ERR_TOO_BIG);
    ck_assert_int_eq(unpack(&packed, packed.len, &none), MM_ERR_TOO_BIG);
    ck_assert_uint_eq(none.len, 0);
}
END_TEST

START_TEST(gunzip_refuses_what_is_cut_off_anywhere_or_goes_on)
{
    MM_BUF_CLEANUP struct mm_buf packed = MM_BUF_INIT(ZEROS), plain = MM_BUF_INIT(1000);

    pack_zeros(&packed, 1000);
    for (size_t len = 0; len < packed.len; len++) {
        ck_assert_int_eq(unpack(&packed, len, &plain), MM_ERR_CORRUPT);
        mm_buf_reset(&plain);
    }
    mm_buf_append_u8(&packed, 0);
    ck_assert_int_eq(unpack(&packed, packed.len, &plain), MM_ERR_CORRUPT);
}
END_TEST

START_TEST(gunzip_refuses_a_wrong_checksum_and_other_formats)
{
    /* "x" as zlib and not gzip: RFC 1950. */
    static const uint8_t zlib[] = {0x78, 0x9c, 0xab, 0x00, 0x00, 0x00, 0x79, 0x00, 0x79};
    MM_BUF_CLEANUP struct mm_buf packed = MM_BUF_INIT(ZEROS), plain = MM_BUF_INIT(1000);

    pack_zeros(&packed, 1000);
    packed.data[packed.len - 8] ^= 1;
    ck_assert_int_eq(unpack(&packed, packed.len, &plain), MM_ERR_CORRUPT);
    mm_buf_reset(&plain);
    ck_assert_int_eq(mm_grpc_gunzip((struct mm_bytes){zlib, sizeof(zlib)}, &plain), MM_ERR_CORRUPT);
}
END_TEST

START_TEST(gunzip_takes_a_member_that_holds_nothing)
{
    static const uint8_t empty[] = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3,
                                    3,    0,    0, 0, 0, 0, 0, 0, 0, 0};
    MM_BUF_CLEANUP struct mm_buf plain = MM_BUF_INIT(0);

    ck_assert_int_eq(mm_grpc_gunzip((struct mm_bytes){empty, sizeof(empty)}, &plain), MM_OK);
    ck_assert_uint_eq(plain.len, 0);
}
END_TEST

START_TEST(gzip_refuses_what_does_not_shrink_and_leaves_the_output_alone)
{
    MM_BUF_CLEANUP struct mm_buf out = MM_BUF_INIT(1000), narrow = MM_BUF_INIT(3);

    mm_buf_append_u8(&out, 'x');
    ck_assert_int_eq(mm_grpc_gzip((struct mm_bytes){NULL, 0}, &out), MM_ERR_TOO_BIG);
    ck_assert_int_eq(mm_grpc_gzip((struct mm_bytes){(const uint8_t *)"abc", 3}, &out),
                     MM_ERR_TOO_BIG);
    ck_assert_str_eq(mm_buf_cstr(&out), "x");
    ck_assert_int_eq(mm_grpc_gzip((struct mm_bytes){(const uint8_t *)"abcdef", 6}, &narrow),
                     MM_ERR_TOO_BIG);
    ck_assert_int_eq(mm_buf_err(&narrow), MM_OK);
}
END_TEST

/* Status. */

START_TEST(status_of_maps_every_error_and_back)
{
    for (int err = 0; err >= MM_ERR_INTERNAL; err--)
        ck_assert_int_le(mm_grpc_status_of(err), MM_GRPC_UNAUTHENTICATED);
    ck_assert_int_eq(mm_grpc_status_of(MM_ERR_EXHAUSTED), MM_GRPC_RESOURCE_EXHAUSTED);
    ck_assert_int_eq(mm_grpc_status_of(1), MM_GRPC_UNKNOWN);
    ck_assert_int_eq(mm_grpc_status_of(-1000), MM_GRPC_UNKNOWN);
    for (int s = 0; s <= MM_GRPC_UNAUTHENTICATED; s++) {
        const int back = (int)mm_grpc_status_of(mm_grpc_status_err((enum mm_grpc_status)s));

        if (s == MM_GRPC_UNKNOWN)
            ck_assert_int_eq(back, MM_GRPC_INTERNAL);
        else if (s == MM_GRPC_OUT_OF_RANGE)
            ck_assert_int_eq(back, MM_GRPC_INVALID_ARGUMENT);
        else
            ck_assert_int_eq(back, s);
    }
}
END_TEST

START_TEST(status_parse_is_strict_and_falls_back_to_unknown)
{
    static const char *const bad[] = {"",   "00", "01", "17", "99", "100",
                                      "-1", " 1", "1 ", "x",  "1x"};

    ck_assert_int_eq(mm_grpc_status_parse("0", 1), MM_GRPC_OK);
    ck_assert_int_eq(mm_grpc_status_parse("9", 1), MM_GRPC_FAILED_PRECONDITION);
    ck_assert_int_eq(mm_grpc_status_parse("16", 2), MM_GRPC_UNAUTHENTICATED);
    for (size_t i = 0; i < MM_ARRAY_SIZE(bad); i++)
        ck_assert_int_eq(mm_grpc_status_parse(bad[i], strlen(bad[i])), MM_GRPC_UNKNOWN);
}
END_TEST

START_TEST(status_of_http_and_h2_follow_the_mapping)
{
    ck_assert_int_eq(mm_grpc_status_of_http(200), MM_GRPC_UNKNOWN);
    ck_assert_int_eq(mm_grpc_status_of_http(400), MM_GRPC_INTERNAL);
    ck_assert_int_eq(mm_grpc_status_of_http(431), MM_GRPC_UNKNOWN);
    ck_assert_int_eq(mm_grpc_status_of_http(404), MM_GRPC_UNIMPLEMENTED);
    ck_assert_int_eq(mm_grpc_status_of_http(503), MM_GRPC_UNAVAILABLE);
    ck_assert_int_eq(mm_grpc_status_of_h2(8), MM_GRPC_CANCELLED);
    ck_assert_int_eq(mm_grpc_status_of_h2(7), MM_GRPC_UNAVAILABLE);
    ck_assert_int_eq(mm_grpc_status_of_h2(0xffffffff), MM_GRPC_UNKNOWN);
}
END_TEST

START_TEST(details_pack_and_unpack_round_trip)
{
    MM_BUF_CLEANUP struct mm_buf out = MM_BUF_INIT(4096);
    struct mm_errinfo in = {0}, back = {.code = MM_ERR_INVALID, .text = "kept"};
    Google__Rpc__Status *status;

    mm_fail_field(&in, "quantity", "quantity must be 1 to %d", 7);
    in.retry_ms = 1234;
    in.detail = 42;
    ck_assert_int_eq(mm_err_subject(&in, "order", "o-7"), MM_ERR_INVALID);
    mm_grpc_details_pack(&in, &out);
    ck_assert_int_eq(mm_buf_err(&out), MM_OK);
    status = google__rpc__status__unpack(NULL, out.len, out.data);
    ck_assert_ptr_nonnull(status);
    ck_assert_int_eq(status->code, MM_GRPC_INVALID_ARGUMENT);
    ck_assert_str_eq(status->message, "quantity must be 1 to 7");
    ck_assert_uint_eq(status->n_details, 4);
    google__rpc__status__free_unpacked(status, NULL);

    ck_assert_int_eq(mm_grpc_details_unpack(out.data, out.len, &back), MM_OK);
    ck_assert_str_eq(back.reason, "INVALID_FIELD");
    ck_assert_str_eq(back.field, "quantity");
    ck_assert_str_eq(back.subject, "order:o-7");
    ck_assert_uint_eq(back.retry_ms, 1234);
    ck_assert_str_eq(back.text, "kept");
    ck_assert_uint_eq(back.detail, 0);
}
END_TEST

START_TEST(details_pack_mends_text_that_was_cut)
{
    MM_BUF_CLEANUP struct mm_buf out = MM_BUF_INIT(4096);
    struct mm_errinfo in = {
        .code = MM_ERR_INTERNAL, .reason = "R", .text = "ok \xe2\x98\xba \xe2\x98"};
    Google__Rpc__Status *status;

    mm_grpc_details_pack(&in, &out);
    status = google__rpc__status__unpack(NULL, out.len, out.data);
    ck_assert_ptr_nonnull(status);
    ck_assert_str_eq(status->message, "ok \xe2\x98\xba ??");
    google__rpc__status__free_unpacked(status, NULL);
}
END_TEST

START_TEST(details_unpack_garbage_changes_nothing)
{
    struct mm_errinfo ei = {.code = MM_ERR_INVALID, .reason = "KEEP"};

    ck_assert_int_eq(mm_grpc_details_unpack("\xff\xff", 2, &ei), MM_ERR_CORRUPT);
    ck_assert_str_eq(ei.reason, "KEEP");
    ck_assert_int_eq(mm_grpc_details_unpack("", 0, &ei), MM_OK);
    ck_assert_str_eq(ei.reason, "KEEP");
}
END_TEST

static TCase *frames_case(void)
{
    TCase *tc = tcase_create("frames");

    tcase_add_test(tc, deframer_feed_split_at_every_byte_gives_the_same_messages);
    tcase_add_test(tc, deframer_feed_byte_by_byte_is_at_boundary_only_between_messages);
    tcase_add_test(tc, deframer_feed_over_limit_is_refused_before_buffering);
    tcase_add_test(tc, deframer_feed_promise_of_much_allocates_little);
    tcase_add_test(tc, deframer_feed_unknown_flag_is_refused_at_the_first_byte);
    tcase_add_test(tc, prefix_is_flag_and_big_endian_length);
    return tc;
}

static TCase *text_case(void)
{
    TCase *tc = tcase_create("text");

    tcase_add_test(tc, timeout_parse_takes_every_unit);
    tcase_add_test(tc, timeout_parse_refuses_the_rest);
    tcase_add_test(tc, timeout_format_keeps_to_eight_digits_and_rounds_up);
    tcase_add_test(tc, percent_encode_escapes_what_is_not_printable_ascii);
    tcase_add_test(tc, percent_decode_leaves_bad_escapes_alone);
    tcase_add_test(tc, base64_round_trips_every_length_with_and_without_padding);
    tcase_add_test(tc, base64_decode_refuses_what_is_not_canonical);
    tcase_add_test(tc, content_parse_tells_grpc_from_the_rest);
    tcase_add_test(tc, coding_parse_and_accept_list_know_gzip);
    tcase_add_test(tc, gunzip_takes_a_message_of_exactly_the_limit_and_none_longer);
    tcase_add_test(tc, gunzip_refuses_what_is_cut_off_anywhere_or_goes_on);
    tcase_add_test(tc, gunzip_refuses_a_wrong_checksum_and_other_formats);
    tcase_add_test(tc, gunzip_takes_a_member_that_holds_nothing);
    tcase_add_test(tc, gzip_refuses_what_does_not_shrink_and_leaves_the_output_alone);
    return tc;
}

static TCase *status_case(void)
{
    TCase *tc = tcase_create("status");

    tcase_add_test(tc, status_of_maps_every_error_and_back);
    tcase_add_test(tc, status_parse_is_strict_and_falls_back_to_unknown);
    tcase_add_test(tc, status_of_http_and_h2_follow_the_mapping);
    tcase_add_test(tc, details_pack_and_unpack_round_trip);
    tcase_add_test(tc, details_pack_mends_text_that_was_cut);
    tcase_add_test(tc, details_unpack_garbage_changes_nothing);
    return tc;
}

int main(void)
{
    Suite *s = suite_create("grpc");

    suite_add_tcase(s, frames_case());
    suite_add_tcase(s, text_case());
    suite_add_tcase(s, status_case());
    return run_suite(s);
}
