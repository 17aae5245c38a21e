/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/conf/scan.h"

#include "daemon/base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { DEPTH_MAX = 8, PATH_SHOWN_MAX = 100 };

struct scanner {
    const struct mm_place *place;
    char *text;
    size_t len, at;
    int line;
    int *opened;
    int open[DEPTH_MAX];
    int depth;
};

int mm_fail_at(const struct mm_place *place, int line, const char *fmt, ...)
{
    const size_t len = strlen(place->path);
    const char *dots = len > PATH_SHOWN_MAX ? "..." : "";
    const char *path = len > PATH_SHOWN_MAX ? place->path + len - PATH_SHOWN_MAX : place->path;
    char text[MM_ERR_TEXT_MAX];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    return mm_fail(place->ei, MM_ERR_INVALID, "BAD_CONFIG", "%s%s:%d: %s", dots, path, line, text);
}

/* The NUL at the end of the text reads as 0. */
static char peek(const struct scanner *s, size_t ahead)
{
    return s->at + ahead < s->len ? s->text[s->at + ahead] : 0;
}

/* Up to, not including, the end of the line. */
static void blank_line(struct scanner *s)
{
    while (s->at < s->len && s->text[s->at] != '\n')
        s->text[s->at++] = ' ';
}

static int blank_block(struct scanner *s)
{
    const int began = s->line;

    for (; s->at < s->len; s->at++) {
        if (peek(s, 0) == '*' && peek(s, 1) == '/') {
            s->text[s->at++] = ' ';
            s->text[s->at++] = ' ';
            return MM_OK;
        }
        if (s->text[s->at] == '\n')
            s->line++;
        else
            s->text[s->at] = ' ';
    }
    return mm_fail_at(s->place, began, "comment is not closed: */ is missing");
}

static int scan_quoted(struct scanner *s)
{
    const char quote = s->text[s->at++];

    for (; s->at < s->len && s->text[s->at] != '\n'; s->at++) {
        const char c = s->text[s->at];

        if (c == quote) {
            s->at++;
            return MM_OK;
        }
        if (quote == '"' && c == '$' && peek(s, 1) == '{')
            return mm_fail_at(s->place, s->line,
                              "${ in double quotes would be replaced from the environment: "
                              "put the text in single quotes");
        if (c != '\\')
            continue;
        if (quote == '"' && peek(s, 1) != '\\' && peek(s, 1) != '"')
            return mm_fail_at(s->place, s->line,
                              "escapes are not taken in double quotes: use single quotes");
        if (peek(s, 1) == '\\' || peek(s, 1) == quote)
            s->at++;
    }
    return mm_fail_at(s->place, s->line, "quote is not closed: %c is missing on this line", quote);
}

static int scan_brace(struct scanner *s)
{
    if (s->text[s->at] == '{') {
        if (s->depth == DEPTH_MAX)
            return mm_fail_at(s->place, s->line, "too many braces within braces");
        s->open[s->depth++] = s->line;
    } else {
        if (s->depth == 0)
            return mm_fail_at(s->place, s->line, "} without a { before it");
        s->opened[s->line] = s->open[--s->depth];
    }
    s->at++;
    return MM_OK;
}

static bool bare(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
           (c && strchr("_-.:/@%~", c)) || (unsigned char)c >= 0x80;
}

static int scan_other(struct scanner *s)
{
    const char c = s->text[s->at];

    if (c == '+' && peek(s, 1) == '=') {
        s->at += 2;
        return MM_OK;
    }
    if (strchr("=, \t", c)) {
        s->at++;
        return MM_OK;
    }
    if (!bare(c))
        return mm_fail_at(s->place, s->line, "%c may stand in single quotes only%s", c,
                          c == ';' ? "; settings need no semicolon" : "");
    while (bare(peek(s, 0)))
        s->at++;
    return MM_OK;
}

static int scan_one(struct scanner *s)
{
    const char c = s->text[s->at], next = peek(s, 1);

    if (c == '\n') {
        s->line++;
        s->at++;
        return MM_OK;
    }
    if (c == '#' || (c == '/' && next == '/')) {
        blank_line(s);
        return MM_OK;
    }
    if (c == '/' && next == '*')
        return blank_block(s);
    if (c == '\'' || c == '"')
        return scan_quoted(s);
    if (c == '{' || c == '}')
        return scan_brace(s);
    return scan_other(s);
}

/* Counts lines, drops the CR of CR LF, and refuses all other control characters. */
static int scan_bytes(const struct mm_place *place, char *text, size_t len, int *ret_lines)
{
    int lines = 1;

    for (size_t i = 0; i < len; i++) {
        const unsigned char c = (unsigned char)text[i];

        if (c == '\r' && i + 1 < len && text[i + 1] == '\n')
            text[i] = ' ';
        else if ((c < ' ' && c != '\n' && c != '\t') || c == 0x7f)
            return mm_fail_at(place, lines, "control character 0x%02x", c);
        if (c == '\n')
            lines++;
    }
    *ret_lines = lines;
    if (!mm_utf8_valid(text, len))
        return mm_fail_at(place, 1, "the file is not UTF-8 text");
    return MM_OK;
}

int mm_scan(const struct mm_place *place, const char *text, size_t len, struct mm_scan *ret_scan)
{
    MM_SCAN_CLEANUP struct mm_scan scan = {.text = malloc(len + 1)};
    struct scanner s = {.place = place, .text = scan.text, .len = len, .line = 1};
    int r;

    if (!scan.text)
        return mm_fail_memory(place->ei);
    if (len)
        memcpy(scan.text, text, len);
    scan.text[len] = 0;
    r = scan_bytes(place, scan.text, len, &scan.last_line);
    if (r < 0)
        return r;
    scan.opened = calloc((size_t)scan.last_line + 1, sizeof(*scan.opened));
    if (!scan.opened)
        return mm_fail_memory(place->ei);
    s.opened = scan.opened;
    while (s.at < s.len) {
        r = scan_one(&s);
        if (r < 0)
            return r;
    }
    if (s.depth > 0)
        return mm_fail_at(place, s.open[s.depth - 1], "{ is not closed: } is missing");
    *ret_scan = scan;
    scan = (struct mm_scan){0};
    return MM_OK;
}

void mm_scan_done(struct mm_scan *scan)
{
    free(scan->text);
    free(scan->opened);
    *scan = (struct mm_scan){0};
}
