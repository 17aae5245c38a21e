/* SPDX-License-Identifier: Apache-2.0 */
/* The transport key's formats, held against the vectors of docs/transport-key.md. */
#include "daemon/base/text.h"
#include "pkcs11/export.h"
#include "tests/unit/check_main.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/param_build.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>

static struct mm_errinfo ei;

/* One vector: what stands below the heading, by name. */
struct vector {
    char values[8][256];
};
static const char *const names[] = {"recipient's private key",
                                    "recipient's point R",
                                    "ephemeral_point",
                                    "Z",
                                    "context",
                                    "KEK",
                                    "wrapped_key",
                                    "check_value"};
enum { PRIVATE, POINT, EPHEMERAL, Z, CONTEXT, KEK, WRAPPED, CHECK };

static void read_vector(const char *heading, struct vector *v)
{
    char path[512], line[512];
    bool here = false;
    FILE *f;

    snprintf(path, sizeof(path), "%s/docs/transport-key.md", getenv("MM_SOURCE_ROOT"));
    f = fopen(path, "r");
    ck_assert_msg(f != NULL, "%s", path);
    *v = (struct vector){0};
    while (fgets(line, sizeof(line), f)) {
        if (line[0] == '`')
            here = strncmp(line, heading, strlen(heading)) == 0;
        for (size_t i = 0; here && i < MM_ARRAY_SIZE(names); i++) {
            const size_t len = strlen(names[i]);

            if (strncmp(line, "    ", 4) == 0 && strncmp(line + 4, names[i], len) == 0 &&
                line[4 + len] == ' ')
                ck_assert_int_eq(sscanf(line + 4 + len, " %255s", v->values[i]), 1);
        }
    }
    fclose(f);
    for (size_t i = 0; i < MM_ARRAY_SIZE(names); i++)
        ck_assert_msg(v->values[i][0], "no %s in %s", names[i], heading);
}

static size_t bytes(const struct vector *v, int which, uint8_t *out)
{
    const size_t len = strlen(v->values[which]) / 2;

    ck_assert_int_eq(mm_hex_decode(v->values[which], out, len), MM_OK);
    return len;
}

static EVP_PKEY *private_key(const char *group, const struct vector *v)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
    OSSL_PARAM *params;
    uint8_t scalar[48], point[97];
    const size_t scalar_len = bytes(v, PRIVATE, scalar);
    const size_t point_len = bytes(v, POINT, point);
    BIGNUM *d = BN_bin2bn(scalar, (int)scalar_len, NULL);
    EVP_PKEY *key = NULL;

    ck_assert(OSSL_PARAM_BLD_push_utf8_string(bld, OSSL_PKEY_PARAM_GROUP_NAME, group, 0));
    ck_assert(OSSL_PARAM_BLD_push_octet_string(bld, OSSL_PKEY_PARAM_PUB_KEY, point, point_len));
    ck_assert(OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_PRIV_KEY, d));
    params = OSSL_PARAM_BLD_to_param(bld);
    ck_assert_int_eq(EVP_PKEY_fromdata_init(ctx), 1);
    ck_assert_int_eq(EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_KEYPAIR, params), 1);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(bld);
    EVP_PKEY_CTX_free(ctx);
    BN_free(d);
    return key;
}

START_TEST(vectors_of_the_document_hold)
{
    static const char *const headings[][2] = {{"`ECDH-P256+KWP`", "P-256"},
                                              {"`ECDH-P384+KWP`", "P-384"}};

    for (size_t i = 0; i < 2; i++) {
        struct mm_exported_key e = {.wrap = "ECDH"};
        uint8_t key[32], expected[32], point[97], context[32], wrapped[40], digest[32];
        struct vector v;
        EVP_PKEY *recipient;

        read_vector(headings[i][0], &v);
        recipient = private_key(headings[i][1], &v);
        e.ephemeral_len = bytes(&v, EPHEMERAL, e.ephemeral);
        e.wrapped_len = bytes(&v, WRAPPED, e.wrapped);
        mm_transport_context(e.ephemeral, point, bytes(&v, POINT, point), "line-a", context);
        bytes(&v, CONTEXT, expected);
        ck_assert_mem_eq(context, expected, 32);
        ck_assert_int_eq(mm_soft_transport_open(recipient, "line-a", &e, key, &ei), MM_OK);
        for (size_t k = 0; k < sizeof(expected); k++)
            expected[k] = (uint8_t)(0x40 + k);
        ck_assert_mem_eq(key, expected, 32);
        ck_assert_int_eq(mm_soft_kwp_wrap(key, mm_known_key, 32, wrapped, &ei), MM_OK);
        SHA256(wrapped, sizeof(wrapped), digest);
        bytes(&v, CHECK, expected);
        ck_assert_mem_eq(digest, expected, 8);

        ck_assert_int_eq(mm_soft_transport_open(recipient, "line-b", &e, key, &ei), MM_ERR_CORRUPT);
        e.ephemeral[e.ephemeral_len - 1] ^= 1;
        ck_assert_int_eq(mm_soft_transport_open(recipient, "line-a", &e, key, &ei), MM_ERR_CORRUPT);
        EVP_PKEY_free(recipient);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("transport");
    TCase *tc = tcase_create("vectors");

    tcase_add_test(tc, vectors_of_the_document_hold);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
