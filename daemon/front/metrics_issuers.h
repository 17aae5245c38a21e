/* SPDX-License-Identifier: Apache-2.0 */
/* How the EJBCAs are, as metrics. */
#pragma once

#include "daemon/front/exposition.h"

/* docs/operations.md has them too. source is a struct mm_app. */
extern const struct mm_metric mm_issuer_metrics[];
extern const size_t mm_n_issuer_metrics;
