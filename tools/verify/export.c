/* SPDX-License-Identifier: Apache-2.0 */
/* The file of an export: items, each with its length in four bytes before it (docs/export.md). */
#include "tools/verify/ledger.h"

#include <stdlib.h>
#include <string.h>

bool export_begin(struct export_file *e, FILE *file)
{
    *e = (struct export_file){.file = file, .sha256 = EVP_MD_CTX_new()};
    return e->sha256 && EVP_DigestInit_ex(e->sha256, EVP_sha256(), NULL);
}

/* As large as the largest item yet. */
static bool make_room(struct export_file *e, size_t len)
{
    uint8_t *room;

    if (len <= e->room)
        return true;
    room = realloc(e->item, len);
    if (!room)
        return false;
    e->item = room;
    e->room = len;
    return true;
}

static void length_bytes(size_t len, uint8_t bytes[4])
{
    for (int i = 0; i < 4; i++)
        bytes[i] = (uint8_t)(len >> (24 - 8 * i));
}

int export_next(struct export_file *e)
{
    uint8_t bytes[4];
    size_t n;

    if (e->pending) {
        length_bytes(e->item_len, bytes);
        if (!EVP_DigestUpdate(e->sha256, bytes, sizeof(bytes)) ||
            !EVP_DigestUpdate(e->sha256, e->item, e->item_len))
            return -1;
        e->pending = false;
    }
    n = fread(bytes, 1, sizeof(bytes), e->file);
    if (n == 0 && !ferror(e->file))
        return 0;
    e->item_len =
        (size_t)bytes[0] << 24 | (size_t)bytes[1] << 16 | (size_t)bytes[2] << 8 | bytes[3];
    if (n != sizeof(bytes) || e->item_len == 0 || e->item_len > ITEM_MAX ||
        !make_room(e, e->item_len) || fread(e->item, 1, e->item_len, e->file) != e->item_len)
        return -1;
    e->pending = true;
    return 1;
}

bool export_hash(const struct export_file *e, uint8_t ret_sha256[SHA256_LEN])
{
    EVP_MD_CTX *copy = EVP_MD_CTX_new();
    const bool good =
        copy && EVP_MD_CTX_copy_ex(copy, e->sha256) && EVP_DigestFinal_ex(copy, ret_sha256, NULL);

    EVP_MD_CTX_free(copy);
    return good;
}

void export_close(struct export_file *e)
{
    EVP_MD_CTX_free(e->sha256);
    free(e->item);
    *e = (struct export_file){.file = NULL};
}
