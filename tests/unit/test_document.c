/* SPDX-License-Identifier: Apache-2.0 */
/* Documents that openssl cms and Python's cryptography made (tests/data/documents/make), and our
 * own. */
#include "daemon/base/io.h"
#include "daemon/base/limits.h"
#include "daemon/document/detached.h"
#include "daemon/document/draft.h"
#include "tests/unit/check_main.h"

#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <stdio.h>
#include <string.h>

/* 2026-11-22, when the certificates of tests/data/documents are in date. */
static const int64_t now_ms = 1795305600000;

static struct mm_buf file;
static struct mm_arena arena;
static struct mm_document document;
static struct mm_errinfo ei;

static void setup(void)
{
    file = MM_BUF_INIT(1024 * 1024);
    arena = MM_ARENA_INIT;
    document = MM_DOCUMENT_INIT;
    ei = (struct mm_errinfo){.code = MM_OK};
}

static void teardown(void)
{
    mm_document_done(&document);
    mm_arena_done(&arena);
    mm_buf_done(&file);
}

static struct mm_bytes read_file(const char *folder, const char *name)
{
    char path[512];

    snprintf(path, sizeof(path), "%s/%s/%s", getenv("MM_SOURCE_ROOT"), folder, name);
    mm_buf_reset(&file);
    ck_assert_msg(mm_io_read_file(path, file.max, &file, &ei) == MM_OK, "%s", ei.text);
    return (struct mm_bytes){file.data, file.len};
}

static int open_file(const char *name)
{
    mm_document_done(&document);
    return mm_document_open(read_file("tests/fuzz/corpus/document", name), &arena, &document, &ei);
}

static struct mm_trust *trust_file(const char *name)
{
    struct mm_trust *trust = NULL;

    ck_assert_int_eq(mm_trust_new(read_file("tests/data/documents", name), &trust, &ei), MM_OK);
    return trust;
}

static int check_with(const char *trusted, int64_t at_ms)
{
    struct mm_trust *trust = trust_file(trusted);
    const int r = mm_document_check_signer(&document, trust, at_ms, &ei);

    mm_trust_free(trust);
    return r;
}

static const char *const right[] = {"order-p256",   "order-p384",   "order-rsa",   "order-rsa-pss",
                                    "order-issued", "order-sha512", "order-python"};

START_TEST(open_right_order_gives_its_terms)
{
    const Mintmark__V1__ProductionOrder *o;

    ck_assert_msg(open_file(right[_i]) == MM_OK, "%s: %s", right[_i], ei.text);
    ck_assert_int_eq(document.content->document_case,
                     MINTMARK__V1__SIGNED_DOCUMENT__DOCUMENT_PRODUCTION_ORDER);
    o = document.content->production_order;
    ck_assert_str_eq(o->order_id, "ORDER-1");
    ck_assert_uint_eq(o->quantity, 1000);
    ck_assert_uint_eq(o->n_stations, 2);
    ck_assert_uint_eq(o->report_within_hours, 72);
    ck_assert_ptr_nonnull(strstr(document.signer_name, "O=Example Devices"));
    ck_assert_int_eq(mm_order_terms_check(o, &ei), MM_OK);
}
END_TEST

START_TEST(open_other_kinds_are_told_apart)
{
    ck_assert_int_eq(open_file("revocation"), MM_OK);
    ck_assert_int_eq(document.content->document_case,
                     MINTMARK__V1__SIGNED_DOCUMENT__DOCUMENT_ORDER_REVOCATION);
    ck_assert_int_eq(open_file("receipt"), MM_OK);
    ck_assert_int_eq(document.content->document_case,
                     MINTMARK__V1__SIGNED_DOCUMENT__DOCUMENT_REPORT_RECEIPT);
    ck_assert_int_eq(open_file("request"), MM_OK);
    ck_assert_int_eq(document.content->document_case,
                     MINTMARK__V1__SIGNED_DOCUMENT__DOCUMENT_ORDER_REQUEST);
}
END_TEST

static const struct {
    const char *file;
    const char *reason;
    const char *text; /* part of it */
} wrong[] = {
    {"bad-content-changed", "DOCUMENT_SIGNATURE", "signature is wrong"},
    {"bad-signature-changed", "DOCUMENT_SIGNATURE", "signature is wrong"},
    {"bad-truncated", "DOCUMENT_NOT_DER", "cut off"},
    {"bad-trailing", "DOCUMENT_NOT_DER", "follows its end"},
    {"bad-two-documents", "DOCUMENT_NOT_DER", "follows its end"},
    {"bad-indefinite", "DOCUMENT_NOT_DER", "indefinite length"},
    {"bad-long-length", "DOCUMENT_NOT_DER", "longer than it need be"},
    {"bad-two-signers", "DOCUMENT_SIGNERS", "2 signers"},
    {"bad-no-certificate", "DOCUMENT_NO_CERTIFICATE", "certificate"},
    {"bad-no-attributes", "DOCUMENT_ATTRIBUTES", "no signed attributes"},
    {"bad-detached", "DOCUMENT_DETACHED", "no content"},
    {"bad-type", "DOCUMENT_TYPE", "id-data"},
    {"bad-sha1", "DOCUMENT_ALGORITHM", "SHA-256"},
    {"bad-sha224", "DOCUMENT_ALGORITHM", "SHA-256"},
    {"bad-p521", "DOCUMENT_ALGORITHM", "P-384"},
    {"bad-rsa-1024", "DOCUMENT_ALGORITHM", "2048"},
    {"bad-pss-mask", "DOCUMENT_ALGORITHM", "mask"},
    {"bad-unknown-term", "DOCUMENT_CONTENT", "does not know"},
    {"bad-unknown-kind", "DOCUMENT_CONTENT", "does not know"},
    {"bad-no-document", "DOCUMENT_CONTENT", "no document"},
    {"bad-enveloped", "DOCUMENT_NOT_CMS", "SignedData"},
};

START_TEST(open_wrong_document_says_why)
{
    ck_assert_int_eq(open_file(wrong[_i].file), MM_ERR_INVALID);
    ck_assert_str_eq(ei.reason, wrong[_i].reason);
    ck_assert_msg(strstr(ei.text, wrong[_i].text) != NULL, "%s: %s", wrong[_i].file, ei.text);
    ck_assert_ptr_null(document.content);
    ck_assert_ptr_null(document.signer);
}
END_TEST

START_TEST(open_every_prefix_is_refused)
{
    const struct mm_bytes whole = read_file("tests/fuzz/corpus/document", "order-p256");

    for (size_t len = 0; len < whole.len; len++) {
        ck_assert_int_eq(
            mm_document_open((struct mm_bytes){whole.data, len}, &arena, &document, &ei),
            MM_ERR_INVALID);
        ck_assert_str_eq(ei.reason, "DOCUMENT_NOT_DER");
    }
}
END_TEST

START_TEST(open_every_changed_bit_is_refused)
{
    const struct mm_bytes whole = read_file("tests/fuzz/corpus/document", "order-p256");

    for (size_t i = 0; i < whole.len; i++) {
        file.data[i] ^= 0x04;
        if (mm_document_open(whole, &arena, &document, &ei) == MM_OK) {
            /* Not of what is signed, and no certificate that anybody trusts. */
            ck_assert_str_eq(document.content->production_order->order_id, "ORDER-1");
            ck_assert_uint_eq(document.content->production_order->quantity, 1000);
            mm_document_done(&document);
        }
        file.data[i] ^= 0x04;
        mm_arena_reset(&arena);
    }
}
END_TEST

START_TEST(open_big_file_is_not_parsed)
{
    static uint8_t big[MM_DOCUMENT_MAX + 1];

    ck_assert_int_eq(mm_document_open((struct mm_bytes){big, sizeof(big)}, &arena, &document, &ei),
                     MM_ERR_TOO_BIG);
    ck_assert_str_eq(ei.reason, "DOCUMENT_TOO_BIG");
}
END_TEST

START_TEST(check_signer_by_its_own_certificate_or_its_ca)
{
    ck_assert_int_eq(open_file("order-p256"), MM_OK);
    ck_assert_int_eq(check_with("oem-p256.pem", now_ms), MM_OK);
    ck_assert_int_eq(check_with("oem-p384.pem", now_ms), MM_ERR_PERMISSION);
    ck_assert_str_eq(ei.reason, "SIGNER_UNKNOWN");
    ck_assert_int_eq(open_file("order-issued"), MM_OK);
    ck_assert_int_eq(check_with("oem-ca.pem", now_ms), MM_OK);
    ck_assert_int_eq(check_with("oem-issued.pem", now_ms), MM_OK);
    ck_assert_int_eq(open_file("signer-stranger"), MM_OK);
    ck_assert_int_eq(check_with("oem-ca.pem", now_ms), MM_ERR_PERMISSION);
    ck_assert_int_eq(mm_document_check_signer(&document, NULL, now_ms, &ei), MM_ERR_PERMISSION);
    ck_assert_str_eq(ei.reason, "SIGNER_UNKNOWN");
}
END_TEST

START_TEST(check_signer_out_of_date_is_refused)
{
    ck_assert_int_eq(open_file("signer-expired"), MM_OK);
    ck_assert_int_eq(check_with("expired.pem", now_ms), MM_ERR_PRECONDITION);
    ck_assert_str_eq(ei.reason, "SIGNER_EXPIRED");
    ck_assert_int_eq(open_file("signer-future"), MM_OK);
    ck_assert_int_eq(check_with("future.pem", now_ms), MM_ERR_PRECONDITION);
    ck_assert_str_eq(ei.reason, "SIGNER_NOT_YET_VALID");
    /* The CA's end counts too: it is trusted until then. */
    ck_assert_int_eq(open_file("order-issued"), MM_OK);
    ck_assert_int_eq(check_with("oem-ca.pem", 2600000000000), MM_ERR_PRECONDITION);
    ck_assert_str_eq(ei.reason, "SIGNER_EXPIRED");
}
END_TEST

START_TEST(trust_new_bad_pem_is_refused)
{
    static const char damaged[] = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    struct mm_trust *trust = NULL;
    struct mm_buf many = MM_BUF_INIT(1024 * 1024);

    ck_assert_int_eq(mm_trust_new((struct mm_bytes){NULL, 0}, &trust, &ei), MM_ERR_INVALID);
    ck_assert_int_eq(
        mm_trust_new((struct mm_bytes){(const uint8_t *)damaged, strlen(damaged)}, &trust, &ei),
        MM_ERR_INVALID);
    ck_assert_str_eq(ei.reason, "TRUST_INVALID");
    read_file("tests/data/documents", "oem-p256.pem");
    for (int i = 0; i <= MM_TRUST_MAX; i++)
        mm_buf_append(&many, file.data, file.len);
    ck_assert_int_eq(mm_trust_new((struct mm_bytes){many.data, many.len}, &trust, &ei),
                     MM_ERR_INVALID);
    ck_assert_ptr_nonnull(strstr(ei.text, "more than"));
    mm_buf_done(&many);
}
END_TEST

/* Without memory it would be MM_ERR_MEMORY, and a reload tried again. */
START_TEST(trust_new_each_character_damaged_is_no_lack_of_memory)
{
    static const char other[] = {'A', '/', '0', 'z', '!', '\n'};
    struct mm_bytes pem;
    unsigned refused = 0;

    read_file("tests/data/documents", "oem-p256.pem");
    pem = (struct mm_bytes){file.data, file.len};
    for (size_t i = 0; i < file.len; i++)
        for (size_t k = 0; k < sizeof(other); k++) {
            const uint8_t was = file.data[i];
            struct mm_trust *trust = NULL;
            int r;

            file.data[i] = (uint8_t)other[k];
            r = mm_trust_new(pem, &trust, &ei);
            file.data[i] = was;
            ck_assert_msg(r == MM_OK || r == MM_ERR_INVALID, "character %zu as '%c': %s", i,
                          other[k], ei.text);
            refused += r < 0;
            mm_trust_free(trust);
        }
    ck_assert_uint_gt(refused, file.len);
}
END_TEST

/* ---- terms ------------------------------------------------------------------------------- */

static Mintmark__V1__ProductionOrder *terms(void)
{
    ck_assert_int_eq(open_file("order-p256"), MM_OK);
    return document.content->production_order;
}

static void refused(const Mintmark__V1__ProductionOrder *o, const char *reason, const char *field)
{
    ck_assert_int_eq(mm_order_terms_check(o, &ei), MM_ERR_INVALID);
    ck_assert_str_eq(ei.reason, reason);
    ck_assert_str_eq(ei.field, field);
    ei = (struct mm_errinfo){.code = MM_OK};
}

START_TEST(terms_check_out_of_range_is_refused)
{
    static const uint64_t quantities[] = {0, MM_ORDER_QUANTITY_MAX + 1ULL, UINT64_MAX};
    Mintmark__V1__ProductionOrder *o = terms();

    for (size_t i = 0; i < MM_ARRAY_SIZE(quantities); i++) {
        o->quantity = quantities[i];
        refused(o, "ORDER_QUANTITY", "");
    }
    o = terms();
    o->not_after_time_ms = o->not_before_time_ms;
    refused(o, "ORDER_VALIDITY", "");
    o->not_before_time_ms = -1;
    refused(o, "ORDER_VALIDITY", "");
    o = terms();
    o->report_within_hours = MM_ORDER_HOURS_MAX + 1;
    refused(o, "INVALID_FIELD", "report_within_hours");
    o = terms();
    o->per_day_max = UINT64_MAX;
    refused(o, "INVALID_FIELD", "per_day_max");
    o = terms();
    o->replacements_max = UINT64_MAX;
    refused(o, "INVALID_FIELD", "replacements_max");
}
END_TEST

START_TEST(terms_check_bad_names_and_lengths_are_refused)
{
    static char bad_name[] = "a name";
    static char empty[] = "";
    Mintmark__V1__ProductionOrder *o = terms();

    o->order_id = bad_name;
    refused(o, "INVALID_FIELD", "order_id");
    o = terms();
    o->stations[1] = bad_name;
    refused(o, "INVALID_FIELD", "stations");
    o = terms();
    o->n_stations = MM_ORDER_STATIONS_MAX + 1;
    refused(o, "INVALID_FIELD", "stations");
    o = terms();
    o->oem = empty;
    refused(o, "INVALID_FIELD", "oem");
    o = terms();
    o->nonce.len = 15;
    refused(o, "INVALID_FIELD", "nonce");
    o = terms();
    o->appliance_sha256.len = 31;
    refused(o, "INVALID_FIELD", "appliance_sha256");
}
END_TEST

/* ---- signing ----------------------------------------------------------------------------- */

static X509 *self_signed(EVP_PKEY *key)
{
    X509 *cert = X509_new();
    X509_NAME *name = X509_get_subject_name(cert);

    X509_set_version(cert, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), 7);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"ours", -1, -1, 0);
    X509_set_issuer_name(cert, name);
    X509_time_adj_ex(X509_getm_notBefore(cert), -1, 0, NULL);
    X509_time_adj_ex(X509_getm_notAfter(cert), 3650, 0, NULL);
    X509_set_pubkey(cert, key);
    ck_assert_int_gt(X509_sign(cert, key, EVP_sha256()), 0);
    return cert;
}

static int sign_with(EVP_PKEY *key, X509 *cert, struct mm_buf *cms)
{
    const struct mm_document_signer signer = {.key = key, .certificate = cert};
    Mintmark__V1__SignedDocument content;
    int r;

    ck_assert_int_eq(open_file("order-p256"), MM_OK);
    content = *document.content;
    r = mm_document_sign(&signer, &content, cms, &ei);
    mm_document_done(&document);
    return r;
}

START_TEST(sign_then_open_gives_the_same_terms)
{
    EVP_PKEY *keys[] = {EVP_EC_gen("P-256"), EVP_EC_gen("P-384"), EVP_RSA_gen(2048)};

    for (size_t i = 0; i < MM_ARRAY_SIZE(keys); i++) {
        X509 *cert = self_signed(keys[i]);
        struct mm_buf cms = MM_BUF_INIT(MM_DOCUMENT_MAX);

        ck_assert_msg(sign_with(keys[i], cert, &cms) == MM_OK, "%s", ei.text);
        ck_assert_msg(
            mm_document_open((struct mm_bytes){cms.data, cms.len}, &arena, &document, &ei) == MM_OK,
            "%s", ei.text);
        ck_assert_str_eq(document.content->production_order->oem, "Example Devices");
        ck_assert_str_eq(document.signer_name, "CN=ours");
        mm_document_done(&document);
        mm_buf_done(&cms);
        X509_free(cert);
        EVP_PKEY_free(keys[i]);
    }
}
END_TEST

START_TEST(sign_with_wrong_key_is_refused)
{
    EVP_PKEY *key = EVP_EC_gen("P-256"), *other = EVP_EC_gen("P-256"), *odd = EVP_EC_gen("P-521");
    X509 *cert = self_signed(key), *odd_cert = self_signed(odd);
    struct mm_buf cms = MM_BUF_INIT(MM_DOCUMENT_MAX);

    ck_assert_int_eq(sign_with(other, cert, &cms), MM_ERR_INVALID);
    ck_assert_str_eq(ei.reason, "SIGNER_KEY");
    ck_assert_int_eq(sign_with(odd, odd_cert, &cms), MM_ERR_INVALID);
    ck_assert_str_eq(ei.reason, "DOCUMENT_ALGORITHM");
    ck_assert_uint_eq(cms.len, 0);
    mm_buf_done(&cms);
    X509_free(cert);
    X509_free(odd_cert);
    EVP_PKEY_free(key);
    EVP_PKEY_free(other);
    EVP_PKEY_free(odd);
}
END_TEST

START_TEST(key_hash_is_that_of_the_public_key)
{
    uint8_t ours[MM_DOCUMENT_HASH_BYTES], theirs[MM_DOCUMENT_HASH_BYTES];
    unsigned char *spki = NULL;
    int len;

    ck_assert_int_eq(open_file("order-p256"), MM_OK);
    len = i2d_PUBKEY(X509_get0_pubkey(document.signer), &spki);
    ck_assert_int_gt(len, 0);
    ck_assert_int_eq(EVP_Digest(spki, (size_t)len, theirs, NULL, EVP_sha256(), NULL), 1);
    ck_assert_int_eq(mm_document_key_hash(document.signer, ours, &ei), MM_OK);
    ck_assert_mem_eq(ours, theirs, sizeof(ours));
    OPENSSL_free(spki);
}
END_TEST

/* ---- detached signatures ----------------------------------------------------------------- */

/* SHA-256 of what order-p256, and bad-detached without holding it, sign. */
static void content_hash(uint8_t sha256[MM_DOCUMENT_HASH_BYTES])
{
    const struct mm_bytes der = read_file("tests/fuzz/corpus/document", "order-p256");
    const unsigned char *at = der.data;
    CMS_ContentInfo *cms = d2i_CMS_ContentInfo(NULL, &at, (long)der.len);
    ASN1_OCTET_STRING **content = CMS_get0_content(cms);

    ck_assert_int_eq(EVP_Digest(ASN1_STRING_get0_data(*content),
                                (size_t)ASN1_STRING_length(*content), sha256, NULL, EVP_sha256(),
                                NULL),
                     1);
    CMS_ContentInfo_free(cms);
}

static int check_detached(const char *name, const char *trusted, const uint8_t *sha256)
{
    struct mm_trust *trust = trust_file(trusted);
    const int r =
        mm_detached_check(read_file("tests/fuzz/corpus/document", name), trust, sha256, &ei);

    mm_trust_free(trust);
    return r;
}

START_TEST(detached_check_takes_the_signers_own_and_nothing_else)
{
    uint8_t sha256[MM_DOCUMENT_HASH_BYTES];

    content_hash(sha256);
    ck_assert_msg(check_detached("bad-detached", "oem-p256.pem", sha256) == MM_OK, "%s", ei.text);
    ck_assert_int_eq(check_detached("bad-detached", "stranger.pem", sha256), MM_ERR_INVALID);
    ck_assert_str_eq(ei.reason, "SIGNATURE_BAD");
    ck_assert_int_eq(check_detached("order-p256", "oem-p256.pem", sha256), MM_ERR_INVALID);
    ck_assert_int_eq(check_detached("bad-two-signers", "oem-p256.pem", sha256), MM_ERR_INVALID);
    ck_assert_int_eq(check_detached("bad-enveloped", "oem-p256.pem", sha256), MM_ERR_INVALID);
    ck_assert_int_eq(check_detached("bad-indefinite", "oem-p256.pem", sha256), MM_ERR_INVALID);
    sha256[31] ^= 1;
    ck_assert_int_eq(check_detached("bad-detached", "oem-p256.pem", sha256), MM_ERR_INVALID);
    ck_assert_str_eq(ei.reason, "SIGNATURE_BAD");
}
END_TEST

START_TEST(detached_check_every_prefix_is_refused)
{
    struct mm_trust *trust = trust_file("oem-p256.pem");
    uint8_t sha256[MM_DOCUMENT_HASH_BYTES];
    struct mm_bytes whole;

    content_hash(sha256);
    whole = read_file("tests/fuzz/corpus/document", "bad-detached");
    for (size_t len = 0; len < whole.len; len++)
        ck_assert_int_eq(mm_detached_check((struct mm_bytes){whole.data, len}, trust, sha256, &ei),
                         MM_ERR_INVALID);
    whole.len = MM_DOCUMENT_MAX + 1;
    ck_assert_int_eq(mm_detached_check(whole, trust, sha256, &ei), MM_ERR_TOO_BIG);
    mm_trust_free(trust);
}
END_TEST

START_TEST(draft_detached_is_detached)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = self_signed(key);
    uint8_t sha256[MM_DOCUMENT_HASH_BYTES] = {1}, digest[MM_DOCUMENT_HASH_BYTES];
    struct mm_document_draft draft = {0};

    ck_assert_int_eq(mm_document_draft_detached(cert, sha256, &draft, digest, &ei), MM_OK);
    ck_assert_int_eq(CMS_is_detached(draft.cms), 1);
    mm_document_draft_done(&draft);
    X509_free(cert);
    EVP_PKEY_free(key);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("document");
    TCase *tc = tcase_create("document");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, open_right_order_gives_its_terms, 0, MM_ARRAY_SIZE(right));
    tcase_add_test(tc, open_other_kinds_are_told_apart);
    tcase_add_loop_test(tc, open_wrong_document_says_why, 0, MM_ARRAY_SIZE(wrong));
    tcase_add_test(tc, open_every_prefix_is_refused);
    tcase_add_test(tc, open_every_changed_bit_is_refused);
    tcase_add_test(tc, open_big_file_is_not_parsed);
    tcase_add_test(tc, check_signer_by_its_own_certificate_or_its_ca);
    tcase_add_test(tc, check_signer_out_of_date_is_refused);
    tcase_add_test(tc, trust_new_bad_pem_is_refused);
    tcase_add_test(tc, trust_new_each_character_damaged_is_no_lack_of_memory);
    tcase_add_test(tc, terms_check_out_of_range_is_refused);
    tcase_add_test(tc, terms_check_bad_names_and_lengths_are_refused);
    tcase_add_test(tc, sign_then_open_gives_the_same_terms);
    tcase_add_test(tc, sign_with_wrong_key_is_refused);
    tcase_add_test(tc, key_hash_is_that_of_the_public_key);
    tcase_add_test(tc, detached_check_takes_the_signers_own_and_nothing_else);
    tcase_add_test(tc, detached_check_every_prefix_is_refused);
    tcase_add_test(tc, draft_detached_is_detached);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
