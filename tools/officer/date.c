/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/officer/date.h"

#include <stdbool.h>
#include <time.h>

enum { DAY_MS = 24 * 60 * 60 * 1000 };

/* Reads exactly n digits with a value in min..max and moves *s behind them. */
static bool digits(const char **s, int n, int min, int max, int *ret_value)
{
    int value = 0;

    for (int i = 0; i < n; i++) {
        const char c = (*s)[i];

        if (c < '0' || c > '9')
            return false;
        value = value * 10 + (c - '0');
    }
    *s += n;
    *ret_value = value;
    return value >= min && value <= max;
}

static bool literal(const char **s, char c)
{
    if (**s != c)
        return false;
    (*s)++;
    return true;
}

/* Midnight UTC of a date that exists. */
static bool parse_day(const char **s, int64_t *ret_ms)
{
    struct tm tm = {0};
    int year, month, day;
    time_t t;

    if (!digits(s, 4, 1970, 9999, &year) || !literal(s, '-') || !digits(s, 2, 1, 12, &month) ||
        !literal(s, '-') || !digits(s, 2, 1, 31, &day))
        return false;
    tm.tm_year = year - 1900;
    tm.tm_mon = month - 1;
    tm.tm_mday = day;
    t = timegm(&tm);
    if (tm.tm_mday != day) /* timegm turns 31 April into 1 May */
        return false;
    *ret_ms = (int64_t)t * 1000;
    return true;
}

/* partial-time of RFC 3339 section 5.6; digits beyond milliseconds are read and dropped. */
static bool parse_time(const char **s, int64_t *ret_ms)
{
    int hour, minute, second;
    int64_t ms = 0;

    if (!digits(s, 2, 0, 23, &hour) || !literal(s, ':') || !digits(s, 2, 0, 59, &minute) ||
        !literal(s, ':') || !digits(s, 2, 0, 59, &second))
        return false;
    if (literal(s, '.')) {
        int digit;
        int64_t unit = 100;

        if (**s < '0' || **s > '9')
            return false;
        for (; digits(s, 1, 0, 9, &digit); unit /= 10)
            ms += digit * unit;
    }
    *ret_ms = ((hour * 60 + minute) * 60 + second) * INT64_C(1000) + ms;
    return true;
}

static bool parse_offset(const char **s, int64_t *ret_ms)
{
    const bool east = **s == '+';
    int hour, minute;

    if (literal(s, 'Z')) {
        *ret_ms = 0;
        return true;
    }
    if ((!literal(s, '+') && !literal(s, '-')) || !digits(s, 2, 0, 23, &hour) || !literal(s, ':') ||
        !digits(s, 2, 0, 59, &minute))
        return false;
    *ret_ms = (east ? 1 : -1) * (hour * 60 + minute) * INT64_C(60000);
    return true;
}

static bool parse(const char *s, enum mm_date_edge edge, int64_t *ret_ms)
{
    int64_t day, time, offset;

    if (!parse_day(&s, &day))
        return false;
    if (!*s) {
        *ret_ms = edge == MM_DATE_START ? day : day + DAY_MS - 1;
        return true;
    }
    if (!literal(&s, 'T') || !parse_time(&s, &time) || !parse_offset(&s, &offset) || *s)
        return false;
    if (day + time < offset) /* before 1970 once in UTC */
        return false;
    *ret_ms = day + time - offset;
    return true;
}

int mm_date_parse(const char *text, enum mm_date_edge edge, int64_t *ret_ms, struct mm_errinfo *ei)
{
    if (!parse(text, edge, ret_ms))
        return mm_fail(ei, MM_ERR_INVALID, "BAD_DATE",
                       "'%.40s' is no date; 2027-12-31 or 2027-12-31T23:59:59Z would be", text);
    return MM_OK;
}
