/* SPDX-License-Identifier: Apache-2.0 */
/* Enrolling keys that devices made: what is certified, what is refused, and a token that fails. */
#include "daemon/token/enroll.h"

#include "daemon/base/clock.h"
#include "mintmark/v1/types.pb-c.h"
#include "tests/unit/mint_fixture.h"

#include <openssl/ec.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

enum { COUNT = 3 };

/* Requests of the devices at hand. */
static struct request {
    EVP_PKEY *key;
    uint8_t *der;
    size_t len;
    char hw_serial[MM_HW_SERIAL_MAX + 2];
} requests[COUNT];

/* The request asks for a CA's certificate in another name. */
static void make_request(struct request *to, unsigned n)
{
    X509_REQ *req = X509_REQ_new();
    STACK_OF(X509_EXTENSION) *wishes = NULL;
    X509_EXTENSION *ca = X509V3_EXT_conf_nid(NULL, NULL, NID_basic_constraints, "critical,CA:TRUE");
    int len;

    to->key = EVP_EC_gen("P-256");
    ck_assert_int_eq(X509_REQ_set_pubkey(req, to->key), 1);
    ck_assert_int_eq(X509_NAME_add_entry_by_txt(X509_REQ_get_subject_name(req), "CN", MBSTRING_UTF8,
                                                (const unsigned char *)"root", -1, -1, 0),
                     1);
    ck_assert_ptr_nonnull(X509v3_add_ext(&wishes, ca, -1));
    ck_assert_int_eq(X509_REQ_add_extensions(req, wishes), 1);
    ck_assert_int_gt(X509_REQ_sign(req, to->key, EVP_sha256()), 0);
    len = i2d_X509_REQ(req, &to->der);
    ck_assert_int_gt(len, 0);
    to->len = (size_t)len;
    snprintf(to->hw_serial, sizeof(to->hw_serial), "SN-%u", n);
    sk_X509_EXTENSION_pop_free(wishes, X509_EXTENSION_free);
    X509_EXTENSION_free(ca);
    X509_REQ_free(req);
}

static void setup_requests(void)
{
    setup_open();
    for (unsigned i = 0; i < COUNT; i++)
        make_request(&requests[i], i);
}

static void teardown_requests(void)
{
    for (size_t i = 0; i < COUNT; i++) {
        EVP_PKEY_free(requests[i].key);
        OPENSSL_free(requests[i].der);
        requests[i] = (struct request){.key = NULL};
    }
    teardown();
}

static int enroll_some(const char *profile, size_t count, int64_t deadline)
{
    Mintmark__Internal__EnrollJob job;
    Mintmark__Internal__EnrollJob__Device devices[COUNT], *list[COUNT];
    char name[16], batch[] = "0193537b-1f4c-7abc-8def-001122334455";

    mintmark__internal__enroll_job__init(&job);
    snprintf(name, sizeof(name), "%s", profile);
    job.profile = name;
    job.batch_uid = batch;
    job.first_number = 1;
    job.devices = list;
    job.n_devices = count;
    for (size_t i = 0; i < count; i++) {
        mintmark__internal__enroll_job__device__init(&devices[i]);
        devices[i].csr = (ProtobufCBinaryData){requests[i].len, requests[i].der};
        devices[i].hw_serial = requests[i].hw_serial;
        list[i] = &devices[i];
    }
    ei = (struct mm_errinfo){0};
    return mm_enroll(minter, &job, deadline, chunk, &ei);
}

static int enroll(const char *profile)
{
    return enroll_some(profile, COUNT, 0);
}

static Mintmark__V1__Bundle *bundle_of(size_t i)
{
    const Mintmark__Internal__Enrolment *e = mm_chunk_enrolled(chunk)->enrolments[i];

    ck_assert_ptr_null(e->error);
    return mintmark__v1__bundle__unpack(NULL, e->device->bundle.len, e->device->bundle.data);
}

static void check_common_name(const X509 *cert, const char *want)
{
    char cn[80] = "";

    X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, cn, sizeof(cn));
    ck_assert_str_eq(cn, want);
}

/* The certificate is the profile's, over the device's key. */
static void check_certificate(const Mintmark__V1__Bundle *b, const struct request *request)
{
    const uint8_t *at = b->certificate.data;
    X509 *cert = d2i_X509(NULL, &at, (long)b->certificate.len);

    ck_assert_ptr_nonnull(cert);
    ck_assert_int_eq(X509_verify(cert, X509_get0_pubkey(chain.pai)), 1);
    ck_assert_int_eq(EVP_PKEY_eq(X509_get0_pubkey(cert), request->key), 1);
    ck_assert_int_eq(X509_check_ca(cert), 0);
    check_common_name(cert, request->hw_serial);
    X509_free(cert);
}

static void check_enrolled(void)
{
    const Mintmark__Internal__EnrollResult *result = mm_chunk_enrolled(chunk);

    ck_assert_uint_eq(result->n_enrolments, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        const Mintmark__Internal__DeviceRecord *record = result->enrolments[i]->device;
        Mintmark__V1__Bundle *b = bundle_of(i);
        uint8_t digest[32], *spki = NULL;
        const int len = i2d_PUBKEY(requests[i].key, &spki);

        EVP_Digest(spki, (size_t)len, digest, NULL, EVP_sha256(), NULL);
        OPENSSL_free(spki);
        ck_assert_mem_eq(record->spki_sha256.data, digest, 32);
        ck_assert_str_eq(record->hw_serial, requests[i].hw_serial);
        ck_assert_uint_eq(b->number, i + 1);
        ck_assert_int_eq((int)b->key_delivery,
                         (int)MINTMARK__V1__KEY_DELIVERY__KEY_DELIVERY_ON_DEVICE);
        ck_assert_uint_eq(b->private_key.len, 0);
        ck_assert_str_eq(b->key_id, "");
        check_certificate(b, &requests[i]);
        mintmark__v1__bundle__free_unpacked(b, NULL);
    }
}

static void refused(size_t i, const char *reason, const char *field)
{
    const Mintmark__Internal__Enrolment *e = mm_chunk_enrolled(chunk)->enrolments[i];

    ck_assert_ptr_null(e->device);
    ck_assert_ptr_nonnull(e->error);
    ck_assert_str_eq(e->error->reason, reason);
    ck_assert_str_eq(e->error->field, field);
}

START_TEST(enroll_certifies_as_the_profile_says)
{
    const size_t before = mock_objects();

    mock_rules("");
    ck_ok(enroll("own"));
    check_enrolled();
    ck_assert_uint_eq(mock_calls("C_Sign"), COUNT);
    ck_assert_uint_eq(mock_calls("C_GenerateKeyPair"), 0);
    ck_assert_uint_eq(mock_objects(), before);
}
END_TEST

START_TEST(enroll_takes_the_request_as_it_is_where_there_is_no_issuer)
{
    mock_rules("");
    ck_ok(enroll("own-csr"));
    for (size_t i = 0; i < COUNT; i++) {
        Mintmark__V1__Bundle *b = bundle_of(i);

        ck_assert_uint_eq(b->certificate.len, 0);
        ck_assert_uint_eq(b->csr.len, requests[i].len);
        ck_assert_mem_eq(b->csr.data, requests[i].der, requests[i].len);
        ck_assert_uint_eq(mm_chunk_enrolled(chunk)->enrolments[i]->device->serial.len, 0);
        mintmark__v1__bundle__free_unpacked(b, NULL);
    }
    ck_assert_uint_eq(mock_calls("C_Sign"), 0);
}
END_TEST

START_TEST(enroll_bad_device_refuses_itself_alone)
{
    Mintmark__V1__Bundle *b;

    requests[0].der[requests[0].len - 1] ^= 1;
    mock_rules("");
    ck_ok(enroll("own"));
    refused(0, "CSR_SIGNATURE", "csr");
    b = bundle_of(1);
    check_certificate(b, &requests[1]);
    mintmark__v1__bundle__free_unpacked(b, NULL);
    ck_assert_uint_eq(mock_calls("C_Sign"), 2);
    requests[2].hw_serial[0] = 0;
    ck_ok(enroll("own"));
    refused(2, "INVALID_FIELD", "hw_serial");
    requests[1].len--;
    ck_ok(enroll("own"));
    refused(1, "CSR_MALFORMED", "csr");
}
END_TEST

START_TEST(enroll_senseless_job_is_refused)
{
    mock_rules("");
    ck_assert_int_eq(enroll("wrapped"), MM_ERR_PRECONDITION);
    ck_assert_str_eq(ei.reason, "PROFILE_MAKES_KEYS");
    ck_assert_int_eq(enroll("none"), MM_ERR_NOT_FOUND);
    ck_assert_int_eq(enroll_some("own", 0, 0), MM_ERR_INVALID);
    ck_assert_int_eq(enroll_some("own", 1, mm_clock_mono_us()), MM_ERR_TIMEOUT);
    ck_assert_uint_eq(mock_calls("*"), 0);
}
END_TEST

static unsigned long calls_of_a_chunk(void)
{
    fresh_session(NULL);
    ck_ok(enroll("own"));
    return mock_calls("*");
}

START_TEST(enroll_refused_call_fails_the_job)
{
    const unsigned long calls = calls_of_a_chunk();
    char rules[40];

    for (unsigned long n = 1; n <= calls; n++) {
        snprintf(rules, sizeof(rules), "*:%lu=0xd1", n);
        fresh_session(rules);
        ck_assert_msg(enroll("own") < 0, "call %lu, %s, got lost", n, mock_failed());
        ck_assert_uint_eq(ei.detail, 0xd1);
    }
}
END_TEST

START_TEST(enroll_recovers_from_a_hiccup_at_each_call)
{
    static const char *const actions[] = {"0x05", "sessions", "0x101"};
    const unsigned long calls = calls_of_a_chunk();
    char rules[40];

    for (unsigned long n = 1; n <= calls; n++) {
        snprintf(rules, sizeof(rules), "*:%lu=%s", n, actions[_i]);
        fresh_session(rules);
        ck_assert_msg(enroll("own") == MM_OK, "call %lu, %s: %s", n, mock_failed(), ei.text);
        check_enrolled();
    }
}
END_TEST

START_TEST(enroll_signature_that_does_not_verify_is_found)
{
    struct mm_minting *p = mm_minter_profile(minter, "own");
    struct mm_bytes other;

    mm_verifier_free(p->verifier);
    ck_ok(mm_pki_certificate_point(chain.paa, &other, &ei));
    ck_ok(mm_verifier_new(other.data, other.len, &p->verifier, &ei));
    ck_assert_int_eq(enroll("own"), MM_ERR_CORRUPT);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("enroll");
    TCase *t = tcase_create("open");

    tcase_add_checked_fixture(t, setup_requests, teardown_requests);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, enroll_certifies_as_the_profile_says);
    tcase_add_test(t, enroll_takes_the_request_as_it_is_where_there_is_no_issuer);
    tcase_add_test(t, enroll_bad_device_refuses_itself_alone);
    tcase_add_test(t, enroll_senseless_job_is_refused);
    tcase_add_test(t, enroll_refused_call_fails_the_job);
    tcase_add_loop_test(t, enroll_recovers_from_a_hiccup_at_each_call, 0, 3);
    tcase_add_test(t, enroll_signature_that_does_not_verify_is_found);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
