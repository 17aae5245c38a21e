/* SPDX-License-Identifier: Apache-2.0 */
/* CAs elsewhere with keys that ours do not have, chains, and CRLs. */
#include "tests/unit/issued_support.h"

#include <openssl/pem.h>

/* ---- other CAs than on P-256 --------------------------------------------------------------- */

/* Made once: it takes a while. */
static EVP_PKEY *rsa, *other_rsa;

static void make_rsa(void)
{
    rsa = EVP_RSA_gen(2048);
    other_rsa = EVP_RSA_gen(2048);
}

static void free_rsa(void)
{
    EVP_PKEY_free(rsa);
    EVP_PKEY_free(other_rsa);
}

static EVP_PKEY *another(EVP_PKEY *key)
{
    ck_assert(key && EVP_PKEY_up_ref(key));
    return key;
}

/* The CA's key is another, which is taken over: everything is made anew. */
static void become(EVP_PKEY *key)
{
    const struct mm_conf_profile conf = widget();
    struct mm_errinfo ei;

    EVP_PKEY_free(ca_key);
    X509_free(ca);
    mm_profile_free(profile);
    mm_ca_key_free(issuer_key);
    profile = NULL;
    issuer_key = NULL;
    ca_key = key;
    make_ca();
    ck_assert_msg(mm_profile_compile(&conf, ca, &profile, &ei) == MM_OK, "%s", ei.text);
    ck_assert_msg(mm_ca_key_new(ca, &issuer_key, &ei) == MM_OK, "%s", ei.text);
}

START_TEST(check_issued_takes_ca_on_p384_with_each_hash)
{
    struct recipe r;
    struct mm_errinfo ei;

    become(EVP_EC_gen("P-384"));
    r = good_recipe();
    ck_assert_str_eq(judge(&r, &ei), "");
    r.md = EVP_sha384();
    ck_assert_str_eq(judge(&r, &ei), "");
    r.md = EVP_sha512();
    ck_assert_str_eq(judge(&r, &ei), "");
}
END_TEST

START_TEST(check_issued_takes_ed25519_ca)
{
    struct recipe r;
    struct mm_errinfo ei;

    become(EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"));
    r = good_recipe();
    ck_assert_str_eq(judge(&r, &ei), "");
    r.signer = device_key;
    r.md = EVP_sha256();
    ck_assert_str_eq(judge(&r, &ei),
                     "the certificate is signed by an algorithm that is not of the CA's key");
    every_changed_byte();
}
END_TEST

START_TEST(check_issued_takes_rsa_ca_with_each_hash_and_padding)
{
    const EVP_MD *hashes[] = {EVP_sha256(), EVP_sha384(), EVP_sha512()};
    struct recipe r;
    struct mm_errinfo ei;

    become(another(rsa));
    r = good_recipe();
    for (size_t i = 0; i < MM_ARRAY_SIZE(hashes); i++) {
        r.md = hashes[i];
        r.salt = 0;
        ck_assert_str_eq(judge(&r, &ei), "");
        r.salt = EVP_MD_get_size(r.md);
        ck_assert_str_eq(judge(&r, &ei), "");
    }
    r.subject[1] = "Widget 8";
    ck_assert_str_eq(judge(&r, &ei),
                     "the certificate has another subject than the profile gives this device");
}
END_TEST

static void forged(struct recipe *r)
{
    r->signer = another(other_rsa);
}
static void forged_pss(struct recipe *r)
{
    r->signer = another(other_rsa);
    r->salt = 32;
}
static void by_ecdsa(struct recipe *r)
{
    r->signer = EVP_EC_gen("P-256");
}
static void sha1(struct recipe *r)
{
    r->md = EVP_sha1();
}
static void md5(struct recipe *r)
{
    r->md = EVP_md5();
}
static void pss_sha1(struct recipe *r)
{
    r->md = EVP_sha1();
    r->salt = 20;
}
static void pss_short_salt(struct recipe *r)
{
    r->salt = 20;
}
static void pss_other_mask(struct recipe *r)
{
    r->salt = 32;
    r->mask = EVP_sha384();
}

#define TAKEN                                                                                      \
    "; taken are ECDSA, and RSA with PKCS #1 v1.5 or PSS, each with SHA-256, SHA-384 or SHA-512"
static const struct {
    void (*change)(struct recipe *r);
    const char *what;
} bad_rsa[] = {
    {forged, "has a signature that is not by the issuer's key"},
    {forged_pss, "has a signature that is not by the issuer's key"},
    {by_ecdsa, "is signed by an algorithm that is not of the CA's key"},
    {sha1, "is signed by sha1WithRSAEncryption" TAKEN},
    {md5, "is signed by md5WithRSAEncryption" TAKEN},
    {pss_sha1, "is signed by rsassaPss" TAKEN},
    {pss_short_salt, "is signed by rsassaPss" TAKEN},
    {pss_other_mask, "is signed by rsassaPss" TAKEN},
};

START_TEST(check_issued_by_rsa_ca_says_what_is_wrong)
{
    char expected[200];
    struct mm_errinfo ei;
    struct recipe r;

    become(another(rsa));
    r = good_recipe();
    bad_rsa[_i].change(&r);
    snprintf(expected, sizeof(expected), "the certificate %s", bad_rsa[_i].what);
    ck_assert_str_eq(judge(&r, &ei), expected);
    if (r.signer != ca_key)
        EVP_PKEY_free(r.signer);
}
END_TEST

START_TEST(check_issued_by_rsa_ca_notices_every_changed_byte)
{
    become(another(rsa));
    every_changed_byte();
}
END_TEST

static void refuse_ca(EVP_PKEY *key, const EVP_MD *md, const char *what)
{
    const struct mm_conf_profile conf = widget();
    struct recipe r = good_recipe();
    struct mm_profile *p = NULL;
    struct mm_ca_key *k = NULL;
    struct mm_errinfo ei;
    X509 *cert;

    r.basic_constraints = "critical,CA:TRUE";
    r.key_usage = "critical,keyCertSign,cRLSign";
    r.key = r.signer = key;
    r.md = md;
    r.aki = NULL;
    cert = make(&r);
    ck_assert_int_eq(mm_ca_key_new(cert, &k, &ei), MM_ERR_INVALID);
    ck_assert_str_eq(ei.reason, "KEY_UNSUPPORTED");
    ck_assert_str_eq(ei.text, what);
    ck_assert_int_eq(mm_profile_compile(&conf, cert, &p, &ei), MM_ERR_INVALID);
    ck_assert_msg(strstr(ei.text, what) != NULL, "%s", ei.text);
    X509_free(cert);
    EVP_PKEY_free(key);
}

START_TEST(ca_with_unfit_key_is_refused)
{
    refuse_ca(EVP_RSA_gen(1024), EVP_sha256(),
              "the CA's RSA key has 1024 bits; it must have 2048 to 4096");
    refuse_ca(EVP_RSA_gen(2040), EVP_sha256(),
              "the CA's RSA key has 2040 bits; it must have 2048 to 4096");
    refuse_ca(EVP_EC_gen("P-521"), EVP_sha512(),
              "the CA's key is neither on P-256 or P-384, nor Ed25519, nor RSA");
    refuse_ca(EVP_PKEY_Q_keygen(NULL, NULL, "ED448"), NULL,
              "the CA's key is neither on P-256 or P-384, nor Ed25519, nor RSA");
}
END_TEST

START_TEST(rsa_ca_is_for_ejbca_and_not_for_matter)
{
    struct mm_conf_profile conf = widget(), dac = settings("matter-dac", "pki");
    struct mm_profile *p = NULL;
    struct mm_errinfo ei;

    become(another(rsa));
    conf.ejbca = false;
    ck_assert_int_eq(mm_profile_compile(&conf, ca, &p, &ei), MM_ERR_INVALID);
    ck_assert_msg(strstr(ei.text, "the issuer's key must be on P-256 or P-384, Ed25519"), "%s",
                  ei.text);
    dac.ejbca = true;
    text(&dac.vid, "FFF1");
    text(&dac.pid, "8000");
    ck_assert_int_eq(mm_profile_compile(&dac, ca, &p, &ei), MM_ERR_INVALID);
    ck_assert_msg(strstr(ei.text, "Matter demands an issuer whose key is on P-256"), "%s", ei.text);
}
END_TEST

/* ---- chains and CRLs ----------------------------------------------------------------------- */

/* An issuing CA below a root, signed as given; the text of what is wrong with them. */
static const char *judge_chain(EVP_PKEY *root_key, const EVP_MD *md, struct mm_errinfo *ei)
{
    struct recipe root = good_recipe(), below = good_recipe();
    STACK_OF(X509) *chain = NULL;
    BIO *pem = BIO_new(BIO_s_mem());
    X509 *certs[2];
    char *text_of;
    long len;

    root.subject[1] = below.issuer = root.issuer = "Root";
    root.subject[2] = below.subject[2] = NULL;
    below.subject[1] = "Issuing CA";
    root.basic_constraints = below.basic_constraints = "critical,CA:TRUE";
    root.key_usage = below.key_usage = "critical,keyCertSign,cRLSign";
    root.aki = below.aki = NULL;
    below.key = ca_key;
    root.key = root.signer = below.signer = root_key;
    root.md = EVP_sha1(); /* its own signature says nothing */
    below.md = md;
    certs[0] = make(&below);
    certs[1] = make(&root);
    for (size_t i = 0; i < 2; i++) {
        ck_assert_int_eq(PEM_write_bio_X509(pem, certs[i]), 1);
        X509_free(certs[i]);
    }
    len = BIO_get_mem_data(pem, &text_of);
    ei->text[0] = 0;
    if (mm_pki_parse_chain((struct mm_bytes){(const uint8_t *)text_of, (size_t)len}, &chain, ei) <
        0)
        ck_assert_str_eq(ei->reason, "CHAIN_WEAK");
    sk_X509_pop_free(chain, X509_free);
    BIO_free(pem);
    EVP_PKEY_free(root_key);
    return ei->text;
}

START_TEST(chain_with_weak_link_is_refused)
{
    struct mm_errinfo ei;

    ck_assert_str_eq(judge_chain(another(rsa), EVP_sha256(), &ei), "");
    ck_assert_str_eq(judge_chain(EVP_EC_gen("P-384"), EVP_sha384(), &ei), "");
    ck_assert_str_eq(judge_chain(another(rsa), EVP_sha1(), &ei),
                     "certificate 1 is signed by sha1WithRSAEncryption, which is too weak");
    ck_assert_str_eq(judge_chain(EVP_RSA_gen(1024), EVP_sha256(), &ei),
                     "certificate 2 has a key of 1024 bits, which is too short");
}
END_TEST

static const char *judge_crl(EVP_PKEY *signer, const char *issuer, const EVP_MD *md, size_t cut,
                             struct mm_errinfo *ei)
{
    const char *const parts[] = {"CN", issuer, NULL};
    X509_CRL *crl = X509_CRL_new();
    X509_NAME *name = name_of(parts);
    ASN1_TIME *time = ASN1_TIME_set(NULL, now_ms / 1000);
    uint8_t *der = NULL;
    size_t len;

    ck_assert(X509_CRL_set_version(crl, 1) && X509_CRL_set_issuer_name(crl, name) &&
              X509_CRL_set1_lastUpdate(crl, time) && X509_CRL_set1_nextUpdate(crl, time) &&
              X509_CRL_sign(crl, signer, md) > 0);
    len = (size_t)i2d_X509_CRL(crl, &der);
    ei->text[0] = 0;
    if (mm_ca_key_check_crl(issuer_key, ca, (struct mm_bytes){der, len - cut}, ei) < 0)
        ck_assert_str_eq(ei->reason, "BAD_CRL");
    OPENSSL_free(der);
    ASN1_TIME_free(time);
    X509_NAME_free(name);
    X509_CRL_free(crl);
    return ei->text;
}

START_TEST(crl_is_checked_by_name_and_signature)
{
    struct mm_errinfo ei;

    for (int i = 0; i < 2; i++) {
        ck_assert_str_eq(judge_crl(ca_key, "Issuing CA", EVP_sha256(), 0, &ei), "");
        ck_assert_str_eq(judge_crl(ca_key, "Issuing CB", EVP_sha256(), 0, &ei),
                         "the CRL is of another issuer");
        ck_assert_str_eq(judge_crl(ca_key, "Issuing CA", EVP_sha256(), 1, &ei),
                         "the CRL is not DER, or is cut off, or something follows it");
        ck_assert_msg(strstr(judge_crl(ca_key, "Issuing CA", EVP_sha1(), 0, &ei),
                             "the CRL is signed by ") != NULL,
                      "%s", ei.text);
        become(another(rsa));
    }
    ck_assert_str_eq(judge_crl(device_key, "Issuing CA", EVP_sha256(), 0, &ei),
                     "the CRL is signed by an algorithm that is not of the CA's key");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pki_ca_key");
    TCase *tc = tcase_create("pki_ca_key");

    tcase_add_unchecked_fixture(tc, make_rsa, free_rsa);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, check_issued_takes_ca_on_p384_with_each_hash);
    tcase_add_test(tc, check_issued_takes_ed25519_ca);
    tcase_add_test(tc, check_issued_takes_rsa_ca_with_each_hash_and_padding);
    tcase_add_loop_test(tc, check_issued_by_rsa_ca_says_what_is_wrong, 0, MM_ARRAY_SIZE(bad_rsa));
    tcase_add_test(tc, check_issued_by_rsa_ca_notices_every_changed_byte);
    tcase_add_test(tc, ca_with_unfit_key_is_refused);
    tcase_add_test(tc, rsa_ca_is_for_ejbca_and_not_for_matter);
    tcase_add_test(tc, chain_with_weak_link_is_refused);
    tcase_add_test(tc, crl_is_checked_by_name_and_signature);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
