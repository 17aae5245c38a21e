/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys that sign messages and no digests: Ed25519 by libcrypto, and ML-DSA (PKCS#11 v3.2), by
 * libcrypto where it has it, or by a stand-in: keys and signatures of the right sizes, made of a
 * seed by a hash, which prove nothing and verify with nothing.
 */
#include "tests/mock/mock.h"

#include <openssl/core_names.h>
#include <string.h>

enum {
    SEED = 32,
    ED25519_SIGNATURE = 64,
    KEY_MAX = 2592,
    CKM_ML_DSA_PAIRS = 0x1c,
    CKM_ML_DSA_SIGN = 0x1d,
    CKK_ML_DSA_KEY = 0x4a,
    CKA_SET = 0x61d,
};

static const uint8_t ed25519_oid[] = {0x06, 0x03, 0x2b, 0x65, 0x70};
static const uint8_t ed25519_name[] = {0x13, 0x0c, 'e', 'd', 'w', 'a', 'r',
                                       'd',  's',  '2', '5', '5', '1', '9'};

/* By CKA_PARAMETER_SET: FIPS 204 table 2. */
static const struct set {
    const char *name;
    size_t key_len, signature_len;
} sets[] = {
    [1] = {"ML-DSA-44", 1312, 2420},
    [2] = {"ML-DSA-65", 1952, 3309},
    [3] = {"ML-DSA-87", KEY_MAX, MOCK_SIGNATURE_MAX},
};

static const struct set *set_of(const struct mock_object *o)
{
    const CK_ULONG set = mock_get(o, CKA_SET) ? mock_get_ulong(o, CKA_SET) : 0;

    return set >= 1 && set < MM_ARRAY_SIZE(sets) ? &sets[set] : NULL;
}

bool mock_pure_mechanism(CK_MECHANISM_TYPE type)
{
    return (mock_behaviour.edwards != EDWARDS_NONE &&
            (type == CKM_EC_EDWARDS_KEY_PAIR_GEN || type == CKM_EDDSA)) ||
           (mock_behaviour.ml_dsa != ML_DSA_NONE &&
            (type == CKM_ML_DSA_PAIRS || type == CKM_ML_DSA_SIGN));
}

bool mock_pure_signs(CK_MECHANISM_TYPE mechanism, CK_ULONG key_type)
{
    return (mechanism == CKM_EDDSA && key_type == CKK_EC_EDWARDS) ||
           (mechanism == CKM_ML_DSA_SIGN && key_type == CKK_ML_DSA_KEY);
}

/* ---- Ed25519 ----------------------------------------------------------------------------- */

static bool takes_params(const struct mock_attr *a)
{
    if (!a)
        return false;
    if (mock_behaviour.edwards == EDWARDS_NAME)
        return a->len == sizeof(ed25519_name) && !memcmp(a->value, ed25519_name, a->len);
    return a->len == sizeof(ed25519_oid) && !memcmp(a->value, ed25519_oid, a->len);
}

static bool fill_edwards(struct mock_object *public_key, struct mock_object *private_key)
{
    const struct mock_attr *params = mock_get(public_key, CKA_EC_PARAMS);
    EVP_PKEY *key = takes_params(params) ? mock_new_pair("ED25519", NULL) : NULL;
    uint8_t point[2 + SEED] = {0x04, SEED}, seed[SEED];
    size_t point_len = SEED, seed_len = SEED;
    bool good;

    if (!key)
        return false;
    public_key->key = key;
    EVP_PKEY_up_ref(key);
    private_key->key = key;
    good = EVP_PKEY_get_raw_public_key(key, point + 2, &point_len) == 1 &&
           EVP_PKEY_get_raw_private_key(key, seed, &seed_len) == 1 &&
           mock_set(public_key, CKA_EC_POINT, point, sizeof(point)) &&
           mock_set(private_key, CKA_VALUE, seed, sizeof(seed)) &&
           mock_set(private_key, CKA_EC_PARAMS, params->value, params->len) &&
           mock_set_ulong(public_key, CKA_KEY_TYPE, CKK_EC_EDWARDS) &&
           mock_set_ulong(private_key, CKA_KEY_TYPE, CKK_EC_EDWARDS);
    OPENSSL_cleanse(seed, sizeof(seed));
    return good;
}

static bool edwards_from_attrs(struct mock_object *o)
{
    const struct mock_attr *point = mock_get(o, CKA_EC_POINT), *seed = mock_get(o, CKA_VALUE);

    if (seed && seed->len == SEED)
        o->key =
            EVP_PKEY_new_raw_private_key_ex(mock.libctx, "ED25519", NULL, seed->value, seed->len);
    else if (point && point->len == 2 + SEED)
        o->key =
            EVP_PKEY_new_raw_public_key_ex(mock.libctx, "ED25519", NULL, point->value + 2, SEED);
    return o->key != NULL;
}

/* ---- ML-DSA ------------------------------------------------------------------------------ */

/* SHAKE256 over seed and message: so much of it. */
static bool stretch(const uint8_t seed[SEED], const void *data, size_t len, uint8_t *out,
                    size_t out_len)
{
    EVP_MD *shake = EVP_MD_fetch(mock.libctx, "SHAKE256", NULL);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    const bool good = shake && ctx && EVP_DigestInit_ex2(ctx, shake, NULL) == 1 &&
                      EVP_DigestUpdate(ctx, seed, SEED) == 1 &&
                      EVP_DigestUpdate(ctx, data, len) == 1 &&
                      EVP_DigestFinalXOF(ctx, out, out_len) == 1;

    EVP_MD_CTX_free(ctx);
    EVP_MD_free(shake);
    return good;
}

static EVP_PKEY *key_of_seed(const struct set *set, const struct mock_attr *seed)
{
    uint8_t copy[SEED];
    OSSL_PARAM params[] = {OSSL_PARAM_construct_octet_string("seed", copy, sizeof(copy)),
                           OSSL_PARAM_construct_end()};
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(mock.libctx, set->name, NULL);
    EVP_PKEY *key = NULL;

    memcpy(copy, seed->value, sizeof(copy));
    if (ctx && EVP_PKEY_fromdata_init(ctx) == 1)
        EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_KEYPAIR, params);
    OPENSSL_cleanse(copy, sizeof(copy));
    EVP_PKEY_CTX_free(ctx);
    return key;
}

static bool fill_ml_dsa(struct mock_object *public_key, struct mock_object *private_key)
{
    const struct set *set = set_of(public_key);
    uint8_t seed[SEED], value[KEY_MAX];
    size_t len = set ? set->key_len : 0;
    bool good = set && mock_seed(seed) && mock_set(private_key, CKA_VALUE, seed, sizeof(seed)) &&
                mock_set_ulong(private_key, CKA_SET, mock_get_ulong(public_key, CKA_SET)) &&
                mock_set_ulong(public_key, CKA_KEY_TYPE, CKK_ML_DSA_KEY) &&
                mock_set_ulong(private_key, CKA_KEY_TYPE, CKK_ML_DSA_KEY);

    if (good && mock_behaviour.ml_dsa == ML_DSA_REAL) {
        private_key->key = key_of_seed(set, mock_get(private_key, CKA_VALUE));
        good = private_key->key && EVP_PKEY_get_raw_public_key(private_key->key, value, &len) == 1;
    } else {
        good = good && stretch(seed, "public", 6, value, len);
    }
    OPENSSL_cleanse(seed, sizeof(seed));
    return good && mock_set(public_key, CKA_VALUE, value, len - mock_behaviour.short_key);
}

static bool ml_dsa_from_attrs(struct mock_object *o)
{
    const struct mock_attr *seed = mock_get(o, CKA_VALUE);

    if (!set_of(o) || !seed)
        return false;
    if (mock_behaviour.ml_dsa == ML_DSA_REAL && seed->len == SEED)
        o->key = key_of_seed(set_of(o), seed);
    return true;
}

/* ---- what keys.c and crypto.c call ------------------------------------------------------- */

bool mock_pure_fill_pair(CK_MECHANISM_TYPE type, struct mock_object *public_key,
                         struct mock_object *private_key)
{
    return type == CKM_ML_DSA_PAIRS ? fill_ml_dsa(public_key, private_key)
                                    : fill_edwards(public_key, private_key);
}

bool mock_pure_from_attrs(struct mock_object *o)
{
    return mock_get_ulong(o, CKA_KEY_TYPE) == CKK_ML_DSA_KEY ? ml_dsa_from_attrs(o)
                                                             : edwards_from_attrs(o);
}

CK_RV mock_pure_sign(const struct mock_object *o, const uint8_t *data, CK_ULONG len,
                     uint8_t signature[MOCK_SIGNATURE_MAX], CK_ULONG *ret_len)
{
    const struct set *set = set_of(o);
    EVP_MD_CTX *ctx;
    size_t made = set ? set->signature_len : ED25519_SIGNATURE;
    bool good;

    *ret_len = made;
    if (!o->key)
        return set && stretch(mock_get(o, CKA_VALUE)->value, data, len, signature, made)
                   ? CKR_OK
                   : CKR_FUNCTION_FAILED;
    ctx = EVP_MD_CTX_new();
    good = ctx && EVP_DigestSignInit_ex(ctx, NULL, NULL, mock.libctx, NULL, o->key, NULL) == 1 &&
           EVP_DigestSign(ctx, signature, &made, data, len) == 1;
    EVP_MD_CTX_free(ctx);
    return good ? CKR_OK : CKR_FUNCTION_FAILED;
}
