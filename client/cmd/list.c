/* SPDX-License-Identifier: Apache-2.0 */
#include "client/cmd/list.h"

#include <stdlib.h>
#include <string.h>

struct mm_list_line {
    uint64_t number;
    char *text;
};

char *mm_list_json(json_t *object)
{
    char *text = object ? json_dumps(object, JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(6)) : NULL;

    json_decref(object);
    return text;
}

void mm_list_done(struct mm_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        free(list->lines[i].text);
    free(list->lines);
    *list = (struct mm_list){.n = 0};
}

static int make_room(struct mm_list *list, struct mm_errinfo *ei)
{
    const size_t max = list->max ? list->max * 2 : 64;
    struct mm_list_line *lines;

    if (list->n < list->max)
        return MM_OK;
    lines = reallocarray(list->lines, max, sizeof(*lines));
    if (!lines)
        return mm_fail_memory(ei);
    list->lines = lines;
    list->max = max;
    return MM_OK;
}

int mm_list_add(struct mm_list *list, uint64_t number, char *text, struct mm_errinfo *ei)
{
    if (!text)
        return mm_fail_memory(ei);
    if (make_room(list, ei) < 0) {
        free(text);
        return MM_ERR_MEMORY;
    }
    list->lines[list->n++] = (struct mm_list_line){.number = number, .text = text};
    return MM_OK;
}

static int by_number(const void *a, const void *b)
{
    const struct mm_list_line *x = a, *y = b;

    if (x->number != y->number)
        return x->number < y->number ? -1 : 1;
    return strcmp(x->text, y->text);
}

int mm_list_text(struct mm_list *list, struct mm_buf *out, struct mm_errinfo *ei)
{
    if (list->n > 0)
        qsort(list->lines, list->n, sizeof(*list->lines), by_number);
    list->repeated = 0;
    for (size_t i = 0; i < list->n; i++) {
        if (i > 0 && by_number(&list->lines[i - 1], &list->lines[i]) == 0) {
            list->repeated++;
            continue;
        }
        mm_buf_append_str(out, list->lines[i].text);
        mm_buf_append_str(out, "\n");
    }
    return mm_buf_err(out) < 0 ? mm_fail_memory(ei) : MM_OK;
}

/* The next line, with its end; false: there is none. */
static bool next_line(const struct mm_buf *text, size_t *at, struct mm_bytes *ret_line)
{
    const uint8_t *end;

    if (*at == text->len)
        return false;
    end = memchr(text->data + *at, '\n', text->len - *at);
    ret_line->data = text->data + *at;
    ret_line->len = end ? (size_t)(end + 1 - ret_line->data) : text->len - *at;
    *at += ret_line->len;
    return true;
}

static bool is_of_withheld(const struct mm_bytes *line)
{
    json_t *object = json_loadb((const char *)line->data, line->len, 0, NULL);
    const bool withheld = json_object_get(object, "state") != NULL;

    json_decref(object);
    return withheld;
}

bool mm_list_goes_on(const struct mm_buf *then, const struct mm_buf *now)
{
    size_t at_then = 0, at_now = 0;
    struct mm_bytes line, other;

    while (next_line(then, &at_then, &line)) {
        if (is_of_withheld(&line))
            continue;
        do {
            if (!next_line(now, &at_now, &other))
                return false;
        } while (line.len != other.len || memcmp(line.data, other.data, line.len) != 0);
    }
    return true;
}
