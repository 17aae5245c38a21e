/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The line before the store. Its worker takes jobs as they come, so what it has been given stands
 * before everything that comes later: it is given only some of what stations ask, and the rest
 * waits here, in a fair queue over clients, small jobs first. What officers and the like ask, and
 * what records devices, goes to the worker at once.
 *
 * Jobs whose callers have gone are dropped before the worker gets them.
 */
#pragma once

#include "daemon/front/pool.h"
#include "internal/store.pb-c.h"

struct mm_store_queue;

/* A job for the store; embedded in what it is for, which lives until its done has been called. Zero
 * it, and set job.done. */
struct mm_store_job {
    struct mm_job job;
    struct mm_flow flow; /* in the queue */
    int64_t deadline_us;
    uint8_t *packed; /* the message, while it waits; NULL: it does not */
    size_t len;
};

/* store says which pool is the store's, NULL while it is away. */
int mm_store_queue_new(struct mm_accounts *accounts, struct mm_pool *(*store)(void *arg), void *arg,
                       struct mm_store_queue **ret_queue) MM_MUST_USE;
/* Nothing waits in it any more. */
void mm_store_queue_free(struct mm_store_queue *q);

/* How much a job is, by the size of its message: about the rows that it tells of. */
uint32_t mm_store_units(const Mintmark__Internal__StoreJob *message);

/* Gives a client's job to the worker, or has it wait. The message is packed during the call; units
 * say how much it is, in rows or so; deadline_us is absolute, INT64_MAX for none. Once this has
 * returned MM_OK, done is called, later, exactly once, unless the job is cancelled.
 * MM_ERR_UNAVAILABLE STORE_UNAVAILABLE, STORE_BUSY; MM_ERR_MEMORY. */
int mm_store_submit(struct mm_store_queue *q, struct mm_store_job *job,
                    Mintmark__Internal__StoreJob *message, struct mm_account *account,
                    enum mm_sched_class class, uint32_t units, int64_t deadline_us,
                    struct mm_errinfo *ei) MM_MUST_USE;
/* True: it waited, and is forgotten; done is not called. False: the worker has it. */
bool mm_store_cancel(struct mm_store_queue *q, struct mm_store_job *job);

/* The same, to the worker at once, whatever waits. */
int mm_store_submit_at_once(struct mm_store_queue *q, struct mm_job *job,
                            Mintmark__Internal__StoreJob *message, struct mm_account *account,
                            uint32_t units, int64_t deadline_us, struct mm_errinfo *ei) MM_MUST_USE;

/* Gives out what there is room for. */
void mm_store_queue_kick(struct mm_store_queue *q);
/* The store is away: all that waits fails. */
void mm_store_queue_fail(struct mm_store_queue *q, const struct mm_errinfo *ei);
/* The pool's ended, to be handed on. */
void mm_store_queue_ended(struct mm_store_queue *q, struct mm_job *job, bool ok);

unsigned mm_store_queue_waiting(const struct mm_store_queue *q);
/* Until all that is here and with the worker would be done. */
uint64_t mm_store_queue_wait_us(const struct mm_store_queue *q);
