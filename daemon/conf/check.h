/* SPDX-License-Identifier: Apache-2.0 */
/* What ties several settings together; schema.c has what each must look like by itself. */
#pragma once

#include "daemon/conf/parse.h"

/* The configuration under construction, and the file that it comes from. */
struct mm_draft {
    const struct mm_place *place;
    const struct mm_parsed *parsed;
    struct mm_conf *conf;
};

/* Checks all cross references, and fills in the defaults that depend on other settings. */
int mm_conf_check(const struct mm_draft *draft) MM_MUST_USE;
