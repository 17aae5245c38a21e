/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A line a metric at the end, and above it what collects its samples. Labels come from closed sets:
 * kinds and states of workers; and the orders of the view, of which there are MM_METRICS_ORDERS_MAX
 * at most. What the transport counts is in metrics_transport.c.
 */
#include "daemon/front/metrics.h"

#include "daemon/base/clock.h"
#include "daemon/front/service/provision.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define ONE(value) ((const char *const[]){value})

/* ---- the workers ------------------------------------------------------------------------- */

static const struct mm_pool_stats *token_stats(const struct mm_app *app)
{
    return mm_mints_stats(app->mints);
}

static const struct mm_pool_stats *store_stats(const struct mm_app *app)
{
    return &app->store_stats;
}

static void each_token(const struct mm_app *app,
                       void (*each)(void *arg, const struct mm_pool_worker_info *info), void *arg)
{
    mm_mints_each_worker(app->mints, each, arg);
}

static void each_store(const struct mm_app *app,
                       void (*each)(void *arg, const struct mm_pool_worker_info *info), void *arg)
{
    if (app->store)
        mm_pool_each(app->store, each, arg);
}

enum { KINDS = 2 };
static const struct {
    const char *name;
    const struct mm_pool_stats *(*stats)(const struct mm_app *app);
    void (*each)(const struct mm_app *app,
                 void (*each)(void *arg, const struct mm_pool_worker_info *info), void *arg);
} kinds[KINDS] = {{"token", token_stats, each_token}, {"store", store_stats, each_store}};

static void count_state(void *arg, const struct mm_pool_worker_info *info)
{
    ((unsigned *)arg)[info->state]++;
}

static void workers(struct mm_exposition *e, const void *source)
{
    static const char *const states[] = {
        [MM_WORKER_DOWN] = "down",
        [MM_WORKER_STARTING] = "starting",
        [MM_WORKER_READY] = "ready",
        [MM_WORKER_BUSY] = "busy",
    };

    for (size_t k = 0; k < KINDS; k++) {
        unsigned n[MM_ARRAY_SIZE(states)] = {0};

        kinds[k].each(source, count_state, n);
        for (size_t i = 0; i < MM_ARRAY_SIZE(states); i++) {
            const char *values[] = {kinds[k].name, states[i]};

            mm_sample(e, values, n[i]);
        }
    }
}

static void restarts(struct mm_exposition *e, const void *source)
{
    for (size_t k = 0; k < KINDS; k++)
        mm_sample(e, ONE(kinds[k].name), kinds[k].stats(source)->restarts);
}

static void distrusted(struct mm_exposition *e, const void *source)
{
    mm_sample(e, NULL, mm_mints_stats(((const struct mm_app *)source)->mints)->distrusted);
}

static void jobs(struct mm_exposition *e, const void *source)
{
    for (size_t k = 0; k < KINDS; k++) {
        const char *done[] = {kinds[k].name, "done"}, *failed[] = {kinds[k].name, "failed"};

        mm_sample(e, done, kinds[k].stats(source)->jobs_done);
        mm_sample(e, failed, kinds[k].stats(source)->jobs_failed);
    }
}

static void job_seconds(struct mm_exposition *e, const void *source)
{
    for (size_t k = 0; k < KINDS; k++)
        mm_sample_histogram(e, ONE(kinds[k].name), &kinds[k].stats(source)->latency);
}

static void token_cpu(struct mm_exposition *e, const void *source)
{
    mm_sample_seconds(e, NULL, token_stats(source)->token_cpu_us);
}

static void token_sampled(struct mm_exposition *e, const void *source)
{
    mm_sample(e, NULL, token_stats(source)->sampled_devices);
}

/* ---- production -------------------------------------------------------------------------- */

static void chunks_waiting(struct mm_exposition *e, const void *source)
{
    uint64_t devices, chunks;

    mm_provisions_waiting(source, &devices, &chunks);
    mm_sample(e, NULL, chunks);
}

static void devices_waiting(struct mm_exposition *e, const void *source)
{
    uint64_t devices, chunks;

    mm_provisions_waiting(source, &devices, &chunks);
    mm_sample(e, NULL, devices);
}

static const Mintmark__Internal__Guard *guard_of(const void *source)
{
    return ((const struct mm_app *)source)->anchoring.guard;
}

static void ledger_locked(struct mm_exposition *e, const void *source)
{
    const char *text = NULL;
    const char *reason = mm_anchoring_lock(&((const struct mm_app *)source)->anchoring, &text);
    const char *labels[] = {reason ? reason : ""};

    mm_sample(e, labels, reason != NULL);
}

static void ledger_records(struct mm_exposition *e, const void *source)
{
    mm_sample(e, NULL, guard_of(source) ? guard_of(source)->sequence : 0);
}

static void ledger_unanchored(struct mm_exposition *e, const void *source)
{
    mm_sample(e, NULL, ((const struct mm_app *)source)->anchoring.unanchored);
}

static void ledger_unclean(struct mm_exposition *e, const void *source)
{
    mm_sample(e, NULL, guard_of(source) ? guard_of(source)->unclean_starts : 0);
}

static void ledger_anchors(struct mm_exposition *e, const void *source)
{
    mm_sample(e, NULL, ((const struct mm_app *)source)->anchoring.anchors);
}

static void keys_deleted(struct mm_exposition *e, const void *source)
{
    mm_sample(e, NULL, ((const struct mm_app *)source)->retention.devices);
}

static void chunks_recording(struct mm_exposition *e, const void *source)
{
    mm_sample(e, NULL, ((const struct mm_app *)source)->recording);
}

static void devices_issued(struct mm_exposition *e, const void *source)
{
    mm_sample(e, NULL, ((const struct mm_app *)source)->devices_issued);
}

static void signatures(struct mm_exposition *e, const void *source)
{
    mm_sample(e, NULL, ((const struct mm_app *)source)->signatures_made);
}

static void random_bytes(struct mm_exposition *e, const void *source)
{
    mm_sample(e, NULL, ((const struct mm_app *)source)->random_bytes);
}

static void devices_replayed(struct mm_exposition *e, const void *source)
{
    mm_sample(e, NULL, ((const struct mm_app *)source)->devices_replayed);
}

struct orders {
    struct mm_exposition *e;
    int64_t now_ms;
    unsigned n; /* live ones seen so far */
    uint64_t (*value)(const struct mm_view_order *order);
};

static uint64_t quota_left(const struct mm_view_order *order)
{
    return order->used < order->quantity ? order->quantity - order->used : 0;
}

static uint64_t quota(const struct mm_view_order *order)
{
    return order->quantity;
}

/* One that is used up stays until it expires: that it is used up is what somebody waits to see. */
static void add_order(void *arg, const struct mm_view_order *order)
{
    const char *values[] = {order->order_id, order->profile};
    struct orders *o = arg;

    if (o->now_ms >= order->terms.not_after_ms || order->terms.hold > MM_ORDER_SUSPENDED)
        return;
    if (o->n++ < MM_METRICS_ORDERS_MAX && o->value)
        mm_sample(o->e, values, o->value(order));
}

static unsigned each_order(struct mm_exposition *e, const void *source,
                           uint64_t (*value)(const struct mm_view_order *order))
{
    struct orders orders = {.e = e, .now_ms = mm_clock_wall_ms(), .value = value};

    mm_view_each_order(((const struct mm_app *)source)->view, add_order, &orders);
    return orders.n;
}

static void orders_live(struct mm_exposition *e, const void *source)
{
    mm_sample(e, NULL, each_order(e, source, NULL));
}

static void order_quota(struct mm_exposition *e, const void *source)
{
    each_order(e, source, quota);
}

static void order_quota_left(struct mm_exposition *e, const void *source)
{
    each_order(e, source, quota_left);
}

static void batches_open(struct mm_exposition *e, const void *source)
{
    mm_sample(e, NULL, mm_view_open_batches(((const struct mm_app *)source)->view));
}

/* ---- the service ------------------------------------------------------------------------- */

static void ready(struct mm_exposition *e, const void *source)
{
    char detail[MM_DETAIL_MAX];

    mm_sample(e, NULL, mm_app_is_ready(source, detail));
}

static void uptime(struct mm_exposition *e, const void *source)
{
    const int64_t since_us = ((const struct mm_app *)source)->started_mono_us;

    mm_sample_seconds(e, NULL, (uint64_t)(mm_clock_mono_us() - since_us));
}

static void build_info(struct mm_exposition *e, const void *source)
{
    (void)source;
    mm_sample(e, ONE(MM_VERSION), 1);
}

static int statm_fd = -1;

void mm_metrics_open(void)
{
    statm_fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
}

/* Left out when the kernel does not tell. */
static void resident_bytes(struct mm_exposition *e, const void *source)
{
    unsigned long all, resident;
    char text[256];
    ssize_t n;

    (void)source;
    /* At offset 0 it is made anew. */
    n = statm_fd < 0 ? -1 : pread(statm_fd, text, sizeof(text) - 1, 0);
    if (n <= 0)
        return;
    text[n] = 0;
    if (sscanf(text, "%lu %lu", &all, &resident) == 2)
        mm_sample(e, NULL, (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE));
}

/* ---- the table --------------------------------------------------------------------------- */

/* ---- certificates from elsewhere ------------------------------------------------------------ */

static void add_withheld(void *arg, const struct mm_enrolling_info *info)
{
    const char *waiting[] = {info->profile, "waiting"}, *parked[] = {info->profile, "parked"};

    mm_sample(arg, waiting, info->waiting);
    mm_sample(arg, parked, info->parked);
}

static void devices_withheld(struct mm_exposition *e, const void *source)
{
    mm_enrolling_each(((const struct mm_app *)source)->enrolling, add_withheld, e);
}

static void add_settled(void *arg, const struct mm_enrolling_info *info)
{
    const char *certified[] = {info->profile, "certified"}, *failed[] = {info->profile, "failed"};

    mm_sample(arg, certified, info->certified);
    mm_sample(arg, failed, info->failed);
}

static void enrolments(struct mm_exposition *e, const void *source)
{
    mm_enrolling_each(((const struct mm_app *)source)->enrolling, add_settled, e);
}

static void add_wrong(void *arg, const struct mm_enrolling_info *info)
{
    const char *doubles[] = {info->profile, "double"}, *bad[] = {info->profile, "bad"};

    mm_sample(arg, doubles, info->doubles);
    mm_sample(arg, bad, info->bad);
}

static void wrong_certificates(struct mm_exposition *e, const void *source)
{
    mm_enrolling_each(((const struct mm_app *)source)->enrolling, add_wrong, e);
}

static void revocations(struct mm_exposition *e, const void *source)
{
    mm_sample(e, NULL, mm_enrolling_revocations(((const struct mm_app *)source)->enrolling));
}

static void refusals(struct mm_exposition *e, const void *source)
{
    mm_sample(e, NULL, mm_enrolling_refusals(((const struct mm_app *)source)->enrolling));
}

const struct mm_metric mm_metrics[] = {
    {"mintmark_ready", MM_GAUGE, "1 when token and store answer.", {NULL}, ready},
    {"mintmark_uptime_seconds", MM_GAUGE, "Time since the service started.", {NULL}, uptime},
    {"mintmark_build_info", MM_GAUGE, "Always 1.", {"version"}, build_info},
    {"mintmark_resident_memory_bytes", MM_GAUGE, "Memory of the front.", {NULL}, resident_bytes},
    {"mintmark_workers", MM_GAUGE, "Worker processes.", {"kind", "state"}, workers},
    {"mintmark_worker_restarts_total",
     MM_COUNTER,
     "Worker processes that ended and should not.",
     {"kind"},
     restarts},
    {"mintmark_token_distrusted_total",
     MM_COUNTER,
     "Times that what a token made was false, and it was taken out of service.",
     {NULL},
     distrusted},
    {"mintmark_jobs_total", MM_COUNTER, "Jobs that workers ended.", {"kind", "outcome"}, jobs},
    {"mintmark_job_seconds",
     MM_HISTOGRAM,
     "From a job's hand-over to its answer.",
     {"kind"},
     job_seconds},
    {"mintmark_token_cpu_seconds_total",
     MM_COUNTER,
     "CPU time in the token's module, sampled.",
     {NULL},
     token_cpu},
    {"mintmark_token_sampled_devices_total",
     MM_COUNTER,
     "Devices that CPU time was sampled for.",
     {NULL},
     token_sampled},
    {"mintmark_chunks_waiting",
     MM_GAUGE,
     "Chunks of devices that wait for a token worker.",
     {NULL},
     chunks_waiting},
    {"mintmark_devices_waiting", MM_GAUGE, "Devices in them.", {NULL}, devices_waiting},
    {"mintmark_chunks_recording",
     MM_GAUGE,
     "Chunks that the store is recording.",
     {NULL},
     chunks_recording},
    {"mintmark_ledger_locked",
     MM_GAUGE,
     "1 while the ledger is locked, with the reason; docs/ledger.md.",
     {"reason"},
     ledger_locked},
    {"mintmark_ledger_records", MM_GAUGE, "Records of the ledger.", {NULL}, ledger_records},
    {"mintmark_ledger_unanchored_devices",
     MM_GAUGE,
     "Devices beyond the token's anchor.",
     {NULL},
     ledger_unanchored},
    {"mintmark_ledger_unclean_starts",
     MM_GAUGE,
     "Unclean starts since the last unlock.",
     {NULL},
     ledger_unclean},
    {"mintmark_ledger_anchors_total", MM_COUNTER, "Anchors written.", {NULL}, ledger_anchors},
    {"mintmark_keys_deleted_total",
     MM_COUNTER,
     "Devices whose private keys were deleted.",
     {NULL},
     keys_deleted},
    {"mintmark_devices_issued_total",
     MM_COUNTER,
     "Devices recorded since the start.",
     {NULL},
     devices_issued},
    {"mintmark_signatures_total",
     MM_COUNTER,
     "Signatures that the tokens made for Sign.",
     {NULL},
     signatures},
    {"mintmark_random_bytes_total",
     MM_COUNTER,
     "Random bytes that the tokens gave for Random.",
     {NULL},
     random_bytes},
    {"mintmark_devices_replayed_total",
     MM_COUNTER,
     "Recorded devices that were sent again.",
     {NULL},
     devices_replayed},
    {"mintmark_devices_withheld",
     MM_GAUGE,
     "Devices without certificate: waiting for the issuer, or parked.",
     {"profile", "state"},
     devices_withheld},
    {"mintmark_enrolments_total",
     MM_COUNTER,
     "Devices that an issuer elsewhere certified, or refused for good, since the database was "
     "made.",
     {"profile", "outcome"},
     enrolments},
    {"mintmark_wrong_certificates_total",
     MM_COUNTER,
     "Certificates from an issuer elsewhere that were not as they must be, or one too many.",
     {"profile", "kind"},
     wrong_certificates},
    {"mintmark_revocations_pending",
     MM_GAUGE,
     "Revocations that no issuer has taken in yet.",
     {NULL},
     revocations},
    {"mintmark_revocations_refused",
     MM_GAUGE,
     "Revocations that an issuer has refused, which wait for an officer.",
     {NULL},
     refusals},
    {"mintmark_batches_open", MM_GAUGE, "Batches that are open.", {NULL}, batches_open},
    {"mintmark_orders", MM_GAUGE, "Orders that have not expired.", {NULL}, orders_live},
    {"mintmark_order_quota",
     MM_GAUGE,
     "Devices that the order allows.",
     {"order_id", "profile"},
     order_quota},
    {"mintmark_order_quota_left",
     MM_GAUGE,
     "Of them, those that are not recorded yet.",
     {"order_id", "profile"},
     order_quota_left},
};
const size_t mm_n_metrics = MM_ARRAY_SIZE(mm_metrics);
