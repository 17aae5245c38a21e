/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/token/pid.h"

#include "daemon/base/macros.h"

#include <stdatomic.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

static _Atomic(pid_t) *kept; /* 0: to be asked for */

void mm_pid_keep(void)
{
    const size_t size = (size_t)sysconf(_SC_PAGESIZE);
    void *page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (page == MAP_FAILED)
        return;
    if (madvise(page, size, MADV_WIPEONFORK) == 0)
        kept = page;
    else
        munmap(page, size);
}

/* In place of the C library's, for all that is linked to this program or loaded by it. */
MM_PUBLIC pid_t getpid(void)
{
    pid_t pid = kept ? atomic_load_explicit(kept, memory_order_relaxed) : 0;

    if (pid != 0)
        return pid;
    pid = (pid_t)syscall(SYS_getpid);
    if (kept)
        atomic_store_explicit(kept, pid, memory_order_relaxed);
    return pid;
}
