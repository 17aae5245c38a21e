/* SPDX-License-Identifier: Apache-2.0 */
/* From the parsed tree to struct mm_conf, by the schema table. */
#pragma once

#include "daemon/conf/check.h"

/* Fills draft->conf (zeroed but for its path) with the file's values and the table's defaults. What
 * has been filled when it fails is freed by mm_conf_free. */
int mm_conf_build(const struct mm_draft *draft) MM_MUST_USE;
