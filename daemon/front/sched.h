/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is next: a fair queue of flows (calls with devices to make) over stations. Stations take
 * turns by deficit round robin (Shreedhar and Varghese, 1995), counted in devices; a station's own
 * flows take turns among themselves. Small calls, which a person or a machine with few heads waits
 * for, go before bulk ones, but for one turn in MM_SCHED_SHARE, so that bulk never starves.
 *
 * Pure bookkeeping: no I/O, no clock.
 */
#pragma once

#include "daemon/base/err.h"
#include "daemon/base/limits.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

enum mm_sched_class { MM_SCHED_INTERACTIVE, MM_SCHED_BULK, MM_SCHED_CLASSES };
enum {
    MM_SCHED_SHARE = 8,                  /* of so many turns, one is bulk's when both wait */
    MM_SCHED_INTERACTIVE_MAX = 16,       /* devices in a call that counts as interactive */
    MM_SCHED_QUANTUM = MM_CHUNK_DEVICES, /* devices that a station takes in one turn of bulk */
};

struct mm_sched_station;

/* Embedded in a call; zero it before its first use. */
struct mm_flow {
    TAILQ_ENTRY(mm_flow) link;
    struct mm_sched_station *station; /* NULL while it is in no queue */
    enum mm_sched_class class;
};

TAILQ_HEAD(mm_sched_stations, mm_sched_station);
struct mm_sched {
    struct mm_sched_stations ring[MM_SCHED_CLASSES]; /* whose turn it is stands first */
    unsigned turns; /* of interactive flows since bulk's last, while bulk waited */
};

void mm_sched_init(struct mm_sched *s);
/* Forgets all flows. */
void mm_sched_done(struct mm_sched *s);

/* The flow has something to do; nothing happens when it is in the queue already. MM_ERR_MEMORY. */
int mm_sched_add(struct mm_sched *s, struct mm_flow *flow, const char *station,
                 enum mm_sched_class class) MM_MUST_USE;
/* It has not, for now or for good; nothing happens when it is in no queue. */
void mm_sched_remove(struct mm_sched *s, struct mm_flow *flow);

/* The flow whose turn it is, NULL if none waits. The caller takes up to MM_CHUNK_DEVICES of it,
 * and charges them, or removes it. */
struct mm_flow *mm_sched_next(struct mm_sched *s);
/* The flow has taken so many devices; its station's other flows come first now, and when its
 * station has used its turn up, the other stations. */
void mm_sched_charge(struct mm_sched *s, struct mm_flow *flow, unsigned devices);
