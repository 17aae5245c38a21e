/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/token/ahead.h"

static enum mm_device_key kind_of(const struct mm_minting *p)
{
    return p->delivery == MM_DELIVERY_PLAIN ? MM_DEVICE_PLAIN : MM_DEVICE_WRAPPED;
}

/* Retained keys are token objects, and named after their device; others are not made here. */
static bool wants(const struct mm_minting *p)
{
    return (p->delivery == MM_DELIVERY_WRAPPED || p->delivery == MM_DELIVERY_PLAIN) &&
           p->n_ahead < p->conf->keys_ahead;
}

/* The profile that has the fewest. */
static struct mm_minting *neediest(const struct mm_minter *m)
{
    struct mm_minting *best = NULL;

    for (size_t i = 0; i < m->n_profiles; i++) {
        struct mm_minting *p = &m->profiles[i];

        if (wants(p) && (!best || p->n_ahead < best->n_ahead))
            best = p;
    }
    return best;
}

bool mm_ahead_wants(const struct mm_minter *m)
{
    return !m->ahead_failed && neediest(m) != NULL;
}

void mm_ahead_resume(struct mm_minter *m)
{
    m->ahead_failed = false;
}

int mm_ahead_make(struct mm_minter *m, struct mm_errinfo *ei)
{
    struct mm_minting *p = neediest(m);
    int r = MM_OK;

    if (!p)
        return MM_OK;
    /* What is made here belongs to no job's account. */
    mm_token_meter(m->token, false);
    if (!p->ahead)
        p->ahead = calloc(p->conf->keys_ahead, sizeof(*p->ahead));
    if (!p->ahead)
        r = mm_fail_memory(ei);
    if (r == MM_OK)
        r = mm_token_generate(m->token, p->curve, kind_of(p), NULL, &p->ahead[p->n_ahead], ei);
    if (r == MM_OK)
        p->n_ahead++;
    m->ahead_failed = r < 0;
    return r;
}

int mm_ahead_take(struct mm_minter *m, struct mm_minting *p, struct mm_keypair *ret_pair,
                  struct mm_errinfo *ei)
{
    if (p->n_ahead == 0)
        return mm_token_generate(m->token, p->curve, kind_of(p), NULL, ret_pair, ei);
    *ret_pair = p->ahead[--p->n_ahead];
    return MM_OK;
}

void mm_ahead_forget(struct mm_minter *m)
{
    for (size_t i = 0; i < m->n_profiles; i++)
        m->profiles[i].n_ahead = 0;
}
