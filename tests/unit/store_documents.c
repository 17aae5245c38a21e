/* SPDX-License-Identifier: Apache-2.0 */
/* The OEM and the appliance of the store's tests, and what the one signs for the other. */
#include "tests/unit/store_fixture.h"

#include <openssl/pem.h>
#include <stdio.h>
#include <string.h>

/* That of the OEM's own key: one certificate will do for the two. */
uint8_t fixture_identity[MM_SHA256_BYTES];

enum { NONCES = 100 };
static unsigned next_nonce = 1;

/* Keys of this process. */
static EVP_PKEY *oem_key;
static X509 *oem_certificate;
static struct mm_trust *oem_trust;

static X509 *self_signed(EVP_PKEY *key)
{
    X509 *cert = X509_new();
    X509_NAME *name = X509_get_subject_name(cert);

    X509_set_version(cert, X509_VERSION_3);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"oem", -1, -1, 0);
    X509_set_issuer_name(cert, name);
    ASN1_TIME_set(X509_getm_notBefore(cert), 0);
    ASN1_TIME_set(X509_getm_notAfter(cert), 1LL << 35);
    X509_set_pubkey(cert, key);
    ck_assert_int_gt(X509_sign(cert, key, EVP_sha256()), 0);
    return cert;
}

const char *fixture_oem_pem(void)
{
    static char pem[2048];
    BIO *bio = BIO_new(BIO_s_mem());
    int len;

    ck_assert_int_eq(PEM_write_bio_X509(bio, oem_certificate), 1);
    len = BIO_read(bio, pem, sizeof(pem) - 1);
    ck_assert_int_gt(len, 0);
    pem[len] = 0;
    BIO_free(bio);
    return pem;
}

static void make_keys(void)
{
    struct mm_errinfo ei;
    const char *pem;

    if (oem_key)
        return;
    oem_key = EVP_EC_gen("P-256");
    oem_certificate = self_signed(oem_key);
    ck_assert_int_eq(mm_document_key_hash(oem_certificate, fixture_identity, &ei), MM_OK);
    pem = fixture_oem_pem();
    ck_assert_int_eq(
        mm_trust_new((struct mm_bytes){(const uint8_t *)pem, strlen(pem)}, &oem_trust, &ei), MM_OK);
}

/* As if their requests had been made; without records, for the tests that count those. */
static void add_nonces(struct fixture *f)
{
    char sql[128];
    struct mm_errinfo ei;

    for (unsigned i = 1; i <= NONCES; i++) {
        snprintf(sql, sizeof(sql),
                 "INSERT INTO nonces (nonce, made_ms, made_by, document)"
                 " VALUES (CAST('%016u' AS BLOB), 1, 'o', x'00')",
                 i);
        ck_assert_int_eq(mm_sql_exec(f->store, sql, &ei), MM_OK);
    }
}

unsigned fixture_keep_keys_days;

void fixture_set_site(struct fixture *f)
{
    struct mm_store_site site = {.has_identity = true, .keep_keys_days = fixture_keep_keys_days};

    make_keys();
    site.oem = oem_trust;
    memcpy(site.identity, fixture_identity, sizeof(site.identity));
    mm_store_set_site(f->store, &site);
    if (fixture_int(f, "SELECT count(*) FROM nonces") == 0)
        add_nonces(f);
}

static void init_job(Mintmark__Internal__StoreJob *job,
                     Mintmark__Internal__StoreJob__JobCase job_case)
{
    mintmark__internal__store_job__init(job);
    job->job_case = job_case;
}

static size_t sign(EVP_PKEY *key, X509 *certificate, const Mintmark__V1__SignedDocument *content,
                   uint8_t *to, size_t size)
{
    const struct mm_document_signer signer = {.key = key, .certificate = certificate};
    struct mm_buf cms = MM_BUF_INIT(size);
    struct mm_errinfo ei = {0};
    size_t len;

    ck_assert_msg(mm_document_sign(&signer, content, &cms, &ei) == MM_OK, "%s", ei.text);
    memcpy(to, cms.data, cms.len);
    len = cms.len;
    mm_buf_done(&cms);
    return len;
}

static void sign_order_with(struct order_job *j, EVP_PKEY *key, X509 *certificate)
{
    Mintmark__V1__SignedDocument content = MINTMARK__V1__SIGNED_DOCUMENT__INIT;

    content.document_case = MINTMARK__V1__SIGNED_DOCUMENT__DOCUMENT_PRODUCTION_ORDER;
    content.production_order = &j->order;
    j->import.document = (ProtobufCBinaryData){
        sign(key, certificate, &content, j->document, sizeof(j->document)), j->document};
}

void sign_order(struct order_job *j)
{
    sign_order_with(j, oem_key, oem_certificate);
}

void sign_order_as_stranger(struct order_job *j)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = self_signed(key);

    sign_order_with(j, key, certificate);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

void make_order(struct order_job *j, const char *order_id, uint64_t quantity)
{
    char nonce[MM_NONCE_BYTES + 1];

    init_job(&j->job, MINTMARK__INTERNAL__STORE_JOB__JOB_IMPORT_ORDER);
    j->job.import_order = &j->import;
    mintmark__internal__import_order__init(&j->import);
    j->import.now_ms = T0;
    j->import.by = TEXT("officer-1");
    mintmark__v1__production_order__init(&j->order);
    j->order.order_id = TEXT(order_id);
    j->order.oem = TEXT("Example Devices");
    j->order.product = TEXT("alarm");
    j->order.profile = TEXT(PROFILE);
    j->order.quantity = quantity;
    j->order.not_before_time_ms = T0;
    j->order.not_after_time_ms = T_END;
    j->order.appliance_sha256 = (ProtobufCBinaryData){sizeof(fixture_identity), fixture_identity};
    ck_assert_uint_le(next_nonce, NONCES);
    snprintf(nonce, sizeof(nonce), "%016u", next_nonce++);
    memcpy(j->nonce, nonce, sizeof(j->nonce));
    j->order.nonce = (ProtobufCBinaryData){sizeof(j->nonce), j->nonce};
    sign_order(j);
}

static void init_document(struct document_job *j)
{
    init_job(&j->job, MINTMARK__INTERNAL__STORE_JOB__JOB_IMPORT_DOCUMENT);
    j->job.import_document = &j->import;
    mintmark__internal__import_document__init(&j->import);
    j->import.now_ms = T0 + 100;
    j->import.by = TEXT("officer-1");
}

void sign_document(struct document_job *j)
{
    Mintmark__V1__SignedDocument content = MINTMARK__V1__SIGNED_DOCUMENT__INIT;

    if (j->revocation.base.descriptor == &mintmark__v1__order_revocation__descriptor) {
        content.document_case = MINTMARK__V1__SIGNED_DOCUMENT__DOCUMENT_ORDER_REVOCATION;
        content.order_revocation = &j->revocation;
    } else {
        content.document_case = MINTMARK__V1__SIGNED_DOCUMENT__DOCUMENT_REPORT_RECEIPT;
        content.report_receipt = &j->receipt;
    }
    j->import.document = (ProtobufCBinaryData){
        sign(oem_key, oem_certificate, &content, j->document, sizeof(j->document)), j->document};
}

void make_revocation(struct document_job *j, const char *order_id)
{
    init_document(j);
    mintmark__v1__order_revocation__init(&j->revocation);
    j->revocation.order_id = TEXT(order_id);
    j->revocation.reason = TEXT("contract ended");
    j->revocation.time_ms = T0;
    j->revocation.appliance_sha256 =
        (ProtobufCBinaryData){sizeof(fixture_identity), fixture_identity};
    sign_document(j);
}

void make_receipt(struct document_job *j, const char *order_id, uint64_t devices, int64_t time_ms)
{
    init_document(j);
    mintmark__v1__report_receipt__init(&j->receipt);
    j->receipt.order_id = TEXT(order_id);
    j->receipt.devices = devices;
    j->receipt.time_ms = time_ms;
    j->receipt.appliance_sha256 = (ProtobufCBinaryData){sizeof(fixture_identity), fixture_identity};
    sign_document(j);
}

void make_change(struct small_job *j, const char *order_id, Mintmark__V1__OrderAction action)
{
    init_job(&j->job, MINTMARK__INTERNAL__STORE_JOB__JOB_CHANGE_ORDER);
    j->job.change_order = &j->change;
    mintmark__internal__change_order__init(&j->change);
    mintmark__v1__order_limits__init(&j->limits);
    j->change.order_id = TEXT(order_id);
    j->change.action = action;
    j->change.limits = &j->limits;
    j->change.reason = TEXT("said so");
    j->change.now_ms = T0 + 100;
    j->change.by = TEXT("officer-1");
}

void make_get_order(struct small_job *j, const char *order_id)
{
    init_job(&j->job, MINTMARK__INTERNAL__STORE_JOB__JOB_GET_ORDER);
    j->job.get_order = &j->get_order;
    mintmark__internal__get_order__init(&j->get_order);
    j->get_order.order_id = TEXT(order_id);
    j->get_order.now_ms = T0 + 100;
}
