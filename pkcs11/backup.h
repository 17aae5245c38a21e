/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys that travel from token to token, wrapped under a backup key: AES-256, RFC 5649. The backup
 * key is in each token for one ceremony only, as a session object. To wrap CA keys it has to be
 * CKA_TRUSTED there, which only the token's security officer can say: so a backup takes the
 * officer's PIN, and the user's PIN alone gets no CA key out.
 */
#pragma once

#include "pkcs11/token.h"

enum { MM_BACKUP_KEY_BYTES = 32, MM_BACKUP_SET_BYTES = 8 };

/* A CA's key as a backup holds it. */
struct mm_backup_key {
    char label[65];
    uint8_t id[64];
    size_t id_len;
    enum mm_curve curve;
    uint8_t point[MM_POINT_MAX];
    size_t point_len;
    uint8_t wrapped[MM_WRAPPED_KEY_MAX];
    size_t wrapped_len;
};

/* Which row of the policy a CA's key belongs to, by CKA_WRAP_WITH_TRUSTED and CKA_LOCAL: MM_USE_CA,
 * MM_USE_CA_BACKUP or MM_USE_CA_RESTORED. The policy itself is not checked. */
int mm_token_ca_use(struct mm_token *t, mm_handle key, enum mm_key_use *ret_use,
                    struct mm_errinfo *ei) MM_MUST_USE;

/* Puts the backup key into the token, trusted, to wrap: logs the user out, the security officer in
 * (once; MM_ERR_PIN as mm_token_login), and the user in again. All handles are stale afterwards,
 * but the new one. */
int mm_token_backup_begin(struct mm_token *t, struct mm_secret *so_pin,
                          struct mm_secret *backup_key, mm_handle *ret_wrapping,
                          struct mm_errinfo *ei) MM_MUST_USE;
/* The same key, to unwrap only; takes the user's login. */
int mm_token_restore_begin(struct mm_token *t, struct mm_secret *backup_key,
                           mm_handle *ret_unwrapping, struct mm_errinfo *ei) MM_MUST_USE;
/* Drops either. */
void mm_token_backup_end(struct mm_token *t, mm_handle backup_key);

/* Describes a CA's key that was made to be backed up: MM_ERR_PRECONDITION KEY_NOT_FOR_BACKUP when
 * it was not, or may be extracted no more. wrapped is left empty. */
int mm_token_backup_describe(struct mm_token *t, mm_handle key, struct mm_backup_key *ret_key,
                             struct mm_errinfo *ei) MM_MUST_USE;
/* Wraps it, into *backup as described. */
int mm_token_backup_wrap(struct mm_token *t, mm_handle wrapping, mm_handle key,
                         struct mm_backup_key *backup, struct mm_errinfo *ei) MM_MUST_USE;
/* Unwraps it as a session object, has it sign, and verifies that with libcrypto; nothing stays.
 * MM_ERR_CORRUPT when the signature is not the public key's. */
int mm_token_backup_try(struct mm_token *t, mm_handle unwrapping,
                        const struct mm_backup_key *backup, struct mm_errinfo *ei) MM_MUST_USE;
/* Unwraps it for good, with its public half, tried as above; on failure nothing stays. It is not
 * extractable in this token. MM_ERR_EXISTS when there is a key with the label or the id. */
int mm_token_restore_key(struct mm_token *t, mm_handle unwrapping,
                         const struct mm_backup_key *backup, struct mm_keypair *ret_pair,
                         struct mm_errinfo *ei) MM_MUST_USE;

/* ---- that a key has been backed up ------------------------------------------------------- */

/* Notes in the token, as a private data object, that the key with this public point is in a backup.
 * Kept in the token, and not in the ledger: it says something of the key where the key is, it is
 * there before a service runs and when the database is new, and a restore brings it along. */
int mm_token_backup_note(struct mm_token *t, const uint8_t *point, size_t point_len,
                         const uint8_t set[MM_BACKUP_SET_BYTES], int64_t wall_ms,
                         struct mm_errinfo *ei) MM_MUST_USE;
/* MM_ERR_NOT_FOUND when there is no such note. */
int mm_token_backup_noted(struct mm_token *t, const uint8_t *point, size_t point_len,
                          struct mm_errinfo *ei) MM_MUST_USE;
/* Removes it, if there is one and that can be. */
void mm_token_backup_forget(struct mm_token *t, const uint8_t *point, size_t point_len);
#define MM_BACKUP_LABEL "mintmark-key-backup" /* of the objects; a point's hash follows */
