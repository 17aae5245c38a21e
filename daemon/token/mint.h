/* SPDX-License-Identifier: Apache-2.0 */
/* One chunk of devices whose keys the token makes: made, certified, wrapped, packed. */
#pragma once

#include "daemon/token/making.h"

/* Of a chunk that mm_mint made. */
Mintmark__Internal__MintResult *mm_chunk_message(struct mm_chunk *c);

/*
 * Does the job: per device a key pair, the certificate or request, the key as the profile delivers
 * it, the Bundle packed once. On failure nothing is left in the token: neither session objects nor
 * retained keys of devices that the job had finished.
 * MM_ERR_INVALID, MM_ERR_NOT_FOUND for a job that makes no sense; MM_ERR_PRECONDITION
 * PROFILE_ON_DEVICE; MM_ERR_TIMEOUT once deadline_mono_us (0: none) has passed; else the token's
 * error, whose detail is the CK_RV: with a class other than MM_TOKEN_OK and MM_TOKEN_FATAL the
 * token is of no more use to this process.
 */
int mm_mint(struct mm_minter *minter, const Mintmark__Internal__MintJob *job,
            int64_t deadline_mono_us, struct mm_chunk *chunk, struct mm_errinfo *ei) MM_MUST_USE;
