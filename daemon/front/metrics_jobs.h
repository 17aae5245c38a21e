/* SPDX-License-Identifier: Apache-2.0 */
/* Who has jobs running and queued, and what was refused, as metrics. */
#pragma once

#include "daemon/front/exposition.h"

/* docs/operations.md has them too. source is a struct mm_app. */
extern const struct mm_metric mm_job_metrics[];
extern const size_t mm_n_job_metrics;
