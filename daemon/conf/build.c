/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/conf/build.h"

#include "daemon/base/text.h"

#include <stdarg.h>
#include <string.h>

/* One setting on its way into its struct. */
struct slot {
    const struct mm_draft *draft;
    const struct mm_setting *setting;
    cfg_t *section;
    unsigned char *base; /* of the section's struct */
    int line;
    bool absent; /* an optional section that is not in the file: nothing is required of it */
};

static void *member(const struct slot *s)
{
    return s->base + s->setting->offset;
}

static const char *section_name(const struct slot *s)
{
    return mm_schema_section(s->setting->section)->name;
}

static int wrong(const struct slot *s, const char *text, const char *fmt, ...) MM_PRINTF(3, 4);
static int wrong(const struct slot *s, const char *text, const char *fmt, ...)
{
    const char *section = section_name(s);
    char right[MM_ERR_TEXT_MAX];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(right, sizeof(right), fmt, ap);
    va_end(ap);
    return mm_fail_at(s->draft->place, s->line, "%s%s%s is '%.40s%s'; it must be %s", section,
                      *section ? "." : "", s->setting->key, text, strlen(text) > 40 ? "..." : "",
                      right);
}

static int choice(const struct slot *s, const char *text, size_t *ret_index)
{
    char names[MM_ERR_TEXT_MAX] = "";
    size_t len = 0;

    for (size_t i = 0; s->setting->choices[i]; i++) {
        if (!strcmp(s->setting->choices[i], text)) {
            *ret_index = i;
            return MM_OK;
        }
        len += (size_t)snprintf(names + len, sizeof(names) - len, "%s%s", i ? ", " : "",
                                s->setting->choices[i]);
    }
    return wrong(s, text, "one of %s", names);
}

static int take_string(const struct slot *s, char **to, char *string)
{
    if (!string)
        return mm_fail_memory(s->draft->place->ei);
    free(*to);
    *to = string;
    return MM_OK;
}

/* A text of its own, or an item of a list. */
static int set_text(const struct slot *s, const char *text, size_t min, size_t max, char **to)
{
    size_t index;
    int r;

    if (s->setting->choices) {
        r = choice(s, text, &index);
        if (r < 0)
            return r;
    } else if (strlen(text) < min || strlen(text) > max) {
        return wrong(s, text, "%zu to %zu bytes long", min, max);
    } else if (s->setting->format && !s->setting->format(text)) {
        return wrong(s, text, "%s", s->setting->expects);
    }
    return take_string(s, to, strdup(text));
}

/* Relative paths are taken from the file's folder. */
static int set_path(const struct slot *s, const char *text)
{
    const char *file = s->draft->conf->path;
    const size_t folder = (size_t)(strrchr(file, '/') - file) + 1;
    char *path = NULL;

    if (!*text || strlen(text) > s->setting->max - folder)
        return wrong(s, text, "a path of at most %zu bytes", (size_t)s->setting->max - folder);
    if (*text == '~')
        return wrong(s, text, "an absolute path, or one relative to this file; ~ is not expanded");
    if (*text == '/')
        path = strdup(text);
    else if (asprintf(&path, "%.*s%s", (int)folder, file, text) < 0)
        path = NULL;
    return take_string(s, member(s), path);
}

static int set_number(const struct slot *s, const char *text)
{
    uint64_t v;

    if (mm_text_to_u64(text, s->setting->min, s->setting->max, &v) < 0)
        return wrong(s, text, "a whole number from %llu to %llu%s%s",
                     (unsigned long long)s->setting->min, (unsigned long long)s->setting->max,
                     s->setting->unit ? " " : "", s->setting->unit ? s->setting->unit : "");
    if (s->setting->type == MM_SETTING_SIZE)
        *(unsigned long *)member(s) = (unsigned long)v;
    else
        *(unsigned *)member(s) = (unsigned)v;
    return MM_OK;
}

static int set_bool(const struct slot *s, const char *text)
{
    const int v = cfg_parse_boolean(text);

    if (v < 0)
        return wrong(s, text, "true or false");
    *(bool *)member(s) = v;
    return MM_OK;
}

static int set_level(const struct slot *s, const char *text)
{
    size_t index;
    const int r = choice(s, text, &index);

    if (r < 0)
        return r;
    *(enum mm_log_level *)member(s) = (enum mm_log_level)index;
    return MM_OK;
}

static int set_one(const struct slot *s, const char *text)
{
    switch (s->setting->type) {
    case MM_SETTING_PATH:
        return set_path(s, text);
    case MM_SETTING_UINT:
    case MM_SETTING_SIZE:
        return set_number(s, text);
    case MM_SETTING_BOOL:
        return set_bool(s, text);
    case MM_SETTING_LEVEL:
        return set_level(s, text);
    default:
        return set_text(s, text, s->setting->min, s->setting->max, member(s));
    }
}

static int set_list(struct slot *s)
{
    const size_t n = mm_raw_count(s->section, s->setting->key);
    size_t *count = (size_t *)(void *)(s->base + s->setting->count_offset);
    char **list;
    int r;

    if (n > s->setting->max)
        return mm_fail_at(s->draft->place, s->line, "%s.%s has %zu values; at most %zu are taken",
                          section_name(s), s->setting->key, n, (size_t)s->setting->max);
    list = calloc(n + 1, sizeof(*list));
    if (!list)
        return mm_fail_memory(s->draft->place->ei);
    *(char ***)member(s) = list;
    for (; *count < n; ++*count) {
        const struct mm_raw *raw = mm_raw_at(s->section, s->setting->key, *count);

        s->line = raw->line;
        r = set_text(s, raw->text, 1, MM_URI_MAX, &list[*count]);
        if (r < 0)
            return r;
    }
    return MM_OK;
}

static int set_roles(struct slot *s)
{
    const size_t n = mm_raw_count(s->section, s->setting->key);

    for (size_t i = 0; i < n; i++) {
        const struct mm_raw *raw = mm_raw_at(s->section, s->setting->key, i);
        size_t index;
        int r;

        s->line = raw->line;
        r = choice(s, raw->text, &index);
        if (r < 0)
            return r;
        *(unsigned *)member(s) |= 1u << index;
    }
    return MM_OK;
}

static int set_default(const struct slot *s)
{
    const bool from_preset = s->setting->preset && mm_raw_count(s->section, "preset") > 0;
    const char *fallback = from_preset ? NULL : s->setting->fallback;

    switch (s->setting->type) {
    case MM_SETTING_UINT:
    case MM_SETTING_SIZE:
    case MM_SETTING_BOOL:
    case MM_SETTING_LEVEL:
        return fallback ? set_one(s, fallback) : MM_OK;
    case MM_SETTING_TEXT:
    case MM_SETTING_PATH:
    case MM_SETTING_CHOICE:
        return take_string(s, member(s), strdup(fallback ? fallback : ""));
    default:
        return MM_OK;
    }
}

static int fill_setting(struct slot *s)
{
    const bool list = s->setting->type == MM_SETTING_LIST || s->setting->type == MM_SETTING_ROLES;
    const size_t n = mm_raw_count(s->section, s->setting->key);
    const char *title = s->section->title;

    if (n == 0 && s->setting->required && !s->absent)
        return mm_fail_at(s->draft->place, s->line, "section %s%s%s%s must set %s", section_name(s),
                          title ? " '" : "", title ? title : "", title ? "'" : "", s->setting->key);
    if (n == 0 && !list)
        return set_default(s);
    if (n > 0)
        s->line = mm_raw_at(s->section, s->setting->key, 0)->line;
    if (s->setting->type == MM_SETTING_LIST)
        return set_list(s);
    if (s->setting->type == MM_SETTING_ROLES)
        return set_roles(s);
    return set_one(s, mm_raw_at(s->section, s->setting->key, 0)->text);
}

static int fill_section(const struct mm_draft *draft, enum mm_section_id id, cfg_t *section,
                        unsigned char *base);

static int fill_titled(const struct mm_draft *draft, const struct mm_section *schema,
                       enum mm_section_id id, cfg_t *parent, unsigned char *base)
{
    const size_t n = cfg_size(parent, schema->name);
    size_t *count = (size_t *)(void *)(base + schema->count_offset);
    unsigned char *array;

    if (n > schema->max)
        return mm_fail_at(draft->place, mm_section_line(draft->parsed, parent),
                          "%zu sections '%s'; at most %zu are taken", n, schema->name, schema->max);
    array = calloc(n + 1, schema->size);
    if (!array)
        return mm_fail_memory(draft->place->ei);
    *(void **)(void *)(base + schema->offset) = array;
    while (*count < n) {
        cfg_t *section = cfg_getnsec(parent, schema->name, (unsigned)*count);
        unsigned char *element = array + *count * schema->size;
        struct mm_titled *titled = (struct mm_titled *)(void *)element;
        int r;

        ++*count;
        if (!mm_name_valid(section->title, MM_NAME_MAX))
            return mm_fail_at(draft->place, mm_section_line(draft->parsed, section),
                              "%s '%.40s': a name has letters, digits, '.', '_' and '-', "
                              "begins with a letter or digit, and is 1 to %d long",
                              schema->name, section->title, MM_NAME_MAX);
        titled->name = strdup(section->title);
        titled->line = mm_section_line(draft->parsed, section);
        if (!titled->name)
            return mm_fail_memory(draft->place->ei);
        r = fill_section(draft, id, section, element);
        if (r < 0)
            return r;
    }
    return MM_OK;
}

static int fill_single(const struct mm_draft *draft, const struct mm_section *schema,
                       enum mm_section_id id, cfg_t *parent, unsigned char *base)
{
    cfg_t *section = cfg_getsec(parent, schema->name);
    unsigned char *element = base + schema->offset;

    *(int *)(void *)element = mm_section_line(draft->parsed, section);
    if (schema->optional)
        ((struct mm_optional *)(void *)element)->given = mm_section_given(section);
    return fill_section(draft, id, section, element);
}

static int fill_section(const struct mm_draft *draft, enum mm_section_id id, cfg_t *section,
                        unsigned char *base)
{
    size_t n;
    const struct mm_setting *settings = mm_schema_settings(&n);
    const bool absent =
        mm_schema_section(id)->optional && !((const struct mm_optional *)(const void *)base)->given;
    int r = MM_OK;

    for (size_t i = 0; i < n && r >= 0; i++) {
        struct slot slot = {
            draft, &settings[i], section, base, mm_section_line(draft->parsed, section), absent};

        if (settings[i].section == id)
            r = fill_setting(&slot);
    }
    for (enum mm_section_id sub = 1; sub < MM_SECTIONS && r >= 0; sub++) {
        const struct mm_section *schema = mm_schema_section(sub);

        if (schema->parent != id)
            continue;
        r = schema->titled ? fill_titled(draft, schema, sub, section, base)
                           : fill_single(draft, schema, sub, section, base);
    }
    return r;
}

int mm_conf_build(const struct mm_draft *draft)
{
    return fill_section(draft, MM_SECTION_ROOT, draft->parsed->root, (unsigned char *)draft->conf);
}
