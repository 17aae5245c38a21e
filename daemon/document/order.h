/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rules of a production order, over plain values: may so many devices be made now, by this
 * station? The store asks in the transaction that spends, and the front before anything is made; so
 * both give the same answer.
 */
#pragma once

#include "daemon/base/err.h"
#include "daemon/base/limits.h"
#include "mintmark/v1/types.pb-c.h"

#include <stdbool.h>

/* What officers and the OEM have done to an order since it was imported. The numbers are in the
 * database. */
enum mm_order_hold {
    MM_ORDER_OPEN = 1,
    MM_ORDER_SUSPENDED = 2, /* until it is resumed */
    MM_ORDER_CLOSED = 3,    /* for good, by an officer */
    MM_ORDER_REVOKED = 4,   /* for good, by the OEM */
};

enum {
    MM_DAY_MS = 24 * 60 * 60 * 1000,
    MM_HOUR_MS = 60 * 60 * 1000,
    /* ",a,b," with as many names as there may be. */
    MM_ORDER_STATIONS_TEXT = MM_ORDER_STATIONS_MAX * (MM_NAME_MAX + 1) + 2,
};

/* An order's terms and counters. A limit of 0 is none. */
struct mm_order_terms {
    enum mm_order_hold hold;
    uint64_t quantity;
    uint64_t used;     /* never above quantity */
    uint64_t refunded; /* units given back for KO devices: used + refunded devices were made */
    int64_t not_before_ms, not_after_ms;
    int64_t added_ms;
    uint64_t per_batch_max;
    uint64_t per_day_max;
    int64_t day; /* since 1970, UTC: the last on which devices were made */
    uint64_t day_used;
    uint64_t unreported_max;
    uint64_t reported;   /* devices of which the OEM has reports */
    int64_t reported_ms; /* when the OEM last said so; 0: never */
    uint32_t report_hours;
    uint64_t replacements_max;
};

/* stations is ",a,b,", or "" for all.
 * May n devices be made now, as far as anything but their number goes, and that? With n = 0 only
 * the former. MM_ERR_PRECONDITION ORDER_REVOKED, ORDER_CLOSED, ORDER_SUSPENDED,
 * ORDER_NOT_YET_VALID, ORDER_EXPIRED, ORDER_REPORT_DUE; MM_ERR_PERMISSION ORDER_STATION;
 * MM_ERR_EXHAUSTED ORDER_DAY_LIMIT, QUOTA_EXHAUSTED. */
int mm_order_check(const struct mm_order_terms *t, const char *stations, const char *station,
                   uint64_t n, int64_t now_ms, struct mm_errinfo *ei) MM_MUST_USE;

/* Are n units left? MM_ERR_EXHAUSTED QUOTA_EXHAUSTED. */
int mm_order_check_quota(const struct mm_order_terms *t, uint64_t n,
                         struct mm_errinfo *ei) MM_MUST_USE;

/* May a batch have that quantity? MM_ERR_EXHAUSTED ORDER_BATCH_LIMIT. */
int mm_order_check_batch(const struct mm_order_terms *t, uint64_t quantity,
                         struct mm_errinfo *ei) MM_MUST_USE;

/* The UTC day that spending at now_ms counts for: never one before the last, so that a clock that
 * went back opens no new day. */
int64_t mm_order_day(const struct mm_order_terms *t, int64_t now_ms);
/* Devices made on that day. */
uint64_t mm_order_day_used(const struct mm_order_terms *t, int64_t day);

/* n devices more are made at now_ms. */
void mm_order_count_day(struct mm_order_terms *t, uint64_t n, int64_t now_ms);

/* As the API shows it. */
Mintmark__V1__OrderState mm_order_state(const struct mm_order_terms *t, int64_t now_ms);

/* Out of the message that the store gives the front, but for the stations. Its state must be the
 * store's. */
void mm_order_terms_take(struct mm_order_terms *t, const Mintmark__V1__Order *order);
/* ",a,b," of the names; false when they don't fit. */
bool mm_order_stations_join(char *const *names, size_t n, char text[MM_ORDER_STATIONS_TEXT]);

/* How many batches one of so many stations may have open: an equal part of MM_OPEN_BATCHES_MAX,
 * with one part spare for what stations hold that the configuration no longer names. At least 1
 * with MM_CLIENTS_MAX of them. */
uint32_t mm_order_open_share(size_t stations);
/* May the station, which has so many open, open another? MM_ERR_EXHAUSTED TOO_MANY_OWN_BATCHES,
 * with advice when to come back. */
int mm_order_check_open(const char *station, uint64_t open, uint32_t share,
                        struct mm_errinfo *ei) MM_MUST_USE;
