/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Provision: one call, and what is left of it when the call is over but chunks still run. Its life:
 *
 *   WAITING    an older call with the same station and request_id has to end first
 *   FINDING    the store looks up what is recorded under the request already
 *   REPLAYING  that is streamed, page by page
 *   CHECKING   the store is asked why the batch is not among the open ones
 *   MINTING    what is missing is made, chunk by chunk
 *   OVER       the call has ended; chunks that run are recorded, and wait to be fetched
 *
 * It only ever moves down this list. provision.c has the stages, provision_chunk.c the chunks,
 * provision_args.c what the request asks for.
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
    MM_PROVISION_OVER,
};

enum {
    MM_PROVISION_READ_AHEAD = 4, /* chunks beyond what the workers hold: recorded, or to be sent */
    MM_PROVISION_CHUNK_MIN = 8,  /* smaller chunks cost more than sharing them out gains */
};

/* What the request asks for: a copy. */
struct mm_provision_args {
    char batch_uid[MM_UID_LEN + 1];
    char request_id[MM_REQUEST_ID_MAX + 1];
    uint32_t count;
    uint8_t digest[32];
    char **hw_serials; /* NULL, or count of them, all in one block with the pointers */
};

/* MM_ERR_INVALID with the field; MM_ERR_EXISTS DUPLICATE_HW_SERIAL for one that comes twice. */
int mm_provision_args_take(const Mintmark__V1__ProvisionRequest *request,
                           struct mm_provision_args *ret_args, struct mm_errinfo *ei) MM_MUST_USE;
void mm_provision_args_done(struct mm_provision_args *args);
/* Drops the serials that are recorded already, so that count - n_recorded are left, in front.
 * MM_ERR_CORRUPT when the recorded ones are not among them. */
int mm_provision_args_drop(struct mm_provision_args *args, char *const *recorded, size_t n_recorded,
                           struct mm_errinfo *ei) MM_MUST_USE;

struct mm_chunk;
TAILQ_HEAD(mm_chunks, mm_chunk);

struct mm_provision {
    LIST_ENTRY(mm_provision) link; /* of the application's; those that WAIT are in none */
    struct mm_app *app;
    struct mm_call *call;           /* NULL once it is OVER */
    struct mm_provision *successor; /* WAITs for this one to be gone */
    struct mm_provision *waits_for;
    enum mm_provision_stage stage;
    char station[MM_NAME_MAX + 1];
    char call_id[32];
    char profile[MM_NAME_MAX + 1]; /* from MINTING on */
    struct mm_provision_args args;
    int64_t began_us;

    struct mm_job job; /* of FINDING, REPLAYING and CHECKING: one at a time */
    bool job_runs;
    uint64_t after_row;
    uint32_t recorded; /* before this call */

    struct mm_mint_flow flow;
    struct mm_shared *shared;
    bool shared_sent;
    struct mm_reservation reservation;
    uint32_t to_make;         /* devices that this call has to make */
    uint32_t planned;         /* of them, in chunks that were given out at least once */
    unsigned chunks;          /* that exist: minted, recorded, or waiting in a list */
    unsigned running;         /* of them, with a worker or the store */
    struct mm_chunks to_send; /* recorded, while the station does not read */
    struct mm_chunks again;   /* failed once, to be minted by another worker */
    bool blocked;             /* mm_call_send said stop */
    bool discard;             /* the store was lost: what runs is not recorded */
    uint32_t sent;            /* devices sent by this call, recorded before or now */
};

/* Ends the call, OK when ei is NULL; what runs is recorded. The provision may be gone after it. */
void mm_provision_end(struct mm_provision *p, const struct mm_errinfo *ei);
/* Frees it if it is OVER and nothing of it runs; its successor begins. */
void mm_provision_collect(struct mm_provision *p);
/* Streams some bundles, with what they share in front of the first. May end the call: then false.
 */
bool mm_provision_send(struct mm_provision *p, ProtobufCBinaryData *bundles, size_t n);

/* Makes what is missing, and ends the call when all is sent. */
void mm_chunks_begin(struct mm_provision *p, struct mm_mint *mint);
/* Sends what is recorded until the station stops reading. The provision may be gone after it. */
void mm_chunks_send(struct mm_provision *p);
/* Forgets the chunks that neither a worker nor the store has. */
void mm_chunks_drop(struct mm_provision *p);

/* Devices that calls wait for and no worker has been given yet, and the chunks that they will come
 * in. */
void mm_provisions_waiting(const struct mm_app *app, uint64_t *ret_devices, uint64_t *ret_chunks);

/* The store is gone, and the view with it: all calls fail, nothing that runs is recorded. */
void mm_provisions_store_lost(struct mm_app *app);
