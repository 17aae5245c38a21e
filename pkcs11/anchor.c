/* SPDX-License-Identifier: Apache-2.0 */
#include "pkcs11/anchor.h"

#include "pkcs11/internal.h"

#include <endian.h>
#include <string.h>

/*
 * A data object; in a token that stores none, a secret key that serves for nothing, whose CKA_ID is
 * what else is CKA_VALUE: how many anchors have been written with this one (8 bytes, big-endian:
 * the highest is the newest), the counter's reading when it was (8 bytes, 0 without a counter), the
 * anchor.
 */
enum { HEAD_BYTES = 16, OBJECTS_MAX = 16, COUNTER_BYTES_MAX = 32 };

static const char label[] = MM_ANCHOR_LABEL;

static bool is_key(const struct mm_token *t)
{
    return mm_quirks_of(&t->info)->no_data_objects;
}

struct found {
    CK_OBJECT_HANDLE objects[OBJECTS_MAX];
    CK_ULONG n;
    uint64_t serial;  /* of the newest; 0: there is none */
    uint64_t counter; /* as the newest has it */
    struct mm_anchor anchor;
};

/* ---- the counter ------------------------------------------------------------------------- */

static int find_counter(struct mm_token *t, CK_OBJECT_HANDLE *ret_object, CK_ULONG *ret_n,
                        struct mm_errinfo *ei)
{
    CK_OBJECT_CLASS class = CKO_HW_FEATURE;
    CK_HW_FEATURE_TYPE type = CKH_MONOTONIC_COUNTER;
    CK_ATTRIBUTE template[] = {MM_ATTR(CKA_CLASS, class), MM_ATTR(CKA_HW_FEATURE_TYPE, type)};

    return mm_object_find(t, template, MM_ARRAY_SIZE(template), ret_object, 1, ret_n, ei);
}

/* Each reading is higher than all before. *ret_value is 0 when the token has no counter. */
static int read_counter(struct mm_token *t, uint64_t *ret_value, struct mm_errinfo *ei)
{
    CK_OBJECT_HANDLE object;
    uint8_t value[COUNTER_BYTES_MAX];
    CK_ULONG n, len;
    uint64_t sum = 0;
    int r = find_counter(t, &object, &n, ei);

    if (r < 0)
        return r;
    if (n == 0) {
        *ret_value = 0;
        return MM_OK;
    }
    r = mm_object_read(t, object, CKA_VALUE, value, sizeof(value), &len, ei);
    if (r < 0)
        return r;
    if (len == CK_UNAVAILABLE_INFORMATION || len == 0)
        return mm_fail(ei, MM_ERR_CORRUPT, "TOKEN_ATTRIBUTE_INVALID",
                       "the token's monotonic counter has no value");
    for (CK_ULONG i = 0; i < len; i++) /* big-endian; years do not fill 64 bits */
        sum = sum << 8 | value[i];
    *ret_value = sum;
    return MM_OK;
}

/* ---- the objects ------------------------------------------------------------------------- */

static int read_object(struct mm_token *t, CK_OBJECT_HANDLE object, struct found *found,
                       struct mm_errinfo *ei)
{
    uint8_t value[HEAD_BYTES + MM_ANCHOR_MAX];
    uint64_t serial, counter;
    CK_ULONG len;
    int r =
        mm_object_read(t, object, is_key(t) ? CKA_ID : CKA_VALUE, value, sizeof(value), &len, ei);

    if (r < 0)
        return r;
    if (len == CK_UNAVAILABLE_INFORMATION || len <= HEAD_BYTES)
        return mm_fail(ei, MM_ERR_CORRUPT, "ANCHOR_BAD", "the token's object '%s' is no anchor",
                       label);
    memcpy(&serial, value, sizeof(serial));
    memcpy(&counter, value + sizeof(serial), sizeof(counter));
    serial = be64toh(serial);
    if (serial <= found->serial)
        return MM_OK;
    found->serial = serial;
    found->counter = be64toh(counter);
    found->anchor.len = len - HEAD_BYTES;
    memcpy(found->anchor.value, value + HEAD_BYTES, found->anchor.len);
    return MM_OK;
}

static int find_anchors(struct mm_token *t, struct found *found, struct mm_errinfo *ei)
{
    CK_OBJECT_CLASS class = is_key(t) ? CKO_SECRET_KEY : CKO_DATA;
    CK_BBOOL yes = CK_TRUE;
    CK_ATTRIBUTE template[] = {MM_ATTR(CKA_CLASS, class), MM_ATTR(CKA_TOKEN, yes),
                               MM_ATTR_BYTES(CKA_LABEL, label, sizeof(label) - 1)};
    int r;

    *found = (struct found){0};
    r = mm_object_find(t, template, MM_ARRAY_SIZE(template), found->objects, OBJECTS_MAX, &found->n,
                       ei);
    for (CK_ULONG i = 0; r == MM_OK && i < found->n; i++)
        r = read_object(t, found->objects[i], found, ei);
    return r;
}

/* Can the newest anchor stand beside the counter? ei says why not. */
static bool stands(const struct found *found, uint64_t counter, struct mm_errinfo *ei)
{
    if (counter != 0 && counter <= found->counter) {
        mm_fail(ei, MM_ERR_CORRUPT, "ANCHOR_FOREIGN",
                "the token's counter stands at %llu, its anchor was made at %llu",
                (unsigned long long)counter, (unsigned long long)found->counter);
        return false;
    }
    if (counter != 0 && counter - found->counter > MM_ANCHOR_COUNTER_SLACK) {
        mm_fail(ei, MM_ERR_CORRUPT, "ANCHOR_ROLLED_BACK",
                "the token's counter stands at %llu, its anchor was made at %llu: newer "
                "anchors have been there",
                (unsigned long long)counter, (unsigned long long)found->counter);
        return false;
    }
    return true;
}

/* model: READ */
int mm_anchor_read(struct mm_token *t, struct mm_anchor *ret_anchor, struct mm_errinfo *ei)
{
    struct found found;
    uint64_t counter;
    int r = find_anchors(t, &found, ei);

    if (r < 0)
        return r;
    if (found.serial == 0)
        return mm_fail(ei, MM_ERR_NOT_FOUND, "ANCHOR_MISSING", "the token has no object '%s'",
                       label);
    r = read_counter(t, &counter, ei);
    if (r < 0)
        return r;
    if (!stands(&found, counter, ei))
        return ei->code;
    found.anchor.counted = counter != 0;
    *ret_anchor = found.anchor;
    return MM_OK;
}

/* The key itself is of no use to anybody; what counts is that only who has logged in can make it.
 */
static CK_RV create_key(struct mm_token *t, const uint8_t *value, size_t len)
{
    CK_MECHANISM mechanism = {CKM_GENERIC_SECRET_KEY_GEN, NULL, 0};
    CK_OBJECT_HANDLE object = CK_INVALID_HANDLE;
    CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    CK_ULONG bytes = MM_AES_256_BYTES;
    CK_ATTRIBUTE template[] = {
        MM_ATTR(CKA_TOKEN, yes),     MM_ATTR(CKA_PRIVATE, yes),
        MM_ATTR(CKA_SENSITIVE, yes), MM_ATTR(CKA_EXTRACTABLE, no),
        MM_ATTR(CKA_SIGN, no),       MM_ATTR(CKA_VALUE_LEN, bytes),
        MM_ATTR(CKA_WRAP, no),       MM_ATTR_BYTES(CKA_LABEL, label, sizeof(label) - 1),
        MM_ATTR(CKA_ENCRYPT, no),    MM_ATTR_BYTES(CKA_ID, value, len),
    };

    return MM_CK(t,
                 C_GenerateKey(t->session, &mechanism, template, MM_ARRAY_SIZE(template), &object));
}

static int create(struct mm_token *t, uint64_t serial, uint64_t counter, const void *anchor,
                  size_t len, struct mm_errinfo *ei)
{
    uint8_t value[HEAD_BYTES + MM_ANCHOR_MAX];
    CK_RV rv;

    serial = htobe64(serial);
    counter = htobe64(counter);
    memcpy(value, &serial, sizeof(serial));
    memcpy(value + sizeof(serial), &counter, sizeof(counter));
    memcpy(value + HEAD_BYTES, anchor, len);
    rv = is_key(t) ? create_key(t, value, HEAD_BYTES + len)
                   : mm_object_create_data(t, label, value, HEAD_BYTES + len);
    return rv == CKR_OK ? MM_OK
                        : mm_token_fail(ei, rv, "%s of the anchor",
                                        is_key(t) ? "C_GenerateKey" : "C_CreateObject");
}

bool mm_anchor_is(struct mm_token *t, mm_handle object)
{
    char found[sizeof(label)];
    struct mm_errinfo ignored;
    CK_ULONG len = 0;

    return is_key(t) &&
           mm_object_read(t, object, CKA_LABEL, found, sizeof(found), &len, &ignored) == MM_OK &&
           len == sizeof(label) - 1 && memcmp(found, label, len) == 0;
}

int mm_anchor_write(struct mm_token *t, const void *value, size_t len, struct mm_errinfo *ei)
{
    return mm_anchor_follow(t, value, len, NULL, ei);
}

/* An object that is no anchor is replaced with the others: the officer has decided so by an unlock,
 * or the ledger would not have come to write. model: WRITE */
int mm_anchor_follow(struct mm_token *t, const void *value, size_t len,
                     mm_anchor_allowed_fn *allowed, struct mm_errinfo *ei)
{
    struct mm_errinfo bad = {0};
    struct found found;
    uint64_t counter = 0;
    int r = find_anchors(t, &found, &bad);

    if (len == 0 || len > MM_ANCHOR_MAX)
        return mm_fail(ei, MM_ERR_TOO_BIG, "ANCHOR_TOO_BIG", "an anchor has 1 to %d bytes",
                       MM_ANCHOR_MAX);
    if (r < 0 && strcmp(bad.reason, "ANCHOR_BAD") != 0) {
        *ei = bad;
        return r;
    }
    r = read_counter(t, &counter, ei);
    if (r == MM_OK && allowed && bad.code == MM_OK && found.serial > 0 &&
        stands(&found, counter, &bad))
        r = allowed(found.anchor.value, found.anchor.len, value, len, ei);
    if (r == MM_OK)
        r = create(t, found.serial + 1, counter, value, len, ei);
    for (CK_ULONG i = 0; r == MM_OK && i < found.n; i++)
        mm_object_drop(t, found.objects[i]);
    return r;
}
