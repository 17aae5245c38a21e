/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a token makes is not trusted blindly. Signatures are verified (making.c), points are on
 * their curve (pkcs11/curve.c), random bytes pass a health test (random.c), and no key is made
 * twice: by this worker, as far as it remembers, and by the site, since the store refuses a key
 * that it has. A token that fails one of these is out of service: the job's results are kept back,
 * the front ends all workers of the token, and each that it starts again must pass the proof first.
 */
#pragma once

#include "daemon/token/minter.h"

/* Is this failure one that ends the trust in the token? */
bool mm_trust_is_lost(const struct mm_errinfo *ei);

/* Remembers the key. MM_ERR_CORRUPT TOKEN_KEY_REPEATED when it is one of the last
 * MM_KEYS_REMEMBERED that were made. */
int mm_trust_new_key(struct mm_minter *m, const uint8_t spki_sha256[32],
                     struct mm_errinfo *ei) MM_MUST_USE;

/* What the token gave for a wrapped key, in a buffer that was all zeros before: neither nothing,
 * nor the key itself (a PKCS#8 structure), nor what it gave the last time. len is 16 or more.
 * MM_ERR_CORRUPT TOKEN_WRAP_INVALID. That it is wrapped under the right key only who has that can
 * tell: a token that lies so is not found. */
int mm_trust_wrapped(struct mm_minter *m, const uint8_t *wrapped, size_t len,
                     struct mm_errinfo *ei) MM_MUST_USE;

/* The proof, before a worker says that it is ready: random bytes twice; two key pairs of each curve
 * that profiles have made in this token, which must differ and sign truly; a true signature of each
 * CA key and signing key. Session objects only. The failure of what was tried; one that ends the
 * trust says so as in a job. */
int mm_trust_prove(struct mm_minter *m, struct mm_errinfo *ei) MM_MUST_USE;
