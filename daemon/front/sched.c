/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/front/sched.h"

#include <stdlib.h>
#include <string.h>

/* A station with waiting flows of one class. */
struct mm_sched_station {
    TAILQ_ENTRY(mm_sched_station) link;
    TAILQ_HEAD(, mm_flow) flows; /* never empty */
    unsigned deficit;            /* devices that it may still take in this turn */
    char name[MM_NAME_MAX + 1];
};

static const unsigned quantum[MM_SCHED_CLASSES] = {
    [MM_SCHED_INTERACTIVE] = MM_SCHED_INTERACTIVE_MAX,
    [MM_SCHED_BULK] = MM_SCHED_QUANTUM,
};

void mm_sched_init(struct mm_sched *s)
{
    for (size_t i = 0; i < MM_SCHED_CLASSES; i++)
        TAILQ_INIT(&s->ring[i]);
    s->turns = 0;
}

void mm_sched_done(struct mm_sched *s)
{
    for (size_t i = 0; i < MM_SCHED_CLASSES; i++) {
        struct mm_sched_station *station;

        while ((station = TAILQ_FIRST(&s->ring[i])))
            mm_sched_remove(s, TAILQ_FIRST(&station->flows));
    }
}

static struct mm_sched_station *find(struct mm_sched *s, const char *name,
                                     enum mm_sched_class class)
{
    struct mm_sched_station *station;

    TAILQ_FOREACH(station, &s->ring[class], link)
    {
        if (strcmp(station->name, name) == 0)
            return station;
    }
    return NULL;
}

int mm_sched_add(struct mm_sched *s, struct mm_flow *flow, const char *name,
                 enum mm_sched_class class)
{
    struct mm_sched_station *station;

    if (flow->station)
        return MM_OK;
    station = find(s, name, class);
    if (!station) {
        station = calloc(1, sizeof(*station));
        if (!station)
            return MM_ERR_MEMORY;
        memcpy(station->name, name, strnlen(name, MM_NAME_MAX));
        station->deficit = quantum[class];
        TAILQ_INIT(&station->flows);
        TAILQ_INSERT_TAIL(&s->ring[class], station, link);
    }
    flow->station = station;
    flow->class = class;
    TAILQ_INSERT_TAIL(&station->flows, flow, link);
    return MM_OK;
}

void mm_sched_remove(struct mm_sched *s, struct mm_flow *flow)
{
    struct mm_sched_station *station = flow->station;

    if (!station)
        return;
    TAILQ_REMOVE(&station->flows, flow, link);
    flow->station = NULL;
    if (!TAILQ_EMPTY(&station->flows))
        return;
    TAILQ_REMOVE(&s->ring[flow->class], station, link);
    free(station);
}

struct mm_flow *mm_sched_next(struct mm_sched *s)
{
    struct mm_sched_station *interactive = TAILQ_FIRST(&s->ring[MM_SCHED_INTERACTIVE]);
    struct mm_sched_station *bulk = TAILQ_FIRST(&s->ring[MM_SCHED_BULK]);

    if (interactive && (!bulk || s->turns < MM_SCHED_SHARE - 1))
        return TAILQ_FIRST(&interactive->flows);
    return bulk ? TAILQ_FIRST(&bulk->flows) : NULL;
}

void mm_sched_charge(struct mm_sched *s, struct mm_flow *flow, unsigned devices)
{
    struct mm_sched_station *station = flow->station;

    if (flow->class == MM_SCHED_BULK || TAILQ_EMPTY(&s->ring[MM_SCHED_BULK]))
        s->turns = 0;
    else
        s->turns++;
    TAILQ_REMOVE(&station->flows, flow, link);
    TAILQ_INSERT_TAIL(&station->flows, flow, link);
    if (station->deficit > devices) {
        station->deficit -= devices;
        return;
    }
    /* What it took beyond its turn is missing from its next one. */
    station->deficit += quantum[flow->class];
    station->deficit -= devices < station->deficit ? devices : station->deficit - 1;
    TAILQ_REMOVE(&s->ring[flow->class], station, link);
    TAILQ_INSERT_TAIL(&s->ring[flow->class], station, link);
}
