/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/base/ed25519.h"
#include "pkcs11/internal.h"

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/objects.h>
#include <string.h>

static const uint8_t p256_oid[] = {0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07};
static const uint8_t p384_oid[] = {0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22};

/* RFC 8410 section 3, and the curveName of PKCS#11 v3.0 section 2.3.10. */
static const uint8_t ed25519_oid[] = {0x06, 0x03, 0x2b, 0x65, 0x70};
static const uint8_t ed25519_name[] = {0x13, 0x0c, 'e', 'd', 'w', 'a', 'r',
                                       'd',  's',  '2', '5', '5', '1', '9'};

static const struct mm_curve_info curves[] = {
    [MM_CURVE_P256] = {.curve = MM_CURVE_P256,
                       .name = "P-256",
                       .group = "prime256v1",
                       .bytes = 32,
                       .params = p256_oid,
                       .params_len = sizeof(p256_oid),
                       .point_len = 65,
                       .signature_len = 64,
                       .key_gen = CKM_EC_KEY_PAIR_GEN,
                       .sign = CKM_ECDSA},
    [MM_CURVE_P384] = {.curve = MM_CURVE_P384,
                       .name = "P-384",
                       .group = "secp384r1",
                       .bytes = 48,
                       .params = p384_oid,
                       .params_len = sizeof(p384_oid),
                       .point_len = 97,
                       .signature_len = 96,
                       .key_gen = CKM_EC_KEY_PAIR_GEN,
                       .sign = CKM_ECDSA},
    [MM_CURVE_ED25519] = {.curve = MM_CURVE_ED25519,
                          .name = "Ed25519",
                          .group = "ED25519",
                          .bytes = 32,
                          .params = ed25519_oid,
                          .params_len = sizeof(ed25519_oid),
                          .named = ed25519_name,
                          .named_len = sizeof(ed25519_name),
                          .point_len = 32,
                          .signature_len = 64,
                          .key_gen = CKM_EC_EDWARDS_KEY_PAIR_GEN,
                          .sign = CKM_EDDSA,
                          .pure = true},
    [MM_CURVE_ML_DSA_44] = {.curve = MM_CURVE_ML_DSA_44,
                            .name = "ML-DSA-44",
                            .group = "ML-DSA-44",
                            .set = MM_CKP_ML_DSA_44,
                            .point_len = 1312,
                            .signature_len = 2420,
                            .key_gen = MM_CKM_ML_DSA_KEY_PAIR_GEN,
                            .sign = MM_CKM_ML_DSA,
                            .pure = true},
    [MM_CURVE_ML_DSA_65] = {.curve = MM_CURVE_ML_DSA_65,
                            .name = "ML-DSA-65",
                            .group = "ML-DSA-65",
                            .set = MM_CKP_ML_DSA_65,
                            .point_len = 1952,
                            .signature_len = 3309,
                            .key_gen = MM_CKM_ML_DSA_KEY_PAIR_GEN,
                            .sign = MM_CKM_ML_DSA,
                            .pure = true},
    [MM_CURVE_ML_DSA_87] = {.curve = MM_CURVE_ML_DSA_87,
                            .name = "ML-DSA-87",
                            .group = "ML-DSA-87",
                            .set = MM_CKP_ML_DSA_87,
                            .point_len = 2592,
                            .signature_len = 4627,
                            .key_gen = MM_CKM_ML_DSA_KEY_PAIR_GEN,
                            .sign = MM_CKM_ML_DSA,
                            .pure = true},
};

const struct mm_curve_info *mm_curve_get(enum mm_curve curve)
{
    return &curves[curve];
}

size_t mm_curve_digest_len(enum mm_curve curve)
{
    return curves[curve].pure ? 0 : curves[curve].bytes;
}

/* A token that knows the curve by its other form only says one of these. */
static bool refuses_params(CK_RV rv)
{
    return rv == CKR_ATTRIBUTE_VALUE_INVALID || rv == CKR_DOMAIN_PARAMS_INVALID ||
           rv == CKR_CURVE_NOT_SUPPORTED || rv == CKR_TEMPLATE_INCONSISTENT;
}

CK_RV mm_curve_generate(struct mm_token *t, const struct mm_curve_info *curve,
                        CK_ATTRIBUTE *public_key, CK_ULONG n_public, CK_ATTRIBUTE *private_key,
                        CK_ULONG n_private, CK_OBJECT_HANDLE *ret_public,
                        CK_OBJECT_HANDLE *ret_private)
{
    CK_MECHANISM mechanism = {curve->key_gen, NULL, 0};
    CK_RV rv;

    if (curve->set)
        public_key[n_public] = MM_ATTR_BYTES(MM_CKA_PARAMETER_SET, &curve->set, sizeof(curve->set));
    else if (curve->named && t->edwards_by_name)
        public_key[n_public] = MM_ATTR_BYTES(CKA_EC_PARAMS, curve->named, curve->named_len);
    else
        public_key[n_public] = MM_ATTR_BYTES(CKA_EC_PARAMS, curve->params, curve->params_len);
    rv = MM_CK(t, C_GenerateKeyPair(t->session, &mechanism, public_key, n_public + 1, private_key,
                                    n_private, ret_public, ret_private));
    if (!curve->named || t->edwards_by_name || !refuses_params(rv))
        return rv;
    public_key[n_public] = MM_ATTR_BYTES(CKA_EC_PARAMS, curve->named, curve->named_len);
    rv = MM_CK(t, C_GenerateKeyPair(t->session, &mechanism, public_key, n_public + 1, private_key,
                                    n_private, ret_public, ret_private));
    t->edwards_by_name = rv == CKR_OK;
    return rv;
}

const struct mm_curve_info *mm_curve_by_params(const uint8_t *params, size_t len)
{
    for (size_t i = 0; i < MM_ARRAY_SIZE(curves); i++) {
        if ((curves[i].params && curves[i].params_len == len &&
             memcmp(curves[i].params, params, len) == 0) ||
            (curves[i].named && curves[i].named_len == len &&
             memcmp(curves[i].named, params, len) == 0))
            return &curves[i];
    }
    return NULL;
}

const struct mm_curve_info *mm_curve_by_set(CK_ULONG set)
{
    for (size_t i = 0; i < MM_ARRAY_SIZE(curves); i++) {
        if (set != 0 && curves[i].set == set)
            return &curves[i];
    }
    return NULL;
}

const struct mm_curve_info *mm_curve_by_group(const char *group)
{
    for (size_t i = 0; i < MM_ARRAY_SIZE(curves); i++) {
        if (strcmp(curves[i].group, group) == 0)
            return &curves[i];
    }
    return NULL;
}

/* Groups and points that are made once: a check takes 2 us with them, and 30 without. */
static bool is_on_curve(const struct mm_curve_info *curve, const uint8_t *point, size_t len)
{
    static struct {
        EC_GROUP *group;
        EC_POINT *point;
    } made[MM_ARRAY_SIZE(curves)];
    static BN_CTX *bn;
    const size_t i = (size_t)(curve - curves);
    bool good;

    if (!made[i].group)
        made[i].group = EC_GROUP_new_by_curve_name(OBJ_txt2nid(curve->group));
    if (made[i].group && !made[i].point)
        made[i].point = EC_POINT_new(made[i].group);
    if (!bn)
        bn = BN_CTX_new();
    if (!made[i].point || !bn)
        return false;
    /* Refuses coordinates that are not below the prime, and points that are on no curve. */
    good = EC_POINT_oct2point(made[i].group, made[i].point, point, len, bn) == 1;
    ERR_clear_error();
    return good;
}

/* v = (u v)^half mod p, of u = y^2 - 1 and v = d y^2 + 1. */
static bool euler(const BIGNUM *y, const BIGNUM *p, const BIGNUM *d, const BIGNUM *half, BIGNUM *u,
                  BIGNUM *v, BN_CTX *ctx)
{
    return BN_mod_sqr(u, y, p, ctx) && BN_mod_mul(v, d, u, p, ctx) && BN_add_word(v, 1) &&
           BN_sub_word(u, 1) && BN_nnmod(u, u, p, ctx) && BN_mod_mul(u, u, v, p, ctx) &&
           BN_mod_exp(v, u, half, p, ctx);
}

/* Is it a point of Ed25519 (RFC 8032 section 5.1.3)? x^2 = (y^2 - 1) / (d y^2 + 1) must have a root
 * mod p: by Euler, u v^-1 to the (p - 1) / 2 is 1 or 0; v is never 0, and u/v and u v are squares
 * or not together. libcrypto takes any 32 bytes for a key. */
static bool is_on_edwards(const uint8_t point[32])
{
    static const char p_hex[] = "7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffed";
    static const char d_hex[] = "52036cee2b6ffe738cc740797779e89800700a4d4141d8ab75eb4dca135978a3";
    static const char half_hex[] =
        "3ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff6"; /* (p - 1) / 2 */
    BIGNUM *p = NULL, *d = NULL, *half = NULL, *y = NULL, *u = BN_new(), *v = BN_new();
    BN_CTX *ctx = BN_CTX_new();
    uint8_t bytes[32];
    bool good = false;

    memcpy(bytes, point, sizeof(bytes));
    bytes[31] &= 0x7f; /* the sign of x */
    y = BN_lebin2bn(bytes, sizeof(bytes), NULL);
    if (y && u && v && ctx && BN_hex2bn(&p, p_hex) && BN_hex2bn(&d, d_hex) &&
        BN_hex2bn(&half, half_hex) && BN_cmp(y, p) < 0 && euler(y, p, d, half, u, v, ctx))
        good = BN_is_one(v) || BN_is_zero(v);
    BN_free(p);
    BN_free(d);
    BN_free(half);
    BN_free(y);
    BN_free(u);
    BN_free(v);
    BN_CTX_free(ctx);
    return good;
}

static int decode_edwards(const uint8_t *value, size_t len, const struct mm_curve_info *curve,
                          uint8_t point[MM_POINT_MAX], size_t *ret_len, struct mm_errinfo *ei)
{
    const size_t want = curve->point_len;
    const char *degenerate;

    if (len == want + 2 && value[0] == 0x04 && value[1] == want) {
        value += 2;
        len -= 2;
    }
    if (len != want || !is_on_edwards(value))
        return mm_fail(ei, MM_ERR_CORRUPT, "TOKEN_POINT_INVALID",
                       "CKA_EC_POINT is no %s point, or there is no memory to see", curve->name);
    degenerate = mm_ed25519_degenerate(value);
    if (degenerate)
        return mm_fail(ei, MM_ERR_CORRUPT, "TOKEN_POINT_INVALID", "CKA_EC_POINT %s", degenerate);
    memcpy(point, value, want);
    *ret_len = want;
    return MM_OK;
}

static int take_key(const uint8_t *value, size_t len, const struct mm_curve_info *curve,
                    uint8_t point[MM_POINT_MAX], size_t *ret_len, struct mm_errinfo *ei)
{
    if (len != curve->point_len)
        return mm_fail(ei, MM_ERR_CORRUPT, "TOKEN_POINT_INVALID",
                       "CKA_VALUE of an %s public key has %zu bytes, not %zu", curve->name, len,
                       curve->point_len);
    memcpy(point, value, len);
    *ret_len = len;
    return MM_OK;
}

int mm_point_decode(const uint8_t *value, size_t len, const struct mm_curve_info *curve,
                    uint8_t point[MM_POINT_MAX], size_t *ret_len, struct mm_errinfo *ei)
{
    const size_t want = curve->point_len;

    if (curve->set)
        return take_key(value, len, curve, point, ret_len, ei);
    if (curve->curve == MM_CURVE_ED25519)
        return decode_edwards(value, len, curve, point, ret_len, ei);
    /* 04 len 04 X Y: want is below 128, so that the length is one byte. The bare form is shorter by
     * these two bytes, so that the first 04 is never taken for the other one. */
    if (len == want + 2 && value[0] == 0x04 && value[1] == want) {
        value += 2;
        len -= 2;
    }
    if (len != want || value[0] != 0x04)
        return mm_fail(ei, MM_ERR_CORRUPT, "TOKEN_POINT_INVALID",
                       "CKA_EC_POINT is no uncompressed %s point", curve->name);
    if (!is_on_curve(curve, value, want))
        return mm_fail(ei, MM_ERR_CORRUPT, "TOKEN_POINT_INVALID",
                       "CKA_EC_POINT is not on %s, or there is no memory to see", curve->name);
    memcpy(point, value, want);
    *ret_len = want;
    return MM_OK;
}
