/* SPDX-License-Identifier: Apache-2.0 */
/* The cryptography of the outer layer, by libcrypto; what the private key does, its holder does. */
#include "daemon/base/limits.h"
#include "daemon/pki/der.h"
#include "tools/officer/envelope.h"

#include <openssl/cms.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/kdf.h>
#include <openssl/rsa.h>
#include <string.h>

enum { WRAPPED_BYTES = MM_ENVELOPE_KEY_BYTES + 8 };

MM_DEFINE_CLEANUP(BIO *, BIO_free_all)
MM_DEFINE_CLEANUP(CMS_ContentInfo *, CMS_ContentInfo_free)
MM_DEFINE_CLEANUP(EVP_CIPHER_CTX *, EVP_CIPHER_CTX_free)
MM_DEFINE_CLEANUP(EVP_KDF *, EVP_KDF_free)
MM_DEFINE_CLEANUP(EVP_KDF_CTX *, EVP_KDF_CTX_free)
MM_DEFINE_CLEANUP(X509_ALGOR *, X509_ALGOR_free)
MM_DEFINE_CLEANUP(ASN1_OCTET_STRING *, ASN1_OCTET_STRING_free)

static int fail_open(struct mm_errinfo *ei)
{
    ERR_clear_error();
    return mm_fail(ei, MM_ERR_INVALID, "PACKAGE_DECRYPT",
                   "the exchange key does not open the package: it was changed on the way, or made "
                   "for another");
}

/* ---- the content's key ------------------------------------------------------------------- */

/* ECC-CMS-SharedInfo (RFC 5753 section 7.2). */
static int shared_info(const struct mm_envelope *e, unsigned char **ret_info, int *ret_len,
                       struct mm_errinfo *ei)
{
    const unsigned char *at = e->wrap.data;
    MM_CLEANUP(X509_ALGOR_free_p) X509_ALGOR *wrap = d2i_X509_ALGOR(NULL, &at, (long)e->wrap.len);
    MM_CLEANUP(ASN1_OCTET_STRING_free_p)
    ASN1_OCTET_STRING *ukm = e->ukm.len ? ASN1_OCTET_STRING_new() : NULL;

    if (!wrap ||
        (e->ukm.len && (!ukm || ASN1_OCTET_STRING_set(ukm, e->ukm.data, (int)e->ukm.len) != 1)))
        return mm_fail_memory(ei);
    *ret_len = CMS_SharedInfo_encode(ret_info, wrap, ukm, MM_ENVELOPE_KEY_BYTES);
    return *ret_len > 0 ? MM_OK : mm_fail_memory(ei);
}

/* X9.63's KDF (SEC 1 section 3.6.1). */
static bool derive(const struct mm_envelope *e, struct mm_secret *shared, unsigned char *info,
                   int info_len, struct mm_secret *kek)
{
    MM_CLEANUP(EVP_KDF_free_p) EVP_KDF *kdf = EVP_KDF_fetch(NULL, "X963KDF", NULL);
    MM_CLEANUP(EVP_KDF_CTX_free_p) EVP_KDF_CTX *ctx = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST,
                                         (char *)(uintptr_t)EVP_MD_get0_name(e->kdf), 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SECRET, mm_secret_data(shared),
                                          mm_secret_len(shared)),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info, (size_t)info_len),
        OSSL_PARAM_construct_end(),
    };

    return ctx && EVP_KDF_derive(ctx, mm_secret_data(kek), MM_ENVELOPE_KEY_BYTES, params) == 1;
}

/* RFC 3394. */
static int unwrap(struct mm_bytes wrapped, struct mm_secret *kek, struct mm_secret **ret_key,
                  struct mm_errinfo *ei)
{
    MM_CLEANUP(EVP_CIPHER_CTX_free_p) EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    MM_SECRET_CLEANUP struct mm_secret *key = NULL;
    int len = 0;

    if (wrapped.len != WRAPPED_BYTES)
        return fail_open(ei);
    if (!ctx || mm_secret_new(WRAPPED_BYTES, &key) < 0)
        return mm_fail_memory(ei);
    EVP_CIPHER_CTX_set_flags(ctx, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
    if (EVP_DecryptInit_ex2(ctx, EVP_aes_256_wrap(), mm_secret_data(kek), NULL, NULL) != 1 ||
        EVP_DecryptUpdate(ctx, mm_secret_data(key), &len, wrapped.data, (int)wrapped.len) != 1 ||
        len != MM_ENVELOPE_KEY_BYTES)
        return fail_open(ei);
    mm_secret_truncate(key, MM_ENVELOPE_KEY_BYTES);
    *ret_key = MM_TAKE(key);
    return MM_OK;
}

static int open_agreement(const struct mm_envelope *e, const struct mm_envelope_key *holder,
                          struct mm_secret **ret_key, struct mm_errinfo *ei)
{
    MM_SECRET_CLEANUP struct mm_secret *shared = NULL, *kek = NULL;
    unsigned char *info = NULL;
    int info_len = 0;
    int r = holder->agree(holder->arg, e->originator, &shared, ei);

    if (r == MM_OK)
        r = shared_info(e, &info, &info_len, ei);
    if (r == MM_OK && (mm_secret_new(MM_ENVELOPE_KEY_BYTES, &kek) < 0 ||
                       !derive(e, shared, info, info_len, kek))) {
        ERR_clear_error();
        r = mm_fail_memory(ei);
    }
    OPENSSL_free(info);
    return r < 0 ? r : unwrap(e->encrypted_key, kek, ret_key, ei);
}

static int open_transport(const struct mm_envelope *e, const struct mm_envelope_key *holder,
                          struct mm_secret **ret_key, struct mm_errinfo *ei)
{
    MM_SECRET_CLEANUP struct mm_secret *key = NULL;
    int r = holder->open_oaep(holder->arg, e->oaep_sha256, e->encrypted_key, &key, ei);

    if (r < 0)
        return r;
    if (mm_secret_len(key) != MM_ENVELOPE_KEY_BYTES)
        return fail_open(ei);
    *ret_key = MM_TAKE(key);
    return MM_OK;
}

/* ---- the content ------------------------------------------------------------------------- */

/* What GCM authenticates beside the content: the attributes, with the tag of a SET (RFC 5083
 * section 2.2). */
static bool feed_attributes(EVP_CIPHER_CTX *ctx, struct mm_bytes attributes)
{
    const uint8_t set = MM_DER_SET;
    int n;

    return attributes.len == 0 ||
           (EVP_DecryptUpdate(ctx, NULL, &n, &set, 1) == 1 &&
            EVP_DecryptUpdate(ctx, NULL, &n, attributes.data + 1, (int)attributes.len - 1) == 1);
}

static bool decrypt(const struct mm_envelope *e, struct mm_secret *key, uint8_t *out,
                    size_t *ret_len)
{
    const EVP_CIPHER *const cipher = e->authenticated ? EVP_aes_256_gcm() : EVP_aes_256_cbc();
    MM_CLEANUP(EVP_CIPHER_CTX_free_p) EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int n = 0, last = 0;

    if (!ctx || EVP_DecryptInit_ex2(ctx, cipher, mm_secret_data(key), e->iv, NULL) != 1)
        return false;
    if (e->authenticated && (EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, MM_ENVELOPE_TAG_BYTES,
                                                 (void *)(uintptr_t)e->tag) != 1 ||
                             !feed_attributes(ctx, e->attributes)))
        return false;
    if (EVP_DecryptUpdate(ctx, out, &n, e->ciphertext.data, (int)e->ciphertext.len) != 1 ||
        EVP_DecryptFinal_ex(ctx, out + n, &last) != 1)
        return false;
    *ret_len = (size_t)n + (size_t)last;
    return true;
}

int mm_envelope_open(const struct mm_envelope *e, const struct mm_envelope_key *holder,
                     struct mm_buf *content, struct mm_errinfo *ei)
{
    MM_SECRET_CLEANUP struct mm_secret *key = NULL;
    const size_t room = e->ciphertext.len + MM_ENVELOPE_IV_MAX;
    uint8_t *out;
    size_t len = 0;
    int r = e->rsa ? open_transport(e, holder, &key, ei) : open_agreement(e, holder, &key, ei);

    if (r < 0)
        return r;
    out = mm_buf_reserve(content, room);
    if (!out)
        return mm_fail(ei, mm_buf_err(content), "PACKAGE_TOO_BIG", "no room for the content");
    if (!decrypt(e, key, out, &len)) {
        OPENSSL_cleanse(out, room);
        return fail_open(ei);
    }
    mm_buf_grew(content, len);
    return MM_OK;
}

/* ---- making ------------------------------------------------------------------------------ */

static bool add_recipient(CMS_ContentInfo *cms, X509 *recipient)
{
    CMS_RecipientInfo *const info =
        CMS_add1_recipient_cert(cms, recipient, CMS_KEY_PARAM | CMS_USE_KEYID);
    EVP_PKEY_CTX *const ctx = info ? CMS_RecipientInfo_get0_pkey_ctx(info) : NULL;

    if (!ctx)
        return false;
    if (CMS_RecipientInfo_type(info) == CMS_RECIPINFO_AGREE)
        return EVP_PKEY_CTX_set_ecdh_kdf_md(ctx, EVP_sha256()) > 0;
    /* SHA-1: the one hash for OAEP that all tokens have; it rests on no collisions. */
    return EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING) > 0 &&
           EVP_PKEY_CTX_set_rsa_oaep_md(ctx, EVP_sha1()) > 0;
}

int mm_envelope_make(struct mm_bytes content, X509 *recipient, struct mm_buf *der,
                     struct mm_errinfo *ei)
{
    MM_CLEANUP(CMS_ContentInfo_free_p)
    CMS_ContentInfo *cms = CMS_AuthEnvelopedData_create(EVP_aes_256_gcm());
    MM_CLEANUP(BIO_free_all_p) BIO *in = BIO_new_mem_buf(content.data, (int)content.len);
    unsigned char *made = NULL;
    int len;

    if (!cms || !in)
        return mm_fail_memory(ei);
    if (CMS_set_detached(cms, 0) != 1 || !add_recipient(cms, recipient) ||
        CMS_final(cms, in, NULL, CMS_BINARY) != 1) {
        ERR_clear_error();
        return mm_fail(ei, MM_ERR_INVALID, "PACKAGE_RECIPIENT",
                       "libcrypto cannot encrypt to the recipient's certificate; is it an exchange "
                       "certificate?");
    }
    len = i2d_CMS_ContentInfo(cms, &made);
    if (len <= 0)
        return mm_fail_memory(ei);
    mm_buf_append(der, made, (size_t)len);
    OPENSSL_free(made);
    return mm_buf_err(der) < 0
               ? mm_fail(ei, mm_buf_err(der), "PACKAGE_TOO_BIG",
                         "the package has %d bytes; at most %d are read", len, MM_PACKAGE_MAX)
               : MM_OK;
}
