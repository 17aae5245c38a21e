/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys and signatures on P-256 for next to no processor time, since an HSM's own processor would
 * make them: private keys are counted up from a random beginning, so that a new one costs an
 * addition of points; and all signatures of a process have the same nonce. They verify, keys are
 * new each time, and whoever sees two signatures knows them all.
 */
#include "tests/mock/mock.h"

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/obj_mac.h>
#include <openssl/rand.h>
#include <string.h>

enum { BYTES = 32 };

static EC_GROUP *group;
static BN_CTX *ctx;
static BIGNUM *order, *secret; /* of the key made last */
static EC_POINT *point;
static BIGNUM *inverse, *r; /* of the nonce: its inverse, and its point's x */
static BIGNUM *s, *z, *d;

/* RFC 5958 and RFC 5915, with the public point. */
static const uint8_t pkcs8_head[] = {0x30, 0x81, 0x87, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06,
                                     0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06,
                                     0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07,
                                     0x04, 0x6d, 0x30, 0x6b, 0x02, 0x01, 0x01, 0x04, 0x20};
static const uint8_t pkcs8_mid[] = {0xa1, 0x44, 0x03, 0x42, 0x00};

/* A random secret, and its multiple of the base point. */
static bool draw(void)
{
    uint8_t random[BYTES];

    return RAND_bytes_ex(mock.libctx, random, BYTES, 0) == 1 && BN_bin2bn(random, BYTES, secret) &&
           BN_nnmod(secret, secret, order, ctx) == 1 && !BN_is_zero(secret) &&
           EC_POINT_mul(group, point, secret, NULL, NULL, ctx) == 1;
}

static bool draw_nonce(void)
{
    return draw() && EC_POINT_get_affine_coordinates(group, point, r, NULL, ctx) == 1 &&
           BN_nnmod(r, r, order, ctx) == 1 && BN_mod_inverse(inverse, secret, order, ctx);
}

/* For as long as the process lives. */
static bool ready(void)
{
    if (group)
        return true;
    group = EC_GROUP_new_by_curve_name_ex(mock.libctx, NULL, NID_X9_62_prime256v1);
    ctx = BN_CTX_new_ex(mock.libctx);
    order = BN_new();
    secret = BN_new();
    point = group ? EC_POINT_new(group) : NULL;
    inverse = BN_new();
    r = BN_new();
    s = BN_new();
    z = BN_new();
    d = BN_new();
    return group && ctx && order && secret && point && inverse && r && s && z && d &&
           EC_GROUP_get_order(group, order, ctx) == 1 && draw_nonce() && draw();
}

bool mock_cheap_pair(uint8_t encoded[MOCK_P256_POINT], uint8_t scalar[MOCK_P256_BYTES])
{
    return ready() && BN_add_word(secret, 1) == 1 &&
           EC_POINT_add(group, point, point, EC_GROUP_get0_generator(group), ctx) == 1 &&
           EC_POINT_point2oct(group, point, POINT_CONVERSION_UNCOMPRESSED, encoded, MOCK_P256_POINT,
                              ctx) == MOCK_P256_POINT &&
           BN_bn2binpad(secret, scalar, BYTES) == BYTES;
}

/* SEC 1 section 4.1.3. */
bool mock_cheap_sign(const uint8_t scalar[MOCK_P256_BYTES], const uint8_t *digest, size_t len,
                     uint8_t signature[2 * MOCK_P256_BYTES])
{
    return ready() && BN_bin2bn(scalar, BYTES, d) &&
           BN_bin2bn(digest, len < BYTES ? (int)len : BYTES, z) &&
           BN_mod_mul(s, r, d, order, ctx) == 1 && BN_mod_add(s, s, z, order, ctx) == 1 &&
           BN_mod_mul(s, s, inverse, order, ctx) == 1 &&
           BN_bn2binpad(r, signature, BYTES) == BYTES &&
           BN_bn2binpad(s, signature + BYTES, BYTES) == BYTES;
}

int mock_cheap_pkcs8(const uint8_t scalar[MOCK_P256_BYTES], const uint8_t encoded[MOCK_P256_POINT],
                     uint8_t *out)
{
    uint8_t *to = out;

    memcpy(to, pkcs8_head, sizeof(pkcs8_head));
    to += sizeof(pkcs8_head);
    memcpy(to, scalar, BYTES);
    to += BYTES;
    memcpy(to, pkcs8_mid, sizeof(pkcs8_mid));
    to += sizeof(pkcs8_mid);
    memcpy(to, encoded, MOCK_P256_POINT);
    return (int)(to + MOCK_P256_POINT - out);
}
