/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/issuer/credential.h"

#include "daemon/base/io.h"
#include "daemon/base/limits.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

MM_DEFINE_CLEANUP(BIO *, BIO_free_all)

void mm_credential_done(struct mm_credential *c)
{
    X509_STORE_free(c->server_ca);
    X509_free(c->certificate);
    sk_X509_pop_free(c->chain, X509_free);
    mm_p12_done(&c->p12);
    mm_provider_key_done(&c->in_token);
    *c = (struct mm_credential){.certificate = NULL};
}

static int fail_credential(struct mm_errinfo *ei, const char *file, const char *what)
{
    ERR_clear_error();
    return mm_fail(ei, MM_ERR_INVALID, "CLIENT_CREDENTIAL", "%.160s: %s", file, what);
}

/* ---- PEM --------------------------------------------------------------------------------- */

static int read_pem(const char *path, STACK_OF(X509) * *ret_list, struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf pem = MM_BUF_INIT(MM_PEM_FILE_MAX);
    MM_CLEANUP(BIO_free_all_p) BIO *bio = NULL;
    STACK_OF(X509) *list = sk_X509_new_null();
    X509 *cert;
    int r = mm_io_read_file(path, MM_PEM_FILE_MAX, &pem, ei);

    if (r == MM_OK)
        bio = BIO_new_mem_buf(pem.len ? (const void *)pem.data : "", (int)pem.len);
    while (bio && list && (cert = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
        if (!sk_X509_push(list, cert))
            X509_free(cert);
    }
    ERR_clear_error();
    *ret_list = list;
    return r == MM_OK && !list ? mm_fail_memory(ei) : r;
}

static int read_server_ca(const char *path, X509_STORE **ret_store, struct mm_errinfo *ei)
{
    STACK_OF(X509) *list = NULL;
    int r = read_pem(path, &list, ei);

    *ret_store = X509_STORE_new();
    for (int i = 0; r == MM_OK && i < sk_X509_num(list); i++) {
        if (!*ret_store || !X509_STORE_add_cert(*ret_store, sk_X509_value(list, i)))
            r = mm_fail_memory(ei);
    }
    if (r == MM_OK && sk_X509_num(list) == 0)
        r = mm_fail(ei, MM_ERR_INVALID, "SERVER_CA", "%.200s: no certificate in PEM", path);
    sk_X509_pop_free(list, X509_free);
    return r;
}

/* ---- secrets ----------------------------------------------------------------------------- */

/* A carriage return that an editor left behind would cost one of a token's few tries. */
static int read_line(int fd, mode_t refused, struct mm_secret **ret_line, struct mm_errinfo *ei)
{
    struct stat st;
    int r;

    if (fstat(fd, &st) < 0)
        return mm_fail_errno(ei, errno, "cannot be looked at");
    if (!S_ISREG(st.st_mode) || (st.st_mode & refused))
        return mm_fail(ei, MM_ERR_PERMISSION, "SECRET_EXPOSED",
                       "not a regular file, or others may read it: chmod 600");
    r = mm_io_read_secret(fd, MM_PIN_MAX, ret_line, ei);
    for (size_t i = 0; r == MM_OK && i < mm_secret_len(*ret_line); i++) {
        if (mm_secret_data(*ret_line)[i] < ' ')
            r = mm_fail(ei, MM_ERR_INVALID, "SECRET_MALFORMED",
                        "a control character in it (a DOS line end?)");
    }
    return r;
}

/* The first line of a file, or of a systemd credential, with a NUL behind it. */
static int read_secret(const char *file, const char *credential, struct mm_secret **ret_secret,
                       struct mm_errinfo *ei)
{
    const char *folder = getenv("CREDENTIALS_DIRECTORY");
    MM_SECRET_CLEANUP struct mm_secret *line = NULL, *text = NULL;
    MM_FREE char *path = NULL;
    MM_CLOSE int fd = -1;
    int r;

    if (!*file && !folder)
        return mm_fail(ei, MM_ERR_NOT_FOUND, "NO_CREDENTIALS",
                       "credential %s: CREDENTIALS_DIRECTORY is not set", credential);
    if ((*file ? asprintf(&path, "%s", file) : asprintf(&path, "%s/%s", folder, credential)) < 0) {
        path = NULL;
        return mm_fail_memory(ei);
    }
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    /* systemd grants by an ACL, whose mask shows as the group's bits. */
    r = fd < 0 ? mm_fail_errno(ei, errno, "%s", path)
               : read_line(fd, *file ? S_IRWXG | S_IRWXO : S_IRWXO, &line, ei);
    if (r == MM_OK)
        r = mm_secret_new(mm_secret_len(line) + 1, &text);
    if (r < 0)
        return mm_err_prefix(ei, "%s", path);
    memcpy(mm_secret_data(text), mm_secret_data(line), mm_secret_len(line));
    *ret_secret = MM_TAKE(text);
    return MM_OK;
}

/* ---- a PKCS#12 file ---------------------------------------------------------------------- */

static int read_p12(const struct mm_conf_issuer *issuer, struct mm_credential *c,
                    struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf der = MM_BUF_INIT(MM_PEM_FILE_MAX);
    MM_SECRET_CLEANUP struct mm_secret *password = NULL;
    int r = read_secret(issuer->client_password_file, issuer->client_password_credential, &password,
                        ei);

    if (r == MM_OK)
        r = mm_io_read_file(issuer->client_p12, MM_PEM_FILE_MAX, &der, ei);
    if (r < 0)
        return r;
    r = mm_p12_open((struct mm_bytes){der.data, der.len}, (const char *)mm_secret_data(password),
                    "CLIENT_CREDENTIAL", &c->p12, ei);
    if (r < 0)
        return mm_err_prefix(ei, "%.160s", issuer->client_p12);
    c->certificate = MM_TAKE(c->p12.certificate);
    c->chain = MM_TAKE(c->p12.chain);
    return MM_OK;
}

/* ---- a key in a token -------------------------------------------------------------------- */

struct pin {
    struct mm_secret *secret;
    bool given; /* once is enough: a token counts wrong PINs */
};

/* A pem_password_cb. */
static int give_pin(char *to, int size, MM_UNUSED int writing, void *user)
{
    struct pin *pin = user;
    const size_t len = mm_secret_len(pin->secret) - 1;

    if (pin->given || len > (size_t)size)
        return -1;
    pin->given = true;
    memcpy(to, mm_secret_data(pin->secret), len);
    return (int)len;
}

static int set_environment(const struct mm_conf_token *t, struct mm_errinfo *ei)
{
    for (size_t i = 0; i < t->n_environment; i++) {
        const char *equals = strchr(t->environment[i], '=');
        MM_FREE char *name = strndup(t->environment[i], (size_t)(equals - t->environment[i]));

        if (!name || setenv(name, equals + 1, 1) < 0)
            return mm_fail_memory(ei);
    }
    return MM_OK;
}

static int open_token_key(const struct mm_conf *conf, const struct mm_conf_issuer *issuer,
                          struct mm_credential *c, struct mm_errinfo *ei)
{
    const struct mm_conf_token *t = mm_conf_token_get(conf, issuer->client_token);
    struct pin pin = {.secret = NULL};
    int r = set_environment(t, ei);

    if (r == MM_OK)
        r = read_secret(t->pin_file, t->pin_credential, &pin.secret, ei);
    if (r == MM_OK)
        r = mm_provider_key_open(&c->in_token, t->module, issuer->client_key, give_pin, &pin, ei);
    mm_secret_free(pin.secret);
    /* Asked for, and of no use: it is not to be tried again by itself. */
    if (r == MM_ERR_NOT_FOUND && pin.given)
        ei->code = MM_ERR_PIN;
    return r < 0 ? mm_err_prefix(ei, "client_key") : MM_OK;
}

static int read_chain(const struct mm_conf_issuer *issuer, struct mm_credential *c,
                      struct mm_errinfo *ei)
{
    const int r = read_pem(issuer->client_certificate, &c->chain, ei);

    if (r < 0)
        return r;
    c->certificate = sk_X509_shift(c->chain);
    return c->certificate
               ? MM_OK
               : fail_credential(ei, issuer->client_certificate, "no certificate in PEM");
}

/* ---- both -------------------------------------------------------------------------------- */

static EVP_PKEY *key_of(const struct mm_credential *c)
{
    return c->p12.key ? c->p12.key : c->in_token.key;
}

/* By the keys' text forms: the token's is of another library context. */
static int check_pair(const struct mm_conf_issuer *issuer, const struct mm_credential *c,
                      struct mm_errinfo *ei)
{
    const bool file = *issuer->client_p12;

    if (X509_check_private_key(c->certificate, key_of(c)) == 1)
        return MM_OK;
    return fail_credential(ei, file ? issuer->client_p12 : issuer->client_certificate,
                           "the certificate is not that of the key");
}

int mm_credential_open(const struct mm_conf *conf, const struct mm_conf_issuer *issuer,
                       struct mm_credential *c, struct mm_errinfo *ei)
{
    int r = read_server_ca(issuer->server_ca, &c->server_ca, ei);

    if (r < 0)
        return r;
    if (*issuer->client_p12) {
        r = read_p12(issuer, c, ei);
    } else {
        r = open_token_key(conf, issuer, c, ei);
        if (r == MM_OK)
            r = read_chain(issuer, c, ei);
    }
    return r < 0 ? r : check_pair(issuer, c, ei);
}

bool mm_credential_apply(const struct mm_credential *c, SSL_CTX *ctx)
{
    bool good = SSL_CTX_use_certificate(ctx, c->certificate) == 1 &&
                SSL_CTX_use_PrivateKey(ctx, key_of(c)) == 1;

    for (int i = 0; good && c->chain && i < sk_X509_num(c->chain); i++)
        good = SSL_CTX_add1_chain_cert(ctx, sk_X509_value(c->chain, i)) == 1;
    if (!good || !X509_STORE_up_ref(c->server_ca)) {
        ERR_clear_error();
        return false;
    }
    SSL_CTX_set_cert_store(ctx, c->server_ca);
    return true;
}
