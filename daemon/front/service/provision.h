/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The calls that make devices, Provision and Enroll: one call, and what is left of it when the call
 * is over but chunks still run. Its life:
 *
 *   WAITING    an older call with the same station and request_id has to end first
 *   FINDING    the store looks up what is recorded under the request already
 *   REPLAYING  Provision: that is streamed, page by page
 *   CHECKING   the store is asked why the batch is not among the open ones
 *   MINTING    what is missing is made, chunk by chunk
 *   AWAITING   Provision: all is recorded; certificates from elsewhere are awaited
 *   OVER       the call has ended; chunks that run are recorded, and wait to be fetched
 *
 * It only ever moves down this list. provision_call.c has what is the same for both, and
 * provision_chunk.c the chunks; provision_elsewhere.c what is different for profiles whose
 * certificates come from elsewhere; provision.c and provision_args.c are Provision's own, enroll.c
 * and enroll_csrs.c Enroll's.
 */
#pragma once

#include "daemon/front/app.h"
#include "mintmark/v1/station.pb-c.h"

enum mm_provision_stage {
    MM_PROVISION_WAITING,
    MM_PROVISION_FINDING,
    MM_PROVISION_REPLAYING,
    MM_PROVISION_CHECKING,
    MM_PROVISION_MINTING,
    MM_PROVISION_AWAITING,
    MM_PROVISION_OVER,
};

enum {
    MM_PROVISION_READ_AHEAD = 4, /* chunks beyond what the workers hold: recorded, or to be sent */
    MM_PROVISION_CHUNK_MIN = 8,  /* smaller chunks cost more than sharing them out gains */
    MM_PROVISION_ENROL_AHEAD = 512, /* devices recorded and without certificate, while their issuer
                                     * works: more would only stand before other stations' */
};

/* What the request asks for: a copy. */
struct mm_provision_args {
    char batch_uid[MM_UID_LEN + 1];
    char request_id[MM_REQUEST_ID_MAX + 1];
    uint32_t count; /* Enroll: received so far */
    uint8_t digest[32];
    char **hw_serials; /* NULL, or count of them, all in one block with the pointers */
};

/* MM_ERR_INVALID with the field; MM_ERR_EXISTS DUPLICATE_HW_SERIAL for one that comes twice. */
int mm_provision_args_take(const Mintmark__V1__ProvisionRequest *request,
                           struct mm_provision_args *ret_args, struct mm_errinfo *ei) MM_MUST_USE;
void mm_provision_args_done(struct mm_provision_args *args);
/* Of a stream's first message; count is 0, and grows. */
int mm_provision_args_enroll(const Mintmark__V1__EnrollRequest *request,
                             struct mm_provision_args *ret_args, struct mm_errinfo *ei) MM_MUST_USE;
/* Drops the serials that are recorded already, so that count - n_recorded are left, in front.
 * MM_ERR_CORRUPT when the recorded ones are not among them. */
int mm_provision_args_drop(struct mm_provision_args *args, char *const *recorded, size_t n_recorded,
                           struct mm_errinfo *ei) MM_MUST_USE;

/* What a station sent in one message of Enroll: a copy. */
struct mm_csrs {
    uint64_t first; /* index of the first in the stream */
    size_t n;
    struct mm_csrs_device {
        struct mm_bytes csr;
        char hw_serial[MM_HW_SERIAL_MAX + 2]; /* cut off when it is longer */
        bool refused; /* by mm_csrs_check: a worker is not bothered with it */
    } devices[MM_ENROLL_DEVICES];
    uint8_t bytes[]; /* the requests, but for refused ones */
};
/* MM_ERR_INVALID for no device, or too many, in one message. */
int mm_csrs_take(const Mintmark__V1__EnrollRequest *request, uint64_t first,
                 struct mm_csrs **ret_csrs, struct mm_errinfo *ei) MM_MUST_USE;
/* Why a device is refused: MM_ERR_INVALID CSR_TOO_BIG, or INVALID_FIELD. */
int mm_csrs_check(const struct mm_csrs_device *device, struct mm_errinfo *ei) MM_MUST_USE;

struct mm_chunk {
    struct mm_job job; /* at a worker, then at the store */
    TAILQ_ENTRY(mm_chunk) link;
    struct mm_provision *p;
    struct mm_arena arena;
    uint32_t count;   /* devices that a worker makes */
    uint64_t number;  /* running number of the first; 0: not taken yet */
    bool outstanding; /* counted among those that may have to be recorded */
    bool tried;       /* one worker has failed with it already: */
    const struct mm_pool_worker *avoid;
    const struct mm_mint *avoid_mint; /* never followed: its section, if there is another */
    const struct mm_mint *made_in;    /* never followed: the section that has or had it */
    struct mm_lane *lane;             /* that gives it out */

    /* Provision. */
    uint32_t first;                               /* of the call's devices that are to be made */
    const Mintmark__Internal__MintResult *minted; /* in the arena */

    /* Enroll. */
    struct mm_csrs *csrs;
    struct mm_reservation reservation;
    const Mintmark__Internal__EnrollResult *certified; /* in the arena */
    const Mintmark__Internal__Enrolled *enrolled;      /* in the arena; NULL: no request was good */
    uint32_t awaited; /* devices whose certificates are to come from elsewhere */
    bool asked_again; /* of the store, since they came to an end */
};
TAILQ_HEAD(mm_chunks, mm_chunk);

/* What differs between the two. */
struct mm_provision_kind {
    const char *name; /* of the RPC */
    bool on_device;   /* for profiles whose devices make their keys, or for the others */
    /* FINDING is over: goes on, or ends the call. */
    void (*found)(struct mm_provision *p, const Mintmark__Internal__RequestFound *found);
    /* The station reads again while REPLAYING. NULL for a kind that does not. */
    void (*replay)(struct mm_provision *p);
    /* The batch is open: is there room for what is to be made? */
    void (*admit)(struct mm_provision *p);
    /* Have all chunks that there will be been made? */
    bool (*complete)(const struct mm_provision *p);
    /* They have been, and none is left. NULL: then the call ends. The provision may be gone after
     * it. */
    void (*made)(struct mm_provision *p);
    /* Makes the next chunk for that lane, when none is in to_mint; NULL when out of memory. NULL
     * for a kind whose chunks come from the station. */
    struct mm_chunk *(*next)(struct mm_provision *p, const struct mm_lane *lane);
    /* A chunk has come or gone: takes more of the station, or not for now. NULL likewise. */
    void (*read_on)(struct mm_provision *p);
    /* Gives the chunk to a worker, by mm_chunk_submit. */
    int (*mint)(struct mm_chunk *c, struct mm_pool *pool, struct mm_errinfo *ei);
    /* Is it what was asked for? A worker that has lost its mind must not get its work recorded. */
    int (*take_minted)(struct mm_chunk *c, const Mintmark__Internal__TokenResult *r,
                       struct mm_errinfo *ei);
    /* Has the store record it, by mm_chunk_record. */
    int (*record)(struct mm_chunk *c, struct mm_errinfo *ei);
    /* The store has recorded it. */
    int (*take_recorded)(struct mm_chunk *c, const Mintmark__Internal__StoreResult *r,
                         struct mm_errinfo *ei);
    /* Sends it; false when the provision may be gone. */
    bool (*send)(struct mm_provision *p, const struct mm_chunk *c);
};
extern const struct mm_provision_kind mm_provision_minting, mm_provision_enrolling;

/* The call's place in the queue of one of its profile's token sections. */
struct mm_lane {
    struct mm_mint_flow flow; /* its mint is NULL while the lane is in no queue */
    struct mm_provision *p;
    struct mm_mint *to_join; /* for mm_lanes_begin; not followed later */
};

struct mm_provision {
    const struct mm_provision_kind *kind;
    LIST_ENTRY(mm_provision) link; /* of the application's; those that WAIT are in none */
    struct mm_app *app;
    struct mm_call *call;           /* NULL once it is OVER */
    struct mm_provision *successor; /* WAITs for this one to be gone */
    struct mm_provision *waits_for;
    enum mm_provision_stage stage;
    char station[MM_NAME_MAX + 1];
    struct mm_account *account; /* the station's; from mm_provision_begin on */
    char call_id[32];
    char profile[MM_NAME_MAX + 1]; /* from MINTING on */
    struct mm_provision_args args;
    int64_t began_us;

    struct mm_store_job job; /* of FINDING, REPLAYING and CHECKING: one at a time */
    bool job_runs;
    uint64_t after_row;
    uint32_t recorded; /* before this call */

    struct mm_lane lanes[MM_TOKENS_MAX]; /* the first n_lanes of them, in no order */
    size_t n_lanes;                      /* 0 until MINTING */
    const struct mm_mint_flow *lane_callbacks;
    struct mm_shared *shared;
    bool shared_sent;
    uint8_t chain_sent[MM_CHAIN_SHA256]; /* the one announced last, when shared_sent */
    struct mm_reservation reservation;
    uint32_t to_make;          /* devices that this call has to make */
    uint32_t planned;          /* of them, in chunks that were given out at least once */
    unsigned chunks;           /* that exist: minted, recorded, or waiting in a list */
    unsigned running;          /* of them, with a worker or the store */
    struct mm_chunks to_send;  /* recorded, while the station does not read */
    struct mm_chunks awaiting; /* Enroll: recorded, while certificates are to come from elsewhere */
    struct mm_chunks
        to_mint;      /* failed once, to be minted by another worker; Enroll: and new ones */
    bool half_closed; /* Enroll: the station sends no more */
    bool blocked;     /* mm_call_send said stop */
    bool discard;     /* the store was lost: what runs is not recorded */
    uint32_t sent;    /* devices sent by this call, recorded before or now */

    bool elsewhere;     /* certificates come from an issuer elsewhere */
    uint64_t request;   /* its row in the store; 0: nothing is recorded yet */
    uint64_t unsettled; /* devices recorded that have not been read as settled yet, about */
    bool again;         /* something has been settled since the store was asked */
};

/* NULL when out of memory; before mm_provision_begin it is freed by mm_provision_destroy. */
struct mm_provision *mm_provision_new(const struct mm_provision_kind *kind, struct mm_call *call);
void mm_provision_destroy(struct mm_provision *p);
/* Its args are there. An error: it cannot be begun now. Else it begins, once an older call with the
 * same request_id has ended. */
int mm_provision_begin(struct mm_provision *p, struct mm_errinfo *ei) MM_MUST_USE;
/* Ends the call, OK when ei is NULL; what runs is recorded. The provision may be gone after it. */
void mm_provision_end(struct mm_provision *p, const struct mm_errinfo *ei);
/* Frees it if it is OVER and nothing of it runs; its successor begins. */
void mm_provision_collect(struct mm_provision *p);
/* Queues a message about so many devices. May end the call: then false. */
bool mm_provision_send(struct mm_provision *p, const ProtobufCMessage *message, size_t devices);

/* What a message to the station announces before its devices, whose chain the store has or (NULL)
 * is that of the profile now: all that they share in the first, later another chain. Fields of a
 * message; a part that is not to be announced is empty in it. */
struct mm_announcement {
    ProtobufCBinaryData *chain, key_wrap, *items;
    size_t n_chain, n_items;
};
void mm_provision_announce(struct mm_provision *p, const Mintmark__Internal__Chain *chain,
                           struct mm_announcement *ret_announcement);

/* Has the store do a job of FINDING, REPLAYING or CHECKING. May end the call. */
void mm_provision_ask(struct mm_provision *p, Mintmark__Internal__StoreJob *job,
                      void (*done)(struct mm_job *job, const ProtobufCMessage *result,
                                   const struct mm_errinfo *ei));
/* In done: what the answer is for; NULL when the call is over, or ends here with the error. */
struct mm_provision *mm_provision_answered(struct mm_job *job, const ProtobufCMessage *result,
                                           Mintmark__Internal__StoreResult__ResultCase expected,
                                           const struct mm_errinfo *ei);
/* The profile decides which token sections mint, and what deliveries share. */
int mm_provision_choose(struct mm_provision *p, const char *profile,
                        struct mm_errinfo *ei) MM_MUST_USE;
/* The same, before something is made: keys must be made where the call has them made, a worker be
 * ready, and the queue have room for what is to be made, and time before the deadline.
 * mm_chunks_begin follows at once. */
int mm_provision_choose_ready(struct mm_provision *p, const char *profile,
                              struct mm_errinfo *ei) MM_MUST_USE;
/* CHECKING: admit follows when the batch is open after all; else the call ends. */
void mm_provision_check_batch(struct mm_provision *p);

/* Is it a small call or bulk? */
enum mm_sched_class mm_provision_class(const struct mm_provision *p);

/* provision_lanes.c: the token sections that a call is done in, one for each lane. */

/* One for each of the profile's sections that has a ready worker, admitted but not joined yet. */
int mm_lanes_open(struct mm_provision *p, struct mm_errinfo *ei) MM_MUST_USE;
/* They join, with these callbacks, which stay where they are. */
void mm_lanes_begin(struct mm_provision *p, const struct mm_mint_flow *callbacks);
/* Sections that have come back since, or were away when the call began, join too. */
void mm_lanes_rejoin(struct mm_provision *p);
/* Leaves all queues. */
void mm_lanes_leave(struct mm_provision *p);
/* Is it in any queue? */
bool mm_lanes_joined(const struct mm_provision *p);
/* Is there a ready worker in another lane than that section's? */
bool mm_lanes_other(const struct mm_provision *p, const struct mm_mint *mint);
/* Ready workers of all lanes, and jobs that they take at once. */
unsigned mm_lanes_ready(const struct mm_provision *p);
unsigned mm_lanes_capacity(const struct mm_provision *p);
/* The lane's share of so many units, by how fast its section is. */
uint64_t mm_lane_share(const struct mm_lane *lane, uint64_t units);
/* The lane whose token does such a job soonest; NULL when no token is there. */
const struct mm_mint_flow *mm_lanes_quickest(const struct mm_provision *p, uint64_t units);

/* Makes what is missing, and ends the call when all is sent. The provision may be gone after it. */
void mm_chunks_begin(struct mm_provision *p);
/* An empty one, counted; NULL when out of memory. */
struct mm_chunk *mm_chunk_new(struct mm_provision *p);
/* For the kinds' functions of like names. The messages are packed at once. */
int mm_chunk_submit(struct mm_chunk *c, struct mm_pool *pool, Mintmark__Internal__TokenJob *job,
                    struct mm_errinfo *ei) MM_MUST_USE;
int mm_chunk_record(struct mm_chunk *c, Mintmark__Internal__StoreJob *job,
                    struct mm_errinfo *ei) MM_MUST_USE;
/* Nothing is left to record of it: it is sent, or forgotten when the call is over. The provision
 * may be gone after it, unless the chunk runs. */
void mm_chunk_finish(struct mm_chunk *c);
/* What the store must know of the call to spend for it; devices are missing. */
void mm_chunk_spend(const struct mm_chunk *c, Mintmark__Internal__SpendAndRecord *ret_spend);
/* Sends what is recorded until the station stops reading, and sees what is to be made next. The
 * provision may be gone after it. */
void mm_chunks_send(struct mm_provision *p);
/* Forgets the chunks that neither a worker nor the store has. */
void mm_chunks_drop(struct mm_provision *p);
/* Chunks that a call may have at once. */
unsigned mm_chunks_window(const struct mm_provision *p);

/* Profiles whose certificates come from elsewhere; for others these do nothing. */

/* MM_ERR_UNAVAILABLE ISSUER_UNAVAILABLE when the issuer is away and the profile says to fail then.
 */
int mm_elsewhere_check(const struct mm_provision *p, struct mm_errinfo *ei) MM_MUST_USE;
/* The devices to be recorded wait for certificates; *waiting is the spend's. */
void mm_elsewhere_spend(const struct mm_provision *p, Mintmark__Internal__Waiting *waiting,
                        Mintmark__Internal__SpendAndRecord *spend);
/* n of them are recorded. */
void mm_elsewhere_recorded(struct mm_provision *p, const Mintmark__Internal__Recorded *recorded,
                           uint32_t n);
/* May more be made now, or is the issuer far behind? */
bool mm_elsewhere_has_room(const struct mm_provision *p);
/* Provision: reads on what has come to an end, and sends it. The provision may be gone after it. */
void mm_elsewhere_fetch(struct mm_provision *p);
/* Provision: all is recorded. The provision may be gone after it. */
void mm_elsewhere_await(struct mm_provision *p);
/* Provision: some devices as the store gave them; false when the provision may be gone. */
bool mm_provision_send_page(struct mm_provision *p, const Mintmark__Internal__Fetched *page);

/* A device of that request has its certificate, has failed, or is parked. uid: which, 16 bytes;
 * NULL: an officer has changed something. */
void mm_provisions_settled(struct mm_app *app, uint64_t request, const uint8_t *uid);
/* An issuer has gone away, or may have. */
void mm_provisions_issuer_away(struct mm_app *app);
/* The service stops: nobody waits for certificates any more. */
void mm_provisions_drain(struct mm_app *app);

/* Devices that calls wait for and no worker has been given yet, and the chunks that they will come
 * in. */
void mm_provisions_waiting(const struct mm_app *app, uint64_t *ret_devices, uint64_t *ret_chunks);

/* The store is gone, and the view with it: all calls fail, nothing that runs is recorded. */
void mm_provisions_store_lost(struct mm_app *app);
