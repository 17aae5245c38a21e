/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/grpc/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { TIMEOUT_DIGITS_MAX = 8, TIMEOUT_VALUE_MAX = 99999999 };

/* Units from short to long. A nanosecond is handled apart: it is less than one microsecond. */
static const struct {
    char name;
    int64_t us;
} timeout_units[] = {{'u', 1}, {'m', 1000}, {'S', 1000000}, {'M', 60000000}, {'H', 3600000000}};

int mm_grpc_timeout_parse(const void *text, size_t len, int64_t *ret_us)
{
    const char *s = text;
    int64_t value = 0;

    if (len < 2 || len > TIMEOUT_DIGITS_MAX + 1)
        return MM_ERR_INVALID;
    for (size_t i = 0; i < len - 1; i++) {
        if (s[i] < '0' || s[i] > '9')
            return MM_ERR_INVALID;
        value = value * 10 + (s[i] - '0');
    }
    if (s[len - 1] == 'n') {
        *ret_us = (value + 999) / 1000;
        return MM_OK;
    }
    for (size_t i = 0; i < MM_ARRAY_SIZE(timeout_units); i++) {
        if (timeout_units[i].name != s[len - 1])
            continue;
        if (__builtin_mul_overflow(value, timeout_units[i].us, ret_us))
            *ret_us = INT64_MAX;
        return MM_OK;
    }
    return MM_ERR_INVALID;
}

const char *mm_grpc_timeout_format(int64_t us, char *out)
{
    if (us < 0)
        us = 0;
    for (size_t i = 0; i < MM_ARRAY_SIZE(timeout_units); i++) {
        const int64_t unit = timeout_units[i].us;
        const int64_t value = us / unit + (us % unit ? 1 : 0);

        if (value <= TIMEOUT_VALUE_MAX) {
            snprintf(out, MM_GRPC_TIMEOUT_TEXT, "%" PRId32 "%c", (int32_t)value,
                     timeout_units[i].name);
            return out;
        }
    }
    snprintf(out, MM_GRPC_TIMEOUT_TEXT, "99999999H");
    return out;
}

void mm_grpc_percent_encode(struct mm_buf *out, const void *text, size_t len)
{
    static const char digits[] = "0123456789ABCDEF";
    const uint8_t *s = text;

    for (size_t i = 0; i < len; i++) {
        if (s[i] >= 0x20 && s[i] <= 0x7e && s[i] != '%') {
            mm_buf_append_u8(out, s[i]);
        } else {
            mm_buf_append_u8(out, '%');
            mm_buf_append_u8(out, (uint8_t)digits[s[i] >> 4]);
            mm_buf_append_u8(out, (uint8_t)digits[s[i] & 15]);
        }
    }
}

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

void mm_grpc_percent_decode(struct mm_buf *out, const void *text, size_t len)
{
    const uint8_t *s = text;

    for (size_t i = 0; i < len; i++) {
        const int high = s[i] == '%' && len - i > 2 ? hex_digit(s[i + 1]) : -1;
        const int low = high >= 0 ? hex_digit(s[i + 2]) : -1;

        if (low >= 0) {
            mm_buf_append_u8(out, (uint8_t)(high << 4 | low));
            i += 2;
        } else {
            mm_buf_append_u8(out, s[i]);
        }
    }
}

void mm_grpc_base64_encode(struct mm_buf *out, const void *data, size_t len)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const uint8_t *d = data;
    uint32_t bits = 0;
    unsigned n_bits = 0;

    for (size_t i = 0; i < len; i++) {
        bits = (bits << 8 | d[i]) & 0xffff;
        for (n_bits += 8; n_bits >= 6; n_bits -= 6)
            mm_buf_append_u8(out, (uint8_t)digits[bits >> (n_bits - 6) & 63]);
    }
    if (n_bits > 0)
        mm_buf_append_u8(out, (uint8_t)digits[bits << (6 - n_bits) & 63]);
}

static int base64_digit(uint8_t c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Padding is all or nothing: what has some fills its last group of four. */
static int strip_padding(const uint8_t *s, size_t *len)
{
    size_t padding = 0;

    while (padding < 2 && padding < *len && s[*len - 1 - padding] == '=')
        padding++;
    if (padding > 0 && *len % 4 != 0)
        return MM_ERR_INVALID;
    *len -= padding;
    return *len % 4 == 1 ? MM_ERR_INVALID : MM_OK;
}

int mm_grpc_base64_decode(struct mm_buf *out, const void *text, size_t len)
{
    const uint8_t *s = text;
    const size_t before = out->len;
    uint32_t bits = 0;
    unsigned n_bits = 0;

    if (strip_padding(s, &len) < 0)
        return MM_ERR_INVALID;
    for (size_t i = 0; i < len; i++) {
        const int digit = base64_digit(s[i]);

        if (digit < 0)
            goto invalid;
        bits = (bits << 6 | (uint32_t)digit) & 0xffff;
        n_bits += 6;
        if (n_bits >= 8) {
            n_bits -= 8;
            mm_buf_append_u8(out, (uint8_t)(bits >> n_bits));
        }
    }
    if (bits & ((1U << n_bits) - 1))
        goto invalid;
    return mm_buf_err(out);

invalid:
    out->len = before;
    return MM_ERR_INVALID;
}

enum mm_grpc_content mm_grpc_content_parse(const void *text, size_t len)
{
    static const char grpc[] = "application/grpc";
    static const char proto[] = "+proto";
    const char *s = text;

    if (len < sizeof(grpc) - 1 || strncasecmp(s, grpc, sizeof(grpc) - 1) != 0)
        return MM_GRPC_CONTENT_OTHER;
    s += sizeof(grpc) - 1;
    len -= sizeof(grpc) - 1;
    if (len >= sizeof(proto) - 1 && strncasecmp(s, proto, sizeof(proto) - 1) == 0) {
        s += sizeof(proto) - 1;
        len -= sizeof(proto) - 1;
        return len == 0 || *s == ';' ? MM_GRPC_CONTENT_PROTO : MM_GRPC_CONTENT_SUBTYPE;
    }
    if (len == 0 || *s == ';')
        return MM_GRPC_CONTENT_PROTO;
    return *s == '+' ? MM_GRPC_CONTENT_SUBTYPE : MM_GRPC_CONTENT_OTHER;
}

static bool is_word(const char *text, size_t len, const char *word)
{
    return len == strlen(word) && memcmp(text, word, len) == 0;
}

enum mm_grpc_coding mm_grpc_coding_parse(const void *text, size_t len)
{
    if (is_word(text, len, "identity"))
        return MM_GRPC_CODING_IDENTITY;
    return is_word(text, len, "gzip") ? MM_GRPC_CODING_GZIP : MM_GRPC_CODING_OTHER;
}

bool mm_grpc_accepts_gzip(const void *text, size_t len)
{
    const char *at = text, *const end = at + len;

    while (at < end) {
        const char *comma = memchr(at, ',', (size_t)(end - at));
        const char *stop = comma ? comma : end;

        while (at < stop && (*at == ' ' || *at == '\t'))
            at++;
        len = (size_t)(stop - at);
        while (len > 0 && (at[len - 1] == ' ' || at[len - 1] == '\t'))
            len--;
        if (is_word(at, len, "gzip"))
            return true;
        at = stop + 1;
    }
    return false;
}
