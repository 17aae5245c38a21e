/* SPDX-License-Identifier: Apache-2.0 */
/* What the front knows about the service, as metrics for plant operators. */
#pragma once

#include "daemon/front/app.h"
#include "daemon/front/exposition.h"

/* Opens what the kernel says about this process's memory, for the life of the process; before the
 * sandbox, which opens nothing. Without it that metric is left out. */
void mm_metrics_open(void);

/* The table of all metrics; docs/operations.md has it too. source is a struct mm_app with a
 * server. */
extern const struct mm_metric mm_metrics[];
extern const size_t mm_n_metrics;
