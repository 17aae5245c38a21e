/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the appliance writes has one form (docs/report.md), so a reader need not know JSON: it knows
 * what must come next. White space, another order of keys, another way to write a string: all that
 * is found fault with.
 */
#include "tools/verify/production.h"

#include <string.h>

bool scan_begin(struct scan *s, FILE *file)
{
    s->file = file;
    s->sha256 = EVP_MD_CTX_new();
    s->at = s->used = s->filled = 0;
    s->bad = false;
    s->why[0] = 0;
    return s->sha256 && EVP_DigestInit_ex(s->sha256, EVP_sha256(), NULL);
}

bool scan_end(struct scan *s, uint8_t ret_sha256[SHA256_LEN])
{
    const bool done = EVP_DigestUpdate(s->sha256, s->buffer, s->used) &&
                      EVP_DigestFinal_ex(s->sha256, ret_sha256, NULL);

    EVP_MD_CTX_free(s->sha256);
    return done;
}

void scan_fail(struct scan *s, const char *what)
{
    if (!s->bad)
        snprintf(s->why, sizeof(s->why), "%s is not there", what);
    s->bad = true;
}

/* -1 at the end. */
static int peek(struct scan *s)
{
    if (s->used == s->filled) {
        if (!EVP_DigestUpdate(s->sha256, s->buffer, s->used))
            return -1;
        s->used = 0;
        s->filled = fread(s->buffer, 1, sizeof(s->buffer), s->file);
    }
    return s->used < s->filled ? s->buffer[s->used] : -1;
}

static int get(struct scan *s)
{
    const int c = peek(s);

    if (c >= 0) {
        s->used++;
        s->at++;
    }
    return c;
}

bool scan_at_end(struct scan *s)
{
    return peek(s) < 0 && !ferror(s->file);
}

void scan_text(struct scan *s, const char *text)
{
    for (const char *p = text; *p && !s->bad; p++) {
        if (peek(s) == (uint8_t)*p)
            get(s);
        else
            scan_fail(s, text);
    }
}

bool scan_either(struct scan *s, const char *text)
{
    if (s->bad || peek(s) != (uint8_t)*text)
        return false;
    scan_text(s, text);
    return !s->bad;
}

uint64_t scan_number(struct scan *s)
{
    uint64_t value = 0;
    unsigned figures = 0;
    const bool zero = peek(s) == '0';

    while (!s->bad && peek(s) >= '0' && peek(s) <= '9' && figures < 19) {
        value = value * 10 + (uint64_t)(get(s) - '0');
        figures++;
    }
    if (figures == 0 || (zero && figures > 1))
        scan_fail(s, "a whole number");
    return s->bad ? 0 : value;
}

static int hex_figure(int c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* What follows a backslash: a quote, another backslash, or a control character by its number. */
static int escaped(struct scan *s)
{
    const int c = get(s);
    int high, low;

    if (c == '"' || c == '\\')
        return c;
    if (c != 'u' || get(s) != '0' || get(s) != '0')
        return -1;
    high = hex_figure(get(s));
    low = hex_figure(get(s));
    return high < 0 || high > 1 || low < 0 ? -1 : high * 16 + low;
}

static bool is_utf8(const char *text, size_t len)
{
    json_t *string;

    for (size_t i = 0; i < len; i++) {
        if ((uint8_t)text[i] >= 0x80) {
            string = json_stringn(text, len);
            json_decref(string);
            return string;
        }
    }
    return true;
}

bool scan_string(struct scan *s, char ret_text[STRING_MAX])
{
    size_t len = 0;
    int c = 0;

    ret_text[0] = 0;
    if (scan_either(s, "null"))
        return false;
    scan_text(s, "\"");
    while (!s->bad && (c = get(s)) != '"') {
        if (c == '\\')
            c = escaped(s);
        else if (c < 0x20)
            c = -1;
        /* A NUL is none of the strings that the appliance takes. */
        if (c <= 0 || len + 1 == STRING_MAX)
            scan_fail(s, "a string as it is to be written, of at most 1,023 bytes,");
        else
            ret_text[len++] = (char)c;
    }
    ret_text[len] = 0;
    if (!is_utf8(ret_text, len))
        scan_fail(s, "a string in UTF-8");
    return !s->bad;
}

size_t scan_hex(struct scan *s, uint8_t *ret_bytes, size_t max, bool exact)
{
    size_t len = 0;

    if (!exact && scan_either(s, "null"))
        return 0;
    scan_text(s, "\"");
    while (!s->bad && peek(s) != '"' && len < max) {
        const int high = hex_figure(get(s)), low = hex_figure(get(s));

        if (high < 0 || low < 0)
            scan_fail(s, "a hexadecimal number in lower case");
        else
            ret_bytes[len++] = (uint8_t)(high * 16 + low);
    }
    scan_text(s, "\"");
    if (len == 0 || (exact && len < max))
        scan_fail(s, "a hexadecimal number of the right length");
    return s->bad ? 0 : len;
}

int64_t scan_time(struct scan *s)
{
    char text[STRING_MAX];
    int64_t time_ms = 0;

    if (!scan_string(s, text))
        return 0;
    /* With milliseconds, always. */
    if (strlen(text) != sizeof("2026-11-22T07:08:09.123Z") - 1 || !time_parse(text, &time_ms) ||
        time_ms <= 0)
        scan_fail(s, "a time with milliseconds, in UTC,");
    return time_ms;
}
