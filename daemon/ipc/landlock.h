/* SPDX-License-Identifier: Apache-2.0 */
/* Landlock: files of one folder and no others, kept by the kernel, without privileges. */
#pragma once

#include "daemon/base/err.h"

/* From now on, and for good, the process opens files of this folder and below (to read, write,
 * make and remove them), and the few that the C library may want to read; no others. What is open
 * stays open. MM_ERR_UNSUPPORTED NO_LANDLOCK when the kernel has none or it is switched off. */
int mm_landlock_enter(const char *folder, struct mm_errinfo *ei) MM_MUST_USE;
