/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Group commit: the jobs that came in together. Those that write become one transaction and one
 * fsync, each of them all or nothing by itself; those that read follow it, and so see what is on
 * disk and no more. No answer is given before that.
 */
#pragma once

#include "daemon/base/limits.h"
#include "daemon/store/job.h"
#include "daemon/store/store.h"

struct mm_group_entry {
    Mintmark__Internal__StoreJob *job;       /* in the arena */
    Mintmark__Internal__StoreResult *result; /* on the heap; NULL until done, and on failure */
    struct mm_errinfo ei;
};

/* Zero-initialised; give it back to mm_group_done. */
struct mm_group {
    struct mm_arena arena;
    size_t n;
    size_t bytes; /* of the messages */
    struct mm_group_entry entries[MM_GROUP_JOBS_MAX];
};

/* Takes one job message in; the group must not be full. A message that is no job is an error (see
 * mm_job_unpack); one that asks for something wrong is answered so by mm_group_run. */
int mm_group_add(struct mm_group *g, struct mm_bytes payload, struct mm_errinfo *ei) MM_MUST_USE;
bool mm_group_full(const struct mm_group *g);

/* Does all jobs, answers each once, and leaves the group empty. A result belongs to the group.
 * Fails only with what answer returned; then the rest stays unanswered. */
typedef int (*mm_group_answer_fn)(void *user, const Mintmark__Internal__StoreResult *result,
                                  struct mm_errinfo *ei);
int mm_group_run(struct mm_group *g, struct mm_store *s, mm_group_answer_fn answer, void *user,
                 struct mm_errinfo *ei) MM_MUST_USE;

void mm_group_done(struct mm_group *g);
