/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/front/store_queue.h"

#include "daemon/front/cost.h"

#include <stddef.h>
#include <stdlib.h>

enum {
    WINDOW = 32, /* jobs from the queue that the worker may have: enough to share a commit */
    /* Jobs that a cost goes by: many, since those that share a commit end together, and the first
     * of them is taken for the one that took the time. */
    MEMORY = 1024,
    UNIT_BYTES = 256,
};

struct mm_store_queue {
    struct mm_accounts *accounts;
    struct mm_pool *(*store)(void *arg);
    void *arg;
    struct mm_sched sched;
    struct mm_cost cost;
    unsigned given;   /* jobs from the queue that the worker has */
    unsigned waiting; /* jobs in the queue */
    uint64_t units;   /* of all that is in the queue or with the worker */
};

int mm_store_queue_new(struct mm_accounts *accounts, struct mm_pool *(*store)(void *arg), void *arg,
                       struct mm_store_queue **ret_queue)
{
    struct mm_store_queue *q = calloc(1, sizeof(*q));

    if (!q)
        return MM_ERR_MEMORY;
    q->accounts = accounts;
    q->store = store;
    q->arg = arg;
    mm_sched_init(&q->sched, accounts);
    *ret_queue = q;
    return MM_OK;
}

void mm_store_queue_free(struct mm_store_queue *q)
{
    if (!q)
        return;
    mm_sched_done(&q->sched);
    free(q);
}

uint32_t mm_store_units(const Mintmark__Internal__StoreJob *message)
{
    return 1 + (uint32_t)(protobuf_c_message_get_packed_size(&message->base) / UNIT_BYTES);
}

unsigned mm_store_queue_waiting(const struct mm_store_queue *q)
{
    return q->waiting;
}

uint64_t mm_store_queue_wait_us(const struct mm_store_queue *q)
{
    return mm_cost_us(&q->cost, q->units);
}

/* ---- to the worker ----------------------------------------------------------------------- */

static int give(struct mm_store_queue *q, struct mm_job *job, Mintmark__Internal__StoreJob *message,
                int64_t deadline_us, struct mm_errinfo *ei)
{
    struct mm_pool *store = q->store(q->arg);
    int r;

    if (!store)
        return mm_fail(ei, MM_ERR_UNAVAILABLE, "STORE_UNAVAILABLE", "the store is away");
    r = mm_pool_submit(store, job, &message->base, deadline_us, NULL, ei);
    if (r != MM_ERR_AGAIN)
        return r;
    mm_fail(ei, MM_ERR_UNAVAILABLE, "STORE_BUSY", "the store has too much to do");
    ei->retry_ms = 1000;
    return ei->code;
}

static void charge(struct mm_store_queue *q, struct mm_store_job *job)
{
    mm_sched_charge(&q->sched, &job->flow, mm_cost_us(&q->cost, job->job.units), &job->job.charge);
    q->given++;
}

int mm_store_submit_at_once(struct mm_store_queue *q, struct mm_job *job,
                            Mintmark__Internal__StoreJob *message, struct mm_account *account,
                            uint32_t units, int64_t deadline_us, struct mm_errinfo *ei)
{
    int r = give(q, job, message, deadline_us, ei);

    if (r < 0)
        return r;
    job->account = account;
    job->units = units;
    q->units += units;
    mm_account_begin(q->accounts, account);
    return MM_OK;
}

void mm_store_queue_ended(struct mm_store_queue *q, struct mm_job *job, bool ok)
{
    if (!job->account) /* the ledger's own: nobody pays, and its time says nothing of others */
        return;
    q->units -= job->units;
    if (ok)
        mm_cost_learn(&q->cost, job->units, job->took_us, MEMORY);
    if (job->charge.station) {
        q->given--;
        mm_sched_settle(&q->sched, &job->charge, job->charge.expected_us);
    } else {
        mm_account_end(q->accounts, job->account);
    }
}

/* ---- the queue --------------------------------------------------------------------------- */

static void leave(struct mm_store_queue *q, struct mm_store_job *job)
{
    mm_sched_remove(&q->sched, &job->flow);
    job->job.account->waiting--;
    q->waiting--;
    free(job->packed);
    job->packed = NULL;
}

static void fail(struct mm_store_queue *q, struct mm_store_job *job, const struct mm_errinfo *ei)
{
    leave(q, job);
    q->units -= job->job.units;
    job->job.done(&job->job, NULL, ei);
}

static struct mm_store_job *job_of(struct mm_flow *flow)
{
    return (struct mm_store_job *)((char *)flow - offsetof(struct mm_store_job, flow));
}

/* The next of the line goes to the worker. */
static void give_next(struct mm_store_queue *q, struct mm_store_job *job)
{
    Mintmark__Internal__StoreJob *message =
        mintmark__internal__store_job__unpack(NULL, job->len, job->packed);
    struct mm_errinfo ei = {0};
    int r = message ? give(q, &job->job, message, job->deadline_us, &ei) : mm_fail_memory(&ei);

    if (message)
        mintmark__internal__store_job__free_unpacked(message, NULL);
    if (r < 0) {
        fail(q, job, &ei);
        return;
    }
    charge(q, job);
    leave(q, job);
}

void mm_store_queue_kick(struct mm_store_queue *q)
{
    struct mm_flow *next;

    while (q->given < WINDOW && (next = mm_sched_next(&q->sched)))
        give_next(q, job_of(next));
}

static struct mm_store_job *any(struct mm_store_queue *q)
{
    struct mm_flow *flow = mm_sched_any(&q->sched);

    return flow ? job_of(flow) : NULL;
}

void mm_store_queue_fail(struct mm_store_queue *q, const struct mm_errinfo *ei)
{
    struct mm_store_job *job;

    while ((job = any(q)))
        fail(q, job, ei);
}

static int wait(struct mm_store_queue *q, struct mm_store_job *job,
                const Mintmark__Internal__StoreJob *message, struct mm_errinfo *ei)
{
    job->len = protobuf_c_message_get_packed_size(&message->base);
    job->packed = malloc(job->len + 1);
    if (!job->packed) {
        mm_sched_remove(&q->sched, &job->flow);
        return mm_fail_memory(ei);
    }
    protobuf_c_message_pack(&message->base, job->packed);
    job->job.account->waiting++;
    q->waiting++;
    return MM_OK;
}

/* While there is room for this client's job, what waits is kept by limits of other clients. */
static bool may_pass(const struct mm_store_queue *q, const struct mm_account *account, bool bulk)
{
    return q->given < WINDOW && account->waiting == 0 &&
           mm_account_has_room(q->accounts, account, bulk) &&
           mm_accounts_have_room(q->accounts, bulk);
}

int mm_store_submit(struct mm_store_queue *q, struct mm_store_job *job,
                    Mintmark__Internal__StoreJob *message, struct mm_account *account,
                    enum mm_sched_class class, uint32_t units, int64_t deadline_us,
                    struct mm_errinfo *ei)
{
    const bool pass = may_pass(q, account, class == MM_SCHED_BULK);
    int r;

    job->job.account = account;
    job->job.units = units;
    job->deadline_us = deadline_us;
    if (mm_sched_add(&q->sched, &job->flow, account, class) < 0)
        return mm_fail_memory(ei);
    r = pass ? give(q, &job->job, message, deadline_us, ei) : wait(q, job, message, ei);
    if (r == MM_OK)
        q->units += units;
    if (r == MM_OK && pass)
        charge(q, job);
    if (r < 0 || pass)
        mm_sched_remove(&q->sched, &job->flow);
    return r;
}

bool mm_store_cancel(struct mm_store_queue *q, struct mm_store_job *job)
{
    if (!job->packed)
        return false;
    leave(q, job);
    q->units -= job->job.units;
    return true;
}
