/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/conf/format.h"

#include "daemon/base/limits.h"
#include "daemon/base/macros.h"
#include "daemon/base/text.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <string.h>

bool mm_format_name(const char *s)
{
    return mm_name_valid(s, MM_NAME_MAX);
}

bool mm_format_address(const char *s)
{
    unsigned char address[sizeof(struct in6_addr)];

    return inet_pton(AF_INET, s, address) == 1 || inet_pton(AF_INET6, s, address) == 1;
}

bool mm_format_loopback(const char *s)
{
    struct in6_addr v6;
    unsigned char v4[sizeof(struct in_addr)];

    if (inet_pton(AF_INET, s, v4) == 1)
        return v4[0] == 127;
    return inet_pton(AF_INET6, s, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

bool mm_format_pkcs11_uri(const char *s)
{
    return !strncmp(s, "pkcs11:", 7) && s[7];
}

bool mm_format_token_uri(const char *s)
{
    static const char *const names[] = {"token=", "serial=", "manufacturer=", "model="};

    if (!mm_format_pkcs11_uri(s))
        return false;
    if (strstr(s, "pin"))
        return true;
    for (s = strchr(s, ':'); s; s = strchr(s, ';')) {
        bool known = false;

        s++;
        for (size_t i = 0; i < MM_ARRAY_SIZE(names); i++)
            known = known || !strncmp(s, names[i], strlen(names[i]));
        if (!known)
            return false;
    }
    return true;
}

bool mm_format_uri(const char *s)
{
    const size_t scheme = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                    "0123456789+-.");

    return isalpha((unsigned char)s[0]) && s[scheme] == ':' && s[scheme + 1];
}

bool mm_format_dn(const char *s)
{
    const char *equals = strchr(s, '=');

    return equals && equals != s;
}

bool mm_format_environment(const char *s)
{
    const char *equals = strchr(s, '=');

    if (!equals || equals == s || isdigit((unsigned char)*s))
        return false;
    for (; s < equals; s++)
        if (!isalnum((unsigned char)*s) && *s != '_')
            return false;
    return true;
}

bool mm_format_hex4(const char *s)
{
    return strlen(s) == 4 && strspn(s, "0123456789ABCDEF") == 4;
}

bool mm_format_sha256(const char *s)
{
    unsigned char digest[32];

    return strlen(s) == 64 && mm_hex_decode(s, digest, sizeof(digest)) == MM_OK;
}

static unsigned number(const char *digits, size_t n)
{
    unsigned v = 0;

    while (n--)
        v = v * 10 + (unsigned)(*digits++ - '0');
    return v;
}

/* YYYYMMDDHHMMSSZ of a moment that exists: GeneralizedTime as RFC 5280 section 4.1.2.5.2 has it. */
static bool generalized_time(const char *s)
{
    static const unsigned char days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    unsigned year, month, day;
    bool leap;

    if (strlen(s) != 15 || strspn(s, "0123456789") != 14 || s[14] != 'Z')
        return false;
    year = number(s, 4);
    month = number(s + 4, 2);
    day = number(s + 6, 2);
    leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    if (year < 1950 || month < 1 || month > 12 || day < 1)
        return false;
    if (day > days[month - 1] + (leap && month == 2 ? 1u : 0u))
        return false;
    return number(s + 8, 2) < 24 && number(s + 10, 2) < 60 && number(s + 12, 2) < 60;
}

bool mm_format_not_before(const char *s)
{
    return !strcmp(s, "now") || generalized_time(s);
}

bool mm_format_validity(const char *s)
{
    const size_t digits = strspn(s, "0123456789");

    if (generalized_time(s))
        return true;
    if (digits < 1 || digits > 6 || *s == '0' || s[digits] == 0 || s[digits + 1] != 0)
        return false;
    return strchr("ydh", s[digits]) != NULL;
}

/* A port, and nothing or a path behind it. */
static bool port_and_path(const char *s)
{
    if (*s == ':') {
        const size_t digits = strspn(++s, "0123456789");

        if (digits < 1 || digits > 5 || number(s, digits) < 1 || number(s, digits) > 65535)
            return false;
        s += digits;
    }
    if (*s && *s != '/')
        return false;
    for (; *s; s++)
        if (!isalnum((unsigned char)*s) && !strchr("/-._~%", *s))
            return false;
    return true;
}

bool mm_format_https(const char *s)
{
    static const char scheme[] = "https://";
    size_t host;

    if (strncmp(s, scheme, strlen(scheme)) != 0)
        return false;
    s += strlen(scheme);
    if (*s == '[') {
        host = strspn(s + 1, "0123456789abcdefABCDEF:.");
        return host > 0 && s[1 + host] == ']' && port_and_path(s + host + 2);
    }
    host = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.");
    return host > 0 && host <= 253 && port_and_path(s + host);
}

bool mm_format_printable(const char *s)
{
    if (!*s || *s == ' ' || s[strlen(s) - 1] == ' ' || !mm_utf8_valid(s, strlen(s)))
        return false;
    for (; *s; s++)
        if (iscntrl((unsigned char)*s))
            return false;
    return true;
}

/* EJBCA puts '/' in place of what it does not like in a username, and so joins two. */
bool mm_format_username(const char *s)
{
    const bool differs =
        strstr(s, "${device_uid}") || strstr(s, "${hw_serial}") || strstr(s, "${number");

    for (; *s; s++) {
        if (*s == '$' && s[1] == '{') {
            s = strchr(s, '}');
            if (!s)
                return false;
        } else if (!isalnum((unsigned char)*s) && !strchr("._-@+", *s)) {
            return false;
        }
    }
    return differs;
}
