/* SPDX-License-Identifier: Apache-2.0 */
/* A line a metric at the end, and above it what collects its samples. Labels come from closed sets:
 * reasons, classes, sections and clients of the configuration; of the latter, those that came, and
 * MM_METRICS_CLIENTS_MAX at most. */
#include "daemon/front/metrics_jobs.h"

#include "daemon/front/app.h"

#define ONE(value) ((const char *const[]){value})

/* ---- admission --------------------------------------------------------------------------- */

static void jobs_in_flight(struct mm_exposition *e, const void *source)
{
    mm_sample(e, NULL, mm_accounts_running(((const struct mm_app *)source)->accounts));
}

static const char *const classes[MM_SCHED_CLASSES] = {
    [MM_SCHED_INTERACTIVE] = "interactive",
    [MM_SCHED_BULK] = "bulk",
};

static void add_queued(void *arg, const struct mm_mint *mint, const char *section)
{
    for (size_t i = 0; i < MM_SCHED_CLASSES; i++) {
        const char *values[] = {section, classes[i]};

        mm_sample(arg, values, mm_mint_queued(mint, NULL, (enum mm_sched_class)i));
    }
}

static void jobs_queued(struct mm_exposition *e, const void *source)
{
    mm_mints_each(((const struct mm_app *)source)->mints, add_queued, e);
}

static void add_wait(void *arg, const struct mm_mint *mint, const char *section)
{
    for (size_t i = 0; i < MM_SCHED_CLASSES; i++) {
        const char *values[] = {section, classes[i]};

        mm_sample_seconds(arg, values, mm_mint_wait_us(mint, (enum mm_sched_class)i));
    }
}

static void queue_wait(struct mm_exposition *e, const void *source)
{
    mm_mints_each(((const struct mm_app *)source)->mints, add_wait, e);
}

static void add_ready(void *arg, const struct mm_mint *mint, const char *section)
{
    mm_sample(arg, ONE(section), mm_mint_ready(mint));
}

static void token_workers_ready(struct mm_exposition *e, const void *source)
{
    mm_mints_each(((const struct mm_app *)source)->mints, add_ready, e);
}

static void add_jobs(void *arg, const struct mm_mint *mint, const char *section)
{
    mm_sample(arg, ONE(section), mm_mint_totals(mint)->jobs);
}

static void token_jobs(struct mm_exposition *e, const void *source)
{
    mm_mints_each(((const struct mm_app *)source)->mints, add_jobs, e);
}

static void add_units(void *arg, const struct mm_mint *mint, const char *section)
{
    mm_sample(arg, ONE(section), mm_mint_totals(mint)->units);
}

static void token_units(struct mm_exposition *e, const void *source)
{
    mm_mints_each(((const struct mm_app *)source)->mints, add_units, e);
}

static void add_busy(void *arg, const struct mm_mint *mint, const char *section)
{
    mm_sample_seconds(arg, ONE(section), mm_mint_totals(mint)->busy_us);
}

static void token_busy(struct mm_exposition *e, const void *source)
{
    mm_mints_each(((const struct mm_app *)source)->mints, add_busy, e);
}

static void profile_ready(struct mm_exposition *e, const void *source)
{
    const struct mm_app *app = source;

    for (size_t i = 0; i < app->conf->n_profiles; i++)
        mm_sample(e, ONE(app->conf->profiles[i].name),
                  mm_mints_profile_ready(app->mints, &app->conf->profiles[i]));
}

static void store_jobs_waiting(struct mm_exposition *e, const void *source)
{
    mm_sample(e, NULL, mm_store_queue_waiting(((const struct mm_app *)source)->store_queue));
}

static void refusals(struct mm_exposition *e, const void *source)
{
    static const char *const reasons[] = {
        [MM_REFUSED_CALLS] = "TOO_MANY_CALLS",
        [MM_REFUSED_STATION] = "STATION_BUSY",
        [MM_REFUSED_SERVICE] = "SERVICE_BUSY",
        [MM_REFUSED_DEADLINE] = "DEADLINE_TOO_SHORT",
    };
    const struct mm_app *app = source;

    static_assert(MM_ARRAY_SIZE(reasons) == MM_REFUSALS, "every refusal has a reason");
    for (size_t i = 0; i < MM_REFUSALS; i++)
        mm_sample(e, ONE(reasons[i]), mm_accounts_refused(app->accounts, (enum mm_refusal)i));
}

/* ---- clients ----------------------------------------------------------------------------- */

struct clients {
    struct mm_exposition *e;
    unsigned n;
    void (*sample)(struct mm_exposition *e, const struct mm_account *account);
};

static void add_client(void *arg, const struct mm_account *account)
{
    struct clients *c = arg;

    if (c->n++ < MM_METRICS_CLIENTS_MAX)
        c->sample(c->e, account);
}

static void each_client(struct mm_exposition *e, const void *source,
                        void (*sample)(struct mm_exposition *e, const struct mm_account *account))
{
    struct clients clients = {.e = e, .sample = sample};

    mm_accounts_each(((const struct mm_app *)source)->accounts, add_client, &clients);
}

static void sample_in_flight(struct mm_exposition *e, const struct mm_account *account)
{
    mm_sample(e, ONE(account->name), account->running);
}

static void sample_jobs(struct mm_exposition *e, const struct mm_account *account)
{
    mm_sample(e, ONE(account->name), account->jobs);
}

static void sample_token_time(struct mm_exposition *e, const struct mm_account *account)
{
    mm_sample_seconds(e, ONE(account->name), account->token_us);
}

static void client_jobs_in_flight(struct mm_exposition *e, const void *source)
{
    each_client(e, source, sample_in_flight);
}

static void client_token_jobs(struct mm_exposition *e, const void *source)
{
    each_client(e, source, sample_jobs);
}

static void client_token_seconds(struct mm_exposition *e, const void *source)
{
    each_client(e, source, sample_token_time);
}

/* ---- the table --------------------------------------------------------------------------- */

const struct mm_metric mm_job_metrics[] = {
    {"mintmark_jobs_in_flight", MM_GAUGE, "Jobs that workers have.", {NULL}, jobs_in_flight},
    {"mintmark_jobs_queued",
     MM_GAUGE,
     "Jobs that wait for a token worker.",
     {"token", "class"},
     jobs_queued},
    {"mintmark_queue_wait_seconds",
     MM_GAUGE,
     "Expected time until all that is queued is done.",
     {"token", "class"},
     queue_wait},
    {"mintmark_token_workers_ready",
     MM_GAUGE,
     "Workers of the token that are ready; 0: it is away.",
     {"token"},
     token_workers_ready},
    {"mintmark_token_jobs_total",
     MM_COUNTER,
     "Jobs that the token's workers did for calls.",
     {"token"},
     token_jobs},
    {"mintmark_token_units_total",
     MM_COUNTER,
     "Devices, signatures and the like in these jobs.",
     {"token"},
     token_units},
    {"mintmark_token_busy_seconds_total",
     MM_COUNTER,
     "Time that the token's workers spent on calls.",
     {"token"},
     token_busy},
    {"mintmark_profile_ready",
     MM_GAUGE,
     "1 when one of the profile's tokens has a ready worker.",
     {"profile"},
     profile_ready},
    {"mintmark_store_jobs_waiting",
     MM_GAUGE,
     "Jobs that wait for the store.",
     {NULL},
     store_jobs_waiting},
    {"mintmark_refusals_total",
     MM_COUNTER,
     "Calls refused at once, for it would be too much or too late.",
     {"reason"},
     refusals},
    {"mintmark_client_jobs_in_flight",
     MM_GAUGE,
     "Jobs of the client that workers have.",
     {"client"},
     client_jobs_in_flight},
    {"mintmark_client_token_jobs_total",
     MM_COUNTER,
     "Jobs of the client that token workers ended.",
     {"client"},
     client_token_jobs},
    {"mintmark_client_token_seconds_total",
     MM_COUNTER,
     "Time of token workers that the client has had.",
     {"client"},
     client_token_seconds},
};
const size_t mm_n_job_metrics = MM_ARRAY_SIZE(mm_job_metrics);
