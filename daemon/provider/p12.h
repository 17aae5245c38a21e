/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A PKCS#12 file (RFC 7292): a private key and its certificates under a password. EJBCA and keytool
 * still write such files with RC2 and triple DES, which OpenSSL has in its legacy provider only;
 * here they get no further than this file, whose library context is its own.
 */
#pragma once

#include "daemon/base/buf.h"

#include <openssl/evp.h>
#include <openssl/provider.h>
#include <openssl/x509.h>

/* Zeroed it is empty. */
struct mm_p12 {
    OSSL_LIB_CTX *ctx; /* of all that follows: to be freed last */
    OSSL_PROVIDER *providers[2];
    EVP_PKEY *key;
    X509 *certificate;      /* that of the key */
    STACK_OF(X509) * chain; /* the others; may be NULL */
};
void mm_p12_done(struct mm_p12 *p);

/* Opens it. password ends with a NUL. *p may hold something on failure too. MM_ERR_INVALID with
 * that reason; the text says what is wrong, without the file's name. */
int mm_p12_open(struct mm_bytes der, const char *password, const char *reason, struct mm_p12 *p,
                struct mm_errinfo *ei) MM_MUST_USE;
