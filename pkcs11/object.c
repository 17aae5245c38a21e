/* SPDX-License-Identifier: Apache-2.0 */
/* Reading, finding and dropping objects; none of it is on the hot path. */
#include "pkcs11/internal.h"

#include <string.h>

int mm_object_read(struct mm_token *t, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type, void *value,
                   size_t size, CK_ULONG *ret_len, struct mm_errinfo *ei)
{
    CK_ATTRIBUTE attr = {type, value, size};
    const CK_RV rv = MM_CK(t, C_GetAttributeValue(t->session, object, &attr, 1));

    if (rv == CKR_ATTRIBUTE_TYPE_INVALID) {
        *ret_len = CK_UNAVAILABLE_INFORMATION;
        return MM_OK;
    }
    if (rv != CKR_OK)
        return mm_token_fail(ei, rv, "C_GetAttributeValue of 0x%lx", type);
    if (attr.ulValueLen > size)
        return mm_fail(ei, MM_ERR_CORRUPT, "TOKEN_ATTRIBUTE_INVALID",
                       "attribute 0x%lx has an impossible length", type);
    *ret_len = attr.ulValueLen;
    return MM_OK;
}

int mm_object_read_bool(struct mm_token *t, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type,
                        int *ret_value, struct mm_errinfo *ei)
{
    CK_BBOOL value = CK_FALSE;
    CK_ULONG len = CK_UNAVAILABLE_INFORMATION;
    int r = mm_object_read(t, object, type, &value, sizeof(value), &len, ei);

    if (r < 0)
        return r;
    if (len == CK_UNAVAILABLE_INFORMATION)
        *ret_value = -1;
    else if (len == sizeof(value))
        *ret_value = value != CK_FALSE;
    else
        return mm_fail(ei, MM_ERR_CORRUPT, "TOKEN_ATTRIBUTE_INVALID",
                       "attribute 0x%lx is no boolean", type);
    return MM_OK;
}

int mm_object_find(struct mm_token *t, CK_ATTRIBUTE *template, CK_ULONG n_template,
                   CK_OBJECT_HANDLE *ret_objects, CK_ULONG max, CK_ULONG *ret_n,
                   struct mm_errinfo *ei)
{
    CK_ULONG n = 0;
    CK_ULONG got = 0;
    CK_RV rv = MM_CK(t, C_FindObjectsInit(t->session, template, n_template));

    if (rv != CKR_OK)
        return mm_token_fail(ei, rv, "C_FindObjectsInit");
    /* A token may hand them out in smaller lots than asked for; none ends the search. */
    do {
        got = 0;
        rv = MM_CK(t, C_FindObjects(t->session, ret_objects + n, max - n, &got));
        n += rv == CKR_OK && got <= max - n ? got : 0;
    } while (rv == CKR_OK && got > 0 && n < max);
    const CK_RV ended = MM_CK(t, C_FindObjectsFinal(t->session));

    if (rv != CKR_OK)
        return mm_token_fail(ei, rv, "C_FindObjects");
    if (ended != CKR_OK)
        return mm_token_fail(ei, ended, "C_FindObjectsFinal");
    *ret_n = n;
    return MM_OK;
}

CK_RV mm_object_create_data(struct mm_token *t, const char *label, const void *value, size_t len)
{
    CK_OBJECT_CLASS class = CKO_DATA;
    CK_BBOOL yes = CK_TRUE;
    CK_OBJECT_HANDLE object = CK_INVALID_HANDLE;
    CK_ATTRIBUTE template[] = {
        MM_ATTR(CKA_CLASS, class),
        MM_ATTR(CKA_TOKEN, yes),
        MM_ATTR(CKA_PRIVATE, yes),
        MM_ATTR_BYTES(CKA_LABEL, label, strlen(label)),
        MM_ATTR_BYTES(CKA_APPLICATION, "mintmark", 8),
        MM_ATTR_BYTES(CKA_VALUE, value, len),
    };

    return MM_CK(t, C_CreateObject(t->session, template, MM_ARRAY_SIZE(template), &object));
}

/* A destroyed key's handle may be another's soon. */
static void forget(struct mm_token *t, CK_OBJECT_HANDLE object)
{
    for (size_t i = 0; i < t->n_cached; i++) {
        if (t->cache[i].handle == object) {
            free(t->cache[i].uri);
            t->cache[i] = t->cache[--t->n_cached];
            return;
        }
    }
}

int mm_object_destroy(struct mm_token *t, CK_OBJECT_HANDLE object, struct mm_errinfo *ei)
{
    CK_RV rv;

    forget(t, object);
    rv = MM_CK(t, C_DestroyObject(t->session, object));
    return rv == CKR_OK ? MM_OK : mm_token_fail(ei, rv, "C_DestroyObject");
}

void mm_object_drop(struct mm_token *t, CK_OBJECT_HANDLE object)
{
    if (object != CK_INVALID_HANDLE)
        (void)!mm_object_destroy(t, object, NULL);
}

void mm_cache_clear(struct mm_token *t)
{
    for (size_t i = 0; i < t->n_cached; i++)
        free(t->cache[i].uri);
    t->n_cached = 0;
}

static const CK_OBJECT_CLASS ck_classes[] = {
    [MM_KEY_PRIVATE] = CKO_PRIVATE_KEY,
    [MM_KEY_PUBLIC] = CKO_PUBLIC_KEY,
    [MM_KEY_SECRET] = CKO_SECRET_KEY,
};
static const char *const class_names[] = {
    [MM_KEY_PRIVATE] = "private",
    [MM_KEY_PUBLIC] = "public",
    [MM_KEY_SECRET] = "secret",
};

static int find_one(struct mm_token *t, const char *text, enum mm_key_class class,
                    CK_OBJECT_HANDLE *ret_object, struct mm_errinfo *ei)
{
    MM_URI_CLEANUP P11KitUri *uri = NULL;
    CK_OBJECT_CLASS ck_class = ck_classes[class];
    CK_BBOOL yes = CK_TRUE;
    CK_ATTRIBUTE template[4] = {MM_ATTR(CKA_CLASS, ck_class), MM_ATTR(CKA_TOKEN, yes)};
    CK_OBJECT_HANDLE objects[2];
    CK_ATTRIBUTE *label, *id, *type;
    CK_ULONG n = 2;
    int r = mm_uri_parse(text, true, &uri, ei);

    if (r < 0)
        return r;
    label = p11_kit_uri_get_attribute(uri, CKA_LABEL);
    id = p11_kit_uri_get_attribute(uri, CKA_ID);
    type = p11_kit_uri_get_attribute(uri, CKA_CLASS);
    if (!label && !id)
        return mm_fail(ei, MM_ERR_INVALID, "TOKEN_URI_INVALID",
                       "PKCS#11 URI '%.150s': names no key; add object= or id=", text);
    if (type && memcmp(type->pValue, &ck_class, sizeof(ck_class)) != 0)
        return mm_fail(ei, MM_ERR_INVALID, "TOKEN_URI_INVALID",
                       "PKCS#11 URI '%.150s': type is not %s", text, class_names[class]);
    if (!p11_kit_uri_match_token_info(uri, &t->info))
        return mm_fail(ei, MM_ERR_INVALID, "TOKEN_URI_INVALID",
                       "PKCS#11 URI '%.150s': names another token than the one in use", text);
    if (label)
        template[n++] = *label;
    if (id)
        template[n++] = *id;
    r = mm_object_find(t, template, n, objects, 2, &n, ei);
    if (r < 0)
        return r;
    if (n == 0)
        return mm_fail(ei, MM_ERR_NOT_FOUND, "TOKEN_OBJECT_NOT_FOUND", "no %s key matches '%.150s'",
                       class_names[class], text);
    if (n > 1)
        return mm_fail(ei, MM_ERR_EXISTS, "TOKEN_OBJECT_AMBIGUOUS",
                       "several %s keys match '%.150s': name one by its id", class_names[class],
                       text);
    *ret_object = objects[0];
    return MM_OK;
}

int mm_token_find(struct mm_token *t, const char *uri, enum mm_key_class class,
                  mm_handle *ret_handle, struct mm_errinfo *ei)
{
    struct mm_cached_key found = {.class = class};
    int r;

    for (size_t i = 0; i < t->n_cached; i++) {
        if (t->cache[i].class == class && strcmp(t->cache[i].uri, uri) == 0) {
            *ret_handle = t->cache[i].handle;
            return MM_OK;
        }
    }
    r = find_one(t, uri, class, &found.handle, ei);
    if (r < 0)
        return r;
    if (t->n_cached < MM_KEY_CACHE_MAX) {
        found.uri = strdup(uri);
        if (!found.uri)
            return mm_fail_memory(ei);
        t->cache[t->n_cached++] = found;
    }
    *ret_handle = found.handle;
    return MM_OK;
}
