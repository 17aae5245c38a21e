/* SPDX-License-Identifier: Apache-2.0 */
/* What the transport counts, as metrics: for mintmarkd, and for any other server on it. */
#pragma once

#include "daemon/front/exposition.h"
#include "daemon/front/server.h"

/* docs/operations.md has them too. source is a struct
 * mm_server. */
extern const struct mm_metric mm_transport_metrics[];
extern const size_t mm_n_transport_metrics;
