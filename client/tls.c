/* SPDX-License-Identifier: Apache-2.0 */
#include "client/tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

/* The TLS alerts by which a service refuses a certificate of ours (RFC 8446 section 6.2). */
static bool is_certificate_alert(int alert)
{
    switch (alert) {
    case SSL_AD_BAD_CERTIFICATE:
    case SSL_AD_UNSUPPORTED_CERTIFICATE:
    case SSL_AD_CERTIFICATE_REVOKED:
    case SSL_AD_CERTIFICATE_EXPIRED:
    case SSL_AD_CERTIFICATE_UNKNOWN:
    case SSL_AD_UNKNOWN_CA:
    case SSL_AD_ACCESS_DENIED:
    case SSL_AD_CERTIFICATE_REQUIRED:
        return true;
    default:
        return false;
    }
}

/* The text for the oldest error in OpenSSL's queue, which is the cause; empties the queue. OpenSSL
 * has none for an errno, such as that of a file that is not there. */
static unsigned long take_error(const char **ret_text)
{
    unsigned long code = ERR_get_error();
    const char *text =
        ERR_SYSTEM_ERROR(code) ? strerror(ERR_GET_REASON(code)) : ERR_reason_error_string(code);

    *ret_text = text ? text : "unknown error";
    ERR_clear_error();
    return code;
}

int mm_tls_no_passphrase(char *buf, int size, int writing, void *arg)
{
    (void)buf;
    (void)size;
    (void)writing;
    if (arg)
        *(bool *)arg = true;
    return -1;
}

int mm_tls_fail_encrypted(const char *path, struct mintmark_error *error)
{
    return mm_client_fail(error, MINTMARK_INVALID_ARGUMENT, "BAD_FILE",
                          "%s: has a passphrase; a key that is not encrypted is needed", path);
}

static int fail_file(const char *path, const char *what, struct mintmark_error *error)
{
    const char *text;

    take_error(&text);
    return mm_client_fail(error, MINTMARK_INVALID_ARGUMENT, "BAD_FILE", "%s: cannot use as %s: %s",
                          path, what, text);
}

/* Loading the key checks it against the certificate, too. */
static int load_key(SSL_CTX *context, const char *path, struct mintmark_error *error)
{
    bool encrypted = false;
    int r;

    SSL_CTX_set_default_passwd_cb(context, mm_tls_no_passphrase);
    SSL_CTX_set_default_passwd_cb_userdata(context, &encrypted);
    r = SSL_CTX_use_PrivateKey_file(context, path, SSL_FILETYPE_PEM);
    SSL_CTX_set_default_passwd_cb_userdata(context, NULL);
    if (r == 1)
        return 0;
    if (!encrypted)
        return fail_file(path, "the certificate's private key (PEM, not encrypted)", error);
    ERR_clear_error();
    return mm_tls_fail_encrypted(path, error);
}

static int load_files(SSL_CTX *context, const struct mintmark_options *options,
                      struct mintmark_error *error)
{
    if (SSL_CTX_load_verify_file(context, options->ca_file) != 1)
        return fail_file(options->ca_file, "CA certificates", error);
    if (!options->certificate_file)
        return 0;
    if (SSL_CTX_use_certificate_chain_file(context, options->certificate_file) != 1)
        return fail_file(options->certificate_file, "a certificate", error);
    return load_key(context, options->key_file, error);
}

int mm_tls_context_new(const struct mintmark_options *options, SSL_CTX **ret_context,
                       struct mintmark_error *error)
{
    static const unsigned char protocols[] = "\x02h2";
    MM_CLEANUP(SSL_CTX_free_p) SSL_CTX *context = NULL;
    int r;

    ERR_clear_error();
    context = SSL_CTX_new(TLS_client_method());
    if (!context)
        return mm_client_fail_memory(error);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                  SSL_MODE_RELEASE_BUFFERS);
    if (SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_alpn_protos(context, protocols, sizeof(protocols) - 1) != 0)
        return mm_client_fail(error, MINTMARK_INTERNAL, "TLS_SETUP", "cannot set up TLS 1.3");
    r = load_files(context, options, error);
    if (r < 0)
        return r;
    *ret_context = MM_TAKE(context);
    return 0;
}

/*
 * A socket BIO that sends with MSG_NOSIGNAL: the one of libcrypto uses write(), and a station's
 * program must not die of SIGPIPE because a service went away.
 */
static int bio_fd(BIO *bio)
{
    return (int)(intptr_t)BIO_get_data(bio);
}

static void note_retry(BIO *bio, ssize_t n, int flag)
{
    BIO_clear_retry_flags(bio);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        BIO_set_flags(bio, flag | BIO_FLAGS_SHOULD_RETRY);
}

static int bio_write(BIO *bio, const char *data, int len)
{
    ssize_t n = send(bio_fd(bio), data, (size_t)len, MSG_NOSIGNAL);

    note_retry(bio, n, BIO_FLAGS_WRITE);
    return (int)n;
}

static int bio_read(BIO *bio, char *data, int len)
{
    ssize_t n = recv(bio_fd(bio), data, (size_t)len, 0);

    note_retry(bio, n, BIO_FLAGS_READ);
    if (n == 0)
        BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
    return (int)n;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
    (void)number;
    (void)pointer;
    if (command == BIO_CTRL_FLUSH)
        return 1;
    if (command == BIO_CTRL_EOF)
        return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0;
    return 0;
}

static int bio_create(BIO *bio)
{
    BIO_set_init(bio, 1);
    return 1;
}

/* Made once in a process and kept: a BIO borrows its method until it is freed. */
static BIO_METHOD *socket_method;

static void make_socket_method(void)
{
    BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "socket without SIGPIPE");

    if (method && BIO_meth_set_write(method, bio_write) == 1 &&
        BIO_meth_set_read(method, bio_read) == 1 && BIO_meth_set_ctrl(method, bio_ctrl) == 1 &&
        BIO_meth_set_create(method, bio_create) == 1)
        socket_method = method;
    else
        BIO_meth_free(method);
}

static BIO *bio_new(int fd)
{
    static CRYPTO_ONCE once = CRYPTO_ONCE_STATIC_INIT;
    BIO *bio;

    if (!CRYPTO_THREAD_run_once(&once, make_socket_method) || !socket_method)
        return NULL;
    bio = BIO_new(socket_method);
    if (bio)
        BIO_set_data(bio, (void *)(intptr_t)fd);
    return bio;
}

/* RFC 9525: the name must stand in subjectAltName; an IP address is compared as one. */
static bool expect_name(SSL *tls, const char *server_name)
{
    struct in6_addr address;

    if (inet_pton(AF_INET, server_name, &address) == 1 ||
        inet_pton(AF_INET6, server_name, &address) == 1)
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(tls), server_name) == 1;
    SSL_set_hostflags(tls,
                      X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    return SSL_set1_host(tls, server_name) == 1 &&
           /* SSL_set_tlsext_host_name() without its cast of the const away */
           SSL_ctrl(tls, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
                    (void *)(uintptr_t)server_name) == 1;
}

int mm_tls_new(SSL_CTX *context, int fd, const char *server_name, SSL **ret_tls,
               struct mintmark_error *error)
{
    MM_CLEANUP(SSL_free_p) SSL *tls = NULL;
    BIO *bio;

    ERR_clear_error();
    tls = SSL_new(context);
    if (!tls)
        return mm_client_fail_memory(error);
    bio = bio_new(fd);
    if (!bio)
        return mm_client_fail_memory(error);
    SSL_set_bio(tls, bio, bio);
    if (!expect_name(tls, server_name))
        return mm_client_fail(error, MINTMARK_INVALID_ARGUMENT, "BAD_SERVER_NAME",
                              "%s: not a server name", server_name);
    SSL_set_connect_state(tls);
    *ret_tls = MM_TAKE(tls);
    return 0;
}

int mm_tls_check_protocol(const SSL *tls, struct mintmark_error *error)
{
    const unsigned char *name = NULL;
    unsigned len = 0;

    SSL_get0_alpn_selected(tls, &name, &len);
    if (len == 2 && memcmp(name, "h2", 2) == 0)
        return 0;
    return mm_client_fail(error, MINTMARK_UNAVAILABLE, "NO_HTTP2",
                          "the server did not choose HTTP/2: is this mintmark's port?");
}

static int fail_protocol(const SSL *tls, struct mintmark_error *error)
{
    long verify = SSL_get_verify_result(tls);
    const char *text;
    unsigned long code = take_error(&text);
    int reason = ERR_GET_REASON(code);

    if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED)
        return mm_client_fail(error, MINTMARK_UNAUTHENTICATED, "SERVER_CERTIFICATE",
                              "the server's certificate is refused: %s",
                              X509_verify_cert_error_string(verify));
    if (reason > SSL_AD_REASON_OFFSET && is_certificate_alert(reason - SSL_AD_REASON_OFFSET))
        return mm_client_fail(error, MINTMARK_UNAUTHENTICATED, "CLIENT_CERTIFICATE",
                              "the server refuses this client's certificate: %s", text);
    return mm_client_fail(error, MINTMARK_UNAVAILABLE, "TLS_FAILED", "TLS: %s", text);
}

int mm_tls_fail(const SSL *tls, int ssl_error, int errno_value, struct mintmark_error *error)
{
    if (ssl_error == SSL_ERROR_SSL)
        return fail_protocol(tls, error);
    ERR_clear_error();
    if (ssl_error == SSL_ERROR_SYSCALL && errno_value)
        return mm_client_fail(error, MINTMARK_UNAVAILABLE, "CONNECTION_LOST",
                              "the connection was lost: %s", strerror(errno_value));
    return mm_client_fail(error, MINTMARK_UNAVAILABLE, "CONNECTION_LOST",
                          "the server closed the connection");
}
