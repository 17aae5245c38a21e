/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pages of a listing, newest first. A token names the row after which the next page begins; to its
 * holder it is opaque, and a token of another listing, or of none, is refused.
 */
#pragma once

#include "daemon/base/err.h"

#include <stdint.h>

enum { MM_PAGE_DEFAULT = 100 }; /* rows, where the caller does not say */

struct mm_page {
    char kind;      /* of the listing */
    uint32_t size;  /* rows */
    int64_t before; /* only rows below this one */
};

int mm_page_parse(char kind, uint32_t page_size, const char *page_token, struct mm_page *ret_page,
                  struct mm_errinfo *ei) MM_MUST_USE;
/* The token of the page that follows the one that ended with row `last`; on the heap. */
int mm_page_token(const struct mm_page *page, int64_t last, char **ret_token,
                  struct mm_errinfo *ei) MM_MUST_USE;
