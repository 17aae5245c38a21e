/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/conf/schema.h"

#include <errno.h>

/* Single quotes, in which libconfuse replaces nothing; only the quote itself and the backslash are
 * escaped. */
static void dump_text(FILE *out, const char *text)
{
    fputc('\'', out);
    for (; *text; text++) {
        if (*text == '\'' || *text == '\\')
            fputc('\\', out);
        fputc(*text, out);
    }
    fputc('\'', out);
}

static void dump_list(FILE *out, char *const *list, size_t n)
{
    fputc('{', out);
    for (size_t i = 0; i < n; i++) {
        fputs(i ? ", " : "", out);
        dump_text(out, list[i]);
    }
    fputc('}', out);
}

static void dump_roles(FILE *out, const struct mm_setting *s, unsigned roles)
{
    const char *separator = "";

    fputc('{', out);
    for (size_t i = 0; s->choices[i]; i++) {
        if (!(roles & 1u << i))
            continue;
        fprintf(out, "%s'%s'", separator, s->choices[i]);
        separator = ", ";
    }
    fputc('}', out);
}

static void dump_value(FILE *out, const struct mm_setting *s, const unsigned char *base)
{
    const void *member = base + s->offset;

    switch (s->type) {
    case MM_SETTING_TEXT:
    case MM_SETTING_PATH:
    case MM_SETTING_CHOICE:
        dump_text(out, *(char *const *)member);
        break;
    case MM_SETTING_LEVEL:
        dump_text(out, s->choices[*(const enum mm_log_level *)member]);
        break;
    case MM_SETTING_UINT:
        fprintf(out, "%u", *(const unsigned *)member);
        break;
    case MM_SETTING_SIZE:
        fprintf(out, "%lu", *(const unsigned long *)member);
        break;
    case MM_SETTING_BOOL:
        fputs(*(const bool *)member ? "true" : "false", out);
        break;
    case MM_SETTING_LIST:
        dump_list(out, *(char *const *const *)member,
                  *(const size_t *)(const void *)(base + s->count_offset));
        break;
    case MM_SETTING_ROLES:
        dump_roles(out, s, *(const unsigned *)member);
        break;
    }
}

/* A setting that is not set and has no default is left out. */
static bool is_set(const struct mm_setting *s, const unsigned char *base)
{
    const void *member = base + s->offset;

    switch (s->type) {
    case MM_SETTING_TEXT:
    case MM_SETTING_PATH:
    case MM_SETTING_CHOICE:
        return **(char *const *)member;
    case MM_SETTING_SIZE:
        return *(const unsigned long *)member != 0;
    case MM_SETTING_LIST:
        return *(const size_t *)(const void *)(base + s->count_offset) > 0;
    default:
        return true;
    }
}

static void dump_section(FILE *out, enum mm_section_id id, const unsigned char *base, int depth);

static void dump_subsection(FILE *out, enum mm_section_id id, const unsigned char *base, int depth)
{
    const struct mm_section *schema = mm_schema_section(id);
    size_t n = 1;

    if (schema->titled) {
        n = *(const size_t *)(const void *)(base + schema->count_offset);
        base = *(unsigned char *const *)(const void *)(base + schema->offset);
    } else {
        base += schema->offset;
        if (schema->optional && !((const struct mm_optional *)(const void *)base)->given)
            return;
    }
    for (; n > 0; n--, base += schema->size) {
        fprintf(out, "\n%*s%s ", 4 * depth, "", schema->name);
        if (schema->titled)
            fprintf(out, "'%s' ", *(char *const *)(const void *)base);
        fputs("{\n", out);
        dump_section(out, id, base, depth + 1);
        fprintf(out, "%*s}\n", 4 * depth, "");
    }
}

static void dump_section(FILE *out, enum mm_section_id id, const unsigned char *base, int depth)
{
    size_t n;
    const struct mm_setting *settings = mm_schema_settings(&n);

    for (size_t i = 0; i < n; i++) {
        if (settings[i].section != id || !is_set(&settings[i], base))
            continue;
        fprintf(out, "%*s%s = ", 4 * depth, "", settings[i].key);
        dump_value(out, &settings[i], base);
        fputc('\n', out);
    }
    for (enum mm_section_id sub = 1; sub < MM_SECTIONS; sub++)
        if (mm_schema_section(sub)->parent == id)
            dump_subsection(out, sub, base, depth);
}

int mm_conf_dump(const struct mm_conf *conf, FILE *out, struct mm_errinfo *ei)
{
    dump_section(out, MM_SECTION_ROOT, (const unsigned char *)conf, 0);
    if (fflush(out) != 0 || ferror(out))
        return mm_fail_errno(ei, errno, "writing the configuration");
    return MM_OK;
}
