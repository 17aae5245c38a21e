/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/base/text.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

int mm_text_to_u64(const char *s, uint64_t min, uint64_t max, uint64_t *ret_value)
{
    uint64_t v = 0;

    if (!*s)
        return MM_ERR_INVALID;
    for (; *s; s++) {
        if (*s < '0' || *s > '9')
            return MM_ERR_INVALID;
        if (__builtin_mul_overflow(v, (uint64_t)10, &v) ||
            __builtin_add_overflow(v, (uint64_t)(*s - '0'), &v))
            return MM_ERR_INVALID;
    }
    if (v < min || v > max)
        return MM_ERR_INVALID;
    *ret_value = v;
    return MM_OK;
}

char *mm_hex_encode(const void *data, size_t len, char *out)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *p = data;

    for (size_t i = 0; i < len; i++) {
        out[2 * i] = digits[p[i] >> 4];
        out[2 * i + 1] = digits[p[i] & 15];
    }
    out[2 * len] = 0;
    return out;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

int mm_hex_decode(const char *hex, void *out, size_t len)
{
    uint8_t *to = out;

    for (size_t i = 0; i < len; i++) {
        const int hi = hex_digit(hex[2 * i]);
        const int lo = hi < 0 ? -1 : hex_digit(hex[2 * i + 1]);

        if (lo < 0)
            return MM_ERR_INVALID;
        to[i] = (uint8_t)(hi << 4 | lo);
    }
    return hex[2 * len] ? MM_ERR_INVALID : MM_OK;
}

/* Length of the well-formed sequence at p, or 0. */
static size_t utf8_sequence(const uint8_t *p, size_t left)
{
    /* RFC 3629 section 4: first byte's range, length, second byte's range. */
    static const struct {
        uint8_t first, last, len, lo, hi;
    } table[] = {
        {0x01, 0x7f, 1, 0, 0},       {0xc2, 0xdf, 2, 0x80, 0xbf}, {0xe0, 0xe0, 3, 0xa0, 0xbf},
        {0xe1, 0xec, 3, 0x80, 0xbf}, {0xed, 0xed, 3, 0x80, 0x9f}, {0xee, 0xef, 3, 0x80, 0xbf},
        {0xf0, 0xf0, 4, 0x90, 0xbf}, {0xf1, 0xf3, 4, 0x80, 0xbf}, {0xf4, 0xf4, 4, 0x80, 0x8f},
    };
    size_t row = 0;

    while (row < MM_ARRAY_SIZE(table) && (p[0] < table[row].first || p[0] > table[row].last))
        row++;
    if (row == MM_ARRAY_SIZE(table) || left < table[row].len)
        return 0;
    if (table[row].len > 1 && (p[1] < table[row].lo || p[1] > table[row].hi))
        return 0;
    for (size_t i = 2; i < table[row].len; i++) {
        if (p[i] < 0x80 || p[i] > 0xbf)
            return 0;
    }
    return table[row].len;
}

bool mm_utf8_valid(const void *data, size_t len)
{
    const uint8_t *p = data;

    for (size_t at = 0, n; at < len; at += n) {
        n = utf8_sequence(p + at, len - at);
        if (n == 0)
            return false;
    }
    return true;
}

bool mm_name_valid(const char *s, size_t max)
{
    const size_t len = strnlen(s, max + 1);

    if (len == 0 || len > max || !isalnum((unsigned char)s[0]))
        return false;
    for (size_t i = 0; i < len; i++) {
        if (!isalnum((unsigned char)s[i]) && !strchr("._-", s[i]))
            return false;
    }
    return true;
}

/* Also of what is no word in a language, but goes on with a '/': a URL's host, "n/a". */
static bool in_word(char c)
{
    return isalnum((unsigned char)c) || (unsigned char)c >= 0x80 || (c && strchr("/._-~%", c));
}

/* Does one at p, with these n bytes before it? */
static bool path_begins(const char *p, const char *before, size_t n)
{
    const size_t dots = strspn(p, ".");

    if ((n > 0 && in_word(before[n - 1])) || dots > 2)
        return false;
    if (p[0] == '/' && p[1] == '/' && n > 0 && before[n - 1] == ':')
        return n >= 5 && strncasecmp(before + n - 5, "file", 4) == 0;
    p += dots;
    if (strncasecmp(p, "%2f", 3) == 0)
        p += 2;
    else if (*p != '/')
        return false;
    return p[1] != 0 && p[1] != ' ';
}

static size_t path_length(const char *path, char before)
{
    const char *colon = strstr(path, ": ");
    const char *quote = before == '\'' || before == '"' ? strchr(path, before) : NULL;

    if (quote && (!colon || quote < colon))
        return (size_t)(quote - path);
    return colon ? (size_t)(colon - path) : strlen(path);
}

void mm_text_hide_paths(char *text)
{
    static const char mark[] = "[path]", small[] = "..";
    size_t to = 0, from = 0;

    while (text[from]) {
        size_t len, n;

        if (!path_begins(text + from, text, to)) {
            text[to++] = text[from++];
            continue;
        }
        len = path_length(text + from, to > 0 ? text[to - 1] : 0);
        /* No longer than what it stands for, so it fits. */
        n = len < strlen(mark) ? strlen(small) : strlen(mark);
        memcpy(text + to, len < strlen(mark) ? small : mark, n);
        to += n;
        from += len;
    }
    if (to < from) /* an empty text may be a constant */
        text[to] = 0;
}

void mm_uuid_format(const uint8_t uuid[16], char out[37])
{
    char hex[33];
    size_t to = 0;

    mm_hex_encode(uuid, 16, hex);
    for (size_t i = 0; i < 32; i++) {
        if (i == 8 || i == 12 || i == 16 || i == 20)
            out[to++] = '-';
        out[to++] = hex[i];
    }
    out[to] = 0;
}

int mm_uuid_parse(const char *text, uint8_t ret_uuid[16])
{
    char hex[33];
    size_t to = 0;

    if (strnlen(text, 37) != 36)
        return MM_ERR_INVALID;
    for (size_t i = 0; i < 36; i++) {
        const bool dash = i == 8 || i == 13 || i == 18 || i == 23;

        if (dash != (text[i] == '-'))
            return MM_ERR_INVALID;
        if (!dash)
            hex[to++] = text[i];
    }
    hex[to] = 0;
    return mm_hex_decode(hex, ret_uuid, 16);
}

void mm_uuid7_stamp(uint8_t uuid[16], int64_t wall_ms)
{
    for (int i = 0; i < 6; i++)
        uuid[i] = (uint8_t)(wall_ms >> (40 - 8 * i));
    uuid[6] = (uint8_t)(0x70 | (uuid[6] & 0x0f));
    uuid[8] = (uint8_t)(0x80 | (uuid[8] & 0x3f));
}
