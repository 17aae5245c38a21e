/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/officer/output.h"

#include "daemon/base/clock.h"
#include "daemon/base/text.h"

#include <errno.h>
#include <string.h>

enum { CELL_MAX = 512, COLUMNS_MAX = 12 };

json_t *mm_out_string(const char *text, size_t len)
{
    MM_FREE char *copy = NULL;

    if (mm_utf8_valid(text, len))
        return json_stringn(text, len);
    copy = strndup(text, len);
    if (!copy)
        return NULL;
    for (char *c = copy; *c; c++)
        if ((unsigned char)*c >= 0x80)
            *c = '?';
    return json_string(copy);
}

json_t *mm_out_text(const char *text)
{
    return mm_out_string(text, strlen(text));
}

json_t *mm_out_time(int64_t ms)
{
    char text[MM_CLOCK_TEXT];

    return json_string(ms != 0 ? mm_clock_text(ms, text) : "");
}

/* A value as people read it; returns cell. */
static const char *cell_text(const json_t *value, char *cell)
{
    if (json_is_string(value))
        snprintf(cell, CELL_MAX, "%s", json_string_value(value));
    else if (json_is_integer(value))
        snprintf(cell, CELL_MAX, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (json_is_real(value))
        snprintf(cell, CELL_MAX, "%.1f", json_real_value(value));
    else if (json_is_boolean(value))
        snprintf(cell, CELL_MAX, "%s", json_is_true(value) ? "yes" : "no");
    else
        cell[0] = '\0';
    for (char *c = cell; *c; c++) {
        const unsigned char next = (unsigned char)c[1];

        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
        else if ((unsigned char)*c == 0xc2 && next >= 0x80 && next < 0xa0) /* C1 */
            c[0] = c[1] = '?';
    }
    return cell;
}

/* Characters on the screen: UTF-8 continuation bytes take no room. */
static int width_of(const char *text)
{
    int width = 0;

    for (; *text; text++)
        width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}

static void put_cell(FILE *out, const char *text, int width, bool last)
{
    fputs(text, out);
    if (last)
        fputc('\n', out);
    else
        fprintf(out, "%*s", width - width_of(text) + 2, "");
}

void mm_out_table(FILE *out, const json_t *rows, const struct mm_column *columns, size_t n)
{
    int widths[COLUMNS_MAX];
    char cell[CELL_MAX];
    size_t row;
    const json_t *object;

    for (size_t i = 0; i < n; i++) {
        widths[i] = width_of(columns[i].title);
        json_array_foreach(rows, row, object) {
            const int w = width_of(cell_text(json_object_get(object, columns[i].key), cell));

            if (w > widths[i])
                widths[i] = w;
        }
    }
    for (size_t i = 0; i < n; i++)
        put_cell(out, columns[i].title, widths[i], i + 1 == n);
    json_array_foreach(rows, row, object) {
        for (size_t i = 0; i < n; i++)
            put_cell(out, cell_text(json_object_get(object, columns[i].key), cell), widths[i],
                     i + 1 == n);
    }
}

void mm_out_fields(FILE *out, const json_t *object, const struct mm_column *fields, size_t n)
{
    char cell[CELL_MAX];
    int width = 0;

    for (size_t i = 0; i < n; i++)
        if (json_object_get(object, fields[i].key) && width_of(fields[i].title) > width)
            width = width_of(fields[i].title);
    for (size_t i = 0; i < n; i++) {
        const char *const text = cell_text(json_object_get(object, fields[i].key), cell);

        if (*text)
            fprintf(out, "%s:%*s%s\n", fields[i].title, width - width_of(fields[i].title) + 2, "",
                    text);
    }
}

int mm_out_json(FILE *out, const json_t *value, struct mm_errinfo *ei)
{
    if (json_dumpf(value, out, JSON_INDENT(2)) < 0 || fputc('\n', out) == EOF || fflush(out) == EOF)
        return mm_fail_errno(ei, errno, "cannot write the output");
    return MM_OK;
}
