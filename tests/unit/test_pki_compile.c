/* SPDX-License-Identifier: Apache-2.0 */
/* Profiles that must be refused when they are compiled. */
#include "check_main.h"
#include "pki_support.h"

#include <string.h>

/* Compiling below the reference PAI (or as a root) must fail and say why. */
static void refuse(const struct mm_conf_profile *conf, const char *issuer_name,
                   const char *part_of_message)
{
    X509 *issuer = issuer_name ? load(issuer_name) : NULL;
    struct mm_profile *p = NULL;
    struct mm_errinfo ei = {.code = MM_OK};
    const int r = mm_profile_compile(conf, issuer, &p, &ei);

    ck_assert_msg(r < 0, "accepted, expected: %s", part_of_message);
    ck_assert_msg(strstr(ei.text, part_of_message), "%s", ei.text);
    ck_assert_ptr_nonnull(strstr(ei.text, "profile \"Test\": "));
    ck_assert_ptr_null(p);
    X509_free(issuer);
}

#define REFUSE(field, value, message)                                                              \
    do {                                                                                           \
        struct mm_conf_profile c_ = settings("matter-dac", "pai");                                 \
        text(&c_.field, value);                                                                    \
        refuse(&c_, "pai", message);                                                               \
    } while (0)

START_TEST(compile_wrong_setting_is_refused)
{
    REFUSE(preset, "matter", "no preset");
    REFUSE(key, "rsa", "p256, p384, ed25519, mldsa44, mldsa65 or mldsa87");
    REFUSE(delivery, "free", "wrapped, retained, plain or on-device");
    REFUSE(subject, "CN=${foo}", "no variable");
    REFUSE(san, "DNS:a b", "domain name");
    REFUSE(not_before, "soon", "not_before");
    REFUSE(not_before, "20200101000000Z", "not valid at the certificate's notBefore");
    REFUSE(not_before, "20470101000000Z", "not valid at the certificate's notBefore");
    REFUSE(validity, "forever", "validity");
    REFUSE(validity, "30y", "outlive the issuing CA");
    REFUSE(validity, "20200101000000Z", "before it begins");
}
END_TEST

START_TEST(compile_free_profile_needs_subject_and_validity)
{
    struct mm_conf_profile c = settings("", "pai");

    refuse(&c, "pai", "needs a subject");
    text(&c.subject, "CN=a");
    refuse(&c, "pai", "needs a validity");
}
END_TEST

START_TEST(compile_against_matter_rules_is_refused)
{
    char *usage[] = {(char *)(uintptr_t) "digitalSignature", (char *)(uintptr_t) "keyAgreement"};
    struct mm_conf_profile c = settings("matter-dac", "pai");

    REFUSE(key, "p384", "keys are on P-256");
    REFUSE(vid, "FFF2", "vendor id is not the issuer's");
    REFUSE(subject, "CN=a,VID=FFF1", "must have a product id");
    REFUSE(subject, "CN=a", "must have a vendor id");
    REFUSE(subject, "CN=a,VID=FFF1,PID=8000,PID=8001", "twice");
    REFUSE(basic_constraints, "none", "basicConstraints");
    REFUSE(san,
           "URI:urn:"
           "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
           "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
           "600 bytes");
    c.key_usage = usage;
    c.n_key_usage = 2;
    refuse(&c, "pai", "key usage is digitalSignature");
    c = settings("matter-dac", "pai");
    c.subject_key_identifier = false;
    refuse(&c, "pai", "subject key identifier");
    c = settings("matter-dac", "pai");
    c.authority_key_identifier = false;
    refuse(&c, "pai", "authority key identifier");
    c = settings("matter-pai", "paa");
    text(&c.basic_constraints, "ca:1");
    refuse(&c, "paa", "path length 0");
    c = settings("matter-paa", "self");
    text(&c.subject, "CN=a,PID=8000");
    refuse(&c, NULL, "no product id");
}
END_TEST

START_TEST(compile_names_that_no_device_knows_are_refused_for_an_ejbca)
{
    struct mm_conf_profile c = settings("", "pki");
    struct mm_profile *p = NULL;
    struct mm_errinfo ei;

    c.ejbca = true;
    text(&c.delivery, "on-device");
    text(&c.username, "dev-${number}");
    text(&c.subject, "CN=a ${number:6}");
    refuse(&c, NULL, "no device knows its ${number} then; use ${hw_serial}");
    text(&c.subject, "CN=${hw_serial},serialNumber=${device_uid}");
    refuse(&c, NULL,
           "the subject from the device's request, and no device knows its ${device_uid}");
    text(&c.subject, "CN=${hw_serial}");
    text(&c.san, "DNS:${hw_serial}.example,URI:urn:uuid:${device_uid}");
    refuse(&c, "pai", "the alternative names from the device's request");
    text(&c.delivery, "retained"); /* whose requests are made here */
    ck_assert_int_eq(mm_profile_compile(&c, NULL, &p, &ei), MM_OK);
    mm_profile_free(p);
    text(&c.delivery, "on-device");
    text(&c.san, "DNS:${hw_serial}.example");
    ck_assert_msg(mm_profile_compile(&c, NULL, &p, &ei) == MM_OK, "%s", ei.text);
    mm_profile_free(p);
}
END_TEST

START_TEST(compile_ca_and_key_usage_must_agree)
{
    char *sign_only[] = {(char *)(uintptr_t) "digitalSignature"};
    char *ca_usage[] = {(char *)(uintptr_t) "keyCertSign"};
    char *unknown[] = {(char *)(uintptr_t) "keySign"};
    struct mm_conf_profile c = settings("matter-paa", "self");

    c.key_usage = sign_only;
    c.n_key_usage = 1;
    refuse(&c, NULL, "must have keyCertSign");
    c = settings("matter-dac", "pai");
    c.key_usage = ca_usage;
    c.n_key_usage = 1;
    refuse(&c, "pai", "needs basic_constraints");
    c.key_usage = unknown;
    refuse(&c, "pai", "no key usage \"keySign\"");
    c = settings("matter-dac", "pai");
    c.extended_key_usage = unknown;
    c.n_extended_key_usage = 1;
    refuse(&c, "pai", "keySign");
    c = settings("matter-dac", "dac");
    refuse(&c, "dac", "not a CA's");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pki_compile");
    TCase *t = tcase_create("all");

    mm_clock_replace(test_wall_ms, test_mono_us);
    tcase_add_test(t, compile_wrong_setting_is_refused);
    tcase_add_test(t, compile_free_profile_needs_subject_and_validity);
    tcase_add_test(t, compile_against_matter_rules_is_refused);
    tcase_add_test(t, compile_names_that_no_device_knows_are_refused_for_an_ejbca);
    tcase_add_test(t, compile_ca_and_key_usage_must_agree);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
