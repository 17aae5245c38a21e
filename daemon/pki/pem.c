/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/pki/pem.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdbool.h>
#include <string.h>

static bool starts(struct mm_bytes line, const char *with)
{
    return line.len >= strlen(with) && memcmp(line.data, with, strlen(with)) == 0;
}

/* One whose end follows its beginning, or an empty line: what stood before that is a header
 * (RFC 1421). */
static bool has_empty_block(struct mm_bytes pem)
{
    const uint8_t *const end = pem.data + pem.len;
    bool content = false;

    for (const uint8_t *at = pem.data, *next; at < end; at = next) {
        const uint8_t *const newline = memchr(at, '\n', (size_t)(end - at));
        struct mm_bytes line = {at, (size_t)((newline ? newline : end) - at)};

        next = newline ? newline + 1 : end;
        if (starts(line, "-----END ") && !content)
            return true;
        while (line.len > 0 && line.data[line.len - 1] <= ' ')
            line.len--;
        content = line.len > 0 && !starts(line, "-----BEGIN ");
    }
    return false;
}

int mm_pem_end(struct mm_bytes pem, const char *reason, struct mm_errinfo *ei)
{
    const unsigned long first = ERR_peek_error(), last = ERR_peek_last_error();
    const bool ended =
        ERR_GET_LIB(last) == ERR_LIB_PEM && ERR_GET_REASON(last) == PEM_R_NO_START_LINE;
    /* Of an empty block PEM_read_bio says nothing; of one for which there is no memory nothing
     * either, or, in OpenSSL 3.5, only in which library it failed: CRYPTO_realloc does not report.
     * All else that may be wrong with a text has a reason of its own. */
    bool memory =
        first == 0 ? !has_empty_block(pem) : (ERR_GET_RFLAGS(first) & ERR_RFLAG_COMMON) != 0;
    unsigned long code;

    while ((code = ERR_get_error()) != 0)
        memory |= ERR_GET_REASON(code) == ERR_R_MALLOC_FAILURE;
    if (memory)
        return mm_fail_memory(ei);
    return ended ? MM_OK : mm_fail(ei, MM_ERR_INVALID, reason, "the PEM text is damaged");
}
