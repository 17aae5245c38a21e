/* SPDX-License-Identifier: Apache-2.0 */
/* The end of text in PEM. */
#pragma once

#include "daemon/base/buf.h"
#include "daemon/base/err.h"

/* Why libcrypto has found no other block in the text; its list of errors is to be empty before the
 * first is read, and is empty after this. MM_OK: there is none; MM_ERR_INVALID, with the reason:
 * what stands there only looks like PEM; MM_ERR_MEMORY. */
int mm_pem_end(struct mm_bytes pem, const char *reason, struct mm_errinfo *ei) MM_MUST_USE;
