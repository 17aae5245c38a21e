/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/base/buf.h"
#include "daemon/base/limits.h"
#include "proto/grpc/unpack.h"
#include "tests/unit/check_main.h"

#include "mintmark/v1/station.pb-c.h"
#include <string.h>

static struct mm_bytes bytes(const void *data, size_t len)
{
    return (struct mm_bytes){.data = data, .len = len};
}

static int scan_text(const ProtobufCMessageDescriptor *d, struct mm_bytes in, struct mm_errinfo *ei)
{
    return mm_grpc_scan(d, in.data, in.len, NULL, ei);
}

START_TEST(scan_accepts_well_formed_and_counts_fields)
{
    /* count = 5; request_id = "r"; hw_serials = "a", "b"; unknown field 100 = varint, fixed32 */
    static const uint8_t in[] = "\x10\x05\x1a\x01r\x22\x01"
                                "a\x22\x01"
                                "b\xa0\x06\x01\xa5\x06\0\0\0\0";
    struct mm_errinfo ei = {0};
    size_t fields = 0;

    ck_assert_int_eq(mm_grpc_scan(&mintmark__v1__provision_request__descriptor, in, sizeof(in) - 1,
                                  &fields, &ei),
                     MM_OK);
    ck_assert_uint_eq(fields, 6);
}
END_TEST

START_TEST(scan_refuses_malformed_bytes)
{
    static const struct {
        const char *in;
        size_t len;
    } bad[] = {
        {"\x10", 1},                                              /* varint missing */
        {"\x10\xff", 2},                                          /* varint cut */
        {"\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12}, /* varint of 11 bytes */
        {"\x0a\x05"
         "abc",
         5},                                                  /* string longer than the rest */
        {"\x00\x01", 2},                                      /* field number 0 */
        {"\x0b\x0c", 2},                                      /* group */
        {"\x0e", 1},                                          /* wire type 6 */
        {"\x0f", 1},                                          /* wire type 7 */
        {"\x09\1\2\3", 4},                                    /* fixed64 cut */
        {"\x0d\1\2", 3},                                      /* fixed32 cut */
        {"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11}, /* huge length */
        {"\xf8\xff\xff\xff\xff\x01\x01", 7},                  /* field number too high */
    };
    struct mm_errinfo ei = {0};

    for (size_t i = 0; i < MM_ARRAY_SIZE(bad); i++) {
        ck_assert_int_eq(scan_text(&mintmark__v1__get_batch_request__descriptor,
                                   bytes(bad[i].in, bad[i].len), &ei),
                         MM_ERR_CORRUPT);
        ck_assert_str_eq(ei.reason, "MALFORMED_MESSAGE");
    }
}
END_TEST

START_TEST(scan_refuses_bad_strings_and_names_the_field)
{
    static const struct {
        const char *in;
        size_t len;
    } bad[] = {{"\x0a\x03"
                "a\0b",
                5},
               {"\x0a\x02\xc0\x80", 4},
               {"\x0a\x01\xff", 3}};
    struct mm_errinfo ei;

    for (size_t i = 0; i < MM_ARRAY_SIZE(bad); i++) {
        ei = (struct mm_errinfo){0};
        ck_assert_int_eq(scan_text(&mintmark__v1__get_batch_request__descriptor,
                                   bytes(bad[i].in, bad[i].len), &ei),
                         MM_ERR_INVALID);
        ck_assert_str_eq(ei.field, "batch_uid");
    }
}
END_TEST

START_TEST(scan_finds_bad_strings_in_submessages)
{
    /* devices { reason = "\xff" } */
    struct mm_errinfo ei = {0};

    ck_assert_int_eq(scan_text(&mintmark__v1__report_devices_request__descriptor,
                               bytes("\x12\x03\x1a\x01\xff", 5), &ei),
                     MM_ERR_INVALID);
    ck_assert_str_eq(ei.field, "reason");
}
END_TEST

START_TEST(scan_limits_fields)
{
    const size_t len = 2 * (MM_PROTO_FIELDS_MAX + 1);
    char *in = malloc(len);
    struct mm_errinfo ei = {0};

    ck_assert_ptr_nonnull(in);
    for (size_t i = 0; i < len; i += 2)
        memcpy(in + i, "\x78\0", 2); /* unknown field 15 */
    ck_assert_int_eq(scan_text(&mintmark__v1__ping_request__descriptor, bytes(in, len - 2), &ei),
                     MM_OK);
    ck_assert_int_eq(scan_text(&mintmark__v1__ping_request__descriptor, bytes(in, len), &ei),
                     MM_ERR_TOO_BIG);
    free(in);
}
END_TEST

/* A message type that contains itself, as google.protobuf.Struct does: 1: self */
static const ProtobufCMessageDescriptor nested_descriptor;
static const ProtobufCFieldDescriptor nested_fields[] = {{
    .name = "self",
    .id = 1,
    .label = PROTOBUF_C_LABEL_OPTIONAL,
    .type = PROTOBUF_C_TYPE_MESSAGE,
    .descriptor = &nested_descriptor,
}};
static const unsigned nested_by_name[] = {0};
static const ProtobufCIntRange nested_ranges[] = {{1, 0}, {0, 1}};
static const ProtobufCMessageDescriptor nested_descriptor = {
    .magic = PROTOBUF_C__MESSAGE_DESCRIPTOR_MAGIC,
    .name = "nested",
    .n_fields = 1,
    .fields = nested_fields,
    .fields_sorted_by_name = nested_by_name,
    .n_field_ranges = 1,
    .field_ranges = nested_ranges,
};

START_TEST(scan_limits_depth)
{
    uint8_t in[2 * MM_PROTO_DEPTH_MAX];
    struct mm_errinfo ei = {0};

    for (size_t i = 0; i < MM_PROTO_DEPTH_MAX; i++) {
        in[2 * i] = 0x0a;
        in[2 * i + 1] = (uint8_t)(sizeof(in) - 2 * i - 2);
    }
    ck_assert_int_eq(scan_text(&nested_descriptor, bytes(in + 2, sizeof(in) - 2), &ei), MM_OK);
    ck_assert_int_eq(scan_text(&nested_descriptor, bytes(in, sizeof(in)), &ei), MM_ERR_TOO_BIG);
    ck_assert_str_eq(ei.reason, "TOO_DEEP");
}
END_TEST

START_TEST(unpack_gives_the_message_and_reset_wipes_it)
{
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    const Mintmark__V1__GetBatchRequest *request;
    struct mm_errinfo ei = {0};
    ProtobufCMessage *message;
    const char *uid;

    ck_assert_int_eq(mm_grpc_unpack(&mintmark__v1__get_batch_request__descriptor, "\x0a\x03uid", 5,
                                    &arena, &message, &ei),
                     MM_OK);
    request = (const Mintmark__V1__GetBatchRequest *)message;
    uid = request->batch_uid;
    ck_assert_str_eq(uid, "uid");
    mm_arena_reset(&arena); /* keeps the small chunk, so that uid can still be read */
    ck_assert_mem_eq(uid, "\0\0\0\0", 4);
}
END_TEST

START_TEST(unpack_empty_message_needs_no_data)
{
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    ProtobufCMessage *message;

    ck_assert_int_eq(
        mm_grpc_unpack(&mintmark__v1__ping_request__descriptor, NULL, 0, &arena, &message, NULL),
        MM_OK);
    ck_assert_ptr_eq(message->descriptor, &mintmark__v1__ping_request__descriptor);
}
END_TEST

START_TEST(unpack_wire_type_that_does_not_fit_is_malformed)
{
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    struct mm_errinfo ei = {0};
    ProtobufCMessage *message;

    ck_assert_int_eq(mm_grpc_unpack(&mintmark__v1__get_batch_request__descriptor, "\x08\x01", 2,
                                    &arena, &message, &ei),
                     MM_ERR_CORRUPT);
}
END_TEST

/* The largest lists that the API allows must pass, however short their elements. */
START_TEST(unpack_takes_the_largest_provision_request)
{
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    MM_BUF_CLEANUP struct mm_buf in = MM_BUF_INIT(MM_GRPC_MESSAGE_MAX);
    struct mm_errinfo ei = {0};
    ProtobufCMessage *message;

    for (int i = 0; i < MM_PROVISION_MAX; i++)
        mm_buf_append(&in, "\x22\x01x", 3);
    ck_assert_int_eq(mm_grpc_unpack(&mintmark__v1__provision_request__descriptor, in.data, in.len,
                                    &arena, &message, &ei),
                     MM_OK);
    ck_assert_uint_eq(((const Mintmark__V1__ProvisionRequest *)message)->n_hw_serials,
                      MM_PROVISION_MAX);
}
END_TEST

START_TEST(unpack_takes_the_largest_report)
{
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    MM_BUF_CLEANUP struct mm_buf in = MM_BUF_INIT(MM_GRPC_MESSAGE_MAX);
    struct mm_errinfo ei = {0};
    ProtobufCMessage *message;

    for (int i = 0; i < MM_REPORT_MAX; i++)
        mm_buf_append(&in, "\x12\x02\x10\x01", 4); /* state only */
    ck_assert_int_eq(mm_grpc_unpack(&mintmark__v1__report_devices_request__descriptor, in.data,
                                    in.len, &arena, &message, &ei),
                     MM_OK);
}
END_TEST

/* Small bytes, large structures: the budget ends it. */
START_TEST(unpack_amplification_is_stopped_by_the_budget)
{
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    MM_BUF_CLEANUP struct mm_buf in = MM_BUF_INIT(MM_GRPC_MESSAGE_MAX);
    struct mm_errinfo ei = {0};
    ProtobufCMessage *message = NULL;
    int r;

    for (int i = 0; i < MM_PROTO_FIELDS_MAX; i++)
        mm_buf_append(&in, "\x0a\0", 2); /* bundles: empty */
    r = mm_grpc_unpack(&mintmark__v1__delivery__descriptor, in.data, in.len, &arena, &message, &ei);
    ck_assert_int_eq(r, MM_ERR_MEMORY);
    ck_assert_uint_le(arena.used, 64 * 1024 + in.len * 8 + MM_PROTO_FIELDS_MAX * 128UL);
}
END_TEST

START_TEST(arena_alloc_is_aligned_and_keeps_to_its_budget)
{
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;

    ck_assert_ptr_null(mm_arena_alloc(&arena, 1));
    mm_arena_allow(&arena, 5 * 1024 * 1024);
    for (size_t i = 1; i < 3000; i += 7) {
        uint8_t *p = mm_arena_alloc(&arena, i);

        ck_assert_ptr_nonnull(p);
        ck_assert_uint_eq((uintptr_t)p % 8, 0);
        memset(p, 0xaa, i);
    }
    ck_assert_ptr_null(mm_arena_alloc(&arena, SIZE_MAX));
    ck_assert_ptr_null(mm_arena_alloc(&arena, SIZE_MAX - 3));
    ck_assert_ptr_nonnull(mm_arena_alloc(&arena, arena.budget - arena.used));
    ck_assert_ptr_null(mm_arena_alloc(&arena, 1));
    ck_assert(arena.refused);
    mm_arena_reset(&arena);
    ck_assert_uint_eq(arena.used, 0);
    ck_assert(!arena.refused);
}
END_TEST

static TCase *unpack_case(void)
{
    TCase *tc = tcase_create("unpack");

    tcase_add_test(tc, scan_accepts_well_formed_and_counts_fields);
    tcase_add_test(tc, scan_refuses_malformed_bytes);
    tcase_add_test(tc, scan_refuses_bad_strings_and_names_the_field);
    tcase_add_test(tc, scan_finds_bad_strings_in_submessages);
    tcase_add_test(tc, scan_limits_fields);
    tcase_add_test(tc, scan_limits_depth);
    tcase_add_test(tc, unpack_gives_the_message_and_reset_wipes_it);
    tcase_add_test(tc, unpack_empty_message_needs_no_data);
    tcase_add_test(tc, unpack_wire_type_that_does_not_fit_is_malformed);
    tcase_add_test(tc, unpack_takes_the_largest_provision_request);
    tcase_add_test(tc, unpack_takes_the_largest_report);
    tcase_add_test(tc, unpack_amplification_is_stopped_by_the_budget);
    tcase_add_test(tc, arena_alloc_is_aligned_and_keeps_to_its_budget);
    return tc;
}

int main(void)
{
    Suite *s = suite_create("grpc_unpack");

    suite_add_tcase(s, unpack_case());
    return run_suite(s);
}
