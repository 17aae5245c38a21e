/* SPDX-License-Identifier: Apache-2.0 */
/* What the deliveries of a profile share, as the workers of its sections say. */
#include "daemon/front/mint_internal.h"

#include <limits.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>

void mm_shared_unref(struct mm_shared *s)
{
    if (!s || --s->references > 0)
        return;
    mintmark__internal__raw_delivery__free_unpacked(s->delivery, NULL);
    free(s->bytes);
    free(s->chain);
    free(s);
}

static struct mm_shared *find_shared(const struct mm_mints *m, const char *profile)
{
    struct mm_shared *s;

    LIST_FOREACH(s, &m->shared, link) {
        if (strcmp(s->profile, profile) == 0)
            return s;
    }
    return NULL;
}

struct mm_shared *mm_mint_shared(struct mm_mint *mint, const char *profile)
{
    struct mm_shared *s = find_shared(mint->mints, profile);

    if (s)
        s->references++;
    return s;
}

bool mm_mint_is_current(const struct mm_mint *mint, const struct mm_shared *shared)
{
    return find_shared(mint->mints, shared->profile) == shared;
}

/* Once, in place of for each chunk. */
static bool pack_chain(struct mm_shared *s)
{
    Mintmark__Internal__Chain chain = MINTMARK__INTERNAL__CHAIN__INIT;

    chain.certificates = s->delivery->chain;
    chain.n_certificates = s->delivery->n_chain;
    s->chain_len = mintmark__internal__chain__get_packed_size(&chain);
    s->chain = malloc(s->chain_len + 1);
    if (!s->chain)
        return false;
    mintmark__internal__chain__pack(&chain, s->chain);
    SHA256(s->chain, s->chain_len, s->chain_sha256);
    return true;
}

static struct mm_shared *new_shared(const Mintmark__Internal__ProfileShared *from)
{
    struct mm_shared *s = calloc(1, sizeof(*s));

    if (!s)
        return NULL;
    s->references = 1;
    s->len = from->delivery.len;
    s->bytes = malloc(s->len + 1);
    s->delivery = mintmark__internal__raw_delivery__unpack(NULL, s->len, from->delivery.data);
    if (!s->bytes || !s->delivery || !pack_chain(s) || strlen(from->profile) > MM_NAME_MAX) {
        mm_shared_unref(s);
        return NULL;
    }
    memcpy(s->bytes, from->delivery.data, s->len);
    memcpy(s->profile, from->profile, strlen(from->profile) + 1);
    return s;
}

static bool is_same(const struct mm_shared *s, const Mintmark__Internal__ProfileShared *from)
{
    return s->len == from->delivery.len && memcmp(s->bytes, from->delivery.data, s->len) == 0;
}

/* Another section that serves with it now. */
static const struct mm_mint *other_holder(const struct mm_shared *s, const struct mm_mint *mint)
{
    for (unsigned i = 0; i < s->n_by; i++) {
        const struct mm_mint *other = s->by[i].mint;

        if (other != mint && s->by[i].in_force && other->pools[0] &&
            mm_pool_ready(other->pools[0]) > 0)
            return other;
    }
    return NULL;
}

/* The profile's own order of tokens decides whose word counts. */
static bool stands_before(const struct mm_mint *mint, const struct mm_mint *other,
                          const char *profile)
{
    const struct mm_conf *conf = mint->mints->conf;
    const struct mm_conf_profile *p = conf ? mm_conf_profile_get(conf, profile) : NULL;

    for (size_t i = 0; p && i < p->n_tokens; i++) {
        if (strcmp(p->tokens[i], mint->section) == 0)
            return true;
        if (strcmp(p->tokens[i], other->section) == 0)
            return false;
    }
    return false;
}

static int fail_differs(const struct mm_mint *mint, const struct mm_mint *other,
                        const char *profile, struct mm_errinfo *ei)
{
    return mm_fail(ei, MM_ERR_PRECONDITION, "TOKENS_DIFFER",
                   "profile \"%s\": token \"%s\" does not have the transport key that token "
                   "\"%s\" has, or the files of chain and items have changed",
                   profile, mint->section, other->section);
}

int mm_mint_check_shared(const struct mm_mint *mint, const Mintmark__Internal__TokenReady *ready,
                         struct mm_errinfo *ei)
{
    for (size_t i = 0; i < ready->n_profiles; i++) {
        const Mintmark__Internal__ProfileShared *from = ready->profiles[i];
        const struct mm_shared *s = find_shared(mint->mints, from->profile);
        const struct mm_mint *other = s && !is_same(s, from) ? other_holder(s, mint) : NULL;

        if (other && !stands_before(mint, other, from->profile))
            return fail_differs(mint, other, from->profile, ei);
    }
    return MM_OK;
}

static void add_holder(struct mm_shared *s, struct mm_mint *mint)
{
    unsigned i = 0;

    while (i < s->n_by && s->by[i].mint != mint)
        i++;
    if (i == MM_TOKENS_MAX)
        return;
    s->by[i].mint = mint;
    s->by[i].in_force = true;
    if (i == s->n_by)
        s->n_by++;
}

/* Workers that still make devices with the old: no delivery may mix the two. Those of the
 * configuration in force look again, and are refused if they still find it. */
static void let_go(const struct mm_shared *old, const struct mm_mint *except)
{
    struct mm_mint *mints[MM_TOKENS_MAX];
    bool in_force[MM_TOKENS_MAX];
    const unsigned n = old->n_by;
    struct mm_errinfo ei;

    for (unsigned i = 0; i < n; i++) {
        mints[i] = old->by[i].mint;
        in_force[i] = old->by[i].in_force;
    }
    for (unsigned i = 0; i < n; i++) {
        struct mm_mint *mint = mints[i];

        if (mint == except)
            continue;
        mint->pins++;
        (void)fail_differs(mint, except, old->profile, &ei);
        if (in_force[i] && mint->pools[0])
            mm_pool_restart(mint->pools[0], &ei);
        for (size_t k = 1; k < MM_MINT_POOLS; k++) {
            if (mint->pools[k])
                mm_pool_retire(mint->pools[k], UINT_MAX);
        }
        mint->pins--;
        mm_mint_collect(mint);
    }
}

static bool take(struct mm_mint *mint, const Mintmark__Internal__ProfileShared *from)
{
    struct mm_shared *old = find_shared(mint->mints, from->profile);
    struct mm_shared *s;

    if (old && is_same(old, from)) {
        add_holder(old, mint);
        return false;
    }
    s = new_shared(from);
    if (!s)
        return false;
    add_holder(s, mint);
    LIST_INSERT_HEAD(&mint->mints->shared, s, link);
    if (!old)
        return false;
    LIST_REMOVE(old, link);
    let_go(old, mint);
    mm_shared_unref(old);
    return true;
}

bool mm_mint_take_shared(struct mm_mint *mint, const Mintmark__Internal__TokenReady *ready)
{
    bool changed = false;

    for (size_t i = 0; i < ready->n_profiles; i++)
        changed = take(mint, ready->profiles[i]) || changed;
    return changed;
}

void mm_mint_doubt_shared(struct mm_mint *mint)
{
    struct mm_shared *s;

    LIST_FOREACH(s, &mint->mints->shared, link) {
        for (unsigned i = 0; i < s->n_by; i++)
            s->by[i].in_force = s->by[i].in_force && s->by[i].mint != mint;
    }
}

void mm_mint_forget_shared(struct mm_mint *mint)
{
    struct mm_shared *s, *next;

    for (s = LIST_FIRST(&mint->mints->shared); s; s = next) {
        unsigned kept = 0;

        next = LIST_NEXT(s, link);
        for (unsigned i = 0; i < s->n_by; i++) {
            if (s->by[i].mint != mint)
                s->by[kept++] = s->by[i];
        }
        s->n_by = kept;
        if (kept > 0)
            continue;
        LIST_REMOVE(s, link);
        mm_shared_unref(s);
    }
}
