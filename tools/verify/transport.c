/* SPDX-License-Identifier: Apache-2.0 */
/* Opens the transport key's export file as docs/transport-key.md describes it. */
#include "tools/verify/verify.h"

#include <errno.h>
#include <jansson.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { POINT_MAX = 97, WRAPPED_MAX = 2048, SECRET_MAX = 48 };

/* The file's members. */
struct export
{
    const char *name, *wrap;
    uint8_t check_value[CHECK_VALUE_LEN], recipient_sha256[SHA256_LEN];
    uint8_t ephemeral[POINT_MAX], wrapped[WRAPPED_MAX];
    size_t ephemeral_len, wrapped_len;
};

static bool complain(const char *path, const char *what)
{
    fprintf(stderr, "mintmark-verify: %s: %s\n", path, what);
    ERR_clear_error();
    return false;
}

static const char *member(const json_t *file, const char *name)
{
    const char *text = json_string_value(json_object_get(file, name));

    return text ? text : "";
}

static bool hex_member(const json_t *file, const char *name, uint8_t *out, size_t max,
                       size_t *ret_len)
{
    const char *hex = member(file, name);

    *ret_len = strlen(hex) / 2;
    return *ret_len <= max && hex_decode(hex, out, *ret_len);
}

static bool read_members(const json_t *file, struct export *e)
{
    size_t check_len, recipient_len;

    e->name = member(file, "transport_key");
    e->wrap = member(file, "wrap");
    return strcmp(member(file, "format"), "mintmark-transport-key") == 0 &&
           json_integer_value(json_object_get(file, "version")) == 1 &&
           strcmp(member(file, "algorithm"), "AES-256-KWP") == 0 && *e->name &&
           strlen(e->name) <= 64 &&
           hex_member(file, "check_value", e->check_value, CHECK_VALUE_LEN, &check_len) &&
           check_len == CHECK_VALUE_LEN &&
           hex_member(file, "recipient_sha256", e->recipient_sha256, SHA256_LEN, &recipient_len) &&
           recipient_len == SHA256_LEN &&
           hex_member(file, "wrapped_key", e->wrapped, WRAPPED_MAX, &e->wrapped_len) &&
           hex_member(file, "ephemeral_point", e->ephemeral, POINT_MAX, &e->ephemeral_len);
}

static bool is_recipient(EVP_PKEY *key, const uint8_t sha256[SHA256_LEN])
{
    uint8_t *spki = NULL, digest[SHA256_LEN];
    const int len = i2d_PUBKEY(key, &spki);
    const bool same = len > 0 &&
                      EVP_Digest(spki, (size_t)len, digest, NULL, EVP_sha256(), NULL) == 1 &&
                      memcmp(digest, sha256, SHA256_LEN) == 0;

    OPENSSL_free(spki);
    return same;
}

/* RFC 8017 section 7.1, label empty, both hashes the same. */
static bool open_rsa(const struct export *e, const EVP_MD *md, EVP_PKEY *recipient,
                     uint8_t key[TRANSPORT_KEY_LEN])
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(recipient, NULL);
    uint8_t plain[WRAPPED_MAX];
    size_t len = sizeof(plain);
    const bool ok = ctx && EVP_PKEY_decrypt_init(ctx) == 1 &&
                    EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING) == 1 &&
                    EVP_PKEY_CTX_set_rsa_oaep_md(ctx, md) == 1 &&
                    EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, md) == 1 &&
                    EVP_PKEY_decrypt(ctx, plain, &len, e->wrapped, e->wrapped_len) == 1 &&
                    len == TRANSPORT_KEY_LEN;

    if (ok)
        memcpy(key, plain, TRANSPORT_KEY_LEN);
    OPENSSL_cleanse(plain, sizeof(plain));
    EVP_PKEY_CTX_free(ctx);
    return ok;
}

/* The ephemeral point as a key; libcrypto refuses one that is not on the curve. */
static EVP_PKEY *ephemeral_key(const struct export *e, const char *group)
{
    char name[16];
    uint8_t point[POINT_MAX];
    OSSL_PARAM params[3];
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    EVP_PKEY *key = NULL;

    snprintf(name, sizeof(name), "%s", group);
    memcpy(point, e->ephemeral, sizeof(point));
    params[0] = OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, name, 0);
    params[1] = OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point, e->ephemeral_len);
    params[2] = OSSL_PARAM_construct_end();
    if (!ctx || EVP_PKEY_fromdata_init(ctx) != 1 ||
        EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) != 1)
        key = NULL;
    EVP_PKEY_CTX_free(ctx);
    return key;
}

static bool agree(EVP_PKEY *recipient, EVP_PKEY *peer, uint8_t secret[SECRET_MAX], size_t *ret_len)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(recipient, NULL);
    bool ok;

    *ret_len = SECRET_MAX;
    ok = ctx && EVP_PKEY_derive_init(ctx) == 1 && EVP_PKEY_derive_set_peer(ctx, peer) == 1 &&
         EVP_PKEY_derive(ctx, secret, ret_len) == 1;
    EVP_PKEY_CTX_free(ctx);
    return ok;
}

/* SHA-256("mintmark transport key v1" 00 E R name). */
static bool make_context(const struct export *e, EVP_PKEY *recipient, uint8_t context[SHA256_LEN])
{
    static const char label[] = "mintmark transport key v1";
    uint8_t own[POINT_MAX];
    size_t own_len;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    const bool ok = ctx &&
                    EVP_PKEY_get_octet_string_param(recipient, OSSL_PKEY_PARAM_PUB_KEY, own,
                                                    sizeof(own), &own_len) == 1 &&
                    EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1 &&
                    EVP_DigestUpdate(ctx, label, sizeof(label)) == 1 && /* with its NUL */
                    EVP_DigestUpdate(ctx, e->ephemeral, e->ephemeral_len) == 1 &&
                    EVP_DigestUpdate(ctx, own, own_len) == 1 &&
                    EVP_DigestUpdate(ctx, e->name, strlen(e->name)) == 1 &&
                    EVP_DigestFinal_ex(ctx, context, NULL) == 1;

    EVP_MD_CTX_free(ctx);
    return ok;
}

/* KEK = AES-256-CBC(S, IV 0, context), no padding. */
static bool derive_kek(const uint8_t s[TRANSPORT_KEY_LEN], const uint8_t context[SHA256_LEN],
                       uint8_t kek[TRANSPORT_KEY_LEN])
{
    static const uint8_t iv[16];
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int n = 0;
    const bool ok = ctx && EVP_EncryptInit_ex2(ctx, EVP_aes_256_cbc(), s, iv, NULL) == 1 &&
                    EVP_CIPHER_CTX_set_padding(ctx, 0) == 1 &&
                    EVP_EncryptUpdate(ctx, kek, &n, context, SHA256_LEN) == 1 &&
                    n == TRANSPORT_KEY_LEN;

    EVP_CIPHER_CTX_free(ctx);
    return ok;
}

static bool open_ecdh(const struct export *e, const char *group, EVP_PKEY *recipient,
                      uint8_t key[TRANSPORT_KEY_LEN])
{
    uint8_t z[SECRET_MAX], context[SHA256_LEN], kek[TRANSPORT_KEY_LEN], plain[WRAPPED_MAX];
    EVP_PKEY *peer = ephemeral_key(e, group);
    size_t z_len = 0, len = 0;
    const bool ok = peer && agree(recipient, peer, z, &z_len) && z_len >= TRANSPORT_KEY_LEN &&
                    make_context(e, recipient, context) &&
                    derive_kek(z + z_len - TRANSPORT_KEY_LEN, context, kek) &&
                    key_unwrap(kek, e->wrapped, e->wrapped_len, plain, &len) &&
                    len == TRANSPORT_KEY_LEN;

    if (ok)
        memcpy(key, plain, TRANSPORT_KEY_LEN);
    OPENSSL_cleanse(z, sizeof(z));
    OPENSSL_cleanse(kek, sizeof(kek));
    OPENSSL_cleanse(plain, sizeof(plain));
    EVP_PKEY_free(peer);
    return ok;
}

static bool open_wrapped(const struct export *e, EVP_PKEY *recipient,
                         uint8_t key[TRANSPORT_KEY_LEN])
{
    if (strcmp(e->wrap, "RSA-OAEP-SHA256") == 0)
        return open_rsa(e, EVP_sha256(), recipient, key);
    if (strcmp(e->wrap, "RSA-OAEP-SHA1") == 0)
        return open_rsa(e, EVP_sha1(), recipient, key);
    if (strcmp(e->wrap, "ECDH-P256+KWP") == 0)
        return open_ecdh(e, "P-256", recipient, key);
    return strcmp(e->wrap, "ECDH-P384+KWP") == 0 && open_ecdh(e, "P-384", recipient, key);
}

/* SHA-256(AES-KWP(key, 00 01 … 1f)), its first bytes. */
static bool compute_check_value(const uint8_t key[TRANSPORT_KEY_LEN],
                                uint8_t value[CHECK_VALUE_LEN])
{
    uint8_t counting[32], wrapped[48], digest[SHA256_LEN];
    EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, "AES-256-WRAP-PAD", NULL);
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int n = 0;
    bool ok;

    for (size_t i = 0; i < sizeof(counting); i++)
        counting[i] = (uint8_t)i;
    ok = cipher && ctx && EVP_EncryptInit_ex2(ctx, cipher, key, NULL, NULL) == 1 &&
         EVP_EncryptUpdate(ctx, wrapped, &n, counting, sizeof(counting)) == 1 &&
         EVP_Digest(wrapped, (size_t)n, digest, NULL, EVP_sha256(), NULL) == 1;
    if (ok)
        memcpy(value, digest, CHECK_VALUE_LEN);
    EVP_CIPHER_CTX_free(ctx);
    EVP_CIPHER_free(cipher);
    return ok;
}

static bool open_export(struct transport *t, const char *path, const json_t *file,
                        EVP_PKEY *recipient)
{
    struct export e = {.name = NULL};
    uint8_t value[CHECK_VALUE_LEN];

    if (!read_members(file, &e))
        return complain(path, "no mintmark-transport-key export of version 1");
    if (!is_recipient(recipient, e.recipient_sha256))
        return complain(path, "made for another recipient's key");
    if (!open_wrapped(&e, recipient, t->key))
        return complain(path, "cannot be opened with the recipient's key");
    if (!compute_check_value(t->key, value) || memcmp(value, e.check_value, CHECK_VALUE_LEN) != 0)
        return complain(path, "the key in it does not have its check value");
    snprintf(t->name, sizeof(t->name), "%s", e.name);
    memcpy(t->check_value, value, CHECK_VALUE_LEN);
    t->opened = true;
    return true;
}

static json_t *read_json(const char *dir, const char *name)
{
    size_t len;
    uint8_t *data = file_read(dir, name, &len);
    json_t *file = data ? json_loadb((const char *)data, len, JSON_REJECT_DUPLICATES, NULL) : NULL;

    free(data);
    return file;
}

bool transport_open(struct transport *t, const char *export_path, const char *recipient_path)
{
    FILE *f = fopen(recipient_path, "re");
    EVP_PKEY *recipient = f ? PEM_read_PrivateKey(f, NULL, NULL, NULL) : NULL;
    json_t *file = read_json(NULL, export_path);
    bool ok;

    if (f)
        fclose(f);
    if (!recipient)
        ok = complain(recipient_path, f ? "no private key in PEM" : strerror(errno));
    else if (!file)
        ok = complain(export_path, "cannot be read, or is not JSON");
    else
        ok = open_export(t, export_path, file, recipient);
    json_decref(file);
    EVP_PKEY_free(recipient);
    return ok;
}

bool transport_is(const struct transport *t, const char *check_value)
{
    uint8_t value[CHECK_VALUE_LEN];

    return hex_decode(check_value, value, CHECK_VALUE_LEN) &&
           memcmp(value, t->check_value, CHECK_VALUE_LEN) == 0;
}

void transport_check_folder(const struct transport *t, const char *dir, struct report *r)
{
    json_t *file = read_json(dir, "key-wrap.json");
    uint8_t value[CHECK_VALUE_LEN];
    size_t len = 0;

    if (!file)
        report_fail(r, "key-wrap.json", "cannot be read, or is not JSON");
    else if (strcmp(member(file, "algorithm"), "AES-256-KWP") != 0)
        report_fail(r, "key-wrap.json", "algorithm is not AES-256-KWP");
    else if (strcmp(member(file, "transport_key"), t->name) != 0)
        report_fail(r, "key-wrap.json", "names transport key \"%.64s\", but \"%s\" was opened",
                    member(file, "transport_key"), t->name);
    else if (!hex_member(file, "check_value", value, CHECK_VALUE_LEN, &len) ||
             len != CHECK_VALUE_LEN || memcmp(value, t->check_value, CHECK_VALUE_LEN) != 0)
        report_fail(r, "key-wrap.json", "the check value is another key's");
    json_decref(file);
}

void transport_done(struct transport *t)
{
    OPENSSL_cleanse(t, sizeof(*t));
}
