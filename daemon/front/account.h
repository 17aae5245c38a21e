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
    unsigned running;  /* jobs that workers have now */
    uint64_t jobs;     /* jobs that token workers have ended */
    uint64_t token_us; /* time that token workers took for them */
    uint64_t refused;  /* calls refused for what this client, or all of them, had too much of */
};

int mm_accounts_new(struct mm_accounts **ret_accounts) MM_MUST_USE;
/* Nobody points to an account any more. */
void mm_accounts_free(struct mm_accounts *accounts);

/* Jobs that one client, and all of them, may have running. 0: no limit, as at first. */
void mm_accounts_limit(struct mm_accounts *accounts, unsigned per_client, unsigned total);

/* The client's account, made when it comes for the first time. NULL: out of memory. */
struct mm_account *mm_account_get(struct mm_accounts *accounts, const char *client);
/* In the order in which they came. */
void mm_accounts_each(const struct mm_accounts *accounts,
                      void (*each)(void *arg, const struct mm_account *account), void *arg);

/* May this client, and may all of them, have one more job? */
bool mm_account_has_room(const struct mm_accounts *accounts, const struct mm_account *account);
bool mm_accounts_have_room(const struct mm_accounts *accounts);
unsigned mm_accounts_running(const struct mm_accounts *accounts);

/* A worker has got a job of the client; and has ended it, or was lost with it. */
void mm_account_begin(struct mm_accounts *accounts, struct mm_account *account);
void mm_account_end(struct mm_accounts *accounts, struct mm_account *account);
