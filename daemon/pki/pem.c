/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/pki/pem.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdbool.h>

int mm_pem_end(const char *reason, struct mm_errinfo *ei)
{
    unsigned long code = ERR_peek_last_error();
    const bool ended =
        ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE;
    bool memory = code == 0; /* PEM_read_bio says nothing when it has none for a block */

    while ((code = ERR_get_error()) != 0)
        memory |= ERR_GET_REASON(code) == ERR_R_MALLOC_FAILURE;
    if (memory)
        return mm_fail_memory(ei);
    return ended ? MM_OK : mm_fail(ei, MM_ERR_INVALID, reason, "the PEM text is damaged");
}
