/* SPDX-License-Identifier: Apache-2.0 */
/* A CA, a profile that it issues for, and certificates of it, with OpenSSL's own builders. */
#pragma once

#include "daemon/pki/csr.h"
#include "daemon/pki/internal.h"
#include "daemon/pki/issued.h"
#include "tests/unit/check_main.h"
#include "tests/unit/pki_support.h"

#include <openssl/ec.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <string.h>

static EVP_PKEY *ca_key, *device_key, *other_key;
static X509 *ca;
static struct mm_profile *profile;
static struct mm_ca_key *issuer_key;
static uint8_t point[65];
static struct mm_subject subject;

static inline EVP_PKEY *make_key(void)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");

    ck_assert_ptr_nonnull(key);
    return key;
}

static inline X509_NAME *name_of(const char *const *parts)
{
    X509_NAME *name = X509_NAME_new();

    for (; *parts; parts += 2)
        ck_assert(X509_NAME_add_entry_by_txt(name, parts[0], V_ASN1_UTF8STRING,
                                             (const unsigned char *)parts[1], -1, -1, 0));
    return name;
}

static inline void add_extension(X509 *cert, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509_EXTENSION *extension;

    X509V3_set_ctx(&ctx, ca, cert, NULL, NULL, 0);
    extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    ck_assert_msg(extension != NULL, "%s", value);
    ck_assert(X509_add_ext(cert, extension, -1));
    X509_EXTENSION_free(extension);
}

/* What a certificate is made of; a test changes some of it. */
struct recipe {
    const char *subject[9];
    EVP_PKEY *key, *signer;
    const char *issuer;
    const char *not_before, *not_after;
    const char *basic_constraints, *key_usage, *san, *ski, *aki, *extra;
    int extra_nid;
    const EVP_MD *md;
    const uint8_t *serial;
    size_t serial_len;
    long version;
    int salt;           /* of RSASSA-PSS; 0: PKCS #1 v1.5, or ECDSA */
    const EVP_MD *mask; /* of RSASSA-PSS; NULL: md */
};

static inline void sign_with(X509 *cert, const struct recipe *r)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *key = NULL;

    ck_assert_int_eq(EVP_DigestSignInit(ctx, &key,
                                        EVP_PKEY_is_a(r->signer, "ED25519") ? NULL : r->md, NULL,
                                        r->signer),
                     1);
    if (r->salt != 0) {
        ck_assert_int_eq(EVP_PKEY_CTX_set_rsa_padding(key, RSA_PKCS1_PSS_PADDING), 1);
        ck_assert_int_eq(EVP_PKEY_CTX_set_rsa_pss_saltlen(key, r->salt), 1);
        ck_assert_int_eq(EVP_PKEY_CTX_set_rsa_mgf1_md(key, r->mask ? r->mask : r->md), 1);
    }
    ck_assert_int_gt(X509_sign_ctx(cert, ctx), 0);
    EVP_MD_CTX_free(ctx);
}

static const uint8_t a_serial[] = {0x7f, 1, 2, 3};

static inline struct recipe good_recipe(void)
{
    return (struct recipe){
        .subject = {"CN", "Widget 7", "O", "Example", NULL},
        .key = device_key,
        .signer = ca_key,
        .issuer = "Issuing CA",
        .not_before = "20261121235000Z",
        .not_after = "20361121235000Z",
        .basic_constraints = "critical,CA:FALSE",
        .key_usage = "critical,digitalSignature",
        .san = "DNS:w7.example,URI:urn:w:7",
        .ski = "hash",
        .aki = "keyid",
        .md = EVP_sha256(),
        .serial = a_serial,
        .serial_len = sizeof(a_serial),
        .version = 2,
    };
}

static inline X509 *make(const struct recipe *r)
{
    const char *const issuer[] = {"CN", r->issuer, NULL};
    X509 *cert = X509_new();
    BIGNUM *serial = BN_bin2bn(r->serial, (int)r->serial_len, NULL);
    ASN1_TIME *time = ASN1_TIME_new();
    X509_NAME *name = name_of(r->subject);

    X509_set_version(cert, X509_VERSION_3);
    BN_to_ASN1_INTEGER(serial, X509_get_serialNumber(cert));
    X509_set_subject_name(cert, name);
    X509_NAME_free(name);
    name = name_of(issuer);
    X509_set_issuer_name(cert, name);
    X509_NAME_free(name);
    ck_assert(ASN1_TIME_set_string_X509(time, r->not_before) && X509_set1_notBefore(cert, time));
    ck_assert(ASN1_TIME_set_string_X509(time, r->not_after) && X509_set1_notAfter(cert, time));
    X509_set_pubkey(cert, r->key);
    ASN1_TIME_free(time);
    BN_free(serial);
    if (r->basic_constraints)
        add_extension(cert, NID_basic_constraints, r->basic_constraints);
    if (r->key_usage)
        add_extension(cert, NID_key_usage, r->key_usage);
    if (r->san)
        add_extension(cert, NID_subject_alt_name, r->san);
    if (r->ski)
        add_extension(cert, NID_subject_key_identifier, r->ski);
    if (r->aki)
        add_extension(cert, NID_authority_key_identifier, r->aki);
    if (r->extra)
        add_extension(cert, r->extra_nid, r->extra);
    sign_with(cert, r);
    return cert;
}

static inline struct mm_conf_profile widget(void)
{
    struct mm_conf_profile c = settings("", "pki");

    text(&c.subject, "CN=Widget ${number},O=Example");
    text(&c.san, "DNS:w${number}.example,URI:urn:w:${number}");
    text(&c.validity, "10y");
    text(&c.basic_constraints, "end-entity");
    text(&c.username, "dev-${number:4}");
    c.ejbca = true;
    return c;
}

static inline void make_ca(void)
{
    struct recipe r = good_recipe();

    r.subject[1] = "Issuing CA";
    r.subject[2] = NULL;
    r.key = ca_key;
    r.basic_constraints = "critical,CA:TRUE,pathlen:0";
    r.key_usage = "critical,keyCertSign,cRLSign";
    r.san = r.aki = NULL;
    r.not_before = "20260101000000Z";
    r.not_after = "20460101000000Z";
    ca = make(&r);
}

static inline void setup(void)
{
    const struct mm_conf_profile conf = widget();
    struct mm_errinfo ei;
    size_t len;

    mm_clock_replace(test_wall_ms, test_mono_us);
    ca_key = make_key();
    device_key = make_key();
    other_key = make_key();
    make_ca();
    ck_assert_msg(mm_profile_compile(&conf, ca, &profile, &ei) == MM_OK, "%s", ei.text);
    ck_assert_int_eq(mm_ca_key_new(ca, &issuer_key, &ei), MM_OK);
    ck_assert(
        EVP_PKEY_get_octet_string_param(device_key, "encoded-pub-key", point, sizeof(point), &len));
    subject = (struct mm_subject){.number = 7,
                                  .hw_serial = "",
                                  .device_uid = "00000000-0000-7000-8000-000000000000",
                                  .point = point,
                                  .point_len = len,
                                  .now_ms = now_ms};
}

static inline void teardown(void)
{
    mm_profile_free(profile);
    mm_ca_key_free(issuer_key);
    X509_free(ca);
    EVP_PKEY_free(ca_key);
    EVP_PKEY_free(device_key);
    EVP_PKEY_free(other_key);
    mm_clock_replace(NULL, NULL);
}

/* OpenSSL from 3.4 on makes every certificate with extensions one of version 3: by hand, then. */
static inline void put_version(uint8_t *der, size_t len, long version)
{
    static const uint8_t before[] = {0xa0, 0x03, 0x02, 0x01};
    enum { AT = 8 }; /* after the heads of the Certificate and of what is signed */

    ck_assert(len > AT + sizeof(before) && memcmp(der + AT, before, sizeof(before)) == 0);
    der[AT + sizeof(before)] = (uint8_t)version;
}

/* "" when the certificate is taken. */
static inline const char *judge(const struct recipe *r, struct mm_errinfo *ei)
{
    X509 *cert = make(r);
    struct mm_issued issued;
    uint8_t *der = NULL;
    const int len = i2d_X509(cert, &der);
    int result;

    put_version(der, (size_t)len, r->version);
    result = mm_issued_read((struct mm_bytes){der, (size_t)len}, &issued, ei);

    ei->text[0] = 0;
    if (result == MM_OK)
        result = mm_profile_check_issued(profile, issuer_key, &subject, &issued, ei);
    else
        result = mm_issued_read((struct mm_bytes){der, (size_t)len}, &issued, ei);
    OPENSSL_free(der);
    X509_free(cert);
    if (result < 0) {
        ck_assert_int_eq(result, MM_ERR_CORRUPT);
        ck_assert_str_eq(ei->reason, "BAD_CERTIFICATE");
    }
    return ei->text;
}

/* Every single byte of it matters: none can be changed, cut off or added. */
static inline void every_changed_byte(void)
{
    const struct recipe recipe = good_recipe();
    X509 *cert = make(&recipe);
    struct mm_issued issued;
    struct mm_errinfo ei;
    uint8_t *der = NULL;
    const size_t len = (size_t)i2d_X509(cert, &der);

    for (size_t i = 0; i < len; i++) {
        der[i] ^= 1;
        ck_assert_msg(mm_issued_read((struct mm_bytes){der, len}, &issued, &ei) < 0 ||
                          mm_profile_check_issued(profile, issuer_key, &subject, &issued, &ei) < 0,
                      "byte %zu", i);
        der[i] ^= 1;
        ck_assert_int_eq(mm_issued_read((struct mm_bytes){der, i}, &issued, &ei), MM_ERR_CORRUPT);
    }
    ck_assert_int_eq(mm_issued_read((struct mm_bytes){der, len}, &issued, &ei), MM_OK);
    ck_assert_uint_eq(issued.serial.len, sizeof(a_serial));
    ck_assert_mem_eq(issued.serial.data, a_serial, sizeof(a_serial));
    OPENSSL_free(der);
    X509_free(cert);
}
