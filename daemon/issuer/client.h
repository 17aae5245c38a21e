/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests to the nodes of one EJBCA: HTTPS with keep-alive, as many at a time as a node's limiter
 * allows, to the first node whose breaker lets it. One thread, one loop: mm_client_wait.
 *
 * No request is ever sent twice behind our back. libcurl repeats one by itself when a kept
 * connection turns out to be dead before any answer; an enrolment could so be done twice. It cannot
 * do that here, because bodies are handed over by a callback that cannot be rewound (client.c).
 */
#pragma once

#include "daemon/base/buf.h"
#include "daemon/issuer/breaker.h"
#include "daemon/issuer/credential.h"
#include "daemon/issuer/limiter.h"
#include "daemon/issuer/verdict.h"

#include <sys/queue.h>

struct mm_client;
struct mm_node;
struct mm_request;

/* What became of a request. */
struct mm_outcome {
    struct mm_reply reply;
    struct mm_verdict verdict;
    struct mm_bytes body; /* valid during done */
    const char *node;     /* "host:port" of the node that was asked last; "" if none was */
    bool away; /* no node could be asked: all breakers are open. verdict.retry_ms says when
                * one is tried again */
};

enum mm_method { MM_GET, MM_POST, MM_PUT };
enum { MM_ANY_NODE = -1 };

/* Owned by the caller, who fills in the upper part, from mm_client_submit until done is called. */
struct mm_request {
    enum mm_call_kind kind;
    enum mm_method method;
    struct mm_buf path, body; /* path below the API's base, with what follows a '?' */
    size_t answer_max;        /* bytes */
    int node;                 /* MM_ANY_NODE, or this one, whatever its breaker says */
    int64_t deadline_us;      /* not begun after it; 0: none */
    /* Called once, never during mm_client_submit. The verdict that it returns is what counts for
     * the node: out->verdict, or mm_verdict_bad_answer of a body that was not what it should be. It
     * may submit requests, this one too. */
    struct mm_verdict (*done)(struct mm_request *r, const struct mm_outcome *out);

    /* Inside. */
    TAILQ_ENTRY(mm_request) link; /* in the queue, or finished and not judged yet */
    unsigned tried;               /* bit set of nodes */
    struct mm_node *at;           /* once it is finished: who was asked, */
    struct mm_reply reply;        /* and what came, */
    char text[MM_ISSUER_TEXT_MAX];
    struct mm_buf answer;
    int64_t took_us;    /* how soon, */
    unsigned in_flight; /* while so many were, this one included */
};

int mm_client_new(const struct mm_conf_issuer *conf, const struct mm_credential *credential,
                  struct mm_client **ret_client, struct mm_errinfo *ei) MM_MUST_USE;
/* Requests that are under way are dropped without a word. */
void mm_client_free(struct mm_client *c);

void mm_client_submit(struct mm_client *c, struct mm_request *r);

/* Sends, receives and calls done, and sleeps where there is nothing to do, until fd is readable or
 * timeout_ms is over. */
int mm_client_wait(struct mm_client *c, int fd, int timeout_ms, bool *ret_readable,
                   struct mm_errinfo *ei) MM_MUST_USE;

struct mm_node_info {
    const char *name, *url;
    enum mm_breaker_state breaker; /* HALF_OPEN also when it is due */
    unsigned limit, in_flight;
    uint64_t requests, failures, opened;
    int64_t latency_us;
    const char *last_error;
};
size_t mm_client_nodes(const struct mm_client *c);
void mm_client_node(const struct mm_client *c, size_t i, struct mm_node_info *ret_info);
