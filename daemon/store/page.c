/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/store/page.h"

#include "daemon/base/limits.h"
#include "daemon/base/text.h"

#include <endian.h>

int mm_page_parse(char kind, uint32_t page_size, const char *page_token, struct mm_page *ret_page,
                  struct mm_errinfo *ei)
{
    struct mm_page page = {.kind = kind, .size = page_size, .before = INT64_MAX};
    uint64_t before;

    if (page.size == 0)
        page.size = MM_PAGE_DEFAULT;
    if (page.size > MM_PAGE_MAX)
        return mm_fail_field(ei, "page_size", "at most %d rows a page", MM_PAGE_MAX);
    if (*page_token) {
        if (page_token[0] != kind || mm_hex_decode(page_token + 1, &before, sizeof(before)) < 0)
            return mm_fail_field(ei, "page_token", "not a page token of this listing");
        before = be64toh(before);
        if (before == 0 || before > INT64_MAX)
            return mm_fail_field(ei, "page_token", "not a page token of this listing");
        page.before = (int64_t)before;
    }
    *ret_page = page;
    return MM_OK;
}

int mm_page_token(const struct mm_page *page, int64_t last, char **ret_token, struct mm_errinfo *ei)
{
    const uint64_t be = htobe64((uint64_t)last);
    char *token = malloc(1 + 2 * sizeof(be) + 1);

    if (!token)
        return mm_fail_memory(ei);
    token[0] = page->kind;
    mm_hex_encode(&be, sizeof(be), token + 1);
    *ret_token = token;
    return MM_OK;
}
