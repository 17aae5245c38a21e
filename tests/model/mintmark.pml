/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How devices are recorded, delivered and anchored: a model for spin. docs/model.md explains it,
 * tests/model/check.py runs it.
 *
 * A printf with a name in capitals is a step of the service; the function in the code that takes it
 * says so ("model: RECORD"). What is in small letters is done by the world around it. Between any two
 * steps any process may be killed.
 *
 * A set of devices is a set of bits; a chunk has one device. A message between two processes is not
 * an object of its own, but where the chunk, the call or the anchor is that it is about. So messages
 * may overtake each other, which is more than the service's sockets do.
 */

/* ---- bounds; each run sets its own ---------------------------------------------------------- */

#ifndef STATIONS
#define STATIONS 2 /* 1 or 2, each with one request, all on one order */
#endif
#ifndef COUNT
#define COUNT 2 /* devices that the first request asks for */
#endif
#ifndef COUNT_2
#define COUNT_2 2 /* and the second */
#endif
#ifndef QUOTA
#define QUOTA 3 /* units of the order */
#endif
#ifndef K
#define K 2 /* anchor_devices */
#endif
#ifndef M
#define M 2 /* unclean_starts_max */
#endif
#ifndef FIRST_START
#define FIRST_START true /* also of a site that has never run before */
#endif
#ifndef FAULTS
#define FAULTS 2 /* kills of the service, the store or the token workers; orderly ends; hang-ups */
#endif
#ifndef UNLOCKS
#define UNLOCKS 1 /* that officers sign */
#endif
#ifndef RESTORES
#define RESTORES 0 /* how often an older database is put back */
#endif
#ifndef COPIES
#define COPIES 1 /* that the attacker holds at a time */
#endif

#define CHUNKS (2 * STATIONS) /* of a call two are under way at a time */
#define RECORDS 20
#define DEVICES 12

#define BIT(set, i) (((set) >> i) & 1)
#define SIZE(set)                                                                                  \
    (BIT(set, 0) + BIT(set, 1) + BIT(set, 2) + BIT(set, 3) + BIT(set, 4) + BIT(set, 5) +           \
     BIT(set, 6) + BIT(set, 7) + BIT(set, 8) + BIT(set, 9) + BIT(set, 10) + BIT(set, 11))

#include "state.pml"
#include "call.pml"
#include "chunk.pml"
#include "ledger.pml"
#include "world.pml"

init
{
    atomic {
        db.records = 1;
        if /* a site's first start, or a later one */
        :: FIRST_START
        :: db.records = 2;
           db.started = true;
           anchor.there = true;
           anchor.record = 2;
           anchor.clean = true
        fi;
        i = 0;
        do
        :: i < STATIONS ->
            run Station(i);
            run Call(i);
            run Chunk(CHUNK_A(i));
            run Chunk(CHUNK_B(i));
            i++
        :: else -> break
        od;
        run Ledger();
        run World()
    }
}
