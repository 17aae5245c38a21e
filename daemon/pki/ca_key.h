/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The key of a CA elsewhere (an issuer of kind ejbca), for checking what it signed. Such a CA may
 * have what a token of ours need not: EC on P-256 or P-384, Ed25519, or RSA of
 * MM_CA_RSA_BITS_MIN to MM_CA_RSA_BITS_MAX bits. Signatures are ECDSA (RFC 5758 section 3.2), RSA
 * with PKCS #1 v1.5 padding or RSASSA-PSS (RFC 4055 sections 3 and 5), each with SHA-256, SHA-384
 * or SHA-512; of PSS with one hash for message and mask, and a salt as long as the hash; or Ed25519
 * (RFC 8410). Pure functions.
 */
#pragma once

#include "daemon/base/buf.h"
#include "daemon/base/limits.h"

#include <openssl/x509.h>

/* MM_ERR_INVALID KEY_UNSUPPORTED says what key a CA may have. */
int mm_ca_key_check_kind(const X509 *ca, struct mm_errinfo *ei) MM_MUST_USE;

struct mm_ca_key;
/* Takes a reference to the certificate's key. MM_ERR_INVALID KEY_UNSUPPORTED as above. A key serves
 * one thread. */
int mm_ca_key_new(const X509 *ca, struct mm_ca_key **ret_key, struct mm_errinfo *ei) MM_MUST_USE;
void mm_ca_key_free(struct mm_ca_key *k);
MM_DEFINE_CLEANUP(struct mm_ca_key *, mm_ca_key_free)

/* algorithm: a whole AlgorithmIdentifier in DER. MM_ERR_CORRUPT SIGNATURE_ALGORITHM when it is none
 * of those above, or of another kind of key; SIGNATURE_INVALID when the signature does not hold.
 * Both texts go on after "the certificate" or "the CRL". */
int mm_ca_key_verify(struct mm_ca_key *k, struct mm_bytes algorithm, struct mm_bytes signed_part,
                     struct mm_bytes signature, struct mm_errinfo *ei) MM_MUST_USE;

/* A CRL (RFC 5280 section 5.1) in DER: is it of this CA, by name and signature? MM_ERR_CORRUPT
 * BAD_CRL says what is wrong. The entries are not looked at. */
int mm_ca_key_check_crl(struct mm_ca_key *k, const X509 *ca, struct mm_bytes der,
                        struct mm_errinfo *ei) MM_MUST_USE;
