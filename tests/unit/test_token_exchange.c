/* SPDX-License-Identifier: Apache-2.0 */
/* pkcs11/exchange.c and import.c on a token that has all they want, on tokens that lack something;
 * and, with mark.c, with each of its calls failing in turn. */
#include "pkcs11/exchange.h"
#include "tests/unit/mock_token.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/rsa.h>
#include <p11-kit/pkcs11.h>
#include <stdio.h>

/* CKR_SESSION_HANDLE_INVALID, _ATTRIBUTE_TYPE_INVALID, _FUNCTION_NOT_SUPPORTED */
static const unsigned long rvs[] = {0xb3, 0x12, 0x54};

/* Made once: it takes a while. */
static EVP_PKEY *rsa_key;

static struct mm_token *t;
static mm_handle ec, rsa; /* the token's exchange keys */

static void set_up(void)
{
    fresh_mock();
    t = open_and_login();
    ck_ok(mm_token_create_exchange_key(t, "ec", MM_USE_EXCHANGE, &ec, &ei));
}

static void set_up_with_rsa(void)
{
    set_up();
    ck_ok(mm_token_create_exchange_key(t, "rsa", MM_USE_EXCHANGE_RSA, &rsa, &ei));
}

static void tear_down(void)
{
    mock_rules(NULL);
    mm_token_free(t);
}

static void make_rsa(void)
{
    set_up_with_rsa();
    tear_down();
}

static struct mm_bytes bytes(const uint8_t *data, size_t len)
{
    return (struct mm_bytes){data, len};
}

/* ---- RSA-OAEP ---------------------------------------------------------------------------- */

static const uint8_t content[32] = "a key for a package's content";

static size_t seal(mm_handle key, bool sha256, uint8_t sealed[512])
{
    EVP_PKEY *public_key = NULL;
    EVP_PKEY_CTX *ctx;
    size_t len = 512;

    ck_ok(mm_token_public_key(t, key, &public_key, &ei));
    ctx = EVP_PKEY_CTX_new(public_key, NULL);
    ck_assert_int_eq(EVP_PKEY_encrypt_init(ctx), 1);
    ck_assert_int_eq(EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING), 1);
    ck_assert_int_eq(EVP_PKEY_CTX_set_rsa_oaep_md(ctx, sha256 ? EVP_sha256() : EVP_sha1()), 1);
    ck_assert_int_eq(EVP_PKEY_encrypt(ctx, sealed, &len, content, sizeof(content)), 1);
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(public_key);
    return len;
}

static int open_sealed(bool sha256, const uint8_t *sealed, size_t len)
{
    MM_SECRET_CLEANUP struct mm_secret *opened = NULL;
    const int r = mm_token_open_oaep(t, rsa, sha256, bytes(sealed, len), &opened, &ei);

    if (r < 0)
        return r;
    ck_assert_uint_eq(mm_secret_len(opened), sizeof(content));
    ck_assert_mem_eq(mm_secret_data(opened), content, sizeof(content));
    return r;
}

START_TEST(open_oaep_with_either_hash)
{
    uint8_t sealed[512];
    size_t len;

    for (int sha256 = 0; sha256 < 2; sha256++) {
        len = seal(rsa, sha256, sealed);
        ck_ok(open_sealed(sha256, sealed, len));
        ck_err(open_sealed(!sha256, sealed, len), MM_ERR_INVALID);
        ck_assert_str_eq(ei.reason, "PACKAGE_DECRYPT");
        sealed[len / 2] ^= 1;
        ck_err(open_sealed(sha256, sealed, len), MM_ERR_INVALID);
        ck_assert_str_eq(ei.reason, "PACKAGE_DECRYPT");
        ck_err(open_sealed(sha256, sealed, len - 1), MM_ERR_INVALID);
        ck_assert_str_eq(ei.reason, "PACKAGE_DECRYPT");
    }
}
END_TEST

START_TEST(open_oaep_on_a_token_without_the_hash)
{
    uint8_t sealed[512];
    size_t len = seal(rsa, true, sealed);

    mock_rules("oaep=sha1");
    ck_err(open_sealed(true, sealed, len), MM_ERR_UNSUPPORTED);
    ck_assert_str_eq(ei.reason, "PACKAGE_ALGORITHM");
    len = seal(rsa, false, sealed);
    ck_ok(open_sealed(false, sealed, len));
    mock_rules("nomech:0x9"); /* CKM_RSA_PKCS_OAEP */
    ck_err(open_sealed(false, sealed, len), MM_ERR_UNSUPPORTED);
    ck_assert_str_eq(ei.reason, "TOKEN_MECHANISM_UNSUPPORTED");
}
END_TEST

/* Some tokens have a general error for a wrong padding. */
START_TEST(open_oaep_tells_a_wrong_key_from_a_token_that_fails)
{
    uint8_t sealed[512];
    const size_t len = seal(rsa, true, sealed);

    mock_rules("C_Decrypt=0x05");
    ck_err(open_sealed(true, sealed, len), MM_ERR_INVALID);
    ck_assert_str_eq(ei.reason, "PACKAGE_DECRYPT");
    ck_ok(mm_token_reopen(t, &ei)); /* as a worker does: who knows what the token still holds */
    mock_rules("C_Decrypt=0x32");
    ck_err(open_sealed(true, sealed, len), MM_ERR_UNAVAILABLE);
    ck_assert_str_eq(ei.reason, "TOKEN_UNAVAILABLE");
}
END_TEST

/* ---- ECDH -------------------------------------------------------------------------------- */

static size_t point_of(EVP_PKEY *key, uint8_t point[97])
{
    size_t len = 0;

    ck_assert_int_eq(EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, point, 97, &len),
                     1);
    return len;
}

START_TEST(agree_gives_what_the_other_side_has)
{
    EVP_PKEY *other = EVP_EC_gen("P-256"), *own = NULL;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(other, NULL);
    uint8_t point[97], expected[32];
    struct mm_secret *shared = NULL;
    size_t len = sizeof(expected);

    ck_ok(mm_token_public_key(t, ec, &own, &ei));
    ck_assert_int_eq(EVP_PKEY_derive_init(ctx), 1);
    ck_assert_int_eq(EVP_PKEY_derive_set_peer(ctx, own), 1);
    ck_assert_int_eq(EVP_PKEY_derive(ctx, expected, &len), 1);
    len = point_of(other, point);
    ck_ok(mm_token_agree(t, ec, point, len, &shared, &ei));
    ck_assert_uint_eq(mm_secret_len(shared), 32);
    ck_assert_mem_eq(mm_secret_data(shared), expected, 32);
    ck_assert_uint_eq(mock_session_objects(), 0);
    mm_secret_free(shared);
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(own);
    EVP_PKEY_free(other);
}
END_TEST

START_TEST(agree_refuses_points_and_tokens_that_are_wrong)
{
    EVP_PKEY *other = EVP_EC_gen("P-256"), *larger = EVP_EC_gen("P-384");
    struct mm_secret *shared = NULL;
    uint8_t point[97];
    size_t len = point_of(larger, point);

    ck_err(mm_token_agree(t, ec, point, len, &shared, &ei), MM_ERR_INVALID);
    ck_assert_str_eq(ei.reason, "PACKAGE_RECIPIENT");
    len = point_of(other, point);
    point[40] ^= 1; /* off the curve */
    ck_err(mm_token_agree(t, ec, point, len, &shared, &ei), MM_ERR_INVALID);
    ck_assert_str_eq(ei.reason, "PACKAGE_RECIPIENT");
    ck_assert_uint_eq(mock_calls("C_DeriveKey"), 0);
    point[40] ^= 1;
    mock_rules("short=secret");
    ck_err(mm_token_agree(t, ec, point, len, &shared, &ei), MM_ERR_CORRUPT);
    ck_assert_str_eq(ei.reason, "TOKEN_ATTRIBUTE_INVALID");
    ck_assert_uint_eq(mock_session_objects(), 0);
    ck_assert_ptr_null(shared);
    EVP_PKEY_free(larger);
    EVP_PKEY_free(other);
}
END_TEST

/* ---- public halves ----------------------------------------------------------------------- */

START_TEST(public_key_of_a_pair_without_numbers)
{
    EVP_PKEY *key = NULL;

    mock_rules("noattr:0x120"); /* CKA_MODULUS */
    ck_err(mm_token_public_key(t, rsa, &key, &ei), MM_ERR_CORRUPT);
    ck_assert_str_eq(ei.reason, "TOKEN_ATTRIBUTE_INVALID");
    mock_rules("noattr:0x122"); /* CKA_PUBLIC_EXPONENT */
    ck_err(mm_token_public_key(t, rsa, &key, &ei), MM_ERR_CORRUPT);
    ck_assert_str_eq(ei.reason, "TOKEN_ATTRIBUTE_INVALID");
    ck_assert_ptr_null(key);
}
END_TEST

/* ---- keys from outside ------------------------------------------------------------------- */

static EVP_PKEY *key_of(const char *kind)
{
    if (strcmp(kind, "RSA") == 0) {
        EVP_PKEY_up_ref(rsa_key);
        return rsa_key;
    }
    return EVP_EC_gen(kind);
}

static int import(EVP_PKEY *key, mm_handle replaced, mm_handle *ret_key)
{
    return mm_token_import_key(t, "client", key, replaced, ret_key, &ei);
}

START_TEST(import_key_signs_and_is_not_extractable)
{
    static const char *const kinds[] = {"P-256", "P-384", "RSA"};

    for (size_t i = 0; i < MM_ARRAY_SIZE(kinds); i++) {
        const size_t before = mock_objects();
        EVP_PKEY *key = key_of(kinds[i]), *again = key_of(kinds[i]), *read = NULL;
        mm_handle first, second;

        ck_ok(import(key, 0, &first));
        ck_assert_uint_eq(mock_objects(), before + 2);
        ck_assert_uint_eq(mock_session_objects(), 0);
        ck_ok(mm_token_check_policy(t, first, MM_USE_IMPORTED, &ei));
        ck_ok(mm_token_public_key(t, first, &read, &ei));
        ck_assert_int_eq(EVP_PKEY_eq(read, key), 1);
        ck_err(import(again, 0, &second), MM_ERR_EXISTS);
        ck_ok(import(again, first, &second));
        ck_assert_uint_eq(mock_objects(), before + 2);
        ck_ok(mm_token_find(t, "pkcs11:object=client", MM_KEY_PRIVATE, &first, &ei));
        ck_assert_uint_eq(first, second);
        EVP_PKEY_free(read);
        EVP_PKEY_free(again);
        EVP_PKEY_free(key);
        mm_token_free(t);
        set_up();
    }
}
END_TEST

START_TEST(import_key_refuses_kinds_and_sizes)
{
    EVP_PKEY *keys[] = {EVP_RSA_gen(1024), EVP_EC_gen("P-521"),
                        EVP_PKEY_Q_keygen(NULL, NULL, "ED25519")};
    mm_handle key;

    for (size_t i = 0; i < MM_ARRAY_SIZE(keys); i++) {
        const size_t before = mock_objects();

        ck_err(import(keys[i], 0, &key), MM_ERR_UNSUPPORTED);
        ck_assert_str_eq(ei.reason, "PACKAGE_KEY");
        ck_assert_uint_eq(mock_objects(), before);
        EVP_PKEY_free(keys[i]);
    }
}
END_TEST

START_TEST(import_key_on_a_token_that_lacks_something_leaves_nothing)
{
    static const struct {
        const char *rules, *reason;
        enum mm_err err;
    } cases[] = {
        {"import=no", "TOKEN_IMPORT_REFUSED", MM_ERR_UNSUPPORTED},
        {"bad=signature", "TOKEN_SIGNATURE_INVALID", MM_ERR_CORRUPT},
        {"attr:0x162=1", "TOKEN_KEY_POLICY", MM_ERR_CORRUPT}, /* CKA_EXTRACTABLE */
        {"C_UnwrapKey=0x110", "TOKEN_REFUSED", MM_ERR_INTERNAL},
        {"C_CreateObject:1=0x32", "TOKEN_UNAVAILABLE", MM_ERR_UNAVAILABLE},
        {"C_CreateObject:2=0x13", "TOKEN_REFUSED", MM_ERR_INTERNAL},
    };
    mm_handle key;

    for (size_t i = 0; i < 2 * MM_ARRAY_SIZE(cases); i++) {
        const size_t before = mock_objects(), k = i / 2;
        EVP_PKEY *given = key_of(i % 2 ? "RSA" : "P-256");

        mock_rules(cases[k].rules);
        ck_assert_msg(import(given, 0, &key) == (int)cases[k].err, "%s: %s %s", cases[k].rules,
                      ei.reason, ei.text);
        ck_assert_msg(strcmp(ei.reason, cases[k].reason) == 0, "%s: %s %s", cases[k].rules,
                      ei.reason, ei.text);
        ck_assert_uint_eq(mock_objects(), before);
        EVP_PKEY_free(given);
    }
}
END_TEST

START_TEST(import_key_on_a_token_without_rfc_5649)
{
    EVP_PKEY *given = key_of("P-256");
    mm_handle key;

    mm_token_free(t);
    mock_rules("kwp=0");
    t = open_and_login();
    ck_err(import(given, 0, &key), MM_ERR_UNSUPPORTED);
    ck_assert_str_eq(ei.reason, "TOKEN_MECHANISM_UNSUPPORTED");
    EVP_PKEY_free(given);
}
END_TEST

/* The wishes of docs/keys.md are left out when the token does not know them. */
START_TEST(import_key_on_a_token_that_knows_fewer_attributes)
{
    EVP_PKEY *given = key_of("P-256");
    mm_handle key;

    mock_rules("noattr:0x171"); /* CKA_COPYABLE */
    ck_ok(import(given, 0, &key));
    ck_assert_uint_ge(mock_calls("C_UnwrapKey"), 2);
    EVP_PKEY_free(given);
}
END_TEST

/* ---- every call in turn ------------------------------------------------------------------ */

struct work {
    uint8_t point[97], sealed[512];
    size_t point_len, sealed_len;
    EVP_PKEY *key;
};

static int take_package(const struct work *w)
{
    MM_SECRET_CLEANUP struct mm_secret *shared = NULL, *opened = NULL;
    EVP_PKEY *public_key = NULL;
    int r = mm_token_public_key(t, rsa, &public_key, &ei);

    EVP_PKEY_free(public_key);
    if (r == MM_OK)
        r = mm_token_agree(t, ec, w->point, w->point_len, &shared, &ei);
    if (r == MM_OK)
        r = mm_token_open_oaep(t, rsa, true, bytes(w->sealed, w->sealed_len), &opened, &ei);
    return r;
}

static int take_key(const struct work *w)
{
    mm_handle first = 0, second;
    int r = import(w->key, 0, &first);

    return r < 0 ? r : import(w->key, first, &second);
}

static int take_mark(const struct work *w)
{
    const struct mm_exchange_mark mark = {.created_ms = 7};
    struct mm_exchange_mark got;
    int r = mm_token_mark_write(t, &mark, &ei);

    (void)w;
    if (r == MM_OK)
        r = mm_token_mark_write(t, &mark, &ei);
    return r == MM_OK ? mm_token_mark_read(t, &got, &ei) : r;
}

/* What is dropped, and a second choice where the first was refused. */
static bool may_pass(const char *function, unsigned long rv)
{
    if (strcmp(function, "C_DestroyObject") == 0)
        return true;
    return mm_token_error_class(rv) == MM_TOKEN_FATAL &&
           (strcmp(function, "C_UnwrapKey") == 0 || strcmp(function, "C_GetAttributeValue") == 0 ||
            strcmp(function, "C_CreateObject") == 0);
}

static void drop_client(void)
{
    CK_FUNCTION_LIST *list;
    CK_SESSION_HANDLE session;
    CK_OBJECT_HANDLE found[16];
    char label[] = "client";
    CK_ATTRIBUTE template = {CKA_LABEL, label, sizeof(label) - 1};
    CK_ULONG n = 0;

    ck_assert_uint_eq(((CK_C_GetFunctionList)mock_function("C_GetFunctionList"))(&list), CKR_OK);
    ck_assert_uint_eq(
        list->C_OpenSession(1, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session), CKR_OK);
    ck_assert_uint_eq(list->C_FindObjectsInit(session, &template, 1), CKR_OK);
    ck_assert_uint_eq(list->C_FindObjects(session, found, MM_ARRAY_SIZE(found), &n), CKR_OK);
    list->C_FindObjectsFinal(session);
    while (n > 0)
        ck_assert_uint_eq(list->C_DestroyObject(session, found[--n]), CKR_OK);
    list->C_CloseSession(session);
}

/* The key that was replaced could not be cleared away; the new one is there all the same. */
static bool is_replaced(void)
{
    mm_handle key;
    struct mm_errinfo why;

    mock_rules(NULL);
    return mm_token_reopen(t, &why) == MM_OK &&
           mm_token_find(t, "pkcs11:object=client", MM_KEY_PRIVATE, &key, &why) == MM_OK;
}

static void fail_call(int (*work)(const struct work *), const struct work *w, unsigned long n,
                      unsigned long rv)
{
    const size_t before = mock_objects();
    char rules[40];
    const char *failed;
    int r;

    snprintf(rules, sizeof(rules), "*:%lu=0x%lx", n, rv);
    mock_rules(rules);
    ei = (struct mm_errinfo){0};
    r = work(w);
    failed = mock_failed();
    ck_assert_msg(failed[0], "call %lu never came: %d %s", n, r, ei.text);
    ck_assert_msg(r == MM_OK || (ei.code == r && ei.reason[0] && ei.text[0]), "an empty error");
    /* Of a first import that failed nothing stays; a second one that did leaves the first. */
    if (strcmp(failed, "C_DestroyObject") != 0) {
        ck_assert_uint_eq(mock_session_objects(), 0);
        ck_assert(r == MM_OK || work != take_key || mock_objects() == before ||
                  mock_objects() == before + 2);
    }
    ck_assert_msg((r < 0 && ei.detail == rv) || may_pass(failed, rv) ||
                      (r == MM_OK && work == take_key && is_replaced()),
                  "call %lu, %s: 0x%lx became %d %s", n, failed, rv, r, ei.text);
    mock_rules(NULL);
    ck_ok(mm_token_reopen(t, &ei));
    drop_client();
}

static void sweep(int (*work)(const struct work *), const struct work *w)
{
    unsigned long calls;

    mock_rules(NULL);
    ck_ok(work(w));
    calls = mock_calls("*");
    drop_client();
    for (unsigned long n = 1; n <= calls; n++) {
        fail_call(work, w, n, 0x30); /* CKR_DEVICE_ERROR */
        fail_call(work, w, n, rvs[n % MM_ARRAY_SIZE(rvs)]);
    }
}

START_TEST(every_failing_call_is_reported_and_leaves_nothing)
{
    EVP_PKEY *other = EVP_EC_gen("P-256");
    struct work w = {.key = rsa_key};

    w.point_len = point_of(other, w.point);
    w.sealed_len = seal(rsa, true, w.sealed);
    sweep(take_package, &w);
    sweep(take_key, &w);
    w.key = other;
    sweep(take_key, &w);
    sweep(take_mark, &w);
    EVP_PKEY_free(other);
}
END_TEST

/* ---- every allocation of libcrypto's ------------------------------------------------------ */

/* The mock's among them, which has its cryptography from there too. Our own code allocates nothing
 * here but secrets, which are pages of their own. */
static unsigned long allocations, fail_at;

static bool fails(void)
{
    return ++allocations == fail_at;
}

static void *allocate(size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    return size == 0 || fails() ? NULL : malloc(size);
}

static void *allocate_again(void *old, size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    if (size > 0 && fails())
        return NULL;
    if (size > 0)
        return realloc(old, size);
    free(old);
    return NULL;
}

static void release(void *old, const char *file, int line)
{
    (void)file;
    (void)line;
    free(old);
}

/* One that fails is an error, or was not needed; and nothing is left of what was not done. */
static void starve(int (*work)(const struct work *), const struct work *w, unsigned long step)
{
    unsigned failures = 0;

    for (unsigned long n = 1;; n += step) {
        const size_t before = mock_objects();
        int r;

        ei = (struct mm_errinfo){0};
        allocations = 0;
        fail_at = n;
        r = work(w);
        fail_at = 0;
        ck_assert_msg(r == MM_OK || (ei.code == r && ei.reason[0] && ei.text[0]),
                      "allocation %lu: an empty error", n);
        ck_assert_uint_eq(mock_session_objects(), 0);
        ck_assert_msg(r == MM_OK || work != take_key || mock_objects() == before ||
                          mock_objects() == before + 2,
                      "allocation %lu: %zu objects, not %zu: %s", n, mock_objects(), before,
                      ei.text);
        failures += r < 0;
        ck_ok(mm_token_reopen(t, &ei));
        drop_client();
        if (allocations < n)
            break;
    }
    ck_assert_uint_ge(failures, 5);
}

START_TEST(every_failing_allocation_is_reported_and_leaves_nothing)
{
    EVP_PKEY *other = EVP_EC_gen("P-256");
    struct work w = {.key = other};

    w.point_len = point_of(other, w.point);
    w.sealed_len = seal(rsa, true, w.sealed);
    starve(take_package, &w, 11);
    starve(take_key, &w, 29);
    w.key = rsa_key;
    starve(take_key, &w, 31);
    EVP_PKEY_free(other);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("token_exchange");
    TCase *plain = tcase_create("EC"), *with_rsa = tcase_create("RSA");
    int r;

    if (CRYPTO_set_mem_functions(allocate, allocate_again, release) != 1)
        return EXIT_FAILURE;
    rsa_key = EVP_RSA_gen(2048);
    tcase_set_timeout(plain, 60);
    tcase_set_timeout(with_rsa, 60);
    tcase_add_checked_fixture(plain, set_up, tear_down);
    /* The mock makes its RSA pair once, in the process that the tests are forked from. */
    tcase_add_unchecked_fixture(with_rsa, make_rsa, NULL);
    tcase_add_checked_fixture(with_rsa, set_up_with_rsa, tear_down);
    tcase_add_test(with_rsa, open_oaep_with_either_hash);
    tcase_add_test(with_rsa, open_oaep_on_a_token_without_the_hash);
    tcase_add_test(with_rsa, open_oaep_tells_a_wrong_key_from_a_token_that_fails);
    tcase_add_test(plain, agree_gives_what_the_other_side_has);
    tcase_add_test(plain, agree_refuses_points_and_tokens_that_are_wrong);
    tcase_add_test(with_rsa, public_key_of_a_pair_without_numbers);
    tcase_add_test(plain, import_key_signs_and_is_not_extractable);
    tcase_add_test(plain, import_key_refuses_kinds_and_sizes);
    tcase_add_test(plain, import_key_on_a_token_that_lacks_something_leaves_nothing);
    tcase_add_test(plain, import_key_on_a_token_without_rfc_5649);
    tcase_add_test(plain, import_key_on_a_token_that_knows_fewer_attributes);
    tcase_add_test(with_rsa, every_failing_call_is_reported_and_leaves_nothing);
    tcase_add_test(with_rsa, every_failing_allocation_is_reported_and_leaves_nothing);
    suite_add_tcase(suite, plain);
    suite_add_tcase(suite, with_rsa);
    r = run_suite(suite);
    EVP_PKEY_free(rsa_key);
    return r;
}
