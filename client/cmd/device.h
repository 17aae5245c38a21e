/* SPDX-License-Identifier: Apache-2.0 */
/* What is written about devices, as text. */
#pragma once

#include "client/mintmark.h"
#include "daemon/base/buf.h"

/* The device's line in devices.jsonl, without the line's end; NULL without memory. To be freed.
 * chain_file: where its chain is; NULL: in chain.pem. */
char *mm_device_json_line(const struct mintmark_bundle *bundle, const char *chain_file);

/* key-wrap.json: how the private keys are wrapped. */
int mm_device_key_wrap_json(const struct mintmark_bundle *bundle, struct mm_buf *out,
                            struct mm_errinfo *ei) MM_MUST_USE;

/* Certificates in DER as PEM text, appended. */
int mm_certificates_pem(const struct mintmark_data *ders, size_t n, struct mm_buf *out,
                        struct mm_errinfo *ei) MM_MUST_USE;
