/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoints: the ledger at one of its records, signed by the appliance's audit key. */
#pragma once

#include "daemon/base/buf.h"
#include "daemon/store/ledger.h"

/* A walk that begins at the last checkpoint, or, over the whole ledger, at the last baseline; at
 * the first record when there is none. MM_ERR_CORRUPT CHECKPOINT_BAD. */
int mm_checkpoint_begin_walk(struct mm_store *s, bool whole, struct mm_ledger_walk *walk,
                             struct mm_errinfo *ei) MM_MUST_USE;

/* A SignedDocument over the committed head, to be signed; on the heap. The order totals that it
 * binds wait in the guard for the signed one. */
int mm_checkpoint_pack(struct mm_store *s, ProtobufCBinaryData *ret_content,
                       struct mm_errinfo *ei) MM_MUST_USE;

/* Takes a signed one in, within a verb. MM_ERR_INVALID CHECKPOINT_BAD. */
int mm_checkpoint_add(struct mm_store *s, struct mm_bytes document,
                      struct mm_errinfo *ei) MM_MUST_USE;
