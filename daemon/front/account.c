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
    unsigned per_client, total; /* limits; 0: none */
    unsigned running;
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

void mm_accounts_limit(struct mm_accounts *accounts, unsigned per_client, unsigned total)
{
    accounts->per_client = per_client;
    accounts->total = total;
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

bool mm_account_has_room(const struct mm_accounts *accounts, const struct mm_account *account)
{
    return accounts->per_client == 0 || account->running < accounts->per_client;
}

bool mm_accounts_have_room(const struct mm_accounts *accounts)
{
    return accounts->total == 0 || accounts->running < accounts->total;
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
