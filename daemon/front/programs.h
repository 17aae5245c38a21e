/* SPDX-License-Identifier: Apache-2.0 */
/* Where the workers' programs are. */
#pragma once

#include "daemon/front/launcher.h"

#include <limits.h>

struct mm_programs {
    char paths[MM_PROGRAMS][PATH_MAX];
};

/* In $MINTMARK_LIBEXECDIR when that is set; else beside this program as a build tree has them; else
 * where they are installed. MM_ERR_NOT_FOUND names the one that is missing. */
int mm_programs_find(struct mm_programs *ret_programs, struct mm_errinfo *ei) MM_MUST_USE;
