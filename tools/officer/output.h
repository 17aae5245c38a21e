/* SPDX-License-Identifier: Apache-2.0 */
/* A command's data are made once, as JSON, and shown as that or as text for people. Text comes from
 * tokens, files and servers too: control characters are shown as '?'. */
#pragma once

#include "daemon/base/err.h"

#include <jansson.h>
#include <stddef.h>
#include <stdio.h>

struct mm_column {
    const char *key;
    const char *title;
};

/* A JSON string of text that may be anything: what is not UTF-8 becomes '?'. NULL without memory.
 */
json_t *mm_out_string(const char *text, size_t len);
/* The same up to its NUL. */
json_t *mm_out_text(const char *text);
/* As mm_clock_text has it; "" for 0, which is no time. */
json_t *mm_out_time(int64_t ms);

/* An array of objects, as columns with a line of titles. */
void mm_out_table(FILE *out, const json_t *rows, const struct mm_column *columns, size_t n);

/* One object, a line a key: "title:  value". Keys that are missing or empty are left out. */
void mm_out_fields(FILE *out, const json_t *object, const struct mm_column *fields, size_t n);

/* The whole, indented. MM_ERR_IO when it cannot be written. */
int mm_out_json(FILE *out, const json_t *value, struct mm_errinfo *ei) MM_MUST_USE;
