/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A key in so many shares that so many of them give it again, and fewer say nothing (Shamir's
 * scheme over GF(2^8), by libgfshare). A share is bytes:
 *
 *   version 1 | set (8 bytes: which key) | index | threshold | 32 bytes | checksum
 *
 * the last being the first 4 bytes of SHA-256 over what is before. On paper it is those 47 bytes in
 * hexadecimal, in groups of four digits.
 */
#pragma once

#include "daemon/base/secret.h"
#include "pkcs11/backup.h"

#include <stdbool.h>
#include <stddef.h>

enum {
    MM_SHARES_MAX = 16,
    MM_SHARES_MIN_THRESHOLD = 2, /* one share alone would be the key */
    MM_SHARE_BYTES = 1 + MM_BACKUP_SET_BYTES + 2 + MM_BACKUP_KEY_BYTES + 4,
    MM_SHARE_TEXT = 2 * MM_SHARE_BYTES + MM_SHARE_BYTES / 2, /* without a NUL */
};

/* Each of ret_shares (count of them, 2 to 16) is a new secret of MM_SHARE_BYTES. On failure none is
 * left. */
int mm_shares_split(struct mm_secret *key, const uint8_t set[MM_BACKUP_SET_BYTES],
                    unsigned threshold, unsigned count, struct mm_secret **ret_shares,
                    struct mm_errinfo *ei) MM_MUST_USE;
/* The key of n shares with different indices: the right one, if they are of one set and no fewer
 * than its threshold; or else some other. */
int mm_shares_join(struct mm_secret *const *shares, size_t n, struct mm_secret **ret_key,
                   struct mm_errinfo *ei) MM_MUST_USE;

/* As people read it; a secret of MM_SHARE_TEXT bytes and a NUL. */
int mm_share_text(struct mm_secret *share, struct mm_secret **ret_text,
                  struct mm_errinfo *ei) MM_MUST_USE;
/* Back again; blanks, dashes and the case of letters do not matter. MM_ERR_INVALID SHARE_MALFORMED:
 * it has not the right number of digits; SHARE_MISTYPED: its checksum does not fit. */
int mm_share_parse(struct mm_secret *text, struct mm_secret **ret_share,
                   struct mm_errinfo *ei) MM_MUST_USE;

const uint8_t *mm_share_set(struct mm_secret *share);
unsigned mm_share_index(struct mm_secret *share);
