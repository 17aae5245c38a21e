/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates read back and held against their profile. */
#include "daemon/pki/internal.h"

#include "daemon/base/clock.h"

#include <openssl/ec.h>
#include <openssl/objects.h>
#include <openssl/x509v3.h>
#include <string.h>

MM_DEFINE_CLEANUP(EC_GROUP *, EC_GROUP_free)

/* The curve's generator: a public key like any other. */
static int sample_point(const struct mm_ec *ec, uint8_t *point)
{
    MM_CLEANUP(EC_GROUP_free_p) EC_GROUP *group = NULL;

    if (ec->key == MM_KEY_ED25519) { /* y = 4/5: RFC 8032 section 5.1 */
        memset(point, 0x66, ec->point_len);
        point[0] = 0x58;
        return MM_OK;
    }
    if (ec->oid) { /* ML-DSA: any bytes will do */
        memset(point, 0x66, ec->point_len);
        return MM_OK;
    }
    group = EC_GROUP_new_by_curve_name(ec->curve_nid);
    if (!group ||
        EC_POINT_point2oct(group, EC_GROUP_get0_generator(group), POINT_CONVERSION_UNCOMPRESSED,
                           point, ec->point_len, NULL) != ec->point_len)
        return MM_ERR_MEMORY;
    return MM_OK;
}

static X509 *parse(struct mm_bytes der)
{
    const uint8_t *at = der.data;
    X509 *cert = d2i_X509(NULL, &at, (long)der.len);

    if (cert && at != der.data + der.len) {
        X509_free(cert);
        return NULL;
    }
    return cert;
}

static int try_certificate(const struct mm_profile *p, const struct mm_subject *s,
                           struct mm_tbs *tbs, struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf der = MM_BUF_INIT(MM_CERT_DER_MAX);
    MM_CLEANUP(X509_free_p) X509 *cert = NULL;
    uint8_t signature[MM_SIGNATURE_MAX];
    int r = mm_profile_certificate_tbs(p, s, tbs, ei);

    if (r < 0)
        return r;
    memset(signature, 0xff, sizeof(signature)); /* never looked at, but of the greatest length */
    r = mm_pki_assemble(tbs, signature, p->signer->signature_len, &der, ei);
    if (r < 0)
        return r;
    cert = parse((struct mm_bytes){der.data, der.len});
    if (!cert)
        return mm_fail(ei, MM_ERR_INTERNAL, "ENCODING_FAILED", "cannot read own certificate");
    return p->matter == MM_MATTER_NONE ? MM_OK : mm_matter_check(cert, p->issuer, p->matter, ei);
}

int mm_profile_try(const struct mm_profile *p, struct mm_errinfo *ei)
{
    uint8_t point[MM_POINT_MAX];
    const struct mm_subject s = {
        .number = UINT64_MAX,
        .hw_serial = "00", /* a text, a label and hexadecimal digits at once */
        .device_uid = "00000000-0000-7000-8000-000000000000",
        .point = point,
        .point_len = p->key->point_len,
        .now_ms = mm_clock_wall_ms(),
    };
    struct mm_tbs tbs = MM_TBS_INIT;
    int r;

    if (sample_point(p->key, point) < 0)
        return mm_fail_memory(ei);
    r = p->kind == MM_KIND_CSR ? mm_profile_csr_tbs(p, &s, &tbs, ei)
                               : try_certificate(p, &s, &tbs, ei);
    mm_buf_done(&tbs.der);
    return r;
}

static int differs(struct mm_errinfo *ei, const char *what)
{
    return mm_fail(ei, MM_ERR_CORRUPT, "CERTIFICATE_MISMATCH",
                   "the certificate's %s is not what the profile demands", what);
}

/* The TBS that the profile would make for the subject, as a certificate with a blank signature, so
 * that both sides can be read with the same functions. */
static int expected_certificate(const struct mm_profile *p, const struct mm_subject *s,
                                X509 **ret_cert, struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf der = MM_BUF_INIT(MM_CERT_DER_MAX);
    struct mm_tbs tbs = MM_TBS_INIT;
    uint8_t signature[MM_SIGNATURE_MAX];
    int r = mm_profile_certificate_tbs(p, s, &tbs, ei);

    memset(signature, 0xff, sizeof(signature));
    if (r == MM_OK)
        r = mm_pki_assemble(&tbs, signature, p->signer->signature_len, &der, ei);
    mm_buf_done(&tbs.der);
    if (r < 0)
        return r;
    *ret_cert = parse((struct mm_bytes){der.data, der.len});
    return *ret_cert ? MM_OK : mm_fail_memory(ei);
}

static bool names_equal(const X509_NAME *a, const X509_NAME *b)
{
    const unsigned char *der_a, *der_b;
    size_t len_a, len_b;

    return X509_NAME_get0_der(a, &der_a, &len_a) && X509_NAME_get0_der(b, &der_b, &len_b) &&
           len_a == len_b && memcmp(der_a, der_b, len_a) == 0;
}

static int compare_extensions(const X509 *want, const X509 *have, struct mm_errinfo *ei)
{
    if (X509_get_ext_count(want) != X509_get_ext_count(have))
        return differs(ei, "number of extensions");
    for (int i = 0; i < X509_get_ext_count(want); i++) {
        X509_EXTENSION *w = X509_get_ext(want, i), *h;
        ASN1_OBJECT *oid = X509_EXTENSION_get_object(w);
        const int at = X509_get_ext_by_OBJ(have, oid, -1);
        char name[40];

        h = at < 0 ? NULL : X509_get_ext(have, at);
        if (h && X509_EXTENSION_get_critical(w) == X509_EXTENSION_get_critical(h) &&
            ASN1_OCTET_STRING_cmp(X509_EXTENSION_get_data(w), X509_EXTENSION_get_data(h)) == 0)
            continue;
        OBJ_obj2txt(name, sizeof(name), oid, 0);
        return differs(ei, name);
    }
    return MM_OK;
}

static bool keys_equal(const X509 *a, const X509 *b)
{
    return X509_PUBKEY_eq(X509_get_X509_PUBKEY(a), X509_get_X509_PUBKEY(b)) == 1;
}

static int compare(const X509 *want, const X509 *have, struct mm_errinfo *ei)
{
    if (X509_get_version(have) != X509_get_version(want))
        return differs(ei, "version");
    if (ASN1_INTEGER_cmp(X509_get0_serialNumber(have), X509_get0_serialNumber(want)) != 0)
        return differs(ei, "serial number");
    if (X509_get_signature_nid(have) != X509_get_signature_nid(want))
        return differs(ei, "signature algorithm");
    if (!names_equal(X509_get_issuer_name(have), X509_get_issuer_name(want)))
        return differs(ei, "issuer");
    if (!names_equal(X509_get_subject_name(have), X509_get_subject_name(want)))
        return differs(ei, "subject");
    if (ASN1_TIME_compare(X509_get0_notBefore(have), X509_get0_notBefore(want)) != 0)
        return differs(ei, "notBefore");
    if (ASN1_TIME_compare(X509_get0_notAfter(have), X509_get0_notAfter(want)) != 0)
        return differs(ei, "notAfter");
    if (!keys_equal(have, want))
        return differs(ei, "public key");
    return compare_extensions(want, have, ei);
}

int mm_profile_check_certificate(const struct mm_profile *p, const struct mm_subject *s,
                                 struct mm_bytes der, struct mm_errinfo *ei)
{
    MM_CLEANUP(X509_free_p) X509 *want = NULL;
    MM_CLEANUP(X509_free_p) X509 *have = parse(der);
    int r;

    if (!have)
        return mm_fail(ei, MM_ERR_CORRUPT, "CERTIFICATE_UNREADABLE", "no DER certificate");
    r = expected_certificate(p, s, &want, ei);
    if (r == MM_OK)
        r = compare(want, have, ei);
    if (r < 0)
        return r;
    if (X509_verify(have, X509_get0_pubkey(p->issuer ? p->issuer : have)) != 1)
        return differs(ei, "signature");
    return MM_OK;
}
