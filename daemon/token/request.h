/* SPDX-License-Identifier: Apache-2.0 */
/* Requests for production orders: the nonce is made in the token, and the content here, so that the
 * identity key signs nothing that the front made up. */
#pragma once

#include "daemon/base/limits.h"
#include "daemon/document/document.h"
#include "daemon/token/appliance.h"

struct mm_request_made {
    Mintmark__Internal__RequestResult message; /* points to what follows */
    uint8_t nonce[MM_NONCE_BYTES];
    struct mm_buf document;
};
#define MM_REQUEST_MADE_INIT ((struct mm_request_made){.document = MM_BUF_INIT(MM_DOCUMENT_MAX)})

/* MM_ERR_PRECONDITION NO_IDENTITY when the appliance's keys are not in this token (NULL). */
int mm_request_make(struct mm_appliance *appliance, const Mintmark__Internal__RequestJob *job,
                    struct mm_request_made *made, struct mm_errinfo *ei) MM_MUST_USE;
