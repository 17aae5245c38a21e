/* SPDX-License-Identifier: Apache-2.0 */
/* The keys of the open token with the verdict of their policy. */
#pragma once

#include "tools/officer/officer.h"

/* Puts "keys", an array, into the answer. */
int mm_keys_answer(struct mm_officer *o, struct mm_errinfo *ei) MM_MUST_USE;
void mm_keys_print(const json_t *keys);
