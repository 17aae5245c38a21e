/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keys that tokens have made for this site, so that none is taken twice, whichever worker made
 * it and however long ago. Docs: docs/adr/0021-no-key-twice.md, with the figures.
 *
 * On disk the first 8 bytes of each key's hash, one row for the devices that were recorded together
 * (table key_log): it grows at its end. In memory a Bloom filter of them, in segments of 2^20 keys;
 * who is in none of these is new for certain. Who seems to be in one is looked for in that
 * segment's rows. So a known key is always found; that a new one is taken for known needs two keys
 * whose hashes have their first 64 bits in common.
 */
#pragma once

#include "daemon/store/store.h"

struct mm_minted;

/* Reads what the database has. */
int mm_minted_open(struct mm_store *s, struct mm_errinfo *ei) MM_MUST_USE;
void mm_minted_close(struct mm_store *s);

/* Remembers the keys of the devices, within the verb under way. MM_ERR_CORRUPT TOKEN_KEY_REPEATED
 * when one of them was there already, or is among them twice. */
int mm_minted_add(struct mm_store *s, const Mintmark__Internal__SpendAndRecord *job,
                  struct mm_errinfo *ei) MM_MUST_USE;
