/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/base/clock.h"
#include "daemon/base/limits.h"
#include "daemon/base/log.h"
#include "daemon/front/pool_internal.h"
#include "proto/grpc/unpack.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A worker does one job after the other (an issuer does not, and nobody asks for the times of its
 * jobs): this one's time began when the last one's ended. */
static void take_job(struct mm_pool_worker *w, struct mm_job *job, bool ok)
{
    const struct mm_pool *p = w->pool;
    const int64_t now_us = mm_clock_mono_us();

    TAILQ_REMOVE(&w->jobs, job, link);
    w->n_jobs--;
    job->took_us = now_us - (job->submitted_us > w->ended_us ? job->submitted_us : w->ended_us);
    w->ended_us = now_us;
    if (p->ops->ended)
        p->ops->ended(p->arg, w->pool, job, ok);
}

static void count(struct mm_pool_worker *w, const struct mm_job *job, bool ok)
{
    struct mm_pool_stats *stats = w->pool->stats;

    if (job == &w->probe)
        return;
    w->jobs_done += ok;
    w->jobs_failed += !ok;
    stats->jobs_done += ok;
    stats->jobs_failed += !ok;
}

void mm_pool_fail_jobs(struct mm_pool_worker *w)
{
    struct mm_errinfo ei;
    struct mm_job *job;

    mm_fail(&ei, MM_ERR_UNAVAILABLE, w->pool->kind->away, "%s: %s", w->name,
            w->ei.text[0] ? w->ei.text : "ended");
    ei.retry_ms = 1000;
    while ((job = TAILQ_FIRST(&w->jobs))) {
        take_job(w, job, false);
        count(w, job, false);
        job->done(job, NULL, &ei);
    }
}

static void finish(struct mm_pool_worker *w, struct mm_job *job, const ProtobufCMessage *result,
                   const Mintmark__Internal__Error *error)
{
    const bool ok = !error || error->code == MM_OK;
    struct mm_errinfo ei;

    take_job(w, job, ok);
    count(w, job, ok);
    mm_pool_worker_clock(w);
    if (job != &w->probe)
        mm_histogram_add(&w->pool->stats->latency, mm_clock_mono_us() - job->submitted_us);
    if (!ok)
        mm_channel_error_from(error, &ei);
    job->done(job, ok ? result : NULL, ok ? NULL : &ei);
}

void mm_pool_distrust(struct mm_pool *p, const struct mm_errinfo *why)
{
    p->stats->distrusted++;
    mm_log(MM_LOG_ERROR, "token_distrusted", MM_STR("section", p->section),
           MM_STR("reason", why->reason), MM_STR("text", why->text),
           MM_STR("hint", "out of service until it proves itself again"));
    p->ending = true;
    for (unsigned i = 0; i < p->n_workers; i++) {
        if (p->workers[i].life == MM_LIFE_STARTING || p->workers[i].life == MM_LIFE_READY ||
            p->workers[i].life == MM_LIFE_LEAVING)
            mm_pool_worker_end(&p->workers[i], why);
    }
    p->ending = false;
}

/* The job's own failure is told when no worker is left that would take it again. */
static void distrust(struct mm_pool_worker *w, struct mm_job *job,
                     const Mintmark__Internal__Error *error)
{
    struct mm_errinfo ei;

    mm_channel_error_from(error, &ei);
    take_job(w, job, false);
    count(w, job, false);
    if (w->pool->ops->distrusted)
        w->pool->ops->distrusted(w->pool->arg, w->pool, &ei);
    else
        mm_pool_distrust(w->pool, &ei);
    job->done(job, NULL, &ei);
}

static struct mm_job *find_job(struct mm_pool_worker *w, uint64_t id)
{
    struct mm_job *job;

    TAILQ_FOREACH(job, &w->jobs, link) {
        if (job->id == id)
            return job;
    }
    return NULL;
}

/* Field 1 of every result is its id: peeked at, since where to unpack depends on the job. Proto3
 * leaves an id of 0 out. */
static bool peek_id(struct mm_bytes payload, uint64_t *ret_id)
{
    uint64_t id = 0;
    size_t i;

    *ret_id = 0;
    if (payload.len == 0 || payload.data[0] != (1 << 3 | PROTOBUF_C_WIRE_TYPE_VARINT))
        return true;
    for (i = 1; i < payload.len && i <= 9; i++) {
        id |= (uint64_t)(payload.data[i] & 0x7f) << (7 * (i - 1));
        if (!(payload.data[i] & 0x80)) {
            *ret_id = id;
            return true;
        }
    }
    return false;
}

static void nonsense(struct mm_pool_worker *w, const char *what)
{
    struct mm_errinfo ei;

    mm_fail(&ei, MM_ERR_CORRUPT, "CHANNEL_FRAME", "the worker sent %s", what);
    mm_pool_worker_end(w, &ei);
}

/* What a result is an answer to: a job, or (*ret_job NULL) the start, or the end of a worker that
 * serves. False: to nothing. */
static bool find_cause(struct mm_pool_worker *w, struct mm_bytes payload, uint64_t *ret_id,
                       struct mm_job **ret_job)
{
    *ret_job = NULL;
    if (!peek_id(payload, ret_id))
        return false;
    if (*ret_id == 0)
        return w->life == MM_LIFE_STARTING || w->life == MM_LIFE_READY ||
               w->life == MM_LIFE_LEAVING;
    *ret_job = find_job(w, *ret_id);
    return *ret_job != NULL;
}

static void started(struct mm_pool_worker *w, const ProtobufCMessage *result,
                    const Mintmark__Internal__Error *error)
{
    const struct mm_pool_ops *ops = w->pool->ops;
    struct mm_errinfo ei;

    if (error && error->code != MM_OK) {
        mm_channel_error_from(error, &ei);
        mm_pool_worker_refused(w, &ei);
    } else if (w->life != MM_LIFE_STARTING) {
        nonsense(w, "that it is ready, again");
    } else if (ops->check && ops->check(w->pool->arg, w->pool, result, &ei) < 0) {
        mm_pool_worker_end(w, &ei);
    } else {
        mm_pool_worker_ready(w, result);
    }
}

void mm_pool_answer(struct mm_pool_worker *w, struct mm_bytes payload)
{
    struct mm_pool *p = w->pool;
    const Mintmark__Internal__Error *error = NULL;
    struct mm_errinfo ei = {0};
    ProtobufCMessage *result;
    struct mm_job *job;
    uint64_t id;

    if (!find_cause(w, payload, &id, &job)) {
        nonsense(w, "a result that nobody asked for");
        return;
    }
    if (mm_grpc_unpack(p->kind->result, payload.data, payload.len,
                       job && job->arena ? job->arena : &p->scratch, &result, &ei) < 0)
        nonsense(w, ei.text);
    else if (p->kind->read(result, &error) != id)
        nonsense(w, "a result with two ids");
    else if (job && error && p->kind->distrusted && p->kind->distrusted(result))
        distrust(w, job, error);
    else if (job)
        finish(w, job, result, error);
    else
        started(w, result, error);
    mm_arena_reset(&p->scratch);
    p->ops->changed(p->arg, p);
}

unsigned mm_pool_depth(const struct mm_pool *p)
{
    enum { MANY_WORKERS = 8 };

    if (p->jobs_per_worker > 0)
        return p->jobs_per_worker;
    return mm_pool_workers(p) < MANY_WORKERS ? 2 : 1;
}

static bool has_room(const struct mm_pool_worker *w, unsigned depth)
{
    return w->life == MM_LIFE_READY && !w->pool->ending && w->n_jobs < depth;
}

/* The least busy worker with room; `avoid` only when there is no other. */
static struct mm_pool_worker *choose(struct mm_pool *p, const struct mm_pool_worker *avoid)
{
    const unsigned depth = mm_pool_depth(p);
    struct mm_pool_worker *best = NULL;

    for (unsigned i = 0; i < p->n_workers; i++) {
        struct mm_pool_worker *w = &p->workers[i];

        if (has_room(w, depth) &&
            (!best || best == avoid || (w != avoid && w->n_jobs < best->n_jobs)))
            best = w;
    }
    return best;
}

static int give(struct mm_pool_worker *w, struct mm_job *job, ProtobufCMessage *message,
                int64_t deadline_us)
{
    int r;

    job->id = ++w->pool->next_id;
    job->worker = w;
    job->submitted_us = mm_clock_mono_us();
    w->pool->kind->stamp(message, job->id, deadline_us == INT64_MAX ? 0 : deadline_us);
    r = mm_link_send(w->link, message);
    if (r < 0)
        return r;
    TAILQ_INSERT_TAIL(&w->jobs, job, link);
    if (w->n_jobs++ == 0)
        mm_pool_worker_clock(w);
    return MM_OK;
}

int mm_pool_submit(struct mm_pool *p, struct mm_job *job, ProtobufCMessage *message,
                   int64_t deadline_us, const struct mm_pool_worker *avoid, struct mm_errinfo *ei)
{
    struct mm_pool_worker *w = choose(p, avoid);
    int r;

    if (!w && mm_pool_ready(p) == 0) {
        r = mm_fail(ei, MM_ERR_UNAVAILABLE, p->kind->away, "no worker is ready%s%s",
                    p->why.text[0] ? ": " : "", p->why.text);
        if (ei)
            ei->retry_ms = 1000;
        return r;
    }
    if (!w)
        return MM_ERR_AGAIN;
    r = give(w, job, message, deadline_us);
    if (r < 0 && r != MM_ERR_AGAIN)
        return mm_fail(ei, r, "JOB_NOT_SENT", "cannot send a job to %s: %s", w->name,
                       mm_err_name(r));
    return r;
}

/* A worker that is not well says so and ends, or takes too long: the pool sees to both. */
static void on_probed(MM_UNUSED struct mm_job *job, MM_UNUSED const ProtobufCMessage *result,
                      MM_UNUSED const struct mm_errinfo *ei)
{
}

void mm_pool_probe(struct mm_pool_worker *w)
{
    w->probe = (struct mm_job){.done = on_probed};
    if (give(w, &w->probe, w->pool->kind->probe(), INT64_MAX) < 0)
        mm_pool_worker_clock(w);
}

void mm_pool_account(struct mm_job *job, uint64_t token_cpu_us, uint64_t sampled_devices)
{
    job->worker->token_cpu_us += token_cpu_us;
    job->worker->sampled_devices += sampled_devices;
    job->worker->pool->stats->token_cpu_us += token_cpu_us;
    job->worker->pool->stats->sampled_devices += sampled_devices;
}

unsigned mm_pool_workers(const struct mm_pool *p)
{
    unsigned n = 0;

    for (unsigned i = 0; i < p->n_workers; i++)
        n += !p->workers[i].retired;
    return n;
}

unsigned mm_pool_ready(const struct mm_pool *p)
{
    unsigned n = 0;

    for (unsigned i = 0; i < p->n_workers; i++)
        n += p->workers[i].life == MM_LIFE_READY;
    return n;
}

bool mm_pool_room(const struct mm_pool *p)
{
    const unsigned depth = mm_pool_depth(p);

    for (unsigned i = 0; i < p->n_workers; i++) {
        if (has_room(&p->workers[i], depth))
            return true;
    }
    return false;
}

const struct mm_errinfo *mm_pool_why(const struct mm_pool *p)
{
    return &p->why;
}

/* A probe is no work that anybody has asked for. */
static bool has_work(const struct mm_pool_worker *w)
{
    return w->n_jobs > 1 || (w->n_jobs == 1 && TAILQ_FIRST(&w->jobs) != &w->probe);
}

static void describe(const struct mm_pool_worker *w, struct mm_pool_worker_info *ret_info)
{
    *ret_info = (struct mm_pool_worker_info){
        .name = w->name,
        .state = MM_WORKER_DOWN,
        .pid = w->process.pid,
        .restarts = w->restarts,
        .jobs_done = w->jobs_done,
        .jobs_failed = w->jobs_failed,
        .last_error = w->ei.text,
        .token_cpu_us = w->token_cpu_us,
        .sampled_devices = w->sampled_devices,
    };
    if (w->life == MM_LIFE_STARTING)
        ret_info->state = MM_WORKER_STARTING;
    else if (has_work(w))
        ret_info->state = MM_WORKER_BUSY;
    else if (w->life == MM_LIFE_READY || w->life == MM_LIFE_LEAVING)
        ret_info->state = MM_WORKER_READY;
}

void mm_pool_each(const struct mm_pool *p,
                  void (*each)(void *arg, const struct mm_pool_worker_info *info), void *arg)
{
    struct mm_pool_worker_info info;

    for (unsigned i = 0; i < p->n_workers; i++) {
        if (p->workers[i].life == MM_LIFE_GONE)
            continue;
        describe(&p->workers[i], &info);
        each(arg, &info);
    }
}

static void destroy(struct mm_pool *p)
{
    mm_arena_done(&p->scratch);
    free(p->name);
    free(p->section);
    free(p->conf_path);
    free(p->conf_text);
    free(p);
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct mm_pool_worker *w = handle->data;

    if (--w->pool->n_open == 0)
        destroy(w->pool);
}

void mm_pool_free(struct mm_pool *p)
{
    if (!p)
        return;
    for (unsigned i = 0; i < p->n_workers; i++) {
        struct mm_pool_worker *w = &p->workers[i];

        mm_link_close(MM_TAKE(w->link));
        mm_pool_fail_jobs(w);
        uv_close((uv_handle_t *)&w->timer, on_timer_closed);
    }
}

void mm_pool_check_empty(struct mm_pool *p)
{
    for (unsigned i = 0; i < p->n_workers; i++) {
        if (p->workers[i].life != MM_LIFE_GONE)
            return;
    }
    if (p->empty)
        return;
    p->empty = true;
    p->ops->empty(p->arg, p);
}

/* The worker that is missed least: down, then idle, then the least busy. */
static struct mm_pool_worker *least_missed(struct mm_pool *p)
{
    struct mm_pool_worker *best = NULL;

    for (unsigned i = 0; i < p->n_workers; i++) {
        struct mm_pool_worker *w = &p->workers[i];

        if (w->retired)
            continue;
        if (!best || (best->life == MM_LIFE_READY && w->life != MM_LIFE_READY) ||
            (best->life == w->life && w->n_jobs < best->n_jobs))
            best = w;
    }
    return best;
}

static void add_worker(struct mm_pool *p)
{
    const unsigned i = p->n_workers++;
    struct mm_pool_worker *w = &p->workers[i];

    w->pool = p;
    w->due = true;
    TAILQ_INIT(&w->jobs);
    if (p->single)
        snprintf(w->name, sizeof(w->name), "%s", p->name);
    else
        snprintf(w->name, sizeof(w->name), "%s.%u", p->name, i);
    uv_timer_init(p->loop, &w->timer);
    w->timer.data = w;
    p->n_open++;
}

void mm_pool_grow(struct mm_pool *p, unsigned workers)
{
    while (p->n_workers < workers && p->n_workers < p->workers_max)
        add_worker(p);
    mm_pool_start_due(p);
}

void mm_pool_retire(struct mm_pool *p, unsigned n)
{
    struct mm_pool_worker *w;

    while (n-- > 0 && (w = least_missed(p)))
        mm_pool_worker_leave(w);
    mm_pool_check_empty(p);
}

void mm_pool_restart(struct mm_pool *p, const struct mm_errinfo *ei)
{
    for (unsigned i = 0; i < p->n_workers; i++) {
        if (p->workers[i].life == MM_LIFE_READY || p->workers[i].life == MM_LIFE_STARTING)
            mm_pool_worker_end(&p->workers[i], ei);
    }
}

void mm_pool_kill(struct mm_pool *p)
{
    struct mm_errinfo ei;

    mm_fail(&ei, MM_ERR_UNAVAILABLE, p->kind->away, "the service is stopping");
    for (unsigned i = 0; i < p->n_workers; i++) {
        p->workers[i].retired = true;
        mm_pool_worker_end(&p->workers[i], &ei);
    }
    mm_pool_check_empty(p);
}

static int copy_options(struct mm_pool *p, const struct mm_pool_options *o)
{
    p->name = strdup(o->name);
    p->section = strdup(o->section);
    p->conf_path = strdup(o->conf_path);
    p->conf_text = malloc(o->conf_text.len + 1);
    if (!p->name || !p->section || !p->conf_path || !p->conf_text)
        return MM_ERR_MEMORY;
    memcpy(p->conf_text, o->conf_text.data, o->conf_text.len);
    p->conf_len = o->conf_text.len;
    return MM_OK;
}

int mm_pool_set_conf(struct mm_pool *p, struct mm_bytes conf_text)
{
    uint8_t *copy = malloc(conf_text.len + 1);

    if (!copy)
        return MM_ERR_MEMORY;
    memcpy(copy, conf_text.data, conf_text.len);
    free(p->conf_text);
    p->conf_text = copy;
    p->conf_len = conf_text.len;
    return MM_OK;
}

int mm_pool_new(uv_loop_t *loop, struct mm_launcher *launcher, const struct mm_pool_options *o,
                struct mm_pool **ret_pool, struct mm_errinfo *ei)
{
    const unsigned most = o->workers_max > o->workers ? o->workers_max : o->workers;
    struct mm_pool *p = calloc(1, sizeof(*p) + most * sizeof(p->workers[0]));

    if (!p)
        return mm_fail_memory(ei);
    *p = (struct mm_pool){
        .loop = loop,
        .launcher = launcher,
        .kind = o->kind,
        .stats = o->stats,
        .ops = o->ops,
        .arg = o->arg,
        .jobs_per_worker = o->jobs_per_worker,
        .job_timeout_ms = o->job_timeout_ms,
        .probe_ms = o->kind->probe ? o->probe_ms : 0,
        .scratch = MM_ARENA_INIT,
        .single = o->single,
        .workers_max = most,
    };
    if (copy_options(p, o) < 0) {
        destroy(p);
        return mm_fail_memory(ei);
    }
    while (p->n_workers < o->workers)
        add_worker(p);
    mm_pool_worker_wake(&p->workers[0]);
    *ret_pool = p;
    return MM_OK;
}
