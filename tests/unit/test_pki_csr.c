/* SPDX-License-Identifier: Apache-2.0 */
/* Requests of devices: what is taken, and every way in which one is refused. OpenSSL makes them. */
#include "daemon/pki/csr.h"

#include "tests/unit/check_main.h"
#include "tests/unit/pki_support.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <string.h>

static struct mm_profile *p256, *p384;
static struct mm_errinfo ei;

static struct mm_profile *compile(const char *key)
{
    struct mm_conf_profile c = settings("", "none");
    struct mm_profile *p;

    text(&c.key, key);
    text(&c.delivery, "on-device");
    text(&c.subject, "CN=x${number}");
    ck_assert_int_eq(mm_profile_compile(&c, NULL, &p, &ei), MM_OK);
    return p;
}

static void setup(void)
{
    mm_clock_replace(test_wall_ms, test_mono_us);
    p256 = compile("p256");
    p384 = compile("p384");
}

static void teardown(void)
{
    mm_profile_free(p256);
    mm_profile_free(p384);
}

/* ---- making requests --------------------------------------------------------------------- */

static X509_REQ *new_request(EVP_PKEY *key)
{
    X509_REQ *req = X509_REQ_new();
    X509_NAME *name = X509_REQ_get_subject_name(req);

    ck_assert_int_eq(X509_REQ_set_pubkey(req, key), 1);
    ck_assert_int_eq(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
                                                (const unsigned char *)"I am root", -1, -1, 0),
                     1);
    return req;
}

static struct mm_buf to_der(X509_REQ *req)
{
    struct mm_buf der = MM_BUF_INIT(64 * 1024);
    uint8_t *bytes = NULL;
    const int len = i2d_X509_REQ(req, &bytes);

    ck_assert_int_gt(len, 0);
    mm_buf_append(&der, bytes, (size_t)len);
    OPENSSL_free(bytes);
    X509_REQ_free(req);
    return der;
}

/* Takes the key. */
static struct mm_buf request_of(EVP_PKEY *key, const EVP_MD *md)
{
    X509_REQ *req = new_request(key);

    ck_assert_int_gt(X509_REQ_sign(req, key, md), 0);
    EVP_PKEY_free(key);
    return to_der(req);
}

static struct mm_buf good_request(void)
{
    return request_of(EVP_EC_gen("P-256"), EVP_sha256());
}

static void put(struct mm_buf *to, uint8_t id, struct mm_bytes content)
{
    mm_buf_append_u8(to, id);
    if (content.len > 255) {
        mm_buf_append_u8(to, 0x82);
        mm_buf_append_u8(to, (uint8_t)(content.len >> 8));
    } else if (content.len > 127) {
        mm_buf_append_u8(to, 0x81);
    }
    mm_buf_append_u8(to, (uint8_t)content.len);
    mm_buf_append(to, content.data, content.len);
}

static struct mm_bytes all(const struct mm_buf *b)
{
    return (struct mm_bytes){b->data, b->len};
}

static const uint8_t ecdsa_sha256[] = {0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02};

/* Signs any CertificationRequestInfo, so that nothing but its content is at fault. */
static struct mm_buf sign_info(struct mm_bytes content, EVP_PKEY *key)
{
    struct mm_buf whole = MM_BUF_INIT(64 * 1024), der = MM_BUF_INIT(64 * 1024);
    uint8_t signature[128] = {0};
    size_t len = sizeof(signature) - 1;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();

    put(&whole, 0x30, content);
    ck_assert_int_eq(EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key), 1);
    ck_assert_int_eq(EVP_DigestSign(ctx, signature + 1, &len, whole.data, whole.len), 1);
    EVP_MD_CTX_free(ctx);
    put(&whole, 0x30, (struct mm_bytes){ecdsa_sha256, sizeof(ecdsa_sha256)});
    put(&whole, 0x03, (struct mm_bytes){signature, len + 1});
    put(&der, 0x30, all(&whole));
    mm_buf_done(&whole);
    return der;
}

struct parts {
    struct mm_bytes version, subject, spki, attributes;
};

static struct mm_buf request_of_parts(const struct parts *parts, EVP_PKEY *key)
{
    struct mm_buf info = MM_BUF_INIT(64 * 1024), der;

    mm_buf_append(&info, parts->version.data, parts->version.len);
    mm_buf_append(&info, parts->subject.data, parts->subject.len);
    mm_buf_append(&info, parts->spki.data, parts->spki.len);
    mm_buf_append(&info, parts->attributes.data, parts->attributes.len);
    der = sign_info(all(&info), key);
    mm_buf_done(&info);
    return der;
}

#define BYTES(...)                                                                                 \
    (struct mm_bytes)                                                                              \
    {                                                                                              \
        (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__})                     \
    }

/* A P-256 key with its parts, to be spoilt one by one. */
static struct parts good_parts(EVP_PKEY **ret_key, uint8_t spki[128])
{
    static const uint8_t version[] = {0x02, 0x01, 0x00}, subject[] = {0x30, 0x00},
                         attributes[] = {0xa0, 0x00};
    uint8_t *at = spki;
    int len;

    *ret_key = EVP_EC_gen("P-256");
    len = i2d_PUBKEY(*ret_key, &at);
    ck_assert_int_eq(len, 91);
    return (struct parts){{version, sizeof(version)},
                          {subject, sizeof(subject)},
                          {spki, (size_t)len},
                          {attributes, sizeof(attributes)}};
}

/* ---- judging them ------------------------------------------------------------------------ */

static void refused(const struct mm_profile *p, struct mm_bytes der, const char *reason)
{
    struct mm_bytes found;

    ei = (struct mm_errinfo){0};
    ck_assert_int_eq(mm_profile_check_csr(p, der, &found, &ei), MM_ERR_INVALID);
    ck_assert_msg(strcmp(ei.reason, reason) == 0, "%s (%s), not %s", ei.reason, ei.text, reason);
    ck_assert_str_eq(ei.field, "csr");
}

/* Takes the request. */
static void refused_buf(const struct mm_profile *p, struct mm_buf der, const char *reason)
{
    refused(p, all(&der), reason);
    mm_buf_done(&der);
}

static void accepted(const struct mm_profile *p, const char *group, const EVP_MD *md)
{
    EVP_PKEY *key = EVP_EC_gen(group);
    uint8_t point[97];
    size_t point_len;
    struct mm_bytes found;
    struct mm_buf der;

    ck_assert_int_eq(EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, point,
                                                     sizeof(point), &point_len),
                     1);
    der = request_of(key, md);
    ck_assert_msg(mm_profile_check_csr(p, all(&der), &found, &ei) == MM_OK, "%s", ei.text);
    ck_assert_uint_eq(found.len, point_len);
    ck_assert_mem_eq(found.data, point, point_len);
    mm_buf_done(&der);
}

START_TEST(check_csr_of_the_curve_with_any_sha2_is_taken)
{
    accepted(p256, "P-256", EVP_sha256());
    accepted(p256, "P-256", EVP_sha384());
    accepted(p256, "P-256", EVP_sha512());
    accepted(p384, "P-384", EVP_sha256());
    accepted(p384, "P-384", EVP_sha384());
}
END_TEST

START_TEST(check_csr_with_wishes_is_taken_all_the_same)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509_REQ *req = new_request(key);
    STACK_OF(X509_EXTENSION) *extensions = NULL;
    X509_EXTENSION *ca = X509V3_EXT_conf_nid(NULL, NULL, NID_basic_constraints, "critical,CA:TRUE");
    struct mm_bytes found;
    struct mm_buf der;

    ck_assert_ptr_nonnull(X509v3_add_ext(&extensions, ca, -1));
    ck_assert_int_eq(X509_REQ_add_extensions(req, extensions), 1);
    ck_assert_int_gt(X509_REQ_sign(req, key, EVP_sha256()), 0);
    der = to_der(req);
    ck_assert_int_eq(mm_profile_check_csr(p256, all(&der), &found, &ei), MM_OK);
    mm_buf_done(&der);
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
    X509_EXTENSION_free(ca);
    EVP_PKEY_free(key);
}
END_TEST

START_TEST(check_csr_of_another_algorithm_or_curve_is_refused)
{
    refused_buf(p256, request_of(EVP_RSA_gen(2048), EVP_sha256()), "CSR_KEY_REFUSED");
    refused_buf(p256, request_of(EVP_EC_gen("P-384"), EVP_sha256()), "CSR_KEY_REFUSED");
    refused_buf(p256, request_of(EVP_EC_gen("secp256k1"), EVP_sha256()), "CSR_KEY_REFUSED");
    refused_buf(p384, good_request(), "CSR_KEY_REFUSED");
}
END_TEST

static struct mm_buf request_with_param(const char *param, const char *value)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");

    ck_assert_int_eq(EVP_PKEY_set_utf8_string_param(key, param, value), 1);
    return request_of(key, EVP_sha256());
}

START_TEST(check_csr_point_in_another_form_is_refused)
{
    refused_buf(p256, request_with_param(OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT, "compressed"),
                "CSR_KEY_REFUSED");
    refused_buf(p256, request_with_param(OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT, "hybrid"),
                "CSR_KEY_REFUSED");
    refused_buf(p256, request_with_param(OSSL_PKEY_PARAM_EC_ENCODING, "explicit"),
                "CSR_KEY_REFUSED");
}
END_TEST

START_TEST(check_csr_bad_point_is_refused)
{
    static const uint8_t infinity[] = {0x30, 0x19, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48,
                                       0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
                                       0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x02, 0x00, 0x00};
    uint8_t spki[128];
    EVP_PKEY *key;
    struct parts parts = good_parts(&key, spki);

    spki[90] ^= 1; /* off the curve */
    refused_buf(p256, request_of_parts(&parts, key), "CSR_KEY_REFUSED");
    memset(spki + 27, 0, 64);
    refused_buf(p256, request_of_parts(&parts, key), "CSR_KEY_REFUSED");
    memset(spki + 27, 0xff, 64); /* coordinates beyond the field */
    refused_buf(p256, request_of_parts(&parts, key), "CSR_KEY_REFUSED");
    parts.spki = (struct mm_bytes){infinity, sizeof(infinity)};
    refused_buf(p256, request_of_parts(&parts, key), "CSR_KEY_REFUSED");
    EVP_PKEY_free(key);
}
END_TEST

/* A signature that nobody's private key has made: R is the base point, and S is 1, so that
 * R = S B - k A for A = (0, 1) and every k. libcrypto takes it. */
static struct mm_buf request_by_nobody(const uint8_t point[32])
{
    static const uint8_t algorithm[] = {0x06, 0x03, 0x2b, 0x65, 0x70};
    static const uint8_t prefix[] = {0x02, 0x01, 0x00, 0x30, 0x00, 0x30, 0x2a, 0x30, 0x05,
                                     0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00};
    uint8_t signature[65] = {0, 0x58}, info[sizeof(prefix) + 34] = {0};
    struct mm_buf whole = MM_BUF_INIT(1024), der = MM_BUF_INIT(1024);

    memset(signature + 2, 0x66, 31);
    signature[33] = 1;
    memcpy(info, prefix, sizeof(prefix));
    memcpy(info + sizeof(prefix), point, 32);
    info[sizeof(info) - 2] = 0xa0;
    put(&whole, 0x30, (struct mm_bytes){info, sizeof(info)});
    put(&whole, 0x30, (struct mm_bytes){algorithm, sizeof(algorithm)});
    put(&whole, 0x03, (struct mm_bytes){signature, sizeof(signature)});
    put(&der, 0x30, all(&whole));
    mm_buf_done(&whole);
    return der;
}

START_TEST(check_csr_of_a_small_order_that_anybody_can_sign_is_refused)
{
    struct mm_profile *ed25519 = compile("ed25519");
    uint8_t point[32] = {1};
    struct mm_buf der = request_by_nobody(point);
    const unsigned char *at = der.data;
    X509_REQ *req = d2i_X509_REQ(NULL, &at, (long)der.len);

    ck_assert_int_eq(X509_REQ_verify(req, X509_REQ_get0_pubkey(req)), 1);
    X509_REQ_free(req);
    refused_buf(ed25519, der, "CSR_KEY_REFUSED");
    ck_assert_msg(strstr(ei.text, "small order"), "%s", ei.text);
    point[31] = 0x80; /* the same point, encoded as no decoder may take it */
    refused_buf(ed25519, request_by_nobody(point), "CSR_KEY_REFUSED");
    memset(point, 0xff, sizeof(point)); /* 1 again, as p + 1 */
    point[0] = 0xee;
    point[31] = 0x7f;
    refused_buf(ed25519, request_by_nobody(point), "CSR_KEY_REFUSED");
    ck_assert_msg(strstr(ei.text, "not encoded"), "%s", ei.text);
    memset(point, 0, sizeof(point)); /* on no curve: the signature cannot be checked */
    point[0] = 2;
    refused_buf(ed25519, request_by_nobody(point), "CSR_SIGNATURE");
    mm_profile_free(ed25519);
}
END_TEST

START_TEST(check_csr_without_proof_of_possession_is_refused)
{
    EVP_PKEY *key = EVP_EC_gen("P-256"), *other = EVP_EC_gen("P-256");
    X509_REQ *req = new_request(key);

    ck_assert_int_gt(X509_REQ_sign(req, other, EVP_sha256()), 0);
    refused_buf(p256, to_der(req), "CSR_SIGNATURE");
    EVP_PKEY_free(other);
    refused_buf(p256, request_of(key, EVP_sha1()), "CSR_SIGNATURE");
}
END_TEST

/* Of a good request no bit is beside the point. */
START_TEST(check_csr_each_bit_flipped_is_refused)
{
    struct mm_buf der = good_request();
    struct mm_bytes found;

    for (size_t bit = 0; bit < 8 * der.len; bit++) {
        der.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        ck_assert_msg(mm_profile_check_csr(p256, all(&der), &found, &ei) == MM_ERR_INVALID,
                      "bit %zu", bit);
        der.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    ck_assert_int_eq(mm_profile_check_csr(p256, all(&der), &found, &ei), MM_OK);
    mm_buf_done(&der);
}
END_TEST

START_TEST(check_csr_cut_anywhere_or_with_more_behind_is_malformed)
{
    struct mm_buf der = good_request();

    for (size_t len = 0; len < der.len; len++)
        refused(p256, (struct mm_bytes){der.data, len}, "CSR_MALFORMED");
    mm_buf_append(&der, "\x05\x00", 2);
    refused(p256, (struct mm_bytes){der.data, der.len - 1}, "CSR_MALFORMED");
    refused(p256, all(&der), "CSR_MALFORMED");
    mm_buf_done(&der);
}
END_TEST

/* BER that is not DER, signed as it stands: the signature is good. */
START_TEST(check_csr_in_ber_is_malformed)
{
    const struct {
        struct mm_bytes subject, attributes;
    } cases[] = {
        {BYTES(0x30, 0x80, 0x00, 0x00), BYTES(0xa0, 0x00)},
        {BYTES(0x30, 0x00), BYTES(0xa0, 0x80, 0x00, 0x00)},
        {BYTES(0x30, 0x81, 0x00), BYTES(0xa0, 0x00)},
        {BYTES(0x30, 0x82, 0x00, 0x00), BYTES(0xa0, 0x00)},
        /* an OCTET STRING in pieces; a SET that is primitive; an end of contents */
        {BYTES(0x30, 0x04, 0x24, 0x02, 0x04, 0x00), BYTES(0xa0, 0x00)},
        {BYTES(0x30, 0x02, 0x11, 0x00), BYTES(0xa0, 0x00)},
        {BYTES(0x30, 0x02, 0x00, 0x00), BYTES(0xa0, 0x00)},
        /* a length beyond its parent */
        {BYTES(0x30, 0x02, 0x04, 0x01), BYTES(0xa0, 0x00)},
    };
    uint8_t spki[128];
    EVP_PKEY *key;
    struct parts parts = good_parts(&key, spki);
    struct mm_buf der = request_of_parts(&parts, key);
    struct mm_bytes found;

    ck_assert_int_eq(mm_profile_check_csr(p256, all(&der), &found, &ei), MM_OK);
    mm_buf_done(&der);
    for (size_t i = 0; i < MM_ARRAY_SIZE(cases); i++) {
        parts.subject = cases[i].subject;
        parts.attributes = cases[i].attributes;
        refused_buf(p256, request_of_parts(&parts, key), "CSR_MALFORMED");
    }
    EVP_PKEY_free(key);
}
END_TEST

START_TEST(check_csr_with_other_parts_is_malformed)
{
    uint8_t spki[128];
    EVP_PKEY *key;
    const struct parts good = good_parts(&key, spki);
    struct parts parts = good;

    parts.version = BYTES(0x02, 0x01, 0x01);
    refused_buf(p256, request_of_parts(&parts, key), "CSR_MALFORMED");
    parts.version = BYTES(0x02, 0x02, 0x00, 0x00);
    refused_buf(p256, request_of_parts(&parts, key), "CSR_MALFORMED");
    parts.version = (struct mm_bytes){NULL, 0};
    refused_buf(p256, request_of_parts(&parts, key), "CSR_MALFORMED");
    parts = good;
    parts.attributes = (struct mm_bytes){NULL, 0};
    refused_buf(p256, request_of_parts(&parts, key), "CSR_MALFORMED");
    parts.attributes = BYTES(0xa0, 0x00, 0x05, 0x00);
    refused_buf(p256, request_of_parts(&parts, key), "CSR_MALFORMED");
    refused(p256, BYTES(0x31, 0x00), "CSR_MALFORMED");
    refused(p256, BYTES(0x30, 0x00), "CSR_MALFORMED");
    EVP_PKEY_free(key);
}
END_TEST

START_TEST(check_csr_nested_too_deep_is_malformed)
{
    uint8_t spki[128], deep[64];
    EVP_PKEY *key;
    struct parts parts = good_parts(&key, spki);
    struct mm_bytes found;
    struct mm_buf der;

    /* The subject stands below request and info, at depth 2. */
    for (size_t i = 0; i < sizeof(deep); i += 2) {
        deep[i] = 0x30;
        deep[i + 1] = (uint8_t)(sizeof(deep) - i - 2);
    }
    parts.subject = (struct mm_bytes){deep + sizeof(deep) - 2 * (MM_CSR_DEPTH_MAX - 2),
                                      2 * (MM_CSR_DEPTH_MAX - 2)};
    der = request_of_parts(&parts, key);
    ck_assert_int_eq(mm_profile_check_csr(p256, all(&der), &found, &ei), MM_OK);
    mm_buf_done(&der);
    parts.subject.data -= 2;
    parts.subject.len += 2;
    refused_buf(p256, request_of_parts(&parts, key), "CSR_MALFORMED");
    EVP_PKEY_free(key);
}
END_TEST

START_TEST(check_csr_over_the_limit_is_too_big)
{
    static uint8_t big[MM_CSR_DER_MAX + 1];

    refused(p256, (struct mm_bytes){big, sizeof(big)}, "CSR_TOO_BIG");
    refused(p256, (struct mm_bytes){big, sizeof(big) - 1}, "CSR_MALFORMED");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pki_csr");
    TCase *t = tcase_create("check");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, check_csr_of_the_curve_with_any_sha2_is_taken);
    tcase_add_test(t, check_csr_with_wishes_is_taken_all_the_same);
    tcase_add_test(t, check_csr_of_another_algorithm_or_curve_is_refused);
    tcase_add_test(t, check_csr_point_in_another_form_is_refused);
    tcase_add_test(t, check_csr_bad_point_is_refused);
    tcase_add_test(t, check_csr_of_a_small_order_that_anybody_can_sign_is_refused);
    tcase_add_test(t, check_csr_without_proof_of_possession_is_refused);
    tcase_add_test(t, check_csr_each_bit_flipped_is_refused);
    tcase_add_test(t, check_csr_cut_anywhere_or_with_more_behind_is_malformed);
    tcase_add_test(t, check_csr_in_ber_is_malformed);
    tcase_add_test(t, check_csr_with_other_parts_is_malformed);
    tcase_add_test(t, check_csr_nested_too_deep_is_malformed);
    tcase_add_test(t, check_csr_over_the_limit_is_too_big);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
