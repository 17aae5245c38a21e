/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/front/exposition.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { US_PER_S = 1000000 };

/* In HELP a quote stands for itself. */
static void append_escaped(struct mm_buf *out, const char *text, bool in_quotes)
{
    for (; *text; text++) {
        if (*text == '\n')
            mm_buf_append_str(out, "\\n");
        else if (*text == '\\' || (*text == '"' && in_quotes))
            mm_buf_printf(out, "\\%c", *text);
        else
            mm_buf_append_u8(out, (uint8_t)*text);
    }
}

static void append_label(struct mm_buf *out, bool *first, const char *name, const char *value)
{
    mm_buf_printf(out, "%c%s=\"", *first ? '{' : ',', name);
    append_escaped(out, value, true);
    mm_buf_append_u8(out, '"');
    *first = false;
}

/* Name and labels; le may be NULL. */
static void append_series(struct mm_exposition *e, const char *suffix, const char *const *values,
                          const char *le)
{
    bool first = true;

    mm_buf_printf(e->out, "%s%s", e->metric->name, suffix);
    for (size_t i = 0; i < MM_METRIC_LABELS && e->metric->labels[i]; i++)
        append_label(e->out, &first, e->metric->labels[i], values[i]);
    if (le)
        append_label(e->out, &first, "le", le);
    mm_buf_append_str(e->out, first ? " " : "} ");
}

static void append_seconds(struct mm_buf *out, uint64_t us)
{
    mm_buf_printf(out, "%" PRIu64 ".%06" PRIu64 "\n", us / US_PER_S, us % US_PER_S);
}

void mm_sample(struct mm_exposition *e, const char *const *values, uint64_t number)
{
    append_series(e, "", values, NULL);
    mm_buf_printf(e->out, "%" PRIu64 "\n", number);
}

void mm_sample_seconds(struct mm_exposition *e, const char *const *values, uint64_t us)
{
    append_series(e, "", values, NULL);
    append_seconds(e->out, us);
}

/* "0.00025", "1", "60" */
static void print_bound(char *to, size_t size, int64_t us)
{
    size_t len = (size_t)snprintf(to, size, "%" PRId64 ".%06" PRId64, us / US_PER_S, us % US_PER_S);

    while (to[len - 1] == '0')
        to[--len] = 0;
    if (to[len - 1] == '.')
        to[--len] = 0;
}

void mm_sample_histogram(struct mm_exposition *e, const char *const *values,
                         const struct mm_histogram *h)
{
    uint64_t count = 0;
    char bound[32];

    for (size_t i = 0; i <= MM_HISTOGRAM_BOUNDS; i++) {
        count += h->counts[i];
        if (i < MM_HISTOGRAM_BOUNDS)
            print_bound(bound, sizeof(bound), mm_histogram_bounds_us[i]);
        append_series(e, "_bucket", values, i < MM_HISTOGRAM_BOUNDS ? bound : "+Inf");
        mm_buf_printf(e->out, "%" PRIu64 "\n", count);
    }
    append_series(e, "_sum", values, NULL);
    append_seconds(e->out, h->sum_us);
    append_series(e, "_count", values, NULL);
    mm_buf_printf(e->out, "%" PRIu64 "\n", count);
}

void mm_exposition_write(struct mm_buf *out, const struct mm_metric *metrics, size_t n,
                         const void *source)
{
    static const char *const types[] = {"counter", "gauge", "histogram"};

    for (size_t i = 0; i < n; i++) {
        struct mm_exposition e = {.out = out, .metric = &metrics[i]};

        mm_buf_printf(out, "# HELP %s ", metrics[i].name);
        append_escaped(out, metrics[i].help, false);
        mm_buf_printf(out, "\n# TYPE %s %s\n", metrics[i].name, types[metrics[i].type]);
        metrics[i].collect(&e, source);
    }
}
