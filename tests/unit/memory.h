/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory that runs out on demand. A test program with dep_memory has malloc and its relatives
 * replaced in everything that is linked into it statically, that is, in our code; shared libraries
 * keep their own.
 *
 *     for (memory_fail_at(1); (r = f()) < 0; memory_fail_next())
 *         ck_assert_int_eq(r, MM_ERR_MEMORY);
 *     memory_fail_at(0);
 */
#pragma once

#include <stdbool.h>

/* The n-th allocation from now on fails, once; 0: none does. */
void memory_fail_at(unsigned n);
/* As memory_fail_at with one more than last time. */
void memory_fail_next(void);
/* Has the allocation that was to fail failed? */
bool memory_failed(void);
