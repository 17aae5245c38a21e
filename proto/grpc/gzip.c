/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/grpc/gzip.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum {
    GZIP_WINDOW = 15 + 16, /* zlib's largest window, and its way to ask for gzip and nothing else */
    GUESS = 4,             /* times that a message grows, at first sight */
    STEP_MIN = 512,
    STEP_MAX = 64 * 1024,
};

static size_t at_most(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* zlib's window holds messages: its memory is wiped like our own. */

struct block {
    size_t size;
    max_align_t data[];
};

static void *allocate(MM_UNUSED void *opaque, uInt n, uInt size)
{
    struct block *block;
    size_t bytes;

    if (__builtin_mul_overflow((size_t)n, (size_t)size, &bytes) ||
        __builtin_add_overflow(bytes, sizeof(*block), &bytes))
        return NULL;
    block = malloc(bytes);
    if (!block)
        return NULL;
    block->size = bytes;
    return block->data;
}

static void release(MM_UNUSED void *opaque, void *data)
{
    struct block *block = (struct block *)((char *)data - offsetof(struct block, data));

    explicit_bzero(block, block->size);
    free(block);
}

/* The next piece of the message. MM_OK: there is more; MM_ERR_EOF: that was the last. */
static int inflate_some(z_stream *z, struct mm_buf *out, size_t step)
{
    const size_t room = at_most(step, out->max - out->len);
    uint8_t one_more;
    int r;

    /* A full message may have its checksum still to come, but not another byte. */
    z->next_out = room > 0 ? mm_buf_reserve(out, room) : &one_more;
    z->avail_out = room > 0 ? (uInt)room : 1;
    if (!z->next_out)
        return MM_ERR_MEMORY;
    r = inflate(z, Z_NO_FLUSH);
    if (room > 0)
        mm_buf_grew(out, room - z->avail_out);
    else if (z->avail_out == 0)
        return MM_ERR_TOO_BIG;
    if (r == Z_STREAM_END)
        return z->avail_in == 0 ? MM_ERR_EOF : MM_ERR_CORRUPT;
    if (r == Z_MEM_ERROR)
        return MM_ERR_MEMORY;
    /* Z_BUF_ERROR: it wants more input, and there is none. */
    return r == Z_OK ? MM_OK : MM_ERR_CORRUPT;
}

int mm_grpc_gunzip(struct mm_bytes in, struct mm_buf *out)
{
    z_stream z = {.next_in = (Bytef *)(uintptr_t)in.data, .zalloc = allocate, .zfree = release};
    const size_t guess = at_most(at_most(in.len, STEP_MAX) * GUESS, STEP_MAX);
    int r;

    if (in.len > UINT32_MAX)
        return MM_ERR_TOO_BIG;
    z.avail_in = (uInt)in.len;
    if (inflateInit2(&z, GZIP_WINDOW) != Z_OK)
        return MM_ERR_MEMORY;
    do
        r = inflate_some(&z, out, guess < STEP_MIN ? STEP_MIN : guess);
    while (r == MM_OK);
    inflateEnd(&z);
    return r == MM_ERR_EOF ? MM_OK : r;
}

int mm_grpc_gzip(struct mm_bytes in, struct mm_buf *out)
{
    z_stream z = {.next_in = (Bytef *)(uintptr_t)in.data, .zalloc = allocate, .zfree = release};
    uint8_t *to;
    int r;

    if (in.len == 0 || in.len > UINT32_MAX)
        return MM_ERR_TOO_BIG;
    to = mm_buf_reserve(out, in.len - 1);
    if (!to) {
        r = mm_buf_err(out);
        out->err = MM_OK;
        return r;
    }
    if (deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, GZIP_WINDOW, MAX_MEM_LEVEL - 1,
                     Z_DEFAULT_STRATEGY) != Z_OK)
        return MM_ERR_MEMORY;
    z.avail_in = (uInt)in.len;
    z.next_out = to;
    z.avail_out = (uInt)(in.len - 1);
    r = deflate(&z, Z_FINISH) == Z_STREAM_END ? MM_OK : MM_ERR_TOO_BIG;
    if (r == MM_OK)
        mm_buf_grew(out, z.total_out);
    deflateEnd(&z);
    return r;
}
