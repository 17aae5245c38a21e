/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/store/vouch.h"

#include "daemon/store/audit_key.h"
#include "daemon/store/sqlite.h"

#include <stdlib.h>

void mm_store_set_seal(struct mm_store *s, struct mm_secret *key)
{
    s->seal = key;
}

int mm_store_vouch(const struct mm_store *s, const struct mm_sealed *what,
                   ProtobufCBinaryData *ret_proof, struct mm_errinfo *ei)
{
    uint8_t *proof;
    int r;

    if (!s->seal)
        return MM_OK;
    proof = malloc(MM_SEAL_BYTES);
    if (!proof)
        return mm_fail_memory(ei);
    r = mm_seal_make(s->seal, what, proof, ei);
    if (r < 0) {
        free(proof);
        return r;
    }
    *ret_proof = (ProtobufCBinaryData){MM_SEAL_BYTES, proof};
    return MM_OK;
}

int mm_store_vouch_audit(const struct mm_store *s, enum mm_seal_use use, struct mm_bytes part,
                         ProtobufCBinaryData *ret_proof, struct mm_errinfo *ei)
{
    const struct mm_sealed what = {
        .use = use, .signer = s->guard.keys->key, .parts = &part, .n_parts = 1};

    return mm_store_vouch(s, &what, ret_proof, ei);
}

int mm_store_vouch_guard(const struct mm_store *s, Mintmark__Internal__Guard *m,
                         struct mm_errinfo *ei)
{
    const struct mm_bytes anchor = {m->anchor.data, m->anchor.len};
    const struct mm_bytes checkpoint = {m->checkpoint.data, m->checkpoint.len};
    const struct mm_sealed what = {.use = MM_SEAL_ANCHOR, .parts = &anchor, .n_parts = 1};
    int r = mm_store_vouch(s, &what, &m->anchor_proof, ei);

    if (r == MM_OK && checkpoint.len > 0)
        r = mm_store_vouch_audit(s, MM_SEAL_DOCUMENT, checkpoint, &m->checkpoint_proof, ei);
    return r;
}
