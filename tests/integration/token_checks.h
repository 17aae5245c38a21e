/* SPDX-License-Identifier: Apache-2.0 */
/* What libcrypto says of a token's work; and an opener of exports, written from
 * docs/transport-key.md alone. */
#pragma once

#include "daemon/base/text.h"
#include "pkcs11/token.h"

#include <check.h>
#include <jansson.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>

static inline EVP_PKEY *public_key(enum mm_curve curve, const uint8_t *point, size_t len)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    char group[] = "P-256";
    uint8_t copy[MM_POINT_MAX];
    EVP_PKEY *key = NULL;

    if (curve == MM_CURVE_P384)
        memcpy(group, "P-384", 5);
    memcpy(copy, point, len);
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0),
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, copy, len),
        OSSL_PARAM_construct_end(),
    };
    ck_assert_int_eq(EVP_PKEY_fromdata_init(ctx), 1);
    ck_assert_int_eq(EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params), 1);
    EVP_PKEY_CTX_free(ctx);
    return key;
}

static inline void assert_signature(EVP_PKEY *key, const uint8_t *digest, size_t digest_len,
                                    const uint8_t *raw, size_t raw_len)
{
    ECDSA_SIG *sig = ECDSA_SIG_new();
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
    unsigned char *der = NULL;
    int len;

    ECDSA_SIG_set0(sig, BN_bin2bn(raw, (int)(raw_len / 2), NULL),
                   BN_bin2bn(raw + raw_len / 2, (int)(raw_len / 2), NULL));
    len = i2d_ECDSA_SIG(sig, &der);
    ck_assert_int_gt(len, 0);
    ck_assert_int_eq(EVP_PKEY_verify_init(ctx), 1);
    ck_assert_int_eq(EVP_PKEY_verify(ctx, der, (size_t)len, digest, digest_len), 1);
    OPENSSL_free(der);
    ECDSA_SIG_free(sig);
    EVP_PKEY_CTX_free(ctx);
}

static inline size_t kwp(bool wrap, const uint8_t *kek, const uint8_t *in, size_t len, uint8_t *out)
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int n = 0;

    EVP_CIPHER_CTX_set_flags(ctx, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
    ck_assert_int_eq(EVP_CipherInit_ex(ctx, EVP_aes_256_wrap_pad(), NULL, kek, NULL, wrap), 1);
    ck_assert_int_eq(EVP_CipherUpdate(ctx, out, &n, in, (int)len), 1);
    EVP_CIPHER_CTX_free(ctx);
    return (size_t)n;
}

static inline void check_value_of(const uint8_t key[32], uint8_t value[8])
{
    uint8_t known[32], wrapped[48], digest[32];

    for (size_t i = 0; i < sizeof(known); i++)
        known[i] = (uint8_t)i;
    SHA256(wrapped, kwp(true, key, known, sizeof(known), wrapped), digest);
    memcpy(value, digest, 8);
}

/* ---- opening an export, written from docs/transport-key.md alone ------------------------- */

struct export
{
    char wrap[32];
    uint8_t check_value[8], recipient[32], ephemeral[97], wrapped[512];
    size_t ephemeral_len, wrapped_len;
};

static inline size_t hex_member(json_t *file, const char *name, uint8_t *out, size_t max)
{
    const char *hex = json_string_value(json_object_get(file, name));
    size_t len;

    if (!hex)
        return 0;
    len = strlen(hex) / 2;
    ck_assert_uint_le(len, max);
    ck_assert_int_eq(mm_hex_decode(hex, out, len), MM_OK);
    return len;
}

static inline void parse_export(struct mm_buf *text, struct export *e)
{
    json_t *file = json_loads(mm_buf_cstr(text), JSON_REJECT_DUPLICATES, NULL);

    ck_assert_ptr_nonnull(file);
    ck_assert_str_eq(json_string_value(json_object_get(file, "format")), "mintmark-transport-key");
    ck_assert_int_eq(json_integer_value(json_object_get(file, "version")), 1);
    ck_assert_str_eq(json_string_value(json_object_get(file, "transport_key")), "line-a");
    ck_assert_str_eq(json_string_value(json_object_get(file, "algorithm")), "AES-256-KWP");
    snprintf(e->wrap, sizeof(e->wrap), "%s", json_string_value(json_object_get(file, "wrap")));
    ck_assert_uint_eq(hex_member(file, "check_value", e->check_value, 8), 8);
    ck_assert_uint_eq(hex_member(file, "recipient_sha256", e->recipient, 32), 32);
    e->ephemeral_len = hex_member(file, "ephemeral_point", e->ephemeral, sizeof(e->ephemeral));
    e->wrapped_len = hex_member(file, "wrapped_key", e->wrapped, sizeof(e->wrapped));
    json_decref(file);
}

static inline void open_rsa(EVP_PKEY *recipient, const struct export *e, uint8_t key[32])
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(recipient, NULL);
    uint8_t opened[512];
    size_t len = sizeof(opened);

    ck_assert_int_eq(EVP_PKEY_decrypt_init(ctx), 1);
    ck_assert_int_eq(EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING), 1);
    if (strcmp(e->wrap, "RSA-OAEP-SHA256") == 0)
        ck_assert_int_eq(EVP_PKEY_CTX_set_rsa_oaep_md(ctx, EVP_sha256()), 1);
    else
        ck_assert_str_eq(e->wrap, "RSA-OAEP-SHA1");
    ck_assert_int_eq(EVP_PKEY_decrypt(ctx, opened, &len, e->wrapped, e->wrapped_len), 1);
    ck_assert_uint_eq(len, 32);
    memcpy(key, opened, 32);
    EVP_PKEY_CTX_free(ctx);
}

static inline void open_ec(EVP_PKEY *recipient, enum mm_curve curve, const struct export *e,
                           uint8_t key[32])
{
    static const uint8_t iv[16];
    const size_t n = curve == MM_CURVE_P384 ? 48 : 32;
    EVP_PKEY *ephemeral = public_key(curve, e->ephemeral, e->ephemeral_len);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(recipient, NULL);
    EVP_CIPHER_CTX *cbc = EVP_CIPHER_CTX_new();
    uint8_t z[48], point[97], context[32], kek[32], text[25 + 1 + 97 + 97 + 6];
    size_t z_len = sizeof(z), point_len = 0;
    uint8_t *p = text;
    int len = 0;

    ck_assert_str_eq(e->wrap, curve == MM_CURVE_P384 ? "ECDH-P384+KWP" : "ECDH-P256+KWP");
    ck_assert_int_eq(EVP_PKEY_derive_init(ctx), 1);
    ck_assert_int_eq(EVP_PKEY_derive_set_peer(ctx, ephemeral), 1);
    ck_assert_int_eq(EVP_PKEY_derive(ctx, z, &z_len), 1);
    ck_assert_uint_eq(z_len, n);
    ck_assert_int_eq(EVP_PKEY_get_octet_string_param(recipient, OSSL_PKEY_PARAM_PUB_KEY, point,
                                                     sizeof(point), &point_len),
                     1);
    ck_assert_uint_eq(point_len, 2 * n + 1);
    p = mempcpy(p, "mintmark transport key v1", 26);
    p = mempcpy(p, e->ephemeral, e->ephemeral_len);
    p = mempcpy(p, point, point_len);
    p = mempcpy(p, "line-a", 6);
    SHA256(text, (size_t)(p - text), context);
    ck_assert_int_eq(EVP_EncryptInit_ex(cbc, EVP_aes_256_cbc(), NULL, z + n - 32, iv), 1);
    EVP_CIPHER_CTX_set_padding(cbc, 0);
    ck_assert_int_eq(EVP_EncryptUpdate(cbc, kek, &len, context, 32), 1);
    ck_assert_int_eq(len, 32);
    ck_assert_uint_eq(e->wrapped_len, 40);
    ck_assert_uint_eq(kwp(false, kek, e->wrapped, e->wrapped_len, key), 32);
    EVP_CIPHER_CTX_free(cbc);
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(ephemeral);
}
