/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certification requests (PKCS#10, RFC 2986) of keys that devices made themselves. Pure functions.
 *
 * Nothing of a request gets into a certificate but its public key: subject, attributes and the
 * extensions that it asks for are passed over, for the profile decides them.
 */
#pragma once

#include "daemon/pki/profile.h"

/*
 * Reads a request and checks all that matters before its key is certified. MM_ERR_INVALID, with the
 * field "csr" and the reason
 *   CSR_TOO_BIG      it has more than MM_CSR_DER_MAX bytes;
 *   CSR_MALFORMED    it is not one CertificationRequest in DER: a length that is indefinite or not
 *                    the shortest, bytes missing or left over, a part that does not belong there,
 *                    a version other than 0, nesting over MM_CSR_DEPTH_MAX;
 *   CSR_KEY_REFUSED  the key is not an uncompressed point on the profile's curve, named by its OID
 *                    (RFC 5480): another algorithm or curve, infinity, a point off the curve; or,
 *                    for such profiles, no Ed25519 key (RFC 8410);
 *   CSR_SIGNATURE    no proof of possession: the signature is not ecdsa-with-SHA256, -SHA384 or
 *                    -SHA512 (RFC 5758 section 3.2), or Ed25519 for such keys, or does not verify
 *                    under the key.
 * MM_ERR_MEMORY. The uncompressed point goes to *ret_point, borrowed from the request.
 */
int mm_profile_check_csr(const struct mm_profile *p, struct mm_bytes der,
                         struct mm_bytes *ret_point, struct mm_errinfo *ei) MM_MUST_USE;

/* The same without the signature, for a request that has been checked before. */
int mm_profile_csr_point(const struct mm_profile *p, struct mm_bytes der,
                         struct mm_bytes *ret_point, struct mm_errinfo *ei) MM_MUST_USE;
