/* SPDX-License-Identifier: Apache-2.0 */
/* Writing and reading DER (X.690), as much as certificates, requests and CRLs take. Certificates
 * are written by hand because libcrypto 3.0 decodes the key of every one it makes or reads, which
 * costs more than signing it. */
#pragma once

#include "daemon/base/buf.h"

enum {
    DER_BOOLEAN = 0x01,
    DER_INTEGER = 0x02,
    DER_BIT_STRING = 0x03,
    DER_OCTET_STRING = 0x04,
    DER_OID = 0x06,
    DER_ENUMERATED = 0x0a,
    DER_UTF8_STRING = 0x0c,
    DER_PRINTABLE_STRING = 0x13,
    DER_IA5_STRING = 0x16,
    DER_UTC_TIME = 0x17,
    DER_GENERALIZED_TIME = 0x18,
    DER_SEQUENCE = 0x30,
    DER_SET = 0x31,
    DER_CONTEXT = 0x80,             /* with a number: [n] IMPLICIT of something primitive */
    DER_CONTEXT_CONSTRUCTED = 0xa0, /* with a number: [n] EXPLICIT */
};

/* Everything between the two is the content of one element; der_end gets what der_begin returned.
 */
size_t der_begin(struct mm_buf *b, uint8_t tag);
void der_end(struct mm_buf *b, size_t at);

void der_put(struct mm_buf *b, uint8_t tag, const void *content, size_t len);
/* A non-negative number: from big-endian bytes, or small. */
void der_put_number(struct mm_buf *b, const uint8_t *bytes, size_t len);
void der_put_small(struct mm_buf *b, unsigned value);
/* A dotted object identifier that libcrypto can read. */
void der_put_oid(struct mm_buf *b, const char *dotted);
/* UTCTime up to 2049, then GeneralizedTime (RFC 5280 section 4.1.2.5). */
void der_put_time(struct mm_buf *b, int64_t unix_s);

/* Takes the first element off *in: its tag, its content, and all of it. False at the end, or where
 * it is not DER with tags below 31. Out pointers may be NULL. */
bool der_next(struct mm_bytes *in, uint8_t *ret_tag, struct mm_bytes *ret_content,
              struct mm_bytes *ret_whole);
/* As der_next, for an element that must have this tag; false, with *in unchanged, if it has not. */
bool der_take(struct mm_bytes *in, uint8_t tag, struct mm_bytes *ret_content,
              struct mm_bytes *ret_whole);
/* A time in either form. */
bool der_read_time(struct mm_bytes *in, int64_t *ret_unix_s);
