/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What each client has running and has used: one account a client, by the name of its client
 * section. Jobs are counted from the moment a worker gets them until it ends them, whatever has
 * become of their calls: who opens calls and resets them gets no further than who waits.
 *
 * Pure bookkeeping: no I/O, no clock. Accounts live as long as the service, so that pointers to
 * them may be kept; there are as many as the configuration has had clients that came.
 */
#pragma once

#include "daemon/base/err.h"
#include "daemon/base/limits.h"

#include <stdbool.h>
#include <stdint.h>

struct mm_accounts; /* of a service */

struct mm_account {
    char name[MM_NAME_MAX + 1];
    unsigned running;   /* jobs that workers have now */
    unsigned waiting;   /* jobs that wait for the store */
    uint64_t jobs;      /* jobs that token workers have ended */
    uint64_t token_us;  /* time that token workers took for them */
    uint64_t queued_us; /* scratch of whoever adds up what is queued */
};

/* The most that there may be, of one client and of all; 0: no limit. Bulk keeps a quarter of what
 * may run free for single jobs. */
struct mm_job_limits {
    unsigned client_running, running; /* jobs that workers have */
    unsigned client_queued, queued;   /* jobs that wait for a token worker; bulk and small each */
};

/* Why a call was refused at once. */
enum mm_refusal {
    MM_REFUSED_CALLS,    /* TOO_MANY_CALLS */
    MM_REFUSED_STATION,  /* STATION_BUSY */
    MM_REFUSED_SERVICE,  /* SERVICE_BUSY */
    MM_REFUSED_DEADLINE, /* DEADLINE_TOO_SHORT */
    MM_REFUSALS,
};

int mm_accounts_new(struct mm_accounts **ret_accounts) MM_MUST_USE;
/* Nobody points to an account any more. */
void mm_accounts_free(struct mm_accounts *accounts);

/* No limits at first. */
void mm_accounts_limit(struct mm_accounts *accounts, const struct mm_job_limits *limits);
const struct mm_job_limits *mm_accounts_limits(const struct mm_accounts *accounts);

/* The client's account, made when it comes for the first time. NULL: out of memory. */
struct mm_account *mm_account_get(struct mm_accounts *accounts, const char *client);
/* In the order in which they came. */
void mm_accounts_each(const struct mm_accounts *accounts,
                      void (*each)(void *arg, const struct mm_account *account), void *arg);

/* May this client, may all of them, have one more job? */
bool mm_account_has_room(const struct mm_accounts *accounts, const struct mm_account *account,
                         bool bulk);
bool mm_accounts_have_room(const struct mm_accounts *accounts, bool bulk);
unsigned mm_accounts_running(const struct mm_accounts *accounts);

/* A worker has got a job of the client; and has ended it, or was lost with it. */
void mm_account_begin(struct mm_accounts *accounts, struct mm_account *account);
void mm_account_end(struct mm_accounts *accounts, struct mm_account *account);

/* A call was refused; and how many have been. */
void mm_accounts_refuse(struct mm_accounts *accounts, enum mm_refusal why);
uint64_t mm_accounts_refused(const struct mm_accounts *accounts, enum mm_refusal why);
