/* SPDX-License-Identifier: Apache-2.0 */
/* What is put together, held against libcrypto's encoder, and taken apart again. */
#include "daemon/pki/der.h"

#include "daemon/base/limits.h"
#include "tests/unit/check_main.h"

#include <openssl/asn1.h>
#include <openssl/bn.h>
#include <string.h>

enum { CONTENT_MAX = 70000 };

static uint8_t content[CONTENT_MAX];
static struct mm_buf der;

static void setup(void)
{
    memset(content, 0x5a, sizeof(content));
    der = MM_BUF_INIT(CONTENT_MAX + 64);
}

static void teardown(void)
{
    mm_buf_done(&der);
}

static void check_is(uint8_t *expected, int len)
{
    ck_assert_int_gt(len, 0);
    ck_assert_int_eq(mm_buf_err(&der), MM_OK);
    ck_assert_uint_eq(der.len, (size_t)len);
    ck_assert_mem_eq(der.data, expected, der.len);
    OPENSSL_free(expected);
}

/* Around each number of length octets. */
static const size_t lengths[] = {0, 1, 127, 128, 255, 256, 65535, 65536, 69999};

START_TEST(element_is_libcryptos)
{
    ASN1_OCTET_STRING *octets = ASN1_OCTET_STRING_new();
    uint8_t *expected = NULL;
    int len;

    ck_assert_int_eq(ASN1_OCTET_STRING_set(octets, content, (int)lengths[_i]), 1);
    mm_der_append(&der, MM_DER_OCTET_STRING, content, lengths[_i]);
    len = i2d_ASN1_OCTET_STRING(octets, &expected);
    check_is(expected, len);
    ASN1_OCTET_STRING_free(octets);
}
END_TEST

START_TEST(wrapped_is_the_same_as_appended)
{
    struct mm_buf appended = MM_BUF_INIT(CONTENT_MAX + 64);

    mm_buf_append_str(&appended, "before");
    mm_der_append(&appended, MM_DER_SEQUENCE, content, lengths[_i]);
    mm_buf_append_str(&der, "before");
    mm_buf_append(&der, content, lengths[_i]);
    mm_der_wrap(&der, 6, MM_DER_SEQUENCE);
    ck_assert_int_eq(mm_buf_err(&der), MM_OK);
    ck_assert_uint_eq(der.len, appended.len);
    ck_assert_mem_eq(der.data, appended.data, der.len);
    mm_buf_done(&appended);
}
END_TEST

START_TEST(what_was_put_together_can_be_taken_apart)
{
    struct mm_bytes in;
    struct mm_der outer, inner;

    mm_der_append(&der, MM_DER_OCTET_STRING, content, lengths[_i]);
    mm_der_wrap(&der, 0, MM_DER_CONTEXT_0 + 3);
    in = (struct mm_bytes){der.data, der.len};
    ck_assert(mm_der_part(&in, MM_DER_CONTEXT_0 + 3, &outer));
    ck_assert_uint_eq(in.len, 0);
    ck_assert(mm_der_part(&outer.content, MM_DER_OCTET_STRING, &inner));
    ck_assert_uint_eq(inner.content.len, lengths[_i]);
    ck_assert_uint_eq(outer.content.len, 0);
}
END_TEST

static const struct {
    const char *magnitude;
    size_t len;
} numbers[] = {
    {"", 0},
    {"\x00", 1},
    {"\x00\x00\x00", 3},
    {"\x01", 1},
    {"\x7f", 1},
    {"\x80", 1},
    {"\x00\x80", 2},
    {"\x00\x00\x7f\x00", 4},
    {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 20},
    {"\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 20},
};

START_TEST(number_is_libcryptos)
{
    BIGNUM *n = BN_bin2bn((const uint8_t *)numbers[_i].magnitude, (int)numbers[_i].len, NULL);
    ASN1_INTEGER *integer = BN_to_ASN1_INTEGER(n, NULL);
    uint8_t *expected = NULL;
    int len;

    mm_der_append_unsigned(&der, (const uint8_t *)numbers[_i].magnitude, numbers[_i].len);
    len = i2d_ASN1_INTEGER(integer, &expected);
    check_is(expected, len);
    ASN1_INTEGER_free(integer);
    BN_free(n);
}
END_TEST

START_TEST(what_does_not_fit_is_an_error_that_sticks)
{
    struct mm_buf small = MM_BUF_INIT(10);

    mm_der_append(&small, MM_DER_OCTET_STRING, content, 8);
    ck_assert_int_eq(mm_buf_err(&small), MM_OK);
    mm_der_wrap(&small, 0, MM_DER_SEQUENCE);
    ck_assert_int_eq(mm_buf_err(&small), MM_ERR_TOO_BIG);
    ck_assert_uint_eq(small.len, 10);
    mm_der_wrap(&small, 20, MM_DER_SEQUENCE); /* of a start that was never reached */
    mm_der_append_unsigned(&small, content, 1);
    ck_assert_int_eq(mm_buf_err(&small), MM_ERR_TOO_BIG);
    ck_assert_uint_eq(small.len, 10);
    mm_buf_done(&small);
}
END_TEST

/* The reference: libcrypto's reader, held to the shortest length. */
static bool libcrypto_takes(const uint8_t *bytes, size_t len, size_t *ret_whole)
{
    const uint8_t *at = bytes;
    long content_len = 0;
    int tag = 0, class = 0;
    const int found = ASN1_get_object(&at, &content_len, &tag, &class, (long)len);

    *ret_whole = (size_t)(at - bytes) + (size_t)content_len;
    return !(found & 0x81) && ASN1_object_size(0, (int)content_len, tag) == (int)*ret_whole;
}

/* Every first octet of a length. */
START_TEST(taken_is_what_libcrypto_takes)
{
    static const uint8_t edges[] = {0x00, 0x01, 0x02, 0x7f, 0x80, 0xff};
    const size_t n = MM_ARRAY_SIZE(edges);
    uint8_t bytes[600] = {MM_DER_INTEGER, (uint8_t)_i};

    for (size_t i = 0; i < n * n; i++) {
        struct mm_bytes in = {bytes, sizeof(bytes)};
        struct mm_der e;
        size_t whole;

        bytes[2] = edges[i / n];
        bytes[3] = edges[i % n];
        ck_assert(mm_der_take(&in, &e) == libcrypto_takes(bytes, sizeof(bytes), &whole));
        if (in.len < sizeof(bytes)) {
            ck_assert_uint_eq(e.whole.len, whole);
            ck_assert_uint_eq(in.len, sizeof(bytes) - whole);
            ck_assert_ptr_eq(e.content.data + e.content.len, in.data);
        }
    }
}
END_TEST

static const struct {
    const char *bytes;
    size_t len;
    const char *why;
    size_t at;
} faults[] = {
    {"", 0, NULL, 0},
    {"\x02\x01\x05\x30\x00", 5, NULL, 0},
    {"\x30\x04\xa0\x02\x05\x00", 6, NULL, 0},
    {"\x02", 1, "cut off", 0},
    {"\x30\x03\x02\x02\x05", 5, "cut off", 2},
    {"\x30\x03\x02\x82\x01", 5, "cut off", 2},
    {"\x04\x84\x01\x00\x00\x00", 6, "cut off", 0},
    {"\x30\x80\x00\x00", 4, "indefinite", 0},
    {"\x30\x05\x02\x01\x05\x04\x81\x00", 8, "cut off", 5},
    {"\x30\x06\x02\x01\x05\x04\x81\x00", 8, "longer than it need be", 5},
    {"\x04\x82\x00\x80", 4, "longer than it need be", 0},
    {"\x04\x81\x01\x00", 4, "longer than it need be", 0},
    {"\x10\x00", 2, "a form", 0},
    {"\x24\x00", 2, "a form", 0},
    {"\x30\x02\x00\x00", 4, "a form", 2},
    {"\x9f\x81\x00\x00", 4, "a form", 0},
    {"\x30\x06\x30\x04\x30\x02\x30\x00", 8, "too deeply", 6},
};

START_TEST(fault_says_what_and_where)
{
    const struct mm_bytes in = {(const uint8_t *)faults[_i].bytes, faults[_i].len};
    size_t at = 0;
    const char *why = mm_der_fault(in, 3, &at);

    if (!faults[_i].why) {
        ck_assert_ptr_null(why);
        return;
    }
    ck_assert_msg(why && strstr(why, faults[_i].why), "%s", why ? why : "no fault");
    ck_assert_uint_eq(at, faults[_i].at);
}
END_TEST

/* MM_CSR_DEPTH_MAX elements within each other, and one more. */
START_TEST(well_formed_goes_as_deep_as_its_limit)
{
    mm_der_append(&der, MM_DER_BOOLEAN, "\xff", 1);
    for (int depth = 0; depth < MM_CSR_DEPTH_MAX; depth++)
        mm_der_wrap(&der, 0, MM_DER_SEQUENCE);
    ck_assert(mm_der_well_formed((struct mm_bytes){der.data, der.len}));
    mm_der_wrap(&der, 0, MM_DER_SEQUENCE);
    ck_assert(!mm_der_well_formed((struct mm_bytes){der.data, der.len}));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pki_der");
    TCase *t = tcase_create("all");
    const int n = (int)MM_ARRAY_SIZE(lengths);

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, element_is_libcryptos, 0, n);
    tcase_add_loop_test(t, wrapped_is_the_same_as_appended, 0, n);
    tcase_add_loop_test(t, what_was_put_together_can_be_taken_apart, 0, n);
    tcase_add_loop_test(t, number_is_libcryptos, 0, (int)MM_ARRAY_SIZE(numbers));
    tcase_add_test(t, what_does_not_fit_is_an_error_that_sticks);
    tcase_add_loop_test(t, taken_is_what_libcrypto_takes, 0, 256);
    tcase_add_loop_test(t, fault_says_what_and_where, 0, (int)MM_ARRAY_SIZE(faults));
    tcase_add_test(t, well_formed_goes_as_deep_as_its_limit);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
