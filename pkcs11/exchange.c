/* SPDX-License-Identifier: Apache-2.0 */
/* The key that opens packages. */
#include "pkcs11/exchange.h"
#include "pkcs11/soft.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <string.h>

enum { MODULUS_MAX = 1024, OPENED_MAX = 1024 };

int mm_token_delete_pair(struct mm_token *t, mm_handle private_key, struct mm_errinfo *ei)
{
    CK_OBJECT_HANDLE public_key;
    int r = mm_token_public_half(t, private_key, &public_key, ei);

    if (r == MM_OK)
        r = mm_object_destroy(t, public_key, ei);
    if (r == MM_OK || r == MM_ERR_NOT_FOUND)
        r = mm_object_destroy(t, private_key, ei);
    return r;
}

/* ---- the public half --------------------------------------------------------------------- */

MM_DEFINE_CLEANUP(EVP_PKEY_CTX *, EVP_PKEY_CTX_free)
MM_DEFINE_CLEANUP(OSSL_PARAM_BLD *, OSSL_PARAM_BLD_free)
MM_DEFINE_CLEANUP(OSSL_PARAM *, OSSL_PARAM_free)
MM_DEFINE_CLEANUP(BIGNUM *, BN_free)

static int rsa_from_numbers(struct mm_bytes modulus, struct mm_bytes exponent, EVP_PKEY **ret_key,
                            struct mm_errinfo *ei)
{
    MM_CLEANUP(BN_free_p) BIGNUM *n = BN_bin2bn(modulus.data, (int)modulus.len, NULL);
    MM_CLEANUP(BN_free_p) BIGNUM *e = BN_bin2bn(exponent.data, (int)exponent.len, NULL);
    MM_CLEANUP(OSSL_PARAM_BLD_free_p) OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    MM_CLEANUP(EVP_PKEY_CTX_free_p)
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    MM_CLEANUP(OSSL_PARAM_free_p) OSSL_PARAM *params = NULL;
    EVP_PKEY *key = NULL;

    if (n && e && build && OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n) == 1 &&
        OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, e) == 1)
        params = OSSL_PARAM_BLD_to_param(build);
    if (!params || !ctx || EVP_PKEY_fromdata_init(ctx) != 1 ||
        EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) != 1) {
        ERR_clear_error();
        return mm_fail_memory(ei);
    }
    *ret_key = key;
    return MM_OK;
}

static int public_rsa(struct mm_token *t, CK_OBJECT_HANDLE public_key, EVP_PKEY **ret_key,
                      struct mm_errinfo *ei)
{
    uint8_t modulus[MODULUS_MAX], exponent[8];
    CK_ULONG n = 0, e = 0;
    int r = mm_object_read(t, public_key, CKA_MODULUS, modulus, sizeof(modulus), &n, ei);

    if (r == MM_OK)
        r = mm_object_read(t, public_key, CKA_PUBLIC_EXPONENT, exponent, sizeof(exponent), &e, ei);
    if (r < 0)
        return r;
    if (n == CK_UNAVAILABLE_INFORMATION || e == CK_UNAVAILABLE_INFORMATION)
        return mm_fail(ei, MM_ERR_CORRUPT, "TOKEN_ATTRIBUTE_INVALID",
                       "the RSA public key has no modulus or no exponent");
    return rsa_from_numbers((struct mm_bytes){modulus, n}, (struct mm_bytes){exponent, e}, ret_key,
                            ei);
}

int mm_token_public_key(struct mm_token *t, mm_handle private_key, EVP_PKEY **ret_key,
                        struct mm_errinfo *ei)
{
    CK_OBJECT_HANDLE public_key = CK_INVALID_HANDLE;
    uint8_t point[MM_POINT_MAX];
    CK_KEY_TYPE type = 0;
    enum mm_curve curve;
    CK_ULONG len;
    size_t n;
    int r = mm_token_public_half(t, private_key, &public_key, ei);

    if (r == MM_OK)
        r = mm_object_read(t, public_key, CKA_KEY_TYPE, &type, sizeof(type), &len, ei);
    if (r < 0)
        return r;
    if (type == CKK_RSA)
        return public_rsa(t, public_key, ret_key, ei);
    r = mm_token_public_point(t, private_key, &curve, point, &n, ei);
    return r < 0 ? r : mm_soft_ec_public(mm_curve_get(curve), point, n, ret_key, ei);
}

/* ---- opening ----------------------------------------------------------------------------- */

/* The value of the secret that was agreed on; of its full length, leading zeros and all. */
static int read_shared(struct mm_token *t, CK_OBJECT_HANDLE shared, size_t len,
                       struct mm_secret **ret_shared, struct mm_errinfo *ei)
{
    MM_SECRET_CLEANUP struct mm_secret *value = NULL;
    CK_ULONG got = 0;
    int r = mm_secret_new(len, &value);

    if (r < 0)
        return mm_fail_memory(ei);
    r = mm_object_read(t, shared, CKA_VALUE, mm_secret_data(value), len, &got, ei);
    if (r < 0)
        return r;
    if (got != len)
        return mm_fail(ei, MM_ERR_CORRUPT, "TOKEN_ATTRIBUTE_INVALID",
                       "the token agreed on a secret of %lu bytes", got);
    *ret_shared = MM_TAKE(value);
    return MM_OK;
}

int mm_token_agree(struct mm_token *t, mm_handle key, const uint8_t *point, size_t len,
                   struct mm_secret **ret_shared, struct mm_errinfo *ei)
{
    const struct mm_curve_info *const curve = mm_curve_get(MM_CURVE_P256);
    MM_EVP_PKEY_CLEANUP EVP_PKEY *peer = NULL;
    CK_ECDH1_DERIVE_PARAMS ecdh = {
        .kdf = CKD_NULL, .ulPublicDataLen = len, .pPublicData = (CK_BYTE *)(uintptr_t)point};
    CK_MECHANISM mechanism = {CKM_ECDH1_DERIVE, &ecdh, sizeof(ecdh)};
    CK_OBJECT_CLASS class = CKO_SECRET_KEY;
    CK_KEY_TYPE type = CKK_GENERIC_SECRET;
    CK_ULONG bytes = curve->bytes;
    CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    CK_ATTRIBUTE attrs[] = {
        MM_ATTR(CKA_CLASS, class),     MM_ATTR(CKA_KEY_TYPE, type), MM_ATTR(CKA_VALUE_LEN, bytes),
        MM_ATTR(CKA_TOKEN, no),        MM_ATTR(CKA_PRIVATE, yes),   MM_ATTR(CKA_SENSITIVE, no),
        MM_ATTR(CKA_EXTRACTABLE, yes),
    };
    CK_OBJECT_HANDLE shared = CK_INVALID_HANDLE;
    CK_RV rv;
    int r;

    /* A point off the curve would make the answer tell about the key. */
    if (mm_soft_ec_public(curve, point, len, &peer, NULL) < 0)
        return mm_fail(ei, MM_ERR_INVALID, "PACKAGE_RECIPIENT",
                       "the package's ephemeral key is no point of P-256");
    rv = MM_CK(t, C_DeriveKey(t->session, &mechanism, key, attrs, MM_ARRAY_SIZE(attrs), &shared));
    if (rv != CKR_OK)
        return mm_token_fail(ei, rv, "C_DeriveKey");
    r = read_shared(t, shared, bytes, ret_shared, ei);
    mm_object_drop(t, shared);
    return r;
}

int mm_token_open_oaep(struct mm_token *t, mm_handle key, bool sha256, struct mm_bytes sealed,
                       struct mm_secret **ret_opened, struct mm_errinfo *ei)
{
    CK_RSA_PKCS_OAEP_PARAMS params = {
        .hashAlg = sha256 ? CKM_SHA256 : CKM_SHA_1,
        .mgf = sha256 ? CKG_MGF1_SHA256 : CKG_MGF1_SHA1,
        .source = CKZ_DATA_SPECIFIED,
    };
    CK_MECHANISM mechanism = {CKM_RSA_PKCS_OAEP, &params, sizeof(params)};
    MM_SECRET_CLEANUP struct mm_secret *opened = NULL;
    CK_ULONG len = OPENED_MAX;
    CK_RV rv;

    if (mm_secret_new(len, &opened) < 0)
        return mm_fail_memory(ei);
    rv = MM_CK(t, C_DecryptInit(t->session, &mechanism, key));
    if (rv == CKR_ARGUMENTS_BAD || rv == CKR_MECHANISM_PARAM_INVALID)
        return mm_fail(ei, MM_ERR_UNSUPPORTED, "PACKAGE_ALGORITHM",
                       "the token has no RSA-OAEP with SHA-%s", sha256 ? "256" : "1");
    if (rv != CKR_OK)
        return mm_token_fail(ei, rv, "C_DecryptInit");
    rv = MM_CK(t, C_Decrypt(t->session, (CK_BYTE *)(uintptr_t)sealed.data, sealed.len,
                            mm_secret_data(opened), &len));
    if (rv == CKR_ENCRYPTED_DATA_INVALID || rv == CKR_ENCRYPTED_DATA_LEN_RANGE ||
        rv == CKR_GENERAL_ERROR || (rv == CKR_OK && (len == 0 || len > OPENED_MAX)))
        return mm_fail(ei, MM_ERR_INVALID, "PACKAGE_DECRYPT",
                       "the exchange key does not open the package's key: it was changed on the "
                       "way, or made for another");
    if (rv != CKR_OK)
        return mm_token_fail(ei, rv, "C_Decrypt");
    mm_secret_truncate(opened, len);
    *ret_opened = MM_TAKE(opened);
    return MM_OK;
}
