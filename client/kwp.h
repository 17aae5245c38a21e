/* SPDX-License-Identifier: Apache-2.0 */
/* AES-256 key wrap with padding (RFC 5649). Functions return false when libcrypto does, and
 * unwrapping also when the wrap does not fit the key. */
#pragma once

#include "daemon/base/secret.h"

#include <stdbool.h>

enum {
    MM_KWP_KEY = 32,
    MM_KWP_OVERHEAD = 15, /* wrapped may be longer than plain by so much, at most */
    MM_KWP_MAX = 32 * 1024,
};

/* len of 1 to MM_KWP_MAX; out holds len + MM_KWP_OVERHEAD bytes. */
bool mm_kwp_wrap(const uint8_t key[MM_KWP_KEY], const uint8_t *plain, size_t len, uint8_t *out,
                 size_t *ret_len) MM_MUST_USE;

/* The plain text, as long as it is. */
bool mm_kwp_unwrap(const uint8_t key[MM_KWP_KEY], const uint8_t *wrapped, size_t len,
                   struct mm_secret **ret_plain) MM_MUST_USE;
