/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whose signatures count: those of the OEM on orders, receipts and revocations, those of officers
 * on an unlock. The store has their certificates from the launcher, at its start and when a reload
 * has read others; no other process can hand it any (daemon/ipc/trusted.h).
 */
#pragma once

#include "daemon/document/document.h"
#include "daemon/store/store.h"

/* What the store trusts, and by which line it came. */
struct mm_store_trusted {
    struct mm_trust *oem;      /* NULL: nobody */
    struct mm_trust *officers; /* likewise */
    struct mm_asker *line;
};

/* Takes the set in force, which the launcher gives each store at its start, from this descriptor,
 * which is borrowed. Logs each certificate. MM_ERR_INVALID TRUST_INVALID. */
int mm_store_trust(struct mm_store *s, int fd, struct mm_errinfo *ei) MM_MUST_USE;
void mm_store_trust_nobody(struct mm_store *s);
