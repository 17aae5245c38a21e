/* SPDX-License-Identifier: Apache-2.0 */
/* What people read: values, and why something cannot be done. */
#include "tools/verify/audit.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

int usage_error(const char *what, const char *value)
{
    fprintf(stderr, "mintmark-verify: %s%s\nTry 'mintmark-verify --help'.\n", what, value);
    return EXIT_USAGE;
}

int unreadable(const char *path, const char *why)
{
    fprintf(stderr, "mintmark-verify: %s: %s\n", path, why);
    return EXIT_DATA;
}

const char *time_text(int64_t time_ms, char text[TIME_TEXT])
{
    const time_t seconds = (time_t)(time_ms / 1000);
    struct tm tm;

    /* Years of four digits. */
    if (time_ms < 0 || seconds > 253402300799 || !gmtime_r(&seconds, &tm))
        snprintf(text, TIME_TEXT, "%lld ms", (long long)time_ms);
    else
        snprintf(text, TIME_TEXT, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ",
                 (tm.tm_year + 1900) % 10000, (tm.tm_mon + 1) % 100, tm.tm_mday % 100,
                 tm.tm_hour % 100, tm.tm_min % 100, tm.tm_sec % 100, (int)(time_ms % 1000));
    return text;
}

static bool digits(const char **at, int n, char after, int *ret_value)
{
    int value = 0;

    for (; n > 0; n--, (*at)++) {
        if (**at < '0' || **at > '9')
            return false;
        value = value * 10 + (**at - '0');
    }
    *ret_value = value;
    if (!after)
        return true;
    return *(*at)++ == after;
}

/* "T01:02:03Z", or with milliseconds. */
static bool time_of_day(const char **at, struct tm *tm, int *ret_ms)
{
    (*at)++;
    if (!digits(at, 2, ':', &tm->tm_hour) || !digits(at, 2, ':', &tm->tm_min) ||
        !digits(at, 2, 0, &tm->tm_sec))
        return false;
    if (**at == '.' && ((*at)++, !digits(at, 3, 0, ret_ms)))
        return false;
    return *(*at)++ == 'Z';
}

static bool same_time(const struct tm *a, const struct tm *b)
{
    return a->tm_mon == b->tm_mon && a->tm_mday == b->tm_mday && a->tm_hour == b->tm_hour &&
           a->tm_min == b->tm_min && a->tm_sec == b->tm_sec;
}

bool time_parse(const char *text, int64_t *ret_time_ms)
{
    struct tm tm = {0}, back;
    int ms = 0;
    time_t seconds;

    if (!digits(&text, 4, '-', &tm.tm_year) || !digits(&text, 2, '-', &tm.tm_mon) ||
        !digits(&text, 2, 0, &tm.tm_mday))
        return false;
    if (*text == 'T' && !time_of_day(&text, &tm, &ms))
        return false;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    back = tm;
    seconds = timegm(&tm);
    /* timegm puts the 31st of February right; here it is wrong. */
    if (*text || !same_time(&tm, &back))
        return false;
    *ret_time_ms = (int64_t)seconds * 1000 + ms;
    return true;
}

const char *hex_text(const uint8_t *data, size_t len, char text[HEX_MAX])
{
    static const char figures[] = "0123456789abcdef";

    if (len > SHA256_LEN)
        len = SHA256_LEN;
    for (size_t i = 0; i < len; i++) {
        text[2 * i] = figures[data[i] >> 4];
        text[2 * i + 1] = figures[data[i] & 15];
    }
    text[2 * len] = 0;
    return text;
}

const char *uid_text(const uint8_t *data, char text[UID_LEN + 1])
{
    char hex[HEX_MAX];

    hex_text(data, 16, hex);
    snprintf(text, UID_LEN + 1, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16,
             hex + 20);
    return text;
}

bool uid_parse(const char *text, uint8_t ret_uid[16])
{
    char hex[2 * 16 + 1];
    size_t used = 0;

    if (strlen(text) != UID_LEN)
        return false;
    for (size_t i = 0; i < UID_LEN; i++) {
        const bool dash = i == 8 || i == 13 || i == 18 || i == 23;

        if (dash != (text[i] == '-') || (text[i] >= 'A' && text[i] <= 'F'))
            return false;
        if (!dash)
            hex[used++] = text[i];
    }
    hex[used] = 0;
    return hex_decode(hex, ret_uid, 16);
}
