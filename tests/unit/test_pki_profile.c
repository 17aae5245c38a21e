/* SPDX-License-Identifier: Apache-2.0 */
/* Profiles: what they make is held against the reference chain and read back with libcrypto. */
#include "check_main.h"
#include "pki_support.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

/* The signature of a reference certificate as a token would give it. */
static void raw_signature(const X509 *cert, uint8_t out[64])
{
    const ASN1_BIT_STRING *bits;
    const uint8_t *at;
    ECDSA_SIG *sig;

    X509_get0_signature(&bits, NULL, cert);
    at = ASN1_STRING_get0_data(bits);
    sig = d2i_ECDSA_SIG(NULL, &at, ASN1_STRING_length(bits));
    ck_assert_ptr_nonnull(sig);
    ck_assert_int_eq(BN_bn2binpad(ECDSA_SIG_get0_r(sig), out, 32), 32);
    ck_assert_int_eq(BN_bn2binpad(ECDSA_SIG_get0_s(sig), out + 32, 32), 32);
    ECDSA_SIG_free(sig);
}

/* Makes the reference certificate again from settings, and compares every byte. */
static void reproduce(const char *name, const char *issuer_name, struct mm_conf_profile conf)
{
    X509 *want = load(name), *issuer = issuer_name ? load(issuer_name) : NULL;
    struct mm_profile *p = NULL;
    struct mm_tbs tbs = MM_TBS_INIT;
    struct mm_buf der = MM_BUF_INIT(MM_CERT_DER_MAX);
    struct mm_bytes point;
    struct mm_errinfo ei;
    struct mm_subject s = {.hw_serial = "", .device_uid = "", .now_ms = now_ms};
    const ASN1_INTEGER *serial = X509_get0_serialNumber(want);
    uint8_t signature[64], *want_der = NULL;
    int len;

    memcpy(s.serial + 20 - ASN1_STRING_length(serial), ASN1_STRING_get0_data(serial),
           (size_t)ASN1_STRING_length(serial));
    ck_assert_int_eq(mm_pki_certificate_point(want, &point, &ei), MM_OK);
    s.point = point.data;
    s.point_len = point.len;
    ck_assert_msg(mm_profile_compile(&conf, issuer, &p, &ei) == MM_OK, "%s", ei.text);
    ck_assert_msg(mm_profile_certificate_tbs(p, &s, &tbs, &ei) == MM_OK, "%s", ei.text);
    raw_signature(want, signature);
    ck_assert_msg(mm_pki_assemble(&tbs, signature, 64, &der, &ei) == MM_OK, "%s", ei.text);
    len = i2d_X509(want, &want_der);
    ck_assert_uint_eq(der.len, (size_t)len);
    ck_assert_mem_eq(der.data, want_der, der.len);
    ck_assert_msg(mm_profile_check_certificate(p, &s, (struct mm_bytes){der.data, der.len}, &ei) ==
                      MM_OK,
                  "%s", ei.text);
    OPENSSL_free(want_der);
    mm_profile_free(p);
    mm_buf_done(&tbs.der);
    mm_buf_done(&der);
    X509_free(want);
    X509_free(issuer);
}

START_TEST(certificate_matter_paa_equals_reference)
{
    struct mm_conf_profile c = settings("matter-paa", "self");

    text(&c.subject, "CN=Test PAA,VID=${vid}");
    text(&c.not_before, "20261121173713Z");
    text(&c.validity, "20461116173713Z");
    c.authority_key_identifier = false;
    reproduce("paa", NULL, c);
}
END_TEST

START_TEST(certificate_matter_pai_equals_reference)
{
    struct mm_conf_profile c = settings("matter-pai", "paa");

    text(&c.subject, "CN=Test PAI,VID=${vid}");
    text(&c.not_before, "20261121173713Z");
    text(&c.validity, "20460120173713Z");
    reproduce("pai", "paa", c);
}
END_TEST

START_TEST(certificate_matter_dac_equals_reference)
{
    struct mm_conf_profile c = settings("matter-dac", "pai");

    text(&c.subject, "CN=Test DAC 1,VID=${vid},PID=${pid}");
    text(&c.not_before, "20261121173713Z");
    text(&c.validity, "20430426173713Z");
    reproduce("dac", "pai", c);
    text(&c.subject, "CN=ACME Matter DAC 5CDA9899 Mvid:${vid} Mpid:${pid}");
    reproduce("dac2", "pai", c);
}
END_TEST

/* A key and an issuer of the tests' own, so that signatures can be made and verified. */
struct ca {
    EVP_PKEY *key;
    uint8_t point[97];
    size_t point_len;
    X509 *cert;
    struct mm_profile *profile;
};

static void make_key(const char *group, EVP_PKEY **ret_key, uint8_t point[97], size_t *ret_len)
{
    *ret_key = EVP_EC_gen(group);
    ck_assert_ptr_nonnull(*ret_key);
    ck_assert_int_eq(
        EVP_PKEY_get_octet_string_param(*ret_key, OSSL_PKEY_PARAM_PUB_KEY, point, 97, ret_len), 1);
}

/* r || s over the digest, as C_Sign gives it. */
static size_t sign(EVP_PKEY *key, const struct mm_tbs *tbs, uint8_t out[96])
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
    uint8_t der[160];
    size_t len = sizeof(der);
    const uint8_t *at = der;
    const int half = EVP_PKEY_get_bits(key) / 8;
    ECDSA_SIG *sig;

    ck_assert_int_eq(EVP_PKEY_sign_init(ctx), 1);
    ck_assert_int_eq(EVP_PKEY_sign(ctx, der, &len, tbs->digest, tbs->digest_len), 1);
    sig = d2i_ECDSA_SIG(NULL, &at, (long)len);
    BN_bn2binpad(ECDSA_SIG_get0_r(sig), out, half);
    BN_bn2binpad(ECDSA_SIG_get0_s(sig), out + half, half);
    ECDSA_SIG_free(sig);
    EVP_PKEY_CTX_free(ctx);
    return (size_t)half * 2;
}

static struct mm_subject subject_of(const uint8_t *point, size_t len, uint8_t serial)
{
    struct mm_subject s = {
        .number = serial,
        .hw_serial = "SN-0007",
        .device_uid = "0193537b-1f4c-7abc-8def-001122334455",
        .point = point,
        .point_len = len,
        .now_ms = now_ms,
    };

    memset(s.serial, serial, sizeof(s.serial));
    return s;
}

static X509 *issue(const struct mm_profile *p, EVP_PKEY *signer, const struct mm_subject *s)
{
    struct mm_tbs tbs = MM_TBS_INIT;
    struct mm_buf der = MM_BUF_INIT(MM_CERT_DER_MAX);
    struct mm_errinfo ei;
    uint8_t signature[96];
    const uint8_t *at;
    size_t len;
    X509 *cert;

    ck_assert_msg(mm_profile_certificate_tbs(p, s, &tbs, &ei) == MM_OK, "%s", ei.text);
    len = sign(signer, &tbs, signature);
    ck_assert_int_eq(mm_pki_assemble(&tbs, signature, len, &der, &ei), MM_OK);
    ck_assert_msg(mm_profile_check_certificate(p, s, (struct mm_bytes){der.data, der.len}, &ei) ==
                      MM_OK,
                  "%s", ei.text);
    at = der.data;
    cert = d2i_X509(NULL, &at, (long)der.len);
    ck_assert_ptr_eq(at, der.data + der.len);
    mm_buf_done(&tbs.der);
    mm_buf_done(&der);
    return cert;
}

static struct ca make_ca(const struct mm_conf_profile *conf, const char *group,
                         const struct ca *above)
{
    struct ca ca;
    struct mm_subject s;
    struct mm_errinfo ei;

    make_key(group, &ca.key, ca.point, &ca.point_len);
    s = subject_of(ca.point, ca.point_len, above ? 2 : 1);
    ck_assert_msg(mm_profile_compile(conf, above ? above->cert : NULL, &ca.profile, &ei) == MM_OK,
                  "%s", ei.text);
    ca.cert = issue(ca.profile, above ? above->key : ca.key, &s);
    return ca;
}

static void free_ca(struct ca *ca)
{
    EVP_PKEY_free(ca->key);
    X509_free(ca->cert);
    mm_profile_free(ca->profile);
}

/* Strict chain verification at `at`; X509_V_OK or the error. */
static int verify_chain(X509 *leaf, X509 *middle, X509 *root, int64_t at_ms)
{
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    STACK_OF(X509) *untrusted = sk_X509_new_null();
    X509_VERIFY_PARAM *param;
    int error;

    X509_STORE_add_cert(store, root);
    if (middle)
        sk_X509_push(untrusted, middle);
    X509_STORE_CTX_init(ctx, store, leaf, untrusted);
    param = X509_STORE_CTX_get0_param(ctx);
    X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_X509_STRICT | X509_V_FLAG_CHECK_SS_SIGNATURE);
    X509_VERIFY_PARAM_set_time(param, at_ms / 1000);
    error = X509_verify_cert(ctx) == 1 ? X509_V_OK : X509_STORE_CTX_get_error(ctx);
    sk_X509_free(untrusted);
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(store);
    return error;
}

/* Each preset with its defaults alone, the whole way from a root of its own. */
START_TEST(presets_defaults_make_a_strict_matter_chain)
{
    struct mm_conf_profile paa_conf = settings("matter-paa", "self"),
                           pai_conf = settings("matter-pai", "paa"),
                           dac_conf = settings("matter-dac", "pai");
    struct ca paa = make_ca(&paa_conf, "P-256", NULL), pai = make_ca(&pai_conf, "P-256", &paa);
    struct ca device = make_ca(&dac_conf, "P-256", &pai);
    char line[256];

    ck_assert_int_eq(verify_chain(device.cert, pai.cert, paa.cert, now_ms), X509_V_OK);
    X509_NAME_oneline(X509_get_subject_name(device.cert), line, sizeof(line));
    ck_assert_str_eq(line, "/CN=Test_00000000000000000002/1.3.6.1.4.1.37244.2.1=FFF1/"
                           "1.3.6.1.4.1.37244.2.2=8000");
    ck_assert_int_eq(X509_get0_notAfter(device.cert)->type, V_ASN1_GENERALIZEDTIME);
    ck_assert_str_eq((const char *)ASN1_STRING_get0_data(X509_get0_notAfter(device.cert)),
                     "99991231235959Z");
    ck_assert_int_eq(X509_get0_notBefore(device.cert)->type, V_ASN1_UTCTIME);
    free_ca(&device);
    free_ca(&pai);
    free_ca(&paa);
}
END_TEST

/* One profile, made at one time after the other, and in between at the same. */
START_TEST(validity_is_that_of_the_time_it_is_made_at)
{
    static const int64_t after_ms[] = {0, 999, 1000, 0, -3600000, 86400000, 86400000};
    struct mm_conf_profile conf = settings("matter-paa", "self");
    struct ca paa = make_ca(&conf, "P-256", NULL);

    for (size_t i = 0; i < MM_ARRAY_SIZE(after_ms); i++) {
        struct mm_subject s = subject_of(paa.point, paa.point_len, 1);
        const time_t expected = (now_ms + after_ms[i]) / 1000;
        X509 *cert;

        s.now_ms = now_ms + after_ms[i];
        cert = issue(paa.profile, paa.key, &s);
        ck_assert_int_eq(ASN1_TIME_cmp_time_t(X509_get0_notBefore(cert), expected), 0);
        X509_free(cert);
    }
    free_ca(&paa);
}
END_TEST

START_TEST(p384_issuer_signs_with_sha384)
{
    struct mm_conf_profile root_conf = settings("", "self"), leaf_conf = settings("", "root");
    char *ca_usage[] = {(char *)(uintptr_t) "keyCertSign", (char *)(uintptr_t) "cRLSign"};
    char *eku[] = {(char *)(uintptr_t) "clientAuth", (char *)(uintptr_t) "1.3.6.1.5.5.7.3.1"};
    struct ca root, leaf;
    STACK_OF(ASN1_OBJECT) * usages;
    GENERAL_NAMES *names;

    text(&root_conf.key, "p384");
    text(&root_conf.subject, "CN=Root,O=Example,C=DE");
    text(&root_conf.validity, "30y");
    text(&root_conf.basic_constraints, "ca");
    root_conf.key_usage = ca_usage;
    root_conf.n_key_usage = 2;
    text(&leaf_conf.subject, "CN=${device_uid}");
    text(&leaf_conf.san, "DNS:d${number}.example,hwmodule:1.3.6.1.4.1.32473.1:${hw_serial}");
    text(&leaf_conf.validity, "365d");
    leaf_conf.extended_key_usage = eku;
    leaf_conf.n_extended_key_usage = 2;
    root = make_ca(&root_conf, "P-384", NULL);
    leaf = make_ca(&leaf_conf, "P-256", &root);
    ck_assert_int_eq(X509_get_signature_nid(leaf.cert), NID_ecdsa_with_SHA384);
    ck_assert_int_eq(verify_chain(leaf.cert, NULL, root.cert, now_ms), X509_V_OK);
    usages = X509_get_ext_d2i(leaf.cert, NID_ext_key_usage, NULL, NULL);
    ck_assert_int_eq(sk_ASN1_OBJECT_num(usages), 2);
    names = X509_get_ext_d2i(leaf.cert, NID_subject_alt_name, NULL, NULL);
    ck_assert_int_eq(sk_GENERAL_NAME_num(names), 2);
    ck_assert_int_eq(X509_get_pathlen(root.cert), -1);
    EXTENDED_KEY_USAGE_free(usages);
    GENERAL_NAMES_free(names);
    free_ca(&leaf);
    free_ca(&root);
}
END_TEST

/* The CA's certificate again, with a subject key identifier of len bytes. */
static X509 *with_key_id(const struct ca *ca, size_t len)
{
    X509 *cert = X509_dup(ca->cert), *read;
    ASN1_OCTET_STRING *id = ASN1_OCTET_STRING_new();
    uint8_t bytes[80], *der = NULL;
    const uint8_t *at;
    int der_len;

    memset(bytes, 0xa5, sizeof(bytes));
    ck_assert_int_eq(ASN1_OCTET_STRING_set(id, bytes, (int)len), 1);
    ck_assert_int_eq(X509_add1_ext_i2d(cert, NID_subject_key_identifier, id, 0, X509V3_ADD_REPLACE),
                     1);
    ck_assert_int_gt(X509_sign(cert, ca->key, EVP_sha256()), 0);
    der_len = i2d_X509(cert, &der);
    at = der;
    read = d2i_X509(NULL, &at, der_len);
    ck_assert_ptr_nonnull(read);
    OPENSSL_free(der);
    ASN1_OCTET_STRING_free(id);
    X509_free(cert);
    return read;
}

START_TEST(issuer_key_identifier_of_any_length_is_copied)
{
    static const size_t good[] = {1, 8, 20, 32, 64}, bad[] = {0, 65};
    struct mm_conf_profile root_conf = settings("matter-paa", "self"), conf = settings("", "root");
    struct ca root;

    root_conf.authority_key_identifier = false;
    root = make_ca(&root_conf, "P-256", NULL);
    text(&conf.subject, "CN=${number}");
    text(&conf.validity, "365d");
    for (size_t i = 0; i < MM_ARRAY_SIZE(good); i++) {
        struct ca issuer = {.key = root.key, .cert = with_key_id(&root, good[i])};
        struct ca device = make_ca(&conf, "P-256", &issuer);
        const ASN1_OCTET_STRING *aki = X509_get0_authority_key_id(device.cert);

        ck_assert_ptr_nonnull(aki);
        ck_assert_int_eq(ASN1_OCTET_STRING_cmp(aki, X509_get0_subject_key_id(issuer.cert)), 0);
        ck_assert_int_eq(verify_chain(device.cert, NULL, issuer.cert, now_ms), X509_V_OK);
        free_ca(&device);
        X509_free(issuer.cert);
    }
    for (size_t i = 0; i < MM_ARRAY_SIZE(bad); i++) {
        X509 *issuer = with_key_id(&root, bad[i]);
        struct mm_profile *p = NULL;
        struct mm_errinfo ei;

        ck_assert_int_eq(mm_profile_compile(&conf, issuer, &p, &ei), MM_ERR_INVALID);
        ck_assert_str_eq(ei.field, "authority_key_identifier");
        ck_assert_ptr_nonnull(strstr(ei.text, "of 1 to 64 bytes"));
        X509_free(issuer);
    }
    free_ca(&root);
}
END_TEST

START_TEST(idevid_carries_the_hardware_serial)
{
    struct mm_conf_profile root_conf = settings("matter-paa", "self"),
                           conf = settings("ieee8021ar-idevid", "root");
    struct ca root = make_ca(&root_conf, "P-256", NULL);
    struct ca device;
    struct mm_subject s;
    struct mm_tbs tbs = MM_TBS_INIT;
    struct mm_errinfo ei;
    char serial[80];

    device = make_ca(&conf, "P-256", &root);
    ck_assert_int_gt(X509_NAME_get_text_by_NID(X509_get_subject_name(device.cert), NID_serialNumber,
                                               serial, sizeof(serial)),
                     0);
    ck_assert_str_eq(serial, "SN-0007");
    s = subject_of(device.point, device.point_len, 3);
    s.hw_serial = "";
    ck_assert_int_eq(mm_profile_certificate_tbs(device.profile, &s, &tbs, &ei), MM_ERR_INVALID);
    ck_assert_str_eq(ei.field, "hw_serial");
    mm_buf_done(&tbs.der);
    free_ca(&device);
    free_ca(&root);
}
END_TEST

START_TEST(empty_subject_makes_san_critical)
{
    struct mm_conf_profile root_conf = settings("matter-paa", "self"), conf = settings("", "root");
    struct ca root = make_ca(&root_conf, "P-256", NULL), device;
    int critical = 0;
    GENERAL_NAMES *names;

    text(&conf.san, "hwmodule:1.3.6.1.4.1.32473.1:${hw_serial}");
    text(&conf.validity, "99991231235959Z");
    device = make_ca(&conf, "P-256", &root);
    names = X509_get_ext_d2i(device.cert, NID_subject_alt_name, &critical, NULL);
    ck_assert_ptr_nonnull(names);
    ck_assert_int_eq(critical, 1);
    GENERAL_NAMES_free(names);
    free_ca(&device);
    free_ca(&root);
}
END_TEST

START_TEST(serial_is_positive_and_never_zero)
{
    uint8_t zero[20] = {0}, high[20];

    mm_pki_serial_fix(zero);
    ck_assert_int_eq(zero[19], 1);
    memset(high, 0xff, sizeof(high));
    mm_pki_serial_fix(high);
    ck_assert_int_eq(high[0], 0x7f);
    ck_assert_int_eq(high[1], 0xff);
}
END_TEST

/* A request of the profile's, signed by the device and read back. */
static X509_REQ *request(const struct mm_conf_profile *conf, const char *group)
{
    struct mm_profile *p;
    struct mm_tbs tbs = MM_TBS_INIT;
    struct mm_buf der = MM_BUF_INIT(MM_CERT_DER_MAX);
    struct mm_errinfo ei;
    struct mm_subject s;
    uint8_t point[97], signature[96];
    size_t len;
    const uint8_t *at;
    EVP_PKEY *key;
    X509_REQ *req;

    make_key(group, &key, point, &len);
    s = subject_of(point, len, 9);
    ck_assert_msg(mm_profile_compile(conf, NULL, &p, &ei) == MM_OK, "%s", ei.text);
    ck_assert(mm_profile_makes_requests(p));
    ck_assert_msg(mm_profile_csr_tbs(p, &s, &tbs, &ei) == MM_OK, "%s", ei.text);
    len = sign(key, &tbs, signature);
    ck_assert_int_eq(mm_pki_assemble(&tbs, signature, len, &der, &ei), MM_OK);
    at = der.data;
    req = d2i_X509_REQ(NULL, &at, (long)der.len);
    ck_assert_ptr_nonnull(req);
    ck_assert_int_eq(X509_REQ_verify(req, key), 1);
    mm_profile_free(p);
    mm_buf_done(&tbs.der);
    mm_buf_done(&der);
    EVP_PKEY_free(key);
    return req;
}

START_TEST(request_carries_extensions_but_no_key_identifiers)
{
    struct mm_conf_profile conf = settings("matter-dac", "none");
    X509_REQ *req = request(&conf, "P-256");
    X509_EXTENSIONS *extensions = X509_REQ_get_extensions(req);

    ck_assert_int_eq(sk_X509_EXTENSION_num(extensions), 2);
    ck_assert_int_ge(X509v3_get_ext_by_NID(extensions, NID_basic_constraints, -1), 0);
    ck_assert_int_ge(X509v3_get_ext_by_NID(extensions, NID_key_usage, -1), 0);
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
    X509_REQ_free(req);
}
END_TEST

START_TEST(request_on_p384_has_sha384)
{
    struct mm_conf_profile conf = settings("ieee8021ar-idevid", "none");
    X509_REQ *req;

    text(&conf.key, "p384");
    req = request(&conf, "P-384");
    ck_assert_int_eq(X509_REQ_get_signature_nid(req), NID_ecdsa_with_SHA384);
    X509_REQ_free(req);
}
END_TEST

START_TEST(certificate_key_of_wrong_curve_is_refused)
{
    struct mm_conf_profile conf = settings("matter-paa", "self");
    struct ca root = make_ca(&conf, "P-256", NULL);
    struct mm_tbs tbs = MM_TBS_INIT;
    uint8_t point[97] = {4};
    struct mm_subject s = subject_of(point, sizeof(point), 1);

    ck_assert_int_eq(mm_profile_certificate_tbs(root.profile, &s, &tbs, NULL), MM_ERR_INTERNAL);
    s.point_len = 65;
    point[0] = 2;
    ck_assert_int_eq(mm_profile_certificate_tbs(root.profile, &s, &tbs, NULL), MM_ERR_INTERNAL);
    mm_buf_done(&tbs.der);
    free_ca(&root);
}
END_TEST

/* Each change of the subject must be seen in the certificate. */
START_TEST(check_certificate_of_other_subject_is_refused)
{
    struct mm_conf_profile paa_conf = settings("matter-paa", "self"),
                           conf = settings("matter-dac", "paa");
    struct ca paa = make_ca(&paa_conf, "P-256", NULL), device;
    struct mm_subject s;
    struct mm_errinfo ei;
    uint8_t *der = NULL;
    int len;

    device = make_ca(&conf, "P-256", &paa);
    len = i2d_X509(device.cert, &der);
#define CHECK(change, message)                                                                     \
    do {                                                                                           \
        s = subject_of(device.point, device.point_len, 2);                                         \
        change;                                                                                    \
        ck_assert_int_eq(mm_profile_check_certificate(device.profile, &s,                          \
                                                      (struct mm_bytes){der, (size_t)len}, &ei),   \
                         MM_ERR_CORRUPT);                                                          \
        ck_assert_msg(strstr(ei.text, message), "%s", ei.text);                                    \
    } while (0)
    CHECK(s.number++, "subject");
    CHECK(s.serial[3]++, "serial number");
    CHECK(s.now_ms += 1000, "notBefore");
    CHECK(s.point = paa.point, "public key");
    CHECK(der[len - 1] ^= 1, "signature");
    CHECK(len--, "no DER certificate");
#undef CHECK
    OPENSSL_free(der);
    free_ca(&device);
    free_ca(&paa);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pki_profile");
    TCase *t = tcase_create("all");

    mm_clock_replace(test_wall_ms, test_mono_us);
    tcase_add_test(t, certificate_matter_paa_equals_reference);
    tcase_add_test(t, certificate_matter_pai_equals_reference);
    tcase_add_test(t, certificate_matter_dac_equals_reference);
    tcase_add_test(t, presets_defaults_make_a_strict_matter_chain);
    tcase_add_test(t, validity_is_that_of_the_time_it_is_made_at);
    tcase_add_test(t, p384_issuer_signs_with_sha384);
    tcase_add_test(t, issuer_key_identifier_of_any_length_is_copied);
    tcase_add_test(t, idevid_carries_the_hardware_serial);
    tcase_add_test(t, empty_subject_makes_san_critical);
    tcase_add_test(t, serial_is_positive_and_never_zero);
    tcase_add_test(t, request_carries_extensions_but_no_key_identifiers);
    tcase_add_test(t, request_on_p384_has_sha384);
    tcase_add_test(t, certificate_key_of_wrong_curve_is_refused);
    tcase_add_test(t, check_certificate_of_other_subject_is_refused);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
