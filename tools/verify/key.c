/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/verify/verify.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>

bool key_unwrap(const uint8_t key[TRANSPORT_KEY_LEN], const uint8_t *wrapped, size_t len,
                uint8_t *out, size_t *ret_len)
{
    EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, "AES-256-WRAP-PAD", NULL);
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int n = 0;
    const bool ok = cipher && ctx && len >= 16 && len % 8 == 0 &&
                    EVP_DecryptInit_ex2(ctx, cipher, key, NULL, NULL) == 1 &&
                    EVP_DecryptUpdate(ctx, out, &n, wrapped, (int)len) == 1 && n > 0;

    EVP_CIPHER_CTX_free(ctx);
    EVP_CIPHER_free(cipher);
    ERR_clear_error();
    *ret_len = ok ? (size_t)n : 0;
    return ok;
}

/* Tokens that pad the key before they wrap it leave up to 7 zero bytes behind. */
static bool only_padding(const uint8_t *at, const uint8_t *end)
{
    if (end - at > 7)
        return false;
    while (at < end) {
        if (*at++ != 0)
            return false;
    }
    return true;
}

/* PrivateKeyInfo, and at most a token's padding behind it. */
static EVP_PKEY *parse_pkcs8(const uint8_t *der, size_t len)
{
    const uint8_t *at = der;
    PKCS8_PRIV_KEY_INFO *info = d2i_PKCS8_PRIV_KEY_INFO(NULL, &at, (long)len);
    EVP_PKEY *key = info && only_padding(at, der + len) ? EVP_PKCS82PKEY(info) : NULL;

    PKCS8_PRIV_KEY_INFO_free(info);
    return key;
}

/* The file may claim any public point beside the private value, so that comparing points proves
 * nothing: one signature does. */
bool key_matches(const uint8_t *pkcs8, size_t len, EVP_PKEY *public_key)
{
    static const uint8_t message[] = "mintmark-verify";
    EVP_PKEY *key = parse_pkcs8(pkcs8, len);
    /* Ed25519 hashes by itself (RFC 8032). */
    const EVP_MD *hash = key && EVP_PKEY_is_a(key, "ED25519") ? NULL : EVP_sha256();
    EVP_MD_CTX *sign = EVP_MD_CTX_new(), *check = EVP_MD_CTX_new();
    uint8_t signature[1024];
    size_t n = sizeof(signature);
    const bool ok = key && public_key && sign && check &&
                    EVP_DigestSignInit(sign, NULL, hash, NULL, key) == 1 &&
                    EVP_DigestSign(sign, signature, &n, message, sizeof(message)) == 1 &&
                    EVP_DigestVerifyInit(check, NULL, hash, NULL, public_key) == 1 &&
                    EVP_DigestVerify(check, signature, n, message, sizeof(message)) == 1;

    EVP_MD_CTX_free(sign);
    EVP_MD_CTX_free(check);
    EVP_PKEY_free(key);
    ERR_clear_error();
    return ok;
}
