/* SPDX-License-Identifier: Apache-2.0 */
/* The processes of a measurement: PIN in, token opened, "ready", "go", result. */
#include "daemon/base/clock.h"
#include "daemon/base/io.h"
#include "tools/officer/bench.h"
#include "tools/officer/hang.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    PATIENCE_MS = 60000, /* for a module to start, or to come back from a call */
    WARM_UP_DIVISOR = 5, /* a fifth of the time measured */
};

/* One process, seen from the parent. */
struct worker {
    pid_t pid;
    int to, from; /* pipes */
};

/* ---- the child --------------------------------------------------------------------------- */

size_t mm_bench_bucket(uint64_t us)
{
    unsigned octave;
    size_t bucket;

    if (us < 16)
        return (size_t)us;
    octave = 63U - (unsigned)__builtin_clzll(us);
    bucket = 16 * (octave - 3) + (size_t)(us >> (octave - 4) & 15);
    return bucket < MM_BENCH_BUCKETS ? bucket : MM_BENCH_BUCKETS - 1;
}

static int measure(struct mm_workload *w, int64_t for_us, struct mm_bench_result *result,
                   struct mm_errinfo *ei)
{
    const int64_t start = mm_clock_mono_us();
    int64_t now = start;

    *result = (struct mm_bench_result){0};
    while (now < start + for_us) {
        const int64_t before = now;
        const int r = mm_workload_step(w, ei);

        if (r < 0)
            return r;
        now = mm_clock_mono_us();
        const uint64_t took = (uint64_t)(now - before);

        result->bucket[mm_bench_bucket(took)]++;
        result->count++;
        if (took > result->max_us)
            result->max_us = took;
    }
    result->elapsed_us = (uint64_t)(now - start);
    return MM_OK;
}

static int prepare(const struct mm_bench_plan *plan, int from_parent, struct mm_token **ret_token,
                   struct mm_bench_result *result, struct mm_errinfo *ei)
{
    MM_TOKEN_CLEANUP struct mm_token *t = NULL;
    MM_SECRET_CLEANUP struct mm_secret *pin = NULL;
    struct mm_token_info info;
    int r = mm_pin_from_fd(from_parent, &pin, ei);

    if (r == MM_OK)
        r = mm_token_open(plan->how, &t, ei);
    if (r == MM_OK)
        r = mm_token_login(t, &pin, ei);
    if (r == MM_OK)
        r = mm_token_info(t, &info, ei);
    if (r < 0)
        return r;
    result->max_sessions = info.max_sessions;
    snprintf(result->label, sizeof(result->label), "%s", info.label);
    snprintf(result->model, sizeof(result->model), "%s", info.model);
    snprintf(result->manufacturer, sizeof(result->manufacturer), "%s", info.manufacturer);
    *ret_token = MM_TAKE(t);
    return MM_OK;
}

static int send_result(int fd, struct mm_bench_result *result, int r, const struct mm_errinfo *ei)
{
    struct mm_errinfo ignored;

    result->error = r;
    snprintf(result->text, sizeof(result->text), "%.255s", r < 0 ? ei->text : "");
    return mm_io_write_all(fd, result, sizeof(*result), &ignored);
}

/* Of the child's watch; the pipe is idle while the module is in a call. */
static int hung_to = -1;
static struct mm_bench_result hung_result = {.error = MM_ERR_TIMEOUT};

static void tell_hung(const char *sentence)
{
    struct mm_errinfo ignored;

    snprintf(hung_result.text, sizeof(hung_result.text), "%s", sentence);
    if (mm_io_write_all(hung_to, &hung_result, sizeof(hung_result), &ignored) < 0)
        return; /* the parent has gone, and says so itself */
}

static int child(const struct mm_bench_plan *plan, int from_parent, int to_parent)
{
    MM_TOKEN_CLEANUP struct mm_token *t = NULL;
    MM_CLEANUP(mm_workload_free_p) struct mm_workload *w = NULL;
    static struct mm_bench_result result;
    struct mm_errinfo ei = {0};
    char go;
    int r;

    hung_to = to_parent;
    r = mm_hang_watch_child(tell_hung, &ei);
    if (r == MM_OK)
        r = prepare(plan, from_parent, &t, &result, &ei);
    if (r == MM_OK)
        r = mm_workload_new(t, plan->work, &w, &ei);
    if (r == MM_OK)
        result.wraps = mm_workload_wraps(w);
    if (send_result(to_parent, &result, r, &ei) < 0 || r < 0)
        return 1;
    if (mm_io_read_all(from_parent, &go, 1, &ei) < 0) /* the parent is done with us */
        return 0;
    r = measure(w, (int64_t)plan->seconds * 1000000 / WARM_UP_DIVISOR, &result, &ei);
    if (r == MM_OK)
        r = measure(w, (int64_t)plan->seconds * 1000000, &result, &ei);
    return send_result(to_parent, &result, r, &ei) < 0 || r < 0;
}

/* ---- the parent -------------------------------------------------------------------------- */

static void close_pair(int pair[2])
{
    for (size_t i = 0; i < 2; i++)
        if (pair[i] >= 0)
            close(pair[i]);
}

/* others: the processes that run already, whose pipes the new one must not hold open. */
static int start(const struct mm_bench_plan *plan, const struct worker *others, unsigned n_others,
                 struct worker *ret_worker, struct mm_errinfo *ei)
{
    int down[2] = {-1, -1}, up[2] = {-1, -1};
    struct worker w;
    int r;

    if (pipe2(down, O_CLOEXEC) < 0 || pipe2(up, O_CLOEXEC) < 0) {
        r = mm_fail_errno(ei, errno, "pipe");
        close_pair(down);
        return r;
    }
    w.pid = fork();
    if (w.pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(down[1]);
        close(up[0]);
        for (unsigned i = 0; i < n_others; i++) {
            close(others[i].to);
            close(others[i].from);
        }
        _exit(child(plan, down[0], up[1]));
    }
    close(down[0]);
    close(up[1]);
    w.to = down[1];
    w.from = up[0];
    if (w.pid < 0) {
        r = mm_fail_errno(ei, errno, "fork");
        close(w.to);
        close(w.from);
        return r;
    }
    *ret_worker = w;
    r = mm_io_write_all(w.to, mm_secret_data(plan->pin), mm_secret_len(plan->pin), ei);
    return r < 0 ? r : mm_io_write_all(w.to, "\n", 1, ei);
}

/* A worker watches its calls itself; this is for one that is slow in all of them, or was stopped.
 */
static int patience_ms(void)
{
    return PATIENCE_MS + (int)mm_hang_timeout_s() * 1000;
}

static int receive(const struct worker *w, int patience_ms, struct mm_bench_result *ret_result,
                   struct mm_errinfo *ei)
{
    struct pollfd fd = {.fd = w->from, .events = POLLIN};
    int n, r;

    do
        n = poll(&fd, 1, patience_ms);
    while (n < 0 && errno == EINTR);
    if (n <= 0)
        return mm_fail(ei, MM_ERR_UNAVAILABLE, "TOKEN_UNAVAILABLE",
                       "a worker did not come back from the module");
    r = mm_io_read_all(w->from, ret_result, sizeof(*ret_result), ei);
    if (r < 0)
        return mm_fail(ei, MM_ERR_UNAVAILABLE, "TOKEN_UNAVAILABLE", "a worker died in the module");
    if (ret_result->error < 0) {
        ret_result->text[sizeof(ret_result->text) - 1] = 0;
        return mm_fail(ei, (enum mm_err)ret_result->error, "TOKEN_BENCH", "%s", ret_result->text);
    }
    return MM_OK;
}

static void stop(const struct worker *w)
{
    /* One that waits for "go" ends when its pipe does, and closes its session; another is stuck. */
    struct timespec pause = {.tv_nsec = 10000000};

    close(w->to);
    close(w->from);
    for (int i = 0; i < 300; i++) {
        if (waitpid(w->pid, NULL, WNOHANG) != 0)
            return;
        nanosleep(&pause, NULL);
    }
    kill(w->pid, SIGKILL);
    (void)waitpid(w->pid, NULL, 0);
}

int mm_bench_probe(const struct mm_bench_plan *plan, struct mm_bench_result *ret_result,
                   struct mm_errinfo *ei)
{
    struct worker w = {.pid = -1};
    int r;

    (void)signal(SIGPIPE, SIG_IGN);
    r = start(plan, NULL, 0, &w, ei);
    if (r == MM_OK)
        r = receive(&w, patience_ms(), ret_result, ei);
    if (w.pid > 0)
        stop(&w);
    return r;
}

static void add(struct mm_bench_result *sum, const struct mm_bench_result *one, double *rate)
{
    for (size_t i = 0; i < MM_BENCH_BUCKETS; i++)
        sum->bucket[i] += one->bucket[i];
    sum->count += one->count;
    if (one->max_us > sum->max_us)
        sum->max_us = one->max_us;
    if (one->elapsed_us > 0)
        *rate += (double)one->count * 1e6 / (double)one->elapsed_us;
}

double mm_bench_percentile(const uint32_t bucket[MM_BENCH_BUCKETS], double part)
{
    uint64_t total = 0, seen = 0;
    size_t i = 0;

    for (size_t j = 0; j < MM_BENCH_BUCKETS; j++)
        total += bucket[j];
    while (i < MM_BENCH_BUCKETS - 1) {
        seen += bucket[i];
        if ((double)seen >= part * (double)total)
            break;
        i++;
    }
    if (i < 16)
        return (double)(i + 1) / 1000;
    /* The upper end of the bucket. */
    return (double)(((uint64_t)(16 + i % 16 + 1) << (i / 16 - 1))) / 1000;
}

static int run(const struct mm_bench_plan *plan, const struct worker *workers, unsigned n,
               struct mm_bench_step *ret_step, struct mm_errinfo *ei)
{
    struct mm_bench_result one, sum = {0};
    double rate = 0;
    int r = MM_OK;

    for (unsigned i = 0; r == MM_OK && i < n; i++)
        r = mm_io_write_all(workers[i].to, "g", 1, ei);
    for (unsigned i = 0; r == MM_OK && i < n; i++) {
        r = receive(&workers[i], patience_ms() + (int)plan->seconds * 2000, &one, ei);
        if (r == MM_OK)
            add(&sum, &one, &rate);
    }
    if (r < 0)
        return r;
    *ret_step = (struct mm_bench_step){
        .workers = n,
        .rate = rate,
        .p50_ms = mm_bench_percentile(sum.bucket, 0.5),
        .p99_ms = mm_bench_percentile(sum.bucket, 0.99),
        .max_ms = (double)sum.max_us / 1000,
    };
    return MM_OK;
}

int mm_bench_step(const struct mm_bench_plan *plan, unsigned workers,
                  struct mm_bench_step *ret_step, struct mm_errinfo *ei)
{
    struct worker started[MM_BENCH_WORKERS_MAX];
    struct mm_bench_result ready;
    unsigned n = 0;
    int r = MM_OK;

    if (workers == 0 || workers > MM_BENCH_WORKERS_MAX)
        return mm_fail(ei, MM_ERR_INVALID, "WORKERS", "1 to %d workers", MM_BENCH_WORKERS_MAX);
    /* One after the other: logging in rewrites SoftHSM's files (pkcs11/renew.c). */
    while (r == MM_OK && n < workers) {
        started[n] = (struct worker){.pid = -1};
        r = start(plan, started, n, &started[n], ei);
        n += started[n].pid > 0;
        if (r == MM_OK)
            r = receive(&started[n - 1], patience_ms(), &ready, ei);
    }
    if (r == MM_OK)
        r = run(plan, started, n, ret_step, ei);
    for (unsigned i = 0; i < n; i++)
        stop(&started[i]);
    return r;
}

size_t mm_bench_recommend(const struct mm_bench_step *steps, size_t n)
{
    double best = 0;
    size_t i = 0;

    for (size_t j = 0; j < n; j++)
        if (steps[j].rate > best)
            best = steps[j].rate;
    while (i + 1 < n && steps[i].rate < 0.95 * best)
        i++;
    return i;
}
