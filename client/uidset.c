/* SPDX-License-Identifier: Apache-2.0 */
#include "client/uidset.h"

#include <openssl/rand.h>
#include <string.h>

enum { UID_BYTES = 16 };

/* Open addressing with linear probing; at most half of the slots are in use. A slot of zeros is
 * free: the nil UUID, which no service gives, is kept apart. */
struct mm_uidset {
    size_t mask; /* slots - 1; slots is a power of two */
    size_t max;
    size_t count;
    bool has_nil;
    uint64_t seed; /* so that nobody can choose UUIDs that meet in one slot */
    uint8_t slots[][UID_BYTES];
};

static const uint8_t nil[UID_BYTES];

struct mm_uidset *mm_uidset_new(size_t max)
{
    struct mm_uidset *set;
    size_t slots = 16;

    while (slots < max * 2)
        slots *= 2;
    set = calloc(1, sizeof(*set) + slots * UID_BYTES);
    if (!set)
        return NULL;
    set->mask = slots - 1;
    set->max = max;
    if (RAND_bytes((unsigned char *)&set->seed, sizeof(set->seed)) != 1) {
        free(set);
        return NULL;
    }
    return set;
}

void mm_uidset_free(struct mm_uidset *set)
{
    free(set);
}

size_t mm_uidset_count(const struct mm_uidset *set)
{
    return set->count;
}

/* Multiplication by a secret odd number and taking the upper half mixes well enough. */
static size_t first_slot(const struct mm_uidset *set, const uint8_t uid[UID_BYTES])
{
    const uint64_t secret = set->seed | 1;
    uint64_t high, low;

    memcpy(&high, uid, sizeof(high));
    memcpy(&low, uid + sizeof(high), sizeof(low));
    high = (high ^ set->seed) * secret;
    high ^= high >> 32;
    low = (low ^ high) * secret;
    return (size_t)(low >> 32) & set->mask;
}

/* The slot that holds uid, or the free one where it belongs. */
static size_t find_slot(const struct mm_uidset *set, const uint8_t uid[UID_BYTES])
{
    size_t slot = first_slot(set, uid);

    while (memcmp(set->slots[slot], nil, UID_BYTES) != 0 &&
           memcmp(set->slots[slot], uid, UID_BYTES) != 0)
        slot = (slot + 1) & set->mask;
    return slot;
}

bool mm_uidset_has(const struct mm_uidset *set, const uint8_t uid[UID_BYTES])
{
    if (memcmp(uid, nil, UID_BYTES) == 0)
        return set->has_nil;
    return memcmp(set->slots[find_slot(set, uid)], uid, UID_BYTES) == 0;
}

bool mm_uidset_add(struct mm_uidset *set, const uint8_t uid[UID_BYTES])
{
    if (set->count == set->max || mm_uidset_has(set, uid))
        return false;
    if (memcmp(uid, nil, UID_BYTES) == 0)
        set->has_nil = true;
    else
        memcpy(set->slots[find_slot(set, uid)], uid, UID_BYTES);
    set->count++;
    return true;
}
