/* SPDX-License-Identifier: Apache-2.0 */
/* What is refused at once, for it would only wait in vain: see mm_mint_admit. */
#include "daemon/base/clock.h"
#include "daemon/front/mint_internal.h"

enum {
    RETRY_MIN_MS = 50,
    RETRY_MAX_MS = 60000,
    UNDIVIDED = 8, /* units that are one worker's, however many there are */
};

uint32_t mm_retry_ms(uint64_t us)
{
    const uint64_t ms = us / 1000;

    return ms < RETRY_MIN_MS ? RETRY_MIN_MS : ms > RETRY_MAX_MS ? RETRY_MAX_MS : (uint32_t)ms;
}

static uint64_t waiting_units(const struct mm_mint_flow *flow)
{
    if (flow->waiting)
        return flow->waiting(flow);
    /* One whose job a worker was given last stays until the next is to be given out. */
    return flow->flow.station != NULL && flow->wants(flow);
}

static uint64_t jobs_for(uint64_t units)
{
    return (units + MM_CHUNK_DEVICES - 1) / MM_CHUNK_DEVICES;
}

static uint64_t waiting_us(const struct mm_mint_flow *flow)
{
    return mm_cost_us(flow->cost, waiting_units(flow));
}

static uint64_t workers(const struct mm_mint *mint)
{
    const unsigned ready = mm_mint_ready(mint);

    return ready > 0 ? ready : 1;
}

/* Small calls go first: bulk does not stand before them. */
static bool stands_before(const struct mm_mint_flow *flow, enum mm_sched_class class)
{
    return class == MM_SCHED_BULK || flow->flow.class == MM_SCHED_INTERACTIVE;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Worker time of the other clients until one of them, `me`, has had mine_us: in a fair queue each
 * has had as much by then, or all that it waits for. */
static uint64_t others_us(const struct mm_mint *mint, const struct mm_account *me,
                          enum mm_sched_class class, uint64_t mine_us)
{
    const struct mm_mint_flow *flow;
    uint64_t sum = 0;

    LIST_FOREACH(flow, &mint->flows, link) {
        if (flow->account)
            flow->account->queued_us = 0;
    }
    LIST_FOREACH(flow, &mint->flows, link) {
        if (flow->account && flow->account != me && stands_before(flow, class))
            flow->account->queued_us += waiting_us(flow);
    }
    LIST_FOREACH(flow, &mint->flows, link) {
        if (!flow->account)
            continue;
        sum += least(flow->account->queued_us, mine_us);
        flow->account->queued_us = 0;
    }
    return sum;
}

/* Worker time of the client's own until one more flow has had cost_us: they take turns. */
static uint64_t own_us(const struct mm_mint *mint, const struct mm_account *me,
                       enum mm_sched_class class, uint64_t cost_us)
{
    const struct mm_mint_flow *flow;
    uint64_t sum = cost_us;

    LIST_FOREACH(flow, &mint->flows, link) {
        if (flow->account == me && stands_before(flow, class))
            sum += least(waiting_us(flow), cost_us);
    }
    return sum;
}

/* When so much more of this client would be done. Of what runs, half is over. */
static uint64_t finish_us(const struct mm_mint *mint, const struct mm_account *me,
                          enum mm_sched_class class, uint64_t cost_us)
{
    const uint64_t mine_us = own_us(mint, me, class, cost_us);

    return (mint->sched.running_us / 2 + mine_us + others_us(mint, me, class, mine_us)) /
           workers(mint);
}

uint64_t mm_mint_wait_us(const struct mm_mint *mint, enum mm_sched_class class)
{
    const struct mm_mint_flow *flow;
    uint64_t sum = mint->sched.running_us / 2;

    LIST_FOREACH(flow, &mint->flows, link) {
        if (stands_before(flow, class))
            sum += waiting_us(flow);
    }
    return sum / workers(mint);
}

uint64_t mm_mints_wait_us(const struct mm_mints *m, enum mm_sched_class class)
{
    const struct mm_mint *mint;
    uint64_t longest = 0;

    LIST_FOREACH(mint, &m->all, link) {
        const uint64_t us = mm_mint_wait_us(mint, class);

        longest = us > longest ? us : longest;
    }
    return longest;
}

uint64_t mm_mint_queued(const struct mm_mint *mint, const struct mm_account *account,
                        enum mm_sched_class class)
{
    const struct mm_mint_flow *flow;
    uint64_t jobs = 0;

    LIST_FOREACH(flow, &mint->flows, link) {
        if (flow->flow.class == class && (!account || flow->account == account))
            jobs += jobs_for(waiting_units(flow));
    }
    return jobs;
}

static uint64_t queued_everywhere(const struct mm_mints *m, const struct mm_account *account,
                                  enum mm_sched_class class)
{
    const struct mm_mint *mint;
    uint64_t jobs = 0;

    LIST_FOREACH(mint, &m->all, link) {
        jobs += mm_mint_queued(mint, account, class);
    }
    return jobs;
}

/* So many of the client's jobs, or with NULL of all clients', must be gone before it is worth
 * coming back. */
static uint32_t come_back_ms(const struct mm_mint *mint, const struct mm_mint_flow *flow,
                             const struct mm_account *account, uint64_t jobs)
{
    const uint64_t us = mm_cost_us(flow->cost, jobs * MM_CHUNK_DEVICES);
    const enum mm_sched_class class = flow->flow.class;

    return mm_retry_ms(account ? finish_us(mint, account, class, us)
                               : least(us / workers(mint), mm_mint_wait_us(mint, class)));
}

/* A call that finds nothing of its client's, or of anybody's, in the queue may be as big as it
 * likes.
 */
static bool fits(uint64_t queued, uint64_t jobs, unsigned limit)
{
    return limit == 0 || queued == 0 || queued + jobs <= limit;
}

static int check_queue(const struct mm_mint *mint, const struct mm_mint_flow *flow, uint64_t jobs,
                       struct mm_errinfo *ei)
{
    struct mm_accounts *accounts = mint->mints->accounts;
    const struct mm_job_limits *limits = mm_accounts_limits(accounts);
    const uint64_t of_client = queued_everywhere(mint->mints, flow->account, flow->flow.class);
    const uint64_t all = queued_everywhere(mint->mints, NULL, flow->flow.class);

    if (!fits(of_client, jobs, limits->client_queued)) {
        mm_accounts_refuse(accounts, MM_REFUSED_STATION);
        mm_fail(ei, MM_ERR_EXHAUSTED, "STATION_BUSY",
                "this client has %llu jobs queued, and this call would add %llu; the limit is %u",
                (unsigned long long)of_client, (unsigned long long)jobs, limits->client_queued);
        ei->retry_ms =
            come_back_ms(mint, flow, flow->account, of_client + jobs - limits->client_queued);
        return mm_err_subject(ei, "client", flow->account->name);
    }
    if (fits(all, jobs, limits->queued))
        return MM_OK;
    mm_accounts_refuse(accounts, MM_REFUSED_SERVICE);
    mm_fail(ei, MM_ERR_UNAVAILABLE, "SERVICE_BUSY",
            "the service has %llu jobs queued, and this call would add %llu; the limit is %u",
            (unsigned long long)all, (unsigned long long)jobs, limits->queued);
    ei->retry_ms = come_back_ms(mint, flow, NULL, all + jobs - limits->queued);
    return ei->code;
}

/* Measured costs vary: refused is only what is far off. */
static bool is_too_late(uint64_t us, int64_t deadline_us)
{
    return deadline_us != INT64_MAX && (int64_t)(us - us / 4) > deadline_us - mm_clock_mono_us();
}

static int fail_late(const struct mm_mint *mint, uint64_t us, int64_t deadline_us,
                     struct mm_errinfo *ei)
{
    const int64_t left_ms = (deadline_us - mm_clock_mono_us()) / 1000;

    mm_accounts_refuse(mint->mints->accounts, MM_REFUSED_DEADLINE);
    return mm_fail(ei, MM_ERR_TIMEOUT, "DEADLINE_TOO_SHORT",
                   "this takes about %llu ms from now, and the deadline leaves %lld",
                   (unsigned long long)us / 1000, (long long)(left_ms > 0 ? left_ms : 0));
}

/* When the section would have done its share, on the clock of a queue that goes on as it is. */
static uint64_t share_us(const struct mm_mint_share *share, enum mm_sched_class class)
{
    const struct mm_mint_flow *flow = share->flow;
    const uint64_t alone_us = mm_cost_us(flow->cost, least(share->units, UNDIVIDED));
    const uint64_t us =
        finish_us(share->mint, flow->account, class, mm_cost_us(flow->cost, share->units));

    return us < alone_us ? alone_us : us;
}

int mm_mint_admit_shares(const struct mm_mint_share *shares, size_t n, const char *station,
                         enum mm_sched_class class, int64_t deadline_us, struct mm_errinfo *ei)
{
    struct mm_mints *m = shares[0].mint->mints;
    struct mm_account *account = mm_account_get(m->accounts, station);
    uint64_t units = 0, us = UINT64_MAX;
    int r;

    if (!account)
        return mm_fail_memory(ei);
    for (size_t i = 0; i < n; i++) {
        shares[i].flow->account = account;
        shares[i].flow->flow.class = class;
        units += shares[i].units;
    }
    r = check_queue(shares[0].mint, shares[0].flow, jobs_for(units), ei);
    if (r < 0)
        return r;
    /* Who is done first takes more than its share. */
    for (size_t i = 0; i < n; i++)
        us = least(us, share_us(&shares[i], class));
    return is_too_late(us, deadline_us) ? fail_late(shares[0].mint, us, deadline_us, ei) : MM_OK;
}

int mm_mint_admit(struct mm_mint *mint, struct mm_mint_flow *flow, const char *station,
                  enum mm_sched_class class, uint64_t units, int64_t deadline_us,
                  struct mm_errinfo *ei)
{
    const struct mm_mint_share all = {mint, flow, units};

    return mm_mint_admit_shares(&all, 1, station, class, deadline_us, ei);
}

uint64_t mm_mint_speed(const struct mm_mint *mint, const struct mm_cost *cost)
{
    const uint64_t chunk_us = mm_cost_us(cost, MM_CHUNK_DEVICES);

    return mm_mint_ready(mint) *
           (chunk_us > 0 ? MM_CHUNK_DEVICES * (uint64_t)1000000 / chunk_us + 1 : 1000);
}

int mm_mint_check_deadline(const struct mm_mint_flow *flow, uint64_t units, int64_t deadline_us,
                           struct mm_errinfo *ei)
{
    const uint64_t us = mm_cost_us(flow->cost, units);

    return is_too_late(us, deadline_us) ? fail_late(flow->mint, us, deadline_us, ei) : MM_OK;
}
