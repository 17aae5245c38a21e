/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/officer/wipe.h"

#include "daemon/base/macros.h"

#include <jansson.h>
#include <malloc.h>
#include <openssl/crypto.h>
#include <string.h>

static void wiping_free(void *p)
{
    if (p)
        explicit_bzero(p, malloc_usable_size(p));
    free(p);
}

static void *crypto_malloc(size_t len, MM_UNUSED const char *file, MM_UNUSED int line)
{
    return malloc(len);
}

static void crypto_free(void *p, MM_UNUSED const char *file, MM_UNUSED int line)
{
    wiping_free(p);
}

/* Never in place: what moves would leave a copy behind. */
static void *crypto_realloc(void *p, size_t len, MM_UNUSED const char *file, MM_UNUSED int line)
{
    const size_t old = p ? malloc_usable_size(p) : 0;
    void *const moved = malloc(len);

    if (!moved)
        return NULL;
    if (p)
        memcpy(moved, p, old < len ? old : len);
    wiping_free(p);
    return moved;
}

int mm_wipe_libraries(struct mm_errinfo *ei)
{
    json_set_alloc_funcs(malloc, wiping_free);
    if (CRYPTO_set_mem_functions(crypto_malloc, crypto_realloc, crypto_free) == 1)
        return MM_OK;
    return mm_fail(ei, MM_ERR_INTERNAL, "LIBCRYPTO", "libcrypto has been in use already");
}
