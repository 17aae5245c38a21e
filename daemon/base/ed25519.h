/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Public keys for Ed25519 that must not be trusted, though libcrypto takes them (RFC 8032 section
 * 5.1). Is a key a point at all? That is the user's to see.
 */
#pragma once

#include <stdint.h>

enum { MM_ED25519_POINT_BYTES = 32 };

/* NULL, or what is wrong with the key, to follow "the key ":
 *  - y is not below the prime, which RFC 8032 section 5.1.3 forbids: a second encoding of a point,
 * by which a key could be taken twice;
 *  - one of the eight points whose order divides the cofactor, in any encoding. A signature for
 * such a key takes no private key: with R = S B it verifies for one message in eight, and for every
 *    message where the key is the neutral element. So it proves nobody's possession of anything. */
const char *mm_ed25519_degenerate(const uint8_t point[MM_ED25519_POINT_BYTES]);
