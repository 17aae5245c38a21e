/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The front's cached view of live orders and open batches, so that most calls that must fail do so
 * before a token or a disk is bothered, and so that the calls in flight together don't plan more
 * than is left. It is never the authority: the store decides, in the transaction that spends.
 *
 * Pure bookkeeping: no I/O, no clock; times are handed in.
 */
#pragma once

#include "internal/store.pb-c.h"

#include "daemon/base/err.h"
#include "daemon/base/limits.h"
#include "daemon/document/order.h"

#include <stdbool.h>

struct mm_view;

int mm_view_new(struct mm_view **ret_view) MM_MUST_USE;
void mm_view_free(struct mm_view *v);

/* Replaces everything. On MM_ERR_MEMORY the view is empty. All reservations are forgotten: their
 * calls have been failed. */
int mm_view_load(struct mm_view *v, const Mintmark__Internal__StoreReady *ready) MM_MUST_USE;

/* A new or changed order; a new batch. Messages are copied. MM_ERR_MEMORY. */
int mm_view_put_order(struct mm_view *v, const Mintmark__V1__Order *order) MM_MUST_USE;
int mm_view_put_batch(struct mm_view *v, const Mintmark__V1__Batch *batch) MM_MUST_USE;
void mm_view_drop_batch(struct mm_view *v, const char *batch_uid);

/* What the view knows of an order; a plain value. */
struct mm_view_order {
    const char *order_id; /* borrowed until the view changes */
    const char *profile;
    const char *stations;
    struct mm_order_terms terms; /* as the store said last */
    uint64_t quantity, used;     /* of the terms */
    uint64_t left;               /* neither used nor reserved */
    uint64_t reserved;
};
/* False when it is not in the view. */
bool mm_view_find_order(const struct mm_view *v, const char *order_id,
                        struct mm_view_order *ret_order);
/* The order of the profile on which the station can make a device now, and that expires first.
 * MM_ERR_PRECONDITION NO_LIVE_ORDER, with the reason of one that cannot be used. */
int mm_view_live_order(const struct mm_view *v, const char *profile, const char *station,
                       int64_t now_ms, struct mm_view_order *ret_order,
                       struct mm_errinfo *ei) MM_MUST_USE;
/* As mm_order_check, with what is set aside counted as made. */
int mm_view_check_order(const struct mm_view_order *order, const char *station, uint64_t n,
                        int64_t now_ms, struct mm_errinfo *ei) MM_MUST_USE;

/* All orders, in the order in which the view came to know them. */
void mm_view_each_order(const struct mm_view *v,
                        void (*each)(void *arg, const struct mm_view_order *order), void *arg);
size_t mm_view_open_batches(const struct mm_view *v);
/* Those that the station opened. */
uint32_t mm_view_station_batches(const struct mm_view *v, const char *station);

/* The profile of an open batch, NULL when it is not in the view. Borrowed until the view changes.
 */
const char *mm_view_batch_profile(const struct mm_view *v, const char *batch_uid);

/* Devices set aside for a call: a plain value. Once the view has been loaded anew it means nothing
 * any more, and giving it back does nothing. */
struct mm_reservation {
    char batch_uid[MM_UID_LEN + 1];
    char order_id[MM_NAME_MAX + 1];
    uint64_t n; /* still set aside */
    uint64_t generation;
};

/* Sets n devices of the batch and its order aside. MM_ERR_NOT_FOUND UNKNOWN_BATCH when it is not in
 * the view; MM_ERR_EXHAUSTED BATCH_FULL; the errors of mm_order_check. */
int mm_view_reserve(struct mm_view *v, const char *batch_uid, const char *station, uint64_t n,
                    int64_t now_ms, struct mm_reservation *ret_reservation,
                    struct mm_errinfo *ei) MM_MUST_USE;
/* Gives n of them back (at most all): they will not be made. */
void mm_view_release(struct mm_view *v, struct mm_reservation *reservation, uint64_t n);
/* n of them have been recorded; these are the store's counters afterwards. */
void mm_view_recorded(struct mm_view *v, struct mm_reservation *reservation, uint64_t n,
                      const Mintmark__Internal__Recorded *recorded);

/* The next n running numbers of a profile; returns the first. They are never given twice while the
 * view lives; numbers of devices that were never recorded stay unused. MM_ERR_MEMORY. */
int mm_view_take_numbers(struct mm_view *v, const char *profile, uint64_t n,
                         uint64_t *ret_first) MM_MUST_USE;
