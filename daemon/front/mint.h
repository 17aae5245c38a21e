/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Minting, one struct mm_mint per token section: its workers, and the calls that wait for them in a
 * fair queue; and what the deliveries of the profiles share.
 *
 * A profile may have its keys made in several sections, whose tokens hold the same CA key. A call
 * for it stands in the queue of each: whichever worker has room takes the next piece of it, so the
 * work is spread by how fast the tokens are, and nothing goes to one that is away. What the
 * deliveries share must be the same with all: a worker that comes with something else than those of
 * a token that the profile names before is refused.
 *
 * On a reload a new pool of workers takes over from the old one, worker by worker; jobs that run
 * are finished where they are. When what a profile's deliveries share has changed (another chain,
 * another transport key), the old workers take no more jobs at once, and calls that began with the
 * old are failed when they next need a worker: no stream mixes the two.
 */
#pragma once

#include "daemon/base/limits.h"
#include "daemon/conf/conf.h"
#include "daemon/front/cost.h"
#include "daemon/front/pool.h"
#include "daemon/front/sched.h"
#include "internal/store.pb-c.h"

struct mm_mint;
struct mm_mints; /* all of a service */

enum { MM_CHAIN_SHA256 = 32 };

/* What the deliveries of one profile share: chain, key_wrap, items. Counted references. */
struct mm_shared {
    LIST_ENTRY(mm_shared) link;
    unsigned references;
    struct {
        struct mm_mint *mint; /* whose workers have said so: */
        bool in_force;        /* those of the configuration in force */
    } by[MM_TOKENS_MAX];
    unsigned n_by;
    char profile[MM_NAME_MAX + 1];
    uint8_t *bytes; /* a serialised mintmark.v1.Delivery without bundles */
    size_t len;
    Mintmark__Internal__RawDelivery *delivery; /* the same, to borrow from */
    /* Its chain as it is recorded with devices: SpendAndRecord.chain; empty when there is none. */
    uint8_t *chain;
    size_t chain_len;
    uint8_t chain_sha256[MM_CHAIN_SHA256];
};
void mm_shared_unref(struct mm_shared *s);

/* A call that wants jobs done; embedded in it, zero before its first use. */
struct mm_mint_flow {
    struct mm_flow flow;
    LIST_ENTRY(mm_mint_flow) link;
    struct mm_mint *mint;       /* NULL while it belongs to none */
    struct mm_account *account; /* who pays; known from the first mm_mint_want on */
    struct mm_cost *cost;       /* of its jobs' units, by mm_mint_cost; NULL: not known */
    /* Has it something to submit now? If not, it leaves the queue. */
    bool (*wants)(const struct mm_mint_flow *flow);
    /* Units that no worker has been given yet. NULL: one while it is in the queue
     * and wants it done. */
    uint64_t (*waiting)(const struct mm_mint_flow *flow);
    /* A worker of this pool has room: give it one job, by mm_mint_submit. Returns its units; 0 when
     * that failed, and then the flow has left the section, and may be gone. */
    unsigned (*plan)(struct mm_mint_flow *flow, struct mm_pool *pool);
    /* No worker has been ready for MM_MINT_GRACE_MS, or the section is no more: leave it, and fail
     * the call if it has no other. */
    void (*away)(struct mm_mint_flow *flow, const struct mm_errinfo *ei);
};
enum { MM_MINT_GRACE_MS = 3000 };

struct mm_mints_ops {
    /* May one more job be given out (is the store keeping up)? */
    bool (*may_plan)(void *arg);
    /* Readiness may have changed. */
    void (*changed)(void *arg);
    /* A section has found out how many workers it gets: mm_mints_capacity has changed. */
    void (*sized)(void *arg);
};

/* The accounts outlive it. */
int mm_mints_new(uv_loop_t *loop, struct mm_launcher *launcher, struct mm_accounts *accounts,
                 const struct mm_mints_ops *ops, void *arg, struct mm_mints **ret_mints,
                 struct mm_errinfo *ei) MM_MUST_USE;

/* Starts workers for every token section of the configuration, or replaces those that run; sections
 * that it has no more are given up. conf is borrowed until the next. On failure nothing has
 * changed. */
int mm_mints_configure(struct mm_mints *m, const struct mm_conf *conf, struct mm_bytes conf_text,
                       struct mm_errinfo *ei) MM_MUST_USE;

/* Stops all workers when they have done what they have, or at once; done follows when none is
 * left. */
void mm_mints_stop(struct mm_mints *m, bool at_once, void (*done)(void *arg), void *arg);
/* Only after done. */
void mm_mints_free(struct mm_mints *m);

/* By section; NULL if there is none. */
struct mm_mint *mm_mint_get(struct mm_mints *m, const char *section);
/* Workers that are ready, of one section or of all. */
unsigned mm_mint_ready(const struct mm_mint *mint);
unsigned mm_mints_ready(const struct mm_mints *m);
/* Grows whenever a section has its first ready worker, or none is left, and with each
 * configuration. */
uint64_t mm_mints_turns(const struct mm_mints *m);
/* Has one of the profile's sections a ready worker? */
bool mm_mints_profile_ready(const struct mm_mints *m, const struct mm_conf_profile *profile);
/* What the section's workers have done, whatever has become of them since. */
struct mm_mint_totals {
    uint64_t jobs, units; /* of those that ended well */
    uint64_t busy_us;     /* worker time of all */
};
const struct mm_mint_totals *mm_mint_totals(const struct mm_mint *mint);
/* The first section without a ready worker, and why; NULL when there is none. */
const char *mm_mints_away(const struct mm_mints *m, const struct mm_errinfo **ret_why);
void mm_mints_each_worker(const struct mm_mints *m,
                          void (*each)(void *arg, const struct mm_pool_worker_info *info),
                          void *arg);
/* Of all sections, those that are no more included. Borrowed. */
const struct mm_pool_stats *mm_mints_stats(const struct mm_mints *m);
/* Jobs that the ready workers of the section take at once. */
unsigned mm_mint_capacity(const struct mm_mint *mint);
/* MM_ERR_UNAVAILABLE TOKEN_UNAVAILABLE, with the reason why. */
int mm_mint_fail_away(const struct mm_mint *mint, struct mm_errinfo *ei);

/* What the profile's deliveries share now; a reference for the caller. NULL when no worker has been
 * ready since the service started. */
struct mm_shared *mm_mint_shared(struct mm_mint *mint, const char *profile);
/* Is it still what the profile's deliveries share? */
bool mm_mint_is_current(const struct mm_mint *mint, const struct mm_shared *shared);

/* What its token made is false: mm_pool_distrust for all its workers, those of an earlier
 * configuration and of other sections with the same token included. */
void mm_mint_distrust(struct mm_mint *mint, const struct mm_errinfo *why);

/* The flow joins a section, with nothing to do yet; and leaves it. */
void mm_mint_join(struct mm_mint *mint, struct mm_mint_flow *flow);
void mm_mint_leave(struct mm_mint_flow *flow);
/* The cost of a kind of job: of minting for a profile, by its name. Lives as long as the section.
 * NULL: out of memory. */
struct mm_cost *mm_mint_cost(struct mm_mint *mint, const char *kind);

/* May a call begin that wants so many units done by deadline_us (absolute; INT64_MAX: whenever)?
 * The flow has its cost, and has not joined. MM_ERR_EXHAUSTED STATION_BUSY, MM_ERR_UNAVAILABLE
 * SERVICE_BUSY: the client, or all of them, would have more queued than the limits allow; retry_ms
 * is when that is expected to be over. MM_ERR_TIMEOUT DEADLINE_TOO_SHORT: it would not be done in
 * time, as far as costs have been measured. */
int mm_mint_admit(struct mm_mint *mint, struct mm_mint_flow *flow, const char *station,
                  enum mm_sched_class class, uint64_t units, int64_t deadline_us,
                  struct mm_errinfo *ei) MM_MUST_USE;
/* The same for a call that is to be done in several sections, in each a share of it. */
struct mm_mint_share {
    struct mm_mint *mint;
    struct mm_mint_flow *flow;
    uint64_t units;
};
int mm_mint_admit_shares(const struct mm_mint_share *shares, size_t n, const char *station,
                         enum mm_sched_class class, int64_t deadline_us,
                         struct mm_errinfo *ei) MM_MUST_USE;
/* How fast the section is with jobs of that cost, to compare it with others: units a second of its
 * ready workers; while the cost is not known, as if a unit took a millisecond. */
uint64_t mm_mint_speed(const struct mm_mint *mint, const struct mm_cost *cost);
/* Could a job of so many units, begun now, be done by then? MM_ERR_TIMEOUT DEADLINE_TOO_SHORT. */
int mm_mint_check_deadline(const struct mm_mint_flow *flow, uint64_t units, int64_t deadline_us,
                           struct mm_errinfo *ei) MM_MUST_USE;
/* A time to wait as advice for clients: neither so short that it is none, nor over a minute. */
uint32_t mm_retry_ms(uint64_t us);
/* What a call that came now would wait in the queue of its class; what is queued there in jobs, of
 * one client or (NULL) of all. */
uint64_t mm_mint_wait_us(const struct mm_mint *mint, enum mm_sched_class class);
uint64_t mm_mint_queued(const struct mm_mint *mint, const struct mm_account *account,
                        enum mm_sched_class class);
/* The longest wait of all sections. */
uint64_t mm_mints_wait_us(const struct mm_mints *m, enum mm_sched_class class);
void mm_mints_each(const struct mm_mints *m,
                   void (*each)(void *arg, const struct mm_mint *mint, const char *section),
                   void *arg);
/* Jobs that the workers of all sections take at once, when all are there. */
unsigned mm_mints_capacity(const struct mm_mints *m);

/* The flow has something to do, or has not for now. MM_ERR_MEMORY. */
int mm_mint_want(struct mm_mint_flow *flow, const char *station,
                 enum mm_sched_class class) MM_MUST_USE;
void mm_mint_pause(struct mm_mint_flow *flow);
/* The worker time that a chunk of devices may take, in us: no job is interrupted, so whoever comes
 * waits until one ends. Less while small calls come and there are few workers. */
uint64_t mm_mint_chunk_us(const struct mm_mint *mint);
/* Workers of the section that take a job now, for one that is no flow's; NULL when there are none.
 */
struct mm_pool *mm_mint_pool_with_room(const struct mm_mint *mint);
/* In plan: as mm_pool_submit; the job, of so many units, is charged to the flow's station. */
int mm_mint_submit(struct mm_mint_flow *flow, struct mm_pool *pool, struct mm_job *job,
                   uint32_t units, ProtobufCMessage *message, int64_t deadline_us,
                   const struct mm_pool_worker *avoid, struct mm_errinfo *ei) MM_MUST_USE;
/* Gives jobs out while workers have room and flows want. */
void mm_mint_kick(struct mm_mint *mint);
void mm_mints_kick(struct mm_mints *m);
