/* SPDX-License-Identifier: Apache-2.0 */
/* ---- what stays when everything is killed --------------------------------------------------- */

/* A record's hash stands for all records before it. Here a record is known by its number and its
 * branch: each database that is put back begins a new branch. */
typedef Database {
    short recorded[STATIONS]; /* devices, by request */
    byte used;                /* units of the order */
    byte records;
    byte branch[RECORDS]; /* of each record */
    bool started;         /* a start is among them */
    bool locked;          /* the last one is a lock */
};
Database db;
short unsynced[STATIONS]; /* of what is recorded: a power cut undoes it, a kill does not */

typedef Anchor {
    bool there;
    byte record;
    byte branch;
    byte unclean;
    bool clean;
};
Anchor anchor; /* in the token */

/* ---- what a kill takes ---------------------------------------------------------------------- */

/* The store. */
bool alive; /* the front learns later that it is not */
mtype:guard = { UNVERIFIED, ANCHORING, OPEN, CLOSED, LOCKED };
mtype:guard guard = UNVERIFIED;
byte anchored; /* units used, as the last confirmed anchor has it */
byte unclean;

/* The front: calls, by request, their chunks, and the anchor that is under way. */
mtype:call = { NO_CALL, FINDING, REPLAYING, MINTING, OVER };
mtype:call stage[STATIONS] = NO_CALL;
bool waits[STATIONS]; /* a newer call, for the end of this one */
bool heard[STATIONS]; /* the station still reads the newest call */
byte to_plan[STATIONS];

mtype:chunk = { FREE, AT_TOKEN, AT_STORE, IN_GROUP, WRITTEN, RECORDED, REFUSED, FAILED };
mtype:chunk at[CHUNKS] = FREE;
short device[CHUNKS];

mtype:anchoring = { TO_READ, IDLE, TO_WRITE, TO_CONFIRM, STALE };
mtype:anchoring anchoring = TO_READ;
Anchor next;
byte next_used;
bool stopping;

/* ---- stations, officers, attackers ---------------------------------------------------------- */

mtype:station = { AWAY, CALLING, DONE, GIVEN_UP };
mtype:station station[STATIONS] = AWAY;
short got[STATIONS];
bool refused_before[STATIONS];

bool signed_there; /* an officer's unlock, which can be sent again */
byte signed_record, signed_branch, signed_anchor, signed_anchor_branch;
#if RESTORES > 0
Database copy[COPIES];
#endif
byte faults, unlocks, restores;

/* Devices of the store's open transaction, and whether it is still at work on one. */
#define CHUNK_A(r) (2 * (r))
#define CHUNK_B(r) (2 * (r) + 1)
#if STATIONS == 1
#define GROUP ((at[0] == IN_GROUP) + (at[1] == IN_GROUP))
#define GROUP_OF(r) GROUP
#define WRITES (at[0] == WRITTEN || at[1] == WRITTEN)
#define OUTSTANDING (OUT(0) + OUT(1))
#else
#define GROUP ((at[0] == IN_GROUP) + (at[1] == IN_GROUP) + (at[2] == IN_GROUP) + (at[3] == IN_GROUP))
#define GROUP_OF(r) ((at[CHUNK_A(r)] == IN_GROUP) + (at[CHUNK_B(r)] == IN_GROUP))
#define WRITES (at[0] == WRITTEN || at[1] == WRITTEN || at[2] == WRITTEN || at[3] == WRITTEN)
#define OUTSTANDING (OUT(0) + OUT(1) + OUT(2) + OUT(3))
#endif

#define BUSY (GROUP || WRITES)

/* ---- properties ----------------------------------------------------------------------------- */

short delivered[STATIONS]; /* devices that ever left */
short forgiven[STATIONS];  /* of these, what the database lacked when an officer unlocked it */
bool evidence;             /* the last check of the anchor was to lock, and no officer has decided */

hidden byte delivered_is_recorded, recorded_is_within_quota, used_is_recorded, requests_keep_to_count;
hidden byte nothing_is_lost, refused_when_used_up, gain_is_bounded, only_officers_unlock;
hidden byte locks_for_cause, bounds_suffice;
hidden byte i;
hidden mtype:chunk swapped_at;
hidden short known;

#if STATIONS == 1
#define COUNT_OF(r) COUNT
#define SUM(set_of) SIZE((set_of(0)))
#define KNOWN_OF(x) (x.recorded[0])
#else
#define COUNT_OF(r) ((r) == 0 -> COUNT : COUNT_2)
#define SUM(set_of) (SIZE((set_of(0))) + SIZE((set_of(1))))
#define KNOWN_OF(x) (x.recorded[0] | x.recorded[1])
#endif
#define RECORDED_OF(r) db.recorded[r]
#define LEFT_OF(r) delivered[r] & ~forgiven[r]
#define GAINED_OF(r) delivered[r] & ~db.recorded[r] & ~forgiven[r]

/* After each step that changes what is recorded or has left. */
inline hold(r)
{
    recorded_is_within_quota = (SUM(RECORDED_OF) <= QUOTA);
    assert(recorded_is_within_quota);
    used_is_recorded = (db.used == SUM(RECORDED_OF));
    assert(used_is_recorded);
    requests_keep_to_count = (SIZE(db.recorded[r]) <= COUNT_OF(r));
    assert(requests_keep_to_count);
#if RESTORES == 0
    delivered_is_recorded = ((delivered[r] & ~db.recorded[r]) == 0);
    assert(delivered_is_recorded);
#endif
    gain_is_bounded = (SUM(LEFT_OF) <= QUOTA + M * K);
    assert(gain_is_bounded);
    only_officers_unlock = !evidence;
    assert(only_officers_unlock)
}
