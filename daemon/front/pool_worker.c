/* SPDX-License-Identifier: Apache-2.0 */
/* The life of one worker, as the front sees it. */
#include "daemon/base/clock.h"
#include "daemon/base/limits.h"
#include "daemon/front/pool_internal.h"
#include "daemon/ipc/worker.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    START_TIMEOUT_MS = 15000, /* a network HSM may take its time to log in */
    END_TIMEOUT_MS = 2000,    /* between a closed channel and the end of the process */
    LEAVE_TIMEOUT_MS = 10000, /* the same when it was asked to go */
    BACKOFF_MIN_MS = 100,
    BACKOFF_MAX_MS = 4000, /* a token that comes back works within seconds */
    HEALTHY_US = 60 * 1000 * 1000,
};

static void on_timer(uv_timer_t *timer);

static void set_timer(struct mm_pool_worker *w, unsigned ms)
{
    uv_timer_start(&w->timer, on_timer, ms, 0);
}

/* Half of it by chance, so that the workers of a token don't come all at once. */
static unsigned with_jitter(unsigned ms)
{
    return ms / 2 + (unsigned)random() % (ms / 2 + 1);
}

void mm_pool_worker_clock(struct mm_pool_worker *w)
{
    w->overdue = false;
    if (w->n_jobs > 0)
        set_timer(w, w->pool->job_timeout_ms);
    else if (w->life == MM_LIFE_LEAVING)
        mm_pool_worker_leave(w);
    else if (w->life == MM_LIFE_READY && w->pool->probe_ms > 0)
        set_timer(w, with_jitter(w->pool->probe_ms));
    else
        uv_timer_stop(&w->timer);
}

void mm_pool_worker_wake(struct mm_pool_worker *w)
{
    set_timer(w, 0);
}

static void schedule(struct mm_pool_worker *w)
{
    if (w->ready_at_us && mm_clock_mono_us() - w->ready_at_us >= HEALTHY_US)
        w->backoff_ms = 0;
    w->backoff_ms = w->backoff_ms == 0 ? BACKOFF_MIN_MS : w->backoff_ms * 2;
    if (w->backoff_ms > BACKOFF_MAX_MS)
        w->backoff_ms = BACKOFF_MAX_MS;
    w->due = false;
    set_timer(w, with_jitter(w->backoff_ms));
}

/* No other worker is to try that PIN. */
static void halt(struct mm_pool_worker *w)
{
    struct mm_pool *p = w->pool;

    if (p->halted)
        return;
    p->halted = true;
    mm_log(MM_LOG_ERROR, "pin_refused", MM_STR("worker", w->name), MM_STR("text", w->ei.text),
           MM_STR("hint", "put the right PIN into its file, or correct it and reload (SIGHUP)"));
}

/* The process is gone, or could not be started. */
static void down(struct mm_pool_worker *w)
{
    struct mm_pool *p = w->pool;

    w->start_failed = w->ready_at_us == 0;
    if (w->ei.code == MM_ERR_PIN)
        halt(w);
    w->life = w->retired ? MM_LIFE_GONE : MM_LIFE_DOWN;
    uv_timer_stop(&w->timer);
    if (w->retired) {
        mm_pool_start_due(p);
        mm_pool_check_empty(p);
        return;
    }
    w->restarts++;
    p->stats->restarts++;
    schedule(w);
    mm_pool_start_due(p);
    p->ops->changed(p->arg, p);
}

static void blame(struct mm_pool_worker *w, const struct mm_errinfo *ei)
{
    w->ei = *ei;
    if (!w->pool->halted) /* or else the refused PIN is what keeps them all away */
        w->pool->why = *ei;
}

static void note_loss(struct mm_pool_worker *w, const struct mm_errinfo *ei)
{
    blame(w, ei);
    mm_log(w->retired ? MM_LOG_INFO : MM_LOG_WARNING, "worker_lost", MM_STR("worker", w->name),
           MM_INT("pid", w->process.pid), MM_STR("code", mm_err_name(ei->code)),
           MM_STR("reason", ei->reason), MM_STR("text", ei->text));
}

/* Whatever it still does is of no use: channel closed, jobs failed. */
static void give_up(struct mm_pool_worker *w, const struct mm_errinfo *ei)
{
    if (w->life != MM_LIFE_BARRED) /* whose reason is known */
        note_loss(w, ei);
    w->life = MM_LIFE_ENDING;
    set_timer(w, END_TIMEOUT_MS);
    mm_link_close(MM_TAKE(w->link));
    mm_pool_fail_jobs(w);
    w->pool->ops->changed(w->pool->arg, w->pool);
}

/* Its channel stays open: that tells it that somebody waits. */
static void bar(struct mm_pool_worker *w, const struct mm_errinfo *ei)
{
    note_loss(w, ei);
    halt(w);
    w->life = MM_LIFE_BARRED;
    uv_timer_stop(&w->timer);
    mm_pool_fail_jobs(w);
    w->pool->ops->changed(w->pool->arg, w->pool);
}

/* Now it may be tried, by one worker after the other. */
static void unbar(struct mm_pool_worker *w)
{
    struct mm_pool *p = w->pool;

    if (p->halted)
        mm_log(MM_LOG_INFO, "pin_changed", MM_STR("worker", w->name));
    p->halted = false;
    w->backoff_ms = 0;
    mm_fail(&w->ei, MM_ERR_UNAVAILABLE, p->kind->away, "there is another PIN, to be tried now");
    p->why = w->ei;
}

static void explain_exit(int status, int spawn_errno, struct mm_errinfo *ret_ei)
{
    if (spawn_errno)
        mm_fail_errno(ret_ei, spawn_errno, "cannot start the program");
    else if (WIFSIGNALED(status))
        mm_fail(ret_ei, MM_ERR_UNAVAILABLE, "WORKER_ENDED", "killed by signal %d",
                WTERMSIG(status));
    else if (WEXITSTATUS(status) == MM_EXIT_PIN)
        mm_fail(ret_ei, MM_ERR_PIN, "PIN_REFUSED", "the token refused the PIN");
    else
        mm_fail(ret_ei, MM_ERR_UNAVAILABLE, "WORKER_ENDED", "exited with status %d",
                WEXITSTATUS(status));
}

/* Its channel closed, and now it is known why. */
static void note_end(struct mm_pool_worker *w, const struct mm_errinfo *ei)
{
    blame(w, ei);
    mm_log(MM_LOG_WARNING, "worker_ended", MM_STR("worker", w->name), MM_STR("text", ei->text));
}

static void on_exited(struct mm_process *process, int status, int spawn_errno)
{
    struct mm_pool_worker *w =
        (struct mm_pool_worker *)((char *)process - offsetof(struct mm_pool_worker, process));
    struct mm_errinfo ei = {0};

    /* What it said last may come after its end, and tells more. */
    if (w->link)
        mm_link_drain(w->link);
    explain_exit(status, spawn_errno, &ei);
    if (w->life == MM_LIFE_STARTING || w->life == MM_LIFE_READY ||
        (w->life == MM_LIFE_LEAVING && w->n_jobs > 0))
        give_up(w, &ei);
    else if (ei.code == MM_ERR_PIN && w->ei.code != MM_ERR_PIN)
        w->ei = ei;
    else if (w->life == MM_LIFE_ENDING && strcmp(w->ei.reason, MM_LINK_CLOSED) == 0)
        note_end(w, &ei);
    if (WIFEXITED(status) && WEXITSTATUS(status) == MM_EXIT_PIN_NEW)
        unbar(w);
    mm_link_close(MM_TAKE(w->link));
    down(w);
}

void mm_pool_worker_end(struct mm_pool_worker *w, const struct mm_errinfo *ei)
{
    switch (w->life) {
    case MM_LIFE_GONE:
        return;
    case MM_LIFE_DOWN:
        uv_timer_stop(&w->timer);
        if (w->retired)
            w->life = MM_LIFE_GONE;
        return;
    case MM_LIFE_STARTING:
    case MM_LIFE_READY:
    case MM_LIFE_LEAVING:
    case MM_LIFE_BARRED:
        give_up(w, ei);
        break;
    case MM_LIFE_ENDING:
        break;
    }
    mm_launcher_kill(w->pool->launcher, &w->process);
}

void mm_pool_worker_refused(struct mm_pool_worker *w, const struct mm_errinfo *ei)
{
    if (ei->code == MM_ERR_PIN && w->life != MM_LIFE_ENDING)
        bar(w, ei);
    else
        give_up(w, ei);
}

void mm_pool_worker_leave(struct mm_pool_worker *w)
{
    w->retired = true;
    if (w->life == MM_LIFE_DOWN) {
        uv_timer_stop(&w->timer);
        w->life = MM_LIFE_GONE;
    }
    if (w->life != MM_LIFE_STARTING && w->life != MM_LIFE_READY && w->life != MM_LIFE_LEAVING &&
        w->life != MM_LIFE_BARRED)
        return;
    w->life = MM_LIFE_LEAVING;
    if (w->n_jobs > 0)
        return;
    mm_link_close(MM_TAKE(w->link));
    set_timer(w, LEAVE_TIMEOUT_MS);
}

/* The loop runs timers before it reads. When it was held up for longer than they run, an answer may
 * be there already: it is read before the worker is given up. */
static bool has_had_its_chance(struct mm_pool_worker *w)
{
    if (w->overdue)
        return true;
    w->overdue = true;
    set_timer(w, 1); /* 0 would run at once, in the same round */
    return false;
}

static void on_timer(uv_timer_t *timer)
{
    struct mm_pool_worker *w = timer->data;
    struct mm_errinfo ei;

    switch (w->life) {
    case MM_LIFE_DOWN:
        w->due = true;
        mm_pool_start_due(w->pool);
        break;
    case MM_LIFE_STARTING:
        if (!has_had_its_chance(w))
            break;
        mm_fail(&ei, MM_ERR_TIMEOUT, "WORKER_START_TIMEOUT", "not ready after %u ms",
                (unsigned)START_TIMEOUT_MS);
        mm_pool_worker_end(w, &ei);
        break;
    case MM_LIFE_READY:
        if (w->n_jobs == 0) {
            mm_pool_probe(w);
            break;
        }
        if (!has_had_its_chance(w))
            break;
        mm_fail(&ei, MM_ERR_TIMEOUT, "JOB_TIMEOUT", "a job took longer than %u ms",
                w->pool->job_timeout_ms);
        mm_pool_worker_end(w, &ei);
        break;
    case MM_LIFE_LEAVING:
    case MM_LIFE_ENDING:
        mm_launcher_kill(w->pool->launcher, &w->process);
        break;
    case MM_LIFE_BARRED:
    case MM_LIFE_GONE:
        break;
    }
}

static void on_frame(void *arg, struct mm_bytes payload)
{
    mm_pool_answer(arg, payload);
}

static void on_broken(void *arg, const struct mm_errinfo *ei)
{
    struct mm_pool_worker *w = arg;

    /* Left to itself for a moment, since its exit status may say more; then killed. */
    give_up(w, ei);
}

static int send_start(struct mm_pool_worker *w)
{
    Mintmark__Internal__WorkerStart start;

    mintmark__internal__worker_start__init(&start);
    start.config = (ProtobufCBinaryData){w->pool->conf_len, w->pool->conf_text};
    start.config_path = w->pool->conf_path;
    start.name = w->name;
    start.section = w->pool->section;
    return mm_link_send(w->link, &start.base);
}

static int start(struct mm_pool_worker *w, struct mm_errinfo *ei)
{
    static const struct mm_link_ops ops = {.frame = on_frame, .broken = on_broken};
    struct mm_pool *p = w->pool;
    int fd[2];
    int r;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd) < 0)
        return mm_fail_errno(ei, errno, "cannot make a channel");
    r = mm_link_new(p->loop, fd[0], &ops, w, &w->link, ei);
    if (r == MM_OK) {
        w->process.exited = on_exited;
        r = mm_launcher_start(p->launcher, &w->process, p->kind->program, fd[1], ei);
    }
    close(fd[1]);
    if (r == MM_OK)
        r = send_start(w);
    return r;
}

static void begin(struct mm_pool_worker *w)
{
    struct mm_errinfo ei = {0};

    w->due = false;
    w->ready_at_us = 0;
    w->life = MM_LIFE_STARTING;
    w->overdue = false;
    set_timer(w, START_TIMEOUT_MS);
    if (start(w, &ei) == MM_OK)
        return;
    give_up(w, &ei);
    if (!w->process.alive)
        down(w);
}

void mm_pool_start_due(struct mm_pool *p)
{
    struct mm_pool_worker *next = NULL;

    for (unsigned i = 0; i < p->n_workers; i++) {
        struct mm_pool_worker *w = &p->workers[i];

        /* One that ends without having been ready may have tried the PIN. */
        if (w->life == MM_LIFE_STARTING || (w->life == MM_LIFE_ENDING && w->ready_at_us == 0))
            return;
        if (!next && w->life == MM_LIFE_DOWN && w->due)
            next = w;
    }
    if (next && !p->halted)
        begin(next);
}

/* What kept the others from starting is over. */
static void hurry_others(struct mm_pool *p)
{
    for (unsigned i = 0; i < p->n_workers; i++) {
        struct mm_pool_worker *w = &p->workers[i];

        if (w->life == MM_LIFE_DOWN && w->start_failed) {
            uv_timer_stop(&w->timer);
            w->due = true;
        }
    }
}

void mm_pool_worker_ready(struct mm_pool_worker *w, const ProtobufCMessage *result)
{
    struct mm_pool *p = w->pool;

    w->life = MM_LIFE_READY;
    w->ready_at_us = mm_clock_mono_us();
    mm_pool_worker_clock(w);
    mm_log(MM_LOG_INFO, "worker_ready", MM_STR("worker", w->name),
           MM_UINT("restarts", w->restarts));
    hurry_others(p);
    mm_pool_start_due(p);
    p->ops->ready(p->arg, p, result);
}
