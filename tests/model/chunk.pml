/* SPDX-License-Identifier: Apache-2.0 */
/* The way of a chunk: front, token worker, store. */

#define OUT(c) (at[c] == AT_TOKEN || at[c] == AT_STORE || at[c] == IN_GROUP || at[c] == WRITTEN)
#define REQUEST(c) ((c) / 2)

#if RESTORES > 0
#define HAS_ROOM true /* the front's holding back is not relied upon */
#else
#define HAS_ROOM (db.used + OUTSTANDING + 1 - anchored <= K)
#endif

/* The least number that nothing and nobody knows. */
inline make(c)
{
    known = KNOWN_OF(db);
    i = 0;
    do
    :: i < STATIONS -> known = known | delivered[i]; i++
    :: else -> break
    od;
    i = 0;
    do
    :: i < CHUNKS -> known = known | device[i]; i++
    :: else -> break
    od;
#if RESTORES > 0
    i = 0;
    do
    :: i < COPIES -> known = known | KNOWN_OF(copy[i]); i++
    :: else -> break
    od;
#endif
    i = 0;
    do
    :: known & (1 << i) -> i++
    :: else -> break
    od;
    bounds_suffice = (i < DEVICES);
    assert(bounds_suffice);
    device[c] = 1 << i
}

/* Which of a call's two chunks is which does not matter: one order is enough. */
inline tidy(r)
{
    if
    :: at[CHUNK_A(r)] < at[CHUNK_B(r)] ||
       at[CHUNK_A(r)] == at[CHUNK_B(r)] && device[CHUNK_A(r)] < device[CHUNK_B(r)] ->
        swapped_at = at[CHUNK_A(r)];
        at[CHUNK_A(r)] = at[CHUNK_B(r)];
        at[CHUNK_B(r)] = swapped_at;
        known = device[CHUNK_A(r)];
        device[CHUNK_A(r)] = device[CHUNK_B(r)];
        device[CHUNK_B(r)] = known
    :: else
    fi
}

inline free(c)
{
    at[c] = FREE;
    device[c] = 0
}

#ifdef MUTANT_NO_TRANSACTION
#define USED db.used
#else
#define USED (db.used + GROUP)
#endif
#ifdef MUTANT_NO_LIMIT
#define BEYOND_LIMIT false
#else
#define BEYOND_LIMIT (db.used + GROUP + 1 - anchored > K)
#endif
#ifdef MUTANT_NO_REQUEST_ID
#define REQUEST_FULL(c) false
#else
#define REQUEST_FULL(c)                                                                            \
    (SIZE(db.recorded[REQUEST(c)]) + GROUP_OF(REQUEST(c)) + 1 > COUNT_OF(REQUEST(c)))
#endif
#ifdef MUTANT_ANSWER_FIRST
#define ANSWERED(c) (at[c] == IN_GROUP || at[c] == WRITTEN || at[c] == RECORDED)
#else
#ifdef MUTANT_NO_SYNC
#define ANSWERED(c) (at[c] == WRITTEN || at[c] == RECORDED)
#else
#define ANSWERED(c) (at[c] == RECORDED)
#endif
#endif

inline append()
{
    db.records++;
    bounds_suffice = (db.records < RECORDS);
    assert(bounds_suffice);
    db.branch[db.records] = restores;
    db.locked = false
}

inline enter(c)
{
    db.recorded[REQUEST(c)] = db.recorded[REQUEST(c)] | device[c];
    db.used++;
    append();
#if RESTORES > 0
    at[c] = RECORDED /* who puts databases back needs no power cut */
#else
    unsynced[REQUEST(c)] = unsynced[REQUEST(c)] | device[c];
    at[c] = WRITTEN
#endif
}

/* A station believes it when it hears it for the second time: what the first call had recorded, and
 * did not send any more, the second one has brought. */
#ifdef MUTANT_NEVER_GIVES_UP
#define LAST_WORD AWAY
#else
#define LAST_WORD GIVEN_UP
#endif

proctype Chunk(byte c)
{
end:
    do
    :: d_step { /* the front */
           stage[REQUEST(c)] == MINTING && to_plan[REQUEST(c)] > 0 && at[c] == FREE && HAS_ROOM ->
           printf("PLAN: chunk %d\n", c);
           to_plan[REQUEST(c)]--;
           at[c] = AT_TOKEN;
           tidy(REQUEST(c))
       }
    :: d_step { /* a token worker; and the front, whether the call is over or not */
           at[c] == AT_TOKEN ->
           printf("MINT: chunk %d\n", c);
           make(c);
           printf("RECORD: chunk %d\n", c);
#ifdef MUTANT_DELIVER_FIRST
           leave(REQUEST(c), device[c]);
#endif
           at[c] = AT_STORE;
           tidy(REQUEST(c))
       }
    :: d_step { /* the store */
           alive && at[c] == AT_STORE && !WRITES ->
           printf("SPEND: chunk %d\n", c);
           if
           :: guard != OPEN || BEYOND_LIMIT || REQUEST_FULL(c) -> at[c] = FAILED
           :: else ->
               if
               :: USED + 1 > QUOTA -> at[c] = REFUSED
               :: else -> at[c] = IN_GROUP
               fi
           fi;
           tidy(REQUEST(c))
       }
    :: d_step { /* the front */
           ANSWERED(c) ->
           if
           :: stage[REQUEST(c)] == MINTING ->
               printf("DELIVER: chunk %d\n", c);
               leave(REQUEST(c), device[c])
           :: else
           fi;
           free(c);
           tidy(REQUEST(c))
       }
    :: d_step { /* the front; refusals are answered with the group */
           (at[c] == REFUSED || at[c] == FAILED) && !BUSY ->
           if
           :: stage[REQUEST(c)] == MINTING && at[c] == REFUSED ->
               printf("REFUSE: chunk %d\n", c);
               refused_when_used_up = (db.used == QUOTA);
               assert(refused_when_used_up);
               end_call(REQUEST(c), (refused_before[REQUEST(c)] -> LAST_WORD : AWAY));
               refused_before[REQUEST(c)] = true
           :: stage[REQUEST(c)] == MINTING && at[c] == FAILED ->
               printf("REFUSE: chunk %d, for now\n", c);
               end_call(REQUEST(c), AWAY)
           :: else
           fi;
           free(c);
           tidy(REQUEST(c))
       }
    od
}
