/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One issuer section at work: its connections, the pinned CA, the profiles that it serves, and the
 * jobs that are under way.
 */
#pragma once

#include "daemon/ipc/worker.h"
#include "daemon/issuer/answer.h"
#include "daemon/issuer/client.h"
#include "daemon/pki/issued.h"
#include "internal/issuer.pb-c.h"

enum { MM_CA_DN_MAX = 1024 };

/* A CA by its name in EJBCA, and its subject as EJBCA spells it, which paths must have. */
struct mm_issuer_ca {
    const char *name;
    char dn[MM_CA_DN_MAX]; /* "" until EJBCA was asked */
};

struct mm_issuing {
    const struct mm_conf_profile *conf;
    struct mm_profile *profile; /* compiled with the pinned CA */
    struct mm_issuer_ca *ca;
};

struct mm_task;
struct mm_issuer {
    struct mm_worker *worker;
    const struct mm_conf_issuer *section;
    struct mm_credential credential;
    struct mm_client *client;
    STACK_OF(X509) * chain; /* pinned: the issuing CA's, up to the root */
    struct mm_ders chain_der;
    struct mm_buf chain_packed; /* as Issued.chain, and its hash */
    uint8_t chain_sha256[32];
    struct mm_ca_key *ca_key; /* of the issuing CA */
    struct mm_issuing *profiles;
    size_t n_profiles;
    struct mm_issuer_ca *cas;
    size_t n_cas;
    LIST_HEAD(, mm_task) tasks; /* under way */
    unsigned n_jobs;
};

/* Reads all files. MM_ERR_INVALID and others say what is wrong with which. */
int mm_issuer_open(struct mm_worker *w, struct mm_issuer **ret_issuer,
                   struct mm_errinfo *ei) MM_MUST_USE;
void mm_issuer_free(struct mm_issuer *i);

/* NULL when this issuer serves no such profile. */
struct mm_issuing *mm_issuer_profile(struct mm_issuer *i, const char *name);

/* Are the certificates, the issuing CA's first, the pinned chain? */
bool mm_issuer_is_chain(const struct mm_issuer *i, const struct mm_ders *ders, size_t from);

/* Without an answer; only once the client is gone. */
void mm_issuer_drop_tasks(struct mm_issuer *i);

/* Takes a job: its answer is packed now or later. */
int mm_issuer_take(struct mm_issuer *i, struct mm_bytes payload, struct mm_errinfo *ei) MM_MUST_USE;

/* Asks for the CAs' chains on its own account, to say early in the log what does not fit. */
void mm_issuer_look(struct mm_issuer *i);
