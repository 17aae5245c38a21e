/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/ipc/seal.h"

#include <endian.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <string.h>

MM_DEFINE_CLEANUP(EVP_MAC *, EVP_MAC_free)
MM_DEFINE_CLEANUP(EVP_MAC_CTX *, EVP_MAC_CTX_free)
MM_DEFINE_CLEANUP(EVP_MD_CTX *, EVP_MD_CTX_free)

/* Each with the zero at its end, so that none begins another. */
static const char *const uses[] = {
    [MM_SEAL_ANCHOR] = "mintmark anchor",
    [MM_SEAL_DOCUMENT] = "mintmark document",
    [MM_SEAL_DETACHED] = "mintmark detached",
    [MM_SEAL_DIGESTS] = "mintmark digests",
};

static bool add_part(EVP_MAC_CTX *ctx, const void *data, size_t len)
{
    const uint64_t prefix = htobe64(len);

    return EVP_MAC_update(ctx, (const uint8_t *)&prefix, sizeof(prefix)) == 1 &&
           (len == 0 || EVP_MAC_update(ctx, data, len) == 1);
}

static bool add_all(EVP_MAC_CTX *ctx, const struct mm_sealed *what)
{
    const char *use = uses[what->use];
    bool good = EVP_MAC_update(ctx, (const uint8_t *)use, strlen(use) + 1) == 1 &&
                add_part(ctx, what->signer, what->signer ? MM_SEAL_SIGNER : 0);

    for (size_t i = 0; good && i < what->n_parts; i++)
        good = add_part(ctx, what->parts[i].data, what->parts[i].len);
    return good;
}

int mm_seal_make(struct mm_secret *key, const struct mm_sealed *what,
                 uint8_t ret_proof[MM_SEAL_BYTES], struct mm_errinfo *ei)
{
    char sha256[] = "SHA256";
    const OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, sha256, 0),
        OSSL_PARAM_construct_end()};
    MM_CLEANUP(EVP_MAC_free_p) EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    MM_CLEANUP(EVP_MAC_CTX_free_p) EVP_MAC_CTX *ctx = mac ? EVP_MAC_CTX_new(mac) : NULL;
    size_t len = 0;

    if (!ctx || EVP_MAC_init(ctx, mm_secret_data(key), mm_secret_len(key), parameters) != 1 ||
        !add_all(ctx, what) || EVP_MAC_final(ctx, ret_proof, &len, MM_SEAL_BYTES) != 1 ||
        len != MM_SEAL_BYTES)
        return mm_fail_memory(ei);
    return MM_OK;
}

int mm_seal_check(struct mm_secret *key, const struct mm_sealed *what, struct mm_bytes proof,
                  struct mm_errinfo *ei)
{
    uint8_t want[MM_SEAL_BYTES];
    bool same;
    int r;

    if (!key || proof.len != MM_SEAL_BYTES)
        return mm_fail(ei, MM_ERR_PERMISSION, "NOT_OF_THE_STORE",
                       "it comes without a proof that the store made it: nothing is signed");
    r = mm_seal_make(key, what, want, ei);
    if (r < 0)
        return r;
    same = CRYPTO_memcmp(want, proof.data, MM_SEAL_BYTES) == 0;
    OPENSSL_cleanse(want, sizeof(want)); /* whoever had it could have the thing signed */
    return same ? MM_OK
                : mm_fail(ei, MM_ERR_PERMISSION, "NOT_OF_THE_STORE",
                          "its proof is not the store's, or for another key: nothing is signed");
}

int mm_seal_config(const char *path, struct mm_bytes text, uint8_t ret_digest[MM_HANDED_DIGEST],
                   struct mm_errinfo *ei)
{
    MM_CLEANUP(EVP_MD_CTX_free_p) EVP_MD_CTX *ctx = EVP_MD_CTX_new();

    if (!ctx || EVP_DigestInit_ex2(ctx, EVP_sha256(), NULL) != 1 ||
        EVP_DigestUpdate(ctx, path, strlen(path) + 1) != 1 ||
        EVP_DigestUpdate(ctx, text.data, text.len) != 1 ||
        EVP_DigestFinal_ex(ctx, ret_digest, NULL) != 1)
        return mm_fail_memory(ei);
    return MM_OK;
}
