/* SPDX-License-Identifier: Apache-2.0 */
/* Issuers of kind ejbca, and the settings of profiles that belong to them. */
#include "daemon/conf/conf.h"
#include "daemon/conf/format.h"
#include "tests/unit/check_main.h"

#include <string.h>

/* Lines 1 to 5; what a test adds begins in line 6. */
#define HEAD                                                                                       \
    "listen { certificate = 's.pem'\n key = 's.key'\n client_ca = 'ca.pem' }\n"                    \
    "store { path = 'm.db' }\n"                                                                    \
    "token 't' { module = '/lib/m.so' uri = 'pkcs11:token=t' pin_file = 'pin' }\n"
#define NODES "nodes = {'https://a.example:8443', 'https://[::1]/x'} server_ca = 'tls.pem'"
#define P12   "client_p12 = 'ra.p12' client_password_file = 'ra.txt'"
#define KEY   "client_key = 'pkcs11:object=ra' client_token = 't' client_certificate = 'ra.pem'"
/* One line. */
#define EJBCA(settings) "issuer 'pki' { kind = ejbca certificate = 'ca.pem' " settings " }\n"
#define PROFILE(name, settings)                                                                    \
    "profile '" name "' { issuer = 'pki' delivery = 'plain' subject = 'CN=${number:4}' " settings  \
    " }\n"
#define NAMES "ca = 'Issuing CA' certificate_profile = 'Dev, ice' end_entity_profile = 'Gerät'"

static int parse(const char *text, struct mm_conf **ret_conf, struct mm_errinfo *ei)
{
    return mm_conf_parse("/etc/mintmark/m.conf", text, strlen(text), ret_conf, ei);
}

static struct mm_conf *parse_good(const char *text)
{
    struct mm_errinfo ei = {0};
    struct mm_conf *conf = NULL;

    if (parse(text, &conf, &ei) < 0)
        ck_abort_msg("%s", ei.text);
    return conf;
}

START_TEST(parse_ejbca_fills_in_defaults)
{
    MM_CONF_CLEANUP struct mm_conf *c = parse_good(HEAD EJBCA(NODES " " P12) PROFILE("p", NAMES));
    const struct mm_conf_issuer *issuer = mm_conf_issuer_get(c, "pki");
    const struct mm_conf_profile *p = mm_conf_profile_get(c, "p");

    ck_assert(mm_conf_issuer_is_ejbca(issuer));
    ck_assert(!mm_conf_issuer_is_ejbca(NULL));
    ck_assert_uint_eq(issuer->n_nodes, 2);
    ck_assert_str_eq(issuer->nodes[1], "https://[::1]/x");
    ck_assert_str_eq(issuer->client_p12, "/etc/mintmark/ra.p12");
    ck_assert_uint_eq(issuer->requests_start, 4);
    ck_assert_uint_eq(issuer->requests_max, 24);
    ck_assert_uint_eq(issuer->per_s, 0);
    ck_assert(p->ejbca);
    ck_assert_str_eq(p->token, "t");
    ck_assert_str_eq(p->validity, "");
    ck_assert_str_eq(p->end_entity_profile, "Gerät");
    ck_assert_str_eq(p->username, "${device_uid}");
    ck_assert_str_eq(p->when_away, "wait");
    ck_assert_uint_eq(p->waiting_max, 100000);
    ck_assert(p->revoke_bad && !p->revoke_ko && !p->include_chain);
}
END_TEST

START_TEST(dump_ejbca_parses_to_the_same)
{
    MM_CONF_CLEANUP struct mm_conf *c =
        parse_good(HEAD EJBCA(NODES " " KEY) PROFILE("p", NAMES " when_away = fail"));
    MM_CONF_CLEANUP struct mm_conf *again = NULL;
    struct mm_errinfo ei = {0};
    char *text[2] = {NULL, NULL};
    size_t len;

    for (int i = 0; i < 2; i++) {
        FILE *out = open_memstream(&text[i], &len);

        ck_assert_ptr_nonnull(out);
        ck_assert_int_eq(mm_conf_dump(i ? again : c, out, &ei), MM_OK);
        ck_assert_int_eq(fclose(out), 0);
        if (i == 0)
            again = parse_good(text[0]);
    }
    ck_assert_str_eq(text[0], text[1]);
    ck_assert_ptr_nonnull(strstr(text[0], "when_away = 'fail'"));
    ck_assert_ptr_nonnull(strstr(text[0], "client_key = 'pkcs11:object=ra'"));
    free(text[0]);
    free(text[1]);
}
END_TEST

static const struct {
    const char *text, *message;
} wrong[] = {
    {"issuer 'l' { certificate = 'c' key = 'pkcs11:object=k' }",
     "6: issuer 'l': set token: an issuer of kind local needs it"},
    {"issuer 'l' { certificate = 'c' key = 'pkcs11:object=k' token = t\n client_p12 = 'x' }",
     "7: issuer 'l': client_p12 is for issuers of kind 'ejbca'"},
    {"issuer 'l' { kind = 'est' certificate = 'c' }",
     "6: issuer.kind is 'est'; it must be one of local, ejbca"},
    {EJBCA("server_ca = 'x' " P12), "6: issuer 'pki': set nodes: an issuer of kind ejbca needs it"},
    {EJBCA("nodes = {'https://a'} " P12),
     "6: issuer 'pki': set server_ca: an issuer of kind ejbca needs it"},
    {EJBCA(NODES " " P12 "\n token = t"), "7: issuer 'pki': token is for issuers of kind 'local'"},
    {EJBCA(NODES), "6: issuer 'pki': set client_p12 or client_key"},
    {EJBCA(NODES " " P12 "\n " KEY), "7: issuer 'pki': set client_p12 or client_key, not both"},
    {EJBCA(NODES " client_p12 = 'x'"),
     "6: issuer 'pki': set client_password_file or client_password_credential"},
    {EJBCA(NODES " " P12 "\n client_certificate = 'x'"),
     "7: issuer 'pki': client_certificate does not go with client_p12"},
    {EJBCA(NODES " " KEY "\n client_password_file = 'x'"),
     "7: issuer 'pki': client_password_file does not go with client_key"},
    {EJBCA(NODES " client_key = 'pkcs11:object=a' client_token = t"),
     "6: issuer 'pki': set client_certificate: client_key needs it"},
    {EJBCA(NODES " client_key = 'pkcs11:object=a' client_certificate = 'c'\n client_token = u"),
     "7: issuer 'pki': there is no section token 'u'"},
    {"token 'nss' { module = '/m' uri = 'pkcs11:token=u' pin_file = 'p' parameters = 'x' }\n" EJBCA(
         NODES " client_key = 'pkcs11:object=a' client_certificate = 'c'\n client_token = nss"),
     "8: issuer 'pki': token 'nss' has parameters, and the key that the appliance shows to EJBCA "
     "cannot be in such a token"},
    {EJBCA(NODES " " P12 "\n requests_start = 9 requests_max = 8"),
     "7: issuer 'pki': requests_start is more than requests_max (8)"},
    {EJBCA(NODES " " P12 "\n breaker_wait_ms = 500 breaker_wait_max_ms = 400"),
     "7: issuer 'pki': breaker_wait_ms is more than breaker_wait_max_ms (400)"},
    {EJBCA("nodes = {'http://a'} server_ca = 'x' " P12),
     "6: issuer.nodes is 'http://a'; it must be a URL, like 'https://ejbca.example:8443'"},
    {EJBCA(NODES " " P12) PROFILE("p", "ca = 'x' certificate_profile = 'y'"),
     "7: profile 'p': set end_entity_profile: an issuer of kind ejbca needs it"},
    {"profile 'p' { issuer = none delivery = 'plain' subject = 'CN=a'\n ca = 'x' }",
     "7: profile 'p': ca is for issuers of kind 'ejbca'"},
    {EJBCA(NODES " " P12) PROFILE("p", NAMES " username = 'dev-${vid}'"),
     "7: profile.username is 'dev-${vid}'; it must be a template of letters, digits, '.', '_', "
     "'-', '@', '+' and variables that differ for every device"},
    {EJBCA(NODES " " P12) PROFILE("p", NAMES " username = 'd${number}'")
         PROFILE("q", NAMES "\n username = 'd${number}'"),
     "9: profile 'q': profile 'p' has the same template, and so the same end entities; put "
     "'${profile}' into it"},
};

START_TEST(parse_wrong_text_says_where_and_what)
{
    char text[2000], expected[MM_ERR_TEXT_MAX];
    struct mm_conf *conf = NULL;
    struct mm_errinfo ei = {0};

    snprintf(text, sizeof(text), "%s%s", HEAD, wrong[_i].text);
    snprintf(expected, sizeof(expected), "/etc/mintmark/m.conf:%s", wrong[_i].message);
    ck_assert_int_eq(parse(text, &conf, &ei), MM_ERR_INVALID);
    ck_assert_str_eq(ei.text, expected);
    ck_assert_ptr_null(conf);
}
END_TEST

START_TEST(https_takes_urls_of_nodes_only)
{
    static const char *const good[] = {
        "https://a", "https://ejbca-1.example:8443", "https://127.0.0.1/",
        "https://[::1]:8443/ejbca/ejbca-rest-api", "https://a:1/x/~y"};
    static const char *const bad[] = {"",
                                      "http://a",
                                      "https://",
                                      "https://a:",
                                      "https://a:0",
                                      "https://a:65536",
                                      "https://u@a",
                                      "https://a?x",
                                      "https://a#x",
                                      "https://a b",
                                      "https://[::1",
                                      "https://[]",
                                      "https://a/\"",
                                      "https://a:12x",
                                      "HTTPS://a"};

    for (size_t i = 0; i < MM_ARRAY_SIZE(good); i++)
        ck_assert_msg(mm_format_https(good[i]), "%s", good[i]);
    for (size_t i = 0; i < MM_ARRAY_SIZE(bad); i++)
        ck_assert_msg(!mm_format_https(bad[i]), "%s", bad[i]);
}
END_TEST

START_TEST(usernames_differ_and_have_no_odd_characters)
{
    static const char *const good[] = {"${device_uid}", "dev-${number:8}", "a.b_c@d+${hw_serial}"};
    static const char *const bad[] = {"dev",      "${vid}",      "a b${number}", "a/${number}",
                                      "${number", "a,${number}", "\\,${number}"};

    for (size_t i = 0; i < MM_ARRAY_SIZE(good); i++)
        ck_assert_msg(mm_format_username(good[i]), "%s", good[i]);
    for (size_t i = 0; i < MM_ARRAY_SIZE(bad); i++)
        ck_assert_msg(!mm_format_username(bad[i]), "%s", bad[i]);
}
END_TEST

START_TEST(printable_refuses_control_characters_and_outer_blanks)
{
    ck_assert(mm_format_printable("Issuing CA, (1)"));
    ck_assert(mm_format_printable("Gerät"));
    ck_assert(!mm_format_printable(""));
    ck_assert(!mm_format_printable(" a"));
    ck_assert(!mm_format_printable("a "));
    ck_assert(!mm_format_printable("a\nb"));
    ck_assert(!mm_format_printable("\xff"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("conf_issuer");
    TCase *tc = tcase_create("conf_issuer");

    tcase_add_test(tc, parse_ejbca_fills_in_defaults);
    tcase_add_test(tc, dump_ejbca_parses_to_the_same);
    tcase_add_loop_test(tc, parse_wrong_text_says_where_and_what, 0, (int)MM_ARRAY_SIZE(wrong));
    tcase_add_test(tc, https_takes_urls_of_nodes_only);
    tcase_add_test(tc, usernames_differ_and_have_no_odd_characters);
    tcase_add_test(tc, printable_refuses_control_characters_and_outer_blanks);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
