/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Exchange packages, as far as the token is concerned: the key that opens them, the private keys
 * that arrive in them, and the mark that says which was the last. The rest is CMS and stays above.
 */
#pragma once

#include "pkcs11/token.h"

#include <openssl/evp.h>

enum { MM_EXCHANGE_RSA_BITS = 3072 };

/* Makes the exchange key: use is MM_USE_EXCHANGE (EC P-256) or MM_USE_EXCHANGE_RSA. Otherwise as
 * mm_token_create_ca_key. */
int mm_token_create_exchange_key(struct mm_token *t, const char *label, enum mm_key_use use,
                                 mm_handle *ret_private, struct mm_errinfo *ei) MM_MUST_USE;

/* Destroys a pair that stays in the token, both halves. When the token refuses midway, the private
 * half is still there, and the call may be made again. */
int mm_token_delete_pair(struct mm_token *t, mm_handle private_key,
                         struct mm_errinfo *ei) MM_MUST_USE;

/* The public half of an EC or RSA pair, found by the private key's CKA_ID. */
int mm_token_public_key(struct mm_token *t, mm_handle private_key, EVP_PKEY **ret_key,
                        struct mm_errinfo *ei) MM_MUST_USE;

/* ECDH on P-256 with somebody's public key: the x coordinate, 32 bytes, leaves the token, since
 * tokens have no KDF in common. MM_ERR_INVALID PACKAGE_RECIPIENT for a point that is not on the
 * curve. */
int mm_token_agree(struct mm_token *t, mm_handle key, const uint8_t *point, size_t len,
                   struct mm_secret **ret_shared, struct mm_errinfo *ei) MM_MUST_USE;

/* RSAES-OAEP (RFC 8017 section 7.1) with an empty label, and one hash for both of its uses. The
 * token decides which it has: SoftHSM 2.6.1 SHA-1 alone. MM_ERR_INVALID PACKAGE_DECRYPT when it
 * does not open. */
int mm_token_open_oaep(struct mm_token *t, mm_handle key, bool sha256, struct mm_bytes sealed,
                       struct mm_secret **ret_opened, struct mm_errinfo *ei) MM_MUST_USE;

/*
 * Puts a private key (EC P-256 or P-384, RSA of 2048 to 4096 bits) into the token for good, for
 * signing only: wrapped by libcrypto under an AES key that lives as long as the call, unwrapped in
 * the token as sensitive and not extractable, and tried: what it signs verifies. Its CKA_ID is the
 * first 16 bytes of SHA-256 over its SubjectPublicKeyInfo. With replaced, a key that the label
 * names already is destroyed when the new one is there. MM_ERR_UNSUPPORTED when the token takes
 * no key from outside; nothing stays in the token on failure.
 */
int mm_token_import_key(struct mm_token *t, const char *label, EVP_PKEY *key, mm_handle replaced,
                        mm_handle *ret_private, struct mm_errinfo *ei) MM_MUST_USE;

/* The last package that was installed; a private data object of the token, so that it stays when a
 * disk is put back. */
#define MM_PACKAGE_MARK_LABEL "mintmark-package-mark"
struct mm_exchange_mark {
    int64_t created_ms; /* as the package says; 0: there was none yet */
    uint8_t sha256[32]; /* of its signed content */
};
int mm_token_mark_read(struct mm_token *t, struct mm_exchange_mark *ret_mark,
                       struct mm_errinfo *ei) MM_MUST_USE;
int mm_token_mark_write(struct mm_token *t, const struct mm_exchange_mark *mark,
                        struct mm_errinfo *ei) MM_MUST_USE;
