/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/grpc/arena.h"

#include "daemon/base/limits.h"

#include <stdint.h>
#include <string.h>

enum { ALIGN = 8, FIRST_CHUNK = 4096 };

struct mm_arena_chunk {
    struct mm_arena_chunk *next;
    size_t used;
    size_t size;
    _Alignas(ALIGN) uint8_t data[];
};

void mm_arena_allow(struct mm_arena *arena, size_t bytes)
{
    arena->budget = arena->used + bytes;
}

/* Chunks double, so that their number stays small. */
static bool add_chunk(struct mm_arena *arena, size_t need)
{
    size_t size = arena->chunks ? arena->chunks->size * 2 : FIRST_CHUNK;
    struct mm_arena_chunk *c;

    if (size > MM_ARENA_CHUNK_MAX)
        size = MM_ARENA_CHUNK_MAX;
    if (size < need)
        size = need;
    c = malloc(sizeof(*c) + size);
    if (!c)
        return false;
    *c = (struct mm_arena_chunk){.next = arena->chunks, .size = size};
    arena->chunks = c;
    return true;
}

void *mm_arena_alloc(struct mm_arena *arena, size_t size)
{
    struct mm_arena_chunk *c = arena->chunks;
    void *p;

    if (size > arena->budget - arena->used)
        goto refuse;
    size = (size + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    if (size > arena->budget - arena->used)
        goto refuse;
    if (!c || size > c->size - c->used) {
        if (!add_chunk(arena, size))
            goto refuse;
        c = arena->chunks;
    }
    p = c->data + c->used;
    c->used += size;
    arena->used += size;
    return p;

refuse:
    arena->refused = true;
    return NULL;
}

static void drop_chunks(struct mm_arena *arena, size_t keep_max)
{
    struct mm_arena_chunk *c = arena->chunks, *next, *kept = NULL;

    for (; c; c = next) {
        next = c->next;
        explicit_bzero(c->data, c->used);
        if (!kept && c->size <= keep_max) {
            kept = c;
            c->used = 0;
        } else {
            free(c);
        }
    }
    if (kept)
        kept->next = NULL;
    *arena = (struct mm_arena){.chunks = kept};
}

void mm_arena_reset(struct mm_arena *arena)
{
    drop_chunks(arena, MM_ARENA_KEEP_MAX);
}

void mm_arena_done(struct mm_arena *arena)
{
    drop_chunks(arena, 0);
}
