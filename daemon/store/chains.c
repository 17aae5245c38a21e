/* SPDX-License-Identifier: Apache-2.0 */
/* Found by its hash, which the front computes once for a profile: one look-up for a chunk. */
#include "daemon/store/chains.h"

#include "daemon/store/message.h"
#include "proto/grpc/unpack.h"

#include <openssl/evp.h>
#include <string.h>

static int find(struct mm_store *s, const ProtobufCBinaryData *sha256, int64_t *ret_row,
                struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_CHAIN_FIND);
    int r;

    mm_sql_bind_blob(&q, sha256->data, sha256->len);
    r = mm_sql_step(&q, ei);
    if (r == 1)
        *ret_row = mm_sql_int(&q, 0);
    return r;
}

static int fail_chain(struct mm_errinfo *ei)
{
    return mm_fail_field(ei, "chain", "chain is not a list of certificates");
}

int mm_chain_unpack(struct mm_bytes data, Mintmark__Internal__Chain **ret_chain,
                    struct mm_errinfo *ei)
{
    MM_MESSAGE_CLEANUP Mintmark__Internal__Chain *chain = NULL;
    struct mm_errinfo why;

    if (data.len == 0 ||
        mm_grpc_scan(&mintmark__internal__chain__descriptor, data.data, data.len, NULL, &why) < 0)
        return fail_chain(ei);
    chain = mintmark__internal__chain__unpack(NULL, data.len, data.data);
    if (!chain)
        return mm_fail_memory(ei);
    if (chain->n_certificates == 0 || chain->sha256.len > 0)
        return fail_chain(ei);
    *ret_chain = MM_TAKE(chain);
    return MM_OK;
}

/* Only what is new is looked at: it is given out again for as long as there are devices of it. */
static int check(const ProtobufCBinaryData *chain, const ProtobufCBinaryData *sha256,
                 struct mm_errinfo *ei)
{
    MM_MESSAGE_CLEANUP Mintmark__Internal__Chain *unpacked = NULL;
    uint8_t hash[MM_SHA256_BYTES];
    const int r = mm_chain_unpack((struct mm_bytes){chain->data, chain->len}, &unpacked, ei);

    if (r < 0)
        return r;
    if (EVP_Digest(chain->data, chain->len, hash, NULL, EVP_sha256(), NULL) != 1)
        return mm_fail_memory(ei);
    if (sha256->len != sizeof(hash) || memcmp(hash, sha256->data, sizeof(hash)) != 0)
        return mm_fail_field(ei, "chain_sha256", "chain_sha256 is not the hash of chain");
    return MM_OK;
}

static int add(struct mm_store *s, const ProtobufCBinaryData *chain,
               const ProtobufCBinaryData *sha256, int64_t *ret_row, struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_CHAIN_ADD);
    int r = check(chain, sha256, ei);

    if (r < 0)
        return r;
    mm_sql_bind_blob(&q, sha256->data, sha256->len);
    mm_sql_bind_blob(&q, chain->data, chain->len);
    r = mm_sql_run(&q, ei);
    if (r == MM_OK)
        *ret_row = sqlite3_last_insert_rowid(s->db);
    return r;
}

int mm_chain_record(struct mm_store *s, const ProtobufCBinaryData *chain,
                    const ProtobufCBinaryData *sha256, int64_t *ret_row, struct mm_errinfo *ei)
{
    int r;

    if (chain->len == 0) {
        *ret_row = 0;
        return MM_OK;
    }
    r = find(s, sha256, ret_row, ei);
    if (r == 0)
        r = add(s, chain, sha256, ret_row, ei);
    return r < 0 ? r : MM_OK;
}

static int read_chain(struct mm_sql *q, Mintmark__Internal__Chain **ret_chain,
                      struct mm_errinfo *ei)
{
    MM_MESSAGE_CLEANUP Mintmark__Internal__Chain *chain = NULL;
    int r = mm_chain_unpack(mm_sql_blob(q, 1), &chain, ei);

    if (r == MM_ERR_MEMORY)
        return r;
    if (r < 0)
        return mm_fail(ei, MM_ERR_CORRUPT, "STORE_CORRUPT", "a recorded chain is none");
    chain->sha256 = mm_sql_dup_blob(q, 0);
    r = mm_sql_end(q, ei);
    if (r == MM_OK)
        *ret_chain = MM_TAKE(chain);
    return r;
}

int mm_chain_get(struct mm_store *s, int64_t row, Mintmark__Internal__Chain **ret_chain,
                 struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_CHAIN_GET);
    int r;

    *ret_chain = NULL;
    if (row == 0)
        return MM_OK;
    mm_sql_bind_int(&q, row);
    r = mm_sql_step(&q, ei);
    if (r == 0)
        return mm_fail(ei, MM_ERR_CORRUPT, "STORE_CORRUPT", "a device's chain is not recorded");
    return r < 0 ? r : read_chain(&q, ret_chain, ei);
}

void mm_chain_bind(struct mm_sql *q, int64_t row)
{
    if (row)
        mm_sql_bind_int(q, row);
    else
        mm_sql_bind_blob_or_null(q, NULL, 0);
}

int64_t mm_chain_column(struct mm_sql *q, int column)
{
    return mm_sql_is_null(q, column) ? 0 : mm_sql_int(q, column);
}
