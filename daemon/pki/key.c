/* SPDX-License-Identifier: Apache-2.0 */
/* Keys outside certificates: checking signatures, and private keys as PKCS#8. */
#include "daemon/pki/ecdsa.h"
#include "daemon/pki/internal.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/param_build.h>

static EVP_PKEY *decode_point(const struct mm_ec *ec, const uint8_t *point)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
    OSSL_PARAM *params = NULL;
    EVP_PKEY *key = NULL;

    if (bld && OSSL_PARAM_BLD_push_utf8_string(bld, OSSL_PKEY_PARAM_GROUP_NAME, ec->group, 0) &&
        OSSL_PARAM_BLD_push_octet_string(bld, OSSL_PKEY_PARAM_PUB_KEY, point, ec->point_len))
        params = OSSL_PARAM_BLD_to_param(bld);
    if (!ctx || !params || EVP_PKEY_fromdata_init(ctx) != 1 ||
        EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) != 1)
        key = NULL;
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(bld);
    EVP_PKEY_CTX_free(ctx);
    return key;
}

static EVP_PKEY *decode_key(const struct mm_ec *ec, const uint8_t *point)
{
    if (mm_ec_is_pure(ec))
        return EVP_PKEY_new_raw_public_key_ex(NULL, ec->group, NULL, point, ec->point_len);
    return decode_point(ec, point);
}

int mm_verifier_new(const uint8_t *point, size_t point_len, struct mm_verifier **ret_verifier,
                    struct mm_errinfo *ei)
{
    const struct mm_ec *ec = mm_ec_by_point_len(point_len);
    struct mm_verifier *v;
    const int r = ec ? mm_ec_require(ec, ei) : MM_OK;

    if (r < 0)
        return r;
    v = calloc(1, sizeof(*v));
    if (!v)
        return mm_fail_memory(ei);
    v->ec = ec;
    v->key = ec ? decode_key(ec, point) : NULL;
    v->ctx = v->key ? EVP_PKEY_CTX_new_from_pkey(NULL, v->key, NULL) : NULL;
    if (!v->ctx || (!mm_ec_is_pure(ec) && EVP_PKEY_verify_init(v->ctx) != 1) ||
        (ec->key == MM_KEY_P256 && mm_verifier_decode_point(v, point, point_len) < 0)) {
        mm_verifier_free(v);
        ERR_clear_error();
        return mm_fail(ei, MM_ERR_INVALID, "KEY_UNSUPPORTED",
                       "no key on P-256, P-384, Ed25519 or of ML-DSA, or out of memory");
    }
    *ret_verifier = v;
    return MM_OK;
}

void mm_verifier_free(struct mm_verifier *v)
{
    if (!v)
        return;
    EC_POINT_free(v->point);
    EC_GROUP_free(v->table);
    mm_checks_free(v->checks);
    EVP_PKEY_CTX_free(v->ctx);
    EVP_PKEY_free(v->key);
    free(v);
}

static bool check_message(const struct mm_verifier *v, const uint8_t *message, size_t len,
                          struct mm_bytes signature)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    const bool good = ctx && EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, v->key) == 1 &&
                      EVP_DigestVerify(ctx, signature.data, signature.len, message, len) == 1;

    EVP_MD_CTX_free(ctx);
    return good;
}

static int invalid(struct mm_errinfo *ei)
{
    ERR_clear_error();
    return mm_fail(ei, MM_ERR_CORRUPT, "SIGNATURE_INVALID", "the signature does not verify");
}

/* A key that signs often is checked by its table from then on, as far as there is memory for it. */
static void count(struct mm_verifier *v)
{
    struct mm_errinfo ignored;

    mm_verifier_count(v);
    if (v->table && !v->checks && mm_checks_new(&v->checks, &ignored) < 0)
        v->checks = NULL;
}

int mm_verifier_check_der(struct mm_verifier *v, const uint8_t *digest, size_t digest_len,
                          struct mm_bytes signature, struct mm_errinfo *ei)
{
    if (mm_ec_is_pure(v->ec))
        return check_message(v, digest, digest_len, signature) ? MM_OK : invalid(ei);
    /* What does not hold by the table is for libcrypto to decide: memory may only have been short,
     * and a good certificate must not be condemned for that. */
    if (v->checks && mm_verifier_holds(v, (struct mm_bytes){digest, digest_len}, signature))
        return MM_OK;
    if (EVP_PKEY_verify(v->ctx, signature.data, signature.len, digest, digest_len) == 1) {
        count(v);
        return MM_OK;
    }
    return invalid(ei);
}

int mm_verifier_check(struct mm_verifier *v, const uint8_t *digest, size_t digest_len,
                      const uint8_t *signature, size_t signature_len, struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf der = MM_BUF_INIT(256);
    int r;

    if (signature_len != v->ec->signature_len)
        return mm_fail(ei, MM_ERR_CORRUPT, "SIGNATURE_INVALID", "a signature of %zu bytes",
                       signature_len);
    if (mm_ec_is_pure(v->ec))
        return mm_verifier_check_der(v, digest, digest_len,
                                     (struct mm_bytes){signature, signature_len}, ei);
    r = mm_pki_signature_der(signature, signature_len, &der, ei);
    if (r < 0)
        return r;
    return mm_verifier_check_der(v, digest, digest_len, (struct mm_bytes){der.data, der.len}, ei);
}

int mm_pki_spki(const uint8_t *point, size_t point_len, struct mm_buf *der, struct mm_errinfo *ei)
{
    const struct mm_ec *ec = mm_ec_by_point_len(point_len);
    uint8_t prefix[MM_SPKI_PREFIX_MAX];
    size_t len = 0;

    if (!ec)
        return mm_fail(ei, MM_ERR_INVALID, "KEY_UNSUPPORTED",
                       "no key on P-256, P-384, Ed25519 or of ML-DSA");
    if (mm_ec_spki_prefix(ec, prefix, &len) < 0)
        return mm_fail_memory(ei);
    mm_buf_append(der, prefix, len);
    mm_buf_append(der, point, point_len);
    return mm_buf_err(der) < 0 ? mm_fail_memory(ei) : MM_OK;
}

/* PrivateKeyInfo around ECPrivateKey without parameters, up to the scalar, and from there to the
 * point. The layout is fixed by the curve, and written straight into the caller's wiped buffer: no
 * library object ever holds the scalar. */
static const struct {
    size_t scalar_len, point_len;
    struct mm_bytes head, middle; /* no middle: the point is left out */
} pkcs8_layouts[] = {
    {32,
     32,
     {(const uint8_t[]){0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70,
                        0x04, 0x22, 0x04, 0x20},
      16},
     {NULL, 0}},
    {32,
     65,
     {(const uint8_t[]){0x30, 0x81, 0x87, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86,
                        0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d,
                        0x03, 0x01, 0x07, 0x04, 0x6d, 0x30, 0x6b, 0x02, 0x01, 0x01, 0x04, 0x20},
      36},
     {(const uint8_t[]){0xa1, 0x44, 0x03, 0x42, 0x00}, 5}},
    {48,
     97,
     {(const uint8_t[]){0x30, 0x81, 0xb6, 0x02, 0x01, 0x00, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86,
                        0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22,
                        0x04, 0x81, 0x9e, 0x30, 0x81, 0x9b, 0x02, 0x01, 0x01, 0x04, 0x30},
      35},
     {(const uint8_t[]){0xa1, 0x64, 0x03, 0x62, 0x00}, 5}},
};

int mm_pki_pkcs8(const uint8_t *scalar, size_t scalar_len, const uint8_t *point, size_t point_len,
                 struct mm_buf *der, struct mm_errinfo *ei)
{
    for (size_t i = 0; i < MM_ARRAY_SIZE(pkcs8_layouts); i++) {
        if (scalar_len != pkcs8_layouts[i].scalar_len || point_len != pkcs8_layouts[i].point_len)
            continue;
        mm_buf_append(der, pkcs8_layouts[i].head.data, pkcs8_layouts[i].head.len);
        mm_buf_append(der, scalar, scalar_len);
        if (pkcs8_layouts[i].middle.len > 0) {
            mm_buf_append(der, pkcs8_layouts[i].middle.data, pkcs8_layouts[i].middle.len);
            mm_buf_append(der, point, point_len);
        }
        return mm_buf_err(der) < 0 ? mm_fail_memory(ei) : MM_OK;
    }
    return mm_fail(ei, MM_ERR_INVALID, "KEY_UNSUPPORTED",
                   "a private value of %zu bytes and a point of %zu", scalar_len, point_len);
}
