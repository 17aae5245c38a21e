/* SPDX-License-Identifier: Apache-2.0 */
/* A set of texts, to tell in linear time whether a long list has one of them twice. Built for one
 * list, and thrown away. Hashed with a key that nobody outside knows, so that a list cannot be made
 * to be slow. */
#pragma once

#include "daemon/base/err.h"

#include <stdbool.h>
#include <stddef.h>

struct mm_texts;

/* Room for max texts; they are borrowed. */
int mm_texts_new(size_t max, struct mm_texts **ret_texts) MM_MUST_USE;
void mm_texts_free(struct mm_texts *t);
MM_DEFINE_CLEANUP(struct mm_texts *, mm_texts_free)
#define MM_TEXTS_CLEANUP MM_CLEANUP(mm_texts_free_p)

/* MM_ERR_EXISTS when it is in already. */
int mm_texts_add(struct mm_texts *t, const char *text);
/* Is it in? */
bool mm_texts_has(const struct mm_texts *t, const char *text);
