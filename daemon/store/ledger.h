/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ledger (docs/ledger.md): records in a chain of SHA-256 hashes, each written in the
 * transaction of the change that it describes. proto/mintmark/v1/ledger.proto has the records.
 */
#pragma once

#include "daemon/base/buf.h"
#include "daemon/base/err.h"

#include "daemon/document/order.h"
#include "mintmark/v1/ledger.pb-c.h"

#include <openssl/evp.h>
#include <stdbool.h>

struct mm_arena;
struct mm_store;

enum { MM_SHA256_BYTES = 32, MM_LEDGER_ID_BYTES = 16 };

/* What one record, and through its hash all before it, say in few words. */
struct mm_ledger_head {
    uint64_t sequence; /* 0: no record yet */
    uint8_t hash[MM_SHA256_BYTES];
    int64_t time_ms;  /* the highest so far */
    uint64_t devices; /* recorded so far */
    int event;        /* what the record says: its event_case */
};

/* The store's own, in struct mm_store. */
struct mm_ledger {
    uint8_t id[MM_LEDGER_ID_BYTES];
    struct mm_ledger_head now;       /* with what the verbs of the open group have appended */
    struct mm_ledger_head verb;      /* as it was when the verb under way began */
    struct mm_ledger_head committed; /* on disk */
    int64_t clock_ms;                /* as the job under way saw it; records go by it */
    EVP_MD *sha256;
    EVP_MD_CTX *digest;
    bool digest_failed;       /* libcrypto did, since the digest under way began */
    struct mm_errinfo damage; /* the first or the last record is none; MM_OK: both are good */
};

/* Makes the digest, and finds the head in the database; begins the ledger when there is none, with
 * what the database holds already. A record that is none is no failure: it is in damage. Either
 * the guard locks for it, or the caller refuses the database. mm_ledger_close is due also after a
 * failure. */
int mm_ledger_open(struct mm_store *s, struct mm_errinfo *ei) MM_MUST_USE;
void mm_ledger_close(struct mm_store *s);

/* The time for the job that begins: the store's own clock, and never less than the last record's.
 * All of one job goes by it, so that a walk over the records counts days as spending did. */
int64_t mm_ledger_tick(struct mm_store *s);

/* Appends one record within the verb under way. The caller has set the event, and nothing else;
 * what the event points to is only read. */
int mm_ledger_append(struct mm_store *s, Mintmark__V1__LedgerRecord *record,
                     struct mm_errinfo *ei) MM_MUST_USE;

/* A record with its event, for mm_ledger_append: field is the event's name in LedgerRecord, FIELD
 * the same in capitals. */
#define MM_LEDGER_RECORD(FIELD, field_, event_)                                                    \
    ((Mintmark__V1__LedgerRecord){                                                                 \
        .base = PROTOBUF_C_MESSAGE_INIT(&mintmark__v1__ledger_record__descriptor),                 \
        .event_case = MINTMARK__V1__LEDGER_RECORD__EVENT_##FIELD,                                  \
        .field_ = (event_)})

/* SHA-256 of what is added between begin and end; one at a time. A failure of libcrypto comes out
 * of the end. */
void mm_ledger_digest_begin(struct mm_store *s);
void mm_ledger_digest_add(struct mm_store *s, const void *data, size_t len);
/* The length in one byte, then the data; len <= 255. */
void mm_ledger_digest_add_short(struct mm_store *s, const void *data, size_t len);
int mm_ledger_digest_end(struct mm_store *s, uint8_t ret_hash[MM_SHA256_BYTES],
                         struct mm_errinfo *ei) MM_MUST_USE;
/* All of it, of one piece. */
int mm_ledger_hash(struct mm_store *s, struct mm_bytes data, uint8_t ret_hash[MM_SHA256_BYTES],
                   struct mm_errinfo *ei) MM_MUST_USE;

/* Verifying. */

/* A walk over the chain, from its first record. */
struct mm_ledger_order {
    char *order_id;
    char *stations;
    struct mm_order_terms terms;
};
struct mm_ledger_walk {
    struct mm_ledger_head at; /* the last record that was found good */
    uint64_t epoch;           /* of the last ServiceStarted; 0: the ledger was never anchored */
    /* Hash of the audit key in force; false: no checkpoint has said it yet, or an officer's unlock
     * stands behind the last one. */
    bool key_known;
    uint8_t key[MM_SHA256_BYTES];
    bool devices; /* also compare the devices' rows with the records that spent for them */
    size_t n_orders;
    struct mm_ledger_order *orders; /* by order_id, as the records say */
};

/* Lets the walk know of an order; sequence is for the error. MM_ERR_CORRUPT LEDGER_EDITED when it
 * knows it already, or used is over quantity. */
int mm_ledger_walk_order(struct mm_ledger_walk *walk, uint64_t sequence, const char *order_id,
                         const char *stations, const struct mm_order_terms *terms,
                         struct mm_errinfo *ei) MM_MUST_USE;
/* The hash of a record as it is in the database. MM_ERR_CORRUPT LEDGER_GAP. */
int mm_ledger_hash_at(struct mm_store *s, uint64_t sequence, uint8_t ret_hash[MM_SHA256_BYTES],
                      struct mm_errinfo *ei) MM_MUST_USE;
/* The record itself, in the arena. MM_ERR_CORRUPT LEDGER_GAP, LEDGER_EDITED (it is none). */
int mm_ledger_record_at(struct mm_store *s, uint64_t sequence, struct mm_arena *arena,
                        Mintmark__V1__LedgerRecord **ret_record, struct mm_errinfo *ei) MM_MUST_USE;

/* Reads up to so many records on, and no further than the one that brings so many devices. 1: there
 * are more; 0: the walk is at the head, and what the records say agrees with the database's
 * counters. MM_ERR_CORRUPT: LEDGER_GAP, a record is missing; LEDGER_EDITED, a record or a counter
 * is not what the chain says. The walk starts zeroed; done frees what it holds, and zeroes it. */
int mm_ledger_walk(struct mm_store *s, struct mm_ledger_walk *walk, unsigned records,
                   uint64_t devices, struct mm_errinfo *ei) MM_MUST_USE;
/* For ledger_verify.c and ledger_orders.c: what records say of orders, and whether the database
 * says the same. MM_ERR_CORRUPT LEDGER_EDITED. */
int mm_ledger_edited(struct mm_errinfo *ei, uint64_t sequence, const char *what);
/* NULL when it was never imported. */
struct mm_ledger_order *mm_ledger_order_find(const struct mm_ledger_walk *walk,
                                             const char *order_id);
int mm_ledger_order_event(struct mm_ledger_walk *walk, const Mintmark__V1__LedgerRecord *record,
                          struct mm_errinfo *ei) MM_MUST_USE;
int mm_ledger_compare_orders(struct mm_store *s, const struct mm_ledger_walk *walk,
                             struct mm_errinfo *ei) MM_MUST_USE;
void mm_ledger_walk_done(struct mm_ledger_walk *walk);
#define MM_LEDGER_WALK_CLEANUP MM_CLEANUP(mm_ledger_walk_done)
