/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/front/issuers.h"

#include "daemon/front/job.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    POOLS = 3, /* the newest first; the others are leaving */
    PING_MS = 1000,
    STUCK_MS = 30000, /* without an answer to anything, pings included: it hangs */
    JOBS_SPARE = 8,   /* for pings, checks and revocations beside the devices */
};

struct issuer {
    LIST_ENTRY(issuer) link;
    struct mm_issuers *all;
    char section[MM_NAME_MAX + 1];
    struct mm_pool *pools[POOLS];
    bool removed;
    bool pinned; /* pools are being stopped: not to be freed yet */
    uv_timer_t timer;
    struct mm_job ping;
    bool pinging;
    bool known; /* nodes are of the worker that runs */
    struct mm_issuer_node nodes[MM_ISSUER_NODES_MAX];
    size_t n_nodes;
    unsigned depth; /* jobs that the newest worker takes */
    unsigned running;
    struct mm_bucket bucket; /* of devices; per_s 0: no bound */
};

struct mm_issuers {
    uv_loop_t *loop;
    struct mm_launcher *launcher;
    const struct mm_issuers_ops *ops;
    void *arg;
    LIST_HEAD(, issuer) list;
    struct mm_pool_stats stats;
    void (*stopped)(void *arg);
    void *stopped_arg;
};

/* ---- life -------------------------------------------------------------------------------- */

static struct issuer *find(const struct mm_issuers *m, const char *section)
{
    struct issuer *i;

    LIST_FOREACH(i, &m->list, link) {
        if (!i->removed && strcmp(i->section, section) == 0)
            return i;
    }
    return NULL;
}

static void on_timer_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static bool has_pools(const struct issuer *i)
{
    for (size_t k = 0; k < POOLS; k++) {
        if (i->pools[k])
            return true;
    }
    return false;
}

static void collect(struct issuer *i)
{
    struct mm_issuers *m = i->all;

    if (!i->removed || i->pinned || has_pools(i))
        return;
    LIST_REMOVE(i, link);
    uv_close((uv_handle_t *)&i->timer, on_timer_closed);
    if (LIST_EMPTY(&m->list) && m->stopped)
        m->stopped(m->stopped_arg);
}

static void tell(struct issuer *i)
{
    if (!i->all->stopped && !i->removed)
        i->all->ops->changed(i->all->arg, i->section);
}

/* The pool that jobs go to: the newest that has a worker ready. */
static struct mm_pool *pool_of(const struct issuer *i)
{
    for (size_t k = 0; k < POOLS; k++) {
        if (i->pools[k] && mm_pool_ready(i->pools[k]) > 0)
            return i->pools[k];
    }
    return NULL;
}

/* ---- how it is --------------------------------------------------------------------------- */

static void take_node(struct mm_issuer_node *to, const struct issuer *i,
                      const Mintmark__Internal__IssuerState__Node *from)
{
    *to = (struct mm_issuer_node){
        .breaker = from->breaker,
        .limit = from->limit,
        .in_flight = from->in_flight,
        .requests = from->requests,
        .failures = from->failures,
        .opened = from->opened,
        .latency_us = from->latency_us,
    };
    snprintf(to->issuer, sizeof(to->issuer), "%s", i->section);
    snprintf(to->name, sizeof(to->name), "%s", from->name);
    snprintf(to->last_error, sizeof(to->last_error), "%s", from->last_error);
}

static bool has_node(const struct issuer *i, Mintmark__Internal__IssuerState__Breaker breaker)
{
    for (size_t k = 0; k < i->n_nodes; k++) {
        if (i->nodes[k].breaker == breaker)
            return true;
    }
    return !i->known; /* it has not said anything yet */
}

static bool works(const struct issuer *i)
{
    return pool_of(i) && has_node(i, MINTMARK__INTERNAL__ISSUER_STATE__BREAKER__CLOSED);
}

/* One that may be tried again is up: else nobody would try. */
static bool is_up(const struct issuer *i)
{
    return works(i) ||
           (pool_of(i) && has_node(i, MINTMARK__INTERNAL__ISSUER_STATE__BREAKER__HALF_OPEN));
}

static void on_ping(struct mm_job *job, const ProtobufCMessage *result, const struct mm_errinfo *ei)
{
    struct issuer *i = (struct issuer *)((char *)job - offsetof(struct issuer, ping));
    const Mintmark__Internal__IssuerResult *r = (const Mintmark__Internal__IssuerResult *)result;
    const bool was_up = is_up(i);

    (void)ei;
    i->pinging = false;
    if (!r || r->result_case != MINTMARK__INTERNAL__ISSUER_RESULT__RESULT_STATE)
        return;
    i->n_nodes = 0;
    for (size_t k = 0; k < r->state->n_nodes && k < MM_ISSUER_NODES_MAX; k++)
        take_node(&i->nodes[i->n_nodes++], i, r->state->nodes[k]);
    i->known = true;
    if (is_up(i) != was_up)
        tell(i);
}

static void ping(struct issuer *i)
{
    Mintmark__Internal__IssuerPing body = MINTMARK__INTERNAL__ISSUER_PING__INIT;
    Mintmark__Internal__IssuerJob job = MM_ISSUER_JOB(PING, ping, &body);
    struct mm_pool *pool = pool_of(i);
    struct mm_errinfo ei;

    if (!pool || i->pinging)
        return;
    i->ping = (struct mm_job){.done = on_ping};
    i->pinging = mm_pool_submit(pool, &i->ping, &job.base, INT64_MAX, NULL, &ei) == MM_OK;
}

static void on_timer(uv_timer_t *timer)
{
    ping(timer->data);
}

/* ---- pools ------------------------------------------------------------------------------- */

static void on_ready(void *arg, struct mm_pool *pool, const ProtobufCMessage *result)
{
    struct issuer *i = arg;

    (void)result;
    i->known = false;
    i->pinned = true;
    for (size_t k = 0; k < POOLS; k++) {
        if (i->pools[k] && i->pools[k] != pool && i->pools[0] == pool)
            mm_pool_retire(i->pools[k], UINT_MAX);
    }
    i->pinned = false;
    ping(i);
}

static void on_changed(void *arg, struct mm_pool *pool)
{
    struct issuer *i = arg;

    (void)pool;
    if (!pool_of(i)) {
        i->known = false;
        for (size_t k = 0; k < i->n_nodes; k++)
            i->nodes[k].breaker = MINTMARK__INTERNAL__ISSUER_STATE__BREAKER__BREAKER_UNSPECIFIED;
    }
    tell(i);
}

static void on_ended(void *arg, struct mm_pool *pool, struct mm_job *job, bool ok)
{
    struct issuer *i = arg;

    (void)pool;
    (void)ok;
    if (job != &i->ping)
        i->running--;
}

static void on_empty(void *arg, struct mm_pool *pool)
{
    struct issuer *i = arg;

    for (size_t k = 0; k < POOLS; k++) {
        if (i->pools[k] == pool)
            i->pools[k] = NULL;
    }
    mm_pool_free(pool);
    collect(i);
}

static const struct mm_pool_ops pool_ops = {
    .ready = on_ready, .changed = on_changed, .ended = on_ended, .empty = on_empty};

static struct issuer *add(struct mm_issuers *m, const char *section)
{
    struct issuer *i = calloc(1, sizeof(*i));

    if (!i)
        return NULL;
    i->all = m;
    snprintf(i->section, sizeof(i->section), "%s", section);
    uv_timer_init(m->loop, &i->timer);
    i->timer.data = i;
    uv_timer_start(&i->timer, on_timer, PING_MS, PING_MS);
    LIST_INSERT_HEAD(&m->list, i, link);
    return i;
}

static unsigned depth_of(const struct mm_conf_issuer *conf)
{
    /* What is not in flight yet is to last while the store gives out more, even when its disk is
     * slow: three rounds of answers. */
    const unsigned usual = 4 * conf->requests_max * (unsigned)conf->n_nodes;
    const unsigned depth = conf->jobs ? conf->jobs : usual;

    return depth < MM_ISSUER_JOBS_MAX ? depth : MM_ISSUER_JOBS_MAX;
}

static int new_pool(struct issuer *i, const struct mm_conf *conf,
                    const struct mm_conf_issuer *section, struct mm_bytes conf_text,
                    struct mm_pool **ret_pool, struct mm_errinfo *ei)
{
    char name[MM_NAME_MAX + 16];
    const struct mm_pool_options options = {
        .kind = &mm_pool_issuer,
        .name = name,
        .section = section->name,
        .single = true,
        .workers = 1,
        .jobs_per_worker = depth_of(section) + JOBS_SPARE,
        .job_timeout_ms = STUCK_MS,
        .conf_path = conf->path,
        .conf_text = conf_text,
        .stats = &i->all->stats,
        .ops = &pool_ops,
        .arg = i,
    };

    snprintf(name, sizeof(name), "issuer.%s", section->name);
    return mm_pool_new(i->all->loop, i->all->launcher, &options, ret_pool, ei);
}

/* Of one that has never served nothing is lost. */
static void adopt(struct issuer *i, struct mm_pool *pool, const struct mm_conf_issuer *conf)
{
    if (conf->per_s != i->bucket.per_s)
        i->bucket = (struct mm_bucket)MM_BUCKET_INIT(conf->per_s / 10 > 0 ? conf->per_s / 10 : 1,
                                                     conf->per_s);
    i->pinned = true;
    if (i->pools[POOLS - 1])
        mm_pool_kill(i->pools[POOLS - 1]);
    i->pinned = false;
    for (size_t k = POOLS - 1; k > 0; k--)
        i->pools[k] = i->pools[k - 1];
    i->pools[0] = pool;
    i->depth = depth_of(conf);
    if (i->pools[1] && mm_pool_ready(i->pools[1]) == 0)
        mm_pool_kill(i->pools[1]);
}

static void drop(struct issuer *i, bool at_once)
{
    i->removed = true;
    i->pinned = true;
    uv_timer_stop(&i->timer);
    for (size_t k = 0; k < POOLS; k++) {
        if (i->pools[k] && at_once)
            mm_pool_kill(i->pools[k]);
        else if (i->pools[k])
            mm_pool_retire(i->pools[k], UINT_MAX);
    }
    i->pinned = false;
    collect(i);
}

/* ---- from outside ------------------------------------------------------------------------ */

int mm_issuers_new(uv_loop_t *loop, struct mm_launcher *launcher, const struct mm_issuers_ops *ops,
                   void *arg, struct mm_issuers **ret_issuers, struct mm_errinfo *ei)
{
    struct mm_issuers *m = calloc(1, sizeof(*m));

    if (!m)
        return mm_fail_memory(ei);
    m->loop = loop;
    m->launcher = launcher;
    m->ops = ops;
    m->arg = arg;
    LIST_INIT(&m->list);
    *ret_issuers = m;
    return MM_OK;
}

static void drop_missing(struct mm_issuers *m, const struct mm_conf *conf)
{
    struct issuer *i, *next;

    for (i = LIST_FIRST(&m->list); i; i = next) {
        next = LIST_NEXT(i, link);
        if (!i->removed && !mm_conf_issuer_is_ejbca(mm_conf_issuer_get(conf, i->section)))
            drop(i, false);
    }
}

int mm_issuers_configure(struct mm_issuers *m, const struct mm_conf *conf,
                         struct mm_bytes conf_text, struct mm_errinfo *ei)
{
    struct mm_pool *pools[MM_ISSUERS_MAX] = {NULL};
    struct issuer *issuers[MM_ISSUERS_MAX] = {NULL};
    int r = MM_OK;

    for (size_t k = 0; r == MM_OK && k < conf->n_issuers; k++) {
        if (!mm_conf_issuer_is_ejbca(&conf->issuers[k]))
            continue;
        issuers[k] = find(m, conf->issuers[k].name);
        if (!issuers[k])
            issuers[k] = add(m, conf->issuers[k].name);
        r = issuers[k] ? new_pool(issuers[k], conf, &conf->issuers[k], conf_text, &pools[k], ei)
                       : mm_fail_memory(ei);
    }
    for (size_t k = 0; k < conf->n_issuers; k++) {
        if (r == MM_OK && pools[k])
            adopt(issuers[k], pools[k], &conf->issuers[k]);
        else
            mm_pool_free(pools[k]);
        if (r < 0 && issuers[k] && !has_pools(issuers[k]))
            drop(issuers[k], true);
    }
    if (r == MM_OK)
        drop_missing(m, conf);
    return r;
}

void mm_issuers_stop(struct mm_issuers *m, bool at_once, void (*done)(void *arg), void *arg)
{
    struct issuer *i, *next;

    if (LIST_EMPTY(&m->list)) {
        done(arg);
        return;
    }
    m->stopped = done;
    m->stopped_arg = arg;
    for (i = LIST_FIRST(&m->list); i; i = next) {
        next = LIST_NEXT(i, link);
        drop(i, at_once);
    }
}

void mm_issuers_free(struct mm_issuers *m)
{
    free(m);
}

unsigned mm_issuers_room(const struct mm_issuers *m, const char *section)
{
    const struct issuer *i = find(m, section);

    return i && pool_of(i) && i->running < i->depth ? i->depth - i->running : 0;
}

unsigned mm_issuers_depth(const struct mm_issuers *m, const char *section)
{
    const struct issuer *i = find(m, section);

    return i ? i->depth : 0;
}

struct mm_bucket *mm_issuers_bucket(const struct mm_issuers *m, const char *section)
{
    struct issuer *i = find(m, section);

    return i && i->bucket.per_s > 0 ? &i->bucket : NULL;
}

int mm_issuers_submit(struct mm_issuers *m, const char *section, struct mm_job *job,
                      Mintmark__Internal__IssuerJob *message, int64_t deadline_us,
                      struct mm_errinfo *ei)
{
    struct issuer *i = find(m, section);
    struct mm_pool *pool;
    int r;

    if (!i)
        return mm_fail(ei, MM_ERR_NOT_FOUND, "UNKNOWN_ISSUER", "no issuer '%.64s' of kind ejbca",
                       section);
    pool = pool_of(i);
    r = mm_pool_submit(pool ? pool : i->pools[0], job, &message->base, deadline_us, NULL, ei);
    if (r == MM_OK)
        i->running++;
    return r;
}

bool mm_issuers_up(const struct mm_issuers *m, const char *section)
{
    const struct issuer *i = find(m, section);

    return i && is_up(i);
}

const char *mm_issuers_away(const struct mm_issuers *m, const char **ret_why)
{
    const struct issuer *i;

    LIST_FOREACH(i, &m->list, link) {
        if (i->removed || works(i))
            continue;
        *ret_why = i->n_nodes > 0 && i->known ? i->nodes[0].last_error
                   : i->pools[0]              ? mm_pool_why(i->pools[0])->text
                                              : "";
        return i->section;
    }
    return NULL;
}

void mm_issuers_each_node(const struct mm_issuers *m, const char *section,
                          void (*each)(void *arg, const struct mm_issuer_node *node), void *arg)
{
    const struct issuer *i;

    LIST_FOREACH(i, &m->list, link) {
        if (i->removed || (section && strcmp(section, i->section) != 0))
            continue;
        for (size_t k = 0; k < i->n_nodes; k++)
            each(arg, &i->nodes[k]);
    }
}

void mm_issuers_each_worker(const struct mm_issuers *m,
                            void (*each)(void *arg, const struct mm_pool_worker_info *info),
                            void *arg)
{
    const struct issuer *i;

    LIST_FOREACH(i, &m->list, link) {
        for (size_t k = 0; k < POOLS; k++) {
            if (i->pools[k])
                mm_pool_each(i->pools[k], each, arg);
        }
    }
}
