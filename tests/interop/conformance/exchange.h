/* SPDX-License-Identifier: Apache-2.0 */
/* One call as connectconformance describes it, and what became of it. */
#pragma once

#include "daemon/base/buf.h"

#include <stdbool.h>

/* Makes the call that a serialised ClientCompatRequest describes, and appends a serialised
 * ClientCompatResponse to out. false: data is no such message. */
bool exchange_run(const uint8_t *data, size_t len, struct mm_buf *out);
