/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certification requests (PKCS#10, RFC 2986) of keys that devices made themselves. Pure functions.
 *
 * Where the appliance makes the certificate, nothing of a request gets into it but the public key:
 * subject, attributes and the extensions that it asks for are passed over, for the profile decides
 * them. EJBCA takes the subject and alternative names from the request; so there they must be the
 * profile's already.
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

/*
 * For a profile whose issuer is of kind ejbca, and a request that mm_profile_check_csr has taken:
 * does it ask for what the profile gives this device? MM_OK at once for other profiles.
 * MM_ERR_INVALID, with the field "csr" and the reason CSR_SUBJECT    the subject has other
 * attributes than the profile's (in whatever order, and as whatever kind of string); CSR_EXTENSION
 * an extension is asked for that the profile has not, or has otherwise; or the profile has
 * alternative names and the request does not ask for them; CSR_MALFORMED  the attributes cannot be
 * read. MM_ERR_MEMORY.
 */
int mm_profile_check_csr_content(const struct mm_profile *p, const struct mm_subject *s,
                                 struct mm_bytes der, struct mm_errinfo *ei) MM_MUST_USE;
