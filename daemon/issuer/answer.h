/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What EJBCA's REST API answers, of versions 8 and 9, read strictly. Pure functions over the bytes
 * of a body; whoever calls has bounded those. All of them say MM_ERR_CORRUPT BAD_ANSWER for what is
 * not the answer that was awaited: no JSON, cut off, a member missing or of another type, no
 * base64.
 */
#pragma once

#include "daemon/base/buf.h"
#include "daemon/base/limits.h"

#include <stdint.h>

/* Certificates in DER, one behind the other in bytes. */
struct mm_ders {
    struct mm_buf bytes;
    size_t n;
    size_t at[MM_ISSUER_PAGE_MAX], len[MM_ISSUER_PAGE_MAX];
};
#define MM_DERS_INIT ((struct mm_ders){.bytes = MM_BUF_INIT(MM_ISSUER_LIST_BODY_MAX)})
void mm_ders_done(struct mm_ders *d);
#define MM_DERS_CLEANUP MM_CLEANUP(mm_ders_done)
struct mm_bytes mm_ders_get(const struct mm_ders *d, size_t i);

/* pkcs10enroll: the certificate, then its chain if that was asked for. */
int mm_answer_enrolled(struct mm_bytes body, struct mm_ders *ret_ders,
                       struct mm_errinfo *ei) MM_MUST_USE;

/* v1/certificate/search. */
int mm_answer_found(struct mm_bytes body, struct mm_ders *ret_ders, bool *ret_more,
                    struct mm_errinfo *ei) MM_MUST_USE;

/* One hit of v2/certificate/search. */
struct mm_hit {
    char username[MM_ISSUER_NAME_MAX + 1]; /* "" if EJBCA does not say */
    uint8_t serial[20];
    size_t serial_len;
    bool revoked;
    int64_t not_before_ms;
    size_t at, len; /* its DER in the ders; len 0: it came without */
};
struct mm_hits {
    struct mm_buf bytes; /* DER */
    size_t n;
    struct mm_hit hits[MM_ISSUER_PAGE_MAX];
};
int mm_answer_hits(struct mm_bytes body, struct mm_hits *ret_hits,
                   struct mm_errinfo *ei) MM_MUST_USE;

/* revoke and revocationstatus. */
struct mm_answer_revocation {
    bool revoked;
    char reason[32];
    int64_t time_ms; /* 0: not said */
};
int mm_answer_revocation(struct mm_bytes body, struct mm_answer_revocation *ret_revocation,
                         struct mm_errinfo *ei) MM_MUST_USE;

/* v1/ca: the subject DN of the CA of that name, as EJBCA spells it; at most size - 1 bytes.
 * MM_ERR_NOT_FOUND when the list, which has only what the caller may use, has none. */
int mm_answer_ca(struct mm_bytes body, const char *name, char *ret_dn, size_t size,
                 struct mm_errinfo *ei) MM_MUST_USE;

/* getLatestCrl: DER, appended. */
int mm_answer_crl(struct mm_bytes body, struct mm_buf *der, struct mm_errinfo *ei) MM_MUST_USE;

/* The text of an error's body: one printable line, cut where it is too long. False, and a few words
 * about what came in its place, when it is no JSON with an error_message (HTML of a proxy,
 * nothing).
 */
bool mm_answer_error(struct mm_bytes body, char ret_text[MM_ISSUER_TEXT_MAX]);

/* Any bytes as one printable line of at most size - 1 bytes: what is no UTF-8, or a control
 * character, becomes \xNN. */
void mm_answer_printable(struct mm_bytes text, char *ret_line, size_t size);
