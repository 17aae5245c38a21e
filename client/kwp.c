/* SPDX-License-Identifier: Apache-2.0 */
#include "client/kwp.h"

#include <openssl/err.h>
#include <openssl/evp.h>

enum { BLOCK = 8, WRAPPED_MIN = 16 };

MM_DEFINE_CLEANUP(EVP_CIPHER_CTX *, EVP_CIPHER_CTX_free)

static EVP_CIPHER_CTX *begin(const uint8_t *key, int encrypt)
{
    MM_CLEANUP(EVP_CIPHER_CTX_free_p) EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();

    if (!ctx)
        return NULL;
    EVP_CIPHER_CTX_set_flags(ctx, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
    if (EVP_CipherInit_ex(ctx, EVP_aes_256_wrap_pad(), NULL, key, NULL, encrypt) != 1)
        return NULL;
    return MM_TAKE(ctx);
}

bool mm_kwp_wrap(const uint8_t key[MM_KWP_KEY], const uint8_t *plain, size_t len, uint8_t *out,
                 size_t *ret_len)
{
    MM_CLEANUP(EVP_CIPHER_CTX_free_p) EVP_CIPHER_CTX *ctx = NULL;
    int n = 0;

    if (len == 0 || len > MM_KWP_MAX)
        return false;
    ctx = begin(key, 1);
    if (!ctx || EVP_CipherUpdate(ctx, out, &n, plain, (int)len) != 1 || n <= 0)
        return false;
    *ret_len = (size_t)n;
    return true;
}

bool mm_kwp_unwrap(const uint8_t key[MM_KWP_KEY], const uint8_t *wrapped, size_t len,
                   struct mm_secret **ret_plain)
{
    MM_CLEANUP(EVP_CIPHER_CTX_free_p) EVP_CIPHER_CTX *ctx = NULL;
    MM_SECRET_CLEANUP struct mm_secret *plain = NULL;
    int n = 0, ok;

    if (len < WRAPPED_MIN || len > MM_KWP_MAX || len % BLOCK != 0)
        return false;
    /* libcrypto decrypts in place before it looks at the padding: room for all of it. */
    if (mm_secret_new(len, &plain) < 0)
        return false;
    ctx = begin(key, 0);
    if (!ctx)
        return false;
    ok = EVP_CipherUpdate(ctx, mm_secret_data(plain), &n, wrapped, (int)len);
    ERR_clear_error();
    if (ok != 1 || n <= 0)
        return false;
    mm_secret_truncate(plain, (size_t)n);
    *ret_plain = MM_TAKE(plain);
    return true;
}
