/* SPDX-License-Identifier: Apache-2.0 */
/* Who signs documents off site: a key in a file, or in a token through OpenSSL's pkcs11 provider,
 * and its certificate. Needs no site. */
#pragma once

#include "daemon/document/document.h"
#include "daemon/provider/provider.h"
#include "tools/officer/officer.h"

/* Zeroed it is empty. */
struct mm_signer {
    struct mm_provider_key key;    /* a file's has no context of its own */
    STACK_OF(X509) * certificates; /* the signer's, then CAs above it */
};
void mm_signer_done(struct mm_signer *s);

/* As --key, --module, --certificate and the PIN options say. A PIN, or a key file's passphrase, is
 * asked for at most once. MM_ERR_INVALID SIGNER_KEY, SIGNER_CERTIFICATE; MM_ERR_PIN; and
 * MM_ERR_UNSUPPORTED NO_PKCS11_PROVIDER when OpenSSL has none. */
int mm_signer_open(struct mm_officer *o, struct mm_signer *s, struct mm_errinfo *ei) MM_MUST_USE;

/* Signs, verifies, and appends the document. */
int mm_signer_sign(const struct mm_signer *s, const Mintmark__V1__SignedDocument *content,
                   struct mm_buf *cms, struct mm_errinfo *ei) MM_MUST_USE;

/* The same for any content, as mm_document_open_bytes takes it. */
int mm_signer_sign_bytes(const struct mm_signer *s, struct mm_bytes content, struct mm_buf *cms,
                         struct mm_errinfo *ei) MM_MUST_USE;

/* The same, into the new file --out. */
int mm_signer_write(struct mm_officer *o, const struct mm_signer *s,
                    const Mintmark__V1__SignedDocument *content, struct mm_errinfo *ei) MM_MUST_USE;
