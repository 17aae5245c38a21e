/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the store: the proofs that it made what it gives out to be signed (daemon/ipc/seal.h). */
#pragma once

#include "daemon/ipc/seal.h"
#include "internal/store.pb-c.h"

struct mm_store;

/* *ret_proof is on the heap, for a message; it stays as it is when the store has no key. */
int mm_store_vouch(const struct mm_store *s, const struct mm_sealed *what,
                   ProtobufCBinaryData *ret_proof, struct mm_errinfo *ei) MM_MUST_USE;
/* The same for one part, to be signed by the audit key in force. */
int mm_store_vouch_audit(const struct mm_store *s, enum mm_seal_use use, struct mm_bytes part,
                         ProtobufCBinaryData *ret_proof, struct mm_errinfo *ei) MM_MUST_USE;
/* The anchor and the checkpoint of a PrepareAnchor's answer. */
int mm_store_vouch_guard(const struct mm_store *s, Mintmark__Internal__Guard *m,
                         struct mm_errinfo *ei) MM_MUST_USE;
