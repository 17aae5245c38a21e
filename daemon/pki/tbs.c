/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is signed, and what comes of it. Most parts are DER already (names, keys, extensions,
 * algorithm) and follow each other in one buffer. Keys never become an EVP_PKEY here: that alone
 * costs 200 µs a device.
 */
#include "daemon/pki/der.h"
#include "daemon/pki/internal.h"

#include <openssl/objects.h>
#include <string.h>

static int digest(const struct mm_profile *p, const EVP_MD *md, const uint8_t *data, size_t len,
                  uint8_t *out)
{
    return EVP_DigestInit_ex2(p->md_ctx, md, NULL) && EVP_DigestUpdate(p->md_ctx, data, len) &&
                   EVP_DigestFinal_ex(p->md_ctx, out, NULL)
               ? MM_OK
               : MM_ERR_MEMORY;
}

int mm_profile_key_identifier(const struct mm_profile *p, const uint8_t *point, size_t point_len,
                              uint8_t ret_id[MM_SKI_LEN])
{
    return digest(p, p->sha1, point, point_len, ret_id);
}

void mm_pki_serial_fix(uint8_t serial[20])
{
    static const uint8_t zero[20];

    serial[0] &= 0x7f;
    if (memcmp(serial, zero, sizeof(zero)) == 0)
        serial[19] = 1;
}

int mm_profile_validity(const struct mm_profile *p, const struct mm_subject *s,
                        int64_t *ret_not_before_s, int64_t *ret_not_after_s, struct mm_errinfo *ei)
{
    int64_t begin, end;
    int r = mm_validity_at(&p->validity, s->now_ms, &begin, &end, ei);

    if (r < 0)
        return r;
    if (p->kind == MM_KIND_ISSUED &&
        (begin < p->issuer_not_before_s || begin > p->issuer_not_after_s))
        return mm_fail(ei, MM_ERR_PRECONDITION, "ISSUER_NOT_VALID",
                       "the issuing CA's certificate is not valid at the certificate's notBefore");
    if (p->kind == MM_KIND_ISSUED && end > p->issuer_not_after_s && end != MM_VALIDITY_FOREVER)
        return mm_fail(ei, MM_ERR_PRECONDITION, "VALIDITY_BEYOND_ISSUER",
                       "the certificate would outlive the issuing CA's; choose a shorter validity, "
                       "or 99991231235959Z");
    *ret_not_before_s = begin;
    *ret_not_after_s = end;
    return MM_OK;
}

static int check_room(const struct mm_buf *der, struct mm_errinfo *ei)
{
    switch (mm_buf_err(der)) {
    case MM_OK:
        return MM_OK;
    case MM_ERR_TOO_BIG:
        return mm_fail(ei, MM_ERR_TOO_BIG, "CERTIFICATE_TOO_BIG",
                       "a certificate or request of more than %zu bytes", der->max);
    default:
        return mm_fail_memory(ei);
    }
}

int mm_profile_spki(const struct mm_profile *p, const struct mm_subject *s, struct mm_buf *der,
                    struct mm_errinfo *ei)
{
    if (s->point_len != p->key->point_len ||
        (!mm_ec_is_pure(p->key) && s->point[0] != POINT_CONVERSION_UNCOMPRESSED))
        return mm_fail(ei, MM_ERR_INTERNAL, "KEY_MISMATCH",
                       "the device's public key is no uncompressed point on %s, or no such key",
                       p->key->group);
    mm_buf_append(der, p->spki_prefix, p->spki_prefix_len);
    mm_buf_append(der, s->point, s->point_len);
    return check_room(der, ei);
}

/* The device's key, and its hash. */
static int append_spki(const struct mm_profile *p, const struct mm_subject *s, struct mm_tbs *tbs,
                       struct mm_errinfo *ei)
{
    struct mm_buf *b = &tbs->der;
    const size_t start = b->len;
    const int r = mm_profile_spki(p, s, b, ei);

    if (r == MM_OK && digest(p, p->sha256, b->data + start, b->len - start, tbs->spki_sha256) < 0)
        return mm_fail_memory(ei);
    return r;
}

static int make_period(const struct mm_profile *p, const struct mm_subject *s,
                       struct mm_period *period, struct mm_errinfo *ei)
{
    int64_t begin, end;
    X509_VAL validity = {NULL, NULL};
    uint8_t *der = NULL;
    int r = mm_profile_validity(p, s, &begin, &end, ei), len = -1;

    if (r < 0)
        return r;
    /* UTCTime through 2049, GeneralizedTime after. */
    validity.notBefore = ASN1_TIME_set(NULL, begin);
    validity.notAfter = ASN1_TIME_set(NULL, end);
    if (validity.notBefore && validity.notAfter)
        len = i2d_X509_VAL(&validity, &der);
    if (len > 0 && (size_t)len <= sizeof(period->der)) {
        memcpy(period->der, der, (size_t)len);
        period->len = (size_t)len;
        period->at_s = s->now_ms / 1000;
    } else {
        r = mm_fail_memory(ei);
    }
    OPENSSL_free(der);
    ASN1_TIME_free(validity.notBefore);
    ASN1_TIME_free(validity.notAfter);
    return r;
}

/* Devices of one chunk are made at one time, and live as long. */
static int append_validity(const struct mm_profile *p, const struct mm_subject *s, struct mm_buf *b,
                           struct mm_errinfo *ei)
{
    struct mm_period *period = p->period;
    int r = MM_OK;

    if (period->len == 0 || period->at_s != s->now_ms / 1000) {
        period->len = 0;
        r = make_period(p, s, period, ei);
    }
    mm_buf_append(b, period->der, period->len);
    return r;
}

static int append_extensions(const struct mm_profile *p, const struct mm_subject *s,
                             struct mm_buf *b, struct mm_errinfo *ei)
{
    const size_t start = b->len;
    const int r = mm_extensions_der(p, s, false, b, ei);

    if (r == MM_OK && b->len > start)
        mm_der_wrap(b, start, MM_DER_CONTEXT_0 + 3);
    return r;
}

/* Makes what was put together the SEQUENCE that is signed. */
static int finish(const struct mm_profile *p, struct mm_tbs *tbs, struct mm_errinfo *ei)
{
    int r;

    mm_der_wrap(&tbs->der, 0, MM_DER_SEQUENCE);
    tbs->digest_len = p->signer->digest_len;
    tbs->signer = p->signer;
    r = check_room(&tbs->der, ei);
    if (r == MM_OK && p->digest &&
        digest(p, p->digest, tbs->der.data, tbs->der.len, tbs->digest) < 0)
        return mm_fail_memory(ei);
    return r;
}

/* Signature and outer SEQUENCE of a P-256 issuer's certificate add at most this. */
enum { SIGNED_OVERHEAD = 4 + 12 + 3 + 72 };

/* RFC 5280 section 4.1. */
static int make_certificate(const struct mm_profile *p, const struct mm_subject *s,
                            struct mm_tbs *tbs, struct mm_errinfo *ei)
{
    static const uint8_t version[] = {MM_DER_CONTEXT_0, 3, MM_DER_INTEGER, 1, 2}; /* v3 */
    struct mm_buf *b = &tbs->der;
    uint8_t serial[sizeof(s->serial)];
    int r = MM_OK;

    memcpy(serial, s->serial, sizeof(serial));
    mm_pki_serial_fix(serial);
    mm_buf_append(b, version, sizeof(version));
    mm_der_append_unsigned(b, serial, sizeof(serial));
    mm_buf_append(b, p->algorithm.data, p->algorithm.len);
    if (p->kind == MM_KIND_SELF_SIGNED)
        r = mm_name_der(&p->subject, s, b, ei);
    else
        mm_buf_append(b, p->issuer_name.data, p->issuer_name.len);
    if (r == MM_OK)
        r = append_validity(p, s, b, ei);
    if (r == MM_OK)
        r = mm_name_der(&p->subject, s, b, ei);
    if (r == MM_OK)
        r = append_spki(p, s, tbs, ei);
    if (r == MM_OK)
        r = append_extensions(p, s, b, ei);
    return r < 0 ? r : finish(p, tbs, ei);
}

int mm_profile_certificate_tbs(const struct mm_profile *p, const struct mm_subject *s,
                               struct mm_tbs *tbs, struct mm_errinfo *ei)
{
    int r;

    mm_buf_reset(&tbs->der);
    r = make_certificate(p, s, tbs, ei);
    if (r < 0)
        return r;
    if (p->matter != MM_MATTER_NONE && tbs->der.len + SIGNED_OVERHEAD > MM_MATTER_DER_MAX)
        return mm_fail(ei, MM_ERR_TOO_BIG, "MATTER_CERTIFICATE_TOO_BIG",
                       "the certificate could exceed Matter's %d bytes; shorten the subject",
                       MM_MATTER_DER_MAX);
    return MM_OK;
}

/* extensionRequest (RFC 2985 section 5.4.2) when there are extensions; the SET itself is never
 * left out. */
static int append_attributes(const struct mm_profile *p, const struct mm_subject *s,
                             struct mm_buf *b, struct mm_errinfo *ei)
{
    static const uint8_t type[] = {MM_DER_OID, 9,    0x2a, 0x86, 0x48, 0x86,
                                   0xf7,       0x0d, 0x01, 0x09, 0x0e};
    const size_t start = b->len;
    int r = MM_OK;

    if (p->fixed_extensions.len > 0 || !mm_san_is_fixed(&p->san)) {
        mm_buf_append(b, type, sizeof(type));
        r = mm_extensions_der(p, s, true, b, ei);
        mm_der_wrap(b, start + sizeof(type), MM_DER_SET);
        mm_der_wrap(b, start, MM_DER_SEQUENCE);
    }
    mm_der_wrap(b, start, MM_DER_CONTEXT_0);
    return r;
}

/* CertificationRequestInfo, RFC 2986 section 4.1. */
int mm_profile_csr_tbs(const struct mm_profile *p, const struct mm_subject *s, struct mm_tbs *tbs,
                       struct mm_errinfo *ei)
{
    static const uint8_t version[] = {MM_DER_INTEGER, 1, 0};
    struct mm_buf *b = &tbs->der;
    int r;

    mm_buf_reset(b);
    mm_buf_append(b, version, sizeof(version));
    r = mm_name_der(&p->subject, s, b, ei);
    if (r == MM_OK)
        r = append_spki(p, s, tbs, ei);
    if (r == MM_OK)
        r = append_attributes(p, s, b, ei);
    return r < 0 ? r : finish(p, tbs, ei);
}

/* Neither r nor s is 0. */
static bool is_ecdsa(const uint8_t *signature, size_t len)
{
    uint8_t r = 0, s = 0;

    for (size_t i = 0; i < len / 2; i++) {
        r |= signature[i];
        s |= signature[len / 2 + i];
    }
    return r != 0 && s != 0;
}

int mm_pki_signature_der(const uint8_t *signature, size_t len, struct mm_buf *der,
                         struct mm_errinfo *ei)
{
    const size_t half = len / 2, start = der->len;

    if (!is_ecdsa(signature, len))
        return mm_fail(ei, MM_ERR_CORRUPT, "SIGNATURE_INVALID", "no ECDSA signature");
    mm_der_append_unsigned(der, signature, half);
    mm_der_append_unsigned(der, signature + half, half);
    mm_der_wrap(der, start, MM_DER_SEQUENCE);
    return mm_buf_err(der) < 0 ? mm_fail_memory(ei) : MM_OK;
}

struct mm_bytes mm_tbs_signed(const struct mm_tbs *tbs)
{
    return tbs->digest_len > 0 ? (struct mm_bytes){tbs->digest, tbs->digest_len}
                               : (struct mm_bytes){tbs->der.data, tbs->der.len};
}

int mm_pki_assemble(const struct mm_tbs *tbs, const uint8_t *signature, size_t signature_len,
                    struct mm_buf *der, struct mm_errinfo *ei)
{
    const struct mm_ec *ec = tbs->signer ? tbs->signer : mm_ec_by_digest_len(tbs->digest_len);
    const size_t start = der->len;
    size_t bits;
    int r;

    if (!ec || signature_len != ec->signature_len ||
        (!mm_ec_is_pure(ec) && !is_ecdsa(signature, signature_len)))
        return mm_fail(ei, MM_ERR_CORRUPT, "SIGNATURE_INVALID",
                       "%zu bytes that are no signature of that digest", signature_len);
    mm_buf_append(der, tbs->der.data, tbs->der.len);
    r = mm_ec_append_algorithm(ec, der, ei);
    if (r < 0)
        return r;
    bits = der->len;
    mm_buf_append_u8(der, 0); /* bits of the last byte that do not count */
    if (mm_ec_is_pure(ec))
        mm_buf_append(der, signature, signature_len);
    else
        r = mm_pki_signature_der(signature, signature_len, der, ei);
    if (r < 0)
        return r;
    mm_der_wrap(der, bits, MM_DER_BIT_STRING);
    mm_der_wrap(der, start, MM_DER_SEQUENCE);
    return check_room(der, ei);
}
