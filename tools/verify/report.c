/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/verify/verify.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void report_fail(struct report *r, const char *who, const char *fmt, ...)
{
    char what[256], *line;
    va_list ap;

    r->failures++;
    if (r->failures > FAILURES_SHOWN)
        return;
    va_start(ap, fmt);
    vsnprintf(what, sizeof(what), fmt, ap);
    va_end(ap);
    if (asprintf(&line, "%s: %s", who, what) >= 0)
        r->shown[r->failures - 1] = line;
}

void report_done(struct report *r)
{
    for (size_t i = 0; i < FAILURES_SHOWN; i++)
        free(r->shown[i]);
}
