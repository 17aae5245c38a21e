/* SPDX-License-Identifier: Apache-2.0 */
/* Requests of devices for a CA that takes subject and alternative names from them: each must ask
 * for what the profile gives. OpenSSL makes them. */
#include "daemon/pki/csr.h"

#include "tests/unit/check_main.h"
#include "tests/unit/pki_support.h"

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>
#include <string.h>

static struct mm_profile *profile, *with_san;
static struct mm_errinfo ei;

static struct mm_profile *compile(const char *san, bool ejbca)
{
    struct mm_conf_profile c = settings("", ejbca ? "pki" : "none");
    struct mm_profile *p = NULL;

    c.ejbca = ejbca;
    text(&c.delivery, "on-device");
    text(&c.subject, "CN=${hw_serial},O=Example");
    text(&c.san, san);
    text(&c.basic_constraints, "end-entity");
    if (ejbca)
        text(&c.username, "${device_uid}");
    ck_assert_msg(mm_profile_compile(&c, NULL, &p, &ei) == MM_OK, "%s", ei.text);
    return p;
}

static void setup(void)
{
    mm_clock_replace(test_wall_ms, test_mono_us);
    profile = compile("", true);
    with_san = compile("DNS:${hw_serial}.example,URI:urn:${hw_serial}", true);
}

static void teardown(void)
{
    mm_profile_free(profile);
    mm_profile_free(with_san);
}

struct recipe {
    const char *subject[7];
    int string; /* of the subject */
    const char *san, *constraints, *ski, *purpose;
    bool challenge; /* another attribute */
    int requests;   /* 1: the attribute with the extensions is there; 2: with one of them twice */
};

static void add_extension(STACK_OF(X509_EXTENSION) * list, X509_REQ *req, int nid,
                          const char *value)
{
    X509V3_CTX ctx;
    X509_EXTENSION *e;

    if (!value)
        return;
    X509V3_set_ctx(&ctx, NULL, NULL, req, NULL, 0);
    e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    ck_assert_msg(e && sk_X509_EXTENSION_push(list, e), "%s", value);
}

static void add_extensions(X509_REQ *req, const struct recipe *r)
{
    STACK_OF(X509_EXTENSION) *list = sk_X509_EXTENSION_new_null();

    add_extension(list, req, NID_subject_alt_name, r->san);
    add_extension(list, req, NID_basic_constraints, r->constraints);
    add_extension(list, req, NID_subject_key_identifier, r->ski);
    add_extension(list, req, NID_ext_key_usage, r->purpose);
    if (r->requests == 2) /* one of them twice */
        add_extension(list, req, NID_subject_key_identifier, r->ski);
    if (r->requests > 0)
        ck_assert_int_eq(X509_REQ_add_extensions(req, list), 1);
    sk_X509_EXTENSION_pop_free(list, X509_EXTENSION_free);
}

/* "" when the request is taken, else the reason and the text. */
static const char *judge(const struct mm_profile *p, const struct recipe *r)
{
    static char said[MM_ERR_TEXT_MAX + 64];
    const struct mm_subject s = {.hw_serial = "A1",
                                 .number = 7,
                                 .device_uid = "00000000-0000-7000-8000-000000000000",
                                 .now_ms = now_ms};
    struct mm_subject with_key = s;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509_REQ *req = X509_REQ_new();
    struct mm_bytes der, point;
    uint8_t *bytes = NULL;
    int result;

    ck_assert_int_eq(X509_REQ_set_pubkey(req, key), 1);
    for (size_t i = 0; r->subject[i]; i += 2)
        ck_assert(X509_NAME_add_entry_by_txt(X509_REQ_get_subject_name(req), r->subject[i],
                                             r->string ? r->string : V_ASN1_UTF8STRING,
                                             (const uint8_t *)r->subject[i + 1], -1, -1, 0));
    add_extensions(req, r);
    if (r->challenge)
        ck_assert(X509_REQ_add1_attr_by_NID(req, NID_pkcs9_challengePassword, MBSTRING_ASC,
                                            (const uint8_t *)"secret", -1));
    ck_assert_int_gt(X509_REQ_sign(req, key, EVP_sha256()), 0);
    der.len = (size_t)i2d_X509_REQ(req, &bytes);
    der.data = bytes;
    ck_assert_int_eq(mm_profile_check_csr(p, der, &point, &ei), MM_OK);
    with_key.point = point.data;
    with_key.point_len = point.len;
    result = mm_profile_check_csr_content(p, &with_key, der, &ei);
    said[0] = 0;
    if (result < 0) {
        ck_assert_int_eq(result, MM_ERR_INVALID);
        ck_assert_str_eq(ei.field, "csr");
        snprintf(said, sizeof(said), "%s: %s", ei.reason, ei.text);
    }
    OPENSSL_free(bytes);
    X509_REQ_free(req);
    EVP_PKEY_free(key);
    return said;
}

#define SUBJECT                                                                                    \
    {                                                                                              \
        "CN", "A1", "O", "Example", NULL                                                           \
    }

START_TEST(what_the_profile_gives_is_taken)
{
    const struct recipe good[] = {
        {.subject = SUBJECT},
        {.subject = {"O", "Example", "CN", "A1", NULL}, .string = V_ASN1_PRINTABLESTRING},
        {.subject = SUBJECT, .constraints = "critical,CA:FALSE", .requests = 1},
        {.subject = SUBJECT, .ski = "hash", .requests = 1},
        {.subject = SUBJECT, .challenge = true},
    };
    const struct recipe san = {
        .subject = SUBJECT, .san = "URI:urn:A1,DNS:A1.example", .requests = 1};

    for (size_t i = 0; i < MM_ARRAY_SIZE(good); i++)
        ck_assert_str_eq(judge(profile, &good[i]), "");
    ck_assert_str_eq(judge(with_san, &san), "");
}
END_TEST

START_TEST(other_subject_is_refused_and_both_are_named)
{
    const struct recipe r = {.subject = {"CN", "A2", "O", "Example", NULL}},
                        more = {.subject = {"CN", "A1", "O", "Example", "OU", "x", NULL}},
                        less = {.subject = {"CN", "A1", NULL}}, none = {.subject = {NULL}},
                        odd = {.subject = {"CN", "A\n\"2", NULL}};

    ck_assert_str_eq(judge(profile, &r),
                     "CSR_SUBJECT: the request's subject is \"O=Example,CN=A2\", and the profile "
                     "gives this device \"O=Example,CN=A1\"");
    ck_assert_msg(strstr(judge(profile, &more), "CSR_SUBJECT: ") != NULL, "%s", ei.text);
    ck_assert_msg(strstr(judge(profile, &less), "CSR_SUBJECT: ") != NULL, "%s", ei.text);
    ck_assert_msg(strstr(judge(profile, &none), "subject is \"\"") != NULL, "%s", ei.text);
    ck_assert_msg(strstr(judge(profile, &odd), "CN=A\\0A\\\"2") != NULL, "%s", ei.text);
}
END_TEST

START_TEST(other_extensions_are_refused)
{
    const struct recipe purpose = {.subject = SUBJECT, .purpose = "clientAuth", .requests = 1},
                        ca = {.subject = SUBJECT, .constraints = "critical,CA:TRUE", .requests = 1},
                        san = {.subject = SUBJECT, .san = "DNS:A1.example", .requests = 1},
                        twice = {.subject = SUBJECT, .ski = "hash", .requests = 2};

    ck_assert_str_eq(
        judge(profile, &purpose),
        "CSR_EXTENSION: the request asks, against the profile, for the extension X509v3 "
        "Extended Key Usage");
    ck_assert_str_eq(
        judge(profile, &ca),
        "CSR_EXTENSION: the request asks for another content, or criticality, than the "
        "profile has of the extension X509v3 Basic Constraints");
    ck_assert_str_eq(
        judge(profile, &san),
        "CSR_EXTENSION: the request asks, against the profile, for the extension X509v3 "
        "Subject Alternative Name");
    ck_assert_msg(strstr(judge(with_san, &san), "another content") != NULL, "%s", ei.text);
    ck_assert_msg(strstr(judge(profile, &twice), "CSR_MALFORMED: ") != NULL, "%s", ei.text);
}
END_TEST

START_TEST(alternative_names_of_the_profile_must_be_asked_for)
{
    const struct recipe r = {.subject = SUBJECT};

    ck_assert_str_eq(
        judge(with_san, &r),
        "CSR_EXTENSION: the request does not ask, as the profile demands, for the extension "
        "X509v3 Subject Alternative Name");
}
END_TEST

START_TEST(other_issuers_look_at_the_key_alone)
{
    const struct recipe r = {
        .subject = {"CN", "I am root", NULL}, .constraints = "critical,CA:TRUE", .requests = 1};
    struct mm_profile *p = compile("", false);

    ck_assert_str_eq(judge(p, &r), "");
    mm_profile_free(p);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pki_csr_content");
    TCase *tc = tcase_create("all");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, what_the_profile_gives_is_taken);
    tcase_add_test(tc, other_subject_is_refused_and_both_are_named);
    tcase_add_test(tc, other_extensions_are_refused);
    tcase_add_test(tc, alternative_names_of_the_profile_must_be_asked_for);
    tcase_add_test(tc, other_issuers_look_at_the_key_alone);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
