/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/front/cost.h"

enum {
    FEW_UNITS = 8,    /* jobs of fewer say little of what a bigger one takes */
    VARIANCE_MIN = 4, /* of units: below, a line through the jobs would be drawn by chance */
};

uint64_t mm_cost_us(const struct mm_cost *cost, uint64_t units)
{
    const uint64_t jobs = (units + MM_CHUNK_DEVICES - 1) / MM_CHUNK_DEVICES;

    return cost ? (uint64_t)(cost->job_us * (double)jobs + cost->unit_us * (double)units) : 0;
}

/* Of the jobs' units. */
static double variance(const struct mm_cost *cost)
{
    const double mean = cost->units / cost->n;

    return cost->units_units / cost->n - mean * mean;
}

uint32_t mm_cost_units(const struct mm_cost *cost, uint64_t us)
{
    double units;

    if (cost && cost->n <= 0)
        return FEW_UNITS;
    if (!cost || cost->unit_us <= 0)
        return MM_CHUNK_DEVICES;
    units = ((double)us - cost->job_us) / cost->unit_us;
    if (units < cost->job_us / cost->unit_us)
        units = cost->job_us / cost->unit_us;
    if (variance(cost) < VARIANCE_MIN && units < 2 * cost->units / cost->n)
        units = 2 * cost->units / cost->n;
    if (units > MM_CHUNK_DEVICES)
        return MM_CHUNK_DEVICES;
    return units < 1 ? 1 : (uint32_t)units;
}

static void draw_line(struct mm_cost *cost)
{
    const double units = cost->units / cost->n, took = cost->took / cost->n;

    if (variance(cost) >= VARIANCE_MIN)
        cost->unit_us = (cost->units_took / cost->n - units * took) / variance(cost);
    else
        cost->unit_us = took / units / (units < FEW_UNITS ? 2 : 1);
    if (cost->unit_us < 0)
        cost->unit_us = 0;
    cost->job_us = took - cost->unit_us * units;
    if (cost->job_us >= 0)
        return;
    cost->job_us = 0;
    cost->unit_us = took / units;
}

void mm_cost_learn(struct mm_cost *cost, uint32_t units, int64_t took_us, unsigned memory)
{
    const double fade = 1 - 1.0 / memory, u = units, t = (double)took_us;

    cost->n = cost->n * fade + 1;
    cost->units = cost->units * fade + u;
    cost->took = cost->took * fade + t;
    cost->units_units = cost->units_units * fade + u * u;
    cost->units_took = cost->units_took * fade + u * t;
    draw_line(cost);
}
