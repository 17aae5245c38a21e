/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/front/identity.h"
#include "tests/unit/check_main.h"

#include <openssl/x509v3.h>
#include <string.h>

static char nothing[] = "";
static char uri_a[] = "urn:mintmark:a", uri_b[] = "urn:mintmark:b";
static char subject_c[] = "CN=station c,OU=line\\, two,O=Maker";
static char names[4][8] = {"a", "b", "c", "both"};
static char subject_both[] = "CN=both";

static struct mm_conf_client clients[] = {
    {names[0], 0, uri_a, nothing, MM_ROLE_STATION},
    {names[1], 0, uri_b, nothing, MM_ROLE_OFFICER},
    {names[2], 0, nothing, subject_c, MM_ROLE_MONITOR},
    {names[3], 0, uri_a, subject_both, MM_ROLE_ALL},
    {nothing, 0, nothing, nothing, MM_ROLE_ALL}, /* matches nobody */
};
static const struct mm_conf conf = {.clients = clients, .n_clients = MM_ARRAY_SIZE(clients)};
static const struct mm_conf only_both = {.clients = clients + 3, .n_clients = 1};

static void add_uri(GENERAL_NAMES *san, const char *uri, int len)
{
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_IA5STRING *text = ASN1_IA5STRING_new();

    ck_assert(ASN1_STRING_set(text, uri, len));
    GENERAL_NAME_set0_value(name, GEN_URI, text);
    sk_GENERAL_NAME_push(san, name);
}

/* uris end with NULL. */
static X509 *certificate(const char *const *rdns, const char *const *uris)
{
    X509 *x = X509_new();
    X509_NAME *name = X509_NAME_new();
    GENERAL_NAMES *san = sk_GENERAL_NAME_new_null();

    for (; *rdns; rdns += 2)
        ck_assert(X509_NAME_add_entry_by_txt(name, rdns[0], MBSTRING_UTF8,
                                             (const unsigned char *)rdns[1], -1, -1, 0));
    X509_set_subject_name(x, name);
    for (; uris && *uris; uris++)
        add_uri(san, *uris, (int)strlen(*uris));
    if (uris)
        ck_assert(X509_add1_ext_i2d(x, NID_subject_alt_name, san, 0, 0) == 1);
    X509_NAME_free(name);
    GENERAL_NAMES_free(san);
    return x;
}

static const char *const plain[] = {"CN", "x", NULL};

static void expect(X509 *x, const struct mm_conf *with, const char *name, unsigned roles)
{
    struct mm_peer peer = {.name = "before", .roles = 99, .address = "kept"};

    ck_assert_int_eq(mm_identity_find(x, with, &peer), MM_OK);
    ck_assert_str_eq(peer.name, name);
    ck_assert_uint_eq(peer.roles, roles);
    ck_assert_str_eq(peer.address, "kept");
    X509_free(x);
}

START_TEST(find_by_uri_takes_any_of_several)
{
    expect(certificate(plain, (const char *[]){uri_a, NULL}), &conf, "a", MM_ROLE_STATION);
    expect(certificate(plain, (const char *[]){"urn:x", "https://y", uri_b, NULL}), &conf, "b",
           MM_ROLE_OFFICER);
}
END_TEST

START_TEST(find_by_uri_wants_every_byte)
{
    static const char *const near[] = {"urn:mintmark:a ",  "urn:mintmark:",  "urn:mintmark:A",
                                       "urn:mintmark:a/x", "URN:mintmark:a", ""};

    for (size_t i = 0; i < MM_ARRAY_SIZE(near); i++)
        expect(certificate(plain, (const char *[]){near[i], NULL}), &conf, "", 0);
    expect(certificate(plain, NULL), &conf, "", 0);
}
END_TEST

START_TEST(find_by_uri_is_not_fooled_by_a_nul)
{
    X509 *x = certificate(plain, NULL);
    GENERAL_NAMES *san = sk_GENERAL_NAME_new_null();

    add_uri(san, "urn:mintmark:a\0.evil", 20);
    ck_assert(X509_add1_ext_i2d(x, NID_subject_alt_name, san, 0, 0) == 1);
    GENERAL_NAMES_free(san);
    expect(x, &conf, "", 0);
}
END_TEST

START_TEST(find_other_kinds_of_names_do_not_count)
{
    X509 *x = certificate(plain, NULL);
    GENERAL_NAMES *san = sk_GENERAL_NAME_new_null();
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_IA5STRING *text = ASN1_IA5STRING_new();

    ASN1_STRING_set(text, uri_a, -1);
    GENERAL_NAME_set0_value(name, GEN_DNS, text);
    sk_GENERAL_NAME_push(san, name);
    ck_assert(X509_add1_ext_i2d(x, NID_subject_alt_name, san, 0, 0) == 1);
    GENERAL_NAMES_free(san);
    expect(x, &conf, "", 0);
}
END_TEST

START_TEST(find_by_subject_as_rfc2253_prints_it)
{
    const char *const good[] = {"O", "Maker", "OU", "line, two", "CN", "station c", NULL};
    const char *const order[] = {"CN", "station c", "OU", "line, two", "O", "Maker", NULL};
    const char *const more[] = {"C",         "FR", "O",         "Maker", "OU",
                                "line, two", "CN", "station c", NULL};

    expect(certificate(good, NULL), &conf, "c", MM_ROLE_MONITOR);
    expect(certificate(order, NULL), &conf, "", 0);
    expect(certificate(more, NULL), &conf, "", 0);
}
END_TEST

START_TEST(find_with_uri_and_subject_wants_both)
{
    const char *const both[] = {"CN", "both", NULL};

    expect(certificate(both, (const char *[]){uri_a, NULL}), &only_both, "both", MM_ROLE_ALL);
    expect(certificate(both, (const char *[]){uri_b, NULL}), &only_both, "", 0);
    expect(certificate(plain, (const char *[]){uri_a, NULL}), &only_both, "", 0);
    /* The first section that matches rules. */
    expect(certificate(both, (const char *[]){uri_a, NULL}), &conf, "a", MM_ROLE_STATION);
}
END_TEST

START_TEST(find_without_clients_is_nobody)
{
    static const struct mm_conf empty = {.n_clients = 0};

    expect(certificate(plain, (const char *[]){uri_a, NULL}), &empty, "", 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("identity");
    TCase *tc = tcase_create("find");

    tcase_add_test(tc, find_by_uri_takes_any_of_several);
    tcase_add_test(tc, find_by_uri_wants_every_byte);
    tcase_add_test(tc, find_by_uri_is_not_fooled_by_a_nul);
    tcase_add_test(tc, find_other_kinds_of_names_do_not_count);
    tcase_add_test(tc, find_by_subject_as_rfc2253_prints_it);
    tcase_add_test(tc, find_with_uri_and_subject_wants_both);
    tcase_add_test(tc, find_without_clients_is_nobody);
    suite_add_tcase(s, tc);
    return run_suite(s);
}
