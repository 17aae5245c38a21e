/* SPDX-License-Identifier: Apache-2.0 */
/* The tree of tags and lengths is walked first; then the few parts that matter are taken from where
 * RFC 2986 has them. */
#include "daemon/pki/csr.h"

#include "daemon/base/ed25519.h"
#include "daemon/pki/der.h"
#include "daemon/pki/internal.h"

#include <stdio.h>
#include <string.h>

static int refuse(struct mm_errinfo *ei, const char *reason, const char *text)
{
    mm_fail(ei, MM_ERR_INVALID, reason, "%s", text);
    snprintf(ei->field, sizeof(ei->field), "csr");
    return MM_ERR_INVALID;
}

static int malformed(struct mm_errinfo *ei, const char *text)
{
    return refuse(ei, "CSR_MALFORMED", text);
}

/* CertificationRequestInfo ::= SEQUENCE { version, subject, subjectPKInfo, attributes [0] } */
static int read_info(struct mm_bytes in, struct mm_csr_parts *ret, struct mm_errinfo *ei)
{
    struct mm_der version, subject, spki, attributes;

    if (!mm_der_part(&in, MM_DER_INTEGER, &version) ||
        !mm_der_part(&in, MM_DER_SEQUENCE, &subject) || !mm_der_part(&in, MM_DER_SEQUENCE, &spki) ||
        !mm_der_part(&in, MM_DER_CONTEXT_0, &attributes) || in.len > 0)
        return malformed(ei, "the CertificationRequestInfo has not the parts that it must have");
    if (version.content.len != 1 || version.content.data[0] != 0)
        return malformed(ei, "the request's version is not 0");
    ret->subject = subject.whole;
    ret->spki = spki.whole;
    ret->attributes = attributes.content;
    return MM_OK;
}

/* CertificationRequest ::= SEQUENCE { certificationRequestInfo, signatureAlgorithm, signature } */
int mm_csr_read(struct mm_bytes der, struct mm_csr_parts *ret, struct mm_errinfo *ei)
{
    struct mm_der whole, info, algorithm, signature;
    struct mm_bytes in;

    if (!mm_der_well_formed(der))
        return malformed(ei, "the request is not DER, or is cut off, or nested too deep");
    if (!mm_der_part(&der, MM_DER_SEQUENCE, &whole))
        return malformed(ei, "the request is no SEQUENCE");
    if (der.len > 0)
        return malformed(ei, "there are bytes behind the request");
    in = whole.content;
    if (!mm_der_part(&in, MM_DER_SEQUENCE, &info) ||
        !mm_der_part(&in, MM_DER_SEQUENCE, &algorithm) ||
        !mm_der_part(&in, MM_DER_BIT_STRING, &signature) || in.len > 0)
        return malformed(ei, "the CertificationRequest has not the parts that it must have");
    /* The first byte counts unused bits, and a signature has whole bytes. */
    if (signature.content.len < 2 || signature.content.data[0] != 0)
        return malformed(ei, "the signature is no string of bytes");
    ret->info = info.whole;
    ret->algorithm = algorithm.whole;
    ret->signature = (struct mm_bytes){signature.content.data + 1, signature.content.len - 1};
    return read_info(info.content, ret, ei);
}

/* The prefix says id-ecPublicKey, the curve by its OID, and how long the point is; so one
 * comparison rules out other algorithms, other curves, compressed points and infinity. For some
 * points of Ed25519 the signature would prove nothing. */
static int check_key(const struct mm_profile *p, const struct mm_csr_parts *request,
                     struct mm_bytes *ret_point, struct mm_errinfo *ei)
{
    const struct mm_bytes spki = request->spki;
    const char *degenerate;
    char text[96];

    snprintf(text, sizeof(text), "the key is not an uncompressed point on %s", p->key->group);
    if (mm_ec_is_pure(p->key))
        snprintf(text, sizeof(text), "the key is not %s", p->key->group);
    if (spki.len != p->spki_prefix_len + p->key->point_len ||
        memcmp(spki.data, p->spki_prefix, p->spki_prefix_len) != 0 ||
        (!mm_ec_is_pure(p->key) && spki.data[p->spki_prefix_len] != POINT_CONVERSION_UNCOMPRESSED))
        return refuse(ei, "CSR_KEY_REFUSED", text);
    degenerate = p->key->key == MM_KEY_ED25519
                     ? mm_ed25519_degenerate(spki.data + p->spki_prefix_len)
                     : NULL;
    if (degenerate) {
        snprintf(text, sizeof(text), "the key %s", degenerate);
        return refuse(ei, "CSR_KEY_REFUSED", text);
    }
    *ret_point = (struct mm_bytes){spki.data + p->spki_prefix_len, p->key->point_len};
    return MM_OK;
}

/* Of a key that signs the whole and not a digest. */
static int check_pure(const struct mm_ec *ec, const struct mm_csr_parts *request,
                      struct mm_bytes point, struct mm_errinfo *ei)
{
    MM_CLEANUP(mm_verifier_free_p) struct mm_verifier *verifier = NULL;
    char text[64];
    int r;

    snprintf(text, sizeof(text), "the request is not signed by %s", ec->group);
    if (!mm_ec_is_algorithm(ec, request->algorithm))
        return refuse(ei, "CSR_SIGNATURE", text);
    r = mm_verifier_new(point.data, point.len, &verifier, ei);
    if (r == MM_OK)
        r = mm_verifier_check_der(verifier, request->info.data, request->info.len,
                                  request->signature, ei);
    return r == MM_ERR_CORRUPT
               ? refuse(ei, "CSR_SIGNATURE", "the request's signature is not by its own key")
               : r;
}

/* Proof of possession. The verifier is also what finds a point off the curve. */
static int check_signature(const struct mm_csr_parts *request, struct mm_bytes point,
                           struct mm_errinfo *ei)
{
    const EVP_MD *hash = mm_der_ecdsa_hash(request->algorithm);
    MM_CLEANUP(mm_verifier_free_p) struct mm_verifier *verifier = NULL;
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned len;
    int r;

    if (!hash)
        return refuse(ei, "CSR_SIGNATURE", "the request is not signed by ECDSA with SHA-2");
    r = mm_verifier_new(point.data, point.len, &verifier, ei);
    if (r == MM_ERR_INVALID)
        return refuse(ei, "CSR_KEY_REFUSED", "the key is no point on the curve");
    if (r < 0)
        return r;
    if (EVP_Digest(request->info.data, request->info.len, digest, &len, hash, NULL) != 1)
        return mm_fail_memory(ei);
    r = mm_verifier_check_der(verifier, digest, len, request->signature, ei);
    return r == MM_ERR_CORRUPT
               ? refuse(ei, "CSR_SIGNATURE", "the request's signature is not by its own key")
               : r;
}

static int read_key(const struct mm_profile *p, struct mm_bytes der,
                    struct mm_csr_parts *ret_request, struct mm_bytes *ret_point,
                    struct mm_errinfo *ei)
{
    char text[64];
    int r;

    snprintf(text, sizeof(text), "the request has more than %d bytes", MM_CSR_DER_MAX);
    if (der.len > MM_CSR_DER_MAX)
        return refuse(ei, "CSR_TOO_BIG", text);
    r = mm_csr_read(der, ret_request, ei);
    return r < 0 ? r : check_key(p, ret_request, ret_point, ei);
}

int mm_profile_csr_point(const struct mm_profile *p, struct mm_bytes der,
                         struct mm_bytes *ret_point, struct mm_errinfo *ei)
{
    struct mm_csr_parts request = {.info = {NULL, 0}};

    return read_key(p, der, &request, ret_point, ei);
}

int mm_profile_check_csr(const struct mm_profile *p, struct mm_bytes der,
                         struct mm_bytes *ret_point, struct mm_errinfo *ei)
{
    struct mm_csr_parts request = {.info = {NULL, 0}};
    struct mm_bytes point = {NULL, 0};
    int r = read_key(p, der, &request, &point, ei);

    if (r == MM_OK)
        r = mm_ec_is_pure(p->key) ? check_pure(p->key, &request, point, ei)
                                  : check_signature(&request, point, ei);
    if (r == MM_OK)
        *ret_point = point;
    return r;
}
