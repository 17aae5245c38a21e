/* SPDX-License-Identifier: Apache-2.0 */
/* Text: strict parsing and encoding. Nothing here accepts leading blanks, signs or trailing junk.
 */
#pragma once

#include "daemon/base/buf.h"

/* Decimal digits only, min <= value <= max. */
int mm_text_to_u64(const char *s, uint64_t min, uint64_t max, uint64_t *ret_value) MM_MUST_USE;

/* Lower-case hexadecimal; out holds 2 * len + 1 bytes. Returns out. */
char *mm_hex_encode(const void *data, size_t len, char *out);
/* Exactly 2 * len digits of either case, then the end of the string. */
int mm_hex_decode(const char *hex, void *out, size_t len) MM_MUST_USE;

/* Well-formed UTF-8 (RFC 3629: no surrogates, no overlong forms) without NUL. */
bool mm_utf8_valid(const void *data, size_t len);

/* 1..max bytes of letters, digits, '.', '_' and '-', beginning with a letter or digit: the form of
 * all names that operators and stations choose. */
bool mm_name_valid(const char *s, size_t max);

/* Puts "[path]", or ".." if it is short, in the place of every path in a sentence: for those who
 * are to know what is wrong, and not where the service has its files. A path begins with '/', "./",
 * "../" or "%2F" where a word begins, and ends at ": ", at a quotation mark if it began after one,
 * or with the text: a name may have blanks, and rather some of the sentence goes than some of a
 * path stays. "https://…", and what stands behind it, stays. */
void mm_text_hide_paths(char *text);

/* 16 bytes in the canonical text form of a UUID, 36 characters and NUL (RFC 9562 section 4). */
void mm_uuid_format(const uint8_t uuid[16], char out[37]);
int mm_uuid_parse(const char *text, uint8_t ret_uuid[16]) MM_MUST_USE;
/* Turns 16 random bytes into a UUID version 7 of that time: 48 bits of wall clock, the rest kept
 * random (RFC 9562 section 5.7). In time order, so that an index over them grows at its end. */
void mm_uuid7_stamp(uint8_t uuid[16], int64_t wall_ms);
