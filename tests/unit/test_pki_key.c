/* SPDX-License-Identifier: Apache-2.0 */
/* Keys, signatures and chains that come from outside. */
#include "check_main.h"
#include "daemon/base/io.h"
#include "daemon/pki/profile.h"

#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <string.h>

static EVP_PKEY *make_key(const char *group, uint8_t point[97], size_t *ret_len)
{
    EVP_PKEY *key = EVP_EC_gen(group);

    ck_assert_int_eq(
        EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, point, 97, ret_len), 1);
    return key;
}

static size_t sign(EVP_PKEY *key, const uint8_t *digest, size_t digest_len, uint8_t out[96])
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
    const int half = EVP_PKEY_get_bits(key) / 8;
    uint8_t der[160];
    const uint8_t *at = der;
    size_t len = sizeof(der);
    ECDSA_SIG *sig;

    ck_assert_int_eq(EVP_PKEY_sign_init(ctx), 1);
    ck_assert_int_eq(EVP_PKEY_sign(ctx, der, &len, digest, digest_len), 1);
    sig = d2i_ECDSA_SIG(NULL, &at, (long)len);
    BN_bn2binpad(ECDSA_SIG_get0_r(sig), out, half);
    BN_bn2binpad(ECDSA_SIG_get0_s(sig), out + half, half);
    ECDSA_SIG_free(sig);
    EVP_PKEY_CTX_free(ctx);
    return 2 * (size_t)half;
}

static void check_curve(const char *group, size_t digest_len)
{
    uint8_t point[97], signature[96], digest[48];
    struct mm_verifier *v = NULL;
    struct mm_errinfo ei;
    size_t point_len, len;
    EVP_PKEY *key = make_key(group, point, &point_len);

    memset(digest, 7, sizeof(digest));
    ck_assert_msg(mm_verifier_new(point, point_len, &v, &ei) == MM_OK, "%s", ei.text);
    for (int i = 0; i < 20; i++) {
        digest[0] = (uint8_t)i;
        len = sign(key, digest, digest_len, signature);
        ck_assert_int_eq(mm_verifier_check(v, digest, digest_len, signature, len, &ei), MM_OK);
    }
    digest[1] ^= 1;
    ck_assert_int_eq(mm_verifier_check(v, digest, digest_len, signature, len, &ei), MM_ERR_CORRUPT);
    digest[1] ^= 1;
    ck_assert_int_eq(mm_verifier_check(v, digest, digest_len, signature, len - 1, &ei),
                     MM_ERR_CORRUPT);
    memset(signature, 0, sizeof(signature));
    ck_assert_int_eq(mm_verifier_check(v, digest, digest_len, signature, len, &ei), MM_ERR_CORRUPT);
    mm_verifier_free(v);
    EVP_PKEY_free(key);
}

START_TEST(verifier_accepts_only_the_true_signature)
{
    check_curve("P-256", 32);
    check_curve("P-384", 48);
}
END_TEST

static int check_der(struct mm_verifier *v, const uint8_t *digest, const uint8_t *der, size_t len)
{
    struct mm_errinfo ei;

    return mm_verifier_check_der(v, digest, 32, (struct mm_bytes){der, len}, &ei);
}

/* Other encodings of the true signature, and others than the true one. */
static void check_refusals(struct mm_verifier *v, const uint8_t *digest, const uint8_t raw[64],
                           const struct mm_buf *der)
{
    uint8_t bent[160], other[32];

    memcpy(bent, der->data, der->len);
    for (size_t i = 0; i < der->len; i++) {
        bent[i] ^= 1;
        ck_assert_int_eq(check_der(v, digest, bent, der->len), MM_ERR_CORRUPT);
        bent[i] ^= 1;
        ck_assert_int_eq(check_der(v, digest, bent, i), MM_ERR_CORRUPT);
    }
    bent[der->len] = 0;
    ck_assert_int_eq(check_der(v, digest, bent, der->len + 1), MM_ERR_CORRUPT);
    /* r with a zero that does not belong there, and a third number */
    memmove(bent + 5, bent + 4, der->len - 4);
    bent[1]++;
    bent[3]++;
    bent[4] = 0;
    ck_assert_int_eq(check_der(v, digest, bent, der->len + 1), MM_ERR_CORRUPT);
    memcpy(bent, der->data, der->len);
    memcpy(bent + der->len, "\x02\x01\x01", 3);
    bent[1] = (uint8_t)(bent[1] + 3);
    ck_assert_int_eq(check_der(v, digest, bent, der->len + 3), MM_ERR_CORRUPT);
    /* r alone, negative, zero */
    memcpy(bent, "\x30\x06\x02\x01\x81\x02\x01\x01", 8);
    ck_assert_int_eq(check_der(v, digest, bent, 8), MM_ERR_CORRUPT);
    bent[4] = 0;
    ck_assert_int_eq(check_der(v, digest, bent, 8), MM_ERR_CORRUPT);
    memcpy(bent, "\x30\x03\x02\x01\x01", 5);
    ck_assert_int_eq(check_der(v, digest, bent, 5), MM_ERR_CORRUPT);
    memcpy(other, digest, 32);
    other[31] ^= 1;
    ck_assert_int_eq(check_der(v, other, der->data, der->len), MM_ERR_CORRUPT);
    ck_assert_int_eq(mm_verifier_check(v, digest, 32, raw, 64, NULL), MM_OK);
}

/* From the 1,025th on the key's table is used, where libcrypto has one. The same must hold. */
START_TEST(verifier_of_a_key_that_signs_often_accepts_only_the_true_signature)
{
    uint8_t point[97], raw[96], digest[48] = {0};
    struct mm_verifier *v = NULL;
    struct mm_errinfo ei;
    size_t point_len;
    EVP_PKEY *key = make_key("P-256", point, &point_len);

    ck_assert_int_eq(mm_verifier_new(point, point_len, &v, &ei), MM_OK);
    for (int i = 0; i < 1100; i++) {
        memcpy(digest, &i, sizeof(i));
        ck_assert_uint_eq(sign(key, digest, 32, raw), 64);
        ck_assert_int_eq(mm_verifier_check(v, digest, 32, raw, 64, &ei), MM_OK);
        raw[i % 64] ^= 0x20;
        ck_assert_int_eq(mm_verifier_check(v, digest, 32, raw, 64, &ei), MM_ERR_CORRUPT);
    }
    for (int i = 0; i < 8;) { /* numbers with the top bit set, and without */
        struct mm_buf der = MM_BUF_INIT(160);

        digest[5]++;
        sign(key, digest, 32, raw);
        ck_assert_int_eq(mm_pki_signature_der(raw, 64, &der, &ei), MM_OK);
        if ((raw[0] >> 7) == (i & 1)) {
            check_refusals(v, digest, raw, &der);
            i++;
        }
        mm_buf_done(&der);
    }
    mm_verifier_free(v);
    EVP_PKEY_free(key);
}
END_TEST

/* RFC 8032 section 7.1, test 2. */
static const uint8_t ed_seed[32] = {
    0x4c, 0xcd, 0x08, 0x9b, 0x28, 0xff, 0x96, 0xda, 0x9d, 0xb6, 0xc3, 0x46, 0xec, 0x11, 0x4e, 0x0f,
    0x5b, 0x8a, 0x31, 0x9f, 0x35, 0xab, 0xa6, 0x24, 0xda, 0x8c, 0xf6, 0xed, 0x4f, 0xb8, 0xa6, 0xfb};
static const uint8_t ed_public[32] = {
    0x3d, 0x40, 0x17, 0xc3, 0xe8, 0x43, 0x89, 0x5a, 0x92, 0xb7, 0x0a, 0xa7, 0x4d, 0x1b, 0x7e, 0xbc,
    0x9c, 0x98, 0x2c, 0xcf, 0x2e, 0xc4, 0x96, 0x8c, 0xc0, 0xcd, 0x55, 0xf1, 0x2a, 0xf4, 0x66, 0x0c};
static const uint8_t ed_signature[64] = {
    0x92, 0xa0, 0x09, 0xa9, 0xf0, 0xd4, 0xca, 0xb8, 0x72, 0x0e, 0x82, 0x0b, 0x5f, 0x64, 0x25, 0x40,
    0xa2, 0xb2, 0x7b, 0x54, 0x16, 0x50, 0x3f, 0x8f, 0xb3, 0x76, 0x22, 0x23, 0xeb, 0xdb, 0x69, 0xda,
    0x08, 0x5a, 0xc1, 0xe4, 0x3e, 0x15, 0x99, 0x6e, 0x45, 0x8f, 0x36, 0x13, 0xd0, 0xf1, 0x1d, 0x8c,
    0x38, 0x7b, 0x2e, 0xae, 0xb4, 0x30, 0x2a, 0xee, 0xb0, 0x0d, 0x29, 0x16, 0x12, 0xbb, 0x0c, 0x00};

START_TEST(verifier_takes_ed25519_as_rfc_8032_has_it)
{
    uint8_t message = 0x72, changed = 0x73;
    struct mm_verifier *v = NULL;
    struct mm_errinfo ei;

    ck_assert_int_eq(mm_verifier_new(ed_public, sizeof(ed_public), &v, &ei), MM_OK);
    ck_assert_int_eq(mm_verifier_check(v, &message, 1, ed_signature, sizeof(ed_signature), &ei),
                     MM_OK);
    ck_assert_int_eq(mm_verifier_check(v, &changed, 1, ed_signature, sizeof(ed_signature), &ei),
                     MM_ERR_CORRUPT);
    ck_assert_int_eq(mm_verifier_check(v, &message, 1, ed_signature, 63, &ei), MM_ERR_CORRUPT);
    mm_verifier_free(v);
}
END_TEST

START_TEST(pkcs8_of_ed25519_is_read_by_libcrypto)
{
    struct mm_buf der = MM_BUF_INIT(256);
    const uint8_t *at;
    uint8_t raw[32];
    size_t len = sizeof(raw);
    EVP_PKEY *key;

    ck_assert_int_eq(mm_pki_pkcs8(ed_seed, 32, ed_public, 32, &der, NULL), MM_OK);
    at = der.data;
    key = d2i_AutoPrivateKey(NULL, &at, (long)der.len);
    ck_assert_ptr_nonnull(key);
    ck_assert_int_eq(EVP_PKEY_get_raw_public_key(key, raw, &len), 1);
    ck_assert_mem_eq(raw, ed_public, sizeof(raw));
    EVP_PKEY_free(key);
    mm_buf_done(&der);
}
END_TEST

START_TEST(verifier_point_off_the_curve_is_refused)
{
    uint8_t point[97];
    struct mm_verifier *v = NULL;
    size_t len;
    EVP_PKEY *key = make_key("P-256", point, &len);

    point[10] ^= 1;
    ck_assert_int_eq(mm_verifier_new(point, len, &v, NULL), MM_ERR_INVALID);
    ck_assert_int_eq(mm_verifier_new(point, 64, &v, NULL), MM_ERR_INVALID);
    ck_assert_ptr_null(v);
    EVP_PKEY_free(key);
}
END_TEST

static void check_pkcs8(const char *group)
{
    uint8_t point[97], scalar[48];
    size_t point_len, scalar_len;
    EVP_PKEY *key = make_key(group, point, &point_len), *back;
    struct mm_buf der = MM_BUF_INIT(512);
    BIGNUM *d = NULL;
    const uint8_t *at;

    scalar_len = (point_len - 1) / 2;
    ck_assert_int_eq(EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_PRIV_KEY, &d), 1);
    BN_bn2binpad(d, scalar, (int)scalar_len);
    ck_assert_int_eq(mm_pki_pkcs8(scalar, scalar_len, point, point_len, &der, NULL), MM_OK);
    at = der.data;
    back = d2i_AutoPrivateKey(NULL, &at, (long)der.len);
    ck_assert_ptr_nonnull(back);
    ck_assert_ptr_eq(at, der.data + der.len);
    ck_assert_int_eq(EVP_PKEY_eq(key, back), 1);
    ck_assert_int_eq(mm_pki_pkcs8(scalar, scalar_len - 1, point, point_len, &der, NULL),
                     MM_ERR_INVALID);
    ck_assert_int_eq(mm_pki_pkcs8(scalar, scalar_len, point, point_len - 1, &der, NULL),
                     MM_ERR_INVALID);
    BN_clear_free(d);
    EVP_PKEY_free(back);
    EVP_PKEY_free(key);
    mm_buf_done(&der);
}

START_TEST(pkcs8_is_read_by_libcrypto)
{
    check_pkcs8("P-256");
    check_pkcs8("P-384");
}
END_TEST

START_TEST(assemble_signature_of_wrong_length_or_zero_is_refused)
{
    struct mm_tbs tbs = MM_TBS_INIT;
    struct mm_buf der = MM_BUF_INIT(512);
    uint8_t signature[96] = {0};

    mm_buf_append(&tbs.der, "\x30\x00", 2);
    tbs.digest_len = 32;
    ck_assert_int_eq(mm_pki_assemble(&tbs, signature, 96, &der, NULL), MM_ERR_CORRUPT);
    ck_assert_int_eq(mm_pki_assemble(&tbs, signature, 64, &der, NULL), MM_ERR_CORRUPT);
    signature[0] = 1;
    ck_assert_int_eq(mm_pki_assemble(&tbs, signature, 64, &der, NULL), MM_ERR_CORRUPT);
    ck_assert_uint_eq(der.len, 0);
    signature[63] = 2;
    ck_assert_int_eq(mm_pki_assemble(&tbs, signature, 64, &der, NULL), MM_OK);
    mm_buf_done(&tbs.der);
    mm_buf_done(&der);
}
END_TEST

/* A signature whose DER ends in zero bits must keep them: BIT STRING with 0 unused bits. */
START_TEST(assemble_keeps_trailing_zero_bits)
{
    struct mm_tbs tbs = MM_TBS_INIT;
    struct mm_buf der = MM_BUF_INIT(512);
    uint8_t signature[64];

    memset(signature, 0x40, sizeof(signature));
    mm_buf_append(&tbs.der, "\x30\x00", 2);
    tbs.digest_len = 32;
    ck_assert_int_eq(mm_pki_assemble(&tbs, signature, 64, &der, NULL), MM_OK);
    /* SEQUENCE { TBS(2), AlgorithmIdentifier(12), BIT STRING(2 + 1 + 70) } */
    ck_assert_uint_eq(der.len, 2 + 2 + 12 + 3 + 70);
    ck_assert_uint_eq(der.data[2 + 2 + 12 + 2], 0);
    mm_buf_done(&tbs.der);
    mm_buf_done(&der);
}
END_TEST

static void read_pem(const char *name, struct mm_buf *pem)
{
    char path[512];

    snprintf(path, sizeof(path), "%s/tests/data/matter-chain/%s.pem", getenv("MM_SOURCE_ROOT"),
             name);
    ck_assert_int_eq(mm_io_read_file(path, MM_PEM_FILE_MAX, pem, NULL), MM_OK);
}

static STACK_OF(X509) * parse(const struct mm_buf *pem, int expected, const char *message)
{
    STACK_OF(X509) *chain = NULL;
    struct mm_errinfo ei = {.code = MM_OK};

    ck_assert_int_eq(mm_pki_parse_chain((struct mm_bytes){pem->data, pem->len}, &chain, &ei),
                     expected);
    ck_assert_msg(strstr(ei.text, message), "%s", ei.text);
    ck_assert_int_eq(chain == NULL, expected < 0);
    return chain;
}

START_TEST(chain_in_order_is_taken)
{
    struct mm_buf pem = MM_BUF_INIT(MM_PEM_FILE_MAX);
    STACK_OF(X509) * chain;

    mm_buf_append_str(&pem, "a word before\n");
    read_pem("pai", &pem);
    read_pem("paa", &pem);
    chain = parse(&pem, MM_OK, "");
    ck_assert_int_eq(sk_X509_num(chain), 2);
    sk_X509_pop_free(chain, X509_free);
    mm_buf_done(&pem);
}
END_TEST

START_TEST(chain_out_of_order_is_refused)
{
    struct mm_buf pem = MM_BUF_INIT(MM_PEM_FILE_MAX);

    read_pem("paa", &pem);
    read_pem("pai", &pem);
    parse(&pem, MM_ERR_INVALID, "certificate 1 is not issued by certificate 2");
    mm_buf_done(&pem);
}
END_TEST

START_TEST(chain_damaged_or_empty_is_refused)
{
    struct mm_buf pem = MM_BUF_INIT(MM_PEM_FILE_MAX);

    parse(&pem, MM_ERR_INVALID, "no certificate");
    read_pem("pai", &pem);
    pem.len -= 30;
    parse(&pem, MM_ERR_INVALID, "damaged");
    mm_buf_reset(&pem);
    mm_buf_append_str(&pem, "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n");
    parse(&pem, MM_ERR_INVALID, "not X.509");
    mm_buf_reset(&pem);
    mm_buf_append_str(&pem, "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n");
    parse(&pem, MM_ERR_INVALID, "only certificates");
    mm_buf_done(&pem);
}
END_TEST

START_TEST(chain_too_long_is_refused)
{
    struct mm_buf pem = MM_BUF_INIT(MM_PEM_FILE_MAX), big = MM_BUF_INIT(MM_PEM_FILE_MAX + 1);

    for (int i = 0; i <= MM_CHAIN_MAX; i++)
        read_pem("paa", &pem);
    sk_X509_pop_free(parse(&pem, MM_OK, ""), X509_free);
    read_pem("paa", &pem);
    parse(&pem, MM_ERR_INVALID, "more than 5");
    while (mm_buf_err(&big) == MM_OK && big.len <= MM_PEM_FILE_MAX)
        mm_buf_append_u8(&big, '\n');
    parse(&big, MM_ERR_TOO_BIG, "bytes of PEM");
    mm_buf_done(&pem);
    mm_buf_done(&big);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pki_key");
    TCase *t = tcase_create("all");

    tcase_add_test(t, verifier_accepts_only_the_true_signature);
    tcase_add_test(t, verifier_of_a_key_that_signs_often_accepts_only_the_true_signature);
    tcase_add_test(t, verifier_takes_ed25519_as_rfc_8032_has_it);
    tcase_add_test(t, pkcs8_of_ed25519_is_read_by_libcrypto);
    tcase_add_test(t, verifier_point_off_the_curve_is_refused);
    tcase_add_test(t, pkcs8_is_read_by_libcrypto);
    tcase_add_test(t, assemble_signature_of_wrong_length_or_zero_is_refused);
    tcase_add_test(t, assemble_keeps_trailing_zero_bits);
    tcase_add_test(t, chain_in_order_is_taken);
    tcase_add_test(t, chain_out_of_order_is_refused);
    tcase_add_test(t, chain_damaged_or_empty_is_refused);
    tcase_add_test(t, chain_too_long_is_refused);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
