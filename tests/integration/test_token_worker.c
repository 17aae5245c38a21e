/* SPDX-License-Identifier: Apache-2.0 */
/* mintmark-token as a process, with a real token; what it makes is read by libcrypto alone. */
#include "daemon/base/clock.h"
#include "daemon/base/limits.h"
#include "daemon/base/text.h"
#include "daemon/ipc/worker.h"
#include "mintmark/v1/types.pb-c.h"
#include "pkcs11/token.h"
#include "tests/integration/token_site.h"
#include "tests/unit/check_main.h"

#include <openssl/evp.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const struct token_kind *kind;
static struct token_site site;

static void setup(void)
{
    site_make(&site, kind);
}

static void teardown(void)
{
    site_done(&site);
}

static Mintmark__Internal__MintJob mint_job(const char *profile, uint32_t count)
{
    Mintmark__Internal__MintJob job;

    mintmark__internal__mint_job__init(&job);
    job.profile = (char *)(uintptr_t)profile;
    job.batch_uid = (char *)(uintptr_t) "0193537b-1f4c-7abc-8def-001122334455";
    job.first_number = 1000;
    job.count = count;
    return job;
}

static X509 *certificate(const Mintmark__V1__Bundle *b)
{
    const uint8_t *at = b->certificate.data;
    X509 *cert = d2i_X509(NULL, &at, (long)b->certificate.len);

    ck_assert_ptr_nonnull(cert);
    ck_assert_ptr_eq(at, b->certificate.data + b->certificate.len);
    return cert;
}

static void verify_chain(X509 *leaf)
{
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    STACK_OF(X509) *untrusted = sk_X509_new_null();

    X509_STORE_add_cert(store, site.chain.paa);
    X509_STORE_set_flags(store, X509_V_FLAG_X509_STRICT);
    sk_X509_push(untrusted, site.chain.pai);
    X509_STORE_CTX_init(ctx, store, leaf, untrusted);
    ck_assert_msg(X509_verify_cert(ctx) == 1, "%s",
                  X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)));
    sk_X509_free(untrusted);
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(store);
}

static EVP_PKEY *unwrap(const ProtobufCBinaryData *wrapped)
{
    EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, "AES-256-WRAP-PAD", NULL);
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    uint8_t der[512];
    const uint8_t *at = der;
    int len = 0;
    EVP_PKEY *key;

    ck_assert_uint_le(wrapped->len, sizeof(der));
    ck_assert_int_eq(EVP_DecryptInit_ex2(ctx, cipher, site.transport_key, NULL, NULL), 1);
    ck_assert_int_eq(EVP_DecryptUpdate(ctx, der, &len, wrapped->data, (int)wrapped->len), 1);
    key = d2i_AutoPrivateKey(NULL, &at, len);
    ck_assert_ptr_nonnull(key);
    EVP_CIPHER_CTX_free(ctx);
    EVP_CIPHER_free(cipher);
    return key;
}

static EVP_PKEY *plain_key(const ProtobufCBinaryData *der)
{
    const uint8_t *at = der->data;
    EVP_PKEY *key = d2i_AutoPrivateKey(NULL, &at, (long)der->len);

    ck_assert_ptr_nonnull(key);
    return key;
}

static Mintmark__V1__Bundle *bundle_of(const Mintmark__Internal__DeviceRecord *record)
{
    Mintmark__V1__Bundle *b =
        mintmark__v1__bundle__unpack(NULL, record->bundle.len, record->bundle.data);

    ck_assert_ptr_nonnull(b);
    return b;
}

/* What the store keeps of a device is what its bundle says. */
static void check_record(const Mintmark__Internal__DeviceRecord *record,
                         const Mintmark__V1__Bundle *b, X509 *cert, EVP_PKEY *key)
{
    const ASN1_INTEGER *serial = cert ? X509_get0_serialNumber(cert) : NULL;
    uint8_t uid[16], digest[32], *spki = NULL;
    const int len = i2d_PUBKEY(key, &spki);
    BIGNUM *want = BN_bin2bn(record->serial.data, (int)record->serial.len, NULL), *have;

    ck_assert_int_eq(mm_uuid_parse(b->device_uid, uid), MM_OK);
    ck_assert_int_eq(uid[6] >> 4, 7);
    ck_assert_uint_eq(record->uid.len, 16);
    ck_assert_mem_eq(record->uid.data, uid, 16);
    ck_assert_uint_eq(record->number, b->number);
    ck_assert_str_eq(record->hw_serial, b->hw_serial);
    SHA256(spki, (size_t)len, digest);
    ck_assert_uint_eq(record->spki_sha256.len, 32);
    ck_assert_mem_eq(record->spki_sha256.data, digest, 32);
    ck_assert_uint_eq(record->serial.len, cert ? 20 : 0);
    have = serial ? ASN1_INTEGER_to_BN(serial, NULL) : BN_new();
    ck_assert_int_eq(BN_cmp(want, have), 0);
    ck_assert_int_eq(BN_is_negative(have), 0);
    BN_free(want);
    BN_free(have);
    OPENSSL_free(spki);
}

static void assert_no_error(const Mintmark__Internal__TokenResult *r)
{
    ck_assert_msg(!r->error, "%s", r->error ? r->error->text : "");
}

START_TEST(ready_names_token_and_profiles)
{
    struct worker w = worker_start(&site, "factory");
    const Mintmark__Internal__TokenReady *ready;
    Mintmark__V1__Delivery *d;
    uint8_t digest[32];

    assert_no_error(w.ready);
    ck_assert_int_eq((int)w.ready->result_case,
                     (int)MINTMARK__INTERNAL__TOKEN_RESULT__RESULT_READY);
    ready = w.ready->ready;
    ck_assert_str_eq(ready->token_label, "factory");
    ck_assert_uint_eq(ready->n_profiles, 5);
    ck_assert_str_eq(ready->profiles[0]->profile, "dac");
    d = mintmark__v1__delivery__unpack(NULL, ready->profiles[0]->delivery.len,
                                       ready->profiles[0]->delivery.data);
    ck_assert_ptr_nonnull(d);
    ck_assert_uint_eq(d->n_bundles, 0);
    ck_assert_uint_eq(d->n_chain, 2);
    ck_assert_str_eq(d->key_wrap->transport_key, "centre");
    ck_assert_str_eq(d->key_wrap->algorithm, "AES-256-KWP");
    ck_assert_uint_eq(d->key_wrap->check_value.len, 8);
    ck_assert_uint_eq(d->n_items, 2);
    ck_assert_str_eq(d->items[0]->name, "settings");
    ck_assert_uint_eq(d->items[0]->content.len, 8);
    SHA256((const uint8_t *)"settings", 8, digest);
    ck_assert_mem_eq(d->items[0]->sha256.data, digest, 32);
    ck_assert_str_eq(d->items[1]->reference, "https://files.example/f");
    ck_assert_uint_eq(d->items[1]->size, 5);
    ck_assert_int_eq(d->items[1]->sha256.data[1], 0x11);
    mintmark__v1__delivery__free_unpacked(d, NULL);
    ck_assert_int_eq(worker_stop(&w), MM_EXIT_OK);
}
END_TEST

START_TEST(mint_wrapped_chunk_verifies)
{
    struct worker w = worker_start(&site, "factory");
    Mintmark__Internal__MintJob job = mint_job("dac", MM_CHUNK_DEVICES);
    Mintmark__Internal__TokenResult *r = worker_mint(&w, &job, 0);

    assert_no_error(r);
    ck_assert_uint_eq(r->mint->n_devices, MM_CHUNK_DEVICES);
    ck_assert_uint_eq(r->mint->sampled_devices, MM_CHUNK_DEVICES);
    ck_assert_uint_gt(r->mint->token_cpu_us, 0);
    for (size_t i = 0; i < r->mint->n_devices; i++) {
        Mintmark__V1__Bundle *b = bundle_of(r->mint->devices[i]);
        X509 *cert = certificate(b);
        EVP_PKEY *key = unwrap(&b->private_key);
        char cn[80], want[80];

        ck_assert_uint_eq(b->number, 1000 + i);
        ck_assert_str_eq(b->batch_uid, job.batch_uid);
        ck_assert_int_eq((int)b->key_delivery,
                         (int)MINTMARK__V1__KEY_DELIVERY__KEY_DELIVERY_WRAPPED);
        ck_assert_uint_eq(b->csr.len, 0);
        ck_assert_str_eq(b->key_id, "");
        verify_chain(cert);
        ck_assert_int_eq(EVP_PKEY_eq(X509_get0_pubkey(cert), key), 1);
        snprintf(want, sizeof(want), "dac_%020zu", 1000 + i);
        X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, cn, sizeof(cn));
        ck_assert_str_eq(cn, want);
        check_record(r->mint->devices[i], b, cert, key);
        EVP_PKEY_free(key);
        X509_free(cert);
        mintmark__v1__bundle__free_unpacked(b, NULL);
    }
    mintmark__internal__token_result__free_unpacked(r, NULL);
    ck_assert_int_eq(worker_stop(&w), MM_EXIT_OK);
}
END_TEST

START_TEST(mint_requests_verify_under_their_keys)
{
    struct worker w = worker_start(&site, "factory");
    Mintmark__Internal__MintJob job = mint_job("csr", 3);
    Mintmark__Internal__TokenResult *r = worker_mint(&w, &job, 0);

    assert_no_error(r);
    for (size_t i = 0; i < r->mint->n_devices; i++) {
        Mintmark__V1__Bundle *b = bundle_of(r->mint->devices[i]);
        const uint8_t *at = b->csr.data;
        X509_REQ *req = d2i_X509_REQ(NULL, &at, (long)b->csr.len);
        EVP_PKEY *key = unwrap(&b->private_key);

        ck_assert_uint_eq(b->certificate.len, 0);
        ck_assert_int_eq(X509_REQ_verify(req, key), 1);
        ck_assert_int_eq(EVP_PKEY_get_bits(key), 384);
        check_record(r->mint->devices[i], b, NULL, key);
        EVP_PKEY_free(key);
        X509_REQ_free(req);
        mintmark__v1__bundle__free_unpacked(b, NULL);
    }
    mintmark__internal__token_result__free_unpacked(r, NULL);
    ck_assert_int_eq(worker_stop(&w), MM_EXIT_OK);
}
END_TEST

START_TEST(mint_hardware_serials_are_in_the_certificates)
{
    struct worker w = worker_start(&site, "factory");
    Mintmark__Internal__MintJob job = mint_job("idevid", 2);
    char one[] = "SN-1", two[] = "SN-2";
    char *serials[] = {one, two};
    Mintmark__Internal__TokenResult *r;

    job.hw_serials = serials;
    job.n_hw_serials = 2;
    r = worker_mint(&w, &job, 0);
    assert_no_error(r);
    for (size_t i = 0; i < 2; i++) {
        Mintmark__V1__Bundle *b = bundle_of(r->mint->devices[i]);
        X509 *cert = certificate(b);
        char value[80];

        ck_assert_str_eq(b->hw_serial, serials[i]);
        X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_serialNumber, value,
                                  sizeof(value));
        ck_assert_str_eq(value, serials[i]);
        X509_free(cert);
        mintmark__v1__bundle__free_unpacked(b, NULL);
    }
    mintmark__internal__token_result__free_unpacked(r, NULL);
    ck_assert_int_eq(worker_stop(&w), MM_EXIT_OK);
}
END_TEST

START_TEST(mint_plain_and_retained_deliver_as_named)
{
    struct worker w = worker_start(&site, "factory");
    Mintmark__Internal__MintJob bare = mint_job("bare", 1), kept = mint_job("kept", 1);
    Mintmark__Internal__TokenResult *r = worker_mint(&w, &bare, 0);
    Mintmark__V1__Bundle *b;
    X509 *cert;
    EVP_PKEY *key;
    char uri[128];

    assert_no_error(r);
    b = bundle_of(r->mint->devices[0]);
    cert = certificate(b);
    key = plain_key(&b->private_key);
    ck_assert_int_eq((int)b->key_delivery, (int)MINTMARK__V1__KEY_DELIVERY__KEY_DELIVERY_PLAIN);
    ck_assert_int_eq(EVP_PKEY_eq(X509_get0_pubkey(cert), key), 1);
    EVP_PKEY_free(key);
    X509_free(cert);
    mintmark__v1__bundle__free_unpacked(b, NULL);
    mintmark__internal__token_result__free_unpacked(r, NULL);

    r = worker_mint(&w, &kept, 0);
    assert_no_error(r);
    b = bundle_of(r->mint->devices[0]);
    ck_assert_int_eq((int)b->key_delivery, (int)MINTMARK__V1__KEY_DELIVERY__KEY_DELIVERY_RETAINED);
    ck_assert_uint_eq(b->private_key.len, 0);
    snprintf(uri, sizeof(uri), "pkcs11:token=factory;object=%s;type=private", b->device_uid);
    ck_assert_str_eq(b->key_id, uri);
    mintmark__v1__bundle__free_unpacked(b, NULL);
    mintmark__internal__token_result__free_unpacked(r, NULL);
    ck_assert_int_eq(worker_stop(&w), MM_EXIT_OK);
}
END_TEST

static void expect_error(struct worker *w, Mintmark__Internal__MintJob *job, int64_t deadline,
                         int code, const char *reason)
{
    Mintmark__Internal__TokenResult *r = worker_mint(w, job, deadline);

    ck_assert_ptr_nonnull(r->error);
    ck_assert_int_eq(r->error->code, code);
    ck_assert_str_eq(r->error->reason, reason);
    mintmark__internal__token_result__free_unpacked(r, NULL);
}

START_TEST(mint_senseless_job_is_refused_and_the_worker_lives)
{
    struct worker w = worker_start(&site, "factory");
    Mintmark__Internal__MintJob job = mint_job("nothing", 1);
    Mintmark__Internal__TokenJob ping;
    Mintmark__Internal__TokenPing body;
    Mintmark__Internal__TokenResult *r;
    char serial[] = "a";
    char *serials[] = {serial};

    mintmark__internal__token_job__init(&ping);
    mintmark__internal__token_ping__init(&body);
    expect_error(&w, &job, 0, MM_ERR_NOT_FOUND, "UNKNOWN_PROFILE");
    job = mint_job("dac", 0);
    expect_error(&w, &job, 0, MM_ERR_INVALID, "INVALID_FIELD");
    job.count = MM_CHUNK_DEVICES + 1;
    expect_error(&w, &job, 0, MM_ERR_INVALID, "INVALID_FIELD");
    job = mint_job("dac", 2);
    job.first_number = 0;
    expect_error(&w, &job, 0, MM_ERR_INVALID, "INVALID_FIELD");
    job.first_number = UINT64_MAX;
    expect_error(&w, &job, 0, MM_ERR_INVALID, "INVALID_FIELD");
    job = mint_job("dac", 2);
    job.hw_serials = serials;
    job.n_hw_serials = 1;
    expect_error(&w, &job, 0, MM_ERR_INVALID, "INVALID_FIELD");
    job = mint_job("idevid", 1);
    expect_error(&w, &job, 0, MM_ERR_INVALID, "INVALID_FIELD");
    job = mint_job("dac", 1);
    expect_error(&w, &job, mm_clock_mono_us() - 1, MM_ERR_TIMEOUT, "DEADLINE_EXCEEDED");
    ping.id = 77;
    ping.job_case = MINTMARK__INTERNAL__TOKEN_JOB__JOB_PING;
    ping.ping = &body;
    worker_send(&w, &ping);
    r = worker_receive(&w);
    ck_assert_uint_eq(r->id, 77);
    assert_no_error(r);
    mintmark__internal__token_result__free_unpacked(r, NULL);
    ck_assert_int_eq(worker_stop(&w), MM_EXIT_OK);
}
END_TEST

/* An officer deletes a key that the worker needs; then nobody asks for anything. */
START_TEST(a_key_that_is_gone_ends_a_worker_without_work)
{
    struct worker w = worker_start(&site, "factory");
    struct mm_token *t = site_token(&site);
    struct mm_keypair gone = {.public_key = 0};
    Mintmark__Internal__TokenJob ping;
    Mintmark__Internal__TokenPing body;
    Mintmark__Internal__TokenResult *r;
    struct mm_errinfo ei;

    ck_assert_int_eq(
        mm_token_find(t, "pkcs11:object=centre", MM_KEY_SECRET, &gone.private_key, &ei), MM_OK);
    mm_token_destroy(t, &gone);
    mm_token_free(t);
    mintmark__internal__token_job__init(&ping);
    mintmark__internal__token_ping__init(&body);
    ping.id = 78;
    ping.job_case = MINTMARK__INTERNAL__TOKEN_JOB__JOB_PING;
    ping.ping = &body;
    worker_send(&w, &ping);
    r = worker_receive(&w);
    ck_assert_uint_eq(r->id, 78);
    ck_assert_ptr_nonnull(r->error);
    ck_assert_str_eq(r->error->reason, "TOKEN_UNAVAILABLE");
    ck_assert_ptr_nonnull(strstr(r->error->text, "centre"));
    mintmark__internal__token_result__free_unpacked(r, NULL);
    ck_assert_int_eq(worker_wait(&w), MM_EXIT_FAILED);
}
END_TEST

START_TEST(channel_with_garbage_ends_the_worker)
{
    struct worker w = worker_start(&site, "factory");

    ck_assert_int_eq(write(w.fd, "\0\0\0\0\2\xff\xff", 7), 7);
    ck_assert_int_eq(worker_wait(&w), MM_EXIT_CHANNEL);
}
END_TEST

/* The worker must say why it does not start, and exit so. */
static void expect_refusal(const char *section, int code, const char *part_of_text, int status)
{
    struct worker w = worker_start(&site, section);

    ck_assert_ptr_nonnull(w.ready->error);
    ck_assert_msg(w.ready->error->code == code && strstr(w.ready->error->text, part_of_text),
                  "%d %s", w.ready->error->code, w.ready->error->text);
    ck_assert_int_eq(worker_wait(&w), status);
}

START_TEST(start_wrong_pin_is_refused_with_its_own_exit)
{
    struct worker w;

    site_write(&site, "pin", "battery staple\n", 15);
    w = worker_start(&site, "factory");
    ck_assert_int_eq(w.ready->error->code, MM_ERR_PIN);
    site_write(&site, "pin", "battery staple\n", 15); /* the same again is not tried */
    ck_assert_int_eq(worker_stop(&w), MM_EXIT_PIN);
}
END_TEST

START_TEST(refused_pin_is_awaited_another)
{
    struct worker w;

    site_write(&site, "pin", "battery staple\n", 15);
    w = worker_start(&site, "factory");
    ck_assert_int_eq(w.ready->error->code, MM_ERR_PIN);
    site_write(&site, "pin", SITE_PIN "\n", strlen(SITE_PIN) + 1);
    ck_assert_int_eq(worker_wait(&w), MM_EXIT_PIN_NEW);
    w = worker_start(&site, "factory");
    ck_assert_ptr_null(w.ready->error);
    ck_assert_int_eq(worker_stop(&w), MM_EXIT_OK);
}
END_TEST

START_TEST(start_missing_things_are_refused)
{
    expect_refusal("nowhere", MM_ERR_NOT_FOUND, "no token section \"nowhere\"", MM_EXIT_FAILED);
    site_edit(&site, "settings.bin", "nothing.bin");
    expect_refusal("factory", MM_ERR_NOT_FOUND, "item \"settings\"", MM_EXIT_FAILED);
    site_edit(&site, "nothing.bin", "settings.bin");
    site_edit(&site, "object=centre", "object=center");
    expect_refusal("factory", MM_ERR_NOT_FOUND, "transport \"centre\"", MM_EXIT_FAILED);
    site_edit(&site, "object=center", "object=centre");
    site_edit(&site, "object=pai", "object=pie");
    expect_refusal("factory", MM_ERR_NOT_FOUND, "issuer \"pai\"", MM_EXIT_FAILED);
    site_edit(&site, "object=pie", "object=pai");
    site_edit(&site, "token=factory", "token=plant");
    expect_refusal("factory", MM_ERR_NOT_FOUND, "token \"factory\"", MM_EXIT_FAILED);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("token_worker");
    TCase *t = tcase_create("all");
    const char *why;

    kind = token_kind(&why);
    if (!kind) {
        fprintf(stderr, "skipped: no %s\n", why);
        return 77;
    }
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, ready_names_token_and_profiles);
    tcase_add_test(t, mint_wrapped_chunk_verifies);
    tcase_add_test(t, mint_requests_verify_under_their_keys);
    tcase_add_test(t, mint_hardware_serials_are_in_the_certificates);
    tcase_add_test(t, mint_plain_and_retained_deliver_as_named);
    tcase_add_test(t, mint_senseless_job_is_refused_and_the_worker_lives);
    tcase_add_test(t, a_key_that_is_gone_ends_a_worker_without_work);
    tcase_add_test(t, channel_with_garbage_ends_the_worker);
    tcase_add_test(t, start_wrong_pin_is_refused_with_its_own_exit);
    tcase_add_test(t, refused_pin_is_awaited_another);
    tcase_add_test(t, start_missing_things_are_refused);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
