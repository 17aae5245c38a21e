/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/front/account.h"

#include <stdlib.h>
#include <string.h>

#define HASH_NONFATAL_OOM         1
#define HASH_FUNCTION             HASH_FNV /* the default falls through its cases */
#define uthash_nonfatal_oom(item) ((item)->hashed = false)
#include <uthash.h>

struct entry {
    struct mm_account account; /* first: one is cast to the other */
    UT_hash_handle hh;
    bool hashed;
};

struct mm_accounts {
    struct entry *all;
    struct mm_job_limits limits;
    unsigned running;
    uint64_t refused[MM_REFUSALS];
};

int mm_accounts_new(struct mm_accounts **ret_accounts)
{
    struct mm_accounts *accounts = calloc(1, sizeof(*accounts));

    if (!accounts)
        return MM_ERR_MEMORY;
    *ret_accounts = accounts;
    return MM_OK;
}

void mm_accounts_free(struct mm_accounts *accounts)
{
    struct entry *e, *next;

    if (!accounts)
        return;
    HASH_ITER(hh, accounts->all, e, next)
    {
        HASH_DEL(accounts->all, e);
        free(e);
    }
    free(accounts);
}

void mm_accounts_limit(struct mm_accounts *accounts, const struct mm_job_limits *limits)
{
    accounts->limits = *limits;
}

const struct mm_job_limits *mm_accounts_limits(const struct mm_accounts *accounts)
{
    return &accounts->limits;
}

struct mm_account *mm_account_get(struct mm_accounts *accounts, const char *client)
{
    struct entry *e;

    HASH_FIND_STR(accounts->all, client, e);
    if (e)
        return &e->account;
    e = calloc(1, sizeof(*e));
    if (!e)
        return NULL;
    memcpy(e->account.name, client, strnlen(client, MM_NAME_MAX));
    e->hashed = true;
    HASH_ADD_STR(accounts->all, account.name, e);
    if (!e->hashed) {
        free(e);
        return NULL;
    }
    return &e->account;
}

void mm_accounts_each(const struct mm_accounts *accounts,
                      void (*each)(void *arg, const struct mm_account *account), void *arg)
{
    for (const struct entry *e = accounts->all; e; e = e->hh.next)
        each(arg, &e->account);
}

static bool is_below(unsigned n, unsigned limit, bool bulk)
{
    return limit == 0 || n < (bulk ? limit - limit / 4 : limit);
}

bool mm_account_has_room(const struct mm_accounts *accounts, const struct mm_account *account,
                         bool bulk)
{
    return is_below(account->running, accounts->limits.client_running, bulk);
}

bool mm_accounts_have_room(const struct mm_accounts *accounts, bool bulk)
{
    return is_below(accounts->running, accounts->limits.running, bulk);
}

unsigned mm_accounts_running(const struct mm_accounts *accounts)
{
    return accounts->running;
}

void mm_account_begin(struct mm_accounts *accounts, struct mm_account *account)
{
    account->running++;
    accounts->running++;
}

void mm_account_end(struct mm_accounts *accounts, struct mm_account *account)
{
    account->running--;
    accounts->running--;
}

void mm_accounts_refuse(struct mm_accounts *accounts, enum mm_refusal why)
{
    accounts->refused[why]++;
}

uint64_t mm_accounts_refused(const struct mm_accounts *accounts, enum mm_refusal why)
{
    return accounts->refused[why];
}
