/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/front/sched.h"

#include <stdlib.h>

TAILQ_HEAD(flows, mm_flow);

/* A station in this queue. */
struct mm_sched_station {
    TAILQ_ENTRY(mm_sched_station) link;         /* in known */
    TAILQ_ENTRY(mm_sched_station) waiting_link; /* in waiting, while it has flows */
    struct mm_account *account;
    struct flows flows[MM_SCHED_CLASSES];
    uint64_t virtual_us; /* how far it is */
    unsigned running;    /* jobs that are charged and not settled */
    unsigned turns;      /* of small flows since bulk's last, while bulk waited */
};

void mm_sched_init(struct mm_sched *s, struct mm_accounts *accounts)
{
    *s = (struct mm_sched){.accounts = accounts};
    TAILQ_INIT(&s->known);
    TAILQ_INIT(&s->waiting);
}

void mm_sched_done(struct mm_sched *s)
{
    struct mm_sched_station *station;
    struct mm_flow *flow;

    while ((station = TAILQ_FIRST(&s->known))) {
        for (size_t i = 0; i < MM_SCHED_CLASSES; i++) {
            TAILQ_FOREACH(flow, &station->flows[i], link) {
                flow->station = NULL;
            }
        }
        TAILQ_REMOVE(&s->known, station, link);
        free(station);
    }
    TAILQ_INIT(&s->waiting);
}

static bool waits(const struct mm_sched_station *station)
{
    for (size_t i = 0; i < MM_SCHED_CLASSES; i++) {
        if (!TAILQ_EMPTY(&station->flows[i]))
            return true;
    }
    return false;
}

/* Forgets a station of which there is nothing to remember: when it comes back it begins where the
 * others are, as it would anyway. */
static void tidy(struct mm_sched *s, struct mm_sched_station *station)
{
    if (waits(station) || station->running > 0 || station->virtual_us > s->now_us)
        return;
    TAILQ_REMOVE(&s->known, station, link);
    free(station);
}

/* NULL: out of memory. */
static struct mm_sched_station *station_of(struct mm_sched *s, struct mm_account *account)
{
    struct mm_sched_station *station, *next;

    for (station = TAILQ_FIRST(&s->known); station; station = next) {
        next = TAILQ_NEXT(station, link);
        if (station->account == account)
            return station;
        tidy(s, station);
    }
    station = calloc(1, sizeof(*station));
    if (!station)
        return NULL;
    station->account = account;
    for (size_t i = 0; i < MM_SCHED_CLASSES; i++)
        TAILQ_INIT(&station->flows[i]);
    TAILQ_INSERT_TAIL(&s->known, station, link);
    return station;
}

/* Nobody waits: the first to come begins where those are whose jobs run. */
static void catch_up(struct mm_sched *s)
{
    const struct mm_sched_station *station;
    uint64_t least = UINT64_MAX;

    if (!TAILQ_EMPTY(&s->waiting))
        return;
    TAILQ_FOREACH(station, &s->known, link) {
        if (station->running > 0 && station->virtual_us < least)
            least = station->virtual_us;
    }
    if (least != UINT64_MAX && least > s->now_us)
        s->now_us = least;
}

/* Nobody saves up for later; but a call that leaves the queue between two jobs loses nothing. */
static void begin_again(const struct mm_sched *s, struct mm_sched_station *station)
{
    const uint64_t lag = station->running > 0 ? MM_SCHED_LAG_US : 0;

    if (station->virtual_us + lag < s->now_us)
        station->virtual_us = s->now_us - lag;
}

int mm_sched_add(struct mm_sched *s, struct mm_flow *flow, struct mm_account *account,
                 enum mm_sched_class class)
{
    struct mm_sched_station *station;

    if (flow->station)
        return MM_OK;
    station = station_of(s, account);
    if (!station)
        return MM_ERR_MEMORY;
    if (!waits(station)) {
        catch_up(s);
        begin_again(s, station);
        TAILQ_INSERT_TAIL(&s->waiting, station, waiting_link);
    }
    flow->station = station;
    flow->class = class;
    TAILQ_INSERT_TAIL(&station->flows[class], flow, link);
    return MM_OK;
}

void mm_sched_remove(struct mm_sched *s, struct mm_flow *flow)
{
    struct mm_sched_station *station = flow->station;

    if (!station)
        return;
    TAILQ_REMOVE(&station->flows[flow->class], flow, link);
    flow->station = NULL;
    if (waits(station))
        return;
    TAILQ_REMOVE(&s->waiting, station, waiting_link);
    tidy(s, station);
}

/* How far a station counts as, with MM_SCHED_WARP_US added to all. */
static uint64_t place(const struct mm_sched_station *station)
{
    const uint64_t warp = MM_SCHED_WARP_US;

    return station->virtual_us + (TAILQ_EMPTY(&station->flows[MM_SCHED_INTERACTIVE]) ? warp : 0);
}

/* The first of the station's flows, if there may be one more such job. */
static struct mm_flow *first(const struct mm_sched *s, const struct mm_sched_station *station,
                             enum mm_sched_class class)
{
    const bool bulk = class == MM_SCHED_BULK;

    return mm_account_has_room(s->accounts, station->account, bulk) &&
                   mm_accounts_have_room(s->accounts, bulk)
               ? TAILQ_FIRST(&station->flows[class])
               : NULL;
}

static struct mm_flow *turn_of(const struct mm_sched *s, const struct mm_sched_station *station)
{
    struct mm_flow *interactive = first(s, station, MM_SCHED_INTERACTIVE);
    struct mm_flow *bulk = first(s, station, MM_SCHED_BULK);

    return interactive && (!bulk || station->turns < MM_SCHED_SHARE - 1) ? interactive : bulk;
}

struct mm_flow *mm_sched_next(struct mm_sched *s)
{
    struct mm_sched_station *station, *best = NULL;
    uint64_t least = UINT64_MAX;

    TAILQ_FOREACH(station, &s->waiting, waiting_link) {
        if (!turn_of(s, station))
            continue;
        if (station->virtual_us < least)
            least = station->virtual_us;
        if (!best || place(station) < place(best))
            best = station;
    }
    if (!best)
        return NULL;
    if (least > s->now_us)
        s->now_us = least;
    return turn_of(s, best);
}

struct mm_flow *mm_sched_any(const struct mm_sched *s)
{
    const struct mm_sched_station *station = TAILQ_FIRST(&s->waiting);
    struct mm_flow *flow = station ? TAILQ_FIRST(&station->flows[MM_SCHED_INTERACTIVE]) : NULL;

    return station && !flow ? TAILQ_FIRST(&station->flows[MM_SCHED_BULK]) : flow;
}

void mm_sched_charge(struct mm_sched *s, struct mm_flow *flow, uint64_t expected_us,
                     struct mm_charge *ret_charge)
{
    struct mm_sched_station *station = flow->station;

    if (flow->class == MM_SCHED_BULK || TAILQ_EMPTY(&station->flows[MM_SCHED_BULK]))
        station->turns = 0;
    else
        station->turns++;
    TAILQ_REMOVE(&station->flows[flow->class], flow, link);
    TAILQ_INSERT_TAIL(&station->flows[flow->class], flow, link);
    TAILQ_REMOVE(&s->waiting, station, waiting_link);
    TAILQ_INSERT_TAIL(&s->waiting, station, waiting_link);
    station->virtual_us += expected_us;
    station->running++;
    s->running_us += expected_us;
    mm_account_begin(s->accounts, station->account);
    *ret_charge = (struct mm_charge){.station = station, .expected_us = expected_us};
}

void mm_sched_settle(struct mm_sched *s, struct mm_charge *charge, uint64_t took_us)
{
    struct mm_sched_station *station = charge->station;

    if (!station)
        return;
    charge->station = NULL;
    station->virtual_us += took_us;
    station->virtual_us -= charge->expected_us;
    station->running--;
    s->running_us -= charge->expected_us;
    mm_account_end(s->accounts, station->account);
    if (!waits(station))
        tidy(s, station);
}
