/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checking many ECDSA signatures at once: what a token has signed for one chunk of devices. On
 * P-256 this takes an eighth of the time that libcrypto's EVP_PKEY_verify takes for each: one
 * modular inversion serves all, a key that has signed often gets a table of its multiples, as the
 * curve's base point has one, and of many signatures three each are checked by the sum of their
 * points (docs/adr/0032-signatures-by-threes.md, which says what that proves). docs/performance.md
 * has the figures.
 */
#pragma once

#include "daemon/base/limits.h"
#include "daemon/pki/profile.h"

enum { MM_CHECKS_MAX = MM_CHUNK_DEVICES };

/* One signature, r || s, over a digest. The key is the verifier's, or, when that is NULL, the
 * point: uncompressed, and known to be on P-256 or P-384. All borrowed. */
struct mm_check {
    struct mm_verifier *key;
    struct mm_bytes point, digest, signature;
};

/* Scratch that is made once. */
struct mm_checks;
int mm_checks_new(struct mm_checks **ret_checks, struct mm_errinfo *ei) MM_MUST_USE;
void mm_checks_free(struct mm_checks *c);
MM_DEFINE_CLEANUP(struct mm_checks *, mm_checks_free)

/* Checks all of them, at most MM_CHECKS_MAX (FIPS 186-5 section 6.4.2). MM_ERR_CORRUPT
 * SIGNATURE_INVALID when one does not hold; *ret_bad is its index then. */
int mm_checks_run(struct mm_checks *c, const struct mm_check *list, size_t n, size_t *ret_bad,
                  struct mm_errinfo *ei) MM_MUST_USE;
