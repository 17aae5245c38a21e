/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/officer/signer.h"

#include "daemon/base/io.h"
#include "daemon/base/limits.h"
#include "daemon/base/text.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/provider.h>
#include <openssl/store.h>
#include <openssl/ui.h>
#include <string.h>

MM_DEFINE_CLEANUP(BIO *, BIO_free_all)
MM_DEFINE_CLEANUP(OSSL_STORE_CTX *, OSSL_STORE_close)
MM_DEFINE_CLEANUP(UI_METHOD *, UI_destroy_method)

void mm_signer_done(struct mm_signer *s)
{
    EVP_PKEY_free(s->key);
    sk_X509_pop_free(s->certificates, X509_free);
    if (s->pkcs11)
        OSSL_PROVIDER_unload(s->pkcs11);
    if (s->base)
        OSSL_PROVIDER_unload(s->base);
    OSSL_LIB_CTX_free(s->ctx);
    *s = (struct mm_signer){.ctx = NULL};
}

/* ---- PIN or passphrase ------------------------------------------------------------------- */

struct asking {
    struct mm_officer *officer;
    struct mm_errinfo *ei;
    bool asked; /* once is enough: a token counts wrong PINs */
};

static int take_pin(struct mm_officer *o, struct mm_secret **ret_pin, struct mm_errinfo *ei)
{
    const struct mm_args *const a = &o->args;
    uint64_t fd;

    if (a->pin_file)
        return mm_pin_from_file(a->pin_file, ret_pin, ei);
    if (a->pin_credential)
        return mm_pin_from_credential(a->pin_credential, ret_pin, ei);
    if (!a->pin_fd)
        return mm_pin_from_terminal("PIN or passphrase of the signing key: ", ret_pin, ei);
    if (mm_text_to_u64(a->pin_fd, 0, 1 << 20, &fd) < 0)
        return mm_officer_usage(o, ei, "--pin-fd takes the number of an open descriptor");
    return mm_pin_from_fd((int)fd, ret_pin, ei);
}

/* A pem_password_cb. */
static int give_pin(char *to, int size, MM_UNUSED int writing, void *user)
{
    struct asking *a = user;
    MM_SECRET_CLEANUP struct mm_secret *pin = NULL;
    size_t len;

    if (a->asked || take_pin(a->officer, &pin, a->ei) < 0)
        return -1;
    a->asked = true;
    len = mm_secret_len(pin);
    if (len > (size_t)size)
        return -1;
    memcpy(to, mm_secret_data(pin), len);
    return (int)len;
}

static int fail_key(const struct asking *a, const char *what, struct mm_errinfo *ei)
{
    ERR_clear_error();
    if (ei->code != MM_OK)
        return ei->code;
    return mm_fail(ei, MM_ERR_INVALID, "SIGNER_KEY", "%.180s: no private key%s", what,
                   a->asked ? " that this PIN or passphrase opens" : " in it");
}

/* ---- the key ----------------------------------------------------------------------------- */

static int key_from_file(struct mm_officer *o, struct mm_signer *s, struct mm_errinfo *ei)
{
    struct asking asking = {.officer = o, .ei = ei};
    MM_CLEANUP(BIO_free_all_p) BIO *bio = BIO_new_file(o->args.key, "r");

    if (!bio) {
        ERR_clear_error();
        return mm_fail(ei, MM_ERR_NOT_FOUND, "SIGNER_KEY", "%.200s: cannot be read", o->args.key);
    }
    s->key = PEM_read_bio_PrivateKey(bio, NULL, give_pin, &asking);
    return s->key ? MM_OK : fail_key(&asking, o->args.key, ei);
}

/* The provider in a library context of its own, with the module if one was named. */
static int load_provider(struct mm_officer *o, struct mm_signer *s, struct mm_errinfo *ei)
{
    if (o->args.module && setenv("PKCS11_PROVIDER_MODULE", o->args.module, 1) < 0)
        return mm_fail_memory(ei);
    s->ctx = OSSL_LIB_CTX_new();
    if (!s->ctx)
        return mm_fail_memory(ei);
    s->base = OSSL_PROVIDER_load(s->ctx, "default");
    s->pkcs11 = OSSL_PROVIDER_load(s->ctx, "pkcs11");
    if (s->base && s->pkcs11)
        return MM_OK;
    ERR_clear_error();
    return mm_fail(ei, MM_ERR_UNSUPPORTED, "NO_PKCS11_PROVIDER",
                   "OpenSSL has no pkcs11 provider here (Debian's package pkcs11-provider), or it "
                   "cannot load the module; --module FILE names one");
}

static int key_from_token(struct mm_officer *o, struct mm_signer *s, struct mm_errinfo *ei)
{
    struct asking asking = {.officer = o, .ei = ei};
    MM_CLEANUP(UI_destroy_method_p) UI_METHOD *ui = UI_UTIL_wrap_read_pem_callback(give_pin, 0);
    MM_CLEANUP(OSSL_STORE_close_p) OSSL_STORE_CTX *store = NULL;
    int r = load_provider(o, s, ei);

    if (r < 0)
        return r;
    store =
        OSSL_STORE_open_ex(o->args.key, s->ctx, "provider=pkcs11", ui, &asking, NULL, NULL, NULL);
    while (store && !s->key && !OSSL_STORE_eof(store)) {
        OSSL_STORE_INFO *info = OSSL_STORE_load(store);

        if (info && OSSL_STORE_INFO_get_type(info) == OSSL_STORE_INFO_PKEY)
            s->key = OSSL_STORE_INFO_get1_PKEY(info);
        OSSL_STORE_INFO_free(info);
    }
    return s->key ? MM_OK : fail_key(&asking, o->args.key, ei);
}

/* ---- the certificate --------------------------------------------------------------------- */

/* Made in the key's library context, so that the two can be compared. */
static int read_certificates(struct mm_officer *o, struct mm_signer *s, struct mm_errinfo *ei)
{
    MM_CLEANUP(BIO_free_all_p) BIO *bio = BIO_new_file(o->args.certificate, "r");

    s->certificates = sk_X509_new_null();
    while (bio && s->certificates && sk_X509_num(s->certificates) <= MM_CHAIN_MAX) {
        X509 *cert = X509_new_ex(s->ctx, NULL);

        if (!cert || !PEM_read_bio_X509(bio, &cert, NULL, NULL) ||
            !sk_X509_push(s->certificates, cert)) {
            X509_free(cert);
            break;
        }
    }
    ERR_clear_error();
    if (!s->certificates || sk_X509_num(s->certificates) == 0)
        return mm_fail(ei, MM_ERR_INVALID, "SIGNER_CERTIFICATE", "%.200s: no PEM certificate",
                       o->args.certificate);
    if (X509_check_private_key(sk_X509_value(s->certificates, 0), s->key) == 1)
        return MM_OK;
    ERR_clear_error();
    return mm_fail(ei, MM_ERR_INVALID, "SIGNER_KEY",
                   "the key is not that of the first certificate in %.180s", o->args.certificate);
}

int mm_signer_open(struct mm_officer *o, struct mm_signer *s, struct mm_errinfo *ei)
{
    const bool in_token = strncmp(o->args.key, "pkcs11:", 7) == 0;
    int r;

    if (!!o->args.pin_file + !!o->args.pin_fd + !!o->args.pin_credential + o->args.pin_prompt > 1)
        return mm_officer_usage(o, ei,
                                "give one of --pin-file, --pin-fd, --pin-credential and "
                                "--pin-prompt");
    if (o->args.module && !in_token)
        return mm_officer_usage(o, ei, "--module is for a --key that is a pkcs11: URI");
    r = in_token ? key_from_token(o, s, ei) : key_from_file(o, s, ei);
    return r < 0 ? r : read_certificates(o, s, ei);
}

/* ---- signing ----------------------------------------------------------------------------- */

/* What was made would be taken: by the reader's own strict rules. */
static int check_made(const struct mm_buf *cms, struct mm_errinfo *ei)
{
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    MM_DOCUMENT_CLEANUP struct mm_document document = MM_DOCUMENT_INIT;

    return mm_document_open((struct mm_bytes){cms->data, cms->len}, &arena, &document, ei);
}

int mm_signer_write(struct mm_officer *o, const struct mm_signer *s,
                    const Mintmark__V1__SignedDocument *content, struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf cms = MM_BUF_INIT(MM_DOCUMENT_MAX);
    STACK_OF(X509) *chain = sk_X509_new_null();
    struct mm_document_signer signer = {
        .ctx = s->ctx, .key = s->key, .certificate = sk_X509_value(s->certificates, 0)};
    int r = chain ? MM_OK : mm_fail_memory(ei);

    for (int i = 1; r == MM_OK && i < sk_X509_num(s->certificates); i++)
        if (!sk_X509_push(chain, sk_X509_value(s->certificates, i)))
            r = mm_fail_memory(ei);
    signer.chain = sk_X509_num(chain) > 0 ? chain : NULL;
    if (r == MM_OK)
        r = mm_document_sign(&signer, content, &cms, ei);
    sk_X509_free(chain);
    if (r == MM_OK)
        r = check_made(&cms, ei);
    return r < 0 ? r : mm_io_create_file(o->args.out, 0644, cms.data, cms.len, ei);
}
