/* SPDX-License-Identifier: Apache-2.0 */
#include "client/recipient.h"

#include "client/kwp.h"
#include "client/tls.h"
#include "daemon/base/io.h"
#include "daemon/base/limits.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/sha.h>
#include <string.h>

MM_DEFINE_CLEANUP(EVP_PKEY_CTX *, EVP_PKEY_CTX_free)
MM_DEFINE_CLEANUP(EVP_CIPHER_CTX *, EVP_CIPHER_CTX_free)
MM_DEFINE_CLEANUP(EVP_MD_CTX *, EVP_MD_CTX_free)
MM_DEFINE_CLEANUP(BIO *, BIO_free)

int mm_recipient_load(const char *path, EVP_PKEY **ret_key, struct mintmark_error *error)
{
    MM_BUF_CLEANUP struct mm_buf pem = MM_BUF_INIT(MM_PEM_FILE_MAX);
    MM_CLEANUP(BIO_free_p) BIO *bio = NULL;
    bool encrypted = false;
    struct mm_errinfo ei;
    EVP_PKEY *key;

    if (mm_io_read_file(path, MM_PEM_FILE_MAX, &pem, &ei) < 0)
        return mm_client_fail_base(error, &ei);
    bio = BIO_new_mem_buf(pem.len ? (const void *)pem.data : "", (int)pem.len);
    if (!bio)
        return mm_client_fail_memory(error);
    key = PEM_read_bio_PrivateKey(bio, NULL, mm_tls_no_passphrase, &encrypted);
    ERR_clear_error();
    if (!key && encrypted)
        return mm_tls_fail_encrypted(path, error);
    if (!key)
        return mm_client_fail(error, MINTMARK_INVALID_ARGUMENT, "BAD_FILE",
                              "%s: not a private key in PEM, not encrypted", path);
    *ret_key = key;
    return 0;
}

bool mm_recipient_is(EVP_PKEY *key, const uint8_t sha256[32])
{
    uint8_t digest[SHA256_DIGEST_LENGTH];
    unsigned char *der = NULL;
    int len;

    /* The digest is over the usual form, whatever form the PEM file has the point in. */
    if (EVP_PKEY_is_a(key, "EC"))
        (void)EVP_PKEY_set_utf8_string_param(key, OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT,
                                             "uncompressed");
    len = i2d_PUBKEY(key, &der);
    if (len <= 0)
        return false;
    SHA256(der, (size_t)len, digest);
    OPENSSL_free(der);
    return memcmp(digest, sha256, sizeof(digest)) == 0;
}

static bool open_rsa(EVP_PKEY *key, const EVP_MD *md, const struct mm_recipient_wrap *wrap,
                     struct mm_secret **ret_plain)
{
    MM_CLEANUP(EVP_PKEY_CTX_free_p) EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
    MM_SECRET_CLEANUP struct mm_secret *plain = NULL;
    const int size = EVP_PKEY_get_size(key);
    size_t len = (size_t)size;

    if (!ctx || size <= 0 || size > MM_RECIPIENT_WRAPPED_MAX || wrap->wrapped.len != len ||
        mm_secret_new(len, &plain) < 0)
        return false;
    if (EVP_PKEY_decrypt_init(ctx) != 1 ||
        EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING) != 1 ||
        EVP_PKEY_CTX_set_rsa_oaep_md(ctx, md) != 1 || EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, md) != 1)
        return false;
    if (EVP_PKEY_decrypt(ctx, mm_secret_data(plain), &len, wrap->wrapped.data, wrap->wrapped.len) !=
            1 ||
        len != MM_TRANSPORT_KEY_BYTES)
        return false;
    mm_secret_truncate(plain, len);
    *ret_plain = MM_TAKE(plain);
    return true;
}

/* E as a key; libcrypto refuses a point that is not on the curve. */
static EVP_PKEY *ephemeral_key(EVP_PKEY *key, const struct mm_bytes *point)
{
    MM_CLEANUP(EVP_PKEY_free_p) EVP_PKEY *peer = EVP_PKEY_new();
    MM_CLEANUP(EVP_PKEY_CTX_free_p) EVP_PKEY_CTX *check = NULL;

    if (!peer || EVP_PKEY_copy_parameters(peer, key) != 1 ||
        EVP_PKEY_set1_encoded_public_key(peer, point->data, point->len) != 1)
        return NULL;
    check = EVP_PKEY_CTX_new(peer, NULL);
    if (!check || EVP_PKEY_public_check(check) != 1)
        return NULL;
    return MM_TAKE(peer);
}

/* Z = ECDH(key, E): the x coordinate, with its leading zeros. */
static bool agree(EVP_PKEY *key, EVP_PKEY *peer, size_t len, struct mm_secret **ret_z)
{
    MM_CLEANUP(EVP_PKEY_CTX_free_p) EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
    MM_SECRET_CLEANUP struct mm_secret *z = NULL;
    size_t n = len;

    if (!ctx || mm_secret_new(len, &z) < 0)
        return false;
    if (EVP_PKEY_derive_init(ctx) != 1 || EVP_PKEY_derive_set_peer(ctx, peer) != 1 ||
        EVP_PKEY_derive(ctx, mm_secret_data(z), &n) != 1 || n != len)
        return false;
    *ret_z = MM_TAKE(z);
    return true;
}

/* SHA-256(label ‖ 00 ‖ E ‖ R ‖ name): binds the wrap to this export. */
static bool hash_context(EVP_PKEY *key, const struct mm_recipient_wrap *wrap,
                         uint8_t ret_context[SHA256_DIGEST_LENGTH])
{
    static const char label[] = "mintmark transport key v1"; /* its NUL is the 00 */
    MM_CLEANUP(EVP_MD_CTX_free_p) EVP_MD_CTX *md = EVP_MD_CTX_new();
    unsigned char *point = NULL;
    const size_t len = EVP_PKEY_get1_encoded_public_key(key, &point);
    bool ok;

    ok = md && len == wrap->ephemeral_point.len && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1 &&
         EVP_DigestUpdate(md, label, sizeof(label)) == 1 &&
         EVP_DigestUpdate(md, wrap->ephemeral_point.data, wrap->ephemeral_point.len) == 1 &&
         EVP_DigestUpdate(md, point, len) == 1 &&
         EVP_DigestUpdate(md, wrap->name, strlen(wrap->name)) == 1 &&
         EVP_DigestFinal_ex(md, ret_context, NULL) == 1;
    OPENSSL_free(point);
    return ok;
}

/* KEK = AES-256-CBC(S, IV 0, context) */
static bool derive_kek(const uint8_t s[MM_KWP_KEY], const uint8_t context[SHA256_DIGEST_LENGTH],
                       uint8_t ret_kek[MM_KWP_KEY])
{
    static const uint8_t iv[16];
    MM_CLEANUP(EVP_CIPHER_CTX_free_p) EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int n = 0;

    return ctx && EVP_EncryptInit_ex(ctx, EVP_aes_256_cbc(), NULL, s, iv) == 1 &&
           EVP_CIPHER_CTX_set_padding(ctx, 0) == 1 &&
           EVP_EncryptUpdate(ctx, ret_kek, &n, context, SHA256_DIGEST_LENGTH) == 1 &&
           n == MM_KWP_KEY;
}

static bool open_ec(EVP_PKEY *key, const char *group, size_t coordinate,
                    const struct mm_recipient_wrap *wrap, struct mm_secret **ret_plain)
{
    MM_SECRET_CLEANUP struct mm_secret *z = NULL, *kek = NULL, *plain = NULL;
    MM_CLEANUP(EVP_PKEY_free_p) EVP_PKEY *peer = NULL;
    uint8_t context[SHA256_DIGEST_LENGTH];
    char name[32] = "";

    if (EVP_PKEY_get_group_name(key, name, sizeof(name), NULL) != 1 || strcmp(name, group) != 0 ||
        wrap->ephemeral_point.len != 1 + 2 * coordinate || wrap->ephemeral_point.data[0] != 4)
        return false;
    peer = ephemeral_key(key, &wrap->ephemeral_point);
    if (!peer || !agree(key, peer, coordinate, &z) || !hash_context(key, wrap, context) ||
        mm_secret_new(MM_KWP_KEY, &kek) < 0)
        return false;
    if (!derive_kek(mm_secret_data(z) + coordinate - MM_KWP_KEY, context, mm_secret_data(kek)) ||
        !mm_kwp_unwrap(mm_secret_data(kek), wrap->wrapped.data, wrap->wrapped.len, &plain) ||
        mm_secret_len(plain) != MM_TRANSPORT_KEY_BYTES)
        return false;
    *ret_plain = MM_TAKE(plain);
    return true;
}

bool mm_recipient_open(EVP_PKEY *key, const struct mm_recipient_wrap *wrap,
                       struct mm_secret **ret_plain)
{
    const bool rsa = EVP_PKEY_is_a(key, "RSA"), ec = EVP_PKEY_is_a(key, "EC");
    bool ok = false;

    if (rsa && strcmp(wrap->method, "RSA-OAEP-SHA256") == 0)
        ok = open_rsa(key, EVP_sha256(), wrap, ret_plain);
    else if (rsa && strcmp(wrap->method, "RSA-OAEP-SHA1") == 0)
        ok = open_rsa(key, EVP_sha1(), wrap, ret_plain);
    else if (ec && strcmp(wrap->method, "ECDH-P256+KWP") == 0)
        ok = open_ec(key, "prime256v1", 32, wrap, ret_plain);
    else if (ec && strcmp(wrap->method, "ECDH-P384+KWP") == 0)
        ok = open_ec(key, "secp384r1", 48, wrap, ret_plain);
    ERR_clear_error();
    return ok;
}
