/* SPDX-License-Identifier: Apache-2.0 */
/* A set of UUIDs that is filled and asked, of a size known beforehand. */
#pragma once

#include "daemon/base/macros.h"

#include <stdbool.h>
#include <stdint.h>

struct mm_uidset;

/* Room for max UUIDs; NULL without memory. */
struct mm_uidset *mm_uidset_new(size_t max);
void mm_uidset_free(struct mm_uidset *set);
MM_DEFINE_CLEANUP(struct mm_uidset *, mm_uidset_free)

size_t mm_uidset_count(const struct mm_uidset *set);
bool mm_uidset_has(const struct mm_uidset *set, const uint8_t uid[16]);
/* false when the set is full, or has it already. */
bool mm_uidset_add(struct mm_uidset *set, const uint8_t uid[16]);
