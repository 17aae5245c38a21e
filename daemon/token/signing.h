/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signing what clients bring, with the keys of signing sections. What is signed is the client's; so
 * a key that could be a CA's is refused when the worker starts, by its public key, whatever it is
 * called.
 */
#pragma once

#include "daemon/token/minter.h"

/* Takes up every signing section of this token: finds the key, and checks its policy, its curve,
 * that it is none of a configured CA and none of the appliance's, and that the certificate, if
 * there is one, is the key's and allows signing. */
int mm_signings_prepare(struct mm_minter *m, struct mm_errinfo *ei) MM_MUST_USE;
/* Looks the handles up again; on failure those not found are 0. */
int mm_signings_find_keys(struct mm_minter *m, struct mm_errinfo *ei) MM_MUST_USE;
void mm_signings_free(struct mm_minter *m);

enum { MM_SIGN_DIGEST_MAX = 64 };

/* What a job gave. */
struct mm_signed {
    uint8_t signature[MM_SIGNATURE_DER_MAX]; /* DER ECDSA-Sig-Value; Ed25519: 64 bytes */
    size_t signature_len;
    uint8_t digest[MM_SIGN_DIGEST_MAX];
    size_t digest_len;
    const struct mm_signing *by; /* borrowed from the minter */
};

/* Hashes the message if there is one, has the token sign, and verifies the signature with libcrypto
 * before it gives it. MM_ERR_NOT_FOUND UNKNOWN_SIGNING_PROFILE, MM_ERR_UNAVAILABLE
 * SIGNING_PROFILE_CHANGED, MM_ERR_PERMISSION MECHANISM_NOT_ALLOWED, MM_ERR_INVALID for a digest or
 * message of a wrong length; MM_ERR_TIMEOUT once deadline_mono_us (0: none) has passed;
 * MM_ERR_CORRUPT TOKEN_SIGNATURE_INVALID when the signature is wrong; else the token's error, as of
 * mm_mint. */
int mm_sign(struct mm_minter *m, const Mintmark__Internal__SignJob *job, int64_t deadline_mono_us,
            struct mm_signed *ret_signed, struct mm_errinfo *ei) MM_MUST_USE;
