/* SPDX-License-Identifier: Apache-2.0 */
/* Who a client certificate belongs to. */
#pragma once

#include "daemon/front/call.h"

#include <openssl/x509.h>

/* Sets name and roles of *peer: those of the first client section whose uri is, byte for byte, a
 * uniformResourceIdentifier of the subjectAltName, or whose subject is, byte for byte, the subject
 * DN as XN_FLAG_RFC2253 prints it; a section that gives both must match in both. "" and 0 when none
 * does. The certificate has been verified already. MM_ERR_MEMORY leaves *peer as it was. */
int mm_identity_find(X509 *certificate, const struct mm_conf *conf,
                     struct mm_peer *peer) MM_MUST_USE;
