/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pool: the worker processes of one kind and section, started, watched, killed and started again,
 * and the jobs that they are given. Everything on the loop; nothing blocks.
 *
 * A worker that dies, overruns its time or sends nonsense fails the jobs that it had, with
 * MM_ERR_UNAVAILABLE and the kind's reason, and is started again after 100 ms, doubling to 4 s,
 * with jitter; a minute of health starts that anew. The workers of a pool are started one at a
 * time: if the token refuses the PIN, it has been tried once. After MM_ERR_PIN or MM_EXIT_PIN no
 * worker of the pool is started again until one that was refused says that there is another PIN
 * (MM_EXIT_PIN_NEW); a new pool (SIGHUP) may try too. Workers that are logged in go on.
 */
#pragma once

#include "daemon/front/histogram.h"
#include "daemon/front/launcher.h"
#include "daemon/front/sched.h"
#include "internal/ipc.pb-c.h"
#include "proto/grpc/arena.h"

#include "daemon/base/buf.h"

#include <sys/queue.h>

struct mm_cost;
struct mm_job;
struct mm_pool;
struct mm_pool_worker;

/* What differs between token, store and issuer workers. */
struct mm_pool_kind {
    enum mm_program program;
    const ProtobufCMessageDescriptor *result;
    const char *away; /* "TOKEN_UNAVAILABLE": the reason of jobs that have no worker */
    void (*stamp)(ProtobufCMessage *job, uint64_t id, int64_t deadline_us);
    /* The job that a result answers, and its error if it has one. */
    uint64_t (*read)(const ProtobufCMessage *result, const Mintmark__Internal__Error **ret_error);
    /* Asks an idle worker whether all is well; an answer, or an error. NULL: there is no such job.
     */
    ProtobufCMessage *(*probe)(void);
    /* Does the result say that what the workers work with is not to be trusted? May be NULL. */
    bool (*distrusted)(const ProtobufCMessage *result);
};
extern const struct mm_pool_kind mm_pool_token;
extern const struct mm_pool_kind mm_pool_store;
extern const struct mm_pool_kind mm_pool_issuer;

/* What the workers of a kind have done, whatever has become of their pools since. */
struct mm_pool_stats {
    uint64_t restarts;
    uint64_t jobs_done, jobs_failed;
    uint64_t distrusted;                    /* mm_pool_distrust */
    uint64_t token_cpu_us, sampled_devices; /* as mm_pool_account */
    struct mm_histogram latency; /* of answered jobs, from their submission; waiting included */
};

struct mm_pool_ops {
    /* A worker would be ready; its first message says what it found. An error: it is ended, and
     * started again, as if it had said so itself. May be NULL. */
    int (*check)(void *arg, struct mm_pool *pool, const ProtobufCMessage *result,
                 struct mm_errinfo *ei);
    /* A worker is ready. */
    void (*ready)(void *arg, struct mm_pool *pool, const ProtobufCMessage *result);
    /* A worker has room for a job, or none is left that is ready: mm_pool_room and mm_pool_ready
     * tell. Jobs of a lost worker have been failed before. */
    void (*changed)(void *arg, struct mm_pool *pool);
    /* A job has left its worker, done or failed, and its own done is about to be called. May be
     * NULL. */
    void (*ended)(void *arg, struct mm_pool *pool, struct mm_job *job, bool ok);
    /* A worker says that what it works with is not to be trusted: mm_pool_distrust for this pool,
     * and for all others that work with the same. NULL: this pool alone. */
    void (*distrusted)(void *arg, struct mm_pool *pool, const struct mm_errinfo *why);
    /* The last worker of a retired pool is gone: free it. */
    void (*empty)(void *arg, struct mm_pool *pool);
};

struct mm_pool_options {
    const struct mm_pool_kind *kind;
    const char *name;    /* "token": the workers are token.0, token.1, …; copied */
    const char *section; /* of the configuration; copied */
    bool single;         /* one worker, and its name has no number */
    unsigned workers;
    unsigned workers_max;     /* that mm_pool_grow may come to; 0: as workers */
    unsigned jobs_per_worker; /* 0: as mm_pool_depth says */
    unsigned job_timeout_ms;
    /* A worker without work is asked about so often, by the kind's probe, whether it could do some;
     * 0: never. */
    unsigned probe_ms;
    const char *conf_path; /* the configuration as the workers shall read it; copied */
    struct mm_bytes conf_text;
    struct mm_pool_stats *stats; /* to be counted in; lives until the last worker is gone */
    const struct mm_pool_ops *ops;
    void *arg;
};

/* Makes the pool and has its first worker started when the loop comes round. */
int mm_pool_new(uv_loop_t *loop, struct mm_launcher *launcher,
                const struct mm_pool_options *options, struct mm_pool **ret_pool,
                struct mm_errinfo *ei) MM_MUST_USE;

/* The configuration that workers are given which are started from now on. */
int mm_pool_set_conf(struct mm_pool *p, struct mm_bytes conf_text) MM_MUST_USE;
/* So many workers from now on, workers_max at the most; never fewer than it has. */
void mm_pool_grow(struct mm_pool *p, unsigned workers);
/* No new jobs for n more of its workers (the least busy; UINT_MAX: all of them, and none is started
 * again); each ends when it has done what it has. empty follows when none is left. */
void mm_pool_retire(struct mm_pool *p, unsigned n);
/* Ends the workers that run, for this reason; they are started again, as after any failure. */
void mm_pool_restart(struct mm_pool *p, const struct mm_errinfo *ei);
/* Ends all workers at once; jobs that run fail. empty follows. */
void mm_pool_kill(struct mm_pool *p);
/* What the workers work with is not to be trusted, for this reason: all end at once, and jobs that
 * run fail. They are started again as always, and prove it then before they are ready. */
void mm_pool_distrust(struct mm_pool *p, const struct mm_errinfo *why);
/* Only after empty, or once the launcher is lost. The memory goes with the close callbacks. */
void mm_pool_free(struct mm_pool *p);

unsigned mm_pool_workers(const struct mm_pool *p); /* that it shall have */
/* Jobs that a worker is given before its first answer. Of its own choice two, so that none waits
 * for an answer to travel; one from 8 workers on, of which one is free soon: a job that is given to
 * it waits for no other. */
unsigned mm_pool_depth(const struct mm_pool *p);
unsigned mm_pool_ready(const struct mm_pool *p); /* that are ready, those with work included */
bool mm_pool_room(const struct mm_pool *p);      /* a job would be taken now */
/* Why no worker is ready; MM_OK in code when none has failed yet. */
const struct mm_errinfo *mm_pool_why(const struct mm_pool *p);

/* A job that runs; embedded in what it is for, which lives until done has been called. */
struct mm_job {
    TAILQ_ENTRY(mm_job) link;
    struct mm_pool_worker *worker; /* who has it; valid in done too, to give to mm_pool_submit */
    uint64_t id;
    int64_t submitted_us;
    int64_t took_us; /* for ended and done: worker time, without waiting for its earlier jobs */
    /* What the owner of the pool keeps for ended; zero if it does not. */
    struct mm_account *account; /* who pays */
    struct mm_charge charge;
    struct mm_cost *cost;
    uint32_t units;         /* of that cost */
    struct mm_arena *arena; /* the result is unpacked into it; NULL: it lives during done only */
    /* One of the two is NULL. */
    void (*done)(struct mm_job *job, const ProtobufCMessage *result, const struct mm_errinfo *ei);
};

/* Gives a job to the least busy worker, another one than `avoid` if it can be (may be NULL, and is
 * never followed). The message is packed during the call; deadline_us is absolute, INT64_MAX for
 * none. Once this has returned MM_OK, done is called, later, exactly once. MM_ERR_UNAVAILABLE: no
 * worker is ready; MM_ERR_AGAIN: none has room. */
int mm_pool_submit(struct mm_pool *p, struct mm_job *job, ProtobufCMessage *message,
                   int64_t deadline_us, const struct mm_pool_worker *avoid,
                   struct mm_errinfo *ei) MM_MUST_USE;

/* Called in done: CPU time of the token that a job reported. */
void mm_pool_account(struct mm_job *job, uint64_t token_cpu_us, uint64_t sampled_devices);

/* For GetStatus. */
struct mm_pool_worker_info {
    const char *name;
    enum { MM_WORKER_DOWN, MM_WORKER_STARTING, MM_WORKER_READY, MM_WORKER_BUSY } state;
    int32_t pid;
    uint32_t restarts;
    uint64_t jobs_done, jobs_failed;
    const char *last_error;
    uint64_t token_cpu_us, sampled_devices;
};
void mm_pool_each(const struct mm_pool *p,
                  void (*each)(void *arg, const struct mm_pool_worker_info *info), void *arg);
