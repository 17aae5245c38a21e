/* SPDX-License-Identifier: Apache-2.0 */
#include "pkcs11/soft.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>

const uint8_t mm_known_key[MM_AES_256_BYTES] = {
    0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f,
    0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f};
const uint8_t mm_known_kek[MM_AES_256_BYTES] = {
    0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28, 0x29, 0x2a, 0x2b, 0x2c, 0x2d, 0x2e, 0x2f,
    0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3a, 0x3b, 0x3c, 0x3d, 0x3e, 0x3f};

MM_DEFINE_CLEANUP(EVP_CIPHER_CTX *, EVP_CIPHER_CTX_free)
MM_DEFINE_CLEANUP(EVP_PKEY_CTX *, EVP_PKEY_CTX_free)
MM_DEFINE_CLEANUP(ECDSA_SIG *, ECDSA_SIG_free)
MM_DEFINE_CLEANUP(BIGNUM *, BN_free)

static int fail_crypto(struct mm_errinfo *ei, const char *what)
{
    return mm_fail(ei, MM_ERR_INTERNAL, "LIBCRYPTO_FAILED", "libcrypto: %s failed", what);
}

int mm_soft_kwp_wrap(const uint8_t kek[MM_AES_256_BYTES], const uint8_t *data, size_t len,
                     uint8_t *wrapped, struct mm_errinfo *ei)
{
    MM_CLEANUP(EVP_CIPHER_CTX_free_p) EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int n = 0;

    if (!ctx)
        return mm_fail_memory(ei);
    EVP_CIPHER_CTX_set_flags(ctx, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
    if (EVP_EncryptInit_ex(ctx, EVP_aes_256_wrap_pad(), NULL, kek, NULL) != 1 ||
        EVP_EncryptUpdate(ctx, wrapped, &n, data, (int)len) != 1)
        return fail_crypto(ei, "AES key wrap");
    return MM_OK;
}

int mm_soft_kwp_unwrap(const uint8_t kek[MM_AES_256_BYTES], const uint8_t *wrapped, size_t len,
                       uint8_t *data, size_t *ret_len, struct mm_errinfo *ei)
{
    MM_CLEANUP(EVP_CIPHER_CTX_free_p) EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int n = 0;

    if (!ctx)
        return mm_fail_memory(ei);
    EVP_CIPHER_CTX_set_flags(ctx, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
    if (EVP_DecryptInit_ex(ctx, EVP_aes_256_wrap_pad(), NULL, kek, NULL) != 1)
        return fail_crypto(ei, "AES key unwrap");
    if (EVP_DecryptUpdate(ctx, data, &n, wrapped, (int)len) != 1 || n <= 0)
        return mm_fail(ei, MM_ERR_CORRUPT, "UNWRAP_FAILED", "the wrapped key does not unwrap");
    *ret_len = (size_t)n;
    return MM_OK;
}

int mm_soft_ec_public(const struct mm_curve_info *curve, const uint8_t *point, size_t len,
                      EVP_PKEY **ret_key, struct mm_errinfo *ei)
{
    MM_CLEANUP(EVP_PKEY_CTX_free_p)
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    /* OSSL_PARAM takes pointers to non-const, and does not write. */
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, (char *)(uintptr_t)curve->name,
                                         0),
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, (void *)(uintptr_t)point, len),
        OSSL_PARAM_construct_end(),
    };

    if (!ctx)
        return mm_fail_memory(ei);
    /* Decoding the point checks that it is on the curve. */
    if (EVP_PKEY_fromdata_init(ctx) != 1 ||
        EVP_PKEY_fromdata(ctx, ret_key, EVP_PKEY_PUBLIC_KEY, params) != 1)
        return mm_fail(ei, MM_ERR_CORRUPT, "TOKEN_POINT_INVALID", "the point is not on curve %s",
                       curve->name);
    return MM_OK;
}

int mm_soft_ec_point(EVP_PKEY *key, const struct mm_curve_info **ret_curve,
                     uint8_t point[MM_POINT_MAX], struct mm_errinfo *ei)
{
    MM_CLEANUP(EVP_PKEY_CTX_free_p) EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
    MM_CLEANUP(BN_free_p) BIGNUM *x = NULL;
    MM_CLEANUP(BN_free_p) BIGNUM *y = NULL;
    const struct mm_curve_info *curve;
    char group[32];

    if (!ctx)
        return mm_fail_memory(ei);
    if (EVP_PKEY_get_group_name(key, group, sizeof(group), NULL) != 1)
        group[0] = 0;
    curve = mm_curve_by_group(group);
    if (!curve)
        return mm_fail(ei, MM_ERR_INVALID, "RECIPIENT_KEY",
                       "the EC key is on neither P-256 nor P-384");
    if (EVP_PKEY_public_check(ctx) != 1)
        return mm_fail(ei, MM_ERR_INVALID, "RECIPIENT_KEY", "the EC key is not on its curve");
    if (EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_EC_PUB_X, &x) != 1 ||
        EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_EC_PUB_Y, &y) != 1 ||
        BN_bn2binpad(x, point + 1, (int)curve->bytes) < 0 ||
        BN_bn2binpad(y, point + 1 + curve->bytes, (int)curve->bytes) < 0)
        return fail_crypto(ei, "reading the EC key");
    point[0] = 0x04;
    *ret_curve = curve;
    return MM_OK;
}

bool mm_soft_ecdsa_verify(EVP_PKEY *key, const uint8_t *digest, size_t digest_len,
                          const uint8_t *signature, size_t len)
{
    MM_CLEANUP(ECDSA_SIG_free_p) ECDSA_SIG *sig = ECDSA_SIG_new();
    MM_CLEANUP(EVP_PKEY_CTX_free_p) EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
    uint8_t der[MM_SIGNATURE_MAX + 16], *end = der;
    BIGNUM *r = BN_bin2bn(signature, (int)(len / 2), NULL);
    BIGNUM *s = BN_bin2bn(signature + len / 2, (int)(len / 2), NULL);
    int der_len;

    if (len > MM_SIGNATURE_MAX || !sig || !ctx || !r || !s || ECDSA_SIG_set0(sig, r, s) != 1) {
        BN_free(r);
        BN_free(s);
        return false;
    }
    der_len = i2d_ECDSA_SIG(sig, &end);
    return der_len > 0 && EVP_PKEY_verify_init(ctx) == 1 &&
           EVP_PKEY_verify(ctx, der, (size_t)der_len, digest, digest_len) == 1;
}

int mm_soft_rsa_public(EVP_PKEY *key, struct mm_rsa_public *ret_rsa, struct mm_errinfo *ei)
{
    MM_CLEANUP(BN_free_p) BIGNUM *n = NULL;
    MM_CLEANUP(BN_free_p) BIGNUM *e = NULL;

    if (EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_N, &n) != 1 ||
        EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_E, &e) != 1)
        return fail_crypto(ei, "reading the RSA key");
    if ((size_t)BN_num_bytes(n) > sizeof(ret_rsa->modulus) ||
        (size_t)BN_num_bytes(e) > sizeof(ret_rsa->exponent))
        return mm_fail(ei, MM_ERR_INVALID, "RECIPIENT_KEY", "the RSA key is too large");
    ret_rsa->modulus_len = (size_t)BN_bn2bin(n, ret_rsa->modulus);
    ret_rsa->exponent_len = (size_t)BN_bn2bin(e, ret_rsa->exponent);
    return MM_OK;
}
