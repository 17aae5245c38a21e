/* SPDX-License-Identifier: Apache-2.0 */
/* The launcher's part for tests that start a worker themselves: what the worker is handed. */
#pragma once

#include "daemon/ipc/seal.h"
#include "daemon/ipc/trusted.h"
#include "daemon/ipc/worker.h"

#include <check.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { HANDED_KEY_BYTE = 0x5a }; /* the key of proofs is this, over and over */

static inline void handed_make(struct mm_handed *h, const char *path, struct mm_bytes config)
{
    uint8_t digest[MM_HANDED_DIGEST];
    struct mm_errinfo why;

    *h = (struct mm_handed){0};
    ck_assert_int_eq(mm_secret_new(MM_HANDED_KEY, &h->key), MM_OK);
    memset(mm_secret_data(h->key), HANDED_KEY_BYTE, MM_HANDED_KEY);
    ck_assert_int_eq(mm_seal_config(path, config, digest, &why), MM_OK);
    mm_handed_add(h, digest);
}

/* A pipe for the worker to be. */
static inline int handed_pipe(const char *path, struct mm_bytes config)
{
    struct mm_errinfo why;
    struct mm_handed h;
    int fd;

    handed_make(&h, path, config);
    ck_assert_int_eq(mm_handed_pipe(&h, true, &fd, &why), MM_OK);
    mm_handed_done(&h);
    return fd;
}

/* In the worker to be: its descriptors to where it looks for them; trusted is -1 for all but the
 * store. Others close by themselves. */
static inline bool handed_take(int channel, int trusted, int handed)
{
    /* Out of each other's way first. */
    const int a = fcntl(channel, F_DUPFD_CLOEXEC, 10), b = fcntl(trusted, F_DUPFD_CLOEXEC, 10);
    const int c = fcntl(handed, F_DUPFD_CLOEXEC, 10);

    close(MM_TRUSTED_FD);
    return dup2(a, MM_WORKER_FD) >= 0 && (b < 0 || dup2(b, MM_TRUSTED_FD) >= 0) &&
           dup2(c, MM_HANDED_FD) >= 0;
}
