/* SPDX-License-Identifier: Apache-2.0 */
/* What a kind of job takes of a worker, as measured: a time for the job, and one for each of its
 * units (devices, rows), by a line through the recent ones. */
#pragma once

#include "daemon/base/limits.h"

#include <stdint.h>
#include <sys/queue.h>

struct mm_cost {
    LIST_ENTRY(mm_cost) link;
    char kind[MM_NAME_MAX + 1];
    double n, units, took, units_units, units_took; /* sums over jobs, older ones faded */
    double job_us, unit_us;                         /* the line; 0 and 0: not measured yet */
};

/* What so many units are expected to take, in jobs of MM_CHUNK_DEVICES; 0 when none has been
 * measured, or cost is NULL. */
uint64_t mm_cost_us(const struct mm_cost *cost, uint64_t units);
/* The most units, 1 to MM_CHUNK_DEVICES, of a job that takes no longer than that; but so many that
 * more than half of its time is for them. Few as long as nothing is measured; and now and then
 * more, as jobs of one size do not tell what is the job's and what the units'. */
uint32_t mm_cost_units(const struct mm_cost *cost, uint64_t us);

/* A job of so many units, at least 1, took so long. About `memory` jobs rule. */
void mm_cost_learn(struct mm_cost *cost, uint32_t units, int64_t took_us, unsigned memory);
