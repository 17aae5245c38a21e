/* SPDX-License-Identifier: Apache-2.0 */
/* Prometheus text exposition format 0.0.4. Errors stick in the buffer. No floating point: numbers
 * are whole, or microseconds that are written as seconds. */
#pragma once

#include "daemon/base/buf.h"
#include "daemon/front/histogram.h"

enum mm_metric_type { MM_COUNTER, MM_GAUGE, MM_HISTOGRAM };
enum { MM_METRIC_LABELS = 2 };

struct mm_exposition;

/* A metric family. The names of counters end in _total, those of times in _seconds. */
struct mm_metric {
    const char *name;
    enum mm_metric_type type;
    const char *help;
    const char *labels[MM_METRIC_LABELS]; /* NULL: no more; "le" is a histogram's own */
    void (*collect)(struct mm_exposition *e, const void *source); /* writes its samples */
};

struct mm_exposition {
    struct mm_buf *out;
    const struct mm_metric *metric; /* whose samples are written */
};

/* HELP and TYPE of each metric, then its samples, in the order of the table. */
void mm_exposition_write(struct mm_buf *out, const struct mm_metric *metrics, size_t n,
                         const void *source);

/* One sample of the metric that is being collected; values as many as it has labels. */
void mm_sample(struct mm_exposition *e, const char *const *values, uint64_t number);
void mm_sample_seconds(struct mm_exposition *e, const char *const *values, uint64_t us);
void mm_sample_histogram(struct mm_exposition *e, const char *const *values,
                         const struct mm_histogram *h);
