/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OpenSSL's own reader of requests takes BER, and decodes names and attributes that nobody here
 * wants. So the tree of tags and lengths is walked first, by OpenSSL's reader of single headers;
 * then the few parts that matter are taken from where RFC 2986 has them.
 */
#include "daemon/pki/csr.h"

#include "daemon/pki/internal.h"

#include <openssl/asn1.h>
#include <openssl/err.h>
#include <stdio.h>
#include <string.h>

/* Identifier octets. */
enum {
    ID_INTEGER = 0x02,
    ID_BIT_STRING = 0x03,
    ID_SEQUENCE = 0x30,
    ID_SET = 0x31,
    ID_ATTRIBUTES = 0xa0, /* [0] IMPLICIT SET OF Attribute */
    CONSTRUCTED = 0x20,
    CLASS = 0xc0,
};

struct element {
    uint8_t id;
    struct mm_bytes whole, content;
};

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

/* The element that *in begins with; *in goes on behind it. False when there is none in DER. */
static bool take(struct mm_bytes *in, struct element *ret)
{
    const uint8_t *at = in->data;
    long len = 0;
    int tag = 0, class = 0, found, header;

    if (in->len == 0)
        return false;
    found = ASN1_get_object(&at, &len, &tag, &class, (long)in->len);
    if (found & 0x80) {
        ERR_clear_error();
        return false;
    }
    header = (int)(at - in->data);
    /* 1: of indefinite length. ASN1_object_size is that of the shortest encoding. */
    if ((found & 1) || ASN1_object_size(0, (int)len, tag) != header + (int)len)
        return false;
    *ret = (struct element){
        .id = in->data[0],
        .whole = {in->data, (size_t)header + (size_t)len},
        .content = {at, (size_t)len},
    };
    in->data += ret->whole.len;
    in->len -= ret->whole.len;
    return true;
}

/* X.690 sections 8.9 to 8.12, 10.2: of the universal types SEQUENCE and SET are constructed, and
 * no other. Tag 0 ends what is of indefinite length. */
static bool shape_is_der(uint8_t id)
{
    if ((id & CLASS) != 0)
        return true;
    if (id == 0)
        return false;
    return (id & CONSTRUCTED) ? id == ID_SEQUENCE || id == ID_SET
                              : id != (ID_SEQUENCE & ~CONSTRUCTED) && id != (ID_SET & ~CONSTRUCTED);
}

static bool well_formed(struct mm_bytes in, unsigned depth)
{
    struct element e;

    while (in.len > 0) {
        if (!take(&in, &e) || !shape_is_der(e.id))
            return false;
        if (!(e.id & CONSTRUCTED))
            continue;
        if (depth == MM_CSR_DEPTH_MAX || !well_formed(e.content, depth + 1))
            return false;
    }
    return true;
}

/* The next part of a well-formed whole, which must be of that kind. */
static bool part(struct mm_bytes *in, uint8_t id, struct element *ret)
{
    return take(in, ret) && ret->id == id;
}

/* The parts that matter. */
struct request {
    struct mm_bytes info;      /* what is signed */
    struct mm_bytes spki;      /* SubjectPublicKeyInfo */
    struct mm_bytes algorithm; /* AlgorithmIdentifier */
    struct mm_bytes signature; /* DER in the BIT STRING */
};

/* CertificationRequestInfo ::= SEQUENCE { version, subject, subjectPKInfo, attributes [0] } */
static int read_info(struct mm_bytes in, struct request *ret, struct mm_errinfo *ei)
{
    struct element version, subject, spki, attributes;

    if (!part(&in, ID_INTEGER, &version) || !part(&in, ID_SEQUENCE, &subject) ||
        !part(&in, ID_SEQUENCE, &spki) || !part(&in, ID_ATTRIBUTES, &attributes) || in.len > 0)
        return malformed(ei, "the CertificationRequestInfo has not the parts that it must have");
    if (version.content.len != 1 || version.content.data[0] != 0)
        return malformed(ei, "the request's version is not 0");
    ret->spki = spki.whole;
    return MM_OK;
}

/* CertificationRequest ::= SEQUENCE { certificationRequestInfo, signatureAlgorithm, signature } */
static int read_request(struct mm_bytes der, struct request *ret, struct mm_errinfo *ei)
{
    struct element whole, info, algorithm, signature;
    struct mm_bytes in;

    if (!well_formed(der, 0))
        return malformed(ei, "the request is not DER, or is cut off, or nested too deep");
    if (!part(&der, ID_SEQUENCE, &whole))
        return malformed(ei, "the request is no SEQUENCE");
    if (der.len > 0)
        return malformed(ei, "there are bytes behind the request");
    in = whole.content;
    if (!part(&in, ID_SEQUENCE, &info) || !part(&in, ID_SEQUENCE, &algorithm) ||
        !part(&in, ID_BIT_STRING, &signature) || in.len > 0)
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
 * comparison rules out other algorithms, other curves, compressed points and infinity. */
static int check_key(const struct mm_profile *p, const struct request *request,
                     struct mm_bytes *ret_point, struct mm_errinfo *ei)
{
    const struct mm_bytes spki = request->spki;
    char text[96];

    snprintf(text, sizeof(text), "the key is not an uncompressed point on %s", p->key->group);
    if (spki.len != p->spki_prefix_len + p->key->point_len ||
        memcmp(spki.data, p->spki_prefix, p->spki_prefix_len) != 0 ||
        spki.data[p->spki_prefix_len] != POINT_CONVERSION_UNCOMPRESSED)
        return refuse(ei, "CSR_KEY_REFUSED", text);
    *ret_point = (struct mm_bytes){spki.data + p->spki_prefix_len, p->key->point_len};
    return MM_OK;
}

/* AlgorithmIdentifiers as RFC 5758 section 3.2 wants them: without parameters. */
static const EVP_MD *hash_of(struct mm_bytes algorithm)
{
    static const uint8_t prefix[] = {0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86,
                                     0x48, 0xce, 0x3d, 0x04, 0x03};

    if (algorithm.len != sizeof(prefix) + 1 || memcmp(algorithm.data, prefix, sizeof(prefix)) != 0)
        return NULL;
    switch (algorithm.data[sizeof(prefix)]) {
    case 2:
        return EVP_sha256();
    case 3:
        return EVP_sha384();
    case 4:
        return EVP_sha512();
    default:
        return NULL;
    }
}

/* Proof of possession. The verifier is also what finds a point off the curve. */
static int check_signature(const struct request *request, struct mm_bytes point,
                           struct mm_errinfo *ei)
{
    const EVP_MD *hash = hash_of(request->algorithm);
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

int mm_profile_check_csr(const struct mm_profile *p, struct mm_bytes der,
                         struct mm_bytes *ret_point, struct mm_errinfo *ei)
{
    struct request request = {.info = {NULL, 0}};
    struct mm_bytes point = {NULL, 0};
    char text[64];
    int r;

    snprintf(text, sizeof(text), "the request has more than %d bytes", MM_CSR_DER_MAX);
    if (der.len > MM_CSR_DER_MAX)
        return refuse(ei, "CSR_TOO_BIG", text);
    r = read_request(der, &request, ei);
    if (r == MM_OK)
        r = check_key(p, &request, &point, ei);
    if (r == MM_OK)
        r = check_signature(&request, point, ei);
    if (r == MM_OK)
        *ret_point = point;
    return r;
}
