/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Job messages as they come in. The front has checked what stations and officers sent; the store
 * checks its own input again, for the front is the process that strangers can reach.
 */
#pragma once

#include "daemon/base/buf.h"
#include "proto/grpc/arena.h"

#include "internal/store.pb-c.h"

/* MM_ERR_CORRUPT, MM_ERR_INVALID or MM_ERR_TOO_BIG for bytes that are no StoreJob, MM_ERR_MEMORY.
 * The job lives in the arena. */
int mm_job_unpack(struct mm_bytes payload, struct mm_arena *arena,
                  Mintmark__Internal__StoreJob **ret_job, struct mm_errinfo *ei) MM_MUST_USE;

/* Every field has a form that the verbs can take. MM_ERR_INVALID names the field;
 * MM_ERR_UNSUPPORTED UNKNOWN_JOB for a job of a newer front. */
int mm_job_check(const Mintmark__Internal__StoreJob *job, struct mm_errinfo *ei) MM_MUST_USE;

/* Puts the store's time into the job, whatever the front sent: validity, days and deadlines must
 * not hang on the clock of the process that strangers can reach. The job has passed mm_job_check.
 */
void mm_job_stamp(const Mintmark__Internal__StoreJob *job, int64_t now_ms);

/* Does the job write? */
bool mm_job_writes(const Mintmark__Internal__StoreJob *job);
/* Is the store's time in what it writes? */
bool mm_job_dates(const Mintmark__Internal__StoreJob *job);
