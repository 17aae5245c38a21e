/* SPDX-License-Identifier: Apache-2.0 */
/* What happens to the service: kills, ends, officers, attackers. */

inline unlock()
{
    printf("UNLOCK\n");
    append();
    guard = ANCHORING;
    anchored = db.used;
    unclean = 0
}

/* An unlock names the last record of the database and the record of the anchor, by their hashes. */
#define FITS                                                                                       \
    (signed_record == db.records && signed_branch == db.branch[db.records] &&                      \
     signed_anchor == anchor.record && signed_anchor_branch == anchor.branch)
#ifdef MUTANT_UNLOCK_WITHOUT_HASHES
#define UNLOCKS_NOW (signed_record == db.records && signed_anchor == anchor.record)
#else
#define UNLOCKS_NOW FITS
#endif

/* Another worker tries; this is when it cannot either. When it can nobody notices. */
inline fail(c)
{
    if
    :: stage[REQUEST(c)] == MINTING -> end_call(REQUEST(c), AWAY)
    :: else
    fi;
    free(c)
}

#if RESTORES == 0
inline undo(r)
{
    db.recorded[r] = db.recorded[r] & ~unsynced[r];
    db.used = db.used - SIZE(unsynced[r]);
    db.records = db.records - SIZE(unsynced[r]);
    unsynced[r] = 0
}
#endif

#if RESTORES > 0
/* From one database to another. */
inline copy_database(to, from)
{
    i = 0;
    do
    :: i < STATIONS -> to.recorded[i] = from.recorded[i]; i++
    :: else -> break
    od;
    i = 0;
    do
    :: i < RECORDS -> to.branch[i] = from.branch[i]; i++
    :: else -> break
    od;
    to.used = from.used;
    to.records = from.records;
    to.started = from.started;
    to.locked = from.locked
}

inline keep(which)
{
    d_step {
        restores < RESTORES && (faults < FAULTS || !alive) ->
        printf("copy of the database\n");
        copy_database(copy[which], db)
    }
}

/* Of no use any more, and the fewer states the better. */
inline forget_copies()
{
    i = 0;
    do
    :: i < COPIES ->
        copy[i].recorded[0] = 0;
        copy[i].recorded[STATIONS - 1] = 0;
        copy[i].used = 0;
        copy[i].records = 0;
        copy[i].started = false;
        copy[i].locked = false;
        i++
    :: else -> break
    od;
    i = 0;
    do
    :: i < RECORDS ->
        copy[0].branch[i] = 0;
        copy[COPIES - 1].branch[i] = 0;
        i++
    :: else -> break
    od
}

inline put_back(which)
{
    d_step {
        restores < RESTORES && !alive && copy[which].records > 0 ->
        printf("the copy is put back\n");
        restores++;
        copy_database(db, copy[which]);
        if
        :: restores == RESTORES -> forget_copies()
        :: else
        fi
    }
}
#endif

proctype World()
{
end:
    do
    :: d_step {
           faults < FAULTS ->
           printf("kill of the service\n");
           faults++;
           end_service()
       }
#if RESTORES == 0
    :: d_step {
           faults < FAULTS && (unsynced[0] || unsynced[STATIONS - 1]) ->
           printf("power cut\n");
           faults++;
           undo(0);
#if STATIONS > 1
           undo(1);
#endif
           end_service();
           hold(0);
           hold(STATIONS - 1)
       }
#endif
    :: d_step {
           faults < FAULTS && alive ->
           printf("kill of the store\n");
           faults++;
           end_store()
       }
    :: d_step {
           faults < FAULTS ->
           printf("kill of the token workers\n");
           faults++;
           i = 0;
           do
           :: i < CHUNKS ->
               if
               :: at[i] == AT_TOKEN -> fail(i)
               :: else
               fi;
               i++
           :: else -> break
           od;
           tidy(0);
           tidy(STATIONS - 1);
           if
           :: anchoring == TO_WRITE || anchoring == TO_CONFIRM ->
               anchoring = IDLE;
               forget_next()
           :: anchoring == STALE ->
               anchoring = TO_READ;
               forget_next()
           :: else
           fi
       }
    :: d_step {
           faults < FAULTS && SERVES ->
           printf("stop of the service\n");
           faults++;
           stopping = true
       }
    :: d_step {
           unlocks < UNLOCKS && alive && guard == LOCKED ->
           printf("an officer looks at what there is, and signs\n");
           unlocks++;
           signed_there = true;
           signed_record = db.records;
           signed_branch = db.branch[db.records];
           signed_anchor = anchor.record;
           signed_anchor_branch = anchor.branch;
           i = 0;
           do
           :: i < STATIONS -> forgiven[i] = forgiven[i] | (delivered[i] & ~db.recorded[i]); i++
           :: else -> break
           od;
           evidence = false;
           unlock()
       }
#if RESTORES > 0
    :: d_step {
           signed_there && alive && guard == LOCKED && UNLOCKS_NOW ->
           printf("an attacker sends an old unlock again\n");
           if
           :: FITS -> evidence = false
           :: else
           fi;
           unlock()
       }
    :: keep(0)
    :: put_back(0)
#if COPIES > 1
    :: keep(1)
    :: put_back(1)
#endif
#endif
    od
}
