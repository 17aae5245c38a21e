/* SPDX-License-Identifier: Apache-2.0 */
/* The token sections that a call is done in; see provision.h. A call of a profile that names one
 * token has one lane. With several, each has its place in its section's queue, and takes the call's
 * next chunk when a worker there has room: the faster token takes more, and one that is away takes
 * nothing. */
#include "daemon/front/service/provision.h"

/* The n-th section of the call's profile; NULL after the last. What the configuration has no more
 * is left out. */
static struct mm_mint *section(const struct mm_provision *p, size_t *n)
{
    const struct mm_conf_profile *conf = mm_conf_profile_get(p->app->conf, p->profile);
    struct mm_mint *mint = NULL;

    while (!mint && conf && *n < conf->n_tokens)
        mint = mm_mint_get(p->app->mints, conf->tokens[(*n)++]);
    return mint;
}

static void prepare(struct mm_provision *p, struct mm_lane *lane, struct mm_mint *mint)
{
    *lane = (struct mm_lane){.p = p, .to_join = mint};
    lane->flow.cost = mm_mint_cost(mint, p->profile);
}

static int admit(struct mm_provision *p, struct mm_errinfo *ei)
{
    struct mm_mint_share shares[MM_TOKENS_MAX];
    uint64_t speed = 0;

    for (size_t i = 0; i < p->n_lanes; i++)
        speed += mm_mint_speed(p->lanes[i].to_join, p->lanes[i].flow.cost);
    for (size_t i = 0; i < p->n_lanes; i++) {
        struct mm_lane *lane = &p->lanes[i];
        const uint64_t mine = mm_mint_speed(lane->to_join, lane->flow.cost);

        shares[i] = (struct mm_mint_share){lane->to_join, &lane->flow, p->to_make};
        if (p->n_lanes > 1)
            shares[i].units = p->to_make * mine / speed + 1;
    }
    return mm_mint_admit_shares(shares, p->n_lanes, p->station, mm_provision_class(p),
                                mm_call_deadline_us(p->call), ei);
}

int mm_lanes_open(struct mm_provision *p, struct mm_errinfo *ei)
{
    struct mm_mint *mint, *away = NULL;
    size_t next = 0;

    p->n_lanes = 0;
    while ((mint = section(p, &next)) && p->n_lanes < MM_TOKENS_MAX) {
        if (mm_mint_ready(mint) > 0)
            prepare(p, &p->lanes[p->n_lanes++], mint);
        else if (!away)
            away = mint;
    }
    if (p->n_lanes > 0)
        return admit(p, ei);
    if (away)
        return mm_mint_fail_away(away, ei);
    return mm_fail(ei, MM_ERR_NOT_FOUND, "UNKNOWN_PROFILE",
                   "profile %s is not in the configuration any more", p->profile);
}

static void join(struct mm_lane *lane)
{
    const struct mm_mint_flow *callbacks = lane->p->lane_callbacks;

    lane->flow.wants = callbacks->wants;
    lane->flow.waiting = callbacks->waiting;
    lane->flow.plan = callbacks->plan;
    lane->flow.away = callbacks->away;
    mm_mint_join(lane->to_join, &lane->flow);
}

void mm_lanes_begin(struct mm_provision *p, const struct mm_mint_flow *callbacks)
{
    p->lane_callbacks = callbacks;
    for (size_t i = 0; i < p->n_lanes; i++)
        join(&p->lanes[i]);
}

static bool is_joined(const struct mm_provision *p, const struct mm_mint *mint)
{
    for (size_t i = 0; i < p->n_lanes; i++) {
        if (p->lanes[i].flow.mint == mint)
            return true;
    }
    return false;
}

/* One that is in no queue; NULL when all are. */
static struct mm_lane *spare(struct mm_provision *p)
{
    for (size_t i = 0; i < p->n_lanes; i++) {
        if (!p->lanes[i].flow.mint)
            return &p->lanes[i];
    }
    return p->n_lanes < MM_TOKENS_MAX ? &p->lanes[p->n_lanes++] : NULL;
}

void mm_lanes_rejoin(struct mm_provision *p)
{
    struct mm_mint *mint;
    struct mm_lane *lane;
    size_t next = 0;

    while ((mint = section(p, &next))) {
        if (mm_mint_ready(mint) == 0 || is_joined(p, mint))
            continue;
        lane = spare(p);
        if (!lane)
            return;
        prepare(p, lane, mint);
        join(lane);
    }
}

void mm_lanes_leave(struct mm_provision *p)
{
    for (size_t i = 0; i < p->n_lanes; i++)
        mm_mint_leave(&p->lanes[i].flow);
}

bool mm_lanes_joined(const struct mm_provision *p)
{
    for (size_t i = 0; i < p->n_lanes; i++) {
        if (p->lanes[i].flow.mint)
            return true;
    }
    return false;
}

bool mm_lanes_other(const struct mm_provision *p, const struct mm_mint *mint)
{
    for (size_t i = 0; i < p->n_lanes; i++) {
        const struct mm_mint *other = p->lanes[i].flow.mint;

        if (other && other != mint && mm_mint_ready(other) > 0)
            return true;
    }
    return false;
}

unsigned mm_lanes_ready(const struct mm_provision *p)
{
    unsigned n = 0;

    for (size_t i = 0; i < p->n_lanes; i++)
        n += p->lanes[i].flow.mint ? mm_mint_ready(p->lanes[i].flow.mint) : 0;
    return n;
}

unsigned mm_lanes_capacity(const struct mm_provision *p)
{
    unsigned n = 0;

    for (size_t i = 0; i < p->n_lanes; i++)
        n += p->lanes[i].flow.mint ? mm_mint_capacity(p->lanes[i].flow.mint) : 0;
    return n;
}

static uint64_t speed_of(const struct mm_lane *lane)
{
    return lane->flow.mint ? mm_mint_speed(lane->flow.mint, lane->flow.cost) : 0;
}

uint64_t mm_lane_share(const struct mm_lane *lane, uint64_t units)
{
    const struct mm_provision *p = lane->p;
    uint64_t speed = 0;

    for (size_t i = 0; i < p->n_lanes; i++)
        speed += speed_of(&p->lanes[i]);
    if (speed == 0 || speed == speed_of(lane))
        return units;
    return (units * speed_of(lane) + speed - 1) / speed;
}

const struct mm_mint_flow *mm_lanes_quickest(const struct mm_provision *p, uint64_t units)
{
    const struct mm_mint_flow *best = NULL;

    for (size_t i = 0; i < p->n_lanes; i++) {
        const struct mm_mint_flow *flow = &p->lanes[i].flow;

        if (flow->mint && mm_mint_ready(flow->mint) > 0 &&
            (!best || mm_cost_us(flow->cost, units) < mm_cost_us(best->cost, units)))
            best = flow;
    }
    return best;
}
