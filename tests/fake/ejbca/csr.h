/* SPDX-License-Identifier: Apache-2.0 */
/* PKCS#10 requests (RFC 2986) as the fake gets them. */
#pragma once

#include "daemon/base/buf.h"

enum { CSR_DER_MAX = 16 * 1024 };

/* All borrowed from the DER. */
struct csr {
    struct mm_bytes whole;
    struct mm_bytes signed_part; /* CertificationRequestInfo */
    struct mm_bytes subject;     /* Name, whole */
    struct mm_bytes spki;        /* SubjectPublicKeyInfo, whole */
    struct mm_bytes sans;        /* GeneralNames, whole; empty if it asks for none */
    struct mm_bytes algorithm;   /* AlgorithmIdentifier of the signature, whole */
    struct mm_bytes signature;   /* without the count of unused bits */
};

/* PEM, or bare base64 of DER, as EJBCA takes both. */
bool csr_decode(const char *text, struct mm_buf *ret_der);
bool csr_parse(struct mm_bytes der, struct csr *ret_csr);
/* Does the request's own key verify it? */
bool csr_verifies(const struct csr *csr);
/* "EC" or "RSA", and the bits of the key; any other algorithm by libcrypto's name. */
void csr_key_kind(const struct csr *csr, char name[32], int *ret_bits);
