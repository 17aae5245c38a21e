/* SPDX-License-Identifier: Apache-2.0 */
/* Searching what was issued, in both versions of the call. */
#pragma once

#include "tests/fake/ejbca/fake.h"

/* Checks the criteria of a search; false: the answer is filled in. */
bool criteria_check(struct call *call, const json_t *criteria);
/* The certificates that fit, in the order of their issuing. */
struct hits {
    struct issued **rows;
    size_t count;
};
void criteria_find(struct call *call, const json_t *criteria, struct hits *ret_hits);
