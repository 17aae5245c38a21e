/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/front/tls.h"

#include "daemon/base/clock.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

enum { PEER_CHAIN_MAX = MM_CHAIN_MAX + 1 };

static int tls_fail(struct mm_errinfo *ei, const char *what, const char *file)
{
    const unsigned long code = ERR_peek_last_error();
    const char *reason = code ? ERR_reason_error_string(code) : NULL;

    ERR_clear_error();
    return mm_fail(ei, MM_ERR_INVALID, "TLS_SETUP", "%s %s: %s", what, file,
                   reason ? reason : "unknown error");
}

/* Nobody sits at this terminal: an encrypted key is an error, not a prompt. */
static int no_passphrase(MM_UNUSED char *buf, MM_UNUSED int size, MM_UNUSED int rw,
                         MM_UNUSED void *user)
{
    return -1;
}

static int select_h2(MM_UNUSED SSL *ssl, const unsigned char **out, unsigned char *out_len,
                     const unsigned char *in, unsigned in_len, MM_UNUSED void *arg)
{
    static const unsigned char h2[] = "\2h2";

    if (SSL_select_next_proto((unsigned char **)(uintptr_t)out, out_len, h2, sizeof(h2) - 1, in,
                              in_len) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    return SSL_TLSEXT_ERR_OK;
}

static BIO *reader(const struct mm_buf *file)
{
    return BIO_new_mem_buf(file->len > 0 ? (const void *)file->data : "", (int)file->len);
}

void mm_tls_files_done(struct mm_tls_files *files)
{
    mm_buf_done(&files->certificate);
    mm_buf_done(&files->key);
    mm_buf_done(&files->client_ca);
}

static int compare_names(const X509_NAME *const *a, const X509_NAME *const *b)
{
    return X509_NAME_cmp(*a, *b);
}

/* Trusts the certificate, and names it to clients, once. */
static bool trust(SSL_CTX *ctx, STACK_OF(X509_NAME) * names, X509 *certificate)
{
    X509_NAME *name = X509_get_subject_name(certificate);
    X509_NAME *copy;

    if (X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), certificate) != 1)
        return false;
    if (sk_X509_NAME_find(names, name) >= 0)
        return true;
    copy = X509_NAME_dup(name);
    if (copy && sk_X509_NAME_push(names, copy) > 0)
        return true;
    X509_NAME_free(copy);
    return false;
}

/* The end of a PEM file, as opposed to something in it that is wrong. */
static bool at_end(void)
{
    const unsigned long code = ERR_peek_last_error();

    if (ERR_GET_LIB(code) != ERR_LIB_PEM || ERR_GET_REASON(code) != PEM_R_NO_START_LINE)
        return false;
    ERR_clear_error();
    return true;
}

/* At least one certificate, and nothing that is broken. */
static bool trust_all(SSL_CTX *ctx, STACK_OF(X509_NAME) * names, BIO *in)
{
    X509 *certificate;
    bool any = false;

    while ((certificate = PEM_read_bio_X509_AUX(in, NULL, no_passphrase, NULL))) {
        any = trust(ctx, names, certificate);
        X509_free(certificate);
        if (!any)
            return false;
    }
    return any && at_end();
}

static int load_client_ca(SSL_CTX *ctx, const struct mm_buf *pem, const char *file,
                          struct mm_errinfo *ei)
{
    STACK_OF(X509_NAME) *names = sk_X509_NAME_new(compare_names);
    BIO *in = reader(pem);
    const bool ok = names && in && trust_all(ctx, names, in);

    BIO_free(in);
    if (!ok) {
        sk_X509_NAME_pop_free(names, X509_NAME_free);
        return tls_fail(ei, "client CA file", file);
    }
    SSL_CTX_set_client_CA_list(ctx, names);
    /* What the file lists is trusted as it is, be it a root or not. */
    X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(ctx), X509_V_FLAG_PARTIAL_CHAIN);
    SSL_CTX_set_verify_depth(ctx, PEER_CHAIN_MAX);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    return MM_OK;
}

/* The server's certificate, then its chain. */
static bool use_chain(SSL_CTX *ctx, BIO *in)
{
    X509 *certificate = PEM_read_bio_X509_AUX(in, NULL, no_passphrase, NULL);
    const bool ok = certificate && SSL_CTX_use_certificate(ctx, certificate) == 1;

    X509_free(certificate);
    if (!ok)
        return false;
    while ((certificate = PEM_read_bio_X509(in, NULL, no_passphrase, NULL))) {
        if (SSL_CTX_add0_chain_cert(ctx, certificate) != 1) {
            X509_free(certificate);
            return false;
        }
    }
    return at_end();
}

static bool use_key(SSL_CTX *ctx, BIO *in)
{
    EVP_PKEY *key = PEM_read_bio_PrivateKey(in, NULL, no_passphrase, NULL);
    const bool ok =
        key && SSL_CTX_use_PrivateKey(ctx, key) == 1 && SSL_CTX_check_private_key(ctx) == 1;

    EVP_PKEY_free(key);
    return ok;
}

static int load_own(SSL_CTX *ctx, const struct mm_conf_listen *listen,
                    const struct mm_tls_files *files, struct mm_errinfo *ei)
{
    BIO *chain = reader(&files->certificate);
    BIO *key = reader(&files->key);
    int r = MM_OK;

    if (!chain || !use_chain(ctx, chain))
        r = tls_fail(ei, "certificate file", listen->certificate);
    else if (!key || !use_key(ctx, key))
        r = tls_fail(ei, "key file", listen->key);
    BIO_free(chain);
    BIO_free(key);
    return r;
}

int mm_tls_context_new(const struct mm_conf_listen *listen, const struct mm_tls_files *files,
                       bool client_certificates, SSL_CTX **ret_ctx, struct mm_errinfo *ei)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    int r;

    if (!ctx || SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) != 1) {
        SSL_CTX_free(ctx);
        return mm_fail_memory(ei);
    }
    SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
    SSL_CTX_set_num_tickets(ctx, 0);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_alpn_select_cb(ctx, select_h2, NULL);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                              SSL_MODE_RELEASE_BUFFERS);
    /* One system call for several records. */
    SSL_CTX_set_read_ahead(ctx, 1);
    ERR_clear_error();
    r = load_own(ctx, listen, files, ei);
    if (r == MM_OK && client_certificates)
        r = load_client_ca(ctx, &files->client_ca, listen->client_ca, ei);
    if (r < 0) {
        SSL_CTX_free(ctx);
        return r;
    }
    *ret_ctx = ctx;
    return MM_OK;
}

static int handshake_failed(SSL *ssl, struct mm_errinfo *ei)
{
    const unsigned long code = ERR_peek_error();
    const long verify = SSL_get_verify_result(ssl);
    const char *reason = code ? ERR_reason_error_string(code) : NULL;

    ERR_clear_error();
    if (verify != X509_V_OK)
        return mm_fail(ei, MM_ERR_IO, "TLS_HANDSHAKE", "client certificate: %s",
                       X509_verify_cert_error_string(verify));
    return mm_fail(ei, MM_ERR_IO, "TLS_HANDSHAKE", "%s", reason ? reason : "connection lost");
}

int mm_tls_handshake(SSL *ssl, bool *ret_want_write, struct mm_errinfo *ei)
{
    const unsigned char *alpn;
    unsigned alpn_len;
    int n;

    ERR_clear_error();
    n = SSL_accept(ssl);
    if (n != 1) {
        const int error = SSL_get_error(ssl, n);

        *ret_want_write = error == SSL_ERROR_WANT_WRITE;
        if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
            return MM_ERR_AGAIN;
        return handshake_failed(ssl, ei);
    }
    /* select_h2 is not asked when the client offers nothing. */
    SSL_get0_alpn_selected(ssl, &alpn, &alpn_len);
    if (alpn_len == 0)
        return mm_fail(ei, MM_ERR_IO, "TLS_HANDSHAKE", "the client does not offer h2 by ALPN");
    return MM_OK;
}

ssize_t mm_tls_read(SSL *ssl, void *buf, size_t size, bool *ret_want_write)
{
    size_t n = 0;
    int error;

    *ret_want_write = false;
    ERR_clear_error();
    if (SSL_read_ex(ssl, buf, size, &n) == 1)
        return (ssize_t)n;
    error = SSL_get_error(ssl, 0);
    if (error == SSL_ERROR_WANT_READ)
        return MM_ERR_AGAIN;
    if (error == SSL_ERROR_WANT_WRITE) {
        *ret_want_write = true;
        return MM_ERR_AGAIN;
    }
    return error == SSL_ERROR_ZERO_RETURN ? MM_ERR_EOF : MM_ERR_IO;
}

ssize_t mm_tls_write(SSL *ssl, const void *data, size_t len)
{
    size_t n = 0;
    int error;

    ERR_clear_error();
    if (SSL_write_ex(ssl, data, len, &n) == 1)
        return (ssize_t)n;
    error = SSL_get_error(ssl, 0);
    return error == SSL_ERROR_WANT_WRITE || error == SSL_ERROR_WANT_READ ? MM_ERR_AGAIN : MM_ERR_IO;
}

bool mm_tls_accepts_peer(SSL_CTX *ctx, SSL *ssl)
{
    X509_STORE_CTX *verify = X509_STORE_CTX_new();
    X509 *certificate = SSL_get0_peer_certificate(ssl);
    bool ok = false;

    if (verify && certificate &&
        X509_STORE_CTX_init(verify, SSL_CTX_get_cert_store(ctx), certificate,
                            SSL_get_peer_cert_chain(ssl)) == 1 &&
        X509_STORE_CTX_set_default(verify, "ssl_client") == 1) {
        X509_VERIFY_PARAM_set1(X509_STORE_CTX_get0_param(verify), SSL_CTX_get0_param(ctx));
        ok = X509_verify_cert(verify) == 1;
    }
    X509_STORE_CTX_free(verify);
    ERR_clear_error();
    return ok;
}

int64_t mm_tls_peer_left_ms(const SSL *ssl)
{
    const X509 *certificate = SSL_get0_peer_certificate(ssl);
    time_t now = (time_t)(mm_clock_wall_ms() / 1000);
    ASN1_TIME *from;
    int days = 0, seconds = 0;

    if (!certificate)
        return INT64_MAX;
    from = ASN1_TIME_set(NULL, now);
    if (!from || ASN1_TIME_diff(&days, &seconds, from, X509_get0_notAfter(certificate)) != 1)
        days = seconds = 0;
    ASN1_TIME_free(from);
    if (days < 0 || seconds < 0)
        return 0;
    return (int64_t)days * 86400000 + (int64_t)seconds * 1000;
}
