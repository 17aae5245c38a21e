/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/front/http_request.h"

#include <string.h>
#include <strings.h>

enum { OK = 200, BAD = 400, METHOD = 405, BODY = 413, TOO_BIG = 431, VERSION = 505 };

static bool is_token_char(uint8_t c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c != 0 && strchr("!#$%&'*+-.^_`|~", c));
}

/* Garbage is known by its first bytes, and need not be waited for. */
static bool has_control(struct mm_bytes in)
{
    for (size_t i = 0; i < in.len; i++) {
        const uint8_t c = in.data[i];

        if ((c < ' ' && c != '\r' && c != '\n' && c != '\t') || c == 0x7f)
            return true;
    }
    return false;
}

static bool equals(struct mm_bytes b, const char *text)
{
    return b.len == strlen(text) && memcmp(b.data, text, b.len) == 0;
}

static bool is_name(struct mm_bytes b, const char *name)
{
    return b.len == strlen(name) && strncasecmp((const char *)b.data, name, b.len) == 0;
}

/* Takes what stands before the separator off the front of *in; false: there is none. */
static bool split(struct mm_bytes *in, const char *separator, struct mm_bytes *ret_part)
{
    const size_t n = strlen(separator);
    const uint8_t *at = in->len > 0 ? memmem(in->data, in->len, separator, n) : NULL;

    if (!at)
        return false;
    *ret_part = (struct mm_bytes){in->data, (size_t)(at - in->data)};
    in->len -= ret_part->len + n;
    in->data = at + n;
    return true;
}

static struct mm_bytes trim(struct mm_bytes b)
{
    while (b.len > 0 && (b.data[0] == ' ' || b.data[0] == '\t')) {
        b.data++;
        b.len--;
    }
    while (b.len > 0 && (b.data[b.len - 1] == ' ' || b.data[b.len - 1] == '\t'))
        b.len--;
    return b;
}

/* Only the origin form, "/path?query". */
static unsigned take_target(struct mm_bytes target, struct mm_http_request *request)
{
    size_t len = 0;

    if (target.len == 0 || target.data[0] != '/')
        return BAD;
    for (size_t i = 0; i < target.len; i++) {
        if (target.data[i] <= ' ' || target.data[i] > '~')
            return BAD;
    }
    while (len < target.len && target.data[len] != '?')
        len++;
    if (len > MM_HTTP_PATH_MAX)
        len = 0;
    memcpy(request->path, target.data, len);
    request->path[len] = 0;
    return OK;
}

static unsigned take_line(struct mm_bytes line, struct mm_http_request *request, bool *ret_host)
{
    struct mm_bytes method, target;
    unsigned status;

    if (!split(&line, " ", &method) || !split(&line, " ", &target) || method.len == 0)
        return BAD;
    for (size_t i = 0; i < method.len; i++) {
        if (!is_token_char(method.data[i]))
            return BAD;
    }
    request->head = equals(method, "HEAD");
    status = take_target(target, request);
    if (status != OK)
        return status;
    if (line.len != strlen("HTTP/1.1") || memcmp(line.data, "HTTP/", 5) != 0)
        return BAD;
    *ret_host = equals(line, "HTTP/1.1");
    if (!*ret_host && !equals(line, "HTTP/1.0"))
        return VERSION;
    return request->head || equals(method, "GET") ? OK : METHOD;
}

static unsigned take_field(struct mm_bytes line, unsigned *hosts)
{
    struct mm_bytes name;

    if (!split(&line, ":", &name) || name.len == 0)
        return BAD;
    for (size_t i = 0; i < name.len; i++) {
        if (!is_token_char(name.data[i]))
            return BAD;
    }
    for (size_t i = 0; i < line.len; i++) {
        if (line.data[i] == '\r' || line.data[i] == '\n')
            return BAD;
    }
    if (is_name(name, "host"))
        ++*hosts;
    if (is_name(name, "transfer-encoding"))
        return BODY;
    return is_name(name, "content-length") && !equals(trim(line), "0") ? BODY : OK;
}

unsigned mm_http_request_parse(struct mm_bytes in, struct mm_http_request *ret_request)
{
    struct mm_bytes head, line;
    bool needs_host = false;
    unsigned hosts = 0, status;

    ret_request->head = false;
    if (has_control(in))
        return BAD;
    if (!split(&in, "\r\n\r\n", &head))
        return in.len < MM_HTTP_REQUEST_MAX ? 0 : TOO_BIG;
    head.len += 2; /* with the end of its last line */
    if (!split(&head, "\r\n", &line))
        return BAD;
    status = take_line(line, ret_request, &needs_host);
    while (status == OK && split(&head, "\r\n", &line))
        status = take_field(line, &hosts);
    if (status == OK && (hosts > 1 || (needs_host && hosts == 0)))
        status = BAD;
    return status;
}
