/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/verify/verify.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509_vfy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Every certificate of a PEM text; an empty stack when there is none. */
static STACK_OF(X509) * parse_pem(const uint8_t *text, size_t len)
{
    STACK_OF(X509) *certs = sk_X509_new_null();
    BIO *bio = BIO_new_mem_buf(text, (int)len);
    X509 *cert;

    while (certs && bio && sk_X509_num(certs) < CHAIN_MAX &&
           (cert = PEM_read_bio_X509(bio, NULL, NULL, NULL)))
        sk_X509_push(certs, cert);
    ERR_clear_error();
    BIO_free(bio);
    return certs;
}

bool chain_load_root(struct chain *c, const char *path)
{
    STACK_OF(X509) * certs;
    size_t len;
    uint8_t *data = file_read(NULL, path, &len);

    if (!data) {
        fprintf(stderr, "mintmark-verify: %s: %s\n", path, strerror(errno));
        return false;
    }
    certs = parse_pem(data, len);
    if (sk_X509_num(certs) == 1)
        c->root = sk_X509_shift(certs);
    else if (sk_X509_num(certs) == 0)
        c->root = certificate_parse(data, len);
    sk_X509_pop_free(certs, X509_free);
    free(data);
    c->store = X509_STORE_new();
    if (!c->root || !c->store || X509_self_signed(c->root, 1) != 1 ||
        !X509_STORE_add_cert(c->store, c->root)) {
        fprintf(stderr, "mintmark-verify: %s: must hold one self-signed certificate, PEM or DER\n",
                path);
        return false;
    }
    return true;
}

static void check_order(const struct chain *c, struct report *r)
{
    const int n = sk_X509_num(c->delivered);

    for (int i = 0; i + 1 < n; i++) {
        X509 *cert = sk_X509_value(c->delivered, i), *issuer = sk_X509_value(c->delivered, i + 1);

        if (!certificate_issuer_is(cert, issuer) ||
            X509_verify(cert, X509_get0_pubkey(issuer)) != 1)
            report_fail(r, c->name, "certificate %d is not issued by the next one", i + 1);
    }
    if (n > 0 && X509_cmp(sk_X509_value(c->delivered, n - 1), c->root) != 0)
        report_fail(r, c->name, "the last certificate is not the trusted root");
    ERR_clear_error();
}

bool chain_is_name(const char *name)
{
    static const char digits[] = "0123456789abcdef";

    if (strcmp(name, "chain.pem") == 0)
        return true;
    return strlen(name) == CHAIN_NAME_LEN && strncmp(name, "chain-", 6) == 0 &&
           strspn(name + 6, digits) == 16 && strcmp(name + 6 + 16, ".pem") == 0;
}

void chain_load_delivered(struct chain *c, const char *dir, const char *name, struct report *r)
{
    size_t len;
    uint8_t *data = file_read(dir, name, &len);

    snprintf(c->name, sizeof(c->name), "%s", name);
    sk_X509_pop_free(c->delivered, X509_free);
    c->delivered = NULL;
    if (!data) {
        report_fail(r, c->name, "%s", strerror(errno));
        return;
    }
    c->delivered = parse_pem(data, len);
    free(data);
    if (sk_X509_num(c->delivered) == 0)
        report_fail(r, c->name, "holds no certificate");
    check_order(c, r);
}

/* 112 bits: neither MD5 nor SHA-1, nor RSA below 2048 bits. */
enum { AUTH_LEVEL = 2 };

static int verify_at(const struct chain *c, X509 *cert, time_t when)
{
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    X509_VERIFY_PARAM *param;
    int error = X509_V_ERR_OUT_OF_MEM;

    if (ctx && X509_STORE_CTX_init(ctx, c->store, cert, c->delivered)) {
        param = X509_STORE_CTX_get0_param(ctx);
        X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_X509_STRICT);
        X509_VERIFY_PARAM_set_time(param, when);
        X509_VERIFY_PARAM_set_auth_level(param, AUTH_LEVEL);
        error = X509_verify_cert(ctx) == 1 ? X509_V_OK : X509_STORE_CTX_get_error(ctx);
    }
    X509_STORE_CTX_free(ctx);
    ERR_clear_error();
    return error;
}

bool chain_verify(const struct chain *c, X509 *cert, const char *who, struct report *r)
{
    struct tm tm;
    int error = verify_at(c, cert, time(NULL));

    if (error != X509_V_OK) {
        report_fail(r, who, "chain, now: %s", X509_verify_cert_error_string(error));
        return false;
    }
    if (!ASN1_TIME_to_tm(X509_get0_notBefore(cert), &tm)) {
        report_fail(r, who, "notBefore cannot be read");
        return false;
    }
    error = verify_at(c, cert, timegm(&tm));
    if (error != X509_V_OK) {
        report_fail(r, who, "chain, at its notBefore: %s", X509_verify_cert_error_string(error));
        return false;
    }
    return true;
}

void chain_done(struct chain *c)
{
    X509_free(c->root);
    sk_X509_pop_free(c->delivered, X509_free);
    X509_STORE_free(c->store);
}
