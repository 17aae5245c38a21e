/* SPDX-License-Identifier: Apache-2.0 */
/* The file of a key backup: JSON, without a secret in the clear; docs/key-backup.md has its fields.
 * Everything in it is under a MAC whose key comes from the backup key. */
#pragma once

#include "daemon/base/buf.h"
#include "tools/officer/shares.h"

#include <jansson.h>

enum {
    MM_BACKUP_KEYS_MAX = 16,
    MM_BACKUP_FILE_MAX = 64 * 1024,
    MM_BACKUP_CHECK_BYTES = 8,
    MM_BACKUP_HASH_BYTES = 32,
};

struct mm_backup {
    uint8_t set[MM_BACKUP_SET_BYTES];
    unsigned threshold, n_shares;
    uint8_t share_sha256[MM_SHARES_MAX][MM_BACKUP_HASH_BYTES]; /* by index - 1 */
    uint8_t check[MM_BACKUP_CHECK_BYTES];                      /* says which backup key, no more */
    struct mm_backup_key keys[MM_BACKUP_KEYS_MAX];
    size_t n_keys;
    json_t *json; /* the file, without its MAC */
    uint8_t mac[MM_BACKUP_HASH_BYTES];
};
void mm_backup_done(struct mm_backup *backup);
#define MM_BACKUP_CLEANUP MM_CLEANUP(mm_backup_done)

/* Who the backup is of, for people. */
struct mm_backup_origin {
    const char *site, *token_label, *token_serial;
    int64_t wall_ms;
};

/* Fills check and share_sha256 in, and appends the file's text. */
int mm_backup_write(struct mm_backup *backup, const struct mm_backup_origin *origin,
                    struct mm_secret *key, struct mm_secret *const *shares, struct mm_buf *text,
                    struct mm_errinfo *ei) MM_MUST_USE;

/* MM_ERR_INVALID BACKUP_MALFORMED when the text is no such file. Its MAC is not checked yet. */
int mm_backup_parse(struct mm_bytes text, struct mm_backup *ret_backup,
                    struct mm_errinfo *ei) MM_MUST_USE;
/* Is the share one of this backup's? MM_ERR_INVALID SHARE_OTHER_SET or SHARE_WRONG. */
int mm_backup_check_share(const struct mm_backup *backup, struct mm_secret *share,
                          struct mm_errinfo *ei) MM_MUST_USE;
/* MM_ERR_INVALID BACKUP_SHARES_WRONG: it is another key; BACKUP_TAMPERED: the file is not as it was
 * written. */
int mm_backup_check_key(const struct mm_backup *backup, struct mm_secret *key,
                        struct mm_errinfo *ei) MM_MUST_USE;
