/* SPDX-License-Identifier: Apache-2.0 */
#include "pkcs11/exchange.h"
#include "pkcs11/internal.h"

#include <endian.h>
#include <string.h>

/* CKA_VALUE: created_ms (8 bytes, big-endian), SHA-256. */
enum { MARK_BYTES = 8 + 32, OBJECTS_MAX = 8 };

static const char label[] = MM_PACKAGE_MARK_LABEL;

static int find(struct mm_token *t, CK_OBJECT_HANDLE objects[OBJECTS_MAX], CK_ULONG *ret_n,
                struct mm_errinfo *ei)
{
    CK_OBJECT_CLASS class = CKO_DATA;
    CK_BBOOL yes = CK_TRUE;
    CK_ATTRIBUTE template[] = {MM_ATTR(CKA_CLASS, class), MM_ATTR(CKA_TOKEN, yes),
                               MM_ATTR_BYTES(CKA_LABEL, label, sizeof(label) - 1)};

    return mm_object_find(t, template, MM_ARRAY_SIZE(template), objects, OBJECTS_MAX, ret_n, ei);
}

/* Two when a write was cut off: the newer one counts. */
static int read_newest(struct mm_token *t, const CK_OBJECT_HANDLE *objects, CK_ULONG n,
                       struct mm_exchange_mark *ret_mark, struct mm_errinfo *ei)
{
    struct mm_exchange_mark mark = {0};

    for (CK_ULONG i = 0; i < n; i++) {
        uint8_t value[MARK_BYTES];
        uint64_t created;
        CK_ULONG len;
        int r = mm_object_read(t, objects[i], CKA_VALUE, value, sizeof(value), &len, ei);

        if (r < 0)
            return r;
        if (len != MARK_BYTES)
            return mm_fail(ei, MM_ERR_CORRUPT, "TOKEN_ATTRIBUTE_INVALID",
                           "the token's object '%s' is none of mintmark's", label);
        memcpy(&created, value, sizeof(created));
        if ((int64_t)be64toh(created) < mark.created_ms)
            continue;
        mark.created_ms = (int64_t)be64toh(created);
        memcpy(mark.sha256, value + sizeof(created), sizeof(mark.sha256));
    }
    *ret_mark = mark;
    return MM_OK;
}

int mm_token_mark_read(struct mm_token *t, struct mm_exchange_mark *ret_mark, struct mm_errinfo *ei)
{
    CK_OBJECT_HANDLE objects[OBJECTS_MAX];
    CK_ULONG n = 0;
    int r;

    if (mm_quirks_of(&t->info)->no_data_objects)
        return mm_fail(
            ei, MM_ERR_UNSUPPORTED, "TOKEN_NO_DATA_OBJECTS",
            "the token stores no data objects, and so not which package was the last: it "
            "takes none");
    r = find(t, objects, &n, ei);
    return r < 0 ? r : read_newest(t, objects, n, ret_mark, ei);
}

int mm_token_mark_write(struct mm_token *t, const struct mm_exchange_mark *mark,
                        struct mm_errinfo *ei)
{
    CK_OBJECT_HANDLE objects[OBJECTS_MAX];
    const uint64_t created = htobe64((uint64_t)mark->created_ms);
    uint8_t value[MARK_BYTES];
    CK_ULONG n = 0;
    CK_RV rv;
    int r = find(t, objects, &n, ei);

    if (r < 0)
        return r;
    memcpy(value, &created, sizeof(created));
    memcpy(value + sizeof(created), mark->sha256, sizeof(mark->sha256));
    rv = mm_object_create_data(t, label, value, sizeof(value));
    if (rv != CKR_OK)
        return mm_token_fail(ei, rv, "C_CreateObject of the last package's mark");
    for (CK_ULONG i = 0; i < n; i++)
        mm_object_drop(t, objects[i]);
    return MM_OK;
}
