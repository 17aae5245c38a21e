/* SPDX-License-Identifier: Apache-2.0 */
/* Devices whose certificates come from elsewhere, and jobs for them, on a store of store_fixture.h.
 */
#pragma once

#include "tests/unit/check_main.h"
#include "tests/unit/store_fixture.h"

#include <openssl/ec.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>

enum { DEVICES = 8, LATER = T0 + 60000 };

static struct fixture f;
static struct spend_job j;
static EVP_PKEY *keys[DEVICES + 1]; /* by the device's number; 0 is the CA's */
static uint8_t hashes[DEVICES + 1][32];
static uint8_t bundles[DEVICES + 1][256];

/* ---- keys and certificates --------------------------------------------------------------- */

static inline void make_keys(void)
{
    for (unsigned i = 0; i <= DEVICES; i++) {
        uint8_t *spki = NULL;
        int len;

        keys[i] = EVP_EC_gen("P-256");
        ck_assert_ptr_nonnull(keys[i]);
        len = i2d_PUBKEY(keys[i], &spki);
        ck_assert_int_gt(len, 0);
        ck_assert_int_eq(EVP_Digest(spki, (size_t)len, hashes[i], NULL, EVP_sha256(), NULL), 1);
        OPENSSL_free(spki);
    }
}

struct certificate {
    uint8_t *der;
    size_t len;
};

static inline struct certificate certify(EVP_PKEY *key, int64_t serial, const char *ca)
{
    X509 *x = X509_new();
    X509_NAME *name = X509_NAME_new();
    struct certificate c = {0};
    int len;

    ck_assert(x && name);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)ca, -1, -1, 0);
    ASN1_INTEGER_set_int64(X509_get_serialNumber(x), serial);
    X509_set_version(x, X509_VERSION_3);
    X509_set_issuer_name(x, name);
    X509_gmtime_adj(X509_getm_notBefore(x), 0);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_set_pubkey(x, key);
    ck_assert_int_gt(X509_sign(x, keys[0], EVP_sha256()), 0);
    len = i2d_X509(x, &c.der);
    ck_assert_int_gt(len, 0);
    c.len = (size_t)len;
    X509_free(x);
    X509_NAME_free(name);
    return c;
}

/* ---- jobs -------------------------------------------------------------------------------- */

static Mintmark__Internal__Waiting waiting;

/* Devices with real bundles, whose keys are those of their numbers. */
static inline void put_requests(struct spend_job *job, unsigned first, bool begun)
{
    mintmark__internal__waiting__init(&waiting);
    waiting.max = 1000;
    waiting.begun = begun;
    waiting.next_time_ms = begun ? LATER : T0;
    job->spend.waiting = &waiting;
    fixture_chain(0, &job->spend.chain, &job->spend.chain_sha256);
    for (unsigned i = 0; i < job->spend.n_devices; i++) {
        Mintmark__V1__Bundle b = MINTMARK__V1__BUNDLE__INIT;
        char uid[MM_UID_LEN + 1], csr[32], name[16];

        snprintf(uid, sizeof(uid), "uid of %u", first + i);
        snprintf(csr, sizeof(csr), "request of device %u", first + i);
        snprintf(name, sizeof(name), "user-%u", first + i);
        b.device_uid = uid;
        b.number = first + i;
        b.csr = (ProtobufCBinaryData){strlen(csr), (uint8_t *)csr};
        b.private_key = (ProtobufCBinaryData){7, (uint8_t *)TEXT("wrapped")};
        job->devices[i].bundle.len = mintmark__v1__bundle__pack(&b, bundles[first + i]);
        job->devices[i].bundle.data = bundles[first + i];
        job->devices[i].serial = (ProtobufCBinaryData){0};
        job->devices[i].spki_sha256 = (ProtobufCBinaryData){32, hashes[first + i]};
        snprintf(job->hw_serials[i], sizeof(job->hw_serials[i]), "%s", name);
        job->devices[i].username = job->hw_serials[i];
    }
}

static inline void make_requests(const char *request_id, unsigned count, unsigned first, unsigned n,
                                 bool begun)
{
    make_spend(&j, 1, request_id, count, first, n);
    put_requests(&j, first, begun);
}

static inline void record(const char *request_id, unsigned count, unsigned first, unsigned n,
                          bool begun)
{
    make_requests(request_id, count, first, n, begun);
    ck_assert_msg(fixture_do(&f, &j.job) == MM_OK, "%s", fixture_reason(&f, 0));
}

struct change_job {
    Mintmark__Internal__StoreJob job;
    union {
        Mintmark__Internal__TakeWaiting take;
        Mintmark__Internal__CertifyDevices certify;
        Mintmark__Internal__ChangeEnrolment change;
        Mintmark__Internal__ListWithheld list;
        Mintmark__Internal__RevokeDevice revoke;
        Mintmark__Internal__TakeRevocations take_revocations;
        Mintmark__Internal__EndRevocation end;
    };
    Mintmark__Internal__CertifyDevices__Certificate certificates[DEVICES], *pointers[DEVICES];
    uint8_t uids[DEVICES][16];
};
static struct change_job c;

#define JOB(field, CASE, type)                                                                     \
    do {                                                                                           \
        mintmark__internal__store_job__init(&c.job);                                               \
        c.job.job_case = MINTMARK__INTERNAL__STORE_JOB__JOB_##CASE;                                \
        mintmark__internal__##type##__init(&c.field);                                              \
    } while (0)

static inline ProtobufCBinaryData uid(unsigned slot, unsigned number)
{
    struct spend_job other;

    make_spend(&other, 1, "x", 1, number, 1);
    memcpy(c.uids[slot], other.uids[0], 16);
    return (ProtobufCBinaryData){16, c.uids[slot]};
}

static inline void make_take(int64_t now_ms, uint32_t limit)
{
    JOB(take, TAKE_WAITING, take_waiting);
    c.job.take_waiting = &c.take;
    c.take.profile = TEXT(PROFILE);
    c.take.now_ms = now_ms;
    c.take.next_time_ms = now_ms + 60000;
    c.take.limit = limit;
}

static inline const Mintmark__Internal__WaitingPage *take(int64_t now_ms, uint32_t limit)
{
    make_take(now_ms, limit);
    ck_assert_msg(fixture_do(&f, &c.job) == MM_OK, "%s", fixture_reason(&f, 0));
    return f.results[0]->waiting_page;
}

static inline void make_certify(unsigned n)
{
    JOB(certify, CERTIFY, certify_devices);
    c.job.certify = &c.certify;
    c.certify.certificates = c.pointers;
    c.certify.n_certificates = n;
    for (unsigned i = 0; i < n; i++) {
        mintmark__internal__certify_devices__certificate__init(&c.certificates[i]);
        c.pointers[i] = &c.certificates[i];
    }
}

static inline void put_certificate(unsigned i, unsigned number, const struct certificate *cert)
{
    c.certificates[i].uid = uid(i, number);
    c.certificates[i].certificate = (ProtobufCBinaryData){cert->len, cert->der};
}

static inline const char *certify_one(unsigned number, const struct certificate *cert)
{
    make_certify(1);
    put_certificate(0, number, cert);
    ck_assert_msg(fixture_do(&f, &c.job) == MM_OK, "%s", fixture_reason(&f, 0));
    ck_assert_uint_eq(f.results[0]->certified->n_devices, 1);
    return f.results[0]->certified->devices[0]->error
               ? f.results[0]->certified->devices[0]->error->reason
               : "";
}

static inline struct certificate give(unsigned number)
{
    struct certificate cert = certify(keys[number], 1000 + number, "CA");

    ck_assert_str_eq(certify_one(number, &cert), "");
    return cert;
}

static inline void done(struct certificate cert)
{
    OPENSSL_free(cert.der);
}

static inline void make_step(unsigned number, Mintmark__Internal__EnrolmentAction action,
                             const char *text)
{
    JOB(change, CHANGE_ENROLMENT, change_enrolment);
    c.job.change_enrolment = &c.change;
    c.change.uid = uid(0, number);
    c.change.action = action;
    c.change.text = TEXT(text);
    c.change.now_ms = T0 + 8;
    c.change.next_time_ms = LATER;
}

#define ACTION(name) MINTMARK__INTERNAL__ENROLMENT_ACTION__ENROLMENT_ACTION_##name
#define CSTATE(name) MINTMARK__V1__CERTIFICATE_STATE__CERTIFICATE_STATE_##name

static inline const Mintmark__Internal__Settled *
change(unsigned number, Mintmark__Internal__EnrolmentAction action, const char *text)
{
    make_step(number, action, text);
    ck_assert_msg(fixture_do(&f, &c.job) == MM_OK, "%s", fixture_reason(&f, 0));
    return f.results[0]->settled;
}

static inline const Mintmark__Internal__Fetched *fetch(const char *request_id, uint64_t after,
                                                       bool settled, bool withheld)
{
    struct small_job fetch;

    make_fetch(&fetch, request_id, after, 2);
    fetch.fetch.settled = settled;
    fetch.fetch.withheld = withheld;
    ck_assert_msg(fixture_do(&f, &fetch.job) == MM_OK, "%s", fixture_reason(&f, 0));
    return f.results[0]->fetched;
}

static inline const Mintmark__Internal__DeviceFound *get(unsigned number)
{
    struct small_job get;

    make_get_device(&get, number);
    ck_assert_int_eq(fixture_do(&f, &get.job), MM_OK);
    return f.results[0]->device;
}

static inline void refused(unsigned number, struct certificate cert, const char *reason)
{
    char *before = fixture_dump(&f), *after;

    ck_assert_str_eq(certify_one(number, &cert), reason);
    after = fixture_dump(&f);
    ck_assert_str_eq(before, after);
    free(before);
    free(after);
    done(cert);
}

static inline void setup_keys(void)
{
    make_keys();
}

static inline void teardown_keys(void)
{
    for (unsigned i = 0; i <= DEVICES; i++)
        EVP_PKEY_free(keys[i]);
}

static inline void setup(void)
{
    fixture_setup(&f);
    fixture_populate(&f, 10);
}

static inline void teardown(void)
{
    fixture_check_invariants(&f);
    fixture_teardown(&f);
}
