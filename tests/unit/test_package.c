/* SPDX-License-Identifier: Apache-2.0 */
/* Envelopes bit by bit, with the key in software; and the content behind them. */
#include "tests/support/soft_exchange.h"
#include "tests/unit/check_main.h"
#include "tools/officer/package.h"

#include <openssl/cms.h>
#include <string.h>

static const char text[] = "what the OEM says, longer than a block of AES";
static struct mm_errinfo ei;

static int open_envelope(struct mm_bytes der, struct mm_buf *content)
{
    struct soft_exchange *const key = soft_exchange();
    struct mm_envelope envelope;
    int r = mm_envelope_read(der, key->certificate, &envelope, &ei);

    mm_buf_reset(content);
    return r < 0 ? r : mm_envelope_open(&envelope, &key->holder, content, &ei);
}

static void make(struct mm_buf *der)
{
    const struct mm_bytes content = {(const uint8_t *)text, sizeof(text)};

    *der = MM_BUF_INIT(MM_PACKAGE_MAX);
    ck_assert_msg(mm_envelope_make(content, soft_exchange()->certificate, der, &ei) == MM_OK, "%s",
                  ei.text);
}

/* As `openssl cms -encrypt -aes-256-cbc` makes it. */
static void make_cbc(struct mm_buf *der)
{
    BIO *in = BIO_new_mem_buf(text, sizeof(text));
    CMS_ContentInfo *cms =
        CMS_encrypt(NULL, in, EVP_aes_256_cbc(), CMS_BINARY | CMS_PARTIAL | CMS_STREAM);
    CMS_RecipientInfo *info =
        CMS_add1_recipient_cert(cms, soft_exchange()->certificate, CMS_KEY_PARAM);
    unsigned char *made = NULL;
    int len;

    ck_assert(EVP_PKEY_CTX_set_ecdh_kdf_md(CMS_RecipientInfo_get0_pkey_ctx(info), EVP_sha384()) >
              0);
    CMS_set_detached(cms, 0);
    ck_assert_int_eq(CMS_final(cms, in, NULL, CMS_BINARY), 1);
    len = i2d_CMS_ContentInfo(cms, &made);
    *der = MM_BUF_INIT(MM_PACKAGE_MAX);
    mm_buf_append(der, made, (size_t)len);
    OPENSSL_free(made);
    CMS_ContentInfo_free(cms);
    BIO_free(in);
}

START_TEST(both_ciphers_open_again)
{
    MM_BUF_CLEANUP struct mm_buf gcm, cbc, content = MM_BUF_INIT(1024);

    make(&gcm);
    make_cbc(&cbc);
    ck_assert_msg(open_envelope((struct mm_bytes){gcm.data, gcm.len}, &content) == MM_OK, "%s",
                  ei.text);
    ck_assert_uint_eq(content.len, sizeof(text));
    ck_assert_mem_eq(content.data, text, sizeof(text));
    ck_assert_msg(open_envelope((struct mm_bytes){cbc.data, cbc.len}, &content) == MM_OK, "%s",
                  ei.text);
    ck_assert_uint_eq(content.len, sizeof(text));
    ck_assert_mem_eq(content.data, text, sizeof(text));
}
END_TEST

START_TEST(every_bit_of_gcm_counts)
{
    MM_BUF_CLEANUP struct mm_buf der, content = MM_BUF_INIT(1024);

    make(&der);
    for (size_t bit = 0; bit < 8 * der.len; bit++) {
        der.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        ck_assert_msg(open_envelope((struct mm_bytes){der.data, der.len}, &content) < 0,
                      "bit %zu of byte %zu", bit % 8, bit / 8);
        ck_assert_uint_eq(content.len, 0);
        der.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    ck_assert_int_eq(open_envelope((struct mm_bytes){der.data, der.len}, &content), MM_OK);
}
END_TEST

/* In CBC the signature has to find a change of vector or ciphertext; here at least the content is
 * never what it was. */
START_TEST(every_bit_of_cbc_changes_something)
{
    MM_BUF_CLEANUP struct mm_buf der, content = MM_BUF_INIT(1024);

    make_cbc(&der);
    for (size_t bit = 0; bit < 8 * der.len; bit++) {
        der.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        if (open_envelope((struct mm_bytes){der.data, der.len}, &content) == MM_OK)
            ck_assert_msg(content.len != sizeof(text) ||
                              memcmp(content.data, text, sizeof(text)) != 0,
                          "bit %zu of byte %zu", bit % 8, bit / 8);
        der.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}
END_TEST

START_TEST(every_length_is_needed)
{
    MM_BUF_CLEANUP struct mm_buf der, content = MM_BUF_INIT(1024);

    make(&der);
    for (size_t len = 0; len < der.len; len++) {
        uint8_t *copy = malloc(len ? len : 1); /* so that a sanitizer sees what reads too far */

        memcpy(copy, der.data, len);
        ck_assert_int_eq(open_envelope((struct mm_bytes){copy, len}, &content), MM_ERR_INVALID);
        ck_assert_str_eq(ei.reason, "PACKAGE_NOT_DER");
        free(copy);
    }
    mm_buf_append_u8(&der, 0);
    ck_assert_int_eq(open_envelope((struct mm_bytes){der.data, der.len}, &content), MM_ERR_INVALID);
}
END_TEST

START_TEST(a_package_that_is_too_big_is_not_read)
{
    struct mm_envelope envelope;
    const struct mm_bytes big = {(const uint8_t *)text, MM_PACKAGE_MAX + 1};

    ck_assert_int_eq(mm_envelope_read(big, soft_exchange()->certificate, &envelope, &ei),
                     MM_ERR_TOO_BIG);
    ck_assert_str_eq(ei.reason, "PACKAGE_TOO_BIG");
}
END_TEST

#define HEAD                                                                                       \
    "{\"format\":\"mintmark-package\",\"version\":1,\"id\":\"p\",\"appliance\":"                   \
    "\"0000000000000000000000000000000000000000000000000000000000000001\","                        \
    "\"created\":\"2026-11-22T04:00:00Z\",\"not_after\":\"2026-12-22\",\"items\":["

START_TEST(content_is_taken_as_it_is)
{
    static const char json[] = HEAD "{\"type\":\"data\",\"name\":\"a\",\"data\":\"eHk=\"},"
                                    "{\"type\":\"pkcs12\",\"name\":\"a\",\"data\":\"MAA=\","
                                    "\"password\":\"\"}]}";
    MM_PACKAGE_CLEANUP struct mm_package p = {.n_items = 0};

    ck_assert_msg(mm_package_parse((struct mm_bytes){(const uint8_t *)json, sizeof(json) - 1}, &p,
                                   &ei) == MM_OK,
                  "%s", ei.text);
    ck_assert_str_eq(p.id, "p");
    ck_assert_uint_eq(p.appliance[31], 1);
    ck_assert_uint_eq(p.n_items, 2);
    ck_assert_uint_eq(p.items[0].bytes.len, 2);
    ck_assert_mem_eq(p.items[0].bytes.data, "xy", 2);
    ck_assert_ptr_null(p.items[0].password);
    ck_assert_uint_eq(mm_secret_len(p.items[1].password), 1);
}
END_TEST

START_TEST(content_that_is_cut_off_is_refused)
{
    static const char json[] = HEAD "{\"type\":\"data\",\"name\":\"a\",\"data\":\"eHk=\"}]}";
    MM_PACKAGE_CLEANUP struct mm_package p = {.n_items = 0};

    for (size_t len = 0; len < sizeof(json) - 1; len++) {
        ck_assert_int_eq(mm_package_parse((struct mm_bytes){(const uint8_t *)json, len}, &p, &ei),
                         MM_ERR_INVALID);
        ck_assert_str_eq(ei.reason, "PACKAGE_CONTENT");
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("package");
    TCase *tc = tcase_create("package");

    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, both_ciphers_open_again);
    tcase_add_test(tc, every_bit_of_gcm_counts);
    tcase_add_test(tc, every_bit_of_cbc_changes_something);
    tcase_add_test(tc, every_length_is_needed);
    tcase_add_test(tc, a_package_that_is_too_big_is_not_read);
    tcase_add_test(tc, content_is_taken_as_it_is);
    tcase_add_test(tc, content_that_is_cut_off_is_refused);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
