/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fake/ejbca/http.h"

#include "daemon/base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Not strndup: the text goes on behind len without an end. */
static char *copy(const char *text, size_t len)
{
    char *to = malloc(len + 1);

    if (!to)
        abort();
    memcpy(to, text, len);
    to[len] = 0;
    return to;
}

/* "METHOD SP target SP HTTP/1.x" */
static unsigned parse_line(const char *line, size_t len, struct http_request *r)
{
    const char *target = memchr(line, ' ', len), *version, *query;
    size_t path;

    if (!target || (size_t)(target - line) >= sizeof(r->method) || target == line)
        return 400;
    memcpy(r->method, line, (size_t)(target - line));
    r->method[target - line] = 0;
    target++;
    version = memchr(target, ' ', len - (size_t)(target - line));
    if (!version || *target != '/')
        return 400;
    if (len - (size_t)(version - line) != 9 || strncmp(version, " HTTP/1.", 8) != 0)
        return 505;
    r->close = version[8] == '0';
    query = memchr(target, '?', (size_t)(version - target));
    path = (size_t)((query ? query : version) - target);
    r->path = copy(target, path);
    if (query)
        r->query = copy(query + 1, (size_t)(version - query - 1));
    return 0;
}

/* Lines, each with its CRLF. */
static unsigned parse_headers(const char *at, const char *end, struct http_request *r)
{
    size_t n = 0;

    while (at < end) {
        const char *eol = memmem(at, (size_t)(end - at), "\r\n", 2);

        if (n == HTTP_HEADERS_MAX - 1)
            return 431;
        if (!eol || *at == ' ' || *at == ':' || !memchr(at, ':', (size_t)(eol - at)))
            return 400;
        r->headers[n++] = copy(at, (size_t)(eol - at));
        at = eol + 2;
    }
    return 0;
}

const char *http_header(const struct http_request *request, const char *name)
{
    const size_t len = strlen(name);

    for (size_t i = 0; request->headers[i]; i++)
        if (strncasecmp(request->headers[i], name, len) == 0 && request->headers[i][len] == ':')
            return request->headers[i] + len + 1 + strspn(request->headers[i] + len + 1, " \t");
    return NULL;
}

static unsigned body_length(const struct http_request *r, uint64_t *ret_len)
{
    const char *length = http_header(r, "Content-Length");

    *ret_len = 0;
    if (http_header(r, "Transfer-Encoding"))
        return 501;
    if (length && mm_text_to_u64(length, 0, UINT32_MAX, ret_len) < 0)
        return 400;
    return *ret_len > HTTP_BODY_MAX ? 413 : 0;
}

/* The head of len bytes, with its empty line. */
static unsigned parse_head(const char *text, size_t len, struct http_request *r)
{
    const char *eol = memmem(text, len, "\r\n", 2);
    unsigned status;

    if (len > HTTP_HEAD_MAX || !eol)
        return 431;
    status = parse_line(text, (size_t)(eol - text), r);
    return status ? status : parse_headers(eol + 2, text + len - 2, r);
}

unsigned http_parse(struct mm_bytes in, struct http_request *ret_request, size_t *ret_used)
{
    const char *end = in.data ? memmem(in.data, in.len, "\r\n\r\n", 4) : NULL, *connection;
    struct http_request r = {.body = MM_BUF_INIT(HTTP_BODY_MAX)};
    uint64_t length = 0;
    unsigned status;
    size_t head;

    if (!end)
        return in.len > HTTP_HEAD_MAX ? 431 : 0;
    head = (size_t)(end - (const char *)in.data) + 4;
    status = parse_head((const char *)in.data, head, &r);
    if (!status)
        status = body_length(&r, &length);
    if (status || in.len - head < length) {
        http_request_done(&r);
        return status;
    }
    connection = http_header(&r, "Connection");
    if (connection)
        r.close = strcasecmp(connection, "close") == 0;
    mm_buf_append(&r.body, in.data + head, length);
    *ret_request = r;
    *ret_used = head + length;
    return 1;
}

bool http_expects_continue(struct mm_bytes in)
{
    const char *end = in.data ? memmem(in.data, in.len, "\r\n\r\n", 4) : NULL;
    const size_t head = end ? (size_t)(end - (const char *)in.data) + 4 : 0;

    return end && in.len == head && memmem(in.data, head, "\r\nExpect: 100-continue\r\n", 24);
}

void http_request_done(struct http_request *request)
{
    free(request->path);
    free(request->query);
    for (size_t i = 0; request->headers[i]; i++)
        free(request->headers[i]);
    mm_buf_done(&request->body);
    memset(request, 0, sizeof(*request));
}

bool http_decode(const char *text, size_t len, char *to, size_t size)
{
    for (const char *end = text + len; text < end; text++) {
        uint8_t byte = (uint8_t)*text;

        if (byte == '%') {
            char hex[3] = {0};

            if (end - text < 3)
                return false;
            memcpy(hex, text + 1, 2);
            if (mm_hex_decode(hex, &byte, 1) < 0 || byte == 0)
                return false;
            text += 2;
        }
        if (size < 2)
            return false;
        *to++ = (char)byte;
        size--;
    }
    *to = 0;
    return true;
}

bool http_parameter(const struct http_request *request, const char *name, char *to, size_t size)
{
    const size_t len = strlen(name);

    for (const char *at = request->query; at && *at;) {
        const size_t pair = strcspn(at, "&");

        if (pair > len && strncmp(at, name, len) == 0 && at[len] == '=')
            return http_decode(at + len + 1, pair - len - 1, to, size);
        at += pair + (at[pair] == '&');
    }
    return false;
}

const char *http_reason(unsigned status)
{
    static const struct {
        unsigned status;
        const char *reason;
    } reasons[] = {{200, "OK"},
                   {201, "Created"},
                   {202, "Accepted"},
                   {304, "Not Modified"},
                   {400, "Bad Request"},
                   {401, "Unauthorized"},
                   {403, "Forbidden"},
                   {404, "Not Found"},
                   {405, "Method Not Allowed"},
                   {409, "Conflict"},
                   {413, "Request Entity Too Large"},
                   {415, "Unsupported Media Type"},
                   {422, "Unprocessable Entity"},
                   {429, "Too Many Requests"},
                   {431, "Request Header Fields Too Large"},
                   {500, "Internal Server Error"},
                   {501, "Not Implemented"},
                   {502, "Bad Gateway"},
                   {503, "Service Unavailable"},
                   {504, "Gateway Timeout"},
                   {505, "HTTP Version Not Supported"}};

    for (size_t i = 0; i < MM_ARRAY_SIZE(reasons); i++)
        if (reasons[i].status == status)
            return reasons[i].reason;
    return "Unknown";
}
