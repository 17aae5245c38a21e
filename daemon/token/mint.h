/* SPDX-License-Identifier: Apache-2.0 */
/* One chunk of devices: keys made, certified, wrapped, packed. */
#pragma once

#include "daemon/token/minter.h"

/* A finished chunk. message points into the chunk; it holds until the next mm_mint. */
struct mm_chunk;
int mm_chunk_new(struct mm_chunk **ret_chunk) MM_MUST_USE;
/* Wipes; NULL is fine. */
void mm_chunk_free(struct mm_chunk *c);
Mintmark__Internal__MintResult *mm_chunk_message(struct mm_chunk *c);
/* Wipes what was packed: for profiles "plain" it holds private keys. */
void mm_chunk_clear(struct mm_chunk *c);

/*
 * Does the job: one draw of random bytes for all serial numbers and UIDs; per device a key pair,
 * the certificate or request, the key as the profile delivers it, the Bundle packed once. The first
 * signature is verified. A token's hiccup (retry, reopen, log in) is cured and the device at hand
 * begun again, a few times a job. On failure nothing is left in the token: neither session objects
 * nor retained keys of devices that the job had finished.
 * MM_ERR_INVALID, MM_ERR_NOT_FOUND for a job that makes no sense; MM_ERR_TIMEOUT once
 * deadline_mono_us (0: none) has passed; else the token's error, whose detail is the CK_RV: with a
 * class other than MM_TOKEN_OK and MM_TOKEN_FATAL the token is of no more use to this process.
 */
int mm_mint(struct mm_minter *m, const Mintmark__Internal__MintJob *job, int64_t deadline_mono_us,
            struct mm_chunk *chunk, struct mm_errinfo *ei) MM_MUST_USE;
