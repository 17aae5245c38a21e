/* SPDX-License-Identifier: Apache-2.0 */
/* token bench: how fast the token is, and with how many workers it is fastest. */
#include "tools/officer/bench.h"

#include "daemon/base/io.h"
#include "daemon/base/text.h"
#include "tools/officer/officer.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    SECONDS_MAX = 60,
    SECONDS = 2,
    SVG_MAX = 256 * 1024,
    ROOM_MAX = 32, /* workers at most, unless --max says otherwise: pkcs11.md, about 30 an HSM */
    ROOM_MIN = 8,  /* when the token names no limit: so many at least, and */
    PER_CPU = 4,   /* so many a processor */
};

struct bench {
    struct mm_officer *o;
    struct mm_bench_plan plan;
    struct mm_bench_result token; /* who it is */
    struct mm_bench_step steps[MM_BENCH_STEPS_MAX];
    size_t n;
    uint64_t max;
    char ended[MM_ERR_TEXT_MAX]; /* why the curve ends before max; "" */
};

static int parse(struct bench *b, struct mm_errinfo *ei)
{
    const struct mm_args *const a = &b->o->args;
    uint64_t seconds = SECONDS;
    enum mm_work work = MM_WORK_MINT;

    if (a->seconds && mm_text_to_u64(a->seconds, 1, SECONDS_MAX, &seconds) < 0)
        return mm_officer_usage(b->o, ei, "--seconds is a number from 1 to %d", SECONDS_MAX);
    if (a->max && mm_text_to_u64(a->max, 1, MM_BENCH_WORKERS_MAX, &b->max) < 0)
        return mm_officer_usage(b->o, ei, "--max is a number from 1 to %d", MM_BENCH_WORKERS_MAX);
    while (a->operation && work < MM_WORK_COUNT && strcmp(a->operation, mm_work_name(work)) != 0)
        work++;
    if (work == MM_WORK_COUNT)
        return mm_officer_usage(b->o, ei, "--operation is mint, sign, generate or each, not '%s'",
                                a->operation);
    b->plan.work = work;
    b->plan.seconds = (unsigned)seconds;
    return a->svg ? mm_officer_absent(a->svg, ei) : MM_OK;
}

/* Each worker has one session, and another program may hold one too. */
static unsigned room(const struct bench *b)
{
    const unsigned long sessions = b->token.max_sessions;
    const long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned most = cpus > 0 ? (unsigned)cpus * PER_CPU : ROOM_MIN;

    if (b->max > 0)
        return (unsigned)b->max;
    if (sessions > 0)
        return sessions < ROOM_MAX ? (unsigned)sessions : ROOM_MAX;
    if (most < ROOM_MIN)
        most = ROOM_MIN;
    return most < ROOM_MAX ? most : ROOM_MAX;
}

static int report_step(struct bench *b, json_t *rows, struct mm_errinfo *ei)
{
    const struct mm_bench_step *const s = &b->steps[b->n - 1];

    if (json_array_append_new(rows,
                              json_pack("{s:I, s:f, s:f, s:f, s:f}", "workers",
                                        (json_int_t)s->workers, "per_second", s->rate, "p50_ms",
                                        s->p50_ms, "p99_ms", s->p99_ms, "max_ms", s->max_ms)) < 0)
        return mm_fail_memory(ei);
    if (b->o->args.json)
        return MM_OK;
    if (b->n == 1)
        printf("workers  a second    p50 ms    p99 ms    max ms\n");
    printf("%7u  %8.0f  %8.3f  %8.3f  %8.3f\n", s->workers, s->rate, s->p50_ms, s->p99_ms,
           s->max_ms);
    fflush(stdout);
    return MM_OK;
}

/* 1, 2, 4 … and the most there may be. A token that takes no more sessions, or loses its calls, has
 * said where its curve ends; with one worker that is an error. */
static int curve(struct bench *b, json_t *rows, struct mm_errinfo *ei)
{
    const unsigned most = room(b);
    int r = MM_OK;

    for (unsigned workers = 1; r == MM_OK && b->n < MM_BENCH_STEPS_MAX;) {
        r = mm_bench_step(&b->plan, workers, &b->steps[b->n], ei);
        if (r < 0)
            break;
        b->n++;
        r = report_step(b, rows, ei);
        if (workers == most)
            break;
        workers = workers * 2 < most ? workers * 2 : most;
    }
    if (r < 0 && r != MM_ERR_PIN && r != MM_ERR_MEMORY && r != MM_ERR_TIMEOUT && b->n > 0) {
        snprintf(b->ended, sizeof(b->ended), "%s", ei->text);
        return MM_OK;
    }
    return r;
}

static int plot(struct bench *b, size_t best, struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf svg = MM_BUF_INIT(SVG_MAX);
    char title[160];
    int r;

    snprintf(title, sizeof(title), "%s on token %s (%s %s), %u s a step",
             mm_work_name(b->plan.work), b->token.label, b->token.manufacturer, b->token.model,
             b->plan.seconds);
    r = mm_bench_plot(b->steps, b->n, best, title, &svg, ei);
    if (r == MM_OK)
        r = mm_io_create_file(b->o->args.svg, 0644, svg.data, svg.len, ei);
    if (r == MM_OK && !b->o->args.json)
        printf("plot: %s\n", b->o->args.svg);
    return r < 0 ? r : mm_officer_answer(b->o, "svg", json_string(b->o->args.svg), ei);
}

static int conclude(struct bench *b, struct mm_errinfo *ei)
{
    const size_t best = mm_bench_recommend(b->steps, b->n);
    const unsigned workers = b->steps[best].workers;
    int r = mm_officer_answer(b->o, "recommended_workers", json_integer((json_int_t)workers), ei);

    if (r == MM_OK && *b->ended)
        r = mm_officer_answer(b->o, "ended", mm_out_text(b->ended), ei);
    if (r < 0)
        return r;
    if (!b->o->args.json) {
        if (*b->ended)
            printf("no further: %s\n", b->ended);
        printf("recommended: workers = %u in section token '%s' (the fewest within 5 %% of the "
               "best)\n",
               workers, b->o->conf_token->name);
    }
    return b->o->args.svg ? plot(b, best, ei) : MM_OK;
}

static int describe(struct bench *b, struct mm_errinfo *ei)
{
    const struct mm_bench_result *const t = &b->token;

    if (!b->o->args.json && b->plan.work == MM_WORK_MINT && !t->wraps)
        puts("the token has no AES key wrap: keys are made and sign, and are not wrapped");
    return mm_officer_answer(
        b->o, "bench",
        json_pack("{s:s, s:I, s:o, s:I, s:b}", "operation", mm_work_name(b->plan.work), "seconds",
                  (json_int_t)b->plan.seconds, "token", mm_out_text(t->label), "max_sessions",
                  (json_int_t)t->max_sessions, "wraps", t->wraps),
        ei);
}

int mm_cmd_token_bench(struct mm_officer *o, struct mm_errinfo *ei)
{
    struct mm_token_open how;
    struct bench b = {.o = o};
    json_t *const rows = json_array();
    int r;

    if (o->args.operation && strcmp(o->args.operation, "each") == 0) {
        json_decref(rows);
        return mm_token_bench_each(o, ei);
    }
    r = mm_officer_answer(o, "steps", rows, ei);
    if (r == MM_OK)
        r = parse(&b, ei);
    if (r == MM_OK)
        r = mm_officer_choose_token(o, NULL, ei);
    if (r < 0)
        return r;
    /* The module is loaded by the measured processes alone, after their fork. */
    how = mm_officer_how(o->conf_token);
    b.plan.how = &how;
    r = mm_officer_pin(o, &b.plan.pin, ei);
    if (r == MM_OK)
        r = mm_bench_probe(&b.plan, &b.token, ei);
    if (r == MM_OK)
        r = describe(&b, ei);
    if (r == MM_OK)
        r = curve(&b, rows, ei);
    mm_secret_free(b.plan.pin);
    if (r == MM_ERR_TIMEOUT)
        o->exit_code = MM_EXIT_HANGS;
    return r < 0 ? r : conclude(&b, ei);
}
