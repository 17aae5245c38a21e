/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates that the auditor named, and who may sign by them. */
#include "tools/verify/audit.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* 112 bits: neither SHA-1 nor RSA below 2048 bits in certificates. */
enum { AUTH_LEVEL = 2, DEPTH = 6 };

static bool add(struct trust *t, X509 *cert)
{
    if (sk_X509_num(t->certificates) < TRUST_MAX && X509_STORE_add_cert(t->store, cert) == 1 &&
        sk_X509_push(t->certificates, cert) > 0)
        return true;
    X509_free(cert);
    return false;
}

static bool parse(struct trust *t, const uint8_t *text, size_t len)
{
    BIO *bio = BIO_new_mem_buf(len ? (const void *)text : "", (int)len);
    bool good = bio && t->certificates && t->store;
    X509 *cert;

    while (good && (cert = PEM_read_bio_X509(bio, NULL, NULL, NULL)))
        good = add(t, cert);
    good = good && ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    ERR_clear_error();
    BIO_free(bio);
    return good && sk_X509_num(t->certificates) > 0;
}

bool trust_load(struct trust *t, const char *path)
{
    size_t len;
    uint8_t *text = file_read(NULL, path, &len);
    bool good;

    *t =
        (struct trust){.path = path, .certificates = sk_X509_new_null(), .store = X509_STORE_new()};
    if (!text) {
        unreadable(path, strerror(errno));
        return false;
    }
    good = parse(t, text, len);
    free(text);
    if (!good)
        unreadable(path, "must hold certificates in PEM, at least one");
    return good;
}

void trust_done(struct trust *t)
{
    sk_X509_pop_free(t->certificates, X509_free);
    X509_STORE_free(t->store);
    *t = (struct trust){.path = NULL};
}

static const char *chain_fault(int error, const char *path, char why[TEXT_MAX])
{
    snprintf(why, TEXT_MAX, "by %s: %s", path ? path : "nobody",
             X509_verify_cert_error_string(error));
    if (error == X509_V_ERR_CERT_HAS_EXPIRED)
        return "SIGNER_EXPIRED";
    return error == X509_V_ERR_CERT_NOT_YET_VALID ? "SIGNER_NOT_YET_VALID" : "SIGNER_UNKNOWN";
}

const char *trust_check(const struct trust *t, X509 *signer, STACK_OF(X509) * others,
                        int64_t time_ms, char why[TEXT_MAX])
{
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    const char *fault = NULL;

    if (!(X509_get_key_usage(signer) & KU_DIGITAL_SIGNATURE)) {
        snprintf(why, TEXT_MAX, "the signer's certificate is not for signatures");
        fault = "SIGNER_UNKNOWN";
    } else if (!ctx || X509_STORE_CTX_init(ctx, t->store, signer, others) != 1) {
        fault = chain_fault(X509_V_ERR_OUT_OF_MEM, t->path, why);
    } else {
        X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(ctx);

        X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_PARTIAL_CHAIN);
        X509_VERIFY_PARAM_set_time(param, (time_t)(time_ms / 1000));
        X509_VERIFY_PARAM_set_depth(param, DEPTH);
        X509_VERIFY_PARAM_set_auth_level(param, AUTH_LEVEL);
        if (X509_verify_cert(ctx) != 1)
            fault = chain_fault(X509_STORE_CTX_get_error(ctx), t->path, why);
    }
    X509_STORE_CTX_free(ctx);
    ERR_clear_error();
    return fault;
}

bool certificate_key_hash(const X509 *cert, uint8_t ret_sha256[SHA256_LEN])
{
    uint8_t *spki = NULL;
    const int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &spki);
    const bool good =
        len > 0 && EVP_Digest(spki, (size_t)len, ret_sha256, NULL, EVP_sha256(), NULL) == 1;

    OPENSSL_free(spki);
    return good;
}
