/* SPDX-License-Identifier: Apache-2.0 */
/* Stations, and their calls in the front. */

#define RUNS(r) (at[CHUNK_A(r)] != FREE || at[CHUNK_B(r)] != FREE)
#define SERVES (alive && guard == OPEN && !stopping)

inline end_call(r, how)
{
    stage[r] = OVER;
    if
    :: heard[r] ->
        station[r] = how;
        heard[r] = false
    :: else
    fi
}

proctype Station(byte r)
{
#if RESTORES > 0
end:
#endif
    do
    :: d_step {
           station[r] == AWAY && SERVES ->
           printf("RETRY: request %d\n", r);
           station[r] = CALLING;
           heard[r] = true;
           if
           :: stage[r] == NO_CALL ->
               printf("RECEIVE: request %d\n", r);
               stage[r] = FINDING
           :: else ->
               printf("TAKE_OVER: request %d\n", r);
               stage[r] = OVER;
               waits[r] = true
           fi
       }
    :: d_step {
           station[r] == CALLING && RESTORES == 0 && faults < FAULTS ->
           printf("station of request %d hangs up\n", r);
           faults++;
           heard[r] = false;
           station[r] = AWAY
       }
    :: d_step {
           station[r] == DONE || station[r] == GIVEN_UP ->
#if RESTORES == 0
           nothing_is_lost = (got[r] == db.recorded[r]);
           assert(nothing_is_lost);
           nothing_is_lost = (station[r] == GIVEN_UP || SIZE(got[r]) == COUNT_OF(r));
           assert(nothing_is_lost);
#endif
       }
       break
    od
}

inline leave(r, what)
{
    delivered[r] = delivered[r] | what;
    if
    :: heard[r] && RESTORES == 0 -> got[r] = got[r] | what
    :: else
    fi;
    hold(r)
}

proctype Call(byte r)
{
end:
    do
    :: d_step {
           stage[r] == FINDING && alive && guard == OPEN && !BUSY ->
           printf("FIND: request %d\n", r);
           to_plan[r] = COUNT_OF(r) - SIZE(db.recorded[r]);
           stage[r] = REPLAYING
#ifdef MUTANT_NO_REQUEST_ID
           ;
           to_plan[r] = COUNT_OF(r)
#endif
#ifdef MUTANT_NO_REPLAY
           ;
           stage[r] = MINTING
#endif
       }
    :: d_step {
           stage[r] == REPLAYING && alive && guard == OPEN && !BUSY ->
           printf("FETCH: request %d\n", r);
           printf("DELIVER: request %d, what is recorded\n", r);
           leave(r, db.recorded[r]);
           stage[r] = MINTING
       }
    :: d_step {
           stage[r] == MINTING && to_plan[r] == 0 && !RUNS(r) && heard[r] ->
           printf("END: request %d\n", r);
           end_call(r, DONE)
       }
    :: d_step {
           (stage[r] == FINDING || stage[r] == REPLAYING || stage[r] == MINTING) && !heard[r] ->
           printf("CANCEL: request %d\n", r);
           stage[r] = OVER
       }
    :: d_step {
           stage[r] == OVER && !RUNS(r) ->
           printf("COLLECT: request %d\n", r);
           stage[r] = (waits[r] && heard[r] -> FINDING : NO_CALL);
           waits[r] = false;
           to_plan[r] = 0
       }
    od
}
