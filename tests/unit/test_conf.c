/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/conf/conf.h"
#include "daemon/conf/mechanism.h"
#include "daemon/conf/schema.h"
#include "tests/unit/check_main.h"

#include <string.h>

/* Lines 1 to 3; what a test adds begins in line 4. */
#define LISTEN    "listen { certificate = 's.pem'\n key = 's.key'\n client_ca = 'ca.pem' }\n"
#define STORE     "store { path = 'm.db' }\n"
#define TOKEN     "token 't' { module = '/lib/m.so' uri = 'pkcs11:token=t' pin_file = 'pin' }\n"
#define TRANSPORT "transport 'w' { token = 't' key = 'pkcs11:object=w' }\n"
#define ISSUER    "issuer 'ca' { token = 't' key = 'pkcs11:object=ca' certificate = 'ca.pem' }\n"
#define STATION   "client 'a' { uri = 'urn:a' roles = {station} }\n"
#define SIGNING(in, object, who)                                                                   \
    "signing 's' { token = '" in "' key = 'pkcs11:object=" object "' clients = {" who              \
    "} mechanisms = {ECDSA} }\n"
#define HEAD LISTEN STORE

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

static char *dump(const struct mm_conf *conf)
{
    struct mm_errinfo ei = {0};
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    ck_assert_ptr_nonnull(out);
    ck_assert_int_eq(mm_conf_dump(conf, out, &ei), MM_OK);
    ck_assert_int_eq(fclose(out), 0);
    return text;
}

START_TEST(parse_least_file_fills_in_defaults)
{
    MM_CONF_CLEANUP struct mm_conf *c = parse_good(HEAD);

    ck_assert_str_eq(c->path, "/etc/mintmark/m.conf");
    ck_assert_str_eq(c->site, "mintmark");
    ck_assert_int_eq(c->log_level, MM_LOG_INFO);
    ck_assert_str_eq(c->listen.address, "127.0.0.1");
    ck_assert_uint_eq(c->listen.port, 7443);
    ck_assert_str_eq(c->listen.key, "/etc/mintmark/s.key");
    ck_assert_str_eq(c->store.path, "/etc/mintmark/m.db");
    ck_assert_uint_eq(c->limits.connections, 256);
    ck_assert_uint_eq(c->limits.idle_timeout_ms, 0);
    ck_assert(!c->metrics.given);
    ck_assert_uint_eq(c->n_tokens + c->n_profiles + c->n_clients, 0);
}
END_TEST

START_TEST(parse_profile_takes_token_and_preset_defaults)
{
    MM_CONF_CLEANUP struct mm_conf *c = parse_good(
        HEAD TOKEN TRANSPORT ISSUER
        "profile 'a' { issuer = 'ca' transport = 'w' preset = 'matter-dac' }\n"
        "profile 'b' { issuer = 'none' delivery = 'plain' subject = 'CN=${number:4}'\n"
        "  key_usage = {digitalSignature, 'keyAgreement'} subject_key_identifier = no }\n");

    ck_assert_uint_eq(c->n_profiles, 2);
    ck_assert_str_eq(c->profiles[0].token, "t");
    ck_assert_str_eq(c->profiles[0].delivery, "wrapped");
    ck_assert_str_eq(c->profiles[0].basic_constraints, "");
    ck_assert_str_eq(c->profiles[1].token, "t");
    ck_assert_str_eq(c->profiles[1].basic_constraints, "end-entity");
    ck_assert_str_eq(c->profiles[1].subject, "CN=${number:4}");
    ck_assert_uint_eq(c->profiles[1].n_key_usage, 2);
    ck_assert_str_eq(c->profiles[1].key_usage[1], "keyAgreement");
    ck_assert(!c->profiles[1].subject_key_identifier);
    ck_assert(c->profiles[1].authority_key_identifier);
    ck_assert_ptr_eq(mm_conf_profile_get(c, "b"), &c->profiles[1]);
    ck_assert_ptr_null(mm_conf_profile_get(c, "c"));
    ck_assert_ptr_eq(mm_conf_issuer_get(c, "ca"), &c->issuers[0]);
}
END_TEST

START_TEST(parse_tokens_takes_one_or_several)
{
    MM_CONF_CLEANUP struct mm_conf *c = parse_good(
        HEAD TOKEN "token 'u' { module = '/m.so' uri = 'pkcs11:token=u' pin_file = 'p' }\n"
                   "transport 'w' { token = {'u', 't'} key = 'pkcs11:object=w' }\n"
                   "issuer 'ca' { token = {'t', 'u'} key = 'pkcs11:object=k' certificate = 'c' }\n"
                   "profile 'a' { issuer = 'ca' transport = 'w' preset = 'matter-dac' }\n"
                   "profile 'b' { issuer = 'ca' token = 'u' transport = 'w' subject = 'CN=b'\n"
                   "  validity = '1d' }\n");

    ck_assert_str_eq(c->transports[0].token, "u");
    ck_assert_str_eq(c->issuers[0].token, "t");
    ck_assert_uint_eq(c->profiles[0].n_tokens, 2);
    ck_assert_str_eq(c->profiles[0].tokens[0], "t");
    ck_assert_str_eq(c->profiles[0].tokens[1], "u");
    ck_assert(mm_conf_profile_in_token(&c->profiles[0], "u"));
    ck_assert_uint_eq(c->profiles[1].n_tokens, 1);
    ck_assert_str_eq(c->profiles[1].token, "u");
    ck_assert(!mm_conf_profile_in_token(&c->profiles[1], "t"));
}
END_TEST

START_TEST(parse_roles_gives_the_bits_of_the_header)
{
    MM_CONF_CLEANUP struct mm_conf *c =
        parse_good(HEAD "client 'a' { uri = 'urn:a' roles = {'station', 'monitor'} }\n"
                        "client 'b' { subject = 'CN=b' roles = {'officer'} roles += {'auditor'} }");

    ck_assert_uint_eq(c->clients[0].roles, MM_ROLE_STATION | MM_ROLE_MONITOR);
    ck_assert_uint_eq(c->clients[1].roles, MM_ROLE_OFFICER | MM_ROLE_AUDITOR);
}
END_TEST

START_TEST(parse_quotes_keep_what_stands_in_them)
{
    MM_CONF_CLEANUP struct mm_conf *c =
        parse_good(HEAD TOKEN "profile 'a' { issuer = none delivery = retained\n"
                              "subject = 'CN=it\\'s ${number:2} # no comment {\\\\} \\, //'\n"
                              "san = \"DNS:a\\\"b\\\\\" } # '\n");

    ck_assert_str_eq(c->profiles[0].subject, "CN=it's ${number:2} # no comment {\\} \\, //");
    ck_assert_str_eq(c->profiles[0].san, "DNS:a\"b\\");
}
END_TEST

START_TEST(parse_signing_says_who_may_sign_and_how)
{
    MM_CONF_CLEANUP struct mm_conf *c = parse_good(
        HEAD TOKEN STATION "signing 's' { token = 't' key = 'pkcs11:object=s' clients = {a}\n"
                           " mechanisms = {ECDSA-SHA256, ECDSA} certificate = 's.pem' }");
    const struct mm_conf_signing *s = mm_conf_signing_get(c, "s");

    ck_assert_ptr_null(mm_conf_signing_get(c, "other"));
    ck_assert_str_eq(s->curve, "p256");
    ck_assert_str_eq(s->certificate, "/etc/mintmark/s.pem");
    ck_assert(mm_conf_signing_client(s, "a"));
    ck_assert(!mm_conf_signing_client(s, ""));
    ck_assert(mm_conf_signing_mechanism(s, "ECDSA"));
    ck_assert(mm_conf_signing_mechanism(s, "ECDSA-SHA256"));
    ck_assert(!mm_conf_signing_mechanism(s, "ECDSA-SHA384"));
}
END_TEST

START_TEST(mechanisms_are_those_of_the_schema)
{
    size_t n = 0;

    for (; mm_mechanism_names[n]; n++)
        ck_assert_str_eq(mm_mechanism_get(mm_mechanism_names[n])->name, mm_mechanism_names[n]);
    ck_assert_uint_eq(n, mm_schema_find(MM_SECTION_SIGNING, "mechanisms")->max);
    ck_assert_ptr_null(mm_mechanism_get("EdDSA"));
    ck_assert_uint_eq(mm_mechanism_digest_len(mm_mechanism_get("ECDSA"), "p256"), 32);
    ck_assert_uint_eq(mm_mechanism_digest_len(mm_mechanism_get("ECDSA"), "p384"), 48);
    ck_assert_uint_eq(mm_mechanism_digest_len(mm_mechanism_get("ECDSA-SHA512"), "p256"), 64);
}
END_TEST

START_TEST(dump_parses_to_the_same)
{
    MM_CONF_CLEANUP struct mm_conf *c = parse_good(
        HEAD TOKEN TRANSPORT ISSUER
        "profile 'a' { issuer = none delivery = retained subject = 'CN=it\\'s \\\\ ${number:2}'\n"
        " item 'i' { file = '/i' } item 'j' { reference = 'x' size = 5 sha256 = '"
        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef' } }\n"
        "client 'a' { uri = 'urn:a' roles = {station, auditor} }\n" SIGNING("t", "s", "a"));
    MM_FREE char *first = dump(c);
    MM_CONF_CLEANUP struct mm_conf *again = parse_good(first);
    MM_FREE char *second = dump(again);

    ck_assert_str_eq(first, second);
    ck_assert_ptr_nonnull(strstr(first, "subject = 'CN=it\\'s \\\\ ${number:2}'\n"));
    ck_assert_ptr_nonnull(strstr(first, "connections = 256\n"));
    ck_assert_ptr_null(strstr(first, "metrics"));
}
END_TEST

START_TEST(parse_metrics_section_turns_them_on)
{
    MM_CONF_CLEANUP struct mm_conf *bare = parse_good(HEAD "metrics { }");
    MM_CONF_CLEANUP struct mm_conf *loopback =
        parse_good(HEAD "metrics { address = '127.9.8.7' port = 0 }");
    MM_CONF_CLEANUP struct mm_conf *v6 = parse_good(HEAD "metrics { address = '::1' }");
    MM_CONF_CLEANUP struct mm_conf *far =
        parse_good(HEAD "metrics { address = '0.0.0.0' remote = true }");
    MM_FREE char *first = dump(far);
    MM_CONF_CLEANUP struct mm_conf *again = parse_good(first);
    MM_FREE char *second = dump(again);

    ck_assert(bare->metrics.given && loopback->metrics.given && v6->metrics.given);
    ck_assert_str_eq(bare->metrics.address, "127.0.0.1");
    ck_assert_uint_eq(bare->metrics.port, 9464);
    ck_assert_uint_eq(loopback->metrics.port, 0);
    ck_assert(!loopback->metrics.remote && far->metrics.remote);
    ck_assert_str_eq(first, second);
    ck_assert_ptr_nonnull(strstr(first, "metrics {\n    address = '0.0.0.0'\n"));
}
END_TEST

START_TEST(example_parses)
{
    MM_CONF_CLEANUP struct mm_conf *c = NULL;
    struct mm_errinfo ei = {0};
    char path[4096];

    snprintf(path, sizeof(path), "%s/docs/examples/mintmark.conf", getenv("MM_SOURCE_ROOT"));
    if (mm_conf_load(path, &c, &ei) < 0)
        ck_abort_msg("%s", ei.text);
    ck_assert_uint_eq(c->n_profiles, 2);
}
END_TEST

/* The text after the lines of HEAD (4 of them), and the whole message after the file's name. */
static const struct {
    const char *text, *message;
} wrong[] = {
    /* the text itself */
    {"site = \"${HOME}\"", "5: ${ in double quotes would be replaced from the environment: "
                           "put the text in single quotes"},
    {"site = ${HOME}", "5: $ may stand in single quotes only"},
    {"site = \"a\\x41\"", "5: escapes are not taken in double quotes: use single quotes"},
    {"\n\n# one\n/* two\nthree */ // four\nsite 'a'",
     "10: missing equal sign after option 'site': write NAME = VALUE"},
    {"site = 'a\n'", "5: quote is not closed: ' is missing on this line"},
    {"limits {\n\n", "5: { is not closed: } is missing"},
    {"}", "5: } without a { before it"},
    {"/* never\nends", "5: comment is not closed: */ is missing"},
    {"site = 'a';", "5: ; may stand in single quotes only; settings need no semicolon"},
    {"site = 'a\001'", "5: control character 0x01"},
    {"site = '\xff'", "1: the file is not UTF-8 text"},
    {"{{{{{{{{{", "5: too many braces within braces"},
    /* names */
    {"limits {\n conections = 5 }",
     "6: unknown setting 'conections' in section limits; did you mean 'connections'?"},
    {"port = 5", "5: unknown setting 'port'; it belongs into a section 'listen'"},
    {"limits { site = 'a' }",
     "5: unknown setting 'site' in section limits; it belongs outside of sections"},
    {"prophile 'a' { }", "5: unknown setting 'prophile'; did you mean 'profile'?"},
    {"xyzzy = 1", "5: unknown setting 'xyzzy'; mintmark.conf(5) lists those that there are"},
    {"token 'a b' { }", "5: token 'a b': a name has letters, digits, '.', '_' and '-', begins with "
                        "a letter or digit, and is 1 to 64 long"},
    {TOKEN TOKEN, "6: found duplicate title 't': every section of a kind has a name of its own"},
    {"token { }", "5: missing title for section 'token': write the section's name in quotes before "
                  "its {"},
    {"site = 'a'\nsite = 'b'", "6: site is set for a second time; the first is in line 5"},
    {"store { }", "5: section store is there for a second time; the first ends in line 4"},
    {TOKEN "'token=t|workers' = 4", "6: workers belongs to another section: set it there"},
    /* values */
    {"limits { connections = 0 }",
     "5: limits.connections is '0'; it must be a whole number from 1 to 1024"},
    {"limits { connections = ten }",
     "5: limits.connections is 'ten'; it must be a whole number from 1 to 1024"},
    {"limits { drain_timeout_ms = 5 }",
     "5: limits.drain_timeout_ms is '5'; it must be a whole number from 100 to 3600000 ms"},
    {"limits { connections = {1, 2} }",
     "5: unexpected token '{': write NAME = VALUE, or NAME = {VALUE, VALUE} for a list"},
    {"log_level = loud", "5: log_level is 'loud'; it must be one of error, warning, info, debug"},
    {"site = 'a b'", "5: site is 'a b'; it must be a name: letters, digits, '.', '_' and '-', at "
                     "most 64"},
    {"token 'a' { module = '~/m.so' }", "5: token.module is '~/m.so'; it must be an absolute path, "
                                        "or one relative to this file; ~ is not expanded"},
    {"token 'a' {\n module = 'm'\n uri = 'slot 5' }",
     "7: token.uri is 'slot 5'; it must be an RFC 7512 URI of token, serial, manufacturer or "
     "model, "
     "never of a slot, like 'pkcs11:token=factory'"},
    {"token 'a' {\n module = 'm'\n uri = 'pkcs11:slot-id=5' }",
     "7: token.uri is 'pkcs11:slot-id=5'; it must be an RFC 7512 URI of token, serial, "
     "manufacturer or "
     "model, never of a slot, like 'pkcs11:token=factory'"},
    {"token 'a' {\n module = 'm' }", "5: section token 'a' must set uri"},
    {"token 'a' { module = 'm' uri = 'pkcs11:token=a'\n environment = {'A=b',\n '1=b'} }",
     "7: token.environment is '1=b'; it must be NAME=value, like "
     "'SOFTHSM2_CONF=/etc/softhsm2.conf'"},
    {"client 'a' { uri = 'nothing' }",
     "5: client.uri is 'nothing'; it must be a URI, like 'urn:mintmark:station:line-1'"},
    {"client 'a' { uri = 'urn:a'\n roles = {'king'} }",
     "6: client.roles is 'king'; it must be one of station, officer, auditor, monitor"},
    /* sections that belong together */
    {"token 'a' { module = 'm' uri = 'pkcs11:token=a' }",
     "5: token 'a': set pin_file or pin_credential"},
    {"token 'a' { module = 'm' uri = 'pkcs11:token=a' pin_file = 'p'\n pin_credential = 'p' }",
     "6: token 'a': set pin_file or pin_credential, not both"},
    {"transport 'w' {\n key = 'pkcs11:object=w'\n token = 'nope' }",
     "7: transport 'w': there is no section token 'nope'"},
    {TOKEN "transport 'w' {\n key = 'pkcs11:object=w'\n token = {'t', 't'} }",
     "8: transport 'w': token 't' stands in the list twice"},
    {"transport 'w' {\n key = 'pkcs11:object=w'\n token = {'a b'} }",
     "7: transport.token is 'a b'; it must be a name: letters, digits, '.', '_' and '-', at most "
     "64"},
    {"issuer 'ca' { token = 'nope' key = 'pkcs11:object=a' certificate = 'c' }",
     "5: issuer 'ca': there is no section token 'nope'"},
    {TOKEN "issuer 'none' { token = 't' key = 'pkcs11:object=a' certificate = 'c' }",
     "6: issuer 'none': 'none' means that there is no issuer; choose another name"},
    {TOKEN "profile 'p' { issuer = 'nope' }",
     "6: profile 'p': there is no section issuer 'nope'; write 'none' for requests (CSR)"},
    {"profile 'p' { issuer = 'none' }", "5: profile 'p': set token: there are 0 to choose from"},
    {TOKEN ISSUER "token 'u' { module = '/m' uri = 'pkcs11:token=u' pin_file = 'p' }\n"
                  "profile 'p' { issuer = 'ca' token = 'u' }",
     "8: profile 'p': its issuer's key is in token 't': device keys are made there"},
    {TOKEN "profile 'p' { issuer = 'none' token = 'u' }",
     "6: profile 'p': there is no section token 'u'"},
    {TOKEN "profile 'p' { issuer = 'none' }",
     "6: profile 'p': delivery 'wrapped' needs a transport key: set transport"},
    {TOKEN "profile 'p' { issuer = 'none' transport = 'x' }",
     "6: profile 'p': there is no section transport 'x'"},
    {TOKEN TRANSPORT "profile 'p' { issuer = 'none' transport = 'w' delivery = 'retained' }",
     "7: profile 'p': a transport key is for delivery 'wrapped', not for 'retained'"},
    {TOKEN TRANSPORT "token 'u' { module = '/m' uri = 'pkcs11:token=u' pin_file = 'p' }\n"
                     "profile 'p' { issuer = 'none' token = 'u' transport = 'w' }",
     "8: profile 'p': its key is in token 't', but device keys are made in token 'u'"},
    {TOKEN "profile 'p' { issuer = 'none' delivery = 'plain' }",
     "6: profile 'p': set subject or san: an identity needs a name"},
    {TOKEN ISSUER "profile 'p' { issuer = 'ca' delivery = 'plain' subject = 'CN=a' }",
     "7: profile 'p': set validity, like '20y' or '99991231235959Z'"},
    {TOKEN "profile 'p' { issuer = 'none' delivery = 'plain' subject = 'CN=a'\n  item 'i' { }\n}",
     "7: item 'i': set file or reference"},
    {TOKEN "profile 'p' { issuer = 'none' delivery = 'plain' subject = 'CN=a'\n"
           " item 'i' { reference = 'r' size = 1 }\n}",
     "7: item 'i': a referenced item must set sha256"},
    {TOKEN "profile 'p' { issuer = 'none' delivery = 'plain' subject = 'CN=a'\n"
           " item 'i' { file = 'r' size = 1 } }",
     "7: item 'i': size is for referenced items; a file's is computed"},
    {"metrics {\n port = 9\n address = '192.0.2.1' }",
     "7: metrics.address is '192.0.2.1', which other machines may reach, and anybody there may "
     "read; take '127.0.0.1' or '::1', or set metrics.remote = true"},
    {"metrics { } metrics { }",
     "5: section metrics is there for a second time; the first ends in line 5"},
    {"client 'a' { roles = {station} }", "5: client 'a': set uri or subject"},
    {"client 'a' { uri = 'urn:a' roles = {} }", "5: section client 'a' must set roles"},
    {"client 'a' { uri = 'urn:a' roles = {station} }\n"
     "client 'b' { roles = {station}\n uri = 'urn:a' }",
     "7: client 'b': client 'a' has the same uri"},
    {STATION "signing 's' { token = 't'\n key = 'pkcs11:object=s'\n clients = {a}\n }",
     "6: section signing 's' must set mechanisms"},
    {STATION "signing 's' { token = 't' key = 'pkcs11:object=s' clients = {}\n"
             " mechanisms = {ECDSA} }",
     "6: section signing 's' must set clients"},
    {STATION "signing 's' { token = 't' key = 'pkcs11:object=s' clients = {a}\n"
             " mechanisms = {ECDSA, 'EdDSA'} }",
     "7: signing.mechanisms is 'EdDSA'; it must be one of ECDSA, ECDSA-SHA256, ECDSA-SHA384, "
     "ECDSA-SHA512, Ed25519"},
    {TOKEN STATION "signing 's' { token = 't' key = 'pkcs11:object=s' clients = {a}\n"
                   " mechanisms = {ECDSA-SHA256, Ed25519} }",
     "8: signing 's': a key on curve p256 does not sign by Ed25519"},
    {TOKEN STATION "signing 's' { token = 't' key = 'pkcs11:object=s' clients = {a}\n"
                   " curve = 'ed25519' mechanisms = {ECDSA-SHA512} }",
     "8: signing 's': a key on curve ed25519 does not sign by ECDSA-SHA512"},
    {STATION SIGNING("t", "s", "a") "", "6: signing 's': there is no section token 't'"},
    {TOKEN STATION SIGNING("t", "s", "b") "", "7: signing 's': there is no section client 'b'"},
    {TOKEN "client 'a' { uri = 'urn:a' roles = {officer, auditor} }\n" SIGNING("t", "s", "a"),
     "7: signing 's': client 'a' may not sign: it lacks the role station"},
    {TOKEN ISSUER STATION SIGNING("t", "ca", "a"),
     "8: signing 's': this is the key of issuer 'ca'; a CA's key signs nothing else"},
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
    /* libconfuse's lexer is global: nothing of the failure may be left in it. */
    conf = parse_good(HEAD);
    mm_conf_free(conf);
}
END_TEST

START_TEST(parse_missing_section_names_its_setting)
{
    struct mm_conf *conf = NULL;
    struct mm_errinfo ei = {0};

    ck_assert_int_eq(parse(STORE, &conf, &ei), MM_ERR_INVALID);
    ck_assert_str_eq(ei.text, "/etc/mintmark/m.conf:2: section listen must set certificate");
    ck_assert_int_eq(parse("", &conf, &ei), MM_ERR_INVALID);
    ck_assert_str_eq(ei.text, "/etc/mintmark/m.conf:1: section listen must set certificate");
}
END_TEST

START_TEST(parse_nul_and_cr_lf)
{
    static const char nul[] = "site = 'a\0b'", crlf[] = "site = 'a'\r\nsite = 'b'\r\n";
    struct mm_conf *conf = NULL;
    struct mm_errinfo ei = {0};

    ck_assert_int_eq(mm_conf_parse("/m", nul, sizeof(nul) - 1, &conf, &ei), MM_ERR_INVALID);
    ck_assert_str_eq(ei.text, "/m:1: control character 0x00");
    ck_assert_int_eq(mm_conf_parse("/m", crlf, sizeof(crlf) - 1, &conf, &ei), MM_ERR_INVALID);
    ck_assert_str_eq(ei.text, "/m:2: site is set for a second time; the first is in line 1");
}
END_TEST

START_TEST(parse_over_the_size_limit_is_refused)
{
    MM_FREE char *text = malloc(MM_CONF_FILE_MAX + 1);
    struct mm_conf *conf = NULL;
    struct mm_errinfo ei = {0};

    ck_assert_ptr_nonnull(text);
    memset(text, ' ', MM_CONF_FILE_MAX + 1);
    ck_assert_int_eq(mm_conf_parse("/m", text, MM_CONF_FILE_MAX + 1, &conf, &ei), MM_ERR_TOO_BIG);
}
END_TEST

START_TEST(parse_too_many_sections_are_refused)
{
    MM_FREE char *text = NULL;
    size_t len;
    struct mm_conf *conf = NULL;
    struct mm_errinfo ei = {0};
    FILE *out = open_memstream(&text, &len);

    ck_assert_ptr_nonnull(out);
    fputs(HEAD, out);
    for (int i = 0; i <= MM_TRANSPORTS_MAX; i++)
        fprintf(out, "transport 'w%d' { token = 't' key = 'pkcs11:object=w' }\n", i);
    ck_assert_int_eq(fclose(out), 0);
    ck_assert_int_eq(parse(text, &conf, &ei), MM_ERR_INVALID);
    ck_assert_ptr_nonnull(strstr(ei.text, "65 sections 'transport'; at most 64 are taken"));
}
END_TEST

START_TEST(check_reload_names_what_takes_a_restart)
{
    static const struct {
        const char *text, *setting; /* NULL: a reload takes it */
    } cases[] = {
        {HEAD TOKEN "site = 'new' limits { connections = 5 }", NULL},
        {LISTEN "store { path = 'other.db' }", "store.path"},
        {HEAD "metrics { port = 0 }", NULL},
        {"listen { certificate = 'x' key = 's.key' client_ca = 'ca.pem' }" STORE,
         "listen.certificate"},
        {"listen { certificate = 's.pem' key = 'x' client_ca = 'ca.pem' }" STORE, "listen.key"},
        {"listen { certificate = 's.pem' key = 's.key' client_ca = 'x' }" STORE,
         "listen.client_ca"},
        {"listen { port = 1 certificate = 'x' key = 'x' client_ca = 'x' }" STORE, "listen.port"},
        {"listen { address = '::' certificate = 'x' key = 'x' client_ca = 'x' }" STORE,
         "listen.address"},
    };
    MM_CONF_CLEANUP struct mm_conf *running = parse_good(HEAD);

    for (size_t i = 0; i < MM_ARRAY_SIZE(cases); i++) {
        MM_CONF_CLEANUP struct mm_conf *next = parse_good(cases[i].text);
        struct mm_errinfo ei = {0};
        const int r = mm_conf_check_reload(running, next, &ei);

        ck_assert_int_eq(r, cases[i].setting ? MM_ERR_PRECONDITION : MM_OK);
        if (cases[i].setting)
            ck_assert_ptr_nonnull(strstr(ei.text, cases[i].setting));
    }
}
END_TEST

START_TEST(schema_is_sound)
{
    size_t n;
    const struct mm_setting *s = mm_schema_settings(&n);

    for (size_t i = 0; i < n; i++) {
        ck_assert_ptr_eq(mm_schema_find(s[i].section, s[i].key), &s[i]);
        ck_assert_msg(s[i].help && s[i].help[strlen(s[i].help) - 1] == '.', "%s", s[i].key);
        ck_assert_msg(!s[i].format || s[i].expects, "%s", s[i].key);
        ck_assert_msg(!(s[i].required && s[i].fallback), "%s", s[i].key);
        ck_assert_msg(!s[i].restart ||
                          (!mm_schema_section(s[i].section)->titled &&
                           (s[i].type <= MM_SETTING_CHOICE || s[i].type == MM_SETTING_UINT)),
                      "%s", s[i].key);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("conf");
    TCase *tc = tcase_create("conf");

    tcase_add_test(tc, parse_least_file_fills_in_defaults);
    tcase_add_test(tc, parse_profile_takes_token_and_preset_defaults);
    tcase_add_test(tc, parse_tokens_takes_one_or_several);
    tcase_add_test(tc, parse_roles_gives_the_bits_of_the_header);
    tcase_add_test(tc, parse_quotes_keep_what_stands_in_them);
    tcase_add_test(tc, parse_signing_says_who_may_sign_and_how);
    tcase_add_test(tc, mechanisms_are_those_of_the_schema);
    tcase_add_test(tc, dump_parses_to_the_same);
    tcase_add_test(tc, parse_metrics_section_turns_them_on);
    tcase_add_test(tc, example_parses);
    tcase_add_loop_test(tc, parse_wrong_text_says_where_and_what, 0, MM_ARRAY_SIZE(wrong));
    tcase_add_test(tc, parse_missing_section_names_its_setting);
    tcase_add_test(tc, parse_nul_and_cr_lf);
    tcase_add_test(tc, parse_over_the_size_limit_is_refused);
    tcase_add_test(tc, parse_too_many_sections_are_refused);
    tcase_add_test(tc, check_reload_names_what_takes_a_restart);
    tcase_add_test(tc, schema_is_sound);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
