/* SPDX-License-Identifier: Apache-2.0 */
/* The recipient of a transport key: its private key, and what that opens. Method names, byte
 * orders and derivations are those of docs/transport-key.md. */
#pragma once

#include "client/error.h"
#include "daemon/base/buf.h"
#include "daemon/base/secret.h"

#include <openssl/evp.h>
#include <stdbool.h>

enum {
    MM_RECIPIENT_POINT_MAX = 97,     /* uncompressed, P-384 */
    MM_RECIPIENT_WRAPPED_MAX = 2048, /* RSA of 16384 bits */
    MM_TRANSPORT_KEY_BYTES = 32,
};

MM_DEFINE_CLEANUP(EVP_PKEY *, EVP_PKEY_free)

/* A private key from a PEM file, not encrypted. Never asks for a passphrase. */
int mm_recipient_load(const char *path, EVP_PKEY **ret_key, struct mintmark_error *error);

/* Is that the SHA-256 of the key's SubjectPublicKeyInfo? */
bool mm_recipient_is(EVP_PKEY *key, const uint8_t sha256[32]);

struct mm_recipient_wrap {
    const char *method;              /* "RSA-OAEP-SHA256", "ECDH-P256+KWP", … */
    const char *name;                /* of the transport key */
    struct mm_bytes ephemeral_point; /* ECDH only */
    struct mm_bytes wrapped;
};

/* The MM_TRANSPORT_KEY_BYTES that were wrapped; false for an unknown method, another kind of key,
 * and whatever does not open, without saying which. */
bool mm_recipient_open(EVP_PKEY *key, const struct mm_recipient_wrap *wrap,
                       struct mm_secret **ret_plain) MM_MUST_USE;
