/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rules on calls, for PKCS#11 modules of tests. A list of items with ';' between them:
 *
 *   FUNCTION[:N[+]]=ACTION[?FILE | !FILE]   on the N-th call of the function ("*": of all of them
 *                         together), with '+' from it on, without N on each. ?FILE: only while the
 *                         file exists; !FILE: once, by removing it. Actions:
 *     0x30 …              return that CK_RV, doing nothing
 *     delay:MS            sleep before the call
 *     hang                sleep for ever
 *     crash               abort()
 *     WORD                whatever else the module knows
 *
 * One thread.
 */
#pragma once

#include "daemon/base/macros.h"

#include <p11-kit/pkcs11.h>
#include <stdbool.h>

/* What a module does about a WORD: number is its place in the list of words. CKR_OK: go on. */
typedef CK_RV (*calls_word_fn)(size_t number);

/* Forgets all rules and counts. words are the module's, ended by NULL. */
void calls_reset(const char *const *words);
/* One item; false when it is none. Changes the text. */
bool calls_parse(char *item);
/* A number that fills the whole text. */
bool calls_number(const char *text, unsigned long *ret);

/* Counts the call and does what the rules say. CKR_OK: go on. */
CK_RV calls_enter(const char *function, calls_word_fn word);
/* Calls of a function, "*" of all, since calls_reset. */
unsigned long calls_of(const char *function);
/* The function that a rule failed last; "" if none since calls_reset. */
const char *calls_failed(void);
