/* SPDX-License-Identifier: Apache-2.0 */
/* mintmark-token as a process, asked by a front that is not itself: the audit key signs, and the
 * token keeps as anchor, what the store made and nothing else. */
#include "daemon/base/limits.h"
#include "daemon/ipc/worker.h"
#include "mintmark/v1/ledger.pb-c.h"
#include "pkcs11/token.h"
#include "tests/integration/token_site.h"
#include "tests/support/handed.h"
#include "tests/unit/check_main.h"

#include <openssl/cms.h>
#include <openssl/core_names.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>

static const struct token_kind *kind;
static struct token_site site;
static struct worker w;
static struct mm_errinfo ei;
static struct mm_secret *seal;
static X509 *audit, *second;
static uint8_t audit_key[SHA256_DIGEST_LENGTH], second_key[SHA256_DIGEST_LENGTH];

/* ---- the site ---------------------------------------------------------------------------- */

static EVP_PKEY *public_key(const uint8_t *point, size_t len)
{
    char group[] = "P-256";
    OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0),
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, (void *)(uintptr_t)point, len),
        OSSL_PARAM_construct_end()};
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    EVP_PKEY *key = NULL;

    ck_assert_int_eq(EVP_PKEY_fromdata_init(ctx), 1);
    ck_assert_int_eq(EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, parameters), 1);
    EVP_PKEY_CTX_free(ctx);
    return key;
}

/* Its signature is nobody's business here. */
static X509 *certify(EVP_PKEY *key, const char *name)
{
    EVP_PKEY *any = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    X509_NAME *subject = X509_get_subject_name(certificate);

    X509_set_version(certificate, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 7);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const uint8_t *)name, -1, -1, 0);
    X509_set_issuer_name(certificate, subject);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -60);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 86400);
    X509_set_pubkey(certificate, key);
    ck_assert_int_gt(X509_sign(certificate, any, EVP_sha256()), 0);
    EVP_PKEY_free(any);
    return certificate;
}

static X509 *make_key(struct mm_token *t, const char *label, const char *file)
{
    uint8_t point[MM_POINT_MAX];
    enum mm_curve curve;
    size_t len;
    mm_handle handle;
    EVP_PKEY *key;
    X509 *certificate;
    FILE *out = fopen(site_path(&site, file), "w");

    ck_assert_ptr_nonnull(out);
    ck_assert_int_eq(mm_token_create_ca_key(t, label, MM_CURVE_P256, &handle, &ei), MM_OK);
    ck_assert_int_eq(mm_token_public_point(t, handle, &curve, point, &len, &ei), MM_OK);
    key = public_key(point, len);
    certificate = certify(key, label);
    ck_assert_int_eq(PEM_write_X509(out, certificate), 1);
    fclose(out);
    EVP_PKEY_free(key);
    return certificate;
}

static void key_hash(X509 *certificate, uint8_t hash[SHA256_DIGEST_LENGTH])
{
    uint8_t *spki = NULL;
    const int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &spki);

    ck_assert_int_gt(len, 0);
    SHA256(spki, (size_t)len, hash);
    OPENSSL_free(spki);
}

static void setup(void)
{
    struct mm_token *t;

    site_make(&site, kind);
    t = site_token(&site);
    X509_free(make_key(t, "mintmark-identity", "identity.pem"));
    audit = make_key(t, "mintmark-audit", "audit.pem");
    second = make_key(t, "second", "second.pem");
    mm_token_free(t);
    key_hash(audit, audit_key);
    key_hash(second, second_key);
    site_edit(&site, "transport 'centre'",
              "appliance { token = 'factory' identity_certificate = 'identity.pem'\n"
              "    audit_certificate = 'audit.pem' oem_certificates = 'identity.pem' }\n"
              "transport 'centre'");
    ck_assert_int_eq(mm_secret_new(MM_HANDED_KEY, &seal), MM_OK);
    memset(mm_secret_data(seal), HANDED_KEY_BYTE, MM_HANDED_KEY);
    w = worker_start(&site, "factory");
    ck_assert_msg(!w.ready->error, "%s", w.ready->error ? w.ready->error->text : "");
}

static void teardown(void)
{
    ck_assert_int_eq(worker_stop(&w), MM_EXIT_OK);
    mm_secret_free(seal);
    X509_free(audit);
    X509_free(second);
    site_done(&site);
}

/* ---- jobs -------------------------------------------------------------------------------- */

static ProtobufCBinaryData binary(uint8_t *data, size_t len)
{
    return (ProtobufCBinaryData){len, data};
}

/* As the store makes it. */
static ProtobufCBinaryData prove(enum mm_seal_use use, const uint8_t *signer,
                                 const ProtobufCBinaryData *data, size_t n)
{
    static uint8_t proof[MM_SEAL_BYTES];
    struct mm_bytes parts[4];
    const struct mm_sealed what = {.use = use, .signer = signer, .parts = parts, .n_parts = n};

    for (size_t i = 0; i < n; i++)
        parts[i] = (struct mm_bytes){data[i].data, data[i].len};
    ck_assert_int_eq(mm_seal_make(seal, &what, proof, &ei), MM_OK);
    return binary(proof, sizeof(proof));
}

static Mintmark__Internal__TokenResult *ask(Mintmark__Internal__TokenJob *job)
{
    Mintmark__Internal__TokenResult *r;

    job->id = 5;
    worker_send(&w, job);
    r = worker_receive(&w);
    ck_assert_uint_eq(r->id, 5);
    ck_assert(!r->distrusted);
    return r;
}

/* The worker lives on, and does the next job. */
static void refused(Mintmark__Internal__TokenJob *job, const char *reason)
{
    Mintmark__Internal__TokenResult *r = ask(job);

    ck_assert_ptr_nonnull(r->error);
    ck_assert_str_eq(r->error->reason, reason);
    ck_assert_int_eq(r->result_case, MINTMARK__INTERNAL__TOKEN_RESULT__RESULT__NOT_SET);
    mintmark__internal__token_result__free_unpacked(r, NULL);
}

static void done(Mintmark__Internal__TokenJob *job)
{
    Mintmark__Internal__TokenResult *r = ask(job);

    ck_assert_msg(!r->error || r->error->code == MM_OK, "%s", r->error ? r->error->text : "");
    mintmark__internal__token_result__free_unpacked(r, NULL);
}

static Mintmark__Internal__TokenJob document_job(Mintmark__Internal__SignDocument *body)
{
    Mintmark__Internal__TokenJob job = MINTMARK__INTERNAL__TOKEN_JOB__INIT;

    mintmark__internal__sign_document__init(body);
    job.job_case = MINTMARK__INTERNAL__TOKEN_JOB__JOB_SIGN_DOCUMENT;
    job.sign_document = body;
    return job;
}

static uint8_t content[] = "some content", digest[32] = {1}, digests[2][32] = {{2}, {3}};

/* ---- what is not the store's ------------------------------------------------------------- */

START_TEST(a_document_of_the_fronts_making_is_not_signed)
{
    Mintmark__Internal__SignDocument body;
    Mintmark__Internal__TokenJob job = document_job(&body);

    body.content = binary(content, sizeof(content));
    refused(&job, "NOT_OF_THE_STORE");
    body.proof = prove(MM_SEAL_DOCUMENT, audit_key, &body.content, 1);
    content[0] ^= 1;
    refused(&job, "NOT_OF_THE_STORE");
    content[0] ^= 1;
    body.proof.data[31] ^= 1;
    refused(&job, "NOT_OF_THE_STORE");
    body.proof.data[31] ^= 1;
    body.proof.len--;
    refused(&job, "NOT_OF_THE_STORE");
    body.proof.len++;
    done(&job);
    body.proof = prove(MM_SEAL_DETACHED, audit_key, &body.content, 1);
    refused(&job, "NOT_OF_THE_STORE");
}
END_TEST

START_TEST(a_proof_is_for_one_key_only)
{
    Mintmark__Internal__AuditKeyName by = MINTMARK__INTERNAL__AUDIT_KEY_NAME__INIT;
    Mintmark__Internal__SignDocument body;
    Mintmark__Internal__TokenJob job = document_job(&body);
    char label[] = "second", file[96];

    body.content = binary(content, sizeof(content));
    body.by = &by;
    by.key = label;
    by.certificate = file;
    snprintf(file, sizeof(file), "%s", site_path(&site, "second.pem"));
    body.proof = prove(MM_SEAL_DOCUMENT, audit_key, &body.content, 1);
    refused(&job, "NOT_OF_THE_STORE");
    body.proof = prove(MM_SEAL_DOCUMENT, second_key, &body.content, 1);
    done(&job);
}
END_TEST

START_TEST(a_digest_of_the_fronts_making_is_not_signed)
{
    Mintmark__Internal__SignDocument body;
    Mintmark__Internal__TokenJob job = document_job(&body);
    Mintmark__Internal__TokenResult *r;
    const uint8_t *at;
    CMS_ContentInfo *cms;

    body.digest = binary(digest, sizeof(digest));
    refused(&job, "NOT_OF_THE_STORE");
    body.proof = prove(MM_SEAL_DOCUMENT, audit_key, &body.digest, 1);
    refused(&job, "NOT_OF_THE_STORE");
    body.proof = prove(MM_SEAL_DIGESTS, audit_key, &body.digest, 1);
    refused(&job, "NOT_OF_THE_STORE");
    body.proof = prove(MM_SEAL_DETACHED, audit_key, &body.digest, 1);
    r = ask(&job);
    ck_assert_ptr_null(r->error);
    at = r->signed_content->document.data;
    cms = d2i_CMS_ContentInfo(NULL, &at, (long)r->signed_content->document.len);
    ck_assert_ptr_nonnull(cms);
    ck_assert_int_eq(CMS_is_detached(cms), 1);
    CMS_ContentInfo_free(cms);
    mintmark__internal__token_result__free_unpacked(r, NULL);
}
END_TEST

START_TEST(digests_of_the_fronts_making_are_not_signed)
{
    Mintmark__Internal__SignDigests body = MINTMARK__INTERNAL__SIGN_DIGESTS__INIT;
    Mintmark__Internal__TokenJob job = MINTMARK__INTERNAL__TOKEN_JOB__INIT;
    ProtobufCBinaryData list[] = {binary(digests[0], 32), binary(digests[1], 32)};

    job.job_case = MINTMARK__INTERNAL__TOKEN_JOB__JOB_SIGN_DIGESTS;
    job.sign_digests = &body;
    body.digests = list;
    body.n_digests = 2;
    refused(&job, "NOT_OF_THE_STORE");
    body.proof = prove(MM_SEAL_DIGESTS, audit_key, list, 2);
    body.n_digests = 1; /* a part of it is none of it */
    refused(&job, "NOT_OF_THE_STORE");
    body.n_digests = 2;
    done(&job);
    digests[1][0] ^= 1;
    refused(&job, "NOT_OF_THE_STORE");
    digests[1][0] ^= 1;
}
END_TEST

/* ---- anchors ----------------------------------------------------------------------------- */

static size_t pack_anchor(uint64_t epoch, uint64_t sequence, uint8_t packed[256])
{
    static uint8_t id[16], head[32];
    Mintmark__V1__Anchor a = MINTMARK__V1__ANCHOR__INIT;

    a.ledger_id = binary(id, sizeof(id));
    a.head = binary(head, sizeof(head));
    a.epoch = epoch;
    a.sequence = sequence;
    return mintmark__v1__anchor__pack(&a, packed);
}

static void write_anchor(uint64_t epoch, uint64_t sequence, bool proven, const char *reason)
{
    Mintmark__Internal__AnchorWrite body = MINTMARK__INTERNAL__ANCHOR_WRITE__INIT;
    Mintmark__Internal__TokenJob job = MINTMARK__INTERNAL__TOKEN_JOB__INIT;
    uint8_t packed[256];

    job.job_case = MINTMARK__INTERNAL__TOKEN_JOB__JOB_ANCHOR_WRITE;
    job.anchor_write = &body;
    body.anchor = binary(packed, pack_anchor(epoch, sequence, packed));
    if (proven)
        body.proof = prove(MM_SEAL_ANCHOR, NULL, &body.anchor, 1);
    if (reason)
        refused(&job, reason);
    else
        done(&job);
}

static void expect_anchor(uint64_t epoch, uint64_t sequence)
{
    Mintmark__Internal__AnchorRead body = MINTMARK__INTERNAL__ANCHOR_READ__INIT;
    Mintmark__Internal__TokenJob job = MINTMARK__INTERNAL__TOKEN_JOB__INIT;
    Mintmark__Internal__TokenResult *r;
    uint8_t packed[256];
    const size_t len = pack_anchor(epoch, sequence, packed);

    job.job_case = MINTMARK__INTERNAL__TOKEN_JOB__JOB_ANCHOR_READ;
    job.anchor_read = &body;
    r = ask(&job);
    ck_assert_uint_eq(r->anchor_found->anchor.len, len);
    ck_assert_mem_eq(r->anchor_found->anchor.data, packed, len);
    mintmark__internal__token_result__free_unpacked(r, NULL);
}

START_TEST(an_anchor_of_the_fronts_making_is_not_written)
{
    write_anchor(1, 10, false, "NOT_OF_THE_STORE");
    write_anchor(1, 10, true, NULL);
    write_anchor(9, 90, false, "NOT_OF_THE_STORE");
    expect_anchor(1, 10);
}
END_TEST

START_TEST(an_anchor_that_was_the_stores_once_does_not_come_again)
{
    write_anchor(2, 10, true, NULL);
    write_anchor(2, 20, true, NULL);
    write_anchor(2, 20, true, NULL); /* its answer was lost */
    write_anchor(2, 19, true, "ANCHOR_OLDER");
    write_anchor(1, 99, true, "ANCHOR_OLDER");
    expect_anchor(2, 20);
    write_anchor(3, 5, true, NULL); /* after a start; an officer has unlocked an older database */
    expect_anchor(3, 5);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("token_vouch");
    TCase *t = tcase_create("all");
    const char *why;

    kind = token_kind(&why);
    if (!kind) {
        fprintf(stderr, "skipped: no %s\n", why);
        return 77;
    }
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, a_document_of_the_fronts_making_is_not_signed);
    tcase_add_test(t, a_proof_is_for_one_key_only);
    tcase_add_test(t, a_digest_of_the_fronts_making_is_not_signed);
    tcase_add_test(t, digests_of_the_fronts_making_are_not_signed);
    tcase_add_test(t, an_anchor_of_the_fronts_making_is_not_written);
    tcase_add_test(t, an_anchor_that_was_the_stores_once_does_not_come_again);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
