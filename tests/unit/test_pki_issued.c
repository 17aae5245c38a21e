/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates made by another CA, held against the profile. */
#include "tests/unit/issued_support.h"

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
    {sha1, "is signed by ecdsa-with-SHA1; taken are ECDSA, and RSA with PKCS #1 v1.5 or PSS, each "
           "with SHA-256, SHA-384 or SHA-512"},
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

START_TEST(check_issued_notices_every_changed_byte)
{
    every_changed_byte();
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
