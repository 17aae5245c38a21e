/* SPDX-License-Identifier: Apache-2.0 */
/* pkcs11/ against the mock token: what it takes, refuses, checks and makes. */
#include "tests/unit/mock_token.h"

#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdio.h>

/* ---- which token ------------------------------------------------------------------------- */

START_TEST(open_refuses_uris_that_are_not_for_a_token)
{
    static const char *const bad[] = {
        "",
        "pkcs11",
        "token=mock",
        "https://example.org/",
        "pkcs11:slot-id=1",
        "pkcs11:token=mock;slot-id=1",
        "pkcs11:token=mock?pin-value=1234",
        "pkcs11:token=mock?pin-source=file:/etc/pin1234",
        "pkcs11:token=mock?module-path=/usr/lib/x.so",
        "pkcs11:tokn=mock",
        "pkcs11:library-manufacturer=mintmark",
        "pkcs11:token=mock;object=ca",
        "pkcs11:token=%zz",
    };
    char endless[1100] = "pkcs11:token=";
    struct mm_token *t = NULL;

    for (size_t i = 0; i < MM_ARRAY_SIZE(bad); i++) {
        how.uri = bad[i];
        ck_err(mm_token_open(&how, &t, &ei), MM_ERR_INVALID);
        ck_assert_str_eq(ei.reason, "TOKEN_URI_INVALID");
        ck_assert_msg(!strstr(ei.text, "1234"), "the PIN shows: %s", ei.text);
    }
    memset(endless + strlen(endless), 'x', sizeof(endless) - strlen(endless) - 1);
    how.uri = endless;
    ck_err(mm_token_open(&how, &t, &ei), MM_ERR_INVALID);
    ck_assert_ptr_null(t);
}
END_TEST

START_TEST(open_finds_one_token_and_says_when_it_cannot)
{
    struct mm_token_info info;
    struct mm_token *t = NULL;

    how.uri = "pkcs11:token=elsewhere";
    ck_err(mm_token_open(&how, &t, &ei), MM_ERR_NOT_FOUND);
    ck_assert_str_eq(ei.reason, "TOKEN_NOT_FOUND");
    mock_rules("twin");
    how.uri = "pkcs11:token=mock";
    ck_err(mm_token_open(&how, &t, &ei), MM_ERR_EXISTS);
    ck_assert_str_eq(ei.reason, "TOKEN_AMBIGUOUS");
    mock_rules("slots=more");
    ck_err(mm_token_open(&how, &t, &ei), MM_ERR_CORRUPT);
    ck_assert_str_eq(ei.reason, "TOKEN_ANSWER");
    mock_rules("twin");
    how.uri = "pkcs11:token=mock;serial=0003;model=mock;manufacturer=mintmark";
    t = open_token();
    ck_ok(mm_token_info(t, &info, &ei));
    ck_assert_str_eq(info.label, "mock");
    ck_assert_str_eq(info.serial, "0003");
    ck_assert_str_eq(info.manufacturer, "mintmark");
    ck_assert_uint_eq(info.max_sessions, 64);
    ck_assert(info.initialized && !info.pin_locked && !info.pin_final_try && !info.pin_count_low);
    mm_token_free(t);
    mm_token_free(NULL);
}
END_TEST

START_TEST(open_refuses_what_is_no_module)
{
    char name_only[] = "SOFTHSM2_CONF";
    char *no_equals[] = {name_only};
    struct mm_token *t = NULL;
    struct mm_token_open bad = how;

    bad.module = "mm-mock-p11.so";
    ck_err(mm_token_open(&bad, &t, &ei), MM_ERR_INVALID);
    ck_assert_str_eq(ei.reason, "TOKEN_MODULE_PATH");
    bad.module = "/nonexistent/module.so";
    ck_err(mm_token_open(&bad, &t, &ei), MM_ERR_UNAVAILABLE);
    ck_assert_str_eq(ei.reason, "TOKEN_MODULE_NOT_LOADED");
    bad.module = MM_NO_MODULE;
    ck_err(mm_token_open(&bad, &t, &ei), MM_ERR_UNAVAILABLE);
    ck_assert_str_eq(ei.reason, "TOKEN_MODULE_NOT_LOADED");
    bad = how;
    bad.environment = no_equals;
    bad.n_environment = 1;
    ck_err(mm_token_open(&bad, &t, &ei), MM_ERR_INVALID);
}
END_TEST

/* ---- mechanisms -------------------------------------------------------------------------- */

START_TEST(kwp_is_believed_after_a_known_answer_only)
{
    static const struct {
        const char *rules;
        unsigned long kwp;
    } cases[] = {
        {"", 0x210A},
        {"kwp=0x210b", 0x210B},
        {"kwp=0;pkcs7=0x210a", 0},
        {"kwp=0x210b;pkcs7=0x210a", 0x210B},
        {"kwp=0x210a;pkcs7=0x210b", 0x210A},
        {"kwp=0", 0},
        {"import=no", 0},
        {"short=wrap", 0},
        {"C_WrapKey=0x63", 0},
    };

    for (size_t i = 0; i < MM_ARRAY_SIZE(cases); i++) {
        mock_rules(cases[i].rules);
        struct mm_token *t = open_token();
        struct mm_secret *pin = secret(MOCK_PIN);

        ck_assert_uint_eq(mm_token_mechanisms(t)->aes_kwp, 0);
        ck_ok(mm_token_login(t, &pin, &ei));
        ck_assert_msg(mm_token_mechanisms(t)->aes_kwp == cases[i].kwp, "%s: 0x%lx", cases[i].rules,
                      mm_token_mechanisms(t)->aes_kwp);
        ck_assert_uint_eq(mock_session_objects(), 0);
        mm_token_free(t);
    }
}
END_TEST

START_TEST(mechanisms_that_are_missing_are_said_to_be)
{
    struct mm_keypair pair;
    uint8_t wrapped[MM_WRAPPED_KEY_MAX];
    size_t len;

    mock_rules("nomech:0x1105;nomech:0x9;kwp=0");
    struct mm_token *t = open_and_login();
    const struct mm_token_mechanisms *m = mm_token_mechanisms(t);

    ck_assert(m->ec_key_gen && m->ecdsa && m->aes_key_gen && !m->ecdh && !m->rsa_oaep);
    ck_ok(mm_token_generate(t, MM_CURVE_P256, MM_DEVICE_WRAPPED, NULL, &pair, &ei));
    ck_err(mm_token_wrap(t, pair.private_key, pair.private_key, wrapped, &len, &ei),
           MM_ERR_UNSUPPORTED);
    mm_token_destroy(t, &pair);
    mm_token_free(t);
}
END_TEST

/* ---- keys that stay ---------------------------------------------------------------------- */

START_TEST(created_keys_that_lie_are_destroyed)
{
    static const char *const lies[] = {
        "attr:0x2=0",   "attr:0x103=0", "attr:0x163=0", "attr:0x164=0", "attr:0x165=0",
        "attr:0x162=1", "attr:0x108=0", "attr:0x10c=1", "attr:0x105=1", "attr:0x107=1",
    };
    struct mm_token *t = open_and_login();
    mm_handle key;

    for (size_t i = 0; i < MM_ARRAY_SIZE(lies); i++) {
        mock_rules(lies[i]);
        ck_err(mm_token_create_ca_key(t, "ca", MM_CURVE_P256, &key, &ei), MM_ERR_CORRUPT);
        ck_assert_str_eq(ei.reason, "TOKEN_KEY_POLICY");
        ck_assert_uint_eq(mock_objects(), 0);
    }
    mock_rules("attr:0x106=0");
    ck_err(mm_token_create_transport_key(t, "kek", &key, &ei), MM_ERR_CORRUPT);
    ck_assert_ptr_nonnull(strstr(ei.text, "CKA_WRAP is false"));
    ck_assert_uint_eq(mock_objects(), 0);
    mm_token_free(t);
}
END_TEST

START_TEST(create_yields_to_tokens_that_refuse_wishes)
{
    struct mm_token *t = open_and_login();
    mm_handle key;

    mock_rules("noattr:0x171;noattr:0x170");
    ck_ok(mm_token_create_ca_key(t, "ca", MM_CURVE_P384, &key, &ei));
    ck_ok(mm_token_create_transport_key(t, "kek", &key, &ei));
    ck_assert_uint_eq(mock_calls("C_GenerateKeyPair"), 2);
    mm_token_free(t);
}
END_TEST

START_TEST(create_refuses_labels_in_use_and_bad_ones)
{
    struct mm_token *t = open_and_login();
    char longest[66];
    mm_handle key;

    memset(longest, 'x', 65);
    longest[65] = 0;
    ck_err(mm_token_create_ca_key(t, "", MM_CURVE_P256, &key, &ei), MM_ERR_INVALID);
    ck_err(mm_token_create_ca_key(t, longest, MM_CURVE_P256, &key, &ei), MM_ERR_INVALID);
    ck_ok(mm_token_create_transport_key(t, "one", &key, &ei));
    ck_err(mm_token_create_ca_key(t, "one", MM_CURVE_P256, &key, &ei), MM_ERR_EXISTS);
    ck_err(mm_token_create_transport_key(t, "one", &key, &ei), MM_ERR_EXISTS);
    mm_token_free(t);
}
END_TEST

START_TEST(find_wants_exactly_one_key_and_remembers_it)
{
    static const struct {
        const char *uri;
        int err;
    } bad[] = {
        {"pkcs11:object=nobody", MM_ERR_NOT_FOUND},
        {"pkcs11:token=mock", MM_ERR_INVALID},
        {"pkcs11:token=other;object=ca", MM_ERR_INVALID},
        {"pkcs11:object=ca;type=public", MM_ERR_INVALID},
        {"pkcs11:object=ca;slot-id=1", MM_ERR_INVALID},
        {"pkcs11:object=ca?pin-value=1234", MM_ERR_INVALID},
    };
    struct mm_token *t = open_and_login();
    mm_handle made, found = 0;

    ck_ok(mm_token_create_ca_key(t, "ca", MM_CURVE_P256, &made, &ei));
    for (size_t i = 0; i < MM_ARRAY_SIZE(bad); i++)
        ck_err(mm_token_find(t, bad[i].uri, MM_KEY_PRIVATE, &found, &ei), bad[i].err);
    ck_ok(mm_token_find(t, "pkcs11:object=ca", MM_KEY_PRIVATE, &found, &ei));
    ck_assert_uint_eq(found, made);
    mock_rules(NULL);
    ck_ok(mm_token_find(t, "pkcs11:object=ca", MM_KEY_PRIVATE, &found, &ei));
    ck_assert_uint_eq(mock_calls("*"), 0);
    ck_ok(mm_token_find(t, "pkcs11:object=ca", MM_KEY_PUBLIC, &found, &ei));
    ck_assert_uint_ne(found, made);
    mm_token_free(t);
}
END_TEST

START_TEST(destroyed_keys_are_not_found_from_memory)
{
    static const char uid[] = "01934b5c-0000-7abc-8def-0123456789ab";
    static const char uri[] = "pkcs11:object=01934b5c-0000-7abc-8def-0123456789ab";
    struct mm_token *t = open_and_login();
    struct mm_keypair pair;
    mm_handle found = 0;

    ck_ok(mm_token_generate(t, MM_CURVE_P256, MM_DEVICE_RETAINED, uid, &pair, &ei));
    ck_ok(mm_token_find(t, uri, MM_KEY_PUBLIC, &found, &ei));
    ck_ok(mm_token_find(t, uri, MM_KEY_PRIVATE, &found, &ei));
    ck_assert_uint_eq(found, pair.private_key);
    mm_token_destroy(t, &pair);
    ck_err(mm_token_find(t, uri, MM_KEY_PRIVATE, &found, &ei), MM_ERR_NOT_FOUND);
    ck_err(mm_token_find(t, uri, MM_KEY_PUBLIC, &found, &ei), MM_ERR_NOT_FOUND);
    mm_token_free(t);
}
END_TEST

static int note_key(void *arg, const struct mm_key_info *key)
{
    mm_buf_printf(arg, "%s %s;", key->label, key->type);
    return 0;
}

static int stop_walk(void *arg, const struct mm_key_info *key)
{
    (void)key;
    ++*(int *)arg;
    return MM_ERR_CANCELLED;
}

START_TEST(list_walks_private_and_secret_keys)
{
    struct mm_token *t = open_and_login();
    MM_BUF_CLEANUP struct mm_buf seen = MM_BUF_INIT(200);
    int walked = 0;
    mm_handle key;

    ck_ok(mm_token_create_transport_key(t, "kek", &key, &ei));
    ck_ok(mm_token_create_ca_key(t, "root", MM_CURVE_P384, &key, &ei));
    ck_ok(mm_token_list(t, note_key, &seen, &ei));
    ck_assert_str_eq(mm_buf_cstr(&seen), "root EC P-384;kek AES-256;");
    ck_err(mm_token_list(t, stop_walk, &walked, &ei), MM_ERR_CANCELLED);
    ck_assert_int_eq(walked, 1);
    mm_token_free(t);
}
END_TEST

START_TEST(initialise_takes_blank_tokens_only)
{
    MM_SECRET_CLEANUP struct mm_secret *so = secret("so-pin-2");
    MM_SECRET_CLEANUP struct mm_secret *user = secret("4321");
    MM_SECRET_CLEANUP struct mm_secret *tiny = secret("1");
    struct mm_token_open blank = {.module = MM_MOCK_MODULE};

    ck_err(mm_token_initialise(&blank, "mock", so, user, &ei), MM_ERR_EXISTS);
    ck_err(mm_token_initialise(&blank, "new", so, tiny, &ei), MM_ERR_INVALID);
    ck_err(mm_token_initialise(&blank, "new", tiny, user, &ei), MM_ERR_INVALID);
    ck_err(mm_token_initialise(&blank, "", so, user, &ei), MM_ERR_INVALID);
    ck_err(mm_token_initialise(&blank, "a label of more than 32 bytes is too much", so, user, &ei),
           MM_ERR_INVALID);
    blank.uri = "pkcs11:serial=0001";
    ck_err(mm_token_initialise(&blank, "new", so, user, &ei), MM_ERR_EXISTS);
    blank.uri = "pkcs11:serial=9999";
    ck_err(mm_token_initialise(&blank, "new", so, user, &ei), MM_ERR_NOT_FOUND);
    ck_assert_uint_eq(mock_calls("C_InitToken"), 0);
    blank.uri = "pkcs11:serial=0002";
    mock_rules("C_InitPIN=0x30");
    ck_err(mm_token_initialise(&blank, "new", so, user, &ei), MM_ERR_UNAVAILABLE);
    ck_assert_ptr_nonnull(strstr(ei.text, "no user PIN yet"));
    mock_rules(NULL);
    ck_ok(mm_token_initialise(&blank, "new", so, user, &ei));
}
END_TEST

/* ---- devices ----------------------------------------------------------------------------- */

START_TEST(a_device_costs_eight_calls_and_no_search)
{
    uint8_t digest[32] = {7}, signature[MM_SIGNATURE_MAX], wrapped[MM_WRAPPED_KEY_MAX];
    struct mm_token *t = open_and_login();
    struct mm_keypair pair;
    mm_handle ca, kek;
    size_t len;

    ck_ok(mm_token_create_ca_key(t, "ca", MM_CURVE_P256, &ca, &ei));
    ck_ok(mm_token_create_transport_key(t, "kek", &kek, &ei));
    mock_rules(NULL);
    ck_ok(mm_token_generate(t, MM_CURVE_P256, MM_DEVICE_WRAPPED, NULL, &pair, &ei));
    ck_ok(mm_token_sign(t, ca, digest, sizeof(digest), signature, &len, &ei));
    ck_assert_uint_eq(len, 64);
    ck_ok(mm_token_wrap(t, kek, pair.private_key, wrapped, &len, &ei));
    ck_assert_uint_eq(len % 8, 0);
    mm_token_destroy(t, &pair);
    ck_assert_uint_eq(mock_calls("*"), 8);
    ck_assert_uint_eq(mock_calls("C_GenerateKeyPair"), 1);
    ck_assert_uint_eq(mock_calls("C_GetAttributeValue"), 2);
    ck_assert_uint_eq(mock_calls("C_SignInit"), 1);
    ck_assert_uint_eq(mock_calls("C_Sign"), 1);
    ck_assert_uint_eq(mock_calls("C_WrapKey"), 1);
    ck_assert_uint_eq(mock_calls("C_DestroyObject"), 2);
    ck_assert_uint_eq(mock_session_objects(), 0);
    mm_token_free(t);
}
END_TEST

START_TEST(generate_destroys_keys_that_are_not_as_asked_for)
{
    static const struct {
        const char *rules;
        enum mm_device_key kind;
    } cases[] = {
        {"attr:0x103=0", MM_DEVICE_WRAPPED}, {"attr:0x162=0", MM_DEVICE_WRAPPED},
        {"attr:0x163=0", MM_DEVICE_WRAPPED}, {"attr:0x162=1", MM_DEVICE_RETAINED},
        {"attr:0x103=1", MM_DEVICE_PLAIN},   {"point=short", MM_DEVICE_WRAPPED},
        {"point=off", MM_DEVICE_WRAPPED},
    };
    struct mm_token *t = open_and_login();
    struct mm_keypair pair;

    for (size_t i = 0; i < MM_ARRAY_SIZE(cases); i++) {
        mock_rules(cases[i].rules);
        ck_err(mm_token_generate(t, MM_CURVE_P256, cases[i].kind,
                                 "01934b5c-0000-7abc-8def-0123456789ab", &pair, &ei),
               MM_ERR_CORRUPT);
        ck_assert_uint_eq(mock_objects(), 0);
    }
    mm_token_free(t);
}
END_TEST

START_TEST(points_are_taken_wrapped_and_bare)
{
    static const enum mm_curve curves[] = {MM_CURVE_P256, MM_CURVE_P384};
    struct mm_token *t = open_and_login();
    struct mm_keypair pair;

    for (size_t i = 0; i < 4; i++) {
        mock_rules(i < 2 ? "" : "point=bare");
        ck_ok(mm_token_generate(t, curves[i % 2], MM_DEVICE_WRAPPED, NULL, &pair, &ei));
        ck_assert_uint_eq(pair.point_len, i % 2 ? 97 : 65);
        ck_assert_uint_eq(pair.point[0], 4);
        mm_token_destroy(t, &pair);
    }
    mm_token_free(t);
}
END_TEST

START_TEST(short_answers_are_refused)
{
    uint8_t digest[32] = {7}, signature[MM_SIGNATURE_MAX], wrapped[MM_WRAPPED_KEY_MAX];
    struct mm_token *t = open_and_login();
    struct mm_keypair pair;
    mm_handle kek;
    size_t len;

    ck_ok(mm_token_create_transport_key(t, "kek", &kek, &ei));
    mock_rules("short=signature;short=wrap");
    ck_ok(mm_token_generate(t, MM_CURVE_P256, MM_DEVICE_WRAPPED, NULL, &pair, &ei));
    ck_err(mm_token_sign(t, pair.private_key, digest, sizeof(digest), signature, &len, &ei),
           MM_ERR_CORRUPT);
    ck_err(mm_token_wrap(t, kek, pair.private_key, wrapped, &len, &ei), MM_ERR_CORRUPT);
    mm_token_free(t);
}
END_TEST

START_TEST(meter_counts_only_when_on)
{
    struct mm_token *t = open_and_login();
    struct mm_keypair pair;

    for (int on = 0; on < 2; on++) {
        mm_token_meter(t, on);
        for (int i = 0; i < 20; i++) {
            ck_ok(mm_token_generate(t, MM_CURVE_P256, MM_DEVICE_WRAPPED, NULL, &pair, &ei));
            mm_token_destroy(t, &pair);
        }
        ck_assert_int_eq(mm_token_meter_take_us(t) > 0, on);
    }
    mm_token_free(t);
}
END_TEST

/* ---- self-test and export ---------------------------------------------------------------- */

struct tally {
    size_t lines, supported, passed, measured;
};

static void count_line(void *arg, const struct mm_selftest_line *line)
{
    struct tally *tally = arg;

    tally->lines++;
    tally->supported += line->supported;
    tally->passed += line->passed;
    tally->measured += line->per_second > 0;
}

START_TEST(selftest_tells_good_bad_and_missing)
{
    static const struct {
        const char *rules;
        size_t supported, passed;
        int result;
    } cases[] = {
        {"", 13, 13, MM_OK},
        {"oaep=sha1;point=bare", 13, 13, MM_OK},
        {"nomech:0x9;nomech:0x1050", 10, 10, MM_OK},
        {"point=off", 13, 6, MM_ERR_CORRUPT},
        {"nomech:0x1041", 11, 11, MM_ERR_CORRUPT},
        {"short=signature", 13, 11, MM_ERR_CORRUPT},
        {"random=zero", 13, 11, MM_ERR_CORRUPT},
    };

    for (size_t i = 0; i < MM_ARRAY_SIZE(cases); i++) {
        struct tally tally = {0};

        mock_rules(cases[i].rules);
        struct mm_token *t = open_and_login();

        ck_err(mm_token_selftest(t, i == 0 ? 0.001 : 0, count_line, &tally, &ei), cases[i].result);
        ck_assert_uint_eq(tally.lines, 16);
        ck_assert_msg(tally.supported == cases[i].supported && tally.passed == cases[i].passed,
                      "%s: %zu supported, %zu passed", cases[i].rules, tally.supported,
                      tally.passed);
        ck_assert_uint_eq(tally.measured, i == 0 ? 9 : 0);
        ck_assert_uint_eq(mock_objects(), 0);
        mm_token_free(t);
    }
}
END_TEST

START_TEST(export_prefers_sha256_and_cleans_up)
{
    EVP_PKEY *recipients[] = {EVP_RSA_gen(2048), EVP_EC_gen("P-384")};
    static const char *const rules[][2] = {
        {"", "RSA-OAEP-SHA256"}, {"oaep=sha1", "RSA-OAEP-SHA1"}, {"", "ECDH-P384+KWP"}};
    struct mm_token *t = open_and_login();
    mm_handle kek;

    ck_ok(mm_token_create_transport_key(t, "kek", &kek, &ei));
    for (size_t i = 0; i < 3; i++) {
        MM_BUF_CLEANUP struct mm_buf text = MM_BUF_INIT(8192);
        unsigned char *spki = NULL;
        const int len = i2d_PUBKEY(recipients[i == 2], &spki);

        mock_rules(rules[i][0]);
        ck_ok(mm_token_export_transport(t, kek, "line-a", (struct mm_bytes){spki, (size_t)len},
                                        &text, &ei));
        ck_assert_ptr_nonnull(strstr(mm_buf_cstr(&text), rules[i][1]));
        ck_assert_uint_eq(mock_session_objects(), 0);
        ck_err(mm_token_export_transport(t, kek, "bad name", (struct mm_bytes){spki, (size_t)len},
                                         &text, &ei),
               MM_ERR_INVALID);
        OPENSSL_free(spki);
    }
    EVP_PKEY_free(recipients[0]);
    EVP_PKEY_free(recipients[1]);
    mm_token_free(t);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("token");
    TCase *tc = tcase_create("mock");

    tcase_add_checked_fixture(tc, fresh_mock, NULL);
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, open_refuses_uris_that_are_not_for_a_token);
    tcase_add_test(tc, open_finds_one_token_and_says_when_it_cannot);
    tcase_add_test(tc, open_refuses_what_is_no_module);
    tcase_add_test(tc, kwp_is_believed_after_a_known_answer_only);
    tcase_add_test(tc, mechanisms_that_are_missing_are_said_to_be);
    tcase_add_test(tc, created_keys_that_lie_are_destroyed);
    tcase_add_test(tc, create_yields_to_tokens_that_refuse_wishes);
    tcase_add_test(tc, create_refuses_labels_in_use_and_bad_ones);
    tcase_add_test(tc, find_wants_exactly_one_key_and_remembers_it);
    tcase_add_test(tc, destroyed_keys_are_not_found_from_memory);
    tcase_add_test(tc, list_walks_private_and_secret_keys);
    tcase_add_test(tc, initialise_takes_blank_tokens_only);
    tcase_add_test(tc, a_device_costs_eight_calls_and_no_search);
    tcase_add_test(tc, generate_destroys_keys_that_are_not_as_asked_for);
    tcase_add_test(tc, points_are_taken_wrapped_and_bare);
    tcase_add_test(tc, short_answers_are_refused);
    tcase_add_test(tc, meter_counts_only_when_on);
    tcase_add_test(tc, selftest_tells_good_bad_and_missing);
    tcase_add_test(tc, export_prefers_sha256_and_cleans_up);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
