/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The signature mechanisms that a signing section may allow, as one table for the schema, the front
 * and the token worker: ECDSA (FIPS 186-5 section 6.4), whose signatures are DER ECDSA-Sig-Value
 * (RFC 3279 section 2.2.3), and Ed25519 (RFC 8032), whose are 64 bytes.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct mm_mechanism {
    const char *name;  /* as it stands in the configuration and the log: "ECDSA-SHA256" */
    const char *hash;  /* libcrypto's name; NULL: only digests of the curve's own size are signed */
    size_t digest_len; /* bytes of that hash; 0 with hash NULL */
    bool pure;         /* Ed25519: it signs messages only; the hash is for the record */
};

/* Their names, ending with NULL: what the setting `mechanisms` may hold. */
extern const char *const mm_mechanism_names[];

/* NULL when there is none of that name. */
const struct mm_mechanism *mm_mechanism_get(const char *name);

/* Does a key on the curve ("p256", "p384", "ed25519") sign by it? */
bool mm_mechanism_fits(const struct mm_mechanism *m, const char *curve);

/* Bytes of a digest that the mechanism signs with a key on the curve ("p256", "p384"). */
size_t mm_mechanism_digest_len(const struct mm_mechanism *m, const char *curve);
