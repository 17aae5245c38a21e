/* SPDX-License-Identifier: Apache-2.0 */
/* The store's commits, its guard, and the anchor's way between store, front and token. */

#define MISSING (!anchor.there && db.started)
#define DIFFERS                                                                                    \
    (anchor.there && (db.records < anchor.record || db.branch[anchor.record] != anchor.branch))
#define UNCLEAN (anchor.there -> anchor.unclean + (anchor.clean -> 0 : 1) : 0)

#ifdef MUTANT_NO_COMPARISON
#define LOCKS (MISSING || UNCLEAN > M)
#else
#ifdef MUTANT_LOCK_FORGIVES
#define LOCKS (MISSING || DIFFERS || (UNCLEAN > M && !db.locked))
#else
#define LOCKS (MISSING || DIFFERS || UNCLEAN > M)
#endif
#endif

inline check()
{
    evidence = (MISSING || DIFFERS || UNCLEAN > M);
    gain_is_bounded = (MISSING || DIFFERS || SUM(GAINED_OF) <= (M + 1) * K);
#ifdef MUTANT_TIGHT
    gain_is_bounded = (MISSING || DIFFERS || SUM(GAINED_OF) < (M + 1) * K);
#endif
    assert(gain_is_bounded);
#if RESTORES == 0
    locks_for_cause = (!evidence || MISSING);
    assert(locks_for_cause);
#endif
    if
    :: LOCKS ->
        printf("LOCK\n");
        guard = LOCKED;
        if
        :: db.locked
        :: else ->
            append();
            db.locked = true
        fi
    :: else ->
        unclean = UNCLEAN;
        anchored = db.used;
        guard = ANCHORING;
        append();
        db.started = true
#ifdef MUTANT_NO_COUNT
        ;
        unclean = 0
#endif
#ifdef MUTANT_OPEN_EARLY
        ;
        guard = OPEN
#endif
    fi
}

#ifdef MUTANT_NO_CYCLE
#define IS_DUE false
#else
#define IS_DUE (db.used > anchored)
#endif

inline write()
{
    anchor.there = true;
    anchor.record = next.record;
    anchor.branch = next.branch;
    anchor.unclean = next.unclean;
    anchor.clean = next.clean
}

inline forget_next()
{
    next.record = 0;
    next.branch = 0;
    next.unclean = 0;
    next.clean = false;
    next_used = 0
}

/* All that the front knew of calls. */
inline end_calls()
{
    i = 0;
    do
    :: i < STATIONS ->
        if
        :: station[i] == CALLING -> station[i] = AWAY
        :: else
        fi;
        stage[i] = NO_CALL;
        heard[i] = false;
        waits[i] = false;
        to_plan[i] = 0;
        i++
    :: else -> break
    od;
    i = 0;
    do
    :: i < CHUNKS -> free(i); i++
    :: else -> break
    od
}

inline sync()
{
    unsynced[0] = 0;
    unsynced[STATIONS - 1] = 0
}

/* What it had not answered is not answered any more. */
inline end_store()
{
    i = 0;
    do
    :: i < CHUNKS ->
        if
        :: at[i] == IN_GROUP || at[i] == WRITTEN || at[i] == REFUSED || at[i] == FAILED -> at[i] = AT_STORE
        :: else
        fi;
        i++
    :: else -> break
    od;
    tidy(0);
    tidy(STATIONS - 1);
    alive = false;
    guard = UNVERIFIED;
    anchored = 0;
    unclean = 0
}

inline end_service()
{
    end_store();
    end_calls();
    stopping = false;
    anchoring = TO_READ;
    forget_next()
}

proctype Ledger()
{
end:
    do
    :: d_step { /* the front: the store is gone; the launcher starts another */
           !alive ->
           printf("LOSE_STORE\n");
           end_calls();
           alive = true;
           printf("SYNC\n");
           sync();
           if
           :: anchoring == TO_WRITE -> anchoring = STALE
           :: else ->
               anchoring = TO_READ;
               forget_next()
           fi
       }
    :: d_step { /* a token worker, which changes nothing; and the store */
           anchoring == TO_READ && alive ->
           printf("READ\n");
           printf("CHECK\n");
           check();
           anchoring = IDLE
       }
    :: d_step { /* the store */
           alive && GROUP && !WRITES ->
           printf("COMMIT\n");
           i = 0;
           do
           :: i < CHUNKS ->
               if
               :: at[i] == IN_GROUP -> enter(i)
               :: else
               fi;
               i++
           :: else -> break
           od;
           tidy(0);
           tidy(STATIONS - 1);
           hold(0);
           hold(STATIONS - 1)
       }
    :: d_step { /* the store; then it answers */
           alive && WRITES ->
           printf("SYNC\n");
           sync();
           i = 0;
           do
           :: i < CHUNKS ->
               if
               :: at[i] == WRITTEN -> at[i] = RECORDED
               :: else
               fi;
               i++
           :: else -> break
           od;
           tidy(0);
           tidy(STATIONS - 1)
       }
    :: d_step { /* the store */
           anchoring == IDLE && alive && !BUSY &&
               (guard == ANCHORING || guard == CLOSED ||
                guard == OPEN && (IS_DUE || stopping)) ->
           printf("PREPARE\n");
           if
           :: guard == OPEN && stopping ->
               printf("CLOSE\n");
               next.clean = true
#ifndef MUTANT_CLEAN_GOES_ON
               ;
               guard = CLOSED
#endif
           :: else -> next.clean = (guard == CLOSED)
           fi;
           next.there = true;
           next.record = db.records;
           next.branch = db.branch[db.records];
           next.unclean = unclean;
           next_used = db.used;
           anchoring = TO_WRITE
       }
    :: d_step { /* a token worker */
           anchoring == TO_WRITE || anchoring == STALE ->
           printf("WRITE\n");
           write();
           if
           :: anchoring == TO_WRITE -> anchoring = TO_CONFIRM
           :: else ->
               anchoring = TO_READ;
               forget_next()
           fi
       }
    :: d_step {
           anchoring == STALE ->
           printf("the token does not write\n");
           anchoring = TO_READ;
           forget_next()
       }
    :: d_step { /* the store */
           anchoring == TO_CONFIRM && alive && !BUSY ->
           printf("CONFIRM\n");
           anchored = next_used;
           if
           :: next.clean ->
               printf("the service ends\n");
               end_service()
           :: else ->
               if
               :: guard == ANCHORING -> guard = OPEN
               :: else
               fi;
               anchoring = IDLE;
               forget_next()
           fi
       }
    od
}
