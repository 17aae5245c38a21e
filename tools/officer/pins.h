/* SPDX-License-Identifier: Apache-2.0 */
/* Where a new PIN comes from: a file, a descriptor, the terminal (twice), or chance. */
#pragma once

#include "tools/officer/officer.h"

struct mm_pin_source {
    const char *whose; /* "user", "security officer's" */
    const char *file;
    const char *fd;
    const char *generate; /* a file to be made, with a random PIN */
    bool generated;       /* that file is there now, and ours */
};

/* One way only, and the file to make is not there. */
int mm_pin_source_check(struct mm_officer *o, const struct mm_pin_source *source,
                        struct mm_errinfo *ei) MM_MUST_USE;
int mm_pin_source_get(struct mm_officer *o, struct mm_pin_source *source,
                      struct mm_secret **ret_pin, struct mm_errinfo *ei) MM_MUST_USE;
