/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/store/minted.h"

#include "daemon/base/text.h"
#include "daemon/store/sqlite.h"

#include <stdlib.h>
#include <string.h>

enum {
    PREFIX = 8,
    SEGMENT_KEYS = 1 << 20,
    BITS_PER_KEY = 24, /* with 12 bits set by a key: one key in 100,000 is looked for in vain */
    HASHES = 12,
    SEGMENT_WORDS = SEGMENT_KEYS / 64 * BITS_PER_KEY, /* 3 MiB */
    /* Rows of groups that were undone are used again: a segment's keys are in its rows, or in these
     * around them. A group has 64 jobs at most. */
    ROWS_MARGIN = 1024,
};

struct segment {
    uint64_t *words;
    int64_t first_row;
    unsigned keys;
};

struct mm_minted {
    struct segment *segments;
    size_t n;
};

/* Bits of a key by double hashing; what it is made of is uniform already. */
static uint64_t bit_of(uint64_t key, unsigned i)
{
    const uint32_t mixed = (uint32_t)key + i * ((uint32_t)(key >> 32) | 1);

    return (uint64_t)mixed * (SEGMENT_WORDS * (uint64_t)64) >> 32;
}

static bool may_have(const struct segment *g, uint64_t key)
{
    for (unsigned i = 0; i < HASHES; i++) {
        const uint64_t bit = bit_of(key, i);

        if (!(g->words[bit / 64] >> bit % 64 & 1))
            return false;
    }
    return true;
}

static void set(struct segment *g, uint64_t key)
{
    for (unsigned i = 0; i < HASHES; i++) {
        const uint64_t bit = bit_of(key, i);

        g->words[bit / 64] |= UINT64_C(1) << bit % 64;
    }
    g->keys++;
}

static uint64_t key_at(const uint8_t *at)
{
    uint64_t key;

    memcpy(&key, at, PREFIX);
    return key;
}

static int begin_segment(struct mm_minted *m, int64_t first_row, struct mm_errinfo *ei)
{
    struct segment *segments = reallocarray(m->segments, m->n + 1, sizeof(*segments));
    uint64_t *words;

    if (!segments)
        return mm_fail_memory(ei);
    m->segments = segments;
    words = calloc(SEGMENT_WORDS, sizeof(*words));
    if (!words)
        return mm_fail_memory(ei);
    segments[m->n++] = (struct segment){.words = words, .first_row = first_row};
    return MM_OK;
}

/* The segment that n more keys, of that row, go to. */
static int room(struct mm_minted *m, size_t n, int64_t row, struct segment **ret_segment,
                struct mm_errinfo *ei)
{
    int r = MM_OK;

    if (m->n == 0 || m->segments[m->n - 1].keys + n > SEGMENT_KEYS)
        r = begin_segment(m, row, ei);
    if (r == MM_OK)
        *ret_segment = &m->segments[m->n - 1];
    return r;
}

/* ---- what is on disk --------------------------------------------------------------------- */

static int load(struct mm_store *s, struct mm_minted *m, struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_MINTED_ALL);
    struct segment *g;
    int r;

    while ((r = mm_sql_step(&q, ei)) > 0) {
        const struct mm_bytes keys = mm_sql_blob(&q, 1);

        r = room(m, keys.len / PREFIX, mm_sql_int(&q, 0), &g, ei);
        if (r < 0)
            return r;
        for (size_t i = 0; i + PREFIX <= keys.len; i += PREFIX)
            set(g, key_at(keys.data + i));
    }
    return r < 0 ? r : mm_sql_end(&q, ei);
}

int mm_minted_open(struct mm_store *s, struct mm_errinfo *ei)
{
    s->minted = calloc(1, sizeof(*s->minted));
    if (!s->minted)
        return mm_fail_memory(ei);
    return load(s, s->minted, ei);
}

int mm_store_warm(struct mm_store *s, struct mm_errinfo *ei)
{
    enum { PAGE_WORDS = 4096 / sizeof(uint64_t) };
    struct segment *g;
    int r = room(s->minted, 0, 0, &g, ei);

    for (size_t i = 0; r == MM_OK && i < SEGMENT_WORDS; i += PAGE_WORDS)
        *(volatile uint64_t *)&g->words[i] |= 0;
    return r;
}

void mm_minted_close(struct mm_store *s)
{
    for (size_t i = 0; s->minted && i < s->minted->n; i++)
        free(s->minted->segments[i].words);
    if (s->minted)
        free(s->minted->segments);
    free(s->minted);
    s->minted = NULL;
}

/* 1: it is in the rows of segment i. */
static int look_for(struct mm_store *s, size_t i, uint64_t key, struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_MINTED_ROWS);
    const struct mm_minted *m = s->minted;
    int r;

    mm_sql_bind_int(&q, m->segments[i].first_row - ROWS_MARGIN);
    mm_sql_bind_int(&q, i + 1 < m->n ? m->segments[i + 1].first_row + ROWS_MARGIN : INT64_MAX);
    while ((r = mm_sql_step(&q, ei)) > 0) {
        const struct mm_bytes keys = mm_sql_blob(&q, 0);

        for (size_t at = 0; at + PREFIX <= keys.len; at += PREFIX) {
            if (key_at(keys.data + at) == key)
                return 1;
        }
    }
    return r;
}

/* ---- taking ------------------------------------------------------------------------------ */

/* 1: it is known. *ret_alike: a segment may have it, whether it does or not. */
static int is_known(struct mm_store *s, uint64_t key, bool *ret_alike, struct mm_errinfo *ei)
{
    int r = 0;

    *ret_alike = false;
    for (size_t i = 0; r == 0 && i < s->minted->n; i++) {
        if (!may_have(&s->minted->segments[i], key))
            continue;
        *ret_alike = true;
        r = look_for(s, i, key, ei);
    }
    return r;
}

static int fail_repeated(const Mintmark__Internal__DeviceRecord *device, struct mm_errinfo *ei)
{
    char uid[MM_UID_LEN + 1];

    mm_uuid_format(device->uid.data, uid);
    return mm_fail(ei, MM_ERR_CORRUPT, "TOKEN_KEY_REPEATED",
                   "the token made a key that another device has (number %llu, %s kept back)",
                   (unsigned long long)device->number, uid);
}

static bool is_among(const uint8_t *keys, size_t n, uint64_t key)
{
    for (size_t i = 0; i < n; i++) {
        if (key_at(keys + i * PREFIX) == key)
            return true;
    }
    return false;
}

/* Those of the job's devices before it are not in the log yet. */
static int take(struct mm_store *s, struct segment *g, const Mintmark__Internal__DeviceRecord *d,
                uint8_t *keys, size_t n, struct mm_errinfo *ei)
{
    const uint64_t key = key_at(d->spki_sha256.data);
    bool alike;
    int r = is_known(s, key, &alike, ei);

    if (r == 1 || (r == 0 && alike && is_among(keys, n, key)))
        return fail_repeated(d, ei);
    if (r < 0)
        return r;
    set(g, key);
    memcpy(keys + n * PREFIX, &key, PREFIX);
    return MM_OK;
}

static int next_row(struct mm_store *s, int64_t *ret_row, struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_MINTED_NEXT);
    int r = mm_sql_step(&q, ei);

    if (r < 0)
        return r;
    *ret_row = mm_sql_int(&q, 0);
    return mm_sql_end(&q, ei);
}

/* What is set in the filter stays set when the group is undone, and then costs a look in vain. */
int mm_minted_add(struct mm_store *s, const Mintmark__Internal__SpendAndRecord *job,
                  struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_MINTED_ADD);
    uint8_t keys[MM_CHUNK_DEVICES * PREFIX];
    struct segment *g = NULL;
    int64_t row = 0;
    int r;

    if (job->n_devices > MM_CHUNK_DEVICES)
        return mm_fail_field(ei, "devices", "at most %d devices at once", MM_CHUNK_DEVICES);
    r = next_row(s, &row, ei);
    if (r == MM_OK)
        r = room(s->minted, job->n_devices, row, &g, ei);
    for (size_t i = 0; r == MM_OK && i < job->n_devices; i++)
        r = take(s, g, job->devices[i], keys, i, ei);
    if (r < 0)
        return r;
    mm_sql_bind_blob(&q, keys, job->n_devices * PREFIX);
    return mm_sql_run(&q, ei);
}
