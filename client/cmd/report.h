/* SPDX-License-Identifier: Apache-2.0 */
/* A production report for people. */
#pragma once

#include "daemon/base/err.h"

#include <stdio.h>

/* Writes one page of HTML about a report (docs/report.md) that is read from its beginning, line by
 * line; sha256 is the report's, in hexadecimal. The page needs nothing else: no script, no file, no
 * network. Whatever the report says is text in it, never markup. MM_ERR_INVALID REPORT_MALFORMED;
 * MM_ERR_IO. */
int mm_report_html(FILE *report, const char *sha256, FILE *page, struct mm_errinfo *ei) MM_MUST_USE;
