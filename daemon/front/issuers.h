/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The workers of the issuer sections of kind ejbca, one mintmark-issuer for each: started, watched,
 * replaced on a reload, asked every second how their EJBCA is. Everything on the loop.
 *
 * Jobs are those of proto/internal/issuer.proto. On a reload a new worker takes over when it is
 * ready; the old one ends when it has done what it has. A job whose worker is lost ends with
 * MM_ERR_UNAVAILABLE ISSUER_UNAVAILABLE: how far it came nobody knows.
 */
#pragma once

#include "daemon/conf/conf.h"
#include "daemon/front/bucket.h"
#include "daemon/front/pool.h"
#include "internal/issuer.pb-c.h"

struct mm_issuers; /* all of a service */

struct mm_issuers_ops {
    /* A worker has room again, is ready, or is no more; a node is back, or away. May submit jobs.
     */
    void (*changed)(void *arg, const char *section);
};

int mm_issuers_new(uv_loop_t *loop, struct mm_launcher *launcher, const struct mm_issuers_ops *ops,
                   void *arg, struct mm_issuers **ret_issuers, struct mm_errinfo *ei) MM_MUST_USE;

/* Starts a worker for every section of kind ejbca, or replaces those that run; sections that are no
 * more are given up. On failure nothing has changed. */
int mm_issuers_configure(struct mm_issuers *m, const struct mm_conf *conf,
                         struct mm_bytes conf_text, struct mm_errinfo *ei) MM_MUST_USE;

/* Stops all workers when they have done what they have, or at once; done follows when none is left.
 */
void mm_issuers_stop(struct mm_issuers *m, bool at_once, void (*done)(void *arg), void *arg);
/* Only after done. */
void mm_issuers_free(struct mm_issuers *m);

/* Jobs that the section's worker would take now; 0 when it has no worker that is ready. */
unsigned mm_issuers_room(const struct mm_issuers *m, const char *section);
/* Jobs that it takes when it has none; 0 for a section that there is not. */
unsigned mm_issuers_depth(const struct mm_issuers *m, const char *section);
/* The bucket of its setting per_s; NULL when it has no bound. */
struct mm_bucket *mm_issuers_bucket(const struct mm_issuers *m, const char *section);

/* As mm_pool_submit: MM_OK, and job->done is called exactly once, with an IssuerResult or an error;
 * MM_ERR_AGAIN: no room; MM_ERR_UNAVAILABLE ISSUER_UNAVAILABLE: no worker is ready, and why.
 * MM_ERR_NOT_FOUND UNKNOWN_ISSUER: there is no such section of kind ejbca. */
int mm_issuers_submit(struct mm_issuers *m, const char *section, struct mm_job *job,
                      Mintmark__Internal__IssuerJob *message, int64_t deadline_us,
                      struct mm_errinfo *ei) MM_MUST_USE;

/* Could a job go out now, as far as is known: is the worker ready, and is there a node whose
 * breaker is closed or due? As of the last answers, so up to a second old. */
bool mm_issuers_up(const struct mm_issuers *m, const char *section);

/* The first section of which no node is in use, and why, in *ret_why (borrowed; may be ""); NULL:
 * none. */
const char *mm_issuers_away(const struct mm_issuers *m, const char **ret_why);

/* One node of an issuer, as its worker said last. */
struct mm_issuer_node {
    char issuer[MM_NAME_MAX + 1];
    char name[300]; /* host and port */
    Mintmark__Internal__IssuerState__Breaker breaker;
    uint32_t limit, in_flight;
    uint64_t requests, failures, opened, latency_us;
    char last_error[MM_ISSUER_TEXT_MAX];
};
/* Of one section, or of all (NULL). Those of a worker that is away are as it said last, with
 * breaker BREAKER_UNSPECIFIED. */
void mm_issuers_each_node(const struct mm_issuers *m, const char *section,
                          void (*each)(void *arg, const struct mm_issuer_node *node), void *arg);
void mm_issuers_each_worker(const struct mm_issuers *m,
                            void (*each)(void *arg, const struct mm_pool_worker_info *info),
                            void *arg);
