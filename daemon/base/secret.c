/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/base/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

enum { SECRET_MAX = 64 * 1024 };

struct mm_secret {
    size_t mapped; /* bytes of the whole mapping, this header included */
    size_t len;
    uint8_t data[];
};

int mm_secret_new(size_t len, struct mm_secret **ret_secret)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t mapped;
    struct mm_secret *s;

    if (len == 0 || len > SECRET_MAX)
        return MM_ERR_INVALID;
    mapped = (sizeof(*s) + len + page - 1) / page * page;
    s = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (s == MAP_FAILED)
        return MM_ERR_MEMORY;
    if (mlock(s, mapped) < 0 || madvise(s, mapped, MADV_DONTDUMP) < 0 ||
        madvise(s, mapped, MADV_WIPEONFORK) < 0) {
        munmap(s, mapped);
        return MM_ERR_MEMORY;
    }
    s->mapped = mapped;
    s->len = len;
    *ret_secret = s;
    return MM_OK;
}

void mm_secret_free(struct mm_secret *s)
{
    size_t mapped;

    if (!s)
        return;
    mapped = s->mapped;
    explicit_bzero(s, mapped);
    munmap(s, mapped);
}

uint8_t *mm_secret_data(struct mm_secret *s)
{
    return s->data;
}

size_t mm_secret_len(const struct mm_secret *s)
{
    return s->len;
}

void mm_secret_truncate(struct mm_secret *s, size_t len)
{
    if (len >= s->len)
        return;
    explicit_bzero(s->data + len, s->len - len);
    s->len = len;
}

static int fill_standard(struct mm_errinfo *ei)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 &&
            open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
            return mm_fail_errno(ei, errno, "cannot open /dev/null");
    return MM_OK;
}

int mm_secret_harden_process(struct mm_errinfo *ei)
{
    const struct rlimit none = {0, 0};

    if (setrlimit(RLIMIT_CORE, &none) < 0)
        return mm_fail_errno(ei, errno, "cannot turn core dumps off");
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return mm_fail_errno(ei, errno, "cannot become undumpable");
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return mm_fail_errno(ei, errno, "cannot give up new privileges");
    return fill_standard(ei);
}
