/* SPDX-License-Identifier: Apache-2.0 */
/* pkcs11/ when the module fails: every C_ call in turn, lost sessions, a token pulled out. */
#include "tests/unit/mock_token.h"

#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <p11-kit/pkcs11.h>
#include <stdio.h>

/* ---- classes ----------------------------------------------------------------------------- */

START_TEST(error_class_says_what_to_do)
{
    static const struct {
        unsigned long rv;
        enum mm_token_class class;
        const char *name;
    } cases[] = {
        {0x00, MM_TOKEN_OK, "CKR_OK"},
        {0x02, MM_TOKEN_RETRY, "CKR_HOST_MEMORY"},
        {0x05, MM_TOKEN_RETRY, "CKR_GENERAL_ERROR"},
        {0x31, MM_TOKEN_RETRY, "CKR_DEVICE_MEMORY"},
        {0xb1, MM_TOKEN_RETRY, "CKR_SESSION_COUNT"},
        {0x80001234, MM_TOKEN_RETRY, "CKR_?"},
        {0xb0, MM_TOKEN_REOPEN, "CKR_SESSION_CLOSED"},
        {0xb3, MM_TOKEN_REOPEN, "CKR_SESSION_HANDLE_INVALID"},
        {0x90, MM_TOKEN_REOPEN, "CKR_OPERATION_ACTIVE"},
        {0x60, MM_TOKEN_REOPEN, "CKR_KEY_HANDLE_INVALID"},
        {0x82, MM_TOKEN_REOPEN, "CKR_OBJECT_HANDLE_INVALID"},
        {0x113, MM_TOKEN_REOPEN, "CKR_WRAPPING_KEY_HANDLE_INVALID"},
        {0x101, MM_TOKEN_LOGIN, "CKR_USER_NOT_LOGGED_IN"},
        {0x30, MM_TOKEN_RESTART, "CKR_DEVICE_ERROR"},
        {0x32, MM_TOKEN_RESTART, "CKR_DEVICE_REMOVED"},
        {0xe0, MM_TOKEN_RESTART, "CKR_TOKEN_NOT_PRESENT"},
        {0x190, MM_TOKEN_RESTART, "CKR_CRYPTOKI_NOT_INITIALIZED"},
        {0x70, MM_TOKEN_FATAL, "CKR_MECHANISM_INVALID"},
        {0xd1, MM_TOKEN_FATAL, "CKR_TEMPLATE_INCONSISTENT"},
        {0x6a, MM_TOKEN_FATAL, "CKR_KEY_UNEXTRACTABLE"},
        {0xa0, MM_TOKEN_PIN, "CKR_PIN_INCORRECT"},
        {0xa3, MM_TOKEN_PIN, "CKR_PIN_EXPIRED"},
        {0xa4, MM_TOKEN_PIN, "CKR_PIN_LOCKED"},
    };

    for (size_t i = 0; i < MM_ARRAY_SIZE(cases); i++) {
        ck_assert_msg(mm_token_error_class(cases[i].rv) == cases[i].class, "%s", cases[i].name);
        ck_assert_str_eq(mm_token_rv_name(cases[i].rv), cases[i].name);
    }
}
END_TEST

/* 0x30 is CKR_DEVICE_ERROR, and an errno too. */
START_TEST(failure_class_is_the_tokens_only_when_the_token_failed)
{
    static const struct {
        enum mm_err code;
        uint64_t detail;
        enum mm_token_class class;
    } cases[] = {
        {MM_ERR_UNAVAILABLE, 0x30, MM_TOKEN_RESTART},
        {MM_ERR_IO, 0x30, MM_TOKEN_OK},
        {MM_ERR_IO, 13, MM_TOKEN_OK},
        {MM_ERR_CORRUPT, 0, MM_TOKEN_OK},
        {MM_ERR_PIN, 0, MM_TOKEN_PIN},
        {MM_ERR_PIN, 0xa1, MM_TOKEN_PIN},
        {MM_ERR_INVALID, 0xa1, MM_TOKEN_FATAL},
    };

    for (size_t i = 0; i < MM_ARRAY_SIZE(cases); i++) {
        const struct mm_errinfo failure = {.code = cases[i].code, .detail = cases[i].detail};

        ck_assert_int_eq(mm_token_failure_class(&failure), cases[i].class);
    }
}
END_TEST

START_TEST(failures_carry_code_reason_and_rv)
{
    static const struct {
        unsigned long rv;
        int err;
        const char *reason;
    } cases[] = {
        {0x05, MM_ERR_UNAVAILABLE, "TOKEN_BUSY"},
        {0xb3, MM_ERR_UNAVAILABLE, "TOKEN_SESSION_LOST"},
        {0x101, MM_ERR_UNAVAILABLE, "TOKEN_LOGIN_LOST"},
        {0x32, MM_ERR_UNAVAILABLE, "TOKEN_UNAVAILABLE"},
        {0xd1, MM_ERR_INTERNAL, "TOKEN_REFUSED"},
        {0x70, MM_ERR_UNSUPPORTED, "TOKEN_MECHANISM_UNSUPPORTED"},
        {0xb5, MM_ERR_PRECONDITION, "TOKEN_READ_ONLY"},
    };
    struct mm_token *t = open_and_login();
    struct mm_keypair pair;
    char rules[40];

    for (size_t i = 0; i < MM_ARRAY_SIZE(cases); i++) {
        snprintf(rules, sizeof(rules), "C_GenerateKeyPair=0x%lx", cases[i].rv);
        mock_rules(rules);
        ck_err(mm_token_generate(t, MM_CURVE_P256, MM_DEVICE_WRAPPED, NULL, &pair, &ei),
               cases[i].err);
        ck_assert_str_eq(ei.reason, cases[i].reason);
        ck_assert_uint_eq(ei.detail, cases[i].rv);
        ck_assert_int_eq(ei.code, cases[i].err);
        ck_assert_ptr_nonnull(strstr(ei.text, "C_GenerateKeyPair: CKR_"));
    }
    ck_err(mm_token_generate(t, MM_CURVE_P256, MM_DEVICE_WRAPPED, NULL, &pair, NULL),
           MM_ERR_PRECONDITION);
    mm_token_free(t);
}
END_TEST

/* ---- every call in turn ------------------------------------------------------------------ */

static int ignore_key(void *arg, const struct mm_key_info *key)
{
    (void)arg;
    (void)key;
    return 0;
}

static int export_to(struct mm_token *t, mm_handle kek, EVP_PKEY *recipient)
{
    MM_BUF_CLEANUP struct mm_buf text = MM_BUF_INIT(8192);
    unsigned char *spki = NULL;
    const int len = i2d_PUBKEY(recipient, &spki);
    const int r = mm_token_export_transport(t, kek, "line-a", (struct mm_bytes){spki, (size_t)len},
                                            &text, &ei);

    OPENSSL_free(spki);
    return r;
}

static int officers_part(struct mm_token *t, EVP_PKEY *rsa, EVP_PKEY *ec, mm_handle *ca,
                         mm_handle *kek)
{
    int r = mm_token_create_ca_key(t, "ca", MM_CURVE_P256, ca, &ei);

    if (r == MM_OK)
        r = mm_token_create_transport_key(t, "kek", kek, &ei);
    if (r == MM_OK)
        r = mm_token_list(t, ignore_key, NULL, &ei);
    if (r == MM_OK)
        r = export_to(t, *kek, rsa);
    if (r == MM_OK)
        r = export_to(t, *kek, ec);
    return r;
}

static int workers_part(struct mm_token *t, mm_handle *ca, mm_handle *kek)
{
    uint8_t point[MM_POINT_MAX], value[8];
    enum mm_curve curve;
    size_t len;
    int r = mm_token_reopen(t, &ei);

    if (r == MM_OK)
        r = mm_token_find(t, "pkcs11:object=ca", MM_KEY_PRIVATE, ca, &ei);
    if (r == MM_OK)
        r = mm_token_find(t, "pkcs11:object=kek", MM_KEY_SECRET, kek, &ei);
    if (r == MM_OK)
        r = mm_token_check_policy(t, *ca, MM_USE_CA, &ei);
    if (r == MM_OK)
        r = mm_token_public_point(t, *ca, &curve, point, &len, &ei);
    if (r == MM_OK)
        r = mm_token_check_value(t, *kek, value, &ei);
    if (r == MM_OK)
        r = draw(t);
    return r;
}

static int mint(struct mm_token *t, mm_handle ca, mm_handle kek)
{
    MM_SECRET_CLEANUP struct mm_secret *scalar = NULL;
    uint8_t digest[32], signature[MM_SIGNATURE_MAX], wrapped[MM_WRAPPED_KEY_MAX];
    struct mm_keypair pair;
    size_t len;
    int r = mm_token_random(t, digest, sizeof(digest), &ei);

    if (r == MM_OK)
        r = mm_token_generate(t, MM_CURVE_P256, MM_DEVICE_PLAIN, NULL, &pair, &ei);
    if (r < 0)
        return r;
    r = mm_token_sign(t, ca, digest, sizeof(digest), signature, &len, &ei);
    if (r == MM_OK)
        r = mm_token_wrap(t, kek, pair.private_key, wrapped, &len, &ei);
    if (r == MM_OK)
        r = mm_token_read_private(t, &pair, &scalar, &ei);
    mm_token_destroy(t, &pair);
    return r;
}

/* A life from opening to freeing, up to the first error. */
static int live(EVP_PKEY *rsa, EVP_PKEY *ec)
{
    MM_TOKEN_CLEANUP struct mm_token *t = NULL;
    struct mm_secret *pin = secret(MOCK_PIN);
    struct mm_token_info info;
    mm_handle ca = 0, kek = 0;
    int r = mm_token_open(&how, &t, &ei);

    if (r < 0) {
        mm_secret_free(pin);
        return r;
    }
    r = mm_token_login(t, &pin, &ei);
    ck_assert_ptr_null(pin);
    if (r == MM_OK)
        r = mm_token_info(t, &info, &ei);
    if (r == MM_OK)
        r = officers_part(t, rsa, ec, &ca, &kek);
    if (r == MM_OK)
        r = workers_part(t, &ca, &kek);
    if (r == MM_OK)
        r = mint(t, ca, kek);
    return r;
}

/* Calls whose failure may be passed over, or show as something else: what is cleaned up is going
 * away, another slot may have the token, a refused wish or hash has a second choice, an attribute
 * that is not there breaks a policy, and a token that refuses known keys has no RFC 5649. */
static bool may_pass(const char *function, unsigned long rv)
{
    static const char *const always[] = {"C_DestroyObject", "C_Logout", "C_CloseSession",
                                         "C_Finalize", "C_GetTokenInfo"};
    static const char *const refusals[] = {"C_GetMechanismInfo", "C_WrapKey",
                                           "C_GenerateKeyPair",  "C_GenerateKey",
                                           "C_CreateObject",     "C_GetAttributeValue"};

    for (size_t i = 0; i < MM_ARRAY_SIZE(always); i++) {
        if (strcmp(function, always[i]) == 0)
            return true;
    }
    for (size_t i = 0; i < MM_ARRAY_SIZE(refusals); i++) {
        if (strcmp(function, refusals[i]) == 0)
            return mm_token_error_class(rv) == MM_TOKEN_FATAL;
    }
    return false;
}

/* p11-kit takes a module whose C_Finalize failed for somebody else's from then on. */
static void finalise_behind_p11_kit(void)
{
    CK_FUNCTION_LIST *list;

    ck_assert_uint_eq(((CK_C_GetFunctionList)mock_function("C_GetFunctionList"))(&list), CKR_OK);
    ck_assert_uint_eq(list->C_Finalize(NULL), CKR_OK);
}

static void fail_call(unsigned long n, unsigned long rv, EVP_PKEY *rsa, EVP_PKEY *ec)
{
    char rules[40];
    int r;

    snprintf(rules, sizeof(rules), "*:%lu=0x%lx", n, rv);
    mock_rules(rules);
    ei = (struct mm_errinfo){0};
    r = live(rsa, ec);
    ck_assert_msg(mock_failed()[0], "call %lu never came, %d %s", n, r, ei.text);
    if (r < 0 && ei.detail == rv)
        ck_assert_msg(ei.code == r && ei.reason[0] && ei.text[0], "call %lu: empty error", n);
    else
        ck_assert_msg(may_pass(mock_failed(), rv) && (r == MM_OK || ei.detail == 0),
                      "call %lu, %s: 0x%lx became %d %s", n, mock_failed(), rv, r, ei.text);
    /* Whatever failed: nothing that was not destroyed outlives the session. */
    ck_assert_uint_eq(mock_session_objects(), 0);
    if (strcmp(mock_failed(), "C_Finalize") == 0)
        finalise_behind_p11_kit();
}

START_TEST(every_failing_call_is_reported_and_leaves_nothing)
{
    static const unsigned long rvs[] = {0x30, 0xb3, 0x12, 0x54};
    EVP_PKEY *rsa = EVP_RSA_gen(2048);
    EVP_PKEY *ec = EVP_EC_gen("P-256");
    unsigned long calls;

    mock_rules(NULL);
    ck_assert_msg(live(rsa, ec) == MM_OK, "%s", ei.text);
    calls = mock_calls("*");
    ck_assert_uint_gt(calls, 100);
    for (unsigned long n = 1; n <= calls; n++)
        fail_call(n, rvs[n % MM_ARRAY_SIZE(rvs)], rsa, ec);
    for (unsigned long n = 1; n <= calls; n++)
        fail_call(n, 0x30, rsa, ec);
    EVP_PKEY_free(rsa);
    EVP_PKEY_free(ec);
}
END_TEST

START_TEST(initialise_reports_every_failing_call)
{
    MM_SECRET_CLEANUP struct mm_secret *so = secret("so-pin-2");
    MM_SECRET_CLEANUP struct mm_secret *user = secret("4321");
    struct mm_token_open blank = {.module = MM_MOCK_MODULE};
    unsigned long calls;
    char rules[40];

    mock_rules(NULL);
    ck_ok(mm_token_initialise(&blank, "new", so, user, &ei));
    calls = mock_calls("*");
    for (unsigned long n = 1; n <= calls; n++) {
        snprintf(rules, sizeof(rules), "*:%lu=0x30", n);
        mock_rules(rules);
        const int r = mm_token_initialise(&blank, "new", so, user, &ei);

        if (r == MM_OK)
            ck_assert_msg(may_pass(mock_failed(), 0x30), "%s got lost", mock_failed());
        else
            ck_assert_uint_eq(ei.detail, 0x30);
        if (strcmp(mock_failed(), "C_Finalize") == 0)
            finalise_behind_p11_kit();
    }
}
END_TEST

/* ---- finding back ------------------------------------------------------------------------ */

START_TEST(lost_sessions_come_back_by_reopening)
{
    uint8_t digest[32] = {1}, signature[MM_SIGNATURE_MAX];
    struct mm_token *t = open_and_login();
    struct mm_keypair pair;
    mm_handle ca;
    size_t len;

    ck_ok(mm_token_create_ca_key(t, "ca", MM_CURVE_P256, &ca, &ei));
    ck_ok(mm_token_generate(t, MM_CURVE_P256, MM_DEVICE_WRAPPED, NULL, &pair, &ei));
    mock_rules("C_SignInit:1=sessions");
    ck_err(mm_token_sign(t, ca, digest, sizeof(digest), signature, &len, &ei), MM_ERR_UNAVAILABLE);
    ck_assert_int_eq(mm_token_error_class(ei.detail), MM_TOKEN_REOPEN);
    mm_token_destroy(t, &pair);
    ck_assert_int_eq(draw(t), MM_ERR_UNAVAILABLE);
    ck_ok(mm_token_reopen(t, &ei));
    ck_assert_uint_eq(mock_calls("C_Login"), 1);
    ck_ok(mm_token_find(t, "pkcs11:object=ca", MM_KEY_PRIVATE, &ca, &ei));
    ck_ok(mm_token_sign(t, ca, digest, sizeof(digest), signature, &len, &ei));
    mm_token_free(t);
}
END_TEST

START_TEST(a_lost_login_shows_and_comes_back)
{
    struct mm_token *t = open_and_login();
    uint8_t byte;

    mock_rules("C_GenerateRandom:1=0x101");
    ck_err(mm_token_random(t, &byte, 1, &ei), MM_ERR_UNAVAILABLE);
    ck_assert_int_eq(mm_token_error_class(ei.detail), MM_TOKEN_LOGIN);
    ck_ok(mm_token_reopen(t, &ei));
    ck_ok(draw(t));
    mm_token_free(t);
}
END_TEST

START_TEST(a_removed_token_is_a_case_for_restart)
{
    struct mm_token *t = open_and_login();
    uint8_t byte;

    mock_rules("C_GenerateRandom:1=removed");
    ck_err(mm_token_random(t, &byte, 1, &ei), MM_ERR_UNAVAILABLE);
    ck_err(mm_token_reopen(t, &ei), MM_ERR_UNAVAILABLE);
    ck_assert_int_eq(mm_token_error_class(ei.detail), MM_TOKEN_RESTART);
    ck_err(draw(t), MM_ERR_UNAVAILABLE);
    mm_token_free(t);
}
END_TEST

START_TEST(renewal_starts_the_module_again_and_logs_in)
{
    struct mm_token *t = open_and_login();
    struct mm_keypair pair;

    ck_ok(mm_token_generate(t, MM_CURVE_P256, MM_DEVICE_WRAPPED, NULL, &pair, &ei));
    ck_assert(!mm_token_wants_renewal(t)); /* the mock is not known for hoarding */
    mock_rules("C_Initialize:1=0x30;C_GetTokenInfo:1=0xe0");
    ck_ok(mm_token_renew(t, &ei));
    ck_assert_uint_eq(mock_calls("C_Initialize"), 3);
    ck_assert_uint_eq(mock_calls("C_Login"), 1);
    ck_ok(draw(t));
    mm_token_free(t);
}
END_TEST

START_TEST(renewal_tries_a_refused_pin_once)
{
    struct mm_token *t = open_and_login();

    mock_rules("C_Login=0xa0");
    ck_err(mm_token_renew(t, &ei), MM_ERR_PIN);
    ck_assert_uint_eq(mock_calls("C_Login"), 1);
    mock_rules(NULL);
    ck_ok(mm_token_renew(t, &ei));
    ck_assert_uint_eq(mock_calls("C_Login"), 0); /* the PIN is gone */
    mm_token_free(t);
}
END_TEST

/* As SoftHSM looks to one process while another's login rewrites its file. */
START_TEST(renewal_outlasts_a_token_that_is_not_whole)
{
    static const char *const rules[] = {"C_Initialize:1=0x05", "C_GetTokenInfo:1=0x05",
                                        "C_Login:1=0x102",
                                        "C_Initialize:1=0x05;C_GetSlotList:1=0x05;C_Login:1=0x102"};

    for (size_t i = 0; i < MM_ARRAY_SIZE(rules); i++) {
        struct mm_token *t = open_and_login();

        mock_rules(rules[i]);
        ck_ok(mm_token_renew(t, &ei));
        ck_ok(draw(t));
        ck_assert_uint_ge(mock_calls("C_Initialize"), 2);
        mm_token_free(t);
    }
}
END_TEST

START_TEST(login_without_a_user_pin_is_no_refused_pin)
{
    struct mm_token *t = open_and_login();

    mock_rules("C_Login:1=0x102");
    ck_err(mm_token_reopen(t, &ei), MM_ERR_PRECONDITION);
    ck_assert_str_eq(ei.reason, "TOKEN_PIN_NOT_SET");
    ck_assert_int_eq(mm_token_failure_class(&ei), MM_TOKEN_RESTART);
    ck_ok(mm_token_reopen(t, &ei)); /* the PIN was kept */
    ck_ok(draw(t));
    mm_token_free(t);
}
END_TEST

START_TEST(renewal_of_a_token_that_stays_away_is_a_case_for_restart)
{
    struct mm_token *t = open_and_login();

    mock_rules("C_GetTokenInfo=0xe0");
    ck_err(mm_token_renew(t, &ei), MM_ERR_UNAVAILABLE);
    ck_assert_int_eq(mm_token_error_class(ei.detail), MM_TOKEN_RESTART);
    mm_token_free(t);
}
END_TEST

START_TEST(freeing_after_a_failed_reopen_is_harmless)
{
    struct mm_token *t = open_and_login();

    mock_rules("C_OpenSession=0xb1");
    ck_err(mm_token_reopen(t, &ei), MM_ERR_UNAVAILABLE);
    ck_assert_int_eq(mm_token_error_class(ei.detail), MM_TOKEN_RETRY);
    mock_rules(NULL);
    ck_ok(mm_token_reopen(t, &ei));
    ck_ok(draw(t));
    mock_rules("C_OpenSession=0xb1");
    ck_err(mm_token_reopen(t, &ei), MM_ERR_UNAVAILABLE);
    mm_token_free(t);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("token_faults");
    TCase *tc = tcase_create("mock");

    tcase_add_checked_fixture(tc, fresh_mock, NULL);
    tcase_set_timeout(tc, 300);
    tcase_add_test(tc, error_class_says_what_to_do);
    tcase_add_test(tc, failure_class_is_the_tokens_only_when_the_token_failed);
    tcase_add_test(tc, failures_carry_code_reason_and_rv);
    tcase_add_test(tc, every_failing_call_is_reported_and_leaves_nothing);
    tcase_add_test(tc, initialise_reports_every_failing_call);
    tcase_add_test(tc, lost_sessions_come_back_by_reopening);
    tcase_add_test(tc, a_lost_login_shows_and_comes_back);
    tcase_add_test(tc, a_removed_token_is_a_case_for_restart);
    tcase_add_test(tc, renewal_starts_the_module_again_and_logs_in);
    tcase_add_test(tc, renewal_tries_a_refused_pin_once);
    tcase_add_test(tc, renewal_outlasts_a_token_that_is_not_whole);
    tcase_add_test(tc, login_without_a_user_pin_is_no_refused_pin);
    tcase_add_test(tc, renewal_of_a_token_that_stays_away_is_a_case_for_restart);
    tcase_add_test(tc, freeing_after_a_failed_reopen_is_harmless);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
