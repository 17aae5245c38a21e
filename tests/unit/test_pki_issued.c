/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates made by another CA, with OpenSSL's own builders, held against the profile. */
#include "daemon/pki/csr.h"
#include "daemon/pki/internal.h"
#include "daemon/pki/issued.h"
#include "tests/unit/check_main.h"
#include "tests/unit/pki_support.h"

#include <openssl/ec.h>
#include <openssl/x509v3.h>
#include <string.h>

static EVP_PKEY *ca_key, *device_key, *other_key;
static X509 *ca;
static struct mm_profile *profile;
static struct mm_verifier *verifier;
static uint8_t point[65];
static struct mm_subject subject;

static EVP_PKEY *make_key(void)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");

    ck_assert_ptr_nonnull(key);
    return key;
}

static X509_NAME *name_of(const char *const *parts)
{
    X509_NAME *name = X509_NAME_new();

    for (; *parts; parts += 2)
        ck_assert(X509_NAME_add_entry_by_txt(name, parts[0], V_ASN1_UTF8STRING,
                                             (const unsigned char *)parts[1], -1, -1, 0));
    return name;
}

static void add_extension(X509 *cert, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509_EXTENSION *extension;

    X509V3_set_ctx(&ctx, ca, cert, NULL, NULL, 0);
    extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    ck_assert_msg(extension != NULL, "%s", value);
    ck_assert(X509_add_ext(cert, extension, -1));
    X509_EXTENSION_free(extension);
}

/* What a certificate is made of; a test changes some of it. */
struct recipe {
    const char *subject[9];
    EVP_PKEY *key, *signer;
    const char *issuer;
    const char *not_before, *not_after;
    const char *basic_constraints, *key_usage, *san, *ski, *aki, *extra;
    int extra_nid;
    const EVP_MD *md;
    const uint8_t *serial;
    size_t serial_len;
    long version;
};

static const uint8_t a_serial[] = {0x7f, 1, 2, 3};

static struct recipe good_recipe(void)
{
    return (struct recipe){
        .subject = {"CN", "Widget 7", "O", "Example", NULL},
        .key = device_key,
        .signer = ca_key,
        .issuer = "Issuing CA",
        .not_before = "20261121235000Z",
        .not_after = "20361121235000Z",
        .basic_constraints = "critical,CA:FALSE",
        .key_usage = "critical,digitalSignature",
        .san = "DNS:w7.example,URI:urn:w:7",
        .ski = "hash",
        .aki = "keyid",
        .md = EVP_sha256(),
        .serial = a_serial,
        .serial_len = sizeof(a_serial),
        .version = 2,
    };
}

static X509 *make(const struct recipe *r)
{
    const char *const issuer[] = {"CN", r->issuer, NULL};
    X509 *cert = X509_new();
    BIGNUM *serial = BN_bin2bn(r->serial, (int)r->serial_len, NULL);
    ASN1_TIME *time = ASN1_TIME_new();
    X509_NAME *name = name_of(r->subject);

    X509_set_version(cert, X509_VERSION_3);
    BN_to_ASN1_INTEGER(serial, X509_get_serialNumber(cert));
    X509_set_subject_name(cert, name);
    X509_NAME_free(name);
    name = name_of(issuer);
    X509_set_issuer_name(cert, name);
    X509_NAME_free(name);
    ck_assert(ASN1_TIME_set_string_X509(time, r->not_before) && X509_set1_notBefore(cert, time));
    ck_assert(ASN1_TIME_set_string_X509(time, r->not_after) && X509_set1_notAfter(cert, time));
    X509_set_pubkey(cert, r->key);
    ASN1_TIME_free(time);
    BN_free(serial);
    if (r->basic_constraints)
        add_extension(cert, NID_basic_constraints, r->basic_constraints);
    if (r->key_usage)
        add_extension(cert, NID_key_usage, r->key_usage);
    if (r->san)
        add_extension(cert, NID_subject_alt_name, r->san);
    if (r->ski)
        add_extension(cert, NID_subject_key_identifier, r->ski);
    if (r->aki)
        add_extension(cert, NID_authority_key_identifier, r->aki);
    if (r->extra)
        add_extension(cert, r->extra_nid, r->extra);
    ck_assert_int_gt(X509_sign(cert, r->signer, r->md), 0);
    return cert;
}

static struct mm_conf_profile widget(void)
{
    struct mm_conf_profile c = settings("", "pki");

    text(&c.subject, "CN=Widget ${number},O=Example");
    text(&c.san, "DNS:w${number}.example,URI:urn:w:${number}");
    text(&c.validity, "10y");
    text(&c.basic_constraints, "end-entity");
    text(&c.username, "dev-${number:4}");
    c.ejbca = true;
    return c;
}

static void make_ca(void)
{
    struct recipe r = good_recipe();

    r.subject[1] = "Issuing CA";
    r.subject[2] = NULL;
    r.key = ca_key;
    r.basic_constraints = "critical,CA:TRUE,pathlen:0";
    r.key_usage = "critical,keyCertSign,cRLSign";
    r.san = r.aki = NULL;
    r.not_before = "20260101000000Z";
    r.not_after = "20460101000000Z";
    ca = make(&r);
}

static void setup(void)
{
    const struct mm_conf_profile conf = widget();
    struct mm_errinfo ei;
    struct mm_bytes ca_point;
    size_t len;

    mm_clock_replace(test_wall_ms, test_mono_us);
    ca_key = make_key();
    device_key = make_key();
    other_key = make_key();
    make_ca();
    ck_assert_msg(mm_profile_compile(&conf, ca, &profile, &ei) == MM_OK, "%s", ei.text);
    ck_assert_int_eq(mm_pki_certificate_point(ca, &ca_point, &ei), MM_OK);
    ck_assert_int_eq(mm_verifier_new(ca_point.data, ca_point.len, &verifier, &ei), MM_OK);
    ck_assert(
        EVP_PKEY_get_octet_string_param(device_key, "encoded-pub-key", point, sizeof(point), &len));
    subject = (struct mm_subject){.number = 7,
                                  .hw_serial = "",
                                  .device_uid = "00000000-0000-7000-8000-000000000000",
                                  .point = point,
                                  .point_len = len,
                                  .now_ms = now_ms};
}

static void teardown(void)
{
    mm_profile_free(profile);
    mm_verifier_free(verifier);
    X509_free(ca);
    EVP_PKEY_free(ca_key);
    EVP_PKEY_free(device_key);
    EVP_PKEY_free(other_key);
    mm_clock_replace(NULL, NULL);
}

/* "" when the certificate is taken. */
/* OpenSSL from 3.4 on makes every certificate with extensions one of version 3: by hand, then. */
static void put_version(uint8_t *der, size_t len, long version)
{
    static const uint8_t before[] = {0xa0, 0x03, 0x02, 0x01};
    enum { AT = 8 }; /* after the heads of the Certificate and of what is signed */

    ck_assert(len > AT + sizeof(before) && memcmp(der + AT, before, sizeof(before)) == 0);
    der[AT + sizeof(before)] = (uint8_t)version;
}

static const char *judge(const struct recipe *r, struct mm_errinfo *ei)
{
    X509 *cert = make(r);
    struct mm_issued issued;
    uint8_t *der = NULL;
    const int len = i2d_X509(cert, &der);
    int result;

    put_version(der, (size_t)len, r->version);
    result = mm_issued_read((struct mm_bytes){der, (size_t)len}, &issued, ei);
    ei->text[0] = 0;
    if (result == MM_OK)
        result = mm_profile_check_issued(profile, verifier, &subject, &issued, ei);
    else
        result = mm_issued_read((struct mm_bytes){der, (size_t)len}, &issued, ei);
    OPENSSL_free(der);
    X509_free(cert);
    if (result < 0) {
        ck_assert_int_eq(result, MM_ERR_CORRUPT);
        ck_assert_str_eq(ei->reason, "BAD_CERTIFICATE");
    }
    return ei->text;
}

START_TEST(check_issued_takes_what_a_ca_may_choose)
{
    struct mm_errinfo ei;
    struct recipe r = good_recipe();

    ck_assert_str_eq(judge(&r, &ei), "");
    r.subject[0] = "O"; /* sorted */
    r.subject[1] = "Example";
    r.subject[2] = "CN";
    r.subject[3] = "Widget 7";
    r.san = "URI:urn:w:7,DNS:w7.example";
    r.extra_nid = NID_crl_distribution_points;
    r.extra = "URI:http://crl.example/ca.crl";
    r.not_after = "20361122235000Z"; /* a day more */
    r.md = EVP_sha384();
    ck_assert_str_eq(judge(&r, &ei), "");
}
END_TEST

static void other_key_in(struct recipe *r)
{
    r->key = other_key;
}
static void other_signer(struct recipe *r)
{
    r->signer = other_key;
}
static void other_issuer(struct recipe *r)
{
    r->issuer = "Issuing CB";
}
static void other_name(struct recipe *r)
{
    r->subject[1] = "Widget 8";
}
static void less_name(struct recipe *r)
{
    r->subject[2] = NULL;
}
static void more_name(struct recipe *r)
{
    r->subject[4] = "OU";
    r->subject[5] = "x";
}
static void twice_name(struct recipe *r)
{
    r->subject[2] = "CN";
    r->subject[3] = "Widget 7";
}
static void expired(struct recipe *r)
{
    r->not_before = "20260201000000Z";
    r->not_after = "20261121000000Z";
}
static void early(struct recipe *r)
{
    r->not_before = "20261122010000Z";
}
static void long_life(struct recipe *r)
{
    r->not_after = "20361125000000Z";
}
static void short_life(struct recipe *r)
{
    r->not_after = "20361118000000Z";
}
static void beyond_issuer(struct recipe *r)
{
    r->not_after = "20470101000000Z";
}
static void before_issuer(struct recipe *r)
{
    r->not_before = "20251231000000Z";
    r->not_after = "20351231000000Z";
}
static void a_ca(struct recipe *r)
{
    r->basic_constraints = "critical,CA:TRUE";
}
static void not_critical(struct recipe *r)
{
    r->basic_constraints = "CA:FALSE";
}
static void no_constraints(struct recipe *r)
{
    r->basic_constraints = NULL;
}
static void more_usage(struct recipe *r)
{
    r->key_usage = "critical,digitalSignature,keyAgreement";
}
static void other_san(struct recipe *r)
{
    r->san = "DNS:w7.example,URI:urn:w:8";
}
static void double_san(struct recipe *r)
{
    r->san = "DNS:w7.example,DNS:w7.example";
}
static void no_ski(struct recipe *r)
{
    r->ski = NULL;
}
static void other_aki(struct recipe *r)
{
    r->aki = "keyid,issuer:always";
}
static void client_auth(struct recipe *r)
{
    r->extra_nid = NID_ext_key_usage;
    r->extra = "clientAuth";
}
static void critical_points(struct recipe *r)
{
    r->extra_nid = NID_crl_distribution_points;
    r->extra = "critical,URI:http://crl.example/ca.crl";
}
static void sha1(struct recipe *r)
{
    r->md = EVP_sha1();
}
static void zero_serial(struct recipe *r)
{
    r->serial_len = 0;
}
static void long_serial(struct recipe *r)
{
    static const uint8_t bytes[21] = {1};

    r->serial = bytes;
    r->serial_len = sizeof(bytes);
}
static void version_2(struct recipe *r)
{
    r->version = 1;
}

static const struct {
    void (*change)(struct recipe *r);
    const char *what;
} bad_ones[] = {
    {other_key_in, "is for another key than the request's"},
    {other_signer, "has a signature that is not by the issuer's key"},
    {other_issuer, "is of another issuer"},
    {other_name, "has another subject than the profile gives this device"},
    {less_name, "has another subject than the profile gives this device"},
    {more_name, "has another subject than the profile gives this device"},
    {twice_name, "has another subject than the profile gives this device"},
    {expired, "has expired"},
    {early, "is not valid yet"},
    {long_life, "is valid for longer or shorter than the profile says"},
    {short_life, "is valid for longer or shorter than the profile says"},
    {beyond_issuer, "is valid when its issuer is not"},
    {before_issuer, "is valid when its issuer is not"},
    {a_ca, "has another content, or criticality, of the extension X509v3 Basic Constraints"},
    {not_critical,
     "has another content, or criticality, of the extension X509v3 Basic Constraints"},
    {no_constraints, "lacks the extension X509v3 Basic Constraints"},
    {more_usage, "has another content, or criticality, of the extension X509v3 Key Usage"},
    {other_san,
     "has another content, or criticality, of the extension X509v3 Subject Alternative Name"},
    {double_san,
     "has another content, or criticality, of the extension X509v3 Subject Alternative Name"},
    {no_ski, "lacks the extension X509v3 Subject Key Identifier"},
    {other_aki,
     "has another content, or criticality, of the extension X509v3 Authority Key Identifier"},
    {client_auth, "has, against the profile, the extension X509v3 Extended Key Usage"},
    {critical_points, "has, against the profile, the extension X509v3 CRL Distribution Points"},
    {sha1, "is not signed by the algorithm that the profile demands"},
    {zero_serial, "has a serial number that is not positive, or has more than 20 octets"},
    {long_serial, "has a serial number that is not positive, or has more than 20 octets"},
    {version_2, "is not of version 3"},
};

START_TEST(check_issued_says_what_is_wrong)
{
    char expected[200];
    struct mm_errinfo ei;
    struct recipe r = good_recipe();

    bad_ones[_i].change(&r);
    snprintf(expected, sizeof(expected), "the certificate %s", bad_ones[_i].what);
    ck_assert_str_eq(judge(&r, &ei), expected);
}
END_TEST

/* Every single byte of it matters: none can be changed, cut off or added. */
START_TEST(check_issued_notices_every_changed_byte)
{
    const struct recipe recipe = good_recipe();
    X509 *cert = make(&recipe);
    struct mm_issued issued;
    struct mm_errinfo ei;
    uint8_t *der = NULL;
    const size_t len = (size_t)i2d_X509(cert, &der);

    for (size_t i = 0; i < len; i++) {
        der[i] ^= 1;
        ck_assert_msg(mm_issued_read((struct mm_bytes){der, len}, &issued, &ei) < 0 ||
                          mm_profile_check_issued(profile, verifier, &subject, &issued, &ei) < 0,
                      "byte %zu", i);
        der[i] ^= 1;
        ck_assert_int_eq(mm_issued_read((struct mm_bytes){der, i}, &issued, &ei), MM_ERR_CORRUPT);
    }
    ck_assert_int_eq(mm_issued_read((struct mm_bytes){der, len}, &issued, &ei), MM_OK);
    ck_assert_uint_eq(issued.serial.len, sizeof(a_serial));
    ck_assert_mem_eq(issued.serial.data, a_serial, sizeof(a_serial));
    OPENSSL_free(der);
    X509_free(cert);
}
END_TEST

/* The same profile, without its issuer, makes what EJBCA is sent. */
START_TEST(compile_without_issuer_makes_requests)
{
    const struct mm_conf_profile conf = widget();
    struct mm_profile *p = NULL;
    struct mm_tbs tbs = MM_TBS_INIT;
    struct mm_errinfo ei;

    ck_assert_int_eq(mm_profile_compile(&conf, NULL, &p, &ei), MM_OK);
    ck_assert(mm_profile_makes_requests(p));
    ck_assert(!mm_profile_makes_requests(profile));
    ck_assert_int_eq(mm_profile_csr_tbs(p, &subject, &tbs, &ei), MM_OK);
    mm_buf_done(&tbs.der);
    mm_profile_free(p);
}
END_TEST

START_TEST(username_is_of_the_template_and_refuses_odd_serials)
{
    struct mm_conf_profile conf = widget();
    struct mm_profile *p = NULL;
    char username[MM_ISSUER_NAME_MAX + 1];
    struct mm_errinfo ei;

    ck_assert_int_eq(mm_profile_username(profile, &subject, username, &ei), MM_OK);
    ck_assert_str_eq(username, "dev-0007");
    text(&conf.username, "d.${hw_serial}");
    ck_assert_int_eq(mm_profile_compile(&conf, ca, &p, &ei), MM_OK);
    ck_assert(mm_profile_needs_hw_serial(p));
    subject.hw_serial = "A+1@b";
    ck_assert_int_eq(mm_profile_username(p, &subject, username, &ei), MM_OK);
    ck_assert_str_eq(username, "d.A+1@b");
    subject.hw_serial = "A/1";
    ck_assert_int_eq(mm_profile_username(p, &subject, username, &ei), MM_ERR_INVALID);
    ck_assert_str_eq(ei.field, "hw_serial");
    mm_profile_free(p);
    text(&conf.username, "fixed");
    ck_assert_int_eq(mm_profile_compile(&conf, ca, &p, &ei), MM_ERR_INVALID);
    ck_assert_str_eq(ei.field, "username");
    conf = widget();
    conf.ejbca = false;
    ck_assert_int_eq(mm_profile_compile(&conf, ca, &p, &ei), MM_OK);
    ck_assert_int_eq(mm_profile_username(p, &subject, username, &ei), MM_OK);
    ck_assert_str_eq(username, "");
    mm_profile_free(p);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pki_issued");
    TCase *tc = tcase_create("pki_issued");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, check_issued_takes_what_a_ca_may_choose);
    tcase_add_loop_test(tc, check_issued_says_what_is_wrong, 0, MM_ARRAY_SIZE(bad_ones));
    tcase_add_test(tc, check_issued_notices_every_changed_byte);
    tcase_add_test(tc, compile_without_issuer_makes_requests);
    tcase_add_test(tc, username_is_of_the_template_and_refuses_odd_serials);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
