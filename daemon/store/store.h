/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store: production orders, batches, requests and devices, and the counters that bind them.
 *
 *     delivered <= recorded = spent <= quota, at every instant, whatever crashes.
 *
 * The interface is business verbs over the messages of proto/internal/store.proto; no caller sees
 * SQL. Behind it stands SQLite (sqlite*.c and one file for each family of verbs).
 *
 * Writing verbs run between mm_store_begin and mm_store_commit, any number of them; each is all or
 * nothing by itself, so that a refused one leaves the others of its group alone. Nothing has
 * happened before mm_store_commit returns MM_OK; then all of it is on disk. Reading verbs are
 * called outside a group, and so see committed state only.
 *
 * The messages that go in have passed mm_job_check. Those that come out are heap messages as
 * protobuf-c unpacks them, for protobuf_c_message_free_unpacked(…, NULL).
 *
 * Errors beside each verb's own: MM_ERR_UNAVAILABLE STORE_IO, MM_ERR_EXHAUSTED
 * STORE_FULL, MM_ERR_CORRUPT STORE_CORRUPT, with SQLite's extended result code in detail; and
 * MM_ERR_MEMORY. ei is never NULL here.
 */
#pragma once

#include "daemon/base/err.h"

#include "internal/store.pb-c.h"

struct mm_store;

/* Opens the database file, or makes it (mode 0600) when it is not there. The file is this process's
 * alone until mm_store_free. Refused, and left as they are: a file that others may read or write
 * (MM_ERR_PERMISSION), another program's or a newer version's database (MM_ERR_UNSUPPORTED), one
 * that another process has open (MM_ERR_UNAVAILABLE STORE_IN_USE), and one whose counters do not
 * add up or that is damaged in what can be checked at once (MM_ERR_CORRUPT). */
int mm_store_open(const char *path, struct mm_store **ret_store, struct mm_errinfo *ei) MM_MUST_USE;
/* Closes; a group that is not committed is undone. NULL is fine. */
void mm_store_free(struct mm_store *s);
MM_DEFINE_CLEANUP(struct mm_store *, mm_store_free)
#define MM_STORE_CLEANUP MM_CLEANUP(mm_store_free_p)

int mm_store_begin(struct mm_store *s, struct mm_errinfo *ei) MM_MUST_USE;
/* Ends the group. On failure nothing of it has happened, and each verb of it has failed with *ei,
 * also those that were refused: what they were judged by is undone too. */
int mm_store_commit(struct mm_store *s, struct mm_errinfo *ei) MM_MUST_USE;

/* Writing verbs. */

/* MM_ERR_EXISTS ORDER_EXISTS; MM_ERR_EXHAUSTED TOO_MANY_ORDERS over MM_LIVE_ORDERS_MAX. */
int mm_store_add_order(struct mm_store *s, const Mintmark__Internal__AddOrder *job,
                       Mintmark__V1__Order **ret_order, struct mm_errinfo *ei) MM_MUST_USE;

/* MM_ERR_NOT_FOUND UNKNOWN_ORDER; MM_ERR_INVALID when the order is another profile's;
 * MM_ERR_PRECONDITION ORDER_EXPIRED or ORDER_NOT_YET_VALID at opened_time_ms; MM_ERR_EXHAUSTED
 * QUOTA_EXHAUSTED when less than quantity is left, TOO_MANY_BATCHES over MM_OPEN_BATCHES_MAX;
 * MM_ERR_EXISTS BATCH_EXISTS. */
int mm_store_open_batch(struct mm_store *s, const Mintmark__Internal__OpenBatch *job,
                        Mintmark__V1__Batch **ret_batch, struct mm_errinfo *ei) MM_MUST_USE;

/* The transaction that everything rests on. MM_ERR_NOT_FOUND UNKNOWN_BATCH; MM_ERR_INVALID
 * REQUEST_ID_REUSED when the request came with other arguments; MM_ERR_PRECONDITION BATCH_RELEASED,
 * REQUEST_COMPLETE, ORDER_EXPIRED, ORDER_NOT_YET_VALID; MM_ERR_EXHAUSTED BATCH_FULL,
 * QUOTA_EXHAUSTED; MM_ERR_EXISTS DUPLICATE_HW_SERIAL, DUPLICATE_DEVICE. */
int mm_store_spend_and_record(struct mm_store *s, const Mintmark__Internal__SpendAndRecord *job,
                              Mintmark__Internal__Recorded **ret_recorded,
                              struct mm_errinfo *ei) MM_MUST_USE;

/* The same for keys that devices made (EnrollAndRecord says how); devices that are refused alone
 * are in the result. Errors as mm_store_spend_and_record, when any key is new; and MM_ERR_NOT_FOUND
 * UNKNOWN_BATCH, MM_ERR_INVALID REQUEST_ID_REUSED. */
int mm_store_enroll_and_record(struct mm_store *s, const Mintmark__Internal__EnrollAndRecord *job,
                               Mintmark__Internal__Enrolled **ret_enrolled,
                               struct mm_errinfo *ei) MM_MUST_USE;

/* MM_ERR_NOT_FOUND UNKNOWN_BATCH, UNKNOWN_DEVICE (also for another batch's); MM_ERR_PRECONDITION
 * BATCH_RELEASED, ALREADY_REPORTED. A repeated report of the same state changes nothing. */
int mm_store_report_devices(struct mm_store *s, const Mintmark__Internal__ReportDevices *job,
                            Mintmark__V1__BatchCounts **ret_counts,
                            struct mm_errinfo *ei) MM_MUST_USE;

/* MM_ERR_NOT_FOUND UNKNOWN_BATCH; MM_ERR_PRECONDITION BATCH_RELEASED. */
int mm_store_release_batch(struct mm_store *s, const Mintmark__Internal__ReleaseBatch *job,
                           Mintmark__V1__ProductionReport **ret_report,
                           struct mm_errinfo *ei) MM_MUST_USE;

/* Reading verbs. */

/* What the front begins with. */
int mm_store_ready(struct mm_store *s, Mintmark__Internal__StoreReady **ret_ready,
                   struct mm_errinfo *ei) MM_MUST_USE;

/* Newest first. MM_ERR_INVALID for a page token that is none of this listing's. */
int mm_store_list_orders(struct mm_store *s, const Mintmark__Internal__ListOrders *job,
                         Mintmark__Internal__Orders **ret_orders,
                         struct mm_errinfo *ei) MM_MUST_USE;
int mm_store_list_batches(struct mm_store *s, const Mintmark__Internal__ListBatches *job,
                          Mintmark__Internal__Batches **ret_batches,
                          struct mm_errinfo *ei) MM_MUST_USE;

/* MM_ERR_NOT_FOUND UNKNOWN_BATCH. */
int mm_store_get_batch(struct mm_store *s, const Mintmark__Internal__GetBatch *job,
                       Mintmark__V1__Batch **ret_batch, struct mm_errinfo *ei) MM_MUST_USE;

/* A request that is not known has 0 recorded. MM_ERR_INVALID REQUEST_ID_REUSED; with serials also
 * MM_ERR_NOT_FOUND UNKNOWN_BATCH and MM_ERR_EXISTS DUPLICATE_HW_SERIAL. */
int mm_store_find_request(struct mm_store *s, const Mintmark__Internal__FindRequest *job,
                          Mintmark__Internal__RequestFound **ret_found,
                          struct mm_errinfo *ei) MM_MUST_USE;

/* MM_ERR_NOT_FOUND UNKNOWN_REQUEST. */
int mm_store_fetch_request(struct mm_store *s, const Mintmark__Internal__FetchRequest *job,
                           Mintmark__Internal__Fetched **ret_fetched,
                           struct mm_errinfo *ei) MM_MUST_USE;

/* MM_ERR_NOT_FOUND UNKNOWN_DEVICE. */
int mm_store_get_device(struct mm_store *s, const Mintmark__Internal__GetDevice *job,
                        Mintmark__Internal__DeviceFound **ret_device,
                        struct mm_errinfo *ei) MM_MUST_USE;
