/* SPDX-License-Identifier: Apache-2.0 */
/* Ed25519 keys on the mock token: device keys, CA keys and signing keys, with tokens that lack the
 * mechanisms, call the curve otherwise, do not wrap, or make false signatures and points. */
#include "daemon/base/ed25519.h"
#include "daemon/token/mint.h"
#include "daemon/token/signing.h"
#include "daemon/token/trust.h"
#include "mintmark/v1/types.pb-c.h"
#include "tests/unit/mint_fixture.h"

#include <openssl/evp.h>

enum { COUNT = 3 };

static struct mm_signed made;

static void start(const char *rules)
{
    drop_minter();
    mock_rules(rules);
    open_minter();
}

static void use_ed25519(void)
{
    edit("profile 'csr' {", "profile 'csr' { key = 'ed25519'");
    parse();
}

static int mint(void)
{
    return mint_some("csr", COUNT, 0);
}

/* ---- points ------------------------------------------------------------------------------ */

/* y of a point of order 8; that of the other two is its negative. */
static const uint8_t order_8[32] = {
    0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0,
    0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05};
static const uint8_t base_point[32] = {
    0x58, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66,
    0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66};

/* p - y, little-endian. */
static void negate(const uint8_t y[32], uint8_t out[32])
{
    int borrow = 0;

    for (size_t i = 0; i < 32; i++) {
        const int p = i == 0 ? 0xed : i == 31 ? 0x7f : 0xff;
        const int digit = p - y[i] - borrow;

        borrow = digit < 0;
        out[i] = (uint8_t)(digit + 256 * borrow);
    }
}

static void refuse_both_signs(const uint8_t y[32], const char *part_of_text)
{
    uint8_t point[32];

    memcpy(point, y, 32);
    for (int sign = 0; sign < 2; sign++) {
        const char *why = mm_ed25519_degenerate(point);

        ck_assert_msg(why && strstr(why, part_of_text), "%d %02x: %s", sign, y[0], why);
        point[31] ^= 0x80;
    }
}

START_TEST(degenerate_points_of_small_order)
{
    const uint8_t zero[32] = {0}, one[32] = {1};
    uint8_t negative[32];

    refuse_both_signs(zero, "small order");
    refuse_both_signs(one, "small order");
    refuse_both_signs(order_8, "small order");
    negate(one, negative);
    refuse_both_signs(negative, "small order");
    negate(order_8, negative);
    refuse_both_signs(negative, "small order");
}
END_TEST

START_TEST(degenerate_encodings_beyond_the_prime)
{
    uint8_t y[32];

    for (int i = 0xed; i <= 0xff; i++) {
        memset(y, 0xff, sizeof(y));
        y[0] = (uint8_t)i;
        y[31] = 0x7f;
        refuse_both_signs(y, "not encoded");
    }
    y[0] = 0xeb; /* p - 2 */
    ck_assert_ptr_null(mm_ed25519_degenerate(y));
    for (size_t i = 1; i < sizeof(y); i++) { /* one byte less anywhere, and it is below the prime */
        memset(y, 0xff, sizeof(y));
        y[31] = 0x7f;
        y[i]--;
        ck_assert_ptr_null(mm_ed25519_degenerate(y));
    }
}
END_TEST

START_TEST(degenerate_are_no_honest_keys)
{
    ck_assert_ptr_null(mm_ed25519_degenerate(base_point));
    for (int i = 0; i < 100; i++) {
        EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
        uint8_t point[32];
        size_t len = sizeof(point);

        ck_assert_int_eq(EVP_PKEY_get_raw_public_key(key, point, &len), 1);
        ck_assert_ptr_null(mm_ed25519_degenerate(point));
        EVP_PKEY_free(key);
    }
}
END_TEST

/* ---- device keys ------------------------------------------------------------------------- */

START_TEST(open_without_the_mechanism_is_refused)
{
    use_ed25519();
    refuse(MM_ERR_UNSUPPORTED, "makes no Ed25519 keys (CKM_EC_EDWARDS_KEY_PAIR_GEN, CKM_EDDSA)");
    mock_rules("edwards=oid;nomech:0x1057");
    refuse(MM_ERR_UNSUPPORTED, "makes no Ed25519 keys");
}
END_TEST

/* One key is tried when the worker starts; 0x69: CKR_KEY_NOT_WRAPPABLE. */
START_TEST(open_on_a_token_that_does_not_wrap_them_is_refused)
{
    unsigned long wraps;
    char rules[64];

    start("edwards=oid");
    wraps = mock_calls("C_WrapKey"); /* for mechanisms and check values; that key comes last */
    use_ed25519();
    start("edwards=oid");
    ck_assert_uint_eq(mock_calls("C_WrapKey"), wraps + 1);
    snprintf(rules, sizeof(rules), "edwards=oid;C_WrapKey:%lu=0x69", wraps + 1);
    mock_rules(rules);
    refuse(MM_ERR_UNSUPPORTED, "does not wrap Ed25519 keys; choose another delivery");
}
END_TEST

START_TEST(mint_requests_are_signed_by_their_keys)
{
    const Mintmark__Internal__MintResult *m;

    use_ed25519();
    start(_i ? "edwards=name" : "edwards=oid;point=bare");
    ck_ok(mint());
    m = mm_chunk_message(chunk);
    ck_assert_uint_eq(m->n_devices, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        const ProtobufCBinaryData *packed = &m->devices[i]->bundle;
        Mintmark__V1__Bundle *b = mintmark__v1__bundle__unpack(NULL, packed->len, packed->data);
        const unsigned char *at = b->csr.data;
        X509_REQ *request = d2i_X509_REQ(NULL, &at, (long)b->csr.len);

        ck_assert_int_eq(EVP_PKEY_get_id(X509_REQ_get0_pubkey(request)), EVP_PKEY_ED25519);
        ck_assert_int_eq(X509_REQ_verify(request, X509_REQ_get0_pubkey(request)), 1);
        X509_REQ_free(request);
        mintmark__v1__bundle__free_unpacked(b, NULL);
    }
    ck_assert_uint_eq(mock_session_objects(), 0);
}
END_TEST

START_TEST(mint_false_signatures_and_points_are_kept_back)
{
    static const struct {
        const char *rules, *reason;
    } cases[] = {{"edwards=oid;bad=signature", "TOKEN_SIGNATURE_INVALID"},
                 {"edwards=oid;short=signature", "TOKEN_SIGNATURE_INVALID"},
                 {"edwards=oid;point=off", "TOKEN_POINT_INVALID"},
                 {"edwards=oid;point=short", "TOKEN_POINT_INVALID"},
                 {"edwards=oid;point=small", "TOKEN_POINT_INVALID"}};

    use_ed25519();
    start("edwards=oid");
    ck_ok(mm_trust_prove(minter, &ei));
    mock_rules(cases[_i].rules);
    ck_err(mint(), MM_ERR_CORRUPT);
    ck_assert_str_eq(ei.reason, cases[_i].reason);
    ck_assert(mm_trust_is_lost(&ei));
    ck_assert_uint_eq(mock_session_objects(), 0);
    ck_err(mm_trust_prove(minter, &ei), MM_ERR_CORRUPT);
    ck_assert(mm_trust_is_lost(&ei));
    ck_assert_uint_eq(mock_session_objects(), 0);
}
END_TEST

/* ---- signing keys ------------------------------------------------------------------------ */

/* A section for an Ed25519 key. */
static EVP_PKEY *start_signing(const char *rules)
{
    struct mm_token_open opening = {.module = MM_MOCK_MODULE,
                                    .uri = "pkcs11:token=mock;serial=0001",
                                    .environment = environment,
                                    .n_environment = 1};
    struct mm_secret *pin = secret(MOCK_PIN);
    uint8_t point[MM_POINT_MAX];
    enum mm_curve curve;
    struct mm_token *t;
    size_t len;
    mm_handle key;

    mock_rules(rules);
    ck_ok(mm_token_open(&opening, &t, &ei));
    ck_ok(mm_token_login(t, &pin, &ei));
    ck_ok(mm_token_create_signing_key(t, "ed", MM_CURVE_ED25519, &key, &ei));
    ck_ok(mm_token_public_point(t, key, &curve, point, &len, &ei));
    ck_assert_int_eq(curve, MM_CURVE_ED25519);
    mm_token_free(t);
    mm_buf_append_str(&text, "client 'c' { uri = 'urn:c' roles = {'station'} }\n"
                             "signing 'ed' { token = 't' key = 'pkcs11:object=ed' clients = {'c'}\n"
                             "    curve = 'ed25519' mechanisms = {'Ed25519'} }\n");
    parse();
    start(rules);
    return EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, point, len);
}

static int sign(const char *mechanism, struct mm_bytes digest, struct mm_bytes message)
{
    Mintmark__Internal__SignJob job;

    mintmark__internal__sign_job__init(&job);
    job.signing_profile = (char *)(uintptr_t) "ed";
    job.mechanism = (char *)(uintptr_t)mechanism;
    job.key = conf->signings[0].key;
    job.digest = (ProtobufCBinaryData){digest.len, (uint8_t *)(uintptr_t)digest.data};
    job.message = (ProtobufCBinaryData){message.len, (uint8_t *)(uintptr_t)message.data};
    memset(&made, 0, sizeof(made));
    ei = (struct mm_errinfo){0};
    return mm_sign(minter, &job, 0, &made, &ei);
}

START_TEST(sign_takes_messages_and_no_digests)
{
    static const uint8_t data[64] = {1, 2, 3};
    const struct mm_bytes none = {NULL, 0}, message = {data, sizeof(data)};
    EVP_PKEY *key = start_signing("edwards=oid");
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();

    ck_ok(sign("Ed25519", none, message));
    ck_assert_uint_eq(made.signature_len, 64);
    ck_assert_uint_eq(made.digest_len, 64);
    ck_assert_int_eq(EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, key), 1);
    ck_assert_int_eq(EVP_DigestVerify(ctx, made.signature, 64, data, sizeof(data)), 1);
    ck_err(sign("Ed25519", message, none), MM_ERR_INVALID);
    ck_err(sign("ECDSA-SHA256", none, message), MM_ERR_PERMISSION);
    mock_rules("edwards=oid;bad=signature");
    ck_err(sign("Ed25519", none, message), MM_ERR_CORRUPT);
    ck_assert_str_eq(ei.reason, "TOKEN_SIGNATURE_INVALID");
    ck_assert_uint_eq(made.signature_len, 0);
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(key);
}
END_TEST

START_TEST(open_signing_key_of_another_curve_is_refused)
{
    EVP_PKEY_free(start_signing("edwards=name"));
    edit("curve = 'ed25519' mechanisms = {'Ed25519'}", "mechanisms = {'ECDSA'}");
    parse();
    refuse(MM_ERR_INVALID, "the key in the token is not on the curve p256");
}
END_TEST

/* ---- the officer's keys ------------------------------------------------------------------ */

static int compare(void *arg, const struct mm_policy_line *line)
{
    bool *seen = arg;

    ck_assert_int_ne(line->verdict, MM_POLICY_BROKEN);
    if (strcmp(line->attribute, "CKA_ALLOWED_MECHANISMS") == 0) {
        ck_assert_str_eq(line->actual, "CKM_EDDSA alone");
        *seen = true;
    }
    return MM_OK;
}

START_TEST(create_ca_key_keeps_the_policy)
{
    struct mm_token *t;
    struct mm_key_info info;
    bool seen = false;
    mm_handle key;

    mock_rules(_i ? "edwards=name" : "edwards=oid");
    t = open_and_login();
    ck_ok(mm_token_create_ca_key(t, "ed", MM_CURVE_ED25519, &key, &ei));
    ck_ok(mm_token_check_policy(t, key, MM_USE_CA, &ei));
    ck_err(mm_token_check_policy(t, key, MM_USE_CA_BACKUP, &ei), MM_ERR_CORRUPT);
    ck_ok(mm_token_audit_key(t, key, MM_USE_CA, compare, &seen, &ei));
    ck_assert(seen);
    ck_ok(mm_token_key_info(t, key, &info, &ei));
    ck_assert_str_eq(info.type, "Ed25519");
    mm_token_free(t);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ed25519");
    TCase *t = tcase_create("minter"), *o = tcase_create("officer"), *p = tcase_create("points");

    tcase_add_test(p, degenerate_points_of_small_order);
    tcase_add_test(p, degenerate_encodings_beyond_the_prime);
    tcase_add_test(p, degenerate_are_no_honest_keys);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, open_without_the_mechanism_is_refused);
    tcase_add_test(t, open_on_a_token_that_does_not_wrap_them_is_refused);
    tcase_add_loop_test(t, mint_requests_are_signed_by_their_keys, 0, 2);
    tcase_add_loop_test(t, mint_false_signatures_and_points_are_kept_back, 0, 5);
    tcase_add_test(t, sign_takes_messages_and_no_digests);
    tcase_add_test(t, open_signing_key_of_another_curve_is_refused);
    tcase_add_checked_fixture(o, fresh_mock, NULL);
    tcase_add_loop_test(o, create_ca_key_keeps_the_policy, 0, 2);
    suite_add_tcase(suite, p);
    suite_add_tcase(suite, t);
    suite_add_tcase(suite, o);
    return run_suite(suite);
}
