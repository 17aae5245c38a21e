/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proofs that the store made a thing. The front carries what is to be signed from the store to a
 * token worker; the proof beside it is HMAC-SHA-256 (RFC 2104) with a key that both have from the
 * launcher and the front does not (daemon/ipc/handed.h). It covers what the thing is for, which
 * key is to sign it, and all of its bytes, each part with its length before it.
 */
#pragma once

#include "daemon/base/buf.h"
#include "daemon/ipc/handed.h"

enum { MM_SEAL_BYTES = 32, MM_SEAL_SIGNER = 32 };

/* What the thing is for; a proof for one is none for another. */
enum mm_seal_use {
    MM_SEAL_ANCHOR,   /* one part: a mintmark.v1.Anchor, for the token to keep */
    MM_SEAL_DOCUMENT, /* one part: a mintmark.v1.SignedDocument, to be signed */
    MM_SEAL_DETACHED, /* one part: SHA-256 of a file, to be signed as detached CMS */
    MM_SEAL_DIGESTS,  /* SHA-256 digests, each to be signed */
};

struct mm_sealed {
    enum mm_seal_use use;
    /* MM_SEAL_SIGNER bytes: SHA-256 of the SubjectPublicKeyInfo of the key that signs; NULL: the
     * thing is not signed. */
    const uint8_t *signer;
    const struct mm_bytes *parts;
    size_t n_parts;
};

int mm_seal_make(struct mm_secret *key, const struct mm_sealed *what,
                 uint8_t ret_proof[MM_SEAL_BYTES], struct mm_errinfo *ei) MM_MUST_USE;
/* Compares in constant time. MM_ERR_PERMISSION NOT_OF_THE_STORE when the proof is missing, of
 * another length, or another thing's; also when key is NULL. */
int mm_seal_check(struct mm_secret *key, const struct mm_sealed *what, struct mm_bytes proof,
                  struct mm_errinfo *ei) MM_MUST_USE;

/* SHA-256 by which the launcher and its workers know a configuration: its path, a zero, its text.
 */
int mm_seal_config(const char *path, struct mm_bytes text, uint8_t ret_digest[MM_HANDED_DIGEST],
                   struct mm_errinfo *ei) MM_MUST_USE;
