/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A production report on its way (docs/report.md): found, and when it is not signed yet: hashed by
 * the store piece by piece, signed by the token, kept by the store. Then it can be sent, piece by
 * piece again, and is hashed as it passes. Never is more than a piece in memory.
 *
 *   FINDING --signed--> READY       FINDING --> HASHING --> SIGNING --> ADDING --> READY
 *   READY --mm_report_send--> SENDING
 *
 * ReleaseBatch and GetReport embed it in what they keep of a call.
 */
#pragma once

#include "daemon/front/service/service.h"
#include "daemon/front/service/token_job.h"
#include "daemon/ipc/seal.h"
#include "mintmark/v1/station.pb-c.h"

#include <openssl/evp.h>

enum { MM_REPORT_HASH_BYTES = 32 };

struct mm_report;

struct mm_report_ops {
    /* The store has found it: may this go on? May be NULL. */
    int (*found)(struct mm_report *r, struct mm_errinfo *ei);
    /* It is signed: r->found has all; goes on with mm_report_send or ends. */
    void (*ready)(struct mm_report *r);
    /* The end; ei is NULL when it was good. Ends r->call if it is not NULL, and frees r by
     * mm_report_free. */
    void (*over)(struct mm_report *r, const struct mm_errinfo *ei);
};

struct mm_report {
    struct mm_app *app;
    struct mm_call *call; /* NULL: nobody waits any more */
    const struct mm_report_ops *ops;
    struct mm_account *account;
    char station[MM_NAME_MAX + 1];
    char call_id[32];
    char batch_uid[MM_UID_LEN + 1];
    int64_t began_us;
    enum {
        MM_REPORT_FINDING,
        MM_REPORT_HASHING,
        MM_REPORT_SIGNING,
        MM_REPORT_ADDING,
        MM_REPORT_READY,
        MM_REPORT_SENDING
    } stage;
    struct mm_store_job store; /* one job at a time */
    bool store_runs;
    struct mm_token_job token;
    Mintmark__Internal__SignDocument sign;
    struct mm_audit_name audit; /* whose key signs */
    EVP_MD_CTX *digest;
    uint8_t sha256[MM_REPORT_HASH_BYTES];
    uint64_t size;
    uint8_t proof[MM_SEAL_BYTES];           /* HASHING: that the store made sha256 */
    uint64_t tally;                         /* HASHING: what the store knows it by; 0: not begun */
    Mintmark__Internal__ReportPlace *place; /* of the next piece; NULL: the first */
    bool last;                              /* the last piece has come */
    bool blocked;                           /* the client takes nothing for now */
    bool gone;                              /* nobody waits; to be freed when no job runs */
    Mintmark__Internal__ReportFound *found;
};

/* What is not r->call, ops and batch_uid is filled here. */
void mm_report_init(struct mm_report *r, struct mm_call *call, const struct mm_report_ops *ops,
                    const char *batch_uid);
/* Frees what it holds, not itself. */
void mm_report_done(struct mm_report *r);
/* FINDING begins; r->account is set. ops follow, perhaps at once. */
void mm_report_begin(struct mm_report *r);
/* READY: its bytes, after what the caller has sent. over follows. */
void mm_report_send(struct mm_report *r);
/* Stations get what they opened or released, officers and auditors all. MM_ERR_PERMISSION
 * BATCH_OF_OTHERS. */
int mm_report_check_client(const struct mm_call *call, const Mintmark__Internal__ReportFound *found,
                           struct mm_errinfo *ei) MM_MUST_USE;
/* Does the profile have a manifest? */
bool mm_manifest_wanted(const struct mm_app *app, const char *profile);
/* The client has room again. */
void mm_report_writable(struct mm_report *r);
/* Nobody waits any more: over follows, when nothing runs. */
void mm_report_abandon(struct mm_report *r);
