/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A secret: a PIN, a password, a key. Its pages are locked in memory, left out of core dumps and of
 * children, and wiped before they are given back. A secret is moved, never copied, and has no
 * printer.
 */
#pragma once

#include "daemon/base/err.h"

#include <stdint.h>

struct mm_secret;

/* A zeroed secret of len bytes (1 <= len <= 64 KiB). MM_ERR_MEMORY when it cannot be locked. */
int mm_secret_new(size_t len, struct mm_secret **ret_secret) MM_MUST_USE;
/* Wipes; NULL is fine. */
void mm_secret_free(struct mm_secret *s);
MM_DEFINE_CLEANUP(struct mm_secret *, mm_secret_free)
#define MM_SECRET_CLEANUP MM_CLEANUP(mm_secret_free_p)

uint8_t *mm_secret_data(struct mm_secret *s);
size_t mm_secret_len(const struct mm_secret *s);
/* Makes the secret shorter; what is cut off is wiped. */
void mm_secret_truncate(struct mm_secret *s, size_t len);

/* Process-wide: no core dumps, not dumpable, no new privileges; and standard descriptors that are
 * closed are not left to the next file or socket, which would get what is printed: what takes their
 * place can neither be read from nor written to. First thing in every main. */
int mm_secret_harden_process(struct mm_errinfo *ei) MM_MUST_USE;
