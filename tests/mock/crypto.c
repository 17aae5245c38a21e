/* SPDX-License-Identifier: Apache-2.0 */
/* Using keys: signing, wrapping, deriving, random bytes. */
#include "tests/mock/mock.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <string.h>

enum { PLAIN_MAX = 256, WRAPPED_MAX = 2048 };

/* ---- signing ----------------------------------------------------------------------------- */

static bool is_for_signing(CK_MECHANISM_TYPE type)
{
    return type == CKM_ECDSA || type == CKM_SHA256_RSA_PKCS || mock_pure_mechanism(type);
}

static bool signs_by(CK_MECHANISM_TYPE mechanism, CK_ULONG key_type)
{
    return (mechanism == CKM_ECDSA && key_type == CKK_EC) ||
           (mechanism == CKM_SHA256_RSA_PKCS && key_type == CKK_RSA) ||
           mock_pure_signs(mechanism, key_type);
}

CK_RV C_SignInit(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key)
{
    struct mock_session *s;
    struct mock_object *o;

    MOCK_ENTER();
    s = mock_session(session);
    if (!s)
        return CKR_SESSION_HANDLE_INVALID;
    if (s->sign_key)
        return CKR_OPERATION_ACTIVE;
    if (!is_for_signing(mechanism->mechanism) || mock_mechanism(mechanism->mechanism) != CKR_OK)
        return CKR_MECHANISM_INVALID;
    o = mock_object(s, key);
    if (!o)
        return CKR_KEY_HANDLE_INVALID;
    if (!signs_by(mechanism->mechanism, mock_get_ulong(o, CKA_KEY_TYPE)))
        return CKR_KEY_TYPE_INCONSISTENT;
    if (mechanism->mechanism != CKM_ECDSA && mechanism->ulParameterLen != 0)
        return CKR_MECHANISM_PARAM_INVALID; /* Ed25519ph, or a context: not here */
    if (!mock_get_bool(o, CKA_SIGN))
        return CKR_KEY_FUNCTION_NOT_PERMITTED;
    s->sign_key = key;
    s->sign_by = mechanism->mechanism;
    return CKR_OK;
}

static bool sign_digest(EVP_PKEY *key, const uint8_t *digest, size_t len, uint8_t *out, int half)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(mock.libctx, key, NULL);
    uint8_t der[128];
    const uint8_t *p = der;
    size_t der_len = sizeof(der);
    ECDSA_SIG *sig = NULL;
    bool good =
        ctx && EVP_PKEY_sign_init(ctx) == 1 && EVP_PKEY_sign(ctx, der, &der_len, digest, len) == 1;

    if (good)
        sig = d2i_ECDSA_SIG(NULL, &p, (long)der_len);
    good = sig && BN_bn2binpad(ECDSA_SIG_get0_r(sig), out, half) == half &&
           BN_bn2binpad(ECDSA_SIG_get0_s(sig), out + half, half) == half;
    ECDSA_SIG_free(sig);
    EVP_PKEY_CTX_free(ctx);
    return good;
}

/* Of a key on P-256, when that is to be cheap; else NULL. */
static const uint8_t *cheap_scalar(const struct mock_object *o)
{
    const struct mock_attr *value = mock_get(o, CKA_VALUE);

    return mock_behaviour.cheap && mock_get_ulong(o, CKA_KEY_TYPE) == CKK_EC && value &&
                   value->len == MOCK_P256_BYTES
               ? value->value
               : NULL;
}

static CK_RV sign(const struct mock_session *s, const struct mock_object *o, const uint8_t *data,
                  CK_ULONG len, uint8_t made[MOCK_SIGNATURE_MAX], CK_ULONG *ret_len)
{
    const uint8_t *scalar = cheap_scalar(o);
    int half;

    if (s->sign_by == CKM_SHA256_RSA_PKCS)
        return mock_rsa_sign(o, data, len, made, ret_len);
    if (s->sign_by != CKM_ECDSA)
        return mock_pure_sign(o, data, len, made, ret_len);
    half = scalar ? MOCK_P256_BYTES : EVP_PKEY_get_bits(o->key) / 8;
    *ret_len = 2 * (CK_ULONG)half;
    if (scalar)
        return mock_cheap_sign(scalar, data, len, made) ? CKR_OK : CKR_FUNCTION_FAILED;
    return sign_digest(o->key, data, len, made, half) ? CKR_OK : CKR_FUNCTION_FAILED;
}

CK_RV C_Sign(CK_SESSION_HANDLE session, unsigned char *data, CK_ULONG len, unsigned char *signature,
             CK_ULONG *signature_len)
{
    struct mock_session *s;
    struct mock_object *o;
    uint8_t made[MOCK_SIGNATURE_MAX];
    CK_ULONG made_len;
    CK_RV rv;

    MOCK_ENTER();
    s = mock_session(session);
    if (!s)
        return CKR_SESSION_HANDLE_INVALID;
    if (!s->sign_key)
        return CKR_OPERATION_NOT_INITIALIZED;
    o = mock_object(s, s->sign_key);
    s->sign_key = 0;
    if (!o)
        return CKR_KEY_HANDLE_INVALID;
    rv = sign(s, o, data, len, made, &made_len);
    if (rv != CKR_OK)
        return rv;
    if (*signature_len < made_len)
        return CKR_BUFFER_TOO_SMALL;
    if (mock_behaviour.bad_signature)
        made[made_len / 2 + 3] ^= 1;
    *signature_len = made_len - mock_behaviour.short_signature;
    memcpy(signature, made, *signature_len);
    return CKR_OK;
}

/* ---- wrapping ---------------------------------------------------------------------------- */

/* What is wrapped: an AES key's value, or a private key as PKCS#8. */
static CK_RV plain_of(const struct mock_object *o, uint8_t plain[PLAIN_MAX], int *ret_len)
{
    const struct mock_attr *value = mock_get(o, CKA_VALUE);
    PKCS8_PRIV_KEY_INFO *info;
    unsigned char *der = NULL;

    if (!mock_get_bool(o, CKA_EXTRACTABLE))
        return CKR_KEY_UNEXTRACTABLE;
    if (mock_get_ulong(o, CKA_CLASS) == CKO_SECRET_KEY) {
        memcpy(plain, value->value, value->len);
        *ret_len = (int)value->len;
        return CKR_OK;
    }
    if (cheap_scalar(o) && mock_get(o, CKA_EC_POINT)) {
        *ret_len = mock_cheap_pkcs8(value->value, mock_get(o, CKA_EC_POINT)->value + 2, plain);
        return CKR_OK;
    }
    info = EVP_PKEY2PKCS8(o->key);
    *ret_len = i2d_PKCS8_PRIV_KEY_INFO(info, &der);
    PKCS8_PRIV_KEY_INFO_free(info);
    if (*ret_len <= 0 || *ret_len > PLAIN_MAX - 16)
        return CKR_KEY_SIZE_RANGE;
    memcpy(plain, der, (size_t)*ret_len);
    OPENSSL_clear_free(der, (size_t)*ret_len);
    return CKR_OK;
}

static bool aes(const char *name, const uint8_t *key, const uint8_t *iv, const uint8_t *in, int len,
                uint8_t *out, int *ret_len)
{
    EVP_CIPHER *cipher = EVP_CIPHER_fetch(mock.libctx, name, NULL);
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    bool good = cipher && ctx;

    if (good)
        EVP_CIPHER_CTX_set_flags(ctx, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
    good = good && EVP_EncryptInit_ex2(ctx, cipher, key, iv, NULL) == 1;
    if (good && strstr(name, "CBC"))
        EVP_CIPHER_CTX_set_padding(ctx, 0);
    good = good && EVP_EncryptUpdate(ctx, out, ret_len, in, len) == 1;
    EVP_CIPHER_CTX_free(ctx);
    EVP_CIPHER_free(cipher);
    return good;
}

static CK_RV wrap_aes(CK_MECHANISM_TYPE type, const struct mock_object *kek, uint8_t *plain,
                      int len, uint8_t *out, int *ret_len)
{
    const struct mock_attr *value = mock_get(kek, CKA_VALUE);
    const bool pkcs7 = type == mock_behaviour.pkcs7;

    if (!value || value->len != 32)
        return CKR_WRAPPING_KEY_TYPE_INCONSISTENT;
    if (pkcs7) {
        const int pad = 8 - len % 8;

        memset(plain + len, pad, (size_t)pad);
        len += pad;
    }
    if (!aes(pkcs7 ? "AES-256-WRAP" : "AES-256-WRAP-PAD", value->value, NULL, plain, len, out,
             ret_len))
        return CKR_FUNCTION_FAILED;
    return CKR_OK;
}

static CK_RV wrap_oaep(const CK_RSA_PKCS_OAEP_PARAMS *p, const struct mock_object *recipient,
                       const uint8_t *plain, int len, uint8_t *out, int *ret_len)
{
    const bool sha256 = p->hashAlg == CKM_SHA256 && p->mgf == CKG_MGF1_SHA256;
    const bool sha1 = p->hashAlg == CKM_SHA_1 && p->mgf == CKG_MGF1_SHA1;
    EVP_PKEY_CTX *ctx;
    size_t out_len = WRAPPED_MAX;
    bool good;

    if ((!sha1 && !sha256) || (sha256 && mock_behaviour.oaep_sha1_only))
        return CKR_MECHANISM_PARAM_INVALID;
    if (!recipient->key)
        return CKR_WRAPPING_KEY_TYPE_INCONSISTENT;
    ctx = EVP_PKEY_CTX_new_from_pkey(mock.libctx, recipient->key, NULL);
    good = ctx && EVP_PKEY_encrypt_init(ctx) == 1 &&
           EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING) == 1 &&
           EVP_PKEY_CTX_set_rsa_oaep_md_name(ctx, sha256 ? "SHA256" : "SHA1", NULL) == 1 &&
           EVP_PKEY_encrypt(ctx, out, &out_len, plain, (size_t)len) == 1;
    EVP_PKEY_CTX_free(ctx);
    *ret_len = (int)out_len;
    return good ? CKR_OK : CKR_FUNCTION_FAILED;
}

/* What has been made goes to the caller; or something else, by the rules. */
static void give_wrapped(const uint8_t *out, CK_ULONG len, const uint8_t *plain, CK_ULONG plain_len,
                         unsigned char *wrapped)
{
    static uint8_t first[WRAPPED_MAX];

    if (mock_behaviour.wrap_nothing)
        return;
    if (!first[0] && !first[1])
        memcpy(first, out, len);
    if (mock_behaviour.wrap_clear)
        memcpy(wrapped, plain, plain_len < len ? plain_len : len);
    else
        memcpy(wrapped, mock_behaviour.wrap_same ? first : out, len);
}

CK_RV C_WrapKey(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE wrapping,
                CK_OBJECT_HANDLE key, unsigned char *wrapped, CK_ULONG *wrapped_len)
{
    const CK_MECHANISM_TYPE type = mechanism->mechanism;
    struct mock_session *s;
    struct mock_object *kek, *o;
    uint8_t plain[PLAIN_MAX], out[WRAPPED_MAX];
    int plain_len = 0, len = 0;
    CK_RV rv;

    MOCK_ENTER();
    s = mock_session(session);
    if (!s)
        return CKR_SESSION_HANDLE_INVALID;
    rv = mock_mechanism(type);
    if (rv != CKR_OK)
        return rv;
    kek = mock_object(s, wrapping);
    o = mock_object(s, key);
    if (!kek)
        return CKR_WRAPPING_KEY_HANDLE_INVALID;
    if (!o)
        return CKR_KEY_HANDLE_INVALID;
    if (!mock_get_bool(kek, CKA_WRAP))
        return CKR_KEY_FUNCTION_NOT_PERMITTED;
    rv = plain_of(o, plain, &plain_len);
    if (rv == CKR_OK && type == CKM_RSA_PKCS_OAEP)
        rv = wrap_oaep(mechanism->pParameter, kek, plain, plain_len, out, &len);
    else if (rv == CKR_OK)
        rv = wrap_aes(type, kek, plain, plain_len, out, &len);
    if (rv == CKR_OK && *wrapped_len < (CK_ULONG)len)
        rv = CKR_BUFFER_TOO_SMALL;
    if (rv == CKR_OK) {
        *wrapped_len = (CK_ULONG)len - mock_behaviour.short_wrap;
        give_wrapped(out, *wrapped_len, plain, (CK_ULONG)plain_len, wrapped);
    }
    OPENSSL_cleanse(plain, sizeof(plain));
    return rv;
}

/* ---- deriving ---------------------------------------------------------------------------- */

static bool ecdh(const struct mock_object *base, const CK_ECDH1_DERIVE_PARAMS *p, uint8_t *secret,
                 size_t *ret_len)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(mock.libctx, base->key, NULL);
    EVP_PKEY *peer = EVP_PKEY_new();
    const bool good =
        ctx && peer && EVP_PKEY_copy_parameters(peer, base->key) == 1 &&
        EVP_PKEY_set1_encoded_public_key(peer, p->pPublicData, p->ulPublicDataLen) == 1 &&
        EVP_PKEY_derive_init(ctx) == 1 && EVP_PKEY_derive_set_peer(ctx, peer) == 1 &&
        EVP_PKEY_derive(ctx, secret, ret_len) == 1;

    EVP_PKEY_free(peer);
    EVP_PKEY_CTX_free(ctx);
    return good;
}

/* secret has room for 64 bytes; the key is its last 32. */
static CK_RV derive_secret(const CK_MECHANISM *mechanism, const struct mock_object *base,
                           uint8_t *secret, size_t *ret_len)
{
    const struct mock_attr *value = mock_get(base, CKA_VALUE);

    if (mechanism->mechanism == CKM_ECDH1_DERIVE) {
        const CK_ECDH1_DERIVE_PARAMS *p = mechanism->pParameter;

        if (p->kdf != CKD_NULL)
            return CKR_MECHANISM_PARAM_INVALID;
        if (!base->key)
            return CKR_KEY_TYPE_INCONSISTENT;
        return ecdh(base, p, secret, ret_len) ? CKR_OK : CKR_FUNCTION_FAILED;
    }
    if (mechanism->mechanism == CKM_AES_CBC_ENCRYPT_DATA) {
        const CK_AES_CBC_ENCRYPT_DATA_PARAMS *p = mechanism->pParameter;
        int len = 0;

        if (base->key || value->len != 32)
            return CKR_KEY_TYPE_INCONSISTENT;
        if (p->length != 32)
            return CKR_MECHANISM_PARAM_INVALID;
        *ret_len = 32;
        return aes("AES-256-CBC", value->value, p->iv, p->pData, 32, secret, &len)
                   ? CKR_OK
                   : CKR_FUNCTION_FAILED;
    }
    return CKR_MECHANISM_INVALID;
}

CK_RV C_DeriveKey(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE base_key,
                  CK_ATTRIBUTE *attrs, CK_ULONG n, CK_OBJECT_HANDLE *key)
{
    struct mock_session *s;
    struct mock_object *base, *o;
    CK_OBJECT_HANDLE handle;
    uint8_t secret[64];
    size_t len = sizeof(secret);
    CK_RV rv;

    MOCK_ENTER();
    s = mock_session(session);
    if (!s)
        return CKR_SESSION_HANDLE_INVALID;
    if (mock_mechanism(mechanism->mechanism) != CKR_OK)
        return CKR_MECHANISM_INVALID;
    base = mock_object(s, base_key);
    if (!base)
        return CKR_KEY_HANDLE_INVALID;
    if (!mock_get_bool(base, CKA_DERIVE))
        return CKR_KEY_FUNCTION_NOT_PERMITTED;
    rv = derive_secret(mechanism, base, secret, &len);
    if (rv != CKR_OK)
        return rv;
    rv = mock_object_new(session, attrs, n, &handle);
    if (rv != CKR_OK)
        return rv;
    o = mock_object_at(handle);
    if (mock_get_ulong(o, CKA_VALUE_LEN) != 32 ||
        !mock_set(o, CKA_VALUE, secret + len - 32, 32 - mock_behaviour.short_secret) ||
        !mock_key_defaults(o, false)) {
        mock_object_destroy(handle);
        return CKR_TEMPLATE_INCONSISTENT;
    }
    OPENSSL_cleanse(secret, sizeof(secret));
    *key = handle;
    return CKR_OK;
}

CK_RV C_GenerateRandom(CK_SESSION_HANDLE session, unsigned char *random, CK_ULONG len)
{
    MOCK_ENTER();
    if (!mock_session(session))
        return CKR_SESSION_HANDLE_INVALID;
    if (mock_behaviour.random_zero || mock_behaviour.random_same) {
        for (CK_ULONG i = 0; i < len; i++)
            random[i] = mock_behaviour.random_zero ? 0 : (unsigned char)(167 * i + (i >> 8));
        return CKR_OK;
    }
    return RAND_bytes_ex(mock.libctx, random, len, 0) == 1 ? CKR_OK : CKR_FUNCTION_FAILED;
}
