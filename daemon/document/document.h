/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signed documents: CMS SignedData (RFC 5652) around a mintmark.v1.SignedDocument, as
 * proto/mintmark/v1/document.proto says. Pure functions on bytes; the caller brings the time.
 *
 * Reading is strict, since whoever sends a document is not trusted: size first, then DER (X.690
 * section 10: definite lengths, the shortest form, nothing behind the end), then exactly one signer
 * whose certificate is in the document, signed attributes, known algorithms, the signature, and at
 * last the content, without fields that this program does not know.
 */
#pragma once

#include "daemon/base/buf.h"
#include "mintmark/v1/document.pb-c.h"
#include "proto/grpc/arena.h"

#include <openssl/cms.h>
#include <stdbool.h>

enum {
    MM_DOCUMENT_HASH_BYTES = 32,
    MM_NONCE_BYTES = 16,
    MM_SIGNER_TEXT = 256, /* bytes of a signer's name, with the NUL */
};

/* A document whose signature is right: whoever holds the signer's key has said this. Whether the
 * signer may say it is for mm_document_check_signer. */
struct mm_document {
    const Mintmark__V1__SignedDocument *content;   /* in the arena */
    STACK_OF(X509) * certificates;                 /* all that came along */
    X509 *signer;                                  /* one of certificates; borrowed */
    char signer_name[MM_SIGNER_TEXT];              /* its subject (RFC 2253) */
    uint8_t signer_sha256[MM_DOCUMENT_HASH_BYTES]; /* of its certificate, DER */
};
#define MM_DOCUMENT_INIT ((struct mm_document){.signer = NULL})
void mm_document_done(struct mm_document *document);
#define MM_DOCUMENT_CLEANUP MM_CLEANUP(mm_document_done)

/*
 * Reads and verifies. All that is wrong is MM_ERR_INVALID, with one of these reasons:
 * DOCUMENT_NOT_DER; DOCUMENT_NOT_CMS (no SignedData); DOCUMENT_TYPE (content is not id-data);
 * DOCUMENT_DETACHED (no content inside); DOCUMENT_SIGNERS (none, or more than one);
 * DOCUMENT_NO_CERTIFICATE (the signer's is not there); DOCUMENT_ATTRIBUTES (no signed attributes,
 * or unsigned ones); DOCUMENT_ALGORITHM; DOCUMENT_SIGNATURE; DOCUMENT_CONTENT (no SignedDocument,
 * or one with unknown fields). But MM_ERR_TOO_BIG DOCUMENT_TOO_BIG over MM_DOCUMENT_MAX.
 */
int mm_document_open(struct mm_bytes cms, struct mm_arena *arena, struct mm_document *ret_document,
                     struct mm_errinfo *ei) MM_MUST_USE;

/* The same for a content of another kind, such as a package's: cms has at most max bytes, and the
 * content is appended to it, unread. ret_document->content is NULL. What libcrypto copied of it is
 * wiped. */
int mm_document_open_bytes(struct mm_bytes cms, size_t max, struct mm_document *ret_document,
                           struct mm_buf *content, struct mm_errinfo *ei) MM_MUST_USE;

/* Certificates whose holders may sign: an end entity's own, or a CA's for those it issued. */
struct mm_trust;
/* From PEM; at least one, at most MM_TRUST_MAX. MM_ERR_INVALID TRUST_INVALID. */
int mm_trust_new(struct mm_bytes pem, struct mm_trust **ret_trust,
                 struct mm_errinfo *ei) MM_MUST_USE;
/* From a PEM file of at most MM_PEM_FILE_MAX bytes; its name begins the text of an error. */
int mm_trust_read(const char *path, struct mm_trust **ret_trust, struct mm_errinfo *ei) MM_MUST_USE;
void mm_trust_free(struct mm_trust *trust);
MM_DEFINE_CLEANUP(struct mm_trust *, mm_trust_free)
#define MM_TRUST_CLEANUP MM_CLEANUP(mm_trust_free_p)
const STACK_OF(X509) * mm_trust_certificates(const struct mm_trust *trust);

/* The signer is one of trust, or was issued by a CA of it, directly or through CAs that came along;
 * it may make signatures; and all of them are in date. MM_ERR_PERMISSION SIGNER_UNKNOWN (also
 * without trust); MM_ERR_PRECONDITION SIGNER_EXPIRED, SIGNER_NOT_YET_VALID. */
int mm_document_check_signer(const struct mm_document *document, const struct mm_trust *trust,
                             int64_t now_ms, struct mm_errinfo *ei) MM_MUST_USE;

/* SHA-256 of a certificate's DER SubjectPublicKeyInfo: an appliance's identity hash. */
int mm_document_key_hash(const X509 *certificate, uint8_t ret_sha256[MM_DOCUMENT_HASH_BYTES],
                         struct mm_errinfo *ei) MM_MUST_USE;

/* The terms can be kept, whatever the site: names, ranges, validity, lengths. MM_ERR_INVALID
 * ORDER_QUANTITY, ORDER_VALIDITY, or INVALID_FIELD with the field. */
int mm_order_terms_check(const Mintmark__V1__ProductionOrder *order,
                         struct mm_errinfo *ei) MM_MUST_USE;

/* Who signs. ctx is where key lives, NULL for the default one. All borrowed. */
struct mm_document_signer {
    OSSL_LIB_CTX *ctx;
    EVP_PKEY *key;
    X509 *certificate;
    STACK_OF(X509) * chain; /* CAs between it and what the appliance trusts; NULL: none */
};

/* Packs and signs; the result is appended to cms, and would pass mm_document_open.
 * MM_ERR_INVALID DOCUMENT_ALGORITHM for a key that readers refuse, SIGNER_KEY when it is not the
 * certificate's. */
int mm_document_sign(const struct mm_document_signer *signer,
                     const Mintmark__V1__SignedDocument *content, struct mm_buf *cms,
                     struct mm_errinfo *ei) MM_MUST_USE;
/* The same for a content of another kind; would pass mm_document_open_bytes. */
int mm_document_sign_bytes(const struct mm_document_signer *signer, struct mm_bytes content,
                           struct mm_buf *cms, struct mm_errinfo *ei) MM_MUST_USE;
