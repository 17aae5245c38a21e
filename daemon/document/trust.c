/* SPDX-License-Identifier: Apache-2.0 */
/* Who may sign. */
#include "daemon/base/io.h"
#include "daemon/document/internal.h"
#include "daemon/pki/pem.h"

#include <openssl/pem.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

MM_DEFINE_CLEANUP(X509_STORE_CTX *, X509_STORE_CTX_free)

/* Signatures of certificates: 112 bits at least, so neither SHA-1 nor RSA below 2048 bits. */
enum { AUTH_LEVEL = 2 };

struct mm_trust {
    STACK_OF(X509) * certificates;
    X509_STORE *store;
};

void mm_trust_free(struct mm_trust *trust)
{
    if (!trust)
        return;
    sk_X509_pop_free(trust->certificates, X509_free);
    X509_STORE_free(trust->store);
    free(trust);
}

const STACK_OF(X509) * mm_trust_certificates(const struct mm_trust *trust)
{
    return trust->certificates;
}

static int add(struct mm_trust *trust, X509 *cert, struct mm_errinfo *ei)
{
    if (sk_X509_num(trust->certificates) == MM_TRUST_MAX) {
        X509_free(cert);
        return mm_fail(ei, MM_ERR_INVALID, "TRUST_INVALID", "more than %d certificates",
                       MM_TRUST_MAX);
    }
    if (X509_STORE_add_cert(trust->store, cert) != 1 || !sk_X509_push(trust->certificates, cert)) {
        X509_free(cert);
        return mm_fail_memory(ei);
    }
    return MM_OK;
}

static int end_of_pem(const struct mm_trust *trust, struct mm_bytes pem, struct mm_errinfo *ei)
{
    const int r = mm_pem_end(pem, "TRUST_INVALID", ei);

    if (r == MM_ERR_INVALID)
        return mm_fail(ei, r, "TRUST_INVALID", "certificate %d is damaged",
                       sk_X509_num(trust->certificates) + 1);
    return r;
}

static int read_all(struct mm_trust *trust, struct mm_bytes pem, struct mm_errinfo *ei)
{
    MM_CLEANUP(BIO_free_all_p)
    BIO *bio = BIO_new_mem_buf(pem.len ? (const void *)pem.data : "", (int)pem.len);
    int r = MM_OK;
    X509 *cert;

    if (!bio)
        return mm_fail_memory(ei);
    ERR_clear_error();
    while (r == MM_OK && (cert = PEM_read_bio_X509(bio, NULL, NULL, NULL)))
        r = add(trust, cert, ei);
    if (r == MM_OK)
        r = end_of_pem(trust, pem, ei);
    ERR_clear_error();
    if (r == MM_OK && sk_X509_num(trust->certificates) == 0)
        r = mm_fail(ei, MM_ERR_INVALID, "TRUST_INVALID", "no certificate in PEM");
    return r;
}

int mm_trust_new(struct mm_bytes pem, struct mm_trust **ret_trust, struct mm_errinfo *ei)
{
    MM_TRUST_CLEANUP struct mm_trust *trust = calloc(1, sizeof(*trust));
    int r;

    if (!trust)
        return mm_fail_memory(ei);
    trust->certificates = sk_X509_new_null();
    trust->store = X509_STORE_new();
    if (!trust->certificates || !trust->store)
        return mm_fail_memory(ei);
    r = read_all(trust, pem, ei);
    if (r < 0)
        return r;
    *ret_trust = MM_TAKE(trust);
    return MM_OK;
}

int mm_trust_read(const char *path, struct mm_trust **ret_trust, struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf pem = MM_BUF_INIT(MM_PEM_FILE_MAX);
    int r = mm_io_read_file(path, MM_PEM_FILE_MAX, &pem, ei);

    if (r == MM_OK)
        r = mm_trust_new((struct mm_bytes){pem.data, pem.len}, ret_trust, ei);
    return r < 0 ? mm_err_prefix(ei, "%.120s", path) : r;
}

static int fail_chain(const struct mm_document *document, int error, struct mm_errinfo *ei)
{
    ERR_clear_error();
    switch (error) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        return mm_fail(ei, MM_ERR_PRECONDITION, "SIGNER_EXPIRED",
                       "the certificate of the signer (%.120s), or of a CA above it, has expired",
                       document->signer_name);
    case X509_V_ERR_CERT_NOT_YET_VALID:
        return mm_fail(ei, MM_ERR_PRECONDITION, "SIGNER_NOT_YET_VALID",
                       "the certificate of the signer (%.120s), or of a CA above it, is not valid "
                       "yet",
                       document->signer_name);
    case X509_V_ERR_OUT_OF_MEM:
        return mm_fail_memory(ei);
    default:
        return mm_fail(ei, MM_ERR_PERMISSION, "SIGNER_UNKNOWN",
                       "the signer (%.120s) is none that is trusted here: %s",
                       document->signer_name, X509_verify_cert_error_string(error));
    }
}

int mm_document_check_signer(const struct mm_document *document, const struct mm_trust *trust,
                             int64_t now_ms, struct mm_errinfo *ei)
{
    MM_CLEANUP(X509_STORE_CTX_free_p) X509_STORE_CTX *ctx = NULL;
    X509_VERIFY_PARAM *param;

    if (!trust)
        return mm_fail(ei, MM_ERR_PERMISSION, "SIGNER_UNKNOWN",
                       "the signer (%.120s) is not known: nobody is trusted here",
                       document->signer_name);
    if (!(X509_get_key_usage(document->signer) & KU_DIGITAL_SIGNATURE))
        return mm_fail(ei, MM_ERR_PERMISSION, "SIGNER_UNKNOWN",
                       "the signer's certificate (%.120s) is not for signatures",
                       document->signer_name);
    ctx = X509_STORE_CTX_new();
    if (!ctx ||
        X509_STORE_CTX_init(ctx, trust->store, document->signer, document->certificates) != 1)
        return mm_fail_memory(ei);
    param = X509_STORE_CTX_get0_param(ctx);
    /* A trusted certificate ends the chain, whether self-signed or not. */
    X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_PARTIAL_CHAIN);
    X509_VERIFY_PARAM_set_time(param, (time_t)(now_ms / 1000));
    X509_VERIFY_PARAM_set_depth(param, MM_CHAIN_MAX);
    X509_VERIFY_PARAM_set_auth_level(param, AUTH_LEVEL);
    if (X509_verify_cert(ctx) != 1)
        return fail_chain(document, X509_STORE_CTX_get_error(ctx), ei);
    return MM_OK;
}

int mm_document_key_hash(const X509 *certificate, uint8_t ret_sha256[MM_DOCUMENT_HASH_BYTES],
                         struct mm_errinfo *ei)
{
    unsigned char *der = NULL;
    const int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &der);
    const bool done =
        len > 0 && EVP_Digest(der, (size_t)len, ret_sha256, NULL, EVP_sha256(), NULL) == 1;

    OPENSSL_free(der);
    return done ? MM_OK : mm_fail_memory(ei);
}
