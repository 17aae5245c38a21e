/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the pool: pool.c has the jobs, pool_worker.c the life of one worker. */
#pragma once

#include "daemon/base/limits.h"
#include "daemon/front/link.h"
#include "daemon/front/pool.h"

enum mm_worker_life {
    MM_LIFE_DOWN,     /* no process; the timer says when to try again, unless it is due */
    MM_LIFE_STARTING, /* process started, its first message is awaited */
    MM_LIFE_READY,
    MM_LIFE_LEAVING, /* takes no more jobs; ends when it has none */
    MM_LIFE_BARRED,  /* its PIN was refused: it waits for another, and ends then */
    MM_LIFE_ENDING,  /* broken or killed: its end is awaited */
    MM_LIFE_GONE,    /* left for good */
};

struct mm_pool_worker {
    struct mm_pool *pool;
    char name[MM_NAME_MAX + 24];
    enum mm_worker_life life;
    bool retired;      /* whatever it is doing, it is not started again */
    bool due;          /* DOWN, and waits only for its turn */
    bool overdue;      /* its time is over; what it may have said is read first */
    bool start_failed; /* its last life ended before it was ready */
    struct mm_process process;
    struct mm_link *link;
    uv_timer_t timer;
    TAILQ_HEAD(, mm_job) jobs; /* given to it and not answered, oldest first */
    unsigned n_jobs;
    struct mm_job probe;  /* counted nowhere */
    unsigned backoff_ms;  /* of the last restart; 0: healthy since */
    int64_t ready_at_us;  /* of this life; 0: it was not ready yet */
    int64_t ended_us;     /* when it answered last */
    struct mm_errinfo ei; /* the last thing that went wrong */
    uint32_t restarts;
    uint64_t jobs_done, jobs_failed;
    uint64_t token_cpu_us, sampled_devices;
};

struct mm_pool {
    uv_loop_t *loop;
    struct mm_launcher *launcher;
    const struct mm_pool_kind *kind;
    struct mm_pool_stats *stats;
    const struct mm_pool_ops *ops;
    void *arg;
    char *name;
    bool single; /* the worker's name has no number */
    char *section;
    char *conf_path;
    uint8_t *conf_text;
    size_t conf_len;
    unsigned jobs_per_worker;
    unsigned job_timeout_ms, probe_ms;
    uint64_t next_id;
    struct mm_arena scratch; /* for results that nobody keeps */
    bool halted;             /* the PIN was refused */
    bool ending;             /* all workers are being ended: none has room */
    bool empty;              /* ops->empty has been called */
    struct mm_errinfo why;   /* the last failure of any worker */
    unsigned n_workers, workers_max;
    unsigned n_open; /* timers not closed yet */
    struct mm_pool_worker workers[];
};

/* Starts the next worker that is due, if none is starting. */
void mm_pool_start_due(struct mm_pool *p);
/* Has a worker that is down started when the loop comes round. */
void mm_pool_worker_wake(struct mm_pool_worker *w);
/* Lets the worker go when it has done its jobs. */
void mm_pool_worker_leave(struct mm_pool_worker *w);
/* Ends the worker's process now, for this reason; its jobs fail. */
void mm_pool_worker_end(struct mm_pool_worker *w, const struct mm_errinfo *ei);
/* The worker has said why it cannot start, or go on; it ends by itself, or waits for a PIN. */
void mm_pool_worker_refused(struct mm_pool_worker *w, const struct mm_errinfo *ei);
/* The worker's time for its oldest job begins; when it has none, the time until it is probed. */
void mm_pool_worker_clock(struct mm_pool_worker *w);
/* A result has come in whole (pool.c). */
void mm_pool_answer(struct mm_pool_worker *w, struct mm_bytes payload);
/* Asks a worker without work whether all is well (pool.c). */
void mm_pool_probe(struct mm_pool_worker *w);
/* Fails all jobs of the worker (pool.c). */
void mm_pool_fail_jobs(struct mm_pool_worker *w);
void mm_pool_worker_ready(struct mm_pool_worker *w, const ProtobufCMessage *result);
/* Tells the owner that the last worker is gone, once. */
void mm_pool_check_empty(struct mm_pool *p);
