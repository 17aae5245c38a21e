/* SPDX-License-Identifier: Apache-2.0 */
/* One open-addressed table of SHA-256 digests for all kinds of value. */
#include "tools/verify/verify.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

enum { SEEN_FIRST_CAP = 1024 };

static bool digest_of(enum seen_kind kind, const void *value, size_t len,
                      uint8_t digest[SHA256_LEN])
{
    const uint8_t tag = (uint8_t)kind;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    const bool ok = ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) &&
                    EVP_DigestUpdate(ctx, &tag, 1) && EVP_DigestUpdate(ctx, value, len) &&
                    EVP_DigestFinal_ex(ctx, digest, NULL);

    EVP_MD_CTX_free(ctx);
    return ok;
}

/* The slot that holds the digest, or the free one where it belongs. The table is never full. */
static struct seen_slot *slot_of(const struct seen *s, const uint8_t digest[SHA256_LEN])
{
    size_t at;

    memcpy(&at, digest, sizeof(at));
    for (at &= s->cap - 1; s->slots[at].device; at = (at + 1) & (s->cap - 1)) {
        if (memcmp(s->slots[at].digest, digest, SHA256_LEN) == 0)
            break;
    }
    return &s->slots[at];
}

static bool grow(struct seen *s)
{
    struct seen bigger = {.cap = s->cap ? s->cap * 2 : SEEN_FIRST_CAP, .used = s->used};

    bigger.slots = calloc(bigger.cap, sizeof(*bigger.slots));
    if (!bigger.slots)
        return false;
    for (size_t i = 0; i < s->cap; i++) {
        if (s->slots[i].device)
            *slot_of(&bigger, s->slots[i].digest) = s->slots[i];
    }
    free(s->slots);
    *s = bigger;
    return true;
}

int64_t seen_add(struct seen *s, enum seen_kind kind, const void *value, size_t len,
                 uint64_t device)
{
    uint8_t digest[SHA256_LEN];
    struct seen_slot *slot;

    if (!digest_of(kind, value, len, digest) || (s->used * 2 >= s->cap && !grow(s)))
        return -1;
    slot = slot_of(s, digest);
    if (slot->device)
        return (int64_t)slot->device;
    memcpy(slot->digest, digest, SHA256_LEN);
    slot->device = device;
    s->used++;
    return 0;
}

bool seen_has(const struct seen *s, enum seen_kind kind, const void *value, size_t len)
{
    uint8_t digest[SHA256_LEN];

    return s->cap && digest_of(kind, value, len, digest) && slot_of(s, digest)->device;
}

void seen_done(struct seen *s)
{
    free(s->slots);
    *s = (struct seen){.cap = 0};
}
