/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/front/texts.h"

#include <openssl/rand.h>
#include <stdint.h>
#include <string.h>

/* Open addressing with linear probing, at most half full. */
struct mm_texts {
    uint64_t key;
    size_t mask;
    const char *slots[];
};

int mm_texts_new(size_t max, struct mm_texts **ret_texts)
{
    size_t size = 16;
    struct mm_texts *t;

    while (size < max * 2)
        size *= 2;
    t = calloc(1, sizeof(*t) + size * sizeof(t->slots[0]));
    if (!t)
        return MM_ERR_MEMORY;
    t->mask = size - 1;
    if (RAND_bytes((unsigned char *)&t->key, sizeof(t->key)) != 1) {
        free(t);
        return MM_ERR_INTERNAL;
    }
    *ret_texts = t;
    return MM_OK;
}

void mm_texts_free(struct mm_texts *t)
{
    free(t);
}

/* Eight bytes at a time, multiplied and folded (the mixing step of wyhash), keyed. */
static uint64_t hash(uint64_t key, const char *text)
{
    size_t len = strlen(text);
    uint64_t h = key ^ len;

    while (len > 0) {
        const size_t n = len < 8 ? len : 8;
        uint64_t word = 0;
        unsigned __int128 product;

        memcpy(&word, text, n);
        product = (unsigned __int128)(h ^ word ^ 0x9e3779b97f4a7c15ULL) * (key | 1);
        h = (uint64_t)product ^ (uint64_t)(product >> 64);
        text += n;
        len -= n;
    }
    return h ^ h >> 32;
}

static size_t slot_of(const struct mm_texts *t, const char *text)
{
    size_t i = (size_t)hash(t->key, text) & t->mask;

    while (t->slots[i] && strcmp(t->slots[i], text) != 0)
        i = (i + 1) & t->mask;
    return i;
}

int mm_texts_add(struct mm_texts *t, const char *text)
{
    const size_t i = slot_of(t, text);

    if (t->slots[i])
        return MM_ERR_EXISTS;
    t->slots[i] = text;
    return MM_OK;
}

bool mm_texts_has(const struct mm_texts *t, const char *text)
{
    return t->slots[slot_of(t, text)] != NULL;
}
