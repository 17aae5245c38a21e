/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/token/random.h"

#include "daemon/base/clock.h"

#include <string.h>

enum {
    REPETITIONS_MAX = 6, /* 1 + 40 / 8: SP 800-90B section 4.4.1 */
    BLOCK_LEN = MM_WITNESS_LEN,
    /* Drawn by one call of the token: some give no more than 2 KiB at once. */
    PIECE_MAX = 1024,
};

bool mm_random_is_sound(const uint8_t *data, size_t len)
{
    size_t same = 1;

    for (size_t i = 1; i < len; i++) {
        same = data[i] == data[i - 1] ? same + 1 : 1;
        if (same == REPETITIONS_MAX)
            return false;
    }
    for (size_t at = BLOCK_LEN; at + BLOCK_LEN <= len; at += BLOCK_LEN) {
        if (memcmp(data + at, data + at - BLOCK_LEN, BLOCK_LEN) == 0)
            return false;
    }
    return true;
}

static int draw_piece(struct mm_minter *m, uint8_t *to, size_t len, struct mm_errinfo *ei)
{
    for (int recoveries = 0;; recoveries++) {
        int r = mm_token_random(m->token, to, len, ei);

        if (r == MM_OK || recoveries == MM_RECOVERIES_MAX)
            return r;
        r = mm_minter_recover(m, ei);
        if (r < 0)
            return r;
    }
}

/* A token that says it did, and did not, leaves what was there: nothing but zeros, which fail. */
static int draw(struct mm_minter *m, struct mm_buf *out, size_t len, struct mm_errinfo *ei)
{
    uint8_t *to = mm_buf_reserve(out, len);

    if (!to)
        return mm_fail_memory(ei);
    memset(to, 0, len);
    mm_buf_grew(out, len);
    for (size_t at = 0; at < len; at += PIECE_MAX) {
        const size_t piece = len - at < PIECE_MAX ? len - at : PIECE_MAX;
        const int r = draw_piece(m, to + at, piece, ei);

        if (r < 0)
            return r;
    }
    return MM_OK;
}

int mm_random_check(struct mm_witness *before, const uint8_t *data, size_t len,
                    struct mm_errinfo *ei)
{
    const bool repeated = before->filled && memcmp(before->bytes, data, MM_WITNESS_LEN) == 0;

    memcpy(before->bytes, data, MM_WITNESS_LEN);
    before->filled = true;
    if (!repeated && mm_random_is_sound(data, len))
        return MM_OK;
    return mm_fail(ei, MM_ERR_CORRUPT, "TOKEN_RANDOM_FAULTY",
                   "the token's random bytes %s; they were kept back",
                   repeated ? "are those of the time before" : "repeat themselves");
}

int mm_random_take(struct mm_minter *m, uint8_t *out, size_t len, struct mm_errinfo *ei)
{
    struct mm_supply *s = &m->supply;
    int r;

    if (s->left < len) {
        /* What a token leaves that says it did, and did not: nothing but zeros, which fail. */
        memset(s->bytes, 0, sizeof(s->bytes));
        s->left = 0;
        r = mm_token_random(m->token, s->bytes, sizeof(s->bytes), ei);
        if (r == MM_OK)
            r = mm_random_check(&m->drawn, s->bytes, sizeof(s->bytes), ei);
        if (r < 0)
            return r;
        s->left = sizeof(s->bytes);
    }
    memcpy(out, s->bytes + sizeof(s->bytes) - s->left, len);
    s->left -= len;
    return MM_OK;
}

int mm_random(struct mm_minter *m, size_t length, int64_t deadline_mono_us, struct mm_buf *out,
              struct mm_errinfo *ei)
{
    int r;

    if (length < 1 || length > MM_RANDOM_MAX)
        return mm_fail_field(ei, "length", "1 to %d random bytes are given", MM_RANDOM_MAX);
    if (deadline_mono_us != 0 && mm_clock_mono_us() >= deadline_mono_us)
        return mm_fail(ei, MM_ERR_TIMEOUT, "DEADLINE_EXCEEDED",
                       "the deadline passed before the bytes were drawn");
    r = draw(m, out, MM_WITNESS_LEN + length, ei);
    if (r == MM_OK)
        r = mm_random_check(&m->given, out->data, out->len, ei);
    if (r < 0) {
        mm_buf_reset(out);
        return r;
    }
    mm_buf_consume(out, MM_WITNESS_LEN);
    return MM_OK;
}
