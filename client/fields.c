/* SPDX-License-Identifier: Apache-2.0 */
#include "client/fields.h"

#include "proto/grpc/text.h"

#include <string.h>

/* A field is the lengths of name and value, four bytes each, big-endian, and the two. */
enum { LENGTHS = 8 };

void mm_fields_add(struct mm_buf *fields, const struct mm_bytes *name, const struct mm_bytes *value)
{
    /* All or nothing: what was added before can be read after a failure, too. */
    if (!mm_buf_reserve(fields, LENGTHS + name->len + value->len))
        return;
    mm_buf_append_be32(fields, (uint32_t)name->len);
    mm_buf_append_be32(fields, (uint32_t)value->len);
    mm_buf_append(fields, name->data, name->len);
    mm_buf_append(fields, value->data, value->len);
}

static size_t length_at(const uint8_t *at)
{
    return (size_t)at[0] << 24 | (size_t)at[1] << 16 | (size_t)at[2] << 8 | at[3];
}

bool mm_fields_next(const struct mm_buf *fields, size_t *pos, struct mm_bytes *ret_name,
                    struct mm_bytes *ret_value)
{
    const uint8_t *at;

    if (*pos >= fields->len)
        return false;
    at = fields->data + *pos;
    *ret_name = (struct mm_bytes){at + LENGTHS, length_at(at)};
    *ret_value = (struct mm_bytes){ret_name->data + ret_name->len, length_at(at + 4)};
    *pos += LENGTHS + ret_name->len + ret_value->len;
    return true;
}

bool mm_fields_find(const struct mm_buf *fields, const char *name, struct mm_bytes *ret_value)
{
    struct mm_bytes found, value;
    size_t pos = 0;

    while (mm_fields_next(fields, &pos, &found, &value))
        if (found.len == strlen(name) && memcmp(found.data, name, found.len) == 0) {
            *ret_value = value;
            return true;
        }
    return false;
}

static bool name_allowed(const char *name)
{
    static const char allowed[] = "0123456789abcdefghijklmnopqrstuvwxyz_-.";

    return name[0] && name[strspn(name, allowed)] == 0 && strncmp(name, "grpc-", 5) != 0;
}

static bool value_allowed(const struct mm_bytes *value)
{
    for (size_t i = 0; i < value->len; i++)
        if (value->data[i] < 0x20 || value->data[i] > 0x7e)
            return false;
    return true;
}

static int encode(struct mm_buf *fields, const struct mm_field *field)
{
    const struct mm_bytes name = {(const uint8_t *)field->name, strlen(field->name)};
    MM_BUF_CLEANUP struct mm_buf text = MM_BUF_INIT(fields->max);
    struct mm_bytes value = field->value;

    if (!name_allowed(field->name))
        return MM_ERR_INVALID;
    if (name.len >= 4 && memcmp(name.data + name.len - 4, "-bin", 4) == 0) {
        mm_grpc_base64_encode(&text, value.data, value.len);
        value = (struct mm_bytes){text.data, text.len};
        if (mm_buf_err(&text) < 0)
            return mm_buf_err(&text);
    } else if (!value_allowed(&value)) {
        return MM_ERR_INVALID;
    }
    mm_fields_add(fields, &name, &value);
    return mm_buf_err(fields);
}

int mm_fields_encode(struct mm_buf *fields, const struct mm_field *from, size_t n)
{
    int r = MM_OK;

    for (size_t i = 0; i < n && r == MM_OK; i++)
        r = encode(fields, &from[i]);
    return r;
}
