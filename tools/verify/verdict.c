/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/verify/audit.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void verdict_begin(struct verdict *v, const char *command, bool json)
{
    *v = (struct verdict){
        .command = command,
        .json = json,
        .first = json_array(),
        .counts = json_object(),
        .facts = json_object(),
        .proved = json_array(),
        .unproved = json_array(),
    };
}

/* ---- text -------------------------------------------------------------------------------- */

/* U+2028 to U+202E and U+2066 to U+2069 break lines, or turn them. */
static bool turns(const unsigned char *p)
{
    if (p[0] != 0xe2 || (p[1] != 0x80 && p[1] != 0x81))
        return false;
    return p[1] == 0x80 ? p[2] >= 0xa8 && p[2] <= 0xae : p[2] >= 0xa6 && p[2] <= 0xa9;
}

/* Bytes of a well-formed UTF-8 character that may be printed, 1 to 4; 0 for anything else. */
static size_t printable(const unsigned char *p)
{
    static const struct {
        unsigned char first_min, first_max, second_min, second_max;
        size_t len;
    } forms[] = {
        {0xc2, 0xc2, 0xa0, 0xbf, 2}, {0xc3, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
        {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };

    if (*p >= 0x20 && *p < 0x7f)
        return 1;
    if (turns(p))
        return 0;
    for (size_t i = 0; i < COUNT(forms); i++) {
        if (*p < forms[i].first_min || *p > forms[i].first_max)
            continue;
        if (p[1] < forms[i].second_min || p[1] > forms[i].second_max)
            return 0;
        for (size_t k = 2; k < forms[i].len; k++) {
            if (p[k] < 0x80 || p[k] > 0xbf)
                return 0;
        }
        return forms[i].len;
    }
    return 0;
}

/* Whatever came from a file may stand in it: nothing is left that a terminal acts upon. */
static json_t *clean(const char *text)
{
    char copy[TEXT_MAX];
    size_t used = 0;

    for (const unsigned char *p = (const unsigned char *)text; *p && used + 5 < sizeof(copy);) {
        const size_t n = printable(p);

        if (n == 0)
            copy[used++] = '?';
        else
            memcpy(copy + used, p, n);
        used += n;
        p += n ? n : 1;
    }
    copy[used] = 0;
    return json_string(copy);
}

PRINTF(1, 0)
static json_t *format(const char *fmt, va_list ap)
{
    char text[TEXT_MAX];

    vsnprintf(text, sizeof(text), fmt, ap);
    return clean(text);
}

void finding(struct verdict *v, const char *code, const char *where, const char *fmt, ...)
{
    va_list ap;

    v->findings++;
    json_object_set_new(v->counts, code,
                        json_integer(json_integer_value(json_object_get(v->counts, code)) + 1));
    if (v->findings > FINDINGS_SHOWN)
        return;
    va_start(ap, fmt);
    json_array_append_new(v->first, json_pack("{s:s, s:o, s:o}", "code", code, "where",
                                              clean(where), "what", format(fmt, ap)));
    va_end(ap);
}

PRINTF(2, 0)
static void say(json_t *sentences, const char *fmt, va_list ap)
{
    if (json_array_size(sentences) < SENTENCES_MAX)
        json_array_append_new(sentences, format(fmt, ap));
    else if (json_array_size(sentences) == SENTENCES_MAX)
        json_array_append_new(sentences, json_string("… and more."));
}

void proved(struct verdict *v, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    say(v->proved, fmt, ap);
    va_end(ap);
}

void unproved(struct verdict *v, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    say(v->unproved, fmt, ap);
    va_end(ap);
}

void fact_number(struct verdict *v, const char *name, uint64_t value)
{
    json_object_set_new(v->facts, name, json_integer((json_int_t)value));
}

void fact_text(struct verdict *v, const char *name, const char *value)
{
    json_object_set_new(v->facts, name, clean(value));
}

void fact_time(struct verdict *v, const char *name, int64_t time_ms)
{
    char text[TIME_TEXT];

    fact_text(v, name, time_text(time_ms, text));
}

/* ---- the end ----------------------------------------------------------------------------- */

static void print_sentences(const char *heading, const json_t *sentences)
{
    size_t i;
    const json_t *sentence;

    if (json_array_size(sentences) > 0)
        printf("\n%s:\n", heading);
    for (i = 0; i < json_array_size(sentences); i++) {
        sentence = json_array_get(sentences, i);
        printf("  - %s\n", json_is_string(sentence) ? json_string_value(sentence) : "?");
    }
}

static const char *member(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text ? text : "?";
}

static void print_text(const struct verdict *v)
{
    const char *name;
    json_t *value;

    json_object_foreach(v->facts, name, value) {
        if (json_is_integer(value))
            printf("%-26s %lld\n", name, (long long)json_integer_value(value));
        else
            printf("%-26s %s\n", name, json_is_string(value) ? json_string_value(value) : "?");
    }
    if (v->findings)
        printf("\n");
    for (size_t i = 0; i < json_array_size(v->first); i++) {
        const json_t *f = json_array_get(v->first, i);

        printf("FAILED %s %s: %s\n", member(f, "code"), member(f, "where"), member(f, "what"));
    }
    if (v->findings > FINDINGS_SHOWN)
        printf("… and %llu more\n", (unsigned long long)(v->findings - FINDINGS_SHOWN));
    print_sentences("Proved", v->proved);
    print_sentences("Not proved", v->unproved);
    if (v->findings)
        printf("\nFAILED: %llu findings\n", (unsigned long long)v->findings);
    else
        printf("\nOK: all that could be checked is right\n");
}

static void print_json(const struct verdict *v)
{
    json_t *o = json_pack("{s:b, s:s, s:O, s:I, s:O, s:O, s:O, s:O}", "ok", v->findings == 0,
                          "command", v->command, "facts", v->facts, "findings",
                          (json_int_t)v->findings, "by_code", v->counts, "first_findings", v->first,
                          "proved", v->proved, "not_proved", v->unproved);

    json_dumpf(o, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
    putchar('\n');
    json_decref(o);
}

void verdict_drop(struct verdict *v)
{
    json_decref(v->first);
    json_decref(v->counts);
    json_decref(v->facts);
    json_decref(v->proved);
    json_decref(v->unproved);
}

int verdict_end(struct verdict *v)
{
    if (v->json)
        print_json(v);
    else
        print_text(v);
    verdict_drop(v);
    if (fflush(stdout) != 0)
        return EXIT_DATA;
    return v->findings ? EXIT_FAILED : EXIT_GOOD;
}
