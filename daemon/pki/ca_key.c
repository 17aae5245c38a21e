/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/pki/ca_key.h"

#include "daemon/pki/der.h"
#include "daemon/pki/internal.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <stdio.h>
#include <string.h>

#define TAKEN                                                                                      \
    "taken are ECDSA, and RSA with PKCS #1 v1.5 or PSS, each with SHA-256, SHA-384 or SHA-512"

struct mm_ca_key {
    struct mm_verifier *ec; /* or Ed25519; NULL: RSA */
    EVP_PKEY *key;
    EVP_MD_CTX *ctx;
};

/* What an AlgorithmIdentifier says; hash NULL: none that is taken. */
struct scheme {
    enum { SCHEME_ECDSA, SCHEME_RSA, SCHEME_PSS } kind;
    const EVP_MD *hash;
};

/* ---- keys -------------------------------------------------------------------------------- */

int mm_ca_key_check_kind(const X509 *ca, struct mm_errinfo *ei)
{
    EVP_PKEY *key = X509_get0_pubkey(ca);
    const int bits = key ? EVP_PKEY_get_bits(key) : 0;
    struct mm_bytes point;

    if (!key || !EVP_PKEY_is_a(key, "RSA"))
        return mm_pki_certificate_point(ca, &point, NULL) == MM_OK
                   ? MM_OK
                   : mm_fail(ei, MM_ERR_INVALID, "KEY_UNSUPPORTED",
                             "the CA's key is neither on P-256 or P-384, nor Ed25519, nor RSA");
    if (bits < MM_CA_RSA_BITS_MIN || bits > MM_CA_RSA_BITS_MAX)
        return mm_fail(ei, MM_ERR_INVALID, "KEY_UNSUPPORTED",
                       "the CA's RSA key has %d bits; it must have %d to %d", bits,
                       MM_CA_RSA_BITS_MIN, MM_CA_RSA_BITS_MAX);
    return MM_OK;
}

static int fill(struct mm_ca_key *k, const X509 *ca, struct mm_errinfo *ei)
{
    EVP_PKEY *key = X509_get0_pubkey(ca);
    struct mm_bytes point;
    int r = mm_ca_key_check_kind(ca, ei);

    if (r < 0)
        return r;
    if (!EVP_PKEY_is_a(key, "RSA")) {
        r = mm_pki_certificate_point(ca, &point, ei);
        if (r < 0 || (r = mm_verifier_new(point.data, point.len, &k->ec, ei)) < 0)
            return r;
    }
    if (EVP_PKEY_up_ref(key))
        k->key = key;
    k->ctx = EVP_MD_CTX_new();
    return k->key && k->ctx ? MM_OK : mm_fail_memory(ei);
}

int mm_ca_key_new(const X509 *ca, struct mm_ca_key **ret_key, struct mm_errinfo *ei)
{
    struct mm_ca_key *k = calloc(1, sizeof(*k));
    int r;

    if (!k)
        return mm_fail_memory(ei);
    r = fill(k, ca, ei);
    if (r < 0)
        mm_ca_key_free(k);
    else
        *ret_key = k;
    return r;
}

void mm_ca_key_free(struct mm_ca_key *k)
{
    if (!k)
        return;
    mm_verifier_free(k->ec);
    EVP_MD_CTX_free(k->ctx);
    EVP_PKEY_free(k->key);
    free(k);
}

/* ---- algorithms -------------------------------------------------------------------------- */

static const EVP_MD *taken_hash(int nid)
{
    switch (nid) {
    case NID_sha256:
        return EVP_sha256();
    case NID_sha384:
        return EVP_sha384();
    case NID_sha512:
        return EVP_sha512();
    default:
        return NULL;
    }
}

static int nid_of(const X509_ALGOR *a)
{
    return a ? OBJ_obj2nid(a->algorithm) : NID_undef;
}

/* RSASSA-PSS-params, RFC 4055 section 3.1. What is absent there is SHA-1, and so not taken. */
static const EVP_MD *pss_hash(const ASN1_TYPE *parameter)
{
    RSA_PSS_PARAMS *pss = parameter && parameter->type == V_ASN1_SEQUENCE
                              ? ASN1_TYPE_unpack_sequence(ASN1_ITEM_rptr(RSA_PSS_PARAMS), parameter)
                              : NULL;
    X509_ALGOR *mask_hash = NULL;
    const EVP_MD *hash = NULL;

    if (pss && nid_of(pss->maskGenAlgorithm) == NID_mgf1 && pss->maskGenAlgorithm->parameter &&
        pss->maskGenAlgorithm->parameter->type == V_ASN1_SEQUENCE)
        mask_hash =
            ASN1_TYPE_unpack_sequence(ASN1_ITEM_rptr(X509_ALGOR), pss->maskGenAlgorithm->parameter);
    if (mask_hash && nid_of(mask_hash) == nid_of(pss->hashAlgorithm) && !pss->trailerField &&
        pss->saltLength)
        hash = taken_hash(nid_of(mask_hash));
    if (hash && ASN1_INTEGER_get(pss->saltLength) != EVP_MD_get_size(hash))
        hash = NULL;
    X509_ALGOR_free(mask_hash);
    RSA_PSS_PARAMS_free(pss);
    return hash;
}

static struct scheme scheme_of(const X509_ALGOR *a)
{
    struct scheme s = {SCHEME_ECDSA, NULL};
    const int nid = nid_of(a), parameter = a->parameter ? a->parameter->type : V_ASN1_UNDEF;
    int hash = NID_undef, key = NID_undef;

    if (nid == NID_rsassaPss)
        return (struct scheme){SCHEME_PSS, pss_hash(a->parameter)};
    if (!OBJ_find_sigid_algs(nid, &hash, &key))
        return s;
    /* RFC 4055 section 5: NULL; RFC 5758 section 3.2: absent. */
    if (key == NID_rsaEncryption && parameter == V_ASN1_NULL)
        s = (struct scheme){SCHEME_RSA, taken_hash(hash)};
    else if (key == NID_X9_62_id_ecPublicKey && parameter == V_ASN1_UNDEF)
        s.hash = taken_hash(hash);
    return s;
}

static X509_ALGOR *read_algorithm(struct mm_bytes der)
{
    const uint8_t *at = der.data;
    X509_ALGOR *a = d2i_X509_ALGOR(NULL, &at, (long)der.len);

    if (a && at == der.data + der.len)
        return a;
    X509_ALGOR_free(a);
    ERR_clear_error();
    return NULL;
}

/* ---- signatures -------------------------------------------------------------------------- */

static bool rsa_holds(struct mm_ca_key *k, const struct scheme *s, struct mm_bytes signed_part,
                      struct mm_bytes signature)
{
    EVP_PKEY_CTX *ctx = NULL;
    bool good;

    EVP_MD_CTX_reset(k->ctx);
    good = EVP_DigestVerifyInit(k->ctx, &ctx, s->hash, NULL, k->key) == 1;
    if (good && s->kind == SCHEME_PSS)
        good = EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) == 1 &&
               EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, s->hash) == 1 &&
               EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST) == 1;
    good = good && EVP_DigestVerify(k->ctx, signature.data, signature.len, signed_part.data,
                                    signed_part.len) == 1;
    ERR_clear_error();
    return good;
}

static int ec_check(struct mm_ca_key *k, const EVP_MD *hash, struct mm_bytes signed_part,
                    struct mm_bytes signature, struct mm_errinfo *ei)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned len;

    if (EVP_Digest(signed_part.data, signed_part.len, digest, &len, hash, NULL) != 1)
        return mm_fail_memory(ei);
    return mm_verifier_check_der(k->ec, digest, len, signature, ei);
}

static int unknown_algorithm(const X509_ALGOR *a, struct mm_errinfo *ei)
{
    char name[64] = "an unknown algorithm";

    if (a)
        OBJ_obj2txt(name, sizeof(name), a->algorithm, 0);
    return mm_fail(ei, MM_ERR_CORRUPT, "SIGNATURE_ALGORITHM", "is signed by %s; " TAKEN, name);
}

static int invalid(struct mm_errinfo *ei)
{
    return mm_fail(ei, MM_ERR_CORRUPT, "SIGNATURE_INVALID",
                   "has a signature that is not by the issuer's key");
}

static int other_kind(struct mm_errinfo *ei)
{
    return mm_fail(ei, MM_ERR_CORRUPT, "SIGNATURE_ALGORITHM",
                   "is signed by an algorithm that is not of the CA's key");
}

/* Ed25519 signs the whole and not a digest (RFC 8410). */
static int pure_check(struct mm_ca_key *k, struct mm_bytes algorithm, struct mm_bytes signed_part,
                      struct mm_bytes signature, struct mm_errinfo *ei)
{
    if (!mm_ec_is_algorithm(k->ec->ec, algorithm))
        return other_kind(ei);
    return mm_verifier_check_der(k->ec, signed_part.data, signed_part.len, signature, NULL) < 0
               ? invalid(ei)
               : MM_OK;
}

int mm_ca_key_verify(struct mm_ca_key *k, struct mm_bytes algorithm, struct mm_bytes signed_part,
                     struct mm_bytes signature, struct mm_errinfo *ei)
{
    struct scheme s = {SCHEME_ECDSA, NULL};
    X509_ALGOR *a;
    int r = MM_OK;

    if (k->ec && mm_ec_is_pure(k->ec->ec))
        return pure_check(k, algorithm, signed_part, signature, ei);
    a = read_algorithm(algorithm);
    if (a)
        s = scheme_of(a);
    if (!s.hash)
        r = unknown_algorithm(a, ei);
    else if ((s.kind == SCHEME_ECDSA) != (k->ec != NULL))
        r = other_kind(ei);
    X509_ALGOR_free(a);
    if (r < 0)
        return r;
    if (k->ec)
        r = ec_check(k, s.hash, signed_part, signature, ei);
    else if (!rsa_holds(k, &s, signed_part, signature))
        r = MM_ERR_CORRUPT;
    return r == MM_OK || r == MM_ERR_MEMORY ? r : invalid(ei);
}

/* ---- CRLs -------------------------------------------------------------------------------- */

static int bad_crl(struct mm_errinfo *ei, const char *what)
{
    return mm_fail(ei, MM_ERR_CORRUPT, "BAD_CRL", "the CRL %s", what);
}

static bool is_subject(const X509 *ca, struct mm_bytes name)
{
    const unsigned char *der = NULL;
    size_t len = 0;

    return X509_NAME_get0_der(X509_get_subject_name(ca), &der, &len) &&
           mm_bytes_equal(name, (struct mm_bytes){der, len});
}

int mm_ca_key_check_crl(struct mm_ca_key *k, const X509 *ca, struct mm_bytes der,
                        struct mm_errinfo *ei)
{
    struct mm_der whole, tbs, version, algorithm, signature, own, issuer;
    struct mm_bytes in;
    struct mm_errinfo why;

    if (!mm_der_part(&der, MM_DER_SEQUENCE, &whole) || der.len > 0)
        return bad_crl(ei, "is not DER, or is cut off, or something follows it");
    in = whole.content;
    if (!mm_der_part(&in, MM_DER_SEQUENCE, &tbs) ||
        !mm_der_part(&in, MM_DER_SEQUENCE, &algorithm) ||
        !mm_der_part(&in, MM_DER_BIT_STRING, &signature) || in.len > 0 ||
        signature.content.len < 2 || signature.content.data[0] != 0)
        return bad_crl(ei, "has not the parts that it must have");
    in = tbs.content;
    if (!mm_der_part(&in, MM_DER_INTEGER, &version) || !mm_der_part(&in, MM_DER_SEQUENCE, &own) ||
        !mm_bytes_equal(own.whole, algorithm.whole) || !mm_der_part(&in, MM_DER_SEQUENCE, &issuer))
        return bad_crl(ei, "is not of version 2, or has not the parts that it must have");
    if (!is_subject(ca, issuer.whole))
        return bad_crl(ei, "is of another issuer");
    if (mm_ca_key_verify(k, algorithm.whole, tbs.whole,
                         (struct mm_bytes){signature.content.data + 1, signature.content.len - 1},
                         &why) < 0)
        return bad_crl(ei, why.text);
    return MM_OK;
}
