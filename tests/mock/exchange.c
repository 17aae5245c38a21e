/* SPDX-License-Identifier: Apache-2.0 */
/* What opening packages and taking in keys from outside need: RSA pairs, RSA signatures,
 * decrypting, unwrapping. */
#include "tests/mock/mock.h"

#include <openssl/core_names.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <string.h>

enum { PKCS8_MAX = 4096, MODULUS_MAX = 512 };

/* ---- RSA keys ---------------------------------------------------------------------------- */

static bool set_number(struct mock_object *o, CK_ATTRIBUTE_TYPE type, const EVP_PKEY *key,
                       const char *name)
{
    uint8_t value[MODULUS_MAX];
    BIGNUM *n = NULL;
    const bool good = EVP_PKEY_get_bn_param(key, name, &n) == 1 && BN_num_bytes(n) <= MODULUS_MAX &&
                      BN_bn2bin(n, value) > 0 &&
                      mock_set(o, type, value, (CK_ULONG)BN_num_bytes(n));

    BN_free(n);
    return good;
}

static bool set_public(struct mock_object *o, const EVP_PKEY *key)
{
    return mock_set_ulong(o, CKA_KEY_TYPE, CKK_RSA) &&
           set_number(o, CKA_MODULUS, key, OSSL_PKEY_PARAM_RSA_N) &&
           set_number(o, CKA_PUBLIC_EXPONENT, key, OSSL_PKEY_PARAM_RSA_E);
}

/* A new pair takes a second, so there is one for the life of the process, and of those that it
 * forks; in a library context that lives as long. */
static EVP_PKEY *the_pair(CK_ULONG bits)
{
    static OSSL_LIB_CTX *libctx;
    static EVP_PKEY *key;

    if (!libctx)
        libctx = OSSL_LIB_CTX_new();
    if (key && (CK_ULONG)EVP_PKEY_get_bits(key) != bits) {
        EVP_PKEY_free(key);
        key = NULL;
    }
    if (!key && libctx)
        key = EVP_PKEY_Q_keygen(libctx, NULL, "RSA", (size_t)bits);
    return key;
}

bool mock_rsa_fill_pair(struct mock_object *public_key, struct mock_object *private_key)
{
    EVP_PKEY *key = the_pair(mock_get_ulong(public_key, CKA_MODULUS_BITS));

    if (!key)
        return false;
    EVP_PKEY_up_ref(key);
    public_key->key = key;
    EVP_PKEY_up_ref(key);
    private_key->key = key;
    return set_public(public_key, key) && set_public(private_key, key);
}

CK_RV mock_rsa_sign(const struct mock_object *o, const uint8_t *data, CK_ULONG len,
                    uint8_t signature[MOCK_SIGNATURE_MAX], CK_ULONG *ret_len)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    size_t made = MOCK_SIGNATURE_MAX;
    const bool good =
        ctx && EVP_DigestSignInit_ex(ctx, NULL, "SHA256", mock.libctx, NULL, o->key, NULL) == 1 &&
        EVP_DigestSign(ctx, signature, &made, data, len) == 1;

    EVP_MD_CTX_free(ctx);
    *ret_len = made;
    return good ? CKR_OK : CKR_FUNCTION_FAILED;
}

/* ---- decrypting -------------------------------------------------------------------------- */

CK_RV C_DecryptInit(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key)
{
    const CK_RSA_PKCS_OAEP_PARAMS *p = mechanism->pParameter;
    struct mock_session *s;
    struct mock_object *o;
    bool sha256;

    MOCK_ENTER();
    s = mock_session(session);
    if (!s)
        return CKR_SESSION_HANDLE_INVALID;
    if (s->decrypt_key)
        return CKR_OPERATION_ACTIVE;
    if (mechanism->mechanism != CKM_RSA_PKCS_OAEP || mock_mechanism(CKM_RSA_PKCS_OAEP) != CKR_OK)
        return CKR_MECHANISM_INVALID;
    sha256 = p->hashAlg == CKM_SHA256 && p->mgf == CKG_MGF1_SHA256;
    if ((!sha256 && (p->hashAlg != CKM_SHA_1 || p->mgf != CKG_MGF1_SHA1)) ||
        (sha256 && mock_behaviour.oaep_sha1_only))
        return CKR_MECHANISM_PARAM_INVALID;
    o = mock_object(s, key);
    if (!o)
        return CKR_KEY_HANDLE_INVALID;
    if (!mock_get_bool(o, CKA_DECRYPT))
        return CKR_KEY_FUNCTION_NOT_PERMITTED;
    s->decrypt_key = key;
    s->decrypt_sha256 = sha256;
    return CKR_OK;
}

CK_RV C_Decrypt(CK_SESSION_HANDLE session, unsigned char *data, CK_ULONG len, unsigned char *out,
                CK_ULONG *out_len)
{
    struct mock_session *s;
    struct mock_object *o;
    EVP_PKEY_CTX *ctx;
    size_t n = *out_len;
    bool good;

    MOCK_ENTER();
    s = mock_session(session);
    if (!s)
        return CKR_SESSION_HANDLE_INVALID;
    if (!s->decrypt_key)
        return CKR_OPERATION_NOT_INITIALIZED;
    o = mock_object(s, s->decrypt_key);
    s->decrypt_key = 0;
    if (!o)
        return CKR_KEY_HANDLE_INVALID;
    if (len != (CK_ULONG)EVP_PKEY_get_size(o->key))
        return CKR_ENCRYPTED_DATA_LEN_RANGE;
    ctx = EVP_PKEY_CTX_new_from_pkey(mock.libctx, o->key, NULL);
    good =
        ctx && EVP_PKEY_decrypt_init(ctx) == 1 &&
        EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING) == 1 &&
        EVP_PKEY_CTX_set_rsa_oaep_md_name(ctx, s->decrypt_sha256 ? "SHA256" : "SHA1", NULL) == 1 &&
        EVP_PKEY_decrypt(ctx, out, &n, data, len) == 1;
    EVP_PKEY_CTX_free(ctx);
    *out_len = n;
    return good ? CKR_OK : CKR_ENCRYPTED_DATA_INVALID;
}

/* ---- unwrapping -------------------------------------------------------------------------- */

static bool aes_unwrap(const struct mock_attr *kek, const uint8_t *in, CK_ULONG len, uint8_t *out,
                       int *ret_len)
{
    EVP_CIPHER *cipher = EVP_CIPHER_fetch(mock.libctx, "AES-256-WRAP-PAD", NULL);
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    bool good = cipher && ctx && kek && kek->len == 32 && len <= PKCS8_MAX;

    if (good)
        EVP_CIPHER_CTX_set_flags(ctx, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
    good = good && EVP_DecryptInit_ex2(ctx, cipher, kek->value, NULL, NULL) == 1 &&
           EVP_DecryptUpdate(ctx, out, ret_len, in, (int)len) == 1;
    EVP_CIPHER_CTX_free(ctx);
    EVP_CIPHER_free(cipher);
    return good;
}

/* A private key of PKCS#8. */
static bool fill_private(struct mock_object *o, const uint8_t *pkcs8, int len)
{
    o->key = d2i_AutoPrivateKey_ex(NULL, &pkcs8, len, mock.libctx, NULL);
    if (!o->key)
        return false;
    if (EVP_PKEY_is_a(o->key, "RSA"))
        return mock_get_ulong(o, CKA_KEY_TYPE) == CKK_RSA && set_public(o, o->key);
    return mock_get_ulong(o, CKA_KEY_TYPE) == CKK_EC && mock_ec_private(o, o->key);
}

/* What the template says that it is. */
static bool fill(struct mock_object *o, const uint8_t *value, int len)
{
    const CK_ULONG class = mock_get_ulong(o, CKA_CLASS);

    if (class == CKO_SECRET_KEY)
        return mock_set(o, CKA_VALUE, value, (CK_ULONG)len) &&
               mock_set_ulong(o, CKA_VALUE_LEN, (CK_ULONG)len) && mock_key_defaults(o, false);
    return class == CKO_PRIVATE_KEY && fill_private(o, value, len) && mock_key_defaults(o, false);
}

CK_RV C_UnwrapKey(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE unwrapping,
                  unsigned char *wrapped, CK_ULONG wrapped_len, CK_ATTRIBUTE *attrs, CK_ULONG n,
                  CK_OBJECT_HANDLE *key)
{
    struct mock_session *s;
    struct mock_object *kek;
    CK_OBJECT_HANDLE handle;
    uint8_t value[PKCS8_MAX];
    int len = 0;
    CK_RV rv;
    bool good;

    MOCK_ENTER();
    s = mock_session(session);
    if (!s)
        return CKR_SESSION_HANDLE_INVALID;
    if (mechanism->mechanism != mock_behaviour.kwp || mock_behaviour.kwp == 0)
        return CKR_MECHANISM_INVALID;
    kek = mock_object(s, unwrapping);
    if (!kek)
        return CKR_UNWRAPPING_KEY_HANDLE_INVALID;
    if (!mock_get_bool(kek, CKA_UNWRAP))
        return CKR_KEY_FUNCTION_NOT_PERMITTED;
    if (!aes_unwrap(mock_get(kek, CKA_VALUE), wrapped, wrapped_len, value, &len))
        return CKR_WRAPPED_KEY_INVALID;
    rv = mock_object_new(session, attrs, n, &handle);
    if (rv != CKR_OK)
        return rv;
    good = fill(mock_object_at(handle), value, len);
    OPENSSL_cleanse(value, sizeof(value));
    return mock_finish_key(handle, good, key);
}
