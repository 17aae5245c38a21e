/* SPDX-License-Identifier: Apache-2.0 */
/* How long a profile's certificates live. Seconds since 1970-01-01 UTC. */
#pragma once

#include "daemon/pki/profile.h"

/* 99991231235959Z: no well-defined end (RFC 5280 section 4.1.2.5). */
#define MM_VALIDITY_FOREVER 253402300799

struct mm_validity {
    bool from_now;
    int64_t not_before_s; /* unless from_now */
    enum { MM_UNTIL_TIME, MM_FOR_SECONDS, MM_FOR_YEARS } end;
    int64_t amount; /* the time, seconds or years */
};

/* not_before: "now" or YYYYMMDDHHMMSSZ; validity: "20y", "365d", "12h" or YYYYMMDDHHMMSSZ. Years
 * are those of the calendar: the same day and time, 29 February becoming the 28th. */
int mm_validity_parse(const char *not_before, const char *validity,
                      struct mm_validity *ret_validity, struct mm_errinfo *ei) MM_MUST_USE;

/* The times of a certificate made at now_ms. MM_ERR_INVALID when it would end before it begins, or
 * after the year 9999. */
int mm_validity_at(const struct mm_validity *v, int64_t now_ms, int64_t *ret_not_before_s,
                   int64_t *ret_not_after_s, struct mm_errinfo *ei) MM_MUST_USE;

/* YYYYMMDDHHMMSSZ, a time that the calendar has, from 1970 on. Allocates nothing: what it returns
 * is a verdict on the text. */
int mm_validity_parse_time(const char *text, int64_t *ret_s) MM_MUST_USE;
/* A certificate's time as seconds. */
int mm_validity_time(const ASN1_TIME *time, int64_t *ret_s) MM_MUST_USE;
