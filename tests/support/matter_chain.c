/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/matter_chain.h"

#include "daemon/base/clock.h"
#include "daemon/pki/profile.h"

#include <check.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdio.h>

static struct mm_errinfo ei;
#define ck_ok(call) ck_assert_msg((call) == MM_OK, "%s: %s", #call, ei.text)

static void text(char **field, const char *value)
{
    *field = (char *)(uintptr_t)value;
}

static struct mm_conf_profile ca_settings(const char *preset)
{
    struct mm_conf_profile c = {.subject_key_identifier = true, .authority_key_identifier = true};

    text(&c.name, preset);
    text(&c.preset, preset);
    text(&c.issuer, "paa");
    text(&c.key, "p256");
    text(&c.delivery, "retained");
    text(&c.vid, "FFF1");
    text(&c.subject, "");
    text(&c.san, "");
    text(&c.pid, "");
    text(&c.not_before, "20250101000000Z");
    text(&c.validity, "");
    text(&c.basic_constraints, "");
    return c;
}

/* Certifies a point by a key in software. */
static X509 *certify(const char *preset, X509 *issuer, EVP_PKEY *key, const uint8_t *point,
                     uint8_t serial)
{
    const struct mm_conf_profile conf = ca_settings(preset);
    struct mm_subject s = {.hw_serial = "", .device_uid = "", .point = point, .point_len = 65};
    struct mm_buf der = MM_BUF_INIT(MM_CERT_DER_MAX);
    struct mm_tbs tbs = MM_TBS_INIT;
    struct mm_profile *p;
    uint8_t sig_der[80], raw[64];
    size_t len = sizeof(sig_der);
    const uint8_t *at = sig_der;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
    ECDSA_SIG *sig;
    X509 *cert;

    s.serial[19] = serial;
    s.now_ms = mm_clock_wall_ms();
    ck_ok(mm_profile_compile(&conf, issuer, &p, &ei));
    ck_ok(mm_profile_certificate_tbs(p, &s, &tbs, &ei));
    EVP_PKEY_sign_init(ctx);
    ck_assert_int_eq(EVP_PKEY_sign(ctx, sig_der, &len, tbs.digest, tbs.digest_len), 1);
    sig = d2i_ECDSA_SIG(NULL, &at, (long)len);
    BN_bn2binpad(ECDSA_SIG_get0_r(sig), raw, 32);
    BN_bn2binpad(ECDSA_SIG_get0_s(sig), raw + 32, 32);
    ck_ok(mm_pki_assemble(&tbs, raw, sizeof(raw), &der, &ei));
    at = der.data;
    cert = d2i_X509(NULL, &at, (long)der.len);
    ck_assert_ptr_nonnull(cert);
    ECDSA_SIG_free(sig);
    EVP_PKEY_CTX_free(ctx);
    mm_profile_free(p);
    mm_buf_done(&tbs.der);
    mm_buf_done(&der);
    return cert;
}

void matter_chain_make(struct matter_chain *c, const uint8_t *pai_point)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    uint8_t point[65];
    size_t len;

    ck_assert_int_eq(
        EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point), &len),
        1);
    c->paa = certify("matter-paa", NULL, key, point, 1);
    c->pai = certify("matter-pai", c->paa, key, pai_point, 2);
    EVP_PKEY_free(key);
}

void matter_chain_write(const struct matter_chain *c, const char *path)
{
    FILE *f = fopen(path, "w");

    ck_assert_ptr_nonnull(f);
    ck_assert_int_eq(PEM_write_X509(f, c->pai), 1);
    ck_assert_int_eq(PEM_write_X509(f, c->paa), 1);
    ck_assert_int_eq(fclose(f), 0);
}

void matter_chain_done(struct matter_chain *c)
{
    X509_free(c->paa);
    X509_free(c->pai);
}
