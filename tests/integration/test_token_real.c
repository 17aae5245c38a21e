/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pkcs11/ against a real token, in a folder of its own. What the token makes is checked by
 * libcrypto, through calls of this file's own.
 */
#include "pkcs11/anchor.h"
#include "tests/integration/token_checks.h"
#include "tests/support/token_kind.h"
#include "tests/unit/check_main.h"

#include <ftw.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <p11-kit/p11-kit.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define USER_PIN "correct horse"

static const struct token_kind *kind;
static char folder[32];
static struct mm_token_open how;
static struct mm_errinfo ei;

#define ck_ok(call) ck_assert_msg((call) == MM_OK, "%s: %s", #call, ei.text)

/* A cheap proof of life. */
static int draw(struct mm_token *t)
{
    uint8_t byte;

    return mm_token_random(t, &byte, 1, &ei);
}

static struct mm_secret *secret(const char *text)
{
    struct mm_secret *s;

    ck_assert_int_eq(mm_secret_new(strlen(text), &s), MM_OK);
    memcpy(mm_secret_data(s), text, strlen(text));
    return s;
}

static void make_token_folder(void)
{
    token_kind_drop_root(kind);
    snprintf(folder, sizeof(folder), "/tmp/mm-token-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    token_kind_prepare(kind, folder, "factory", &how);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void remove_token_folder(void)
{
    nftw(folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static void initialise(const char *label)
{
    MM_SECRET_CLEANUP struct mm_secret *so = secret("so pin 1");
    MM_SECRET_CLEANUP struct mm_secret *user = secret(USER_PIN);
    const char *uri = how.uri;

    how.uri = NULL;
    ck_ok(mm_token_initialise(&how, label, so, user, &ei));
    how.uri = uri;
}

static struct mm_token *open_and_login(void)
{
    struct mm_secret *pin = secret(USER_PIN);
    struct mm_token *t;

    ck_ok(mm_token_open(&how, &t, &ei));
    ck_ok(mm_token_login(t, &pin, &ei));
    ck_assert_ptr_null(pin);
    return t;
}

static void setup(void)
{
    make_token_folder();
    initialise("factory");
}

static void export_and_open(struct mm_token *t, mm_handle transport, EVP_PKEY *recipient,
                            enum mm_curve curve, uint8_t key[32])
{
    MM_BUF_CLEANUP struct mm_buf text = MM_BUF_INIT(8192);
    struct export e = {0};
    uint8_t value[8], digest[32];
    unsigned char *spki = NULL;
    const int len = i2d_PUBKEY(recipient, &spki);

    ck_ok(mm_token_export_transport(t, transport, "line-a", (struct mm_bytes){spki, (size_t)len},
                                    &text, &ei));
    parse_export(&text, &e);
    SHA256(spki, (size_t)len, digest);
    ck_assert_mem_eq(digest, e.recipient, 32);
    if (EVP_PKEY_is_a(recipient, "RSA"))
        open_rsa(recipient, &e, key);
    else
        open_ec(recipient, curve, &e, key);
    check_value_of(key, value);
    ck_assert_mem_eq(value, e.check_value, 8);
    ck_ok(mm_token_check_value(t, transport, value, &ei));
    ck_assert_mem_eq(value, e.check_value, 8);
    OPENSSL_free(spki);
}

/* ---- tests ------------------------------------------------------------------------------- */

START_TEST(initialise_refuses_a_used_label)
{
    MM_SECRET_CLEANUP struct mm_secret *so = secret("so pin 1");
    MM_SECRET_CLEANUP struct mm_secret *user = secret(USER_PIN);
    MM_SECRET_CLEANUP struct mm_secret *tiny = secret("1");
    struct mm_token_open any = how;

    any.uri = NULL;
    ck_assert_int_eq(mm_token_initialise(&any, "factory", so, user, &ei), MM_ERR_EXISTS);
    ck_assert_int_eq(mm_token_initialise(&how, "second", so, user, &ei), MM_ERR_EXISTS);
    if (kind->one_token)
        return;
    ck_assert_int_eq(mm_token_initialise(&any, "second", so, tiny, &ei), MM_ERR_INVALID);
    ck_assert_str_eq(ei.reason, "TOKEN_PIN_LENGTH");
    ck_ok(mm_token_initialise(&any, "second", so, user, &ei));
    char uri[64];

    snprintf(uri, sizeof(uri), "pkcs11:manufacturer=%s", kind->manufacturer);
    any.uri = uri;
    struct mm_token *t;
    ck_assert_int_eq(mm_token_open(&any, &t, &ei), MM_ERR_EXISTS);
    ck_assert_str_eq(ei.reason, "TOKEN_AMBIGUOUS");
}
END_TEST

START_TEST(a_label_that_the_parameters_do_not_give_is_refused)
{
    MM_SECRET_CLEANUP struct mm_secret *so = secret("so pin 1");
    MM_SECRET_CLEANUP struct mm_secret *user = secret(USER_PIN);
    struct mm_token_open any;
    struct mm_token *t;

    if (!kind->one_token)
        return;
    make_token_folder();
    any = how;
    any.uri = NULL;
    ck_assert_int_eq(mm_token_initialise(&any, "other", so, user, &ei), MM_ERR_INVALID);
    ck_assert_str_eq(ei.reason, "TOKEN_LABEL_FIXED");
    ck_assert_int_eq(mm_token_open(&how, &t, &ei), MM_ERR_NOT_FOUND);
    ck_ok(mm_token_initialise(&any, "factory", so, user, &ei));
    remove_token_folder();
}
END_TEST

START_TEST(wrong_pin_is_refused_and_the_right_one_still_works)
{
    struct mm_secret *pin = secret("wrong");
    struct mm_token *t;

    ck_ok(mm_token_open(&how, &t, &ei));
    ck_assert_int_eq(mm_token_login(t, &pin, &ei), MM_ERR_PIN);
    ck_assert_ptr_null(pin);
    ck_assert_int_eq(mm_token_error_class(ei.detail), MM_TOKEN_PIN);
    pin = secret(USER_PIN);
    ck_ok(mm_token_login(t, &pin, &ei));
    ck_ok(draw(t));
    mm_token_free(t);
}
END_TEST

struct lines {
    size_t passed, failed;
};

static void count_line(void *arg, const struct mm_selftest_line *line)
{
    struct lines *lines = arg;

    lines->passed += line->passed;
    lines->failed += line->supported && !line->passed;
    if (!line->supported)
        ck_assert_ptr_nonnull(strstr(line->note, "the token lacks "));
    else if (!line->passed)
        printf("selftest: %s: %s\n", line->operation, line->note);
}

START_TEST(selftest_passes_every_line)
{
    struct mm_token *t = open_and_login();
    struct lines lines = {0};

    ck_assert_uint_eq(mm_token_mechanisms(t)->aes_kwp, kind->kwp);
    ck_ok(mm_token_selftest(t, 0, count_line, &lines, &ei));
    ck_assert_uint_ge(lines.passed, kind->selftest_lines);
    ck_assert_uint_eq(lines.failed, 0);
    mm_token_free(t);
}
END_TEST

START_TEST(ca_keys_sign_and_keep_to_the_policy)
{
    static const enum mm_curve curves[] = {MM_CURVE_P256, MM_CURVE_P384};
    struct mm_token *t = open_and_login();

    for (size_t i = 0; i < 2; i++) {
        const char *label = i == 0 ? "paa" : "pai";
        char uri[32];
        mm_handle made, key;
        enum mm_curve curve;
        uint8_t point[MM_POINT_MAX], digest[48], signature[MM_SIGNATURE_MAX];
        size_t point_len, signature_len;
        EVP_PKEY *pkey;

        ck_ok(mm_token_create_ca_key(t, label, curves[i], &made, &ei));
        ck_assert_int_eq(mm_token_create_ca_key(t, label, curves[i], &made, &ei), MM_ERR_EXISTS);
        snprintf(uri, sizeof(uri), "pkcs11:object=%s", label);
        ck_ok(mm_token_find(t, uri, MM_KEY_PRIVATE, &key, &ei));
        ck_ok(mm_token_check_policy(t, key, MM_USE_CA, &ei));
        ck_assert_int_eq(mm_token_check_policy(t, key, MM_USE_TRANSPORT, &ei), MM_ERR_CORRUPT);
        ck_ok(mm_token_public_point(t, key, &curve, point, &point_len, &ei));
        ck_assert_int_eq(curve, curves[i]);
        pkey = public_key(curve, point, point_len);
        ck_ok(mm_token_random(t, digest, sizeof(digest), &ei));
        ck_ok(mm_token_sign(t, key, digest, curve == MM_CURVE_P256 ? 32 : 48, signature,
                            &signature_len, &ei));
        assert_signature(pkey, digest, curve == MM_CURVE_P256 ? 32 : 48, signature, signature_len);
        EVP_PKEY_free(pkey);
    }
    mm_token_free(t);
}
END_TEST

START_TEST(transport_key_opens_for_rsa_and_ec_and_unwraps_device_keys)
{
    struct mm_token *t = open_and_login();
    EVP_PKEY *recipients[] = {EVP_RSA_gen(2048), EVP_EC_gen("P-256"), EVP_EC_gen("P-384")};
    uint8_t keys[3][48], wrapped[MM_WRAPPED_KEY_MAX], pkcs8[MM_WRAPPED_KEY_MAX], point[97];
    const unsigned char *p = pkcs8;
    PKCS8_PRIV_KEY_INFO *info;
    struct mm_keypair pair;
    mm_handle transport;
    size_t len, point_len;
    EVP_PKEY *key;

    ck_ok(mm_token_create_transport_key(t, "line-a", &transport, &ei));
    for (size_t i = 0; i < 3; i++) {
        export_and_open(t, transport, recipients[i], i == 2 ? MM_CURVE_P384 : MM_CURVE_P256,
                        keys[i]);
        ck_assert_mem_eq(keys[i], keys[0], 32);
        EVP_PKEY_free(recipients[i]);
    }
    ck_ok(mm_token_generate(t, MM_CURVE_P256, MM_DEVICE_WRAPPED, NULL, &pair, &ei));
    ck_ok(mm_token_wrap(t, transport, pair.private_key, wrapped, &len, &ei));
    len = kwp(false, keys[0], wrapped, len, pkcs8);
    info = d2i_PKCS8_PRIV_KEY_INFO(NULL, &p, (long)len);
    ck_assert_ptr_nonnull(info);
    key = EVP_PKCS82PKEY(info);
    ck_assert_ptr_nonnull(key);
    ck_assert_int_eq(EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, point,
                                                     sizeof(point), &point_len),
                     1);
    ck_assert_uint_eq(point_len, pair.point_len);
    ck_assert_mem_eq(point, pair.point, point_len);
    PKCS8_PRIV_KEY_INFO_free(info);
    EVP_PKEY_free(key);
    mm_token_destroy(t, &pair);
    mm_token_free(t);
}
END_TEST

START_TEST(export_refuses_weak_and_strange_recipients)
{
    struct mm_token *t = open_and_login();
    EVP_PKEY *weak[] = {EVP_RSA_gen(1024), EVP_EC_gen("P-521"),
                        EVP_PKEY_Q_keygen(NULL, NULL, "ED25519")};
    MM_BUF_CLEANUP struct mm_buf text = MM_BUF_INIT(8192);
    mm_handle transport, ca;

    ck_ok(mm_token_create_transport_key(t, "line-a", &transport, &ei));
    ck_ok(mm_token_create_ca_key(t, "ca", MM_CURVE_P256, &ca, &ei));
    for (size_t i = 0; i < MM_ARRAY_SIZE(weak); i++) {
        unsigned char *spki = NULL;
        const int len = i2d_PUBKEY(weak[i], &spki);

        ck_assert_int_eq(mm_token_export_transport(t, transport, "line-a",
                                                   (struct mm_bytes){spki, (size_t)len}, &text,
                                                   &ei),
                         MM_ERR_INVALID);
        ck_assert_str_eq(ei.reason, "RECIPIENT_KEY");
        ck_assert_int_eq(mm_token_export_transport(t, transport, "line-a",
                                                   (struct mm_bytes){spki, (size_t)len - 1}, &text,
                                                   &ei),
                         MM_ERR_INVALID);
        OPENSSL_free(spki);
        EVP_PKEY_free(weak[i]);
    }
    EVP_PKEY *good = EVP_EC_gen("P-256");
    unsigned char *spki = NULL;
    const int len = i2d_PUBKEY(good, &spki);

    ck_assert_int_eq(mm_token_export_transport(t, ca, "line-a",
                                               (struct mm_bytes){spki, (size_t)len}, &text, &ei),
                     MM_ERR_CORRUPT);
    ck_assert_uint_eq(text.len, 0);
    OPENSSL_free(spki);
    EVP_PKEY_free(good);
    mm_token_free(t);
}
END_TEST

START_TEST(plain_and_retained_keys_are_what_they_say)
{
    struct mm_token *t = open_and_login();
    MM_SECRET_CLEANUP struct mm_secret *scalar = NULL;
    static const char uid[] = "01934b5c-0000-7abc-8def-0123456789ab";
    struct mm_keypair pair;
    struct mm_key_info info;
    mm_handle found;

    ck_ok(mm_token_generate(t, MM_CURVE_P384, MM_DEVICE_PLAIN, NULL, &pair, &ei));
    ck_ok(mm_token_read_private(t, &pair, &scalar, &ei));
    ck_assert_uint_eq(mm_secret_len(scalar), 48);
    mm_token_destroy(t, &pair);
    ck_ok(mm_token_generate(t, MM_CURVE_P256, MM_DEVICE_WRAPPED, NULL, &pair, &ei));
    mm_secret_free(MM_TAKE(scalar));
    ck_assert_int_eq(mm_token_read_private(t, &pair, &scalar, &ei), MM_ERR_PRECONDITION);
    mm_token_destroy(t, &pair);

    ck_assert_int_eq(mm_token_generate(t, MM_CURVE_P256, MM_DEVICE_RETAINED, "no uid", &pair, &ei),
                     MM_ERR_INVALID);
    ck_ok(mm_token_generate(t, MM_CURVE_P256, MM_DEVICE_RETAINED, uid, &pair, &ei));
    ck_ok(mm_token_find(t, "pkcs11:object=01934b5c-0000-7abc-8def-0123456789ab;type=private",
                        MM_KEY_PRIVATE, &found, &ei));
    ck_ok(mm_token_key_info(t, found, &info, &ei));
    ck_assert_str_eq(info.type, "EC P-256");
    ck_assert(info.sensitive && info.never_extractable && info.sign);
    ck_assert_int_eq(info.local, !kind->no_local);
    ck_assert(!info.extractable && !info.wrap);
    ck_assert_uint_eq(info.id_len, 16);
    ck_assert_mem_eq(info.id, pair.id, 16);
    mm_token_free(t);
}
END_TEST

/* ---- nothing is left behind -------------------------------------------------------------- */

static int count_key(void *arg, const struct mm_key_info *key)
{
    (void)key;
    ++*(size_t *)arg;
    return 0;
}

/* Objects of the process's session, which mm_token_list does not show: asked of the module. */
static size_t count_session_objects(void)
{
    CK_FUNCTION_LIST *ck = p11_kit_module_load(kind->library, 0);
    CK_OBJECT_HANDLE found[64];
    CK_SESSION_HANDLE session;
    CK_BBOOL no = CK_FALSE;
    CK_ATTRIBUTE template = {CKA_TOKEN, &no, sizeof(no)};
    CK_SLOT_ID slots[4];
    CK_ULONG n = 4, total = 0;

    ck_assert_ptr_nonnull(ck);
    ck_assert_uint_eq(p11_kit_module_initialize(ck), CKR_OK);
    ck_assert_uint_eq(ck->C_GetSlotList(CK_TRUE, slots, &n), CKR_OK);
    for (CK_ULONG i = 0; i < n; i++) {
        CK_TOKEN_INFO info;
        CK_ULONG got = 0;

        ck_assert_uint_eq(ck->C_GetTokenInfo(slots[i], &info), CKR_OK);
        if (!(info.flags & CKF_TOKEN_INITIALIZED))
            continue;
        ck_assert_uint_eq(ck->C_OpenSession(slots[i], CKF_SERIAL_SESSION, NULL, NULL, &session),
                          CKR_OK);
        ck_assert_uint_eq(ck->C_FindObjectsInit(session, &template, 1), CKR_OK);
        ck_assert_uint_eq(ck->C_FindObjects(session, found, 64, &got), CKR_OK);
        ck_assert_uint_eq(ck->C_FindObjectsFinal(session), CKR_OK);
        ck_assert_uint_eq(ck->C_CloseSession(session), CKR_OK);
        total += got;
    }
    p11_kit_module_finalize(ck);
    p11_kit_module_release(ck);
    return total;
}

START_TEST(anchors_are_kept_and_are_no_keys)
{
    struct mm_token *t = open_and_login();
    uint8_t value[MM_ANCHOR_MAX];
    struct mm_anchor anchor;
    size_t keys = 0;

    ck_assert_int_eq(mm_anchor_read(t, &anchor, &ei), MM_ERR_NOT_FOUND);
    for (size_t i = 0; i < 5; i++) {
        memset(value, (int)i, sizeof(value));
        ck_ok(mm_anchor_write(t, value, i == 4 ? sizeof(value) : 100 + i, &ei));
        ck_ok(mm_token_reopen(t, &ei));
        ck_ok(mm_anchor_read(t, &anchor, &ei));
        ck_assert_uint_eq(anchor.len, i == 4 ? sizeof(value) : 100 + i);
        ck_assert_mem_eq(anchor.value, value, anchor.len);
    }
    ck_ok(mm_token_list(t, count_key, &keys, &ei));
    ck_assert_uint_eq(keys, 0);
    mm_token_free(t);
}
END_TEST

START_TEST(devices_leave_no_object_behind)
{
    struct mm_token *t = open_and_login();
    uint8_t digest[32] = {1}, signature[MM_SIGNATURE_MAX], wrapped[MM_WRAPPED_KEY_MAX];
    size_t keys = 0, len;
    struct mm_keypair pair;
    mm_handle ca, transport;

    ck_ok(mm_token_create_ca_key(t, "ca", MM_CURVE_P256, &ca, &ei));
    ck_ok(mm_token_create_transport_key(t, "kek", &transport, &ei));
    ck_assert_uint_eq(count_session_objects(), 0);
    mm_token_meter(t, true);
    for (int i = 0; i < (kind->renewed ? 1000 : 100); i++) {
        ck_ok(mm_token_generate(t, MM_CURVE_P256, MM_DEVICE_WRAPPED, NULL, &pair, &ei));
        ck_ok(mm_token_sign(t, ca, digest, sizeof(digest), signature, &len, &ei));
        ck_ok(mm_token_wrap(t, transport, pair.private_key, wrapped, &len, &ei));
        mm_token_destroy(t, &pair);
    }
    mm_token_meter(t, false);
    ck_assert_uint_gt(mm_token_meter_take_us(t), 1000);
    ck_assert_uint_eq(mm_token_meter_take_us(t), 0);
    ck_assert_uint_eq(count_session_objects(), 0);
    ck_ok(mm_token_list(t, count_key, &keys, &ei));
    ck_assert_uint_eq(keys, 2);
    mm_token_free(t);
}
END_TEST

#ifdef __SANITIZE_ADDRESS__
enum { FREED_MEMORY_IS_KEPT = 1 }; /* in quarantine, for a while */
#else
enum { FREED_MEMORY_IS_KEPT = 0 };
#endif

/* Anonymous resident memory, in kB. */
static long resident_kb(void)
{
    FILE *f = fopen("/proc/self/status", "r");
    char line[256];
    long kb = -1;

    ck_assert_ptr_nonnull(f);
    while (fgets(line, sizeof(line), f)) {
        if (strncmp(line, "RssAnon:", 8) == 0)
            kb = strtol(line + 8, NULL, 10);
    }
    fclose(f);
    return kb;
}

/* Without renewal these key pairs cost 4.6 MB with SoftHSM 2.6.1. */
START_TEST(renewal_gives_memory_back_and_keeps_the_keys)
{
    struct mm_token *t = open_and_login();
    struct mm_keypair pair;
    unsigned renewals = 0;
    mm_handle ca;
    long before = 0;

    ck_ok(mm_token_create_ca_key(t, "ca", MM_CURVE_P256, &ca, &ei));
    for (int i = 0; i < (kind->renewed ? 10240 : 128); i++) {
        if (i == (kind->renewed ? 2048 : 0))
            before = resident_kb();
        if (mm_token_wants_renewal(t)) {
            ck_ok(mm_token_renew(t, &ei));
            ck_ok(mm_token_find(t, "pkcs11:object=ca", MM_KEY_PRIVATE, &ca, &ei));
            renewals++;
        }
        ck_ok(mm_token_generate(t, MM_CURVE_P256, MM_DEVICE_WRAPPED, NULL, &pair, &ei));
        mm_token_destroy(t, &pair);
    }
    ck_assert_uint_eq(renewals, kind->renewed ? 4 : 0);
    if (!FREED_MEMORY_IS_KEPT)
        ck_assert_int_lt(resident_kb() - before, 2048);
    ck_ok(mm_token_check_policy(t, ca, MM_USE_CA, &ei));
    mm_token_free(t);
}
END_TEST

START_TEST(reopen_logs_in_again_and_finds_the_keys)
{
    struct mm_token *t = open_and_login();
    mm_handle ca;

    ck_ok(mm_token_create_ca_key(t, "ca", MM_CURVE_P256, &ca, &ei));
    ck_ok(mm_token_reopen(t, &ei));
    ck_ok(draw(t));
    ck_ok(mm_token_find(t, "pkcs11:token=factory;object=ca", MM_KEY_PRIVATE, &ca, &ei));
    ck_ok(mm_token_check_policy(t, ca, MM_USE_CA, &ei));
    mm_token_free(t);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("token_real");
    const char *missing = NULL;
    TCase *tc;

    kind = token_kind(&missing);
    if (!kind) {
        printf("SKIPPED: no %s\n", missing);
        return 77;
    }
    tc = tcase_create(kind->name);
    tcase_add_checked_fixture(tc, setup, remove_token_folder);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, initialise_refuses_a_used_label);
    tcase_add_test(tc, a_label_that_the_parameters_do_not_give_is_refused);
    tcase_add_test(tc, anchors_are_kept_and_are_no_keys);
    tcase_add_test(tc, wrong_pin_is_refused_and_the_right_one_still_works);
    tcase_add_test(tc, selftest_passes_every_line);
    tcase_add_test(tc, ca_keys_sign_and_keep_to_the_policy);
    tcase_add_test(tc, transport_key_opens_for_rsa_and_ec_and_unwraps_device_keys);
    tcase_add_test(tc, export_refuses_weak_and_strange_recipients);
    tcase_add_test(tc, plain_and_retained_keys_are_what_they_say);
    tcase_add_test(tc, devices_leave_no_object_behind);
    tcase_add_test(tc, renewal_gives_memory_back_and_keeps_the_keys);
    tcase_add_test(tc, reopen_logs_in_again_and_finds_the_keys);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
