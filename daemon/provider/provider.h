/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A private key in a token, used through OpenSSL's pkcs11 provider: for TLS and CMS, which know no
 * other way, in programs that do not link our token layer. The provider lives in a library context
 * of its own, never the default one: SoftHSM calls OpenSSL in that, and the two would trip over
 * each other. A SSL_CTX of the default context takes the key all the same.
 */
#pragma once

#include "daemon/base/err.h"

#include <openssl/evp.h>
#include <openssl/provider.h>

/* Zeroed it is empty. */
struct mm_provider_key {
    OSSL_LIB_CTX *ctx;
    OSSL_PROVIDER *base, *pkcs11;
    EVP_PKEY *key;
};
void mm_provider_key_done(struct mm_provider_key *k);

/* Opens the key of an RFC 7512 URI. module: path of the PKCS#11 module; NULL: the provider's own
 * settings decide. pin and pin_arg: a pem_password_cb, asked when the token wants a PIN. *k may
 * hold something on failure too. MM_ERR_UNSUPPORTED NO_PKCS11_PROVIDER when OpenSSL has none or it
 * cannot load the module; MM_ERR_NOT_FOUND TOKEN_KEY when there is no such key, or the PIN does not
 * open it. */
int mm_provider_key_open(struct mm_provider_key *k, const char *module, const char *uri,
                         pem_password_cb *pin, void *pin_arg, struct mm_errinfo *ei) MM_MUST_USE;
