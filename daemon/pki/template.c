/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/pki/template.h"

#include "daemon/base/text.h"

#include <stdio.h>
#include <string.h>

enum { NUMBER_DIGITS_MAX = 20 }; /* of UINT64_MAX */

static int add_text(struct mm_template *t, const char *text, size_t len, struct mm_errinfo *ei)
{
    struct mm_template_part *last = t->n_parts ? &t->parts[t->n_parts - 1] : NULL;

    if (len == 0)
        return MM_OK;
    if (t->text_len + len > sizeof(t->text))
        return mm_fail(ei, MM_ERR_INVALID, "TEMPLATE_INVALID", "more than %d bytes of text",
                       MM_TEMPLATE_VALUE_MAX);
    if (!last || last->kind != MM_PART_TEXT) {
        if (t->n_parts == MM_TEMPLATE_PARTS_MAX)
            return mm_fail(ei, MM_ERR_INVALID, "TEMPLATE_INVALID", "more than %d parts",
                           MM_TEMPLATE_PARTS_MAX);
        last = &t->parts[t->n_parts++];
        *last = (struct mm_template_part){.kind = MM_PART_TEXT, .start = t->text_len};
    }
    memcpy(t->text + t->text_len, text, len);
    t->text_len += len;
    last->len += len;
    return MM_OK;
}

static int add_variable(struct mm_template *t, enum mm_template_kind kind, unsigned width,
                        struct mm_errinfo *ei)
{
    if (t->n_parts == MM_TEMPLATE_PARTS_MAX)
        return mm_fail(ei, MM_ERR_INVALID, "TEMPLATE_INVALID", "more than %d parts",
                       MM_TEMPLATE_PARTS_MAX);
    t->parts[t->n_parts++] = (struct mm_template_part){.kind = kind, .width = width};
    return MM_OK;
}

static int add_number(struct mm_template *t, const char *digits, struct mm_errinfo *ei)
{
    uint64_t width;

    if (mm_text_to_u64(digits, 1, NUMBER_DIGITS_MAX, &width) < 0)
        return mm_fail(ei, MM_ERR_INVALID, "TEMPLATE_INVALID",
                       "${number:%s} must have a width of 1 to %d", digits, NUMBER_DIGITS_MAX);
    return add_variable(t, MM_PART_NUMBER, (unsigned)width, ei);
}

static int add_named(struct mm_template *t, const char *name, const struct mm_template_fixed *fixed,
                     struct mm_errinfo *ei)
{
    const struct {
        const char *name, *value;
    } settled[] = {{"vid", fixed->vid}, {"pid", fixed->pid}, {"profile", fixed->profile}};

    if (strcmp(name, "number") == 0)
        return add_variable(t, MM_PART_NUMBER, 1, ei);
    if (strncmp(name, "number:", 7) == 0)
        return add_number(t, name + 7, ei);
    if (strcmp(name, "hw_serial") == 0)
        return add_variable(t, MM_PART_HW_SERIAL, 0, ei);
    if (strcmp(name, "device_uid") == 0)
        return add_variable(t, MM_PART_DEVICE_UID, 0, ei);
    for (size_t i = 0; i < MM_ARRAY_SIZE(settled); i++) {
        if (strcmp(name, settled[i].name) != 0)
            continue;
        if (!*settled[i].value)
            return mm_fail(ei, MM_ERR_INVALID, "TEMPLATE_INVALID",
                           "${%s} is used, but the profile sets no %s", name, name);
        return add_text(t, settled[i].value, strlen(settled[i].value), ei);
    }
    return mm_fail(ei, MM_ERR_INVALID, "TEMPLATE_INVALID",
                   "no variable ${%s}; there are number, number:N, hw_serial, device_uid, vid, "
                   "pid and profile",
                   name);
}

/* at stands behind "${"; left behind the "}". */
static int scan_variable(const char **at, const struct mm_template_fixed *fixed,
                         struct mm_template *t, struct mm_errinfo *ei)
{
    char name[32];
    const size_t len = strcspn(*at, "}");

    if ((*at)[len] != '}' || len >= sizeof(name))
        return mm_fail(ei, MM_ERR_INVALID, "TEMPLATE_INVALID",
                       "'${' without the name of a variable and '}'");
    memcpy(name, *at, len);
    name[len] = 0;
    *at += len + 1;
    return add_named(t, name, fixed, ei);
}

/* at stands on a character with a meaning: backslash or dollar. */
static int scan_special(const char **at, const struct mm_template_fixed *fixed,
                        struct mm_template *t, struct mm_errinfo *ei)
{
    const char *p = *at;

    if (p[0] == '$' && p[1] == '{') {
        *at += 2;
        return scan_variable(at, fixed, t, ei);
    }
    if (p[0] == '$')
        return mm_fail(ei, MM_ERR_INVALID, "TEMPLATE_INVALID",
                       "'$' begins a variable, '${name}'; write '\\$' for the character");
    if (!p[1] || !strchr(",+$\\", p[1]))
        return mm_fail(ei, MM_ERR_INVALID, "TEMPLATE_INVALID",
                       "a backslash must stand before ',', '+', '$' or a backslash");
    *at += 2;
    return add_text(t, p + 1, 1, ei);
}

int mm_template_scan(const char **at, const char *stops, const struct mm_template_fixed *fixed,
                     struct mm_template *ret_template, struct mm_errinfo *ei)
{
    char special[16];
    const char *p = *at;
    int r = MM_OK;

    snprintf(special, sizeof(special), "\\$%s", stops);
    ret_template->n_parts = 0;
    ret_template->text_len = 0;
    while (r == MM_OK) {
        const size_t plain = strcspn(p, special);

        r = add_text(ret_template, p, plain, ei);
        p += plain;
        if (r < 0 || !*p || strchr(stops, *p))
            break;
        r = scan_special(&p, fixed, ret_template, ei);
    }
    if (r < 0)
        return r;
    *at = p;
    return MM_OK;
}

bool mm_template_uses(const struct mm_template *t, enum mm_template_kind kind)
{
    for (size_t i = 0; i < t->n_parts; i++) {
        if (t->parts[i].kind == kind)
            return true;
    }
    return false;
}

bool mm_template_is_fixed(const struct mm_template *t)
{
    return t->n_parts == 0 || (t->n_parts == 1 && t->parts[0].kind == MM_PART_TEXT);
}

static int station_value(const char *value, const char *name, struct mm_bytes *ret,
                         struct mm_errinfo *ei)
{
    if (!*value)
        return mm_fail_field(ei, name, "the profile needs a %s for each device", name);
    *ret = (struct mm_bytes){(const uint8_t *)value, strlen(value)};
    return MM_OK;
}

/* With zeros before it, up to width. By hand: printf takes as long as the DER of the whole name. */
static struct mm_bytes decimal(uint64_t number, size_t width, uint8_t digits[NUMBER_DIGITS_MAX])
{
    size_t at = NUMBER_DIGITS_MAX;

    for (; number > 0 || NUMBER_DIGITS_MAX - at < width; number /= 10)
        digits[--at] = (uint8_t)('0' + number % 10);
    return (struct mm_bytes){digits + at, NUMBER_DIGITS_MAX - at};
}

static int part_value(const struct mm_template *t, const struct mm_template_part *part,
                      const struct mm_subject *s, uint8_t digits[NUMBER_DIGITS_MAX],
                      struct mm_bytes *ret, struct mm_errinfo *ei)
{
    switch (part->kind) {
    case MM_PART_HW_SERIAL:
        return station_value(s->hw_serial, "hw_serial", ret, ei);
    case MM_PART_DEVICE_UID:
        return station_value(s->device_uid, "device_uid", ret, ei);
    case MM_PART_NUMBER:
        *ret = decimal(s->number, part->width, digits);
        return MM_OK;
    case MM_PART_TEXT:
        break;
    }
    *ret = (struct mm_bytes){(const uint8_t *)t->text + part->start, part->len};
    return MM_OK;
}

int mm_template_expand(const struct mm_template *t, const struct mm_subject *s,
                       char out[MM_TEMPLATE_VALUE_MAX], size_t *ret_len, struct mm_errinfo *ei)
{
    uint8_t digits[NUMBER_DIGITS_MAX];
    size_t len = 0;

    for (size_t i = 0; i < t->n_parts; i++) {
        struct mm_bytes value = {NULL, 0};
        const int r = part_value(t, &t->parts[i], s, digits, &value, ei);

        if (r < 0)
            return r;
        if (value.len > MM_TEMPLATE_VALUE_MAX - len)
            return mm_fail(ei, MM_ERR_TOO_BIG, "TEMPLATE_TOO_LONG",
                           "a name of the certificate would be longer than %d bytes",
                           MM_TEMPLATE_VALUE_MAX);
        memcpy(out + len, value.data, value.len);
        len += value.len;
    }
    *ret_len = len;
    return MM_OK;
}
