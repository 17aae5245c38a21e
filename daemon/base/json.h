/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values of a JSON text (RFC 8259), appended to a buffer, always the same bytes for the same value:
 * what is signed must come out again as it was.
 */
#pragma once

#include "daemon/base/buf.h"

/* UTF-8 in quotes; '"' and '\' get a '\' before them, characters below U+0020 become \u00xx. NULL
 * is null. */
void mm_json_string(struct mm_buf *b, const char *text);
/* Bytes in lower-case hexadecimal, in quotes; none is null. */
void mm_json_hex(struct mm_buf *b, struct mm_bytes bytes);
/* As mm_clock_text, in quotes; 0 is null. */
void mm_json_time(struct mm_buf *b, int64_t wall_ms);
/* Base64 (RFC 4648), without quotes: with padding (section 4), or for URLs and without (section 5).
 */
void mm_json_base64(struct mm_buf *b, struct mm_bytes bytes);
void mm_json_base64url(struct mm_buf *b, struct mm_bytes bytes);
