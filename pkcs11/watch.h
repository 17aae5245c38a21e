/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bound on each call of a PKCS#11 module, for programs that have nobody to kill them when one
 * never returns: C_ functions cannot be cancelled, so all that can be done is to say so and to end.
 * Workers do without it: the front kills those that overrun a job's deadline.
 *
 * A thread looks, since a signal might find the module with all of them blocked, and interrupt what
 * the module waits in. It counts its own ticks, so that a process that was stopped, or a machine
 * that slept, is not taken for a module that hangs.
 */
#pragma once

#include "daemon/base/err.h"

#include <stdbool.h>
#include <stddef.h>

/* Called from that thread, once, while the thread of the calls is in the module for good: it may
 * hold any lock, so no heap and no stdio here, and _exit at the end. function is no string. */
typedef void (*mm_watch_fn)(void *arg, const char *function, size_t len);

/* From now on a call that takes longer than so many seconds (at least 1) ends in hung. Calls are to
 * be made by one thread. The child of a fork has no watch before it starts one of its own. */
int mm_watch_start(unsigned timeout_s, mm_watch_fn hung, void *arg,
                   struct mm_errinfo *ei) MM_MUST_USE;

/* Around what may never return and is not called by MM_CK. call begins with the function's name,
 * which ends at '(' or with the text; a constant. */
void mm_watch_enter(const char *call);
/* Never returns when the call has been given up. */
void mm_watch_leave(void);

/* Whether there is one: without it the two above are not worth their call. */
extern bool mm_watch_on;
