/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the client: client.c has nodes and queue, transfer.c has libcurl. */
#pragma once

#include "daemon/issuer/client.h"

#include <curl/curl.h>

struct mm_node {
    char name[300]; /* host and port */
    char *url;      /* base of the API, without a slash at the end */
    struct mm_breaker breaker;
    struct mm_limiter limiter;
    unsigned in_flight;
    uint64_t requests, failures;
    char last_error[MM_ISSUER_TEXT_MAX];
};

/* One request at a time, again and again. */
struct mm_transfer {
    LIST_ENTRY(mm_transfer) link; /* while idle */
    struct mm_client *client;
    CURL *easy;
    struct mm_node *node;
    struct mm_request *request;
    struct mm_buf answer, url;
    size_t body_at; /* bytes of the request's body that libcurl has taken */
    int64_t started_us;
    char error[CURL_ERROR_SIZE];
};

struct mm_client {
    const struct mm_conf_issuer *conf;
    const struct mm_credential *credential;
    CURLM *multi;
    struct curl_slist *headers;
    struct mm_node nodes[MM_ISSUER_NODES_MAX];
    size_t n_nodes;
    struct mm_transfer *transfers;
    size_t n_transfers;
    LIST_HEAD(, mm_transfer) idle;
    TAILQ_HEAD(mm_requests, mm_request) queue;
    struct mm_requests finished; /* not judged yet */
    bool troubled;               /* one of them counts against its node */
    unsigned pending;
    bool answered; /* done was called since mm_client_wait began */
};

/* Makes the multi handle and the transfers, as many as may ever be in flight. */
int mm_transfers_new(struct mm_client *c, struct mm_errinfo *ei) MM_MUST_USE;
void mm_transfers_free(struct mm_client *c);
/* Begins a request on a node. False when libcurl refuses, for want of memory. */
bool mm_transfer_begin(struct mm_client *c, struct mm_node *node, struct mm_request *r);
/* Moves everything on and hands finished ones to mm_client_finished. */
void mm_transfers_run(struct mm_client *c);

/* transfer.c tells of one that has its reply, answer and took_us; the transfer is idle again. */
void mm_client_finished(struct mm_client *c, struct mm_node *node, struct mm_request *r);
