/* SPDX-License-Identifier: Apache-2.0 */
/* The signed content of a package, read strictly. */
#include "tools/officer/package.h"

#include "daemon/base/text.h"
#include "tools/officer/date.h"

#include <openssl/evp.h>
#include <string.h>

static const char *const types[] = {
    [MM_ITEM_PKCS12] = "pkcs12", [MM_ITEM_DATA] = "data", [MM_ITEM_VARIABLE] = "variable"};

const char *mm_item_type_name(enum mm_item_type type)
{
    return types[type];
}

void mm_package_done(struct mm_package *p)
{
    for (size_t i = 0; i < p->n_items; i++) {
        mm_buf_done(&p->items[i].bytes);
        mm_secret_free(p->items[i].password);
    }
    free(p->items);
    *p = (struct mm_package){.n_items = 0};
}

static int bad(struct mm_errinfo *ei, const char *what)
{
    return mm_fail(ei, MM_ERR_INVALID, "PACKAGE_CONTENT", "the package's content: %s", what);
}

static int bad_item(struct mm_errinfo *ei, size_t at, const char *what)
{
    return mm_fail(ei, MM_ERR_INVALID, "PACKAGE_CONTENT", "the package's content: item %zu: %s",
                   at + 1, what);
}

/* ---- an item ----------------------------------------------------------------------------- */

/* RFC 4648 section 4, with its padding and nothing else in it. */
static bool base64(const char *text, size_t len, struct mm_buf *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const size_t padding = len - strspn(text, digits);
    uint8_t *room;

    if (len % 4 != 0 || len == 0 || padding > 2 || strspn(text + len - padding, "=") != padding)
        return false;
    room = mm_buf_reserve(out, len / 4 * 3);
    if (!room || EVP_DecodeBlock(room, (const unsigned char *)text, (int)len) < 0)
        return false;
    mm_buf_grew(out, len / 4 * 3 - padding);
    return true;
}

static int take_password(const char *text, size_t at, struct mm_item *item, struct mm_errinfo *ei)
{
    const size_t len = strlen(text);

    if (len > MM_PIN_MAX)
        return bad_item(ei, at, "the password is too long");
    if (mm_secret_new(len + 1, &item->password) < 0)
        return mm_fail_memory(ei);
    memcpy(mm_secret_data(item->password), text, len);
    return MM_OK;
}

/* One line of text, since it goes into a file that has one. */
static int take_value(const char *text, size_t at, struct mm_item *item, struct mm_errinfo *ei)
{
    const size_t len = strlen(text);

    if (len == 0 || len > MM_PACKAGE_VALUE_MAX)
        return bad_item(ei, at, "the value is empty or too long");
    for (const char *c = text; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            return bad_item(ei, at, "a control character in the value");
    mm_buf_append(&item->bytes, text, len);
    return mm_buf_err(&item->bytes) < 0 ? mm_fail_memory(ei) : MM_OK;
}

static int take_data(const char *text, size_t at, struct mm_item *item, struct mm_errinfo *ei)
{
    const size_t max = item->type == MM_ITEM_PKCS12 ? MM_PEM_FILE_MAX : MM_PACKAGE_MAX;

    if (!base64(text, strlen(text), &item->bytes))
        return mm_buf_err(&item->bytes) == MM_ERR_MEMORY
                   ? mm_fail_memory(ei)
                   : bad_item(ei, at, "its data are empty or no base64");
    return item->bytes.len > max ? bad_item(ei, at, "its data are too long") : MM_OK;
}

/* Exactly the keys that the type has. */
static int take_fields(json_t *json, size_t at, struct mm_item *item, struct mm_errinfo *ei)
{
    const char *type, *name, *data, *more = NULL;
    int wrong, r;

    if (item->type == MM_ITEM_PKCS12)
        wrong = json_unpack_ex(json, NULL, JSON_STRICT, "{s:s, s:s, s:s, s:s}", "type", &type,
                               "name", &name, "data", &data, "password", &more);
    else
        wrong = json_unpack_ex(json, NULL, JSON_STRICT, "{s:s, s:s, s:s}", "type", &type, "name",
                               &name, item->type == MM_ITEM_DATA ? "data" : "value", &data);
    if (wrong)
        return bad_item(ei, at, "a key is missing, unknown or of another type");
    if (!mm_name_valid(name, MM_NAME_MAX))
        return bad_item(ei, at,
                        "its name has letters, digits, '.', '_' and '-', and begins with a letter "
                        "or digit");
    memcpy(item->name, name, strlen(name) + 1);
    if (item->type == MM_ITEM_VARIABLE)
        return take_value(data, at, item, ei);
    r = take_data(data, at, item, ei);
    return r < 0 || !more ? r : take_password(more, at, item, ei);
}

static int take_item(json_t *json, struct mm_package *p, struct mm_errinfo *ei)
{
    const char *const type = json_string_value(json_object_get(json, "type"));
    struct mm_item *const item = &p->items[p->n_items];
    const size_t at = p->n_items;
    size_t found = 0;
    int r;

    while (type && found < MM_ARRAY_SIZE(types) && strcmp(type, types[found]) != 0)
        found++;
    if (!type || found == MM_ARRAY_SIZE(types))
        return bad_item(ei, at, "its type is none of pkcs12, data and variable");
    *item =
        (struct mm_item){.type = (enum mm_item_type)found, .bytes = MM_BUF_INIT(MM_PACKAGE_MAX)};
    p->n_items++;
    r = take_fields(json, at, item, ei);
    for (size_t i = 0; r == MM_OK && i < at; i++)
        if (p->items[i].type == item->type && strcmp(p->items[i].name, item->name) == 0)
            r = bad_item(ei, at, "another item of its type has its name");
    return r;
}

/* ---- the whole --------------------------------------------------------------------------- */

static int take_times(const char *created, const char *not_after, struct mm_package *p,
                      struct mm_errinfo *ei)
{
    if (mm_date_parse(created, MM_DATE_START, &p->created_ms, NULL) < 0 ||
        mm_date_parse(not_after, MM_DATE_END, &p->not_after_ms, NULL) < 0)
        return bad(ei, "created and not_after are dates, as RFC 3339 has them");
    if (p->created_ms <= 0 || p->not_after_ms <= p->created_ms ||
        p->not_after_ms - p->created_ms > (int64_t)MM_PACKAGE_DAYS_MAX * 24 * 3600 * 1000)
        return bad(ei, "not_after is later than created, and by a year at most");
    return MM_OK;
}

static int take_head(json_t *json, json_t **ret_items, struct mm_package *p, struct mm_errinfo *ei)
{
    const char *format, *id, *appliance, *created, *not_after;
    int version;

    if (json_unpack_ex(json, NULL, JSON_STRICT, "{s:s, s:i, s:s, s:s, s:s, s:s, s:o}", "format",
                       &format, "version", &version, "id", &id, "appliance", &appliance, "created",
                       &created, "not_after", &not_after, "items", ret_items) != 0)
        return bad(ei, "a key is missing, unknown or of another type");
    if (strcmp(format, "mintmark-package") != 0 || version != 1)
        return bad(ei, "its format is not mintmark-package, version 1");
    if (!mm_name_valid(id, MM_NAME_MAX))
        return bad(ei, "its id has letters, digits, '.', '_' and '-'");
    memcpy(p->id, id, strlen(id) + 1);
    if (mm_hex_decode(appliance, p->appliance, sizeof(p->appliance)) < 0)
        return bad(ei, "appliance is a SHA-256 in 64 hexadecimal digits");
    if (!json_is_array(*ret_items) || json_array_size(*ret_items) == 0 ||
        json_array_size(*ret_items) > MM_PACKAGE_ITEMS_MAX)
        return bad(ei, "it has no items, or too many");
    return take_times(created, not_after, p, ei);
}

static int take_all(json_t *json, struct mm_package *p, struct mm_errinfo *ei)
{
    json_t *items = NULL, *item;
    size_t i;
    int r = take_head(json, &items, p, ei);

    if (r < 0)
        return r;
    p->items = calloc(json_array_size(items), sizeof(*p->items));
    if (!p->items)
        return mm_fail_memory(ei);
    json_array_foreach(items, i, item) {
        r = take_item(item, p, ei);
        if (r < 0)
            return r;
    }
    return MM_OK;
}

int mm_package_parse(struct mm_bytes text, struct mm_package *ret_package, struct mm_errinfo *ei)
{
    struct mm_package package = {.n_items = 0};
    json_error_t error;
    json_t *json;
    int r;

    if (text.len > MM_PACKAGE_MAX)
        return bad(ei, "it is too long");
    json = json_loadb(text.len ? (const char *)text.data : "", text.len, JSON_REJECT_DUPLICATES,
                      &error);
    /* The parser's own text may quote a password. */
    r = json ? take_all(json, &package, ei) : bad(ei, "is no JSON");
    json_decref(json);
    if (r < 0) {
        mm_package_done(&package);
        return r;
    }
    *ret_package = package;
    return MM_OK;
}
