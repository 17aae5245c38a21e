/* SPDX-License-Identifier: Apache-2.0 */
/* What the store must know of a certificate that it is given: whose key, which number, from whom.
 * Read by mm_issued_read: OpenSSL's d2i_X509 makes a key of the SubjectPublicKeyInfo, which takes
 * longer than all else that a certificate costs the store. */
#include "daemon/store/enrolments.h"

#include "daemon/pki/issued.h"

#include <string.h>

int mm_certificate_read(struct mm_store *s, struct mm_bytes der, struct mm_certificate_id *ret_id,
                        struct mm_errinfo *ei)
{
    struct mm_certificate_id id = {0};
    struct mm_issued cert;
    int r = mm_issued_read(der, &cert, ei);

    if (r < 0)
        return mm_fail(ei, MM_ERR_INVALID, "CERTIFICATE_MALFORMED", "%s", ei->text);
    r = mm_ledger_hash(s, cert.spki, id.spki_sha256, ei);
    if (r < 0)
        return r;
    id.serial = cert.serial;
    id.issuer = cert.issuer;
    *ret_id = id;
    return MM_OK;
}
