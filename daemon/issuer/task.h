/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A job under way: a few requests, one after the other. Each answer goes to the step that its
 * request was sent with; a step sends the next request or ends the task. A step returns the verdict
 * that counts for the node: out->verdict, unless the body was not what it should be.
 */
#pragma once

#include "daemon/issuer/issuer.h"

struct mm_task;
typedef struct mm_verdict (*mm_task_step)(struct mm_task *t, const struct mm_outcome *out);

struct mm_task {
    struct mm_request request; /* stands first */
    LIST_ENTRY(mm_task) link;
    struct mm_issuer *issuer;
    Mintmark__Internal__IssuerJob *job; /* owned; NULL: the worker's own task */
    struct mm_issuing *profile;
    mm_task_step step;
    void *state; /* of the kind; freed by free_state */
    void (*free_state)(void *state);
};

/* A task of nobody's job; NULL for want of memory. */
struct mm_task *mm_task_new(struct mm_issuer *i);
/* Without an answer. */
void mm_task_free(struct mm_task *t);

/* Empty path and body for the next request. */
void mm_task_prepare(struct mm_task *t);
/* Sends it. Reading kinds may be asked twice, and are asked of another node when one fails. */
void mm_task_send(struct mm_task *t, enum mm_call_kind kind, enum mm_method method,
                  size_t answer_max, mm_task_step step);

/* Each of these answers the job and ends the task; t is gone. */
void mm_task_reply(struct mm_task *t, Mintmark__Internal__IssuerResult *result);
void mm_task_error(struct mm_task *t, const struct mm_errinfo *why);
/* By the verdict. uncertain: besides what the verdict says. */
void mm_task_fail(struct mm_task *t, const struct mm_outcome *out, const struct mm_verdict *v,
                  bool uncertain);

/* Fills profile; MM_ERR_NOT_FOUND UNKNOWN_PROFILE. */
int mm_task_profile(struct mm_task *t, const char *name, struct mm_errinfo *ei) MM_MUST_USE;

/* Calls then once the DN of the profile's CA is known, asking EJBCA if it must; a failure ends the
 * task. */
void mm_task_with_ca(struct mm_task *t, void (*then)(struct mm_task *t));

/* The kinds of jobs: each begins the task's first request, or ends it. */
void mm_task_issue(struct mm_task *t);  /* issue.c */
void mm_task_revoke(struct mm_task *t); /* query.c */
void mm_task_revocation(struct mm_task *t);
void mm_task_ca_chain(struct mm_task *t);
void mm_task_crl(struct mm_task *t);
void mm_task_list(struct mm_task *t);
void mm_task_check(struct mm_task *t); /* check.c */

/* Compares a CA's chain as EJBCA has it with the pinned one: ders is filled from PEM. */
int mm_task_read_chain(const struct mm_issuer *i, struct mm_bytes pem, struct mm_ders *ret_ders,
                       struct mm_errinfo *ei) MM_MUST_USE;
