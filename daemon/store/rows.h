/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of orders, batches and requests, as the verbs share them. */
#pragma once

#include "daemon/store/sqlite.h"

/* What spending needs to know. */
struct mm_order_row {
    int64_t row;
    int64_t profile; /* its row */
    uint64_t quantity;
    uint64_t used;
    int64_t not_before_ms;
    int64_t not_after_ms;
};

struct mm_batch_row {
    int64_t row;
    Mintmark__V1__BatchState state;
    uint64_t quantity;
    uint64_t issued;
    struct mm_order_row order;
    char order_id[MM_NAME_MAX + 1];
};

/* Reads the columns from `column` on: row, profile, quantity, used, not_before_ms, not_after_ms. */
struct mm_order_row mm_order_row_take(struct mm_sql *q, int column);
/* MM_ERR_PRECONDITION ORDER_EXPIRED or ORDER_NOT_YET_VALID. */
int mm_order_check_time(const struct mm_order_row *order, int64_t now_ms,
                        struct mm_errinfo *ei) MM_MUST_USE;
/* The error for an order that has fewer than n left: MM_ERR_EXHAUSTED QUOTA_EXHAUSTED. */
int mm_order_fail_quota(const struct mm_order_row *order, uint64_t n, struct mm_errinfo *ei);

/* MM_ERR_NOT_FOUND UNKNOWN_BATCH. */
int mm_batch_find(struct mm_store *s, const char *batch_uid, struct mm_batch_row *ret_batch,
                  struct mm_errinfo *ei) MM_MUST_USE;
/* MM_ERR_PRECONDITION BATCH_RELEASED. */
int mm_batch_check_open(const struct mm_batch_row *batch, const char *batch_uid,
                        struct mm_errinfo *ei) MM_MUST_USE;

/* As the API shows it. MM_ERR_NOT_FOUND UNKNOWN_BATCH. */
int mm_batch_get(struct mm_store *s, const char *batch_uid, Mintmark__V1__Batch **ret_batch,
                 struct mm_errinfo *ei) MM_MUST_USE;

/* counts of a row that holds issued, ok, ko from `column` on. */
int mm_counts_take(struct mm_sql *q, int column, Mintmark__V1__BatchCounts **ret_counts,
                   struct mm_errinfo *ei) MM_MUST_USE;

/* Appends the row that q stands on to a message's array. */
int mm_order_append(struct mm_sql *q, int64_t now_ms, size_t *n, Mintmark__V1__Order ***orders,
                    struct mm_errinfo *ei) MM_MUST_USE;
int mm_batch_append(struct mm_sql *q, size_t *n, Mintmark__V1__Batch ***batches,
                    struct mm_errinfo *ei) MM_MUST_USE;

struct mm_request_row {
    int64_t row;
    int64_t batch; /* its row */
    uint64_t count;
    uint64_t recorded;
};

/* 1 and the row, or 0 when the request is not known. With a digest, which is 32 bytes:
 * MM_ERR_INVALID REQUEST_ID_REUSED when the request came with another. */
int mm_request_find(struct mm_store *s, const char *station, const char *request_id,
                    const ProtobufCBinaryData *digest, struct mm_request_row *ret_request,
                    struct mm_errinfo *ei) MM_MUST_USE;
int mm_request_fail_reused(const char *request_id, struct mm_errinfo *ei);

/* 1 and the request (its row) whose device has the serial in that profile and is not KO, or 0. */
int mm_hw_serial_find(struct mm_store *s, int64_t profile, const char *hw_serial,
                      int64_t *ret_request, struct mm_errinfo *ei) MM_MUST_USE;
/* MM_ERR_EXISTS DUPLICATE_HW_SERIAL. */
int mm_hw_serial_fail(const char *hw_serial, struct mm_errinfo *ei);

/* mm_store_spend_and_record inside another verb, or its own. */
int mm_spend(struct mm_store *s, const Mintmark__Internal__SpendAndRecord *job,
             Mintmark__V1__SpendKind kind, Mintmark__Internal__Recorded *ret_recorded,
             struct mm_errinfo *ei) MM_MUST_USE;
