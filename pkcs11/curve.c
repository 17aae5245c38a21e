/* SPDX-License-Identifier: Apache-2.0 */
#include "pkcs11/internal.h"

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/objects.h>
#include <string.h>

static const uint8_t p256_oid[] = {0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07};
static const uint8_t p384_oid[] = {0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22};

static const struct mm_curve_info curves[] = {
    {MM_CURVE_P256, "P-256", "prime256v1", 32, p256_oid, sizeof(p256_oid)},
    {MM_CURVE_P384, "P-384", "secp384r1", 48, p384_oid, sizeof(p384_oid)},
};

const struct mm_curve_info *mm_curve_get(enum mm_curve curve)
{
    return &curves[curve == MM_CURVE_P384];
}

const struct mm_curve_info *mm_curve_by_params(const uint8_t *params, size_t len)
{
    for (size_t i = 0; i < MM_ARRAY_SIZE(curves); i++) {
        if (curves[i].params_len == len && memcmp(curves[i].params, params, len) == 0)
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

int mm_point_decode(const uint8_t *value, size_t len, const struct mm_curve_info *curve,
                    uint8_t point[MM_POINT_MAX], size_t *ret_len, struct mm_errinfo *ei)
{
    const size_t want = 1 + 2 * curve->bytes;

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
