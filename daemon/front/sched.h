/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is next: a fair queue of flows (calls that want jobs done) over stations, for one pool of
 * workers. Stations share by measured cost: each has a virtual time, the worker time that its jobs
 * have taken, and the one that is least far comes first (start-time fair queueing: Goyal, Vin and
 * Cheng, 1996). A job is charged by what it is expected to take when it is given out, and by what
 * it took when it has ended. Who comes back from a pause begins where the others are.
 *
 * Small calls, which a person or a machine with few heads waits for, go before bulk ones: their
 * station counts as MM_SCHED_WARP_US less far than it is (borrowed virtual time: Duda and Cheriton,
 * 1999). A station that has taken so much more than the others has used this up, and is served like
 * them; so small calls starve nobody. Among a station's own flows, bulk gets one turn in
 * MM_SCHED_SHARE.
 *
 * Pure bookkeeping: no I/O, no clock.
 */
#pragma once

#include "daemon/front/account.h"

#include <sys/queue.h>

enum mm_sched_class { MM_SCHED_INTERACTIVE, MM_SCHED_BULK, MM_SCHED_CLASSES };
enum {
    MM_SCHED_SHARE = 8,            /* of so many turns of a station, one is bulk's when both wait */
    MM_SCHED_INTERACTIVE_MAX = 16, /* devices in a call that counts as interactive */
    MM_SCHED_WARP_US = 250000,     /* worker time that small calls may be ahead */
    MM_SCHED_LAG_US = 100000,      /* that a station with jobs may be behind after a pause */
};

struct mm_sched_station;

/* Embedded in a call; zero it before its first use. */
struct mm_flow {
    TAILQ_ENTRY(mm_flow) link;
    struct mm_sched_station *station; /* NULL while it is in no queue */
    enum mm_sched_class class;
};

/* What was charged for a job that runs; kept with the job. */
struct mm_charge {
    struct mm_sched_station *station; /* NULL: nothing */
    uint64_t expected_us;
};

TAILQ_HEAD(mm_sched_stations, mm_sched_station);
struct mm_sched {
    struct mm_accounts *accounts;
    struct mm_sched_stations known;   /* with flows, with jobs, or ahead of the others */
    struct mm_sched_stations waiting; /* with flows; who was served last stands last */
    uint64_t now_us;                  /* virtual time: of the waiting station that is least far */
    uint64_t running_us;              /* expected of the jobs that run */
};

void mm_sched_init(struct mm_sched *s, struct mm_accounts *accounts);
/* Forgets all flows and jobs. */
void mm_sched_done(struct mm_sched *s);

/* The flow has something to do; nothing happens when it is in the queue already. MM_ERR_MEMORY. */
int mm_sched_add(struct mm_sched *s, struct mm_flow *flow, struct mm_account *account,
                 enum mm_sched_class class) MM_MUST_USE;
/* It has not, for now or for good; nothing happens when it is in no queue. */
void mm_sched_remove(struct mm_sched *s, struct mm_flow *flow);

/* The flow whose turn it is; NULL if none waits whose client, and if not all clients, may have one
 * more job. The caller gives one job of it out, and charges it, or removes it. */
struct mm_flow *mm_sched_next(struct mm_sched *s);
/* Any flow that waits, limits or not; NULL: none does. */
struct mm_flow *mm_sched_any(const struct mm_sched *s);
/* A job of the flow, which is in the queue, has been given out: expected to take so long. Its
 * station's other flows come first now. */
void mm_sched_charge(struct mm_sched *s, struct mm_flow *flow, uint64_t expected_us,
                     struct mm_charge *ret_charge);
/* The job has ended, and took so long. Nothing happens when nothing was charged. */
void mm_sched_settle(struct mm_sched *s, struct mm_charge *charge, uint64_t took_us);
