/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/document/draft.h"

#include "daemon/document/internal.h"

#include <openssl/asn1t.h>
#include <openssl/ecdsa.h>

MM_DEFINE_CLEANUP(ECDSA_SIG *, ECDSA_SIG_free)

static int fail(struct mm_errinfo *ei, const char *what)
{
    ERR_clear_error();
    return mm_fail(ei, MM_ERR_INTERNAL, "DOCUMENT_MAKING", "libcrypto cannot %s", what);
}

void mm_document_draft_done(struct mm_document_draft *draft)
{
    CMS_ContentInfo_free(draft->cms);
    *draft = (struct mm_document_draft){0};
}

static int attach(CMS_ContentInfo *cms, struct mm_bytes content, struct mm_errinfo *ei)
{
    ASN1_OCTET_STRING **attached = CMS_get0_content(cms);

    if (attached && !*attached)
        *attached = ASN1_OCTET_STRING_new();
    if (!attached || !*attached || content.len > MM_DOCUMENT_MAX ||
        ASN1_OCTET_STRING_set(*attached, content.data, (int)content.len) != 1)
        return fail(ei, "attach the content");
    return MM_OK;
}

/* RFC 5652 section 11: content type and message digest. */
static int add_attributes(CMS_SignerInfo *info,
                          const uint8_t content_sha256[MM_DOCUMENT_HASH_BYTES],
                          struct mm_errinfo *ei)
{
    if (CMS_signed_get_attr_by_NID(info, NID_pkcs9_contentType, -1) < 0 &&
        CMS_signed_add1_attr_by_NID(info, NID_pkcs9_contentType, V_ASN1_OBJECT,
                                    OBJ_nid2obj(NID_pkcs7_data), -1) != 1)
        return fail(ei, "name the content's type");
    if (CMS_signed_add1_attr_by_NID(info, NID_pkcs9_messageDigest, V_ASN1_OCTET_STRING,
                                    content_sha256, MM_DOCUMENT_HASH_BYTES) != 1)
        return fail(ei, "hold the content's digest");
    return MM_OK;
}

/* RFC 5652 section 5.4: what is signed is the attributes as a SET OF, in DER. */
ASN1_ITEM_TEMPLATE(SIGNED_ATTRIBUTES) = ASN1_EX_TEMPLATE_TYPE(ASN1_TFLG_SET_OF, 0, attributes,
                                                              X509_ATTRIBUTE)
    static_ASN1_ITEM_TEMPLATE_END(SIGNED_ATTRIBUTES);

static int digest_attributes(CMS_SignerInfo *info, uint8_t ret_digest[MM_DOCUMENT_HASH_BYTES],
                             struct mm_errinfo *ei)
{
    STACK_OF(X509_ATTRIBUTE) *attributes = sk_X509_ATTRIBUTE_new_null();
    bool good = attributes != NULL;

    for (int i = 0; good && i < CMS_signed_get_attr_count(info); i++)
        good = sk_X509_ATTRIBUTE_push(attributes, CMS_signed_get_attr(info, i)) > 0;
    good = good && ASN1_item_digest(ASN1_ITEM_rptr(SIGNED_ATTRIBUTES), EVP_sha256(), attributes,
                                    ret_digest, NULL) == 1;
    sk_X509_ATTRIBUTE_free(attributes);
    return good ? MM_OK : fail(ei, "make the digest of the attributes");
}

/* content is NULL for a detached signature. */
static int draft(X509 *certificate, const struct mm_bytes *content,
                 const uint8_t content_sha256[MM_DOCUMENT_HASH_BYTES],
                 struct mm_document_draft *ret_draft, uint8_t ret_digest[MM_DOCUMENT_HASH_BYTES],
                 struct mm_errinfo *ei)
{
    const unsigned flags =
        CMS_BINARY | CMS_NOSMIMECAP | CMS_PARTIAL | (content ? 0 : (unsigned)CMS_DETACHED);
    MM_DOCUMENT_DRAFT_CLEANUP struct mm_document_draft draft = {
        .cms = CMS_sign(NULL, NULL, NULL, NULL, flags)};
    X509_ALGOR *algorithm = NULL;
    int r;

    if (!draft.cms)
        return fail(ei, "begin a document");
    r = content ? attach(draft.cms, *content, ei) : MM_OK;
    if (r < 0)
        return r;
    /* Partial: libcrypto does not sign, so the public key will do. */
    draft.info =
        CMS_add1_signer(draft.cms, certificate, X509_get0_pubkey(certificate), EVP_sha256(), flags);
    if (!draft.info)
        return fail(ei, "add a signer");
    CMS_SignerInfo_get0_algs(draft.info, NULL, NULL, NULL, &algorithm);
    if (X509_ALGOR_set0(algorithm, OBJ_nid2obj(NID_ecdsa_with_SHA256), V_ASN1_UNDEF, NULL) != 1)
        return fail(ei, "name the algorithm");
    r = add_attributes(draft.info, content_sha256, ei);
    if (r == MM_OK)
        r = digest_attributes(draft.info, ret_digest, ei);
    if (r < 0)
        return r;
    *ret_draft = draft;
    draft = (struct mm_document_draft){0};
    return MM_OK;
}

int mm_document_draft(X509 *certificate, struct mm_bytes content,
                      struct mm_document_draft *ret_draft,
                      uint8_t ret_digest[MM_DOCUMENT_HASH_BYTES], struct mm_errinfo *ei)
{
    uint8_t sha256[MM_DOCUMENT_HASH_BYTES];

    if (EVP_Digest(content.data, content.len, sha256, NULL, EVP_sha256(), NULL) != 1)
        return fail(ei, "make a SHA-256");
    return draft(certificate, &content, sha256, ret_draft, ret_digest, ei);
}

int mm_document_draft_detached(X509 *certificate, const uint8_t sha256[MM_DOCUMENT_HASH_BYTES],
                               struct mm_document_draft *ret_draft,
                               uint8_t ret_digest[MM_DOCUMENT_HASH_BYTES], struct mm_errinfo *ei)
{
    return draft(certificate, NULL, sha256, ret_draft, ret_digest, ei);
}

/* To the DER of RFC 3279 section 2.2.3. */
static int set_signature(CMS_SignerInfo *info, const uint8_t *signature, size_t len,
                         struct mm_errinfo *ei)
{
    MM_CLEANUP(ECDSA_SIG_free_p) ECDSA_SIG *pair = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(signature, (int)(len / 2), NULL);
    BIGNUM *s = BN_bin2bn(signature + len / 2, (int)(len / 2), NULL);
    uint8_t *der = NULL;
    int der_len, set;

    if (!pair || !r || !s || ECDSA_SIG_set0(pair, r, s) != 1) {
        BN_free(r);
        BN_free(s);
        return fail(ei, "hold a signature");
    }
    der_len = i2d_ECDSA_SIG(pair, &der);
    if (der_len <= 0)
        return fail(ei, "encode a signature");
    set = ASN1_OCTET_STRING_set(CMS_SignerInfo_get0_signature(info), der, der_len);
    OPENSSL_free(der);
    return set == 1 ? MM_OK : fail(ei, "set a signature");
}

int mm_document_draft_finish(struct mm_document_draft *draft, const uint8_t *signature, size_t len,
                             struct mm_buf *cms, struct mm_errinfo *ei)
{
    uint8_t *der = NULL;
    int der_len;
    int r = set_signature(draft->info, signature, len, ei);

    if (r < 0)
        return r;
    der_len = i2d_CMS_ContentInfo(draft->cms, &der);
    if (der_len <= 0)
        return fail(ei, "encode a document");
    mm_buf_append(cms, der, (size_t)der_len);
    OPENSSL_free(der);
    return mm_buf_err(cms) < 0 ? mm_fail_memory(ei) : MM_OK;
}
