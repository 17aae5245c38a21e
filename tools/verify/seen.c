/* SPDX-License-Identifier: Apache-2.0 */
/* One open-addressed table of SHA-256 digests for all kinds of value. */
#include "tools/verify/verify.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

enum { SEEN_FIRST_CAP = 1024 };

/* 128 bits of SHA-256: two values alike in these would be a finding that is none, and nobody can
 * make them. */
static bool digest_of(struct seen *s, enum seen_kind kind, const void *value, size_t len,
                      uint8_t key[SEEN_KEY_LEN])
{
    const uint8_t tag = (uint8_t)kind;
    uint8_t digest[SHA256_LEN];

    if (!s->sha256)
        s->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    if (!s->digest)
        s->digest = EVP_MD_CTX_new();
    if (!s->sha256 || !s->digest || !EVP_DigestInit_ex2(s->digest, s->sha256, NULL) ||
        !EVP_DigestUpdate(s->digest, &tag, 1) || !EVP_DigestUpdate(s->digest, value, len) ||
        !EVP_DigestFinal_ex(s->digest, digest, NULL))
        return false;
    memcpy(key, digest, SEEN_KEY_LEN);
    return true;
}

/* The slot that holds the digest, or the free one where it belongs. The table is never full. */
static struct seen_slot *slot_of(const struct seen *s, const uint8_t key[SEEN_KEY_LEN])
{
    size_t at;

    memcpy(&at, key, sizeof(at));
    for (at &= s->cap - 1; s->slots[at].device; at = (at + 1) & (s->cap - 1)) {
        if (memcmp(s->slots[at].key, key, SEEN_KEY_LEN) == 0)
            break;
    }
    return &s->slots[at];
}

static bool grow(struct seen *s)
{
    struct seen bigger = {.cap = s->cap ? s->cap * 2 : SEEN_FIRST_CAP,
                          .used = s->used,
                          .sha256 = s->sha256,
                          .digest = s->digest};

    bigger.slots = calloc(bigger.cap, sizeof(*bigger.slots));
    if (!bigger.slots)
        return false;
    for (size_t i = 0; i < s->cap; i++) {
        if (s->slots[i].device)
            *slot_of(&bigger, s->slots[i].key) = s->slots[i];
    }
    free(s->slots);
    *s = bigger;
    return true;
}

int64_t seen_add(struct seen *s, enum seen_kind kind, const void *value, size_t len,
                 uint64_t device)
{
    uint8_t key[SEEN_KEY_LEN];
    struct seen_slot *slot;

    if (!digest_of(s, kind, value, len, key) || (s->used * 2 >= s->cap && !grow(s)))
        return -1;
    slot = slot_of(s, key);
    if (slot->device)
        return (int64_t)slot->device;
    memcpy(slot->key, key, SEEN_KEY_LEN);
    slot->device = device;
    s->used++;
    return 0;
}

int64_t seen_get(struct seen *s, enum seen_kind kind, const void *value, size_t len)
{
    uint8_t key[SEEN_KEY_LEN];

    if (!s->cap || !digest_of(s, kind, value, len, key))
        return 0;
    return (int64_t)slot_of(s, key)->device;
}

bool seen_has(struct seen *s, enum seen_kind kind, const void *value, size_t len)
{
    return seen_get(s, kind, value, len) != 0;
}

void seen_done(struct seen *s)
{
    free(s->slots);
    EVP_MD_free(s->sha256);
    EVP_MD_CTX_free(s->digest);
    *s = (struct seen){.cap = 0};
}
