/* SPDX-License-Identifier: Apache-2.0 */
/* The text as a tree of sections and values with their lines; libconfuse is behind this. */
#pragma once

#include "daemon/conf/scan.h"
#include "daemon/conf/schema.h"

#include <confuse.h>

/* One value as it stands in the file. */
struct mm_raw {
    char *text;
    int line;
};

/* A parsed file. Its sections are libconfuse's cfg_t; every value in them is a struct mm_raw. */
struct mm_parsed {
    cfg_t *root;
    struct mm_scan scan;
};

/* Main thread only, not reentrant: libconfuse's lexer is global. */
int mm_parse(const struct mm_place *place, const char *text, size_t len,
             struct mm_parsed *ret_parsed) MM_MUST_USE;
void mm_parsed_done(struct mm_parsed *parsed);
#define MM_PARSED_CLEANUP MM_CLEANUP(mm_parsed_done)

/* How many values a setting has in the file (0: not given), and the one at index. */
size_t mm_raw_count(cfg_t *section, const char *key);
const struct mm_raw *mm_raw_at(cfg_t *section, const char *key, size_t index);

/* Whether a section without a title is in the file. */
bool mm_section_given(const cfg_t *section);
/* The line where a section begins; for one that is not in the file, the file's last line. */
int mm_section_line(const struct mm_parsed *parsed, cfg_t *section);
