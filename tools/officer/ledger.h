/* SPDX-License-Identifier: Apache-2.0 */
/* The ledger's status, as `status` and the `ledger` commands show it. */
#pragma once

#include "mintmark/v1/officer.pb-c.h"
#include "tools/officer/output.h"

/* NULL without memory; l may be NULL: an older service. */
json_t *mm_ledger_describe(const Mintmark__V1__LedgerStatus *l);
void mm_ledger_print(const json_t *ledger);
