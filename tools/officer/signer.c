/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/officer/signer.h"

#include "daemon/base/io.h"
#include "daemon/base/limits.h"
#include "daemon/base/text.h"
#include "pkcs11/watch.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <string.h>

MM_DEFINE_CLEANUP(BIO *, BIO_free_all)

/* It calls the module as often as it likes; that none of it returns is all that can be seen. */
static const char provider[] = "OpenSSL's pkcs11 provider";

void mm_signer_done(struct mm_signer *s)
{
    sk_X509_pop_free(s->certificates, X509_free);
    mm_watch_enter(provider);
    mm_provider_key_done(&s->key);
    mm_watch_leave();
    *s = (struct mm_signer){.certificates = NULL};
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

/* Within the provider, but people may take their time. */
static int give_pin_to_provider(char *to, int size, int writing, void *user)
{
    int n;

    mm_watch_leave();
    n = give_pin(to, size, writing, user);
    mm_watch_enter(provider);
    return n;
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
    s->key.key = PEM_read_bio_PrivateKey(bio, NULL, give_pin, &asking);
    return s->key.key ? MM_OK : fail_key(&asking, o->args.key, ei);
}

static int key_from_token(struct mm_officer *o, struct mm_signer *s, struct mm_errinfo *ei)
{
    struct asking asking = {.officer = o, .ei = ei};
    struct mm_errinfo why = {0};
    int r;

    mm_watch_enter(provider);
    r = mm_provider_key_open(&s->key, o->args.module, o->args.key, give_pin_to_provider, &asking,
                             &why);
    mm_watch_leave();
    if (r == MM_OK)
        return MM_OK;
    if (r == MM_ERR_UNSUPPORTED) {
        *ei = why;
        snprintf(ei->text + strlen(ei->text), sizeof(ei->text) - strlen(ei->text),
                 "; --module FILE names one");
    }
    return fail_key(&asking, o->args.key, ei);
}

/* ---- the certificate --------------------------------------------------------------------- */

/* Made in the key's library context, so that the two can be compared. */
static int read_certificates(struct mm_officer *o, struct mm_signer *s, struct mm_errinfo *ei)
{
    MM_CLEANUP(BIO_free_all_p) BIO *bio = BIO_new_file(o->args.certificate, "r");
    bool fits;

    s->certificates = sk_X509_new_null();
    while (bio && s->certificates && sk_X509_num(s->certificates) <= MM_CHAIN_MAX) {
        X509 *cert = X509_new_ex(s->key.ctx, NULL);

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
    mm_watch_enter(provider);
    fits = X509_check_private_key(sk_X509_value(s->certificates, 0), s->key.key) == 1;
    mm_watch_leave();
    if (fits)
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

/* *ret_chain is the caller's, to free with its borrowed certificates. */
static int describe(const struct mm_signer *s, struct mm_document_signer *ret_signer,
                    STACK_OF(X509) * *ret_chain, struct mm_errinfo *ei)
{
    STACK_OF(X509) *chain = sk_X509_new_null();
    int r = chain ? MM_OK : mm_fail_memory(ei);

    for (int i = 1; r == MM_OK && i < sk_X509_num(s->certificates); i++)
        if (!sk_X509_push(chain, sk_X509_value(s->certificates, i)))
            r = mm_fail_memory(ei);
    *ret_chain = chain;
    *ret_signer = (struct mm_document_signer){
        .ctx = s->key.ctx,
        .key = s->key.key,
        .certificate = sk_X509_value(s->certificates, 0),
        .chain = sk_X509_num(chain) > 0 ? chain : NULL,
    };
    return r;
}

int mm_signer_sign(const struct mm_signer *s, const Mintmark__V1__SignedDocument *content,
                   struct mm_buf *cms, struct mm_errinfo *ei)
{
    struct mm_document_signer signer;
    STACK_OF(X509) * chain;
    int r = describe(s, &signer, &chain, ei);

    mm_watch_enter(provider);
    if (r == MM_OK)
        r = mm_document_sign(&signer, content, cms, ei);
    mm_watch_leave();
    sk_X509_free(chain);
    return r < 0 ? r : check_made(cms, ei);
}

int mm_signer_sign_bytes(const struct mm_signer *s, struct mm_bytes content, struct mm_buf *cms,
                         struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf again = MM_BUF_INIT(cms->max);
    MM_DOCUMENT_CLEANUP struct mm_document document = MM_DOCUMENT_INIT;
    struct mm_document_signer signer;
    STACK_OF(X509) * chain;
    int r = describe(s, &signer, &chain, ei);

    mm_watch_enter(provider);
    if (r == MM_OK)
        r = mm_document_sign_bytes(&signer, content, cms, ei);
    mm_watch_leave();
    sk_X509_free(chain);
    return r < 0 ? r
                 : mm_document_open_bytes((struct mm_bytes){cms->data, cms->len}, cms->max,
                                          &document, &again, ei);
}

int mm_signer_write(struct mm_officer *o, const struct mm_signer *s,
                    const Mintmark__V1__SignedDocument *content, struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf cms = MM_BUF_INIT(MM_DOCUMENT_MAX);
    int r = mm_signer_sign(s, content, &cms, ei);

    return r < 0 ? r : mm_io_create_file(o->args.out, 0644, cms.data, cms.len, ei);
}
