/* SPDX-License-Identifier: Apache-2.0 */
/* Reports of devices, from a file. */
#pragma once

#include "client/mintmark.h"
#include "daemon/base/err.h"

struct mm_reports {
    struct mintmark_report *list; /* strings are owned */
    size_t n, max;
};

/* One JSON object in each line, empty lines between them allowed:
 * {"device_uid": "…", "state": "OK"} or {"device_uid": "…", "state": "KO", "reason": "…"}.
 * An error names file and line. */
int mm_reports_read(const char *path, struct mm_reports *ret_reports,
                    struct mm_errinfo *ei) MM_MUST_USE;
void mm_reports_done(struct mm_reports *reports);
