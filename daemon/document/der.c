/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is it DER (X.690 section 10)? libcrypto's reader takes BER: indefinite lengths, long forms,
 * strings in pieces. Two such files may differ and yet say the same, or say different things to two
 * readers. So the shape is checked before libcrypto sees it.
 */
#include "daemon/pki/der.h"

#include "daemon/document/internal.h"

enum { DEPTH_MAX = 31 }; /* a CMS document with certificates is about 15 deep */

int mm_der_check(struct mm_bytes der, struct mm_errinfo *ei)
{
    struct mm_bytes behind = der;
    struct mm_der outermost;
    const char *why;
    size_t at = 0;

    if (der.len == 0)
        return mm_fail(ei, MM_ERR_INVALID, "DOCUMENT_NOT_DER", "the document is empty");
    if (mm_der_take(&behind, &outermost) && behind.len > 0) {
        why = "something follows its end";
        at = outermost.whole.len;
    } else {
        why = mm_der_fault(der, DEPTH_MAX, &at);
    }
    return why ? mm_fail(ei, MM_ERR_INVALID, "DOCUMENT_NOT_DER",
                         "the document is not DER: %s (at byte %zu of %zu)", why, at, der.len)
               : MM_OK;
}
