/* SPDX-License-Identifier: Apache-2.0 */
/* Files of lines, each a JSON object, in a folder of devices. */
#pragma once

#include "daemon/base/buf.h"

#include <jansson.h>
#include <stdbool.h>

/* The object as the text of a line, without the line's end, to be freed; frees the object. NULL:
 * there was no memory for either. */
char *mm_list_json(json_t *object);

/* Zeroed at first. */
struct mm_list {
    struct mm_list_line *lines;
    size_t n, max;
    size_t repeated; /* lines that mm_list_text left out last */
};

void mm_list_done(struct mm_list *list);
/* Takes text, of a device with that number; NULL: there was no memory for it. */
int mm_list_add(struct mm_list *list, uint64_t number, char *text,
                struct mm_errinfo *ei) MM_MUST_USE;
/* Appends the lines to out, by number: the service promises no order, and a repetition must find
 * the same text. What is there twice, as for two requests with one key, is one line. */
int mm_list_text(struct mm_list *list, struct mm_buf *out, struct mm_errinfo *ei) MM_MUST_USE;

/* Whether now takes nothing back that then says: its lines are all in now, in their order, but for
 * those of devices that were withheld, which have a member "state". */
bool mm_list_goes_on(const struct mm_buf *then, const struct mm_buf *now);
