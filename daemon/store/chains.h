/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chains: the certificates that devices' own were issued under, each recorded once. A chain has a
 * row of its table; 0 stands for one that is not recorded: NULL in the database.
 */
#pragma once

#include "daemon/store/sqlite.h"

/* The chain's row, made if it is a new one, within the verb under way. chain is a serialised
 * mintmark.internal.Chain of certificates alone, sha256 the hash over it; both empty: row 0.
 * MM_ERR_INVALID: they are not that. */
int mm_chain_record(struct mm_store *s, const ProtobufCBinaryData *chain,
                    const ProtobufCBinaryData *sha256, int64_t *ret_row,
                    struct mm_errinfo *ei) MM_MUST_USE;

/* NULL for row 0. The caller's, to free with mm_message_free. */
int mm_chain_get(struct mm_store *s, int64_t row, Mintmark__Internal__Chain **ret_chain,
                 struct mm_errinfo *ei) MM_MUST_USE;

/* MM_ERR_INVALID: that is no list of certificates. The caller's, to free with mm_message_free. */
int mm_chain_unpack(struct mm_bytes data, Mintmark__Internal__Chain **ret_chain,
                    struct mm_errinfo *ei) MM_MUST_USE;

/* A row for a column that may be NULL, and such a column. */
void mm_chain_bind(struct mm_sql *q, int64_t row);
int64_t mm_chain_column(struct mm_sql *q, int column);
