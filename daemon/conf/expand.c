/* SPDX-License-Identifier: Apache-2.0 */
/* What exchange packages brought, in the configuration's text. */
#include "daemon/base/io.h"
#include "daemon/base/text.h"
#include "daemon/conf/conf.h"
#include "daemon/conf/parse.h"

#include <stdio.h>
#include <string.h>

static const char begin[] = "${exchange:";

struct expansion {
    const struct mm_place *place;
    enum mm_unset unset;
    const char *folder; /* exchange_folder as it stands in the file; "" */
    int line;
    struct mm_buf *to;
};

/* The value's file; relative folders begin where the configuration is. */
static int value_path(const struct expansion *e, const char *name, char **ret_path)
{
    const char *slash = strrchr(e->place->path, '/');
    const int len = *e->folder == '/' || !slash ? 0 : (int)(slash - e->place->path) + 1;

    if (!*e->folder)
        return mm_fail_at(e->place, e->line,
                          "%s%s} needs the setting exchange_folder of section appliance", begin,
                          name);
    if (asprintf(ret_path, "%.*s%s/variables/%s", len, e->place->path, e->folder, name) < 0) {
        *ret_path = NULL;
        return mm_fail_memory(e->place->ei);
    }
    return MM_OK;
}

/* Written by `package import`: one line, with its end. */
static int check_value(const struct expansion *e, const char *name, struct mm_buf *value)
{
    const char *text;

    if (value->len > 0 && value->data[value->len - 1] == '\n')
        value->data[--value->len] = 0;
    text = mm_buf_cstr(value);
    if (!text)
        return mm_fail_memory(e->place->ei);
    for (size_t i = 0; i < value->len; i++) {
        if (value->data[i] < ' ' || value->data[i] == 0x7f)
            return mm_fail_at(e->place, e->line, "variable %s is not one line of text", name);
    }
    if (!mm_utf8_valid(text, value->len))
        return mm_fail_at(e->place, e->line, "variable %s is not UTF-8 text", name);
    if (strstr(text, "${"))
        return mm_fail_at(e->place, e->line,
                          "variable %s has ${ in it, and no value is read for more variables",
                          name);
    return MM_OK;
}

static int read_value(const struct expansion *e, const char *name, struct mm_buf *value)
{
    MM_FREE char *path = NULL;
    struct mm_errinfo why;
    int r = value_path(e, name, &path);

    if (r < 0)
        return r;
    r = mm_io_read_file(path, MM_PACKAGE_VALUE_MAX + 1, value, &why);
    if (r == MM_ERR_NOT_FOUND)
        return e->unset == MM_UNSET_KEPT
                   ? r
                   : mm_fail_at(e->place, e->line,
                                "no exchange package has brought the variable %s: there is no %s",
                                name, path);
    if (r < 0)
        return mm_fail_at(e->place, e->line, "variable %s: %s", name, why.text);
    return check_value(e, name, value);
}

/* In single quotes, which is where it stands. */
static void append_quoted(struct mm_buf *to, const struct mm_buf *value)
{
    for (size_t i = 0; i < value->len; i++) {
        if (value->data[i] == '\'' || value->data[i] == '\\')
            mm_buf_append_u8(to, '\\');
        mm_buf_append_u8(to, value->data[i]);
    }
}

/* at: after "${exchange:". *ret_len is what the name and the brace take. */
static int expand_one(const struct expansion *e, const char *at, size_t *ret_len)
{
    MM_BUF_CLEANUP struct mm_buf value = MM_BUF_INIT(MM_PACKAGE_VALUE_MAX + 2);
    const size_t len = strcspn(at, "}'\n");
    char name[MM_NAME_MAX + 1] = "";
    int r;

    if (len < sizeof(name))
        memcpy(name, at, len);
    if (at[len] != '}' || !mm_name_valid(name, MM_NAME_MAX))
        return mm_fail_at(e->place, e->line, "after %s comes the name of a variable, and }", begin);
    r = read_value(e, name, &value);
    if (r == MM_ERR_NOT_FOUND && e->unset == MM_UNSET_KEPT)
        mm_buf_printf(e->to, "%s%s}", begin, name);
    else if (r < 0)
        return r;
    else
        append_quoted(e->to, &value);
    *ret_len = len + 1;
    return MM_OK;
}

/* text is what mm_scan made of the file: without comments, and with $ in single quotes only. */
static int expand_all(struct expansion *e, const char *text)
{
    const size_t begin_len = sizeof(begin) - 1;

    while (*text) {
        size_t len = 0;
        int r;

        if (strncmp(text, begin, begin_len) != 0) {
            e->line += *text == '\n';
            mm_buf_append_u8(e->to, (uint8_t)*text++);
            continue;
        }
        text += begin_len;
        r = expand_one(e, text, &len);
        if (r < 0)
            return r;
        text += len;
    }
    return MM_OK;
}

static const char *exchange_folder(const struct mm_parsed *parsed)
{
    cfg_t *appliance = cfg_getsec(parsed->root, "appliance");

    return mm_raw_count(appliance, "exchange_folder") > 0
               ? mm_raw_at(appliance, "exchange_folder", 0)->text
               : "";
}

static int expand(const struct mm_place *place, enum mm_unset unset, struct mm_buf *text)
{
    MM_PARSED_CLEANUP struct mm_parsed parsed = {0};
    MM_BUF_CLEANUP struct mm_buf expanded = MM_BUF_INIT(MM_CONF_FILE_MAX);
    struct expansion e = {.place = place, .unset = unset, .line = 1, .to = &expanded};
    int r = mm_parse(place, (const char *)text->data, text->len, &parsed);

    if (r < 0)
        return r;
    e.folder = exchange_folder(&parsed);
    if (strstr(e.folder, begin))
        return mm_fail_at(place, 1, "exchange_folder cannot have variables of packages in it");
    r = expand_all(&e, parsed.scan.text);
    if (r < 0)
        return r;
    r = mm_buf_err(&expanded);
    if (r < 0)
        return mm_fail(place->ei, r, "BAD_CONFIG",
                       "%s: over %d bytes with its variables, or no memory", place->path,
                       MM_CONF_FILE_MAX);
    mm_buf_done(text);
    *text = expanded;
    expanded = MM_BUF_INIT(0);
    return MM_OK;
}

int mm_conf_read(const char *path, enum mm_unset unset, struct mm_buf *text, struct mm_errinfo *ei)
{
    const struct mm_place place = {path, ei};
    const int r = mm_io_read_file(path, MM_CONF_FILE_MAX, text, ei);

    if (r < 0 || !text->data || !memmem(text->data, text->len, begin, sizeof(begin) - 1))
        return r;
    return expand(&place, unset, text);
}
