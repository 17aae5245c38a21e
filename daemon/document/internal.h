/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of daemon/document/. */
#pragma once

#include "daemon/base/limits.h"
#include "daemon/document/document.h"

#include <openssl/err.h>

MM_DEFINE_CLEANUP(CMS_ContentInfo *, CMS_ContentInfo_free)
MM_DEFINE_CLEANUP(BIO *, BIO_free_all)

/* MM_ERR_INVALID DOCUMENT_NOT_DER when the bytes are not one element of DER and nothing more. */
int mm_der_check(struct mm_bytes der, struct mm_errinfo *ei) MM_MUST_USE;

/* The digest to sign with under this key; NULL for a key that documents are not signed with. */
const EVP_MD *mm_document_digest(const EVP_PKEY *key);
