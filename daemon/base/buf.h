/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A growing byte buffer, born with a maximum. The first error sticks: append freely, test once with
 * mm_buf_err at the end. What it held is wiped when it moves to new memory, is consumed or reset,
 * or is freed: no byte beyond len is one that was appended.
 */
#pragma once

#include "daemon/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Borrowed bytes. */
struct mm_bytes {
    const uint8_t *data;
    size_t len;
};

struct mm_buf {
    uint8_t *data;   /* NULL while empty */
    size_t len;      /* bytes used */
    size_t cap;      /* bytes allocated */
    size_t max;      /* len never exceeds it */
    enum mm_err err; /* MM_OK, MM_ERR_TOO_BIG, MM_ERR_MEMORY; of mm_buf_printf MM_ERR_INTERNAL */
};

/* max is in bytes. mm_buf_done wipes and frees; a done buffer may be used again. */
#define MM_BUF_INIT(max_bytes) ((struct mm_buf){.max = (max_bytes)})
void mm_buf_done(struct mm_buf *b);
#define MM_BUF_CLEANUP MM_CLEANUP(mm_buf_done)

void mm_buf_append(struct mm_buf *b, const void *data, size_t len);
void mm_buf_append_u8(struct mm_buf *b, uint8_t v);
void mm_buf_append_be32(struct mm_buf *b, uint32_t v);
void mm_buf_append_str(struct mm_buf *b, const char *s);
void mm_buf_printf(struct mm_buf *b, const char *fmt, ...) MM_PRINTF(2, 3);

/* Room for len more bytes, to be filled by the caller and then counted by mm_buf_grew.
 * NULL (and a sticky error) when it does not fit. */
uint8_t *mm_buf_reserve(struct mm_buf *b, size_t len) MM_MUST_USE;
void mm_buf_grew(struct mm_buf *b, size_t len);

/* Drops the first len bytes (len <= b->len); none of them stays in memory. */
void mm_buf_consume(struct mm_buf *b, size_t len);

/* Wipes and empties the buffer, clears a sticky error, keeps the memory. */
void mm_buf_reset(struct mm_buf *b);

int mm_buf_err(const struct mm_buf *b) MM_MUST_USE;

/* Ends the buffer with a NUL that len does not count; NULL on a sticky error. Borrowed. */
const char *mm_buf_cstr(struct mm_buf *b);
