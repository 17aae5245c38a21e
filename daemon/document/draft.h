/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signing a document with a key that only a token has: the document is prepared, the token signs a
 * digest, the document is finished. ECDSA on P-256 with SHA-256. The result passes
 * mm_document_open.
 */
#pragma once

#include "daemon/document/document.h"

struct mm_document_draft {
    CMS_ContentInfo *cms;
    CMS_SignerInfo *info; /* within it */
};
void mm_document_draft_done(struct mm_document_draft *draft);
#define MM_DOCUMENT_DRAFT_CLEANUP MM_CLEANUP(mm_document_draft_done)

/* content is a serialised SignedDocument. *ret_digest is what the key of the certificate is to
 * sign. */
int mm_document_draft(X509 *certificate, struct mm_bytes content,
                      struct mm_document_draft *ret_draft,
                      uint8_t ret_digest[MM_DOCUMENT_HASH_BYTES],
                      struct mm_errinfo *ei) MM_MUST_USE;

/* The same without content, for a file whose SHA-256 is given. */
int mm_document_draft_detached(X509 *certificate, const uint8_t sha256[MM_DOCUMENT_HASH_BYTES],
                               struct mm_document_draft *ret_draft,
                               uint8_t ret_digest[MM_DOCUMENT_HASH_BYTES],
                               struct mm_errinfo *ei) MM_MUST_USE;

/* signature is r || s, as PKCS#11 gives it; the document is appended to cms. The signature is not
 * checked here. */
int mm_document_draft_finish(struct mm_document_draft *draft, const uint8_t *signature, size_t len,
                             struct mm_buf *cms, struct mm_errinfo *ei) MM_MUST_USE;
