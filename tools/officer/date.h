/* SPDX-License-Identifier: Apache-2.0 */
/* Dates as an officer types them. */
#pragma once

#include "daemon/base/err.h"

#include <stdint.h>

enum mm_date_edge { MM_DATE_START, MM_DATE_END };

/* "YYYY-MM-DD", the first or last millisecond of that day in UTC as edge says, or an RFC 3339
 * date-time such as 2026-11-21T18:16:56Z or 2026-11-21T20:16:56.5+02:00. Years 1970 to 9999; no
 * leap seconds. Milliseconds since 1970 UTC. */
int mm_date_parse(const char *text, enum mm_date_edge edge, int64_t *ret_ms,
                  struct mm_errinfo *ei) MM_MUST_USE;
