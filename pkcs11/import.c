/* SPDX-License-Identifier: Apache-2.0 */
/* Private keys that come from outside: into the token, and never out again. */
#include "pkcs11/exchange.h"
#include "pkcs11/policy.h"
#include "pkcs11/soft.h"

#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <string.h>

enum {
    ID_BYTES = 16,
    PKCS8_MAX = 4096, /* RSA-4096: 2,376 bytes */
    ATTRS_MAX = MM_POLICY_ATTRS_MAX + 4,
    RSA_BITS_MIN = 2048,
    RSA_BITS_MAX = 4096,
};

struct import {
    const char *label;
    EVP_PKEY *key;
    bool rsa;
    uint8_t id[ID_BYTES];
    const struct mm_curve_info *curve;   /* EC */
    uint8_t point[MM_EC_POINT_ATTR_MAX]; /* in its OCTET STRING */
    size_t point_len;
    struct mm_rsa_public numbers; /* RSA */
};

MM_DEFINE_CLEANUP(EVP_MD_CTX *, EVP_MD_CTX_free)
MM_DEFINE_CLEANUP(PKCS8_PRIV_KEY_INFO *, PKCS8_PRIV_KEY_INFO_free)

/* ---- what it is -------------------------------------------------------------------------- */

static int take_id(struct import *in, struct mm_errinfo *ei)
{
    uint8_t digest[SHA256_DIGEST_LENGTH];
    unsigned char *der = NULL;
    const int len = i2d_PUBKEY(in->key, &der);

    if (len <= 0)
        return mm_fail_memory(ei);
    SHA256(der, (size_t)len, digest);
    OPENSSL_free(der);
    memcpy(in->id, digest, ID_BYTES);
    return MM_OK;
}

static int take_public(struct import *in, struct mm_errinfo *ei)
{
    const int bits = EVP_PKEY_get_bits(in->key);
    int r;

    in->rsa = EVP_PKEY_is_a(in->key, "RSA");
    if (in->rsa && (bits < RSA_BITS_MIN || bits > RSA_BITS_MAX))
        return mm_fail(ei, MM_ERR_UNSUPPORTED, "PACKAGE_KEY",
                       "an RSA key of %d bits; %d to %d are taken", bits, RSA_BITS_MIN,
                       RSA_BITS_MAX);
    if (in->rsa) {
        r = mm_soft_rsa_public(in->key, &in->numbers, ei);
    } else {
        if (!EVP_PKEY_is_a(in->key, "EC") ||
            mm_soft_ec_point(in->key, &in->curve, in->point + 2, NULL) < 0)
            return mm_fail(ei, MM_ERR_UNSUPPORTED, "PACKAGE_KEY",
                           "a key that is neither RSA nor EC on P-256 or P-384");
        in->point_len = 1 + 2 * in->curve->bytes;
        in->point[0] = 0x04; /* OCTET STRING; below 128 bytes */
        in->point[1] = (uint8_t)in->point_len;
        in->point_len += 2;
        r = MM_OK;
    }
    return r < 0 ? r : take_id(in, ei);
}

/* ---- the private half -------------------------------------------------------------------- */

static int encode(const struct import *in, struct mm_secret **ret_pkcs8, struct mm_errinfo *ei)
{
    MM_CLEANUP(PKCS8_PRIV_KEY_INFO_free_p) PKCS8_PRIV_KEY_INFO *p8 = EVP_PKEY2PKCS8(in->key);
    MM_SECRET_CLEANUP struct mm_secret *pkcs8 = NULL;
    unsigned char *at;
    const int len = p8 ? i2d_PKCS8_PRIV_KEY_INFO(p8, NULL) : 0;

    if (len <= 0 || len > PKCS8_MAX || mm_secret_new((size_t)len, &pkcs8) < 0) {
        ERR_clear_error();
        return mm_fail_memory(ei);
    }
    at = mm_secret_data(pkcs8);
    if (i2d_PKCS8_PRIV_KEY_INFO(p8, &at) != len)
        return mm_fail_memory(ei);
    *ret_pkcs8 = MM_TAKE(pkcs8);
    return MM_OK;
}

/* An AES key that nobody else knows, here and in the token. */
static int make_wrapping_key(struct mm_token *t, uint8_t value[MM_AES_256_BYTES],
                             CK_OBJECT_HANDLE *ret_key, struct mm_errinfo *ei)
{
    CK_OBJECT_CLASS class = CKO_SECRET_KEY;
    CK_KEY_TYPE type = CKK_AES;
    CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    CK_ATTRIBUTE attrs[] = {
        MM_ATTR(CKA_CLASS, class),
        MM_ATTR(CKA_KEY_TYPE, type),
        MM_ATTR(CKA_TOKEN, no),
        MM_ATTR(CKA_PRIVATE, yes),
        MM_ATTR(CKA_SENSITIVE, yes),
        MM_ATTR(CKA_EXTRACTABLE, no),
        MM_ATTR(CKA_UNWRAP, yes),
        MM_ATTR(CKA_WRAP, no),
        MM_ATTR(CKA_ENCRYPT, no),
        MM_ATTR(CKA_DECRYPT, no),
        MM_ATTR_BYTES(CKA_VALUE, value, MM_AES_256_BYTES),
    };
    CK_RV rv;

    if (RAND_priv_bytes(value, MM_AES_256_BYTES) != 1)
        return mm_fail(ei, MM_ERR_INTERNAL, "RANDOM", "no random bytes");
    rv = MM_CK(t, C_CreateObject(t->session, attrs, MM_ARRAY_SIZE(attrs), ret_key));
    if (rv == CKR_OK)
        return MM_OK;
    if (mm_token_error_class(rv) != MM_TOKEN_FATAL)
        return mm_token_fail(ei, rv, "C_CreateObject");
    return mm_fail(ei, MM_ERR_UNSUPPORTED, "TOKEN_IMPORT_REFUSED",
                   "the token takes no keys from outside: %s", mm_token_rv_name(rv));
}

static CK_RV unwrap(struct mm_token *t, const struct import *in, CK_OBJECT_HANDLE kek,
                    const uint8_t *wrapped, size_t len, enum mm_policy_extent extent,
                    CK_OBJECT_HANDLE *ret_key)
{
    CK_MECHANISM mechanism = {t->mechanisms.aes_kwp, NULL, 0};
    CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
    CK_KEY_TYPE type = in->rsa ? CKK_RSA : CKK_EC;
    CK_ATTRIBUTE attrs[ATTRS_MAX] = {MM_ATTR(CKA_CLASS, class), MM_ATTR(CKA_KEY_TYPE, type)};
    CK_ULONG n = 2;

    n += mm_policy_template(MM_USE_IMPORTED, MM_CURVE_P256, extent, attrs + n, MM_POLICY_ATTRS_MAX);
    attrs[n++] = MM_ATTR_BYTES(CKA_LABEL, in->label, strlen(in->label));
    attrs[n++] = MM_ATTR_BYTES(CKA_ID, in->id, ID_BYTES);
    return MM_CK(t, C_UnwrapKey(t->session, &mechanism, kek, (CK_BYTE *)(uintptr_t)wrapped, len,
                                attrs, n, ret_key));
}

static int bring_private(struct mm_token *t, const struct import *in, CK_OBJECT_HANDLE *ret_key,
                         struct mm_errinfo *ei)
{
    MM_SECRET_CLEANUP struct mm_secret *pkcs8 = NULL, *kek_value = NULL;
    uint8_t wrapped[PKCS8_MAX + 16];
    CK_OBJECT_HANDLE kek = CK_INVALID_HANDLE;
    size_t len;
    CK_RV rv;
    int r;

    if (t->mechanisms.aes_kwp == 0)
        return mm_fail(ei, MM_ERR_UNSUPPORTED, "TOKEN_MECHANISM_UNSUPPORTED",
                       "the token cannot unwrap keys as RFC 5649 has it");
    r = encode(in, &pkcs8, ei);
    if (r == MM_OK && mm_secret_new(MM_AES_256_BYTES, &kek_value) < 0)
        r = mm_fail_memory(ei);
    if (r == MM_OK)
        r = make_wrapping_key(t, mm_secret_data(kek_value), &kek, ei);
    if (r == MM_OK)
        r = mm_soft_kwp_wrap(mm_secret_data(kek_value), mm_secret_data(pkcs8), mm_secret_len(pkcs8),
                             wrapped, ei);
    if (r == MM_OK) {
        len = (mm_secret_len(pkcs8) + 7) / 8 * 8 + 8;
        rv = unwrap(t, in, kek, wrapped, len, MM_TEMPLATE_ALL, ret_key);
        if (mm_key_template_refused(t, rv))
            rv = unwrap(t, in, kek, wrapped, len, MM_TEMPLATE_CHECKED, ret_key);
        if (mm_key_template_refused(t, rv))
            rv = unwrap(t, in, kek, wrapped, len, MM_TEMPLATE_LEAST, ret_key);
        r = rv == CKR_OK ? MM_OK : mm_token_fail(ei, rv, "C_UnwrapKey");
    }
    mm_object_drop(t, kek);
    return r;
}

/* ---- the public half --------------------------------------------------------------------- */

static int bring_public(struct mm_token *t, const struct import *in, CK_OBJECT_HANDLE *ret_key,
                        struct mm_errinfo *ei)
{
    CK_OBJECT_CLASS class = CKO_PUBLIC_KEY;
    CK_KEY_TYPE type = in->rsa ? CKK_RSA : CKK_EC;
    CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    CK_ATTRIBUTE attrs[10] = {
        MM_ATTR(CKA_CLASS, class),
        MM_ATTR(CKA_KEY_TYPE, type),
        MM_ATTR(CKA_TOKEN, yes),
        MM_ATTR(CKA_PRIVATE, no),
        MM_ATTR(CKA_VERIFY, yes),
        MM_ATTR_BYTES(CKA_LABEL, in->label, strlen(in->label)),
        MM_ATTR_BYTES(CKA_ID, in->id, ID_BYTES),
    };
    CK_ULONG n = 7;
    CK_RV rv;

    if (in->rsa) {
        attrs[n++] = MM_ATTR_BYTES(CKA_MODULUS, in->numbers.modulus, in->numbers.modulus_len);
        attrs[n++] =
            MM_ATTR_BYTES(CKA_PUBLIC_EXPONENT, in->numbers.exponent, in->numbers.exponent_len);
    } else {
        attrs[n++] = MM_ATTR_BYTES(CKA_EC_PARAMS, in->curve->params, in->curve->params_len);
        attrs[n++] = MM_ATTR_BYTES(CKA_EC_POINT, in->point, in->point_len);
    }
    rv = MM_CK(t, C_CreateObject(t->session, attrs, n, ret_key));
    return rv == CKR_OK ? MM_OK : mm_token_fail(ei, rv, "C_CreateObject of a public key");
}

/* ---- trying it --------------------------------------------------------------------------- */

static bool rsa_verifies(const struct import *in, const uint8_t *message, size_t len,
                         const uint8_t *signature, size_t signature_len)
{
    MM_CLEANUP(EVP_MD_CTX_free_p) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    const bool good = ctx && EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, in->key) == 1 &&
                      EVP_DigestVerify(ctx, signature, signature_len, message, len) == 1;

    ERR_clear_error();
    return good;
}

static int try_rsa(struct mm_token *t, const struct import *in, CK_OBJECT_HANDLE key,
                   const uint8_t *message, size_t len, bool *ret_good, struct mm_errinfo *ei)
{
    CK_MECHANISM mechanism = {CKM_SHA256_RSA_PKCS, NULL, 0};
    uint8_t signature[RSA_BITS_MAX / 8];
    CK_ULONG signature_len = sizeof(signature);
    CK_RV rv = MM_CK(t, C_SignInit(t->session, &mechanism, key));

    if (rv == CKR_OK)
        rv = MM_CK(
            t, C_Sign(t->session, (CK_BYTE *)(uintptr_t)message, len, signature, &signature_len));
    if (rv != CKR_OK)
        return mm_token_fail(ei, rv, "C_Sign by the imported key");
    *ret_good = rsa_verifies(in, message, len, signature, signature_len);
    return MM_OK;
}

static int try_out(struct mm_token *t, const struct import *in, CK_OBJECT_HANDLE key,
                   struct mm_errinfo *ei)
{
    uint8_t message[32], signature[MM_SIGNATURE_MAX];
    bool good = false;
    size_t len;
    int r = mm_token_random(t, message, sizeof(message), ei);

    if (r == MM_OK && in->rsa) {
        r = try_rsa(t, in, key, message, sizeof(message), &good, ei);
    } else if (r == MM_OK) {
        r = mm_token_sign(t, key, message, sizeof(message), signature, &len, ei);
        good =
            r == MM_OK && mm_soft_ecdsa_verify(in->key, message, sizeof(message), signature, len);
    }
    if (r == MM_OK && !good)
        return mm_fail(ei, MM_ERR_CORRUPT, "TOKEN_SIGNATURE_INVALID",
                       "what the imported key signs does not verify");
    return r;
}

static void drop_pair(struct mm_token *t, CK_OBJECT_HANDLE private_key)
{
    CK_OBJECT_HANDLE public_key = CK_INVALID_HANDLE;

    if (mm_token_public_half(t, private_key, &public_key, NULL) == MM_OK)
        mm_object_drop(t, public_key);
    mm_object_drop(t, private_key);
}

int mm_token_import_key(struct mm_token *t, const char *label, EVP_PKEY *key, mm_handle replaced,
                        mm_handle *ret_private, struct mm_errinfo *ei)
{
    CK_OBJECT_HANDLE private_key = CK_INVALID_HANDLE, public_key = CK_INVALID_HANDLE;
    struct import in = {.label = label, .key = key};
    int r = take_public(&in, ei);

    if (r == MM_OK && !replaced)
        r = mm_key_refuse_duplicate(t, label, ei);
    if (r == MM_OK)
        r = bring_private(t, &in, &private_key, ei);
    if (r == MM_OK)
        r = mm_token_check_policy(t, private_key, MM_USE_IMPORTED, ei);
    if (r == MM_OK)
        r = try_out(t, &in, private_key, ei);
    if (r == MM_OK)
        r = bring_public(t, &in, &public_key, ei);
    if (r < 0) {
        mm_object_drop(t, private_key);
        return r;
    }
    if (replaced)
        drop_pair(t, replaced);
    *ret_private = private_key;
    return MM_OK;
}
