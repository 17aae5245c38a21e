/* SPDX-License-Identifier: Apache-2.0 */
/* Keys that sign messages and no digests: Ed25519, by libcrypto. */
#include "tests/mock/mock.h"

#include <openssl/core_names.h>
#include <string.h>

enum { SEED = 32, ED25519_SIGNATURE = 64 };

static const uint8_t ed25519_oid[] = {0x06, 0x03, 0x2b, 0x65, 0x70};
static const uint8_t ed25519_name[] = {0x13, 0x0c, 'e', 'd', 'w', 'a', 'r',
                                       'd',  's',  '2', '5', '5', '1', '9'};

bool mock_pure_mechanism(CK_MECHANISM_TYPE type)
{
    return mock_behaviour.edwards != EDWARDS_NONE &&
           (type == CKM_EC_EDWARDS_KEY_PAIR_GEN || type == CKM_EDDSA);
}

static bool takes_params(const struct mock_attr *a)
{
    if (!a)
        return false;
    if (mock_behaviour.edwards == EDWARDS_NAME)
        return a->len == sizeof(ed25519_name) && !memcmp(a->value, ed25519_name, a->len);
    return a->len == sizeof(ed25519_oid) && !memcmp(a->value, ed25519_oid, a->len);
}

bool mock_pure_fill_pair(struct mock_object *public_key, struct mock_object *private_key)
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

bool mock_pure_from_attrs(struct mock_object *o)
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

CK_RV mock_pure_sign(const struct mock_object *o, const uint8_t *data, CK_ULONG len,
                     uint8_t signature[MOCK_SIGNATURE_MAX], CK_ULONG *ret_len)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    size_t made = ED25519_SIGNATURE;
    const bool good =
        ctx && EVP_DigestSignInit_ex(ctx, NULL, NULL, mock.libctx, NULL, o->key, NULL) == 1 &&
        EVP_DigestSign(ctx, signature, &made, data, len) == 1;

    EVP_MD_CTX_free(ctx);
    *ret_len = made;
    return good ? CKR_OK : CKR_FUNCTION_FAILED;
}
