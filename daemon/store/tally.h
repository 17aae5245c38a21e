/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside the store: reports and exports that are being given out piece by piece and are to be
 * signed. The store hashes them itself, since what the token signs must be what the store said, and
 * not what the front made of it. They live as long as the process, and no longer: after a restart
 * the caller begins again.
 */
#pragma once

#include "daemon/base/buf.h"
#include "daemon/base/limits.h"
#include "internal/store.pb-c.h"

#include <openssl/evp.h>
#include <stdbool.h>

enum { MM_TALLY_HASH = 32 };

enum mm_tally_kind { MM_TALLY_REPORT, MM_TALLY_EXPORT };

/* How far a report is. */
struct mm_report_tally {
    char batch_uid[MM_UID_LEN + 1];
    Mintmark__Internal__ReportPlace *place; /* of the next piece; NULL: the first. Owned */
};

/* How far an export is, and what its statement says. */
struct mm_export_tally {
    uint64_t first, after, last; /* records: the first one, the last one so far, the last one */
    uint64_t records, devices;   /* so far */
    uint8_t head[MM_TALLY_HASH];
    uint8_t signer[MM_TALLY_HASH]; /* the audit key that was in force when it began */
    char by[MM_NAME_MAX + 1];
};

struct mm_tally {
    uint64_t id; /* random, so that none of a store before is taken for it; never 0 */
    uint64_t used;
    EVP_MD_CTX *digest;
    uint64_t bytes;
    enum mm_tally_kind kind;
    union {
        struct mm_report_tally report;
        struct mm_export_tally export;
    };
};

/* In struct mm_store; zeroed there are none. At most MM_TALLIES_MAX: one more ends the one that was
 * not used for the longest time. */
struct mm_tallies {
    struct mm_tally **all; /* MM_TALLIES_MAX; NULL before the first */
    uint64_t clock;
};

/* *ret_tally is the table's; what belongs to its kind is zeroed. */
int mm_tally_begin(struct mm_tallies *t, enum mm_tally_kind kind, struct mm_tally **ret_tally,
                   struct mm_errinfo *ei) MM_MUST_USE;
/* MM_ERR_UNAVAILABLE HASHING_LOST, also when it is of the other kind. */
int mm_tally_find(struct mm_tallies *t, enum mm_tally_kind kind, uint64_t id,
                  struct mm_tally **ret_tally, struct mm_errinfo *ei) MM_MUST_USE;
int mm_tally_lost(struct mm_errinfo *ei);
int mm_tally_add(struct mm_tally *tally, struct mm_bytes data, struct mm_errinfo *ei) MM_MUST_USE;
int mm_tally_hash(struct mm_tally *tally, uint8_t ret_sha256[MM_TALLY_HASH],
                  struct mm_errinfo *ei) MM_MUST_USE;
/* Frees it. */
void mm_tally_end(struct mm_tallies *t, struct mm_tally *tally);
void mm_tallies_done(struct mm_tallies *t);
