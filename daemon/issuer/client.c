/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/issuer/client_internal.h"

#include "daemon/base/clock.h"
#include "daemon/base/log.h"

#include <stdio.h>
#include <string.h>

enum { LATE_MS = 100 };

static const char default_path[] = "/ejbca/ejbca-rest-api";

/* Random enough for jitter. */
static uint32_t chance(void)
{
    return (uint32_t)random();
}

/* ---- nodes ------------------------------------------------------------------------------- */

/* "https://host:port/path/" → "host:port", and the URL with the usual path and no slash at its end.
 */
static bool set_node(struct mm_node *n, const char *url, const struct mm_conf_issuer *conf)
{
    const char *host = url + strlen("https://");
    const size_t host_len = strcspn(host, "/");
    size_t len = strlen(url);

    while (len > 0 && url[len - 1] == '/')
        len--;
    snprintf(n->name, sizeof(n->name), "%.*s", (int)host_len, host);
    if (asprintf(&n->url, "%.*s%s", (int)len, url,
                 url + len > host + host_len ? "" : default_path) < 0) {
        n->url = NULL;
        return false;
    }
    n->breaker = (struct mm_breaker){.failures_max = conf->breaker_failures,
                                     .wait_ms = conf->breaker_wait_ms,
                                     .wait_max_ms = conf->breaker_wait_max_ms};
    mm_limiter_init(&n->limiter, conf->requests_start, conf->requests_max);
    return true;
}

int mm_client_new(const struct mm_conf_issuer *conf, const struct mm_credential *credential,
                  struct mm_client **ret_client, struct mm_errinfo *ei)
{
    struct mm_client *c = calloc(1, sizeof(*c));
    int r = MM_OK;

    if (!c)
        return mm_fail_memory(ei);
    c->conf = conf;
    c->credential = credential;
    TAILQ_INIT(&c->queue);
    TAILQ_INIT(&c->finished);
    for (; r == MM_OK && c->n_nodes < conf->n_nodes; c->n_nodes++) {
        if (!set_node(&c->nodes[c->n_nodes], conf->nodes[c->n_nodes], conf))
            r = mm_fail_memory(ei);
    }
    if (r == MM_OK)
        r = mm_transfers_new(c, ei);
    if (r < 0) {
        mm_client_free(c);
        return r;
    }
    *ret_client = c;
    return MM_OK;
}

void mm_client_free(struct mm_client *c)
{
    if (!c)
        return;
    mm_transfers_free(c);
    for (size_t i = 0; i < c->n_nodes; i++)
        free(c->nodes[i].url);
    free(c);
}

size_t mm_client_nodes(const struct mm_client *c)
{
    return c->n_nodes;
}

void mm_client_node(const struct mm_client *c, size_t i, struct mm_node_info *ret_info)
{
    const struct mm_node *n = &c->nodes[i];

    *ret_info = (struct mm_node_info){
        .name = n->name,
        .url = n->url,
        .breaker =
            n->breaker.state == MM_BREAKER_OPEN && mm_breaker_would(&n->breaker, mm_clock_mono_us())
                ? MM_BREAKER_HALF_OPEN
                : n->breaker.state,
        .limit = mm_limiter_limit(&n->limiter),
        .in_flight = n->in_flight,
        .requests = n->requests,
        .failures = n->failures,
        .opened = n->breaker.opened,
        .latency_us = n->limiter.latency_us,
        .last_error = n->last_error,
    };
}

/* ---- where to ---------------------------------------------------------------------------- */

enum where { AT_NODE, ALL_BUSY, ALL_AWAY, ALL_TRIED };

static bool tried(const struct mm_request *r, size_t i)
{
    return r->tried & 1u << i;
}

/* The first node in order that works; a busy one is waited for, since it does work. */
static enum where choose(struct mm_client *c, const struct mm_request *r, int64_t now_us,
                         struct mm_node **ret_node)
{
    enum where where = ALL_TRIED;

    for (size_t i = 0; i < c->n_nodes; i++) {
        struct mm_node *n = &c->nodes[i];

        if (tried(r, i) || (r->node != MM_ANY_NODE && (size_t)r->node != i))
            continue;
        *ret_node = n;
        if (r->node != MM_ANY_NODE)
            return AT_NODE;
        where = ALL_AWAY;
        if (!mm_breaker_would(&n->breaker, now_us))
            continue;
        if (n->in_flight >= mm_limiter_limit(&n->limiter))
            return ALL_BUSY;
        (void)mm_breaker_ask(&n->breaker, now_us);
        return AT_NODE;
    }
    return where;
}

static uint32_t away_ms(const struct mm_client *c, int64_t now_us)
{
    uint32_t least = UINT32_MAX;

    for (size_t i = 0; i < c->n_nodes; i++) {
        const uint32_t ms = mm_breaker_wait_ms(&c->nodes[i].breaker, now_us);

        if (ms < least)
            least = ms;
    }
    return mm_jitter(least + 20, chance());
}

static void answer_away(struct mm_client *c, struct mm_request *r, int64_t now_us)
{
    struct mm_outcome out = {
        .reply = {.text = c->nodes[0].last_error[0] ? c->nodes[0].last_error : "no node answers"},
        .verdict = {.class = MM_VERDICT_RETRY,
                    .reason = "EJBCA_AWAY",
                    .retry_ms = away_ms(c, now_us)},
        .node = "",
        .away = true,
    };

    c->pending--;
    c->answered = true;
    (void)r->done(r, &out);
}

static void answer_late(struct mm_client *c, struct mm_request *r)
{
    const struct mm_outcome out = {
        .reply = {.text = "the deadline passed before the request was sent"},
        .verdict = {.class = MM_VERDICT_RETRY,
                    .reason = "DEADLINE_EXCEEDED",
                    .general = true,
                    .retry_ms = LATE_MS},
        .node = "",
    };

    c->pending--;
    c->answered = true;
    (void)r->done(r, &out);
}

static void take_off(struct mm_client *c, struct mm_request *r)
{
    TAILQ_REMOVE(&c->queue, r, link);
}

static void begin(struct mm_client *c, struct mm_node *n, struct mm_request *r)
{
    r->tried |= 1u << (n - c->nodes);
    n->in_flight++;
    n->requests++;
    if (!mm_transfer_begin(c, n, r)) {
        r->reply = (struct mm_reply){.text = "out of memory"};
        r->answer = MM_BUF_INIT(0);
        r->took_us = 0;
        mm_client_finished(c, n, r);
    }
}

/* Begins what can be begun, in order; true if something was. */
static bool pump(struct mm_client *c)
{
    const int64_t now_us = mm_clock_mono_us();
    struct mm_request *r, *next;
    bool begun = false;

    for (r = TAILQ_FIRST(&c->queue); r && !LIST_EMPTY(&c->idle); r = next) {
        struct mm_node *node = NULL;

        next = TAILQ_NEXT(r, link);
        if (r->deadline_us && now_us >= r->deadline_us) {
            take_off(c, r);
            answer_late(c, r);
            next = TAILQ_FIRST(&c->queue); /* done may have changed the queue */
            continue;
        }
        switch (choose(c, r, now_us, &node)) {
        case AT_NODE:
            take_off(c, r);
            begin(c, node, r);
            begun = true;
            break;
        case ALL_BUSY:
            return begun;
        case ALL_AWAY:
        case ALL_TRIED:
            take_off(c, r);
            answer_away(c, r, now_us);
            next = TAILQ_FIRST(&c->queue);
            break;
        }
    }
    return begun;
}

void mm_client_submit(struct mm_client *c, struct mm_request *r)
{
    r->tried = 0;
    c->pending++;
    /* One to a given node waits for nobody's room. */
    if (r->node != MM_ANY_NODE)
        TAILQ_INSERT_HEAD(&c->queue, r, link);
    else
        TAILQ_INSERT_TAIL(&c->queue, r, link);
}

/* ---- what came of it --------------------------------------------------------------------- */

static void account(struct mm_node *n, const struct mm_outcome *out, const struct mm_verdict *v,
                    int64_t took_us, enum mm_call_kind kind, unsigned in_flight)
{
    const int64_t now_us = mm_clock_mono_us();
    bool changed;

    if (v->overload)
        mm_limiter_overload(&n->limiter, now_us);
    else if (!v->blame && kind == MM_CALL_ENROL)
        mm_limiter_answer(&n->limiter, now_us, took_us, in_flight);
    if (v->blame) {
        n->failures++;
        snprintf(n->last_error, sizeof(n->last_error), "%s", out->reply.text);
        changed = mm_breaker_failed(&n->breaker, now_us, chance());
    } else if (v->overload) {
        /* It lives; but a probe that hears "too much" has not shown that it works. */
        changed = false;
        mm_breaker_dropped(&n->breaker);
    } else {
        changed = mm_breaker_done(&n->breaker);
    }
    if (changed)
        mm_log(v->blame ? MM_LOG_WARNING : MM_LOG_INFO, v->blame ? "node_left" : "node_back",
               MM_STR("node", n->name), MM_STR("reason", v->blame ? v->reason : ""),
               MM_STR("text", v->blame ? n->last_error : ""),
               MM_UINT("wait_ms", v->blame ? n->breaker.last_wait_ms : 0));
}

/* Another node may do what this one could not: of a request that never left, and of one that may be
 * asked twice without harm. */
static bool tries_again(const struct mm_client *c, const struct mm_request *r,
                        const struct mm_outcome *out)
{
    const struct mm_verdict *v = &out->verdict;

    if (r->node != MM_ANY_NODE || v->class != MM_VERDICT_RETRY || !v->blame)
        return false;
    if (r->kind == MM_CALL_ENROL && (out->reply.sent || out->reply.status != 0))
        return false;
    return r->tried != (1u << c->n_nodes) - 1;
}

void mm_client_finished(struct mm_client *c, struct mm_node *n, struct mm_request *r)
{
    const struct mm_verdict v = mm_verdict(r->kind, &r->reply);

    r->at = n;
    r->in_flight = n->in_flight--;
    c->troubled = c->troubled || v.blame || v.overload;
    TAILQ_INSERT_TAIL(&c->finished, r, link);
}

/* done may free the request, or begin the next one with it: what is of the answer is taken out. */
static void judge(struct mm_client *c, struct mm_request *r)
{
    MM_BUF_CLEANUP struct mm_buf answer = r->answer;
    struct mm_node *n = r->at;
    const enum mm_call_kind kind = r->kind;
    const int64_t took_us = r->took_us;
    const unsigned in_flight = r->in_flight;
    char text[MM_ISSUER_TEXT_MAX];
    struct mm_outcome out = {.reply = r->reply,
                             .verdict = mm_verdict(kind, &r->reply),
                             .body = {answer.data, answer.len},
                             .node = n->name};
    struct mm_verdict v = out.verdict;

    snprintf(text, sizeof(text), "%s", r->reply.text);
    out.reply.text = text;
    if (tries_again(c, r, &out)) {
        account(n, &out, &v, took_us, kind, in_flight);
        TAILQ_INSERT_HEAD(&c->queue, r, link);
        return;
    }
    c->pending--;
    c->answered = true;
    out.verdict.retry_ms = mm_jitter(out.verdict.retry_ms, chance());
    v = r->done(r, &out);
    if (v.blame && !out.reply.text[0])
        out.reply.text = "not an answer of EJBCA's";
    account(n, &out, &v, took_us, kind, in_flight);
}

/* ---- the loop ---------------------------------------------------------------------------- */

/* A request may wait for nothing but a breaker or its deadline: then it is looked at again soon. */
static int shorten(const struct mm_client *c, int timeout_ms)
{
    enum { LOOK_AGAIN_MS = 50 };

    return !TAILQ_EMPTY(&c->queue) && timeout_ms > LOOK_AGAIN_MS ? LOOK_AGAIN_MS : timeout_ms;
}

/* To judge a certificate takes the processor longer than all else here. So what the answers made
 * room for is sent before they are judged: EJBCA is at work in the meantime. Not beyond a bad
 * answer, which may mean that the node is to be left alone. */
static void run(struct mm_client *c)
{
    struct mm_request *r;

    c->troubled = false;
    mm_transfers_run(c);
    if (!TAILQ_EMPTY(&c->finished) && !c->troubled && pump(c))
        mm_transfers_run(c);
    while ((r = TAILQ_FIRST(&c->finished))) {
        TAILQ_REMOVE(&c->finished, r, link);
        judge(c, r);
    }
}

int mm_client_wait(struct mm_client *c, int fd, int timeout_ms, bool *ret_readable,
                   struct mm_errinfo *ei)
{
    struct curl_waitfd channel = {.fd = fd, .events = CURL_WAIT_POLLIN};
    int n = 0;

    /* Whoever has been answered now is to hear it before there is any sleep. */
    c->answered = false;
    pump(c);
    if (c->answered)
        timeout_ms = 0;
    if (curl_multi_poll(c->multi, &channel, 1, shorten(c, timeout_ms), &n) != CURLM_OK)
        return mm_fail(ei, MM_ERR_INTERNAL, "CURL", "libcurl cannot wait");
    run(c);
    *ret_readable = channel.revents != 0;
    return MM_OK;
}
