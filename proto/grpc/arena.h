/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that is handed out piece by piece, within a budget, and given back all at once. */
#pragma once

#include "daemon/base/macros.h"

#include <stdbool.h>

struct mm_arena_chunk;

/* A plain value: start from MM_ARENA_INIT, do not copy. The budget is 0 until it is set. */
struct mm_arena {
    struct mm_arena_chunk *chunks; /* newest first */
    size_t used;                   /* bytes handed out since the last reset */
    size_t budget;                 /* used never exceeds it */
    bool refused;                  /* an allocation failed since the last reset */
};
#define MM_ARENA_INIT ((struct mm_arena){.used = 0})

/* Lets so many more bytes be handed out before the next reset. */
void mm_arena_allow(struct mm_arena *arena, size_t bytes);

/* Aligned to eight bytes, not zeroed; NULL when over budget or out of memory. */
void *mm_arena_alloc(struct mm_arena *arena, size_t size);

/* Takes everything back and wipes it; the budget is 0 again. Keeps one chunk of at most
 * MM_ARENA_KEEP_MAX bytes for the next round. */
void mm_arena_reset(struct mm_arena *arena);

/* As reset, and keeps nothing. The arena may be used again. */
void mm_arena_done(struct mm_arena *arena);
#define MM_ARENA_CLEANUP MM_CLEANUP(mm_arena_done)
