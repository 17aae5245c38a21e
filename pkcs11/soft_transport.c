/* SPDX-License-Identifier: Apache-2.0 */
/* How a recipient opens an exported transport key (docs/transport-key.md). */
#include "pkcs11/export.h"

#include <openssl/rsa.h>
#include <string.h>

MM_DEFINE_CLEANUP(EVP_PKEY_CTX *, EVP_PKEY_CTX_free)
MM_DEFINE_CLEANUP(EVP_CIPHER_CTX *, EVP_CIPHER_CTX_free)

static int refused(struct mm_errinfo *ei)
{
    return mm_fail(ei, MM_ERR_CORRUPT, "TRANSPORT_OPEN_FAILED",
                   "the recipient's key does not open the export");
}

static int open_rsa(EVP_PKEY *recipient, const struct mm_exported_key *e,
                    uint8_t ret_key[MM_AES_256_BYTES], struct mm_errinfo *ei)
{
    MM_CLEANUP(EVP_PKEY_CTX_free_p) EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(recipient, NULL);
    const EVP_MD *md = strcmp(e->wrap, "RSA-OAEP-SHA256") == 0 ? EVP_sha256() : EVP_sha1();
    uint8_t opened[MM_EXPORT_WRAPPED_MAX];
    size_t len = sizeof(opened);
    int r = MM_OK;

    if (!ctx)
        return mm_fail_memory(ei);
    if (EVP_PKEY_decrypt_init(ctx) != 1 ||
        EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING) != 1 ||
        EVP_PKEY_CTX_set_rsa_oaep_md(ctx, md) != 1 || EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, md) != 1 ||
        EVP_PKEY_decrypt(ctx, opened, &len, e->wrapped, e->wrapped_len) != 1 ||
        len != MM_AES_256_BYTES)
        r = refused(ei);
    else
        memcpy(ret_key, opened, len);
    explicit_bzero(opened, sizeof(opened));
    return r;
}

/* Z, the x coordinate of the shared point, big-endian and of the field's size. */
static int agree(EVP_PKEY *recipient, EVP_PKEY *ephemeral, size_t want, uint8_t *secret,
                 struct mm_errinfo *ei)
{
    MM_CLEANUP(EVP_PKEY_CTX_free_p) EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(recipient, NULL);
    size_t len = want;

    if (!ctx)
        return mm_fail_memory(ei);
    if (EVP_PKEY_derive_init(ctx) != 1 || EVP_PKEY_derive_set_peer(ctx, ephemeral) != 1 ||
        EVP_PKEY_derive(ctx, secret, &len) != 1 || len != want)
        return refused(ei);
    return MM_OK;
}

/* KEK = AES-256-CBC, IV zero, no padding, of the context under the last 32 bytes of Z. */
static int expand(const uint8_t *secret, const uint8_t context[MM_TRANSPORT_CONTEXT],
                  uint8_t kek[MM_AES_256_BYTES], struct mm_errinfo *ei)
{
    static const uint8_t zero_iv[16];
    MM_CLEANUP(EVP_CIPHER_CTX_free_p) EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int n = 0;

    if (!ctx)
        return mm_fail_memory(ei);
    if (EVP_EncryptInit_ex(ctx, EVP_aes_256_cbc(), NULL, secret, zero_iv) != 1 ||
        EVP_CIPHER_CTX_set_padding(ctx, 0) != 1 ||
        EVP_EncryptUpdate(ctx, kek, &n, context, MM_TRANSPORT_CONTEXT) != 1)
        return refused(ei);
    return MM_OK;
}

static int open_ec(EVP_PKEY *recipient, const char *name, const struct mm_exported_key *e,
                   uint8_t ret_key[MM_AES_256_BYTES], struct mm_errinfo *ei)
{
    MM_EVP_PKEY_CLEANUP EVP_PKEY *ephemeral = NULL;
    const struct mm_curve_info *curve = NULL;
    uint8_t point[MM_POINT_MAX], context[MM_TRANSPORT_CONTEXT], secret[48];
    uint8_t kek[MM_AES_256_BYTES], opened[MM_EXPORT_WRAPPED_MAX];
    size_t len = 0;
    int r = mm_soft_ec_point(recipient, &curve, point, ei);

    if (r == MM_OK)
        r = mm_soft_ec_public(curve, e->ephemeral, e->ephemeral_len, &ephemeral, ei);
    if (r == MM_OK)
        r = agree(recipient, ephemeral, curve->bytes, secret, ei);
    if (r == MM_OK) {
        mm_transport_context(e->ephemeral, point, e->ephemeral_len, name, context);
        r = expand(secret + curve->bytes - MM_AES_256_BYTES, context, kek, ei);
    }
    if (r == MM_OK)
        r = mm_soft_kwp_unwrap(kek, e->wrapped, e->wrapped_len, opened, &len, ei);
    if (r == MM_OK && len != MM_AES_256_BYTES)
        r = refused(ei);
    if (r == MM_OK)
        memcpy(ret_key, opened, MM_AES_256_BYTES);
    explicit_bzero(secret, sizeof(secret));
    explicit_bzero(kek, sizeof(kek));
    explicit_bzero(opened, sizeof(opened));
    return r;
}

int mm_soft_transport_open(EVP_PKEY *recipient, const char *name, const struct mm_exported_key *e,
                           uint8_t ret_key[MM_AES_256_BYTES], struct mm_errinfo *ei)
{
    if (e->ephemeral_len == 0)
        return open_rsa(recipient, e, ret_key, ei);
    return open_ec(recipient, name, e, ret_key, ei);
}
