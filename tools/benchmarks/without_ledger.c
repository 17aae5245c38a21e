/* SPDX-License-Identifier: Apache-2.0 */
/*
 * In place of the ledger's functions in the store that tools/bench compares with: the linker puts
 * these in by --wrap. This program is for the benchmark alone, and is never installed; the store
 * itself has no way to do without its ledger.
 */
#include "daemon/store/guard.h"

#include <string.h>

int __wrap_mm_ledger_append(struct mm_store *s, Mintmark__V1__LedgerRecord *record,
                            struct mm_errinfo *ei);
void __wrap_mm_ledger_digest_begin(struct mm_store *s);
void __wrap_mm_ledger_digest_add(struct mm_store *s, const void *data, size_t len);
void __wrap_mm_ledger_digest_add_short(struct mm_store *s, const void *data, size_t len);
int __wrap_mm_ledger_digest_end(struct mm_store *s, uint8_t ret_hash[MM_SHA256_BYTES],
                                struct mm_errinfo *ei);

int __wrap_mm_store_guard(struct mm_store *s, const struct mm_conf_appliance *conf,
                          struct mm_errinfo *ei);

/* Nothing to hold against an anchor. */
int __wrap_mm_store_guard(MM_UNUSED struct mm_store *s,
                          MM_UNUSED const struct mm_conf_appliance *conf,
                          MM_UNUSED struct mm_errinfo *ei)
{
    return MM_OK;
}

int __wrap_mm_ledger_append(MM_UNUSED struct mm_store *s,
                            MM_UNUSED Mintmark__V1__LedgerRecord *record,
                            MM_UNUSED struct mm_errinfo *ei)
{
    return MM_OK;
}

void __wrap_mm_ledger_digest_begin(MM_UNUSED struct mm_store *s)
{
}

void __wrap_mm_ledger_digest_add(MM_UNUSED struct mm_store *s, MM_UNUSED const void *data,
                                 MM_UNUSED size_t len)
{
}

void __wrap_mm_ledger_digest_add_short(MM_UNUSED struct mm_store *s, MM_UNUSED const void *data,
                                       MM_UNUSED size_t len)
{
}

int __wrap_mm_ledger_digest_end(MM_UNUSED struct mm_store *s, uint8_t ret_hash[MM_SHA256_BYTES],
                                MM_UNUSED struct mm_errinfo *ei)
{
    memset(ret_hash, 0, MM_SHA256_BYTES);
    return MM_OK;
}
