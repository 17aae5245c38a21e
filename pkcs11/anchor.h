/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The anchor: a few bytes that the token keeps for the ledger (docs/ledger.md), in a private data
 * object (with some tokens a key: docs/tokens.md). Writing makes a new object and then destroys the
 * one before, so that there is always one.
 *
 * Where the token has a monotonic counter (PKCS#11 v2.40, 4.3.3: CKH_MONOTONIC_COUNTER, which grows
 * whenever it is read and never goes back), its reading goes into the object, so that an older
 * object put back, also together with the database, is noticed.
 */
#pragma once

#include "pkcs11/token.h"

#define MM_ANCHOR_LABEL "mintmark-ledger-anchor" /* of the object */

enum {
    MM_ANCHOR_MAX = 1024, /* bytes of an anchor */
    /* Readings of the counter that may lie between an anchor's and the next: a start reads it once,
     * and so does each write, whose object a crash may have kept from being made. */
    MM_ANCHOR_COUNTER_SLACK = 8,
};

struct mm_anchor {
    uint8_t value[MM_ANCHOR_MAX];
    size_t len;
    bool counted; /* a monotonic counter stands behind it */
};

/* The newest anchor in the token. MM_ERR_NOT_FOUND ANCHOR_MISSING when there is none;
 * MM_ERR_CORRUPT ANCHOR_BAD when an object is none, ANCHOR_ROLLED_BACK when the counter has gone on
 * without it, ANCHOR_FOREIGN when it is ahead of the counter: another token's. */
int mm_anchor_read(struct mm_token *t, struct mm_anchor *ret_anchor,
                   struct mm_errinfo *ei) MM_MUST_USE;

/* Puts a new anchor in place of all there are. On failure the one before may still be there, or
 * both. One process at a time. */
int mm_anchor_write(struct mm_token *t, const void *value, size_t len,
                    struct mm_errinfo *ei) MM_MUST_USE;

/* The same, if the anchor that stands may be followed by the new one: allowed says so, and why not.
 * It is not asked when there is none, or the one there cannot stand (mm_anchor_read). */
typedef int mm_anchor_allowed_fn(const void *before, size_t before_len, const void *value,
                                 size_t len, struct mm_errinfo *ei);
int mm_anchor_follow(struct mm_token *t, const void *value, size_t len,
                     mm_anchor_allowed_fn *allowed, struct mm_errinfo *ei) MM_MUST_USE;

/* Is the object an anchor that looks like a key? Then mm_token_list leaves it out. */
bool mm_anchor_is(struct mm_token *t, mm_handle object);
