/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a document: from bytes that anybody may have sent to a content that its signer said. */
#include "daemon/document/internal.h"
#include "proto/grpc/unpack.h"

#include <openssl/objects.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <string.h>

enum { RSA_BITS_MIN = 2048, RSA_BITS_MAX = 8192 };

void mm_document_done(struct mm_document *document)
{
    sk_X509_pop_free(document->certificates, X509_free);
    *document = MM_DOCUMENT_INIT;
}

static int refuse(struct mm_errinfo *ei, const char *reason, const char *text)
{
    ERR_clear_error();
    return mm_fail(ei, MM_ERR_INVALID, reason, "%s", text);
}

/* ---- the container ----------------------------------------------------------------------- */

/* Parsed again from what was parsed, it is the same bytes: nothing was passed over or put right. */
static bool parses_whole(CMS_ContentInfo *cms, struct mm_bytes der)
{
    unsigned char *again = NULL;
    const int len = i2d_CMS_ContentInfo(cms, &again);
    const bool same = len > 0 && (size_t)len == der.len && memcmp(again, der.data, der.len) == 0;

    OPENSSL_clear_free(again, len > 0 ? (size_t)len : 0);
    return same;
}

static int parse(struct mm_bytes der, size_t max, CMS_ContentInfo **ret_cms, struct mm_errinfo *ei)
{
    MM_CLEANUP(CMS_ContentInfo_free_p) CMS_ContentInfo *cms = NULL;
    const unsigned char *at = der.data;
    ASN1_OCTET_STRING **content;

    if (der.len > max)
        return mm_fail(ei, MM_ERR_TOO_BIG, "DOCUMENT_TOO_BIG",
                       "the document has %zu bytes; at most %zu are read", der.len, max);
    if (mm_der_check(der, ei) < 0)
        return MM_ERR_INVALID;
    cms = d2i_CMS_ContentInfo(NULL, &at, (long)der.len);
    if (!cms || OBJ_obj2nid(CMS_get0_type(cms)) != NID_pkcs7_signed || !parses_whole(cms, der))
        return refuse(ei, "DOCUMENT_NOT_CMS", "the document is no CMS SignedData");
    if (OBJ_obj2nid(CMS_get0_eContentType(cms)) != NID_pkcs7_data)
        return refuse(ei, "DOCUMENT_TYPE", "the signed content is not of type id-data");
    content = CMS_get0_content(cms);
    if (!content || !*content || ASN1_STRING_length(*content) == 0)
        return refuse(ei, "DOCUMENT_DETACHED", "the document has a signature, but no content");
    *ret_cms = MM_TAKE(cms);
    return MM_OK;
}

/* ---- the signer -------------------------------------------------------------------------- */

const EVP_MD *mm_document_digest(const EVP_PKEY *key)
{
    const int bits = EVP_PKEY_get_bits(key);
    char group[32];

    if (EVP_PKEY_is_a(key, "RSA"))
        return bits >= RSA_BITS_MIN && bits <= RSA_BITS_MAX ? EVP_sha256() : NULL;
    if (!EVP_PKEY_is_a(key, "EC") || EVP_PKEY_get_group_name(key, group, sizeof(group), NULL) != 1)
        return NULL;
    if (strcmp(group, SN_X9_62_prime256v1) == 0)
        return EVP_sha256();
    return strcmp(group, SN_secp384r1) == 0 ? EVP_sha384() : NULL;
}

/* The digest is one of ours, and the signature's own algorithm says the same. */
static bool algorithms_known(CMS_SignerInfo *info, const EVP_PKEY *key)
{
    X509_ALGOR *digest_alg, *signature_alg;
    const ASN1_OBJECT *object;
    int digest, signature, signed_digest, kind;

    if (!mm_document_digest(key))
        return false;
    CMS_SignerInfo_get0_algs(info, NULL, NULL, &digest_alg, &signature_alg);
    X509_ALGOR_get0(&object, NULL, NULL, digest_alg);
    digest = OBJ_obj2nid(object);
    if (digest != NID_sha256 && digest != NID_sha384 && digest != NID_sha512)
        return false;
    X509_ALGOR_get0(&object, NULL, NULL, signature_alg);
    signature = OBJ_obj2nid(object);
    if (EVP_PKEY_is_a(key, "RSA") && (signature == NID_rsaEncryption || signature == NID_rsassaPss))
        return true;
    return OBJ_find_sigid_algs(signature, &signed_digest, &kind) == 1 && signed_digest == digest &&
           kind == (EVP_PKEY_is_a(key, "RSA") ? NID_rsaEncryption : NID_X9_62_id_ecPublicKey);
}

/* RFC 5652 section 11: content type and message digest, once each. Without signed attributes the
 * signature would be over the content itself, and a content could be made up that reads as another
 * document's attributes. Unsigned ones can be changed by anybody on the way. */
static bool attributes_right(CMS_SignerInfo *info)
{
    const ASN1_OBJECT *type =
        CMS_signed_get0_data_by_OBJ(info, OBJ_nid2obj(NID_pkcs9_contentType), -3, V_ASN1_OBJECT);

    return type && OBJ_obj2nid(type) == NID_pkcs7_data &&
           CMS_signed_get0_data_by_OBJ(info, OBJ_nid2obj(NID_pkcs9_messageDigest), -3,
                                       V_ASN1_OCTET_STRING) &&
           CMS_unsigned_get_attr_count(info) <= 0;
}

static X509 *find_signer(CMS_SignerInfo *info, STACK_OF(X509) * certificates)
{
    for (int i = 0; i < sk_X509_num(certificates); i++) {
        X509 *cert = sk_X509_value(certificates, i);

        if (CMS_SignerInfo_cert_cmp(info, cert) == 0)
            return cert;
    }
    return NULL;
}

static int take_signer(CMS_ContentInfo *cms, struct mm_document *document,
                       CMS_SignerInfo **ret_info, struct mm_errinfo *ei)
{
    STACK_OF(CMS_SignerInfo) *infos = CMS_get0_SignerInfos(cms);
    CMS_SignerInfo *info;
    EVP_PKEY *key;

    if (sk_CMS_SignerInfo_num(infos) != 1)
        return mm_fail(ei, MM_ERR_INVALID, "DOCUMENT_SIGNERS",
                       "the document has %d signers; it must have one",
                       infos ? sk_CMS_SignerInfo_num(infos) : 0);
    info = sk_CMS_SignerInfo_value(infos, 0);
    document->certificates = CMS_get1_certs(cms);
    document->signer = find_signer(info, document->certificates);
    if (!document->signer)
        return refuse(ei, "DOCUMENT_NO_CERTIFICATE",
                      "the signer's certificate is not in the document");
    if (!attributes_right(info))
        return refuse(ei, "DOCUMENT_ATTRIBUTES",
                      "the signature has no signed attributes (content type, message digest), or "
                      "unsigned ones");
    key = X509_get0_pubkey(document->signer);
    if (!key || !algorithms_known(info, key))
        return refuse(ei, "DOCUMENT_ALGORITHM",
                      "signed with an algorithm that is not taken: ECDSA on P-256 or P-384, or RSA "
                      "of 2048 bits or more; SHA-256, SHA-384, SHA-512");
    CMS_SignerInfo_set1_signer_cert(info, document->signer);
    *ret_info = info;
    return MM_OK;
}

/* RSASSA-PSS names a second digest; by default it is SHA-1. */
static bool mask_right(CMS_SignerInfo *info)
{
    EVP_PKEY_CTX *ctx = CMS_SignerInfo_get0_pkey_ctx(info);
    const EVP_MD *mask = NULL;
    int padding;

    if (!ctx || EVP_PKEY_CTX_get_rsa_padding(ctx, &padding) <= 0 ||
        padding != RSA_PKCS1_PSS_PADDING) {
        ERR_clear_error();
        return true;
    }
    return EVP_PKEY_CTX_get_rsa_mgf1_md(ctx, &mask) > 0 && mask &&
           (EVP_MD_is_a(mask, "SHA256") || EVP_MD_is_a(mask, "SHA384") ||
            EVP_MD_is_a(mask, "SHA512"));
}

static int verify(CMS_ContentInfo *cms, CMS_SignerInfo *info, struct mm_errinfo *ei)
{
    if (CMS_verify(cms, NULL, NULL, NULL, NULL, CMS_BINARY | CMS_NO_SIGNER_CERT_VERIFY) != 1)
        return refuse(ei, "DOCUMENT_SIGNATURE", "the signature is wrong");
    if (!mask_right(info))
        return refuse(ei, "DOCUMENT_ALGORITHM", "RSASSA-PSS with a mask digest that is not taken");
    return MM_OK;
}

static int describe_signer(struct mm_document *document, struct mm_errinfo *ei)
{
    MM_CLEANUP(BIO_free_all_p) BIO *bio = BIO_new(BIO_s_mem());
    int len;

    if (!bio ||
        X509_NAME_print_ex(bio, X509_get_subject_name(document->signer), 0, XN_FLAG_RFC2253) < 0 ||
        X509_digest(document->signer, EVP_sha256(), document->signer_sha256, NULL) != 1)
        return mm_fail_memory(ei);
    len = BIO_read(bio, document->signer_name, sizeof(document->signer_name) - 1);
    document->signer_name[len > 0 ? len : 0] = 0;
    return MM_OK;
}

/* ---- the content ------------------------------------------------------------------------- */

/* In the document or in the one message that it holds; no deeper. */
static bool has_unknown(const Mintmark__V1__SignedDocument *d)
{
    /* All members of the union are pointers to messages. */
    return d->base.n_unknown_fields > 0 || d->production_order->base.n_unknown_fields > 0;
}

static int unpack(CMS_ContentInfo *cms, struct mm_arena *arena, struct mm_document *document,
                  struct mm_errinfo *ei)
{
    const ASN1_OCTET_STRING *content = *CMS_get0_content(cms);
    const Mintmark__V1__SignedDocument *d;
    ProtobufCMessage *message;
    int r =
        mm_grpc_unpack(&mintmark__v1__signed_document__descriptor, ASN1_STRING_get0_data(content),
                       (size_t)ASN1_STRING_length(content), arena, &message, ei);

    if (r == MM_ERR_MEMORY)
        return r;
    if (r < 0)
        return refuse(ei, "DOCUMENT_CONTENT", "the signed content is no document of mintmark");
    d = (const Mintmark__V1__SignedDocument *)message;
    if (d->document_case == MINTMARK__V1__SIGNED_DOCUMENT__DOCUMENT__NOT_SET || has_unknown(d))
        return refuse(ei, "DOCUMENT_CONTENT",
                      "the document has a kind or a term that this version does not know");
    document->content = d;
    return MM_OK;
}

static int open_any(struct mm_bytes cms, size_t max, CMS_ContentInfo **ret_parsed,
                    struct mm_document *document, struct mm_errinfo *ei)
{
    CMS_SignerInfo *info = NULL;
    int r = parse(cms, max, ret_parsed, ei);

    if (r == MM_OK)
        r = take_signer(*ret_parsed, document, &info, ei);
    if (r == MM_OK)
        r = verify(*ret_parsed, info, ei);
    return r < 0 ? r : describe_signer(document, ei);
}

int mm_document_open(struct mm_bytes cms, struct mm_arena *arena, struct mm_document *ret_document,
                     struct mm_errinfo *ei)
{
    MM_CLEANUP(CMS_ContentInfo_free_p) CMS_ContentInfo *parsed = NULL;
    struct mm_document document = MM_DOCUMENT_INIT;
    int r = open_any(cms, MM_DOCUMENT_MAX, &parsed, &document, ei);

    if (r == MM_OK)
        r = unpack(parsed, arena, &document, ei);
    if (r < 0) {
        mm_document_done(&document);
        return r;
    }
    *ret_document = document;
    return MM_OK;
}

/* The content may be secret: libcrypto frees it as it is. */
static void take_content(CMS_ContentInfo *cms, struct mm_buf *content)
{
    ASN1_OCTET_STRING *const octets = *CMS_get0_content(cms);

    mm_buf_append(content, ASN1_STRING_get0_data(octets), (size_t)ASN1_STRING_length(octets));
    OPENSSL_cleanse((void *)(uintptr_t)ASN1_STRING_get0_data(octets),
                    (size_t)ASN1_STRING_length(octets));
}

int mm_document_open_bytes(struct mm_bytes cms, size_t max, struct mm_document *ret_document,
                           struct mm_buf *content, struct mm_errinfo *ei)
{
    MM_CLEANUP(CMS_ContentInfo_free_p) CMS_ContentInfo *parsed = NULL;
    struct mm_document document = MM_DOCUMENT_INIT;
    int r = open_any(cms, max, &parsed, &document, ei);

    if (parsed)
        take_content(parsed, content);
    if (r == MM_OK && mm_buf_err(content) < 0)
        r = mm_fail(ei, mm_buf_err(content), "DOCUMENT_TOO_BIG", "no room for the content");
    if (r < 0) {
        mm_buf_reset(content);
        mm_document_done(&document);
        return r;
    }
    *ret_document = document;
    return MM_OK;
}
