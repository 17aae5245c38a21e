/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is signed, and what comes of it: own ASN.1 templates over OpenSSL's public items. Parts that
 * are DER already (names, key, extensions) go in as ANY. Keys never become an EVP_PKEY here: that
 * alone costs 200 µs a device.
 */
#include "daemon/pki/internal.h"

#include <openssl/asn1t.h>
#include <openssl/ecdsa.h>
#include <openssl/objects.h>
#include <string.h>

/* RFC 5280 section 4.1. */
struct tbs_certificate {
    ASN1_INTEGER *version;
    ASN1_INTEGER *serial;
    X509_ALGOR *signature;
    ASN1_TYPE *issuer;
    X509_VAL *validity;
    ASN1_TYPE *subject;
    ASN1_TYPE *spki;
    ASN1_TYPE *extensions;
};
ASN1_SEQUENCE(TBS_CERTIFICATE) =
    {
        ASN1_EXP(struct tbs_certificate, version, ASN1_INTEGER, 0),
        ASN1_SIMPLE(struct tbs_certificate, serial, ASN1_INTEGER),
        ASN1_SIMPLE(struct tbs_certificate, signature, X509_ALGOR),
        ASN1_SIMPLE(struct tbs_certificate, issuer, ASN1_ANY),
        ASN1_SIMPLE(struct tbs_certificate, validity, X509_VAL),
        ASN1_SIMPLE(struct tbs_certificate, subject, ASN1_ANY),
        ASN1_SIMPLE(struct tbs_certificate, spki, ASN1_ANY),
        ASN1_EXP_OPT(struct tbs_certificate, extensions, ASN1_ANY, 3),
} static_ASN1_SEQUENCE_END_name(struct tbs_certificate, TBS_CERTIFICATE)

    /* CertificationRequestInfo, RFC 2986 section 4.1. */
    struct request_info {
    ASN1_INTEGER *version;
    ASN1_TYPE *subject;
    ASN1_TYPE *spki;
    STACK_OF(X509_ATTRIBUTE) * attributes;
};
ASN1_SEQUENCE(REQUEST_INFO) =
    {
        ASN1_SIMPLE(struct request_info, version, ASN1_INTEGER),
        ASN1_SIMPLE(struct request_info, subject, ASN1_ANY),
        ASN1_SIMPLE(struct request_info, spki, ASN1_ANY),
        ASN1_IMP_SET_OF(struct request_info, attributes, X509_ATTRIBUTE, 0),
} static_ASN1_SEQUENCE_END_name(struct request_info, REQUEST_INFO)

    /* The outer shape of Certificate and CertificationRequest. */
    struct signed_object {
    ASN1_TYPE *tbs;
    X509_ALGOR *algorithm;
    ASN1_BIT_STRING *signature;
};
ASN1_SEQUENCE(SIGNED_OBJECT) =
    {
        ASN1_SIMPLE(struct signed_object, tbs, ASN1_ANY),
        ASN1_SIMPLE(struct signed_object, algorithm, X509_ALGOR),
        ASN1_SIMPLE(struct signed_object, signature, ASN1_BIT_STRING),
} static_ASN1_SEQUENCE_END_name(struct signed_object, SIGNED_OBJECT)

    /* A whole SEQUENCE in DER, as an ANY; NULL when out of memory. */
    static ASN1_TYPE
    * sequence_any(const struct mm_buf *der)
{
    ASN1_TYPE *any = ASN1_TYPE_new();
    ASN1_STRING *packed = ASN1_STRING_type_new(V_ASN1_SEQUENCE);

    if (!any || !packed || !ASN1_STRING_set(packed, der->data, (int)der->len)) {
        ASN1_TYPE_free(any);
        ASN1_STRING_free(packed);
        return NULL;
    }
    ASN1_TYPE_set(any, V_ASN1_SEQUENCE, packed);
    return any;
}

static int encode(const void *value, const ASN1_ITEM *item, struct mm_buf *der,
                  struct mm_errinfo *ei)
{
    const int len = ASN1_item_i2d(value, NULL, item);
    uint8_t *to;

    if (len <= 0)
        return mm_fail(ei, MM_ERR_INTERNAL, "ENCODING_FAILED", "cannot encode DER");
    to = mm_buf_reserve(der, (size_t)len);
    if (!to)
        return mm_fail(ei, der->err, "CERTIFICATE_TOO_BIG",
                       "a certificate or request of more than %zu bytes", der->max);
    ASN1_item_i2d(value, &to, item);
    mm_buf_grew(der, (size_t)len);
    return MM_OK;
}

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

/* DER wants no leading zero bytes; OpenSSL takes the magnitude as it comes. */
static ASN1_INTEGER *serial_integer(const uint8_t random[20])
{
    ASN1_INTEGER *serial = ASN1_INTEGER_new();
    uint8_t bytes[20];
    int skip = 0;

    memcpy(bytes, random, sizeof(bytes));
    mm_pki_serial_fix(bytes);
    while (bytes[skip] == 0)
        skip++;
    if (serial && !ASN1_STRING_set(serial, bytes + skip, 20 - skip)) {
        ASN1_INTEGER_free(serial);
        return NULL;
    }
    return serial;
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
    return mm_buf_err(der) < 0 ? mm_fail_memory(ei) : MM_OK;
}

/* The DER parts that differ from device to device, and their common hash. */
struct parts {
    struct mm_buf subject, spki, extensions;
};
#define PARTS_INIT                                                                                 \
    ((struct parts){MM_BUF_INIT(MM_CERT_DER_MAX), MM_BUF_INIT(MM_CERT_DER_MAX),                    \
                    MM_BUF_INIT(MM_CERT_DER_MAX)})

static void parts_done(struct parts *parts)
{
    mm_buf_done(&parts->subject);
    mm_buf_done(&parts->spki);
    mm_buf_done(&parts->extensions);
}

static int parts_make(const struct mm_profile *p, const struct mm_subject *s, struct parts *parts,
                      struct mm_tbs *tbs, struct mm_errinfo *ei)
{
    int r = mm_name_der(&p->subject, s, &parts->subject, ei);

    if (r == MM_OK)
        r = mm_profile_spki(p, s, &parts->spki, ei);
    if (r == MM_OK)
        r = mm_extensions_der(p, s, p->kind == MM_KIND_CSR, &parts->extensions, ei);
    if (r == MM_OK && digest(p, p->sha256, parts->spki.data, parts->spki.len, tbs->spki_sha256) < 0)
        r = mm_fail_memory(ei);
    return r;
}

static int finish(const struct mm_profile *p, struct mm_tbs *tbs, struct mm_errinfo *ei)
{
    tbs->digest_len = p->signer->digest_len;
    tbs->signer = p->signer;
    if (p->digest && digest(p, p->digest, tbs->der.data, tbs->der.len, tbs->digest) < 0)
        return mm_fail_memory(ei);
    return MM_OK;
}

/* Signature and outer SEQUENCE of a P-256 issuer's certificate add at most this. */
enum { SIGNED_OVERHEAD = 4 + 12 + 3 + 72 };

static int encode_certificate(const struct mm_profile *p, const struct mm_subject *s,
                              const struct parts *parts, X509_VAL *validity, struct mm_tbs *tbs,
                              struct mm_errinfo *ei)
{
    ASN1_TYPE *subject = sequence_any(&parts->subject);
    struct tbs_certificate t = {
        .version = p->version,
        .serial = serial_integer(s->serial),
        .signature = p->algorithm,
        .issuer = p->kind == MM_KIND_SELF_SIGNED ? subject : p->issuer_name,
        .validity = validity,
        .subject = subject,
        .spki = sequence_any(&parts->spki),
        .extensions = parts->extensions.len ? sequence_any(&parts->extensions) : NULL,
    };
    int r;

    if (!t.serial || !subject || !t.spki || (parts->extensions.len && !t.extensions))
        r = mm_fail_memory(ei);
    else
        r = encode(&t, ASN1_ITEM_rptr(TBS_CERTIFICATE), &tbs->der, ei);
    ASN1_INTEGER_free(t.serial);
    ASN1_TYPE_free(subject);
    ASN1_TYPE_free(t.spki);
    ASN1_TYPE_free(t.extensions);
    return r;
}

static int make_certificate(const struct mm_profile *p, const struct mm_subject *s,
                            struct parts *parts, struct mm_tbs *tbs, struct mm_errinfo *ei)
{
    int64_t begin, end;
    X509_VAL validity;
    int r = mm_profile_validity(p, s, &begin, &end, ei);

    if (r == MM_OK)
        r = parts_make(p, s, parts, tbs, ei);
    if (r < 0)
        return r;
    /* UTCTime through 2049, GeneralizedTime after. */
    validity.notBefore = ASN1_TIME_set(NULL, begin);
    validity.notAfter = ASN1_TIME_set(NULL, end);
    if (validity.notBefore && validity.notAfter)
        r = encode_certificate(p, s, parts, &validity, tbs, ei);
    else
        r = mm_fail_memory(ei);
    ASN1_TIME_free(validity.notBefore);
    ASN1_TIME_free(validity.notAfter);
    return r < 0 ? r : finish(p, tbs, ei);
}

int mm_profile_certificate_tbs(const struct mm_profile *p, const struct mm_subject *s,
                               struct mm_tbs *tbs, struct mm_errinfo *ei)
{
    struct parts parts = PARTS_INIT;
    int r;

    mm_buf_reset(&tbs->der);
    r = make_certificate(p, s, &parts, tbs, ei);
    parts_done(&parts);
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
static int request_attributes(const struct mm_buf *extensions,
                              STACK_OF(X509_ATTRIBUTE) * *ret_attributes)
{
    STACK_OF(X509_ATTRIBUTE) *attributes = sk_X509_ATTRIBUTE_new_null();
    X509_ATTRIBUTE *a = NULL;

    if (attributes && extensions->len) {
        a = X509_ATTRIBUTE_create_by_NID(NULL, NID_ext_req, V_ASN1_SEQUENCE, extensions->data,
                                         (int)extensions->len);
        if (!a || !sk_X509_ATTRIBUTE_push(attributes, a)) {
            X509_ATTRIBUTE_free(a);
            sk_X509_ATTRIBUTE_free(attributes);
            return MM_ERR_MEMORY;
        }
    }
    *ret_attributes = attributes;
    return attributes ? MM_OK : MM_ERR_MEMORY;
}

static int encode_request(const struct mm_profile *p, const struct parts *parts, struct mm_tbs *tbs,
                          struct mm_errinfo *ei)
{
    struct request_info info = {
        .version = p->version,
        .subject = sequence_any(&parts->subject),
        .spki = sequence_any(&parts->spki),
    };
    int r = request_attributes(&parts->extensions, &info.attributes);

    if (r < 0 || !info.subject || !info.spki)
        r = mm_fail_memory(ei);
    else
        r = encode(&info, ASN1_ITEM_rptr(REQUEST_INFO), &tbs->der, ei);
    ASN1_TYPE_free(info.subject);
    ASN1_TYPE_free(info.spki);
    sk_X509_ATTRIBUTE_pop_free(info.attributes, X509_ATTRIBUTE_free);
    return r;
}

int mm_profile_csr_tbs(const struct mm_profile *p, const struct mm_subject *s, struct mm_tbs *tbs,
                       struct mm_errinfo *ei)
{
    struct parts parts = PARTS_INIT;
    int r;

    mm_buf_reset(&tbs->der);
    r = parts_make(p, s, &parts, tbs, ei);
    if (r == MM_OK)
        r = encode_request(p, &parts, tbs, ei);
    parts_done(&parts);
    return r < 0 ? r : finish(p, tbs, ei);
}

int mm_pki_signature_der(const uint8_t *signature, size_t len, struct mm_buf *der,
                         struct mm_errinfo *ei)
{
    const int half = (int)(len / 2);
    ECDSA_SIG *sig = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(signature, half, NULL), *s = BN_bin2bn(signature + half, half, NULL);
    const bool ok = sig && r && s && !BN_is_zero(r) && !BN_is_zero(s);
    uint8_t *to;
    int n = 0;

    if (!ok || !ECDSA_SIG_set0(sig, r, s)) {
        BN_free(r);
        BN_free(s);
        ECDSA_SIG_free(sig);
        return mm_fail(ei, MM_ERR_CORRUPT, "SIGNATURE_INVALID", "no ECDSA signature");
    }
    to = mm_buf_reserve(der, 2 * len);
    if (to)
        n = i2d_ECDSA_SIG(sig, &to);
    ECDSA_SIG_free(sig);
    if (n <= 0)
        return mm_fail_memory(ei);
    mm_buf_grew(der, (size_t)n);
    return MM_OK;
}

static int assemble(const struct mm_tbs *tbs, const struct mm_buf *signature,
                    const struct mm_ec *ec, struct mm_buf *der, struct mm_errinfo *ei)
{
    struct signed_object o = {
        .tbs = sequence_any(&tbs->der),
        .algorithm = X509_ALGOR_new(),
        .signature = ASN1_BIT_STRING_new(),
    };
    int r;

    if (o.tbs && o.algorithm && o.signature &&
        X509_ALGOR_set0(o.algorithm, mm_ec_algorithm(ec), V_ASN1_UNDEF, NULL) &&
        ASN1_BIT_STRING_set(o.signature, signature->data, (int)signature->len)) {
        /* Without the flag OpenSSL takes the last byte's trailing zero bits for unused ones. */
        o.signature->flags &= ~(ASN1_STRING_FLAG_BITS_LEFT | 7);
        o.signature->flags |= ASN1_STRING_FLAG_BITS_LEFT;
        r = encode(&o, ASN1_ITEM_rptr(SIGNED_OBJECT), der, ei);
    } else {
        r = mm_fail_memory(ei);
    }
    ASN1_TYPE_free(o.tbs);
    X509_ALGOR_free(o.algorithm);
    ASN1_BIT_STRING_free(o.signature);
    return r;
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
    MM_BUF_CLEANUP struct mm_buf sig = MM_BUF_INIT(2 * MM_SIGNATURE_MAX);
    int r;

    if (!ec || signature_len != ec->signature_len)
        return mm_fail(ei, MM_ERR_CORRUPT, "SIGNATURE_INVALID",
                       "a signature of %zu bytes does not fit the digest", signature_len);
    if (mm_ec_is_pure(ec)) {
        mm_buf_append(&sig, signature, signature_len);
        r = mm_buf_err(&sig) < 0 ? mm_fail_memory(ei) : MM_OK;
    } else {
        r = mm_pki_signature_der(signature, signature_len, &sig, ei);
    }
    return r < 0 ? r : assemble(tbs, &sig, ec, der, ei);
}
