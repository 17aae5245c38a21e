/* SPDX-License-Identifier: Apache-2.0 */
/* Mechanisms, and making keys. */
#include "tests/mock/mock.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/rand.h>
#include <string.h>

static const uint8_t p256_oid[] = {0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07};
static const uint8_t p384_oid[] = {0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22};

/* ---- mechanisms -------------------------------------------------------------------------- */

CK_RV mock_mechanism(CK_MECHANISM_TYPE type)
{
    static const CK_MECHANISM_TYPE known[] = {
        CKM_EC_KEY_PAIR_GEN, CKM_ECDSA,       CKM_ECDH1_DERIVE,          CKM_AES_CBC_ENCRYPT_DATA,
        CKM_RSA_PKCS_OAEP,   CKM_AES_KEY_GEN, CKM_RSA_PKCS_KEY_PAIR_GEN, CKM_SHA256_RSA_PKCS,
    };
    bool here = type != 0 && (type == mock_behaviour.kwp || type == mock_behaviour.pkcs7 ||
                              mock_pure_mechanism(type));

    for (size_t i = 0; i < MM_ARRAY_SIZE(known); i++)
        here = here || known[i] == type;
    for (size_t i = 0; i < mock_behaviour.n_no_mechanisms; i++)
        here = here && mock_behaviour.no_mechanisms[i] != type;
    return here ? CKR_OK : CKR_MECHANISM_INVALID;
}

CK_RV C_GetMechanismInfo(CK_SLOT_ID slot, CK_MECHANISM_TYPE type, CK_MECHANISM_INFO *info)
{
    MOCK_ENTER();
    if (slot < 1 || slot > MOCK_SLOTS)
        return CKR_SLOT_ID_INVALID;
    *info = (CK_MECHANISM_INFO){0};
    return mock_mechanism(type);
}

/* ---- attributes and libcrypto keys ------------------------------------------------------- */

bool mock_key_defaults(struct mock_object *o, bool local)
{
    static const CK_ATTRIBUTE_TYPE rights[] = {CKA_ENCRYPT, CKA_DECRYPT, CKA_SIGN,  CKA_VERIFY,
                                               CKA_WRAP,    CKA_UNWRAP,  CKA_DERIVE};
    const bool secret = mock_get_ulong(o, CKA_CLASS) != CKO_PUBLIC_KEY;
    bool good = mock_default_bool(o, CKA_TOKEN, false) && mock_default_bool(o, CKA_PRIVATE, secret);

    for (size_t i = 0; i < MM_ARRAY_SIZE(rights); i++)
        good = good && mock_default_bool(o, rights[i], false);
    good = good && mock_set_bool(o, CKA_LOCAL, local);
    if (secret)
        good = good && mock_default_bool(o, CKA_SENSITIVE, true) &&
               mock_default_bool(o, CKA_EXTRACTABLE, false) &&
               mock_set_bool(o, CKA_ALWAYS_SENSITIVE, local && mock_get_bool(o, CKA_SENSITIVE)) &&
               mock_set_bool(o, CKA_NEVER_EXTRACTABLE, local && !mock_get_bool(o, CKA_EXTRACTABLE));
    return good;
}

static const char *group_of(const struct mock_attr *params)
{
    if (params && params->len == sizeof(p256_oid) && !memcmp(params->value, p256_oid, params->len))
        return "P-256";
    if (params && params->len == sizeof(p384_oid) && !memcmp(params->value, p384_oid, params->len))
        return "P-384";
    return NULL;
}

static EVP_PKEY *key_of_params(const char *type, int selection, OSSL_PARAM *params)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(mock.libctx, type, NULL);
    EVP_PKEY *key = NULL;

    if (ctx && EVP_PKEY_fromdata_init(ctx) == 1)
        EVP_PKEY_fromdata(ctx, &key, selection, params);
    EVP_PKEY_CTX_free(ctx);
    return key;
}

/* OSSL_PARAM's integers are in native order: little-endian on all that Debian runs tests on, and
 * BN_bn2nativepad knows. */
static bool native(const struct mock_attr *a, uint8_t *out, size_t size)
{
    BIGNUM *n = a && a->len <= size ? BN_bin2bn(a->value, (int)a->len, NULL) : NULL;
    const bool good = n && BN_bn2nativepad(n, out, (int)size) > 0;

    BN_clear_free(n);
    return good;
}

static bool ec_from_attrs(struct mock_object *o)
{
    const char *group = group_of(mock_get(o, CKA_EC_PARAMS));
    const struct mock_attr *point = mock_get(o, CKA_EC_POINT);
    const struct mock_attr *value = mock_get(o, CKA_VALUE);
    uint8_t scalar[48];
    char name[8];
    OSSL_PARAM params[4], *p = params;

    /* A private key has no point of its own, and needs none to sign. */
    if (!group || (!point && !value))
        return false;
    memcpy(name, group, strlen(group) + 1);
    *p++ = OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, name, 0);
    if (point)
        *p++ = OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point->value + 2,
                                                 point->len - 2);
    if (value) {
        if (!native(value, scalar, sizeof(scalar)))
            return false;
        *p++ = OSSL_PARAM_construct_BN(OSSL_PKEY_PARAM_PRIV_KEY, scalar, sizeof(scalar));
    }
    *p = OSSL_PARAM_construct_end();
    o->key = key_of_params("EC", value ? EVP_PKEY_KEYPAIR : EVP_PKEY_PUBLIC_KEY, params);
    OPENSSL_cleanse(scalar, sizeof(scalar));
    return o->key != NULL;
}

static bool rsa_from_attrs(struct mock_object *o)
{
    uint8_t n[1024], e[8];
    OSSL_PARAM params[3];

    if (!native(mock_get(o, CKA_MODULUS), n, sizeof(n)) ||
        !native(mock_get(o, CKA_PUBLIC_EXPONENT), e, sizeof(e)))
        return false;
    params[0] = OSSL_PARAM_construct_BN(OSSL_PKEY_PARAM_RSA_N, n, sizeof(n));
    params[1] = OSSL_PARAM_construct_BN(OSSL_PKEY_PARAM_RSA_E, e, sizeof(e));
    params[2] = OSSL_PARAM_construct_end();
    o->key = key_of_params("RSA", EVP_PKEY_PUBLIC_KEY, params);
    return o->key != NULL;
}

bool mock_key_from_attrs(struct mock_object *o)
{
    const CK_ULONG type = mock_get_ulong(o, CKA_KEY_TYPE);

    if (type == CKK_EC)
        return ec_from_attrs(o);
    if (type == CKK_RSA)
        return rsa_from_attrs(o);
    if (type == CKK_EC_EDWARDS || type == 0x4a) /* CKK_ML_DSA */
        return mock_pure_from_attrs(o);
    return true;
}

/* ---- making ------------------------------------------------------------------------------ */

CK_RV mock_finish_key(CK_OBJECT_HANDLE handle, bool good, CK_OBJECT_HANDLE *ret_handle)
{
    const struct mock_object *o = mock_object_at(handle);

    if (!good) {
        mock_object_destroy(handle);
        return CKR_TEMPLATE_INCONSISTENT;
    }
    if (o->session == 0)
        mock_state_save();
    *ret_handle = handle;
    return CKR_OK;
}

CK_RV C_CreateObject(CK_SESSION_HANDLE session, CK_ATTRIBUTE *attrs, CK_ULONG n,
                     CK_OBJECT_HANDLE *object)
{
    struct mock_object *o;
    CK_OBJECT_HANDLE handle;
    CK_ULONG class;
    CK_RV rv;
    bool good;

    MOCK_ENTER();
    if (!mock_session(session))
        return CKR_SESSION_HANDLE_INVALID;
    rv = mock_object_new(session, attrs, n, &handle);
    if (rv != CKR_OK)
        return rv;
    o = mock_object_at(handle);
    class = mock_get_ulong(o, CKA_CLASS);
    if (class == CKO_DATA)
        return mock_finish_key(handle, true, object);
    good = class == CKO_PUBLIC_KEY || (class == CKO_SECRET_KEY && !mock_behaviour.no_import);
    if (good && class == CKO_SECRET_KEY && mock_get(o, CKA_VALUE))
        good = mock_set_ulong(o, CKA_VALUE_LEN, mock_get(o, CKA_VALUE)->len) &&
               mock_default_bool(o, CKA_SENSITIVE, false);
    good = good && mock_key_defaults(o, false) && mock_key_from_attrs(o);
    return mock_finish_key(handle, good, object);
}

CK_RV C_GenerateKey(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_ATTRIBUTE *attrs,
                    CK_ULONG n, CK_OBJECT_HANDLE *key)
{
    struct mock_object *o;
    CK_OBJECT_HANDLE handle;
    uint8_t value[32];
    CK_RV rv;
    bool good;

    MOCK_ENTER();
    if (!mock_session(session))
        return CKR_SESSION_HANDLE_INVALID;
    if (mechanism->mechanism != CKM_AES_KEY_GEN || mock_mechanism(CKM_AES_KEY_GEN) != CKR_OK)
        return CKR_MECHANISM_INVALID;
    rv = mock_object_new(session, attrs, n, &handle);
    if (rv != CKR_OK)
        return rv;
    o = mock_object_at(handle);
    good = mock_get_ulong(o, CKA_VALUE_LEN) == sizeof(value) &&
           RAND_bytes_ex(mock.libctx, value, sizeof(value), 0) == 1 &&
           mock_set(o, CKA_VALUE, value, sizeof(value)) &&
           mock_set_ulong(o, CKA_CLASS, CKO_SECRET_KEY) &&
           mock_set_ulong(o, CKA_KEY_TYPE, CKK_AES) && mock_key_defaults(o, true);
    return mock_finish_key(handle, good, key);
}

static bool set_point(struct mock_object *o, EVP_PKEY *key)
{
    uint8_t value[2 + 97];
    size_t len = 0;

    if (EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, value + 2, 97, &len) != 1)
        return false;
    value[0] = 0x04;
    value[1] = (uint8_t)len;
    return mock_set(o, CKA_EC_POINT, value, len + 2);
}

static bool set_scalar(struct mock_object *o, EVP_PKEY *key, const char *group)
{
    const int len = strcmp(group, "P-384") == 0 ? 48 : 32;
    BIGNUM *d = NULL;
    uint8_t value[48];
    bool good = EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_PRIV_KEY, &d) == 1 &&
                BN_bn2binpad(d, value, len) == len;

    good = good && mock_set(o, CKA_VALUE, value, (CK_ULONG)len);
    BN_clear_free(d);
    OPENSSL_cleanse(value, sizeof(value));
    return good;
}

bool mock_ec_private(struct mock_object *o, EVP_PKEY *key)
{
    const bool p384 = EVP_PKEY_get_bits(key) == 384;

    return mock_set(o, CKA_EC_PARAMS, p384 ? p384_oid : p256_oid,
                    p384 ? sizeof(p384_oid) : sizeof(p256_oid)) &&
           set_scalar(o, key, p384 ? "P-384" : "P-256");
}

bool mock_seed(uint8_t seed[32])
{
    return RAND_bytes_ex(mock.libctx, seed, 32, 0) == 1;
}

EVP_PKEY *mock_new_pair(const char *type, const char *group)
{
    EVP_PKEY *key = mock_behaviour.repeat_pair ? mock.last_pair : NULL;

    if (key && EVP_PKEY_up_ref(key) == 1)
        return key;
    key = group ? EVP_PKEY_Q_keygen(mock.libctx, NULL, type, group)
                : EVP_PKEY_Q_keygen(mock.libctx, NULL, type);
    EVP_PKEY_free(mock.last_pair);
    mock.last_pair = key;
    if (key)
        EVP_PKEY_up_ref(key);
    return key;
}

static bool set_new_pair(struct mock_object *public_key, struct mock_object *private_key,
                         const char *group)
{
    EVP_PKEY *key = mock_new_pair("EC", group);

    if (!key)
        return false;
    public_key->key = key;
    EVP_PKEY_up_ref(key);
    private_key->key = key;
    return set_point(public_key, key) && set_scalar(private_key, key, group);
}

/* No libcrypto keys: signing and wrapping do with the attributes. */
static bool set_cheap_pair(struct mock_object *public_key, struct mock_object *private_key)
{
    uint8_t value[2 + MOCK_P256_POINT] = {0x04, MOCK_P256_POINT}, scalar[MOCK_P256_BYTES];

    return mock_cheap_pair(value + 2, scalar) &&
           mock_set(public_key, CKA_EC_POINT, value, sizeof(value)) &&
           mock_set(private_key, CKA_EC_POINT, value, sizeof(value)) &&
           mock_set(private_key, CKA_VALUE, scalar, sizeof(scalar));
}

static bool fill_pair(struct mock_object *public_key, struct mock_object *private_key)
{
    const struct mock_attr *params = mock_get(public_key, CKA_EC_PARAMS);
    const char *group = group_of(params);
    const bool cheap = mock_behaviour.cheap && group && strcmp(group, "P-256") == 0;

    if (!group || !(cheap ? set_cheap_pair(public_key, private_key)
                          : set_new_pair(public_key, private_key, group)))
        return false;
    return mock_set(private_key, CKA_EC_PARAMS, params->value, params->len) &&
           mock_set_ulong(public_key, CKA_KEY_TYPE, CKK_EC) &&
           mock_set_ulong(private_key, CKA_KEY_TYPE, CKK_EC);
}

static bool fill(CK_MECHANISM_TYPE type, struct mock_object *public_key,
                 struct mock_object *private_key)
{
    if (type == CKM_EC_KEY_PAIR_GEN)
        return fill_pair(public_key, private_key);
    return type == CKM_RSA_PKCS_KEY_PAIR_GEN ? mock_rsa_fill_pair(public_key, private_key)
                                             : mock_pure_fill_pair(type, public_key, private_key);
}

static bool finish_pair(struct mock_object *public_key, struct mock_object *private_key)
{
    return mock_set_ulong(public_key, CKA_CLASS, CKO_PUBLIC_KEY) &&
           mock_set_ulong(private_key, CKA_CLASS, CKO_PRIVATE_KEY) &&
           mock_key_defaults(public_key, true) && mock_key_defaults(private_key, true) &&
           mock_default_bool(private_key, CKA_MODIFIABLE, true);
}

CK_RV C_GenerateKeyPair(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_ATTRIBUTE *public_t,
                        CK_ULONG n_public, CK_ATTRIBUTE *private_t, CK_ULONG n_private,
                        CK_OBJECT_HANDLE *public_key, CK_OBJECT_HANDLE *private_key)
{
    const CK_MECHANISM_TYPE type = mechanism->mechanism;
    CK_OBJECT_HANDLE pub, priv;
    CK_RV rv;
    bool good;

    MOCK_ENTER();
    if (!mock_session(session))
        return CKR_SESSION_HANDLE_INVALID;
    if ((type != CKM_EC_KEY_PAIR_GEN && type != CKM_RSA_PKCS_KEY_PAIR_GEN &&
         !mock_pure_mechanism(type)) ||
        mock_mechanism(type) != CKR_OK)
        return CKR_MECHANISM_INVALID;
    rv = mock_object_new(session, public_t, n_public, &pub);
    if (rv != CKR_OK)
        return rv;
    rv = mock_object_new(session, private_t, n_private, &priv);
    if (rv != CKR_OK) {
        mock_object_destroy(pub);
        return rv;
    }
    good = fill(type, mock_object_at(pub), mock_object_at(priv)) &&
           finish_pair(mock_object_at(pub), mock_object_at(priv));
    rv = mock_finish_key(pub, good, public_key);
    if (rv != CKR_OK) {
        mock_object_destroy(priv);
        return rv;
    }
    return mock_finish_key(priv, good, private_key);
}
