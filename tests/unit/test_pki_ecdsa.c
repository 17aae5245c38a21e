/* SPDX-License-Identifier: Apache-2.0 */
/* Many signatures checked at once, held against libcrypto's own signatures. */
#include "check_main.h"
#include "daemon/pki/ecdsa.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/obj_mac.h>
#include <string.h>

enum { N = MM_CHECKS_MAX };

struct signer {
    EVP_PKEY *key;
    uint8_t point[97];
    size_t point_len;
    struct mm_verifier *verifier;
};

struct batch {
    uint8_t digests[N][48], signatures[N][96];
    struct mm_check list[N];
};

static struct mm_checks *checks;

static struct signer make_signer(const char *group)
{
    struct signer s = {.key = EVP_EC_gen(group)};
    struct mm_errinfo ei;

    ck_assert_int_eq(EVP_PKEY_get_octet_string_param(s.key, OSSL_PKEY_PARAM_PUB_KEY, s.point,
                                                     sizeof(s.point), &s.point_len),
                     1);
    ck_assert_int_eq(mm_verifier_new(s.point, s.point_len, &s.verifier, &ei), MM_OK);
    return s;
}

static void free_signer(struct signer *s)
{
    mm_verifier_free(s->verifier);
    EVP_PKEY_free(s->key);
}

/* Entry i, signed by s over a digest of its own; alone: the check gets the point only. */
static void fill(struct batch *b, size_t i, const struct signer *s, uint32_t number, bool alone)
{
    const int half = EVP_PKEY_get_bits(s->key) / 8;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(s->key, NULL);
    uint8_t der[160];
    const uint8_t *at = der;
    size_t len = sizeof(der);
    ECDSA_SIG *sig;

    ck_assert_int_eq(EVP_Q_digest(NULL, half == 32 ? "SHA256" : "SHA384", NULL, &number,
                                  sizeof(number), b->digests[i], NULL),
                     1);
    ck_assert_int_eq(EVP_PKEY_sign_init(ctx), 1);
    ck_assert_int_eq(EVP_PKEY_sign(ctx, der, &len, b->digests[i], (size_t)half), 1);
    sig = d2i_ECDSA_SIG(NULL, &at, (long)len);
    BN_bn2binpad(ECDSA_SIG_get0_r(sig), b->signatures[i], half);
    BN_bn2binpad(ECDSA_SIG_get0_s(sig), b->signatures[i] + half, half);
    ECDSA_SIG_free(sig);
    EVP_PKEY_CTX_free(ctx);
    b->list[i] = (struct mm_check){
        .key = alone ? NULL : s->verifier,
        .point = {s->point, s->point_len},
        .digest = {b->digests[i], (size_t)half},
        .signature = {b->signatures[i], 2 * (size_t)half},
    };
}

static void expect_good(struct batch *b, size_t n)
{
    struct mm_errinfo ei = {0};
    size_t bad = 99;

    ck_assert_msg(mm_checks_run(checks, b->list, n, &bad, &ei) == MM_OK, "%zu: %s", bad, ei.text);
}

static void expect_bad(struct batch *b, size_t n, size_t which)
{
    struct mm_errinfo ei = {0};
    size_t bad = 99;

    ck_assert_int_eq(mm_checks_run(checks, b->list, n, &bad, &ei), MM_ERR_CORRUPT);
    ck_assert_uint_eq(bad, which);
    ck_assert_str_eq(ei.reason, "SIGNATURE_INVALID");
}

static void setup(void)
{
    struct mm_errinfo ei;

    ck_assert_int_eq(mm_checks_new(&checks, &ei), MM_OK);
}

static void teardown(void)
{
    mm_checks_free(checks);
}

/* Every byte of a signature and of a digest counts, wherever in the batch. */
static void spoil_each(struct batch *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const size_t at = (i * 7) % b->list[i].signature.len;

        b->signatures[i][at] ^= 0x10;
        expect_bad(b, n, i);
        b->signatures[i][at] ^= 0x10;
        b->digests[i][i % b->list[i].digest.len] ^= 1;
        expect_bad(b, n, i);
        b->digests[i][i % b->list[i].digest.len] ^= 1;
    }
    expect_good(b, n);
}

START_TEST(run_one_key_accepts_only_true_signatures)
{
    struct signer s = make_signer("P-256");
    struct batch b;

    for (uint32_t i = 0; i < 6; i++)
        fill(&b, i, &s, i, false);
    expect_good(&b, 0);
    expect_good(&b, 1);
    spoil_each(&b, 6);
    free_signer(&s);
}
END_TEST

START_TEST(run_own_keys_and_both_curves_accepts_only_true_signatures)
{
    struct signer s[4] = {make_signer("P-256"), make_signer("P-384"), make_signer("P-256"),
                          make_signer("P-384")};
    struct batch b;

    for (uint32_t i = 0; i < 4; i++)
        fill(&b, i, &s[i], i, i < 2);
    spoil_each(&b, 4);
    /* another's signature */
    b.list[0].point = (struct mm_bytes){s[2].point, s[2].point_len};
    expect_bad(&b, 4, 0);
    for (size_t i = 0; i < 4; i++)
        free_signer(&s[i]);
}
END_TEST

/* A key that signs on and on gets a table. */
static void sign_much(const struct signer *s, struct batch *b)
{
    for (uint32_t i = 0; i < N; i++)
        fill(b, i, s, i, false);
    for (int round = 0; round < 20; round++)
        expect_good(b, N);
}

/* Before, at and after that point all is as it was: by threes where they are many. */
START_TEST(run_key_with_a_table_accepts_only_true_signatures)
{
    struct signer s = make_signer("P-256");
    struct batch b;

    sign_much(&s, &b);
    for (uint32_t i = 0; i < N; i++)
        fill(&b, i, &s, 1000 + i, false);
    spoil_each(&b, N);
    spoil_each(&b, N - 1);
    spoil_each(&b, N - 2);
    spoil_each(&b, 6);
    free_signer(&s);
}
END_TEST

/* Threes are of one key, and keys without a table, or without a verifier, take their turns between.
 */
START_TEST(run_keys_with_and_without_tables_accepts_only_true_signatures)
{
    struct signer s[3] = {make_signer("P-256"), make_signer("P-256"), make_signer("P-256")};
    struct batch b;

    sign_much(&s[0], &b);
    sign_much(&s[1], &b);
    for (uint32_t i = 0; i < 40; i++)
        fill(&b, i, &s[i % 5 < 2 ? i % 5 : i % 5 < 4 ? 0 : 2], i, i % 10 == 9);
    spoil_each(&b, 40);
    /* of each other's keys */
    b.list[0].key = s[1].verifier;
    expect_bad(&b, 40, 0);
    for (size_t i = 0; i < 3; i++)
        free_signer(&s[i]);
}
END_TEST

/* Each of a key of its own, as requests are. */
START_TEST(run_many_own_keys_accepts_only_true_signatures)
{
    struct signer s[32];
    struct batch b;

    for (uint32_t i = 0; i < 32; i++) {
        s[i] = make_signer("P-256");
        fill(&b, i, &s[i], i, i % 4 != 3);
    }
    spoil_each(&b, 32);
    /* another's signature, and a point that is none */
    b.list[5].point = b.list[6].point;
    expect_bad(&b, 32, 5);
    b.list[5].point = (struct mm_bytes){s[5].point, s[5].point_len};
    s[5].point[64] ^= 1;
    expect_bad(&b, 32, 5);
    for (size_t i = 0; i < 32; i++)
        free_signer(&s[i]);
}
END_TEST

/* One and the same signature again and again: true, though no sum of points tells. */
START_TEST(run_one_signature_many_times_accepted)
{
    struct signer s = make_signer("P-256");
    struct batch b;

    sign_much(&s, &b);
    for (uint32_t i = 0; i < N; i++)
        fill(&b, i, &s, i % 2, false);
    for (uint32_t i = 2; i < N; i++)
        b.list[i] = b.list[i % 2];
    expect_good(&b, N);
    free_signer(&s);
}
END_TEST

/* Signs digest i so that the check meets another point than the nonce's: (k + shift) G, not k G. */
static void forge(struct batch *b, size_t i, const struct signer *s, int shift)
{
    EC_GROUP *group = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
    const BIGNUM *order = EC_GROUP_get0_order(group);
    BN_CTX *bn = BN_CTX_new();
    EC_POINT *nonce = EC_POINT_new(group);
    BIGNUM *d = NULL, *k = BN_new(), *r = BN_new(), *z = BN_bin2bn(b->digests[i], 32, NULL);

    ck_assert_int_eq(EVP_PKEY_get_bn_param(s->key, OSSL_PKEY_PARAM_PRIV_KEY, &d), 1);
    ck_assert_int_eq(BN_set_word(k, 1000 + i), 1);
    ck_assert_int_eq(EC_POINT_mul(group, nonce, k, NULL, NULL, bn), 1);
    ck_assert_int_eq(EC_POINT_get_affine_coordinates(group, nonce, r, NULL, bn), 1);
    ck_assert_int_eq(BN_nnmod(r, r, order, bn), 1);
    BN_bn2binpad(r, b->signatures[i], 32);
    /* s = (z + r d) / (k + shift) */
    ck_assert(shift < 0 ? BN_sub_word(k, (BN_ULONG)-shift) : BN_add_word(k, (BN_ULONG)shift));
    ck_assert(BN_mod_inverse(k, k, order, bn) && BN_mod_mul(r, r, d, order, bn) &&
              BN_mod_add(z, z, r, order, bn) && BN_mod_mul(z, z, k, order, bn));
    BN_bn2binpad(z, b->signatures[i] + 32, 32);
    BN_clear_free(d);
    BN_free(k);
    BN_free(r);
    BN_free(z);
    EC_POINT_free(nonce);
    BN_CTX_free(bn);
    EC_GROUP_free(group);
}

/* Two false signatures whose errors cancel out pass where both are in one three. Few are checked
 * one by one; of many nobody knows who is with whom: of 20 runs all but 0.4 find them, and less
 * than 10 by a chance of 10^-14. */
START_TEST(run_false_signatures_that_cancel_out_are_found)
{
    struct signer s = make_signer("P-256");
    struct batch b;
    struct mm_errinfo ei;
    size_t bad, found = 0;

    sign_much(&s, &b);
    forge(&b, 0, &s, 0);
    forge(&b, 1, &s, 0);
    expect_good(&b, N);
    forge(&b, 0, &s, 7);
    forge(&b, 1, &s, -7);
    expect_bad(&b, 29, 0);
    for (int run = 0; run < 20; run++)
        found += mm_checks_run(checks, b.list, N, &bad, &ei) == MM_ERR_CORRUPT && bad < 2;
    ck_assert_uint_ge(found, 10);
    free_signer(&s);
}
END_TEST

/* r and s run from 1 to the order less one (FIPS 186-5 section 6.4.2). */
START_TEST(run_number_out_of_range_is_refused)
{
    static const uint8_t order[32] = {0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00,
                                      0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                      0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84,
                                      0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51};
    struct signer s = make_signer("P-256");
    struct batch b;

    for (size_t half = 0; half < 2; half++) {
        for (uint32_t i = 0; i < 3; i++)
            fill(&b, i, &s, i, false);
        memset(b.signatures[1] + 32 * half, 0, 32);
        expect_bad(&b, 3, 1);
        memcpy(b.signatures[1] + 32 * half, order, 32);
        expect_bad(&b, 3, 1);
        memset(b.signatures[1] + 32 * half, 0xff, 32);
        expect_bad(&b, 3, 1);
    }
    fill(&b, 1, &s, 1, false);
    b.list[1].signature.len = 63;
    expect_bad(&b, 3, 1);
    free_signer(&s);
}
END_TEST

/* A key for which (r = 3, s) signs the digest by a nonce's point whose x is 3 above the order:
 * chance finds one in 2^32. Q = (R - z/s G) s/r. */
static struct signer make_rare_signer(const uint8_t digest[32], const uint8_t s[32])
{
    static const char x[] = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632554";
    EC_GROUP *group = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
    const BIGNUM *order = EC_GROUP_get0_order(group);
    BN_CTX *bn = BN_CTX_new();
    EC_POINT *nonce = EC_POINT_new(group), *q = EC_POINT_new(group);
    BIGNUM *u = NULL, *z = BN_bin2bn(digest, 32, NULL), *over = BN_bin2bn(s, 32, NULL),
           *r = BN_new();
    struct signer made = {0};
    struct mm_errinfo ei;

    ck_assert(BN_hex2bn(&u, x) && BN_set_word(r, 3));
    ck_assert_int_eq(EC_POINT_set_compressed_coordinates(group, nonce, u, 0, bn), 1);
    ck_assert(BN_mod_inverse(u, over, order, bn) && BN_mod_mul(u, z, u, order, bn));
    ck_assert(EC_POINT_mul(group, q, u, NULL, NULL, bn) && EC_POINT_invert(group, q, bn) &&
              EC_POINT_add(group, q, q, nonce, bn));
    ck_assert(BN_mod_inverse(u, r, order, bn) && BN_mod_mul(u, over, u, order, bn));
    ck_assert(EC_POINT_mul(group, q, NULL, q, u, bn));
    made.point_len = EC_POINT_point2oct(group, q, POINT_CONVERSION_UNCOMPRESSED, made.point,
                                        sizeof(made.point), bn);
    ck_assert_int_eq(mm_verifier_new(made.point, made.point_len, &made.verifier, &ei), MM_OK);
    BN_free(u);
    BN_free(z);
    BN_free(over);
    BN_free(r);
    EC_POINT_free(nonce);
    EC_POINT_free(q);
    BN_CTX_free(bn);
    EC_GROUP_free(group);
    return made;
}

START_TEST(run_nonce_above_the_order_accepts_only_true_signatures)
{
    struct batch b = {0};
    struct signer s;
    struct mm_errinfo ei;

    memset(b.digests[0], 0x5a, 32);
    b.signatures[0][31] = 3;
    memset(b.signatures[0] + 32, 0x77, 32);
    s = make_rare_signer(b.digests[0], b.signatures[0] + 32);
    ck_assert_int_eq(mm_verifier_check(s.verifier, b.digests[0], 32, b.signatures[0], 64, &ei),
                     MM_OK);
    b.list[0] = (struct mm_check){
        .key = s.verifier, .digest = {b.digests[0], 32}, .signature = {b.signatures[0], 64}};
    expect_good(&b, 1);
    b.signatures[0][31] = 4;
    expect_bad(&b, 1, 0);
    free_signer(&s);
}
END_TEST

START_TEST(run_point_off_the_curve_is_refused)
{
    struct signer s = make_signer("P-256");
    struct batch b;

    fill(&b, 0, &s, 0, true);
    s.point[64] ^= 1;
    expect_bad(&b, 1, 0);
    free_signer(&s);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pki_ecdsa");
    TCase *t = tcase_create("all");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, run_one_key_accepts_only_true_signatures);
    tcase_add_test(t, run_own_keys_and_both_curves_accepts_only_true_signatures);
    tcase_add_test(t, run_key_with_a_table_accepts_only_true_signatures);
    tcase_add_test(t, run_keys_with_and_without_tables_accepts_only_true_signatures);
    tcase_add_test(t, run_many_own_keys_accepts_only_true_signatures);
    tcase_add_test(t, run_one_signature_many_times_accepted);
    tcase_add_test(t, run_false_signatures_that_cancel_out_are_found);
    tcase_add_test(t, run_number_out_of_range_is_refused);
    tcase_add_test(t, run_nonce_above_the_order_accepts_only_true_signatures);
    tcase_add_test(t, run_point_off_the_curve_is_refused);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
