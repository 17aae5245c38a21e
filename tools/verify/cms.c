/* SPDX-License-Identifier: Apache-2.0 */
/* CMS SignedData (RFC 5652), as narrow as docs/orders.md has it. */
#include "tools/verify/audit.h"

#include <openssl/err.h>
#include <openssl/objects.h>
#include <openssl/rsa.h>
#include <stdio.h>
#include <string.h>

enum { RSA_BITS_MIN = 2048, RSA_BITS_MAX = 8192 };

static const char *fault(const char *code, char why[TEXT_MAX], const char *text)
{
    ERR_clear_error();
    snprintf(why, TEXT_MAX, "%s", text);
    return code;
}

/* libcrypto passes over a little that is wrong: what it read must be what is there. */
static bool read_exactly(struct signature *s, const uint8_t *der, size_t len)
{
    const uint8_t *at = der;
    uint8_t *again = NULL;
    int n;
    bool same;

    s->cms = d2i_CMS_ContentInfo(NULL, &at, (long)len);
    if (!s->cms)
        return false;
    n = i2d_CMS_ContentInfo(s->cms, &again);
    same = n > 0 && (size_t)n == len && memcmp(again, der, len) == 0;
    OPENSSL_free(again);
    return same;
}

/* RFC 5652 sections 5.1 and 5.3: 1 where the signer is named by issuer and serial number, 3 where
 * by the key's identifier. */
static bool versions_right(const uint8_t *der, size_t len)
{
    int signed_data, signer_info;

    return der_cms_versions(der, len, &signed_data, &signer_info) && signed_data == signer_info &&
           (signed_data == 1 || signed_data == 3);
}

static const char *read_container(struct signature *s, const uint8_t *der, size_t len,
                                  bool detached, char why[TEXT_MAX])
{
    const char *not_der;
    ASN1_OCTET_STRING **content;

    if (len > DOCUMENT_MAX)
        return fault("DOCUMENT_TOO_BIG", why, "it has more than 64 KiB");
    not_der = der_fault(der, len);
    if (not_der)
        return fault("DOCUMENT_NOT_DER", why, not_der);
    if (!read_exactly(s, der, len) || OBJ_obj2nid(CMS_get0_type(s->cms)) != NID_pkcs7_signed)
        return fault("DOCUMENT_NOT_CMS", why, "it is no CMS SignedData");
    if (OBJ_obj2nid(CMS_get0_eContentType(s->cms)) != NID_pkcs7_data)
        return fault("DOCUMENT_TYPE", why, "what is signed is not of type id-data");
    if (sk_CMS_SignerInfo_num(CMS_get0_SignerInfos(s->cms)) == 1 && !versions_right(der, len))
        return fault("DOCUMENT_NOT_CMS", why, "its version numbers are not those of its form");
    content = CMS_get0_content(s->cms);
    if (detached && content && *content)
        return fault("DOCUMENT_ATTACHED", why, "the signature has a content of its own inside");
    if (detached)
        return NULL;
    if (!content || !*content || ASN1_STRING_length(*content) == 0)
        return fault("DOCUMENT_DETACHED", why, "there is a signature, but nothing that it signs");
    s->content = ASN1_STRING_get0_data(*content);
    s->content_len = (size_t)ASN1_STRING_length(*content);
    return NULL;
}

/* Curve or size of the key. */
static bool key_taken(const EVP_PKEY *key)
{
    const int bits = EVP_PKEY_get_bits(key);
    char group[32];

    if (EVP_PKEY_is_a(key, "RSA"))
        return bits >= RSA_BITS_MIN && bits <= RSA_BITS_MAX;
    return EVP_PKEY_is_a(key, "EC") &&
           EVP_PKEY_get_group_name(key, group, sizeof(group), NULL) == 1 &&
           (strcmp(group, SN_X9_62_prime256v1) == 0 || strcmp(group, SN_secp384r1) == 0);
}

static int nid_of(const X509_ALGOR *algorithm)
{
    const ASN1_OBJECT *object;

    X509_ALGOR_get0(&object, NULL, NULL, algorithm);
    return OBJ_obj2nid(object);
}

static bool algorithms_taken(CMS_SignerInfo *info, const EVP_PKEY *key)
{
    X509_ALGOR *digest_alg, *signature_alg;
    int digest, signature, signed_digest, kind;

    CMS_SignerInfo_get0_algs(info, NULL, NULL, &digest_alg, &signature_alg);
    digest = nid_of(digest_alg);
    signature = nid_of(signature_alg);
    if (!key_taken(key) || (digest != NID_sha256 && digest != NID_sha384 && digest != NID_sha512))
        return false;
    if (EVP_PKEY_is_a(key, "RSA") && (signature == NID_rsaEncryption || signature == NID_rsassaPss))
        return true;
    return OBJ_find_sigid_algs(signature, &signed_digest, &kind) == 1 && signed_digest == digest &&
           kind == (EVP_PKEY_is_a(key, "RSA") ? NID_rsaEncryption : NID_X9_62_id_ecPublicKey);
}

/* Without signed attributes a content could be made that reads as the attributes of another
 * signature (RFC 8933); unsigned ones are nobody's word. */
static bool attributes_right(CMS_SignerInfo *info)
{
    const ASN1_OBJECT *type =
        CMS_signed_get0_data_by_OBJ(info, OBJ_nid2obj(NID_pkcs9_contentType), -3, V_ASN1_OBJECT);

    return type && OBJ_obj2nid(type) == NID_pkcs7_data &&
           CMS_signed_get0_data_by_OBJ(info, OBJ_nid2obj(NID_pkcs9_messageDigest), -3,
                                       V_ASN1_OCTET_STRING) &&
           CMS_unsigned_get_attr_count(info) <= 0;
}

static const char *find_signer(struct signature *s, CMS_SignerInfo **ret_info, char why[TEXT_MAX])
{
    STACK_OF(CMS_SignerInfo) *infos = CMS_get0_SignerInfos(s->cms);
    CMS_SignerInfo *info;

    if (!infos || sk_CMS_SignerInfo_num(infos) != 1)
        return fault("DOCUMENT_SIGNERS", why, "it has not exactly one signer");
    info = sk_CMS_SignerInfo_value(infos, 0);
    s->certificates = CMS_get1_certs(s->cms);
    for (int i = 0; i < sk_X509_num(s->certificates); i++) {
        if (CMS_SignerInfo_cert_cmp(info, sk_X509_value(s->certificates, i)) == 0)
            s->signer = sk_X509_value(s->certificates, i);
    }
    if (!s->signer)
        return fault("DOCUMENT_NO_CERTIFICATE", why, "the signer's certificate is not inside");
    if (!attributes_right(info))
        return fault(
            "DOCUMENT_ATTRIBUTES", why,
            "it has no signed attributes (content type, message digest), or unsigned ones");
    if (!X509_get0_pubkey(s->signer) || !algorithms_taken(info, X509_get0_pubkey(s->signer)))
        return fault("DOCUMENT_ALGORITHM", why,
                     "the algorithm is not taken: ECDSA on P-256 or P-384, or RSA of 2048 bits or "
                     "more; SHA-256, SHA-384, SHA-512");
    CMS_SignerInfo_set1_signer_cert(info, s->signer);
    *ret_info = info;
    return NULL;
}

/* RSASSA-PSS has a second digest inside, SHA-1 unless it says otherwise. */
static bool mask_taken(CMS_SignerInfo *info)
{
    EVP_PKEY_CTX *ctx = CMS_SignerInfo_get0_pkey_ctx(info);
    const EVP_MD *mask = NULL;
    int padding = 0;

    if (!ctx || EVP_PKEY_CTX_get_rsa_padding(ctx, &padding) <= 0 ||
        padding != RSA_PKCS1_PSS_PADDING)
        return true;
    return EVP_PKEY_CTX_get_rsa_mgf1_md(ctx, &mask) > 0 && mask &&
           (EVP_MD_is_a(mask, "SHA256") || EVP_MD_is_a(mask, "SHA384") ||
            EVP_MD_is_a(mask, "SHA512"));
}

static void name_signer(struct signature *s)
{
    BIO *bio = BIO_new(BIO_s_mem());
    int len = 0;

    if (bio && X509_NAME_print_ex(bio, X509_get_subject_name(s->signer), 0, XN_FLAG_RFC2253) >= 0)
        len = BIO_read(bio, s->signer_name, sizeof(s->signer_name) - 1);
    s->signer_name[len > 0 ? len : 0] = 0;
    BIO_free(bio);
}

const char *signature_open(struct signature *s, const uint8_t *der, size_t len, BIO *content,
                           char why[TEXT_MAX])
{
    const unsigned flags = CMS_BINARY | CMS_NO_SIGNER_CERT_VERIFY;
    CMS_SignerInfo *info = NULL;
    const char *code;

    *s = (struct signature){.cms = NULL};
    code = read_container(s, der, len, content, why);
    if (!code)
        code = find_signer(s, &info, why);
    if (code)
        return code;
    if (CMS_verify(s->cms, NULL, NULL, content, NULL, flags) != 1)
        return fault("DOCUMENT_SIGNATURE", why, "the signature does not fit what is signed");
    if (!mask_taken(info))
        return fault("DOCUMENT_ALGORITHM", why, "RSASSA-PSS with a mask digest that is not taken");
    ERR_clear_error();
    name_signer(s);
    return NULL;
}

const char *signature_open_digest(struct signature *s, const uint8_t *der, size_t len,
                                  const uint8_t sha256[SHA256_LEN], char why[TEXT_MAX])
{
    const ASN1_OCTET_STRING *digest;
    CMS_SignerInfo *info = NULL;
    const char *code;

    *s = (struct signature){.cms = NULL};
    code = read_container(s, der, len, true, why);
    if (!code)
        code = find_signer(s, &info, why);
    if (code)
        return code;
    digest = CMS_signed_get0_data_by_OBJ(info, OBJ_nid2obj(NID_pkcs9_messageDigest), -3,
                                         V_ASN1_OCTET_STRING);
    if (!digest || ASN1_STRING_length(digest) != SHA256_LEN ||
        memcmp(ASN1_STRING_get0_data(digest), sha256, SHA256_LEN) != 0)
        return fault("DOCUMENT_SIGNATURE", why, "it signs something else");
    if (CMS_SignerInfo_verify(info) != 1)
        return fault("DOCUMENT_SIGNATURE", why, "the signature is wrong");
    if (!mask_taken(info))
        return fault("DOCUMENT_ALGORITHM", why, "RSASSA-PSS with a mask digest that is not taken");
    ERR_clear_error();
    name_signer(s);
    return NULL;
}

void signature_done(struct signature *s)
{
    sk_X509_pop_free(s->certificates, X509_free);
    CMS_ContentInfo_free(s->cms);
    *s = (struct signature){.cms = NULL};
}
