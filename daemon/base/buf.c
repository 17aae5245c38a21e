/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void mm_buf_done(struct mm_buf *b)
{
    if (b->data)
        explicit_bzero(b->data, b->cap);
    free(b->data);
    *b = MM_BUF_INIT(b->max);
}

static bool grow(struct mm_buf *b, size_t need)
{
    size_t cap = b->cap ? b->cap : 256;
    uint8_t *data;

    while (cap < need)
        cap = cap > SIZE_MAX / 2 ? need : cap * 2;
    data = malloc(cap);
    if (!data) {
        b->err = MM_ERR_MEMORY;
        return false;
    }
    if (b->data) {
        memcpy(data, b->data, b->len);
        explicit_bzero(b->data, b->cap);
        free(b->data);
    }
    b->data = data;
    b->cap = cap;
    return true;
}

uint8_t *mm_buf_reserve(struct mm_buf *b, size_t len)
{
    if (b->err)
        return NULL;
    if (len > b->max - b->len) {
        b->err = MM_ERR_TOO_BIG;
        return NULL;
    }
    /* One byte more than asked for, so that mm_buf_cstr always has room for its NUL. */
    if (b->len + len >= b->cap && !grow(b, b->len + len + 1))
        return NULL;
    return b->data + b->len;
}

void mm_buf_grew(struct mm_buf *b, size_t len)
{
    b->len += len;
}

void mm_buf_append(struct mm_buf *b, const void *data, size_t len)
{
    uint8_t *to;

    if (len == 0)
        return;
    to = mm_buf_reserve(b, len);
    if (!to)
        return;
    memcpy(to, data, len);
    b->len += len;
}

void mm_buf_append_u8(struct mm_buf *b, uint8_t v)
{
    mm_buf_append(b, &v, 1);
}

void mm_buf_append_be32(struct mm_buf *b, uint32_t v)
{
    const uint8_t be[4] = {(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};

    mm_buf_append(b, be, sizeof(be));
}

void mm_buf_append_str(struct mm_buf *b, const char *s)
{
    mm_buf_append(b, s, strlen(s));
}

void mm_buf_printf(struct mm_buf *b, const char *fmt, ...)
{
    va_list ap;
    uint8_t *to;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0) {
        if (!b->err)
            b->err = MM_ERR_INTERNAL;
        return;
    }
    to = mm_buf_reserve(b, (size_t)n);
    if (!to)
        return;
    va_start(ap, fmt);
    vsnprintf((char *)to, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->len += (size_t)n;
}

void mm_buf_consume(struct mm_buf *b, size_t len)
{
    if (len == 0)
        return;
    memmove(b->data, b->data + len, b->len - len);
    b->len -= len;
    explicit_bzero(b->data + b->len, len);
}

void mm_buf_reset(struct mm_buf *b)
{
    if (b->len > 0)
        explicit_bzero(b->data, b->len);
    b->len = 0;
    b->err = MM_OK;
}

int mm_buf_err(const struct mm_buf *b)
{
    return b->err;
}

const char *mm_buf_cstr(struct mm_buf *b)
{
    if (!mm_buf_reserve(b, 0))
        return NULL;
    b->data[b->len] = 0;
    return (const char *)b->data;
}
