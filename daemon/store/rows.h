/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of orders, batches and requests, as the verbs share them. */
#pragma once

#include "daemon/document/order.h"
#include "daemon/store/sqlite.h"

struct mm_arena;
struct mm_document;

/* What spending needs to know. */
struct mm_order_row {
    int64_t row;
    int64_t profile; /* its row */
    char order_id[MM_NAME_MAX + 1];
    struct mm_order_terms terms;
    char stations[MM_ORDER_STATIONS_TEXT];
};

struct mm_batch_row {
    int64_t row;
    Mintmark__V1__BatchState state;
    uint64_t quantity;
    uint64_t issued;
    struct mm_order_row order;
};

/* Reads the columns of ORDER_ROW (sqlite_sql.c) from `column` on. */
struct mm_order_row mm_order_row_take(struct mm_sql *q, int column);
/* MM_ERR_NOT_FOUND UNKNOWN_ORDER. profile, for its profile's name, may be NULL. */
int mm_order_find(struct mm_store *s, const char *order_id, struct mm_order_row *ret_order,
                  char profile[MM_NAME_MAX + 1], struct mm_errinfo *ei) MM_MUST_USE;
/* As the API shows it. MM_ERR_NOT_FOUND UNKNOWN_ORDER. */
int mm_order_get(struct mm_store *s, const char *order_id, int64_t now_ms,
                 Mintmark__V1__Order **ret_order, struct mm_errinfo *ei) MM_MUST_USE;
/* Gives units back for ko devices that were just reported KO, as far as the order allows that,
 * within the verb under way. */
int mm_order_refund(struct mm_store *s, const struct mm_order_row *order, const char *batch_uid,
                    uint64_t ko, uint64_t *ret_refunded, struct mm_errinfo *ei) MM_MUST_USE;

/* Reads and verifies a signed document, and its signer against the site's OEM certificates. The
 * errors are those of mm_document_open and mm_document_check_signer. */
int mm_document_take(struct mm_store *s, const ProtobufCBinaryData *cms, int64_t now_ms,
                     struct mm_arena *arena, struct mm_document *ret_document,
                     struct mm_errinfo *ei) MM_MUST_USE;
/* It is for this appliance. MM_ERR_PRECONDITION ORDER_OTHER_APPLIANCE, NO_IDENTITY. */
int mm_document_check_appliance(struct mm_store *s, const ProtobufCBinaryData *appliance_sha256,
                                struct mm_errinfo *ei) MM_MUST_USE;
/* MM_ERR_INVALID DOCUMENT_KIND. */
int mm_document_fail_kind(const char *wanted, struct mm_errinfo *ei);

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

/* One more KO device of the batch for that reason, in the report at its release. */
int mm_failure_count(struct mm_store *s, int64_t batch, const char *reason,
                     struct mm_errinfo *ei) MM_MUST_USE;

struct mm_request_row {
    int64_t row;
    int64_t batch; /* its row */
    uint64_t count;
    uint64_t recorded;
    uint64_t waiting, parked; /* for certificates from elsewhere */
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

/* MM_ERR_PRECONDITION KEYS_DELETED. */
int mm_keys_fail_deleted(struct mm_errinfo *ei);

/* mm_store_spend_and_record inside another verb, or its own. */
int mm_spend(struct mm_store *s, const Mintmark__Internal__SpendAndRecord *job,
             Mintmark__V1__SpendKind kind, Mintmark__Internal__Recorded *ret_recorded,
             struct mm_errinfo *ei) MM_MUST_USE;
