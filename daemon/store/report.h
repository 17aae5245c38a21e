/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the store: what its files about reports share. */
#pragma once

#include "daemon/store/rows.h"

/* A released batch, and its places in the ledger. */
struct mm_released {
    struct mm_batch_row batch;
    uint64_t opened_sequence; /* 0: older than the ledger */
    uint64_t released_sequence;
};
/* MM_ERR_NOT_FOUND UNKNOWN_BATCH; MM_ERR_PRECONDITION BATCH_OPEN, REPORT_TOO_OLD. */
int mm_released_find(struct mm_store *s, const char *batch_uid, struct mm_released *ret_released,
                     struct mm_errinfo *ei) MM_MUST_USE;
/* Goes from the place's request to the batch's next one, before its first row. 0: there is none. */
int mm_report_next_request(struct mm_store *s, int64_t batch,
                           Mintmark__Internal__ReportPlace *place,
                           struct mm_errinfo *ei) MM_MUST_USE;
