/* SPDX-License-Identifier: Apache-2.0 */
/* The curve of token bench: steps of ever more worker processes, each measured. */
#pragma once

#include "daemon/base/buf.h"
#include "pkcs11/workload.h"

enum {
    /* Latencies in buckets of a sixteenth of an octave, so within 6 %: up to 2^32 us. */
    MM_BENCH_BUCKETS = 16 * 33,
    MM_BENCH_STEPS_MAX = 16,
    MM_BENCH_WORKERS_MAX = 256,
};

/* What a worker has measured; travels over a pipe between processes of one program. */
struct mm_bench_result {
    uint64_t count, elapsed_us, max_us;
    uint32_t bucket[MM_BENCH_BUCKETS];
    int error; /* enum mm_err; with it, text */
    char text[256];
    unsigned long max_sessions; /* as the token has it; 0: names none */
    char label[33], model[17], manufacturer[33];
    bool wraps;
};

struct mm_bench_step {
    unsigned workers;
    double rate; /* a second, all workers together */
    double p50_ms, p99_ms, max_ms;
};

struct mm_bench_plan {
    const struct mm_token_open *how;
    struct mm_secret *pin; /* handed to each worker through a pipe of its own */
    enum mm_work work;
    unsigned seconds;
};

/* Starts one process that opens the token, logs in, and says what the token is; nothing is
 * measured. The PIN is tried once: whoever sees MM_ERR_PIN must not go on. */
int mm_bench_probe(const struct mm_bench_plan *plan, struct mm_bench_result *ret_result,
                   struct mm_errinfo *ei) MM_MUST_USE;

/* Runs so many processes at once, lets them warm up, and measures for plan->seconds. Each loads the
 * module after the fork, one after the other. */
int mm_bench_step(const struct mm_bench_plan *plan, unsigned workers,
                  struct mm_bench_step *ret_step, struct mm_errinfo *ei) MM_MUST_USE;

/* The index of the recommended step: the fewest workers within 5 % of the best rate. */
size_t mm_bench_recommend(const struct mm_bench_step *steps, size_t n);

size_t mm_bench_bucket(uint64_t us);
/* In milliseconds: a value that so large a part of the counts (0 to 1) does not exceed. */
double mm_bench_percentile(const uint32_t bucket[MM_BENCH_BUCKETS], double part);

/* The curve as SVG: rate above, latencies below, against the number of workers. Needs nothing
 * beside itself; in black and white too. */
int mm_bench_plot(const struct mm_bench_step *steps, size_t n, size_t recommended,
                  const char *title, struct mm_buf *svg, struct mm_errinfo *ei) MM_MUST_USE;
