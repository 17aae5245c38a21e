/* SPDX-License-Identifier: Apache-2.0 */
/* The opener of transport keys, against the vectors of docs/transport-key.md and wraps made here
 * with libcrypto alone. */
#include "client/mintmark.h"
#include "daemon/base/io.h"
#include "daemon/base/text.h"
#include "tests/unit/check_main.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CHECK_VALUE "944b28e65d009105" /* of the key 40 41 … 5f */

static const char p256_private[] =
    "c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721";
static const char p256_public[] =
    "0460fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6"
    "7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299";
static const char p256_ephemeral[] =
    "049a781ca6d055a7f30d0c9ff87936c739f6816ef5f5e72b4b946404b0a1a83b2a"
    "c19f842945ea2bf65aa1649b2b02ff79854c8d5ecfcd403862e8a97ea66c71c1";
static const char p256_wrapped[] =
    "a0f52952b4bb64095a7782b0edc14c1b6c47a6fc587b694bb9a23a7fac2edd8903513f004ae8434f";
static const char p384_private[] =
    "6b9d3dad2e1b8c1c05b19875b6659f4de23c3b667bf297ba9aa47740787137d8"
    "96d5724e4c70a825f872c9ea60d2edf5";
static const char p384_public[] =
    "04ec3a4e415b4e19a4568618029f427fa5da9a8bc4ae92e02e06aae5286b300c64"
    "def8f0ea9055866064a254515480bc138015d9b72d7d57244ea8ef9ac0c62189"
    "6708a59367f9dfb9f54ca84b3f1c9db1288b231c3ae0d4fe7344fd2533264720";
static const char p384_ephemeral[] =
    "04f4a711a797b0abad2eb7848c8aa01de2f92036fc41858894cc456ec7c83519b2"
    "e568ccca265749f0bd14bfc18b4960016aea3f521d87d5d82fa4640ace12997a"
    "91bdbcd6c06afb61d448389431d657215aa9ce7f2591cf5f71bccb2438ff05a8";
static const char p384_wrapped[] =
    "a1e1f998f322c20a9b375a01ce1e5712e0123b1d9691e6dc94cdfc96b36e2a3c55976b8d9045750e";

static char folder[64], key_path[128], export_path[128];
static uint8_t transport_key[32];

static void setup(void)
{
    snprintf(folder, sizeof(folder), "/tmp/test_transport.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(key_path, sizeof(key_path), "%s/recipient.key", folder);
    snprintf(export_path, sizeof(export_path), "%s/export.json", folder);
    for (size_t i = 0; i < sizeof(transport_key); i++)
        transport_key[i] = (uint8_t)(0x40 + i);
}

static void teardown(void)
{
    unlink(key_path);
    unlink(export_path);
    ck_assert_int_eq(rmdir(folder), 0);
}

static EVP_PKEY *ec_key(const char *group, const char *private_hex, const char *public_hex)
{
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    BIGNUM *scalar = NULL;
    EVP_PKEY *key = NULL;
    OSSL_PARAM *params;
    uint8_t point[97];

    ck_assert(BN_hex2bn(&scalar, private_hex) > 0);
    ck_assert_int_eq(mm_hex_decode(public_hex, point, strlen(public_hex) / 2), MM_OK);
    ck_assert(OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME, group, 0));
    ck_assert(OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_PRIV_KEY, scalar));
    ck_assert(OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, point,
                                               strlen(public_hex) / 2));
    params = OSSL_PARAM_BLD_to_param(build);
    ck_assert_int_eq(EVP_PKEY_fromdata_init(ctx), 1);
    ck_assert_int_eq(EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_KEYPAIR, params), 1);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(build);
    EVP_PKEY_CTX_free(ctx);
    BN_free(scalar);
    return key;
}

static void write_key(EVP_PKEY *key, const char *passphrase)
{
    FILE *f = fopen(key_path, "w");

    ck_assert_ptr_nonnull(f);
    ck_assert_int_eq(PEM_write_PKCS8PrivateKey(f, key, passphrase ? EVP_aes_256_cbc() : NULL,
                                               passphrase, passphrase ? (int)strlen(passphrase) : 0,
                                               NULL, NULL),
                     1);
    fclose(f);
}

static const char *spki_digest(EVP_PKEY *key)
{
    static char hex[65];
    uint8_t digest[32];
    unsigned char *der = NULL;
    int len = i2d_PUBKEY(key, &der);

    ck_assert_int_gt(len, 0);
    SHA256(der, (size_t)len, digest);
    OPENSSL_free(der);
    return mm_hex_encode(digest, sizeof(digest), hex);
}

/* Writes an export file; ephemeral NULL: none; extra goes before the closing brace. */
static void write_export(const char *name, const char *digest, const char *wrap,
                         const char *ephemeral, const char *wrapped, const char *extra)
{
    char text[8192];
    int n = snprintf(text, sizeof(text),
                     "{\"format\":\"mintmark-transport-key\",\"version\":1,"
                     "\"transport_key\":\"%s\",\"algorithm\":\"AES-256-KWP\","
                     "\"check_value\":\"" CHECK_VALUE "\",\"recipient_sha256\":\"%s\","
                     "\"wrap\":\"%s\",%s%s%s\"wrapped_key\":\"%s\"%s}",
                     name, digest, wrap, ephemeral ? "\"ephemeral_point\":\"" : "",
                     ephemeral ? ephemeral : "", ephemeral ? "\"," : "", wrapped, extra);

    ck_assert_int_lt(n, (int)sizeof(text));
    ck_assert_int_eq(mm_io_write_file(export_path, 0600, text, (size_t)n, NULL), MM_OK);
}

/* Wraps with libcrypto alone. */
static size_t kwp(const uint8_t *plain, int len, uint8_t *out)
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int n = 0;

    EVP_CIPHER_CTX_set_flags(ctx, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
    ck_assert_int_eq(EVP_EncryptInit_ex(ctx, EVP_aes_256_wrap_pad(), NULL, transport_key, NULL), 1);
    ck_assert_int_eq(EVP_EncryptUpdate(ctx, out, &n, plain, len), 1);
    EVP_CIPHER_CTX_free(ctx);
    return (size_t)n;
}

/* The key opened is the right one: it opens what was wrapped with it. */
static void expect_opens(void)
{
    struct mintmark_transport_key *key = NULL;
    struct mintmark_error error;
    uint8_t plain[121], wrapped[144], out[200];
    struct mintmark_data data = {.data = wrapped};
    size_t len;
    int r = mintmark_transport_open(export_path, key_path, &key, &error);

    ck_assert_msg(r == 0, "%s", error.message);
    memset(plain, 0x5a, sizeof(plain));
    memcpy(plain, "\x30\x77", 2); /* a SEQUENCE of the other 119 bytes */
    data.len = kwp(plain, sizeof(plain), wrapped);
    ck_assert_int_eq(mintmark_unwrap(key, &data, out, sizeof(out), &len, &error), 0);
    ck_assert_uint_eq(len, sizeof(plain));
    ck_assert_mem_eq(out, plain, len);
    ck_assert_int_eq(mintmark_unwrap(key, &data, out, len - 1, &len, &error),
                     -MINTMARK_INVALID_ARGUMENT);
    ck_assert_str_eq(error.reason, "BUFFER_TOO_SMALL");
    wrapped[20] ^= 1;
    ck_assert_int_eq(mintmark_unwrap(key, &data, out, sizeof(out), &len, &error),
                     -MINTMARK_INVALID_ARGUMENT);
    ck_assert_str_eq(error.reason, "UNWRAP_FAILED");
    for (data.len = 0; data.len < sizeof(wrapped); data.len++)
        ck_assert_int_eq(mintmark_unwrap(key, &data, out, sizeof(out), &len, NULL),
                         -MINTMARK_INVALID_ARGUMENT);
    mintmark_transport_free(key);
}

/* The token may have padded the DER with up to 7 zero bytes before it wrapped it, with nothing
 * else. */
START_TEST(unwrap_takes_padding_and_refuses_rubbish_behind_the_key)
{
    static const struct {
        const char *behind;
        size_t n;
        int r;
    } cases[] = {{"\0\0\0\0\0\0\0", 7, 0},
                 {"\0\0\0\0\0\0\0\0", 8, -MINTMARK_INVALID_ARGUMENT},
                 {"\0\1", 2, -MINTMARK_INVALID_ARGUMENT}};
    struct mintmark_transport_key *key = NULL;
    struct mintmark_error error;
    uint8_t plain[40] = {0x30, 20}, wrapped[64], out[64];
    struct mintmark_data data = {.data = wrapped};
    size_t len;
    EVP_PKEY *recipient = ec_key("prime256v1", p256_private, p256_public);

    write_key(recipient, NULL);
    write_export("line-a", spki_digest(recipient), "ECDH-P256+KWP", p256_ephemeral, p256_wrapped,
                 "");
    EVP_PKEY_free(recipient);
    ck_assert_int_eq(mintmark_transport_open(export_path, key_path, &key, &error), 0);
    for (size_t i = 0; i < MM_ARRAY_SIZE(cases); i++) {
        memcpy(plain + 22, cases[i].behind, cases[i].n);
        data.len = kwp(plain, (int)(22 + cases[i].n), wrapped);
        len = 0;
        ck_assert_int_eq(mintmark_unwrap(key, &data, out, sizeof(out), &len, &error), cases[i].r);
        ck_assert_uint_eq(len, cases[i].r == 0 ? 22 : 0);
    }
    mintmark_transport_free(key);
}
END_TEST

static void expect_refused(const char *words)
{
    struct mintmark_transport_key *key = NULL;
    struct mintmark_error error;

    ck_assert_int_lt(mintmark_transport_open(export_path, key_path, &key, &error), 0);
    ck_assert_msg(strstr(error.message, words) != NULL, "%s", error.message);
    ck_assert_ptr_null(key);
}

START_TEST(open_ecdh_vectors)
{
    EVP_PKEY *key = ec_key("prime256v1", p256_private, p256_public);

    write_key(key, NULL);
    write_export("line-a", spki_digest(key), "ECDH-P256+KWP", p256_ephemeral, p256_wrapped, "");
    expect_opens();
    EVP_PKEY_free(key);
    key = ec_key("secp384r1", p384_private, p384_public);
    write_key(key, NULL);
    write_export("line-a", spki_digest(key), "ECDH-P384+KWP", p384_ephemeral, p384_wrapped, "");
    expect_opens();
    EVP_PKEY_free(key);
}
END_TEST

static void wrap_oaep(EVP_PKEY *key, const EVP_MD *md, char *ret_hex)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
    uint8_t wrapped[512];
    size_t len = sizeof(wrapped);

    ck_assert_int_eq(EVP_PKEY_encrypt_init(ctx), 1);
    ck_assert_int_eq(EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING), 1);
    ck_assert_int_eq(EVP_PKEY_CTX_set_rsa_oaep_md(ctx, md), 1);
    ck_assert_int_eq(EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, md), 1);
    ck_assert_int_eq(EVP_PKEY_encrypt(ctx, wrapped, &len, transport_key, sizeof(transport_key)), 1);
    mm_hex_encode(wrapped, len, ret_hex);
    EVP_PKEY_CTX_free(ctx);
}

START_TEST(open_rsa_oaep_with_both_hashes)
{
    EVP_PKEY *key = EVP_RSA_gen(2048);
    char hex[1025];

    write_key(key, NULL);
    wrap_oaep(key, EVP_sha1(), hex);
    write_export("line-a", spki_digest(key), "RSA-OAEP-SHA1", NULL, hex, "");
    expect_opens();
    wrap_oaep(key, EVP_sha256(), hex);
    write_export("line-a", spki_digest(key), "RSA-OAEP-SHA256", NULL, hex, "");
    expect_opens();
    /* The other hash, and a method of another kind of key. */
    write_export("line-a", spki_digest(key), "RSA-OAEP-SHA1", NULL, hex, "");
    expect_refused("does not open it");
    write_export("line-a", spki_digest(key), "ECDH-P256+KWP", p256_ephemeral, p256_wrapped, "");
    expect_refused("does not open it");
    EVP_PKEY_free(key);
}
END_TEST

START_TEST(open_refuses_what_was_tampered_with)
{
    EVP_PKEY *key = ec_key("prime256v1", p256_private, p256_public);
    char digest[65], point[131], zeros[65];

    snprintf(digest, sizeof(digest), "%s", spki_digest(key));
    write_key(key, NULL);
    memset(zeros, '0', 64);
    zeros[64] = 0;
    write_export("line-a", zeros, "ECDH-P256+KWP", p256_ephemeral, p256_wrapped, "");
    expect_refused("another recipient");
    write_export("line-b", digest, "ECDH-P256+KWP", p256_ephemeral, p256_wrapped, "");
    expect_refused("does not open it");
    snprintf(point, sizeof(point), "%s", p256_ephemeral);
    point[129] = point[129] == '0' ? '1' : '0'; /* no longer on the curve */
    write_export("line-a", digest, "ECDH-P256+KWP", point, p256_wrapped, "");
    expect_refused("does not open it");
    write_export("line-a", digest, "ECDH-P256+KWP", p256_public, p256_wrapped, "");
    expect_refused("does not open it");
    write_export("line-a", digest, "ECDH-P256+KWP", NULL, p256_wrapped, "");
    expect_refused("does not open it");
    write_export("line-a", digest, "ECDH-P384+KWP", p384_ephemeral, p384_wrapped, "");
    expect_refused("does not open it");
    write_export("line-a", digest, "ROT13", p256_ephemeral, p256_wrapped, "");
    expect_refused("does not open it");
    write_export("line-a", digest, "ECDH-P256+KWP", p256_ephemeral, "a0f5", "");
    expect_refused("does not open it");
    EVP_PKEY_free(key);
}
END_TEST

START_TEST(open_refuses_a_key_that_does_not_fit_its_check_value)
{
    EVP_PKEY *key = EVP_RSA_gen(2048);
    char hex[1025];

    write_key(key, NULL);
    transport_key[0] ^= 1;
    wrap_oaep(key, EVP_sha256(), hex);
    write_export("line-a", spki_digest(key), "RSA-OAEP-SHA256", NULL, hex, "");
    expect_refused("check value");
    EVP_PKEY_free(key);
}
END_TEST

START_TEST(open_refuses_files_of_another_form)
{
    EVP_PKEY *key = ec_key("prime256v1", p256_private, p256_public);
    const char *digest = spki_digest(key);
    static const char not_ours[] = "{\"format\": \"other\"}";

    write_key(key, NULL);
    write_export("line-a", digest, "ECDH-P256+KWP", p256_ephemeral, p256_wrapped, ",\"x\":1");
    expect_refused("x");
    write_export("line-a", digest, "ECDH-P256+KWP", p256_ephemeral, p256_wrapped, ",\"version\":1");
    expect_refused("duplicate");
    write_export("../line", digest, "ECDH-P256+KWP", p256_ephemeral, p256_wrapped, "");
    expect_refused("name");
    write_export("line-a", digest, "ECDH-P256+KWP", p256_ephemeral, "zz", "");
    expect_refused("hexadecimal");
    write_export("line-a", digest, "ECDH-P256+KWP", "04", "", "");
    expect_refused("hexadecimal");
    ck_assert_int_eq(mm_io_write_file(export_path, 0600, not_ours, strlen(not_ours), NULL), MM_OK);
    expect_refused("version");
    ck_assert_int_eq(mm_io_write_file(export_path, 0600, "", 0, NULL), MM_OK);
    expect_refused("export.json");
    unlink(export_path);
    expect_refused("no such file");
    EVP_PKEY_free(key);
}
END_TEST

START_TEST(open_refuses_an_encrypted_or_missing_recipient_key)
{
    EVP_PKEY *key = ec_key("prime256v1", p256_private, p256_public);

    write_export("line-a", spki_digest(key), "ECDH-P256+KWP", p256_ephemeral, p256_wrapped, "");
    expect_refused("no such file");
    write_key(key, "secret");
    expect_refused("not encrypted");
    ck_assert_int_eq(mm_io_write_file(key_path, 0600, "", 0, NULL), MM_OK);
    expect_refused("not a private key");
    EVP_PKEY_free(key);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client_transport");
    TCase *tcase = tcase_create("transport");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, open_ecdh_vectors);
    tcase_add_test(tcase, open_rsa_oaep_with_both_hashes);
    tcase_add_test(tcase, unwrap_takes_padding_and_refuses_rubbish_behind_the_key);
    tcase_add_test(tcase, open_refuses_what_was_tampered_with);
    tcase_add_test(tcase, open_refuses_a_key_that_does_not_fit_its_check_value);
    tcase_add_test(tcase, open_refuses_files_of_another_form);
    tcase_add_test(tcase, open_refuses_an_encrypted_or_missing_recipient_key);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
