/* SPDX-License-Identifier: Apache-2.0 */
/* What a token does for an envelope, in software, with a key that is known to all. */
#pragma once

#include "tests/support/exchange_key.h"
#include "tools/officer/envelope.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

struct soft_exchange {
    EVP_PKEY *key;
    X509 *certificate;
    struct mm_envelope_key holder;
};

MM_UNUSED static int soft_agree(void *arg, struct mm_bytes point, struct mm_secret **ret_shared,
                                struct mm_errinfo *ei)
{
    const struct soft_exchange *const s = (const struct soft_exchange *)arg;
    EVP_PKEY *const peer = EVP_PKEY_new();
    EVP_PKEY_CTX *const ctx = EVP_PKEY_CTX_new(s->key, NULL);
    struct mm_secret *shared = NULL;
    size_t len = 32;
    bool good = peer && ctx && mm_secret_new(len, &shared) == MM_OK &&
                EVP_PKEY_copy_parameters(peer, s->key) == 1 &&
                EVP_PKEY_set1_encoded_public_key(peer, point.data, point.len) == 1 &&
                EVP_PKEY_derive_init(ctx) == 1 && EVP_PKEY_derive_set_peer(ctx, peer) == 1 &&
                EVP_PKEY_derive(ctx, mm_secret_data(shared), &len) == 1;

    EVP_PKEY_free(peer);
    EVP_PKEY_CTX_free(ctx);
    ERR_clear_error();
    if (good) {
        *ret_shared = shared;
        return MM_OK;
    }
    mm_secret_free(shared);
    return mm_fail(ei, MM_ERR_INVALID, "PACKAGE_RECIPIENT", "no point of P-256");
}

MM_UNUSED static int soft_oaep(MM_UNUSED void *arg, MM_UNUSED bool sha256,
                               MM_UNUSED struct mm_bytes sealed,
                               MM_UNUSED struct mm_secret **ret_opened, struct mm_errinfo *ei)
{
    return mm_fail(ei, MM_ERR_INVALID, "PACKAGE_RECIPIENT", "the key is EC");
}

/* Made once. */
MM_UNUSED static struct soft_exchange *soft_exchange(void)
{
    static struct soft_exchange s;
    const unsigned char *key = exchange_key_der, *certificate = exchange_certificate_der;

    if (!s.key) {
        s.key = d2i_AutoPrivateKey(NULL, &key, sizeof(exchange_key_der));
        s.certificate = d2i_X509(NULL, &certificate, sizeof(exchange_certificate_der));
        s.holder = (struct mm_envelope_key){soft_agree, soft_oaep, &s};
    }
    return &s;
}
