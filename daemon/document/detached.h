/* SPDX-License-Identifier: Apache-2.0 */
/* Signatures that stand beside a file: CMS SignedData (RFC 5652) in DER without content, over the
 * file's SHA-256. */
#pragma once

#include "daemon/document/document.h"

/* One signer, one of the certificates of trust, by ECDSA with SHA-256, over signed attributes whose
 * message digest is sha256. The time does not matter. MM_ERR_INVALID SIGNATURE_BAD;
 * MM_ERR_TOO_BIG DOCUMENT_TOO_BIG. */
int mm_detached_check(struct mm_bytes cms, const struct mm_trust *trust,
                      const uint8_t sha256[MM_DOCUMENT_HASH_BYTES],
                      struct mm_errinfo *ei) MM_MUST_USE;

/* The same, by this certificate's key and no other. */
int mm_detached_check_by(struct mm_bytes cms, X509 *certificate,
                         const uint8_t sha256[MM_DOCUMENT_HASH_BYTES],
                         struct mm_errinfo *ei) MM_MUST_USE;
