/* SPDX-License-Identifier: Apache-2.0 */
/* The two ways a transport key leaves the token; docs/transport-key.md has the formats. */
#pragma once

#include "pkcs11/soft.h"

enum {
    MM_TRANSPORT_CONTEXT = 32,
    MM_EXPORT_WRAPPED_MAX = 2048, /* RSA of up to 16384 bits */
    MM_RSA_BITS_MIN = 2048,
    MM_RSA_BITS_MAX = 16384,
};

struct mm_exported_key {
    const char *wrap; /* "RSA-OAEP-SHA256", "RSA-OAEP-SHA1" or "ECDH-P256+KWP", "ECDH-P384+KWP" */
    uint8_t ephemeral[MM_POINT_MAX];
    size_t ephemeral_len; /* 0 with RSA */
    uint8_t wrapped[MM_EXPORT_WRAPPED_MAX];
    size_t wrapped_len;
};

/* Wraps an AES-256 key of the token to the recipient, by RSA or ECDH as its key is. */
int mm_export_key(struct mm_token *t, CK_OBJECT_HANDLE key, const char *name, EVP_PKEY *recipient,
                  struct mm_exported_key *ret_exported, struct mm_errinfo *ei) MM_MUST_USE;

/* SHA-256("mintmark transport key v1" || 00 || ephemeral || recipient || name): binds the derived
 * key to what it is for. */
void mm_transport_context(const uint8_t *ephemeral, const uint8_t *recipient, size_t point_len,
                          const char *name, uint8_t ret_context[MM_TRANSPORT_CONTEXT]);

/* The recipient's side, in software: for the self-test, whose recipient and key are made for it. */
int mm_soft_transport_open(EVP_PKEY *recipient, const char *name,
                           const struct mm_exported_key *exported,
                           uint8_t ret_key[MM_AES_256_BYTES], struct mm_errinfo *ei) MM_MUST_USE;
