/* SPDX-License-Identifier: Apache-2.0 */
/* Signing a document, as `openssl cms -sign -binary -nodetach -nosmimecap` would. */
#include "daemon/document/internal.h"

/* Wiping is for secrets; a document is none. */
static int pack(const Mintmark__V1__SignedDocument *content, struct mm_buf *packed,
                struct mm_errinfo *ei)
{
    const size_t len = protobuf_c_message_get_packed_size(&content->base);
    uint8_t *room;

    *packed = MM_BUF_INIT(MM_DOCUMENT_MAX);
    room = mm_buf_reserve(packed, len);
    if (!room)
        return mm_fail(ei, mm_buf_err(packed), "DOCUMENT_TOO_BIG",
                       "the document would have %zu bytes; at most %d are read", len,
                       MM_DOCUMENT_MAX);
    mm_buf_grew(packed, protobuf_c_message_pack(&content->base, room));
    return MM_OK;
}

static int fail_signing(struct mm_errinfo *ei)
{
    char why[160];

    ERR_error_string_n(ERR_peek_error(), why, sizeof(why));
    ERR_clear_error();
    return mm_fail(ei, MM_ERR_INVALID, "SIGNER_KEY",
                   "the key does not sign; is it the certificate's? (%s)", why);
}

static int assemble(const struct mm_document_signer *signer, const EVP_MD *digest,
                    struct mm_bytes packed, CMS_ContentInfo **ret_cms, struct mm_errinfo *ei)
{
    const unsigned flags = CMS_BINARY | CMS_NOSMIMECAP;
    MM_CLEANUP(BIO_free_all_p) BIO *content = BIO_new_mem_buf(packed.data, (int)packed.len);
    MM_CLEANUP(CMS_ContentInfo_free_p)
    CMS_ContentInfo *cms =
        CMS_sign_ex(NULL, NULL, signer->chain, NULL, flags | CMS_PARTIAL, signer->ctx, NULL);

    if (!content || !cms)
        return mm_fail_memory(ei);
    if (!CMS_add1_signer(cms, signer->certificate, signer->key, digest, flags) ||
        CMS_final(cms, content, NULL, flags) != 1)
        return fail_signing(ei);
    *ret_cms = MM_TAKE(cms);
    return MM_OK;
}

int mm_document_sign_bytes(const struct mm_document_signer *signer, struct mm_bytes content,
                           struct mm_buf *cms, struct mm_errinfo *ei)
{
    MM_CLEANUP(CMS_ContentInfo_free_p) CMS_ContentInfo *made = NULL;
    const EVP_MD *digest = mm_document_digest(X509_get0_pubkey(signer->certificate));
    unsigned char *der = NULL;
    int r, len;

    if (!digest)
        return mm_fail(ei, MM_ERR_INVALID, "DOCUMENT_ALGORITHM",
                       "documents are signed with EC keys on P-256 or P-384, or RSA keys of 2048 "
                       "bits or more");
    r = assemble(signer, digest, content, &made, ei);
    if (r < 0)
        return r;
    len = i2d_CMS_ContentInfo(made, &der);
    if (len <= 0)
        return mm_fail_memory(ei);
    mm_buf_append(cms, der, (size_t)len);
    OPENSSL_clear_free(der, (size_t)len);
    r = mm_buf_err(cms);
    return r < 0 ? mm_fail(ei, r, "DOCUMENT_TOO_BIG", "the signed document has %d bytes", len) : r;
}

int mm_document_sign(const struct mm_document_signer *signer,
                     const Mintmark__V1__SignedDocument *content, struct mm_buf *cms,
                     struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf packed = MM_BUF_INIT(0);
    const int r = pack(content, &packed, ei);

    return r < 0 ? r
                 : mm_document_sign_bytes(signer, (struct mm_bytes){packed.data, packed.len}, cms,
                                          ei);
}
