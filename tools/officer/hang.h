/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A PKCS#11 module that never returns ends the command: with a sentence that names the function,
 * with MM_EXIT_HANGS, and with that outcome in the transcript. Secrets go with the process. Files
 * are written in one step, and never while a module is in a call, so none is left half done; what
 * the token was asked to do it may have done or not.
 */
#pragma once

#include "tools/officer/officer.h"

enum {
    MM_HANG_DEFAULT_S = 30,
    MM_HANG_MAX_S = 3600,
    MM_HANG_TEXT_MAX = 256,
};

/* Reads --timeout, and watches the calls of the process from now on. */
int mm_hang_watch(struct mm_officer *o, struct mm_errinfo *ei) MM_MUST_USE;

/* For the child of a fork, which tells its parent: gives gets the sentence, in the watching thread,
 * and does not return. */
int mm_hang_watch_child(void (*give)(const char *sentence), struct mm_errinfo *ei) MM_MUST_USE;

/* How long a call may take. */
unsigned mm_hang_timeout_s(void);
