/* SPDX-License-Identifier: Apache-2.0 */
/* The few things that this layer does in software, by libcrypto: to check the token, and to read a
 * recipient's public key. Key material of the token never comes here. */
#pragma once

#include "pkcs11/internal.h"

#include <openssl/evp.h>

/* Keys of known value, for known answers: 00 01 02 … 1f and 20 21 22 … 3f. Public, and worth
 * nothing: nothing secret is ever wrapped under mm_known_kek. */
extern const uint8_t mm_known_key[MM_AES_256_BYTES];
extern const uint8_t mm_known_kek[MM_AES_256_BYTES];

/* RFC 5649 under an AES-256 key. wrapped has room for len rounded up to 8, plus 8. */
int mm_soft_kwp_wrap(const uint8_t kek[MM_AES_256_BYTES], const uint8_t *data, size_t len,
                     uint8_t *wrapped, struct mm_errinfo *ei) MM_MUST_USE;
/* data has room for len bytes. MM_ERR_CORRUPT when it does not unwrap. */
int mm_soft_kwp_unwrap(const uint8_t kek[MM_AES_256_BYTES], const uint8_t *wrapped, size_t len,
                       uint8_t *data, size_t *ret_len, struct mm_errinfo *ei) MM_MUST_USE;

/* The public key of an uncompressed point; MM_ERR_CORRUPT when it is not on the curve. */
int mm_soft_ec_public(const struct mm_curve_info *curve, const uint8_t *point, size_t len,
                      EVP_PKEY **ret_key, struct mm_errinfo *ei) MM_MUST_USE;
/* The other way: curve and uncompressed point of a public key. MM_ERR_INVALID when it is not on
 * P-256 or P-384. */
int mm_soft_ec_point(EVP_PKEY *key, const struct mm_curve_info **ret_curve,
                     uint8_t point[MM_POINT_MAX], struct mm_errinfo *ei) MM_MUST_USE;
/* Does r || s over the digest hold? */
bool mm_soft_ecdsa_verify(EVP_PKEY *key, const uint8_t *digest, size_t digest_len,
                          const uint8_t *signature, size_t len);

/* An RSA public key's modulus and exponent, big-endian. */
struct mm_rsa_public {
    uint8_t modulus[2048]; /* RSA of up to 16384 bits */
    size_t modulus_len;
    uint8_t exponent[8];
    size_t exponent_len;
};
int mm_soft_rsa_public(EVP_PKEY *key, struct mm_rsa_public *ret_rsa,
                       struct mm_errinfo *ei) MM_MUST_USE;

MM_DEFINE_CLEANUP(EVP_PKEY *, EVP_PKEY_free)
#define MM_EVP_PKEY_CLEANUP MM_CLEANUP(EVP_PKEY_free_p)
