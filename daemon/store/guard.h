/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guard: when the store works and when it does not (docs/ledger.md). It compares the ledger
 * with the anchor that the token holds, keeps spending within anchor_devices of it, and locks the
 * store when they contradict each other. What it says of itself goes to the front as a
 * mintmark.internal.Guard; the front carries anchors and checkpoints between store and token.
 *
 *   UNVERIFIED --CheckAnchor--> ANCHORING --Anchored--> OPEN --PrepareAnchor(clean)--> CLOSED
 *                    \--> LOCKED --Unlock--^
 *
 * OFF when the configuration has no section appliance.
 */
#pragma once

#include "daemon/conf/conf.h"
#include "daemon/document/document.h"
#include "daemon/store/ledger.h"
#include "internal/store.pb-c.h"

enum { MM_GUARD_REASON = 40, MM_GUARD_TEXT = 256 };

struct mm_audit_keys;

/* In struct mm_store; zeroed it is off. */
struct mm_guard {
    Mintmark__Internal__GuardState state;
    const struct mm_conf_appliance *conf; /* borrowed; NULL: off */
    struct mm_audit_keys *keys; /* the audit key in force and those before it; of s->audit_keys */
    struct mm_trust *audit;     /* keys->trust */
    uint64_t epoch;
    uint32_t unclean_starts;
    struct mm_ledger_head anchored; /* what the token holds for sure */
    struct mm_ledger_head pending;  /* what the front was last given to write */
    struct mm_ledger_head anchor;   /* sequence and hash as the token had them at the check */
    bool closing;                   /* the pending one is the last */
    bool baseline;                  /* an unlock has made the next checkpoint one */
    uint64_t checkpointed;          /* sequence of the last checkpoint */
    ProtobufCBinaryData totals;     /* what the checkpoint binds that was given out last */
    struct mm_ledger_walk walk;     /* over the whole ledger, in pages, while there is time */
    bool walking;
    char reason[MM_GUARD_REASON]; /* of the lock */
    char text[MM_GUARD_TEXT];
};

/* Turns the guard on. Reads the audit key's certificates. conf is borrowed. */
int mm_store_guard(struct mm_store *s, const struct mm_conf_appliance *conf,
                   struct mm_errinfo *ei) MM_MUST_USE;
/* The configuration has no appliance: fine for a ledger that never was anchored.
 * MM_ERR_PRECONDITION LEDGER_GUARD_OFF for one that was; MM_ERR_CORRUPT for a damaged one. */
int mm_store_unguarded(struct mm_store *s, struct mm_errinfo *ei) MM_MUST_USE;
void mm_guard_done(struct mm_store *s);

/* May the store do this job now? MM_ERR_UNAVAILABLE LEDGER_UNVERIFIED, LEDGER_CLOSED,
 * LEDGER_LOCKED. */
int mm_guard_check(const struct mm_store *s, const Mintmark__Internal__StoreJob *job,
                   struct mm_errinfo *ei) MM_MUST_USE;
/* May n more devices be spent now? MM_ERR_UNAVAILABLE LEDGER_NOT_ANCHORED when the token's anchor
 * is too far behind, CLOCK_WENT_BACK while the clock is. */
int mm_guard_check_spend(const struct mm_store *s, size_t n, struct mm_errinfo *ei) MM_MUST_USE;

/* What the walk over the whole ledger found, a start does not look for: it begins at the last
 * checkpoint. So such a lock stays, as long as it is the database's last record, until an officer
 * ends it. MM_ERR_CORRUPT, with its reason. */
int mm_guard_check_lock(struct mm_store *s, struct mm_errinfo *ei) MM_MUST_USE;

/* Nothing of the group stands that was begun last: nor does what it changed in the guard, but for a
 * lock. */
void mm_guard_undo(struct mm_store *s);

/* From now on nothing is recorded while the clock is ahead of the time that has passed since by
 * more than an hour (leap.c). check: MM_ERR_UNAVAILABLE CLOCK_LEAPT. */
void mm_store_watch_clock(struct mm_store *s);
int mm_store_check_clock(const struct mm_store *s, struct mm_errinfo *ei) MM_MUST_USE;

/* Devices beyond the anchor, with those of the open group; 0 when the guard is off. */
uint64_t mm_guard_unanchored(const struct mm_store *s);

/* What the front is told with every answer about the ledger; NULL without memory. */
Mintmark__Internal__Guard *mm_guard_message(const struct mm_store *s);
/* mm_sql_verb_finish(), then that message: the end of each writing verb that answers with it. */
int mm_guard_finish(struct mm_store *s, int r, Mintmark__Internal__Guard **ret_guard,
                    struct mm_errinfo *ei) MM_MUST_USE;
