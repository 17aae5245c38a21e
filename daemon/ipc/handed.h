/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the launcher hands each worker beside its channel, on a pipe that the front has no end of:
 * the digests of the configurations that it has checked, so that a worker takes no other from the
 * front; and, for stores and token workers, the key of their proofs (daemon/ipc/seal.h). The
 * launcher draws the key once, after it was forked: the front has never had it.
 * docs/adr/0033-the-store-vouches-for-what-is-signed.md has the reasons.
 */
#pragma once

#include "daemon/base/secret.h"

#include <stdbool.h>

enum {
    MM_HANDED_FD = 5, /* in a worker, until it has read it */
    MM_HANDED_KEY = 32,
    MM_HANDED_DIGEST = 32,
    MM_HANDED_CONFIGS = 64, /* the last ones checked since the start */
};

struct mm_handed {
    struct mm_secret *key; /* MM_HANDED_KEY bytes; NULL: none */
    uint32_t n_configs;
    uint8_t configs[MM_HANDED_CONFIGS][MM_HANDED_DIGEST]; /* mm_seal_config; newest last */
};

/* Draws the key from the kernel. h is zeroed or has no key. */
int mm_handed_draw(struct mm_handed *h, struct mm_errinfo *ei) MM_MUST_USE;
void mm_handed_done(struct mm_handed *h);

/* A configuration was checked. One more than MM_HANDED_CONFIGS takes the place of the oldest. */
void mm_handed_add(struct mm_handed *h, const uint8_t config[MM_HANDED_DIGEST]);
bool mm_handed_knows(const struct mm_handed *h, const uint8_t config[MM_HANDED_DIGEST]);

/* A pipe's reading end with all of it, close-on-exec and the caller's; it never blocks on it. */
int mm_handed_pipe(const struct mm_handed *h, bool with_key, int *ret_fd,
                   struct mm_errinfo *ei) MM_MUST_USE;
/* The worker's side: *ret_handed is to be done with. MM_ERR_CORRUPT HANDED_BAD when it is not what
 * mm_handed_pipe writes, or nothing is there. */
int mm_handed_read(int fd, struct mm_handed *ret_handed, struct mm_errinfo *ei) MM_MUST_USE;
