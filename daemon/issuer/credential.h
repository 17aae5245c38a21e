/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who the appliance is to EJBCA, and whom it believes to be EJBCA: what its TLS connections are
 * made of. Everything is read at the start, so that no file is opened later.
 */
#pragma once

#include "daemon/conf/conf.h"
#include "daemon/provider/p12.h"
#include "daemon/provider/provider.h"

#include <openssl/ssl.h>

/* Zeroed it is empty. */
struct mm_credential {
    X509_STORE *server_ca;
    X509 *certificate;
    STACK_OF(X509) * chain;
    struct mm_p12 p12;               /* the key of a PKCS#12 file; or */
    struct mm_provider_key in_token; /* one in a token */
};
void mm_credential_done(struct mm_credential *c);

/* As the issuer section says. MM_ERR_INVALID CLIENT_CREDENTIAL, SERVER_CA; MM_ERR_UNSUPPORTED
 * NO_PKCS11_PROVIDER; MM_ERR_PIN when the token does not take the PIN. */
int mm_credential_open(const struct mm_conf *conf, const struct mm_conf_issuer *issuer,
                       struct mm_credential *c, struct mm_errinfo *ei) MM_MUST_USE;

/* Puts it into a TLS context: no other CA, no other key. False when OpenSSL does not take it. */
bool mm_credential_apply(const struct mm_credential *c, SSL_CTX *ctx);
