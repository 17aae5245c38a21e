/* SPDX-License-Identifier: Apache-2.0 */
/* A guarded store that has the key of proofs, and a look at what it vouches for. */
#pragma once

#include "daemon/ipc/seal.h"
#include "tests/unit/guard_support.h"

static struct mm_secret *key;
static uint8_t audit_key[MM_SEAL_SIGNER];

/* The store itself is not started yet. */
static inline void setup_key(void)
{
    struct mm_errinfo ei;

    setup();
    ck_assert_int_eq(mm_secret_new(MM_HANDED_KEY, &key), MM_OK);
    memset(mm_secret_data(key), 9, MM_HANDED_KEY);
    ck_assert_int_eq(mm_document_key_hash(audit.certificate, audit_key, &ei), MM_OK);
}

static inline void use_key(void)
{
    mm_store_set_seal(f.store, key);
}

static inline void teardown_key(void)
{
    teardown();
    mm_secret_free(key);
}

static inline void proven(enum mm_seal_use use, const ProtobufCBinaryData *data,
                          const ProtobufCBinaryData *proof)
{
    const struct mm_bytes part = {data->data, data->len};
    const struct mm_sealed what = {.use = use,
                                   .signer = use == MM_SEAL_ANCHOR ? NULL : audit_key,
                                   .parts = &part,
                                   .n_parts = 1};
    struct mm_errinfo ei;

    ck_assert_uint_gt(data->len, 0);
    ck_assert_msg(mm_seal_check(key, &what, (struct mm_bytes){proof->data, proof->len}, &ei) ==
                      MM_OK,
                  "%s", ei.text);
}
