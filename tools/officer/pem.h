/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates and public keys of files: read, compared, verified by libcrypto, described. */
#pragma once

#include "pkcs11/token.h"
#include "tools/officer/output.h"

#include <openssl/x509.h>

struct mm_public_key {
    struct mm_buf spki; /* DER SubjectPublicKeyInfo */
    char type[16];      /* "RSA-3072", "EC P-256" */
    char sha256[65];    /* of spki, hexadecimal */
};
#define MM_PUBLIC_KEY_INIT ((struct mm_public_key){.spki = MM_BUF_INIT(4096)})
void mm_public_key_done(struct mm_public_key *key);

/* A PEM "PUBLIC KEY", or the key of a PEM certificate: RSA of 2048 to 16384 bits, EC P-256, P-384.
 */
int mm_public_key_read(const char *path, struct mm_public_key *key,
                       struct mm_errinfo *ei) MM_MUST_USE;

static inline void mm_x509_stack_free(STACK_OF(X509) * stack)
{
    sk_X509_pop_free(stack, X509_free);
}
MM_DEFINE_CLEANUP(X509 *, X509_free)
MM_DEFINE_CLEANUP(STACK_OF(X509) *, mm_x509_stack_free)

/* A CA's certificate and those above it, in order. */
int mm_chain_read(const char *path, STACK_OF(X509) * *ret_chain, struct mm_errinfo *ei) MM_MUST_USE;

/* Verifies the chain, which begins with the certificate in question and must end with a self-signed
 * root, by libcrypto with X509_V_FLAG_X509_STRICT, now. The root's right to be trusted is for
 * people to decide. */
int mm_chain_verify(STACK_OF(X509) * chain, struct mm_errinfo *ei) MM_MUST_USE;

/* The certificate is a CA's: cA TRUE, and may sign certificates. */
int mm_cert_require_ca(X509 *cert, struct mm_errinfo *ei) MM_MUST_USE;

/* The certificate's public key is that point; label names the token's key in the error. */
int mm_cert_require_key(X509 *cert, const uint8_t *point, size_t point_len, const char *label,
                        struct mm_errinfo *ei) MM_MUST_USE;

int mm_cert_append_pem(X509 *cert, struct mm_buf *pem, struct mm_errinfo *ei) MM_MUST_USE;
/* Checks the request first, as a CA will (proof of possession, RFC 2986 section 4.2). */
int mm_csr_append_pem(const struct mm_buf *der, struct mm_buf *pem,
                      struct mm_errinfo *ei) MM_MUST_USE;
int mm_chain_append_pem(STACK_OF(X509) * chain, struct mm_buf *pem,
                        struct mm_errinfo *ei) MM_MUST_USE;

/* subject, issuer, serial, not_before, not_after, sha256 (as `openssl x509 -fingerprint -sha256`
 * prints it). NULL without memory. */
json_t *mm_cert_describe(X509 *cert);
void mm_cert_print(const json_t *description);

enum { MM_FINGERPRINT_TEXT = 96 };
/* "AA:BB:…" of the certificate's SHA-256. */
int mm_cert_fingerprint(X509 *cert, char text[MM_FINGERPRINT_TEXT],
                        struct mm_errinfo *ei) MM_MUST_USE;
