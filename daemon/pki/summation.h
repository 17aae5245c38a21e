/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Do points of which only the x coordinates are known add up to another? That is what an ECDSA
 * signature leaves of its nonce's point. Semaev's summation polynomials answer it without the y
 * coordinates, which would cost a square root each: "Summation polynomials and the discrete
 * logarithm problem on elliptic curves", IACR ePrint 2004/031. Karati and Das verify signatures by
 * them: "Faster Batch Verification of Standard ECDSA Signatures Using Summation Polynomials", ACNS
 * 2014. Pure functions; nothing in here is secret, and none takes constant time.
 */
#pragma once

#include "daemon/base/macros.h"

#include <openssl/ec.h>
#include <stdbool.h>

enum { MM_SUMMANDS = 3 };

/* Constants of the curve and scratch. Serves one thread. */
struct mm_summation;
/* group: P-256 or another whose a is -3, and whose prime is odd. NULL when memory is out. */
struct mm_summation *mm_summation_new(const EC_GROUP *group);
void mm_summation_free(struct mm_summation *s);

/* Is ±P1 ± P2 ± P3 = ±S, for some signs, where x[i] is Pi's x coordinate and X / Z² that of S? All
 * are less than the prime; the x[i] differ from each other, and Z is not 0. False too when memory
 * is out. */
bool mm_summation_holds(struct mm_summation *s, const BIGNUM *const x[MM_SUMMANDS], const BIGNUM *X,
                        const BIGNUM *Z);
