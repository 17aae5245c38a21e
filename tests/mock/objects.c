/* SPDX-License-Identifier: Apache-2.0 */
/* Objects and their attributes. */
#include "tests/mock/mock.h"

#include <stdlib.h>
#include <string.h>

/* ---- attributes -------------------------------------------------------------------------- */

const struct mock_attr *mock_get(const struct mock_object *o, CK_ATTRIBUTE_TYPE type)
{
    for (size_t i = 0; i < o->n_attrs; i++) {
        if (o->attrs[i].type == type)
            return &o->attrs[i];
    }
    return NULL;
}

bool mock_set(struct mock_object *o, CK_ATTRIBUTE_TYPE type, const void *value, CK_ULONG len)
{
    struct mock_attr *a = NULL;
    uint8_t *copy = malloc(len + 1);

    for (size_t i = 0; i < o->n_attrs; i++) {
        if (o->attrs[i].type == type)
            a = &o->attrs[i];
    }
    if (!copy || (!a && o->n_attrs == MOCK_ATTRS)) {
        free(copy);
        return false;
    }
    if (!a) {
        a = &o->attrs[o->n_attrs++];
        *a = (struct mock_attr){.type = type};
    }
    if (len > 0)
        memcpy(copy, value, len);
    free(a->value);
    a->value = copy;
    a->len = len;
    return true;
}

bool mock_set_bool(struct mock_object *o, CK_ATTRIBUTE_TYPE type, bool value)
{
    const CK_BBOOL b = value;

    return mock_set(o, type, &b, sizeof(b));
}

bool mock_default_bool(struct mock_object *o, CK_ATTRIBUTE_TYPE type, bool value)
{
    return mock_get(o, type) || mock_set_bool(o, type, value);
}

bool mock_set_ulong(struct mock_object *o, CK_ATTRIBUTE_TYPE type, CK_ULONG value)
{
    return mock_set(o, type, &value, sizeof(value));
}

bool mock_get_bool(const struct mock_object *o, CK_ATTRIBUTE_TYPE type)
{
    const struct mock_attr *a = mock_get(o, type);

    return a && a->len == sizeof(CK_BBOOL) && a->value[0];
}

CK_ULONG mock_get_ulong(const struct mock_object *o, CK_ATTRIBUTE_TYPE type)
{
    const struct mock_attr *a = mock_get(o, type);
    CK_ULONG value = CK_UNAVAILABLE_INFORMATION;

    if (a && a->len == sizeof(value))
        memcpy(&value, a->value, sizeof(value));
    return value;
}

/* ---- objects ----------------------------------------------------------------------------- */

struct mock_object *mock_object_at(CK_OBJECT_HANDLE handle)
{
    if (handle == 0 || handle > MOCK_OBJECTS || !mock.objects[handle].used)
        return NULL;
    return &mock.objects[handle];
}

struct mock_object *mock_object(const struct mock_session *s, CK_OBJECT_HANDLE handle)
{
    struct mock_object *o = mock_object_at(handle);

    if (!o || o->slot != s->slot)
        return NULL;
    if (mock_get_bool(o, CKA_PRIVATE) && !mock.slots[o->slot].logged_in)
        return NULL;
    return o;
}

void mock_object_destroy(CK_OBJECT_HANDLE handle)
{
    struct mock_object *o = &mock.objects[handle];

    for (size_t i = 0; i < o->n_attrs; i++) {
        OPENSSL_cleanse(o->attrs[i].value, o->attrs[i].len);
        free(o->attrs[i].value);
    }
    EVP_PKEY_free(o->key);
    *o = (struct mock_object){0};
}

void mock_objects_of_session(CK_SESSION_HANDLE session)
{
    for (CK_OBJECT_HANDLE i = 1; i <= MOCK_OBJECTS; i++) {
        if (mock.objects[i].used && mock.objects[i].session == session)
            mock_object_destroy(i);
    }
}

void mock_objects_all(void)
{
    for (CK_OBJECT_HANDLE i = 1; i <= MOCK_OBJECTS; i++)
        mock_object_destroy(i);
}

size_t mm_mock_p11_objects(void)
{
    size_t n = 0;

    for (CK_OBJECT_HANDLE i = 1; i <= MOCK_OBJECTS; i++)
        n += mock.objects[i].used;
    return n;
}

size_t mm_mock_p11_sessions(void)
{
    size_t n = 0;

    for (size_t i = 0; i <= MOCK_SESSIONS; i++)
        n += mock.sessions[i].open;
    return n;
}

size_t mm_mock_p11_session_objects(void)
{
    size_t n = 0;

    for (CK_OBJECT_HANDLE i = 1; i <= MOCK_OBJECTS; i++)
        n += mock.objects[i].used && mock.objects[i].session != 0;
    return n;
}

static CK_RV check_template(const struct mock_session *s, const CK_ATTRIBUTE *attrs, CK_ULONG n)
{
    const struct mock_slot *slot = &mock.slots[s->slot];

    for (CK_ULONG i = 0; i < n; i++) {
        const bool truth =
            attrs[i].ulValueLen == sizeof(CK_BBOOL) && *(const CK_BBOOL *)attrs[i].pValue;

        for (size_t k = 0; k < mock_behaviour.n_attrs; k++) {
            if (mock_behaviour.attrs[k].type == attrs[i].type && mock_behaviour.attrs[k].value < 0)
                return CKR_ATTRIBUTE_TYPE_INVALID;
        }
        if (attrs[i].type == CKA_TOKEN && truth && !s->rw)
            return CKR_SESSION_READ_ONLY;
        if (attrs[i].type == CKA_PRIVATE && truth && !slot->logged_in)
            return CKR_USER_NOT_LOGGED_IN;
        if (attrs[i].type == CKA_LOCAL || attrs[i].type == CKA_ALWAYS_SENSITIVE ||
            attrs[i].type == CKA_NEVER_EXTRACTABLE)
            return CKR_ATTRIBUTE_READ_ONLY;
    }
    return CKR_OK;
}

CK_RV mock_object_new(CK_SESSION_HANDLE session, const CK_ATTRIBUTE *attrs, CK_ULONG n,
                      CK_OBJECT_HANDLE *ret_handle)
{
    const struct mock_session *s = mock_session(session);
    const CK_RV rv = check_template(s, attrs, n);
    CK_OBJECT_HANDLE handle = 1;
    struct mock_object *o;

    if (rv != CKR_OK)
        return rv;
    while (handle <= MOCK_OBJECTS && mock.objects[handle].used)
        handle++;
    if (handle > MOCK_OBJECTS)
        return CKR_DEVICE_MEMORY;
    o = &mock.objects[handle];
    *o = (struct mock_object){.used = true, .slot = s->slot, .session = session};
    for (CK_ULONG i = 0; i < n; i++) {
        if (!mock_set(o, attrs[i].type, attrs[i].pValue, attrs[i].ulValueLen)) {
            mock_object_destroy(handle);
            return CKR_HOST_MEMORY;
        }
    }
    if (mock_get_bool(o, CKA_TOKEN))
        o->session = 0;
    *ret_handle = handle;
    return CKR_OK;
}

CK_RV C_DestroyObject(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE handle)
{
    struct mock_session *s;
    struct mock_object *o;
    bool token;

    MOCK_ENTER();
    s = mock_session(session);
    if (!s)
        return CKR_SESSION_HANDLE_INVALID;
    o = mock_object(s, handle);
    if (!o)
        return CKR_OBJECT_HANDLE_INVALID;
    token = o->session == 0;
    mock_object_destroy(handle);
    if (token)
        mock_state_save();
    return CKR_OK;
}

/* ---- reading ----------------------------------------------------------------------------- */

static bool is_secret(const struct mock_object *o, CK_ATTRIBUTE_TYPE type)
{
    const CK_ULONG class = mock_get_ulong(o, CKA_CLASS);

    return type == CKA_VALUE && (class == CKO_PRIVATE_KEY || class == CKO_SECRET_KEY) &&
           (mock_get_bool(o, CKA_SENSITIVE) || !mock_get_bool(o, CKA_EXTRACTABLE));
}

/* What the rules make of a boolean: -2 nothing, -1 not there, else its value. */
static int told(CK_ATTRIBUTE_TYPE type)
{
    for (size_t i = 0; i < mock_behaviour.n_attrs; i++) {
        if (mock_behaviour.attrs[i].type == type)
            return mock_behaviour.attrs[i].value;
    }
    return -2;
}

static CK_RV read_value(CK_ATTRIBUTE *a, const void *value, CK_ULONG len)
{
    if (!a->pValue) {
        a->ulValueLen = len;
        return CKR_OK;
    }
    if (a->ulValueLen < len) {
        a->ulValueLen = CK_UNAVAILABLE_INFORMATION;
        return CKR_BUFFER_TOO_SMALL;
    }
    memcpy(a->pValue, value, len);
    a->ulValueLen = len;
    return CKR_OK;
}

static CK_RV read_point(CK_ATTRIBUTE *a, const struct mock_attr *stored)
{
    uint8_t value[128];
    CK_ULONG len = stored->len;

    memcpy(value, stored->value, len);
    switch (mock_behaviour.point) {
    case POINT_WRAPPED:
        break;
    case POINT_BARE:
        return read_value(a, value + 2, len - 2);
    case POINT_SHORT:
        len--;
        break;
    case POINT_OFF:
        if (len == 34) { /* Ed25519: half of all y are of a point, and 2 is not */
            memset(value + 2, 0, 32);
            value[2] = 2;
        } else {
            value[len - 1] ^= 1;
        }
        break;
    case POINT_SMALL: /* Ed25519: (0, 1), of order 1 */
        memset(value + 2, 0, len - 2);
        value[2] = 1;
        break;
    }
    return read_value(a, value, len);
}

/* PKCS#11 v2.40 base 4.3.3: grows whenever it is read. */
static CK_RV read_counter(const struct mock_attr *stored, CK_ATTRIBUTE *a)
{
    for (CK_ULONG i = stored->len; i > 0 && ++stored->value[i - 1] == 0; i--)
        ;
    return read_value(a, stored->value, stored->len);
}

static CK_RV read_attr(const struct mock_object *o, CK_ATTRIBUTE *a)
{
    const struct mock_attr *stored = mock_get(o, a->type);
    const int lie = told(a->type);

    if (lie >= 0) {
        const CK_BBOOL b = lie != 0;

        return read_value(a, &b, sizeof(b));
    }
    if (lie == -1 || !stored) {
        a->ulValueLen = CK_UNAVAILABLE_INFORMATION;
        return CKR_ATTRIBUTE_TYPE_INVALID;
    }
    if (is_secret(o, a->type)) {
        a->ulValueLen = CK_UNAVAILABLE_INFORMATION;
        return CKR_ATTRIBUTE_SENSITIVE;
    }
    if (a->type == CKA_EC_POINT)
        return read_point(a, stored);
    if (a->type == CKA_VALUE && mock_get_ulong(o, CKA_CLASS) == CKO_HW_FEATURE)
        return read_counter(stored, a);
    return read_value(a, stored->value, stored->len);
}

CK_RV C_GetAttributeValue(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE handle, CK_ATTRIBUTE *attrs,
                          CK_ULONG n)
{
    struct mock_session *s;
    struct mock_object *o;
    CK_RV result = CKR_OK;

    MOCK_ENTER();
    s = mock_session(session);
    if (!s)
        return CKR_SESSION_HANDLE_INVALID;
    o = mock_object(s, handle);
    if (!o)
        return CKR_OBJECT_HANDLE_INVALID;
    for (CK_ULONG i = 0; i < n; i++) {
        const CK_RV rv = read_attr(o, &attrs[i]);

        if (rv != CKR_OK)
            result = rv;
    }
    return result;
}

/* ---- finding ----------------------------------------------------------------------------- */

static bool matches(const struct mock_object *o, const CK_ATTRIBUTE *attrs, CK_ULONG n)
{
    for (CK_ULONG i = 0; i < n; i++) {
        const struct mock_attr *a = mock_get(o, attrs[i].type);

        if (!a || a->len != attrs[i].ulValueLen || memcmp(a->value, attrs[i].pValue, a->len) != 0)
            return false;
    }
    return true;
}

static struct mock_object *find_counter(CK_SLOT_ID slot)
{
    for (CK_OBJECT_HANDLE i = 1; i <= MOCK_OBJECTS; i++) {
        if (mock.objects[i].used && mock.objects[i].slot == slot &&
            mock_get_ulong(&mock.objects[i], CKA_CLASS) == CKO_HW_FEATURE)
            return &mock.objects[i];
    }
    return NULL;
}

static bool set_counter(CK_SESSION_HANDLE session)
{
    struct mock_object *o = find_counter(mock_session(session)->slot);
    uint8_t value[8];
    CK_OBJECT_HANDLE handle;

    if (!o && mock_object_new(session, NULL, 0, &handle) == CKR_OK)
        o = mock_object_at(handle);
    for (int i = 0; i < 8; i++)
        value[i] = (uint8_t)(mock_behaviour.counter_value >> (56 - 8 * i));
    mock_behaviour.counter = false;
    if (!o)
        return false;
    o->session = 0;
    return mock_set_ulong(o, CKA_CLASS, CKO_HW_FEATURE) &&
           mock_set_ulong(o, CKA_HW_FEATURE_TYPE, CKH_MONOTONIC_COUNTER) &&
           mock_set(o, CKA_VALUE, value, sizeof(value));
}

CK_RV C_FindObjectsInit(CK_SESSION_HANDLE session, CK_ATTRIBUTE *attrs, CK_ULONG n)
{
    struct mock_session *s;

    MOCK_ENTER();
    s = mock_session(session);
    if (!s)
        return CKR_SESSION_HANDLE_INVALID;
    if (s->searching)
        return CKR_OPERATION_ACTIVE;
    if (mock_behaviour.counter && !set_counter(session))
        return CKR_HOST_MEMORY;
    s->found = calloc(MOCK_OBJECTS, sizeof(*s->found));
    if (!s->found)
        return CKR_HOST_MEMORY;
    s->n_found = s->at_found = 0;
    for (CK_OBJECT_HANDLE i = 1; i <= MOCK_OBJECTS; i++) {
        if (mock_object(s, i) && matches(&mock.objects[i], attrs, n))
            s->found[s->n_found++] = i;
    }
    s->searching = true;
    return CKR_OK;
}

CK_RV C_FindObjects(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE *objects, CK_ULONG max,
                    CK_ULONG *count)
{
    struct mock_session *s;
    CK_ULONG n = 0;

    MOCK_ENTER();
    s = mock_session(session);
    if (!s)
        return CKR_SESSION_HANDLE_INVALID;
    if (!s->searching)
        return CKR_OPERATION_NOT_INITIALIZED;
    while (n < max && s->at_found < s->n_found)
        objects[n++] = s->found[s->at_found++];
    *count = n;
    return CKR_OK;
}

CK_RV C_FindObjectsFinal(CK_SESSION_HANDLE session)
{
    struct mock_session *s;

    MOCK_ENTER();
    s = mock_session(session);
    if (!s)
        return CKR_SESSION_HANDLE_INVALID;
    if (!s->searching)
        return CKR_OPERATION_NOT_INITIALIZED;
    free(s->found);
    s->found = NULL;
    s->searching = false;
    return CKR_OK;
}
