/* SPDX-License-Identifier: Apache-2.0 */
/* mintmark-verify: each rule for certificates, and each likeness of two devices, is found. */
#include "tests/integration/verify_folder.h"
#include "tests/unit/check_main.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static struct verify_folder f;

static void setup(void)
{
    folder_good(&f);
}

static void teardown(void)
{
    folder_done(&f);
}

#define judge(rules, expected, part_of_output) folder_judge(&f, rules, expected, part_of_output)

/* ---- one certificate changed ------------------------------------------------------------- */

#define CHANGE(name, code)                                                                         \
    static void name(struct verify_folder *v)                                                      \
    {                                                                                              \
        struct spec *s MM_UNUSED_ = &v->devices[1].spec;                                           \
        code;                                                                                      \
    }
#define MM_UNUSED_ __attribute__((unused))

CHANGE(version_1, s->version = X509_VERSION_1)
CHANGE(negative_serial, s->serial = -5)
CHANGE(sha384, s->md = "SHA384")
CHANGE(p384, s->group = "P-384")
CHANGE(no_vid, s->vid = NULL)
CHANGE(no_pid, s->pid = NULL)
CHANGE(other_vid, s->vid = "FFF2")
CHANGE(lower_vid, s->vid = "fff1")
CHANGE(long_pid, s->pid = "08000")
CHANGE(two_vids, s->second_vid = "FFF1")
CHANGE(no_bc, s->basic_constraints = NULL)
CHANGE(soft_bc, s->basic_constraints = "CA:FALSE")
CHANGE(is_ca, s->basic_constraints = "critical,CA:TRUE"; s->key_usage = "critical,keyCertSign")
CHANGE(no_ku, s->key_usage = NULL)
CHANGE(soft_ku, s->key_usage = "digitalSignature")
CHANGE(wide_ku, s->key_usage = "critical,digitalSignature,keyAgreement")
CHANGE(no_ski, s->ski = NULL)
CHANGE(false_ski, s->ski = "00112233445566778899AABBCCDDEEFF00112233")
CHANGE(no_aki, s->aki = NULL)
CHANGE(expired, s->not_after = "20250601000000Z")
CHANGE(not_yet, s->not_before = "20490101000000Z")
CHANGE(before_pai, s->not_before = "20240101000000Z")
CHANGE(too_big,
       s->san = "URI:urn:"
                "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
                "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")
CHANGE(no_cn, s->cn = NULL)
CHANGE(cn_ids_bad, s->vid = NULL; s->pid = NULL; s->cn = "X Mvid:fff1 Mpid:8000")
CHANGE(pai_no_vid, v->pai.vid = NULL)
CHANGE(pai_other_vid, v->pai.vid = "FFF2")
CHANGE(pai_pid, v->pai.pid = "8001")
CHANGE(pai_pathlen, v->pai.basic_constraints = "critical,CA:TRUE,pathlen:2")
CHANGE(pai_usage, v->pai.key_usage = "critical,keyCertSign,cRLSign,keyAgreement")
CHANGE(pai_no_aki, v->pai.aki = NULL)
CHANGE(paa_pid, v->paa.pid = "8000")
CHANGE(paa_soft_usage, v->paa.key_usage = "keyCertSign,cRLSign")
CHANGE(paa_pathlen, v->paa.basic_constraints = "critical,CA:TRUE,pathlen:3")

struct change {
    void (*change)(struct verify_folder *v);
    const char *output;
};

static const struct change matter_changes[] = {
    {version_1, "not X.509 version 3"},
    {negative_serial, "serial number not positive"},
    {sha384, "ecdsa-with-SHA256"},
    {p384, "prime256v1"},
    {no_vid, "vendor or product id missing"},
    {no_pid, "vendor or product id missing"},
    {other_vid, "vendor id FFF2, but the PAI's is FFF1"},
    {lower_vid, "not 4 upper-case hexadecimal digits"},
    {long_pid, "not 4 upper-case hexadecimal digits"},
    {two_vids, "id twice"},
    {no_bc, "basicConstraints not critical with cA FALSE"},
    {soft_bc, "basicConstraints not critical with cA FALSE"},
    {is_ca, "basicConstraints not critical with cA FALSE"},
    {no_ku, "keyUsage not critical digitalSignature alone"},
    {soft_ku, "keyUsage not critical digitalSignature alone"},
    {wide_ku, "keyUsage not critical digitalSignature alone"},
    {no_ski, "no non-critical SKI"},
    {false_ski, "no non-critical SKI"},
    {no_aki, "no non-critical AKI"},
    {expired, "chain, now: certificate has expired"},
    {not_yet, "chain, now: certificate is not yet valid"},
    {before_pai, "chain, at its notBefore: certificate is not yet valid"},
    {too_big, "more than 600"},
    {no_cn, "no common name"},
    {cn_ids_bad, "Mvid: or Mpid: without 4"},
    {pai_no_vid, "PAI: Matter: no vendor id"},
    {pai_other_vid, "PAI: Matter: vendor id FFF2, but the PAA's is FFF1"},
    {pai_pid, "product id 8000, but the PAI's is 8001"},
    {pai_pathlen, "PAI: Matter: path length is not 0"},
    {pai_usage, "PAI: Matter: keyUsage not critical keyCertSign and cRLSign"},
    {pai_no_aki, "PAI: Matter: no non-critical AKI"},
    {paa_pid, "PAA: Matter: product id"},
    {paa_soft_usage, "PAA: Matter: keyUsage not critical"},
    {paa_pathlen, "PAA: Matter: path length is not 1"},
};

START_TEST(matter_rule_broken_is_found)
{
    matter_changes[_i].change(&f);
    folder_write(&f);
    judge("matter-dac", 1, matter_changes[_i].output);
}
END_TEST

CHANGE(not_forever, s->not_after = "20490101000000Z")
CHANGE(no_identity, s->serial_number = NULL)
CHANGE(usage_without_signature, s->key_usage = "critical,keyAgreement")
CHANGE(odd_curve, s->group = "P-521")

static const struct change idevid_changes[] = {
    {version_1, "not X.509 version 3"},
    {negative_serial, "serial number not positive"},
    {not_forever, "notAfter is not 99991231235959Z"},
    {no_identity, "neither serialNumber nor hardwareModuleName"},
    {usage_without_signature, "without digitalSignature"},
    {soft_ku, "keyUsage not critical"},
    {is_ca, "or a CA"},
    {no_aki, "no non-critical authorityKeyIdentifier"},
    {odd_curve, "neither P-256, P-384 nor RSA"},
};

START_TEST(idevid_rule_broken_is_found)
{
    folder_idevid(&f);
    idevid_changes[_i].change(&f);
    folder_write(&f);
    judge("ieee8021ar", 1, idevid_changes[_i].output);
}
END_TEST

CHANGE(idevid_no_subject_soft, s->cn = NULL; s->serial_number = NULL;
       s->san = "otherName:1.3.6.1.5.5.7.8.4;UTF8:x")
CHANGE(idevid_no_subject, s->cn = NULL; s->serial_number = NULL;
       s->san = "critical,otherName:1.3.6.1.5.5.7.8.4;UTF8:x")

START_TEST(idevid_without_subject_needs_a_critical_name)
{
    folder_idevid(&f);
    idevid_no_subject_soft(&f);
    folder_write(&f);
    judge("ieee8021ar", 1, "empty subject without a critical subjectAltName");
    folder_done(&f);
    folder_good(&f);
    folder_idevid(&f);
    idevid_no_subject(&f);
    folder_write(&f);
    judge("ieee8021ar", 0, "0 failures");
}
END_TEST

/* ---- two devices alike ------------------------------------------------------------------- */

CHANGE(same_key, v->devices[0].key = EVP_EC_gen("P-256"); v->devices[1].key = v->devices[0].key;
       EVP_PKEY_up_ref(v->devices[0].key))
CHANGE(same_serial, s->serial = 103)
CHANGE(same_cn, s->cn = v->devices[2].spec.cn)
CHANGE(same_uid, v->devices[1].uid = v->devices[2].uid)
CHANGE(same_number, v->devices[1].number = 1)
CHANGE(same_hw_serial, v->devices[1].hw_serial = v->devices[2].hw_serial)
CHANGE(same_request_key, same_key(v);
       for (int i = 0; i < DEVICES; i++) v->devices[i].request = true)

static const struct change twin_changes[] = {
    {same_key, "same public key as device"},
    {same_serial, "same serial number as device"},
    {same_cn, "same common name as device"},
    {same_cn, "same subject as device"},
    {same_uid, "same UID as device"},
    {same_number, "same number as device"},
    {same_hw_serial, "same hardware serial number"},
    {same_request_key, "same public key as device"},
};

START_TEST(two_devices_alike_are_found)
{
    twin_changes[_i].change(&f);
    folder_write(&f);
    judge("matter-dac", 1, twin_changes[_i].output);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("verify_rules");
    TCase *t = tcase_create("all");

    folder_prepare();
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, matter_rule_broken_is_found, 0, (int)COUNT(matter_changes));
    tcase_add_loop_test(t, idevid_rule_broken_is_found, 0, (int)COUNT(idevid_changes));
    tcase_add_test(t, idevid_without_subject_needs_a_critical_name);
    tcase_add_loop_test(t, two_devices_alike_are_found, 0, (int)COUNT(twin_changes));
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
