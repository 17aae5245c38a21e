/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Token objects and PINs in a file, so that what one process makes the next one finds. One writer
 * at a time; readers see a whole file or the one before.
 *   u64 per slot: initialised; label, SO PIN, user PIN as blobs
 *   then objects: u64 slot, u64 number of attributes, each u64 type and a blob; slot 0 ends
 *   a blob is u64 length and its bytes
 */
#include "tests/mock/mock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOB_MAX = 4096 };

static const char *state_path(void)
{
    return getenv("MM_MOCK_P11_STATE");
}

static void put(FILE *f, uint64_t v)
{
    fwrite(&v, sizeof(v), 1, f);
}

static void put_blob(FILE *f, const void *data, size_t len)
{
    put(f, len);
    fwrite(data, 1, len, f);
}

static void put_object(FILE *f, const struct mock_object *o)
{
    put(f, o->slot);
    put(f, o->n_attrs);
    for (size_t i = 0; i < o->n_attrs; i++) {
        put(f, o->attrs[i].type);
        put_blob(f, o->attrs[i].value, o->attrs[i].len);
    }
}

void mock_state_save(void)
{
    char tmp[4096];
    FILE *f;

    if (!state_path())
        return;
    snprintf(tmp, sizeof(tmp), "%s.tmp", state_path());
    f = fopen(tmp, "w");
    if (!f) {
        perror("mock token: state");
        abort();
    }
    for (size_t id = 1; id <= MOCK_SLOTS; id++) {
        const struct mock_slot *s = &mock.slots[id];

        put(f, s->initialised);
        put_blob(f, s->label, strlen(s->label));
        put_blob(f, s->so_pin, strlen(s->so_pin));
        put_blob(f, s->user_pin, strlen(s->user_pin));
    }
    for (size_t i = 1; i <= MOCK_OBJECTS; i++) {
        if (mock.objects[i].used && mock.objects[i].session == 0)
            put_object(f, &mock.objects[i]);
    }
    put(f, 0);
    if (fclose(f) != 0 || rename(tmp, state_path()) != 0) {
        perror("mock token: state");
        abort();
    }
}

static bool get(FILE *f, uint64_t *ret)
{
    return fread(ret, sizeof(*ret), 1, f) == 1;
}

static bool get_blob(FILE *f, void *data, size_t max, uint64_t *ret_len)
{
    return get(f, ret_len) && *ret_len <= max && fread(data, 1, *ret_len, f) == *ret_len;
}

static bool get_text(FILE *f, char *text, size_t size)
{
    uint64_t len;

    if (!get_blob(f, text, size - 1, &len))
        return false;
    text[len] = 0;
    return true;
}

static bool get_object(FILE *f, struct mock_object *o, uint64_t slot)
{
    uint8_t value[BLOB_MAX];
    uint64_t n, type, len;

    *o = (struct mock_object){.used = true, .slot = slot};
    if (!get(f, &n) || n > MOCK_ATTRS)
        return false;
    for (uint64_t i = 0; i < n; i++) {
        if (!get(f, &type) || !get_blob(f, value, sizeof(value), &len) ||
            !mock_set(o, type, value, len))
            return false;
    }
    return mock_key_from_attrs(o);
}

static bool load(FILE *f)
{
    uint64_t v;

    for (size_t id = 1; id <= MOCK_SLOTS; id++) {
        struct mock_slot *s = &mock.slots[id];

        if (!get(f, &v) || !get_text(f, s->label, sizeof(s->label)) ||
            !get_text(f, s->so_pin, sizeof(s->so_pin)) ||
            !get_text(f, s->user_pin, sizeof(s->user_pin)))
            return false;
        s->initialised = v != 0;
    }
    for (size_t i = 1; i <= MOCK_OBJECTS; i++) {
        if (!get(f, &v))
            return false;
        if (v == 0)
            return true;
        if (v > MOCK_SLOTS || !get_object(f, &mock.objects[i], v))
            return false;
    }
    return false;
}

bool mock_state_load(void)
{
    FILE *f = state_path() ? fopen(state_path(), "r") : NULL;
    bool good;

    if (!f)
        return true;
    good = load(f);
    fclose(f);
    return good;
}
