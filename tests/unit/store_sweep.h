/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs of a store of store_fixture.h while every allocation fails in turn, SQLite's and ours. For
 * programs with dep_memory_messages; main calls hook_sqlite before anything else. */
#pragma once

#include "daemon/base/io.h"
#include "tests/unit/memory.h"
#include "tests/unit/store_fixture.h"

#include <check.h>
#include <malloc.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

/* SQLite's memory comes from this program's malloc, so that it runs out with ours. */
static void *sqlite_malloc(int size)
{
    return malloc((size_t)size);
}

static void sqlite_free(void *p)
{
    free(p);
}

static void *sqlite_realloc(void *p, int size)
{
    return realloc(p, (size_t)size);
}

static int sqlite_size(void *p)
{
    return (int)malloc_usable_size(p);
}

static int sqlite_roundup(int size)
{
    return (size + 7) & ~7;
}

static int sqlite_init(MM_UNUSED void *data)
{
    return SQLITE_OK;
}

static void sqlite_shutdown(MM_UNUSED void *data)
{
}

static void hook_sqlite(void)
{
    static const sqlite3_mem_methods methods = {
        sqlite_malloc,  sqlite_free, sqlite_realloc,  sqlite_size,
        sqlite_roundup, sqlite_init, sqlite_shutdown, NULL};

    if (sqlite3_config(SQLITE_CONFIG_MALLOC, &methods) != SQLITE_OK)
        abort();
}

static inline void *openssl_malloc(size_t size, MM_UNUSED const char *file, MM_UNUSED int at)
{
    return malloc(size);
}

static inline void *openssl_realloc(void *p, size_t size, MM_UNUSED const char *file,
                                    MM_UNUSED int at)
{
    return realloc(p, size);
}

static inline void openssl_free(void *p, MM_UNUSED const char *file, MM_UNUSED int at)
{
    free(p);
}

/* And OpenSSL's, for programs whose main calls this first of all. */
static inline void hook_openssl(void)
{
    if (CRYPTO_set_mem_functions(openssl_malloc, openssl_realloc, openssl_free) != 1)
        abort();
}

/* The last answer. Nothing is allocated for it: the failure is the job's own. */
static struct {
    int code;
    size_t len;
    uint8_t packed[1 << 20];
} answered;

static int keep_answer(MM_UNUSED void *user, const Mintmark__Internal__StoreResult *result,
                       MM_UNUSED struct mm_errinfo *ei)
{
    answered.code = result->error ? result->error->code : MM_OK;
    answered.len = mintmark__internal__store_result__get_packed_size(result);
    if (answered.len > sizeof(answered.packed))
        abort(); /* an assertion of Check's would allocate */
    mintmark__internal__store_result__pack(result, answered.packed);
    return MM_OK;
}

/* Unpacks and does one job while the nth allocation fails. */
static int do_short_of_memory(struct fixture *on, const Mintmark__Internal__StoreJob *job,
                              unsigned nth, bool *ret_failed)
{
    static uint8_t packed[16384];
    const size_t len = mintmark__internal__store_job__get_packed_size(job);
    struct mm_errinfo ei = {0};
    int r;

    answered.code = MM_OK;
    ck_assert_uint_le(len, sizeof(packed));
    mintmark__internal__store_job__pack(job, packed);
    memory_fail_at(nth);
    r = mm_group_add(&on->group, (struct mm_bytes){packed, len}, &ei);
    if (r == MM_OK)
        r = mm_group_run(&on->group, on->store, keep_answer, NULL, &ei);
    *ret_failed = memory_failed();
    memory_fail_at(0);
    return r < 0 ? r : answered.code;
}

/* What came of it, and nothing else may. */
static inline void done_or_short_of_memory(int code, unsigned nth, bool failed)
{
    ck_assert_msg(code == MM_OK || (code == MM_ERR_MEMORY && failed), "allocation %u: %s", nth,
                  mm_err_name(code));
}

static inline char *dump_afresh(struct fixture *on)
{
    fixture_close(on);
    fixture_open(on);
    return fixture_dump(on);
}

static inline void check_answer(void (*check)(const Mintmark__Internal__StoreResult *result))
{
    Mintmark__Internal__StoreResult *result =
        mintmark__internal__store_result__unpack(NULL, answered.len, answered.packed);

    ck_assert_ptr_nonnull(result);
    check(result);
    mintmark__internal__store_result__free_unpacked(result, NULL);
}

/* The job, with each of its allocations failing in turn. Each time begins with the same database,
 * just opened, so that the nth allocation is the same one. SQLite can do without some, and then the
 * job is done. What it answers when it is done is checked; NULL: it is not. */
static inline void
sweep_job_and_answer(struct fixture *on, const Mintmark__Internal__StoreJob *job,
                     void (*check)(const Mintmark__Internal__StoreResult *result))
{
    MM_BUF_CLEANUP struct mm_buf file = MM_BUF_INIT(1 << 20);
    struct mm_errinfo ei = {0};
    bool failed = true;

    fixture_close(on);
    ck_assert_int_eq(mm_io_read_file(on->path, 1 << 20, &file, &ei), MM_OK);
    for (unsigned nth = 1; failed; nth++) {
        char *before = dump_afresh(on), *after;
        const int code = do_short_of_memory(on, job, nth, &failed);

        done_or_short_of_memory(code, nth, failed);
        after = fixture_dump(on);
        if (code != MM_OK)
            ck_assert_str_eq(before, after);
        else if (check)
            check_answer(check);
        free(before);
        free(after);
        fixture_close(on);
        if (code == MM_OK && failed)
            ck_assert_int_eq(mm_io_write_file(on->path, 0600, file.data, file.len, &ei), MM_OK);
    }
    fixture_open(on);
    fixture_check_invariants(on);
}

static inline void sweep_job(struct fixture *on, const Mintmark__Internal__StoreJob *job)
{
    sweep_job_and_answer(on, job, NULL);
}
