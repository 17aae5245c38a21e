/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looks at the configuration's text before libconfuse does, and refuses what libconfuse would take
 * silently or misread:
 *  - ${NAME} outside single quotes, which it replaces from the environment;
 *  - escapes in double quotes, which can make control characters and NUL;
 *  - quotes, comments and sections that are never closed (it takes the end of the file for the
 *    closing brace; after an unclosed quote, its lexer begins the next file inside a string);
 *  - characters outside quotes that it skips ('*', '+', ';' begins a new word).
 * Comments are blanked, since libconfuse 3.3 counts three lines for each.
 */
#pragma once

#include "daemon/base/err.h"

/* Writes sentences of the form "FILE:LINE: what is wrong". */
struct mm_place {
    const char *path;
    struct mm_errinfo *ei;
};
int mm_fail_at(const struct mm_place *place, int line, const char *fmt, ...) MM_PRINTF(3, 4);

struct mm_scan {
    char *text;  /* the same length and lines, NUL at the end */
    int *opened; /* for the line of a closing brace: the line of its opening one; else 0 */
    int last_line;
};
int mm_scan(const struct mm_place *place, const char *text, size_t len,
            struct mm_scan *ret_scan) MM_MUST_USE;
void mm_scan_done(struct mm_scan *scan);
#define MM_SCAN_CLEANUP MM_CLEANUP(mm_scan_done)
