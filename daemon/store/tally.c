/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/store/tally.h"

#include "daemon/store/message.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

static void free_tally(struct mm_tally *tally)
{
    if (!tally)
        return;
    EVP_MD_CTX_free(tally->digest);
    if (tally->kind == MM_TALLY_REPORT)
        mm_message_free(tally->report.place);
    free(tally);
}

static struct mm_tally *new_tally(enum mm_tally_kind kind)
{
    struct mm_tally *tally = calloc(1, sizeof(*tally));

    if (!tally)
        return NULL;
    tally->kind = kind;
    tally->digest = EVP_MD_CTX_new();
    if (!tally->digest || EVP_DigestInit_ex2(tally->digest, EVP_sha256(), NULL) != 1) {
        free_tally(tally);
        return NULL;
    }
    return tally;
}

/* A free place, or the one that was not used for the longest time. */
static struct mm_tally **place_for(struct mm_tallies *t)
{
    struct mm_tally **oldest = &t->all[0];

    for (size_t i = 0; i < MM_TALLIES_MAX; i++) {
        if (!t->all[i])
            return &t->all[i];
        if (t->all[i]->used < (*oldest)->used)
            oldest = &t->all[i];
    }
    return oldest;
}

int mm_tally_begin(struct mm_tallies *t, enum mm_tally_kind kind, struct mm_tally **ret_tally,
                   struct mm_errinfo *ei)
{
    struct mm_tally **place, *tally;

    if (!t->all)
        t->all = calloc(MM_TALLIES_MAX, sizeof(*t->all));
    tally = t->all ? new_tally(kind) : NULL;
    if (!tally)
        return mm_fail_memory(ei);
    while (tally->id == 0) {
        if (getrandom(&tally->id, sizeof(tally->id), 0) != sizeof(tally->id)) {
            free_tally(tally);
            return mm_fail_errno(ei, errno, "cannot draw a number");
        }
    }
    tally->used = ++t->clock;
    place = place_for(t);
    free_tally(*place);
    *place = tally;
    *ret_tally = tally;
    return MM_OK;
}

int mm_tally_lost(struct mm_errinfo *ei)
{
    mm_fail(ei, MM_ERR_UNAVAILABLE, "HASHING_LOST",
            "the store knows nothing (more) of this report or export: it was started anew, or has "
            "too many under way; ask again from the beginning");
    ei->retry_ms = 1000;
    return ei->code;
}

int mm_tally_find(struct mm_tallies *t, enum mm_tally_kind kind, uint64_t id,
                  struct mm_tally **ret_tally, struct mm_errinfo *ei)
{
    for (size_t i = 0; t->all && id && i < MM_TALLIES_MAX; i++) {
        if (!t->all[i] || t->all[i]->id != id || t->all[i]->kind != kind)
            continue;
        t->all[i]->used = ++t->clock;
        *ret_tally = t->all[i];
        return MM_OK;
    }
    return mm_tally_lost(ei);
}

int mm_tally_add(struct mm_tally *tally, struct mm_bytes data, struct mm_errinfo *ei)
{
    if (EVP_DigestUpdate(tally->digest, data.data, data.len) != 1)
        return mm_fail_memory(ei);
    tally->bytes += data.len;
    return MM_OK;
}

int mm_tally_hash(struct mm_tally *tally, uint8_t ret_sha256[MM_TALLY_HASH], struct mm_errinfo *ei)
{
    return EVP_DigestFinal_ex(tally->digest, ret_sha256, NULL) == 1 ? MM_OK : mm_fail_memory(ei);
}

void mm_tally_end(struct mm_tallies *t, struct mm_tally *tally)
{
    for (size_t i = 0; t->all && i < MM_TALLIES_MAX; i++) {
        if (t->all[i] != tally)
            continue;
        free_tally(tally);
        t->all[i] = NULL;
        return;
    }
}

void mm_tallies_done(struct mm_tallies *t)
{
    for (size_t i = 0; t->all && i < MM_TALLIES_MAX; i++)
        free_tally(t->all[i]);
    free(t->all);
    t->all = NULL;
}
