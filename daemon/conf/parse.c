/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/conf/parse.h"

#include <stdarg.h>
#include <string.h>

/* libconfuse hands no pointer of ours to its callbacks; the one parser that runs stands here. */
static struct parser {
    const struct mm_place *place;
    bool failed;             /* the first error is the one that is told */
    bool done;               /* from now on values are freed because the tree is */
    int dropped_line;        /* a value that a second assignment has just replaced; 0: none */
    int closed[MM_SECTIONS]; /* single sections: the line of the closing brace; 0: not seen yet */
} * active;

static void failed_twice(const char *key, int line)
{
    if (!active->failed)
        mm_fail_at(active->place, line, "%s is set for a second time; the first is in line %d", key,
                   active->dropped_line);
    active->failed = true;
}

static bool belongs(cfg_t *section, const cfg_opt_t *opt)
{
    return opt >= section->opts && opt < section->opts + cfg_num(section);
}

/* libconfuse's value callback: text to struct mm_raw. */
static int take_value(cfg_t *section, cfg_opt_t *opt, const char *value, void *ret_value)
{
    struct mm_raw *raw;

    if (active->dropped_line) {
        failed_twice(opt->name, section->line);
        return 1;
    }
    if (!belongs(section, opt)) {
        cfg_error(section, "%s belongs to another section: set it there", opt->name);
        return 1;
    }
    raw = calloc(1, sizeof(*raw));
    if (!raw)
        return 1;
    raw->line = section->line;
    raw->text = strdup(value);
    if (!raw->text) {
        free(raw);
        return 1;
    }
    memcpy(ret_value, &raw, sizeof(raw));
    return 0;
}

/* libconfuse frees values when the tree goes, and when a second assignment replaces them. */
static void drop_value(void *value)
{
    struct mm_raw *raw = value;

    if (active && !active->done)
        active->dropped_line = raw->line;
    free(raw->text);
    free(raw);
}

static enum mm_section_id section_id(const cfg_t *section)
{
    for (enum mm_section_id id = 1; id < MM_SECTIONS; id++)
        if (!strcmp(mm_schema_section(id)->name, section->name))
            return id;
    return MM_SECTION_ROOT;
}

/* Adds to libconfuse's sentence what would be right, where it does not say so itself. */
static const char *advice(const char *format)
{
    static const struct {
        const char *format, *advice;
    } table[] = {
        {"missing equal sign", ": write NAME = VALUE"},
        {"missing title", ": write the section's name in quotes before its {"},
        {"missing opening brace", ": write { after the section's name"},
        {"unexpected token", ": write NAME = VALUE, or NAME = {VALUE, VALUE} for a list"},
        {"attempt to append", ": write = in place of +="},
        {"found duplicate title", ": every section of a kind has a name of its own"},
    };

    for (size_t i = 0; i < MM_ARRAY_SIZE(table); i++)
        if (!strncmp(format, table[i].format, strlen(table[i].format)))
            return table[i].advice;
    return "";
}

static void unknown_name(cfg_t *section, const char *name)
{
    const char *where = section_id(section) == MM_SECTION_ROOT ? "" : section->name;
    char buf[MM_ERR_TEXT_MAX];
    const char *hint = mm_schema_suggest(section_id(section), name, buf, sizeof(buf));

    mm_fail_at(active->place, section->line, "unknown setting '%.64s'%s%s%s%s", name,
               *where ? " in section " : "", where, "; ",
               hint ? hint : "mintmark.conf(5) lists those that there are");
}

static void take_error(cfg_t *section, const char *format, va_list ap) MM_PRINTF(2, 0);
static void take_error(cfg_t *section, const char *format, va_list ap)
{
    char text[MM_ERR_TEXT_MAX];

    if (active->failed)
        return;
    active->failed = true;
    if (!strcmp(format, "no such option '%s'")) {
        unknown_name(section, va_arg(ap, const char *));
        return;
    }
    vsnprintf(text, sizeof(text), format, ap);
    mm_fail_at(active->place, section->line, "%s%s", text, advice(format));
}

/* libconfuse's callback at the end of a single section; it would take a second one as more of the
 * first. */
static int close_single(cfg_t *parent, cfg_opt_t *option)
{
    const cfg_t *section = cfg_opt_getnsec(option, 0);
    int *line = &active->closed[section_id(section)];

    if (*line) {
        cfg_error(parent, "section %s is there for a second time; the first ends in line %d",
                  section->name, *line);
        return 1;
    }
    *line = parent->line;
    return 0;
}

static void free_options(cfg_opt_t *options)
{
    for (size_t i = 0; options && options[i].name; i++)
        free_options(options[i].subopts);
    free(options);
}

/* The section's settings and subsections in libconfuse's form, all of them texts: what a text must
 * look like is ours to check. Ends with CFG_END. */
static cfg_opt_t *make_options(enum mm_section_id id)
{
    size_t n_settings, n = 0;
    const struct mm_setting *settings = mm_schema_settings(&n_settings);
    cfg_opt_t *options = calloc(n_settings + MM_SECTIONS + 1, sizeof(*options));

    if (!options)
        return NULL;
    for (size_t i = 0; i < n_settings; i++) {
        const bool list =
            settings[i].type == MM_SETTING_LIST || settings[i].type == MM_SETTING_ROLES;
        const int flags = CFGF_NODEFAULT | (list ? CFGF_LIST : 0);

        if (settings[i].section == id)
            options[n++] = (cfg_opt_t)CFG_PTR_CB(settings[i].key, 0, flags, take_value, drop_value);
    }
    for (enum mm_section_id sub = 1; sub < MM_SECTIONS; sub++) {
        const struct mm_section *s = mm_schema_section(sub);
        const int flags = s->titled ? CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES : CFGF_NONE;
        cfg_opt_t *inner;

        if (s->parent != id)
            continue;
        inner = make_options(sub);
        if (!inner) {
            free_options(options);
            return NULL;
        }
        options[n] = (cfg_opt_t)CFG_SEC(s->name, inner, flags);
        options[n++].validcb = s->titled ? NULL : close_single;
    }
    return options;
}

static int run(struct parser *p, cfg_t *root, const char *text)
{
    int r;

    active = p;
    r = cfg_parse_buf(root, text);
    p->done = true;
    if (p->failed)
        return MM_ERR_INVALID;
    if (p->dropped_line)
        return mm_fail_at(p->place, p->dropped_line, "the list is set again further down");
    return r == CFG_SUCCESS ? MM_OK : mm_fail_memory(p->place->ei);
}

int mm_parse(const struct mm_place *place, const char *text, size_t len,
             struct mm_parsed *ret_parsed)
{
    struct parser parser = {.place = place};
    MM_PARSED_CLEANUP struct mm_parsed parsed = {0};
    cfg_opt_t *options;
    int r = mm_scan(place, text, len, &parsed.scan);

    if (r < 0)
        return r;
    options = make_options(MM_SECTION_ROOT);
    if (!options)
        return mm_fail_memory(place->ei);
    parsed.root = cfg_init(options, CFGF_NONE);
    free_options(options);
    if (!parsed.root)
        return mm_fail_memory(place->ei);
    cfg_set_error_function(parsed.root, take_error);
    r = run(&parser, parsed.root, parsed.scan.text);
    active = NULL;
    if (r < 0)
        return r;
    *ret_parsed = parsed;
    parsed = (struct mm_parsed){0};
    return MM_OK;
}

void mm_parsed_done(struct mm_parsed *parsed)
{
    if (parsed->root)
        cfg_free(parsed->root);
    parsed->root = NULL;
    mm_scan_done(&parsed->scan);
}

size_t mm_raw_count(cfg_t *section, const char *key)
{
    return cfg_size(section, key);
}

const struct mm_raw *mm_raw_at(cfg_t *section, const char *key, size_t index)
{
    return cfg_getnptr(section, key, (unsigned)index);
}

bool mm_section_given(const cfg_t *section)
{
    /* libconfuse makes the others before it reads the first line. */
    return section->line > 0;
}

int mm_section_line(const struct mm_parsed *parsed, cfg_t *section)
{
    const int end = section->line;
    const int begin = end > 0 && end <= parsed->scan.last_line ? parsed->scan.opened[end] : 0;

    return begin ? begin : parsed->scan.last_line;
}
