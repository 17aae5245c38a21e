/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/document/detached.h"

#include "daemon/document/internal.h"

#include <string.h>

static int bad(struct mm_errinfo *ei, const char *why)
{
    ERR_clear_error();
    return mm_fail(ei, MM_ERR_INVALID, "SIGNATURE_BAD", "the detached signature: %s", why);
}

static bool names_digest(const CMS_SignerInfo *info, const uint8_t *sha256)
{
    /* -3: exactly one attribute with one value. */
    const ASN1_OCTET_STRING *digest = CMS_signed_get0_data_by_OBJ(
        info, OBJ_nid2obj(NID_pkcs9_messageDigest), -3, V_ASN1_OCTET_STRING);

    return digest && ASN1_STRING_length(digest) == MM_DOCUMENT_HASH_BYTES &&
           memcmp(ASN1_STRING_get0_data(digest), sha256, MM_DOCUMENT_HASH_BYTES) == 0;
}

static bool is_signers(CMS_SignerInfo *info, const STACK_OF(X509) * certificates)
{
    for (int i = 0; i < sk_X509_num(certificates); i++) {
        X509 *certificate = sk_X509_value(certificates, i);

        if (CMS_SignerInfo_cert_cmp(info, certificate) != 0)
            continue;
        CMS_SignerInfo_set1_signer_cert(info, certificate);
        return CMS_SignerInfo_verify(info) == 1;
    }
    return false;
}

static int check(struct mm_bytes der, const STACK_OF(X509) * certificates,
                 const uint8_t sha256[MM_DOCUMENT_HASH_BYTES], struct mm_errinfo *ei)
{
    MM_CLEANUP(CMS_ContentInfo_free_p) CMS_ContentInfo *cms = NULL;
    const unsigned char *at = der.data;
    STACK_OF(CMS_SignerInfo) * infos;
    CMS_SignerInfo *info;
    int r;

    if (der.len > MM_DOCUMENT_MAX)
        return mm_fail(ei, MM_ERR_TOO_BIG, "DOCUMENT_TOO_BIG",
                       "a signature has at most %d bytes, not %zu", MM_DOCUMENT_MAX, der.len);
    r = mm_der_check(der, ei);
    if (r < 0)
        return bad(ei, "it is not DER");
    cms = d2i_CMS_ContentInfo(NULL, &at, (long)der.len);
    if (!cms || OBJ_obj2nid(CMS_get0_type(cms)) != NID_pkcs7_signed)
        return bad(ei, "it is no CMS SignedData");
    if (CMS_is_detached(cms) != 1)
        return bad(ei, "it holds a content");
    infos = CMS_get0_SignerInfos(cms);
    if (sk_CMS_SignerInfo_num(infos) != 1)
        return bad(ei, "it has not one signer");
    info = sk_CMS_SignerInfo_value(infos, 0);
    if (!names_digest(info, sha256))
        return bad(ei, "it is over something else");
    if (!is_signers(info, certificates))
        return bad(ei, "it is not by the audit key");
    return MM_OK;
}

int mm_detached_check(struct mm_bytes der, const struct mm_trust *trust,
                      const uint8_t sha256[MM_DOCUMENT_HASH_BYTES], struct mm_errinfo *ei)
{
    return check(der, mm_trust_certificates(trust), sha256, ei);
}

int mm_detached_check_by(struct mm_bytes der, X509 *certificate,
                         const uint8_t sha256[MM_DOCUMENT_HASH_BYTES], struct mm_errinfo *ei)
{
    STACK_OF(X509) *one = sk_X509_new_null();
    int r;

    if (one && sk_X509_push(one, certificate))
        r = check(der, one, sha256, ei);
    else
        r = mm_fail_memory(ei);
    sk_X509_free(one);
    return r;
}
