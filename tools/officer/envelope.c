/* SPDX-License-Identifier: Apache-2.0 */
/* Reading: RFC 5652 and RFC 5083 as they stand, with everything refused that is not needed. */
#include "tools/officer/envelope.h"

#include "daemon/base/limits.h"
#include "daemon/pki/der.h"

#include <openssl/asn1.h>
#include <openssl/err.h>
#include <openssl/objects.h>
#include <openssl/x509v3.h>
#include <string.h>

enum { CONTEXT_0_PRIMITIVE = 0x80, CONTEXT_1 = 0xa1, POINT_BYTES = 65 };

static int not_cms(struct mm_errinfo *ei, const char *what)
{
    return mm_fail(ei, MM_ERR_INVALID, "PACKAGE_NOT_CMS",
                   "the package is no CMS EnvelopedData or AuthEnvelopedData: %s", what);
}

static int bad_algorithm(struct mm_errinfo *ei, const char *what)
{
    return mm_fail(ei, MM_ERR_INVALID, "PACKAGE_ALGORITHM", "the package uses %s", what);
}

/* The object identifier of a content; NID_undef for those that libcrypto does not know. */
static int nid_of(struct mm_bytes oid)
{
    const unsigned char *at = oid.data;
    ASN1_OBJECT *object = d2i_ASN1_OBJECT(NULL, &at, (long)oid.len);
    const int nid = object ? OBJ_obj2nid(object) : NID_undef;

    ASN1_OBJECT_free(object);
    ERR_clear_error();
    return nid;
}

/* An AlgorithmIdentifier: its OID, and what is behind that. */
static bool take_algorithm(struct mm_bytes *in, uint8_t id, int *ret_nid,
                           struct mm_bytes *ret_parameters, struct mm_bytes *ret_whole)
{
    struct mm_der algorithm, oid;

    if (!mm_der_part(in, id, &algorithm) || !mm_der_part(&algorithm.content, MM_DER_OID, &oid))
        return false;
    *ret_nid = nid_of(oid.whole);
    *ret_parameters = algorithm.content;
    if (ret_whole)
        *ret_whole = algorithm.whole;
    return true;
}

/* NULL, or none at all. */
static bool no_parameters(struct mm_bytes parameters)
{
    static const uint8_t null[] = {0x05, 0x00};

    return parameters.len == 0 || mm_bytes_equal(parameters, (struct mm_bytes){null, sizeof(null)});
}

/* A version of one digit; -1 for another. */
static int take_version(struct mm_bytes *in)
{
    struct mm_der version;

    return mm_der_part(in, MM_DER_INTEGER, &version) && version.content.len == 1
               ? version.content.data[0]
               : -1;
}

/* ---- who it is for ----------------------------------------------------------------------- */

static bool same_integer(struct mm_bytes der, const ASN1_INTEGER *integer)
{
    unsigned char *again = NULL;
    const int len = i2d_ASN1_INTEGER(integer, &again);
    const bool same = len > 0 && mm_bytes_equal(der, (struct mm_bytes){again, (size_t)len});

    OPENSSL_free(again);
    return same;
}

/* IssuerAndSerialNumber, whose content this is. */
static bool names_issuer(struct mm_bytes in, const X509 *certificate)
{
    const unsigned char *name = NULL;
    struct mm_der issuer, serial;
    size_t len;

    return mm_der_part(&in, MM_DER_SEQUENCE, &issuer) &&
           mm_der_part(&in, MM_DER_INTEGER, &serial) && in.len == 0 &&
           X509_NAME_get0_der(X509_get_issuer_name(certificate), &name, &len) == 1 &&
           mm_bytes_equal(issuer.whole, (struct mm_bytes){name, len}) &&
           same_integer(serial.whole, X509_get0_serialNumber(certificate));
}

static bool names_key(struct mm_bytes id, const X509 *certificate)
{
    const ASN1_OCTET_STRING *const ski = X509_get0_subject_key_id((X509 *)(uintptr_t)certificate);

    return ski && mm_bytes_equal(id, (struct mm_bytes){ASN1_STRING_get0_data(ski),
                                                       (size_t)ASN1_STRING_length(ski)});
}

/* ---- key agreement ----------------------------------------------------------------------- */

/* originator [0] EXPLICIT: originatorKey [1] IMPLICIT, an ephemeral key on the recipient's curve.
 */
static int take_originator(struct mm_bytes *in, struct mm_envelope *e, struct mm_errinfo *ei)
{
    struct mm_bytes parameters;
    struct mm_der outer, key, bits;
    int nid;

    if (!mm_der_part(in, MM_DER_CONTEXT_0, &outer) ||
        !mm_der_part(&outer.content, CONTEXT_1, &key) || outer.content.len > 0)
        return not_cms(ei, "a key agreement without an ephemeral key");
    if (!take_algorithm(&key.content, MM_DER_SEQUENCE, &nid, &parameters, NULL) ||
        !mm_der_part(&key.content, MM_DER_BIT_STRING, &bits) || key.content.len > 0 ||
        bits.content.len != 1 + POINT_BYTES || bits.content.data[0] != 0 ||
        bits.content.data[1] != 0x04) /* uncompressed (SEC 1 section 2.3.3) */
        return not_cms(ei, "an ephemeral key of no known form");
    if (nid != NID_X9_62_id_ecPublicKey ||
        (!no_parameters(parameters) && nid_of(parameters) != NID_X9_62_prime256v1))
        return bad_algorithm(ei, "a key agreement that is not ECDH on P-256");
    e->originator = (struct mm_bytes){bits.content.data + 1, bits.content.len - 1};
    return MM_OK;
}

static int take_kdf(int nid, struct mm_envelope *e, struct mm_errinfo *ei)
{
    if (nid == NID_dhSinglePass_stdDH_sha256kdf_scheme)
        e->kdf = EVP_sha256();
    else if (nid == NID_dhSinglePass_stdDH_sha384kdf_scheme)
        e->kdf = EVP_sha384();
    else if (nid == NID_dhSinglePass_stdDH_sha512kdf_scheme)
        e->kdf = EVP_sha512();
    else
        return bad_algorithm(ei, "a key agreement other than ECDH with a KDF by SHA-256, SHA-384 "
                                 "or SHA-512 (openssl cms: -keyopt ecdh_kdf_md:sha256)");
    return MM_OK;
}

static int take_wrap(struct mm_bytes parameters, struct mm_envelope *e, struct mm_errinfo *ei)
{
    struct mm_bytes rest;
    int nid;

    if (!take_algorithm(&parameters, MM_DER_SEQUENCE, &nid, &rest, &e->wrap) || parameters.len > 0)
        return not_cms(ei, "a key agreement without a key wrap");
    if (nid != NID_id_aes256_wrap)
        return bad_algorithm(ei, "a key wrap other than that of AES-256");
    return MM_OK;
}

/* recipientEncryptedKeys: ours among them, if any. */
static int take_wrapped_key(struct mm_bytes keys, const X509 *certificate, struct mm_envelope *e,
                            bool *ret_found, struct mm_errinfo *ei)
{
    while (keys.len > 0) {
        struct mm_der one, id, key, ski;
        bool ours = false;

        if (!mm_der_part(&keys, MM_DER_SEQUENCE, &one) || !mm_der_take(&one.content, &id) ||
            !mm_der_part(&one.content, MM_DER_OCTET_STRING, &key) || one.content.len > 0 ||
            ++e->recipients > MM_PACKAGE_RECIPIENTS_MAX)
            return not_cms(ei, "a recipient of no known form, or too many of them");
        if (id.id == MM_DER_SEQUENCE)
            ours = names_issuer(id.content, certificate);
        else if (id.id == MM_DER_CONTEXT_0 && mm_der_part(&id.content, MM_DER_OCTET_STRING, &ski))
            ours = names_key(ski.content, certificate);
        if (!ours || *ret_found)
            continue;
        e->encrypted_key = key.content;
        *ret_found = true;
    }
    return MM_OK;
}

/* ukm [1] EXPLICIT OPTIONAL. */
static bool take_ukm(struct mm_bytes *in, struct mm_bytes *ret_ukm)
{
    struct mm_der outer, octets;

    if (in->len == 0 || in->data[0] != CONTEXT_1)
        return true;
    if (!mm_der_part(in, CONTEXT_1, &outer) ||
        !mm_der_part(&outer.content, MM_DER_OCTET_STRING, &octets) || outer.content.len > 0)
        return false;
    *ret_ukm = octets.content;
    return true;
}

/* KeyAgreeRecipientInfo; what is not ours need not be understood. */
static int take_agreement(struct mm_bytes in, const X509 *certificate, struct mm_envelope *e,
                          bool *ret_found, struct mm_errinfo *ei)
{
    struct mm_envelope mine = {.recipients = e->recipients, .version = 2};
    struct mm_bytes parameters, rest;
    struct mm_der originator, keys;
    bool found = false;
    int nid, r;

    if (take_version(&in) != 3)
        return not_cms(ei, "a key agreement of another version than 3");
    rest = in;
    if (!mm_der_take(&in, &originator) || !take_ukm(&in, &mine.ukm) ||
        !take_algorithm(&in, MM_DER_SEQUENCE, &nid, &parameters, NULL) ||
        !mm_der_part(&in, MM_DER_SEQUENCE, &keys) || in.len > 0)
        return not_cms(ei, "a key agreement of no known form");
    r = take_wrapped_key(keys.content, certificate, &mine, &found, ei);
    e->recipients = mine.recipients;
    e->version = 2;
    if (r < 0 || !found || *ret_found)
        return r;
    r = take_originator(&rest, &mine, ei);
    if (r == MM_OK)
        r = take_kdf(nid, &mine, ei);
    if (r == MM_OK)
        r = take_wrap(parameters, &mine, ei);
    *e = mine;
    *ret_found = true;
    return r;
}

/* ---- key transport ----------------------------------------------------------------------- */

/* A hash's AlgorithmIdentifier, and nothing behind it. */
static bool take_hash(struct mm_bytes in, int *ret_nid)
{
    struct mm_bytes parameters;

    return take_algorithm(&in, MM_DER_SEQUENCE, ret_nid, &parameters, NULL) &&
           no_parameters(parameters) && in.len == 0;
}

/* RSAES-OAEP-params (RFC 8017 appendix A.2.1): all three have defaults. False when broken. */
static bool take_oaep_hashes(struct mm_bytes *in, int *ret_hash, int *ret_mask_hash)
{
    struct mm_bytes mask;
    struct mm_der part;
    int nid;

    *ret_hash = *ret_mask_hash = NID_sha1;
    if (in->len > 0 && in->data[0] == MM_DER_CONTEXT_0 &&
        (!mm_der_part(in, MM_DER_CONTEXT_0, &part) || !take_hash(part.content, ret_hash)))
        return false;
    if (in->len == 0 || in->data[0] != CONTEXT_1)
        return true;
    return mm_der_part(in, CONTEXT_1, &part) &&
           take_algorithm(&part.content, MM_DER_SEQUENCE, &nid, &mask, NULL) && nid == NID_mgf1 &&
           part.content.len == 0 && take_hash(mask, ret_mask_hash);
}

static int take_oaep(struct mm_bytes parameters, struct mm_envelope *e, struct mm_errinfo *ei)
{
    struct mm_der params;
    int hash, mask_hash;

    if (!mm_der_part(&parameters, MM_DER_SEQUENCE, &params) || parameters.len > 0 ||
        !take_oaep_hashes(&params.content, &hash, &mask_hash))
        return not_cms(ei, "RSA-OAEP with broken parameters, or without them");
    if (params.content.len > 0)
        return bad_algorithm(ei, "RSA-OAEP with a label");
    if (hash != mask_hash || (hash != NID_sha1 && hash != NID_sha256))
        return bad_algorithm(ei, "RSA-OAEP with other hashes than SHA-1 or SHA-256 for both uses");
    e->oaep_sha256 = hash == NID_sha256;
    return MM_OK;
}

/* KeyTransRecipientInfo. */
static int take_transport(struct mm_bytes in, const X509 *certificate, struct mm_envelope *e,
                          bool *ret_found, struct mm_errinfo *ei)
{
    const int version = take_version(&in);
    struct mm_bytes parameters;
    struct mm_der id, key;
    bool ours = false;
    int nid;

    if (!mm_der_take(&in, &id) || !take_algorithm(&in, MM_DER_SEQUENCE, &nid, &parameters, NULL) ||
        !mm_der_part(&in, MM_DER_OCTET_STRING, &key) || in.len > 0 ||
        ++e->recipients > MM_PACKAGE_RECIPIENTS_MAX)
        return not_cms(ei, "a recipient of no known form, or too many of them");
    if (version != (id.id == MM_DER_SEQUENCE ? 0 : 2)) /* RFC 5652 section 6.2.1 */
        return not_cms(ei, "a key transport of another version than 0 or 2");
    e->version = version != 0 ? 2 : e->version;
    if (id.id == MM_DER_SEQUENCE)
        ours = names_issuer(id.content, certificate);
    else if (id.id == CONTEXT_0_PRIMITIVE)
        ours = names_key(id.content, certificate);
    if (!ours || *ret_found)
        return MM_OK;
    *ret_found = true;
    e->rsa = true;
    e->encrypted_key = key.content;
    if (nid != NID_rsaesOaep)
        return bad_algorithm(ei, "RSA other than OAEP (openssl cms: -keyopt "
                                 "rsa_padding_mode:oaep)");
    return take_oaep(parameters, e, ei);
}

static int take_recipients(struct mm_bytes in, const X509 *certificate, struct mm_envelope *e,
                           struct mm_errinfo *ei)
{
    bool found = false;
    int r = MM_OK;

    while (r == MM_OK && in.len > 0) {
        struct mm_der one;

        if (!mm_der_take(&in, &one))
            return not_cms(ei, "recipients of no known form");
        if (one.id == MM_DER_SEQUENCE)
            r = take_transport(one.content, certificate, e, &found, ei);
        else if (one.id == CONTEXT_1)
            r = take_agreement(one.content, certificate, e, &found, ei);
        else /* passwords, keys that are known beforehand, other kinds */
            r = not_cms(ei, "a recipient that is neither key agreement nor key transport");
    }
    if (r == MM_OK && !found)
        return mm_fail(ei, MM_ERR_PERMISSION, "PACKAGE_RECIPIENT",
                       "the package is not encrypted to this appliance's exchange certificate");
    return r;
}

/* ---- the content ------------------------------------------------------------------------- */

static int take_iv(struct mm_bytes parameters, struct mm_envelope *e, struct mm_errinfo *ei)
{
    const size_t want = e->authenticated ? 12 : 16;
    struct mm_bytes in = parameters;
    struct mm_der params, iv, tag_len;

    if (e->authenticated) { /* GCMParameters (RFC 5084 section 3.2) */
        if (!mm_der_part(&parameters, MM_DER_SEQUENCE, &params) || parameters.len > 0)
            return not_cms(ei, "AES-GCM without parameters");
        in = params.content;
    }
    if (!mm_der_part(&in, MM_DER_OCTET_STRING, &iv) || iv.content.len != want)
        return bad_algorithm(ei, "an initialisation vector of an unusual length");
    if (e->authenticated &&
        (!mm_der_part(&in, MM_DER_INTEGER, &tag_len) || tag_len.content.len != 1 ||
         tag_len.content.data[0] != MM_ENVELOPE_TAG_BYTES))
        return bad_algorithm(ei, "AES-GCM with a tag of less than 16 bytes");
    if (in.len > 0)
        return not_cms(ei, "parameters of no known form");
    memcpy(e->iv, iv.content.data, want);
    e->iv_len = want;
    return MM_OK;
}

/* EncryptedContentInfo. */
static int take_content(struct mm_bytes *in, struct mm_envelope *e, struct mm_errinfo *ei)
{
    const int want = e->authenticated ? NID_aes_256_gcm : NID_aes_256_cbc;
    struct mm_der info, type, ciphertext;
    struct mm_bytes parameters;
    int nid;

    if (!mm_der_part(in, MM_DER_SEQUENCE, &info) ||
        !mm_der_part(&info.content, MM_DER_OID, &type) || nid_of(type.whole) != NID_pkcs7_data ||
        !take_algorithm(&info.content, MM_DER_SEQUENCE, &nid, &parameters, NULL))
        return not_cms(ei, "content of no known form");
    if (nid != want)
        return bad_algorithm(ei, "a cipher other than AES-256 in GCM or CBC (openssl cms: "
                                 "-aes-256-gcm)");
    if (!mm_der_part(&info.content, CONTEXT_0_PRIMITIVE, &ciphertext) || info.content.len > 0 ||
        ciphertext.content.len == 0)
        return not_cms(ei, "there is no content in it");
    e->ciphertext = ciphertext.content;
    return take_iv(parameters, e, ei);
}

/* What follows the content: attributes that are authenticated, the tag, attributes that are not. */
static int take_end(struct mm_bytes *in, struct mm_envelope *e, struct mm_errinfo *ei)
{
    struct mm_der attributes, mac;

    if (!e->authenticated)
        return in->len == 0 ? MM_OK : not_cms(ei, "it has attributes that nothing protects");
    if (in->len > 0 && in->data[0] == CONTEXT_1) {
        if (!mm_der_part(in, CONTEXT_1, &attributes))
            return not_cms(ei, "attributes of no known form");
        e->attributes = attributes.whole;
    }
    if (!mm_der_part(in, MM_DER_OCTET_STRING, &mac) || in->len > 0 ||
        mac.content.len != MM_ENVELOPE_TAG_BYTES)
        return not_cms(ei, "no tag of 16 bytes at its end");
    memcpy(e->tag, mac.content.data, MM_ENVELOPE_TAG_BYTES);
    return MM_OK;
}

/* ContentInfo down to the fields of EnvelopedData. */
static int take_outer(struct mm_bytes der, bool *ret_authenticated, struct mm_bytes *ret_fields,
                      struct mm_errinfo *ei)
{
    struct mm_der info, type, explicit_0, enveloped;
    int nid;

    if (der.len > MM_PACKAGE_MAX)
        return mm_fail(ei, MM_ERR_TOO_BIG, "PACKAGE_TOO_BIG",
                       "the package has %zu bytes; at most %d are read", der.len, MM_PACKAGE_MAX);
    if (!mm_der_well_formed(der) || !mm_der_part(&der, MM_DER_SEQUENCE, &info) || der.len > 0)
        return mm_fail(ei, MM_ERR_INVALID, "PACKAGE_NOT_DER",
                       "the package is not DER: it is BER or PEM, is cut off, or something follows "
                       "its end (openssl cms: -outform DER, and not -stream)");
    if (!mm_der_part(&info.content, MM_DER_OID, &type) ||
        !mm_der_part(&info.content, MM_DER_CONTEXT_0, &explicit_0) || info.content.len > 0 ||
        !mm_der_part(&explicit_0.content, MM_DER_SEQUENCE, &enveloped) ||
        explicit_0.content.len > 0)
        return not_cms(ei, "the outer form is another");
    nid = nid_of(type.whole);
    if (nid != NID_pkcs7_enveloped && nid != NID_id_smime_ct_authEnvelopedData)
        return not_cms(ei, "its type is another");
    *ret_authenticated = nid == NID_id_smime_ct_authEnvelopedData;
    *ret_fields = enveloped.content;
    return MM_OK;
}

int mm_envelope_read(struct mm_bytes der, const X509 *certificate, struct mm_envelope *ret_envelope,
                     struct mm_errinfo *ei)
{
    struct mm_envelope e = {.rsa = false};
    struct mm_der recipients;
    bool authenticated = false;
    struct mm_bytes in = {NULL, 0};
    int version;
    int r = take_outer(der, &authenticated, &in, ei);

    if (r < 0)
        return r;
    version = take_version(&in);
    /* originatorInfo would stand here: certificates of static keys, which nobody wants. */
    if (!mm_der_part(&in, MM_DER_SET, &recipients))
        return not_cms(ei, "its recipients are not where they belong");
    r = take_recipients(recipients.content, certificate, &e, ei);
    /* RFC 5652 section 6.1, RFC 5083 section 2.1. */
    if (r == MM_OK && version != (authenticated ? 0 : e.version))
        return not_cms(ei, "its version does not go with its recipients");
    e.authenticated = authenticated;
    if (r == MM_OK)
        r = take_content(&in, &e, ei);
    if (r == MM_OK)
        r = take_end(&in, &e, ei);
    if (r == MM_OK)
        *ret_envelope = e;
    return r;
}
