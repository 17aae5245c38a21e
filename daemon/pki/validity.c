/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/pki/validity.h"

#include "daemon/base/text.h"

#include <string.h>
#include <time.h>

enum { YEARS_MAX = 8000, DAYS_MAX = 3000000, HOURS_MAX = 24 * DAYS_MAX };

int mm_validity_time(const ASN1_TIME *time, int64_t *ret_s)
{
    struct tm tm;

    if (!ASN1_TIME_to_tm(time, &tm))
        return MM_ERR_INVALID;
    *ret_s = timegm(&tm);
    return MM_OK;
}

int mm_validity_parse_time(const char *text, int64_t *ret_s)
{
    const ASN1_GENERALIZEDTIME time = {.type = V_ASN1_GENERALIZEDTIME,
                                       .length = (int)strlen(text),
                                       .data = (unsigned char *)(uintptr_t)text};
    int64_t s;

    if (time.length != 15 || text[14] != 'Z' || mm_validity_time(&time, &s) < 0 || s < 0)
        return MM_ERR_INVALID;
    *ret_s = s;
    return MM_OK;
}

static int parse_duration(const char *text, struct mm_validity *v)
{
    static const struct {
        char unit;
        uint64_t max, factor;
    } units[] = {{'y', YEARS_MAX, 1}, {'d', DAYS_MAX, 86400}, {'h', HOURS_MAX, 3600}};
    char digits[12];
    const size_t len = strlen(text);
    uint64_t n;

    if (len < 2 || len > sizeof(digits))
        return MM_ERR_INVALID;
    memcpy(digits, text, len - 1);
    digits[len - 1] = 0;
    for (size_t i = 0; i < MM_ARRAY_SIZE(units); i++) {
        if (text[len - 1] != units[i].unit)
            continue;
        if (mm_text_to_u64(digits, 1, units[i].max, &n) < 0)
            return MM_ERR_INVALID;
        v->end = units[i].unit == 'y' ? MM_FOR_YEARS : MM_FOR_SECONDS;
        v->amount = (int64_t)(n * units[i].factor);
        return MM_OK;
    }
    return MM_ERR_INVALID;
}

int mm_validity_parse(const char *not_before, const char *validity,
                      struct mm_validity *ret_validity, struct mm_errinfo *ei)
{
    struct mm_validity v = {.from_now = strcmp(not_before, "now") == 0};

    if (!v.from_now && mm_validity_parse_time(not_before, &v.not_before_s) < 0)
        return mm_fail_field(ei, "not_before",
                             "not_before \"%.40s\" must be \"now\" or a time YYYYMMDDHHMMSSZ",
                             not_before);
    v.end = MM_UNTIL_TIME;
    if (mm_validity_parse_time(validity, &v.amount) < 0 && parse_duration(validity, &v) < 0)
        return mm_fail_field(ei, "validity",
                             "validity \"%.40s\" must be like \"20y\", \"365d\" or \"12h\", or a "
                             "time YYYYMMDDHHMMSSZ",
                             validity);
    *ret_validity = v;
    return MM_OK;
}

static int64_t add_years(int64_t from_s, int64_t years)
{
    const time_t from = (time_t)from_s;
    struct tm tm;

    gmtime_r(&from, &tm);
    tm.tm_year += (int)years;
    if (tm.tm_mon == 1 && tm.tm_mday == 29) {
        const int year = tm.tm_year + 1900;

        if (year % 4 || (year % 100 == 0 && year % 400))
            tm.tm_mday = 28;
    }
    return timegm(&tm);
}

int mm_validity_at(const struct mm_validity *v, int64_t now_ms, int64_t *ret_not_before_s,
                   int64_t *ret_not_after_s, struct mm_errinfo *ei)
{
    const int64_t begin = v->from_now ? now_ms / 1000 : v->not_before_s;
    int64_t end = v->amount;

    if (v->end == MM_FOR_SECONDS)
        end = begin + v->amount;
    else if (v->end == MM_FOR_YEARS)
        end = add_years(begin, v->amount);
    if (begin < 0 || end <= begin || end > MM_VALIDITY_FOREVER)
        return mm_fail_field(ei, "validity",
                             "the certificate would end before it begins, or after 9999");
    *ret_not_before_s = begin;
    *ret_not_after_s = end;
    return MM_OK;
}
